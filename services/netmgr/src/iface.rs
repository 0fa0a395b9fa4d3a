//! One interface: what it should have, what it has, and what is done about the difference. A machine; the shell does what it says.
//!
//! ```text
//!   observed: link, addresses, routes ─►┌───────┐─► set up, MTU, IPv6 mode
//!   DHCP messages, probes ─────────────►│ Iface │─► add/remove an address, a route
//!   time ──────────────────────────────►└───────┘─► DHCP messages; events
//! ```
//!
//! Terms. *Wanted*: what the configuration and the leases say. *Owned*: what this daemon has set, or is about to set; kept on disk until the
//! next boot, so that a later run removes what an earlier one set, and nothing else.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use units::{Millis, Mono};

use crate::config::{Interface, Ipv4, Ipv6};
use crate::ra::Advertised;
use crate::route::Route;
use crate::{dhcp4, dhcp6};

/// The kernel is told the end of an address anew when it is off by more.
const SLACK: Millis = Millis::from_secs(3);
/// After a refusal of the kernel the difference is looked at again.
const RETRY: Millis = Millis::from_secs(2);

/// A link as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    /// `None` for links that are not Ethernet.
    pub(crate) mac: Option<[u8; 6]>,
    pub(crate) up: bool,
    pub(crate) carrier: bool,
    pub(crate) mtu: u32,
    /// Router advertisements say that DHCPv6 knows more: name servers and the like (RFC 4861, 4.2: O, or M, which includes it).
    pub(crate) more_by_dhcp: bool,
    pub(crate) hardware: Hardware,
}

/// What is only shown of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hardware {
    /// The address it has of itself, whatever address is set.
    pub(crate) permanent_mac: Option<[u8; 6]>,
    pub(crate) vlan: Option<u16>,
    /// Mbit/s, while the driver says.
    pub(crate) speed: Option<u32>,
    pub(crate) full_duplex: Option<bool>,
}

/// An address as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) net: IpNet,
    /// Not usable yet, because it is not known whether another machine has it (IPv6).
    pub(crate) tentative: bool,
    /// Never usable, because another machine has it (IPv6).
    pub(crate) duplicate: bool,
    /// Seconds until the kernel removes it; none if it never does.
    pub(crate) valid_s: Option<u32>,
}

/// Everything the kernel has of one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) link: Option<Link>,
    pub(crate) addresses: Vec<Address>,
    /// Routes with this interface's metric.
    pub(crate) routes: Vec<Route>,
}

/// What this daemon has set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Owned {
    pub(crate) addresses: BTreeSet<IpNet>,
    pub(crate) routes: BTreeSet<Route>,
    /// The largest packet before a lease made it smaller.
    pub(crate) mtu: Option<u32>,
}

/// What the kernel does of IPv6 by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode6 {
    /// Nothing, no address at all.
    Off,
    /// Addresses and routes from router advertisements.
    Auto,
    /// Routes from router advertisements, no addresses.
    RoutesOnly,
    /// Nothing but the link-local address.
    Quiet,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Mode6(Mode6),
    Up,
    Mtu(u32),
    /// [`Iface::owned`] or a lease changed: keep it before what follows is done.
    Keep,
    AddAddress(IpNet),
    DelAddress(IpNet),
    /// How long the kernel lets an address that is there be used for what is new, and at all, should nobody be there to remove it.
    Life {
        net: IpNet,
        preferred_s: u32,
        valid_s: u32,
    },
    /// On-link: the router is in no network of the interface.
    AddRoute {
        route: Route,
        on_link: bool,
    },
    DelRoute(Route),
    /// Ask whether another machine on the link has the address; [`Iface::probed`] takes the answer.
    Probe(Ipv4Addr),
    Send4(dhcp4::Outgoing),
    Send6(dhcp6::Outgoing),
    /// For people: a change, and whether it is for the worse.
    Tell {
        text: String,
        worse: bool,
    },
}

