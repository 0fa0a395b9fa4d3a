// What the pages show is so, or they say that it is not: refused choices, logs with nothing left out, and parts of the pages that cannot be loaded.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import { away, browser, held, late, PASSWORD, Person, SOON, Suite } from "./suite.mjs";

const AWAY = /status of 503/;

let chrome;
let suite;
before(async () => {
  [chrome, suite] = await Promise.all([browser(), Suite.start({ set: ["eventlog.subscriptions.allow_local=true"] })]);
});
after(async () => {
  await chrome?.close();
  await suite?.stop();
});

/** Puts an event into the log. */
const tell = (message, severity = "EVENT_SEVERITY_INFO") => suite.api("POST", "events:test", { message, severity });
const row = (person, words) => person.page.locator("[data-event]", { hasText: words });

describe("a choice", () => {
  test("that is refused shows as it was", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/power");
    const policy = person.page.locator("[data-policy=system]");
    const chosen = () => policy.locator("input:checked").evaluate((input) => input.parentElement.textContent.trim());
    await policy.locator("input:checked").waitFor();
    const before = await chosen();
    await person.page.route(/HostService\/UpdateHost/, away);
    await policy.getByLabel("Stay off").click();
    await person.sees(".toast.bad", "r-0815");
    await person.page.waitForFunction((words) => document.querySelector("[data-policy=system] input:checked")?.parentElement.textContent.trim() === words, before);
    await person.page.unroute(/HostService\/UpdateHost/);
    await policy.getByLabel("Stay off").click();
    await person.sees("[role=status]", "The restore policy is set.");
    assert.equal(await chosen(), "Stay off");
    assert.equal((await suite.api("GET", "hosts/system")).host.powerRestorePolicy, "POWER_RESTORE_POLICY_ALWAYS_OFF");
    await person.leave([AWAY]);
  });
});

describe("the log of the daemons", () => {
  test("goes on where it stopped, to the last line", async () => {
    // A suite that says much: so many lines do not come in one answer.
    const own = await Suite.start({ within: ["env", "UBMC_LOG=debug"] });
    try {
      const person = await Person.at(chrome, own.url);
      await person.signIn();
      await person.goto("/services");
      await person.page.waitForFunction(() => document.querySelector("pre.log").textContent.length > 0);
      await person.page.getByLabel("Live").uncheck();
      const first = BigInt((await own.api("GET", "system/log?pageSize=1")).newest);
      const marks = [];
      for (let i = 0; i < 1000; i += 1) {
        await own.api("PATCH", "hosts/system", { host: { description: `line ${i}` }, fieldMask: "description" });
        if (i % 25) continue;
        const { newest, lines } = await own.api("GET", "system/log?pageSize=1");
        marks.push(lines.at(-1).text);
        if (BigInt(newest) - first > 900n) break;
      }
      // What is shown last is what was said last, and what came before it was passed by and not left out.
      const seen = person.page.waitForFunction((mark) => document.querySelector("pre.log").textContent.includes(mark), marks.at(-1));
      await person.page.getByLabel("Live").check();
      await seen;
      await person.leave();
    } finally {
      await own.stop();
    }
  });

  test("of one daemon is filtered within its lines, and the filter is in the address", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/services/websrv?q=listen");
    await person.page.waitForFunction(() => document.querySelector("pre.log").textContent.includes("listen"));
    const lines = (await person.page.locator("pre.log").textContent()).split("\n");
    assert.ok(lines.every((line) => line.includes("websrv") && line.includes("listen")), lines.join("\n"));
    assert.equal(await person.page.inputValue("[data-filter]"), "listen");
    await person.leave();
  });
});

