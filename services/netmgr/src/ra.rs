//! What router advertisements say besides addresses and routes, which are the kernel's business: name servers and search list (RFC 8106). The kernel
//! checks the advertisement and hands these options on over netlink.

use std::net::Ipv6Addr;

use units::{Millis, Mono};

use crate::dhcp4::MAX_LEASE_S;
use crate::dhcp6::is_host;
use crate::names;

/// RTM_NEWNDUSEROPT, and the lengths of a netlink header and of what follows it there.
const MESSAGE: u16 = 68;
const HEADER: usize = 16;
const FIXED: usize = 16;
/// AF_INET6, and the ICMPv6 type of a router advertisement.
const INET6: u8 = 10;
const ADVERTISEMENT: u8 = 134;
/// An end that moves by less is not worth keeping for the next run.
const SLACK: Millis = Millis::from_secs(60);
/// Types of options.
const RDNSS: u8 = 25;
const DNSSL: u8 = 31;

/// An option of an advertisement, and the interface that heard it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) index: u32,
    pub(crate) option: Vec<u8>,
}

/// The options in what the kernel sent. Anything else is left out.
pub(crate) fn read(mut datagram: &[u8]) -> Vec<Heard> {
    let mut heard = Vec::new();
    while let Some((head, _)) = datagram.split_first_chunk::<HEADER>() {
        let [a, b, c, d, e, f, ..] = *head;
        let length = usize::try_from(u32::from_ne_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        let Some(message) = datagram.get(HEADER..length) else { break };
        if u16::from_ne_bytes([e, f]) == MESSAGE {
            heard.extend(options(message).unwrap_or_default());
        }
        // Messages begin at multiples of four.
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    heard
}

fn options(message: &[u8]) -> Option<Vec<Heard>> {
    let (fixed, rest) = message.split_first_chunk::<FIXED>()?;
    let [INET6, _, a, b, c, d, e, f, ADVERTISEMENT, ..] = *fixed else { return None };
    let index = u32::from_ne_bytes([c, d, e, f]);
    let mut options = rest.get(..usize::from(u16::from_ne_bytes([a, b])))?;
    let mut heard = Vec::new();
    while let [_, units, ..] = *options {
        let (option, rest) = options.split_at_checked(usize::from(units) * 8).filter(|_| units > 0)?;
        heard.push(Heard { index, option: option.to_vec() });
        options = rest;
    }
    Some(heard)
}

/// A server or a domain, and until when it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry<T> {
    value: T,
    ends_at: Mono,
}

/// What the routers of one interface say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Advertised {
    servers: Vec<Entry<Ipv6Addr>>,
    domains: Vec<Entry<String>>,
}

impl Advertised {
    /// What an earlier run heard: servers and domains with their ends.
    pub(crate) fn new(servers: Vec<(Ipv6Addr, Mono)>, domains: Vec<(String, Mono)>) -> Self {
        let mut all = Self::default();
        for (server, ends_at) in servers {
            put(&mut all.servers, server, ends_at, names::MAX_DNS);
        }
        for (domain, ends_at) in domains {
            put(&mut all.domains, domain, ends_at, names::MAX_SEARCH);
        }
        all
    }

    /// A router said this. Whether what is used is other than before, or its end by so much that it is worth keeping.
    pub(crate) fn hears(&mut self, now: Mono, option: &[u8]) -> bool {
        let Some((head, rest)) = option.split_first_chunk::<8>() else { return false };
        let [kind, units, _, _, a, b, c, d] = *head;
        if option.len() != usize::from(units) * 8 {
            return false;
        }
        let secs = u32::from_be_bytes([a, b, c, d]);
        let ends_at = now.saturating_add(Millis::from_secs(secs.min(MAX_LEASE_S).into()));
        let before = self.clone();
        match kind {
            RDNSS => {
                let (addresses, []) = rest.as_chunks::<16>() else { return false };
                // One of the link itself means nothing without the interface, which the resolver's file has no room for.
                for server in addresses.iter().copied().map(Ipv6Addr::from).filter(|ip| is_host(*ip)) {
                    put(&mut self.servers, server, ends_at, names::MAX_DNS);
                }
            }
            DNSSL => {
                for domain in names::search_list(rest).unwrap_or_default() {
                    put(&mut self.domains, domain, ends_at, names::MAX_SEARCH);
                }
            }
            _ => return false,
        }
        // A time of zero takes back at once.
        self.due(now);
        is_other(&before.servers, &self.servers) || is_other(&before.domains, &self.domains)
    }

