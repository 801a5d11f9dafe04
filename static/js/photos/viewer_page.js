// The viewer's element, the page below it, and what the parts of the viewer know of each other.

import { all, find, need } from "../shared/dom.js";

export const viewer = need("#viewer", HTMLElement);

/** Whether the viewer is a layer over a gallery's grid. On a photo's own page it is not. */
export const isOverGrid = viewer.hidden;

/** Below this many pixels of width, the photo and its faces stand one above the other. */
export const NARROW = 1000;

/**
 * What the viewer asks of the grid below it.
 * @typedef {object} Grid
 * @property {HTMLElement} root
 * @property {() => HTMLElement[]} tiles
 * @property {(place?: Record<string, string>) => string} address
 * @property {(html: string) => void} add
 * @property {(pk: string) => void} remove
 * @property {(tile: HTMLElement) => void} reveal
 * @property {(place: Record<string, string>) => Promise<boolean>} jump
 */

/** @typedef {{ grid: Grid, forget: (pk: string) => void }} Below */

/** @type {Below | null} Null on a photo's own page. */
let attached = null;

/**
 * Tells the viewer what is below it.
 * @param {Below} page `forget` takes a photo out of the selection.
 */
export function attach(page) {
  attached = page;
}
export const below = () => (isOverGrid ? attached : null);

/** What the viewer shows and does: one object, since its parts change it. */
export const state = {
  /** Counts what was shown, so that a late answer is known to be late. */
  turn: 0,
  /** Whether opening the viewer has made an entry in the history. */
  hasEntry: false,
  /** Leaving twice would go back twice, and out of the gallery. */
  isLeaving: false,
  /** Whether the grid lacks the photo that is shown. */
  isGridStale: false,
  /** @type {HTMLElement | null} What had the focus before the viewer was opened. */
  focusBefore: null,
};

export const isOpen = () => !viewer.hidden;
export const shownPhoto = () => find("#photo", HTMLElement);

/** @param {string} address */
export const pkIn = (address) => /\/photos\/(\d+)\//.exec(address)?.[1] ?? "";

/** @param {string} pk */
export const tileOf = (pk) => find(`#photo-${pk}`, HTMLElement);

/** The links to the photos before and after this one. */
export const neighbourLinks = () => all("#newer, #older", HTMLAnchorElement, viewer);

/** @param {Element} link */
export const addressOf = (link) => link.getAttribute("href") ?? "";

/**
 * Moves an answer's toasts into the page's list of toasts.
 * @param {DocumentFragment} fresh
 */
export function takeToasts(fresh) {
  for (const toasts of fresh.querySelectorAll("[hx-swap-oob*=toasts]")) {
    document.getElementById("toasts")?.append(...toasts.childNodes);
    toasts.remove();
  }
}

// The text for screen readers. The element stays while photos change.
const status = document.createElement("p");
status.className = "visually-hidden";
status.setAttribute("role", "status");
viewer.append(status);

/** Takes away what the viewer shows. */
export function empty() {
  for (const one of [...viewer.childNodes]) if (one !== status) one.remove();
}

/** @param {string} words */
export function say(words) {
  if (status.textContent !== words) status.textContent = words;
}
