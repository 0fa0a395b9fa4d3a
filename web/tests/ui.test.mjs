// The daily work of an operator in a browser, before the real suite.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { ADMIN, away, browser, Cable, freePort, held, Person, settled, Suite } from "./suite.mjs";

const REFUSED = /Failed to load resource: the server responded with a status of 401/;
const CUT = /Failed to load resource: net::ERR_|net::ERR_/;

let chrome;
let suite;
before(async () => {
  [chrome, suite] = await Promise.all([browser(), Suite.start()]);
});
after(async () => {
  await chrome?.close();
  await suite?.stop();
});

describe("the way in", () => {
  test("a wrong password is told, the right one lets in, and the page that was asked for is shown", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.page.goto(`${suite.url}/sensors/inlet_temp`);
    await person.enter(ADMIN, "not-the-password");
    await person.sees("[role=alert]", "User name or password is wrong.");
    assert.equal(await person.page.inputValue("input[name=password]"), "");
    await person.enter();
    await person.sees("main h1", "Inlet temperature");
    await person.leave([REFUSED]);
  });

  test("no script can read the session, and the token is nowhere in the page", async () => {
    const person = await Person.at(chrome, suite.url);
    let answered;
    person.page.on("response", async (response) => {
      if (response.url().endsWith("/ui/session") && response.request().method() === "POST") answered = await response.text();
    });
    await person.signIn();
    const [cookie] = (await person.context.cookies()).filter(({ name }) => name.startsWith("__Host-u-bmc-"));
    assert.ok(cookie.httpOnly && cookie.secure && cookie.sameSite === "Strict", JSON.stringify(cookie));
    const found = await person.page.evaluate(() => document.cookie + JSON.stringify({ ...localStorage }) + JSON.stringify({ ...sessionStorage }));
    assert.ok(!found.includes(cookie.value) && !answered.includes(cookie.value));
    await person.leave();
  });

  test("a page of another origin gets nothing by the cookie", async () => {
    // Whoever makes the other page does not give it our policy.
    const person = await Person.at(chrome, suite.url, { bypassCSP: true });
    await person.signIn();
    // Another port is the same site: the cookie goes along, and must not count.
    const cable = await Cable.to(suite);
    const page = await person.open();
    await page.goto(`${cable.url}/healthz`);
    const tried = await page.evaluate(async (url) => {
      const results = [];
      for (const [path, init] of [
        ["/ui/session", { credentials: "include" }],
        ["/ui/session", { credentials: "include", headers: { "x-u-bmc-ui": "1" } }],
        ["/api/v1alpha1/users", { credentials: "include", mode: "no-cors" }],
        ["/api/v1alpha1/hosts/system/state", { credentials: "include", method: "POST", body: '{"action":"HOST_ACTION_ON"}', mode: "no-cors" }],
      ]) {
        results.push(await fetch(url + path, init).then(async (r) => (await r.text()).length, () => "refused"));
      }
      return results;
    }, suite.url);
    assert.deepEqual(tried, ["refused", "refused", "refused", "refused"]);
    const { host } = await suite.api("GET", "hosts/system");
    assert.equal(host.status, "HOST_STATUS_OFF");
    await page.close();
    cable.stop();
    await person.leave([/blocked by CORS policy/, CUT, /status of 40[0134]/]);
  });

  test("who fails too often is told for how long to wait", async () => {
    const own = await Suite.start();
    try {
      const person = await Person.at(chrome, own.url);
      await person.page.goto(own.url);
      for (let i = 0; i < 8; i += 1) {
        await person.enter(ADMIN, `wrong-${i}`);
        const told = person.page.locator("[role=alert]").first();
        await told.waitFor();
        await person.page.waitForFunction(() => !document.querySelector("form[aria-busy=true]"));
        if ((await told.textContent()).includes("Too many failed attempts")) break;
      }
      await person.sees("[role=alert]", /Too many failed attempts: try again in \d+/);
      assert.ok(await person.page.isDisabled("form button.primary"), "nothing can be sent meanwhile");
      await person.leave([REFUSED]);
    } finally {
      await own.stop();
    }
  });

  test("the first password is changed before anything else is shown", async () => {
    const own = await Suite.start({ withPassword: false });
    try {
      assert.ok(own.firstPassword, own.output);
      const person = await Person.at(chrome, own.url);
      await person.page.goto(`${own.url}/power`);
      await person.enter(ADMIN, own.firstPassword);
      await person.sees("h1", "Choose a password");
      await person.page.fill("input[name=current]", own.firstPassword);
      await person.page.fill("input[name=next]", "a-password-of-my-own-1");
      await person.page.fill("input[name=again]", "a-password-of-my-own-2");
      await person.sees("[role=alert]", "The two new passwords differ.");
      await person.page.fill("input[name=again]", "a-password-of-my-own-1");
      await person.page.click("form button.primary");
      await person.sees("main h1", "Power");
      await person.leave();
    } finally {
      await own.stop();
    }
  });
});

