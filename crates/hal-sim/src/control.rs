//! The world's side of the twin: what tests, benchmarks and curious people do to the machine.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use host_firmware::Seen;
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::codec::{read_frame, write_frame};
use crate::wire::{
    Button, ControlRequest, Fault, FromTwin, HostStatus, Outcome, ToTwin, TraceEntry, VERSION,
};

/// A connection to the control socket.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    from: BufReader<OwnedReadHalf>,
    to: OwnedWriteHalf,
    partial: Vec<u8>,
    next_id: u64,
    traced: VecDeque<TraceEntry>,
}

/// Why the twin did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The socket failed or the twin closed it.
    #[error("the twin at {} is not reachable", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The machine has no such thing.
    #[error("the twin refused {request}: {reason}")]
    Unknown {
        /// What was asked.
        request: String,
        /// What there is not.
        reason: String,
    },
    /// The twin said no.
    #[error("the twin refused {request}: {reason}")]
    Refused {
        /// What was asked.
        request: String,
        /// Why not.
        reason: String,
    },
}

/// A request in a refusal: as people write it, where they do.
fn words(request: &ControlRequest) -> String {
    match request {
        ControlRequest::Break { id, fault } => format!("{id}={fault}"),
        ControlRequest::BreakAll { faults } => {
            let words: Vec<String> = faults.iter().map(|(id, fault)| format!("{id}={fault}")).collect();
            words.join(" ")
        }
        ControlRequest::Mend { id: Some(id) } => format!("to mend {id}"),
        other => format!("{other:?}"),
    }
}

impl Control {
    /// Connects to the control socket at `path` (`run_dir/twin-control.sock`).
    pub async fn connect(path: &Path) -> Result<Self, ControlError> {
        let socket = |source| ControlError::Socket { path: path.to_owned(), source };
        let (from, to) = UnixStream::connect(path).await.map_err(socket)?.into_split();
        let mut control = Self {
            path: path.to_owned(),
            from: BufReader::new(from),
            to,
            partial: Vec::new(),
            next_id: 1,
            traced: VecDeque::new(),
        };
        control.send(&ToTwin::Hello { version: VERSION, owner: "control".to_owned() }).await?;
        match control.receive().await? {
            FromTwin::Hello { version: VERSION } => Ok(control),
            other => Err(ControlError::Refused { request: "hello".to_owned(), reason: format!("{other:?}") }),
        }
    }

    fn socket(&self, source: io::Error) -> ControlError {
        ControlError::Socket { path: self.path.clone(), source }
    }

    async fn send(&mut self, frame: &ToTwin) -> Result<(), ControlError> {
        write_frame(&mut self.to, frame).await.map_err(|error| self.socket(error))
    }

    async fn receive(&mut self) -> Result<FromTwin, ControlError> {
        match read_frame(&mut self.from, &mut self.partial).await {
            Ok(Some(frame)) => Ok(frame),
            Ok(None) => Err(self.socket(io::ErrorKind::UnexpectedEof.into())),
            Err(error) => Err(self.socket(error)),
        }
    }

    async fn ask(&mut self, request: ControlRequest) -> Result<Outcome, ControlError> {
        let id = self.next_id;
        self.next_id += 1;
        let asked = words(&request);
        self.send(&ToTwin::Control { id, request }).await?;
        loop {
            match self.receive().await? {
                FromTwin::Reply { id: of, outcome } if of == id => {
                    return match outcome {
                        Outcome::NoHost => {
                            Err(ControlError::Unknown { request: asked, reason: "no such host".to_owned() })
                        }
                        Outcome::NoPart { reason } => Err(ControlError::Unknown { request: asked, reason }),
                        Outcome::Invalid { reason } => Err(ControlError::Refused { request: asked, reason }),
                        outcome => Ok(outcome),
                    };
                }
                FromTwin::Traced(entry) => self.traced.push_back(entry),
                other => {
                    let reason = format!("unexpected {other:?}");
                    return Err(ControlError::Refused { request: asked, reason });
                }
            }
        }
    }

    /// Presses or leaves a button of the front panel.
    pub async fn finger(&mut self, host: &str, button: Button, down: bool) -> Result<(), ControlError> {
        self.ask(ControlRequest::Finger { host: host.to_owned(), button, down }).await.map(drop)
    }

    /// Breaks or heals something.
    pub async fn fault(&mut self, host: &str, fault: Fault) -> Result<(), ControlError> {
        self.ask(ControlRequest::Fault { host: host.to_owned(), fault }).await.map(drop)
    }

    /// Reads from a drive as the host's operating system does: the bytes, or why it had an I/O error.
    pub async fn read_drive(
        &mut self,
        drive: &str,
        offset: u64,
        length: u32,
    ) -> Result<Result<Vec<u8>, String>, ControlError> {
        match self.ask(ControlRequest::ReadDrive { drive: drive.to_owned(), offset, length }).await? {
            Outcome::Read(mut read) => Ok(Ok(read.pop().unwrap_or_default())),
            Outcome::Failed { reason } => Ok(Err(reason)),
            other => Ok(Err(format!("{other:?}"))),
        }
    }

