//! TCP: HTTPS with HTTP/1.1 and 2, and the plain listener that only redirects.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::admission::{Conn, HttpVersion, Ticket};
use crate::body::{RequestBody, ResponseBody};
use crate::config::Limits;
use crate::error::Error;
use crate::h2_frames::Paced;
use crate::transport::{Handle, Shared, drive, stopped};

/// Pause after a failed accept: out of descriptors is the usual reason, and accepting at once again only burns the core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections taken in before everything else has its turn.
const ACCEPTS: u32 = 8;
/// hyper's read buffer. Twice the header limit, so that the head limit is what a client meets, with its 431.
const H1_BUFFER: usize = 16 * 1024;
/// Heads are read up to so many times the limit, and refused by the gateway, which can say what is too long: the target or the fields.
const HEAD_FACTOR: usize = 2;
/// HTTP/2: bytes a client may send per stream and per connection before we read them (body limits are checked as they arrive).
const H2_STREAM_WINDOW: u32 = 64 * 1024;
const H2_CONNECTION_WINDOW: u32 = 128 * 1024;
/// HTTP/2: bytes of one answer buffered before its producer waits.
const H2_SEND_BUFFER: usize = 64 * 1024;
/// HTTP/2: streams a client may reset before we looked at them, and errors it may cause, until the connection is closed (the
/// "rapid reset" attack). hyper's defaults are 20 and 1024; a well-behaved client stays near zero.
const H2_PENDING_RESETS: usize = 20;
const H2_ERROR_RESETS: usize = 64;
/// HTTP/2: a dead peer under an open stream is found after interval + timeout.
const H2_PING: Duration = Duration::from_secs(30);
const H2_PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Binds; on a kernel without IPv6 the wildcard falls back to IPv4.
pub(crate) async fn bind(protocol: &'static str, address: SocketAddr) -> Result<TcpListener, Error> {
    match TcpListener::bind(address).await {
        Err(error)
            if address.ip().is_unspecified()
                && address.is_ipv6()
                && error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) =>
        {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        other => other,
    }
    .map_err(|source| Error::Listen { protocol, address, source })
}

/// Accepts HTTPS until told to stop.
pub(crate) async fn https<H: Handle>(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    shared: Shared<H>,
) {
    let acceptor = TlsAcceptor::from(tls);
    accept(&listener, shared, move |tcp, ticket, shared| {
        let acceptor = acceptor.clone();
        async move {
            let conn = Arc::clone(ticket.conn());
            if let Ok(local) = tcp.local_addr() {
                conn.reaches(local.ip());
            }
            let handshake = acceptor.accept(Metered { tcp, conn: Arc::clone(&conn) });
            let stream = tokio::select! {
                result = tokio::time::timeout(shared.limits.handshake(), handshake) => match result {
                    Ok(Ok(stream)) => stream,
                    Ok(Err(error)) => {
                        debug!(peer = %conn.peer(), error = &error as &dyn std::error::Error, "TLS handshake failed");
                        return;
                    }
                    Err(_) => {
                        debug!(peer = %conn.peer(), "TLS handshake took too long");
                        return;
                    }
                },
                () = conn.evicted() => return,
            };
            let version = match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => HttpVersion::H2,
                _ => HttpVersion::H1,
            };
            match version {
                HttpVersion::H2 => serve(TokioIo::new(Paced::new(stream)), ticket, version, shared).await,
                _ => serve(TokioIo::new(stream), ticket, version, shared).await,
            }
        }
    })
    .await;
}

