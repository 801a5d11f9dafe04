// The panel of an upload: how far it is, how fast, what needs somebody's attention and what came of
// it; and a word on the page about an upload that a closed tab has cut off.
"use strict";

(() => {
  const form = document.getElementById("upload");
  if (!form) return;

  const MOST_ROWS = 100;
  const LOOK_MS = 250;
  // Over how long the rate is smoothed, and how much of it there must be before it is told.
  const SMOOTH_S = 10;
  const MATURE_S = 2;
  const panel = document.getElementById("uploads");
  const part = (role, root = panel) => root.querySelector(`[data-role="${role}"]`);
  const many = (count, one, more = `${one}s`) => `${number(count)} ${count === 1 ? one : more}`;
  const number = (count) => count.toLocaleString("en");
  const { size } = window.rollcall;

  let leftOut = 0;
  let ticking = 0;
  let cancelled = false;
  const sending = window.rollcall.sending(form, {
    changed: (item) => {
      if (item) showRow(item);
      soon();
    },
    landed: (answer) => {
      if (answer.new || answer.restored) window.rollcall.grid.add(answer.tile);
    },
  });

  window.rollcall.upload = {
    add(files, others) {
      leftOut += others;
      cancelled = false;
      if (files.length || others) panel.hidden = false;
      carriesOn(files.length);
      sending.add(files);
      tellCost();
      if (!ticking) ticking = setInterval(look, LOOK_MS);
      look();
    },
    looking(count) {
      panel.hidden = false;
      part("title").textContent = `Looking through the folder: ${many(count, "photo")}…`;
    },
    isOpen: () => sending.now().open > 0,
  };

  // What recognising them costs, where it does; those that turn out to be here already are free.
  async function tellCost() {
    const { all } = sending.now();
    if (!form.dataset.estimate || !all) return;
    const got = await fetch(`${form.dataset.estimate}?new=${all}`).catch(() => null);
    if (!got?.ok || !sending.now().open) return;
    part("cost").textContent = await got.text();
    part("cost").hidden = false;
  }

  // --- Rows: what is under way, and what needs somebody's attention; the rest is counted ---

  const rows = new Map();
  function newRow(item) {
    const row = document.getElementById("upload-row").content.cloneNode(true).firstElementChild;
    part("name", row).textContent = item.path;
    part("name", row).title = item.path;
    return row;
  }

  function showRow(item) {
    if (item.state === "sending") {
      let row = rows.get(item);
      if (!row) {
        row = newRow(item);
        rows.set(item, row);
        part("list").append(row);
      }
      const share = item.file.size ? item.loaded / item.file.size : 0;
      part("bar", row).value = share;
      part("words", row).textContent = share < 1 ? `${Math.floor(share * 100)}%` : "Checking…";
      return;
    }
    rows.get(item)?.remove();
    rows.delete(item);
    if (item.state === "added" ? item.words : groupOf(item.state)) ended(item);
  }

  const groupOf = (state) => panel.querySelector(`[data-group="${state}"]`);
  // Each file stands in its group once, whatever else is told of it.
  const listed = new Map();
  function ended(item) {
    const group = groupOf(item.state);
    if (listed.get(item) === group) return;
    listed.set(item, group);
    if (group.querySelectorAll(".upload-row").length >= MOST_ROWS) return;
    const row = newRow(item);
    row.classList.add("ended");
    part("reason", row).textContent = item.words;
    part("reason", row).hidden = !item.words;
    if (item.url) {
      const link = document.createElement("a");
      link.href = item.url;
      link.textContent = "Show";
      part("words", row).replaceChildren(link);
    }
    part("rows", group).append(row);
  }

  const GROUPS = {
    refused: (count) => `${number(count)} refused`,
    unsent: (count) => `${number(count)} not sent`,
    trashed: (count) => `${number(count)} in the trash`,
    present: (count) => `${number(count)} here already`,
    added: (count) => `${number(count)} new with a note`,
  };
  const inGroup = (state) => sending.inState(state).filter((item) => state !== "added" || item.words);
  function showGroups(isOver) {
    for (const [state, words] of Object.entries(GROUPS)) {
      const group = groupOf(state);
      const count = inGroup(state).length;
      // What is here already, or lies in the trash, is for the end.
      group.hidden = !count || (!isOver && state !== "refused" && state !== "unsent");
      part("count", group).textContent = words(count);
      const more = count - group.querySelectorAll(".upload-row").length;
      part("more", group).hidden = more <= 0;
      part("more", group).textContent = `and ${number(more)} more`;
      const act = part("act", group);
      if (act) act.hidden = !isOver;
    }
  }
  function emptyGroup(state) {
    for (const [item, group] of listed) if (group === groupOf(state)) listed.delete(item);
    part("rows", groupOf(state)).replaceChildren();
  }

  part("act", groupOf("unsent")).addEventListener("click", () => {
    emptyGroup("unsent");
    cancelled = false;
    restart(() => sending.retry(sending.inState("unsent")));
  });
  part("act", groupOf("trashed")).addEventListener("click", () => {
    emptyGroup("trashed");
    restart(() => sending.bringBack(sending.inState("trashed")));
  });
  function restart(begin) {
    begin();
    if (!ticking) ticking = setInterval(look, LOOK_MS);
    look();
  }
  for (const copy of panel.querySelectorAll("[data-copy]")) {
    copy.addEventListener("click", () => {
      const items = inGroup(copy.closest("[data-group]").dataset.group);
      copy.dataset.copy = items.map((item) => [item.path, item.words].filter(Boolean).join(": ")).join("\n");
    });
  }

  // --- How far, how fast, how long ---

  const pace = { at: 0, moved: 0, over: 0, weight: 0, bytes: 0, files: 0 };
  function measure(now) {
    const at = performance.now() / 1000;
    const seconds = at - pace.at;
    const [moved, over] = [now.bytes.moved - pace.moved, now.counts.added + now.counts.present + now.counts.restored + now.counts.refused - pace.over];
    Object.assign(pace, { at, moved: now.bytes.moved, over: pace.over + over });
    // Standing still on purpose is no speed, nor is a tab that slept.
    if (now.paused || now.trouble || !now.active.size || seconds > 5 * SMOOTH_S) return;
    const old = Math.exp(-seconds / SMOOTH_S);
    pace.bytes = pace.bytes * old + moved;
    pace.files = pace.files * old + Math.max(over, 0);
    pace.weight = pace.weight * old + seconds;
  }

  // How fast it is and how long it takes, in words; nothing while nobody can know.
  function paceOf(now) {
    if (pace.weight < MATURE_S || !pace.bytes) return [];
    const speed = pace.bytes / pace.weight;
    const files = pace.files / pace.weight;
    const photos = files >= 0.1 ? ` · ${files.toFixed(files < 10 ? 1 : 0)}\u00a0photos/s` : "";
    return [`${size(speed)}/s${photos}`, leftWords(Math.max(now.bytes.all - now.loaded, 0) / speed)];
  }

  function leftWords(seconds) {
    if (seconds < 50) return "Less than a minute left";
    const minutes = Math.round(seconds / 60);
    const long = minutes < 60 ? `${minutes || 1} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
    const until = new Date(Date.now() + seconds * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
    return `About ${long} left${minutes > 1 ? `, until ${until}` : ""}`;
  }

  function outcome({ added, present, restored, trashed, refused, unsent }) {
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

  let looking = 0;
  function soon() {
    looking ||= setTimeout(look, LOOK_MS);
  }
  function look() {
    clearTimeout(looking);
    looking = 0;
    const now = sending.now();
    measure(now);
    const isOver = now.open === 0;
    const bar = part("bar");
    bar.max = now.bytes.all || 1;
    bar.value = isOver ? bar.max : now.loaded;
    bar.setAttribute("aria-valuetext", `${number(now.over)} of ${many(now.all, "photo")}`);
    part("title").textContent = titleOf(now, isOver);
    const [speed, left] = isOver || now.trouble || now.paused ? [] : paceOf(now);
    part("words").textContent = isOver ? outcome(now.counts) || "No photo among these files"
      : [`${size(now.loaded)} of ${size(now.bytes.all)}`, speed].filter(Boolean).join(" · ");
    part("left").textContent = left || "";
    part("pause").textContent = now.paused ? "Go on" : "Pause";
    part("steer").hidden = isOver;
    if (isOver) part("cost").hidden = true;
    part("close").hidden = !isOver;
    showTrouble(isOver ? null : now.trouble);
    showGroups(isOver);
    remember(now, isOver);
    tell(now, isOver);
    if (isOver) {
      clearInterval(ticking);
      // Under the headings that all of them together make, with those that another tab had sent.
      if (ticking && now.counts.added + now.counts.present + now.counts.restored) {
        window.rollcall.grid.renew();
        window.rollcall.grid.recount();
      }
      ticking = 0;
    }
  }

  function titleOf(now, isOver) {
    const place = `${number(now.over)} of ${number(now.all)}`;
    if (isOver) return cancelled ? "Upload cancelled" : now.counts.unsent ? "Upload not complete" : "Upload finished";
    if (now.trouble?.kind === "lost") return `${now.trouble.status ? "Waiting for the server" : "Connection lost"} at ${place}`;
    if (now.trouble && now.trouble.kind !== "checking") return `Upload stopped at ${place}`;
    if (now.paused) return `Paused at ${place}`;
    return now.isAsking ? `Looking which of ${many(now.all, "photo")} are here…` : `Uploading ${place}`;
  }

  function showTrouble(trouble) {
    const kind = trouble?.kind === "checking" ? null : trouble?.kind;
    part("trouble").hidden = !kind;
    part("sign-in").hidden = kind !== "signed-out";
    part("go-on").textContent = kind === "lost" ? "Try now" : "Go on";
    const words = {
      lost: `${lostWords(trouble)} It is tried again and again; nothing is lost, and what has arrived is not sent twice.`,
      "signed-out": "You are signed out. Sign in in another tab and come back: the upload goes on where it is. Do not close this one.",
      closed: trouble?.words,
    }[kind];
    if (words && part("why").textContent !== words) part("why").textContent = words;
  }

  function lostWords(trouble) {
    if (trouble?.status === 429) return "The server asks to wait a moment.";
    return trouble?.status ? `The server can't take files just now (${trouble.status}).` : "The server can't be reached.";
  }

  // For those who hear the page: each quarter, each trouble, the end.
  let said = "";
  function tell(now, isOver) {
    const title = part("title").textContent;
    const quarter = Math.floor((4 * now.loaded) / (now.bytes.all || 1));
    const key = isOver || now.paused || now.trouble ? title : `quarter ${quarter}`;
    if (key === said) return;
    said = key;
    part("status").textContent = isOver ? `${title}: ${part("words").textContent}.` : title;
  }

  part("pause").addEventListener("click", () => sending.pause(!sending.now().paused));
  part("cancel").addEventListener("click", () => {
    cancelled = true;
    sending.cancel();
    look();
    part("close").focus();
  });
  part("go-on").addEventListener("click", () => sending.goOn());
  part("fold").addEventListener("click", () => {
    const folded = panel.classList.toggle("folded");
    part("fold").setAttribute("aria-expanded", String(!folded));
  });
  part("close").addEventListener("click", () => {
    panel.hidden = true;
    for (const state of Object.keys(GROUPS)) emptyGroup(state);
    listed.clear();
    sending.forget();
    Object.assign(pace, { over: 0, weight: 0, bytes: 0, files: 0 });
    leftOut = 0;
    said = "";
    isMine = false;
  });
  window.addEventListener("beforeunload", (event) => {
    if (sending.now().open) event.preventDefault();
  });
  // A poll that finds the session ended would take the page away, and the files with it.
  document.addEventListener("htmx:beforeOnLoad", (event) => {
    if (!event.detail.xhr.getResponseHeader("HX-Redirect") || !sending.now().open) return;
    event.preventDefault();
    sending.goOn();
  });

  // --- An upload that was cut off ---

  // How many there were and how many are there: no name of any file is kept.
  const PLACE = `rollcall.upload.${form.dataset.sender}.${form.dataset.gallery}`;
  const note = document.getElementById("upload-rest");
  const channel = "BroadcastChannel" in window ? new BroadcastChannel(PLACE) : null;
  let isMine = false;

  function store(value) {
    try {
      if (value) localStorage.setItem(PLACE, JSON.stringify(value));
      else localStorage.removeItem(PLACE);
    } catch {
      // A browser that keeps nothing: then nothing is said after a tab has closed.
    }
  }
  function stored() {
    try {
      const { all, over } = JSON.parse(localStorage.getItem(PLACE)) || {};
      return Number.isInteger(all) && Number.isInteger(over) && over < all ? { all, over } : null;
    } catch {
      return null;
    }
  }

  // Other photos than those of the upload that was cut off leave its word where it is.
  function carriesOn(count) {
    const before = stored();
    isMine = isMine || (count > 1 && (!before || count >= before.all - before.over));
    if (isMine) note.hidden = true;
  }
  let kept = -1;
  function remember(now, isOver) {
    const over = now.over - now.counts.unsent;
    if (!isMine || (over === kept && !isOver)) return;
    kept = over;
    const isWhole = isOver && (cancelled || !now.counts.unsent);
    store(isWhole ? null : { all: now.all, over });
    if (isOver) isMine = !isWhole;
  }

  function offer() {
    const before = stored();
    if (!before || isMine) return;
    part("what", note).textContent = `The upload of ${many(before.all, "photo")} stopped at ${number(before.over)}.`;
    note.hidden = false;
  }
  // Another tab may still be at it.
  channel?.addEventListener("message", ({ data }) => {
    if (data === "who" && sending.now().open) {
      channel.postMessage("me");
      // That tab may be the one in which somebody has signed in again.
      if (sending.now().trouble?.kind === "signed-out") sending.goOn();
    } else if (data === "me") {
      // However late it says so.
      clearTimeout(offering);
      note.hidden = true;
    }
  });
  channel?.postMessage("who");
  const offering = setTimeout(offer, channel ? 1000 : 0);
  for (const button of note.querySelectorAll("[data-pick]")) {
    button.addEventListener("click", () => document.getElementById(button.dataset.pick).click());
  }
  part("dismiss", note).addEventListener("click", () => {
    note.hidden = true;
    store(null);
  });
})();
