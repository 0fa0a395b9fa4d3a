//! Any bytes as a device's answers: a finite number, a text or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pmbus::{Coefficients, Format, Register, VoutMode};
use smbus::{Address, Transfer};

fuzz_target!(|input: (u8, u8, bool, [u8; 5], u16, &[u8])| {
    let (command, mode, pec, line, raw, answer) = input;
    let Some(device) = Address::new(0x58) else { return };
    for transfer in [Transfer::read_word(device, command), Transfer::read_block(device, command, mode)] {
        let transfer = if pec { transfer.with_pec() } else { transfer };
        let _ = transfer.finish(answer);
        let _ = transfer.word(answer);
    }
    let line = Coefficients::from_bytes(line);
    for vid in pmbus::Vid::ALL {
        let vout = VoutMode::from_byte(mode).format(Some(vid), Some(line));
        for format in [Some(Format::Linear11), vout].into_iter().flatten() {
            if let Ok(value) = format.decode(raw) {
                assert!(value.is_finite());
                let _ = format.encode(value);
            }
        }
    }
    for register in Register::ALL {
        assert!(register.conditions(raw).count() <= 16);
    }
});
