//! Who asks: credentials from headers, verified by usermgr, remembered for seconds.
//!
//! What is remembered is never the credential, only HMAC-SHA256 of it under a key that lives in this process. A change of
//! an account or session that usermgr announces drops what it concerns at once, and a gap in the bus drops everything; an entry
//! whose check began before such a change is never stored. Failures are not remembered: each counts for the lock-out.
//!
//! All who wait for the check of one credential get the same answer, each within its own deadline; the check goes on when those who
//! wait leave, as long as usermgr has the question, and how many do so is bounded ([`crate::checks`]). An answer that was on its way while
//! a change was announced that concerns it is asked for again. A token in use is checked again once a second behind its user's back: so usermgr knows which sessions are
//! in use, and whom a session that must make room belongs to.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hmac::{Hmac, Mac};
use ipc::{CallContext, Code, Status};
use prost::Message as _;
use schema::MethodInfo;
use schema::rpc::auth_service::{VERIFY_PASSWORD, VERIFY_TOKEN};
use schema::v1alpha1 as api;
use sha2::Sha256;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::caller::{Caller, Peer};
use crate::checks::{Checks, Flow};
use crate::credential::Credential;
use crate::kinds::types_of;

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
/// Tokens being checked at once. One takes usermgr less than a millisecond, so more than a few are there only while it does not answer; each
/// holds some KiB.
const TOKENS: usize = 128;
/// Accounts that are remembered to have been seen at an address, by what they showed: for whom places are kept, nothing else.
const SEEN_MAX: usize = 256;

/// How a way in asks and remembers.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// How long a verified name and password is remembered; zero: ask each time.
    pub basic_cache: Duration,
    /// How long a verified token is remembered; zero: ask each time.
    pub token_cache: Duration,
    /// Password checks waiting for usermgr at once, at least 1; one address, or account at one, gets a quarter of them, and a quarter is
    /// kept for administrators, for others that are known from their address, and for strangers each.
    pub logins: usize,
}

/// The daemon that judges credentials.
const JUDGE: &str = "usermgr";

type Key = [u8; 32];
type Verdict = Result<Found, Status>;

/// Whose a credential is.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) caller: Arc<Caller>,
    /// All changes up to this number are in it.
    pub(crate) since: u64,
}

/// What an announced change makes doubtful.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Everything: events may have been missed, or whom it concerns is not said.
    Everything,
    /// All credentials of the account of this id, or of this name where a request names it by that.
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

    /// What was verified before this request is answered and may be wrong after it; `None` when nothing is. A change of one account is a change of that one alone: who
    /// may change but his own must not have the passwords of all others checked anew by it.
    pub(crate) fn of_request(method: &MethodInfo, request: &[u8]) -> Option<Self> {
        if method.owner != JUDGE || method.read_only() || method.internal {
            return None;
        }
        let account = match method.method {
            "DeleteSession" => {
                return api::DeleteSessionRequest::decode(request)
                    .ok()
                    .map(|request| Self::Session(request.id));
            }
            "UpdateUser" => {
                api::UpdateUserRequest::decode(request).map(|request| request.user.unwrap_or_default().id)
            }
            "DeleteUser" => api::DeleteUserRequest::decode(request).map(|request| request.id),
            "ChangePassword" => api::ChangePasswordRequest::decode(request).map(|request| request.id),
            "ResetPassword" => api::ResetPasswordRequest::decode(request).map(|request| request.id),
            // What begins takes nothing away, nor does the end of a lockout.
            name if name == "DeleteLockout" || name.starts_with("Create") => return None,
            // A role is many accounts', and the policy is all accounts'.
            _ => return Some(Self::Everything),
        };
        Some(account.ok().filter(|id| !id.is_empty()).map_or(Self::Everything, Self::User))
    }

    fn concerns(&self, caller: &Caller) -> bool {
        match self {
            Self::Everything => true,
            // An id that is another account's name has that checked once more.
            Self::User(id) => {
                let principal = &caller.principal;
                principal.user_id == *id || principal.username == *id
            }
            Self::Session(id) => caller.principal.session_id == *id,
        }
    }
}

