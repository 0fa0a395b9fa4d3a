//! Serial over LAN: what is set of it, who has it, and the way to the daemon that serves the console.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ipc::{Bucket, Json, StateError};
use ipmi::sol::{Link, Settings};
use ipmi::{Completion, Level};
use serde::{Deserialize, Serialize};
use serial::frame::{Kind, Notice, encode};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use units::{Millis, Mono};

/// The key of what is set, in the bucket of ipmisrv.
const KEY: &str = "sol";
/// consolesrv's socket, in the run directory.
pub(crate) const SOCKET: &str = "consolesrv/console.sock";
/// Pieces of what is typed on their way to consolesrv, of 255 characters at most.
const TYPED_MAX: usize = 64;
/// Of these, kept for a break.
const FOR_BREAK: usize = 1;
/// Characters that one packet may bring.
const PIECE: usize = 255;
/// What sends a break to the host.
const BREAK: &[u8] = br#"{"type":"break"}"#;
/// A client that did not get the answer to Activate Payload asks once more within so long, and FreeIPMI gives the request another number.
const ONCE_MORE: Millis = Millis::from_secs(3);

/// What is set (§26.3), and whose account has no console over IPMI. Keys that are not known are skipped, so that the release before and after can read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Kept {
    pub(crate) enabled: bool,
    /// The privilege that it takes, by its number.
    level: u8,
    /// In steps of 5 ms.
    pub(crate) accumulate: u8,
    /// Characters.
    pub(crate) threshold: u8,
    /// 0 to 7.
    pub(crate) retries: u8,
    /// In steps of 10 ms.
    pub(crate) interval: u8,
    /// Ids of accounts.
    pub(crate) denied: BTreeSet<String>,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            enabled: true,
            level: Level::Operator as u8,
            // What is printed was gathered for 4 ms before it comes here.
            accumulate: 1,
            threshold: 251,
            retries: 7,
            interval: 10,
            denied: BTreeSet::new(),
        }
    }
}

impl Kept {
    /// Reads it, and what is wrong with it: while it cannot be read there is no console.
    ///
    /// # Errors
    /// The store does not answer.
    pub(crate) async fn load(bucket: &Bucket) -> Result<(Self, Option<String>), StateError> {
        match bucket.get::<Json<Self>>(KEY).await {
            Ok(entry) => Ok((entry.map(|entry| entry.value.0).unwrap_or_default(), None)),
            Err(error @ (StateError::Unreadable { .. } | StateError::NotRead { .. })) => {
                // It may have been switched off, or denied to some.
                let what = format!(
                    "settings of Serial over LAN cannot be read: it is off until somebody sets them: {error}"
                );
                tracing::warn!("{what}");
                let lost = Self { enabled: false, level: Level::Administrator as u8, ..Self::default() };
                Ok((lost, Some(what)))
            }
            Err(error) => Err(error),
        }
    }

    /// Stores it; ends when it is known whether it is done.
    ///
    /// # Errors
    /// Why it is not done; nothing was changed then.
    pub(crate) async fn store(&self, bucket: &Bucket) -> Result<(), StateError> {
        bucket.commit(KEY, &Json(self.clone()), None).await.map(drop)
    }

    /// The privilege that it takes: the console is for operators at least, as on every other way in.
    pub(crate) fn level(&self) -> Level {
        if self.level > Level::Operator as u8 { Level::Administrator } else { Level::Operator }
    }

    pub(crate) fn set_level(&mut self, level: Level) {
        self.level = level as u8;
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            accumulate: Millis::new(u64::from(self.accumulate) * 5),
            threshold: self.threshold.into(),
            retries: self.retries & 7,
            interval: Millis::new(u64::from(self.interval) * 10),
        }
    }
}

/// Who has the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) session: u32,
    /// When it was asked for, or opened.
    pub(crate) since: Mono,
    pub(crate) is_open: bool,
}

impl Owner {
    /// Whether this is the request that it was opened with, once more.
    pub(crate) fn asks_once_more(self, session: u32, now: Mono) -> bool {
        self.session == session && now < self.since.saturating_add(ONCE_MORE)
    }
}

/// What there is of Serial over LAN beside its bytes.
#[derive(Debug, Default)]
pub(crate) struct Sol {
    /// `None` until the store has told.
    kept: Option<Kept>,
    pub(crate) owner: Option<Owner>,
    /// The session that said that it is setting parameters (table 26-5, parameter 0).
    pub(crate) setter: Option<u32>,
}

impl Sol {
    /// What is set; busy until that is known.
    pub(crate) fn kept(&self) -> Result<&Kept, Completion> {
        self.kept.as_ref().ok_or(Completion::BUSY)
    }

    pub(crate) fn keep(&mut self, kept: Kept) {
        self.kept = Some(kept);
    }

    /// A session is over.
    pub(crate) fn ended(&mut self, session: u32) {
        self.owner = self.owner.filter(|owner| owner.session != session);
        self.setter = self.setter.filter(|setter| *setter != session);
    }
}

/// What consolesrv says.
#[derive(Debug)]
pub(crate) enum Said {
    Printed(Vec<u8>),
    Told(Notice),
}

/// The way between a session of IPMI and one of the console.
pub(crate) struct Bridge {
    pub(crate) session: u32,
    pub(crate) link: Link,
    from: mpsc::Receiver<Said>,
    to: mpsc::Sender<(u64, Vec<u8>)>,
    /// What was typed before this one is dropped.
    flushed: Arc<AtomicU64>,
    typed: u64,
    /// They end with it.
    _tasks: JoinSet<()>,
}

