//! What clients add to the SEL, what of the SEL alerts whom, and tests of passwords.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipc::{Bucket, CallContext, Client, Code, Json, StateError};
use ipmi::pet::Trap;
use ipmi::{Action, Completion, Suite};
use schema::rpc::auth_service::VERIFY_IPMI;
use schema::v1alpha1 as v1;
use serde::{Deserialize, Serialize};
use tokio::net::UdpSocket;
use units::{Allowance, Millis};

use super::{Done, LOGIN, Shell, local_address, unix};
use crate::commands;
use crate::sel::Record;
use crate::sel_log::{self, Looked, Read};
use crate::settings::Settings;

/// The key of how far the log was filtered, in the bucket of ipmisrv.
const KEY: &str = "filtered";
/// Most records that are filtered of those that came while nobody did.
const MISSED_MAX: usize = 64;
/// How often it is kept on flash how far the log was filtered.
const KEPT_EVERY: Millis = Millis::from_secs(60);

/// How far the log was filtered: what came since an earlier process ended alerts as well.
#[derive(Debug)]
pub(super) struct Progress {
    /// The last event of each stream that was looked at: what comes by the other one may be older.
    pub(super) last: Looked,
    /// Those that were read and not looked at, with the stream each came by.
    unseen: VecDeque<(usize, u64)>,
    /// The newest event of the log, of any kind, when all it had was read.
    newest: u64,
    /// What an earlier process has looked at does not count.
    is_forgotten: bool,
    /// It is to be kept on flash.
    is_due: bool,
    writes: Allowance,
}

/// It on flash.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Stored {
    Each(Looked),
    /// One number for all, as the release before has it.
    All(u64),
}

impl Stored {
    fn looked(self) -> Looked {
        match self {
            Self::Each(each) => each,
            Self::All(last) => Looked::default().map(|_: Option<u64>| Some(last)),
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            last: Looked::default(),
            unseen: VecDeque::new(),
            newest: 0,
            is_forgotten: false,
            is_due: false,
            writes: Allowance::new(1, 1, KEPT_EVERY),
        }
    }
}

impl Progress {
    /// An event was read.
    fn came(&mut self, stream: usize, sequence: u64) {
        if self.unseen.len() >= usize::from(sel_log::EVENTS) {
            self.unseen.pop_front();
        }
        self.unseen.push_back((stream, sequence));
    }

    /// The log is another one: what it has when it was read is old.
    fn begins_anew(&mut self) {
        self.unseen.clear();
        self.last = Looked::default();
    }

    /// Those that are to be looked at now, oldest first: what came behind the last one of its stream. The first time, where `is_new` is false, all the log
    /// has was read: where nobody knows how far it was looked at, or that is beyond all it has, it is another log, and none of what it has is new.
    fn take(&mut self, is_new: bool) -> Vec<u64> {
        let unseen = std::mem::take(&mut self.unseen);
        if !is_new {
            self.last = self.last.map(|last| last.filter(|last| *last <= self.newest).or(Some(self.newest)));
        }
        let mut found: Vec<u64> = Vec::new();
        for (stream, sequence) in unseen {
            if let Some(last) = self.last.get_mut(stream)
                && last.is_none_or(|last| sequence > last)
            {
                *last = Some(sequence);
                found.push(sequence);
            }
        }
        found.sort_unstable();
        found.drain(..found.len().saturating_sub(MISSED_MAX));
        found
    }

    /// How far it was, as the flash has it.
    ///
    /// # Errors
    /// The store does not answer.
    pub(super) async fn load(bucket: &Bucket) -> Result<Looked, StateError> {
        match bucket.get::<Json<Stored>>(KEY).await {
            Ok(entry) => Ok(entry.map(|entry| entry.value.0.looked()).unwrap_or_default()),
            // What came meanwhile is not known then.
            Err(StateError::Unreadable { .. } | StateError::NotRead { .. }) => Ok(Looked::default()),
            Err(error) => Err(error),
        }
    }

    /// Nobody is alerted of what came while IPMI was off.
    pub(super) fn forget(&mut self) {
        self.last = Looked::default();
        self.is_forgotten = true;
    }

    /// As the flash has it, where this process has not looked yet.
    pub(super) fn loaded(&mut self, stored: Looked) {
        for (last, stored) in self.last.iter_mut().zip(stored).filter(|_| !self.is_forgotten) {
            *last = last.or(stored);
        }
    }

    /// It is to be kept.
    pub(super) fn is_due(&mut self) {
        self.is_due = true;
    }
}

