//! Who asks: credentials from headers, verified by usermgr, remembered for seconds.
//!
//! What is remembered is never the credential, only HMAC-SHA256 of it under a key that lives in this process. Every change of
//! an account or session that usermgr announces, and every gap in the bus, empties the memory at once; an entry whose check
//! began before such a change is never stored. Failures are not remembered: each counts for the lock-out.

use std::collections::HashMap;
use std::net::IpAddr;
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
use tokio::sync::{Semaphore, watch};
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

struct Entry {
    caller: Arc<Caller>,
    until: Instant,
}

#[derive(Default)]
struct Memory {
    entries: HashMap<Key, Entry>,
    /// One check per credential at a time: a burst of requests with one password costs one hash.
    flights: HashMap<Key, std::sync::Weak<tokio::sync::Mutex<()>>>,
}

/// Verifies and remembers.
pub(crate) struct Authenticator {
    bus: ipc::Client,
    config: config::Auth,
    key: Key,
    memory: Mutex<Memory>,
    logins: Semaphore,
    changes: watch::Sender<u64>,
}

impl std::fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authenticator").field("config", &self.config).finish_non_exhaustive()
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
        Ok(Self {
            bus,
            config,
            key,
            memory: Mutex::default(),
            logins: Semaphore::new(logins),
            changes: watch::channel(0).0,
        })
    }

    /// Whether HTTP Basic is accepted.
    pub(crate) fn basic(&self) -> bool {
        self.config.basic
    }

    /// Forgets everything: an account or session changed, or events may have been missed.
    pub(crate) fn forget(&self) {
        self.changes.send_modify(|epoch| *epoch += 1);
        self.memory().entries.clear();
    }

    /// Changes each time verified credentials should be verified again.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Who a credential belongs to.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` when usermgr says so; `UNAVAILABLE` naming usermgr when it does not answer. Never open.
    pub(crate) async fn verify(
        &self,
        credential: &Credential,
        address: IpAddr,
        context: &CallContext,
        headers: &HeaderMap,
    ) -> Result<Arc<Caller>, Failure> {
        let key = self.key_of(credential, address);
        if let Some(caller) = self.remembered(&key) {
            return Ok(caller);
        }
        let flight = self.flight(key);
        let _turn = flight.lock().await;
        if let Some(caller) = self.remembered(&key) {
            return Ok(caller);
        }
        let epoch = *self.changes.borrow();
        let caller = Arc::new(self.ask(credential, address, context, headers).await?);
        let seconds = match credential {
            Credential::Token(_) => self.config.token_cache_s,
            Credential::Basic { .. } => self.config.basic_cache_s,
        };
        let keep = Duration::from_secs(seconds);
        let keep = caller.good_for.map_or(keep, |bound| keep.min(bound));
        if !keep.is_zero() {
            let mut memory = self.memory();
            // Under the lock: `forget` changes the epoch before it takes it.
            if *self.changes.borrow() == epoch {
                let now = Instant::now();
                if memory.entries.len() >= CACHE_MAX {
                    memory.entries.retain(|_, entry| entry.until > now);
                }
                if memory.entries.len() >= CACHE_MAX {
                    memory.entries.clear();
                }
                memory.entries.insert(key, Entry { caller: Arc::clone(&caller), until: now + keep });
            }
        }
        Ok(caller)
    }

    async fn ask(
        &self,
        credential: &Credential,
        address: IpAddr,
        context: &CallContext,
        headers: &HeaderMap,
    ) -> Result<Caller, Failure> {
        let address = address.to_string();
        let mut context = context.child().with_patience(PATIENCE);
        context.principal = None;
        let answer = match credential {
            Credential::Token(token) => {
                let request = api::VerifyTokenRequest { token: token.to_string(), address: address.clone() };
                let payload = Bytes::from(request.encode_to_vec());
                self.bus
                    .raw_call("rpc.AuthService.VerifyToken", payload, &context)
                    .await
                    .and_then(|reply| decode(reply, |r: api::VerifyTokenResponse| r.principal))
            }
            Credential::Basic { username, password } => {
                // Each check costs usermgr a memory-hard hash; a flood waits here, in words, not there.
                let Ok(_permit) = self.logins.try_acquire() else {
                    return Err(Failure::from(Status::resource_exhausted(
                        "too many logins are being checked at once",
                    ))
                    .http(StatusCode::SERVICE_UNAVAILABLE)
                    .with(header::RETRY_AFTER, HeaderValue::from_static("2")));
                };
                let request = api::VerifyPasswordRequest {
                    username: username.clone(),
                    password: password.to_string(),
                    address: address.clone(),
                };
                let payload = Bytes::from(request.encode_to_vec());
                self.bus
                    .raw_call("rpc.AuthService.VerifyPassword", payload, &context)
                    .await
                    .and_then(|reply| decode(reply, |r: api::VerifyPasswordResponse| r.principal))
            }
        };
        match answer {
            Ok(principal) => Ok(Caller {
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
            }),
            Err(status) => Err(match status.code {
                Code::Unauthenticated => challenged(status, self.config.basic, headers),
                Code::ResourceExhausted | Code::Unavailable => Failure::from(status),
                Code::DeadlineExceeded => Failure::from(Status::unavailable(format!(
                    "usermgr cannot check the login: {}",
                    status.message
                ))),
                _ => {
                    tracing::error!(code = %status.code, message = %status.message, "usermgr failed to check a login");
                    Failure::from(Status::unavailable("usermgr cannot check the login"))
                }
            }),
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

    fn remembered(&self, key: &Key) -> Option<Arc<Caller>> {
        let memory = self.memory();
        let entry = memory.entries.get(key)?;
        (entry.until > Instant::now()).then(|| Arc::clone(&entry.caller))
    }

    fn flight(&self, key: Key) -> Arc<tokio::sync::Mutex<()>> {
        let mut memory = self.memory();
        if let Some(flight) = memory.flights.get(&key).and_then(std::sync::Weak::upgrade) {
            return flight;
        }
        memory.flights.retain(|_, flight| flight.strong_count() > 0);
        let flight = Arc::new(tokio::sync::Mutex::new(()));
        memory.flights.insert(key, Arc::downgrade(&flight));
        flight
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
