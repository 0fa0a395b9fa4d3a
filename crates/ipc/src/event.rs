//! Events: what happened, told to whoever listens; with a mark where something may have been missed.
//!
//! A subscription on a bus loses what is published while it is disconnected. So an event only ever says "look again", the truth is in the
//! state of its owner, and each subscription yields a `Resync` item whenever it may have missed an event. A consumer that
//! re-reads at `Resync` and applies events otherwise never ends up with an old picture.

use std::time::SystemTime;

use async_nats::Subscriber;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures_util::StreamExt;
use prost::Message;
use schema::v1alpha1::event::Payload;
use schema::v1alpha1::{Event, EventSeverity};
use tokio::sync::watch;

use crate::client::{Client, Link};
use crate::status::Status;

/// What a subscription to events yields.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "an item lives for one turn of a loop; a box would cost more than it saves"
)]
pub enum EventItem {
    /// Something happened.
    Event(Event),
    /// Events may have been missed: read the state again.
    Resync,
}

/// What a subscription to raw messages yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawItem {
    /// A message.
    Message {
        /// Subject it was published on.
        subject: String,
        /// Its bytes.
        payload: Bytes,
    },
    /// Messages may have been missed.
    Resync,
}

/// A subscription to raw messages.
#[derive(Debug)]
pub struct RawEvents {
    messages: Subscriber,
    link: watch::Receiver<Link>,
    epoch: u64,
}

impl RawEvents {
    /// The next item; `None` when the connection was closed by this side. Safe to cancel.
    pub async fn next(&mut self) -> Option<RawItem> {
        loop {
            let epoch = self.link.borrow_and_update().epoch;
            if epoch != self.epoch {
                self.epoch = epoch;
                return Some(RawItem::Resync);
            }
            tokio::select! {
                biased;
                changed = self.link.changed() => {
                    if changed.is_err() {
                        return None;
                    }
                }
                message = self.messages.next() => {
                    let message = message?;
                    return Some(RawItem::Message { subject: message.subject.to_string(), payload: message.payload });
                }
            }
        }
    }
}

/// A subscription to events.
#[derive(Debug)]
pub struct Events {
    raw: RawEvents,
}

impl Events {
    /// The next item; `None` when the connection was closed by this side. Safe to cancel.
    ///
    /// Bytes that are no event are logged and reported as [`EventItem::Resync`]: something happened that we cannot read.
    pub async fn next(&mut self) -> Option<EventItem> {
        match self.raw.next().await? {
            RawItem::Resync => Some(EventItem::Resync),
            RawItem::Message { subject, payload } => match Event::decode(payload) {
                Ok(event) => Some(EventItem::Event(event)),
                Err(error) => {
                    tracing::warn!(%subject, %error, "cannot decode event");
                    Some(EventItem::Resync)
                }
            },
        }
    }
}

impl Client {
    /// Publishes an event on `event.<domain>.<component>.<what>`.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` when one of the three is empty or not a subject token; `UNAVAILABLE` when the connection is closed. While the
    /// bus is away the event is kept and sent at reconnect.
    pub async fn publish_event(&self, event: &Event) -> Result<(), Status> {
        let subject = event_subject(&event.domain, &event.component, &event.what)?;
        self.nats
            .publish(subject, event.encode_to_vec().into())
            .await
            .map_err(|error| Status::unavailable(format!("the event was not published: {error}")))
    }

    /// Publishes bytes on a subject: what is true now and stays in no log.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` when the connection is closed. While the bus is away the message is kept and sent at reconnect.
    pub async fn publish(&self, subject: &'static str, bytes: Vec<u8>) -> Result<(), Status> {
        self.nats
            .publish(subject, bytes.into())
            .await
            .map_err(|error| Status::unavailable(format!("nothing was published on {subject}: {error}")))
    }

    /// Subscribes to events by subject filter, e.g. `event.host.>` or `event.>`. When this returns the bus has the subscription:
    /// what is read from state afterwards and what the subscription yields leave no gap between them.
    pub async fn subscribe_events(&self, filter: &str) -> Result<Events, Status> {
        Ok(Events { raw: self.subscribe_raw(filter).await? })
    }

    /// Subscribes to a subject and yields the bytes: for the gateway, which forwards them.
    pub async fn subscribe_raw(&self, subject: &str) -> Result<RawEvents, Status> {
        let link = self.watch_link();
        let epoch = link.borrow().epoch;
        let messages = self
            .nats
            .subscribe(subject.to_owned())
            .await
            .map_err(|error| Status::unavailable(format!("cannot subscribe to {subject}: {error}")))?;
        self.flush().await?;
        Ok(RawEvents { messages, link, epoch })
    }
}

