//! How far the boot of a machine has come, as its firmware and its operating system tell it by events: System Firmware Progress and OS Boot (table 42-3, sensor
//! types 0Fh and 1Fh).

use crate::sel;

/// Sensor types.
const FIRMWARE: u8 = 0x0f;
const OS_BOOT: u8 = 0x1f;
/// Events of a sensor's own that begin: class 6Fh (table 42-1), without the bit of those that end.
const OWN: u8 = 0x6f;
/// What the second byte of an event's data is, by the two upper bits of the first (table 29-6).
const IS_OEM: u8 = 0b10;
const IS_CODE: u8 = 0b11;

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The first processor is being initialized.
    PrimaryProcessor,
    /// Buses between the parts are.
    Bus,
    /// Memory is.
    Memory,
    /// The other processors are.
    SecondaryProcessors,
    /// Devices of PCI get their resources.
    Pci,
    /// The board is being initialized.
    Board,
    /// Something else is.
    System,
    /// Somebody is in the set-up screens.
    Setup,
    /// The firmware starts an operating system, or lets one go on.
    OsStarts,
    /// An operating system is up.
    OsRuns,
    /// One of the manufacturer's own.
    Oem,
}

/// How far it has come, as a record of the SEL says; `None` for one that says nothing of it.
#[must_use]
pub fn of_record(record: &[u8; sel::LENGTH]) -> Option<Stage> {
    match *record {
        [_, _, 0x02, _, _, _, _, _, _, _, kind, _, class, first, second, _] => {
            of_event(kind, class, [first, second])
        }
        _ => None,
    }
}

/// The same of an event: the type of its sensor, its direction and class in one byte as they are sent, and its first two bytes of data.
#[must_use]
pub fn of_event(kind: u8, class: u8, [first, second]: [u8; 2]) -> Option<Stage> {
    if class != OWN {
        return None;
    }
    let (offset, second_is) = (first & 0x0f, first >> 6);
    match (kind, offset) {
        // It hangs there, or is there. Errors (offset 0) are none of a step.
        (FIRMWARE, 1 | 2) if second_is == IS_CODE => step(second),
        (FIRMWARE, 1 | 2) if second_is == IS_OEM => Some(Stage::Oem),
        // From A:, C:, the network, a diagnostic medium, CD, ROM, or from wherever. What is behind them is of installations.
        (OS_BOOT, 0..=6) => Some(Stage::OsRuns),
        _ => None,
    }
}

/// A step of the firmware by its code; `None` for those that are none of a boot: unspecified, docking stations, and what is reserved.
fn step(code: u8) -> Option<Stage> {
    Some(match code {
        0x01 => Stage::Memory,
        0x03 => Stage::SecondaryProcessors,
        0x05 => Stage::Setup,
        0x07 => Stage::Pci,
        // SM bus.
        0x0b => Stage::Bus,
        // The wake-up vector of an operating system, and its boot.
        0x12 | 0x13 => Stage::OsStarts,
        0x14 => Stage::Board,
        0x19 => Stage::PrimaryProcessor,
        // Disks, the question for a password, USB, option ROMs, video, cache, the controllers of the keyboard and of the system's management, floppies, tests
        // of keyboard and pointer.
        0x02 | 0x04 | 0x06 | 0x08..=0x0a | 0x0c | 0x0d | 0x16..=0x18 => Stage::System,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_of_the_firmware_is_a_stage_or_none() {
        let expected = |code: u8| match code {
            0x01 => Some(Stage::Memory),
            0x03 => Some(Stage::SecondaryProcessors),
            0x05 => Some(Stage::Setup),
            0x07 => Some(Stage::Pci),
            0x0b => Some(Stage::Bus),
            0x12 | 0x13 => Some(Stage::OsStarts),
            0x14 => Some(Stage::Board),
            0x19 => Some(Stage::PrimaryProcessor),
            0x00 | 0x0e..=0x11 | 0x15 | 0x1a.. => None,
            _ => Some(Stage::System),
        };
        for code in 0..=255 {
            // It goes on there, and hangs there.
            for first in [0xc2, 0xc1, 0xf2] {
                assert_eq!(of_event(0x0f, 0x6f, [first, code]), expected(code), "{first:02x} {code:02x}");
            }
            assert_eq!(of_event(0x0f, 0x6f, [0x82, code]), Some(Stage::Oem), "the manufacturer's {code:02x}");
            // An error, one without a code, one with the state before, one that has ended, and another class.
            for (class, first) in [(0x6f, 0xc0), (0x6f, 0x02), (0x6f, 0x42), (0xef, 0xc2), (0x01, 0xc2)] {
                assert_eq!(of_event(0x0f, class, [first, code]), None, "{class:02x} {first:02x} {code:02x}");
            }
            // Another sensor's.
            assert_eq!(of_event(0x10, 0x6f, [0xc2, code]), None);
        }
    }

    #[test]
    fn an_operating_system_that_is_up_says_so_wherever_it_came_from() {
        for offset in 0..=15 {
            let expected = (offset <= 6).then_some(Stage::OsRuns);
            assert_eq!(of_event(0x1f, 0x6f, [offset, 0xff]), expected, "{offset}");
            assert_eq!(of_event(0x1f, 0xef, [offset, 0xff]), None, "{offset}");
        }
    }

    #[test]
    fn a_record_says_what_its_event_says_and_one_of_another_type_nothing() {
        let mut record = [0, 0, 0x02, 0, 0, 0, 0, 0x01, 0, 4, 0x0f, 0x06, 0x6f, 0xc2, 0x13, 0xff];
        assert_eq!(of_record(&record), Some(Stage::OsStarts));
        record[2] = 0xc0;
        assert_eq!(of_record(&record), None);
    }
}