describe("the event log", () => {
  test("loses nothing that comes while it is read, or while it is not live", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/events");
    await person.page.waitForSelector("[data-event]");
    const list = await late(person.page, /EventService\/ListEvents/);
    await person.page.getByLabel("Area").selectOption("log");
    await list.answered;
    await tell("came in between");
    await row(person, "came in between").waitFor();
    list.release();
    await person.page.waitForSelector("section[aria-busy=false]");
    await row(person, "came in between").waitFor({ timeout: 5000 });
    await person.page.getByLabel("Live").uncheck();
    await tell("came while nobody listened");
    // Another one that is heard, so that this one was not to be seen.
    await person.page.getByLabel("Live").check();
    await row(person, "came while nobody listened").waitFor();
    await person.leave();
  });

  test("is searched and exported whole, and not only as far as it was read", async () => {
    await tell("the needle in the stack");
    for (let i = 0; i < 120; i += 10) await Promise.all(Array.from({ length: 10 }, (_, j) => tell(`hay ${i + j}`)));
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/events?domain=log&q=needle");
    await person.sees("main", "newest events has this.");
    assert.deepEqual(JSON.parse(await person.saves("JSON")).map(({ message }) => message), ["the needle in the stack"]);
    await person.page.getByRole("button", { name: "Search older events" }).click();
    await row(person, "the needle in the stack").waitFor();
    await person.goto("/events?domain=log");
    assert.ok((await person.saves("CSV")).split("\r\n").length > 121);
    await person.leave();
  });

  test("is not searched any further once another list is chosen", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    const [{ id }] = (await suite.api("GET", "events?domain=session&minSeverity=EVENT_SEVERITY_INFO&pageSize=1")).events;
    await person.goto("/events?domain=log&q=session");
    await person.sees("main", "newest events has this.");
    const { release } = await held(person.page, /EventService\/ListEvents/);
    const asked = () => person.page.waitForRequest(/EventService\/ListEvents/);
    await Promise.all([asked(), person.page.getByRole("button", { name: "Search older events" }).click()]);
    await Promise.all([asked(), person.page.getByLabel("Area").selectOption("session")]);
    release();
    await person.page.locator(`[data-event="${id}"]`).waitFor();
    await person.leave();
  });

  test("has nothing left out after a day of events", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/events?domain=log");
    await person.page.waitForSelector("[data-event]");
    for (let i = 0; i < 1100; i += 10) await Promise.all(Array.from({ length: 10 }, (_, j) => tell(`day ${i + j}.`)));
    await row(person, "day 1099.").waitFor();
    await row(person, /hay|needle|in between/).first().waitFor({ state: "detached" });
    // What it dropped it asks for again, with no hole between.
    await person.page.getByRole("button", { name: /older/i }).click();
    const shown = async () => new Set((await person.page.locator("[data-event] button.message").allTextContents()).filter((words) => words.startsWith("day ")));
    await person.page.waitForFunction(() => document.querySelectorAll("[data-event]").length > 1000);
    for (let i = 0; i < 4 && (await shown()).size < 1100; i += 1) {
      const before = await person.page.locator("[data-event]").count();
      await person.page.getByRole("button", { name: /older/i }).click();
      await person.page.waitForFunction((n) => document.querySelectorAll("[data-event]").length > n, before);
    }
    assert.equal((await shown()).size, 1100);
    // However many are kept, a list that is chosen is the one that is shown, with what came while it was on its way.
    const list = await late(person.page, /EventService\/ListEvents/);
    await person.page.getByLabel("Area").selectOption("");
    await list.answered;
    await tell("came while it was chosen");
    await row(person, "came while it was chosen").waitFor();
    list.release();
    await person.page.waitForFunction(() => document.querySelectorAll("[data-event]").length < 100);
    await row(person, "came while it was chosen").waitFor({ timeout: 5000 });
    await person.leave();
  });

  test("shows what is hidden in a text, so that it turns and hides nothing", async () => {
    await tell("sent \u202egnp.exe");
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/events?domain=log");
    await row(person, "sent \\u202egnp.exe").waitFor();
    await person.leave();
  });

  test("a moment in the address is the same for everybody, and one that is none harms nothing", async () => {
    const person = await Person.at(chrome, suite.url, { timezoneId: "Asia/Tokyo" });
    await person.signIn();
    await person.goto("/events");
    await person.page.getByLabel("From").fill("2020-01-02T09:00");
    await person.page.waitForFunction(() => new URLSearchParams(location.search).get("from") === "2020-01-02T00:00:00.000Z");
    await person.page.reload();
    await person.page.waitForSelector("[data-event]");
    assert.equal(await person.page.getByLabel("From").inputValue(), "2020-01-02T09:00");
    await person.prefer({ clock: "utc" });
    assert.equal(await person.page.getByLabel("From").inputValue(), "2020-01-02T00:00");
    await person.goto("/events?from=x&severity=x&domain=__proto__&resolved=constructor");
    await person.page.waitForSelector("[data-event]");
    assert.equal(await person.page.getByLabel("Severity").inputValue(), "2");
    assert.equal(await person.page.getByLabel("State").inputValue(), "");
    await person.goto("/sensors?context=x&status=x&sort=__proto__");
    await person.page.waitForSelector("[data-sensor]");
    await person.leave();
  });
});

