// The secret stands after the # of the address that `inhouse init` prints: it is taken out of the address.
import { enter } from "./entering.js";

const form = document.querySelector("#first");
const secret = location.hash.slice(1);

if (secret) {
  history.replaceState(null, "", location.pathname);
  form.elements.secret.value = secret;
  form.elements.id.focus();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  enter(form.querySelector("button"), "/web/first-administrator", Object.fromEntries(new FormData(form)));
});