describe("the machine", () => {
  test("the host is powered on to really on and off again, and each step is seen", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/power");
    const card = "[data-host-card=system]";
    await person.sees(`${card} .badge`, "Off");
    await person.page.locator(card).getByRole("button", { name: "Power on" }).click();
    await person.sees("[role=status]", "Power on of system has started.");
    await person.page.waitForSelector(`${card} [data-operation=DONE]`);
    await person.sees(`${card} .badge`, "On");
    assert.equal((await suite.api("GET", "hosts/system")).host.status, "HOST_STATUS_ON");
    await person.page.locator(card).getByRole("button", { name: "Force off" }).click();
    await person.sees("dialog", "Power is cut at once.");
    await person.page.keyboard.press("Escape");
    assert.equal((await suite.api("GET", "hosts/system")).host.status, "HOST_STATUS_ON", "asked and not answered");
    await person.page.locator(card).getByRole("button", { name: "Force off" }).click();
    await person.page.locator("dialog").getByRole("button", { name: "Force off" }).click();
    await person.sees(`${card} strong`, "Force off");
    await person.page.waitForSelector(`${card} [data-operation=DONE]`);
    await person.sees("header [data-host=system]", "Off");
    await person.leave();
  });

  test("who powers on into a latched emergency is asked first", async () => {
    const own = await Suite.start({ set: ["zones.cpu.power_off_ms=500"] });
    try {
      const person = await Person.at(chrome, own.url);
      await person.signIn();
      await person.goto("/power");
      const button = person.page.locator("[data-host-card=system]").getByRole("button", { name: "Power on" });
      // Nothing is hot: nothing is asked.
      await button.click();
      await person.sees("[role=status]", "Power on of system has started.");
      await person.sees("header [data-host=system]", "On");
      await own.sim("host", "load", "1");
      await own.sim("fault", "set", ...[0, 1, 2, 3].map((n) => `fan${n}=stuck`));
      await person.sees("header [data-host=system]", "Off");
      await button.click();
      await person.sees("dialog", "Zone cpu: emergency, not cleared. What is powered on now may be cut off again.");
      await person.page.keyboard.press("Escape");
      await person.page.waitForSelector("dialog", { state: "detached" });
      const last = async () => (await own.api("GET", "hosts/system")).host.lastOperation.action;
      assert.notEqual(await last(), "HOST_ACTION_ON", "asked and not answered");
      await button.click();
      await person.page.locator("dialog").getByRole("button", { name: "Power on" }).click();
      await person.page.waitForSelector("dialog", { state: "detached" });
      await person.sees("[data-host-card=system] .operation strong", "Power on");
      assert.equal(await last(), "HOST_ACTION_ON", "a warning is no refusal");
      await person.leave();
    } finally {
      await own.stop();
    }
  });

  test("the next boot is from elsewhere, and the page says when that boot has been", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    const other = await person.open();
    await person.goto("/power", other);
    // By the palette, which leads to the form.
    await person.page.keyboard.press("Control+k");
    await person.page.getByRole("combobox").fill("system boot from");
    await person.sees("[role=option]", "system: Boot from something else");
    await person.page.keyboard.press("Enter");
    const row = "[data-boot-override=system]";
    await person.page.selectOption(`${row} select[name=target]`, { label: "Network (HTTP)" });
    await person.page.fill(`${row} input[name=httpBootUri]`, "not a URI");
    await person.page.locator(row).getByRole("button", { name: "Save" }).click();
    await person.sees(".toast.bad", "http_boot_uri");
    assert.equal((await suite.api("GET", "hosts/system")).host.bootOverride.target, "BOOT_TARGET_NONE", "a refused one has no effect");
    await person.page.fill(`${row} input[name=httpBootUri]`, "http://192.0.2.1/rescue.efi");
    await person.page.locator(row).getByRole("button", { name: "Save" }).click();
    await person.page.waitForSelector(`${row} [data-boot-target=UEFI_HTTP]`);
    await person.sees(row, "For the next boot only");
    await person.sees(row, "http://192.0.2.1/rescue.efi");
    // The other tab hears of it.
    await other.waitForSelector(`${row} [data-boot-target=UEFI_HTTP]`);
    await suite.api("POST", "hosts/system/state", { action: "HOST_ACTION_ON" });
    await person.page.waitForSelector(`${row} [data-boot-used=UEFI_HTTP]`);
    await person.sees(row, "As the firmware is set up");
    // One that counts until it is changed is taken back by hand.
    await person.page.locator(row).getByRole("button", { name: "Boot from something else" }).click();
    await person.page.selectOption(`${row} select[name=target]`, { label: "Disk" });
    await person.page.locator(row).getByLabel("Until it is changed").check();
    await person.page.locator(row).getByRole("button", { name: "Save" }).click();
    await person.page.waitForSelector(`${row} [data-boot-target=HDD]`);
    await person.page.locator(row).getByRole("button", { name: "Back to the firmware's own" }).click();
    await other.waitForSelector(`${row} [data-boot-target=HDD]`, { state: "detached" });
    await suite.api("POST", "hosts/system/state", { action: "HOST_ACTION_FORCE_OFF" });
    await person.sees("header [data-host=system]", "Off");
    await person.leave([/status of 400/]);
  });

  test("a threshold that is crossed is seen live, and one that is left, too", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    const other = await person.open();
    await person.goto("/sensors", other);
    await person.goto("/sensors/inlet_temp");
    await person.page.getByRole("button", { name: "Edit" }).click();
    await person.page.getByLabel("Upper Warning").fill("15");
    // There is always one: none is not taken for 0.
    await person.page.getByLabel("Hysteresis").fill("");
    await person.page.getByRole("button", { name: "Save" }).click();
    assert.ok(await person.page.locator("input:invalid").evaluate((input) => input === document.activeElement), "the browser asks for it");
    await person.page.getByLabel("Hysteresis").fill("0.5");
    await person.page.getByRole("button", { name: "Save" }).click();
    // What was changed is named, and nothing else is sent.
    await person.sees("[role=status]", "Stored: Upper Warning 15, Hysteresis 0.5.");
    await person.page.waitForSelector("[data-source=SET]");
    await person.sees("main .badge", "Warning");
    await person.sees("[data-sensor=inlet_temp] .badge", "Warning", other);
    await person.goto("/", other);
    await person.sees("[data-attention]", "Inlet temperature", other);
    await person.page.getByRole("button", { name: "Back to the board's" }).click();
    await person.sees("main .badge", "Good");
    await person.sees("main", "Nothing needs attention.", other);
    await person.leave();
  });

  test("thresholds that contradict each other are refused in words", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/sensors/inlet_temp");
    await person.page.getByRole("button", { name: "Edit" }).click();
    await person.page.getByLabel("Upper Warning").fill("60");
    await person.page.getByRole("button", { name: "Save" }).click();
    await person.sees(".toast.bad", "Request id");
    await person.page.getByRole("button", { name: "Cancel" }).click();
    await person.leave([/status of 400/]);
  });

  test("a fan that sticks is seen live", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/thermal");
    await person.sees("[data-fan=fan0] .badge", "Works");
    await suite.sim("fault", "set", "fan0=stuck");
    await person.sees("[data-fan=fan0]", "the fan does not turn");
    await person.sees("[data-map-fan=fan0].crit", "the fan does not turn");
    await person.sees("[data-zone=cpu] .badge", "Failsafe");
    await suite.sim("fault", "clear", "--all");
    await person.sees("[data-fan=fan0] .badge", "Works");
    await person.sees("[data-zone=cpu] .badge", "Automatic");
    await person.leave();
  });

  test("a zone is taken over by hand and given back", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/thermal");
    const zone = person.page.locator("[data-zone=air]");
    await zone.locator("summary").click();
    await zone.getByRole("slider").fill("80");
    await zone.getByRole("button", { name: "Take over" }).click();
    await person.sees("[data-zone=air]", "By hand at 80 %");
    await zone.getByRole("button", { name: "Back to automatic" }).click();
    await person.sees("[data-zone=air] .badge", "Automatic");
    await person.leave();
  });

  test("the machine shows itself, and every page says so", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/leds");
    await person.sees("[data-led=identify]", "Off");
    await person.page.getByRole("button", { name: "chassis: Identify" }).click();
    await person.page.waitForSelector("[data-led=identify]:not([data-led-state=OFF])");
    await person.goto("/about");
    await person.page.getByRole("button", { name: "Identify is on" }).click();
    await person.sees("[role=status]", "The identify light is off.");
    await person.leave();
  });

  test("a part is given an asset tag, which is in the exported list", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/inventory/mainboard");
    await person.page.fill("input[name=tag]", "TAG-4711");
    await person.page.locator("[data-asset=mainboard]").getByRole("button", { name: "Save" }).click();
    await person.sees("[role=status]", "Saved.");
    const text = await person.saves("CSV");
    assert.match(text, /^id,name,type,/);
    assert.match(text, /mainboard,.*TAG-4711/);
    await person.leave();
  });

  test("events come live, are filtered, and are exported", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/events?domain=chassis");
    const before = await person.page.locator("[data-events] tbody tr").count();
    await suite.api("POST", "chassis/chassis/state", { action: "CHASSIS_ACTION_IDENTIFY_ON" });
    await person.page.waitForFunction((n) => document.querySelectorAll("[data-events] tbody tr").length > n, before);
    await suite.api("POST", "chassis/chassis/state", { action: "CHASSIS_ACTION_IDENTIFY_OFF" });
    const list = JSON.parse(await person.saves("JSON"));
    assert.ok(list.length > before && list.every((event) => event.domain === "chassis"), JSON.stringify(list[0]));
    await person.leave();
  });
});

