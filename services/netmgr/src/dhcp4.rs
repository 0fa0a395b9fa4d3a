//! The DHCPv4 client (RFC 2131) as a machine: messages and time in, messages and leases out.
//!
//! ```text
//!            link up, nothing held            offer               ack
//!   Down ───────────────────────► Selecting ───────► Requesting ───────► Bound ──T1──► Renewing ──T2──► Rebinding
//!     │                              ▲ ▲                  │                ▲ ▲             │ ack            │ ack
//!     │ link up, lease held          │ └── nak, 4 unanswered               │ └─────────────┴────────────────┘
//!     └────────► Rebooting ──────────┴── nak, 3 unanswered      ack ───────┘        nak, end of the lease: Selecting
//! ```
//!
//! Terms. *Held*: the lease whose address is in use. It is held until it ends or the server takes it back (nak), whatever the conversation
//! is about: a cable pulled out and put back does not cut connections, it only asks whether the address still holds (Rebooting).

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use units::{Millis, Mono};

use crate::dice::Dice;

/// A lease shorter than this is not worth having: it would be renewed without end. Such an offer is not taken.
pub(crate) const MIN_LEASE_S: u32 = 30;
/// A lease longer than this (or endless) is treated as one of this length, so that a changed network is noticed in the end.
pub(crate) const MAX_LEASE_S: u32 = 30 * 86_400;
/// Wait after the first unanswered message, and the longest one.
const FIRST_WAIT: Millis = Millis::from_secs(2);
const MOST_WAIT: Millis = Millis::from_secs(64);
/// The least time between two renewals (RFC 2131, 4.4.5).
const RENEW_WAIT: Millis = Millis::from_secs(60);
/// Requests for an offer before another one is looked for.
const REQUESTS: u32 = 4;
/// Requests for a held address after a restart before an offer is looked for as well.
const REBOOTS: u32 = 3;

/// What a server offers or grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Terms {
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix: u8,
    pub(crate) gateway: Option<Ipv4Addr>,
    pub(crate) dns: Vec<Ipv4Addr>,
    pub(crate) domain: Option<String>,
    pub(crate) hostname: Option<String>,
    pub(crate) ntp: Vec<Ipv4Addr>,
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
    /// Seconds since the conversation began.
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
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Send(Outgoing),
    /// [`Client::lease`] is new or extended.
    Bound,
    /// The address must go.
    Lost(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Down,
    Selecting { sent: u32 },
    Requesting { offer: Box<Terms>, sent: u32 },
    Rebooting { sent: u32 },
    Bound,
    Renewing,
    Rebinding,
}

/// The client of one interface.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    state: State,
    held: Option<Lease>,
    /// When the state has something to do.
    next: Option<Mono>,
    xid: u32,
    began: Mono,
    /// Refusals since the last ack: a server that offers and refuses in turn is not asked without end.
    naks: u32,
    dice: Dice,
}

impl Client {
    /// A client without a link; with the lease of an earlier run that has not ended.
    pub(crate) fn new(seed: u64, held: Option<Lease>) -> Self {
        let dice = Dice::new(seed);
        Self { state: State::Down, held, next: None, xid: 0, began: Mono::ZERO, naks: 0, dice }
    }

