// Selecting photos of the grid: by check mark, Shift, keyboard or a long press. What is selected is
// a set of keys here, not check marks on the page: it outlives what the grid drops and loads again.
"use strict";

(() => {
  const { grid, toast } = window.rollcall;
  if (!grid) return;
  const { root, keyOf, pkOf } = grid;
  const form = document.getElementById("selection");
  const most = Number(form?.dataset.most || 0);
  const selected = new Set();
  const REMEMBERED = `selection:${location.pathname}`;
  let anchor = null;
  let current = null;

  const link = (tile) => tile?.querySelector("a");
  const tileOf = (target) => target.closest?.("#tiles .tile") || null;
  const tileFor = (pk) => root.querySelector(`#photo-${pk}`);

  // --- What is selected ---

  function paint(scope = root) {
    for (const box of scope.querySelectorAll(".tile-check")) {
      const isOn = selected.has(box.value);
      if (box.checked !== isOn) box.checked = isOn;
      box.tabIndex = -1;
    }
    for (const head of root.querySelectorAll(".day")) paintDay(head);
    rove(scope);
  }
  function told() {
    if (!form) return;
    form.classList.toggle("open", selected.size > 0);
    root.classList.toggle("selecting", selected.size > 0);
    form.querySelector("[data-role=count]").textContent = selected.size.toLocaleString("en");
  }
  function set(pks, isOn) {
    let refused = false;
    for (const pk of pks) {
      if (!isOn) selected.delete(pk);
      else if (selected.size < most || selected.has(pk)) selected.add(pk);
      else refused = true;
    }
    if (refused) toast(`No more than ${most.toLocaleString("en")} photos can be selected at once.`, "warning");
    paint();
    told();
  }
  function clear() {
    anchor = null;
    set([...selected], false);
  }
  function toggle(tile) {
    if (!form) return;
    const isOn = !selected.has(pkOf(tile));
    anchor = { pk: pkOf(tile), key: keyOf(tile), isOn, before: new Set(selected) };
    set([pkOf(tile)], isOn);
  }

  // From the anchor to here: what is loaded is known, over what was dropped the server is asked.
  async function extend(tile) {
    if (!form) return;
    if (!anchor) {
      toggle(tile);
      return;
    }
    const [top, end] = grid.isAbove(keyOf(tile), anchor.key) ? [keyOf(tile), anchor.key] : [anchor.key, keyOf(tile)];
    const apply = (pks) => {
      const wanted = new Set(anchor.before);
      for (const pk of pks) anchor.isOn ? wanted.add(pk) : wanted.delete(pk);
      for (const pk of [...selected]) if (!wanted.has(pk)) selected.delete(pk);
      set(wanted, true);
    };
    if (isWhole(top, end)) {
      apply(grid.tiles().filter((one) => !grid.isAbove(keyOf(one), top) && !grid.isAbove(end, keyOf(one))).map(pkOf));
      return;
    }
    const answer = await ask({ one: top, other: end });
    if (!answer || !anchor) return;
    apply(answer.photos.map(String));
    if (answer.more) toast(`Only the first ${most.toLocaleString("en")} photos of this range are selected.`, "warning");
  }
  function isWhole(top, end) {
    const all = grid.sheets().filter((section) => !grid.isAbove(section.dataset.last, top) && !grid.isAbove(end, section.dataset.first));
    const loaded = grid.tiles().map(keyOf);
    return loaded.includes(top) && loaded.includes(end) && all.every((section) => !section.classList.contains("dropped"));
  }
  async function ask(place) {
    const url = new URL(form.dataset.range, location.href);
    url.search = new URL(grid.address(place), location.href).search;
    try {
      const response = await fetch(url, { headers: { Accept: "application/json" } });
      if (!response.ok) throw new Error(String(response.status));
      return await response.json();
    } catch {
      toast("The selection could not be loaded. Try again.", "error");
      return null;
    }
  }
  async function all() {
    const answer = await ask({});
    if (!answer) return;
    anchor = null;
    selected.clear();
    set(answer.photos.map(String), true);
    if (answer.more) toast(`The first ${most.toLocaleString("en")} photos are selected: no more go at once.`, "warning");
  }

  // --- A whole day, by its heading ---

  const headOf = (tile) => tile?.closest(".tiles")?.previousElementSibling;
  const tilesUnder = (day) => grid.tiles().filter((tile) => headOf(tile)?.dataset.day === day);
  function paintDay(head) {
    if (!form) return;
    let box = head.querySelector(".day-check");
    if (!box) {
      box = document.createElement("input");
      box.type = "checkbox";
      box.className = "day-check";
      box.autocomplete = "off";
      box.tabIndex = -1;
      box.setAttribute("aria-label", `Select all of ${head.textContent.trim()}`);
      head.append(box);
    }
    const own = [...(head.nextElementSibling?.children || [])].map((tile) => selected.has(pkOf(tile)));
    box.checked = own.length > 0 && own.every(Boolean);
    box.indeterminate = !box.checked && own.some(Boolean);
  }
  // A day at the end of what is loaded may go on beyond it: then the server is asked.
  function isWholeDay(day) {
    const all = grid.sheets();
    if (all.some((section) => section.classList.contains("dropped"))) return false;
    const days = [...root.querySelectorAll(".day")].map((head) => head.dataset.day);
    const isCut = (side, last) => root.querySelector(`.grid-edge.${side}`) && last === day;
    return !isCut("newer", days[0]) && !isCut("older", days[days.length - 1]);
  }
  async function toggleDay(head, isOn) {
    const { day } = head.dataset;
    anchor = null;
    if (isWholeDay(day)) {
      set(tilesUnder(day).map(pkOf), isOn);
      return;
    }
    const answer = await ask({ day });
    if (answer) set(answer.photos.map(String), isOn);
    else paint();
    if (answer?.more) toast(`Only the first ${most.toLocaleString("en")} photos of this heading are meant.`, "warning");
  }
  root.addEventListener("change", (event) => {
    if (event.target.matches(".day-check")) toggleDay(event.target.closest(".day"), event.target.checked);
  });

  // --- The focus: one tile at a time is in the order of tabs ---

  function rove(scope = root) {
    if (!tileFor(current)) current = root.querySelector(".tile") && pkOf(root.querySelector(".tile"));
    for (const tile of scope.querySelectorAll(".tile")) link(tile).tabIndex = pkOf(tile) === current ? 0 : -1;
    roveDay();
  }
  // Of the headings the one above the current tile.
  function roveDay() {
    const own = headOf(tileFor(current))?.querySelector(".day-check");
    for (const box of root.querySelectorAll(".day-check")) box.tabIndex = box === own ? 0 : -1;
  }
  function goTo(tile) {
    if (!tile) return;
    const old = tileFor(current);
    if (old) link(old).tabIndex = -1;
    current = pkOf(tile);
    link(tile).tabIndex = 0;
    roveDay();
    link(tile).focus({ preventScroll: true });
    const box = tile.getBoundingClientRect();
    if (box.top < grid.toolbar() + 8) scrollBy(0, box.top - grid.toolbar() - 40);
    else if (box.bottom > innerHeight - 8) scrollBy(0, box.bottom - innerHeight + 60);
  }
  // The tile one row up or down that is nearest to the middle of this one.
  function across(tile, step) {
    const from = tile.getBoundingClientRect();
    const middle = from.left + from.width / 2;
    const all = grid.tiles();
    let row = null;
    let best = null;
    for (let i = all.indexOf(tile) + step; all[i]; i += step) {
      const box = all[i].getBoundingClientRect();
      if (Math.abs(box.top - from.top) < 2) continue;
      if (row === null) row = box.top;
      if (Math.abs(box.top - row) > 2) break;
      const off = Math.abs(box.left + box.width / 2 - middle);
      if (!best || off < best.off) best = { off, tile: all[i] };
    }
    return best?.tile;
  }
  function neighbour(tile, key) {
    const all = grid.tiles();
    const at = all.indexOf(tile);
    switch (key) {
      case "ArrowLeft": return all[at - 1];
      case "ArrowRight": return all[at + 1];
      case "ArrowUp": return across(tile, -1);
      case "ArrowDown": return across(tile, 1);
      default: return null;
    }
  }

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.altKey || event.isComposing || document.body.classList.contains("viewing")) return;
    if (event.target.closest?.("input:not(.tile-check, .day-check), select, textarea, dialog, [contenteditable], details[open]")) return;
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "a" && form) {
      event.preventDefault();
      all();
      return;
    }
    if (event.ctrlKey || event.metaKey) return;
    if (event.key === "Escape" && selected.size) {
      event.preventDefault();
      clear();
      return;
    }
    const tile = tileOf(event.target);
    if (event.key === "Delete" && form) {
      const button = form.querySelector("[data-select=trash]");
      if (!button || (!selected.size && !tile)) return;
      event.preventDefault();
      if (!selected.size) set([pkOf(tile)], true);
      button.click();
      return;
    }
    if (!tile) {
      // The first arrow goes to what is on the screen.
      const isArrow = event.key.startsWith("Arrow") && (event.target === document.body || event.target.id === "main");
      if (isArrow && event.key !== "ArrowUp" && root.contains(document.activeElement) === false && event.key === "ArrowRight") {
        event.preventDefault();
        goTo(grid.tiles().find((one) => one.getBoundingClientRect().top >= grid.toolbar()));
      }
      return;
    }
    if (event.key.startsWith("Arrow")) {
      event.preventDefault();
      const next = neighbour(tile, event.key);
      if (!next) return;
      if (event.shiftKey && form) {
        if (!anchor) anchor = { pk: pkOf(tile), key: keyOf(tile), isOn: true, before: new Set(selected) };
        goTo(next);
        extend(next);
      } else goTo(next);
    } else if (event.key === " " || event.key.toLowerCase() === "x") {
      event.preventDefault();
      if (event.shiftKey && anchor) extend(tile);
      else toggle(tile);
    } else if (event.key === "Home" || event.key === "End") {
      event.preventDefault();
      grid.goToEnd(event.key === "Home" ? "newer" : "older").then(goTo);
    }
  });
  root.addEventListener("focusin", (event) => {
    const tile = tileOf(event.target);
    if (!tile || pkOf(tile) === current) return;
    const old = tileFor(current);
    if (old) link(old).tabIndex = -1;
    current = pkOf(tile);
    link(tile).tabIndex = 0;
    roveDay();
  });

  // --- Mouse and touch ---

  root.addEventListener("click", (event) => {
    const tile = tileOf(event.target);
    if (!tile || !form) return;
    const isMark = event.target.matches(".tile-check");
    if (pressed) {
      pressed = false;
      event.preventDefault();
      return;
    }
    if (event.shiftKey && (anchor || isMark || selected.size)) {
      event.preventDefault();
      // The browser undoes its own tick after a click that was prevented.
      const late = () => { extend(tile); paint(); };
      isMark ? setTimeout(late) : late();
      return;
    }
    if (isMark) {
      toggle(tile);
    } else if (selected.size && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      toggle(tile);
    }
  });
  // Shift and a click would else select text.
  root.addEventListener("mousedown", (event) => {
    if (event.shiftKey && tileOf(event.target)) event.preventDefault();
  });

  let pressing = 0;
  let pressed = false;
  root.addEventListener("pointerdown", (event) => {
    pressed = false;
    const tile = tileOf(event.target);
    if (event.pointerType !== "touch" || !tile || !form || event.target.matches(".tile-check")) return;
    clearTimeout(pressing);
    pressing = setTimeout(() => {
      pressed = true;
      navigator.vibrate?.(12);
      toggle(tile);
    }, 430);
  });
  for (const name of ["pointerup", "pointercancel", "pointermove"]) {
    root.addEventListener(name, (event) => {
      if (name !== "pointermove" || Math.abs(event.movementX) + Math.abs(event.movementY) > 6) clearTimeout(pressing);
    });
  }
  root.addEventListener("contextmenu", (event) => {
    if (pressed || (event.pointerType === "touch" && tileOf(event.target))) event.preventDefault();
  });

  // --- The bar ---

  form?.addEventListener("formdata", (event) => {
    event.formData.delete("photo");
    for (const pk of selected) event.formData.append("photo", pk);
  });
  form?.addEventListener("submit", (event) => {
    if (!selected.size) {
      event.preventDefault();
      return;
    }
    if (event.submitter && "stays" in event.submitter.dataset) {
      toast("The download begins as soon as the first photo is packed.", "info");
      return;
    }
    event.preventDefault();
    const url = event.submitter?.formAction;
    if (url) done(url);
  });

  // What is done with the selection leaves the page where it is; nothing of it is lost where the
  // server can't be reached.
  let doing = false;
  async function send(url, more = {}) {
    if (doing) return null;
    doing = true;
    form.setAttribute("aria-busy", "true");
    try {
      const body = new URLSearchParams([...new FormData(form), ...Object.entries(more)]);
      const response = await grid.ask(url, { method: "POST", body, headers: { "HX-Target": "tiles" } });
      const html = await response.text();
      if (response.status >= 400 && response.status !== 422) {
        const isPlain = (response.headers.get("Content-Type") || "").startsWith("text/plain");
        toast(isPlain && html.length < 400 ? html : "That could not be done. Try again in a moment.", "error");
        return null;
      }
      return { isDone: response.ok, html };
    } catch (error) {
      if (error.name !== "AbortError") toast("The server can't be reached. Nothing was changed: try again.", "error");
      return null;
    } finally {
      doing = false;
      form.removeAttribute("aria-busy");
    }
  }
  // Toasts and counts of an answer; what is left of it is a part of the page.
  function take(html) {
    const holder = document.createElement("template");
    holder.innerHTML = html;
    window.htmx?.swap("#selection", html, { swapStyle: "none" }, { eventInfo: { target: form } });
    for (const one of holder.content.querySelectorAll("[hx-swap-oob]")) one.remove();
    return holder.content;
  }
  async function done(url, more) {
    const pks = [...selected];
    const answer = await send(url, more);
    if (!answer) {
      // A dialog would lie over what is said of it.
      for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
      return;
    }
    const part = take(answer.html);
    if (!answer.isDone) {
      // The dialog asks again, and says why.
      const asked = document.getElementById("move-to");
      if (asked && part.querySelector("form, .error")) asked.replaceChildren(part);
      return;
    }
    for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
    const gone = (part.querySelector("#done")?.dataset.gone || "").split(",").filter(Boolean);
    const near = nearest(new Set(gone));
    clear();
    const seen = grid.removeAll(gone);
    grid.refresh(pks.filter((pk) => !gone.includes(pk)));
    focusOn(near && isSeen(near) ? near : seen);
    grid.recount();
  }
  // The tile that takes the place of the current one when these are gone.
  function nearest(gone) {
    const all = grid.tiles();
    const at = all.indexOf(tileFor(current));
    const stays = (tile) => !gone.has(pkOf(tile));
    return at < 0 ? null : all.slice(at).find(stays) || all.slice(0, at).reverse().find(stays);
  }
  const isSeen = (tile) => {
    const box = tile.getBoundingClientRect();
    return box.bottom > grid.toolbar() && box.top < innerHeight;
  };
  function focusOn(tile) {
    if (!tile?.isConnected) return;
    current = pkOf(tile);
    rove();
    link(tile).focus({ preventScroll: true });
  }
  async function askWhere(dialog) {
    const answer = await send(dialog.dataset.url);
    if (!answer) return;
    const part = take(answer.html);
    if (!answer.isDone) return;
    document.getElementById("move-to").replaceChildren(part);
    dialog.showModal();
  }
  document.addEventListener("submit", (event) => {
    if (event.target.closest("#move-to")) {
      event.preventDefault();
      done(event.target.action, { to: new FormData(event.target).get("to") });
    } else if (event.target.matches("#toasts form[action$='/trash/restore']") && !isViewers(event.target)) {
      event.preventDefault();
      undo(event.target);
    }
  });
  // What was deleted while it was looked at is shown again, by the viewer.
  const isViewers = (toastForm) => /\/photos\/\d+\//.test(toastForm.elements.next.value);
  // The answer is this page's grid, with what there is to say.
  async function undo(toastForm) {
    try {
      const response = await grid.ask(toastForm.action, { method: "POST", body: new URLSearchParams(new FormData(toastForm)) });
      const html = await response.text();
      if (response.status >= 400 && response.status !== 422) throw new Error(String(response.status));
      toastForm.closest(".toast")?.remove();
      take(html);
    } catch (error) {
      if (error.name !== "AbortError") toast("That could not be taken back just now. Try again.", "error");
      return;
    }
    await grid.renew();
    focusOn(tileFor(current));
    grid.recount();
  }
  document.addEventListener("click", (event) => {
    const what = event.target.closest?.("#selection [data-select]")?.dataset.select;
    if (what === "none") clear();
    else if (what === "all") all();
    const asking = event.target.closest?.("#selection [data-ask]");
    const dialog = asking && document.getElementById(`ask-${asking.dataset.ask}`);
    if (!dialog) return;
    event.preventDefault();
    const photos = selected.size === 1 ? "1 photo" : `${selected.size.toLocaleString("en")} photos`;
    for (const words of dialog.querySelectorAll("[data-role=photos]")) words.textContent = photos;
    if (asking.dataset.ask === "move") {
      dialog.dataset.url = asking.formAction;
      if (selected.size) askWhere(dialog);
      return;
    }
    dialog.showModal();
    if (asking.dataset.ask === "recognise") estimate(dialog.querySelector("[data-role=words]"));
  });
  async function estimate(words) {
    words.textContent = "";
    try {
      const response = await fetch(`${form.dataset.estimate}?photos=${selected.size}`);
      if (response.ok) words.textContent = await response.text();
    } catch {
      // Then it is asked without a number.
    }
  }

  // --- Back from a photo ---

  addEventListener("pagehide", () => {
    if (!selected.size) sessionStorage.removeItem(REMEMBERED);
    else sessionStorage.setItem(REMEMBERED, [...selected].join(","));
  });
  const [way] = performance.getEntriesByType("navigation");
  const kept = sessionStorage.getItem(REMEMBERED);
  if (form && kept && (way?.type === "back_forward" || way?.type === "reload")) set(kept.split(","), true);
  sessionStorage.removeItem(REMEMBERED);
  document.addEventListener("grid:shown", (event) => paint(event.detail));
  paint();
  told();

  window.rollcall.selection = { has: (pk) => selected.has(pk), size: () => selected.size, forget: (pk) => set([pk], false), goTo };
})();