/// Nobody looks at the log while IPMI is off, and nobody is alerted later of what comes then, whoever switches it on: by a call, or by another start.
pub(super) async fn erase(bucket: Bucket) {
    let erased = async {
        if let Some(revision) = bucket.revision_of(KEY).await? {
            bucket.delete_at(KEY, revision).await?;
        }
        Ok::<_, StateError>(())
    };
    if let Err(error) = erased.await {
        tracing::warn!(%error, "cannot erase how far the log was filtered: what comes while IPMI is off may alert later");
    }
}

/// Whether this event is the last of those on the SEL that were filtered: what is read behind a later one of the other stream is not.
fn is_last(records: &[Record], filtered: u16, sequence: u64) -> bool {
    let last = records.iter().find(|record| record.id == filtered);
    last.is_none_or(|last| last.sequence <= sequence)
}

impl Shell {
    /// Keeps how far the log was filtered, now and then.
    pub(super) fn keep_progress(&mut self) {
        let (Some(bucket), true) = (&self.bucket, self.progress.is_due) else { return };
        let last = self.progress.last;
        if !self.progress.writes.take(self.clock.now()) {
            return;
        }
        self.progress.is_due = false;
        let bucket = bucket.clone();
        self.calls.spawn(async move {
            if let Err(error) = bucket.commit(KEY, &Json(Stored::Each(last)), None).await {
                tracing::warn!(%error, "cannot keep how far the log was filtered: alerts may come twice");
            }
            Done::Told
        });
    }

    /// What clients set here is this.
    pub(super) fn set(&mut self, settings: Settings) {
        let mut forbidden = settings.forbidden();
        // Checked at the start.
        forbidden.extend(self.config.forbidden().unwrap_or_default());
        self.server.forbid(forbidden);
        self.memory.settings = settings;
    }

    /// Something of the log was read: it may alert somebody, and a client may wait for its number.
    pub(super) fn read(&mut self, read: Read, out: &mut Vec<Action>) {
        let was_known = self.sel.is_known();
        match &read {
            Read::Entry(entry) => self.progress.came(sel_log::stream(&entry.subject), entry.sequence),
            // All there is follows.
            Read::Anew => self.progress.begins_anew(),
            Read::Whole(newest) => self.progress.newest = *newest,
        }
        self.sel.take(read);
        self.filter(was_known, out);
    }

    /// Looks at what was read, once it is known what the SEL has and what clients set.
    pub(super) fn filter(&mut self, is_new: bool, out: &mut Vec<Action>) {
        if !self.sel.is_known() {
            return;
        }
        // Nor who is to be alerted, until it is known whether IPMI is on: what was read waits, but for the numbers of records.
        let Some(is_on) = self.is_on else { return self.number_added(out) };
        let tables = self.memory.settings.tables();
        let found = self.progress.take(is_new);
        if found.is_empty() || (self.adding.is_empty() && tables.control == 0 && !self.host.is_there()) {
            return;
        }
        self.refresh_sel();
        self.number_added(out);
        for sequence in found {
            let record = self.sel.records.iter().find(|record| record.sequence == sequence);
            let Some((id, bytes)) = record.map(|record| (record.id, record.bytes)) else { continue };
            if is_new {
                self.host.tell(&bytes);
            }
            if is_last(&self.sel.records, self.memory.filtered, sequence) {
                self.memory.filtered = id;
            }
            self.progress.is_due |= tables.control != 0;
            // Alerts are IPMI over LAN as well.
            if !is_on {
                continue;
            }
            for alert in tables.alerts(&bytes) {
                let Some(address) = self.memory.settings.destination(alert.destination) else { continue };
                let severity = if alert.severity == 0 { severity(&bytes) } else { alert.severity };
                let sent = self.trap(address, severity, bytes);
                self.calls.spawn(async move {
                    sent.await;
                    Done::Told
                });
            }
        }
    }

    fn refresh_sel(&mut self) {
        let snapshot = self.model.snapshot();
        self.repository.refresh(&snapshot, unix(self.clock.wall()));
        self.sel.refresh(&self.repository);
    }

