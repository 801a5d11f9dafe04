import assert from "node:assert/strict";
import test from "node:test";

import { isAbove, justify } from "../../static/js/galleries/rows.js";

/** The rows that heights make: photos of one height that follow each other. */
const widths = (ratios, heights, gap) => {
  const rows = [];
  heights.forEach((height, at) => {
    if (!at || height !== heights[at - 1]) rows.push([]);
    rows.at(-1).push(height * ratios[at]);
  });
  return rows.map((row) => row.reduce((sum, one) => sum + one, 0) + gap * (row.length - 1));
};

test("every row but the last ends where the width does", () => {
  const ratios = [1.5, 0.7, 1.3, 1, 1.8, 0.66, 1.5, 1.4, 0.75, 1.1, 1.6];
  const heights = justify(ratios, 900, 200, 6, false);
  const rows = widths(ratios, heights, 6);
  assert.ok(rows.length > 1);
  for (const row of rows.slice(0, -1)) assert.ok(Math.abs(row - 900) < 1e-6, `${row}`);
  assert.ok(rows.at(-1) <= 900 + 1e-6);
});

test("one photo by itself has the usual height", () => {
  assert.deepEqual(justify([1.5], 900, 200, 6, false), [200]);
});

test("a photo that is wider than the page becomes lower", () => {
  assert.deepEqual(justify([6], 300, 200, 4, false), [50]);
});

test("no photo has no row", () => {
  assert.deepEqual(justify([], 900, 200, 6, false), []);
});

test("a day that goes on has a last row as wide as the others", () => {
  const ratios = [1.5, 1.5, 1.5, 1.5];
  const rows = widths(ratios, justify(ratios, 900, 200, 6, true), 6);
  assert.ok(Math.abs(rows.at(-1) - 900) < 1e-6);
});

test("newer is above, and of one moment the higher number", () => {
  assert.ok(isAbove("20.1", "10.9"));
  assert.ok(!isAbove("10.9", "20.1"));
  assert.ok(isAbove("10.9", "10.8"));
  assert.ok(!isAbove("10.8", "10.8"));
  assert.ok(isAbove("-5.1", "-6.1"));
});

test("numbers beyond what a float can hold are told apart", () => {
  assert.ok(isAbove("9007199254740993.1", "9007199254740992.1"));
  assert.ok(isAbove("43", "42"));
});
