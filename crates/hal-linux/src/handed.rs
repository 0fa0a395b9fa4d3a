//! Lines that another process requests and hands over: who has one gets at that line, and at no other of its chip.
//!
//! ```text
//!  sensormon ── "psu0_present\n" ──► operator ──► LinuxGpio::hand_input ──► chip
//!            ◄── the line's descriptor, its chip's name ──┘
//! ```
//!
//! A line that is driven is not handed over: who may have it driven says how, and it is done for it ([`HandedLines::select`]).
//!
//! The descriptor is that of a request of one line (`gpio_v2_line_request`), so the kernel shows the daemon as its holder, and gives the line back when the
//! daemon ends.

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hal::{Error, InputLine, LineId};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;

use crate::worker::Worker;

/// The longest name that is asked for, and the longest answer.
const NAME_MAX: usize = 64;
const ANSWER_MAX: usize = 512;
/// How long the other side may take: the chip is asked.
const ASK_WITHIN: Duration = Duration::from_secs(4);
/// What an answer begins with: a line is with it, the machine has none such, another holds it, anything else.
const HANDED: char = 'H';
const MISSING: char = 'M';
const HELD: char = 'B';
const FAILED: char = 'F';
/// It is done, or known: there is no line with it.
const DONE: char = 'D';
/// What the name begins with of lines that choose whose a shared port is.
const MUX: &str = "mux ";

/// What one who asks gets.
#[derive(Debug)]
pub enum Given {
    /// A line, and the name of its chip.
    Line(OwnedFd, String),
    /// Which position the lines of a shared port have.
    Position(u8),
}

/// What is asked for at the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    /// The line with this name.
    Line(&'a str),
    /// That the lines of this shared port take this position, or with none which one they have.
    Mux(&'a str, Option<u8>),
}

impl<'a> Asked<'a> {
    /// Reads a question.
    #[must_use]
    pub fn parse(text: &'a str) -> Self {
        let Some(rest) = text.strip_prefix(MUX) else { return Self::Line(text) };
        match rest.split_once(' ') {
            None => Self::Mux(rest, None),
            Some((id, position)) => match position.parse() {
                Ok(position) => Self::Mux(id, Some(position)),
                // No line is called so, which is what is answered.
                Err(_) => Self::Line(text),
            },
        }
    }
}

/// Lines that are asked for at a socket.
#[derive(Debug, Clone)]
pub struct HandedLines {
    socket: PathBuf,
    chips: Arc<Mutex<BTreeMap<String, Arc<Worker>>>>,
}

impl HandedLines {
    /// Lines from who listens at `socket`. Nothing is asked yet.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), chips: Arc::default() }
    }

    /// Asks for the line with this name; `id` is what it is called in words.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when nobody listens or answers in time; what became of the line there.
    pub async fn input(&self, name: &str, id: &LineId) -> Result<Box<dyn InputLine>, Error> {
        let what = || format!("GPIO line {id}");
        let asked = tokio::time::timeout(ASK_WITHIN, ask(&self.socket, name)).await;
        let answer = match asked {
            Ok(Ok(answer)) => answer,
            Ok(Err(source)) if source.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Unavailable { what: what() });
            }
            Ok(Err(source)) => return Err(Error::Io { operation: "ask for", what: what(), source }),
            Err(_) => return Err(Error::Unavailable { what: what() }),
        };
        match answer {
            (HANDED, chip, Some(line)) => {
                let chip = self.chip(&chip).map_err(|source| Error::Io {
                    operation: "watch",
                    what: what(),
                    source,
                })?;
                crate::gpio::handed_input(line, chip, id.clone()).await
            }
            (MISSING, ..) => Err(Error::NotFound { line: id.clone() }),
            (HELD, owner, _) => Err(Error::Busy { line: id.clone(), owner }),
            (_, why, _) => {
                Err(Error::Io { operation: "ask for", what: what(), source: io::Error::other(why) })
            }
        }
    }

    /// Has the lines of a shared serial port take `position`, or tells with `None` which one they have.
    ///
    /// # Errors
    /// As [`Self::input`]; lines that were changed may be left at a position between.
    pub async fn select(&self, mux: &str, position: Option<u8>) -> Result<u8, Error> {
        let what = || format!("lines of the shared serial port {mux:?}");
        let name =
            position.map_or_else(|| format!("{MUX}{mux}"), |position| format!("{MUX}{mux} {position}"));
        match tokio::time::timeout(ASK_WITHIN, ask(&self.socket, &name)).await {
            Ok(Ok((DONE, position, _))) => position.parse().map_err(|_| Error::Io {
                operation: "ask for",
                what: what(),
                source: io::ErrorKind::InvalidData.into(),
            }),
            Ok(Ok((_, why, _))) => {
                Err(Error::Io { operation: "switch", what: what(), source: io::Error::other(why) })
            }
            Ok(Err(source)) if source.kind() != io::ErrorKind::NotFound => {
                Err(Error::Io { operation: "ask for", what: what(), source })
            }
            Ok(Err(_)) | Err(_) => Err(Error::Unavailable { what: what() }),
        }
    }

    /// The thread of a chip: one that hangs holds no other.
    fn chip(&self, name: &str) -> io::Result<Arc<Worker>> {
        let mut chips = self.chips.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(chip) = chips.get(name) {
            return Ok(Arc::clone(chip));
        }
        let chip = Arc::new(Worker::start(name.get(..15).unwrap_or(name))?);
        chips.insert(name.to_owned(), Arc::clone(&chip));
        Ok(chip)
    }
}

