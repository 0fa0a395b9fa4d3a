//! Screens for desktop viewers: a port of this machine that speaks RFB, behind which is the BMC's WebSocket.
//!
//! The viewer needs no login and no TLS of its own: it gets what the login of this program may have. So only this machine is listened to.

use std::fmt;
use std::net::SocketAddr;

use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Client, Socket};
use crate::failure::Failure;
use crate::output::note;
use crate::text::clean;

/// Viewers at a time: others wait.
const VIEWERS_MAX: usize = 8;
/// Bytes of a viewer at a time.
const PIECE: usize = 16 * 1024;

/// What viewers get.
pub(crate) struct Way {
    pub(crate) host: String,
    pub(crate) view_only: bool,
    pub(crate) take_over: bool,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, view_only, take_over } = self;
        match view_only {
            true => write!(f, "/api/v1alpha1/screens/{host}/view?bytesOnly=true"),
            false => write!(f, "/api/v1alpha1/screens/{host}/kvm?bytesOnly=true&takeOver={take_over}"),
        }
    }
}

/// Serves viewers until the program is ended, or after the first one when that is asked for.
pub(crate) async fn serve(client: &Client, way: &Way, listen: SocketAddr, once: bool) -> Result<(), Failure> {
    if !listen.ip().is_loopback() {
        let text = format!("{listen} is not of this machine alone, and a viewer needs no login there");
        return Err(Failure::Usage(text));
    }
    let cannot = |error| Failure::Local(format!("cannot listen at {listen}: {error}"));
    let listener = TcpListener::bind(listen).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    note(&format!("listening at {address} for viewers of the screen of {}", way.host));
    let mut viewers = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if viewers.len() < VIEWERS_MAX => {
                let (viewer, from) = accepted.map_err(cannot)?;
                viewers.push(async move { (from, view(client, way, viewer).await) });
            }
            Some((from, ended)) = viewers.next() => {
                match ended {
                    Ok(()) => note(&format!("{from} left")),
                    Err(failure) if once => return Err(failure),
                    Err(failure) => note(&format!("{from}: {failure}")),
                }
                if once {
                    return Ok(());
                }
            }
        }
    }
}

/// One viewer, to its end.
async fn view(client: &Client, way: &Way, viewer: TcpStream) -> Result<(), Failure> {
    let socket = Box::pin(client.socket(&way.to_string())).await?;
    // Keys are not gathered before they are sent.
    let _ = viewer.set_nodelay(true);
    relay(socket, viewer).await
}

async fn relay(socket: Socket, viewer: TcpStream) -> Result<(), Failure> {
    let (mut to_bmc, mut from_bmc) = socket.split();
    let (mut from_viewer, mut to_viewer) = viewer.into_split();
    let typed = async {
        let mut buffer = vec![0; PIECE];
        loop {
            match from_viewer.read(&mut buffer).await {
                Ok(count @ 1..) => {
                    let bytes = buffer.get(..count).unwrap_or_default().to_vec();
                    if to_bmc.send(Message::binary(bytes)).await.is_err() {
                        return;
                    }
                }
                // The viewer is gone, and says nothing more.
                Ok(0) | Err(_) => {
                    let _ = to_bmc.send(Message::Close(None)).await;
                    return;
                }
            }
        }
    };
    let shown = async {
        while let Some(message) = from_bmc.next().await {
            match message {
                Ok(Message::Binary(bytes)) => {
                    if to_viewer.write_all(&bytes).await.is_err() {
                        return Ok(());
                    }
                }
                Ok(Message::Close(Some(frame))) if !frame.reason.is_empty() => {
                    return Err(Failure::Local(format!("the session ended: {}", clean(&frame.reason))));
                }
                Ok(Message::Close(_)) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(Failure::Local(format!("the connection broke: {error}"))),
            }
        }
        Ok(())
    };
    tokio::select! {
        () = typed => Ok(()),
        ended = shown => ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_viewer_gets_what_was_asked_for_and_nothing_beside_rfb() {
        let way = |view_only, take_over| Way { host: "system".to_owned(), view_only, take_over }.to_string();
        assert_eq!(way(true, false), "/api/v1alpha1/screens/system/view?bytesOnly=true");
        assert_eq!(way(false, true), "/api/v1alpha1/screens/system/kvm?bytesOnly=true&takeOver=true");
    }
}
