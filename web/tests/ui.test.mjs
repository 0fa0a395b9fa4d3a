// The daily work of an operator in a browser, before the real suite.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ADMIN, browser, Cable, Person, Suite } from "./suite.mjs";

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

  test("a threshold that is crossed is seen live, and one that is left, too", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    const other = await person.open();
    await person.goto("/sensors", other);
    await person.goto("/sensors/inlet_temp");
    await person.page.getByRole("button", { name: "Edit" }).click();
    await person.page.getByLabel("Upper Warning").fill("15");
    await person.page.getByLabel("Hysteresis").fill("0.5");
    await person.page.getByRole("button", { name: "Save" }).click();
    await person.sees("[role=status]", "The thresholds are stored.");
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
    const [file] = await Promise.all([person.page.waitForEvent("download"), person.page.getByRole("button", { name: "CSV" }).click()]);
    const text = await new Response(await file.createReadStream()).text();
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
    const [file] = await Promise.all([person.page.waitForEvent("download"), person.page.getByRole("button", { name: "JSON" }).click()]);
    const list = JSON.parse(await new Response(await file.createReadStream()).text());
    assert.ok(list.length > before && list.every((event) => event.domain === "chassis"), JSON.stringify(list[0]));
    await person.leave();
  });
});

describe("access", () => {
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
    const id = await person.page.evaluate(async () => (await (await fetch("/ui/session", { headers: { "x-u-bmc-ui": "1" } })).json()).principal.sessionId);
    await suite.api("DELETE", `sessions/${id}`);
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
    const paths = ["/power", "/sensors?context=TEMPERATURE", "/thermal", "/leds", "/inventory/psu0", "/events?severity=3", "/services/websrv", "/settings"];
    const title = () => person.page.title();
    const titles = [];
    for (const path of paths) {
      await person.goto(path);
      titles.push(await title());
      await person.page.reload();
      await person.page.waitForSelector("main[data-page]");
      assert.equal(await title(), titles.at(-1));
      assert.ok(person.page.url().endsWith(path));
    }
    assert.equal(new Set(titles).size, titles.length, titles.join());
    for (const path of paths.slice(0, -1).reverse()) {
      await person.page.goBack();
      await person.page.waitForSelector("main[data-page]");
      assert.ok(person.page.url().endsWith(path), person.page.url());
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

  test("the API page sends what it shows", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto(`/api-explorer?op=${encodeURIComponent("get /api/v1alpha1/hosts/{name}")}`);
    await person.page.getByLabel("name *").fill("system");
    await person.page.getByRole("button", { name: "Send" }).click();
    await person.sees("[data-answer]", '"name": "system"');
    await person.sees("pre", "/api/v1alpha1/hosts/system");
    await person.leave();
  });

  test("the four languages are shown", async () => {
    for (const [language, words, tag] of [["en", "Power", "en"], ["de", "Strom", "de"], ["ja", "電源", "ja"], ["zh", "电源", "zh-Hans"]]) {
      const person = await Person.at(chrome, suite.url, { language });
      await person.signIn();
      await person.goto("/power");
      await person.sees("main h1", words);
      assert.equal(await person.page.getAttribute("html", "lang"), tag);
      await person.leave();
    }
  });
});

