import assert from "node:assert/strict";
import test from "node:test";

import { unsentOf } from "../../static/js/review/unsent.js";

const form = (fields) => {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) data.append(name, value);
  return data;
};
const undoing = () => form({ do: "undo", done: "c7" });
const goingBack = () => form({ do: "back" });
const named = (face, isSent = false) => ({ data: form({ do: "name", face, label: "Ann", have: "x" }), isSent });
const rest = (...waiting) => unsentOf(waiting, undoing, goingBack);
const UNDO = { data: undoing, isSent: false };

test("what is decided is sent in order, with the fields that count", () => {
  assert.deepEqual(rest(named("1", true), named("2")), ["face=1&label=Ann&do=name", "face=2&label=Ann&do=name"]);
});

test("skipping and going back are nothing to send", () => {
  assert.deepEqual(rest({ data: form({ do: "skip", face: "1" }), isSent: false }, { data: goingBack, isSent: false }), []);
});

test("an undo of what was not sent takes it out", () => {
  assert.deepEqual(rest(named("1"), named("2"), UNDO), ["face=1&label=Ann&do=name"]);
});

test("an undo of what is under way is sent after it, and leaves to the server what it undoes", () => {
  assert.deepEqual(rest(named("1", true), UNDO), ["face=1&label=Ann&do=name", "do=undo"]);
});

test("an undo by itself is about what was done before", () => {
  assert.deepEqual(rest(UNDO), ["do=undo&done=c7"]);
});

test("where nothing was done, there is nothing to undo", () => {
  const nothing = () => form({ do: "undo", done: "" });
  assert.deepEqual(unsentOf([{ data: nothing, isSent: false }], nothing, goingBack), []);
});
