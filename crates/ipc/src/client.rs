//! The connection of a daemon to the bus, and calls over it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::client::{Request as NatsRequest, RequestErrorKind};
use async_nats::{ConnectErrorKind, ConnectOptions, Event as NatsEvent, connection};
use bytes::Bytes;
use prost::Message;
use schema::MethodInfo;
use schema::server::Call;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::context::CallContext;
use crate::header::{self, PING};
use crate::presence::{self, Lost, Refusals};
use crate::request::{Calls, Request, Requests};
use crate::status::{Status, UNANSWERED};

/// First delay before reconnecting; doubled at each attempt up to [`RECONNECT_MAX`].
const RECONNECT_MIN: Duration = Duration::from_millis(20);
/// The bus lives on the same machine: it is back within a moment or the operator restarts everything.
const RECONNECT_MAX: Duration = Duration::from_secs(1);
/// How long [`Client::connect`] keeps trying a bus that does not answer.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// How long the bus may take to handle what was sent to it.
const SYNC_WITHIN: Duration = Duration::from_secs(5);
/// Pause between the attempts of a patient call. A killed daemon is back in about 0.2 s.
const PATIENCE_STEP: Duration = Duration::from_millis(20);
/// Messages a subscription may queue in this process before it is a slow consumer: at 1 KiB each, 4 MiB at worst.
const SUBSCRIPTION_CAPACITY: usize = 4096;
/// Commands the client may queue towards the bus.
const CLIENT_CAPACITY: usize = 256;

/// A subject of `daemon`'s own that nobody serves: the server's "no responders" to it tells that all before it was handled.
pub fn sync_subject(daemon: &str) -> String {
    format!("_INBOX.{daemon}.sync")
}

/// Where the bus is and who we are on it.
#[derive(Clone)]
pub struct ConnectConfig {
    /// `nats://ADDR:PORT`; several separated by commas.
    pub url: String,
    /// User name on the bus; empty on a bus without authentication.
    pub user: String,
    /// Password on the bus.
    pub password: String,
    /// The daemon's name: its queue group and its inbox (`_INBOX.<name>`).
    pub name: String,
}

impl ConnectConfig {
    /// A connection without credentials.
    pub fn new(url: impl Into<String>, name: impl Into<String>) -> Self {
        Self { url: url.into(), user: String::new(), password: String::new(), name: name.into() }
    }

    /// Sets the credentials.
    #[must_use]
    pub fn with_credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.user = user.into();
        self.password = password.into();
        self
    }
}

impl fmt::Debug for ConnectConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectConfig")
            .field("url", &self.url)
            .field("user", &self.user)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The bus could not be reached or refused us.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens, or it is not a NATS server.
    #[error("the bus at {url} does not answer")]
    Unreachable {
        /// The address that was tried.
        url: String,
        /// What the last attempt ended with.
        #[source]
        source: async_nats::ConnectError,
    },
    /// The credentials are not known there.
    #[error("the bus at {url} refused the credentials of {user:?}")]
    Refused {
        /// The address that was tried.
        url: String,
        /// The user that was refused.
        user: String,
    },
    /// The address is not one.
    #[error("{url:?} is not the address of a bus: expected nats://ADDRESS:PORT")]
    BadUrl {
        /// The text that was given.
        url: String,
    },
}

/// The state of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether the bus is reachable now.
    pub connected: bool,
    /// Grows each time messages may have been missed: at every reconnect, and when a subscription overflowed.
    pub epoch: u64,
}

/// A daemon's connection to the bus. Cheap to clone; all clones share one connection.
#[derive(Clone)]
pub struct Client {
    pub(crate) nats: async_nats::Client,
    pub(crate) jetstream: async_nats::jetstream::Context,
    name: Arc<str>,
    link: watch::Receiver<Link>,
    refusals: Refusals,
    call_ids: Arc<CallIds>,
}

/// Numbers the calls of one connection: random, then counting.
struct CallIds(AtomicU64);

