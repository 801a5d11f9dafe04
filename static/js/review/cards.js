// The review's cards: the one that is shown, and those behind it that are on the page already.

import { all, find, need, ofKind } from "../shared/dom.js";
import { NINE, ofSpace, withFresh } from "./recent_names.js";

const MOST_PICTURES = 200;

/** @param {HTMLTemplateElement} template */
export const idOf = (template) => template.dataset.ready ?? template.dataset.first;

/** @param {HTMLTemplateElement} template */
const cardIn = (template) => find("[data-card]", HTMLElement, template.content);

export class Cards {
  /** @type {HTMLTemplateElement[]} Those behind the shown one. */
  ready = [];
  /** When the shown card was shown, by the page's clock. */
  shownAt = 0;

  /** @type {HTMLButtonElement[]} */
  #names = [];
  /** @type {Map<string, HTMLImageElement>} Pictures that are fetched ahead. */
  #pictures = new Map();

  /**
   * @param {HTMLElement} review
   * @param {HTMLElement} box Holds the shown card.
   */
  constructor(review, box) {
    this.review = review;
    this.box = box;
  }

  /** The address that decisions are sent to. */
  get address() {
    return location.pathname;
  }

  get current() {
    return find("[data-card]", HTMLElement, this.box);
  }

  get nameField() {
    return find("[role=combobox]", HTMLInputElement, this.box);
  }

  /** The shown card and those behind it. */
  get onPage() {
    return [this.current, ...this.ready.map(cardIn)].filter((card) => card !== null);
  }

  /**
   * The shown card's button for a key.
   * @param {string} key
   */
  button(key) {
    return find(`[data-key="${key}"]`, HTMLElement, this.box);
  }

  /** @param {HTMLElement} card */
  show(card) {
    this.box.replaceChildren(card);
    this.shownAt = performance.now();
    window.htmx?.process(this.box);
    this.showNames();
    need("#review-end", HTMLElement, this.review).hidden = true;
    this.keepAddress();
  }

  /** A reload shows the card again. */
  keepAddress() {
    const { start } = this.current?.dataset ?? {};
    if (start !== undefined) history.replaceState(null, "", `${this.address}?${start}`);
  }

  /** Shows the next card, or nothing after the last one. */
  next() {
    const template = this.ready.shift();
    if (template) this.showFrom(template);
    else this.box.replaceChildren();
  }

  /** @param {HTMLTemplateElement} template */
  showFrom(template) {
    const card = cardIn(template);
    if (card) this.show(document.importNode(card, true));
  }

  /**
   * Puts a card before those behind the shown one.
   * @param {HTMLElement | null} card
   */
  putBack(card) {
    if (!card) return;
    const template = document.createElement("template");
    template.dataset.ready = card.dataset.card;
    template.content.append(card.cloneNode(true));
    this.ready.unshift(template);
  }

  /**
   * Takes cards that come after those that are here.
   * @param {Iterable<HTMLTemplateElement>} templates
   */
  add(templates) {
    const known = new Set(this.onPage.map((card) => card.dataset.card));
    for (const template of templates) if (!known.has(idOf(template))) this.ready.push(document.adoptNode(template));
    if (!this.current) this.next();
    this.#fetchPictures();
  }

  /**
   * Shows a card that the server wants to be shown first.
   * @param {HTMLTemplateElement} template
   */
  showFirst(template) {
    this.ready = this.ready.filter((one) => idOf(one) !== idOf(template));
    if (this.current?.dataset.card !== idOf(template)) this.putBack(this.current);
    this.showFrom(template);
  }

  /**
   * Takes cards away that are not shown.
   * @param {number[]} faces
   */
  drop(faces) {
    this.ready = this.ready.filter((one) => !faces.includes(Number(cardIn(one)?.dataset.face)));
  }

  #fetchPictures() {
    for (const image of this.ready.flatMap((template) => all("img", HTMLImageElement, template.content))) {
      const address = image.getAttribute("src");
      if (!address || this.#pictures.has(address)) continue;
      const picture = new Image();
      picture.src = address;
      this.#pictures.set(address, picture);
    }
    for (const address of [...this.#pictures.keys()].slice(0, -MOST_PICTURES)) this.#pictures.delete(address);
  }

  // --- Recent names, by number keys ---

  /** @param {Element} list The server's buttons, which leave it. */
  learnNames(list) {
    const fresh = ofKind(list.children, HTMLButtonElement).map((one) => document.adoptNode(one));
    this.#names = withFresh(this.#names, fresh);
    this.showNames();
  }

  showNames() {
    const group = find("[data-recent]", HTMLElement, this.box);
    if (!group) return;
    const names = ofSpace(this.#names, this.current?.dataset.space).slice(0, NINE);
    if (!isShown(group, names)) group.replaceChildren(...names.map(numbered));
  }
}

/**
 * Whether a group shows these names. Replacing a button by an equal one while it is pressed would lose
 * the click.
 * @param {HTMLElement} group
 * @param {HTMLButtonElement[]} names
 */
function isShown(group, names) {
  const people = (/** @type {HTMLButtonElement[]} */ some) => some.map((one) => `${one.dataset.person} ${one.value}`).join("\n");
  const isNumbered = group.querySelectorAll("kbd").length === names.length;
  return isNumbered && people(ofKind(group.children, HTMLButtonElement)) === people(names);
}

/**
 * @param {HTMLButtonElement} name
 * @param {number} at
 */
function numbered(name, at) {
  const button = document.importNode(name, true);
  const key = document.createElement("kbd");
  key.textContent = String(at + 1);
  button.append(key);
  return button;
}
