//! `cargo xtask test`: every test, in tiers from cheap to dear. A tier is a function; CI runs them all.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::ahead::Ahead;
use crate::count::{Count, run_tests};
use crate::{cache, emulate, guest, long, need, sh, size, suites, tidy, web, workspace};

/// What to run.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// One tier; all of them when left out.
    tier: Option<Tier>,
    /// Only what the first minutes can tell: fmt, clippy, tidy, unit.
    #[arg(long)]
    quick: bool,
    /// What takes long: random tests in large numbers, every damage of every file, power cuts, a second build of the image, fuzzing. Not part of CI;
    /// about two hours.
    #[arg(long, conflicts_with_all = ["tier", "quick"])]
    long: bool,
    /// Of `--long` only these parts.
    #[arg(long, requires = "long", value_delimiter = ',')]
    part: Vec<long::Part>,
    /// Go on with the next tier when one fails; the result is a failure all the same.
    #[arg(long)]
    keep_going: bool,
}

impl Args {
    /// What is about to happen and how long that takes.
    pub(crate) fn about(&self) -> &'static str {
        match self {
            Self { long: true, .. } | Self { tier: Some(Tier::Long), .. } => {
                "test: what takes long, some two hours"
            }
            Self { tier: Some(_), .. } => "test: one tier",
            Self { quick: true, .. } => "test: form, lints and unit tests, some minutes",
            _ => "test: every tier, half an hour, three quarters the first time; `--quick` takes minutes",
        }
    }
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Tier {
    /// Formatting.
    Fmt,
    /// Lints, as errors.
    Clippy,
    /// Layers, headers, links, left-over work.
    Tidy,
    /// Unit, property, table and golden tests.
    Unit,
    /// The embedded bus against the real one, and the daemons as processes on the simulated board.
    Integration,
    /// The test suites of the NATS clients, against the embedded bus and the real one.
    Suites,
    /// Clients that we did not write, and a real guest as the host.
    Clients,
    /// The Web UI in a browser, before the whole suite.
    Web,
    /// Redfish: its resources against DMTF's schemas, its protocol, and the tools that provision with it. Part of `unit`, `integration` and `clients`.
    Redfish,
    /// IPMI: its protocol and commands, and ipmitool, FreeIPMI and pyghmi against the whole suite. Part of `unit` and `clients`.
    Ipmi,
    /// The firmware images on emulated boards, with the kernel's own drivers: eight boots. And what each daemon costs in flash.
    Emulated,
    /// The image built a second time, from another folder: it must be the same. Part of `--long`.
    Reproducible,
    /// What takes long; the same as `--long`.
    Long,
}

const ALL: &[Tier] = &[
    Tier::Fmt,
    Tier::Clippy,
    Tier::Tidy,
    Tier::Unit,
    Tier::Integration,
    Tier::Suites,
    Tier::Clients,
    Tier::Web,
    Tier::Emulated,
];
/// Where tests that draw at random read their seed from: proptest, the suite under fire, starts on damaged files.
const SEEDS: [&str; 3] = ["PROPTEST_RNG_SEED", "TORTURE_SEED", "DAMAGED_SEED"];
const QUICK: &[Tier] = &[Tier::Fmt, Tier::Clippy, Tier::Tidy, Tier::Unit];

/// What became of a tier.
#[derive(Debug)]
struct Row {
    tier: Tier,
    took: Duration,
    count: Count,
    ok: bool,
}

