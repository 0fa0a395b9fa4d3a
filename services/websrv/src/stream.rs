//! Server streams: events of the feed, written as the client's protocol wants them, for as long as the client may see them.

use std::pin::pin;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use http_body::Frame;
use ipc::Status;
use prost::Message;
use prost_reflect::DynamicMessage;
use redfish::resources::StreamFilter;
use schema::v1alpha1 as api;
use schema::v1alpha1::EventGapReason;

use crate::body::ResponseBody;
use crate::dispatch::{Codec, Messages, Rpc};
use crate::events::{Gap, Reader, Shown};
use crate::guard::{Guard, Watched};
use crate::json;
use crate::readings::SnapshotStream;
use crate::reports::Reports;
use crate::route::Route;
use crate::site::Subscribed;

/// After which number of the event log a stream begins: what a client that has seen no event yet resumes with.
const EVENT_SEQUENCE: HeaderName = HeaderName::from_static("event-sequence");

/// What happens on a stream.
enum Item {
    Shown(Shown),
    Heartbeat,
    /// What was waited for beside it has come ([`Watching::next_or`]).
    Due,
    End(Status),
}

/// Where a stream's messages come from.
#[allow(clippy::large_enum_variant, reason = "there is one for each open stream, and it is moved once")]
pub(crate) enum Source {
    /// The event log.
    Log(Reader),
    /// What is true now.
    Snapshot(SnapshotStream),
}

impl Source {
    fn begin(&self) -> u64 {
        match self {
            Self::Log(reader) => reader.begin(),
            Self::Snapshot(_) => 0,
        }
    }

    fn sequence(&self) -> u64 {
        match self {
            Self::Log(reader) => reader.sequence(),
            Self::Snapshot(_) => 0,
        }
    }

    async fn next(&mut self) -> Result<Shown, Status> {
        match self {
            Self::Log(reader) => reader.next().await,
            Self::Snapshot(snapshot) => Ok(Shown::Event(snapshot.next().await?, 0)),
        }
    }
}

/// One open stream.
pub(crate) struct Watching {
    route: Arc<Route>,
    guard: Guard,
    events: Source,
}

impl Watching {
    pub(crate) fn new(route: Arc<Route>, guard: Guard, events: Source) -> Self {
        Self { route, guard, events }
    }

    async fn next(&mut self) -> Item {
        self.next_or(std::future::pending()).await
    }

    /// What happens next, or [`Item::Due`] as soon as `due` is over. The caller may see what is shown then, as with all else.
    async fn next_or(&mut self, due: impl Future<Output = ()>) -> Item {
        let mut due = pin!(due);
        loop {
            if let Err(status) = self.guard.check().await {
                return Item::End(status);
            }
            tokio::select! {
                biased;
                watched = self.guard.wake() => match watched {
                    None => {}
                    Some(Watched::Heartbeat) => return Item::Heartbeat,
                    Some(Watched::End(status)) => return Item::End(status),
                },
                // Before the events: where many happen it would never have its turn, and is seldom itself.
                () = &mut due => return Item::Due,
                shown = self.events.next() => return match shown {
                    Ok(shown) => Item::Shown(shown),
                    Err(status) => Item::End(status),
                },
            }
        }
    }

    /// What `work` gives, which the caller may see then; `None` as soon as the stream is over. A sign of life that is due meanwhile is left out.
    async fn allowed<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            self.guard.check().await.ok()?;
            tokio::select! {
                biased;
                watched = self.guard.wake() => if matches!(watched, Some(Watched::End(_))) {
                    return None;
                },
                done = &mut work => return Some(done),
            }
        }
    }

    /// The message a client of the schema gets.
    fn message(&self, shown: &Shown) -> Bytes {
        match shown {
            Shown::Event(payload, sequence) => numbered(&self.route, payload, *sequence),
            Shown::Gap(gap) => gap_event(gap).encode_to_vec().into(),
        }
    }

    /// What a client may name to go on after this message: its number in the log, or its own id if it has no number.
    fn id(&self, message: &DynamicMessage) -> Option<String> {
        if let Some((_, field)) = self.route.resume {
            let number = message.get_field_by_number(field)?.as_u64().filter(|number| *number != 0)?;
            return Some(number.to_string());
        }
        let field = self.route.sse_id.as_ref()?;
        message.get_field(field).as_str().map(str::to_owned)
    }

    /// A message's JSON, and its id.
    fn show(&self, event: Bytes) -> Option<(Bytes, Option<String>)> {
        let shown = DynamicMessage::decode(self.route.output.clone(), event).ok().and_then(|message| {
            let id = self.id(&message);
            json::encode(&message).ok().map(|text| (text, id))
        });
        if shown.is_none() {
            tracing::warn!(method = self.route.info.full_name, "cannot decode event");
        }
        shown
    }
}

