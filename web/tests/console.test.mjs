// A host's console in the browser: who types, who looks on, and what stays when something is cut or dies.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ADMIN, browser, Cable, noticed, PASSWORD, Person, SOON, Suite } from "./suite.mjs";

const CUT = /Failed to load resource: net::ERR_|net::ERR_|WebSocket connection to .* failed/;
const BUSY = /status of 50[03]/;
const SCREEN = "[data-console=system] .xterm-rows";

let chrome;
let suite;
before(async () => {
  [chrome, suite] = await Promise.all([browser(), Suite.start()]);
});
after(async () => {
  await chrome?.close();
  await suite?.stop();
});

/** Somebody at the console's page, whose session is open. */
async function looking(url = suite.url, name = ADMIN, password = PASSWORD, options = {}) {
  const person = await Person.at(chrome, url, options);
  await person.signIn(name, password);
  await person.goto("/console");
  await person.page.waitForSelector("[data-console=system][data-link=open]");
  return person;
}

/** Types, and waits for what the host says. */
async function types(person, text, answer) {
  await person.page.locator(".xterm-helper-textarea").focus();
  await person.page.keyboard.type(text);
  await person.page.keyboard.press("Enter");
  if (answer) await says(person, answer);
}

/** Waits until the screen has `text`, all of whose lines end as they do there. */
const says = (person, text) =>
  person.page.waitForFunction(([at, wanted]) => document.querySelector(at)?.innerText.replaceAll("\u00a0", " ").includes(wanted), [SCREEN, text], { timeout: SOON });

/** How often the screen and what was scrolled out of it have a text that nobody typed. */
async function count(person, text) {
  const shown = await person.page.evaluate((at) => document.querySelector(at).innerText.replaceAll("\u00a0", " "), SCREEN);
  return shown.split("\n").filter((line) => line.trim() === text).length;
}

/** The host is on, and somebody is logged in at its console. */
async function loggedIn() {
  const person = await looking();
  const { host } = await suite.api("GET", "hosts/system");
  if (host.status !== "HOST_STATUS_ON") {
    await suite.api("POST", "hosts/system/state", { action: "HOST_ACTION_ON" });
    await says(person, "twin login:");
    await types(person, "ann", "Password:");
    await types(person, "secret", "ann@twin:~$");
  }
  return person;
}

