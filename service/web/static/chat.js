// The chat page: ask, watch the answer come, stop, ask on.
import { $, all, ask, call, elements, say, texts } from "./page.js";
import { closeSource, openSource } from "./sources.js";
import { events } from "./stream.js";

const main = $("#main");
const turns = $("#turns");
const box = $("#question");
const send = $("#send");
const stop = $("#stop");
const problem = $("#problem");
const limit = Number(main.dataset.limit);
let conversation = main.dataset.conversation || null;
let running = null;
let after = null;

function made(tag, className, text = "") {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = text;
  return element;
}

function atEnd() {
  return main.scrollHeight - main.scrollTop - main.clientHeight < 120;
}

function toEnd() {
  main.scrollTop = main.scrollHeight;
}

/** A turn under way: the question as it was asked, and the place where the answer comes. */
function begun(question) {
  const turn = made("article", "turn");
  const asked = made("div", "asked");
  asked.append(made("p", "question", question));
  const answer = made("div", "answer");
  const text = made("div", "text");
  text.append(made("p", "muted thinking", texts.chat.thinking));
  answer.append(text);
  turn.append(asked, answer);
  return { turn, text };
}

async function submit(question) {
  problem.textContent = "";
  if (question.length > limit) {
    problem.textContent = `${question.length - limit} ${texts.chat.characters}`;
    return;
  }
  $("#hello")?.remove();
  if (after !== null) for (const one of all(".turn", turns)) if (Number(one.dataset.number) > after) one.remove();
  const { turn, text } = begun(question);
  turns.append(turn);
  box.value = "";
  toEnd();
  running = new AbortController();
  send.hidden = true;
  stop.hidden = false;
  const body = { question, conversation, kb: $("#kb")?.value || null, model: $("#model")?.value || null, after };
  try {
    await follow(await call("/web/ask", { method: "POST", body, signal: running.signal }), turn, text);
  } catch (error) {
    $(".thinking", text)?.remove();
    const stopped = error.name === "AbortError";
    text.append(made("p", "notice", stopped ? texts.turn.stopped : error.message));
    if (!stopped && !box.value) box.value = question;
  } finally {
    running = null;
    after = null;
    stop.hidden = true;
    send.hidden = false;
    box.focus();
  }
}

/** Shows the answer as it comes. What is shown at the end is the server's own rendering. */
async function follow(response, turn, text) {
  let paragraph = null;
  for await (const { name, data } of events(response)) {
    const follows = atEnd();
    if (name === "begin") {
      known(data.conversation, data.title);
    } else if (name === "delta") {
      if (!paragraph) {
        text.replaceChildren();
        paragraph = text.appendChild(made("p", "coming"));
      }
      for (const [place, line] of data.text.split("\n").entries()) {
        if (place) paragraph = text.appendChild(made("p", "coming"));
        paragraph.append(line);
      }
    } else if (name === "ended") {
      location.assign(data.next);
      return;
    } else if (name === "done") {
      turn.replaceWith(elements(data.html));
      classified(data.classification);
      say($(".turn:last-child .text", turns)?.textContent ?? "");
      if (follows) toEnd();
      return;
    }
    if (follows) toEnd();
  }
  throw new Error(texts.chat.failed);
}

/** Shows the highest classification of what the conversation cites. */
function classified(name) {
  const shown = $("#classification");
  shown.hidden = !name;
  shown.textContent = name ?? "";
  shown.className = name ? `classification level-${name}` : "classification";
}

/** Says which model answers, and where that is. */
function runs() {
  const chosen = $("#model")?.selectedOptions[0];
  if (!chosen) return;
  $("#running-model").textContent = chosen.dataset.model;
  $("#running-place").textContent = chosen.dataset.place;
}
$("#model")?.addEventListener("change", runs);
runs();

/** A conversation begins with its first question. */
function known(id, title) {
  if (conversation === id) return;
  conversation = id;
  history.replaceState(null, "", `/c/${id}`);
  $("#title").textContent = title;
  document.title = `${title} · inhouse`;
  $("#heading").hidden = false;
  for (const form of ["md", "json"]) $(`#export-${form}`).href = `/web/conversations/${id}/export?form=${form}`;
  listConversations();
}

