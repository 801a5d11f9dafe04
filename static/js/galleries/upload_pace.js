// How fast an upload is, and how long it takes: smoothed rates.

import { leftWords, size } from "../shared/words.js";

/** The rates are smoothed over so many seconds, and told once so many were measured. */
const SMOOTH_S = 10;
const MATURE_S = 2;
const NBSP = "\u00a0";

export class Pace {
  #at = 0;
  #moved = 0;
  #over = 0;
  #weight = 0;
  #bytes = 0;
  #files = 0;

  /**
   * Measures since the last call.
   * @param {object} now
   * @param {number} now.at Seconds.
   * @param {number} now.moved Bytes that were sent so far.
   * @param {number} now.over Files that were answered so far.
   * @param {boolean} now.isMoving Pauses don't count, nor times in which the tab was suspended.
   */
  measure({ at, moved, over, isMoving }) {
    const seconds = at - this.#at;
    const [bytes, files] = [moved - this.#moved, over - this.#over];
    this.#at = at;
    this.#moved = moved;
    this.#over = over;
    if (!isMoving || seconds > 5 * SMOOTH_S) return;
    const fade = Math.exp(-seconds / SMOOTH_S);
    this.#bytes = this.#bytes * fade + bytes;
    this.#files = this.#files * fade + Math.max(files, 0);
    this.#weight = this.#weight * fade + seconds;
  }

  /**
   * The speed and the remaining time in words; empty until enough was measured.
   * @param {number} left Bytes.
   */
  words(left) {
    if (this.#weight < MATURE_S || !this.#bytes) return { speed: "", left: "" };
    const speed = this.#bytes / this.#weight;
    const files = this.#files / this.#weight;
    const photos = files >= 0.1 ? ` · ${files.toFixed(files < 10 ? 1 : 0)}${NBSP}photos/s` : "";
    return { speed: `${size(speed)}/s${photos}`, left: leftWords(Math.max(left, 0) / speed) };
  }

  /** Forgets the rates. */
  reset() {
    this.#over = this.#weight = this.#bytes = this.#files = 0;
  }
}
