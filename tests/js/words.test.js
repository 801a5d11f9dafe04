import assert from "node:assert/strict";
import test from "node:test";

import { dayIn, dayWords, leftWords, many, size } from "../../static/js/shared/words.js";

const NOON = Date.UTC(2026, 2, 10, 12);

test("sizes have a unit that fits", () => {
  assert.equal(size(1), "1 kB");
  assert.equal(size(999_499), "999 kB");
  assert.equal(size(1_500_000), "1.5 MB");
  assert.equal(size(2_340_000_000), "2.34 GB");
});

test("one is one, and more are many", () => {
  assert.equal(many(1, "photo"), "1 photo");
  assert.equal(many(0, "photo"), "0 photos");
  assert.equal(many(1200, "face"), "1,200 faces");
});

test("what is left is told in minutes and hours", () => {
  assert.equal(leftWords(10, NOON), "Less than a minute left");
  assert.equal(leftWords(60, NOON), "About 1 min left");
  assert.match(leftWords(600, NOON), /^About 10 min left, until \d\d:10$/);
  assert.match(leftWords(5400, NOON), /^About 1 h 30 min left, until /);
});

test("a day's heading is a word for the last two, else a date", () => {
  assert.equal(dayWords("2026-03-10", "UTC", NOON), "Today");
  assert.equal(dayWords("2026-03-09", "UTC", NOON), "Yesterday");
  assert.equal(dayWords("2026-03-01", "UTC", NOON), "Sunday, 1 March");
  assert.equal(dayWords("2024-12-31", "UTC", NOON), "31 December 2024");
});

test("a day is the one of the team's time zone", () => {
  const late = Date.UTC(2026, 2, 10, 23, 30);
  assert.equal(dayIn(late, "UTC"), "2026-03-10");
  assert.equal(dayIn(late, "Asia/Tokyo"), "2026-03-11");
});
