//! The server beside a client of our own: what real clients do to it is tested with them.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::packet::checksum;
use crate::testing::{Client, NAME, PASSWORD, address, logged_in, sent, server, step};

#[test]
fn a_login_with_each_suite_ends_in_a_session_that_answers() {
    for suite in [Suite::Sha1, Suite::Sha256] {
        let mut server = server(true, 15);
        let mut client = logged_in(&mut server, address(1, 1000), suite);
        assert_eq!(client.call(&mut server, Mono::ZERO, 6, 0x3b, &[0]), [0, 2], "it begins as a user's");
        assert_eq!(client.call(&mut server, Mono::ZERO, 6, 0x3b, &[4]), [0, 4]);
        assert_eq!(client.call(&mut server, Mono::ZERO, 6, 0x01, &[]), [0]);
        // DCMI's byte goes and comes back.
        assert_eq!(client.call(&mut server, Mono::ZERO, 0x2c, 0x01, &[0xdc, 1]), [0, 0xdc, 1]);
        assert_eq!(client.call(&mut server, Mono::ZERO, 6, 0x3d, &[0])[..7], [0, 1, 15, 1, 2, 4, 0x11]);
        let id = client.session.to_le_bytes();
        assert_eq!(client.call(&mut server, Mono::ZERO, 6, 0x3c, &id), [0]);
        assert_eq!(server.sessions(), 0);
    }
}

#[test]
fn whatever_is_sent_goes_back_the_way_that_was_asked_by() {
    let mut server = server(false, 15);
    let path = Path { peer: address(1, 1000), local: Some([192, 0, 2, 77].into()) };
    let ways = |out: &[Action]| -> Vec<Path> {
        out.iter()
            .filter_map(|action| if let Action::Send(to, _) = action { Some(*to) } else { None })
            .collect()
    };
    let ping = [0x06, 0x00, 0xff, 0x06, 0x00, 0x00, 0x11, 0xbe, 0x80, 0x07, 0x00, 0x00];
    assert_eq!(ways(&step(&mut server, Mono::ZERO, path, &ping)), [path]);
    let mut client = logged_in(&mut server, path, Suite::Sha256);
    let request = client.next(6, 0x01, &[]);
    let out = step(&mut server, Mono::ZERO, path, &request);
    let mut answer = Vec::new();
    let [Action::Request(asked)] = &out[..] else { panic!("{out:?}") };
    assert_eq!(asked.session.from, path);
    server.replied(Mono::ZERO, asked.id, Ok(vec![1]), &mut answer);
    // Nobody asks for what a console shows.
    server.sol(client.session, &[1], &mut answer);
    assert_eq!(ways(&answer), [path, path]);
    let other = Path { local: Some([192, 0, 2, 78].into()), ..path };
    let request = client.next(6, 0x01, &[]);
    assert!(step(&mut server, Mono::ZERO, other, &request).is_empty(), "the session is at another address");
}

/// FreeIPMI counts its tags up with each packet it sends, repeated ones as well.
#[test]
fn a_step_that_comes_once_more_with_another_tag_is_answered_with_that_tag() {
    let tagged = |mut bytes: Vec<u8>, tag: u8| {
        bytes[16] = tag;
        bytes
    };
    let tag = |out: &[Action]| sent(out).iter().map(|bytes| bytes[16]).collect::<Vec<u8>>();
    let mut server = server(false, 15);
    let mut client = Client::new(address(1, 1000), Suite::Sha256);
    let out = step(&mut server, Mono::ZERO, client.from, &client.open());
    client.session = u32::from_le_bytes(sent(&out)[0][24..28].try_into().unwrap());
    let rakp1 = client.rakp1(4, NAME);
    let out = step(&mut server, Mono::ZERO, client.from, &tagged(rakp1.clone(), 10));
    let Some(Action::Challenge(asked)) = out.into_iter().next() else { panic!("no challenge") };
    // Before there is an answer.
    assert!(step(&mut server, Mono::ZERO, client.from, &tagged(rakp1.clone(), 11)).is_empty());
    let mut out = Vec::new();
    server.challenged(asked.id, Some(&client.suite.mac(PASSWORD, &asked.data)), &mut out);
    assert_eq!(tag(&out), [11]);
    let first = sent(&out)[0].to_vec();
    let out = step(&mut server, Mono::ZERO, client.from, &tagged(rakp1, 12));
    assert_eq!(tag(&out), [12]);
    assert_eq!(sent(&out)[0][17..], first[17..], "the same RAKP 2 but for the tag");
    let who = [&[4, u8::try_from(NAME.len()).unwrap()][..], NAME].concat();
    let code = client.suite.mac(PASSWORD, &[&first[24..40], &client.id.to_le_bytes(), &who].concat());
    let rakp3 = client.rakp3(&code);
    let out = step(&mut server, Mono::ZERO, client.from, &tagged(rakp3.clone(), 13));
    let Some(Action::Verify(asked)) = out.into_iter().next() else { panic!("no question") };
    assert!(crypto::is_same(&client.suite.mac(PASSWORD, &asked.data), &asked.code));
    assert!(step(&mut server, Mono::ZERO, client.from, &tagged(rakp3.clone(), 14)).is_empty());
    let key = client.suite.mac(PASSWORD, &asked.session);
    let verdict = Ok(Admitted { key, limit: Level::Administrator, account: "u1".to_owned(), number: 2 });
    let mut out = Vec::new();
    server.verified(Mono::ZERO, asked.id, verdict, &mut out);
    assert_eq!(tag(&out), [14]);
    let first = sent(&out)[0].to_vec();
    let out = step(&mut server, Mono::ZERO, client.from, &tagged(rakp3, 15));
    assert_eq!(tag(&out), [15]);
    assert_eq!(sent(&out)[0][17..], first[17..], "the same RAKP 4 but for the tag");
}

