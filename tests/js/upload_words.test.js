import assert from "node:assert/strict";
import test from "node:test";

import { outcomeWords, titleOf, troubleWords } from "../../static/js/galleries/upload_words.js";

const NONE = { added: 0, present: 0, restored: 0, trashed: 0, refused: 0, unsent: 0 };
const title = (now, isCancelled = false) => titleOf({ all: 60, over: 20, open: 40, counts: NONE, isPaused: false, isAsking: false, trouble: null, ...now }, isCancelled);

test("the outcome names what there is of", () => {
  assert.equal(outcomeWords({ ...NONE, added: 58, present: 1, refused: 1 }, 0), "58 new, 1 was here already, 1 refused");
  assert.equal(outcomeWords({ ...NONE, present: 2, trashed: 3, unsent: 1200 }, 2), "2 were here already, 3 in the trash, 1,200 not sent, 2 other files left out");
  assert.equal(outcomeWords(NONE, 0), "");
});

test("the title says how far it is, or what is in its way", () => {
  assert.equal(title({}), "Uploading 20 of 60");
  assert.equal(title({ isAsking: true }), "Looking which of 60 photos are here…");
  assert.equal(title({ isPaused: true }), "Paused at 20 of 60");
  assert.equal(title({ trouble: { kind: "lost", words: "", status: 0 } }), "Connection lost at 20 of 60");
  assert.equal(title({ trouble: { kind: "lost", words: "", status: 503 } }), "Waiting for the server at 20 of 60");
  assert.equal(title({ trouble: { kind: "closed", words: "No.", status: 0 } }), "Upload stopped at 20 of 60");
  assert.equal(title({ trouble: { kind: "checking", words: "", status: 0 } }), "Uploading 20 of 60");
});

test("the title says how it ended", () => {
  assert.equal(title({ open: 0 }), "Upload finished");
  assert.equal(title({ open: 0, counts: { ...NONE, unsent: 1 } }), "Upload not complete");
  assert.equal(title({ open: 0, counts: { ...NONE, unsent: 1 } }, true), "Upload cancelled");
});

test("trouble is explained", () => {
  assert.match(troubleWords({ kind: "lost", words: "", status: 429 }), /^The server asks to wait/);
  assert.match(troubleWords({ kind: "lost", words: "", status: 502 }), /\(502\)/);
  assert.equal(troubleWords({ kind: "closed", words: "Closed.", status: 0 }), "Closed.");
});
