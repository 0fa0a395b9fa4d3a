//! A console, a screen or a medium of a host as a WebSocket (RFC 6455), and what a connection takes with it when it becomes one.
//!
//! The gate decides as for any request: it is a call of `OpenConsole`, `OpenKvm`, `ViewScreen`, `OpenMedia` or `UploadMediaFile`, whose answer is a ticket for the socket of the daemon that serves
//! it. From then on bytes go between the two sockets: binary messages are those of the console, RFB, or blocks of a file, text messages what the daemon and its client tell each
//! other, unless the client wants bytes alone. Nothing of either is looked at here.
//!
//! The connection keeps its place in the table and counts as one with a request under way; the session has a place among its account's streams, and ends with the
//! account's login, as they do.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequestParts as _;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use gate::audit::Level;
use gate::{Admitted, Checked};
use http::StatusCode;
use http::request::Parts;
use hyper::upgrade::OnUpgrade;
use ipc::Status;
use prost::{DecodeError, Message as _};
use prost_reflect::DynamicMessage;
use schema::v1alpha1 as api;
use serial::frame::{HEAD, Kind, PAYLOAD_MAX, PICTURE_MAX, encode, head_within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, MissedTickBehavior, timeout};

use crate::admission::{HttpVersion, Ticket};
use crate::call::Call;
use crate::dispatch::Wire;
use crate::gateway::{self, Gateway};
use crate::guard::{Guard, Watched};
use crate::json;
use crate::route::Route;
use crate::status::Failure;

/// What there is to have a session of.
#[derive(Debug)]
pub(crate) struct Way {
    /// The method a session is a call of.
    method: &'static str,
    /// Its answer's ticket.
    ticket: fn(Bytes) -> Result<String, DecodeError>,
    /// The daemon.
    daemon: &'static str,
    /// Why a session has none.
    unreachable: &'static str,
    /// The daemon's socket, in the run directory.
    socket: &'static str,
    /// What it is, for people.
    what: &'static str,
    /// Bytes of a message of the daemon at most.
    piece: usize,
    /// How long a client may take nothing before its session ends.
    stuck: Duration,
    /// Protocols a client may name that has nothing but bytes.
    protocols: &'static [&'static str],
}

/// A serial console.
pub(crate) static CONSOLE: Way = Way {
    method: "schema.v1alpha1.ConsoleService/OpenConsole",
    ticket: |answer| Ok(api::OpenConsoleResponse::decode(answer)?.ticket),
    daemon: "consolesrv",
    unreachable: "CONSOLESRV_UNREACHABLE",
    socket: "consolesrv/console.sock",
    what: "console",
    piece: PAYLOAD_MAX,
    // It costs a place and nothing else: what was printed meanwhile is still there.
    stuck: Duration::from_secs(600),
    protocols: &[],
};

const SCREEN: Way = Way {
    method: "schema.v1alpha1.KvmService/OpenKvm",
    ticket: |answer| Ok(api::OpenKvmResponse::decode(answer)?.ticket),
    daemon: "kvmsrv",
    unreachable: "KVMSRV_UNREACHABLE",
    socket: "kvmsrv/kvm.sock",
    what: "screen",
    piece: PICTURE_MAX,
    // A screen moves, and who does not take its picture may not be there any more, with keys held down.
    stuck: SILENT_MAX,
    // What clients of RFB name, if they name one.
    protocols: &["binary"],
};

/// A screen, with keyboard and mouse.
pub(crate) static KVM: Way = SCREEN;

/// A screen, to look at.
pub(crate) static VIEW: Way = Way {
    method: "schema.v1alpha1.KvmService/ViewScreen",
    ticket: |answer| Ok(api::ViewScreenResponse::decode(answer)?.ticket),
    ..SCREEN
};

const FILE: Way = Way {
    method: "schema.v1alpha1.MediaService/OpenMedia",
    ticket: |answer| Ok(api::OpenMediaResponse::decode(answer)?.ticket),
    daemon: "mediasrv",
    unreachable: "MEDIASRV_UNREACHABLE",
    socket: "mediasrv/media.sock",
    what: "medium",
    piece: PAYLOAD_MAX,
    stuck: Duration::from_secs(600),
    protocols: &[],
};