#[test]
fn a_suite_that_is_not_set_and_suite_0_open_nothing() {
    let mut server = server(false, 15);
    let mut old = Client::new(address(1, 1000), Suite::Sha1);
    assert_eq!(old.log_in(&mut server, Mono::ZERO, 4, Level::Administrator, PASSWORD), status::NO_SUITE);
    for (algorithms, what) in [([0, 0, 0], "0"), ([3, 0, 0], "15"), ([3, 4, 0], "16"), ([1, 1, 0], "2")] {
        let mut data = vec![1, 4, 0, 0, 1, 0, 0, 0];
        for (kind, algorithm) in (0..).zip(algorithms) {
            data.extend([kind, 0, 0, 8, algorithm, 0, 0, 0]);
        }
        let out = step(&mut server, Mono::ZERO, address(1, 1), &packet::setup(payload::OPEN, &data));
        assert_eq!(sent(&out)[0][17], status::NO_SUITE, "suite {what}");
    }
}

#[test]
fn who_does_not_prove_the_password_gets_no_session() {
    let mut server = server(false, 15);
    let mut client = Client::new(address(1, 1000), Suite::Sha256);
    let said = client.log_in(&mut server, Mono::ZERO, 4, Level::Administrator, b"wrong");
    assert_eq!((said, server.sessions()), (status::INTEGRITY, 0));
    // No code at all is no code.
    let out = step(&mut server, Mono::ZERO, client.from, &client.rakp3(b""));
    assert_eq!(sent(&out)[0][17], status::SESSION);
}

#[test]
fn more_than_an_account_may_is_refused_after_its_proof() {
    let mut server = server(false, 15);
    let mut client = Client::new(address(1, 1000), Suite::Sha256);
    assert_eq!(client.log_in(&mut server, Mono::ZERO, 4, Level::User, PASSWORD), status::UNAUTHORIZED_ROLE);
    // The highest that matches.
    assert_eq!(client.log_in(&mut server, Mono::ZERO, 0, Level::Operator, PASSWORD), 0);
    assert_eq!(client.call(&mut server, Mono::ZERO, 6, 0x3b, &[4]), [0x81]);
    assert_eq!(client.call(&mut server, Mono::ZERO, 6, 0x3b, &[3]), [0, 3]);
    assert_eq!(client.call(&mut server, Mono::ZERO, 6, 0x3b, &[5]), [0x80]);
}

#[test]
fn open_session_bounds_the_session_as_the_account_does() {
    for (most, role, account, ends) in [
        (2, 0, Level::Administrator, Ok(2)),
        (3, 3, Level::Administrator, Ok(3)),
        (4, 0, Level::Operator, Ok(3)),
        (0, 4, Level::Administrator, Ok(4)),
        // More in RAKP 1 than in Open Session.
        (2, 4, Level::Administrator, Err(status::UNAUTHORIZED_ROLE)),
        // Callback.
        (1, 0, Level::Administrator, Err(status::ROLE)),
    ] {
        let mut server = server(false, 15);
        let mut client = Client::new(address(1, 1000), Suite::Sha256);
        client.most = most;
        let said = client.log_in(&mut server, Mono::ZERO, role, account, PASSWORD);
        let Ok(highest) = ends else {
            assert_eq!(Err(said), ends, "{most} and {role}");
            continue;
        };
        assert_eq!(said, 0, "{most} and {role}");
        for level in 2..=4 {
            let answer = client.call(&mut server, Mono::ZERO, 6, 0x3b, &[level]);
            let fits = if level <= highest { vec![0, level] } else { vec![0x81] };
            assert_eq!(answer, fits, "{most}, {role}, {account:?}: {level}");
        }
    }
}

