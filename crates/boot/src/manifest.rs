//! The signed manifest in the last 16 KiB of a slot.

use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::hex;

/// Bytes of the manifest area: the last ones of a slot's partition.
pub const AREA_LEN: usize = 16384;

const MAGIC: [u8; 8] = *b"UBMCMANI";
const VERSION: u32 = 1;
const HEADER_LEN: usize = 80;
/// Keeps a signature made for something else from counting here.
const CONTEXT: &[u8] = b"u-bmc slot manifest v1\0";
/// dm-verity's block, for data and hashes.
const BLOCK: u64 = 4096;
/// More blocks than any slot has, and few enough that no sum below overflows.
const MAX_BLOCKS: u64 = 1 << 40;

/// What a slot holds, as its maker signed it. Fields of later versions are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The board it is for, `vendor/name`.
    pub board: String,
    /// The version of u-bmc.
    pub version: String,
    /// The kernel its modules are for, as `uname -r` says it.
    pub kernel_release: String,
    /// `release` or `debug`.
    pub flavour: String,
    /// When its source was made, seconds since 1970.
    pub epoch: u64,
    /// The root file system.
    pub root: Root,
}

/// The root file system and its hash tree, both from the start of the slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// Blocks of the file system.
    pub data_blocks: u64,
    /// The first block of the hash tree.
    pub hash_start_block: u64,
    /// Blocks of the hash tree.
    pub hash_blocks: u64,
    /// The root of the tree.
    #[serde(with = "hex::field")]
    pub root_hash: [u8; 32],
    /// The salt of every hash.
    #[serde(with = "hex::field")]
    pub salt: [u8; 32],
}

/// Why a slot's manifest does not allow a boot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The area does not start with the magic: most likely the slot was never written.
    #[error("there is no manifest")]
    Missing,
    /// A later format, or a broken header.
    #[error("the manifest's header is not one of format {VERSION}")]
    Header,
    /// No known key made the signature.
    #[error("no known key signed the manifest")]
    Signature,
    /// Signed, but not a manifest.
    #[error("the manifest cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// It is for another board.
    #[error("it is for board {theirs}, this is {ours}")]
    Board {
        /// The manifest's.
        theirs: String,
        /// The one it runs on.
        ours: String,
    },
    /// It is for another kernel.
    #[error("it is for kernel {theirs}, this is {ours}")]
    Kernel {
        /// The manifest's.
        theirs: String,
        /// The one that runs.
        ours: String,
    },
    /// The file system, the tree and the manifest overlap or do not fit in the partition.
    #[error("its parts do not fit in a partition of {0} bytes")]
    Size(u64),
    /// Too long for the area.
    #[error("the manifest is too long for its area")]
    TooLong,
}

/// A key that may sign manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// A key file that holds no key.
#[derive(Debug, thiserror::Error)]
#[error("not an Ed25519 public key of 64 hexadecimal digits")]
pub struct KeyError;

impl PublicKey {
    /// Reads a key file: 64 hexadecimal digits, white space around them does not matter.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when they are not, or are no point of the curve.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let bytes = hex::decode(text.trim()).ok_or(KeyError)?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError)?;
        // A weak key verifies signatures nobody made.
        if key.is_weak() { Err(KeyError) } else { Ok(Self(key)) }
    }

    /// The text of a key file, without a line end.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(self.0.as_bytes())
    }
}

