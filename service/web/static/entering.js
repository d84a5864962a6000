// What every way to sign in does: asks the service, goes on where it says, or says what was wrong.
const problem = document.querySelector("#problem");

/** Sends a credential; resolves to whether it was accepted, and then the page is about to change. */
export async function enter(button, path, body) {
  problem.textContent = "";
  button.disabled = true;
  try {
    const response = await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    const told = await response.json();
    if (response.ok) {
      location.assign(told.next);
      return true;
    }
    problem.textContent = [told.detail, told.hint].filter(Boolean).join(". ");
  } catch {
    problem.textContent = "The service does not answer.";
  }
  button.disabled = false;
  return false;
}
