//! Scripts against a broker without sockets. What is compared with nats-server itself is in
//! `crates/ipc/tests/conformance.rs`; here are the things only a broker in hand can show.

use proptest::prelude::*;

use super::*;
use crate::internal::Internal as _;

const QUIET: &str =
    "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true}\r\n";

fn text(broker: &mut Broker, id: ConnId) -> String {
    let out = String::from_utf8_lossy(broker.output(id)).into_owned();
    broker.wrote(id, out.len());
    out.lines().filter(|l| !l.starts_with("INFO ")).map(|l| format!("{l}\n")).collect()
}

fn client(broker: &mut Broker) -> ConnId {
    let id = broker.connect("127.0.0.1", 0);
    assert_eq!(broker.input(id, QUIET.as_bytes(), 0), Flow::Continue);
    assert_eq!(text(broker, id), "");
    id
}

#[test]
fn a_message_reaches_plain_subscribers_and_one_of_a_group() {
    let mut broker = Broker::new(Config::default());
    let (a, b) = (client(&mut broker), client(&mut broker));
    broker.input(a, b"SUB x.* 1\r\nSUB x.> g 2\r\nSUB x.y g 3\r\n", 0);
    for _ in 0..20 {
        broker.input(b, b"PUB x.y r 2\r\nhi\r\n", 0);
        let got = text(&mut broker, a);
        assert!(got.starts_with("MSG x.y 1 r 2\nhi\n"), "{got}");
        assert_eq!(got.matches("hi").count(), 2, "{got}");
    }
}

#[test]
fn a_receiver_that_does_not_read_makes_the_sender_wait_and_then_goes() {
    let limits = Limits { max_pending: 4096, ..Limits::default() };
    let mut broker = Broker::new(Config { limits, ..Config::default() });
    let (a, b) = (client(&mut broker), client(&mut broker));
    broker.input(a, b"SUB x 1\r\n", 0);
    let message = format!("PUB x 100\r\n{}\r\n", "z".repeat(100));
    let burst = message.repeat(100);
    assert_eq!(broker.input(b, burst.as_bytes(), 0), Flow::Wait(a));
    assert!(!broker.has_room(a));
    assert!(broker.closing(a).is_none());
    assert_eq!(broker.resume(b, 10, true), Flow::Continue);
    assert_eq!(broker.closing(a), Some(CloseReason::SlowConsumer));
    assert!(broker.output(a).is_empty());
    assert_eq!(broker.stats().slow_consumers, 1);
    assert_eq!(broker.stats().subscriptions, 0);
}

#[test]
fn all_together_hold_no_more_than_the_bound_and_the_fullest_goes_first() {
    let limits = Limits { max_memory: 10_000, ..Limits::default() };
    let mut broker = Broker::new(Config { limits, ..Config::default() });
    let (a, b, c) = (client(&mut broker), client(&mut broker), client(&mut broker));
    broker.input(a, b"SUB x 1\r\nSUB y 2\r\n", 0);
    broker.input(b, b"SUB x 1\r\n", 0);
    let message = |subject: &str| format!("PUB {subject} 1000\r\n{}\r\n", "z".repeat(1000));
    for _ in 0..3 {
        broker.input(c, message("x").as_bytes(), 0);
    }
    assert!(broker.held > 6_000 && broker.held <= 10_000);
    for _ in 0..5 {
        broker.input(c, message("y").as_bytes(), 0);
    }
    assert_eq!(broker.closing(a), Some(CloseReason::SlowConsumer));
    assert_eq!(broker.closing(b), None);
    assert_eq!(text(&mut broker, b).matches("MSG x 1 1000").count(), 3);
    broker.input(c, format!("PUB x 9000\r\n{}", "z".repeat(8000)).as_bytes(), 0);
    assert_eq!(broker.held, 8000 + "PUB x 9000\r\n".len());
    for id in [a, b, c] {
        broker.disconnect(id);
        broker.forget(id);
    }
    assert_eq!(broker.held, 0);
}

