// A gallery's grid: justified rows, and sheets of photos that are loaded as somebody scrolls,
// dropped when they are far away, and loaded again at the same height. The address has the place.
"use strict";

(() => {
  const root = document.getElementById("tiles");
  if (!root) return;

  // How far from the screen a sheet still has its tiles, and from where the next one is loaded.
  const KEPT = "200% 0px";
  const AHEAD = "150% 0px";
  const sort = root.dataset.sort;
  const filtered = "filtered" in root.dataset;
  const here = new URL(location.href);
  for (const name of ["at", "before", "after"]) here.searchParams.delete(name);

  const address = (place = {}) => {
    const url = new URL(here);
    for (const [name, value] of Object.entries(place)) url.searchParams.set(name, value);
    return url.pathname + url.search;
  };
  const keyOf = (tile) => (sort === "uploaded" ? pkOf(tile) : `${tile.dataset.at}.${pkOf(tile)}`);
  const pkOf = (tile) => tile.id.slice("photo-".length);
  const sheets = () => [...root.querySelectorAll(":scope > .sheet")];
  const tiles = () => [...root.querySelectorAll(".tile")];
  const tell = (name, detail) => document.dispatchEvent(new CustomEvent(`grid:${name}`, { detail }));

  // --- Rows ---

  // Rows that end where the width does. The last one of a day keeps the usual height, unless the
  // day goes on in the next sheet: then all of them share what would be left over.
  function justify(ratios, width, high, gap, goesOn) {
    const best = [{ cost: 0, from: 0, height: 0 }];
    for (let end = 1; end <= ratios.length; end += 1) {
      best[end] = { cost: Infinity, from: end - 1, height: high };
      let sum = 0;
      for (let from = end - 1; from >= 0; from -= 1) {
        sum += ratios[from];
        const full = (width - gap * (end - from - 1)) / sum;
        const isLast = end === ratios.length && !goesOn;
        const height = isLast ? Math.min(full, high) : Math.min(full, high * 1.75);
        const off = (height - high) / high;
        const gappy = !isLast && full > high * 1.75 ? 10 : 0;
        const cost = best[from].cost + off * off + gappy;
        if (cost < best[end].cost) best[end] = { cost, from, height };
        if (full < high * 0.45) break;
      }
    }
    const heights = new Array(ratios.length);
    for (let end = ratios.length; end > 0; end = best[end].from) heights.fill(best[end].height, best[end].from, end);
    return heights;
  }

  let width = 0;
  let high = 0;
  let gap = 0;
  function measure() {
    const style = getComputedStyle(root);
    // A hair less than there is: rounding must not push a row's last tile out of it.
    width = root.clientWidth - 0.5;
    high = parseFloat(style.getPropertyValue("--row"));
    gap = innerWidth < 700 ? 4 : 6;
  }
  function ratioOf(tile) {
    const image = tile.querySelector("img");
    const exact = image && image.getAttribute("width") / image.getAttribute("height");
    const rough = /\br(\d+)\b/.exec(tile.className);
    return Math.min(Math.max(exact || (rough ? rough[1] / 10 : 1), 0.4), 6);
  }
  function layOut(section) {
    for (const list of section.querySelectorAll(".tiles")) {
      const own = [...list.children];
      const ratios = own.map(ratioOf);
      const heights = justify(ratios, width, high, gap, list.classList.contains("goes-on"));
      own.forEach((tile, i) => {
        tile.style.height = `${heights[i]}px`;
        tile.style.width = `${Math.min(heights[i] * ratios[i], width)}px`;
      });
    }
  }

  // What goes on in a sheet has its heading on the one before.
  function joinHeadings() {
    let last = null;
    for (const section of sheets()) {
      const head = section.querySelector(".day");
      if (head) head.classList.toggle("same", head.dataset.day === last);
      const days = section.querySelectorAll(".day");
      if (days.length) section.dataset.lastDay = days[days.length - 1].dataset.day;
      last = section.dataset.lastDay;
    }
  }

  // --- Loading and dropping ---

  // A part of this page, as htmx asks for it: whoever was signed out comes back to this place.
  async function ask(url, options = {}) {
    const headers = { "HX-Request": "true", "HX-Current-URL": location.href, ...options.headers };
    const response = await fetch(url, { ...options, headers });
    const away = response.headers.get("HX-Redirect");
    if (away) {
      // Files that are under way would be lost with this page.
      if (!window.rollcall.upload?.isOpen()) location.href = away;
      throw new DOMException("signed out", "AbortError");
    }
    return response;
  }
  async function fetchSheet(place, signal) {
    const response = await ask(address(place), { signal });
    if (!response.ok) throw new Error(String(response.status));
    const holder = document.createElement("template");
    holder.innerHTML = await response.text();
    return holder.content.querySelector(".sheet");
  }

  // Whatever changes above what somebody looks at moves it nowhere.
  function keepingPlace(change) {
    const anchor = anchorOf();
    const before = anchor?.getBoundingClientRect().top;
    change();
    if (anchor?.isConnected) scrollBy(0, anchor.getBoundingClientRect().top - before);
  }
  function anchorOf() {
    const section = sheets().find((one) => one.getBoundingClientRect().bottom > 1);
    if (!section || section.classList.contains("dropped")) return section;
    return [...section.querySelectorAll(".tile")].find((tile) => tile.getBoundingClientRect().bottom > 1) || section;
  }

  function show(section) {
    layOut(section);
    watch.observe(section);
    joinHeadings();
    tell("shown", section);
    if (section.querySelector("[name=busy]")) window.htmx?.trigger(document.body, "busy");
  }

  const edge = (side) => root.querySelector(`:scope > .grid-edge.${side}`);
  function setEdge(side, key) {
    const place = side === "older" ? { before: key } : { after: key };
    let found = edge(side);
    if (!key) {
      found?.remove();
      return;
    }
    if (!found) {
      found = document.createElement("p");
      found.className = `grid-edge ${side}`;
      const link = document.createElement("a");
      link.className = "btn";
      link.textContent = side === "older" ? "Older photos" : "Newer photos";
      found.append(link);
      root[side === "older" ? "append" : "prepend"](found);
    }
    found.querySelector("a").href = address(place);
    found.dataset.key = key;
    reach.unobserve(found);
    reach.observe(found);
  }

  let generation = 0;
  const loading = new Set();
  async function loadMore(side) {
    const found = edge(side);
    if (!found || loading.has(side)) return;
    loading.add(side);
    found.classList.add("loading");
    const asked = generation;
    try {
      const section = await fetchSheet(side === "older" ? { before: found.dataset.key } : { after: found.dataset.key });
      if (asked !== generation) return;
      keepingPlace(() => {
        if (section && side === "older") found.before(section);
        if (section && side === "newer") found.after(section);
        if (section) show(section);
        setEdge(side, section?.dataset[side]);
      });
      placeMark();
    } catch (error) {
      if (error.name === "AbortError") return;
      // Scrolling to it, or the link in it, tries again.
      setTimeout(() => found.isConnected && reach.observe(found), 4000);
      reach.unobserve(found);
    } finally {
      loading.delete(side);
      found.classList.remove("loading");
    }
  }

  const reach = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting) loadMore(target.classList.contains("older") ? "older" : "newer");
    }
  }, { rootMargin: AHEAD });

  const watch = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) drop(target);
      else if (target.classList.contains("dropped")) wanted(target);
    }
  }, { rootMargin: KEPT });

  const fetching = new Map();
  function drop(section) {
    fetching.get(section)?.abort();
    fetching.delete(section);
    if (!section.isConnected || section.classList.contains("dropped")) return;
    if (section.contains(document.activeElement)) document.activeElement.blur();
    section.style.height = `${section.getBoundingClientRect().height}px`;
    section.dataset.across = width;
    section.dataset.goesOn = section.querySelector(".tiles:last-child.goes-on") ? "yes" : "";
    section.classList.add("dropped");
    section.replaceChildren();
  }
  function wanted(section) {
    if (fetching.has(section)) return;
    const stop = new AbortController();
    fetching.set(section, stop);
    // Not those that a fast scroll only passes by.
    setTimeout(() => { if (!stop.signal.aborted) restore(section, stop); }, 70);
  }
  async function restore(section, stop) {
    try {
      const { first, last, above } = section.dataset;
      const fresh = await fetchSheet(above ? { before: above, last } : { first, last }, stop.signal);
      if (!section.isConnected) return;
      keepingPlace(() => {
        if (!fresh?.querySelector(".tile")) {
          // All of it was deleted or moved meanwhile.
          section.remove();
          return;
        }
        // More came into it than one answer has: the rest is a sheet of its own.
        if (fresh.dataset.older) {
          const rest = newSheet(last, (one) => section.after(one));
          Object.assign(rest.dataset, { above: fresh.dataset.older, older: section.dataset.older });
          section.dataset.last = fresh.dataset.last;
          rest.classList.add("dropped");
          rest.style.height = "400px";
          watch.observe(rest);
        }
        if (section.dataset.goesOn) fresh.querySelector(".tiles:last-child")?.classList.add("goes-on");
        section.replaceChildren(...fresh.childNodes);
        section.classList.remove("dropped");
        section.style.height = "";
        show(section);
      });
    } catch (error) {
      if (error.name !== "AbortError") setTimeout(() => section.isConnected && again(section), 3000);
    } finally {
      if (fetching.get(section) === stop) fetching.delete(section);
    }
  }
  function again(section) {
    watch.unobserve(section);
    watch.observe(section);
  }

  // --- The place, in the address ---

  const toolbar = () => (document.querySelector(".grid-tools")?.getBoundingClientRect().bottom || 0);
  function firstSeen() {
    const top = toolbar();
    for (const section of sheets()) {
      const box = section.getBoundingClientRect();
      if (box.bottom <= top) continue;
      if (section.classList.contains("dropped")) return null;
      const tile = [...section.querySelectorAll(".tile")].find((one) => one.getBoundingClientRect().bottom > top + 20);
      if (tile) return tile;
    }
    return null;
  }
  const isOpen = () => !document.body.classList.contains("viewing");
  let marking = 0;
  function placeMark() {
    clearTimeout(marking);
    marking = setTimeout(() => {
      if (!isOpen()) return;
      const tile = firstSeen();
      if (!tile) return;
      const isTop = !edge("newer") && tile === root.querySelector(".tile");
      const url = isTop ? address() : address({ at: keyOf(tile) });
      const offset = Math.round(tile.getBoundingClientRect().top);
      history.replaceState({ ...history.state, grid: true, offset }, "", url);
      const next = document.querySelector("#selection [name=next]");
      if (next) next.value = url;
      tell("moved", tile);
    }, 180);
  }
  addEventListener("scroll", placeMark, { passive: true });

  async function comeBack() {
    history.scrollRestoration = "manual";
    const key = new URLSearchParams(location.search).get("at");
    const marked = location.hash.startsWith("#photo-") && document.getElementById(location.hash.slice(1));
    if (!key) return;
    const tile = marked || tiles().find((one) => keyOf(one) === key) || root.querySelector(".tile");
    if (!tile) return;
    const offset = history.state?.offset ?? Math.max(toolbar() + 60, innerHeight * 0.25);
    const put = () => scrollBy(0, tile.getBoundingClientRect().top - offset);
    put();
    if (edge("newer")) await loadMore("newer");
    if (tile.isConnected) put();
    if (marked) reveal(tile);
  }

  function reveal(tile) {
    tile.querySelector("a").focus({ preventScroll: true, focusVisible: false });
    const box = tile.getBoundingClientRect();
    if (box.top < toolbar() || box.bottom > innerHeight) tile.scrollIntoView({ block: "center" });
    tile.classList.add("is-here");
    setTimeout(() => tile.classList.remove("is-here"), 1700);
  }

  function showOnly(section) {
    for (const one of sheets()) {
      watch.unobserve(one);
      one.remove();
    }
    setEdge("newer", "");
    setEdge("older", "");
    if (!section) return;
    root.append(section);
    show(section);
    setEdge("older", section.dataset.older);
    if (section.dataset.newer) setEdge("newer", section.dataset.newer);
  }

  // What is there now, at the same place: after photos came that the page knows in part or not.
  async function renew() {
    const asked = (generation += 1);
    const seen = firstSeen();
    const isTop = !edge("newer") && (!seen || seen === root.querySelector(".tile"));
    let section = null;
    try {
      section = await fetchSheet(isTop || !seen ? {} : { at: keyOf(seen) });
    } catch {
      // What is shown stays; scrolling and loading anew bring the rest.
      return;
    }
    if (asked !== generation) return;
    const top = seen?.isConnected ? seen.getBoundingClientRect().top : null;
    const before = scrollY;
    const focused = document.activeElement?.closest?.("#tiles .tile")?.id;
    showOnly(section);
    const fresh = seen && document.getElementById(seen.id);
    const put = () => {
      if (isTop) scrollTo(0, before);
      else if (fresh?.isConnected && top !== null) scrollBy(0, fresh.getBoundingClientRect().top - top);
    };
    put();
    if (edge("newer") && !isTop) {
      await loadMore("newer");
      put();
    }
    if (focused) document.getElementById(focused)?.querySelector("a").focus({ preventScroll: true });
    placeMark();
  }

  // The tabs' numbers, the months and how many photos fit the filters.
  function recount() {
    const url = document.getElementById("selection")?.dataset.dates;
    if (url) window.htmx?.ajax("GET", url, { target: "#dates-list", swap: "outerHTML" });
  }

  // To the newest photo or the oldest, also where that is not loaded. 1800 is before all of them.
  async function goToEnd(side) {
    const all = sheets();
    const outermost = side === "older" ? all[all.length - 1] : all[0];
    if (edge(side) || outermost?.classList.contains("dropped")) {
      const lowest = sort === "uploaded" ? "0" : "-5364662400000000.0";
      if (!(await jump(side === "older" ? { after: lowest } : {}))) return null;
    }
    const loaded = tiles();
    return side === "older" ? loaded[loaded.length - 1] : loaded[0];
  }

  // Elsewhere in the gallery at once: to a month, or to a photo that the viewer came to.
  async function jump(place) {
    const asked = (generation += 1);
    root.classList.add("jumping");
    try {
      const section = await fetchSheet(place);
      if (asked !== generation) return false;
      showOnly(section);
      if (!section) return false;
      scrollTo(0, 0);
      if (edge("newer")) scrollBy(0, section.getBoundingClientRect().top - toolbar());
      placeMark();
      return true;
    } catch (error) {
      if (error.name !== "AbortError") window.rollcall.toast("That part of the gallery could not be loaded. Try again.", "error");
      return false;
    } finally {
      root.classList.remove("jumping");
    }
  }

  // --- As photos come and go ---

  const isAbove = (one, other) => {
    const [a, b] = [one, other].map((key) => key.split(".").map((part) => BigInt(part)));
    return a[0] !== b[0] ? a[0] > b[0] : (a[1] ?? 0n) > (b[1] ?? 0n);
  };

  // A photo that has just arrived takes its place, if that is loaded; else it comes by scrolling.
  function add(html) {
    const holder = document.createElement("template");
    holder.innerHTML = html;
    const tile = holder.content.querySelector(".tile");
    came = true;
    if (!tile || filtered || document.getElementById(tile.id)) return soonAsked();
    const key = keyOf(tile);
    const all = sheets();
    let section = all.find((one) => isAbove(key, one.dataset.last));
    if (!section) {
      if (edge("older")) return soonAsked();
      section = all[all.length - 1] || newSheet(key, (one) => root.prepend(one));
      section.dataset.last = key;
    } else if (!section.dataset.above && isAbove(key, section.dataset.first)) {
      if (section === all[0] && edge("newer")) return soonAsked();
      if (section === all[0] && section.childElementCount && section.querySelectorAll(".tile").length >= FULL) {
        section = newSheet(key, (one) => all[0].before(one));
      }
      section.dataset.first = key;
    }
    // One that is dropped has it when it is loaded again.
    if (section.classList.contains("dropped")) return soonAsked();
    put(tile, key, section);
    dirty.add(section);
    if (dirty.size === 1) requestAnimationFrame(tidy);
  }
  // The tabs count a photo that has arrived as soon as the page asks after its tiles.
  let came = false;
  function soonAsked() {
    window.htmx?.trigger(document.body, "busy");
  }
  document.addEventListener("htmx:configRequest", (event) => {
    if (event.detail.elt.id !== "poller" || !came) return;
    event.detail.parameters.set("came", "1");
    came = false;
  });
  // Tiles that were dropped since they were asked after come again with their sheet.
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.requestConfig?.elt?.id !== "poller") return;
    const holder = document.createElement("template");
    holder.innerHTML = event.detail.serverResponse;
    const away = [...holder.content.querySelectorAll("li[id^=photo-]")].filter((tile) => !document.getElementById(tile.id));
    if (!away.length) return;
    for (const tile of away) tile.remove();
    event.detail.serverResponse = holder.innerHTML;
  });

  const FULL = 60;
  const dirty = new Set();
  function tidy() {
    keepingPlace(() => { for (const section of dirty) show(section); });
    dirty.clear();
  }
  function newSheet(key, into) {
    const section = document.createElement("section");
    section.className = "sheet";
    Object.assign(section.dataset, { first: key, last: key, newer: "", older: "" });
    into(section);
    return section;
  }
  function put(tile, key, section) {
    const day = dayOf(tile);
    const fits = (list) => list && day.startsWith(list.previousElementSibling.dataset.day);
    const own = [...section.querySelectorAll(".tile")];
    const at = own.findIndex((one) => isAbove(key, keyOf(one)));
    const next = own[at];
    const before = at < 0 ? own[own.length - 1] : own[at - 1];
    if (fits(next?.parentElement)) next.before(tile);
    else if (fits(before?.parentElement)) before.after(tile);
    else {
      const head = document.createElement("h2");
      head.className = "day";
      head.dataset.day = day;
      head.textContent = dayWords(day);
      const list = document.createElement("ul");
      list.className = "tiles";
      list.append(tile);
      const below = next?.parentElement.previousElementSibling;
      if (below) below.before(head, list);
      else section.append(head, list);
    }
  }
  const zone = root.dataset.zone;
  const dateOf = (moment) => new Intl.DateTimeFormat("en-CA", { timeZone: zone, year: "numeric", month: "2-digit", day: "2-digit" }).format(moment);
  const dayOf = (tile) => dateOf(sort === "uploaded" ? Date.now() : Number(tile.dataset.at) / 1000);
  function dayWords(day) {
    const today = dateOf(Date.now());
    if (day === today) return "Today";
    if (day === dateOf(Date.now() - 86_400_000)) return "Yesterday";
    const [year, month, number] = day.split("-").map(Number);
    const noon = new Date(Date.UTC(year, month - 1, number, 12));
    const word = (part) => new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", ...part }).format(noon);
    const words = `${number} ${word({ month: "long" })}`;
    return day.slice(0, 4) === today.slice(0, 4) ? `${word({ weekday: "long" })}, ${words}` : `${words} ${year}`;
  }

  function remove(pk) {
    removeAll([pk]);
  }
  // What is looked at stays where it is; where all of it goes, the next photo comes there. Gives
  // the tile that is nearest to what is seen.
  function removeAll(pks) {
    const gone = new Set(pks.map(String));
    const all = tiles();
    const first = Math.max(all.indexOf(firstSeen()), 0);
    const stays = (tile) => !gone.has(pkOf(tile));
    const anchor = all.slice(first).find(stays) || all.slice(0, first).reverse().find(stays);
    const place = anchor && anchor.getBoundingClientRect().top < innerHeight ? anchor : all[first];
    const before = place?.getBoundingClientRect().top;
    const touched = new Set();
    for (const tile of all) {
      if (stays(tile)) continue;
      touched.add(tile.closest(".sheet"));
      const list = tile.parentElement;
      tile.remove();
      if (list.children.length) continue;
      list.previousElementSibling?.remove();
      list.remove();
    }
    for (const section of touched) {
      if (section.querySelector(".tile")) layOut(section);
      else section.remove();
    }
    joinHeadings();
    if (anchor) scrollBy(0, anchor.getBoundingClientRect().top - before);
    placeMark();
    return anchor;
  }
  // Asks after these photos' tiles, whatever they show: their state is another one now.
  function refresh(pks) {
    for (const pk of pks) {
      const tile = document.getElementById(`photo-${pk}`);
      if (!tile || tile.querySelector("[name=busy]")) continue;
      const busy = document.createElement("input");
      Object.assign(busy, { type: "hidden", name: "busy", value: `${pk}.` });
      tile.append(busy);
    }
    window.htmx?.trigger(document.body, "busy");
  }

  document.addEventListener("htmx:oobAfterSwap", (event) => {
    const section = event.detail.target.closest?.("#tiles .sheet");
    const tile = document.getElementById(event.detail.target.id);
    for (const one of new Set([section, tile?.closest("#tiles .sheet")])) {
      if (!one) continue;
      layOut(one);
      tell("shown", one);
    }
  });

  // --- Dates ---

  function rail(list) {
    const months = [...list.querySelectorAll("[data-before]")].map((link) => ({ link, ...link.dataset, count: Number(link.dataset.count) }));
    document.querySelector(".rail")?.remove();
    const total = months.reduce((sum, month) => sum + month.count, 0);
    if (months.length < 2 || total < 200) return;
    const bar = document.createElement("div");
    bar.className = "rail";
    bar.setAttribute("aria-hidden", "true");
    const mark = document.createElement("i");
    const words = document.createElement("b");
    words.hidden = true;
    bar.append(mark, words);
    let sum = 0;
    let room = -1;
    let year = "";
    for (const month of months) {
      month.top = sum / total;
      sum += month.count;
      month.bottom = sum / total;
      if (month.month.slice(0, 4) !== year && month.top > room) {
        year = month.month.slice(0, 4);
        room = month.top + 0.035;
        const label = document.createElement("span");
        label.textContent = year;
        label.style.top = `${month.top * 100}%`;
        bar.append(label);
      }
    }
    document.body.append(bar);
    const at = (event) => {
      const box = bar.getBoundingClientRect();
      const share = Math.min(Math.max((event.clientY - box.top) / box.height, 0), 0.99999);
      return [months.find((month) => share < month.bottom), share];
    };
    const point = (event) => {
      const [month, share] = at(event);
      words.hidden = false;
      words.textContent = `${month.link.firstElementChild.textContent} ${month.month.slice(0, 4)} · ${month.count.toLocaleString("en")}`;
      words.style.top = `${share * 100}%`;
    };
    bar.addEventListener("pointermove", point);
    bar.addEventListener("pointerleave", () => { if (!bar.classList.contains("held")) words.hidden = true; });
    bar.addEventListener("pointerdown", (event) => {
      bar.setPointerCapture(event.pointerId);
      bar.classList.add("held");
      point(event);
    });
    bar.addEventListener("pointerup", (event) => {
      bar.classList.remove("held");
      words.hidden = true;
      toMonth(at(event)[0].before);
    });
    const follow = (tile) => {
      const day = tile.closest(".tiles")?.previousElementSibling?.dataset.day?.slice(0, 7);
      const month = months.find((one) => one.month === day);
      if (!month) return;
      mark.style.top = `${month.top * 100}%`;
      for (const one of months) {
        if (one === month) one.link.setAttribute("aria-current", "true");
        else one.link.removeAttribute("aria-current");
      }
    };
    document.addEventListener("grid:moved", (event) => follow(event.detail));
    const seen = firstSeen();
    if (seen) follow(seen);
  }
  let jumps = history.state?.jump || 0;
  function toMonth(key) {
    jumps += 1;
    history.pushState({ grid: true, jump: jumps }, "", address({ before: key }));
    jump({ before: key });
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("#dates-list [data-before]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    link.closest("details").open = false;
    toMonth(link.dataset.before);
  });
  addEventListener("popstate", (event) => {
    if (location.pathname !== here.pathname || (event.state?.jump || 0) === jumps) return;
    jumps = event.state?.jump || 0;
    const at = new URLSearchParams(location.search).get("at");
    jump(at ? { at } : {});
  });
  document.addEventListener("htmx:afterSettle", () => {
    const list = document.getElementById("dates-list");
    if (list && !list.dataset.railed && list.querySelector("[data-before]")) {
      list.dataset.railed = "";
      rail(list);
    }
  });
  root.addEventListener("click", (event) => {
    const side = event.target.closest?.(".grid-edge");
    if (!side) return;
    event.preventDefault();
    loadMore(side.classList.contains("older") ? "older" : "newer");
  });

  // --- Start ---

  root.classList.add("live");
  measure();
  for (const section of sheets()) show(section);
  for (const side of ["newer", "older"]) {
    const first = sheets()[0];
    if (edge(side)) setEdge(side, first?.dataset[side] || new URL(edge(side).querySelector("a").href).searchParams.get(side === "older" ? "before" : "after"));
  }
  new ResizeObserver(() => {
    const before = width;
    measure();
    if (before === width) return;
    keepingPlace(() => {
      for (const section of sheets()) {
        // As much picture on another width: about the height that it will have.
        if (section.classList.contains("dropped")) section.style.height = `${(parseFloat(section.style.height) * section.dataset.across) / width}px`;
        else layOut(section);
        section.dataset.across = width;
      }
    });
  }).observe(root);

  window.rollcall.grid = { root, tiles, sheets, keyOf, pkOf, address, ask, isAbove, add, remove, removeAll, refresh, renew, recount, reveal, jump, goToEnd, toolbar };
  comeBack();
})();
