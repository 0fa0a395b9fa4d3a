//! Tables, properties and a model of the DHCPv6 machine.

use proptest::prelude::*;

use super::*;
use crate::exchange::testing::{Flap, sent_while_flapping};

const SERVER: &[u8] = &[0, 3, 0, 1, 2, 0, 0, 0, 0, 1];
const OTHER: &[u8] = &[0, 3, 0, 1, 2, 0, 0, 0, 0, 2];
const DUPLICATE: &str = "another machine";

fn mine() -> Ipv6Addr {
    "2001:db8::77".parse().unwrap()
}

fn second() -> Ipv6Addr {
    "2001:db8::78".parse().unwrap()
}

fn granted(address: Ipv6Addr, valid_s: u32) -> Granted {
    Granted { address, preferred_s: valid_s, valid_s }
}

fn association(addresses: Vec<Granted>) -> Association {
    Association { status: Status::Success, renew_s: 0, rebind_s: 0, addresses }
}

fn message(kind: Kind, association: Option<Association>) -> Received {
    Received {
        xid: 0,
        kind,
        status: Status::Success,
        server: SERVER.to_vec(),
        preference: 0,
        association,
        told: Told::default(),
        sol_max_rt_s: None,
        inf_max_rt_s: None,
        refresh_s: None,
    }
}

fn advertise() -> Received {
    message(Kind::Advertise, Some(association(vec![granted(mine(), 1000)])))
}

fn reply() -> Received {
    message(Kind::Reply, Some(association(vec![granted(mine(), 1000)])))
}

/// A reply whose association says only this.
fn refusal(status: Status) -> Received {
    message(Kind::Reply, Some(Association { status, ..association(Vec::new()) }))
}

struct Bench {
    client: Client,
    now: Mono,
}

impl Bench {
    fn up(client: Client) -> Self {
        let mut bench = Self { client, now: Mono::from_millis(5000) };
        bench.client.link_up(bench.now);
        bench
    }

    /// Goes to the next deadline.
    fn next(&mut self) -> Vec<Action> {
        let mut out = Vec::new();
        self.now = self.client.deadline().unwrap().max(self.now);
        self.client.due(self.now, &mut out);
        out
    }

    /// The next message.
    fn sends(&mut self) -> Outgoing {
        for _ in 0..3 {
            match self.next().as_slice() {
                [Action::Send(message)] => return message.clone(),
                [] => {}
                other => panic!("not one message: {other:?}"),
            }
        }
        panic!("nothing is sent: {:?}", self.client)
    }

    fn asks(&mut self) -> Ask {
        self.sends().what
    }

    fn hears(&mut self, message: Received) -> Vec<Action> {
        let mut out = Vec::new();
        self.client.received(self.now, Received { xid: self.client.exchange.xid(), ..message }, &mut out);
        out
    }

    fn addresses(&self) -> Vec<Ipv6Addr> {
        self.client.lease().map(Lease::addresses).unwrap_or_default()
    }

    fn requesting() -> Self {
        let mut bench = Self::up(Client::new(3, None));
        assert_eq!(bench.asks(), Ask::Solicit);
        assert!(bench.hears(advertise()).is_empty());
        assert_eq!(bench.asks(), Ask::Request { addresses: vec![mine()], server: SERVER.to_vec() });
        bench
    }

    fn bound() -> Self {
        let mut bench = Self::requesting();
        assert_eq!(bench.hears(reply()), [Action::Bound]);
        bench
    }

    fn renewing() -> Self {
        let mut bench = Self::bound();
        assert_eq!(bench.asks(), Ask::Renew { addresses: vec![mine()], server: SERVER.to_vec() });
        bench
    }
}

