import assert from "node:assert/strict";
import test from "node:test";

import { CheckBoxes } from "../../static/js/shared/check_boxes.js";

const boxesOf = (...values) => values.map((value) => ({ value, checked: false }));
const checked = (boxes) => boxes.filter((box) => box.checked).map((box) => box.value).join("");
const click = (list, box, withShift = false) => {
  box.checked = !box.checked;
  list.follow(box, withShift);
};

test("Shift checks all from the last one, and a shorter range gives back", () => {
  const boxes = boxesOf(..."abcde");
  const list = new CheckBoxes(() => boxes);
  click(list, boxes[1]);
  click(list, boxes[4], true);
  assert.equal(checked(boxes), "bcde");
  click(list, boxes[2], true);
  assert.equal(checked(boxes), "bc");
});

test("Shift from a box that was unchecked unchecks", () => {
  const boxes = boxesOf(..."abcd");
  for (const box of boxes) box.checked = true;
  const list = new CheckBoxes(() => boxes);
  list.read();
  click(list, boxes[0]);
  click(list, boxes[2], true);
  assert.equal(checked(boxes), "d");
});

test("Shift with no last box is a plain click", () => {
  const boxes = boxesOf(..."abc");
  const list = new CheckBoxes(() => boxes);
  click(list, boxes[2], true);
  assert.equal(checked(boxes), "c");
});

test("boxes that left the page stay selected, and a range does not begin at them", () => {
  let boxes = boxesOf(..."ab");
  const list = new CheckBoxes(() => boxes);
  click(list, boxes[0]);
  boxes = boxesOf(..."cde");
  click(list, boxes[1], true);
  assert.equal(checked(boxes), "d");
  assert.deepEqual(list.selected.keys(), ["a", "d"]);
});
