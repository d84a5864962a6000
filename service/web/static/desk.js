// Signing out, on every desk.
import { $, call } from "./page.js";

$("#sign-out").addEventListener("click", async () => {
  const response = await call("/web/sign-out", { method: "POST" });
  location.assign((await response.json()).next);
});
