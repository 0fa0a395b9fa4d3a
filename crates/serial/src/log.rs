//! The log of a console: its lines with the time of their first byte, no more of them than flash can bear.
//!
//! A line of the file is `2026-11-28T23:30:00.123Z text`. What a terminal would not show as text is left out ([`Plain`]) or written as `\x07`, so that a
//! line of the log is one line whatever the host prints.

use std::fmt::Write as _;

use jiff::Timestamp;
use units::{Millis, Mono};

use crate::plain::Plain;

/// Bytes of a line's text; a longer one is cut into several.
pub const LINE_MAX: usize = 512;
/// A line that has not ended is logged after this time, as a prompt.
const UNFINISHED: Millis = Millis::from_secs(2);
/// A batch is handed out when it has so many bytes,
const BATCH: usize = 4096;
/// or after this time: one write to flash for all of it.
const GATHER: Millis = Millis::from_secs(1);
/// So many writes, after a pause, come that early. Each takes a page of flash and more, however few its bytes are,
const WRITES: u64 = 60;
/// so there is one more in this time, and lines gather until it is there: 8640 a day for a host that prints all the time.
const WRITE_EACH: Millis = Millis::from_secs(10);

/// How much may be logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bytes at once, after a pause.
    pub burst: u32,
    /// Bytes a second that come on top.
    pub per_second: u32,
}

/// Lines to be appended to the file, as one write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Whole lines.
    pub bytes: Vec<u8>,
    /// How many.
    pub lines: u32,
}

/// Makes lines of what a console prints.
#[derive(Debug)]
pub struct Log {
    rate: Rate,
    /// Bytes that may be logged now, in thousandths.
    room: u64,
    refilled: Option<Mono>,
    plain: Plain,
    line: Vec<u8>,
    /// When the line began, by both clocks.
    began: Option<(Mono, i64)>,
    batch: Vec<u8>,
    lines: u32,
    gathers_since: Option<Mono>,
    /// When all of [`WRITES`] are there again.
    writes_whole: Mono,
    /// Lines that were too many.
    left_out: u64,
}

