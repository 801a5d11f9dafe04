// Zooming and panning the photo by wheel, pinch, double click or keys, and swiping to the next one.
// It transforms the frame that holds both the picture and the boxes.

import { closest, find } from "../shared/dom.js";
import { faces } from "./boxes.js";

const MOST = 8;
const STEP = 1.5;
const DOUBLE_CLICK_STEP = 2.5;
/** Below this many pixels of width, the photo and its faces stand one above the other. */
const NARROW = 1000;
/** The longer side of the large rendition, in pixels. */
const LARGE = 2560;

const view = { scale: 1, x: 0, y: 0 };
const stageOf = () => find("#stage", HTMLElement);
const frameOf = () => find("#stage .stage-frame", HTMLElement);
const isZoomed = () => view.scale > 1;

/** @param {EventTarget | null} target */
const isOnStage = (target) => closest(target, "#stage", Element) !== null;
const isDrawing = () => Boolean(stageOf()?.classList.contains("drawing"));

function apply() {
  const [stage, frame] = [stageOf(), frameOf()];
  if (!stage || !frame) return;
  const within = (/** @type {number} */ at, /** @type {number} */ size) => Math.min(0, Math.max(-(view.scale - 1) * size, at));
  view.x = within(view.x, stage.clientWidth);
  view.y = within(view.y, stage.clientHeight);
  frame.style.transform = isZoomed() ? `translate(${view.x}px, ${view.y}px) scale(${view.scale})` : "";
  frame.style.setProperty("--zoom", String(view.scale));
  stage.classList.toggle("zoomed", isZoomed());
  requestAnimationFrame(faces.fit);
  sharpen();
}

// Loads the full-size picture once the zoom exceeds the resolution of the large rendition.
function sharpen() {
  const image = find("#stage .stage-image[data-full]", HTMLImageElement);
  const photo = faces.placed();
  if (!image || !photo || !isZoomed()) return;
  const side = Math.max(photo.width, photo.height);
  if (photo.scale * side * devicePixelRatio < LARGE * 1.15) return;
  const full = new Image();
  full.src = image.dataset.full ?? "";
  delete image.dataset.full;
  full.decode().then(() => {
    if (!image.isConnected) return;
    image.removeAttribute("srcset");
    image.src = full.src;
  }, () => {});
}

/**
 * Zooms so that the photo's point at this place of the screen stays there.
 * @param {number} factor
 * @param {{ clientX: number, clientY: number }} [place] The stage's middle by default.
 */
function zoomAt(factor, place) {
  const box = stageOf()?.getBoundingClientRect();
  if (!box || !frameOf()) return;
  const px = place ? place.clientX - box.left : box.width / 2;
  const py = place ? place.clientY - box.top : box.height / 2;
  const scale = Math.min(MOST, Math.max(1, view.scale * factor));
  const by = scale / view.scale;
  Object.assign(view, { scale, x: px - (px - view.x) * by, y: py - (py - view.y) * by });
  apply();
}

function reset() {
  Object.assign(view, { scale: 1, x: 0, y: 0 });
  apply();
}

document.addEventListener("wheel", (event) => {
  if (!isOnStage(event.target) || !frameOf()) return;
  // On a narrow screen the wheel scrolls the page instead.
  if (!event.ctrlKey && innerWidth < NARROW) return;
  event.preventDefault();
  zoomAt(Math.exp(-event.deltaY * (event.ctrlKey ? 0.012 : 0.0022)), event);
}, { passive: false });

document.addEventListener("dblclick", (event) => {
  if (!isOnStage(event.target) || isDrawing()) return;
  event.preventDefault();
  if (isZoomed()) reset();
  else zoomAt(DOUBLE_CLICK_STEP, event);
});

// --- Pointers: one pans or swipes, two pinch ---

/** @type {Map<number, PointerEvent>} */
const pointers = new Map();
let hasMoved = false;
/** @type {{ x: number, y: number, at: number, by: number } | null} */
let swipe = null;
/** @type {PointerEvent | null} */
let lastTap = null;

document.addEventListener("pointerdown", (event) => {
  if (!isOnStage(event.target) || isDrawing() || event.button > 0) return;
  pointers.set(event.pointerId, event);
  hasMoved = false;
  const maySwipe = pointers.size === 1 && event.pointerType === "touch" && !isZoomed();
  swipe = maySwipe ? { x: event.clientX, y: event.clientY, at: event.timeStamp, by: 0 } : null;
});

