//! What clients set that has no other owner, byte by byte.

use super::*;

/// What is set is kept.
fn sets(bench: &mut Bench, command: Command, data: &[u8]) {
    match bench.ask(command, data) {
        Outcome::Set { settings } => bench.memory.settings = *settings,
        Outcome::Answer(Ok(answer)) if answer.is_empty() => {}
        _ => panic!("{command:?} {data:02x?} sets nothing"),
    }
}

#[test]
fn texts_of_the_system_are_written_block_by_block_and_count_when_they_are_whole() {
    let mut bench = Bench::new();
    let text = b"a name that is longer than a block";
    let length = u8::try_from(text.len()).unwrap();
    let whole = [&[0, length][..], text].concat();
    let blocks: Vec<Vec<u8>> = whole
        .chunks(16)
        .enumerate()
        .map(|(at, block)| [&[2, u8::try_from(at).unwrap()], block].concat())
        .collect();
    let before = bench.said(Command::GetSystemInfo, &[0, 2, 0, 0]);
    for block in &blocks[..2] {
        assert_eq!(bench.said(Command::SetSystemInfo, block), Ok(Vec::new()));
        assert_eq!(bench.said(Command::GetSystemInfo, &[0, 2, 0, 0]), before, "not yet");
    }
    sets(&mut bench, Command::SetSystemInfo, &blocks[2]);
    let mut shown = Vec::new();
    for set in 0..3 {
        let part = bench.said(Command::GetSystemInfo, &[0, 2, set, 0]).unwrap();
        assert_eq!((part[0], part[1], part.len()), (0x11, set, 18));
        shown.extend_from_slice(&part[2..]);
    }
    assert_eq!(shown[..whole.len()], whole);
    for (command, data, code) in [
        (Command::GetSystemInfo, &[0, 2, 3, 0][..], Completion::RANGE),
        (Command::GetSystemInfo, &[0, 8, 0, 0], Completion::PARAMETER_NOT_SUPPORTED),
        (Command::GetSystemInfo, &[0, 2, 0, 1], Completion::INVALID_FIELD),
        (Command::SetSystemBootOptions, &[2], Completion::PARAMETER_NOT_SUPPORTED),
        // There is no such function, another body's group, and a byte too many.
        (Command::GetCommandEnables, &[1, 0x3e, 0], Completion::INVALID_FIELD),
        (Command::GetCommandSupport, &[1, 0x2c, 0, 0x00], Completion::INVALID_FIELD),
        (Command::GetCommandSupport, &[1, 0x06, 0, 0x00], Completion::LENGTH),
        (Command::GetSubFunctionSupport, &[1, 0x2c, 0, 1, 0x03], Completion::INVALID_FIELD),
        (Command::SetSystemInfo, &[2, 1, 1], Completion::RANGE),
        (Command::SetSystemInfo, &[2, 0, 9, 1, 1], Completion::INVALID_FIELD),
        (Command::SetSystemInfo, &[2, 0, 0, 9, 1], Completion::LENGTH),
        (Command::SetSystemInfo, &[9, 0, 0, 1, 1], Completion::PARAMETER_NOT_SUPPORTED),
    ] {
        bench.refuses(command, data, code);
    }
    assert_eq!(bench.said(Command::GetSystemInfo, &[0x80, 2, 0, 0]), Ok(vec![0x11]));
    assert_eq!(bench.said(Command::SetSystemInfo, &[0, 1]), Ok(Vec::new()));
    assert_eq!(bench.said(Command::GetSystemInfo, &[0, 0, 0, 0]), Ok(vec![0x11, 1]));
    bench.session = 8;
    bench.refuses(Command::SetSystemInfo, &[0, 1], Completion(0x81));
    bench.memory.ended(7);
    assert_eq!(bench.said(Command::SetSystemInfo, &[0, 1]), Ok(Vec::new()));
}

