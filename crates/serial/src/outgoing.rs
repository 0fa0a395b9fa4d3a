//! What goes to the host and has not been written yet.

use std::collections::VecDeque;

use crate::frame::PAYLOAD_MAX;
use crate::session::SessionId;

/// What is typed and not written yet, in pieces of at most [`PAYLOAD_MAX`] bytes.
pub const WAITING_MAX: usize = 16;

/// What goes to the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// Bytes.
    Bytes(Vec<u8>),
    /// A break.
    Break,
}

/// What waits for the port, in the order it was typed, each piece with whose it is: what somebody typed who has been taken over must not be what the host
/// reads next.
#[derive(Debug, Default)]
pub struct Outgoing {
    waiting: VecDeque<(SessionId, Typed)>,
    voided: u64,
}

impl Outgoing {
    /// Takes in what a session types. A break is always taken: one that waits already does for both when there is no room.
    ///
    /// # Errors
    /// What was typed: there is no room for it yet.
    pub fn push(&mut self, by: SessionId, typed: Typed) -> Result<(), Typed> {
        // Keys that wait are few bytes each: they are one piece.
        if let Typed::Bytes(more) = &typed
            && let Some((who, Typed::Bytes(bytes))) = self.waiting.back_mut()
            && *who == by
            && bytes.len() + more.len() <= PAYLOAD_MAX
        {
            bytes.extend_from_slice(more);
            return Ok(());
        }
        if self.waiting.len() >= WAITING_MAX {
            return match typed {
                Typed::Break if self.has_break() => Ok(()),
                Typed::Break => {
                    self.waiting.push_back((by, typed));
                    Ok(())
                }
                Typed::Bytes(_) => Err(typed),
            };
        }
        self.waiting.push_back((by, typed));
        Ok(())
    }

    /// What is to be written next.
    pub fn pop(&mut self) -> Option<Typed> {
        self.waiting.pop_front().map(|(_, typed)| typed)
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether a break waits.
    #[must_use]
    pub fn has_break(&self) -> bool {
        self.waiting.iter().any(|(_, typed)| *typed == Typed::Break)
    }

    /// Drops what is before the break that waits: the port does not take it, and the break is to get it going again.
    pub fn skip_to_break(&mut self) {
        if self.has_break() {
            while self.waiting.front().is_some_and(|(_, typed)| *typed != Typed::Break) {
                self.waiting.pop_front();
            }
        }
    }

    /// The keyboard was taken over: drops what all others typed, also the rest of what is being written.
    pub fn keep_only(&mut self, writer: SessionId) {
        self.waiting.retain(|(by, _)| *by == writer);
        self.voided += 1;
    }

    /// Drops all: it was meant for a port that has gone.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.voided += 1;
    }

    /// Changes when what is being written is to be given up.
    #[must_use]
    pub const fn voided(&self) -> u64 {
        self.voided
    }
}
