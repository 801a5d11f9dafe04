// Scrolls rows of tabs that are wider than the screen, so that the current tab is visible.

export function showChosen() {
  for (const tab of document.querySelectorAll(".filters > [aria-current]")) {
    const strip = tab.parentElement;
    if (!strip || strip.scrollLeft || strip.scrollWidth <= strip.clientWidth) continue;
    const [own, around] = [tab, strip].map((one) => one.getBoundingClientRect());
    if (own.right > around.right) strip.scrollLeft = own.left - around.left - (around.width - own.width) / 2;
  }
}
