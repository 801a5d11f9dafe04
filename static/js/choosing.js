// Files are chosen or dropped, whole folders too.
"use strict";

(() => {
  const { upload } = window.rollcall;
  if (!upload) return;

  // Of a folder only what may be a picture is sent; a file that was chosen by itself always is, so
  // that its sender hears why it is refused. What begins with a dot some systems add unasked.
  const isPicture = (name) => /^[^.].*\.(jpe?g|jfif|png|tiff?|webp|hei[cf])$/i.test(name);

  for (const input of document.querySelectorAll("#files, #folder")) {
    const take = () => {
      const all = [...input.files];
      const files = input.id === "folder" ? all.filter((file) => isPicture(file.name)) : all;
      upload.add(files.map((file) => ({ file, path: file.webkitRelativePath || file.name })), all.length - files.length);
      input.value = "";
    };
    input.addEventListener("change", take);
    // Files that were chosen before this script had loaded.
    if (input.files.length) take();
  }
  // A phone may have no folders to choose.
  if ("webkitdirectory" in document.createElement("input")) {
    for (const label of document.querySelectorAll(".pick-folder")) label.hidden = false;
  }

  const zone = document.getElementById("drop-zone");
  const hasFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
  let depth = 0;
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
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
  });
  window.addEventListener("drop", async (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    hideZone();
    // Entries must be taken before the first await: the list is emptied then.
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const plain = [...event.dataTransfer.files];
    if (!entries.length) return upload.add(plain.map((file) => ({ file, path: file.name })), 0);
    const found = { files: [], leftOut: 0 };
    const looking = setInterval(() => upload.looking(found.files.length), 300);
    for (const entry of entries) await walk(entry, found, false);
    clearInterval(looking);
    upload.add(found.files, found.leftOut);
  });
  function hideZone() {
    depth = 0;
    zone.hidden = true;
  }

  async function walk(entry, found, inFolder) {
    if (entry.isFile) {
      if (inFolder && !isPicture(entry.name)) {
        found.leftOut += 1;
        return;
      }
      try {
        const file = await new Promise((done, failed) => entry.file(done, failed));
        found.files.push({ file, path: (entry.fullPath || file.name).replace(/^\//, "") });
      } catch {
        window.rollcall.toast(`${entry.name} can't be read.`, "error");
      }
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      // A folder is told in portions; an empty one is its end.
      const some = await new Promise((done, failed) => reader.readEntries(done, failed)).catch(() => []);
      if (!some.length) return;
      for (const inner of some) await walk(inner, found, true);
    }
  }
})();
