// Arrow keys in lists that flow in rows.

/** Two boxes whose tops differ by no more pixels are in one row. */
const SAME_ROW = 4;

/**
 * The item that an arrow key leads to from this one: the one before or after, or the nearest of the
 * row above or below. Undefined at the ends, and for other keys.
 * @template {{ getBoundingClientRect(): { left: number, top: number, width: number } }} I
 * @param {readonly I[]} items
 * @param {I} item
 * @param {string} key
 * @returns {I | undefined}
 */
export function neighbour(items, item, key) {
  const at = items.indexOf(item);
  switch (key) {
    case "ArrowLeft": return items[at - 1];
    case "ArrowRight": return items[at + 1];
    case "ArrowUp": return nearestInRow(items.slice(0, at).reverse(), item);
    case "ArrowDown": return nearestInRow(items.slice(at + 1), item);
    default: return undefined;
  }
}

/**
 * Of the first row that is not the item's, the one whose middle is nearest to the item's.
 * @template {{ getBoundingClientRect(): { left: number, top: number, width: number } }} I
 * @param {readonly I[]} others By their distance in the list.
 * @param {I} item
 * @returns {I | undefined}
 */
function nearestInRow(others, item) {
  const from = item.getBoundingClientRect();
  const middle = from.left + from.width / 2;
  /** @type {number | null} */
  let row = null;
  /** @type {{ off: number, other: I } | undefined} */
  let best;
  for (const other of others) {
    const box = other.getBoundingClientRect();
    if (Math.abs(box.top - from.top) < SAME_ROW) continue;
    row ??= box.top;
    if (Math.abs(box.top - row) > SAME_ROW) break;
    const off = Math.abs(box.left + box.width / 2 - middle);
    if (!best || off < best.off) best = { off, other };
  }
  return best?.other;
}
