//! The DHCPv6 client for one address (RFC 8415, IA_NA) as a machine: messages and time in, messages and leases out.
//!
//! ```text
//!   Down ─link up─► Soliciting ─advertise─► Requesting ─reply─► Bound ─T1─► Renewing ─T2─► Rebinding ─end─► Soliciting
//!     └─ link up, lease held ─► Confirming ─not on this link─► Soliciting;  on this link, or silence ─► Bound
//! ```
//!
//! The default route and the prefix of the link come from router advertisements, which the kernel handles.

use std::net::Ipv6Addr;

use serde::{Deserialize, Serialize};
use units::{Millis, Mono};

use crate::dhcp4::{MAX_LEASE_S, MIN_LEASE_S};
use crate::dice::Dice;

/// Waits: first and longest while looking for a server, then while extending (RFC 8415, 7.6; the longest shortened from an hour).
const FIRST_WAIT: Millis = Millis::from_secs(1);
const MOST_WAIT: Millis = Millis::from_secs(120);
const EXTEND_WAIT: Millis = Millis::from_secs(10);
const EXTEND_MOST: Millis = Millis::from_secs(600);
/// Requests before another server is looked for, and questions whether the address belongs to the link.
const REQUESTS: u32 = 6;
const CONFIRMS: u32 = 4;

/// What a server offers or grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Terms {
    pub(crate) address: Ipv6Addr,
    pub(crate) dns: Vec<Ipv6Addr>,
    /// The server's DUID.
    pub(crate) server: Vec<u8>,
    pub(crate) valid_s: u32,
    pub(crate) renew_s: u32,
    pub(crate) rebind_s: u32,
}

/// Terms in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) terms: Terms,
    pub(crate) renew_at: Mono,
    pub(crate) rebind_at: Mono,
    pub(crate) ends_at: Mono,
}

/// A message from a server, checked by [`crate::wire6`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) xid: u32,
    pub(crate) what: Answer,
}

/// What it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Advertise(Terms),
    Granted(Terms),
    /// No address, or not this one.
    Refused,
    /// To the question whether the address belongs to the link.
    OnLink(bool),
}

/// A message to send, always to all servers of the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) xid: u32,
    /// Hundredths of a second since the conversation began.
    pub(crate) elapsed: u16,
    pub(crate) what: Ask,
}

/// What it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Solicit,
    Request { address: Ipv6Addr, server: Vec<u8> },
    Confirm { address: Ipv6Addr },
    Renew { address: Ipv6Addr, server: Vec<u8> },
    Rebind { address: Ipv6Addr },
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
    Soliciting,
    Requesting(Box<Terms>),
    Confirming,
    Bound,
    Renewing,
    Rebinding,
}

/// The client of one interface.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    state: State,
    /// Messages sent in this state.
    sent: u32,
    held: Option<Lease>,
    next: Option<Mono>,
    xid: u32,
    began: Mono,
    refusals: u32,
    dice: Dice,
}

impl Client {
    /// A client without a link; with the lease of an earlier run that has not ended.
    pub(crate) fn new(seed: u64, held: Option<Lease>) -> Self {
        let dice = Dice::new(seed);
        Self { state: State::Down, sent: 0, held, next: None, xid: 0, began: Mono::ZERO, refusals: 0, dice }
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
        if self.state == State::Down {
            let state = if self.held.is_some() { State::Confirming } else { State::Soliciting };
            self.begin(now, Millis::ZERO, state);
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
            if !matches!(self.state, State::Down | State::Soliciting | State::Requesting(_)) {
                self.begin(now, Millis::ZERO, State::Soliciting);
            }
        }
        if self.next.is_none_or(|next| next > now) {
            return;
        }
        let held = self
            .held
            .as_ref()
            .map(|lease| (lease.terms.address, lease.terms.server.clone(), lease.rebind_at));
        match (&self.state, held) {
            (State::Down, _) => self.next = None,
            (State::Soliciting, _) => self.send(now, Ask::Solicit, FIRST_WAIT, MOST_WAIT, out),
            (State::Requesting(offer), _) if self.sent < REQUESTS => {
                let ask = Ask::Request { address: offer.address, server: offer.server.clone() };
                self.send(now, ask, FIRST_WAIT, MOST_WAIT, out);
            }
            (State::Confirming, Some((address, ..))) if self.sent < CONFIRMS => {
                self.send(now, Ask::Confirm { address }, FIRST_WAIT, MOST_WAIT, out);
            }
            // Silence does not make the address wrong (RFC 8415, 18.2.3).
            (State::Confirming, Some(_)) => self.bound(now),
            (State::Bound | State::Renewing, Some((address, server, rebind_at))) if now < rebind_at => {
                if self.state == State::Bound {
                    self.begin(now, Millis::ZERO, State::Renewing);
                }
                self.send(now, Ask::Renew { address, server }, EXTEND_WAIT, EXTEND_MOST, out);
                self.next = self.next.map(|next| next.min(rebind_at));
            }
            (State::Bound | State::Renewing | State::Rebinding, Some((address, ..))) => {
                if self.state != State::Rebinding {
                    self.begin(now, Millis::ZERO, State::Rebinding);
                }
                self.send(now, Ask::Rebind { address }, EXTEND_WAIT, EXTEND_MOST, out);
            }
            _ => self.begin(now, Millis::ZERO, State::Soliciting),
        }
    }

