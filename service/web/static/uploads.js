// Upload on the documents desk: files dropped or chosen, one after the other, each with its own progress and its result.
import { $, csrf, say, texts } from "./page.js";

const form = $("#upload");
const told = texts.documents.upload;
const problem = $("#problem");
const queue = [];
let sending = false;

function link(text, path) {
  const made = document.createElement("a");
  made.href = path;
  made.textContent = text;
  return made;
}

function line(name) {
  const item = document.createElement("li");
  const title = document.createElement("bdi");
  title.textContent = name;
  const bar = document.createElement("progress");
  bar.max = 1;
  bar.value = 0;
  bar.setAttribute("aria-label", name);
  const state = document.createElement("span");
  state.className = "muted";
  state.textContent = told.waiting;
  item.append(title, bar, state);
  $("#uploads").append(item);
  return { item, bar, state };
}

/** Shows the end of a file: what became of it, and where that can be seen. */
function end({ item, bar, state }, outcome, text, more) {
  bar.remove();
  item.dataset.outcome = outcome;
  state.className = outcome === "indexed" ? "" : "failed";
  state.replaceChildren(text, ...(more ? [" ", more] : []));
}

/** Sends one file; resolves to what became of it, rejects with an Error that says what went wrong. */
function send(file, { bar, state }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `/web/documents/uploads?${form.dataset.label}&name=${encodeURIComponent(file.name)}`);
    request.setRequestHeader("x-csrf-token", csrf);
    request.setRequestHeader("content-type", "application/octet-stream");
    request.responseType = "json";
    request.upload.onprogress = (event) => {
      state.textContent = told.sending;
      if (event.lengthComputable) bar.value = event.loaded / event.total;
    };
    request.upload.onload = () => {
      bar.removeAttribute("value");
      state.textContent = told.reading;
    };
    request.onerror = () => reject(new Error(told.offline));
    request.onload = () => {
      const answer = request.response ?? {};
      if (request.status === 401) location.assign("/sign-in");
      else if (request.status === 200) resolve(answer);
      else reject(new Error([answer.detail, answer.hint].filter(Boolean).join(". ") || request.statusText));
    };
    request.send(file);
  });
}

async function sendAll() {
  if (sending) return;
  sending = true;
  for (let next = queue.shift(); next; next = queue.shift()) {
    const [file, shown] = next;
    try {
      const done = await send(file, shown);
      if (done.outcome === "indexed") end(shown, done.outcome, told.indexed, link(done.name, `/documents/${done.document}`));
      else if (done.outcome === "quarantined") end(shown, done.outcome, `${told.quarantined}: ${done.meaning}`, link(done.quarantine, "/documents/quarantine"));
      else end(shown, done.outcome, told.stopped);
    } catch (error) {
      end(shown, "failed", `${told.failed}: ${error.message}`);
    }
  }
  sending = false;
  say(told.all_done);
}

function take(files) {
  const { files: mostFiles, size: mostSize } = form.dataset;
  problem.textContent = "";
  if (files.length + queue.length > mostFiles) {
    problem.textContent = told.too_many.replace("{files}", mostFiles);
    return;
  }
  for (const file of files) {
    const shown = line(file.name);
    if (file.size > mostSize * 2 ** 20) end(shown, "failed", `${told.failed}: ${told.too_large.replace("{size}", mostSize)}`);
    else queue.push([file, shown]);
  }
  sendAll();
}

if (form) {
  const drop = $(".drop");
  $("#files").addEventListener("change", (event) => {
    take([...event.target.files]);
    event.target.value = "";
  });
  // A file that misses the field must not replace the page.
  for (const name of ["dragover", "drop"]) document.addEventListener(name, (event) => event.preventDefault());
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, () => drop.classList.add("over"));
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => take([...event.dataTransfer.files]));
  window.addEventListener("beforeunload", (event) => {
    if (sending) event.preventDefault();
  });
}
