//! DHCPv4 messages <-> bytes (RFC 2131, 2132, 3396, 3397, 3442, 6842). What is believed of a message is decided here. Everything received is hostile.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::dhcp4::{Answer, Ask, Outgoing, Received, Terms, is_host};
use crate::names;
use crate::route::Route;

/// Where a client listens, and a server.
pub(crate) const CLIENT_PORT: u16 = 68;
pub(crate) const SERVER_PORT: u16 = 67;
/// The most bytes a message may have: what fits into an Ethernet frame.
pub(crate) const MAX_MESSAGE: usize = 1472;
/// Routes taken of a lease.
pub(crate) const MAX_ROUTES: usize = 128;
/// Where the fields stand that are looked at, and where the options begin.
const CHADDR: std::ops::Range<usize> = 28..34;
const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;
const OPTIONS: usize = 240;
/// What the options begin with.
const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// Codes of options.
mod code {
    pub(super) const PAD: u8 = 0;
    pub(super) const MASK: u8 = 1;
    pub(super) const ROUTER: u8 = 3;
    pub(super) const DNS: u8 = 6;
    pub(super) const HOSTNAME: u8 = 12;
    pub(super) const DOMAIN: u8 = 15;
    pub(super) const MTU: u8 = 26;
    pub(super) const NTP: u8 = 42;
    pub(super) const ADDRESS: u8 = 50;
    pub(super) const LEASE: u8 = 51;
    pub(super) const OVERLOAD: u8 = 52;
    pub(super) const KIND: u8 = 53;
    pub(super) const SERVER: u8 = 54;
    pub(super) const WANTED: u8 = 55;
    pub(super) const MAX_SIZE: u8 = 57;
    pub(super) const RENEW: u8 = 58;
    pub(super) const REBIND: u8 = 59;
    pub(super) const CLASS: u8 = 60;
    pub(super) const CLIENT: u8 = 61;
    pub(super) const SEARCH: u8 = 119;
    pub(super) const ROUTES: u8 = 121;
    pub(super) const END: u8 = 255;
}

/// What is asked for, in each message the same. 121 stands before 3 (RFC 3442).
const WANTED: [u8; 12] = [
    code::MASK,
    code::ROUTES,
    code::ROUTER,
    code::DNS,
    code::HOSTNAME,
    code::DOMAIN,
    code::SEARCH,
    code::MTU,
    code::NTP,
    code::LEASE,
    code::RENEW,
    code::REBIND,
];

/// Values of option 53.
mod kind {
    pub(super) const DISCOVER: u8 = 1;
    pub(super) const OFFER: u8 = 2;
    pub(super) const REQUEST: u8 = 3;
    pub(super) const DECLINE: u8 = 4;
    pub(super) const ACK: u8 = 5;
    pub(super) const NAK: u8 = 6;
}

/// What a client says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Me {
    pub(crate) mac: [u8; 6],
    pub(crate) hostname: String,
}

impl Me {
    /// The client identifier, the same in every message.
    fn id(mac: [u8; 6]) -> Vec<u8> {
        std::iter::once(1).chain(mac).collect()
    }
}

/// Reads a message to `mac`. `None` for everything that is not one, or makes no sense.
pub(crate) fn read(bytes: &[u8], mac: [u8; 6]) -> Option<Received> {
    if bytes.len() > MAX_MESSAGE {
        return None;
    }
    // An answer, on Ethernet, with a hardware address of six bytes.
    let [2, 1, 6, _, a, b, c, d, ..] = *bytes else { return None };
    if bytes.get(CHADDR)? != mac {
        return None;
    }
    let options = Options::of(bytes)?;
    // An answer to a client of another identity, behind the same hardware address (RFC 6842).
    if options.0.get(&code::CLIENT).is_some_and(|id| *id != Me::id(mac)) {
        return None;
    }
    let server = Ipv4Addr::from(options.fixed::<4>(code::SERVER)?);
    if !is_host(server) {
        return None;
    }
    let address = Ipv4Addr::from(*bytes.get(16..)?.first_chunk::<4>()?);
    let [kind] = options.fixed::<1>(code::KIND)?;
    let what = match kind {
        kind::OFFER => Answer::Offer(options.terms(address, server)?),
        kind::ACK => Answer::Ack(options.terms(address, server)?),
        kind::NAK => Answer::Nak { server },
        _ => return None,
    };
    Some(Received { xid: u32::from_be_bytes([a, b, c, d]), what })
}

