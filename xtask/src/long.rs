//! `cargo xtask test --long`: the random tests in the numbers that find what a short run does not, and every fuzz target for a while.
//! Nothing of it is part of CI; it is run before something is called done.

use std::process::Command;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::count::{Count, run_tests};
use crate::{daemon, drivers, emulate, installer, need, sh, suites, web};

/// Kills of daemons and of the operator, in both runs of the suite under fire together.
const KILLS: u32 = 1_000;
/// More than there are: each damage of each file of a state folder.
const EVERY_DAMAGE: u32 = 100_000;
/// Kills of the bus server while it stores.
const STREAM_CRASHES: u32 = 500;
/// Cases of each property test that reads the number.
const CASES: u32 = 5_000;
/// Schedules of the power path as a whole.
const POWER_SCHEDULES: u32 = 100_000;
/// Cuts of an emulated BMC's power.
const POWER_CUTS: u32 = 40;
/// Rounds of 44 KB on a console.
const CONSOLE_ROUNDS: u32 = 20_000;
/// Seconds of four viewers and eight readers of a console, of which half are stuck.
const SOAK_SECONDS: u32 = 1_800;
/// Requests to Redfish of each property test of them.
const REDFISH_REQUESTS: u32 = 10_000;
/// How long a browser shows live sensors, in minutes.
const LIVE_MINUTES: u32 = 30;
/// How long each fuzz target runs, in seconds.
const FUZZ_SECONDS: u32 = 60;
/// Executions of the targets about IPMI, all together, and how long each of them takes at most, in seconds: what strangers send there is proved by nothing before it is read.
const IPMI_EXECUTIONS: usize = 100_000_000;
const IPMI_SECONDS: u32 = 3600;

/// A part of what takes long, in the order it is run.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The suite under fire: kills, a failing medium, copies of the state.
    Fire,
    /// Starts on damaged files.
    Damaged,
    /// Readers of a console, of which half are stuck.
    Consoles,
    /// Half an hour of viewers of a screen and readers of a console, of which half are stuck.
    Soak,
    /// A guest that boots Debian's installer from a disc at a server.
    Installer,
    /// Crashes of the bus while it stores.
    Crashes,
    /// The slow tests of the NATS clients' suites.
    Suites,
    /// Property tests, random and in thousands of cases.
    Properties,
    /// Requests to Redfish at random, DMTF's Service Validator on the large machine, and NVIDIA's client.
    Redfish,
    /// 300 live sensors in a browser for half an hour.
    Live,
    /// Every fuzz target for a minute, and those about IPMI for 100 million executions.
    Fuzz,
    /// A daemon added by the steps of the docs.
    Daemon,
    /// Every boot of the images, and power cuts.
    Images,
    /// The image a second time.
    Reproducible,
}

/// Runs the parts asked for, all when none is; goes on when a part fails, so that one run tells everything.
pub(crate) fn run(only: &[Part], count: &mut Count) -> Result<()> {
    let mut failed = Vec::new();
    for part in Part::value_variants() {
        if !only.is_empty() && !only.contains(part) {
            continue;
        }
        sh::say(&format!("--- {part:?}"));
        let result = match part {
            Part::Fire => fire(count),
            Part::Damaged => damaged(count),
            Part::Consoles => consoles(count),
            Part::Soak => soak(count),
            Part::Installer => debians_installer(count),
            Part::Crashes => stream_crash(count),
            Part::Suites => suites(count),
            Part::Properties => properties(count),
            Part::Redfish => redfish(count),
            Part::Live => live(count),
            Part::Fuzz => fuzz(count),
            Part::Daemon => daemon(count),
            Part::Images => images(count),
            Part::Reproducible => reproducible(count),
        };
        if let Err(error) = result {
            sh::say(&format!("{part:?}: {error:#}"));
            failed.push(part);
        }
    }
    anyhow::ensure!(failed.is_empty(), "failed: {failed:?}");
    Ok(())
}

/// The image a second time.
pub(crate) fn reproducible(count: &mut Count) -> Result<()> {
    emulate::reproducible()?;
    count.passed += 1;
    Ok(())
}

