//! What is done about the difference between wanted and seen.

use super::*;
use crate::dhcp4::{Answer, Ask, Received, Terms};

const LINK: Link = Link {
    index: 4,
    mac: Some([2, 0, 0, 0, 0, 7]),
    up: true,
    carrier: true,
    mtu: 1500,
    more_by_dhcp: false,
    hardware: Hardware { permanent_mac: None, vlan: None, speed: None, full_duplex: None },
};
const FIXED: &str = "192.0.2.5/24";

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn seen(link: Link, addresses: &[&str], gateways: &[&str]) -> Observed {
    Observed {
        link: Some(link),
        addresses: addresses
            .iter()
            .map(|text| Address { net: net(text), tentative: false, duplicate: false, valid_s: None })
            .collect(),
        routes: gateways.iter().map(|text| default_by(text)).collect(),
    }
}

fn default_by(gateway: &str) -> Route {
    Route::default_by(gateway.parse().unwrap())
}

fn fixed() -> Interface {
    Interface {
        ipv4: Ipv4::Static { address: FIXED.parse().unwrap(), gateway: Some(Ipv4Addr::new(192, 0, 2, 1)) },
        ..Interface::default()
    }
}

fn iface(config: Interface) -> Iface {
    Iface::new("eth0".into(), config, 1, None, None, None)
}

fn observe(iface: &mut Iface, now: u64, seen: Observed) -> Vec<Action> {
    let mut out = Vec::new();
    iface.observe(Mono::from_millis(now), seen, &mut out);
    out
}

#[test]
fn an_interface_that_appears_is_set_up_and_stays_as_it_is_afterwards() {
    let mut iface = iface(Interface { mtu: Some(1400), ..fixed() });
    assert!(observe(&mut iface, 0, Observed::default()).is_empty(), "it is waited for");
    let out = observe(&mut iface, 1, seen(Link { up: false, carrier: false, ..LINK }, &[], &[]));
    let add = Action::AddAddress(net(FIXED));
    assert_eq!(out, [Action::Mode6(Mode6::Auto), Action::Mtu(1400), Action::Up, Action::Keep, add]);
    let link = Link { mtu: 1400, ..LINK };
    let out = observe(&mut iface, 2, seen(link, &[FIXED], &[]));
    let route = default_by("192.0.2.1");
    let told = |text: &str| Action::Tell { text: text.into(), worse: false };
    assert_eq!(
        out,
        [
            told("link up"),
            told("address 192.0.2.5/24 gained"),
            Action::Keep,
            Action::AddRoute { route, on_link: false }
        ]
    );
    assert!(observe(&mut iface, 3, seen(link, &[FIXED], &["192.0.2.1"])).is_empty());
}

#[test]
fn what_an_earlier_run_set_is_adopted_without_a_touch() {
    let mut first = iface(fixed());
    observe(&mut first, 0, seen(LINK, &[], &[]));
    let mut second = Iface::new("eth0".into(), fixed(), 2, Some(first.owned.clone()), None, None);
    let out = observe(&mut second, 0, seen(LINK, &[FIXED], &["192.0.2.1"]));
    assert_eq!(out, [Action::Mode6(Mode6::Auto)], "nothing is set and nothing is told");
}

#[test]
fn only_what_this_daemon_set_is_removed() {
    let mut first = iface(fixed());
    observe(&mut first, 0, seen(LINK, &[], &[]));
    let off = Interface { ipv4: Ipv4::Off, ..Interface::default() };
    let mut second = Iface::new("eth0".into(), off, 2, Some(first.owned.clone()), None, None);
    let out = observe(&mut second, 0, seen(LINK, &[FIXED, "198.51.100.1/24"], &["192.0.2.1"]));
    let gateway = default_by("192.0.2.1");
    assert_eq!(
        out,
        [Action::Mode6(Mode6::Auto), Action::Keep, Action::DelRoute(gateway), Action::DelAddress(net(FIXED))]
    );
    // An address that somebody else had set before is used, but is not ours to remove.
    let mut third = iface(fixed());
    observe(&mut third, 0, seen(LINK, &[FIXED], &["192.0.2.1"]));
    assert_eq!(third.owned, Owned::default());
}

