//! Blocks of a file that somebody serves from afar: a browser, `ubmcctl`. The daemon asks, who serves answers, both in messages over one session.
//!
//! ```text
//!  'R'  id (4 bytes)  offset (8)  length (4)        daemon to client: these bytes are wanted
//!  'D'  id (4 bytes)  length (4)  bytes             client to daemon: here they are
//!  'F'  id (4 bytes)  length (4)  text              client to daemon: they cannot be read, and why
//! ```
//!
//! Numbers are big-endian. A request is one message; answers may be cut anywhere.

use std::collections::BTreeMap;

use units::{Millis, Mono};

/// Bytes of one request at most: with its head it is a message that every way takes.
pub const PART_MAX: u32 = 32 * 1024;
/// Parts on their way at a time. Time on the line times bytes a second has to fit in.
pub const PARTS_MAX: usize = 64;
/// How long a client may leave a part unanswered. One that is given up keeps its place until then, as its answer may come.
pub const PART_WITHIN: Millis = Millis::from_secs(30);
/// Bytes of a text at most.
const TEXT_MAX: usize = 512;
/// Bytes of a request.
pub const ASK: usize = 17;
/// Bytes before an answer.
const HEAD: usize = 9;

/// What the daemon wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// By which it is answered.
    pub id: u32,
    /// From the beginning of the file.
    pub offset: u64,
    /// At most [`PART_MAX`].
    pub length: u32,
}

impl Ask {
    /// As a message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(ASK);
        out.push(b'R');
        out.extend(self.id.to_be_bytes());
        out.extend(self.offset.to_be_bytes());
        out.extend(self.length.to_be_bytes());
        out
    }

    /// Reads a message; `None` for what is none.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (id, rest) = rest.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let ask = Self {
            id: u32::from_be_bytes(*id),
            offset: u64::from_be_bytes(*offset),
            length: u32::from_be_bytes(*length),
        };
        (*kind == b'R' && rest.is_empty() && ask.length <= PART_MAX).then_some(ask)
    }

    /// The answer with what was asked for.
    #[must_use]
    pub fn answer(&self, bytes: &[u8]) -> Vec<u8> {
        message(b'D', self.id, bytes)
    }

    /// The answer that it cannot be read.
    #[must_use]
    pub fn failure(&self, why: &str) -> Vec<u8> {
        let text = why.as_bytes();
        message(b'F', self.id, text.get(..TEXT_MAX).unwrap_or(text))
    }
}

fn message(kind: u8, id: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + bytes.len());
    out.push(kind);
    out.extend(id.to_be_bytes());
    out.extend(u32::try_from(bytes.len()).unwrap_or(0).to_be_bytes());
    out.extend_from_slice(bytes);
    out
}

/// What a client sends is no answer to anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Misanswered(&'static str);

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Came {
    /// Which.
    pub id: u64,
    /// All of it, or why not.
    pub result: Result<Vec<u8>, String>,
}

#[derive(Debug)]
struct Whole {
    bytes: Vec<u8>,
    parts: usize,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    whole: u64,
    at: usize,
    length: usize,
    asked: Mono,
}

/// The daemon's side of one session.
#[derive(Debug, Default)]
pub struct Exchange {
    wholes: BTreeMap<u64, Whole>,
    parts: BTreeMap<u32, Part>,
    next: u32,
    input: Vec<u8>,
}

impl Exchange {
    /// Whether more may be asked for.
    #[must_use]
    pub fn has_room(&self, length: u32) -> bool {
        self.parts.len() + usize::try_from(length.div_ceil(PART_MAX)).unwrap_or(PARTS_MAX) <= PARTS_MAX
    }

    /// Bytes that are kept of an answer that is not whole.
    #[must_use]
    pub fn input_len(&self) -> usize {
        self.input.len()
    }

    /// Whether the client has left a part unanswered for too long: it is of no more use.
    #[must_use]
    pub fn is_overdue(&self, now: Mono) -> bool {
        self.parts.values().any(|part| part.asked + PART_WITHIN <= now)
    }

