// The number beside the slider follows it.
"use strict";

document.addEventListener("input", (event) => {
  if (event.target.matches?.("[data-threshold]")) {
    event.target.parentElement.querySelector("output").textContent = `${event.target.value}%`;
  }
});
