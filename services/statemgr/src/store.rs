//! What is kept over restarts, and the one writer of it.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

use host_firmware::{NotTaken, Superseded, Wishes};
/// Settings: the message of the contract with only those fields set that users write.
pub(crate) use ipc::Proto as Settings;
use ipc::{Bucket, Json, StateError, Value};
use power::OpId;
use prost::Message;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use units::{Lasting, Mono};

/// An intent: an accepted request that has not ended.
///
/// As all records here: keys that are not known are skipped and keys that are missing have their default, so that the release before and
/// after can read it. [`Json::VERSION`] is raised only when a key changes its meaning.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct IntentRecord {
    pub(crate) op: String,
    /// Number of `schema.v1alpha1.HostAction`: what was asked for.
    pub(crate) asked: i32,
    /// Number of `schema.v1alpha1.HostAction`: what is left to do.
    pub(crate) action: i32,
    pub(crate) origin: OriginRecord,
    pub(crate) attempt: u32,
    /// The host was off when it was asked for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) was_off: bool,
    /// Unix time in milliseconds.
    pub(crate) requested_ms: u64,
    /// Unix time in milliseconds.
    pub(crate) deadline_ms: u64,
    /// The same in that boot's `CLOCK_BOOTTIME`, milliseconds: it holds when the clock is set meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) deadline_up_ms: Option<u64>,
    pub(crate) username: String,
    pub(crate) request_id: String,
    /// The boot it was asked for in. A host is not touched because the controller has booted since.
    pub(crate) boot_id: String,
    /// When powermgr may have got it first: milliseconds of that boot's `CLOCK_BOOTTIME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_applied_ms: Option<u64>,
    /// The operation it took over from, whose end may not have been told yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) superseded: Option<String>,
}

impl IntentRecord {
    /// What is left of its time, milliseconds. `up` is the time since the boot if it is still the boot it was stored in.
    pub(crate) fn left_ms(&self, up: Option<u64>, wall_ms: u64) -> u64 {
        match (self.deadline_up_ms, up) {
            (Some(deadline), Some(up)) => deadline.saturating_sub(up),
            _ => self.deadline_ms.saturating_sub(wall_ms),
        }
    }
}

/// Who wants an operation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OriginRecord {
    PolicyOn,
    PolicyRestore,
    /// A client, and whatever a later release may add.
    #[default]
    #[serde(other)]
    Client,
}

/// What is known of a host beside its intent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct HostRecord {
    /// For the restore policy.
    pub(crate) was_on: bool,
    /// Mains power came back in this boot and the policy has not acted yet.
    pub(crate) restoring: bool,
    pub(crate) power_on_ms: u64,
    /// Unix time in milliseconds.
    pub(crate) reboot_ms: Option<u64>,
    /// The boot of the controller in which that was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) reboot_boot_id: String,
    /// Time since that boot, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reboot_up_ms: Option<u64>,
    /// Number of `schema.v1alpha1.HostRebootCause`.
    pub(crate) reboot_cause: i32,
    pub(crate) reboot_count: u32,
    /// `schema.v1alpha1.HostOperation`, encoded.
    pub(crate) last_operation: Option<Vec<u8>>,
    /// Operations a force-off took over from, with its operation, whose ends may not have been told yet.
    #[serde(rename = "untold", skip_serializing_if = "Vec::is_empty")]
    pub(crate) unreported: Vec<(String, String)>,
}

/// The boots of the BMC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct BootRecord {
    pub(crate) boot_id: String,
    /// The next boot was asked for, or everything was stopped in order: it is no loss of mains power.
    pub(crate) planned: bool,
    pub(crate) count: u32,
    /// Unix time in milliseconds.
    pub(crate) booted_ms: u64,
    /// The last boot was asked for.
    pub(crate) was_planned: bool,
    /// The last boot was the doing of the watchdog.
    pub(crate) was_watchdog: bool,
}

/// What is known of a chassis.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ChassisRecord {
    pub(crate) identify: bool,
    /// When that ends, milliseconds since the boot with this id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until_ms: Option<u64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) boot_id: String,
}

