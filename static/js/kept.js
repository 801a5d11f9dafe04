// What somebody decided in a review and it could not send before it was left. This browser keeps it,
// and whatever page the same user opens next sends it: what had arrived is not done twice.
"use strict";

(() => {
  const { user } = document.body.dataset;
  if (!user) return;
  const START = `rollcall.review.${user}.`;
  const SENT = "What you decided last in the review had not arrived. It is saved now.";
  const REFUSED = "What you decided last in the review could not be saved. Look at those faces again.";

  const read = (key) => JSON.parse(localStorage.getItem(key) || "[]");

  // One request for all, in order. `queued` has the fields of a form each.
  function formOf(queued) {
    const data = new FormData();
    data.append("csrfmiddlewaretoken", JSON.parse(document.body.getAttribute("hx-headers"))["X-CSRFToken"]);
    data.append("do", "rest");
    for (const one of queued) data.append("queued", one);
    return data;
  }

  function keep(address, queued) {
    try {
      localStorage.setItem(START + address, JSON.stringify([...read(START + address), ...queued]));
    } catch { /* There is no storage: it was asked about before. */ }
  }

  // Whether there was something, and it is at the server now.
  async function send(address) {
    let queued;
    let response;
    try {
      queued = read(START + address);
      if (!queued.length) return false;
      response = await fetch(address, { method: "POST", body: formOf(queued), headers: { "HX-Request": "true" } });
    } catch {
      return false; // It stays, for the next time.
    }
    if (response.redirected || response.headers.has("HX-Redirect") || response.status >= 500) return false;
    // Another tab may have kept more meanwhile.
    const rest = read(START + address).filter((one) => !queued.includes(one));
    if (rest.length) localStorage.setItem(START + address, JSON.stringify(rest));
    else localStorage.removeItem(START + address);
    if (!response.ok) window.rollcall.toast(REFUSED, "error");
    return response.ok;
  }

  async function sendAll() {
    let addresses = [];
    try {
      addresses = Object.keys(localStorage).filter((key) => key.startsWith(START)).map((key) => key.slice(START.length));
    } catch { return; }
    for (const address of addresses) {
      if (await send(address)) window.rollcall.toast(SENT, "success");
    }
  }

  window.rollcall.kept = { formOf, keep, send };
  // A review does it itself, and is drawn anew.
  if (!document.getElementById("review")) sendAll();
})();
