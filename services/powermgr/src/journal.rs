//! The record of a host's operations: what must outlive this daemon, and nothing that must outlive the boot.
//!
//! One small file per host in the run directory, which is memory: writing it costs tens of microseconds and no flash, and needs no sync,
//! because a controller that loses power loses the operation's timing with it. It is replaced as a whole, so a death in the middle of
//! writing leaves the one before; one that cannot be replaced is removed, as it would tell of an operation what is not true any more. What cannot be read, is of another boot or of a later version counts as no record.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use power::{HostAction, Line, OpId, Outcome, Past, Progress, Step};
use schema::time::{from_unix_ms, unix_ms};
use schema::v1alpha1 as v1;
use serde::{Deserialize, Serialize};
use service::Clock;
use units::{Lasting, Mono};

use crate::operation::Operation;

/// The version of the file's format. Unknown keys of the same version are left out of account.
const VERSION: u32 = 1;
/// Ended operations that are kept: a caller asks about the last one.
const ENDED: usize = 8;
/// A file longer than this was not written by this daemon.
const FILE_MAX: usize = 64 * 1024;

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct File {
    version: u32,
    /// The kernel's name for the boot.
    boot: String,
    /// Since when it is complete, milliseconds since the boot, as all times here but those of people.
    since_ms: u64,
    #[serde(default)]
    operations: Vec<Entry>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    id: String,
    action: i32,
    /// Milliseconds since 1970.
    requested: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<u64>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    username: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    request_id: String,
    /// The host's status before it.
    #[serde(default)]
    before: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    running: Option<Running>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<End>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Running {
    step: String,
    since_ms: u64,
    begun_ms: u64,
    deadline_ms: u64,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    /// Empty when it is done.
    #[serde(default)]
    reason: String,
    /// What took over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    superseded_by: Option<String>,
    /// The line that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    line: Option<String>,
}

/// The record of one host.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    boot: String,
    since: Mono,
    failed: bool,
    unstored: Lasting,
}

impl Journal {
    /// The record below `run_dir`, and what it says. `now` is the time since the boot.
    pub(crate) fn open(run_dir: &Path, host: &str, boot: &str, now: Mono) -> (Self, Past, Vec<Operation>) {
        let folder = run_dir.join(crate::NAME);
        match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                tracing::warn!(folder = %folder.display(), %error, "cannot create directory for operation journal");
            }
            _ => {}
        }
        let path = folder.join(format!("{host}.json"));
        let file = read(&path, boot, now);
        let mut since = file.as_ref().map_or(now, |file| Mono::from_millis(file.since_ms));
        let mut past = Past { running: None, ended: Vec::new(), since: None };
        let mut operations = Vec::new();
        for entry in file.map(|file| file.operations).unwrap_or_default() {
            let Some((operation, progress)) = entry.read() else {
                tracing::warn!(host, id = entry.id, "cannot parse operation in journal");
                // The record is not complete: what was asked for before may be what is missing.
                since = now;
                continue;
            };
            match (operation.outcome, progress) {
                (Some(outcome), _) => past.ended.push((operation.id, outcome)),
                (None, Some(progress)) => past.running = Some(progress),
                (None, None) => {
                    since = now;
                    continue;
                }
            }
            operations.push(operation);
        }
        past.since = Some(since);
        let mut journal =
            Self { path, boot: boot.to_owned(), since, failed: false, unstored: Lasting::default() };
        // From now on its absence means something.
        let running = |id| past.running.filter(|progress| progress.op == id);
        let stored = journal.store(operations.iter().map(|operation| (operation, running(operation.id))));
        if stored.is_err() && journal.path.exists() {
            // Neither replaced nor removed: nor was what came after it, and it may tell of an operation that has ended since.
            tracing::warn!(path = %journal.path.display(), "cannot write operation journal: ignoring running operation in it");
            journal.since = now;
            distrust(&mut past, &mut operations, now);
        }
        (journal, past, operations)
    }

    /// Replaces the record.
    pub(crate) fn store<'a>(
        &mut self,
        operations: impl DoubleEndedIterator<Item = (&'a Operation, Option<Progress>)>,
    ) -> std::io::Result<()> {
        let mut kept: Vec<_> = operations
            .rev()
            .filter(|(operation, running)| running.is_some() || operation.outcome.is_some())
            .take(ENDED)
            .map(|(operation, running)| Entry::write(operation, running))
            .collect();
        kept.reverse();
        let file = File {
            version: VERSION,
            boot: self.boot.clone(),
            since_ms: self.since.as_millis(),
            operations: kept,
        };
        let stored = self.replace(&file);
        match &stored {
            Ok(()) => {
                self.failed = false;
                if let Some(said) = self.unstored.works(Clock::boot()) {
                    let path = self.path.display();
                    tracing::info!(%path, times = said.times, lasted = %said.lasts, "operation journal writable again");
                }
            }
            Err(error) => {
                // Who starts from no record does nothing twice; who starts from an old one may.
                let _ = std::fs::remove_file(&self.path);
                self.failed = true;
                if let Some(said) = self.unstored.fails(Clock::boot()) {
                    let path = self.path.display();
                    tracing::error!(%path, %error, times = said.times, lasts = %said.lasts, "cannot write operation journal: refusing operations that must not run twice");
                }
            }
        }
        stored
    }

    /// Whether it is to be stored again: it could not be the last time.
    pub(crate) fn is_behind(&self) -> bool {
        self.failed
    }

    fn replace(&self, file: &File) -> std::io::Result<()> {
        let next = self.path.with_extension("new");
        let mut options = std::fs::OpenOptions::new();
        let mut out = options.write(true).create(true).truncate(true).mode(0o600).open(&next)?;
        out.write_all(&serde_json::to_vec(file).map_err(std::io::Error::other)?)?;
        std::fs::rename(&next, &self.path)
    }
}

