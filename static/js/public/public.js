// Pages behind public links: loads more photos on scrolling, and turns photos by keys and swipes.
// Without it every link still works.

import { closest, find } from "../shared/dom.js";
import { NearLoader } from "../shared/near.js";
import { isPlainClick, navigationType } from "../shared/navigation.js";
import { fetched } from "../shared/request.js";

const wall = find("#wall", HTMLUListElement);
const moreLink = find("#more", HTMLAnchorElement);

// --- The list ---

/** @param {HTMLElement} edge The link to the next page. */
async function loadMore(edge) {
  if (!wall || !(edge instanceof HTMLAnchorElement)) return false;
  const response = await fetched(edge.href, { answer: "page" });
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  wall.append(...page.querySelectorAll("#wall > li"));
  const next = page.getElementById("more")?.getAttribute("href");
  if (next) edge.href = new URL(next, edge.href).href;
  else edge.parentElement?.remove();
  return Boolean(next);
}
if (wall && moreLink) new NearLoader("150% 0px", loadMore).watch(moreLink);

// --- Opening a photo, turning, and coming back to its place ---

// Turning replaces the history entry, so that going back leads to the list, at the last photo seen.
// The history's length tells whether the previous entry is that list.
const home = location.pathname.replace(/photo\/[0-9]+\/$/, "");
const up = find("#up", HTMLAnchorElement);

/** @param {string} name */
function recall(name) {
  try {
    return sessionStorage.getItem(`${name}:${home}`);
  } catch {
    return null;
  }
}

/**
 * @param {string} name
 * @param {string | null} value
 */
function remember(name, value) {
  try {
    if (value === null) sessionStorage.removeItem(`${name}:${home}`);
    else sessionStorage.setItem(`${name}:${home}`, value);
  } catch {
    // Without session storage the links still work.
  }
}

wall?.addEventListener("click", (event) => {
  if (closest(event.target, "a", HTMLAnchorElement) && isPlainClick(event)) remember("from", "here");
});
if (up) {
  if (recall("from") === "here") remember("from", String(history.length));
  else if (recall("from") !== String(history.length)) remember("from", null);
  remember("last", `${up.dataset.photo} ${up.getAttribute("href")}`);
}
document.addEventListener("click", (event) => {
  const link = closest(event.target, "#newer, #older, #up", HTMLAnchorElement);
  if (!link || !isPlainClick(event)) return;
  event.preventDefault();
  if (link === up && recall("from")) history.back();
  else location.replace(link.href);
});

function comeBack() {
  const [pk, place] = (recall("last") || "").split(" ");
  remember("last", null);
  remember("from", null);
  if (!pk) return;
  const photo = document.getElementById(`photo-${pk}`);
  if (!photo) {
    location.replace(place);
    return;
  }
  const { top, bottom } = photo.getBoundingClientRect();
  if (top < 0 || bottom > innerHeight) photo.scrollIntoView({ block: "center" });
  photo.querySelector("a")?.focus({ preventScroll: true });
}
if (wall) {
  addEventListener("pageshow", (event) => {
    if (event.persisted || navigationType() === "back_forward") comeBack();
    else remember("last", null);
  });
}

// --- Keys and swipes ---

/** @param {string} id */
const follow = (id) => find(`#${id}`, HTMLAnchorElement)?.click();

/** @type {Record<string, string>} */
const KEYS = { ArrowLeft: "newer", ArrowRight: "older", Escape: "up" };
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key in KEYS) follow(KEYS[event.key]);
});

const SWIPE = 60; // Pixels.
const stage = find(".stage", HTMLElement);
/** @type {Touch | null} */
let start = null;
stage?.addEventListener("touchstart", (event) => {
  start = event.touches.length === 1 ? event.touches[0] : null;
}, { passive: true });
stage?.addEventListener("touchend", (event) => {
  if (!start || (window.visualViewport?.scale ?? 1) > 1.05) return;
  const end = event.changedTouches[0];
  const across = end.clientX - start.clientX;
  const isAcross = Math.abs(across) > SWIPE && Math.abs(across) > 2 * Math.abs(end.clientY - start.clientY);
  if (isAcross) follow(across > 0 ? "newer" : "older");
  start = null;
});

// Preload the neighbours' pictures.
for (const link of [find("#older", HTMLAnchorElement), find("#newer", HTMLAnchorElement)]) {
  if (link) new Image().src = `${link.href}large`;
}
