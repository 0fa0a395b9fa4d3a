//! Any requests to the streams: each line of the input is a subject, a space and a body. No panic, and the machine goes
//! on answering.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nats::js::store::Memory;
use nats::js::{Inbound, JetStream, Limits, Now, Output};

fuzz_target!(|input: &[u8]| {
    let mut now = Now { mono: 1, wall: 1_800_000_000_000_000_000 };
    let mut machine = JetStream::open(Box::new(Memory::new(1 << 20)), Limits::default(), 1, now).unwrap();
    let create = br#"{"name":"s","subjects":["s.>"],"allow_direct":true,"allow_msg_ttl":true,"allow_rollup_hdrs":true}"#;
    let first: &[&[u8]] = &[
        &[b"$JS.API.STREAM.CREATE.s ", create.as_slice()].concat(),
        b"s.a one",
        br#"$JS.API.CONSUMER.CREATE.s.c {"stream_name":"s","config":{"name":"c","ack_policy":"explicit"}}"#,
    ];
    let lines = first.iter().copied().chain(input.split(|b| *b == b'\n'));
    for line in lines {
        let (subject, payload) = match line.iter().position(|b| *b == b' ') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &[][..]),
        };
        // Headers as a client could send them, when a line begins like a block.
        let headers = if line.starts_with(b"NATS/1.0") { line } else { &[] };
        machine.handle(now, Inbound { subject, reply: Some(b"r"), headers, payload });
        machine.interest(now, "to", payload.len() % 2 == 0);
        let _ = machine.deadline(now);
        machine.commit(now);
        now = Now { mono: now.mono + 100, wall: now.wall + 100_000_000 };
    }
    machine.handle(now, Inbound { subject: b"$JS.API.INFO", reply: Some(b"r"), headers: b"", payload: b"" });
    assert!(machine.commit(now).iter().any(|o| matches!(o, Output::Publish(p) if p.route == "r")));
});
