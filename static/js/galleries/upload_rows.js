// The files in the upload panel: those under way, and those that need attention, in groups by how they
// ended. The others are only counted.

import { all, find, need } from "../shared/dom.js";
import { number } from "../shared/words.js";

/** @typedef {import("./upload_files.js").Item} Item */
/** @typedef {import("./upload_files.js").EndState} EndState */
/** @typedef {import("./upload_queue.js").UploadQueue} UploadQueue */

const MOST_ROWS = 100;

/** @type {[EndState, (count: number) => string][]} */
const GROUPS = [
  ["refused", (count) => `${number(count)} refused`],
  ["unsent", (count) => `${number(count)} not sent`],
  ["trashed", (count) => `${number(count)} in the trash`],
  ["present", (count) => `${number(count)} here already`],
  ["added", (count) => `${number(count)} new with a note`],
];

/**
 * A part of the panel by its role.
 * @template {Element} T
 * @param {string} role
 * @param {import("../shared/dom.js").Kind<T>} kind
 * @param {ParentNode} root
 */
export const part = (role, kind, root) => need(`[data-role="${role}"]`, kind, root);

export class UploadRows {
  #panel;
  #queue;
  /** @type {Map<Item, HTMLElement>} Rows of files under way. */
  #rows = new Map();
  /** @type {Map<Item, HTMLElement>} The group in which each file is listed, so that it is listed once. */
  #listed = new Map();

  /**
   * @param {HTMLElement} panel
   * @param {UploadQueue} queue
   */
  constructor(panel, queue) {
    this.#panel = panel;
    this.#queue = queue;
    for (const copy of all("[data-group] [data-copy]", HTMLElement, panel)) {
      copy.addEventListener("click", () => {
        const items = this.#inGroup(copy.closest("[data-group]")?.getAttribute("data-group") ?? "");
        copy.dataset.copy = items.map((item) => [item.path, item.words].filter(Boolean).join(": ")).join("\n");
      });
    }
  }

  /** @param {string} state */
  group(state) {
    return find(`[data-group="${state}"]`, HTMLElement, this.#panel);
  }

  /**
   * Files that are listed in a group. Of those that are new, only those with a note are.
   * @param {string} state
   */
  #inGroup(state) {
    const known = GROUPS.find(([one]) => one === state)?.[0];
    return known ? this.#queue.inState(known).filter((item) => known !== "added" || item.words) : [];
  }

  /** @param {Item} item */
  show(item) {
    if (item.state === "sending") {
      this.#showSending(item);
      return;
    }
    this.#rows.get(item)?.remove();
    this.#rows.delete(item);
    const group = this.group(item.state);
    if (group && (item.state !== "added" || item.words)) this.#list(item, group);
  }

  /** @param {Item} item */
  #showSending(item) {
    const row = this.#rows.get(item) ?? newRow(item);
    if (!row.isConnected) {
      this.#rows.set(item, row);
      part("list", HTMLUListElement, this.#panel).append(row);
    }
    const share = item.file.size ? item.loaded / item.file.size : 0;
    part("bar", HTMLProgressElement, row).value = share;
    part("words", HTMLElement, row).textContent = share < 1 ? `${Math.floor(share * 100)}%` : "Checking…";
  }

  /**
   * @param {Item} item
   * @param {HTMLElement} group
   */
  #list(item, group) {
    if (this.#listed.get(item) === group) return;
    this.#listed.set(item, group);
    if (group.querySelectorAll(".upload-row").length >= MOST_ROWS) return;
    const row = newRow(item);
    row.classList.add("ended");
    const reason = part("reason", HTMLElement, row);
    reason.textContent = item.words;
    reason.hidden = !item.words;
    if (item.url) {
      const link = document.createElement("a");
      link.href = item.url;
      link.textContent = "Show";
      part("words", HTMLElement, row).replaceChildren(link);
    }
    part("rows", HTMLElement, group).append(row);
  }

  /** @param {boolean} isOver While the upload runs, only problems are listed. */
  showGroups(isOver) {
    for (const [state, words] of GROUPS) {
      const group = this.group(state);
      if (!group) continue;
      const count = this.#inGroup(state).length;
      group.hidden = !count || (!isOver && state !== "refused" && state !== "unsent");
      part("count", HTMLElement, group).textContent = words(count);
      const left = count - group.querySelectorAll(".upload-row").length;
      const more = part("more", HTMLElement, group);
      more.hidden = left <= 0;
      more.textContent = `and ${number(left)} more`;
      const act = find('[data-role="act"]', HTMLElement, group);
      if (act) act.hidden = !isOver;
    }
  }

  /** @param {EndState} state */
  empty(state) {
    const group = this.group(state);
    if (!group) return;
    for (const [item, listed] of this.#listed) if (listed === group) this.#listed.delete(item);
    part("rows", HTMLElement, group).replaceChildren();
  }

  emptyAll() {
    for (const [state] of GROUPS) this.empty(state);
  }
}

/** @param {Item} item */
function newRow(item) {
  const row = need(".upload-row", HTMLElement, document.importNode(need("template#upload-row", HTMLTemplateElement).content, true));
  const name = part("name", HTMLElement, row);
  name.textContent = name.title = item.path;
  return row;
}
