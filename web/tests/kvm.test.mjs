// A host's screen in the browser: what is on it, who types, who only looks.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ADMIN, browser, PASSWORD, Person, SOON, Suite } from "./suite.mjs";

const CANVAS = "[data-kvm=system] canvas";
const STATUS = "[data-kvm] [role=status]";
/** Where the test picture has its first bar, the way of its square, and the keys that are down. */
const BAR = [10, 10];
const KEY = [4, 410];

let chrome;
let suite;
before(async () => {
  [chrome, suite] = await Promise.all([browser(), Suite.start()]);
});
after(async () => {
  await chrome?.close();
  await suite?.stop();
});

/** Somebody at the screen's page, who sees it. */
async function looking(name = ADMIN, password = PASSWORD) {
  const person = await Person.at(chrome, suite.url);
  await person.signIn(name, password);
  await person.goto("/kvm");
  await person.page.waitForSelector("[data-kvm=system][data-link=open]");
  await shows(person, BAR, [192, 192, 192]);
  return person;
}

/** The pixels of the picture from a place on, as bytes. */
const pixels = (person, [x, y], width = 1) =>
  person.page.evaluate(([at, x, y, width]) => [...document.querySelector(at).getContext("2d").getImageData(x, y, width, 1).data], [CANVAS, x, y, width]);

/** Waits until a pixel has this colour, or another than this. */
const shows = (person, [x, y], colour, isThis = true) =>
  person.page.waitForFunction(
    ([at, x, y, colour, isThis]) => {
      const canvas = document.querySelector(at);
      if (!canvas || canvas.width <= x || canvas.height <= y) return false;
      const [red, green, blue] = canvas.getContext("2d").getImageData(x, y, 1, 1).data;
      return (red === colour[0] && green === colour[1] && blue === colour[2]) === isThis;
    },
    [CANVAS, x, y, colour, isThis],
    { timeout: SOON },
  );
const BLACK = [0, 0, 0];

describe("a screen", () => {
  test("it moves, one types, another looks on, takes over when asked, and both are told", async () => {
    const ann = await looking();
    const before = await pixels(ann, [0, 330], 640);
    await ann.page.waitForFunction(
      ([at, before]) => document.querySelector(at).getContext("2d").getImageData(0, 330, 640, 1).data.join() !== before,
      [CANVAS, before.join()],
      { timeout: SOON },
    );
    await ann.sees(STATUS, "Nobody types");
    await ann.page.locator(CANVAS).click();
    await ann.sees(STATUS, "You have keyboard and mouse");
    await ann.page.keyboard.down("a");
    await shows(ann, KEY, BLACK, false);
    await ann.page.keyboard.up("a");
    await shows(ann, KEY, BLACK);
    await ann.page.keyboard.down("b");
    await shows(ann, KEY, BLACK, false);

    const bob = await looking();
    await bob.sees(STATUS, "admin (127.0.0.1");
    await shows(bob, KEY, BLACK, false);
    await bob.page.getByRole("button", { name: "Take over" }).click();
    await bob.page.locator("dialog").getByRole("button", { name: "Take over" }).click();
    await bob.sees(STATUS, "You have keyboard and mouse");
    await ann.sees("[data-kvm] [role=alert]", "took over keyboard and mouse");
    // What ann holds down is not down any more, and what she types reaches nobody.
    await shows(bob, KEY, BLACK);
    await ann.page.keyboard.up("b");
    await ann.page.keyboard.down("c");
    await bob.page.locator(CANVAS).click();
    await bob.page.keyboard.down("d");
    await shows(bob, KEY, BLACK, false);
    await shows(bob, [KEY[0] + 20, KEY[1]], BLACK);
    await bob.page.keyboard.up("d");
    await ann.page.keyboard.up("c");
    await bob.page.getByRole("button", { name: "Ctrl Alt Del" }).click();
    await bob.page.locator(CANVAS).focus();
    await bob.page.keyboard.press("Control+F6");
    assert.equal(await bob.page.evaluate(() => document.activeElement?.tagName), "BUTTON", "the keyboard leaves the screen");
    await bob.page.getByRole("button", { name: "Give back" }).click();
    await ann.sees(STATUS, "Nobody types");
    await bob.leave();
    await ann.goto("/events?domain=kvm");
    await ann.sees("[data-events]", "took over keyboard and mouse");
    await ann.leave();
  });

  test("who may only look sees it and types nothing", async () => {
    await suite.api("POST", "users", { user: { username: "reader", role: "ReadOnly", enabled: true }, password: "seven brass doorknobs" });
    const eve = await looking("reader", "seven brass doorknobs");
    await eve.sees(STATUS, "Look only");
    for (const name of ["Take over", "Ctrl Alt Del"]) assert.ok(await eve.page.getByRole("button", { name }).isDisabled());
    await eve.page.locator(CANVAS).click();
    await eve.page.keyboard.press("a");
    await eve.sees(STATUS, "Look only");
    await eve.leave();
  });
});