    /// A server said something.
    pub(crate) fn received(&mut self, now: Mono, message: Received, out: &mut Vec<Action>) {
        if message.xid != self.xid || self.sent == 0 {
            return;
        }
        match (message.what, &self.state) {
            (Answer::Advertise(offer), State::Soliciting) if is_usable(&offer) => {
                self.begin(now, Millis::ZERO, State::Requesting(Box::new(offer)));
            }
            (Answer::Granted(terms), State::Requesting(offer))
                if is_usable(&terms) && terms.server == offer.server =>
            {
                self.granted(now, terms, out);
            }
            (Answer::Granted(terms), State::Renewing | State::Rebinding) if is_usable(&terms) => {
                self.granted(now, terms, out);
            }
            (Answer::Refused, State::Requesting(_) | State::Renewing | State::Rebinding)
            | (Answer::OnLink(false), State::Confirming) => {
                if self.held.take().is_some() {
                    out.push(Action::Lost("the server took the address back"));
                }
                self.refusals = self.refusals.saturating_add(1);
                let delay = match self.refusals {
                    0 | 1 => Millis::ZERO,
                    more => self.dice.back_off(more, FIRST_WAIT, MOST_WAIT),
                };
                self.begin(now, delay, State::Soliciting);
            }
            (Answer::OnLink(true), State::Confirming) => self.bound(now),
            _ => {}
        }
    }

    fn granted(&mut self, now: Mono, terms: Terms, out: &mut Vec<Action>) {
        self.held = Some(lease(now, terms));
        self.refusals = 0;
        self.bound(now);
        out.push(Action::Bound);
    }

    fn bound(&mut self, now: Mono) {
        self.state = State::Bound;
        self.next = self.held.as_ref().map(|lease| lease.renew_at.max(now));
    }

    fn begin(&mut self, now: Mono, delay: Millis, state: State) {
        self.state = state;
        self.sent = 0;
        self.xid = self.dice.number(24);
        self.began = now;
        self.next = Some(now.saturating_add(delay));
    }

    fn send(&mut self, now: Mono, what: Ask, first: Millis, most: Millis, out: &mut Vec<Action>) {
        self.sent = self.sent.saturating_add(1);
        self.next = Some(now.saturating_add(self.dice.back_off(self.sent, first, most)));
        let elapsed = u16::try_from(self.began.until(now).get() / 10).unwrap_or(u16::MAX);
        out.push(Action::Send(Outgoing { xid: self.xid, elapsed, what }));
    }
}

fn is_usable(terms: &Terms) -> bool {
    is_host(terms.address) && terms.valid_s >= MIN_LEASE_S
}

/// Whether an address can be that of one machine, beyond its link.
pub(crate) fn is_host(address: Ipv6Addr) -> bool {
    let first = address.segments()[0];
    !address.is_unspecified()
        && !address.is_loopback()
        && !address.is_multicast()
        && first & 0xffc0 != 0xfe80
        && first != 0
}

