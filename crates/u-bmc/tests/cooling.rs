//! Fans on the running suite: whatever fails, full speed within two seconds; and back when it is over.

#![allow(clippy::print_stdout, reason = "how long each took is said on standard output")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Client, Suite, eventually, signal};
use tokio::time::Instant;

/// The binary under test.
const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
/// How long a failure may last before the fans run at full speed.
const FULL_SPEED: Duration = Duration::from_secs(2);
/// Longest wait for what comes sooner or later.
const FOLLOW: Duration = Duration::from_secs(60);
/// A machine that is busy with other tests may be late once; not each time …
const TRIES: usize = 3;
/// … and never by more than that.
const LATE_MAX: Duration = Duration::from_secs(10);

type Result<T = ()> = anyhow::Result<T>;

/// The simulated board, with fans that slow down fast and faults that are soon forgotten: tests are short.
fn builder() -> testkit::Builder {
    short(Suite::builder(U_BMC), &["cpu", "air"], 4)
}

fn short(mut builder: testkit::Builder, zones: &[&str], fans: usize) -> testkit::Builder {
    for zone in zones {
        builder = builder.set(format!("zones.{zone}.recover_ms=300"));
    }
    for fan in 0..fans {
        builder = builder
            .set(format!("fans.fan{fan}.slew_down=1000"))
            .set(format!("fans.fan{fan}.slew_up=1000"))
            .set(format!("fans.fan{fan}.recover_ms=500"));
    }
    builder
}

struct Outputs(Vec<PathBuf>);

impl Outputs {
    fn of(suite: &Suite) -> Result<Self> {
        Self::behind(suite, "fan-controller")
    }

    /// Those of the controllers whose place has this in it.
    fn behind(suite: &Suite, controller: &str) -> Result<Self> {
        let mut outputs = Vec::new();
        for entry in std::fs::read_dir(suite.ready.run_dir.join("sys/class/hwmon"))? {
            let folder = entry?.path();
            if std::fs::canonicalize(&folder)?.to_string_lossy().contains(controller) {
                outputs.extend((1..=8).map(|number| folder.join(format!("pwm{number}"))));
            }
        }
        outputs.retain(|path| path.exists());
        anyhow::ensure!(!outputs.is_empty(), "there is no {controller}");
        Ok(Self(outputs))
    }

    fn read(&self) -> Vec<u32> {
        let read = |path: &Path| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.lines().next().and_then(|line| line.trim().parse().ok()).unwrap_or(0)
        };
        self.0.iter().map(|path| read(path)).collect()
    }

    fn are_full(&self) -> bool {
        self.read().iter().all(|value| *value == 255)
    }

    /// The speeds, in percent of full.
    fn speeds(&self) -> Vec<u32> {
        let speed = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().replace("pwm", "fan");
            let text =
                std::fs::read_to_string(path.with_file_name(format!("{name}_input"))).unwrap_or_default();
            text.trim().parse::<u32>().unwrap_or(0) / 100
        };
        self.0.iter().map(speed).collect()
    }

    /// Waits until they are controlled, and turn no faster than they are told.
    async fn controlled(&self) -> Result {
        eventually("the fans are controlled", FOLLOW, || async {
            let both = self.read().into_iter().zip(self.speeds());
            Ok(both
                .into_iter()
                .all(|(value, speed)| (30..250).contains(&value) && speed * 5 <= value * 2 + 25))
        })
        .await
        .map_err(|error| error.context(format!("{:?}", self.read())))
    }

    /// How long it takes until all run at full speed.
    async fn full(&self, since: Instant, what: &str) -> Result<Duration> {
        eventually(&format!("{what}: full speed"), FOLLOW, || async { Ok(self.are_full()) })
            .await
            .map_err(|error| error.context(format!("{:?}", self.read())))?;
        Ok(since.elapsed())
    }
}