    /// The messages that ask for these bytes.
    pub fn ask(&mut self, id: u64, offset: u64, length: u32, now: Mono) -> Vec<Ask> {
        let total = usize::try_from(length).unwrap_or(0);
        let mut asks = Vec::new();
        let mut at = 0;
        while at < length {
            let part = PART_MAX.min(length - at);
            self.next = self.next.wrapping_add(1);
            let place = Part {
                whole: id,
                at: usize::try_from(at).unwrap_or(0),
                length: usize::try_from(part).unwrap_or(0),
                asked: now,
            };
            self.parts.insert(self.next, place);
            asks.push(Ask { id: self.next, offset: offset + u64::from(at), length: part });
            at += part;
        }
        self.wholes.insert(id, Whole { bytes: vec![0; total], parts: asks.len() });
        asks
    }

    /// Nobody waits for this any more. What comes of it is passed over.
    pub fn forget(&mut self, id: u64) {
        self.wholes.remove(&id);
    }

    /// Takes bytes of the client; what has come whole by them is added to `came`.
    ///
    /// # Errors
    /// [`Misanswered`]: nothing more is understood.
    pub fn receive(&mut self, bytes: &[u8], came: &mut Vec<Came>) -> Result<(), Misanswered> {
        self.input.extend_from_slice(bytes);
        let input = std::mem::take(&mut self.input);
        let mut rest = input.as_slice();
        while let Some((head, after)) = rest.split_at_checked(HEAD) {
            let (kind, id, length) = parse_head(head).ok_or(Misanswered("an answer of no known kind"))?;
            let part =
                self.parts.get(&id).copied().ok_or(Misanswered("an answer to nothing that was asked"))?;
            let is_right = if kind == b'D' { length == part.length } else { length <= TEXT_MAX };
            if !is_right {
                return Err(Misanswered("an answer of another length than was asked for"));
            }
            let Some((payload, after)) = after.split_at_checked(length) else { break };
            self.parts.remove(&id);
            self.take(kind, part, payload, came);
            rest = after;
        }
        self.input = rest.to_vec();
        Ok(())
    }

    fn take(&mut self, kind: u8, part: Part, payload: &[u8], came: &mut Vec<Came>) {
        let id = part.whole;
        let Some(whole) = self.wholes.get_mut(&id) else { return };
        if kind == b'F' {
            self.wholes.remove(&id);
            let result = Err(String::from_utf8_lossy(payload).chars().filter(|c| !c.is_control()).collect());
            return came.push(Came { id, result });
        }
        let to = whole.bytes.get_mut(part.at..).unwrap_or_default();
        to.iter_mut().zip(payload).for_each(|(to, from)| *to = *from);
        whole.parts = whole.parts.saturating_sub(1);
        if whole.parts == 0
            && let Some(whole) = self.wholes.remove(&id)
        {
            came.push(Came { id, result: Ok(whole.bytes) });
        }
    }
}

