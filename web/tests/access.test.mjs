// Who may do what, and what becomes of a session: what one person does must not undo what another one did, and nobody stays in who should not.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ADMIN, away, browser, PASSWORD, Person, settled, Suite } from "./suite.mjs";

const REFUSED = /status of 401/;
const AWAY = /status of 503/;

let chrome;
let suite;
before(async () => {
  [chrome, suite] = await Promise.all([browser(), Suite.start()]);
});
after(async () => {
  await chrome?.close();
  await suite?.stop();
});

const create = (username, role) => suite.api("POST", "users", { user: { username, role, enabled: true }, password: PASSWORD });
const userOf = async (username) => (await suite.api("GET", "users")).users.find((user) => user.username === username);

describe("accounts", () => {
  test("what somebody else took from an account meanwhile is not given back by an edit", async () => {
    await create("bob", "Operator");
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/users");
    await person.page.getByRole("button", { name: "Edit: bob" }).click();
    const { id } = await userOf("bob");
    await suite.api("PATCH", `users/${id}`, { user: { enabled: false, role: "ReadOnly" }, fieldMask: "enabled,role" });
    await person.page.fill("dialog input[name=fullName]", "Bob of the night shift");
    await person.page.locator("dialog").getByRole("button", { name: "Save" }).click();
    await person.sees("[data-user=bob]", "Bob of the night shift");
    const bob = await userOf("bob");
    assert.deepEqual([bob.enabled ?? false, bob.role], [false, "ReadOnly"]);
    // Nothing changed is nothing sent.
    await person.page.getByRole("button", { name: "Edit: bob" }).click();
    await person.page.locator("dialog").getByRole("button", { name: "Save" }).click();
    await person.sees("[role=status]", "Nothing was changed.");
    await person.leave();
  });

  test("a part's tag and its place are each one's own", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/inventory/mainboard");
    await person.page.fill("input[name=tag]", "TAG-1");
    await suite.api("PUT", "asset/mainboard", { location: "rack 7" });
    await person.page.locator("[data-asset=mainboard]").getByRole("button", { name: "Save" }).click();
    await person.sees("[role=status]", "Saved.");
    const { asset } = await suite.api("GET", "asset/mainboard");
    assert.deepEqual([asset.info.assetTag, asset.location], ["TAG-1", "rack 7"]);
    await person.leave();
  });

  test("one's own account offers neither one's role nor that one may log in", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/users");
    await person.page.getByRole("button", { name: `Edit: ${ADMIN}` }).click();
    await person.page.waitForSelector("dialog input[name=username]");
    assert.ok(await person.page.isDisabled("dialog select[name=role]"));
    assert.equal(await person.page.locator("dialog input[name=enabled]").count(), 0);
    await person.leave();
  });

  test("what an account is for is shown and set, and what it is not for is not offered to it", async () => {
    await create("fay", "Operator");
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/users");
    const dialog = person.page.locator("dialog");
    const box = (name) => dialog.getByLabel(name, { exact: true });
    const edit = async () => {
      await person.page.getByRole("button", { name: "Edit: fay" }).click();
      // What there is to choose depends on the role, which may be on its way.
      await box("Screens").waitFor();
    };
    const save = async (said) => {
      await dialog.getByRole("button", { name: "Save" }).click();
      await dialog.waitFor({ state: "detached" });
      await person.sees("[role=status]", said);
    };
    const chosen = () => dialog.locator("input[name=type]:checked").evaluateAll((boxes) => boxes.map((one) => Number(one.value)));
    const types = async () => (await userOf("fay")).accountTypes.map((name) => name.replace("ACCOUNT_TYPE_", ""));
    await edit();
    assert.deepEqual(await chosen(), [6, 1, 3, 4, 5]);
    await save("Nothing was changed.");
    await edit();
    for (const name of ["Consoles, also over SSH", "Screens", "Media"]) await box(name).uncheck();
    await save("Saved.");
    assert.deepEqual(await types(), ["REDFISH", "WEB_UI"]);

    const fay = await Person.at(chrome, suite.url);
    const refused = [];
    fay.page.on("response", (answer) => answer.status() === 403 && refused.push(answer.url()));
    await fay.signIn("fay", PASSWORD);
    await fay.sees("main", "system");
    for (const name of ["Console", "Screen"]) assert.equal(await fay.page.locator("nav").getByText(name, { exact: true }).count(), 0, name);
    assert.equal(await fay.page.locator("[data-thumbnail]").count(), 0);
    await fay.follow("/media");
    await fay.sees("main .note", "Your account may look, but not insert or eject.");
    assert.equal(await fay.page.locator("[data-media-upload]").count(), 0);
    assert.deepEqual(refused, []);
    await fay.leave();

    // Another role's list is of what it can use, and all of it that was not to be had before is chosen.
    await edit();
    await dialog.locator("select[name=role]").selectOption("ReadOnly");
    await box("Media").waitFor({ state: "detached" });
    assert.deepEqual(await chosen(), [6, 1]);
    await save("Saved.");
    assert.deepEqual(await types(), ["REDFISH", "WEB_UI"]);
    await person.sees("[data-user=fay]", "ReadOnly");
    await edit();
    await dialog.locator("select[name=role]").selectOption("Operator");
    await box("Media").waitFor();
    assert.deepEqual(await chosen(), [6, 1, 3, 5]);
    await box("These pages").uncheck();
    await save("Saved.");
    assert.deepEqual(await types(), ["REDFISH", "HOST_CONSOLE", "VIRTUAL_MEDIA"]);
    await person.leave();

    const out = await Person.at(chrome, suite.url);
    await out.page.goto(suite.url);
    await out.enter("fay", PASSWORD);
    await out.sees("[role=alert]", "This account is not for this");
    await out.leave([/status of 403/]);
  });

  test("a password that is shown once stays while it is marked, and can be copied", async () => {
    await create("carol", "ReadOnly");
    const person = await Person.at(chrome, suite.url, { permissions: ["clipboard-read", "clipboard-write"] });
    await person.signIn();
    await person.goto("/users");
    // By the palette, which leads to the question.
    await person.page.keyboard.press("Control+k");
    await person.page.getByRole("combobox").fill("carol reset");
    await person.sees("[role=option]", "carol");
    await person.page.keyboard.press("Enter");
    await person.page.locator("dialog").getByRole("button", { name: "Reset" }).click();
    const shown = person.page.locator("dialog pre");
    await shown.waitFor();
    const password = await shown.textContent();
    const box = await shown.boundingBox();
    const { mouse } = person.page;
    await mouse.move(box.x + 4, box.y + box.height / 2);
    await mouse.down();
    await mouse.move(4, 4);
    await mouse.up();
    // The padding is the window's own.
    const window = await person.page.locator("dialog").boundingBox();
    await mouse.click(window.x + 5, window.y + 5);
    assert.equal(await shown.textContent({ timeout: 5000 }), password);
    await person.page.locator("dialog").getByRole("button", { name: "Copy" }).click();
    await person.sees("[role=status]", "Copied.");
    assert.equal(await person.page.evaluate(() => navigator.clipboard.readText()), password);
    await mouse.click(4, 4);
    await shown.waitFor({ state: "detached" });
    await person.leave();
  });

  test("what passwords and logins are held to is set, by what was changed alone", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/users");
    const form = person.page.locator("[data-account-policy]");
    await form.getByLabel("Failed logins").fill("7");
    await suite.api("PATCH", "account-policy", { policy: { minPasswordLength: 9 }, fieldMask: "min_password_length" });
    await person.page.waitForFunction(() => document.querySelector("[data-account-policy] input[name=min_password_length]").value === "9");
    await form.getByLabel("Failed logins").fill("7");
    await form.getByRole("button", { name: "Save" }).click();
    await person.sees("[role=status]", "Saved.");
    const { policy } = await suite.api("GET", "account-policy");
    assert.deepEqual([policy.lockoutThreshold, policy.minPasswordLength], [7, 9]);
    await form.getByLabel("Earlier passwords").fill("8");
    await form.getByLabel("Shortest password").fill("4");
    await form.getByRole("button", { name: "Save" }).click();
    await person.sees("[data-account-policy] p", "It is 8 to 128.");
    assert.equal(await form.getByLabel("Shortest password").getAttribute("aria-invalid"), "true");
    assert.equal(await form.getByLabel("Earlier passwords").getAttribute("aria-invalid"), "false");
    assert.doesNotMatch(await form.textContent(), /policy\.|min_/, "names of fields in the code");
    assert.equal((await suite.api("GET", "account-policy")).policy.passwordHistory ?? 0, 0, "a refused one has no effect");
    // What the browser refuses next is another attempt.
    await form.getByLabel("Shortest password").fill("");
    await form.getByRole("button", { name: "Save" }).click();
    await form.locator("[role=alert]").waitFor({ state: "detached" });
    assert.equal(await form.getByLabel("Shortest password").getAttribute("aria-invalid"), "false");
    await person.leave([/status of 400/]);
  });
});

