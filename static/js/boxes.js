// The faces on a photo: names that stay readable at every size, and boxes and entries that point at
// each other. Whatever photo stands in #stage just now.
"use strict";

(() => {
  const boxesOf = () => document.getElementById("boxes");
  let chosen = null;

  // How the photo lies on the screen, zoomed or not: pixels of the screen a pixel of the photo, and
  // where its corner is.
  function placed() {
    const boxes = boxesOf();
    if (!boxes) return null;
    const frame = boxes.getBoundingClientRect();
    const { width, height } = boxes.viewBox.baseVal;
    if (!frame.width || !frame.height || !width) return null;
    const scale = Math.min(frame.width / width, frame.height / height);
    return {
      scale,
      width,
      height,
      left: frame.left + (frame.width - width * scale) / 2,
      top: frame.top + (frame.height - height * scale) / 2,
    };
  }

  function fit() {
    const boxes = boxesOf();
    const photo = placed();
    if (!photo) return;
    const pixel = 1 / photo.scale;
    boxes.style.setProperty("--pixel", pixel);
    boxes.classList.add("fitted");
    const size = 13.5 * pixel;
    const taken = [];
    for (const text of boxes.querySelectorAll("text")) {
      const { x, y, width: wide, height: high } = rectOf(text.parentElement.querySelector("rect"));
      const words = shorten(text, Math.min(Math.max(2 * wide, LONGEST * size), photo.width - size / 2));
      const length = text.getComputedTextLength();
      const left = Math.max(0, Math.min(x, photo.width - length - size / 2));
      short.set(text, { words, left });
      // Below the box, else above it; where both is over another name, only when it is pointed at.
      const spots = [{ at: y + high, dy: 1.3 }, { at: y, dy: -0.45 }].filter(
        ({ at, dy }) => at + (dy - 1) * size > 0 && at + (dy + 0.3) * size < photo.height,
      );
      const free = spots.find((spot) => !taken.some((other) => clash(other, left, spot, length, size)));
      const { at, dy } = free || spots[0] || { at: y + high, dy: -0.5 };
      text.setAttribute("x", left);
      text.setAttribute("y", at);
      text.setAttribute("dy", `${dy}em`);
      text.classList.toggle("crowded", !free);
      const hidden = getComputedStyle(text).visibility === "hidden";
      if (free && !hidden) taken.push({ left, right: left + length, bottom: at + dy * size });
    }
    spelled = null;
    spell();
  }
  const rectOf = (rect) => ({
    x: rect.x.baseVal.value, y: rect.y.baseVal.value, width: rect.width.baseVal.value, height: rect.height.baseVal.value,
  });

  // A long name would lie across everybody else: it ends in an ellipsis, unless it is pointed at.
  const LONGEST = 12;
  const short = new WeakMap();
  const names = new WeakMap();
  const isRightToLeft = (name) => /^[^\p{L}]*[\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}\p{Script=Nko}]/u.test(name);
  function nameOf(text) {
    if (!names.has(text)) {
      names.set(text, text.textContent);
      // Its end is then on the left, where every label begins.
      if (isRightToLeft(text.textContent)) {
        text.setAttribute("direction", "rtl");
        text.setAttribute("text-anchor", "end");
      }
    }
    return names.get(text);
  }
  const write = (text, words) => {
    if (text.textContent !== words) text.textContent = words;
    return text.getComputedTextLength();
  };
  function shorten(text, room) {
    const name = nameOf(text);
    if (write(text, name) <= room) return name;
    const letters = lettersOf(name.replace(/\?$/, ""));
    const cut = (count) => `${letters.slice(0, count).join("").trimEnd()}…${name.endsWith("?") ? "?" : ""}`;
    let [least, most] = [1, letters.length - 1];
    while (least < most) {
      const middle = Math.ceil((least + most) / 2);
      if (write(text, cut(middle)) <= room) least = middle;
      else most = middle - 1;
    }
    write(text, cut(least));
    return cut(least);
  }
  const lettersOf = (name) => (Intl.Segmenter ? Array.from(new Intl.Segmenter().segment(name), ({ segment }) => segment) : [...name]);
  // The whole name at the box that is pointed at, and the short one again at the one before.
  let spelled = null;
  function spell() {
    const text = boxesOf()?.querySelector(".box.active text") || null;
    if (text === spelled) return;
    const before = spelled && short.get(spelled);
    if (before) {
      write(spelled, before.words);
      spelled.setAttribute("x", before.left);
    }
    for (const other of boxesOf()?.querySelectorAll("text[opacity]") || []) other.removeAttribute("opacity");
    spelled = text;
    const photo = text && short.has(text) && placed();
    if (!photo) return;
    const size = 13.5 / photo.scale;
    const { x } = rectOf(text.parentElement.querySelector("rect"));
    if (shorten(text, photo.width - size / 2) === short.get(text).words) return;
    text.setAttribute("x", Math.max(0, Math.min(x, photo.width - text.getComputedTextLength() - size / 2)));
    // Those that it lies over now would make both unreadable.
    const own = text.getBBox();
    for (const other of boxesOf().querySelectorAll("text")) {
      const { x: left, y: top, width, height } = other.getBBox();
      const isApart = left > own.x + own.width || own.x > left + width || top > own.y + own.height || own.y > top + height;
      if (other !== text && !isApart) other.setAttribute("opacity", "0");
    }
  }
  function clash(other, left, { at, dy }, length, size) {
    const apart = Math.abs(other.bottom - (at + dy * size)) > 1.2 * size;
    return !apart && left < other.right + size / 2 && other.left < left + length + size / 2;
  }
  const watch = new ResizeObserver(fit);
  function start() {
    watch.disconnect();
    const stage = document.getElementById("stage");
    if (stage) watch.observe(stage);
    if (chosen && document.getElementById(`face-${chosen}`)) mark(chosen);
    else choose(null);
    fit();
  }
  for (const name of ["htmx:afterSwap", "htmx:oobAfterSwap"]) {
    document.addEventListener(name, () => requestAnimationFrame(start));
  }

  // --- Boxes and entries ---

  function mark(pk) {
    for (const element of document.querySelectorAll("[data-face].active")) element.classList.remove("active");
    if (pk) for (const element of document.querySelectorAll(`[data-face="${pk}"]`)) element.classList.add("active");
    spell();
  }
  const faceOf = (target) => target?.closest?.("[data-face]")?.dataset.face;
  // The face that somebody works on, by focus or by a link to it: not one that the mouse passes.
  function choose(pk) {
    mark(pk);
    if ((pk || null) === chosen) return;
    chosen = pk || null;
    document.dispatchEvent(new CustomEvent("viewer:face"));
  }

  document.addEventListener("pointerover", (event) => {
    if (event.pointerType !== "touch") mark(faceOf(event.target) || faceOf(document.activeElement) || chosen);
  });
  document.addEventListener("focusin", (event) => choose(faceOf(event.target)));
  document.addEventListener("click", (event) => {
    const box = event.target.closest?.("a.box");
    if (!box && event.target.closest?.("#stage")) choose(null);
    if (!box) return;
    event.preventDefault();
    open(document.getElementById(`face-${box.dataset.face}`));
  });

  function open(row) {
    if (!row) return;
    document.dispatchEvent(new CustomEvent("viewer:faces"));
    row.scrollIntoView({ block: "nearest", behavior: calm() ? "auto" : "smooth" });
    const field = row.querySelector("[role=combobox]");
    (field || row).focus({ preventScroll: true });
    choose(row.dataset.face);
  }
  // As a link to it does: its name may be typed next, and the keys of the viewer go on to work.
  function point(pk) {
    const row = document.getElementById(`face-${pk}`);
    if (!row) return;
    row.scrollIntoView({ block: "nearest" });
    row.focus({ preventScroll: true });
    choose(pk);
  }
  const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

  // The unknown face that has the focus itself, as after a name was saved; else the one after the
  // face that has it, or the first from the left. Where the mouse rests is no matter.
  function nextUnknown() {
    const all = [...document.querySelectorAll("#faces .face-row")];
    const unknown = all.filter((row) => row.classList.contains("unknown"));
    const at = all.findIndex((row) => row.dataset.face === faceOf(document.activeElement));
    const here = unknown.find((row) => row === document.activeElement);
    const next = here || unknown.find((row) => all.indexOf(row) > at) || unknown[0];
    open(next);
    return Boolean(next);
  }

  window.rollcall.faces = { placed, fit, start, open, point, choose, chosen: () => chosen, nextUnknown };
  start();
})();
