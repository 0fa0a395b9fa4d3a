//! Who asks: credentials from headers, verified by usermgr, remembered for seconds.
//!
//! What is remembered is never the credential, only HMAC-SHA256 of it under a key that lives in this process. A change of
//! an account or session that usermgr announces drops what it concerns at once, and a gap in the bus drops everything; an entry
//! whose check began before such a change is never stored. Failures are not remembered: each counts for the lock-out.
//!
//! All who wait for the check of one credential get the same answer, each within its own deadline; the check goes on when the one
//! who began it leaves. A token in use is checked again once a second behind its user's back: so usermgr knows which sessions are
//! in use, and whom a session that must make room belongs to.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hmac::{Hmac, Mac};
use ipc::{CallContext, Code, Status};
use prost::Message as _;
use schema::rpc::auth_service::{VERIFY_PASSWORD, VERIFY_TOKEN};
use schema::v1alpha1 as api;
use sha2::Sha256;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::caller::{Caller, Peer};
use crate::credential::Credential;

/// Entries kept at most; a BMC's clients are a few. At 200 bytes each: 100 KiB.
const CACHE_MAX: usize = 512;
/// A daemon that was killed is back within 0.3 s (see docs/operator.md); nobody needs to see that.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a request waits for the check of its credential, unless it has less time.
const CHECK_TIME: Duration = Duration::from_secs(10);
/// A remembered token that was not checked for so long is checked again while it is used: what usermgr calls `USE_GRAIN`.
const TOUCH: Duration = Duration::from_secs(1);
/// Changes that are remembered for the checks under way. One that began before the oldest of them is not stored.
const CHANGES_MAX: usize = 256;
/// Of the password checks under way at once, one address gets so large a part.
const ADDRESS_SHARE: usize = 4;

/// How a way in asks and remembers.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// How long a verified name and password is remembered; zero: ask each time.
    pub basic_cache: Duration,
    /// How long a verified token is remembered; zero: ask each time.
    pub token_cache: Duration,
    /// Password checks waiting for usermgr at once, at least 1; one address gets a quarter of them.
    pub logins: usize,
}

/// The daemon that judges credentials.
const JUDGE: &str = "usermgr";

type Key = [u8; 32];
type Verdict = Result<Arc<Caller>, Status>;

/// What an announced change makes doubtful.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Everything: events may have been missed.
    Everything,
    /// All credentials of the account of this id.
    User(String),
    /// The session of this id.
    Session(String),
}

impl Change {
    /// What was verified before this event and may be wrong after it; `None` when nothing is. What begins, or fails, takes nothing away from
    /// anyone. A way in that remembers has to hear all of `event.>`, from before its first request.
    #[must_use]
    pub fn of_event(subject: &str, payload: &[u8]) -> Option<Self> {
        use schema::v1alpha1::event::Payload;
        use schema::v1alpha1::{DaemonState, Event, SessionChangeKind as Ended, UserChangeKind as Changed};
        let mut parts = subject.strip_prefix("event.")?.split('.');
        let domain = parts.next()?;
        if domain == "daemon" && parts.next() == Some(JUDGE) {
            // One that was killed may have stored a change and told nobody.
            return match Event::decode(payload).ok().and_then(|event| event.payload) {
                Some(Payload::DaemonStateChange(change)) if change.current_state() != DaemonState::Ready => {
                    None
                }
                _ => Some(Self::Everything),
            };
        }
        if !matches!(domain, "session" | "auth" | "user" | "role") {
            return None;
        }
        match Event::decode(payload).ok().and_then(|event| event.payload) {
            Some(Payload::SessionChange(change)) => match change.kind() {
                Ended::Created | Ended::LoginFailed => None,
                _ if change.session_id.is_empty() => Some(Self::Everything),
                _ => Some(Self::Session(change.session_id)),
            },
            Some(Payload::UserChange(change)) => match change.kind() {
                Changed::Created | Changed::Locked | Changed::Unlocked | Changed::Unreadable => None,
                _ if change.user_id.is_empty() => Some(Self::Everything),
                _ => Some(Self::User(change.user_id)),
            },
            // Something about access that this build cannot read: assume the worst.
            _ => Some(Self::Everything),
        }
    }