describe("what cannot be loaded", () => {
  test("is told, with a way on", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    const broken = (what) => person.page.route(what, (route) => route.fulfill({ status: 404 }));
    await broken(/assets\/terminal-.*\.js/);
    await broken(/assets\/Chart-.*\.js/);
    await broken(/assets\/Palette-.*\.js/);
    await broken(/assets\/Sensors-.*\.js/);
    await person.follow("/console");
    await person.sees("main [role=alert]", "could not be loaded");
    await person.follow("/thermal");
    await person.sees("main [role=alert]", "could not be loaded");
    await person.page.keyboard.press("Control+k");
    await person.sees(".toast.bad", "could not be loaded");
    // The failure of a page that is not wanted any more is none of the one that is.
    const { release, asked } = await held(person.page, /assets\/Leds-.*\.js/);
    await person.page.evaluate(() => {
      for (const to of ["/sensors", "/leds"]) {
        history.pushState(null, "", to);
        dispatchEvent(new PopStateEvent("popstate"));
      }
    });
    await asked;
    release();
    await person.sees("main h1", "LEDs");
    assert.equal(await person.page.locator("main [role=alert]").count(), 0);
    await person.leave([/status of 404/, /Failed to fetch dynamically imported module/]);
  });

  test("a stream that is refused is asked for less and less often, and is told as refused", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    // A refusal of a stream has the status 200; what it is stands in the last message.
    const end = Buffer.from(JSON.stringify({ error: { code: "resource_exhausted", message: "too many streams" } }));
    const head = Buffer.from([2, 0, 0, 0, end.length]);
    await person.page.route(/EventService\/WatchEvents/, (route) => route.fulfill({ status: 200, contentType: "application/connect+proto", body: Buffer.concat([head, end]) }));
    await person.goto("/settings");
    await person.sees("[role=alert]", "The BMC has too much to do");
    let asked = 0;
    person.page.on("request", () => (asked += 1));
    await person.page.waitForTimeout(4000);
    assert.ok(asked < 15, `${asked} requests in 4 s`);
    await person.page.unroute(/EventService\/WatchEvents/);
    await person.page.waitForSelector("header .link.live", { state: "attached" });
    await person.leave();
  });

  test("even without words there are some", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.page.route(/assets\/en-.*\.js/, (route) => route.fulfill({ status: 404 }));
    await person.page.goto(suite.url);
    await person.sees("[role=alert]", "could not be loaded");
    await person.page.unroute(/assets\/en-.*\.js/);
    await person.page.getByRole("button", { name: "Reload" }).click();
    await person.page.waitForSelector("input[name=password]");
    await person.leave([/status of 404/, /Failed to fetch dynamically imported module/]);
  });

  test("a log that is not to be had is not shown as if it were, and neither is a store", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.page.route(/ListConsoleLog|ListMediaFiles/, away);
    await person.goto("/console/system");
    await person.page.locator("summary", { hasText: "log" }).click();
    await person.sees("details [role=alert]", "r-0815");
    await person.page.getByRole("button", { name: "Save as a file" }).click();
    await person.sees(".toast.bad", "r-0815");
    await person.goto("/media");
    await person.sees("main [role=alert]", "r-0815");
    await person.leave([AWAY]);
  });
});

