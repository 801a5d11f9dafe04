// Which photos of a gallery are selected. The selection is a set of keys, so it outlives tiles that
// the grid drops and loads again.

import { all, find, need, ofKind } from "../shared/dom.js";
import { navigationType } from "../shared/navigation.js";
import { fetched } from "../shared/request.js";
import { Selection } from "../shared/selection.js";
import { toast } from "../shared/toast.js";
import { isDropped } from "../shared/virtual_list.js";
import { number } from "../shared/words.js";
import { isAbove } from "./rows.js";
import { address, edgeAt, headingOf, keyOf, pkOf, root, sheets, tiles } from "./sheets.js";
import { rove } from "./tile_focus.js";

/** The bar of actions. Auditors and strangers to the team have none, and can't select. */
export const form = find("#selection", HTMLFormElement);

const most = Number(form?.dataset.most ?? 0);
const selected = new Selection(most);
const REMEMBERED = `selection:${location.pathname}`;
/** The key of the anchor's tile, which the grid may have dropped. */
let anchorKey = "";

export const has = (/** @type {string} */ pk) => selected.has(pk);
export const size = () => selected.size;
export const selectedPks = () => selected.keys();
export const hasAnchor = () => selected.anchor !== null;

// --- Showing what is selected ---

/** @param {ParentNode} scope */
export function paint(scope = root) {
  for (const box of all(".tile-check", HTMLInputElement, scope)) {
    const isOn = selected.has(box.value);
    if (box.checked !== isOn) box.checked = isOn;
    box.tabIndex = -1;
  }
  if (form) for (const heading of all(".day", HTMLElement, root)) paintDay(heading);
  rove(scope);
}

/** @param {HTMLElement} heading */
function paintDay(heading) {
  const box = find(".day-check", HTMLInputElement, heading) ?? newDayBox(heading);
  const own = ofKind(heading.nextElementSibling?.children ?? [], HTMLElement).map((tile) => selected.has(pkOf(tile)));
  box.checked = own.length > 0 && own.every(Boolean);
  box.indeterminate = !box.checked && own.some(Boolean);
}

/** @param {HTMLElement} heading */
function newDayBox(heading) {
  const box = document.createElement("input");
  Object.assign(box, { type: "checkbox", className: "day-check", autocomplete: "off", tabIndex: -1 });
  box.setAttribute("aria-label", `Select all of ${heading.textContent?.trim()}`);
  heading.append(box);
  return box;
}

function showBar() {
  if (!form) return;
  form.classList.toggle("open", selected.size > 0);
  root.classList.toggle("selecting", selected.size > 0);
  need("[data-role=count]", HTMLElement, form).textContent = number(selected.size);
}

/** @param {boolean} hadRoom */
function changed(hadRoom) {
  if (!hadRoom) toast(`No more than ${number(most)} photos can be selected at once.`, "warning");
  paint();
  showBar();
}

// --- Changing it ---

/**
 * @param {string[]} pks
 * @param {boolean} isOn
 */
export function set(pks, isOn) {
  changed(selected.set(pks, isOn));
}

export function clear() {
  selected.clear();
  changed(true);
}

/**
 * Makes a tile the anchor of the next range.
 * @param {HTMLElement} tile
 * @param {boolean} isOn
 */
export function begin(tile, isOn) {
  selected.begin(pkOf(tile), isOn);
  anchorKey = keyOf(tile);
}

/** @param {HTMLElement} tile */
export function toggle(tile) {
  if (!form) return;
  const isOn = !selected.has(pkOf(tile));
  begin(tile, isOn);
  set([pkOf(tile)], isOn);
}

/**
 * Selects from the anchor to this tile. If parts between are not loaded, the server is asked.
 * @param {HTMLElement} tile
 */
export async function extend(tile) {
  if (!form) return;
  if (!hasAnchor()) {
    toggle(tile);
    return;
  }
  const key = keyOf(tile);
  const [top, end] = isAbove(key, anchorKey) ? [key, anchorKey] : [anchorKey, key];
  if (isLoaded(top, end)) {
    const between = tiles().filter((one) => !isAbove(keyOf(one), top) && !isAbove(end, keyOf(one)));
    changed(selected.reach(between.map(pkOf)));
    return;
  }
  const answer = await ask({ one: top, other: end });
  if (!answer || !hasAnchor()) return;
  changed(selected.reach(answer.pks));
  if (answer.hasMore) toast(`Only the first ${number(most)} photos of this range are selected.`, "warning");
}

/**
 * @param {string} top
 * @param {string} end
 */
function isLoaded(top, end) {
  const between = sheets().filter(({ dataset: { first = "", last = "" } }) => !isAbove(last, top) && !isAbove(end, first));
  const loaded = tiles().map(keyOf);
  return loaded.includes(top) && loaded.includes(end) && !between.some(isDropped);
}

/**
 * Asks the server for the photos of a place of the grid; null if it can't answer.
 * @param {Record<string, string>} place
 */
async function ask(place) {
  const url = new URL(form?.dataset.range ?? "", location.href);
  url.search = new URL(address(place), location.href).search;
  try {
    const { photos, more } = await (await fetched(url, { answer: "json" })).json();
    return { pks: /** @type {unknown[]} */ (photos).map(String), hasMore: Boolean(more) };
  } catch {
    toast("The selection could not be loaded. Try again.", "error");
    return null;
  }
}

export async function selectAll() {
  const answer = await ask({});
  if (!answer) return;
  selected.clear();
  set(answer.pks, true);
  if (answer.hasMore) toast(`The first ${number(most)} photos are selected: no more go at once.`, "warning");
}

// --- A whole day, by its heading ---

root.addEventListener("change", ({ target }) => {
  const day = target instanceof HTMLInputElement && target.matches(".day-check") ? headingDay(target) : undefined;
  if (day !== undefined && target instanceof HTMLInputElement) toggleDay(day, target.checked);
});

/** @param {HTMLElement} box */
const headingDay = (box) => (box.parentElement?.matches(".day") ? box.parentElement.dataset.day : undefined);

/**
 * @param {string} day
 * @param {boolean} isOn
 */
async function toggleDay(day, isOn) {
  selected.endRange();
  if (isDayLoaded(day)) {
    set(tiles().filter((tile) => headingOf(tile)?.dataset.day === day).map(pkOf), isOn);
    return;
  }
  const answer = await ask({ day });
  if (answer) set(answer.pks, isOn);
  else paint();
  if (answer?.hasMore) toast(`Only the first ${number(most)} photos of this heading are meant.`, "warning");
}

/**
 * False if the day may have photos that aren't loaded.
 * @param {string} day
 */
function isDayLoaded(day) {
  if (sheets().some(isDropped)) return false;
  const days = all(".day", HTMLElement, root).map((heading) => heading.dataset.day);
  return !(edgeAt("newer") && days.at(0) === day) && !(edgeAt("older") && days.at(-1) === day);
}

// --- Back from a photo ---

addEventListener("pagehide", () => {
  if (!selected.size) sessionStorage.removeItem(REMEMBERED);
  else sessionStorage.setItem(REMEMBERED, selected.keys().join(","));
});

function restore() {
  const kept = sessionStorage.getItem(REMEMBERED);
  if (form && kept && ["back_forward", "reload"].includes(navigationType() ?? "")) set(kept.split(","), true);
  sessionStorage.removeItem(REMEMBERED);
}

restore();
document.addEventListener("grid:shown", (event) => paint(event.detail));
paint();
showBar();
