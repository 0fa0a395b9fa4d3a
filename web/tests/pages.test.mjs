// Every page in every theme and size: nothing inaccessible, nothing too wide, nothing too large. Leaves a picture of each.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { ADMIN, artefacts, away, browser, findings, PASSWORD, Person, root, settled, Suite, wider } from "./suite.mjs";

/** How long live sensors are watched; 0 as short as shows anything. */
const LIVE_MINUTES = Number(process.env.UBMC_TEST_LIVE_MINUTES ?? 0);
const PAGES = ["/", "/power", "/console", "/kvm", "/media", "/sensors", "/sensors/cpu0_temp", "/thermal", "/leds", "/inventory", "/inventory/mainboard", "/events", "/users", "/sessions", "/roles", "/controller", "/network", "/time", "/subscriptions", "/certificate", "/services", "/services/websrv", "/api-explorer", "/settings", "/about"];
const SIZES = { phone: { width: 360, height: 740 }, desk: { width: 1280, height: 800 }, wall: { width: 3840, height: 2160 } };
/** Pictures that docs/webui.md shows, each in a theme. */
const DOCS = { overview: "dark", power: "light", thermal: "dark", sensors: "light", certificate: "light" };
const nameOf = (path) => path.slice(1).replaceAll("/", "-") || "overview";

let chrome;
let suite;
before(async () => {
  [chrome, suite] = await Promise.all([browser(), Suite.start()]);
  await suite.api("POST", "hosts/system/state", { action: "HOST_ACTION_ON" });
});
after(async () => {
  await chrome?.close();
  await suite?.stop();
});

/** What is looked at in which size. High contrast differs in colours, and the wall is the same in all but those. */
const LOOKED_AT = { phone: ["light", "dark"], desk: ["light", "dark", "contrast"], wall: ["dark"] };