impl CallIds {
    fn next(&self) -> String {
        format!("{:016x}", self.0.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("name", &self.name).field("link", &self.link()).finish_non_exhaustive()
    }
}

/// What an error message says about the other side of a call.
struct Target {
    subject: &'static str,
    owner: &'static str,
    name: String,
    deadline: Duration,
    /// It does more than read.
    changes: bool,
}

impl Target {
    fn of(method: &MethodInfo) -> Self {
        Self {
            subject: method.subject,
            owner: method.owner,
            name: format!("{}.{}", method.service, method.method),
            deadline: method.deadline,
            changes: !method.read_only(),
        }
    }
}

impl Client {
    /// Connects, waiting up to 10 s for a bus that is just starting. Afterwards the connection heals itself for ever.
    pub async fn connect(config: &ConnectConfig) -> Result<Self, ConnectError> {
        let (sender, link) = watch::channel(Link { connected: true, epoch: 1 });
        let sender = Arc::new(sender);
        let refusals = Refusals::default();
        let give_up = Instant::now() + CONNECT_WITHIN;
        let mut attempt = 0;
        let nats = loop {
            match options(config, Arc::clone(&sender), refusals.clone()).connect(config.url.as_str()).await {
                Ok(nats) => break nats,
                Err(error) => match error.kind() {
                    ConnectErrorKind::ServerParse | ConnectErrorKind::Dns => {
                        return Err(ConnectError::BadUrl { url: config.url.clone() });
                    }
                    ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
                        return Err(ConnectError::Refused {
                            url: config.url.clone(),
                            user: config.user.clone(),
                        });
                    }
                    _ if Instant::now() >= give_up => {
                        return Err(ConnectError::Unreachable { url: config.url.clone(), source: error });
                    }
                    _ => {
                        tokio::time::sleep(reconnect_delay(attempt)).await;
                        attempt += 1;
                    }
                },
            }
        };
        let jetstream = async_nats::jetstream::new(nats.clone());
        let first = u64::from_be_bytes(crate::context::random());
        let call_ids = Arc::new(CallIds(AtomicU64::new(first)));
        Ok(Self { nats, jetstream, name: config.name.as_str().into(), link, refusals, call_ids })
    }

    /// The name this client has on the bus: the daemon's.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The state of the connection now.
    pub fn link(&self) -> Link {
        *self.link.borrow()
    }

    /// Follows the state of the connection.
    pub fn watch_link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    /// Calls `method` and waits for its answer.
    ///
    /// # Errors
    ///
    /// The owner's [`Status`]; `UNAVAILABLE` when the owner or the bus is not there, with the reason [`UNANSWERED`] when the owner
    /// took the request and died before it answered; `INTERNAL` when the bus does not permit the call; `DEADLINE_EXCEEDED`
    /// when a living owner gave neither an answer nor an error within the context's deadline or the method's, whichever is earlier: with
    /// the reason [`UNANSWERED`] when it may have been done or not, without when nothing was done.
    pub async fn call<Q: Message, R: Message + Default>(
        &self,
        method: schema::Method<Q, R>,
        request: &Q,
        context: &CallContext,
    ) -> Result<R, Status> {
        let target = Target::of(method.info);
        let reply = self.request(&target, request.encode_to_vec().into(), context).await?;
        R::decode(reply).map_err(|error| {
            Status::internal(format!(
                "{} answered {} with bytes that are no answer: {error}",
                target.owner, target.name
            ))
        })
    }

    /// Sends `payload` to `subject` (`rpc.<Service>.<Method>`) and returns the reply's payload: for the gateway, which has the
    /// message as bytes already. Errors as [`Client::call`].
    pub async fn raw_call(
        &self,
        subject: &str,
        payload: Bytes,
        context: &CallContext,
    ) -> Result<Bytes, Status> {
        let Some(method) = schema::method(subject) else {
            return Err(Status::unimplemented(format!("{subject} is not a method")));
        };
        let target = Target::of(method);
        self.request(&target, payload, context).await
    }

