// Drawing a box around a missed face by mouse, finger or keyboard.

import { TYPING, all, closest, fieldOf, find } from "../shared/dom.js";
import { HANDLES, clamp, dragged, handleAt, isInside, leastSide, middleBox, moved, ordered, resized } from "./box.js";
import { faces } from "./boxes.js";

/** @typedef {import("./box.js").Box} Box */
/** @typedef {import("./box.js").Point} Point */

const SVG = "http://www.w3.org/2000/svg";
const formOf = () => find("#draw", HTMLFormElement);
const stageOf = () => find("#stage", HTMLElement);

/** @type {Box | null} */
let box = null;
/**
 * What the pointer holds: a handle, or the whole box since it was at a point.
 * @type {{ side: string, isNew: boolean } | { from: Point, start: Box } | null}
 */
let held = null;

const isOn = () => formOf()?.hidden === false;

function start() {
  const form = formOf();
  if (!form || isOn()) return;
  box = null;
  form.hidden = false;
  form.classList.remove("has-box");
  stageOf()?.classList.add("drawing");
  showPressed(true);
  if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
  layerOf();
}

function stop() {
  const form = formOf();
  if (!form) return;
  form.hidden = true;
  form.reset();
  stageOf()?.classList.remove("drawing");
  document.getElementById("drawn")?.remove();
  box = held = null;
  showPressed(false);
}

/** @param {boolean} isDown */
function showPressed(isDown) {
  document.querySelector(".viewer-tools [data-do=draw]")?.setAttribute("aria-pressed", String(isDown));
}

function photoSize() {
  const { width, height } = formOf()?.dataset ?? {};
  return { width: Number(width), height: Number(height) };
}

// --- What is drawn ---

// The layer is lost when a poll replaces the boxes.
function layerOf() {
  const found = find("#drawn", SVGGElement);
  if (found) return found;
  const layer = document.createElementNS(SVG, "g");
  layer.id = "drawn";
  document.getElementById("boxes")?.append(layer);
  return layer;
}

function show() {
  const form = formOf();
  const scale = faces.placed()?.scale;
  if (!box || !form || !scale) return;
  const drawn = ordered(box);
  layerOf().replaceChildren(rectangle("halo", drawn), rectangle("line", drawn), ...HANDLES.map((side) => handle(side, drawn, 6 / scale)));
  for (const [name, value] of Object.entries(drawn)) {
    const field = fieldOf(form, name, HTMLInputElement);
    if (field) field.value = String(Math.round(value));
  }
  form.classList.add("has-box");
}

/**
 * @param {string} css
 * @param {Box} drawn
 */
function rectangle(css, { left, top, right, bottom }) {
  const rect = document.createElementNS(SVG, "rect");
  rect.setAttribute("class", css);
  for (const [key, value] of Object.entries({ x: left, y: top, width: right - left, height: bottom - top })) rect.setAttribute(key, String(value));
  return rect;
}

/**
 * @param {string} side
 * @param {Box} drawn
 * @param {number} radius
 */
function handle(side, drawn, radius) {
  const dot = document.createElementNS(SVG, "circle");
  const { x, y } = handleAt(drawn, side);
  dot.setAttribute("class", `handle ${side}`);
  dot.dataset.side = side;
  for (const [key, value] of Object.entries({ cx: x, cy: y, r: radius })) dot.setAttribute(key, String(value));
  return dot;
}

// --- By pointer ---

/**
 * The photo's point under the pointer.
 * @param {PointerEvent} event
 * @returns {Point | null}
 */
function pointOf(event) {
  const photo = faces.placed();
  return photo && {
    x: clamp((event.clientX - photo.left) / photo.scale, photo.width),
    y: clamp((event.clientY - photo.top) / photo.scale, photo.height),
  };
}

document.addEventListener("pointerdown", (event) => {
  const stage = closest(event.target, "#stage", HTMLElement);
  const at = stage && isOn() && event.button <= 0 ? pointOf(event) : null;
  if (!stage || !at) return;
  event.preventDefault();
  hold(at, handleUnder(event));
  try {
    stage.setPointerCapture(event.pointerId);
  } catch {
    // The pointer is gone already.
  }
});

/**
 * @param {Point} at
 * @param {string | undefined} side
 */
