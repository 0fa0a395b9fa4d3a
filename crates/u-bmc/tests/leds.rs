//! LEDs of the running suite, looked at from outside: as files and pins of the simulated machine.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use testkit::{Client, Suite, eventually};

/// The binary under test.
const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
/// Longest wait for an LED to follow; what it follows comes within a second or two.
const FOLLOW: Duration = Duration::from_secs(90);

const STATUS: &str = "chassis:green:status";
const IDENTIFY: &str = "chassis:blue:identify";

type Result<T = ()> = anyhow::Result<T>;

/// Looks at the simulated machine.
struct Eye {
    sys: PathBuf,
}

impl Eye {
    fn new(suite: &Suite) -> Self {
        Self { sys: suite.run_dir().join("sys/class/leds") }
    }

    fn read(&self, label: &str, file: &str) -> Result<String> {
        let path = self.sys.join(label).join(file);
        Ok(std::fs::read_to_string(&path).with_context(|| path.display().to_string())?.trim().to_owned())
    }

    /// `dark`, `lit 102`, or `blinks 500` with its half period.
    fn look(&self, label: &str) -> Result<String> {
        let trigger = self.read(label, "trigger")?;
        if trigger == "timer" {
            return Ok(format!("blinks {}", self.read(label, "delay_on")?));
        }
        Ok(match self.read(label, "brightness")?.as_str() {
            "0" => "dark".to_owned(),
            steps => format!("lit {steps}"),
        })
    }

    async fn sees(&self, label: &str, wanted: &str) -> Result {
        eventually(&format!("{label} is {wanted}"), FOLLOW, || async { Ok(self.look(label)? == wanted) })
            .await
    }
}

/// The level of a light's pin, and how often it changed.
async fn pin(twin: &mut hal_sim::Control, led: &str) -> Result<(bool, usize)> {
    let trace = twin.trace(0).await?;
    let edges: Vec<_> =
        trace.iter().filter(|entry| entry.host == "chassis" && entry.pin == format!("led.{led}")).collect();
    Ok((edges.last().is_some_and(|entry| entry.active), edges.len()))
}

/// Waits until a light's pin has this level, in its trace.
async fn lights(suite: &Suite, led: &str, lit: bool) -> Result {
    eventually(&format!("LED {led} lit: {lit}"), FOLLOW, || async {
        Ok(pin(&mut suite.twin().await?, led).await?.0 == lit)
    })
    .await
}

async fn led(client: &Client, name: &str) -> Result<Value> {
    let reply = client.get(&format!("/api/v1alpha1/leds/{name}")).await?;
    anyhow::ensure!(reply.status == 200, "{}: {}", reply.status, reply.text());
    Ok(reply.json()?["led"].clone())
}

async fn shows(client: &Client, name: &str, state: &str, source: &str) -> Result {
    eventually(&format!("LED {name} is {state} by {source}"), FOLLOW, || async {
        let led = led(client, name).await?;
        Ok(led["state"] == state && led["source"] == source && led["fault"].as_str().unwrap_or("").is_empty())
    })
    .await
}

async fn post(client: &Client, path: &str, body: Value) -> Result<testkit::Reply> {
    client.post(&format!("/api/v1alpha1/{path}"), &body).await
}

async fn done(client: &Client, path: &str, body: Value) -> Result<Value> {
    let reply = post(client, path, body).await?;
    anyhow::ensure!(reply.status == 200, "{path}: {}: {}", reply.status, reply.text());
    reply.json()
}

