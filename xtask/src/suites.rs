//! The test suites of the NATS clients, run against the embedded server and against the real one, and held to a list of
//! differences (`tests/suites/expected.toml`): a test that comes out otherwise than the list says is a failure, in either direction.
//!
//! No suite is copied: the tests of async-nats lie where cargo unpacked the crate, those of the Python clients come in their
//! source distributions. What starts the servers for them is ours (`tests/suites/`), because it is not published.

mod python;
mod rust;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use crate::count::Count;
use crate::{need, sh};

/// Programs at once: most of a test is waiting.
const AT_ONCE: usize = 8;

/// How much is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Without the tests that take seconds.
    Quick,
    /// All.
    Full,
}

/// What became of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Passed,
    Skipped,
    Failed,
}

/// Tests of a suite about which there is something to say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    why: String,
    /// Names; a `*` at the end stands for any rest.
    tests: Vec<String>,
}

/// What is known of a suite.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Expected {
    /// Passes on nats-server only.
    real_only: Vec<Entry>,
    /// Passes on ours only.
    ours_only: Vec<Entry>,
    /// Passes on neither.
    neither: Vec<Entry>,
    /// Comes out this way or that on one server.
    not_run: Vec<Entry>,
    /// Takes long: not part of a quick run.
    long: Vec<String>,
}

impl Expected {
    fn entry<'a>(entries: &'a [Entry], test: &str) -> Option<&'a Entry> {
        entries.iter().find(|entry| entry.tests.iter().any(|pattern| matches(pattern, test)))
    }

    /// What is expected of a test on ours and on the real one, and why where they differ.
    fn of(&self, test: &str) -> ([Outcome; 2], &str) {
        use Outcome::{Failed, Passed};
        let kinds = [
            (&self.real_only, [Failed, Passed]),
            (&self.ours_only, [Passed, Failed]),
            (&self.neither, [Failed, Failed]),
        ];
        for (entries, outcomes) in kinds {
            if let Some(entry) = Self::entry(entries, test) {
                return (outcomes, &entry.why);
            }
        }
        ([Passed, Passed], "")
    }

    fn runs(&self, test: &str, depth: Depth) -> bool {
        Self::entry(&self.not_run, test).is_none()
            && (depth == Depth::Full || !self.long.iter().any(|pattern| matches(pattern, test)))
    }

    /// Entries for tests that there are none of.
    fn stale(&self, tests: &[String]) -> Vec<&str> {
        let kinds = [&self.real_only, &self.ours_only, &self.neither, &self.not_run];
        let patterns = kinds.into_iter().flatten().flat_map(|entry| &entry.tests).chain(&self.long);
        patterns
            .filter(|pattern| !tests.iter().any(|test| matches(pattern, test)))
            .map(String::as_str)
            .collect()
    }
}

fn matches(pattern: &str, test: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => test.starts_with(start),
        None => pattern == test,
    }
}

/// A suite that is ready to run.
trait Suite: Sync {
    /// Its name in the list.
    fn name(&self) -> &'static str;
    /// All its tests.
    fn tests(&self) -> Result<Vec<String>>;
    /// The tests that one program runs.
    fn portion(&self) -> usize;
    /// A program that runs these tests.
    fn command(&self, tests: &[String]) -> Command;
    /// What it said of them.
    fn outcomes(&self, tests: &[String], success: bool, output: &str) -> BTreeMap<String, Outcome>;
    /// How long a program may take for one test, seconds.
    fn patience(&self) -> u32;
}

/// The servers: ours and the real one.
type Servers = [PathBuf; 2];
const NAMES: [&str; 2] = ["ours", "nats-server"];