async fn on(admin: &Client) -> Result {
    let reply =
        admin.post("/api/v1alpha1/hosts/system/state", &json!({ "action": "HOST_ACTION_ON" })).await?;
    anyhow::ensure!(reply.status == 200, "{}", reply.text());
    eventually("the host is on", FOLLOW, || async { Ok(host(admin).await? == "HOST_STATUS_ON") }).await
}

async fn host(admin: &Client) -> Result<String> {
    let reply = admin.get("/api/v1alpha1/hosts/system").await?;
    Ok(reply.json()?["host"]["status"].as_str().unwrap_or_default().to_owned())
}

async fn zone(admin: &Client, name: &str) -> Result<Value> {
    let reply = admin.get(&format!("/api/v1alpha1/thermal-zones/{name}")).await?;
    anyhow::ensure!(reply.status == 200, "{}", reply.text());
    Ok(reply.json()?["thermalZone"].clone())
}

/// The events of this kind of this component, the newest first.
async fn events(admin: &Client, domain: &str, component: &str, what: &str) -> Result<Vec<Value>> {
    let path = format!("/api/v1alpha1/events?domain={domain}&component={component}&what={what}");
    Ok(admin.get(&path).await?.json()?["events"].as_array().cloned().unwrap_or_default())
}

/// How many events of this kind were told of this component.
async fn told(admin: &Client, domain: &str, component: &str, what: &str) -> Result<usize> {
    Ok(events(admin, domain, component, what).await?.len())
}

/// Waits until so many events of this kind were told of this component: the log has an event a moment after what it is of is seen.
async fn until_told(admin: &Client, domain: &str, component: &str, what: &str, least: usize) -> Result {
    eventually(&format!("{least} events {domain}.{component}.{what}"), FOLLOW, || async {
        Ok(told(admin, domain, component, what).await? >= least)
    })
    .await
}

/// Does something to the suite and waits for full speed; again if it took too long.
async fn within_two_seconds(
    outputs: &Outputs,
    what: &str,
    mut breaks: impl AsyncFnMut() -> Result,
    mut mends: impl AsyncFnMut() -> Result,
) -> Result {
    let mut took = Vec::new();
    for _ in 0..TRIES {
        outputs.controlled().await.map_err(|error| error.context(format!("before {what}")))?;
        let begun = Instant::now();
        breaks().await?;
        took.push(outputs.full(begun, what).await?);
        mends().await?;
        anyhow::ensure!(took.iter().all(|took| *took <= LATE_MAX), "{what}: full speed after {took:?}");
        if took.iter().any(|took| *took <= FULL_SPEED) {
            return outputs.controlled().await.map_err(|error| error.context(format!("after {what}")));
        }
    }
    anyhow::bail!("{what}: full speed after {took:?}")
}

