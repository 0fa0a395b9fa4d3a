//! Tables and properties of the DHCPv4 machine.

use proptest::prelude::*;

use super::*;

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const MINE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);

fn terms(lease_s: u32) -> Terms {
    Terms {
        address: MINE,
        prefix: 24,
        gateway: Some(SERVER),
        dns: vec![SERVER],
        domain: None,
        hostname: None,
        ntp: Vec::new(),
        server: SERVER,
        lease_s,
        renew_s: None,
        rebind_s: None,
    }
}

fn at(secs: u64) -> Mono {
    Mono::from_millis(secs * 1000)
}

/// A client and the network's end of it.
struct Bench {
    client: Client,
    now: Mono,
}

impl Bench {
    fn new() -> Self {
        Self { client: Client::new(1, None), now: at(100) }
    }

    fn up(mut self) -> Self {
        self.client.link_up(self.now);
        self
    }

    /// Goes to the next deadline and returns what the client says there.
    fn next(&mut self) -> Vec<Action> {
        let mut out = Vec::new();
        self.now = self.client.deadline().unwrap().max(self.now);
        self.client.due(self.now, &mut out);
        out
    }

    fn asks(&mut self) -> Ask {
        let out = self.next();
        match out.as_slice() {
            [Action::Send(message)] => message.what.clone(),
            other => panic!("not one message: {other:?}"),
        }
    }

    fn hears(&mut self, what: Answer) -> Vec<Action> {
        let mut out = Vec::new();
        self.client.received(self.now, Received { xid: self.client.xid, what }, &mut out);
        out
    }

    fn bound(lease_s: u32) -> Self {
        let mut bench = Self::new().up();
        assert_eq!(bench.asks(), Ask::Discover);
        assert!(bench.hears(Answer::Offer(terms(lease_s))).is_empty());
        assert_eq!(bench.asks(), Ask::Request { address: MINE, server: Some(SERVER) });
        assert_eq!(bench.hears(Answer::Ack(terms(lease_s))), [Action::Bound]);
        bench
    }
}

#[test]
fn an_offer_is_requested_and_an_ack_binds() {
    let bench = Bench::bound(3600);
    let lease = bench.client.lease().unwrap();
    assert_eq!(bench.now.until(lease.renew_at).as_secs(), 1800);
    assert_eq!(bench.now.until(lease.rebind_at).as_secs(), 3150);
    assert_eq!(bench.now.until(lease.ends_at).as_secs(), 3600);
}

#[test]
fn silence_is_asked_into_ever_more_slowly_and_for_ever() {
    let mut bench = Bench::new().up();
    let mut last = bench.now;
    let mut waits = Vec::new();
    for _ in 0..12 {
        assert_eq!(bench.asks(), Ask::Discover);
        waits.push(last.until(bench.now).get());
        last = bench.now;
    }
    assert_eq!(waits[0], 0, "the first goes out at once");
    assert!((1500..2500).contains(&waits[1]) && (3000..5000).contains(&waits[2]), "{waits:?}");
    assert!(waits[8..].iter().all(|wait| (48_000..80_000).contains(wait)), "{waits:?}");
}

#[test]
fn a_lease_is_renewed_with_its_server_then_with_any_then_given_up() {
    let mut bench = Bench::bound(3600);
    let start = bench.now;
    assert_eq!(bench.asks(), Ask::Extend { address: MINE, server: Some(SERVER) });
    assert_eq!(start.until(bench.now).as_secs(), 1800);
    let mut to_server = 1;
    let mut to_all = 0;
    loop {
        let out = bench.next();
        match out.as_slice() {
            [Action::Send(Outgoing { what: Ask::Extend { server: Some(_), .. }, .. })] if to_all == 0 => {
                to_server += 1
            }
            [Action::Send(Outgoing { what: Ask::Extend { server: None, .. }, .. })] => to_all += 1,
            [Action::Lost(_), Action::Send(Outgoing { what: Ask::Discover, .. })] => break,
            other => panic!("{other:?}"),
        }
        assert!(bench.client.lease().is_some());
    }
    assert_eq!(start.until(bench.now).as_secs(), 3600, "held to the last second");
    assert!((3..10).contains(&to_server) && (2..10).contains(&to_all), "{to_server} {to_all}");
    assert!(bench.client.lease().is_none());
}