async fn ask(socket: &Path, name: &str) -> io::Result<(char, String, Option<OwnedFd>)> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(format!("{name}\n").as_bytes()).await?;
    let mut text = [0; ANSWER_MAX];
    let (length, line) = loop {
        stream.readable().await?;
        let got = stream.try_io(Interest::READABLE, || receive(&stream, &mut text));
        match got {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            got => break got?,
        }
    };
    let text = text.get(..length).unwrap_or_default();
    let mut text = String::from_utf8_lossy(text).into_owned();
    if text.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let kind = text.remove(0);
    Ok((kind, text, line))
}

fn receive(stream: &UnixStream, text: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let got = recvmsg(stream, &mut [IoSliceMut::new(text)], &mut beside, RecvFlags::CMSG_CLOEXEC)?;
    let line = beside.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut lines) => lines.next(),
        _ => None,
    });
    Ok((got.bytes, line))
}

/// Answers one who asks at the socket. `open` is told what is asked for, and gives it.
///
/// # Errors
/// Whatever keeps the answer from going out; who asks for what nobody may have is answered.
pub async fn hand_over(
    mut stream: UnixStream,
    open: impl AsyncFnOnce(&str) -> Result<Given, Error>,
) -> io::Result<()> {
    let mut name = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).await? == 1 && byte != *b"\n" {
        if name.len() >= NAME_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the name is too long"));
        }
        name.extend(byte);
    }
    let name = String::from_utf8_lossy(&name).into_owned();
    let (kind, text, line) = match open(&name).await {
        Ok(Given::Line(line, chip)) => (HANDED, chip, Some(line)),
        Ok(Given::Position(position)) => (DONE, position.to_string(), None),
        Err(Error::NotFound { .. }) => (MISSING, String::new(), None),
        Err(Error::Busy { owner, .. }) => (HELD, owner, None),
        Err(error) => (FAILED, error.to_string(), None),
    };
    let mut text = format!("{kind}{text}");
    while text.len() > ANSWER_MAX {
        text.pop();
    }
    loop {
        stream.writable().await?;
        let sent = stream.try_io(Interest::WRITABLE, || send(&stream, &text, line.as_ref()));
        match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return sent,
        }
    }
}