#[test]
fn what_somebody_removes_comes_back() {
    let mut iface = iface(fixed());
    observe(&mut iface, 0, seen(LINK, &[], &[]));
    observe(&mut iface, 1, seen(LINK, &[FIXED], &["192.0.2.1"]));
    let out = observe(&mut iface, 2, seen(LINK, &[], &["192.0.2.1"]));
    assert!(out.contains(&Action::AddAddress(net(FIXED))), "{out:?}");
}

#[test]
fn a_gateway_outside_the_network_is_said_to_be_on_the_link() {
    let config = Interface {
        ipv4: Ipv4::Static {
            address: "10.1.1.1/32".parse().unwrap(),
            gateway: Some(Ipv4Addr::new(10, 9, 9, 9)),
        },
        ..Interface::default()
    };
    let mut iface = iface(config);
    let out = observe(&mut iface, 0, seen(LINK, &[], &[]));
    let route = default_by("10.9.9.9");
    assert!(out.contains(&Action::AddRoute { route, on_link: true }), "{out:?}");
}

#[test]
fn an_interface_that_vanishes_and_returns_is_set_up_again() {
    let mut iface = iface(fixed());
    observe(&mut iface, 0, seen(LINK, &[], &[]));
    observe(&mut iface, 1, seen(LINK, &[FIXED], &["192.0.2.1"]));
    let out = observe(&mut iface, 2, Observed::default());
    assert!(out.contains(&Action::Tell { text: "not there".into(), worse: true }), "{out:?}");
    assert_eq!(iface.owned, Owned::default());
    let out = observe(&mut iface, 3, seen(Link { index: 9, ..LINK }, &[], &[]));
    assert!(
        out.contains(&Action::Mode6(Mode6::Auto)) && out.contains(&Action::AddAddress(net(FIXED))),
        "{out:?}"
    );
}

/// What a server grants: the address that ends with `last`.
fn terms(last: u8) -> Terms {
    Terms {
        address: Ipv4Addr::new(192, 0, 2, last),
        prefix: 24,
        routes: vec![
            default_by("192.0.2.1"),
            Route { to: net("10.0.0.0/8"), via: Some("192.0.2.2".parse().unwrap()) },
            Route { to: net("198.51.100.0/24"), via: None },
        ],
        dns: vec![Ipv4Addr::new(192, 0, 2, 53)],
        search: Vec::new(),
        hostname: None,
        ntp: Vec::new(),
        mtu: None,
        server: Ipv4Addr::new(192, 0, 2, 1),
        lease_s: 600,
        renew_s: None,
        rebind_s: None,
    }
}

/// Speaks for the server until the interface is bound to the address that ends with `last`.
fn lease(iface: &mut Iface, now: Mono, last: u8) -> Vec<Action> {
    bind(iface, now, terms(last))
}

fn bind(iface: &mut Iface, now: Mono, terms: Terms) -> Vec<Action> {
    for _ in 0..10 {
        let mut out = Vec::new();
        let now = iface.deadline().unwrap().max(now);
        iface.due(now, &mut out);
        let Some(message) = out.iter().find_map(|action| match action {
            Action::Send4(message) => Some(message.clone()),
            _ => None,
        }) else {
            continue;
        };
        let what = match message.what {
            Ask::Discover => Answer::Offer(terms.clone()),
            _ => Answer::Ack(terms.clone()),
        };
        let mut out = Vec::new();
        iface.received4(now, Received { xid: message.xid, what }, &mut out);
        if out.contains(&Action::Probe(terms.address)) {
            iface.probed(now, terms.address, false, &mut out);
        }
        if iface.lease4().is_some_and(|lease| lease.terms.address == terms.address) {
            return out;
        }
    }
    panic!("never bound");
}

