// The parts of a gallery's grid: sheets of photos, each with days, each with tiles in justified rows.

import { all, find, need, ofKind } from "../shared/dom.js";
import { justify } from "./rows.js";

export const root = need("#tiles", HTMLElement);
export const isByUpload = root.dataset.sort === "uploaded";

/** @typedef {"newer" | "older"} Side */

// --- Addresses and keys ---

const here = new URL(location.href);
for (const name of ["at", "before", "after"]) here.searchParams.delete(name);
export const { pathname } = here;

/**
 * The address of a place of the grid, under the page's filters.
 * @param {Record<string, string>} place
 */
export function address(place = {}) {
  const url = new URL(here);
  for (const [name, value] of Object.entries(place)) url.searchParams.set(name, value);
  return url.pathname + url.search;
}

/** @param {Element} tile */
export const pkOf = (tile) => tile.id.slice("photo-".length);

/**
 * What a tile is ordered by: see `isAbove` in rows.js.
 * @param {HTMLElement} tile
 */
export const keyOf = (tile) => (isByUpload ? pkOf(tile) : `${tile.dataset.at}.${pkOf(tile)}`);

// --- Finding ---

export const sheets = () => all(":scope > .sheet", HTMLElement, root);

/** @param {ParentNode} scope */
export const tiles = (scope = root) => all(".tile", HTMLElement, scope);

/** @param {string} pk */
export const tileOf = (pk) => find(`#photo-${pk}`, HTMLElement, root);

/**
 * The heading of a tile's day.
 * @param {Element | null | undefined} tile
 */
export function headingOf(tile) {
  const heading = tile?.closest(".tiles")?.previousElementSibling;
  return heading instanceof HTMLElement ? heading : null;
}

/**
 * Stands where more photos can be loaded.
 * @param {Side} side
 */
export const edgeAt = (side) => find(`:scope > .grid-edge.${side}`, HTMLElement, root);

/** How far down the toolbar covers the page. */
export const toolbarBottom = () => document.querySelector(".grid-tools")?.getBoundingClientRect().bottom || 0;

/**
 * Tells other parts of the page.
 * @param {"shown" | "moved"} what
 * @param {HTMLElement} detail
 */
export function dispatch(what, detail) {
  document.dispatchEvent(new CustomEvent(`grid:${what}`, { detail }));
}

// --- Rows ---

let width = 0;
let rowHeight = 0;
let gap = 0;

/** Measures the grid, and returns its width. */
export function measure() {
  // Slightly less than the real width, so that rounding doesn't wrap a row's last tile.
  width = root.clientWidth - 0.5;
  rowHeight = parseFloat(getComputedStyle(root).getPropertyValue("--row"));
  gap = innerWidth < 700 ? 4 : 6;
  return width;
}
export const gridWidth = () => width;

/** @param {Element} tile */
function ratioOf(tile) {
  const image = tile.querySelector("img");
  const exact = image ? Number(image.getAttribute("width")) / Number(image.getAttribute("height")) : 0;
  const rough = Number(/\br(\d+)\b/.exec(tile.className)?.[1] ?? 10) / 10;
  return Math.min(Math.max(exact || rough, 0.4), 6);
}

/** @param {HTMLElement} sheet */
export function layOut(sheet) {
  for (const list of all(".tiles", HTMLElement, sheet)) {
    const own = ofKind(list.children, HTMLElement);
    const ratios = own.map(ratioOf);
    const heights = justify(ratios, width, rowHeight, gap, list.classList.contains("is-continued"));
    own.forEach((tile, at) => {
      tile.style.height = `${heights[at]}px`;
      tile.style.width = `${Math.min(heights[at] * ratios[at], width)}px`;
    });
  }
}

/** Hides the first heading of a sheet that continues the previous sheet's last day. */
export function joinHeadings() {
  /** @type {string | undefined} */
  let last;
  for (const sheet of sheets()) {
    const headings = all(".day", HTMLElement, sheet);
    headings[0]?.classList.toggle("same", headings[0].dataset.day === last);
    // A sheet that was dropped keeps its last day.
    const day = headings.at(-1)?.dataset.day;
    if (day) sheet.dataset.lastDay = day;
    last = sheet.dataset.lastDay;
  }
}
