// Polls the tiles of photos that are still being processed, all in one request.

import { all, find } from "../shared/dom.js";
import { pollBusy } from "./loading.js";
import { root } from "./sheets.js";

/** If there are more than one request may ask about, those on the screen come first. */
const MOST = 80;

const pollerOf = () => find("#poller", HTMLElement);
const busyInputs = () => all("[name=busy]", HTMLInputElement, root);

/** @param {HTMLInputElement} input */
function isOnScreen(input) {
  const box = input.parentElement?.getBoundingClientRect();
  return box !== undefined && box.bottom > 0 && box.top < innerHeight;
}

function nextInputs() {
  const inputs = busyInputs();
  if (inputs.length <= MOST) return inputs;
  const seen = new Set(inputs.filter(isOnScreen));
  const others = inputs.filter((input) => !seen.has(input)).reverse();
  return [...seen, ...others].slice(0, MOST);
}

document.addEventListener("htmx:configRequest", ({ detail: { elt, parameters } }) => {
  if (elt.id !== "poller") return;
  parameters.delete("busy");
  for (const input of nextInputs()) parameters.append("busy", input.value);
});

// A busy tile that was added while a poll was under way needs another poll.
document.addEventListener("htmx:afterSettle", (event) => {
  const poller = pollerOf();
  if (event.detail.elt.id !== "poller" && (!poller || poller !== event.target)) return;
  const polls = poller?.getAttribute("hx-trigger")?.includes("load") ?? false;
  if (busyInputs().length && !polls) pollBusy();
});
