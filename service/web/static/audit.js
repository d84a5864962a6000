// Verifying the chain, which reads every record and therefore waits to be asked for.
import { $, call, say, texts } from "./page.js";

const button = $("#verify");
const problem = $("#problem");

button.addEventListener("click", async () => {
  problem.textContent = "";
  button.disabled = true;
  say(texts.audit.verifying);
  try {
    await call("/audit/verify", { method: "POST" });
    say(texts.audit.verified);
    location.reload();
  } catch (error) {
    say("");
    problem.textContent = error.message;
    button.disabled = false;
  }
});
