// A gallery's grid. The address keeps the place, so that coming back leads there.

import { add, refresh, removeAll } from "./changes.js";
import { begin, goToEnd, jump, layOutAll, loadMore, recount, renew } from "./loading.js";
import { reveal, scrollToOffset } from "./place.js";
import { isAbove } from "./rows.js";
import { address, edgeAt, gridWidth, keyOf, measure, pkOf, root, sheets, tileOf, tiles, toolbarBottom } from "./sheets.js";
import "./timeline.js";

async function comeBack() {
  history.scrollRestoration = "manual";
  const key = new URLSearchParams(location.search).get("at");
  if (!key) return;
  const marked = markedTile();
  const tile = marked ?? tiles().find((one) => keyOf(one) === key) ?? tiles()[0];
  if (tile) await restorePlace(tile);
  if (marked) reveal(marked);
}

/** The tile that the address leads to. */
function markedTile() {
  const pk = /^#photo-(\d+)$/.exec(location.hash)?.[1];
  return pk ? tileOf(pk) : null;
}

/**
 * Scrolls to a tile, at the offset that it had.
 * @param {HTMLElement} tile
 */
async function restorePlace(tile) {
  const offset = history.state?.offset ?? Math.max(toolbarBottom() + 60, innerHeight * 0.25);
  scrollToOffset(tile, offset);
  if (edgeAt("newer")) await loadMore("newer");
  if (tile.isConnected) scrollToOffset(tile, offset);
}

root.classList.add("live");
measure();
begin();
new ResizeObserver(() => {
  const before = gridWidth();
  if (measure() !== before) layOutAll();
}).observe(root);

export const grid = {
  root, tiles, sheets, keyOf, pkOf, address, isAbove, add, removeAll, refresh, renew, recount, reveal, jump, goToEnd,
  toolbar: toolbarBottom,
  remove: (/** @type {string} */ pk) => { removeAll([pk]); },
};
comeBack();
