// How soon the pages are there and answer, under a processor that is four times slower, and what goes over the network. `cargo xtask bench web` runs it.
// Beside it stands what webui-vue's makers have published of theirs: other hardware, so a hint and no race.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { artefacts, browser, PASSWORD, ADMIN, Person, Suite } from "./suite.mjs";

const ROUNDS = Number(process.env.UBMC_BENCH_ROUNDS ?? 5);
/** As phones and old laptops are. */
const SLOWER = 4;
/** webui-vue, by openbmc/bmcweb 499b5b4dcb: the first load compressed, and the time it took; a warm one. */
const PEER = { kb: 544, ms: 1400, warmKb: 2.3, warmMs: 280 };

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

/**
 * Opens `path` and says when there was something to see, when its data was there, and what came over the network. Chromium keeps no files of a BMC whose
 * certificate it does not know but for the page that has them: a warm load is one of the same `page`.
 */
async function load(person, path, again) {
  const page = again ?? (await person.open());
  const cdp = await person.context.newCDPSession(page);
  await cdp.send("Network.enable");
  await cdp.send("Emulation.setCPUThrottlingRate", { rate: SLOWER });
  let bytes = 0;
  cdp.on("Network.loadingFinished", ({ encodedDataLength }) => (bytes += encodedDataLength));
  if (!again)
    await page.addInitScript(() => {
      globalThis.long = 0;
      new PerformanceObserver((list) => list.getEntries().forEach(({ duration }) => (globalThis.long += Math.max(0, duration - 50)))).observe({ type: "longtask", buffered: true });
    });
  await page.goto(person.url + path, { waitUntil: "commit" });
  const shown = await page
    .waitForFunction(() => (document.querySelector("main h1") && !document.querySelector("main .wait") ? performance.now() : undefined), undefined, { polling: "raf" })
    .then((value) => value.jsonValue());
  const [paint, blocked] = await page.evaluate(() => [performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? NaN, globalThis.long]);
  return { page, cdp, paint, shown, blocked, bytes: () => bytes };
}

/** From the key or click to the frame in which its effect is seen. */
async function interaction(page, act, is) {
  const begun = await page.evaluate(() => performance.now());
  await act();
  const seen = await page.waitForFunction(is, undefined, { polling: "raf" }).then(() => page.evaluate(() => performance.now()));
  return seen - begun;
}

const chrome = await browser();
const suite = await Suite.start({ board: "targets/sim/big.toml" });
const rows = [];
const row = (name, ms, kb, peer = "") => rows.push({ name, ms: ms === undefined ? "" : ms.toFixed(0), kb: kb === undefined ? "" : (kb / 1000).toFixed(1), peer });
try {
  const cold = [];
  const warm = [];
  const clicks = [];
  const keys = [];
  for (let i = 0; i < ROUNDS; i += 1) {
    const person = await Person.at(chrome, suite.url);
    await person.page.goto(suite.url);
    await person.enter(ADMIN, PASSWORD);
    await person.page.waitForSelector("main[data-page]");
    const cookies = await person.context.cookies();
    await person.context.close();
    // Signed in, with nothing in the browser's cache.
    const fresh = await Person.at(chrome, suite.url);
    await fresh.context.addCookies(cookies);
    const first = await load(fresh, "/");
    // Streams go on; what is loaded is there once it is still.
    await first.page.waitForTimeout(1000);
    cold.push({ ...first, bytes: first.bytes() });
    const menu = first.page.locator("nav");
    clicks.push(
      await interaction(first.page, () => menu.getByText("Sensors").click(), () => document.querySelectorAll("[data-sensor]").length > 20),
    );
    keys.push(
      await interaction(first.page, () => first.page.locator("[data-filter]").fill("fan"), () => [...document.querySelectorAll("[data-sensor]")].every((line) => /fan/i.test(line.textContent))),
    );
    await first.cdp.detach();
    const second = await load(fresh, "/", first.page);
    await second.page.waitForTimeout(1000);
    warm.push({ ...second, bytes: second.bytes() });
    await fresh.context.close();
  }
  const of = (list, key) => median(list.map((one) => one[key]));
  row("first load: first paint", of(cold, "paint"));
  row("first load: overview with its data", of(cold, "shown"), of(cold, "bytes"), `webui-vue: ${PEER.ms} ms, ${PEER.kb} KB`);
  row("first load: main thread blocked", of(cold, "blocked"));
  row("warm load: first paint", of(warm, "paint"));
  row("warm load: overview with its data", of(warm, "shown"), of(warm, "bytes"), `webui-vue: ${PEER.warmMs} ms, ${PEER.warmKb} KB without data`);
  row("click: 300 sensors listed", median(clicks));
  row("key: sensors filtered", median(keys));
  console.log(`Web UI in Chromium, processor ${SLOWER} times slower, ${ROUNDS} rounds, 300 sensors, median`);
  for (const { name, ms, kb, peer } of rows) console.log(`${name.padEnd(38)} ${ms.padStart(6)} ms ${kb.padStart(8)}${kb ? " KB" : "   "}  ${peer}`);
  console.log(`bytes of the first load against webui-vue's: ${(of(cold, "bytes") / 1000 / PEER.kb).toFixed(2)}`);
  writeFileSync(join(artefacts, "bench.json"), JSON.stringify(rows, null, 2));
} finally {
  await suite.stop();
  await chrome.close();
}