/// Every boot of every image that a test has. The power cuts take half of the time and measure none: they run beside the others, which come first
/// where both want a processor, but not by so much that a BMC among the cuts would starve.
fn every_boot(env: &[(&'static str, String)], count: &mut Count) -> Result<()> {
    sh::cargo(&["test", "--locked", "--no-run", "--workspace", "--test", "power_cuts", "--test", "evb"])?;
    std::thread::scope(|scope| {
        let cuts = scope.spawn(|| {
            let mut said = Vec::new();
            let mut counted = Count::default();
            let args = ["--workspace", "--test", "power_cuts"];
            let say = &mut |line: &str| said.push(line.to_owned());
            let result = run_tests(sh::nice_cargo_command(3), &args, env, &mut counted, say);
            (result, counted, said)
        });
        let args = ["--workspace", "--test", "evb", "--test", "rainier", "--test", "boots"];
        let others = run_tests(sh::cargo_command(), &args, env, count, &mut sh::say);
        let Ok((cuts, counted, said)) = cuts.join() else { bail!("the power cuts could not be watched") };
        said.iter().for_each(|line| sh::say(line));
        count.add(counted);
        others.and(cuts)
    })
}

fn tests(args: &[&str], variables: &[(&'static str, String)], count: &mut Count) -> Result<()> {
    run_tests(sh::cargo_command(), args, variables, count, &mut sh::say)
}

/// A page that stays open.
fn live(count: &mut Count) -> Result<()> {
    web::build()?;
    sh::cargo(&["build", "--locked"])?;
    web::live(LIVE_MINUTES, count)
}

/// Two suites at once: most of a round is waiting for hosts.
fn fire(count: &mut Count) -> Result<()> {
    let args = ["--package", "u-bmc", "--test", "torture"];
    sh::cargo(&["test", "--locked", "--no-run", "--package", "u-bmc", "--test", "torture"])?;
    let variables = [("TORTURE_KILLS", (KILLS / 2).to_string())];
    std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            let mut counted = Count::default();
            let mut said = Vec::new();
            let say = &mut |line: &str| said.push(line.to_owned());
            let result = run_tests(sh::cargo_command(), &args, &variables, &mut counted, say);
            // What it found is not kept back until the other ends.
            if result.is_err() {
                said.drain(..).for_each(|line| sh::say(&line));
            }
            (result, counted, said)
        });
        let first = tests(&args, &variables, count);
        let Ok((result, counted, said)) = second.join() else { anyhow::bail!("a run could not be watched") };
        said.iter().for_each(|line| sh::say(line));
        count.add(counted);
        first.and(result)
    })
}

fn damaged(count: &mut Count) -> Result<()> {
    let variables = [("DAMAGED_STARTS", EVERY_DAMAGE.to_string())];
    tests(&["--package", "u-bmc", "--test", "damaged"], &variables, count)
}

/// 0.9 GB past readers that are stuck.
fn consoles(count: &mut Count) -> Result<()> {
    let variables = [("CONSOLE_ROUNDS", CONSOLE_ROUNDS.to_string())];
    tests(&["--package", "u-bmc", "--test", "consoles", "stuck"], &variables, count)
}

/// Half an hour of four viewers of a screen and eight readers of a console, of which half are stuck.
fn soak(count: &mut Count) -> Result<()> {
    let variables = [("SOAK_SECONDS", SOAK_SECONDS.to_string())];
    tests(&["--package", "u-bmc", "--test", "soak"], &variables, count)
}

/// A guest that boots Debian's installer from a disc at a server.
fn debians_installer(count: &mut Count) -> Result<()> {
    let variables = [("UBMC_TEST_INSTALLER", installer::make()?.display().to_string())];
    tests(&["--workspace", "--test", "media", "debians_installer"], &variables, count)
}

fn stream_crash(count: &mut Count) -> Result<()> {
    let variables = [("STREAM_CRASH_ROUNDS", STREAM_CRASHES.to_string())];
    tests(&["--package", "busd", "--test", "stream_crash"], &variables, count)
}

fn suites(count: &mut Count) -> Result<()> {
    suites::run(count, suites::Depth::Full)
}

