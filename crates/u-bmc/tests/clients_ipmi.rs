//! Clients of IPMI that we did not write, against the whole suite: ipmitool and FreeIPMI. What they show is compared with what the API says.

use std::ffi::OsStr;
use std::net::UdpSocket;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use http::Method;
use serde_json::json;
use testkit::{Suite, eventually};

use fields::Api;
use peer::Peer;

#[path = "ipmi/boot.rs"]
mod boot;
#[path = "ipmi/fields.rs"]
mod fields;
#[path = "ipmi/freeipmi.rs"]
mod freeipmi;
#[path = "ipmi/guest.rs"]
mod guest;
#[path = "ipmi/kept.rs"]
mod kept;
#[path = "ipmi/peer.rs"]
mod peer;
#[path = "ipmi/sol.rs"]
mod sol;
#[path = "ipmi/switch.rs"]
mod switch;

const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
const PASSWORD: &str = "glockenspiel-7";
/// Longest wait for what a request leads to.
const FOLLOW: Duration = Duration::from_secs(30);

type Result<T = ()> = anyhow::Result<T>;

/// Who logs in: the name, the level that is asked for, the password.
type Login<'a> = (&'a str, &'a str, &'a str);
const BOSS: Login<'_> = ("boss", "ADMINISTRATOR", PASSWORD);
const WORKER: Login<'_> = ("worker", "OPERATOR", PASSWORD);
const GUEST: Login<'_> = ("guest", "USER", PASSWORD);
/// An account that a test makes.
const FRESH: Login<'_> = ("fresh", "OPERATOR", "saxophone-quartet");

fn has(program: &str) -> bool {
    let probe = std::process::Command::new(program).arg("-V").stdin(Stdio::null()).output();
    probe.is_ok()
}

#[expect(clippy::print_stdout, reason = "a skip is counted by what it prints")]
fn skip(program: &str) {
    println!("SKIP: no {program} (Debian: ipmitool, freeipmi-tools, openipmi)");
}

/// A port that is free now, and below 32768: ipmiconsole of FreeIPMI 1.6.10 takes no other.
fn port() -> Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..1000 {
        let number = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 20_000 + u16::try_from(number % 12_000)?;
        if UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no port is free")
}

struct Bmc {
    suite: Suite,
    port: u16,
}

impl Bmc {
    /// For a test with this program; `None`, which is told, where that is not installed.
    async fn with(program: &str, sets: &[&str]) -> Result<Option<Self>> {
        if !has(program) {
            skip(program);
            return Ok(None);
        }
        Self::start(sets).await.map(Some)
    }

    /// With these settings of ipmisrv, and one account for each role, all of which may log in over IPMI.
    async fn start(sets: &[&str]) -> Result<Self> {
        Self::start_at("127.0.0.1", sets).await
    }

    /// The same, where IPMI is served at this address.
    async fn start_at(address: &str, sets: &[&str]) -> Result<Self> {
        let port = port()?;
        let mut builder = Suite::builder(U_BMC).arg("--ipmi").arg(format!("{address}:{port}"));
        for set in sets {
            builder = builder.set(format!("ipmisrv.{set}"));
        }
        let suite = builder.start().await?;
        let admin = suite.admin();
        for (name, role) in [("boss", "Administrator"), ("worker", "Operator"), ("guest", "ReadOnly")] {
            let user = json!({"username": name, "role": role, "ipmi_access": true});
            let reply =
                admin.post("/api/v1alpha1/users", &json!({"user": user, "password": PASSWORD})).await?;
            anyhow::ensure!(reply.status == 200, "{name}: {}", reply.text());
        }
        Ok(Self { suite, port })
    }

    async fn run(&self, program: impl AsRef<OsStr>, args: &[&str]) -> Result<(bool, String)> {
        let output =
            tokio::process::Command::new(program).args(args).stdin(Stdio::null()).kill_on_drop(true).output();
        let output = tokio::time::timeout(Duration::from_secs(120), output).await??;
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Ok((output.status.success(), said))
    }

    async fn ipmitool(&self, suite: u8, who: Login<'_>, args: &[&str]) -> Result<(bool, String)> {
        self.ipmitool_at(self.port, suite, who, args).await
    }

    /// Of whoever listens at this port.
    async fn ipmitool_at(
        &self,
        port: u16,
        suite: u8,
        (user, level, password): Login<'_>,
        args: &[&str],
    ) -> Result<(bool, String)> {
        let (port, suite) = (port.to_string(), suite.to_string());
        let login = [
            "-I",
            "lanplus",
            "-H",
            "127.0.0.1",
            "-p",
            &port,
            "-C",
            &suite,
            "-U",
            user,
            "-P",
            password,
            "-L",
            level,
        ];
        self.run("ipmitool", &[&login[..], args].concat()).await
    }

    /// As administrator, with suite 17; it has to succeed.
    async fn tool(&self, args: &[&str]) -> Result<String> {
        let (fine, said) = self.ipmitool(17, BOSS, args).await?;
        anyhow::ensure!(fine, "ipmitool {args:?}:\n{said}");
        Ok(said)
    }

    /// With suite 17; it has to be refused.
    async fn refused(&self, who: Login<'_>, args: &[&str]) -> Result<String> {
        let (fine, said) = self.ipmitool(17, who, args).await?;
        anyhow::ensure!(!fine, "ipmitool {args:?} is not refused to {}:\n{said}", who.0);
        Ok(said)
    }

    /// Waits until ipmitool, as administrator, shows this text.
    async fn shows(&self, args: &[&str], text: &str) -> Result {
        let what = format!("ipmitool {args:?} shows {text}");
        eventually(&what, FOLLOW, || async { Ok(self.tool(args).await?.contains(text)) }).await
    }

