import assert from "node:assert/strict";
import test from "node:test";

import { ofSpace, withFresh } from "../../static/js/review/recent_names.js";

const name = (person, space = "1") => ({ dataset: { person, space } });
const people = (names) => names.map((one) => one.dataset.person).join("");
const of = (letters, space) => [...letters].map((one) => name(one, space));

test("people keep their number, and new ones come after them", () => {
  assert.equal(people(withFresh(of("abc"), of("dca"))), "abcd");
});

test("what the server says of somebody now replaces what it said before", () => {
  const fresh = name("a");
  assert.equal(withFresh(of("ab"), [fresh])[0], fresh);
});

test("with nine taken, somebody new replaces whoever has left the list", () => {
  assert.equal(people(withFresh(of("abcdefghi"), of("xbcdefghi"))), "xbcdefghi");
  assert.equal(people(withFresh(of("abcdefghi"), of("abcdefghix"))), "abcdefghix");
});

test("each space has numbers of its own", () => {
  const names = withFresh(of("abcdefghi", "1"), of("xy", "2"));
  assert.equal(people(ofSpace(names, "1")), "abcdefghi");
  assert.equal(people(ofSpace(names, "2")), "xy");
});
