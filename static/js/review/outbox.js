// Decisions that a review couldn't send before it was left. The browser stores them, and the user's
// next page sends them. The server ignores those that had arrived already.

import { request } from "../shared/request.js";
import { toast } from "../shared/toast.js";

const { user } = document.body.dataset;
const START = `rollcall.review.${user}.`;
const SENT = "What you decided last in the review had not arrived. It is saved now.";
// The server takes no more decisions in one request: MOST_QUEUED in dashboard/pages/review/queue.py.
const MOST = 200;
const REFUSED = "What you decided last in the review could not be saved. Look at those faces again.";

/**
 * @param {string} key
 * @returns {string[]}
 */
function read(key) {
  const stored = JSON.parse(localStorage.getItem(key) || "[]");
  return Array.isArray(stored) ? stored.map(String) : [];
}

/**
 * One request with all decisions in order.
 * @param {string[]} queued Each is one form, URL-encoded.
 */
function formOf(queued) {
  const data = new FormData();
  data.append("csrfmiddlewaretoken", JSON.parse(document.body.getAttribute("hx-headers") ?? "{}")["X-CSRFToken"]);
  data.append("do", "rest");
  for (const one of queued) data.append("queued", one);
  return data;
}

/**
 * Stores decisions.
 * @param {string} address Where they are sent to.
 * @param {string[]} queued
 */
function keep(address, queued) {
  try {
    localStorage.setItem(START + address, JSON.stringify([...read(START + address), ...queued]));
  } catch {
    // Storage is unavailable: nothing more can be done here.
  }
}

/**
 * Sends decisions that outlive the page. Returns whether the browser has taken them all.
 * @param {string} address
 * @param {string[]} queued
 */
function beacon(address, queued) {
  return queued.length <= MOST && navigator.sendBeacon(address, formOf(queued));
}

/**
 * Sends what is stored. Resolves to true if there were decisions and the server has taken them all.
 * @param {string} address
 */
async function send(address) {
  let isAny = false;
  for (;;) {
    let queued;
    let response;
    try {
      queued = read(START + address).slice(0, MOST);
      if (!queued.length) return isAny;
      response = await request(address, { stays: true, method: "POST", body: formOf(queued) });
    } catch {
      return false; // They stay stored for the next attempt.
    }
    if (response.redirected || response.status >= 500) return false;
    forget(address, queued);
    if (!response.ok) {
      toast(REFUSED, "error");
      return false;
    }
    isAny = true;
  }
}

/**
 * @param {string} address
 * @param {string[]} sent
 */
function forget(address, sent) {
  // Another tab may have stored more meanwhile, and an undo reads like the one before it.
  const rest = read(START + address);
  for (const one of sent) {
    const at = rest.indexOf(one);
    if (at >= 0) rest.splice(at, 1);
  }
  if (rest.length) localStorage.setItem(START + address, JSON.stringify(rest));
  else localStorage.removeItem(START + address);
}

async function sendAll() {
  /** @type {string[]} */
  let addresses = [];
  try {
    addresses = Object.keys(localStorage).filter((key) => key.startsWith(START)).map((key) => key.slice(START.length));
  } catch {
    return;
  }
  for (const address of addresses) {
    if (await send(address)) toast(SENT, "success");
  }
}

export const outbox = { beacon, keep, send };
// The review page sends them itself, and then reloads.
if (!document.getElementById("review")) sendAll();
