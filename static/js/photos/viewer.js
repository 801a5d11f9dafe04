// The photo viewer: on a page of its own, or as a layer over the grid, which stays as it is. Every
// photo has its own address. Turning replaces it in the history: going back leads to the grid.

import { all, closest, find, fragmentOf } from "../shared/dom.js";
import { isPlainClick } from "../shared/navigation.js";
import { Refused, explain, isSilent } from "../shared/request.js";
import { icon, toast } from "../shared/toast.js";
import { many } from "../shared/words.js";
import { faces } from "./boxes.js";
import { draw } from "./draw.js";
import { leadsToGone, takeAway } from "./gone_photos.js";
import { areFacesShown, faceIn, hashOf, isInfoShown, setFaces, setInfo } from "./panels.js";
import { fetchAhead, fetchPhoto, forgetPhotos } from "./photo_cache.js";
import { NARROW, addressOf, below, empty, isOpen, isOverGrid, neighbourLinks, pkIn, say, shownPhoto, state, takeToasts, tileOf, viewer } from "./viewer_page.js";
import { zoom } from "./zoom.js";

const pageTitle = document.title;

// --- Showing ---

/**
 * How a photo is come to: by opening it, by turning to the newer or older one, or by an address that
 * the history has already.
 * @typedef {"open" | "newer" | "older" | "history"} Way
 */

/**
 * Fetches a photo's page and shows it.
 * @param {string} address
 * @param {Way} way
 */
export async function show(address, way) {
  const asked = (state.turn += 1);
  const face = way === "history" ? faceIn(location.hash) : null;
  viewer.classList.add("turning");
  let html;
  try {
    html = await fetchPhoto(address);
  } catch (error) {
    if (asked === state.turn && !isSilent(error)) await couldNotShow(error, address, way);
    return;
  }
  if (asked !== state.turn) return;
  put(fragmentOf(html));
  if (way !== "history") {
    const url = shownPhoto()?.dataset.address ?? address;
    history.replaceState({ ...history.state, viewer: true }, "", url + hashOf());
  }
  ready(face);
}

/**
 * @param {unknown} error
 * @param {string} address
 * @param {Way} way
 */
async function couldNotShow(error, address, way) {
  viewer.classList.remove("turning");
  const isGone = error instanceof Refused && error.status === 404;
  if (isGone) {
    const asked = state.turn;
    takeAway(pkIn(address));
    if (await turnPast(address, way) || asked !== state.turn) return;
  }
  const words = isGone ? "That photo is not here any more." : explain(error, { otherwise: "The photo could not be loaded. Try again." });
  if (words) toast(words, "error");
  if (!shownPhoto()) leave();
}

/**
 * Puts a photo into the viewer.
 * @param {DocumentFragment} fresh
 */
export function put(fresh) {
  draw.stop();
  faces.choose(null);
  viewer.classList.remove("turning");
  takeToasts(fresh);
  empty();
  viewer.prepend(fresh);
  window.htmx?.process(viewer);
  viewer.scrollTo(0, 0);
  shownPhoto()?.focus({ preventScroll: true });
}

/**
 * Makes the page fit the photo that was put.
 * @param {string | null} [face] The face that the address leads to.
 */
export function ready(face) {
  document.title = shownPhoto()?.dataset.title ?? pageTitle;
  zoom.reset();
  faces.start();
  setFaces(areFacesShown());
  setInfo(isInfoShown());
  if (face && !isInfoShown()) faces.point(face);
  describe();
  renewIfGone();
  fetchAhead();
}

/** Says which photo is shown, with how many faces. */
function describe() {
  const title = shownPhoto()?.dataset.title;
  if (title === undefined) return;
  if (isOverGrid) viewer.setAttribute("aria-label", title);
  const boxes = document.getElementById("boxes");
  const count = boxes?.querySelectorAll(".box").length ?? 0;
  say(boxes ? `${title}, ${count ? many(count, "face") : "no faces"}` : title);
}
// Decisions, drawn faces and polls change the faces on the photo.
document.addEventListener("htmx:oobAfterSwap", () => { if (isOpen()) describe(); });

// --- Neighbours that are gone ---

/** Fetches the shown photo's neighbours again, which may have changed. */
export async function renew() {
  const photo = shownPhoto();
  if (!photo) return;
  forgetPhotos();
  try {
    const fresh = fragmentOf(await fetchPhoto(photo.dataset.address ?? ""));
    takeToasts(fresh);
    if (shownPhoto()?.dataset.pk === photo.dataset.pk) takeNeighbours(fresh);
  } catch {
    // Turning will report the problem.
  }
}

/** @param {DocumentFragment} fresh */
function takeNeighbours(fresh) {
  const [turns, freshTurns] = [viewer, fresh].map((root) => root.querySelector(".photo-turn"));
  if (!turns || !freshTurns) return;
  const hadFocus = turns.contains(document.activeElement);
  turns.replaceWith(freshTurns);
  const [next, freshNext] = [viewer, fresh].map((root) => find("#trash-photo [name=next]", HTMLInputElement, root));
  if (next && freshNext?.value) next.value = freshNext.value;
  if (hadFocus) shownPhoto()?.focus({ preventScroll: true });
}

export async function renewIfGone() {
  if (!neighbourLinks().some((link) => leadsToGone(addressOf(link)))) return;
  await renew();
  fetchAhead();
}

/**
 * Turns past a photo that is gone, to the one that is next now. Resolves to false if there is none,
 * and for a photo that was not turned to.
 * @param {string} address
 * @param {Way} way
 */