    /// Time has come. Whether anything is other than before.
    pub(crate) fn due(&mut self, now: Mono) -> bool {
        let before = self.servers.len() + self.domains.len();
        self.servers.retain(|entry| entry.ends_at > now);
        self.domains.retain(|entry| entry.ends_at > now);
        self.servers.len() + self.domains.len() < before
    }

    /// When [`Advertised::due`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        let servers = self.servers.iter().map(|entry| entry.ends_at);
        servers.chain(self.domains.iter().map(|entry| entry.ends_at)).min()
    }

    /// Name servers with their ends.
    pub(crate) fn servers(&self) -> impl Iterator<Item = (Ipv6Addr, Mono)> + '_ {
        self.servers.iter().map(|entry| (entry.value, entry.ends_at))
    }

    /// Domains with their ends.
    pub(crate) fn domains(&self) -> impl Iterator<Item = (&str, Mono)> + '_ {
        self.domains.iter().map(|entry| (entry.value.as_str(), entry.ends_at))
    }
}

fn is_other<T: PartialEq>(before: &[Entry<T>], after: &[Entry<T>]) -> bool {
    let moved = |a: &Entry<T>, b: &Entry<T>| a.ends_at.until(b.ends_at) + b.ends_at.until(a.ends_at) >= SLACK;
    before.len() != after.len() || before.iter().zip(after).any(|(a, b)| a.value != b.value || moved(a, b))
}

