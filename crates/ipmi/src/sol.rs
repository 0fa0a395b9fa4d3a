//! Serial over LAN (§15): the characters of a console in packets of a session, both ways, without I/O.
//!
//! ```text
//!  what the host prints ─► print ─► waiting ─► one packet at a time ─► acknowledged, or sent again
//!  what somebody types  ◄─ input ◄─ each packet once ◄─ acknowledged, partly or whole, or refused
//! ```
//!
//! Each side has one packet under way (§15.11). What was not acknowledged is sent again as the settings say, and after that once a second: it is not
//! dropped, as the session of a client that is gone ends by itself, and until then what is printed waits where it came from.

use units::{Millis, Mono};

use crate::bytes::Bytes;

/// Bytes of a packet before its characters (table 15-2).
const HEAD: usize = 4;
/// Most bytes of a packet, in both directions, as Activate Payload tells it: a count of characters has eight bits.
pub const PACKET_MAX: u16 = 255;
/// Most characters in a packet to the console.
pub const CHARACTERS_MAX: usize = PACKET_MAX as usize - HEAD;
/// Pause between packets that are sent again when all that the settings allow were sent.
const SLOWLY: Millis = Millis::from_secs(1);

/// Bits of the fourth byte that a client sends.
mod operation {
    pub(super) const NACK: u8 = 0x40;
    pub(super) const BREAK: u8 = 0x10;
    /// The host is to pause.
    pub(super) const CTS_PAUSE: u8 = 0x08;
    /// What was typed and is not passed on yet is dropped.
    pub(super) const FLUSH_INBOUND: u8 = 0x02;
    /// What was printed and is not sent yet is dropped.
    pub(super) const FLUSH_OUTBOUND: u8 = 0x01;
}

/// Bits of the fourth byte that a client gets.
mod status {
    pub(super) const NACK: u8 = 0x40;
    /// Characters cannot be passed on.
    pub(super) const UNAVAILABLE: u8 = 0x20;
    /// The session of the console is over.
    pub(super) const DEACTIVATED: u8 = 0x10;
    /// Characters of the host were lost.
    pub(super) const OVERRUN: u8 = 0x08;
}

/// When packets are sent, and sent again (table 26-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long characters are gathered at most.
    pub accumulate: Millis,
    /// So many are sent at once.
    pub threshold: usize,
    /// How often a packet is sent again, 0 to 7.
    pub retries: u8,
    /// After which time without an answer.
    pub interval: Millis,
}

/// What a packet of the client comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Typed {
    /// What was typed before and is not passed on yet is to be dropped.
    pub flush: bool,
    /// A break is to be sent to the host.
    pub is_break: bool,
    /// Characters for the host.
    pub characters: Vec<u8>,
    /// The packet to send back, if one is due.
    pub answer: Option<Vec<u8>>,
}

/// The packet that is not acknowledged yet.
#[derive(Debug)]
struct Flight {
    number: u8,
    characters: Vec<u8>,
    /// When it is sent again.
    again: Mono,
    /// How often it was sent again.
    count: u8,
    /// It says that characters of the host were lost before it.
    overrun: bool,
}

/// One session of a console.
#[derive(Debug)]
pub struct Link {
    settings: Settings,
    /// Printed and not sent.
    waiting: Vec<u8>,
    /// When the first of them is sent at the latest.
    due: Mono,
    /// Nothing new is sent before: the client has refused what was sent.
    not_before: Mono,
    flight: Option<Flight>,
    /// Number of the latest packet.
    number: u8,
    /// The client's last two packets with what was taken of each, the later one first: one that was sent again may come behind the one after it.
    seen: [Option<(u8, u8)>; 2],
    is_paused: bool,
    is_available: bool,
    /// The next packet says that characters of the host were lost.
    has_lost: bool,
}

/// The number after this one: 1 to 15, as 0 is for packets that only acknowledge (table 15-2).
const fn after(number: u8) -> u8 {
    if number >= 15 { 1 } else { number + 1 }
}

/// What tells a client that its session of the console is over, in answer to its packet `number`; 0 for none.
#[must_use]
pub fn deactivated(number: u8) -> Vec<u8> {
    let refused = if number == 0 { 0 } else { status::NACK };
    vec![0, number & 0xf, 0, status::DEACTIVATED | refused]
}

