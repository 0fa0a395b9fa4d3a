//! A real machine as the host: `ubmcctl` presses the buttons, and what a QEMU guest says on its serial port is the proof.
//!
//! Needs `UBMC_TEST_GUEST`, the directory that `cargo xtask guest` makes; `cargo xtask test clients` sets it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hal_sim::wire::TraceEntry;
use serde_json::Value;
use testkit::{ADMIN_PASSWORD, Console, Credential, Suite};

/// The binary under test; the client is built beside it.
const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
/// What the guest says once it heeds its power button.
const READY: &str = "u-bmc guest: ready";
/// Longer than a guest takes to boot on a busy machine.
const LONG: Duration = Duration::from_secs(120);
/// `force_off_hold_ms` of the simulated board.
const HOLD: u64 = 15;

type Result<T = ()> = anyhow::Result<T>;

/// `ubmcctl` as the first administrator; its output is JSON.
async fn ctl(suite: &Suite, arguments: &[&str]) -> Result<Value> {
    let password = suite.scratch().join("ctl-password");
    std::fs::write(&password, ADMIN_PASSWORD)?;
    let run = tokio::process::Command::new(Path::new(U_BMC).with_file_name("ubmcctl"))
        .args([
            "--server",
            &format!("https://{}", suite.https()),
            "--insecure",
            "--user",
            "admin",
            "-o",
            "json",
        ])
        .arg("--password-file")
        .arg(&password)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let done = tokio::time::timeout(LONG, run).await.context("ubmcctl does not end")??;
    let errors = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "ubmcctl {arguments:?} ended with {}: {errors}", done.status);
    // A command that waits prints one document more; the last says how it ended.
    let documents = serde_json::Deserializer::from_slice(&done.stdout).into_iter::<Value>();
    Ok(documents.collect::<std::result::Result<Vec<_>, _>>()?.pop().unwrap_or_default())
}

async fn status(suite: &Suite) -> Result<String> {
    let host = suite.admin().get("/api/v1alpha1/hosts/system").await?.json()?;
    Ok(host["host"]["status"].as_str().unwrap_or_default().to_owned())
}

/// The last edge of `pin` to `active`.
fn edge(trace: &[TraceEntry], pin: &str, active: bool) -> Result<u64> {
    let found = trace.iter().rev().find(|entry| entry.pin == pin && entry.active == active);
    found.map(|entry| entry.at_ns).with_context(|| format!("{pin} never became {active}"))
}

#[tokio::test]
async fn a_real_machine_is_switched_on_and_off_by_its_buttons() -> Result {
    let Some(guest) = testkit::given(
        "UBMC_TEST_GUEST",
        "no QEMU guest; `cargo xtask guest` makes one, `cargo xtask test` uses it",
    ) else {
        return Ok(());
    };
    let suite =
        Suite::builder(U_BMC).set("sim.host=qemu").set(format!("sim.qemu.guest={guest}")).start().await?;
    let login = Credential::Basic("admin".to_owned(), ADMIN_PASSWORD.to_owned());
    let authorization = login.header().context("a login")?;
    let headers = [("authorization", authorization.as_str())];
    let opened = Console::open(suite.https(), "/api/v1alpha1/consoles/system/socket", &headers).await?;
    let mut console = opened.map_err(|status| anyhow::anyhow!("the console is refused with {status}"))?;
    let mut twin = suite.twin().await?;
    assert_eq!(status(&suite).await?, "HOST_STATUS_OFF");

    // On: it boots.
    ctl(&suite, &["host", "on", "--wait"]).await?;
    console.says(READY).await?;
    assert_eq!(status(&suite).await?, "HOST_STATUS_ON");
    let first = twin.status("system").await?;
    assert_eq!((first.starts, first.acpi_events), (1, 0));
    let first = first.guest_pid.context("a guest runs")?;

    // NMI and reset reach it and leave its power alone.
    ctl(&suite, &["host", "nmi", "--wait"]).await?;
    console.says("NMI received").await?;
    ctl(&suite, &["host", "force-restart", "--wait"]).await?;
    console.says(READY).await?;
    assert_eq!(twin.status("system").await?.guest_pid, Some(first));

    // Graceful off: the operating system is asked, and does it.
    ctl(&suite, &["host", "off", "--wait"]).await?;
    console.says("u-bmc guest: power button").await?;
    assert_eq!(status(&suite).await?, "HOST_STATUS_OFF");
    let off = twin.status("system").await?;
    assert_eq!((off.acpi_events, off.hard_offs, off.guest_pid), (1, 0, None));

    // Power cycle: a new machine on the same terminal.
    ctl(&suite, &["host", "on", "--wait"]).await?;
    console.says(READY).await?;
    let second = twin.status("system").await?.guest_pid.context("a guest runs")?;
    ctl(&suite, &["host", "cycle", "--wait"]).await?;
    console.says(READY).await?;
    let third = twin.status("system").await?;
    assert!(third.guest_pid.is_some_and(|pid| pid != second));
    assert_eq!(third.starts, 3);
    assert_eq!(status(&suite).await?, "HOST_STATUS_ON");

    // Force off, of a system that has gone deaf to the button: power is gone within the hold time, and the button is let go early.
    console.types("killall acpid && echo gone-$((40+2))\n").await?;
    console.says("gone-42").await?;
    ctl(&suite, &["host", "force-off", "--wait"]).await?;
    assert_eq!(status(&suite).await?, "HOST_STATUS_OFF");
    // The button is let go after power-good fell; the client may have been told before.
    testkit::eventually("the button is let go", LONG, || async {
        let mut twin = suite.twin().await?;
        let trace = twin.trace(0).await?;
        Ok(edge(&trace, "power", false)? > edge(&trace, "power", true)?)
    })
    .await?;
    let trace = twin.trace(0).await?;
    let (pressed, let_go) = (edge(&trace, "power", true)?, edge(&trace, "power", false)?);
    let fell = edge(&trace, "power_good", false)?;
    assert!(pressed < fell && fell < let_go, "held until power-good fell");
    assert!(let_go - pressed < HOLD * 1_000_000_000, "and not for the whole hold time");
    let cut = twin.status("system").await?;
    assert_eq!((cut.hard_offs, cut.guest_pid), (third.hard_offs + 1, None));

    // The suite leaves no machine behind.
    ctl(&suite, &["host", "on", "--wait"]).await?;
    let last = twin.status("system").await?.guest_pid.context("a guest runs")?;
    suite.stop().await?;
    assert!(!Path::new(&format!("/proc/{last}")).exists());
    Ok(())
}
