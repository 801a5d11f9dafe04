// Entry point of lists of people and of a person's page.

import { find } from "../shared/dom.js";
import { begin as beginChunks, watchCrops } from "./chunks.js";
import { showBar } from "./picks.js";

function begin() {
  beginChunks();
  watchCrops(document);
  showBar();
}

document.addEventListener("htmx:afterSettle", ({ target }) => {
  const isList = target instanceof Element && ["people", "person-view"].includes(target.id);
  if (isList) begin();
  else watchCrops(document);
});
document.addEventListener("htmx:oobAfterSwap", () => watchCrops(document));
window.addEventListener("pageshow", begin);

// --- Name and notes: text typed just before leaving the page is saved as well ---

const notesField = () => find("#notes", HTMLTextAreaElement);

let saved = notesField()?.value;
document.addEventListener("htmx:afterRequest", ({ detail }) => {
  if (!detail.successful || !detail.elt.matches("form.notes")) return;
  saved = String(detail.requestConfig?.formData.get("notes") ?? "");
});
addEventListener("pagehide", () => {
  const field = notesField();
  if (field?.form && field.value !== saved) navigator.sendBeacon(field.form.action, new FormData(field.form));
});

document.addEventListener("toggle", ({ target }) => {
  if (!(target instanceof HTMLElement) || !target.matches("details.rename[open]")) return;
  find("input[name=label]", HTMLInputElement, target)?.select();
}, true);
