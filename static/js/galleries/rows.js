// The grid's row layout and key order, as pure functions.

/**
 * The height of each photo in justified rows. The last row keeps the usual height at most, unless
 * the day continues in the next sheet: then it is justified too.
 * @param {number[]} ratios Width by height of each photo, in order.
 * @param {number} width A row's width in pixels.
 * @param {number} high A row's usual height in pixels.
 * @param {number} gap The gap between two photos in pixels.
 * @param {boolean} isContinued
 * @returns {number[]}
 */
export function justify(ratios, width, high, gap, isContinued) {
  const best = [{ cost: 0, from: 0, height: 0 }];
  for (let end = 1; end <= ratios.length; end += 1) {
    best[end] = { cost: Infinity, from: end - 1, height: high };
    let sum = 0;
    for (let from = end - 1; from >= 0; from -= 1) {
      sum += ratios[from];
      const full = (width - gap * (end - from - 1)) / sum;
      const isLast = end === ratios.length && !isContinued;
      const height = isLast ? Math.min(full, high) : Math.min(full, high * 1.75);
      const off = (height - high) / high;
      const gappy = !isLast && full > high * 1.75 ? 10 : 0;
      const cost = best[from].cost + off * off + gappy;
      if (cost < best[end].cost) best[end] = { cost, from, height };
      if (full < high * 0.45) break;
    }
  }
  const heights = new Array(ratios.length);
  for (let end = ratios.length; end > 0; end = best[end].from) heights.fill(best[end].height, best[end].from, end);
  return heights;
}

/**
 * Whether a key comes before another one in the grid, which begins with the newest. A key is a
 * moment in microseconds and a pk, "1700000000000000.42", or the pk alone.
 * @param {string} one
 * @param {string} other
 */
export const isAbove = (one, other) => {
  const [a, b] = [one, other].map((key) => key.split(".").map((part) => BigInt(part)));
  return a[0] !== b[0] ? a[0] > b[0] : (a[1] ?? 0n) > (b[1] ?? 0n);
};
