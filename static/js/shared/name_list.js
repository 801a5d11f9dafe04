// Name suggestions under a text field: arrow keys choose, Enter submits, Escape closes. htmx fetches
// the entries; without scripts it is a plain text field.
import { all, closest, find, ofKind } from "./dom.js";

const FIELD = "[data-name-form] [role=combobox]";

/** @param {EventTarget | null} target */
const fieldAt = (target) => (target instanceof HTMLInputElement && target.matches(FIELD) ? target : null);

/** @param {HTMLInputElement} input */
const listIdOf = (input) => input.getAttribute("aria-controls") ?? "";

/** @param {HTMLInputElement} input */
const listOf = (input) => document.getElementById(listIdOf(input));

/** @param {string} listId */
const fieldOfList = (listId) => find(`[aria-controls="${listId}"]`, HTMLInputElement);

/** @param {Element} option */
const isSelected = (option) => option.matches('[aria-selected="true"]');

/**
 * @param {HTMLInputElement} input
 * @param {boolean} wanted An empty list stays closed all the same.
 */
function setOpen(input, wanted) {
  const list = listOf(input);
  if (!list) return;
  const isOpen = wanted && list.children.length > 0;
  list.hidden = !isOpen;
  input.setAttribute("aria-expanded", String(isOpen));
  if (!isOpen) choose(input, null);
}

/**
 * @param {HTMLInputElement} input
 * @param {HTMLElement | null} option
 */
function choose(input, option) {
  for (const other of listOf(input)?.children ?? []) other.setAttribute("aria-selected", String(other === option));
  if (option) {
    input.setAttribute("aria-activedescendant", option.id);
    option.scrollIntoView({ block: "nearest" });
  } else {
    input.removeAttribute("aria-activedescendant");
  }
}

/**
 * @param {HTMLInputElement} input
 * @param {HTMLElement} option
 */
function submitWith(input, option) {
  input.value = option.dataset.label ?? "";
  setOpen(input, false);
  // The form may have several submit buttons: use the one beside the field.
  input.form?.requestSubmit(input.parentElement?.querySelector("button:not([type=button])"));
}

// --- Entries that arrive ---

// A late list must not replace one with a chosen entry: Enter would then submit the partial name,
// such as "an", and create a person of that name.
document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  const { target: list } = detail;
  if (list.matches(".name-options") && [...list.children].some(isSelected)) detail.shouldSwap = false;
});
document.addEventListener("input", ({ target }) => {
  const input = fieldAt(target);
  const chosen = input && [...listOf(input)?.children ?? []].find(isSelected);
  chosen?.setAttribute("aria-selected", "false");
});

document.addEventListener("htmx:afterSwap", ({ detail: { target: list } }) => {
  const input = list.matches(".name-options") ? fieldOfList(list.id) : null;
  if (!input) return;
  choose(input, null);
  setOpen(input, document.activeElement === input);
});

// --- Mouse ---

document.addEventListener("focusout", ({ target }) => {
  const input = fieldAt(target);
  if (input) setOpen(input, false);
});

/** @param {Event} event */
const optionAt = (event) => closest(event.target, ".name-options [role=option]", HTMLElement);

// Pressing on an entry must not take the focus from the field.
document.addEventListener("pointerdown", (event) => {
  if (optionAt(event)) event.preventDefault();
});
document.addEventListener("click", (event) => {
  const option = optionAt(event);
  const input = option && fieldOfList(option.parentElement?.id ?? "");
  if (input) submitWith(input, option);
});

// --- Keys ---

document.addEventListener("keydown", (event) => {
  const input = event.isComposing ? null : fieldAt(event.target);
  const list = input && listOf(input);
  if (!list) return;
  const options = ofKind(list.children, HTMLElement);
  const isOpen = input.getAttribute("aria-expanded") === "true";
  const chosen = isOpen ? options.findIndex(isSelected) : -1;
  if (event.key === "Enter" && chosen >= 0) {
    event.preventDefault();
    submitWith(input, options[chosen]);
  } else if (event.key === "Escape") {
    event.stopPropagation();
    leaveList(input, isOpen);
  } else if (/^Arrow(Down|Up)$/.test(event.key) && options.length) {
    event.preventDefault();
    setOpen(input, true);
    choose(input, options[nextIndex(chosen, event.key, options.length)]);
  }
}, true);

/**
 * @param {HTMLInputElement} input
 * @param {boolean} isOpen
 */
function leaveList(input, isOpen) {
  if (isOpen) setOpen(input, false);
  else input.blur();
}

/**
 * The entry that an arrow leads to: around the ends, and with none chosen to the first or last.
 * @param {number} chosen
 * @param {string} key
 * @param {number} count
 */
function nextIndex(chosen, key, count) {
  if (chosen < 0) return key === "ArrowDown" ? 0 : count - 1;
  return (chosen + (key === "ArrowDown" ? 1 : -1) + count) % count;
}

// --- The focus and typed text survive a swap of what is around them ---

// htmx focuses a new [autofocus] field or face a moment after the swap. If the list around it is
// swapped in between, that focus would be lost. `awaitingFocus` remembers it until something is
// focused: it is the id of a field's list, or of a face.
/** @type {string | null} */
let awaitingFocus = null;
document.addEventListener("htmx:afterSwap", (event) => {
  if (!isPost(event)) return;
  const next = find(`.face-row[autofocus], ${FIELD}[autofocus]`, HTMLElement);
  awaitingFocus = next && (next.getAttribute("aria-controls") || next.id);
});
for (const name of ["focusin", "pointerdown"]) document.addEventListener(name, () => { awaitingFocus = null; });

/** @typedef {{ listId: string, value: string, hasFocus: boolean, at: number | null }} Typed */

/** @type {Typed[]} */
let typed = [];
/** @type {string | null} */
let focusedFace = null;

/** @param {Element} target What is about to be replaced. */
function remember(target) {
  const faces = all(".face-row", HTMLElement, target);
  focusedFace = faces.find((row) => row === document.activeElement || row.id === awaitingFocus)?.id ?? null;
  typed = all(FIELD, HTMLInputElement, target).map((input) => ({
    listId: listIdOf(input),
    value: input.value,
    hasFocus: document.activeElement === input || listIdOf(input) === awaitingFocus,
    at: input.selectionStart,
  })).filter(({ value, hasFocus }) => value || hasFocus);
}

/** @param {boolean} withFocus */
function restore(withFocus) {
  for (const one of typed) retype(one, withFocus);
  if (focusedFace && withFocus) document.getElementById(focusedFace)?.focus({ preventScroll: true });
  typed = [];
  focusedFace = null;
}

/**
 * @param {Typed} one
 * @param {boolean} withFocus
 */
function retype(one, withFocus) {
  const input = fieldOfList(one.listId);
  if (!input || input.value || input.form?.dataset.sent !== undefined) return;
  input.value = one.value;
  if (!one.hasFocus || !withFocus) return;
  input.focus({ preventScroll: true });
  input.setSelectionRange(one.at, one.at);
}

/** @param {CustomEvent<HtmxAnswer>} event */
const isPost = (event) => event.detail.requestConfig?.verb === "post";

document.addEventListener("htmx:oobBeforeSwap", (event) => remember(event.detail.target));
document.addEventListener("htmx:oobAfterSwap", () => restore(true));
document.addEventListener("htmx:beforeSwap", (event) => { if (isPost(event)) remember(event.detail.target); });
document.addEventListener("htmx:afterSwap", (event) => { if (isPost(event)) restore(false); });
