// Runs the whole suite as a user would, and a browser before it.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, watch, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { request } from "node:https";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { chromium } from "playwright-core";

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const bin = process.env.UBMC_TEST_BIN ?? join(root, "target", "debug");
export const artefacts = process.env.UBMC_TEST_ARTEFACTS ?? join(root, "target", "web");
mkdirSync(artefacts, { recursive: true });

export const ADMIN = "admin";
export const PASSWORD = "correct-horse-battery-1";
/** Longest wait for something that is certain to come, ms. */
export const SOON = Number(process.env.UBMC_TEST_SOON_MS ?? 60_000);

/** A suite on a simulated board of its own. */
export class Suite {
  static async start({ board = "targets/sim/board.toml", withPassword = true, set = [], https = "127.0.0.1:0", within = [] } = {}) {
    const state = mkdtempSync(join(tmpdir(), "u-bmc-web-"));
    const ready = join(state, "ready.json");
    const secret = join(state, "password");
    writeFileSync(secret, PASSWORD);
    const args = ["operator", "--board", board, "--state-dir", state, "--https", https, "--http", "off", "--ready-file", ready];
    if (withPassword) args.push("--admin-password-file", secret);
    for (const pair of set) args.push("--set", typeof pair === "function" ? pair(state) : pair);
    const [program, ...rest] = [...within, join(bin, "u-bmc"), ...args];
    const child = spawn(program, rest, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    const suite = new Suite();
    Object.assign(suite, { state, child, output: "", cables: new Set() });
    const exited = new Promise((resolve) => child.once("exit", resolve));
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (suite.output += chunk));
    suite.exited = exited;
    await new Promise((resolve, reject) => {
      const limit = setTimeout(() => reject(new Error(`not ready:\n${suite.output}`)), 180_000);
      const done = (end, with_) => {
        watcher.close();
        clearTimeout(limit);
        end(with_);
      };
      const look = () => {
        try {
          suite.ready = JSON.parse(readFileSync(ready, "utf8"));
          done(resolve);
        } catch {
          // Not yet.
        }
      };
      const watcher = watch(state, look);
      child.once("exit", (code) => done(reject, new Error(`u-bmc exited with ${code}:\n${suite.output}`)));
      look();
    });
    suite.url = `https://${suite.ready.https}`;
    return suite;
  }

  async stop() {
    // Those of a test that failed are open still, and would keep this process from its end.
    for (const cable of this.cables) cable.stop();
    this.child.kill("SIGTERM");
    await this.exited;
    rmSync(this.state, { recursive: true, force: true });
  }

  /** What the operator printed of the first administrator's random password. */
  get firstPassword() {
    return /password\W+(\S{12,})/i.exec(this.output)?.[1];
  }

  /** A call of the REST API as the first administrator. */
  api(method, path, body, password = PASSWORD) {
    return new Promise((resolve, reject) => {
      const call = request(
        `${this.url}/api/v1alpha1/${path}`,
        { method, rejectUnauthorized: false, agent: false, auth: `${ADMIN}:${password}`, headers: body ? { "content-type": "application/json" } : {} },
        (answer) => {
          let text = "";
          answer.on("data", (chunk) => (text += chunk));
          answer.on("end", () => (answer.statusCode < 300 ? resolve(JSON.parse(text)) : reject(new Error(`${path}: ${answer.statusCode} ${text}`))));
        },
      );
      call.on("error", reject);
      call.end(body ? JSON.stringify(body) : undefined);
    });
  }

  /** The controls of the simulated machine. */
  async sim(...args) {
    await promisify(execFile)(join(bin, "ubmcctl"), ["sim", "--run-dir", this.ready.run_dir, ...args]);
  }

  /** The process of a daemon. */
  async pidOf(name) {
    const { daemons } = await this.api("GET", "system/daemons");
    return daemons.find((daemon) => daemon.name === name).pid;
  }

  /** Kills a daemon, as a fault would. */
  async kill(name) {
    process.kill(await this.pidOf(name), "SIGKILL");
  }

  /** Ends the session of a person, from elsewhere. */
  async endSessionOf(person) {
    const id = await person.page.evaluate(async () => (await (await fetch("/ui/session", { headers: { "x-u-bmc-ui": "1" } })).json()).principal.sessionId);
    await this.api("DELETE", `sessions/${id}`);
  }
}

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What axe finds by the rules of WCAG 2.2 AA. */
export async function findings(page) {
  if (!(await page.evaluate(() => "axe" in globalThis))) await page.evaluate(axe);
  const { violations } = await page.evaluate(() =>
    globalThis.axe.run(document, {
      runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
      resultTypes: ["violations"],
    }),
  );
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.target} ${node.failureSummary?.split("\n")[1] ?? ""}`).slice(0, 4).join(" | ")}`);
}

