//! A client of our own, by the book and not by the server's code, for tests of what speaks to the server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "it is there for tests alone"
)]

use std::net::SocketAddr;

use units::{Millis, Mono};

use crate::Suite;
use crate::completion::Reply;
use crate::crypto::{self, Keys};
use crate::level::Level;
use crate::packet::{self, Packet, checksum, payload};
use crate::path::Path;
use crate::server::{Action, Admitted, Config, Rejected, Request, Server};

/// The password of the account.
pub const PASSWORD: &[u8] = b"a long passphrase";
/// The GUID of the controller.
pub const GUID: [u8; 16] = *b"0123456789abcdef";
/// The name of the account.
pub const NAME: &[u8] = b"admin";

/// An address of documentation.
pub fn address(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], port))
}

/// A server whose numbers are the same each time.
pub fn server(sha1: bool, sessions: u8) -> Server {
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
#[derive(Debug)]
pub struct Client {
    /// From where, and to which address.
    pub from: Path,
    /// With which suite.
    pub suite: Suite,
    /// The number of the session at this side.
    pub id: u32,
    /// That at the other.
    pub session: u32,
    /// Once it is logged in.
    pub(crate) keys: Option<Keys>,
    /// Of the packet that was sent last.
    pub sequence: u32,
    /// Of the request that was sent last.
    pub number: u8,
    /// Whose account it is.
    pub account: &'static str,
    /// What Open Session wants at most.
    pub most: u8,
}

/// The datagrams among what is to be done.
pub fn sent(out: &[Action]) -> Vec<&[u8]> {
    out.iter()
        .filter_map(|action| if let Action::Send(_, bytes) = action { Some(&bytes[..]) } else { None })
        .collect()
}

/// What comes of a datagram.
pub fn step(server: &mut Server, now: Mono, from: impl Into<Path>, bytes: &[u8]) -> Vec<Action> {
    let mut out = Vec::new();
    server.input(now, from, bytes, &mut out);
    out
}

impl Client {
    /// Who is not logged in.
    pub fn new(from: impl Into<Path>, suite: Suite) -> Self {
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

    /// Open Session.
    pub fn open(&self) -> Vec<u8> {
        let mut data = vec![1, self.most, 0, 0];
        data.extend(self.id.to_le_bytes());
        for (kind, algorithm) in [(0, self.suite.authentication()), (1, self.suite.integrity()), (2, 1)] {
            data.extend([kind, 0, 0, 8, algorithm, 0, 0, 0]);
        }
        packet::setup(payload::OPEN, &data)
    }

    /// RAKP 1 for this role and name.
    pub fn rakp1(&self, role: u8, name: &[u8]) -> Vec<u8> {
        let mut data = vec![2, 0, 0, 0];
        data.extend(self.session.to_le_bytes());
        data.extend([0x5a; 16]);
        data.extend([role, 0, 0, u8::try_from(name.len()).unwrap()]);
        data.extend_from_slice(name);
        packet::setup(payload::RAKP1, &data)
    }

    /// RAKP 3 with this code.
    pub fn rakp3(&self, code: &[u8]) -> Vec<u8> {
        let mut data = vec![3, 0, 0, 0];
        data.extend(self.session.to_le_bytes());
        data.extend_from_slice(code);
        packet::setup(payload::RAKP3, &data)
    }

    /// Up to RAKP 4, by the book and not by the server's code; the status of the last step.
    pub fn log_in(&mut self, server: &mut Server, now: Mono, role: u8, limit: Level, password: &[u8]) -> u8 {
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

    /// The same with a server that is somewhere else: `exchange` sends a datagram, and returns what is answered. Who logs in, with what.
    pub fn log_in_over(
        &mut self,
        role: u8,
        (name, password): (&[u8], &[u8]),
        exchange: &mut dyn FnMut(&[u8]) -> Vec<u8>,
    ) -> u8 {
        let opened = exchange(&self.open())[16..].to_vec();
        if opened[1] != 0 {
            return opened[1];
        }
        self.session = u32::from_le_bytes(opened[8..12].try_into().unwrap());
        let rakp2 = exchange(&self.rakp1(role, name))[16..].to_vec();
        if rakp2[1] != 0 {
            return rakp2[1];
        }
        let ours = &rakp2[8..24];
        let who = [&[role, u8::try_from(name.len()).unwrap()][..], name].concat();
        let code = self.suite.mac(password, &[ours, &self.id.to_le_bytes(), &who].concat());
        let key = self.suite.mac(password, &[&[0x5a; 16][..], ours, &who].concat());
        let rakp4 = exchange(&self.rakp3(&code))[16..].to_vec();
        self.keys = Keys::new(self.suite, &key).filter(|_| rakp4[1] == 0);
        rakp4[1]
    }

    /// A packet with a message, under this number.
    pub fn sealed(&self, sequence: u32, message: &[u8]) -> Vec<u8> {
        self.sealed_as(payload::IPMI, sequence, message)
    }

    /// The same with another payload.
    pub fn sealed_as(&self, kind: u8, sequence: u32, message: &[u8]) -> Vec<u8> {
        let keys = self.keys.as_ref().unwrap();
        let data = keys.encrypt(&[3; 16], message);
        packet::sealed(kind, self.session, sequence, &data, |proved| keys.code(proved))
    }

    /// A request as IPMI has it.
    pub fn message(&self, function: u8, command: u8, data: &[u8]) -> Vec<u8> {
        let mut out = vec![0x20, function << 2];
        out.push(checksum(&out));
        out.extend([0x81, self.number << 2, command]);
        out.extend_from_slice(data);
        out.push(checksum(&out[3..]));
        out
    }

    /// The next request as a packet.
    pub fn next(&mut self, function: u8, command: u8, data: &[u8]) -> Vec<u8> {
        self.sequence += 1;
        self.number = (self.number + 1) % 64;
        self.sealed(self.sequence, &self.message(function, command, data))
    }

    /// The answer's data, with its completion code.
    pub fn read(&self, bytes: &[u8]) -> Vec<u8> {
        let Ok(Packet::Sealed(found)) = Packet::parse(bytes) else { panic!("no packet of a session") };
        let keys = self.keys.as_ref().unwrap();
        assert_eq!(found.session, self.id);
        let (proved, code) = found.proof(self.suite.code_len()).unwrap();
        assert!(keys.proves(proved, code));
        let plain = keys.decrypt(found.data).unwrap();
        assert_eq!(plain[4] >> 2, self.number);
        plain[6..plain.len() - 1].to_vec()
    }

    /// The answer to a request, which whatever does not end in the server answers as it was asked.
    pub fn call(
        &mut self,
        server: &mut Server,
        now: Mono,
        function: u8,
        command: u8,
        data: &[u8],
    ) -> Vec<u8> {
        self.ask(server, now, (function, command, data), &mut |request| Reply::from(Ok(request.data)))
    }

    /// The same where somebody else answers.
    pub fn ask(
        &mut self,
        server: &mut Server,
        now: Mono,
        (function, command, data): (u8, u8, &[u8]),
        answers: &mut dyn FnMut(Request) -> Reply,
    ) -> Vec<u8> {
        let bytes = self.next(function, command, data);
        let mut out = step(server, now, self.from, &bytes);
        if let Some(at) = out.iter().position(|action| matches!(action, Action::Request(_)))
            && let Action::Request(request) = out.swap_remove(at)
        {
            let id = request.id;
            let reply = answers(request);
            server.replied_with(now, id, reply, &mut out);
        }
        self.read(sent(&out)[0])
    }
}

/// An administrator who is logged in.
pub fn logged_in(server: &mut Server, from: impl Into<Path>, suite: Suite) -> Client {
    let mut client = Client::new(from, suite);
    assert_eq!(client.log_in(server, Mono::ZERO, 4, Level::Administrator, PASSWORD), 0);
    client
}