/// An id for an event that happened `at`: unique, and sorting by time. 12 hex digits of milliseconds since 1970, then 20 random ones.
fn event_id(at: SystemTime) -> String {
    let mut random = [0u8; 10];
    if getrandom::fill(&mut random).is_err() {
        tracing::warn!("cannot get random bytes for event id");
    }
    event_id_of(schema::time::unix_ms(at), random)
}

/// The same for who has a time and randomness of its own.
fn event_id_of(unix_ms: u64, random: [u8; 10]) -> String {
    format!("{unix_ms:012x}{}", HEXLOWER.encode(&random))
}

/// An event about `component` in the making: everything but when it happened.
///
/// ```
/// # use schema::v1alpha1::EventSeverity;
/// let event = ipc::EventBuilder::new("powermgr", "host", "system", "fault")
///     .severity(EventSeverity::Warning)
///     .message("system: reset cannot be used")
///     .by("admin", "4f1d")
///     .at(std::time::SystemTime::now());
/// assert_eq!((event.domain.as_str(), event.principal.as_deref()), ("host", Some("admin")));
/// ```
#[derive(Clone, Debug)]
pub struct EventBuilder {
    event: Event,
}

impl EventBuilder {
    /// What daemon `source` has to say on `event.<domain>.<component>.<what>`; of severity INFO.
    pub fn new(source: &str, domain: &str, component: &str, what: &str) -> Self {
        let event = Event {
            domain: domain.to_owned(),
            component: component.to_owned(),
            what: what.to_owned(),
            severity: EventSeverity::Info.into(),
            source: source.to_owned(),
            ..Event::default()
        };
        Self { event }
    }

    /// How much it matters.
    #[must_use]
    pub fn severity(mut self, severity: EventSeverity) -> Self {
        self.event.severity = severity.into();
        self
    }

    /// The same for people.
    #[must_use]
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.event.message = message.into();
        self
    }

    /// The same for programs.
    #[must_use]
    pub fn payload(mut self, payload: impl Into<Option<Payload>>) -> Self {
        self.event.payload = payload.into();
        self
    }

    /// Who caused it, and by which request; both empty when nobody did.
    #[must_use]
    pub fn by(mut self, username: &str, request_id: &str) -> Self {
        self.event.principal = (!username.is_empty()).then(|| username.to_owned());
        request_id.clone_into(&mut self.event.request_id);
        self
    }

    /// The event, which happened `at`.
    pub fn at(self, at: SystemTime) -> Event {
        Event { id: event_id(at), time: Some(at.into()), ..self.event }
    }

    /// The event, for who has a time and randomness of its own.
    pub fn at_unix_ms(self, unix_ms: u64, random: [u8; 10]) -> Event {
        Event { id: event_id_of(unix_ms, random), time: Some(schema::time::timestamp(unix_ms)), ..self.event }
    }
}

fn event_subject(domain: &str, component: &str, what: &str) -> Result<String, Status> {
    for (name, token) in [("domain", domain), ("component", component), ("what", what)] {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if token.is_empty() || !token.chars().all(plain) {
            return Err(Status::invalid_argument(format!(
                "an event's {name} is a word of letters, digits, - and _; {token:?} is not"
            )));
        }
    }
    Ok(format!("event.{domain}.{component}.{what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_differ() {
        let at = SystemTime::now();
        let (first, second) = (event_id(at), event_id(at));
        assert_ne!(first, second);
        assert_eq!(first.len(), 32);
        assert!(event_id(at + std::time::Duration::from_millis(1)) > first);
    }

    #[test]
    fn an_event_says_who_caused_it_or_that_nobody_did() {
        let event = || EventBuilder::new("powermgr", "host", "system", "state");
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_500);
        let told = event().by("admin", "r").message("on").at(at);
        assert_eq!(told.principal.as_deref(), Some("admin"));
        assert_eq!((told.request_id.as_str(), told.severity()), ("r", EventSeverity::Info));
        assert_eq!(told.time, Some(at.into()));
        assert!(told.id.starts_with("0000000005dc"), "{}", told.id);
        let told = event().by("", "").at_unix_ms(1_500, [7; 10]);
        assert_eq!((told.principal, told.id.as_str()), (None, "0000000005dc07070707070707070707"));
    }

    #[test]
    fn an_event_cannot_be_published_outside_its_subject() {
        assert_eq!(event_subject("host", "system", "state").unwrap(), "event.host.system.state");
        for (domain, component, what) in [
            ("", "system", "state"),
            ("host", "a.b", "state"),
            ("host", "*", "state"),
            ("host", "x", ">"),
            ("h t", "x", "y"),
        ] {
            assert!(event_subject(domain, component, what).is_err(), "{domain} {component} {what}");
        }
    }
}
