// The documents desk: what is begun and changed from its pages, and how far a run is.
import { $, all, call, elements, say, texts } from "./page.js";

const problem = $("#problem");
const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
let following = false;

/** Sends something, and says on the page what went wrong. */
async function send(path, body) {
  problem.textContent = "";
  try {
    return await (await call(path, { method: "POST", body })).json();
  } catch (error) {
    problem.textContent = error.message;
    return null;
  }
}

/** Shows the list as it is now, with the focus where it was. */
async function refresh(pressed) {
  const fresh = elements(await (await call(location.pathname)).text());
  $("#changing").replaceChildren(...$("#changing", fresh).childNodes);
  if (!pressed) return;
  const name = ["data-source", "data-entry", "data-note"].find((one) => pressed.hasAttribute(one));
  ($(`#changing [${name}="${CSS.escape(pressed.getAttribute(name))}"]`) ?? $("#main")).focus();
}

/** Looks every second how far the run is, until it has ended. */
async function follow(pressed) {
  if (following) return;
  following = true;
  $("#progress").hidden = false;
  for (const button of all(".again, .retry, .discard")) button.disabled = true;
  try {
    for (;;) {
      const told = await (await call("/web/documents/progress")).json();
      if (told.problem) problem.textContent = told.problem;
      if (!told.busy) break;
      show(told);
      await wait(1000);
    }
    await refresh(pressed);
    say(texts.documents.ended);
  } catch (error) {
    problem.textContent = error.message;
  } finally {
    following = false;
    $("#progress").hidden = true;
    for (const button of all(".again, .retry, .discard")) button.disabled = false;
  }
}

function show({ run, progress }) {
  const bar = $("#share");
  const button = $("#stop");
  if (button) {
    button.hidden = !run;
    // A button that was pressed stays so until its run has ended.
    button.disabled = button.dataset.stopping === run;
    button.dataset.run = run ?? "";
  }
  if (!progress) {
    bar.removeAttribute("value");
    return;
  }
  bar.value = progress.share;
  $("#far").textContent = `${progress.files} / ${progress.of} ${texts.documents.files}, ${progress.passages} ${texts.documents.passages}`;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (button?.classList.contains("again")) {
    if (await send("/web/documents/runs", { run: button.dataset.run })) await follow(button);
  } else if (button?.classList.contains("retry")) {
    if (await send("/web/documents/quarantine", { entry: button.dataset.entry || null })) await follow(button);
  } else if (button?.classList.contains("discard")) {
    if (await send("/web/documents/quarantine/discard", { entry: button.dataset.discard })) await refresh(button);
  } else if (button?.id === "stop") {
    if (!(await send("/web/documents/runs/stop", { run: button.dataset.run }))) return;
    button.dataset.stopping = button.dataset.run;
    button.disabled = true;
    say(texts.documents.stopping);
  } else if (button?.classList.contains("settle")) {
    const done = button.dataset.done === "yes";
    if (await send(`/web/documents/notes/${encodeURIComponent(button.dataset.note)}`, { done })) {
      await refresh(button);
      say(done ? texts.documents.done : texts.documents.open);
    }
  }
});

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (form.matches("#chosen") && !$("input:checked", form)) {
    event.preventDefault();
    problem.textContent = texts.documents.nothing_chosen;
    problem.scrollIntoView({ block: "nearest" });
  } else if (form.classList.contains("change")) {
    event.preventDefault();
    const fields = new FormData(form);
    const one = "one" in form.dataset;
    const body = one ? {} : { ids: fields.getAll("id") };
    for (const [name, value] of fields) if (one || name !== "id") body[name] = value;
    const told = await send(form.dataset.post, body);
    if (told) location.assign(told.next);
  }
});

if ($("#progress")?.dataset.busy === "yes") follow();
