// Sends the review's decisions in the background, one after the other, while the next cards are shown.
// What is not sent when the page is left goes into a beacon, and into storage if that may fail.

import { all, find, need } from "../shared/dom.js";
import { SignedOut, request } from "../shared/request.js";
import { showChosen } from "../shared/tabs.js";
import { toast } from "../shared/toast.js";
import { outbox } from "./outbox.js";
import { unsentOf } from "./unsent.js";

/** @typedef {import("./cards.js").Cards} Cards */
/** @typedef {{ data: FormData | (() => FormData), card: HTMLElement | null, since: number, isSent: boolean }} Queued */

const UNREACHABLE = "The server can’t be reached. Nothing was decided about this one.";
const FAILED = "Something went wrong on the server. Try again in a moment.";

const TRIES = 3;
const AGAIN_MS = 400;
/** Without an answer for so long, leaving needs a confirmation. */
const SLOW_MS = 1000;
/** With no more cards than this behind the shown one, more are fetched. */
const FEW = 2;
const FOUND_MS = 1500;

export class Sender {
  #cards;
  /** @type {Promise<void>} The end of the last request. */
  #chain;
  /** @type {Queued[]} Requests that are not answered yet, in order. */
  #waiting = [];
  /** The last request failed after all its tries. */
  #isCutOff = false;
  /** The last try failed, or the session has ended. */
  #isShaky = false;
  #isLeft = false;
  #found = 0;

  /** @param {Cards} cards */
  constructor(cards) {
    this.#cards = cards;
    this.#chain = this.#sendKept();
    addEventListener("pagehide", () => this.#leave());
    addEventListener("beforeunload", (event) => {
      if (this.#isLeft || !this.#unsent().length) return;
      if (this.#isShaky || performance.now() - this.#waiting[0].since > SLOW_MS) event.preventDefault();
    });
    addEventListener("online", () => { if (this.#isCutOff && !cards.current) location.reload(); });
  }

  /**
   * Queues a decision about a card, which is shown again if it fails.
   * @param {FormData} data
   * @param {HTMLElement} card
   */
  decide(data, card) {
    this.#enqueue(data, card);
  }

  // Undo and going back need an answer before anything can be shown.
  undo() {
    this.#enqueue(this.#undoing, null);
  }

  goBack() {
    this.#enqueue(this.#goingBack, null);
  }

  // --- The forms of what is not about the shown card ---

  #done() {
    return new FormData(need("#review-done", HTMLFormElement));
  }

  #undoing = () => {
    const data = this.#done();
    data.set("do", "undo");
    return data;
  };

  #goingBack = () => {
    const { at, start } = this.#cards.current?.dataset ?? {};
    const data = this.#done();
    data.set("at", at || new URLSearchParams(start).get("at") || "");
    data.set("do", "back");
    data.delete("done");
    return data;
  };

  // --- The queue ---

  /**
   * @param {Queued["data"]} data
   * @param {HTMLElement | null} card
   */
  #enqueue(data, card) {
    this.#say("");
    const one = { data, card, since: performance.now(), isSent: false };
    this.#waiting.push(one);
    this.#chain = this.#chain.then(() => this.#sendNext(one)).finally(() => {
      if (!this.#waiting.length && !this.#cards.current && !this.#isLeft) this.#finish();
    });
  }

  /** @param {Queued} one */
  async #sendNext(one) {
    if (this.#isLeft) return;
    const isUndo = one.data === this.#undoing;
    const data = one.data instanceof FormData ? one.data : one.data();
    Object.assign(one, { data, isSent: true });
    await this.#send(data, one.card);
    if (this.#isLeft) return;
    this.#waiting = this.#waiting.filter((other) => other !== one);
    if (["name", "confirm"].includes(String(data.get("do") ?? "name"))) this.#lookForMore();
    // An undo changes the counts too; after several, the last one fetches them.
    if (this.#cards.ready.length <= FEW || (isUndo && !this.#waiting.length)) await this.#fetchMore();
  }

  // More cards are fetched by a request of their own, so that no decision waits for them.
  async #fetchMore() {
    const data = this.#done();
    data.delete("done");
    data.append("do", "more");
    await this.#send(data, null);
  }

  /**
   * @param {FormData} data
   * @param {HTMLElement | null} card
   */
  async #send(data, card) {
    const shown = this.#cards.current;
    this.#addPage(data);
    const response = await this.#post(data);
    if (this.#isLeft) return;
    if (response instanceof SignedOut || isElsewhere(response)) this.#startOver();
    else if (!response) this.#takeBack(card, shown, data.get("do") === "more" ? "" : UNREACHABLE);
    else if (!response.ok && response.status !== 422) this.#takeBack(card, shown, FAILED);
    else this.#take(new DOMParser().parseFromString(await response.text(), "text/html"));
  }

  /**
   * Tells the server which cards are on the page.
   * @param {FormData} data
   */
  #addPage(data) {
    const cards = this.#cards.onPage;
    for (const one of cards) data.append("have", one.dataset.card ?? "");
    data.append("behind", cards.at(-1)?.dataset.at ?? String(data.get("at") ?? ""));
  }

  /**
   * The decision failed: shows its card again, before the one that has replaced it.
   * @param {HTMLElement | null} card
   * @param {HTMLElement | null} shown
   * @param {string} words
   */
  #takeBack(card, shown, words) {
    if (card) {
      this.#cards.putBack(shown);
      this.#cards.show(card);
    }
    if (words) toast(words, "error");
  }

