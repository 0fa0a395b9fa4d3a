//! Tiny programs that a PC boots: each says on the first serial port where it came from.

/// A program for a PC that has just been started, wherever its firmware has loaded it to: it says on the first serial port where it came from, waits for
/// a key there, and restarts the machine.
#[must_use]
pub fn program(from: &str) -> Vec<u8> {
    const CODE: &[u8] = &[
        0xe8, 0x00, 0x00, // call next
        0x5e, // next: pop si
        0x83, 0xc6, 0x27, // add si, text - next
        0xba, 0xfd, 0x03, // one: mov dx, line status
        0xec, // wait: in al, dx
        0xa8, 0x20, // test al, room to send
        0x74, 0xfb, // jz wait
        0x2e, 0xac, // cs lodsb
        0x84, 0xc0, // test al, al
        0x74, 0x06, // jz said
        0xba, 0xf8, 0x03, // mov dx, data
        0xee, // out dx, al
        0xeb, 0xec, // jmp one
        0xba, 0xfd, 0x03, // said: mov dx, line status
        0xec, // key: in al, dx
        0xa8, 0x01, // test al, something came
        0x74, 0xfb, // jz key
        0xb0, 0xfe, // mov al, pulse reset
        0xe6, 0x64, // out keyboard controller, al
        0xf4, // halt
        0xeb, 0xfd, // jmp halt
    ];
    assert_eq!(CODE.len(), 0x2a, "where the text is");
    let mut bytes = CODE.to_vec();
    bytes.extend_from_slice(format!("booted from {from}.\r\n\0").as_bytes());
    bytes
}

/// A disk with it in its first sector.
#[must_use]
pub fn disk(from: &str) -> Vec<u8> {
    let mut bytes = program(from);
    bytes.resize(510, 0);
    bytes.extend([0x55, 0xaa]);
    bytes.resize(1 << 20, 0);
    bytes
}

/// A CD with it, by El Torito without emulation; its volume is called as `from` is.
#[must_use]
pub fn cd(from: &str) -> Vec<u8> {
    const SECTOR: usize = 2048;
    let mut image = vec![0; SECTOR * 64];
    let mut put = |sector: usize, at: usize, bytes: &[u8]| {
        image[sector * SECTOR + at..][..bytes.len()].copy_from_slice(bytes);
    };
    put(16, 0, b"\x01CD001\x01");
    put(16, 40, format!("{from:32}").get(..32).unwrap_or_default().as_bytes());
    put(17, 0, b"\x00CD001\x01EL TORITO SPECIFICATION");
    put(17, 0x47, &19_u32.to_le_bytes());
    put(18, 0, b"\xffCD001\x01");
    // Validation entry: all its words add up to nothing. Then the default entry: bootable, no emulation, four sectors of 512 bytes, at 20.
    put(19, 0, &[1]);
    put(19, 0x1c, &0_u16.wrapping_sub(0xaa55).wrapping_sub(1).to_le_bytes());
    put(19, 0x1e, &[0x55, 0xaa]);
    put(19, 0x20, &[0x88]);
    put(19, 0x26, &4_u16.to_le_bytes());
    put(19, 0x28, &20_u32.to_le_bytes());
    put(20, 0, &program(from));
    image
}

