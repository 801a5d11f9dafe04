// Drawing a box around a face that was missed: by mouse, finger or keyboard, exact at every size and
// zoom, since it is kept in the photo's own pixels all the time.
"use strict";

(() => {
  const form = () => document.getElementById("draw");
  const stage = () => document.getElementById("stage");
  const SVG = "http://www.w3.org/2000/svg";
  const HANDLES = ["nw", "n", "ne", "e", "se", "s", "sw", "w"];
  let box = null;
  let held = null;

  const isOn = () => Boolean(form() && !form().hidden);

  function start() {
    if (!form() || isOn()) return;
    box = null;
    form().hidden = false;
    stage().classList.add("drawing");
    form().classList.remove("has-box");
    pressed(true);
    document.activeElement?.blur?.();
    const layer = document.createElementNS(SVG, "g");
    layer.id = "drawn";
    document.getElementById("boxes").append(layer);
  }
  function stop() {
    if (!form()) return;
    form().hidden = true;
    form().reset();
    stage()?.classList.remove("drawing");
    document.getElementById("drawn")?.remove();
    box = held = null;
    pressed(false);
  }
  function pressed(isDown) {
    document.querySelector(".viewer-tools [data-do=draw]")?.setAttribute("aria-pressed", String(isDown));
  }

  const size = () => ({ width: Number(form().dataset.width), height: Number(form().dataset.height) });
  // What can still be seen and named; the server has a bound of its own.
  const least = () => Math.max(12, Math.round(Math.min(size().width, size().height) / 100));

  function show() {
    // The layer goes with the boxes when a poll renews them.
    let layer = document.getElementById("drawn");
    if (!layer) {
      layer = document.createElementNS(SVG, "g");
      layer.id = "drawn";
      document.getElementById("boxes").append(layer);
    }
    const { left, top, right, bottom } = ordered();
    const parts = [["rect", "halo"], ["rect", "line"]].map(([name, css]) => {
      const rect = document.createElementNS(SVG, name);
      rect.setAttribute("class", css);
      for (const [key, value] of Object.entries({ x: left, y: top, width: right - left, height: bottom - top })) rect.setAttribute(key, value);
      return rect;
    });
    const handles = HANDLES.map((side) => {
      const dot = document.createElementNS(SVG, "circle");
      dot.setAttribute("class", `handle ${side}`);
      dot.dataset.side = side;
      dot.setAttribute("cx", side.includes("w") ? left : side.includes("e") ? right : (left + right) / 2);
      dot.setAttribute("cy", side.includes("n") ? top : side.includes("s") ? bottom : (top + bottom) / 2);
      dot.setAttribute("r", 6 / window.rollcall.faces.placed().scale);
      return dot;
    });
    layer.replaceChildren(...parts, ...handles);
    for (const [name, value] of Object.entries({ left, top, right, bottom })) form().elements[name].value = Math.round(value);
    form().classList.add("has-box");
  }
  const ordered = () => ({
    left: Math.min(box.left, box.right), right: Math.max(box.left, box.right),
    top: Math.min(box.top, box.bottom), bottom: Math.max(box.top, box.bottom),
  });
  const clamp = (value, most) => Math.min(Math.max(value, 0), most);

  function pointOf(event) {
    const photo = window.rollcall.faces.placed();
    return {
      x: clamp((event.clientX - photo.left) / photo.scale, photo.width),
      y: clamp((event.clientY - photo.top) / photo.scale, photo.height),
    };
  }

  document.addEventListener("pointerdown", (event) => {
    if (!isOn() || !event.target.closest?.("#stage") || event.button > 0) return;
    event.preventDefault();
    const at = pointOf(event);
    const side = handleAt(event);
    if (side) held = { side };
    else if (box && inside(at)) held = { from: at, box: { ...ordered() } };
    else {
      held = { side: "se", isNew: true };
      box = { left: at.x, right: at.x, top: at.y, bottom: at.y };
    }
    if (box) box = held.isNew ? box : ordered();
    try {
      stage().setPointerCapture(event.pointerId);
    } catch {
      // A pointer that is gone already.
    }
  });
  // A finger needs more than the dot that is drawn.
  function handleAt(event) {
    if (!box) return null;
    const reach = event.pointerType === "touch" ? 24 : 12;
    let best = null;
    for (const dot of document.querySelectorAll("#drawn .handle")) {
      const round = dot.getBoundingClientRect();
      const off = Math.hypot(round.left + round.width / 2 - event.clientX, round.top + round.height / 2 - event.clientY);
      if (off <= reach && (!best || off < best.off)) best = { off, side: dot.dataset.side };
    }
    return best?.side;
  }
  const inside = ({ x, y }) => {
    const now = ordered();
    return x > now.left && x < now.right && y > now.top && y < now.bottom;
  };
  document.addEventListener("pointermove", (event) => {
    if (!held || !isOn()) return;
    const at = pointOf(event);
    if (held.side) {
      if (held.side.includes("w")) box.left = at.x;
      if (held.side.includes("e")) box.right = at.x;
      if (held.side.includes("n")) box.top = at.y;
      if (held.side.includes("s")) box.bottom = at.y;
    } else {
      const { width, height } = size();
      const dx = clamp(held.box.left + at.x - held.from.x, width - (held.box.right - held.box.left)) - held.box.left;
      const dy = clamp(held.box.top + at.y - held.from.y, height - (held.box.bottom - held.box.top)) - held.box.top;
      box = { left: held.box.left + dx, right: held.box.right + dx, top: held.box.top + dy, bottom: held.box.bottom + dy };
    }
    show();
  });
  document.addEventListener("pointerup", () => {
    if (!held || !isOn()) return;
    const wasNew = held.isNew;
    held = null;
    box = ordered();
    if (box.right - box.left < least() || box.bottom - box.top < least()) {
      // A tap: no box at all.
      box = null;
      document.getElementById("drawn")?.replaceChildren();
      form().classList.remove("has-box");
      return;
    }
    if (wasNew && matchMedia("(hover: hover)").matches) form().elements.label.focus({ preventScroll: true });
  });
  document.addEventListener("pointercancel", () => { held = null; });

  // --- By keyboard: arrows move, Shift and arrows size, Alt one pixel at a time ---

  document.addEventListener("keydown", (event) => {
    if (!isOn() || event.ctrlKey || event.metaKey || event.isComposing) return;
    const typing = event.target.closest?.("input:not([type=hidden])");
    if (event.key === "Escape" && !event.defaultPrevented) {
      event.preventDefault();
      event.stopImmediatePropagation();
      stop();
      return;
    }
    if (typing) return;
    const { width, height } = size();
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!box && (arrow || event.key === "Enter")) {
      const side = Math.min(width, height) / 4;
      box = { left: (width - side) / 2, right: (width + side) / 2, top: (height - side * 1.25) / 2, bottom: (height + side * 1.25) / 2 };
      show();
    } else if (arrow) {
      const step = event.altKey ? 1 : Math.max(1, Math.round(Math.max(width, height) / 100));
      const [dx, dy] = arrow.map((one) => one * step);
      box = ordered();
      if (event.shiftKey) {
        box.right = clamp(Math.max(box.right + dx, box.left + least()), width);
        box.bottom = clamp(Math.max(box.bottom + dy, box.top + least()), height);
      } else {
        const x = clamp(box.left + dx, width - (box.right - box.left)) - box.left;
        const y = clamp(box.top + dy, height - (box.bottom - box.top)) - box.top;
        box = { left: box.left + x, right: box.right + x, top: box.top + y, bottom: box.bottom + y };
      }
      show();
    } else if (event.key === "Enter" && !event.target.closest?.("button, a")) {
      form().elements.label.focus({ preventScroll: true });
    } else return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }, true);

  document.addEventListener("submit", (event) => {
    if (event.target.id === "draw" && !box) event.preventDefault();
  }, true);
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.elt.id === "draw" && event.detail.successful) stop();
  });
  document.addEventListener("htmx:oobAfterSwap", () => { if (isOn() && box) show(); });
  addEventListener("resize", () => { if (isOn() && box) show(); });

  window.rollcall.draw = { toggle: () => (isOn() ? stop() : start()), stop, isOn };
})();