describe("what was seen to", () => {
  test("an event is resolved with a note, which everybody sees, and reopened; what is refused shows as it was", async () => {
    const ann = await Person.at(chrome, suite.url);
    await ann.signIn();
    await suite.api("POST", "events:test", { message: "the lid was opened", severity: "EVENT_SEVERITY_CRITICAL" });
    await ann.sees("[data-attention]", "the lid was opened");
    const bob = await ann.open();
    await ann.goto("/events?domain=log&resolved=no", bob);
    await ann.page.locator("[data-attention] a", { hasText: "the lid was opened" }).click();
    await ann.sees("main h1", "Event log");
    const row = ann.page.locator("[data-event]", { hasText: "the lid was opened" });
    await row.getByRole("button", { name: "the lid was opened" }).click();
    await row.getByRole("textbox").fill("lid closed");
    await row.getByRole("button", { name: "Resolve" }).click();
    await ann.sees("[role=status]", "The event is resolved.");
    // It is not what is looked for any more, here and in the other tab.
    await row.waitFor({ state: "detached" });
    await bob.locator("[data-event]", { hasText: "the lid was opened" }).waitFor({ state: "detached" });
    await ann.page.getByLabel("State").selectOption({ label: "Resolved" });
    await row.waitFor();
    await row.getByRole("button", { name: "the lid was opened" }).click();
    await ann.sees("[data-event] dd", "lid closed");
    const { events } = await suite.api("GET", "events?resolved=true");
    assert.deepEqual([events.length, events[0].resolution.username, events[0].resolution.note], [1, ADMIN, "lid closed"]);
    assert.match(await ann.saves("CSV"), /resolvedBy,note\r\n.*,admin,lid closed\r\n/);
    await ann.goto("/");
    await ann.sees("main", "All events");
    assert.equal(await ann.page.locator("[data-attention] a", { hasText: "the lid was opened" }).count(), 0);
    // One that the BMC refuses: it shows as it was, with the number for support.
    await ann.goto("/events?resolved=yes&domain=log");
    await ann.page.route(/EventService\/ReopenEvents/, away);
    await row.getByRole("button", { name: "the lid was opened" }).click();
    await row.getByRole("button", { name: "Reopen" }).click();
    await ann.sees(".toast.bad", "r-0815");
    await ann.page.waitForSelector("[data-event][data-resolved=true][aria-busy=false]");
    await ann.page.unroute(/EventService\/ReopenEvents/);
    await row.getByRole("button", { name: "Reopen" }).click();
    await row.waitFor({ state: "detached" });
    // All that are shown, at once.
    await ann.page.getByLabel("State").selectOption({ label: "Unresolved" });
    await ann.sees("[data-events]", "the lid was opened");
    await ann.page.getByRole("button", { name: /^Resolve \d+ shown$/ }).click();
    await ann.page.locator("dialog").getByRole("button", { name: "Resolve" }).click();
    await row.waitFor({ state: "detached" });
    await ann.leave([/status of 503/]);
  });

  test("IPMI is off, says what it costs, and is switched on and off", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/network");
    await person.page.waitForSelector("[data-ipmi=off]");
    await person.sees("[data-ipmi]", "CVE-2013-4786");
    const port = 20_000 + (process.pid % 20_000);
    await suite.api("PATCH", "ipmi", { port });
    await person.sees("[data-ipmi] code", String(port));
    const ask = async (name) => {
      await person.page.locator("[data-ipmi]").getByRole("button", { name }).click();
      await person.sees("dialog", name);
    };
    await ask("Switch IPMI on");
    await person.page.keyboard.press("Escape");
    assert.equal((await suite.api("GET", "ipmi")).ipmi.enabled ?? false, false, "asked and not answered");
    await ask("Switch IPMI on");
    await person.page.locator("dialog").getByRole("button", { name: "Switch IPMI on" }).click();
    await person.page.waitForSelector("[data-ipmi=on]");
    await ask("Switch IPMI off");
    await person.page.locator("dialog").getByRole("button", { name: "Switch IPMI off" }).click();
    await person.page.waitForSelector("[data-ipmi=off]");
    await person.leave();
  });

  test("SSH, the port of desktop viewers and virtual media are switched off and on", async () => {
    const ports = { ssh: await freePort(), vnc: await freePort() };
    const own = await Suite.start({ set: [`websrv.vnc=127.0.0.1:${ports.vnc}`] });
    try {
      await own.api("PATCH", "ssh", { port: ports.ssh });
      const person = await Person.at(chrome, own.url);
      await person.signIn();
      await person.goto("/network");
      const is = (id, state) => person.page.waitForSelector(`[data-switch=${id}][data-state=${state}]`);
      const press = (id, name) => person.page.locator(`[data-switch=${id}]`).getByRole("button", { name }).click();
      const confirm = async (name) => {
        await person.page.locator("dialog").getByRole("button", { name }).click();
        await person.page.waitForSelector("dialog", { state: "detached" });
      };
      const enabled = async () => [(await own.api("GET", "ssh")).ssh, (await own.api("GET", "vnc")).vnc, (await own.api("GET", "media-switch")).mediaSwitch].map((one) => one.enabled ?? false);

      await is("ssh", "off");
      await person.sees("[data-switch=ssh] code", String(ports.ssh));
      await is("vnc", "on");
      await person.sees("[data-switch=vnc]", "as the configuration says");
      await person.sees("[data-switch=vnc] code", String(ports.vnc));
      await is("media", "on");
      // The suite here has none, which cannot be switched.
      await is("redirect", "off");

      await press("ssh", "Switch on SSH");
      await is("ssh", "on");
      assert.deepEqual(await enabled(), [true, true, true]);
      // Asked, and not answered.
      await press("vnc", "Switch off VNC");
      await person.sees("dialog", "Desktop viewers lose the picture");
      await person.page.keyboard.press("Escape");
      await person.page.waitForSelector("dialog", { state: "detached" });
      assert.deepEqual(await enabled(), [true, true, true]);

      for (const [id, name] of [["ssh", "SSH"], ["vnc", "VNC"], ["media", "Virtual media"]]) {
        await press(id, `Switch off ${name}`);
        await confirm(`Switch off ${name}`);
        await is(id, "off");
      }
      assert.deepEqual(await enabled(), [false, false, false]);
      // What was switched elsewhere shows as well.
      await own.api("PATCH", "media-switch", { enabled: true });
      await is("media", "on");
      await press("vnc", "Switch on VNC");
      await is("vnc", "on");
      assert.deepEqual(await enabled(), [false, true, true]);
      await person.leave();
    } finally {
      await own.stop();
    }
  });
});