/// A file that a client serves for a drive.
pub(crate) static MEDIA: Way = FILE;

/// A file that a client serves for the store.
pub(crate) static MEDIA_FILE: Way = Way {
    method: "schema.v1alpha1.MediaService/UploadMediaFile",
    ticket: |answer| Ok(api::UploadMediaFileResponse::decode(answer)?.ticket),
    ..FILE
};

/// A message of a client: what somebody pastes may be long, and is passed on in pieces.
const MESSAGE_MAX: usize = 64 * 1024;
/// Bytes read from a client at a time: keys are few, and the default of 128 KiB would be taken for each session.
const READ_BUFFER: usize = 4096;
/// Bytes on their way to a client on top of a message of the daemon: the pong and the close that may come.
const WRITE_BUFFER_MORE: usize = 3 * PAYLOAD_MAX;
/// A client that is gone without a word is found by a ping that is not answered.
const PING_EVERY: Duration = Duration::from_secs(30);
const SILENT_MAX: Duration = Duration::from_secs(90);
/// How long the last word may take.
const FAREWELL: Duration = Duration::from_millis(500);

/// What a connection that may become something else brings.
pub(crate) struct Upgrade(OnUpgrade, Arc<Ticket>);

impl Upgrade {
    /// Takes it from a request, before the rest of what the transport attached is dropped.
    pub(crate) fn take(parts: &mut Parts) -> Option<Self> {
        let ticket = parts.extensions.remove::<Arc<Ticket>>()?;
        Some(Self(parts.extensions.remove()?, ticket))
    }

    /// Puts it back.
    pub(crate) fn put(self, parts: &mut Parts) {
        parts.extensions.insert(self.0);
        parts.extensions.insert(self.1);
    }
}

/// Opens a session.
pub(crate) async fn serve(
    gateway: &Arc<Gateway>,
    mut parts: Parts,
    call: &mut Call,
    way: &'static Way,
) -> Response {
    match open(gateway, &mut parts, call, way).await {
        Ok(response) => response,
        Err(failure) => call.fail(Wire::Rest, &failure).map(Body::new),
    }
}

async fn open(
    gateway: &Arc<Gateway>,
    parts: &mut Parts,
    call: &mut Call,
    way: &'static Way,
) -> Result<Response, Failure> {
    let (admitted, message) = identify(gateway, parts, call, way).await?;
    // To a client of bytes alone text is one more way to type.
    let bytes_only =
        message.get_field_by_name("bytes_only").is_some_and(|value| value.as_bool() == Some(true));
    let text = if bytes_only { Kind::Data } else { Kind::Control };
    if call.version != HttpVersion::H1 || !crate::ui_cookie::is_socket(parts) {
        let text = format!("a {} is a WebSocket: open it by HTTP/1.1 with `Upgrade: websocket`", way.what);
        return Err(Failure::from(Status::failed_precondition(text)).http(StatusCode::UPGRADE_REQUIRED));
    }
    let (checked, _) = gateway::check(admitted, message, None, parts, call)?;
    let ticket = parts.extensions.get::<Arc<Ticket>>().cloned();
    let upgrade = WebSocketUpgrade::from_request_parts(parts, &()).await.map_err(|rejection| {
        let status = rejection.into_response().status();
        Failure::from(Status::invalid_argument("this is no handshake of a WebSocket")).http(status)
    })?;
    let (daemon, guard) = begin(gateway, checked, parts, call, way).await?;
    let conn = Arc::clone(&call.conn);
    let upgrade = upgrade
        .protocols(way.protocols.iter().copied())
        .max_message_size(MESSAGE_MAX)
        .max_frame_size(MESSAGE_MAX)
        .read_buffer_size(READ_BUFFER)
        // Each message is flushed as it is: nothing gathers here.
        .write_buffer_size(0)
        .max_write_buffer_size(way.piece + WRITE_BUFFER_MORE);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let active = conn.begin();
        tokio::select! {
            () = session(socket, daemon, guard, text, way) => {}
            () = conn.evicted() => {}
        }
        drop((active, ticket));
    }))
}