/// A program for UEFI firmware of a 64-bit PC (PE32+, as of the PE format's specification): it does as that of [`program`]. Whoever else has the serial port,
/// as the firmware's console does, is not called any more once it runs.
#[must_use]
pub fn efi_program(from: &str) -> Vec<u8> {
    const CODE: &[u8] = &[
        0xfa, // cli
        0x48, 0x8d, 0x35, 0x25, 0x00, 0x00, 0x00, // lea rsi, text
        0x66, 0xba, 0xfd, 0x03, // one: mov dx, line status
        0xec, // wait: in al, dx
        0xa8, 0x20, // test al, room to send
        0x74, 0xfb, // jz wait
        0xac, // lodsb
        0x84, 0xc0, // test al, al
        0x74, 0x07, // jz said
        0x66, 0xba, 0xf8, 0x03, // mov dx, data
        0xee, // out dx, al
        0xeb, 0xeb, // jmp one
        0x66, 0xba, 0xfd, 0x03, // said: mov dx, line status
        0xec, // key: in al, dx
        0xa8, 0x01, // test al, something came
        0x74, 0xfb, // jz key
        0xb0, 0xfe, // mov al, pulse reset
        0xe6, 0x64, // out keyboard controller, al
        0xf4, // halt
        0xeb, 0xfd, // jmp halt
    ];
    /// Where a section is in memory is a multiple of this, and in the file of [`FILE`].
    const PAGE: u32 = 0x1000;
    const FILE: u32 = 0x200;
    const LENGTH: usize = FILE as usize;
    assert_eq!(CODE.len(), 0x2d, "where the text is");
    let mut code = CODE.to_vec();
    code.extend_from_slice(format!("booted from {from}.\r\n\0").as_bytes());
    assert!(code.len() <= LENGTH, "one section of one block");
    let virtual_size = code.len().to_le_bytes();
    let mut bytes = vec![0; LENGTH];
    let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
    put(0, b"MZ");
    put(0x3c, &0x40_u32.to_le_bytes());
    // x86-64, one section, an optional header of 240 bytes; executable, for large addresses.
    put(0x40, b"PE\0\0\x64\x86\x01");
    put(0x54, &0xf0_u16.to_le_bytes());
    put(0x56, &0x22_u16.to_le_bytes());
    put(0x58, &0x20b_u16.to_le_bytes());
    // Length, entry and place of the code; the place it is made for; alignments.
    for (at, number) in
        [(4, FILE), (16, PAGE), (20, PAGE), (32, PAGE), (36, FILE), (56, 2 * PAGE), (60, FILE)]
    {
        put(0x58 + at, &number.to_le_bytes());
    }
    // An application of EFI; room for stack and heap, which firmware does not read; 16 tables, all empty.
    put(0x58 + 68, &10_u16.to_le_bytes());
    put(0x58 + 108, &16_u32.to_le_bytes());
    // The section: length and place in memory, length and place in the file; code, to be executed and read.
    put(0x148, b".text");
    put(0x150, &virtual_size[..4]);
    for (at, number) in [(0x154, PAGE), (0x158, FILE), (0x15c, FILE), (0x16c, 0x6000_0020)] {
        put(at, &number.to_le_bytes());
    }
    bytes.append(&mut code);
    bytes.resize(2 * LENGTH, 0);
    bytes
}

/// A disk that UEFI firmware boots it from: a FAT file system (FAT12) with it as the program for media that are taken out (UEFI 2.10, 3.5.1.1).
#[must_use]
pub fn efi_disk(from: &str) -> Vec<u8> {
    const SECTOR: usize = 512;
    /// Sectors of a cluster. Two folders and the program have one each: 2, 3 and 4.
    const CLUSTER: usize = 4;
    /// What says that an entry is of a folder.
    const FOLDER: u8 = 0x10;
    let file = efi_program(from);
    assert!(file.len() <= CLUSTER * SECTOR, "one cluster");
    let length = u32::try_from(file.len()).unwrap_or_default().to_le_bytes();
    let mut image = vec![0; SECTOR * 64];
    let mut put = |at: usize, part: &[u8]| image[at..at + part.len()].copy_from_slice(part);
    // Bytes of a sector, sectors of a cluster, sectors before the table, one table, 16 entries in the root, 64 sectors, a fixed disk, a table of one sector.
    put(0, b"\xeb\x3c\x90u-bmc   ");
    put(11, &[0x00, 0x02, 4, 1, 0, 1, 16, 0, 64, 0, 0xf8, 1, 0]);
    put(SECTOR, &[0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x00]);
    let cluster = |number: usize| SECTOR * (3 + (number - 2) * CLUSTER);
    let mut entry = |at: usize, name: &[u8; 11], attributes: u8, first: u8| {
        put(at, name);
        put(at + 11, &[attributes]);
        put(at + 26, &[first]);
    };
    entry(2 * SECTOR, b"EFI        ", FOLDER, 2);
    for (number, above) in [(2_u8, 0), (3, 2)] {
        entry(cluster(number.into()), b".          ", FOLDER, number);
        entry(cluster(number.into()) + 32, b"..         ", FOLDER, above);
    }
    entry(cluster(2) + 64, b"BOOT       ", FOLDER, 3);
    entry(cluster(3) + 64, b"BOOTX64 EFI", 0x20, 4);
    put(cluster(3) + 64 + 28, &length);
    put(cluster(4), &file);
    image.resize(1 << 20, 0);
    image
}
