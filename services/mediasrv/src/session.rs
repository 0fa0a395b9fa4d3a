//! One session on the socket: a client that serves a file, to a drive or into the store.

use std::collections::BTreeMap;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use host_session::{Opener, read, shown};
use media::{Came, Exchange, Medium, Notice};
use serial::Tickets;
use serial::frame::{Kind, encode};
use service::Clock;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;

use crate::origin::{Client, Question};
use crate::pass::{Pass, What};
use crate::store::Store;
use crate::upload;

/// Questions on their way to one client.
const QUESTIONS: usize = 8;
/// Frames of it on their way.
const FRAMES: usize = 16;
/// How long a client may take to take what it is asked.
const SEND_WITHIN: Duration = Duration::from_secs(30);
/// How often it is seen whether a client answers at all.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long the last word may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// What sessions share.
pub(crate) struct Shared {
    pub(crate) tickets: Mutex<Tickets<Pass>>,
    pub(crate) tell: mpsc::Sender<Told>,
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    /// Of the next session.
    pub(crate) next: AtomicU64,
}

/// What sessions tell.
#[derive(Debug)]
pub(crate) enum Told {
    /// A client serves a file for a drive; it is answered once the host has it.
    Came {
        slot: usize,
        medium: Medium,
        by: Opener,
        client: Client,
        /// It only goes on where another ended.
        resumes: bool,
        answer: oneshot::Sender<Result<(), String>>,
    },
    /// It is gone.
    Went { slot: usize, session: u64 },
    /// A file is in the store.
    Uploaded { name: String, by: Opener },
}

/// What becomes of what a session is for.
enum Next {
    /// The client is told, and goes on serving.
    Say(Notice),
    /// The client is told, and is done.
    Last(Notice),
    /// The session ends for this reason.
    End(String),
}

/// Serves a connection to its end.
pub(crate) async fn serve(stream: UnixStream, shared: &Shared) {
    let (mut from, mut to) = stream.into_split();
    let Some(pass) = shown(&mut from, &mut to, &shared.tickets, || shared.clock.now()).await else { return };
    let session = shared.next.fetch_add(1, Ordering::Relaxed);
    let (questions, asked) = mpsc::channel(QUESTIONS);
    let (frames, heard) = mpsc::channel(FRAMES);
    // A frame that has begun is read to its end, whatever happens meanwhile.
    let mut reading = JoinSet::new();
    reading.spawn(hear(from, frames));
    let mut link =
        Link { to, exchange: Exchange::default(), answers: BTreeMap::new(), next: 0, clock: shared.clock };
    let result = match pass.what {
        What::Serve { slot, medium, resumes } => {
            let client = Client { session, questions };
            let (answer, answered) = oneshot::channel();
            // Also when this task is dropped: a drive knows that nobody serves it any more.
            let _gone = Gone { slot, session, tell: shared.tell.clone() };
            if shared
                .tell
                .send(Told::Came { slot, medium, by: pass.by, client, resumes, answer })
                .await
                .is_err()
            {
                return;
            }
            let inserted = async {
                match answered.await {
                    Ok(Ok(())) => Next::Say(Notice::Inserted),
                    Ok(Err(reason)) => Next::End(reason),
                    Err(_) => Next::End("it was ejected".to_owned()),
                }
            };
            link.converse(heard, asked, inserted).await
        }
        What::Upload { name, size } => {
            let copied = async {
                if let Err(reason) = upload::copy(&shared.store, &name, size, questions).await {
                    return Next::End(reason);
                }
                // Fails only when the loop has ended.
                let _ = shared.tell.send(Told::Uploaded { name: name.clone(), by: pass.by.clone() }).await;
                Next::Last(Notice::Stored)
            };
            link.converse(heard, asked, copied).await
        }
    };
    let reason = result.unwrap_or_else(|error| {
        tracing::debug!(%error, "a session of media broke off");
        error.to_string()
    });
    let _ = tokio::time::timeout(FAREWELL, link.notice(&Notice::End { reason })).await;
}

