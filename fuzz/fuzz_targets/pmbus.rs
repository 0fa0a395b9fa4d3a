//! Any bytes as a device's answers: a finite number, a text or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pmbus::{Coefficients, Command, Device, Format, Numbers, Options, Quantity, Register, Trouble, VoutMode, What};
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
    let numbers = if pec { Numbers::Direct } else { Numbers::Linear };
    let mut asked = Device::new(device, Options { numbers, vid: Some(pmbus::Vid::Vr12), ..Options::default() });
    let mut rest = answer;
    for command in [Command::ReadVout, Command::ReadVin, Command::ReadVout] {
        let wanted = Quantity { what: What::Reading(command), page: pec.then_some(mode) };
        let read = asked.read(wanted, |transfers: &[Transfer]| {
            let one = |_: &Transfer| {
                let (&length, tail) = rest.split_first().ok_or(Trouble::NoAnswer(()))?;
                let (answer, tail) = tail.split_at(tail.len().min(usize::from(length)));
                rest = tail;
                Ok(answer.to_vec())
            };
            transfers.iter().map(one).collect()
        });
        assert!(read.is_err() || read.is_ok_and(f64::is_finite));
    }
});