impl ChassisRecord {
    /// What counts of it in this boot, so many milliseconds after its begin: a time that was counted in another has ended with that.
    pub(crate) fn now(self, boot_id: &str, since_boot_ms: u64) -> Self {
        let ended = self.until_ms.is_some_and(|until| self.boot_id != boot_id || until <= since_boot_ms);
        if ended { Self::default() } else { self }
    }
}

/// What is known of the management controller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ControllerRecord {
    /// Power is locked.
    pub(crate) locked: bool,
}

/// What clients wish of a host's firmware, and what became of what they wished before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct FirmwareRecord {
    /// What no boot has taken yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pending: Option<PendingRecord>,
    /// The last boot that took what was wished.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) applied: Option<AppliedRecord>,
    /// What was wished before and is no longer, and a boot may take or have taken all the same: oldest first, bounded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) superseded: Vec<Superseded>,
}

/// What is wished, and who last wished something of that.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PendingRecord {
    pub(crate) wishes: Wishes,
    pub(crate) username: String,
    /// Unix time in milliseconds.
    pub(crate) wished_ms: u64,
}

/// That a boot took what was wished.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct AppliedRecord {
    /// The id of what was wished.
    pub(crate) id: String,
    /// When that was learned, Unix time in milliseconds.
    pub(crate) learned_ms: u64,
    /// What the boot did not take; bounded.
    pub(crate) refusals: Vec<NotTaken>,
}

/// A write, in the order it was asked for.
#[derive(Debug)]
pub(crate) enum Write {
    Intent {
        host: usize,
        op: OpId,
        key: String,
        record: Box<IntentRecord>,
    },
    Forget {
        host: String,
        op: OpId,
        key: String,
    },
    Host {
        host: usize,
        key: String,
        record: Box<HostRecord>,
    },
    /// Whoever waits for it is told whether it is stored.
    Boot {
        key: String,
        record: Box<BootRecord>,
        stored: Option<oneshot::Sender<bool>>,
    },
}

/// A write that ended.
#[derive(Debug)]
pub(crate) enum Written {
    Intent { host: usize, op: OpId, is_stored: bool },
    Host { host: usize },
}

impl Write {
    fn key(&self) -> &str {
        match self {
            Self::Intent { key, .. }
            | Self::Forget { key, .. }
            | Self::Host { key, .. }
            | Self::Boot { key, .. } => key,
        }
    }
}

/// Pause before what could not be stored is tried again: a full store is emptied by people, not within seconds.
const AGAIN: Duration = Duration::from_secs(10);

/// What is to be written, one write of each key.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Write>,
    /// What failed and still matters.
    failed: VecDeque<Write>,
    /// When that is tried again, whatever is written meanwhile.
    again_at: Option<Instant>,
}

impl Queue {
    /// Adds a write, in the place of an older one of the same key: what was asked for before it still comes before it. Nobody waits for that
    /// one any more: an intent is stored anew or forgotten only when it is the same operation, or over. A refused request costs one write of
    /// flash this way while the bus is busy, not two.
    fn push(&mut self, write: Write) {
        self.failed.retain(|older| older.key() != write.key());
        match self.waiting.iter_mut().find(|older| older.key() == write.key()) {
            Some(older) => *older = write,
            None => self.waiting.push_back(write),
        }
    }

    /// It could not be stored: it is tried again, unless something newer of its key is to be written anyway.
    fn push_failed(&mut self, write: Write, now: Instant) {
        if self.waiting.iter().all(|newer| newer.key() != write.key()) {
            self.again_at.get_or_insert(now + AGAIN);
            self.failed.push_back(write);
        }
    }

    /// The next write to be tried.
    fn next(&mut self, now: Instant) -> Option<Write> {
        if self.again_at.is_some_and(|at| at <= now) {
            self.again_at = None;
            self.waiting.extend(self.failed.drain(..));
        }
        self.waiting.pop_front()
    }

    /// When [`Queue::next`] may have more.
    fn due(&self) -> Option<Instant> {
        self.again_at.filter(|_| !self.failed.is_empty())
    }
}

