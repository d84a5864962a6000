// A link's code stands after the #: it is taken out of the address, and used when the person says so.
const form = document.querySelector("#sign-in");
const field = document.querySelector("#credential");
const problem = document.querySelector("#problem");
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
  problem.textContent = "";
  button.disabled = true;
  try {
    const response = await fetch("/web/sign-in", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ credential: field.value }),
    });
    const told = await response.json();
    if (response.ok) {
      location.assign(told.next);
      return;
    }
    problem.textContent = [told.detail, told.hint].filter(Boolean).join(". ");
  } catch {
    problem.textContent = "The service does not answer.";
  }
  button.disabled = false;
  field.select();
});
