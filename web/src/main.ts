// The page's beginning: the language first, so that no word is shown twice, then who is signed in.
import { mount } from "svelte";
import "./app.css";
import App from "./App.svelte";
import { startI18n } from "./lib/i18n.svelte";
import { session } from "./lib/session.svelte";

const target = document.getElementById("app");
if (target) {
  try {
    await startI18n();
    mount(App, { target });
    await session.refresh();
  } catch {
    // Without words there are none to say it with but these.
    const again = document.createElement("button");
    again.textContent = "Reload";
    again.onclick = () => location.reload();
    target.setAttribute("role", "alert");
    target.replaceChildren("The pages of the BMC could not be loaded. ", again);
  }
}
