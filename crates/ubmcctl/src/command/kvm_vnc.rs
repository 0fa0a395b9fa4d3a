//! Screens for desktop viewers: a port or socket of this machine that speaks RFB, behind which is the BMC's WebSocket.
//!
//! The viewer needs no login and no TLS of its own: it gets what the login of this program may have. So only this machine is listened to, and a socket is this
//! user's alone.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt as _, StreamExt as _};
use rustix::fs::{Mode, fchmod};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};
use tokio_tungstenite::tungstenite::Message;

use crate::cli::KvmListen as Listen;
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

/// The way to a viewer.
trait Link: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Link for T {}

/// What viewers come by.
enum Listener {
    Port(TcpListener),
    Socket(UnixListener, PathBuf),
}

impl Listener {
    async fn open(at: &Listen) -> Result<Self, Failure> {
        match at {
            Listen::Port(address) if !address.ip().is_loopback() => {
                let text =
                    format!("{address} is not of this machine alone, and a viewer needs no login there");
                Err(Failure::Usage(text))
            }
            Listen::Port(address) => TcpListener::bind(address)
                .await
                .map(Self::Port)
                .map_err(|error| Failure::Local(format!("cannot listen at {address}: {error}"))),
            Listen::Socket(path) => own(path)
                .map(|listener| Self::Socket(listener, path.clone()))
                .map_err(|error| Failure::Local(format!("cannot listen at {}: {error}", path.display()))),
        }
    }

    fn place(&self) -> io::Result<String> {
        match self {
            Self::Port(listener) => listener.local_addr().map(|address| address.to_string()),
            Self::Socket(_, path) => Ok(path.display().to_string()),
        }
    }

    /// The next viewer, and what it is called.
    async fn accept(&self) -> io::Result<(Box<dyn Link>, String)> {
        match self {
            Self::Port(listener) => {
                let (viewer, from) = listener.accept().await?;
                // Keys are not gathered before they are sent.
                let _ = viewer.set_nodelay(true);
                Ok((Box::new(viewer), from.to_string()))
            }
            Self::Socket(listener, _) => {
                let (viewer, _) = listener.accept().await?;
                Ok((Box::new(viewer), "a viewer".to_owned()))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Socket(_, path) = self {
            // Nobody listens there any more.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A socket that no other user can connect to, from the moment it is there.
fn own(path: &Path) -> io::Result<UnixListener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Its file gets this mode (unix(7), Linux).
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, i32::try_from(VIEWERS_MAX).unwrap_or(1))?;
    UnixListener::from_std(socket.into())
}

/// Serves viewers until the program is ended, or after the first one when that is asked for.
pub(crate) async fn serve(client: &Client, way: &Way, at: &Listen, once: bool) -> Result<(), Failure> {
    let listener = Listener::open(at).await?;
    let cannot = |error| Failure::Local(format!("cannot listen: {error}"));
    let place = listener.place().map_err(cannot)?;
    note(&format!("listening at {place} for viewers of the screen of {}", way.host));
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
async fn view(client: &Client, way: &Way, viewer: Box<dyn Link>) -> Result<(), Failure> {
    let socket = Box::pin(client.socket(&way.to_string())).await?;
    relay(socket, viewer).await
}

async fn relay(socket: Socket, viewer: Box<dyn Link>) -> Result<(), Failure> {
    let (mut to_bmc, mut from_bmc) = socket.split();
    let (mut from_viewer, mut to_viewer) = tokio::io::split(viewer);
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

    #[tokio::test]
    async fn a_socket_is_this_users_alone_and_goes_with_the_program() {
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("screen");
        let at: Listen = format!("unix:{}", path.display()).parse().unwrap();
        let listener = Listener::open(&at).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Listener::open(&at).await.is_err(), "somebody listens there");
        let (viewer, accepted) = tokio::join!(tokio::net::UnixStream::connect(&path), listener.accept());
        drop((viewer.unwrap(), accepted.unwrap()));
        drop(listener);
        assert!(!path.exists());
        assert!("unix:".parse::<Listen>().is_err() && "screen".parse::<Listen>().is_err());
        let elsewhere = Listener::open(&"192.0.2.1:5900".parse().unwrap()).await;
        assert!(matches!(elsewhere, Err(Failure::Usage(_))));
    }
}
