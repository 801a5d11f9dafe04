// How the browser came to this page, and what clicks mean.

/** "navigate", "reload", "back_forward" or "prerender"; null where the browser doesn't tell. */
export function navigationType() {
  const [entry] = performance.getEntriesByType("navigation");
  return entry instanceof PerformanceNavigationTiming ? entry.type : null;
}

/**
 * Whether a click is one that browsers follow in the same tab.
 * @param {MouseEvent} event
 */
export const isPlainClick = (event) => !(event.defaultPrevented || event.button || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey);