impl Log {
    /// An empty one.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            room: u64::from(rate.burst) * 1000,
            refilled: None,
            plain: Plain::default(),
            line: Vec::new(),
            began: None,
            batch: Vec::new(),
            lines: 0,
            gathers_since: None,
            writes_whole: Mono::ZERO,
            left_out: 0,
        }
    }

    /// Takes in what the console printed, at `now`, which the wall clock calls `wall` (milliseconds since 1970).
    pub fn push(&mut self, bytes: &[u8], now: Mono, wall: i64) {
        for byte in bytes {
            match self.plain.keep(*byte) {
                Some(b'\n') => self.end_line(now),
                Some(b'\r') | None => {}
                Some(byte) => {
                    if self.line.len() >= LINE_MAX {
                        self.end_line(now);
                    }
                    self.began.get_or_insert((now, wall));
                    self.line.push(byte);
                }
            }
        }
    }

    /// When [`Log::take`] has something without more coming in.
    #[must_use]
    pub fn due(&self) -> Option<Mono> {
        let line = self.began.map(|(at, _)| at.saturating_add(UNFINISHED));
        [line, self.batch_due()].into_iter().flatten().min()
    }

    /// The lines to be written now, if it is time.
    pub fn take(&mut self, now: Mono) -> Option<Batch> {
        if self.began.is_some_and(|(at, _)| at.saturating_add(UNFINISHED) <= now) {
            self.end_line(now);
        }
        let due = self.batch_due().is_some_and(|at| at <= now);
        // Full ones are as many as there are bytes that may be logged.
        if !due && self.batch.len() < BATCH {
            return None;
        }
        self.writes_whole = self.writes_whole.max(now).saturating_add(WRITE_EACH);
        self.all()
    }

    /// When what has gathered is to be written.
    fn batch_due(&self) -> Option<Mono> {
        let gathered = self.gathers_since?.saturating_add(GATHER);
        // There is a write as soon as what is missing of all of them is less than all.
        let most = (WRITES - 1) * WRITE_EACH.get();
        let affordable = Mono::from_millis(self.writes_whole.since(Mono::ZERO).get().saturating_sub(most));
        Some(gathered.max(affordable))
    }

    /// All that there is, also what has not ended: the daemon stops.
    pub fn finish(&mut self, now: Mono) -> Option<Batch> {
        if self.began.is_some() {
            self.end_line(now);
        }
        self.all()
    }

    fn all(&mut self) -> Option<Batch> {
        self.gathers_since = None;
        let lines = std::mem::take(&mut self.lines);
        let bytes = std::mem::take(&mut self.batch);
        (lines > 0).then_some(Batch { bytes, lines })
    }

    fn end_line(&mut self, now: Mono) {
        // Empty lines are not logged.
        let Some((_, wall)) = self.began.take() else { return };
        let line = std::mem::take(&mut self.line);
        self.put(&line, now, wall);
    }

    /// Takes in a whole line, without its end, as [`Log::push`] has it: at most [`LINE_MAX`] bytes and a name, or it cannot be read again.
    pub fn put(&mut self, line: &[u8], now: Mono, wall: i64) {
        self.refill(now);
        let text = line_text(wall, line);
        if self.spend(text.len()) {
            if self.left_out > 0 {
                let count = std::mem::take(&mut self.left_out);
                let told = format!("[{count} lines were not logged: more came than the log takes]");
                let told = line_text(wall, told.as_bytes());
                // Counted, but never refused: without it the log would be wrong.
                self.room = self.room.saturating_sub(told.len() as u64 * 1000);
                self.add(&told, now);
            }
            self.add(&text, now);
        } else {
            self.left_out += 1;
        }
    }

    fn add(&mut self, text: &str, now: Mono) {
        self.batch.extend_from_slice(text.as_bytes());
        self.lines += 1;
        self.gathers_since.get_or_insert(now);
    }

    fn refill(&mut self, now: Mono) {
        let since = self.refilled.replace(now).map_or(Millis::ZERO, |at| now.since(at));
        let more = since.get().saturating_mul(u64::from(self.rate.per_second));
        self.room = self.room.saturating_add(more).min(u64::from(self.rate.burst) * 1000);
    }

    fn spend(&mut self, bytes: usize) -> bool {
        let cost = bytes as u64 * 1000;
        // After lines were left out there has to be room for some again, or every other line would be missing.
        let reserve = if self.left_out > 0 { u64::from(self.rate.burst) * 100 } else { 0 };
        if self.room < cost + reserve {
            return false;
        }
        self.room -= cost;
        true
    }
}

fn line_text(wall: i64, line: &[u8]) -> String {
    let time = Timestamp::from_millisecond(wall).unwrap_or(Timestamp::UNIX_EPOCH);
    let mut text = format!("{time:.3} ");
    for chunk in line.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter.is_control() && letter != '\t' {
                let _ = write!(text, "\\x{:02x}", u32::from(letter));
            } else {
                text.push(letter);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text.push('\n');
    text
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// When it began, milliseconds since 1970.
    pub wall: i64,
    /// What it says.
    pub text: String,
}

/// Reads a line of the file, without its end. `None` for what is no line of ours: a write that a loss of power cut short.
#[must_use]
pub fn parse_line(line: &[u8]) -> Option<LogLine> {
    // Each byte is written as four at most, after the time and, of what was typed, after who did.
    if line.len() > 256 + 4 * LINE_MAX {
        return None;
    }
    let (time, text) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    if time.len() > 32 {
        return None;
    }
    let wall = time.parse::<Timestamp>().ok()?.as_millisecond();
    Some(LogLine { wall, text: text.to_owned() })
}

/// Whether a file of `size` bytes is put aside before `more` are written: the log is two files, each of half of `room` bytes.
#[must_use]
pub const fn wants_rotation(size: u64, more: u64, room: u64) -> bool {
    size > 0 && size.saturating_add(more) > room / 2
}
