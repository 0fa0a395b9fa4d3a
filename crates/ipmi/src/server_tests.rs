//! The server beside a client of our own: what real clients do to it is tested with them.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::packet::checksum;

const PASSWORD: &[u8] = b"a long passphrase";
const GUID: [u8; 16] = *b"0123456789abcdef";
const NAME: &[u8] = b"admin";

fn address(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], port))
}

fn server(sha1: bool, sessions: u8) -> Server {
    let mut counter = 0_u8;
    let entropy = move |bytes: &mut [u8]| {
        for byte in bytes {
            counter = counter.wrapping_mul(5).wrapping_add(17);
            *byte = counter;
        }
        true
    };
    let config = Config { guid: GUID, sha1, sessions, idle: Millis::from_secs(60) };
    // A generator of one byte repeats itself too soon for many numbers of sessions.
    let mut drawn = 0_u64;
    let mut entropy = entropy;
    let mixed = move |bytes: &mut [u8]| {
        drawn += 1;
        let fine = entropy(bytes);
        for (byte, more) in bytes.iter_mut().zip(drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()) {
            *byte ^= more;
        }
        fine
    };
    Server::new(config, mixed)
}

/// Who logs in.
struct Client {
    from: Path,
    suite: Suite,
    id: u32,
    session: u32,
    keys: Option<Keys>,
    sequence: u32,
    number: u8,
    account: &'static str,
    /// What Open Session wants at most.
    most: u8,
}

fn sent(out: &[Action]) -> Vec<&[u8]> {
    out.iter()
        .filter_map(|action| if let Action::Send(_, bytes) = action { Some(&bytes[..]) } else { None })
        .collect()
}

fn step(server: &mut Server, now: Mono, from: impl Into<Path>, bytes: &[u8]) -> Vec<Action> {
    let mut out = Vec::new();
    server.input(now, from, bytes, &mut out);
    out
}

impl Client {
    fn new(from: impl Into<Path>, suite: Suite) -> Self {
        Self {
            from: from.into(),
            suite,
            id: 0x11_22_33_44,
            session: 0,
            keys: None,
            sequence: 0,
            number: 0,
            account: "u1",
            most: 4,
        }
    }

    fn open(&self) -> Vec<u8> {
        let mut data = vec![1, self.most, 0, 0];
        data.extend(self.id.to_le_bytes());
        for (kind, algorithm) in [(0, self.suite.authentication()), (1, self.suite.integrity()), (2, 1)] {
            data.extend([kind, 0, 0, 8, algorithm, 0, 0, 0]);
        }
        packet::setup(payload::OPEN, &data)
    }

    fn rakp1(&self, role: u8, name: &[u8]) -> Vec<u8> {
        let mut data = vec![2, 0, 0, 0];
        data.extend(self.session.to_le_bytes());
        data.extend([0x5a; 16]);
        data.extend([role, 0, 0, u8::try_from(name.len()).unwrap()]);
        data.extend_from_slice(name);
        packet::setup(payload::RAKP1, &data)
    }

    fn rakp3(&self, code: &[u8]) -> Vec<u8> {
        let mut data = vec![3, 0, 0, 0];
        data.extend(self.session.to_le_bytes());
        data.extend_from_slice(code);
        packet::setup(payload::RAKP3, &data)
    }

