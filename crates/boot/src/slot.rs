//! One slot, as the boot record keeps it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How often an unconfirmed slot is tried before it counts as bad.
pub const GRANTED_TRIES: u8 = 3;
/// After how many boots in a row without a confirmation a confirmed slot gives way to the other confirmed one.
pub const PATIENCE: u8 = 5;

/// One of the two slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SlotId {
    /// Partition `u-bmc-a`.
    A,
    /// Partition `u-bmc-b`.
    B,
}

impl SlotId {
    /// Both, in order.
    pub const ALL: [Self; 2] = [Self::A, Self::B];

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The label of its partition.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::A => "u-bmc-a",
            Self::B => "u-bmc-b",
        }
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "a",
            Self::B => "b",
        })
    }
}

/// What is known of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SlotState {
    /// Nothing to boot: being written, or never written.
    Empty,
    /// Complete, but no boot of it has been called well yet. It has a counted number of tries.
    Unconfirmed,
    /// A boot of it was called well.
    Confirmed,
    /// It did not verify, or used up its tries. Tried only when nothing better is left.
    Bad,
}

impl fmt::Display for SlotState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "empty",
            Self::Unconfirmed => "unconfirmed",
            Self::Confirmed => "confirmed",
            Self::Bad => "bad",
        })
    }
}

/// Why a slot is not as good as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// No partition has its label, or the partition cannot be read.
    Unreadable,
    /// The manifest is missing, malformed or not signed by a known key.
    Manifest,
    /// The manifest is of another board, another kernel, or does not fit in the partition.
    Mismatch,
    /// The root file system is not the one the manifest names (dm-verity).
    Verity,
    /// The root file system verifies but cannot be mounted or lacks what a boot needs.
    Root,
    /// Unconfirmed, and out of tries.
    Tries,
    /// Confirmed, but not called well again in too many boots in a row.
    NoConfirmation,
    /// A fault this version does not know.
    Other(u8),
}

impl Fault {
    /// The byte in the record, 0 for none.
    pub(crate) fn to_byte(fault: Option<Self>) -> u8 {
        match fault {
            None => 0,
            Some(Self::Unreadable) => 1,
            Some(Self::Manifest) => 2,
            Some(Self::Mismatch) => 3,
            Some(Self::Verity) => 4,
            Some(Self::Root) => 5,
            Some(Self::Tries) => 6,
            Some(Self::NoConfirmation) => 7,
            Some(Self::Other(byte)) => byte,
        }
    }

    /// The fault of a byte in the record.
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => None,
            1 => Some(Self::Unreadable),
            2 => Some(Self::Manifest),
            3 => Some(Self::Mismatch),
            4 => Some(Self::Verity),
            5 => Some(Self::Root),
            6 => Some(Self::Tries),
            7 => Some(Self::NoConfirmation),
            other => Some(Self::Other(other)),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable => f.write_str("its partition cannot be read"),
            Self::Manifest => f.write_str("its manifest is not valid"),
            Self::Mismatch => f.write_str("it is not for this board, kernel or partition"),
            Self::Verity => f.write_str("its root file system does not verify"),
            Self::Root => f.write_str("its root file system is not usable"),
            Self::Tries => f.write_str("it used up its tries"),
            Self::NoConfirmation => f.write_str("its last boots were not confirmed"),
            Self::Other(byte) => write!(f, "fault {byte}"),
        }
    }
}

/// A slot's part of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// What is known of it.
    pub state: SlotState,
    /// Boots left to an unconfirmed slot.
    pub tries_left: u8,
    /// Boots in a row that nobody called well.
    pub failures: u8,
    /// Why it is bad, or why it gave way.
    pub fault: Option<Fault>,
    /// The record's sequence number when it was last confirmed with what it holds now; 0 if never.
    pub confirmed_at: u64,
}

impl Slot {
    /// A complete slot that nobody has booted yet.
    pub(crate) const FRESH: Self = Self {
        state: SlotState::Unconfirmed,
        tries_left: GRANTED_TRIES,
        failures: 0,
        fault: None,
        confirmed_at: 0,
    };
    /// A slot with nothing in it.
    pub(crate) const EMPTY: Self =
        Self { state: SlotState::Empty, tries_left: 0, failures: 0, fault: None, confirmed_at: 0 };

    /// It may be booted without being a last resort.
    pub(crate) fn eligible(&self) -> bool {
        match self.state {
            SlotState::Confirmed => true,
            SlotState::Unconfirmed => self.tries_left > 0,
            SlotState::Empty | SlotState::Bad => false,
        }
    }
}
