// The panel beside the answer: the passage in its document, the cited words marked.
import { $, all, call, elements, texts } from "./page.js";

const panel = $("#source");
let opener = null;

/** Opens the source of a link under an answer; `pressed` is what was pressed for it: the link, or a number in the text. */
export async function openSource(link, pressed = link) {
  const { document: id, version, start, end } = link.dataset;
  const query = new URLSearchParams({ version, start, end });
  let content;
  try {
    content = elements(await (await call(`/web/sources/${encodeURIComponent(id)}?${query}`)).text());
  } catch (error) {
    const told = document.createElement("p");
    told.className = "notice";
    told.textContent = error.message;
    content = document.createElement("div");
    const close = document.createElement("button");
    close.id = "close-source";
    close.type = "button";
    close.textContent = texts.source.close;
    content.append(told, close);
  }
  closed();
  opener = pressed;
  pressed.setAttribute("aria-expanded", "true");
  panel.replaceChildren(content);
  panel.hidden = false;
  $("#close-source").addEventListener("click", closeSource);
  const picture = $("#page-picture");
  picture?.addEventListener("error", () => {
    const told = document.createElement("p");
    told.className = "muted";
    told.textContent = texts.source.picture_failed;
    picture.closest("figure").replaceWith(told);
  });
  panel.focus();
  $("mark", panel)?.scrollIntoView({ block: "center" });
  if (picture) panel.scrollTop = 0;
}

/** Closes the panel and goes back to where it was opened from. */
export function closeSource() {
  if (panel.hidden) return;
  panel.hidden = true;
  panel.replaceChildren();
  opener?.focus();
  closed();
}

function closed() {
  for (const one of all('.source[aria-expanded="true"], .cite[aria-expanded="true"]')) one.removeAttribute("aria-expanded");
  opener = null;
}
