//! UDP: HTTP/3 over QUIC, on the port HTTPS has on TCP.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use quinn::VarInt;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::debug;

use crate::admission::{Conn, HttpVersion, Ticket};
use crate::body::{H3Body, RequestBody, ResponseBody};
use crate::error::Error;
use crate::gateway::expects_continue;
use crate::h3_frames::{Bidi, Bounded};
use crate::transport::{Handle, Shared, stopped};

/// Unread bytes per stream and per connection, as on HTTP/2.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 128 * 1024;
/// Unacknowledged bytes of answers per connection.
const SEND_WINDOW: u64 = 64 * 1024;
/// Heads gathered at once per connection: each may take what a frame may. Others wait in the windows above.
const HEADS: usize = 4;
/// Control stream, two QPACK streams, and one spare for greasing clients.
const UNI_STREAMS: u32 = 4;
/// Largest frame but DATA, in header limits: twice, so that the gateway's limit is what a client meets, with its 414 or 431.
const FRAME_FACTOR: u64 = 2;
/// Handshakes waiting to be looked at, and bytes buffered for them: the peers are not even known to exist yet.
const WAITING: usize = 32;
const WAITING_BYTES: u64 = 4 * 1024;

/// Binds the UDP port.
pub(crate) fn bind(
    address: SocketAddr,
    tls: Arc<quinn::crypto::rustls::QuicServerConfig>,
    limits: &crate::config::Limits,
) -> Result<quinn::Endpoint, Error> {
    let failed = |source| Error::Listen { protocol: "HTTP/3", address, source };
    let mut transport = quinn::TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(limits.requests_per_connection))
        .max_concurrent_uni_streams(VarInt::from_u32(UNI_STREAMS))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(quinn::IdleTimeout::try_from(limits.timeouts().idle).ok());
    let mut config = quinn::ServerConfig::with_crypto(tls);
    config
        .transport_config(Arc::new(transport))
        // The lock-out and the share of connections go by address: it must stay the one that was validated.
        .migration(false)
        .max_incoming(WAITING)
        .incoming_buffer_size(WAITING_BYTES)
        .incoming_buffer_size_total(WAITING_BYTES * WAITING as u64);
    let socket = std::net::UdpSocket::bind(address).map_err(failed)?;
    quinn::Endpoint::new(
        quinn::EndpointConfig::default(),
        Some(config),
        socket,
        Arc::new(quinn::TokioRuntime),
    )
    .map_err(failed)
}

/// Accepts HTTP/3 until told to stop.
pub(crate) async fn h3<H: Handle>(endpoint: quinn::Endpoint, shared: Shared<H>) {
    let mut stop = shared.stop.clone();
    loop {
        let incoming = tokio::select! {
            () = stopped(&mut stop) => break,
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => incoming,
                None => return,
            },
        };
        // A UDP source address is only a claim. One round trip makes it a fact, before it can push anyone out of the table.
        if !incoming.remote_address_validated() {
            if let Err(error) = incoming.retry() {
                error.into_incoming().ignore();
            }
            continue;
        }
        let peer = incoming.remote_address();
        let ticket = match shared.admission.admit(peer.ip()) {
            Ok(ticket) => ticket,
            Err(refused) => {
                debug!(%peer, reason = %refused, "connection refused");
                incoming.refuse();
                continue;
            }
        };
        // All of them behind, for good: what quinn does for a connection stays where it began.
        let back = shared.lanes.back().clone();
        back.spawn(connection(incoming, ticket, shared.clone()));
    }
    // Connections wind down by themselves; the endpoint must outlive them, and its owner bounds how long.
    endpoint.wait_idle().await;
}

