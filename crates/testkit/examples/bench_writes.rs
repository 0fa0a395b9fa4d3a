//! `cargo xtask bench writes`: what an idle controller with 300 sensors and its host on (`targets/sim/big.toml`) writes to the file system of its state:
//! bytes to the device, as the kernel counts them (`write_bytes` of `/proc/PID/io`), of the operator and each daemon, without the simulated machine. Run
//! folders are in memory, as on a controller. `--seconds N` is how long it is looked at (300), after a minute in which it settles.

#![allow(clippy::print_stdout, reason = "it prints what it measured")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use testkit::Suite;
use tokio::time::sleep;

const SETTLES: Duration = Duration::from_secs(60);
/// What it may write in an hour.
const GOAL: u64 = 1 << 20;
/// Where files are memory.
const MEMORY: &str = "/dev/shm";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut words = arguments.iter().skip_while(|word| *word != "--seconds").skip(1);
    let seconds = words.next().map_or(Ok(300), |word| word.parse())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(measure(Duration::from_secs(seconds)))
}

async fn measure(time: Duration) -> Result<()> {
    let binary = std::env::var_os("UBMC").context("UBMC names the binary to measure")?;
    // Below the target folder: where files are on a disk, as /tmp may not be.
    let disk = testkit::root().join("target");
    std::fs::create_dir_all(&disk)?;
    let state = tempfile::tempdir_in(disk)?;
    let run = tempfile::tempdir_in(MEMORY)?;
    for dir in [state.path(), run.path()] {
        testkit::open_to_all(dir)?;
    }
    let suite = Suite::builder(&binary)
        .board(testkit::root().join("targets/sim/big.toml"))
        .state_dir(state.path().join("state"))
        .arg("--run-dir")
        .arg(run.path().join("run").display().to_string())
        .start()
        .await?;
    let reply = suite
        .admin()
        .post("/api/v1alpha1/hosts/system/state", &json!({ "action": "HOST_ACTION_ON" }))
        .await?;
    ensure!(reply.status == 200, "{}", reply.text());
    sleep(SETTLES).await;
    let before = written(suite.ready.pid)?;
    sleep(time).await;
    let after = written(suite.ready.pid)?;
    let mut sum = 0;
    for (name, now) in &after {
        // One that was started anew counts from nothing.
        let was = before.get(name).copied().filter(|was| was <= now).unwrap_or_default();
        let bytes = now - was;
        sum += bytes;
        println!("{name:<14} {bytes:>9} bytes");
    }
    let hour = sum * 3_600 / time.as_secs().max(1);
    println!("{sum} bytes in {} s, {hour} an hour (goal: less than {GOAL})", time.as_secs());
    suite.stop().await
}

/// Bytes that the operator and its daemons have written so far.
fn written(operator: u32) -> Result<BTreeMap<String, u64>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let field = |file: &Path, name: &str| -> Option<u64> {
            let text = std::fs::read_to_string(file).ok()?;
            text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
        };
        let parent = field(&entry.path().join("status"), "PPid:");
        if pid != operator && parent != Some(operator.into()) {
            continue;
        }
        let words = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        let name = words.split('\0').nth(1).unwrap_or_default().to_owned();
        if name == "twinsim" {
            continue;
        }
        // One that ends just now has no files any more.
        let Some(bytes) = field(&entry.path().join("io"), "write_bytes:") else { continue };
        *all.entry(name).or_default() += bytes;
    }
    ensure!(all.len() > 1, "no daemons");
    Ok(all)
}
