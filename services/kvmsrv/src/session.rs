//! One session on the socket.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use host_session::{notice, read};
use rfb::{Event, Input, Server};
use serial::frame::{Command, Kind, Notice, PICTURE_MAX, begin};
use serial::{Allowances, SessionId};
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
/// How long a viewer may take nothing before what it holds down is released: it may be gone, and a key that is down repeats itself.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);
/// How long the last word may take.
const FAREWELL: Duration = Duration::from_millis(500);

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
            if !pass.bytes_only {
                let _ = notice(&mut to, &Notice::End { reason: refused.to_string() }).await;
            }
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
        typing: AtomicU8::new(NOT_YET),
        sent: AtomicU64::new(0),
        writing: AtomicBool::new(false),
        coming: AtomicU8::new(NOT_YET),
    };
    session.tell_once(&session.coming, SessionEventKind::Opened);
    let (notices, told) = mpsc::channel(NOTICES);
    if session.pass.take_over
        && let Err(reason) = session.take_over()
    {
        let _ = notices.try_send(Notice::Refused { reason });
    }
    let result = tokio::select! {
        result = session.show(&mut to, told) => result,
        result = session.listen(&mut from, &notices) => result,
        result = session.tell_later() => result,
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a session of a screen broke off");
        // Amid a picture nothing can be said.
        let is_told = !session.pass.bytes_only && !session.writing.load(Ordering::Relaxed);
        // First of all it has ended: who takes nothing holds no keyboard until he does.
        drop(session);
        if is_told {
            let said = Notice::End { reason: error.to_string() };
            let _ = tokio::time::timeout(FAREWELL, notice(&mut to, &said)).await;
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
    /// Whether it was told that it types.
    typing: AtomicU8,
    /// Pictures that it was sent.
    sent: AtomicU64,
    /// A frame is on its way, or was broken off.
    writing: AtomicBool,
    /// Whether it was told that it came: its account may do that all the time.
    coming: AtomicU8,
}

/// What is to be told was not asked for; its account had no more at that moment; it is told.
const NOT_YET: u8 = 0;
const LATER: u8 = 1;
const TOLD: u8 = 2;

impl Drop for Session {
    fn drop(&mut self) {
        self.desk.leave(self.id);
        if self.coming.load(Ordering::Relaxed) == TOLD {
            self.tell(SessionEventKind::Closed, 0);
        }
    }
}

impl Session {
    /// Tells something that is told once of a session, unless its account does that all the time.
    fn tell_once(&self, state: &AtomicU8, what: SessionEventKind) {
        let is_new = match state.load(Ordering::Relaxed) {
            TOLD => return,
            before => before == NOT_YET,
        };
        let told = self.desk.is_told(&self.pass.by.holder.account, is_new);
        state.store(if told.is_some() { TOLD } else { LATER }, Ordering::Relaxed);
        if let Some(untold) = told {
            self.tell(what, untold);
        }
    }

    /// Who looks for hours is told, however often its account came and went before. It ends with the session.
    async fn tell_later(&self) -> io::Result<()> {
        while self.coming.load(Ordering::Relaxed) != TOLD {
            tokio::time::sleep(Allowances::AGAIN.into()).await;
            self.tell_once(&self.coming, SessionEventKind::Opened);
        }
        std::future::pending().await
    }

    fn tell(&self, what: SessionEventKind, untold: u32) {
        let tell = SessionEvent { desk: self.pass.desk, pass: self.pass.clone(), what, untold };
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
            let (pieces, is_whole) = self.desk.show(&self.server).map_err(io::Error::other)?;
            for frame in pieces.iter().flat_map(|piece| piece.bytes().chunks(PICTURE_MAX)) {
                self.send(to, frame).await?;
            }
            if !pieces.is_empty() {
                // One that comes in pieces is one.
                self.sent.fetch_add(u64::from(is_whole), Ordering::Relaxed);
                // What is to be told waits behind one picture, and not behind all that move.
                while let Ok(said) = told.try_recv() {
                    if !self.pass.bytes_only {
                        notice(to, &said).await?;
                    }
                }
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

    /// Sends a frame of RFB. Who takes none for a while holds no key down.
    async fn send(&self, to: &mut OwnedWriteHalf, bytes: &[u8]) -> io::Result<()> {
        self.writing.store(true, Ordering::Relaxed);
        let sent = write(to, bytes);
        tokio::pin!(sent);
        let done = match tokio::time::timeout(TAKEN_WITHIN, &mut sent).await {
            Ok(done) => done,
            Err(_) => {
                self.desk.lift(self.id);
                sent.await
            }
        };
        self.writing.store(false, Ordering::Relaxed);
        done
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
                    Ok(Command::Ping { at }) => {
                        let sent = self.sent.load(Ordering::Relaxed);
                        let _ = notices.try_send(Notice::Pong { at, sent });
                        Ok(())
                    }
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
        if self.desk.input(self.id, input)? {
            self.tell_once(&self.typing, SessionEventKind::Input);
        }
        Ok(())
    }

    fn take_over(&self) -> Result<(), String> {
        if let Some(from) = self.desk.take_over(self.id, &self.pass.by.holder.account)? {
            self.tell(SessionEventKind::TookOver { from }, 0);
        }
        Ok(())
    }
}

/// Writes a frame; a picture that all share goes as it is, without a copy of its own.
async fn write(to: &mut OwnedWriteHalf, bytes: &[u8]) -> io::Result<()> {
    let head = begin(Kind::Data, bytes.len());
    let written = to.write_vectored(&[IoSlice::new(&head), IoSlice::new(bytes)]).await?;
    if let Some(rest) = head.get(written..) {
        to.write_all(rest).await?;
    }
    to.write_all(bytes.get(written.saturating_sub(head.len())..).unwrap_or_default()).await
}

#[cfg(test)]
mod tests;