fn send(stream: &UnixStream, text: &str, line: Option<&OwnedFd>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    let lines = line.map(|line| [line.as_fd()]);
    if let Some(lines) = &lines
        && !beside.push(SendAncillaryMessage::ScmRights(lines))
    {
        return Err(io::Error::other("no room for a descriptor"));
    }
    sendmsg(stream, &[IoSlice::new(text.as_bytes())], &mut beside, SendFlags::NOSIGNAL)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use hal::ErrorKind;
    use tokio::net::UnixListener;

    use super::*;

    /// Serves one who asks.
    async fn served(
        listener: &UnixListener,
        open: impl AsyncFnOnce(&str) -> Result<Given, Error>,
    ) -> io::Result<()> {
        let (stream, _) = listener.accept().await?;
        hand_over(stream, open).await
    }

    #[tokio::test]
    async fn a_descriptor_goes_over_and_is_of_what_was_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (mut near, far) = std::io::pipe().unwrap();
        let (asked, served) = tokio::join!(
            ask(&path, "psu0_present"),
            served(&listener, async |name: &str| {
                assert_eq!(name, "psu0_present");
                Ok(Given::Line(OwnedFd::from(far), "gpiochip3".to_owned()))
            })
        );
        served.unwrap();
        let (kind, chip, line) = asked.unwrap();
        assert_eq!((kind, chip.as_str()), (HANDED, "gpiochip3"));
        std::fs::File::from(line.unwrap()).write_all(b"it").unwrap();
        let mut got = String::new();
        near.read_to_string(&mut got).unwrap();
        assert_eq!(got, "it");
    }

    #[tokio::test]
    async fn a_shared_port_is_switched_by_who_answers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines.sock");
        let lines = HandedLines::new(&path);
        assert_eq!(lines.select("uart1", None).await.unwrap_err().kind(), ErrorKind::Unavailable);
        let listener = UnixListener::bind(&path).unwrap();
        for (asked, position) in [(Some(3), "mux uart1 3"), (None, "mux uart1")] {
            let (told, served) = tokio::join!(
                lines.select("uart1", asked),
                served(&listener, async |name: &str| {
                    assert_eq!(name, position);
                    assert_eq!(Asked::parse(name), Asked::Mux("uart1", asked));
                    Ok(Given::Position(3))
                })
            );
            served.unwrap();
            assert_eq!(told.unwrap(), 3);
        }
        let refused = Error::Permission { what: "uart1".to_owned(), source: io::Error::other("no") };
        let (told, served) =
            tokio::join!(lines.select("uart1", Some(1)), served(&listener, async |_: &str| Err(refused)));
        served.unwrap();
        assert_eq!(told.unwrap_err().kind(), ErrorKind::Failed);
        for name in ["psu0_present", "mux uart1 256", "mux uart1 x", "mux"] {
            assert_eq!(Asked::parse(name), Asked::Line(name));
        }
    }

    #[tokio::test]
    async fn what_became_of_a_line_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines.sock");
        let lines = HandedLines::new(&path);
        let id = LineId::Name("presence-ps0".to_owned());
        let nobody = lines.input("psu0_present", &id).await.unwrap_err();
        assert_eq!(nobody.kind(), ErrorKind::Unavailable);
        let listener = UnixListener::bind(&path).unwrap();
        let busy = Error::Busy { line: id.clone(), owner: "powermgr".to_owned() };
        let permission =
            Error::Permission { what: "psu0_present".to_owned(), source: io::Error::other("no") };
        let missing = Error::NotFound { line: id.clone() };
        for (error, kind) in
            [(busy, ErrorKind::Busy), (permission, ErrorKind::Failed), (missing, ErrorKind::Wiring)]
        {
            let (asked, served) =
                tokio::join!(lines.input("psu0_present", &id), served(&listener, async |_: &str| Err(error)));
            served.unwrap();
            assert_eq!(asked.unwrap_err().kind(), kind);
        }
        // One who asks without end is sent away.
        let long = "x".repeat(1_000);
        let (_, served) =
            tokio::join!(ask(&path, &long), served(&listener, async |_: &str| panic!("nothing is opened")));
        assert_eq!(served.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
