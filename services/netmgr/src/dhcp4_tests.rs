//! Tables and properties of the DHCPv4 machine.

use proptest::prelude::*;

use super::*;
use crate::exchange::testing::{Flap, sent_while_flapping};

const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const MINE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);

fn terms(lease_s: u32) -> Terms {
    Terms {
        address: MINE,
        prefix: 24,
        routes: vec![Route::default_by(SERVER.into())],
        dns: vec![SERVER],
        search: Vec::new(),
        hostname: None,
        ntp: Vec::new(),
        mtu: None,
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
        self.client.received(self.now, Received { xid: self.client.exchange.xid(), what }, &mut out);
        out
    }

    fn bound(lease_s: u32) -> Self {
        let mut bench = Self::new().up();
        assert_eq!(bench.asks(), Ask::Discover);
        assert!(bench.hears(Answer::Offer(terms(lease_s))).is_empty());
        assert_eq!(bench.asks(), Ask::Request { address: MINE, server: Some(SERVER) });
        assert_eq!(bench.hears(Answer::Ack(terms(lease_s))), [Action::Probe(MINE)]);
        assert!(bench.client.lease().is_none(), "not before it is known that nobody has it");
        assert_eq!(bench.probed(false), [Action::Bound]);
        bench
    }

    /// The link says whether another machine has the address.
    fn probed(&mut self, taken: bool) -> Vec<Action> {
        let mut out = Vec::new();
        self.client.probed(self.now, MINE, taken, &mut out);
        out
    }

    fn wait(&mut self, ms: u64) {
        self.now = self.now.saturating_add(Millis::new(ms));
    }
}

#[test]
fn an_offer_is_requested_and_an_ack_binds() {
    let bench = Bench::bound(3600);
    let lease = bench.client.lease().unwrap();
    // Half and seven eighths, a little earlier.
    assert!((1687..=1800).contains(&bench.now.until(lease.renew_at).as_secs()));
    assert!((3037..=3150).contains(&bench.now.until(lease.rebind_at).as_secs()));
    assert_eq!(bench.now.until(lease.ends_at).as_secs(), 3600);
}

#[test]
fn a_lease_counts_from_the_request_and_not_from_the_answer() {
    let mut bench = Bench::new().up();
    bench.next();
    bench.hears(Answer::Offer(terms(600)));
    bench.next();
    let first = bench.now;
    // The second request is answered: whether the first one was cannot be known, so the time counts from there.
    bench.next();
    bench.wait(500);
    bench.hears(Answer::Ack(terms(600)));
    bench.wait(3000);
    bench.probed(false);
    assert_eq!(first.until(bench.client.lease().unwrap().ends_at).as_secs(), 600);
    // A renewal: each message has its own number, and the answer to the last one counts from the last one.
    while !matches!(bench.client.state, State::Renewing) {
        bench.next();
    }
    let early = bench.client.exchange.xid();
    bench.next();
    let asked = bench.now;
    bench.wait(700);
    let mut out = Vec::new();
    bench.client.received(bench.now, Received { xid: early, what: Answer::Ack(terms(600)) }, &mut out);
    assert!(out.is_empty(), "an answer to a message before it");
    assert_eq!(bench.hears(Answer::Ack(terms(600))), [Action::Bound]);
    assert_eq!(asked.until(bench.client.lease().unwrap().ends_at).as_secs(), 600);
}

#[test]
fn a_request_repeats_the_seconds_and_the_number_of_its_discover() {
    let mut bench = Bench::new().up();
    let mut sent = Vec::new();
    for _ in 0..2 {
        sent = bench.next();
    }
    let [Action::Send(discover)] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!(discover.secs, u16::try_from(at(100).until(bench.now).as_secs()).unwrap());
    assert!(discover.secs >= 3);
    bench.wait(1500);
    bench.hears(Answer::Offer(terms(600)));
    for _ in 0..2 {
        let sent = bench.next();
        let [Action::Send(request)] = sent.as_slice() else { panic!("{sent:?}") };
        assert_eq!((request.secs, request.xid), (discover.secs, discover.xid));
    }
}

