//! The mailbox of the settings of a simulated host's firmware, over the twin's socket.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use hal::{Error, FirmwareMailbox};
use host_firmware::{Seen, Wishes};

use crate::asker::Asker;
use crate::wire::{FirmwareRequest, Outcome, ToTwin, WISHES_BYTES_MAX};

/// How long the twin may take to answer. It computes nothing, so a second is for ever.
const REPLY_TIMEOUT: Duration = Duration::from_secs(1);

/// The mailbox of one host. It connects with the first call, and again when the twin was away.
#[derive(Debug)]
pub struct SimFirmware {
    host: String,
    twin: Asker,
}

impl SimFirmware {
    /// The mailbox of `host` over the socket at `path` (`run_dir/twin.sock`). `owner` is told to people.
    #[must_use]
    pub fn new(path: &Path, host: &str, owner: &str) -> Self {
        Self { host: host.to_owned(), twin: Asker::new(path, owner) }
    }

    fn what(&self) -> String {
        format!("the firmware of host {}", self.host)
    }

    async fn ask(&self, request: FirmwareRequest) -> Result<Seen, Error> {
        let frame = |id| ToTwin::Firmware { id, host: self.host.clone(), request: request.clone() };
        match self.twin.ask(REPLY_TIMEOUT, frame).await {
            Ok(Outcome::Firmware(seen)) => Ok(self.believed(*seen)),
            Ok(Outcome::Invalid { reason }) => Err(Error::Invalid { what: self.what(), reason }),
            outcome => {
                tracing::debug!(host = self.host, ?outcome, "firmware of simulated host does not answer");
                Err(Error::Unavailable { what: self.what() })
            }
        }
    }

    /// What of it can be believed: a report that cannot is none, and what hides or turns letters is taken out of its texts for people.
    fn believed(&self, mut seen: Seen) -> Seen {
        let checked = seen.report.as_mut().map(|report| {
            report.clean();
            report.check()
        });
        if let Some(Err(error)) = checked {
            tracing::warn!(host = self.host, %error, "report of simulated host's firmware ignored");
            seen.report = None;
        }
        seen
    }
}

#[async_trait]
impl FirmwareMailbox for SimFirmware {
    async fn look(&self, known: u64) -> Result<Seen, Error> {
        self.ask(FirmwareRequest::Look { known }).await
    }

    async fn put(&self, wishes: Option<Wishes>, known: u64) -> Result<Seen, Error> {
        if let Some(reason) = wishes.as_ref().and_then(FirmwareRequest::excess) {
            return Err(Error::Invalid { what: self.what(), reason });
        }
        self.ask(FirmwareRequest::Put { wishes: wishes.map(Box::new), known }).await
    }

    fn room(&self) -> usize {
        WISHES_BYTES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host_firmware::Value;

    #[tokio::test]
    async fn what_no_frame_could_carry_is_refused_before_anybody_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let mailbox = SimFirmware::new(&dir.path().join("none.sock"), "system", "test");
        let wishes = |count: usize, length: usize| Wishes {
            id: "a".to_owned(),
            attributes: (0..count).map(|at| (format!("A{at}"), Value::Text("x".repeat(length)))).collect(),
            ..Wishes::default()
        };
        for (count, length, is_asked) in [(1, 1, true), (96, 1, true), (97, 1, false), (50, 512, false)] {
            let error = mailbox.put(Some(wishes(count, length)), 0).await.unwrap_err();
            let is_refused = matches!(error, Error::Invalid { .. });
            assert_eq!(!is_refused, is_asked, "{count} of {length}: {error}");
        }
        // What it says it has room for is what it takes.
        let bytes = |wishes: &Wishes| serde_json::to_vec(wishes).unwrap().len();
        let rest = mailbox.room() - bytes(&wishes(1, 0));
        for (length, is_asked) in [(rest, true), (rest + 1, false)] {
            let one = wishes(1, length);
            assert_eq!(bytes(&one) <= mailbox.room(), is_asked);
            let error = mailbox.put(Some(one), 0).await.unwrap_err();
            assert_eq!(matches!(error, Error::Unavailable { .. }), is_asked, "{length}: {error}");
        }
        let named = Wishes { id: "i".repeat(65), ..Wishes::default() };
        assert!(matches!(mailbox.put(Some(named), 0).await, Err(Error::Invalid { .. })));
    }
}