#[test]
fn who_is_alerted_of_what_is_read_as_it_was_set() {
    let mut bench = Bench::new();
    let filter: Vec<u8> = [&[0x80, 1, 3][..], &[0xff; 17]].concat();
    for (command, set, get, shown) in [
        (
            Command::SetLanParameters,
            &[1, 16, b'r', b'7', 0][..],
            &[1, 16, 0, 0][..],
            [&[0x11, b'r', b'7'][..], &[0; 16]].concat(),
        ),
        (Command::SetLanParameters, &[1, 18, 2, 0, 3, 1], &[1, 18, 2, 0], vec![0x11, 2, 0, 3, 1]),
        (
            Command::SetLanParameters,
            &[1, 19, 2, 0, 0, 192, 0, 2, 9, 1, 2, 3, 4, 5, 6],
            &[1, 19, 2, 0],
            vec![0x11, 2, 0, 0, 192, 0, 2, 9, 1, 2, 3, 4, 5, 6],
        ),
        (Command::SetPefParameters, &[1, 1], &[1, 0, 0], vec![0x11, 1]),
        (Command::SetPefParameters, &[2, 1], &[2, 0, 0], vec![0x11, 1]),
        (
            Command::SetPefParameters,
            &[&[6, 16], &filter[..]].concat(),
            &[6, 16, 0],
            [&[0x11, 16], &filter[..]].concat(),
        ),
        (Command::SetPefParameters, &[7, 16, 0], &[7, 16, 0], vec![0x11, 16, 0]),
        (Command::SetPefParameters, &[9, 8, 0x38, 0x12, 0], &[9, 8, 0], vec![0x11, 8, 0x38, 0x12, 0]),
    ] {
        sets(&mut bench, command, set);
        let get_by = if command == Command::SetLanParameters {
            Command::GetLanParameters
        } else {
            Command::GetPefParameters
        };
        assert_eq!(bench.said(get_by, get), Ok(shown), "{set:02x?}");
    }
    for (command, data, code) in [
        (Command::SetLanParameters, &[1, 17, 1][..], Completion(0x82)),
        (Command::SetLanParameters, &[1, 25, 1], Completion::LENGTH),
        (Command::SetLanParameters, &[1, 26, 1], Completion(0x80)),
        (Command::SetLanParameters, &[2, 16, 1], Completion::INVALID_FIELD),
        (Command::SetLanParameters, &[1, 16, 7], Completion::INVALID_FIELD),
        (Command::SetLanParameters, &[1, 18, 5, 0, 0, 0], Completion::RANGE),
        (Command::SetLanParameters, &[1, 18, 1, 0x80, 0, 0], Completion::INVALID_FIELD),
        (Command::SetLanParameters, &[1, 19, 1, 0], Completion::LENGTH),
        (Command::SetPefParameters, &[1, 0x10], Completion::INVALID_FIELD),
        (Command::SetPefParameters, &[2, 2], Completion::INVALID_FIELD),
        (Command::SetPefParameters, &[5, 1], Completion(0x82)),
        (Command::SetPefParameters, &[6, 0, 0], Completion::RANGE),
        (Command::SetPefParameters, &[6, 17, 0], Completion::RANGE),
        (Command::SetPefParameters, &[6, 1, 0], Completion::LENGTH),
        (Command::SetPefParameters, &[9, 1, 0x38, 0x16, 0], Completion::INVALID_FIELD),
        (Command::SetPefParameters, &[99, 0], Completion(0x80)),
        (Command::GetPefParameters, &[6, 17, 0], Completion::RANGE),
        (Command::GetPefParameters, &[9, 0, 0], Completion::RANGE),
        (Command::GetPefParameters, &[15, 0, 0], Completion(0x80)),
        (Command::ArmPefTimer, &[5], Completion::INVALID_FIELD),
        (Command::AlertImmediate, &[1, 3, 0], Completion::RANGE),
        (Command::AlertImmediate, &[1, 2, 0, 1], Completion::LENGTH),
    ] {
        bench.refuses(command, data, code);
    }
    let Outcome::Alert { address, record } =
        bench.ask(Command::AlertImmediate, &[1, 2, 0, 0x20, 4, 1, 9, 1, 0x59, 1, 2])
    else {
        panic!("no alert")
    };
    assert_eq!(
        (address.octets(), &record[2..]),
        ([192, 0, 2, 9], &[2, 0, 0, 0, 0, 0x20, 0, 4, 1, 9, 1, 0x59, 1, 2][..])
    );
    assert_eq!(bench.said(Command::AlertImmediate, &[1, 0x42, 0]), Ok(vec![0]));
    assert_eq!(bench.said(Command::GetPefCapabilities, &[]), Ok(vec![0x51, 1, 16]));
    assert_eq!(bench.said(Command::SetLastProcessed, &[0, 9, 0]), Ok(Vec::new()));
    bench.refuses(Command::SetLastProcessed, &[1, 9, 0], Completion::INVALID_FIELD);
    let said = bench.said(Command::GetLastProcessed, &[]).unwrap();
    assert_eq!((said.len(), &said[4..8]), (10, &[9, 0, 9, 0][..]), "the newest is 9, too");
}

