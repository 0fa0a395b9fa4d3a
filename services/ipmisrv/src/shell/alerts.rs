//! What clients add to the SEL, what of the SEL alerts whom, and tests of passwords.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipc::{Bucket, CallContext, Client, Code, Json, StateError};
use ipmi::pet::Trap;
use ipmi::{Action, Completion, Suite};
use schema::rpc::auth_service::VERIFY_IPMI;
use schema::v1alpha1 as v1;
use tokio::net::UdpSocket;
use units::{Allowance, Millis};

use super::{Done, LOGIN, Shell, local_address, unix};
use crate::commands;
use crate::sel_log::{self, Read};
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
    /// The number of the last event that was looked at; `None` before any.
    pub(super) last: Option<u64>,
    /// Those that were read and not looked at, oldest first.
    unseen: VecDeque<u64>,
    /// It is to be kept on flash.
    is_due: bool,
    writes: Allowance,
}

impl Default for Progress {
    fn default() -> Self {
        Self { last: None, unseen: VecDeque::new(), is_due: false, writes: Allowance::new(1, 1, KEPT_EVERY) }
    }
}

impl Progress {
    /// An event was read.
    fn came(&mut self, sequence: u64) {
        if self.unseen.len() >= usize::from(sel_log::EVENTS) {
            self.unseen.pop_front();
        }
        self.unseen.push_back(sequence);
    }

    /// Those that are to be looked at now: what came behind the last one. Without that, and where the log begins anew, none of those that are old.
    fn take(&mut self, is_new: bool) -> Vec<u64> {
        let unseen = std::mem::take(&mut self.unseen);
        let newest = unseen.back().copied();
        let last = if is_new { newest.map(|newest| newest.saturating_sub(1)) } else { newest };
        let last = self.last.or(last);
        if let Some(newest) = newest {
            self.last = Some(newest);
        }
        let mut found: Vec<u64> = unseen.into_iter().filter(|sequence| Some(*sequence) > last).collect();
        found.drain(..found.len().saturating_sub(MISSED_MAX));
        found
    }

    /// How far it was, as the flash has it.
    ///
    /// # Errors
    /// The store does not answer.
    pub(super) async fn load(bucket: &Bucket) -> Result<Option<u64>, StateError> {
        match bucket.get::<Json<u64>>(KEY).await {
            Ok(entry) => Ok(entry.map(|entry| entry.value.0)),
            // What came meanwhile is not known then.
            Err(StateError::Unreadable { .. } | StateError::NotRead { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// It is to be kept.
    pub(super) fn is_due(&mut self) {
        self.is_due = true;
    }
}

impl Shell {
    /// Keeps how far the log was filtered, now and then.
    pub(super) fn keep_progress(&mut self) {
        let (Some(bucket), Some(last), true) = (&self.bucket, self.progress.last, self.progress.is_due)
        else {
            return;
        };
        if !self.progress.writes.take(self.clock.now()) {
            return;
        }
        self.progress.is_due = false;
        let bucket = bucket.clone();
        self.calls.spawn(async move {
            if let Err(error) = bucket.commit(KEY, &Json(last), None).await {
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
            Read::Entry(entry) => self.progress.came(entry.sequence),
            // All there is follows.
            Read::Anew => self.progress.unseen.clear(),
            Read::Whole => {}
        }
        self.sel.take(read);
        self.filter(was_known, out);
    }

    /// Looks at what was read, once it is known what the SEL has and what clients set.
    pub(super) fn filter(&mut self, is_new: bool, out: &mut Vec<Action>) {
        if !self.sel.is_known() {
            return;
        }
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
            self.memory.filtered = id;
            self.progress.is_due |= tables.control != 0;
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
        self.traps = self.traps.wrapping_add(1);
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

/// How serious a record is, as traps say it: what its filter does not say.
pub(super) fn severity(record: &[u8; ipmi::sel::LENGTH]) -> u8 {
    match crate::platform_event::added(record).0 {
        v1::EventSeverity::Critical => 0x10,
        v1::EventSeverity::Warning => 0x08,
        _ => 0x02,
    }
}

/// Whether this is an account's password: a login that opens nothing. One that is wrong counts as any other.
pub(super) async fn test(
    bus: &Client,
    username: String,
    password: &[u8],
    from: IpAddr,
) -> Result<(), Completion> {
    const WRONG: Completion = Completion(0x80);
    let mut data = vec![0; 16];
    getrandom::fill(&mut data).map_err(|_| Completion::UNSPECIFIED)?;
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
    match bus.call(VERIFY_IPMI, &request, &context).await {
        Ok(_) => Ok(()),
        Err(status) if status.code == Code::Unauthenticated => Err(WRONG),
        Err(status) => Err(commands::completion(status.code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn come(progress: &mut Progress, sequences: std::ops::RangeInclusive<u64>, is_new: bool) -> Vec<u64> {
        sequences.for_each(|sequence| progress.came(sequence));
        progress.take(is_new)
    }

    #[test]
    fn each_event_is_looked_at_once_also_those_that_came_while_nobody_did() {
        let mut progress = Progress::default();
        assert_eq!(come(&mut progress, 1..=9, false), [0; 0], "before the first time");
        assert_eq!(come(&mut progress, 10..=10, true), [10]);
        // The log is read once more, by this process or by the next one.
        assert_eq!(come(&mut progress, 2..=12, false), [11, 12]);
        let mut next = Progress { last: progress.last, ..Progress::default() };
        assert_eq!(come(&mut next, 3..=12, false), [0; 0]);
        assert_eq!(come(&mut next, 3..=200, false), (137..=200).collect::<Vec<_>>(), "the newest of them");
        // A log that begins anew.
        assert_eq!(come(&mut next, 1..=3, false), [0; 0]);
        assert_eq!(come(&mut next, 4..=4, true), [4]);
        assert_eq!(next.take(true), [0; 0]);
        // The first event there ever is.
        assert_eq!(come(&mut Progress::default(), 1..=1, true), [1]);
    }
}