#[test]
fn an_address_another_machine_has_is_declined_and_asked_for_anew_after_a_while() {
    let mut bench = Bench::new().up();
    let mut pauses = Vec::new();
    for _ in 0..5 {
        assert_eq!(bench.asks(), Ask::Discover);
        bench.hears(Answer::Offer(terms(600)));
        bench.next();
        assert_eq!(bench.hears(Answer::Ack(terms(600))), [Action::Probe(MINE)]);
        let out = bench.probed(true);
        let [Action::Send(Outgoing { what, secs: 0, .. }), Action::Taken(MINE)] = out.as_slice() else {
            panic!("{out:?}")
        };
        assert_eq!(*what, Ask::Decline { address: MINE, server: SERVER });
        assert!(bench.client.lease().is_none());
        assert!(bench.hears(Answer::Ack(terms(600))).is_empty(), "nothing is expected");
        pauses.push(bench.now.until(bench.client.deadline().unwrap()).as_secs());
    }
    assert!(pauses.iter().all(|pause| (10..=80).contains(pause)) && pauses[4] >= 48, "{pauses:?}");
}

#[test]
fn a_probe_that_says_nothing_holds_nothing_up() {
    let mut bench = Bench::new().up();
    bench.next();
    bench.hears(Answer::Offer(terms(600)));
    bench.next();
    bench.hears(Answer::Ack(terms(600)));
    let mut out = Vec::new();
    bench.client.probed(bench.now, OTHER, true, &mut out);
    assert!(out.is_empty(), "of another address");
    assert_eq!(bench.next(), [Action::Bound]);
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
    for (wait, middle) in waits[1..].iter().zip([4, 8, 16, 32, 64, 64, 64]) {
        assert!((middle * 1000 - 1000..=middle * 1000 + 1000).contains(wait), "{waits:?}");
    }
}

