//! Any bytes as what a host hands over: an entry point, a table, a file with both.
#![no_main]

use libfuzzer_sys::fuzz_target;
use smbios::{Builder, Machine, structures};

fuzz_target!(|bytes: &[u8]| {
    let _ = Machine::read_dump(bytes);
    let (mut entry, _) = Builder::default().finish(32);
    entry[12..16].copy_from_slice(&u32::try_from(bytes.len()).unwrap().to_le_bytes());
    entry[5] = 0;
    entry[5] = entry.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg();
    let machine = Machine::read(&entry, bytes);
    assert!(machine.is_ok() || bytes.len() > smbios::MAX_TABLE);
    assert!(structures(bytes).count() <= smbios::MAX_STRUCTURES);
});