/// Runs the tiers asked for.
pub(crate) fn run(args: &Args) -> Result<()> {
    let tiers = match args.tier {
        Some(tier) => vec![tier],
        None if args.long => vec![Tier::Long],
        None if args.quick => QUICK.to_vec(),
        None => ALL.to_vec(),
    };
    need::tools(&[need::CC])?;
    if tiers.iter().any(|tier| matches!(tier, Tier::Fmt | Tier::Clippy)) {
        need::rust_components()?;
    }
    cache::prune()?;
    // First, so that nothing is compiled without the pages and then once more with them.
    if tiers.iter().any(|tier| !matches!(tier, Tier::Fmt | Tier::Clippy | Tier::Tidy)) {
        web::build_if_possible();
    }
    let mut rows = Vec::new();
    let mut ahead: Option<Ahead> = None;
    let emulates = tiers.contains(&Tier::Emulated);
    for tier in tiers {
        match tier {
            // What comes before it is short and compiles all the time.
            Tier::Unit if emulates => match Ahead::begin() {
                Ok(begun) => ahead = Some(begun),
                Err(error) => sh::say(&format!("nothing is compiled ahead: {error:#}")),
            },
            Tier::Emulated => drop(ahead.take().map(Ahead::finish)),
            _ => {}
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "how long a tier took is shown to a person, nothing depends on it"
        )]
        let started = Instant::now();
        sh::say(&format!("\n=== {tier:?} ==="));
        let mut count = Count::default();
        let result = run_tier(tier, &args.part, &mut count);
        if let Err(error) = &result {
            sh::say(&format!("{tier:?}: {error:#}"));
            // What fails outside a test (a lint, say) is a failure to count, too.
            count.failed = count.failed.max(1);
        }
        rows.push(Row { tier, took: started.elapsed(), count, ok: result.is_ok() });
        if result.is_err() && !args.keep_going {
            break;
        }
    }
    for line in report(&rows) {
        sh::say(&line);
    }
    let failed: Vec<Tier> = rows.iter().filter(|row| !row.ok).map(|row| row.tier).collect();
    if !failed.is_empty() {
        bail!("failed: {failed:?}");
    }
    Ok(())
}

/// A table of tiers, what was skipped and why, and the sum, which is the last line.
fn report(rows: &[Row]) -> Vec<String> {
    let mut lines = vec![
        String::new(),
        format!(
            "{:14} {:6} {:>8} {:>8} {:>8} {:>8}",
            "tier", "result", "seconds", "passed", "failed", "skipped"
        ),
    ];
    let mut all = Count::default();
    let mut took = Duration::ZERO;
    for Row { tier, took: time, count, ok } in rows {
        let result = if *ok { "ok" } else { "FAILED" };
        lines.push(format!(
            "{:14} {result:6} {:8} {:8} {:8} {:8}",
            format!("{tier:?}"),
            time.as_secs(),
            count.passed,
            count.failed,
            count.skips.len()
        ));
        took += *time;
        all.passed += count.passed;
        all.failed += count.failed;
        all.skips.extend(count.skips.iter().cloned());
    }
    let skipped = all.skips.len();
    lines.append(&mut all.skips);
    lines.push(format!(
        "{} passed, {} failed, {skipped} skipped, {} s",
        all.passed,
        all.failed,
        took.as_secs()
    ));
    lines
}

