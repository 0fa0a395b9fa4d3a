//! One connection, from its first byte to its last.

use std::sync::Arc;
use std::time::Duration;

use russh::Disconnect;
use russh::server::Handle;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::calls::Shared;
use crate::client::Client;
use crate::conn::Conn;
use crate::pipe::{self, PIPE};
use crate::watch as rights;

/// How long the last word to a client may take.
const FAREWELL: Duration = Duration::from_secs(1);

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
    if let Some(login) = conn.ends() {
        shared.sign_out(&login, conn.peer).await;
    }
}
