// The page's beginning: the language first, so that no word is shown twice, then who is signed in.
import { mount } from "svelte";
import "./app.css";
import App from "./App.svelte";
import { startI18n } from "./lib/i18n.svelte";
import { session } from "./lib/session.svelte";

await startI18n();
const target = document.getElementById("app");
if (target) mount(App, { target });
await session.refresh();