/// The one writer of intents and host records: in order, so that "forget" never overtakes "store".
#[derive(Debug)]
pub(crate) struct Writer {
    writes: mpsc::UnboundedSender<Write>,
    task: JoinHandle<()>,
}

impl Writer {
    pub(crate) fn new(bucket: Bucket, marks: Marks, written: impl Fn(Written) + Send + 'static) -> Self {
        // Bounded by what it is fed while one write is under way; what is overtaken by then is not written at all.
        let (writes, queue) = mpsc::unbounded_channel();
        Self { writes, task: tokio::spawn(write_all(bucket, marks, written, queue)) }
    }

    pub(crate) fn send(&self, write: Write) {
        let _ = self.writes.send(write);
    }

    /// Waits until what was asked for has been tried once, not longer than `within`.
    pub(crate) async fn close(self, within: Duration) {
        drop(self.writes);
        let _ = tokio::time::timeout(within, self.task).await;
    }
}

async fn write_all(
    bucket: Bucket,
    marks: Marks,
    written: impl Fn(Written),
    mut queue: mpsc::UnboundedReceiver<Write>,
) {
    let mut writes = Queue::default();
    let mut told = Told::default();
    let clock = service::Clock::new();
    let mut open = true;
    loop {
        while let Ok(write) = queue.try_recv() {
            writes.push(write);
        }
        let Some(write) = writes.next(Instant::now()) else {
            if !open {
                return;
            }
            let due = writes.due();
            tokio::select! {
                write = queue.recv() => match write {
                    Some(write) => writes.push(write),
                    None => open = false,
                },
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
            continue;
        };
        match write {
            Write::Intent { host, op, key, record } => {
                let result = bucket.put(&key, &Json(*record)).await.map(|_| ());
                told.tell(clock.now(), &key, result.as_ref().err(), writes.failed.is_empty());
                written(Written::Intent { host, op, is_stored: result.is_ok() });
            }
            Write::Forget { host, op, key } => {
                let result = bucket.delete(&key).await;
                told.tell(clock.now(), &key, result.as_ref().err(), writes.failed.is_empty());
                match result {
                    Ok(()) => marks.forgotten(&host),
                    Err(_) => writes.push_failed(Write::Forget { host, op, key }, Instant::now()),
                }
            }
            Write::Host { host, key, record } => {
                let result = bucket.put(&key, &Json((*record).clone())).await;
                told.tell(clock.now(), &key, result.as_ref().err(), writes.failed.is_empty());
                if result.is_err() {
                    writes.push_failed(Write::Host { host, key, record }, Instant::now());
                }
                written(Written::Host { host });
            }
            Write::Boot { key, record, stored } => {
                let result = bucket.put(&key, &Json((*record).clone())).await;
                told.tell(clock.now(), &key, result.as_ref().err(), writes.failed.is_empty());
                if let Some(stored) = stored {
                    let _ = stored.send(result.is_ok());
                }
                if result.is_err() {
                    writes.push_failed(Write::Boot { key, record, stored: None }, Instant::now());
                }
            }
        }
    }
}

/// What the log says of writes that fail: one line a minute at most, whatever is asked for and tried again meanwhile.
#[derive(Debug, Default)]
struct Told(Lasting);

impl Told {
    /// A write has ended; `is_last` says that nothing that failed waits any more.
    fn tell(&mut self, now: Mono, key: &str, error: Option<&StateError>, is_last: bool) {
        match error {
            Some(error) => {
                let Some(said) = self.0.fails(now) else { return };
                tracing::error!(
                    key,
                    error = %service::ErrorChain(error),
                    times = said.times,
                    lasts = %said.lasts,
                    "store refuses writes: requests that need one are refused, other writes are retried"
                );
            }
            None if is_last => {
                let Some(said) = self.0.works(now) else { return };
                tracing::info!(times = said.times, lasted = %said.lasts, "store accepts writes again");
            }
            None => {}
        }
    }
}

/// What must be remembered for this boot even if the store takes nothing: empty files in the run folder, which is in memory, does not outlive the
/// boot, and has room when the store has none.
///
/// They name operations that have ended and may still be stored as open, and hosts whose restore policy has acted. Without them a restart of the daemons
/// would do both again while the store refuses to forget.
#[derive(Debug, Clone)]
pub(crate) struct Marks {
    folder: PathBuf,
    boot: String,
}

/// How many ended operations of a host are marked. More are there only if as many in a row could not be forgotten; only one of the newest
/// can be what is stored.
const ENDED_MAX: usize = 16;

impl Marks {
    pub(crate) fn new(run_dir: &Path, boot_id: &str) -> Self {
        // A run folder on a disk, on a developer's machine, outlives the boot.
        let boot = boot_id.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
        Self { folder: run_dir.join(crate::NAME), boot }
    }

    fn mark(&self, name: &str) {
        let file = self.folder.join(name);
        let marked = std::fs::create_dir_all(&self.folder).and_then(|()| std::fs::File::create(file));
        if let Err(error) = marked {
            tracing::debug!(name, %error, "a mark could not be made");
        }
    }

    fn all(&self, prefix: &str) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return Vec::new() };
        let named = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
        named.map(|entry| entry.path()).collect()
    }

    /// The operation has ended, and is not known to be forgotten.
    pub(crate) fn ended(&self, host: &str, op: OpId) {
        self.mark(&format!("ended.{host}.{op}"));
        let mut marks = self.all(&format!("ended.{host}."));
        if marks.len() > ENDED_MAX {
            marks.sort_by_key(|mark| std::fs::metadata(mark).and_then(|data| data.modified()).ok());
            for old in marks.iter().rev().skip(ENDED_MAX) {
                let _ = std::fs::remove_file(old);
            }
        }
    }

    pub(crate) fn has_ended(&self, host: &str, op: OpId) -> bool {
        self.folder.join(format!("ended.{host}.{op}")).exists()
    }

    /// Nothing is stored as open any more.
    fn forgotten(&self, host: &str) {
        for mark in self.all(&format!("ended.{host}.")) {
            let _ = std::fs::remove_file(mark);
        }
    }

    /// The restore policy of this boot has acted, or somebody has decided before.
    pub(crate) fn decided(&self, host: &str) {
        for old in self.all(&format!("decided.{host}.")) {
            let _ = std::fs::remove_file(old);
        }
        self.mark(&format!("decided.{host}.{}", self.boot));
    }

    /// Power was unlocked in this boot, and the store did not take that.
    pub(crate) fn unlocked(&self) {
        self.mark(&format!("unlocked.{}", self.boot));
    }

    /// It counts again what is stored.
    pub(crate) fn locked(&self) {
        for old in self.all("unlocked.") {
            let _ = std::fs::remove_file(old);
        }
    }

    pub(crate) fn is_unlocked(&self) -> bool {
        self.folder.join(format!("unlocked.{}", self.boot)).exists()
    }

    pub(crate) fn is_decided(&self, host: &str) -> bool {
        self.folder.join(format!("decided.{host}.{}", self.boot)).exists()
    }
}