#[tokio::test]
async fn whatever_fails_the_fans_run_at_full_speed_within_two_seconds_and_it_is_told() -> Result {
    let suite = builder().start().await?;
    let (admin, outputs) = (suite.admin(), Outputs::of(&suite)?);
    on(&admin).await?;
    outputs.controlled().await?;
    let twin = tokio::sync::Mutex::new(suite.twin().await?);
    // Of the sensor, in all tries: a fault that is tried again is told again.
    let faults = std::cell::Cell::new(0_usize);
    for (part, fault) in [
        ("cpu0_temp", "missing"),
        ("cpu0_temp", "stale"),
        ("cpu0_temp", "implausible"),
        ("fan0", "stuck"),
        ("fan2", "slow"),
        ("fan3", "missing"),
    ] {
        let breaks = async || {
            faults.set(faults.get() + usize::from(part == "cpu0_temp"));
            Ok(twin.lock().await.break_part(part, fault).await?)
        };
        let mends = async || Ok(twin.lock().await.mend(None).await?);
        within_two_seconds(&outputs, &format!("{part}={fault}"), breaks, mends).await?;
    }
    let of_sensor = async || told(&admin, "thermal", "cpu0_temp", "sensor").await;
    eventually("each fault of the sensor is told, begun and over", FOLLOW, || async {
        let all = events(&admin, "thermal", "cpu0_temp", "sensor").await?;
        let is_over = all.first().is_some_and(|newest| newest["severity"] == "EVENT_SEVERITY_INFO");
        Ok(all.len() >= 2 * faults.get() && is_over)
    })
    .await?;
    // Its chip is on this bus, which hangs until that is told: fans are at full speed for what is missed first.
    let before = std::cell::Cell::new(of_sensor().await?);
    let breaks = async || Ok(twin.lock().await.break_part("i2c3", "hang").await?);
    let mends = async || {
        eventually("it is told that the sensor is missed as its bus hangs", FOLLOW, || async {
            Ok(of_sensor().await? > before.get())
        })
        .await?;
        twin.lock().await.mend(None).await?;
        eventually("it is told that the sensor is back", FOLLOW, || async {
            Ok(of_sensor().await? >= before.get() + 2)
        })
        .await?;
        before.set(of_sensor().await?);
        Ok(())
    };
    within_two_seconds(&outputs, "i2c3=hang", breaks, mends).await?;
    let fans = ["fan0", "fan2", "fan3"].map(|fan| (fan, "fan"));
    for (component, what) in fans.into_iter().chain([("cpu", "failsafe"), ("cpu", "redundancy")]) {
        until_told(&admin, "thermal", component, what, 2).await?;
    }

    // The daemon itself: killed, and standing still.
    let kills = async || suite.kill_daemon("thermalmgr").map(drop);
    within_two_seconds(&outputs, "thermalmgr killed", kills, async || Ok(())).await?;
    eventually("that and its end are told", FOLLOW, || async {
        Ok(told(&admin, "system", "fans", "unguarded").await? >= 2)
    })
    .await?;
    let stops = async || stop(&suite, "STOP");
    let (missed, back) = (
        told(&admin, "system", "heartbeat", "missed").await?,
        told(&admin, "system", "heartbeat", "back").await?,
    );
    // The operator looks once a second whether a loop is silent: it stands still until that is told.
    let goes_on = async || {
        eventually("it is told that its loop is silent", FOLLOW, || async {
            Ok(told(&admin, "system", "heartbeat", "missed").await? > missed)
        })
        .await?;
        stop(&suite, "CONT")
    };
    within_two_seconds(&outputs, "thermalmgr stopped", stops, goes_on).await?;
    eventually("of the one that stood still, too", FOLLOW, || async {
        Ok(told(&admin, "system", "fans", "unguarded").await? >= 4)
    })
    .await?;
    eventually("and that its loop lives again", FOLLOW, || async {
        Ok(told(&admin, "system", "heartbeat", "back").await? > back)
    })
    .await?;

    // A start without good data: full speed until there are some.
    twin.lock().await.break_part("cpu0_temp", "missing").await?;
    outputs.full(Instant::now(), "cpu0_temp=missing before a start").await?;
    let killed = suite.kill_daemon("thermalmgr")?;
    eventually("thermalmgr is back, with full speed all along", FOLLOW, || async {
        anyhow::ensure!(outputs.are_full(), "{:?}", outputs.read());
        let reply = admin.get("/api/v1alpha1/thermal-zones/cpu").await?;
        if reply.status != 200 || suite.pid_of("thermalmgr").is_none_or(|pid| pid == killed) {
            return Ok(false);
        }
        Ok(reply.json()?["thermalZone"]["controlMode"] == "THERMAL_CONTROL_MODE_FAILSAFE")
    })
    .await?;
    tokio::time::sleep(FULL_SPEED).await;
    assert!(outputs.are_full(), "{:?}", outputs.read());
    twin.lock().await.mend(None).await?;
    outputs.controlled().await?;

    // The bus, and all that supervises, stands still: the fans do not need it.
    let operator = suite.ready.pid;
    within_two_seconds(
        &outputs,
        "fan1=stuck while the bus stands still",
        async || {
            signal(operator, "STOP")?;
            Ok(twin.lock().await.break_part("fan1", "stuck").await?)
        },
        async || {
            signal(operator, "CONT")?;
            Ok(twin.lock().await.mend(None).await?)
        },
    )
    .await?;
    eventually("the fan that stood meanwhile is told", FOLLOW, || async {
        Ok(told(&admin, "thermal", "fan1", "fan").await? >= 2)
    })
    .await?;
    suite.stop().await?;
    assert!(outputs.0.first().is_none_or(|path| !path.exists()) || outputs.are_full(), "left at full speed");
    Ok(())
}

