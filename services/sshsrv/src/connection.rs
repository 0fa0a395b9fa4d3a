//! One connection, from its first byte to its last.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gate::Login;
use russh::Disconnect;
use russh::server::Handle;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use units::Mono;

use crate::admission::ConnId;
use crate::calls::Shared;
use crate::client::Client;
use crate::pipe::{self, PIPE};
use crate::watch as rights;

/// How long the last word to a client may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// What is known of a connection.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) id: ConnId,
    pub(crate) peer: IpAddr,
    /// Who has logged in on it.
    login: watch::Sender<Option<Login>>,
    /// It has no place any more: why.
    lost: watch::Sender<Option<String>>,
    /// When a byte of a console went over it last, in milliseconds of the daemon's clock.
    used: AtomicU64,
}

impl Conn {
    pub(crate) fn new(id: ConnId, peer: IpAddr) -> Self {
        Self {
            id,
            peer,
            login: watch::Sender::new(None),
            lost: watch::Sender::new(None),
            used: AtomicU64::new(0),
        }
    }

    /// Somebody has logged in at `now`.
    pub(crate) fn logs_in(&self, login: Login, now: Mono) {
        self.uses(now);
        self.login.send_replace(Some(login));
    }

    pub(crate) fn login(&self) -> Option<Login> {
        self.login.borrow().clone()
    }

    pub(crate) fn has_logged_in(&self) -> bool {
        self.login.borrow().is_some()
    }

    /// Waits until somebody has logged in.
    pub(crate) async fn logged_in(&self) -> Option<Login> {
        let mut login = self.login.subscribe();
        login.wait_for(Option::is_some).await.ok()?.clone()
    }

    /// It has no place any more, for this reason.
    pub(crate) fn loses(&self, why: String) {
        self.lost.send_replace(Some(why));
    }

    /// Waits until it has no place any more; why.
    pub(crate) async fn lost(&self) -> String {
        let mut lost = self.lost.subscribe();
        let why = lost.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        why.unwrap_or_default()
    }

    /// A byte of a console went over it.
    pub(crate) fn uses(&self, now: Mono) {
        self.used.store(now.as_millis(), Ordering::Relaxed);
    }

    pub(crate) fn used(&self) -> Mono {
        Mono::from_millis(self.used.load(Ordering::Relaxed))
    }
}

/// The place of a connection; given back when the library has let go of it, which may be after its client has gone.
#[derive(Debug)]
pub(crate) struct Place(pub(crate) Arc<Shared>, pub(crate) ConnId);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.admission().leave(self.1);
    }
}

/// Serves a connection to its end.
pub(crate) async fn serve(
    tcp: TcpStream,
    conn: Arc<Conn>,
    shared: Arc<Shared>,
    ssh: Arc<russh::server::Config>,
) {
    let (ours, theirs) = tokio::io::duplex(PIPE);
    let client = Client::new(Arc::clone(&shared), Arc::clone(&conn));
    let (handles, mut handle) = watch::channel(None::<Handle>);
    let session = async move {
        let running = russh::server::run_stream(ssh, theirs, client).await?;
        handles.send_replace(Some(running.handle()));
        running.await
    };
    let known = Arc::clone(&conn);
    {
        let mut pump = std::pin::pin!(pipe::pump(tcp, ours, move || known.has_logged_in()));
        let mut session = std::pin::pin!(session);
        tokio::select! {
            ended = &mut pump => if let Err(error) = ended {
                tracing::debug!(peer = %conn.peer, %error, "connection of SSH broke off");
            },
            ended = &mut session => {
                if let Err(error) = ended {
                    tracing::debug!(peer = %conn.peer, %error, "connection of SSH ended");
                }
                let _ = timeout(FAREWELL, pump).await;
            }
            why = rights::over(&shared, &conn) => {
                tracing::debug!(peer = %conn.peer, why, "ended connection of SSH");
                let handle = handle.borrow_and_update().clone();
                let farewell = async {
                    if let Some(handle) = handle {
                        let _ = handle.disconnect(Disconnect::ByApplication, why, String::new()).await;
                    }
                    // The library closes its side once that is sent, and waits for the client, who is not waited for here.
                    let _ = pump.await;
                };
                // Whoever takes nothing any more is not told.
                let _ = timeout(FAREWELL, async { tokio::join!(farewell, session) }).await;
            }
        }
    }
    if let Some(login) = conn.login() {
        shared.sign_out(&login, conn.peer).await;
    }
}