#[test]
fn an_address_is_got_renewed_rebound_and_given_up() {
    let mut bench = Bench::bound();
    let start = bench.now;
    assert!(matches!(bench.asks(), Ask::Renew { .. }));
    assert_eq!(start.until(bench.now).as_secs(), 500);
    assert_eq!(bench.hears(reply()), [Action::Bound]);
    let start = bench.now;
    let (mut renews, mut rebinds) = (0, 0);
    loop {
        match bench.next().as_slice() {
            [Action::Send(Outgoing { what: Ask::Renew { .. }, .. })] => renews += 1,
            [Action::Send(Outgoing { what: Ask::Rebind { .. }, .. })] => {
                // Not before T2.
                assert!(start.until(bench.now).as_secs() >= 800);
                rebinds += 1;
            }
            [Action::Lost(_), ..] => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(start.until(bench.now).as_secs(), 1000, "held to the last second");
    assert!((3..8).contains(&renews) && (3..8).contains(&rebinds), "{renews} {rebinds}");
    assert_eq!(bench.asks(), Ask::Solicit);
}

#[test]
fn of_several_offers_the_preferred_one_is_taken_after_the_first_wait() {
    let mut bench = Bench::up(Client::new(3, None));
    bench.asks();
    let asked = bench.now;
    for (preference, server) in [(0, OTHER), (7, SERVER), (7, OTHER), (3, OTHER)] {
        bench.hears(Received { preference, server: server.to_vec(), ..advertise() });
    }
    assert_eq!(bench.asks(), Ask::Request { addresses: vec![mine()], server: SERVER.to_vec() });
    // RAND of the first Solicit is above zero.
    assert!((1001..=1101).contains(&asked.until(bench.now).get()));
    // One that is the best there can be is not waited after.
    let mut bench = Bench::up(Client::new(3, None));
    bench.asks();
    let asked = bench.now;
    bench.hears(advertise());
    bench.hears(Received { preference: BEST, server: OTHER.to_vec(), ..advertise() });
    assert_eq!(bench.asks(), Ask::Request { addresses: vec![mine()], server: OTHER.to_vec() });
    assert_eq!(bench.now, asked);
    // And after the first wait, any.
    let mut bench = Bench::up(Client::new(3, None));
    bench.asks();
    bench.asks();
    let asked = bench.now;
    bench.hears(advertise());
    assert!(matches!(bench.asks(), Ask::Request { .. }));
    assert_eq!(bench.now, asked);
}

#[test]
fn a_solicit_waits_up_to_an_hour_or_what_a_server_says() {
    let longest = |limit: Option<u32>| {
        let mut bench = Bench::up(Client::new(9, None));
        let mut last = bench.now;
        let mut longest = 0;
        for turn in 0..20 {
            assert_eq!(bench.asks(), Ask::Solicit);
            longest = longest.max(last.until(bench.now).as_secs());
            last = bench.now;
            if turn == 0 {
                // Of an offer of nothing as well, and in whatever status.
                let nothing = message(Kind::Advertise, None);
                bench.hears(Received { sol_max_rt_s: limit, status: Status::NoAddrsAvail, ..nothing });
            }
        }
        longest
    };
    assert!((3240..=3960).contains(&longest(None)));
    assert!((54..=66).contains(&longest(Some(60))));
    for out_of_range in [0, 59, 86_401] {
        assert!((3240..=3960).contains(&longest(Some(out_of_range))), "{out_of_range}");
    }
}

#[test]
fn the_first_message_of_an_exchange_has_no_time_behind_it_and_the_others_count_hundredths() {
    let mut bench = Bench::up(Client::new(3, None));
    assert!(bench.client.deadline().unwrap() <= bench.now.saturating_add(Millis::new(MAX_DELAY_MS)));
    let first = bench.sends();
    assert_eq!(first.elapsed, 0, "whatever it was delayed by");
    let began = bench.now;
    let again = bench.sends();
    assert_eq!((u64::from(again.elapsed), again.xid), (began.until(bench.now).get() / 10, first.xid));
    for _ in 0..12 {
        bench.sends();
    }
    assert_eq!(bench.sends().elapsed, u16::MAX);
    bench.hears(advertise());
    let request = bench.sends();
    assert_eq!(request.elapsed, 0);
    assert_ne!(request.xid, first.xid);
}

#[test]
fn a_request_nobody_answers_is_given_up_after_ten() {
    let mut bench = Bench::requesting();
    for _ in 1..REQUEST.count {
        assert!(matches!(bench.asks(), Ask::Request { .. }));
    }
    assert_eq!(bench.asks(), Ask::Solicit);
}

#[test]
fn a_server_that_forgot_the_binding_is_asked_for_it_at_once_and_the_address_stays() {
    for at_message in [false, true] {
        let mut bench = Bench::renewing();
        let no_binding = if at_message {
            Received { status: Status::NoBinding, ..message(Kind::Reply, None) }
        } else {
            refusal(Status::NoBinding)
        };
        assert!(bench.hears(no_binding.clone()).is_empty(), "nothing is lost");
        let before = bench.now;
        assert_eq!(bench.asks(), Ask::Request { addresses: vec![mine()], server: SERVER.to_vec() });
        assert_eq!((bench.now, bench.addresses()), (before, vec![mine()]));
        assert_eq!(bench.hears(reply()), [Action::Bound]);
        assert_eq!(bench.addresses(), [mine()]);
    }
    // While rebinding, whichever server says so.
    let mut bench = Bench::renewing();
    while !matches!(bench.client.state, State::Rebinding) {
        bench.next();
    }
    assert!(bench.hears(Received { server: OTHER.to_vec(), ..refusal(Status::NoBinding) }).is_empty());
    assert_eq!(bench.asks(), Ask::Request { addresses: vec![mine()], server: OTHER.to_vec() });
    assert_eq!(bench.addresses(), [mine()]);
    // Even if it then has none, the address stays to its end, and others are asked.
    assert!(bench.hears(Received { server: OTHER.to_vec(), ..refusal(Status::NoAddrsAvail) }).is_empty());
    assert_eq!((bench.asks(), bench.addresses()), (Ask::Solicit, vec![mine()]));
}

#[test]
fn what_is_no_answer_to_a_renewal_changes_nothing() {
    let nothing: [Received; 7] = [
        message(Kind::Reply, None),
        message(Kind::Reply, Some(association(Vec::new()))),
        refusal(Status::Failed),
        refusal(Status::NoAddrsAvail),
        Received { status: Status::Failed, ..reply() },
        Received { server: OTHER.to_vec(), ..reply() },
        advertise(),
    ];
    for answer in nothing {
        let mut bench = Bench::renewing();
        let lease = bench.client.lease().cloned();
        assert!(bench.hears(answer.clone()).is_empty(), "{answer:?}");
        assert_eq!(bench.client.lease().cloned(), lease);
        assert!(matches!(bench.asks(), Ask::Renew { .. }), "{answer:?}");
    }
}

#[test]
fn an_answer_to_a_request_that_grants_nothing_is_a_refusal_or_asked_again() {
    for (answer, again) in [
        (Received { status: Status::Failed, ..message(Kind::Reply, None) }, true),
        (refusal(Status::Failed), true),
        (Received { server: OTHER.to_vec(), ..reply() }, true),
        (refusal(Status::NoAddrsAvail), false),
        (Received { status: Status::NotOnLink, ..message(Kind::Reply, None) }, false),
        (message(Kind::Reply, Some(association(vec![granted(mine(), 0)]))), false),
    ] {
        let mut bench = Bench::requesting();
        assert!(bench.hears(answer.clone()).is_empty());
        assert_eq!(matches!(bench.asks(), Ask::Request { .. }), again, "{answer:?}");
        assert!(bench.addresses().is_empty());
    }
}

#[test]
fn a_link_that_returns_asks_whether_the_address_belongs_there() {
    let returned = || {
        let mut bench = Bench::bound();
        bench.client.link_down();
        bench.client.link_up(bench.now);
        let asked = bench.sends();
        assert_eq!((asked.what, asked.elapsed), (Ask::Confirm { addresses: vec![mine()] }, 0));
        bench
    };
    let on_link = |status| Received { status, ..message(Kind::Reply, None) };
    // Yes, at once.
    let mut bench = returned();
    bench.hears(on_link(Status::Success));
    assert_eq!((&bench.client.state, bench.addresses()), (&State::Bound, vec![mine()]));
    // Nobody says anything for ten seconds: it is kept.
    let mut bench = returned();
    let asked = bench.now;
    while matches!(bench.client.state, State::Confirming(_)) {
        bench.next();
    }
    assert_eq!(asked.until(bench.now).as_secs(), 10);
    assert_eq!((&bench.client.state, bench.addresses()), (&State::Bound, vec![mine()]));
    // No, and nobody else says yes.
    let mut bench = returned();
    assert!(bench.hears(on_link(Status::NotOnLink)).is_empty());
    assert!(matches!(bench.next().as_slice(), [Action::Lost(_)]));
    assert!(bench.addresses().is_empty());
    assert_eq!(bench.asks(), Ask::Solicit);
    // No, but another server says yes.
    let mut bench = returned();
    bench.hears(on_link(Status::NotOnLink));
    bench.hears(Received { server: OTHER.to_vec(), ..on_link(Status::Success) });
    assert_eq!((&bench.client.state, bench.addresses()), (&State::Bound, vec![mine()]));
}

#[test]
fn addresses_of_one_lease_come_and_go_each_by_itself() {
    let mut bench = Bench::requesting();
    let both = vec![granted(mine(), 1000), granted(second(), 2000)];
    bench.hears(message(Kind::Reply, Some(association(both))));
    assert_eq!(bench.addresses(), [mine(), second()]);
    // Renewed is the one that is named; the other one stays as it was.
    bench.asks();
    assert_eq!(
        bench.hears(message(Kind::Reply, Some(association(vec![granted(second(), 600)])))),
        [Action::Bound]
    );
    assert_eq!(bench.addresses(), [mine(), second()]);
    assert_eq!(bench.now.until(bench.client.lease().unwrap().addresses[0].ends_at).as_secs(), 500);
    // A time of zero takes one back.
    bench.asks();
    let change = vec![granted(mine(), 0), granted(second(), 600)];
    assert_eq!(bench.hears(message(Kind::Reply, Some(association(change)))), [Action::Bound]);
    assert_eq!(bench.addresses(), [second()]);
    // And of the last one the lease.
    bench.asks();
    let out = bench.hears(message(Kind::Reply, Some(association(vec![granted(second(), 0)]))));
    assert!(matches!(out.as_slice(), [Action::Lost(_)]), "{out:?}");
    assert_eq!((bench.addresses(), bench.asks()), (Vec::new(), Ask::Solicit));
    // No more than have room.
    let mut bench = Bench::requesting();
    let many = (1..40).map(|n| granted(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n), 1000)).collect();
    bench.hears(message(Kind::Reply, Some(association(many))));
    assert_eq!(bench.addresses().len(), MAX_ADDRESSES);
}

#[test]
fn an_address_another_machine_has_is_declined_until_the_server_knows() {
    let mut bench = Bench::requesting();
    bench
        .hears(message(Kind::Reply, Some(association(vec![granted(mine(), 1000), granted(second(), 1000)]))));
    let mut out = Vec::new();
    bench.client.duplicate(bench.now, "2001:db8::99".parse().unwrap(), &mut out);
    assert!(out.is_empty(), "not ours: {DUPLICATE}");
    bench.client.duplicate(bench.now, mine(), &mut out);
    assert_eq!(out, [Action::Taken(mine())]);
    assert_eq!(bench.addresses(), [second()]);
    for _ in 0..2 {
        assert_eq!(bench.asks(), Ask::Decline { addresses: vec![mine()], server: SERVER.to_vec() });
    }
    bench.hears(message(Kind::Reply, None));
    assert_eq!(bench.client.state, State::Bound, "with the other one");
    // The only one; a server that does not answer is told four times.
    bench.client.duplicate(bench.now, second(), &mut out);
    for _ in 0..DECLINE.count {
        assert!(matches!(bench.asks(), Ask::Decline { .. }));
    }
    let told = bench.now;
    assert_eq!(bench.asks(), Ask::Solicit);
    assert!(told.until(bench.now).as_secs() >= 7);
}

#[test]
fn all_addresses_other_machines_have_are_declined_together() {
    for first_is_told in [false, true] {
        let mut bench = Bench::requesting();
        let both = vec![granted(mine(), 1000), granted(second(), 1000)];
        bench.hears(message(Kind::Reply, Some(association(both))));
        let mut out = Vec::new();
        bench.client.duplicate(bench.now, mine(), &mut out);
        if first_is_told {
            // The answer to this one says nothing about the other.
            assert_eq!(bench.asks(), Ask::Decline { addresses: vec![mine()], server: SERVER.to_vec() });
        }
        bench.client.duplicate(bench.now, second(), &mut out);
        assert_eq!(out, [Action::Taken(mine()), Action::Taken(second())]);
        assert_eq!(bench.client.lease(), None);
        for _ in 0..2 {
            let all = vec![mine(), second()];
            assert_eq!(bench.asks(), Ask::Decline { addresses: all, server: SERVER.to_vec() });
        }
        bench.hears(message(Kind::Reply, None));
        assert_eq!(bench.asks(), Ask::Solicit);
        // What comes later is declined by itself.
        bench.hears(Received { preference: BEST, ..advertise() });
        bench.asks();
        bench.hears(reply());
        bench.client.duplicate(bench.now, mine(), &mut out);
        assert_eq!(bench.asks(), Ask::Decline { addresses: vec![mine()], server: SERVER.to_vec() });
    }
}

#[test]
fn an_address_of_no_use_is_not_taken() {
    for address in ["::", "::1", "ff02::1", "fe80::1", "::ffff:192.0.2.1"] {
        let mut bench = Bench::up(Client::new(3, None));
        bench.asks();
        let ia = association(vec![granted(address.parse().unwrap(), 1000)]);
        bench.hears(message(Kind::Advertise, Some(ia)));
        assert_eq!(bench.asks(), Ask::Solicit, "{address}");
    }
    let mut bench = Bench::up(Client::new(3, None));
    bench.asks();
    for nothing in [
        message(Kind::Advertise, None),
        message(Kind::Advertise, Some(association(Vec::new()))),
        message(Kind::Advertise, Some(association(vec![granted(mine(), MIN_LEASE_S - 1)]))),
        Received { status: Status::NoAddrsAvail, ..advertise() },
        message(
            Kind::Advertise,
            Some(Association { status: Status::NoAddrsAvail, ..association(Vec::new()) }),
        ),
        reply(),
    ] {
        bench.hears(nothing);
    }
    assert_eq!(bench.asks(), Ask::Solicit);
    let mut out = Vec::new();
    let xid = bench.client.exchange.xid() ^ 1;
    bench.client.received(bench.now, Received { xid, ..advertise() }, &mut out);
    assert_eq!(bench.asks(), Ask::Solicit, "another exchange");
}

#[test]
fn times_are_the_servers_where_they_make_sense() {
    let inf = u32::MAX;
    for (renew, rebind, preferred, valid, expect) in [
        (0, 0, 1000, 2000, (500, 800)),
        (6, 60, 100, 120, (6, 60)),
        (300, 0, 1000, 2000, (300, 800)),
        (900, 0, 1000, 2000, (900, 1440)),
        (0, 400, 1000, 2000, (250, 400)),
        (0, 400, 200, 2000, (100, 400)),
        (500, 500, 1000, 2000, (500, 500)),
        // After the end of the address.
        (3000, 4000, 1000, 2000, (1000, 1600)),
        (inf, inf, inf, inf, (1_296_000, 2_073_600)),
        (0, 0, inf, inf, (1_296_000, 2_073_600)),
        (1, 1, 1000, 2000, (5, 5)),
        (0, 0, 0, 2000, (1000, 1600)),
        (0, 0, 10, 10, (5, 8)),
    ] {
        let granted = Granted { address: mine(), preferred_s: preferred, valid_s: valid };
        assert_eq!(times(renew, rebind, &[&granted]), expect, "{renew} {rebind} {preferred} {valid}");
    }
    let (long, short) = (granted(mine(), 1000), granted(second(), 100));
    assert_eq!(times(0, 0, &[&long, &short]), (50, 80), "by the shortest");
}

#[test]
fn what_was_told_outlives_its_link_for_its_time_only() {
    let told = Told { dns: vec![second()], ..Told::default() };
    let answer = || Received { told: told.clone(), refresh_s: Some(7200), ..message(Kind::Reply, None) };
    let mut bench = Bench::up(Client::stateless(3));
    bench.asks();
    bench.hears(answer());
    let told_at = bench.now;
    // A cable pulled and put back takes nothing away; on the new network nobody answers.
    bench.client.link_down();
    bench.client.link_up(bench.now);
    assert_eq!(bench.client.told(), Some(&told));
    while bench.client.told().is_some() {
        bench.next();
    }
    assert_eq!(told_at.until(bench.now).as_secs(), 7200);
    // What another network tells counts like the first.
    while !matches!(bench.next().as_slice(), [Action::Send(_)]) {}
    bench.hears(answer());
    bench.client.link_down();
    bench.client.link_up(bench.now);
    bench.asks();
    bench.hears(answer());
    let again = bench.now;
    assert_eq!(bench.asks(), Ask::Inform);
    assert_eq!((again.until(bench.now).as_secs(), bench.client.told()), (7200, Some(&told)));
}

#[test]
fn without_addresses_the_rest_is_asked_for_and_asked_again_in_time() {
    let mut bench = Bench::up(Client::stateless(3));
    let asked = bench.sends();
    assert_eq!((asked.what, asked.elapsed), (Ask::Inform, 0));
    assert_eq!(bench.asks(), Ask::Inform, "again, while nobody answers");
    let told = Told { dns: vec![second()], ..Told::default() };
    bench.hears(Received { status: Status::Failed, ..message(Kind::Reply, None) });
    assert_eq!(bench.client.told(), None);
    for (refresh_s, expect) in
        [(Some(7200), 7200), (Some(1), 600), (None, 86_400), (Some(u32::MAX), 30 * 86_400)]
    {
        let answer = Received { told: told.clone(), refresh_s, ..message(Kind::Reply, None) };
        assert_eq!(bench.hears(answer), [Action::Bound]);
        assert_eq!(bench.client.told(), Some(&told));
        let since = bench.now;
        assert_eq!(bench.asks(), Ask::Inform);
        assert_eq!(since.until(bench.now).as_secs(), expect);
        assert_eq!(bench.client.told(), Some(&told), "kept until there is another");
    }
    assert_eq!(bench.client.lease(), None);
    // Without the link it ends when it would have been asked for again.
    bench.client.link_down();
    assert!(bench.client.deadline().is_some());
    assert_eq!((bench.next().as_slice(), bench.client.told()), ([Action::Bound].as_slice(), None));
    assert_eq!(bench.client.deadline(), None);
    // INF_MAX_RT is a server's to set, too.
    bench.client.link_up(bench.now);
    bench.asks();
    bench.hears(Received { inf_max_rt_s: Some(60), status: Status::Failed, ..message(Kind::Reply, None) });
    let mut last = bench.now;
    for _ in 0..20 {
        bench.asks();
        assert!(last.until(bench.now).as_secs() <= 66);
        last = bench.now;
    }
}

#[test]
fn a_link_that_flaps_makes_no_storm() {
    for held in [false, true] {
        let mut client = if held { Bench::bound().client } else { Client::new(7, None) };
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

#[test]
fn an_answer_at_the_end_of_an_address_does_not_keep_it() {
    // What fails and what extends: the address had ended before either came, though nobody had looked.
    for (answer, why) in [(refusal(Status::Failed), "one that fails"), (reply(), "one that extends")] {
        let mut bench = Bench::renewing();
        while !matches!(bench.next().as_slice(), [Action::Send(Outgoing { what: Ask::Rebind { .. }, .. })]) {}
        bench.now = bench.client.lease().unwrap().addresses[0].ends_at;
        assert_eq!(bench.hears(answer), [Action::Lost("the lease ended")], "{why}");
        assert_eq!(bench.client.lease(), None, "{why}");
        assert_eq!(bench.asks(), Ask::Solicit, "{why}");
    }
}

/// A server, the network between, and a clock, run against the client.
struct Model {
    client: Client,
    now: Mono,
    dice: Jitter,
    /// The latest end of each address that was granted.
    ends: std::collections::BTreeMap<Ipv6Addr, Mono>,
    sends: Vec<Mono>,
}

/// What a server of the model does, in percent.
#[derive(Clone, Debug)]
struct Manners {
    loss: u64,
    forgets: u64,
    refuses: u64,
    fails: u64,
    duplicates: u64,
}

impl Model {
    fn new(seed: u64) -> Self {
        let now = Mono::from_millis(1);
        let mut client = Client::new(seed, None);
        client.link_up(now);
        Self { client, now, dice: Jitter::new(!seed), ends: Default::default(), sends: Vec::new() }
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.dice.below(100) < percent
    }

    fn grant(&mut self, valid_s: u32) -> Association {
        let ends = self.now.saturating_add(Millis::from_secs(valid_s.into()));
        self.ends.insert(mine(), ends);
        association(vec![granted(mine(), valid_s)])
    }

    /// One deadline of the client's. Returns whether an address went.
    fn turn(&mut self, valid_s: u32, answers: bool, manners: &Manners) -> bool {
        let mut out = Vec::new();
        self.now = self.client.deadline().unwrap().max(self.now);
        self.client.due(self.now, &mut out);
        let mut lost = false;
        while let Some(action) = out.pop() {
            let Action::Send(asked) = action else {
                lost |= matches!(action, Action::Lost(_));
                continue;
            };
            self.sends.push(self.now);
            if !answers || self.chance(manners.loss) {
                continue;
            }
            let answer = match asked.what {
                Ask::Solicit => advertise(),
                Ask::Confirm { .. } | Ask::Decline { .. } | Ask::Inform => message(Kind::Reply, None),
                _ if self.chance(manners.fails) => refusal(Status::Failed),
                _ if self.chance(manners.refuses) => refusal(Status::NoAddrsAvail),
                Ask::Renew { .. } | Ask::Rebind { .. } if self.chance(manners.forgets) => {
                    refusal(Status::NoBinding)
                }
                Ask::Request { .. } | Ask::Renew { .. } | Ask::Rebind { .. } => {
                    message(Kind::Reply, Some(self.grant(valid_s)))
                }
            };
            if self.chance(manners.loss) {
                continue;
            }
            let delay = self.dice.below(300);
            self.now = self.now.saturating_add(Millis::new(delay));
            // By the server's clock; the client counts from when it heard.
            for ends in self.ends.values_mut() {
                *ends = ends.saturating_add(Millis::new(delay));
            }
            self.client.received(self.now, Received { xid: asked.xid, ..answer }, &mut out);
            if self.chance(manners.duplicates) {
                self.client.duplicate(self.now, mine(), &mut out);
            }
        }
        lost
    }

    fn most_in_an_hour(&self) -> usize {
        let hour = Millis::from_secs(3600);
        let within =
            |from: Mono| self.sends.iter().filter(|at| **at >= from && from.until(**at) < hour).count();
        self.sends.iter().map(|from| within(*from)).max().unwrap_or(0)
    }
}

proptest! {
    #![proptest_config(crate::tests::cases(64))]
    /// While a server answers, one packet in ten lost and its bindings forgotten now and then, an address once got never goes.
    #[test]
    fn while_a_server_answers_there_is_no_gap(seed in any::<u64>(), valid_s in 600_u32..100_000) {
        let mut model = Model::new(seed);
        let manners = Manners { loss: 10, forgets: 20, refuses: 0, fails: 5, duplicates: 0 };
        let mut had = false;
        for _ in 0..300 {
            prop_assert!(!model.turn(valid_s, true, &manners), "lost at {:?}", model.now);
            prop_assert!(!had || model.client.lease().is_some());
            had |= model.client.lease().is_some();
        }
        prop_assert!(had && model.most_in_an_hour() <= 120, "{}", model.most_in_an_hour());
    }

    /// Whatever servers do, no address is used beyond its time, there is always a next step, and packets are few.
    #[test]
    fn whatever_a_server_does_an_address_ends_in_time_and_packets_are_few(
        seed in any::<u64>(), valid_s in MIN_LEASE_S..10_000,
        loss in 0_u64..100, forgets in 0_u64..100, refuses in 0_u64..100, fails in 0_u64..100, duplicates in 0_u64..100
    ) {
        let mut model = Model::new(seed);
        let manners = Manners { loss, forgets, refuses, fails, duplicates };
        for turn in 0..400 {
            model.turn(valid_s, turn / 40 % 2 == 0, &manners);
            prop_assert!(model.client.deadline().is_some());
            for held in model.client.lease().iter().flat_map(|lease| &lease.addresses) {
                prop_assert!(held.ends_at > model.now && held.ends_at <= model.ends[&held.address]);
            }
        }
        prop_assert!(model.most_in_an_hour() <= 1500, "{}", model.most_in_an_hour());
    }

    /// Times from outside never make a renewal that is due at once, nor one after its address.
    #[test]
    fn times_are_in_order(renew in any::<u32>(), rebind in any::<u32>(), preferred in any::<u32>(), valid in MIN_LEASE_S..) {
        let granted = Granted { address: mine(), preferred_s: preferred.min(valid), valid_s: valid };
        let (t1, t2) = times(renew, rebind, &[&granted]);
        prop_assert!(LEAST_RENEW_S <= t1 && t1 <= t2 && t2 < valid.min(MAX_LEASE_S), "{} {}", t1, t2);
    }
}