    /// Whether a program of FreeIPMI succeeds as administrator, and what it says.
    async fn freeipmi_said(&self, program: &str, args: &[&str]) -> Result<(bool, String)> {
        self.freeipmi_with("17", program, args).await
    }

    /// The same with this suite.
    async fn freeipmi_with(&self, suite: &str, program: &str, args: &[&str]) -> Result<(bool, String)> {
        let host = format!("127.0.0.1:{}", self.port);
        let login = ["-D", "LAN_2_0", "-h", &host, "-u", "boss", "-p", PASSWORD, "-l", "ADMIN", "-I", suite];
        self.run(program, &[&login[..], args].concat()).await
    }

    /// The same; it has to succeed.
    async fn freeipmi(&self, program: &str, args: &[&str]) -> Result<String> {
        let (fine, said) = self.freeipmi_said(program, args).await?;
        anyhow::ensure!(fine, "{program} {args:?}:\n{said}");
        Ok(said)
    }

    /// Whether each sensor with a value shows what the API says: its name, and its value within a step of a byte and some.
    async fn sensors_agree(&self) -> Result<bool> {
        let sensors = self.suite.admin().get("/api/v1alpha1/sensors").await?.json()?;
        let list = self.tool(&["-c", "sdr", "list", "full"]).await?;
        let (mut compared, mut differ) = (0, 0);
        for sensor in sensors["sensors"].as_array().into_iter().flatten() {
            let analog = &sensor["analogReading"];
            if analog.is_null() {
                continue;
            }
            let name = sensor["name"].as_str().filter(|name| !name.is_empty()).or(sensor["id"].as_str());
            let short: String = name.unwrap_or_default().chars().take(16).collect();
            // Of those that are cut to the same name, the later ones end with a number.
            let is_named = |line: &&str| {
                let shown = line.split(',').next().unwrap_or_default();
                let begin = shown.rsplit_once('~').map(|(begin, _)| begin);
                shown == short.trim_end() || begin.is_some_and(|begin| short.starts_with(begin))
            };
            let mut lines = list.lines().filter(is_named).peekable();
            anyhow::ensure!(lines.peek().is_some(), "{short} is not shown:\n{list}");
            let is_good = sensor["quality"] == "SENSOR_QUALITY_GOOD";
            let Some(value) = analog["value"].as_f64().filter(|_| is_good) else { continue };
            let half_a_step = if sensor["unit"] == "SENSOR_UNIT_WATTS" { 5.0 } else { 1.5 };
            let is_near = |shown: f64| (shown - value).abs() <= half_a_step;
            let found = lines
                .any(|line| line.split(',').nth(1).and_then(|shown| shown.parse().ok()).is_some_and(is_near));
            compared += 1;
            differ += usize::from(!found && sensor["unit"] != "SENSOR_UNIT_RPM");
        }
        anyhow::ensure!(compared > 0, "nothing to compare:\n{list}");
        Ok(differ == 0)
    }

    async fn host(&self) -> Result<String> {
        let reply = self.suite.admin().get("/api/v1alpha1/hosts").await?;
        Ok(reply.json()?["hosts"][0]["status"].as_str().unwrap_or_default().to_owned())
    }

    /// The asset tag of the machine as the API says it.
    async fn tag(&self) -> Result<String> {
        let assets = self.suite.admin().get("/api/v1alpha1/asset?type=ASSET_TYPE_SYSTEM").await?.json()?;
        Ok(assets["assets"][0]["info"]["assetTag"].as_str().unwrap_or_default().to_owned())
    }

    /// The numbers in the log of the thresholds that were crossed, oldest first.
    async fn crossings(&self) -> Result<Vec<u64>> {
        let path = "/api/v1alpha1/events?domain=sensor&page_size=1000";
        let said = self.suite.admin().get(path).await?.json()?;
        let events = said["events"].as_array().into_iter().flatten().rev();
        events
            .filter(|event| !event["sensorThresholdCrossed"].is_null())
            .map(|event| Ok(event["sequence"].as_str().unwrap_or_default().parse()?))
            .collect()
    }

    /// Kills ipmisrv, and waits until it answers again.
    async fn restart(&self) -> Result {
        let pid = self.suite.kill_daemon("ipmisrv")?;
        eventually("ipmisrv is back", FOLLOW, || async {
            let is_other = self.suite.pid_of("ipmisrv").is_some_and(|other| other != pid);
            let (fine, _) = self.ipmitool(17, BOSS, &["sel", "info"]).await?;
            Ok(is_other && fine)
        })
        .await
    }
}

#[tokio::test]
async fn a_login_is_who_it_says_with_each_suite_that_is_set_and_no_other() -> Result {
    let Some(bmc) = Bmc::with("ipmitool", &["suite_3=true"]).await? else { return Ok(()) };
    for suite in [17, 3] {
        let (fine, said) = bmc.ipmitool(suite, BOSS, &["mc", "info"]).await?;
        anyhow::ensure!(fine && said.contains("IPMI Version              : 2.0"), "suite {suite}:\n{said}");
        for who in [
            ("boss", "ADMINISTRATOR", "glockenspiel-8"),
            ("nobody", "USER", PASSWORD),
            ("admin", "USER", testkit::ADMIN_PASSWORD),
            ("guest", "ADMINISTRATOR", PASSWORD),
            ("worker", "ADMINISTRATOR", PASSWORD),
        ] {
            let (fine, said) = bmc.ipmitool(suite, who, &["mc", "info"]).await?;
            anyhow::ensure!(!fine, "{} with {suite}:\n{said}", who.0);
        }
    }
    let (fine, _) = bmc.ipmitool(0, BOSS, &["mc", "info"]).await?;
    anyhow::ensure!(!fine, "suite 0 opens something");
    // Who may look may look, and no more.
    let (fine, said) = bmc.ipmitool(17, GUEST, &["chassis", "status"]).await?;
    anyhow::ensure!(fine, "{said}");
    let said = bmc.refused(GUEST, &["raw", "0", "2", "1"]).await?;
    anyhow::ensure!(said.contains("rsp=0xd4"), "{said}");
    bmc.suite.stop().await
}

