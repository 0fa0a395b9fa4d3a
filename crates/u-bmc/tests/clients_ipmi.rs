//! Clients of IPMI that we did not write, against the whole suite: ipmitool and FreeIPMI. What they show is compared with what the API says.

use std::net::UdpSocket;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use testkit::{Suite, eventually};

const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
const PASSWORD: &str = "glockenspiel-7";
/// Longest wait for what a request leads to.
const FOLLOW: Duration = Duration::from_secs(30);

type Result<T = ()> = anyhow::Result<T>;

fn has(program: &str) -> bool {
    let probe = std::process::Command::new(program).arg("-V").stdin(Stdio::null()).output();
    probe.is_ok()
}

#[expect(clippy::print_stdout, reason = "a skip is counted by what it prints")]
fn skip(program: &str) {
    println!("SKIP: no {program} (Debian: ipmitool, freeipmi-tools)");
}

/// A port that is free now.
fn port() -> Result<u16> {
    Ok(UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port())
}

struct Bmc {
    suite: Suite,
    port: u16,
}

impl Bmc {
    /// With one account for each role, all of which may log in over IPMI.
    async fn start(suite_3: bool) -> Result<Self> {
        let port = port()?;
        let suite = Suite::builder(U_BMC)
            .arg("--ipmi")
            .arg(format!("127.0.0.1:{port}"))
            .set(format!("ipmisrv.suite_3={suite_3}"))
            .start()
            .await?;
        let admin = suite.admin();
        for (name, role) in [("boss", "Administrator"), ("worker", "Operator"), ("guest", "ReadOnly")] {
            let user = json!({"username": name, "role": role, "ipmi_access": true});
            let reply =
                admin.post("/api/v1alpha1/users", &json!({"user": user, "password": PASSWORD})).await?;
            anyhow::ensure!(reply.status == 200, "{name}: {}", reply.text());
        }
        Ok(Self { suite, port })
    }

    async fn run(&self, program: &str, args: &[&str]) -> Result<(bool, String)> {
        let output =
            tokio::process::Command::new(program).args(args).stdin(Stdio::null()).kill_on_drop(true).output();
        let output = tokio::time::timeout(Duration::from_secs(120), output).await??;
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        Ok((output.status.success(), said))
    }

    async fn ipmitool(
        &self,
        suite: u8,
        user: &str,
        level: &str,
        password: &str,
        args: &[&str],
    ) -> Result<(bool, String)> {
        let (port, suite) = (self.port.to_string(), suite.to_string());
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
        let (fine, said) = self.ipmitool(17, "boss", "ADMINISTRATOR", PASSWORD, args).await?;
        anyhow::ensure!(fine, "ipmitool {args:?}:\n{said}");
        Ok(said)
    }