fn stop(suite: &Suite, name: &str) -> Result {
    signal_daemon(suite, "thermalmgr", name)
}

fn signal_daemon(suite: &Suite, daemon: &str, name: &str) -> Result {
    let pid = suite.pid_of(daemon).ok_or_else(|| anyhow::anyhow!("{daemon} does not run"))?;
    signal(pid, name)
}

/// thermalmgr reads its sensors itself: sensormon may die or hang, the fans are controlled on, and what then breaks is seen as soon.
#[tokio::test]
async fn without_sensormon_the_fans_are_controlled_and_failures_are_seen() -> Result {
    let suite = builder().start().await?;
    let (admin, outputs) = (suite.admin(), Outputs::of(&suite)?);
    on(&admin).await?;
    outputs.controlled().await?;
    let twin = tokio::sync::Mutex::new(suite.twin().await?);

    // Killed: it comes back, that is told, and until then no fan runs other than it is controlled to.
    let killed = suite.kill_daemon("sensormon")?;
    eventually("sensormon is back", FOLLOW, || async {
        anyhow::ensure!(
            !outputs.are_full() && outputs.read().iter().all(|value| *value > 30),
            "{:?}",
            outputs.read()
        );
        let answers = admin.get("/api/v1alpha1/sensors/cpu0_temp").await?.status == 200;
        Ok(answers && suite.pid_of("sensormon").is_some_and(|pid| pid != killed))
    })
    .await?;
    eventually("it is told", FOLLOW, || async {
        Ok(told(&admin, "daemon", "sensormon", "state").await? >= 2)
    })
    .await?;

    // Standing still: the same, and a fan that breaks meanwhile, or a sensor.
    for (part, fault) in [("fan0", "stuck"), ("fan0", "slow"), ("cpu0_temp", "missing")] {
        within_two_seconds(
            &outputs,
            &format!("{part}={fault} while sensormon stands still"),
            async || {
                signal_daemon(&suite, "sensormon", "STOP")?;
                Ok(twin.lock().await.break_part(part, fault).await?)
            },
            async || {
                // The operator may have ended it for its silence.
                let _ = signal_daemon(&suite, "sensormon", "CONT");
                Ok(twin.lock().await.mend(None).await?)
            },
        )
        .await?;
    }
    suite.stop().await
}

/// With the operator goes the bus, and whoever looks after thermalmgr: it leaves the fans at full speed. The machine outlives both.
#[tokio::test]
async fn when_the_operator_is_killed_the_fans_are_left_at_full_speed() -> Result {
    let dir = tempfile::tempdir()?;
    testkit::open_to_all(dir.path())?;
    let run_dir = dir.path().join("run");
    std::fs::create_dir(&run_dir)?;
    let board = testkit::root().join("targets/sim/board.toml");
    let _machine = testkit::Machine::start(U_BMC.as_ref(), &board, &run_dir).await?;
    let start = async || {
        let run_dir = run_dir.display().to_string();
        builder().state_dir(dir.path().join("state")).arg("--run-dir").arg(run_dir).start().await
    };
    let mut suite = start().await?;
    let outputs = Outputs::of(&suite)?;
    let mut took = Vec::new();
    for _ in 0..TRIES {
        outputs.controlled().await?;
        let begun = Instant::now();
        suite.crash().await?;
        took.push(outputs.full(begun, "the operator killed").await?);
        // And back, once there is an operator again; what was is in its log.
        suite = start().await?;
        suite.wait_log("fans set to full speed until thermalmgr controls them").await?;
        outputs.controlled().await?;
        if took.iter().any(|took| *took <= FULL_SPEED) {
            break;
        }
    }
    assert!(took.iter().any(|took| *took <= FULL_SPEED), "{took:?}");
    assert!(took.iter().all(|took| *took <= LATE_MAX), "{took:?}");
    suite.stop().await
}

