//! I2C buses of the simulated board: transfers over the twin's socket.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use hal::{Adapter, I2c, I2cError, I2cFault};
use smbus::{Expects, Transfer};

use crate::codec::FRAME_MAX;
use crate::wire::{BusKey, FromTwin, I2cTransfer, Outcome, ToTwin, VERSION};

/// A bus of the simulated board.
///
/// Calls block as on real hardware: on a bus that hangs until it is mended.
#[derive(Debug)]
pub struct SimI2c {
    path: PathBuf,
    bus: BusKey,
    owner: String,
    open: Option<BufReader<UnixStream>>,
    next_id: u64,
}

impl SimI2c {
    /// The bus over the socket at `path` (`run_dir/twin.sock`). Connects with the first call, and again when the twin was away.
    #[must_use]
    pub fn new(path: &Path, adapter: &Adapter, owner: &str) -> Self {
        Self { path: path.to_owned(), bus: adapter.into(), owner: owner.to_owned(), open: None, next_id: 1 }
    }

    fn connect(&self) -> io::Result<BufReader<UnixStream>> {
        let mut open = BufReader::new(UnixStream::connect(&self.path)?);
        write(&mut open, &ToTwin::Hello { version: VERSION, owner: self.owner.clone() })?;
        match read(&mut open)? {
            FromTwin::Hello { .. } => Ok(open),
            FromTwin::Refused { reason } => Err(io::Error::other(reason)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn ask(&mut self, transfers: &[Transfer]) -> io::Result<Outcome> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.connect()?,
        };
        let id = self.next_id;
        self.next_id += 1;
        let transfers = transfers.iter().map(frame).collect();
        write(&mut open, &ToTwin::I2c { id, bus: self.bus.clone(), transfers })?;
        loop {
            match read(&mut open)? {
                FromTwin::Reply { id: of, outcome } if of == id => {
                    self.open = Some(open);
                    return Ok(outcome);
                }
                FromTwin::Refused { reason } => return Err(io::Error::other(reason)),
                _ => {}
            }
        }
    }
}

fn frame(transfer: &Transfer) -> I2cTransfer {
    let read = match transfer.expects() {
        Expects::Nothing => 0,
        Expects::Exactly(count) | Expects::AtMost(count) => u16::try_from(count).unwrap_or(u16::MAX),
    };
    I2cTransfer { address: transfer.address().get(), write: transfer.written().to_vec(), read }
}

fn write(to: &mut BufReader<UnixStream>, frame: &ToTwin) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(frame)?;
    bytes.push(b'\n');
    to.get_mut().write_all(&bytes)
}

fn read(from: &mut BufReader<UnixStream>) -> io::Result<FromTwin> {
    let mut bytes = Vec::new();
    let length = from.take(FRAME_MAX as u64 + 1).read_until(b'\n', &mut bytes)?;
    if length == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if bytes.last() != Some(&b'\n') {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "frame too long or cut off"));
    }
    Ok(serde_json::from_slice(&bytes)?)
}

impl I2c for SimI2c {
    fn run(&mut self, transfers: &[Transfer]) -> Result<Vec<Vec<u8>>, I2cError> {
        let had = self.open.is_some();
        let outcome = match self.ask(transfers) {
            // The twin was started anew since the last call.
            Err(_) if had => self.ask(transfers),
            outcome => outcome,
        };
        let outcome = outcome.map_err(|source| I2cError { fault: I2cFault::NoBus, source: Some(source) })?;
        match outcome {
            Outcome::Read(read) if read.len() == transfers.len() => Ok(read),
            Outcome::NoAnswer => Err(I2cFault::NoAnswer.into()),
            Outcome::TimedOut => Err(I2cFault::TimedOut.into()),
            Outcome::NoBus => Err(I2cFault::NoBus.into()),
            Outcome::Invalid { reason } => {
                Err(I2cError { fault: I2cFault::Failed, source: Some(io::Error::other(reason)) })
            }
            _ => Err(I2cFault::Failed.into()),
        }
    }
}