fn run_tier(tier: Tier, parts: &[long::Part], count: &mut Count) -> Result<()> {
    match tier {
        Tier::Fmt => sh::cargo(&["fmt", "--all", "--check"]).context("run `cargo xtask fmt`"),
        Tier::Clippy => {
            sh::cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
        }
        Tier::Tidy => tidy::run(),
        Tier::Unit => {
            cargo_test(&["--workspace", "--lib", "--bins"], &[], count)?;
            cargo_test(&["--workspace", "--doc"], &[], count)
        }
        Tier::Integration => {
            need::tools(&[need::IP, need::DNSMASQ, need::DMIDECODE])?;
            let clients = clients_env()?;
            // Tests run programs of these examples, which a filter for tests leaves unbuilt.
            let examples = ["--example", "fake_daemons", "--example", "taken_over"];
            sh::cargo(&[&["build", "--locked", "--workspace"], &examples[..]].concat())?;
            let tests = integration_tests()?;
            cargo_test(&named(&tests), &clients, count)
        }
        Tier::Suites => suites::run(count, suites::Depth::Quick),
        Tier::Clients => {
            pipeline(count)?;
            need::tools(&[need::IPMITOOL, need::FREEIPMI, need::IPMI_SIM, need::SSH])?;
            need::tools(&need::VNC)?;
            let mut env = clients_env()?;
            env.push(("UBMC_TEST_CLIENTS", "1".into()));
            env.push(need::redfish_env()?);
            let (node, folder) = need::node_clients()?;
            env.push(("UBMC_TEST_NODE", node.display().to_string()));
            env.push(("UBMC_TEST_NODE_CLIENTS", folder.display().to_string()));
            // With a test, for which the features of what it needs count: those the other tiers have compiled.
            sh::cargo(&["build", "--locked", "--workspace", "--bin", "ubmcctl", "--test", "clients"])?;
            cargo_test(&["--workspace", "--test", CLIENTS], &env, count)
        }
        Tier::Web => {
            web::build()?;
            // With a test, for which the features of what it needs count: those the other tiers have compiled.
            let programs = ["--bin", "u-bmc", "--bin", "ubmcctl", "--test", "clients"];
            sh::cargo(&[&["build", "--locked", "--workspace"], &programs[..]].concat())?;
            web::test(count)
        }
        Tier::Ipmi => {
            need::tools(&[need::IPMITOOL, need::FREEIPMI, need::IPMI_SIM])?;
            cargo_test(&["-p", "ipmi", "-p", "ipmisrv"], &[], count)?;
            let python = need::python_clients()?.join("bin/python");
            need::qemu_x86()?;
            guest::build_ipmi()?;
            let env = [
                ("UBMC_TEST_PYTHON", python.display().to_string()),
                ("UBMC_TEST_IPMI_GUEST", guest::ipmi_directory().display().to_string()),
            ];
            cargo_test(&["--workspace", "--test", "clients_ipmi"], &env, count)
        }
        Tier::Redfish => {
            cargo_test(&["-p", "redfish", "--lib"], &[], count)?;
            // A guest boots by an override, so what a machine of a guest needs has to be there as well.
            let mut env = clients_env()?;
            env.push(need::redfish_env()?);
            cargo_test(&named(&REDFISH.map(str::to_owned)), &env, count)
        }
        Tier::Emulated => {
            let env = emulate::images()?;
            let booted = cargo_test(&named(&EMULATED.map(str::to_owned)), &env, count);
            budgets(count).and(booted)
        }
        Tier::Reproducible => long::reproducible(count),
        Tier::Long => long::run(parts, count),
    }
}

/// What the daemons of the image that was built take of the flash, held to docs/performance.md.
fn budgets(count: &mut Count) -> Result<()> {
    size::check_budgets()?;
    count.passed += 1;
    Ok(())
}

/// The programs of tests that the tier `clients` is.
const CLIENTS: &str = "clients*";

/// The programs of tests that the tier `emulated` is. Others of images and machines are of `--long --part images`.
pub(crate) const EMULATED: [&str; 3] = ["drivers", "evb", "rainier"];

/// The programs of tests that the tier `redfish` is, beside the tests in the crate itself.
const REDFISH: [&str; 31] = [
    "any_request",
    "audit",
    "bios",
    "changes",
    "controls",
    "client_habits",
    "client_values",
    "clock",
    "expand",
    "headers",
    "network",
    "patch_semantics",
    "reference",
    "resources",
    "roles",
    "rollup",
    "route_privileges",
    "telemetry",
    "together",
    "versions",
    "virtual_media",
    "watchdog",
    "redfish",
    // Events to a destination elsewhere, in eventlog and through the whole suite; the override on its way to the host, in statemgr and through the whole suite.
    "subscriptions",
    "event_subscriptions",
    "boot_override",
    "several_hosts",
    // What accounts are for, the time of day and plain HTTP, through the whole suite.
    "account_types",
    "time_of_day",
    "redirect_switch",
    "clients_redfish",
];

/// The programs in `tests/` folders that are the tier `integration`: all but those of clients and of images, which are tiers of their own.
fn integration_tests() -> Result<Vec<String>> {
    let start = CLIENTS.trim_end_matches('*');
    let (of_images, others): (Vec<_>, Vec<_>) =
        workspace::packages()?.into_iter().partition(|package| package.name == "emulate");
    let mut names: Vec<String> = others
        .iter()
        .flat_map(workspace::Package::tests)
        .filter(|name| !name.starts_with(start))
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    // They are named to cargo over the whole workspace.
    if let Some(name) =
        of_images.iter().flat_map(workspace::Package::tests).find(|name| names.iter().any(|n| n == name))
    {
        bail!("a test of images has the name of another one: {name}");
    }
    Ok(names)
}

/// Arguments for the tests of these names. Each call of cargo is for the whole workspace: for a part of it, what the part shares with others would have
/// fewer features and be compiled once more.
fn named(tests: &[String]) -> Vec<&str> {
    std::iter::once("--workspace").chain(tests.iter().flat_map(|name| ["--test", name])).collect()
}

