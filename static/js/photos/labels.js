// The names on the photo: they have the same size at every zoom, and long ones are shortened.

import { all, find } from "../shared/dom.js";
import { isRightToLeft, overlap, shorten, spotFor } from "./label_layout.js";

/**
 * Where the photo is on the screen: its top left corner, its size in its own pixels, and `scale` in
 * screen pixels for one of them.
 * @typedef {{ left: number, top: number, width: number, height: number, scale: number }} Placed
 */

const TEXT_PIXELS = 13.5;
/** A long name would cover other faces: so many text sizes wide, it is shortened unless it is active. */
const LONGEST = 12;

/** @type {WeakMap<SVGTextElement, string>} The whole names. */
const names = new WeakMap();
/** @type {WeakMap<SVGTextElement, { words: string, left: number }>} What is shown of them, and where. */
const shown = new WeakMap();
/** @type {SVGTextElement | null} The one whose whole name is shown. */
let spelled = null;

/** @param {SVGTextElement} text */
function faceOf(text) {
  const rect = text.parentElement && find("rect", SVGRectElement, text.parentElement);
  const [x, y, width, height] = rect ? [rect.x, rect.y, rect.width, rect.height].map((one) => one.baseVal.value) : [0, 0, 0, 0];
  return { x, y, width, height };
}

/** @param {SVGTextElement} text */
function nameOf(text) {
  const known = names.get(text);
  if (known !== undefined) return known;
  const name = text.textContent ?? "";
  names.set(text, name);
  // The end of such a name is on the left, where labels are anchored.
  if (isRightToLeft(name)) {
    text.setAttribute("direction", "rtl");
    text.setAttribute("text-anchor", "end");
  }
  return name;
}

/**
 * @param {SVGTextElement} text
 * @param {string} words
 */
function write(text, words) {
  if (text.textContent !== words) text.textContent = words;
}

/**
 * Writes as much of the name as there is room for, and returns it.
 * @param {SVGTextElement} text
 * @param {number} room
 */
function writeShort(text, room) {
  const words = shorten(nameOf(text), (some) => {
    write(text, some);
    return text.getComputedTextLength() <= room;
  });
  write(text, words);
  return words;
}

/**
 * Places all names on the photo.
 * @param {SVGSVGElement} boxes
 * @param {Placed} photo
 */
export function fitLabels(boxes, photo) {
  const size = TEXT_PIXELS / photo.scale;
  boxes.style.setProperty("--pixel", String(1 / photo.scale));
  boxes.classList.add("fitted");
  /** @type {import("./label_layout.js").Line[]} */
  const taken = [];
  for (const text of all("text", SVGTextElement, boxes)) {
    const face = faceOf(text);
    const words = writeShort(text, Math.min(Math.max(2 * face.width, LONGEST * size), photo.width - size / 2));
    const length = text.getComputedTextLength();
    const left = Math.max(0, Math.min(face.x, photo.width - length - size / 2));
    shown.set(text, { words, left });
    // If both places overlap another name, it shows only while active.
    const { at, dy, isFree } = spotFor({ face, left, length, size, photoHeight: photo.height }, taken);
    text.setAttribute("x", String(left));
    text.setAttribute("y", String(at));
    text.setAttribute("dy", `${dy}em`);
    text.classList.toggle("crowded", !isFree);
    const isHidden = getComputedStyle(text).visibility === "hidden";
    if (isFree && !isHidden) taken.push({ left, right: left + length, bottom: at + dy * size });
  }
  spelled = null;
}

/**
 * Shows the whole name at the active box, and shortens the one that was active before.
 * @param {SVGSVGElement | null} boxes
 * @param {Placed | null} photo
 */
export function spellActive(boxes, photo) {
  const text = boxes && find(".box.active text", SVGTextElement, boxes);
  if (text === spelled) return;
  shortenAgain();
  for (const other of boxes?.querySelectorAll("text[opacity]") ?? []) other.removeAttribute("opacity");
  spelled = text;
  if (boxes && text && photo && shown.has(text)) spell(boxes, text, photo);
}

function shortenAgain() {
  const before = spelled && shown.get(spelled);
  if (!spelled || !before) return;
  write(spelled, before.words);
  spelled.setAttribute("x", String(before.left));
}

/**
 * @param {SVGSVGElement} boxes
 * @param {SVGTextElement} text
 * @param {Placed} photo
 */
function spell(boxes, text, photo) {
  const size = TEXT_PIXELS / photo.scale;
  if (writeShort(text, photo.width - size / 2) === shown.get(text)?.words) return;
  text.setAttribute("x", String(Math.max(0, Math.min(faceOf(text).x, photo.width - text.getComputedTextLength() - size / 2))));
  // Hide the names that the whole one overlaps.
  const own = text.getBBox();
  for (const other of all("text", SVGTextElement, boxes)) {
    if (other !== text && overlap(own, other.getBBox())) other.setAttribute("opacity", "0");
  }
}
