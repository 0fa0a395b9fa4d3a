//! The mailbox of a simulated host's firmware, over the twin's socket.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use boot_override::{Mailbox, Order};
use hal::{BootMailbox, Error};

use crate::asker::Asker;
use crate::wire::{MailboxRequest, Outcome, ToTwin};

/// How long the twin may take to answer. It computes nothing, so a second is for ever.
const REPLY_TIMEOUT: Duration = Duration::from_secs(1);

/// The mailbox of one host. It connects with the first call, and again when the twin was away.
#[derive(Debug)]
pub struct SimMailbox {
    host: String,
    twin: Asker,
}

impl SimMailbox {
    /// The mailbox of `host` over the socket at `path` (`run_dir/twin.sock`). `owner` is told to people.
    #[must_use]
    pub fn new(path: &Path, host: &str, owner: &str) -> Self {
        Self { host: host.to_owned(), twin: Asker::new(path, owner) }
    }

    async fn ask(&self, request: MailboxRequest) -> Result<Mailbox, Error> {
        let frame = |id| ToTwin::Mailbox { id, host: self.host.clone(), request: request.clone() };
        match self.twin.ask(REPLY_TIMEOUT, frame).await {
            Ok(Outcome::Mailbox(mailbox)) => Ok(*mailbox),
            outcome => {
                tracing::debug!(host = self.host, ?outcome, "mailbox of simulated host does not answer");
                Err(Error::Unavailable { what: format!("the boot mailbox of host {}", self.host) })
            }
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
