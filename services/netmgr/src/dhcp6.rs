//! The DHCPv6 client (RFC 8415) as a machine: messages and time in, messages and leases out. Stateful, for the addresses of one IA_NA, or stateless, for
//! name servers and the like only.
//!
//! ```text
//!   Down ─link up─► Soliciting ─advertise─► Requesting ─reply─► Bound ─T1─► Renewing ─T2─► Rebinding ─end─► Soliciting
//!     │                                          ▲                             │ no binding    │
//!     │                                          └─────────────────────────────┴───────────────┘
//!     ├─ link up, lease held ─► Confirming ─not on this link─► Soliciting;  on this link, or silence ─► Bound
//!     │                         Bound ─another machine has the address─► Declining ─► Bound with the others, or Soliciting
//!     └─ link up, stateless ─► Informing ─reply─► Informed ─refresh time─► Informing
//! ```
//!
//! Terms. *Held*: the lease whose addresses are in use; each until it ends or the server takes it back, whatever the conversation is about.
//!
//! The default route and the prefix of the link come from router advertisements, which the kernel handles.

use std::net::Ipv6Addr;

use units::{Millis, Mono};

use crate::dhcp4::{MAX_LEASE_S, MIN_LEASE_S};
use crate::exchange::{Exchange, Pace, Spread};
use crate::jitter::Jitter;

/// Addresses held of one lease.
pub(crate) const MAX_ADDRESSES: usize = 8;

/// RFC 8415, 7.6: the times of each message. SOL_MAX_RT and INF_MAX_RT are the servers' to change.
const SOLICIT: Pace = Pace {
    first: Millis::from_secs(1),
    most: Millis::from_secs(3600),
    count: 0,
    within: Millis::ZERO,
    spread: Spread::TenthLater,
};
const REQUEST: Pace = Pace { most: Millis::from_secs(30), count: 10, spread: Spread::Tenth, ..SOLICIT };
const CONFIRM: Pace =
    Pace { most: Millis::from_secs(4), within: Millis::from_secs(10), spread: Spread::Tenth, ..SOLICIT };
/// Renew and Rebind; their ends are T2 and the end of the addresses.
const EXTEND: Pace =
    Pace { first: Millis::from_secs(10), most: Millis::from_secs(600), spread: Spread::Tenth, ..SOLICIT };
const DECLINE: Pace = Pace { most: Millis::from_secs(60), count: 4, spread: Spread::Tenth, ..SOLICIT };
const INFORM: Pace = Pace { spread: Spread::Tenth, ..SOLICIT };
/// SOL_MAX_DELAY, CNF_MAX_DELAY, INF_MAX_DELAY, ms: the first message on a link waits up to so long.
const MAX_DELAY_MS: u64 = 1000;
/// What servers may set SOL_MAX_RT and INF_MAX_RT to, s (RFC 8415, 21.24 and 21.25).
const MAX_RT_S: std::ops::RangeInclusive<u32> = 60..=86_400;
/// IRT_DEFAULT and IRT_MINIMUM: when what a stateless client was told is asked for again, s.
const REFRESH_S: u32 = 86_400;
const LEAST_REFRESH_S: u32 = 600;
/// A server that offers and refuses in turn is asked ever more slowly; after an address that another machine has, not before so long.
const REFUSED_WAIT: Millis = Millis::from_secs(1);
const REFUSED_MOST: Millis = Millis::from_secs(120);
const DECLINED_WAIT: Millis = Millis::from_secs(10);
/// No renewal is due sooner.
const LEAST_RENEW_S: u32 = 5;
/// A preference with which nothing better is waited for.
const BEST: u8 = 255;

/// A status code, of a message, an association, or an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Success,
    NoAddrsAvail,
    NoBinding,
    NotOnLink,
    /// UnspecFail, UseMulticast and what is not known: the question stays open.
    Failed,
}

/// An address as a server gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    pub(crate) address: Ipv6Addr,
    /// At most `valid_s`.
    pub(crate) preferred_s: u32,
    /// Zero takes it back.
    pub(crate) valid_s: u32,
}