/// One interface.
#[derive(Debug)]
pub(crate) struct Iface {
    pub(crate) name: String,
    config: Interface,
    pub(crate) client4: Option<dhcp4::Client>,
    pub(crate) client6: Option<dhcp6::Client>,
    /// The lease from before a fixed address took its place.
    put_by: Option<dhcp4::Lease>,
    /// What routers say.
    pub(crate) advertised: Advertised,
    pub(crate) owned: Owned,
    pub(crate) seen: Observed,
    seen_at: Mono,
    /// Whether `seen` has been told of; the first look after a restart tells nothing.
    told: bool,
    mode6: Option<u32>,
    retry_at: Option<Mono>,
}

impl Iface {
    /// An interface, with what an earlier run has left.
    pub(crate) fn new(
        name: String,
        config: Interface,
        seed: u64,
        owned: Option<Owned>,
        lease4: Option<dhcp4::Lease>,
        lease6: Option<dhcp6::Lease>,
    ) -> Self {
        let client4 = (config.ipv4 == Ipv4::Dhcp).then(|| dhcp4::Client::new(seed, lease4));
        let client6 = match config.ipv6 {
            Ipv6::Dhcp => Some(dhcp6::Client::new(!seed, lease6)),
            Ipv6::Auto => Some(dhcp6::Client::stateless(!seed)),
            Ipv6::Off | Ipv6::Static { .. } => None,
        };
        let told = owned.is_none();
        let owned = owned.unwrap_or_default();
        Self {
            name,
            config,
            client4,
            client6,
            put_by: None,
            advertised: Advertised::default(),
            owned,
            seen: Observed::default(),
            seen_at: Mono::ZERO,
            told,
            mode6: None,
            retry_at: None,
        }
    }

    /// Something else is configured from now on, which the next [`Iface::observe`] brings about. A lease that is not wanted any more is put by, for the
    /// case that it is wanted again before it ends.
    pub(crate) fn reconfigure(&mut self, now: Mono, config: Interface, seed: u64) {
        if config.ipv4 != self.config.ipv4 {
            if let Some(client) = self.client4.take() {
                self.put_by = client.lease().cloned();
            }
            if config.ipv4 == Ipv4::Dhcp {
                let lease = self.put_by.take().filter(|lease| lease.ends_at > now);
                self.client4 = Some(dhcp4::Client::new(seed, lease));
            }
        }
        self.config = config;
    }

    /// What is configured.
    pub(crate) fn config(&self) -> &Interface {
        &self.config
    }

    /// The hardware address, once the interface is there.
    pub(crate) fn mac(&self) -> Option<[u8; 6]> {
        self.seen.link.and_then(|link| link.mac)
    }

    /// The IPv4 lease in force.
    pub(crate) fn lease4(&self) -> Option<&dhcp4::Lease> {
        self.client4.as_ref().and_then(dhcp4::Client::lease)
    }

    /// The IPv6 lease in force.
    pub(crate) fn lease6(&self) -> Option<&dhcp6::Lease> {
        self.client6.as_ref().and_then(dhcp6::Client::lease)
    }

    /// What DHCPv6 servers told besides addresses.
    fn told6(&self) -> Option<&dhcp6::Told> {
        self.client6.as_ref().and_then(dhcp6::Client::told)
    }

    /// Name servers: the configured ones, then those of leases, then those of routers.
    pub(crate) fn dns(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let four = self.lease4().into_iter().flat_map(|lease| &lease.terms.dns);
        let six = self.told6().into_iter().flat_map(|told| &told.dns);
        let leased = four.map(|ip| IpAddr::V4(*ip)).chain(six.map(|ip| IpAddr::V6(*ip)));
        // Those of DHCP before those of routers (RFC 8106, 5.3.1).
        let advertised = self.advertised.servers().map(|(server, _)| IpAddr::V6(server));
        self.config.dns.iter().copied().chain(leased).chain(advertised)
    }