#[test]
fn a_lease_brings_address_route_and_name_servers_and_takes_them_along() {
    let mut iface = iface(Interface { dns: vec!["192.0.2.99".parse().unwrap()], ..Interface::default() });
    observe(&mut iface, 0, seen(LINK, &[], &[]));
    let out = lease(&mut iface, Mono::ZERO, 77);
    assert!(out.contains(&Action::AddAddress(net("192.0.2.77/24"))), "{out:?}");
    let routes: Vec<&Action> =
        out.iter().filter(|action| matches!(action, Action::AddRoute { .. })).collect();
    let [Action::AddRoute { route: Route { via: None, .. }, on_link: false }, ..] = routes.as_slice() else {
        panic!("what is on the link comes first: {routes:?}")
    };
    assert_eq!(routes.len(), 3);
    let dns: Vec<String> = iface.dns().map(|server| server.to_string()).collect();
    assert_eq!(dns, ["192.0.2.99", "192.0.2.53"], "the configured one comes first");
    let mut there = seen(LINK, &["192.0.2.77/24"], &[]);
    there.routes.extend(&iface.lease4().unwrap().terms.routes);
    there.addresses[0].valid_s = Some(599);
    assert!(observe(&mut iface, 1000, there).iter().all(|action| matches!(action, Action::Tell { .. })));
    // The end of the lease.
    let mut out = Vec::new();
    iface.due(Mono::from_millis(700_000), &mut out);
    assert!(out.contains(&Action::DelAddress(net("192.0.2.77/24"))), "{out:?}");
    assert!(out.contains(&Action::DelRoute(default_by("192.0.2.1"))), "{out:?}");
    assert_eq!(
        out.iter().filter(|action| matches!(action, Action::DelRoute(_))).count(),
        3,
        "all of its routes go"
    );
    assert_eq!(iface.dns().count(), 1);
}

#[test]
fn a_new_address_comes_before_the_old_one_goes() {
    let mut iface = iface(Interface::default());
    observe(&mut iface, 0, seen(LINK, &[], &[]));
    lease(&mut iface, Mono::ZERO, 77);
    observe(&mut iface, 10, seen(LINK, &["192.0.2.77/24"], &["192.0.2.1"]));
    observe(&mut iface, 20, seen(Link { carrier: false, ..LINK }, &["192.0.2.77/24"], &["192.0.2.1"]));
    assert!(iface.lease4().is_some(), "a cable pulled out does not cut anything");
    observe(&mut iface, 30, seen(LINK, &["192.0.2.77/24"], &["192.0.2.1"]));
    // Nobody there knows the address; then a server offers another one.
    let mut now = Mono::from_millis(30);
    for _ in 0..4 {
        now = iface.deadline().unwrap().max(now);
        iface.due(now, &mut Vec::new());
    }
    let out = lease(&mut iface, now, 78);
    let at = |action: &Action| out.iter().position(|other| other == action).unwrap();
    assert!(
        at(&Action::AddAddress(net("192.0.2.78/24"))) < at(&Action::DelAddress(net("192.0.2.77/24"))),
        "{out:?}"
    );
}

fn link_local() -> Observed {
    seen(LINK, &["fe80::7/64"], &[])
}

#[test]
fn a_router_that_says_so_has_a_stateless_client_ask() {
    let mut iface = iface(Interface { ipv4: Ipv4::Off, ..Interface::default() });
    observe(&mut iface, 0, link_local());
    assert_eq!(iface.deadline(), None, "no router has said that there is more");
    let more = Observed { link: Some(Link { more_by_dhcp: true, ..LINK }), ..link_local() };
    observe(&mut iface, 10, more);
    let mut out = Vec::new();
    iface.due(iface.deadline().unwrap(), &mut out);
    let [Action::Send6(crate::dhcp6::Outgoing { what: crate::dhcp6::Ask::Inform, .. })] = out.as_slice()
    else {
        panic!("{out:?}")
    };
    assert!(iface.lease6().is_none());
}