/// Runs the suites and compares.
pub(crate) fn run(count: &mut Count, depth: Depth) -> Result<()> {
    need::tools(&[need::IP])?;
    if sh::output(Command::new("unshare").args(["-rnpf", "--kill-child", "true"])).is_err() {
        count.skip("SKIP: no network of their own for the suites of the NATS clients (unshare)");
        return Ok(());
    }
    let clients = need::python_clients()?;
    sh::cargo(&["build", "--locked", "--workspace", "--example", "nats_front"])?;
    let ours = sh::target_dir().join("debug/examples/nats_front");
    let servers = [ours, clients.join("bin/nats-server")];
    let list = sh::root().join("tests/suites/expected.toml");
    let list = std::fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let mut list: BTreeMap<String, Expected> = toml::from_str(&list)?;

    let mut suites: Vec<Box<dyn Suite>> = vec![Box::new(rust::AsyncNats::prepare()?)];
    match need::python_nats()? {
        Some(venv) => suites.extend(python::prepare(&venv)?),
        None => count.skip("SKIP: the suites of the Python clients of NATS need Python 3.13"),
    }
    let mut failed = Vec::new();
    for suite in &suites {
        let expected = list.remove(suite.name()).unwrap_or_default();
        if let Err(error) = compare(suite.as_ref(), &expected, &servers, depth, count) {
            sh::say(&format!("{error:#}"));
            failed.push(suite.name());
        }
    }
    ensure!(failed.is_empty(), "not as tests/suites/expected.toml says: {}", failed.join(", "));
    Ok(())
}

fn compare(
    suite: &dyn Suite,
    expected: &Expected,
    servers: &Servers,
    depth: Depth,
    count: &mut Count,
) -> Result<()> {
    let all = suite.tests()?;
    ensure!(!all.is_empty(), "{} has no tests", suite.name());
    let stale = expected.stale(&all);
    ensure!(stale.is_empty(), "{}: there is no test {}", suite.name(), stale.join(", "));
    let tests: Vec<String> = all.iter().filter(|test| expected.runs(test, depth)).cloned().collect();
    let mut seen = play(suite, &tests, servers, suite.portion());
    let unexpected = |seen: &[BTreeMap<String, Outcome>; 2]| -> Vec<String> {
        let as_expected = |test: &String| {
            let (want, _) = expected.of(test);
            let got = [outcome(&seen[0], test), outcome(&seen[1], test)];
            got == want || got == [Outcome::Skipped; 2]
        };
        tests.iter().filter(|test| !as_expected(test)).cloned().collect()
    };
    // They wait for times of their own, so a busy machine makes some fail: those get a second chance, one by one.
    let again = unexpected(&seen);
    if !again.is_empty() {
        for (seen, more) in seen.iter_mut().zip(play(suite, &again, servers, 1)) {
            seen.extend(more);
        }
    }
    let wrong = unexpected(&seen);

    let mut table = String::new();
    let (mut same, mut differ, mut skipped) = (0, 0, 0);
    for test in &tests {
        let got = [outcome(&seen[0], test), outcome(&seen[1], test)];
        let (_, why) = expected.of(test);
        match got {
            [Outcome::Skipped, Outcome::Skipped] => skipped += 1,
            [ours, real] if ours == real => same += 1,
            _ => differ += 1,
        }
        let _ =
            writeln!(table, "{test:90} {:8} {:8} {why}", format!("{:?}", got[0]), format!("{:?}", got[1]));
    }
    let path = folder().join(format!("{}.table", suite.name()));
    std::fs::write(&path, &table)?;
    sh::say(&format!(
        "{}: {} tests, {} run: {same} the same on both, {differ} differ, {skipped} skipped ({})",
        suite.name(),
        all.len(),
        tests.len(),
        path.display()
    ));
    count.passed += (tests.len() - wrong.len() - skipped) as u64;
    if wrong.is_empty() {
        return Ok(());
    }
    let mut text =
        format!("{}: not as the list says (what it printed is in {})", suite.name(), folder().display());
    for test in &wrong {
        let got = NAMES.iter().zip(&seen).map(|(name, seen)| format!("{name} {:?}", outcome(seen, test)));
        let _ = write!(text, "\n  {test}: {}", got.collect::<Vec<_>>().join(", "));
    }
    bail!(text)
}

/// What became of a test; one that was not heard of again has failed.
fn outcome(seen: &BTreeMap<String, Outcome>, test: &str) -> Outcome {
    seen.get(test).copied().unwrap_or(Outcome::Failed)
}

