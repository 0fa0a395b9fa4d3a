//! The live model, fed by the running suite.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use model::{Domain, Quality, Snapshot, State};
use model_feed::{Feed, Reader};
use schema::v1alpha1 as v1;
use serde_json::json;
use testkit::{Suite, eventually};
use tokio::time::Instant;

const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
/// Longest wait for what is not promised sooner.
const PATIENCE: Duration = Duration::from_secs(90);
/// Longest until a daemon that died is known to say nothing. It is back within a second, and long before its silence would tell that: who sees its values as
/// stale at all was told of its death.
const AT_ONCE: Duration = Duration::from_secs(10);

/// A bus beside the suite, so that a reader can be on it as a daemon is.
struct Bus {
    child: Child,
    url: String,
    _store: tempfile::TempDir,
}

impl Bus {
    fn start() -> Result<Self> {
        let store = tempfile::tempdir()?;
        let mut child = Command::new(U_BMC)
            .args(["nats", "--listen", "127.0.0.1:0", "--store"])
            .arg(store.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut log = BufReader::new(child.stderr.take().context("its log")?);
        let url = loop {
            let mut line = String::new();
            ensure!(log.read_line(&mut line)? > 0, "it ended without saying where it listens");
            if let Some((_, rest)) = line.split_once("nats://") {
                let end = rest.find(|c: char| !c.is_ascii_digit() && !".:".contains(c)).unwrap_or(rest.len());
                break format!("nats://{}", &rest[..end]);
            }
        };
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Ok(Self { child, url, _store: store })
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The snapshot, once it is as wanted, and how long that took.
async fn until(
    reader: &mut Reader,
    what: &str,
    wanted: impl FnMut(&Snapshot) -> bool,
) -> Result<(std::sync::Arc<Snapshot>, Duration)> {
    let start = Instant::now();
    let found = tokio::time::timeout(PATIENCE, reader.until(wanted)).await;
    let snapshot = found.with_context(|| format!("waited in vain: {what}"))?.context("the feed ended")?;
    Ok((snapshot, start.elapsed()))
}

fn sensor(snapshot: &Snapshot, id: &str) -> (Option<f64>, Option<Quality>) {
    let sensor = snapshot.sensor(id);
    (sensor.and_then(|sensor| sensor.value()), sensor.map(|sensor| sensor.quality()))
}

fn host(snapshot: &Snapshot) -> Option<(v1::HostStatus, Quality)> {
    snapshot.hosts().get("system").map(|host| (host.value.status(), host.quality))
}

#[tokio::test]
async fn the_model_follows_the_machine_and_marks_what_a_dead_daemon_said() -> Result<()> {
    let bus = Bus::start()?;
    let suite = Suite::builder(U_BMC).set(format!("operator.bus_url={}", bus.url)).start().await?;
    let (admin, mut twin) = (suite.admin(), suite.twin().await?);
    let client = ipc::Client::connect(&ipc::ConnectConfig::new(bus.url.as_str(), "reader")).await?;
    let (mut reader, feed) = Feed::subscribe(client).await?;
    ensure!(reader.snapshot().starting().count() == Domain::ALL.len(), "nothing is known before it is asked");
    let feed = tokio::spawn(feed.run());

    // Filled, of every kind.
    let (snapshot, _) = until(&mut reader, "it is filled", |all| all.starting().next().is_none()).await?;
    for domain in Domain::ALL {
        let state = snapshot.status(domain).state;
        ensure!(state == State::Live, "{domain:?} is {state:?}");
    }
    ensure!(host(&snapshot) == Some((v1::HostStatus::Off, Quality::Good)), "{:?}", host(&snapshot));
    ensure!(snapshot.chassis().get("chassis").is_some(), "{:?}", snapshot.chassis());
    let bmc = snapshot.controllers().get("bmc").context("a controller")?;
    ensure!(bmc.source == "statemgr", "{bmc:?}");
    ensure!(snapshot.system().is_some_and(|system| system.value.simulated));
    ensure!(snapshot.accounts().iter().any(|account| account.value.username == "admin"));
    ensure!(!snapshot.zones().is_empty() && !snapshot.fans().is_empty(), "what cools");
    ensure!(!snapshot.leds().is_empty() && !snapshot.assets().is_empty(), "lights and parts");
    ensure!(snapshot.thermal_profile() != v1::ThermalProfile::Unspecified);
    ensure!(snapshot.network().is_none(), "netmgr does not run here");
    ensure!(snapshot.events().next().is_some(), "events from before");
    let inlet = snapshot.sensor("inlet_temp").context("a sensor")?;
    ensure!(inlet.about.is_some_and(|about| about.interval.is_some()), "{inlet:?}");

    // A host that is off has sensors that cannot be read, and why.
    let off = |all: &Snapshot| {
        all.sensor("cpu0_temp").is_some_and(|sensor| {
            sensor.quality() == Quality::Unavailable && sensor.reason() == v1::SensorReason::HostOff
        })
    };
    until(&mut reader, "cpu0_temp is unavailable", off).await?;

    // Power on: the host's state, its operation, and its sensors.
    let body = json!({ "action": "HOST_ACTION_ON" });
    let reply = admin.post("/api/v1alpha1/hosts/system/state", &body).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    let operation = reply.json()?["operationId"].as_str().context("an operation")?.to_owned();
    let on = Some((v1::HostStatus::On, Quality::Good));
    until(&mut reader, "the host is on", |all| host(all) == on).await?;
    let done = |all: &Snapshot| {
        all.operation(&operation).is_some_and(|seen| {
            let of = &seen.value.operation;
            of.result() == v1::OperationResult::Done && of.username == "admin"
        })
    };
    until(&mut reader, "the operation is done", done).await?;
    let good = |all: &Snapshot| matches!(sensor(all, "cpu0_temp"), (Some(_), Some(Quality::Good)));
    let (snapshot, _) = until(&mut reader, "cpu0_temp is good", good).await?;
    let first = sensor(&snapshot, "cpu0_temp").0.context("a value")?;

    // It gets warm: the change is seen, and has a number.
    let before = snapshot.cursor();
    twin.load("system", 1.0).await?;
    let warm = |all: &Snapshot| sensor(all, "cpu0_temp").0.is_some_and(|now| now > first + 5.0);
    let (snapshot, _) = until(&mut reader, "cpu0_temp rises", warm).await?;
    let changes = snapshot.since(before).context("the changes since then")?;
    ensure!(changes.changed.iter().any(|(domain, id)| *domain == Domain::Readings && &**id == "cpu0_temp"));

    // sensormon is killed: what it said is stale at once, and what others said is not.
    let shown = snapshot.sensor("inlet_temp").context("a sensor")?.change();
    suite.kill_daemon("sensormon")?;
    let stale = |all: &Snapshot| matches!(sensor(all, "inlet_temp"), (_, Some(Quality::Stale)));
    let (snapshot, took) = until(&mut reader, "inlet_temp is stale", stale).await?;
    ensure!(took < AT_ONCE, "{took:?}");
    let inlet = snapshot.sensor("inlet_temp").context("a sensor")?;
    ensure!(inlet.value().is_some() && inlet.status() == v1::SensorStatus::Unknown, "{inlet:?}");
    ensure!(inlet.change() > shown, "its ETag is another one");
    ensure!(host(&snapshot) == on, "{:?}", host(&snapshot));

    // It is back: good again, and followed.
    let good = |all: &Snapshot| matches!(sensor(all, "inlet_temp"), (Some(_), Some(Quality::Good)));
    until(&mut reader, "inlet_temp is good again", good).await?;
    let back = |all: &Snapshot| {
        all.status(Domain::Sensors).state == State::Live
            && all.daemons().get("sensormon").is_some_and(|row| row.value.pid != 0 && row.value.restarts == 1)
    };
    until(&mut reader, "sensormon is back", back).await?;
    twin.load("system", 0.0).await?;
    let good = |all: &Snapshot| matches!(sensor(all, "cpu0_temp"), (Some(_), Some(Quality::Good)));
    let (snapshot, _) = until(&mut reader, "cpu0_temp is good again", good).await?;
    let first = sensor(&snapshot, "cpu0_temp").0;
    until(&mut reader, "cpu0_temp moves on", |all| good(all) && sensor(all, "cpu0_temp").0 != first).await?;

    // So it is with a host.
    suite.kill_daemon("statemgr")?;
    let stale = Some((v1::HostStatus::On, Quality::Stale));
    let (_, took) = until(&mut reader, "the host is stale", |all| host(all) == stale).await?;
    ensure!(took < AT_ONCE, "{took:?}");
    until(&mut reader, "the host is good again", |all| host(all) == on).await?;

    // What no event tells is seen when it is looked at again: as after a request through websrv.
    let body = json!({ "host": { "description": "seven brass doorknobs" } });
    let headers = [("content-type", "application/json")];
    let path = "/api/v1alpha1/hosts/system";
    let reply = admin.send(http::Method::PATCH, path, &headers, serde_json::to_vec(&body)?.into()).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    reader.refresh("statemgr");
    let described = |all: &Snapshot| {
        all.hosts().get("system").is_some_and(|host| host.value.description() == "seven brass doorknobs")
    };
    let (_, took) = until(&mut reader, "the description", described).await?;
    // Not only when hosts are looked at anyhow, which is each 30 s.
    ensure!(took < AT_ONCE, "{took:?}");

    feed.abort();
    suite.stop().await
}

#[tokio::test]
async fn websrv_is_filled_with_the_rights_it_has_and_tells_what_is_stale() -> Result<()> {
    let suite = Suite::builder(U_BMC).start().await?;
    suite.wait_log("filled the model").await?;
    suite.kill_daemon("sensormon")?;
    let line = suite.wait_log("marked values as stale").await?;
    ensure!(line.contains("sensormon"), "{line}");
    suite.wait_log("values are good again").await?;
    suite.stop().await
}

/// A poller with a time-out of its own sees what is known, and not nothing, while a daemon stands still and before it is ended for that.
#[tokio::test]
async fn a_daemon_that_stands_still_keeps_nobody_from_what_is_known() -> Result<()> {
    let suite = Suite::builder(U_BMC).start().await?;
    let admin = suite.admin();
    for (daemon, path) in [
        ("sensormon", "/redfish/v1/Chassis/chassis/Sensors/inlet_temp"),
        ("thermalmgr", "/redfish/v1/Chassis/chassis/ThermalSubsystem/Fans/fan0"),
    ] {
        let enabled = async || -> Result<bool> {
            let reply = admin.get(path).await?;
            Ok(reply.status == 200 && reply.json()?["Status"]["State"] == "Enabled")
        };
        eventually("it is read", PATIENCE, &enabled).await?;
        let pid = suite.pid_of(daemon).context("it runs")?;
        testkit::signal(pid, "STOP")?;
        // What is asked before anybody knows is answered when it is known; never by a time-out.
        let offline = async || -> Result<bool> {
            let reply = admin.get(path).await?;
            anyhow::ensure!(reply.status == 200, "{daemon}: {} {}", reply.status, reply.text());
            Ok(reply.json()?["Status"]["State"] == "UnavailableOffline" && suite.pid_of(daemon) == Some(pid))
        };
        eventually("it is shown as not known", PATIENCE, &offline).await?;
        testkit::signal(pid, "CONT")?;
        eventually("it is read again", PATIENCE, &enabled).await?;
    }
    suite.stop().await
}

/// Whoever follows the sensors is told that a daemon says nothing any more, and when it does again.
#[tokio::test]
async fn who_watches_the_sensors_is_told_that_nobody_reads_them() -> Result<()> {
    let suite = Suite::builder(U_BMC).start().await?;
    let password = suite.scratch().join("password-of-who-watches");
    std::fs::write(&password, testkit::ADMIN_PASSWORD)?;
    let mut watching = tokio::process::Command::new(std::path::Path::new(U_BMC).with_file_name("ubmcctl"))
        .env("HOME", suite.scratch())
        .args(["--server", &format!("https://{}", suite.https()), "--insecure", "--user", "admin"])
        .arg("--password-file")
        .arg(&password)
        .args(["sensor", "watch", "inlet_temp"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("cannot start ubmcctl")?;
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(
        watching.stdout.take().context("what it prints")?,
    ));
    let mut until = async |word: &str| -> Result<()> {
        let read = async {
            loop {
                let line = lines.next_line().await?.context("it ended")?;
                if line.split_whitespace().last() == Some(word) {
                    return Ok::<_, anyhow::Error>(());
                }
            }
        };
        tokio::time::timeout(PATIENCE, read).await.with_context(|| format!("it never says {word}"))?
    };
    until("ok").await?;
    let pid = suite.pid_of("sensormon").context("it runs")?;
    testkit::signal(pid, "STOP")?;
    until("stale").await?;
    // Before the operator ends it.
    ensure!(suite.pid_of("sensormon") == Some(pid), "it was told by its silence");
    testkit::signal(pid, "CONT")?;
    until("ok").await?;
    suite.stop().await
}
