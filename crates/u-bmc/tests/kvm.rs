//! Screens of the running suite: who looks, who types, what stays when daemons die.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use rfb::{Input, Screen};
use serde_json::{Value, json};
use testkit::{ADMIN_PASSWORD, Console, Credential, Kvm, Suite, eventually};

/// The binary under test.
const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
const PASSWORD: &str = "seven brass doorknobs";
const FOLLOW: Duration = Duration::from_secs(90);
/// The screen of the simulated host, with keyboard and mouse, and without.
const TYPE: &str = "/api/v1alpha1/screens/system/kvm";
const LOOK: &str = "/api/v1alpha1/screens/system/view";
/// Where the test picture shows keys that are down.
const KEYS: (u16, u16) = (410, 4);

type Result<T = ()> = anyhow::Result<T>;

fn basic(name: &str, password: &str) -> String {
    Credential::Basic(name.to_owned(), password.to_owned()).header().unwrap_or_default()
}

async fn open_as(suite: &Suite, path: &str, authorization: &str) -> Result<std::result::Result<Kvm, u16>> {
    Kvm::open(suite.https(), path, &[("authorization", authorization)]).await
}

/// A session of the first administrator.
async fn open(suite: &Suite, path: &str) -> Result<Kvm> {
    let opened = open_as(suite, path, &basic("admin", ADMIN_PASSWORD)).await?;
    opened.map_err(|status| anyhow::anyhow!("refused with {status}"))
}

async fn screen(suite: &Suite) -> Result<Value> {
    let reply = suite.admin().get("/api/v1alpha1/screens/system").await?;
    ensure!(reply.status == 200, "{}", reply.text());
    Ok(reply.json()?["screen"].clone())
}

async fn account(suite: &Suite, name: &str, role: &str) -> Result {
    let body = json!({ "user": { "username": name, "role": role, "enabled": true }, "password": PASSWORD });
    let reply = suite.admin().post("/api/v1alpha1/users", &body).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    Ok(())
}

const fn key(down: bool) -> Input {
    Input::Key { down, keysym: 0x41, code: Some(30) }
}

fn key_is_down(screen: &Screen) -> bool {
    screen.row(KEYS.0, KEYS.1, 1).iter().any(|pixel| *pixel != 0)
}

fn key_is_up(screen: &Screen) -> bool {
    screen.row(KEYS.0, KEYS.1, 1) == [0]
}

#[tokio::test]
async fn one_types_another_takes_over_and_what_is_down_comes_up() -> Result {
    let suite = Suite::builder(U_BMC).start().await?;
    let idle = screen(&suite).await?;
    ensure!(idle["source"] == "SCREEN_SOURCE_SYNTHETIC" && idle["signal"] != true, "{idle}");
    let mut ann = open(&suite, TYPE).await?;
    ann.shows(|screen| screen.size() == (640, 480) && screen.row(0, 0, 1) == [0x00c0_c0c0]).await?;
    ann.shows(key_is_up).await?;
    ann.input(key(true)).await?;
    ann.told(|notice| notice["type"] == "state" && notice["you_write"] == true).await?;
    ann.shows(key_is_down).await?;

    let mut bob = open(&suite, TYPE).await?;
    bob.shows(key_is_down).await?;
    bob.input(key(true)).await?;
    let refused = bob.told(|notice| notice["type"] == "refused").await?;
    ensure!(refused["reason"].as_str().unwrap_or_default().contains("has the keyboard"), "{refused}");
    bob.asks("take_over").await?;
    bob.told(|notice| notice["type"] == "state" && notice["you_write"] == true).await?;
    ann.told(|notice| notice["type"] == "taken_over").await?;
    bob.shows(key_is_up).await.context("what ann held down")?;
    let shown = screen(&suite).await?;
    ensure!(shown["inputHolder"].as_str().unwrap_or_default().starts_with("admin (127.0.0.1"), "{shown}");
    ensure!(shown["viewers"] == 2 && shown["signal"] == true && shown["width"] == 640, "{shown}");

    // Whoever goes leaves nothing down and nothing held.
    bob.input(key(true)).await?;
    ann.shows(key_is_down).await?;
    drop(bob);
    ann.shows(key_is_up).await.context("what bob held down")?;
    ann.told(|notice| notice["type"] == "state" && notice["writer"] == "" && notice["sessions"] == 1).await?;

    let shot = suite.admin().get("/api/v1alpha1/screens/system/screenshot").await?;
    let shot = shot.json()?;
    ensure!(
        shot["png"].as_str().unwrap_or_default().starts_with("iVBORw0KGgo") && shot["width"] == 640,
        "{shot}"
    );
    drop(ann);
    eventually("nothing is captured for nobody", FOLLOW, || async {
        let shown = screen(&suite).await?;
        Ok(shown["signal"] != true && shown["viewers"].as_u64().unwrap_or(0) == 0)
    })
    .await?;
    eventually("the events are there", FOLLOW, || async {
        let events = suite.admin().get("/api/v1alpha1/events?domain=kvm").await?.json()?.to_string();
        Ok(["CHANGE_KIND_OPENED", "KIND_INPUT", "KIND_TOOK_OVER", "KIND_CLOSED"]
            .iter()
            .all(|kind| events.contains(kind)))
    })
    .await?;
    suite.stop().await
}

