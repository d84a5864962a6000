// What every page needs: texts, calls to the service, a dialog, and the one way in which HTML of the server enters a page.
const policy = globalThis.trustedTypes?.createPolicy("inhouse", { createHTML: (html) => html });

/** Elements of HTML that the server rendered and escaped. */
export function elements(html) {
  const holder = document.createElement("template");
  holder.innerHTML = policy ? policy.createHTML(html) : html;
  return holder.content;
}

export const $ = (selector, root = document) => root.querySelector(selector);
export const all = (selector, root = document) => [...root.querySelectorAll(selector)];
export const texts = JSON.parse($("#texts")?.textContent ?? "{}");
export const csrf = $('meta[name="csrf"]')?.content ?? "";

/** Calls the service. Resolves to the response; rejects with an Error that says what happened and what to do next. */
export async function call(path, { method = "GET", body, signal } = {}) {
  const headers = { "x-csrf-token": csrf };
  if (body !== undefined) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(texts.chat?.offline ?? "The service does not answer.");
  }
  if (response.status === 401) {
    location.assign("/sign-in");
    throw new Error("");
  }
  if (!response.ok) {
    const told = await response.json().catch(() => ({}));
    throw new Error([told.detail, told.hint].filter(Boolean).join(". ") || response.statusText);
  }
  return response;
}

/** Says something to people who do not see the page. */
export function say(text) {
  $("#status").textContent = text;
}

/** Asks in a dialog; resolves to the value of its field ("" without one), or null where the person cancels. */
export function ask(title, yes, { field = null, value = "", danger = false } = {}) {
  const dialog = $("#dialog");
  $("#dialog-title").textContent = title;
  const body = $("#dialog-body");
  body.replaceChildren();
  const input = field ? document.createElement(field) : null;
  if (input) {
    input.value = value;
    input.maxLength = field === "textarea" ? 2000 : 200;
    input.setAttribute("aria-labelledby", "dialog-title");
    body.append(input);
  }
  const button = $("#dialog-yes");
  button.textContent = yes;
  button.classList.toggle("danger", danger);
  $("#dialog-no").onclick = () => dialog.close("");
  dialog.returnValue = "";
  dialog.showModal();
  (input ?? button).focus();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes" ? (input?.value ?? "") : null), { once: true });
  });
}