    /// The host's operating system takes the medium out of a drive.
    pub async fn eject_drive(&mut self, drive: &str) -> Result<(), ControlError> {
        self.ask(ControlRequest::EjectDrive { drive: drive.to_owned() }).await.map(drop)
    }

    /// Sets how hard the host works, from 0 to 1.
    pub async fn load(&mut self, host: &str, load: f64) -> Result<(), ControlError> {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
        let permille = (load.clamp(0.0, 1.0) * 1_000.0).round() as u32;
        self.ask(ControlRequest::Load { host: host.to_owned(), permille }).await.map(drop)
    }

    /// Breaks what the board's file calls `id`.
    pub async fn break_part(&mut self, id: &str, fault: &str) -> Result<(), ControlError> {
        self.ask(ControlRequest::Break { id: id.to_owned(), fault: fault.to_owned() }).await.map(drop)
    }

    /// Breaks all of these, or none where one is not known or cannot break so.
    pub async fn break_parts(&mut self, faults: Vec<(String, String)>) -> Result<(), ControlError> {
        self.ask(ControlRequest::BreakAll { faults }).await.map(drop)
    }

    /// Mends it, or all that is broken.
    pub async fn mend(&mut self, id: Option<&str>) -> Result<(), ControlError> {
        self.ask(ControlRequest::Mend { id: id.map(str::to_owned) }).await.map(drop)
    }

    /// What is broken and how.
    pub async fn broken(&mut self) -> Result<Vec<(String, String)>, ControlError> {
        match self.ask(ControlRequest::Broken).await? {
            Outcome::Broken(broken) => Ok(broken),
            other => {
                Err(ControlError::Refused { request: "broken".to_owned(), reason: format!("{other:?}") })
            }
        }
    }

    /// What is seen of the settings of the host's firmware, with its report.
    pub async fn firmware(&mut self, host: &str) -> Result<Seen, ControlError> {
        match self.ask(ControlRequest::Firmware { host: host.to_owned() }).await? {
            Outcome::Firmware(seen) => Ok(*seen),
            other => {
                Err(ControlError::Refused { request: "firmware".to_owned(), reason: format!("{other:?}") })
            }
        }
    }

    /// How the host is.
    pub async fn status(&mut self, host: &str) -> Result<HostStatus, ControlError> {
        match self.ask(ControlRequest::Status { host: host.to_owned() }).await? {
            Outcome::Status(status) => Ok(status),
            other => {
                Err(ControlError::Refused { request: "status".to_owned(), reason: format!("{other:?}") })
            }
        }
    }

    /// All kept edges after sequence number `after`, oldest first. The twin keeps the last 8192.
    pub async fn trace(&mut self, mut after: u64) -> Result<Vec<TraceEntry>, ControlError> {
        let mut all = Vec::new();
        loop {
            match self.ask(ControlRequest::Trace { after }).await? {
                Outcome::Trace(part) => {
                    let Some(last) = part.last() else { return Ok(all) };
                    after = last.seq;
                    all.extend(part);
                }
                other => {
                    let reason = format!("{other:?}");
                    return Err(ControlError::Refused { request: "trace".to_owned(), reason });
                }
            }
        }
    }

    /// From here on every edge is told; take them with [`Control::next_edge`].
    pub async fn follow(&mut self) -> Result<(), ControlError> {
        self.ask(ControlRequest::Follow).await.map(drop)
    }

    /// The next edge after [`Control::follow`]. Cancel-safe.
    pub async fn next_edge(&mut self) -> Result<TraceEntry, ControlError> {
        if let Some(entry) = self.traced.pop_front() {
            return Ok(entry);
        }
        loop {
            if let FromTwin::Traced(entry) = self.receive().await? {
                return Ok(entry);
            }
        }
    }

    /// Waits until `pin` of `host` takes the level, after [`Control::follow`], and returns that edge.
    pub async fn wait_edge(
        &mut self,
        host: &str,
        pin: &str,
        active: bool,
    ) -> Result<TraceEntry, ControlError> {
        loop {
            let entry = self.next_edge().await?;
            if entry.host == host && entry.pin == pin && entry.active == active {
                return Ok(entry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_what_was_asked_as_people_write_it() {
        let asked = |request| words(&request);
        assert_eq!(
            asked(ControlRequest::Break { id: "fan0".to_owned(), fault: "removed".to_owned() }),
            "fan0=removed"
        );
        let faults = ["fan0", "psu1"].map(|id| (id.to_owned(), "removed".to_owned()));
        assert_eq!(asked(ControlRequest::BreakAll { faults: faults.into() }), "fan0=removed psu1=removed");
        assert_eq!(asked(ControlRequest::Mend { id: Some("fan0".to_owned()) }), "to mend fan0");
    }
}
