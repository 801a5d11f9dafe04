import assert from "node:assert/strict";
import test from "node:test";

import { spreadMonths } from "../../static/js/galleries/months.js";

test("months share the bar by their photos", () => {
  const [one, other] = spreadMonths([{ month: "2026-03", count: 30 }, { month: "2026-02", count: 10 }]);
  assert.deepEqual([one.top, one.bottom, other.top, other.bottom], [0, 0.75, 0.75, 1]);
});

test("a year is written at its first month, if the last label leaves room", () => {
  const labelled = (months) => spreadMonths(months).filter((one) => one.isLabelled).map((one) => one.month);
  assert.deepEqual(
    labelled([{ month: "2026-03", count: 50 }, { month: "2026-02", count: 10 }, { month: "2025-12", count: 40 }]),
    ["2026-03", "2025-12"],
  );
  assert.deepEqual(labelled([{ month: "2026-01", count: 1 }, { month: "2025-12", count: 99 }]), ["2026-01"]);
  // The second month of a year is labelled where the first one had no room.
  assert.deepEqual(
    labelled([{ month: "2026-01", count: 1 }, { month: "2025-12", count: 9 }, { month: "2025-11", count: 90 }]),
    ["2026-01", "2025-11"],
  );
});
