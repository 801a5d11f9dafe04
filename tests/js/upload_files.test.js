import assert from "node:assert/strict";
import test from "node:test";

import { UploadFiles } from "../../static/js/galleries/upload_files.js";

const chosen = (path, size = 10, lastModified = 1) => ({ file: { size, lastModified, name: path }, path });
const files = () => new UploadFiles({ bytes: 1000, words: "1 kB" });
const paths = (items) => items.map((item) => item.path);

test("a file that is on its way is not added again, and one that has ended is", () => {
  const all = files();
  const [item] = all.add([chosen("a")]).fresh;
  assert.deepEqual(all.add([chosen("a")]), { fresh: [], unsent: [] });
  all.end(item, "added");
  assert.deepEqual(paths(all.add([chosen("a")]).fresh), ["a"]);
});

test("a file that was not sent is the same file", () => {
  const all = files();
  const [item] = all.add([chosen("a")]).fresh;
  all.end(item, "unsent");
  assert.deepEqual(all.add([chosen("a")]).unsent, [item]);
});

test("two files of one name, size and time are both sent", () => {
  const { fresh } = files().add([chosen("a"), chosen("a"), chosen("b")]);
  assert.deepEqual(fresh.map((item) => item.isTwice), [true, true, false]);
});

test("a file beyond the limit is refused at once, and says so", () => {
  const all = files();
  const [item] = all.add([chosen("a", 2000)]).fresh;
  assert.equal(item.state, "refused");
  assert.match(item.words, /2 kB; the limit is 1 kB/);
  assert.deepEqual([all.counts.refused, all.open().length], [1, 0]);
});

test("counts and bytes follow files that end and are opened again", () => {
  const all = files();
  const [item] = all.add([chosen("a"), chosen("b", 30)]).fresh;
  all.progress(item, 0.5);
  assert.deepEqual(all.bytes, { all: 40, over: 0, moved: 5 });
  all.end(item, "unsent", "Lost.");
  assert.deepEqual([all.counts.unsent, all.bytes.over, item.loaded], [1, 10, 0]);
  item.tries = 3;
  all.reopen(item);
  assert.deepEqual([all.counts.unsent, all.bytes.over, item.words, item.tries], [0, 0, "", 1]);
});