#[tokio::test]
async fn to_look_is_not_to_type_and_a_daemon_that_is_killed_comes_back() -> Result {
    let suite = Suite::builder(U_BMC).start().await?;
    account(&suite, "reader", "ReadOnly").await?;
    account(&suite, "worker", "Operator").await?;
    let status = async |path, authorization: &str| {
        Ok::<_, anyhow::Error>(open_as(&suite, path, authorization).await?.err())
    };
    let (reader, worker) = (basic("reader", PASSWORD), basic("worker", PASSWORD));
    ensure!(status(LOOK, "").await? == Some(401) && status(TYPE, &reader).await? == Some(403));
    ensure!(status("/api/v1alpha1/screens/nothing/view", &reader).await? == Some(404));
    ensure!(status(TYPE, &worker).await?.is_none());
    let admin = basic("admin", ADMIN_PASSWORD);
    let foreign = [("authorization", admin.as_str()), ("origin", "https://evil.example")];
    ensure!(Kvm::open(suite.https(), TYPE, &foreign).await?.err() == Some(403));
    ensure!(suite.admin().get(TYPE).await?.status == 426);

    let eve = open_as(&suite, LOOK, &reader).await?;
    let mut eve = eve.map_err(|status| anyhow::anyhow!("{status}"))?;
    eve.shows(key_is_up).await?;
    eve.input(key(true)).await?;
    let refused = eve.told(|notice| notice["type"] == "refused").await?;
    ensure!(refused["reason"].as_str().unwrap_or_default().contains("reading only"), "{refused}");

    suite.kill_daemon("kvmsrv")?;
    ensure!(!eve.ends().await?.is_empty(), "the client is told");
    eventually("a session can be had again", FOLLOW, || async { Ok(open(&suite, TYPE).await.is_ok()) })
        .await?;
    let mut ann = open(&suite, TYPE).await?;
    ann.shows(key_is_up).await?;

    suite.kill_daemon("websrv")?;
    ann.ends().await?;
    eventually("websrv is back", FOLLOW, || async { Ok(open(&suite, TYPE).await.is_ok()) }).await?;
    let mut ann = open(&suite, TYPE).await?;
    ann.input(key(true)).await?;
    ann.shows(key_is_down).await?;

    // With websrv goes the session, and what it held down comes up: kvmsrv stays, and so does its test picture.
    let kvmsrv = suite.pid_of("kvmsrv");
    suite.kill_daemon("websrv")?;
    ann.ends().await?;
    eventually("websrv is back once more", FOLLOW, || async { Ok(open(&suite, LOOK).await.is_ok()) }).await?;
    let mut bob = open(&suite, LOOK).await?;
    bob.shows(key_is_up).await.context("what was held down when websrv died")?;
    bob.told(|notice| notice["type"] == "state" && notice["writer"] == "").await?;
    ensure!(kvmsrv.is_some() && suite.pid_of("kvmsrv") == kvmsrv);
    suite.stop().await
}

