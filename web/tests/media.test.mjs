// Virtual media in the browser: a file of this computer that a host reads block by block, the store, and what is told when a tab is closed.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { browser, Person, SOON, Suite } from "./suite.mjs";

const CD = "[data-media=cd]";
const BUSY = /status of 50[03]/;

let chrome;
let suite;
before(async () => {
  [chrome, suite] = await Promise.all([browser(), Suite.start({ set: ["sim.scripted.boot_ms=200"] })]);
});
after(async () => {
  await chrome?.close();
  await suite?.stop();
});

/** An image of 3 MiB whose volume is called so. */
function image(label) {
  const bytes = Buffer.alloc(3 << 20, 0x5a);
  bytes.fill(0, 16 * 2048, 17 * 2048);
  bytes.write("\x01CD001\x01", 16 * 2048, "latin1");
  bytes.write(label.padEnd(32), 16 * 2048 + 40, "latin1");
  return { name: `${label.toLowerCase()}.iso`, mimeType: "application/octet-stream", buffer: bytes };
}

async function looking() {
  const person = await Person.at(chrome, suite.url);
  await person.signIn();
  await person.goto("/media");
  await person.page.waitForSelector(CD);
  return person;
}

const state = (person, wanted, slot = "cd") => person.page.waitForSelector(`[data-media=${slot}][data-media-state=${wanted}]`, { timeout: SOON });

describe("virtual media", () => {
  test("a file of this computer is read by the host while another page is looked at, and is gone with the tab", async () => {
    await suite.api("POST", "hosts/system/state", { action: "HOST_ACTION_ON" });
    const ann = await looking();
    await state(ann, "EMPTY");
    await ann.page.setInputFiles("[data-media-file=cd]", image("LOCAL"));
    await state(ann, "INSERTED");
    await ann.sees(CD, "local.iso");
    // By the menu: whoever loads the application anew ends what it serves.
    await ann.page.locator('nav a[href="/leds"]').first().click();
    await ann.page.waitForSelector('main[data-page="leds"]');
    // From another tab, as from another place.
    const bob = await looking();
    await state(bob, "INSERTED");
    await ann.page.close({ runBeforeUnload: false });
    await state(bob, "NOT_READY");
    await bob.sees(CD, "has ended");
    await bob.page.locator(CD).getByRole("button", { name: "Eject" }).click();
    await state(bob, "EMPTY");
    await bob.leave([BUSY]);
  });

  test("a file is uploaded, inserted from the store by a stick's drive, ejected and deleted", async () => {
    const ann = await looking();
    await ann.page.setInputFiles("[data-media-upload]", image("STORED"));
    await ann.page.waitForSelector('[data-media-stored="stored.iso"]', { timeout: SOON });
    await ann.page.locator("[data-media=usb]").getByRole("button", { name: "stored.iso" }).click();
    await state(ann, "INSERTED", "usb");
    await ann.page.locator("[data-media=usb]").getByRole("button", { name: "Eject" }).click();
    await state(ann, "EMPTY", "usb");
    await ann.page.locator('[data-media-stored="stored.iso"]').getByRole("button", { name: "Delete" }).click();
    await ann.page.locator("dialog").getByRole("button", { name: "Delete" }).click();
    await ann.page.waitForSelector('[data-media-stored="stored.iso"]', { state: "detached", timeout: SOON });
    await ann.leave([BUSY]);
  });

  test("what cannot be inserted is said why", async () => {
    const ann = await looking();
    await ann.page.locator(CD).getByRole("textbox").fill("https://127.0.0.1/x.iso");
    await ann.page.locator(CD).getByRole("button", { name: "Insert", exact: true }).click();
    await ann.page.waitForSelector("text=of the controller itself", { timeout: SOON }).catch(() => assert.fail("no word of why"));
    await state(ann, "EMPTY");
    await ann.leave([/status of 400/]);
  });

  test("of an insertion that failed the empty drive says what it was of and when", async () => {
    const ann = await looking();
    // TEST-NET-1 (RFC 5737): nobody is there.
    await ann.page.locator(CD).getByRole("textbox").fill("https://192.0.2.1/away.iso");
    await ann.page.locator(CD).getByRole("button", { name: "Insert", exact: true }).click();
    await ann.sees(CD, /away\.iso was not inserted \(.*\d+:\d+:\d+.*\): /);
    await state(ann, "EMPTY");
    const bob = await looking();
    await bob.sees(CD, "away.iso was not inserted");
    await bob.leave([BUSY]);
    await ann.leave([BUSY, /status of \d+/]);
  });
});
