//! The hash tree of dm-verity, version 1: SHA-256, blocks of 4096 bytes, a salt before the data, no superblock.
//!
//! The tree is laid out as the kernel reads it: the level next to the root comes first, the one over the data last. A block
//! that is not full ends in zeros.

use sha2::{Digest as _, Sha256};

use anyhow::{Context as _, Result, ensure};

/// Of data and of hashes.
pub(crate) const BLOCK: usize = 4096;

/// A hash tree.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tree {
    /// The blocks, in the order of their place on the device.
    pub(crate) blocks: Vec<u8>,
    /// What everything is verified against.
    pub(crate) root: [u8; 32],
}

/// Makes the tree over `data`, whose length is a multiple of the block size.
pub(crate) fn tree(data: &[u8], salt: &[u8; 32]) -> Result<Tree> {
    ensure!(
        !data.is_empty() && data.len().is_multiple_of(BLOCK),
        "the root file system is not a whole number of blocks"
    );
    let mut levels: Vec<Vec<u8>> = Vec::new();
    let mut above = hashes(data, salt);
    // A level that is one hash is the root, and is not on the device.
    while above.len() > 32 {
        above.resize(above.len().next_multiple_of(BLOCK), 0);
        let next = hashes(&above, salt);
        levels.push(above);
        above = next;
    }
    levels.reverse();
    let mut root = [0; 32];
    root.copy_from_slice(above.get(..32).context("a hash of SHA-256 has 32 bytes")?);
    Ok(Tree { blocks: levels.concat(), root })
}

fn hashes(data: &[u8], salt: &[u8; 32]) -> Vec<u8> {
    data.chunks_exact(BLOCK)
        .flat_map(|block| Sha256::new_with_prefix(salt).chain_update(block).finalize())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    /// What `veritysetup format --no-superblock` of cryptsetup 2.6.1 makes of blocks that are filled with their number modulo
    /// 251, with a salt of 32 times 0xab: number of blocks, root hash, bytes of the tree, SHA-256 of the tree.
    const VECTORS: [(usize, &str, usize, &str); 5] = [
        (
            1,
            "dd2661f29736b994bb4d44940a72e328d0b56887df8761a1274e7d51cc525eed",
            0,
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        (
            5,
            "ec5d10cf8bfc45be49ae4db0cf96f94996cf3ed873b42cca3ad75f70c4afd0fc",
            4096,
            "0870baba3372b0da6933b0f016dabb46e4b7ae1b0bb0f9d1b7d79859c449daa9",
        ),
        (
            128,
            "e80eab6ef027bcf3d0545a7ce3813aa4d773133efcfb2ec79e5d07165bea255b",
            4096,
            "b5ae042d3eae1e9292462104e7dddc533bae9d6d133723a902978bfc64f7742a",
        ),
        (
            129,
            "9dc25b527d37c03cd1db20c64a3a3355605133b98147936afc77f8440e580546",
            12_288,
            "5c5715e3512efa3165607a5548563ac60a2c36c3b5c9536481f9890e923c79b4",
        ),
        (
            16_385,
            "35d157821f7e47195ecfc2face27fc8a1618c0bd22c42ffc2b69a985e6478312",
            540_672,
            "33673822c606ceb5a75af9f0d2a0bad8c924e4659095b51751d975d630b5655e",
        ),
    ];

    #[test]
    fn a_tree_is_the_one_that_veritysetup_makes() {
        for (blocks, root, length, sum) in VECTORS {
            let mut data = Vec::with_capacity(blocks * BLOCK);
            for block in 0..blocks {
                data.resize(data.len() + BLOCK, u8::try_from(block % 251).unwrap());
            }
            let tree = tree(&data, &[0xab; 32]).unwrap();
            assert_eq!(HEXLOWER.encode(&tree.root), root, "{blocks}");
            assert_eq!(tree.blocks.len(), length, "{blocks}");
            assert_eq!(HEXLOWER.encode(&Sha256::digest(&tree.blocks)), sum, "{blocks}");
        }
    }

    #[test]
    fn half_a_block_is_refused() {
        assert!(tree(&[], &[0; 32]).is_err());
        assert!(tree(&[0; 5000], &[0; 32]).is_err());
    }
}