#[tokio::test]
async fn a_text_is_typed_as_keys_for_who_may_and_what_is_on_no_key_is_refused() -> Result {
    let suite = Suite::builder(U_BMC).start().await?;
    account(&suite, "reader", "ReadOnly").await?;
    account(&suite, "worker", "Operator").await?;
    let path = "/api/v1alpha1/screens/system/text";
    let typed = async |name: &str, text: &str, layout: &str| {
        let client = suite.client(Credential::Basic(name.to_owned(), PASSWORD.to_owned()));
        client.post(path, &json!({ "text": text, "layout": layout })).await
    };
    // A text by itself: nobody looks.
    let alone = typed("worker", "a", "KEYBOARD_LAYOUT_US").await?;
    ensure!(alone.status == 200 && alone.json()?["characters"] == 1, "{}", alone.text());
    eventually("it is typed", FOLLOW, || async {
        let shown = screen(&suite).await?;
        Ok(shown.get("textHolder").is_none_or(|holder| holder == "") && shown["signal"] != true)
    })
    .await?;
    let mut ann = open(&suite, LOOK).await?;
    ann.shows(key_is_up).await?;
    ensure!(typed("reader", "a", "KEYBOARD_LAYOUT_US").await?.status == 403);
    let untypable = typed("worker", "grün", "KEYBOARD_LAYOUT_US").await?;
    ensure!(untypable.status == 400 && untypable.text().contains("on no key"), "{}", untypable.text());
    // The picture shows keys that are down ten times in a second; of a long text, which takes some 25 s, it sees some.
    let long = "Grün ".repeat(200);
    let begun = typed("worker", &long, "KEYBOARD_LAYOUT_DE").await?;
    ensure!(begun.status == 200 && begun.json()?["characters"] == 1000, "{}", begun.text());
    let second = typed("worker", "b", "KEYBOARD_LAYOUT_US").await?;
    ensure!(second.status == 429, "one text at a time: {} {}", second.status, second.text());
    ann.shows(key_is_down).await?;
    // Somebody else takes the keyboard: the rest is not typed, and nothing of it stays down.
    let mut bob = open(&suite, TYPE).await?;
    bob.asks("take_over").await?;
    bob.told(|notice| notice["type"] == "state" && notice["you_write"] == true).await?;
    bob.shows(key_is_up).await?;
    eventually("the text has ended", FOLLOW, || async {
        let refused = typed("worker", "b", "KEYBOARD_LAYOUT_US").await?;
        Ok(refused.status == 400 && refused.text().contains("has the keyboard"))
    })
    .await?;
    bob.asks("release").await?;

    // It is stopped by who asks for that, and by what happens to its author's account.
    let begin = async || {
        eventually("a text begins", FOLLOW, || async {
            Ok(typed("worker", &long, "KEYBOARD_LAYOUT_DE").await?.status == 200)
        })
        .await?;
        ensure!(screen(&suite).await?["textHolder"] == "worker");
        Ok(())
    };
    begin().await?;
    let stopped = suite.admin().post(&format!("{path}/stop"), &json!({})).await?;
    ensure!(stopped.json()?["textHolder"] == "worker", "{}", stopped.text());
    ensure!(screen(&suite).await?.get("textHolder").is_none_or(|holder| holder == ""));
    begin().await?;
    let users = suite.admin().get("/api/v1alpha1/users").await?.json()?;
    let users = users["users"].as_array().context("users")?;
    let worker = users.iter().find(|user| user["username"] == "worker").context("the worker")?;
    let id = worker["id"].as_str().context("an id")?;
    let (admin, path) = (suite.admin(), format!("/api/v1alpha1/users/{id}"));
    ensure!(admin.send(http::Method::DELETE, &path, &[], Default::default()).await?.status == 200);
    eventually("nobody types any more", FOLLOW, || async {
        Ok(screen(&suite).await?.get("textHolder").is_none_or(|holder| holder == ""))
    })
    .await?;
    suite.stop().await
}

