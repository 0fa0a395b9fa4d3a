//! What travels with a call beside its payload: who asks, how long it may take, and how to find it in the logs.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use async_nats::HeaderMap;
use data_encoding::HEXLOWER;
use schema::v1alpha1::Privilege;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::header;

/// Longest accepted request id: it is copied into every log line of the request.
const REQUEST_ID_MAX: usize = 64;
/// Longest accepted principal header: a dozen privileges and three names fit four times.
const PRINCIPAL_MAX: usize = 2048;
/// Longest deadline taken from a header. Nothing on a BMC's bus takes an hour; a larger number is an overflow waiting to happen.
const DEADLINE_MAX: Duration = Duration::from_secs(3600);

/// Who asks, as the gateway authenticated it.
///
/// Only the gateway and the daemons may publish on `rpc.>` (see crate `roster`), so a receiver trusts this header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// Account name.
    #[serde(rename = "name")]
    pub username: String,
    /// Account id; stays when the account is renamed.
    #[serde(rename = "id", default)]
    pub user_id: String,
    /// Role name: `Administrator`, `Operator`, `ReadOnly`, or one that was made; `privileges` say what it allows.
    #[serde(default)]
    pub role: String,
    /// Numbers of `schema.v1alpha1.Privilege` the role grants.
    #[serde(rename = "priv", default)]
    pub privileges: Vec<i32>,
    /// Session the request came through; empty for HTTP Basic.
    #[serde(rename = "sid", default, skip_serializing_if = "String::is_empty")]
    pub session_id: String,
    /// Address of the client, for the audit trail; empty when not known.
    #[serde(rename = "addr", default, skip_serializing_if = "String::is_empty")]
    pub address: String,
}

impl Principal {
    /// Whether its role grants this.
    #[must_use]
    pub fn may(&self, privilege: Privilege) -> bool {
        self.privileges.contains(&privilege.into())
    }

    /// Whether it may configure the controller or users.
    #[must_use]
    pub fn is_administrator(&self) -> bool {
        self.may(Privilege::ConfigureManager) || self.may(Privilege::ConfigureUsers)
    }
}

impl From<schema::v1alpha1::Principal> for Principal {
    fn from(principal: schema::v1alpha1::Principal) -> Self {
        Self {
            username: principal.username,
            user_id: principal.user_id,
            role: principal.role,
            privileges: principal.privileges,
            session_id: principal.session_id,
            address: principal.address,
        }
    }
}

/// W3C trace context: which trace a call belongs to, and which span caused it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    sampled: bool,
}

impl TraceContext {
    /// A new trace.
    pub fn random() -> Self {
        Self { trace_id: nonzero(random()), span_id: nonzero(random()), sampled: true }
    }

    /// A new span of the same trace.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { span_id: nonzero(random()), ..*self }
    }

    /// Parses a `traceparent` header, version 00 or later; `None` when it is malformed (the caller starts a new trace then).
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let version: [u8; 1] = hex(parts.next()?)?;
        let trace_id: [u8; 16] = hex(parts.next()?)?;
        let span_id: [u8; 8] = hex(parts.next()?)?;
        let flags: [u8; 1] = hex(parts.next()?)?;
        // Version 00 has exactly four fields; later ones may have more, and 255 is forbidden (W3C Trace Context §3.2.2).
        if version[0] == 0xff || (version[0] == 0 && parts.next().is_some()) {
            return None;
        }
        if trace_id == [0; 16] || span_id == [0; 8] {
            return None;
        }
        Some(Self { trace_id, span_id, sampled: flags[0] & 1 == 1 })
    }

    /// The trace id in lower-case hex: the key of this request in every log.
    pub fn trace_id(&self) -> String {
        HEXLOWER.encode(&self.trace_id)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{}-{}-0{}",
            HEXLOWER.encode(&self.trace_id),
            HEXLOWER.encode(&self.span_id),
            u8::from(self.sampled)
        )
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Everything that travels with a call beside its payload.
#[derive(Clone, Debug, PartialEq)]
pub struct CallContext {
    /// Who asks; `None` when a daemon asks on its own behalf.
    pub principal: Option<Principal>,
    /// When the caller stops waiting; `None` leaves it to the method's own deadline.
    pub deadline: Option<Instant>,
    /// Trace the call belongs to.
    pub trace: TraceContext,
    /// Correlates the logs of all daemons; printable ASCII, at most 64 bytes.
    pub request_id: String,
    /// How long a call waits for an owner that is not there (it may be restarting). Not sent; zero unless asked for.
    pub patience: Duration,
}

