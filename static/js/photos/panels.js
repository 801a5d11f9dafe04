// What the viewer shows beside the photo: its faces or the file's facts, and the address that says
// which.

import { faces } from "./boxes.js";
import { isOpen, shownPhoto, state, viewer } from "./viewer_page.js";

const STORED = "rollcall.faces";
let isInfoOpen = location.hash === "#info";

/** @param {string} hash */
export const faceIn = (hash) => /^#face-(\d+)$/.exec(hash)?.[1] ?? null;
export const isInfoShown = () => isInfoOpen;

/** The fragment of the shown photo's address. */
export function hashOf() {
  const face = faces.chosen();
  return isInfoOpen ? "#info" : face ? `#face-${face}` : "";
}

export function keepAddress() {
  const photo = shownPhoto();
  if (isOpen() && photo && !state.isLeaving) history.replaceState(history.state, "", `${photo.dataset.address}${hashOf()}`);
}

/** @param {boolean} isShown */
export function setInfo(isShown) {
  isInfoOpen = isShown;
  viewer.classList.toggle("with-info", isShown);
  showPressed("info", isShown);
  keepAddress();
}

export const areFacesShown = () => localStorage.getItem(STORED) !== "hidden";

/** @param {boolean} areShown */
export function setFaces(areShown) {
  viewer.classList.toggle("without-faces", !areShown);
  showPressed("faces", areShown);
}

export function toggleFaces() {
  localStorage.setItem(STORED, areFacesShown() ? "hidden" : "shown");
  setFaces(areFacesShown());
}

/**
 * @param {string} button
 * @param {boolean} isDown
 */
function showPressed(button, isDown) {
  viewer.querySelector(`.viewer-tools [data-do=${button}]`)?.setAttribute("aria-pressed", String(isDown));
}

document.addEventListener("viewer:face", keepAddress);
document.addEventListener("viewer:faces", () => setInfo(false));
