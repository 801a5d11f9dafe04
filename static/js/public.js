// Pages behind public links. Without it every link works as it is: this loads more photos as one
// scrolls, and turns photos by keys and by swiping.
"use strict";

(() => {
  const wall = document.getElementById("wall");
  const byId = (id) => document.getElementById(id);

  async function more(link) {
    try {
      const response = await fetch(link.href);
      if (!response.ok) throw new Error(String(response.status));
      const page = new DOMParser().parseFromString(await response.text(), "text/html");
      wall.append(...page.querySelectorAll("#wall > li"));
      const next = page.getElementById("more");
      if (next) {
        link.href = new URL(next.getAttribute("href"), link.href).href;
        watch.observe(link);
      } else link.parentElement.remove();
    } catch {
      // The link itself still leads there.
    }
  }
  const watch = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      watch.unobserve(target);
      more(target);
    }
  }, { rootMargin: "150% 0px" });
  if (wall && byId("more")) watch.observe(byId("more"));

  // --- Going to a photo, turning, and coming back to its place ---

  // Turning takes the place of the page in the history: going back leads to all the photos, to the
  // one that was seen last. How long the history was says whether the page before is that one.
  const home = location.pathname.replace(/photo\/[0-9]+\/$/, "");
  const up = byId("up");
  const recall = (name) => {
    try {
      return sessionStorage.getItem(`${name}:${home}`);
    } catch {
      return null;
    }
  };
  const remember = (name, value) => {
    try {
      if (value === null) sessionStorage.removeItem(`${name}:${home}`);
      else sessionStorage.setItem(`${name}:${home}`, value);
    } catch {
      // A browser that keeps nothing: links lead there all the same.
    }
  };
  const isPlain = (event) => !(event.defaultPrevented || event.button || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey);

  wall?.addEventListener("click", (event) => {
    if (event.target.closest("a") && isPlain(event)) remember("from", "here");
  });
  if (up) {
    if (recall("from") === "here") remember("from", String(history.length));
    else if (recall("from") !== String(history.length)) remember("from", null);
    remember("last", `${up.dataset.photo} ${up.getAttribute("href")}`);
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("#newer, #older, #up");
    if (!link || !isPlain(event)) return;
    event.preventDefault();
    if (link === up && recall("from")) history.back();
    else location.replace(link.href);
  });
  function comeBack() {
    const [pk, place] = (recall("last") || "").split(" ");
    remember("last", null);
    remember("from", null);
    if (!pk) return;
    const photo = byId(`photo-${pk}`);
    if (!photo) {
      location.replace(place);
      return;
    }
    const { top, bottom } = photo.getBoundingClientRect();
    if (top < 0 || bottom > innerHeight) photo.scrollIntoView({ block: "center" });
    photo.querySelector("a").focus({ preventScroll: true });
  }
  if (wall) {
    addEventListener("pageshow", (event) => {
      const [way] = performance.getEntriesByType("navigation");
      if (event.persisted || way?.type === "back_forward") comeBack();
      else remember("last", null);
    });
  }

  const go = (id) => byId(id)?.click();
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowLeft") go("newer");
    if (event.key === "ArrowRight") go("older");
    if (event.key === "Escape") go("up");
  });
  const stage = document.querySelector(".stage");
  let start = null;
  stage?.addEventListener("touchstart", (event) => {
    start = event.touches.length === 1 ? event.touches[0] : null;
  }, { passive: true });
  stage?.addEventListener("touchend", (event) => {
    if (!start || (window.visualViewport?.scale ?? 1) > 1.05) return;
    const end = event.changedTouches[0];
    const across = end.clientX - start.clientX;
    if (Math.abs(across) > 60 && Math.abs(across) > 2 * Math.abs(end.clientY - start.clientY)) go(across > 0 ? "newer" : "older");
    start = null;
  });
  // The next one is there when it is asked for.
  for (const id of ["older", "newer"]) {
    const link = byId(id);
    if (link) new Image().src = `${link.href}large`;
  }
})();
