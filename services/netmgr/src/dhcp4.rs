//! The DHCPv4 client (RFC 2131) as a machine: messages and time in, messages and leases out.
//!
//! ```text
//!            link up, nothing held            offer               ack            nobody has it
//!   Down ───────────────────────► Selecting ───────► Requesting ───────► Probing ────────► Bound ──T1──► Renewing ──T2──► Rebinding
//!     │                              ▲ ▲                  │                 │                ▲ ▲             │ ack            │ ack
//!     │ link up, lease held          │ ├── nak, 4 unanswered                │                │ └─────────────┴────────────────┘
//!     │                              │ └── another machine has it: decline ─┘                │         nak, end of the lease: Selecting
//!     └────────► Rebooting ──────────┴── nak, 2 unanswered      ack ─────────────────────────┘
//! ```
//!
//! Terms. *Held*: the lease whose address is in use. It is held until it ends or the server takes it back (nak), whatever the conversation
//! is about: a cable pulled out and put back does not cut connections, it only asks whether the address still holds (Rebooting).
//! *Probe*: the question on the link whether another machine answers for an address (RFC 5227).

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use units::{Millis, Mono};

use crate::exchange::{Exchange, Pace, Spread};
use crate::jitter::Jitter;
use crate::route::Route;

/// A lease shorter than this is not worth having: it would be renewed without end. Such an offer is not taken.
pub(crate) const MIN_LEASE_S: u32 = 10;
/// A lease longer than this (or endless) is treated as one of this length, so that a changed network is noticed in the end.
pub(crate) const MAX_LEASE_S: u32 = 30 * 86_400;
/// Discover: 4 s, doubled up to 64 s, for ever (RFC 2131, 4.1).
const DISCOVER: Pace = Pace {
    first: Millis::from_secs(4),
    most: Millis::from_secs(64),
    count: 0,
    within: Millis::ZERO,
    spread: Spread::Second,
};
/// Request for an offer: four times, a minute in total, then another offer is looked for (RFC 2131, 3.1).
const REQUEST: Pace = Pace { count: 4, ..DISCOVER };
/// Request for a held address after a restart, before an offer is looked for as well.
const REBOOT: Pace = Pace { count: 2, ..DISCOVER };
/// The least time between two renewals (RFC 2131, 4.4.5).
const RENEW_WAIT: Millis = Millis::from_secs(60);
/// The least time from a decline to the next discover (RFC 2131, 3.1).
const DECLINE_WAIT: Millis = Millis::from_secs(10);
/// A probe that says nothing for so long found nobody.
const PROBE_WITHIN: Millis = Millis::from_secs(8);

/// What a server offers or grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Terms {
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix: u8,
    /// Of option 121, else one to the first router.
    pub(crate) routes: Vec<Route>,
    pub(crate) dns: Vec<Ipv4Addr>,
    /// Domains in which short names are looked up.
    pub(crate) search: Vec<String>,
    pub(crate) hostname: Option<String>,
    pub(crate) ntp: Vec<Ipv4Addr>,
    /// The largest packet of this network; [`crate::iface`] has its bounds.
    pub(crate) mtu: Option<u16>,
    pub(crate) server: Ipv4Addr,
    pub(crate) lease_s: u32,
    pub(crate) renew_s: Option<u32>,
    pub(crate) rebind_s: Option<u32>,
}

/// Terms in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) terms: Terms,
    pub(crate) renew_at: Mono,
    pub(crate) rebind_at: Mono,
    pub(crate) ends_at: Mono,
}

/// A message from a server, checked by [`crate::wire4`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) xid: u32,
    pub(crate) what: Answer,
}

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Offer(Terms),
    Ack(Terms),
    Nak { server: Ipv4Addr },
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) xid: u32,
    /// Seconds since the conversation began; for a request those of the discover before it.
    pub(crate) secs: u16,
    pub(crate) what: Ask,
}

