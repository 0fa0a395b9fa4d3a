// What is shown is true or marked, and every action has an end: before daemons that hang or die, a cable that is cut without a word, and answers that
// come late.
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { away, browser, Cable, held, late, noticed, painted, Person, SOON, Suite } from "./suite.mjs";

const CUT = /net::ERR_/;
const AWAY = /status of (503|504)/;

let chrome;
let suite;
before(async () => {
  [chrome, suite] = await Promise.all([browser(), Suite.start()]);
});
after(async () => {
  await chrome?.close();
  await suite?.stop();
});

/** A daemon that hangs while `then` looks. */
async function hung(name, then) {
  const pid = await suite.pidOf(name);
  process.kill(pid, "SIGSTOP");
  try {
    await then();
  } finally {
    // The operator may have ended it by now.
    try {
      process.kill(pid, "SIGCONT");
    } catch {
      // It has.
    }
  }
}
const power = (action) => suite.api("POST", "hosts/system/state", { action: `HOST_ACTION_${action}` });
async function hostIs(status) {
  for (;;) {
    const { host } = await suite.api("GET", "hosts/system");
    if (host.status === `HOST_STATUS_${status}`) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

describe("a cable that is cut without a word", () => {
  test("values become old, what acts is not offered, and it heals", async () => {
    const cable = await Cable.to(suite);
    const person = await Person.at(chrome, cable.url);
    await person.signIn();
    await person.goto("/sensors");
    await person.page.waitForSelector("[data-sensor=inlet_temp] .badge:not(.stale)");
    await person.page.keyboard.press("Control+k");
    await person.page.waitForSelector("dialog [role=option]");
    await person.page.keyboard.press("Escape");
    const other = await person.open();
    await person.goto("/leds", other);
    await other.waitForSelector("[data-led=identify]");
    const users = await person.open();
    await person.goto("/users", users);
    await users.waitForSelector("[data-users]");
    const api = await person.open();
    await person.goto(`/api-explorer?op=${encodeURIComponent("post /api/v1alpha1/events:test")}`, api);
    await api.getByRole("button", { name: "Send", exact: true }).waitFor();
    const typed = '{"message": "typed before the cut"}';
    await api.locator("textarea").fill(typed);
    cable.hang();
    await person.sees("[role=alert]", "No connection to the BMC.");
    await person.page.waitForSelector("[data-sensor=inlet_temp] .num.stale");
    await person.page.waitForSelector("[data-sensor=inlet_temp] .badge.stale");
    await person.sees("[role=alert]", "No connection to the BMC.", other);
    assert.ok(await other.getByRole("button", { name: "chassis: Identify" }).isDisabled());
    await person.sees("[role=alert]", "No connection to the BMC.", users);
    await users.waitForSelector("[data-old] [data-users]");
    assert.ok(await users.getByRole("button", { name: "New user" }).isDisabled());
    await person.sees("[role=alert]", "No connection to the BMC.", api);
    assert.ok(await api.getByRole("button", { name: "Send", exact: true }).isDisabled());
    // What is not here cannot come any more: that is said, and not waited for.
    await users.keyboard.press("Control+k");
    await person.sees(".toast.bad", "could not be loaded", users);
    await users.locator("nav").getByRole("link", { name: "Inventory" }).click();
    await person.sees("main [role=alert]", "could not be loaded", users);
    await person.page.keyboard.press("Control+k");
    await person.page.waitForSelector("dialog [role=option]");
    await person.page.locator("dialog [role=combobox]").fill("power on");
    assert.equal(await person.page.locator("[role=option]", { hasText: "Power on" }).count(), 0, "the palette offers what cannot be done");
    await person.page.keyboard.press("Escape");
    const reads = ["index", "EventService"].map((part) => api.waitForResponse((answer) => answer.url().endsWith(`openapi.json?part=${part}`) && answer.ok()));
    cable.mend();
    await person.sees(".link", "Live");
    await person.page.waitForSelector("[data-sensor=inlet_temp] .num:not(.stale)");
    // The API is described anew, and what was typed is there.
    for (const read of await Promise.all(reads)) await read.finished();
    await painted(api);
    assert.equal(await api.locator("textarea").inputValue(), typed);
    cable.stop();
    await person.leave([CUT, /status of 401/]);
  });

  test("an action into it has an end, which says that nothing is known", async () => {
    const cable = await Cable.to(suite);
    const person = await Person.at(chrome, cable.url);
    await person.signIn();
    await person.goto("/leds");
    await person.page.waitForSelector("[data-led=identify]");
    await person.sees(".link", "Live");
    cable.hang();
    await person.page.getByRole("button", { name: "chassis: Identify" }).click();
    await person.sees(".toast.bad", "It is not known whether it was done");
    await person.sees("[role=alert]", "No connection to the BMC.");
    cable.mend();
    await person.sees(".link", "Live");
    cable.stop();
    await suite.api("POST", "chassis/chassis/state", { action: "CHASSIS_ACTION_IDENTIFY_OFF" });
    await person.leave([CUT, /status of 401/]);
  });
});

describe("what belongs to one thing", () => {
  test("neither thresholds that are edited nor a chart go along to another sensor", async () => {
    const person = await Person.at(chrome, suite.url);
    const { page } = person;
    await person.signIn();
    await person.goto("/sensors/inlet_temp");
    await page.waitForSelector(".u-over");
    await page.getByRole("button", { name: "Edit" }).click();
    await page.getByLabel("Upper Warning").fill("41");
    const { release, asked } = await held(page, /GetSensorHistory/, { once: true });
    await page.keyboard.press("Control+k");
    await page.locator("dialog [role=combobox]").fill("psu0_temp");
    await person.sees("[role=option]", "psu0_temp");
    await page.keyboard.press("Enter");
    await person.sees("main h1", "Power supply 0 temperature");
    await asked;
    assert.equal(await page.locator("main input[type=number]").count(), 0, "the form of another sensor");
    assert.equal(await page.locator(".u-over").count(), 0, "the chart of another sensor");
    release();
    await page.waitForSelector(".u-over");
    // The other span is not this one's either.
    const day = await held(page, /GetSensorHistory/, { once: true });
    await page.getByRole("button", { name: "Day" }).click();
    await day.asked;
    assert.equal(await page.locator(".u-over").count(), 0, "the chart of the other span");
    day.release();
    await page.waitForSelector(".u-over, main .empty");
    await person.leave();
  });

  test("a sensor's quality and its reason are of the same moment", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await hostIs("OFF");
    await person.goto("/sensors/cpu0_temp");
    await person.sees("[data-quality]", "off");
    await power("ON");
    await person.page.waitForFunction(() => document.querySelector("[data-quality]")?.textContent.trim() === "Good");
    await power("FORCE_OFF");
    await person.sees("[data-quality]", "off");
    await hostIs("OFF");
    await person.leave();
  });
});

describe("answers that come late", () => {
  test("what happens before the stream begins is not missed", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await hostIs("OFF");
    await person.sees("header [data-host=system]", "Off");
    const { release, asked } = await held(person.page, /WatchEvents/);
    await person.page.reload();
    await asked;
    await person.sees("header [data-host=system]", "Off");
    await power("ON");
    await hostIs("ON");
    release();
    await person.sees("header [data-host=system]", "On");
    await power("FORCE_OFF");
    await hostIs("OFF");
    await person.leave();
  });

  test("a list that was made before does not replace what the stream has said since", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/sensors");
    await person.sees("[data-sensor=inlet_temp] .badge", "Good");
    const list = await late(person.page, /ListSensors/);
    // Some event of a sensor has the list read.
    await suite.sim("fault", "set", "psu1=removed");
    await list.answered;
    const path = "sensors/inlet_temp/thresholds";
    await suite.api("PUT", path, { upperThresholds: { warning: 15 }, hysteresis: 0.5, fieldMask: "upperThresholds.warning,hysteresis" });
    await person.sees("[data-sensor=inlet_temp] .badge", "Warning");
    list.release();
    await list.done;
    await painted(person.page);
    assert.equal((await person.page.textContent("[data-sensor=inlet_temp] .badge")).trim(), "Warning");
    await suite.api("DELETE", path);
    await suite.sim("fault", "clear", "--all");
    await person.sees("[data-sensor=inlet_temp] .badge", "Good");
    await person.leave();
  });

  test("a list that is slow to come is shown under a steady stream of events", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/leds");
    await person.page.waitForSelector("[data-led=identify][data-led-state=OFF]");
    let most = 0;
    let now = 0;
    await person.page.route(/ListLeds/, async (route) => {
      most = Math.max(most, ++now);
      await new Promise((resolve) => setTimeout(resolve, 600));
      await route.continue().catch(() => {});
      now -= 1;
    });
    const seen = person.page.waitForSelector("[data-led=identify]:not([data-led-state=OFF])", { timeout: 2 * SOON }).then(() => (isSeen = true));
    let isSeen = false;
    let isOn = false;
    const wait = () => new Promise((resolve) => setTimeout(resolve, 150));
    for (const end = Date.now() + SOON; !isSeen && Date.now() < end; await wait()) {
      isOn = !isOn;
      await suite.api("POST", "chassis/chassis/state", { action: `CHASSIS_ACTION_IDENTIFY_${isOn ? "ON" : "OFF"}` });
    }
    assert.ok(isSeen, "no answer was taken while events came");
    await seen;
    assert.ok(most <= 1, `${most} reads at a time`);
    await suite.api("POST", "chassis/chassis/state", { action: "CHASSIS_ACTION_IDENTIFY_OFF" });
    await person.leave();
  });
});

