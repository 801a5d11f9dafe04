import assert from "node:assert/strict";
import test from "node:test";

import { neighbour } from "../../static/js/shared/arrows.js";

const item = (name, left, top, width = 100) => ({ name, getBoundingClientRect: () => ({ left, top, width }) });
// a b c
// d   e   (e is wide)
// f
const items = [item("a", 0, 0), item("b", 100, 0), item("c", 200, 1), item("d", 0, 100), item("e", 100, 100, 200), item("f", 0, 200)];
const from = (name, key) => neighbour(items, items.find((one) => one.name === name), key)?.name;

test("left and right follow the list", () => {
  assert.equal(from("c", "ArrowRight"), "d");
  assert.equal(from("d", "ArrowLeft"), "c");
  assert.equal(from("a", "ArrowLeft"), undefined);
  assert.equal(from("f", "ArrowRight"), undefined);
});

test("up and down lead to the nearest of the next row", () => {
  assert.equal(from("a", "ArrowDown"), "d");
  assert.equal(from("c", "ArrowDown"), "e");
  assert.equal(from("e", "ArrowDown"), "f");
  assert.equal(from("f", "ArrowUp"), "d");
  assert.equal(from("d", "ArrowUp"), "a");
  assert.equal(from("b", "ArrowUp"), undefined);
});

test("other keys lead nowhere", () => assert.equal(from("b", "Home"), undefined));