#[tokio::test]
async fn the_power_led_follows_the_host_and_the_identify_led_the_chassis() -> Result {
    let suite = Suite::builder(U_BMC).start().await?;
    let (admin, eye) = (suite.admin(), Eye::new(&suite));
    shows(&admin, "power", "LED_STATE_OFF", "LED_SOURCE_NONE").await?;
    lights(&suite, "power", false).await?;
    assert_eq!(eye.look(IDENTIFY)?, "dark");

    done(&admin, "hosts/system/state", json!({ "action": "HOST_ACTION_ON" })).await?;
    shows(&admin, "power", "LED_STATE_ON", "LED_SOURCE_GROUP").await?;
    lights(&suite, "power", true).await?;

    done(&admin, "chassis/chassis/state", json!({ "action": "CHASSIS_ACTION_IDENTIFY_ON" })).await?;
    eye.sees(IDENTIFY, "blinks 500").await?;
    let shown = led(&admin, "identify").await?;
    assert_eq!(
        (shown["state"].as_str(), shown["group"].as_str()),
        (Some("LED_STATE_BLINK"), Some("identify"))
    );
    done(&admin, "chassis/chassis/state", json!({ "action": "CHASSIS_ACTION_IDENTIFY_OFF" })).await?;
    eye.sees(IDENTIFY, "dark").await?;

    done(&admin, "hosts/system/state", json!({ "action": "HOST_ACTION_FORCE_OFF" })).await?;
    shows(&admin, "power", "LED_STATE_OFF", "LED_SOURCE_NONE").await?;
    lights(&suite, "power", false).await?;
    suite.stop().await
}

#[tokio::test]
async fn what_was_is_shown_again_after_a_lamp_test_and_after_ledmgr_was_killed() -> Result {
    let suite = Suite::builder(U_BMC).start().await?;
    let (admin, eye) = (suite.admin(), Eye::new(&suite));
    done(&admin, "hosts/system/state", json!({ "action": "HOST_ACTION_ON" })).await?;
    done(&admin, "chassis/chassis/state", json!({ "action": "CHASSIS_ACTION_IDENTIFY_ON" })).await?;
    done(&admin, "leds/status/state", json!({ "state": "LED_STATE_ON", "brightness": 50 })).await?;
    eye.sees(IDENTIFY, "blinks 500").await?;
    eye.sees(STATUS, "lit 128").await?;
    lights(&suite, "power", true).await?;

    // All lit, and then as before.
    let test = done(&admin, "led-test", json!({ "duration": "240s" })).await?;
    assert!(test["until"].is_string(), "{test}");
    eye.sees(IDENTIFY, "lit 255").await?;
    eye.sees(STATUS, "lit 255").await?;
    lights(&suite, "fault", true).await?;
    done(&admin, "led-test", json!({ "duration": "1s" })).await?;
    eye.sees(IDENTIFY, "blinks 500").await?;
    eye.sees(STATUS, "lit 128").await?;
    lights(&suite, "fault", false).await?;

    // Killed: what blinks goes on, and what changed meanwhile is shown when it is back. Nothing flickers.
    let (_, before) = pin(&mut suite.twin().await?, "power").await?;
    suite.kill_daemon("ledmgr")?;
    done(&admin, "chassis/chassis/state", json!({ "action": "CHASSIS_ACTION_IDENTIFY_OFF" })).await?;
    eye.sees(IDENTIFY, "dark").await?;
    shows(&admin, "status", "LED_STATE_ON", "LED_SOURCE_MANUAL").await?;
    shows(&admin, "power", "LED_STATE_ON", "LED_SOURCE_GROUP").await?;
    assert_eq!(eye.look(STATUS)?, "lit 128");
    assert_eq!(pin(&mut suite.twin().await?, "power").await?, (true, before), "a restart is not seen");

    // Killed in a lamp test: it is over, and nothing of it stays.
    done(&admin, "led-test", json!({ "duration": "240s" })).await?;
    lights(&suite, "fault", true).await?;
    suite.kill_daemon("ledmgr")?;
    lights(&suite, "fault", false).await?;
    eye.sees(STATUS, "lit 128").await?;
    suite.stop().await
}