#[tokio::test]
async fn what_a_host_showed_before_it_went_off_is_kept() -> Result {
    let suite = Suite::builder(U_BMC).set("kvmsrv.keep_secs=5").start().await?;
    let admin = suite.admin();
    let act = async |action: &str| {
        let body = json!({ "action": format!("HOST_ACTION_{action}") });
        admin.post("/api/v1alpha1/hosts/system/state", &body).await
    };
    let kept = async || {
        let reply = admin.get("/api/v1alpha1/screens/system/kept").await?;
        ensure!(reply.status == 200, "{}", reply.text());
        Ok(reply.json()?["screens"].as_array().cloned().unwrap_or_default())
    };
    ensure!(act("ON").await?.status == 200);
    for (nth, (action, reason)) in [("FORCE_OFF", "OFF"), ("FORCE_RESTART", "RESET")].into_iter().enumerate()
    {
        // A look is taken each 5 s, from the start on.
        eventually("a screen is kept", FOLLOW, || async {
            let on = admin.get("/api/v1alpha1/hosts/system").await?.json()?;
            if on["host"]["status"] == "HOST_STATUS_ON" {
                act(action).await?;
            } else {
                act("ON").await?;
            }
            Ok(kept().await?.len() > nth)
        })
        .await?;
        let newest = kept().await?.swap_remove(0);
        ensure!(newest["reason"] == format!("KEPT_SCREEN_REASON_{reason}"), "{newest}");
        ensure!(newest["screenName"] == "system" && newest["sizeBytes"] != "0", "{newest}");
    }
    // They are there after a restart, and the log says that they are.
    let newest = kept().await?.swap_remove(0);
    suite.kill_daemon("kvmsrv")?;
    eventually("the newest is read", FOLLOW, || async {
        let id = newest["id"].as_str().context("an id")?;
        let reply = admin.get(&format!("/api/v1alpha1/screens/system/kept/{id}")).await?;
        Ok(reply.status == 200 && reply.json()?["png"].as_str().is_some_and(|png| png.starts_with("iVBOR")))
    })
    .await?;
    ensure!(admin.get("/api/v1alpha1/screens/system/kept/1").await?.status == 404);
    eventually("the events are there", FOLLOW, || async {
        let events = admin.get("/api/v1alpha1/events?domain=kvm&what=kept").await?.text();
        Ok(events.contains("before it went off is kept") && events.contains("before it was reset"))
    })
    .await?;
    suite.stop().await
}

/// Pixels that are not black.
fn lit(screen: &Screen) -> usize {
    let (width, height) = screen.size();
    (0..height).map(|y| screen.row(y, 0, width).iter().filter(|pixel| **pixel != 0).count()).sum()
}

