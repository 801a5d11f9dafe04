// What every page has: toasts, menus that close, questions before deletions, and polls that rest
// while nobody looks. No page needs it to work.
"use strict";

(() => {
  const toasts = () => document.getElementById("toasts");

  function toast(text, level = "info") {
    const box = document.createElement("div");
    box.className = `toast ${level}`;
    if (level === "error") box.setAttribute("role", "alert");
    const words = document.createElement("p");
    words.textContent = text;
    const close = document.createElement("button");
    close.type = "button";
    close.className = "toast-close";
    close.dataset.closeToast = "";
    close.setAttribute("aria-label", "Dismiss");
    close.append(icon("x"));
    box.append(icon(level === "error" || level === "warning" ? "warning" : level === "success" ? "check" : "info"), words, close);
    toasts()?.append(box);
    return box;
  }

  function icon(name) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", "icon");
    svg.setAttribute("aria-hidden", "true");
    const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
    use.setAttribute("href", `#i-${name}`);
    svg.append(use);
    return svg;
  }

  // The chosen one of tabs that are wider than the screen is in sight.
  function showChosen() {
    for (const tab of document.querySelectorAll(".filters > [aria-current]")) {
      const strip = tab.parentElement;
      if (strip.scrollLeft || strip.scrollWidth <= strip.clientWidth) continue;
      const [own, around] = [tab, strip].map((one) => one.getBoundingClientRect());
      if (own.right > around.right) strip.scrollLeft = own.left - around.left - (around.width - own.width) / 2;
    }
  }
  showChosen();
  for (const name of ["htmx:afterSwap", "htmx:oobAfterSwap"]) document.addEventListener(name, showChosen);

  window.rollcall = { toast, icon, showChosen };

  document.addEventListener("animationend", (event) => {
    if (event.animationName === "toast-out") event.target.remove();
  });

  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    if (!target) return;
    target.closest("[data-close-toast]")?.closest(".toast")?.remove();
    for (const menu of document.querySelectorAll("details.menu[open], details.team-menu[open], details.more[open]")) {
      if (!menu.contains(target)) menu.open = false;
    }
    const copy = target.closest("[data-copy]");
    if (copy) {
      const byHand = () => toast("The browser did not allow copying. Select the text and copy it by hand.", "error");
      // Over plain HTTP on a network there is no clipboard.
      if (!navigator.clipboard) byHand();
      else navigator.clipboard.writeText(copy.dataset.copy).then(() => toast("Copied.", "success"), byHand);
    }
    const opener = target.closest("[data-dialog]");
    if (opener) {
      event.preventDefault();
      document.getElementById(opener.dataset.dialog)?.showModal();
    }
    if (target.closest("[data-close-dialog]")) {
      event.preventDefault();
      target.closest("dialog")?.close();
    }
  });

  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const menu = document.querySelector("details.menu[open], details.team-menu[open], details.more[open]");
    if (!menu) return;
    menu.open = false;
    menu.querySelector("summary")?.focus();
    event.stopImmediatePropagation();
  }, true);

  document.addEventListener("submit", (event) => {
    const question = event.submitter?.dataset.confirm || event.target.dataset.confirm;
    if (question && !window.confirm(question)) {
      event.preventDefault();
      event.stopImmediatePropagation();
    }
  }, true);

  document.addEventListener("change", (event) => {
    if (event.target.matches?.("[data-submit]")) event.target.form?.requestSubmit();
  });

  // --- htmx ---

  // A page in the background asks nothing; when it is looked at again, it asks at once.
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden && event.detail.elt.matches?.("[data-poll]")) {
      event.preventDefault();
      event.detail.elt.dataset.asleep = "";
    }
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    for (const poll of document.querySelectorAll("[data-poll][data-asleep]")) {
      delete poll.dataset.asleep;
      window.htmx?.trigger(poll, "wake");
    }
  });

  let offline = null;
  const isPoll = (event) => event.detail.elt?.matches?.("[data-poll]");

  document.addEventListener("htmx:responseError", (event) => {
    const { xhr } = event.detail;
    if (isPoll(event) && xhr.status !== 403 && xhr.status !== 404) return wakeLater(event.detail.elt);
    const plain = (xhr.getResponseHeader("Content-Type") || "").startsWith("text/plain");
    const words = plain && xhr.responseText.length < 400 ? xhr.responseText
      : xhr.status === 404 ? "That is not here any more. Reload the page."
      : xhr.status === 403 ? "You can't do that here. Reload the page if you signed in anew."
      : xhr.status === 413 ? "That is too large."
      : "Something went wrong on the server. Try again in a moment.";
    toast(words, "error");
  });
  document.addEventListener("htmx:sendError", (event) => {
    if (!offline?.isConnected) offline = toast("The server can't be reached. Trying again…", "error");
    if (isPoll(event)) wakeLater(event.detail.elt);
  });
  document.addEventListener("htmx:afterOnLoad", () => {
    if (offline) offline.remove();
    offline = null;
  });

  function wakeLater(poll) {
    window.setTimeout(() => poll.isConnected && window.htmx?.trigger(poll, "wake"), 8000);
  }
})();