/** The page has what it shows, and no fault instead. */
export async function settled(page) {
  await page.waitForFunction(() => document.querySelector("main[data-page]") && !document.querySelector("main .wait, main [data-link=connecting]"));
  assert.deepEqual(await page.locator("main .note.crit[role=alert]").allTextContents(), [], `a fault on ${page.url()}`);
}

/** By how many pixels what is shown is wider than its window. */
export const wider = (page) => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);

/** What was changed until now has been painted. */
export const painted = (page) => page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));

let nextPort = process.pid * 97;

/**
 * A TCP port of the loopback that is free, and stays so until a program that is told to listen there does: it is below the ports that Linux gives to who asks
 * for any (32768 and on), and each call gives another one.
 */
export async function freePort() {
  for (;;) {
    const port = 20_000 + ((nextPort += 1) % 12_000);
    const server = createServer();
    const isFree = await new Promise((resolve) => {
      server.once("error", () => resolve(false));
      server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
    });
    if (isFree) return port;
  }
}

let watched = 0;

/** Watches for `selector` from now on. `seen` waits until it has been there, for however short a time: a browser that is busy looks seldom. */
export async function noticed(page, selector) {
  const name = `noticed${(watched += 1)}`;
  await page.evaluate(
    ([name, selector]) => {
      const look = () => (globalThis[name] ||= document.querySelector(selector) !== null);
      new MutationObserver(look).observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
      look();
    },
    [name, selector],
  );
  return { seen: () => page.waitForFunction((name) => globalThis[name], name) };
}

/** The answer to a route, as of a service that cannot be reached; its request's id is `r-0815`. */
export const away = (route) => route.fulfill({ status: 503, contentType: "application/json", headers: { "x-request-id": "r-0815" }, body: JSON.stringify({ code: "unavailable", message: "nobody is there" }) });

/** Holds back what is asked of `pattern`, or only what is asked next (`once`), until `release` is called. `asked` is done once the first is held. */
export async function held(page, pattern, { once = false } = {}) {
  let release;
  const gate = new Promise((resolve) => (release = resolve));
  let seen;
  const asked = new Promise((resolve) => (seen = resolve));
  await page.route(pattern, async (route) => {
    seen();
    await gate;
    await route.continue().catch(() => {});
  }, once ? { times: 1 } : {});
  return { release, asked };
}

/** Holds back the next answer of `pattern`, as it was made, until `release` is called. `answered` is done once it is made, `done` once it is given. */
export async function late(page, pattern) {
  let release;
  const gate = new Promise((resolve) => (release = resolve));
  let made;
  const answered = new Promise((resolve) => (made = resolve));
  let given;
  const done = new Promise((resolve) => (given = resolve));
  await page.route(pattern, async (route) => {
    const response = await route.fetch();
    made();
    await gate;
    await route.fulfill({ response }).catch(() => {});
    given();
  }, { times: 1 });
  return { release, answered, done };
}

/** A cable that can be cut: what comes to its port goes to the BMC. */
export class Cable {
  /** To the suite, or to the socket of a relay that leads there. */
  static async to(suite, relay) {
    const cable = new Cable();
    suite.cables.add(cable);
    const [host, port] = suite.ready.https.split(":");
    cable.sockets = new Set();
    cable.isCut = false;
    cable.isHung = false;
    cable.ends = new WeakMap();
    cable.server = createServer((near) => {
      if (cable.isCut) {
        near.destroy();
        return;
      }
      if (cable.isHung) {
        cable.sockets.add(near);
        near.on("error", () => {});
        near.on("close", () => cable.sockets.delete(near));
        return;
      }
      const far = relay ? connect(relay) : connect(Number(port), host);
      for (const [one, other] of [[near, far], [far, near]]) {
        cable.sockets.add(one);
        one.on("error", () => {});
        one.on("close", () => {
          cable.sockets.delete(one);
          other.destroy();
        });
        one.pipe(other);
        cable.ends.set(one, other);
      }
    });
    await new Promise((resolve) => cable.server.listen(0, "127.0.0.1", resolve));
    cable.url = `https://127.0.0.1:${cable.server.address().port}`;
    return cable;
  }

  cut() {
    this.isCut = true;
    for (const socket of this.sockets) socket.destroy();
  }

  /** Cuts it without a word: nothing comes through, and no end hears of that. */
  hang() {
    this.isHung = true;
    for (const socket of this.sockets) {
      socket.unpipe();
      socket.pause();
    }
  }

