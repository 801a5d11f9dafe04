// A long list in parts. Parts far from the screen are emptied but keep their height, and are filled
// again when they come near, so that memory stays bounded.

import { isSilent } from "./request.js";

const DROPPED = "dropped";
// A part is fetched only if it stays near for this long: a fast scroll skips it.
const PASSING_MS = 70;
const AGAIN_MS = 3000;

/** @param {Element} part */
export const isDropped = (part) => part.classList.contains(DROPPED);

/**
 * Empties a part. `height` is the estimate for a part that was never filled.
 * @param {HTMLElement} part
 * @param {number} height
 */
export function drop(part, height = part.getBoundingClientRect().height) {
  part.style.height = `${height}px`;
  part.classList.add(DROPPED);
  part.replaceChildren();
}

/**
 * @param {HTMLElement} part
 * @param {Iterable<Node>} nodes
 */
export function fill(part, nodes) {
  part.replaceChildren(...nodes);
  part.classList.remove(DROPPED);
  part.style.height = "";
}

export class VirtualList {
  /** @type {Map<HTMLElement, AbortController>} */
  #fetching = new Map();
  #observer;
  #restore;
  #mayDrop;

  /**
   * @param {object} list
   * @param {string} list.margin How far from the screen a part is still filled.
   * @param {(part: HTMLElement, signal: AbortSignal) => Promise<void>} list.restore Fetches a part
   *   and fills it. If it throws, it is called again later.
   * @param {(part: HTMLElement) => boolean} list.mayDrop Called just before a part is emptied; false
   *   keeps it.
   */
  constructor({ margin, restore, mayDrop }) {
    this.#restore = restore;
    this.#mayDrop = mayDrop;
    this.#observer = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        const part = /** @type {HTMLElement} */ (target);
        if (!isIntersecting) this.#leave(part);
        else if (isDropped(part)) this.#want(part);
      }
    }, { rootMargin: margin });
  }

  /** @param {HTMLElement} part */
  watch(part) {
    this.#observer.observe(part);
  }

  /** @param {HTMLElement} part */
  forget(part) {
    this.#observer.unobserve(part);
  }

  /** @param {HTMLElement} part */
  #leave(part) {
    this.#fetching.get(part)?.abort();
    this.#fetching.delete(part);
    if (part.isConnected && !isDropped(part) && this.#mayDrop(part)) drop(part);
  }

  /** @param {HTMLElement} part */
  #want(part) {
    if (this.#fetching.has(part)) return;
    const stop = new AbortController();
    this.#fetching.set(part, stop);
    setTimeout(() => { if (!stop.signal.aborted) this.#bringBack(part, stop); }, PASSING_MS);
  }

  /**
   * @param {HTMLElement} part
   * @param {AbortController} stop
   */
  async #bringBack(part, stop) {
    try {
      await this.#restore(part, stop.signal);
    } catch (error) {
      if (!isSilent(error)) setTimeout(() => { if (part.isConnected) this.#again(part); }, AGAIN_MS);
    } finally {
      if (this.#fetching.get(part) === stop) this.#fetching.delete(part);
    }
  }

  /** @param {HTMLElement} part */
  #again(part) {
    this.forget(part);
    this.watch(part);
  }
}
