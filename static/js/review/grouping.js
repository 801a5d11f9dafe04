// Shows the threshold slider's value beside it.

document.addEventListener("input", ({ target }) => {
  if (!(target instanceof HTMLInputElement) || !target.matches("[data-threshold]")) return;
  const output = target.parentElement?.querySelector("output");
  if (output) output.textContent = `${target.value}%`;
});
