//! Who may be connected. Who has not logged in has few places and little time; who has takes none of these, and nobody has all the others.
//!
//! Pure: the time is an argument.

use std::net::IpAddr;

use units::{Millis, Mono};

/// Connections that have not logged in.
pub(crate) const STRANGERS: usize = 16;
/// Of these one network has at most.
pub(crate) const OF_NETWORK: usize = 4;
/// So long a connection keeps its place whoever comes: a program logs in within it.
const PROTECTED: Millis = Millis::from_secs(10);

/// A connection; no other has or had its number.
pub(crate) type ConnId = u64;

#[derive(Debug)]
struct Stranger {
    id: ConnId,
    network: IpAddr,
    since: Mono,
}

#[derive(Debug)]
struct User {
    id: ConnId,
    account: String,
    is_administrator: bool,
}

/// Why somebody who has logged in gets no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    #[error("there are as many logins over SSH as there may be")]
    All,
    #[error("this account has as many logins over SSH as it may have")]
    Share,
    #[error("the last logins over SSH are kept for administrators")]
    Kept,
}

/// All connections.
#[derive(Debug)]
pub(crate) struct Admission {
    /// Logins at once.
    sessions: usize,
    last: ConnId,
    /// Oldest first.
    strangers: Vec<Stranger>,
    users: Vec<User>,
}

impl Admission {
    pub(crate) fn new(sessions: usize) -> Self {
        Self { sessions, last: 0, strangers: Vec::new(), users: Vec::new() }
    }

    /// A place for a newcomer, and the connection that loses its own to it, if there is one. `None`: it is sent away.
    ///
    /// In a full network, and where all places are taken, the oldest gives way that has had its time. Where all are taken, also the oldest of the
    /// network that has most, if that has more than the newcomer's would have.
    pub(crate) fn come(&mut self, address: IpAddr, now: Mono) -> Option<(ConnId, Option<ConnId>)> {
        let network = units::network(address);
        let of = |network: IpAddr| self.strangers.iter().filter(move |other| other.network == network);
        let had_time = |other: &&Stranger| now.since(other.since) >= PROTECTED;
        let own = of(network).count();
        let lost = if own >= OF_NETWORK {
            Some(of(network).find(had_time)?.id)
        } else if self.strangers.len() >= STRANGERS {
            let largest = self.strangers.iter().map(|other| (of(other.network).count(), other.network)).max();
            let (count, largest) = largest?;
            let of_largest = || if count > own + 1 { of(largest).next() } else { None };
            Some(self.strangers.iter().find(had_time).or_else(of_largest)?.id)
        } else {
            None
        };
        if let Some(lost) = lost {
            self.strangers.retain(|other| other.id != lost);
        }
        self.last += 1;
        self.strangers.push(Stranger { id: self.last, network, since: now });
        Some((self.last, lost))
    }

    /// A connection has logged in. Its place among strangers is free in any case.
    ///
    /// # Errors
    /// [`Full`]
    pub(crate) fn log_in(&mut self, id: ConnId, account: &str, is_administrator: bool) -> Result<(), Full> {
        self.strangers.retain(|other| other.id != id);
        if self.users.len() >= self.sessions {
            return Err(Full::All);
        }
        if !is_administrator {
            let own = self.users.iter().filter(|user| user.account == account).count();
            if own >= (self.sessions / 2).max(1) {
                return Err(Full::Share);
            }
            let others = self.users.iter().filter(|user| !user.is_administrator).count();
            if others >= self.sessions - self.sessions / 4 {
                return Err(Full::Kept);
            }
        }
        self.users.push(User { id, account: account.to_owned(), is_administrator });
        Ok(())
    }

    /// Logins there are.
    pub(crate) fn logins(&self) -> usize {
        self.users.len()
    }

