// A real machine as the host, worked at in a browser: powered on until it has booted, logged in to, seen and typed at, booted from discs that are elsewhere, and shut down
// by its own operating system.
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { browser, painted, Person, Suite } from "./suite.mjs";

const guest = process.env.UBMC_TEST_GUEST;
const disc = guest && join(guest, "disc.iso");
const why = disc && existsSync(disc) ? false : "SKIP: no guest with a login and a disc; `cargo xtask test web` makes it";

const TERMINAL = "[data-console=system] .xterm-rows";
const CANVAS = "[data-kvm=system] canvas";
const STATUS = "[data-kvm] [role=status]";
const POWER = "[data-host-card=system]";
const BOOT = "[data-boot-override=system]";
const CD = "[data-media=cd]";
/** What the guest's system says once it heeds its power button, and who can log in to it. */
const READY = "u-bmc guest: ready";
const [ROOT, SECRET] = ["root", "guest"];

let chrome;
let suite;
before(async () => {
  if (!why) chrome = await browser();
});
after(() => chrome?.close());
// One for each: a console begins with what was said before.
beforeEach(async () => {
  if (why) return;
  suite = await Suite.start({ set: ["sim.host=qemu", `sim.qemu.guest=${guest}`, "mediasrv.allow_http=true", "mediasrv.allow_local=true"] });
});
afterEach(() => suite?.stop());

/** Somebody whose first tab is at this page, with a second at the host's console. */
async function working(path) {
  const person = await Person.at(chrome, suite.url);
  await person.signIn();
  person.console = await person.open();
  await person.goto("/console/system", person.console);
  await person.console.waitForSelector("[data-console=system][data-link=open]");
  await person.goto(path);
  return person;
}

/** Waits until the console shows `text`, all of whose lines end as they do there. */
const says = (person, text) =>
  person.console.waitForFunction(([at, wanted]) => document.querySelector(at)?.innerText.replaceAll("\u00a0", " ").includes(wanted), [TERMINAL, text]);

/** What the console shows. */
const shown = (person) => person.console.evaluate((at) => document.querySelector(at).innerText.replaceAll("\u00a0", " "), TERMINAL);

/** Types a line at the console. A tab that is not in front draws once a second. */
async function enters(person, text) {
  await person.console.bringToFront();
  await person.console.locator(".xterm-helper-textarea").focus();
  await person.console.keyboard.type(text);
  await person.console.keyboard.press("Enter");
}

/** Types a line, and waits for what the guest says. */
async function types(person, text, answer) {
  await enters(person, text);
  await says(person, answer);
}

/** Nothing is on the console but the line that is typed. */
async function clears(person) {
  await person.console.bringToFront();
  await person.console.getByRole("button", { name: "Clear" }).click();
  await painted(person.console);
}

/** Commands that were run so far. */
let ran = 0;

/** Has a command run in the shell at the console, and answers what it wrote. */
async function runs(person, command) {
  await clears(person);
  ran += 1;
  // A sum, as what is typed is echoed.
  await types(person, `${command}; echo over-$((1000+${ran}))`, `\nover-${1000 + ran}`);
  return shown(person);
}

async function logsIn(person) {
  await says(person, "guest login:");
  await types(person, ROOT, "Password:");
  await types(person, SECRET, "~ #");
}

/** Clicks what is to happen to the power, and says yes where that is asked. */
async function powers(person, action, page = person.page) {
  await page.bringToFront();
  await page.locator(POWER).getByRole("button", { name: action, exact: true }).click();
  if (action !== "Power on") await page.locator("dialog").getByRole("button", { name: action }).click();
  await person.sees(`${POWER} strong`, action, page);
  await page.waitForSelector(`${POWER} [data-operation=DONE]`);
}

