// The place of a gallery's grid: what is on the screen stays there while the grid changes, and the
// address keeps it.

import { find } from "../shared/dom.js";
import { isDropped } from "../shared/virtual_list.js";
import { address, dispatch, edgeAt, keyOf, root, sheets, tiles, toolbarBottom } from "./sheets.js";

const MARK_MS = 180;
const HIGHLIGHT_MS = 1700;

/**
 * Runs a change without moving what is on the screen, whatever changes above it.
 * @param {() => void} change
 */
export function keepingPlace(change) {
  const anchor = anchorOf();
  const before = anchor?.getBoundingClientRect().top ?? 0;
  change();
  if (anchor?.isConnected) scrollBy(0, anchor.getBoundingClientRect().top - before);
}

/** @param {Element} element */
const isBelowTop = (element) => element.getBoundingClientRect().bottom > 1;

function anchorOf() {
  const sheet = sheets().find(isBelowTop);
  if (!sheet || isDropped(sheet)) return sheet;
  return tiles(sheet).find(isBelowTop) ?? sheet;
}

/** The first tile on the screen; null while it is not loaded. */
export function firstSeen() {
  const top = toolbarBottom();
  for (const sheet of sheets()) {
    if (sheet.getBoundingClientRect().bottom <= top) continue;
    if (isDropped(sheet)) return null;
    const tile = tiles(sheet).find((one) => one.getBoundingClientRect().bottom > top + 20);
    if (tile) return tile;
  }
  return null;
}

/**
 * Whether the grid's very first tile is this one, or none.
 * @param {HTMLElement | null} tile
 */
export const isAtTop = (tile) => !edgeAt("newer") && (!tile || tile === root.querySelector(".tile"));

let marking = 0;

/** Writes the place into the address, a little later. */
export function markPlace() {
  clearTimeout(marking);
  marking = setTimeout(() => {
    const tile = firstSeen();
    if (!tile || document.body.classList.contains("viewing")) return;
    const url = isAtTop(tile) ? address() : address({ at: keyOf(tile) });
    const offset = Math.round(tile.getBoundingClientRect().top);
    history.replaceState({ ...history.state, grid: true, offset }, "", url);
    const next = find("#selection [name=next]", HTMLInputElement);
    if (next) next.value = url;
    dispatch("moved", tile);
  }, MARK_MS);
}
addEventListener("scroll", markPlace, { passive: true });

/**
 * Focuses a tile, scrolls to it if needed, and highlights it for a moment.
 * @param {HTMLElement} tile
 */
export function reveal(tile) {
  const link = tile.querySelector("a");
  /** @type {FocusOptions & { focusVisible: boolean }} */
  const quietly = { preventScroll: true, focusVisible: false };
  link?.focus(quietly);
  const box = tile.getBoundingClientRect();
  if (box.top < toolbarBottom() || box.bottom > innerHeight) tile.scrollIntoView({ block: "center" });
  tile.classList.add("is-highlighted");
  setTimeout(() => tile.classList.remove("is-highlighted"), HIGHLIGHT_MS);
}

/**
 * Scrolls so that a tile is so many pixels below the top of the screen.
 * @param {Element} tile
 * @param {number} offset
 */
export const scrollToOffset = (tile, offset) => scrollBy(0, tile.getBoundingClientRect().top - offset);
