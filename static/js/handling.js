// Ticking photos: how many, and all of one heap at once.
"use strict";

(() => {
  const form = document.querySelector("[data-picking]");
  if (!form) return;
  const words = form.querySelector("[data-picked]");
  const idle = words.textContent;
  const send = form.querySelector(".pick-bar .btn");
  const boxes = (root) => [...root.querySelectorAll("[name=photo]")];
  function tell() {
    const count = boxes(form).filter((box) => box.checked).length;
    words.textContent = count ? `${count} photo${count === 1 ? "" : "s"} selected` : idle;
    send.disabled = !count;
    form.classList.toggle("picking", count > 0);
    for (const button of form.querySelectorAll("[data-pick-all]")) {
      const own = boxes(button.closest("section"));
      button.textContent = own.every((box) => box.checked) ? "Select none" : "Select all";
    }
  }
  for (const button of form.querySelectorAll("[data-pick-all]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const own = boxes(button.closest("section"));
      const on = !own.every((box) => box.checked);
      for (const box of own) box.checked = on;
      tell();
    });
  }
  // With Shift all from the last one that was ticked.
  let last = null;
  form.addEventListener("click", (event) => {
    if (event.target.name !== "photo") return;
    const all = boxes(form);
    if (event.shiftKey && last) {
      const [from, to] = [all.indexOf(last), all.indexOf(event.target)].sort((a, b) => a - b);
      for (const box of all.slice(from, to + 1)) box.checked = event.target.checked;
    }
    last = event.target;
    tell();
  });
  form.addEventListener("change", tell);
  window.addEventListener("pageshow", tell);
  tell();
})();