    /// Answers those whose records are in the log by now.
    pub(super) fn number_added(&mut self, out: &mut Vec<Action>) {
        if self.adding.is_empty() {
            return;
        }
        self.refresh_sel();
        let found = |event: &str| self.sel.records.iter().find(|record| record.event == event);
        let (done, waiting) = std::mem::take(&mut self.adding)
            .into_iter()
            .map(|(event, session, id)| (found(&event).map(|record| record.id), event, session, id))
            .partition::<Vec<_>, _>(|(number, ..)| number.is_some());
        self.adding = waiting.into_iter().map(|(_, event, session, id)| (event, session, id)).collect();
        for (number, _, session, id) in done {
            let number = number.unwrap_or_default().to_le_bytes().to_vec();
            self.done(Done::Replied(session, id, Ok(number)), out);
        }
    }

    /// Sends a trap of this record; whether it went.
    pub(super) fn trap(
        &mut self,
        address: Ipv4Addr,
        severity: u8,
        record: [u8; ipmi::sel::LENGTH],
    ) -> impl Future<Output = bool> + use<> {
        self.traps = after(self.traps);
        let (sequence, guid) = (self.traps, self.guid);
        let community = self.memory.settings.community.clone();
        let ticks = u32::try_from(self.clock.now().as_millis() / 10 % u64::from(u32::MAX)).unwrap_or(0);
        let seconds = ipmi::pet::seconds(unix(self.clock.wall()));
        let to = SocketAddr::from((address, self.config.trap_port));
        async move {
            let agent = match local_address(to).await {
                Some(IpAddr::V4(agent)) => agent,
                _ => Ipv4Addr::UNSPECIFIED,
            };
            let trap = Trap {
                community: &community,
                agent,
                guid,
                sequence,
                ticks,
                seconds,
                severity,
                record: &record,
            };
            let sent = async {
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
                socket.send_to(&trap.encode(), to).await
            };
            let sent = sent.await;
            if let Err(error) = &sent {
                tracing::warn!(%error, %to, "cannot send trap");
            }
            sent.is_ok()
        }
    }
}

/// The number before that of the first trap. Receivers take the same number once more for the same trap, so each process begins somewhere else.
pub(super) fn first_trap() -> u16 {
    let mut bytes = [0; 2];
    // Without any it is the first of all.
    let _ = getrandom::fill(&mut bytes);
    u16::from_le_bytes(bytes)
}

/// The number of the next trap: 0 is that of none (PET 1.0, table 3).
fn after(number: u16) -> u16 {
    number.checked_add(1).unwrap_or(1)
}

/// How serious a record is, as traps say it: what its filter does not say.
pub(super) fn severity(record: &[u8; ipmi::sel::LENGTH]) -> u8 {
    let [_, _, kind, _, _, _, _, _, _, _, _, _, class, first, ..] = *record;
    // Thresholds that are not recoverable (table 42-2), as they are crossed.
    if (kind, class) == (0x02, 0x01) && matches!(first & 0x0f, 4 | 5 | 10 | 11) {
        return 0x20;
    }
    match crate::platform_event::added(record).0 {
        v1::EventSeverity::Critical => 0x10,
        v1::EventSeverity::Warning => 0x08,
        _ => 0x02,
    }
}

/// What a client is told of a password that was not found right (§22.30).
pub(super) fn untested(code: Code) -> Completion {
    // It is wrong.
    if code == Code::Unauthenticated { Completion(0x80) } else { commands::completion(code) }
}

