//! Sensors of the simulated board, from the twin's physics to what clients see.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::Method;
use serde_json::{Value, json};
use testkit::{Client, Reply, Suite};
use tokio::time::Instant;

type Result<T = ()> = anyhow::Result<T>;

const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
const SENSORS: &str = "/api/v1alpha1/sensors";
/// Longest wait for what is not promised sooner.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long what cannot be read may be shown as if it could.
const FAILED_WITHIN: Duration = Duration::from_secs(2);
/// A machine that is busy with other tests may be late once; not each time …
const TRIES: usize = 3;
/// … and never by more than that.
const LATE_MAX: Duration = Duration::from_secs(20);

async fn get(client: &Client, path: &str) -> Result<Value> {
    let reply = client.get(path).await?;
    ensure!(reply.status == 200, "{path}: {} {}", reply.status, reply.text());
    reply.json()
}

async fn sensor(client: &Client, id: &str) -> Result<Value> {
    Ok(get(client, &format!("{SENSORS}/{id}")).await?["sensor"].clone())
}

/// Waits until the sensor is as wanted, and says how long that took.
async fn until(client: &Client, id: &str, is: impl Fn(&Value) -> bool) -> Result<(Value, Duration)> {
    let start = Instant::now();
    loop {
        // A daemon that was killed is away for a moment.
        let shown = sensor(client, id).await;
        match shown {
            Ok(shown) if is(&shown) => return Ok((shown, start.elapsed())),
            other if start.elapsed() > PATIENCE => anyhow::bail!("{id} does not come to it: {other:?}"),
            _ => tokio::time::sleep(Duration::from_millis(25)).await,
        }
    }
}

async fn put(client: &Client, path: &str, body: &Value) -> Result<Reply> {
    let headers = [("content-type", "application/json")];
    client.send(Method::PUT, path, &headers, serde_json::to_vec(body)?.into()).await
}

fn value(sensor: &Value) -> Option<f64> {
    sensor["analogReading"]["value"].as_f64()
}

fn quality(wanted: &'static str) -> impl Fn(&Value) -> bool {
    move |sensor| sensor["quality"] == format!("SENSOR_QUALITY_{wanted}")
}

