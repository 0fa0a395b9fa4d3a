//! The boot record: its bytes, and the rules by which it chooses a slot.

use crate::slot::{Fault, PATIENCE, Slot, SlotId, SlotState};

/// Bytes of one copy.
pub const RECORD_LEN: usize = 128;
/// Where the two copies start in the record's partition. Far enough apart that no erase block of a flash holds both.
pub const COPY_OFFSETS: [u64; 2] = [0, 65536];

const MAGIC: [u8; 8] = *b"UBMCBOOT";
const VERSION: u32 = 1;
const FLAG_FACTORY_RESET: u32 = 1;
const NONE: u8 = 0xff;
/// A sequence number is below this: no honest record gets there, and one that did could not be followed by a newer one.
const SEQUENCE_END: u64 = 1 << 62;

/// The record both stage0 and the operator keep: what is known of the slots, and which one is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    sequence: u64,
    active: SlotId,
    last_booted: Option<SlotId>,
    slots: [Slot; 2],
    factory_reset: bool,
    boots: u32,
}

/// One write of the record. It must be durable before what it announces is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Write {
    /// The copy to write, 0 or 1: never the one the record was read from.
    pub copy: usize,
    /// Where it starts in the record's partition.
    pub offset: u64,
    /// What to write there.
    pub bytes: [u8; RECORD_LEN],
}

/// The slots that were tried and did not verify in this boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tried([bool; 2]);

impl Tried {
    /// Notes that a slot was tried.
    pub fn add(&mut self, slot: SlotId) {
        *at_mut(&mut self.0, slot) = true;
    }

    /// Whether it was tried.
    #[must_use]
    pub fn has(&self, slot: SlotId) -> bool {
        *at(&self.0, slot)
    }
}

/// A boot that was counted and may now be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// The slot to boot.
    pub slot: SlotId,
    /// What was known of it before this attempt was counted.
    pub before: Slot,
    /// The slot that was wanted and did not get its turn, and why.
    pub fell_back: Option<(SlotId, Fault)>,
    /// Neither slot is as it should be; this one is tried because there is nothing better.
    pub last_resort: bool,
}

impl Attempt {
    /// The whole root file system should be read once before it is trusted: the slot has not proved itself, or its last
    /// boot came to nothing, perhaps by a broken block that only shows when it is read.
    #[must_use]
    pub fn wants_full_check(&self) -> bool {
        self.before.state != SlotState::Confirmed || self.before.failures > 0
    }
}

fn at<T>(pair: &[T; 2], slot: SlotId) -> &T {
    let [a, b] = pair;
    match slot {
        SlotId::A => a,
        SlotId::B => b,
    }
}

fn at_mut<T>(pair: &mut [T; 2], slot: SlotId) -> &mut T {
    let [a, b] = pair;
    match slot {
        SlotId::A => a,
        SlotId::B => b,
    }
}

impl Default for Record {
    /// What counts where no copy is valid: A is wanted, and both have their tries.
    fn default() -> Self {
        Self {
            sequence: 0,
            active: SlotId::A,
            last_booted: None,
            slots: [Slot::FRESH; 2],
            factory_reset: false,
            boots: 0,
        }
    }
}

/// What the two copies of the record say together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The newest valid copy. A copy that cannot be read, or that is torn, does not hide the other.
    Known(Record),
    /// Both places were read and neither holds a record: a new medium. [`Record::default`] counts.
    New,
    /// No valid copy, and at least one place could not be read: what it holds is not known.
    Unreadable,
    /// A copy is whole but of a version this program does not know. It must not be overwritten.
    Newer,
}

impl Found {
    /// What is known, and the defaults where nothing is.
    #[must_use]
    pub fn or_default(self) -> Record {
        match self {
            Self::Known(record) => record,
            Self::New | Self::Unreadable | Self::Newer => Record::default(),
        }
    }
}

impl Record {
    /// Takes the two copies as they were read, each by itself; `None` for one that could not be.
    #[must_use]
    pub fn found(copies: [Option<&[u8]>; 2]) -> Found {
        let [zero, one] = copies.map(Option::unwrap_or_default);
        if is_newer(zero) || is_newer(one) {
            return Found::Newer;
        }
        match Self::newest(zero, one) {
            Some(record) => Found::Known(record),
            None if copies.iter().all(Option::is_some) => Found::New,
            None => Found::Unreadable,
        }
    }

    /// The newer one of two copies; a copy that is not valid does not count. `None` where neither is.
    #[must_use]
    pub fn newest(copy0: &[u8], copy1: &[u8]) -> Option<Self> {
        match (Self::decode(copy0), Self::decode(copy1)) {
            (Some(zero), Some(one)) if one.sequence > zero.sequence => Some(one),
            (Some(zero), _) => Some(zero),
            (None, one) => one,
        }
    }

