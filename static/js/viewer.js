// One photo after the other: on a page of its own, or over the grid, which stays as it is below.
// Every photo has its address; turning exchanges it, and going back leads to the grid.
"use strict";

(() => {
  const viewer = document.getElementById("viewer");
  if (!viewer) return;
  const grid = () => window.rollcall.grid;
  const overGrid = viewer.hidden;
  const back = { title: document.title, focus: null };
  const photo = () => document.getElementById("photo");
  const isOpen = () => !viewer.hidden;
  const pkIn = (address) => /\/photos\/(\d+)\//.exec(address)?.[1];
  const parse = (html) => {
    const holder = document.createElement("template");
    holder.innerHTML = html;
    return holder.content;
  };

  // What is said to somebody who does not see the photo; it stays while photos come and go.
  const said = document.createElement("p");
  said.className = "visually-hidden";
  said.setAttribute("role", "status");
  viewer.append(said);
  function clear() {
    for (const one of [...viewer.childNodes]) if (one !== said) one.remove();
  }

  // --- Fetching: the neighbours are there before somebody turns to them ---

  const AWAY = "signed out";
  async function ask(address, more = {}) {
    const response = await fetch(address, { ...more, headers: { "HX-Request": "true", "HX-Current-URL": location.href } });
    const away = response.headers.get("HX-Redirect");
    if (!away) return response;
    location.href = away;
    throw new Error(AWAY);
  }
  const why = (error, otherwise) => (error instanceof TypeError ? "The server can't be reached. Try again." : otherwise);

  const kept = new Map();
  const LONGEST_KEPT = 20_000;
  function fetchPhoto(address) {
    const found = kept.get(address);
    if (found && performance.now() - found.at < LONGEST_KEPT) return found.html;
    const html = ask(address).then((response) => {
      if (!response.ok) throw new Error(String(response.status));
      return response.text();
    });
    html.catch(() => kept.delete(address));
    kept.set(address, { html, at: performance.now() });
    if (kept.size > 8) kept.delete(kept.keys().next().value);
    return html;
  }
  function ahead() {
    for (const link of viewer.querySelectorAll("#newer, #older")) {
      fetchPhoto(link.getAttribute("href")).then((html) => {
        const image = parse(html).querySelector(".stage-image");
        if (!image) return;
        const picture = new Image();
        picture.sizes = image.sizes;
        picture.srcset = image.srcset;
      }, () => {});
    }
  }
  // What was said of a face makes what was fetched before that old.
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.requestConfig?.verb === "post") kept.clear();
  });

  // --- Showing ---

  let turn = 0;
  let pushed = false;
  // `side` is where somebody turned to: newer or older.
  async function show(address, how, side) {
    const asked = (turn += 1);
    const face = how === "none" ? faceIn(location.hash) : null;
    viewer.classList.add("turning");
    let html = "";
    try {
      html = await fetchPhoto(address);
    } catch (error) {
      if (asked !== turn || error.message === AWAY) return;
      viewer.classList.remove("turning");
      const isGone = error.message === "404";
      if (isGone) takeAway(pkIn(address));
      if (isGone && side && await turnOn(address, side)) return;
      if (asked !== turn) return;
      window.rollcall.toast(isGone ? "That photo is not here any more." : why(error, "The photo could not be loaded. Try again."), "error");
      if (!photo()) leave();
      return;
    }
    if (asked !== turn) return;
    put(parse(html));
    if (how === "replace") {
      const url = photo()?.dataset.address || address;
      history.replaceState({ ...(history.state || {}), viewer: true }, "", url + hash());
    }
    ready(face);
  }
  function put(fresh) {
    window.rollcall.draw.stop();
    window.rollcall.faces.choose(null);
    viewer.classList.remove("turning");
    takeToasts(fresh);
    clear();
    viewer.prepend(fresh);
    window.htmx.process(viewer);
    viewer.scrollTo(0, 0);
    photo()?.focus({ preventScroll: true });
  }
  // Messages that came along belong to the page.
  function takeToasts(fresh) {
    for (const toasts of fresh.querySelectorAll("[hx-swap-oob*=toasts]")) {
      document.getElementById("toasts").append(...toasts.childNodes);
      toasts.remove();
    }
  }
  function ready(face) {
    document.title = photo() ? photo().dataset.title : back.title;
    window.rollcall.zoom.reset();
    window.rollcall.faces.start();
    setFaces(facesShown());
    setInfo(infoShown);
    if (face && !infoShown) window.rollcall.faces.point(face);
    tell();
    renewIfGone();
    ahead();
  }
  function tell() {
    if (!photo()) return;
    const { title } = photo().dataset;
    if (overGrid) viewer.setAttribute("aria-label", title);
    const boxes = document.getElementById("boxes");
    const count = boxes?.querySelectorAll(".box").length;
    const words = boxes ? `${title}, ${count || "no"} face${count === 1 ? "" : "s"}` : title;
    if (said.textContent !== words) said.textContent = words;
  }

  // --- Photos that go while others are shown ---

  const gone = new Set();
  const tiles = new Map();
  function takeAway(pk) {
    gone.add(pk);
    kept.clear();
    const tile = document.getElementById(`photo-${pk}`);
    if (!tile || !overGrid) return;
    const all = grid().tiles();
    const at = all.indexOf(tile);
    if (tile.contains(back.focus)) back.focus = (all[at + 1] || all[at - 1])?.querySelector("a");
    // What the grid laid out is laid out anew, and the page's policy lets no style come as text.
    const copy = tile.cloneNode(true);
    copy.removeAttribute("style");
    tiles.set(pk, copy.outerHTML);
    window.rollcall.selection?.forget(pk);
    grid().remove(pk);
  }
  let isStale = false;
  function bringBack(pk) {
    gone.delete(pk);
    kept.clear();
    if (!overGrid || !tiles.has(pk)) return;
    // The order of uploads goes by days that a tile does not know.
    if (grid().root.dataset.sort !== "uploaded") grid().add(tiles.get(pk));
    tiles.delete(pk);
    if (!document.getElementById(`photo-${pk}`)) isStale = true;
  }
  // What is before and after the photo that is shown may have changed since it came.
  async function renew() {
    const { pk, address } = photo().dataset;
    kept.clear();
    try {
      const fresh = parse(await fetchPhoto(address));
      takeToasts(fresh);
      if (photo()?.dataset.pk !== pk) return;
      const turns = viewer.querySelector(".photo-turn");
      const hadFocus = turns.contains(document.activeElement);
      turns.replaceWith(fresh.querySelector(".photo-turn"));
      const next = viewer.querySelector("#trash-photo [name=next]");
      if (next) next.value = fresh.querySelector("#trash-photo [name=next]")?.value || next.value;
      if (hadFocus) photo().focus({ preventScroll: true });
    } catch {
      // Turning says what is wrong.
    }
  }
  async function renewIfGone() {
    const links = [...viewer.querySelectorAll("#newer, #older")];
    if (!links.some((link) => gone.has(pkIn(link.getAttribute("href"))))) return;
    await renew();
    ahead();
  }
  // Past the one that is gone, to what is next now.
  async function turnOn(address, side) {
    if (!photo()) return false;
    const asked = turn;
    await renew();
    if (asked !== turn) return true;
    const next = viewer.querySelector(`#${side}`)?.getAttribute("href");
    if (!next || next === address) return false;
    show(next, "replace", side);
    return true;
  }

  function openOver() {
    if (isOpen()) return;
    back.focus = document.activeElement;
    // What could be undone before: from here on it would undo something that nobody looks at.
    for (const toast of document.querySelectorAll("#toasts .toast:has(form)")) toast.remove();
    viewer.hidden = false;
    document.body.classList.add("viewing");
    others(true);
  }
  function closeOver() {
    const last = photo();
    viewer.hidden = true;
    document.body.classList.remove("viewing");
    others(false);
    document.title = back.title;
    turn += 1;
    const { pk, key } = last?.dataset || {};
    viewer.classList.remove("turning");
    viewer.setAttribute("aria-label", "Photo");
    said.textContent = "";
    clear();
    window.rollcall.faces.choose(null);
    const tile = pk && !isStale && document.getElementById(`photo-${pk}`);
    isStale = false;
    if (tile) grid().reveal(tile);
    else if (pk) grid().jump({ at: key }).then(() => {
      const found = document.getElementById(`photo-${pk}`);
      if (found) grid().reveal(found);
    });
    else back.focus?.focus?.();
  }
  // What lies below can't be reached while a photo is open.
  function others(isInert) {
    for (const one of document.querySelectorAll(".side, .topbar, .tabbar, .skip, main > :not(#viewer, dialog)")) one.inert = isInert;
  }

  // --- Opening, turning, going back ---

  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    const tile = event.target.closest?.("#tiles .tile > a");
    if (tile && overGrid) {
      event.preventDefault();
      const address = tile.getAttribute("href");
      const home = location.href;
      openOver();
      history.pushState({ ...(history.state || {}), viewer: true }, "", address);
      pushed = true;
      placeholder(home, tile);
      show(address, "replace");
      return;
    }
    const link = event.target.closest?.("#newer, #older");
    if (link && viewer.contains(link)) {
      event.preventDefault();
      show(link.getAttribute("href"), "replace", link.id);
      return;
    }
    const up = event.target.closest?.("#up");
    if (up && overGrid) {
      event.preventDefault();
      leave();
    }
  });
  // The way back and the small picture, which are there already, until the photo comes.
  function placeholder(home, tile) {
    clear();
    const image = tile?.querySelector("img");
    if (image) {
      const early = document.createElement("img");
      early.className = "viewer-early";
      early.src = image.currentSrc || image.src;
      early.alt = "";
      viewer.append(early);
    }
    const main = document.createElement("div");
    main.className = "viewer-main";
    const head = document.createElement("header");
    head.className = "photo-head";
    const up = document.createElement("a");
    up.id = "up";
    up.className = "viewer-btn";
    up.href = home;
    up.setAttribute("aria-label", "Back");
    up.title = "Back (Esc)";
    up.append(window.rollcall.icon("left"));
    head.append(up);
    main.append(head);
    viewer.append(main);
    up.focus({ preventScroll: true });
  }
  // Twice would go back twice, and out of the gallery.
  let isLeaving = false;
  function leave() {
    if (!overGrid || !isOpen() || isLeaving) return;
    turn += 1;
    if (pushed) {
      isLeaving = true;
      history.back();
    } else {
      const url = new URL(document.getElementById("up").href);
      history.replaceState({}, "", url.pathname + url.search);
      closeOver();
    }
  }
  addEventListener("popstate", (event) => {
    isLeaving = false;
    const isPhoto = /\/photos\/\d+\/$/.test(location.pathname);
    if (isPhoto && (event.state?.viewer || !overGrid)) {
      if (overGrid) openOver();
      if (!photo()) placeholder(grid().address(), document.getElementById(`photo-${pkIn(location.pathname)}`));
      show(location.pathname + location.search, "none");
    } else if (!overGrid) {
      // This page was loaded anew above the grid's entry in the history.
      location.reload();
    } else if (isOpen()) {
      pushed = false;
      closeOver();
    }
  });

  // An answer to what was asked of another photo must not change this one.
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (viewer.contains(event.detail.elt)) event.detail.requestConfig.photo = photo()?.dataset.pk;
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    const asked = event.detail.requestConfig?.photo;
    if (asked && asked !== photo()?.dataset.pk) event.detail.shouldSwap = false;
  });

  // --- Faces, file facts, keys ---

  const SHOWN = "rollcall.faces";
  const facesShown = () => localStorage.getItem(SHOWN) !== "hidden";
  function setFaces(isShown) {
    viewer.classList.toggle("without-faces", !isShown);
    press("faces", isShown);
  }
  const faceIn = (text) => /^#face-(\d+)$/.exec(text)?.[1];
  function hash() {
    const face = window.rollcall.faces.chosen();
    return infoShown ? "#info" : face ? `#face-${face}` : "";
  }
  let infoShown = location.hash === "#info";
  function setInfo(isShown) {
    infoShown = isShown;
    viewer.classList.toggle("with-info", isShown);
    press("info", isShown);
    keepAddress();
  }
  function keepAddress() {
    if (isOpen() && photo() && !isLeaving) history.replaceState(history.state, "", photo().dataset.address + hash());
  }
  document.addEventListener("viewer:face", keepAddress);
  function press(what, isDown) {
    viewer.querySelector(`.viewer-tools [data-do=${what}]`)?.setAttribute("aria-pressed", String(isDown));
  }
  document.addEventListener("viewer:faces", () => setInfo(false));

  const todo = {
    faces() {
      localStorage.setItem(SHOWN, facesShown() ? "hidden" : "shown");
      setFaces(facesShown());
    },
    info() {
      setInfo(!infoShown);
      if (innerWidth < 1000 && infoShown) viewer.querySelector("#info").scrollIntoView({ behavior: "smooth", block: "start" });
    },
    draw() {
      if (innerWidth < 1000) viewer.scrollTo({ top: 0 });
      window.rollcall.draw.toggle();
    },
    zoom: () => window.rollcall.zoom.toggle(),
    keys: () => document.getElementById("keys").showModal(),
    sheet() {
      const isUp = viewer.scrollTop > 40;
      viewer.scrollTo({ top: isUp ? 0 : Math.min(viewer.scrollHeight, innerHeight * 0.55), behavior: "smooth" });
    },
    unknown() {
      if (!window.rollcall.faces.nextUnknown()) window.rollcall.toast("No face on this photo waits for a name.", "info");
    },
    confirm() {
      const rows = [...viewer.querySelectorAll(".face-row:is(.suggested, .recognised)")];
      // Not one far from the face that has the focus: somebody may be about to type its name.
      const elsewhere = document.activeElement?.matches(".face-row.unknown");
      const form = elsewhere ? null : (rows.find((row) => row.classList.contains("active")) || rows.find((row) => row.classList.contains("suggested")))?.querySelector("form.confirm");
      if (form) form.requestSubmit();
      else window.rollcall.toast("No name on this photo waits to be confirmed.", "info");
    },
    trash: () => viewer.querySelector("#trash-photo")?.requestSubmit(),
  };
  document.addEventListener("click", (event) => {
    const what = event.target.closest?.("#viewer [data-do]")?.dataset.do;
    if (what) todo[what]?.();
  });

  document.addEventListener("keydown", (event) => {
    if (!isOpen() || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.closest?.("input, select, textarea, dialog, [contenteditable]")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const link = { ArrowLeft: "#newer", ArrowRight: "#older", Escape: "#up" }[key];
    const deed = { n: "unknown", c: "confirm", d: "draw", f: "faces", i: "info", "?": "keys", Delete: "trash" }[key];
    const zoom = { "+": "in", "=": "in", "-": "out", 0: "reset" }[key];
    if (key === "Enter" && event.target.matches?.(".face-row.unknown")) window.rollcall.faces.open(event.target);
    else if (key === "Escape" && window.rollcall.zoom.isZoomed()) window.rollcall.zoom.reset();
    else if (link) viewer.querySelector(link)?.click();
    else if (deed) todo[deed]();
    else if (zoom) window.rollcall.zoom[zoom]();
    else return;
    event.preventDefault();
  });

  // Into the trash, and on to the next photo: the answer is that one's page, with the way to undo it.
  const deleting = new Set();
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.id !== "trash-photo") return;
    const next = viewer.querySelector("#older") || viewer.querySelector("#newer");
    const { pk } = photo().dataset;
    const isUnderWay = deleting.has(pk) || gone.has(pk);
    if (next || isUnderWay) event.preventDefault();
    deleting.add(pk);
    if (next && !isUnderWay) trash(form, pk);
  });
  addEventListener("pageshow", () => deleting.clear());
  async function trash(form, pk) {
    const asked = (turn += 1);
    viewer.classList.add("turning");
    const { response, fresh } = await post(form);
    deleting.delete(pk);
    // It may be the one after it that is not there any more.
    const isDone = response?.ok ? fresh.querySelector("#photo") : response?.redirected && response.status === 404;
    if (!isDone) {
      failed(fresh, asked, "The photo could not be deleted. Try again.");
      return;
    }
    takeAway(pk);
    arrived(response.ok && fresh, asked);
  }
  // The answer and what is in it, or why there is none.
  async function post(form) {
    try {
      const response = await ask(form.action, { method: "POST", body: new FormData(form) });
      return { response, fresh: parse(await response.text()) };
    } catch (error) {
      return { fresh: error };
    }
  }
  function failed(what, asked, otherwise) {
    if (what.message === AWAY) return;
    if (asked === turn) viewer.classList.remove("turning");
    window.rollcall.toast(what.querySelector?.(".toast p")?.textContent || why(what, otherwise), "error");
  }
  // An answer that is a photo's page: to be shown, unless somebody has turned on meanwhile.
  function arrived(fresh, asked) {
    if (fresh) takeToasts(fresh);
    if (asked !== turn) {
      if (isOpen()) renewIfGone();
    } else if (fresh) {
      put(fresh);
      keepAddress();
      ready();
    } else {
      const other = viewer.querySelector("#newer");
      if (other) show(other.getAttribute("href"), "replace", "newer");
      else if (overGrid) leave();
      else location.href = document.getElementById("up").href;
    }
  }

  // Undone, the photo is shown again, over the same grid.
  const undoing = new Set();
  document.addEventListener("submit", (event) => {
    const form = event.target;
    const pk = form.closest?.("#toasts") && form.elements.at && pkIn(form.elements.next?.value || "");
    if (!pk) return;
    event.preventDefault();
    if (undoing.has(pk)) return;
    undoing.add(pk);
    undo(form, pk).finally(() => undoing.delete(pk));
  });
  async function undo(form, pk) {
    const asked = (turn += 1);
    const { response, fresh } = await post(form);
    if (!response?.ok || !fresh.querySelector("#photo")) {
      failed(fresh, asked, "The photo could not be taken back. Try again, or look into the trash.");
      return;
    }
    form.closest(".toast")?.remove();
    bringBack(pk);
    if (!isOpen() && asked === turn) {
      openOver();
      history.pushState({ ...(history.state || {}), viewer: true }, "", fresh.querySelector("#photo").dataset.address);
      pushed = true;
    }
    arrived(fresh, asked);
    // What was turned to meanwhile may stand beside it.
    if (asked !== turn && isOpen() && photo()) renew();
  }

  // On a narrow screen the photo stays in the middle of what the sheet of faces leaves of it.
  viewer.addEventListener("scroll", () => {
    const stage = document.getElementById("stage");
    if (stage) stage.style.translate = innerWidth < 1000 ? `0 ${-viewer.scrollTop / 2}px` : "";
  }, { passive: true });

  // Names and drawn faces change what is on the photo, and a poll finds some.
  document.addEventListener("htmx:oobAfterSwap", () => { if (isOpen()) tell(); });

  if (!overGrid) ready(faceIn(location.hash));
})();
