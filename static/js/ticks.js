// A grid of faces with a tick each: arrows go, Space ticks, Shift takes all between, Enter sends; and
// Backspace takes back what was done last, on lists without a grid as well. The boxes and buttons
// work without this.
"use strict";

(() => {
  let isTakenBack = false;
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Backspace" || event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey) return;
    const active = document.activeElement;
    const isEmptyName = active?.matches?.("[role=combobox]") && active.value === "";
    const isTyping = active?.matches?.("input:not([type=checkbox]), select, textarea");
    const undo = document.querySelector('[data-key="undo"]');
    if (!undo || event.repeat || (isTyping && !isEmptyName)) return;
    event.preventDefault();
    if (!isTakenBack) undo.click();
    isTakenBack = true;
  });
  window.addEventListener("pageshow", () => { isTakenBack = false; });

  const form = document.querySelector("[data-ticks-form]");
  if (!form) return;
  const boxes = [...form.querySelectorAll("[data-ticks] input[type=checkbox]")];
  let anchor = null;
  let isSent = false;

  function count() {
    const ticked = boxes.filter((box) => box.checked).length;
    const left = boxes.length - ticked;
    for (const words of form.querySelectorAll("[data-words]")) {
      const [all, some, none] = words.dataset.words.split("|");
      const text = left === 0 ? all : ticked === 0 ? none : some;
      words.textContent = text.replaceAll("{n}", ticked).replaceAll("{m}", left).replaceAll("{is}", left === 1 ? "is" : "are");
    }
    const only = form.querySelector('[data-key="confirm"]');
    if (only) {
      only.hidden = left === 0 || ticked === 0;
      only.textContent = `Confirm ${ticked}, leave the other${left === 1 ? "" : "s"}`;
    }
    for (const button of form.querySelectorAll("[data-needs-left]")) button.disabled = left === 0;
    for (const button of form.querySelectorAll("[data-needs-ticked]")) button.disabled = ticked === 0;
  }

  function range(from, to, checked) {
    const [low, high] = from < to ? [from, to] : [to, from];
    for (let at = low; at <= high; at += 1) boxes[at].checked = checked;
  }

  form.addEventListener("click", (event) => {
    const box = event.target.closest?.("input[type=checkbox]");
    const at = boxes.indexOf(box);
    if (at < 0) return;
    if (event.shiftKey && anchor !== null) range(anchor, at, box.checked);
    anchor = at;
    count();
  });

  const columns = () => {
    const top = boxes[0].closest("li").offsetTop;
    const beyond = boxes.findIndex((box) => box.closest("li").offsetTop > top);
    return beyond < 0 ? boxes.length : beyond;
  };

  function go(by) {
    const at = boxes.indexOf(document.activeElement);
    const to = at < 0 ? 0 : Math.min(Math.max(at + by, 0), boxes.length - 1);
    boxes[to].focus();
    boxes[to].closest("li").scrollIntoView({ block: "nearest" });
    return [at, to];
  }

  document.addEventListener("keydown", (event) => {
    const active = document.activeElement;
    const isOnBox = boxes.includes(active);
    if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey) return;
    if (!isOnBox && active?.matches?.("input, select, textarea, summary, button, a")) return;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns(), ArrowDown: columns() };
    if (event.key in steps) {
      event.preventDefault();
      const [from, to] = go(steps[event.key]);
      if (event.shiftKey && from >= 0) {
        range(from, to, boxes[from].checked);
        count();
      }
      anchor = to;
    } else if (event.key === "Enter") {
      const first = form.querySelector('[data-key="both"]');
      if (!first) return;
      event.preventDefault();
      if (!event.repeat) form.requestSubmit(first);
    }
  });

  // A second press while the first is under way would decide on faces that nobody has seen.
  form.addEventListener("submit", (event) => {
    if (isSent) event.preventDefault();
    isSent = true;
  });
  window.addEventListener("pageshow", () => { isSent = false; count(); });
  count();
})();