/// Reads frames until the client goes, or says what is none.
async fn hear(mut from: OwnedReadHalf, frames: mpsc::Sender<(Kind, Vec<u8>)>) {
    while let Ok(Some(frame)) = read(&mut from).await {
        if frames.send(frame).await.is_err() {
            return;
        }
    }
}

/// Tells that a session is over.
struct Gone {
    slot: usize,
    session: u64,
    tell: mpsc::Sender<Told>,
}

impl Drop for Gone {
    fn drop(&mut self) {
        let told = Told::Went { slot: self.slot, session: self.session };
        if let Err(mpsc::error::TrySendError::Full(told)) = self.tell.try_send(told) {
            let tell = self.tell.clone();
            // It must arrive: the drive would wait for nobody.
            tokio::spawn(async move { drop(tell.send(told).await) });
        }
    }
}

/// The way to a client, and what it was asked.
struct Link {
    to: OwnedWriteHalf,
    exchange: Exchange,
    answers: BTreeMap<u64, oneshot::Sender<Result<Vec<u8>, String>>>,
    next: u64,
    clock: Clock,
}

impl Link {
    async fn notice(&mut self, notice: &Notice) -> io::Result<()> {
        self.to.write_all(&encode(Kind::Control, &notice.json())).await
    }

    /// Asks and hears until the session is over: why.
    async fn converse(
        &mut self,
        mut heard: mpsc::Receiver<(Kind, Vec<u8>)>,
        mut asked: mpsc::Receiver<Question>,
        purpose: impl Future<Output = Next>,
    ) -> io::Result<String> {
        let mut purpose = pin!(purpose);
        let mut is_open = true;
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            self.forget();
            tokio::select! {
                // Why it is over, before that nobody asks any more.
                biased;
                next = &mut purpose, if is_open => {
                    is_open = false;
                    match next {
                        Next::Say(notice) => self.notice(&notice).await?,
                        Next::Last(notice) => {
                            self.notice(&notice).await?;
                            return Ok(String::new());
                        }
                        Next::End(reason) => return Ok(reason),
                    }
                }
                _ = look.tick() => if self.exchange.is_overdue(self.clock.now()) {
                    return Ok("the client does not answer".to_owned());
                },
                frame = heard.recv() => match frame {
                    None => return Ok("the client has gone".to_owned()),
                    Some((Kind::Data, payload)) => self.heard(&payload)?,
                    // A client has nothing to say beside its file.
                    Some(_) => {}
                },
                question = asked.recv(), if self.exchange.has_room(media::FETCH_MAX) => match question {
                    Some(question) => self.ask(question).await?,
                    None => return Ok("it was ejected".to_owned()),
                },
            }
        }
    }

    /// Questions whose answers nobody waits for any more.
    fn forget(&mut self) {
        let exchange = &mut self.exchange;
        self.answers.retain(|id, answer| {
            let is_wanted = !answer.is_closed();
            if !is_wanted {
                exchange.forget(*id);
            }
            is_wanted
        });
    }

    fn heard(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut came = Vec::new();
        self.exchange.receive(bytes, &mut came).map_err(io::Error::other)?;
        for Came { id, result } in came {
            if let Some(answer) = self.answers.remove(&id) {
                // Who asked may have given up.
                let _ = answer.send(result);
            }
        }
        Ok(())
    }

    async fn ask(&mut self, Question { offset, length, answer }: Question) -> io::Result<()> {
        self.next += 1;
        self.answers.insert(self.next, answer);
        let mut frames = Vec::new();
        for ask in self.exchange.ask(self.next, offset, length, self.clock.now()) {
            frames.extend(encode(Kind::Data, &ask.encode()));
        }
        let sending = tokio::time::timeout(SEND_WITHIN, self.to.write_all(&frames)).await;
        sending.map_err(|_| io::Error::other("the client takes nothing"))?
    }
}

#[cfg(test)]
mod tests;
