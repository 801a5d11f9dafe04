// Selecting photos in the trash: shows how many, and selects all of one section at once.

import { CheckBoxes } from "../shared/check_boxes.js";
import { all, find, need } from "../shared/dom.js";
import { many } from "../shared/words.js";

/** @param {ParentNode} root */
const boxesIn = (root) => all("[name=photo]", HTMLInputElement, root);

/** @param {HTMLInputElement[]} boxes */
const areAllChecked = (boxes) => boxes.every((box) => box.checked);

/** @param {HTMLFormElement} form */
function attach(form) {
  const words = need("[data-picked]", HTMLElement, form);
  const idle = words.textContent;
  const send = need(".pick-bar .btn", HTMLButtonElement, form);
  const list = new CheckBoxes(() => boxesIn(form));
  const buttons = all("[data-pick-all]", HTMLButtonElement, form);
  const sectionOf = (/** @type {Element} */ button) => boxesIn(button.closest("section") ?? form);

  function show() {
    list.read();
    const count = list.selected.size;
    words.textContent = count ? `${many(count, "photo")} selected` : idle;
    send.disabled = !count;
    form.classList.toggle("picking", count > 0);
    for (const button of buttons) button.textContent = areAllChecked(sectionOf(button)) ? "Select none" : "Select all";
  }

  for (const button of buttons) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const boxes = sectionOf(button);
      const isOn = !areAllChecked(boxes);
      for (const box of boxes) box.checked = isOn;
      list.selected.endRange();
      show();
    });
  }
  form.addEventListener("click", ({ target, shiftKey }) => {
    if (target instanceof HTMLInputElement && target.name === "photo") list.follow(target, shiftKey);
    show();
  });
  form.addEventListener("change", show);
  window.addEventListener("pageshow", show);
  show();
}

const form = find("[data-picking]", HTMLFormElement);
if (form) attach(form);