async fn power(client: &Client, action: &str, status: &str) -> Result {
    let body = json!({ "action": format!("HOST_ACTION_{action}") });
    let reply = client.post("/api/v1alpha1/hosts/system/state", &body).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    let start = Instant::now();
    while get(client, "/api/v1alpha1/hosts/system").await?["host"]["status"]
        != format!("HOST_STATUS_{status}")
    {
        ensure!(start.elapsed() < PATIENCE, "the host does not come to {status}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    Ok(())
}

/// The newest event of a sensor that is as wanted.
async fn event(client: &Client, component: &str, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
    let path = format!("/api/v1alpha1/events?domain=sensor&component={component}&what={what}");
    let start = Instant::now();
    loop {
        let events = get(client, &path).await?;
        let found = events["events"].as_array().into_iter().flatten().find(|event| is(event));
        if let Some(found) = found {
            return Ok(found.clone());
        }
        ensure!(start.elapsed() < PATIENCE, "no such event: {events}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

#[tokio::test]
async fn readings_follow_the_machine_and_are_marked_when_they_are_not_good() -> Result {
    let suite = Suite::builder(U_BMC).start().await?;
    let (admin, mut twin) = (suite.admin(), suite.twin().await?);

    // Off: what has no power is unavailable, and the rest is measured.
    let (cpu, _) = until(&admin, "cpu0_temp", |s| s["reason"] == "SENSOR_REASON_HOST_OFF").await?;
    ensure!(quality("UNAVAILABLE")(&cpu) && value(&cpu).is_none(), "{cpu}");
    until(&admin, "inlet_temp", quality("GOOD")).await?;

    // On: it is measured, and what is computed from it as well.
    power(&admin, "ON", "ON").await?;
    let (power_of, _) = until(&admin, "cpu0_power", quality("GOOD")).await?;
    ensure!(value(&power_of).is_some_and(|watts| watts > 5.0), "{power_of}");
    let (first, _) = until(&admin, "cpu0_temp", quality("GOOD")).await?;
    twin.load("system", 1.0).await?;
    let warm = value(&first).context("a value")? + 5.0;
    until(&admin, "cpu0_temp", |s| value(s).is_some_and(|now| now > warm)).await?;
    let history = get(&admin, &format!("{SENSORS}/cpu0_temp/history")).await?;
    ensure!(history["means"].as_array().is_some_and(|means| !means.is_empty()), "{history}");

    // Missing: failed within two seconds, told, and good again when it is back.
    let mut took = Vec::new();
    while !took.iter().any(|took| *took < FAILED_WITHIN) {
        ensure!(took.len() < TRIES && took.iter().all(|took| *took < LATE_MAX), "{took:?}");
        twin.break_part("cpu0_temp", "missing").await?;
        took.push(until(&admin, "cpu0_temp", quality("FAILED")).await?.1);
        event(&admin, "cpu0_temp", "state", |e| e["severity"] == "EVENT_SEVERITY_WARNING").await?;
        twin.mend(None).await?;
        until(&admin, "cpu0_temp", quality("GOOD")).await?;
        event(&admin, "cpu0_temp", "state", |e| e["severity"] == "EVENT_SEVERITY_INFO").await?;
    }

    // No new value: the last one, marked, with its age.
    twin.break_part("cpu0_temp", "stale").await?;
    let (stale, _) = until(&admin, "cpu0_temp", quality("STALE")).await?;
    ensure!(value(&stale).is_some() && stale["reason"] == "SENSOR_REASON_NO_NEW_VALUE", "{stale}");
    twin.break_part("cpu0_temp", "implausible").await?;
    let (lies, _) = until(&admin, "cpu0_temp", quality("FAILED")).await?;
    ensure!(value(&lies).is_none() && lies["reason"] == "SENSOR_REASON_IMPLAUSIBLE", "{lies}");

    // A bus that hangs: its sensors are not good, those of another bus are.
    twin.mend(None).await?;
    until(&admin, "cpu0_temp", quality("GOOD")).await?;
    twin.break_part("i2c3", "hang").await?;
    until(&admin, "cpu0_temp", |s| !quality("GOOD")(s)).await?;
    event(&admin, "i2c3", "bus", |_| true).await?;
    until(&admin, "inlet_temp", quality("GOOD")).await?;
    twin.mend(None).await?;
    until(&admin, "cpu0_temp", quality("GOOD")).await?;

    // A supply that is pulled is not present, and the sum is that of the others.
    twin.break_part("psu1", "removed").await?;
    until(&admin, "psu1_power", |s| s["status"] == "SENSOR_STATUS_NOT_PRESENT").await?;
    until(&admin, "total_power", quality("GOOD")).await?;
    event(&admin, "psu1", "presence", |_| true).await?;

    // Off again.
    power(&admin, "FORCE_OFF", "OFF").await?;
    until(&admin, "cpu0_temp", quality("UNAVAILABLE")).await?;
    suite.stop().await
}

fn state(wanted: &'static str) -> impl Fn(&Value) -> bool {
    move |sensor| sensor["discreteReading"]["state"] == wanted
}

/// Supplies that no driver has: asked over PMBus, each in the format it counts in.
#[tokio::test]
async fn a_supply_on_pmbus_warns_hangs_leaves_and_returns() -> Result {
    let suite = Suite::builder(U_BMC).start().await?;
    let (admin, mut twin) = (suite.admin(), suite.twin().await?);
    for (id, volts) in [("psu0_vin", 230.0), ("psu1_vin", 230.0), ("psu0_vout", 12.1), ("psu1_vout", 12.1)] {
        let (shown, _) = until(&admin, id, quality("GOOD")).await?;
        ensure!(value(&shown).is_some_and(|value| (value - volts).abs() < volts * 0.02), "{shown}");
    }
    until(&admin, "psu1_present", state("present")).await?;
    until(&admin, "psu1_hot", state("deasserted")).await?;

    // A warning of its status, and the line that it pulls.
    twin.break_part("psu1_hot", "asserted").await?;
    until(&admin, "psu1_hot", state("asserted")).await?;
    until(&admin, "psu1_alert", state("asserted")).await?;
    event(&admin, "psu1_hot", "alert", |e| e["severity"] == "EVENT_SEVERITY_WARNING").await?;
    twin.mend(None).await?;
    until(&admin, "psu1_alert", state("deasserted")).await?;
    event(&admin, "psu1_alert", "alert", |e| e["severity"] == "EVENT_SEVERITY_INFO").await?;

    // A command that it does not take is no supply that was pulled.
    twin.break_part("psu1_vin", "missing").await?;
    let (failed, _) = until(&admin, "psu1_vin", quality("FAILED")).await?;
    ensure!(failed["reason"] == "SENSOR_REASON_IO", "{failed}");
    twin.mend(None).await?;
    until(&admin, "psu1_vin", quality("GOOD")).await?;

    // The bus hangs: what is on it is not good, what is on others is.
    twin.break_part("i2c4", "hang").await?;
    until(&admin, "psu0_vin", |s| !quality("GOOD")(s)).await?;
    event(&admin, "i2c4", "bus", |_| true).await?;
    until(&admin, "psu0_vin", quality("FAILED")).await?;
    until(&admin, "fan0", quality("GOOD")).await?;
    twin.mend(None).await?;
    until(&admin, "psu0_vin", quality("GOOD")).await?;

    // Pulled, and back.
    twin.break_part("psu1", "removed").await?;
    until(&admin, "psu1_vin", |s| s["status"] == "SENSOR_STATUS_NOT_PRESENT").await?;
    until(&admin, "psu1_present", state("absent")).await?;
    event(&admin, "psu1_present", "presence", |e| e["severity"] == "EVENT_SEVERITY_WARNING").await?;
    event(&admin, "psu1", "presence", |e| e["severity"] == "EVENT_SEVERITY_WARNING").await?;
    // Also to who has not seen that it went.
    let started = samples(&sensor(&admin, "psu0_vin").await?);
    suite.kill_daemon("sensormon")?;
    until(&admin, "psu0_vin", |s| quality("GOOD")(s) && samples(s) < started).await?;
    twin.mend(None).await?;
    until(&admin, "psu1_vin", quality("GOOD")).await?;
    until(&admin, "psu1_present", state("present")).await?;
    event(&admin, "psu1_present", "presence", |e| e["severity"] == "EVENT_SEVERITY_INFO").await?;
    event(&admin, "psu1", "presence", |e| e["severity"] == "EVENT_SEVERITY_INFO").await?;
    suite.stop().await
}

/// How often the daemon has read a sensor since it was started.
fn samples(sensor: &Value) -> u64 {
    let samples = &sensor["analogReading"]["minMaxRecorded"]["samples"];
    samples.as_str().and_then(|samples| samples.parse().ok()).unwrap_or_default()
}

#[tokio::test]
async fn thresholds_are_told_when_crossed_and_outlive_a_killed_daemon() -> Result {
    let suite = Suite::builder(U_BMC).start().await?;
    let admin = suite.admin();
    until(&admin, "inlet_temp", quality("GOOD")).await?;
    let path = format!("{SENSORS}/inlet_temp/thresholds");

    // What makes no sense is refused and changes nothing.
    let wrong = json!({ "upperThresholds": { "warning": 50, "critical": 40 } });
    let reply = put(&admin, &path, &wrong).await?;
    ensure!(reply.status == 400, "{}", reply.text());
    let before = sensor(&admin, "inlet_temp").await?;
    ensure!(before["analogReading"]["upperThresholds"]["warning"] == 40.0, "{before}");

    // Below what it shows: crossed at once.
    let low = json!({ "upperThresholds": { "warning": 5, "critical": 10 }, "hysteresis": 1 });
    let reply = put(&admin, &path, &low).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    ensure!(reply.json()?["sensor"]["status"] == "SENSOR_STATUS_CRITICAL", "{}", reply.text());
    let told =
        event(&admin, "inlet_temp", "threshold", |e| e["severity"] == "EVENT_SEVERITY_CRITICAL").await?;
    ensure!(told["sensorThresholdCrossed"]["threshold"] == 10.0, "{told}");
    // Redfish's log says which sensor that is.
    let entry = format!(
        "/redfish/v1/Managers/bmc/LogServices/EventLog/Entries/{}",
        told["id"].as_str().unwrap_or_default()
    );
    let entry = get(&admin, &entry).await?;
    let origin = &entry["Links"]["OriginOfCondition"]["@odata.id"];
    ensure!(origin == "/redfish/v1/Chassis/chassis/Sensors/inlet_temp", "{entry}");

    // The daemon is killed: it comes back, what was set holds, and what it told lasts. That is stored before this is answered.
    let other = json!({ "upperThresholds": { "warning": 5, "critical": 11 }, "hysteresis": 1 });
    let reply = put(&admin, &path, &other).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    suite.kill_daemon("sensormon")?;
    let (after, _) =
        until(&admin, "inlet_temp", |s| quality("GOOD")(s) && (1..9).contains(&samples(s))).await?;
    ensure!(after["status"] == "SENSOR_STATUS_CRITICAL", "{after}");
    ensure!(after["analogReading"]["thresholdsChanged"] == true, "{after}");

    // Back to the board's: left, and told.
    let reply = admin.send(Method::DELETE, &path, &[], Default::default()).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    ensure!(reply.json()?["sensor"]["status"] == "SENSOR_STATUS_ENABLED", "{}", reply.text());
    event(&admin, "inlet_temp", "threshold", |e| e["severity"] == "EVENT_SEVERITY_INFO").await?;
    let told = get(&admin, "/api/v1alpha1/events?domain=sensor&component=inlet_temp&what=threshold").await?;
    let told = told["events"].as_array().cloned().unwrap_or_default();
    let critical = told.iter().filter(|event| event["severity"] == "EVENT_SEVERITY_CRITICAL").count();
    ensure!(critical == 1, "what lasts is told once, over a restart as well: {told:?}");
    suite.stop().await
}

/// What a device has for itself counts where the board states nothing, and says so; drives are asked as supplies are.
#[tokio::test]
async fn limits_of_a_supply_are_its_thresholds_and_drives_are_measured() -> Result {
    let suite = Suite::builder(U_BMC).start().await?;
    let (admin, mut twin) = (suite.admin(), suite.twin().await?);
    let upper = |sensor: &Value| sensor["analogReading"]["upperThresholds"].clone();
    let of_device = |sensor: &Value| {
        sensor["analogReading"]["thresholdsSource"] == "THRESHOLD_SOURCE_DEVICE"
            && upper(sensor) == json!({ "warning": 65.0, "critical": 75.0 })
    };
    until(&admin, "psu1_temp", |s| quality("GOOD")(s) && of_device(s)).await?;
    let (other, _) = until(&admin, "psu0_temp", quality("GOOD")).await?;
    ensure!(other["analogReading"]["thresholdsSource"] == "THRESHOLD_SOURCE_BOARD", "{other}");

    // What is set goes before them, and they are back after it.
    let path = format!("{SENSORS}/psu1_temp/thresholds");
    let reply = put(&admin, &path, &json!({ "upperThresholds": { "warning": 70 } })).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    ensure!(
        reply.json()?["sensor"]["analogReading"]["thresholdsSource"] == "THRESHOLD_SOURCE_SET",
        "{}",
        reply.text()
    );
    let reply = admin.send(Method::DELETE, &path, &[], Default::default()).await?;
    ensure!(of_device(&reply.json()?["sensor"]), "{}", reply.text());

    // Another supply is asked again; of what is not there nothing is shown as good.
    twin.break_part("psu1", "removed").await?;
    until(&admin, "psu1_temp", |s| s["status"] == "SENSOR_STATUS_NOT_PRESENT").await?;
    twin.mend(Some("psu1")).await?;
    until(&admin, "psu1_temp", |s| quality("GOOD")(s) && of_device(s)).await?;

    // A drive has its power from the host.
    until(&admin, "nvme0_temp", |s| s["reason"] == "SENSOR_REASON_HOST_OFF").await?;
    power(&admin, "ON", "ON").await?;
    let (drive, _) = until(&admin, "nvme0_temp", quality("GOOD")).await?;
    ensure!(drive["source"] == "nvme" && drive["bus"] == "i2c5-0", "{drive}");
    ensure!(
        drive["analogReading"]["value"].as_f64().is_some_and(|value| (15.0..70.0).contains(&value)),
        "{drive}"
    );
    twin.break_part("nvme0_temp", "stale").await?;
    until(&admin, "nvme0_temp", quality("STALE")).await?;
    twin.mend(None).await?;
    twin.break_part("nvme0", "removed").await?;
    until(&admin, "nvme0_temp", |s| s["status"] == "SENSOR_STATUS_NOT_PRESENT").await?;
    until(&admin, "nvme1_temp", quality("GOOD")).await?;
    twin.mend(None).await?;
    until(&admin, "nvme0_temp", quality("GOOD")).await?;
    suite.stop().await
}