#[test]
fn the_firewall_says_what_there_is_and_takes_nothing_that_sessions_need() {
    let mut bench = Bench::new();
    let said = bench.said(Command::GetNetFnSupport, &[1]).unwrap();
    // 00, 04, 06, 0A, 0C; 2C. Of the units 1 and 3, which have sensors as well, 04.
    let sensors = [0b0000_0100, 0, 0, 0];
    assert_eq!(said, [&[0x45, 0b0110_1101, 0, 0b0100_0000, 0][..], &sensors, &[0; 4], &sensors].concat());
    let supported = bench.said(Command::GetCommandSupport, &[1, 0x00, 0]).unwrap();
    assert_eq!(supported[..2], [!0xf7, !0x83]);
    let configurable = bench.said(Command::GetConfigurableCommands, &[1, 0x06, 0]).unwrap();
    assert_eq!(configurable[0x38 / 8] & 1, 0, "nobody could log in");
    assert_eq!(configurable[0x24 / 8] >> (0x24 % 8) & 1, 1);
    let enabled = bench.said(Command::GetCommandEnables, &[1, 0x00, 0]).unwrap();
    assert_eq!(enabled[..2], [0xf7, 0x83]);
    sets(&mut bench, Command::SetCommandEnables, &[&[1, 0x00, 0, 0xf3], &enabled[1..]].concat());
    assert_eq!(bench.memory.settings.forbidden(), [Command::ChassisControl]);
    assert_eq!(bench.said(Command::GetCommandEnables, &[1, 0x00, 0]).unwrap()[0], 0xf3);
    bench.refuses(
        Command::SetCommandEnables,
        &[&[1, 0x06, 0][..], &[0; 16]].concat(),
        Completion::INVALID_FIELD,
    );
    bench.refuses(Command::GetCommandSupport, &[1, 0x86, 0], Completion::INVALID_FIELD);
    bench.refuses(Command::GetCommandSupport, &[1, 0x06, 2], Completion::INVALID_FIELD);
    // What there is of a unit beside the first one is about its sensors, and is switched by the first.
    let of_units =
        |bench: &mut Bench, command, function, lun| bench.said(command, &[1, function, lun]).unwrap();
    assert_eq!(of_units(&mut bench, Command::GetCommandSupport, 0x06, 1), [0xff; 16]);
    let supported = of_units(&mut bench, Command::GetCommandSupport, 0x04, 3);
    assert_eq!(supported[..6], [0xff, 0xff, 0xff, 0xff, 0x00, !0xab]);
    let enabled = of_units(&mut bench, Command::GetCommandEnables, 0x04, 1);
    assert_eq!(enabled[..6], [0, 0, 0, 0, 0xff, 0xab]);
    assert_eq!(of_units(&mut bench, Command::GetConfigurableCommands, 0x04, 1), [0; 16]);
    let data = [&[1, 0x04, 1][..], &enabled].concat();
    bench.refuses(Command::SetCommandEnables, &data, Completion::INVALID_FIELD);
    bench.refuses(Command::GetSubFunctionSupport, &[1, 0x04, 1, 0x10], Completion::NOT_PRESENT);
    assert!(bench.said(Command::GetSubFunctionSupport, &[1, 0x04, 1, 0x2d]).is_ok());
    bench.refuses(Command::GetSubFunctionSupport, &[1, 0x06, 0, 0x7f], Completion::NOT_PRESENT);
    assert_eq!(bench.said(Command::GetSubFunctionEnables, &[1, 0x06, 0, 0x24]), Ok(vec![0; 4]));
}

