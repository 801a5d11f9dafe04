import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { Offline, Refused, SignedOut, explain, fetched, hold, isSilent, reasonIn, request } from "../../static/js/shared/request.js";

const real = globalThis.fetch;
let asked;
const answers = (answer) => {
  globalThis.fetch = async (url, options) => {
    asked = { url, ...options };
    if (answer instanceof Error) throw answer;
    return answer;
  };
};
const away = () => new Response("", { status: 200, headers: { "HX-Redirect": "/login/?next=/" } });
let isBusy = false;
hold(() => isBusy);

beforeEach(() => {
  isBusy = false;
  globalThis.location = { href: "http://rollcall/here" };
});
afterEach(() => { globalThis.fetch = real; });

test("a fragment is asked for as htmx does it, JSON as JSON", async () => {
  answers(new Response("x"));
  await request("/a", { headers: { "HX-Target": "tiles" } });
  assert.deepEqual(asked.headers, { "HX-Request": "true", "HX-Current-URL": "http://rollcall/here", "HX-Target": "tiles" });
  await request("/a", { answer: "json" });
  assert.deepEqual(asked.headers, { Accept: "application/json" });
});

test("whoever is signed out goes to the sign-in, once", async () => {
  answers(away());
  await assert.rejects(request("/a"), SignedOut);
  assert.equal(globalThis.location.href, "/login/?next=/");
});

test("a page that is held, and a request that stays, do not leave", async () => {
  answers(away());
  isBusy = true;
  await assert.rejects(request("/a"), SignedOut);
  isBusy = false;
  await assert.rejects(request("/a", { stays: true }), SignedOut);
  assert.equal(globalThis.location.href, "http://rollcall/here");
});

test("JSON from somebody who is signed out is a 401", async () => {
  answers(new Response("", { status: 401 }));
  await assert.rejects(request("/a", { answer: "json" }), SignedOut);
});

test("a page that turned out to be the sign-in is not taken for the page", async () => {
  const page = new Response("<html>");
  answers(page);
  assert.equal(await request("/a", { answer: "page" }), page);
  assert.deepEqual(asked.headers, {});
  answers(Object.defineProperty(new Response("<html>"), "redirected", { value: true }));
  await assert.rejects(request("/a", { answer: "page" }), SignedOut);
  assert.equal(globalThis.location.href, "http://rollcall/here");
});

test("no connection is told apart from a request that was given up", async () => {
  answers(new TypeError("Failed to fetch"));
  await assert.rejects(request("/a"), Offline);
  answers(new DOMException("", "AbortError"));
  await assert.rejects(request("/a"), (error) => isSilent(error));
});

test("an error's status is told where only a good answer is of use", async () => {
  answers(new Response("", { status: 404 }));
  assert.equal((await request("/a")).status, 404);
  await assert.rejects(fetched("/a"), (error) => error instanceof Refused && error.status === 404);
});

test("what is said of an error", () => {
  assert.equal(explain(new SignedOut(), { otherwise: "no" }), null);
  assert.equal(explain(new Refused(500), { otherwise: "no" }), "no");
  assert.equal(explain(new Offline(), { otherwise: "no", offline: "off" }), "off");
  const plain = "text/plain; charset=utf-8";
  assert.equal(reasonIn(plain, "Too many.", "no"), "Too many.");
  assert.equal(reasonIn(plain, "x".repeat(400), "no"), "no");
  assert.equal(reasonIn("text/html", "<html>", "no"), "no");
  assert.equal(reasonIn(null, "x", "no"), "no");
});