    fn concerns(&self, caller: &Caller) -> bool {
        match self {
            Self::Everything => true,
            Self::User(id) => caller.principal.user_id == *id,
            Self::Session(id) => caller.principal.session_id == *id,
        }
    }
}

struct Entry {
    caller: Arc<Caller>,
    until: Instant,
    checked: Instant,
}

#[derive(Default)]
struct Memory {
    entries: HashMap<Key, Entry>,
    /// One check per credential at a time: a burst of requests with one password costs one hash.
    flights: HashMap<Key, watch::Receiver<Option<Verdict>>>,
    /// The latest changes, each with its number; they are numbered from 1 without a gap.
    changes: VecDeque<(u64, Change)>,
    /// Password checks under way by address.
    checks: HashMap<Peer, usize>,
}

impl Memory {
    /// Whether a change after number `since` may concern this caller.
    fn changed(&self, since: u64, caller: &Caller) -> bool {
        let forgotten = self.changes.front().is_some_and(|(first, _)| *first > since + 1);
        forgotten || self.changes.iter().any(|(number, change)| *number > since && change.concerns(caller))
    }

    fn insert(&mut self, key: Key, entry: Entry) {
        if self.entries.len() >= CACHE_MAX && !self.entries.contains_key(&key) {
            let now = Instant::now();
            self.entries.retain(|_, entry| entry.until > now);
        }
        if self.entries.len() >= CACHE_MAX && !self.entries.contains_key(&key) {
            // The account with the most entries gives up the one that would have ended first.
            let mut shares: HashMap<&str, usize> = HashMap::new();
            for entry in self.entries.values() {
                *shares.entry(&entry.caller.principal.user_id).or_insert(0) += 1;
            }
            let share = |entry: &Entry| shares.get(entry.caller.principal.user_id.as_str()).copied();
            let victim = self.entries.iter().max_by_key(|(_, e)| (share(e), std::cmp::Reverse(e.until)));
            if let Some(victim) = victim.map(|(key, _)| *key) {
                self.entries.remove(&victim);
            }
        }
        self.entries.insert(key, entry);
    }
}

/// Verifies and remembers.
#[derive(Clone)]
pub(crate) struct Authenticator(Arc<Inner>);

struct Inner {
    bus: ipc::Client,
    policy: Policy,
    key: Key,
    memory: Mutex<Memory>,
    changes: watch::Sender<u64>,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator").field("policy", &self.0.policy).finish_non_exhaustive()
    }
}

/// A password check under way; dropped at its end.
struct Check {
    inner: Arc<Inner>,
    network: Peer,
}

impl Drop for Check {
    fn drop(&mut self) {
        let mut memory = self.inner.memory();
        if let Some(count) = memory.checks.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                memory.checks.remove(&self.network);
            }
        }
    }
}

