// Short messages at the edge of the page, and the icons in them.

/** @typedef {"info" | "success" | "warning" | "error"} Level */

const SVG = "http://www.w3.org/2000/svg";

/**
 * An icon of the page's sprite (templates/parts/icons.html).
 * @param {string} name
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

const ICONS = { info: "info", success: "check", warning: "warning", error: "warning" };

/**
 * Shows a message, and returns its element, which may be removed early.
 * @param {string} text
 * @param {Level} level
 */
export function toast(text, level = "info") {
  const box = document.createElement("div");
  box.className = `toast ${level}`;
  if (level === "error") box.setAttribute("role", "alert");
  const words = document.createElement("p");
  words.textContent = text;
  const close = document.createElement("button");
  close.type = "button";
  close.className = "toast-close";
  close.dataset.closeToast = "";
  close.setAttribute("aria-label", "Dismiss");
  close.append(icon("x"));
  box.append(icon(ICONS[level]), words, close);
  document.getElementById("toasts")?.append(box);
  return box;
}
