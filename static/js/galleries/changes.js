// Photos that come to a gallery's grid, change or leave it while it is shown.

import { closest, find, fragmentOf } from "../shared/dom.js";
import { isDropped } from "../shared/virtual_list.js";
import { dayIn, dayWords } from "../shared/words.js";
import { newSheet, pollBusy, show } from "./loading.js";
import { firstSeen, keepingPlace, markPlace } from "./place.js";
import { isAbove } from "./rows.js";
import { dispatch, edgeAt, headingOf, isByUpload, joinHeadings, keyOf, layOut, pkOf, root, sheets, tileOf, tiles } from "./sheets.js";

/** A sheet with so many photos gets no more before its first one. */
const FULL = 60;
const isFiltered = "filtered" in root.dataset;
const timeZone = root.dataset.zone;

// --- Photos that come ---

/** @type {Set<HTMLElement>} Sheets that wait for being laid out. */
const changed = new Set();

/** The next poll of busy tiles also fetches the tabs' counts, if photos have arrived. */
let haveArrived = false;

/**
 * Adds a new photo's tile at its place if that is loaded; otherwise it comes with its sheet.
 * @param {string} html
 */
export function add(html) {
  const tile = find(".tile", HTMLElement, fragmentOf(html));
  haveArrived = true;
  const isNew = tile && !isFiltered && !tileOf(pkOf(tile));
  const sheet = isNew ? sheetFor(keyOf(tile)) : null;
  // A dropped sheet gets the tile when it is loaded again.
  if (!isNew || !sheet || isDropped(sheet)) {
    pollBusy();
    return;
  }
  insert(tile, sheet);
  changed.add(sheet);
  if (changed.size === 1) requestAnimationFrame(showChanged);
}

function showChanged() {
  keepingPlace(() => { for (const sheet of changed) show(sheet); });
  changed.clear();
}

/**
 * The sheet that a photo belongs to, which then reaches to its key. Null if that part is not loaded.
 * @param {string} key
 */
function sheetFor(key) {
  const all = sheets();
  const sheet = all.find((one) => isAbove(key, one.dataset.last ?? ""));
  if (!sheet) return edgeAt("older") ? null : sheetBelow(all.at(-1), key);
  const isBefore = !sheet.dataset.above && isAbove(key, sheet.dataset.first ?? "");
  return isBefore ? sheetFrom(sheet, key, sheet === all[0]) : sheet;
}

/**
 * @param {HTMLElement | undefined} last
 * @param {string} key Below all others.
 */
function sheetBelow(last, key) {
  const sheet = last ?? newSheet(key, (one) => root.prepend(one));
  sheet.dataset.last = key;
  return sheet;
}

/**
 * @param {HTMLElement} sheet
 * @param {string} key Above those of the sheet, and below those of the sheet before it.
 * @param {boolean} isFirst
 */
function sheetFrom(sheet, key, isFirst) {
  if (isFirst && edgeAt("newer")) return null;
  if (isFirst && tiles(sheet).length >= FULL) return newSheet(key, (one) => sheet.before(one));
  sheet.dataset.first = key;
  return sheet;
}

/**
 * Puts a tile at its place, under the heading of its day.
 * @param {HTMLElement} tile
 * @param {HTMLElement} sheet
 */
function insert(tile, sheet) {
  const day = dayIn(isByUpload ? Date.now() : Number(tile.dataset.at) / 1000, timeZone);
  const own = tiles(sheet);
  const at = own.findIndex((one) => isAbove(keyOf(tile), keyOf(one)));
  const next = at < 0 ? undefined : own[at];
  const before = at < 0 ? own.at(-1) : own[at - 1];
  if (next && isOfDay(next, day)) next.before(tile);
  else if (before && isOfDay(before, day)) before.after(tile);
  else insertDay(tile, day, sheet, headingOf(next));
}

/**
 * A heading may be of a day, "2026-03-01", or of a month, "2026-03".
 * @param {HTMLElement} tile
 * @param {string} day
 */
function isOfDay(tile, day) {
  const own = headingOf(tile)?.dataset.day;
  return own !== undefined && day.startsWith(own);
}