#[test]
fn what_a_session_may_not_is_told() {
    let mut server = server(false, 15);
    let mut client = logged_in(&mut server, address(1, 1000), Suite::Sha256);
    let bytes = client.next(0x00, 0x02, &[1]);
    let out = step(&mut server, Mono::ZERO, client.from, &bytes);
    let told = out.iter().find_map(|action| match action {
        Action::Refused(session, command) => Some((session.account.as_str(), *command)),
        _ => None,
    });
    assert_eq!(told, Some(("u1", Command::ChassisControl)));
    assert_eq!(client.read(sent(&out)[0]), [Completion::PRIVILEGE.0]);
}

#[test]
fn each_command_is_held_to_its_length_and_privilege() {
    let mut server = server(false, 15);
    let mut client = logged_in(&mut server, address(1, 1000), Suite::Sha256);
    for level in [2, 3, 4] {
        assert_eq!(client.call(&mut server, Mono::ZERO, 6, 0x3b, &[level]), [0, level]);
        for row in Command::ROWS.iter().filter(|row| row.command != Command::CloseSession) {
            let name = row.name;
            let prefix: Vec<u8> = row.group.prefix().into_iter().collect();
            let mut call = |length: usize| {
                let data = [&prefix[..], &vec![0; length]].concat();
                client.call(&mut server, Mono::ZERO, row.group.function(), row.number, &data)[0]
            };
            if row.level.is_some_and(|needed| needed as u8 > level) {
                assert_eq!(call(*row.lengths.start()), Completion::PRIVILEGE.0, "{name} at {level}");
                continue;
            }
            assert_eq!(call(row.lengths.end() + 1), Completion::LENGTH.0, "{name}: too long");
            if let Some(shorter) = row.lengths.start().checked_sub(1) {
                assert_eq!(call(shorter), Completion::LENGTH.0, "{name}: too short");
            }
        }
    }
    for (function, command) in [(0x06, 0xff), (0x30, 0x01), (0x2e, 0x00), (0x2c, 0x01)] {
        assert_eq!(
            client.call(&mut server, Mono::ZERO, function, command, &[]),
            [Completion::INVALID_COMMAND.0]
        );
    }
}

#[test]
fn a_packet_counts_once_and_only_near_the_highest() {
    let mut server = server(false, 15);
    let mut client = logged_in(&mut server, address(1, 1000), Suite::Sha256);
    let request = client.next(6, 0x3b, &[0]);
    assert_eq!(step(&mut server, Mono::ZERO, client.from, &request).len(), 1);
    assert!(step(&mut server, Mono::ZERO, client.from, &request).is_empty(), "replayed");
    let message = client.message(6, 0x3b, &[0]);
    for (sequence, is_taken) in [
        (0, false),
        (17, false),
        (16, true),
        (2, true),
        (2, false),
        (33, false),
        (31, true),
        (14, false),
        (15, true),
    ] {
        let out = step(&mut server, Mono::ZERO, client.from, &client.sealed(sequence, &message));
        assert_eq!(!out.is_empty(), is_taken, "{sequence}");
    }
    // From somewhere else, changed on its way, of no session.
    let good = client.sealed(32, &message);
    assert!(step(&mut server, Mono::ZERO, address(2, 1000), &good).is_empty());
    for at in 4..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(step(&mut server, Mono::ZERO, client.from, &bad).is_empty(), "byte {at}");
    }
    assert!(!step(&mut server, Mono::ZERO, client.from, &good).is_empty(), "none of these counted");
}

