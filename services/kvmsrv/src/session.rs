//! One session on the socket.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use host_session::{notice, read};
use rfb::{Event, Input, Server};
use serial::SessionId;
use serial::frame::{Command, Kind, Notice, PICTURE_MAX, encode_within};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc};

use crate::desk::Desk;
use crate::shared::{Pass, SessionEvent, SessionEventKind, Shared};

/// Notices on their way to one session, beside how things are: more are left out.
const NOTICES: usize = 8;
/// Answers that a viewer asks for and does not take: with more it is ended.
const ANSWERS_MAX: usize = 64 * 1024;

/// Serves a connection to its end.
pub(crate) async fn serve(stream: UnixStream, shared: &Shared) {
    let (mut from, mut to) = stream.into_split();
    let Some(pass) = host_session::shown(&mut from, &mut to, &shared.tickets, || shared.clock.now()).await
    else {
        return;
    };
    let Some(desk) = shared.desks.get(pass.desk) else { return };
    let id = match desk.join(&pass.by.who(), pass.by.holder.clone(), !pass.view_only) {
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
                    if let Some(taken) = Notice::taken_over(shown.as_ref(), &now) {
                        notice(to, &taken).await?;
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
        if let Some(from) = self.desk.take_over(self.id, &self.pass.by.holder.account)? {
            self.tell(SessionEventKind::TookOver { from });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
