// What the server's answer to a file means, as pure functions.

import { isPassingStatus } from "../shared/request.js";

/**
 * The server's answer to a file that it took.
 * @typedef {{ new: boolean, restored: boolean, notes: string[], url: string, tile: string }} Landed
 */

/**
 * An answer as it came; status 0 is none.
 * @typedef {{ status: number, text: string, isElsewhere: boolean, retryAfter: number }} Result
 */

/**
 * What follows from an answer. `failed` may succeed in a moment, `denied` with another session or
 * right, and `refused` never.
 * @typedef {{ kind: "landed", state: "added" | "restored" | "present", answer: Landed }
 *   | { kind: "signed-out" }
 *   | { kind: "denied", words: string }
 *   | { kind: "failed" }
 *   | { kind: "refused", words: string }} Outcome
 */

/**
 * @param {Result} result
 * @returns {Outcome}
 */
export function outcomeOf(result) {
  const answer = parsed(result.text);
  return TAKEN.includes(result.status) && answer ? { kind: "landed", state: stateOf(answer), answer } : failureOf(result, answer?.error);
}

const TAKEN = [200, 201];

/**
 * @param {Result} result
 * @param {string | undefined} error What the server says of the file.
 * @returns {Outcome}
 */
function failureOf({ status, text, isElsewhere }, error) {
  if (status === 401 || isElsewhere) return { kind: "signed-out" };
  if (status === 403 || status === 404) return { kind: "denied", words: status === 403 ? plain(text) : "" };
  if (TAKEN.includes(status) || isPassingStatus(status)) return { kind: "failed" };
  return { kind: "refused", words: error || reasonFor(status) };
}

/**
 * A text that is no page, such as a proxy's.
 * @param {string} text
 */
const plain = (text) => (text.includes("<") ? "" : text);

/** @param {number} status */
const reasonFor = (status) => (status === 413 ? "This file is too large for the server." : `The server did not take it (${status}).`);

/** @param {Landed} answer */
const stateOf = (answer) => (answer.new ? "added" : answer.restored ? "restored" : "present");

/**
 * @param {string} text
 * @returns {(Landed & { error?: string }) | null}
 */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    // Not Rollcall's answer: a proxy's page, or nothing at all.
    return null;
  }
}