/// The message with its number in the log: one more field at its end, which wins over an earlier one of the same number.
fn numbered(route: &Route, payload: &Bytes, sequence: u64) -> Bytes {
    let Some((_, field)) = route.resume else { return payload.clone() };
    let mut out = BytesMut::with_capacity(payload.len() + 16);
    out.extend_from_slice(payload);
    prost::encoding::uint64::encode(field, &sequence, &mut out);
    out.freeze()
}

fn gap_words(gap: &Gap) -> String {
    match gap.reason {
        EventGapReason::Dropped => format!("the log has dropped {} events that were not shown yet", gap.lost),
        EventGapReason::Ahead => {
            "the log has not reached the number to go on after; what is new follows".to_owned()
        }
        EventGapReason::Unreadable | EventGapReason::Unspecified => {
            "the log could not be read; events may be missing".to_owned()
        }
    }
}

/// A gap as a message among events.
fn gap_event(gap: &Gap) -> api::Event {
    api::Event {
        time: Some(SystemTime::now().into()),
        domain: "log".into(),
        component: "events".into(),
        what: "gap".into(),
        severity: api::EventSeverity::Warning.into(),
        message: gap_words(gap),
        source: "websrv".into(),
        sequence: gap.sequence,
        payload: Some(api::event::Payload::Gap(api::EventGap { lost: gap.lost, reason: gap.reason.into() })),
        ..api::Event::default()
    }
}

/// The messages of a stream by Connect, gRPC or gRPC-Web, and what its head says.
pub(crate) fn messages(rpc: Rpc, watching: Watching) -> (Messages, HeaderMap) {
    let head = HeaderMap::from_iter([(EVENT_SEQUENCE, HeaderValue::from(watching.events.begin()))]);
    let messages = stream::unfold(Some(watching), move |watching| async move {
        let mut watching = watching?;
        loop {
            match watching.next().await {
                Item::Shown(shown) => {
                    let event = watching.message(&shown);
                    let message = match rpc.codec() {
                        Codec::Proto => event,
                        Codec::Json => match watching.show(event) {
                            Some((text, _)) => text,
                            None => continue,
                        },
                    };
                    return Some((Ok(message.into()), Some(watching)));
                }
                // These protocols have no room for a sign of life; HTTP/2 and QUIC have pings of their own.
                Item::Heartbeat | Item::Due => {}
                Item::End(status) => return Some((Err(rpc.error(&status)), None)),
            }
        }
    });
    (messages.boxed(), head)
}

