//! How much memory the bodies of requests and answers may take together (I-6): a bound on each body is none on all of them.
//!
//! ```text
//!  nobody yet ── a body that is still arriving takes one of the strangers' places (total, per address)
//!  an account ── each byte of a body that is kept counts until its request is answered, and each of the answer until the client
//!                has taken it (total, per account, per address)
//! ```
//!
//! The last part of the bytes is kept for administrators, so that no other account can keep them from being heard. A stranger's place
//! is never refused: when all are taken, the oldest of the address that holds most gives way. A login is one packet and needs its
//! place for a moment; what has been arriving for long is no login.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ipc::Status;
use tokio::sync::Notify;

use crate::auth::Caller;

/// Bytes of bodies of authenticated requests and of their answers, over all connections. A quarter of what websrv may use (docs/websrv.md).
const BYTES: usize = 24 * 1024 * 1024;
/// Of these, for administrators only.
const RESERVED: usize = 6 * 1024 * 1024;
/// Bytes of one account that is no administrator, and of all such accounts at one address.
const BYTES_PER_ACCOUNT: usize = 6 * 1024 * 1024;
const BYTES_PER_ADDRESS: usize = 12 * 1024 * 1024;
/// Requests of nobody yet whose body is still arriving: each holds its head and a buffer of the transport.
const STRANGERS: usize = 128;
const STRANGERS_PER_ADDRESS: usize = 32;

#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    by_account: HashMap<String, usize>,
    by_address: HashMap<IpAddr, usize>,
    /// The strangers' places, oldest first.
    strangers: BTreeMap<u64, Stranger>,
    strangers_by_address: HashMap<IpAddr, usize>,
    next: u64,
}

/// A place of a stranger.
#[derive(Debug)]
struct Stranger {
    address: IpAddr,
    gone: Arc<Notify>,
}

impl Held {
    /// A new place at this address, at the cost of another if need be.
    fn enter(&mut self, address: IpAddr) -> Holder {
        let here = self.strangers_by_address.get(&address).copied().unwrap_or(0);
        let most = match self.strangers_by_address.values().max() {
            _ if here >= STRANGERS_PER_ADDRESS => Some(here),
            Some(most) if self.strangers.len() >= STRANGERS => Some(*most),
            _ => None,
        };
        if let Some(most) = most {
            let own = here >= STRANGERS_PER_ADDRESS;
            let gives_way = |place: &Stranger| {
                (!own || place.address == address)
                    && self.strangers_by_address.get(&place.address).copied() == Some(most)
            };
            let oldest = self.strangers.iter().find(|(_, place)| gives_way(place)).map(|(id, _)| *id);
            if let Some(place) = oldest.and_then(|id| self.leave(id)) {
                place.gone.notify_one();
            }
        }
        let (id, gone) = (self.next, Arc::new(Notify::new()));
        self.next += 1;
        self.strangers.insert(id, Stranger { address, gone: Arc::clone(&gone) });
        *self.strangers_by_address.entry(address).or_default() += 1;
        Holder::Stranger { id, gone }
    }

    fn leave(&mut self, id: u64) -> Option<Stranger> {
        let place = self.strangers.remove(&id)?;
        take(&mut self.strangers_by_address, &place.address, 1);
        Some(place)
    }
}

/// What all request bodies hold.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    held: Mutex<Held>,
}

/// Whose a body is.
#[derive(Debug)]
enum Holder {
    Stranger { id: u64, gone: Arc<Notify> },
    Account { name: String, is_administrator: bool },
}

/// What one body holds; given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    holder: Holder,
    address: IpAddr,
    bytes: usize,
}

fn full(text: &str) -> Status {
    Status::resource_exhausted(format!("{text}; try again")).with_reason("TOO_MANY_BODIES")
}