/// This client's association in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Association {
    pub(crate) status: Status,
    /// T1 and T2, zero for the client's choice.
    pub(crate) renew_s: u32,
    pub(crate) rebind_s: u32,
    pub(crate) addresses: Vec<Granted>,
}

/// What is not an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub(crate) struct Told {
    pub(crate) dns: Vec<Ipv6Addr>,
    pub(crate) search: Vec<String>,
    pub(crate) ntp: Vec<Ipv6Addr>,
}

/// Which message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Advertise,
    Reply,
}

/// A message from a server, checked by [`crate::wire6`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) xid: u32,
    pub(crate) kind: Kind,
    pub(crate) status: Status,
    /// The server's DUID.
    pub(crate) server: Vec<u8>,
    pub(crate) preference: u8,
    pub(crate) association: Option<Association>,
    pub(crate) told: Told,
    pub(crate) sol_max_rt_s: Option<u32>,
    pub(crate) inf_max_rt_s: Option<u32>,
    pub(crate) refresh_s: Option<u32>,
}

/// An address in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) address: Ipv6Addr,
    /// From when it is used for nothing new.
    pub(crate) fades_at: Mono,
    pub(crate) ends_at: Mono,
}

/// A lease in force, with at least one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) server: Vec<u8>,
    pub(crate) addresses: Vec<Held>,
    pub(crate) told: Told,
    pub(crate) renew_at: Mono,
    pub(crate) rebind_at: Mono,
}

impl Lease {
    /// Its addresses.
    pub(crate) fn addresses(&self) -> Vec<Ipv6Addr> {
        self.addresses.iter().map(|held| held.address).collect()
    }
}

/// A message to send, always to all servers of the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) xid: u32,
    /// Hundredths of a second since the exchange began.
    pub(crate) elapsed: u16,
    pub(crate) what: Ask,
}

/// What it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Solicit,
    Request { addresses: Vec<Ipv6Addr>, server: Vec<u8> },
    Confirm { addresses: Vec<Ipv6Addr> },
    Renew { addresses: Vec<Ipv6Addr>, server: Vec<u8> },
    Rebind { addresses: Vec<Ipv6Addr> },
    Decline { addresses: Vec<Ipv6Addr>, server: Vec<u8> },
    Inform,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Send(Outgoing),
    /// [`Client::lease`] or [`Client::told`] is new or extended, or what was told has ended.
    Bound,
    /// An address must go.
    Lost(&'static str),
    /// Another machine has an address that was granted.
    Taken(Ipv6Addr),
}

/// Whom a request goes to, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Offer {
    server: Vec<u8>,
    preference: u8,
    addresses: Vec<Ipv6Addr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Down,
    /// With the best offer so far.
    Soliciting(Option<Offer>),
    Requesting(Offer),
    /// Whether a server has said that the addresses do not belong to the link.
    Confirming(bool),
    Bound,
    Renewing,
    Rebinding,
    /// Addresses other machines have, and whose they are.
    Declining(Vec<Ipv6Addr>, Vec<u8>),
    Informing,
    Informed,
}

/// The client of one interface.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    stateless: bool,
    state: State,
    held: Option<Lease>,
    /// Of a stateless client, and when it is to be asked for again.
    told: Option<(Told, Mono)>,
    /// The link was gone since: the network may be another, and may have nobody who answers.
    unsure: bool,
    exchange: Exchange,
    sol_max_rt: Millis,
    inf_max_rt: Millis,
    /// Refusals and conflicts since the last lease.
    failures: u32,
    dice: Jitter,
}

impl Client {
    /// A client without a link; with the lease of an earlier run that has not ended.
    pub(crate) fn new(seed: u64, held: Option<Lease>) -> Self {
        Self {
            stateless: false,
            state: State::Down,
            held: held.filter(|lease| !lease.addresses.is_empty()),
            told: None,
            unsure: false,
            exchange: Exchange::none(24),
            sol_max_rt: SOLICIT.most,
            inf_max_rt: INFORM.most,
            failures: 0,
            dice: Jitter::new(seed),
        }
    }

