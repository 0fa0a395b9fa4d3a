//! DHCPv6 messages <-> bytes (RFC 8415, 3646, 5908). What is believed of a message is decided here. Everything received is hostile.

use std::net::Ipv6Addr;

use crate::dhcp6::{
    Ask, Association, Granted, Kind, MAX_ADDRESSES, Outgoing, Received, Status, Told, is_host,
};
use crate::names;
use crate::wire4::MAX_MESSAGE;

/// Where a client listens, and a server.
pub(crate) const CLIENT_PORT: u16 = 546;
pub(crate) const SERVER_PORT: u16 = 547;
/// All servers and relays of the link.
pub(crate) const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// The longest DUID (RFC 8415, 11.1).
const MAX_DUID: usize = 130;

/// Codes of options.
mod code {
    pub(super) const CLIENT: u16 = 1;
    pub(super) const SERVER: u16 = 2;
    pub(super) const IA_NA: u16 = 3;
    pub(super) const ADDRESS: u16 = 5;
    pub(super) const WANTED: u16 = 6;
    pub(super) const PREFERENCE: u16 = 7;
    pub(super) const ELAPSED: u16 = 8;
    pub(super) const STATUS: u16 = 13;
    pub(super) const DNS: u16 = 23;
    pub(super) const SEARCH: u16 = 24;
    pub(super) const SNTP: u16 = 31;
    pub(super) const REFRESH: u16 = 32;
    pub(super) const NTP: u16 = 56;
    pub(super) const SOL_MAX_RT: u16 = 82;
    pub(super) const INF_MAX_RT: u16 = 83;
}

/// Kinds of messages.
mod kind {
    pub(super) const SOLICIT: u8 = 1;
    pub(super) const ADVERTISE: u8 = 2;
    pub(super) const REQUEST: u8 = 3;
    pub(super) const CONFIRM: u8 = 4;
    pub(super) const RENEW: u8 = 5;
    pub(super) const REBIND: u8 = 6;
    pub(super) const REPLY: u8 = 7;
    pub(super) const DECLINE: u8 = 9;
    pub(super) const INFORM: u8 = 11;
}

/// What a client says of itself on one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Me {
    /// The same on all interfaces.
    pub(crate) duid: Vec<u8>,
    /// The number of the only association of this interface.
    pub(crate) iaid: u32,
}

impl Me {
    /// On the interface with the hardware address `mac`.
    pub(crate) fn new(duid: Vec<u8>, mac: [u8; 6]) -> Self {
        let [_, _, a, b, c, d] = mac;
        Self { duid, iaid: u32::from_be_bytes([a, b, c, d]) }
    }
}

/// A client's identity: DUID-LL of an Ethernet address, which stays the same over restarts without being stored.
pub(crate) fn duid(mac: [u8; 6]) -> Vec<u8> {
    [0, 3, 0, 1].into_iter().chain(mac).collect()
}

/// Reads a message to `me`. `None` for everything that is not one, or makes no sense.
pub(crate) fn read(bytes: &[u8], me: &Me) -> Option<Received> {
    if bytes.len() > MAX_MESSAGE {
        return None;
    }
    // Nothing else is for a client like this: Reconfigure is not accepted, relayed messages are for relays.
    let (kind, a, b, c, options) = match bytes {
        [kind::ADVERTISE, a, b, c, options @ ..] => (Kind::Advertise, *a, *b, *c, options),
        [kind::REPLY, a, b, c, options @ ..] => (Kind::Reply, *a, *b, *c, options),
        _ => return None,
    };
    let options = Options::of(options)?;
    let server = options.first(code::SERVER)?;
    if options.first(code::CLIENT)? != me.duid || !(1..=MAX_DUID).contains(&server.len()) {
        return None;
    }
    Some(Received {
        xid: u32::from_be_bytes([0, a, b, c]),
        kind,
        status: options.status(),
        server: server.to_vec(),
        preference: options.first(code::PREFERENCE).and_then(|value| value.first().copied()).unwrap_or(0),
        association: options.all(code::IA_NA).find_map(|value| association(value, me.iaid)),
        told: options.told(),
        sol_max_rt_s: options.seconds(code::SOL_MAX_RT),
        inf_max_rt_s: options.seconds(code::INF_MAX_RT),
        refresh_s: options.seconds(code::REFRESH),
    })
}

/// The options of a message, or of an option that holds others.
struct Options<'a>(Vec<(u16, &'a [u8])>);

impl<'a> Options<'a> {
    /// `None` when one ends beyond the rest.
    fn of(mut bytes: &'a [u8]) -> Option<Self> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            let (head, rest) = bytes.split_first_chunk::<4>()?;
            let [a, b, c, d] = *head;
            let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([c, d])))?;
            all.push((u16::from_be_bytes([a, b]), value));
            bytes = rest;
        }
        Some(Self(all))
    }

    fn all(&self, code: u16) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |(other, _)| *other == code).map(|(_, value)| *value)
    }

    fn first(&self, code: u16) -> Option<&'a [u8]> {
        self.all(code).next()
    }

    fn seconds(&self, code: u16) -> Option<u32> {
        self.first(code)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// Without one it is a success (RFC 8415, 21.13).
    fn status(&self) -> Status {
        match self.first(code::STATUS) {
            None | Some([0, 0, ..]) => Status::Success,
            Some([0, 2, ..]) => Status::NoAddrsAvail,
            Some([0, 3, ..]) => Status::NoBinding,
            Some([0, 4, ..]) => Status::NotOnLink,
            Some(_) => Status::Failed,
        }
    }

    fn hosts(&self, code: u16, most: usize) -> Vec<Ipv6Addr> {
        let Some((addresses, [])) = self.first(code).map(|value| value.as_chunks::<16>()) else {
            return Vec::new();
        };
        addresses.iter().copied().map(Ipv6Addr::from).filter(|address| is_host(*address)).take(most).collect()
    }

    fn told(&self) -> Told {
        // Option 56 holds options of its own, of which the first kind is an address (RFC 5908).
        let mut ntp: Vec<Ipv6Addr> = self
            .all(code::NTP)
            .filter_map(Options::of)
            .filter_map(|inner| inner.first(1).and_then(|value| <[u8; 16]>::try_from(value).ok()))
            .map(Ipv6Addr::from)
            .filter(|address| is_host(*address))
            .take(names::MAX_NTP)
            .collect();
        if ntp.is_empty() {
            ntp = self.hosts(code::SNTP, names::MAX_NTP);
        }
        Told {
            dns: self.hosts(code::DNS, names::MAX_DNS),
            search: self.first(code::SEARCH).and_then(names::search_list).unwrap_or_default(),
            ntp,
        }
    }
}

