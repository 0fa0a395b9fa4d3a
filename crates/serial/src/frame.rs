//! The frames of a session: over the Unix socket as they are here, over a WebSocket as its messages.
//!
//! ```text
//!  kind (1 byte)  length (2 bytes, big endian)  payload
//!  'T'  the ticket of the session, once, first      client to daemon
//!  'D'  bytes of the console                        both ways       WebSocket: a binary message
//!  'C'  Command or Notice, JSON                     both ways       WebSocket: a text message
//! ```

use serde::{Deserialize, Serialize};

/// Bytes of a payload at most.
pub const PAYLOAD_MAX: usize = 4096;
/// Bytes of a payload at most where pictures go over such a socket and not text.
pub const PICTURE_MAX: usize = 32 * 1024;
/// Bytes before a payload.
pub const HEAD: usize = 3;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What opens a session.
    Ticket,
    /// Bytes of the console.
    Data,
    /// A [`Command`] or a [`Notice`].
    Control,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Ticket => b'T',
            Self::Data => b'D',
            Self::Control => b'C',
        }
    }
}

/// The bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// No such kind.
    #[error("a frame of kind {0:#04x}")]
    Kind(u8),
    /// Longer than is allowed.
    #[error("a frame of {0} bytes, more than {1}")]
    Length(usize, usize),
}

/// What the first bytes of a frame say: its kind, and how many bytes of payload follow.
///
/// # Errors
/// [`Malformed`]: what comes on this connection cannot be understood any more.
pub fn head(bytes: [u8; HEAD]) -> Result<(Kind, usize), Malformed> {
    head_within(bytes, PAYLOAD_MAX)
}

/// As [`head`], with another bound of the payload.
///
/// # Errors
/// As [`head`].
pub fn head_within(bytes: [u8; HEAD], most: usize) -> Result<(Kind, usize), Malformed> {
    let [kind, high, low] = bytes;
    let kind = match kind {
        b'T' => Kind::Ticket,
        b'D' => Kind::Data,
        b'C' => Kind::Control,
        other => return Err(Malformed::Kind(other)),
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > most { Err(Malformed::Length(length, most)) } else { Ok((kind, length)) }
}

/// What stands before a payload of so many bytes, [`PICTURE_MAX`] at most.
#[must_use]
pub fn begin(kind: Kind, length: usize) -> [u8; HEAD] {
    let [high, low] = u16::try_from(length).unwrap_or(0).to_be_bytes();
    [kind.byte(), high, low]
}

/// The frame with this payload, of which what is more than [`PAYLOAD_MAX`] bytes is left out.
#[must_use]
pub fn encode(kind: Kind, payload: &[u8]) -> Vec<u8> {
    encode_within(kind, payload, PAYLOAD_MAX)
}

/// As [`encode`], with another bound of the payload, of 65,535 bytes at most.
#[must_use]
pub fn encode_within(kind: Kind, payload: &[u8], most: usize) -> Vec<u8> {
    let payload = payload.get(..most.min(usize::from(u16::MAX))).unwrap_or(payload);
    let mut frame = Vec::with_capacity(HEAD + payload.len());
    frame.extend_from_slice(&begin(kind, payload.len()));
    frame.extend_from_slice(payload);
    frame
}

/// What a client wants beside typing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Command {
    /// Take the keyboard, from whoever has it.
    TakeOver,
    /// Give it back.
    Release,
    /// Send a break to the host.
    Break,
    /// Say that you are there: how long it takes is what a key takes to the host.
    Ping {
        /// What is to be said back.
        at: u64,
    },
}

/// What a client is told beside bytes. Newer daemons may tell more: what is not known is to be passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Notice {
    /// How the session is. First of all, and whenever it changes.
    State {
        /// The host.
        console: String,
        /// Who has the keyboard: a name and where from; empty for nobody.
        writer: String,
        /// Whether that is this session.
        you_write: bool,
        /// Whether this session may have it at all.
        may_write: bool,
        /// Sessions there are.
        sessions: usize,
        /// Whether the port is open.
        connected: bool,
    },
    /// Where what follows stands. Once, after the first state: who comes again tells by it what it has shown already, and what it missed.
    Begin {
        /// The run of the daemon, in which bytes are counted; it says nothing else.
        run: String,
        /// The number of the first byte that follows. Bytes that are lost count.
        at: u64,
    },
    /// Somebody else took the keyboard from this session.
    TakenOver {
        /// Who.
        by: String,
    },
    /// So many bytes of the console are missing here: they were overwritten before this session read them.
    Lost {
        /// How many.
        bytes: u64,
    },
    /// What was sent had no effect.
    Refused {
        /// Why.
        reason: String,
    },
    /// What [`Command::Ping`] asks for, behind all that was on its way before.
    Pong {
        /// What was said.
        at: u64,
        /// Pictures, or pieces of text, that this session was sent up to now.
        sent: u64,
    },
    /// The session ends.
    End {
        /// Why.
        reason: String,
    },
}

impl Command {
    /// Reads a control frame.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(payload: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(payload).map_err(|error| error.to_string())
    }
}

impl Notice {
    /// What is to be told beside how the session is now, which it was told before: that another took the keyboard from it.
    #[must_use]
    pub fn taken_over(before: Option<&Self>, now: &Self) -> Option<Self> {
        match (before, now) {
            (Some(Self::State { you_write: true, .. }), Self::State { you_write: false, writer, .. })
                if !writer.is_empty() =>
            {
                Some(Self::TakenOver { by: writer.clone() })
            }
            _ => None,
        }
    }

    /// As JSON, within [`PAYLOAD_MAX`].
    #[must_use]
    pub fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}