#[tokio::test]
async fn the_screen_of_a_real_machine_is_seen() -> Result {
    let Some(guest) = testkit::given(
        "UBMC_TEST_GUEST",
        "no QEMU guest; `cargo xtask guest` makes one, `cargo xtask test` uses it",
    ) else {
        return Ok(());
    };
    let suite =
        Suite::builder(U_BMC).set("sim.host=qemu").set(format!("sim.qemu.guest={guest}")).start().await?;
    let off = suite.admin().get("/api/v1alpha1/screens/system/screenshot").await?;
    ensure!(off.status == 503 && off.text().contains("the guest is off"), "{} {}", off.status, off.text());
    let mut ann = open(&suite, TYPE).await?;
    ann.told(|notice| notice["type"] == "state" && notice["connected"] == false).await?;
    let body = json!({ "action": "HOST_ACTION_ON" });
    let reply = suite.admin().post("/api/v1alpha1/hosts/system/state", &body).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    ann.told(|notice| notice["type"] == "state" && notice["connected"] == true).await?;
    ann.shows(|screen| lit(screen) > 500).await.context("what its firmware writes")?;
    let shown = screen(&suite).await?;
    ensure!(shown["source"] == "SCREEN_SOURCE_QEMU" && shown["signal"] == true, "{shown}");
    ann.input(key(true)).await?;
    ann.told(|notice| notice["type"] == "state" && notice["you_write"] == true).await?;
    let body = json!({ "action": "HOST_ACTION_FORCE_OFF" });
    let reply = suite.admin().post("/api/v1alpha1/hosts/system/state", &body).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    ann.told(|notice| notice["type"] == "state" && notice["connected"] == false).await?;
    ann.shows(|screen| lit(screen) == 0).await?;
    suite.stop().await
}

/// A suite whose host is this guest, which has booted, and a session of its console.
async fn booted(guest: &str) -> Result<(Suite, Console)> {
    let suite =
        Suite::builder(U_BMC).set("sim.host=qemu").set(format!("sim.qemu.guest={guest}")).start().await?;
    let login = basic("admin", ADMIN_PASSWORD);
    let headers = [("authorization", login.as_str())];
    let opened = Console::open(suite.https(), "/api/v1alpha1/consoles/system/socket", &headers).await?;
    let mut console = opened.map_err(|status| anyhow::anyhow!("refused with {status}"))?;
    let body = json!({ "action": "HOST_ACTION_ON" });
    let reply = suite.admin().post("/api/v1alpha1/hosts/system/state", &body).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    console.says("u-bmc guest: ready").await?;
    Ok((suite, console))
}

/// Reads one report of the guest's USB pointer and says what is in it: kinds, codes and values as the kernel has them (linux/input-event-codes.h), 24 bytes each.
const REPORT: &str = "dev=$(grep -l Tablet /sys/class/input/event*/device/name | cut -d/ -f5); echo dev-$dev-is; \
    dd if=/dev/input/$dev bs=24 count=3 2>/dev/null | od -An -v -w24 -tu2 | \
    while read -r a b c d e f g h kind code value rest; do echo at $kind $code $value; done; echo end-$((40+2))\n";

