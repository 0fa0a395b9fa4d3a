//! The sockets of the server, by the broker's slot, and their registration with epoll.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;

use nats::ConnId;
use rustix::event::epoll::{self, EventData, EventFlags};

/// Tokens below this are not connections.
pub(super) const FIRST: u64 = 2;

/// Pieces of output given to the system at a time; it takes no more than 1,024.
const PIECES: usize = 64;

/// A sender that must not be read from until a receiver has room, or until what it sent before is on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pause {
    pub(super) behind: Option<ConnId>,
    /// When patience ends, in milliseconds.
    pub(super) until: u64,
}

#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    pub(super) id: ConnId,
    interest: EventFlags,
    pub(super) pause: Option<Pause>,
    /// The socket did not take all output; it will say when it can.
    blocked: bool,
    /// The broker has closed the connection.
    pub(super) over: bool,
    /// The connection is over; until then what the client still sends is thrown away, so that it gets to read our last
    /// words instead of a reset.
    pub(super) linger: Option<u64>,
}

/// How an operation on a socket ended.
pub(super) enum Io {
    /// This many bytes.
    Done(usize),
    /// Not now.
    Blocked,
    /// Never again.
    Over,
}

fn outcome(result: io::Result<usize>) -> Io {
    match result {
        Ok(n) => Io::Done(n),
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Io::Blocked,
        Err(_) => Io::Over,
    }
}

impl Socket {
    /// Registers a connection.
    pub(super) fn new(epoll: &OwnedFd, stream: TcpStream, id: ConnId) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        // Without it each answer waits for the acknowledgement of the one before.
        stream.set_nodelay(true)?;
        let interest = EventFlags::IN | EventFlags::RDHUP;
        epoll::add(epoll, &stream, EventData::new_u64(FIRST + u64::from(id.slot())), interest)?;
        Ok(Socket { stream, id, interest, pause: None, blocked: false, over: false, linger: None })
    }

    pub(super) fn read(&mut self, buf: &mut [u8]) -> Io {
        match outcome(self.stream.read(buf)) {
            Io::Done(0) => Io::Over,
            other => other,
        }
    }

    /// Writes as much of the output as the system takes now; [`Io::Blocked`] is what comes of output that it takes nothing of.
    pub(super) fn write<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>) -> Io {
        let mut pieces = pieces.peekable();
        let mut written = 0;
        self.blocked = false;
        while pieces.peek().is_some() {
            let mut slices = [IoSlice::new(&[]); PIECES];
            let (mut count, mut length) = (0, 0);
            for (slice, piece) in slices.iter_mut().zip(std::iter::from_fn(|| pieces.next())) {
                *slice = IoSlice::new(piece);
                (count, length) = (count + 1, length + piece.len());
            }
            match outcome(self.stream.write_vectored(slices.get(..count).unwrap_or_default())) {
                Io::Done(n) => {
                    written += n;
                    self.blocked = n < length;
                }
                Io::Blocked => self.blocked = true,
                Io::Over => return Io::Over,
            }
            if self.blocked {
                break;
            }
        }
        if self.blocked && written == 0 { Io::Blocked } else { Io::Done(written) }
    }

    /// No more output; what the client sends is thrown away until `until`.
    pub(super) fn linger(&mut self, until: u64) {
        self.linger = Some(until);
        self.blocked = false;
        self.pause = None;
        // It fails when the client is gone, and then there is nobody to tell.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Tells epoll what this socket waits for, if that changed.
    pub(super) fn register(&mut self, epoll: &OwnedFd) {
        let mut interest = EventFlags::empty();
        if self.pause.is_none() {
            interest |= EventFlags::IN | EventFlags::RDHUP;
        }
        if self.blocked {
            interest |= EventFlags::OUT;
        }
        if interest != self.interest {
            self.interest = interest;
            let data = EventData::new_u64(FIRST + u64::from(self.id.slot()));
            // The descriptor is registered as long as the socket lives; there is nothing to do about a failure.
            let _ = epoll::modify(epoll, &self.stream, data, interest);
        }
    }
}
