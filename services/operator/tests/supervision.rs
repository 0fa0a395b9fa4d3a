//! The operator as a process, over daemons that misbehave on demand.

#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]
#![allow(clippy::disallowed_methods, reason = "a test of processes waits in real time")]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(90);

const BOARD: &str = include_str!("../../../targets/sim/board.toml");

fn program() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.join("examples/fake_daemons")
}

/// A running operator. It and all it started are gone when this is dropped.
struct Operator {
    child: Child,
    dir: tempfile::TempDir,
    log: Receiver<String>,
    seen: String,
}

impl Operator {
    fn start(sets: &[&str]) -> Self {
        Self::start_with(sets, |dir| {
            let mut command = Command::new(program());
            command.arg("operator").arg(dir);
            command
        })
    }

    fn start_with(sets: &[&str], command: impl FnOnce(&Path) -> Command) -> Self {
        // Not in /tmp: as first process the operator mounts its own there.
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        std::fs::write(dir.path().join("board.toml"), BOARD).unwrap();
        let mut command = command(dir.path());
        for set in sets {
            command.args(["--set", &set.replace("DIR", &dir.path().display().to_string())]);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env("UBMC_LOG", "info,operator=debug");
        let mut child = command.spawn().expect("examples are built with the tests");
        let (sender, log) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, dir, log, seen: String::new() }
    }

    /// Waits for a line of the log that contains `text`.
    fn wait_for(&mut self, text: &str) -> String {
        let until = Instant::now() + LONG;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.log.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push_str(&line);
                    self.seen.push('\n');
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(_) => panic!("no {text:?} in the log:\n{}", self.seen),
            }
        }
    }

    fn wait_ready(&mut self) {
        self.wait_for("every daemon is ready");
    }

    fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    fn wait_end(&mut self) -> ExitStatus {
        wait(&mut self.child)
    }

    fn journal(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join("journal")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The process ids `name` ever had.
    fn pids(&self, name: &str) -> Vec<u32> {
        let start = format!("{name} starts as ");
        self.journal().iter().filter_map(|line| line.strip_prefix(&start)?.parse().ok()).collect()
    }

    fn all_pids(&self) -> Vec<u32> {
        ["base", "middle", "top"].iter().flat_map(|name| self.pids(name)).collect()
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // Its children see the end of their stdin and follow; the stubborn ones are named by the journal.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pid in self.all_pids() {
            if name_of(pid).is_some_and(|name| name.starts_with("fake_daemons")) {
                signal(pid, "KILL");
            }
        }
    }
}

fn signal(pid: u32, name: &str) {
    let _ = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).stderr(Stdio::null()).status();
}

fn name_of(pid: u32) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()
}

/// Whether the process runs; one that ended and was not waited for does not.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

