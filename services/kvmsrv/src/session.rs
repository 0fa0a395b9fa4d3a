//! One session on the socket.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rfb::{Event, Input, Server};
use serial::SessionId;
use serial::frame::{Command, HEAD, Kind, Notice, PICTURE_MAX, encode, encode_within, head};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc};

use crate::desk::Desk;
use crate::shared::{Pass, SessionEvent, SessionEventKind, Shared};

/// How long a connection has to show its ticket.
const TICKET_WITHIN: Duration = Duration::from_secs(5);
/// Notices on their way to one session, beside how things are: more are left out.
const NOTICES: usize = 8;
/// Answers that a viewer asks for and does not take: with more it is ended.
const ANSWERS_MAX: usize = 64 * 1024;

/// Serves a connection to its end.
pub(crate) async fn serve(stream: UnixStream, shared: &Shared) {
    let (mut from, mut to) = stream.into_split();
    let shown = tokio::time::timeout(TICKET_WITHIN, read(&mut from)).await;
    let Ok(Ok(Some((Kind::Ticket, ticket)))) = shown else {
        tracing::debug!("a connection without a ticket");
        return;
    };
    let pass = shared.tickets.lock().await.take(&ticket, shared.clock.now());
    let Some((pass, desk)) = pass.and_then(|pass| Some((pass.clone(), shared.desks.get(pass.desk)?))) else {
        let _ = notice(&mut to, &Notice::End { reason: "the ticket is not good any more".to_owned() }).await;
        return;
    };
    let who = if pass.address.is_empty() {
        pass.holder.account.clone()
    } else {
        format!("{} ({})", pass.holder.account, pass.address)
    };
    let id = match desk.join(&who, pass.holder.clone(), !pass.view_only) {
        Ok(id) => id,
        Err(refused) => {
            let _ = notice(&mut to, &Notice::End { reason: refused.to_string() }).await;
            return;
        }
    };
    let server = std::sync::Mutex::new(Server::new(&desk.name));
    // Also when this task is dropped: nobody stays in the list who is gone, and no key stays down.
    let session = Session {
        id,
        desk: Arc::clone(desk),
        pass,
        tell: shared.tell.clone(),
        server,
        heard: Notify::new(),
        has_typed: AtomicBool::new(false),
    };
    session.tell(SessionEventKind::Opened);
    let (notices, told) = mpsc::channel(NOTICES);
    if session.pass.take_over
        && let Err(reason) = session.take_over()
    {
        let _ = notices.try_send(Notice::Refused { reason });
    }
    let result = tokio::select! {
        result = session.show(&mut to, told) => result,
        result = session.listen(&mut from, &notices) => result,
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a session of a screen broke off");
        if !session.pass.bytes_only {
            let _ = notice(&mut to, &Notice::End { reason: error.to_string() }).await;
        }
    }
}

struct Session {
    id: SessionId,
    desk: Arc<Desk>,
    pass: Pass,
    tell: mpsc::Sender<SessionEvent>,
    server: std::sync::Mutex<Server>,
    /// The viewer said something: it may wait for an update, or for an answer.
    heard: Notify,
    /// That it typed was told.
    has_typed: AtomicBool,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.desk.leave(self.id);
        self.tell(SessionEventKind::Closed);
    }
}

impl Session {
    fn tell(&self, what: SessionEventKind) {
        let tell = SessionEvent { desk: self.pass.desk, pass: self.pass.clone(), what };
        if self.tell.try_send(tell).is_err() {
            tracing::warn!(screen = self.desk.name, "cannot tell about session of screen: too many at once");
        }
    }

