// Tiles of photos that are still being worked on: one request asks about all of them.
"use strict";

(() => {
  const tiles = document.getElementById("tiles");

  // Those on screen come first where there are too many for one request.
  const MOST_ASKED = 80;
  document.addEventListener("htmx:configRequest", (event) => {
    if (event.detail.elt.id !== "poller") return;
    const inputs = [...tiles.querySelectorAll("[name=busy]")];
    const visible = (input) => {
      const { top, bottom } = input.parentElement.getBoundingClientRect();
      return bottom > 0 && top < innerHeight;
    };
    const asked = inputs.length > MOST_ASKED
      ? [...inputs.filter(visible), ...inputs.filter((input) => !visible(input)).reverse()].slice(0, MOST_ASKED)
      : inputs;
    event.detail.parameters.delete("busy");
    for (const input of asked) event.detail.parameters.append("busy", input.value);
  });
  // A tile that came while a request was on its way must not be forgotten.
  document.addEventListener("htmx:afterSettle", (event) => {
    if (event.detail.elt.id === "poller" || document.getElementById("poller") === event.target) wake();
  });
  function wake() {
    const poller = document.getElementById("poller");
    if (tiles.querySelector("[name=busy]") && !poller?.getAttribute("hx-trigger").includes("load")) {
      window.htmx.trigger(document.body, "busy");
    }
  }
})();