impl Budget {
    /// A share for a body that is about to be read.
    pub(crate) fn share(self: &Arc<Self>, caller: Option<&Caller>, peer: IpAddr) -> Share {
        let address = crate::admission::share(peer);
        let holder = match caller {
            Some(caller) => Holder::Account {
                name: caller.account().to_owned(),
                is_administrator: caller.administrator(),
            },
            None => self.lock().enter(address),
        };
        Share { budget: Arc::clone(self), holder, address, bytes: 0 }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Resolves when the place is needed for another; an account's share never is.
    pub(crate) fn given_up(&self) -> impl Future<Output = Status> + use<> {
        let gone = match &self.holder {
            Holder::Stranger { gone, .. } => Some(Arc::clone(gone)),
            Holder::Account { .. } => None,
        };
        async move {
            match gone {
                Some(gone) => gone.notified().await,
                None => std::future::pending().await,
            }
            full("too many requests of clients that are not logged in are arriving")
        }
    }

    /// Takes what an answer of `bytes` takes beyond what was taken for it, though the share may be used up: what was done cannot be
    /// refused any more.
    pub(crate) fn settle(&mut self, bytes: usize) {
        let more = bytes.saturating_sub(self.bytes);
        self.count(&mut Arc::clone(&self.budget).lock(), more);
    }

    /// Takes `more` bytes before they are kept. A stranger's bytes are bounded by the places and the small body each may send.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED`, saying whose share is used up; nothing is taken then.
    pub(crate) fn grow(&mut self, more: usize) -> Result<(), Status> {
        let Holder::Account { name, is_administrator } = &self.holder else { return Ok(()) };
        let budget = Arc::clone(&self.budget);
        let mut held = budget.lock();
        let most = if *is_administrator { BYTES } else { BYTES - RESERVED };
        if held.bytes.saturating_add(more) > most {
            return Err(full("requests and their answers take all the memory there is for them"));
        }
        if !is_administrator {
            let of = |table: &HashMap<_, usize>| table.get(name.as_str()).copied().unwrap_or(0);
            if of(&held.by_account).saturating_add(more) > BYTES_PER_ACCOUNT {
                return Err(full(
                    "the requests and unread answers of this account take all the memory it may have",
                ));
            }
            let here = held.by_address.get(&self.address).copied().unwrap_or(0);
            if here.saturating_add(more) > BYTES_PER_ADDRESS {
                return Err(full(
                    "the requests and unread answers of this address take all the memory it may have",
                ));
            }
        }
        self.count(&mut held, more);
        Ok(())
    }

    fn count(&mut self, held: &mut Held, more: usize) {
        let Holder::Account { name, is_administrator } = &self.holder else { return };
        if !is_administrator && more > 0 {
            *held.by_account.entry(name.clone()).or_default() += more;
            *held.by_address.entry(self.address).or_default() += more;
        }
        held.bytes += more;
        self.bytes += more;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.budget.lock();
        match &self.holder {
            // Already gone if the place was needed for another.
            Holder::Stranger { id, .. } => drop(held.leave(*id)),
            Holder::Account { name, is_administrator } => {
                held.bytes = held.bytes.saturating_sub(self.bytes);
                if !is_administrator && self.bytes > 0 {
                    take(&mut held.by_account, name, self.bytes);
                    take(&mut held.by_address, &self.address, self.bytes);
                }
            }
        }
    }
}

/// Takes `n` off an entry, and the entry away once it is nothing: what is not held leaves no trace.
fn take<K: std::hash::Hash + Eq>(table: &mut HashMap<K, usize>, key: &K, n: usize) {
    if let Some(held) = table.get_mut(key) {
        *held = held.saturating_sub(n);
        if *held == 0 {
            table.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use schema::v1alpha1::Privilege;

    fn caller(name: &str, privileges: &[Privilege]) -> Caller {
        Caller {
            principal: ipc::Principal {
                username: name.to_owned(),
                privileges: privileges.iter().map(|p| (*p).into()).collect(),
                ..ipc::Principal::default()
            },
            password_change_required: false,
            good_for: None,
        }
    }

    fn at(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    impl Budget {
        pub(crate) fn is_empty(&self) -> bool {
            let held = self.lock();
            held.bytes == 0 && held.strangers.is_empty()
        }
    }

    #[test]
    fn what_was_done_is_told_though_the_share_is_used_up() {
        let budget = Arc::new(Budget::default());
        let reader = caller("reader", &[Privilege::Login]);
        let mut unread = budget.share(Some(&reader), at(1));
        unread.grow(BYTES_PER_ACCOUNT - 10).unwrap();
        let mut change = budget.share(Some(&reader), at(1));
        assert!(change.grow(20).is_err(), "no room: refused before it is done");
        change.grow(10).unwrap();
        change.settle(50);
        assert_eq!(budget.lock().bytes, BYTES_PER_ACCOUNT + 40);
        drop((unread, change));
        assert!(budget.is_empty());
    }

    #[test]
    fn no_account_keeps_an_administrator_from_being_heard() {
        let budget = Arc::new(Budget::default());
        let mut held = Vec::new();
        for n in 0..40 {
            let reader = caller(&format!("reader{n}"), &[Privilege::Login]);
            let mut share = budget.share(Some(&reader), at(n));
            while share.grow(64 * 1024).is_ok() {}
            held.push(share);
        }
        assert!(held.iter().all(|share| share.bytes <= BYTES_PER_ACCOUNT));
        assert_eq!(budget.lock().bytes, BYTES - RESERVED);
        let admin = caller("admin", &[Privilege::ConfigureManager]);
        let mut share = budget.share(Some(&admin), at(1));
        share.grow(RESERVED).unwrap();
        assert!(share.grow(1).is_err());
        drop((share, held));
        let left = budget.lock();
        assert!(left.bytes == 0 && left.by_account.is_empty() && left.by_address.is_empty());
    }

    fn is_given_up(share: &Share) -> bool {
        futures_util::FutureExt::now_or_never(share.given_up()).is_some()
    }

    #[test]
    fn a_newcomer_gets_in_whoever_holds_all_places() {
        let budget = Arc::new(Budget::default());
        let mut held: Vec<Share> = (0..400_u16).map(|n| budget.share(None, at((n % 4) as u8))).collect();
        held.retain(|share| !is_given_up(share));
        assert_eq!(held.len(), STRANGERS);
        let login = budget.share(None, at(99));
        // The attack goes on, from the same addresses and from new ones.
        let more: Vec<Share> = (0..300_u16).map(|n| budget.share(None, at((n % 40) as u8))).collect();
        assert!(!is_given_up(&login), "the login is still read");
        assert_eq!(budget.lock().strangers.len(), STRANGERS);
        let here = |n| budget.lock().strangers_by_address.get(&at(n)).copied().unwrap_or(0);
        assert!((0..40).all(|n| here(n) <= STRANGERS_PER_ADDRESS));
        drop((held, more, login));
        let left = budget.lock();
        assert!(left.strangers.is_empty() && left.strangers_by_address.is_empty());
    }

    #[test]
    fn one_address_has_its_places_and_its_newest_request_one_of_them() {
        let budget = Arc::new(Budget::default());
        let others: Vec<Share> = (10..20).map(|n| budget.share(None, at(n))).collect();
        let slow: Vec<Share> = (0..50).map(|_| budget.share(None, at(1))).collect();
        let newest = budget.share(None, at(1));
        let gone = slow.iter().filter(|share| is_given_up(share)).count();
        assert_eq!(gone, 51 - STRANGERS_PER_ADDRESS);
        assert!(slow.iter().take(gone).all(|share| !budget.lock().strangers.contains_key(&id(share))));
        assert!(!is_given_up(&newest) && others.iter().all(|share| !is_given_up(share)));
    }

    fn id(share: &Share) -> u64 {
        match share.holder {
            Holder::Stranger { id, .. } => id,
            Holder::Account { .. } => u64::MAX,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_stranger_s_place_is_lost_only_to_one_who_holds_fewer_or_as_many(
            addresses in proptest::collection::vec(0_u8..12, 1..500),
        ) {
            let budget = Arc::new(Budget::default());
            let mut held: Vec<Share> = Vec::new();
            for address in addresses {
                let before = budget.lock().strangers_by_address.clone();
                let count = |n: IpAddr| before.get(&n).copied().unwrap_or(0);
                let entered = budget.share(None, at(address));
                for lost in held.iter().filter(|share| is_given_up(share)) {
                    prop_assert!(count(lost.address) >= count(at(address)));
                    prop_assert!(lost.address == at(address) || count(lost.address) == before.values().copied().max().unwrap());
                }
                let kept: Vec<u64> = budget.lock().strangers.keys().copied().collect();
                held.retain(|share| kept.contains(&id(share)));
                prop_assert!(kept.len() <= STRANGERS && kept.contains(&id(&entered)));
                prop_assert_eq!(budget.lock().strangers_by_address.values().sum::<usize>(), kept.len());
                held.push(entered);
            }
        }

        #[test]
        fn what_is_held_is_what_the_shares_hold(
            steps in proptest::collection::vec((0_u8..4, 0_u8..3, 0_usize..4 * 1024 * 1024, any::<bool>()), 1..200),
        ) {
            let budget = Arc::new(Budget::default());
            let mut held: Vec<Share> = Vec::new();
            for (account, address, bytes, give_back) in steps {
                let rights: &[Privilege] = if account == 0 { &[Privilege::ConfigureUsers] } else { &[] };
                let mut share = budget.share(Some(&caller(&account.to_string(), rights)), at(address));
                let _ = share.grow(bytes);
                held.push(share);
                if give_back && held.len() > 2 {
                    held.remove(held.len() / 2);
                }
                let sum: usize = held.iter().map(|share| share.bytes).sum();
                prop_assert!(sum == budget.lock().bytes && sum <= BYTES);
            }
            held.clear();
            prop_assert!(budget.lock().by_account.is_empty() && budget.lock().bytes == 0);
        }
    }
}
