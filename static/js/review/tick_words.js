// What a button says of the faces that are ticked.

/**
 * @param {string} texts What it says if all, some or none are ticked, as "all|some|none", with {n} for
 *   the ticked, {m} for the others, and {is} for "is" or "are" of the others.
 * @param {number} ticked
 * @param {number} left
 */
export function wordsOf(texts, ticked, left) {
  const [all, some, none] = texts.split("|");
  const text = left === 0 ? all : ticked === 0 ? none : some;
  return text.replaceAll("{n}", String(ticked)).replaceAll("{m}", String(left)).replaceAll("{is}", left === 1 ? "is" : "are");
}
