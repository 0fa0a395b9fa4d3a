//! The two sockets: frames in, frames out, bounded both ways.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hal_sim::wire::{
    BusKey, ControlRequest, DriveRequest, FirmwareRequest, FromTwin, I2cTransfer, LineRequest,
    MailboxRequest, ToTwin, VERSION,
};
use hal_sim::{read_frame, write_frame};
use tokio::io::BufReader;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use crate::error::Error;
use crate::pins::ConnectionId;

/// Frames a client may lag behind before it is dropped. Edges are few; a client this late is dead.
const LAG_MAX: usize = 1024;

/// Which side of the board a socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Lines,
    Control,
}

/// What a client does.
#[derive(Debug)]
pub(crate) enum ClientEvent {
    Came { owner: String, to: mpsc::Sender<FromTwin> },
    Line { id: u64, request: LineRequest },
    I2c { id: u64, bus: BusKey, transfers: Vec<I2cTransfer> },
    Mailbox { id: u64, host: String, request: MailboxRequest },
    Firmware { id: u64, host: String, request: FirmwareRequest },
    Drive { id: u64, drive: String, request: DriveRequest },
    Control { id: u64, request: ControlRequest },
    Went,
}

/// A listening socket; its file goes with it.
#[derive(Debug)]
pub(crate) struct Listener {
    listener: UnixListener,
    path: PathBuf,
    side: Side,
}

impl Listener {
    /// Listens at `path`, for this user and, for lines, the folder's group. A socket left by a dead twin is replaced; a living one's is not.
    pub(crate) async fn bind(path: &Path, side: Side) -> Result<Self, Error> {
        let failed = |source| Error::Listen { path: path.to_owned(), source };
        if UnixStream::connect(path).await.is_ok() {
            return Err(Error::Running { path: path.to_owned() });
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        // The lines are for powermgr, the buses for sensormon, the mailboxes for statemgr, which may be other users of the folder's group; the strings of the host are for who started it.
        let mode = if matches!(side, Side::Lines) { 0o660 } else { 0o600 };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned(), side })
    }

    /// The next client. Cancel-safe.
    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }

    pub(crate) fn side(&self) -> Side {
        self.side
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "the socket's file stays");
        }
    }
}

/// Serves one client until it goes or misbehaves. Its events are made into the loop's by `wrap`.
pub(crate) async fn serve_client<E>(
    stream: UnixStream,
    side: Side,
    connection: ConnectionId,
    events: mpsc::Sender<E>,
    wrap: fn(ConnectionId, ClientEvent) -> E,
) {
    if let Err(error) = converse(stream, side, connection, &events, wrap).await {
        tracing::debug!(connection, %error, "a client of the twin fails");
    }
    // Fails only when the loop has ended.
    let _ = events.send(wrap(connection, ClientEvent::Went)).await;
}

async fn converse<E>(
    stream: UnixStream,
    side: Side,
    connection: ConnectionId,
    events: &mpsc::Sender<E>,
    wrap: fn(ConnectionId, ClientEvent) -> E,
) -> io::Result<()> {
    let (from, mut writer) = stream.into_split();
    let mut from = BufReader::new(from);
    let mut partial = Vec::new();
    let owner = match read_frame(&mut from, &mut partial).await? {
        Some(ToTwin::Hello { version: VERSION, owner }) => owner,
        Some(ToTwin::Hello { version, .. }) => {
            let reason = format!("this twin speaks version {VERSION}, not {version}");
            return write_frame(&mut writer, &FromTwin::Refused { reason }).await;
        }
        Some(_) => {
            let reason = "the first frame must be a hello".to_owned();
            return write_frame(&mut writer, &FromTwin::Refused { reason }).await;
        }
        None => return Ok(()),
    };
    let (to, mut outgoing) = mpsc::channel(LAG_MAX);
    let send = async |event| {
        events.send(wrap(connection, event)).await.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    };
    send(ClientEvent::Came { owner, to }).await?;
    write_frame(&mut writer, &FromTwin::Hello { version: VERSION }).await?;
    loop {
        tokio::select! {
            frame = read_frame(&mut from, &mut partial) => match (frame?, side) {
                (None, _) => return Ok(()),
                (Some(ToTwin::Line { id, request }), Side::Lines) => {
                    send(ClientEvent::Line { id, request }).await?;
                }
                (Some(ToTwin::I2c { id, bus, transfers }), Side::Lines) => {
                    send(ClientEvent::I2c { id, bus, transfers }).await?;
                }
                (Some(ToTwin::Mailbox { id, host, request }), Side::Lines) => {
                    send(ClientEvent::Mailbox { id, host, request }).await?;
                }
                (Some(ToTwin::Firmware { id, host, request }), Side::Lines) => {
                    send(ClientEvent::Firmware { id, host, request }).await?;
                }
                (Some(ToTwin::Drive { id, drive, request }), Side::Lines) => {
                    send(ClientEvent::Drive { id, drive, request }).await?;
                }
                (Some(ToTwin::Control { id, request }), Side::Control) => {
                    send(ClientEvent::Control { id, request }).await?;
                }
                (Some(_), _) => {
                    let reason = "that frame does not belong on this socket".to_owned();
                    return write_frame(&mut writer, &FromTwin::Refused { reason }).await;
                }
            },
            frame = outgoing.recv() => match frame {
                Some(frame) => write_frame(&mut writer, &frame).await?,
                // The loop dropped this client.
                None => return Ok(()),
            },
        }
    }
}
