//! One channel: one console, for as long as both sides want it.
//!
//! Two halves run beside each other, what is shown and what is typed, so that a client that takes nothing can still be heard, and a port that takes nothing
//! still be shown. Words of ours go to the client's standard error, apart from what the host prints.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ipc::Status;
use russh::server::{Handle, Msg};
use russh::{Channel, ChannelId, ChannelMsg};
use schema::v1alpha1 as v1;
use serial::frame::{Command, Kind, Notice, PAYLOAD_MAX, encode};
use serial::{Asked, Deed, Dialogue};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::calls::Shared;
use crate::conn::Conn;

/// Consoles on one connection.
const CHANNELS_MAX: usize = 4;
/// The daemon's socket, in the run directory.
const SOCKET: &str = "consolesrv/console.sock";
/// How long a client may open no window for what is to be shown. It costs a place and nothing else.
const STUCK_MAX: Duration = Duration::from_secs(600);
/// How long a channel may stay without a request for what it is there.
const REQUEST_WITHIN: Duration = Duration::from_secs(30);
/// SSH's number of standard error (RFC 4254 §5.2).
const STDERR: u32 = 1;
/// Answers to what was typed, on their way to one client: more are left out.
const LINES: usize = 4;
/// Exit status of a console that was not opened, or that ended of itself.
const FAILED: u32 = 1;

/// Channels that are open, and whether each has begun what it is for.
#[derive(Clone, Default)]
pub(crate) struct Channels(Arc<Mutex<Vec<(ChannelId, bool)>>>);

impl Channels {
    fn lock(&self) -> MutexGuard<'_, Vec<(ChannelId, bool)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more, if there is one.
    pub(crate) fn open(&self, id: ChannelId) -> Option<Open> {
        let mut open = self.lock();
        if open.len() >= CHANNELS_MAX {
            return None;
        }
        open.push((id, false));
        Some(Open(self.clone(), id))
    }

    /// Whether a channel may begin what it is for, which it does once.
    pub(crate) fn begins(&self, id: ChannelId) -> bool {
        let mut open = self.lock();
        let begun = open.iter_mut().find(|(other, _)| *other == id);
        begun.is_some_and(|(_, begun)| !std::mem::replace(begun, true))
    }
}

/// The place of a channel among those of its connection; given back when dropped.
pub(crate) struct Open(Channels, ChannelId);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.lock().retain(|(other, _)| *other != self.1);
    }
}

/// Somebody who has to be told things in lines.
struct Screen {
    handle: Handle,
    id: ChannelId,
    on_terminal: bool,
}

impl Screen {
    /// Shows what the host printed; whether the client is still there and takes it.
    async fn show(&self, bytes: Vec<u8>) -> bool {
        matches!(timeout(STUCK_MAX, self.handle.data(self.id, bytes)).await, Ok(Ok(())))
    }

    /// Shows a line of ours; whether the client is still there and takes it.
    async fn say(&self, line: &str) -> bool {
        // On a terminal it stands between lines of the host, which need not have ended.
        let line = if self.on_terminal { format!("\r\n[{line}]\r\n") } else { format!("[{line}]\n") };
        let said = self.handle.extended_data(self.id, STDERR, line.into_bytes());
        matches!(timeout(STUCK_MAX, said).await, Ok(Ok(())))
    }
}

/// Serves a channel to its end.
pub(crate) async fn serve(
    mut channel: Channel<Msg>,
    handle: Handle,
    conn: Arc<Conn>,
    shared: Arc<Shared>,
    open: Open,
) {
    let id = channel.id();
    let Some((asked, on_terminal)) = request(&mut channel).await else {
        let _ = handle.close(id).await;
        return;
    };
    let screen = Screen { handle, id, on_terminal };
    let said = match asked {
        Ok(asked) => console(&mut channel, &screen, &asked, &conn, &shared).await,
        Err(wrong) => Some(wrong),
    };
    if let Some(said) = said {
        screen.say(&said).await;
    }
    let handle = &screen.handle;
    let _ = handle.exit_status_request(id, FAILED).await;
    let _ = handle.eof(id).await;
    let _ = handle.close(id).await;
    drop(open);
}

/// What the channel is for, and whether there is a terminal; `None` when it is closed before that is known, or nobody says.
async fn request(channel: &mut Channel<Msg>) -> Option<(Result<Asked, String>, bool)> {
    let mut on_terminal = false;
    let asked = async {
        loop {
            match channel.wait().await? {
                ChannelMsg::RequestPty { .. } => on_terminal = true,
                ChannelMsg::RequestShell { .. } => return Some(Ok(Asked::default())),
                ChannelMsg::Exec { command, .. } => return Some(Asked::parse(&command)),
                ChannelMsg::Close => return None,
                _ => {}
            }
        }
    };
    let asked = timeout(REQUEST_WITHIN, asked).await.ok().flatten()?;
    Some((asked, on_terminal))
}