/// An ack to `mac` with these bytes in `sname`, `file` and `options`, for the fuzz target.
pub(crate) fn with_options(bytes: &[u8], mac: [u8; 6]) -> Vec<u8> {
    let mut message = vec![0; OPTIONS];
    let mut put = |at: usize, value: &[u8]| {
        if let Some(place) = message.get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        }
    };
    let (fields, options) = bytes.split_at(bytes.len().min(FILE.end - SNAME.start));
    put(0, &[2, 1, 6]);
    put(16, &[192, 0, 2, 77]);
    put(CHADDR.start, &mac);
    put(SNAME.start, fields);
    put(FILE.end, &COOKIE);
    message.extend([code::KIND, 1, kind::ACK, code::OVERLOAD, 1, 3, code::SERVER, 4, 192, 0, 2, 1]);
    message.extend([code::LEASE, 4, 0, 0, 2, 88]);
    message.extend(options);
    message
}

/// The options of a message. The values of an option that stands there several times are one (RFC 3396).
struct Options(BTreeMap<u8, Vec<u8>>);

impl Options {
    /// Those of the field `options`, then of `file`, then of `sname`, where option 52 says that they hold some (RFC 2131, 4.1; RFC 3396, 5).
    fn of(bytes: &[u8]) -> Option<Self> {
        let (head, options) = bytes.split_at_checked(OPTIONS)?;
        if !head.ends_with(&COOKIE) {
            return None;
        }
        let mut all = Self(BTreeMap::new());
        all.take(options)?;
        let overload = all.fixed::<1>(code::OVERLOAD);
        if let Some([1 | 3]) = overload {
            all.take(head.get(FILE)?)?;
        }
        if let Some([2 | 3]) = overload {
            all.take(head.get(SNAME)?)?;
        }
        Some(all)
    }

    /// Takes those of one field. `None` when one ends beyond the field.
    fn take(&mut self, mut field: &[u8]) -> Option<()> {
        loop {
            match field {
                // A field that is full has no room for the end.
                [] | [code::END, ..] => return Some(()),
                [code::PAD, rest @ ..] => field = rest,
                [code, length, rest @ ..] => {
                    let (value, rest) = rest.split_at_checked(usize::from(*length))?;
                    self.0.entry(*code).or_default().extend(value);
                    field = rest;
                }
                [_] => return None,
            }
        }
    }

    /// The value of an option of `N` bytes. One that was sent twice must say the same twice.
    fn fixed<const N: usize>(&self, code: u8) -> Option<[u8; N]> {
        let (chunks, []) = self.0.get(&code)?.as_chunks::<N>() else { return None };
        let (first, others) = chunks.split_first()?;
        others.iter().all(|other| other == first).then_some(*first)
    }

    fn seconds(&self, code: u8) -> Option<u32> {
        self.fixed(code).map(u32::from_be_bytes)
    }

    /// Addresses that can be those of machines; none at all of an option that is no list of addresses.
    fn hosts(&self, code: u8, most: usize) -> Vec<Ipv4Addr> {
        let Some((addresses, [])) = self.0.get(&code).map(|value| value.as_chunks::<4>()) else {
            return Vec::new();
        };
        addresses.iter().copied().map(Ipv4Addr::from).filter(|address| is_host(*address)).take(most).collect()
    }

    /// Text, without the zeros that some servers end it with (RFC 2132, 2).
    fn text(&self, code: u8) -> Option<&str> {
        std::str::from_utf8(self.0.get(&code)?).ok().map(|text| text.trim_end_matches('\0'))
    }

    fn terms(&self, address: Ipv4Addr, server: Ipv4Addr) -> Option<Terms> {
        let prefix = match self.fixed::<4>(code::MASK) {
            Some(mask) => prefix_of(mask.into())?,
            // Every server sends one, because it is asked for. Without it no network can be assumed.
            None => 32,
        };
        // Option 3 is ignored where 121 is there (RFC 3442); a 121 that cannot be read is as none.
        let routes = match self.0.get(&code::ROUTES).and_then(|value| classless(value, address)) {
            Some(routes) => routes,
            None => self
                .hosts(code::ROUTER, MAX_ROUTES)
                .into_iter()
                .find(|router| *router != address)
                .map(|router| Route::default_by(IpAddr::V4(router)))
                .into_iter()
                .collect(),
        };
        let search = match self.0.get(&code::SEARCH).and_then(|value| names::search_list(value)) {
            Some(search) => search,
            None => self.text(code::DOMAIN).and_then(names::domain).into_iter().collect(),
        };
        Some(Terms {
            address,
            prefix,
            routes,
            dns: self.hosts(code::DNS, names::MAX_DNS),
            search,
            hostname: self.text(code::HOSTNAME).and_then(names::hostname),
            ntp: self.hosts(code::NTP, names::MAX_NTP),
            mtu: self.fixed(code::MTU).map(u16::from_be_bytes),
            server,
            lease_s: self.seconds(code::LEASE)?,
            renew_s: self.seconds(code::RENEW),
            rebind_s: self.seconds(code::REBIND),
        })
    }
}

