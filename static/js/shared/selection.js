// The selection of a list, with Shift ranges. It holds keys, not check marks, so it outlives rows
// that are currently not on the page.

/**
 * The items between two indexes, both included, given in either order.
 * @template T
 * @param {readonly T[]} list
 * @param {number} from
 * @param {number} to
 * @returns {T[]}
 */
export const between = (list, from, to) => list.slice(Math.min(from, to), Math.max(from, to) + 1);

export class Selection {
  /** @type {Set<string>} */
  #keys = new Set();

  /**
   * Where a range begins, and what was selected before it.
   * @type {{ key: string, isOn: boolean, before: Set<string> } | null}
   */
  #anchor = null;

  /** @param {number} most How many can be selected at once. */
  constructor(most = Infinity) {
    this.most = most;
  }

  get size() {
    return this.#keys.size;
  }

  get anchor() {
    return this.#anchor?.key ?? null;
  }

  /** @param {string} key */
  has(key) {
    return this.#keys.has(key);
  }

  /** @returns {string[]} In the order in which they were selected. */
  keys() {
    return [...this.#keys];
  }

  /**
   * Selects or deselects these keys. Returns false if some exceeded the limit.
   * @param {Iterable<string>} keys
   * @param {boolean} isOn
   */
  set(keys, isOn) {
    let hadRoom = true;
    for (const key of keys) {
      if (!isOn) this.#keys.delete(key);
      else if (this.#keys.size < this.most || this.#keys.has(key)) this.#keys.add(key);
      else hadRoom = false;
    }
    return hadRoom;
  }

  /**
   * Selects or deselects one key and makes it the anchor. Without `isOn` it toggles.
   * @param {string} key
   * @param {boolean} isOn
   */
  pick(key, isOn = !this.#keys.has(key)) {
    this.begin(key, isOn);
    return this.set([key], isOn);
  }

  /**
   * Makes this key the anchor of the next range, without selecting it.
   * @param {string} key
   * @param {boolean} isOn
   */
  begin(key, isOn = true) {
    this.#anchor = { key, isOn, before: new Set(this.#keys) };
  }

  /**
   * Makes these keys the range from the anchor, replacing the anchor's former range. Without an
   * anchor nothing happens. Returns false if some keys exceeded the limit.
   * @param {Iterable<string>} keys
   */
  reach(keys) {
    if (!this.#anchor) return true;
    const wanted = new Set(this.#anchor.before);
    for (const key of keys) {
      if (this.#anchor.isOn) wanted.add(key);
      else wanted.delete(key);
    }
    for (const key of this.#keys) if (!wanted.has(key)) this.#keys.delete(key);
    return this.set(wanted, true);
  }

  endRange() {
    this.#anchor = null;
  }

  clear() {
    this.#keys.clear();
    this.#anchor = null;
  }
}
