// Long lists of people and faces: pages come as one scrolls and go again when they are far away,
// crops are fetched when they come into view, and many can be ticked by mouse, Shift or keyboard.
// Without scripts the lists have links to their pages, and the ticks and buttons are a plain form.
"use strict";

(() => {
  const form = () => document.getElementById("picks");

  document.addEventListener("toggle", (event) => {
    if (event.target.matches("details.rename[open]")) event.target.querySelector("input[name=label]").select();
  }, true);

  // --- Notes: what was typed just before one leaves is saved as well ---

  let saved = document.getElementById("notes")?.value;
  document.addEventListener("htmx:afterRequest", ({ detail }) => {
    if (detail.successful && detail.elt.matches("form.notes")) saved = detail.requestConfig.formData.get("notes");
  });
  addEventListener("pagehide", () => {
    const notes = document.getElementById("notes");
    if (notes && notes.value !== saved) navigator.sendBeacon(notes.form.action, new FormData(notes.form));
  });

  // --- Crops, when they come into view ---

  const shower = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      shower.unobserve(target);
      target.src = target.dataset.src;
    }
  });
  const watchCrops = (root) => {
    for (const crop of root.querySelectorAll("img[data-src]:not([src])")) shower.observe(crop);
  };

  // --- Pages of a long list ---

  const FAR = 3; // screens, beyond which a page is emptied
  const NEAR = 1.5;
  const list = () => document.querySelector("[data-chunks]");
  let loading = false;

  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting && target.dataset.empty !== undefined) refill(target);
    }
    goOn();
  }, { rootMargin: `${NEAR * 100}% 0px` });
  const far = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target, boundingClientRect } of entries) {
      if (!isIntersecting && boundingClientRect.height > 0) empty(target);
    }
  }, { rootMargin: `${FAR * 100}% 0px` });

  function watch(chunk) {
    near.observe(chunk);
    far.observe(chunk);
    watchCrops(chunk);
    tickAgain(chunk);
  }

  // Its height stays, so that nothing moves; what was ticked in it is remembered in `picked`.
  function empty(chunk) {
    if (chunk.dataset.empty !== undefined || chunk.contains(document.activeElement)) return;
    chunk.style.height = `${chunk.getBoundingClientRect().height}px`;
    chunk.dataset.empty = "";
    chunk.replaceChildren();
  }

  async function refill(chunk) {
    delete chunk.dataset.empty;
    const fresh = await fetchChunk(chunk.dataset.chunk);
    if (!fresh) {
      chunk.dataset.empty = "";
      return;
    }
    chunk.replaceChildren(...fresh.children);
    chunk.style.height = "";
    window.htmx.process(chunk);
    watchCrops(chunk);
    tickAgain(chunk);
  }

  async function fetchChunk(address) {
    try {
      const response = await fetch(address, { headers: { "HX-Request": "true", "HX-Target": "chunk" } });
      if (!response.ok || response.redirected) return null;
      const template = document.createElement("template");
      template.innerHTML = await response.text();
      return template.content.querySelector("[data-chunk]");
    } catch {
      return null;
    }
  }

  // The next page, when the end of the last one is near.
  async function goOn() {
    const last = list()?.lastElementChild;
    if (!last?.dataset.next || loading) return;
    if (last.getBoundingClientRect().bottom > innerHeight * (1 + NEAR)) return;
    loading = true;
    const next = await fetchChunk(last.dataset.next);
    loading = false;
    if (!last.isConnected) return;
    if (!next) return;
    delete last.dataset.next;
    last.after(next);
    window.htmx.process(next);
    watch(next);
    if (!next.dataset.next) document.querySelector("[data-chunks-end]")?.remove();
    goOn();
  }
  window.addEventListener("scroll", () => { goOn(); keepPlace(); }, { passive: true });

  // The address says which page is on screen: coming back from a photo leads there.
  let placing = 0;
  function keepPlace() {
    window.clearTimeout(placing);
    placing = window.setTimeout(() => {
      const chunks = [...(list()?.children || [])];
      const top = chunks.find((chunk) => chunk.getBoundingClientRect().bottom > 80);
      if (!top || chunks.length < 2) return;
      const address = new URL(top.dataset.chunk, location.href);
      if (address.href !== location.href) history.replaceState(history.state, "", address);
    }, 250);
  }

  // --- Ticking ---

  const picked = new Set();
  let anchor = null;
  const ticks = () => [...document.querySelectorAll("[data-pick]")];
  const itemOf = (tick) => tick.closest(".pickable");

  function tickAgain(root) {
    for (const tick of root.querySelectorAll("[data-pick]")) {
      if (tick.checked) picked.add(tick.value);
      else tick.checked = picked.has(tick.value);
    }
    showBar();
  }

  function set(tick, on) {
    tick.checked = on;
    if (on) picked.add(tick.value);
    else picked.delete(tick.value);
  }

  function reach(tick, on) {
    const all = ticks();
    const from = all.findIndex((one) => one.value === anchor);
    const to = all.indexOf(tick);
    if (from < 0) return set(tick, on);
    for (const one of all.slice(Math.min(from, to), Math.max(from, to) + 1)) set(one, on);
  }

  function clear() {
    for (const tick of ticks()) tick.checked = false;
    picked.clear();
    anchor = null;
    showBar();
  }

  function showBar() {
    const bar = form();
    if (!bar) return;
    const count = picked.size;
    bar.classList.toggle("is-open", count > 0);
    document.body.classList.toggle("picking", count > 0);
    bar.querySelector("[data-pick-count]").textContent = count.toLocaleString("en");
    for (const button of bar.querySelectorAll("[data-pick-least]")) button.disabled = count < Number(button.dataset.pickLeast);
    for (const button of bar.querySelectorAll("[data-pick-only]")) button.disabled = count !== Number(button.dataset.pickOnly);
    const next = bar.querySelector("[name=next]");
    if (next) next.value = location.pathname + location.search;
  }

  document.addEventListener("click", (event) => {
    const tick = event.target.closest?.("[data-pick]");
    if (tick) {
      if (event.shiftKey) reach(tick, tick.checked);
      else set(tick, tick.checked);
      anchor = tick.value;
      return showBar();
    }
    // While some are ticked, or with Ctrl, a click on a picture ticks it; otherwise it opens it.
    const link = event.target.closest?.(".pickable > a");
    const other = link && itemOf(link).querySelector("[data-pick]");
    if (!other || event.button || !(picked.size || event.ctrlKey || event.metaKey || event.shiftKey)) return;
    event.preventDefault();
    if (event.shiftKey) reach(other, true);
    else set(other, !other.checked);
    anchor = other.value;
    showBar();
  });
  document.addEventListener("reset", (event) => {
    if (event.target.id !== "picks") return;
    event.preventDefault();
    event.target.querySelector("[name=label]")?.blur();
    clear();
  });

  const isTyping = (element) => element?.matches?.("input:not([type=checkbox]), textarea, select");

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || event.altKey || !form()) return;
    if (isTyping(event.target)) return;
    const isCommand = event.ctrlKey || event.metaKey;
    if (event.key === "Escape" && picked.size) {
      event.preventDefault();
      return clear();
    }
    const item = document.activeElement?.closest?.(".pickable");
    if (isCommand && event.key.toLowerCase() === "a" && (item || picked.size)) {
      event.preventDefault();
      for (const tick of ticks()) set(tick, true);
      return showBar();
    }
    if (isCommand) return;
    const button = picked.size && form().querySelector(`[data-key="${event.key}"]`);
    if (button) {
      event.preventDefault();
      if (!event.repeat) button.click();
      return;
    }
    if (!item) return;
    const tick = item.querySelector("[data-pick]");
    if (event.key === "x" || (event.key === " " && document.activeElement.matches("a"))) {
      event.preventDefault();
      set(tick, !tick.checked);
      anchor = tick.value;
      return showBar();
    }
    const to = neighbour(item, event.key);
    if (!to) return;
    event.preventDefault();
    if (event.shiftKey) {
      anchor ??= tick.value;
      set(tick, true);
      reach(to.querySelector("[data-pick]"), true);
      showBar();
    }
    to.querySelector("a").focus();
    to.scrollIntoView({ block: "nearest" });
  });

  function neighbour(item, key) {
    const items = [...document.querySelectorAll(".pickable")];
    const at = items.indexOf(item);
    if (key === "ArrowRight") return items[at + 1];
    if (key === "ArrowLeft") return items[at - 1];
    if (key !== "ArrowDown" && key !== "ArrowUp") return null;
    const { left, top } = item.getBoundingClientRect();
    const down = key === "ArrowDown";
    const row = (down ? items.slice(at + 1) : items.slice(0, at).reverse())
      .map((other) => ({ other, box: other.getBoundingClientRect() }))
      .filter(({ box }) => (down ? box.top > top + 4 : box.top < top - 4));
    const first = row[0]?.box.top;
    const same = row.filter(({ box }) => Math.abs(box.top - first) < 4);
    return same.sort((a, b) => Math.abs(a.box.left - left) - Math.abs(b.box.left - left))[0]?.other;
  }

  // --- Sending what is ticked ---

  // Those on pages that were emptied meanwhile go along.
  function unseen() {
    const shown = new Set(ticks().map((tick) => tick.value));
    return [...picked].filter((value) => !shown.has(value));
  }
  const nameOf = () => (ticks()[0] || { name: "face" }).name;

  document.addEventListener("submit", (event) => {
    if (event.target.id !== "picks") return;
    for (const old of event.target.querySelectorAll("[data-unseen]")) old.remove();
    for (const value of unseen()) {
      const input = document.createElement("input");
      Object.assign(input, { type: "hidden", name: nameOf(), value });
      input.dataset.unseen = "";
      event.target.append(input);
    }
  });
  document.addEventListener("htmx:configRequest", (event) => {
    const { elt, verb, parameters } = event.detail;
    if (verb !== "post" || !elt.closest?.("#picks")) return;
    for (const value of unseen()) parameters.append(nameOf(), value);
    parameters.delete("next");
  });

  // Faces that are somebody else's now leave the page; the others come renewed with the answer.
  document.addEventListener("faces-decided", (event) => {
    for (const pk of event.detail.gone || []) document.getElementById(`crop-${pk}`)?.remove();
    document.querySelector(".pick-more[open]")?.removeAttribute("open");
    clear();
    goOn();
  });

  // Enter in the name field splits off; it is not the first button of the form that is meant.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.defaultPrevented || event.isComposing) return;
    if (!event.target.matches?.("[data-split]")) return;
    event.preventDefault();
    if (event.target.value.trim()) event.target.form.requestSubmit(document.querySelector("[data-split-button]"));
  });

  // --- Beginning ---

  function begin() {
    const chunks = list();
    for (const chunk of chunks?.children || []) watch(chunk);
    watchCrops(document);
    if (chunks) document.querySelector("[data-chunks-end]")?.classList.add("visually-hidden");
    showBar();
  }
  document.addEventListener("htmx:afterSettle", (event) => {
    if (event.target.id === "people" || event.target.id === "person-view") begin();
    else watchCrops(document);
  });
  document.addEventListener("htmx:oobAfterSwap", () => watchCrops(document));
  window.addEventListener("pageshow", begin);
})();
