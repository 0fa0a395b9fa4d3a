//! Writes of both sides, each of which may be cut at any byte: who reads then has what was there before, or what was to be there.

use std::convert::Infallible;

use host_mailbox::{Area, Layout, Side};
use proptest::prelude::*;

fn read(eeprom: &[u8], layout: Layout, side: Side, known: Option<&Area>) -> Area {
    let get = |at: u32, length: u32| Ok::<_, Infallible>(eeprom[at as usize..][..length as usize].to_vec());
    Area::read(layout, side, known, get).unwrap()
}

proptest! {
    #[test]
    fn who_reads_has_the_old_or_the_new(
        blank in prop_oneof![Just(0x00_u8), Just(0xff)],
        writes in prop::collection::vec(
            (any::<bool>(), prop::collection::vec(any::<u8>(), 0..80), prop::option::of(0_usize..120)),
            0..24,
        ),
    ) {
        let layout = Layout::new(16 * 1024).unwrap();
        let mut eeprom = vec![blank; 16 * 1024];
        // What each side says, and what the other one has read of it last.
        let mut says = [
            (Side::Controller, Vec::<u8>::new(), None::<Area>),
            (Side::Firmware, Vec::new(), None),
        ];
        for (is_firmware, payload, cut) in writes {
            let (side, old, known) = &mut says[usize::from(is_firmware)];
            let before = read(&eeprom, layout, *side, known.as_ref());
            let write = before.write(layout, *side, payload.clone()).unwrap();
            prop_assert_eq!(write.blank, None, "these are few generations");
            let count = cut.unwrap_or(usize::MAX).min(write.bytes.len());
            eeprom[write.at as usize..][..count].copy_from_slice(&write.bytes[..count]);
            let after = read(&eeprom, layout, *side, known.as_ref());
            let afresh = read(&eeprom, layout, *side, None);
            prop_assert_eq!(after.payload(), afresh.payload());
            if count == write.bytes.len() {
                prop_assert_eq!(&after, &write.area);
            } else {
                prop_assert!(after.payload() == &old[..] || after.payload() == &payload[..]);
            }
            *old = after.payload().to_vec();
            *known = Some(after);
            // The other side's is as it was.
            let (other, said, _) = &says[usize::from(!is_firmware)];
            let others = read(&eeprom, layout, *other, None);
            prop_assert_eq!(others.payload(), &said[..]);
        }
    }
}
