// What can be done with selected photos. Actions run without leaving the page; if the server can't be
// reached, the selection is kept.

import { all, closest, fieldOf, find, fragmentOf, need } from "../shared/dom.js";
import { Refused, explain, fetched, reasonIn, request } from "../shared/request.js";
import { toast } from "../shared/toast.js";
import { many } from "../shared/words.js";
import { refresh, removeAll } from "./changes.js";
import { recount, renew } from "./loading.js";
import { clear, form, selectAll, selectedPks, size } from "./photo_selection.js";
import "./tile_gestures.js";
import { currentTile, currentWithout, focusOn, isOnScreen } from "./tile_focus.js";

if (form) attach(form);

/** @param {HTMLFormElement} bar */
function attach(bar) {
  bar.addEventListener("formdata", ({ formData }) => {
    formData.delete("photo");
    for (const pk of selectedPks()) formData.append("photo", pk);
  });
  bar.addEventListener("submit", (event) => {
    const button = event.submitter instanceof HTMLButtonElement ? event.submitter : null;
    if (size() && button && "stays" in button.dataset) {
      toast("The download begins as soon as the first photo is packed.", "info");
      return;
    }
    event.preventDefault();
    if (size() && button) act(bar, button.formAction);
  });
}

// --- Sending ---

/** @typedef {{ isDone: boolean, content: DocumentFragment }} Answer */

/**
 * Sends the selection, and takes an answer's toasts and counts into the page. Resolves to null if the
 * server could not do it, which it then has said.
 * @param {HTMLFormElement} bar
 * @param {string} url
 * @param {Record<string, string>} more
 * @returns {Promise<Answer | null>}
 */
async function send(bar, url, more = {}) {
  if (bar.hasAttribute("aria-busy")) return null;
  bar.setAttribute("aria-busy", "true");
  try {
    const fields = new URLSearchParams(Object.entries(more));
    new FormData(bar).forEach((value, name) => fields.append(name, String(value)));
    const response = await request(url, { method: "POST", body: fields, headers: { "HX-Target": "tiles" } });
    const html = await response.text();
    if (isShown(response)) return { isDone: response.ok, content: take(html) };
    toast(reasonIn(response.headers.get("Content-Type"), html, "That could not be done. Try again in a moment."), "error");
  } catch (error) {
    const offline = "The server can't be reached. Nothing was changed: try again.";
    const words = explain(error, { offline, otherwise: offline });
    if (words) toast(words, "error");
  } finally {
    bar.removeAttribute("aria-busy");
  }
  return null;
}

/**
 * Whether an answer is a part of the page. One with 422 is a form with its errors.
 * @param {Response} response
 */
const isShown = (response) => response.status < 400 || response.status === 422;

/**
 * Swaps in an answer's toasts and counts, and returns the rest of it.
 * @param {string} html
 */
function take(html) {
  const content = fragmentOf(html);
  window.htmx?.swap("#selection", html, { swapStyle: "none" }, { eventInfo: { target: form } });
  for (const one of content.querySelectorAll("[hx-swap-oob]")) one.remove();
  return content;
}

// --- Actions ---

/**
 * Does something with the selected photos, and shows in the grid what came of it.
 * @param {HTMLFormElement} bar
 * @param {string} url
 * @param {Record<string, string>} [more]
 */
async function act(bar, url, more) {
  const pks = selectedPks();
  const answer = await send(bar, url, more);
  if (answer && !answer.isDone) {
    // The dialog shows the form again, with the error.
    if (answer.content.querySelector("form, .error")) document.getElementById("move-to")?.replaceChildren(answer.content);
    return;
  }
  // An open dialog would cover the toast, also an error's.
  for (const dialog of all("dialog[open]", HTMLDialogElement)) dialog.close();
  if (!answer) return;
  const done = find("#done", HTMLElement, answer.content);
  show(pks, new Set(done?.dataset.gone?.split(",").filter(Boolean)));
}

/**
 * @param {string[]} pks What was selected.
 * @param {Set<string>} gone Those that have left the grid.
 */
function show(pks, gone) {
  const near = currentWithout(gone);
  clear();
  const seen = removeAll([...gone]);
  refresh(pks.filter((pk) => !gone.has(pk)));
  focusOn(near && isOnScreen(near) ? near : seen);
  recount();
}

// --- Dialogs ---

document.addEventListener("click", (event) => {
  const { target } = event;
  const choice = closest(target, "#selection [data-select]", HTMLElement)?.dataset.select;
  if (choice === "none") clear();
  else if (choice === "all") selectAll();
  const button = closest(target, "#selection [data-ask]", HTMLButtonElement);
  const dialog = button && find(`#ask-${button.dataset.ask}`, HTMLDialogElement);
  if (!form || !dialog) return;
  event.preventDefault();
  open(form, dialog, button);
});

/**
 * @param {HTMLFormElement} bar
 * @param {HTMLDialogElement} dialog
 * @param {HTMLButtonElement} button
 */
function open(bar, dialog, button) {
  for (const words of dialog.querySelectorAll("[data-role=photos]")) words.textContent = many(size(), "photo");
  if (button.dataset.ask === "move") {
    if (size()) askWhere(bar, dialog, button.formAction);
    return;
  }
  dialog.showModal();
  if (button.dataset.ask === "recognise") estimate(bar, need("[data-role=words]", HTMLElement, dialog));
}

/**
 * Asks which gallery the photos move to.
 * @param {HTMLFormElement} bar
 * @param {HTMLDialogElement} dialog
 * @param {string} url
 */
async function askWhere(bar, dialog, url) {
  const answer = await send(bar, url);
  if (!answer?.isDone) return;
  need("#move-to", HTMLElement).replaceChildren(answer.content);
  dialog.showModal();
}

/**
 * Says what recognising the photos again costs.
 * @param {HTMLFormElement} bar
 * @param {HTMLElement} words
 */
async function estimate(bar, words) {
  words.textContent = "";
  try {
    words.textContent = await (await fetched(`${bar.dataset.estimate}?photos=${size()}`, { stays: true })).text();
  } catch {
    // The dialog then shows no estimate.
  }
}

document.addEventListener("submit", (event) => {
  const sent = event.target;
  if (!(sent instanceof HTMLFormElement)) return;
  if (form && sent.closest("#move-to")) {
    event.preventDefault();
    act(form, sent.action, { to: String(new FormData(sent).get("to")) });
  } else if (sent.matches("#toasts form[action$='/trash/restore']") && !isOfViewer(sent)) {
    event.preventDefault();
    undo(sent);
  }
});

// --- Undoing ---

/**
 * The undo of a deletion in the viewer is handled by the viewer, which shows the photo again.
 * @param {HTMLFormElement} toastForm
 */
const isOfViewer = (toastForm) => /\/photos\/\d+\//.test(fieldOf(toastForm, "next", HTMLInputElement)?.value ?? "");

/**
 * Submits a toast's undo form; the answer has the toasts, and the grid is then loaded anew.
 * @param {HTMLFormElement} toastForm
 */
async function undo(toastForm) {
  try {
    const response = await request(toastForm.action, { method: "POST", body: new FormData(toastForm) });
    const html = await response.text();
    if (!isShown(response)) throw new Refused(response.status);
    toastForm.closest(".toast")?.remove();
    take(html);
  } catch (error) {
    const otherwise = "That could not be taken back just now. Try again.";
    const words = explain(error, { otherwise, offline: otherwise });
    if (words) toast(words, "error");
    return;
  }
  await renew();
  focusOn(currentTile());
  recount();
}