/// The routes of option 121: for each the length of the prefix, as many bytes of it as are needed, the router. `None` for what is no such list, the
/// whole of it. Left out are routes by what can be no router, to what can be no machine, and a second one to the same destination.
fn classless(mut value: &[u8], own: Ipv4Addr) -> Option<Vec<Route>> {
    if value.is_empty() {
        return None;
    }
    let mut routes: Vec<Route> = Vec::new();
    while let [length, rest @ ..] = value {
        let (significant, rest) = rest.split_at_checked(usize::from(length.div_ceil(8)))?;
        let (router, rest) = rest.split_first_chunk::<4>()?;
        value = rest;
        let mut to = [0; 4];
        to.get_mut(..significant.len())?.copy_from_slice(significant);
        // Bits beyond the prefix are cut off, as RFC 3442 says.
        let to = Ipv4Net::new(to.into(), *length).ok()?.trunc();
        let router = Ipv4Addr::from(*router);
        let reachable = router.is_unspecified() || (is_host(router) && router != own);
        let first = to.addr().octets()[0];
        let sensible = !((*length >= 8 && first == 127) || (*length >= 3 && first >= 224));
        let to = IpNet::V4(to);
        if reachable && sensible && routes.len() < MAX_ROUTES && !routes.iter().any(|route| route.to == to) {
            let via = (!router.is_unspecified()).then_some(IpAddr::V4(router));
            routes.push(Route { to, via });
        }
    }
    Some(routes)
}

/// The length of a netmask without holes.
fn prefix_of(mask: Ipv4Addr) -> Option<u8> {
    let bits = u32::from(mask);
    (bits != 0 && bits.leading_ones() + bits.trailing_zeros() == 32)
        .then(|| u8::try_from(bits.leading_ones()).ok())
        .flatten()
}

/// Writes a message and says where it goes. Which fields and options stand in which message: RFC 2131, table 5.
pub(crate) fn write(me: &Me, message: &Outgoing) -> (Ipv4Addr, Vec<u8>) {
    let all = Ipv4Addr::BROADCAST;
    let (kind, to, held) = match &message.what {
        Ask::Discover => (kind::DISCOVER, all, None),
        Ask::Request { .. } => (kind::REQUEST, all, None),
        Ask::Extend { address, server } => (kind::REQUEST, server.unwrap_or(all), Some(*address)),
        Ask::Decline { .. } => (kind::DECLINE, all, None),
    };
    let declines = kind == kind::DECLINE;
    // The interface may have no address yet, so an answer to it would not be let in: it is to be broadcast. Nobody answers a decline.
    let broadcast = held.is_none() && !declines;
    let mut bytes = Vec::with_capacity(320);
    bytes.extend([1, 1, 6, 0]);
    bytes.extend(message.xid.to_be_bytes());
    bytes.extend(message.secs.to_be_bytes());
    bytes.extend([if broadcast { 0x80 } else { 0 }, 0]);
    bytes.extend(held.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
    // yiaddr, siaddr, giaddr.
    bytes.extend([0; 12]);
    bytes.extend(me.mac);
    bytes.resize(OPTIONS - COOKIE.len(), 0);
    bytes.extend(COOKIE);
    let mut option = |code: u8, value: &[u8]| {
        let value = value.get(..255).unwrap_or(value);
        bytes.push(code);
        bytes.push(u8::try_from(value.len()).unwrap_or(255));
        bytes.extend(value);
    };
    option(code::KIND, &[kind]);
    option(code::CLIENT, &Me::id(me.mac));
    match &message.what {
        Ask::Request { address, server } => {
            option(code::ADDRESS, &address.octets());
            if let Some(server) = server {
                option(code::SERVER, &server.octets());
            }
        }
        Ask::Decline { address, server } => {
            option(code::ADDRESS, &address.octets());
            option(code::SERVER, &server.octets());
        }
        Ask::Discover | Ask::Extend { .. } => {}
    }
    if !declines {
        if !me.hostname.is_empty() {
            option(code::HOSTNAME, me.hostname.as_bytes());
        }
        option(code::CLASS, b"u-bmc");
        option(code::MAX_SIZE, &u16::try_from(MAX_MESSAGE).unwrap_or(576).to_be_bytes());
        option(code::WANTED, &WANTED);
    }
    bytes.push(code::END);
    // Some relays drop what is shorter than BOOTP's 300 bytes.
    if bytes.len() < 300 {
        bytes.resize(300, 0);
    }
    (to, bytes)
}

#[cfg(test)]
#[path = "wire4_tests.rs"]
mod tests;