    /// Reads one copy from the first [`RECORD_LEN`] bytes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; RECORD_LEN] = bytes.first_chunk()?;
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut input = Fields(body);
        let magic: [u8; 8] = input.take()?;
        let version = u32::from_le_bytes(input.take()?);
        let flags = u32::from_le_bytes(input.take()?);
        let sequence = u64::from_le_bytes(input.take()?);
        let [active, last_booted, ..] = input.take::<4>()?;
        let boots = u32::from_le_bytes(input.take()?);
        let slots = [input.slot()?, input.slot()?];
        if magic != MAGIC || version != VERSION || sequence >= SEQUENCE_END {
            return None;
        }
        Some(Self {
            sequence,
            active: slot_id(active)?,
            last_booted: if last_booted == NONE { None } else { Some(slot_id(last_booted)?) },
            slots,
            factory_reset: flags & FLAG_FACTORY_RESET != 0,
            boots,
        })
    }

    /// The bytes of one copy.
    #[must_use]
    pub fn encode(&self) -> [u8; RECORD_LEN] {
        let mut body = Vec::with_capacity(RECORD_LEN);
        body.extend(MAGIC);
        body.extend(VERSION.to_le_bytes());
        let flags = if self.factory_reset { FLAG_FACTORY_RESET } else { 0 };
        body.extend(flags.to_le_bytes());
        body.extend(self.sequence.to_le_bytes());
        body.extend([slot_byte(self.active), self.last_booted.map_or(NONE, slot_byte), 0, 0]);
        body.extend(self.boots.to_le_bytes());
        for slot in &self.slots {
            let state = match slot.state {
                SlotState::Empty => 0,
                SlotState::Unconfirmed => 1,
                SlotState::Confirmed => 2,
                SlotState::Bad => 3,
            };
            body.extend([state, slot.tries_left, slot.failures, Fault::to_byte(slot.fault), 0, 0, 0, 0]);
            body.extend(slot.confirmed_at.to_le_bytes());
        }
        body.resize(RECORD_LEN - 4, 0);
        let mut bytes = [0; RECORD_LEN];
        let crc = crc32fast::hash(&body);
        for (to, from) in bytes.iter_mut().zip(body.into_iter().chain(crc.to_le_bytes())) {
            *to = from;
        }
        bytes
    }

    /// Numbers the record as the next one and says which copy it replaces: the older one, so that a torn write costs
    /// only what it was about to say. When that write fails, advancing once more names the other copy: a worn sector
    /// under one of them must not end the counting.
    #[must_use]
    pub fn advance(&mut self) -> Write {
        self.sequence = self.next_sequence();
        let copy = usize::from(!self.sequence.is_multiple_of(2));
        let [zero, one] = COPY_OFFSETS;
        Write { copy, offset: if copy == 0 { zero } else { one }, bytes: self.encode() }
    }

    /// Chooses the slot to try and counts the attempt, so the record is written before the slot is touched. `tried` are
    /// those which turned out unusable since the BMC was reset. `None` only when both were tried.
    ///
    /// In this order: the wanted slot; the other one, if it is confirmed or has tries left; a last resort, which is any
    /// slot not tried yet, the most recently confirmed one first and then the one that was not booted last.
    pub fn begin_boot(&mut self, tried: Tried) -> Option<Attempt> {
        let wanted = self.active;
        let mut fell_back = self.give_way(tried);
        let fit = |slot: SlotId| !tried.has(slot) && self.slot(slot).eligible();
        let (slot, last_resort) = match [self.active, self.active.other()].into_iter().find(|slot| fit(*slot))
        {
            Some(slot) => (slot, false),
            None => (self.last_resort(tried)?, true),
        };
        if slot != wanted && fell_back.is_none() {
            fell_back = Some((wanted, self.slot(wanted).fault.unwrap_or(Fault::Unreadable)));
        }
        let before = *self.slot(slot);
        let entry = at_mut(&mut self.slots, slot);
        entry.failures = entry.failures.saturating_add(1);
        if entry.state == SlotState::Unconfirmed {
            entry.tries_left = entry.tries_left.saturating_sub(1);
        }
        self.active = slot;
        self.last_booted = Some(slot);
        self.boots = self.boots.saturating_add(1);
        Some(Attempt { slot, before, fell_back, last_resort })
    }

    /// Takes its turn from the wanted slot where its count says so.
    fn give_way(&mut self, tried: Tried) -> Option<(SlotId, Fault)> {
        let wanted = self.active;
        let other = wanted.other();
        let other_confirmed = !tried.has(other) && self.slot(other).state == SlotState::Confirmed;
        let entry = at_mut(&mut self.slots, wanted);
        match entry.state {
            SlotState::Unconfirmed if entry.tries_left == 0 => {
                entry.state = SlotState::Bad;
                entry.fault = Some(Fault::Tries);
                None
            }
            SlotState::Confirmed if entry.failures >= PATIENCE && other_confirmed => {
                entry.fault = Some(Fault::NoConfirmation);
                // The other one gets its own run of boots, so two slots that both fail take turns for ever.
                at_mut(&mut self.slots, other).failures = 0;
                self.active = other;
                Some((wanted, Fault::NoConfirmation))
            }
            _ => None,
        }
    }

    fn last_resort(&self, tried: Tried) -> Option<SlotId> {
        let rank = |slot: &SlotId| {
            let entry = self.slot(*slot);
            (entry.confirmed_at, self.last_booted != Some(*slot), *slot == self.active)
        };
        SlotId::ALL.into_iter().filter(|slot| !tried.has(*slot)).max_by_key(rank)
    }

    /// Notes that a slot did not verify or could not be used.
    pub fn mark_bad(&mut self, slot: SlotId, fault: Fault) {
        let entry = at_mut(&mut self.slots, slot);
        entry.state = SlotState::Bad;
        entry.tries_left = 0;
        entry.fault = Some(fault);
    }

    /// Notes that a boot of the slot is well.
    pub fn confirm(&mut self, slot: SlotId) {
        let confirmed_at = self.next_sequence();
        *at_mut(&mut self.slots, slot) =
            Slot { state: SlotState::Confirmed, tries_left: 0, failures: 0, fault: None, confirmed_at };
        self.active = slot;
    }

    /// Notes that a slot is about to be overwritten. The other one becomes the wanted one.
    pub fn clear(&mut self, slot: SlotId) {
        *at_mut(&mut self.slots, slot) = Slot::EMPTY;
        self.active = slot.other();
    }

    /// Wants a newly written slot from the next boot on, with [`GRANTED_TRIES`](crate::GRANTED_TRIES) tries.
    pub fn activate(&mut self, slot: SlotId) {
        *at_mut(&mut self.slots, slot) = Slot::FRESH;
        self.active = slot;
    }

    /// Asks for the data partition to be made anew at the next boot.
    pub fn request_factory_reset(&mut self) {
        self.factory_reset = true;
    }

    /// Notes that it was made anew.
    pub fn clear_factory_reset(&mut self) {
        self.factory_reset = false;
    }

    /// Whether the data partition is to be made anew.
    #[must_use]
    pub fn factory_reset(&self) -> bool {
        self.factory_reset
    }

    /// What is known of a slot.
    #[must_use]
    pub fn slot(&self, slot: SlotId) -> &Slot {
        at(&self.slots, slot)
    }

    /// The wanted slot.
    #[must_use]
    pub fn active(&self) -> SlotId {
        self.active
    }

    /// The slot booted last.
    #[must_use]
    pub fn last_booted(&self) -> Option<SlotId> {
        self.last_booted
    }

    /// How many attempts were counted, those that fell back in the same boot included.
    #[must_use]
    pub fn boots(&self) -> u32 {
        self.boots
    }

    /// The number of this record; 0 before the first was written.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    fn next_sequence(&self) -> u64 {
        self.sequence.saturating_add(1)
    }
}

