// The review without waiting: a decision shows the next card at once, which is on the page already,
// and decisions are sent in the background. Without this script every button submits a plain form.

import { all, find } from "../shared/dom.js";
import { fetched } from "../shared/request.js";
import { toast } from "../shared/toast.js";
import { Cards } from "./cards.js";
import { attachClicks, attachKeys, attachSwipes } from "./gestures.js";
import { Sender } from "./sender.js";

/**
 * @param {HTMLElement} review
 * @param {HTMLElement} box
 */
function attach(review, box) {
  const cards = new Cards(review, box);
  const sender = new Sender(cards);
  attachForms(cards, sender);
  attachClicks(cards);
  attachKeys(cards, sender);
  attachSwipes(cards);
  attachHolds(cards);

  const recent = document.getElementById("review-recent");
  if (recent) cards.learnNames(recent);
  cards.keepAddress();
  if (matchMedia("(hover: hover)").matches) review.classList.add("has-keys");
  cards.add(all("#review-ready > template", HTMLTemplateElement));

  // A page from the back/forward cache is outdated.
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
}

// --- Decisions ---

/**
 * @param {Cards} cards
 * @param {Sender} sender
 */
function attachForms(cards, sender) {
  const count = counter();
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!(form instanceof HTMLFormElement)) return;
    const isUndo = form.id === "review-done";
    if (!isUndo && !form.matches("[data-review]")) return;
    event.preventDefault();
    if (isUndo) {
      sender.undo();
      return;
    }
    const card = cards.current;
    if (!card) return;
    const data = dataOf(form, event.submitter);
    if (data.get("do") !== "skip") count();
    cards.next();
    sender.decide(data, card);
  });
}

/**
 * What a form says when it is submitted by this button. The name of a button is the only name.
 * @param {HTMLFormElement} form
 * @param {HTMLElement | null} button
 */
function dataOf(form, button) {
  const data = new FormData(form);
  if (!(button instanceof HTMLButtonElement) || !button.name) return data;
  if (button.name === "label") data.delete("label");
  data.append(button.name, button.value);
  return data;
}

/** Counts decisions, and says how many there are a minute. */
function counter() {
  const FEW = 5;
  let decided = 0;
  let startedAt = 0;
  return () => {
    decided += 1;
    const now = performance.now();
    startedAt ||= now;
    const minutes = (now - startedAt) / 60_000;
    const words = document.getElementById("review-pace");
    if (!words) return;
    words.hidden = decided < FEW;
    words.textContent = `${decided} done, ${Math.round((decided - 1) / Math.max(minutes, 1 / 60))} a minute`;
  };
}

// --- Holding the page's faces, so that others are not asked about them ---

const RENEW_MS = 25_000;

/** @param {Cards} cards */
function attachHolds(cards) {
  const address = cards.review.dataset.keep ?? "";
  const token = find("[name=csrfmiddlewaretoken]", HTMLInputElement, cards.review)?.value ?? "";

  /** @param {string[]} faces */
  function formFor(faces) {
    const data = new FormData();
    data.append("csrfmiddlewaretoken", token);
    for (const face of faces) data.append("face", face);
    return data;
  }

  async function renew() {
    const faces = cards.onPage.map((card) => card.dataset.face ?? "").filter(Boolean);
    if (document.hidden || !faces.length) return;
    try {
      const response = await fetched(address, { answer: "json", method: "POST", body: formFor(faces) });
      const { lost } = await response.json();
      cards.drop(lost);
      if (lost.includes(Number(cards.current?.dataset.face))) {
        toast("Somebody else looks at this face now. If they decide first, you will be told.", "info");
      }
    } catch {
      // The next decision reports the problem.
    }
  }
  setInterval(renew, RENEW_MS);
  document.addEventListener("visibilitychange", renew);
  addEventListener("pagehide", () => navigator.sendBeacon(address, formFor([])));
}

const review = find("#review", HTMLElement);
const box = find("#review-card", HTMLElement);
if (review && box) attach(review, box);