    /// One that asks for no address.
    pub(crate) fn stateless(seed: u64) -> Self {
        Self { stateless: true, ..Self::new(seed, None) }
    }

    /// The lease in force.
    pub(crate) fn lease(&self) -> Option<&Lease> {
        self.held.as_ref()
    }

    /// What servers told besides addresses.
    pub(crate) fn told(&self) -> Option<&Told> {
        self.held.as_ref().map(|lease| &lease.told).or(self.told.as_ref().map(|(told, _)| told))
    }

    /// When [`Client::due`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        let ends = self.held.iter().flat_map(|lease| &lease.addresses).map(|held| held.ends_at);
        ends.chain(self.told_ends()).chain(self.exchange.next()).min()
    }

    /// When what was told ends. On the link it was told on it counts until there is something else.
    fn told_ends(&self) -> Option<Mono> {
        self.told.as_ref().filter(|_| self.unsure).map(|(_, until)| *until)
    }

    pub(crate) fn link_up(&mut self, now: Mono) {
        if self.state != State::Down {
            return;
        }
        let state = match (self.stateless, &self.held) {
            (true, _) => State::Informing,
            (false, Some(_)) => State::Confirming(false),
            (false, None) => State::Soliciting(None),
        };
        let delay = self.exchange.quiet(now).max(Millis::new(self.dice.below(MAX_DELAY_MS)));
        self.begin(now, delay, state);
    }

    pub(crate) fn link_down(&mut self) {
        self.state = State::Down;
        self.unsure = true;
        self.exchange.end(None);
    }

    /// Time has come.
    pub(crate) fn due(&mut self, now: Mono, out: &mut Vec<Action>) {
        self.end_addresses(now, out);
        if self.told_ends().is_some_and(|until| until <= now) {
            self.told = None;
            out.push(Action::Bound);
        }
        if self.exchange.next().is_none_or(|next| next > now) {
            return;
        }
        match (&self.state, &self.held) {
            (State::Down, _) => self.exchange.end(None),
            (State::Soliciting(Some(offer)), _) => {
                let offer = offer.clone();
                self.begin(now, Millis::ZERO, State::Requesting(offer));
            }
            (State::Soliciting(None), _) => {
                self.send(now, Ask::Solicit, Pace { most: self.sol_max_rt, ..SOLICIT }, out);
            }
            (State::Requesting(offer), _) if !self.exchange.failed(now, REQUEST) => {
                let ask = Ask::Request { addresses: offer.addresses.clone(), server: offer.server.clone() };
                self.send(now, ask, REQUEST, out);
            }
            (State::Confirming(false), Some(lease)) if !self.exchange.failed(now, CONFIRM) => {
                let ask = Ask::Confirm { addresses: lease.addresses() };
                self.send(now, ask, CONFIRM, out);
            }
            // Silence does not make the addresses wrong (RFC 8415, 18.2.3).
            (State::Confirming(false), Some(_)) => self.bound(now),
            // Nobody else said that they belong here.
            (State::Confirming(true), _) => {
                self.held = None;
                self.lost("the address does not belong to this network", now, out);
            }
            (State::Bound | State::Renewing, Some(lease)) if now < lease.rebind_at => {
                let ask = Ask::Renew { addresses: lease.addresses(), server: lease.server.clone() };
                let end = lease.rebind_at;
                if self.state == State::Bound {
                    self.begin(now, Millis::ZERO, State::Renewing);
                }
                self.send(now, ask, EXTEND, out);
                self.exchange.not_after(end);
            }
            (State::Bound | State::Renewing | State::Rebinding, Some(lease)) => {
                let ask = Ask::Rebind { addresses: lease.addresses() };
                if self.state != State::Rebinding {
                    self.begin(now, Millis::ZERO, State::Rebinding);
                }
                self.send(now, ask, EXTEND, out);
            }
            (State::Declining(addresses, server), _) if !self.exchange.failed(now, DECLINE) => {
                let ask = Ask::Decline { addresses: addresses.clone(), server: server.clone() };
                self.send(now, ask, DECLINE, out);
            }
            (State::Declining(..), _) => self.declined(now),
            (State::Informed, _) => {
                self.begin(now, Millis::ZERO, State::Informing);
            }
            (State::Informing, _) => {
                self.send(now, Ask::Inform, Pace { most: self.inf_max_rt, ..INFORM }, out);
            }
            // Nobody answered, or nothing is held to ask about.
            _ => self.begin(now, Millis::ZERO, State::Soliciting(None)),
        }
    }

    /// A server said something.
    pub(crate) fn received(&mut self, now: Mono, message: Received, out: &mut Vec<Action>) {
        // An answer and the end of an address at the same moment: the end is first, whichever the caller saw first.
        self.end_addresses(now, out);
        if !self.exchange.expects(message.xid) {
            return;
        }
        // Of any message, one that offers or grants nothing included (RFC 8415, 18.2.9).
        let limit = |secs: Option<u32>| {
            secs.filter(|secs| MAX_RT_S.contains(secs)).map(|secs| Millis::from_secs(secs.into()))
        };
        self.sol_max_rt = limit(message.sol_max_rt_s).unwrap_or(self.sol_max_rt);
        self.inf_max_rt = limit(message.inf_max_rt_s).unwrap_or(self.inf_max_rt);
        match (message.kind, &self.state) {
            (Kind::Advertise, State::Soliciting(best)) => {
                if message.status != Status::Success {
                    return;
                }
                let Some(offer) = offer(&message) else { return };
                // The first wait is for the best of all offers, unless one says that there is no better.
                let at_once = offer.preference == BEST || self.exchange.count() > 1;
                if at_once {
                    self.begin(now, Millis::ZERO, State::Requesting(offer));
                } else if best.as_ref().is_none_or(|best| offer.preference > best.preference) {
                    self.state = State::Soliciting(Some(offer));
                }
            }
            (Kind::Reply, State::Requesting(offer)) if message.server == offer.server => {
                self.requested(now, message, out);
            }
            (Kind::Reply, State::Renewing)
                if self.held.as_ref().is_some_and(|lease| lease.server == message.server) =>
            {
                self.extended(now, message, out);
            }
            (Kind::Reply, State::Rebinding) => self.extended(now, message, out),
            (Kind::Reply, State::Confirming(_)) => match message.status {
                Status::Success => self.bound(now),
                Status::NotOnLink => self.state = State::Confirming(true),
                _ => {}
            },
            (Kind::Reply, State::Declining(_, server)) if message.server == *server => self.declined(now),
            (Kind::Reply, State::Informing) if message.status == Status::Success => {
                let secs = message.refresh_s.unwrap_or(REFRESH_S).clamp(LEAST_REFRESH_S, MAX_LEASE_S);
                // Not all of a link at once (RFC 8415, 21.23).
                let delay = Millis::from_secs(secs.into()) + Millis::new(self.dice.below(MAX_DELAY_MS));
                self.state = State::Informed;
                let until = now.saturating_add(delay);
                self.exchange.end(Some(until));
                self.told = Some((message.told, until));
                self.unsure = false;
                out.push(Action::Bound);
            }
            _ => {}
        }
    }

    /// Another machine has one of the addresses (duplicate address detection).
    pub(crate) fn duplicate(&mut self, now: Mono, address: Ipv6Addr, out: &mut Vec<Action>) {
        let Some(lease) = &mut self.held else { return };
        let before = lease.addresses.len();
        lease.addresses.retain(|held| held.address != address);
        if lease.addresses.len() == before {
            return;
        }
        let server = lease.server.clone();
        if lease.addresses.is_empty() {
            self.held = None;
        }
        self.failures = self.failures.saturating_add(1);
        out.push(Action::Taken(address));
        let declined = match &mut self.state {
            State::Down => return,
            // One that the server may not have heard of yet is in the next message as well (RFC 8415, 18.2.8).
            State::Declining(before, _) => {
                let mut all = std::mem::take(before);
                all.push(address);
                all
            }
            _ => vec![address],
        };
        self.begin(now, Millis::ZERO, State::Declining(declined, server));
    }

    /// The answer to a request.
    fn requested(&mut self, now: Mono, message: Received, out: &mut Vec<Action>) {
        let of_association = message.association.as_ref().map(|association| association.status);
        let granted = match (message.status, of_association) {
            // The server could not do it now; the next try is due after the wait (RFC 8415, 18.2.10).
            (Status::Failed, _) | (Status::Success, None | Some(Status::Failed)) => return,
            (Status::Success, Some(Status::Success)) => self.take(now, message, out),
            _ => false,
        };
        // No address, or not here: another server may do.
        if !granted {
            self.refused(now);
        }
    }

    /// The answer to a renewal, of its server or of any.
    fn extended(&mut self, now: Mono, message: Received, out: &mut Vec<Action>) {
        let no_binding = message.status == Status::NoBinding
            || message.association.as_ref().is_some_and(|ia| ia.status == Status::NoBinding);
        let granted = message.status == Status::Success
            && message.association.as_ref().is_some_and(|ia| ia.status == Status::Success);
        if no_binding {
            // The server has forgotten: asked for anew at once, and used as before meanwhile (RFC 8415, 18.2.10.1).
            let addresses = self.held.as_ref().map(Lease::addresses).unwrap_or_default();
            let offer = Offer { server: message.server, preference: 0, addresses };
            self.begin(now, Millis::ZERO, State::Requesting(offer));
        } else if granted {
            self.take(now, message, out);
        }
        // Anything else is no answer: asked again after the wait, until the end of the addresses.
    }

    /// Takes what a server grants, extends and takes back. What it does not name stays as it is. Whether an address was granted.
    fn take(&mut self, now: Mono, message: Received, out: &mut Vec<Action>) -> bool {
        let Some(association) = message.association else { return false };
        let mut addresses = self.held.as_ref().map(|lease| lease.addresses.clone()).unwrap_or_default();
        let before = addresses.len();
        let taken_back = |address| {
            association.addresses.iter().any(|granted| granted.address == address && granted.valid_s == 0)
        };
        addresses.retain(|held| !taken_back(held.address));
        let gone = addresses.len() < before;
        let mut used: Vec<&Granted> = Vec::new();
        for granted in association.addresses.iter().filter(|granted| granted.valid_s > 0) {
            let after = |secs: u32| now.saturating_add(Millis::from_secs(secs.min(MAX_LEASE_S).into()));
            let address = granted.address;
            let fresh =
                Held { address, fades_at: after(granted.preferred_s), ends_at: after(granted.valid_s) };
            if let Some(held) = addresses.iter_mut().find(|held| held.address == granted.address) {
                *held = fresh;
            } else if is_usable(granted) && addresses.len() < MAX_ADDRESSES {
                addresses.push(fresh);
            } else {
                continue;
            }
            used.push(granted);
        }
        if used.is_empty() {
            if let Some(lease) = &mut self.held
                && gone
            {
                lease.addresses = addresses;
                self.lost("the server took the address back", now, out);
            }
            return false;
        }
        let (renew_s, rebind_s) = times(association.renew_s, association.rebind_s, &used);
        let after = |secs: u32| now.saturating_add(Millis::from_secs(secs.into()));
        self.held = Some(Lease {
            server: message.server,
            addresses,
            told: message.told,
            renew_at: after(renew_s),
            rebind_at: after(rebind_s),
        });
        self.failures = 0;
        self.bound(now);
        out.push(Action::Bound);
        true
    }

    /// Lets go of the addresses whose time is over.
    fn end_addresses(&mut self, now: Mono, out: &mut Vec<Action>) {
        let Some(lease) = &mut self.held else { return };
        let before = lease.addresses.len();
        lease.addresses.retain(|held| held.ends_at > now);
        if lease.addresses.len() < before {
            self.lost("the lease ended", now, out);
        }
    }

    /// Addresses have gone; with the last of them the lease.
    fn lost(&mut self, why: &'static str, now: Mono, out: &mut Vec<Action>) {
        out.push(Action::Lost(why));
        if self.held.as_ref().is_some_and(|lease| !lease.addresses.is_empty()) {
            return;
        }
        self.held = None;
        if matches!(self.state, State::Confirming(_) | State::Bound | State::Renewing | State::Rebinding) {
            self.refused(now);
        }
    }

    /// Looks for a server again: at once the first time, then ever more slowly.
    fn refused(&mut self, now: Mono) {
        self.failures = self.failures.saturating_add(1);
        let delay = match self.failures {
            0 | 1 => Millis::ZERO,
            more => self.dice.back_off(more, REFUSED_WAIT, REFUSED_MOST),
        };
        self.begin(now, delay, State::Soliciting(None));
    }

    /// The server knows, or does not want to, that other machines have addresses of it.
    fn declined(&mut self, now: Mono) {
        if self.held.is_some() {
            self.bound(now);
            return;
        }
        let delay = self.dice.back_off(self.failures, DECLINED_WAIT, REFUSED_MOST);
        self.begin(now, delay, State::Soliciting(None));
    }

    fn bound(&mut self, now: Mono) {
        self.state = State::Bound;
        self.exchange.end(self.held.as_ref().map(|lease| lease.renew_at.max(now)));
    }

    fn begin(&mut self, now: Mono, delay: Millis, state: State) {
        self.state = state;
        self.exchange.begin(now, delay, &mut self.dice);
    }

    fn send(&mut self, now: Mono, what: Ask, pace: Pace, out: &mut Vec<Action>) {
        let elapsed = u16::try_from(self.exchange.elapsed(now).get() / 10).unwrap_or(u16::MAX);
        self.exchange.sent(now, pace, &mut self.dice);
        out.push(Action::Send(Outgoing { xid: self.exchange.xid(), elapsed, what }));
    }
}