#[test]
fn an_ack_while_renewing_or_rebinding_extends() {
    let mut bench = Bench::bound(3600);
    bench.next();
    assert_eq!(bench.hears(Answer::Ack(terms(3600))), [Action::Bound]);
    assert_eq!(bench.now.until(bench.client.lease().unwrap().ends_at).as_secs(), 3600);
    while bench.client.state != State::Rebinding {
        bench.next();
    }
    let mut from_other = terms(600);
    from_other.server = OTHER;
    assert_eq!(bench.hears(Answer::Ack(from_other)), [Action::Bound]);
    assert_eq!(bench.client.lease().unwrap().terms.server, OTHER);
}

#[test]
fn a_nak_takes_the_address_and_starts_over_at_once() {
    let mut bench = Bench::bound(3600);
    bench.next();
    assert!(
        bench.hears(Answer::Nak { server: OTHER }).is_empty(),
        "another server has no say while renewing"
    );
    assert!(matches!(bench.hears(Answer::Nak { server: SERVER }).as_slice(), [Action::Lost(_)]));
    let before = bench.now;
    assert_eq!(bench.asks(), Ask::Discover);
    assert_eq!(bench.now, before);
}

#[test]
fn a_server_that_offers_and_refuses_is_asked_ever_more_slowly() {
    let mut bench = Bench::new().up();
    let start = bench.now;
    for _ in 0..8 {
        assert_eq!(bench.asks(), Ask::Discover);
        bench.hears(Answer::Offer(terms(600)));
        bench.next();
        bench.hears(Answer::Nak { server: SERVER });
    }
    assert!(start.until(bench.now).as_secs() > 60);
}

#[test]
fn an_offer_that_is_never_granted_is_dropped_for_another() {
    let mut bench = Bench::new().up();
    bench.next();
    bench.hears(Answer::Offer(terms(600)));
    for _ in 0..REQUESTS {
        assert!(matches!(bench.asks(), Ask::Request { .. }));
    }
    bench.next();
    assert_eq!(bench.asks(), Ask::Discover);
}

#[test]
fn a_link_that_returns_asks_for_the_same_address_and_keeps_it_meanwhile() {
    let mut bench = Bench::bound(3600);
    bench.client.link_down();
    assert!(bench.client.lease().is_some());
    bench.now = bench.now.saturating_add(Millis::from_secs(10));
    bench.client.link_up(bench.now);
    assert_eq!(bench.asks(), Ask::Request { address: MINE, server: None });
    assert_eq!(bench.hears(Answer::Ack(terms(3600))), [Action::Bound]);
    // The same on another network, whose server refuses.
    bench.client.link_down();
    bench.client.link_up(bench.now);
    bench.next();
    assert!(matches!(bench.hears(Answer::Nak { server: OTHER }).as_slice(), [Action::Lost(_)]));
    // And on one where nobody knows the address: it is kept, and an offer is looked for.
    let mut bench = Bench::bound(3600);
    bench.client.link_down();
    bench.client.link_up(bench.now);
    for _ in 0..REBOOTS {
        assert!(matches!(bench.asks(), Ask::Request { server: None, .. }));
    }
    bench.next();
    assert_eq!(bench.asks(), Ask::Discover);
    assert!(bench.client.lease().is_some());
}

#[test]
fn a_lease_ends_while_the_link_is_down_as_well() {
    let mut bench = Bench::bound(600);
    bench.client.link_down();
    assert_eq!(bench.next(), [Action::Lost("the lease ended")]);
    assert_eq!(bench.client.deadline(), None, "without link and lease there is nothing to wait for");
}

