// A link's code stands after the #: it is taken out of the address, and used when the person says so.
import { enter } from "./entering.js";

const form = document.querySelector("#sign-in");
const field = document.querySelector("#credential");
const button = form.querySelector("button");
const code = location.hash.slice(1);

if (code) {
  history.replaceState(null, "", location.pathname);
  field.value = code;
  button.textContent = form.dataset.byLink;
  button.focus();
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!(await enter(button, "/web/sign-in", { credential: field.value }))) field.select();
});

const known = document.querySelector("#by-proxy");
known?.addEventListener("click", () => enter(known, "/web/sign-in/proxy", {}));