/// A session for who shows the same as a request would, and has no WebSocket: the daemon's socket, and what watches whether it may go on.
///
/// # Errors
/// As those of the request.
pub(crate) async fn plain(
    gateway: &Arc<Gateway>,
    parts: &Parts,
    call: &mut Call,
    way: &'static Way,
) -> Result<(UnixStream, Guard), Failure> {
    let (admitted, message) = identify(gateway, parts, call, way).await?;
    let (checked, _) = gateway::check(admitted, message, None, parts, call)?;
    begin(gateway, checked, parts, call, way).await
}

/// Who asks, and for what.
async fn identify(
    gateway: &Arc<Gateway>,
    parts: &Parts,
    call: &mut Call,
    way: &'static Way,
) -> Result<(Admitted, DynamicMessage), Failure> {
    let route = gateway.routes.named(way.method).ok_or_else(|| Status::internal("no method for sessions"))?;
    call.traced = Level::of(route.info);
    let most = route.deadline.min(Duration::from_millis(gateway.config.limits.deadline_ms));
    call.due(Some(most));
    let admitted = gateway.identify(route, parts, call).await?;
    Ok((admitted, asked(route, parts)?))
}

/// Has the daemon begin what the caller may still have.
async fn begin(
    gateway: &Arc<Gateway>,
    checked: Checked,
    parts: &Parts,
    call: &mut Call,
    way: &'static Way,
) -> Result<(UnixStream, Guard), Failure> {
    let route = gateway.routes.named(way.method).ok_or_else(|| Status::internal("no method for sessions"))?;
    let checked = gateway.confirm(checked, parts, call).await?;
    let guard = gateway.guard(Some(route.info), gateway.access(call)?, None)?;
    let answer = gateway.gate.forward(checked, call.context()).await?;
    let shown = (way.ticket)(answer)
        .map_err(|_| Status::internal(format!("{} gave a ticket that is none", way.daemon)))?;
    let path = gateway.run_dir.join(way.socket);
    let daemon = connect(gateway, &path, shown.as_bytes()).await.map_err(|error| {
        tracing::warn!(daemon = way.daemon, path = %path.display(), %error, "cannot connect to daemon of sessions");
        let text = format!("{} does not take the session", way.daemon);
        Status::unavailable(text).with_reason(way.unreachable)
    })?;
    Ok((daemon, guard))
}

/// What the target asks for, as in every other request of REST: the query first, then the path.
fn asked(route: &Route, parts: &Parts) -> Result<DynamicMessage, Failure> {
    let mut message = DynamicMessage::new(route.input.clone());
    json::set_query(&mut message, parts.uri.query().unwrap_or_default())?;
    let name = parts.uri.path().rsplit('/').nth(1).unwrap_or_default();
    let field = route.input.get_field_by_name("name");
    json::set_path_field(&mut message, field.as_slice(), name)?;
    Ok(message)
}

/// The daemon's socket, with the session's ticket shown.
async fn connect(gateway: &Gateway, path: &Path, ticket: &[u8]) -> std::io::Result<UnixStream> {
    let path = path.to_owned();
    // Whichever thread serves the connection: only the daemon's own waits for sockets.
    let connected = gateway.runtime.spawn(async move { UnixStream::connect(path).await }).await;
    let mut stream = connected.map_err(std::io::Error::other)??;
    stream.write_all(&encode(Kind::Ticket, ticket)).await?;
    Ok(stream)
}

/// How a session ends: what the client is told, if it is still there.
type Ended = Option<(u16, String)>;

async fn session(socket: WebSocket, daemon: UnixStream, mut guard: Guard, text: Kind, way: &'static Way) {
    let (mut to, mut from) = socket.split();
    if let Err(status) = guard.check().await {
        let close =
            Message::Close(Some(CloseFrame { code: close_code::POLICY, reason: status.message.into() }));
        let _ = timeout(FAREWELL, to.send(close)).await;
        return;
    }
    let (mut from_daemon, mut to_daemon) = daemon.into_split();
    let heard = AtomicU64::new(0);
    let begun = Instant::now();
    let ended = tokio::select! {
        ended = show(&mut to, &mut from_daemon, way, begun, &heard) => ended,
        ended = listen(&mut from, &mut to_daemon, (text, way), begun, &heard) => ended,
        ended = watch(&mut guard) => ended,
    };
    if let Some((code, reason)) = ended {
        let close = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
        let _ = timeout(FAREWELL, to.send(close)).await;
    }
}

