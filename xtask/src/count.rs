//! Runs of `cargo test`, and what they come to.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// What a run of tests came to.
#[derive(Default, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skips: Vec<String>,
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
    // A test is named before what it printed.
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
        if is_shown(&line, in_successes) {
            say(&line);
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("tests failed");
    }
    Ok(())
}

/// Before what a test has measured, to be written down.
const FIGURE: &str = "FIGURE: ";

/// Whether a line of the output is shown: what a passing test says beyond a figure would only bury the failures.
fn is_shown(line: &str, in_successes: bool) -> bool {
    line.starts_with(FIGURE) || (!in_successes && !line.ends_with(" ... ok") && !line.is_empty())
}

fn number_before(line: &str, word: &str) -> u64 {
    line.split(word).next().and_then(|head| head.rsplit(' ').next()).and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_passing_test_figures_are_shown_and_nothing_else() {
        assert!(is_shown("FIGURE: soak: peak PSS of kvmsrv 9000 KiB", true));
        assert!(!is_shown("round 7", true) && is_shown("round 7", false));
        assert!(
            !is_shown("test a ... ok", false) && !is_shown("", false) && is_shown("test a ... FAILED", false)
        );
    }

    #[test]
    fn the_result_line_of_cargo_test_is_understood() {
        let line =
            "test result: ok. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s";
        assert_eq!(number_before(line, " passed"), 12);
        assert_eq!(number_before(line, " failed"), 3);
        assert_eq!(number_before("test result: something new", " passed"), 0);
    }
}
