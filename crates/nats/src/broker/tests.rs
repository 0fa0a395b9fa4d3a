//! Scripts against a broker without sockets. What is compared with nats-server itself is in
//! `crates/busd/tests/conformance`; here are the things only a broker in hand can show.

use proptest::prelude::*;

use super::places::RESERVED;
use super::*;
use crate::internal::Internal as _;

const QUIET: &str =
    "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true}\r\n";

fn text(broker: &mut Broker, id: ConnId) -> String {
    let out = broker.output(id).collect::<Vec<_>>().concat();
    broker.wrote(id, out.len());
    let out = String::from_utf8_lossy(&out);
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

/// Feeds a sender and drives it as the server does, without patience: whoever reads gets to read at each stop, and a wait
/// for a receiver ends with its room or at once.
fn drive(broker: &mut Broker, sender: ConnId, input: &[u8], now: u64, mut each: impl FnMut(&mut Broker)) {
    let mut flow = broker.input(sender, input, now);
    loop {
        each(broker);
        flow = match flow {
            Flow::Continue | Flow::Closed => return,
            Flow::Flush => broker.resume(sender, now, false),
            Flow::Wait(behind) => {
                let force = !broker.has_room(behind);
                broker.resume(sender, now, force)
            }
        };
    }
}

fn publish(subject: &str, size: usize) -> Vec<u8> {
    format!("PUB {subject} {size}\r\n{}\r\n", "z".repeat(size)).into_bytes()
}

fn read_all(broker: &mut Broker, id: ConnId) -> usize {
    let n = broker.pending(id);
    broker.wrote(id, n);
    n
}

#[test]
fn a_receiver_that_does_not_read_makes_the_sender_wait_and_then_goes() {
    let limits = Limits { max_pending: 4096, ..Limits::default() };
    let mut broker = Broker::new(Config { limits, ..Config::default() });
    let (a, b) = (client(&mut broker), client(&mut broker));
    broker.input(a, b"SUB x 1\r\n", 0);
    let burst = publish("x", 100).repeat(100);
    let mut flow = broker.input(b, &burst, 0);
    while flow == Flow::Flush {
        flow = broker.resume(b, 0, false);
    }
    assert_eq!(flow, Flow::Wait(a));
    assert!(!broker.has_room(a));
    assert!(broker.closing(a).is_none());
    drive(&mut broker, b, b"", 10, |_| {});
    assert_eq!(broker.closing(a), Some(CloseReason::SlowConsumer));
    assert_eq!(broker.pending(a), 0);
    assert_eq!(broker.stats().slow_consumers, 1);
    assert_eq!(broker.stats().subscriptions, 0);
}

#[test]
fn all_together_hold_no_more_than_the_bound_and_who_does_not_read_goes() {
    let limits = Limits { max_memory: 400_000, ..Limits::default() };
    let mut broker = Broker::new(Config { limits, ..Config::default() });
    let (a, b, c) = (client(&mut broker), client(&mut broker), client(&mut broker));
    broker.input(a, b"SUB x 1\r\n", 0);
    broker.input(b, b"SUB x 1\r\n", 0);
    let mut got = 0;
    for now in 0..500 {
        drive(&mut broker, c, &publish("x", 1000), now, |broker| {
            got += read_all(broker, b);
            assert!(broker.kept() <= 400_000, "{}", broker.kept());
        });
    }
    assert_eq!(broker.closing(a), Some(CloseReason::SlowConsumer));
    assert_eq!((broker.closing(b), got), (None, 500 * "MSG x 1 1000\r\n\r\n".len() + 500_000));
    // Half a message of a client counts, too.
    drive(&mut broker, c, format!("PUB x 90000\r\n{}", "z".repeat(80_000)).as_bytes(), 500, |_| {});
    assert!(broker.kept() >= 80_000);
    for id in [a, b, c] {
        broker.disconnect(id);
        broker.forget(id);
    }
    assert_eq!(broker.kept(), 0);
}

#[test]
fn a_waiting_sender_loses_nothing_when_the_receiver_reads() {
    let limits = Limits { max_pending: 4096, ..Limits::default() };
    let mut broker = Broker::new(Config { limits, ..Config::default() });
    let (a, b) = (client(&mut broker), client(&mut broker));
    broker.input(a, b"SUB x 1\r\n", 0);
    let mut got = 0;
    drive(&mut broker, b, &publish("x", 100).repeat(200), 0, |broker| {
        got += text(broker, a).matches("MSG x 1 100").count();
    });
    assert_eq!((broker.closing(a), got), (None, 200));
}

/// The receivers of one message that the bounds have no room for all at once get it one after the other, for as long as
/// they read; one that does not is bounded while the message goes out.
#[test]
fn one_message_to_very_many_subscriptions_stays_within_the_bounds() {
    for size in [100, 3_000, 1 << 20] {
        let mut broker = Broker::new(Config::default());
        let (stuck, good, quick) = (client(&mut broker), client(&mut broker), client(&mut broker));
        let sender = client(&mut broker);
        for id in [stuck, good] {
            // Long names of the subscriptions make even the control lines large.
            let subs: String = (0..4_000).map(|n| format!("SUB x {n:0>200}\r\n")).collect();
            drive(&mut broker, id, subs.as_bytes(), 0, |_| {});
        }
        drive(&mut broker, quick, b"SUB x q 1\r\nSUB x p 2\r\n", 0, |_| {});
        assert_eq!(broker.stats().subscriptions, 8_002);
        let (mut got, mut quick_got, mut peak) = (0, 0, 0);
        for now in 1..=5 {
            drive(&mut broker, sender, &publish("x", size), now, |broker| {
                peak = peak.max(broker.kept());
                got += read_all(broker, good);
                quick_got += read_all(broker, quick);
            });
        }
        let message = |sid: usize| "MSG x  ".len() + sid + size.to_string().len() + 4 + size;
        assert_eq!((got, quick_got), (5 * 4_000 * message(200), 5 * 2 * message(1)), "{size}");
        assert_eq!((broker.closing(good), broker.closing(quick)), (None, None), "{size}");
        assert!(peak < 32 << 20, "{size}: {peak}");
        let kept = broker.conns.get(stuck.slot).unwrap().out.kept();
        assert!(kept <= broker.config.limits.max_pending, "{size}: {kept}");
    }
}

#[test]
fn a_message_that_stopped_in_between_reaches_each_that_was_there_once() {
    let limits = Limits { max_pending: 8_192, ..Limits::default() };
    let mut broker = Broker::new(Config { limits, ..Config::default() });
    let (a, b, sender) = (client(&mut broker), client(&mut broker), client(&mut broker));
    for n in 0..50 {
        drive(&mut broker, a, format!("SUB x {n}\r\n").as_bytes(), 0, |_| {});
        drive(&mut broker, b, format!("SUB x {n}\r\n").as_bytes(), 0, |_| {});
    }
    let inbox = "SUB in 9\r\n";
    let request = format!("{inbox}HPUB x in 12 512\r\nNATS/1.0\r\n\r\n{}\r\n", "z".repeat(500));
    assert_eq!(broker.input(sender, request.as_bytes(), 0), Flow::Flush);
    let first = text(&mut broker, a).matches("HMSG").count();
    assert!(first > 0 && first < 50, "{first}");
    // Meanwhile subscriptions end, and others take their numbers and places.
    for n in 0..50 {
        drive(&mut broker, a, format!("UNSUB {n}\r\nSUB y {n}\r\nSUB x new{n}\r\n").as_bytes(), 0, |_| {});
    }
    let mut got = String::new();
    drive(&mut broker, sender, b"PUB y 0\r\n\r\n", 0, |broker| {
        assert!(!text(broker, a).contains("HMSG"), "a subscription that came later got the message");
        got.push_str(&text(broker, b));
    });
    assert_eq!(got.matches("HMSG x ").count(), 50);
    assert_eq!(text(&mut broker, sender), "", "somebody listened");

    // Whoever leaves in between has sent it all the same.
    assert_eq!(broker.input(sender, publish("x", 500).as_slice(), 0), Flow::Flush);
    broker.disconnect(sender);
    got = text(&mut broker, a) + &text(&mut broker, b);
    assert_eq!(broker.closing(a).or(broker.closing(b)), Some(CloseReason::SlowConsumer), "{got}");
}

#[test]
fn many_that_hold_a_little_each_do_not_cost_a_reader_its_connection() {
    let limits = Limits { max_memory: 4 << 20, ..Limits::default() };
    let mut broker = Broker::new(Config { limits, ..Config::default() });
    let slow: Vec<_> = (0..200).map(|_| client(&mut broker)).collect();
    let (good, sender) = (client(&mut broker), client(&mut broker));
    for id in slow.iter().chain([&good]) {
        broker.input(*id, b"SUB x.> 1\r\nSUB y 2\r\n", 0);
    }
    let mut got = 0;
    for now in 1..=2_000 {
        // The reader gets more than any of the others in each step.
        if now % 7 == 0 {
            broker.input(good, format!("SUB x.{now} {now}\r\n").as_bytes(), now);
        }
        let burst = publish(&format!("x.{now}"), 600).repeat(3);
        drive(&mut broker, sender, &burst, now, |broker| {
            assert!(broker.kept() <= 4 << 20);
            got += read_all(broker, good);
        });
        assert_eq!(broker.closing(good), None, "at {now}");
    }
    assert!(got > 6_000 * 600);
    let gone = slow.iter().filter(|id| broker.closing(**id) == Some(CloseReason::SlowConsumer)).count();
    assert!(gone > 100, "{gone}");
}

#[test]
fn last_words_nobody_reads_do_not_cost_others_their_connection() {
    let limits = Limits { max_memory: 3 << 20, ..Limits::default() };
    let mut broker = Broker::new(Config { limits, ..Config::default() });
    let (a, good, sender) = (client(&mut broker), client(&mut broker), client(&mut broker));
    broker.input(a, b"SUB x 1\r\n", 0);
    broker.input(good, b"SUB x 1\r\nSUB y 2\r\n", 0);
    for now in 0..20 {
        drive(&mut broker, sender, &publish("x", 90_000), now, |broker| {
            read_all(broker, good);
        });
    }
    broker.input(a, b"NONSENSE\r\n", 20);
    assert!(broker.pending(a) > 1 << 20);
    for now in 20..40 {
        drive(&mut broker, sender, &publish("y", 900_000), now, |broker| {
            assert!(broker.kept() <= 3 << 20);
            read_all(broker, good);
        });
    }
    assert_eq!(broker.closing(good), None);
}

#[test]
fn messages_for_machines_inside_are_bounded_in_a_step() {
    let mut broker = Broker::new(Config::default());
    let sub = broker.internal_subscribe("in.>").unwrap();
    let clients: Vec<_> = (0..30).map(|_| client(&mut broker)).collect();
    let mut got = 0;
    let mut waiting = Vec::new();
    for id in &clients {
        let flow = broker.input(*id, &publish("in.x", 1_000_000), 0);
        if flow == Flow::Flush {
            waiting.push(*id);
        }
    }
    while !waiting.is_empty() {
        let messages = broker.take_internal();
        assert!(messages.iter().all(|m| m.sub == sub));
        assert!(messages.len() <= 5, "{}", messages.len());
        got += messages.len();
        waiting.retain(|id| broker.resume(*id, 0, false) != Flow::Continue);
    }
    got += broker.take_internal().len();
    assert_eq!(got, 30);
}

#[test]
fn what_subscriptions_cost_is_bounded_for_one_and_for_all() {
    let limits = Limits { max_subscription_memory: 1 << 20, ..Limits::default() };
    let mut broker = Broker::new(Config { limits, ..Config::default() });
    let mut clients = Vec::new();
    for n in 0..6 {
        let id = client(&mut broker);
        let filter = |i: usize| format!("{n}.{i}.{}", "a.".repeat(200) + "b");
        for i in 0..100 {
            drive(&mut broker, id, format!("SUB {} {i}\r\n", filter(i)).as_bytes(), 0, |_| {});
        }
        clients.push((id, broker.conns.get(id.slot).unwrap().subs.len()));
        let said = text(&mut broker, id);
        assert!(said.lines().all(|l| l == "-ERR 'maximum subscriptions exceeded'"), "{said}");
    }
    assert!(broker.subs_cost <= 1 << 20);
    let counts: Vec<_> = clients.iter().map(|(_, n)| *n).collect();
    assert!(counts[..4].iter().all(|n| *n == counts[0] && *n > 5), "{counts:?}");
    assert!(counts[4] < counts[0] && counts[5] == 0, "{counts:?}");
    // What ends gives its room back.
    for (id, _) in &clients[..2] {
        broker.disconnect(*id);
    }
    assert_eq!(broker.subs_cost, broker.conns.iter().map(|(_, c)| c.subs_cost).sum::<usize>());
    broker.input(clients[5].0, b"SUB now 1\r\n", 0);
    assert_eq!(text(&mut broker, clients[5].0), "");
}

#[test]
fn a_second_connect_that_is_refused_leaves_no_subscription_behind() {
    let user = User { name: "u".to_owned(), password: "p".to_owned(), permissions: None };
    let mut broker = Broker::new(Config { users: vec![user], ..Config::default() });
    let a = broker.connect("127.0.0.1", 0);
    broker.input(a, b"CONNECT {\"user\":\"u\",\"pass\":\"p\"}\r\nSUB x 1\r\nSUB y 2\r\n", 0);
    assert_eq!(broker.stats().subscriptions, 2);
    broker.input(a, b"CONNECT {\"user\":\"u\",\"pass\":\"wrong\"}\r\n", 0);
    assert_eq!(broker.closing(a), Some(CloseReason::AuthenticationViolation));
    assert_eq!((broker.stats().subscriptions, broker.subs_cost), (0, 0));
    assert!(broker.list.matches(b"x").plain.is_empty());
}

fn daemons(count: usize) -> Vec<User> {
    let user = |n| User { name: format!("d{n}"), password: "p".to_owned(), permissions: None };
    (0..count).map(user).collect()
}

fn log_in(broker: &mut Broker, id: ConnId, user: usize) {
    broker.input(id, format!("CONNECT {{\"user\":\"d{user}\",\"pass\":\"p\"}}\r\n").as_bytes(), 0);
}

#[test]
fn strangers_do_not_keep_users_out() {
    let limits = Limits { max_connections: 64, ..Limits::default() };
    let mut broker = Broker::new(Config { limits, users: daemons(3), ..Config::default() });
    let there = broker.connect("127.0.0.1", 0);
    log_in(&mut broker, there, 0);
    let mut strangers: VecDeque<_> = (0..1_000).map(|_| broker.connect("127.0.0.1", 0)).collect();
    let open = strangers.iter().filter(|id| broker.closing(**id).is_none()).count();
    assert_eq!(open, 32, "half of the places");
    assert!(broker.closing(strangers[999]).is_none(), "the oldest go");
    // A login is not evicted before as many have come after it.
    let login = broker.connect("127.0.0.1", 0);
    strangers.extend((0..31).map(|_| broker.connect("127.0.0.1", 0)));
    log_in(&mut broker, login, 1);
    assert_eq!((broker.closing(login), broker.closing(there)), (None, None));
    assert!(text(&mut broker, strangers[0]).contains("maximum connections exceeded"));
}

#[test]
fn a_user_that_takes_all_places_leaves_some_to_each_other() {
    let limits = Limits { max_connections: 64, ..Limits::default() };
    let mut broker = Broker::new(Config { limits, users: daemons(3), ..Config::default() });
    let admitted = |broker: &mut Broker, user: usize, count: usize| -> Vec<ConnId> {
        let mut all = Vec::new();
        for _ in 0..count {
            let id = broker.connect("127.0.0.1", 0);
            log_in(broker, id, user);
            if broker.closing(id).is_none() {
                all.push(id);
            } else {
                broker.forget(id);
            }
        }
        all
    };
    let greedy = admitted(&mut broker, 0, 200);
    assert_eq!(greedy.len(), 64 - 4 - 2 * RESERVED);
    assert_eq!(admitted(&mut broker, 1, 10).len(), RESERVED);
    assert_eq!(admitted(&mut broker, 2, 3).len(), 3);
    for id in &greedy[..10] {
        broker.disconnect(*id);
    }
    assert_eq!(admitted(&mut broker, 1, 20).len(), 10);
    assert_eq!(admitted(&mut broker, 2, 20).len(), 1);
    // Saying it again takes no second place.
    log_in(&mut broker, greedy[20], 0);
    assert_eq!(broker.closing(greedy[20]), None);
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
    assert!(broker.list.matches(b"$JS.API.INFO").plain.is_empty());
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

#[test]
fn who_does_not_read_holds_up_other_users_for_a_twentieth_of_the_time() {
    let limits = Limits { max_pending: 1024 * 1024, ..Limits::default() };
    let mut broker = Broker::new(Config { limits, users: daemons(2), ..Config::default() });
    let mut come = |user| {
        let id = broker.connect("127.0.0.1", 0);
        log_in(&mut broker, id, user);
        id
    };
    let (deaf, own, other) = (come(0), come(0), come(1));
    broker.input(deaf, b"SUB x 1\r\n", 0);
    // More than half of what it may leave unread.
    drive(&mut broker, own, &publish("x", 1_000).repeat(600), 0, |_| ());
    let waits = |broker: &mut Broker, sender, now| {
        let flow = broker.input(sender, &publish("x", 1), now);
        if flow == Flow::Wait(deaf) {
            broker.resume(sender, now, true);
        }
        flow == Flow::Wait(deaf)
    };
    assert_eq!((0..20).filter(|_| waits(&mut broker, other, 1)).count(), 5, "50 ms in waits of 10 ms");
    let later = (0..1_000).filter(|ms| waits(&mut broker, other, 2 + ms)).count();
    assert!((4..=5).contains(&later), "{later} waits of 10 ms in a second");
    assert!((0..20).all(|_| waits(&mut broker, own, 2_000)), "its own user's sender waits each time");
}

#[test]
fn what_a_user_hears_several_times_is_told() {
    let mut broker = Broker::new(Config { users: daemons(3), ..Config::default() });
    let mut come = |user| {
        let id = broker.connect("127.0.0.1", 0);
        log_in(&mut broker, id, user);
        broker.input(id, b"SUB x 1\r\n", 0);
        id
    };
    let sender = come(0);
    for _ in 0..3 {
        come(1);
    }
    come(2);
    let mut told = Vec::new();
    broker.input(sender, &publish("x", 1).repeat(2), 0);
    broker.take_heard_again(|user, again, all| told.push((user, again, all)));
    assert_eq!(told, [(1, 4, 10)], "two of three deliveries of each message, of five");
    broker.take_heard_again(|_, _, _| panic!("it was taken"));
}