    /// The domains of leases and of routers in which short names are looked up.
    pub(crate) fn search(&self) -> impl Iterator<Item = &str> {
        let four = self.lease4().into_iter().flat_map(|lease| &lease.terms.search);
        let six = self.told6().into_iter().flat_map(|told| &told.search);
        let advertised = self.advertised.domains().map(|(domain, _)| domain);
        four.chain(six).map(String::as_str).chain(advertised)
    }

    /// The time servers of leases.
    pub(crate) fn ntp(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let four = self.lease4().into_iter().flat_map(|lease| &lease.terms.ntp);
        let six = self.told6().into_iter().flat_map(|told| &told.ntp);
        four.map(|ip| IpAddr::V4(*ip)).chain(six.map(|ip| IpAddr::V6(*ip)))
    }

    /// Whether the link works and has an address that reaches beyond it.
    pub(crate) fn is_usable(&self) -> bool {
        self.seen.link.is_some_and(|link| link.carrier) && self.addresses().next().is_some()
    }

    /// The addresses that reach beyond the link.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.seen
            .addresses
            .iter()
            .filter(|address| !address.tentative && !is_link_local(address.net.addr()))
            .map(|address| address.net)
    }

    /// The link-local address DHCPv6 is spoken from, once it is known to be ours alone.
    pub(crate) fn link_local(&self) -> Option<Ipv6Addr> {
        self.seen.addresses.iter().find_map(|address| match address.net.addr() {
            IpAddr::V6(ip) if !address.tentative && is_link_local(IpAddr::V6(ip)) => Some(ip),
            _ => None,
        })
    }

    /// When [`Iface::due`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        let four = self.client4.as_ref().and_then(dhcp4::Client::deadline);
        let six = self.client6.as_ref().and_then(dhcp6::Client::deadline);
        [four, six, self.retry_at, self.advertised.deadline()].into_iter().flatten().min()
    }

    /// The kernel refused something: try again later.
    pub(crate) fn refused(&mut self, now: Mono) {
        self.retry_at = Some(now.saturating_add(RETRY));
        self.mode6 = None;
    }

    /// Whether the kernel should be asked again because of an earlier refusal.
    pub(crate) fn retries(&mut self, now: Mono) -> bool {
        let due = self.retry_at.is_some_and(|at| at <= now);
        if due {
            self.retry_at = None;
        }
        due
    }

    /// This is how the interface is now.
    pub(crate) fn observe(&mut self, now: Mono, seen: Observed, out: &mut Vec<Action>) {
        self.tell(&seen, out);
        self.seen = seen;
        self.seen_at = now;
        let Some(link) = self.seen.link else {
            // The kernel took the addresses along.
            if self.owned != Owned::default() {
                self.owned = Owned::default();
                out.push(Action::Keep);
            }
            self.advertised = Advertised::default();
            self.mode6 = None;
            self.link(now, false, false);
            return;
        };
        // Before the link goes up, so that no address is made that is not wanted.
        if self.mode6 != Some(link.index) {
            self.mode6 = Some(link.index);
            out.push(Action::Mode6(match self.config.ipv6 {
                Ipv6::Off => Mode6::Off,
                Ipv6::Auto => Mode6::Auto,
                Ipv6::Dhcp | Ipv6::Static { gateway: None, .. } => Mode6::RoutesOnly,
                Ipv6::Static { gateway: Some(_), .. } => Mode6::Quiet,
            }));
        }
        if let Some(mtu) = self.config.mtu
            && mtu != link.mtu
        {
            out.push(Action::Mtu(mtu));
        }
        if !link.up {
            out.push(Action::Up);
        }
        let works = link.up && link.carrier && link.mac.is_some();
        // A stateless client asks once a router has said that there is an answer.
        let asks6 = self.config.ipv6 == Ipv6::Dhcp || link.more_by_dhcp;
        self.link(now, works, works && self.link_local().is_some() && asks6);
        self.duplicates(now, out);
        self.reconcile(now, out);
    }

    /// Gives leased addresses back that another machine has.
    fn duplicates(&mut self, now: Mono, out: &mut Vec<Action>) {
        let mut actions = Vec::new();
        if let Some(client) = &mut self.client6 {
            for address in self.seen.addresses.iter().filter(|address| address.duplicate) {
                if let IpAddr::V6(ip) = address.net.addr() {
                    client.duplicate(now, ip, &mut actions);
                }
            }
        }
        self.leased6(now, actions, out);
    }

    fn link(&mut self, now: Mono, four: bool, six: bool) {
        match &mut self.client4 {
            Some(client) if four => client.link_up(now),
            Some(client) => client.link_down(),
            None => {}
        }
        match &mut self.client6 {
            Some(client) if six => client.link_up(now),
            Some(client) => client.link_down(),
            None => {}
        }
    }

    /// Time has come.
    pub(crate) fn due(&mut self, now: Mono, out: &mut Vec<Action>) {
        let mut four = Vec::new();
        if let Some(client) = &mut self.client4 {
            client.due(now, &mut four);
        }
        self.leased4(now, four, out);
        let mut six = Vec::new();
        if let Some(client) = &mut self.client6 {
            client.due(now, &mut six);
        }
        self.leased6(now, six, out);
        if self.advertised.due(now) {
            out.push(Action::Keep);
        }
    }

    /// A router said something that is not for the kernel.
    pub(crate) fn heard(&mut self, now: Mono, option: &[u8], out: &mut Vec<Action>) {
        let listens = match self.config.ipv6 {
            Ipv6::Auto | Ipv6::Dhcp | Ipv6::Static { gateway: None, .. } => true,
            Ipv6::Off | Ipv6::Static { gateway: Some(_), .. } => false,
        };
        if listens && self.advertised.hears(now, option) {
            out.push(Action::Keep);
        }
    }

    /// A DHCPv4 server said something.
    pub(crate) fn received4(&mut self, now: Mono, message: dhcp4::Received, out: &mut Vec<Action>) {
        let mut actions = Vec::new();
        if let Some(client) = &mut self.client4 {
            client.received(now, message, &mut actions);
        }
        self.leased4(now, actions, out);
    }

    /// The link said whether another machine has an IPv4 address.
    pub(crate) fn probed(&mut self, now: Mono, address: Ipv4Addr, taken: bool, out: &mut Vec<Action>) {
        let mut actions = Vec::new();
        if let Some(client) = &mut self.client4 {
            client.probed(now, address, taken, &mut actions);
        }
        self.leased4(now, actions, out);
    }

    /// A DHCPv6 server said something.
    pub(crate) fn received6(&mut self, now: Mono, message: dhcp6::Received, out: &mut Vec<Action>) {
        let mut actions = Vec::new();
        if let Some(client) = &mut self.client6 {
            client.received(now, message, &mut actions);
        }
        self.leased6(now, actions, out);
    }

    fn leased4(&mut self, now: Mono, actions: Vec<dhcp4::Action>, out: &mut Vec<Action>) {
        let mut changed = false;
        for action in actions {
            match action {
                dhcp4::Action::Send(message) => out.push(Action::Send4(message)),
                dhcp4::Action::Probe(address) => out.push(Action::Probe(address)),
                dhcp4::Action::Bound => changed = true,
                dhcp4::Action::Taken(address) => out.push(Action::Tell {
                    text: format!("IPv4: another machine has {address}, which the server granted; declined"),
                    worse: true,
                }),
                dhcp4::Action::Lost(why) => {
                    out.push(Action::Tell { text: format!("IPv4: {why}"), worse: true });
                    changed = true;
                }
            }
        }
        if changed {
            out.push(Action::Keep);
            self.reconcile(now, out);
        }
    }

    fn leased6(&mut self, now: Mono, actions: Vec<dhcp6::Action>, out: &mut Vec<Action>) {
        let mut changed = false;
        for action in actions {
            match action {
                dhcp6::Action::Send(message) => out.push(Action::Send6(message)),
                dhcp6::Action::Bound => changed = true,
                dhcp6::Action::Taken(address) => {
                    out.push(Action::Tell {
                        text: format!(
                            "IPv6: another machine has {address}, which the server granted; declined"
                        ),
                        worse: true,
                    });
                    changed = true;
                }
                dhcp6::Action::Lost(why) => {
                    out.push(Action::Tell { text: format!("IPv6: {why}"), worse: true });
                    changed = true;
                }
            }
        }
        if changed {
            out.push(Action::Keep);
            self.reconcile(now, out);
        }
    }

    /// Whether this address is one that the interface should have.
    pub(crate) fn wants(&self, ip: IpAddr) -> bool {
        self.wanted().addresses.iter().any(|net| net.addr() == ip)
    }

    /// What the interface should have.
    fn wanted(&self) -> Owned {
        let mut wanted = Owned::default();
        match self.config.ipv4 {
            Ipv4::Static { address, gateway } => {
                wanted.addresses.insert(IpNet::V4(address));
                wanted.routes.extend(gateway.map(|gateway| Route::default_by(IpAddr::V4(gateway))));
            }
            Ipv4::Dhcp => {
                if let Some(terms) = self.lease4().map(|lease| &lease.terms)
                    && let Ok(net) = Ipv4Net::new(terms.address, terms.prefix)
                {
                    wanted.addresses.insert(IpNet::V4(net));
                    wanted.routes.extend(&terms.routes);
                }
            }
            Ipv4::Off => {}
        }
        match self.config.ipv6 {
            Ipv6::Static { address, gateway } => {
                wanted.addresses.insert(IpNet::V6(address));
                wanted.routes.extend(gateway.map(|gateway| Route::default_by(IpAddr::V6(gateway))));
            }
            Ipv6::Dhcp => {
                // The network of the link comes from router advertisements.
                let addresses = self.lease6().map(dhcp6::Lease::addresses).unwrap_or_default();
                wanted.addresses.extend(addresses.into_iter().map(|ip| IpNet::V6(Ipv6Net::from(ip))));
            }
            Ipv6::Auto | Ipv6::Off => {}
        }
        wanted
    }

    /// The life of a leased address, where the kernel has another one. It ends there as well when this daemon is gone.
    fn life(&self, now: Mono, net: IpNet) -> Option<Action> {
        let (fades_at, ends_at) = match net.addr() {
            IpAddr::V4(ip) => {
                let lease = self.lease4().filter(|lease| lease.terms.address == ip)?;
                (lease.ends_at, lease.ends_at)
            }
            IpAddr::V6(ip) => {
                let held = self.lease6()?.addresses.iter().find(|held| held.address == ip)?;
                (held.fades_at, held.ends_at)
            }
        };
        let seen = self.seen.addresses.iter().find(|address| address.net == net);
        let seen = seen.and_then(|address| address.valid_s);
        let seen_at = seen.map(|secs| self.seen_at.saturating_add(Millis::from_secs(secs.into())));
        if seen_at.is_some_and(|at| at.until(ends_at) <= SLACK && ends_at.until(at) <= SLACK) {
            return None;
        }
        // The last second is this daemon's.
        let secs = |at: Mono| u32::try_from(now.until(at).get().div_ceil(1000)).unwrap_or(u32::MAX);
        let valid_s = secs(ends_at).max(1);
        Some(Action::Life { net, preferred_s: secs(fades_at).min(valid_s), valid_s })
    }

    /// The largest packet a lease asks for, or the one from before when none does any more. A lease makes it smaller only, and never so small that the
    /// network stops working; what the configuration says comes first.
    fn leased_mtu(&mut self, now: u32) -> Option<u32> {
        let before = self.owned.mtu.unwrap_or(now);
        let leased = self.lease4().and_then(|lease| lease.terms.mtu).map(u32::from);
        let leased = leased.filter(|mtu| (self.config.least_mtu()..before).contains(mtu));
        match (self.config.mtu, leased) {
            (Some(_), _) => {
                self.owned.mtu = None;
                None
            }
            (None, Some(mtu)) => {
                self.owned.mtu = Some(before);
                Some(mtu)
            }
            (None, None) => {
                // Back, and done once it is seen to be so.
                self.owned.mtu = self.owned.mtu.filter(|before| *before != now);
                self.owned.mtu
            }
        }
    }

    /// Brings what there is to what is wanted. A new address comes before the old one goes, so that there is one at every moment.
    fn reconcile(&mut self, now: Mono, out: &mut Vec<Action>) {
        let Some(link) = self.seen.link else { return };
        let wanted = self.wanted();
        let before = self.owned.clone();
        let mtu = self.leased_mtu(link.mtu);
        let has = |net: &IpNet| self.seen.addresses.iter().any(|address| address.net == *net);
        let add: Vec<IpNet> = wanted.addresses.iter().filter(|net| !has(net)).copied().collect();
        let del: Vec<IpNet> = self.owned.addresses.difference(&wanted.addresses).copied().collect();
        // A route over a link that is down is refused.
        let routable = link.up;
        let mut add_routes: Vec<Route> = wanted
            .routes
            .iter()
            .filter(|route| routable && !self.seen.routes.contains(route))
            .copied()
            .collect();
        // What is on the link comes first: a router may be reached by it.
        add_routes.sort_by_key(|route| route.via.is_some());
        let del_routes: Vec<Route> = self.owned.routes.difference(&wanted.routes).copied().collect();
        self.owned.addresses.extend(&add);
        self.owned.routes.extend(&add_routes);
        for net in &del {
            self.owned.addresses.remove(net);
        }
        for route in &del_routes {
            self.owned.routes.remove(route);
        }
        // A run that ends between keeping and doing leaves something kept that is not there, which is harmless; so additions are kept before,
        // and removals are kept as done only because the kernel has them at once.
        if self.owned != before {
            out.push(Action::Keep);
        }
        out.extend(mtu.filter(|mtu| *mtu != link.mtu).map(Action::Mtu));
        out.extend(add.iter().copied().map(Action::AddAddress));
        let lives: Vec<Action> = self.owned.addresses.iter().filter_map(|net| self.life(now, *net)).collect();
        out.extend(lives);
        // The kernel takes one route of a destination and a metric only.
        out.extend(
            del_routes.into_iter().filter(|route| self.seen.routes.contains(route)).map(Action::DelRoute),
        );
        out.extend(add_routes.into_iter().map(|route| {
            let on_link = route.via.is_some_and(|router| {
                !is_link_local(router) && !wanted.addresses.iter().any(|net| net.contains(&router))
            });
            Action::AddRoute { route, on_link }
        }));
        out.extend(del.into_iter().filter(has).map(Action::DelAddress));
    }

    fn tell(&mut self, seen: &Observed, out: &mut Vec<Action>) {
        let first = !std::mem::replace(&mut self.told, true);
        if first {
            return;
        }
        let state = |link: Option<Link>| match link {
            None => "not there",
            Some(link) if link.up && link.carrier => "link up",
            Some(link) if link.up => "link down",
            Some(_) => "off",
        };
        let (old, new) = (state(self.seen.link), state(seen.link));
        // An interface that was never there is not news; that it is not up yet, neither.
        if old != new && new != "off" && !(old == "off" && new == "link down") {
            out.push(Action::Tell { text: new.into(), worse: new != "link up" });
        }
        let before: BTreeSet<IpNet> = self.addresses().collect();
        let after: BTreeSet<IpNet> = {
            let usable = |a: &&Address| !a.tentative && !is_link_local(a.net.addr());
            seen.addresses.iter().filter(usable).map(|a| a.net).collect()
        };
        for net in after.difference(&before) {
            out.push(Action::Tell { text: format!("address {net} gained"), worse: false });
        }
        for net in before.difference(&after) {
            out.push(Action::Tell { text: format!("address {net} lost"), worse: true });
        }
    }
}

/// Whether an address is of its link only.
pub(crate) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => Ipv4Addr::is_link_local(&ip),
        IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
    }
}

#[cfg(test)]
#[path = "iface_tests.rs"]
mod tests;
