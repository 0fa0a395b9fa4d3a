//! `cargo xtask test --long`: the random tests in the numbers that find what a short run does not, and every fuzz target for a while.
//! Nothing of it is part of CI; it is run before something is called done.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::count::{Count, run_tests};
use crate::{daemon, drivers, emulate, installer, need, package, sh, suites, web};

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
/// The programs of tests of the images that are run with every boot, the one that cuts their power, and the one of the machine in which video and USB functions
/// meet the kernel's drivers.
const BOOTS: [&str; 3] = ["evb", "rainier", "boots"];
const POWER_CUTS_TEST: &str = "power_cuts";
const DRIVERS_TEST: &str = "x86";
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
/// The targets about IPMI and how often each is executed, in the order they are run: what strangers send there is proved by nothing before it is read. One
/// execution of the commands is a login and dozens of requests, and takes as long as many of the others.
const IPMI_EXECUTIONS: [(&str, u64); 4] = [
    ("ipmi_vm", 36_000_000),
    ("ipmi_sol", 30_000_000),
    ("ipmi_datagrams", 30_000_000),
    ("ipmi_commands", 4_000_000),
];
/// Executions of all of them at least.
const IPMI_ALL: u64 = 100_000_000;
/// How long each of them takes at most, in seconds.
const IPMI_SECONDS: u32 = 2 * 3600;

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
    /// Requests to Redfish at random, DMTF's Service Validator on the large machine and on one of several hosts, and NVIDIA's client.
    Redfish,
    /// 300 live sensors in a browser for half an hour.
    Live,
    /// Every fuzz target for a minute, but for those about IPMI.
    Fuzz,
    /// The fuzz targets about IPMI, for 100 million executions together.
    FuzzIpmi,
    /// A daemon added by the steps of the docs.
    Daemon,
    /// The simulator's packages, unpacked and started.
    Package,
    /// Video and USB functions with the kernel's own drivers, every boot of the images, and power cuts.
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
            Part::FuzzIpmi => fuzz_ipmi(count),
            Part::Daemon => daemon(count),
            Part::Package => package::prove(count),
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
    sh::cargo(&[
        "test",
        "--locked",
        "--no-run",
        "--workspace",
        "--test",
        POWER_CUTS_TEST,
        "--test",
        BOOTS[0],
    ])?;
    std::thread::scope(|scope| {
        let cuts = scope.spawn(|| {
            let mut said = Vec::new();
            let mut counted = Count::default();
            let args = ["--workspace", "--test", POWER_CUTS_TEST];
            let say = &mut |line: &str| said.push(line.to_owned());
            let result = run_tests(sh::nice_cargo_command(3), &args, env, &mut counted, say);
            (result, counted, said)
        });
        let args: Vec<&str> =
            std::iter::once("--workspace").chain(BOOTS.iter().flat_map(|name| ["--test", name])).collect();
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
    for machine in ["large_machine", "several_hosts"] {
        tests(&["--workspace", "--test", "clients_redfish", machine], &variables, count)?;
    }
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
    env.push(("UBMC_TEST_EVERY_BOOT", "1".to_owned()));
    env.push(("UBMC_TEST_POWER_CUTS", POWER_CUTS.to_string()));
    // By itself: beside the boots it took minutes more.
    let met = drivers_met(count);
    every_boot(&env, count).and(met)
}

/// Video and USB functions with the kernel's own drivers, in a machine that is made for that.
fn drivers_met(count: &mut Count) -> Result<()> {
    let variables = [("UBMC_TEST_DRIVERS", drivers::make()?.display().to_string())];
    tests(&["--workspace", "--test", DRIVERS_TEST], &variables, count)
}

fn daemon(count: &mut Count) -> Result<()> {
    daemon::run()?;
    count.passed += 1;
    Ok(())
}

/// The fuzz targets there are: those about IPMI, or all others. They are coverage-guided, by cargo-fuzz.
fn fuzz_targets(of_ipmi: bool) -> Result<Vec<String>> {
    need::tools(&[need::CXX])?;
    need::cargo_fuzz()?;
    let listed = sh::output(fuzz_command().args(["fuzz", "list"]))?;
    let is_wanted = |target: &&str| target.starts_with("ipmi_") == of_ipmi;
    Ok(listed.split_whitespace().filter(is_wanted).map(str::to_owned).collect())
}

fn fuzz(count: &mut Count) -> Result<()> {
    let mut failed = Vec::new();
    for target in fuzz_targets(false)? {
        let limit = format!("-max_total_time={FUZZ_SECONDS}");
        let done = fuzz_target(&target, &[], &[&limit, "-rss_limit_mb=4096"]);
        failed.extend(fuzzed(&target, done, count).is_none().then_some(target));
    }
    anyhow::ensure!(failed.is_empty(), "fuzz targets: {}", failed.join(", "));
    Ok(())
}

/// What a target does not come to in its time is missing at the end, which fails.
fn fuzz_ipmi(count: &mut Count) -> Result<()> {
    for target in fuzz_targets(true)? {
        let is_listed = IPMI_EXECUTIONS.iter().any(|(listed, _)| *listed == target);
        anyhow::ensure!(is_listed, "{target} is about IPMI, and nothing says how often it is executed");
    }
    let (mut all, mut failed) = (0, Vec::new());
    for (target, share) in IPMI_EXECUTIONS {
        let (limit, runs) = (format!("-max_total_time={IPMI_SECONDS}"), format!("-runs={share}"));
        // Only what a target needs is compiled. None of it has unsafe code of ours, in which alone a sanitizer finds more than a panic does: without one
        // there are several executions in the time of one.
        let build = ["--sanitizer", "none", "--no-default-features"];
        let with_daemon = ["--features", "ipmisrv"];
        let more = if target == "ipmi_commands" { &with_daemon[..] } else { &[] };
        // A datagram of IPMI that is looked at has 1,024 bytes at most.
        let done = fuzz_target(
            target,
            &[&build[..], more].concat(),
            &[&limit, &runs, "-rss_limit_mb=2048", "-max_len=1024"],
        );
        match fuzzed(target, done, count) {
            Some(executions) => all += executions,
            None => failed.push(target),
        }
    }
    sh::say(&format!("{all} of {IPMI_ALL} executions of what is about IPMI"));
    anyhow::ensure!(failed.is_empty(), "fuzz targets: {}", failed.join(", "));
    anyhow::ensure!(
        all >= IPMI_ALL,
        "only {all} of {IPMI_ALL} executions, each target within {IPMI_SECONDS} s"
    );
    Ok(())
}

/// How many executions a target has done; `None` for one that failed, which is told.
fn fuzzed(target: &str, done: Result<u64>, count: &mut Count) -> Option<u64> {
    match done {
        Ok(executions) => {
            sh::say(&format!("fuzz target {target}: {executions} executions"));
            count.passed += 1;
            Some(executions)
        }
        Err(error) => {
            sh::say(&format!(
                "fuzz target {target}: {error:#}; what it failed on is in fuzz/artifacts/{target}"
            ));
            None
        }
    }
}

/// Runs a target, compiled and called with these, and returns how many executions libFuzzer counted at its end.
fn fuzz_target(target: &str, build: &[&str], flags: &[&str]) -> Result<u64> {
    sh::say(&format!("$ cargo fuzz run {target}"));
    let mut child = fuzz_command()
        .args(["fuzz", "run"])
        .args(build)
        .args([target, "--"])
        .args(flags)
        .arg("-print_final_stats=1")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cargo could not be started")?;
    let said = child.stderr.take().context("cargo has no standard error")?;
    let mut executions = None;
    for line in BufReader::new(said).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        executions = counted(&line).or(executions);
        sh::say(&line);
    }
    let status = child.wait()?;
    anyhow::ensure!(status.success(), "it failed ({status})");
    executions.context("it did not say how many executions it has done")
}

