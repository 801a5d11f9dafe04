// Loads more of a list when its end comes near the screen.

import { isPassing, isSilent } from "./request.js";

const AGAIN_MS = 4000;

/**
 * Calls `load` for an element that comes near the screen, once at a time for each element. Where it
 * throws, the next try is some seconds later, unless the server's answer would be the same.
 */
export class NearLoader {
  /** @type {Set<Element>} */
  #loading = new Set();
  #observer;
  #load;

  /**
   * @param {string} margin How far from the screen is near, as a root margin.
   * @param {(edge: HTMLElement) => Promise<boolean>} load Resolves to true if there is more to load
   *   at the same element.
   */
  constructor(margin, load) {
    this.#load = load;
    this.#observer = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (isIntersecting && target instanceof HTMLElement) this.load(target);
      }
    }, { rootMargin: margin });
  }

  /** @param {HTMLElement} edge */
  watch(edge) {
    // One that is observed already is only reported when it comes near anew.
    this.#observer.unobserve(edge);
    this.#observer.observe(edge);
  }

  /**
   * Loads without waiting for the element to come near.
   * @param {HTMLElement} edge
   */
  async load(edge) {
    if (this.#loading.has(edge)) return;
    this.#loading.add(edge);
    this.#observer.unobserve(edge);
    const again = await this.#load(edge).then(
      (hasMore) => (hasMore ? 0 : null),
      (error) => (isSilent(error) || !isPassing(error) ? null : AGAIN_MS),
    );
    this.#loading.delete(edge);
    if (again !== null) setTimeout(() => { if (edge.isConnected) this.watch(edge); }, again);
  }
}