impl CallContext {
    /// A context of a daemon's own: no principal, no deadline beyond the method's, new trace and request id.
    pub fn new() -> Self {
        let trace = TraceContext::random();
        let request_id = HEXLOWER.encode(&random::<8>());
        Self { principal: None, deadline: None, trace, request_id, patience: Duration::ZERO }
    }

    /// Sets who asks.
    #[must_use]
    pub fn with_principal(mut self, principal: Principal) -> Self {
        self.principal = Some(principal);
        self
    }

    /// Ends the call `timeout` from now, if it is not already due earlier.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        let new = Instant::now() + timeout.min(DEADLINE_MAX);
        self.deadline = Some(self.deadline.map_or(new, |old| old.min(new)));
        self
    }

    /// Keeps trying for `patience` while the owner of the method is not on the bus.
    ///
    /// Safe for every method: "no responders" means that nobody got the request.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The context for a call made to answer this one: same principal, deadline, trace and request id, new span.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { trace: self.trace.child(), patience: Duration::ZERO, ..self.clone() }
    }

    /// Name of the account that asks; empty when it is a daemon.
    pub fn username(&self) -> &str {
        self.principal.as_ref().map_or("", |principal| principal.username.as_str())
    }

    /// Time left until the deadline; zero when it has passed, `None` without one.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Whether the caller has stopped waiting.
    pub fn is_over(&self) -> bool {
        self.remaining().is_some_and(|left| left.is_zero())
    }

    /// The headers of a request whose caller waits until `give_up`.
    pub(crate) fn to_headers(&self, give_up: Instant) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::DEADLINE, mono_us(give_up).to_string());
        headers.insert(header::TRACEPARENT, self.trace.to_string());
        headers.insert(header::REQUEST_ID, clean_request_id(&self.request_id).as_str());
        if let Some(principal) = &self.principal
            && let Ok(json) = serde_json::to_string(principal)
        {
            headers.insert(header::PRINCIPAL, header::encode(&json));
        }
        headers
    }

    /// Reads the headers of a request, whenever it was sent. What is missing or malformed is replaced, but a principal that
    /// cannot be read is an error: acting without one would be acting as the daemon itself.
    pub(crate) fn from_headers(headers: Option<&HeaderMap>) -> Result<Self, MalformedPrincipal> {
        let get = |name| headers.and_then(|map| map.get(name)).map(|value| value.as_str());
        let principal = match get(header::PRINCIPAL) {
            None => None,
            Some(line) if line.len() > PRINCIPAL_MAX => return Err(MalformedPrincipal),
            Some(line) => Some(serde_json::from_str(&header::decode(line)).map_err(|_| MalformedPrincipal)?),
        };
        let deadline = get(header::DEADLINE).and_then(|text| text.parse::<u64>().ok()).map(at_mono_us);
        let trace = get(header::TRACEPARENT)
            .and_then(TraceContext::parse)
            .map_or_else(TraceContext::random, |trace| trace.child());
        let request_id = get(header::REQUEST_ID)
            .filter(|id| !id.is_empty())
            .map_or_else(|| HEXLOWER.encode(&random::<8>()), clean_request_id);
        Ok(Self { principal, deadline, trace, request_id, patience: Duration::ZERO })
    }
}

impl Default for CallContext {
    fn default() -> Self {
        Self::new()
    }
}

/// The principal header is not what a gateway writes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MalformedPrincipal;

/// A moment of tokio's clock and of `CLOCK_MONOTONIC`, which go alike. Tied together once, so that what one context writes another of this
/// process reads the same even where a test has stopped tokio's time.
fn tied() -> (Instant, Duration) {
    static TIED: OnceLock<(Instant, Duration)> = OnceLock::new();
    *TIED.get_or_init(|| {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let since =
            Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0));
        (Instant::now(), since)
    })
}

/// Microseconds of `CLOCK_MONOTONIC`, rounded down: the owner never has longer than the caller waits.
fn mono_us(at: Instant) -> u64 {
    let (instant, since) = tied();
    let ahead = at.saturating_duration_since(instant);
    let behind = instant.saturating_duration_since(at);
    u64::try_from((since + ahead).saturating_sub(behind).as_micros()).unwrap_or(u64::MAX)
}

