// Selecting photos in a gallery's grid by keyboard, mouse and long press.

import { neighbour } from "../shared/arrows.js";
import { closest, find } from "../shared/dom.js";
import { goToEnd } from "./loading.js";
import * as photos from "./photo_selection.js";
import { pkOf, root, tiles, toolbarBottom } from "./sheets.js";
import { goTo, tileAt } from "./tile_focus.js";

const { form } = photos;

// --- Keys ---

const ELSEWHERE = "input:not(.tile-check, .day-check), select, textarea, dialog, [contenteditable], details[open]";

/** @param {KeyboardEvent} event */
const isTaken = (event) => event.defaultPrevented || event.altKey || event.isComposing
  || document.body.classList.contains("viewing") || closest(event.target, ELSEWHERE, Element) !== null;

document.addEventListener("keydown", (event) => {
  if (isTaken(event)) return;
  const tile = tileAt(event.target);
  const action = actionAnywhere(event, tile) ?? (tile ? actionOnTile(event, tile) : actionOutside(event));
  if (!action) return;
  event.preventDefault();
  action();
});

/**
 * What a key does wherever the focus is.
 * @param {KeyboardEvent} event
 * @param {HTMLElement | null} tile
 * @returns {(() => void) | undefined}
 */
function actionAnywhere(event, tile) {
  if (event.ctrlKey || event.metaKey) return form && event.key.toLowerCase() === "a" ? photos.selectAll : undefined;
  if (event.key === "Escape" && photos.size()) return photos.clear;
  return event.key === "Delete" ? trashing(tile) : undefined;
}

/**
 * Moves what is selected to the trash, or else the tile that has the focus.
 * @param {HTMLElement | null} tile
 */
function trashing(tile) {
  const button = form && find("[data-select=trash]", HTMLButtonElement, form);
  if (!button || (!photos.size() && !tile)) return undefined;
  return () => {
    if (tile && !photos.size()) photos.set([pkOf(tile)], true);
    button.click();
  };
}

/**
 * Without a focused tile, ArrowRight focuses the first tile on the screen.
 * @param {KeyboardEvent} event
 */
function actionOutside(event) {
  const isOnPage = event.target === document.body || (event.target instanceof Element && event.target.id === "main");
  if (event.key !== "ArrowRight" || hasModifier(event) || !isOnPage) return undefined;
  return () => goTo(tiles().find((one) => one.getBoundingClientRect().top >= toolbarBottom()));
}

/** @param {KeyboardEvent} event */
const hasModifier = (event) => event.ctrlKey || event.metaKey;

/**
 * @param {KeyboardEvent} event
 * @param {HTMLElement} tile
 * @returns {(() => void) | undefined}
 */
function actionOnTile(event, tile) {
  if (hasModifier(event)) return undefined;
  if (event.key.startsWith("Arrow")) return () => move(tile, event);
  switch (event.key.toLowerCase()) {
    case " ":
    case "x": return () => (event.shiftKey && photos.hasAnchor() ? photos.extend(tile) : photos.toggle(tile));
    case "home": return () => { goToEnd("newer").then(goTo); };
    case "end": return () => { goToEnd("older").then(goTo); };
    default: return undefined;
  }
}

/**
 * @param {HTMLElement} tile
 * @param {KeyboardEvent} event
 */
function move(tile, event) {
  const next = neighbour(tiles(), tile, event.key);
  if (!next) return;
  const isRange = event.shiftKey && form;
  if (isRange && !photos.hasAnchor()) photos.begin(tile, true);
  goTo(next);
  if (isRange) photos.extend(next);
}

// --- Mouse ---

root.addEventListener("click", (event) => {
  const tile = form && tileAt(event.target);
  if (!tile) return;
  const box = closest(event.target, ".tile-check", HTMLInputElement);
  if (isLongPress) {
    isLongPress = false;
    event.preventDefault();
  } else if (event.shiftKey && (box || isSelectionBegun())) {
    event.preventDefault();
    extendByClick(tile, box);
  } else if (box || isSelecting(event)) {
    if (!box) event.preventDefault();
    photos.toggle(tile);
  }
});

const isSelectionBegun = () => photos.hasAnchor() || photos.size() > 0;

/**
 * While something is selected, a click on a picture selects it too.
 * @param {MouseEvent} event
 */
const isSelecting = (event) => photos.size() > 0 && !event.ctrlKey && !event.metaKey;

/**
 * @param {HTMLElement} tile
 * @param {HTMLInputElement | null} box
 */
function extendByClick(tile, box) {
  if (!box) {
    photos.extend(tile);
    return;
  }
  // After a prevented click the browser resets the check mark, so repaint after that.
  setTimeout(() => {
    photos.extend(tile);
    photos.paint();
  });
}

// Otherwise Shift and a click would select text.
root.addEventListener("mousedown", (event) => {
  if (event.shiftKey && tileAt(event.target)) event.preventDefault();
});

// --- Touch ---

const LONG_PRESS_MS = 430;
const MOVE = 6; // Pixels.
let pressing = 0;
let isLongPress = false;
root.addEventListener("pointerdown", (event) => {
  isLongPress = false;
  const tile = tileAt(event.target);
  if (event.pointerType !== "touch" || !tile || !form || closest(event.target, ".tile-check", Element)) return;
  clearTimeout(pressing);
  pressing = setTimeout(() => {
    isLongPress = true;
    navigator.vibrate?.(12);
    photos.toggle(tile);
  }, LONG_PRESS_MS);
});
root.addEventListener("pointermove", (event) => {
  if (Math.abs(event.movementX) + Math.abs(event.movementY) > MOVE) clearTimeout(pressing);
});
for (const name of ["pointerup", "pointercancel"]) root.addEventListener(name, () => clearTimeout(pressing));
root.addEventListener("contextmenu", (event) => {
  const isTouch = event instanceof PointerEvent && event.pointerType === "touch";
  if (isLongPress || (isTouch && tileAt(event.target))) event.preventDefault();
});