fn wait(child: &mut Child) -> ExitStatus {
    let until = Instant::now() + LONG;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < until, "the process does not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn until(what: &str, mut check: impl FnMut() -> bool) {
    let until = Instant::now() + LONG;
    while !check() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn daemons_start_by_readiness_and_stop_in_reverse() {
    let mut operator = Operator::start(&["middle.ready_when=DIR/go"]);
    operator.wait_for("ready daemon=base");
    until("middle starts", || operator.pids("middle").len() == 1);
    // top waits for middle, which waits for the file.
    assert!(operator.pids("top").is_empty());
    assert!(!operator.dir.path().join("ready").exists());
    std::fs::write(operator.dir.path().join("go"), "").unwrap();
    operator.wait_ready();
    until("the ready file is written", || operator.dir.path().join("ready").exists());
    let ready = std::fs::read_to_string(operator.dir.path().join("ready")).unwrap();
    assert!(ready.contains(&format!("\"pid\":{}", operator.child.id())), "{ready}");
    let asked = Instant::now();
    operator.signal("TERM");
    assert_eq!(operator.wait_end().code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(15));
    let journal = operator.journal();
    let ends: Vec<_> = journal.iter().filter(|line| line.ends_with(" ends")).collect();
    assert_eq!(ends, ["top ends", "middle ends", "base ends"]);
    assert!(!operator.dir.path().join("ready").exists());
}

#[test]
fn a_killed_daemon_comes_back_and_the_others_stay() {
    let mut operator = Operator::start(&[]);
    operator.wait_ready();
    let (base, top) = (operator.pids("base"), operator.pids("top"));
    for round in 1..4 {
        let pids = operator.pids("middle");
        assert_eq!(pids.len(), round);
        signal(*pids.last().unwrap(), "KILL");
        let line = operator.wait_for("daemon ended");
        assert!(line.contains("middle") && line.contains("SIGKILL"), "{line}");
        operator.wait_for("ready daemon=middle");
    }
    assert_eq!((operator.pids("base"), operator.pids("top")), (base, top));
}

#[test]
fn a_crash_loop_is_named_and_the_rest_serves() {
    let mut operator = Operator::start(&["middle.exit=70", "middle.say=[\"the last words\"]"]);
    let line = operator.wait_for("out of service");
    assert!(line.contains("middle") && line.contains("crash loop: 6 starts in a row failed"), "{line}");
    operator.wait_for("ready daemon=top");
    assert_eq!(operator.pids("middle").len(), 6);
    assert!(operator.seen.contains("the last words"));
}

#[test]
fn a_refused_setting_ends_a_first_start_with_its_reason() {
    let mut operator = Operator::start(&["middle.colour=red"]);
    assert_eq!(operator.wait_end().code(), Some(64));
    let line = operator.wait_for("middle does not start with this configuration");
    let reason = operator.wait_for("unknown field `colour`");
    assert!(line.contains("operator:") && reason.contains("expected one of"), "{line}\n{reason}");
    assert!(operator.all_pids().iter().all(|pid| !runs(*pid)));
}

#[test]
fn a_setting_for_a_daemon_that_does_not_exist_is_refused_before_anything_starts() {
    let mut operator = Operator::start(&["ghost.x=1"]);
    assert_eq!(operator.wait_end().code(), Some(64));
    operator.wait_for("there is no daemon \"ghost\" to configure; there are base, middle, top");
    assert!(operator.journal().is_empty());
}

#[test]
fn a_setting_for_a_daemon_that_does_not_run_here_keeps_nobody_from_starting() {
    let mut operator = Operator::start(&["twin.x=1", "fleet.x=1"]);
    operator.wait_ready();
}

#[test]
fn children_follow_an_operator_that_was_killed() {
    let mut operator = Operator::start(&[]);
    operator.wait_ready();
    let pids = operator.all_pids();
    assert_eq!(pids.len(), 3);
    operator.signal("KILL");
    operator.wait_end();
    until("the children end", || pids.iter().all(|pid| !runs(*pid)));
}

#[test]
fn who_ignores_sigterm_is_killed_in_time() {
    let mut operator = Operator::start(&["top.stubborn=true"]);
    operator.wait_ready();
    operator.signal("TERM");
    assert_eq!(operator.wait_end().code(), Some(0));
    let journal = operator.journal();
    assert!(journal.contains(&"middle ends".to_owned()) && !journal.contains(&"top ends".to_owned()));
    assert!(operator.all_pids().iter().all(|pid| !runs(*pid)));
}

#[test]
fn the_first_credential_is_shown_once_and_is_in_no_log() {
    let mut operator = Operator::start(&["base.credential=admin:correct-horse"]);
    operator.wait_ready();
    operator.signal("TERM");
    operator.wait_end();
    let mut shown = String::new();
    operator.child.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    assert_eq!(shown.matches("correct-horse").count(), 1, "{shown}");
    while let Ok(line) = operator.log.recv() {
        operator.seen.push_str(&line);
    }
    assert!(!operator.seen.contains("correct-horse"));
}

#[test]
fn a_second_operator_on_the_same_state_is_refused() {
    let mut operator = Operator::start(&[]);
    operator.wait_ready();
    let output = Command::new(program()).arg("operator").arg(operator.dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(75));
    assert!(String::from_utf8_lossy(&output.stderr).contains("another operator runs with --state-dir"));
}

#[test]
fn as_first_process_it_reaps_orphans_and_ends_its_namespace() {
    let unshare = ["--pid", "--fork", "--mount", "--kill-child", "--map-root-user", "--mount-proc"];
    let permitted = Command::new("unshare").args(unshare).arg("true").stderr(Stdio::null()).status();
    if !permitted.is_ok_and(|status| status.success()) {
        eprintln!("SKIP: no PID namespaces for an ordinary user here");
        return;
    }
    let mut operator = Operator::start_with(&[], |dir| {
        let mut command = Command::new("unshare");
        command.args(unshare).arg(program()).arg("operator").arg(dir);
        command
    });
    operator.wait_ready();
    // The pids in the journal are those inside the namespace: 1 is the operator.
    assert!(operator.all_pids().iter().all(|pid| *pid < 100));
    // `unshare` itself is outside; its child is the operator.
    let inside =
        std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", operator.child.id())).unwrap();
    let inside: u32 = inside.trim().parse().unwrap();
    // A process in the namespace leaves a child behind, which becomes the operator's.
    let left = Command::new("nsenter")
        .args(["-t", &inside.to_string(), "-U", "--preserve-credentials", "-p", "-m"])
        .arg(program())
        .arg("orphan")
        .status();
    assert!(left.is_ok_and(|status| status.success()));
    operator.wait_for("reaped an orphan");
    signal(inside, "TERM");
    operator.wait_end();
    operator.wait_for("operator ends");
}