#[tokio::test]
async fn suite_3_is_spoken_only_where_it_is_set() -> Result {
    let Some(bmc) = Bmc::with("ipmitool", &[]).await? else { return Ok(()) };
    let (fine, said) = bmc.ipmitool(3, BOSS, &["mc", "info"]).await?;
    anyhow::ensure!(!fine, "{said}");
    bmc.tool(&["mc", "info"]).await?;
    // A new password ends what the old one opened, and opens as soon as it is set.
    let reply = bmc
        .suite
        .admin()
        .post(
            "/api/v1alpha1/users/boss/reset-password",
            &json!({"new_password": "xylophone-9", "require_change": false}),
        )
        .await?;
    anyhow::ensure!(reply.status == 200, "{}", reply.text());
    bmc.refused(BOSS, &["mc", "info"]).await.context("the old password still opens")?;
    let boss = ("boss", "ADMINISTRATOR", "xylophone-9");
    let (fine, said) = bmc.ipmitool(17, boss, &["mc", "info"]).await?;
    anyhow::ensure!(fine, "{said}");
    // What IPMI has no room for is refused in words.
    let long = json!({"new_password": "xylophone-9-and-much-more", "require_change": false});
    let reply = bmc.suite.admin().post("/api/v1alpha1/users/boss/reset-password", &long).await?;
    anyhow::ensure!(
        reply.status == 400 && reply.text().contains("IPMI_PASSWORD_TOO_LONG"),
        "{}",
        reply.text()
    );
    bmc.suite.stop().await
}

#[tokio::test]
async fn ipmitool_shows_what_the_api_says_and_switches_the_machine() -> Result {
    let Some(bmc) = Bmc::with("ipmitool", &[]).await? else { return Ok(()) };
    let admin = bmc.suite.admin();
    for (command, becomes, shown) in [("on", "HOST_STATUS_ON", "on"), ("off", "HOST_STATUS_OFF", "off")] {
        bmc.tool(&["chassis", "power", command]).await?;
        eventually(becomes, FOLLOW, || async { Ok(bmc.host().await? == becomes) }).await?;
        bmc.shows(&["chassis", "power", "status"], &format!("Chassis Power is {shown}")).await?;
    }
    bmc.tool(&["chassis", "policy", "always-on"]).await?;
    let hosts = admin.get("/api/v1alpha1/hosts").await?.json()?;
    anyhow::ensure!(hosts["hosts"][0]["powerRestorePolicy"] == "POWER_RESTORE_POLICY_ALWAYS_ON", "{hosts}");
    for args in [
        &["chassis", "status"][..],
        &["chassis", "restart_cause"],
        &["chassis", "identify", "5"],
        &["chassis", "bootparam", "get", "5"],
        &["mc", "selftest"],
        &["mc", "guid"],
        &["mc", "getenables"],
        &["channel", "info", "1"],
        &["channel", "getaccess", "1", "2"],
        &["channel", "authcap", "1", "4"],
        &["session", "info", "active"],
        &["sel", "info"],
        &["sel", "time", "get"],
        &["lan", "print", "1"],
        &["raw", "0x0c", "0x02", "1", "50", "0", "0"],
        &["chassis", "bootparam", "get", "3"],
        &["event", "1"],
        &["fru", "print", "0"],
        &["sdr", "info"],
    ] {
        bmc.tool(args).await?;
    }
    let told = admin.get("/api/v1alpha1/events?domain=ipmi&component=platform").await?.json()?;
    anyhow::ensure!(told["events"][0]["severity"] == "EVENT_SEVERITY_CRITICAL", "{told}");
    anyhow::ensure!(told["events"][0]["principal"] == "boss", "{told}");
    let users = bmc.tool(&["user", "list", "1"]).await?;
    for (name, level) in [("boss", "ADMINISTRATOR"), ("guest", "USER"), ("worker", "OPERATOR")] {
        anyhow::ensure!(users.lines().any(|line| line.contains(name) && line.ends_with(level)), "{users}");
    }
    // What the machine shows moves between the two questions, until it has been off for a while.
    eventually("sensors show what the API says", FOLLOW, || async { bmc.sensors_agree().await }).await?;
    bmc.suite.stop().await
}

#[tokio::test]
async fn the_sel_ends_and_has_the_numbers_of_the_log() -> Result {
    let Some(bmc) = Bmc::with("ipmitool", &[]).await? else { return Ok(()) };
    let admin = bmc.suite.admin();
    // Each crosses while ipmisrv runs, in turns.
    for high in [5, 80, 5, 80] {
        let wanted = json!({"upperThresholds": {"warning": high, "critical": 90}, "hysteresis": 1});
        let body = serde_json::to_vec(&wanted)?;
        let headers = [("content-type", "application/json")];
        let path = "/api/v1alpha1/sensors/inlet_temp/thresholds";
        let reply = admin.send(Method::PUT, path, &headers, body.into()).await?;
        anyhow::ensure!(reply.status == 200, "{}", reply.text());
        let path = "/api/v1alpha1/events?domain=sensor&component=inlet_temp&page_size=4";
        let asserted = (high == 5).then_some(true);
        eventually("it is crossed", FOLLOW, || async {
            let events = admin.get(path).await?.json()?["events"].as_array().cloned().unwrap_or_default();
            // That thresholds were set is an event, too.
            let newest =
                events.iter().map(|event| &event["sensorThresholdCrossed"]).find(|told| !told.is_null());
            Ok(newest.is_some_and(|told| told["asserted"].as_bool().filter(|told| *told) == asserted))
        })
        .await?;
    }
    let logged: Vec<String> = bmc.crossings().await?.iter().map(|sequence| format!("{sequence:x}")).collect();
    anyhow::ensure!(logged.len() >= 4, "{logged:?}");
    let numbers = async || {
        let list = bmc.tool(&["sel", "list"]).await?;
        let first = |line: &str| line.split('|').next().unwrap_or_default().trim().to_owned();
        Ok::<_, anyhow::Error>(list.lines().map(first).collect::<Vec<_>>())
    };
    eventually("the SEL has them", FOLLOW, || async { Ok(numbers().await? == logged) }).await?;
    bmc.restart().await?;
    eventually("the SEL has them again", FOLLOW, || async { Ok(numbers().await? == logged) }).await?;
    bmc.suite.stop().await
}