struct Entry {
    caller: Arc<Caller>,
    until: Instant,
    checked: Instant,
}

/// An account that was seen at an address.
struct Seen {
    caller: Arc<Caller>,
    at: Instant,
}

/// A check under way.
struct Flight {
    tell: Arc<watch::Sender<Option<Verdict>>>,
    place: Place,
    task: AbortHandle,
}

/// A place among the checks of one kind.
type Place = (Kind, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Token,
    Password,
}

impl Kind {
    fn of(credential: &Credential) -> Self {
        match credential {
            Credential::Token(_) => Self::Token,
            Credential::Basic { .. } => Self::Password,
        }
    }
}

struct Memory {
    entries: HashMap<Key, Entry>,
    /// One check per credential at a time: a burst of requests with one password costs one hash.
    flights: HashMap<Key, Flight>,
    /// The latest changes, each with its number; they are numbered from 1 without a gap.
    changes: VecDeque<(u64, Change)>,
    tokens: Checks,
    /// Each costs usermgr a memory-hard hash; a flood waits here, in words, not there.
    passwords: Checks,
    /// By token, or name, and address.
    seen: HashMap<Key, Seen>,
}

impl Memory {
    fn new(logins: usize) -> Self {
        Self {
            entries: HashMap::new(),
            flights: HashMap::new(),
            changes: VecDeque::new(),
            tokens: Checks::new(TOKENS),
            passwords: Checks::new(logins),
            seen: HashMap::new(),
        }
    }

    /// Whether a change after number `since` may concern this caller.
    fn changed(&self, since: u64, caller: &Caller) -> bool {
        let forgotten = self.changes.front().is_some_and(|(first, _)| *first > since + 1);
        forgotten || self.changes.iter().any(|(number, change)| *number > since && change.concerns(caller))
    }

    fn checks(&mut self, kind: Kind) -> &mut Checks {
        match kind {
            Kind::Token => &mut self.tokens,
            Kind::Password => &mut self.passwords,
        }
    }

    /// Who shares the places of whoever shows what is remembered as `who`.
    fn flow(&self, who: &Key, network: Peer) -> Flow {
        match self.seen.get(who).map(|seen| &seen.caller) {
            Some(caller) if caller.administrator() => {
                Flow::Administrator(caller.account().to_owned(), network)
            }
            Some(caller) => Flow::Known(caller.account().to_owned(), network),
            None => Flow::Stranger(network),
        }
    }

    /// Takes a place for a check. Who loses his to it is told.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED`
    fn place(&mut self, kind: Kind, flow: Flow) -> Result<Place, Status> {
        let (id, lost) = self.checks(kind).enter(flow).ok_or_else(busy)?;
        if let Some(lost) = lost {
            let key =
                self.flights.iter().find(|(_, flight)| flight.place == (kind, lost)).map(|(key, _)| *key);
            if let Some(flight) = key.and_then(|key| self.flights.remove(&key)) {
                flight.task.abort();
                flight.tell.send_replace(Some(Err(busy())));
            }
        }
        Ok((kind, id))
    }

    /// A check is over.
    fn landed(&mut self, key: &Key, place: Place) {
        let (kind, id) = place;
        self.checks(kind).leave(id);
        if self.flights.get(key).is_some_and(|flight| flight.place == place) {
            self.flights.remove(key);
        }
    }

    fn see(&mut self, who: Key, caller: &Arc<Caller>) {
        if self.seen.len() >= SEEN_MAX && !self.seen.contains_key(&who) {
            let seen = self.seen.iter().map(|(key, seen)| (key, seen.caller.account(), seen.at));
            if let Some(victim) = of_largest(seen) {
                self.seen.remove(&victim);
            }
        }
        self.seen.insert(who, Seen { caller: Arc::clone(caller), at: Instant::now() });
    }