#[test]
fn lan_parameters_say_what_is_known() {
    let mut bench = Bench::new();
    bench.port = 0x1234;
    let mut get =
        |channel: u8, selector: u8| bench.said(Command::GetLanParameters, &[channel, selector, 0, 0]);
    for (selector, value) in [
        (0, vec![0]),
        (1, vec![0]),
        (2, vec![0; 5]),
        (7, vec![0x40, 0x40, 0]),
        (8, vec![0x34, 0x12]),
        (10, vec![2]),
        (11, vec![0]),
        (17, vec![4]),
        (50, vec![2]),
        (51, vec![2]),
        (22, vec![1]),
        (23, vec![0, 17]),
        (24, vec![0, 4, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        for channel in [CHANNEL, 0x0e] {
            assert_eq!(get(channel, selector), Ok([&[0x11][..], &value].concat()), "{selector}");
        }
    }
    for selector in [9, 13, 15, 26, 52, 57, 75, 0xff] {
        assert_eq!(get(CHANNEL, selector), Err(Completion::PARAMETER_NOT_SUPPORTED), "{selector}");
    }
    assert_eq!(get(0x80 | CHANNEL, 77), Ok(vec![0x11]), "the revision alone");
    assert_eq!(get(2, 0), Err(Completion::INVALID_FIELD));
    for wanted in [3, 4, 5, 6, 12, 14, 20, 21, 55, 56, 59, 73, 74] {
        let asked = bench.ask(Command::GetLanParameters, &[CHANNEL, wanted, 0, 0]);
        assert!(matches!(asked, Outcome::Network { selector, .. } if selector == wanted));
    }
}

#[test]
fn the_community_is_for_administrators_and_destinations_are_not_for_the_machine() {
    let mut bench = Bench::new();
    let community = |bench: &mut Bench| bench.said(Command::GetLanParameters, &[1, 16, 0, 0]).unwrap();
    assert_eq!(community(&mut bench)[1..7], *b"public");
    bench.level = Level::Operator;
    assert_eq!(community(&mut bench), [&[0x11][..], &[0; 18]].concat());
    assert!(bench.said(Command::GetLanParameters, &[1, 19, 1, 0]).is_ok());
    (bench.level, bench.session) = (Level::Administrator, crate::host::SESSION);
    assert_eq!(community(&mut bench), [&[0x11][..], &[0; 18]].concat());
    for selector in [18, 19] {
        bench.refuses(Command::GetLanParameters, &[1, selector, 1, 0], Completion::PARAMETER_NOT_SUPPORTED);
    }
}

#[test]
fn what_the_configuration_forbids_is_shown_so_and_switched_on_by_nobody() {
    let mut bench = Bench::new();
    bench.config.forbidden = vec!["00 02".to_owned()];
    let enabled = bench.said(Command::GetCommandEnables, &[1, 0x00, 0]).unwrap();
    assert_eq!(enabled[0], 0xf3);
    sets(&mut bench, Command::SetCommandEnables, &[&[1, 0x00, 0][..], &enabled].concat());
    assert!(bench.memory.settings.forbidden().is_empty(), "as it is");
    let all = [&[1, 0x00, 0, 0xf7][..], &enabled[1..]].concat();
    bench.refuses(Command::SetCommandEnables, &all, Completion::INVALID_FIELD);
}

#[test]
fn what_a_restart_forgets_is_the_same_on_flash() {
    let mut bench = Bench::new();
    let before = bench.memory.settings.kept();
    sets(&mut bench, Command::SetSystemInfo, &[4, 0, 0, 1, b'x']);
    assert_ne!(bench.memory.settings, before);
    assert_eq!(bench.memory.settings.kept(), before);
    sets(&mut bench, Command::SetSystemInfo, &[2, 0, 0, 1, b'x']);
    assert_ne!(bench.memory.settings.kept(), before);
}

#[test]
fn records_that_say_the_same_are_as_old_as_they_were() {
    let mut bench = Bench::new();
    let info = bench.said(Command::GetSdrInfo, &[]);
    let held = bench.said(Command::ReserveSdr, &[]);
    let mut sensors = sensors();
    for sensor in &mut sensors {
        if let Some(v1::sensor::Reading::AnalogReading(analog)) = &mut sensor.reading
            && let Some(recorded) = &mut analog.min_max_recorded
        {
            recorded.average = Some(250.0);
        }
    }
    bench.describe(&sensors);
    assert_eq!(bench.said(Command::GetSdrInfo, &[]), info);
    assert_eq!(bench.said(Command::ReserveSdr, &[]), held);
    if let Some(v1::sensor::Reading::AnalogReading(analog)) = &mut sensors[0].reading {
        analog.hysteresis = 4.0;
    }
    bench.describe(&sensors);
    assert_ne!(bench.said(Command::GetSdrInfo, &[]), info);
    assert_ne!(bench.said(Command::ReserveSdr, &[]), held);
}

/// Table 23-4: what each LAN parameter comes to that is read, and that is set. What is the network's is asked of netmgr, and set to nothing else.
#[test]
fn each_lan_parameter_is_shown_or_not_and_is_set_or_refused() {
    enum Read {
        /// So many bytes behind the revision.
        Here(usize),
        /// netmgr is asked.
        Network,
        NotThere,
    }
    use Read::{Here, Network, NotThere};
    const READ_ONLY: Completion = Completion(0x82);
    const NONE: Completion = Completion::PARAMETER_NOT_SUPPORTED;
    for (selectors, read, set) in [
        (0..=0, Here(1), Ok(&[1][..])),
        // Authentication of IPMI 1.5: supported, enabled for each privilege.
        (1..=1, Here(1), Err(READ_ONLY)),
        (2..=2, Here(5), Err(READ_ONLY)),
        // Address, source, MAC address, mask.
        (3..=6, Network, Err(READ_ONLY)),
        // What packets are like, and the primary port.
        (7..=7, Here(3), Err(READ_ONLY)),
        (8..=8, Here(2), Err(READ_ONLY)),
        // The secondary port.
        (9..=9, NotThere, Err(NONE)),
        (10..=11, Here(1), Err(READ_ONLY)),
        // The gateway, another one, and their MAC addresses.
        (12..=12, Network, Err(READ_ONLY)),
        (13..=13, NotThere, Err(NONE)),
        (14..=14, Network, Err(READ_ONLY)),
        (15..=15, NotThere, Err(NONE)),
        (16..=16, Here(18), Ok(b"rack7")),
        (17..=17, Here(1), Err(READ_ONLY)),
        (18..=18, Here(4), Ok(&[1, 0, 3, 2])),
        (19..=19, Here(13), Ok(&[1, 0, 0, 192, 0, 2, 9, 0, 0, 0, 0, 0, 0])),
        (20..=21, Network, Err(READ_ONLY)),
        (22..=22, Here(1), Err(READ_ONLY)),
        (23..=23, Here(2), Err(READ_ONLY)),
        (24..=24, Here(9), Err(READ_ONLY)),
        // VLAN of destinations: none.
        (25..=25, Here(4), Ok(&[1, 0, 0, 0])),
        // Threshold of bad passwords, and what nobody has a number for.
        (26..=49, NotThere, Err(NONE)),
        (50..=51, Here(1), Err(READ_ONLY)),
        (52..=54, NotThere, Err(NONE)),
        (55..=56, Network, Err(READ_ONLY)),
        (57..=58, NotThere, Err(NONE)),
        (59..=59, Network, Err(READ_ONLY)),
        (60..=72, NotThere, Err(NONE)),
        (73..=74, Network, Err(READ_ONLY)),
        (75..=255, NotThere, Err(NONE)),
    ] {
        for selector in selectors {
            let mut bench = Bench::new();
            let set_number = if matches!(selector, 18 | 19 | 25) { 1 } else { 0 };
            match (bench.ask(Command::GetLanParameters, &[CHANNEL, selector, set_number, 0]), &read) {
                (Outcome::Answer(Ok(value)), Here(length)) => {
                    assert_eq!(value.len(), 1 + length, "{selector}")
                }
                (Outcome::Network { selector: asked, wanted: None, .. }, Network) => {
                    assert_eq!(asked, selector)
                }
                (Outcome::Answer(Err(code)), NotThere) => assert_eq!(code, NONE, "{selector}"),
                (_, _) => panic!("{selector} is read otherwise"),
            }
            // The revision alone is there for each.
            let revision = bench.said(Command::GetLanParameters, &[CHANNEL | 0x80, selector, 0, 0]);
            assert_eq!(revision, Ok(vec![0x11]), "{selector}");
            let before = bench.memory.settings.clone();
            let value = set.unwrap_or(&[1, 2, 3, 4]);
            let data = [&[CHANNEL, selector], value].concat();
            match set {
                Err(_) if matches!(read, Network) => {
                    let outcome = bench.ask(Command::SetLanParameters, &data);
                    let Outcome::Network { selector: asked, set, wanted: Some(wanted) } = outcome else {
                        panic!("{selector} is set without netmgr");
                    };
                    // Which one of several is meant the first byte says.
                    let which = if matches!(selector, 56 | 59 | 74) { 1 } else { 0 };
                    assert_eq!((asked, set, &wanted[..]), (selector, which, value));
                }
                Err(code) => {
                    bench.refuses(Command::SetLanParameters, &data, code);
                    assert_eq!(bench.memory.settings, before, "{selector}");
                    // To what it is.
                    if let (Here(_), Ok(is)) =
                        (&read, bench.said(Command::GetLanParameters, &[CHANNEL, selector, 0, 0]))
                        && selector != 17
                    {
                        let same = [&[CHANNEL, selector], &is[1..]].concat();
                        assert_eq!(
                            bench.said(Command::SetLanParameters, &same),
                            Ok(Vec::new()),
                            "{selector}"
                        );
                    }
                }
                Ok(_) if selector == 25 => {
                    assert_eq!(bench.said(Command::SetLanParameters, &data), Ok(Vec::new()));
                    for (odd, code) in
                        [(&[9, 0, 0, 0], Completion::RANGE), (&[1, 0x10, 7, 0], Completion::INVALID_FIELD)]
                    {
                        bench.refuses(
                            Command::SetLanParameters,
                            &[&[CHANNEL, selector], &odd[..]].concat(),
                            code,
                        );
                    }
                }
                Ok(_) => {
                    sets(&mut bench, Command::SetLanParameters, &data);
                    let read = [CHANNEL, selector, set_number, 0];
                    let shown = bench.said(Command::GetLanParameters, &read).unwrap();
                    assert_eq!(&shown[1..=value.len()], value, "{selector}");
                    // A byte more than there is, another channel.
                    let long = [&data[..], &[0; 19]].concat();
                    bench.refuses(Command::SetLanParameters, &long[..22], Completion::LENGTH);
                    let other = [&[2], &data[1..]].concat();
                    bench.refuses(Command::SetLanParameters, &other, Completion::INVALID_FIELD);
                }
            }
        }
    }
}

#[test]
fn the_chassis_is_as_it_is() {
    let mut bench = Bench::new();
    let shown = bench.said(Command::GetChassisCapabilities, &[]).unwrap();
    for same in [&shown[..], &[&shown[..], &[0x20]].concat()] {
        assert_eq!(bench.said(Command::SetChassisCapabilities, same), Ok(Vec::new()), "{same:02x?}");
    }
    for at in 0..6 {
        let mut other = [&shown[..], &[0x20]].concat();
        other[at] ^= 2;
        bench.refuses(Command::SetChassisCapabilities, &other, Completion::INVALID_FIELD);
    }
}

#[test]
fn records_of_the_controllers_own_sensors_are_those_of_the_repository() {
    let mut bench = Bench::new();
    let made = bench.said(Command::GetSdrInfo, &[]).unwrap()[5..9].to_vec();
    // Four sensors, and six records: the controller's, theirs, and a part's.
    for (operation, count) in [(&[][..], 4), (&[0], 4), (&[1], 6)] {
        let said = bench.said(Command::GetDeviceSdrInfo, operation);
        assert_eq!(said, Ok([&[count, 0x81], &made[..]].concat()), "{operation:?}");
    }
    let held = bench.said(Command::ReserveDeviceSdr, &[]).unwrap();
    assert_eq!(held, bench.said(Command::ReserveSdr, &[]).unwrap());
    let asked = [&held[..], &[2, 0, 0, 0xff]].concat();
    let record = bench.said(Command::GetDeviceSdr, &asked);
    assert!(record.is_ok());
    assert_eq!(record, bench.said(Command::GetSdr, &asked));
    bench.refuses(Command::GetDeviceSdr, &[&held[..], &[7, 0, 0, 0xff]].concat(), Completion::NOT_PRESENT);
    bench.refuses(Command::GetDeviceSdr, &[0, 0, 2, 0, 1, 5], Completion::RESERVATION);
}

#[test]
fn the_sel_has_room_for_so_many_records() {
    let mut bench = Bench::new();
    // 256 records of 16 bytes, of which 3 are there.
    assert_eq!(bench.said(Command::GetSelAllocation, &[]), Ok(vec![0, 1, 16, 0, 253, 0, 253, 0, 1]));
    bench.sel = Sel::default();
    bench.refuses(Command::GetSelAllocation, &[], Completion::BUSY);
}

#[test]
fn the_machine_says_what_power_it_takes() {
    let mut bench = Bench::new();
    assert_eq!(bench.said(Command::GetAcpiPowerState, &[]), Ok(vec![0x2a, 0x2a]));
    for (set, is) in [
        // S0 and D0; S3 alone; nothing; what is not to be set does not count.
        ([0x80, 0x80], [0x00, 0x00]),
        ([0x83, 0xff], [0x03, 0x00]),
        ([0xff, 0xff], [0x03, 0x00]),
        ([0x00, 0x03], [0x03, 0x00]),
        ([0xa1, 0xaa], [0x21, 0x2a]),
    ] {
        assert_eq!(bench.said(Command::SetAcpiPowerState, &set), Ok(Vec::new()), "{set:02x?}");
        assert_eq!(bench.said(Command::GetAcpiPowerState, &[]), Ok(is.to_vec()), "{set:02x?}");
    }
    for odd in [[0x8b, 0x80], [0x8c, 0x80], [0xa2, 0x80], [0x80, 0x84]] {
        bench.refuses(Command::SetAcpiPowerState, &odd, Completion::INVALID_FIELD);
        assert_eq!(bench.said(Command::GetAcpiPowerState, &[]), Ok(vec![0x21, 0x2a]), "{odd:02x?}");
    }
}