#[tokio::test]
async fn thermal_alarms_and_identify_with_an_end_are_shown() -> Result {
    let board = |set: testkit::Builder| {
        // Faults that are soon forgotten, and a status LED that tells them apart: the chassis blinks at a warning, and fast at what is critical.
        (0..4).fold(set.set("zones.cpu.recover_ms=300").set("zones.air.recover_ms=300"), |set, fan| {
            set.set(format!("fans.fan{fan}.recover_ms=500"))
        })
    };
    let suite = board(Suite::builder(U_BMC)).start().await?;
    let (admin, eye) = (suite.admin(), Eye::new(&suite));
    let mut twin = suite.twin().await?;
    eye.sees(STATUS, "lit 102").await?;
    // One of N+1: a warning. Two: fewer than are needed.
    twin.break_part("fan0", "stuck").await?;
    eye.sees(STATUS, "blinks 500").await?;
    assert_eq!(led(&admin, "status").await?["group"], "warning");
    twin.break_part("fan1", "slow").await?;
    eye.sees(STATUS, "blinks 250").await?;
    lights(&suite, "fault", true).await?;
    twin.mend(None).await?;
    eye.sees(STATUS, "lit 102").await?;
    lights(&suite, "fault", false).await?;

    // Shown for a while, and then by itself no more. The while is long enough to be seen on a busy machine.
    let on = json!({ "action": "CHASSIS_ACTION_IDENTIFY_ON", "duration": "15s" });
    done(&admin, "chassis/chassis/state", on).await?;
    eye.sees(IDENTIFY, "blinks 500").await?;
    eye.sees(IDENTIFY, "dark").await?;
    for wrong in [
        json!({ "action": "CHASSIS_ACTION_IDENTIFY_ON", "duration": "0.5s" }),
        json!({ "action": "CHASSIS_ACTION_IDENTIFY_OFF", "duration": "5s" }),
    ] {
        let reply = post(&admin, "chassis/chassis/state", wrong.clone()).await?;
        assert_eq!(reply.status, 400, "{wrong}: {}", reply.text());
    }
    suite.stop().await
}

#[tokio::test]
async fn by_hand_ends_at_its_time_and_what_is_refused_changes_nothing() -> Result {
    let suite = Suite::builder(U_BMC).start().await?;
    let (admin, eye) = (suite.admin(), Eye::new(&suite));
    shows(&admin, "identify", "LED_STATE_OFF", "LED_SOURCE_NONE").await?;
    let set = json!({ "state": "LED_STATE_FAST_BLINK", "duration": "15s" });
    let set = done(&admin, "leds/status/state", set).await?;
    assert!(set["led"]["until"].is_string(), "{set}");
    eye.sees(STATUS, "blinks 250").await?;
    eventually("the status LED is its group's again", FOLLOW, || async {
        Ok(led(&admin, "status").await?["source"] == "LED_SOURCE_GROUP")
    })
    .await?;

    // That it has ended is being stored, which may still be under way.
    eventually("the LED can be set again", FOLLOW, || async {
        let reply = post(&admin, "leds/status/state", json!({ "state": "LED_STATE_OFF" })).await?;
        anyhow::ensure!(
            reply.status == 200 || reply.text().contains("UPDATE_IN_PROGRESS"),
            "{}",
            reply.text()
        );
        Ok(reply.status == 200)
    })
    .await?;
    eye.sees(STATUS, "dark").await?;
    let all = admin.get("/api/v1alpha1/leds").await?.text();
    for (path, body, status, reason) in [
        ("leds/power/state", json!({ "state": "LED_STATE_ON" }), 400, "NOT_SETTABLE"),
        ("leds/nosuch/state", json!({ "state": "LED_STATE_ON" }), 404, "LED_NOT_FOUND"),
        ("leds/status/state", json!({ "state": "LED_STATE_ON", "duration": "0s" }), 400, "OUT_OF_RANGE"),
        ("leds/status/state", json!({ "state": "LED_STATE_ON", "duration": "700000s" }), 400, "OUT_OF_RANGE"),
        ("leds/status/state", json!({ "state": "LED_STATE_ON", "brightness": 101 }), 400, "brightness"),
        ("leds/status/state", json!({}), 400, "state"),
        ("leds/power/release", json!({}), 400, "NOT_SETTABLE"),
        ("led-test", json!({ "duration": "241s" }), 400, "OUT_OF_RANGE"),
    ] {
        let reply = post(&admin, path, body.clone()).await?;
        assert_eq!(reply.status, status, "{path} {body}: {}", reply.text());
        assert!(reply.text().contains(reason), "{path} {body}: {}", reply.text());
    }
    assert_eq!(admin.get("/api/v1alpha1/leds").await?.text(), all);
    assert_eq!(eye.look(STATUS)?, "dark");
    done(&admin, "leds/status/release", json!({})).await?;
    assert_eq!(led(&admin, "status").await?["source"], "LED_SOURCE_GROUP");
    suite.stop().await
}