/// A session of a console; what is to be said at its end, if the client is still there.
async fn console(
    channel: &mut Channel<Msg>,
    screen: &Screen,
    asked: &Asked,
    conn: &Conn,
    shared: &Shared,
) -> Option<String> {
    let stream = match opened(asked, conn, shared).await {
        Ok(stream) => stream,
        Err(status) => return Some(words(&status)),
    };
    let (mut from, mut to) = stream.into_split();
    if asked.sends_break && ask(&mut to, &Command::Break).await.is_err() {
        return Some("the console's daemon ended the session".to_owned());
    }
    let dialogue = Mutex::new(Dialogue::new(screen.on_terminal, asked.take_over));
    let (lines, mut to_say) = mpsc::channel(LINES);
    tokio::select! {
        said = show(&mut from, screen, &dialogue, conn, shared) => said,
        said = listen(channel, &mut to, &lines, &dialogue, conn, shared) => said,
        said = answer(&mut to_say, screen) => said,
    }
}

/// What a refusal says to somebody at a terminal.
fn words(status: &Status) -> String {
    match status.reason().as_str() {
        "PASSWORD_CHANGE_REQUIRED" => {
            format!("{}: with `ubmcctl user password`, or by HTTPS on this controller's page", status.message)
        }
        _ => status.message.clone(),
    }
}

/// A session on the daemon's socket.
async fn opened(asked: &Asked, conn: &Conn, shared: &Shared) -> Result<UnixStream, Status> {
    let login = conn.login().ok_or_else(|| Status::internal("a channel without a login"))?;
    let name = asked.host.clone().or_else(|| shared.consoles.first().cloned());
    let name = name.ok_or_else(|| Status::not_found("this controller has no console"))?;
    let request = v1::OpenConsoleRequest {
        name,
        replay_bytes: asked.replay,
        read_only: asked.read_only,
        take_over: asked.take_over,
        bytes_only: false,
    };
    let ticket = shared.open(&login, &request, conn.peer).await?;
    let path = shared.run_dir.join(SOCKET);
    let connected = async {
        let mut stream = UnixStream::connect(&path).await?;
        stream.write_all(&encode(Kind::Ticket, ticket.as_bytes())).await?;
        Ok::<_, std::io::Error>(stream)
    };
    connected.await.map_err(|error| {
        tracing::warn!(path = %path.display(), %error, "cannot connect to consolesrv");
        Status::unavailable("consolesrv does not take the session")
    })
}

/// What the daemon sends, to the client.
async fn show(
    from: &mut OwnedReadHalf,
    screen: &Screen,
    dialogue: &Mutex<Dialogue>,
    conn: &Conn,
    shared: &Shared,
) -> Option<String> {
    let ended = || Some("the console's daemon ended the session".to_owned());
    loop {
        let Ok(Some((kind, payload))) = host_session::read(from).await else { return ended() };
        match kind {
            Kind::Data => {
                conn.uses(shared.clock.now());
                if !screen.show(payload).await {
                    return None;
                }
            }
            Kind::Control => {
                // Newer daemons may tell more.
                let Ok(notice) = serde_json::from_slice::<Notice>(&payload) else { continue };
                let lines = dialogue.lock().unwrap_or_else(PoisonError::into_inner).told(&notice);
                for line in lines {
                    if !screen.say(&line).await {
                        return None;
                    }
                }
            }
            Kind::Ticket => return ended(),
        }
    }
}

/// What is answered to what the client types, to the client.
async fn answer(lines: &mut mpsc::Receiver<String>, screen: &Screen) -> Option<String> {
    while let Some(line) = lines.recv().await {
        if !screen.say(&line).await {
            return None;
        }
    }
    None
}

/// What the client sends, to the daemon.
async fn listen(
    channel: &mut Channel<Msg>,
    to: &mut OwnedWriteHalf,
    lines: &mpsc::Sender<String>,
    dialogue: &Mutex<Dialogue>,
    conn: &Conn,
    shared: &Shared,
) -> Option<String> {
    let ended = || Some("the console's daemon ended the session".to_owned());
    while let Some(message) = channel.wait().await {
        let bytes = match message {
            ChannelMsg::Data { data } => data,
            ChannelMsg::Close => return None,
            // A serial line has no window, carries no signals, and does not end: who has no more to type may look on.
            _ => continue,
        };
        conn.uses(shared.clock.now());
        let deed = dialogue.lock().unwrap_or_else(PoisonError::into_inner).typed(&bytes);
        let sent = match deed {
            Deed::Type => typed(to, &bytes).await,
            Deed::Ask(command) => ask(to, &command).await,
            Deed::Say(line) => {
                // Not said from here: who takes nothing is heard all the same, and need not be told more.
                let _ = lines.try_send(line);
                Ok(())
            }
        };
        if sent.is_err() {
            return ended();
        }
    }
    None
}

async fn typed(to: &mut OwnedWriteHalf, bytes: &[u8]) -> std::io::Result<()> {
    for piece in bytes.chunks(PAYLOAD_MAX) {
        to.write_all(&encode(Kind::Data, piece)).await?;
    }
    Ok(())
}

async fn ask(to: &mut OwnedWriteHalf, command: &Command) -> std::io::Result<()> {
    let command = serde_json::to_vec(command).map_err(std::io::Error::other)?;
    to.write_all(&encode(Kind::Control, &command)).await
}
