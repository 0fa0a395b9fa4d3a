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
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, Mac};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use ipc::{CallContext, Code, Status};
use prost::Message;
use schema::v1alpha1 as api;
use sha2::Sha256;
use tokio::sync::watch;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::config;
use crate::status::Failure;

/// Redfish's session header.
pub(crate) const X_AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

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
/// Longest token or password that is looked at. usermgr takes less; this only keeps work bounded.
const SECRET_MAX: usize = 1024;

/// An authenticated caller.
#[derive(Debug, PartialEq)]
pub(crate) struct Caller {
    /// As the bus carries it.
    pub principal: ipc::Principal,
    /// The account must change its password before it may do anything else.
    pub password_change_required: bool,
    /// How long usermgr lets this answer be used without asking again; `None` when it sets no bound.
    pub good_for: Option<Duration>,
}

impl Caller {
    /// The account, by what stays when it is renamed.
    pub(crate) fn account(&self) -> &str {
        match self.principal.user_id.as_str() {
            "" => &self.principal.username,
            id => id,
        }
    }

    /// Whether it may manage the controller itself.
    pub(crate) fn administrator(&self) -> bool {
        let manages = [api::Privilege::ConfigureManager, api::Privilege::ConfigureUsers];
        manages.iter().any(|privilege| self.principal.privileges.contains(&i32::from(*privilege)))
    }

    /// As the rules about access want it.
    pub(crate) fn access(&self) -> schema::access::Caller<'_> {
        schema::access::Caller {
            user_id: &self.principal.user_id,
            username: &self.principal.username,
            session_id: &self.principal.session_id,
            role: &self.principal.role,
            privileges: &self.principal.privileges,
            password_expired: self.password_change_required,
        }
    }
}

/// What a client showed. Wiped when dropped; a stream keeps it to ask again with.
#[derive(Clone)]
pub(crate) enum Credential {
    Token(Zeroizing<String>),
    Basic { username: String, password: Zeroizing<String> },
}

/// The credential in the headers, if there is one.
///
/// # Errors
/// 401 when there is one that cannot be read: it must not turn into "none".
pub(crate) fn credential(headers: &HeaderMap, basic: bool) -> Result<Option<Credential>, Failure> {
    let malformed = || refused("the credentials cannot be read", basic, headers);
    if let Some(token) = headers.get(X_AUTH_TOKEN) {
        let token = token.to_str().map_err(|_| malformed())?;
        return Ok(Some(Credential::Token(Zeroizing::new(token.to_owned()))));
    }
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let value = value.to_str().map_err(|_| malformed())?;
    let (scheme, rest) = value.split_once(' ').ok_or_else(malformed)?;
    let rest = rest.trim();
    if rest.len() > SECRET_MAX * 2 {
        return Err(malformed());
    }
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Some(Credential::Token(Zeroizing::new(rest.to_owned()))));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(refused("only Bearer and Basic are understood", basic, headers));
    }
    if !basic {
        return Err(refused("HTTP Basic is switched off here: create a session", basic, headers));
    }
    let decoded = Zeroizing::new(STANDARD.decode(rest).map_err(|_| malformed())?);
    let text = std::str::from_utf8(&decoded).map_err(|_| malformed())?;
    let (username, password) = text.split_once(':').ok_or_else(malformed)?;
    if username.len() > SECRET_MAX || password.len() > SECRET_MAX {
        return Err(malformed());
    }
    Ok(Some(Credential::Basic {
        username: username.to_owned(),
        password: Zeroizing::new(password.to_owned()),
    }))
}

/// 401 with the challenges RFC 9110 asks for. A browser's script gets none for Basic, or the browser would open its own
/// password dialogue over the page.
pub(crate) fn refused(message: &str, basic: bool, headers: &HeaderMap) -> Failure {
    challenged(Status::unauthenticated(message), basic, headers)
}

/// As [`refused`], with usermgr's reason and details. They are the same for names that do not exist. A lock-out has `Retry-After`.
fn challenged(status: Status, basic: bool, headers: &HeaderMap) -> Failure {
    let script = headers.contains_key("x-requested-with") || headers.contains_key("sec-fetch-mode");
    let challenge =
        if basic && !script { "Bearer, Basic realm=\"u-bmc\", charset=\"UTF-8\"" } else { "Bearer" };
    let seconds: Option<u64> =
        status.info().and_then(|info| info.metadata.get("retry_after_s")?.parse().ok());
    let failure = Failure::from(status).with(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    match seconds {
        Some(seconds) => failure.with(header::RETRY_AFTER, HeaderValue::from(seconds)),
        None => failure,
    }
}

type Key = [u8; 32];
type Verdict = Result<Arc<Caller>, Status>;

/// What an announced change makes doubtful.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Everything: events may have been missed.
    Everything,
    /// All credentials of the account of this id.
    User(String),
    /// The session of this id.
    Session(String),
}

impl Change {
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
    checks: HashMap<IpAddr, usize>,
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
    config: config::Auth,
    key: Key,
    memory: Mutex<Memory>,
    logins: usize,
    changes: watch::Sender<u64>,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator").field("config", &self.0.config).finish_non_exhaustive()
    }
}

