//! The drives of the hosts whose medium comes from elsewhere: what is in each, and how a scripted host reads it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use board::{Board, MediaKind};
use hal_sim::wire::{DriveRequest, DriveState, Outcome};
use media::nbd::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// Bytes that are read at once, so that the answer fits in a frame.
const READ_MAX: u32 = 4096;
/// How long a host waits for its drive: as Linux does.
const READ_WITHIN: Duration = Duration::from_secs(30);
/// Where a file system of a CD says what it is called (ECMA-119, 8.4).
const VOLUME: u64 = 16 * 2048;

/// A medium as the host's side finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Medium {
    /// A socket that speaks NBD.
    pub(crate) socket: PathBuf,
    pub(crate) is_read_only: bool,
}

/// One drive.
#[derive(Clone, Debug)]
pub(crate) struct Drive {
    pub(crate) id: String,
    /// The number of its host.
    pub(crate) host: usize,
    pub(crate) kind: MediaKind,
    pub(crate) medium: Option<Medium>,
    was_ejected_by_host: bool,
}

/// All drives of the board.
#[derive(Debug)]
pub(crate) struct Drives {
    run_dir: PathBuf,
    drives: Vec<Drive>,
}

impl Drives {
    pub(crate) fn new(board: &Board, run_dir: &Path) -> Self {
        let host = |slot: &board::MediaSlot| board.hosts.iter().position(|host| host.id == slot.host);
        let drive = |slot: &board::MediaSlot| {
            Some(Drive {
                id: slot.id.as_str().to_owned(),
                host: host(slot)?,
                kind: slot.kind,
                medium: None,
                was_ejected_by_host: false,
            })
        };
        Self { run_dir: run_dir.to_owned(), drives: board.media.iter().filter_map(drive).collect() }
    }

    pub(crate) fn find(&self, id: &str) -> Option<&Drive> {
        self.drives.iter().find(|drive| drive.id == id)
    }

    /// The drives of a host.
    pub(crate) fn of(&self, host: usize) -> Vec<Drive> {
        self.drives.iter().filter(|drive| drive.host == host).cloned().collect()
    }

    /// Does what is asked, as far as it is known here: what is answered if nobody else has a say, and the drive if its medium is another now.
    pub(crate) fn request(&mut self, id: &str, request: DriveRequest) -> (Outcome, Option<Drive>) {
        let Some(drive) = self.drives.iter_mut().find(|drive| drive.id == id) else {
            return (Outcome::NoDrive, None);
        };
        match request {
            DriveRequest::Look => {
                let state = match (&drive.medium, drive.was_ejected_by_host) {
                    (Some(_), _) => DriveState::Medium,
                    (None, true) => DriveState::EjectedByHost,
                    (None, false) => DriveState::Nothing,
                };
                return (Outcome::Drive(state), None);
            }
            DriveRequest::Insert { socket, read_only } => {
                let medium = Some(Medium { socket: self.run_dir.join(socket), is_read_only: read_only });
                if drive.medium == medium {
                    // It is there still: its daemon was started anew, and the host need not see another disc.
                    return (Outcome::Done, None);
                }
                drive.medium = medium;
            }
            DriveRequest::Eject => drive.medium = None,
        }
        drive.was_ejected_by_host = false;
        (Outcome::Done, Some(drive.clone()))
    }

    /// The host's operating system took out what is in a drive.
    pub(crate) fn ejected_by_host(&mut self, id: &str) -> Outcome {
        let Some(drive) = self.drives.iter_mut().find(|drive| drive.id == id) else {
            return Outcome::NoDrive;
        };
        drive.was_ejected_by_host |= drive.medium.take().is_some();
        Outcome::Done
    }

    /// What was put there could not be: nothing is there.
    pub(crate) fn failed(&mut self, id: &str) {
        if let Some(drive) = self.drives.iter_mut().find(|drive| drive.id == id) {
            drive.medium = None;
        }
    }
}

/// Reads from a medium as a host does.
pub(crate) async fn read(medium: Option<Medium>, offset: u64, length: u32) -> Outcome {
    let Some(medium) = medium else { return Outcome::Failed { reason: "no medium".to_owned() } };
    if length > READ_MAX {
        return Outcome::Invalid { reason: format!("more than {READ_MAX} bytes at once") };
    }
    match tokio::time::timeout(READ_WITHIN, read_from(&medium.socket, offset, length)).await {
        Ok(Ok(bytes)) => Outcome::Read(vec![bytes]),
        Ok(Err(error)) => Outcome::Failed { reason: error.to_string() },
        Err(_) => Outcome::Failed { reason: "the drive does not answer".to_owned() },
    }
}

async fn read_from(socket: &Path, offset: u64, length: u32) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket).await?;
    let mut client = Client::default();
    let mut buffer = [0; 8192];
    let mut asked = false;
    loop {
        if client.offer().is_some() && !asked {
            asked = true;
            client.read(offset, length);
        }
        stream.write_all(&client.take_output()).await?;
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match client.receive(buffer.get(..count).unwrap_or_default()).map_err(io::Error::other)? {
            Some(Ok(bytes)) => return Ok(bytes),
            Some(Err(number)) => return Err(io::Error::other(format!("I/O error {number}"))),
            None => {}
        }
    }
}

/// What an operating system says of a medium that was put into a drive while it runs.
pub(crate) async fn greeting(drive: &Drive) -> String {
    let name = match drive.kind {
        MediaKind::Cd => "sr0",
        MediaKind::Usb => "sdb",
    };
    match read(drive.medium.clone(), VOLUME, 2048).await {
        Outcome::Read(read) => {
            let sector = read.first().map(Vec::as_slice).unwrap_or_default();
            let label = sector.get(40..72).filter(|_| sector.get(1..6) == Some(b"CD001"));
            let label: String = String::from_utf8_lossy(label.unwrap_or_default())
                .chars()
                .filter(|c| c.is_ascii_graphic() || *c == ' ')
                .collect();
            format!("{name}: medium \"{}\"\r\n", label.trim())
        }
        Outcome::Failed { reason } => format!("{name}: cannot read medium: {reason}\r\n"),
        _ => String::new(),
    }
}
