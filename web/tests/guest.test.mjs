// A real machine as the host, seen in a browser: powered on until it has booted, and shut down by its own operating system.
import { existsSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { browser, Person, Suite } from "./suite.mjs";

const guest = process.env.UBMC_TEST_GUEST;
const why = guest && existsSync(guest) ? false : "SKIP: no guest; `cargo xtask test web` makes it";

let chrome;
let suite;
before(async () => {
  if (why) return;
  [chrome, suite] = await Promise.all([browser(), Suite.start({ set: ["sim.host=qemu", `sim.qemu.guest=${guest}`] })]);
});
after(async () => {
  await chrome?.close();
  await suite?.stop();
});

describe("a real host", () => {
  test("is powered on until it has booted, and shuts down when it is asked to", { skip: why }, async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    const console = await person.open();
    await person.goto("/console/system", console);
    await console.waitForSelector("[data-console][data-link=open]");
    await person.goto("/power");
    const card = "[data-host-card=system]";
    await person.page.locator(card).getByRole("button", { name: "Power on" }).click();
    await person.page.waitForSelector(`${card} [data-operation=DONE]`);
    await person.sees(`${card} .badge`, "On");
    // Its own words: it has not only power, it runs.
    await person.sees("[data-console]", "u-bmc guest: ready", console);
    await person.goto("/");
    await person.page.waitForSelector("[data-thumbnail=system][data-drawn=true]");
    await person.page.locator(card).getByRole("button", { name: "Shut down" }).click();
    await person.page.locator("dialog").getByRole("button", { name: "Shut down" }).click();
    await person.sees(`${card} strong`, "Shut down");
    await person.page.waitForSelector(`${card} [data-operation=DONE]`);
    await person.sees("header [data-host=system]", "Off");
    await person.sees("[data-console]", "u-bmc guest: power button", console);
    await person.leave();
  });
});