/// A sensor as the API says it.
async fn sensor(bmc: &Bmc, id: &str) -> Result<serde_json::Value> {
    let reply = bmc.suite.admin().get(&format!("/api/v1alpha1/sensors/{id}")).await?;
    anyhow::ensure!(reply.status == 200, "{id}: {}", reply.text());
    Ok(reply.json()?["sensor"].clone())
}

#[tokio::test]
async fn thresholds_and_the_event_log_are_changed_over_ipmi() -> Result {
    let Some(bmc) = Bmc::with("ipmitool", &[]).await? else { return Ok(()) };
    let upper = |sensor: &serde_json::Value| sensor["analogReading"]["upperThresholds"].clone();
    let before = sensor(&bmc, "inlet_temp").await?;
    // Below what is measured: it is crossed.
    bmc.shows(&["sensor", "thresh", "Inlet temperatur", "unc", "12"], "12").await?;
    let after = sensor(&bmc, "inlet_temp").await?;
    anyhow::ensure!(upper(&after)["warning"] == 12.0, "{after}");
    anyhow::ensure!(upper(&after)["critical"] == upper(&before)["critical"], "another is changed: {after}");
    let number = bmc.tool(&["sdr", "get", "Inlet temperatur"]).await?;
    let number = number
        .lines()
        .find_map(|line| line.split("(0x").nth(1)?.split(')').next())
        .ok_or_else(|| anyhow::anyhow!("no number: {number}"))?;
    let number = format!("0x{number}");
    // 14 degrees: the record has steps of one from -128 on.
    bmc.tool(&["raw", "0x04", "0x26", &number, "0x10", "0", "0", "0", "0", "142", "0"]).await?;
    anyhow::ensure!(upper(&sensor(&bmc, "inlet_temp").await?)["critical"] == 14.0);
    eventually("SEL shows the thresholds that are crossed", FOLLOW, || async {
        let said = bmc.tool(&["sel", "elist"]).await?;
        Ok(["Upper Non-critical going high", "Upper Critical going high"]
            .iter()
            .all(|text| said.contains(text)))
    })
    .await?;
    // A threshold that there is none of is not set, and nothing else changes by it (02h: lower critical).
    let raw = ["raw", "0x04", "0x26", &number, "0x02", "0", "99", "0", "0", "0", "0"];
    let said = bmc.refused(BOSS, &raw).await?;
    anyhow::ensure!(said.contains("rsp=0xcc"), "{said}");
    anyhow::ensure!(
        sensor(&bmc, "inlet_temp").await?["analogReading"]["lowerThresholds"]["critical"].is_null()
    );
    let said = bmc.refused(GUEST, &raw).await?;
    anyhow::ensure!(said.contains("rsp=0xd4"), "{said}");
    bmc.tool(&["raw", "0x04", "0x24", &number, "0xff", "3", "3"]).await?;
    anyhow::ensure!(sensor(&bmc, "inlet_temp").await?["analogReading"]["hysteresis"] == 3.0);
    for args in [&["sensor", "get", "Inlet temperatur"][..], &["event", "Inlet temperatur", "list"]] {
        bmc.ipmitool(17, BOSS, args).await?;
    }

    // What is deleted and cleared here is hidden here; the log keeps it.
    let logged = bmc.crossings().await?.len();
    anyhow::ensure!(logged > 0, "nothing is logged");
    let list = bmc.tool(&["sel", "list"]).await?;
    let (id, count) = (list.split('|').next().unwrap_or_default().trim().to_owned(), list.lines().count());
    bmc.tool(&["sel", "delete", &format!("0x{id}")]).await?;
    anyhow::ensure!(bmc.tool(&["sel", "list"]).await?.lines().count() + 1 == count, "{list}");
    bmc.refused(GUEST, &["sel", "clear"]).await?;
    anyhow::ensure!(bmc.tool(&["sel", "list"]).await?.lines().count() + 1 == count, "a refused clear clears");
    bmc.tool(&["sel", "clear"]).await?;
    let said = bmc.tool(&["sel", "list"]).await?;
    anyhow::ensure!(said.contains("SEL has no entries"), "{said}");
    anyhow::ensure!(bmc.crossings().await?.len() >= logged, "the log lost events");
    let reply = bmc.suite.admin().get("/api/v1alpha1/events?domain=ipmi").await?;
    anyhow::ensure!(reply.text().contains("boss"), "{}", reply.text());
    // After a restart it is as it was.
    bmc.restart().await?;
    let said = bmc.tool(&["sel", "list"]).await?;
    anyhow::ensure!(said.contains("SEL has no entries"), "{said}");
    // What comes after is shown.
    bmc.tool(&["raw", "0x04", "0x26", &number, "0x10", "0", "0", "0", "0", "173", "0"]).await?;
    bmc.shows(&["sel", "elist"], "Deasserted").await?;
    // The clock is not IPMI's to set.
    bmc.tool(&["raw", "0x0a", "0x5d", "0", "0"]).await?;
    let set = ["sel", "time", "set", "01/01/2001 00:00:00"];
    bmc.refused(BOSS, &set).await?;
    bmc.suite.stop().await
}

