// The controller's own network, in one that is made for it: netmgr sets the address by which the browser comes.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { artefacts, browser, Cable, findings, Person, settled, Suite, wider } from "./suite.mjs";

// Two namespaces, as whatever changes in the browser's own network cuts its connections.
const BMC = `u-bmc-web-${process.pid}`;
const FAR = `${BMC}-far`;
const ip = (...args) => execFileSync("ip", args, { stdio: ["ignore", "pipe", "pipe"] });

/** Why there can be none. */
function make() {
  if (process.getuid() !== 0) return "SKIP: networks are made by root only";
  try {
    ip("netns", "add", BMC);
    ip("netns", "add", FAR);
    ip("-n", FAR, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", BMC);
    ip("-n", FAR, "addr", "add", "198.18.7.1/30", "dev", "eth0");
    ip("-n", FAR, "link", "set", "eth0", "up");
    ip("-n", BMC, "link", "set", "lo", "up");
    return false;
  } catch (error) {
    return `SKIP: no network namespace: ${String(error.stderr ?? error).trim()}`;
  }
}

const why = make();
let chrome;
let suite;
let relay;
let cable;
before(async () => {
  if (why) return;
  const table = "netmgr.interfaces.eth0";
  [chrome, suite] = await Promise.all([
    browser(),
    Suite.start({
      https: "0.0.0.0:0",
      // The name it gives itself is its own as well. The time server answers nobody, so it sets no clock.
      within: ["ip", "netns", "exec", BMC, "unshare", "--uts"],
      set: [
        'netmgr.hostname="bmc-r7-u12"',
        `${table}.ipv4={ address = "198.18.7.2/30", gateway = "198.18.7.1" }`,
        `${table}.ipv6="off"`,
        `${table}.dns=["198.18.7.1"]`,
        'netmgr.time.ntp=["198.18.7.1"]',
        (state) => `netmgr.resolv_conf="${join(state, "resolv.conf")}"`,
      ],
    }),
  ]);
  const path = join(suite.state, "relay");
  relay = spawn("ip", ["netns", "exec", FAR, "socat", "-d", "-d", `UNIX-LISTEN:${path},fork`, `TCP:198.18.7.2:${suite.ready.https.split(":").at(-1)}`], { stdio: ["ignore", "ignore", "pipe"] });
  await new Promise((resolve, reject) => {
    let said = "";
    relay.stderr.on("data", (text) => /listening on/.test((said += text)) && resolve());
    relay.once("exit", (code) => reject(new Error(`the relay ended with ${code}: ${said}`)));
  });
  cable = await Cable.to(suite, path);
});
after(async () => {
  await chrome?.close();
  cable?.stop();
  relay?.kill();
  await suite?.stop();
  for (const namespace of [BMC, FAR]) {
    try {
      ip("netns", "del", namespace);
    } catch {
      // It was not made.
    }
  }
});

describe("the network", () => {
  test("is shown as the kernel has it, and a cable that is pulled is seen", { skip: why }, async () => {
    const person = await Person.at(chrome, cable.url);
    await person.signIn();
    await person.goto("/network");
    await person.sees("[data-names]", "bmc-r7-u12");
    const eth0 = "[data-interface=eth0]";
    await person.sees(`${eth0} .badge`, "Up");
    await person.sees(`${eth0} li`, "198.18.7.2/30");
    await person.sees(`${eth0} li`, "configured");
    mkdirSync(join(artefacts, "pages"), { recursive: true });
    const found = [];
    const look = async (name) => {
      await settled(person.page);
      for (const viewport of [{ width: 360, height: 740 }, { width: 1280, height: 800 }]) {
        await person.page.setViewportSize(viewport);
        for (const theme of ["light", "dark", "contrast"]) {
          await person.prefer({ theme });
          const wide = await wider(person.page);
          if (wide > 0) found.push(`${name} at ${viewport.width}: ${wide} px too wide`);
          for (const finding of await findings(person.page)) found.push(`${name} at ${viewport.width}, ${theme}: ${finding}`);
        }
      }
      await person.page.screenshot({ path: join(artefacts, "pages", `${name}.png`), fullPage: true });
    };
    await look("network-managed");
    await person.goto("/time");
    await person.sees("[data-sources]", "198.18.7.1");
    await person.sees("[data-sources] .badge", "Not in sync");
    await look("time-managed");
    assert.deepEqual(found, []);
    await person.goto("/network");
    await person.sees(".link", "Live");
    // What was never shown cannot become old.
    await person.sees(`${eth0} .badge`, "Up");
    ip("-n", FAR, "link", "set", "eth0", "down");
    // Not a word comes through it: that it is gone is told by the page itself.
    await person.sees("[role=alert]", "No connection to the BMC.");
    await person.page.waitForSelector(`${eth0}.stale-block`);
    ip("-n", FAR, "link", "set", "eth0", "up");
    await person.sees(".link", "Live");
    await person.page.waitForSelector(`${eth0}:not(.stale-block)`);
    await person.goto("/events?domain=network");
    await person.sees("[data-events]", "link down");
    await person.leave([/net::ERR_/, /Failed to load resource/]);
  });
});
