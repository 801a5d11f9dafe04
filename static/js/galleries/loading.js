// Loads a gallery's sheets: on scrolling, at another place, or anew at the same place. Those that are
// far away are dropped, and loaded again at the same height.

import { all, closest, find, fragmentOf, need } from "../shared/dom.js";
import { NearLoader } from "../shared/near.js";
import { explain, fetched } from "../shared/request.js";
import { toast } from "../shared/toast.js";
import { VirtualList, drop, fill, isDropped } from "../shared/virtual_list.js";
import { firstSeen, isAtTop, keepingPlace, markPlace, scrollToOffset } from "./place.js";
import { address, dispatch, edgeAt, gridWidth, isByUpload, joinHeadings, keyOf, layOut, root, sheets, tileOf, tiles, toolbarBottom } from "./sheets.js";

/** @typedef {import("./sheets.js").Side} Side */

// How far from the screen a sheet keeps its tiles, and how far ahead the next one is loaded.
const KEPT = "200% 0px";
const AHEAD = "150% 0px";
/** An estimate for a sheet that was never shown, in pixels. */
const UNSEEN_HEIGHT = 400;

/**
 * @param {Record<string, string>} place
 * @param {AbortSignal} [signal]
 */
async function fetchSheet(place, signal) {
  const response = await fetched(address(place), { signal });
  return find(".sheet", HTMLElement, fragmentOf(await response.text()));
}

/** @param {HTMLElement} sheet */
export function show(sheet) {
  layOut(sheet);
  virtual.watch(sheet);
  joinHeadings();
  dispatch("shown", sheet);
  if (sheet.querySelector("[name=busy]")) pollBusy();
}

/** Polls the tiles of photos that are being processed. */
export const pollBusy = () => window.htmx?.trigger(document.body, "busy");

// --- Scrolling ---

/** @param {Element} edge */
const sideOf = (edge) => (edge.classList.contains("older") ? "older" : "newer");

/**
 * Says where more photos can be loaded, or that there are none.
 * @param {Side} side
 * @param {string | undefined} key
 */
export function setEdge(side, key) {
  const found = edgeAt(side);
  if (!key) {
    found?.remove();
    return;
  }
  const edge = found ?? newEdge(side);
  need("a", HTMLAnchorElement, edge).href = address(side === "older" ? { before: key } : { after: key });
  edge.dataset.key = key;
  nearLoader.watch(edge);
}

/** @param {Side} side */
function newEdge(side) {
  const edge = document.createElement("p");
  edge.className = `grid-edge ${side}`;
  const link = document.createElement("a");
  link.className = "btn";
  link.textContent = side === "older" ? "Older photos" : "Newer photos";
  edge.append(link);
  root[side === "older" ? "append" : "prepend"](edge);
  return edge;
}

// Counts how often the grid's sheets were replaced, so that an answer for others is known.
let generation = 0;

/** @param {HTMLElement} edge */
async function loadAt(edge) {
  const asked = generation;
  const side = sideOf(edge);
  const key = edge.dataset.key ?? "";
  edge.classList.add("loading");
  try {
    const sheet = await fetchSheet(side === "older" ? { before: key } : { after: key });
    if (asked !== generation) return false;
    keepingPlace(() => {
      if (sheet) edge[side === "older" ? "before" : "after"](sheet);
      if (sheet) show(sheet);
      setEdge(side, sheet?.dataset[side]);
    });
    markPlace();
    return edge.isConnected;
  } finally {
    edge.classList.remove("loading");
  }
}
const nearLoader = new NearLoader(AHEAD, loadAt);

/**
 * Loads more photos at one side, if there are any.
 * @param {Side} side
 */
export async function loadMore(side) {
  const edge = edgeAt(side);
  if (edge) await nearLoader.load(edge);
}

root.addEventListener("click", (event) => {
  const edge = closest(event.target, ".grid-edge", HTMLElement);
  if (!edge) return;
  event.preventDefault();
  nearLoader.load(edge);
});

// --- Dropping, and loading again ---

const virtual = new VirtualList({
  margin: KEPT,
  restore,
  mayDrop(sheet) {
    const { activeElement } = document;
    if (activeElement instanceof HTMLElement && sheet.contains(activeElement)) activeElement.blur();
    sheet.dataset.across = String(gridWidth());
    sheet.dataset.isContinued = sheet.querySelector(".tiles:last-child.is-continued") ? "yes" : "";
    return true;
  },
});

/**
 * @param {HTMLElement} sheet
 * @param {AbortSignal} signal
 */
async function restore(sheet, signal) {
  const { first = "", last = "", above } = sheet.dataset;
  const fresh = await fetchSheet(above ? { before: above, last } : { first, last }, signal);
  if (!sheet.isConnected) return;
  keepingPlace(() => {
    // All its photos may have been deleted or moved meanwhile.
    if (fresh?.querySelector(".tile")) refill(sheet, fresh);
    else sheet.remove();
  });
}

/**
 * @param {HTMLElement} sheet
 * @param {HTMLElement} fresh
 */
