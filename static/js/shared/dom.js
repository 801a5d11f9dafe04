// Finds elements of the kind that a script relies on. An element of another kind counts as absent, so
// that types are true on every page.

/**
 * @template {Element} T
 * @typedef {abstract new (...args: never[]) => T} Kind
 */

/**
 * The first element that matches, or null.
 * @template {Element} T
 * @param {string} selector
 * @param {Kind<T>} kind
 * @param {ParentNode} root
 * @returns {T | null}
 */
export function find(selector, kind, root = document) {
  const found = root.querySelector(selector);
  return found instanceof kind ? found : null;
}

/**
 * The first element that matches. The page's template has it: without it this throws.
 * @template {Element} T
 * @param {string} selector
 * @param {Kind<T>} kind
 * @param {ParentNode} root
 * @returns {T}
 */
export function need(selector, kind, root = document) {
  const found = find(selector, kind, root);
  if (!found) throw new Error(`The page has no ${kind.name} that is ${selector}.`);
  return found;
}

/**
 * All elements that match and are of this kind, in the page's order.
 * @template {Element} T
 * @param {string} selector
 * @param {Kind<T>} kind
 * @param {ParentNode} root
 * @returns {T[]}
 */
export function all(selector, kind, root = document) {
  return ofKind(root.querySelectorAll(selector), kind);
}

/**
 * @template {Element} T
 * @param {Iterable<Node>} nodes
 * @param {Kind<T>} kind
 * @returns {T[]}
 */
export function ofKind(nodes, kind) {
  /** @type {T[]} */
  const found = [];
  for (const node of nodes) if (node instanceof kind) found.push(node);
  return found;
}

/**
 * The nearest element around an event's target that matches, itself included; null for a target that
 * is no element, such as the document.
 * @template {Element} T
 * @param {EventTarget | null | undefined} target
 * @param {string} selector
 * @param {Kind<T>} kind
 * @returns {T | null}
 */
export function closest(target, selector, kind) {
  const found = target instanceof Element ? target.closest(selector) : null;
  return found instanceof kind ? found : null;
}

/**
 * @param {EventTarget | null | undefined} target
 * @param {string} selector
 */
export const matches = (target, selector) => target instanceof Element && target.matches(selector);

/**
 * The content of an HTML text, outside the document.
 * @param {string} html
 */
export function fragmentOf(html) {
  const holder = document.createElement("template");
  holder.innerHTML = html;
  return holder.content;
}

/**
 * A form's field by its name.
 * @template {Element} T
 * @param {HTMLFormElement} form
 * @param {string} name
 * @param {Kind<T>} kind
 * @returns {T | null}
 */
export function fieldOf(form, name, kind) {
  const found = form.elements.namedItem(name);
  return found instanceof kind ? found : null;
}

/** Text fields, and not check boxes: where they have the focus, keys are typed. */
export const TYPING = "input:not([type=checkbox]), textarea, select";
