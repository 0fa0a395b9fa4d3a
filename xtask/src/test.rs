//! `cargo xtask test`: every test, in tiers from cheap to dear. A tier is a function; CI runs them all.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::{emulate, guest, long, need, sh, suites, tidy};

/// What to run.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// One tier; all of them when left out.
    tier: Option<Tier>,
    /// Only what the first minutes can tell: fmt, clippy, tidy, unit.
    #[arg(long)]
    quick: bool,
    /// What takes long: random tests in large numbers, every damage of every file, fuzzing. Not part of CI; about an hour.
    #[arg(long, conflicts_with_all = ["tier", "quick"])]
    long: bool,
    /// Go on with the next tier when one fails; the result is a failure all the same.
    #[arg(long)]
    keep_going: bool,
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
    /// The firmware images on emulated boards, with the kernel's own drivers.
    Emulated,
    /// The image built a second time, from another folder: it must be the same.
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
    Tier::Emulated,
    Tier::Reproducible,
];
/// Where proptest reads its seed from.
const SEED: &str = "PROPTEST_RNG_SEED";
const QUICK: &[Tier] = &[Tier::Fmt, Tier::Clippy, Tier::Tidy, Tier::Unit];

/// What a run of tests came to.
#[derive(Default, Debug)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    failed: u64,
    skips: Vec<String>,
}

impl Count {
    /// What could not be run where it is, and why.
    pub(crate) fn skip(&mut self, line: &str) {
        self.skips.push(line.to_owned());
    }

    /// Adds what was counted beside it.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skips.extend(other.skips);
    }
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
    let mut count = Count::default();
    let mut failed = Vec::new();
    let mut times = Vec::new();
    for tier in tiers {
        #[expect(
            clippy::disallowed_methods,
            reason = "how long a tier took is shown to a person, nothing depends on it"
        )]
        let started = Instant::now();
        sh::say(&format!("\n=== {tier:?} ==="));
        let result = run_tier(tier, &mut count);
        times.push((tier, started.elapsed()));
        if let Err(error) = result {
            sh::say(&format!("{tier:?}: {error:#}"));
            failed.push(tier);
            if !args.keep_going {
                break;
            }
        }
    }
    report(&count, &failed, &times)
}

fn report(count: &Count, failed: &[Tier], times: &[(Tier, Duration)]) -> Result<()> {
    sh::say("");
    for (tier, time) in times {
        let verdict = if failed.contains(tier) { "FAILED" } else { "ok" };
        sh::say(&format!("{:12} {verdict:6} {:4} s", format!("{tier:?}"), time.as_secs()));
    }
    for skip in &count.skips {
        sh::say(skip);
    }
    // A tier that fails outside a test (a lint, say) is a failure to count, too.
    let failures = count.failed.max(failed.len() as u64);
    sh::say(&format!("{} passed, {failures} failed, {} skipped", count.passed, count.skips.len()));
    if !failed.is_empty() {
        bail!("failed: {failed:?}");
    }
    Ok(())
}

fn run_tier(tier: Tier, count: &mut Count) -> Result<()> {
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
            need::tools(&[need::IP, need::DNSMASQ])?;
            let clients = clients_env()?;
            // The operator's tests run a program of its examples, which a filter for tests leaves unbuilt.
            sh::cargo(&["build", "--locked", "--package", "operator", "--examples"])?;
            // Everything in a `tests/` folder but the tests of the whole suite and of images, which are tiers of their own.
            let others = cargo_test(
                &["--workspace", "--exclude", "u-bmc", "--exclude", "emulate", "--test", "*"],
                &clients,
                count,
            );
            // One failure does not hide what the others say.
            let suite = cargo_test(
                &[
                    "--package",
                    "u-bmc",
                    "--test",
                    "suite",
                    "--test",
                    "access",
                    "--test",
                    "privileges",
                    "--test",
                    "dead_backend",
                    "--test",
                    "nats",
                    "--test",
                    "damaged",
                    "--test",
                    "torture",
                ],
                &clients,
                count,
            );
            others.and(suite)
        }
        Tier::Suites => suites::run(count, suites::Depth::Quick),
        Tier::Clients => {
            pipeline(count)?;
            let mut env = clients_env()?;
            env.push(("UBMC_TEST_CLIENTS", "1".into()));
            let (node, folder) = need::node_clients()?;
            env.push(("UBMC_TEST_NODE", node.display().to_string()));
            env.push(("UBMC_TEST_NODE_CLIENTS", folder.display().to_string()));
            sh::cargo(&["build", "--locked", "--package", "ubmcctl"])?;
            cargo_test(&["--package", "u-bmc", "--test", "clients*"], &env, count)
        }
        Tier::Emulated => {
            let env = emulate::images()?;
            emulated(&env, count)
        }
        Tier::Reproducible => {
            emulate::reproducible()?;
            count.passed += 1;
            Ok(())
        }
        Tier::Long => long::run(count),
    }
}

