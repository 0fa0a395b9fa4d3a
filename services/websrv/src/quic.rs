//! UDP: HTTP/3 over QUIC, on the port HTTPS has on TCP.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
/// Handshakes under way, each some 40 KiB: in all, and from one IPv4 address or IPv6 /64. Whoever is above is not answered and asks again.
const HANDSHAKES: usize = 256;
const HANDSHAKES_PER_ADDRESS: usize = 32;
/// How long QUIC keeps a connection that ended before a round trip was measured: three times the probe timeout (RFC 9000 §10.2, RFC 9002 §6.2).
const DRAIN: Duration = Duration::from_secs(4);

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

/// Handshakes under way and such as came to nothing and still take memory.
#[derive(Debug, Default)]
struct Handshakes(Mutex<HashMap<IpAddr, usize>>);

/// One of them, until it is dropped.
#[derive(Debug)]
struct Handshake {
    all: Arc<Handshakes>,
    address: IpAddr,
}

impl Handshakes {
    fn begin(self: &Arc<Self>, peer: IpAddr) -> Option<Handshake> {
        let address = crate::admission::share(peer.to_canonical());
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let here = held.get(&address).copied().unwrap_or(0);
        if here >= HANDSHAKES_PER_ADDRESS || held.values().sum::<usize>() >= HANDSHAKES {
            return None;
        }
        held.insert(address, here + 1);
        Some(Handshake { all: Arc::clone(self), address })
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut held = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(here) = held.get_mut(&self.address) {
            *here = here.saturating_sub(1);
            if *here == 0 {
                held.remove(&self.address);
            }
        }
    }
}

/// Accepts HTTP/3 until told to stop.
pub(crate) async fn h3<H: Handle>(endpoint: quinn::Endpoint, shared: Shared<H>) {
    let handshakes = Arc::new(Handshakes::default());
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
        // The table of connections counts one until it is told to go; QUIC keeps it until it is drained.
        let handshake = handshakes.begin(peer.ip());
        let most = shared.limits.connections.saturating_add(HANDSHAKES);
        let Some(handshake) = handshake.filter(|_| endpoint.open_connections() < most) else {
            debug!(%peer, "too many QUIC handshakes");
            incoming.ignore();
            continue;
        };
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
        back.spawn(connection(incoming, handshake, ticket, shared.clone()));
    }
    // Connections wind down by themselves; the endpoint must outlive them, and its owner bounds how long.
    endpoint.wait_idle().await;
}

type H3 = h3::server::Connection<Bounded<h3_quinn::Connection>, Bytes>;

/// The handshake of QUIC and the start of HTTP/3.
async fn establish(
    incoming: quinn::Incoming,
    header_bytes: u32,
) -> Result<(quinn::Connection, H3), Box<dyn std::error::Error + Send + Sync>> {
    let quic = incoming.accept()?.await?;
    let frame_max = u64::from(header_bytes) * FRAME_FACTOR;
    let mut builder = h3::server::builder();
    builder.max_field_section_size(frame_max);
    let h3 = builder.build::<_, Bytes>(Bounded::new(quic.clone(), frame_max)).await?;
    Ok((quic, h3))
}

async fn connection<H: Handle>(
    incoming: quinn::Incoming,
    handshake: Handshake,
    ticket: Ticket,
    shared: Shared<H>,
) {
    let conn = Arc::clone(ticket.conn());
    let established =
        tokio::time::timeout(shared.limits.handshake(), establish(incoming, shared.limits.header_bytes));
    let failed = tokio::select! {
        result = established => match result {
            Ok(Ok(both)) => Ok(both),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("it took too long".to_owned()),
        },
        () = conn.evicted() => Err("its place was needed".to_owned()),
    };
    let (quic, mut h3) = match failed {
        Ok(both) => both,
        Err(why) => {
            debug!(peer = %conn.peer(), why, "QUIC handshake failed");
            drop(ticket);
            tokio::time::sleep(DRAIN).await;
            drop(handshake);
            return;
        }
    };
    drop(handshake);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_under_way_are_bounded_in_all_and_per_address() {
        let all = Arc::new(Handshakes::default());
        let at = |n: usize| IpAddr::from([192, 0, 2, u8::try_from(n).unwrap()]);
        let own: Vec<_> = (0..1000).map_while(|_| all.begin(at(1))).collect();
        assert_eq!(own.len(), HANDSHAKES_PER_ADDRESS);
        // The same host by its other name.
        assert!(all.begin("::ffff:192.0.2.1".parse().unwrap()).is_none());
        let others: Vec<_> = (2..200).flat_map(|n| [all.begin(at(n)), all.begin(at(n))]).flatten().collect();
        assert_eq!(own.len() + others.len(), HANDSHAKES);
        drop(own);
        assert!(all.begin(at(201)).is_some());
        drop(others);
        assert!(all.0.lock().unwrap().is_empty());
    }
}