document.addEventListener("pointermove", (event) => {
  const before = pointers.get(event.pointerId);
  if (!before) return;
  const other = [...pointers.values()].find((one) => one.pointerId !== event.pointerId);
  if (pointers.size === 2 && other) pinch(before, event, other);
  else if (isZoomed()) {
    // Small movements add up until they count.
    if (!pan(before, event)) return;
  } else if (swipe) {
    followSwipe(swipe, event);
    return;
  }
  pointers.set(event.pointerId, event);
});

/**
 * @param {PointerEvent} before
 * @param {PointerEvent} event
 * @param {PointerEvent} other The finger that rests.
 */
function pinch(before, event, other) {
  const gap = (/** @type {PointerEvent} */ one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) || 1;
  view.x += (event.clientX - before.clientX) / 2;
  view.y += (event.clientY - before.clientY) / 2;
  const middle = { clientX: (event.clientX + other.clientX) / 2, clientY: (event.clientY + other.clientY) / 2 };
  zoomAt(gap(event) / gap(before), middle);
  hasMoved = true;
}

/**
 * Returns false for a movement that is too small to be one.
 * @param {PointerEvent} before
 * @param {PointerEvent} event
 */
function pan(before, event) {
  const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
  if (!hasMoved && Math.hypot(dx, dy) < 4) return false;
  view.x += dx;
  view.y += dy;
  hasMoved = true;
  apply();
  return true;
}

/**
 * @param {{ x: number, y: number, by: number }} own
 * @param {PointerEvent} event
 */
function followSwipe(own, event) {
  own.by = event.clientX - own.x;
  if (Math.abs(own.by) <= 8 || Math.abs(own.by) <= Math.abs(event.clientY - own.y)) return;
  hasMoved = true;
  frameOf()?.style.setProperty("transform", `translateX(${own.by}px)`);
}

/** @param {PointerEvent} event */
function release(event) {
  if (!pointers.delete(event.pointerId)) return;
  if (swipe && hasMoved) endSwipe(swipe, event);
  else if (!hasMoved && event.type === "pointerup") tap(event, swipe !== null);
  swipe = null;
}

/**
 * Turns to the next photo after a long or quick swipe; else the photo goes back to its place.
 * @param {{ at: number, by: number }} own
 * @param {PointerEvent} event
 */
function endSwipe({ at, by }, event) {
  const isQuick = Math.abs(by) / Math.max(1, event.timeStamp - at) > 0.5;
  const isTurn = Math.abs(by) > Math.min(120, innerWidth / 4) || (isQuick && Math.abs(by) > 30);
  const link = find(by < 0 ? "#older" : "#newer", HTMLAnchorElement);
  if (link && isTurn && event.type === "pointerup") link.click();
  else frameOf()?.style.removeProperty("transform");
}

const DOUBLE_TAP_MS = 300;

/**
 * Phones send no double click here, so two taps are counted: they zoom in, or out again.
 * @param {PointerEvent} event
 * @param {boolean} isFirstFinger False also while the photo is zoomed.
 */
function tap(event, isFirstFinger) {
  const before = lastTap && event.timeStamp - lastTap.timeStamp < DOUBLE_TAP_MS ? lastTap : null;
  if (isFirstFinger && !closest(event.target, "a", Element)) tapIn(event, before);
  else if (event.pointerType === "touch" && isZoomed()) {
    lastTap = event;
    if (before) reset();
  }
}

/**
 * @param {PointerEvent} event
 * @param {PointerEvent | null} before
 */
function tapIn(event, before) {
  const isSecond = before && Math.hypot(event.clientX - before.clientX, event.clientY - before.clientY) < 30;
  lastTap = isSecond ? null : event;
  if (isSecond) zoomAt(DOUBLE_CLICK_STEP, event);
}
document.addEventListener("pointerup", release);
document.addEventListener("pointercancel", release);

// Releasing the pointer after a move must not click the box below it.
document.addEventListener("click", (event) => {
  if (hasMoved && isOnStage(event.target)) {
    event.preventDefault();
    event.stopPropagation();
  }
  hasMoved = false;
}, true);
document.addEventListener("dragstart", (event) => {
  if (isOnStage(event.target)) event.preventDefault();
});

export const zoom = {
  in: () => zoomAt(STEP),
  out: () => zoomAt(1 / STEP),
  reset,
  isZoomed,
  toggle: () => (isZoomed() ? reset() : zoomAt(DOUBLE_CLICK_STEP)),
};
