//! What the structures say of the machine (section 7).

use crate::entry::{EntryPoint, Error};
use crate::structure::{MAX_TABLE, Structure, structures};

/// Strings of the maker that are kept.
pub const OEM_STRINGS_MAX: usize = 64;

/// The firmware (type 0, section 7.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Firmware {
    /// Who made it.
    pub vendor: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// When it was released, as its maker writes it.
    pub date: Option<String>,
}

/// The system (type 1, section 7.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct System {
    /// Who made it.
    pub manufacturer: Option<String>,
    /// What it is called.
    pub product: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its identity, in the order of RFC 4122. `None` for the two values that mean none.
    pub uuid: Option<[u8; 16]>,
    /// Its number in the shop.
    pub sku: Option<String>,
}

/// A board (type 2, section 7.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baseboard {
    /// Who made it.
    pub manufacturer: Option<String>,
    /// What it is called.
    pub product: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// What its owner calls it.
    pub asset_tag: Option<String>,
}

/// A chassis (type 3, section 7.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chassis {
    /// Who made it.
    pub manufacturer: Option<String>,
    /// Its type, without the bit for a lock.
    pub kind: u8,
    /// Its version.
    pub version: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// What its owner calls it.
    pub asset_tag: Option<String>,
}

/// A socket for a processor (type 4, section 7.5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processor {
    /// What is printed beside the socket.
    pub socket: Option<String>,
    /// There is a processor in it. The rest is that of the processor.
    pub present: bool,
    /// Who made it.
    pub manufacturer: Option<String>,
    /// What it calls itself.
    pub version: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its part number.
    pub part: Option<String>,
    /// What its owner calls it.
    pub asset_tag: Option<String>,
    /// How many cores it has.
    pub cores: Option<u16>,
    /// How many of them are in use.
    pub cores_enabled: Option<u16>,
    /// How many threads it has.
    pub threads: Option<u16>,
    /// Its highest clock in this machine, in MHz.
    pub max_mhz: Option<u16>,
    /// Whose programs it runs, as far as its family says.
    pub architecture: Option<Architecture>,
    /// It can run programs of 64 bits.
    pub is_64_bit: bool,
}

/// Whose programs a processor runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// Intel's and AMD's.
    X86,
    /// ARM's.
    Arm,
    /// RISC-V's.
    RiscV,
    /// IBM's POWER.
    Power,
}

/// The architecture of a family of processors (section 7.5.2, table 23): those of servers. Others, and families that say "other" or "unknown", are none.
fn architecture(family: u16) -> Option<Architecture> {
    match family {
        // Pentiums, AMD's K5 to Athlon; Core Duo, Turion, Phenom, EPYC, FX; Athlon 64, Opteron; Xeon, Core i3 to i9; Xeon and Opteron by number.
        0x0b..=0x1f | 0x28..=0x2f | 0x38..=0x3f | 0x46..=0x4f | 0x66..=0x6f | 0x83..=0x8f | 0xa1..=0xc7 => {
            Some(Architecture::X86)
        }
        0xcd..=0xf0 => Some(Architecture::X86),
        0x20..=0x27 => Some(Architecture::Power),
        0x100..=0x102 | 0x118 | 0x119 => Some(Architecture::Arm),
        0x200..=0x202 => Some(Architecture::RiscV),
        _ => None,
    }
}

/// A slot for memory (type 17, section 7.18).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// What is printed beside the slot.
    pub locator: Option<String>,
    /// Which bank it is in.
    pub bank: Option<String>,
    /// There is a module in it. The rest is that of the module.
    pub present: bool,
    /// Its size in MiB. `None` where the firmware does not know.
    pub size_mib: Option<u64>,
    /// Its kind, such as "DDR5". `None` for kinds that are not known here.
    pub kind: Option<&'static str>,
    /// The speed it can have, in MT/s.
    pub speed: Option<u16>,
    /// The speed it has, in MT/s.
    pub configured_speed: Option<u16>,
    /// Who made it.
    pub manufacturer: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its part number.
    pub part: Option<String>,
    /// What its owner calls it.
    pub asset_tag: Option<String>,
}

/// A slot of the system (type 9, section 7.10).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// What is printed beside it.
    pub designation: Option<String>,
    /// Something is in it. `None` where the firmware does not know.
    pub in_use: Option<bool>,
    /// Where its device is on the bus: segment, bus, device and function.
    pub address: Option<(u16, u8, u8)>,
}

/// A device on the board (type 41, section 7.42).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// What it is called.
    pub designation: Option<String>,
    /// Its kind, such as "Ethernet". `None` for kinds that are not known here.
    pub kind: Option<&'static str>,
    /// The firmware has switched it on.
    pub enabled: bool,
    /// Which of its kind it is, from 1.
    pub instance: u8,
    /// Where it is on the bus: segment, bus, device and function.
    pub address: Option<(u16, u8, u8)>,
}

