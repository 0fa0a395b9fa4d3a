//! The two areas, and the two slots of each.

use std::fmt;

/// The version of the format.
pub const VERSION: u16 = 1;
/// Bytes of a head.
pub const HEAD: u32 = 32;
/// A head that says that nothing was ever written: as an EEPROM leaves the factory.
pub const BLANK: [u8; 32] = [0xff; 32];
/// The last generation there is: nobody reads one after it.
const LAST: u64 = u64::MAX - 1;
/// The smallest EEPROM, bytes.
pub const SIZE_MIN: u32 = 16 * 1024;
/// The largest, bytes.
pub const SIZE_MAX: u32 = 256 * 1024;
/// A size is a multiple of this, bytes.
pub const SIZE_STEP: u32 = 4 * 1024;

/// Whose an area is: that side writes it, and the other one only reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The controller.
    Controller,
    /// The host's firmware.
    Firmware,
}

impl Side {
    fn magic(self) -> [u8; 8] {
        match self {
            Self::Controller => *b"uBMCmbxC",
            Self::Firmware => *b"uBMCmbxF",
        }
    }
}

/// One of the two slots of an area.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    /// The one in front.
    First,
    /// The one behind it.
    Second,
}

impl Slot {
    fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "first slot",
            Self::Second => "second slot",
        })
    }
}

/// Where the areas of an EEPROM are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    size: u32,
}

impl Layout {
    /// Of an EEPROM of `size` bytes; `None` when that is no size of one: [`SIZE_MIN`] to [`SIZE_MAX`], a multiple of [`SIZE_STEP`].
    #[must_use]
    pub fn new(size: u32) -> Option<Self> {
        ((SIZE_MIN..=SIZE_MAX).contains(&size) && size.is_multiple_of(SIZE_STEP)).then_some(Self { size })
    }

    /// Where a slot begins and how long it is, bytes.
    #[must_use]
    pub fn slot(self, side: Side, slot: Slot) -> (u32, u32) {
        let eighth = self.size / 8;
        match (side, slot) {
            (Side::Controller, Slot::First) => (0, eighth),
            (Side::Controller, Slot::Second) => (eighth, eighth),
            (Side::Firmware, Slot::First) => (2 * eighth, 3 * eighth),
            (Side::Firmware, Slot::Second) => (5 * eighth, 3 * eighth),
        }
    }

    /// The most bytes that a side can say.
    #[must_use]
    pub fn room(self, side: Side) -> u32 {
        self.slot(side, Slot::First).1 - HEAD
    }
}

/// What is wrong with a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// What is there is neither blank nor begins as a slot of this area does.
    #[error("it does not begin as one")]
    Magic,
    /// It is of another version of the format.
    #[error("it is of version {0} of the format")]
    Version(u16),
    /// It says it is longer than there is room.
    #[error("it says it has {0} bytes")]
    Length(u32),
    /// It is of a generation that none is of: the first one is 1, and after the last one there is none.
    #[error("it is of no generation")]
    Generation,
    /// It is not what was written: a write was cut, or it has changed since.
    #[error("its checksum is wrong")]
    Checksum,
    /// Both slots say that they are the newest.
    #[error("both are of generation {0}")]
    Twins(u64),
}

/// A head that may be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    generation: u64,
    length: u32,
    checksum: u32,
}

/// What the head of a slot says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begins {
    /// Nothing was ever written there.
    Blank,
    With(Head),
    Damaged(Damage),
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).copied().unwrap_or([0; N])
}

impl Head {
    /// Its bytes but for the checksum.
    fn front(self, side: Side) -> Vec<u8> {
        let mut out = side.magic().to_vec();
        out.extend(VERSION.to_le_bytes());
        out.extend([0; 2]);
        out.extend(self.length.to_le_bytes());
        out.extend(self.generation.to_le_bytes());
        out
    }