describe("access", () => {
  test("who is not there any more is asked, and signed out as the BMC would", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.page.clock.install();
    await person.signIn();
    await person.goto("/sensors");
    await person.sees(".link", "Live");
    await person.page.evaluate(() => localStorage.setItem("u-bmc-prefs", JSON.stringify({ ...JSON.parse(localStorage.getItem("u-bmc-prefs")), idle: 5 })));
    await person.page.reload();
    await person.page.waitForSelector("main[data-page]");
    await person.page.clock.fastForward("04:30");
    await person.sees("dialog", "Are you still there?");
    await person.page.getByRole("button", { name: "Stay signed in" }).click();
    await person.page.waitForSelector("dialog", { state: "detached" });
    await person.page.clock.fastForward("05:02");
    await person.sees("[role=status]", "You were signed out, as nobody was there.");
    await person.enter();
    await person.sees("main h1", "Sensors");
    await person.leave([REFUSED]);
  });

  test("a user is created, signs in with fewer rights, and what they may not do is neither offered nor done", async () => {
    const admin = await Person.at(chrome, suite.url);
    await admin.signIn();
    await admin.goto("/users");
    await admin.page.getByRole("button", { name: "New user" }).click();
    await admin.page.fill("dialog input[name=username]", "reader");
    await admin.page.selectOption("dialog select[name=role]", "ReadOnly");
    await admin.page.fill("dialog input[name=password]", "reader-has-a-password");
    await admin.page.uncheck("dialog input[name=change]");
    await admin.page.getByRole("button", { name: "Create" }).click();
    await admin.sees("[data-user=reader]", "ReadOnly");

    const reader = await Person.at(chrome, suite.url);
    await reader.signIn("reader", "reader-has-a-password");
    await reader.goto("/power");
    await reader.page.waitForSelector("[data-host-card=system]");
    assert.equal(await reader.page.getByRole("button", { name: "Power on" }).count(), 0);
    assert.equal(await reader.page.locator("nav").getByText("Users").count(), 0);
    await reader.page.waitForSelector("[data-boot-override=system]");
    assert.equal(await reader.page.getByRole("button", { name: "Boot from something else" }).count(), 0);
    await reader.goto("/events");
    await reader.page.waitForSelector("[data-event]");
    await reader.page.locator("[data-event] button").first().click();
    assert.equal(await reader.page.getByRole("button", { name: /Resolve|Reopen/ }).count(), 0);
    await reader.goto("/network");
    await reader.page.waitForSelector("[data-ipmi=off]");
    for (const [id, state] of [["ssh", "off"], ["vnc", "off"], ["media", "on"]]) await reader.page.waitForSelector(`[data-switch=${id}][data-state=${state}]`);
    assert.equal(await reader.page.locator("[data-ipmi] button, [data-switch] button").count(), 0);
    await reader.goto("/certificate?open=replace");
    await reader.page.waitForSelector("[data-certificate=SELF_MADE]");
    assert.equal(await reader.page.getByRole("button", { name: "Replace certificate" }).count(), 0);
    assert.equal(await reader.page.locator("dialog").count(), 0);
    await reader.page.keyboard.press("Control+k");
    await reader.page.waitForSelector("dialog [role=option]");
    const offered = await reader.page.locator("dialog [role=option]").allTextContents();
    assert.deepEqual(offered.filter((title) => /power on|restart|new user|certificate request|lamp test|profile/i.test(title)), []);
    await reader.page.keyboard.press("Escape");
    const status = await reader.page.evaluate(async () => {
      const answer = await fetch("/api/v1alpha1/hosts/system/state", {
        method: "POST",
        headers: { "content-type": "application/json", "x-u-bmc-ui": "1" },
        body: JSON.stringify({ action: "HOST_ACTION_ON" }),
      });
      return answer.status;
    });
    assert.equal(status, 403);
    await reader.leave([/status of 403/]);

    await admin.page.locator("[data-user=reader]").getByRole("button", { name: "Delete" }).click();
    await admin.page.locator("dialog").getByRole("button", { name: "Delete" }).click();
    await admin.page.waitForSelector("[data-user=reader]", { state: "detached" });
    await admin.leave();
  });

  test("a session that is ended elsewhere signs out, and signing in goes on where it was", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/sensors");
    await suite.endSessionOf(person);
    await person.sees("[role=status]", "Your session has ended.");
    await person.enter();
    await person.sees("main h1", "Sensors");
    await person.leave([REFUSED]);
  });

  test("two tabs are one session: signing out in one signs out the other", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    const other = await person.open();
    await person.goto("/about", other);
    await person.page.getByRole("button", { name: "Sign out" }).click();
    await person.page.waitForSelector("input[name=password]");
    await other.waitForSelector("input[name=password]");
    await person.leave([REFUSED]);
  });
});