/// What it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Is there anybody?
    Discover,
    /// I take this offer (with the server), or: is this still my address (without).
    Request { address: Ipv4Addr, server: Option<Ipv4Addr> },
    /// Let me keep it: to the server, or to all when it stays silent.
    Extend { address: Ipv4Addr, server: Option<Ipv4Addr> },
    /// Another machine has it.
    Decline { address: Ipv4Addr, server: Ipv4Addr },
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Send(Outgoing),
    /// Ask the link whether another machine has the address; [`Client::probed`] takes the answer.
    Probe(Ipv4Addr),
    /// [`Client::lease`] is new or extended.
    Bound,
    /// The address must go.
    Lost(&'static str),
    /// Another machine has the address that was granted.
    Taken(Ipv4Addr),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Down,
    Selecting,
    Requesting(Box<Terms>),
    Probing(Box<Lease>),
    Rebooting,
    Bound,
    Renewing,
    Rebinding,
}

/// The client of one interface.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    state: State,
    held: Option<Lease>,
    exchange: Exchange,
    /// The seconds of the last discover.
    secs: u16,
    /// Refusals and conflicts since the last lease: who offers and refuses in turn is not asked without end.
    failures: u32,
    dice: Jitter,
}

impl Client {
    /// A client without a link; with the lease of an earlier run that has not ended.
    pub(crate) fn new(seed: u64, held: Option<Lease>) -> Self {
        let dice = Jitter::new(seed);
        Self { state: State::Down, held, exchange: Exchange::none(32), secs: 0, failures: 0, dice }
    }