/// What is told as under way may have ended, and what was asked for before `now` may have been done.
fn distrust(past: &mut Past, operations: &mut Vec<Operation>, now: Mono) {
    past.running = None;
    past.since = Some(now);
    operations.retain(|operation| operation.outcome.is_some());
}

fn read(path: &Path, boot: &str, now: Mono) -> Option<File> {
    let bytes = match service::read_path(path, FILE_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "cannot read operation journal");
            return None;
        }
    };
    match serde_json::from_slice::<File>(&bytes) {
        Ok(file) if file.version == VERSION && file.boot == boot && file.since_ms <= now.as_millis() => {
            Some(file)
        }
        // Of an earlier boot, or of a release that is not this one.
        Ok(_) => None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "operation journal corrupt: ignored");
            None
        }
    }
}

impl Entry {
    fn write(operation: &Operation, running: Option<Progress>) -> Self {
        Self {
            id: operation.id.to_string(),
            action: v1::HostAction::from(operation.action).into(),
            requested: unix_ms(operation.requested),
            ended: operation.ended.map(unix_ms),
            username: operation.username.clone(),
            request_id: operation.request_id.clone(),
            before: operation.before.into(),
            running: running.map(|progress| Running {
                step: step_name(progress.step).to_owned(),
                since_ms: progress.since.as_millis(),
                begun_ms: progress.begun.as_millis(),
                deadline_ms: progress.deadline.as_millis(),
            }),
            end: operation.outcome.map(|outcome| match outcome {
                Outcome::Done => End::default(),
                Outcome::Superseded(by) => {
                    End { reason: "SUPERSEDED".into(), superseded_by: Some(by.to_string()), line: None }
                }
                Outcome::Failed(failure) => {
                    let line = match failure {
                        power::Failure::LineFailed(line) => Some(line_name(line).to_owned()),
                        _ => None,
                    };
                    End { reason: failure.reason().to_owned(), superseded_by: None, line }
                }
            }),
        }
    }

    fn read(&self) -> Option<(Operation, Option<Progress>)> {
        let id: OpId = self.id.parse().ok()?;
        let action: HostAction = HostAction::from_wire(v1::HostAction::try_from(self.action).ok()?)?;
        let outcome = match &self.end {
            Some(end) => Some(end.read()?),
            None => None,
        };
        let progress = match &self.running {
            Some(running) => {
                let step = STEPS.into_iter().find(|step| step_name(*step) == running.step)?;
                let at = Mono::from_millis;
                let (since, begun) = (at(running.since_ms), at(running.begun_ms));
                Some(Progress { op: id, action, step, since, begun, deadline: at(running.deadline_ms) })
            }
            None => None,
        };
        let operation = Operation {
            id,
            action,
            outcome,
            requested: from_unix_ms(self.requested),
            ended: self.ended.map(from_unix_ms),
            username: self.username.clone(),
            request_id: self.request_id.clone(),
            before: schema::v1alpha1::HostStatus::try_from(self.before).unwrap_or_default(),
        };
        Some((operation, progress))
    }
}

impl End {
    fn read(&self) -> Option<Outcome> {
        if let Some(by) = &self.superseded_by {
            return Some(Outcome::Superseded(by.parse().ok()?));
        }
        if self.reason.is_empty() {
            return Some(Outcome::Done);
        }
        let line = Line::ALL.into_iter().find(|line| self.line.as_deref() == Some(line_name(*line)));
        let failure = power::Failure::from_reason(&self.reason, line.unwrap_or(Line::Power))?;
        Some(Outcome::Failed(failure))
    }
}

const STEPS: [Step; 4] = [Step::Pressing, Step::Pressed, Step::Off, Step::Starting];

fn step_name(step: Step) -> &'static str {
    match step {
        Step::Pressing => "pressing",
        Step::Pressed => "pressed",
        Step::Off => "off",
        Step::Starting => "starting",
    }
}

