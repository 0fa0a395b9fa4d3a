//! `cargo xtask size`: what the suite costs in flash, memory and time to be ready.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::{image, need, sh};

/// How to measure.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Measure the size-optimised profile that goes into flash instead of `release`.
    #[arg(long)]
    flash: bool,
    /// Print JSON for a machine to read.
    #[arg(long)]
    pub(crate) json: bool,
    /// Measure the image of this board and the suite on it, emulated, for example `aspeed/ast2600-evb`.
    #[arg(long, conflicts_with = "flash")]
    pub(crate) board: Option<String>,
}

/// How long a start may take before the measurement gives up.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// Idle time after the start before memory is read: allocations of the start have settled.
const SETTLE: Duration = Duration::from_secs(3);

/// The programs that are measured.
const PROGRAMS: [&str; 2] = ["u-bmc", "ubmcctl"];
/// The page that holds the budgets.
const BUDGETS: &str = "docs/performance.md";
/// How a row of it begins that is a daemon's budget: `| code of websrv | 300 KiB | 350 KiB |`.
const BUDGET_ROW: &str = "| code of ";
/// The row for daemons that have none of their own: a new one needs none until it has grown.
const OTHERS: &str = "any other";
/// Crates below this are one row, in bytes.
const SMALL: u64 = 20 * 1024;

/// Builds, runs and measures.
pub(crate) fn run(args: &Args) -> Result<()> {
    need::tools(&[need::CC])?;
    let profile = if args.flash { "flash" } else { "release" };
    let bin = build(profile)?;
    let mut rows: Vec<(String, f64, &str)> = Vec::new();
    for name in PROGRAMS {
        let path = sh::stripped("strip", &bin, name)?;
        rows.push((format!("{name} stripped"), kib(std::fs::metadata(&path)?.len()), "KiB"));
        if sh::on_path("xz") {
            let packed = sh::command("xz").args(["-9", "--keep", "--stdout"]).arg(&path).output()?;
            rows.push((format!("{name} xz -9"), kib(packed.stdout.len() as u64), "KiB"));
        }
        rows.extend(
            code(&bin.join(name))?
                .into_iter()
                .map(|(row, bytes)| (format!("{name} {row}"), kib(bytes), "KiB")),
        );
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
        sh::say(&format!("{name:44} {value:10.1} {unit}"));
    }
    Ok(())
}

/// Builds both programs with their symbols, by names that tell which types generic code was made for; returns their folder. It is one of its own: with
/// other flags cargo would compile everything anew for each.
fn build(profile: &str) -> Result<PathBuf> {
    let target = sh::target_dir().join("size");
    sh::say(&format!("$ cargo build --locked --profile {profile} (in {})", target.display()));
    sh::run(
        sh::cargo_command()
            .args(["build", "--locked", "--profile", profile])
            .env("CARGO_TARGET_DIR", &target)
            .env("CARGO_ENCODED_RUSTFLAGS", "-Csymbol-mangling-version=v0")
            .env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo"),
    )?;
    Ok(target.join(profile))
}

/// What the code of a program is made of, by daemon and by crate, the largest first: the name of each row, and bytes.
pub(crate) fn code(program: &Path) -> Result<Vec<(String, u64)>> {
    let image::Code { crates, daemons } = read(program)?;
    let (small, large): (Vec<_>, Vec<_>) = crates.into_iter().partition(|(_, bytes)| *bytes < SMALL);
    let sorted = |rows: Vec<(String, u64)>, kind: &str| {
        let mut rows: Vec<_> =
            rows.into_iter().map(|(name, bytes)| (format!("code {kind}{name}"), bytes)).collect();
        rows.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
        rows
    };
    let mut rows = sorted(daemons.into_iter().collect(), "of ");
    rows.extend(sorted(large, "in "));
    rows.push(("code in smaller crates".to_owned(), small.into_iter().map(|(_, bytes)| bytes).sum()));
    Ok(rows)
}

fn read(program: &Path) -> Result<image::Code> {
    let bytes = std::fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    image::code(&bytes, &daemons()?)
}