/// The tests of images. The power cuts take half of the tier's time and measure none: they run beside the others, which come first where
/// both want a processor, but not by so much that a BMC among the cuts would starve.
fn emulated(env: &[(&'static str, String)], count: &mut Count) -> Result<()> {
    sh::cargo(&["test", "--locked", "--no-run", "--package", "emulate", "--tests"])?;
    std::thread::scope(|scope| {
        let cuts = scope.spawn(|| {
            let mut said = Vec::new();
            let mut counted = Count::default();
            let args = ["--package", "emulate", "--test", "power_cuts"];
            let say = &mut |line: &str| said.push(line.to_owned());
            let result = run_tests(sh::nice_cargo_command(3), &args, env, &mut counted, say);
            (result, counted, said)
        });
        let args = ["--package", "emulate", "--test", "contract", "--test", "evb", "--test", "rainier"];
        let others = cargo_test(&args, env, count);
        let Ok((cuts, counted, said)) = cuts.join() else { bail!("the power cuts could not be watched") };
        said.iter().for_each(|line| sh::say(line));
        count.add(counted);
        others.and(cuts)
    })
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
    guest::build()?;
    let bin = need::python_clients()?.join("bin");
    let mut env = vec![
        ("NATS_SERVER", bin.join("nats-server").display().to_string()),
        ("UBMC_TEST_GUEST", guest::directory().display().to_string()),
        ("UBMC_TEST_PYTHON", bin.join("python").display().to_string()),
    ];
    if let Some(venv) = need::python_nats()? {
        env.push(("UBMC_TEST_PYTHON_NATS", venv.join("bin/python").display().to_string()));
    }
    Ok(env)
}

/// Runs `cargo test`, and shows and counts what it prints. Property tests take the same cases each time, unless the caller sets another seed:
/// whether a change passes does not depend on luck. `--long` is what looks for new ones.
fn cargo_test(args: &[&str], env: &[(&str, String)], count: &mut Count) -> Result<()> {
    let mut cargo = sh::cargo_command();
    if std::env::var_os(SEED).is_none() {
        cargo.env(SEED, "1");
    }
    run_tests(cargo, args, env, count, &mut sh::say)
}

/// Runs `cargo test` by `cargo` and counts from what it prints. A test that cannot run where it is prints a line `SKIP: why`.
pub(crate) fn run_tests(
    mut cargo: Command,
    args: &[&str],
    env: &[(&str, String)],
    count: &mut Count,
    say: &mut dyn FnMut(&str),
) -> Result<()> {
    say(&format!("$ cargo test {}", args.join(" ")));
    let mut child = cargo
        .args(["test", "--locked", "--no-fail-fast"])
        .args(args)
        .args(["--", "--show-output"])
        .envs(env.iter().map(|(k, v)| (k, v)))
        // An assertion's message says what is wrong; forty lines of the runtime's frames only bury it.
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo could not be started")?;
    let stdout = child.stdout.take().context("cargo has no standard output")?;
    // A test is named before what it printed; what a passing one says beyond a skip would only bury the failures.
    let mut in_successes = false;
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        in_successes = match line.as_ref() {
            "successes:" => true,
            "failures:" => false,
            l if l.starts_with("test result:") => false,
            _ => in_successes,
        };
        if let Some(at) = line.find("SKIP: ") {
            count.skips.push(line[at..].to_string());
        }
        if line.starts_with("test result:") {
            count.passed += number_before(&line, " passed");
            count.failed += number_before(&line, " failed");
        }
        if !in_successes && !line.ends_with(" ... ok") && !line.is_empty() {
            say(&line);
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("tests failed");
    }
    Ok(())
}

fn number_before(line: &str, word: &str) -> u64 {
    line.split(word).next().and_then(|head| head.rsplit(' ').next()).and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_line_of_cargo_test_is_understood() {
        let line =
            "test result: ok. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s";
        assert_eq!(number_before(line, " passed"), 12);
        assert_eq!(number_before(line, " failed"), 3);
        assert_eq!(number_before("test result: something new", " passed"), 0);
    }
}