async function listConversations() {
  const query = new URLSearchParams({ search: $("#search").value });
  const found = (await (await call(`/web/conversations?${query}`)).json()).conversations;
  const items = found.map((one) => {
    const item = document.createElement("li");
    const link = made("a", "", one.title);
    link.href = `/c/${one.id}`;
    if (one.id === conversation) link.setAttribute("aria-current", "page");
    item.append(link);
    return item;
  });
  $("#conversations").replaceChildren(...items);
  $("#no-conversations").hidden = items.length > 0 || Boolean($("#search").value);
}

$("#ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = box.value.trim();
  if (question && !running) submit(question);
});
box.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("#ask").requestSubmit();
  }
});
stop.addEventListener("click", () => running?.abort());
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || $("#dialog").open) return;
  if (!$("#source").hidden) closeSource();
  else if ($("#side").classList.contains("open")) menu(false);
  else if ($("#more").open) $("#more").open = false;
  else running?.abort();
});

function menu(open) {
  $("#side").classList.toggle("open", open);
  $("#menu").setAttribute("aria-expanded", String(open));
  (open ? $("#search") : $("#menu")).focus();
}
$("#menu").addEventListener("click", () => menu(!$("#side").classList.contains("open")));
main.addEventListener("click", () => $("#side").classList.remove("open"));

let waiting = 0;
$("#search").addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => listConversations().catch(() => {}), 200);
});
for (const one of all(".suggestion")) one.addEventListener("click", () => submit(one.textContent));

$("#rename").addEventListener("click", async () => {
  const title = await ask(texts.chat.rename_ask, texts.chat.save, { field: "input", value: $("#title").textContent });
  if (!title?.trim()) return;
  const response = await call(`/web/conversations/${conversation}`, { method: "PATCH", body: { title } });
  $("#title").textContent = (await response.json()).title;
  $("#more").open = false;
  await listConversations();
});
$("#delete").addEventListener("click", async () => {
  if ((await ask(texts.chat.delete_ask, texts.chat.delete, { danger: true })) === null) return;
  const response = await call(`/web/conversations/${conversation}`, { method: "DELETE" });
  location.assign((await response.json()).next);
});

const tools = {
  async copy(button, turn) {
    const text = all(".text > *", turn).map((one) => one.textContent).join("\n");
    await navigator.clipboard.writeText(text);
    button.textContent = texts.turn.copied;
  },
  async judge(button, turn) {
    const { verdict } = button.dataset;
    const reason = verdict === "right" ? "" : await ask(texts.turn.why, texts.turn.send, { field: "textarea" });
    if (reason === null) return;
    await call("/web/feedback", { method: "POST", body: { question: turn.dataset.audit, verdict, reason } });
    button.setAttribute("aria-pressed", "true");
    say(texts.turn.thanks);
  },
  async tell(button, turn) {
    const kb = $("#kb")?.value || null;
    const reason = $(".question", turn).textContent.slice(0, 2000);
    await call("/web/feedback", { method: "POST", body: { question: turn.dataset.audit, verdict: "tell-owner", reason, kb } });
    button.replaceWith(made("span", "muted", texts.turn.told));
    say(texts.turn.told);
  },
  edit(button, turn) {
    box.value = $(".question", turn).textContent;
    after = Number(turn.dataset.number) - 1;
    box.focus();
  },
  again(button, turn) {
    after = Number(turn.dataset.number) - 1;
    submit($(".question", turn).textContent);
  },
};
turns.addEventListener("click", (event) => {
  const link = event.target.closest("[data-citation], .source");
  if (link) {
    event.preventDefault();
    const cited = link.dataset.citation;
    openSource(cited === undefined ? link : $(`.source[data-citation="${cited}"]`, link.closest(".turn")), link);
    return;
  }
  const button = event.target.closest("button");
  const name = button && Object.keys(tools).find((one) => button.classList.contains(one));
  if (!name || running) return;
  Promise.resolve(tools[name](button, button.closest(".turn"))).catch((error) => {
    problem.textContent = error.message;
  });
});

box.focus();
if ($(".turn")) toEnd();
