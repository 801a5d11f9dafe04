// Loaded on every page: toasts, closing menus, confirmations, and polls that pause while the page is
// hidden. Every page works without it.
import { all, closest, find } from "./dom.js";
import { reasonIn } from "./request.js";
import { showChosen } from "./tabs.js";
import { toast } from "./toast.js";

showChosen();
for (const name of ["htmx:afterSwap", "htmx:oobAfterSwap"]) document.addEventListener(name, showChosen);

document.addEventListener("animationend", ({ animationName, target }) => {
  if (animationName === "toast-out" && target instanceof Element) target.remove();
});

// --- Menus and dialogs ---

const OPEN_MENU = "details.menu[open], details.team-menu[open], details.more[open]";

document.addEventListener("click", (event) => {
  const { target } = event;
  if (!(target instanceof Element)) return;
  closest(closest(target, "[data-close-toast]", Element), ".toast", Element)?.remove();
  for (const menu of all(OPEN_MENU, HTMLDetailsElement)) if (!menu.contains(target)) menu.open = false;
  copyFrom(closest(target, "[data-copy]", HTMLElement));
  const opener = closest(target, "[data-dialog]", HTMLElement);
  const closer = closest(target, "[data-close-dialog]", HTMLElement);
  if (opener || closer) event.preventDefault();
  if (opener) find(`dialog#${opener.dataset.dialog}`, HTMLDialogElement)?.showModal();
  closest(closer, "dialog", HTMLDialogElement)?.close();
});

/** @param {HTMLElement | null} source */
function copyFrom(source) {
  if (!source) return;
  const byHand = () => { toast("The browser did not allow copying. Select the text and copy it by hand.", "error"); };
  // Browsers offer no clipboard over plain HTTP, except on localhost.
  const clipboard = /** @type {Clipboard | undefined} */ (navigator.clipboard);
  if (!clipboard) byHand();
  else clipboard.writeText(source.dataset.copy ?? "").then(() => { toast("Copied.", "success"); }, byHand);
}

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const menu = find(OPEN_MENU, HTMLDetailsElement);
  if (!menu) return;
  menu.open = false;
  menu.querySelector("summary")?.focus();
  event.stopImmediatePropagation();
}, true);

// --- Forms ---

document.addEventListener("submit", (event) => {
  const form = event.target instanceof HTMLFormElement ? event.target : null;
  const question = event.submitter?.dataset.confirm || form?.dataset.confirm;
  if (question && !window.confirm(question)) {
    event.preventDefault();
    event.stopImmediatePropagation();
  }
}, true);

document.addEventListener("change", ({ target }) => {
  const isField = target instanceof HTMLInputElement || target instanceof HTMLSelectElement;
  if (isField && target.matches("[data-submit]")) target.form?.requestSubmit();
});

// --- htmx ---

/** @param {Element} element */
const isPoll = (element) => element.matches("[data-poll]");

// A hidden page doesn't poll; when it is shown again, it polls at once.
document.addEventListener("htmx:beforeRequest", (event) => {
  const { elt } = event.detail;
  if (!document.hidden || !isPoll(elt)) return;
  event.preventDefault();
  elt.setAttribute("data-paused", "");
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return;
  for (const poll of document.querySelectorAll("[data-poll][data-paused]")) {
    poll.removeAttribute("data-paused");
    window.htmx?.trigger(poll, "wake");
  }
});

/** @type {Record<number, string>} */
const WORDS = {
  403: "You can't do that here. Reload the page if you signed in anew.",
  404: "That is not here any more. Reload the page.",
  413: "That is too large.",
};

document.addEventListener("htmx:responseError", ({ detail: { elt, xhr } }) => {
  if (isPoll(elt) && xhr.status !== 403 && xhr.status !== 404) {
    wakeLater(elt);
    return;
  }
  const otherwise = WORDS[xhr.status] ?? "Something went wrong on the server. Try again in a moment.";
  toast(reasonIn(xhr.getResponseHeader("Content-Type"), xhr.responseText, otherwise), "error");
});

/** @type {HTMLElement | null} */
let offline = null;
document.addEventListener("htmx:sendError", ({ detail: { elt } }) => {
  if (!offline?.isConnected) offline = toast("The server can't be reached. Trying again…", "error");
  if (isPoll(elt)) wakeLater(elt);
});
document.addEventListener("htmx:afterOnLoad", () => {
  offline?.remove();
  offline = null;
});

const WAKE_MS = 8000;
/** @param {Element} poll */
function wakeLater(poll) {
  setTimeout(() => { if (poll.isConnected) window.htmx?.trigger(poll, "wake"); }, WAKE_MS);
}