    /// The lease in force.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        self.held.as_ref()
    }

    /// When [`Client::due`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        let ends = self.held.as_ref().map(|lease| lease.ends_at);
        match (self.next, ends) {
            (Some(next), Some(ends)) => Some(next.min(ends)),
            (next, ends) => next.or(ends),
        }
    }

    pub(crate) fn link_up(&mut self, now: Mono) {
        if self.state != State::Down {
            return;
        }
        if self.held.is_some() {
            self.begin(now, Millis::ZERO, State::Rebooting { sent: 0 });
        } else {
            self.begin(now, Millis::ZERO, State::Selecting { sent: 0 });
        }
    }

    pub(crate) fn link_down(&mut self) {
        self.state = State::Down;
        self.next = None;
    }

    /// Time has come.
    pub(crate) fn due(&mut self, now: Mono, out: &mut Vec<Action>) {
        if self.held.as_ref().is_some_and(|lease| lease.ends_at <= now) {
            self.held = None;
            out.push(Action::Lost("the lease ended"));
            if self.state != State::Down
                && !matches!(self.state, State::Selecting { .. } | State::Requesting { .. })
            {
                self.begin(now, Millis::ZERO, State::Selecting { sent: 0 });
            }
        }
        if self.next.is_none_or(|next| next > now) {
            return;
        }
        match (&mut self.state, &self.held) {
            (State::Down, _) => self.next = None,
            (State::Selecting { sent }, _) => {
                *sent = sent.saturating_add(1);
                let tries = *sent;
                self.wait(now, tries);
                self.send(now, Ask::Discover, out);
            }
            (State::Requesting { offer, sent }, _) if *sent < REQUESTS => {
                *sent += 1;
                let tries = *sent;
                let ask = Ask::Request { address: offer.address, server: Some(offer.server) };
                self.wait(now, tries);
                self.send(now, ask, out);
            }
            (State::Rebooting { sent }, Some(lease)) if *sent < REBOOTS => {
                *sent += 1;
                let tries = *sent;
                let ask = Ask::Request { address: lease.terms.address, server: None };
                self.wait(now, tries);
                self.send(now, ask, out);
            }
            (State::Bound | State::Renewing, Some(lease)) if now < lease.rebind_at => {
                let fresh = self.state == State::Bound;
                let (address, server) = (lease.terms.address, Some(lease.terms.server));
                let next = now.saturating_add(half(now, lease.rebind_at)).min(lease.rebind_at);
                if fresh {
                    self.begin(now, Millis::ZERO, State::Renewing);
                }
                self.next = Some(next);
                self.send(now, Ask::Extend { address, server }, out);
            }
            (State::Bound | State::Renewing | State::Rebinding, Some(lease)) => {
                let address = lease.terms.address;
                let next = now.saturating_add(half(now, lease.ends_at));
                if self.state != State::Rebinding {
                    self.begin(now, Millis::ZERO, State::Rebinding);
                }
                self.next = Some(next);
                self.send(now, Ask::Extend { address, server: None }, out);
            }
            // Nobody answered, or nothing is held to ask about.
            _ => {
                self.begin(now, Millis::ZERO, State::Selecting { sent: 0 });
            }
        }
    }

    /// A server said something.
    pub(crate) fn received(&mut self, now: Mono, message: Received, out: &mut Vec<Action>) {
        if message.xid != self.xid {
            return;
        }
        match (message.what, &self.state) {
            (Answer::Offer(offer), State::Selecting { sent: 1.. }) if is_usable(&offer) => {
                self.state = State::Requesting { offer: Box::new(offer), sent: 0 };
                self.next = Some(now);
            }
            (Answer::Ack(terms), State::Requesting { offer, .. })
                if terms.address == offer.address && terms.server == offer.server =>
            {
                self.granted(now, terms, out);
            }
            (Answer::Ack(terms), State::Rebooting { .. } | State::Renewing | State::Rebinding)
                if self.held.as_ref().is_some_and(|lease| lease.terms.address == terms.address) =>
            {
                self.granted(now, terms, out);
            }
            (Answer::Nak { server }, State::Requesting { offer, .. }) if server == offer.server => {
                self.refused(now, out);
            }
            (Answer::Nak { server }, State::Renewing)
                if self.held.as_ref().is_some_and(|lease| lease.terms.server == server) =>
            {
                self.refused(now, out);
            }
            // Any server of the network may say that the address does not belong there.
            (Answer::Nak { .. }, State::Rebooting { .. } | State::Rebinding) => self.refused(now, out),
            _ => {}
        }
    }

    fn granted(&mut self, now: Mono, terms: Terms, out: &mut Vec<Action>) {
        if !is_usable(&terms) {
            return;
        }
        self.held = Some(lease(now, terms));
        self.state = State::Bound;
        self.next = self.held.as_ref().map(|lease| lease.renew_at);
        self.naks = 0;
        out.push(Action::Bound);
    }

    fn refused(&mut self, now: Mono, out: &mut Vec<Action>) {
        if self.held.take().is_some() {
            out.push(Action::Lost("the server took the address back"));
        }
        self.naks = self.naks.saturating_add(1);
        let delay = match self.naks {
            0 | 1 => Millis::ZERO,
            more => self.dice.back_off(more, FIRST_WAIT, MOST_WAIT),
        };
        self.begin(now, delay, State::Selecting { sent: 0 });
    }

    fn begin(&mut self, now: Mono, delay: Millis, state: State) {
        self.state = state;
        self.xid = self.dice.number(32);
        self.began = now;
        self.next = Some(now.saturating_add(delay));
    }

    fn wait(&mut self, now: Mono, tries: u32) {
        self.next = Some(now.saturating_add(self.dice.back_off(tries, FIRST_WAIT, MOST_WAIT)));
    }

    fn send(&self, now: Mono, what: Ask, out: &mut Vec<Action>) {
        let secs = u16::try_from(self.began.until(now).as_secs()).unwrap_or(u16::MAX);
        out.push(Action::Send(Outgoing { xid: self.xid, secs, what }));
    }
}

/// Half of the time that is left, at least a minute.
fn half(now: Mono, end: Mono) -> Millis {
    Millis::new(now.until(end).get() / 2).max(RENEW_WAIT)
}

/// Whether the address can be that of an interface, and the lease is worth having.
fn is_usable(terms: &Terms) -> bool {
    is_host(terms.address) && (1..=32).contains(&terms.prefix) && terms.lease_s >= MIN_LEASE_S
}

/// Whether an address can be that of one machine.
pub(crate) fn is_host(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    first != 0 && first != 127 && first < 224
}

fn lease(now: Mono, terms: Terms) -> Lease {
    let length = u64::from(terms.lease_s.min(MAX_LEASE_S));
    let (renew, rebind) = match (terms.renew_s.map(u64::from), terms.rebind_s.map(u64::from)) {
        (Some(renew), Some(rebind)) if 5 <= renew && renew < rebind && rebind < length => (renew, rebind),
        (Some(renew), _) if 5 <= renew && renew < length * 7 / 8 => (renew, length * 7 / 8),
        _ => (length / 2, length * 7 / 8),
    };
    let after = |secs| now.saturating_add(Millis::from_secs(secs));
    Lease { terms, renew_at: after(renew), rebind_at: after(rebind), ends_at: after(length) }
}

#[cfg(test)]
#[path = "dhcp4_tests.rs"]
mod tests;