fn parse_head(bytes: &[u8]) -> Option<(u8, u32, usize)> {
    let (kind, rest) = bytes.split_first()?;
    let (id, rest) = rest.split_first_chunk()?;
    let (length, _) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    matches!(kind, b'D' | b'F').then_some((*kind, u32::from_be_bytes(*id), length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(length: usize) -> Vec<u8> {
        (0..length).map(|at| u8::try_from(at % 253).unwrap()).collect()
    }

    fn serve(ask: &Ask, file: &[u8]) -> Vec<u8> {
        let offset = usize::try_from(ask.offset).unwrap();
        ask.answer(&file[offset..offset + usize::try_from(ask.length).unwrap()])
    }

    #[test]
    fn a_request_is_a_message_and_nothing_else_is_one() {
        let ask = Ask { id: 7, offset: 1 << 40, length: PART_MAX };
        assert_eq!(Ask::parse(&ask.encode()), Some(ask));
        assert_eq!(ask.encode().len(), ASK);
        let longer = Ask { length: PART_MAX + 1, ..ask };
        for bad in [&[][..], b"R", &ask.encode()[..16], &[ask.encode(), vec![0]].concat(), &longer.encode()] {
            assert_eq!(Ask::parse(bad), None);
        }
    }

    #[test]
    fn parts_come_in_any_order_and_cut_anywhere() {
        let file = file(200_000);
        let mut exchange = Exchange::default();
        let asks = exchange.ask(5, 1000, 150_000, Mono::ZERO);
        assert_eq!(asks.len(), 5);
        let mut came = Vec::new();
        for ask in asks.iter().rev() {
            for piece in serve(ask, &file).chunks(4096) {
                exchange.receive(piece, &mut came).unwrap();
            }
        }
        assert_eq!(came, [Came { id: 5, result: Ok(file[1000..151_000].to_vec()) }]);
        assert!(exchange.parts.is_empty() && exchange.wholes.is_empty() && exchange.input_len() == 0);
    }

    #[test]
    fn what_cannot_be_read_is_told_once_and_what_nobody_waits_for_is_passed_over() {
        let file = file(100_000);
        let mut exchange = Exchange::default();
        let asks = exchange.ask(1, 0, 2 * PART_MAX, Mono::ZERO);
        let mut came = Vec::new();
        exchange.receive(&asks[0].failure("the file\n is gone"), &mut came).unwrap();
        exchange.receive(&serve(&asks[1], &file), &mut came).unwrap();
        assert_eq!(came, [Came { id: 1, result: Err("the file is gone".to_owned()) }]);
        came.clear();
        let asks = exchange.ask(2, 0, PART_MAX, Mono::ZERO);
        exchange.forget(2);
        exchange.receive(&serve(&asks[0], &file), &mut came).unwrap();
        assert_eq!(came, []);
        assert!(exchange.receive(&serve(&asks[0], &file), &mut came).is_err(), "twice");
    }

    #[test]
    fn an_answer_of_another_length_or_kind_ends_the_session() {
        let mut came = Vec::new();
        for bad in [
            Ask { id: 1, offset: 0, length: 10 }.answer(&[0; 9]),
            Ask { id: 2, offset: 0, length: 10 }.answer(&[0; 10]),
            b"X\0\0\0\x01\0\0\0\x0a".to_vec(),
            b"D\0\0\0\x01\xff\xff\xff\xff".to_vec(),
        ] {
            let mut exchange = Exchange::default();
            exchange.ask(1, 0, 10, Mono::ZERO);
            assert!(exchange.receive(&bad, &mut came).is_err(), "{bad:?}");
        }
        assert_eq!(came, []);
    }

    #[test]
    fn only_so_much_is_asked_for_at_a_time() {
        let mut exchange = Exchange::default();
        for id in 0..PARTS_MAX as u64 {
            assert!(exchange.has_room(PART_MAX));
            exchange.ask(id, 0, PART_MAX, Mono::ZERO);
        }
        assert!(!exchange.has_room(1));
    }

    #[test]
    fn a_client_that_leaves_a_part_unanswered_is_overdue_whoever_still_waits() {
        let mut exchange = Exchange::default();
        let asks = exchange.ask(1, 0, 2 * PART_MAX, Mono::ZERO);
        exchange.receive(&asks[0].answer(&vec![0; PART_MAX as usize]), &mut Vec::new()).unwrap();
        exchange.forget(1);
        assert!(
            !exchange.is_overdue(Mono::from_millis(29_999)) && exchange.is_overdue(Mono::from_millis(30_000))
        );
        exchange.receive(&asks[1].answer(&vec![0; PART_MAX as usize]), &mut Vec::new()).unwrap();
        assert!(!exchange.is_overdue(Mono::from_millis(60_000)));
    }

    proptest! {
        #[test]
        fn any_client_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 1..50_usize) {
            let mut exchange = Exchange::default();
            exchange.ask(1, 0, 10, Mono::ZERO);
            let mut came = Vec::new();
            let _ = bytes.chunks(cut).try_for_each(|piece| exchange.receive(piece, &mut came));
            prop_assert!(exchange.input_len() <= HEAD + 512);
            let _ = Ask::parse(&bytes);
        }
    }
}
