// Verifying the chain, which reads every record and therefore waits to be asked for.
import { $, call, say, texts } from "./page.js";
import { events } from "./stream.js";

const button = $("#verify");
const problem = $("#problem");
const bar = $("#verifying");

button.addEventListener("click", async () => {
  problem.textContent = "";
  button.disabled = true;
  bar.hidden = false;
  say(texts.audit.verifying);
  try {
    for await (const { name, data } of events(await call("/audit/verify", { method: "POST" }))) {
      if (name === "progress") bar.value = data.share;
      if (name === "failed") throw new Error([data.error, data.hint].filter(Boolean).join(". "));
      if (name === "verified") {
        say(texts.audit.verified);
        location.reload();
        return;
      }
    }
    throw new Error(texts.audit.unfinished);
  } catch (error) {
    say("");
    problem.textContent = error.message;
    button.disabled = false;
    bar.hidden = true;
  }
});