#[test]
fn a_request_that_comes_once_more_is_done_once() {
    let mut server = server(false, 15);
    let mut client = logged_in(&mut server, address(1, 1000), Suite::Sha256);
    client.call(&mut server, Mono::ZERO, 6, 0x3b, &[4]);
    let first = client.next(0, 0x02, &[3]);
    let out = step(&mut server, Mono::ZERO, client.from, &first);
    let Some(Action::Request(request)) = out.first() else { panic!("not handed out") };
    assert_eq!((request.command, &request.data[..]), (Command::ChassisControl, &[3][..]));
    let message = client.message(0, 0x02, &[3]);
    client.sequence += 1;
    let again = client.sealed(client.sequence, &message);
    assert!(step(&mut server, Mono::ZERO, client.from, &again).is_empty(), "it is under way");
    let mut out = Vec::new();
    server.replied(Mono::ZERO, request.id, Ok(Vec::new()), &mut out);
    assert_eq!(client.read(sent(&out)[0]), [0]);
    client.sequence += 1;
    let again = client.sealed(client.sequence, &message);
    let out = step(&mut server, Mono::ZERO, client.from, &again);
    assert_eq!(client.read(sent(&out)[0]), [0], "the answer it got");
    // Answered already.
    let mut out = Vec::new();
    server.replied(Mono::ZERO, request.id, Ok(Vec::new()), &mut out);
    assert!(out.is_empty());
}

#[test]
fn a_request_is_known_again_after_others() {
    let mut server = server(false, 15);
    let mut client = logged_in(&mut server, address(1, 1000), Suite::Sha256);
    client.call(&mut server, Mono::ZERO, 6, 0x3b, &[4]);
    let identify = client.message(0, 0x04, &[5]);
    assert_eq!(client.call(&mut server, Mono::ZERO, 0, 0x04, &[5]), [0, 5]);
    let identify = [&identify[..4], &[client.number << 2], &identify[5..]].concat();
    let identify = [&identify[..identify.len() - 1], &[checksum(&identify[3..identify.len() - 1])]].concat();
    let number = client.number;
    for _ in 1..ANSWERED_MAX {
        client.call(&mut server, Mono::ZERO, 6, 0x3b, &[0]);
    }
    client.sequence += 1;
    let again = client.sealed(client.sequence, &identify);
    let out = step(&mut server, Mono::from_millis(2999), client.from, &again);
    client.number = number;
    assert_eq!(client.read(sent(&out)[0]), [0, 5], "not handed out once more");
    client.sequence += 1;
    let again = client.sealed(client.sequence, &identify);
    let out = step(&mut server, Mono::from_millis(3000), client.from, &again);
    assert!(matches!(out[..], [Action::Request(_)]), "too late to be the same");
}

#[test]
fn the_same_wish_with_another_number_is_done_once() {
    let mut server = server(false, 15);
    let mut client = logged_in(&mut server, address(1, 1000), Suite::Sha256);
    client.call(&mut server, Mono::ZERO, 6, 0x3b, &[4]);
    let handed = |out: &[Action]| match out {
        [Action::Request(request)] => Some(request.id),
        _ => None,
    };
    let cycle = client.next(0, 0x02, &[2]);
    let id = handed(&step(&mut server, Mono::ZERO, client.from, &cycle)).unwrap();
    // Under way: the answer is for the latest number.
    let again = client.next(0, 0x02, &[2]);
    assert!(step(&mut server, Mono::ZERO, client.from, &again).is_empty());
    let mut out = Vec::new();
    server.replied(Mono::ZERO, id, Ok(Vec::new()), &mut out);
    assert_eq!(client.read(sent(&out)[0]), [0]);
    // Answered.
    let again = client.next(0, 0x02, &[2]);
    let out = step(&mut server, Mono::from_millis(2999), client.from, &again);
    assert_eq!(client.read(sent(&out)[0]), [0]);
    // Another wish, and the first one after it, are new.
    for wish in [0, 2] {
        let other = client.next(0, 0x02, &[wish]);
        let id = handed(&step(&mut server, Mono::from_millis(2999), client.from, &other)).unwrap();
        server.replied(Mono::from_millis(2999), id, Ok(Vec::new()), &mut Vec::new());
    }
    // One that was refused may be wished again at once; one that may have happened may not.
    for (code, is_new) in [(Completion::BUSY, true), (Completion::TIMEOUT, false)] {
        let wish = client.next(0, 0x02, &[3]);
        let id = handed(&step(&mut server, Mono::from_millis(2999), client.from, &wish)).unwrap();
        server.replied(Mono::from_millis(2999), id, Err(code), &mut Vec::new());
        let again = client.next(0, 0x02, &[3]);
        let out = step(&mut server, Mono::from_millis(2999), client.from, &again);
        assert_eq!(handed(&out).is_some(), is_new, "{code:?}");
        if let Some(id) = handed(&out) {
            server.replied(Mono::from_millis(2999), id, Err(code), &mut Vec::new());
        }
    }
}