impl Bridge {
    /// Over this connection, whose ticket was shown.
    pub(crate) fn new(session: u32, settings: Settings, stream: UnixStream) -> Self {
        let (reads, writes) = stream.into_split();
        // One piece waits here, what is more in the ring of consolesrv.
        let (said, from) = mpsc::channel(1);
        let (to, typed) = mpsc::channel(TYPED_MAX);
        let flushed = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(read(reads, said));
        tasks.spawn(write(writes, typed, Arc::clone(&flushed)));
        Self { session, link: Link::new(settings), from, to, flushed, typed: 0, _tasks: tasks }
    }

    /// How many characters can be passed on now.
    pub(crate) fn room(&self) -> usize {
        if self.to.capacity() > FOR_BREAK { PIECE } else { 0 }
    }

    /// Drops what was typed and is still here.
    pub(crate) fn flush(&mut self) {
        self.flushed.store(self.typed, Ordering::Relaxed);
    }

    /// Passes on what there was room for.
    pub(crate) fn types(&mut self, characters: &[u8]) {
        self.typed += 1;
        let _ = self.to.try_send((self.typed, encode(Kind::Data, characters)));
    }

    /// Sends a break to the host; consolesrv bounds how often.
    pub(crate) fn sends_break(&self) {
        let _ = self.to.try_send((u64::MAX, encode(Kind::Control, BREAK)));
    }
}

/// What comes next; `None` when consolesrv has ended it. Never, where there is no console.
pub(crate) async fn next(bridge: Option<&mut Bridge>) -> Option<Said> {
    match bridge {
        Some(bridge) => bridge.from.recv().await,
        None => std::future::pending().await,
    }
}

/// Opens the session that this ticket is for.
///
/// # Errors
/// consolesrv's socket is not there, or takes nothing.
pub(crate) async fn connect(path: &Path, ticket: &[u8]) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(path).await?;
    stream.write_all(&encode(Kind::Ticket, ticket)).await?;
    Ok(stream)
}

async fn read(mut from: OwnedReadHalf, said: mpsc::Sender<Said>) {
    while let Ok(Some(frame)) = host_session::read(&mut from).await {
        let next = match frame {
            (Kind::Data, bytes) => Said::Printed(bytes),
            // Newer daemons may tell more.
            (Kind::Control, bytes) => match serde_json::from_slice(&bytes) {
                Ok(notice) => Said::Told(notice),
                Err(_) => continue,
            },
            (Kind::Ticket, _) => return,
        };
        if said.send(next).await.is_err() {
            return;
        }
    }
}

async fn write(mut to: OwnedWriteHalf, mut typed: mpsc::Receiver<(u64, Vec<u8>)>, flushed: Arc<AtomicU64>) {
    while let Some((number, frame)) = typed.recv().await {
        if number > flushed.load(Ordering::Relaxed) && to.write_all(&frame).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn bytes_and_notices_go_both_ways_and_what_is_flushed_goes_nowhere() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut bridge = Bridge::new(7, Kept::default().settings(), ours);
        assert_eq!(bridge.room(), PIECE);
        // The task that writes has not run yet.
        bridge.types(b"secret");
        bridge.flush();
        bridge.sends_break();
        bridge.types(b"ls\r");
        let expected = [encode(Kind::Control, BREAK), encode(Kind::Data, b"ls\r")].concat();
        let mut came = vec![0; expected.len()];
        theirs.read_exact(&mut came).await.unwrap();
        assert_eq!(came, expected);
        assert_eq!(serial::frame::Command::parse(BREAK), Ok(serial::frame::Command::Break));
        let notice = Notice::Lost { bytes: 9 };
        let unknown = encode(Kind::Control, br#"{"type":"newer"}"#);
        let said = [unknown, encode(Kind::Control, &notice.json()), encode(Kind::Data, b"text")].concat();
        theirs.write_all(&said).await.unwrap();
        assert!(matches!(next(Some(&mut bridge)).await, Some(Said::Told(told)) if told == notice));
        assert!(matches!(next(Some(&mut bridge)).await, Some(Said::Printed(text)) if text == b"text"));
        drop(theirs);
        assert!(next(Some(&mut bridge)).await.is_none());
    }

    #[tokio::test]
    async fn while_consolesrv_takes_nothing_there_is_room_for_a_break_alone() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut bridge = Bridge::new(7, Kept::default().settings(), ours);
        let mut taken = 0;
        // The task that writes does not run here.
        while bridge.room() > 0 {
            bridge.types(b"x");
            taken += 1;
        }
        assert_eq!((taken, bridge.to.capacity()), (TYPED_MAX - FOR_BREAK, FOR_BREAK));
        bridge.sends_break();
        assert_eq!(bridge.to.capacity(), 0);
    }

    #[test]
    fn what_another_release_has_stored_is_read_as_far_as_it_is_known() {
        let stored = r#"{"enabled":false,"level":9,"retries":255,"newer":1}"#;
        let kept: Kept = serde_json::from_str(stored).unwrap();
        assert_eq!((kept.enabled, kept.level(), kept.threshold), (false, Level::Administrator, 251));
        assert_eq!(kept.settings().retries, 7);
        assert_eq!(Kept { level: 0, ..kept }.level(), Level::Operator);
    }
}