/** The next boot is from a CD, as the page is told, which says when it has been. */
async function bootsFromCd(person, page) {
  await page.bringToFront();
  await person.goto("/power", page);
  await page.locator(BOOT).getByRole("button", { name: "Boot from something else" }).click();
  await page.selectOption(`${BOOT} select[name=target]`, { label: "CD or DVD" });
  await page.locator(BOOT).getByRole("button", { name: "Save" }).click();
  await page.waitForSelector(`${BOOT} [data-boot-target=CD]`);
  await powers(person, "Power on", page);
  await says(person, ", booted from a disc");
  await page.waitForSelector(`${BOOT} [data-boot-used=CD]`);
}

/** Waits until the drive is so at its page. */
async function drive(page, state) {
  await page.bringToFront();
  await page.waitForSelector(`${CD}[data-media-state=${state}]`);
}

/** Reads the disc in the guest, past what it has read before, until `isCut` is kept and `then` is done: the guest has an error, and its shell goes on. */
async function readsUntil(person, isCut, then = () => {}) {
  await clears(person);
  const read = types(person, "dd if=/dev/sr0 of=/dev/null bs=64k iflag=direct; echo ended-$?", "\nended-1");
  await Promise.race([isCut, read.then(() => assert.fail("it ended by itself"))]);
  await then();
  await read;
  assert.match(await shown(person), /I\/O error/);
  assert.match(await runs(person, "hostname"), /\nguest\n/);
}

/** Ejects by the page what has no source any more. */
async function ejects(page) {
  await drive(page, "NOT_READY");
  await page.waitForSelector(`${CD} .note.warn`);
  await page.locator(CD).getByRole("button", { name: "Eject" }).click();
  await drive(page, "EMPTY");
}

/** The guest has no disc. */
const hasNone = async (person) => assert.match(await runs(person, "dd if=/dev/sr0 of=/dev/null count=1"), /No medium found/);

/** Waits until all of the picture but a few letters has about this colour. */
async function isColoured(person, colour) {
  await person.page.bringToFront();
  await person.page.waitForFunction(
    ([at, colour]) => {
      const canvas = document.querySelector(at);
      if (!canvas?.width || !canvas.height) return false;
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      let found = 0;
      for (let i = 0; i < data.length; i += 4) if (colour.every((value, nth) => Math.abs(data[i + nth] - value) < 16)) found++;
      return found > 0.9 * (data.length / 4);
    },
    [CANVAS, colour],
  );
}
const [RED, BLUE] = [[170, 0, 0], [0, 0, 170]];

/** Strikes a key at the screen, and waits until the picture is another. */
async function strikes(person, key) {
  await person.page.evaluate((at) => {
    const canvas = document.querySelector(at);
    globalThis.picture = () => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    globalThis.before = globalThis.picture();
  }, CANVAS);
  await person.page.keyboard.press(key);
  await person.page.waitForFunction(() => {
    const { before } = globalThis;
    const now = globalThis.picture();
    return now.length !== before.length || now.some((value, i) => value !== before[i]);
  });
}

/** Keys of the US layout that are not called as what is on them; the host is told which keys are down. */
const KEYS = { " ": "Space", ">": "Shift+Period", "/": "Slash", S: "Shift+KeyS" };

/** A server that has an image and serves ranges of it. Once it is `cutAfter` so many more bytes it is gone, in the middle of an answer. */
class Server {
  static async of(file) {
    const server = new Server();
    const image = readFileSync(file);
    server.left = Infinity;
    server.gone = new Promise((resolve) => (server.isGone = resolve));
    server.http = createServer((request, response) => {
      const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
      const part = image.subarray(Number(from), Math.min(Number(to), image.length - 1) + 1);
      response.writeHead(206, { "content-range": `bytes ${from}-${Number(from) + part.length - 1}/${image.length}`, "content-length": part.length, etag: '"one"' });
      server.left -= part.length;
      if (server.left > 0) response.end(part);
      else response.write(part.subarray(0, part.length / 2), () => server.stop());
    });
    await new Promise((resolve) => server.http.listen(0, "127.0.0.1", resolve));
    server.url = `http://127.0.0.1:${server.http.address().port}/disc.iso`;
    return server;
  }