/// What was found at a key.
#[derive(Debug)]
pub(crate) struct Loaded<T> {
    pub(crate) value: Option<T>,
    /// What the key is at: zero when it is not there, `None` when that is not known.
    pub(crate) revision: Option<u64>,
    /// Why what is there cannot be used.
    pub(crate) damage: Option<Damage>,
}

/// A stored value that cannot be used.
#[derive(Debug, Clone)]
pub(crate) struct Damage {
    pub(crate) key: String,
    pub(crate) why: String,
}

/// The stored record at `key`. One that cannot be read is told of and not lost: it stays until it is written anew.
///
/// # Errors
///
/// The store does not answer at all.
pub(crate) async fn load<T>(bucket: &Bucket, key: &str) -> Result<Loaded<T>, StateError>
where
    T: Serialize + DeserializeOwned,
{
    let Loaded { value, revision, damage } = read::<Json<T>>(bucket, key).await?;
    Ok(Loaded { value: value.map(|value| value.0), revision, damage })
}

/// Whether a bucket lost values whose keys are not known, and when. What was written before that may be an older value that came to light
/// again, and a value that is not there may have been.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loss {
    /// The revision at which it was found; the highest there is when that cannot be told.
    at: Option<u64>,
}

impl Loss {
    /// Asks the store.
    ///
    /// # Errors
    ///
    /// The store does not answer at all.
    pub(crate) async fn of(bucket: &Bucket) -> Result<Self, StateError> {
        Ok(Self { at: bucket.lost_at().await? })
    }