/// What an advertisement offers, if it is of use.
fn offer(message: &Received) -> Option<Offer> {
    let association = message.association.as_ref().filter(|ia| ia.status == Status::Success)?;
    let usable = association.addresses.iter().filter(|granted| is_usable(granted));
    let addresses: Vec<Ipv6Addr> = usable.map(|granted| granted.address).take(MAX_ADDRESSES).collect();
    (!addresses.is_empty()).then(|| Offer {
        server: message.server.clone(),
        preference: message.preference,
        addresses,
    })
}

fn is_usable(granted: &Granted) -> bool {
    is_host(granted.address) && granted.valid_s >= MIN_LEASE_S
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

/// T1 and T2 in seconds from now. The server's, where it has a choice made that lies before the end of the addresses; else a half and four fifths of the
/// shortest preferred time (RFC 8415, 14.2 and 21.4).
fn times(renew_s: u32, rebind_s: u32, granted: &[&Granted]) -> (u32, u32) {
    let shortest = granted.iter().map(|granted| match granted.preferred_s {
        // Not to be used for anything new: the only time left to go by.
        0 => granted.valid_s,
        preferred_s => preferred_s,
    });
    let shortest = shortest.min().unwrap_or(MIN_LEASE_S).min(MAX_LEASE_S);
    let valid = granted.iter().map(|granted| granted.valid_s).min().unwrap_or(MIN_LEASE_S).min(MAX_LEASE_S);
    let part = |of: u32, times: u32, by: u32| {
        u32::try_from(u64::from(of) * u64::from(times) / u64::from(by)).unwrap_or(of)
    };
    let rebind = match (renew_s, rebind_s) {
        (0, 0) => part(shortest, 4, 5),
        (renew, 0) => part(renew.min(MAX_LEASE_S), 8, 5).max(part(shortest, 4, 5)),
        (_, rebind) => rebind,
    };
    let rebind = if rebind < valid { rebind } else { part(valid, 4, 5) };
    let renew = if renew_s == 0 { part(shortest, 1, 2) } else { renew_s };
    let renew = if renew <= rebind { renew } else { part(rebind, 5, 8) };
    let renew = renew.max(LEAST_RENEW_S);
    (renew, rebind.max(renew))
}

#[cfg(test)]
#[path = "dhcp6_tests.rs"]
mod tests;
