//! The last bytes of a console.

/// Bytes of a console that are kept in memory, as obmc-console keeps.
pub const RING: usize = 128 * 1024;

/// The last bytes, each with its number since the ring was made. It takes its memory once.
#[derive(Debug)]
pub struct Ring {
    bytes: Box<[u8]>,
    end: u64,
}

impl Ring {
    /// An empty ring of this many bytes; at least one.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity.max(1)].into_boxed_slice(), end: 0 }
    }

    /// The number of the next byte to come.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// The number of the oldest byte that is still here.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.end.saturating_sub(self.bytes.len() as u64)
    }

    /// The number of the byte from which on `bytes` are shown, or all that there are.
    #[must_use]
    pub fn window(&self, bytes: u64) -> u64 {
        self.end.saturating_sub(bytes).max(self.start())
    }

    /// Takes bytes in; the oldest go.
    pub fn push(&mut self, bytes: &[u8]) {
        let capacity = self.bytes.len();
        // Of more than the ring holds only the last would stay.
        let skipped = bytes.len().saturating_sub(capacity);
        self.end += skipped as u64;
        let mut rest = bytes.get(skipped..).unwrap_or_default();
        while !rest.is_empty() {
            let at = self.index(self.end);
            let Some(room) = self.bytes.get_mut(at..) else { return };
            let count = room.len().min(rest.len());
            let (now, later) = rest.split_at(count);
            for (to, from) in room.iter_mut().zip(now) {
                *to = *from;
            }
            self.end += count as u64;
            rest = later;
        }
    }

    /// Bytes from number `at` on, at most `max`, and fewer where the ring's memory begins anew. First the count of those that are gone.
    #[must_use]
    pub fn read(&self, at: u64, max: usize) -> (u64, &[u8]) {
        let from = at.clamp(self.start(), self.end);
        let lost = from.saturating_sub(at);
        let left = usize::try_from(self.end - from).unwrap_or(usize::MAX);
        let index = self.index(from);
        let bytes = self.bytes.get(index..).unwrap_or_default();
        let count = left.min(max).min(bytes.len());
        (lost, bytes.get(..count).unwrap_or_default())
    }

    fn index(&self, at: u64) -> usize {
        usize::try_from(at % self.bytes.len() as u64).unwrap_or(0)
    }
}