/// The count of a line of libFuzzer's statistics at its end.
fn counted(line: &str) -> Option<u64> {
    line.strip_prefix("stat::number_of_executed_units:")?.trim().parse().ok()
}

fn fuzz_command() -> Command {
    let mut command = sh::cargo_command();
    command.env("RUSTC_BOOTSTRAP", "1");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_of_images_and_machines_is_run_by_the_tier_or_by_the_part() {
        let packages = crate::workspace::packages().unwrap();
        let package = packages.iter().find(|package| package.name == "emulate").unwrap();
        let run: Vec<&str> = [&BOOTS[..], &[POWER_CUTS_TEST, DRIVERS_TEST], &crate::test::EMULATED].concat();
        for name in package.tests() {
            assert!(run.contains(&name), "{name} is run by nothing");
        }
        // It is skipped where nothing has made its machine, which the tier does not.
        assert!(!crate::test::EMULATED.contains(&DRIVERS_TEST));
    }

    #[test]
    fn the_shares_of_the_targets_about_ipmi_come_to_all_executions() {
        assert_eq!(IPMI_EXECUTIONS.iter().map(|(_, executions)| executions).sum::<u64>(), IPMI_ALL);
    }

    #[test]
    fn executions_are_what_libfuzzer_counts_at_its_end() {
        assert_eq!(counted("stat::number_of_executed_units: 25000000"), Some(25_000_000));
        assert_eq!(counted("stat::average_exec_per_sec:     9033"), None);
        assert_eq!(counted("#2048\tpulse  cov: 93 ft: 94 corp: 1/1b exec/s: 1024 rss: 35Mb"), None);
    }
}