describe("the parts", () => {
  test("are shown as what is in what, and all that is known of them is exported", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await suite.api("POST", "hosts/system/state", { action: "HOST_ACTION_ON" });
    await person.goto("/inventory");
    const box = person.page.locator("[data-place=chassis]");
    await box.getByRole("link", { name: /psu0|Power supply/i }).first().waitFor();
    const { assets } = await suite.api("GET", "asset");
    const ofHost = assets.find((asset) => asset.hostName === "system");
    if (ofHost) await box.locator(`[data-place="host system"] a[href="/inventory/${ofHost.id}"]`).waitFor();
    assert.equal(await person.page.locator(".tree li a").count(), assets.length);
    assert.match(await person.saves("CSV"), /^id,name,type,.*sku,uuid,.*host,source,/);
    await person.leave();
  });
});

describe("who is sent events", () => {
  test("a destination is added, gets a test event, and is taken away", async () => {
    const bodies = [];
    let came;
    const first = new Promise((resolve) => (came = resolve));
    const receiver = createServer((request, response) => {
      let body = "";
      request.on("data", (chunk) => (body += chunk));
      request.on("end", () => {
        bodies.push({ body, token: request.headers["x-token"] });
        if (body.includes("does anybody hear")) came(bodies.at(-1));
        response.writeHead(204).end();
      });
    });
    await new Promise((resolve) => receiver.listen(0, "127.0.0.1", resolve));
    const to = `http://127.0.0.1:${receiver.address().port}/events`;
    try {
      const person = await Person.at(chrome, suite.url);
      await person.signIn();
      await person.goto("/subscriptions");
      await person.sees("main", "Nobody is sent events.");
      await person.page.getByRole("button", { name: "New subscription" }).click();
      await person.page.fill("dialog input[name=destination]", "ftp://192.0.2.1/");
      await person.page.locator("dialog").getByRole("button", { name: "Create" }).click();
      await person.page.waitForSelector("dialog [role=alert]");
      // What the browser refuses is another attempt: the answer to the one before is over.
      await person.page.fill("dialog input[name=destination]", "");
      await person.page.locator("dialog").getByRole("button", { name: "Create" }).click();
      await person.page.waitForSelector("dialog [role=alert]", { state: "detached" });
      await person.page.fill("dialog input[name=destination]", to);
      await person.page.fill("dialog input[name=context]", "rack 7");
      await person.page.fill("dialog input[name=headerName]", "X-Token");
      await person.page.fill("dialog input[name=headerValue]", "secret-4711");
      // However long it takes and however often it is clicked, it is made once.
      const { release } = await held(person.page, /CreateEventSubscription/);
      await person.page.locator("dialog").getByRole("button", { name: "Create" }).click();
      await person.page.waitForSelector("dialog form[aria-busy=true]");
      assert.ok(await person.page.locator("dialog").getByRole("button", { name: "Create" }).isDisabled());
      await person.page.locator("dialog input[name=context]").press("Enter");
      release();
      const card = person.page.locator(`[data-subscription="${to}"]`);
      await card.getByText("rack 7").waitFor();
      await card.getByText("Delivers").waitFor();
      assert.equal((await suite.api("GET", "event-subscriptions")).subscriptions.length, 1);
      await person.page.getByLabel("Message").fill("does anybody hear?");
      await person.page.getByRole("button", { name: "Send" }).click();
      await person.sees("[role=status]", "The test event is in the log.");
      const got = await first;
      assert.equal(got.token, "secret-4711");
      assert.equal(JSON.parse(got.body).Context, "rack 7");
      assert.ok(!(await person.page.content()).includes("secret-4711"), "what is set is never told");
      await card.getByRole("button", { name: "Delete" }).click();
      await person.page.locator("dialog").getByRole("button", { name: "Delete" }).click();
      await card.waitFor({ state: "detached" });
      await person.leave([/status of 400/]);
    } finally {
      receiver.close();
    }
  });
});

