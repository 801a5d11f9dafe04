// The upload queue of a gallery: asks which files have arrived already, then sends the others, three
// at a time and one a request. A lost connection or an ended session pauses it without losing a
// file's place. It shows nothing: it calls `changed(item)` when something may look different, and
// `landed(answer)` for a file that has arrived.

import { SignedOut, isPassingStatus, request } from "../shared/request.js";
import { UploadFiles, isOpen, nothing } from "./upload_files.js";
import { outcomeOf } from "./upload_outcome.js";
import { PATIENCE_MS, sendFile } from "./upload_request.js";
import { renewSession, tokenOf } from "./upload_session.js";

/** @typedef {import("./upload_files.js").Chosen} Chosen */
/** @typedef {import("./upload_files.js").EndState} EndState */
/** @typedef {import("./upload_files.js").Item} Item */
/** @typedef {import("./upload_outcome.js").Landed} Landed */
/** @typedef {import("./upload_outcome.js").Result} Result */

/**
 * Why nothing is sent: the connection is lost, the session is being checked or has ended, or the
 * server takes no more files.
 * @typedef {{ kind: "lost" | "checking" | "signed-out" | "closed", words: string, status: number }} Trouble
 */

/** @typedef {ReturnType<UploadQueue["now"]>} Now */

/**
 * A file that the server has, by its place in the question.
 * @typedef {{ file: number, trashed: boolean, url: string }} Arrived
 */

const PARALLEL = 3;
const ASKED_AT_ONCE = 500;
// Connections come back, but a server error for a file is likely to repeat: fewer tries.
const MOST_TRIES = 8;
const MOST_BREAKS = 3;
const MOST_DENIALS = 4;
const LONGEST_WAIT = 30; // Seconds.

export class UploadQueue {
  #form;
  #files;
  #changed;
  #landed;
  #token;

  /** @type {Item[]} */
  #unasked = [];
  /** @type {Item[]} */
  #waiting = [];
  /** @type {Set<Item>} */
  #active = new Set();

  #isPaused = false;
  #isAsking = false;
  #isProbing = false;
  #isRenewing = false;
  /** @type {Trouble | null} */
  #trouble = null;
  #losses = 0;
  #denials = 0;
  #isToRenewAgain = false;
  #timer = 0;

  /**
   * @param {HTMLFormElement} form
   * @param {{ changed: (item?: Item) => void, landed: (answer: Landed) => void }} listeners
   */
  constructor(form, { changed, landed }) {
    this.#form = form;
    this.#files = new UploadFiles({ bytes: Number(form.dataset.maxBytes), words: form.dataset.maxWords ?? "" });
    this.#changed = changed;
    this.#landed = landed;
    this.#token = tokenOf(form);
    addEventListener("online", () => this.#comeBack());
    addEventListener("offline", () => { if (this.#files.open().length) this.#lose(); });
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.#trouble?.kind === "signed-out") this.#renew();
    });
  }

  // --- Adding ---

  /** @param {Chosen[]} chosen */
  add(chosen) {
    const { fresh, unsent } = this.#files.add(chosen);
    for (const item of fresh) {
      if (isOpen(item)) this.#queue(item);
      this.#changed(item);
    }
    this.retry(unsent);
  }

  /** @param {Item} item */
  #queue(item) {
    // Two files with equal name, size and time may be different photos: both are sent without asking.
    item.state = item.isTwice ? "waiting" : "unasked";
    (item.isTwice ? this.#waiting : this.#unasked).push(item);
  }

  #pump() {
    if (this.#isPaused || this.#trouble || this.#isProbing) return;
    if (this.#unasked.length && !this.#isAsking) this.#ask(this.#unasked.splice(0, ASKED_AT_ONCE)).then(() => this.#pump());
    for (const item of this.#waiting.splice(0, PARALLEL - this.#active.size)) this.#send(item);
  }

  // --- Asking what has arrived already ---

  /** @param {Item[]} some */
  async #ask(some) {
    this.#isAsking = true;
    for (const item of some) item.state = "asked";
    const arrived = await this.#question(some);
    this.#isAsking = false;
    const found = new Map(arrived?.map((one) => [one.file, one]));
    /** @type {Item[]} */
    const rest = [];
    some.forEach((item, at) => {
      // The file may have been cancelled meanwhile.
      if (item.state === "asked") this.#takeArrived(item, found.get(at), rest);
    });
    this.#queueRest(rest, arrived !== null);
    this.#changed();
  }

  /**
   * @param {Item} item
   * @param {Arrived | undefined} arrived
   * @param {Item[]} rest Gets the item if it has not arrived.
   */
  #takeArrived(item, arrived, rest) {
    if (!arrived) rest.push(item);
    else if (arrived.trashed) this.#end(item, "trashed", "", arrived.url);
    // A file that this page has tried to send, without getting an answer, counts as added.
    else this.#end(item, item.tries ? "added" : "present", "", arrived.url);
  }

  /**
   * Queues files that have not arrived, those that were tried first.
   * @param {Item[]} rest
   * @param {boolean} isKnown False if the server couldn't be asked: the others are asked about again.
   */
  #queueRest(rest, isKnown) {
    const tried = rest.filter((item) => item.tries);
    const fresh = rest.filter((item) => !item.tries);
    for (const item of tried) item.state = "waiting";
    for (const item of fresh) item.state = isKnown ? "waiting" : "unasked";
    this.#waiting = [...tried, ...this.#waiting, ...(isKnown ? fresh : [])];
    if (!isKnown) this.#unasked = [...fresh, ...this.#unasked];
  }

  /**
   * Which of these the server has already; null if it couldn't be asked.
   * @param {Item[]} some
   * @returns {Promise<Arrived[] | null>}
   */
  async #question(some) {
    const files = some.map(({ file, path }) => [path, file.size, file.lastModified]);
    try {
      const response = await request(this.#form.dataset.known ?? "", {
        answer: "json",
        method: "POST",
        headers: { "Content-Type": "application/json", "X-CSRFToken": this.#token },
        body: JSON.stringify({ files }),
        signal: AbortSignal.timeout(PATIENCE_MS),
      });
      return await this.#answerOf(response);
    } catch (error) {
      if (error instanceof SignedOut) this.#stop("signed-out");
      else this.#lose();
      return null;
    }
  }

