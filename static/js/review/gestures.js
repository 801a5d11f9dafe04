// The review's clicks, keys and swipes. One gesture is one decision.

import { closest, find, matches, need, ofKind } from "../shared/dom.js";

/** @typedef {import("./cards.js").Cards} Cards */
/** @typedef {import("./sender.js").Sender} Sender */

/** After a new card, key presses are ignored for so long. */
const KEY_MS = 120;
/** The same for a click or tap, as a double click is slower. */
const CLICK_MS = 300;
/** No system counts clicks further apart as a double click. */
const DOUBLE_CLICK_MS = 1000;
const SWIPE = 90; // Pixels.

// --- Clicks ---

/**
 * The second half of a double click or tap would land on the next card, so it is ignored. Clicks made
 * by keys or swipes aren't checked here.
 * @param {Cards} cards
 */
export function attachClicks(cards) {
  let clickedAt = 0;
  cards.review.addEventListener("click", (event) => {
    const target = closest(event.target, "#review-card *, #review-done *", Element);
    if (!event.isTrusted || !event.detail || !target || target.closest("input")) return;
    const age = event.timeStamp - Math.max(cards.shownAt, clickedAt);
    if (age < CLICK_MS || (event.detail > 1 && age < DOUBLE_CLICK_MS)) {
      event.preventDefault();
      event.stopImmediatePropagation();
    } else if (target.closest("button, a, [role=option]")) {
      clickedAt = event.timeStamp;
    }
  }, true);
}

/**
 * @param {Cards} cards
 * @param {HTMLElement | null | undefined} button
 */
function press(cards, button) {
  if (performance.now() - cards.shownAt >= KEY_MS) button?.click();
}

// --- Keys ---

/**
 * @param {Cards} cards
 * @param {Sender} sender
 */
export function attachKeys(cards, sender) {
  const pressing = (/** @type {string} */ key) => () => press(cards, cards.button(key));
  /** @type {Record<string, () => void>} */
  const keys = {
    Enter: pressing("yes"),
    "-": pressing("no"),
    "−": pressing("no"),
    Delete: pressing("ignore"),
    ArrowRight: pressing("skip"),
    ArrowLeft: () => sender.goBack(),
    Backspace: () => sender.undo(),
    "?": () => need("#review-keys", HTMLDialogElement).showModal(),
  };

  /** @param {KeyboardEvent} event */
  function actionOf(event) {
    if (event.ctrlKey || event.metaKey) return event.key.toLowerCase() === "z" ? keys.Backspace : undefined;
    if (!/^[1-9]$/.test(event.key)) return keys[event.key];
    const group = find("[data-recent]", HTMLElement, cards.box);
    const name = group && ofKind(group.children, HTMLButtonElement)[Number(event.key) - 1];
    return name ? () => press(cards, name) : undefined;
  }

  document.addEventListener("keydown", (event) => {
    if (isTaken(event) || isElsewhere(cards.nameField, event)) return;
    const action = actionOf(event);
    if (action) {
      event.preventDefault();
      if (!event.repeat) action();
    } else if (isLetter(event)) {
      cards.nameField?.focus({ preventScroll: true });
    }
  });
}

/** @param {KeyboardEvent} event */
const isTaken = (event) => event.defaultPrevented || event.isComposing || event.altKey
  || document.querySelector("dialog[open]") !== null;

/**
 * Whether the focus is where keys mean something else. Only an empty name field leaves them alone.
 * @param {HTMLInputElement | null} nameField
 * @param {KeyboardEvent} event
 */
function isElsewhere(nameField, event) {
  const active = document.activeElement;
  if (nameField && active === nameField) return nameField.value !== "";
  if (matches(active, "input, select, textarea, summary")) return true;
  return matches(active, "button, a") && (event.key === "Enter" || event.key === " ");
}

/** @param {KeyboardEvent} event */
const isLetter = (event) => event.key.length === 1 && event.key !== " " && !event.ctrlKey && !event.metaKey;

// --- Swipes ---

/** @param {Cards} cards */
export function attachSwipes(cards) {
  const { box } = cards;
  /** @type {{ area: HTMLElement, x: number, id: number, by: number } | null} */
  let swipe = null;

  box.addEventListener("pointerdown", (event) => {
    const area = closest(event.target, "[data-swipe]", HTMLElement);
    if (area && event.pointerType === "touch") swipe = { area, x: event.clientX, id: event.pointerId, by: 0 };
  });
  box.addEventListener("pointermove", (event) => {
    if (!swipe || event.pointerId !== swipe.id) return;
    swipe.by = event.clientX - swipe.x;
    swipe.area.style.transform = `translateX(${swipe.by}px) rotate(${swipe.by / 60}deg)`;
    swipe.area.classList.toggle("to-yes", swipe.by > SWIPE && cards.button("yes") !== null);
    swipe.area.classList.toggle("to-no", swipe.by < -SWIPE && cards.button("ignore") !== null);
  });

  /** @param {PointerEvent} event */
  function release(event) {
    if (!swipe || event.pointerId !== swipe.id) return;
    const { area, by } = swipe;
    swipe = null;
    area.style.transform = "";
    area.classList.remove("to-yes", "to-no");
    if (event.type === "pointerup" && Math.abs(by) > SWIPE) press(cards, cards.button(by > 0 ? "yes" : "ignore"));
  }
  box.addEventListener("pointerup", release);
  box.addEventListener("pointercancel", release);
}