/// Whether this is an account's password: a login that opens nothing. One that is wrong counts as any other.
pub(super) async fn test(bus: &Client, username: String, password: &[u8], from: IpAddr) -> Result<(), Code> {
    let mut data = vec![0; 16];
    getrandom::fill(&mut data).map_err(|_| Code::Internal)?;
    let code = Suite::Sha256.mac(password, &data).to_vec();
    let request = v1::VerifyIpmiRequest {
        username,
        cipher_suite: Suite::Sha256.id().into(),
        data,
        code,
        session: Vec::new(),
        address: from.to_canonical().to_string(),
        only_test: true,
    };
    let context = CallContext::new().with_timeout(LOGIN).with_patience(LOGIN);
    bus.call(VERIFY_IPMI, &request, &context).await.map(drop).map_err(|status| status.code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn come(progress: &mut Progress, sequences: std::ops::RangeInclusive<u64>, is_new: bool) -> Vec<u64> {
        progress.newest = *sequences.end();
        sequences.for_each(|sequence| progress.came(0, sequence));
        progress.take(is_new)
    }

    #[test]
    fn each_event_is_looked_at_once_also_those_that_came_while_nobody_did() {
        let mut progress = Progress::default();
        assert_eq!(come(&mut progress, 1..=9, false), [0; 0], "before the first time");
        assert_eq!(come(&mut progress, 10..=10, true), [10]);
        // The log is read once more, by this process or by the next one.
        assert_eq!(come(&mut progress, 2..=12, false), [11, 12]);
        let mut next = Progress { last: progress.last, newest: 12, ..Progress::default() };
        assert_eq!(come(&mut next, 3..=12, false), [0; 0]);
        assert_eq!(come(&mut next, 3..=200, false), (137..=200).collect::<Vec<_>>(), "the newest of them");
        // A log that begins anew.
        assert_eq!(come(&mut next, 1..=3, false), [0; 0]);
        assert_eq!(come(&mut next, 4..=4, true), [4]);
        assert_eq!(next.take(true), [0; 0]);
        // The first event there ever is.
        assert_eq!(come(&mut Progress::default(), 1..=1, true), [1]);
    }

    #[test]
    fn an_event_that_is_read_behind_a_later_one_of_the_other_stream_is_looked_at() {
        let mut progress = Progress::default();
        assert_eq!(progress.take(false), [0; 0]);
        progress.came(1, 101);
        assert_eq!(progress.take(true), [101]);
        progress.came(0, 100);
        assert_eq!(progress.take(true), [100]);
        // Both are read once more, with what came while nobody looked.
        for (stream, sequence) in [(1, 101), (1, 104), (0, 100), (0, 102), (0, 103)] {
            progress.came(stream, sequence);
        }
        assert_eq!(progress.take(true), [102, 103, 104]);
        // The next process goes on with it, also where the log says one stream before the other.
        let mut next = Progress { newest: 110, ..Progress::default() };
        next.loaded(progress.last);
        for (stream, sequence) in [(1, 104), (1, 107), (0, 103), (0, 106)] {
            next.came(stream, sequence);
        }
        assert_eq!(next.take(false), [106, 107]);
    }

    #[test]
    fn the_last_record_that_was_filtered_is_the_newest_of_them() {
        let record = |id, sequence| Record {
            id,
            seconds: 0,
            event: String::new(),
            sequence,
            bytes: [0; ipmi::sel::LENGTH],
        };
        let records = [record(100, 100), record(101, 101)];
        assert!(is_last(&records, 0, 101), "the first one");
        assert!(!is_last(&records, 101, 100), "of the other stream");
        assert!(is_last(&records, 100, 101));
        assert!(is_last(&records, 7, 100), "it is not on the SEL any more");
    }

    #[test]
    fn a_trap_is_as_serious_as_its_threshold_and_no_two_have_the_same_number() {
        for (class, first, expected) in [
            (1, 0x57, 0x08),
            (1, 0x59, 0x10),
            (1, 0x5b, 0x20),
            (1, 0x54, 0x20),
            (0x81, 0x5b, 0x02),
            (0x6f, 4, 0x02),
        ] {
            let record = [1, 0, 2, 0, 0, 0, 0, 0x20, 0, 4, 1, 0x30, class, first, 0, 0];
            assert_eq!(severity(&record), expected, "{class:02x} {first:02x}");
        }
        assert_eq!((after(0), after(7), after(u16::MAX)), (1, 8, 1));
    }

    #[test]
    fn a_wrong_password_is_told_from_one_that_nobody_could_test() {
        assert_eq!(untested(Code::Unauthenticated), Completion(0x80));
        assert_eq!(untested(Code::Unavailable), Completion::BUSY);
        assert_eq!(untested(Code::Internal), Completion::UNSPECIFIED);
    }

    #[test]
    fn the_first_event_of_a_log_that_begins_anew_is_looked_at() {
        let mut progress = Progress { last: [Some(500), Some(400)], ..Progress::default() };
        progress.came(0, 501);
        progress.begins_anew();
        // It has one of another kind.
        progress.newest = 1;
        assert_eq!(progress.take(false), [0; 0], "it has none");
        progress.came(0, 2);
        assert_eq!(progress.take(true), [2]);
        // Of another log as well, that began while nobody was there.
        let mut next = Progress { last: [Some(500), Some(400)], ..Progress::default() };
        assert_eq!(next.take(false), [0; 0]);
        next.came(1, 1);
        assert_eq!(next.take(true), [1]);
    }

    #[test]
    fn what_the_release_before_has_kept_is_read() {
        let looked = |text: &str| serde_json::from_str::<Stored>(text).unwrap().looked();
        assert_eq!(looked("7"), [Some(7), Some(7)]);
        assert_eq!(looked("[7,null]"), [Some(7), None]);
        assert_eq!(serde_json::to_string(&Stored::Each([Some(7), None])).unwrap(), "[7,null]");
    }
}