#[test]
fn what_is_not_ours_or_not_usable_is_not_taken() {
    type Spoil = fn(&mut Terms);
    let cases: [(&str, Spoil); 7] = [
        ("the net's own address", |terms| terms.address = Ipv4Addr::UNSPECIFIED),
        ("broadcast", |terms| terms.address = Ipv4Addr::BROADCAST),
        ("multicast", |terms| terms.address = Ipv4Addr::new(224, 0, 0, 1)),
        ("loopback", |terms| terms.address = Ipv4Addr::LOCALHOST),
        ("no prefix", |terms| terms.prefix = 0),
        ("too long a prefix", |terms| terms.prefix = 33),
        ("too short a lease", |terms| terms.lease_s = MIN_LEASE_S - 1),
    ];
    for (name, spoil) in cases {
        let mut bench = Bench::new().up();
        bench.next();
        let mut offer = terms(600);
        spoil(&mut offer);
        bench.hears(Answer::Offer(offer));
        assert_eq!(bench.asks(), Ask::Discover, "{name}");
    }
    let mut bench = Bench::new().up();
    bench.next();
    let mut out = Vec::new();
    let stranger = Received { xid: bench.client.xid ^ 1, what: Answer::Offer(terms(600)) };
    bench.client.received(bench.now, stranger, &mut out);
    assert_eq!(bench.asks(), Ask::Discover, "another conversation");
    bench.hears(Answer::Offer(terms(600)));
    bench.next();
    let mut other = terms(600);
    other.address = OTHER;
    assert!(bench.hears(Answer::Ack(other)).is_empty(), "not what was offered");
}

#[test]
fn times_from_outside_are_bounded_and_in_order() {
    for (lease_s, renew_s, rebind_s, expect) in [
        (600, None, None, (300, 525, 600)),
        (600, Some(100), Some(200), (100, 200, 600)),
        (600, Some(100), None, (100, 525, 600)),
        (600, Some(0), Some(0), (300, 525, 600)),
        (600, Some(500), Some(400), (500, 525, 600)),
        (600, Some(700), Some(900), (300, 525, 600)),
        (u32::MAX, None, None, (15 * 86_400, 2_268_000, 30 * 86_400)),
        (u32::MAX, Some(u32::MAX), Some(u32::MAX), (15 * 86_400, 2_268_000, 30 * 86_400)),
    ] {
        let lease = lease(Mono::ZERO, Terms { renew_s, rebind_s, ..terms(lease_s) });
        let secs = |at: Mono| at.as_millis() / 1000;
        assert_eq!(
            (secs(lease.renew_at), secs(lease.rebind_at), secs(lease.ends_at)),
            expect,
            "{lease_s} {renew_s:?} {rebind_s:?}"
        );
    }
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Up,
    Down,
    Hear(u8, u8, bool, u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u64..4_000_000).prop_map(Step::Wait),
        Just(Step::Up),
        Just(Step::Down),
        (0_u8..3, 0_u8..3, any::<bool>(), any::<u32>())
            .prop_map(|(what, who, known, lease)| Step::Hear(what, who, known, lease)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    /// Whatever the network does: while the link is up there is always a next step, an address is in use only inside its lease, and the
    /// client never sends twice in the same moment for one reason.
    #[test]
    fn it_never_gets_stuck_and_never_keeps_what_has_ended(steps in prop::collection::vec(step(), 1..60)) {
        let mut client = Client::new(5, None);
        let mut now = at(1);
        let mut up = false;
        for step in steps {
            let mut out = Vec::new();
            match step {
                Step::Wait(ms) => now = now.saturating_add(Millis::new(ms)),
                Step::Up => { client.link_up(now); up = true; }
                Step::Down => { client.link_down(); up = false; }
                Step::Hear(what, who, known, lease_s) => {
                    let server = Ipv4Addr::new(192, 0, 2, who);
                    let terms = Terms { server, ..terms(lease_s) };
                    let what = match what { 0 => Answer::Offer(terms), 1 => Answer::Ack(terms), _ => Answer::Nak { server } };
                    let xid = if known { client.xid } else { 0 };
                    client.received(now, Received { xid, what }, &mut out);
                }
            }
            let mut turns = 0;
            while client.deadline().is_some_and(|at| at <= now) {
                client.due(now, &mut out);
                turns += 1;
                prop_assert!(turns < 8, "it turns in place: {:?}", client);
            }
            prop_assert!(out.iter().filter(|action| matches!(action, Action::Send(_))).count() <= 2);
            prop_assert!(!up || client.deadline().is_some());
            prop_assert!(client.lease().is_none_or(|lease| lease.ends_at > now));
        }
    }
}
