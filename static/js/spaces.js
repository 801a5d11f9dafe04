// Spaces: the two bars move while they are typed, an upload shows how far it is, and a button that
// empties a space waits for the name. The pages work without.
"use strict";

(() => {
  const numbers = new Intl.NumberFormat("en-GB");

  function draw() {
    const box = document.getElementById("zones");
    const suggest = document.getElementById("id_threshold");
    const confirm = document.getElementById("id_confirm_threshold");
    if (!box || !suggest || !confirm) return;
    const low = Math.round(Number(suggest.value) * 100);
    const high = Math.round(Number(confirm.value) * 100);
    if (!(low >= 0 && low <= high && high <= 100)) return;
    for (const [zone, from, to] of [["below", 0, low], ["between", low, high], ["above", high, 100]]) {
      const part = box.querySelector(`[data-zone="${zone}"]`);
      part.setAttribute("x", from);
      part.setAttribute("width", to - from);
    }
    if (!box.dataset.bars) return;
    const bars = box.dataset.bars.split(" ").map(Number);
    const sum = (from, to) => bars.slice(from, to).reduce((total, count) => total + count, 0);
    const counts = { below: sum(0, low) + Number(box.dataset.unknown), between: sum(low, high), above: sum(high) };
    for (const [zone, count] of Object.entries(counts)) {
      box.querySelector(`[data-count="${zone}"]`).textContent = numbers.format(count);
    }
  }

  document.addEventListener("input", (event) => {
    if (event.target.matches?.("#id_threshold, #id_confirm_threshold")) draw();
    if (event.target.matches?.("[data-must-be]")) arm(event.target);
  });
  document.addEventListener("htmx:afterSettle", draw);

  // --- Typing a name ---

  function arm(field) {
    const typed = field.value.trim().replace(/\s+/g, " ").toLowerCase();
    const button = field.form.querySelector("button.danger");
    button.disabled = typed !== field.dataset.mustBe.toLowerCase();
  }
  document.querySelectorAll("[data-must-be]").forEach(arm);

  // --- Uploading ---

  document.addEventListener("htmx:configRequest", (event) => {
    const form = event.detail.elt;
    if (!form.matches?.(".snapshot-upload")) return;
    const most = Number(form.dataset.mostMegabytes);
    const file = form.querySelector("input[type=file]").files[0];
    if (file && file.size > most * 1e6) {
      event.preventDefault();
      window.rollcall.toast(`This file is too large: the limit is ${numbers.format(most)} MB.`, "error");
    }
  });
  document.addEventListener("htmx:xhr:progress", (event) => {
    const form = event.detail.elt ?? event.target;
    const bar = form.matches?.(".snapshot-upload") ? form.querySelector("progress") : null;
    if (!bar || !event.detail.lengthComputable) return;
    bar.hidden = false;
    bar.max = event.detail.total;
    bar.value = event.detail.loaded;
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    const form = event.detail.elt;
    if (form.matches?.(".snapshot-upload")) form.querySelector("progress").hidden = true;
  });
})();