describe("every page", () => {
  test("is accessible and fits, in all themes", async () => {
    const person = await Person.at(chrome, suite.url);
    const { page } = person;
    const folder = join(artefacts, "pages");
    mkdirSync(folder, { recursive: true });
    await page.goto(suite.url);
    await page.waitForSelector("input[name=password]");
    const found = [];
    const look = async (name) => {
      for (const [size, viewport] of Object.entries(SIZES)) {
        await page.setViewportSize(viewport);
        for (const theme of LOOKED_AT[size]) {
          await person.prefer({ theme });
          const wide = await wider(page);
          if (wide > 0) found.push(`${name} at ${size}, ${theme}: ${wide} px too wide`);
          const picture = { path: join(folder, `${name}-${theme}-${size}.png`), fullPage: size !== "wall" };
          // A picture is for people: a browser that does not paint in time on a busy machine is asked once more.
          await page.screenshot({ ...picture, timeout: 20_000 }).catch(() => page.screenshot(picture));
          if (size === "desk" && process.env.UPDATE_DOCS && DOCS[name] === theme) {
            await page.setViewportSize({ width: 1100, height: 700 });
            await page.screenshot({ path: join(root, "docs/images", `webui${name === "overview" ? "" : `-${name}`}.png`) });
            await page.setViewportSize(viewport);
          }
          if (size !== "wall") for (const finding of await findings(page)) found.push(`${name} at ${size}, ${theme}: ${finding}`);
        }
      }
    };
    await look("sign-in");
    await page.setViewportSize(SIZES.desk);
    await person.signIn();
    // A machine as it is most of the time, and not right after its start.
    await person.sees("main", "Nothing needs attention.");
    for (const path of PAGES) {
      await page.setViewportSize(SIZES.desk);
      await person.follow(path);
      await settled(page);
      await look(nameOf(path));
    }
    assert.deepEqual(found, []);
    await person.leave();
  });

  test("every window, and what tells that something failed, is accessible and fits", async () => {
    const person = await Person.at(chrome, suite.url);
    const { page } = person;
    await suite.api("POST", "roles", { role: { id: "NightShift", privileges: ["PRIVILEGE_LOGIN"] } });
    await suite.api("POST", "users", { user: { username: "reader", role: "ReadOnly", enabled: true }, password: PASSWORD });
    await person.signIn();
    const found = [];
    const look = async (name, what = "dialog[open]") => {
      await page.waitForSelector(what);
      for (const size of ["phone", "desk"]) {
        await page.setViewportSize(SIZES[size]);
        for (const theme of LOOKED_AT.desk) {
          await person.prefer({ theme });
          const wide = await page.evaluate((what) => Math.max(document.documentElement.scrollWidth - innerWidth, ...[...document.querySelectorAll(what)].map((one) => one.scrollWidth - one.clientWidth)), what);
          if (wide > 0) found.push(`${name} at ${size}, ${theme}: ${wide} px too wide`);
          for (const finding of await findings(page)) found.push(`${name} at ${size}, ${theme}: ${finding}`);
        }
        await page.screenshot({ path: join(artefacts, "pages", `window-${name}-${size}.png`) });
      }
      await page.setViewportSize(SIZES.desk);
    };
    const closed = async () => {
      await page.keyboard.press("Escape");
      await page.waitForSelector("dialog", { state: "detached" });
    };
    await page.keyboard.press("Control+k");
    await look("palette", "dialog [role=option]");
    await closed();
    await page.keyboard.press("?");
    await look("keys");
    await closed();
    for (const [path, name] of [["/users?new=1", "user"], ["/roles?new=1", "role"], ["/subscriptions?new=1", "subscription"], ["/certificate?open=request", "request"], ["/certificate?open=replace", "certificate"]]) {
      await page.goto(suite.url + path);
      await look(name);
      await closed();
    }
    await person.goto("/kvm");
    await page.waitForSelector("[data-kvm][data-link=open] canvas");
    await page.getByRole("button", { name: "Type text" }).click();
    await look("text");
    await closed();
    await person.goto("/users");
    await page.locator("[data-user=reader]").getByRole("button", { name: "Delete" }).click();
    await look("confirm");
    await closed();
    await page.locator("[data-user=reader]").getByRole("button", { name: "Reset" }).click();
    await page.locator("dialog").getByRole("button", { name: "Reset" }).click();
    await page.waitForSelector("dialog pre");
    await look("password");
    await closed();
    // What failed: an answer that does not come, one to an action, and a page that is not there.
    await page.route(/SessionService\/ListSessions|EventService\/ListEvents/, away);
    await person.follow("/events");
    await page.getByRole("button", { name: "JSON" }).click();
    await look("refused", ".toast.bad");
    await person.follow("/sessions");
    await look("fault", "main .note.crit[role=alert]");
    await page.goto(`${suite.url}/no/such/page`);
    await look("missing", "main h1");
    await person.follow("/inventory?q=there-is-no-such-part");
    await look("empty", "main h1");
    assert.deepEqual(found, []);
    await person.leave([/status of 503/]);
  });

  test("the first password's page and the question whether one is there are accessible", async () => {
    const own = await Suite.start({ withPassword: false });
    try {
      const person = await Person.at(chrome, own.url);
      await person.page.clock.install();
      await person.page.goto(own.url);
      await person.enter(ADMIN, own.firstPassword);
      await person.page.waitForSelector("input[name=next]");
      const found = await findings(person.page);
      await person.page.fill("input[name=current]", own.firstPassword);
      await person.page.fill("input[name=next]", PASSWORD);
      await person.page.fill("input[name=again]", PASSWORD);
      await person.page.click("form button.primary");
      // What is under way is not answered to a page that is loaded anew.
      await person.page.waitForSelector("main[data-page]");
      await person.prefer({ idle: 5 });
      await person.page.reload();
      await person.page.waitForSelector("main[data-page]");
      await person.page.clock.fastForward("04:30");
      await person.sees("dialog", "Are you still there?");
      found.push(...(await findings(person.page)));
      assert.deepEqual(found, []);
      await person.leave();
    } finally {
      await own.stop();
    }
  });

  test("fits the smallest screen in every language", async () => {
    const person = await Person.at(chrome, suite.url, { theme: "dark", viewport: SIZES.phone });
    await person.signIn();
    const found = [];
    for (const path of PAGES) {
      await person.follow(path);
      await settled(person.page);
      for (const language of ["de", "ja", "zh"]) {
        await person.prefer({ language });
        const wide = await wider(person.page);
        if (wide > 0) found.push(`${path} in ${language}: ${wide} px too wide`);
        if (path === "/" || path === "/thermal") await person.page.screenshot({ path: join(artefacts, `${nameOf(path)}-${language}.png`) });
      }
    }
    assert.deepEqual(found, []);
    await person.leave();
  });
});