impl Manifest {
    /// Reads the manifest area of a slot. Nothing of it is looked at before one of `keys` proves to have signed it.
    ///
    /// # Errors
    ///
    /// [`ManifestError`] says what is wrong with it.
    pub fn open(area: &[u8], keys: &[PublicKey]) -> Result<Self, ManifestError> {
        let (header, body) = area.split_first_chunk::<HEADER_LEN>().ok_or(ManifestError::Missing)?;
        let (magic, rest) = header.split_first_chunk::<8>().ok_or(ManifestError::Missing)?;
        if *magic != MAGIC {
            return Err(ManifestError::Missing);
        }
        let (version, rest) = rest.split_first_chunk::<4>().ok_or(ManifestError::Header)?;
        let (length, signature) = rest.split_first_chunk::<4>().ok_or(ManifestError::Header)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| ManifestError::Header)?;
        if u32::from_le_bytes(*version) != VERSION || length > AREA_LEN - HEADER_LEN {
            return Err(ManifestError::Header);
        }
        let json = body.get(..length).ok_or(ManifestError::Header)?;
        let signature = Signature::from_slice(signature).map_err(|_| ManifestError::Header)?;
        let message = message(json);
        if !keys.iter().any(|key| key.0.verify_strict(&message, &signature).is_ok()) {
            return Err(ManifestError::Signature);
        }
        Ok(serde_json::from_slice(json)?)
    }

    /// Whether the slot may boot here.
    ///
    /// # Errors
    ///
    /// [`ManifestError::Board`], [`ManifestError::Kernel`] or [`ManifestError::Size`].
    pub fn check(&self, board: &str, kernel_release: &str, partition: u64) -> Result<(), ManifestError> {
        if self.board != board {
            return Err(ManifestError::Board { theirs: self.board.clone(), ours: board.to_owned() });
        }
        if self.kernel_release != kernel_release {
            let ours = kernel_release.to_owned();
            return Err(ManifestError::Kernel { theirs: self.kernel_release.clone(), ours });
        }
        if self.root.fits(partition) { Ok(()) } else { Err(ManifestError::Size(partition)) }
    }
}

impl Root {
    fn fits(&self, partition: u64) -> bool {
        let blocks = [self.data_blocks, self.hash_start_block, self.hash_blocks];
        if blocks.iter().any(|count| *count == 0 || *count > MAX_BLOCKS) {
            return false;
        }
        let end = (self.hash_start_block + self.hash_blocks) * BLOCK;
        self.hash_start_block >= self.data_blocks && end + AREA_LEN as u64 <= partition
    }

    /// Bytes of the file system.
    #[must_use]
    pub fn data_len(&self) -> u64 {
        self.data_blocks.saturating_mul(BLOCK)
    }

    /// dm-verity's table line for the slot on `device`.
    #[must_use]
    pub fn verity_table(&self, device: &str) -> String {
        format!(
            "1 {device} {device} {BLOCK} {BLOCK} {} {} sha256 {} {}",
            self.data_blocks,
            self.hash_start_block,
            hex::encode(&self.root_hash),
            hex::encode(&self.salt)
        )
    }
}

fn message(json: &[u8]) -> Vec<u8> {
    [CONTEXT, json].concat()
}

/// Signs a manifest with the key of a 32-byte seed and makes the manifest area of it.
///
/// # Errors
///
/// [`ManifestError::TooLong`] when it does not fit.
#[cfg(feature = "sign")]
pub fn seal(manifest: &Manifest, seed: &[u8; 32]) -> Result<Vec<u8>, ManifestError> {
    use ed25519_dalek::Signer as _;
    let json = serde_json::to_vec(manifest)?;
    let length = u32::try_from(json.len()).map_err(|_| ManifestError::TooLong)?;
    if json.len() > AREA_LEN - HEADER_LEN {
        return Err(ManifestError::TooLong);
    }
    let key = ed25519_dalek::SigningKey::from_bytes(seed);
    let mut area = Vec::with_capacity(AREA_LEN);
    area.extend(MAGIC);
    area.extend(VERSION.to_le_bytes());
    area.extend(length.to_le_bytes());
    area.extend(key.sign(&message(&json)).to_bytes());
    area.extend(json);
    area.resize(AREA_LEN, 0);
    Ok(area)
}

/// The public key of a 32-byte seed.
#[cfg(feature = "sign")]
#[must_use]
pub fn public_key_of(seed: &[u8; 32]) -> PublicKey {
    PublicKey(ed25519_dalek::SigningKey::from_bytes(seed).verifying_key())
}