    fn checksum_of(self, side: Side, payload: &[u8]) -> u32 {
        let mut sum = crc32fast::Hasher::new();
        sum.update(&self.front(side));
        sum.update(payload);
        sum.finalize()
    }

    fn read(side: Side, room: u32, bytes: &[u8]) -> Begins {
        let is_head = u32::try_from(bytes.len()) == Ok(HEAD);
        if is_head && [0x00, 0xff].iter().any(|blank| bytes.iter().all(|byte| byte == blank)) {
            return Begins::Blank;
        }
        if number::<8>(bytes, 0) != side.magic()
            || number::<2>(bytes, 10) != [0; 2]
            || number::<4>(bytes, 28) != [0; 4]
        {
            return Begins::Damaged(Damage::Magic);
        }
        let version = u16::from_le_bytes(number(bytes, 8));
        if version != VERSION {
            return Begins::Damaged(Damage::Version(version));
        }
        let head = Self {
            length: u32::from_le_bytes(number(bytes, 12)),
            generation: u64::from_le_bytes(number(bytes, 16)),
            checksum: u32::from_le_bytes(number(bytes, 24)),
        };
        if head.length > room {
            return Begins::Damaged(Damage::Length(head.length));
        }
        if head.generation == 0 || head.generation > LAST {
            return Begins::Damaged(Damage::Generation);
        }
        Begins::With(head)
    }
}

/// What one side says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Area {
    newest: Option<(Slot, Head)>,
    payload: Vec<u8>,
    damaged: Vec<(Slot, Damage)>,
}

/// Why an area cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError<E> {
    /// The EEPROM does not answer.
    #[error("the EEPROM does not answer")]
    Medium(#[source] E),
    /// Both slots are damaged: what was in them is lost.
    #[error("both slots are damaged: {first}; {second}")]
    Lost {
        /// What is wrong with the first one.
        first: Damage,
        /// And with the second.
        second: Damage,
    },
}

/// What does not fit in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{length} bytes do not fit in {room}")]
pub struct TooLong {
    /// How long it is.
    pub length: usize,
    /// How long it may be.
    pub room: u32,
}

/// Bytes that are to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// From where on.
    pub at: u32,
    /// They.
    pub bytes: Vec<u8>,
    /// Where a head is to be blanked after that ([`BLANK`]): its slot has the last generation there is, and would count for ever.
    pub blank: Option<u32>,
    /// What the area is once all of that is there.
    pub area: Area,
}

impl Write {
    /// What is to be written from where on, one after the other. Whatever is cut leaves what was there before, or what is to be there.
    pub fn steps(&self) -> impl Iterator<Item = (u32, &[u8])> {
        const HEAD_GONE: &[u8] = &BLANK;
        std::iter::once((self.at, self.bytes.as_slice())).chain(self.blank.map(|at| (at, HEAD_GONE)))
    }
}