    /// Up to RAKP 4, by the book and not by the server's code; the status of the last step.
    fn log_in(&mut self, server: &mut Server, now: Mono, role: u8, limit: Level, password: &[u8]) -> u8 {
        let out = step(server, now, self.from, &self.open());
        let opened = &sent(&out)[0][16..];
        if opened[1] != 0 {
            return opened[1];
        }
        assert_eq!(opened[4..8], self.id.to_le_bytes());
        self.session = u32::from_le_bytes(opened[8..12].try_into().unwrap());
        let out = step(server, now, self.from, &self.rakp1(role, NAME));
        let Some(Action::Challenge(asked)) = out.into_iter().next() else { panic!("no challenge") };
        assert_eq!((asked.username.as_bytes(), asked.suite, asked.from), (NAME, self.suite, self.from));
        let mut out = Vec::new();
        server.challenged(asked.id, Some(&self.suite.mac(PASSWORD, &asked.data)), &mut out);
        let rakp2 = sent(&out)[0][16..].to_vec();
        assert_eq!(rakp2[..2], [2, 0]);
        let ours: [u8; 16] = rakp2[8..24].try_into().unwrap();
        let who = [&[role, u8::try_from(NAME.len()).unwrap()][..], NAME].concat();
        let ids = [self.id.to_le_bytes(), self.session.to_le_bytes()].concat();
        let proved = [&ids[..], &[0x5a; 16], &ours, &GUID, &who].concat();
        assert_eq!(
            rakp2[40..],
            *self.suite.mac(PASSWORD, &proved),
            "RAKP 2 proves that the server knows the password"
        );
        let code = self.suite.mac(password, &[&ours[..], &self.id.to_le_bytes(), &who].concat());
        let key = self.suite.mac(PASSWORD, &[&[0x5a; 16][..], &ours, &who].concat());
        let out = step(server, now, self.from, &self.rakp3(&code));
        let Some(Action::Verify(asked)) = out.into_iter().next() else { panic!("no question") };
        let right = self.suite.mac(PASSWORD, &asked.data);
        let verdict = if crypto::is_same(&right, &asked.code) {
            let key = self.suite.mac(PASSWORD, &asked.session);
            Ok(Admitted { key, limit, account: self.account.to_owned(), number: 2 })
        } else {
            Err(Rejected::Wrong)
        };
        let mut out = Vec::new();
        server.verified(now, asked.id, verdict, &mut out);
        let rakp4 = sent(&out)[0][16..].to_vec();
        if rakp4[1] == 0 {
            let proved = [&[0x5a; 16][..], &self.session.to_le_bytes(), &GUID].concat();
            let proof = self.suite.mac(&key, &proved);
            assert_eq!(rakp4[8..], proof[..self.suite.code_len()]);
            self.keys = Keys::new(self.suite, &key);
            // Once more: it was lost.
            let again = step(server, now, self.from, &self.rakp3(&code));
            assert_eq!(sent(&again)[0][16..], rakp4);
        }
        rakp4[1]
    }

    fn sealed(&self, sequence: u32, message: &[u8]) -> Vec<u8> {
        self.sealed_as(payload::IPMI, sequence, message)
    }

    fn sealed_as(&self, kind: u8, sequence: u32, message: &[u8]) -> Vec<u8> {
        let keys = self.keys.as_ref().unwrap();
        let data = keys.encrypt(&[3; 16], message);
        packet::sealed(kind, self.session, sequence, &data, |proved| keys.code(proved))
    }

    fn message(&self, function: u8, command: u8, data: &[u8]) -> Vec<u8> {
        let mut out = vec![0x20, function << 2];
        out.push(checksum(&out));
        out.extend([0x81, self.number << 2, command]);
        out.extend_from_slice(data);
        out.push(checksum(&out[3..]));
        out
    }

    fn next(&mut self, function: u8, command: u8, data: &[u8]) -> Vec<u8> {
        self.sequence += 1;
        self.number = (self.number + 1) % 64;
        self.sealed(self.sequence, &self.message(function, command, data))
    }

    /// The answer's data, with its completion code.
    fn read(&self, bytes: &[u8]) -> Vec<u8> {
        let Ok(Packet::Sealed(found)) = Packet::parse(bytes) else { panic!("no packet of a session") };
        let keys = self.keys.as_ref().unwrap();
        assert_eq!(found.session, self.id);
        let (proved, code) = found.proof(self.suite.code_len()).unwrap();
        assert!(keys.proves(proved, code));
        let plain = keys.decrypt(found.data).unwrap();
        assert_eq!(plain[4] >> 2, self.number);
        plain[6..plain.len() - 1].to_vec()
    }

    fn call(&mut self, server: &mut Server, now: Mono, function: u8, command: u8, data: &[u8]) -> Vec<u8> {
        let bytes = self.next(function, command, data);
        let mut out = step(server, now, self.from, &bytes);
        if let Some(Action::Request(request)) = out.first() {
            let (id, echo) = (request.id, request.data.clone());
            out.clear();
            server.replied(now, id, Ok(echo), &mut out);
        }
        self.read(sent(&out)[0])
    }
}

fn logged_in(server: &mut Server, from: impl Into<Path>, suite: Suite) -> Client {
    let mut client = Client::new(from, suite);
    assert_eq!(client.log_in(server, Mono::ZERO, 4, Level::Administrator, PASSWORD), 0);
    client
}

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
    let admitted =
        Admitted { key: vec![7; 32].into(), limit: Level::User, account: "u1".to_owned(), number: 2 };
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