describe("roles", () => {
  test("a role is made, changed by what was changed alone, given, and deleted once nobody has it", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/roles");
    // What a privilege opens is what the BMC says of its API.
    await person.sees("main details", "UpdateReportDefinition");
    await person.page.getByRole("button", { name: "New role" }).click();
    await person.page.fill("dialog input[name=id]", "NightShift");
    await person.page.getByLabel("Operate the machine").check();
    await person.page.locator("dialog").getByRole("button", { name: "Create" }).click();
    await person.page.waitForSelector("[data-role=NightShift]");
    const role = async () => (await suite.api("GET", "roles/NightShift")).role;
    assert.deepEqual((await role()).privileges, ["PRIVILEGE_LOGIN", "PRIVILEGE_CONFIGURE_COMPONENTS"]);
    await person.page.getByRole("button", { name: "Edit: NightShift" }).click();
    await suite.api("PATCH", "roles/NightShift", { role: { privileges: ["PRIVILEGE_LOGIN"] }, fieldMask: "privileges" });
    await person.page.fill("dialog input[name=description]", "from ten to six");
    await person.page.locator("dialog").getByRole("button", { name: "Save" }).click();
    await person.sees("[data-role=NightShift]", "from ten to six");
    assert.deepEqual((await role()).privileges, ["PRIVILEGE_LOGIN"]);

    await create("dave", "NightShift");
    // Who may not see screens is not offered them, nor asks for pictures of them.
    await suite.api("POST", "hosts/system/state", { action: "HOST_ACTION_ON" });
    const dave = await Person.at(chrome, suite.url);
    await dave.signIn("dave", PASSWORD);
    await dave.sees("main", "system");
    assert.equal(await dave.page.locator("[data-thumbnail]").count(), 0);
    assert.equal(await dave.page.locator("nav").getByText("Screen", { exact: true }).count(), 0);
    await dave.goto("/roles");
    await dave.page.waitForSelector("[data-role=NightShift]");
    assert.equal(await dave.page.getByRole("button", { name: /New role|Edit|Delete/ }).count(), 0);
    await dave.leave();
    await suite.api("POST", "hosts/system/state", { action: "HOST_ACTION_FORCE_OFF" });

    const remove = async () => {
      await person.page.getByRole("button", { name: "Delete: NightShift" }).click();
      await person.page.locator("dialog").getByRole("button", { name: "Delete" }).click();
    };
    await remove();
    await person.sees(".toast.bad", "An account has this role.");
    await suite.api("DELETE", `users/${(await userOf("dave")).id}`);
    await remove();
    await person.page.waitForSelector("[data-role=NightShift]", { state: "detached" });
    await person.leave([/status of 400/]);
  });

  test("who manages accounts gives no more than what they have", async () => {
    await suite.api("POST", "roles", { role: { id: "Clerk", privileges: ["PRIVILEGE_LOGIN", "PRIVILEGE_CONFIGURE_SELF", "PRIVILEGE_CONFIGURE_USERS", "PRIVILEGE_VIEW_SCREENS"] } });
    await create("clara", "Clerk");
    const clara = await Person.at(chrome, suite.url);
    await clara.signIn("clara", PASSWORD);
    await clara.goto("/users?new=1");
    await clara.page.waitForSelector("dialog option[value=Clerk]", { state: "attached" });
    const offered = await clara.page.locator("dialog select[name=role] option").allTextContents();
    assert.deepEqual(offered.sort(), ["Clerk", "ReadOnly"]);
    await clara.page.keyboard.press("Escape");
    await clara.goto("/roles?new=1");
    await clara.page.waitForSelector("dialog input[name=privilege]");
    assert.equal(await clara.page.getByLabel("Configure the BMC").count(), 0);
    await clara.leave();
  });
});

