// Keyboard control for a grid of faces with check boxes: arrows move, Space ticks, Shift ticks a
// range, Enter submits. Backspace undoes the last change, also on lists without a grid. Without this
// script the check boxes and buttons still work.

import { CheckBoxes } from "../shared/check_boxes.js";
import { TYPING, all, find, matches } from "../shared/dom.js";
import { wordsOf } from "./tick_words.js";

/** @param {KeyboardEvent} event */
const isPlainKey = (event) => !event.defaultPrevented && !event.altKey && !event.ctrlKey && !event.metaKey;

// --- Undoing ---

let hasUndone = false;
document.addEventListener("keydown", (event) => {
  if (event.key !== "Backspace" || event.repeat || !isPlainKey(event)) return;
  const active = document.activeElement;
  const isEmptyName = active instanceof HTMLInputElement && active.matches("[role=combobox]") && active.value === "";
  const undo = find('[data-key="undo"]', HTMLButtonElement);
  if (!undo || (matches(active, TYPING) && !isEmptyName)) return;
  event.preventDefault();
  if (!hasUndone) undo.click();
  hasUndone = true;
});
window.addEventListener("pageshow", () => { hasUndone = false; });

// --- Ticking ---

/**
 * @param {HTMLFormElement} form
 * @param {HTMLInputElement[]} boxes
 */
function attach(form, boxes) {
  const list = new CheckBoxes(() => boxes);
  const count = () => {
    list.read();
    showCount(form, list.selected.size, boxes.length - list.selected.size);
  };

  form.addEventListener("click", ({ target, shiftKey }) => {
    if (!(target instanceof HTMLInputElement) || !boxes.includes(target)) return;
    list.follow(target, shiftKey);
    count();
  });
  document.addEventListener("keydown", (event) => {
    if (!isPlainKey(event) || isElsewhere(boxes)) return;
    if (event.key === "Enter") submit(form, event);
    else if (moveByKey(list, boxes, event)) count();
  });

  // A second submit while the first is under way would decide on faces that nobody has seen.
  let isSent = false;
  form.addEventListener("submit", (event) => {
    if (isSent) event.preventDefault();
    isSent = true;
  });
  window.addEventListener("pageshow", () => {
    isSent = false;
    count();
  });
  count();
}

/**
 * Says how many are ticked, and which buttons can be used.
 * @param {HTMLFormElement} form
 * @param {number} ticked
 * @param {number} left
 */
function showCount(form, ticked, left) {
  for (const words of all("[data-words]", HTMLElement, form)) {
    words.textContent = wordsOf(words.dataset.words ?? "", ticked, left);
  }
  const some = find('[data-key="confirm"]', HTMLButtonElement, form);
  if (some) {
    some.hidden = left === 0 || ticked === 0;
    some.textContent = `Confirm ${ticked}, leave the other${left === 1 ? "" : "s"}`;
  }
  for (const button of all("[data-needs-left]", HTMLButtonElement, form)) button.disabled = left === 0;
  for (const button of all("[data-needs-ticked]", HTMLButtonElement, form)) button.disabled = ticked === 0;
}

/**
 * Whether keys are for something else than the grid.
 * @param {HTMLInputElement[]} boxes
 */
function isElsewhere(boxes) {
  const active = document.activeElement;
  return !boxes.some((box) => box === active) && matches(active, "input, select, textarea, summary, button, a");
}

/**
 * @param {HTMLFormElement} form
 * @param {KeyboardEvent} event
 */
function submit(form, event) {
  const button = find('[data-key="both"]', HTMLButtonElement, form);
  if (!button) return;
  event.preventDefault();
  if (!event.repeat) form.requestSubmit(button);
}

/** @type {HTMLInputElement | null} The box that a key has led to last. */
let reached = null;

/**
 * Moves the focus by an arrow key; with Shift, what it passes follows the box where it began. Returns
 * whether this was an arrow key.
 * @param {CheckBoxes<HTMLInputElement>} list
 * @param {HTMLInputElement[]} boxes
 * @param {KeyboardEvent} event
 */
function moveByKey(list, boxes, event) {
  const columns = columnsOf(boxes);
  /** @type {Record<string, number>} */
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
  if (!(event.key in steps)) return false;
  event.preventDefault();
  const at = boxes.findIndex((box) => box === document.activeElement);
  const from = boxes[at];
  const to = boxes[at < 0 ? 0 : Math.min(Math.max(at + steps[event.key], 0), boxes.length - 1)];
  to.focus();
  to.closest("li")?.scrollIntoView({ block: "nearest" });
  if (from && event.shiftKey) {
    if (from !== reached) list.selected.begin(from.value, from.checked);
    list.reach(to);
  } else list.selected.begin(to.value, to.checked);
  reached = to;
  return true;
}

/**
 * How many boxes there are in a row.
 * @param {HTMLInputElement[]} boxes
 */
function columnsOf(boxes) {
  const tops = boxes.map((box) => box.closest("li")?.offsetTop);
  const beyond = tops.findIndex((top) => top !== tops[0]);
  return beyond < 0 ? boxes.length : beyond;
}

const form = find("[data-ticks-form]", HTMLFormElement);
const boxes = form ? all("[data-ticks] input[type=checkbox]", HTMLInputElement, form) : [];
if (form && boxes.length) attach(form, boxes);
