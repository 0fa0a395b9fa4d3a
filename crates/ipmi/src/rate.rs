//! How often whoever may ask.

use std::net::{IpAddr, Ipv6Addr};

use units::Mono;

/// How much of a rate is left, in thousandths.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    left: u64,
    /// When it was asked last.
    pub(crate) at: Mono,
}

impl Rate {
    /// All of it.
    pub(crate) fn full(rate: u64, at: Mono) -> Self {
        Self { left: rate * 1000, at }
    }

    /// Takes one, if one is left.
    pub(crate) fn takes(&mut self, rate: u64, now: Mono) -> bool {
        let more = now.since(self.at).get().saturating_mul(rate);
        self.left = self.left.saturating_add(more).min(rate * 1000);
        self.at = now;
        match self.left.checked_sub(1000) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

/// Who shares a bound: a host may take any address of its IPv6 network.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}
