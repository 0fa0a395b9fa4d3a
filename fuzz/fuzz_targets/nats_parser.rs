//! Any bytes from a client, whole and in pieces: no panic, the same answers, bounded memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nats::{Broker, Config, Flow, Limits};

fn transcript(input: &[u8], piece: usize) -> (Vec<u8>, bool) {
    let limits = Limits { max_payload: 512, max_control_line: 128, ..Limits::default() };
    let mut broker = Broker::new(Config { limits, ..Config::default() });
    let client = broker.connect("127.0.0.1", 0);
    let greeting = broker.pending(client);
    broker.wrote(client, greeting);
    let mut open = true;
    for piece in input.chunks(piece) {
        let mut flow = broker.input(client, piece, 0);
        while flow == Flow::Flush {
            flow = broker.resume(client, 0, false);
        }
        if flow == Flow::Closed {
            open = false;
            break;
        }
    }
    let output = broker.output(client).collect::<Vec<_>>().concat();
    (output, open)
}

fuzz_target!(|input: &[u8]| {
    let Some((first, rest)) = input.split_first() else { return };
    let whole = transcript(rest, usize::MAX);
    assert_eq!(whole, transcript(rest, usize::from(*first).max(1)));
    // The parser alone, on every tail: it never claims more than there is.
    for start in 0..rest.len() {
        match nats::proto::parse(&rest[start..], 128) {
            nats::proto::Step::More { keep } => assert!(keep <= rest.len() - start),
            nats::proto::Step::Op { used, .. } => assert!(used > 0 && used <= rest.len() - start),
            nats::proto::Step::Error(_) => {}
        }
    }
});
