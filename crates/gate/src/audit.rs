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
use units::{Allowance, Millis, Mono};

use crate::caller::Peer;

pub use crate::access::RECORDS as DOMAIN;

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

/// Records of what one account did, which has so many at once and then one each so long.
const DONE_OF_ACCOUNT: Allowance = Allowance::new(60, 1, Millis::from_secs(8));
/// The same of all accounts together.
const DONE_OF_ALL: Allowance = Allowance::new(240, 1, Millis::new(2667));
/// Of what one account was refused.
const REFUSED_OF_ACCOUNT: Allowance = Allowance::new(15, 1, Millis::from_secs(24));
/// Of what all were. With what they did it is one each 2 s in the long run, which is what flash bears.
const REFUSED_OF_ALL: Allowance = Allowance::new(60, 1, Millis::from_secs(8));
/// Accounts that are counted apart; who comes when there are more takes of what all have.
const ACCOUNTS_MAX: usize = 256;
/// What a record has of a path, bytes.
const RECORDED_PATH_MAX: usize = 256;

/// Records of one kind: what may be written of them, of an account and of all.
#[derive(Debug)]
struct Purse {
    /// What an account has that did nothing lately.
    of_account: Allowance,
    all: Allowance,
    /// What is left of an account's, and how many of its records were not written since its last one.
    accounts: BTreeMap<String, (Allowance, u32)>,
}

impl Purse {
    const fn new(of_account: Allowance, all: Allowance) -> Self {
        Self { of_account, all, accounts: BTreeMap::new() }
    }

    fn take(&mut self, account: &str, at: Mono) -> Option<u32> {
        if !self.accounts.contains_key(account) && self.accounts.len() >= ACCOUNTS_MAX {
            // Who has all of his share back has nothing to be remembered for.
            self.accounts.retain(|_, (left, missed)| !left.is_full(at) || *missed > 0);
            if self.accounts.len() >= ACCOUNTS_MAX {
                return self.all.take(at).then_some(0);
            }
        }
        let (left, missed) = self.accounts.entry(account.to_owned()).or_insert((self.of_account, 0));
        if left.take_both(at, &mut self.all).is_ok() {
            return Some(std::mem::take(missed));
        }
        *missed = missed.saturating_add(1);
        None
    }
}

/// How many records are written, so that nobody wears the flash or fills the log by asking often. What is not recorded is counted, in the account's next record of
/// its kind, and is a line of the daemon's own log in any case. What was refused takes nothing of what is there for what was done: who may do nothing hides nothing.
#[derive(Debug)]
pub struct Budget {
    done: Purse,
    refused: Purse,
}

/// All of it is there.
impl Default for Budget {
    fn default() -> Self {
        Self {
            done: Purse::new(DONE_OF_ACCOUNT, DONE_OF_ALL),
            refused: Purse::new(REFUSED_OF_ACCOUNT, REFUSED_OF_ALL),
        }
    }
}

impl Budget {
    /// Whether a record of this account is written now, of what was done or was not: how many of that kind before it were not.
    pub fn take(&mut self, account: &str, is_done: bool, at: Mono) -> Option<u32> {
        if is_done { self.done.take(account, at) } else { self.refused.take(account, at) }
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
        Self { bus, began: Instant::now(), budget: Mutex::default() }
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
        let is_done = entry.code == Code::Ok;
        let missed = self.budget.lock().unwrap_or_else(PoisonError::into_inner).take(by, is_done, now);
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

/// Whether a path is that of a session, in any of the protocols. Names that somebody gives are in paths, too: they do not count.
fn is_of_session(path: &str) -> bool {
    const NAME: &str = "SessionService";
    // A method, or a subject of the bus.
    let Some(path) = path.strip_prefix('/') else { return path.split('.').any(|word| word == NAME) };
    let mut segments = path.split('/');
    match (segments.next(), segments.next(), segments.next()) {
        (Some("api"), Some("v1alpha1"), Some(third)) => third == "sessions",
        (Some("redfish"), Some("v1"), Some(third)) => third == NAME,
        // An RPC: `/schema.v1alpha1.SessionService/CreateSession`.
        (Some(service), Some(_), None) => service.rsplit('.').next() == Some(NAME),
        _ => false,
    }
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
        let mut budget = Budget::default();
        for _ in 0..60 {
            assert_eq!(budget.take("ann", true, at(0)), Some(0));
        }
        for _ in 0..500 {
            assert_eq!(budget.take("ann", true, at(1)), None);
        }
        assert_eq!(budget.take("bob", true, at(1)), Some(0));
        assert_eq!(budget.take("ann", true, at(9)), Some(500), "the next one says how many there were");
        assert_eq!(budget.take("ann", true, at(9)), None);
        // Rest gives all back, and no more than that.
        for _ in 0..60 {
            assert!(budget.take("ann", true, at(100_000)).is_some());
        }
        assert_eq!(budget.take("ann", true, at(100_000)), None);
    }

    #[test]
    fn what_was_refused_hides_nothing_that_was_done() {
        let mut budget = Budget::default();
        for now in 0..600 {
            for reader in ["r1", "r2", "r3", "r4", "r5", "ann"] {
                budget.take(reader, false, at(now));
            }
        }
        assert_eq!(budget.take("admin", true, at(600)), Some(0));
        assert_eq!(
            budget.take("ann", true, at(600)),
            Some(0),
            "behind what she was refused herself, neither"
        );
    }

    #[test]
    fn sessions_are_known_by_their_paths_and_not_by_names_in_others() {
        for path in [
            "/redfish/v1/SessionService/Sessions",
            "/redfish/v1/SessionService/Sessions/7",
            "/redfish/v1/SessionService",
            "/schema.v1alpha1.SessionService/CreateSession",
            "/api/v1alpha1/sessions",
            "/api/v1alpha1/sessions/7",
            "rpc.SessionService.CreateSession",
            "schema.v1alpha1.SessionService.CreateSession",
        ] {
            assert!(is_of_session(path), "{path}");
        }
        for path in [
            "/api/v1alpha1/users/SessionService1",
            "/api/v1alpha1/users/SessionService",
            "/redfish/v1/AccountService/Accounts/SessionService",
            "/redfish/v1/AccountService/Accounts/a.SessionService",
            "/api/v1alpha1/media/SessionService.iso",
            "/api/v1alpha1/sessionsx",
            "/schema.v1alpha1.UserService/SetPassword",
            "rpc.UserService.SetPassword",
        ] {
            assert!(!is_of_session(path), "{path}");
        }
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
            steps in proptest::collection::vec((0_u64..20_000, 0_usize..600, any::<bool>()), 1..2000),
        ) {
            let mut budget = Budget::default();
            let (mut now, mut written) = (0, 0_u64);
            for (wait, who, is_done) in steps {
                now += wait / 100;
                written += u64::from(budget.take(&format!("u{who}"), is_done, Mono::from_millis(now)).is_some());
                prop_assert!(budget.done.accounts.len() <= ACCOUNTS_MAX);
                prop_assert!(budget.refused.accounts.len() <= ACCOUNTS_MAX);
            }
            prop_assert!(written <= 300 + now / 2000 + 2, "{written} in {now} ms");
        }
    }
}