async fn serve<H: Handle>(
    io: impl hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    ticket: Arc<Ticket>,
    version: HttpVersion,
    shared: Shared<H>,
) {
    let conn = Arc::clone(ticket.conn());
    let timeouts = shared.limits.timeouts();
    let (handler, state) = (shared.handler, Arc::clone(&conn));
    let service = service_fn(move |mut request: Request<hyper::body::Incoming>| {
        if version == HttpVersion::H1 && request.headers().contains_key(header::UPGRADE) {
            // What the connection becomes takes its place in the table with it.
            request.extensions_mut().insert(Arc::clone(&ticket));
        }
        let (handler, conn) = (Arc::clone(&handler), Arc::clone(&state));
        // Here and not in the future: heads that wait to be looked at would be held in full by all streams of all connections.
        let active = conn.begin();
        let response = handler.handle(request.map(RequestBody::Hyper), conn, version);
        async move { Ok::<_, Infallible>(response.await.map(|body| body.holding(active))) }
    });
    let end = match version {
        HttpVersion::H2 => {
            drive(h2(&shared.limits).serve_connection(io, service), &conn, version, &timeouts, shared.stop)
                .await
        }
        _ => {
            let upgradeable = h1(&shared.limits).serve_connection(io, service).with_upgrades();
            drive(upgradeable, &conn, version, &timeouts, shared.stop).await
        }
    };
    debug!(peer = %conn.peer(), ?version, ?end, "connection ended");
}

fn h1(limits: &Limits) -> hyper::server::conn::http1::Builder {
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // `drive` times heads: hyper's own timer would also run between requests.
        .header_read_timeout(None)
        .max_header_size(HEAD_FACTOR * usize::try_from(limits.header_bytes).unwrap_or(H1_BUFFER))
        .max_buf_size(H1_BUFFER.max(HEAD_FACTOR * usize::try_from(limits.header_bytes).unwrap_or(H1_BUFFER)));
    builder
}

fn h2(limits: &Limits) -> hyper::server::conn::http2::Builder<TokioExecutor> {
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.requests_per_connection)
        .max_header_list_size(limits.header_bytes.saturating_mul(2))
        .initial_stream_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_send_buf_size(H2_SEND_BUFFER)
        .max_pending_accept_reset_streams(H2_PENDING_RESETS)
        .max_local_error_reset_streams(H2_ERROR_RESETS)
        .keep_alive_interval(H2_PING)
        .keep_alive_timeout(H2_PING_TIMEOUT);
    builder
}

/// Redirects plain HTTP until told to stop.
pub(crate) async fn redirect<H: Handle>(listener: TcpListener, https_port: u16, shared: Shared<H>) {
    accept(&listener, shared, move |tcp, ticket, shared| async move {
        let conn = Arc::clone(ticket.conn());
        let timeouts = shared.limits.timeouts();
        let io = TokioIo::new(Metered { tcp, conn: Arc::clone(&conn) });
        let state = Arc::clone(&conn);
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let active = state.begin();
            async move {
                let response = to_https(&request, https_port);
                // To read it would tell a client that waits for `100 Continue` to send it.
                if !request.headers().contains_key(header::EXPECT) {
                    RequestBody::Hyper(request.into_body()).drain(DRAIN_BYTES, DRAIN_TIME);
                }
                Ok::<_, Infallible>(response.map(|body| body.holding(active)))
            }
        });
        let h1 = h1(&shared.limits).serve_connection(io, service).with_upgrades();
        drive(h1, &conn, HttpVersion::H1, &timeouts, shared.stop).await;
    })
    .await;
}

/// What an early answer reads of a body it does not want, so that the client gets to see the answer.
pub(crate) const DRAIN_BYTES: usize = 64 * 1024;
/// And for how long.
pub(crate) const DRAIN_TIME: Duration = Duration::from_secs(2);

