//! Server streams: events from the hub, written as the client's protocol wants them, for as long as the client may see them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Frame;
use ipc::{CallContext, Code, Follow, LogEntry, Status};
use prost_reflect::DynamicMessage;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::auth::Credential;
use crate::body::{BodyError, ResponseBody};
use crate::events::Watch;
use crate::gateway::{Gateway, denied};
use crate::json;
use crate::route::Route;
use crate::wire::{Codec, Wire};

/// How long a stream stays open while usermgr cannot say whether its session still exists. Only usermgr ends sessions, and it
/// is restarted within seconds.
const UNSURE: Duration = Duration::from_secs(30);
/// Pause before asking again in that time.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What happens on a stream.
pub(crate) enum Item {
    Message(Bytes),
    Heartbeat,
    End(Status),
}

/// Whose stream it is, and what it takes to ask again whether it still may be.
pub(crate) struct Access {
    pub credential: Option<Credential>,
    pub address: IpAddr,
    pub context: CallContext,
}

/// One open stream.
pub(crate) struct Watching {
    gateway: Arc<Gateway>,
    route: Arc<Route>,
    watch: Watch,
    log: Option<Follow>,
    access: Access,
    changes: watch::Receiver<u64>,
    heartbeat: tokio::time::Interval,
    deadline: Option<Instant>,
    /// When the caller was last known to be allowed.
    sure: Instant,
    recheck: Option<Instant>,
}

impl Watching {
    pub(crate) fn new(
        gateway: Arc<Gateway>,
        route: Arc<Route>,
        watch: Watch,
        log: Option<Follow>,
        access: Access,
        deadline: Option<Instant>,
    ) -> Self {
        let period = gateway.config.limits.heartbeat();
        let mut heartbeat = tokio::time::interval_at(Instant::now() + period, period);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let changes = gateway.auth.changes();
        let sure = Instant::now();
        Self { gateway, route, watch, log, access, changes, heartbeat, deadline, sure, recheck: None }
    }

    /// How many events after the client's last one the log no longer had.
    fn lost(&self) -> u64 {
        self.log.as_ref().map_or(0, Follow::lost)
    }

    async fn next(&mut self) -> Item {
        loop {
            let due = self.deadline;
            let recheck = self.recheck;
            tokio::select! {
                biased;
                () = at(due) => {
                    return Item::End(Status::deadline_exceeded("the client's timeout for the stream has passed"));
                }
                changed = self.changes.changed() => {
                    if changed.is_err() {
                        return Item::End(Status::unavailable("websrv is shutting down"));
                    }
                    if let Err(status) = self.still_allowed().await {
                        return Item::End(status);
                    }
                }
                () = at(recheck) => {
                    if let Err(status) = self.still_allowed().await {
                        return Item::End(status);
                    }
                }
                _ = self.heartbeat.tick() => {
                    // Also how a session's idle clock learns of the stream, and how its absolute end is met.
                    if let Err(status) = self.still_allowed().await {
                        return Item::End(status);
                    }
                    return Item::Heartbeat;
                }
                event = self.watch.next() => return match event {
                    Ok(event) => Item::Message(event),
                    Err(status) => Item::End(status),
                },
                entry = following(&mut self.log) => return match entry {
                    Some(Ok(entry)) => Item::Message(numbered(&self.route, entry.payload, entry.sequence)),
                    Some(Err(status)) => Item::End(status),
                    None => Item::End(Status::unavailable("websrv is shutting down")),
                },
            }
        }
    }

    async fn still_allowed(&mut self) -> Result<(), Status> {
        let Access { credential: Some(credential), address, context } = &self.access else { return Ok(()) };
        let context = context.child();
        let verified = self.gateway.auth.verify(credential, *address, &context, &HeaderMap::new()).await;
        match verified {
            Ok(caller) => {
                schema::access::before_request(self.route.info, &caller.access())
                    .map_err(|refusal| denied(refusal).status)?;
                self.sure = Instant::now();
                self.recheck = None;
                Ok(())
            }
            Err(failure) if failure.status.code == Code::Unauthenticated => {
                Err(Status::unauthenticated("the session of this stream has ended"))
            }
            Err(failure) if self.sure.elapsed() >= UNSURE => Err(failure.status),
            Err(_) => {
                self.recheck = Some(Instant::now() + ASK_AGAIN);
                Ok(())
            }
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
            tracing::warn!(method = self.route.info.full_name, "bytes on an event subject are no event");
        }
        shown
    }
}

async fn following(log: &mut Option<Follow>) -> Option<Result<LogEntry, Status>> {
    match log {
        Some(log) => log.next().await,
        None => std::future::pending().await,
    }
}

/// The message with its number in the log: one more field at its end, which wins over an earlier one of the same number.
fn numbered(route: &Route, payload: Bytes, sequence: u64) -> Bytes {
    let Some((_, field)) = route.resume else { return payload };
    let mut out = BytesMut::with_capacity(payload.len() + 16);
    out.extend_from_slice(&payload);
    prost::encoding::uint64::encode(field, &sequence, &mut out);
    out.freeze()
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// A stream with prefixed messages: Connect, gRPC, gRPC-Web.
pub(crate) fn framed(wire: Wire, watching: Watching) -> Response<ResponseBody> {
    let frames = stream::unfold(Some(watching), move |watching| async move {
        let mut watching = watching?;
        loop {
            match watching.next().await {
                Item::Message(event) => {
                    let message = match wire.codec() {
                        Codec::Proto => event,
                        Codec::Json => match watching.show(event) {
                            Some((text, _)) => text,
                            None => continue,
                        },
                    };
                    return Some((Ok(Frame::data(wire.message(&message))), Some(watching)));
                }
                // These protocols have no room for a sign of life; HTTP/2 and QUIC have pings of their own.
                Item::Heartbeat => {}
                Item::End(status) => return Some((Ok(wire.last(Err(&status))), None)),
            }
        }
    });
    wire.streaming(ResponseBody::stream(frames.map(|frame: Result<_, BodyError>| frame)))
}

/// A stream of server-sent events: REST.
pub(crate) fn sse(watching: Watching) -> Response<ResponseBody> {
    // A first comment, so that a proxy or a library in between lets the head go.
    let mut hello = b": watching\n\n".to_vec();
    if watching.lost() > 0 {
        let gap = serde_json::json!({ "lost": watching.lost() }).to_string();
        hello.extend_from_slice(&event_text(None, Some("gap"), gap.as_bytes()));
    }
    let hello = stream::once(async { Ok(Frame::data(Bytes::from(hello))) });
    let events = stream::unfold(Some(watching), |watching| async move {
        let mut watching = watching?;
        loop {
            let text = match watching.next().await {
                Item::Message(event) => match watching.show(event) {
                    Some((json, id)) => event_text(id.as_deref(), None, &json),
                    None => continue,
                },
                Item::Heartbeat => Bytes::from_static(b": alive\n\n"),
                Item::End(status) => {
                    let text = event_text(None, Some("error"), &crate::status::rest(&status));
                    return Some((Ok(Frame::data(text)), None));
                }
            };
            return Some((Ok(Frame::data(text)), Some(watching)));
        }
    });
    let mut response = Response::new(ResponseBody::stream(hello.chain(events)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // nginx buffers what it proxies unless told not to.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
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
