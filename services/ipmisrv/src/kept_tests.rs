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
        (Command::SetLanParameters, &[1, 3, 192, 0, 2, 1][..], Completion(0x82)),
        (Command::SetLanParameters, &[1, 17, 1], Completion(0x82)),
        (Command::SetLanParameters, &[1, 25, 1], Completion(0x80)),
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
    // 00, 04, 06, 0A, 0C; 2C.
    assert_eq!(said[..5], [0x01, 0b0110_1101, 0, 0b0100_0000, 0]);
    let supported = bench.said(Command::GetCommandSupport, &[1, 0x00, 0]).unwrap();
    assert_eq!(supported[..2], [!0xd7, !0x83]);
    let configurable = bench.said(Command::GetConfigurableCommands, &[1, 0x06, 0]).unwrap();
    assert_eq!(configurable[0x38 / 8] & 1, 0, "nobody could log in");
    assert_eq!(configurable[0x24 / 8] >> (0x24 % 8) & 1, 1);
    let enabled = bench.said(Command::GetCommandEnables, &[1, 0x00, 0]).unwrap();
    assert_eq!(enabled[..2], [0xd7, 0x83]);
    sets(&mut bench, Command::SetCommandEnables, &[&[1, 0x00, 0, 0xd3], &enabled[1..]].concat());
    assert_eq!(bench.memory.settings.forbidden(), [Command::ChassisControl]);
    assert_eq!(bench.said(Command::GetCommandEnables, &[1, 0x00, 0]).unwrap()[0], 0xd3);
    bench.refuses(
        Command::SetCommandEnables,
        &[&[1, 0x06, 0][..], &[0; 16]].concat(),
        Completion::INVALID_FIELD,
    );
    bench.refuses(Command::GetCommandSupport, &[1, 0x86, 0], Completion::INVALID_FIELD);
    bench.refuses(Command::GetCommandSupport, &[1, 0x06, 1], Completion::INVALID_FIELD);
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
    for selector in [9, 13, 14, 15, 25, 26, 52, 57, 75, 0xff] {
        assert_eq!(get(CHANNEL, selector), Err(Completion::PARAMETER_NOT_SUPPORTED), "{selector}");
    }
    assert_eq!(get(0x80 | CHANNEL, 77), Ok(vec![0x11]), "the revision alone");
    assert_eq!(get(2, 0), Err(Completion::INVALID_FIELD));
    for wanted in [3, 4, 5, 6, 12, 20, 21, 55, 56, 59, 73, 74] {
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
    assert_eq!(enabled[0], 0xd3);
    sets(&mut bench, Command::SetCommandEnables, &[&[1, 0x00, 0][..], &enabled].concat());
    assert!(bench.memory.settings.forbidden().is_empty(), "as it is");
    let all = [&[1, 0x00, 0, 0xd7][..], &enabled[1..]].concat();
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
