//! Server streams: events from the hub, written as the client's protocol wants them, for as long as the client may see them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Frame;
use ipc::{CallContext, Code, Status};
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

/// One open stream.
pub(crate) struct Watching {
    gateway: Arc<Gateway>,
    route: Arc<Route>,
    watch: Watch,
    credential: Option<Credential>,
    address: IpAddr,
    context: CallContext,
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
        credential: Option<Credential>,
        address: IpAddr,
        context: CallContext,
        deadline: Option<Instant>,
    ) -> Self {
        let period = gateway.config.limits.heartbeat();
        let mut heartbeat = tokio::time::interval_at(Instant::now() + period, period);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let changes = gateway.auth.changes();
        Self {
            gateway,
            route,
            watch,
            credential,
            address,
            context,
            changes,
            heartbeat,
            deadline,
            sure: Instant::now(),
            recheck: None,
        }
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
            }
        }
    }

    async fn still_allowed(&mut self) -> Result<(), Status> {
        let Some(credential) = &self.credential else { return Ok(()) };
        let mut context = self.context.child();
        context.deadline = None;
        let verified = self.gateway.auth.verify(credential, self.address, &context, &HeaderMap::new()).await;
        match verified {
            Ok(caller) if caller.may(self.route.info.privilege) => {
                self.sure = Instant::now();
                self.recheck = None;
                Ok(())
            }
            Ok(caller) => Err(denied(&self.route, &caller).status),
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

    /// A message's JSON, and its id.
    fn show(&self, event: Bytes) -> Option<(Bytes, Option<String>)> {
        let shown = DynamicMessage::decode(self.route.output.clone(), event).ok().and_then(|message| {
            let id = self
                .route
                .sse_id
                .as_ref()
                .and_then(|field| message.get_field(field).as_str().map(str::to_owned));
            json::encode(&message).ok().map(|text| (text, id))
        });
        if shown.is_none() {
            tracing::warn!(method = self.route.info.full_name, "bytes on an event subject are no event");
        }
        shown
    }
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
    let hello = stream::once(async { Ok(Frame::data(Bytes::from_static(b": watching\n\n"))) });
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
