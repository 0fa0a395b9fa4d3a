//! One session on the socket.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use serial::frame::{Command, HEAD, Kind, Notice, encode, head};
use serial::{News, Piece, Reader, SessionId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::desk::{Desk, Typed, sleep_until};
use crate::shared::{Shared, Tell, What};
use crate::ticket::Pass;

/// How long a connection has to show its ticket.
const TICKET_WITHIN: Duration = Duration::from_secs(5);
/// Notices on their way to one session, beside how things are: more are left out.
const NOTICES: usize = 8;

/// Serves a connection to its end.
pub(crate) async fn serve(stream: UnixStream, shared: &Shared) {
    let (mut from, mut to) = stream.into_split();
    let shown = tokio::time::timeout(TICKET_WITHIN, read(&mut from)).await;
    let Ok(Ok(Some((Kind::Ticket, ticket)))) = shown else {
        tracing::debug!("a connection without a ticket");
        return;
    };
    let pass = shared.tickets.lock().await.take(&ticket, Instant::now());
    let Some((pass, desk)) = pass.and_then(|pass| Some((pass.clone(), shared.desks.get(pass.desk)?))) else {
        let _ = notice(&mut to, &Notice::End { reason: "the ticket is not good any more".to_owned() }).await;
        return;
    };
    let who = if pass.address.is_empty() {
        pass.username.clone()
    } else {
        format!("{} ({})", pass.username, pass.address)
    };
    let id = match desk.join(&who, !pass.read_only) {
        Ok(id) => id,
        Err(refused) => {
            let _ = notice(&mut to, &Notice::End { reason: refused.to_string() }).await;
            return;
        }
    };
    // Also when this task is dropped: nobody stays in the list who is gone.
    let session = Session { id, desk: Arc::clone(desk), pass, tell: shared.tell.clone() };
    session.tell(What::Opened);
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
        tracing::debug!(%error, "a session of a console broke off");
    }
}

struct Session {
    id: SessionId,
    desk: Arc<Desk>,
    pass: Pass,
    tell: mpsc::Sender<Tell>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.desk.change(|state| state.sessions.leave(self.id));
        self.tell(What::Closed);
    }
}

impl Session {
    fn tell(&self, what: What) {
        let tell = Tell { desk: self.pass.desk, pass: self.pass.clone(), what };
        if self.tell.try_send(tell).is_err() {
            tracing::warn!(
                console = self.desk.name,
                "cannot tell about session of console: too many at once"
            );
        }
    }

    /// Shows what is printed and how things are.
    async fn show(&self, to: &mut OwnedWriteHalf, mut told: mpsc::Receiver<Notice>) -> io::Result<()> {
        let mut changes = self.desk.changes();
        let mut reader = Reader::new(&self.desk.lock().ring, u64::from(self.pass.replay));
        let mut shown: Option<Notice> = None;
        loop {
            changes.mark_unchanged();
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
            let frame = {
                let state = self.desk.lock();
                match reader.next(&state.ring, self.desk.clock.now()) {
                    Piece::Wait(until) => Err(until),
                    Piece::Lost(bytes) => Ok(encode(Kind::Control, &Notice::Lost { bytes }.json())),
                    Piece::Bytes(bytes) => Ok(encode(Kind::Data, bytes)),
                }
            };
            match frame {
                Ok(frame) => to.write_all(&frame).await?,
                Err(until) => tokio::select! {
                    changed = changes.changed() => if changed.is_err() { return Ok(()) },
                    () = sleep_until(&self.desk.clock, until) => {}
                    said = told.recv() => if let Some(said) = said { notice(to, &said).await? },
                },
            }
        }
    }

    /// Takes what is typed and asked for.
    async fn listen(&self, from: &mut OwnedReadHalf, notices: &mpsc::Sender<Notice>) -> io::Result<()> {
        while let Some((kind, payload)) = read(from).await? {
            let done = match kind {
                Kind::Ticket => Err("the session is open already".to_owned()),
                Kind::Data => self.typed(Typed::Bytes(payload)).await,
                Kind::Control => match Command::parse(&payload) {
                    Err(wrong) => Err(wrong),
                    Ok(Command::TakeOver) => self.take_over(),
                    Ok(Command::Release) => {
                        self.desk.change(|state| state.sessions.release(self.id));
                        Ok(())
                    }
                    Ok(Command::Break) => self.typed(Typed::Break).await,
                },
            };
            if let Err(reason) = done {
                // Who does not read what he is told need not be told more.
                let _ = notices.try_send(Notice::Refused { reason });
            }
        }
        Ok(())
    }

    async fn typed(&self, typed: Typed) -> Result<(), String> {
        let is_writer = self.desk.lock().sessions.writer() == Some(self.id);
        if !is_writer {
            self.desk.change(|state| state.sessions.typed(self.id)).map_err(|refused| refused.to_string())?;
        }
        let is_break = matches!(typed, Typed::Break);
        self.desk.send(typed).await?;
        if is_break {
            self.tell(What::Break);
        }
        Ok(())
    }

    fn take_over(&self) -> Result<(), String> {
        let taken = self.desk.change(|state| {
            let news = state.sessions.take_over(self.id)?;
            Ok(match news {
                Some(News::Writes { from: Some(from), .. }) => Some(state.sessions.who(from).to_owned()),
                _ => None,
            })
        });
        match taken {
            Ok(Some(from)) => self.tell(What::TookOver { from }),
            Ok(None) => {}
            Err::<_, serial::Refused>(refused) => return Err(refused.to_string()),
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