fn lease(now: Mono, terms: Terms) -> Lease {
    let length = u64::from(terms.valid_s.min(MAX_LEASE_S));
    let (renew, rebind) = match (u64::from(terms.renew_s), u64::from(terms.rebind_s)) {
        (renew, rebind) if 5 <= renew && renew < rebind && rebind < length => (renew, rebind),
        // Zero leaves it to the client; anything else makes no sense.
        _ => (length / 2, length * 4 / 5),
    };
    let after = |secs| now.saturating_add(Millis::from_secs(secs));
    Lease { terms, renew_at: after(renew), rebind_at: after(rebind), ends_at: after(length) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms() -> Terms {
        Terms {
            address: "2001:db8::77".parse().unwrap(),
            dns: Vec::new(),
            server: vec![0, 3, 0, 1, 2, 0, 0, 0, 0, 1],
            valid_s: 1000,
            renew_s: 0,
            rebind_s: 0,
        }
    }

    struct Bench {
        client: Client,
        now: Mono,
    }

    impl Bench {
        fn next(&mut self) -> Vec<Action> {
            let mut out = Vec::new();
            self.now = self.client.deadline().unwrap().max(self.now);
            self.client.due(self.now, &mut out);
            out
        }

        fn asks(&mut self) -> Ask {
            match self.next().as_slice() {
                [Action::Send(message)] => message.what.clone(),
                other => panic!("not one message: {other:?}"),
            }
        }

        fn hears(&mut self, what: Answer) -> Vec<Action> {
            let mut out = Vec::new();
            self.client.received(self.now, Received { xid: self.client.xid, what }, &mut out);
            out
        }

        fn bound() -> Self {
            let mut bench = Self { client: Client::new(3, None), now: Mono::from_millis(5000) };
            bench.client.link_up(bench.now);
            assert_eq!(bench.asks(), Ask::Solicit);
            bench.hears(Answer::Advertise(terms()));
            assert!(matches!(bench.asks(), Ask::Request { .. }));
            assert_eq!(bench.hears(Answer::Granted(terms())), [Action::Bound]);
            bench
        }
    }

    #[test]
    fn an_address_is_got_renewed_rebound_and_given_up() {
        let mut bench = Bench::bound();
        let start = bench.now;
        assert!(matches!(bench.asks(), Ask::Renew { .. }));
        assert_eq!(start.until(bench.now).as_secs(), 500);
        assert_eq!(bench.hears(Answer::Granted(terms())), [Action::Bound]);
        let start = bench.now;
        let (mut renews, mut rebinds) = (0, 0);
        loop {
            match bench.next().as_slice() {
                [Action::Send(Outgoing { what: Ask::Renew { .. }, .. })] => renews += 1,
                [Action::Send(Outgoing { what: Ask::Rebind { .. }, .. })] => rebinds += 1,
                [Action::Lost(_), Action::Send(Outgoing { what: Ask::Solicit, .. })] => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(start.until(bench.now).as_secs(), 1000);
        assert!((3..8).contains(&renews) && (3..8).contains(&rebinds), "{renews} {rebinds}");
    }

    #[test]
    fn a_link_that_returns_asks_whether_the_address_belongs_there() {
        for (answer, kept) in [(Some(true), true), (None, true), (Some(false), false)] {
            let mut bench = Bench::bound();
            bench.client.link_down();
            bench.client.link_up(bench.now);
            assert!(matches!(bench.asks(), Ask::Confirm { .. }));
            match answer {
                Some(answer) => drop(bench.hears(Answer::OnLink(answer))),
                None => {
                    while bench.client.state == State::Confirming {
                        bench.next();
                    }
                }
            }
            assert_eq!(bench.client.lease().is_some(), kept, "{answer:?}");
            assert_eq!(bench.client.state == State::Bound, kept, "{answer:?}");
        }
    }

    #[test]
    fn a_binding_the_server_forgot_is_lost_and_asked_for_anew() {
        let mut bench = Bench::bound();
        bench.next();
        assert!(matches!(bench.hears(Answer::Refused).as_slice(), [Action::Lost(_)]));
        assert_eq!(bench.asks(), Ask::Solicit);
    }

    #[test]
    fn an_address_of_no_use_is_not_taken() {
        for address in ["::", "::1", "ff02::1", "fe80::1", "::ffff:192.0.2.1"] {
            let mut bench = Bench { client: Client::new(3, None), now: Mono::ZERO };
            bench.client.link_up(bench.now);
            bench.next();
            bench.hears(Answer::Advertise(Terms { address: address.parse().unwrap(), ..terms() }));
            assert_eq!(bench.client.state, State::Soliciting, "{address}");
        }
    }
}
