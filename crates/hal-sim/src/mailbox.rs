//! The mailbox of a simulated host's firmware, over the twin's socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use boot_override::{Mailbox, Order};
use hal::{BootMailbox, Error};
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Mutex;

use crate::codec::{read_frame, write_frame};
use crate::wire::{FromTwin, MailboxRequest, Outcome, ToTwin, VERSION};

/// How long the twin may take to answer. It computes nothing, so a second is for ever.
const REPLY_TIMEOUT: Duration = Duration::from_secs(1);

/// The mailbox of one host. It connects with the first call, and again when the twin was away.
#[derive(Debug)]
pub struct SimMailbox {
    path: PathBuf,
    host: String,
    owner: String,
    /// One call after the other: what was put last is what is there.
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

impl SimMailbox {
    /// The mailbox of `host` over the socket at `path` (`run_dir/twin.sock`). `owner` is told to people.
    #[must_use]
    pub fn new(path: &Path, host: &str, owner: &str) -> Self {
        Self {
            path: path.to_owned(),
            host: host.to_owned(),
            owner: owner.to_owned(),
            link: Mutex::new(Link::default()),
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

    async fn ask_once(&self, link: &mut Link, request: &MailboxRequest) -> io::Result<Outcome> {
        // Taken out: what was given up in the middle of an answer is not used again.
        let mut open = match link.open.take() {
            Some(open) => open,
            None => self.connect().await?,
        };
        link.next_id += 1;
        let id = link.next_id;
        let frame = ToTwin::Mailbox { id, host: self.host.clone(), request: request.clone() };
        write_frame(&mut open.to, &frame).await?;
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

    async fn ask(&self, request: MailboxRequest) -> Result<Mailbox, Error> {
        let asking = async {
            let mut link = self.link.lock().await;
            let had = link.open.is_some();
            match self.ask_once(&mut link, &request).await {
                // The twin was started anew since the last call.
                Err(_) if had => self.ask_once(&mut link, &request).await,
                outcome => outcome,
            }
        };
        match tokio::time::timeout(REPLY_TIMEOUT, asking).await {
            Ok(Ok(Outcome::Mailbox(mailbox))) => Ok(*mailbox),
            outcome => {
                tracing::debug!(host = self.host, ?outcome, "mailbox of simulated host does not answer");
                Err(Error::Unavailable { what: format!("the boot mailbox of host {}", self.host) })
            }
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

#[async_trait]
impl BootMailbox for SimMailbox {
    async fn look(&self) -> Result<Mailbox, Error> {
        self.ask(MailboxRequest::Look).await
    }

    async fn put(&self, order: Option<Order>) -> Result<Mailbox, Error> {
        self.ask(MailboxRequest::Put { order }).await
    }
}
