import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

const stored = new Map();
const storage = {
  getItem: (key) => stored.get(key) ?? null,
  setItem: (key, value) => stored.set(key, value),
  removeItem: (key) => stored.delete(key),
};
const body = { dataset: { user: "7" }, getAttribute: () => '{"X-CSRFToken": "token"}' };
// A review page: it asks the outbox to send by itself.
Object.assign(globalThis, {
  document: { body, getElementById: () => ({}), querySelector: () => null, addEventListener() {} },
  localStorage: storage,
  location: { href: "http://rollcall/t/a/people/" },
});
const { outbox } = await import("../../static/js/review/outbox.js");

const ADDRESS = "/t/a/review/";
const decisions = (count) => Array.from({ length: count }, (_, n) => `face=${n}&do=ignore`);
let sent;
const answers = (statuses) => {
  sent = [];
  globalThis.fetch = async (_url, { body: form }) => {
    sent.push(form.getAll("queued"));
    return new Response(null, { status: statuses.shift() ?? 204 });
  };
};

beforeEach(() => stored.clear());

test("many decisions are sent in order, no more at once than the server takes", async () => {
  answers([]);
  outbox.keep(ADDRESS, decisions(450));
  assert.equal(await outbox.send(ADDRESS), true);
  assert.deepEqual(sent.map((one) => one.length), [200, 200, 50]);
  assert.deepEqual(sent.flat(), decisions(450));
  assert.equal(stored.size, 0);
});

test("what the server did not take for a fault of its own stays stored", async () => {
  answers([204, 503]);
  outbox.keep(ADDRESS, decisions(450));
  assert.equal(await outbox.send(ADDRESS), false);
  answers([]);
  assert.equal(await outbox.send(ADDRESS), true);
  assert.deepEqual(sent.flat(), decisions(450).slice(200));
});

test("what reads like something that was sent is sent too", async () => {
  answers([]);
  const twice = [...decisions(199), "do=undo", ...decisions(1), "do=undo"];
  outbox.keep(ADDRESS, twice);
  assert.equal(await outbox.send(ADDRESS), true);
  assert.deepEqual(sent.flat(), twice);
});

test("with nothing stored nothing is sent", async () => {
  answers([]);
  assert.equal(await outbox.send(ADDRESS), false);
  assert.deepEqual(sent, []);
});

test("a beacon that the server would refuse is not sent", () => {
  const beacons = [];
  Object.defineProperty(globalThis, "navigator", {
    configurable: true,
    value: { sendBeacon: (_address, form) => beacons.push(form.getAll("queued").length) > 0 },
  });
  assert.equal(outbox.beacon(ADDRESS, decisions(201)), false);
  assert.equal(outbox.beacon(ADDRESS, decisions(200)), true);
  assert.deepEqual(beacons, [200]);
});
