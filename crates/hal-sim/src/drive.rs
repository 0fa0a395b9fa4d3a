//! A drive of a simulated host, over the twin's socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use hal::{DriveMedium, Error, Inside, MediaDrive};

use crate::asker::Asker;
use crate::wire::{DriveRequest, DriveState, Outcome, ToTwin};

/// How long the twin may take: a guest's emulator opens the medium before it says that it is there.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// One drive. It connects with the first call, and again when the twin was away.
#[derive(Debug)]
pub struct SimDrive {
    /// As this process calls the folder of sockets, which the twin may call otherwise.
    run_dir: PathBuf,
    drive: String,
    twin: Asker,
}

impl SimDrive {
    /// The drive with this id over the socket at `path` (`run_dir/twin.sock`). `owner` is told to people.
    #[must_use]
    pub fn new(path: &Path, drive: &str, owner: &str) -> Self {
        let run_dir = path.parent().unwrap_or(path).to_owned();
        Self { run_dir, drive: drive.to_owned(), twin: Asker::new(path, owner) }
    }

    async fn ask(&self, request: DriveRequest) -> Result<Outcome, Error> {
        let what = || format!("drive {}", self.drive);
        let frame = |id| ToTwin::Drive { id, drive: self.drive.clone(), request: request.clone() };
        match self.twin.ask(REPLY_TIMEOUT, frame).await {
            Ok(Outcome::Failed { reason } | Outcome::Invalid { reason }) => {
                Err(Error::Invalid { what: what(), reason })
            }
            Ok(outcome @ (Outcome::Done | Outcome::Drive(_))) => Ok(outcome),
            outcome => {
                tracing::debug!(drive = self.drive, ?outcome, "drive of simulated host does not answer");
                Err(Error::Unavailable { what: what() })
            }
        }
    }
}

#[async_trait]
impl MediaDrive for SimDrive {
    async fn insert(&self, medium: &DriveMedium) -> Result<(), Error> {
        let socket = medium.path.strip_prefix(&self.run_dir).unwrap_or(&medium.path);
        let request = DriveRequest::Insert { socket: socket.to_owned(), read_only: medium.is_read_only };
        self.ask(request).await.map(drop)
    }

    async fn eject(&self) -> Result<(), Error> {
        self.ask(DriveRequest::Eject).await.map(drop)
    }

    async fn look(&self) -> Result<Inside, Error> {
        match self.ask(DriveRequest::Look).await? {
            Outcome::Drive(DriveState::Medium) => Ok(Inside::Medium),
            Outcome::Drive(DriveState::EjectedByHost) => Ok(Inside::EjectedByHost),
            _ => Ok(Inside::Nothing),
        }
    }
}
