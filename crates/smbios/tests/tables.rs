//! Tables made by hand, what is read in them, and what another program reads.
//!
//! DSP0134 has tables of offsets and no worked structures but those of the UUID (7.2.1) and of sizes of memory (7.18.5): the bytes here stand at its offsets, and
//! dmidecode, which was written by others, says where it is installed whether they mean what is read in them.

#![allow(clippy::print_stdout, reason = "a skipped test says so")]

use std::process::Command;

use proptest::prelude::*;
use smbios::{Architecture, Builder, EntryPoint, Error, Machine, structures};

/// A structure's body of a length, with bytes at offsets of the specification.
fn body(length: usize, values: &[(usize, &[u8])]) -> Vec<u8> {
    let mut body = vec![0; length - 4];
    for (at, bytes) in values {
        body[at - 4..at - 4 + bytes.len()].copy_from_slice(bytes);
    }
    body
}

const UUID: [u8; 16] =
    [0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];

fn table() -> Builder {
    let bios = body(0x18, &[(4, &[1, 2]), (8, &[3])]);
    let system = body(0x1b, &[(4, &[1, 2, 3, 4]), (8, &UUID), (0x18, &[6, 5, 0])]);
    let board = body(0x0f, &[(4, &[1, 2, 3, 4, 5])]);
    let chassis = body(0x15, &[(4, &[1, 0x97, 0, 2, 3])]);
    let processor = body(
        0x30,
        &[
            (4, &[1, 3, 0xb3, 2]),
            (0x10, &[3]),
            (0x14, &3_800u16.to_le_bytes()),
            (0x18, &[0x41]),
            (0x20, &[4, 0, 5, 0xff, 0xff, 0xff]),
            (0x2a, &[0x60, 1, 0x40, 1, 0xc0, 2]),
        ],
    );
    let socket = body(0x30, &[(4, &[1, 3])]);
    let array = body(
        0x17,
        &[(4, &[3, 3, 6]), (7, &0x8000_0000u32.to_le_bytes()), (0x0f, &(1u64 << 42).to_le_bytes())],
    );
    let module = body(
        0x22,
        &[
            (8, &[0x50, 0, 0x40, 0]),
            (0x0c, &0x7fffu16.to_le_bytes()),
            (0x0e, &[9, 0, 1, 2, 0x22]),
            (0x15, &5_600u16.to_le_bytes()),
            (0x17, &[3, 4, 0, 5]),
            (0x1c, &65_536u32.to_le_bytes()),
            (0x20, &4_800u16.to_le_bytes()),
        ],
    );
    let empty = body(0x22, &[(0x0e, &[9, 0, 1, 0, 2]), (0x17, &[2, 2, 0, 2])]);
    let slot = body(0x11, &[(4, &[1, 0xb6, 13, 4]), (0x0d, &[0, 0, 0x81, 0])]);
    let nic = body(0x0b, &[(4, &[1, 0x85, 1, 0, 0, 0x21, 0])]);
    Builder::default()
        .add(0, &bios, &["ACME", "1.2.3", "02/29/2024"])
        .add(1, &system, &["ACME", "Server 1000", "A01", "SN-4711", "SKU-9"])
        .add(2, &board, &["ACME", "Mainboard 2S", "B", "MB0001", "rack 7"])
        .add(3, &chassis, &["ACME", "C0815", "Default string"])
        .add(4, &processor, &["CPU0", "GenuineIntel", "A processor @ 2.0 GHz", "P-1", "PN-1"])
        .add(4, &socket, &["CPU1"])
        .add(16, &array, &[])
        .add(17, &module, &["DIMM A1", "BANK 0", "Memory Corp", "12345678 ", "M-64G"])
        .add(17, &empty, &["DIMM A2", "NO DIMM"])
        .add(9, &slot, &["PCIe 1"])
        .add(41, &nic, &["NIC 0"])
}

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// Sections 7.1 to 7.5, 7.10, 7.17, 7.18 and 7.42: each value at its offset.
#[test]
fn what_a_table_says() {
    let machine = Machine::read_dump(&table().dump()).unwrap();
    assert_eq!(machine.version, (3, 7));
    assert!(machine.whole);
    let firmware = machine.firmware.unwrap();
    assert_eq!((firmware.vendor, firmware.version), (text("ACME"), text("1.2.3")));
    assert_eq!(firmware.date, text("02/29/2024"));
    let system = machine.system.unwrap();
    assert_eq!(
        (system.product, system.serial, system.sku),
        (text("Server 1000"), text("SN-4711"), text("SKU-9"))
    );
    // Section 7.2.1, table 11, in DSP0134 3.2.0 lines 932 and 933: {00112233-4455-6677-8899-AABBCCDDEEFF}.
    let uuid =
        [0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff];
    assert_eq!(system.uuid, Some(uuid));
    assert_eq!(machine.boards[0].asset_tag, text("rack 7"));
    assert_eq!((machine.chassis[0].kind, machine.chassis[0].serial.clone()), (0x17, text("C0815")));
    assert_eq!(machine.chassis[0].asset_tag, None, "not filled in");

    let [cpu0, cpu1] = &machine.processors[..] else { panic!("two sockets") };
    assert!(cpu0.present && !cpu1.present);
    assert_eq!((cpu0.socket.clone(), cpu0.version.clone()), (text("CPU0"), text("A processor @ 2.0 GHz")));
    assert_eq!((cpu0.cores, cpu0.cores_enabled, cpu0.threads), (Some(352), Some(320), Some(704)));
    assert_eq!((cpu0.max_mhz, cpu0.serial.clone()), (Some(3_800), text("P-1")));
    assert_eq!((cpu0.architecture, cpu0.is_64_bit), (Some(Architecture::X86), false));

    assert_eq!(machine.memory_max_kib, Some(1 << 32));
    let [a1, a2] = &machine.memory[..] else { panic!("two slots") };
    assert!(a1.present && !a2.present);
    assert_eq!((a1.size_mib, a1.kind), (Some(65_536), Some("DDR5")));
    assert_eq!((a1.speed, a1.configured_speed), (Some(5_600), Some(4_800)));
    assert_eq!((a1.serial.clone(), a1.part.clone()), (text("12345678"), text("M-64G")));
    assert_eq!((a2.locator.clone(), a2.size_mib, a2.serial.clone()), (text("DIMM A2"), None, None));

    assert_eq!((machine.slots[0].in_use, machine.slots[0].address), (Some(true), Some((0, 0x81, 0))));
    let nic = &machine.devices[0];
    assert_eq!((nic.kind, nic.enabled, nic.address), (Some("Ethernet"), true, Some((0, 0x21, 0))));
}