describe("the overview", () => {
  test("says that nothing needs attention only when that is known, and marks it when it is old", async () => {
    const cable = await Cable.to(suite);
    const person = await Person.at(chrome, cable.url);
    await person.signIn();
    await person.sees("[data-well]", "Nothing needs attention.");
    await person.page.waitForSelector("[data-well]:not(.stale)");
    cable.cut();
    await person.page.waitForSelector("[data-well].stale");
    cable.mend();
    await person.page.waitForSelector("[data-well]:not(.stale)");
    await person.page.route(/ListThermalZones/, away);
    await person.sees("[data-attention]", "Cooling: ");
    assert.equal(await person.page.locator("[data-well]").count(), 0);
    await person.page.unroute(/ListThermalZones/);
    await person.sees("[data-well]", "Nothing needs attention.");
    cable.stop();
    await person.leave([CUT, AWAY, /status of 401/]);
  });

  test("a board without sensors comes to it as well", async () => {
    const own = await Suite.start({ board: "targets/sim-level/board.toml" });
    try {
      const person = await Person.at(chrome, own.url);
      await person.signIn();
      await person.sees("main", /Nothing needs attention\.|Needs attention.*(Soon|Now)/s);
      assert.equal(await person.page.locator("main", { hasText: "Loading" }).count(), 0);
      await person.leave([AWAY]);
    } finally {
      await own.stop();
    }
  });

  test("power that is drawn in part says so", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    const text = async () => (await person.page.textContent("[data-power-drawn]")).trim();
    await person.page.waitForSelector("[data-power-drawn]");
    assert.match(await text(), /^\d+ W$/);
    await suite.sim("fault", "set", "psu1_power=missing");
    await person.sees("[data-power-drawn]", "≥");
    await suite.sim("fault", "clear", "--all");
    await person.page.waitForFunction(() => !document.querySelector("[data-power-drawn]").textContent.includes("≥"));
    // A supply that is not there draws nothing.
    await suite.sim("fault", "set", "psu1=removed");
    await person.page.waitForFunction(() => /^\d+ W$/.test(document.querySelector("[data-power-drawn]").textContent.trim()));
    // But it was there.
    await person.sees("[data-attention]", "Power supply 1: Not present");
    await suite.sim("fault", "clear", "--all");
    await person.sees("main", "Nothing needs attention.");
    await person.leave();
  });

  test("a store that keeps nothing any more is told", { skip: process.getuid() === 0 ? false : "SKIP: file systems are mounted by root only" }, async () => {
    const folder = mkdtempSync(join(tmpdir(), "u-bmc-store-"));
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=48m", "tmpfs", folder]);
    const before = process.env.TMPDIR;
    let own;
    try {
      process.env.TMPDIR = folder;
      own = await Suite.start();
      const person = await Person.at(chrome, own.url);
      await person.signIn();
      await person.sees("main", "Nothing needs attention.");
      // `dd` ends with an error when there is no room left: that is what is asked of it.
      spawnSync("dd", ["if=/dev/zero", "bs=4096", "status=none", `of=${join(folder, "filler")}`], { stdio: "ignore" });
      const told = person.sees("[data-attention]", "Store");
      // What is kept takes room that there is not: at the latest once the last page is full.
      let isTold = false;
      void told.then(() => (isTold = true), () => {});
      for (let i = 0; i < 200 && !isTold; i += 1) await own.api("POST", "events:test", { message: "is this kept? ".repeat(14) }).catch(() => {});
      await told;
      rmSync(join(folder, "filler"));
      await person.sees("main", "Nothing needs attention.");
      await person.leave([AWAY]);
    } finally {
      if (before === undefined) delete process.env.TMPDIR;
      else process.env.TMPDIR = before;
      await own?.stop();
      execFileSync("umount", ["-l", folder]);
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

describe("times", () => {
  test("lengths of time go on, and times name their zone", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.page.clock.install();
    await person.signIn();
    await person.goto("/about");
    await person.prefer({ clock: "utc" });
    await person.sees("header .zone", "UTC");
    await person.sees("main dd", / UTC$/);
    const up = async () => {
      const text = (await person.page.locator("main dd").allTextContents()).at(-1);
      return [..."dhm"].reduce((sum, unit) => sum + Number(new RegExp(`(\\d+)${unit}`).exec(text)?.[1] ?? 0) * { d: 1440, h: 60, m: 1 }[unit], 0);
    };
    const first = await up();
    // What the BMC says anew would be right in any case.
    await held(person.page, /GetSystemInfo/);
    await person.page.clock.fastForward("10:00");
    await painted(person.page);
    assert.ok((await up()) >= first + 10, `${first} min, ten minutes later ${await up()} min`);
    await person.leave([CUT]);
  });

  test("ages are counted by the BMC's clock, and a wrong one is told", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.page.clock.install({ time: Date.now() - 3 * 3600_000 });
    await person.signIn();
    await person.sees("[data-attention]", /Clock: .*ahead of this browser's/);
    await person.goto("/services");
    const since = () => person.page.locator("[data-daemon=websrv] time").first().textContent();
    // It started within this run, and not in some hours.
    assert.match(await since(), /^\d+\s?(m|s|min)\b.* ago$/);
    await person.leave();
  });
});

// At the end: what happens here needs attention afterwards.
describe("a daemon that hangs or dies", () => {
  test("sensormon: values are shown as old with their age, and heal", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    const other = await person.open();
    await person.goto("/", other);
    await person.sees("main", "Nothing needs attention.", other);
    await person.goto("/sensors");
    await person.page.waitForSelector("[data-sensor=inlet_temp] .badge:not(.stale)");
    await hung("sensormon", async () => {
      await person.page.waitForSelector("[data-sensor=inlet_temp] .num.stale");
      await person.page.waitForSelector("[data-sensor=inlet_temp] .badge.stale");
      await person.sees("[data-sensor=inlet_temp]", /\d+\s?s old/);
      await person.sees("[data-attention]", "Sensors", other);
      await other.waitForSelector("[data-power-drawn].stale");
    });
    await person.page.waitForSelector("[data-sensor=inlet_temp] .badge:not(.stale)");
    await person.page.waitForSelector("[data-sensor=inlet_temp] .num:not(.stale)");
    await person.sees("main", "Nothing needs attention.", other);
    const before = await suite.pidOf("sensormon");
    const marked = await noticed(other, "[data-attention], [data-well].stale");
    await suite.kill("sensormon");
    await marked.seen();
    await person.sees("main", "Nothing needs attention.", other);
    await person.page.waitForSelector("[data-sensor=inlet_temp] .num:not(.stale)");
    assert.notEqual(await suite.pidOf("sensormon"), before);
    await person.leave([AWAY]);
  });

  test("sensormon: what was wrong when it was last known stays among what needs attention", async () => {
    const path = "sensors/inlet_temp/thresholds";
    await suite.api("PUT", path, { upperThresholds: { warning: 15 }, hysteresis: 0.5, fieldMask: "upperThresholds.warning,hysteresis" });
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.sees("[data-attention]", "Inlet temperature");
    await hung("sensormon", async () => {
      await person.page.waitForSelector("[data-attention].stale");
      await person.sees("[data-attention]", "Sensors: ");
      assert.match(await person.page.textContent("[data-attention]"), /Inlet temperature/);
    });
    await person.page.waitForSelector("[data-attention]:not(.stale)");
    await suite.api("DELETE", path);
    await person.sees("main", "Nothing needs attention.");
    await person.leave([AWAY]);
  });

  test("thermalmgr: that it hangs needs attention as soon as that is told, and no longer", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.sees("main", "Nothing needs attention.");
    // A page that nobody can see asks for nothing now and then: what it shows comes by events.
    await person.page.evaluate(() => Object.defineProperty(document, "hidden", { configurable: true, get: () => true }));
    await hung("thermalmgr", async () => {
      await person.sees("[data-attention]", "the loop of thermalmgr gives no sign of life");
      await person.sees("[data-attention]", "Cooling: ");
    });
    await person.page.locator("[data-attention]", { hasText: "gives no sign of life" }).waitFor({ state: "detached" });
    await person.page.evaluate(() => delete document.hidden);
    await person.sees("main", "Nothing needs attention.");
    const { events } = await suite.api("GET", "events?domain=system&component=heartbeat");
    const ours = events.filter(({ message }) => message.includes("thermalmgr"));
    assert.deepEqual(ours.map(({ what }) => what).slice(0, 2), ["back", "missed"]);
    await person.leave([AWAY]);
  });

  test("thermalmgr: zones and fans are shown as old, and heal", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/thermal");
    await person.page.waitForSelector("[data-zone=cpu] .badge:not(.stale)");
    await hung("thermalmgr", async () => {
      await person.page.waitForSelector("[data-zone=cpu] .badge.stale");
      await person.page.waitForSelector("[data-fan=fan0].stale");
    });
    await person.page.waitForSelector("[data-zone=cpu] .badge:not(.stale)");
    const marked = await noticed(person.page, "[data-zone=cpu] .badge.stale");
    await suite.kill("thermalmgr");
    await marked.seen();
    await person.page.waitForSelector("[data-zone=cpu] .badge:not(.stale)");
    await person.leave([AWAY]);
  });

  test("statemgr: how the host stands is shown as old, nothing is offered, and it heals", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/power");
    const card = "[data-host-card=system]";
    await person.page.waitForSelector(`${card}:not(.stale-block)`);
    await hung("statemgr", async () => {
      await person.page.waitForSelector(`${card}.stale-block`);
      assert.ok(await person.page.locator(card).getByRole("button", { name: "Power on" }).isDisabled());
    });
    await person.page.waitForSelector(`${card}:not(.stale-block)`);
    const marked = await noticed(person.page, `${card}.stale-block`);
    await suite.kill("statemgr");
    await marked.seen();
    await person.page.waitForSelector(`${card}:not(.stale-block)`);
    await person.leave([AWAY]);
  });
});
