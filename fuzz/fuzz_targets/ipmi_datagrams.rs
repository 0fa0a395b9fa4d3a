//! Any datagrams, in any order: bounded, and no session without a proof.
#![no_main]

use std::net::SocketAddr;

use ipmi::{Action, Config, Server};
use libfuzzer_sys::fuzz_target;
use units::{Millis, Mono};

fuzz_target!(|datagrams: Vec<(u8, u16, Vec<u8>)>| {
    let config = Config { guid: [7; 16], sha1: true, sessions: 15, idle: Millis::from_secs(60) };
    let mut drawn = 0_u8;
    let entropy = move |bytes: &mut [u8]| {
        for byte in bytes {
            drawn = drawn.wrapping_add(1);
            *byte = drawn;
        }
        true
    };
    let mut server = Server::new(config, entropy);
    let mut now = Mono::ZERO;
    for (host, passed, bytes) in datagrams {
        now = now.saturating_add(Millis::new(passed.into()));
        let from = SocketAddr::from(([192, 0, 2, host], 623));
        let mut out = Vec::new();
        server.input(now, from, &bytes, &mut out);
        for action in out {
            if let Action::Challenge(asked) = action {
                let code = asked.suite.mac(b"secret", &asked.data);
                server.challenged(asked.id, Some(&code), &mut Vec::new());
            }
        }
        assert_eq!(server.sessions(), 0);
    }
});
