// Moving the shown photo to the trash, and undoing it. The viewer goes on to the next photo: the
// answer is that one's page, with a toast that offers the undo.

import { fieldOf, fragmentOf } from "../shared/dom.js";
import { explain, isSilent, request } from "../shared/request.js";
import { toast } from "../shared/toast.js";
import { bringBack, isGone, takeAway } from "./gone_photos.js";
import { keepAddress } from "./panels.js";
import { leave, openLayer, put, ready, renew, renewIfGone, show, upAddress } from "./viewer.js";
import { addressOf, isOpen, isOverGrid, neighbourLinks, pkIn, shownPhoto, state, takeToasts, viewer } from "./viewer_page.js";

/** @type {Set<string>} */
const deleting = new Set();
addEventListener("pageshow", () => deleting.clear());

document.addEventListener("submit", (event) => {
  const form = event.target;
  const pk = shownPhoto()?.dataset.pk;
  if (!(form instanceof HTMLFormElement) || form.id !== "trash-photo" || !pk) return;
  const hasNext = neighbourLinks().length > 0;
  const isUnderWay = deleting.has(pk) || isGone(pk);
  // The last photo's form leads to the gallery.
  if (hasNext || isUnderWay) event.preventDefault();
  deleting.add(pk);
  if (hasNext && !isUnderWay) trash(form, pk);
});

/**
 * @param {HTMLFormElement} form
 * @param {string} pk
 */
async function trash(form, pk) {
  const asked = (state.turn += 1);
  viewer.classList.add("turning");
  const answer = await post(form);
  deleting.delete(pk);
  // With a redirect that ends in 404 the photo was trashed, but the next photo is gone.
  const isNextGone = "response" in answer && answer.response.redirected && answer.response.status === 404;
  if (!hasPhoto(answer) && !isNextGone) {
    report(answer, asked, "The photo could not be deleted. Try again.");
    return;
  }
  takeAway(pk);
  arrived(hasPhoto(answer) ? answer.fresh : null, asked);
}

/** @typedef {{ response: Response, fresh: DocumentFragment }} Answered */

/**
 * @param {HTMLFormElement} form
 * @returns {Promise<Answered | { error: unknown }>}
 */
async function post(form) {
  try {
    const response = await request(form.action, { method: "POST", body: new FormData(form) });
    return { response, fresh: fragmentOf(await response.text()) };
  } catch (error) {
    return { error };
  }
}

/**
 * Whether an answer is a photo's page.
 * @param {Answered | { error: unknown }} answer
 * @returns {answer is Answered}
 */
const hasPhoto = (answer) => "response" in answer && answer.response.ok && answer.fresh.querySelector("#photo") !== null;

/**
 * Says why something failed.
 * @param {Answered | { error: unknown }} answer
 * @param {number} asked
 * @param {string} otherwise
 */
function report(answer, asked, otherwise) {
  if ("error" in answer && isSilent(answer.error)) return;
  if (asked === state.turn) viewer.classList.remove("turning");
  const words = "error" in answer ? explain(answer.error, { otherwise }) : answer.fresh.querySelector(".toast p")?.textContent;
  toast(words || otherwise, "error");
}

/**
 * Shows an answer that is a photo's page, unless the user has turned on meanwhile.
 * @param {DocumentFragment | null} fresh
 * @param {number} asked
 */
function arrived(fresh, asked) {
  if (fresh) takeToasts(fresh);
  if (asked !== state.turn) {
    if (isOpen()) renewIfGone();
  } else if (fresh) {
    put(fresh);
    keepAddress();
    ready();
  } else showNewer();
}

/** Shows the photo before this one, or the gallery if this one was the last. */
function showNewer() {
  const newer = neighbourLinks().find((link) => link.id === "newer");
  if (newer) show(addressOf(newer), "newer");
  else if (isOverGrid) leave();
  else location.href = upAddress();
}

// --- Undoing a deletion shows the photo again, over the same grid ---

/** @type {Set<string>} */
const undoing = new Set();
document.addEventListener("submit", (event) => {
  const form = event.target;
  const pk = form instanceof HTMLFormElement ? undoneBy(form) : "";
  if (!(form instanceof HTMLFormElement) || !pk) return;
  event.preventDefault();
  if (undoing.has(pk)) return;
  undoing.add(pk);
  undo(form, pk).finally(() => undoing.delete(pk));
});

/**
 * The photo that a toast's form takes out of the trash.
 * @param {HTMLFormElement} form
 */
function undoneBy(form) {
  if (!form.closest("#toasts") || !fieldOf(form, "at", Element)) return "";
  return pkIn(fieldOf(form, "next", HTMLInputElement)?.value ?? "");
}

/**
 * @param {HTMLFormElement} form
 * @param {string} pk
 */
async function undo(form, pk) {
  const asked = (state.turn += 1);
  const answer = await post(form);
  if (!hasPhoto(answer)) {
    report(answer, asked, "The photo could not be taken back. Try again, or look into the trash.");
    return;
  }
  form.closest(".toast")?.remove();
  bringBack(pk);
  if (!isOpen() && asked === state.turn) {
    openLayer();
    const address = answer.fresh.querySelector("#photo")?.getAttribute("data-address");
    history.pushState({ ...history.state, viewer: true }, "", address);
    state.hasEntry = true;
  }
  arrived(answer.fresh, asked);
  // The photo shown by now may be its neighbour.
  if (asked !== state.turn && isOpen()) renew();
}