function hold(at, side) {
  if (box && side) held = { side, isNew: false };
  else if (box && isInside(box, at)) held = { from: at, start: ordered(box) };
  else {
    held = { side: "se", isNew: true };
    box = { left: at.x, right: at.x, top: at.y, bottom: at.y };
    return;
  }
  box = ordered(box);
}

/**
 * The handle at the pointer, if any. A finger may be farther off than the drawn dot.
 * @param {PointerEvent} event
 */
function handleUnder(event) {
  const reach = event.pointerType === "touch" ? 24 : 12;
  const near = all("#drawn .handle", SVGCircleElement).map((dot) => {
    const round = dot.getBoundingClientRect();
    const off = Math.hypot(round.left + round.width / 2 - event.clientX, round.top + round.height / 2 - event.clientY);
    return { off, side: dot.dataset.side };
  }).filter(({ off }) => off <= reach);
  return near.sort((one, other) => one.off - other.off)[0]?.side;
}

document.addEventListener("pointermove", (event) => {
  const at = held && isOn() ? pointOf(event) : null;
  if (!held || !box || !at) return;
  if ("side" in held) box = dragged(box, held.side, at);
  else box = moved(held.start, { x: at.x - held.from.x, y: at.y - held.from.y }, photoSize());
  show();
});

document.addEventListener("pointerup", () => {
  const form = formOf();
  if (!held || !box || !form || !isOn()) return;
  const isNew = "side" in held && held.isNew;
  held = null;
  box = ordered(box);
  if (isTooSmall(box)) {
    // A tap, or too small a box: discard it.
    box = null;
    document.getElementById("drawn")?.replaceChildren();
    form.classList.remove("has-box");
  } else if (isNew && matchMedia("(hover: hover)").matches) focusName();
});
document.addEventListener("pointercancel", () => { held = null; });

/** @param {Box} drawn */
function isTooSmall({ left, top, right, bottom }) {
  return Math.min(right - left, bottom - top) < leastSide(photoSize());
}

function focusName() {
  const form = formOf();
  if (form) fieldOf(form, "label", HTMLInputElement)?.focus({ preventScroll: true });
}

// --- By keyboard: arrows move, Shift and arrows resize, Alt makes steps of one pixel ---

/** @type {Record<string, Point>} */
const ARROWS = { ArrowLeft: { x: -1, y: 0 }, ArrowRight: { x: 1, y: 0 }, ArrowUp: { x: 0, y: -1 }, ArrowDown: { x: 0, y: 1 } };

document.addEventListener("keydown", (event) => {
  if (!isOn() || event.ctrlKey || event.metaKey || event.isComposing) return;
  if (!leftByKey(event) && !drawnByKey(event)) return;
  event.preventDefault();
  event.stopImmediatePropagation();
}, true);

/**
 * Escape ends drawing. Returns whether this was it.
 * @param {KeyboardEvent} event
 */
function leftByKey(event) {
  if (event.key !== "Escape" || event.defaultPrevented) return false;
  stop();
  return true;
}

/**
 * Returns whether this key changes the box or leads to its name.
 * @param {KeyboardEvent} event
 */
function drawnByKey(event) {
  if (closest(event.target, TYPING, HTMLElement)) return false;
  const arrow = ARROWS[event.key];
  if (!arrow && event.key !== "Enter") return false;
  if (box && arrow) box = steppedBox(box, arrow, event);
  else if (!box) box = middleBox(photoSize());
  else if (closest(event.target, "button, a", Element)) return false;
  else focusName();
  show();
  return true;
}

/**
 * @param {Box} now
 * @param {Point} arrow
 * @param {KeyboardEvent} event
 */
function steppedBox(now, arrow, event) {
  const photo = photoSize();
  const step = event.altKey ? 1 : Math.max(1, Math.round(Math.max(photo.width, photo.height) / 100));
  const by = { x: arrow.x * step, y: arrow.y * step };
  return event.shiftKey ? resized(now, by, photo) : moved(now, by, photo);
}

// --- Sending ---

document.addEventListener("submit", (event) => {
  if (event.target === formOf() && !box) event.preventDefault();
}, true);
document.addEventListener("htmx:afterRequest", ({ detail }) => {
  if (detail.elt.id === "draw" && detail.successful) stop();
});
document.addEventListener("htmx:oobAfterSwap", () => { if (isOn()) show(); });
addEventListener("resize", () => { if (isOn()) show(); });

export const draw = { toggle: () => (isOn() ? stop() : start()), stop, isOn };