    fn insert(&mut self, key: Key, entry: Entry) {
        if self.entries.len() >= CACHE_MAX && !self.entries.contains_key(&key) {
            let now = Instant::now();
            self.entries.retain(|_, entry| entry.until > now);
        }
        if self.entries.len() >= CACHE_MAX && !self.entries.contains_key(&key) {
            let entries = self.entries.iter().map(|(key, entry)| (key, entry.caller.account(), entry.until));
            if let Some(victim) = of_largest(entries) {
                self.entries.remove(&victim);
            }
        }
        self.entries.insert(key, entry);
    }
}

/// Of entries with their account and an instant: the one with the earliest of the account that has most.
fn of_largest<'a>(entries: impl Iterator<Item = (&'a Key, &'a str, Instant)> + Clone) -> Option<Key> {
    let mut shares: HashMap<&str, usize> = HashMap::new();
    for (_, account, _) in entries.clone() {
        *shares.entry(account).or_insert(0) += 1;
    }
    let share = |account: &str| shares.get(account).copied();
    entries.max_by_key(|(_, account, at)| (share(account), std::cmp::Reverse(*at))).map(|(key, ..)| *key)
}

fn busy() -> Status {
    Status::resource_exhausted("too many logins are being checked at once").with_reason("TOO_MANY_LOGINS")
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

/// The place of a check; given back when dropped.
struct Aloft {
    inner: Arc<Inner>,
    key: Key,
    place: Place,
}

impl Drop for Aloft {
    fn drop(&mut self) {
        self.inner.memory().landed(&self.key, self.place);
    }
}

impl Authenticator {
    pub(crate) fn new(bus: ipc::Client, policy: Policy) -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        let (memory, changes) = (Mutex::new(Memory::new(policy.logins)), watch::channel(0).0);
        Ok(Self(Arc::new(Inner { bus, policy, key, memory, changes })))
    }

    /// Forgets what a change concerns.
    pub(crate) fn forget(&self, change: Change) {
        let mut memory = self.0.memory();
        memory.entries.retain(|_, entry| !change.concerns(&entry.caller));
        if change != Change::Everything {
            memory.seen.retain(|_, seen| !change.concerns(&seen.caller));
        }
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

    /// Who a credential belongs to, after all changes that are known of.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` when usermgr says so; `RESOURCE_EXHAUSTED` when too many are being checked; `UNAVAILABLE` naming usermgr when it
    /// does not answer in time. Never open.
    pub(crate) async fn verify(&self, credential: &Credential, peer: Peer, context: &CallContext) -> Verdict {
        let key = self.0.key_of(credential, peer);
        let late = || Status::unavailable("usermgr cannot check the login in time");
        let until = Instant::now() + CHECK_TIME;
        let until = context.deadline.map_or(until, |deadline| deadline.min(until));
        loop {
            let (remembered, stale) = self.0.remembered(&key);
            if let Some(found) = remembered {
                if stale && matches!(credential, Credential::Token(_)) {
                    drop(self.check(key, credential, peer, context));
                }
                return Ok(found);
            }
            let mut flight = self.check(key, credential, peer, context);
            let verdict = tokio::time::timeout_at(until, flight.wait_for(Option::is_some)).await;
            let verdict = match verdict {
                Ok(Ok(verdict)) => verdict.clone().unwrap_or_else(|| Err(late())),
                Ok(Err(_)) | Err(_) => Err(late()),
            };
            let found = verdict.map_err(as_told)?;
            // An answer from before a change is none after it. Each round takes another change, and there is an end to the time.
            if !self.concerns(found.since, &found.caller) {
                return Ok(found);
            }
        }
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
            return flight.tell.subscribe();
        }
        let tell = Arc::new(watch::channel(None).0);
        let waiting = tell.subscribe();
        let who = self.0.who(credential, peer);
        let flow = memory.flow(&who, peer.network());
        let place = match memory.place(Kind::of(credential), flow) {
            Ok(place) => place,
            Err(busy) => {
                tell.send_replace(Some(Err(busy)));
                return waiting;
            }
        };
        let (inner, credential) = (Arc::clone(&self.0), credential.clone());
        let mut context = context.child().with_patience(PATIENCE);
        context.principal = None;
        // Whoever waits for it has a deadline of his own; the check has the method's.
        context.deadline = None;
        let told = Arc::clone(&tell);
        let task = tokio::spawn(async move {
            let aloft = Aloft { inner: Arc::clone(&inner), key, place };
            let verdict = inner.fly(key, who, &credential, peer, &context).await;
            drop(aloft);
            told.send_replace(Some(verdict));
        });
        memory.flights.insert(key, Flight { tell, place, task: task.abort_handle() });
        waiting
    }
}