#[test]
fn packets_of_serial_over_lan_go_both_ways_and_keep_a_session_alive() {
    let mut server = server(false, 15);
    let mut client = logged_in(&mut server, address(1, 1000), Suite::Sha256);
    let later = Mono::from_millis(50_000);
    let packet = client.sealed_as(payload::SOL, 1, &[1, 0, 0, 0, b'x']);
    let out = step(&mut server, later, client.from, &packet);
    let [Action::Sol(session, came)] = &out[..] else { panic!("{out:?}") };
    assert_eq!(
        (session.id, session.level, &came[..]),
        (client.session, Level::User, &[1, 0, 0, 0, b'x'][..])
    );
    assert!(step(&mut server, later, client.from, &packet).is_empty(), "replayed");
    assert!(step(&mut server, later, address(2, 1000), &client.sealed_as(payload::SOL, 2, &[1])).is_empty());
    let mut out = Vec::new();
    server.sol(client.session, b"\x01\x00\x00\x00text", &mut out);
    let Ok(Packet::Sealed(found)) = Packet::parse(sent(&out)[0]) else { panic!("no packet of a session") };
    let keys = client.keys.as_ref().unwrap();
    let (proved, code) = found.proof(client.suite.code_len()).unwrap();
    assert!(keys.proves(proved, code));
    assert_eq!((found.kind, found.session), (payload::SOL, client.id));
    assert_eq!(keys.decrypt(found.data).unwrap(), b"\x01\x00\x00\x00text");
    out.clear();
    server.tick(Mono::from_millis(100_000), &mut out);
    assert_eq!((server.sessions(), out.len()), (1, 0), "it was used");
    client.sequence = 1;
    assert_eq!(client.call(&mut server, later, 6, 0x3b, &[0]), [0, 2]);
    server.sol(client.session ^ 1, b"\x01\x00\x00\x00text", &mut out);
    assert!(out.is_empty(), "of a session that is over");
}

#[test]
fn a_proof_that_is_found_right_opens_a_session_though_the_time_of_the_login_is_over() {
    let mut server = server(false, 15);
    let mut client = Client::new(address(1, 1000), Suite::Sha256);
    let out = step(&mut server, Mono::ZERO, client.from, &client.open());
    client.session = u32::from_le_bytes(sent(&out)[0][24..28].try_into().unwrap());
    let out = step(&mut server, Mono::ZERO, client.from, &client.rakp1(4, NAME));
    let [Action::Challenge(asked)] = &out[..] else { panic!("{out:?}") };
    server.challenged(asked.id, Some(&[7; 32]), &mut Vec::new());
    let out = step(&mut server, Mono::from_millis(2999), client.from, &client.rakp3(&[0; 32]));
    let [Action::Verify(asked)] = &out[..] else { panic!("{out:?}") };
    // It was asked in time, and who was asked takes two seconds.
    let (late, mut out) = (Mono::from_millis(4999), Vec::new());
    server.tick(late, &mut out);
    let admitted = Admitted {
        key: vec![7; 32].into(),
        limit: Level::Administrator,
        account: "u1".to_owned(),
        number: 2,
    };
    assert!(server.verified(late, asked.id, Ok(admitted), &mut out).is_some());
    assert_eq!((server.sessions(), server.setups.len()), (1, 0));
}

#[test]
fn what_waits_ends_in_its_time() {
    let mut server = server(false, 15);
    let client = logged_in(&mut server, address(1, 1000), Suite::Sha256);
    let half = Client::new(address(2, 1000), Suite::Sha256);
    step(&mut server, Mono::ZERO, half.from, &half.open());
    assert_eq!(server.deadline(), Some(Mono::from_millis(3000)));
    let mut out = Vec::new();
    server.tick(Mono::from_millis(3000), &mut out);
    assert_eq!((server.setups.len(), out.len(), server.sessions()), (0, 0, 1));
    server.tick(Mono::from_millis(59_999), &mut out);
    assert_eq!(server.sessions(), 1);
    server.tick(Mono::from_millis(60_000), &mut out);
    assert_eq!((server.sessions(), server.deadline()), (0, None));
    assert!(matches!(&out[..], [Action::Ended(info, "idle")] if info.id == client.session));
}

#[test]
fn a_session_that_is_used_all_the_time_ends_all_the_same() {
    let mut server = server(false, 15);
    let mut client = logged_in(&mut server, address(1, 1000), Suite::Sha256);
    for second in (0..900).step_by(30) {
        assert_eq!(client.call(&mut server, Mono::from_millis(second * 1000), 6, 0x3b, &[0]), [0, 2]);
    }
    assert_eq!(server.deadline(), Some(Mono::from_millis(900_000)));
    let mut out = Vec::new();
    server.tick(Mono::from_millis(900_000), &mut out);
    assert_eq!((server.sessions(), out.len()), (0, 1));
}

