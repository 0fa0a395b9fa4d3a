//! Any bytes as an EEPROM: read or refused; a change keeps the length and damages nothing.
#![no_main]

use fru::{Area, Image, Name, Record};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], bool)| {
    let mut bytes = input.0.to_vec();
    if let (true, Some(header)) = (input.1, bytes.first_chunk_mut::<8>()) {
        header[0] = 1;
        header[7] = 0;
        header[7] = header.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg();
    }
    let Ok(image) = Image::read(&bytes) else { return };
    for record in &image.fru().records {
        let _ = Record::details(record);
    }
    for area in [Area::Chassis, Area::Board, Area::Product] {
        if let Some(field) = image.field(area, Name::SerialNumber) {
            let _ = (field.shown(0), field.shown(36));
        }
        if let Ok(changed) = image.with(area, Name::SerialNumber, "SN0123") {
            assert_eq!(changed.bytes().len(), bytes.len());
            assert!(changed.damaged().is_empty());
        }
    }
});
