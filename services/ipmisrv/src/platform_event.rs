//! Platform Event Message (§29.3): what a client tells is an event of the log, in words.

use ipmi::Completion;
use schema::v1alpha1::EventSeverity;

/// Bytes of a message from the network; one by the system interface names its generator before them.
const LENGTH: usize = 7;
/// Versions of the message's format: of IPMI 1.5 and later, and of 1.0.
const FORMATS: [u8; 2] = [0x04, 0x03];
/// Class of events of thresholds (table 42-1).
const THRESHOLD: u8 = 0x01;

/// How serious it is, and what it says.
pub(crate) fn read(data: &[u8]) -> Result<(EventSeverity, String), Completion> {
    let message = data.len().checked_sub(LENGTH).and_then(|at| data.get(at..));
    let Some(&[format, kind, number, class, first, second, third]) = message else {
        return Err(Completion::LENGTH);
    };
    if !FORMATS.contains(&format) {
        return Err(Completion::INVALID_FIELD);
    }
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
    Ok((severity, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_what_it_is_of_and_how_serious_it_is() {
        for (data, severity) in [
            // As `ipmitool event 1` and 2 send it.
            (&[0x04, 0x01, 0x30, 0x01, 0x59, 0x00, 0x00][..], EventSeverity::Critical),
            (&[0x04, 0x02, 0x60, 0x01, 0x52, 0x00, 0x00], EventSeverity::Critical),
            (&[0x04, 0x01, 0x30, 0x01, 0x57, 0x00, 0x00], EventSeverity::Warning),
            (&[0x04, 0x01, 0x30, 0x81, 0x59, 0x00, 0x00], EventSeverity::Info),
            (&[0x04, 0x0c, 0x53, 0x6f, 0x00, 0x00, 0x00], EventSeverity::Info),
            (&[0x41, 0x03, 0x01, 0x30, 0x01, 0x59, 0x00, 0x00], EventSeverity::Critical),
        ] {
            assert_eq!(read(data).unwrap().0, severity, "{data:02x?}");
        }
        let (_, text) = read(&[0x04, 0x01, 0x30, 0x81, 0x59, 0x10, 0x20]).unwrap();
        assert!(text.ends_with("sensor 48 of type 01h ended: class 01h, data 59h 10h 20h"), "{text}");
        assert_eq!(read(&[0x05, 1, 1, 1, 1, 1, 1]), Err(Completion::INVALID_FIELD));
        assert_eq!(read(&[0x04; 6]), Err(Completion::LENGTH));
    }
}
