// How names are laid out on a photo, as pure functions. Lengths are in the photo's own pixels.

const RIGHT_TO_LEFT = /^[^\p{L}]*[\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}]/u;

/** @param {string} name */
export const isRightToLeft = (name) => RIGHT_TO_LEFT.test(name);

/**
 * The longest beginning of a name that fits, with an ellipsis, or the name itself. A name's question
 * mark stays: the name is only a suggestion.
 * @param {string} name
 * @param {(words: string) => boolean} fits
 */
export function shorten(name, fits) {
  if (fits(name)) return name;
  const letters = lettersOf(name.replace(/\?$/, ""));
  const cut = (/** @type {number} */ count) => `${letters.slice(0, count).join("").trimEnd()}…${name.endsWith("?") ? "?" : ""}`;
  let [least, most] = [1, letters.length - 1];
  while (least < most) {
    const middle = Math.ceil((least + most) / 2);
    if (fits(cut(middle))) least = middle;
    else most = middle - 1;
  }
  return cut(least);
}

/** @param {string} name */
const lettersOf = (name) => ("Segmenter" in Intl ? Array.from(new Intl.Segmenter().segment(name), ({ segment }) => segment) : [...name]);

/**
 * A line of text on the photo: its left and right end and its base line.
 * @typedef {{ left: number, right: number, bottom: number }} Line
 */

/**
 * Where a name may stand: `at` is a base line, and `dy` how many text sizes it is below that.
 * @typedef {{ at: number, dy: number }} Spot
 */

/**
 * The place of a name: below its face, else above it. Without a free place `isFree` is false.
 * @param {object} label
 * @param {{ y: number, height: number }} label.face
 * @param {number} label.left
 * @param {number} label.length
 * @param {number} label.size The text's size.
 * @param {number} label.photoHeight
 * @param {readonly Line[]} taken
 * @returns {Spot & { isFree: boolean }}
 */
export function spotFor({ face, left, length, size, photoHeight }, taken) {
  const spots = [{ at: face.y + face.height, dy: 1.3 }, { at: face.y, dy: -0.45 }].filter(
    ({ at, dy }) => at + (dy - 1) * size > 0 && at + (dy + 0.3) * size < photoHeight,
  );
  const free = spots.find((spot) => {
    const line = { left, right: left + length, bottom: spot.at + spot.dy * size };
    return !taken.some((other) => clash(other, line, size));
  });
  return { ...(free ?? spots[0] ?? { at: face.y + face.height, dy: -0.5 }), isFree: Boolean(free) };
}

/**
 * @param {Line} one
 * @param {Line} other
 * @param {number} size
 */
function clash(one, other, size) {
  if (Math.abs(one.bottom - other.bottom) > 1.2 * size) return false;
  return other.left < one.right + size / 2 && one.left < other.right + size / 2;
}

/**
 * Whether two rectangles have a point in common.
 * @param {{ x: number, y: number, width: number, height: number }} one
 * @param {{ x: number, y: number, width: number, height: number }} other
 */
export const overlap = (one, other) => other.x <= one.x + one.width && one.x <= other.x + other.width
  && other.y <= one.y + one.height && one.y <= other.y + other.height;
