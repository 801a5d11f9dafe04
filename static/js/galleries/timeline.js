// The months of a gallery: a menu, and beside a long grid a bar to scroll and jump by.

import { all, closest, find } from "../shared/dom.js";
import { isPlainClick } from "../shared/navigation.js";
import { number } from "../shared/words.js";
import { jump } from "./loading.js";
import { spreadMonths } from "./months.js";
import { firstSeen } from "./place.js";
import { address, headingOf, pathname } from "./sheets.js";

/** @typedef {ReturnType<typeof readMonths>[number]} Month */

/** With fewer photos there is no bar. */
const FEW = 200;

/** @param {HTMLElement} list */
const readMonths = (list) => spreadMonths(all("[data-before]", HTMLAnchorElement, list).map((link) => ({
  link,
  key: link.dataset.before ?? "",
  month: link.dataset.month ?? "",
  words: link.firstElementChild?.textContent ?? "",
  count: Number(link.dataset.count),
})));

// --- The bar ---

/** @type {Month[]} */
let months = [];

document.addEventListener("htmx:afterSettle", () => {
  const list = find("#dates-list", HTMLElement);
  if (!list || list.dataset.hasTimeline !== undefined || !list.querySelector("[data-before]")) return;
  list.dataset.hasTimeline = "";
  months = readMonths(list);
  document.querySelector(".rail")?.remove();
  const total = months.reduce((sum, month) => sum + month.count, 0);
  if (months.length >= 2 && total >= FEW) document.body.append(newBar());
  const seen = firstSeen();
  if (seen) follow(seen);
});
document.addEventListener("grid:moved", (event) => follow(event.detail));

function newBar() {
  const bar = document.createElement("div");
  bar.className = "rail";
  bar.setAttribute("aria-hidden", "true");
  const mark = document.createElement("i");
  const words = document.createElement("b");
  words.hidden = true;
  bar.append(mark, words, ...months.filter((month) => month.isLabelled).map(yearLabel));
  attachPointer(bar, words);
  return bar;
}

/** @param {Month} month */
function yearLabel(month) {
  const label = document.createElement("span");
  label.textContent = month.month.slice(0, 4);
  label.style.top = `${month.top * 100}%`;
  return label;
}

/**
 * @param {HTMLElement} bar
 * @param {HTMLElement} words Says which month is under the pointer.
 */
function attachPointer(bar, words) {
  const shareAt = (/** @type {PointerEvent} */ event) => {
    const box = bar.getBoundingClientRect();
    return Math.min(Math.max((event.clientY - box.top) / box.height, 0), 0.99999);
  };
  const monthAt = (/** @type {number} */ share) => months.find((month) => share < month.bottom);
  /** @param {PointerEvent} event */
  function point(event) {
    const share = shareAt(event);
    const month = monthAt(share);
    if (!month) return;
    words.hidden = false;
    words.textContent = `${month.words} ${month.month.slice(0, 4)} · ${number(month.count)}`;
    words.style.top = `${share * 100}%`;
  }
  bar.addEventListener("pointermove", point);
  bar.addEventListener("pointerleave", () => { if (!bar.classList.contains("held")) words.hidden = true; });
  bar.addEventListener("pointerdown", (event) => {
    bar.setPointerCapture(event.pointerId);
    bar.classList.add("held");
    point(event);
  });
  bar.addEventListener("pointerup", (event) => {
    bar.classList.remove("held");
    words.hidden = true;
    const month = monthAt(shareAt(event));
    if (month) goToMonth(month.key);
  });
}

/**
 * Marks the month of the first tile on the screen.
 * @param {HTMLElement} tile
 */
function follow(tile) {
  const mark = find(".rail > i", HTMLElement);
  const month = months.find((one) => one.month === headingOf(tile)?.dataset.day?.slice(0, 7));
  if (!mark || !month) return;
  mark.style.top = `${month.top * 100}%`;
  for (const one of months) {
    if (one === month) one.link.setAttribute("aria-current", "true");
    else one.link.removeAttribute("aria-current");
  }
}

// --- Jumping ---

// Each jump has an entry in the history, with its number.
let jumps = history.state?.jump ?? 0;

/** @param {string} key */
function goToMonth(key) {
  jumps += 1;
  history.pushState({ grid: true, jump: jumps }, "", address({ before: key }));
  jump({ before: key });
}
document.addEventListener("click", (event) => {
  const link = closest(event.target, "#dates-list [data-before]", HTMLAnchorElement);
  if (!link || !isPlainClick(event)) return;
  event.preventDefault();
  const menu = link.closest("details");
  if (menu) menu.open = false;
  goToMonth(link.dataset.before ?? "");
});
addEventListener("popstate", (event) => {
  const then = event.state?.jump ?? 0;
  if (location.pathname !== pathname || then === jumps) return;
  jumps = then;
  const at = new URLSearchParams(location.search).get("at");
  jump(at ? { at } : {});
});