    /// Shows pictures and how things are.
    async fn show(&self, to: &mut OwnedWriteHalf, mut told: mpsc::Receiver<Notice>) -> io::Result<()> {
        let mut changes = self.desk.changes();
        let mut shown: Option<Notice> = None;
        loop {
            changes.mark_unchanged();
            if !self.pass.bytes_only {
                let now = self.desk.notice(self.id);
                if shown.as_ref() != Some(&now) {
                    if let (
                        Some(Notice::State { you_write: true, .. }),
                        Notice::State { you_write: false, writer, .. },
                    ) = (&shown, &now)
                        && !writer.is_empty()
                    {
                        notice(to, &Notice::TakenOver { by: writer.clone() }).await?;
                    }
                    notice(to, &now).await?;
                    shown = Some(now);
                }
            }
            let bytes = self.desk.show(&self.server).map_err(io::Error::other)?;
            for piece in bytes.chunks(PICTURE_MAX) {
                to.write_all(&encode_within(Kind::Data, piece, PICTURE_MAX)).await?;
            }
            if !bytes.is_empty() {
                continue;
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return Ok(()) },
                () = self.heard.notified() => {}
                said = told.recv() => if let (Some(said), false) = (said, self.pass.bytes_only) {
                    notice(to, &said).await?;
                },
            }
        }
    }

    /// Takes what is typed, pointed and asked for.
    async fn listen(&self, from: &mut OwnedReadHalf, notices: &mpsc::Sender<Notice>) -> io::Result<()> {
        while let Some((kind, payload)) = read(from).await? {
            let done = match kind {
                Kind::Ticket => Err("the session is open already".to_owned()),
                Kind::Data => self.heard(&payload)?,
                Kind::Control => match Command::parse(&payload) {
                    Err(wrong) => Err(wrong),
                    Ok(Command::TakeOver) => self.take_over(),
                    Ok(Command::Release) => {
                        self.desk.release(self.id);
                        Ok(())
                    }
                    Ok(Command::Break) => Err("a screen has no break".to_owned()),
                },
            };
            if let Err(reason) = done {
                // Who does not read what he is told need not be told more.
                let _ = notices.try_send(Notice::Refused { reason });
            }
        }
        Ok(())
    }

    /// Bytes of the viewer. What it is told: that it may not type.
    fn heard(&self, bytes: &[u8]) -> io::Result<Result<(), String>> {
        let events = self.desk.hear(&self.server, bytes).map_err(io::Error::other)?;
        self.heard.notify_one();
        let waiting = self.server.lock().unwrap_or_else(std::sync::PoisonError::into_inner).output_len();
        if waiting > ANSWERS_MAX {
            return Err(io::Error::other("it asks for more than it takes"));
        }
        let mut done = Ok(());
        for event in events {
            match event {
                Event::Input(input) => {
                    if let Err(reason) = self.input(input) {
                        done = Err(reason);
                    }
                }
                // The host has no clipboard.
                Event::Open | Event::CutText(_) => {}
            }
        }
        Ok(done)
    }

    fn input(&self, input: Input) -> Result<(), String> {
        let is_first = self.desk.input(self.id, input)?;
        if is_first && !self.has_typed.swap(true, Ordering::Relaxed) {
            self.tell(SessionEventKind::Input);
        }
        Ok(())
    }

    fn take_over(&self) -> Result<(), String> {
        if let Some(from) = self.desk.take_over(self.id, &self.pass.holder.account)? {
            self.tell(SessionEventKind::TookOver { from });
        }
        Ok(())
    }
}

async fn notice(to: &mut OwnedWriteHalf, notice: &Notice) -> io::Result<()> {
    to.write_all(&encode(Kind::Control, &notice.json())).await
}

/// The next frame; `None` at the end.
async fn read(from: &mut OwnedReadHalf) -> io::Result<Option<(Kind, Vec<u8>)>> {
    let mut bytes = [0; HEAD];
    match from.read_exact(&mut bytes).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let (kind, length) = head(bytes).map_err(io::Error::other)?;
    let mut payload = vec![0; length];
    from.read_exact(&mut payload).await?;
    Ok(Some((kind, payload)))
}

#[cfg(test)]
mod tests;
