// The list of people under a name that is being typed: arrows choose, Enter takes, Escape closes.
// htmx fetches its entries; without scripts the field is a plain one.
"use strict";

(() => {
  const listOf = (input) => document.getElementById(input.getAttribute("aria-controls"));
  const isField = (element) => element?.matches?.("[data-name-form] [role=combobox]");

  function show(input, open) {
    const list = listOf(input);
    if (!list) return;
    const shown = open && list.children.length > 0;
    list.hidden = !shown;
    input.setAttribute("aria-expanded", String(shown));
    if (!shown) choose(input, null);
  }

  function choose(input, option) {
    for (const other of listOf(input).children) other.setAttribute("aria-selected", String(other === option));
    if (option) {
      input.setAttribute("aria-activedescendant", option.id);
      option.scrollIntoView({ block: "nearest" });
    } else {
      input.removeAttribute("aria-activedescendant");
    }
  }

  function take(input, option) {
    input.value = option.dataset.label;
    show(input, false);
    // A form may have other buttons, too: the one beside the field is meant.
    input.form.requestSubmit(input.parentElement.querySelector("button:not([type=button])"));
  }

  // A list that comes late must not take a choice away: Enter would make a person named "an".
  const chosen = (list) => list?.querySelector('[aria-selected="true"]');
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { target } = event.detail;
    if (target.matches?.(".name-options") && chosen(target)) event.detail.shouldSwap = false;
  });
  document.addEventListener("input", (event) => {
    if (isField(event.target)) chosen(listOf(event.target))?.setAttribute("aria-selected", "false");
  });

  document.addEventListener("htmx:afterSwap", (event) => {
    const list = event.detail.target;
    if (!list.matches?.(".name-options")) return;
    const input = document.querySelector(`[aria-controls="${list.id}"]`);
    if (!input) return;
    choose(input, null);
    show(input, document.activeElement === input);
  });

  document.addEventListener("focusout", (event) => {
    if (isField(event.target)) show(event.target, false);
  });

  // The field keeps the focus while somebody points at the list.
  document.addEventListener("pointerdown", (event) => {
    const option = event.target.closest?.(".name-options [role=option]");
    if (option) event.preventDefault();
  });
  document.addEventListener("click", (event) => {
    const option = event.target.closest?.(".name-options [role=option]");
    if (option) take(document.querySelector(`[aria-controls="${option.parentElement.id}"]`), option);
  });

  document.addEventListener("keydown", (event) => {
    if (!isField(event.target) || event.isComposing) return;
    const input = event.target;
    const list = listOf(input);
    const options = [...list.children];
    const at = options.findIndex((option) => option.getAttribute("aria-selected") === "true");
    const open = !list.hidden && options.length > 0;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (!options.length) return;
      event.preventDefault();
      const step = event.key === "ArrowDown" ? 1 : -1;
      if (!open) show(input, true);
      choose(input, options[(at + step + (at < 0 && step < 0 ? 1 : 0) + options.length) % options.length]);
    } else if (event.key === "Enter" && open && at >= 0) {
      event.preventDefault();
      take(input, options[at]);
    } else if (event.key === "Escape") {
      event.stopPropagation();
      if (open) show(input, false);
      else input.blur();
    }
  }, true);

  // htmx focuses a new [autofocus] field or face a moment after the swap. If the list around it is
  // exchanged in between, the focus would be lost: it is owed until something has it.
  let owed = null;
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.requestConfig?.verb !== "post") return;
    const field = document.querySelector(".face-row[autofocus], [data-name-form] [role=combobox][autofocus]");
    owed = field && (field.getAttribute("aria-controls") || field.id);
  });
  for (const sign of ["focusin", "pointerdown"]) document.addEventListener(sign, () => { owed = null; });

  // What is typed elsewhere outlives the exchange of the list around it, and so does the focus.
  let typed = null;
  let face = null;
  function remember(target) {
    if (!target?.querySelector) return;
    typed = [];
    face = [...target.querySelectorAll(".face-row")].find((row) => row === document.activeElement || row.id === owed)?.id;
    for (const input of target.querySelectorAll("[data-name-form] [role=combobox]")) {
      const focused = document.activeElement === input || input.getAttribute("aria-controls") === owed;
      if (input.value || focused) {
        typed.push({ list: input.getAttribute("aria-controls"), value: input.value, focused, at: input.selectionStart });
      }
    }
  }
  function restore(settled) {
    for (const one of typed || []) {
      const input = document.querySelector(`[aria-controls="${one.list}"]`);
      if (!input || input.value || input.form.dataset.sent !== undefined) continue;
      input.value = one.value;
      if (one.focused && settled) {
        input.focus({ preventScroll: true });
        input.setSelectionRange(one.at, one.at);
      }
    }
    if (face && settled) document.getElementById(face)?.focus({ preventScroll: true });
    typed = face = null;
  }
  document.addEventListener("htmx:oobBeforeSwap", (event) => remember(event.detail.target));
  document.addEventListener("htmx:oobAfterSwap", () => restore(true));
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.requestConfig?.verb === "post") remember(event.detail.target);
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.requestConfig?.verb === "post") restore(false);
  });
})();
