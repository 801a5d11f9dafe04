// The viewer's buttons and keys.

import { closest, find, need } from "../shared/dom.js";
import { toast } from "../shared/toast.js";
import { faces } from "./boxes.js";
import { draw } from "./draw.js";
import { isInfoShown, setInfo, toggleFaces } from "./panels.js";
import { NARROW, isOpen, viewer } from "./viewer_page.js";
import { zoom } from "./zoom.js";

/** @type {Record<string, () => void>} By the name of a button. */
const ACTIONS = {
  faces: toggleFaces,
  info() {
    setInfo(!isInfoShown());
    if (innerWidth < NARROW && isInfoShown()) viewer.querySelector("#info")?.scrollIntoView({ behavior: "smooth", block: "start" });
  },
  draw() {
    if (innerWidth < NARROW) viewer.scrollTo({ top: 0 });
    draw.toggle();
  },
  zoom: () => zoom.toggle(),
  keys: () => need("#keys", HTMLDialogElement).showModal(),
  sheet() {
    const isUp = viewer.scrollTop > 40;
    viewer.scrollTo({ top: isUp ? 0 : Math.min(viewer.scrollHeight, innerHeight * 0.55), behavior: "smooth" });
  },
  unknown() {
    if (!faces.nextUnknown()) toast("No face on this photo waits for a name.", "info");
  },
  confirm() {
    const form = formToConfirm();
    if (form) form.requestSubmit();
    else toast("No name on this photo waits to be confirmed.", "info");
  },
  trash: () => find("#trash-photo", HTMLFormElement, viewer)?.requestSubmit(),
};

/** The form that confirms the active face's name, or else the first suggestion. */
function formToConfirm() {
  // Not while an unknown face has the focus: somebody may be about to type its name.
  if (document.activeElement?.matches(".face-row.unknown")) return null;
  const active = viewer.querySelector(".face-row.active:is(.suggested, .recognised)");
  const row = active ?? viewer.querySelector(".face-row.suggested");
  return row && find("form.confirm", HTMLFormElement, row);
}

document.addEventListener("click", (event) => {
  const name = closest(event.target, "#viewer [data-do]", HTMLElement)?.dataset.do;
  if (name && name in ACTIONS) ACTIONS[name]();
});

// --- Keys ---

/** @param {string} selector */
const follow = (selector) => () => find(selector, HTMLAnchorElement, viewer)?.click();

/** @type {Record<string, () => void>} */
const KEYS = {
  ArrowLeft: follow("#newer"),
  ArrowRight: follow("#older"),
  Escape: () => (zoom.isZoomed() ? zoom.reset() : follow("#up")()),
  Delete: ACTIONS.trash,
  n: ACTIONS.unknown,
  c: ACTIONS.confirm,
  d: ACTIONS.draw,
  f: ACTIONS.faces,
  i: ACTIONS.info,
  "?": ACTIONS.keys,
  "+": zoom.in,
  "=": zoom.in,
  "-": zoom.out,
  0: zoom.reset,
};

/** @param {KeyboardEvent} event */
function actionOf(event) {
  const row = event.target instanceof HTMLElement && event.target.matches(".face-row.unknown") ? event.target : null;
  if (event.key === "Enter" && row) return () => faces.open(row);
  return KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
}

/** @param {KeyboardEvent} event */
const isTaken = (event) => event.defaultPrevented || event.isComposing
  || closest(event.target, "input, select, textarea, dialog, [contenteditable]", Element) !== null;

document.addEventListener("keydown", (event) => {
  if (!isOpen() || event.ctrlKey || event.metaKey || event.altKey || isTaken(event)) return;
  const action = actionOf(event);
  if (!action) return;
  action();
  event.preventDefault();
});
