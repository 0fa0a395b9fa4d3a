//! One session's place in a ring.

use units::{Millis, Mono};

use crate::ring::Ring;

/// So many bytes are shown at once, however young they are.
pub const ENOUGH: u64 = 512;
/// Fewer bytes wait for more, and not longer than this: what is typed and echoed byte by byte would otherwise cost a frame each.
pub const COALESCE: Millis = Millis::new(4);
/// Bytes handed out at a time at most.
pub const PIECE: usize = 4096;

/// What a reader gets.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Nothing yet. With a time: no later than that, even when no more comes.
    Wait(Option<Mono>),
    /// So many bytes were overwritten before they were read; what follows is what came after them.
    Lost(u64),
    /// Bytes.
    Bytes(&'a [u8]),
}

/// A position in a ring, and since when something has been waiting there.
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    at: u64,
    since: Option<Mono>,
    /// What is left after a loss has waited long enough.
    late: bool,
}

impl Reader {
    /// One that begins `replay` bytes before what comes next, or with the oldest that is there.
    #[must_use]
    pub fn new(ring: &Ring, replay: u64) -> Self {
        Self { at: ring.window(replay), since: None, late: false }
    }

    /// The number of the byte it reads next.
    #[must_use]
    pub const fn position(&self) -> u64 {
        self.at
    }

    /// The next piece. To be asked again after each but [`Piece::Wait`], and after that when something came or the time is there.
    pub fn next<'a>(&mut self, ring: &'a Ring, now: Mono) -> Piece<'a> {
        let pending = ring.end().saturating_sub(self.at);
        if pending == 0 {
            self.since = None;
            return Piece::Wait(None);
        }
        let (lost, bytes) = ring.read(self.at, PIECE);
        if lost > 0 {
            self.at += lost;
            self.late = true;
            return Piece::Lost(lost);
        }
        let since = *self.since.get_or_insert(now);
        let due = since.saturating_add(COALESCE);
        if pending < ENOUGH && now < due && !self.late {
            return Piece::Wait(Some(due));
        }
        self.at += bytes.len() as u64;
        if self.at == ring.end() {
            (self.since, self.late) = (None, false);
        }
        Piece::Bytes(bytes)
    }
}
