//! One session on the socket.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use host_session::{notice, read};
use serial::frame::{Command, Kind, Notice, encode};
use serial::{Allowances, Piece, Reader, SessionId, Typed};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use crate::desk::{Desk, TOO_OFTEN};
use crate::shared::{Pass, SessionEvent, SessionEventKind, Shared};

/// Notices on their way to one session, beside how things are: more are left out.
const NOTICES: usize = 8;

/// Serves a connection to its end.
pub(crate) async fn serve(stream: UnixStream, shared: &Shared) {
    let (mut from, mut to) = stream.into_split();
    let Some(pass) = host_session::shown(&mut from, &mut to, &shared.tickets, || shared.clock.now()).await
    else {
        return;
    };
    let Some(desk) = shared.desks.get(pass.desk) else { return };
    let id = match desk.join(&pass.by.who(), pass.by.holder.clone(), !pass.read_only) {
        Ok(id) => id,
        Err(refused) => {
            if !pass.bytes_only {
                let _ = notice(&mut to, &Notice::End { reason: refused.to_string() }).await;
            }
            return;
        }
    };
    // Also when this task is dropped: nobody stays in the list who is gone.
    let session = Session {
        id,
        desk: Arc::clone(desk),
        pass,
        tell: shared.tell.clone(),
        sent: AtomicU64::new(0),
        is_told: AtomicBool::new(false),
    };
    session.tell_came(true);
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
        tracing::debug!(%error, "a session of a console broke off");
    }
}

struct Session {
    id: SessionId,
    desk: Arc<Desk>,
    pass: Pass,
    tell: mpsc::Sender<SessionEvent>,
    /// Pieces of text that it was sent.
    sent: AtomicU64,
    /// That it came is told: its account may do that all the time.
    is_told: AtomicBool,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.desk.leave(self.id);
        if self.is_told.load(Ordering::Relaxed) {
            self.tell(SessionEventKind::Closed, 0);
        }
    }
}

impl Session {
    fn tell_came(&self, is_new: bool) {
        if let Some(untold) = self.desk.is_told(&self.pass.by.holder.account, is_new) {
            self.is_told.store(true, Ordering::Relaxed);
            self.tell(SessionEventKind::Opened, untold);
        }
    }

    /// Who looks for hours is told, however often its account came and went before. It ends with the session.
    async fn tell_later(&self) -> io::Result<()> {
        while !self.is_told.load(Ordering::Relaxed) {
            tokio::time::sleep(Allowances::AGAIN.into()).await;
            self.tell_came(false);
        }
        std::future::pending().await
    }

