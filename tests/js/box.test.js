import assert from "node:assert/strict";
import test from "node:test";

import { dragged, handleAt, isInside, leastSide, middleBox, moved, ordered, resized } from "../../static/js/photos/box.js";

const PHOTO = { width: 1000, height: 600 };
const BOX = { left: 100, top: 100, right: 200, bottom: 300 };

test("a box may be drawn in any direction", () => {
  assert.deepEqual(ordered({ left: 200, top: 300, right: 100, bottom: 100 }), BOX);
  assert.ok(isInside({ left: 200, top: 300, right: 100, bottom: 100 }, { x: 150, y: 200 }));
  assert.ok(!isInside(BOX, { x: 100, y: 200 }));
});

test("a box that is moved keeps its size and stays on the photo", () => {
  assert.deepEqual(moved(BOX, { x: 10, y: -20 }, PHOTO), { left: 110, top: 80, right: 210, bottom: 280 });
  assert.deepEqual(moved(BOX, { x: -500, y: 900 }, PHOTO), { left: 0, top: 400, right: 100, bottom: 600 });
});

test("a box that is resized is at least as large as allowed, and ends with the photo", () => {
  assert.deepEqual(resized(BOX, { x: 20, y: 0 }, PHOTO), { ...BOX, right: 220 });
  assert.deepEqual(resized(BOX, { x: -500, y: -500 }, PHOTO), { ...BOX, right: 100 + leastSide(PHOTO), bottom: 100 + leastSide(PHOTO) });
  assert.deepEqual(resized(BOX, { x: 5000, y: 5000 }, PHOTO), { ...BOX, right: 1000, bottom: 600 });
});

test("a handle moves its own sides", () => {
  assert.deepEqual(dragged(BOX, "nw", { x: 1, y: 2 }), { left: 1, top: 2, right: 200, bottom: 300 });
  assert.deepEqual(dragged(BOX, "e", { x: 1, y: 2 }), { ...BOX, right: 1 });
  assert.deepEqual(handleAt(BOX, "se"), { x: 200, y: 300 });
  assert.deepEqual(handleAt(BOX, "n"), { x: 150, y: 100 });
});

test("a box begins in the photo's middle", () => {
  const { left, top, right, bottom } = middleBox(PHOTO);
  assert.deepEqual([(left + right) / 2, (top + bottom) / 2], [500, 300]);
});
