//! What the listeners share: the handler they feed, and the loop that ends a connection in time.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::admission::{Admission, Conn, HttpVersion, Timeouts};
use crate::body::{RequestBody, ResponseBody};
use crate::config::Limits;
use crate::lanes::Lanes;

/// How long a connection that is told to end may take to say goodbye.
const FAREWELL: Duration = Duration::from_millis(500);

/// Answers requests, whatever carried them.
pub(crate) trait Handle: Send + Sync + 'static {
    /// Answers one request. Its head is looked at, and what nobody needs of it dropped, before the future is first polled. Dropped when
    /// the client goes away.
    fn handle(
        self: Arc<Self>,
        request: Request<RequestBody>,
        conn: Arc<Conn>,
        version: HttpVersion,
    ) -> impl Future<Output = Response<ResponseBody>> + Send;
}

/// What every listener needs.
pub(crate) struct Shared<H> {
    pub handler: Arc<H>,
    pub admission: Arc<Admission>,
    pub limits: Limits,
    pub lanes: Lanes,
    pub stop: watch::Receiver<bool>,
}

impl<H> Clone for Shared<H> {
    fn clone(&self) -> Self {
        Self {
            handler: Arc::clone(&self.handler),
            admission: Arc::clone(&self.admission),
            limits: self.limits.clone(),
            lanes: self.lanes.clone(),
            stop: self.stop.clone(),
        }
    }
}

/// Resolves when the daemon shuts down (or its owner is gone).
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A hyper connection of either version.
pub(crate) trait Drive: Future<Output = hyper::Result<()>> {
    /// No more requests; end after the current ones.
    fn wind_down(self: Pin<&mut Self>);
}

impl<I, S> Drive for hyper::server::conn::http1::UpgradeableConnection<I, S>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = ResponseBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn wind_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S, E> Drive for hyper::server::conn::http2::Connection<I, S, E>
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = ResponseBody>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    E: hyper::rt::bounds::Http2ServerConnExec<S::Future, ResponseBody>,
{
    fn wind_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself.
    Done,
    /// Its place was needed.
    Evicted,
    /// One of [`Timeouts`].
    TimedOut,
}

/// Runs a connection to its end, its eviction, or its deadline.
///
/// All reads and writes happen inside `conn`'s own poll, so the deadline is recomputed exactly when something changed: an idle
/// connection costs no periodic wake-up.
pub(crate) async fn drive<C: Drive>(
    conn: C,
    state: &Conn,
    version: HttpVersion,
    timeouts: &Timeouts,
    mut stop: watch::Receiver<bool>,
) -> End {
    let mut conn = pin!(conn);
    let end = {
        let mut evicted = pin!(state.evicted());
        let mut stopping = false;
        let mut stop = pin!(stopped(&mut stop));
        let mut armed = Instant::now();
        let mut sleep = pin!(sleep_until(armed));
        poll_fn(|cx| {
            loop {
                if conn.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(End::Done);
                }
                if stopping || stop.as_mut().poll(cx).is_pending() {
                    break;
                }
                stopping = true;
                conn.as_mut().wind_down();
            }
            if evicted.as_mut().poll(cx).is_ready() {
                return Poll::Ready(End::Evicted);
            }
            while let Some(at) = state.deadline(timeouts, version) {
                if at <= Instant::now() {
                    return Poll::Ready(End::TimedOut);
                }
                // A timer that fires early is cheaper than moving it with every request.
                if at < armed || sleep.is_elapsed() {
                    armed = at;
                    sleep.as_mut().reset(at);
                }
                if sleep.as_mut().poll(cx).is_pending() {
                    break;
                }
            }
            Poll::Pending
        })
        .await
    };
    if end == End::TimedOut {
        conn.as_mut().wind_down();
        let _ = tokio::time::timeout(FAREWELL, conn).await;
    }
    end
}