/// A stream of server-sent events: REST.
pub(crate) fn sse(watching: Watching) -> Response<ResponseBody> {
    let begin = watching.events.begin();
    let resumes = watching.route.resume.is_some();
    // A first comment, so that a proxy or a library in between lets the head go. An id without data is no event, but a browser that
    // reconnects names it (HTML, "server-sent events", 9.2.6).
    let hello = if resumes { format!(": watching\nid: {begin}\n\n") } else { ": watching\n\n".to_owned() };
    let hello = stream::once(async { Ok(Frame::data(Bytes::from(hello))) });
    let events = stream::unfold(Some((watching, begin)), move |state| async move {
        let (mut watching, mut told) = state?;
        loop {
            let text = match watching.next().await {
                Item::Shown(shown) => {
                    told = watching.events.sequence();
                    match &shown {
                        Shown::Gap(gap) => {
                            let reason = gap.reason.as_str_name().trim_start_matches("EVENT_GAP_REASON_");
                            let data = serde_json::json!({
                                "lost": gap.lost, "reason": reason, "message": gap_words(gap)
                            });
                            let id = (gap.sequence > 0).then(|| gap.sequence.to_string());
                            event_text(id.as_deref(), Some("gap"), data.to_string().as_bytes())
                        }
                        Shown::Event(..) => match watching.show(watching.message(&shown)) {
                            Some((json, id)) => event_text(id.as_deref(), None, &json),
                            None => continue,
                        },
                    }
                }
                // What was passed over need not be looked at again after an interruption.
                Item::Heartbeat if resumes && watching.events.sequence() != told => {
                    told = watching.events.sequence();
                    Bytes::from(format!(": alive\nid: {told}\n\n"))
                }
                Item::Heartbeat => Bytes::from_static(b": alive\n\n"),
                Item::Due => continue,
                Item::End(status) => {
                    let text = event_text(None, Some("error"), &crate::status::rest(&status));
                    return Some((Ok(Frame::data(text)), None));
                }
            };
            return Some((Ok(Frame::data(text)), Some((watching, told))));
        }
    });
    let mut response = Response::new(ResponseBody::stream(hello.chain(events)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(EVENT_SEQUENCE, begin.into());
    // nginx buffers what it proxies unless told not to.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// A stream of Redfish's events (DSP0266 §12.5.2). What may be missing is told as an event, too: a client of Redfish knows no other. Metric reports are
/// in no log, so one has no id of its own: it has that of the events that were looked at before it, where that is another than the client has.
pub(crate) fn redfish(
    watching: Watching,
    subscribed: Subscribed,
    filter: StreamFilter,
    reports: Option<Reports>,
) -> Response<ResponseBody> {
    let begin = watching.events.begin();
    let hello = format!(": watching\nid: {begin}\n\n");
    let hello = stream::once(async { Ok(Frame::data(Bytes::from(hello))) });
    let events = stream::unfold(
        (watching, subscribed, filter, reports, begin),
        async |(mut watching, subscribed, filter, mut reports, mut told)| {
            let text = loop {
                let item = tokio::select! {
                    biased;
                    () = subscribed.closed() => return None,
                    item = watching.next_or(report_is_due(reports.as_mut())) => item,
                };
                match item {
                    Item::Shown(shown) => {
                        let (event, sequence) = match &shown {
                            Shown::Event(payload, sequence) => match api::Event::decode(payload.clone()) {
                                Ok(event) if filter.selects(&event) => (event, *sequence),
                                _ => continue,
                            },
                            // Who has no events misses none.
                            Shown::Gap(_) if !filter.shows_events() => continue,
                            Shown::Gap(gap) => (gap_event(gap), gap.sequence),
                        };
                        told = watching.events.sequence();
                        let id = if sequence > 0 { sequence.to_string() } else { event.id.clone() };
                        let payload = filter.payload(&event, &id, subscribed.id());
                        break event_text(Some(&id), None, payload.to_string().as_bytes());
                    }
                    Item::Due => {
                        let Some(reports) = &mut reports else { continue };
                        // One that is ended, or whose caller is not allowed any more, does not wait for who says what the sensors show.
                        let report = tokio::select! {
                            biased;
                            () = subscribed.closed() => return None,
                            report = watching.allowed(reports.next(|uri| filter.selects_report(uri))) => report?,
                        };
                        let Some(report) = report else { continue };
                        if !filter.selects_report(report.definition()) {
                            continue;
                        }
                        let payload = report.text(subscribed.id());
                        let sequence = watching.events.sequence();
                        let id = (sequence != told).then(|| sequence.to_string());
                        told = sequence;
                        break event_text(id.as_deref(), None, payload.as_bytes());
                    }
                    Item::Heartbeat if watching.events.sequence() != told => {
                        told = watching.events.sequence();
                        break Bytes::from(format!(": alive\nid: {told}\n\n"));
                    }
                    Item::Heartbeat => break Bytes::from_static(b": alive\n\n"),
                    Item::End(_) => return None,
                }
            };
            Some((Ok(Frame::data(text)), (watching, subscribed, filter, reports, told)))
        },
    );
    let mut response = Response::new(ResponseBody::stream(hello.chain(events)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// Returns when a metric report is to be shown; never where none are.
async fn report_is_due(reports: Option<&mut Reports>) {
    match reports {
        Some(reports) => reports.due().await,
        None => std::future::pending().await,
    }
}

/// One event. JSON as we write it has no line breaks; an id with one would end its line, so it is left out.
fn event_text(id: Option<&str>, kind: Option<&str>, data: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(data.len() + 64);
    if let Some(id) = id.filter(|id| !id.is_empty() && !id.contains(['\n', '\r', '\0'])) {
        out.extend_from_slice(format!("id: {id}\n").as_bytes());
    }
    if let Some(kind) = kind {
        out.extend_from_slice(format!("event: {kind}\n").as_bytes());
    }
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_cannot_break_out_of_its_lines() {
        assert_eq!(event_text(Some("7"), None, b"{}"), "id: 7\ndata: {}\n\n");
        assert_eq!(event_text(Some("7\ndata: x"), Some("error"), b"{}"), "event: error\ndata: {}\n\n");
    }
}