/// The daemons: each is a crate in `services`.
fn daemons() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(sh::root().join("services"))? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().replace('-', "_"));
        }
    }
    names.sort();
    Ok(names)
}

/// Holds the code of each daemon, in the program of the image that was built last, to its budget.
pub(crate) fn check_budgets() -> Result<()> {
    let text = std::fs::read_to_string(sh::root().join(BUDGETS))
        .with_context(|| format!("cannot read {BUDGETS}"))?;
    let code = read(&image::with_symbols())?.daemons;
    for (name, bytes) in &code {
        sh::say(&format!("{:28} {:10.1} KiB", format!("code of {name}"), kib(*bytes)));
    }
    let wrong = over(&code, &daemons()?, &budgets(&text)?);
    if !wrong.is_empty() {
        bail!("{} (see {BUDGETS})", wrong.join("; "));
    }
    Ok(())
}

/// The budgets of a page, in KiB: the last column of the rows that are of daemons.
fn budgets(page: &str) -> Result<BTreeMap<String, u64>> {
    let rows = page.lines().filter_map(|line| line.strip_prefix(BUDGET_ROW));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_end().trim_end_matches('|').split('|').map(str::trim).collect();
        let budget =
            cells.last().and_then(|cell| cell.strip_suffix(" KiB")).and_then(|cell| cell.parse().ok());
        let name = cells.first().map(|name| (*name).to_owned()).unwrap_or_default();
        Ok((
            name,
            budget.with_context(|| format!("{BUDGETS}: the row of `{row}` does not end with `| n KiB |`"))?,
        ))
    })
    .collect()
}

/// What is not as the budgets say.
fn over(code: &BTreeMap<String, u64>, daemons: &[String], budgets: &BTreeMap<String, u64>) -> Vec<String> {
    let mut wrong = Vec::new();
    for name in daemons {
        let bytes = code.get(name).copied().unwrap_or_default();
        match budgets.get(name).or_else(|| budgets.get(OTHERS)) {
            None => wrong.push(format!("`{name}` has no budget")),
            Some(budget) if bytes > budget * 1024 => {
                wrong.push(format!("`{name}` has {:.1} KiB of code, its budget is {budget}", kib(bytes)));
            }
            Some(_) => {}
        }
    }
    wrong.extend(
        budgets
            .keys()
            .filter(|name| *name != OTHERS && !daemons.contains(name))
            .map(|name| format!("there is no daemon `{name}`")),
    );
    wrong
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_over_its_budget_without_one_or_gone_is_told() {
        let page =
            "text\n| code of websrv | 300 KiB | 350 KiB |\n| code of gone | 1 KiB | 2 KiB |\n| other | 1 |\n";
        let budgets = budgets(page).unwrap();
        let code = [("websrv".to_owned(), 351 * 1024)].into();
        let daemons = ["usermgr", "websrv"].map(str::to_owned);
        assert_eq!(
            over(&code, &daemons, &budgets),
            [
                "`usermgr` has no budget",
                "`websrv` has 351.0 KiB of code, its budget is 350",
                "there is no daemon `gone`"
            ]
        );
        let code = [("websrv".to_owned(), 350 * 1024)].into();
        assert_eq!(over(&code, &daemons[1..], &budgets), ["there is no daemon `gone`"]);
        super::budgets("| code of websrv | many |").unwrap_err();
    }

    #[test]
    fn every_daemon_has_a_budget() {
        let page = std::fs::read_to_string(sh::root().join(BUDGETS)).unwrap();
        let budgets = budgets(&page).unwrap();
        assert!(budgets.len() > 10 && budgets.contains_key(OTHERS), "{budgets:?}");
        assert_eq!(over(&BTreeMap::new(), &daemons().unwrap(), &budgets), [""; 0]);
    }

    #[test]
    fn a_daemon_without_a_row_has_the_budget_of_the_others() {
        let budgets = budgets("| code of any other | - | 60 KiB |").unwrap();
        let code = [("new".to_owned(), 61 * 1024)].into();
        let daemons = ["new".to_owned(), "small".to_owned()];
        assert_eq!(over(&code, &daemons, &budgets), ["`new` has 61.0 KiB of code, its budget is 60"]);
    }
}
