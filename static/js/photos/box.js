// The box that is drawn around a face, as pure functions. It is in the photo's own pixels, so it is
// exact at every size and zoom.

/** @typedef {{ left: number, top: number, right: number, bottom: number }} Box */
/** @typedef {{ width: number, height: number }} Size */
/** @typedef {{ x: number, y: number }} Point */

/** The corners and sides by which a box is held. */
export const HANDLES = ["nw", "n", "ne", "e", "se", "s", "sw", "w"];

/**
 * @param {number} value
 * @param {number} most
 */
export const clamp = (value, most) => Math.min(Math.max(value, 0), most);

/**
 * The smallest side of a box. The server has its own limit.
 * @param {Size} photo
 */
export const leastSide = (photo) => Math.max(12, Math.round(Math.min(photo.width, photo.height) / 100));

/**
 * The same box, with left before right and top above bottom: a box may be drawn in any direction.
 * @param {Box} box
 * @returns {Box}
 */
export const ordered = ({ left, top, right, bottom }) => ({
  left: Math.min(left, right), right: Math.max(left, right), top: Math.min(top, bottom), bottom: Math.max(top, bottom),
});

/**
 * @param {Box} box
 * @param {Point} point
 */
export function isInside(box, { x, y }) {
  const { left, top, right, bottom } = ordered(box);
  return x > left && x < right && y > top && y < bottom;
}

/**
 * The box moved by so much, and no farther than to the photo's edges.
 * @param {Box} box
 * @param {Point} by
 * @param {Size} photo
 * @returns {Box}
 */
export function moved(box, by, photo) {
  const { left, top, right, bottom } = ordered(box);
  const dx = clamp(left + by.x, photo.width - (right - left)) - left;
  const dy = clamp(top + by.y, photo.height - (bottom - top)) - top;
  return { left: left + dx, right: right + dx, top: top + dy, bottom: bottom + dy };
}

/**
 * The box with its right bottom corner moved by so much, and at least as large as allowed.
 * @param {Box} box
 * @param {Point} by
 * @param {Size} photo
 * @returns {Box}
 */
export function resized(box, by, photo) {
  const { left, top, right, bottom } = ordered(box);
  const least = leastSide(photo);
  return {
    left,
    top,
    right: clamp(Math.max(right + by.x, left + least), photo.width),
    bottom: clamp(Math.max(bottom + by.y, top + least), photo.height),
  };
}

/**
 * The box with one of its handles dragged to a point.
 * @param {Box} box
 * @param {string} side
 * @param {Point} to
 * @returns {Box}
 */
export const dragged = (box, side, { x, y }) => ({
  left: side.includes("w") ? x : box.left,
  right: side.includes("e") ? x : box.right,
  top: side.includes("n") ? y : box.top,
  bottom: side.includes("s") ? y : box.bottom,
});

/**
 * Where a handle is.
 * @param {Box} box
 * @param {string} side
 * @returns {Point}
 */
export const handleAt = ({ left, top, right, bottom }, side) => ({
  x: side.includes("w") ? left : side.includes("e") ? right : (left + right) / 2,
  y: side.includes("n") ? top : side.includes("s") ? bottom : (top + bottom) / 2,
});

/**
 * A box in the photo's middle, to begin with by keyboard.
 * @param {Size} photo
 * @returns {Box}
 */
export function middleBox({ width, height }) {
  const side = Math.min(width, height) / 4;
  return { left: (width - side) / 2, right: (width + side) / 2, top: (height - side * 1.25) / 2, bottom: (height + side * 1.25) / 2 };
}
