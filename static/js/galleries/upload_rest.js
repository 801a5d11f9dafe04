// The note about an earlier upload that was interrupted by closing its tab.

import { all, find, need } from "../shared/dom.js";
import { many, number } from "../shared/words.js";
import { part } from "./upload_rows.js";

/** @typedef {import("./upload_queue.js").UploadQueue} UploadQueue */
/** @typedef {import("./upload_queue.js").Now} Now */

/** Another tab is given so long to say that it runs the upload. */
const ANSWER_MS = 1000;

export class UploadRest {
  #key;
  #note;
  #queue;
  /** Whether this tab continues the upload that is stored. */
  #isMine = false;
  #kept = -1;

  /**
   * @param {HTMLFormElement} form
   * @param {UploadQueue} queue
   */
  constructor(form, queue) {
    this.#key = `rollcall.upload.${form.dataset.sender}.${form.dataset.gallery}`;
    this.#note = need("#upload-rest", HTMLElement);
    this.#queue = queue;
    this.#askOtherTabs();
    for (const button of all("[data-pick]", HTMLButtonElement, this.#note)) {
      button.addEventListener("click", () => find(`input#${button.dataset.pick}`, HTMLInputElement)?.click());
    }
    part("dismiss", HTMLButtonElement, this.#note).addEventListener("click", () => {
      this.#note.hidden = true;
      this.#store(null);
    });
  }

  // Another tab may still run the upload: it is asked before the note is shown.
  #askOtherTabs() {
    const channel = "BroadcastChannel" in window ? new BroadcastChannel(this.#key) : null;
    const offering = setTimeout(() => this.#offer(), channel ? ANSWER_MS : 0);
    channel?.addEventListener("message", ({ data }) => {
      const { open, trouble } = this.#queue.now();
      if (data === "who" && open) {
        channel.postMessage("me");
        // The asking tab may be the one in which the user has signed in again.
        if (trouble?.kind === "signed-out") this.#queue.goOn();
      } else if (data === "me") {
        // A late answer hides the note again.
        clearTimeout(offering);
        this.#note.hidden = true;
      }
    });
    channel?.postMessage("who");
  }

  #offer() {
    const before = this.#stored();
    if (!before || this.#isMine) return;
    part("what", HTMLElement, this.#note).textContent = `The upload of ${many(before.all, "photo")} stopped at ${number(before.over)}.`;
    this.#note.hidden = false;
  }

  /**
   * Files were added. An upload of fewer files than the interrupted one lacks isn't its continuation:
   * the note stays.
   * @param {number} count
   */
  carryOn(count) {
    const before = this.#stored();
    this.#isMine ||= count > 1 && (!before || count >= before.all - before.over);
    if (this.#isMine) this.#note.hidden = true;
  }

  /**
   * Stores how far the upload is.
   * @param {Now} now
   * @param {boolean} isCancelled
   */
  remember(now, isCancelled) {
    const isOver = now.open === 0;
    const over = now.over - now.counts.unsent;
    if (!this.#isMine || (over === this.#kept && !isOver)) return;
    this.#kept = over;
    const isWhole = isOver && (isCancelled || !now.counts.unsent);
    this.#store(isWhole ? null : { all: now.all, over });
    if (isOver) this.#isMine = !isWhole;
  }

  /** The panel was closed. */
  forget() {
    this.#isMine = false;
  }

  // Only how many files there were and how many are done is stored, no file names.

  /** @param {{ all: number, over: number } | null} value */
  #store(value) {
    try {
      if (value) localStorage.setItem(this.#key, JSON.stringify(value));
      else localStorage.removeItem(this.#key);
    } catch {
      // Without storage there is no note after the tab was closed.
    }
  }

  #stored() {
    try {
      const { all: count, over } = JSON.parse(localStorage.getItem(this.#key) ?? "{}");
      return Number.isInteger(count) && Number.isInteger(over) && over < count ? { all: Number(count), over: Number(over) } : null;
    } catch {
      return null;
    }
  }
}
