//! What no command takes, by a table of all of them, from the bytes that come to the bytes that go: of a session of the network, and of the machine by a device of
//! the kernel, restricted and not.

use std::os::unix::net::UnixDatagram;

use ipmi::testing::{self, Client};
use ipmi::{Reply, Row, Server, SessionInfo, Suite, pef};

use super::*;
use crate::host::{self, Asked, Came, Host, Interface};

/// Requests that are right but for one field, and how they end; none where there is no field, or every value is one.
enum Beyond {
    /// It takes no data.
    NoData,
    /// Its fields may be anything, and why.
    Anything(&'static str),
    Refused(Vec<(Vec<u8>, u8)>),
}

use Beyond::{Anything, NoData, Refused};

const FIELD: u8 = Completion::INVALID_FIELD.0;
const RANGE: u8 = Completion::RANGE.0;
const LENGTH: u8 = Completion::LENGTH.0;
const ABSENT: u8 = Completion::NOT_PRESENT.0;
const STATE: u8 = Completion::STATE.0;
const UNSUPPORTED: u8 = Completion::PARAMETER_NOT_SUPPORTED.0;
const READ_ONLY: u8 = 0x82;
/// Sensors and parts of the bench, and its records: one for the controller, then those.
const SENSORS: u8 = 4;
const RECORDS: u8 = 6;

/// Refusals of one field: a request for each value.
fn each(
    values: impl IntoIterator<Item = u8>,
    code: u8,
    request: impl Fn(u8) -> Vec<u8>,
) -> Vec<(Vec<u8>, u8)> {
    values.into_iter().map(|value| (request(value), code)).collect()
}

fn all_but(few: &[u8]) -> impl Iterator<Item = u8> {
    (0..=255).filter(move |value| !few.contains(value))
}

/// Each other channel, with what is behind it.
fn channels(rest: &[u8]) -> Vec<(Vec<u8>, u8)> {
    each((0..16).filter(|one| ![CHANNEL, 0x0e].contains(one)), FIELD, |channel| [&[channel], rest].concat())
}

/// Each number of a sensor that there is none with.
fn sensors(rest: &[u8]) -> Vec<(Vec<u8>, u8)> {
    each(SENSORS..=255, ABSENT, |number| [&[number], rest].concat())
}

/// Which commands of the firewall's are asked for: other channels, halves, logical units and functions.
fn firewall(rest: &[u8]) -> Vec<(Vec<u8>, u8)> {
    let is_there = |function| Command::ROWS.iter().any(|row| row.group.function() == function);
    let functions = (0..0x3f).step_by(2).filter(|function| !is_there(*function));
    [
        channels(&[&[0x06, 0], rest].concat()),
        each([0x86, 0xc6], FIELD, |function| [&[CHANNEL, function, 0], rest].concat()),
        // Messages are for logical unit 2, and commands for the others.
        each([2], FIELD, |lun| [&[CHANNEL, 0x06, lun], rest].concat()),
        each(functions, FIELD, |function| [&[CHANNEL, function, 0], rest].concat()),
    ]
    .concat()
}

/// The same for parts of a command.
fn parts_of_commands() -> Vec<(Vec<u8>, u8)> {
    [firewall(&[1]), each([0x00, 0xfe], ABSENT, |number| vec![CHANNEL, 0x06, 0, number])].concat()
}

/// What lies beyond the range of each field of a command; `sdr` and `sel` are reservations that hold.
#[allow(clippy::too_many_lines, reason = "a row for each command")]
fn beyond(command: Command, sdr: [u8; 2], sel: [u8; 2]) -> Beyond {
    let (words, count) =
        (|value: u32| value.to_le_bytes().to_vec(), |count: usize| u8::try_from(count).unwrap());
    let set_in_progress = |selector: u8| (vec![selector, 3], FIELD);
    let record = |held: [u8; 2], id: u8, rest: &[u8]| [&held[..], &[id, 0], rest].concat();
    let pieces = || {
        [each(7..=255, RANGE, |offset| vec![offset, 1]), each(17..=255, RANGE, |count| vec![0, count])]
            .concat()
    };
    let written = || {
        [
            each(7..=255, RANGE, |offset| vec![offset, 1, b'a']),
            each(all_but(&[1]), LENGTH, |count| vec![0, count, b'a']),
            each(0x80..=0xff, FIELD, |byte| vec![0, 1, byte]),
        ]
        .concat()
    };
    let entities = || {
        [
            each(all_but(&[1]), FIELD, |kind| vec![kind, 0x40, 0, 1]),
            each(all_but(&[0x40, 0x41, 0x42, 3, 7, 55]), FIELD, |entity| vec![1, entity, 0, 1]),
        ]
        .concat()
    };
    Refused(match command {
        Command::GetChassisCapabilities
        | Command::GetChassisStatus
        | Command::GetSystemRestartCause
        | Command::GetPohCounter
        | Command::GetPefCapabilities
        | Command::GetLastProcessed
        | Command::GetDeviceId
        | Command::ColdReset
        | Command::WarmReset
        | Command::GetSelfTestResults
        | Command::GetDeviceGuid
        | Command::ResetWatchdog
        | Command::GetWatchdog
        | Command::GetGlobalEnables
        | Command::GetSystemGuid
        | Command::GetSdrInfo
        | Command::ReserveSdr
        | Command::GetSdrTime
        | Command::GetSelInfo
        | Command::ReserveSel
        | Command::GetSelTime
        | Command::GetSelTimeOffset
        | Command::GetAcpiPowerState
        | Command::GetSelAllocation
        | Command::ReserveDeviceSdr => return NoData,
        Command::ChassisIdentify => {
            return Anything("each number of seconds is one, and one bit of the second byte counts");
        }
        Command::GetDeviceSdrInfo => return Anything("one bit of the operation counts"),
        Command::AddSelEntry => return Anything("a record of any type is kept as it is"),
        Command::GetPowerLimit => return Anything("both bytes are reserved, and not looked at"),
        Command::ChassisControl => each(6..=15, FIELD, |wanted| vec![wanted]),
        Command::SetChassisCapabilities => [
            each(1..=255, FIELD, |flags| vec![flags, 0x20, 0x20, 0x20, 0x20]),
            each(all_but(&[0x20]), FIELD, |device| vec![0, device, 0x20, 0x20, 0x20]),
            each(all_but(&[0x20]), FIELD, |bridge| vec![0, 0x20, 0x20, 0x20, 0x20, bridge]),
        ]
        .concat(),
        Command::SetAcpiPowerState => [
            each((0x8b..=0x9f).chain(0xa2..=0xa9).chain(0xab..=0xfe), FIELD, |system| vec![system, 0]),
            each((0x84..=0xa9).chain(0xab..=0xfe), FIELD, |device| vec![0, device]),
        ]
        .concat(),
        Command::SetPowerRestorePolicy => each(4..=7, FIELD, |policy| vec![policy]),
        Command::SetSystemBootOptions => [
            each(0x80..=0xff, FIELD, |selector| vec![selector, 1]),
            each((8..=0x7f).chain([2]), UNSUPPORTED, |selector| vec![selector, 1]),
            vec![set_in_progress(0)],
            each((0..5).map(|bit| 1 << bit), FIELD, |first| vec![5, 0x80 | first, 4, 0, 0, 0]),
            each([0x01, 0x02, 0x40, 0x80], FIELD, |second| vec![5, 0x80, second, 0, 0, 0]),
            each([3, 7, 9, 10, 11, 12, 13, 14], FIELD, |device| vec![5, 0x80, device << 2, 0, 0, 0]),
            each(1..=255, FIELD, |third| vec![5, 0x80, 4, third, 0, 0]),
            each(1..=255, FIELD, |fourth| vec![5, 0x80, 4, 0, fourth, 0]),
            each(1..=255, FIELD, |fifth| vec![5, 0x80, 4, 0, 0, fifth]),
            each(5..=255, RANGE, |block| vec![7, block, 1]),
        ]
        .concat(),
        Command::GetSystemBootOptions => [
            each((8..=0x7f).chain([2]), UNSUPPORTED, |selector| vec![selector, 0, 0]),
            each(5..=255, RANGE, |block| vec![7, block, 0]),
        ]
        .concat(),
        Command::PlatformEvent => {
            each(all_but(&[3, 4]), FIELD, |format| vec![format, 1, 0x30, 1, 0x59, 0, 0])
        }
        Command::ArmPefTimer => each(1..=0xfe, FIELD, |seconds| vec![seconds]),
        Command::SetPefParameters => [
            vec![set_in_progress(0)],
            each(0x10..=0xff, FIELD, |control| vec![1, control]),
            each((0..=255).filter(|bits| bits & !pef::ALERT != 0), FIELD, |actions| vec![2, actions]),
            each(1..=255, FIELD, |delay| vec![3, delay]),
            each(1..=255, FIELD, |delay| vec![4, delay]),
            each([0, count(pef::FILTERS) + 1, 0x7f], RANGE, |set| {
                [&[6, set][..], &[0; pef::FILTER]].concat()
            }),
            each((0..=255).filter(|bits| bits & !pef::ALERT != 0), FIELD, |action| {
                [&[6, 1, 0x80, action][..], &[0; pef::FILTER - 2]].concat()
            }),
            each([0, count(pef::FILTERS) + 1, 0x7f], RANGE, |set| vec![7, set, 0]),
            each([0, count(pef::POLICIES) + 1, 0x7f], RANGE, |set| vec![9, set, 0, 0, 0]),
            // A policy that is on, with a channel, a destination and a text that there are none of.
            each([0x01, 0x21, 0xf1, 0x10, 0x15, 0x1f], FIELD, |place| vec![9, 1, 0x18, place, 0]),
            each([1, 0x7f, 0x81], FIELD, |text| vec![9, 1, 0x18, 0x11, text]),
            each([5, 8, 10, 11], READ_ONLY, |selector| vec![selector, 0]),
            each(12..=255, UNSUPPORTED, |selector| vec![selector, 0]),
        ]
        .concat(),
        Command::GetPefParameters => [
            each([0, count(pef::FILTERS) + 1, 0x7f], RANGE, |set| vec![6, set, 0]),
            each([0, count(pef::FILTERS) + 1, 0x7f], RANGE, |set| vec![7, set, 0]),
            each([0, count(pef::POLICIES) + 1, 0x7f], RANGE, |set| vec![9, set, 0]),
            each(12..=0x7f, UNSUPPORTED, |selector| vec![selector, 0, 0]),
        ]
        .concat(),
        Command::SetLastProcessed => each((1..=255).step_by(2), FIELD, |which| vec![which, 1, 0]),
        Command::AlertImmediate => [
            channels(&[0x01, 0]),
            each([0xc0, 0xc1], FIELD, |wanted| vec![CHANNEL, wanted, 0]),
            // None has an address.
            each(0..=15, RANGE, |destination| vec![CHANNEL, destination, 0]),
        ]
        .concat(),
        Command::GetSensorFactors => sensors(&[0]),
        Command::SetSensorHysteresis => {
            [sensors(&[0xff, 1, 1]), vec![(vec![0, 0xff, 5, 4], FIELD), (vec![0, 0xff, 0xff, 0xff], FIELD)]]
                .concat()
        }
        Command::GetSensorHysteresis => sensors(&[0xff]),
        // The sensor has upper thresholds of two levels.
        Command::SetSensorThresholds => {
            let others = (1..=255).filter(|mask| mask & !0x18 != 0);
            [sensors(&[0; 7]), each(others, FIELD, |mask| vec![0, mask, 0, 0, 0, 1, 1, 0])].concat()
        }
        Command::GetSensorThresholds
        | Command::GetSensorEventEnable
        | Command::GetSensorEventStatus
        | Command::GetSensorReading
        | Command::GetSensorType => sensors(&[]),
        Command::SetSensorEventEnable => [
            sensors(&[0xc0]),
            each((0..=255).filter(|flags| flags & 0xc0 != 0xc0), FIELD, |flags| vec![0, flags]),
            each(0xf0..=0xff, FIELD, |flags| vec![0, flags]),
            // Events that there are none of, and one that is to be off.
            each([0x01, 0x40], FIELD, |low| vec![0, 0xd0, low, 0, 0, 0]),
            vec![(vec![0, 0xe0, 0x80, 0x02, 0, 0], FIELD)],
        ]
        .concat(),
        Command::GetNetFnSupport | Command::GetChannelInfo | Command::GetPayloadSupport => channels(&[]),
        Command::GetCommandSupport | Command::GetConfigurableCommands | Command::GetCommandEnables => {
            firewall(&[])
        }
        Command::GetSubFunctionSupport
        | Command::GetConfigurableSubFunctions
        | Command::GetSubFunctionEnables => parts_of_commands(),
        Command::SetCommandEnables => {
            // All of the group stays on but what opens sessions.
            let mut mask = [0xff; 16];
            mask[0x3b / 8] = 0xff ^ 1 << (0x3b % 8);
            // They are switched for all units by the first.
            let units = each([1, 3], FIELD, |lun| [&[CHANNEL, 0x04, lun][..], &[0xff; 16]].concat());
            let sessions = vec![([&[CHANNEL, 0x06, 0][..], &mask].concat(), FIELD)];
            [firewall(&[0xff; 16]), units, sessions].concat()
        }
        Command::SetWatchdog => [
            each([0, 6, 7], FIELD, |timer_use| vec![timer_use, 1, 0, 0, 9, 0]),
            each(4..=7, FIELD, |timeout| vec![4, timeout, 0, 0, 9, 0]),
            each([1, 3, 4, 5, 6, 7], FIELD, |interrupt| vec![4, interrupt << 4 | 1, 0, 0, 9, 0]),
            each(1..=255, FIELD, |pretimeout| vec![4, 0x21, pretimeout, 0, 9, 0]),
        ]
        .concat(),
        // Bits that the machine has no use for, and the SEL, which stays on.
        Command::SetGlobalEnables => {
            each((0..=255).filter(|bits| bits & 0xf0 != 0 || bits & 0x08 == 0), FIELD, |bits| vec![bits])
        }
        Command::GetChannelAuthCapabilities => {
            [channels(&[4]), each((5..16).chain([0]), FIELD, |level| vec![CHANNEL, level])].concat()
        }
        Command::SetSessionPrivilege => each((5..16).chain([1]), 0x80, |level| vec![level]),
        Command::CloseSession => vec![
            (words(9), 0x87),
            ([words(0), vec![99]].concat(), 0x88),
            (words(0), LENGTH),
            ([words(9), vec![1]].concat(), LENGTH),
        ],
        Command::GetSessionInfo => vec![
            (vec![0xfe, 99], ABSENT),
            ([vec![0xff], words(9)].concat(), ABSENT),
            (vec![0xfe], LENGTH),
            (vec![0xff, 1], LENGTH),
            (vec![0, 1], LENGTH),
        ],
        Command::SetChannelAccess => [
            channels(&[0, 0]),
            each((0..0x40).filter(|access| access & 7 != 2), 0x83, |access| vec![CHANNEL, 0x40 | access, 0]),
            each((0..0x40).filter(|access| access & 7 == 2 && *access != 2), FIELD, |access| {
                vec![CHANNEL, 0x40 | access, 0]
            }),
            each(0xc0..=0xff, FIELD, |access| vec![CHANNEL, access, 0]),
            each((0..16).filter(|limit| *limit != 4), FIELD, |limit| vec![CHANNEL, 0, 0x40 | limit]),
            each(0xc0..=0xff, FIELD, |limit| vec![CHANNEL, 0, limit]),
        ]
        .concat(),
        Command::GetChannelAccess => {
            [channels(&[0x40]), each((0..0x40).chain(0xc0..=0xff), FIELD, |which| vec![CHANNEL, which])]
                .concat()
        }
        Command::SetUserAccess => [
            channels(&[3, 4]),
            each([0x81, 0xa1, 0xc1, 0x8e], FIELD, |channel| vec![channel, 60, 4]),
            each([0, 59, 60, 63], FIELD, |user| vec![CHANNEL, user, 4]),
            each((5..15).chain([0, 1]), FIELD, |limit| vec![CHANNEL, 3, limit]),
        ]
        .concat(),
        Command::GetUserAccess => {
            [channels(&[3]), each([0x00, 0x40, 0x80, 0xc0], FIELD, |user| vec![CHANNEL, user])].concat()
        }
        Command::SetUserName => [
            each([0, 1], FIELD, |user| [&[user][..], b"somebody", &[0; 8]].concat()),
            each(0x80..=0xff, FIELD, |byte| [&[3, byte][..], &[0; 15]].concat()),
        ]
        .concat(),
        Command::GetUserName => each([0x00, 0x40, 0x80, 0xc0], FIELD, |user| vec![user]),
        Command::SetUserPassword => [
            each([0, 60, 63], FIELD, |user| vec![user, 1]),
            each([2, 3], LENGTH, |operation| vec![3, operation]),
            each([2, 3], LENGTH, |operation| [&[0x83, operation][..], &[b'a'; 16]].concat()),
            each([2, 3], LENGTH, |operation| [&[3, operation][..], &[b'a'; 20]].concat()),
            each(0x80..=0xff, FIELD, |byte| [&[3, 2, byte][..], &[0; 15]].concat()),
        ]
        .concat(),
        Command::ActivatePayload => [
            each((0..0x40).filter(|kind| *kind != 1), FIELD, |kind| vec![kind, 1, 0xc0, 0, 0, 0]),
            each((0..16).filter(|instance| *instance != 1), FIELD, |instance| {
                vec![1, instance, 0xc0, 0, 0, 0]
            }),
            each([0x00, 0x40, 0x80, 0x3f], 0x84, |protection| vec![1, 1, protection, 0, 0, 0]),
        ]
        .concat(),
        Command::DeactivatePayload => [
            each((0..0x40).filter(|kind| *kind != 1), FIELD, |kind| vec![kind, 1, 0, 0, 0, 0]),
            each((0..16).filter(|instance| *instance != 1), FIELD, |instance| vec![1, instance, 0, 0, 0, 0]),
        ]
        .concat(),
        Command::GetPayloadStatus => each((0..0x40).filter(|kind| *kind != 1), FIELD, |kind| vec![kind]),
        Command::GetPayloadInstance => [
            each((0..0x40).filter(|kind| *kind != 1), FIELD, |kind| vec![kind, 1]),
            each((0..16).filter(|instance| *instance != 1), FIELD, |instance| vec![1, instance]),
        ]
        .concat(),
        Command::SetUserPayloadAccess => [
            channels(&[3, 2, 0, 0, 0]),
            each([0, 60], FIELD, |user| vec![CHANNEL, user, 2, 0, 0, 0]),
            each([0x83, 0xc3], FIELD, |user| vec![CHANNEL, user, 2, 0, 0, 0]),
            each((0..=255).filter(|bits| bits & !2 != 0), FIELD, |bits| vec![CHANNEL, 3, bits, 0, 0, 0]),
            each(1..=255, FIELD, |second| vec![CHANNEL, 3, 2, second, 0, 0]),
            each(1..=255, FIELD, |third| vec![CHANNEL, 3, 2, 0, third, 0]),
            each(1..=255, FIELD, |fourth| vec![CHANNEL, 3, 2, 0, 0, fourth]),
        ]
        .concat(),
        Command::GetUserPayloadAccess => {
            [channels(&[3]), each([0x00, 0x40, 0x80, 0xc0], FIELD, |user| vec![CHANNEL, user])].concat()
        }
        Command::GetPayloadVersion => {
            let others = (0..0x40).filter(|kind| ![0, 1].contains(kind) && !(0x10..=0x15).contains(kind));
            [channels(&[1]), each(others, UNSUPPORTED, |kind| vec![CHANNEL, kind])].concat()
        }
        Command::GetChannelCipherSuites => {
            [channels(&[0, 0x80]), each(2..0x40, FIELD, |kind| vec![CHANNEL, kind, 0x80])].concat()
        }
        Command::SetSystemInfo => [
            vec![set_in_progress(0)],
            each(8..=255, UNSUPPORTED, |selector| vec![selector, 0, 0, 1, b'a']),
            each(1..=255, RANGE, |set| vec![2, set, 0, 1, b'a']),
            each(3..=15, FIELD, |encoding| vec![2, 0, encoding, 1, b'a']),
            // More than the block has, and no block follows one that is not full.
            each(2..=255, LENGTH, |length| vec![2, 0, 0, length, b'a']),
        ]
        .concat(),
        Command::GetSystemInfo => [
            each(8..=255, UNSUPPORTED, |selector| vec![0, selector, 0, 0]),
            each(1..=255, RANGE, |set| vec![0, 2, set, 0]),
            each(1..=255, FIELD, |block| vec![0, 2, 0, block]),
        ]
        .concat(),
        Command::GetFruArea => each(1..=255, ABSENT, |device| vec![device]),
        Command::ReadFru => [
            each(1..=255, ABSENT, |device| vec![device, 0, 0, 1]),
            each(1..=255, RANGE, |high| vec![0, 0xff, high, 1]),
        ]
        .concat(),
        Command::WriteFru => [
            each(1..=255, ABSENT, |device| vec![device, 0, 0, 1]),
            each(1..=255, RANGE, |high| vec![0, 0xff, high, 1]),
        ]
        .concat(),
        Command::GetSdr | Command::GetDeviceSdr => [
            each(RECORDS + 1..=255, ABSENT, |id| record(sdr, id, &[0, 0xff])),
            each(65..=255, RANGE, |offset| record(sdr, 1, &[offset, 1])),
        ]
        .concat(),
        Command::GetSelEntry => [
            each([2, 3, 5, 10, 255], ABSENT, |id| record(sel, id, &[0, 0xff])),
            each(17..=255, RANGE, |offset| record(sel, 1, &[offset, 1])),
        ]
        .concat(),
        Command::DeleteSelEntry => each([2, 3, 5, 10, 255], ABSENT, |id| record(sel, id, &[])),
        Command::ClearSel => [
            each((0..=255).filter(|wanted| ![0, 0xaa].contains(wanted)), FIELD, |wanted| {
                [&sel[..], b"CLR", &[wanted]].concat()
            }),
            each(all_but(b"C"), FIELD, |letter| [&sel[..], &[letter], b"LR\xaa"].concat()),
            each(all_but(b"L"), FIELD, |letter| [&sel[..], &[b'C', letter], b"R\xaa"].concat()),
            each(all_but(b"R"), FIELD, |letter| [&sel[..], &[b'C', b'L', letter], b"\xaa"].concat()),
        ]
        .concat(),
        Command::SetSelTime => [NOW - 3, NOW + 3, 0, u32::MAX].map(|time| (words(time), STATE)).to_vec(),
        Command::SetSelTimeOffset => {
            [1_u16, 60, 0x07fe, 0x0800, 0xffff].map(|offset| (offset.to_le_bytes().to_vec(), STATE)).to_vec()
        }
        Command::SetLanParameters => [
            channels(&[18, 1, 0, 1, 1]),
            vec![(vec![CHANNEL, 0, 3], FIELD)],
            each([1, 2, 7, 8, 10, 11, 17, 22, 23, 24, 50, 51], READ_ONLY, |selector| {
                vec![CHANNEL, selector, 0x15, 0x15]
            }),
            // What netmgr tells is as it is.
            each([3, 4, 5, 6, 12, 14, 20, 21, 55, 73], READ_ONLY, |selector| {
                vec![CHANNEL, selector, 0x15, 0x15, 0x15, 0x15]
            }),
            each([56, 59, 74], READ_ONLY, |selector| vec![CHANNEL, selector, 0, 0x15]),
            each([56, 59, 74], RANGE, |selector| vec![CHANNEL, selector, 9, 0x15]),
            each([9, 13, 15, 26, 49, 52, 54, 57, 75, 102, 192, 255], UNSUPPORTED, |selector| {
                vec![CHANNEL, selector, 1]
            }),
            each((0..0x20).chain([0x7f, 0x80, 0xff]).filter(|byte| *byte != 0), FIELD, |byte| {
                [&[CHANNEL, 16, byte][..], &[0; 17]].concat()
            }),
            each(5..=15, RANGE, |set| vec![CHANNEL, 18, set, 0, 1, 1]),
            each(1..=255, FIELD, |kind| vec![CHANNEL, 18, 1, kind, 1, 1]),
            each(8..=255, FIELD, |retries| vec![CHANNEL, 18, 1, 0, 1, retries]),
            each(5..=15, RANGE, |set| vec![CHANNEL, 25, set, 0, 0, 0]),
            each(0x10..=0xff, FIELD, |format| vec![CHANNEL, 25, 1, format, 0, 0]),
            each(5..=15, RANGE, |set| [&[CHANNEL, 19, set][..], &[0; 12]].concat()),
            each(1..=255, FIELD, |format| [&[CHANNEL, 19, 1, format][..], &[0; 11]].concat()),
        ]
        .concat(),
        Command::GetLanParameters => [
            channels(&[3, 0, 0]),
            each([9, 13, 15, 26, 49, 52, 54, 57, 75, 102, 192, 255], UNSUPPORTED, |selector| {
                vec![CHANNEL, selector, 0, 0]
            }),
            each(5..=255, RANGE, |set| vec![CHANNEL, 18, set, 0]),
            each(5..=255, RANGE, |set| vec![CHANNEL, 19, set, 0]),
            each(5..=255, RANGE, |set| vec![CHANNEL, 25, set, 0]),
            each(1..=255, RANGE, |set| vec![CHANNEL, 56, set, 0]),
            each(1..=255, RANGE, |set| vec![CHANNEL, 59, set, 0]),
            each(1..=255, RANGE, |set| vec![CHANNEL, 74, set, 0]),
        ]
        .concat(),
        Command::SetSolParameters => [
            channels(&[1, 1]),
            each([3], FIELD, |progress| vec![CHANNEL, 0, progress]),
            each((0..16).filter(|level| ![3, 4].contains(level)), FIELD, |level| {
                vec![CHANNEL, 2, 0xc0 | level]
            }),
            each([0x03, 0x43, 0x83], FIELD, |unprotected| vec![CHANNEL, 2, unprotected]),
            vec![(vec![CHANNEL, 3, 0, 1], RANGE), (vec![CHANNEL, 3, 1, 0], RANGE)],
            each(5..=8, READ_ONLY, |selector| vec![CHANNEL, selector, 1]),
            each(9..=255, UNSUPPORTED, |selector| vec![CHANNEL, selector, 1]),
        ]
        .concat(),
        Command::GetSolParameters => {
            [channels(&[1, 0, 0]), each(9..=255, UNSUPPORTED, |selector| vec![CHANNEL, selector, 0, 0])]
                .concat()
        }
        Command::GetDcmiCapabilities => each((6..=255).chain([0]), RANGE, |parameter| vec![parameter]),
        Command::GetPowerReading => each(all_but(&[1]), FIELD, |mode| vec![mode, 0, 0]),
        Command::SetPowerLimit => [
            each(0x12..=0xff, FIELD, |action| vec![0, 0, 0, action, 44, 1, 0xe8, 3, 0, 0, 0, 0, 1, 0]),
            each([0x00, 0x01, 0x11], 0x84, |action| vec![0, 0, 0, action, 44, 1, 0xe8, 3, 0, 0, 0, 0, 1, 0]),
        ]
        .concat(),
        Command::ActivatePowerLimit => {
            [each([1], STATE, |wanted| vec![wanted, 0, 0]), each(2..=255, FIELD, |wanted| vec![wanted, 0, 0])]
                .concat()
        }
        Command::GetAssetTag | Command::GetControllerId => pieces(),
        Command::SetAssetTag | Command::SetControllerId => written(),
        Command::GetDcmiSensors | Command::GetTemperatures => entities(),
        Command::SetDcmiParameters => [
            each(all_but(&[2]), UNSUPPORTED, |selector| vec![selector, 0, 0]),
            each(1..=255, FIELD, |option| vec![2, 0, option]),
        ]
        .concat(),
        Command::GetDcmiParameters => each(all_but(&[2]), UNSUPPORTED, |selector| vec![selector, 0]),
    })
}

/// What a refused request would have changed.
fn state(bench: &Bench) -> String {
    let Bench { memory, sol, boot, sel, watchdog, written, .. } = bench;
    format!("{memory:?} {sol:?} {boot:?} {:?} {:?} {written:?}", sel.hidden, watchdog.saved())
}

/// An administrator's session over the network.
struct Network {
    bench: Bench,
    server: Server,
    client: Client,
}

impl Network {
    fn new() -> Self {
        let mut bench = Bench::new();
        bench.renew();
        let mut server = testing::server(false, 15);
        let client = testing::logged_in(&mut server, testing::address(1, 1000), Suite::Sha256);
        let mut network = Self { bench, server, client };
        assert_eq!(network.ask(0x06, 0x3b, &[4]), [0, 4]);
        network
    }

