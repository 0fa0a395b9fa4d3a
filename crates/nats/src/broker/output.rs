//! What waits to be written to one connection, and what it costs.
//!
//! Small messages are copied into chunks of the connection's own; the body of a large one is held once, however many
//! receivers and subscriptions it has. So one message to a thousand subscriptions costs a thousand control lines, not a
//! thousand bodies.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

/// Bodies from this length on are shared, in bytes. Below it a copy is cheaper than keeping count.
pub(super) const SHARE: usize = 4 * 1024;
/// The longest chunk of a connection's own, in bytes; only what must be in one piece may be longer.
const CHUNK: usize = 64 * 1024;
/// The shortest, in bytes.
const LEAST: usize = 128;
/// What a chunk costs besides its bytes.
const COST: usize = 64;
/// An empty chunk above this is given back at the next look around, in bytes.
const KEEP: usize = 4 * 1024;

/// Header block, payload and line end of a message, shared by its receivers.
#[derive(Debug)]
pub(super) struct Body {
    bytes: Box<[u8]>,
    /// The length of all bodies of the broker, in bytes.
    total: Rc<Cell<usize>>,
}

impl Body {
    pub(super) fn new(headers: &[u8], payload: &[u8], total: &Rc<Cell<usize>>) -> Rc<Self> {
        let mut bytes = Vec::with_capacity(headers.len() + payload.len() + 2);
        bytes.extend_from_slice(headers);
        bytes.extend_from_slice(payload);
        bytes.extend_from_slice(b"\r\n");
        total.set(total.get() + bytes.len());
        Rc::new(Body { bytes: bytes.into_boxed_slice(), total: Rc::clone(total) })
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.total.set(self.total.get().saturating_sub(self.bytes.len()));
    }
}

#[derive(Debug)]
enum Chunk {
    Own(Vec<u8>),
    /// A body, from this byte on: a client that does not know headers gets none.
    Shared(Rc<Body>, usize),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Chunk::Own(bytes) => bytes,
            Chunk::Shared(body, from) => body.bytes.get(*from..).unwrap_or_default(),
        }
    }
}

/// The output of one connection.
#[derive(Debug, Default)]
pub(super) struct Output {
    chunks: VecDeque<Chunk>,
    /// How much of the first chunk is written.
    sent: usize,
    pending: usize,
    /// Bytes of own chunks that are not written.
    own: usize,
    /// The memory of own chunks.
    capacity: usize,
    /// The length of the bodies referred to; one that follows itself counts once.
    shared: usize,
}

impl Output {
    /// Bytes to be written.
    pub(super) fn pending(&self) -> usize {
        self.pending
    }

    /// Bytes that are kept for this connection: of a body that several subscriptions got only one.
    pub(super) fn kept(&self) -> usize {
        self.own + self.shared + self.chunks.len() * COST
    }

    /// The memory that is this connection's alone, in bytes.
    pub(super) fn capacity(&self) -> usize {
        self.capacity + self.chunks.len() * COST
    }

    /// Room for at least `n` more bytes at the end, to be followed by [`Output::wrote_own`].
    fn room(&mut self, n: usize) -> Option<&mut Vec<u8>> {
        let grow = match self.chunks.back() {
            Some(Chunk::Own(last)) if last.capacity() - last.len() >= n => false,
            Some(Chunk::Own(last)) if last.len() + n <= CHUNK => true,
            last => {
                // Behind a full one another will fill up, too; behind a body comes one line, as a rule.
                let least = if matches!(last, Some(Chunk::Own(_))) { CHUNK } else { LEAST };
                let chunk = Vec::with_capacity(n.max(least));
                self.capacity += chunk.capacity();
                self.chunks.push_back(Chunk::Own(chunk));
                false
            }
        };
        let Some(Chunk::Own(last)) = self.chunks.back_mut() else { return None };
        if grow {
            let before = last.capacity();
            let wanted = (before * 2).max(last.len() + n).min(CHUNK);
            last.reserve_exact(wanted - last.len());
            self.capacity += last.capacity() - before;
        }
        Some(last)
    }

    /// Appends what `write` writes, which is `n` bytes at most.
    pub(super) fn write(&mut self, n: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(chunk) = self.room(n) else { return };
        let (length, capacity) = (chunk.len(), chunk.capacity());
        write(chunk);
        let (added, grown) = (chunk.len() - length, chunk.capacity() - capacity);
        self.own += added;
        self.pending += added;
        self.capacity += grown;
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.write(bytes.len(), |chunk| chunk.extend_from_slice(bytes));
    }

    /// Appends a body from byte `from` on.
    pub(super) fn share(&mut self, body: &Rc<Body>, from: usize) {
        let before = self.chunks.len().checked_sub(2).and_then(|n| self.chunks.get(n));
        if !Self::is(before, body) {
            self.shared += body.len();
        }
        self.pending += body.len().saturating_sub(from);
        self.chunks.push_back(Chunk::Shared(Rc::clone(body), from));
    }