#[test]
fn name_servers_of_dhcp_come_before_those_of_routers() {
    let mut iface = iface(Interface { dns: vec!["192.0.2.99".parse().unwrap()], ..Interface::default() });
    observe(&mut iface, 0, seen(LINK, &[], &[]));
    let server: Ipv6Addr = "2001:db8::53".parse().unwrap();
    let option = [[25, 3, 0, 0, 0, 0, 2, 88].as_slice(), &server.octets()].concat();
    let mut out = Vec::new();
    iface.heard(Mono::ZERO, &option, &mut out);
    assert_eq!(out, [Action::Keep]);
    lease(&mut iface, Mono::ZERO, 77);
    let dns: Vec<String> = iface.dns().map(|server| server.to_string()).collect();
    assert_eq!(dns, ["192.0.2.99", "192.0.2.53", "2001:db8::53"]);
    // Where the configuration has no use for routers, they are not listened to.
    let mut off = self::iface(Interface { ipv6: Ipv6::Off, ..Interface::default() });
    off.heard(Mono::ZERO, &option, &mut out);
    assert_eq!((out.len(), off.dns().count()), (1, 0));
}

#[test]
fn an_ipv6_address_another_machine_has_is_taken_off_and_declined() {
    let mut iface = iface(Interface { ipv4: Ipv4::Off, ipv6: Ipv6::Dhcp, ..Interface::default() });
    observe(&mut iface, 0, link_local());
    let address: Ipv6Addr = "2001:db8::77".parse().unwrap();
    let granted = crate::dhcp6::Granted { address, preferred_s: 600, valid_s: 600 };
    let mut out = Vec::new();
    for kind in [crate::dhcp6::Kind::Advertise, crate::dhcp6::Kind::Reply] {
        let mut asked = None;
        while asked.is_none() {
            out.clear();
            iface.due(iface.deadline().unwrap(), &mut out);
            asked = out.iter().find_map(|action| match action {
                Action::Send6(message) => Some(message.xid),
                _ => None,
            });
        }
        let association = crate::dhcp6::Association {
            status: crate::dhcp6::Status::Success,
            renew_s: 0,
            rebind_s: 0,
            addresses: vec![granted.clone()],
        };
        let message = crate::dhcp6::Received {
            xid: asked.unwrap(),
            kind,
            status: crate::dhcp6::Status::Success,
            server: vec![1, 2, 3],
            preference: 255,
            association: Some(association),
            told: crate::dhcp6::Told::default(),
            sol_max_rt_s: None,
            inf_max_rt_s: None,
            refresh_s: None,
        };
        iface.received6(Mono::from_millis(2000), message, &mut out);
    }
    let net = net("2001:db8::77/128");
    assert!(out.contains(&Action::AddAddress(net)), "{out:?}");
    let mut taken = link_local();
    taken.addresses.push(Address { net, tentative: true, duplicate: true, valid_s: None });
    let out = observe(&mut iface, 3000, taken);
    assert!(out.iter().any(|action| matches!(action, Action::Tell { worse: true, .. })), "{out:?}");
    assert!(out.contains(&Action::DelAddress(net)), "{out:?}");
    let mut out = Vec::new();
    iface.due(iface.deadline().unwrap(), &mut out);
    assert!(
        matches!(
            out.as_slice(),
            [Action::Send6(crate::dhcp6::Outgoing { what: crate::dhcp6::Ask::Decline { .. }, .. })]
        ),
        "{out:?}"
    );
}