    /// The lease in force.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        self.held.as_ref()
    }

    /// When [`Client::due`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        let ends = self.held.as_ref().map(|lease| lease.ends_at);
        [self.exchange.next(), ends].into_iter().flatten().min()
    }

    pub(crate) fn link_up(&mut self, now: Mono) {
        if self.state != State::Down {
            return;
        }
        let state = if self.held.is_some() { State::Rebooting } else { State::Selecting };
        let delay = self.exchange.quiet(now);
        self.begin(now, delay, state);
    }

    pub(crate) fn link_down(&mut self) {
        self.state = State::Down;
        self.exchange.end(None);
    }

    /// Time has come.
    pub(crate) fn due(&mut self, now: Mono, out: &mut Vec<Action>) {
        if self.held.as_ref().is_some_and(|lease| lease.ends_at <= now) {
            self.held = None;
            out.push(Action::Lost("the lease ended"));
            if matches!(self.state, State::Rebooting | State::Bound | State::Renewing | State::Rebinding) {
                self.begin(now, Millis::ZERO, State::Selecting);
            }
        }
        if self.exchange.next().is_none_or(|next| next > now) {
            return;
        }
        match (&self.state, &self.held) {
            (State::Down, _) => self.exchange.end(None),
            (State::Selecting, _) => {
                self.secs = self.elapsed_s(now);
                self.send(now, Ask::Discover, self.secs, DISCOVER, out);
            }
            (State::Requesting(offer), _) if !self.exchange.failed(now, REQUEST) => {
                let ask = Ask::Request { address: offer.address, server: Some(offer.server) };
                self.send(now, ask, self.secs, REQUEST, out);
            }
            (State::Probing(lease), _) => {
                let address = lease.terms.address;
                self.probed(now, address, false, out);
            }
            (State::Rebooting, Some(lease)) if !self.exchange.failed(now, REBOOT) => {
                let ask = Ask::Request { address: lease.terms.address, server: None };
                self.renumber();
                self.send(now, ask, self.elapsed_s(now), REBOOT, out);
            }
            (State::Bound | State::Renewing, Some(lease)) if now < lease.rebind_at => {
                let ask = Ask::Extend { address: lease.terms.address, server: Some(lease.terms.server) };
                let next = now.saturating_add(half(now, lease.rebind_at)).min(lease.rebind_at);
                self.extend(now, ask, State::Renewing, next, out);
            }
            (State::Bound | State::Renewing | State::Rebinding, Some(lease)) => {
                let ask = Ask::Extend { address: lease.terms.address, server: None };
                let next = now.saturating_add(half(now, lease.ends_at));
                self.extend(now, ask, State::Rebinding, next, out);
            }
            // Nobody answered, or nothing is held to ask about.
            _ => self.begin(now, Millis::ZERO, State::Selecting),
        }
    }

    /// A server said something.
    pub(crate) fn received(&mut self, now: Mono, message: Received, out: &mut Vec<Action>) {
        if !self.exchange.expects(message.xid) {
            return;
        }
        match (message.what, &self.state) {
            (Answer::Offer(offer), State::Selecting) if is_usable(&offer) => {
                self.state = State::Requesting(Box::new(offer));
                self.exchange.go_on(now);
            }
            (Answer::Ack(terms), State::Requesting(offer))
                if terms.address == offer.address && terms.server == offer.server =>
            {
                // An answer to any of the requests, so the time counts from the first.
                self.granted(now, self.exchange.began(), terms, out);
            }
            (Answer::Ack(terms), State::Rebooting | State::Renewing | State::Rebinding)
                if self.holds(terms.address) =>
            {
                // Each message had a number of its own: this is the answer to the last.
                self.granted(now, self.exchange.last(), terms, out);
            }
            (Answer::Nak { server }, State::Requesting(offer)) if server == offer.server => {
                // The offer is withdrawn, which says nothing of another address that is held.
                let address = offer.address;
                self.refused(now, address, out);
            }
            (Answer::Nak { server }, State::Renewing)
                if self.held.as_ref().is_some_and(|lease| lease.terms.server == server) =>
            {
                self.taken_back(now, out);
            }
            // Any server of the network may say that the address does not belong there.
            (Answer::Nak { .. }, State::Rebooting | State::Rebinding) => self.taken_back(now, out),
            _ => {}
        }
    }

    /// What the link said of the address that was granted: whether another machine has it.
    pub(crate) fn probed(&mut self, now: Mono, address: Ipv4Addr, taken: bool, out: &mut Vec<Action>) {
        let State::Probing(lease) = &self.state else { return };
        if lease.terms.address != address {
            return;
        }
        if taken {
            let server = lease.terms.server;
            self.failures = self.failures.saturating_add(1);
            let delay = self.dice.back_off(self.failures, DECLINE_WAIT, DISCOVER.most);
            let delay = if delay < DECLINE_WAIT { DECLINE_WAIT } else { delay };
            self.begin(now, delay, State::Selecting);
            let what = Ask::Decline { address, server };
            out.push(Action::Send(Outgoing { xid: self.exchange.xid(), secs: 0, what }));
            out.push(Action::Taken(address));
        } else if lease.ends_at <= now {
            self.begin(now, Millis::ZERO, State::Selecting);
        } else {
            let lease = Lease::clone(lease);
            self.bind(lease, out);
        }
    }

    fn granted(&mut self, now: Mono, since: Mono, terms: Terms, out: &mut Vec<Action>) {
        if !is_usable(&terms) {
            return;
        }
        let address = terms.address;
        let lease = lease(since, terms, &mut self.dice);
        if lease.ends_at <= now {
            return;
        }
        if self.holds(address) {
            self.bind(lease, out);
        } else {
            self.state = State::Probing(Box::new(lease));
            self.exchange.end(Some(now.saturating_add(PROBE_WITHIN)));
            out.push(Action::Probe(address));
        }
    }

    fn bind(&mut self, lease: Lease, out: &mut Vec<Action>) {
        self.exchange.end(Some(lease.renew_at));
        self.held = Some(lease);
        self.state = State::Bound;
        self.failures = 0;
        out.push(Action::Bound);
    }

    fn taken_back(&mut self, now: Mono, out: &mut Vec<Action>) {
        if let Some(address) = self.held.as_ref().map(|lease| lease.terms.address) {
            self.refused(now, address, out);
        }
    }

    /// A server does not let the client have `address`.
    fn refused(&mut self, now: Mono, address: Ipv4Addr, out: &mut Vec<Action>) {
        if self.holds(address) {
            self.held = None;
            out.push(Action::Lost("the server took the address back"));
        }
        self.failures = self.failures.saturating_add(1);
        let delay = match self.failures {
            0 | 1 => Millis::ZERO,
            more => self.dice.back_off(more, DISCOVER.first, DISCOVER.most),
        };
        self.begin(now, delay, State::Selecting);
    }

    fn holds(&self, address: Ipv4Addr) -> bool {
        self.held.as_ref().is_some_and(|lease| lease.terms.address == address)
    }

    fn begin(&mut self, now: Mono, delay: Millis, state: State) {
        self.state = state;
        self.exchange.begin(now, delay, &mut self.dice);
    }

    /// Each message of its own number, so that the time of a lease counts from the one that was answered (RFC 2131, 4.1 leaves the choice).
    fn renumber(&mut self) {
        self.exchange.renumber(&mut self.dice);
    }

    fn extend(&mut self, now: Mono, ask: Ask, state: State, next: Mono, out: &mut Vec<Action>) {
        if self.state == state {
            self.renumber();
        } else {
            self.begin(now, Millis::ZERO, state);
        }
        let secs = self.elapsed_s(now);
        self.exchange.sent_until(now, next);
        out.push(Action::Send(Outgoing { xid: self.exchange.xid(), secs, what: ask }));
    }

    fn send(&mut self, now: Mono, what: Ask, secs: u16, pace: Pace, out: &mut Vec<Action>) {
        self.exchange.sent(now, pace, &mut self.dice);
        out.push(Action::Send(Outgoing { xid: self.exchange.xid(), secs, what }));
    }

    fn elapsed_s(&self, now: Mono) -> u16 {
        u16::try_from(self.exchange.elapsed(now).as_secs()).unwrap_or(u16::MAX)
    }
}