describe("every page", () => {
  for (const [role, privileges] of [["ReadOnly"], ["Operator"], ["Onlooker", ["PRIVILEGE_LOGIN"]]]) {
    test(`that a ${role} is offered asks for nothing that is refused`, async () => {
      if (privileges) await suite.api("POST", "roles", { role: { id: role, privileges } });
      const name = `of-${role.toLowerCase()}`;
      await create(name, role);
      const person = await Person.at(chrome, suite.url);
      const refused = [];
      person.page.on("response", (answer) => answer.status() === 403 && refused.push(answer.url()));
      await person.signIn(name, PASSWORD);
      const paths = await person.page.locator("nav a").evaluateAll((links) => links.map((link) => link.getAttribute("href")));
      assert.ok(paths.length > 12, paths.join());
      for (const path of paths) {
        await person.follow(path);
        await settled(person.page);
      }
      await person.page.keyboard.press("Control+k");
      await person.page.waitForSelector("dialog [role=option]");
      assert.deepEqual(refused, []);
      await person.leave();
    });
  }
});

describe("a session", () => {
  test("who is not there is signed out even if the BMC could not say after how long at first", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.page.clock.install();
    let asked = 0;
    await person.page.route(/UserService\/GetAccountPolicy/, (route) => ((asked += 1) === 1 ? away(route) : route.fallback()));
    await person.signIn();
    await person.sees(".link", "Live");
    // Until it has asked again, and been answered.
    const known = person.page.waitForResponse((answer) => answer.url().endsWith("GetAccountPolicy") && answer.ok());
    await person.page.clock.fastForward("00:11");
    await known;
    await person.page.clock.fastForward("29:10");
    await person.sees("dialog", "Are you still there?");
    await person.page.clock.fastForward("01:10");
    await person.sees("[role=status]", "You were signed out, as nobody was there.");
    await person.leave([REFUSED, AWAY]);
  });

  test("signing out that the BMC could not finish is told as what it is", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.sees(".link", "Live");
    // As the BMC does when its accounts' daemon is away: it takes the cookie back and refuses.
    await person.page.route("**/ui/session", async (route) => {
      if (route.request().method() !== "DELETE") return route.fallback();
      await person.context.clearCookies();
      return away(route);
    });
    await person.page.getByRole("button", { name: "Sign out" }).click();
    await person.sees("[role=status]", "the BMC could not end the session");
    assert.equal(await person.page.getByText("Your session has ended").count(), 0);
    await person.leave([REFUSED, AWAY]);
  });

  test("a browser that keeps no cookie is told so", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.page.goto(suite.url);
    await person.page.route("**/ui/session", async (route) => {
      if (route.request().method() !== "POST") return route.fallback();
      const answer = await route.fetch();
      const headers = answer.headers();
      delete headers["set-cookie"];
      await person.context.clearCookies();
      return route.fulfill({ status: answer.status(), headers, body: await answer.body() });
    });
    await person.enter();
    await person.sees("[role=alert]", "did not keep the session's cookie");
    await person.leave([REFUSED]);
  });

  test("what was typed for one question is not the answer of the next", async () => {
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    const ask = async () => {
      await person.follow("/controller");
      await person.page.getByRole("button", { name: "Factory reset" }).click();
      await person.page.waitForSelector("dialog input");
    };
    await ask();
    const typed = (await person.page.locator("dialog label").textContent()).match(/“(.+)”/)[1];
    await person.page.fill("dialog input", typed);
    await suite.endSessionOf(person);
    await person.page.waitForSelector("input[name=password]");
    await person.enter();
    await person.page.waitForSelector("main[data-page]");
    await ask();
    assert.equal(await person.page.inputValue("dialog input"), "");
    assert.ok(await person.page.locator("dialog button.primary").isDisabled());
    await person.leave([REFUSED]);
  });

  test("what was told to one person is not shown to the next, and nothing of it is lost to what went well", async () => {
    await create("erin", "ReadOnly");
    const person = await Person.at(chrome, suite.url);
    await person.signIn();
    await person.goto("/events");
    await person.page.route(/EventService\/ListEvents/, away);
    await person.page.getByRole("button", { name: "JSON" }).click();
    await person.sees(".toast.bad", "r-0815");
    await person.page.unroute(/EventService\/ListEvents/);
    await person.follow("/leds");
    for (const name of ["Identify", "Stop identifying", "Identify", "Stop identifying", "Identify", "Stop identifying"]) {
      await person.page.getByRole("button", { name: `chassis: ${name}`, exact: true }).click();
    }
    await person.page.getByRole("button", { name: "chassis: Identify", exact: true }).waitFor();
    await person.sees(".toast.bad", "r-0815");
    // A question that is open when the session ends is nobody's any more.
    await person.follow("/users");
    await person.page.locator("[data-user=erin]").getByRole("button", { name: "Delete" }).click();
    await person.page.waitForSelector("dialog");
    await suite.endSessionOf(person);
    await person.page.waitForSelector("input[name=password]");
    assert.equal(await person.page.locator("dialog, .toast").count(), 0);
    // Another one sees nothing of it, either.
    await person.enter("erin", PASSWORD);
    await person.sees(".who", "erin");
    // The address is that of a page that is not hers: it says so, and asks for nothing that would be refused.
    await person.sees("main", "Your account may not see this page");
    assert.equal(await person.page.locator("dialog, .toast").count(), 0);
    await person.leave([REFUSED, AWAY]);
  });

  test("a lock is for whom it is, ends by itself, and lets in", async () => {
    // What is configured for minutes, in seconds; so many that a busy browser shows it.
    const own = await Suite.start({ set: ["usermgr.lockout.threshold=2", "usermgr.lockout.first_delay_secs=15"] });
    try {
      const person = await Person.at(chrome, own.url);
      await person.page.goto(own.url);
      const told = person.page.locator("[role=alert]", { hasText: "Too many failed attempts" });
      for (let i = 0; i < 8 && !(await told.count()); i += 1) {
        await person.enter(ADMIN, `wrong-${i}`);
        await person.page.waitForFunction(() => !document.querySelector("form[aria-busy=true]") && document.querySelector("[role=alert]"));
      }
      const send = "form button.primary";
      assert.ok(await person.page.isDisabled(send), "the account has to wait");
      await person.page.fill("input[name=username]", "somebody-else");
      assert.ok(await person.page.isEnabled(send), "nobody else has to");
      await person.page.fill("input[name=username]", ADMIN);
      await person.sees("[role=alert]", "You can try again now.");
      await person.page.waitForSelector(`${send}:not([disabled])`);
      await person.enter();
      await person.page.waitForSelector("main[data-page=overview]");
      await person.leave([REFUSED, /status of 429/]);
    } finally {
      await own.stop();
    }
  });
});
