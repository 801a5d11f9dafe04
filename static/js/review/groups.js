// Choosing several groups: the bar shows how many. After one was named, the next name is focused.

import { all, find, matches, need } from "../shared/dom.js";

/** @param {HTMLElement} bar */
function attach(bar) {
  const words = need("[data-groups-words]", HTMLElement, bar);
  function count() {
    const chosen = all("[data-group]", HTMLInputElement).filter((box) => box.checked).length;
    bar.hidden = chosen < 2;
    words.textContent = `Make these ${chosen} groups one`;
  }
  document.addEventListener("change", ({ target }) => { if (matches(target, "[data-group]")) count(); });
  window.addEventListener("pageshow", count);
  count();

  // After a group was named, focus the name of the next one, which is on top now.
  const hasNamed = new URLSearchParams(window.location.search).has("done");
  if (hasNamed && window.matchMedia("(hover: hover)").matches) {
    find(".group-name [role=combobox]", HTMLInputElement)?.focus({ preventScroll: true });
  }
}

const bar = find("[data-groups-bar]", HTMLElement);
if (bar) attach(bar);