#[tokio::test]
async fn dcmi_fru_and_resets_go_through_their_owners() -> Result {
    let sets = [
        "input_power=total_power",
        "inlet=[\"inlet_temp\"]",
        "cpu=[\"cpu0_temp\"]",
        "baseboard=[\"dimm_temp\"]",
    ];
    let Some(bmc) = Bmc::with("ipmitool", &sets).await? else { return Ok(()) };
    let admin = bmc.suite.admin();
    bmc.tool(&["chassis", "power", "on"]).await?;
    eventually("the machine is on", FOLLOW, || async { Ok(bmc.host().await? == "HOST_STATUS_ON") }).await?;
    anyhow::ensure!(bmc.tool(&["chassis", "poh"]).await?.contains("POH Counter"));
    let said = bmc.tool(&["dcmi", "discover"]).await?;
    anyhow::ensure!(said.contains("Power management"), "{said}");
    // Watts as the API says them; both move.
    eventually("DCMI shows the power that the API says", FOLLOW, || async {
        let said = bmc.tool(&["dcmi", "power", "reading"]).await?;
        let shown = said.lines().find(|line| line.contains("Instantaneous")).unwrap_or_default();
        let shown: f64 =
            shown.split_whitespace().rev().nth(1).and_then(|word| word.parse().ok()).unwrap_or(-1.0);
        let value = sensor(&bmc, "total_power").await?["analogReading"]["value"].as_f64().unwrap_or(-99.0);
        Ok((shown - value).abs() < 10.0)
    })
    .await?;
    eventually("temperatures are known", FOLLOW, || async {
        let said = bmc.tool(&["dcmi", "get_temp_reading"]).await?;
        let inlet = said.lines().filter(|line| line.contains(" C")).count();
        Ok(inlet >= 3)
    })
    .await?;
    bmc.tool(&["dcmi", "sensors"]).await?;
    // The asset tag, by DCMI in pieces and by FRU data: the inventory has it.
    bmc.tool(&["dcmi", "set_asset_tag", "rack 17, place 23, north"]).await?;
    anyhow::ensure!(bmc.tag().await? == "rack 17, place 23, north", "{}", bmc.tag().await?);
    bmc.shows(&["dcmi", "asset_tag"], "rack 17, place 23, north").await?;
    bmc.refused(GUEST, &["dcmi", "set_asset_tag", "x"]).await?;
    bmc.shows(&["fru", "print", "0"], "rack 17, place 23, north").await?;
    bmc.tool(&["fru", "edit", "0", "field", "p", "5", "rack 17, place 24, south"]).await?;
    anyhow::ensure!(bmc.tag().await? == "rack 17, place 24, south", "{}", bmc.tag().await?);
    // Another name of the product is the maker's to say.
    let name = bmc.tool(&["fru", "print", "0"]).await?;
    let field =
        name.lines().find(|line| line.contains("Product Name")).and_then(|line| line.split(": ").nth(1));
    let other: String = field.unwrap_or_default().trim().chars().map(|_| 'x').collect();
    let edit = ["fru", "edit", "0", "field", "p", "1", &other];
    bmc.ipmitool(17, BOSS, &edit).await?;
    anyhow::ensure!(
        !bmc.tool(&["fru", "print", "0"]).await?.contains(&other),
        "the name of the product changed"
    );
    bmc.tool(&["dcmi", "set_mc_id_string", "north-17"]).await?;
    let controllers = admin.get("/api/v1alpha1/management-controllers").await?.json()?;
    anyhow::ensure!(controllers["controllers"][0]["description"] == "north-17", "{controllers}");
    bmc.shows(&["dcmi", "get_mc_id_string"], "north-17").await?;
    if has("ipmi-dcmi") {
        for args in ["--get-dcmi-capability-info", "--get-asset-tag", "--get-system-power-statistics"] {
            bmc.freeipmi("ipmi-dcmi", &[args]).await?;
        }
        bmc.freeipmi("ipmi-chassis", &["--get-power-on-hours-counter"]).await?;
    }

    // The watchdog: a hard reset a second after the last word of who looks after it.
    bmc.tool(&["raw", "0x06", "0x24", "0x04", "0x01", "0", "0x10", "10", "0"]).await?;
    let said = bmc.tool(&["mc", "watchdog", "get"]).await?;
    anyhow::ensure!(said.contains("SMS/OS") && said.contains("Hard Reset"), "{said}");
    bmc.refused(GUEST, &["mc", "watchdog", "reset"]).await?;
    bmc.tool(&["mc", "watchdog", "reset"]).await?;
    eventually("the watchdog resets the machine", FOLLOW, || async {
        let hosts = admin.get("/api/v1alpha1/hosts").await?.json()?;
        let last = &hosts["hosts"][0]["lastOperation"];
        Ok(last["username"] == "watchdog of IPMI" && last["action"] == "HOST_ACTION_FORCE_RESTART")
    })
    .await?;
    let said = bmc.tool(&["raw", "0x06", "0x25"]).await?;
    anyhow::ensure!(said.trim() == "04 01 00 10 0a 00 00 00", "{said}");
    bmc.shows(&["chassis", "restart_cause"], "watchdog").await?;

    // A login over IPMI is one, and who may not is told of in the audit.
    let boss = admin.get("/api/v1alpha1/users/boss").await?.json()?;
    anyhow::ensure!(boss["user"]["lastLogin"].is_string(), "{boss}");
    bmc.refused(WORKER, &["mc", "reset", "warm"]).await?;
    for words in [&["IPMI", "login", "boss"][..], &["IPMI", "Warm Reset", "worker", "refused"]] {
        eventually("the audit says so", FOLLOW, || async {
            Ok(bmc.suite.log().iter().any(|line| words.iter().all(|word| line.contains(word))))
        })
        .await?;
    }
    bmc.tool(&["mc", "reset", "warm"]).await?;
    bmc.suite.wait_log("MANAGEMENT_CONTROLLER_ACTION_WARM_RESET").await?;
    Ok(())
}