/// Section 7.5.2: 0xfe sends to the second field; 7.5.9: 64 bits.
#[test]
fn what_a_processor_runs() {
    let of = |family: u8, second: u16, flags: u16| {
        let words = [flags.to_le_bytes(), second.to_le_bytes()].concat();
        let body = body(0x30, &[(6, &[family]), (0x26, &words)]);
        let processor =
            Machine::read_dump(&Builder::default().add(4, &body, &[]).dump()).unwrap().processors.remove(0);
        (processor.architecture, processor.is_64_bit)
    };
    assert_eq!(of(0xb3, 0, 4), (Some(Architecture::X86), true));
    assert_eq!(of(0x6b, 0, 0xfc), (Some(Architecture::X86), true));
    assert_eq!(of(0xfe, 0x101, 4), (Some(Architecture::Arm), true));
    assert_eq!(of(0xfe, 0x201, 4), (Some(Architecture::RiscV), true));
    for (family, second) in [(1, 0), (2, 0x101), (0xfe, 1), (0, 0), (0xfb, 0)] {
        assert_eq!(of(family, second, 0), (None, false), "{family:#x} {second:#x}");
    }
}

/// Section 7.18.5: sizes below 32 GiB are in the word, in MiB or KiB.
#[test]
fn sizes_of_modules() {
    let of = |word: u16| {
        let dump = Builder::default().add(17, &body(0x1b, &[(0x0c, &word.to_le_bytes())]), &[]).dump();
        let memory = Machine::read_dump(&dump).unwrap().memory.remove(0);
        (memory.present, memory.size_mib)
    };
    assert_eq!(of(0x4000), (true, Some(16_384)));
    assert_eq!(of(0x8000 | 2_048), (true, Some(2)));
    assert_eq!(of(0xffff), (true, None));
    assert_eq!(of(0), (false, None));
}

/// DSP0134 3.4.0, section 7.18.5, the examples: 0000_8000h is 32 GB (32,768 MB), 0002_0000h 128 GB (131,072 MB), 0000_7FFFh 32,767 MB. They count where
/// the word is 7FFFh.
#[test]
fn the_worked_sizes_of_large_modules() {
    let of = |word: u16, wide: u32| {
        let body = body(0x22, &[(0x0c, &word.to_le_bytes()), (0x1c, &wide.to_le_bytes())]);
        let dump = Builder::default().add(17, &body, &[]).dump();
        Machine::read_dump(&dump).unwrap().memory.remove(0).size_mib
    };
    for (wide, mib) in [(0x0000_8000, 32_768), (0x0002_0000, 131_072), (0x0000_7fff, 32_767)] {
        assert_eq!(of(0x7fff, wide), Some(mib));
        assert_eq!(of(0x4000, wide), Some(16_384), "the word says it");
    }
}

