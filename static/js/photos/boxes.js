// The faces on the photo that is in #stage, linked with their rows in the list of faces.

import { all, closest, find } from "../shared/dom.js";
import { fitLabels, spellActive } from "./labels.js";

const boxesOf = () => find("#boxes", SVGSVGElement);

/** @param {string} pk */
const rowOf = (pk) => find(`#face-${pk}`, HTMLElement);

/** @type {string | null} The face that somebody works on. */
let chosen = null;

/**
 * Where the photo is on the screen, zoomed or not. Null if there is none.
 * @returns {import("./labels.js").Placed | null}
 */
function placed() {
  const boxes = boxesOf();
  if (!boxes) return null;
  const frame = boxes.getBoundingClientRect();
  const { width, height } = boxes.viewBox.baseVal;
  if (!frame.width || !frame.height || !width) return null;
  const scale = Math.min(frame.width / width, frame.height / height);
  return {
    scale,
    width,
    height,
    left: frame.left + (frame.width - width * scale) / 2,
    top: frame.top + (frame.height - height * scale) / 2,
  };
}

function fit() {
  const boxes = boxesOf();
  const photo = placed();
  if (!boxes || !photo) return;
  fitLabels(boxes, photo);
  spellActive(boxes, photo);
}

const resizing = new ResizeObserver(fit);
function start() {
  resizing.disconnect();
  const stage = document.getElementById("stage");
  if (stage) resizing.observe(stage);
  if (chosen && rowOf(chosen)) mark(chosen);
  else choose(null);
  fit();
}
for (const name of ["htmx:afterSwap", "htmx:oobAfterSwap"]) {
  document.addEventListener(name, () => requestAnimationFrame(start));
}

// --- Boxes and rows ---

/** @param {string | null} pk */
function mark(pk) {
  for (const element of document.querySelectorAll("[data-face].active")) element.classList.remove("active");
  if (pk) for (const element of document.querySelectorAll(`[data-face="${pk}"]`)) element.classList.add("active");
  spellActive(boxesOf(), placed());
}

/**
 * The face that a box or a row is of. Boxes are SVG elements.
 * @param {EventTarget | null} target
 */
const faceAt = (target) => closest(target, "[data-face]", Element)?.getAttribute("data-face") ?? null;

/**
 * Chooses the face that somebody works on, by focus or by a link to it; hovering only marks one.
 * @param {string | null} pk
 */
function choose(pk) {
  mark(pk);
  if (pk === chosen) return;
  chosen = pk;
  document.dispatchEvent(new CustomEvent("viewer:face"));
}

document.addEventListener("pointerover", (event) => {
  if (event.pointerType !== "touch") mark(faceAt(event.target) ?? faceAt(document.activeElement) ?? chosen);
});
document.addEventListener("focusin", (event) => choose(faceAt(event.target)));
document.addEventListener("click", (event) => {
  const box = closest(event.target, "a.box", Element);
  const pk = faceAt(box);
  if (!box && closest(event.target, "#stage", Element)) choose(null);
  if (!pk) return;
  event.preventDefault();
  open(rowOf(pk));
});

/** @param {HTMLElement | null | undefined} row */
function open(row) {
  if (!row) return;
  document.dispatchEvent(new CustomEvent("viewer:faces"));
  const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  row.scrollIntoView({ block: "nearest", behavior: isCalm ? "auto" : "smooth" });
  (find("[role=combobox]", HTMLElement, row) ?? row).focus({ preventScroll: true });
  choose(faceAt(row));
}

/**
 * Focuses a face's row, as a link to it does. The viewer's shortcuts still work then.
 * @param {string} pk
 */
function point(pk) {
  const row = rowOf(pk);
  if (!row) return;
  row.scrollIntoView({ block: "nearest" });
  row.focus({ preventScroll: true });
  choose(pk);
}

/**
 * Opens the next unknown face: the focused one, if it is unknown; else the next one after the focused
 * face, or the leftmost. Returns whether there is one.
 */
function nextUnknown() {
  const rows = all("#faces .face-row", HTMLElement);
  const unknown = rows.filter((row) => row.classList.contains("unknown"));
  const at = rows.findIndex((row) => row.dataset.face === faceAt(document.activeElement));
  const next = unknown.find((row) => row === document.activeElement)
    ?? unknown.find((row) => rows.indexOf(row) > at) ?? unknown[0];
  open(next);
  return Boolean(next);
}

export const faces = { placed, fit, start, open, point, choose, chosen: () => chosen, nextUnknown };
start();