/// Reads an association. `None` for another client's, and for one whose times cannot be, which counts as not there (RFC 8415, 21.4).
fn association(value: &[u8], iaid: u32) -> Option<Association> {
    let (head, inner) = value.split_first_chunk::<12>()?;
    let ([id, renew, rebind], _) = head.as_chunks::<4>() else { return None };
    let (renew_s, rebind_s) = (u32::from_be_bytes(*renew), u32::from_be_bytes(*rebind));
    if u32::from_be_bytes(*id) != iaid || (renew_s > rebind_s && rebind_s > 0) {
        return None;
    }
    let options = Options::of(inner)?;
    let mut status = options.status();
    let mut addresses: Vec<Granted> = Vec::new();
    for value in options.all(code::ADDRESS) {
        let (granted, of_address) = granted(value)?;
        // A refusal of the address is one of the association that has no other.
        if of_address != Status::Success {
            status = if status == Status::Success { of_address } else { status };
            continue;
        }
        // Times out of order make it one that is not there (RFC 8415, 21.6).
        if granted.preferred_s <= granted.valid_s
            && addresses.len() < MAX_ADDRESSES
            && !addresses.iter().any(|other| other.address == granted.address)
        {
            addresses.push(granted);
        }
    }
    if !addresses.is_empty() && options.status() == Status::Success {
        status = Status::Success;
    }
    Some(Association { status, renew_s, rebind_s, addresses })
}

fn granted(value: &[u8]) -> Option<(Granted, Status)> {
    let (address, rest) = value.split_first_chunk::<16>()?;
    let (preferred, rest) = rest.split_first_chunk::<4>()?;
    let (valid, inner) = rest.split_first_chunk::<4>()?;
    let granted = Granted {
        address: Ipv6Addr::from(*address),
        preferred_s: u32::from_be_bytes(*preferred),
        valid_s: u32::from_be_bytes(*valid),
    };
    Some((granted, Options::of(inner)?.status()))
}

/// Writes a message. Which options stand in which: RFC 8415, 18.2 and appendix B.
pub(crate) fn write(me: &Me, message: &Outgoing) -> Vec<u8> {
    let (kind, addresses, server): (u8, Option<&[Ipv6Addr]>, Option<&[u8]>) = match &message.what {
        Ask::Solicit => (kind::SOLICIT, Some(&[]), None),
        Ask::Request { addresses, server } => (kind::REQUEST, Some(addresses), Some(server)),
        Ask::Confirm { addresses } => (kind::CONFIRM, Some(addresses), None),
        Ask::Renew { addresses, server } => (kind::RENEW, Some(addresses), Some(server)),
        Ask::Rebind { addresses } => (kind::REBIND, Some(addresses), None),
        Ask::Decline { addresses, server } => (kind::DECLINE, Some(addresses), Some(server)),
        Ask::Inform => (kind::INFORM, None, None),
    };
    let wanted: &[u16] = match &message.what {
        Ask::Confirm { .. } | Ask::Decline { .. } => &[],
        Ask::Inform => &[code::DNS, code::SEARCH, code::NTP, code::SNTP, code::REFRESH, code::INF_MAX_RT],
        _ => &[code::DNS, code::SEARCH, code::NTP, code::SNTP, code::SOL_MAX_RT],
    };
    let [_, a, b, c] = message.xid.to_be_bytes();
    let mut bytes = vec![kind, a, b, c];
    option(&mut bytes, code::CLIENT, &me.duid);
    if let Some(server) = server {
        option(&mut bytes, code::SERVER, server);
    }
    option(&mut bytes, code::ELAPSED, &message.elapsed.to_be_bytes());
    if let Some(addresses) = addresses {
        // T1, T2 and the times of addresses are zero: the server's to say.
        let mut ia = me.iaid.to_be_bytes().to_vec();
        ia.extend([0; 8]);
        for address in addresses {
            option(&mut ia, code::ADDRESS, &[address.octets().as_slice(), &[0; 8]].concat());
        }
        option(&mut bytes, code::IA_NA, &ia);
    }
    if !wanted.is_empty() {
        let wanted: Vec<u8> = wanted.iter().flat_map(|code| code.to_be_bytes()).collect();
        option(&mut bytes, code::WANTED, &wanted);
    }
    bytes
}

/// What is written is short: some addresses, and a DUID of at most 130 bytes.
fn option(bytes: &mut Vec<u8>, code: u16, value: &[u8]) {
    let Ok(length) = u16::try_from(value.len()) else { return };
    bytes.extend(code.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.extend(value);
}

#[cfg(test)]
#[path = "wire6_tests.rs"]
mod tests;