    fn is(chunk: Option<&Chunk>, body: &Rc<Body>) -> bool {
        matches!(chunk, Some(Chunk::Shared(other, _)) if Rc::ptr_eq(other, body))
    }

    /// What is to be written, in pieces.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut skip = self.sent;
        let pieces = self.chunks.iter().map(move |chunk| {
            let bytes = chunk.bytes();
            bytes.get(std::mem::take(&mut skip)..).unwrap_or_default()
        });
        pieces.filter(|piece| !piece.is_empty())
    }

    /// The first `n` of the bytes to be written are.
    pub(super) fn wrote(&mut self, n: usize) {
        let mut n = n.min(self.pending);
        self.pending -= n;
        while let Some(first) = self.chunks.front_mut() {
            let left = first.bytes().len().saturating_sub(self.sent);
            if n < left {
                self.sent += n;
                if matches!(first, Chunk::Own(_)) {
                    self.own -= n;
                }
                return;
            }
            n -= left;
            self.sent = 0;
            if let Chunk::Own(bytes) = first {
                self.own -= left;
                if self.pending == 0 && bytes.capacity() <= CHUNK && self.chunks.len() == 1 {
                    if let Some(Chunk::Own(bytes)) = self.chunks.front_mut() {
                        bytes.clear();
                    }
                    return;
                }
            }
            match self.chunks.pop_front() {
                Some(Chunk::Own(bytes)) => self.capacity -= bytes.capacity(),
                Some(Chunk::Shared(body, _)) if !Self::is(self.chunks.get(1), &body) => {
                    self.shared -= body.len();
                }
                _ => {}
            }
        }
        self.chunks.shrink_to(8);
    }

    /// Whether an idle connection holds more than it needs.
    pub(super) fn is_roomy(&self) -> bool {
        self.pending == 0 && self.capacity > KEEP
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Push(usize),
        /// One of three bodies, with a control line before it.
        Share(usize, usize),
        Wrote(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (1usize..20_000).prop_map(Step::Push),
            3 => (0usize..3, 0usize..50).prop_map(|(n, from)| Step::Share(n, from)),
            2 => (0usize..100_000).prop_map(Step::Wrote),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn bytes_come_out_as_they_went_in_and_each_is_counted(
            steps in proptest::collection::vec(step(), 1..30),
        ) {
            let total = Rc::new(Cell::new(0));
            let bodies: Vec<_> =
                (0..3u8).map(|n| Body::new(&[n; 50], &vec![n; 9_000], &total)).collect();
            prop_assert_eq!(total.get(), 3 * 9_052);
            let mut output = Output::default();
            let mut model: VecDeque<u8> = VecDeque::new();
            for (n, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Push(length) => {
                        let bytes = vec![u8::try_from(n).unwrap(); length];
                        output.push(&bytes);
                        model.extend(bytes);
                    }
                    Step::Share(n, from) => {
                        output.push(b"line");
                        output.share(&bodies[n], from);
                        model.extend(b"line");
                        model.extend(&bodies[n].bytes[from..]);
                    }
                    Step::Wrote(n) => {
                        output.wrote(n);
                        model.drain(..n.min(model.len()));
                    }
                }
                let waiting: Vec<u8> = output.pieces().flatten().copied().collect();
                prop_assert!(waiting == *model.make_contiguous());
                prop_assert_eq!(output.pending(), model.len());
                let capacity: usize = output.chunks.iter().map(|c| match c {
                    Chunk::Own(bytes) => bytes.capacity(),
                    Chunk::Shared(..) => 0,
                }).sum();
                prop_assert_eq!(output.capacity, capacity);
                let mut shared = 0;
                for (at, chunk) in output.chunks.iter().enumerate() {
                    if let Chunk::Shared(body, _) = chunk
                        && !(at >= 2 && Output::is(output.chunks.get(at - 2), body))
                    {
                        shared += body.len();
                    }
                }
                prop_assert_eq!(output.shared, shared);
            }
            output.wrote(usize::MAX);
            prop_assert_eq!((output.own, output.shared, output.pending()), (0, 0, 0));
            prop_assert!(output.chunks.len() <= 1);
            drop((output, bodies));
            prop_assert_eq!(total.get(), 0);
        }
    }

    #[test]
    fn many_subscriptions_to_one_body_cost_it_once() {
        let total = Rc::new(Cell::new(0));
        let body = Body::new(b"", &vec![0; 1 << 20], &total);
        let mut output = Output::default();
        for _ in 0..1_000 {
            output.push(b"MSG a 1 1048576\r\n");
            output.share(&body, 0);
        }
        assert_eq!(output.pending(), 1_000 * ((1 << 20) + 2 + 17));
        assert!(output.kept() < (1 << 20) + 300_000 && output.capacity() < 300_000);
        assert_eq!(total.get(), (1 << 20) + 2);
    }
}
