// Sends one file. It is an XMLHttpRequest because fetch() tells nothing of an upload's progress.

/** @typedef {import("./upload_outcome.js").Result} Result */

/** Without any progress for so long, the request is given up. */
export const PATIENCE_MS = 90_000;

/**
 * @param {string} url
 * @param {object} sent
 * @param {FormData} sent.body
 * @param {string} sent.token
 * @param {(share: number) => void} sent.onProgress
 * @returns {{ result: Promise<Result>, abort: () => void }}
 */
export function sendFile(url, { body, token, onProgress }) {
  const xhr = new XMLHttpRequest();
  const abort = () => xhr.abort();
  let patience = setTimeout(abort, PATIENCE_MS);
  xhr.open("POST", url);
  xhr.setRequestHeader("Accept", "application/json");
  xhr.setRequestHeader("X-CSRFToken", token);
  xhr.upload.onprogress = (event) => {
    clearTimeout(patience);
    patience = setTimeout(abort, PATIENCE_MS);
    if (event.lengthComputable) onProgress(event.loaded / event.total);
  };
  /** @type {Promise<Result>} */
  const result = new Promise((resolve) => {
    xhr.onloadend = () => {
      clearTimeout(patience);
      resolve(resultOf(xhr, url));
    };
  });
  xhr.send(body);
  return { result, abort };
}

/**
 * @param {XMLHttpRequest} xhr
 * @param {string} url
 * @returns {Result}
 */
function resultOf(xhr, url) {
  const isElsewhere = Boolean(xhr.responseURL) && new URL(xhr.responseURL).pathname !== new URL(url).pathname;
  return { status: xhr.status, text: xhr.responseText, isElsewhere, retryAfter: Number(xhr.getResponseHeader("Retry-After")) };
}