/// Half of the time that is left, at least a minute.
fn half(now: Mono, end: Mono) -> Millis {
    Millis::new(now.until(end).get() / 2).max(RENEW_WAIT)
}

/// Whether the address can be that of an interface, and the lease is worth having.
fn is_usable(terms: &Terms) -> bool {
    is_host_of(terms.address, terms.prefix) && terms.lease_s >= MIN_LEASE_S
}

/// Whether an address can be that of one machine in its network: neither the network's own nor that of all its machines.
pub(crate) fn is_host_of(address: Ipv4Addr, prefix: u8) -> bool {
    let Ok(net) = Ipv4Net::new(address, prefix) else { return false };
    is_host(address)
        && prefix > 0
        && (prefix > 30 || (address != net.network() && address != net.broadcast()))
}

/// Whether an address can be that of one machine.
pub(crate) fn is_host(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    first != 0 && first != 127 && first < 224
}

/// The terms in force since `since`. Times of the server's are used where they are in order (T1 before T2 before the end), else half and seven eighths
/// of the lease, a little earlier by chance (RFC 2131, 4.4.5).
fn lease(since: Mono, terms: Terms, dice: &mut Jitter) -> Lease {
    let length = u64::from(terms.lease_s.min(MAX_LEASE_S)) * 1000;
    let early = |dice: &mut Jitter, ms: u64| ms - dice.below(length / 32);
    let renew = terms.renew_s.map(|secs| u64::from(secs) * 1000).filter(|ms| *ms >= 5000);
    let rebind = terms.rebind_s.map(|secs| u64::from(secs) * 1000);
    let late = early(dice, length * 7 / 8);
    let (renew, rebind) = match (renew, rebind) {
        (Some(renew), Some(rebind)) if renew < rebind && rebind < length => (renew, rebind),
        (Some(renew), _) if renew < late => (renew, late),
        _ => (early(dice, length / 2), late),
    };
    let after = |ms| since.saturating_add(Millis::new(ms));
    Lease { terms, renew_at: after(renew), rebind_at: after(rebind), ends_at: after(length) }
}

#[cfg(test)]
#[path = "dhcp4_tests.rs"]
mod tests;