/// The pipeline's types: no engine runs here, so this is what can be known of it.
fn pipeline(count: &mut Count) -> Result<()> {
    let mypy = need::python_dagger()?.join("bin/mypy");
    let cache = sh::target_dir().join("mypy");
    sh::run(sh::command(mypy).args(["--strict", "dagger/src", "--cache-dir"]).arg(cache))?;
    count.passed += 1;
    Ok(())
}

/// Where the tests find the clients and servers that we did not write, and the machine that is a real host.
fn clients_env() -> Result<Vec<(&'static str, String)>> {
    need::qemu_x86()?;
    need::tools(&[need::OVMF])?;
    guest::build()?;
    guest::build_ipmi()?;
    let bin = need::python_clients()?.join("bin");
    let mut env = vec![
        ("NATS_SERVER", bin.join("nats-server").display().to_string()),
        ("UBMC_TEST_GUEST", guest::directory().display().to_string()),
        ("UBMC_TEST_IPMI_GUEST", guest::ipmi_directory().display().to_string()),
        ("UBMC_TEST_FRUGY", bin.join("frugy").display().to_string()),
        ("UBMC_TEST_PYTHON", bin.join("python").display().to_string()),
    ];
    if let Some(venv) = need::python_nats()? {
        env.push(("UBMC_TEST_PYTHON_NATS", venv.join("bin/python").display().to_string()));
    }
    Ok(env)
}

/// Runs `cargo test`, and shows and counts what it prints. Tests that draw at random draw the same each time, unless the caller sets another seed:
/// whether a change passes does not depend on luck. `--long` is what looks for new cases.
fn cargo_test(args: &[&str], env: &[(&str, String)], count: &mut Count) -> Result<()> {
    let mut cargo = sh::cargo_command();
    for seed in SEEDS {
        if std::env::var_os(seed).is_none() {
            cargo.env(seed, "1");
        }
    }
    run_tests(cargo, args, env, count, &mut sh::say)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_of_daemons_are_integration_and_those_of_clients_and_images_are_not() {
        let tests = integration_tests().unwrap();
        for name in ["supervision", "cli", "torture", "suite", "connect"] {
            assert!(tests.iter().any(|test| test == name), "{name}: {tests:?}");
        }
        assert!(!tests.iter().any(|test| test.starts_with("clients") || test == "evb"), "{tests:?}");
        assert_eq!(named(&tests[..1]), ["--workspace", "--test", &tests[0]]);
    }

    #[test]
    fn the_tier_redfish_is_every_test_of_its_crate_and_names_none_that_is_not_there() {
        let packages = workspace::packages().unwrap();
        let is_there = |name: &str| packages.iter().any(|package| package.tests().any(|test| test == name));
        assert!(REDFISH.iter().all(|name| is_there(name)), "{REDFISH:?}");
        let own = packages.iter().find(|package| package.name == "redfish").unwrap();
        let left_out: Vec<&str> = own.tests().filter(|test| !REDFISH.contains(test)).collect();
        assert!(left_out.is_empty(), "{left_out:?}");
    }

    #[test]
    fn the_report_has_a_row_for_each_tier_and_ends_with_the_sum() {
        let row = |tier, seconds, passed, failed, skips: &[&str]| Row {
            tier,
            took: Duration::from_secs(seconds),
            count: Count { passed, failed, skips: skips.iter().map(|skip| (*skip).to_owned()).collect() },
            ok: failed == 0,
        };
        let lines =
            report(&[row(Tier::Unit, 100, 900, 0, &["SKIP: no softdog"]), row(Tier::Clippy, 20, 0, 1, &[])]);
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&lines[1]), ["tier", "result", "seconds", "passed", "failed", "skipped"]);
        assert_eq!(words(&lines[2]), ["Unit", "ok", "100", "900", "0", "1"]);
        assert_eq!(words(&lines[3]), ["Clippy", "FAILED", "20", "0", "1", "0"]);
        assert_eq!(lines[4], "SKIP: no softdog");
        assert_eq!(lines[5], "900 passed, 1 failed, 1 skipped, 120 s");
    }
}
