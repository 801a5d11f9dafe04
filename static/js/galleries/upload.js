// The upload panel: progress, speed, files that need attention, and the outcome.

import { need } from "../shared/dom.js";
import { hold, request } from "../shared/request.js";
import { many, number, size } from "../shared/words.js";
import { grid } from "./grid.js";
import { Pace } from "./upload_pace.js";
import { UploadQueue } from "./upload_queue.js";
import { UploadRest } from "./upload_rest.js";
import { UploadRows, part as partOf } from "./upload_rows.js";
import { outcomeWords, titleOf, troubleWords } from "./upload_words.js";

/** @typedef {import("./upload_queue.js").Now} Now */
/** @typedef {import("./upload_queue.js").Trouble} Trouble */

const REFRESH_MS = 250;

const form = need("#upload", HTMLFormElement);
const panel = need("#uploads", HTMLElement);

/**
 * @template {Element} T
 * @param {string} role
 * @param {import("../shared/dom.js").Kind<T>} kind
 */
const part = (role, kind) => partOf(role, kind, panel);
/** @param {string} role */
const words = (role) => part(role, HTMLElement);
/** @param {string} role */
const button = (role) => part(role, HTMLButtonElement);

let leftOut = 0;
let isCancelled = false;
const queue = new UploadQueue(form, {
  changed: (item) => {
    if (item) rows.show(item);
    refreshSoon();
  },
  landed: (answer) => {
    if (answer.new || answer.restored) grid.add(answer.tile);
  },
});
const rows = new UploadRows(panel, queue);
const rest = new UploadRest(form, queue);
const pace = new Pace();
hold(() => queue.now().open > 0);

// --- Adding files ---

export const upload = {
  /**
   * @param {import("./upload_files.js").Chosen[]} files
   * @param {number} others How many files of a folder are left out.
   */
  add(files, others) {
    leftOut += others;
    isCancelled = false;
    if (files.length || others) panel.hidden = false;
    rest.carryOn(files.length);
    queue.add(files);
    showCost();
    keepRefreshing();
  },
  /** @param {number} count Photos that were found in a folder so far. */
  searching(count) {
    panel.hidden = false;
    words("title").textContent = `Looking through the folder: ${many(count, "photo")}…`;
  },
};

// Shows what recognising the files will cost at most: those that are here already are free.
async function showCost() {
  const { all } = queue.now();
  if (!form.dataset.estimate || !all) return;
  const response = await request(`${form.dataset.estimate}?new=${all}`, { stays: true }).catch(() => null);
  if (!response?.ok || !queue.now().open) return;
  words("cost").textContent = await response.text();
  words("cost").hidden = false;
}

// --- Refreshing the panel, every now and then ---

let ticking = 0;
function keepRefreshing() {
  ticking ||= setInterval(refresh, REFRESH_MS);
  refresh();
}

let waiting = 0;
function refreshSoon() {
  waiting ||= setTimeout(refresh, REFRESH_MS);
}

function refresh() {
  clearTimeout(waiting);
  waiting = 0;
  const now = queue.now();
  const isOver = now.open === 0;
  const isMoving = !now.isPaused && !now.trouble && now.isSending;
  const { added, present, restored, refused } = now.counts;
  pace.measure({ at: performance.now() / 1000, moved: now.bytes.moved, over: added + present + restored + refused, isMoving });
  words("title").textContent = titleOf(now, isCancelled);
  showProgress(now, isOver);
  showControls(now, isOver);
  showTrouble(isOver || now.trouble?.kind === "checking" ? null : now.trouble);
  rows.showGroups(isOver);
  rest.remember(now, isCancelled);
  announce(now, isOver);
  if (isOver) end(added + present + restored > 0);
}

/**
 * @param {Now} now
 * @param {boolean} isOver
 */
function showProgress(now, isOver) {
  const bar = part("bar", HTMLProgressElement);
  bar.max = now.bytes.all || 1;
  bar.value = isOver ? bar.max : now.loaded;
  bar.setAttribute("aria-valuetext", `${number(now.over)} of ${many(now.all, "photo")}`);
  const { speed, left } = isOver || now.trouble || now.isPaused ? { speed: "", left: "" } : pace.words(now.bytes.all - now.loaded);
  words("words").textContent = isOver ? outcomeWords(now.counts, leftOut) || "No photo among these files"
    : [`${size(now.loaded)} of ${size(now.bytes.all)}`, speed].filter(Boolean).join(" · ");
  words("left").textContent = left;
}

/**
 * @param {Now} now
 * @param {boolean} isOver
 */
function showControls(now, isOver) {
  button("pause").textContent = now.isPaused ? "Go on" : "Pause";
  words("controls").hidden = isOver;
  if (isOver) words("cost").hidden = true;
  button("close").hidden = !isOver;
}

/** @param {Trouble | null} trouble */
function showTrouble(trouble) {
  words("trouble").hidden = !trouble;
  words("sign-in").hidden = trouble?.kind !== "signed-out";
  button("go-on").textContent = trouble?.kind === "lost" ? "Try now" : "Go on";
  const why = trouble && troubleWords(trouble);
  if (why && words("why").textContent !== why) words("why").textContent = why;
}

/** @param {boolean} hasMore Whether there are more photos than before. */
function end(hasMore) {
  clearInterval(ticking);
  // Load the grid anew for its final headings, and for photos that another tab has sent.
  if (ticking && hasMore) {
    grid.renew();
    grid.recount();
  }
  ticking = 0;
}

// Screen readers are told of each quarter, each problem, and the end.
let announced = "";
/**
 * @param {Now} now
 * @param {boolean} isOver
 */
function announce(now, isOver) {
  const title = words("title").textContent ?? "";
  const quarter = Math.floor((4 * now.loaded) / (now.bytes.all || 1));
  const key = isOver || now.isPaused || now.trouble ? title : `quarter ${quarter}`;
  if (key === announced) return;
  announced = key;
  words("status").textContent = isOver ? `${title}: ${words("words").textContent}.` : title;
}

// --- Buttons ---

button("pause").addEventListener("click", () => queue.pause(!queue.now().isPaused));
button("cancel").addEventListener("click", () => {
  isCancelled = true;
  queue.cancel();
  refresh();
  button("close").focus();
});
button("go-on").addEventListener("click", () => queue.goOn());
button("fold").addEventListener("click", () => {
  const isFolded = panel.classList.toggle("folded");
  button("fold").setAttribute("aria-expanded", String(!isFolded));
});
button("close").addEventListener("click", () => {
  panel.hidden = true;
  rows.emptyAll();
  queue.forget();
  pace.reset();
  rest.forget();
  leftOut = 0;
  announced = "";
});

need('[data-group="unsent"] [data-role="act"]', HTMLButtonElement, panel).addEventListener("click", () => {
  rows.empty("unsent");
  isCancelled = false;
  queue.retry(queue.inState("unsent"));
  keepRefreshing();
});
need('[data-group="trashed"] [data-role="act"]', HTMLButtonElement, panel).addEventListener("click", () => {
  rows.empty("trashed");
  queue.bringBack(queue.inState("trashed"));
  keepRefreshing();
});

// --- Leaving the page ---

window.addEventListener("beforeunload", (event) => {
  if (queue.now().open) event.preventDefault();
});
// A poll that finds the session ended would navigate away and lose the upload.
document.addEventListener("htmx:beforeOnLoad", (event) => {
  if (!event.detail.xhr.getResponseHeader("HX-Redirect") || !queue.now().open) return;
  event.preventDefault();
  queue.goOn();
});
