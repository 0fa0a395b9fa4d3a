//! Blocks that were read, as many as there is room for: the one that was not used for longest goes first.

use std::collections::{BTreeMap, HashMap};

/// Bytes of a block: what a host reads at once, and little enough that a slow line brings it soon.
pub const BLOCK: usize = 64 * 1024;

#[derive(Debug)]
struct Kept {
    bytes: Box<[u8]>,
    used: u64,
}

/// The blocks of one medium.
#[derive(Debug)]
pub(crate) struct Cache {
    most: usize,
    blocks: HashMap<u64, Kept>,
    /// Blocks by when they were used.
    by_use: BTreeMap<u64, u64>,
    uses: u64,
}

impl Cache {
    /// One of so many bytes, and of a block at least.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { most: (bytes / BLOCK).max(1), blocks: HashMap::new(), by_use: BTreeMap::new(), uses: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.blocks.len()
    }

    pub(crate) fn has(&self, block: u64) -> bool {
        self.blocks.contains_key(&block)
    }

    pub(crate) fn get(&mut self, block: u64) -> Option<&[u8]> {
        self.uses += 1;
        let kept = self.blocks.get_mut(&block)?;
        self.by_use.remove(&kept.used);
        kept.used = self.uses;
        self.by_use.insert(self.uses, block);
        Some(&kept.bytes)
    }

    pub(crate) fn put(&mut self, block: u64, bytes: &[u8]) {
        self.uses += 1;
        let kept = Kept { bytes: bytes.get(..BLOCK).unwrap_or(bytes).into(), used: self.uses };
        if let Some(before) = self.blocks.insert(block, kept) {
            self.by_use.remove(&before.used);
        }
        self.by_use.insert(self.uses, block);
        while self.blocks.len() > self.most {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            self.blocks.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let mut cache = Cache::new(2 * BLOCK);
        cache.put(1, &[1]);
        cache.put(2, &[2]);
        assert_eq!(cache.get(1), Some(&[1][..]));
        cache.put(3, &[3]);
        assert!(cache.has(1) && !cache.has(2) && cache.has(3));
        cache.put(3, &[4]);
        assert_eq!((cache.len(), cache.get(3)), (2, Some(&[4][..])));
        assert_eq!(cache.by_use.len(), 2);
        assert_eq!(Cache::new(0).most, 1);
    }
}
