import assert from "node:assert/strict";
import test from "node:test";

import { isRightToLeft, overlap, shorten, spotFor } from "../../static/js/photos/label_layout.js";

const within = (count) => (words) => words.length <= count;

test("a name is cut to what fits, and a suggestion stays one", () => {
  assert.equal(shorten("Anna", within(4)), "Anna");
  assert.equal(shorten("Alexandra", within(5)), "Alex…");
  assert.equal(shorten("Alexandra?", within(5)), "Ale…?");
  assert.equal(shorten("Ann Lee", within(5)), "Ann…");
  assert.equal(shorten("Alexandra", within(0)), "A…");
});

test("letters of several code points are not cut apart", () => {
  assert.equal(shorten("👩‍👩‍👧ab", (words) => words === "👩‍👩‍👧…"), "👩‍👩‍👧…");
});

test("a name's direction is that of its first letter", () => {
  assert.ok(isRightToLeft("בנימין"));
  assert.ok(isRightToLeft("12 בנימין"));
  assert.ok(!isRightToLeft("Anna בנימין"));
});

const label = (face, left = 0) => ({ face, left, length: 100, size: 10, photoHeight: 500 });

test("a name is below its face, or above it where another name is", () => {
  const face = { y: 100, height: 50 };
  assert.deepEqual(spotFor(label(face), []), { at: 150, dy: 1.3, isFree: true });
  assert.deepEqual(spotFor(label(face), [{ left: 50, right: 80, bottom: 163 }]), { at: 100, dy: -0.45, isFree: true });
  assert.equal(spotFor(label(face), [{ left: 120, right: 180, bottom: 163 }]).at, 150);
});

test("a name with no free place says so, and has one all the same", () => {
  const taken = [{ left: 0, right: 100, bottom: 163 }, { left: 0, right: 100, bottom: 95 }];
  assert.deepEqual(spotFor(label({ y: 100, height: 50 }), taken), { at: 150, dy: 1.3, isFree: false });
  assert.deepEqual(spotFor(label({ y: 0, height: 500 }), []), { at: 500, dy: -0.5, isFree: false });
});

test("rectangles overlap where they have a point in common", () => {
  const box = { x: 0, y: 0, width: 10, height: 10 };
  assert.ok(overlap(box, { x: 10, y: 10, width: 5, height: 5 }));
  assert.ok(!overlap(box, { x: 11, y: 0, width: 5, height: 5 }));
  assert.ok(!overlap(box, { x: 0, y: -6, width: 5, height: 5 }));
});
