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