describe("a text that is typed at a screen", () => {
  test("is stopped", async () => {
    await suite.api("POST", "hosts/system/state", { action: "HOST_ACTION_ON" });
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/kvm");
    await person.page.waitForSelector("[data-kvm][data-link=open] canvas");
    await person.page.getByRole("button", { name: "Type text" }).click();
    await person.page.fill("dialog textarea", "x".repeat(1000));
    await person.page.locator("dialog").getByRole("button", { name: "Type", exact: true }).click();
    await person.sees("[role=status]", "A text of admin is being typed.");
    await person.page.getByRole("button", { name: "Stop typing" }).click();
    await person.sees("[role=status]", "Nothing is being typed any more.");
    await person.page.getByText("A text of admin is being typed.").waitFor({ state: "detached" });
    await person.leave();
  });
});

describe("the chart of zones", () => {
  test("has a gap where nothing was measured", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    // What is drawn, without looking at pixels: a line with a gap is drawn within the boxes that are beside it.
    await person.page.addInitScript(() => {
      globalThis.boxes = new Set();
      const { rect } = Path2D.prototype;
      Path2D.prototype.rect = function (x, y, width, height) {
        globalThis.boxes.add(`${x} ${width}`);
        return rect.call(this, x, y, width, height);
      };
    });
    await person.goto("/thermal");
    await person.page.waitForSelector(".uplot canvas");
    const drawn = () => person.page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => (globalThis.boxes.clear(), setTimeout(() => resolve(globalThis.boxes.size), 1500)))));
    // On a busy machine nothing may be drawn in the time that is looked at: it is looked at once more.
    const drawnUntil = async (enough) => {
      const end = Date.now() + SOON;
      let boxes = await drawn();
      while (!enough(boxes) && Date.now() < end) boxes = await drawn();
      return boxes;
    };
    const before = await drawnUntil((boxes) => boxes > 0);
    const asked = /ThermalService\/ListThermalZones/;
    const until = Date.now() + 6500;
    await person.page.route(asked, (route) => (Date.now() < until ? away(route) : route.fallback()));
    await person.page.waitForSelector("main [role=alert]");
    await person.page.waitForSelector("main [role=alert]", { state: "detached" });
    assert.ok((await drawnUntil((boxes) => boxes > before)) > before, "the line does not go on over what nobody measured");
    await person.leave([AWAY]);
  });
});

describe("the palette", () => {
  test("does what the pages do", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    const run = async (words, title) => {
      await person.page.keyboard.press("Control+k");
      await person.page.locator("dialog input[role=combobox]").fill(words);
      await person.sees("[role=option]", title);
      await person.page.keyboard.press("Enter");
      await person.page.waitForSelector("dialog [role=listbox]", { state: "detached" });
    };
    await run("when power returns power on", "system: When power returns");
    await person.sees("[role=status]", "The restore policy is set.");
    await run("zone air by hand", "Zone air");
    await person.sees("main h1", "Cooling");
    await run("new role", "New role");
    await person.sees("dialog", "New role");
    await person.page.keyboard.press("Escape");
    await run("new subscription", "New subscription");
    await person.sees("dialog h2", "New subscription");
    await person.page.keyboard.press("Escape");
    await run("user admin", "User admin");
    await person.page.waitForSelector("dialog input[name=fullName]");
    await person.page.keyboard.press("Escape");
    await suite.api("POST", "users", { user: { username: "ivan", role: "ReadOnly", enabled: true }, password: PASSWORD });
    const other = await Person.at(chrome, suite.url);
    await other.signIn("ivan", PASSWORD);
    await run("end session ivan", "ivan");
    await person.page.locator("dialog").getByRole("button", { name: "End" }).click();
    await other.page.waitForSelector("input[name=password]");
    await other.leave([/status of 401/]);
    await person.leave();
  });
});
