//! Any bytes as an EEPROM that a host shares: read or refused, and what is written then is read.
#![no_main]

use std::convert::Infallible;

use host_mailbox::{Area, Controller, Firmware, Layout, ReadError, Side};
use libfuzzer_sys::fuzz_target;

const SIZE: u32 = 16 * 1024;

fuzz_target!(|input: (&[u8], &[u8], &[u8])| {
    let (first, second, payload) = input;
    let layout = Layout::new(SIZE).unwrap();
    let mut eeprom = vec![0xff; SIZE as usize];
    for side in [Side::Controller, Side::Firmware] {
        for (slot, bytes) in [(host_mailbox::Slot::First, first), (host_mailbox::Slot::Second, second)] {
            let (at, room) = layout.slot(side, slot);
            let count = bytes.len().min(room as usize);
            eeprom[at as usize..][..count].copy_from_slice(&bytes[..count]);
        }
        let get =
            |at: u32, length: u32| Ok::<_, Infallible>(eeprom[at as usize..][..length as usize].to_vec());
        let area = match Area::read(layout, side, None, get) {
            Ok(area) => area,
            Err(ReadError::Lost { first, .. }) => Area::after_loss(first),
            Err(ReadError::Medium(never)) => match never {},
        };
        let Ok(write) = area.write(layout, side, payload.to_vec()) else { continue };
        for (at, bytes) in write.steps() {
            eeprom[at as usize..][..bytes.len()].copy_from_slice(bytes);
        }
        let get =
            |at: u32, length: u32| Ok::<_, Infallible>(eeprom[at as usize..][..length as usize].to_vec());
        assert_eq!(Area::read(layout, side, None, get).unwrap().payload(), payload);
    }
    if let Ok(said) = Controller::parse(payload) {
        assert_eq!(Controller::parse(&said.to_payload().unwrap()).unwrap(), said);
    }
    if let Ok((said, _)) = Firmware::parse(payload) {
        assert!(said.report.as_ref().is_none_or(|report| report.check().is_ok()));
        assert_eq!(Firmware::parse(&said.to_payload().unwrap()).unwrap(), (said, None));
    }
});