/// Adds or extends one. Of too many the one that ends first gives way (RFC 8106, 6.2).
fn put<T: PartialEq>(entries: &mut Vec<Entry<T>>, value: T, ends_at: Mono, most: usize) {
    if let Some(entry) = entries.iter_mut().find(|entry| entry.value == value) {
        entry.ends_at = ends_at;
        return;
    }
    if entries.len() >= most {
        let first = entries.iter().enumerate().min_by_key(|(_, entry)| entry.ends_at);
        let Some((at, first)) = first else { return };
        if first.ends_at >= ends_at {
            return;
        }
        entries.remove(at);
    }
    entries.push(Entry { value, ends_at });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(secs: u64) -> Mono {
        Mono::from_millis(secs * 1000)
    }

    fn server(last: u16) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)
    }

    fn option(kind: u8, secs: u32, rest: &[u8]) -> Vec<u8> {
        let rest: Vec<u8> =
            rest.iter().copied().chain(std::iter::repeat_n(0, rest.len().wrapping_neg() % 8)).collect();
        let units = u8::try_from(1 + rest.len() / 8).unwrap();
        [&[kind, units, 0, 0], secs.to_be_bytes().as_slice(), &rest].concat()
    }

    fn rdnss(secs: u32, servers: &[Ipv6Addr]) -> Vec<u8> {
        let addresses: Vec<u8> = servers.iter().flat_map(Ipv6Addr::octets).collect();
        option(RDNSS, secs, &addresses)
    }

    fn servers(advertised: &Advertised) -> Vec<Ipv6Addr> {
        advertised.servers().map(|(server, _)| server).collect()
    }

    /// As the kernel sends it.
    fn message(kind: u16, fixed: [u8; FIXED], options: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + FIXED + options.len()).unwrap();
        let mut bytes =
            [length.to_ne_bytes().as_slice(), &kind.to_ne_bytes(), &[0; 10], &fixed, options].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn fixed(options: &[u8], index: u32, icmp: u8) -> [u8; FIXED] {
        let [a, b] = u16::try_from(options.len()).unwrap().to_ne_bytes();
        let [c, d, e, f] = index.to_ne_bytes();
        [INET6, 0, a, b, c, d, e, f, icmp, 0, 0, 0, 0, 0, 0, 0]
    }

    #[test]
    fn the_options_are_found_in_what_the_kernel_sends() {
        let option = rdnss(600, &[server(1)]);
        let good = message(MESSAGE, fixed(&option, 7, ADVERTISEMENT), &option);
        let heard = Heard { index: 7, option: option.clone() };
        assert_eq!(read(&good), std::slice::from_ref(&heard));
        let two = [option.as_slice(), &option].concat();
        let both = [message(MESSAGE, fixed(&two, 7, ADVERTISEMENT), &two), good.clone()].concat();
        assert_eq!(read(&both).len(), 3);
        for other in [
            message(MESSAGE + 1, fixed(&option, 7, ADVERTISEMENT), &option),
            message(MESSAGE, fixed(&option, 7, ADVERTISEMENT + 1), &option),
            message(MESSAGE, fixed(&[0; 8], 7, ADVERTISEMENT), &[0; 8]),
            good[..good.len() - 1].to_vec(),
        ] {
            assert_eq!(read(&other), []);
        }
        let other = message(20, [0; FIXED], &[]);
        assert_eq!(read(&[other, good].concat()), [heard], "what stands before is passed over");
    }

    #[test]
    fn a_server_counts_for_its_time_and_zero_takes_it_back() {
        let mut advertised = Advertised::default();
        assert!(advertised.hears(at(0), &rdnss(600, &[server(1), server(2), "fe80::1".parse().unwrap()])));
        assert_eq!(servers(&advertised), [server(1), server(2)]);
        assert!(advertised.hears(at(100), &rdnss(600, &[server(2)])), "its end is another");
        assert!(!advertised.hears(at(100), &rdnss(600, &[server(2)])));
        assert_eq!(advertised.deadline(), Some(at(600)));
        assert!(!advertised.due(at(599)) && advertised.due(at(600)));
        assert_eq!(servers(&advertised), [server(2)]);
        assert!(advertised.hears(at(650), &rdnss(0, &[server(2)])));
        assert_eq!((servers(&advertised), advertised.deadline()), (Vec::new(), None));
        // For ever is a month.
        advertised.hears(at(0), &rdnss(u32::MAX, &[server(1)]));
        assert_eq!(advertised.deadline(), Some(at(MAX_LEASE_S.into())));
    }

    #[test]
    fn of_too_many_the_one_that_ends_first_gives_way() {
        let mut advertised = Advertised::default();
        for (secs, last) in [(600, 1), (300, 2), (900, 3)] {
            advertised.hears(at(0), &rdnss(secs, &[server(last)]));
        }
        assert!(!advertised.hears(at(0), &rdnss(200, &[server(4)])));
        assert!(advertised.hears(at(0), &rdnss(700, &[server(5)])));
        assert_eq!(servers(&advertised), [server(1), server(3), server(5)]);
    }

    #[test]
    fn a_search_list_is_taken_and_what_is_malformed_is_not() {
        let mut advertised = Advertised::default();
        assert!(advertised.hears(at(0), &option(DNSSL, 60, b"\x04rack\x07example\0\x07example\0")));
        let domains = |advertised: &Advertised| {
            advertised.domains().map(|(domain, _)| domain.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(domains(&advertised), ["rack.example", "example"]);
        let before = advertised.clone();
        let mut short = rdnss(60, &[server(1)]);
        short[1] = 2;
        let mut odd = rdnss(60, &[server(1)]);
        odd.extend([0; 8]);
        odd[1] = 4;
        for bad in
            [short, odd, option(DNSSL, 60, b"\x3fa"), option(3, 60, &[]), vec![RDNSS, 1], rdnss(60, &[])]
        {
            assert!(!advertised.hears(at(0), &bad), "{bad:?}");
        }
        assert_eq!(domains(&advertised), domains(&before));
        assert!(advertised.due(at(60)));
        assert!(domains(&advertised).is_empty());
    }

    proptest! {
        #![proptest_config(crate::tests::cases(1024))]
        #[test]
        fn no_bytes_can_break_it(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in prop_oneof![Just(RDNSS), Just(DNSSL)]) {
            read(&bytes);
            let mut advertised = Advertised::default();
            advertised.hears(at(0), &bytes);
            advertised.hears(at(0), &option(kind, 60, &bytes));
            prop_assert!(advertised.servers.len() <= names::MAX_DNS && advertised.domains.len() <= names::MAX_SEARCH);
            for heard in read(&message(MESSAGE, fixed(&bytes, 1, ADVERTISEMENT), &bytes)) {
                advertised.hears(at(0), &heard.option);
            }
        }
    }
}
