import assert from "node:assert/strict";
import test from "node:test";

import { wordsOf } from "../../static/js/review/tick_words.js";

const TEXTS = "All {n} are Ann|{n} are Ann, {m} {is} not|None of these is Ann";

test("a button says what it does with all, some and none", () => {
  assert.equal(wordsOf(TEXTS, 5, 0), "All 5 are Ann");
  assert.equal(wordsOf(TEXTS, 3, 2), "3 are Ann, 2 are not");
  assert.equal(wordsOf(TEXTS, 4, 1), "4 are Ann, 1 is not");
  assert.equal(wordsOf(TEXTS, 0, 5), "None of these is Ann");
});