  /**
   * Tries again when the network fails. Resolves to null after the last try. The server doesn't repeat
   * a decision that had arrived.
   * @param {FormData} data
   * @returns {Promise<Response | SignedOut | null>}
   */
  async #post(data) {
    for (let turn = 1; turn <= TRIES; turn += 1) {
      try {
        const response = await request(this.#cards.address, { stays: true, method: "POST", body: data });
        this.#isShaky = this.#isCutOff = false;
        return response;
      } catch (error) {
        if (error instanceof SignedOut) return error;
        this.#isShaky = true;
        if (this.#isLeft) return null;
        if (turn < TRIES) await new Promise((resolve) => { setTimeout(resolve, AGAIN_MS * turn); });
      }
    }
    this.#isCutOff = true;
    return null;
  }

  // --- Answers ---

  /** @param {Document} page */
  #take(page) {
    const answer = page.getElementById("review-answer");
    if (!answer) return;
    replaceParts(page);
    const recent = page.getElementById("review-recent");
    if (recent) this.#cards.learnNames(recent);
    const { error, notice } = answer.dataset;
    const first = find("template[data-first]", HTMLTemplateElement, answer);
    if (first) {
      this.#cards.showFirst(first);
      if (error) this.#cards.nameField?.focus();
      this.#say(notice ?? "");
    }
    this.#cards.add(all("template[data-ready]", HTMLTemplateElement, answer));
    if (error) toast(error, "error");
    // A card that is shown again makes the undo obvious without a toast.
    if (notice && !first) toast(notice, "info");
  }

  /**
   * For screen readers. The text stays until the next request.
   * @param {string} words
   */
  #say(words) {
    need("#review-status", HTMLElement, this.#cards.review).textContent = words;
  }

  // A name may have made other faces known: asks how many a little later.
  #lookForMore() {
    clearTimeout(this.#found);
    this.#found = setTimeout(() => {
      const found = document.getElementById("review-found");
      if (found) window.htmx?.trigger(found, "wake");
    }, FOUND_MS);
  }

  /** The queue is empty: reloads for the server's end page. */
  #finish() {
    if (this.#isCutOff) toast("The server can’t be reached. The next faces come when it is back.", "error");
    else location.reload();
  }

  // --- Leaving ---

  #unsent() {
    return unsentOf(this.#waiting, this.#undoing, this.#goingBack);
  }

  // A beacon with all unsent decisions outlives the page.
  #leave() {
    if (this.#isLeft) return;
    this.#isLeft = true;
    const rest = this.#unsent();
    if (!rest.length) return;
    const isOnItsWay = outbox.beacon(this.#cards.address, rest);
    if (!isOnItsWay || this.#isShaky) outbox.keep(this.#cards.address, rest);
  }

  /** The session has ended: stores the unsent decisions; the reload leads to the sign-in. */
  #startOver() {
    this.#isShaky = true;
    this.#leave();
    location.reload();
  }

  /** Sends what an earlier review has stored. */
  async #sendKept() {
    if (await outbox.send(this.#cards.address)) location.reload();
  }
}

/**
 * Whether an answer is no page of the review.
 * @param {Response | null} response
 */
const isElsewhere = (response) => response !== null
  && (response.redirected || !response.headers.get("Content-Type")?.startsWith("text/html"));

/**
 * Replaces the parts of the page that an answer brings.
 * @param {Document} page
 */
function replaceParts(page) {
  for (const id of ["review-count", "review-kinds", "review-done"]) {
    const fresh = page.getElementById(id);
    if (fresh) document.getElementById(id)?.replaceWith(document.adoptNode(fresh));
  }
  showChosen();
}