#[test]
fn a_waiting_sender_loses_nothing_when_the_receiver_reads() {
    let limits = Limits { max_pending: 4096, ..Limits::default() };
    let mut broker = Broker::new(Config { limits, ..Config::default() });
    let (a, b) = (client(&mut broker), client(&mut broker));
    broker.input(a, b"SUB x 1\r\n", 0);
    let burst = format!("PUB x 100\r\n{}\r\n", "z".repeat(100)).repeat(200);
    let mut flow = broker.input(b, burst.as_bytes(), 0);
    let mut got = 0;
    while let Flow::Wait(behind) = flow {
        assert_eq!(behind, a);
        got += text(&mut broker, a).matches("MSG x 1 100").count();
        assert!(broker.has_room(a));
        flow = broker.resume(b, 0, false);
    }
    got += text(&mut broker, a).matches("MSG x 1 100").count();
    assert_eq!((flow, got), (Flow::Continue, 200));
}

#[test]
fn silence_is_pinged_and_death_noticed() {
    let limits = Limits { ping_interval: 100, max_pings_out: 2, ..Limits::default() };
    let mut broker = Broker::new(Config { limits, ..Config::default() });
    let a = client(&mut broker);
    assert_eq!(broker.deadline(), Some(100));
    broker.tick(100);
    assert_eq!(text(&mut broker, a), "PING\n");
    broker.input(a, b"PONG\r\n", 150);
    broker.tick(200);
    assert_eq!(text(&mut broker, a), "");
    broker.tick(250);
    broker.tick(350);
    assert_eq!(text(&mut broker, a), "PING\nPING\n");
    broker.tick(450);
    assert_eq!(text(&mut broker, a), "-ERR 'Stale Connection'\n");
    assert_eq!(broker.closing(a), Some(CloseReason::StaleConnection));
}

#[test]
fn who_never_authenticates_is_dropped_and_holds_little() {
    let user = User { name: "u".to_owned(), password: "p".to_owned(), permissions: None };
    let mut broker = Broker::new(Config { users: vec![user], ..Config::default() });
    let a = broker.connect("127.0.0.1", 0);
    text(&mut broker, a);
    let mut flow = Flow::Continue;
    let mut fed = 0;
    broker.input(a, b"CONNECT {", 0);
    while flow == Flow::Continue && fed < 1_000_000 {
        flow = broker.input(a, &[b'x'; 512], 0);
        fed += 512;
        assert!(broker.conns.get(a.slot).unwrap().partial.capacity() < 16 * 1024);
    }
    assert_eq!(text(&mut broker, a), "-ERR 'maximum control line exceeded'\n");
    let b = broker.connect("127.0.0.1", 0);
    text(&mut broker, b);
    broker.tick(2_000);
    assert_eq!(text(&mut broker, b), "-ERR 'Authentication Timeout'\n");
    assert!(broker.take_links().is_empty());
}

#[test]
fn links_tell_whose_connection_came_and_went() {
    let user = User { name: "u".to_owned(), password: "p".to_owned(), permissions: None };
    let mut broker = Broker::new(Config { users: vec![user], ..Config::default() });
    let a = broker.connect("127.0.0.1", 0);
    broker.input(a, b"CONNECT {\"user\":\"u\",\"pass\":\"p\",\"name\":\"n\"}\r\n", 0);
    broker.disconnect(a);
    let links = broker.take_links();
    assert_eq!(links.len(), 2);
    assert!(links.iter().all(|l| l.user.as_deref() == Some("u") && l.name == "n"));
    assert_eq!(links[1].closed, Some(CloseReason::ClientClosed));
    assert_eq!(broker.stats().connections, 0);
}