fn to_https<B>(request: &Request<B>, port: u16) -> Response<ResponseBody> {
    let host = request
        .uri()
        .host()
        .or_else(|| request.headers().get(header::HOST).and_then(|h| h.to_str().ok()).and_then(host_only));
    let path = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let location = host.and_then(|host| {
        let port = if port == 443 { String::new() } else { format!(":{port}") };
        HeaderValue::try_from(format!("https://{host}{port}{path}")).ok()
    });
    let (status, text) = match location {
        Some(_) => (StatusCode::PERMANENT_REDIRECT, "This service speaks HTTPS.\n"),
        None => (StatusCode::BAD_REQUEST, "The request names no host.\n"),
    };
    let mut response = Response::new(ResponseBody::full(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(location) = location {
        headers.insert(header::LOCATION, location);
    }
    response
}

/// `host[:port]` without the port, if it can be a host at all.
fn host_only(authority: &str) -> Option<&str> {
    let parsed: http::uri::Authority = authority.parse().ok()?;
    // An Authority may hold user information; a Host header may not.
    if authority.contains('@') || parsed.host().is_empty() {
        return None;
    }
    authority.get(..parsed.host().len())
}

/// The accept loop: admits, and gives each connection its own task in its lane.
pub(crate) async fn accept<H, F, Fut>(listener: &TcpListener, shared: Shared<H>, serve: F)
where
    H: Handle,
    F: Fn(TcpStream, Arc<Ticket>, Shared<H>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let mut stop = shared.stop.clone();
    let mut in_a_row = 0_u32;
    loop {
        let (tcp, peer) = tokio::select! {
            () = stopped(&mut stop) => return,
            result = listener.accept() => match result {
                Ok(accepted) => accepted,
                Err(error) => {
                    if !is_peer_error(&error) {
                        warn!(error = &error as &dyn std::error::Error, "cannot accept connections");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                    continue;
                }
            },
        };
        let ticket = match shared.admission.admit(peer.ip()) {
            Ok(ticket) => Arc::new(ticket),
            Err(refused) => {
                debug!(%peer, reason = %refused, "connection refused");
                continue;
            }
        };
        // Without this, the second write of an answer waits for the client's delayed ACK: 40 ms.
        if let Err(error) = tcp.set_nodelay(true) {
            debug!(%peer, error = &error as &dyn std::error::Error, "TCP_NODELAY refused");
        }
        let conn = Arc::clone(ticket.conn());
        let connection = serve(tcp, Arc::clone(&ticket), shared.clone());
        shared.lanes.serve(conn, async move {
            connection.await;
            drop(ticket);
        });
        // However many knock, who is inside has his turn.
        in_a_row += 1;
        if in_a_row.is_multiple_of(ACCEPTS) {
            tokio::task::yield_now().await;
        }
    }
}

fn is_peer_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

/// A socket that tells its [`Conn`] when bytes come and when they cannot go.
pub(crate) struct Metered {
    tcp: TcpStream,
    conn: Arc<Conn>,
}

impl Metered {
    /// The socket of this connection.
    pub(crate) fn new(tcp: TcpStream, conn: Arc<Conn>) -> Self {
        Self { tcp, conn }
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.tcp).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.conn.on_read();
        }
        result
    }
}

impl AsyncWrite for Metered {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.tcp).poll_write(cx, buf);
        self.conn.on_write(result.is_pending());
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs);
        self.conn.on_write(result.is_pending());
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(host: Option<&str>, path: &str, port: u16) -> (StatusCode, Option<String>) {
        let mut request = Request::builder().uri(path);
        if let Some(host) = host {
            request = request.header(header::HOST, host);
        }
        let response = to_https(&request.body(()).unwrap(), port);
        let location = response.headers().get(header::LOCATION).map(|l| l.to_str().unwrap().to_owned());
        (response.status(), location)
    }

    #[test]
    fn the_redirect_keeps_host_and_path_and_fills_in_the_port() {
        let to = |host, path, port| location(Some(host), path, port).1.unwrap();
        assert_eq!(to("bmc.example", "/a/b?c=d", 443), "https://bmc.example/a/b?c=d");
        assert_eq!(to("bmc.example:80", "/", 8443), "https://bmc.example:8443/");
        assert_eq!(to("[2001:db8::1]:80", "/x", 443), "https://[2001:db8::1]/x");
        assert_eq!(location(Some("bmc"), "/", 443).0, StatusCode::PERMANENT_REDIRECT);
    }

    #[test]
    fn a_request_without_a_usable_host_is_not_redirected() {
        assert_eq!(location(None, "/", 443), (StatusCode::BAD_REQUEST, None));
        assert_eq!(location(Some("a@evil.example"), "/", 443), (StatusCode::BAD_REQUEST, None));
        assert_eq!(location(Some("a b"), "/", 443), (StatusCode::BAD_REQUEST, None));
    }
}
