// Choosing or dropping files and whole folders for an upload.

import { all, need } from "../shared/dom.js";
import { toast } from "../shared/toast.js";
import { upload } from "./upload.js";

/** @typedef {{ files: import("./upload_files.js").Chosen[], leftOut: number }} Found */

// From a folder only likely pictures are sent. A file that was chosen by itself is always sent, so
// that its sender learns why it is refused. Some systems add files whose name starts with a dot.
/** @param {string} name */
const isPicture = (name) => /^[^.].*\.(jpe?g|jfif|png|tiff?|webp|hei[cf]|avif|gif|bmp|jp2|j2k|jp[fx])$/i.test(name);

// --- Choosing ---

for (const input of all("#files, #folder", HTMLInputElement)) {
  input.addEventListener("change", () => take(input));
  // Files that were chosen before this script had loaded.
  take(input);
}

/** @param {HTMLInputElement} input */
function take(input) {
  const chosen = [...(input.files ?? [])];
  if (!chosen.length) return;
  const files = input.id === "folder" ? chosen.filter((file) => isPicture(file.name)) : chosen;
  upload.add(files.map((file) => ({ file, path: file.webkitRelativePath || file.name })), chosen.length - files.length);
  input.value = "";
}

// Phones may not support choosing folders.
if ("webkitdirectory" in document.createElement("input")) {
  for (const label of all(".pick-folder", HTMLElement)) label.hidden = false;
}

// --- Dropping ---

const zone = need("#drop-zone", HTMLElement);
// How many elements under the pointer the drag has entered.
let depth = 0;

/** @param {DragEvent} event */
const hasFiles = (event) => event.dataTransfer?.types.includes("Files") ?? false;

window.addEventListener("dragenter", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  depth += 1;
  zone.hidden = false;
});
window.addEventListener("dragleave", (event) => {
  if (!hasFiles(event)) return;
  depth -= 1;
  if (depth <= 0) hideZone();
});
window.addEventListener("dragover", (event) => {
  if (!event.dataTransfer || !hasFiles(event)) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = "copy";
});
window.addEventListener("drop", (event) => {
  if (!event.dataTransfer || !hasFiles(event)) return;
  event.preventDefault();
  hideZone();
  takeDropped(event.dataTransfer);
});
function hideZone() {
  depth = 0;
  zone.hidden = true;
}

/** @param {DataTransfer} dropped */
async function takeDropped(dropped) {
  // Read the entries before the first await, which empties the list.
  const entries = [...dropped.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  if (!entries.length) {
    upload.add([...dropped.files].map((file) => ({ file, path: file.name })), 0);
    return;
  }
  /** @type {Found} */
  const found = { files: [], leftOut: 0 };
  const searching = setInterval(() => upload.searching(found.files.length), 300);
  for (const entry of entries) await walk(entry, found, false);
  clearInterval(searching);
  upload.add(found.files, found.leftOut);
}

/**
 * @param {FileSystemEntry} entry
 * @returns {entry is FileSystemDirectoryEntry}
 */
const isFolder = (entry) => entry.isDirectory;

/**
 * @param {FileSystemEntry} entry
 * @returns {entry is FileSystemFileEntry}
 */
const isFile = (entry) => entry.isFile;

/**
 * Finds the files of an entry.
 * @param {FileSystemEntry} entry
 * @param {Found} found
 * @param {boolean} isInFolder
 */
async function walk(entry, found, isInFolder) {
  if (isFolder(entry)) {
    const reader = entry.createReader();
    // A folder is read in batches; an empty batch is the end.
    for (let some = await read(reader); some.length; some = await read(reader)) {
      for (const inner of some) await walk(inner, found, true);
    }
  } else if (isInFolder && !isPicture(entry.name)) found.leftOut += 1;
  else if (isFile(entry)) await addFile(entry, found);
}

/**
 * @param {FileSystemDirectoryReader} reader
 * @returns {Promise<FileSystemEntry[]>}
 */
function read(reader) {
  return new Promise((resolve) => { reader.readEntries(resolve, () => resolve([])); });
}

/**
 * @param {FileSystemFileEntry} entry
 * @param {Found} found
 */
async function addFile(entry, found) {
  try {
    /** @type {File} */
    const file = await new Promise((resolve, reject) => { entry.file(resolve, reject); });
    found.files.push({ file, path: (entry.fullPath || file.name).replace(/^\//, "") });
  } catch {
    toast(`${entry.name} can't be read.`, "error");
  }
}
