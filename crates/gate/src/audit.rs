//! Who did what: one line for each request from outside, at its end; and for what changes something, by somebody who is known, an event of the domain
//! `audit`, which the event log keeps. Records are written to flash, so there are only so many: [`Budget`].

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ipc::{CallContext, Client, Code, EventBuilder};
use schema::MethodInfo;
use schema::v1alpha1::event::Payload;
use schema::v1alpha1::{AuditRecord, EventSeverity};
use tokio::time::Instant;
use units::{Millis, Mono};

use crate::caller::Peer;

/// The domain of records.
pub const DOMAIN: &str = "audit";

/// What is logged of a path, bytes; the longest of the schema has 70.
const PATH_MAX: usize = 128;

/// What a request that goes well leaves in the log. One that does not is always recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Who did what.
    Record,
    /// It only reads: for debugging.
    Debug,
    /// Nothing: it reads the log.
    Nothing,
}

impl Level {
    /// What a call of this method leaves.
    #[must_use]
    pub fn of(method: &MethodInfo) -> Self {
        match (method.unlogged, method.read_only()) {
            (true, _) => Self::Nothing,
            (false, true) => Self::Debug,
            (false, false) => Self::Record,
        }
    }
}

/// A request that is over.
#[derive(Debug)]
pub struct Entry<'a> {
    /// Its id and its trace.
    pub context: &'a CallContext,
    /// Where it came from.
    pub peer: Peer,
    /// Name of the account; `None` when nobody is logged in.
    pub by: Option<&'a str>,
    /// What HTTP calls its method.
    pub verb: Option<&'a str>,
    /// What was asked for, without a query: that may carry a message.
    pub path: &'a str,
    /// Status of an HTTP answer.
    pub status: Option<u16>,
    /// How it ended.
    pub code: Code,
    /// How long it took.
    pub took: Duration,
}

/// Records of one account at once, and then one each so long.
const OF_ACCOUNT: Allowed = Allowed { most: 60, every: Millis::from_secs(6) };
/// The same of all accounts together.
const OF_ALL: Allowed = Allowed { most: 240, every: Millis::from_secs(2) };
/// Accounts that are counted apart; who comes when there are more takes of what all have.
const ACCOUNTS_MAX: usize = 256;
/// What a record has of a path, bytes.
const RECORDED_PATH_MAX: usize = 256;

/// So many at once, and then one each so long.
#[derive(Clone, Copy, Debug)]
struct Allowed {
    most: u32,
    every: Millis,
}

/// What is left of it.
#[derive(Clone, Copy, Debug)]
struct Left {
    now: u32,
    /// When the next one comes.
    next: Mono,
}

impl Allowed {
    fn full(self, at: Mono) -> Left {
        Left { now: self.most, next: at.saturating_add(self.every) }
    }

    fn refill(self, left: &mut Left, at: Mono) {
        while left.next <= at && left.now < self.most {
            left.now += 1;
            left.next = left.next.saturating_add(self.every);
        }
        // Who has all of it saves nothing up.
        if left.now >= self.most {
            left.next = at.saturating_add(self.every);
        }
    }
}

/// How many records are written, so that nobody wears the flash or fills the log by asking often. What is not recorded is counted, in the account's next record, and
/// is a line of the daemon's own log in any case.
#[derive(Debug)]
pub struct Budget {
    all: Left,
    accounts: BTreeMap<String, (Left, u32)>,
}

impl Budget {
    /// A full one.
    #[must_use]
    pub fn new(at: Mono) -> Self {
        Self { all: OF_ALL.full(at), accounts: BTreeMap::new() }
    }

    /// Whether a record of this account is written now: how many before it were not.
    pub fn take(&mut self, account: &str, at: Mono) -> Option<u32> {
        OF_ALL.refill(&mut self.all, at);
        if !self.accounts.contains_key(account) && self.accounts.len() >= ACCOUNTS_MAX {
            // Who has all of his share back has nothing to be remembered for.
            self.accounts.retain(|_, (left, missed)| {
                OF_ACCOUNT.refill(left, at);
                left.now < OF_ACCOUNT.most || *missed > 0
            });
        }
        if !self.accounts.contains_key(account) && self.accounts.len() >= ACCOUNTS_MAX {
            let taken = self.all.now.checked_sub(1)?;
            self.all.now = taken;
            return Some(0);
        }
        let (left, missed) =
            self.accounts.entry(account.to_owned()).or_insert_with(|| (OF_ACCOUNT.full(at), 0));
        OF_ACCOUNT.refill(left, at);
        match (left.now.checked_sub(1), self.all.now.checked_sub(1)) {
            (Some(own), Some(all)) => {
                (left.now, self.all.now) = (own, all);
                Some(std::mem::take(missed))
            }
            _ => {
                *missed = missed.saturating_add(1);
                None
            }
        }
    }
}

/// Keeps what was asked for, in the event log.
#[derive(Debug)]
pub struct Recorder {
    bus: Client,
    began: Instant,
    budget: Mutex<Budget>,
}

impl Recorder {
    /// One that publishes as the daemon whose client this is, which must be allowed to tell events of the domain `audit`.
    #[must_use]
    pub fn new(bus: Client) -> Self {
        Self { bus, began: Instant::now(), budget: Mutex::new(Budget::new(Mono::ZERO)) }
    }

