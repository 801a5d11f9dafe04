// The upload's session: after a sign-in in another tab, the form's token is taken from the page anew.

import { find, need } from "../shared/dom.js";
import { SignedOut, isPassingStatus, request } from "../shared/request.js";
import { PATIENCE_MS } from "./upload_request.js";

/**
 * Asks for the page's current form. Resolves to null if the server couldn't be asked.
 * @param {HTMLFormElement} form
 * @returns {Promise<{ token: string } | { kind: "signed-out" | "closed", words: string } | null>}
 */
export async function renewSession(form) {
  let fresh;
  try {
    const response = await request(form.dataset.page ?? "", { answer: "page", signal: AbortSignal.timeout(PATIENCE_MS) });
    if (isPassingStatus(response.status)) return null;
    const page = response.ok ? new DOMParser().parseFromString(await response.text(), "text/html") : null;
    fresh = page && find("#upload", HTMLFormElement, page);
  } catch (error) {
    return error instanceof SignedOut ? { kind: "signed-out", words: "" } : null;
  }
  if (!fresh) return { kind: "closed", words: "You can't add photos to this gallery any more." };
  if (fresh.dataset.sender !== form.dataset.sender) {
    return { kind: "closed", words: "Somebody else has signed in here. Sign in again as before, or reload the page." };
  }
  const token = tokenOf(fresh);
  useToken(token);
  return { token };
}

/** @param {HTMLFormElement} form */
export const tokenOf = (form) => need("[name=csrfmiddlewaretoken]", HTMLInputElement, form).value;

/** @param {string} token */
function useToken(token) {
  for (const input of document.querySelectorAll("[name=csrfmiddlewaretoken]")) input.setAttribute("value", token);
  document.body.setAttribute("hx-headers", JSON.stringify({ "X-CSRFToken": token }));
}
