import assert from "node:assert/strict";
import test from "node:test";

import { Selection, between } from "../../static/js/shared/selection.js";

test("a range has both its ends, in either direction", () => {
  assert.deepEqual(between([..."abcde"], 1, 3), ["b", "c", "d"]);
  assert.deepEqual(between([..."abcde"], 3, 1), ["b", "c", "d"]);
  assert.deepEqual(between([..."abcde"], 2, 2), ["c"]);
});

test("a range that gets shorter gives back what it took, and keeps what was selected before", () => {
  const selection = new Selection();
  selection.pick("e");
  selection.pick("a");
  selection.reach([..."abcde"]);
  assert.deepEqual(selection.keys().sort(), [..."abcde"]);
  selection.reach([..."ab"]);
  assert.deepEqual(selection.keys().sort(), ["a", "b", "e"]);
});

test("a range from something deselected deselects", () => {
  const selection = new Selection();
  selection.set([..."abcd"], true);
  selection.pick("b");
  selection.reach([..."bc"]);
  assert.deepEqual(selection.keys(), ["a", "d"]);
});

test("without an anchor a range is nothing", () => {
  const selection = new Selection();
  selection.set(["a"], true);
  selection.reach([..."abc"]);
  assert.deepEqual(selection.keys(), ["a"]);
});

test("no more are selected than there is room for, and it says so", () => {
  const selection = new Selection(2);
  assert.equal(selection.set(["a", "b"], true), true);
  assert.equal(selection.set(["c"], true), false);
  assert.equal(selection.set(["a"], true), true);
  assert.deepEqual(selection.keys(), ["a", "b"]);
});

test("clearing forgets where a range would begin", () => {
  const selection = new Selection();
  selection.pick("a");
  assert.equal(selection.anchor, "a");
  selection.clear();
  assert.equal(selection.anchor, null);
  assert.equal(selection.size, 0);
});
