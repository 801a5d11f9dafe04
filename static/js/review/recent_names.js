// Recent names in the review, each under a number key.

/** How many there are for each space: the keys 1 to 9. */
export const NINE = 9;

/**
 * A button of a recent name, or what has the same data.
 * @typedef {{ dataset: { person?: string, space?: string } }} Named
 */

/**
 * The known names with those that the server names now. People keep their number, as somebody may be
 * about to press it. When a space's nine numbers are taken, new people replace those who have left
 * the server's list.
 * @template {Named} N
 * @param {readonly N[]} known
 * @param {readonly N[]} fresh
 * @returns {N[]}
 */
export function withFresh(known, fresh) {
  const isOf = (/** @type {N} */ one) => (/** @type {N} */ other) => other.dataset.person === one.dataset.person;
  const names = known.map((old) => fresh.find(isOf(old)) ?? old);
  for (const one of fresh) {
    if (names.some(isOf(one))) continue;
    const here = ofSpace(names, one.dataset.space);
    const at = here.length < NINE ? -1 : names.findIndex((old) => here.includes(old) && !fresh.some(isOf(old)));
    if (at < 0) names.push(one);
    else names[at] = one;
  }
  return names;
}

/**
 * @template {Named} N
 * @param {readonly N[]} names
 * @param {string | undefined} space
 */
export const ofSpace = (names, space) => names.filter((one) => one.dataset.space === space);