describe("a console", () => {
  test("one types and sees the reply, another looks on, takes over when asked, and both are told", async () => {
    const ann = await loggedIn();
    await types(ann, "whoami", "\nann");
    await ann.sees("[data-console] [role=status]", "You have the keyboard");

    const bob = await looking();
    await says(bob, "Twin BIOS");
    await bob.sees("[data-console] [role=status]", "admin (127.0.0.1");
    await types(bob, "echo from-bob");
    await bob.page.getByRole("button", { name: "Take over" }).click();
    await bob.sees("dialog", "Take the keyboard from admin");
    await bob.page.keyboard.press("Escape");
    await types(ann, "echo still-ann", "\nstill-ann");
    assert.equal(await count(ann, "from-bob"), 0, "who only looks on types nothing");

    await bob.page.getByRole("button", { name: "Take over" }).click();
    await bob.page.locator("dialog").getByRole("button", { name: "Take over" }).click();
    await bob.sees("[data-console] [role=status]", "You have the keyboard");
    await ann.sees("[data-console] [role=alert]", "took over the keyboard");
    await types(bob, "echo now-bob", "\nnow-bob");
    await says(ann, "\nnow-bob");

    await bob.page.getByRole("button", { name: "Give back" }).click();
    await ann.sees("[data-console] [role=status]", "Nobody has the keyboard");
    await ann.page.getByRole("button", { name: "Break" }).click();
    await ann.sees("[data-console] [role=status]", "You have the keyboard");
    await bob.leave();
    await ann.goto("/events?domain=console");
    await ann.sees("[data-events]", "took over the keyboard of the console");
    await ann.sees("[data-events]", "sent a break to the console");
    await ann.leave();
  });

  test("what is pasted arrives whole, keys lead out, and the log is shown with its times", async () => {
    const ann = await loggedIn();
    await ann.page.locator(".xterm-helper-textarea").focus();
    await ann.page.keyboard.press("Tab");
    assert.ok(await ann.page.evaluate(() => document.activeElement.classList.contains("xterm-helper-textarea")), "Tab is the host's");
    await ann.page.keyboard.press("Control+c");
    // Ctrl K is the host's here, and the pages' elsewhere.
    await ann.page.keyboard.press("Control+k");
    assert.equal(await ann.page.locator("dialog[open]").count(), 0);
    await ann.page.keyboard.press("Control+u");
    await ann.page.keyboard.press("Enter");
    await ann.page.evaluate(() => {
      const data = new DataTransfer();
      data.setData("text/plain", "echo pasted text\r");
      document.activeElement.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
    });
    await says(ann, "\npasted text");
    await ann.page.keyboard.press("Control+F6");
    assert.ok(await ann.page.evaluate(() => document.activeElement.matches("[data-console] button")), "focus is on the buttons");
    await ann.page.locator("summary").click();
    await ann.sees(".log td", "pasted text");
    await ann.leave();
  });

  test("a cut and a killed websrv lose nothing and show nothing twice; a killed consolesrv is told", async () => {
    const first = await loggedIn();
    await types(first, "echo before-all", "\nbefore-all");
    await first.page.getByRole("button", { name: "Give back" }).click();
    await first.leave();

    const cable = await Cable.to(suite);
    const ann = await looking(cable.url);
    await types(ann, "echo before-the-cut", "\nbefore-the-cut");
    cable.cut();
    await ann.sees("[data-console] [role=status]", "No connection");
    const bob = await looking();
    await types(bob, "echo while-it-was-cut", "\nwhile-it-was-cut");
    await bob.page.getByRole("button", { name: "Give back" }).click();
    cable.mend();
    await says(ann, "\nwhile-it-was-cut");
    assert.deepEqual([await count(ann, "before-the-cut"), await count(ann, "while-it-was-cut")], [1, 1]);
    cable.stop();
    await ann.leave([CUT, /status of 401/]);

    await types(bob, "echo before-websrv", "\nbefore-websrv");
    const ofWebsrv = await noticed(bob.page, "[data-console][data-link=lost]");
    await suite.kill("websrv");
    await ofWebsrv.seen();
    await bob.page.waitForSelector("[data-console][data-link=open]");
    await types(bob, "echo after-websrv", "\nafter-websrv");
    assert.deepEqual([await count(bob, "before-websrv"), await count(bob, "after-websrv")], [1, 1]);

    const ofConsolesrv = await noticed(bob.page, "[data-console][data-link=lost]");
    await suite.kill("consolesrv");
    await ofConsolesrv.seen();
    await bob.page.waitForSelector("[data-console][data-link=open]");
    await says(bob, "the console began anew");
    await bob.sees("[data-console] [role=status]", "Nobody has the keyboard");
    await types(bob, "echo after-consolesrv", "\nafter-consolesrv");
    assert.equal(await count(bob, "after-websrv"), 1, "what was shown stays");
    await bob.leave([CUT, BUSY]);
  });

  test("who may not look is told so, and a session that is ended elsewhere ends the console's", async () => {
    await suite.api("POST", "users", { user: { username: "reader", role: "ReadOnly", enabled: true }, password: "reader-has-a-password" });
    const reader = await Person.at(chrome, suite.url);
    await reader.signIn("reader", "reader-has-a-password");
    assert.equal(await reader.page.locator("nav").getByText("Console").count(), 0);
    await reader.goto("/console");
    await reader.sees("main .note", "Your account is not allowed to look at consoles");
    assert.equal(await reader.page.locator("[data-console]").count(), 0);
    const status = await reader.page.evaluate(
      () =>
        new Promise((resolve) => {
          const socket = new WebSocket(`wss://${location.host}/api/v1alpha1/consoles/system/socket`);
          socket.onopen = () => resolve("open");
          socket.onerror = () => resolve("refused");
        }),
    );
    assert.equal(status, "refused");
    await reader.leave([/status of 403/, CUT]);

    const ann = await looking();
    await suite.endSessionOf(ann);
    await ann.sees("[role=status]", "Your session has ended.");
    await ann.enter();
    await ann.page.waitForSelector("[data-console=system][data-link=open]");
    await ann.leave([/status of 401/, CUT]);
  });

  test("colours of the host's own keep to the pages' policy, and links of its own lead nowhere", async () => {
    const ann = await loggedIn();
    // As another client of the same person: keys alone do not type an escape.
    await ann.page.evaluate(
      () =>
        new Promise((resolve) => {
          const socket = new WebSocket(`wss://${location.host}/api/v1alpha1/consoles/system/socket?takeOver=true`);
          socket.onmessage = ({ data }) => {
            if (typeof data !== "string" || !JSON.parse(data).you_write) return;
            socket.send(new TextEncoder().encode("echo \x1b[38;2;10;200;90mgreen\x1b[0m \x1b]8;;https://example.org/\x1b\\link\x1b]8;;\x1b\\ end\r"));
            setTimeout(() => (socket.close(), resolve()), 500);
          };
        }),
    );
    await ann.page.waitForFunction(
      (at) => [...document.querySelectorAll(`${at} span`)].some((span) => span.textContent.includes("green") && getComputedStyle(span).color === "rgb(10, 200, 90)"),
      SCREEN,
    );
    let asked = false;
    ann.page.on("dialog", (dialog) => ((asked = true), dialog.dismiss()));
    const box = await ann.page.locator(`${SCREEN} span`).filter({ hasText: "link" }).last().boundingBox();
    await ann.page.mouse.click(box.x + box.width / 2, box.y + box.height / 2);
    assert.deepEqual([asked, ann.context.pages().length], [false, 1]);
    await ann.leave();
  });
});