    /// Writes the line of a request, and its record where it has one: it is to change something, and somebody in particular asks.
    pub fn write(&self, entry: &Entry<'_>, level: Level) {
        entry.write(level);
        // usermgr tells of sessions, whoever polls with a login each time.
        if is_of_session(entry.path) {
            return;
        }
        let Some(by) = entry.by.filter(|by| !by.is_empty() && level == Level::Record) else { return };
        let now = Mono::from_millis(u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX));
        let missed = self.budget.lock().unwrap_or_else(PoisonError::into_inner).take(by, now);
        let Some(missed) = missed else { return };
        let (event, bus) = (entry.event(by, missed, self.bus.name()), self.bus.clone());
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        // Nobody waits for it: it is told when all is over.
        runtime.spawn(async move {
            if let Err(error) = bus.publish_event(&event).await {
                tracing::warn!(%error, "cannot record request");
            }
        });
    }
}

impl Entry<'_> {
    /// The record of it.
    fn event(&self, by: &str, missed: u32, daemon: &str) -> schema::v1alpha1::Event {
        let path = cut(self.path, RECORDED_PATH_MAX);
        let verb = self.verb.unwrap_or("RPC");
        let (what, severity) = match self.code {
            Code::Ok => ("done", EventSeverity::Info),
            _ => ("refused", EventSeverity::Info),
        };
        let code = if self.code == Code::Ok { "OK".to_owned() } else { self.code.to_string() };
        let told = self.status.map_or_else(|| code.clone(), |status| status.to_string());
        let mut event = EventBuilder::new(daemon, DOMAIN, daemon, what)
            .severity(severity)
            .message(format!("{verb} {path} from {}: {told}", self.peer))
            .by(by, &self.context.request_id)
            .at(SystemTime::now());
        event.payload = Some(Payload::AuditRecord(AuditRecord {
            address: self.peer.to_string(),
            verb: verb.to_owned(),
            path: path.to_owned(),
            http_status: self.status.unwrap_or_default().into(),
            code,
            missed,
        }));
        event
    }

    /// Writes the line.
    pub fn write(&self, level: Level) {
        let Self { context, peer, by, verb, path, status, code, took } = *self;
        // With these two the log counts each account's deeds, and what each was refused, by themselves: nobody hides them behind many of his
        // own.
        let (level, kind) = if code == Code::Ok { (level, "done") } else { (Level::Record, "refused") };
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        // Not all of a long one: a flood of strangers must not write the log.
        let path = cut(path, PATH_MAX);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    request_id = %context.request_id,
                    trace_id = %context.trace.trace_id(),
                    peer = %peer,
                    kind,
                    by,
                    method = verb,
                    path,
                    status,
                    code = %code,
                    micros,
                    "request"
                )
            };
        }
        match level {
            Level::Record => line!(info),
            Level::Debug => line!(debug),
            Level::Nothing => {}
        }
    }
}

/// Whether a path is that of a session, in any of the protocols.
fn is_of_session(path: &str) -> bool {
    path.contains("SessionService") || path.starts_with("/api/v1alpha1/sessions")
}

/// The beginning of a text, of at most so many bytes.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=text.len().min(most)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(secs: u64) -> Mono {
        Mono::from_millis(secs * 1000)
    }

    #[test]
    fn who_asks_too_often_is_counted_and_nobody_else_loses_a_record() {
        let mut budget = Budget::new(at(0));
        for _ in 0..60 {
            assert_eq!(budget.take("ann", at(0)), Some(0));
        }
        for _ in 0..500 {
            assert_eq!(budget.take("ann", at(1)), None);
        }
        assert_eq!(budget.take("bob", at(1)), Some(0));
        assert_eq!(budget.take("ann", at(7)), Some(500), "the next one says how many there were");
        assert_eq!(budget.take("ann", at(7)), None);
        // Rest gives all back, and no more than that.
        for _ in 0..60 {
            assert!(budget.take("ann", at(100_000)).is_some());
        }
        assert_eq!(budget.take("ann", at(100_000)), None);
    }

    #[test]
    fn a_record_says_who_asked_for_what_from_where_and_how_it_ended() {
        let context = CallContext::new();
        let entry = Entry {
            context: &context,
            peer: Peer::Address([192, 0, 2, 1].into()),
            by: Some("ann"),
            verb: Some("PATCH"),
            path: "/redfish/v1/Systems/system",
            status: Some(403),
            code: Code::PermissionDenied,
            took: Duration::ZERO,
        };
        let event = entry.event("ann", 3, "websrv");
        assert_eq!((event.domain.as_str(), event.what.as_str()), ("audit", "refused"));
        assert_eq!((event.principal.as_deref(), &event.request_id), (Some("ann"), &context.request_id));
        assert_eq!(event.message, "PATCH /redfish/v1/Systems/system from 192.0.2.1: 403");
        let Some(Payload::AuditRecord(record)) = event.payload else { panic!("{event:?}") };
        assert_eq!((record.code.as_str(), record.http_status, record.missed), ("PERMISSION_DENIED", 403, 3));
        let long = Entry { path: &"ä".repeat(500), ..entry };
        assert!(long.event("ann", 0, "websrv").message.len() < 400);
    }

    proptest! {
        #[test]
        fn there_are_never_more_records_than_flash_is_to_bear(
            steps in proptest::collection::vec((0_u64..20_000, 0_usize..600), 1..2000),
        ) {
            let mut budget = Budget::new(at(0));
            let (mut now, mut written) = (0, 0_u64);
            for (wait, who) in steps {
                now += wait / 100;
                written += u64::from(budget.take(&format!("u{who}"), Mono::from_millis(now)).is_some());
                prop_assert!(budget.accounts.len() <= ACCOUNTS_MAX);
            }
            prop_assert!(written <= 240 + now / 2000 + 1, "{written} in {now} ms");
        }
    }
}
