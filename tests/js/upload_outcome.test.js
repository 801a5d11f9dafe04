import assert from "node:assert/strict";
import test from "node:test";

import { outcomeOf } from "../../static/js/galleries/upload_outcome.js";

const outcome = (status, text = "", isElsewhere = false) => outcomeOf({ status, text, isElsewhere, retryAfter: 0 });
const landed = (fields) => JSON.stringify({ new: false, restored: false, notes: [], url: "/p", ...fields });

test("a file that was taken is new, back from the trash, or was there", () => {
  assert.equal(outcome(201, landed({ new: true })).state, "added");
  assert.equal(outcome(200, landed({ restored: true })).state, "restored");
  assert.equal(outcome(200, landed({})).state, "present");
});

test("an answer that is not Rollcall's, or none, is tried again", () => {
  assert.deepEqual(outcome(200, "<html>"), { kind: "failed" });
  for (const status of [0, 408, 429, 500, 503]) assert.deepEqual(outcome(status), { kind: "failed" });
});

test("a redirect to the sign-in is no answer to the file", () => {
  assert.deepEqual(outcome(200, "<html>", true), { kind: "signed-out" });
  assert.deepEqual(outcome(401), { kind: "signed-out" });
});

test("a denial says why, unless a page says it", () => {
  assert.deepEqual(outcome(403, "This gallery is closed."), { kind: "denied", words: "This gallery is closed." });
  assert.deepEqual(outcome(403, "<html>"), { kind: "denied", words: "" });
  assert.deepEqual(outcome(404, "Not found"), { kind: "denied", words: "" });
});

test("a file that is refused has a reason", () => {
  assert.deepEqual(outcome(422, '{"error": "This is not a picture."}'), { kind: "refused", words: "This is not a picture." });
  assert.match(outcome(413).words, /too large/);
  assert.match(outcome(418).words, /418/);
});