    /// Whether what was found at a key may not be the last that was stored there.
    pub(crate) fn touches<T>(self, found: &Loaded<T>) -> bool {
        self.at.is_some_and(|at| found.revision.is_none_or(|revision| revision < at))
    }

    /// What is told of such a value.
    pub(crate) fn damage<T>(self, key: &str, found: &Loaded<T>) -> Option<Damage> {
        let why = "values of this store were lost: what is there may be older than what was stored last";
        (self.touches(found) && found.damage.is_none())
            .then(|| Damage { key: key.to_owned(), why: why.to_owned() })
    }
}

/// As [`load`], for settings.
pub(crate) async fn load_settings<M>(bucket: &Bucket, key: &str) -> Result<Loaded<M>, StateError>
where
    M: Message + Default,
{
    let Loaded { value, revision, damage } = read::<Settings<M>>(bucket, key).await?;
    Ok(Loaded { value: value.map(|value| value.0), revision, damage })
}

/// One damaged value must not keep the daemon that switches machines off from starting. A store that is busy, slow or away has damaged
/// nothing: what it holds is not known yet, and nothing is decided on it.
async fn read<V: Value>(bucket: &Bucket, key: &str) -> Result<Loaded<V>, StateError> {
    loaded(key, ipc::patiently(key, || bucket.get::<V>(key)).await)
}

