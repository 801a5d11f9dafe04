// The focus in a gallery's grid: a roving tabindex, so that one tile at a time is in the tab order.

import { closest, find } from "../shared/dom.js";
import { headingOf, pkOf, root, tileOf, tiles, toolbarBottom } from "./sheets.js";

/** @type {string | null} The photo whose tile is in the tab order. */
let current = null;

/** @param {Element | null} tile */
const linkOf = (tile) => tile?.querySelector("a") ?? null;

/** The tile that is in the tab order; null while it is not loaded. */
export const currentTile = () => (current ? tileOf(current) : null);

/**
 * The tile around an event's target.
 * @param {EventTarget | null} target
 */
export const tileAt = (target) => closest(target, "#tiles .tile", HTMLElement);

/**
 * Gives tiles that are new on the page their place in the tab order.
 * @param {ParentNode} scope
 */
export function rove(scope = root) {
  if (!currentTile()) {
    const first = find(".tile", HTMLElement, root);
    current = first && pkOf(first);
  }
  for (const tile of tiles(scope)) setTabbable(tile, pkOf(tile) === current);
  roveHeading();
}

/**
 * @param {Element | null} tile
 * @param {boolean} isOn
 */
function setTabbable(tile, isOn) {
  const link = linkOf(tile);
  if (link) link.tabIndex = isOn ? 0 : -1;
}

// Only the current tile's heading is in the tab order.
function roveHeading() {
  const heading = headingOf(currentTile());
  const own = heading && find(".day-check", HTMLInputElement, heading);
  for (const box of root.querySelectorAll(".day-check")) box.setAttribute("tabindex", box === own ? "0" : "-1");
}

/** @param {HTMLElement} tile */
function makeCurrent(tile) {
  if (pkOf(tile) === current) return;
  setTabbable(currentTile(), false);
  current = pkOf(tile);
  setTabbable(tile, true);
  roveHeading();
}
root.addEventListener("focusin", ({ target }) => {
  const tile = tileAt(target);
  if (tile) makeCurrent(tile);
});

/**
 * Focuses a tile and scrolls as little as needed to show it.
 * @param {HTMLElement | null | undefined} tile
 */
export function goTo(tile) {
  if (!tile) return;
  makeCurrent(tile);
  linkOf(tile)?.focus({ preventScroll: true });
  const box = tile.getBoundingClientRect();
  if (box.top < toolbarBottom() + 8) scrollBy(0, box.top - toolbarBottom() - 40);
  else if (box.bottom > innerHeight - 8) scrollBy(0, box.bottom - innerHeight + 60);
}

/**
 * Focuses a tile without scrolling.
 * @param {HTMLElement | null | undefined} tile
 */
export function focusOn(tile) {
  if (!tile?.isConnected) return;
  makeCurrent(tile);
  rove();
  linkOf(tile)?.focus({ preventScroll: true });
}

/**
 * The tile that replaces the current one when these photos are gone.
 * @param {Set<string>} gone
 */
export function currentWithout(gone) {
  const all = tiles();
  const tile = currentTile();
  const at = tile ? all.indexOf(tile) : -1;
  const stays = (/** @type {HTMLElement} */ one) => !gone.has(pkOf(one));
  return at < 0 ? undefined : all.slice(at).find(stays) ?? all.slice(0, at).findLast(stays);
}

/** @param {Element} tile */
export function isOnScreen(tile) {
  const box = tile.getBoundingClientRect();
  return box.bottom > toolbarBottom() && box.top < innerHeight;
}