function refill(sheet, fresh) {
  // The stretch may have more photos by now than one answer holds: the rest becomes a sheet of its own.
  if (fresh.dataset.older) {
    const rest = newSheet(sheet.dataset.last ?? "", (one) => sheet.after(one));
    Object.assign(rest.dataset, { above: fresh.dataset.older, older: sheet.dataset.older });
    sheet.dataset.last = fresh.dataset.last;
    drop(rest, UNSEEN_HEIGHT);
    virtual.watch(rest);
  }
  if (sheet.dataset.isContinued) fresh.querySelector(".tiles:last-child")?.classList.add("is-continued");
  fill(sheet, fresh.childNodes);
  show(sheet);
}

/**
 * An empty sheet for photos from this key to this key.
 * @param {string} key
 * @param {(sheet: HTMLElement) => void} insert
 */
export function newSheet(key, insert) {
  const sheet = document.createElement("section");
  sheet.className = "sheet";
  Object.assign(sheet.dataset, { first: key, last: key, newer: "", older: "" });
  insert(sheet);
  return sheet;
}

/** Lays all sheets out at the grid's new width, which was another one before. */
export function layOutAll() {
  const width = gridWidth();
  keepingPlace(() => {
    for (const sheet of sheets()) {
      // Estimate the height at the new width: the area stays about the same.
      if (isDropped(sheet)) sheet.style.height = `${(parseFloat(sheet.style.height) * Number(sheet.dataset.across)) / width}px`;
      else layOut(sheet);
      sheet.dataset.across = String(width);
    }
  });
}

// --- Another place ---

/** @param {HTMLElement | null} sheet The grid's only sheet from now on. */
function showOnly(sheet) {
  for (const one of sheets()) {
    virtual.forget(one);
    one.remove();
  }
  setEdge("newer", "");
  setEdge("older", "");
  if (!sheet) return;
  root.append(sheet);
  show(sheet);
  setEdge("older", sheet.dataset.older);
  setEdge("newer", sheet.dataset.newer);
}

/**
 * Replaces the grid's sheets by those at another place: a month, or a photo from the viewer. Resolves
 * to false if there are none.
 * @param {Record<string, string>} place
 */
export async function jump(place) {
  const asked = (generation += 1);
  root.classList.add("jumping");
  try {
    const sheet = await fetchSheet(place);
    if (asked !== generation) return false;
    showOnly(sheet);
    if (!sheet) return false;
    scrollTo(0, 0);
    if (edgeAt("newer")) scrollToOffset(sheet, toolbarBottom());
    markPlace();
    return true;
  } catch (error) {
    const otherwise = "That part of the gallery could not be loaded. Try again.";
    const words = explain(error, { otherwise, offline: otherwise });
    if (words) toast(words, "error");
    return false;
  } finally {
    root.classList.remove("jumping");
  }
}

/** A key below those of all photos; it is in the year 1800. */
const LOWEST = isByUpload ? "0" : "-5364662400000000.0";

/**
 * Goes to the newest or oldest photo and returns its tile, loading it if needed.
 * @param {Side} side
 */
export async function goToEnd(side) {
  const outermost = sheets().at(side === "older" ? -1 : 0);
  if (edgeAt(side) || (outermost && isDropped(outermost))) {
    if (!(await jump(side === "older" ? { after: LOWEST } : {}))) return null;
  }
  return tiles().at(side === "older" ? -1 : 0) ?? null;
}

/** Loads the grid anew at the same place, such as after an upload. */
export async function renew() {
  const asked = (generation += 1);
  const seen = firstSeen();
  const atTop = isAtTop(seen);
  let sheet;
  try {
    sheet = await fetchSheet(atTop || !seen ? {} : { at: keyOf(seen) });
  } catch {
    // The grid stays as it is; scrolling or a reload brings the rest.
    return;
  }
  if (asked !== generation) return;
  const putBack = atTop ? stayingAt(scrollY) : keepingTile(seen);
  const focused = closest(document.activeElement, "#tiles .tile", HTMLElement);
  showOnly(sheet);
  putBack();
  if (!atTop) {
    await loadMore("newer");
    putBack();
  }
  if (focused) find(`#${focused.id} a`, HTMLAnchorElement)?.focus({ preventScroll: true });
  markPlace();
}

/**
 * Puts the page back where it is scrolled to.
 * @param {number} top
 */
const stayingAt = (top) => () => scrollTo(0, top);

/**
 * Puts a photo's new tile where its tile is now.
 * @param {HTMLElement | null} seen
 */
function keepingTile(seen) {
  const top = seen?.isConnected ? seen.getBoundingClientRect().top : null;
  const pk = seen?.id.slice("photo-".length) ?? "";
  return () => {
    const tile = top === null ? null : tileOf(pk);
    if (tile && top !== null) scrollToOffset(tile, top);
  };
}

/** Fetches the tabs' counts, the months, and the number of photos that match the filters. */
export function recount() {
  const url = find("#selection", HTMLFormElement)?.dataset.dates;
  if (url) window.htmx?.ajax("GET", url, { target: "#dates-list", swap: "outerHTML" });
}

/** Shows the sheets that the server has rendered. */
export function begin() {
  for (const sheet of sheets()) show(sheet);
  const [first] = sheets();
  for (const edge of all(":scope > .grid-edge", HTMLElement, root)) {
    const side = sideOf(edge);
    const { searchParams } = new URL(need("a", HTMLAnchorElement, edge).href);
    setEdge(side, first?.dataset[side] || searchParams.get(side === "older" ? "before" : "after") || "");
  }
}
