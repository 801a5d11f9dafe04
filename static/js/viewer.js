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

  // --- Fetching: the neighbours are there before somebody turns to them ---

  const kept = new Map();
  const LONGEST_KEPT = 20_000;
  function fetchPhoto(address) {
    const found = kept.get(address);
    if (found && performance.now() - found.at < LONGEST_KEPT) return found.html;
    const html = fetch(address, { headers: { "HX-Request": "true" } }).then(async (response) => {
      const away = response.headers.get("HX-Redirect");
      if (away) location.href = away;
      if (away || !response.ok) throw new Error(String(response.status));
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
        const holder = document.createElement("template");
        holder.innerHTML = html;
        const image = holder.content.querySelector(".stage-image");
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
  async function show(address, how) {
    const asked = (turn += 1);
    viewer.classList.add("turning");
    let html = "";
    try {
      html = await fetchPhoto(address);
    } catch (error) {
      if (asked !== turn) return;
      viewer.classList.remove("turning");
      if (error.message === "404") window.rollcall.toast("That photo is not here any more.", "error");
      else window.rollcall.toast("The photo could not be loaded. Try again.", "error");
      return;
    }
    if (asked !== turn) return;
    put(html);
    const url = photo()?.dataset.address || address;
    const state = { ...(history.state || {}), viewer: true };
    if (how === "push") {
      history.pushState(state, "", url);
      pushed = true;
    } else if (how === "replace") history.replaceState(state, "", url + hash());
    ready();
  }
  function put(html) {
    window.rollcall.draw.stop();
    viewer.classList.remove("turning");
    viewer.innerHTML = html;
    // Messages that came along belong to the page.
    const toasts = viewer.querySelector(":scope > [hx-swap-oob*=toasts]");
    if (toasts) {
      document.getElementById("toasts").append(...toasts.childNodes);
      toasts.remove();
    }
    window.htmx.process(viewer);
    viewer.scrollTo(0, 0);
  }
  function ready() {
    document.title = photo() ? photo().dataset.title : back.title;
    window.rollcall.zoom.reset();
    window.rollcall.faces.start();
    setFaces(facesShown());
    setInfo(infoShown);
    ahead();
  }

  function openOver() {
    if (isOpen()) return;
    back.focus = document.activeElement;
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
    viewer.replaceChildren();
    const tile = pk && document.getElementById(`photo-${pk}`);
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
      openOver();
      placeholder(tile);
      show(address, "push");
      return;
    }
    const link = event.target.closest?.("#newer, #older");
    if (link && viewer.contains(link)) {
      event.preventDefault();
      show(link.getAttribute("href"), "replace");
      return;
    }
    const up = event.target.closest?.("#up");
    if (up && overGrid) {
      event.preventDefault();
      leave();
    }
  });
  // The small picture that is there already, until the photo comes.
  function placeholder(tile) {
    const image = tile.querySelector("img");
    viewer.replaceChildren();
    if (!image) return;
    const early = document.createElement("img");
    early.className = "viewer-early";
    early.src = image.currentSrc || image.src;
    early.alt = "";
    viewer.append(early);
  }
  function leave() {
    if (pushed) history.back();
    else {
      const url = new URL(document.getElementById("up").href);
      history.replaceState({}, "", url.pathname + url.search);
      closeOver();
    }
  }
  addEventListener("popstate", (event) => {
    const isPhoto = /\/photos\/\d+\/$/.test(location.pathname);
    if (isPhoto && (event.state?.viewer || !overGrid)) {
      if (overGrid) openOver();
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
  const hash = () => (infoShown ? "#info" : "");
  let infoShown = location.hash === "#info";
  function setInfo(isShown) {
    infoShown = isShown;
    viewer.classList.toggle("with-info", isShown);
    press("info", isShown);
    if (isOpen() && photo()) history.replaceState(history.state, "", photo().dataset.address + hash());
  }
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
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.id !== "trash-photo") return;
    const next = viewer.querySelector("#older") || viewer.querySelector("#newer");
    if (!next) return;
    event.preventDefault();
    const { pk } = photo().dataset;
    const asked = (turn += 1);
    fetch(form.action, { method: "POST", body: new FormData(form), headers: { "HX-Request": "true" } }).then(async (response) => {
      const html = await response.text();
      kept.clear();
      const holder = document.createElement("template");
      holder.innerHTML = html;
      if (!response.ok || !holder.content.querySelector("#photo")) {
        window.rollcall.toast(holder.content.querySelector(".toast p")?.textContent || "The photo could not be deleted. Try again.", "error");
        return;
      }
      grid()?.remove(pk);
      if (asked !== turn) return;
      put(html);
      history.replaceState(history.state, "", photo().dataset.address + hash());
      ready();
    }, () => window.rollcall.toast("The server can't be reached. Try again.", "error"));
  });

  // On a narrow screen the photo stays in the middle of what the sheet of faces leaves of it.
  viewer.addEventListener("scroll", () => {
    const stage = document.getElementById("stage");
    if (stage) stage.style.translate = innerWidth < 1000 ? `0 ${-viewer.scrollTop / 2}px` : "";
  }, { passive: true });

  if (!overGrid) ready();
})();
