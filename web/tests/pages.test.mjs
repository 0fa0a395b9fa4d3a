// Every page in every theme and size: nothing inaccessible, nothing too wide, nothing too large. Leaves a picture of each.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { artefacts, browser, PASSWORD, Person, root, Suite } from "./suite.mjs";

/** How long live sensors are watched; 0 as short as shows anything. */
const LIVE_MINUTES = Number(process.env.UBMC_TEST_LIVE_MINUTES ?? 0);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const PAGES = ["/", "/power", "/console", "/kvm", "/media", "/sensors", "/sensors/cpu0_temp", "/thermal", "/leds", "/inventory", "/inventory/mainboard", "/events", "/users", "/sessions", "/roles", "/controller", "/network", "/time", "/certificate", "/services", "/services/websrv", "/api-explorer", "/settings", "/about"];
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

/** What axe finds by the rules of WCAG 2.2 AA. */
async function findings(page) {
  if (!(await page.evaluate(() => "axe" in globalThis))) await page.evaluate(axe);
  const { violations } = await page.evaluate(() =>
    globalThis.axe.run(document, {
      runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
      resultTypes: ["violations"],
    }),
  );
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.target} ${node.failureSummary?.split("\n")[1] ?? ""}`).slice(0, 4).join(" | ")}`);
}

/** The page has what it shows. */
async function settled(page) {
  await page.waitForFunction(() => document.querySelector("main[data-page]") && !document.querySelector("main .wait, main [data-link=connecting]"));
}

const wider = (page) => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);

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
    for (const path of PAGES) {
      await page.setViewportSize(SIZES.desk);
      await person.follow(path);
      await settled(page);
      await look(nameOf(path));
    }
    await page.setViewportSize(SIZES.desk);
    await page.keyboard.press("Control+k");
    await page.waitForSelector("dialog [role=option]");
    await look("palette");
    await page.keyboard.press("Escape");
    assert.deepEqual(found, []);
    await person.leave();
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
  /** Bytes over the network of what is loaded meanwhile, streams left out. */
  async function counting(page, urls = () => true) {
    const session = await page.context().newCDPSession(page);
    await session.send("Network.enable");
    const wanted = new Map();
    let bytes = 0;
    session.on("Network.responseReceived", ({ requestId, response }) => urls(response.url) && wanted.set(requestId, response.url));
    session.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
      if (wanted.has(requestId)) bytes += encodedDataLength;
    });
    return { read: () => bytes, session };
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
      await person.follow(path);
      await settled(person.page);
      // What it loads comes after it.
      if (path === "/console") await person.page.waitForSelector("[data-console][data-link=open]");
      if (path === "/kvm") await person.page.waitForSelector("[data-kvm][data-link=open] canvas");
    }
    const isStatic = (url) => !/schema\.v1alpha1|\/api\/|\/ui\//.test(url);
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
      // A minute has some 3000 changes. Minutes are counted by them, so that a machine that is slow is not judged for it.
      const wanted = LIVE_MINUTES ? LIVE_MINUTES * 3000 : 3500;
      const least = LIVE_MINUTES ? await changed(9000, 600_000).then(() => 9000) : 1500;
      const begun = await heap();
      await changed(least + wanted, (2 + LIVE_MINUTES) * 240_000);
      const grown = (await heap()) - begun;
      const long = await person.page.evaluate(() => globalThis.long);
      console.log(`# 300 sensors: heap grew by ${grown} bytes over ${wanted} changes; ${long.length} tasks over 50 ms, longest ${Math.round(Math.max(0, ...long))} ms`);
      assert.ok(grown < 2_000_000, `heap: ${grown}`);
      await person.leave();
    } finally {
      await big.stop();
    }
  });
});
