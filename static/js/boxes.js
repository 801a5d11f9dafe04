// The faces on a photo: names that stay readable at every size, and boxes and entries that point at
// each other. Whatever photo stands in #stage just now.
"use strict";

(() => {
  const boxesOf = () => document.getElementById("boxes");

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
      const { x, y, height: high } = rectOf(text.parentElement.querySelector("rect"));
      const length = text.getComputedTextLength();
      const left = Math.max(0, Math.min(x, photo.width - length - size / 2));
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
  }
  const rectOf = (rect) => ({
    x: rect.x.baseVal.value, y: rect.y.baseVal.value, height: rect.height.baseVal.value,
  });
  function clash(other, left, { at, dy }, length, size) {
    const apart = Math.abs(other.bottom - (at + dy * size)) > 1.2 * size;
    return !apart && left < other.right + size / 2 && other.left < left + length + size / 2;
  }
  const watch = new ResizeObserver(fit);
  function start() {
    watch.disconnect();
    const stage = document.getElementById("stage");
    if (stage) watch.observe(stage);
    fit();
  }
  for (const name of ["htmx:afterSwap", "htmx:oobAfterSwap"]) {
    document.addEventListener(name, () => requestAnimationFrame(start));
  }

  // --- Boxes and entries ---

  function mark(pk) {
    for (const element of document.querySelectorAll("[data-face].active")) element.classList.remove("active");
    if (!pk) return;
    for (const element of document.querySelectorAll(`[data-face="${pk}"]`)) element.classList.add("active");
  }
  const faceOf = (target) => target.closest?.("[data-face]")?.dataset.face;

  document.addEventListener("pointerover", (event) => {
    if (event.pointerType !== "touch") mark(faceOf(event.target) || faceOf(document.activeElement || document.body));
  });
  document.addEventListener("focusin", (event) => mark(faceOf(event.target)));
  document.addEventListener("click", (event) => {
    const box = event.target.closest?.("a.box");
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
    mark(row.dataset.face);
  }
  const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

  // The unknown face that has the focus itself, as after a name was saved; else the one after the
  // one that is marked, or the first from the left.
  function nextUnknown() {
    const all = [...document.querySelectorAll("#faces .face-row")];
    const unknown = all.filter((row) => row.classList.contains("unknown"));
    const at = all.findIndex((row) => row.classList.contains("active"));
    const here = unknown.find((row) => row === document.activeElement);
    const next = here || unknown.find((row) => all.indexOf(row) > at) || unknown[0];
    open(next);
    return Boolean(next);
  }

  window.rollcall.faces = { placed, fit, start, open, nextUnknown };
  start();
})();