  mend() {
    const wasHung = this.isHung;
    this.isCut = this.isHung = false;
    for (const socket of wasHung ? this.sockets : []) {
      const end = this.ends.get(socket);
      // What was never connected is tried again.
      if (end) socket.pipe(end);
      else socket.destroy();
    }
  }

  stop() {
    this.cut();
    this.server.close();
  }
}

/** The browser all tests share. */
export async function browser() {
  return chromium.launch({ executablePath: process.env.UBMC_TEST_CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox", "--disable-quic"] });
}

/** A person at a browser of their own, with what went wrong in it. */
export class Person {
  static async at(chrome, url, { theme = "light", language = "en", viewport = { width: 1280, height: 800 }, ...options } = {}) {
    const person = new Person();
    person.url = url;
    person.context = await chrome.newContext({ ignoreHTTPSErrors: true, viewport, reducedMotion: "reduce", ...options });
    await person.context.addInitScript(
      ([prefs]) => {
        if (!localStorage.getItem("u-bmc-prefs")) localStorage.setItem("u-bmc-prefs", prefs);
        globalThis.violations = [];
        addEventListener("securitypolicyviolation", (event) => globalThis.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
      },
      [JSON.stringify({ theme, language })],
    );
    person.errors = [];
    person.page = await person.open();
    return person;
  }

  async open() {
    const page = await this.context.newPage();
    page.setDefaultTimeout(SOON);
    page.on("console", (message) => message.type() === "error" && this.errors.push(message.text()));
    page.on("pageerror", (error) => this.errors.push(error.stack ?? error.message));
    return page;
  }

  async goto(path, page = this.page) {
    await page.goto(this.url + path);
    await page.waitForSelector("main[data-page]");
  }

  /** Goes to a page as a link of the pages does, without loading them anew. */
  async follow(path, page = this.page) {
    await page.evaluate((to) => {
      history.pushState(null, "", to);
      dispatchEvent(new PopStateEvent("popstate"));
    }, path);
    await page.waitForFunction((to) => location.pathname + location.search === to && document.querySelector("main[data-page]"), path);
    await this.shows(path, page);
  }

  /** Waits for the page that a path leads to: what is shown, and not what the address says. */
  async shows(path, page = this.page) {
    const [, first = "", rest] = /^\/([^/?]*)\/?([^?]*)/.exec(path);
    // A page of one thing has a name of its own; some are one page for both.
    const names = { "": "overview", "api-explorer": "api" };
    const one = { sensors: "sensor", inventory: "asset", services: "service" }[first] ?? `${first}Of`;
    await page.waitForSelector(`main[data-page="${rest ? one : (names[first] ?? first)}"]`);
  }

  /** Changes what this person likes, as another tab does. */
  async prefer(change, page = this.page) {
    await page.evaluate((change) => {
      const key = "u-bmc-prefs";
      localStorage.setItem(key, JSON.stringify({ ...JSON.parse(localStorage.getItem(key)), ...change }));
      dispatchEvent(new StorageEvent("storage", { key }));
    }, change);
    await painted(page);
    if (change.language) await page.waitForFunction((lang) => document.documentElement.lang.startsWith(lang), change.language);
  }

  async enter(username = ADMIN, password = PASSWORD) {
    await this.page.fill("input[name=username]", username);
    await this.page.fill("input[name=password]", password);
    await this.page.click("form button.primary");
  }

  /** Signs in and waits for the first page. */
  async signIn(username = ADMIN, password = PASSWORD) {
    await this.page.goto(this.url);
    await this.enter(username, password);
    await this.page.waitForSelector("main[data-page]");
  }

  /** Clicks a button that saves a file. Answers the text in it. */
  async saves(button, page = this.page) {
    const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: button }).click()]);
    return new Response(await file.createReadStream()).text();
  }

  /** Waits until `selector` has `text` in it. */
  async sees(selector, text, page = this.page) {
    await page.locator(selector).filter({ hasText: text }).first().waitFor({ timeout: SOON });
  }

  /** Nothing was blocked and nothing went wrong, but for what the test expects. */
  async leave(expected = []) {
    for (const page of this.context.pages()) {
      const violations = await page.evaluate(() => globalThis.violations ?? []);
      assert.deepEqual(violations, [], "violations of the content security policy");
    }
    await this.context.close();
    const unexpected = this.errors.filter((error) => !expected.some((pattern) => pattern.test(error)));
    assert.deepEqual(unexpected, [], "errors on the console");
  }
}