/// Sixteen fans of two controllers in five zones: what fails costs the zones that it is in.
#[tokio::test]
async fn a_large_machine_cools_each_processor_by_its_wall_and_all_of_it_when_a_fan_fails() -> Result {
    let zones = ["cpu0", "cpu1", "memory", "drives", "air"];
    let board = testkit::root().join("targets/sim/big.toml");
    let suite = short(Suite::builder(U_BMC).board(board), &zones, 16).start().await?;
    let (admin, all) = (suite.admin(), Outputs::of(&suite)?);
    let (left, right) =
        (Outputs::behind(&suite, "fan-controller-0")?, Outputs::behind(&suite, "fan-controller-1")?);
    assert_eq!([all.0.len(), left.0.len(), right.0.len()], [16, 8, 8]);
    on(&admin).await?;
    all.controlled().await?;
    let shown = admin.get("/api/v1alpha1/thermal-zones").await?.json()?;
    let names: Vec<_> = shown["thermalZones"].as_array().unwrap().iter().map(|zone| &zone["name"]).collect();
    assert_eq!(names, zones);
    let fans = admin.get("/api/v1alpha1/cooling-devices").await?.json()?;
    let fans = fans["coolingDevices"].as_array().unwrap();
    assert_eq!(fans.len(), 16);
    for fan in fans {
        assert_eq!(fan["status"], "COOLING_DEVICE_STATUS_ENABLED", "{fan}");
        assert!(fan["speedRpm"].as_f64() > Some(1_000.0), "{fan}");
    }

    let twin = tokio::sync::Mutex::new(suite.twin().await?);
    let mends = async || Ok(twin.lock().await.mend(None).await?);
    let breaks = async || Ok(twin.lock().await.break_part("cpu1_temp", "missing").await?);
    within_two_seconds(&right, "cpu1_temp=missing", breaks, async || {
        anyhow::ensure!(left.read().iter().all(|value| *value < 250), "{:?}", left.read());
        mends().await
    })
    .await?;
    for (part, fault) in [("fan3", "stuck"), ("fan12", "slow")] {
        let breaks = async || Ok(twin.lock().await.break_part(part, fault).await?);
        within_two_seconds(&all, &format!("{part}={fault}"), breaks, mends).await?;
        until_told(&admin, "thermal", part, "fan", 2).await?;
    }
    // The bus of the memory, whose zone has more time; and full speed at the end.
    twin.lock().await.break_part("i2c2", "hang").await?;
    all.full(Instant::now(), "i2c2=hang").await?;
    mends().await?;
    all.controlled().await?;
    suite.stop().await?;
    assert!(all.0.first().is_none_or(|path| !path.exists()) || all.are_full(), "left at full speed");
    Ok(())
}

/// The faults that a fan is shown with.
async fn faults(admin: &Client, fan: &str) -> Result<Vec<Value>> {
    let fans = admin.get("/api/v1alpha1/cooling-devices").await?.json()?;
    let fan = fans["coolingDevices"].as_array().and_then(|fans| fans.iter().find(|one| one["name"] == fan));
    Ok(fan.and_then(|fan| fan["faults"].as_array()).cloned().unwrap_or_default())
}

