// Zooming and moving the photo on the stage: wheel, pinch, double click, keys; and the swipe to the
// next one. What is transformed is the frame that holds picture and boxes.
"use strict";

(() => {
  const MOST = 8;
  const view = { scale: 1, x: 0, y: 0 };
  const stage = () => document.getElementById("stage");
  const frame = () => document.querySelector("#stage .stage-frame");
  const isDrawing = () => stage()?.classList.contains("drawing");

  function apply() {
    const target = frame();
    if (!target) return;
    const { clientWidth: wide, clientHeight: high } = stage();
    const room = (size) => (view.scale - 1) * size;
    view.x = Math.min(0, Math.max(-room(wide), view.x));
    view.y = Math.min(0, Math.max(-room(high), view.y));
    target.style.transform = view.scale === 1 ? "" : `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
    target.style.setProperty("--zoom", view.scale);
    stage().classList.toggle("zoomed", view.scale > 1);
    requestAnimationFrame(window.rollcall.faces.fit);
    sharpen();
  }

  // Where the large rendition has no more to show, the original comes in.
  function sharpen() {
    const image = document.querySelector("#stage .stage-image[data-original]");
    const photo = window.rollcall.faces.placed();
    if (!image || !photo || view.scale === 1) return;
    const side = Math.max(photo.width, photo.height);
    if (photo.scale * side * devicePixelRatio < 2560 * 1.15) return;
    const original = new Image();
    original.src = image.dataset.original;
    delete image.dataset.original;
    original.decode().then(() => {
      if (!image.isConnected) return;
      image.removeAttribute("srcset");
      image.src = original.src;
    }, () => {});
  }

  function zoomAt(factor, clientX, clientY) {
    const box = stage()?.getBoundingClientRect();
    if (!box || !frame()) return;
    const [px, py] = [(clientX ?? box.left + box.width / 2) - box.left, (clientY ?? box.top + box.height / 2) - box.top];
    const scale = Math.min(MOST, Math.max(1, view.scale * factor));
    const by = scale / view.scale;
    view.x = px - (px - view.x) * by;
    view.y = py - (py - view.y) * by;
    view.scale = scale;
    apply();
  }
  function reset() {
    Object.assign(view, { scale: 1, x: 0, y: 0 });
    apply();
  }

  document.addEventListener("wheel", (event) => {
    if (!event.target.closest?.("#stage") || !frame()) return;
    // On a narrow screen the wheel moves the page under the photo.
    if (!event.ctrlKey && innerWidth < 1000) return;
    event.preventDefault();
    zoomAt(Math.exp(-event.deltaY * (event.ctrlKey ? 0.012 : 0.0022)), event.clientX, event.clientY);
  }, { passive: false });

  document.addEventListener("dblclick", (event) => {
    if (!event.target.closest?.("#stage") || isDrawing()) return;
    event.preventDefault();
    if (view.scale > 1) reset();
    else zoomAt(2.5, event.clientX, event.clientY);
  });

  // --- Pointers: one moves or swipes, two pinch ---

  const pointers = new Map();
  let moved = false;
  let swipe = null;
  let lastTap = null;
  document.addEventListener("pointerdown", (event) => {
    if (!event.target.closest?.("#stage") || isDrawing() || event.button > 0) return;
    pointers.set(event.pointerId, event);
    moved = false;
    swipe = pointers.size === 1 && event.pointerType === "touch" && view.scale === 1 ? { x: event.clientX, y: event.clientY, at: event.timeStamp, by: 0 } : null;
  });
  document.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
    if (pointers.size === 2) {
      const other = [...pointers.values()].find((one) => one.pointerId !== event.pointerId);
      const gap = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) || 1;
      view.x += dx / 2;
      view.y += dy / 2;
      zoomAt(gap(event) / gap(before), (event.clientX + other.clientX) / 2, (event.clientY + other.clientY) / 2);
      moved = true;
    } else if (view.scale > 1) {
      if (!moved && Math.hypot(dx, dy) < 4) return;
      view.x += dx;
      view.y += dy;
      moved = true;
      apply();
    } else if (swipe) {
      swipe.by = event.clientX - swipe.x;
      if (Math.abs(swipe.by) > 8 && Math.abs(swipe.by) > Math.abs(event.clientY - swipe.y)) {
        moved = true;
        frame()?.style.setProperty("transform", `translateX(${swipe.by}px)`);
      }
      return;
    }
    pointers.set(event.pointerId, event);
  });
  function end(event) {
    if (!pointers.delete(event.pointerId)) return;
    if (swipe && moved && event.type === "pointerup") {
      const quick = Math.abs(swipe.by) / Math.max(1, event.timeStamp - swipe.at) > 0.5;
      const link = document.getElementById(swipe.by < 0 ? "older" : "newer");
      if (link && (Math.abs(swipe.by) > Math.min(120, innerWidth / 4) || (quick && Math.abs(swipe.by) > 30))) link.click();
      else frame()?.style.removeProperty("transform");
    } else if (swipe && moved) frame()?.style.removeProperty("transform");
    else if (swipe && event.type === "pointerup" && !event.target.closest?.("a")) {
      // A phone has no double click of its own here.
      if (lastTap && event.timeStamp - lastTap.timeStamp < 300 && Math.hypot(event.clientX - lastTap.clientX, event.clientY - lastTap.clientY) < 30) {
        zoomAt(2.5, event.clientX, event.clientY);
        lastTap = null;
      } else lastTap = event;
    } else if (event.pointerType === "touch" && view.scale > 1 && !moved && event.type === "pointerup") {
      if (lastTap && event.timeStamp - lastTap.timeStamp < 300) reset();
      lastTap = event;
    }
    swipe = null;
  }
  document.addEventListener("pointerup", end);
  document.addEventListener("pointercancel", end);
  // The end of a move is no click on the box below.
  document.addEventListener("click", (event) => {
    if (moved && event.target.closest?.("#stage")) {
      event.preventDefault();
      event.stopPropagation();
    }
    moved = false;
  }, true);
  document.addEventListener("dragstart", (event) => {
    if (event.target.closest?.("#stage")) event.preventDefault();
  });

  window.rollcall.zoom = {
    in: () => zoomAt(1.5), out: () => zoomAt(1 / 1.5), reset, isZoomed: () => view.scale > 1,
    toggle: () => (view.scale > 1 ? reset() : zoomAt(2.5)),
  };
})();