/// Moves between two places until it is dropped: the guest's driver may not ask for reports yet, and what comes before goes to its PS/2 mouse.
async fn move_about(kvm: &mut Kvm) -> Result<()> {
    let (width, height) = kvm.screen().size();
    let mut every = tokio::time::interval(Duration::from_millis(200));
    for quarter in [1, 3].into_iter().cycle() {
        every.tick().await;
        kvm.input(Input::Pointer { buttons: 0, x: width / 4 * quarter, y: height / 4 * quarter }).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_pointer_of_a_guest_with_usb_is_where_the_viewers_is() -> Result {
    let Some(guest) = testkit::given(
        "UBMC_TEST_IPMI_GUEST",
        "no QEMU guest with USB; `cargo xtask guest` makes one, `cargo xtask test` uses it",
    ) else {
        return Ok(());
    };
    let (suite, mut console) = booted(&guest).await?;
    let mut ann = open(&suite, TYPE).await?;
    ann.told(|notice| notice["type"] == "state" && notice["connected"] == true).await?;
    ann.shows(|screen| screen.size().0 >= 640 && lit(screen) > 0).await?;
    // Who moves only takes nothing: the mouse is had by a key.
    ann.input(key(true)).await?;
    ann.told(|notice| notice["type"] == "state" && notice["you_write"] == true).await?;
    ann.input(key(false)).await?;
    // Its driver finds the device a moment after the system is up.
    console.types("until grep -q Tablet /sys/class/input/event*/device/name; do sleep 1; done; echo has-$((40+2))\n").await?;
    console.says("has-42").await?;
    console.types(REPORT).await?;
    console.says("-is").await?;
    let said = tokio::select! {
        said = console.says("end-42") => said?,
        moved = move_about(&mut ann) => anyhow::bail!("the viewer ended: {moved:?}"),
    };
    // A quarter or three of 32767, in both directions: places and not ways.
    let place = |axis: &str| {
        let line = said.lines().find_map(|line| line.trim().strip_prefix(axis)).context(said.clone())?;
        let value: i32 = line.trim().parse().context(said.clone())?;
        let distance = |quarter: i32| (value - 32_767 * quarter / 4).abs();
        Ok::<_, anyhow::Error>(distance(1).min(distance(3)))
    };
    ensure!(place("at 3 0 ")? < 200 && place("at 3 1 ")? < 200, "{said}");

    // A button that is held when kvmsrv is killed comes up.
    console.types("exec 3</dev/input/$dev; echo open-$((40+2))\n").await?;
    console.says("open-42").await?;
    let (width, height) = ann.screen().size();
    ann.input(Input::Pointer { buttons: 1, x: width / 2, y: height / 2 }).await?;
    until_event(&mut console, BUTTON, 1).await?;
    suite.kill_daemon("kvmsrv")?;
    until_event(&mut console, BUTTON, 0).await?;
    suite.stop().await
}

/// The left button and the key A, as the kernel numbers them (linux/input-event-codes.h).
const BUTTON: u16 = 0x110;
const KEY_A: u16 = 30;

/// Reads events of the device that the guest's shell has open as 3, until this key or button came down (1) or up (0).
async fn until_event(console: &mut Console, code: u16, value: u16) -> Result {
    let is_it = format!("awk '$9==1&&$10=={code}&&$11=={value}{{f=1}}END{{exit !f}}'");
    let read = "dd bs=24 count=1 <&3 2>/dev/null | od -An -v -w24 -tu2";
    console.types(&format!("until {read} | {is_it}; do :; done; echo seen-$((40+{value}))\n")).await?;
    console.says(&format!("seen-{}", 40 + value)).await?;
    Ok(())
}

#[tokio::test]
async fn a_key_that_is_held_at_a_guest_when_kvmsrv_is_killed_comes_up() -> Result {
    let Some(guest) = testkit::given(
        "UBMC_TEST_GUEST",
        "no QEMU guest; `cargo xtask guest` makes one, `cargo xtask test` uses it",
    ) else {
        return Ok(());
    };
    let (suite, mut console) = booted(&guest).await?;
    console
        .types("dev=$(grep -l 'AT Translated' /sys/class/input/event*/device/name | cut -d/ -f5)\n")
        .await?;
    console.types("exec 3</dev/input/$dev; echo open-$((40+2))\n").await?;
    console.says("open-42").await?;
    let mut ann = open(&suite, TYPE).await?;
    ann.told(|notice| notice["type"] == "state" && notice["connected"] == true).await?;
    let key = |down| Input::Key { down, keysym: 0x61, code: Some(30) };
    ann.input(key(true)).await?;
    until_event(&mut console, KEY_A, 1).await?;
    suite.kill_daemon("kvmsrv")?;
    until_event(&mut console, KEY_A, 0).await?;
    ann.ends().await?;

    // Nothing is held at the one that is started in its place, and the same key goes down and comes up.
    eventually("a session can be had again", FOLLOW, || async { Ok(open(&suite, TYPE).await.is_ok()) })
        .await?;
    let mut ann = open(&suite, TYPE).await?;
    ann.told(|notice| notice["type"] == "state" && notice["connected"] == true).await?;
    ann.input(key(true)).await?;
    until_event(&mut console, KEY_A, 1).await?;
    drop(ann);
    until_event(&mut console, KEY_A, 0).await?;
    suite.stop().await
}