/// What [`mono_us`] wrote, at most [`DEADLINE_MAX`] from now; what is over long since is over now.
fn at_mono_us(us: u64) -> Instant {
    let (instant, since) = tied();
    let at = Duration::from_micros(us);
    let now = Instant::now();
    let deadline = match at.checked_sub(since) {
        Some(ahead) => instant.checked_add(ahead).unwrap_or(now + DEADLINE_MAX),
        None => instant.checked_sub(since - at).unwrap_or(now),
    };
    deadline.min(now + DEADLINE_MAX)
}

fn clean_request_id(id: &str) -> String {
    id.chars().filter(char::is_ascii_graphic).take(REQUEST_ID_MAX).collect()
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if getrandom::fill(&mut bytes).is_err() {
        // Ids only correlate logs. A kernel without entropy is no reason to refuse the call.
        bytes.fill(1);
    }
    bytes
}

fn nonzero<const N: usize>(mut bytes: [u8; N]) -> [u8; N] {
    if bytes == [0; N] {
        bytes.fill(1);
    }
    bytes
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn principal() -> impl Strategy<Value = Principal> {
        (".{0,40}", "[a-z0-9-]{0,36}", "[A-Za-z]{0,13}", proptest::collection::vec(0i32..8, 0..7), ".{0,20}")
            .prop_map(|(username, user_id, role, privileges, address)| Principal {
                username,
                user_id,
                role,
                privileges,
                session_id: String::new(),
                address,
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_context_survives_its_headers(principal in principal(), ms in 1u64..3_000_000, spent in 0u64..3_000_000) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let sent = CallContext::new().with_principal(principal).with_timeout(Duration::from_millis(ms));
                let headers = sent.to_headers(sent.deadline.unwrap());
                // However long it lies in sockets and queues.
                tokio::time::advance(Duration::from_millis(spent)).await;
                let got = CallContext::from_headers(Some(&headers)).unwrap();
                assert_eq!(got.principal, sent.principal);
                let early = sent.deadline.unwrap().duration_since(got.deadline.unwrap());
                assert!(got.deadline <= sent.deadline && early <= Duration::from_micros(1), "{early:?}");
                assert!(got.is_over() || spent < ms);
                assert_eq!(got.request_id, sent.request_id);
                assert_eq!(got.trace.trace_id(), sent.trace.trace_id());
                assert_ne!(got.trace, sent.trace);
            });
        }

        #[test]
        fn a_deadline_only_ever_gets_nearer(first in 0u64..10_000_000, second in 0u64..10_000_000, spent in 0u64..10_000_000) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let context = CallContext::new()
                    .with_timeout(Duration::from_millis(first))
                    .with_timeout(Duration::from_millis(second));
                let total = Duration::from_millis(first.min(second)).min(DEADLINE_MAX);
                assert_eq!(context.remaining(), Some(total));
                tokio::time::advance(Duration::from_millis(spent)).await;
                assert_eq!(context.child().remaining(), Some(total.saturating_sub(Duration::from_millis(spent))));
            });
        }

        #[test]
        fn any_header_text_is_survived(name in 0usize..4, text in "[ -~]{0,300}") {
            let mut headers = HeaderMap::new();
            let names = [header::DEADLINE, header::TRACEPARENT, header::PRINCIPAL, header::REQUEST_ID];
            headers.insert(names[name], text.as_str());
            if let Ok(context) = CallContext::from_headers(Some(&headers)) {
                assert!(context.request_id.len() <= REQUEST_ID_MAX);
                assert!(context.remaining().is_none_or(|left| left <= DEADLINE_MAX));
            }
        }

        #[test]
        fn a_trace_survives_its_text(_round in 0..16) {
            let trace = TraceContext::random();
            prop_assert_eq!(TraceContext::parse(&trace.to_string()), Some(trace));
        }
    }

    #[test]
    fn malformed_traces_are_refused() {
        for text in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert_eq!(TraceContext::parse(text), None, "{text:?}");
        }
        assert!(
            TraceContext::parse("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more").is_some()
        );
    }

    #[test]
    fn an_unreadable_principal_is_refused_not_dropped() {
        let mut headers = HeaderMap::new();
        headers.insert(header::PRINCIPAL, "{\"name\":");
        assert_eq!(CallContext::from_headers(Some(&headers)), Err(MalformedPrincipal));
    }
}