/// A password check under way; dropped at its end.
struct Check {
    inner: Arc<Inner>,
    address: IpAddr,
}

impl Drop for Check {
    fn drop(&mut self) {
        let mut memory = self.inner.memory();
        if let Some(count) = memory.checks.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                memory.checks.remove(&self.address);
            }
        }
    }
}

/// Who shares a place: a host may take any address of its IPv6 network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

impl Authenticator {
    pub(crate) fn new(
        bus: ipc::Client,
        config: config::Auth,
        logins: usize,
    ) -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self(Arc::new(Inner {
            bus,
            config,
            key,
            memory: Mutex::default(),
            logins,
            changes: watch::channel(0).0,
        })))
    }

    /// Whether HTTP Basic is accepted.
    pub(crate) fn basic(&self) -> bool {
        self.0.config.basic
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
    pub(crate) async fn verify(
        &self,
        credential: &Credential,
        address: IpAddr,
        context: &CallContext,
        headers: &HeaderMap,
    ) -> Result<Arc<Caller>, Failure> {
        let key = self.0.key_of(credential, address);
        let (remembered, stale) = self.0.remembered(&key);
        if let Some(caller) = remembered {
            if stale && matches!(credential, Credential::Token(_)) {
                drop(self.check(key, credential, address, context));
            }
            return Ok(caller);
        }
        let late = || Status::unavailable("usermgr cannot check the login in time");
        let until = Instant::now() + CHECK_TIME;
        let until = context.deadline.map_or(until, |deadline| deadline.min(until));
        let mut flight = self.check(key, credential, address, context);
        let verdict = tokio::time::timeout_at(until, flight.wait_for(Option::is_some)).await;
        let verdict = match verdict {
            Ok(Ok(verdict)) => verdict.clone().unwrap_or_else(|| Err(late())),
            Ok(Err(_)) | Err(_) => Err(late()),
        };
        verdict.map_err(|status| self.0.failure(status, headers))
    }

    /// Has a credential checked, or joins the check that is under way.
    fn check(
        &self,
        key: Key,
        credential: &Credential,
        address: IpAddr,
        context: &CallContext,
    ) -> watch::Receiver<Option<Verdict>> {
        let mut memory = self.0.memory();
        if let Some(flight) = memory.flights.get(&key) {
            return flight.clone();
        }
        let (tell, flight) = watch::channel(None);
        if let Credential::Basic { .. } = credential {
            // Each check costs usermgr a memory-hard hash; a flood waits here, in words, not there.
            let all: usize = memory.checks.values().sum();
            let own = memory.checks.entry(network(address)).or_insert(0);
            if all >= self.0.logins || *own >= (self.0.logins / ADDRESS_SHARE).max(1) {
                if *own == 0 {
                    memory.checks.remove(&network(address));
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
            .then(|| Check { inner: Arc::clone(&self.0), address: network(address) });
        let (inner, credential) = (Arc::clone(&self.0), credential.clone());
        let mut context = context.child().with_patience(PATIENCE);
        context.principal = None;
        // Whoever waits for it has a deadline of his own; the check has the method's.
        context.deadline = None;
        tokio::spawn(async move {
            let verdict = inner.fly(key, &credential, address, &context).await;
            inner.memory().flights.remove(&key);
            drop(permit);
            tell.send_replace(Some(verdict));
        });
        flight
    }
}

impl Inner {
    /// Asks usermgr and remembers a success.
    async fn fly(
        &self,
        key: Key,
        credential: &Credential,
        address: IpAddr,
        context: &CallContext,
    ) -> Verdict {
        let since = *self.changes.borrow();
        let caller = match self.ask(credential, address, context).await {
            Ok(caller) => Arc::new(caller),
            Err(status) => {
                if status.code == Code::Unauthenticated {
                    self.memory().entries.remove(&key);
                }
                return Err(status);
            }
        };
        let seconds = match credential {
            Credential::Token(_) => self.config.token_cache_s,
            Credential::Basic { .. } => self.config.basic_cache_s,
        };
        let keep = Duration::from_secs(seconds);
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
        address: IpAddr,
        context: &CallContext,
    ) -> Result<Caller, Status> {
        let address = address.to_string();
        let principal = match credential {
            Credential::Token(token) => {
                let request = api::VerifyTokenRequest { token: token.to_string(), address: address.clone() };
                let payload = Bytes::from(request.encode_to_vec());
                self.bus
                    .raw_call("rpc.AuthService.VerifyToken", payload, context)
                    .await
                    .and_then(|reply| decode(reply, |r: api::VerifyTokenResponse| r.principal))
            }
            Credential::Basic { username, password } => {
                let request = api::VerifyPasswordRequest {
                    username: username.clone(),
                    password: password.to_string(),
                    address: address.clone(),
                };
                let payload = Bytes::from(request.encode_to_vec());
                self.bus
                    .raw_call("rpc.AuthService.VerifyPassword", payload, context)
                    .await
                    .and_then(|reply| decode(reply, |r: api::VerifyPasswordResponse| r.principal))
            }
        }?;
        Ok(Caller {
            password_change_required: principal.password_change_required,
            good_for: principal.expires.as_ref().map(time_until),
            principal: ipc::Principal {
                username: principal.username,
                user_id: principal.user_id,
                role: principal.role,
                privileges: principal.privileges,
                session_id: principal.session_id,
                address,
            },
        })
    }

    /// usermgr's refusal as the client of this request sees it.
    fn failure(&self, status: Status, headers: &HeaderMap) -> Failure {
        match status.code {
            Code::Unauthenticated => challenged(status, self.config.basic, headers),
            Code::ResourceExhausted => Failure::from(status)
                .http(StatusCode::SERVICE_UNAVAILABLE)
                .with(header::RETRY_AFTER, HeaderValue::from_static("2")),
            Code::Unavailable => Failure::from(status),
            Code::DeadlineExceeded => Failure::from(Status::unavailable(format!(
                "usermgr cannot check the login: {}",
                status.message
            ))),
            _ => {
                tracing::error!(code = %status.code, message = %status.message, "usermgr failed to check a login");
                Failure::from(Status::unavailable("usermgr cannot check the login"))
            }
        }
    }

    /// The address is part of the key: a locked-out address must not ride on the success of another.
    fn key_of(&self, credential: &Credential, address: IpAddr) -> Key {
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
        part(address.to_string().as_bytes());
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

fn decode<R: Message + Default>(
    reply: Bytes,
    principal: impl FnOnce(R) -> Option<api::Principal>,
) -> Result<api::Principal, Status> {
    R::decode(reply)
        .ok()
        .and_then(principal)
        // An answer without a name is no answer: it must not become a nameless caller.
        .filter(|principal| !principal.username.is_empty())
        .ok_or_else(|| Status::internal("usermgr's answer names nobody"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&str, &str)]) -> HeaderMap {
        list.iter()
            .map(|(n, v)| (HeaderName::try_from(*n).unwrap(), HeaderValue::from_str(v).unwrap()))
            .collect()
    }

    fn show(list: &[(&str, &str)], basic: bool) -> String {
        match credential(&headers(list), basic) {
            Ok(None) => "none".to_owned(),
            Ok(Some(Credential::Token(token))) => format!("token {}", *token),
            Ok(Some(Credential::Basic { username, password })) => format!("basic {username} {}", *password),
            Err(failure) => failure.http_status().as_u16().to_string(),
        }
    }

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

    #[test]
    fn an_ipv6_network_shares_one_place() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }

    #[test]
    fn credentials_are_found_or_refused_but_never_lost() {
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert_eq!(show(&[], true), "none");
        assert_eq!(show(&[("x-auth-token", "abc")], true), "token abc");
        assert_eq!(show(&[("authorization", "Bearer abc")], true), "token abc");
        assert_eq!(show(&[("authorization", "bearer abc")], false), "token abc");
        assert_eq!(show(&[("authorization", &basic("admin:a:b"))], true), "basic admin a:b");
        assert_eq!(show(&[("authorization", &basic("admin:x"))], false), "401");
        assert_eq!(show(&[("authorization", &basic("no colon"))], true), "401");
        assert_eq!(show(&[("authorization", "Basic !!!")], true), "401");
        assert_eq!(show(&[("authorization", "Digest x")], true), "401");
        assert_eq!(show(&[("authorization", "Bearer")], true), "401");
        let long = format!("Bearer {}", "x".repeat(5000));
        assert_eq!(show(&[("authorization", &long)], true), "401");
    }

    #[test]
    fn a_script_in_a_browser_gets_no_basic_challenge() {
        let challenge = |list: &[(&str, &str)]| {
            let failure = refused("no", true, &headers(list));
            failure.headers.iter().find(|(n, _)| *n == header::WWW_AUTHENTICATE).unwrap().1.clone()
        };
        assert!(challenge(&[]).to_str().unwrap().contains("Basic"));
        assert_eq!(challenge(&[("sec-fetch-mode", "cors")]), "Bearer");
    }

    #[test]
    fn a_lock_out_keeps_its_reason_and_says_when_to_come_back() {
        let locked = Status::unauthenticated("locked").with_info(ipc::ErrorInfo {
            reason: "LOCKED_OUT".into(),
            domain: ipc::ERROR_DOMAIN.into(),
            metadata: [("retry_after_s".to_owned(), "42".to_owned())].into(),
        });
        let failure = challenged(locked, true, &headers(&[]));
        let header = |name| failure.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.clone());
        assert_eq!(failure.status.reason(), "LOCKED_OUT");
        assert_eq!(header(header::RETRY_AFTER).unwrap(), "42");
        assert!(header(header::WWW_AUTHENTICATE).is_some());
        let wrong = challenged(Status::unauthenticated("wrong").with_reason("X"), true, &headers(&[]));
        assert!(wrong.headers.iter().all(|(name, _)| *name != header::RETRY_AFTER));
    }
}