impl Inner {
    /// Asks usermgr and remembers a success.
    async fn fly(
        &self,
        key: Key,
        who: Key,
        credential: &Credential,
        peer: Peer,
        context: &CallContext,
    ) -> Verdict {
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
        let mut memory = self.memory();
        // Under the lock: `forget` drops and numbers under it.
        if !memory.changed(since, &caller) {
            memory.see(who, &caller);
            if !keep.is_zero() {
                let checked = Instant::now();
                memory.insert(key, Entry { caller: Arc::clone(&caller), until: checked + keep, checked });
            }
        }
        Ok(Found { caller, since })
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
            types: types_of(&principal.account_types),
            password_change_required: principal.password_change_required,
            good_for: principal.expires.as_ref().map(time_until),
            principal: ipc::Principal { address, ..principal.into() },
        })
    }

    /// The address is part of the key: a locked-out address must not ride on the success of another.
    fn key_of(&self, credential: &Credential, peer: Peer) -> Key {
        let peer = peer.to_string();
        match credential {
            Credential::Token(token) => self.mac(&[b"token", token.as_bytes(), peer.as_bytes()]),
            Credential::Basic { username, password } => {
                self.mac(&[b"basic", username.as_bytes(), password.as_bytes(), peer.as_bytes()])
            }
        }
    }

    /// Whose it seems to be: the token, or the name whatever the password is, from that address.
    fn who(&self, credential: &Credential, peer: Peer) -> Key {
        let network = peer.network().to_string();
        match credential {
            Credential::Token(token) => self.mac(&[b"who has", token.as_bytes(), network.as_bytes()]),
            Credential::Basic { username, .. } => {
                self.mac(&[b"who is", username.as_bytes(), network.as_bytes()])
            }
        }
    }

    fn mac(&self, parts: &[&[u8]]) -> Key {
        // HMAC takes keys of any length; this one is 32 bytes.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else {
            unreachable!("any key length is valid")
        };
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// What is remembered of a credential, and whether it was not checked for a while.
    fn remembered(&self, key: &Key) -> (Option<Found>, bool) {
        let memory = self.memory();
        let now = Instant::now();
        match memory.entries.get(key).filter(|entry| entry.until > now) {
            Some(entry) => {
                // Under the lock, as above: what a change concerns is not remembered any more.
                let found = Found { caller: Arc::clone(&entry.caller), since: *self.changes.borrow() };
                (Some(found), entry.checked + TOUCH <= now)
            }
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
            types: auth::AccountTypes::ALL,
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
        let memory = Memory { changes: [(8, user), (9, session)].into(), ..Memory::new(1) };
        assert!(memory.changed(7, &alice) && !memory.changed(7, &bob));
        assert!(memory.changed(8, &alice) && !memory.changed(9, &alice));
        assert!(memory.changed(6, &bob), "what it was is not known any more");
        assert!(!Memory::new(1).changed(0, &bob));
    }

    #[tokio::test]
    async fn a_full_memory_is_made_room_in_by_the_account_that_has_most() {
        let mut memory = Memory::new(1);
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
    fn a_request_drops_what_it_may_take_access_away_from_and_no_more() {
        let id = || "u1".to_owned();
        let user = |id: String| {
            let user = Some(api::User { id, ..api::User::default() });
            api::UpdateUserRequest { user, ..api::UpdateUserRequest::default() }.encode_to_vec()
        };
        let change = api::ChangePasswordRequest { id: id(), ..api::ChangePasswordRequest::default() };
        let reset = api::ResetPasswordRequest { id: id(), ..api::ResetPasswordRequest::default() };
        let of_u1 = Some(Change::User(id()));
        for (name, request, wanted) in [
            ("UserService.UpdateUser", user(id()), of_u1.clone()),
            ("UserService.UpdateUser", user(String::new()), Some(Change::Everything)),
            ("UserService.DeleteUser", api::DeleteUserRequest { id: id() }.encode_to_vec(), of_u1.clone()),
            ("UserService.ChangePassword", change.encode_to_vec(), of_u1.clone()),
            ("UserService.ResetPassword", reset.encode_to_vec(), of_u1),
            // It is none; whom it concerns nobody knows.
            ("UserService.DeleteUser", vec![0xff], Some(Change::Everything)),
            ("UserService.UpdateAccountPolicy", Vec::new(), Some(Change::Everything)),
            ("RoleService.UpdateRole", Vec::new(), Some(Change::Everything)),
            ("RoleService.DeleteRole", Vec::new(), Some(Change::Everything)),
            (
                "SessionService.DeleteSession",
                api::DeleteSessionRequest { id: "s1".to_owned() }.encode_to_vec(),
                Some(Change::Session("s1".to_owned())),
            ),
            ("SessionService.CreateSession", Vec::new(), None),
            ("UserService.CreateUser", Vec::new(), None),
            ("RoleService.CreateRole", Vec::new(), None),
            ("LockoutService.DeleteLockout", Vec::new(), None),
            ("UserService.ListUsers", Vec::new(), None),
            ("HostService.ChangeHostState", Vec::new(), None),
        ] {
            let method = schema::method(&format!("rpc.{name}")).unwrap();
            assert_eq!(Change::of_request(method, &request), wanted, "{name}");
        }
    }

    #[test]
    fn an_account_that_a_request_names_by_its_name_is_the_one_of_its_id() {
        let worker = Caller {
            principal: ipc::Principal {
                username: "worker".to_owned(),
                user_id: "u7".to_owned(),
                ..ipc::Principal::default()
            },
            types: auth::AccountTypes::ALL,
            password_change_required: false,
            good_for: None,
        };
        for (named, concerns) in
            [("u7", true), ("worker", true), ("Worker", false), ("u8", false), ("", false)]
        {
            assert_eq!(Change::User(named.to_owned()).concerns(&worker), concerns, "{named}");
        }
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

    const HOME: Peer = Peer::Address(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 200)));

    fn stranger(last: u8) -> Peer {
        Peer::Address([198, 51, 100, last].into())
    }

    fn basic(username: &str, password: &str) -> Credential {
        let password = zeroize::Zeroizing::new(password.to_owned());
        Credential::Basic { username: username.to_owned(), password }
    }

    /// A way in, and what usermgr is asked by it.
    async fn bench(logins: usize) -> (busd::testing::Bus, Authenticator, ipc::Requests) {
        let bus = busd::testing::Bus::start().await;
        let usermgr = bus.client("usermgr").await.serve(&["AuthService"]).await.unwrap();
        let keep = Duration::from_secs(60);
        let policy = Policy { basic_cache: keep, token_cache: keep, logins };
        let way_in = Authenticator::new(bus.client("websrv").await, policy).unwrap();
        (bus, way_in, usermgr)
    }

    fn answer(user: &str, privilege: schema::v1alpha1::Privilege) -> api::Principal {
        let (username, user_id) = (user.to_owned(), user.to_owned());
        let privileges = vec![privilege.into()];
        api::Principal { username, user_id, privileges, ..api::Principal::default() }
    }

    /// Whoever asks looks once and leaves: what it was told at once, if anything.
    fn asks(way_in: &Authenticator, credential: &Credential, peer: Peer) -> Option<String> {
        let context = CallContext::new();
        // Many in a row would otherwise be told to let others run first.
        let asked = std::pin::pin!(tokio::task::unconstrained(way_in.verify(credential, peer, &context)));
        match asked.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
            std::task::Poll::Ready(verdict) => {
                Some(verdict.map_or_else(|status| status.reason(), |_| "in".to_owned()))
            }
            std::task::Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn checks_that_nobody_waits_for_are_bounded_and_do_not_keep_others_out() {
        let (_bus, way_in, mut usermgr) = bench(32).await;
        // usermgr answers nothing. One address sends what it likes and leaves each time.
        for n in 0..1000 {
            let told = asks(&way_in, &Credential::token(&n.to_string()), stranger(1));
            assert_eq!(told.as_deref(), (n >= TOKENS / 4).then_some("TOO_MANY_LOGINS"), "{n}");
        }
        for n in 0..10_000_usize {
            let at = stranger(u8::try_from(n % 250).unwrap());
            asks(&way_in, &Credential::token(&n.to_string()), at);
            asks(&way_in, &basic(&n.to_string(), "x"), at);
        }
        let flights = || way_in.0.memory().flights.len();
        assert!(flights() <= TOKENS + 32, "{}", flights());
        // Those that were asked are answered, and leave their places.
        let empty = async {
            while flights() > 0 {
                let asked = tokio::time::timeout(Duration::from_millis(10), usermgr.next()).await;
                if let Ok(Some(request)) = asked {
                    request.fail(Status::unauthenticated("no")).await;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), empty).await.expect("all are answered");
        let memory = way_in.0.memory();
        assert_eq!((memory.tokens.held(), memory.passwords.held()), (0, 0));
    }

    #[tokio::test]
    async fn an_administrator_who_was_seen_there_logs_in_whoever_tries() {
        let (_bus, way_in, mut usermgr) = bench(32).await;
        let first = {
            let way_in = way_in.clone();
            tokio::spawn(async move {
                way_in.verify(&basic("admin", "right"), HOME, &CallContext::new()).await.map(|_| ())
            })
        };
        let principal = Some(answer("admin", schema::v1alpha1::Privilege::ConfigureUsers));
        usermgr.next().await.unwrap().reply(&api::VerifyPasswordResponse { principal }).await;
        first.await.unwrap().unwrap();
        way_in.forget(Change::Everything);
        for n in 0..1000_usize {
            asks(&way_in, &basic(&format!("n{n}"), "x"), stranger(u8::try_from(n % 4).unwrap()));
        }
        assert_eq!(asks(&way_in, &basic("n", "x"), stranger(1)).as_deref(), Some("TOO_MANY_LOGINS"));
        assert_eq!(asks(&way_in, &basic("admin", "right"), HOME), None, "it is being checked");
        // A newcomer takes the place of one of those, who is told.
        let loses = basic("n15", "x");
        let context = CallContext::new();
        let mut waits = std::pin::pin!(way_in.verify(&loses, stranger(3), &context));
        let noop = &mut std::task::Context::from_waker(std::task::Waker::noop());
        assert!(waits.as_mut().poll(noop).is_pending(), "it joins the check that is under way");
        assert_eq!(asks(&way_in, &basic("new", "x"), stranger(9)), None);
        assert_eq!(waits.await.err().map(|status| status.reason()).as_deref(), Some("TOO_MANY_LOGINS"));
    }

    #[tokio::test]
    async fn an_answer_from_before_a_change_is_asked_for_again() {
        let (_bus, way_in, mut usermgr) = bench(1).await;
        let login = |token: &'static str| {
            let way_in = way_in.clone();
            tokio::spawn(
                async move { way_in.verify(&Credential::token(token), HOME, &CallContext::new()).await },
            )
        };
        let joined = [login("t"), login("t")];
        let before = usermgr.next().await.unwrap();
        way_in.forget(Change::User("ann".to_owned()));
        let late = login("t");
        let principal = Some(answer("ann", schema::v1alpha1::Privilege::ConfigureUsers));
        before.reply(&api::VerifyTokenResponse { principal }).await;
        // One question for all who wait.
        usermgr.next().await.unwrap().fail(Status::unauthenticated("gone")).await;
        for login in joined.into_iter().chain([late]) {
            assert_eq!(login.await.unwrap().err().map(|status| status.code), Some(Code::Unauthenticated));
        }
    }
}