#[test]
fn a_lease_is_renewed_with_its_server_then_with_any_then_given_up() {
    let mut bench = Bench::bound(3600);
    let start = bench.now;
    assert_eq!(bench.asks(), Ask::Extend { address: MINE, server: Some(SERVER) });
    assert!((1687..=1800).contains(&start.until(bench.now).as_secs()));
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
fn a_withdrawn_offer_of_another_address_does_not_take_the_one_that_is_held() {
    let mut bench = Bench::bound(3600);
    bench.client.link_down();
    bench.client.link_up(bench.now);
    for _ in 0..REBOOT.count {
        bench.next();
    }
    bench.next();
    assert_eq!(bench.asks(), Ask::Discover);
    let offer = Terms { address: OTHER, ..terms(600) };
    bench.hears(Answer::Offer(offer));
    assert_eq!(bench.asks(), Ask::Request { address: OTHER, server: Some(SERVER) });
    assert!(bench.hears(Answer::Nak { server: SERVER }).is_empty());
    assert_eq!((bench.client.lease().unwrap().terms.address, bench.asks()), (MINE, Ask::Discover));
    // One of the address itself does.
    bench.hears(Answer::Offer(terms(600)));
    bench.next();
    assert!(matches!(bench.hears(Answer::Nak { server: SERVER }).as_slice(), [Action::Lost(_)]));
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
    for _ in 0..REQUEST.count {
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
    for _ in 0..REBOOT.count {
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
    let cases: [(&str, Spoil); 9] = [
        ("the network's", |terms| terms.address = Ipv4Addr::new(192, 0, 2, 0)),
        ("that of all its machines", |terms| terms.address = Ipv4Addr::new(192, 0, 2, 255)),
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
    for (last, prefix) in [(0, 31), (1, 31), (255, 32), (255, 16)] {
        assert!(is_host_of(Ipv4Addr::new(192, 0, 2, last), prefix), "{last}/{prefix}");
    }
    let mut bench = Bench::new().up();
    bench.next();
    let mut out = Vec::new();
    let stranger = Received { xid: bench.client.exchange.xid() ^ 1, what: Answer::Offer(terms(600)) };
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
    const DAY: u64 = 86_400;
    for (lease_s, renew_s, rebind_s, (renew, rebind, end)) in [
        (600, None, None, (300, 525, 600)),
        (600, Some(100), Some(200), (100, 200, 600)),
        (600, Some(100), None, (100, 525, 600)),
        (600, Some(0), Some(0), (300, 525, 600)),
        (600, Some(500), Some(400), (500, 525, 600)),
        (600, Some(700), Some(900), (300, 525, 600)),
        (u32::MAX, None, None, (15 * DAY, 2_268_000, 30 * DAY)),
        (u32::MAX, Some(u32::MAX), Some(u32::MAX), (15 * DAY, 2_268_000, 30 * DAY)),
    ] {
        let mut dice = Jitter::new(u64::from(lease_s));
        let lease = lease(Mono::ZERO, Terms { renew_s, rebind_s, ..terms(lease_s) }, &mut dice);
        let near = |at: Mono, secs: u64| (secs - end / 32..=secs).contains(&at.as_millis().div_ceil(1000));
        assert!(near(lease.renew_at, renew), "{lease_s} {renew_s:?} {rebind_s:?}: {lease:?}");
        assert!(near(lease.rebind_at, rebind), "{lease_s} {renew_s:?} {rebind_s:?}: {lease:?}");
        assert!(lease.renew_at < lease.rebind_at && lease.rebind_at < lease.ends_at, "{lease:?}");
        assert_eq!(lease.ends_at.as_millis(), end * 1000);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Up,
    Down,
    Hear(u8, u8, bool, u32),
    Probed(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u64..4_000_000).prop_map(Step::Wait),
        Just(Step::Up),
        Just(Step::Down),
        (0_u8..3, 0_u8..3, any::<bool>(), any::<u32>())
            .prop_map(|(what, who, known, lease)| Step::Hear(what, who, known, lease)),
        any::<bool>().prop_map(Step::Probed),
    ]
}

proptest! {
    #![proptest_config(crate::tests::cases(256))]
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
                    let xid = if known { client.exchange.xid() } else { 0 };
                    client.received(now, Received { xid, what }, &mut out);
                }
                Step::Probed(taken) => client.probed(now, MINE, taken, &mut out),
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

#[test]
fn a_link_that_flaps_makes_no_storm() {
    for held in [false, true] {
        let mut client = Client::new(7, held.then(|| lease(at(1), terms(3600), &mut Jitter::new(1))));
        let sent = sent_while_flapping(&mut client, |client, what| {
            let mut out = Vec::new();
            match what {
                Flap::Up(now) => client.link_up(now),
                Flap::Due(now) => client.due(now, &mut out),
                Flap::Down => client.link_down(),
            }
            out.iter().filter(|action| matches!(action, Action::Send(_))).count()
        });
        assert!(sent <= 61, "{sent} in a minute");
    }
}

/// A server with one address, the network between, and a clock, run against the client for a day and more. `answers`: the hours in which the server
/// answers; `loss`: packets lost, in percent; `naks`: how many requests of a hundred it refuses.
struct Model {
    client: Client,
    now: Mono,
    dice: Jitter,
    /// The end of what the server granted last, by the server's clock.
    granted: Option<Mono>,
    /// When something was sent.
    sends: Vec<Mono>,
    /// Exchanges in a row that were lost, and how many may be: with enough of them each address goes.
    lost: usize,
    lost_max: usize,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut model = Self {
            client: Client::new(seed, None),
            now: at(1),
            dice: Jitter::new(!seed),
            granted: None,
            sends: Vec::new(),
            lost: 0,
            lost_max: usize::MAX,
        };
        model.client.link_up(model.now);
        model
    }

    /// One deadline of the client's. Returns whether the address went.
    fn turn(&mut self, lease_s: u32, answers: bool, loss: u64, naks: u64, taken: u64) -> bool {
        let mut out = Vec::new();
        let had = self.client.lease().is_some();
        self.now = self.client.deadline().unwrap().max(self.now);
        self.client.due(self.now, &mut out);
        let mut lost = false;
        while let Some(action) = out.pop() {
            match action {
                Action::Send(message) => {
                    self.sends.push(self.now);
                    if !answers || self.is_lost(loss) {
                        continue;
                    }
                    let refused = self.dice.below(100) < naks;
                    let what = match message.what {
                        Ask::Discover => Answer::Offer(terms(lease_s)),
                        Ask::Decline { .. } => continue,
                        _ if refused => Answer::Nak { server: SERVER },
                        _ => {
                            self.granted = Some(self.now.saturating_add(Millis::from_secs(lease_s.into())));
                            Answer::Ack(terms(lease_s))
                        }
                    };
                    if self.is_lost(loss) {
                        continue;
                    }
                    self.lost = 0;
                    let delay = self.dice.below(300);
                    self.now = self.now.saturating_add(Millis::new(delay));
                    self.client.received(self.now, Received { xid: message.xid, what }, &mut out);
                }
                Action::Probe(address) => {
                    self.now = self.now.saturating_add(Millis::from_secs(3));
                    let taken = self.dice.below(100) < taken;
                    self.client.probed(self.now, address, taken, &mut out);
                }
                Action::Lost(_) => lost = true,
                Action::Bound | Action::Taken(_) => {}
            }
        }
        had && lost
    }

    fn is_lost(&mut self, percent: u64) -> bool {
        let is_lost = self.dice.below(100) < percent && self.lost < self.lost_max;
        self.lost += usize::from(is_lost);
        is_lost
    }

    fn most_in_an_hour(&self) -> usize {
        self.sends
            .iter()
            .map(|from| {
                self.sends
                    .iter()
                    .filter(|at| (0..3_600_000).contains(&from.until(**at).get()) && *at >= from)
                    .count()
            })
            .max()
            .unwrap_or(0)
    }
}

proptest! {
    #![proptest_config(crate::tests::cases(64))]
    /// While a server answers, one packet in ten lost and never more than three exchanges in a row, the address never goes; it is never in use when the server may have given it to another; and what
    /// is sent in an hour is bounded.
    #[test]
    fn while_a_server_answers_there_is_no_gap(seed in any::<u64>(), lease_s in 600_u32..100_000) {
        let mut model = Model::new(seed);
        model.lost_max = 3;
        for _ in 0..300 {
            prop_assert!(!model.turn(lease_s, true, 10, 0, 0), "lost at {:?}", model.now);
            if let Some(lease) = model.client.lease() {
                prop_assert!(lease.ends_at > model.now && lease.ends_at <= model.granted.unwrap());
            }
        }
        prop_assert!(model.most_in_an_hour() <= 120, "{}", model.most_in_an_hour());
    }

    /// Servers that come and go, refuse, and addresses that others have: never an address beyond its lease, and never a storm.
    #[test]
    fn whatever_a_server_does_an_address_ends_with_its_lease_and_packets_are_few(
        seed in any::<u64>(), lease_s in MIN_LEASE_S..10_000, loss in 0_u64..100, naks in 0_u64..100, taken in 0_u64..100
    ) {
        let mut model = Model::new(seed);
        for turn in 0..400 {
            model.turn(lease_s, turn / 40 % 2 == 0, loss, naks, taken);
            if let Some(lease) = model.client.lease() {
                prop_assert!(lease.ends_at > model.now && lease.ends_at <= model.granted.unwrap());
            }
        }
        // The shortest lease is renewed every 5 s at most.
        prop_assert!(model.most_in_an_hour() <= 900, "{}", model.most_in_an_hour());
    }
}