  /**
   * @param {Response} response
   * @returns {Promise<Arrived[] | null>}
   */
  async #answerOf(response) {
    const { status } = response;
    const arrived = response.ok ? (await response.json()).arrived : null;
    if (arrived) {
      this.#denials = 0;
      return arrived;
    }
    if (status === 403 || status === 404) this.#deny();
    else if (isPassingStatus(status)) this.#lose(status, Number(response.headers.get("Retry-After")));
    // The server refuses the question: send all files.
    else return [];
    return null;
  }

  // --- Sending ---

  /** @param {Item} item */
  async #send(item) {
    this.#active.add(item);
    Object.assign(item, { state: "sending", loaded: 0, tries: item.tries + 1 });
    const { result, abort } = sendFile(this.#form.action, {
      body: bodyOf(item),
      token: this.#token,
      onProgress: (share) => {
        this.#files.progress(item, share);
        this.#changed(item);
      },
    });
    item.abort = abort;
    this.#changed(item);
    await this.#takeResult(item, await result);
  }

  /**
   * @param {Item} item
   * @param {Result} result
   */
  async #takeResult(item, result) {
    this.#active.delete(item);
    item.abort = nothing;
    if (item.state !== "sending") return;
    const outcome = outcomeOf(result);
    if (outcome.kind === "landed") {
      this.#losses = this.#denials = 0;
      this.#landed(outcome.answer);
      this.#end(item, outcome.state, outcome.answer.notes.join(" "), outcome.answer.url);
    } else if (outcome.kind === "refused") this.#end(item, "refused", outcome.words);
    else if (outcome.kind === "failed") await this.#fail(item, result);
    else {
      this.#putBack(item, item.tries - 1);
      if (outcome.kind === "denied") this.#deny(outcome.words);
      else this.#stop("signed-out");
    }
    this.#pump();
    this.#changed(item);
  }

  /**
   * @param {Item} item
   * @param {Result} result
   */
  async #fail(item, { status, retryAfter }) {
    // A file that was changed, moved or deleted since it was chosen can't be read any more.
    const isReadable = status > 0 || (await item.file.slice(0, 1).arrayBuffer().then(() => true, () => false));
    if (item.state !== "sending") return;
    if (!isReadable) {
      this.#end(item, "refused", "This file can't be read any more. Choose it again.");
      return;
    }
    if (item.tries < (status === 500 ? MOST_BREAKS : MOST_TRIES)) this.#putBack(item, item.tries);
    else this.#end(item, "unsent", status ? `The server could not take it (${status}).` : "The connection was lost too often.");
    this.#lose(status, retryAfter);
  }

  /**
   * @param {Item} item
   * @param {number} tries
   */
  #putBack(item, tries) {
    Object.assign(item, { state: "waiting", loaded: 0, tries });
    this.#waiting.unshift(item);
  }

  /**
   * @param {Item} item
   * @param {EndState} state
   * @param {string} words
   * @param {string} url
   */
  #end(item, state, words = "", url = "") {
    this.#files.end(item, state, words, url);
    this.#changed(item);
  }

  // --- Trouble ---

  /**
   * @param {number} status
   * @param {number} seconds How long the server asks to wait.
   */
  #lose(status = 0, seconds = 0) {
    if (this.#trouble) return;
    const wait = Math.max(seconds || 0, Math.min(2 ** this.#losses, LONGEST_WAIT));
    this.#losses += 1;
    this.#trouble = { kind: "lost", words: "", status };
    this.#timer = setTimeout(() => this.#comeBack(), wait * 1000);
    this.#changed();
  }

  // Files that were under way may have arrived although their answer was lost. Asking about them also
  // tests the connection.
  async #comeBack() {
    clearTimeout(this.#timer);
    if (this.#trouble?.kind !== "lost" || this.#isProbing) return;
    this.#isProbing = true;
    this.#trouble = null;
    const doubtful = this.#waiting.filter((item) => item.tries && !item.isTwice).slice(0, ASKED_AT_ONCE);
    this.#waiting = this.#waiting.filter((item) => !doubtful.includes(item));
    await this.#ask(doubtful);
    this.#isProbing = false;
    this.#pump();
    this.#changed();
  }

  /**
   * @param {"signed-out" | "closed"} kind
   * @param {string} words
   */
  #stop(kind, words = "") {
    clearTimeout(this.#timer);
    this.#trouble = { kind, words, status: 0 };
    this.#changed();
  }

  /**
   * The token may be outdated after a new sign-in in another tab, or the user has lost the right to
   * upload.
   * @param {string} words
   */
  #deny(words = "") {
    if (this.#trouble || this.#isRenewing) return;
    this.#denials += 1;
    if (this.#denials > MOST_DENIALS) this.#stop("closed", words || "The server does not accept these files.");
    else this.#renew();
  }

  async #renew() {
    // Who signs in while the page still learns that they are signed out must not wait for good.
    this.#isToRenewAgain = this.#isRenewing;
    if (this.#isRenewing) return;
    this.#isRenewing = true;
    this.#trouble ??= { kind: "checking", words: "", status: 0 };
    const session = await renewSession(this.#form);
    this.#isRenewing = false;
    if (session && "kind" in session) {
      this.#stop(session.kind, session.words);
      if (this.#isToRenewAgain && session.kind === "signed-out") await this.#renew();
    } else {
      this.#trouble = null;
      if (session) this.#token = session.token;
      else this.#lose();
    }
    this.#pump();
    this.#changed();
  }

  // --- Controls ---

  /** @param {boolean} isPaused */
  pause(isPaused) {
    this.#isPaused = isPaused;
    this.#pump();
    this.#changed();
  }

  /** Resumes after trouble; if the trouble persists, it is reported again. */
  goOn() {
    this.#denials = 0;
    if (this.#trouble?.kind === "lost") this.#comeBack();
    else this.#renew();
  }

  cancel() {
    clearTimeout(this.#timer);
    this.#unasked = [];
    this.#waiting = [];
    for (const item of this.#files.open()) {
      this.#end(item, "unsent");
      item.abort();
    }
    this.#isPaused = false;
    if (!this.#isRenewing) this.#trouble = null;
    this.#changed();
  }

  /** @param {Item[]} some Files that are not sent. */
  retry(some) {
    for (const item of some) {
      this.#files.reopen(item);
      this.#queue(item);
    }
    this.#pump();
    this.#changed();
  }

  /**
   * Sends files whose photo is in the trash, without asking first: sending restores the photo.
   * @param {Item[]} some
   */
  bringBack(some) {
    for (const item of some) {
      this.#files.reopen(item);
      item.state = "waiting";
      this.#waiting.push(item);
    }
    this.#pump();
    this.#changed();
  }

  /** Forgets all files: the queue is empty again. */
  forget() {
    this.#files.forget();
  }

  /** How far the queue is. `over` and `open` are files, `loaded` and `bytes` are bytes. */
  now() {
    const { length, bytes, counts } = this.#files;
    const open = this.#files.open().length;
    return {
      all: length,
      over: length - open,
      open,
      loaded: [...this.#active].reduce((sum, item) => sum + item.loaded, bytes.over),
      bytes,
      counts,
      isPaused: this.#isPaused,
      trouble: this.#trouble,
      isSending: this.#active.size > 0,
      isAsking: !this.#active.size && !this.#waiting.length && open > 0,
    };
  }

  /** @param {EndState} state */
  inState(state) {
    return this.#files.inState(state);
  }
}

/** @param {Item} item */
function bodyOf({ file, path, isTwice }) {
  const body = new FormData();
  if (!isTwice) {
    body.append("path", path);
    body.append("modified", String(file.lastModified));
  }
  body.append("files", file, file.name);
  return body;
}