    /// The completion code and what is behind it.
    fn ask(&mut self, function: u8, command: u8, data: &[u8]) -> Vec<u8> {
        // Nothing is the same request as the one before.
        self.bench.mono += units::Millis::from_secs(4);
        let now = self.bench.mono;
        let bench = &mut self.bench;
        // The session is as young as it was.
        self.server.confirm(now, |_, _| true, &mut Vec::new());
        self.client
            .ask(&mut self.server, now, (function, command, data), &mut |request| bench.comes_to(&request))
    }
}

/// The machine, by a device of the kernel.
struct Machine {
    bench: Bench,
    host: Host,
    far: UnixDatagram,
}

impl Machine {
    fn new(interface: Interface) -> Self {
        let mut bench = Bench::new();
        bench.renew();
        let (host, far) = host::with_device(interface, false);
        Self { bench, host, far }
    }

    async fn ask(&mut self, function: u8, command: u8, data: &[u8]) -> Vec<u8> {
        self.far.send(&[&[function << 2, command], data].concat()).unwrap();
        let (way, Came::Requests(found)) = self.host.next().await else { panic!("no request") };
        for asked in found {
            if let Asked::Command(id, row, data) = self.host.ask(way, asked) {
                let session = SessionInfo { id: host::SESSION, ..self.bench.asker() };
                let (command, generator) = (row.command, host::GENERATOR);
                let request = Request { id, session, command, lun: 0, generator, data };
                let reply: Reply = self.bench.comes_to(&request);
                assert!(self.host.replied(id, &reply));
            }
        }
        let mut answer = [0; 1024];
        let count = self.far.recv(&mut answer).unwrap();
        assert_eq!(answer[..2], [(function | 1) << 2, command]);
        answer[2..count].to_vec()
    }
}

/// A request's data with the group's byte.
fn whole(row: &Row, data: &[u8]) -> Vec<u8> {
    row.group.prefix().into_iter().chain(data.iter().copied()).collect()
}

/// How a request of the machine ends that ends so by the network.
fn by_machine(row: &Row, data: &[u8], is_restricted: bool, code: u8) -> u8 {
    const OWN: [Command; 2] = [Command::SetGlobalEnables, Command::GetGlobalEnables];
    const OF_SESSIONS: [Command; 5] = [
        Command::ActivatePayload,
        Command::DeactivatePayload,
        Command::SetSessionPrivilege,
        Command::CloseSession,
        Command::GetSessionInfo,
    ];
    match row.command {
        command if OF_SESSIONS.contains(&command) => Completion::INVALID_COMMAND.0,
        command if OWN.contains(&command) => code,
        command if is_restricted && !command.is_for_machine() => Completion::PRIVILEGE.0,
        // How it logs in is of no use to it.
        Command::GetChannelAuthCapabilities | Command::GetChannelCipherSuites if code != LENGTH => {
            Completion::INVALID_COMMAND.0
        }
        // To whom alerts go is no matter of the machine's.
        Command::GetLanParameters if code != LENGTH && matches!(data[1], 18 | 19 | 25) => UNSUPPORTED,
        _ => code,
    }
}

const BOTH: [(Interface, bool); 2] = [(Interface::Restricted, true), (Interface::Full, false)];

#[tokio::test]
async fn what_is_out_of_range_is_refused_and_changes_nothing() {
    let mut network = Network::new();
    let mut machines = BOTH.map(|(interface, is_restricted)| (Machine::new(interface), is_restricted));
    let [sdr, sel] = [0x22, 0x42].map(|command| network.ask(0x0a, command, &[])[1..].try_into().unwrap());
    let mut held = Vec::new();
    for (machine, _) in &mut machines {
        let [first, second] = [0x22, 0x42];
        held.push((machine.ask(0x0a, first, &[]).await, machine.ask(0x0a, second, &[]).await));
    }
    assert!(held.iter().all(|(one, other)| one[1..] == sdr && other[1..] == sel), "the same numbers");
    let before = state(&network.bench);
    let mut count = 0;
    for row in Command::ROWS {
        let (name, function) = (row.name, row.group.function());
        let cases = match beyond(row.command, sdr, sel) {
            NoData => {
                assert_eq!(*row.lengths.end(), 0, "{name} takes something");
                continue;
            }
            Anything(why) => {
                assert!(*row.lengths.end() > 0 && !why.is_empty(), "{name}");
                continue;
            }
            Refused(cases) => cases,
        };
        assert!(!cases.is_empty(), "{name}");
        for (data, code) in cases {
            assert!(row.lengths.contains(&data.len()), "{name}: {data:02x?}");
            let sent = whole(row, &data);
            let shown = || format!("{name}: {data:02x?}");
            assert_eq!(network.ask(function, row.number, &sent)[0], code, "{}", shown());
            assert_eq!(state(&network.bench), before, "{}", shown());
            for (machine, is_restricted) in &mut machines {
                let expected = by_machine(row, &data, *is_restricted, code);
                let answer = machine.ask(function, row.number, &sent).await;
                assert_eq!(answer[0], expected, "{} of the machine, restricted: {is_restricted}", shown());
                assert_eq!(state(&machine.bench), before, "{}", shown());
            }
            count += 1;
        }
    }
    assert!(count > 5000, "{count}");
}

#[tokio::test]
async fn what_was_reserved_by_nobody_or_another_is_told_so() {
    let mut network = Network::new();
    let mut machines = BOTH.map(|(interface, is_restricted)| (Machine::new(interface), is_restricted));
    for (number, rest) in [
        (0x23, &[1, 0, 5, 4][..]),
        (0x43, &[1, 0, 5, 4]),
        (0x46, &[1, 0]),
        (0x47, b"CLR\xaa"),
        (0x47, b"CLR\0"),
    ] {
        let row = Command::of(0x0a, number, &[]).unwrap();
        for wrong in [0_u16, 99, 0xffff] {
            let data = [&wrong.to_le_bytes(), rest].concat();
            assert_eq!(network.ask(0x0a, number, &data), [Completion::RESERVATION.0], "{number:02x}");
            for (machine, is_restricted) in &mut machines {
                let expected = by_machine(row, &data, *is_restricted, Completion::RESERVATION.0);
                assert_eq!(
                    machine.ask(0x0a, number, &data).await,
                    [expected],
                    "{number:02x} {is_restricted}"
                );
            }
        }
    }
    // One that held, until another one reserved.
    let held = network.ask(0x0a, 0x42, &[])[1..].to_vec();
    network.ask(0x0a, 0x42, &[]);
    let lost = [Completion::RESERVATION.0];
    assert_eq!(network.ask(0x0a, 0x46, &[&held[..], &[1, 0]].concat()), lost);
}

#[tokio::test]
async fn the_machine_is_held_to_lengths_and_to_what_it_may_and_what_is_no_command_is_told_so() {
    let mut network = Network::new();
    for (interface, is_restricted) in BOTH {
        let mut machine = Machine::new(interface);
        for row in Command::ROWS {
            let lengths = [row.lengths.start().checked_sub(1), Some(row.lengths.end() + 1)];
            for length in lengths.into_iter().flatten() {
                let data = vec![0; length];
                let expected = by_machine(row, &data, is_restricted, LENGTH);
                let answer = machine.ask(row.group.function(), row.number, &whole(row, &data)).await;
                assert_eq!(answer[0], expected, "{}: {length} bytes, restricted: {is_restricted}", row.name);
            }
        }
    }
    // Each function of requests and each number, without data, so that those of a group are none.
    let mut machine = Machine::new(Interface::Full);
    let own = |function, number| function == 0x06 && matches!(number, 0x30 | 0x31 | 0x33 | 0x35 | 0x36);
    let mut count = 0;
    for function in (0..0x40).step_by(2) {
        for number in 0..=255 {
            if Command::of(function, number, &[]).is_some() {
                continue;
            }
            let unknown = [Completion::INVALID_COMMAND.0];
            assert_eq!(network.ask(function, number, &[]), unknown, "{function:02x} {number:02x}");
            if !own(function, number) {
                assert_eq!(machine.ask(function, number, &[]).await, unknown, "{function:02x} {number:02x}");
            }
            count += 1;
        }
    }
    assert_eq!(count, 32 * 256 - Command::ROWS.iter().filter(|row| row.group.prefix().is_none()).count());
}

#[tokio::test]
async fn each_command_takes_its_privilege_of_a_session() {
    let mut network = Network::new();
    for level in [2, 3] {
        assert_eq!(network.ask(0x06, 0x3b, &[level]), [0, level]);
        for row in Command::ROWS.iter().filter(|row| row.level.is_some_and(|needed| needed as u8 > level)) {
            let data = whole(row, &vec![0; *row.lengths.start()]);
            let answer = network.ask(row.group.function(), row.number, &data);
            assert_eq!(answer[0], Completion::PRIVILEGE.0, "{} at {level}", row.name);
        }
    }
}
