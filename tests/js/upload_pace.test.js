import assert from "node:assert/strict";
import test from "node:test";

import { Pace } from "../../static/js/galleries/upload_pace.js";

const measured = (steps) => {
  const pace = new Pace();
  for (const step of steps) pace.measure({ isMoving: true, ...step });
  return pace;
};
/** One megabyte and two files a second, from second `from` on. */
const steady = (count, from = 1000) => Array.from({ length: count }, (_, n) => ({ at: from + n, moved: n * 1e6, over: n * 2 }));

test("nothing is told before enough was measured", () => {
  assert.deepEqual(measured(steady(2)).words(1e9), { speed: "", left: "" });
});

test("a steady upload has its rate, and the time that is left", () => {
  const { speed, left } = measured(steady(30)).words(30e6);
  assert.equal(speed, "1.0 MB/s · 2.0\u00a0photos/s");
  assert.equal(left, "Less than a minute left");
});

test("pauses and a suspended tab do not slow it down", () => {
  const steps = steady(30);
  const last = steps.at(-1);
  const paused = measured([...steps, { ...last, at: last.at + 20, isMoving: false }]);
  const suspended = measured([...steps, { ...last, at: last.at + 600 }]);
  for (const pace of [paused, suspended]) assert.match(pace.words(1).speed, /^1.0 MB/);
});

test("it starts anew when it is reset", () => {
  const pace = measured(steady(30));
  pace.reset();
  assert.deepEqual(pace.words(1e9), { speed: "", left: "" });
});
