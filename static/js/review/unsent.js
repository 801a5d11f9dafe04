// Computes the decisions that a review hasn't sent yet when it is left.

const FIELDS = ["face", "pair", "shown", "keep", "label", "do", "done"];

/**
 * A request that is not answered yet: a form, or what builds it when its turn comes. Undoing and going
 * back are built late, since earlier requests still change what was done last.
 * @typedef {{ data: FormData | (() => FormData), isSent: boolean }} Waiting
 */

/** @param {FormData} data */
const actionOf = (data) => data.get("do");

/**
 * The decisions that the server still needs, in order, each as a URL-encoded form. Requests that are
 * under way are included: they may not have arrived, and the server recognises repeated decisions.
 * Skips are left out, and an undo removes the unsent decision before it.
 * @param {readonly Waiting[]} waiting
 * @param {() => FormData} undoing Builds the form of an undo.
 * @param {() => FormData} goingBack
 * @returns {string[]}
 */
export function unsentOf(waiting, undoing, goingBack) {
  /** @type {{ data: FormData, isSent: boolean }[]} */
  const rest = [];
  for (const { data, isSent } of waiting) {
    if (data === goingBack) continue;
    const last = rest.at(-1);
    if (data === undoing && last && canBeTakenOut(last)) rest.pop();
    else if (data === undoing) rest.push(...undoAfter(data(), last !== undefined, isSent));
    else rest.push(...sentAlone(data instanceof FormData ? data : data(), isSent));
  }
  return rest.filter(({ data }) => actionOf(data) !== "skip").map(({ data }) => encoded(data));
}

/** @param {{ data: FormData, isSent: boolean }} last */
const canBeTakenOut = ({ data, isSent }) => (!isSent || actionOf(data) === "skip") && actionOf(data) !== "undo";

/**
 * @param {FormData} data
 * @param {boolean} isAfterAnother
 * @param {boolean} isSent
 */
function undoAfter(data, isAfterAnother, isSent) {
  if (!isAfterAnother) return sentAlone(data, isSent);
  // The token on the page is older than all waiting requests.
  data.delete("done");
  return [{ data, isSent }];
}

/**
 * What there is to send of a form: nothing of one that goes back or undoes nothing.
 * @param {FormData} data
 * @param {boolean} isSent
 */
function sentAlone(data, isSent) {
  const isNothing = actionOf(data) === "back" || (actionOf(data) === "undo" && !/^[cd]/.test(String(data.get("done") ?? "")));
  return isNothing ? [] : [{ data, isSent }];
}

/** @param {FormData} data */
function encoded(data) {
  const fields = new URLSearchParams();
  for (const name of FIELDS) if (data.has(name)) fields.set(name, String(data.get(name)));
  return fields.toString();
}
