// Check boxes on the page as a selection with Shift ranges.

import { Selection, between } from "./selection.js";

/**
 * A check box, whose value is its key.
 * @typedef {{ value: string, checked: boolean }} Box
 */

/** @template {Box} B */
export class CheckBoxes {
  selected = new Selection();
  #boxes;

  /** @param {() => B[]} boxes Those on the page, in order. */
  constructor(boxes) {
    this.#boxes = boxes;
  }

  /** Selects what is checked, and nothing else of what is on the page. */
  read() {
    for (const box of this.#boxes()) this.selected.set([box.value], box.checked);
  }

  /** Checks what is selected. */
  show() {
    for (const box of this.#boxes()) box.checked = this.selected.has(box.value);
  }

  /**
   * Follows a box that the user has just checked or unchecked. With Shift, the boxes from the last
   * one follow.
   * @param {B} box
   * @param {boolean} withShift
   */
  follow(box, withShift) {
    if (withShift && this.reach(box)) return;
    this.selected.pick(box.value, box.checked);
    this.show();
  }

  /**
   * Makes the boxes up to this one the range from the anchor. Returns false if the anchor is not on
   * the page.
   * @param {B} box
   */
  reach(box) {
    const boxes = this.#boxes();
    const from = boxes.findIndex((one) => one.value === this.selected.anchor);
    if (from < 0) return false;
    this.selected.reach(between(boxes, from, boxes.indexOf(box)).map((one) => one.value));
    this.show();
    return true;
  }

  clear() {
    this.selected.clear();
    this.show();
  }
}