#[tokio::test]
async fn a_fan_that_has_its_power_from_the_host_is_not_missed_while_that_is_off() -> Result {
    let suite = builder().set("sensors.fan0.host=system").start().await?;
    let (admin, outputs) = (suite.admin(), Outputs::of(&suite)?);
    outputs.controlled().await?;
    let mut twin = suite.twin().await?;
    twin.break_part("fan0", "stuck").await?;
    eventually("fan0 stands still", FOLLOW, || async { Ok(outputs.speeds().first() == Some(&0)) }).await?;
    // One that is missed, so it is known when the first one would have been.
    twin.break_part("fan1", "stuck").await?;
    eventually("fan1 is missed", FOLLOW, || async { Ok(!faults(&admin, "fan1").await?.is_empty()) }).await?;
    assert_eq!(faults(&admin, "fan0").await?, Vec::<Value>::new());
    assert_eq!(told(&admin, "thermal", "fan0", "fan").await?, 0);
    twin.mend(Some("fan1")).await?;
    eventually("all is well", FOLLOW, || async {
        Ok(zone(&admin, "cpu").await?["controlMode"] == "THERMAL_CONTROL_MODE_AUTOMATIC")
    })
    .await?;

    // With power it has to turn.
    on(&admin).await?;
    eventually("fan0 is missed", FOLLOW, || async { Ok(!faults(&admin, "fan0").await?.is_empty()) }).await?;
    outputs.full(Instant::now(), "fan0=stuck").await?;
    suite.stop().await
}

#[tokio::test]
async fn zones_are_shown_and_told_what_to_do() -> Result {
    let suite = builder().start().await?;
    let (admin, outputs) = (suite.admin(), Outputs::of(&suite)?);
    outputs.controlled().await?;
    let zones = admin.get("/api/v1alpha1/thermal-zones").await?.json()?;
    let names: Vec<_> =
        zones["thermalZones"].as_array().unwrap().iter().map(|zone| zone["name"].as_str().unwrap()).collect();
    assert_eq!((names, &zones["profile"]), (vec!["cpu", "air"], &json!("THERMAL_PROFILE_BALANCED")));
    let fans = admin.get("/api/v1alpha1/cooling-devices").await?.json()?;
    let fans = fans["coolingDevices"].as_array().unwrap();
    assert_eq!(fans.len(), 4);
    assert!(fans.iter().all(|fan| fan["status"] == "COOLING_DEVICE_STATUS_ENABLED"), "{fans:?}");
    assert!(fans.iter().all(|fan| fan["speedRpm"].as_f64() > Some(1_000.0)), "{fans:?}");

    // By hand, until the time is over, which is long enough to be seen on a busy machine.
    let path = "/api/v1alpha1/thermal-zones/cpu/override";
    for wrong in [
        json!({ "coolingPowerPercent": 120, "seconds": 10 }),
        json!({ "coolingPowerPercent": 5, "seconds": 10 }),
        json!({ "coolingPowerPercent": 50 }),
    ] {
        let reply = admin.post(path, &wrong).await?;
        assert_eq!(reply.status, 400, "{wrong}: {}", reply.text());
    }
    assert_eq!(zone(&admin, "cpu").await?["controlMode"], "THERMAL_CONTROL_MODE_AUTOMATIC");
    let reply = admin.post(path, &json!({ "coolingPowerPercent": 80, "seconds": 15 })).await?;
    assert_eq!(
        reply.json()?["thermalZone"]["controlMode"],
        "THERMAL_CONTROL_MODE_MANUAL",
        "{}",
        reply.text()
    );
    eventually("80 %", FOLLOW, || async { Ok(outputs.read() == [204; 4]) }).await?;
    eventually("the controller decides again", FOLLOW, || async {
        Ok(zone(&admin, "cpu").await?["controlMode"] == "THERMAL_CONTROL_MODE_AUTOMATIC")
    })
    .await?;
    eventually("not 80 %", FOLLOW, || async { Ok(outputs.read().iter().all(|value| *value < 204)) }).await?;
    until_told(&admin, "thermal", "cpu", "override", 2).await?;
    assert_eq!(told(&admin, "thermal", "cpu", "override").await?, 2);

    // A profile is kept over a death of the daemon.
    let body = serde_json::to_vec(&json!({ "profile": "THERMAL_PROFILE_PERFORMANCE" }))?;
    let reply = admin.call("ThermalService/SetThermalProfile", &serde_json::from_slice(&body)?).await?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    suite.kill_daemon("thermalmgr")?;
    eventually("the profile is kept", FOLLOW, || async {
        let reply = admin.get("/api/v1alpha1/thermal-profile").await?;
        Ok(reply.status == 200 && reply.json()?["profile"] == "THERMAL_PROFILE_PERFORMANCE")
    })
    .await?;
    suite.stop().await
}

