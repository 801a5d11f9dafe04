// The review at the speed of the hand: a key is answered by the next card at once, which is on the
// page already; the decision goes to the server behind it, one after the other. Without this every
// button works as a form does.
"use strict";

(() => {
  const review = document.getElementById("review");
  const box = document.getElementById("review-card");
  if (!review || !box) return;

  const BOUNCE = 120; // Milliseconds in which a second press was no decision about a new card.
  const SETTLING = 300; // The same for a click or tap, whose second half comes later.
  const DOUBLE = 1000; // No system takes two clicks that are further apart for one gesture.
  const SLOW = 1000; // Milliseconds without an answer after which leaving is asked about.
  const RENEW = 25_000;
  const SWIPE = 90; // Pixels.
  const TRIES = 3;
  const FEW = 2; // Cards behind the one that is shown, from which on more are asked for.

  const action = () => new URL(window.location.href).pathname;
  const token = () => review.querySelector("[name=csrfmiddlewaretoken]").value;
  const hasKeyboard = () => window.matchMedia("(hover: hover)").matches;
  const toast = (text, level) => window.rollcall.toast(text, level);
  const { kept } = window.rollcall;

  let ready = []; // Templates of the cards behind the one that is shown.
  let chain = Promise.resolve();
  let waiting = []; // What was asked of the server and is not answered yet, in order.
  let isCutOff = false; // The last request found no server.
  let isShaky = false; // Nor did the last attempt; or it found one that does not know who asks.
  let isLeft = false;
  let shownAt = 0;
  let clickedAt = 0;
  let decided = 0;
  let startedAt = 0;
  let names = []; // Buttons with the names that are one key away; each keeps its place.
  const pictures = new Map();

  const current = () => box.querySelector("[data-card]");
  const field = () => box.querySelector("[role=combobox]");
  const idOf = (template) => template.dataset.ready || template.dataset.first;
  const cardIn = (template) => template.content.querySelector("[data-card]");

  // --- Cards ---

  function show(card) {
    box.replaceChildren(card);
    shownAt = performance.now();
    window.htmx.process(box);
    fillNames();
    review.querySelector("#review-end").hidden = true;
    // Reloading stays at this card.
    window.history.replaceState(null, "", `${action()}?${card.dataset.start}`);
  }

  function next() {
    const template = ready.shift();
    if (template) show(document.importNode(cardIn(template), true));
    else box.replaceChildren();
    return Boolean(template);
  }

  function putBack(card) {
    if (!card) return;
    const template = document.createElement("template");
    template.dataset.ready = card.dataset.card;
    template.content.append(card.cloneNode(true));
    ready.unshift(template);
  }

  function fetchPictures() {
    for (const template of ready) {
      for (const image of template.content.querySelectorAll("img")) {
        const address = image.getAttribute("src");
        if (pictures.has(address)) continue;
        const picture = new Image();
        picture.src = address;
        pictures.set(address, picture);
      }
    }
    for (const address of [...pictures.keys()].slice(0, -200)) pictures.delete(address);
  }

  // --- Names that are one key away ---

  // Who has a number keeps it, while somebody is about to press it. Where the nine of a space are
  // full, new people take the places of those who are not in the list any more.
  const NINE = 9;
  function learnNames(buttons) {
    const isOf = (one) => (other) => other.dataset.person === one.dataset.person;
    names = names.map((old) => buttons.find(isOf(old)) || old);
    for (const one of buttons) {
      if (names.some(isOf(one))) continue;
      const here = names.filter((old) => old.dataset.space === one.dataset.space);
      const gives = here.length < NINE ? null : here.find((old) => !buttons.some(isOf(old)));
      if (gives) names[names.indexOf(gives)] = one;
      else names.push(one);
    }
  }

  function namesHere() {
    const space = current()?.dataset.space;
    return names.filter((one) => one.dataset.space === space).slice(0, NINE);
  }

  function fillNames() {
    const group = box.querySelector("[data-recent]");
    const here = namesHere();
    if (!group) return;
    // One that is pressed just now must not be exchanged for its like: the click would be lost.
    const people = (some) => some.map((one) => `${one.dataset.person} ${one.value}`).join("\n");
    const isNumbered = group.querySelectorAll("kbd").length === here.length;
    if (isNumbered && people([...group.children]) === people(here)) return;
    group.replaceChildren(...here.map((one, at) => {
      const button = one.cloneNode(true);
      const key = document.createElement("kbd");
      key.textContent = String(at + 1);
      button.append(key);
      return button;
    }));
  }

  // --- Decisions ---

  document.addEventListener("submit", (event) => {
    const form = event.target;
    const isUndo = form.id === "review-done";
    if (!isUndo && !form.matches("[data-review]")) return;
    event.preventDefault();
    if (isUndo) {
      ask(undoing);
      return;
    }
    const data = new FormData(form);
    const { submitter } = event;
    if (submitter?.name) {
      if (submitter.name === "label") data.delete("label");
      data.append(submitter.name, submitter.value);
    }
    decide(data);
  });

  function decide(data) {
    const card = current();
    if (!card) return;
    if (data.get("do") !== "skip") countOne();
    next();
    enqueue(data, card);
  }

  // What needs an answer before anything can be shown: undo, and the way back. What is asked is read
  // when its turn has come: until then, what was done last is something else.
  function ask(read) {
    enqueue(read, null);
  }
  function undoing() {
    const data = new FormData(document.getElementById("review-done"));
    data.set("do", "undo");
    return data;
  }

  // To whoever does not see the card: it stays until something else is done.
  function say(words) {
    review.querySelector("#review-said").textContent = words;
  }

  function enqueue(data, card) {
    say("");
    const one = { data, card, since: performance.now(), isSent: false };
    waiting.push(one);
    chain = chain.then(() => sendOne(one)).finally(() => {
      if (!waiting.length && !current() && !isLeft) finish();
    });
  }

  async function sendOne(one) {
    if (isLeft) return;
    const isUndo = one.data === undoing;
    if (!(one.data instanceof FormData)) one.data = one.data();
    one.isSent = true;
    await send(one.data, one.card);
    if (isLeft) return;
    waiting = waiting.filter((other) => other !== one);
    if (/^(name|confirm)$/.test(one.data.get("do") || "name")) lookForMore();
    // Taking back moves the counts, too; the last of several tells them.
    if (ready.length <= FEW || (isUndo && !waiting.length)) await fetchMore();
  }

  // The cards behind are asked for by themselves, so that no key waits for them.
  async function fetchMore() {
    const data = new FormData(document.getElementById("review-done"));
    data.delete("done");
    data.append("do", "more");
    await send(data, null);
  }

  // Nothing was decided: the card is shown again, before the one that had its place.
  function takeBack(card, shown) {
    if (!card) return;
    putBack(shown);
    show(card);
  }

  async function send(given, card) {
    const data = given instanceof FormData ? given : given();
    const shown = current();
    const cards = [...(shown ? [shown] : []), ...ready.map(cardIn)];
    for (const one of cards) data.append("have", one.dataset.card);
    data.append("behind", cards.length ? cards[cards.length - 1].dataset.at : data.get("at"));
    const response = await post(data);
    isCutOff = !response;
    if (isLeft) return;
    if (!response) {
      takeBack(card, shown);
      if (data.get("do") !== "more") toast("The server can’t be reached. Nothing was decided about this one.", "error");
      return;
    }
    const type = response.headers.get("Content-Type") || "";
    if (response.redirected || response.headers.has("HX-Redirect") || !type.startsWith("text/html")) {
      isShaky = true;
      leave();
      window.location.reload();
      return;
    }
    if (!response.ok && response.status !== 422) {
      takeBack(card, shown);
      toast("Something went wrong on the server. Try again in a moment.", "error");
      return;
    }
    take(new DOMParser().parseFromString(await response.text(), "text/html"));
  }

  // Sent again when the network fails: a decision that had arrived is only told, not taken twice.
  async function post(data) {
    for (let turn = 1; turn <= TRIES; turn += 1) {
      try {
        const response = await fetch(action(), { method: "POST", body: data, headers: { "HX-Request": "true" } });
        isShaky = false;
        return response;
      } catch {
        isShaky = true;
        if (isLeft) return null;
        if (turn < TRIES) await new Promise((resolve) => { setTimeout(resolve, 400 * turn); });
      }
    }
    return null;
  }

  function take(page) {
    const answer = page.getElementById("review-answer");
    if (!answer) return;
    for (const id of ["review-count", "review-kinds", "review-done"]) {
      const fresh = page.getElementById(id);
      if (fresh) document.getElementById(id)?.replaceWith(document.adoptNode(fresh));
    }
    window.rollcall.showChosen();
    const recent = page.getElementById("review-recent");
    if (recent) {
      learnNames([...recent.children].map((one) => document.adoptNode(one)));
      fillNames();
    }
    const first = answer.querySelector("template[data-first]");
    if (first) {
      ready = ready.filter((one) => idOf(one) !== idOf(first));
      if (current()?.dataset.card !== idOf(first)) putBack(current());
      show(document.importNode(cardIn(first), true));
      if (answer.dataset.error) field()?.focus();
    }
    const known = new Set([current()?.dataset.card, ...ready.map(idOf)]);
    for (const template of answer.querySelectorAll("template[data-ready]")) {
      if (!known.has(idOf(template))) ready.push(document.adoptNode(template));
    }
    if (answer.dataset.error) toast(answer.dataset.error, "error");
    // A card that is shown again says by itself that it was taken back.
    if (answer.dataset.notice && !first) toast(answer.dataset.notice, "info");
    if (first) say(answer.dataset.notice || "");
    if (!current()) next();
    fetchPictures();
  }

  // --- Leaving ---

  // What is still to do at the server, each as the fields of its form. What is under way is among it:
  // nobody knows whether it arrived, and what had arrived is not done twice. Skipping does nothing.
  const FIELDS = ["face", "pair", "shown", "keep", "label", "do", "done"];
  const isSkip = (data) => data.get("do") === "skip";

  function unsent() {
    const rest = [];
    for (const { data, isSent } of waiting) {
      if (data === goingBack || (data instanceof FormData && data.get("do") === "back")) continue;
      const last = rest[rest.length - 1];
      if (data === undoing && last && (!last.isSent || isSkip(last.data)) && last.data.get("do") !== "undo") {
        rest.pop();
        continue;
      }
      const read = data === undoing ? undoing() : data;
      if (read.get("do") === "undo") {
        // On the page is what was done before all that waits.
        if (data === undoing && last) read.delete("done");
        else if (!/^[cd]/.test(read.get("done") || "")) continue;
      }
      rest.push({ data: read, isSent });
    }
    return rest.filter(({ data }) => !isSkip(data)).map(({ data }) => {
      const fields = new URLSearchParams();
      for (const name of FIELDS) if (data.has(name)) fields.set(name, data.get(name));
      return fields.toString();
    });
  }

  // In one request, in order: it goes on when the page is gone. Where it may not get through, it is
  // kept as well.
  function leave() {
    if (isLeft) return;
    isLeft = true;
    const rest = unsent();
    if (!rest.length) return;
    const isOnItsWay = navigator.sendBeacon(action(), kept.formOf(rest));
    if (!isOnItsWay || isShaky) kept.keep(action(), rest);
  }

  async function sendKept() {
    if (await kept.send(action())) window.location.reload();
  }

  window.addEventListener("pagehide", leave);
  window.addEventListener("beforeunload", (event) => {
    if (isLeft || !unsent().length) return;
    if (isShaky || performance.now() - waiting[0].since > SLOW) event.preventDefault();
  });

  // --- Found meanwhile ---

  let looking = 0;
  function lookForMore() {
    window.clearTimeout(looking);
    looking = window.setTimeout(() => {
      const found = document.getElementById("review-found");
      if (found) window.htmx.trigger(found, "wake");
    }, 1500);
  }

  // Nothing more comes: what the end looks like, the server knows.
  function finish() {
    if (isCutOff) toast("The server can’t be reached. The next faces come when it is back.", "error");
    else window.location.reload();
  }
  window.addEventListener("online", () => { if (isCutOff && !current()) window.location.reload(); });

  function countOne() {
    decided += 1;
    const now = performance.now();
    if (!startedAt) startedAt = now;
    const pace = document.getElementById("review-pace");
    const minutes = (now - startedAt) / 60_000;
    pace.hidden = decided < 5;
    pace.textContent = `${decided} done, ${Math.round((decided - 1) / Math.max(minutes, 1 / 60))} a minute`;
  }

  // --- Clicks ---

  // One gesture, one decision: the second half of a double click or tap lands on whatever has come
  // meanwhile. What a key or a swipe presses is no click of a hand.
  review.addEventListener("click", (event) => {
    const target = event.target.closest?.("#review-card *, #review-done *");
    if (!event.isTrusted || !event.detail || !target || target.closest("input")) return;
    const age = event.timeStamp - Math.max(shownAt, clickedAt);
    if (age < SETTLING || (event.detail > 1 && age < DOUBLE)) {
      event.preventDefault();
      event.stopImmediatePropagation();
    } else if (target.closest("button, a, [role=option]")) {
      clickedAt = event.timeStamp;
    }
  }, true);

  // --- Keys ---

  const keyed = (name) => box.querySelector(`[data-key="${name}"]`);

  function press(button) {
    if (!button || performance.now() - shownAt < BOUNCE) return;
    button.click();
  }

  const goBack = () => ask(goingBack);
  function goingBack() {
    const data = new FormData(document.getElementById("review-done"));
    const start = new URLSearchParams(current()?.dataset.start || "");
    data.set("at", current()?.dataset.at || start.get("at") || "");
    data.set("do", "back");
    data.delete("done");
    return data;
  }

  const KEYS = {
    Enter: () => press(keyed("yes")),
    "-": () => press(keyed("no")),
    "−": () => press(keyed("no")),
    Delete: () => press(keyed("ignore")),
    ArrowRight: () => press(keyed("skip")),
    ArrowLeft: goBack,
    Backspace: () => ask(undoing),
    "?": () => document.getElementById("review-keys").showModal(),
  };

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || event.altKey) return;
    if (document.querySelector("dialog[open]")) return;
    const active = document.activeElement;
    const input = field();
    if (active !== input && active?.matches?.("input, select, textarea, summary")) return;
    if (active === input && input.value !== "") return;
    const isOnControl = active?.matches?.("button, a");
    if (isOnControl && (event.key === "Enter" || event.key === " ")) return;
    let deed = KEYS[event.key];
    if (event.ctrlKey || event.metaKey) {
      deed = event.key.toLowerCase() === "z" ? KEYS.Backspace : null;
      if (!deed) return;
    } else if (/^[1-9]$/.test(event.key)) {
      const chip = box.querySelectorAll("[data-recent] > button")[Number(event.key) - 1];
      deed = chip && (() => press(chip));
    }
    if (deed) {
      event.preventDefault();
      if (!event.repeat) deed();
    } else if (active !== input && input && event.key.length === 1 && event.key !== " ") {
      input.focus({ preventScroll: true });
    }
  });

  // --- Swipes ---

  let swipe = null;
  box.addEventListener("pointerdown", (event) => {
    const area = event.target.closest("[data-swipe]");
    if (area && event.pointerType === "touch") swipe = { area, x: event.clientX, id: event.pointerId, by: 0 };
  });
  box.addEventListener("pointermove", (event) => {
    if (!swipe || event.pointerId !== swipe.id) return;
    swipe.by = event.clientX - swipe.x;
    swipe.area.style.transform = `translateX(${swipe.by}px) rotate(${swipe.by / 60}deg)`;
    swipe.area.classList.toggle("to-yes", swipe.by > SWIPE && Boolean(keyed("yes")));
    swipe.area.classList.toggle("to-no", swipe.by < -SWIPE && Boolean(keyed("ignore")));
  });
  function endSwipe(event) {
    if (!swipe || event.pointerId !== swipe.id) return;
    const { area, by } = swipe;
    swipe = null;
    area.style.transform = "";
    area.classList.remove("to-yes", "to-no");
    if (event.type === "pointerup" && by > SWIPE) press(keyed("yes"));
    if (event.type === "pointerup" && by < -SWIPE) press(keyed("ignore"));
  }
  box.addEventListener("pointerup", endSwipe);
  box.addEventListener("pointercancel", endSwipe);

  // --- Keeping what is on the page ---

  const onPage = () => [current(), ...ready.map(cardIn)].map((card) => card?.dataset.face).filter(Boolean);

  function keepForm(faces) {
    const data = new FormData();
    data.append("csrfmiddlewaretoken", token());
    for (const face of faces) data.append("face", face);
    return data;
  }

  async function renew() {
    if (document.hidden || !onPage().length) return;
    try {
      const response = await fetch(review.dataset.keep, {
        method: "POST", body: keepForm(onPage()), headers: { Accept: "application/json" },
      });
      if (!response.ok || response.redirected) return;
      const { lost } = await response.json();
      ready = ready.filter((one) => !lost.includes(Number(cardIn(one).dataset.face)));
      if (lost.includes(Number(current()?.dataset.face))) {
        toast("Somebody else looks at this face now. If they decide first, you will be told.", "info");
      }
    } catch { /* The next decision will say so. */ }
  }
  window.setInterval(renew, RENEW);
  document.addEventListener("visibilitychange", renew);
  window.addEventListener("pagehide", () => navigator.sendBeacon(review.dataset.keep, keepForm([])));

  // A page that comes back out of the browser's memory is as old as when it was left.
  window.addEventListener("pageshow", (event) => { if (event.persisted) window.location.reload(); });

  chain = sendKept();
  ready = [...document.querySelectorAll("#review-ready > template")];
  learnNames([...document.querySelectorAll("#review-recent > button")]);
  if (current()) {
    fillNames();
    window.history.replaceState(null, "", `${action()}?${current().dataset.start}`);
  }
  if (hasKeyboard()) review.classList.add("has-keys");
  fetchPictures();
})();