    async fn request(&self, target: &Target, payload: Bytes, context: &CallContext) -> Result<Bytes, Status> {
        let budget = context.remaining().map_or(target.deadline, |left| left.min(target.deadline));
        let give_up = Instant::now() + budget;
        let patient_until = Instant::now() + context.patience.min(budget);
        loop {
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Status::deadline_exceeded(format!(
                    "the time for {} was over before {} could be asked: nothing was done",
                    target.name, target.owner
                )));
            }
            let call = self.call_ids.next();
            let mut headers = context.to_headers(give_up);
            headers.insert(header::CALL_ID, call.as_str());
            let request = NatsRequest::new().payload(payload.clone()).headers(headers).timeout(Some(left));
            let answer = tokio::select! {
                // An answer that came before the bad news counts.
                biased;
                answer = self.nats.send_request(target.subject, request) => answer,
                lost = presence::lost(&self.nats, &self.refusals, target.subject, &call) => {
                    return Err(self.lost(target, lost));
                }
            };
            let error = match answer {
                Ok(message) => return Status::of_reply(message.headers.as_ref(), message.payload),
                Err(error) => error,
            };
            match error.kind() {
                RequestErrorKind::NoResponders if Instant::now() < patient_until => {
                    tokio::time::sleep(PATIENCE_STEP).await;
                }
                RequestErrorKind::NoResponders => {
                    return Err(Status::unavailable(format!(
                        "{} is not running, so {} has no answer",
                        target.owner, target.name
                    )));
                }
                RequestErrorKind::TimedOut => return Err(self.late(target, budget)),
                RequestErrorKind::MaxPayloadExceeded => {
                    return Err(Status::resource_exhausted(format!(
                        "the request to {} has {} bytes, the bus takes at most {}",
                        target.name,
                        payload.len(),
                        self.nats.max_payload()
                    )));
                }
                RequestErrorKind::InvalidSubject => {
                    return Err(Status::unimplemented(format!("{} is not a method", target.name)));
                }
                // It may have left before the connection went.
                RequestErrorKind::Other => {
                    return Err(Status::unavailable(format!(
                        "the bus between {} and {} is gone: {error}",
                        self.name, target.owner
                    ))
                    .with_reason(UNANSWERED));
                }
            }
        }
    }

    fn late(&self, target: &Target, budget: Duration) -> Status {
        if self.nats.connection_state() == connection::State::Connected {
            let doubt = if target.changes { ": it may have been done or not" } else { "" };
            Status::deadline_exceeded(format!(
                "{} did not answer {} within {} ms{doubt}",
                target.owner,
                target.name,
                budget.as_millis()
            ))
            .with_reason(UNANSWERED)
        } else {
            Status::unavailable(format!("the bus is not reachable, so {} has no answer", target.name))
                .with_reason(UNANSWERED)
        }
    }

    fn lost(&self, target: &Target, lost: Lost) -> Status {
        match lost {
            Lost::Owner => Status::unavailable(format!(
                "{} was restarted or is gone since it was asked for {}: it may have been done or not",
                target.owner, target.name
            ))
            .with_reason(UNANSWERED),
            Lost::Refused => {
                Status::internal(format!("the bus does not permit {} to call {}", self.name, target.name))
            }
        }
    }

    /// Takes part in serving all services of `C`, e.g. [`schema::server::StatemgrCall`], under this daemon's name as queue group. When this
    /// returns the bus has the subscriptions.
    ///
    /// # Errors
    /// As [`Client::serve`].
    pub async fn calls<C: Call<Request>>(&self) -> Result<Calls<C>, Status> {
        Ok(Calls::new(self.serve(C::SERVICES).await?))
    }

    /// Takes part in serving `services` (e.g. `["HostService"]`) under this daemon's name as queue group.
    ///
    /// When this returns the bus has the subscriptions: a caller told "ready" afterwards is served.
    pub async fn serve(&self, services: &[&str]) -> Result<Requests, Status> {
        let mut subscribers = Vec::with_capacity(services.len());
        for service in services {
            let subscriber = self
                .nats
                .queue_subscribe(format!("rpc.{service}.>"), self.name.to_string())
                .await
                .map_err(|error| Status::unavailable(format!("cannot serve {service}: {error}")))?;
            subscribers.push(subscriber);
        }
        self.flush().await?;
        Ok(Requests::new(subscribers, self.nats.clone()))
    }

    /// Whether `service` has somebody on the bus who takes requests, and answers within `within`.
    ///
    /// The question is answered where requests are taken ([`Requests`]), so a stuck loop counts as not there.
    pub async fn is_served(&self, service: &str, within: Duration) -> bool {
        let request = NatsRequest::new().payload(Bytes::new()).timeout(Some(within));
        self.nats.send_request(format!("rpc.{service}.{PING}"), request).await.is_ok()
    }

    /// Waits until the bus has handled everything sent so far.
    ///
    /// The client library's own flush only writes to the socket. A request nobody serves is answered by the server itself, after all that
    /// came before it on this connection.
    pub async fn flush(&self) -> Result<(), Status> {
        let subject = sync_subject(&self.name);
        let request = NatsRequest::new().payload(Bytes::new()).timeout(Some(SYNC_WITHIN));
        match self.nats.send_request(subject, request).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => Ok(()),
            Err(error) => Err(Status::unavailable(format!("the bus does not answer: {error}"))),
        }
    }

    /// Stops taking requests, sends what is queued, and closes the connection.
    pub async fn close(&self) {
        if self.nats.drain().await.is_err() {
            tracing::debug!("the bus was gone before the connection was closed");
        }
    }
}