fn properties(count: &mut Count) -> Result<()> {
    let variables =
        [("PROPTEST_CASES", CASES.to_string()), ("UBMC_POWER_SCHEDULES", POWER_SCHEDULES.to_string())];
    let packages = ["busd", "ipc", "nats", "power", "auth", "usermgr", "statemgr", "eventlog"];
    let packages = packages.iter().flat_map(|name| ["--package", name]);
    let args: Vec<&str> = packages.chain(["--lib", "--test", "*"]).collect();
    tests(&args, &variables, count)
}

fn redfish(count: &mut Count) -> Result<()> {
    let variables = [("REDFISH_REQUESTS", REDFISH_REQUESTS.to_string())];
    let args = ["--workspace", "--test", "any_request", "--test", "redfish", "any_request"];
    tests(&args, &variables, count)?;
    let variables = [need::redfish_env()?, ("UBMC_TEST_LARGE_MACHINE", "1".to_owned())];
    tests(&["--workspace", "--test", "clients_redfish", "large_machine"], &variables, count)?;
    // DMTF's scripts as well.
    tests(&["--workspace", "--test", "clients_redfish", "provisioning"], &variables, count)?;
    // Which takes minutes to compile: its types are made of all of DMTF's schemas.
    let target = sh::target_dir().join("nv-redfish");
    let manifest = sh::root().join("tests/clients/nv-redfish/Cargo.toml");
    let mut build = sh::cargo_command();
    build.args(["build", "--locked", "--manifest-path"]).arg(manifest).arg("--target-dir").arg(&target);
    sh::run(&mut build)?;
    let program = target.join("debug/nv-redfish-claim");
    let variables = [("UBMC_TEST_NV_REDFISH", program.display().to_string())];
    tests(&["--workspace", "--test", "clients_redfish", "nv_redfish"], &variables, count)
}

fn images(count: &mut Count) -> Result<()> {
    let mut env = emulate::images()?;
    env.push(("UBMC_TEST_DRIVERS", drivers::make()?.display().to_string()));
    env.push(("UBMC_TEST_EVERY_BOOT", "1".to_owned()));
    env.push(("UBMC_TEST_POWER_CUTS", POWER_CUTS.to_string()));
    every_boot(&env, count)
}

fn daemon(count: &mut Count) -> Result<()> {
    daemon::run()?;
    count.passed += 1;
    Ok(())
}

/// Coverage-guided, by cargo-fuzz. Its flags are the nightly compiler's; the stable one takes them when told to.
fn fuzz(count: &mut Count) -> Result<()> {
    need::tools(&[need::CXX])?;
    need::cargo_fuzz()?;
    let listed = sh::output(fuzz_command().args(["fuzz", "list"]))?;
    let is_ipmi = |target: &str| target.starts_with("ipmi_");
    let of_ipmi = listed.split_whitespace().filter(|target| is_ipmi(target)).count();
    let mut failed = Vec::new();
    for target in listed.split_whitespace() {
        sh::say(&format!("$ cargo fuzz run {target}"));
        let seconds = if is_ipmi(target) { IPMI_SECONDS } else { FUZZ_SECONDS };
        let limit = format!("-max_total_time={seconds}");
        let runs = format!(
            "-runs={}",
            if is_ipmi(target) { (IPMI_EXECUTIONS / of_ipmi.max(1)).to_string() } else { "-1".to_owned() }
        );
        let words = ["fuzz", "run", target, "--", &limit, &runs, "-rss_limit_mb=4096"];
        match sh::run(fuzz_command().args(words)) {
            Ok(()) => count.passed += 1,
            Err(error) => {
                let found = format!("what it failed on is in fuzz/artifacts/{target}");
                sh::say(&format!("fuzz target {target}: {error:#}; {found}"));
                failed.push(target);
            }
        }
    }
    anyhow::ensure!(failed.is_empty(), "fuzz targets: {}", failed.join(", "));
    Ok(())
}

fn fuzz_command() -> Command {
    let mut command = sh::cargo_command();
    command.env("RUSTC_BOOTSTRAP", "1");
    command
}