impl Link {
    /// Nothing was printed or typed yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            waiting: Vec::new(),
            due: Mono::ZERO,
            not_before: Mono::ZERO,
            flight: None,
            number: 0,
            seen: [None; 2],
            is_paused: false,
            is_available: true,
            has_lost: false,
        }
    }

    /// Whether it takes more of what the host prints: who keeps that waits until it does.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.is_paused && self.waiting.len() < CHARACTERS_MAX
    }

    /// The host printed this. What there is room for is [`Link::has_room`]'s to say; all of it is taken.
    pub fn print(&mut self, now: Mono, characters: &[u8]) {
        if self.waiting.is_empty() {
            self.due = now.saturating_add(self.settings.accumulate);
        }
        self.waiting.extend_from_slice(characters);
    }

    /// Characters of the host were lost before they came here: the next packet says so.
    pub fn lost(&mut self) {
        self.has_lost = true;
    }

    /// Whether what is typed can be passed on. While it cannot, it is refused.
    pub fn set_available(&mut self, is_available: bool) {
        self.is_available = is_available;
    }

    /// What was typed last had no effect, although it was acknowledged: what tells the client so. A packet that comes once more is not passed on again.
    #[must_use]
    pub fn refused(&self) -> Option<Vec<u8>> {
        let [latest, _] = self.seen;
        latest.map(|(number, _)| vec![0, number, 0, self.status() | status::NACK])
    }

    /// Other settings count from now on.
    pub fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// When [`Link::due`] is due; `None` while nothing is to be sent.
    #[must_use]
    pub fn deadline(&self) -> Option<Mono> {
        match &self.flight {
            Some(flight) => Some(flight.again),
            None if self.waiting.is_empty() => None,
            None if self.waiting.len() >= self.settings.threshold.clamp(1, CHARACTERS_MAX) => {
                Some(self.not_before)
            }
            None => Some(self.due.max(self.not_before)),
        }
    }

    /// The packet that is due now: a new one, or the one that is not acknowledged once more.
    pub fn due(&mut self, now: Mono) -> Option<Vec<u8>> {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return None;
        }
        let settings = self.settings;
        let flight = match self.flight.take() {
            Some(flight) => {
                let count = flight.count.saturating_add(1);
                Flight { count, again: now.saturating_add(pause(settings, count)), ..flight }
            }
            None => {
                let rest = self.waiting.split_off(self.waiting.len().min(CHARACTERS_MAX));
                let characters = std::mem::replace(&mut self.waiting, rest);
                // What is left of what was gathered has waited already.
                self.due = now;
                self.number = after(self.number);
                let again = now.saturating_add(pause(settings, 0));
                let overrun = std::mem::take(&mut self.has_lost);
                Flight { number: self.number, characters, again, count: 0, overrun }
            }
        };
        let overrun = if flight.overrun { status::OVERRUN } else { 0 };
        let mut out = vec![flight.number, 0, 0, self.status() | overrun];
        out.extend_from_slice(&flight.characters);
        self.flight = Some(flight);
        Some(out)
    }

    const fn status(&self) -> u8 {
        if self.is_available { 0 } else { status::UNAVAILABLE }
    }

    /// A packet of the client. `room` is how many characters can be passed on now.
    pub fn input(&mut self, now: Mono, packet: &[u8], room: usize) -> Typed {
        let mut typed = Typed::default();
        let mut bytes = Bytes::new(packet);
        let Some([number, acknowledged, count, operation]) = bytes.array::<HEAD>() else { return typed };
        let (number, acknowledged) = (number & 0xf, acknowledged & 0xf);
        self.is_paused = operation & operation::CTS_PAUSE != 0;
        if operation & operation::FLUSH_OUTBOUND != 0 {
            self.waiting.clear();
        }
        self.acknowledge(now, acknowledged, count, operation & operation::NACK != 0);
        if number == 0 {
            return typed;
        }
        let known = self.seen.iter().flatten().find(|(seen, _)| *seen == number);
        if let Some((_, taken)) = known {
            // It comes once more: what it was answered with was lost.
            typed.answer = Some(vec![0, number, *taken, self.status()]);
            return typed;
        }
        let characters = bytes.rest();
        if !self.is_available && !characters.is_empty() {
            let status = self.status() | status::NACK;
            typed.answer = Some(vec![0, number, 0, status]);
            return typed;
        }
        let taken = u8::try_from(characters.len().min(room)).unwrap_or(u8::MAX);
        if taken == 0 && !characters.is_empty() {
            // Without an answer it comes again, which is better than a client that drops what was refused.
            return typed;
        }
        typed.flush = operation & operation::FLUSH_INBOUND != 0;
        typed.is_break = operation & operation::BREAK != 0;
        typed.characters = characters.iter().take(taken.into()).copied().collect();
        let [latest, _] = self.seen;
        self.seen = [Some((number, taken)), latest];
        typed.answer = Some(vec![0, number, taken, self.status()]);
        typed
    }

    /// The client took so many characters of this packet. What it did not take goes into the next one.
    fn acknowledge(&mut self, now: Mono, number: u8, count: u8, is_refused: bool) {
        if number == 0 || self.flight.as_ref().is_none_or(|flight| flight.number != number) {
            return;
        }
        let Some(mut flight) = self.flight.take() else { return };
        let taken = usize::from(count).min(flight.characters.len());
        if taken == flight.characters.len() {
            return;
        }
        let mut rest = flight.characters.split_off(taken);
        rest.append(&mut self.waiting);
        self.waiting = rest;
        self.has_lost |= flight.overrun;
        self.due = now;
        // Who takes nothing is not asked again at once.
        if is_refused || taken == 0 {
            self.not_before = now.saturating_add(pause(self.settings, 0));
        }
    }
}

/// How long a packet waits for its answer that was sent again so often.
fn pause(settings: Settings, count: u8) -> Millis {
    if count < settings.retries { settings.interval.max(Millis::new(1)) } else { SLOWLY }
}

#[cfg(test)]
#[path = "sol_tests.rs"]
mod tests;