    fn tell(&self, what: SessionEventKind, untold: u32) {
        let tell = SessionEvent { desk: self.pass.desk, pass: self.pass.clone(), what, untold };
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
            let first = shown.is_none();
            let now = self.desk.notice(self.id);
            if shown.as_ref() != Some(&now) {
                if let Some(taken) = Notice::taken_over(shown.as_ref(), &now) {
                    self.notice(to, &taken).await?;
                }
                self.notice(to, &now).await?;
                shown = Some(now);
            }
            if first {
                let begin = Notice::Begin { run: self.desk.run.clone(), at: reader.position() };
                self.notice(to, &begin).await?;
            }
            let frame = {
                let state = self.desk.lock();
                match reader.next(&state.ring, self.desk.clock.now()) {
                    Piece::Wait(until) => Err(until),
                    Piece::Lost(_) if self.pass.bytes_only => Ok(Vec::new()),
                    Piece::Lost(bytes) => Ok(encode(Kind::Control, &Notice::Lost { bytes }.json())),
                    Piece::Bytes(bytes) => Ok(encode(Kind::Data, bytes)),
                }
            };
            match frame {
                Ok(frame) => {
                    to.write_all(&frame).await?;
                    self.sent.fetch_add(1, Ordering::Relaxed);
                    // What is to be told does not wait for a host that prints all the time.
                    while let Ok(said) = told.try_recv() {
                        self.notice(to, &said).await?;
                    }
                }
                Err(until) => tokio::select! {
                    changed = changes.changed() => if changed.is_err() { return Ok(()) },
                    () = self.desk.clock.sleep_until(until) => {}
                    said = told.recv() => if let Some(said) = said { self.notice(to, &said).await? },
                },
            }
        }
    }

    /// Tells something beside bytes, to who wants to be told.
    async fn notice(&self, to: &mut OwnedWriteHalf, said: &Notice) -> io::Result<()> {
        if self.pass.bytes_only { Ok(()) } else { notice(to, said).await }
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
                        self.desk.release(self.id);
                        Ok(())
                    }
                    Ok(Command::Break) => self.typed(Typed::Break).await,
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

    async fn typed(&self, typed: Typed) -> Result<(), String> {
        let is_break = typed == Typed::Break;
        let now = self.desk.clock.now();
        let is_writer = self.desk.lock().sessions.writer() == Some(self.id);
        // What is refused has no effect: a free keyboard stays free.
        self.desk.may_type(self.id)?;
        if is_break && !self.desk.lock().allowances.take(&self.pass.by.holder.account, now) {
            return Err(TOO_OFTEN.to_owned());
        }
        if !is_writer {
            self.desk.typed(self.id).map_err(|refused| refused.to_string())?;
        }
        self.desk.send(self.id, typed).await?;
        if is_break {
            self.tell(SessionEventKind::Break, 0);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use host_session::Opener;
    use serial::frame::PAYLOAD_MAX;
    use serial::{Holder, WAITING_MAX, frame};
    use service::Clock;
    use tokio::sync::Semaphore;

    use super::*;

    struct Client {
        from: OwnedReadHalf,
        to: OwnedWriteHalf,
    }

    impl Client {
        async fn new(shared: &Arc<Shared>, username: &str) -> Self {
            let pass = Pass {
                desk: 0,
                by: Opener {
                    holder: Holder { account: username.to_owned(), is_administrator: false },
                    address: String::new(),
                    request_id: String::new(),
                },
                replay: 0,
                read_only: false,
                take_over: false,
                bytes_only: false,
            };
            let now = shared.clock.now();
            shared.tickets.lock().await.issue(username.to_owned(), username, pass, now);
            let (ours, theirs) = UnixStream::pair().unwrap();
            let shared = Arc::clone(shared);
            tokio::spawn(async move { serve(theirs, &shared).await });
            let (from, to) = ours.into_split();
            let mut client = Self { from, to };
            client.send(Kind::Ticket, username.as_bytes()).await;
            client.told(|notice| matches!(notice, Notice::State { .. })).await;
            client
        }

        async fn send(&mut self, kind: Kind, payload: &[u8]) {
            self.to.write_all(&encode(kind, payload)).await.unwrap();
        }

        async fn ask(&mut self, command: &str) {
            self.send(Kind::Control, format!(r#"{{"type":"{command}"}}"#).as_bytes()).await;
        }

        async fn told(&mut self, wanted: impl Fn(&Notice) -> bool) -> Notice {
            loop {
                let (kind, payload) = read(&mut self.from).await.unwrap().expect("the session goes on");
                assert_eq!(kind, frame::Kind::Control);
                let notice = serde_json::from_slice(&payload).unwrap();
                if wanted(&notice) {
                    return notice;
                }
            }
        }

        async fn refused(&mut self) -> String {
            match self.told(|notice| matches!(notice, Notice::Refused { .. })).await {
                Notice::Refused { reason } => reason,
                _ => unreachable!(),
            }
        }

        async fn writer(&mut self, wanted: &str) {
            self.told(|notice| matches!(notice, Notice::State { writer, .. } if writer == wanted)).await;
        }
    }

    fn shared() -> (Arc<Shared>, Arc<Desk>, mpsc::Receiver<SessionEvent>) {
        let desk = Arc::new(Desk::new("system", Clock::new()));
        desk.opened();
        let (tell, told) = mpsc::channel(256);
        let reading = Arc::new(Semaphore::new(1));
        let (desks, clock) = (vec![Arc::clone(&desk)], Clock::new());
        let (muxes, tickets) = (Vec::new(), Default::default());
        let shared = Shared { desks, muxes, tickets, tell, clock, reading };
        (Arc::new(shared), desk, told)
    }

    #[tokio::test]
    async fn a_session_is_heard_while_the_port_takes_nothing_and_the_next_writer_begins_anew() {
        let (shared, desk, _told) = shared();
        let (mut ann, mut bob) = (Client::new(&shared, "ann").await, Client::new(&shared, "bob").await);
        for _ in 0..=WAITING_MAX {
            ann.send(Kind::Data, &[b'a'; PAYLOAD_MAX]).await;
        }
        ann.writer("ann").await;
        // Nobody writes it to a port here.
        desk.stalled(Duration::from_secs(600));
        while !ann.refused().await.contains("does not take") {}
        ann.ask("break").await;
        ann.ask("release").await;
        ann.writer("").await;
        ann.ask("take_over").await;
        ann.writer("ann").await;
        bob.ask("take_over").await;
        bob.writer("bob").await;
        // The port takes again.
        desk.took();
        bob.send(Kind::Data, b"b").await;
        assert_eq!(desk.next_typed().await.0, Typed::Bytes(b"b".to_vec()), "nothing of ann's");
    }

    #[tokio::test]
    async fn who_waits_for_room_is_told_at_once_that_another_took_over() {
        let (_shared, desk, _told) = shared();
        let [ann, bob] = ["ann", "bob"].map(|who| {
            desk.join(who, Holder { account: who.to_owned(), is_administrator: false }, true).unwrap()
        });
        desk.change(|state| state.sessions.typed(ann)).unwrap();
        for _ in 0..WAITING_MAX {
            desk.send(ann, Typed::Bytes(vec![b'a'; PAYLOAD_MAX])).await.unwrap();
        }
        let mut waits = Box::pin(desk.send(ann, Typed::Bytes(b"a".to_vec())));
        assert!(at_once(&mut waits).await.is_none(), "there is no room");
        assert_eq!(desk.take_over(bob, "bob").unwrap().unwrap(), "ann");
        let said = at_once(&mut waits).await.expect("ann is heard again").unwrap_err();
        assert!(said.contains("bob has the keyboard"), "{said}");
    }

    /// What it gives without waiting.
    async fn at_once<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
        tokio::select! {
            biased;
            result = future => Some(result),
            () = std::future::ready(()) => None,
        }
    }

    #[tokio::test]
    async fn what_is_stuck_there_of_who_left_is_not_what_the_next_writer_begins_with() {
        let (shared, desk, _told) = shared();
        let (mut ann, mut bob) = (Client::new(&shared, "ann").await, Client::new(&shared, "bob").await);
        ann.send(Kind::Data, b"reboot\r").await;
        ann.writer("ann").await;
        while desk.lock().outgoing.is_empty() {
            tokio::task::yield_now().await;
        }
        desk.stalled(Duration::from_secs(600));
        drop(ann);
        bob.writer("ann").await;
        bob.writer("").await;
        bob.send(Kind::Data, b"b").await;
        assert!(bob.refused().await.contains("does not take"));
        desk.took();
        bob.send(Kind::Data, b"c").await;
        assert_eq!(desk.next_typed().await.0, Typed::Bytes(b"c".to_vec()));
    }

    #[tokio::test]
    async fn an_account_makes_few_events_however_many_sessions_it_has() {
        let (shared, _desk, mut told) = shared();
        let (mut one, mut two) = (Client::new(&shared, "ann").await, Client::new(&shared, "ann").await);
        for _ in 0..8 {
            one.ask("break").await;
        }
        one.ask("no such").await;
        assert!(!one.refused().await.contains("too many"));
        one.ask("release").await;
        one.writer("").await;
        for _ in 0..8 {
            two.ask("break").await;
        }
        assert!(two.refused().await.contains("too many"));
        two.ask("no such").await;
        while two.refused().await.contains("too many") {}
        let mut breaks = 0;
        while let Ok(tell) = told.try_recv() {
            breaks += usize::from(matches!(tell.what, SessionEventKind::Break));
        }
        assert_eq!(breaks, 10);
    }
}