impl Area {
    /// Reads the newest whole slot of a side; an area that was never written is empty. `get` reads bytes of the EEPROM: from where on, and how many. What
    /// was read before (`known`) is not read again while its head is the same.
    ///
    /// # Errors
    /// [`ReadError`]. Never for one damaged slot: a write that is cut leaves one, and the other one tells what was there before.
    pub fn read<E>(
        layout: Layout,
        side: Side,
        known: Option<&Self>,
        mut get: impl FnMut(u32, u32) -> Result<Vec<u8>, E>,
    ) -> Result<Self, ReadError<E>> {
        let mut begins = Vec::new();
        for slot in [Slot::First, Slot::Second] {
            let (at, length) = layout.slot(side, slot);
            let bytes = get(at, HEAD).map_err(ReadError::Medium)?;
            begins.push((slot, at, Head::read(side, length - HEAD, &bytes)));
        }
        let mut damaged = Vec::new();
        let mut whole: Vec<(Slot, u32, Head)> = Vec::new();
        for (slot, at, begins) in begins {
            match begins {
                Begins::Blank => {}
                Begins::With(head) => whole.push((slot, at, head)),
                Begins::Damaged(damage) => damaged.push((slot, damage)),
            }
        }
        // The newest first, of which one is enough.
        whole.sort_by_key(|(_, _, head)| std::cmp::Reverse(head.generation));
        let mut found: Option<Self> = None;
        for (slot, at, head) in whole {
            let newest = found.as_ref().and_then(|found| found.newest);
            if newest.is_some_and(|(_, newest)| newest.generation != head.generation) {
                break;
            }
            let this = match known.filter(|known| known.newest == Some((slot, head))) {
                Some(known) => Self { damaged: Vec::new(), ..known.clone() },
                None => {
                    let payload = get(at + HEAD, head.length).map_err(ReadError::Medium)?;
                    let is_long_enough = u32::try_from(payload.len()) == Ok(head.length);
                    if !is_long_enough || head.checksum_of(side, &payload) != head.checksum {
                        damaged.push((slot, Damage::Checksum));
                        continue;
                    }
                    Self { newest: Some((slot, head)), payload, damaged: Vec::new() }
                }
            };
            match found.take() {
                // Which of them was meant nobody can know.
                Some(first) if first.payload != this.payload => {
                    let twins = Damage::Twins(head.generation);
                    damaged = vec![(Slot::First, twins), (Slot::Second, twins)];
                }
                first => found = first.or(Some(this)),
            }
        }
        damaged.sort_by_key(|(slot, _)| *slot == Slot::Second);
        if let (None, [(Slot::First, first), (Slot::Second, second)]) = (&found, damaged.as_slice()) {
            return Err(ReadError::Lost { first: *first, second: *second });
        }
        // Of one that is blank and one that is damaged the first write ever was cut: nothing was said.
        Ok(Self { damaged, ..found.unwrap_or_default() })
    }

    /// What is said; empty before anything was.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// What there is to go on from where both slots are damaged ([`ReadError::Lost`]): nothing is said, and what is written next counts.
    #[must_use]
    pub fn after_loss(first: Damage) -> Self {
        match first {
            Damage::Twins(generation) => {
                let head = Head { generation, length: 0, checksum: 0 };
                Self { newest: Some((Slot::Second, head)), ..Self::default() }
            }
            _ => Self::default(),
        }
    }

    /// Slots that hold neither nothing nor something whole: what a write that was cut has left, or worse.
    #[must_use]
    pub fn damaged(&self) -> &[(Slot, Damage)] {
        &self.damaged
    }

    /// How to say something else in place of this: in the slot that this is not in. Generations go on; after the last one they begin with 1 again, and the
    /// slot that this is in is blanked once the other one is written. So nobody who writes a generation of his own keeps the owner of the area from it.
    ///
    /// # Errors
    /// [`TooLong`].
    pub fn write(&self, layout: Layout, side: Side, payload: Vec<u8>) -> Result<Write, TooLong> {
        let room = layout.room(side);
        let too_long = TooLong { length: payload.len(), room };
        let length = u32::try_from(payload.len()).ok().filter(|length| *length <= room).ok_or(too_long)?;
        let (slot, generation, spent) = match self.newest {
            Some((slot, head)) if head.generation < LAST => (slot.other(), head.generation + 1, None),
            Some((slot, _)) => (slot.other(), 1, Some(slot)),
            None => (Slot::First, 1, None),
        };
        let mut head = Head { generation, length, checksum: 0 };
        head.checksum = head.checksum_of(side, &payload);
        let mut bytes = head.front(side);
        bytes.extend(head.checksum.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend_from_slice(&payload);
        let area = Self { newest: Some((slot, head)), payload, damaged: Vec::new() };
        let blank = spent.map(|slot| layout.slot(side, slot).0);
        Ok(Write { at: layout.slot(side, slot).0, bytes, blank, area })
    }
}
