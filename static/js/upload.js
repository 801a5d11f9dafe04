// Photos on their way: dropped or chosen, three at a time, one file a request, each with its own
// progress, reason and second try. A tile takes the place of each file that has arrived.
"use strict";

(() => {
  const form = document.getElementById("upload");
  const tiles = document.getElementById("tiles");

  // --- Busy tiles ---

  // One request asks about all of them. Those on screen come first where there are too many.
  const MOST_ASKED = 80;
  document.addEventListener("htmx:configRequest", (event) => {
    if (event.detail.elt.id !== "poller") return;
    const inputs = [...tiles.querySelectorAll("[name=busy]")];
    const visible = (input) => {
      const { top, bottom } = input.parentElement.getBoundingClientRect();
      return bottom > 0 && top < innerHeight;
    };
    const asked = inputs.length > MOST_ASKED
      ? [...inputs.filter(visible), ...inputs.filter((input) => !visible(input)).reverse()].slice(0, MOST_ASKED)
      : inputs;
    event.detail.parameters.delete("busy");
    for (const input of asked) event.detail.parameters.append("busy", input.value);
  });
  // A tile that came while a request was on its way must not be forgotten.
  document.addEventListener("htmx:afterSettle", (event) => {
    if (event.detail.elt.id === "poller" || document.getElementById("poller") === event.target) wake();
  });
  function wake() {
    const poller = document.getElementById("poller");
    if (tiles.querySelector("[name=busy]") && !poller?.getAttribute("hx-trigger").includes("load")) {
      window.htmx.trigger(document.body, "busy");
    }
  }

  if (!form) return;

  // --- The queue ---

  const PARALLEL = 3;
  const RETRY_MS = [1000, 3000, 9000];
  const AGAIN = new Set([0, 408, 429, 502, 503, 504]);
  const panel = document.getElementById("uploads");
  const part = (role, root = panel) => root.querySelector(`[data-role="${role}"]`);
  const token = form.querySelector("[name=csrfmiddlewaretoken]").value;
  const maxBytes = Number(form.dataset.maxBytes);
  const queue = [];
  const counts = { all: 0, added: 0, present: 0, refused: 0, broken: 0 };
  let running = 0;
  let skipped = 0;

  function add(files) {
    for (const file of files) {
      const row = document.getElementById("upload-row").content.cloneNode(true).firstElementChild;
      const item = { file, row, tries: 0, loaded: 0, over: false };
      part("name", row).textContent = file.webkitRelativePath || file.name;
      part("name", row).title = file.name;
      part("words", row).textContent = size(file.size);
      part("retry", row).addEventListener("click", () => again(item));
      part("list").append(row);
      counts.all += 1;
      item.total = file.size;
      items.push(item);
      if (file.size > maxBytes) end(item, "refused", `This file has ${size(file.size)}; the limit is ${form.dataset.maxWords}.`);
      else queue.push(item);
    }
    if (files.length) {
      panel.hidden = false;
      part("close").hidden = true;
    }
    pump();
    tell();
  }
  const items = [];

  function pump() {
    while (running < PARALLEL && queue.length) send(queue.shift());
  }

  function send(item) {
    running += 1;
    item.row.className = "upload-row";
    part("reason", item.row).hidden = true;
    part("retry", item.row).hidden = true;
    part("words", item.row).textContent = "0%";
    // Those under way are what somebody who looks wants to see.
    part("list").prepend(item.row);
    const body = new FormData();
    body.append("files", item.file, item.file.name);
    const request = new XMLHttpRequest();
    request.open("POST", form.action);
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("X-CSRFToken", token);
    request.upload.onprogress = (event) => {
      if (!event.lengthComputable) return;
      const share = event.loaded / event.total;
      item.loaded = share * item.file.size;
      part("bar", item.row).value = share;
      part("words", item.row).textContent = share < 1 ? `${Math.floor(share * 100)}%` : "Checking…";
      tell();
    };
    request.onload = () => settle(item, request);
    request.onerror = request.ontimeout = () => settle(item, request);
    request.send(body);
  }

  function settle(item, request) {
    running -= 1;
    let answer = null;
    try {
      answer = JSON.parse(request.responseText);
    } catch {
      // Not ours: a proxy's page, or nothing at all.
    }
    if (request.status === 200 || request.status === 201) {
      if (answer) arrived(item, answer);
      else end(item, "broken", "The server's answer could not be read.");
    } else if (AGAIN.has(request.status) && item.tries < RETRY_MS.length) {
      part("words", item.row).textContent = "Connection lost, trying again…";
      window.setTimeout(() => { queue.push(item); pump(); }, RETRY_MS[item.tries]);
      item.tries += 1;
      item.loaded = 0;
    } else if (answer?.error && request.status !== 401) {
      end(item, "refused", answer.error);
    } else {
      end(item, "broken", answer?.error || reason(request.status));
    }
    pump();
    tell();
  }

  function reason(status) {
    if (status === 0) return "The server can't be reached.";
    if (status === 413) return "This file is too large for the server.";
    if (status === 403) return "The server did not accept it. Reload the page and try again.";
    return `The server could not take it (${status}).`;
  }

  function arrived(item, answer) {
    if (answer.new) window.rollcall.grid.add(answer.tile);
    end(item, answer.new ? "added" : "present", answer.notes.join(" "));
    if (!answer.new) {
      const link = document.createElement("a");
      link.href = answer.url;
      link.textContent = "already here";
      part("words", item.row).replaceChildren(link);
    }
  }

  function end(item, how, words = "") {
    item.over = true;
    item.loaded = item.file.size;
    item.how = how;
    counts[how] += 1;
    const said = { added: "Added", present: "Already here", refused: "Refused", broken: "Not sent" };
    item.row.className = `upload-row ended ${how === "added" ? "ok" : how === "present" ? "" : "bad"}`;
    part("words", item.row).textContent = said[how];
    part("reason", item.row).textContent = words;
    part("reason", item.row).hidden = !words;
    part("retry", item.row).hidden = how !== "broken";
    // What needs somebody's attention stands on top.
    if (how === "refused" || how === "broken") part("list").prepend(item.row);
  }

  function again(item) {
    counts[item.how] -= 1;
    Object.assign(item, { over: false, loaded: 0, tries: 0 });
    queue.push(item);
    pump();
    tell();
  }

  function tell() {
    const over = items.filter((item) => item.over).length;
    const total = items.reduce((sum, item) => sum + item.file.size, 0);
    const loaded = items.reduce((sum, item) => sum + item.loaded, 0);
    const ready = over === items.length;
    part("bar").max = total || 1;
    part("bar").value = ready ? total || 1 : loaded;
    part("title").textContent = ready ? "Upload finished" : `Uploading ${over} of ${counts.all}`;
    part("words").textContent = [
      counts.added && `${counts.added} added`,
      counts.present && `${counts.present} already here`,
      counts.refused && `${counts.refused} refused`,
      counts.broken && `${counts.broken} not sent`,
      skipped && `${skipped} other file${skipped === 1 ? "" : "s"} left out`,
    ].filter(Boolean).join(", ");
    part("close").hidden = !ready;
    if (ready) part("status").textContent = `Upload finished: ${part("words").textContent}.`;
  }

  function size(bytes) {
    return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
  }

  part("fold").addEventListener("click", () => {
    const folded = panel.classList.toggle("folded");
    part("fold").setAttribute("aria-expanded", String(!folded));
  });
  part("close").addEventListener("click", () => {
    panel.hidden = true;
    part("list").replaceChildren();
    items.length = 0;
    skipped = 0;
    for (const key of Object.keys(counts)) counts[key] = 0;
  });
  window.addEventListener("beforeunload", (event) => {
    if (items.some((item) => !item.over)) event.preventDefault();
  });

  // --- Choosing and dropping ---

  const input = document.getElementById("files");
  const take = () => {
    add([...input.files]);
    input.value = "";
  };
  input.addEventListener("change", take);
  // Files that were chosen before this script had loaded.
  if (input.files.length) take();

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
    if (!entries.length) return add(plain);
    const found = [];
    for (const entry of entries) await walk(entry, found, false);
    add(found);
  });
  function hideZone() {
    depth = 0;
    zone.hidden = true;
  }

  // Of a folder only what may be a picture is sent; a file that was dropped by itself always is,
  // so that its sender hears why it is refused.
  const PICTURE = /\.(jpe?g|jfif|png|tiff?|webp|hei[cf])$/i;
  async function walk(entry, found, inFolder) {
    if (entry.isFile) {
      if (inFolder && !PICTURE.test(entry.name)) {
        skipped += 1;
        return;
      }
      try {
        found.push(await new Promise((done, failed) => entry.file(done, failed)));
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