/// What the daemon sends, to the client.
async fn show(
    to: &mut SplitSink<WebSocket, Message>,
    from: &mut OwnedReadHalf,
    way: &Way,
    begun: Instant,
    heard: &AtomicU64,
) -> Ended {
    let mut ping = tokio::time::interval_at(begun + PING_EVERY, PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut begin = [0; HEAD];
    let mut filled = 0;
    loop {
        // Reading a head is safe to interrupt, as what is there of it is kept.
        let message = tokio::select! {
            read = from.read(begin.get_mut(filled..).unwrap_or_default()) => match read {
                Ok(0) | Err(_) => return Some((close_code::AWAY, format!("{} ended the session", way.daemon))),
                Ok(count) => {
                    filled += count;
                    if filled < HEAD {
                        continue;
                    }
                    filled = 0;
                    match payload(begin, from, way.piece).await {
                        Some(message) => message,
                        None => return Some((close_code::ERROR, format!("{} is not understood", way.daemon))),
                    }
                }
            },
            _ = ping.tick() => {
                let silent = begun.elapsed().saturating_sub(Duration::from_millis(heard.load(Ordering::Relaxed)));
                if silent > SILENT_MAX {
                    return None;
                }
                Message::Ping(Bytes::new())
            }
        };
        match timeout(way.stuck, to.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return None,
        }
    }
}

/// The rest of a frame, as a message.
async fn payload(begin: [u8; HEAD], from: &mut OwnedReadHalf, most: usize) -> Option<Message> {
    let (kind, length) = head_within(begin, most).ok()?;
    let mut payload = vec![0; length];
    from.read_exact(&mut payload).await.ok()?;
    match kind {
        Kind::Data => Some(Message::Binary(payload.into())),
        Kind::Control => Some(Message::Text(Utf8Bytes::try_from(Bytes::from(payload)).ok()?)),
        Kind::Ticket => None,
    }
}

/// What the client sends, to the daemon; text messages as this.
async fn listen(
    from: &mut SplitStream<WebSocket>,
    to: &mut OwnedWriteHalf,
    (text, way): (Kind, &Way),
    begun: Instant,
    heard: &AtomicU64,
) -> Ended {
    let hear =
        || heard.store(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    while let Some(message) = from.next().await {
        hear();
        let message = match message {
            Ok(Message::Text(said)) if text == Kind::Data => Ok(Message::Binary(said.into())),
            other => other,
        };
        let sent = match message {
            Ok(Message::Binary(bytes)) => {
                let mut sent = Ok(());
                for piece in bytes.chunks(PAYLOAD_MAX) {
                    sent = to.write_all(&encode(Kind::Data, piece)).await;
                    if sent.is_err() {
                        break;
                    }
                    // Pongs are behind what was pasted, which a slow port takes a while to take.
                    hear();
                }
                sent
            }
            Ok(Message::Text(text)) if text.len() <= PAYLOAD_MAX => {
                to.write_all(&encode(Kind::Control, text.as_bytes())).await
            }
            Ok(Message::Text(_)) => return Some((close_code::SIZE, "the message is too long".to_owned())),
            Ok(Message::Ping(_) | Message::Pong(_)) => Ok(()),
            Ok(Message::Close(_)) | Err(_) => return None,
        };
        if sent.is_err() {
            return Some((close_code::AWAY, format!("{} ended the session", way.daemon)));
        }
    }
    None
}

/// Until the session may not go on.
async fn watch(guard: &mut Guard) -> Ended {
    Some((close_code::POLICY, over(guard).await.message))
}

/// Why a session may not go on any more, once it may not.
pub(crate) async fn over(guard: &mut Guard) -> Status {
    loop {
        let over = match guard.check().await {
            Err(status) => Some(status),
            Ok(()) => match guard.wake().await {
                Some(Watched::End(status)) => Some(status),
                Some(Watched::Heartbeat) | None => None,
            },
        };
        if let Some(status) = over {
            return status;
        }
    }
}