impl Authenticator {
    pub(crate) fn new(bus: ipc::Client, policy: Policy) -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        let (memory, changes) = (Mutex::default(), watch::channel(0).0);
        Ok(Self(Arc::new(Inner { bus, policy, key, memory, changes })))
    }

    /// Forgets what a change concerns.
    pub(crate) fn forget(&self, change: Change) {
        let mut memory = self.0.memory();
        memory.entries.retain(|_, entry| !change.concerns(&entry.caller));
        self.0.changes.send_modify(|number| {
            *number += 1;
            memory.changes.push_back((*number, change));
        });
        if memory.changes.len() > CHANGES_MAX {
            memory.changes.pop_front();
        }
    }

    /// The number of the latest change: [`Self::concerns`] tells whether a caller has to be verified again.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// Whether a change after number `since` may concern this caller.
    pub(crate) fn concerns(&self, since: u64, caller: &Caller) -> bool {
        self.0.memory().changed(since, caller)
    }

    /// Who a credential belongs to.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` when usermgr says so; `UNAVAILABLE` naming usermgr when it does not answer in time. Never open.
    pub(crate) async fn verify(&self, credential: &Credential, peer: Peer, context: &CallContext) -> Verdict {
        let key = self.0.key_of(credential, peer);
        let (remembered, stale) = self.0.remembered(&key);
        if let Some(caller) = remembered {
            if stale && matches!(credential, Credential::Token(_)) {
                drop(self.check(key, credential, peer, context));
            }
            return Ok(caller);
        }
        let late = || Status::unavailable("usermgr cannot check the login in time");
        let until = Instant::now() + CHECK_TIME;
        let until = context.deadline.map_or(until, |deadline| deadline.min(until));
        let mut flight = self.check(key, credential, peer, context);
        let verdict = tokio::time::timeout_at(until, flight.wait_for(Option::is_some)).await;
        let verdict = match verdict {
            Ok(Ok(verdict)) => verdict.clone().unwrap_or_else(|| Err(late())),
            Ok(Err(_)) | Err(_) => Err(late()),
        };
        verdict.map_err(as_told)
    }

    /// Has a credential checked, or joins the check that is under way.
    fn check(
        &self,
        key: Key,
        credential: &Credential,
        peer: Peer,
        context: &CallContext,
    ) -> watch::Receiver<Option<Verdict>> {
        let mut memory = self.0.memory();
        if let Some(flight) = memory.flights.get(&key) {
            return flight.clone();
        }
        let (tell, flight) = watch::channel(None);
        if let Credential::Basic { .. } = credential {
            // Each check costs usermgr a memory-hard hash; a flood waits here, in words, not there.
            let (all, most) = (memory.checks.values().sum::<usize>(), self.0.policy.logins);
            let own = memory.checks.entry(peer.network()).or_insert(0);
            if all >= most || *own >= (most / ADDRESS_SHARE).max(1) {
                if *own == 0 {
                    memory.checks.remove(&peer.network());
                }
                let busy = Status::resource_exhausted("too many logins are being checked at once");
                tell.send_replace(Some(Err(busy.with_reason("TOO_MANY_LOGINS"))));
                return flight;
            }
            *own += 1;
        }
        memory.flights.insert(key, flight.clone());
        drop(memory);
        let permit = matches!(credential, Credential::Basic { .. })
            .then(|| Check { inner: Arc::clone(&self.0), network: peer.network() });
        let (inner, credential) = (Arc::clone(&self.0), credential.clone());
        let mut context = context.child().with_patience(PATIENCE);
        context.principal = None;
        // Whoever waits for it has a deadline of his own; the check has the method's.
        context.deadline = None;
        tokio::spawn(async move {
            let verdict = inner.fly(key, &credential, peer, &context).await;
            inner.memory().flights.remove(&key);
            drop(permit);
            tell.send_replace(Some(verdict));
        });
        flight
    }
}

impl Inner {
    /// Asks usermgr and remembers a success.
    async fn fly(&self, key: Key, credential: &Credential, peer: Peer, context: &CallContext) -> Verdict {
        let since = *self.changes.borrow();
        let caller = match self.ask(credential, peer, context).await {
            Ok(caller) => Arc::new(caller),
            Err(status) => {
                if status.code == Code::Unauthenticated {
                    self.memory().entries.remove(&key);
                }
                return Err(status);
            }
        };
        let keep = match credential {
            Credential::Token(_) => self.policy.token_cache,
            Credential::Basic { .. } => self.policy.basic_cache,
        };
        let keep = caller.good_for.map_or(keep, |bound| keep.min(bound));
        if !keep.is_zero() {
            let mut memory = self.memory();
            // Under the lock: `forget` drops and numbers under it.
            if !memory.changed(since, &caller) {
                let checked = Instant::now();
                memory.insert(key, Entry { caller: Arc::clone(&caller), until: checked + keep, checked });
            }
        }
        Ok(caller)
    }

