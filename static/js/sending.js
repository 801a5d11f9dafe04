// Files on their way to a gallery: three at a time, one a request, and before that a question which
// of them are there already. A lost connection or an ended session stops all of it and costs no
// place. This knows no page: `changed(item)` is called where something may look different, `landed`
// with the answer about a file that has arrived.
//
// unasked -> asked -> waiting -> sending -> added | present | restored | refused
//              |         ^          |       unsent (nothing came of it, it can be sent again)
//              |         +----------+
//              +-> present | trashed
"use strict";

window.rollcall.size = (bytes) => (bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB`
  : bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`);

window.rollcall.sending = (form, { changed, landed }) => {
  const PARALLEL = 3;
  const ASKED_AT_ONCE = 500;
  const LONGEST_PATH = 1000;
  const PATIENCE_MS = 90_000;
  // A connection comes back; a server that breaks over a file breaks over it again.
  const MOST_TRIES = 8;
  const MOST_BREAKS = 3;
  const MOST_DENIALS = 4;
  const LONGEST_WAIT = 30;
  const OPEN = new Set(["unasked", "asked", "waiting", "sending"]);
  const PASSING = (status) => status === 0 || status === 408 || status === 425 || status === 429 || status >= 500;

  const maxBytes = Number(form.dataset.maxBytes);
  let token = form.querySelector("[name=csrfmiddlewaretoken]").value;
  let items = [];
  let unasked = [];
  let waiting = [];
  const active = new Set();
  const named = new Map();
  const counts = { added: 0, present: 0, restored: 0, trashed: 0, refused: 0, unsent: 0 };
  // `moved` only grows: what went over the wire, for the rate.
  const bytes = { all: 0, over: 0, moved: 0 };
  let paused = false;
  let asking = false;
  let probing = false;
  let renewing = false;
  // null, or { kind: "lost" | "checking" | "signed-out" | "closed", words, status }
  let trouble = null;
  let losses = 0;
  let denials = 0;
  let timer = 0;

  // `chosen` is a list of { file, path }.
  function add(chosen) {
    const names = chosen.map(({ file, path }) => `${file.size}.${file.lastModified}.${path}`);
    const seen = new Set();
    const twice = new Set(names.filter((name) => seen.has(name) || !seen.add(name)));
    const again = [];
    chosen.forEach(({ file, path }, at) => {
      const isTwice = twice.has(names[at]);
      const before = named.get(names[at]);
      if (before && !isTwice) {
        if (before.state === "unsent") again.push(before);
        // What is over is asked about once more: its photo may have been thrown away meanwhile.
        if (before.state === "unsent" || OPEN.has(before.state)) return;
      }
      // Two files that look the same from outside may be two photos: nothing is asked about them.
      const item = { file, path: path.slice(-LONGEST_PATH), isTwice, state: "", tries: 0, loaded: 0 };
      named.set(names[at], item);
      items.push(item);
      bytes.all += file.size;
      if (file.size > maxBytes) end(item, "refused", `This file has ${window.rollcall.size(file.size)}; the limit is ${form.dataset.maxWords}.`);
      else queue(item);
    });
    retry(again);
  }

  function queue(item) {
    item.state = item.isTwice ? "waiting" : "unasked";
    (item.isTwice ? waiting : unasked).push(item);
  }

  function pump() {
    if (paused || trouble || probing) return;
    if (unasked.length && !asking) ask(unasked.splice(0, ASKED_AT_ONCE)).then(pump);
    while (active.size < PARALLEL && waiting.length) send(waiting.shift());
  }

  // --- What is there already ---

  async function ask(some) {
    asking = true;
    for (const item of some) item.state = "asked";
    const arrived = await question(some);
    asking = false;
    const found = new Map(arrived?.map((one) => [one.file, one]));
    const rest = [];
    some.forEach((item, at) => {
      // It may have been cancelled meanwhile.
      if (item.state !== "asked") return;
      const there = found.get(at);
      if (!there) rest.push(item);
      else if (there.trashed) end(item, "trashed", "", there.url);
      // What this page has sent before, and heard nothing of, is new.
      else end(item, item.tries ? "added" : "present", "", there.url);
    });
    const isOld = (item) => arrived || item.tries;
    for (const item of rest) item.state = isOld(item) ? "waiting" : "unasked";
    const tried = rest.filter((item) => item.tries);
    const fresh = rest.filter((item) => !item.tries);
    waiting = arrived ? [...tried, ...waiting, ...fresh] : [...tried, ...waiting];
    if (!arrived) unasked = [...fresh, ...unasked];
    changed();
  }

  // What the server has of these, or null where it could not be asked.
  async function question(some) {
    const files = some.map(({ file, path }) => [path, file.size, file.lastModified]);
    let response;
    let answer = null;
    try {
      response = await fetch(form.dataset.known, {
        method: "POST",
        headers: { Accept: "application/json", "Content-Type": "application/json", "X-CSRFToken": token },
        body: JSON.stringify({ files }),
        signal: AbortSignal.timeout(PATIENCE_MS),
      });
      if (response.ok && !response.redirected) answer = await response.json();
    } catch {
      lose();
      return null;
    }
    const { status } = response;
    if (answer?.arrived) {
      denials = 0;
      return answer.arrived;
    }
    if (response.redirected || status === 401) stop("signed-out");
    else if (status === 403 || status === 404) deny();
    else if (PASSING(status)) lose(status, Number(response.headers.get("Retry-After")));
    // It does not want to say: then all of them are sent.
    else return [];
    return null;
  }

  // --- Sending ---

  function send(item) {
    active.add(item);
    Object.assign(item, { state: "sending", loaded: 0, tries: item.tries + 1 });
    const body = new FormData();
    if (!item.isTwice) {
      body.append("path", item.path);
      body.append("modified", item.file.lastModified);
    }
    body.append("files", item.file, item.file.name);
    const request = new XMLHttpRequest();
    item.request = request;
    const abort = () => request.abort();
    let patience = setTimeout(abort, PATIENCE_MS);
    request.open("POST", form.action);
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("X-CSRFToken", token);
    request.upload.onprogress = (event) => {
      clearTimeout(patience);
      patience = setTimeout(abort, PATIENCE_MS);
      if (!event.lengthComputable) return;
      const loaded = (event.loaded / event.total) * item.file.size;
      bytes.moved += loaded - item.loaded;
      item.loaded = loaded;
      changed(item);
    };
    request.onloadend = () => {
      clearTimeout(patience);
      settle(item, request);
    };
    request.send(body);
    changed(item);
  }

  async function settle(item, request) {
    active.delete(item);
    item.request = null;
    if (item.state !== "sending") return;
    const { status } = request;
    const answer = parsed(request);
    const isHere = status === 200 || status === 201;
    if (isHere && answer) {
      losses = 0;
      denials = 0;
      landed(answer);
      end(item, answer.new ? "added" : answer.restored ? "restored" : "present", answer.notes.join(" "), answer.url);
    } else if (status === 401 || wentElsewhere(request)) {
      putBack(item, item.tries - 1);
      stop("signed-out");
    } else if (status === 403 || status === 404) {
      putBack(item, item.tries - 1);
      deny(status === 403 && !request.responseText.includes("<") ? request.responseText : "");
    } else if (isHere || PASSING(status)) {
      await fail(item, status, Number(request.getResponseHeader("Retry-After")));
    } else {
      end(item, "refused", answer?.error || (status === 413 ? "This file is too large for the server." : `The server did not take it (${status}).`));
    }
    pump();
    changed(item);
  }

  async function fail(item, status, seconds) {
    // A file that was changed, moved or deleted since it was chosen can't be sent by anybody.
    const isReadable = status > 0 || (await item.file.slice(0, 1).arrayBuffer().then(() => true, () => false));
    if (item.state !== "sending") return;
    if (!isReadable) {
      end(item, "refused", "This file can't be read any more. Choose it again.");
      return;
    }
    if (item.tries < (status === 500 ? MOST_BREAKS : MOST_TRIES)) putBack(item, item.tries);
    else end(item, "unsent", status ? `The server could not take it (${status}).` : "The connection was lost too often.");
    lose(status, seconds);
  }

  function putBack(item, tries) {
    Object.assign(item, { state: "waiting", loaded: 0, tries });
    waiting.unshift(item);
  }

  function parsed(request) {
    try {
      return JSON.parse(request.responseText);
    } catch {
      // Not ours: a proxy's page, or nothing at all.
      return null;
    }
  }

  function wentElsewhere(request) {
    return Boolean(request.responseURL) && new URL(request.responseURL).pathname !== new URL(form.action).pathname;
  }

  function end(item, state, words = "", url = "") {
    Object.assign(item, { state, words, url, loaded: 0 });
    counts[state] += 1;
    bytes.over += item.file.size;
    changed(item);
  }

  // --- Trouble ---

  function lose(status = 0, seconds = 0) {
    if (trouble) return;
    const wait = Math.max(seconds || 0, Math.min(2 ** losses, LONGEST_WAIT));
    losses += 1;
    trouble = { kind: "lost", status };
    timer = setTimeout(comeBack, wait * 1000);
    changed();
  }

  // What was under way may have arrived, and its answer been lost. To ask is to find out as well
  // whether there is a connection again.
  async function comeBack() {
    clearTimeout(timer);
    if (trouble?.kind !== "lost" || probing) return;
    probing = true;
    trouble = null;
    const doubtful = waiting.filter((item) => item.tries && !item.isTwice).slice(0, ASKED_AT_ONCE);
    waiting = waiting.filter((item) => !doubtful.includes(item));
    await ask(doubtful);
    probing = false;
    pump();
    changed();
  }

  function stop(kind, words = "") {
    clearTimeout(timer);
    trouble = { kind, words };
    changed();
  }

  // Somebody signed in anew in another tab, and the form's token is an old one; or a right is gone.
  function deny(words = "") {
    if (trouble || renewing) return;
    denials += 1;
    if (denials > MOST_DENIALS) stop("closed", words || "The server does not accept these files.");
    else renew();
  }

  async function renew() {
    if (renewing) return;
    renewing = true;
    if (!trouble) trouble = { kind: "checking" };
    const outcome = await freshForm();
    renewing = false;
    if (outcome === null) {
      trouble = null;
      lose();
    } else if (typeof outcome === "string") stop(outcome === "signed-out" ? outcome : "closed", outcome);
    else {
      use(outcome);
      trouble = null;
    }
    pump();
    changed();
  }

  // The page's form as it is now, or why there is none; null where nobody could be asked.
  async function freshForm() {
    let fresh = null;
    try {
      const response = await fetch(form.dataset.page, { signal: AbortSignal.timeout(PATIENCE_MS) });
      if (PASSING(response.status)) return null;
      if (response.redirected) return "signed-out";
      if (response.ok) fresh = new DOMParser().parseFromString(await response.text(), "text/html").getElementById("upload");
    } catch {
      return null;
    }
    if (!fresh) return "You can't add photos to this gallery any more.";
    if (fresh.dataset.sender !== form.dataset.sender) return "Somebody else has signed in here. Sign in again as before, or reload the page.";
    return fresh;
  }

  function use(fresh) {
    token = fresh.querySelector("[name=csrfmiddlewaretoken]").value;
    for (const input of document.querySelectorAll("[name=csrfmiddlewaretoken]")) input.value = token;
    document.body.setAttribute("hx-headers", JSON.stringify({ "X-CSRFToken": token }));
  }

  window.addEventListener("online", comeBack);
  window.addEventListener("offline", () => items.some(isOpen) && lose());
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && trouble?.kind === "signed-out") renew();
  });

  // --- For who uploads ---

  const isOpen = (item) => OPEN.has(item.state);

  function pause(wanted) {
    paused = wanted;
    pump();
    changed();
  }

  // Or to find out whether it can.
  function goOn() {
    denials = 0;
    if (trouble?.kind === "lost") comeBack();
    else renew();
  }

  function cancel() {
    clearTimeout(timer);
    unasked = [];
    waiting = [];
    for (const item of items.filter(isOpen)) {
      end(item, "unsent");
      item.request?.abort();
    }
    paused = false;
    if (!renewing) trouble = null;
    changed();
  }

  function retry(some) {
    for (const item of some) {
      reopen(item);
      queue(item);
    }
    pump();
    changed();
  }

  // Without asking: what is in the trash comes back when it is sent.
  function bringBack(some) {
    for (const item of some) {
      reopen(item);
      item.state = "waiting";
      waiting.push(item);
    }
    pump();
    changed();
  }

  function reopen(item) {
    counts[item.state] -= 1;
    bytes.over -= item.file.size;
    // One that was begun may have arrived after all.
    Object.assign(item, { words: "", tries: Math.min(item.tries, 1) });
  }

  function forget() {
    items = [];
    named.clear();
    for (const key of Object.keys(counts)) counts[key] = 0;
    Object.assign(bytes, { all: 0, over: 0 });
  }

  function now() {
    const open = items.filter(isOpen).length;
    let loaded = bytes.over;
    for (const item of active) loaded += item.loaded;
    return { all: items.length, over: items.length - open, open, loaded, bytes, counts, paused, trouble, active, isAsking: !active.size && !waiting.length && open > 0 };
  }

  const inState = (state) => items.filter((item) => item.state === state);

  return { add, pause, goOn, cancel, retry, bringBack, forget, now, inState };
};