/// How often the machine has begun.
async fn boots(admin: &testkit::Client) -> Result<u64> {
    let hosts = admin.get("/api/v1alpha1/hosts").await?.json()?;
    Ok(hosts["hosts"][0]["lastReboot"]["rebootCount"].as_u64().unwrap_or(0))
}

#[tokio::test]
async fn the_watchdog_resets_the_machine_once_although_its_owner_is_silent_at_first() -> Result {
    let Some(bmc) = Bmc::with("ipmitool", &[]).await? else { return Ok(()) };
    let admin = bmc.suite.admin();
    bmc.tool(&["chassis", "power", "on"]).await?;
    eventually("the machine is on", FOLLOW, || async { Ok(bmc.host().await? == "HOST_STATUS_ON") }).await?;
    let before = boots(&admin).await?;
    bmc.tool(&["raw", "0x06", "0x24", "0x04", "0x01", "0", "0x10", "10", "0"]).await?;
    let statemgr = bmc.suite.pid_of("statemgr").context("statemgr runs")?;
    testkit::signal(statemgr, "STOP")?;
    bmc.tool(&["mc", "watchdog", "reset"]).await?;
    bmc.shows(&["raw", "0x06", "0x25"], "04 01 00 10 0a 00 00 00").await?;
    // Or it was ended as one that hangs, and started anew.
    eventually("the owner of the machine was asked in vain", FOLLOW, || async {
        let asked = |line: &String| line.contains("watchdog of IPMI") && line.contains("refused");
        Ok(bmc.suite.log().iter().any(asked))
    })
    .await?;
    let _ = testkit::signal(statemgr, "CONT");
    eventually("the watchdog resets the machine", FOLLOW, || async {
        let hosts = admin.get("/api/v1alpha1/hosts").await?.json()?;
        let last = &hosts["hosts"][0]["lastOperation"];
        Ok(last["username"] == "watchdog of IPMI" && last["result"] == "OPERATION_RESULT_DONE")
    })
    .await?;
    bmc.suite.wait_log("what the watchdog of IPMI wanted is over").await?;
    anyhow::ensure!(boots(&admin).await? == before + 1, "it began anew once");
    // Both are in the audit, and the end among the events.
    for what in ["Set Watchdog Timer", "Reset Watchdog Timer"] {
        anyhow::ensure!(
            bmc.suite.log().iter().any(|line| line.contains("IPMI") && line.contains(what)),
            "{what}"
        );
    }
    let events = admin.get("/api/v1alpha1/events?domain=ipmi").await?.json()?;
    anyhow::ensure!(events.to_string().matches("watchdog of use 4 expired").count() == 1, "{events}");
    bmc.suite.stop().await
}

#[tokio::test]
async fn the_watchdog_bites_although_its_daemon_was_killed() -> Result {
    let Some(bmc) = Bmc::with("ipmitool", &[]).await? else { return Ok(()) };
    let admin = bmc.suite.admin();
    bmc.tool(&["chassis", "power", "on"]).await?;
    eventually("the machine is on", FOLLOW, || async { Ok(bmc.host().await? == "HOST_STATUS_ON") }).await?;
    let before = boots(&admin).await?;
    // Two seconds, and nobody resets it: killed at once, its daemon has it count anew.
    bmc.tool(&["raw", "0x06", "0x24", "0x04", "0x01", "0", "0x10", "20", "0"]).await?;
    bmc.tool(&["mc", "watchdog", "reset"]).await?;
    bmc.restart().await?;
    eventually("the watchdog resets the machine", FOLLOW, || async {
        let hosts = admin.get("/api/v1alpha1/hosts").await?.json()?;
        let last = &hosts["hosts"][0]["lastOperation"];
        Ok(last["username"] == "watchdog of IPMI" && last["result"] == "OPERATION_RESULT_DONE")
    })
    .await?;
    anyhow::ensure!(boots(&admin).await? == before + 1, "it began anew once");
    bmc.shows(&["mc", "watchdog", "get"], "Stopped").await?;
    bmc.shows(&["mc", "watchdog", "get"], "SMS/OS").await?;
    // One that is stopped stays so.
    bmc.restart().await?;
    bmc.shows(&["mc", "watchdog", "get"], "Stopped").await?;
    bmc.suite.stop().await
}