#[test]
fn a_change_of_an_account_ends_its_sessions() {
    let mut server = server(false, 15);
    logged_in(&mut server, address(1, 1000), Suite::Sha256);
    let mut out = Vec::new();
    server.revoke(Some("u2"), &mut out);
    assert_eq!(server.sessions(), 1);
    server.revoke(Some("u1"), &mut out);
    assert_eq!((server.sessions(), out.len()), (0, 1));
}

#[test]
fn strangers_fill_nothing_and_push_nobody_out() {
    let mut server = server(false, 15);
    let mut client = logged_in(&mut server, address(1, 1000), Suite::Sha256);
    // One address that asks for as much as it can, and a thousand that ask for one each.
    let mut answers = 0;
    for port in 1..=500 {
        let mut one = Client::new(address(66, port), Suite::Sha256);
        one.id = u32::from(port);
        answers += sent(&step(&mut server, Mono::ZERO, one.from, &one.open())).len();
    }
    assert_eq!(answers, usize::try_from(ONE_RATE).unwrap());
    assert_eq!(server.setups.len(), SETUPS_OF_ONE);
    for at in 0..1000_u16 {
        let [high, low] = at.to_be_bytes();
        let from = SocketAddr::from(([198, 51, high, low], 623));
        let one = Client::new(from, Suite::Sha256);
        step(&mut server, Mono::ZERO, from, &one.open());
    }
    assert!(server.setups.len() <= SETUPS_MAX && server.rates.len() <= RATES_MAX);
    assert_eq!(
        client.call(&mut server, Mono::ZERO, 6, 0x3b, &[0]),
        [0, 2],
        "who is logged in does not notice"
    );
    // When the flood is over, the next one gets in.
    let mut late = Client::new(address(2, 1000), Suite::Sha256);
    assert_eq!(late.log_in(&mut server, Mono::from_millis(3000), 4, Level::Administrator, PASSWORD), 0);
}

/// Bytes that a server holds beside itself.
fn held(server: &Server) -> usize {
    let setup = |setup: &Setup| match &setup.stage {
        Stage::Opened => 0,
        Stage::Challenging(_, rakp1) => rakp1.name.capacity() + rakp1.whole.capacity(),
        Stage::Challenged(rakp1, code) | Stage::Verifying(_, rakp1, code) => {
            rakp1.name.capacity() + rakp1.whole.capacity() + code.capacity()
        }
    };
    let live = |live: &Live| {
        let answered = live.answered.iter().map(|one| one.data.capacity() + one.answer.capacity());
        let pending = live.pending.iter().map(|one| one.data.capacity());
        live.answered.capacity() * size_of::<Answered>()
            + live.pending.capacity() * size_of::<Pending>()
            + answered.chain(pending).sum::<usize>()
    };
    server.setups.capacity() * size_of::<Setup>()
        + server.setups.iter().map(setup).sum::<usize>()
        + server.live.capacity() * size_of::<Live>()
        + server.live.iter().map(live).sum::<usize>()
        + server.rates.capacity() * size_of::<(IpAddr, Allowance)>()
}