/**
 * @param {HTMLElement} tile
 * @param {string} day
 * @param {HTMLElement} sheet
 * @param {HTMLElement | null} below The heading that the new one comes before.
 */
function insertDay(tile, day, sheet, below) {
  const heading = document.createElement("h2");
  heading.className = "day";
  heading.dataset.day = day;
  heading.textContent = dayWords(day, timeZone);
  const list = document.createElement("ul");
  list.className = "tiles";
  list.append(tile);
  if (below) below.before(heading, list);
  else sheet.append(heading, list);
}

// --- Photos that leave ---

/**
 * Removes tiles without moving the others on the screen. If all of those are removed, the next photo
 * takes their place. Returns the tile that is nearest to the first one on the screen.
 * @param {string[]} pks
 */
export function removeAll(pks) {
  const gone = new Set(pks);
  const all = tiles();
  const { stays, moves } = anchorAmong(all, gone);
  const before = moves?.getBoundingClientRect().top ?? 0;
  /** @type {Set<HTMLElement>} */
  const touched = new Set();
  for (const tile of all) {
    const sheet = gone.has(pkOf(tile)) ? closest(tile, ".sheet", HTMLElement) : null;
    if (!sheet) continue;
    touched.add(sheet);
    removeTile(tile);
  }
  for (const sheet of touched) {
    if (sheet.querySelector(".tile")) layOut(sheet);
    else sheet.remove();
  }
  joinHeadings();
  if (stays) scrollBy(0, stays.getBoundingClientRect().top - before);
  markPlace();
  return stays;
}

/**
 * The tile that stays and by which the page is scrolled, and the one whose place it takes.
 * @param {HTMLElement[]} all
 * @param {Set<string>} gone
 */
function anchorAmong(all, gone) {
  const seen = firstSeen();
  const first = seen ? Math.max(all.indexOf(seen), 0) : 0;
  const isLeft = (/** @type {HTMLElement} */ tile) => !gone.has(pkOf(tile));
  const stays = all.slice(first).find(isLeft) ?? all.slice(0, first).findLast(isLeft);
  const isOnScreen = stays && stays.getBoundingClientRect().top < innerHeight;
  return { stays, moves: isOnScreen ? stays : all[first] };
}

/** @param {HTMLElement} tile */
function removeTile(tile) {
  const heading = headingOf(tile);
  const list = tile.parentElement;
  tile.remove();
  if (!list || list.children.length) return;
  heading?.remove();
  list.remove();
}

// --- Photos that change ---

/**
 * Polls these photos' tiles, whose state has just changed.
 * @param {string[]} pks
 */
export function refresh(pks) {
  for (const pk of pks) {
    const tile = tileOf(pk);
    if (!tile || tile.querySelector("[name=busy]")) continue;
    const busy = document.createElement("input");
    Object.assign(busy, { type: "hidden", name: "busy", value: `${pk}.` });
    tile.append(busy);
  }
  pollBusy();
}

document.addEventListener("htmx:configRequest", ({ detail }) => {
  if (detail.elt.id !== "poller" || !haveArrived) return;
  detail.parameters.set("came", "1");
  haveArrived = false;
});

// Ignore polled tiles whose sheet was dropped meanwhile: they come again with their sheet.
document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  if (detail.requestConfig?.elt.id !== "poller") return;
  const holder = document.createElement("template");
  holder.innerHTML = detail.serverResponse;
  const away = [...holder.content.querySelectorAll("li[id^=photo-]")].filter((tile) => !document.getElementById(tile.id));
  if (!away.length) return;
  for (const tile of away) tile.remove();
  detail.serverResponse = holder.innerHTML;
});

document.addEventListener("htmx:oobAfterSwap", ({ detail: { target } }) => {
  const shown = [target, document.getElementById(target.id)].map((tile) => closest(tile, "#tiles .sheet", HTMLElement));
  for (const sheet of new Set(shown)) {
    if (!sheet) continue;
    layOut(sheet);
    dispatch("shown", sheet);
  }
});