#[tokio::test]
async fn users_are_made_and_changed_over_ipmi() -> Result {
    let Some(bmc) = Bmc::with("ipmitool", &[]).await? else { return Ok(()) };
    let admin = bmc.suite.admin();
    let user = |name: &'static str| account(&admin, name);
    // The number of an account is the one that the API says.
    let worker = user("worker").await?;
    let number = worker["ipmiUser"].as_u64().unwrap_or(0).to_string();
    anyhow::ensure!(number == "3", "{worker}");
    eventually("ipmitool shows the number", FOLLOW, || async {
        let list = bmc.tool(&["user", "list", "1"]).await?;
        Ok(list.lines().any(|line| line.starts_with("3 ") && line.contains("worker")))
    })
    .await?;
    // A new one, at a number of the client's choice: disabled until it is switched on, with a password of its own.
    bmc.tool(&["user", "set", "name", "9", "fresh"]).await?;
    let fresh = user("fresh").await?;
    anyhow::ensure!(fresh["ipmiUser"] == 9 && fresh["enabled"] == false, "{fresh}");
    anyhow::ensure!(fresh["role"] == "ReadOnly" && fresh["ipmiAccess"] == true, "{fresh}");
    bmc.shows(&["user", "list", "1"], "fresh").await?;
    bmc.refused(BOSS, &["user", "set", "password", "9", "short"]).await?;
    bmc.tool(&["user", "set", "password", "9", "saxophone-quartet", "20"]).await?;
    bmc.tool(&["user", "enable", "9"]).await?;
    bmc.tool(&["channel", "setaccess", "1", "9", "ipmi=on", "privilege=3"]).await?;
    let fresh = user("fresh").await?;
    anyhow::ensure!(fresh["role"] == "Operator" && fresh["enabled"] == true, "{fresh}");
    let (fine, said) = bmc.ipmitool(17, FRESH, &["chassis", "status"]).await?;
    anyhow::ensure!(fine, "{said}");
    // Who does not manage accounts does not.
    bmc.refused(FRESH, &["user", "disable", "3"]).await?;
    anyhow::ensure!(user("worker").await?["enabled"] == true, "a refused request has an effect");
    // The names of others stay where they are when one goes.
    let nameless: Vec<&str> = ["raw", "0x06", "0x45", "0x04"].into_iter().chain(["0"; 16]).collect();
    bmc.tool(&nameless).await?;
    let guest = user("guest").await?;
    anyhow::ensure!(guest["ipmiAccess"] == false && guest["enabled"] == true, "{guest}");
    eventually("a user is gone, and nobody moved", FOLLOW, || async {
        let list = bmc.tool(&["user", "list", "1"]).await?;
        let mut stays = ["2 ", "3 ", "9 "].iter().zip(["boss", "worker", "fresh"]);
        let shown = |(number, name): (&&str, &str)| {
            list.lines().any(|line| line.starts_with(*number) && line.contains(name))
        };
        Ok(!list.contains("guest") && stays.all(shown))
    })
    .await?;
    bmc.tool(&["user", "disable", "9"]).await?;
    bmc.refused(FRESH, &["chassis", "status"]).await?;
    bmc.suite.stop().await
}

/// An account as the API says it.
async fn account(admin: &testkit::Client, name: &str) -> Result<serde_json::Value> {
    let reply = admin.get(&format!("/api/v1alpha1/users/{name}")).await?;
    anyhow::ensure!(reply.status == 200, "{name}: {}", reply.text());
    Ok(reply.json()?["user"].clone())
}

#[tokio::test]
async fn pyghmi_shows_what_the_api_says() -> Result {
    let Some(python) = testkit::python("UBMC_TEST_PYTHON", Some("python3"), "pyghmi") else {
        skip("Python with pyghmi (cargo xtask test ipmi installs one)");
        return Ok(());
    };
    let bmc = Bmc::start(&["input_power=total_power"]).await?;
    let file = bmc.suite.scratch().join("password");
    std::fs::write(&file, PASSWORD)?;
    let script = testkit::root().join("tests/clients/ipmi_pyghmi.py");
    let (port, file) = (bmc.port.to_string(), file.display().to_string());
    let script = script.display().to_string();
    let args = [&script, "127.0.0.1", &port, "--user", "boss", "--password-file", &file];
    let (fine, said) = bmc.run(&python, &args).await?;
    anyhow::ensure!(fine, "{said}");
    let found: serde_json::Value =
        serde_json::from_str(said.lines().find(|line| line.starts_with('{')).unwrap_or_default())?;
    anyhow::ensure!(found["power after on"] == "on" && found["power after off"] == "off", "{found}");
    // Fans and temperatures of a machine that was just switched off go on changing for a while: asked until both say the same.
    let end = tokio::time::Instant::now() + Duration::from_secs(90);
    loop {
        let before = Api::read(&bmc).await?;
        let mut args = args.to_vec();
        args.push("--sensors");
        let (fine, said) = bmc.run(&python, &args).await?;
        anyhow::ensure!(fine, "{said}");
        let shown =
            serde_json::from_str(said.lines().find(|line| line.starts_with('{')).unwrap_or_default())?;
        match sensors_as_the_api_says(&shown, &before, &Api::read(&bmc).await?) {
            Ok(()) => break,
            Err(_) if tokio::time::Instant::now() < end => {}
            Err(fault) => anyhow::bail!("{fault}: {shown}"),
        }
    }
    let api = Api::read(&bmc).await?;
    // Parts of the board: those of the host come and go with it.
    for part in api.parts().into_iter().filter(|part| part["hostName"].is_null()) {
        for key in ["serialNumber", "productName", "manufacturer"] {
            let Some(said) = part["info"][key].as_str() else { continue };
            anyhow::ensure!(found["inventory"].to_string().contains(said), "{key} of {part}: {found}");
        }
    }
    anyhow::ensure!(api.host["bootOverride"]["target"] == "BOOT_TARGET_PXE", "{}", api.host);
    anyhow::ensure!(api.host["bootOverride"]["mode"] == "BOOT_MODE_UEFI", "{}", api.host);
    let bootdev = json!({"bootdev": "network", "persistent": true, "uefimode": true});
    anyhow::ensure!(found["bootdev"] == bootdev, "{found}");
    anyhow::ensure!(found["events after clear"] == 0, "{found}");
    let admin = bmc.suite.admin();
    for name in ["boss", "worker", "guest"] {
        let number = account(&admin, name).await?["ipmiUser"].clone();
        anyhow::ensure!(
            found["users"][name].as_str().map(str::to_owned) == Some(number.to_string())
                || found["users"][name] == number,
            "{name} is not {number}: {found}"
        );
    }
    let ironic = account(&admin, "ironic").await?;
    anyhow::ensure!(ironic["ipmiUser"] == 11 && ironic["role"] == "Operator", "{ironic}");
    anyhow::ensure!(ironic["enabled"] == true && ironic["ipmiReady"] == true, "{ironic}");
    let passing = account(&admin, "passing").await?;
    anyhow::ensure!(passing["ipmiAccess"] == false && passing["enabled"] == false, "{passing}");
    let system = admin.get("/api/v1alpha1/system/info").await?.json()?;
    let name = &system["systemInfo"]["name"];
    anyhow::ensure!(found["identifier"] == *name && name.is_string(), "{name}: {found}");
    let controllers = admin.get("/api/v1alpha1/management-controllers").await?.json()?;
    anyhow::ensure!(controllers["controllers"][0]["description"] == "pyghmi-17", "{controllers}");
    let tag = bmc.tag().await?;
    anyhow::ensure!(found["tag"] == tag, "{tag}: {found}");
    bmc.suite.stop().await
}

