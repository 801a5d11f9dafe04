// Spaces: the chart follows the typed thresholds, an upload shows its progress, and the button that
// empties a space stays disabled until the name is typed. The pages work without it.

import { all, find, matches } from "../shared/dom.js";
import { toast } from "../shared/toast.js";

const numbers = new Intl.NumberFormat("en-GB");

// --- Thresholds ---

/** @param {string} id */
const percentIn = (id) => Math.round(Number(find(`input#${id}`, HTMLInputElement)?.value ?? NaN) * 100);

function draw() {
  const chart = find("#zones", HTMLElement);
  const [low, high] = [percentIn("id_threshold"), percentIn("id_confirm_threshold")];
  if (!chart || !(low >= 0 && low <= high && high <= 100)) return;
  for (const [zone, from, to] of /** @type {const} */ ([["below", 0, low], ["between", low, high], ["above", high, 100]])) {
    const part = chart.querySelector(`[data-zone="${zone}"]`);
    part?.setAttribute("x", String(from));
    part?.setAttribute("width", String(to - from));
  }
  if (chart.dataset.bars) count(chart, chart.dataset.bars.split(" ").map(Number), low, high);
}

/**
 * Writes how many faces are in each zone.
 * @param {HTMLElement} chart
 * @param {number[]} bars The number of faces by percent of similarity.
 * @param {number} low
 * @param {number} high
 */
function count(chart, bars, low, high) {
  const sum = (/** @type {number[]} */ some) => some.reduce((total, one) => total + one, 0);
  const counts = {
    below: sum(bars.slice(0, low)) + Number(chart.dataset.unknown),
    between: sum(bars.slice(low, high)),
    above: sum(bars.slice(high)),
  };
  for (const [zone, number] of Object.entries(counts)) {
    const words = chart.querySelector(`[data-count="${zone}"]`);
    if (words) words.textContent = numbers.format(number);
  }
}

document.addEventListener("input", ({ target }) => {
  if (matches(target, "#id_threshold, #id_confirm_threshold")) draw();
  if (target instanceof HTMLInputElement && target.matches("[data-must-be]")) enableIfTyped(target);
});
document.addEventListener("htmx:afterSettle", draw);

// --- Typing the space's name ---

/** @param {HTMLInputElement} field */
function enableIfTyped(field) {
  const typed = field.value.trim().replace(/\s+/g, " ").toLowerCase();
  const button = field.form && find("button.danger", HTMLButtonElement, field.form);
  if (button) button.disabled = typed !== field.dataset.mustBe?.toLowerCase();
}
all("[data-must-be]", HTMLInputElement).forEach(enableIfTyped);

// --- Uploading ---

/** @param {Element} element */
const uploadForm = (element) => (element instanceof HTMLFormElement && element.matches(".snapshot-upload") ? element : null);

/** @param {HTMLFormElement | null} form */
const barOf = (form) => form?.querySelector("progress") ?? null;

document.addEventListener("htmx:configRequest", (event) => {
  const form = uploadForm(event.detail.elt);
  const file = form && find("input[type=file]", HTMLInputElement, form)?.files?.[0];
  const most = Number(form?.dataset.mostMegabytes);
  if (!file || file.size <= most * 1e6) return;
  event.preventDefault();
  toast(`This file is too large: the limit is ${numbers.format(most)} MB.`, "error");
});
document.addEventListener("htmx:xhr:progress", ({ detail }) => {
  const bar = barOf(uploadForm(detail.elt));
  if (!bar || !detail.lengthComputable) return;
  bar.hidden = false;
  bar.max = detail.total;
  bar.value = detail.loaded;
});
document.addEventListener("htmx:afterRequest", ({ detail }) => {
  const bar = barOf(uploadForm(detail.elt));
  if (bar) bar.hidden = true;
});