#[test]
fn the_kernel_knows_when_a_leased_address_ends() {
    let mut iface = iface(Interface::default());
    observe(&mut iface, 0, seen(LINK, &[], &[]));
    let net = net("192.0.2.77/24");
    let out = lease(&mut iface, Mono::ZERO, 77);
    let at = |action: &Action| out.iter().position(|other| other == action).unwrap();
    assert!(at(&Action::AddAddress(net)) < at(&Action::Life { net, preferred_s: 600, valid_s: 600 }));
    let lives = |iface: &mut Iface, now: u64, valid_s| {
        let mut there = seen(LINK, &["192.0.2.77/24"], &["192.0.2.1"]);
        there.addresses[0].valid_s = valid_s;
        let out = observe(iface, now, there);
        out.into_iter().find(|action| matches!(action, Action::Life { .. }))
    };
    // Right, or nearly so; then from a run that did not know the end of today, and from somebody's hand.
    assert_eq!(lives(&mut iface, 10_000, Some(590)), None);
    assert_eq!(lives(&mut iface, 10_000, Some(588)), None);
    let expect = Some(Action::Life { net, preferred_s: 590, valid_s: 590 });
    assert_eq!(lives(&mut iface, 10_000, Some(100)), expect);
    assert_eq!(lives(&mut iface, 10_000, None), expect);
    // So do people.
    let wall = |at| crate::events::moment(at, Mono::from_millis(10_000), std::time::SystemTime::UNIX_EPOCH);
    let told = crate::events::interface(&iface, wall);
    assert_eq!(told.addresses[0].lease_end.map(|at| (at.seconds, at.nanos)), Some((590, 0)));
    // A fixed address never ends.
    let mut fixed = self::iface(fixed());
    observe(&mut fixed, 0, seen(LINK, &[], &[]));
    assert!(
        !observe(&mut fixed, 1, seen(LINK, &[FIXED], &[]))
            .iter()
            .any(|action| matches!(action, Action::Life { .. }))
    );
}

#[test]
fn a_lease_makes_packets_smaller_within_bounds_and_gives_them_back() {
    let leased = |mtu, ipv6| {
        let mut iface = iface(Interface { ipv6, ..Interface::default() });
        observe(&mut iface, 0, seen(LINK, &[], &[]));
        let out = bind(&mut iface, Mono::ZERO, Terms { mtu: Some(mtu), ..terms(77) });
        let mtu = out.iter().find_map(|action| match action {
            Action::Mtu(mtu) => Some(*mtu),
            _ => None,
        });
        (mtu, iface)
    };
    for (asked, ipv6, expect) in [
        (1400, Ipv6::Auto, Some(1400)),
        (1280, Ipv6::Auto, Some(1280)),
        (1279, Ipv6::Auto, None),
        (1279, Ipv6::Off, Some(1279)),
        (575, Ipv6::Off, None),
        (0, Ipv6::Off, None),
        (1500, Ipv6::Off, None),
        (9000, Ipv6::Off, None),
    ] {
        assert_eq!(leased(asked, ipv6).0, expect, "{asked}");
    }
    let (_, mut bound) = leased(1400, Ipv6::Auto);
    let mut there = seen(Link { mtu: 1400, ..LINK }, &["192.0.2.77/24"], &[]);
    there.routes = bound.lease4().unwrap().terms.routes.clone();
    there.addresses[0].valid_s = Some(600);
    let quiet = |out: Vec<Action>| !out.iter().any(|action| matches!(action, Action::Mtu(_) | Action::Keep));
    assert!(quiet(observe(&mut bound, 1, there)), "it stays");
    // The end of the lease, and of a lease that an earlier run had.
    let mut out = Vec::new();
    bound.due(Mono::from_millis(700_000), &mut out);
    assert!(out.contains(&Action::Mtu(1500)), "{out:?}");
    let mut next = Iface::new("eth0".into(), Interface::default(), 2, Some(bound.owned.clone()), None, None);
    assert!(observe(&mut next, 0, seen(Link { mtu: 1400, ..LINK }, &[], &[])).contains(&Action::Mtu(1500)));
    observe(&mut next, 1, seen(LINK, &[], &[]));
    assert_eq!(next.owned.mtu, None);
    assert!(quiet(observe(&mut next, 2, seen(Link { mtu: 1450, ..LINK }, &[], &[]))), "somebody else's wish");
    // What the configuration says comes first.
    let mut fixed = iface(Interface { mtu: Some(1450), ..Interface::default() });
    observe(&mut fixed, 0, seen(Link { mtu: 1450, ..LINK }, &[], &[]));
    assert!(
        !bind(&mut fixed, Mono::ZERO, Terms { mtu: Some(1400), ..terms(77) }).contains(&Action::Mtu(1400))
    );
}
