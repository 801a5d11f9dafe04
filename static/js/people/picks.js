// Selecting people or faces of a long list by mouse, Shift or keyboard, and the bar of what can be
// done with them. Without scripts the check boxes are a plain form.

import { neighbour } from "../shared/arrows.js";
import { CheckBoxes } from "../shared/check_boxes.js";
import { TYPING, all, closest, fieldOf, find, matches } from "../shared/dom.js";

const barOf = () => find("#picks", HTMLFormElement);

/** @param {ParentNode} root */
const boxesOf = (root = document) => all("[data-pick]", HTMLInputElement, root);

/** @param {ParentNode} root */
const boxIn = (root) => find("[data-pick]", HTMLInputElement, root);

const list = new CheckBoxes(() => boxesOf());
const { selected } = list;

/**
 * Checks what is selected of a chunk that has arrived, and selects what arrived checked.
 * @param {ParentNode} root
 */
export function checkSelected(root) {
  for (const box of boxesOf(root)) {
    if (box.checked) selected.set([box.value], true);
    else box.checked = selected.has(box.value);
  }
  showBar();
}

function clear() {
  list.clear();
  showBar();
}

/** Shows the bar while something is selected, and which of its buttons can be used. */
export function showBar() {
  const bar = barOf();
  if (!bar) return;
  const count = selected.size;
  bar.classList.toggle("is-open", count > 0);
  document.body.classList.toggle("picking", count > 0);
  const words = bar.querySelector("[data-pick-count]");
  if (words) words.textContent = count.toLocaleString("en");
  for (const button of all("[data-pick-least]", HTMLButtonElement, bar)) button.disabled = count < Number(button.dataset.pickLeast);
  for (const button of all("[data-pick-only]", HTMLButtonElement, bar)) button.disabled = count !== Number(button.dataset.pickOnly);
  const next = fieldOf(bar, "next", HTMLInputElement);
  if (next) next.value = location.pathname + location.search;
}

// --- Mouse ---

document.addEventListener("click", (event) => {
  const box = closest(event.target, "[data-pick]", HTMLInputElement) ?? boxByPicture(event);
  if (!box) return;
  list.follow(box, event.shiftKey);
  showBar();
});

/**
 * While something is selected, or with Ctrl or Shift, a click on a picture selects it; otherwise it
 * opens it.
 * @param {MouseEvent} event
 */
function boxByPicture(event) {
  const link = closest(event.target, ".pickable > a", HTMLAnchorElement);
  const box = link?.parentElement && boxIn(link.parentElement);
  if (!box || event.button || !(selected.size || event.ctrlKey || event.metaKey || event.shiftKey)) return null;
  event.preventDefault();
  box.checked = event.shiftKey || !box.checked;
  return box;
}

document.addEventListener("reset", (event) => {
  const bar = barOf();
  if (!bar || event.target !== bar) return;
  event.preventDefault();
  fieldOf(bar, "label", HTMLInputElement)?.blur();
  clear();
});

// --- Keys ---

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.isComposing || event.altKey || !barOf() || matches(event.target, TYPING)) return;
  if (byKeyAnywhere(event) || byKeyOnItem(event)) event.preventDefault();
});

/**
 * Keys that act on the selection. Returns whether this was one.
 * @param {KeyboardEvent} event
 */
function byKeyAnywhere(event) {
  if (event.key === "Escape" && selected.size) {
    clear();
    return true;
  }
  if (event.ctrlKey || event.metaKey) return event.key.toLowerCase() === "a" && selectAll();
  const bar = selected.size ? barOf() : null;
  const button = bar && find(`[data-key="${CSS.escape(event.key)}"]`, HTMLButtonElement, bar);
  if (button && !event.repeat) button.click();
  return Boolean(button);
}

/** Selects all that is on the page, if somebody is in the list. Returns whether that is so. */
function selectAll() {
  if (!focusedItem() && !selected.size) return false;
  for (const box of boxesOf()) selected.set([box.value], true);
  list.show();
  showBar();
  return true;
}

const focusedItem = () => closest(document.activeElement, ".pickable", HTMLElement);

/**
 * Keys that act on the item that has the focus. Returns whether this was one.
 * @param {KeyboardEvent} event
 */
function byKeyOnItem(event) {
  const item = focusedItem();
  if (!item || event.ctrlKey || event.metaKey) return false;
  const isSpace = event.key === " " && matches(document.activeElement, "a");
  if (event.key === "x" || isSpace) {
    toggle(item);
    return true;
  }
  const to = neighbour(all(".pickable", HTMLElement), item, event.key);
  if (!to) return false;
  if (event.shiftKey) extend(item, to);
  to.querySelector("a")?.focus();
  to.scrollIntoView({ block: "nearest" });
  return true;
}

/** @param {HTMLElement} item */
function toggle(item) {
  const box = boxIn(item);
  if (!box) return;
  box.checked = !box.checked;
  list.follow(box, false);
  showBar();
}

/**
 * Extends the selection by an arrow key with Shift. Some faces can't be selected: they have no box.
 * @param {HTMLElement} item
 * @param {HTMLElement} to
 */
function extend(item, to) {
  const [own, other] = [boxIn(item), boxIn(to)];
  if (own && selected.anchor === null) selected.pick(own.value, true);
  if (other) list.reach(other);
  showBar();
}

// --- Sending what is selected ---

// Items of chunks that were dropped are sent too.
function unseen() {
  const shown = new Set(boxesOf().map((box) => box.value));
  return selected.keys().filter((value) => !shown.has(value));
}
const fieldName = () => boxesOf()[0]?.name ?? "face";

document.addEventListener("submit", ({ target }) => {
  const bar = barOf();
  if (!bar || target !== bar) return;
  for (const old of bar.querySelectorAll("[data-unseen]")) old.remove();
  for (const value of unseen()) {
    const input = document.createElement("input");
    Object.assign(input, { type: "hidden", name: fieldName(), value });
    input.dataset.unseen = "";
    bar.append(input);
  }
});
document.addEventListener("htmx:configRequest", ({ detail: { elt, verb, parameters } }) => {
  if (verb !== "post" || !elt.closest("#picks")) return;
  for (const value of unseen()) parameters.append(fieldName(), value);
  parameters.delete("next");
});
document.addEventListener("faces-decided", clear);

// Enter in the name field presses the split button, not the form's first button.
document.addEventListener("keydown", (event) => {
  const { target } = event;
  if (event.key !== "Enter" || event.defaultPrevented || event.isComposing) return;
  if (!(target instanceof HTMLInputElement) || !target.matches("[data-split]")) return;
  event.preventDefault();
  if (target.value.trim()) target.form?.requestSubmit(find("[data-split-button]", HTMLButtonElement));
});
