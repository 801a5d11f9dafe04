// The files of an upload: each with its state, and what they add up to.
//
// unasked -> asked -> waiting -> sending -> added | present | restored | refused
//              |         ^          |       unsent (not taken; it can be sent again)
//              |         +----------+
//              +-> present | trashed

import { size } from "../shared/words.js";

/** @typedef {{ file: File, path: string }} Chosen */
/** @typedef {"unasked" | "asked" | "waiting" | "sending"} OpenState */
/** @typedef {"added" | "present" | "restored" | "trashed" | "refused" | "unsent"} EndState */

/**
 * One file. `isTwice` says that another one has the same name, size and time.
 * @typedef {object} Item
 * @property {File} file
 * @property {string} path
 * @property {boolean} isTwice
 * @property {OpenState | EndState} state
 * @property {number} tries
 * @property {number} loaded Bytes.
 * @property {string} words What there is to say about its end.
 * @property {string} url Its photo.
 * @property {() => void} abort
 */

const LONGEST_PATH = 1000;
/** @type {ReadonlySet<string>} */
const OPEN = new Set(["unasked", "asked", "waiting", "sending"]);

export const nothing = () => {};

/** @param {Item} item */
export const isOpen = (item) => OPEN.has(item.state);

/**
 * @param {Item} item
 * @returns {item is Item & { state: EndState }}
 */
const hasEnded = (item) => !isOpen(item);

/** @param {Chosen} chosen */
const nameOf = ({ file, path }) => `${file.size}.${file.lastModified}.${path}`;

const noCounts = () => ({ added: 0, present: 0, restored: 0, trashed: 0, refused: 0, unsent: 0 });

export class UploadFiles {
  /** @type {Item[]} */
  #items = [];
  /** @type {Map<string, Item>} */
  #named = new Map();
  #limit;

  /** @type {Record<EndState, number>} */
  counts = noCounts();
  // `moved` counts bytes sent, including repeats, and only grows: the rate is based on it.
  bytes = { all: 0, over: 0, moved: 0 };

  /** @param {{ bytes: number, words: string }} limit How large a file may be. */
  constructor(limit) {
    this.#limit = limit;
  }

  /**
   * Adds files. Returns those that are new, and those that are here and were not sent.
   * @param {Chosen[]} chosen
   */
  add(chosen) {
    /** @type {{ fresh: Item[], unsent: Item[] }} */
    const result = { fresh: [], unsent: [] };
    const twice = namedTwice(chosen);
    for (const one of chosen) {
      const isTwice = twice.has(nameOf(one));
      const before = isTwice ? undefined : this.#named.get(nameOf(one));
      if (before?.state === "unsent") result.unsent.push(before);
      // A finished file is asked about again: its photo may have been trashed meanwhile.
      else if (!before || hasEnded(before)) result.fresh.push(this.#addOne(one, isTwice));
    }
    return result;
  }

  /**
   * @param {Chosen} chosen
   * @param {boolean} isTwice
   */
  #addOne({ file, path }, isTwice) {
    /** @type {Item} */
    const item = { file, path: path.slice(-LONGEST_PATH), isTwice, state: "unasked", tries: 0, loaded: 0, words: "", url: "", abort: nothing };
    this.#named.set(nameOf({ file, path }), item);
    this.#items.push(item);
    this.bytes.all += file.size;
    if (file.size > this.#limit.bytes) this.end(item, "refused", `This file has ${size(file.size)}; the limit is ${this.#limit.words}.`);
    return item;
  }

  /**
   * @param {Item} item
   * @param {EndState} state
   * @param {string} words
   * @param {string} url
   */
  end(item, state, words = "", url = "") {
    Object.assign(item, { state, words, url, loaded: 0 });
    this.counts[state] += 1;
    this.bytes.over += item.file.size;
  }

  /**
   * Notes how much of a file is sent.
   * @param {Item} item
   * @param {number} share
   */
  progress(item, share) {
    const loaded = share * item.file.size;
    this.bytes.moved += loaded - item.loaded;
    item.loaded = loaded;
  }

  /**
   * A file that has ended is tried again.
   * @param {Item} item
   */
  reopen(item) {
    if (!hasEnded(item)) return;
    this.counts[item.state] -= 1;
    this.bytes.over -= item.file.size;
    // A file that was tried may have arrived after all, so keep that it was tried.
    Object.assign(item, { words: "", tries: Math.min(item.tries, 1) });
  }

  /** Forgets all files. */
  forget() {
    this.#items = [];
    this.#named.clear();
    this.counts = noCounts();
    Object.assign(this.bytes, { all: 0, over: 0 });
  }

  get length() {
    return this.#items.length;
  }

  /** The files that have not ended. */
  open() {
    return this.#items.filter(isOpen);
  }

  /** @param {EndState} state */
  inState(state) {
    return this.#items.filter((item) => item.state === state);
  }
}

/**
 * The names that two of these files have in common. They may be different photos.
 * @param {Chosen[]} chosen
 */
function namedTwice(chosen) {
  /** @type {Set<string>} */
  const seen = new Set();
  return new Set(chosen.map(nameOf).filter((name) => seen.has(name) || !seen.add(name)));
}
