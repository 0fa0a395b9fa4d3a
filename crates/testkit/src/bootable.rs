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