    async fn freeipmi(&self, program: &str, args: &[&str]) -> Result<String> {
        let host = format!("127.0.0.1:{}", self.port);
        let login = ["-D", "LAN_2_0", "-h", &host, "-u", "boss", "-p", PASSWORD, "-l", "ADMIN", "-I", "17"];
        let (fine, said) = self.run(program, &[&login[..], args].concat()).await?;
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
            let mut lines =
                list.lines().filter(|line| line.split(',').next() == Some(short.trim_end())).peekable();
            anyhow::ensure!(lines.peek().is_some(), "{short} is not shown:\n{list}");
            let is_good = sensor["quality"] == "SENSOR_QUALITY_GOOD";
            let Some(value) = analog["value"].as_f64().filter(|_| is_good) else { continue };
            // Names are cut, so more than one may be called the same.
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
}

#[tokio::test]
async fn a_login_is_who_it_says_with_each_suite_that_is_set_and_no_other() -> Result {
    if !has("ipmitool") {
        skip("ipmitool");
        return Ok(());
    }
    let bmc = Bmc::start(true).await?;
    for suite in [17, 3] {
        let (fine, said) = bmc.ipmitool(suite, "boss", "ADMINISTRATOR", PASSWORD, &["mc", "info"]).await?;
        anyhow::ensure!(fine && said.contains("IPMI Version              : 2.0"), "suite {suite}:\n{said}");
        for (user, level, password) in [
            ("boss", "ADMINISTRATOR", "glockenspiel-8"),
            ("nobody", "USER", PASSWORD),
            ("admin", "USER", testkit::ADMIN_PASSWORD),
            ("guest", "ADMINISTRATOR", PASSWORD),
            ("worker", "ADMINISTRATOR", PASSWORD),
        ] {
            let (fine, said) = bmc.ipmitool(suite, user, level, password, &["mc", "info"]).await?;
            anyhow::ensure!(!fine, "{user} with {suite}:\n{said}");
        }
    }
    let (fine, _) = bmc.ipmitool(0, "boss", "ADMINISTRATOR", PASSWORD, &["mc", "info"]).await?;
    anyhow::ensure!(!fine, "suite 0 opens something");
    // Who may look may look, and no more.
    let (fine, said) = bmc.ipmitool(17, "guest", "USER", PASSWORD, &["chassis", "status"]).await?;
    anyhow::ensure!(fine, "{said}");
    let (fine, said) = bmc.ipmitool(17, "guest", "USER", PASSWORD, &["raw", "0", "2", "1"]).await?;
    anyhow::ensure!(!fine && said.contains("rsp=0xd4"), "{said}");
    bmc.suite.stop().await
}

#[tokio::test]
async fn suite_3_is_spoken_only_where_it_is_set() -> Result {
    if !has("ipmitool") {
        skip("ipmitool");
        return Ok(());
    }
    let bmc = Bmc::start(false).await?;
    let (fine, said) = bmc.ipmitool(3, "boss", "ADMINISTRATOR", PASSWORD, &["mc", "info"]).await?;
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
    let (fine, _) = bmc.ipmitool(17, "boss", "ADMINISTRATOR", PASSWORD, &["mc", "info"]).await?;
    anyhow::ensure!(!fine, "the old password still opens");
    let (fine, said) = bmc.ipmitool(17, "boss", "ADMINISTRATOR", "xylophone-9", &["mc", "info"]).await?;
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
    if !has("ipmitool") {
        skip("ipmitool");
        return Ok(());
    }
    let bmc = Bmc::start(false).await?;
    let admin = bmc.suite.admin();
    for (command, becomes, shown) in [("on", "HOST_STATUS_ON", "on"), ("off", "HOST_STATUS_OFF", "off")] {
        bmc.tool(&["chassis", "power", command]).await?;
        eventually(becomes, FOLLOW, || async { Ok(bmc.host().await? == becomes) }).await?;
        eventually("ipmitool shows it", FOLLOW, || async {
            Ok(bmc
                .tool(&["chassis", "power", "status"])
                .await?
                .contains(&format!("Chassis Power is {shown}")))
        })
        .await?;
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
        &["fru", "print", "0"],
        &["sdr", "info"],
    ] {
        bmc.tool(args).await?;
    }
    let users = bmc.tool(&["user", "list", "1"]).await?;
    for (name, level) in [("boss", "ADMINISTRATOR"), ("guest", "USER"), ("worker", "OPERATOR")] {
        anyhow::ensure!(users.lines().any(|line| line.contains(name) && line.ends_with(level)), "{users}");
    }
    // What the machine shows moves between the two questions, until it has been off for a while.
    eventually("sensors show what the API says", FOLLOW, || async { bmc.sensors_agree().await }).await?;
    bmc.suite.stop().await
}

#[tokio::test]
async fn freeipmi_reads_what_is_there() -> Result {
    if !has("bmc-info") {
        skip("bmc-info");
        return Ok(());
    }
    let bmc = Bmc::start(false).await?;
    let said = bmc.freeipmi("bmc-info", &[]).await?;
    anyhow::ensure!(said.contains("IPMI Version          : 2.0"), "{said}");
    let said = bmc.freeipmi("ipmi-chassis", &["--get-chassis-status"]).await?;
    anyhow::ensure!(said.contains("System Power"), "{said}");
    let cache = bmc.suite.scratch().join("freeipmi");
    std::fs::create_dir_all(&cache)?;
    let cache = format!("--sdr-cache-directory={}", cache.display());
    let said = bmc.freeipmi("ipmi-sensors", &[&cache]).await?;
    anyhow::ensure!(said.lines().count() > 1, "{said}");
    bmc.freeipmi("ipmi-sel", &[&cache, "--info"]).await?;
    bmc.freeipmi("ipmi-fru", &[&cache]).await?;
    bmc.suite.stop().await
}
