//! Any packets of Serial over LAN, between what a host prints: bounded, and answered with what was taken.
#![no_main]

use ipmi::sol::{Link, PACKET_MAX, Settings};
use libfuzzer_sys::fuzz_target;
use units::{Millis, Mono};

fuzz_target!(|steps: Vec<(u16, u16, Vec<u8>, bool)>| {
    let settings = Settings { accumulate: Millis::new(5), threshold: 251, retries: 7, interval: Millis::new(100) };
    let mut link = Link::new(settings);
    let mut now = Mono::ZERO;
    for (passed, room, bytes, is_printed) in steps {
        now = now.saturating_add(Millis::new(passed.into()));
        if is_printed {
            if link.has_room() {
                link.print(now, &bytes);
            }
        } else {
            let typed = link.input(now, &bytes, room.into());
            assert!(typed.characters.len() <= usize::from(room).min(255));
            if let Some(answer) = typed.answer {
                assert!(usize::from(answer[2]) <= 255 && answer.len() == 4 && answer[0] == 0);
            }
        }
        link.set_available(room % 3 != 0);
        if let Some(packet) = link.due(now) {
            assert!(packet.len() > 4 && packet.len() <= usize::from(PACKET_MAX));
            assert!((1..=15).contains(&packet[0]));
        }
    }
});