    async fn ask(
        &self,
        credential: &Credential,
        peer: Peer,
        context: &CallContext,
    ) -> Result<Caller, Status> {
        let address = peer.to_string();
        let principal = match credential {
            Credential::Token(token) => {
                let request = api::VerifyTokenRequest { token: token.to_string(), address: address.clone() };
                self.bus.call(VERIFY_TOKEN, &request, context).await?.principal
            }
            Credential::Basic { username, password } => {
                let request = api::VerifyPasswordRequest {
                    username: username.clone(),
                    password: password.to_string(),
                    address: address.clone(),
                };
                self.bus.call(VERIFY_PASSWORD, &request, context).await?.principal
            }
        };
        // An answer without a name is no answer: it must not become a nameless caller.
        let principal = principal
            .filter(|principal| !principal.username.is_empty())
            .ok_or_else(|| Status::internal("usermgr's answer names nobody"))?;
        Ok(Caller {
            password_change_required: principal.password_change_required,
            good_for: principal.expires.as_ref().map(time_until),
            principal: ipc::Principal { address, ..principal.into() },
        })
    }

    /// The address is part of the key: a locked-out address must not ride on the success of another.
    fn key_of(&self, credential: &Credential, peer: Peer) -> Key {
        // HMAC takes keys of any length; this one is 32 bytes.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else {
            unreachable!("any key length is valid")
        };
        let mut part = |bytes: &[u8]| {
            mac.update(&(bytes.len() as u64).to_be_bytes());
            mac.update(bytes);
        };
        match credential {
            Credential::Token(token) => {
                part(b"token");
                part(token.as_bytes());
            }
            Credential::Basic { username, password } => {
                part(b"basic");
                part(username.as_bytes());
                part(password.as_bytes());
            }
        }
        part(peer.to_string().as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// What is remembered of a credential, and whether it was not checked for a while.
    fn remembered(&self, key: &Key) -> (Option<Arc<Caller>>, bool) {
        let memory = self.memory();
        let now = Instant::now();
        match memory.entries.get(key).filter(|entry| entry.until > now) {
            Some(entry) => (Some(Arc::clone(&entry.caller)), entry.checked + TOUCH <= now),
            None => (None, false),
        }
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Time left until a wall clock time of this machine; zero when it has passed or is nonsense.
fn time_until(at: &prost_types::Timestamp) -> Duration {
    std::time::SystemTime::try_from(*at)
        .ok()
        .and_then(|at| at.duration_since(std::time::SystemTime::now()).ok())
        .unwrap_or_default()
}

/// usermgr's refusal as the client of this request sees it.
fn as_told(status: Status) -> Status {
    match status.code {
        Code::Unauthenticated | Code::ResourceExhausted | Code::Unavailable => status,
        Code::DeadlineExceeded => {
            Status::unavailable(format!("usermgr cannot check the login: {}", status.message))
        }
        _ => {
            tracing::error!(code = %status.code, message = %status.message, "login check by usermgr failed");
            Status::unavailable("usermgr cannot check the login")
        }
    }
}

#[cfg(test)]
mod tests {
    use schema::v1alpha1::event::Payload;
    use schema::v1alpha1::{
        DaemonState, DaemonStateChange, Event as Envelope, SessionChange, SessionChangeKind as Ended,
        UserChange, UserChangeKind as Changed,
    };

    use super::*;

    fn caller(user: &str, session: &str) -> Arc<Caller> {
        Arc::new(Caller {
            principal: ipc::Principal {
                username: user.to_owned(),
                user_id: user.to_owned(),
                session_id: session.to_owned(),
                ..ipc::Principal::default()
            },
            password_change_required: false,
            good_for: None,
        })
    }

    fn key(n: usize) -> Key {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&n.to_be_bytes());
        key
    }

    fn entry(caller: Arc<Caller>, secs: u64) -> Entry {
        let checked = Instant::now();
        Entry { caller, until: checked + Duration::from_secs(secs), checked }
    }

    #[test]
    fn a_change_concerns_whom_it_names_and_a_gap_everybody() {
        let (alice, bob) = (caller("alice", "s1"), caller("bob", ""));
        let user = Change::User("alice".to_owned());
        assert!(user.concerns(&alice) && !user.concerns(&bob));
        let session = Change::Session("s1".to_owned());
        assert!(session.concerns(&alice) && !session.concerns(&bob));
        assert!(Change::Everything.concerns(&alice) && Change::Everything.concerns(&bob));
        let memory = Memory { changes: [(8, user), (9, session)].into(), ..Memory::default() };
        assert!(memory.changed(7, &alice) && !memory.changed(7, &bob));
        assert!(memory.changed(8, &alice) && !memory.changed(9, &alice));
        assert!(memory.changed(6, &bob), "what it was is not known any more");
        assert!(!Memory::default().changed(0, &bob));
    }

    #[tokio::test]
    async fn a_full_memory_is_made_room_in_by_the_account_that_has_most() {
        let mut memory = Memory::default();
        memory.insert(key(0), entry(caller("bob", ""), 1));
        for n in 1..2 * CACHE_MAX {
            memory.insert(key(n), entry(caller("mallory", &n.to_string()), 30 + n as u64));
            assert!(memory.entries.len() <= CACHE_MAX);
        }
        assert!(memory.entries.contains_key(&key(0)));
        assert!(memory.entries.contains_key(&key(2 * CACHE_MAX - 1)));
    }

    fn of(payload: Payload) -> Option<Change> {
        let event = Envelope { payload: Some(payload), ..Envelope::default() };
        Change::of_event("event.session.s1.change", &event.encode_to_vec())
    }

    #[test]
    fn an_event_drops_what_it_may_take_access_away_from_and_no_more() {
        let session = |kind: Ended, id: &str| {
            of(Payload::SessionChange(SessionChange {
                kind: kind.into(),
                session_id: id.to_owned(),
                ..SessionChange::default()
            }))
        };
        assert_eq!(session(Ended::Created, "s1"), None);
        assert_eq!(session(Ended::LoginFailed, ""), None);
        for kind in [Ended::Deleted, Ended::Revoked, Ended::Expired, Ended::Evicted, Ended::Unspecified] {
            assert_eq!(session(kind, "s1"), Some(Change::Session("s1".to_owned())));
        }
        assert_eq!(session(Ended::Deleted, ""), Some(Change::Everything));
        let user = |kind: Changed| {
            let user_id = "u1".to_owned();
            of(Payload::UserChange(UserChange { kind: kind.into(), user_id, ..UserChange::default() }))
        };
        for kind in [Changed::Created, Changed::Locked, Changed::Unlocked, Changed::Unreadable] {
            assert_eq!(user(kind), None);
        }
        for kind in [Changed::Updated, Changed::Deleted, Changed::PasswordChanged, Changed::PasswordReset] {
            assert_eq!(user(kind), Some(Change::User("u1".to_owned())));
        }
        assert_eq!(Change::of_event("event.session.s1.change", b"\xff"), Some(Change::Everything));
        assert_eq!(Change::of_event("event.role.r1.change", b""), Some(Change::Everything));
        assert_eq!(Change::of_event("event.host.system.state", b""), None);
    }

    /// usermgr may have been killed between storing a change and telling it.
    #[test]
    fn usermgr_that_is_back_is_asked_about_everybody_again() {
        let daemon = |name: &str, state: DaemonState| {
            let change = DaemonStateChange { current_state: state.into(), ..DaemonStateChange::default() };
            let event = Envelope { payload: Some(Payload::DaemonStateChange(change)), ..Envelope::default() };
            Change::of_event(&format!("event.daemon.{name}.state"), &event.encode_to_vec())
        };
        assert_eq!(daemon("usermgr", DaemonState::Ready), Some(Change::Everything));
        assert_eq!(daemon("usermgr", DaemonState::Backoff), None);
        assert_eq!(daemon("statemgr", DaemonState::Ready), None);
    }
}
