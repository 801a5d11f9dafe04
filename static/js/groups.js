// Choosing several groups: the bar says how many, and Enter in a name's field goes on to the next.
"use strict";

(() => {
  const bar = document.querySelector("[data-groups-bar]");
  if (!bar) return;
  const boxes = [...document.querySelectorAll("[data-group]")];

  function count() {
    const chosen = boxes.filter((box) => box.checked).length;
    bar.hidden = chosen < 2;
    bar.querySelector("[data-groups-words]").textContent = `Make these ${chosen} groups one`;
  }

  document.addEventListener("change", (event) => { if (event.target.matches?.("[data-group]")) count(); });
  window.addEventListener("pageshow", count);
  count();

  // Whoever has just named one names the next, which is on top now.
  const hasNamed = new URLSearchParams(window.location.search).has("done");
  if (hasNamed && window.matchMedia("(hover: hover)").matches) {
    document.querySelector(".group-name [role=combobox]")?.focus({ preventScroll: true });
  }
})();