async fn connection<H: Handle>(incoming: quinn::Incoming, ticket: Ticket, shared: Shared<H>) {
    let conn = Arc::clone(ticket.conn());
    let handshake = async {
        let quic = incoming.accept()?.await?;
        Ok::<_, quinn::ConnectionError>(quic)
    };
    let quic = match tokio::time::timeout(shared.limits.handshake(), handshake).await {
        Ok(Ok(quic)) => quic,
        Ok(Err(error)) => {
            debug!(peer = %conn.peer(), error = &error as &dyn std::error::Error, "QUIC handshake failed");
            return;
        }
        Err(_) => {
            debug!(peer = %conn.peer(), "QUIC handshake took too long");
            return;
        }
    };
    let mut builder = h3::server::builder();
    builder.max_field_section_size(u64::from(shared.limits.header_bytes) * FRAME_FACTOR);
    let frame_max = u64::from(shared.limits.header_bytes) * FRAME_FACTOR;
    let built = builder.build::<_, Bytes>(Bounded::new(quic.clone(), frame_max));
    let mut h3 = match tokio::time::timeout(shared.limits.handshake(), built).await {
        Ok(Ok(h3)) => h3,
        _ => return,
    };
    let timeouts = shared.limits.timeouts();
    let most = usize::try_from(shared.limits.requests_per_connection).unwrap_or(usize::MAX);
    // Dropped, and with it every request, when the connection ends.
    let mut requests = JoinSet::new();
    let heads = Arc::new(Semaphore::new(HEADS));
    let mut stop = shared.stop.clone();
    let mut stopping = false;
    loop {
        let wake =
            conn.deadline(&timeouts, HttpVersion::H3).unwrap_or_else(|| Instant::now() + timeouts.idle);
        tokio::select! {
            accepted = h3.accept(), if requests.len() < most => match accepted {
                Ok(Some(resolver)) => {
                    let (shared, conn, heads) = (shared.clone(), Arc::clone(&conn), Arc::clone(&heads));
                    requests.spawn(async move {
                        let head = async {
                            let _turn = heads.acquire().await;
                            resolver.resolve_request().await
                        };
                        let resolved = tokio::time::timeout(timeouts.header, head).await;
                        if let Ok(Ok((request, stream))) = resolved {
                            request_task(request, stream, conn, shared).await;
                        }
                    });
                }
                Ok(None) => break,
                Err(error) => {
                    debug!(peer = %conn.peer(), error = &error as &dyn std::error::Error, "HTTP/3 connection ended");
                    break;
                }
            },
            Some(_) = requests.join_next(), if !requests.is_empty() => {
                if stopping && requests.is_empty() {
                    break;
                }
            }
            () = conn.evicted() => break,
            () = stopped(&mut stop), if !stopping => {
                stopping = true;
                if h3.shutdown(0).await.is_err() || requests.is_empty() {
                    break;
                }
            }
            () = tokio::time::sleep_until(wake) => {
                if conn.deadline(&timeouts, HttpVersion::H3).is_some_and(|at| at <= Instant::now()) {
                    break;
                }
            }
        }
    }
    // H3_NO_ERROR (RFC 9114 §8.1).
    quic.close(VarInt::from_u32(0x100), b"");
    drop(ticket);
}

type Stream = h3::server::RequestStream<Bidi<Bytes>, Bytes>;

async fn request_task<H: Handle>(request: Request<()>, stream: Stream, conn: Arc<Conn>, shared: Shared<H>) {
    let active = conn.begin();
    let (mut send, receive) = stream.split();
    let (awaited, mut wait) = oneshot::channel();
    let awaited = expects_continue(request.headers()).then_some(awaited);
    let request = request.map(|()| RequestBody::H3(Box::new(H3Body { stream: receive, awaited })));
    let mut response = pin!(shared.handler.handle(request, conn, HttpVersion::H3));
    let mut told = false;
    let response = loop {
        tokio::select! {
            biased;
            response = &mut response => break response,
            asked = &mut wait, if !told => {
                told = true;
                let mut interim = Response::new(());
                *interim.status_mut() = StatusCode::CONTINUE;
                if asked.is_ok() && send.send_response(interim).await.is_err() {
                    return;
                }
            }
        }
    };
    let patience = shared.limits.timeouts().write;
    match respond(&mut send, response, patience).await {
        Ok(()) => {}
        // The client is gone, or does not read; a reset frees the stream's memory at once.
        Err(Unsent::Client) => send.stop_stream(h3::error::Code::H3_REQUEST_CANCELLED),
        Err(Unsent::Body) => send.stop_stream(h3::error::Code::H3_INTERNAL_ERROR),
    }
    drop(active);
}

enum Unsent {
    Client,
    Body,
}

async fn respond(
    send: &mut h3::server::RequestStream<h3_quinn::SendStream<Bytes>, Bytes>,
    response: Response<ResponseBody>,
    patience: std::time::Duration,
) -> Result<(), Unsent> {
    let (parts, mut body) = response.into_parts();
    within(patience, send.send_response(Response::from_parts(parts, ()))).await?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Unsent::Body)?;
        match frame.into_data() {
            Ok(data) => within(patience, send.send_data(data)).await?,
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    within(patience, send.send_trailers(trailers)).await?;
                }
            }
        }
    }
    within(patience, send.finish()).await
}

async fn within<E>(
    patience: std::time::Duration,
    sent: impl Future<Output = Result<(), E>>,
) -> Result<(), Unsent> {
    match tokio::time::timeout(patience, sent).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Unsent::Client),
    }
}
