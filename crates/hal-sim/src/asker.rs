//! One question after the other over the twin's socket, for who holds no lines.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Mutex;

use crate::codec::{read_frame, write_frame};
use crate::wire::{FromTwin, Outcome, ToTwin, VERSION};

/// It connects with the first question, and again when the twin was away.
#[derive(Debug)]
pub(crate) struct Asker {
    path: PathBuf,
    owner: String,
    /// One after the other: what was asked last counts.
    link: Mutex<Link>,
}

#[derive(Debug, Default)]
struct Link {
    open: Option<Connection>,
    next_id: u64,
}

#[derive(Debug)]
struct Connection {
    from: BufReader<OwnedReadHalf>,
    to: OwnedWriteHalf,
    partial: Vec<u8>,
}

impl Asker {
    pub(crate) fn new(path: &Path, owner: &str) -> Self {
        Self { path: path.to_owned(), owner: owner.to_owned(), link: Mutex::new(Link::default()) }
    }

    /// The answer, within this time.
    pub(crate) async fn ask(&self, within: Duration, frame: impl Fn(u64) -> ToTwin) -> io::Result<Outcome> {
        let asking = async {
            let mut link = self.link.lock().await;
            let had = link.open.is_some();
            match self.ask_once(&mut link, &frame).await {
                // The twin was started anew since the last call.
                Err(_) if had => self.ask_once(&mut link, &frame).await,
                outcome => outcome,
            }
        };
        tokio::time::timeout(within, asking).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn ask_once(&self, link: &mut Link, frame: &impl Fn(u64) -> ToTwin) -> io::Result<Outcome> {
        // Taken out: what was given up in the middle of an answer is not used again.
        let mut open = match link.open.take() {
            Some(open) => open,
            None => self.connect().await?,
        };
        link.next_id += 1;
        let id = link.next_id;
        write_frame(&mut open.to, &frame(id)).await?;
        loop {
            match open.receive().await? {
                FromTwin::Reply { id: of, outcome } if of == id => {
                    link.open = Some(open);
                    return Ok(outcome);
                }
                FromTwin::Refused { reason } => return Err(io::Error::other(reason)),
                _ => {}
            }
        }
    }

    async fn connect(&self) -> io::Result<Connection> {
        let (from, to) = UnixStream::connect(&self.path).await?.into_split();
        let mut new = Connection { from: BufReader::new(from), to, partial: Vec::new() };
        write_frame(&mut new.to, &ToTwin::Hello { version: VERSION, owner: self.owner.clone() }).await?;
        match new.receive().await? {
            FromTwin::Hello { .. } => Ok(new),
            FromTwin::Refused { reason } => Err(io::Error::other(reason)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

impl Connection {
    async fn receive(&mut self) -> io::Result<FromTwin> {
        match read_frame(&mut self.from, &mut self.partial).await? {
            Some(frame) => Ok(frame),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