  /** Done once it is gone. */
  cutAfter(bytes) {
    this.left = bytes;
    return this.gone;
  }

  stop() {
    this.http.close();
    this.http.closeAllConnections();
    this.isGone();
  }
}

describe("a real host", () => {
  test("is powered on until it has booted, is logged in to at its serial port, and shuts down when it is asked to", { skip: why }, async () => {
    const person = await working("/power");
    await powers(person, "Power on");
    await person.sees(`${POWER} .badge`, "On");
    // Its own words: it has not only power, it runs.
    await says(person, READY);
    await says(person, "guest login:");
    await types(person, ROOT, "Password:");
    await types(person, "not-the-password", "Login incorrect");
    await clears(person);
    await logsIn(person);
    assert.ok(!(await shown(person)).includes(SECRET + "\n"), "a password is not shown");
    assert.match(await runs(person, "cat /proc/version; whoami"), /\nLinux version [^]*\nroot\n/);
    await person.sees("[data-console] [role=status]", "You have the keyboard", person.console);

    await person.goto("/");
    await person.page.waitForSelector("[data-thumbnail=system][data-drawn=true]");
    await powers(person, "Shut down");
    await person.sees("header [data-host=system]", "Off");
    await says(person, "u-bmc guest: power button");
    await person.leave();
  });

  test("boots from a disc of the store, and has a screen that two see, of whom one types and points", { skip: why }, async () => {
    const ann = await working("/media");
    await ann.page.setInputFiles("[data-media-upload]", disc);
    await ann.page.waitForSelector('[data-media-stored="disc.iso"]');
    await ann.page.locator(CD).getByRole("button", { name: "disc.iso" }).click();
    await drive(ann.page, "INSERTED");
    await bootsFromCd(ann, ann.page);
    await logsIn(ann);
    await suite.api("POST", "users", { user: { username: "reader", role: "ReadOnly", enabled: true }, password: "seven brass doorknobs" });
    const eve = await Person.at(chrome, suite.url);
    await eve.signIn("reader", "seven brass doorknobs");
    for (const person of [ann, eve]) {
      await person.goto("/kvm/system");
      await person.page.waitForSelector("[data-kvm=system][data-link=open]");
    }
    // What its screen shows changes by itself. The cursor is hidden, as its blinking would be a change of the picture.
    const paints = (colour) => `printf "\\033[?25l\\033[4${colour}m\\033[2J\\033[H"`;
    await runs(ann, `${paints(4)} >/dev/tty1`);
    for (const person of [ann, eve]) await isColoured(person, BLUE);

    await runs(ann, `echo '${paints(1)} >/dev/tty1; echo red-$((40+2))' >/bin/red; echo 'echo wrong-$((40+2)) >/dev/ttyS0' >/bin/wrong; chmod +x /bin/red /bin/wrong`);
    await eve.sees(STATUS, "Look only");
    await eve.page.locator(CANVAS).click();
    for (const key of [..."wrong", "Enter"]) await eve.page.keyboard.press(key);
    await ann.page.bringToFront();
    await ann.page.locator(CANVAS).click();
    await ann.sees(STATUS, "You have keyboard and mouse");
    for (const key of "red >/dev/ttyS0") {
      if (key === " ") await ann.page.keyboard.press(KEYS[key]);
      else await strikes(ann, KEYS[key] ?? key);
    }
    await strikes(ann, "Enter");
    await says(ann, "red-42");
    for (const person of [ann, eve]) await isColoured(person, RED);
    assert.ok(!(await shown(ann)).includes("wrong-42"), "who may only look types nothing");
    await eve.sees(STATUS, "admin (127.0.0.1");

    // The system sees the pointer where it is on the picture: kind, code and value of its events, as the kernel has them (linux/input-event-codes.h).
    const found = await runs(ann, "dev=$(grep -l Tablet /sys/class/input/event*/device/name | cut -d/ -f5); echo pointer=$dev");
    assert.match(found, /\npointer=event\d+\n/);
    await clears(ann);
    const report = "dd if=/dev/input/$dev bs=24 count=3 2>/dev/null | od -An -v -w24 -tu2 | while read a b c d e f g h kind code value rest; do echo at $kind $code $value; done; echo moved-$((40+2))";
    await enters(ann, report);
    let hasMoved = false;
    const moved = says(ann, "\nmoved-42").finally(() => (hasMoved = true));
    await ann.page.bringToFront();
    const box = await ann.page.locator(CANVAS).boundingBox();
    // Its driver asks for reports from a moment on; what comes before goes to another device.
    for (let quarter = 1; !hasMoved; quarter = 4 - quarter) {
      await ann.page.mouse.move(box.x + (box.width / 4) * quarter, box.y + (box.height / 4) * (4 - quarter));
      await painted(ann.page);
    }
    await moved;
    const said = await shown(ann);
    const [x, y] = [0, 1].map((axis) => Number(new RegExp(`\\nat 3 ${axis} (\\d+)\\n`).exec(said)?.[1]) / 32767);
    assert.ok(Math.min(Math.abs(x - 0.25), Math.abs(x - 0.75)) < 0.01 && Math.abs(x + y - 1) < 0.02, said);
    await eve.leave();
    await ann.leave();
  });

  test("boots from a disc at a server, and lives on when that has gone", { skip: why }, async () => {
    const server = await Server.of(disc);
    try {
      const person = await working("/media");
      await drive(person.page, "EMPTY");
      await person.page.locator(CD).getByRole("textbox").fill(server.url);
      await person.page.locator(CD).getByRole("button", { name: "Insert", exact: true }).click();
      await drive(person.page, "INSERTED");
      await person.sees(CD, server.url);
      const power = await person.open();
      await bootsFromCd(person, power);
      await logsIn(person);
      await person.page.waitForFunction((at) => Number(document.querySelector(`${at} [data-media-read]`)?.dataset.mediaRead) > 1 << 20, CD);
      await readsUntil(person, server.cutAfter(4 << 20));
      await ejects(person.page);
      await hasNone(person);
      await person.leave();
    } finally {
      server.stop();
    }
  });

  test("boots from a file of the browser's computer, and lives on when its tab is closed", { skip: why }, async () => {
    const person = await working("/media");
    await drive(person.page, "EMPTY");
    // The tab that has the file is at its page; what else there is to do is done in another.
    await person.page.setInputFiles("[data-media-file=cd]", disc);
    await drive(person.page, "INSERTED");
    await person.sees(CD, "disc.iso");
    const other = await person.open();
    await bootsFromCd(person, other);
    await logsIn(person);
    // Some MiB on, a question of the host is never answered: its tab is closed instead, and the disc is ejected while the guest waits for it.
    let tell;
    const asked = new Promise((resolve) => (tell = resolve));
    await person.page.exposeFunction("asked", tell);
    await person.page.evaluate(() => {
      let left = 4 << 20;
      const { slice } = Blob.prototype;
      Blob.prototype.slice = function (from, to) {
        left -= to - from;
        if (left > 0) return slice.call(this, from, to);
        globalThis.asked();
        return { arrayBuffer: () => new Promise(() => {}) };
      };
    });
    await person.goto("/media", other);
    await readsUntil(person, asked, async () => {
      await person.page.close();
      await person.sees(CD, "has ended", other);
      await ejects(other);
    });
    await hasNone(person);
    await person.goto("/power", other);
    await powers(person, "Shut down", other);
    await says(person, "u-bmc guest: power button");
    await person.leave();
  });
});
