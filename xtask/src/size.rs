//! `cargo xtask size`: what the suite costs in flash, memory and time to be ready.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::{emulate, image, need, sh};

/// How to measure.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Measure the size-optimised profile that goes into flash instead of `release`.
    #[arg(long)]
    flash: bool,
    /// Print JSON for a machine to read.
    #[arg(long)]
    json: bool,
    /// Measure the image of this board and the suite on it, emulated, for example `aspeed/ast2600-evb`.
    #[arg(long, conflicts_with = "flash")]
    board: Option<String>,
}

/// How long a start may take before the measurement gives up.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// Idle time after the start before memory is read: allocations of the start have settled.
const SETTLE: Duration = Duration::from_secs(3);

/// Builds, runs and measures.
pub(crate) fn run(args: &Args) -> Result<()> {
    need::tools(&[need::CC])?;
    if let Some(board) = &args.board {
        return emulate::size(board, args.json);
    }
    let profile = if args.flash { "flash" } else { "release" };
    sh::cargo(&["build", "--locked", "--profile", profile])?;
    let bin = sh::target_dir().join(profile);
    let mut rows: Vec<(String, f64, &str)> = Vec::new();
    for name in ["u-bmc", "ubmcctl"] {
        // The profile for flash leaves symbols in, for those who ask what the bytes are.
        let path = if args.flash { sh::stripped("strip", &bin, name)? } else { bin.join(name) };
        rows.push((format!("{name} stripped"), kib(std::fs::metadata(&path)?.len()), "KiB"));
        if sh::on_path("xz") {
            let packed = sh::command("xz").args(["-9", "--keep", "--stdout"]).arg(&path).output()?;
            rows.push((format!("{name} xz -9"), kib(packed.stdout.len() as u64), "KiB"));
        }
    }
    if args.flash {
        rows.extend(code(&bin.join("u-bmc"))?.into_iter().map(|(name, bytes)| (name, kib(bytes), "KiB")));
    }
    let dir = std::env::temp_dir().join(format!("u-bmc-size-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let measured = measure(&bin.join("u-bmc"), &dir, &mut rows);
    std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    measured?;
    if args.json {
        let object: serde_json::Map<String, serde_json::Value> = rows
            .iter()
            .map(|(name, value, unit)| (format!("{name} [{unit}]"), serde_json::json!(value)))
            .collect();
        sh::say(&serde_json::to_string_pretty(&object)?);
        return Ok(());
    }
    for (name, value, unit) in &rows {
        sh::say(&format!("{name:28} {value:10.1} {unit}"));
    }
    Ok(())
}

/// What the code of the suite is made of, by crate, the largest first: the name of each row, and bytes. Crates below 20 KiB are one row.
pub(crate) fn code(program: &Path) -> Result<Vec<(String, u64)>> {
    let bytes = std::fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let mut others = 0;
    let mut rows = Vec::new();
    for (name, bytes) in image::code_by_crate(&bytes)? {
        if bytes < 20 * 1024 { others += bytes } else { rows.push((format!("  code {name}"), bytes)) }
    }
    rows.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    rows.push(("  code of smaller crates".to_owned(), others));
    Ok(rows)
}

/// Starts the operator; ends it however the measurement went.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // The operator ends its daemons itself on SIGTERM; a measurement that failed may be harsher.
        let pid = self.0.id().to_string();
        if sh::run(sh::command("sh").args(["-c", &format!("kill -TERM {pid}")])).is_err() {
            self.0.kill().ok();
        }
        self.0.wait().ok();
    }
}

fn measure(binary: &Path, dir: &Path, rows: &mut Vec<(String, f64, &'static str)>) -> Result<()> {
    let password = dir.join("password");
    std::fs::write(&password, "measured-Pa55phrase\n")?;
    // The first start makes keys and hashes the first password; the one that counts is an ordinary one.
    for round in ["first start", "start"] {
        let ready = dir.join("ready.json");
        std::fs::remove_file(&ready).ok();
        #[expect(clippy::disallowed_methods, reason = "this is the measurement")]
        let begun = Instant::now();
        let child = sh::command(binary)
            .args([
                "operator",
                "--board",
                "targets/sim/board.toml",
                "--https",
                "127.0.0.1:0",
                "--http",
                "off",
            ])
            .arg("--state-dir")
            .arg(dir.join("state"))
            .arg("--admin-password-file")
            .arg(&password)
            .arg("--ready-file")
            .arg(&ready)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut running = Running(child);
        while !ready.exists() {
            if let Some(status) = running.0.try_wait()? {
                bail!("the operator ended at its start ({status}); run `cargo xtask sim` to see why");
            }
            if begun.elapsed() > READY_LIMIT {
                bail!("not ready after {} s", READY_LIMIT.as_secs());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        rows.push((format!("exec -> ready, {round}"), begun.elapsed().as_secs_f64() * 1e3, "ms"));
        if round == "start" {
            std::thread::sleep(SETTLE);
            memory(running.0.id(), rows)?;
        }
    }
    Ok(())
}

/// Proportional set size of the operator and of each daemon: shared pages count once in the total.
fn memory(operator: u32, rows: &mut Vec<(String, f64, &'static str)>) -> Result<()> {
    let children = std::fs::read_to_string(format!("/proc/{operator}/task/{operator}/children"))?;
    let mut total = 0.0;
    for pid in std::iter::once(operator.to_string()).chain(children.split_whitespace().map(String::from)) {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline"))?;
        let name = arguments
            .split(|b| *b == 0)
            .nth(1)
            .map_or_else(String::new, |a| String::from_utf8_lossy(a).into_owned());
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let field = |wanted: &str| {
            rollup
                .lines()
                .find_map(|l| l.strip_prefix(wanted)?.split_whitespace().next()?.parse::<f64>().ok())
                .with_context(|| format!("{wanted} is not in smaps_rollup"))
        };
        let pss = field("Pss:")?;
        // The twin stands for the host: it is no part of the firmware.
        if name != "twin" {
            total += pss;
        }
        rows.push((format!("PSS {name}"), pss, "KiB"));
        rows.push((format!("  private {name}"), field("Private_Dirty:")?, "KiB"));
    }
    rows.push(("PSS total (without twin)".into(), total, "KiB"));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^52")]
fn kib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}