/// From 15,000 addresses, each with each step of a login, and with packets of somebody's session that were heard, cut and changed: while one works on.
#[test]
fn a_flood_of_all_kinds_takes_no_more_memory_than_is_set_and_who_is_logged_in_works_on() {
    let mut server = server(false, 15);
    let mut own = logged_in(&mut server, address(1, 1000), Suite::Sha256);
    let heard = own.next(6, 0x3b, &[0]);
    step(&mut server, Mono::ZERO, own.from, &heard);
    let (mut most, mut asked) = (0, 0);
    for at in 0..15_000_u32 {
        let [_, _, high, low] = at.to_be_bytes();
        // A second and more goes by for each 1,000.
        let now = Mono::from_millis(u64::from(at));
        let from = SocketAddr::from(([198, 18, high, low], 623));
        let mut one = Client::new(from, Suite::Sha256);
        let mut all = Vec::new();
        let out = step(&mut server, now, from, &one.open());
        if let Some(opened) = sent(&out).first().filter(|opened| opened.len() == 52) {
            one.session = u32::from_le_bytes(opened[24..28].try_into().unwrap());
        }
        all.extend(out);
        all.extend(step(&mut server, now, from, &one.rakp1(4, NAME)));
        all.extend(step(&mut server, now, from, &one.rakp3(&[7; 32])));
        for bytes in [&heard[..], &heard[..heard.len() / 2], &[&heard[..20], &[0xff; 900]].concat()] {
            all.extend(step(&mut server, now, from, bytes));
            // As if it came from who is logged in.
            all.extend(step(&mut server, now, own.from, bytes));
        }
        for action in all {
            match action {
                // Every other one is answered at once, the others never.
                Action::Challenge(one) if at % 2 == 0 => {
                    server.challenged(one.id, Some(&[7; 32]), &mut Vec::new());
                }
                Action::Challenge(_) => asked += 1,
                Action::Verify(one) => {
                    assert_eq!(server.verified(now, one.id, Err(Rejected::Wrong), &mut Vec::new()), None);
                }
                Action::Send(..) => {}
                other => panic!("{other:?}"),
            }
        }
        if at % 100 == 0 {
            server.tick(now, &mut Vec::new());
            assert_eq!(own.call(&mut server, now, 6, 0x3b, &[0]), [0, 2], "at {at}");
        }
        most = most.max(held(&server));
    }
    assert!(asked > 300, "the flood gets somewhere: {asked}");
    assert!(server.setups.len() <= SETUPS_MAX && server.rates.len() <= RATES_MAX);
    assert!(most <= 64 * 1024, "{most} bytes");
    assert_eq!(server.sessions(), 1);
}

#[test]
fn an_address_with_one_login_gets_a_place_of_the_one_with_most() {
    let mut server = server(false, 15);
    for host in 0..8 {
        for port in 1..=16 {
            let one = Client::new(address(host, port), Suite::Sha256);
            step(&mut server, Mono::ZERO, one.from, &one.open());
        }
    }
    assert_eq!(server.setups.len(), SETUPS_MAX);
    let mut own = Client::new(address(200, 1), Suite::Sha256);
    assert_eq!(own.log_in(&mut server, Mono::ZERO, 4, Level::Administrator, PASSWORD), 0);
}

#[test]
fn a_flood_from_addresses_that_are_none_keeps_nobody_out_who_can_be_reached() {
    let mut server = server(false, 15);
    let mut own = Client::new(address(1, 1), Suite::Sha256);
    let out = step(&mut server, Mono::ZERO, own.from, &own.open());
    own.session = u32::from_le_bytes(sent(&out)[0][24..28].try_into().unwrap());
    let out = step(&mut server, Mono::ZERO, own.from, &own.rakp1(4, NAME));
    let Some(Action::Challenge(asked)) = out.into_iter().next() else { panic!("no challenge") };
    for at in 0..1000_u16 {
        let [high, low] = at.to_be_bytes();
        let one = Client::new(SocketAddr::from(([198, 51, high, low], 623)), Suite::Sha256);
        step(&mut server, Mono::ZERO, one.from, &one.open());
    }
    let mut out = Vec::new();
    server.challenged(asked.id, Some(&own.suite.mac(PASSWORD, &asked.data)), &mut out);
    assert_eq!(sent(&out)[0][17], 0, "its login is still there");
    let out = step(&mut server, Mono::ZERO, own.from, &own.rakp3(&[0; 32]));
    assert!(matches!(out[..], [Action::Verify(_)]), "the rate of all does not count for it");
}

#[test]
fn an_account_has_a_share_of_the_sessions_and_some_are_for_administrators() {
    let mut server = server(false, 15);
    let mut host = 0;
    let mut log_in = |server: &mut Server, account, limit, at| {
        host += 1;
        let mut client = Client { account, ..Client::new(address(host, 1), Suite::Sha256) };
        (client.log_in(server, Mono::from_millis(at), 0, limit, PASSWORD), client.session)
    };
    let (_, first) = log_in(&mut server, "u1", Level::Operator, 0);
    for at in 1..=5 {
        assert_eq!(log_in(&mut server, "u1", Level::Operator, at).0, 0);
    }
    assert_eq!(server.sessions(), SESSIONS_OF_ONE);
    assert!(server.live.iter().all(|live| live.id != first), "its own least used one gave way");
    // Three of fifteen are kept.
    for account in ["u2", "u2", "u2", "u2", "u2", "u3", "u3"] {
        assert_eq!(log_in(&mut server, account, Level::User, 10).0, 0);
    }
    assert_eq!(log_in(&mut server, "u4", Level::Operator, 10).0, status::RESOURCES);
    for _ in 0..3 {
        assert_eq!(log_in(&mut server, "u5", Level::Administrator, 10).0, 0);
    }
    assert_eq!(log_in(&mut server, "u5", Level::Administrator, 10).0, status::RESOURCES);
    assert_eq!(server.sessions(), 15);
}

