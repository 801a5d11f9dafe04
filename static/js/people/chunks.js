// A long list of people or faces in chunks: the next one is loaded on scrolling, and those that are
// far away are dropped. Without scripts the list has links to its pages.

import { all, find, fragmentOf, ofKind } from "../shared/dom.js";
import { NearLoader } from "../shared/near.js";
import { fetched } from "../shared/request.js";
import { VirtualList, fill } from "../shared/virtual_list.js";
import { checkSelected } from "./picks.js";

const listOf = () => find("[data-chunks]", HTMLElement);
const chunksOf = () => ofKind(listOf()?.children ?? [], HTMLElement);

// Stands below the list while there is more, with a link for those without scripts.
const endOf = () => find("[data-chunks-end]", HTMLElement);
const nextLoader = new NearLoader("150% 0px", loadNext);

// The selection keeps what is checked on a chunk that is dropped.
const virtual = new VirtualList({
  margin: "300% 0px",
  mayDrop: (chunk) => chunk.getBoundingClientRect().height > 0 && !chunk.contains(document.activeElement),
  async restore(chunk, signal) {
    const fresh = await fetchChunk(chunk.dataset.chunk ?? "", signal);
    fill(chunk, fresh.children);
    window.htmx?.process(chunk);
    watchCrops(chunk);
    checkSelected(chunk);
  },
});

/**
 * @param {string} address
 * @param {AbortSignal} [signal]
 */
async function fetchChunk(address, signal) {
  const response = await fetched(address, { signal, stays: true, headers: { "HX-Target": "chunk" } });
  const chunk = find("[data-chunk]", HTMLElement, fragmentOf(await response.text()));
  if (!chunk) throw new Error("The answer has no page of the list.");
  return chunk;
}

/** @param {HTMLElement} chunk */
function watch(chunk) {
  virtual.watch(chunk);
  watchCrops(chunk);
  checkSelected(chunk);
}

/** @param {HTMLElement} end */
async function loadNext(end) {
  const last = chunksOf().at(-1);
  if (!last?.dataset.next) return false;
  const next = await fetchChunk(last.dataset.next);
  if (!last.isConnected) return false;
  delete last.dataset.next;
  last.after(next);
  window.htmx?.process(next);
  watch(next);
  if (!next.dataset.next) end.remove();
  return true;
}

/** Watches the chunks that the server has rendered. */
export function begin() {
  for (const chunk of chunksOf()) watch(chunk);
  const end = listOf() && endOf();
  end?.classList.add("visually-hidden");
  if (end) nextLoader.watch(end);
}

// Keeps the chunk on the screen in the address, so that coming back from a photo leads there.
const PLACE_MS = 250;
let placing = 0;
addEventListener("scroll", () => {
  clearTimeout(placing);
  placing = setTimeout(keepPlace, PLACE_MS);
}, { passive: true });

function keepPlace() {
  const chunks = chunksOf();
  const top = chunks.find((chunk) => chunk.getBoundingClientRect().bottom > 80);
  if (!top?.dataset.chunk || chunks.length < 2) return;
  const address = new URL(top.dataset.chunk, location.href);
  if (address.href !== location.href) history.replaceState(history.state, "", address);
}

// Faces that are no longer this person's leave the page; the answer brings the others up to date.
document.addEventListener("faces-decided", ({ detail }) => {
  for (const pk of detail.gone ?? []) document.getElementById(`crop-${pk}`)?.remove();
  for (const menu of all(".pick-more[open]", HTMLDetailsElement)) menu.open = false;
});

// --- Crops are loaded when they come into view ---

// `loading=lazy` would fetch three times as many, since browsers look far ahead, and a crop that is
// asked for first is cut first: tests/pages/test_page_people.py counts requests.
const cropObserver = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting || !(target instanceof HTMLImageElement)) continue;
    cropObserver.unobserve(target);
    target.src = target.dataset.src ?? "";
  }
});

/** @param {ParentNode} root */
export function watchCrops(root) {
  for (const crop of all("img[data-src]:not([src])", HTMLImageElement, root)) cropObserver.observe(crop);
}