#[test]
fn machines_inside_see_messages_answer_and_notice_interest() {
    let mut broker = Broker::new(Config::default());
    let a = client(&mut broker);
    let sub = broker.internal_subscribe("$JS.API.>").unwrap();
    broker.watch_interest(b"inbox.1");
    broker.input(a, b"SUB inbox.1 7\r\nHPUB $JS.API.INFO inbox.1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", 0);
    assert_eq!(text(&mut broker, a), "", "an internal subscription is a responder");
    let messages = broker.take_internal();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].sub, sub);
    assert_eq!(&messages[0].headers[..], b"NATS/1.0\r\n\r\n");
    assert_eq!(&messages[0].payload[..], b"hi");
    assert_eq!(broker.take_interest_changes().len(), 1);
    let sent = broker.internal_deliver(b"inbox.1", b"orders.1", Some(b"$JS.ACK.x"), b"", b"body");
    assert_eq!(sent.receivers, 1);
    assert_eq!(broker.pending_bytes(b"inbox.1"), Some(sent.max_pending));
    assert_eq!(text(&mut broker, a), "MSG orders.1 7 $JS.ACK.x 4\nbody\n");
    broker.disconnect(a);
    let changes = broker.take_interest_changes();
    assert_eq!(changes.len(), 1);
    assert!(!changes[0].interested);
    broker.internal_unsubscribe(sub);
    assert!(broker.list.matches(b"$JS.API.INFO").is_empty());
}

#[test]
fn idle_connections_give_their_buffers_back() {
    let mut broker = Broker::new(Config::default());
    let a = client(&mut broker);
    broker.input(a, format!("SUB x 1\r\nPUB x 1000\r\n{}\r\n", "z".repeat(1000)).as_bytes(), 0);
    text(&mut broker, a);
    broker.tick(broker.deadline().unwrap());
    text(&mut broker, a);
    broker.tick(broker.deadline().unwrap() - 1);
    assert_eq!(broker.conns.get(a.slot).unwrap().partial.capacity(), 0);
}

fn script() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("PING\r\n"),
        Just("ping  x\n"),
        Just("SUB a.* 1\r\n"),
        Just("SUB a.b q 2\r\n"),
        Just("SUB a..b 3\r\n"),
        Just("PUB a.b 5\r\nhello\r\n"),
        Just("PUB a.b r 0\r\n\r\n"),
        Just("HPUB a.b 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"),
        Just("PUB nobody a.x 2\r\nok\r\n"),
        Just("UNSUB 1 3\r\n"),
        Just("UNSUB 2\r\n"),
        Just("+OK\r\n"),
        Just("PUB a.b 5\r\nhelloworld\r\n"),
        Just("PUB a.b 5\r\nhello\n"),
        Just("PUB a.b 5\r\nhello\rx"),
        Just("PUB a 99999999\r\n"),
        Just("BAD\r\n"),
        Just("SUB x\r\n"),
    ];
    proptest::collection::vec(piece, 1..30).prop_map(|pieces| pieces.concat().into_bytes())
}

fn transcript(input: &[u8], cuts: &[usize]) -> (String, Option<CloseReason>) {
    let mut broker = Broker::new(Config::default());
    let a = client(&mut broker);
    let mut rest = input;
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() {
        let n = cuts.next().copied().unwrap_or(rest.len()).clamp(1, rest.len());
        let (piece, after) = rest.split_at(n);
        broker.input(a, piece, 0);
        rest = after;
    }
    (text(&mut broker, a), broker.closing(a))
}

/// Found by fuzzing: the wrong byte after a payload was noticed only with the next one.
#[test]
fn a_wrong_byte_after_the_payload_is_refused_at_once() {
    let input = b"PUB a 4\r\nabcd\n";
    let whole = transcript(input, &[usize::MAX]);
    assert_eq!(whole.1, Some(CloseReason::ProtocolViolation));
    assert_eq!(whole, transcript(input, &[10]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_split_of_the_input_gives_the_same_transcript(
        input in script(),
        cuts in proptest::collection::vec(1usize..20, 1..12),
    ) {
        let whole = transcript(&input, &[usize::MAX]);
        prop_assert_eq!(&whole, &transcript(&input, &cuts));
        prop_assert_eq!(&whole, &transcript(&input, &[1]));
    }

    #[test]
    fn any_bytes_are_survived(input in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = transcript(&input, &[7]);
    }
}