#[tokio::test]
async fn a_host_that_is_too_hot_for_too_long_is_cut_off_and_that_is_latched() -> Result {
    let suite = builder().set("zones.cpu.power_off_ms=500").start().await?;
    let (admin, outputs) = (suite.admin(), Outputs::of(&suite)?);
    on(&admin).await?;
    outputs.controlled().await?;
    let mut twin = suite.twin().await?;
    twin.load("system", 1.0).await?;
    for fan in ["fan0", "fan1", "fan2", "fan3"] {
        twin.break_part(fan, "stuck").await?;
    }
    eventually("the host is cut off", FOLLOW, || async { Ok(host(&admin).await? == "HOST_STATUS_OFF") })
        .await?;
    until_told(&admin, "thermal", "cpu", "emergency", 1).await?;
    assert_eq!(told(&admin, "thermal", "cpu", "emergency").await?, 1);
    let latched = zone(&admin, "cpu").await?;
    assert_eq!(
        (&latched["emergency"], &latched["status"]),
        (&json!(true), &json!("THERMAL_ZONE_STATUS_CRITICAL"))
    );
    // Latched over a death of the daemon: the new one never says otherwise, and has the fans at full speed.
    let killed = suite.kill_daemon("thermalmgr")?;
    eventually("thermalmgr is back, and the emergency with it", FOLLOW, || async {
        let reply = admin.get("/api/v1alpha1/thermal-zones/cpu").await?;
        if reply.status != 200 || suite.pid_of("thermalmgr").is_none_or(|pid| pid == killed) {
            return Ok(false);
        }
        anyhow::ensure!(reply.json()?["thermalZone"]["emergency"] == true, "{}", reply.text());
        Ok(true)
    })
    .await?;
    // The latch, without "cpu uncut": the host is off, and is not to be cut off again.
    let kept = suite.state_dir().join("thermalmgr/emergencies");
    eventually("that is kept", FOLLOW, || async {
        Ok(std::fs::read_to_string(&kept)? == "3\ncpu\ncpu\ncpu\n")
    })
    .await?;
    // What cannot be cleared stays as it is.
    let refused = admin.call("ThermalService/ClearThermalEmergency", &json!({ "name": "air" })).await?;
    assert!(refused.text().contains("NOTHING_TO_CLEAR"), "{}", refused.text());
    assert_eq!(zone(&admin, "cpu").await?["emergency"], json!(true));
    twin.mend(None).await?;
    twin.load("system", 0.1).await?;
    assert!(outputs.are_full(), "{:?}", outputs.read());
    let clear = async || admin.call("ThermalService/ClearThermalEmergency", &json!({ "name": "cpu" })).await;
    // How hot it is nobody knows while its host is off: what the sensor still said as the power went counts until it falls silent.
    eventually("nothing is measured", FOLLOW, || async {
        Ok(zone(&admin, "cpu").await?["currentTemperature"] == Value::Null)
    })
    .await?;
    let refused = clear().await?;
    assert!(refused.text().contains("NOT_MEASURED"), "{}", refused.text());
    on(&admin).await?;
    eventually("it can be cleared", FOLLOW, || async { Ok(clear().await?.status == 200) }).await?;
    outputs.controlled().await?;
    assert_eq!(zone(&admin, "cpu").await?["emergency"], Value::Null);
    assert_eq!(std::fs::read_to_string(&kept)?, "0\n");
    suite.kill_daemon("thermalmgr")?;
    outputs.controlled().await?;
    suite.stop().await
}