async function turnPast(address, way) {
  if (!shownPhoto() || way === "open" || way === "history") return false;
  const asked = state.turn;
  await renew();
  if (asked !== state.turn) return true;
  const next = find(`#${way}`, HTMLAnchorElement, viewer);
  if (!next || addressOf(next) === address) return false;
  show(addressOf(next), way);
  return true;
}

// --- Opening and closing the layer ---

/** Opens the layer over the grid. Something must be put into it. */
export function openLayer() {
  if (isOpen()) return;
  state.focusBefore = document.activeElement instanceof HTMLElement ? document.activeElement : null;
  // Remove older undo toasts: their undo would change what is no longer on the screen.
  for (const old of document.querySelectorAll("#toasts .toast:has(form)")) old.remove();
  viewer.hidden = false;
  document.body.classList.add("viewing");
  setPageInert(true);
}

function closeLayer() {
  const { pk, key } = shownPhoto()?.dataset ?? {};
  viewer.hidden = true;
  document.body.classList.remove("viewing");
  setPageInert(false);
  document.title = pageTitle;
  state.turn += 1;
  viewer.classList.remove("turning");
  viewer.setAttribute("aria-label", "Photo");
  say("");
  empty();
  faces.choose(null);
  if (pk) revealTile(pk, key ?? "");
  else state.focusBefore?.focus();
  state.isGridStale = false;
}

/**
 * Shows in the grid where a photo is, loading that part if needed.
 * @param {string} pk
 * @param {string} key
 */
async function revealTile(pk, key) {
  const grid = below()?.grid;
  if (!grid) return;
  if (state.isGridStale || !tileOf(pk)) await grid.jump({ at: key });
  const tile = tileOf(pk);
  if (tile) grid.reveal(tile);
}

/** @param {boolean} isInert The page below is, while a photo is open. */
function setPageInert(isInert) {
  for (const one of all(".side, .topbar, .tabbar, .skip, main > :not(#viewer, dialog)", HTMLElement)) one.inert = isInert;
}

/** Goes back to the grid from the layer. */
export function leave() {
  if (!isOverGrid || !isOpen() || state.isLeaving) return;
  state.turn += 1;
  if (state.hasEntry) {
    state.isLeaving = true;
    history.back();
  } else {
    const url = new URL(upAddress());
    history.replaceState({}, "", url.pathname + url.search);
    closeLayer();
  }
}

/** The address of the gallery. */
export const upAddress = () => find("#up", HTMLAnchorElement)?.href ?? location.href;

// --- Opening, turning, going back ---

document.addEventListener("click", (event) => {
  if (!isPlainClick(event)) return;
  const tile = isOverGrid ? closest(event.target, "#tiles .tile > a", HTMLAnchorElement) : null;
  const turn = closest(event.target, "#viewer :is(#newer, #older)", HTMLAnchorElement);
  const up = isOverGrid ? closest(event.target, "#up", HTMLAnchorElement) : null;
  if (tile) openPhoto(tile);
  else if (turn) show(addressOf(turn), turn.id === "newer" ? "newer" : "older");
  else if (up) leave();
  else return;
  event.preventDefault();
});

/** @param {HTMLAnchorElement} link A tile's. */
function openPhoto(link) {
  const home = location.href;
  openLayer();
  history.pushState({ ...history.state, viewer: true }, "", addressOf(link));
  state.hasEntry = true;
  putPlaceholder(home, link);
  show(addressOf(link), "open");
}

/**
 * Shows the back link and the tile's small picture until the photo arrives.
 * @param {string} home
 * @param {HTMLElement | null} tile
 */
function putPlaceholder(home, tile) {
  empty();
  const image = tile?.querySelector("img");
  if (image) {
    const early = document.createElement("img");
    Object.assign(early, { className: "viewer-early", src: image.currentSrc || image.src, alt: "" });
    viewer.append(early);
  }
  const main = document.createElement("div");
  main.className = "viewer-main";
  const head = document.createElement("header");
  head.className = "photo-head";
  const up = document.createElement("a");
  Object.assign(up, { id: "up", className: "viewer-btn", href: home, title: "Back (Esc)" });
  up.setAttribute("aria-label", "Back");
  up.append(icon("left"));
  head.append(up);
  main.append(head);
  viewer.append(main);
  up.focus({ preventScroll: true });
}

addEventListener("popstate", (event) => {
  state.isLeaving = false;
  const isPhoto = /\/photos\/\d+\/$/.test(location.pathname);
  if (isPhoto && (event.state?.viewer || !isOverGrid)) showFromHistory();
  else if (!isOverGrid) {
    // This page was reloaded above the grid's entry in the history.
    location.reload();
  } else if (isOpen()) {
    state.hasEntry = false;
    closeLayer();
  }
});

function showFromHistory() {
  const page = below();
  if (page) openLayer();
  if (page && !shownPhoto()) putPlaceholder(page.grid.address(), tileOf(pkIn(location.pathname)));
  show(location.pathname + location.search, "history");
}

// An answer to another photo's request must not change this one.
document.addEventListener("htmx:beforeRequest", ({ detail }) => {
  if (viewer.contains(detail.elt) && detail.requestConfig) detail.requestConfig.photo = shownPhoto()?.dataset.pk;
});
document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  const asked = detail.requestConfig?.photo;
  if (asked && asked !== shownPhoto()?.dataset.pk) detail.shouldSwap = false;
});

// On a narrow screen the photo stays centred in the part that the sheet of faces leaves visible.
viewer.addEventListener("scroll", () => {
  const stage = find("#stage", HTMLElement);
  if (stage) stage.style.translate = innerWidth < NARROW ? `0 ${-viewer.scrollTop / 2}px` : "";
}, { passive: true });

if (!isOverGrid) ready(faceIn(location.hash));
