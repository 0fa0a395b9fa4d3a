//! Any bytes as the two copies of the boot record: what is believed is written back the same, and a slot is always found.
#![no_main]

use boot::{Record, SlotId, Tried};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|copies: (&[u8], &[u8])| {
    let Some(mut record) = Record::newest(copies.0, copies.1) else { return };
    assert_eq!(Record::decode(&record.encode()), Some(record));
    let mut tried = Tried::default();
    let mut seen = Vec::new();
    while let Some(attempt) = record.begin_boot(tried) {
        assert!(!seen.contains(&attempt.slot));
        seen.push(attempt.slot);
        tried.add(attempt.slot);
    }
    assert_eq!(seen.len(), SlotId::ALL.len());
});