#[test]
fn sessions_are_so_many_and_one_that_is_not_used_makes_room() {
    let mut server = server(false, 2);
    let first = logged_in(&mut server, address(1, 1), Suite::Sha256);
    let mut second = logged_in(&mut server, address(1, 2), Suite::Sha256);
    let mut third = Client::new(address(1, 3), Suite::Sha256);
    let later = Mono::from_millis(9_000);
    second.call(&mut server, later, 6, 0x3b, &[0]);
    assert_eq!(third.log_in(&mut server, later, 4, Level::Administrator, PASSWORD), status::RESOURCES);
    let later = Mono::from_millis(10_000);
    assert_eq!(third.log_in(&mut server, later, 4, Level::Administrator, PASSWORD), 0);
    assert!(server.live.iter().all(|live| live.id != first.session));
    assert_eq!(server.sessions(), 2);
}

#[test]
fn answers_to_strangers_are_as_large_as_the_specification_has_them_and_no_larger() {
    let mut server = server(true, 15);
    let from = address(1, 1);
    let mut answer =
        |bytes: &[u8]| sent(&step(&mut server, Mono::ZERO, from, bytes)).first().map(|bytes| bytes.len());
    let ask = |function: u8, command: u8, data: &[u8]| {
        packet::plain(Wrapper::V15, &Client::new(from, Suite::Sha256).message(function, command, data))
    };
    assert_eq!(answer(&[6, 0, 0xff, 6, 0, 0, 0x11, 0xbe, 0x80, 1, 0, 0]), Some(28));
    assert_eq!(answer(&ask(6, 0x38, &[0x8e, 4])), Some(30));
    assert_eq!(answer(&ask(6, 0x54, &[0x0e, 0, 0x80])), Some(33));
    assert_eq!(answer(&ask(6, 0x54, &[0x0e, 0, 0x81])), Some(23), "the end of the list");
    // What is for those who are logged in is not answered.
    for (function, command) in [(6, 0x01), (6, 0x37), (0, 0x01), (6, 0xff), (0x30, 0)] {
        assert_eq!(answer(&ask(function, command, &[])), None);
    }
    // Of RAKP: unknown numbers get twelve bytes less than they sent.
    let client = Client { session: 7, ..Client::new(from, Suite::Sha256) };
    assert!(answer(&client.rakp1(4, NAME)) < Some(client.rakp1(4, NAME).len()));
    assert!(answer(&client.rakp3(&[0; 32])) < Some(client.rakp3(&[0; 32]).len()));
}

proptest! {
    #[test]
    fn random_datagrams_change_no_session_and_never_panic(
        datagrams in proptest::collection::vec((0..8_u8, proptest::collection::vec(any::<u8>(), 0..60)), 1..30),
    ) {
        let mut server = server(true, 15);
        let mut client = logged_in(&mut server, address(1, 1000), Suite::Sha256);
        for (kind, data) in datagrams {
            let bytes = match kind {
                0 => data,
                1 => packet::setup(payload::OPEN, &data),
                2 => packet::setup(payload::RAKP1, &data),
                3 => packet::setup(payload::RAKP3, &data),
                4 => packet::sealed(payload::IPMI, client.session, 1, &data, |_| data.clone()),
                5 => {
                    let [_, _, tail @ ..] = &data[..] else { continue };
                    packet::plain(Wrapper::V15, &client.message(data[0] & 0x3e, data[1], tail))
                }
                // What is proved and is nonsense all the same.
                6 => { client.sequence += 1; client.sealed(client.sequence, &data) }
                _ => {
                    let [_, _, tail @ ..] = &data[..] else { continue };
                    let (function, command) = (data[0] & 0x3e, data[1]);
                    if command == 0x3c { continue }
                    client.next(function, command, tail)
                }
            };
            for action in step(&mut server, Mono::ZERO, client.from, &bytes) {
                if let Action::Request(request) = action {
                    server.replied(Mono::ZERO, request.id, Err(Completion::UNSPECIFIED), &mut Vec::new());
                }
            }
        }
        prop_assert_eq!(server.sessions(), 1);
        prop_assert_eq!(client.call(&mut server, Mono::ZERO, 6, 0x42, &[1])[0], 0);
    }
}