/// What a table says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Major and minor version of the specification.
    pub version: (u8, u8),
    /// The firmware.
    pub firmware: Option<Firmware>,
    /// The system.
    pub system: Option<System>,
    /// Boards.
    pub boards: Vec<Baseboard>,
    /// Chassis.
    pub chassis: Vec<Chassis>,
    /// Sockets of processors.
    pub processors: Vec<Processor>,
    /// The most memory the arrays of the system's memory can hold, in KiB (type 16, section 7.17).
    pub memory_max_kib: Option<u64>,
    /// Slots of memory.
    pub memory: Vec<Memory>,
    /// Slots of the system.
    pub slots: Vec<Slot>,
    /// Devices on the board.
    pub devices: Vec<Device>,
    /// What the maker has to say in free words (type 11, section 7.12), at most [`OEM_STRINGS_MAX`] strings.
    pub oem_strings: Vec<String>,
    /// The table ends as it should. If not, what came after its damage is not here.
    pub whole: bool,
}

impl Machine {
    /// Reads a table and the entry point that came with it.
    ///
    /// # Errors
    /// The entry point is none, or the table is shorter than it says or larger than is read.
    pub fn read(entry: &[u8], table: &[u8]) -> Result<Self, Error> {
        let entry = EntryPoint::read(entry)?;
        let length = usize::try_from(entry.length).unwrap_or(usize::MAX);
        if length > MAX_TABLE {
            return Err(Error::TooLarge);
        }
        // An entry point of 64 bits says how long the table may be, not how long it is.
        let table = match entry.count {
            Some(_) => table.get(..length).ok_or(Error::NoTable)?,
            None => table.get(..length).unwrap_or(table),
        };
        let mut machine = Machine { version: entry.version, ..Machine::default() };
        for structure in structures(table) {
            machine.take(&structure);
        }
        Ok(machine)
    }

    /// Reads a file with both: the entry point first, and the table where it says.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_dump(dump: &[u8]) -> Result<Self, Error> {
        let entry = EntryPoint::read(dump)?;
        let table = usize::try_from(entry.address).ok().and_then(|from| dump.get(from..));
        Machine::read(dump, table.ok_or(Error::NoTable)?)
    }

    fn take(&mut self, s: &Structure<'_>) {
        match s.kind {
            0 => {
                self.firmware.get_or_insert_with(|| Firmware {
                    vendor: s.string(4),
                    version: s.string(5),
                    date: s.string(8),
                });
            }
            1 => {
                self.system.get_or_insert_with(|| System {
                    manufacturer: s.string(4),
                    product: s.string(5),
                    version: s.string(6),
                    serial: s.string(7),
                    uuid: s.bytes(8).and_then(uuid),
                    sku: s.string(0x19),
                });
            }
            2 => self.boards.push(Baseboard {
                manufacturer: s.string(4),
                product: s.string(5),
                version: s.string(6),
                serial: s.string(7),
                asset_tag: s.string(8),
            }),
            3 => self.chassis.push(Chassis {
                manufacturer: s.string(4),
                kind: s.byte(5).unwrap_or_default() & 0x7f,
                version: s.string(6),
                serial: s.string(7),
                asset_tag: s.string(8),
            }),
            4 => self.processors.push(processor(s)),
            9 => self.slots.push(Slot {
                designation: s.string(4),
                in_use: match s.byte(7) {
                    Some(3) => Some(false),
                    Some(4) => Some(true),
                    _ => None,
                },
                address: address(s, 0x0d),
            }),
            // The memory of the system, not of a video card or of the firmware.
            16 if s.byte(5) == Some(3) => {
                let kib = match s.double(7) {
                    Some(0x8000_0000) => s.bytes(0x0f).map(|bytes| u64::from_le_bytes(*bytes) / 1_024),
                    kib => kib.map(u64::from),
                };
                if let Some(kib) = kib {
                    self.memory_max_kib = Some(self.memory_max_kib.unwrap_or(0).saturating_add(kib));
                }
            }
            17 => self.memory.push(memory(s)),
            11 => {
                let room = OEM_STRINGS_MAX.saturating_sub(self.oem_strings.len());
                let count = s.byte(4).unwrap_or_default();
                let said = (1..=count).filter_map(|number| s.numbered(number));
                self.oem_strings.extend(said.take(room));
            }
            41 => self.devices.push(Device {
                designation: s.string(4),
                kind: s.byte(5).and_then(|kind| device_kind(kind & 0x7f)),
                enabled: s.byte(5).is_some_and(|kind| kind & 0x80 != 0),
                instance: s.byte(6).unwrap_or_default(),
                address: address(s, 7),
            }),
            127 => self.whole = true,
            _ => {}
        }
    }
}