/// Section 5.2.1: the entry point of 32 bits, with sums of its own and of its middle part.
#[test]
fn the_old_entry_point() {
    let (_, table) = table().finish(0);
    let mut entry = vec![0u8; 0x1f];
    entry[..4].copy_from_slice(b"_SM_");
    entry[5..8].copy_from_slice(&[0x1f, 2, 8]);
    entry[0x10..0x15].copy_from_slice(b"_DMI_");
    entry[0x16..0x18].copy_from_slice(&u16::try_from(table.len()).unwrap().to_le_bytes());
    entry[0x18..0x1c].copy_from_slice(&0xf_1000u32.to_le_bytes());
    entry[0x1c] = 12;
    entry[0x15] = entry[0x10..].iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
    entry[4] = entry.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte));
    let read = EntryPoint::read(&entry).unwrap();
    assert_eq!((read.version, read.address, read.count), ((2, 8), 0xf_1000, Some(12)));
    assert_eq!(Machine::read(&entry, &table).unwrap().memory.len(), 2);
    assert_eq!(Machine::read(&entry, &table[..50]), Err(Error::NoTable));
    entry[4] ^= 1;
    assert_eq!(EntryPoint::read(&entry), Err(Error::Checksum));
}

#[test]
fn what_is_cut_off_ends_the_table() {
    let (entry, table) = table().finish(32);
    let cut = Machine::read(&entry, &table[..table.len() - 40]).unwrap();
    assert!(!cut.whole);
    assert_eq!(cut.memory.len(), 2);
    assert_eq!(Machine::read_dump(&entry), Err(Error::NoTable));
    assert_eq!(Machine::read(b"_SM3_", &table), Err(Error::NoEntryPoint));
    assert_eq!(Machine::read(&[], &table), Err(Error::NoEntryPoint));
    assert_eq!(structures(&[1, 3, 0, 0, 0, 0]).count(), 0, "shorter than its head");
    let many: Vec<u8> = [126, 4, 0, 0, 0, 0].repeat(10_000);
    assert_eq!(structures(&many).count(), smbios::MAX_STRUCTURES);
}

/// What dmidecode reads in the same bytes.
#[test]
fn another_reads_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dump.bin");
    std::fs::write(&file, table().dump()).unwrap();
    let Ok(output) = Command::new("dmidecode").arg("--from-dump").arg(&file).output() else {
        println!("SKIP: dmidecode is not installed");
        return;
    };
    let said = String::from_utf8_lossy(&output.stdout);
    for line in [
        "UUID: 00112233-4455-6677-8899-aabbccddeeff",
        "SKU Number: SKU-9",
        "Asset Tag: rack 7",
        "Type: Rack Mount Chassis",
        "Socket Designation: CPU0",
        "Core Count: 352",
        "Core Enabled: 320",
        "Thread Count: 704",
        "Max Speed: 3800 MHz",
        "Status: Unpopulated",
        "Maximum Capacity: 4 TB",
        "Size: 64 GB",
        "Type: DDR5",
        "Configured Memory Speed: 4800 MT/s",
        "Size: No Module Installed",
        "Current Usage: In Use",
        "Bus Address: 0000:81:00.0",
        "Reference Designation: NIC 0",
        "Type: Ethernet",
        "Bus Address: 0000:21:00.0",
        "End Of Table",
    ] {
        assert!(said.contains(line), "dmidecode does not say {line:?}: {said}");
    }
}

proptest! {
    /// I-7: a table with bytes changed, or any bytes, is read up to its damage or refused.
    #[test]
    fn no_bytes_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        junk in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let (entry, mut table) = table().finish(32);
        for (at, byte) in changes {
            let at = at.index(table.len());
            table[at] = byte;
        }
        prop_assert!(Machine::read(&entry, &table).is_ok());
        let _ = Machine::read_dump(&junk);
        prop_assert!(structures(&junk).count() <= junk.len() / 6);
    }

    #[test]
    fn strings_come_back(strings in prop::collection::vec("[!-~]{1,40}", 1..9)) {
        let numbers: Vec<u8> = (1..=9).take(strings.len()).collect();
        let strings: Vec<&str> = strings.iter().map(String::as_str).collect();
        let (_, table) = Builder::default().add(200, &numbers, &strings).finish(0);
        let structure = structures(&table).next().unwrap();
        for (at, string) in strings.iter().enumerate() {
            if let Some(read) = structure.string(4 + at) {
                prop_assert_eq!(&read, string);
            }
        }
        prop_assert_eq!(structure.string(4 + strings.len()), None);
    }
}
