//! Platform Event Message (§29.3) and Add SEL Entry (§31.6): what a client tells is an event of the log, in words, with its record of the SEL.

use ipmi::{Completion, sel};
use schema::v1alpha1::EventSeverity;

/// Versions of the message's format: of IPMI 1.5 and later, and of 1.0.
const FORMATS: [u8; 2] = [0x04, 0x03];
/// Class of events of thresholds (table 42-1).
const THRESHOLD: u8 = 0x01;

/// Bytes of a message, its generator not counted.
const MESSAGE: usize = 7;

/// How serious it is, what it says, and its record. One by the system interface names its generator before all else, one from the network does not, and is of
/// whoever sent it (§29.3); ipmitool does so only where it knows its interface for one, so the shorter message is taken of the machine as well.
pub(crate) fn read(
    data: &[u8],
    is_by_machine: bool,
    sender: [u8; 2],
) -> Result<(EventSeverity, String, [u8; sel::LENGTH]), Completion> {
    let (generator, message) = match (is_by_machine, data) {
        (true, [generator, message @ ..]) if message.len() == MESSAGE => ([*generator, 0], message),
        (_, message) => (sender, message),
    };
    let &[format, kind, number, class, first, second, third] = message else {
        return Err(Completion::LENGTH);
    };
    if !FORMATS.contains(&format) {
        return Err(Completion::INVALID_FIELD);
    }
    let [generator, channel] = generator;
    let record =
        [0, 0, 0x02, 0, 0, 0, 0, generator, channel, format, kind, number, class, first, second, third];
    let (severity, text) = told((kind, number, class), [first, second, third]);
    Ok((severity, text, record))
}

/// What a record says that a client adds.
pub(crate) fn added(record: &[u8; sel::LENGTH]) -> (EventSeverity, String) {
    match *record {
        [_, _, 0x02, _, _, _, _, _, _, _, kind, number, class, data @ ..] => {
            told((kind, number, class), data)
        }
        [_, _, kind, rest @ ..] => {
            let bytes: Vec<String> = rest.iter().map(|byte| format!("{byte:02X}")).collect();
            (
                EventSeverity::Info,
                format!("told over IPMI: a record of type {kind:02X}h: {}", bytes.join(" ")),
            )
        }
    }
}

fn told((kind, number, class): (u8, u8, u8), [first, second, third]: [u8; 3]) -> (EventSeverity, String) {
    let (has_ended, class) = (class & 0x80 != 0, class & 0x7f);
    let severity = match first & 0x0f {
        _ if has_ended || class != THRESHOLD => EventSeverity::Info,
        // Below and above the non-critical ones (table 42-2).
        0 | 1 | 6 | 7 => EventSeverity::Warning,
        2..=11 => EventSeverity::Critical,
        _ => EventSeverity::Info,
    };
    let how = if has_ended { "ended" } else { "began" };
    let text = format!(
        "told over IPMI: an event of sensor {number} of type {kind:02X}h {how}: class {class:02X}h, data {first:02X}h {second:02X}h {third:02X}h"
    );
    (severity, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_what_it_is_of_and_how_serious_it_is() {
        // As ipmitool calls itself, over the LAN; and as the machine's own software is called.
        const REMOTE: [u8; 2] = [0x81, 0x10];
        const MACHINE: [u8; 2] = crate::host::GENERATOR;
        let read = |data: &[u8], is_by_machine: bool| {
            super::read(data, is_by_machine, if is_by_machine { MACHINE } else { REMOTE })
        };
        for (data, severity) in [
            // As `ipmitool event 1` and 2 send it.
            (&[0x04, 0x01, 0x30, 0x01, 0x59, 0x00, 0x00][..], EventSeverity::Critical),
            (&[0x04, 0x02, 0x60, 0x01, 0x52, 0x00, 0x00], EventSeverity::Critical),
            (&[0x04, 0x01, 0x30, 0x01, 0x57, 0x00, 0x00], EventSeverity::Warning),
            (&[0x04, 0x01, 0x30, 0x81, 0x59, 0x00, 0x00], EventSeverity::Info),
            (&[0x04, 0x0c, 0x53, 0x6f, 0x00, 0x00, 0x00], EventSeverity::Info),
        ] {
            assert_eq!(read(data, false).unwrap().0, severity, "{data:02x?}");
            // Of the machine's firmware.
            let by_machine = [&[0x31], data].concat();
            assert_eq!(read(&by_machine, true).unwrap().2[7..9], [0x31, 0]);
            assert_eq!(read(&by_machine, false), Err(Completion::LENGTH));
            assert_eq!(read(data, true).unwrap().2[7..9], [0x41, 0]);
            assert_eq!(read(data, false).unwrap().2[7..9], [0x81, 0x10]);
        }
        let (_, text, record) = read(&[0x04, 0x01, 0x30, 0x81, 0x59, 0x10, 0x20], false).unwrap();
        assert!(text.ends_with("sensor 48 of type 01h ended: class 01h, data 59h 10h 20h"), "{text}");
        assert_eq!(record[7..], [0x81, 0x10, 4, 1, 0x30, 0x81, 0x59, 0x10, 0x20]);
        assert_eq!(added(&record), (EventSeverity::Info, text));
        let (_, text) = added(&[0, 0, 0xc0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert!(text.ends_with("type C0h: 00 00 00 00 01 02 03 04 05 06 07 08 09"), "{text}");
        assert_eq!(read(&[0x05, 1, 1, 1, 1, 1, 1], false), Err(Completion::INVALID_FIELD));
        assert_eq!(read(&[0x04; 6], false), Err(Completion::LENGTH));
        assert_eq!(read(&[0x04; 6], true), Err(Completion::LENGTH));
        assert_eq!(read(&[0x04; 9], true), Err(Completion::LENGTH));
    }
}