fn line_name(line: Line) -> &'static str {
    match line {
        Line::Power => "power",
        Line::Reset => "reset",
        Line::Nmi => "nmi",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of the first format, as it is on boards: a change here is a new version.
    const FROZEN: &str = r#"{"version":1,"boot":"b","since_ms":5,"operations":[{"id":"00000000000000000000000000000001","action":5,"requested":1000,"ended":2000,"username":"root","before":2,"end":{"reason":"LINE_FAILED","line":"reset"}},{"id":"00000000000000000000000000000002","action":6,"requested":3000,"request_id":"r","before":2,"running":{"step":"off","since_ms":40,"begun_ms":30,"deadline_ms":50}}]}"#;

    fn at(dir: &Path) -> PathBuf {
        dir.join(crate::NAME).join("system.json")
    }

    fn open(dir: &Path, boot: &str) -> (Past, Vec<Operation>) {
        let (_, past, operations) = Journal::open(dir, "system", boot, Mono::from_millis(100));
        (past, operations)
    }

    fn put(dir: &Path, bytes: &[u8]) {
        std::fs::create_dir_all(dir.join(crate::NAME)).unwrap();
        std::fs::write(at(dir), bytes).unwrap();
    }

    #[test]
    fn a_record_that_cannot_be_replaced_is_removed_and_one_that_stays_is_not_gone_by() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), FROZEN.as_bytes());
        // A folder in its place keeps the new one from being written.
        std::fs::create_dir(at(dir.path()).with_extension("new")).unwrap();
        let (mut past, mut operations) = open(dir.path(), "b");
        assert!(
            past.running.is_some() && operations.len() == 2,
            "it could be removed, so what it said was true"
        );
        assert!(!at(dir.path()).exists());
        distrust(&mut past, &mut operations, Mono::from_millis(100));
        assert!(past.running.is_none() && past.ended.len() == 1 && operations.len() == 1);
        assert_eq!(past.since, Some(Mono::from_millis(100)));
    }

    #[test]
    fn the_first_format_is_read_and_written_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), FROZEN.as_bytes());
        let (past, operations) = open(dir.path(), "b");
        let line = Outcome::Failed(power::Failure::LineFailed(Line::Reset));
        assert_eq!(past.ended, [(OpId::from_bits(1), line)]);
        let running = past.running.unwrap();
        assert_eq!((running.op, running.step), (OpId::from_bits(2), Step::Off));
        assert_eq!((running.action, running.deadline), (HostAction::PowerCycle, Mono::from_millis(50)));
        assert_eq!(past.since, Some(Mono::from_millis(5)));
        assert_eq!(operations.len(), 2);
        assert_eq!(std::fs::read_to_string(at(dir.path())).unwrap(), FROZEN, "stored again at the start");
    }

    #[test]
    fn what_is_damaged_or_of_another_boot_or_version_is_no_record() {
        let whole = FROZEN;
        let cut = (0..whole.len()).step_by(7).map(|length| whole.as_bytes()[..length].to_vec());
        let foreign = [
            whole.replace(r#""version":1"#, r#""version":2"#).into_bytes(),
            whole.replace(r#""boot":"b""#, r#""boot":"a""#).into_bytes(),
            // The clock since the boot has not come so far.
            whole.replace(r#""since_ms":5"#, r#""since_ms":500"#).into_bytes(),
            vec![b' '; 100_000],
            vec![0xff; 64],
        ];
        for bytes in cut.chain(foreign) {
            let dir = tempfile::tempdir().unwrap();
            put(dir.path(), &bytes);
            let (past, operations) = open(dir.path(), "b");
            assert_eq!((past.running, past.ended.len(), operations.len()), (None, 0, 0));
            assert_eq!(past.since, Some(Mono::from_millis(100)), "complete from now on");
            assert_eq!(open(dir.path(), "b").0.since, past.since, "a whole one is in its place");
        }
    }

    #[test]
    fn an_operation_that_is_not_understood_costs_itself() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), FROZEN.replace(r#""step":"off""#, r#""step":"flying""#).as_bytes());
        let (past, operations) = open(dir.path(), "b");
        assert_eq!((past.running, past.ended.len(), operations.len()), (None, 1, 1));
        assert_eq!(past.since, Some(Mono::from_millis(100)), "the record was not complete before");
        assert_eq!(open(dir.path(), "b").0.since, past.since, "nor is it called so later");
    }

    #[test]
    fn a_record_that_cannot_be_replaced_is_none() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), FROZEN.as_bytes());
        let (mut journal, _, operations) = Journal::open(dir.path(), "system", "b", Mono::from_millis(100));
        let new = at(dir.path()).with_extension("new");
        std::fs::create_dir(&new).unwrap();
        let none = |operation| (operation, None);
        journal.store(operations.iter().map(none)).unwrap_err();
        assert!(journal.is_behind());
        let (past, found) = open(dir.path(), "b");
        assert_eq!((past.running, found.len(), past.since), (None, 0, Some(Mono::from_millis(100))));
        std::fs::remove_dir(&new).unwrap();
        journal.store(operations.iter().map(none)).unwrap();
        assert!(!journal.is_behind());
        assert_eq!(open(dir.path(), "b").0.since, Some(Mono::from_millis(5)), "it was complete all the time");
    }

    #[test]
    fn without_a_place_for_the_record_the_daemon_starts() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(crate::NAME), "a file").unwrap();
        let (mut journal, past, _) = Journal::open(dir.path(), "system", "b", Mono::from_millis(100));
        assert_eq!(past.running, None);
        journal.store(std::iter::empty()).unwrap_err();
    }
}