    /// A connection is over.
    pub(crate) fn leave(&mut self, id: ConnId) {
        self.strangers.retain(|other| other.id != id);
        self.users.retain(|user| user.id != id);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(network: u8, host: u8) -> IpAddr {
        [192, 0, network, host].into()
    }

    fn secs(secs: u64) -> Mono {
        Mono::from_millis(secs * 1000)
    }

    #[test]
    fn one_network_has_four_places_and_gives_up_its_own_oldest_only_once_it_had_time() {
        let mut admission = Admission::new(16);
        let first: Vec<_> =
            (0..4).map(|n| admission.come(at(2, 1), secs(n)).expect("there is room").0).collect();
        assert_eq!(admission.come(at(2, 1), secs(9)), None);
        let (_, lost) = admission.come(at(2, 1), secs(10)).expect("the first had its time");
        assert_eq!(lost, Some(first[0]));
        assert_eq!(admission.come(at(2, 1), secs(10)), None, "the second has not");
        assert!(
            matches!(admission.come(at(2, 2), secs(10)), Some((_, None))),
            "another host has its own places"
        );
        // A host may take any address of its IPv6 network.
        for n in 0..4_u16 {
            let address = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n]);
            assert!(admission.come(address, secs(10)).is_some());
        }
        assert_eq!(admission.come("2001:db8::ffff".parse().unwrap(), secs(10)), None);
    }

    #[test]
    fn a_newcomer_gets_in_whoever_holds_all_places() {
        let mut admission = Admission::new(16);
        for n in 0..16 {
            admission.come(at(2, n / 4), secs(0)).expect("there is room");
        }
        let (_, lost) = admission.come(at(3, 1), secs(0)).expect("one of those that have four gives way");
        assert!(lost.is_some());
        // As many networks as there are places: the oldest once it had time to log in, and nobody sooner.
        let mut admission = Admission::new(16);
        let ids: Vec<_> =
            (0..16).map(|n| admission.come(at(2, n), secs(0)).expect("there is room").0).collect();
        assert_eq!(admission.come(at(3, 1), secs(9)), None);
        assert_eq!(admission.come(at(3, 1), secs(10)).and_then(|(_, lost)| lost), Some(ids[0]));
    }

    #[test]
    fn administrators_have_places_of_their_own_and_one_account_has_half() {
        let mut admission = Admission::new(16);
        let mut login = |account: &str, is_administrator| {
            let (id, _) = admission.come(at(2, 1), secs(0)).expect("there is room");
            admission.log_in(id, account, is_administrator)
        };
        for n in 0..16 {
            let expected = if n < 8 { Ok(()) } else { Err(Full::Share) };
            assert_eq!(login("ann", false), expected, "{n}");
        }
        for n in 0..4 {
            assert_eq!(login(&format!("bob{n}"), false), Ok(()));
        }
        assert_eq!(login("carol", false), Err(Full::Kept));
        for _ in 0..4 {
            assert_eq!(login("admin", true), Ok(()));
        }
        assert_eq!(login("admin", true), Err(Full::All));
        let mut single = Admission::new(1);
        let (id, _) = single.come(at(2, 1), secs(0)).unwrap();
        assert_eq!(single.log_in(id, "ann", false), Ok(()), "few places are places all the same");
        single.leave(id);
        let (id, _) = single.come(at(2, 1), secs(0)).unwrap();
        assert_eq!(single.log_in(id, "bob", false), Ok(()), "a place comes back");
    }

    proptest! {
        #[test]
        fn no_bound_is_exceeded_whoever_comes_and_goes(
            steps in proptest::collection::vec((0..4_u8, 0..6_u8, 0..3_u64), 0..300)
        ) {
            let mut admission = Admission::new(8);
            let (mut now, mut ids) = (0, Vec::new());
            for (what, who, passed) in steps {
                now += passed;
                match what {
                    0 | 1 => if let Some((id, lost)) = admission.come(at(2, who), secs(now)) {
                        prop_assert!(!ids.contains(&id));
                        ids.push(id);
                        ids.retain(|other| Some(*other) != lost);
                    },
                    2 => if let Some(id) = ids.get(usize::from(who)) {
                        let id = *id;
                        if !admission.users.iter().any(|user| user.id == id) {
                            let _ = admission.log_in(id, &who.to_string(), who == 0);
                        }
                    },
                    _ => if usize::from(who) < ids.len() {
                        admission.leave(ids.remove(usize::from(who)));
                    },
                }
                prop_assert!(admission.strangers.len() <= STRANGERS && admission.logins() <= 8);
                for stranger in &admission.strangers {
                    let of = admission.strangers.iter().filter(|other| other.network == stranger.network);
                    prop_assert!(of.count() <= OF_NETWORK);
                }
            }
            for id in ids {
                admission.leave(id);
            }
            prop_assert!(admission.strangers.is_empty() && admission.users.is_empty());
        }
    }
}
