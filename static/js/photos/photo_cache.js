// Photos' pages for the viewer: the neighbours of the shown photo are fetched ahead.

import { find, fragmentOf } from "../shared/dom.js";
import { fetched } from "../shared/request.js";
import { addressOf, neighbourLinks } from "./viewer_page.js";

const MOST = 8;
const LONGEST_MS = 20_000;

/** @type {Map<string, { html: Promise<string>, at: number }>} */
const kept = new Map();

/**
 * The HTML of a photo's page.
 * @param {string} address
 */
export function fetchPhoto(address) {
  const found = kept.get(address);
  if (found && performance.now() - found.at < LONGEST_MS) return found.html;
  const html = fetched(address).then((response) => response.text());
  html.catch(() => kept.delete(address));
  kept.set(address, { html, at: performance.now() });
  for (const oldest of [...kept.keys()].slice(0, -MOST)) kept.delete(oldest);
  return html;
}

export function forgetPhotos() {
  kept.clear();
}

export function fetchAhead() {
  for (const link of neighbourLinks()) fetchPhoto(addressOf(link)).then(fetchPicture, () => {});
}

/** @param {string} html */
function fetchPicture(html) {
  const image = find(".stage-image", HTMLImageElement, fragmentOf(html));
  if (!image) return;
  const picture = new Image();
  picture.sizes = image.sizes;
  picture.srcset = image.srcset;
}

// After any POST, such as a decision on a face, cached photos are outdated.
document.addEventListener("htmx:afterRequest", ({ detail }) => {
  if (detail.requestConfig?.verb === "post") forgetPhotos();
});