/// Whether what pyghmi `shown` of each sensor lies between what the API said `before` and `after`, but for the steps of an IPMI reading.
fn sensors_as_the_api_says(shown: &serde_json::Value, before: &Api, after: &Api) -> Result {
    let good = |sensor: &serde_json::Value| {
        let value = sensor["analogReading"]["value"].as_f64();
        value.filter(|_| sensor["quality"] == "SENSOR_QUALITY_GOOD")
    };
    let then: std::collections::BTreeMap<_, _> =
        before.names().into_iter().filter_map(|(name, sensor)| Some((name, good(sensor)?))).collect();
    let mut compared = 0;
    for (name, sensor) in after.names() {
        let (Some(value), Some(then)) = (good(sensor), then.get(&name).copied()) else { continue };
        let Some(shown) = shown[&name].as_f64() else { anyhow::bail!("{name} is not {value}") };
        let near = fields::tolerance(sensor, value);
        let (low, high) = (value.min(then) - near, value.max(then) + near);
        anyhow::ensure!((low..=high).contains(&shown), "{name} is {shown}, not between {low} and {high}");
        compared += 1;
    }
    anyhow::ensure!(compared > 2, "nothing to compare");
    Ok(())
}

/// What ends a request as ipmitool shows it: its code, 00 for none.
fn code(fine: bool, said: &str) -> String {
    let code = said.split("rsp=0x").nth(1).and_then(|rest| rest.get(..2));
    match code {
        Some(code) => code.to_owned(),
        None if fine => "00".to_owned(),
        None => said.to_owned(),
    }
}

/// The same requests to OpenIPMI's simulator: where it answers otherwise stands what it says, and why.
#[tokio::test]
async fn what_is_no_request_is_refused_as_a_peer_refuses_it() -> Result {
    let Some(bmc) = Bmc::with("ipmi_sim", &["suite_3=true"]).await? else { return Ok(()) };
    anyhow::ensure!(has("ipmitool"), "ipmi_sim is there and ipmitool is not");
    let peer = Peer::start(&bmc).await?;
    let same = "";
    for (request, ours, theirs, why) in [
        ("0x06 0x01", "00", "00", same),
        ("0x06 0x7f", "c1", "c1", same),
        ("0x0a 0x7f", "c1", "c1", same),
        ("0x06 0x01 0", "c7", "00", "it does not mind what is too long"),
        ("0x0a 0x20 1", "c7", "00", "it does not mind what is too long"),
        ("0x00 0x02", "c7", "c7", same),
        ("0x00 0x09 5", "c7", "c7", same),
        ("0x04 0x26 1 0x3f", "c7", "c7", same),
        ("0x04 0x27", "c7", "c7", same),
        ("0x06 0x24 0 0", "c7", "c7", same),
        ("0x0a 0x23 0 0", "c7", "c7", same),
        ("0x0a 0x23 0xfe 0xfe 1 0 5 4", "c5", "c5", same),
        ("0x0a 0x46 0xfe 0xfe 0 0", "c5", "c5", same),
        ("0x0a 0x47 0xfe 0xfe 0x43 0x4c 0x52 0xaa", "c5", "c5", same),
        ("0x0a 0x23 0 0 0xee 0xee 0 0xff", "cb", "cb", same),
        ("0x0a 0x43 0 0 0xee 0xee 0 0xff", "cb", "cb", same),
        ("0x04 0x2d 0xfe", "cb", "cc", "table 5-2 has a code for what is not there"),
        ("0x0a 0x11 9 0 0 4", "cb", "cc", "table 5-2 has a code for what is not there"),
        ("0x06 0x44 1 0", "cc", "cc", same),
        ("0x06 0x46 0", "cc", "cc", same),
        ("0x06 0x22", "80", "80", same),
        ("0x0c 0x02 1 0 0 0", "00", "00", same),
        ("0x0c 0x02 1 0xc0 0 0", "80", "80", same),
        ("0x06 0x41 1 0x40", "00", "00", same),
        ("0x06 0x41 1 0x00", "cc", "cc", same),
    ] {
        let args: Vec<&str> = std::iter::once("raw").chain(request.split(' ')).collect();
        let (fine, said) = bmc.ipmitool(3, BOSS, &args).await?;
        anyhow::ensure!(code(fine, &said) == ours, "we to {request}, {ours} is right:\n{said}");
        let (fine, said) = bmc.ipmitool_at(peer.port, 3, BOSS, &args).await?;
        anyhow::ensure!(code(fine, &said) == theirs, "the peer to {request}, not {theirs} ({why}):\n{said}");
        anyhow::ensure!((ours == theirs) == why.is_empty(), "{request}: {why}");
    }
    bmc.suite.stop().await
}