describe("the budgets", () => {
  const isStatic = (url) => !/schema\.v1alpha1|\/api\/|\/ui\//.test(url);

  /**
   * Bytes over the network of what is loaded meanwhile, streams left out. `turn`: another page is turned to; from then on what it asks of the API once more is
   * left out as well: how often it does depends on how long it is looked at.
   */
  async function counting(page, urls = () => true) {
    const session = await page.context().newCDPSession(page);
    await session.send("Network.enable");
    const wanted = new Map();
    const again = new Set();
    let asked;
    let bytes = 0;
    session.on("Network.requestWillBeSent", ({ requestId, request }) => {
      if (!asked || isStatic(request.url)) return;
      const what = JSON.stringify([request.method, request.url, request.postDataEntries ?? request.postData]);
      if (asked.has(what)) again.add(requestId);
      asked.add(what);
    });
    session.on("Network.responseReceived", ({ requestId, response }) => !again.has(requestId) && urls(response.url) && wanted.set(requestId, response.url));
    session.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
      if (wanted.has(requestId)) bytes += encodedDataLength;
    });
    return { read: () => bytes, turn: () => (asked = new Set()), session };
  }
  const KB = 1000;

  test("the first load, all pages, and a warm load are small enough", async () => {
    const person = await Person.at(chrome, suite.url);
    const first = await counting(person.page);
    await person.signIn();
    await settled(person.page);
    const load = first.read();
    for (const path of PAGES) {
      // As a person does: by the links, so that nothing is loaded twice.
      first.turn();
      await person.follow(path);
      await settled(person.page);
      // What it loads comes after it.
      if (path === "/console") await person.page.waitForSelector("[data-console][data-link=open]");
      if (path === "/kvm") await person.page.waitForSelector("[data-kvm][data-link=open] canvas");
      // The explorer reads an operation once it is chosen.
      if (path === "/api-explorer") {
        await person.page.getByRole("button", { name: "GET /hosts", exact: true }).click();
        await person.sees("[data-ubmcctl]", "call HostService.ListHosts");
      }
    }
    const all = first.read();
    await first.session.detach();
    const again = await counting(person.page, isStatic);
    await person.goto("/");
    await settled(person.page);
    const warm = again.read();
    console.log(`# first load ${load} bytes (budget 150 KB), all pages with their data ${all} (400 KB), warm load ${warm} (5 KB)`);
    assert.ok(load <= 150 * KB, `first load: ${load}`);
    assert.ok(all <= 400 * KB, `all pages: ${all}`);
    assert.ok(warm <= 5 * KB, `warm load: ${warm}`);
    await person.leave();
  });

  test("300 sensors at 1 Hz do not grow the heap", async () => {
    const big = await Suite.start({ board: "targets/sim/big.toml" });
    try {
      const hosts = (await big.api("GET", "hosts")).hosts ?? [];
      for (const host of hosts) await big.api("POST", `hosts/${host.name}/state`, { action: "HOST_ACTION_ON" });
      const person = await Person.at(chrome, big.url);
      await person.signIn(undefined, PASSWORD);
      await person.goto("/sensors");
      await person.page.waitForFunction(() => document.querySelectorAll("[data-sensor]").length >= 300);
      const session = await person.context.newCDPSession(person.page);
      const heap = async () => {
        await session.send("HeapProfiler.collectGarbage");
        return (await session.send("Runtime.getHeapUsage")).usedSize;
      };
      await person.page.evaluate(() => {
        globalThis.long = [];
        new PerformanceObserver((list) => globalThis.long.push(...list.getEntries().map((entry) => entry.duration))).observe({ type: "longtask" });
        globalThis.changes = 0;
        new MutationObserver((list) => (globalThis.changes += list.length)).observe(document.querySelector("main"), { subtree: true, characterData: true, childList: true });
      });
      const changed = (least, timeout = 120_000) => person.page.waitForFunction((n) => globalThis.changes > n, least, { timeout, polling: 500 });
      // The trails of the small charts fill within their 90 readings; each sensor's is a few hundred bytes.
      await changed(1500);
      const count = () => person.page.evaluate(() => globalThis.changes);
      // Minutes are the clock's when it is looked at for long, and some changes when it is not, so that a machine that is slow is not judged for it.
      const watched = async (minutes) => {
        // Within what the runner gives a test, so that it is told what was waited for.
        if (!LIVE_MINUTES) return changed((await count()) + 3500, 300_000);
        for (let minute = 0; minute < minutes; minute += 1) {
          const before = await count();
          // Who does nothing for half an hour is asked whether they are there still, and signed out.
          await person.page.mouse.move(200 + minute % 50, 300);
          await new Promise((resolve) => setTimeout(resolve, 60_000));
          const came = (await count()) - before;
          assert.ok(came > 300, `${came} changes in a minute`);
        }
      };
      if (LIVE_MINUTES) await watched(3);
      const [begun, seen] = [await heap(), await count()];
      await watched(LIVE_MINUTES);
      const grown = (await heap()) - begun;
      const wanted = (await count()) - seen;
      const long = await person.page.evaluate(() => globalThis.long);
      console.log(`# 300 sensors: heap grew by ${grown} bytes of ${begun} over ${wanted} changes; ${long.length} tasks over 50 ms, longest ${Math.round(Math.max(0, ...long))} ms`);
      assert.ok(grown < 2_000_000, `heap: ${grown}`);
      await person.leave();
    } finally {
      await big.stop();
    }
  });
});