fn options(config: &ConnectConfig, link: Arc<watch::Sender<Link>>, refusals: Refusals) -> ConnectOptions {
    let options = if config.user.is_empty() {
        ConnectOptions::new()
    } else {
        ConnectOptions::with_user_and_password(config.user.clone(), config.password.clone())
    };
    options
        .name(&config.name)
        .custom_inbox_prefix(format!("_INBOX.{}", config.name))
        .max_reconnects(None)
        .reconnect_delay_callback(reconnect_delay)
        .ping_interval(Duration::from_secs(10))
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .client_capacity(CLIENT_CAPACITY)
        .read_buffer_capacity(16 * 1024)
        .ignore_discovered_servers()
        .event_callback(move |event| {
            note(&link, &event);
            if let NatsEvent::ServerError(error) = &event {
                refusals.note(&error.to_string());
            }
            std::future::ready(())
        })
}

/// 20, 40, 80 … ms, at most 1 s.
fn reconnect_delay(attempt: usize) -> Duration {
    let factor = 1u32 << attempt.min(10);
    RECONNECT_MIN.saturating_mul(factor).min(RECONNECT_MAX)
}

fn note(link: &watch::Sender<Link>, event: &NatsEvent) {
    match event {
        NatsEvent::Connected => link.send_modify(|link| {
            // The event of the first connection finds `connected` set: nothing was missed.
            if !link.connected {
                link.connected = true;
                link.epoch += 1;
                tracing::info!("bus reconnected");
            }
        }),
        NatsEvent::Disconnected => {
            tracing::warn!("bus disconnected");
            link.send_modify(|link| link.connected = false);
        }
        NatsEvent::SlowConsumer(subscription) => {
            tracing::warn!(subscription, "subscription queue full: messages dropped");
            link.send_modify(|link| link.epoch += 1);
        }
        NatsEvent::LameDuckMode => tracing::info!("server entered lame-duck mode"),
        NatsEvent::Draining | NatsEvent::Closed => tracing::debug!(%event, "bus connection"),
        NatsEvent::ServerError(error) => tracing::error!(%error, "bus server reported error"),
        NatsEvent::ClientError(error) => tracing::warn!(%error, "bus connection error"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnecting_starts_fast_and_never_waits_longer_than_a_second() {
        assert_eq!(reconnect_delay(0), Duration::from_millis(20));
        assert_eq!(reconnect_delay(3), Duration::from_millis(160));
        assert_eq!(reconnect_delay(10_000), RECONNECT_MAX);
    }

    #[test]
    fn only_a_reconnect_or_an_overflow_moves_the_epoch() {
        let (sender, receiver) = watch::channel(Link { connected: true, epoch: 1 });
        note(&sender, &NatsEvent::Connected);
        assert_eq!(*receiver.borrow(), Link { connected: true, epoch: 1 });
        note(&sender, &NatsEvent::Disconnected);
        assert_eq!(*receiver.borrow(), Link { connected: false, epoch: 1 });
        note(&sender, &NatsEvent::Connected);
        assert_eq!(*receiver.borrow(), Link { connected: true, epoch: 2 });
        note(&sender, &NatsEvent::SlowConsumer(3));
        assert_eq!(*receiver.borrow(), Link { connected: true, epoch: 3 });
    }

    #[test]
    fn a_password_is_not_in_the_debug_output() {
        let config =
            ConnectConfig::new("nats://127.0.0.1:1", "powermgr").with_credentials("powermgr", "s3cret");
        assert!(!format!("{config:?}").contains("s3cret"));
    }
}