/// Section 7.2.1: the first three parts have their low byte first. All zeros or all ones are none.
fn uuid(bytes: &[u8; 16]) -> Option<[u8; 16]> {
    if bytes.iter().all(|byte| *byte == 0) || bytes.iter().all(|byte| *byte == 0xff) {
        return None;
    }
    let [a, b, c, d, e, f, g, h, rest @ ..] = *bytes;
    let mut uuid = [d, c, b, a, f, e, h, g, 0, 0, 0, 0, 0, 0, 0, 0];
    if let Some(tail) = uuid.last_chunk_mut() {
        *tail = rest;
    }
    Some(uuid)
}

/// Segment, bus, device and function; all ones are none.
fn address(s: &Structure<'_>, at: usize) -> Option<(u16, u8, u8)> {
    let address = (s.word(at)?, s.byte(at + 2)?, s.byte(at + 3)?);
    (address != (0xffff, 0xff, 0xff)).then_some(address)
}

/// A count of one byte, which says by 0xff to look at two bytes further on; zero is not known.
fn count(s: &Structure<'_>, at: usize, wide: usize) -> Option<u16> {
    let count = match s.byte(at)? {
        0xff => s.word(wide).unwrap_or(0xff),
        count => count.into(),
    };
    (count != 0).then_some(count)
}

fn known(word: Option<u16>) -> Option<u16> {
    word.filter(|word| *word != 0 && *word != 0xffff)
}

fn processor(s: &Structure<'_>) -> Processor {
    // 0xfe says to look at two bytes further on.
    let family = match s.byte(6) {
        Some(0xfe) => s.word(0x28),
        family => family.map(u16::from),
    };
    Processor {
        socket: s.string(4),
        present: s.byte(0x18).is_some_and(|status| status & 0x40 != 0),
        manufacturer: s.string(7),
        version: s.string(0x10),
        serial: s.string(0x20),
        part: s.string(0x22),
        asset_tag: s.string(0x21),
        cores: count(s, 0x23, 0x2a),
        cores_enabled: count(s, 0x24, 0x2c),
        threads: count(s, 0x25, 0x2e),
        max_mhz: known(s.word(0x14)),
        architecture: family.and_then(architecture),
        // Section 7.5.9, bit 2.
        is_64_bit: s.word(0x26).is_some_and(|flags| flags & 4 != 0),
    }
}

fn memory(s: &Structure<'_>) -> Memory {
    let size_mib = match s.word(0x0c) {
        Some(0x7fff) => s.double(0x1c).map(|mib| u64::from(mib & 0x7fff_ffff)),
        None | Some(0xffff) => None,
        Some(kib) if kib & 0x8000 != 0 => Some(u64::from(kib & 0x7fff) / 1_024),
        Some(mib) => Some(mib.into()),
    };
    Memory {
        locator: s.string(0x10),
        bank: s.string(0x11),
        present: s.word(0x0c) != Some(0),
        size_mib: size_mib.filter(|_| s.word(0x0c) != Some(0)),
        kind: s.byte(0x12).and_then(memory_kind),
        speed: known(s.word(0x15)),
        configured_speed: known(s.word(0x20)),
        manufacturer: s.string(0x17),
        serial: s.string(0x18),
        part: s.string(0x1a),
        asset_tag: s.string(0x19),
    }
}

/// Section 7.18.2, table 78: those that machines with a BMC have.
fn memory_kind(kind: u8) -> Option<&'static str> {
    Some(match kind {
        0x12 => "DDR",
        0x13 => "DDR2",
        0x18 => "DDR3",
        0x1a => "DDR4",
        0x1b => "LPDDR",
        0x1c => "LPDDR2",
        0x1d => "LPDDR3",
        0x1e => "LPDDR4",
        0x1f => "Logical non-volatile device",
        0x20 => "HBM",
        0x21 => "HBM2",
        0x22 => "DDR5",
        0x23 => "LPDDR5",
        0x24 => "HBM3",
        _ => return None,
    })
}

/// Section 7.42.2, table 116.
fn device_kind(kind: u8) -> Option<&'static str> {
    Some(match kind {
        0x03 => "Video",
        0x04 => "SCSI controller",
        0x05 => "Ethernet",
        0x07 => "Sound",
        0x08 => "PATA controller",
        0x09 => "SATA controller",
        0x0a => "SAS controller",
        0x0b => "Wireless LAN",
        0x0c => "Bluetooth",
        0x0d => "WWAN",
        0x0e => "eMMC",
        0x0f => "NVMe controller",
        0x10 => "UFS controller",
        _ => return None,
    })
}
