// The one way in which scripts send requests. It tells apart an ended session, an unreachable
// server, and an answer with an error status.

/**
 * Checks for work that would be lost with the page, such as an upload. While one returns true, no
 * script navigates away.
 * @type {Set<() => boolean>}
 */
const holders = new Set();

/** @param {() => boolean} isBusy */
export function hold(isBusy) {
  holders.add(isBusy);
}

const isHeld = () => [...holders].some((isBusy) => isBusy());

/** The session has ended. The page navigates to the sign-in, unless it is held or `stays`. */
export class SignedOut extends Error {
  name = "SignedOut";
}

/** The server can't be reached. */
export class Offline extends Error {
  name = "Offline";
}

/** The server answered with an error. */
export class Refused extends Error {
  name = "Refused";

  /** @param {number} status */
  constructor(status) {
    super(String(status));
    this.status = status;
  }
}

/**
 * What is asked for: a part of a page as htmx asks for it, JSON, or a whole page.
 * @typedef {"fragment" | "json" | "page"} Answer
 */

/**
 * The sign-in address that an answer leads to; null while the session is valid. Fragments carry it
 * in a header. JSON requests get status 401 or a redirect, and pages get a redirect.
 * @param {Pick<Response, "headers" | "status" | "redirected" | "url">} response
 * @param {Answer} answer
 */
export function signInAddress(response, answer = "fragment") {
  const away = response.headers.get("HX-Redirect");
  if (away) return away;
  return answer !== "fragment" && (response.status === 401 || response.redirected) ? response.url : null;
}

/** @typedef {RequestInit & { headers?: Record<string, string>, answer?: Answer, stays?: boolean }} Options */

/**
 * @param {Answer} answer
 * @returns {Record<string, string>}
 */
function headersFor(answer) {
  if (answer === "fragment") return { "HX-Request": "true", "HX-Current-URL": location.href };
  return answer === "json" ? { Accept: "application/json" } : {};
}

/**
 * Sends a request and returns the response, also one with an error status. Throws `SignedOut`,
 * `Offline`, or the AbortError of `signal`. When the session has ended, the page navigates to the
 * sign-in; not so with `stays`, while the page is held, or for another answer than a fragment.
 * @param {string | URL} url
 * @param {Options} options
 */
export async function request(url, { answer = "fragment", stays = false, headers, ...init } = {}) {
  const response = await send(url, { ...init, headers: { ...headersFor(answer), ...headers } });
  const away = signInAddress(response, answer);
  if (away === null) return response;
  if (answer === "fragment" && !stays && !isHeld()) location.href = away;
  throw new SignedOut("Signed out.");
}

/**
 * @param {string | URL} url
 * @param {RequestInit} init
 */
async function send(url, init) {
  try {
    return await fetch(url, init);
  } catch (error) {
    // fetch() reports a missing connection as a TypeError.
    if (error instanceof TypeError) throw new Offline("The server can't be reached.", { cause: error });
    throw error;
  }
}

/**
 * Like `request`, but throws `Refused` for an error status.
 * @param {string | URL} url
 * @param {Options} options
 */
export async function fetched(url, options = {}) {
  const response = await request(url, options);
  if (!response.ok) throw new Refused(response.status);
  return response;
}

/**
 * The text for the user about an error; null for a silent error (see `isSilent`).
 * @param {unknown} error
 * @param {{ offline?: string, otherwise: string }} words
 */
export function explain(error, { offline = "The server can't be reached. Try again.", otherwise }) {
  if (isSilent(error)) return null;
  return error instanceof Offline ? offline : otherwise;
}

/**
 * Whether an error needs no message and no retry: the session has ended, or the request was aborted
 * on purpose.
 * @param {unknown} error
 */
export const isSilent = (error) => error instanceof SignedOut
  || (error instanceof DOMException && error.name === "AbortError");

/**
 * Whether the server may answer otherwise in a moment. A status of 0 is no answer.
 * @param {number} status
 */
export const isPassingStatus = (status) => status >= 500 || [0, 408, 425, 429].includes(status);

/**
 * Whether what threw this may succeed in a moment.
 * @param {unknown} error
 */
export const isPassing = (error) => !(error instanceof Refused) || isPassingStatus(error.status);

/**
 * The body of an error response if it is short plain text, else `otherwise`.
 * @param {string | null} contentType
 * @param {string} text
 * @param {string} otherwise
 */
export function reasonIn(contentType, text, otherwise) {
  return contentType?.startsWith("text/plain") && text.length < 400 ? text : otherwise;
}