/// Runs tests on both servers, so many in one program.
fn play(
    suite: &dyn Suite,
    tests: &[String],
    servers: &Servers,
    portion: usize,
) -> [BTreeMap<String, Outcome>; 2] {
    let jobs: Vec<(usize, &[String])> =
        tests.chunks(portion.max(1)).flat_map(|tests| [(0, tests), (1, tests)]).collect();
    let next = Mutex::new(jobs.into_iter().enumerate());
    let seen = Mutex::new([BTreeMap::new(), BTreeMap::new()]);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let job = next.lock().ok().and_then(|mut jobs| jobs.next());
                    let Some((n, (server, tests))) = job else { break };
                    let (Some(program), Some(name)) = (servers.get(server), NAMES.get(server)) else { break };
                    let outcomes = alone(suite, tests, program, &format!("{}.{n}.{name}", suite.name()));
                    if let Ok(mut seen) = seen.lock()
                        && let Some(seen) = seen.get_mut(server)
                    {
                        seen.extend(outcomes);
                    }
                }
            });
        }
    });
    seen.into_inner().unwrap_or_default()
}

/// Runs one program in a network and among processes of its own: its tests want fixed ports, and what they leave behind ends
/// with it.
fn alone(suite: &dyn Suite, tests: &[String], server: &Path, name: &str) -> BTreeMap<String, Outcome> {
    let log = folder().join(format!("{name}.log"));
    let scratch = folder().join(format!("{name}.tmp"));
    std::fs::create_dir_all(&scratch).ok();
    let inner = suite.command(tests);
    let limit = suite.patience().saturating_mul(u32::try_from(tests.len()).unwrap_or(u32::MAX).clamp(1, 10));
    let mut command = Command::new("timeout");
    command
        .args(["--signal=KILL", &limit.to_string(), "unshare", "-rnpf", "--kill-child", "sh", "-c"])
        .args(["ip link set lo up && \"$@\"", "sh"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .env("SUITE_SERVER", server)
        .env("TMPDIR", &scratch)
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null());
    command.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
    if let Some(directory) = inner.get_current_dir() {
        command.current_dir(directory);
    }
    let outcomes = match command.output() {
        Ok(output) => {
            let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.push_str(&String::from_utf8_lossy(&output.stderr));
            std::fs::write(&log, &text).ok();
            suite.outcomes(tests, output.status.success(), &text)
        }
        Err(error) => {
            std::fs::write(&log, error.to_string()).ok();
            BTreeMap::new()
        }
    };
    std::fs::remove_dir_all(&scratch).ok();
    outcomes
}

/// Where suites are unpacked and what they printed is kept.
fn folder() -> PathBuf {
    sh::target_dir().join("suites")
}

/// What stands in for what the suites do not come with.
fn ours() -> PathBuf {
    sh::root().join("tests/suites")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_name_or_its_start() {
        assert!(matches("a::b", "a::b") && !matches("a::b", "a::bc"));
        assert!(matches("a::*", "a::bc") && !matches("a::*", "b::a::"));
    }

    #[test]
    fn the_list_says_what_is_expected_and_what_it_is_stale_about() {
        let expected: Expected = toml::from_str(
            r#"
            long = ["slow"]
            real_only = [{ why = "none of it", tests = ["tls::*"] }]
            neither = [{ why = "outside", tests = ["net"] }]
            not_run = [{ why = "chance", tests = ["dice"] }]
            "#,
        )
        .unwrap();
        assert_eq!(expected.of("tls::a"), ([Outcome::Failed, Outcome::Passed], "none of it"));
        assert_eq!(expected.of("net").0, [Outcome::Failed; 2]);
        assert_eq!(expected.of("other").0, [Outcome::Passed; 2]);
        assert!(expected.runs("slow", Depth::Full) && !expected.runs("slow", Depth::Quick));
        assert!(!expected.runs("dice", Depth::Full));
        let tests = ["tls::a", "net", "slow"].map(str::to_owned);
        assert_eq!(expected.stale(&tests), ["dice"]);
    }

    #[test]
    fn the_list_reads_and_explains_each_difference() {
        let list = std::fs::read_to_string(ours().join("expected.toml")).unwrap();
        let list: BTreeMap<String, Expected> = toml::from_str(&list).unwrap();
        for expected in list.values() {
            let kinds = [&expected.real_only, &expected.ours_only, &expected.neither, &expected.not_run];
            assert!(kinds.into_iter().flatten().all(|entry| entry.why.len() > 10 && !entry.tests.is_empty()));
        }
    }
}
