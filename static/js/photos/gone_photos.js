// Photos that are deleted or restored while others are shown.

import { forgetPhotos } from "./photo_cache.js";
import { below, pkIn, state, tileOf } from "./viewer_page.js";

/** @type {Set<string>} */
const gone = new Set();
/** @type {Map<string, string>} The tiles of photos that are gone, as HTML. */
const tiles = new Map();

/** @param {string} pk */
export const isGone = (pk) => gone.has(pk);

/** @param {string} address */
export const leadsToGone = (address) => isGone(pkIn(address));

/**
 * Notes that a photo is gone, and removes its tile from the grid below.
 * @param {string} pk
 */
export function takeAway(pk) {
  gone.add(pk);
  forgetPhotos();
  const page = below();
  const tile = tileOf(pk);
  if (!tile || !page) return;
  const all = page.grid.tiles();
  const at = all.indexOf(tile);
  if (tile.contains(state.focusBefore)) state.focusBefore = (all[at + 1] ?? all[at - 1])?.querySelector("a") ?? null;
  // The grid lays it out again, and the page's content security policy blocks inline styles.
  const copy = document.createElement("div");
  copy.append(tile.cloneNode(true));
  copy.firstElementChild?.removeAttribute("style");
  tiles.set(pk, copy.innerHTML);
  page.forget(pk);
  page.grid.remove(pk);
}

/**
 * Notes that a photo is back, and puts its tile into the grid below.
 * @param {string} pk
 */
export function bringBack(pk) {
  gone.delete(pk);
  forgetPhotos();
  const page = below();
  const tile = tiles.get(pk);
  if (!page || !tile) return;
  // In the order of uploads, a tile lacks the date by which it would be placed.
  if (page.grid.root.dataset.sort !== "uploaded") page.grid.add(tile);
  tiles.delete(pk);
  if (!tileOf(pk)) state.isGridStale = true;
}
