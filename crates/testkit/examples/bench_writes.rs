//! `cargo xtask bench writes`: what an idle controller with 300 sensors and its host on (`targets/sim/big.toml`) writes to its state.
//!
//! The state is alone on a file system of its own (ext4 on a loop device, as root), whose device counts what reaches it: data, journal and what
//! describes the files (the seventh number of `/sys/block/*/stat`, sectors of 512 bytes). Beside it stands what the kernel counts for the operator and each
//! daemon (`write_bytes` of `/proc/PID/io`), which tells who it was; without root this is all there is. Run folders are in memory, as on a
//! controller. `--seconds N` is how long it is looked at (300; an hour has what is stored once an hour in it), after a minute in which it settles.
//! It fails when the goal is missed.

#![allow(clippy::print_stdout, reason = "it prints what it measured")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use testkit::Suite;
use tokio::time::sleep;

const SETTLES: Duration = Duration::from_secs(60);
/// What it may write in an hour.
const GOAL: u64 = 1 << 20;
/// How large the file system of the state is.
const ROOM: u64 = 256 << 20;
/// What `/sys/block/*/stat` counts in, bytes, whatever the device's own blocks are.
const SECTOR: u64 = 512;
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
    let disk = if rustix::process::geteuid().is_root() { Some(Disk::make(state.path())?) } else { None };
    let home = disk.as_ref().map_or(state.path(), |disk| &disk.at);
    for dir in [state.path(), home, run.path()] {
        testkit::open_to_all(dir)?;
    }
    let suite = Suite::builder(&binary)
        .board(testkit::root().join("targets/sim/big.toml"))
        .state_dir(home.join("state"))
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
    let reached = disk.as_ref().map(Disk::written).transpose()?;
    let before = written(suite.ready.pid)?;
    sleep(time).await;
    let after = written(suite.ready.pid)?;
    let reached = match (&disk, reached) {
        (Some(disk), Some(before)) => Some(disk.written()? - before),
        _ => None,
    };
    let mut sum = 0;
    for (name, now) in &after {
        // One that was started anew counts from nothing.
        let was = before.get(name).copied().filter(|was| was <= now).unwrap_or_default();
        let bytes = now - was;
        sum += bytes;
        println!("{name:<14} {bytes:>9} bytes");
    }
    ensure!(before.keys().all(|name| after.contains_key(name)), "a daemon ended");
    suite.stop().await?;
    let an_hour = |bytes: u64| bytes * 3_600 / time.as_secs().max(1);
    println!("{sum} bytes by {} processes in {} s, {} an hour", after.len(), time.as_secs(), an_hour(sum));
    match reached {
        Some(bytes) => {
            println!("{bytes} bytes to the device, {} an hour (goal: less than {GOAL})", an_hour(bytes))
        }
        None => println!("bytes to the device: not measured, which root alone can"),
    }
    ensure!(an_hour(reached.unwrap_or(sum)) < GOAL, "more than the goal is written");
    Ok(())
}

/// A file system of its own, which ends with this.
struct Disk {
    at: PathBuf,
    /// `/dev/loopN`.
    device: String,
}

impl Disk {
    fn make(folder: &Path) -> Result<Self> {
        let (image, at) = (folder.join("disk"), folder.join("mounted"));
        std::fs::File::create(&image)?.set_len(ROOM)?;
        std::fs::create_dir(&at)?;
        // What mkfs leaves for later would be written while it is measured.
        tell(
            Command::new("mkfs.ext4")
                .args(["-q", "-E", "lazy_itable_init=0,lazy_journal_init=0"])
                .arg(&image),
        )?;
        let device = tell(Command::new("losetup").args(["--find", "--show"]).arg(&image))?;
        let disk = Self { at, device };
        // As the data partition of an image is mounted.
        tell(
            Command::new("mount")
                .args(["-t", "ext4", "-o", "noatime,errors=remount-ro", &disk.device])
                .arg(&disk.at),
        )?;
        Ok(disk)
    }

    /// Bytes that have reached the device, with all that was on its way.
    fn written(&self) -> Result<u64> {
        tell(Command::new("sync").arg("--file-system").arg(&self.at))?;
        let name = self.device.trim_start_matches("/dev/");
        let stat = std::fs::read_to_string(format!("/sys/block/{name}/stat"))?;
        let sectors: u64 = stat.split_whitespace().nth(6).context("no sectors")?.parse()?;
        Ok(sectors * SECTOR)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let ends = [
            tell(Command::new("umount").arg(&self.at)),
            tell(Command::new("losetup").args(["--detach", &self.device])),
        ];
        for error in ends.into_iter().filter_map(Result::err) {
            println!("{error:#}");
        }
    }
}

/// Runs a command and gives what it printed.
fn tell(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
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
        let bytes = field(&entry.path().join("io"), "write_bytes:");
        *all.entry(name.clone()).or_default() +=
            bytes.with_context(|| format!("what {name} wrote cannot be read"))?;
    }
    ensure!(all.len() > 1, "no daemons");
    Ok(all)
}