/// Whether these are the bytes of a whole record of a version after ours. Magic, version and checksum keep their places in all versions.
fn is_newer(bytes: &[u8]) -> bool {
    let whole = |bytes: &[u8; RECORD_LEN]| {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        let mut input = Fields(body);
        let magic: [u8; 8] = input.take()?;
        let version = u32::from_le_bytes(input.take()?);
        let sound = crc32fast::hash(body) == u32::from_le_bytes(*crc);
        Some(sound && magic == MAGIC && version > VERSION)
    };
    bytes.first_chunk().and_then(whole) == Some(true)
}

fn slot_id(byte: u8) -> Option<SlotId> {
    match byte {
        0 => Some(SlotId::A),
        1 => Some(SlotId::B),
        _ => None,
    }
}

fn slot_byte(slot: SlotId) -> u8 {
    match slot {
        SlotId::A => 0,
        SlotId::B => 1,
    }
}

/// What is left to read of a copy.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn slot(&mut self) -> Option<Slot> {
        let [state, tries_left, failures, fault, ..] = self.take::<8>()?;
        let confirmed_at = u64::from_le_bytes(self.take()?);
        let state = match state {
            0 => SlotState::Empty,
            1 => SlotState::Unconfirmed,
            2 => SlotState::Confirmed,
            3 => SlotState::Bad,
            _ => return None,
        };
        Some(Slot { state, tries_left, failures, fault: Fault::from_byte(fault), confirmed_at })
    }
}
