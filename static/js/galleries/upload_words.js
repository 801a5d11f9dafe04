// What the upload panel says, as pure functions.

import { many, number } from "../shared/words.js";

/** @typedef {import("./upload_queue.js").Now} Now */
/** @typedef {import("./upload_queue.js").Trouble} Trouble */

/**
 * @param {Now["counts"]} counts
 * @param {number} leftOut Files of a folder that are no photos.
 */
export function outcomeWords({ added, present, restored, trashed, refused, unsent }, leftOut) {
  return [
    added && `${number(added)} new`,
    present && `${number(present)} ${present === 1 ? "was" : "were"} here already`,
    restored && `${number(restored)} back from the trash`,
    trashed && `${number(trashed)} in the trash`,
    refused && `${number(refused)} refused`,
    unsent && `${number(unsent)} not sent`,
    leftOut && `${many(leftOut, "other file")} left out`,
  ].filter(Boolean).join(", ");
}

/**
 * @param {Pick<Now, "all" | "over" | "open" | "counts" | "isPaused" | "isAsking" | "trouble">} now
 * @param {boolean} isCancelled
 */
export function titleOf(now, isCancelled) {
  const place = `${number(now.over)} of ${number(now.all)}`;
  if (now.open === 0) return endTitle(now, isCancelled);
  if (now.trouble && now.trouble.kind !== "checking") return troubleTitle(now.trouble, place);
  if (now.isPaused) return `Paused at ${place}`;
  return now.isAsking ? `Looking which of ${many(now.all, "photo")} are here…` : `Uploading ${place}`;
}

/**
 * @param {Pick<Now, "counts">} now
 * @param {boolean} isCancelled
 */
function endTitle({ counts }, isCancelled) {
  if (isCancelled) return "Upload cancelled";
  return counts.unsent ? "Upload not complete" : "Upload finished";
}

/**
 * @param {Trouble} trouble
 * @param {string} place
 */
function troubleTitle({ kind, status }, place) {
  if (kind !== "lost") return `Upload stopped at ${place}`;
  return `${status ? "Waiting for the server" : "Connection lost"} at ${place}`;
}

/** @param {Trouble} trouble */
export function troubleWords(trouble) {
  switch (trouble.kind) {
    case "lost": return `${lostWords(trouble.status)} It is tried again and again; nothing is lost, and what has arrived is not sent twice.`;
    case "signed-out": return "You are signed out. Sign in in another tab and come back: the upload goes on where it is. Do not close this one.";
    default: return trouble.words;
  }
}

/** @param {number} status */
function lostWords(status) {
  if (status === 429) return "The server asks to wait a moment.";
  return status ? `The server can't take files just now (${status}).` : "The server can't be reached.";
}