describe("the certificate", () => {
  test("is asked for, replaced while the page goes on, and the self-made one comes back", async () => {
    const folder = mkdtempSync(join(tmpdir(), "u-bmc-ca-"));
    const openssl = (...args) => execFileSync("openssl", args, { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
    const served = () =>
      new Promise((resolve, reject) => {
        const [host, port] = suite.ready.https.split(":");
        const socket = connectTls({ host, port: Number(port), rejectUnauthorized: false }, () => {
          resolve(socket.getPeerCertificate().fingerprint256.replaceAll(":", "").toLowerCase());
          socket.destroy();
        });
        socket.on("error", reject);
      });
    try {
      const person = await Person.at(chrome, suite.url);
      await person.signIn();
      await person.goto("/certificate");
      await person.page.waitForSelector("[data-certificate=SELF_MADE]");
      const first = await served();
      assert.equal(await person.page.textContent("[data-fingerprint]"), `sha256:${first}`);
      await person.page.getByRole("button", { name: "Certificate request" }).click();
      await person.page.fill("dialog textarea[name=names]", "bmc.example\n127.0.0.1");
      await person.page.fill("dialog input[name=commonName]", "bmc.example");
      await person.page.getByRole("button", { name: "Make request" }).click();
      writeFileSync(join(folder, "bmc.csr"), await person.page.locator("[data-csr]").inputValue());
      await person.page.getByRole("button", { name: "Done" }).click();
      await person.page.waitForSelector("[data-pending]");
      openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Test authority", "-days", "30");
      // Ten days: an authority needs a while, so the overview tells of it.
      openssl("x509", "-req", "-in", "bmc.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "bmc.pem", "-days", "10", "-copy_extensions", "copy");
      await person.page.getByRole("button", { name: "Replace certificate" }).click();
      await person.page.fill("dialog textarea[name=pem]", "-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n");
      await person.page.locator("dialog").getByRole("button", { name: "Replace", exact: true }).click();
      await person.sees("dialog [role=alert]", "The certificate does not fit. Nothing was changed.");
      assert.equal(await served(), first, "a refused one has no effect");
      await person.page.setInputFiles("dialog input[type=file]", join(folder, "bmc.pem"));
      await person.page.waitForFunction((text) => document.querySelector("dialog textarea[name=pem]").value.trim() === text, readFileSync(join(folder, "bmc.pem"), "utf8").trim());
      await person.page.locator("dialog").getByRole("button", { name: "Replace", exact: true }).click();
      await person.sees("[role=status]", "The new certificate is served.");
      await person.page.waitForSelector("[data-certificate=INSTALLED]");
      await person.sees("[data-certificate] dd", "Test authority");
      const second = await served();
      assert.notEqual(second, first);
      assert.equal(await person.page.textContent("[data-fingerprint]"), `sha256:${second}`);
      // The page goes on, and says what is soon to be done.
      await person.page.locator("nav").getByText("Overview").click();
      await person.sees("[data-attention]", "Certificate: Valid for 9d");
      await person.page.goBack();
      await person.page.getByRole("button", { name: "Back to the self-made one" }).click();
      await person.sees("dialog", "a browser or program that does not trust it");
      await person.page.locator("dialog").getByRole("button", { name: "Back to the self-made one" }).click();
      await person.page.waitForSelector("[data-certificate=SELF_MADE]");
      assert.equal(await served(), first);
      await person.leave([/status of 400/]);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

describe("the connection", () => {
  test("a cut is told, what is shown is marked as old, and it heals without a reload", async () => {
    const cable = await Cable.to(suite);
    const person = await Person.at(chrome, cable.url);
    await person.signIn();
    await person.goto("/power");
    await person.sees(".link", "Live");
    cable.cut();
    await person.sees("[role=alert]", "No connection to the BMC.");
    await person.page.waitForSelector("[data-host-card].stale-block");
    assert.ok(await person.page.locator("[data-host-card=system]").getByRole("button", { name: "Power on" }).isDisabled());
    await suite.api("PATCH", "hosts/system", { host: { description: "changed while away" }, fieldMask: "description" });
    cable.mend();
    await person.sees("[data-host-card=system]", "changed while away");
    await person.page.waitForSelector("[data-host-card].stale-block", { state: "detached" });
    await person.sees(".link", "Live");
    assert.equal(await person.page.getByText("No connection to the BMC.").count(), 0);
    cable.stop();
    await person.leave([CUT, /status of 401/]);
  });

  test("a killed daemon is shown and heals", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/services/ledmgr");
    await person.sees("[data-daemon=ledmgr] .badge", "Serving");
    const before = Number(await person.page.textContent("[data-daemon=ledmgr] [data-restarts]"));
    await suite.kill("ledmgr");
    await person.page.waitForFunction((n) => Number(document.querySelector("[data-daemon=ledmgr] [data-restarts]").textContent) > n, before);
    await person.sees("[data-daemon=ledmgr] .badge", "Serving");
    await person.sees("[data-detail=ledmgr]", "Last exit");
    await person.leave([/status of 503/]);
  });

  test("websrv itself is killed, and the page goes on by itself", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/services");
    await person.sees(".link", "Live");
    const before = Number(await person.page.textContent("[data-daemon=websrv] [data-restarts]"));
    await suite.kill("websrv");
    await person.page.waitForFunction((n) => Number(document.querySelector("[data-daemon=websrv] [data-restarts]")?.textContent) > n, before);
    await person.sees(".link", "Live");
    await person.leave([CUT]);
  });
});

describe("getting around", () => {
  test("every page can be reloaded and gone back to, and an unknown one says so", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    const paths = ["/", "/power", "/console/system", "/kvm/system", "/media", "/sensors?context=TEMPERATURE", "/sensors/fan0", "/thermal", "/leds", "/inventory", "/inventory/psu0", "/events?severity=3", "/users", "/sessions", "/roles", "/controller", "/network", "/time", "/subscriptions", "/certificate", "/services", "/services/websrv", "/api-explorer?q=hosts", "/settings", "/about"];
    const titles = [];
    const heads = [];
    /** Waits for the page of a path, without a fault; answers what it says it is. */
    const settledOn = async (path) => {
      await person.shows(path);
      await settled(person.page);
      return person.page.locator("main h1").first().textContent();
    };
    for (const path of paths) {
      await person.follow(path);
      // The name of what it shows may come after it.
      await person.page.waitForFunction((before) => document.title !== before, titles.at(-1));
      const shown = await settledOn(path);
      await person.page.reload();
      assert.ok(person.page.url().endsWith(path), person.page.url());
      // What is shown is that, and not only what the address says.
      assert.equal(await settledOn(path), shown, path);
      titles.push(await person.page.title());
      heads.push(shown);
    }
    assert.equal(new Set(titles).size, titles.length, titles.join());
    // Each has the name of the BMC and its colour.
    const icon = await person.page.getAttribute("link[rel=icon]", "href");
    assert.match(icon, /^data:image\/svg\+xml,/);
    assert.ok(titles.every((one) => one.endsWith(` · ${new URL(suite.url).host}`)), titles.join());
    for (const [at, path] of [...paths.entries()].slice(0, -1).reverse()) {
      await person.page.goBack();
      await person.page.waitForFunction(([path, title]) => location.pathname + location.search === path && document.title === title && document.querySelector("main[data-page]"), [path, titles[at]]);
      assert.equal(await settledOn(path), heads[at], path);
    }
    await person.page.goto(`${suite.url}/no/such/page`);
    await person.sees("main h1", "There is no such page");
    await person.leave();
  });

  test("links inside the pages do not load them anew, and back leads back", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.page.evaluate(() => (globalThis.isSamePage = true));
    await person.page.locator("nav").getByText("Sensors").click();
    await person.sees("main h1", "Sensors");
    await person.page.getByRole("link", { name: "Fan 0", exact: true }).click();
    await person.sees("main h1", "Fan 0");
    await person.page.goBack();
    await person.sees("main h1", "Sensors");
    assert.ok(await person.page.evaluate(() => globalThis.isSamePage));
    await person.leave();
  });

  test("the palette and the keys lead everywhere", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.page.keyboard.press("Control+k");
    await person.page.getByRole("combobox").fill("inlet temp");
    await person.sees("[role=option]", "Inlet temperature");
    await person.page.keyboard.press("Enter");
    await person.sees("main h1", "Inlet temperature");
    await person.page.keyboard.press("g");
    await person.page.keyboard.press("e");
    await person.sees("main h1", "Event log");
    await person.page.keyboard.press("?");
    await person.sees("dialog", "Keyboard shortcuts");
    await person.page.keyboard.press("Escape");
    await person.page.keyboard.press("/");
    assert.ok(await person.page.evaluate(() => document.activeElement?.hasAttribute("data-filter")));
    await person.leave();
  });

  test("the licences of what is in the program and in the page are told", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/about");
    await person.page.getByText("Libraries in the program").click();
    await person.page.locator("[data-crates] summary").filter({ hasText: /^tokio \d/ }).click();
    await person.sees("[data-crates] pre", "Tokio Contributors");
    await person.page.getByText("Libraries in this page").click();
    await person.sees("details summary", /^svelte \d/);
    const bill = JSON.parse(await person.saves("Bill of materials"));
    assert.deepEqual([bill.bomFormat, bill.specVersion, bill.metadata.component.name], ["CycloneDX", "1.6", "u-bmc"]);
    for (const purl of [/^pkg:cargo\/tokio@\d/, /^pkg:npm\/svelte@\d/, /^pkg:npm\/%40bufbuild\/protobuf@\d/]) assert.ok(bill.components.some((one) => purl.test(one.purl) && one.licenses), String(purl));
    await person.leave();
  });

  test("the API page sends what it shows", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto(`/api-explorer?op=${encodeURIComponent("get /api/v1alpha1/hosts/{name}")}`);
    await person.page.getByLabel("name *").fill("system");
    await person.page.getByRole("button", { name: "Send" }).click();
    await person.sees("[data-answer]", '"name": "system"');
    await person.sees("pre", "/api/v1alpha1/hosts/system");
    await person.sees("[data-ubmcctl]", `ubmcctl --server ${suite.url} call HostService.GetHost '{"name":"system"}'`);
    await person.goto(`/api-explorer?op=${encodeURIComponent("patch /api/v1alpha1/hosts/{name}")}`);
    await person.page.getByLabel("name *").fill("system");
    await person.sees("[data-ubmcctl]", '"host_name":"system"');
    await person.goto(`/api-explorer?op=${encodeURIComponent("get /api/v1alpha1/ipmi")}`);
    await person.sees("[data-ubmcctl]", "call IpmiService.GetIpmi");
    // Nobody is taught to send a token to whom they do not know.
    await person.sees("pre", /^curl 'https:/);
    // What comes late is no answer to what was chosen meanwhile.
    await person.page.getByRole("button", { name: "Send" }).waitFor();
    const { release } = await held(person.page, "**/api/v1alpha1/ipmi");
    const late = person.page.waitForResponse("**/api/v1alpha1/ipmi");
    await person.page.getByRole("button", { name: "Send" }).click();
    await person.page.getByRole("button", { name: "GET /hosts", exact: true }).click();
    await person.sees("h2", "GET /api/v1alpha1/hosts");
    release();
    await (await late).finished();
    await person.page.getByRole("button", { name: "Send" }).click();
    await person.sees("[data-answer]", '"hosts"');
    assert.equal(await person.page.locator("[data-answer]", { hasText: "listening" }).count(), 0);
    await person.leave();
  });

  test("the four languages are shown", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/power");
    for (const [language, words, tag] of [["de", "Strom", "de"], ["ja", "電源", "ja"], ["zh", "电源", "zh-Hans"], ["en", "Power", "en"]]) {
      await person.prefer({ language });
      await person.sees("main h1", words);
      assert.equal(await person.page.getAttribute("html", "lang"), tag);
    }
    // And from the first page on.
    await person.prefer({ language: "ja" });
    await person.page.reload();
    await person.sees("main h1", "電源");
    await person.leave();
  });
});