fn loaded<V>(key: &str, read: Result<Option<ipc::Entry<V>>, StateError>) -> Result<Loaded<V>, StateError> {
    match read {
        Ok(Some(entry)) => {
            Ok(Loaded { value: Some(entry.value), revision: Some(entry.revision), damage: None })
        }
        Ok(None) => Ok(Loaded { value: None, revision: Some(0), damage: None }),
        Err(error @ (StateError::Unreadable { .. } | StateError::NotRead { .. })) => {
            let why = service::ErrorChain(&error).to_string();
            tracing::error!(key, error = why, "stored value ignored");
            Ok(Loaded { value: None, revision: None, damage: Some(Damage { key: key.to_owned(), why }) })
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_its_bytes() {
        let record = HostRecord {
            was_on: true,
            power_on_ms: 5,
            last_operation: Some(vec![1, 2]),
            ..HostRecord::default()
        };
        let bytes = Json(record.clone()).encode();
        assert_eq!(Json::<HostRecord>::decode(1, &bytes).expect("readable").0, record);
    }

    #[test]
    fn only_the_newest_write_of_a_key_waits() {
        let intent = |key: &str, op: u128| {
            let record = IntentRecord::default();
            let (op, key) = (OpId::from_bits(op), key.to_owned());
            Write::Intent { host: 0, op, key, record: Box::new(record) }
        };
        let mut queue = Queue::default();
        for n in 0..1_000 {
            queue.push(intent("a", n));
            let (host, op) = ("system".to_owned(), OpId::from_bits(n));
            queue.push(Write::Forget { host, op, key: "a".to_owned() });
            queue.push(intent("b", n));
        }
        queue.push(intent("a", 7));
        let kept: Vec<_> = queue
            .waiting
            .iter()
            .filter_map(|write| match write {
                Write::Intent { op, key, .. } => Some((key.as_str(), *op)),
                _ => None,
            })
            .collect();
        assert_eq!(kept, [("a", OpId::from_bits(7)), ("b", OpId::from_bits(999))], "in the order of asking");
        assert_eq!(queue.waiting.len(), 2);
    }

    fn boot(planned: bool) -> Write {
        let record = BootRecord { planned, ..BootRecord::default() };
        Write::Boot { key: "bmc.boot".to_owned(), record: Box::new(record), stored: None }
    }

    #[test]
    fn what_failed_is_tried_again_although_more_keeps_coming() {
        let (mut queue, begin) = (Queue::default(), Instant::now());
        queue.push_failed(boot(false), begin);
        let mut tried = Vec::new();
        for second in 0..30 {
            let now = begin + Duration::from_secs(second);
            let (host, op) = ("system".to_owned(), OpId::from_bits(second.into()));
            queue.push(Write::Forget { host, op, key: "a".to_owned() });
            while let Some(write) = queue.next(now) {
                if write.key() == "bmc.boot" {
                    tried.push(second);
                    queue.push_failed(write, now);
                }
            }
        }
        assert_eq!(tried, [10, 20]);
        assert_eq!(queue.due(), Some(begin + Duration::from_secs(30)));
    }

    #[test]
    fn what_failed_does_not_come_back_over_what_is_newer() {
        let (mut queue, begin) = (Queue::default(), Instant::now());
        let planned = |write: Option<Write>| match write {
            Some(Write::Boot { record, .. }) => Some(record.planned),
            _ => None,
        };
        queue.push_failed(boot(false), begin);
        queue.push(boot(true));
        assert_eq!(planned(queue.next(begin)), Some(true));
        assert_eq!(planned(queue.next(begin + AGAIN)), None);
        // It failed while the newer one was put in.
        queue.push(boot(true));
        queue.push_failed(boot(false), begin);
        assert_eq!(planned(queue.next(begin)), Some(true));
        assert_eq!(planned(queue.next(begin + AGAIN * 2)), None);
    }

    #[test]
    fn what_the_store_cannot_read_is_damage_and_a_store_that_does_not_answer_is_none() {
        let not_read =
            StateError::NotRead { bucket: "state".into(), key: "k".into(), why: "Message Damaged".into() };
        let found = loaded::<()>("k", Err(not_read)).expect("an answer");
        assert_eq!(found.damage.expect("damaged").key, "k");
        let source = Box::new(std::io::Error::from(std::io::ErrorKind::TimedOut));
        let away =
            StateError::Unavailable { operation: "reading", bucket: "state".into(), key: "k".into(), source };
        assert!(loaded::<()>("k", Err(away)).is_err(), "nothing is decided on it");
    }

    #[test]
    fn a_store_that_stays_full_is_told_once_a_minute_whatever_is_asked_for() {
        let lines = busd::testing::Lines::listen();
        let full = |key: &str| StateError::Conflict { bucket: "state".to_owned(), key: key.to_owned() };
        let mut told = Told::default();
        // An operation every 4 s, and what is tried again every 10 s.
        for second in 0..200 {
            let now = Mono::from_millis(second * 1_000);
            for key in ["intent", "record"].into_iter().filter(|_| second % 4 == 0) {
                told.tell(now, key, Some(&full(key)), false);
            }
            if second % 10 == 0 {
                told.tell(now, "forget", Some(&full("forget")), false);
            }
        }
        assert_eq!(lines.count(tracing::Level::INFO, ""), 4);
        told.tell(Mono::from_millis(200_000), "record", None, false);
        assert_eq!(lines.count(tracing::Level::INFO, ""), 4, "there is more that waits");
        told.tell(Mono::from_millis(200_000), "forget", None, true);
        assert_eq!(lines.count(tracing::Level::INFO, "store accepts writes again"), 1);
        assert_eq!(lines.count(tracing::Level::INFO, ""), 4 + 1);
    }

    /// What is in the field: written by the first release, as it is written now, and by one to come.
    #[test]
    fn records_are_read_as_they_were_written_and_as_they_may_be_written() {
        fn frozen<T>(value: &T, now: &str, others: &[&str])
        where
            T: Serialize + DeserializeOwned + Clone + PartialEq + std::fmt::Debug,
        {
            assert_eq!(String::from_utf8(Json(value.clone()).encode()).expect("JSON"), now);
            for text in others.iter().chain([&now]) {
                assert_eq!(&Json::<T>::decode(1, text.as_bytes()).expect(text).0, value, "{text}");
            }
        }
        let intent = IntentRecord {
            op: "00".into(),
            asked: 6,
            action: 1,
            attempt: 2,
            requested_ms: 3,
            deadline_ms: 4,
            username: "alice".into(),
            request_id: "r".into(),
            ..IntentRecord::default()
        };
        frozen(
            &intent,
            r#"{"op":"00","asked":6,"action":1,"origin":"client","attempt":2,"requested_ms":3,"deadline_ms":4,"username":"alice","request_id":"r","boot_id":""}"#,
            &[
                r#"{"op":"00","asked":6,"action":1,"origin":"client","attempt":2,"requested_ms":3,"deadline_ms":4,"username":"alice","request_id":"r"}"#,
                r#"{"op":"00","asked":6,"action":1,"origin":"of-a-later-release","attempt":2,"requested_ms":3,"deadline_ms":4,"username":"alice","request_id":"r","more":{"x":[1]}}"#,
            ],
        );
        let record = HostRecord { was_on: true, power_on_ms: 5, reboot_count: 1, ..HostRecord::default() };
        frozen(
            &record,
            r#"{"was_on":true,"restoring":false,"power_on_ms":5,"reboot_ms":null,"reboot_cause":0,"reboot_count":1,"last_operation":null}"#,
            &[
                r#"{"was_on":true,"power_on_ms":5,"reboot_ms":null,"reboot_cause":0,"reboot_count":1,"last_operation":null}"#,
                r#"{"was_on":true,"restoring":false,"power_on_ms":5,"reboot_count":1,"more":null}"#,
            ],
        );
        let boot = BootRecord {
            boot_id: "b".into(),
            planned: true,
            count: 2,
            booted_ms: 3,
            ..BootRecord::default()
        };
        frozen(
            &boot,
            r#"{"boot_id":"b","planned":true,"count":2,"booted_ms":3,"was_planned":false,"was_watchdog":false}"#,
            &[
                r#"{"boot_id":"b","planned":true,"count":2,"booted_ms":3,"was_planned":false}"#,
                r#"{"boot_id":"b","planned":true,"count":2,"booted_ms":3,"was_planned":false,"more":1}"#,
            ],
        );
        frozen(
            &ChassisRecord { identify: true, ..ChassisRecord::default() },
            r#"{"identify":true}"#,
            &[r#"{"identify":true,"more":1}"#],
        );
        frozen(
            &ChassisRecord { identify: true, until_ms: Some(7), boot_id: "b".into() },
            r#"{"identify":true,"until_ms":7,"boot_id":"b"}"#,
            &[],
        );
        frozen(&ControllerRecord { locked: true }, r#"{"locked":true}"#, &[r#"{"locked":true,"more":1}"#]);
        frozen(&FirmwareRecord::default(), "{}", &[r#"{"more":1}"#, r#"{"pending":null}"#]);
        let firmware = FirmwareRecord {
            pending: Some(PendingRecord {
                wishes: Wishes {
                    id: "a".into(),
                    attributes: [("Smt".into(), host_firmware::Value::Boolean(false))].into(),
                    ..Wishes::default()
                },
                username: "alice".into(),
                wished_ms: 3,
            }),
            applied: Some(AppliedRecord {
                id: "b".into(),
                learned_ms: 2,
                refusals: vec![NotTaken { what: "Retries".into(), why: "no".into() }],
            }),
            superseded: Vec::new(),
        };
        frozen(
            &firmware,
            r#"{"pending":{"wishes":{"id":"a","to_defaults":false,"attributes":{"Smt":false},"boot_order":null,"boot_options":{},"secure_boot":null,"reset_keys":null},"username":"alice","wished_ms":3},"applied":{"id":"b","learned_ms":2,"refusals":[{"what":"Retries","why":"no"}]}}"#,
            &[
                r#"{"pending":{"wishes":{"id":"a","attributes":{"Smt":false},"more":[]},"username":"alice","wished_ms":3},"applied":{"id":"b","learned_ms":2,"refusals":[{"what":"Retries","why":"no"}],"more":1}}"#,
            ],
        );
        let earlier = Wishes { id: "c".into(), to_defaults: true, ..Wishes::default() };
        let superseded = |reduced| vec![Superseded { wishes: earlier.clone(), wished: 1, reduced }];
        let firmware = FirmwareRecord { superseded: superseded(false), ..FirmwareRecord::default() };
        frozen(
            &firmware,
            r#"{"superseded":[{"wishes":{"id":"c","to_defaults":true,"attributes":{},"boot_order":null,"boot_options":{},"secure_boot":null,"reset_keys":null},"wished":1}]}"#,
            &[r#"{"superseded":[{"wishes":{"id":"c","to_defaults":true},"wished":1,"more":1}]}"#],
        );
        let firmware = FirmwareRecord { superseded: superseded(true), ..FirmwareRecord::default() };
        frozen(
            &firmware,
            r#"{"superseded":[{"wishes":{"id":"c","to_defaults":true,"attributes":{},"boot_order":null,"boot_options":{},"secure_boot":null,"reset_keys":null},"wished":1,"reduced":true}]}"#,
            &[],
        );
    }

    #[test]
    fn identify_ends_at_its_time_or_with_its_boot() {
        let on = ChassisRecord { identify: true, ..ChassisRecord::default() };
        assert_eq!(on.clone().now("other", u64::MAX), on);
        let timed = ChassisRecord { until_ms: Some(1_000), boot_id: "b".into(), ..on };
        assert_eq!(timed.clone().now("b", 999), timed);
        assert_eq!(timed.clone().now("b", 1_000), ChassisRecord::default());
        assert_eq!(timed.now("c", 0), ChassisRecord::default());
    }

    #[test]
    fn an_operation_is_marked_as_ended_until_the_store_has_forgotten_it() {
        let folder = std::env::temp_dir().join(format!("statemgr-marks-{}", std::process::id()));
        let marks = Marks::new(&folder, "a/../b");
        let (one, two) = (OpId::from_bits(1), OpId::from_bits(2));
        marks.ended("system", one);
        marks.ended("system1", two);
        assert!(marks.has_ended("system", one) && !marks.has_ended("system", two));
        marks.forgotten("system");
        assert!(!marks.has_ended("system", one) && marks.has_ended("system1", two));
        for n in 0..100 {
            marks.ended("system", OpId::from_bits(n));
        }
        assert!(
            marks.all("ended.system.").len() <= ENDED_MAX && marks.has_ended("system", OpId::from_bits(99))
        );
        marks.decided("system");
        assert!(marks.is_decided("system") && !marks.is_decided("system1"));
        let next = Marks::new(&folder, "c");
        assert!(!next.is_decided("system"), "of another boot");
        std::fs::remove_dir_all(&folder).expect("removed");
        let nowhere = Marks::new(Path::new("/proc/nowhere"), "a");
        nowhere.ended("system", one);
        assert!(!nowhere.has_ended("system", one));
    }

    #[test]
    fn a_deadline_holds_when_the_clock_is_set() {
        let record =
            IntentRecord { deadline_ms: 9_000, deadline_up_ms: Some(700), ..IntentRecord::default() };
        assert_eq!(record.left_ms(Some(500), 1_700_000_000_000), 200);
        assert_eq!(record.left_ms(Some(800), 0), 0);
        assert_eq!(record.left_ms(None, 8_500), 500, "of another boot");
        let older = IntentRecord { deadline_up_ms: None, ..record };
        assert_eq!(older.left_ms(Some(500), 8_500), 500);
    }

    #[test]
    fn a_record_of_another_version_is_not_guessed_at() {
        let error = Json::<HostRecord>::decode(2, b"{}").expect_err("unknown");
        assert_eq!(error, ipc::ValueError::Version { found: 2, known: 1 });
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(256))]
        #[test]
        fn bytes_that_are_no_record_are_an_error(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64)) {
            let _ = Json::<IntentRecord>::decode(1, &bytes);
            let _ = Settings::<schema::v1alpha1::Host>::decode(1, &bytes);
        }
    }
}
