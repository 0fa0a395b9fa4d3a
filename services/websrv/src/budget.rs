//! How much memory the bodies of requests and answers may take together (I-6): a bound on each body is none on all of them.
//!
//! ```text
//!  nobody yet ── a head takes of the strangers' bytes, and a body that is still arriving one of their places (total, per address)
//!  an account ── a head and each byte of a body that is kept count until the request is answered, and each of the answer until the
//!                client has taken it (total, per account, per address)
//! ```
//!
//! The last part of the bytes is kept for administrators, so that no other account can keep them from being heard. When all of the strangers'
//! is taken, the address that holds most gives way: of the bodies the oldest, since a login is one packet and what has been arriving for long
//! is no login; of the heads, which wait in line for their turn, the newest of the connection that holds most, which may be the newcomer. A
//! login that has waited is not sent away by those behind it. Heads on the connections of administrators have bytes of their own.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use gate::Caller;
use ipc::Status;
use tokio::sync::Notify;

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
/// Bytes of the heads of requests of nobody yet: some 700 as clients send them, 150 of the longest.
const HEAD_BYTES: usize = 4 * 1024 * 1024;
const HEAD_BYTES_PER_ADDRESS: usize = 1024 * 1024;
/// Bytes of the heads on connections that are administrators', until each is known to be one's.
const ADMINISTRATORS_HEAD_BYTES: usize = 4 * 1024 * 1024;

/// Whose place is lost, of the address that holds most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GivesWay {
    /// Whoever came first: the newcomer gets in.
    Oldest,
    /// Whoever came last on the connection that holds most, the newcomer among them.
    NewestOfConnection,
}

/// Who comes gets a place here, at the cost of others if need be.
#[derive(Debug)]
struct Places {
    total: usize,
    per_address: usize,
    gives_way: GivesWay,
    /// Oldest first.
    held: BTreeMap<u64, Place>,
    by_address: HashMap<IpAddr, usize>,
    by_connection: HashMap<(IpAddr, u64), usize>,
    sum: usize,
    next: u64,
}

/// A place of a stranger.
#[derive(Debug)]
struct Place {
    address: IpAddr,
    connection: u64,
    /// What it takes of the total.
    weight: usize,
    gone: Arc<Notify>,
}

impl Places {
    fn new(total: usize, per_address: usize, gives_way: GivesWay) -> Self {
        Self {
            total,
            per_address,
            gives_way,
            held: BTreeMap::new(),
            by_address: HashMap::new(),
            by_connection: HashMap::new(),
            sum: 0,
            next: 0,
        }
    }

    fn enter(&mut self, address: IpAddr, connection: u64, weight: usize) -> (u64, Arc<Notify>) {
        let (id, gone) = (self.next, Arc::new(Notify::new()));
        self.next += 1;
        self.held.insert(id, Place { address, connection, weight, gone: Arc::clone(&gone) });
        *self.by_address.entry(address).or_default() += weight;
        *self.by_connection.entry((address, connection)).or_default() += weight;
        self.sum += weight;
        while let Some(place) = self.too_much(address).and_then(|id| self.leave(id)) {
            place.gone.notify_one();
        }
        (id, gone)
    }

    /// The place to be given up, if there are too many since somebody came from `address`.
    fn too_much(&self, address: IpAddr) -> Option<u64> {
        let held = |address: &IpAddr| self.by_address.get(address).copied().unwrap_or(0);
        let own = held(&address) > self.per_address;
        if !own && self.sum <= self.total {
            return None;
        }
        let most = if own { held(&address) } else { self.by_address.values().copied().max()? };
        let is_crowded = |at: &IpAddr| if own { *at == address } else { held(at) == most };
        if self.gives_way == GivesWay::Oldest {
            return self.held.iter().find(|(_, place)| is_crowded(&place.address)).map(|(id, _)| *id);
        }
        let crowded = self.by_connection.iter().filter(|((at, _), _)| is_crowded(at));
        let most = crowded.map(|(_, held)| *held).max()?;
        let of = |place: &Place| self.by_connection.get(&(place.address, place.connection)).copied();
        let gives_way = |place: &Place| is_crowded(&place.address) && of(place) == Some(most);
        self.held.iter().rev().find(|(_, place)| gives_way(place)).map(|(id, _)| *id)
    }

    fn leave(&mut self, id: u64) -> Option<Place> {
        let place = self.held.remove(&id)?;
        take(&mut self.by_address, &place.address, place.weight);
        take(&mut self.by_connection, &(place.address, place.connection), place.weight);
        self.sum = self.sum.saturating_sub(place.weight);
        Some(place)
    }
}

#[derive(Debug)]
struct Held {
    bytes: usize,
    by_account: HashMap<String, usize>,
    by_address: HashMap<IpAddr, usize>,
    strangers: Places,
    heads: Places,
    /// Heads on connections of administrators.
    administrators: Places,
}

impl Held {
    fn heads(&mut self, of_administrator: bool) -> &mut Places {
        if of_administrator { &mut self.administrators } else { &mut self.heads }
    }
}

impl Default for Held {
    fn default() -> Self {
        Self {
            bytes: 0,
            by_account: HashMap::new(),
            by_address: HashMap::new(),
            strangers: Places::new(STRANGERS, STRANGERS_PER_ADDRESS, GivesWay::Oldest),
            heads: Places::new(HEAD_BYTES, HEAD_BYTES_PER_ADDRESS, GivesWay::NewestOfConnection),
            administrators: Places::new(
                ADMINISTRATORS_HEAD_BYTES,
                ADMINISTRATORS_HEAD_BYTES,
                GivesWay::NewestOfConnection,
            ),
        }
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

/// The head of a request of nobody yet. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Head {
    budget: Arc<Budget>,
    id: u64,
    of_administrator: bool,
    gone: Arc<Notify>,
}

impl Head {
    /// Resolves when its place is needed for another.
    pub(crate) fn given_up(&self) -> impl Future<Output = Status> + use<> {
        let gone = Arc::clone(&self.gone);
        async move {
            gone.notified().await;
            crowd()
        }
    }

    /// Gives the place back, so that it is not lost any more, and tells what it took. To be called before anything is done.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` when it was given up already.
    pub(crate) fn settle(self) -> Result<usize, Status> {
        let place = self.budget.lock().heads(self.of_administrator).leave(self.id);
        place.map(|place| place.weight).ok_or_else(crowd)
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        self.budget.lock().heads(self.of_administrator).leave(self.id);
    }
}

fn crowd() -> Status {
    full("too many requests of clients that are not logged in are arriving")
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
            None => {
                let (id, gone) = self.lock().strangers.enter(address, 0, 1);
                Holder::Stranger { id, gone }
            }
        };
        Share { budget: Arc::clone(self), holder, address, bytes: 0 }
    }

    /// A place for a head of `bytes` that is complete, on the connection of that number. Strangers take none from who is on a connection
    /// of an administrator.
    pub(crate) fn head(
        self: &Arc<Self>,
        peer: IpAddr,
        connection: u64,
        of_administrator: bool,
        bytes: usize,
    ) -> Head {
        let address = crate::admission::share(peer);
        let (id, gone) = self.lock().heads(of_administrator).enter(address, connection, bytes);
        Head { budget: Arc::clone(self), id, of_administrator, gone }
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
            crowd()
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
            Holder::Stranger { id, .. } => drop(held.strangers.leave(*id)),
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
            types: gate::AccountTypes::ALL,
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
            held.bytes == 0
                && held.strangers.held.is_empty()
                && held.heads.held.is_empty()
                && held.administrators.held.is_empty()
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
        assert_eq!(budget.lock().strangers.held.len(), STRANGERS);
        let here = |n| budget.lock().strangers.by_address.get(&at(n)).copied().unwrap_or(0);
        assert!((0..40).all(|n| here(n) <= STRANGERS_PER_ADDRESS));
        drop((held, more, login));
        let left = budget.lock();
        assert!(left.strangers.held.is_empty() && left.strangers.by_address.is_empty());
    }

    #[test]
    fn one_address_has_its_places_and_its_newest_request_one_of_them() {
        let budget = Arc::new(Budget::default());
        let others: Vec<Share> = (10..20).map(|n| budget.share(None, at(n))).collect();
        let slow: Vec<Share> = (0..50).map(|_| budget.share(None, at(1))).collect();
        let newest = budget.share(None, at(1));
        let gone = slow.iter().filter(|share| is_given_up(share)).count();
        assert_eq!(gone, 51 - STRANGERS_PER_ADDRESS);
        assert!(slow.iter().take(gone).all(|share| !budget.lock().strangers.held.contains_key(&id(share))));
        assert!(!is_given_up(&newest) && others.iter().all(|share| !is_given_up(share)));
    }

    #[test]
    fn heads_are_bounded_together_and_one_that_lost_its_place_does_nothing() {
        let budget = Arc::new(Budget::default());
        let gone = |head: &Head| futures_util::FutureExt::now_or_never(head.given_up()).is_some();
        let mut held: Vec<Head> = Vec::new();
        for n in 0..4000_u16 {
            let bytes = 100 + usize::from(n % 16) * 1024;
            held.push(budget.head(at((n % 7) as u8), u64::from(n % 70), false, bytes));
            let heads = &budget.lock().heads;
            assert!(
                heads.sum <= HEAD_BYTES && heads.by_address.values().all(|b| *b <= HEAD_BYTES_PER_ADDRESS)
            );
            assert_eq!(heads.sum, heads.held.values().map(|place| place.weight).sum::<usize>());
            assert_eq!(heads.sum, heads.by_connection.values().sum::<usize>());
        }
        let login = budget.head(at(99), 1000, false, 2000);
        held.extend(
            (0..4000_u16).map(|n| budget.head(at((n % 40) as u8), u64::from(n % 400), false, 16 * 1024)),
        );
        assert!(!gone(&login), "who comes from elsewhere keeps his place");
        assert_eq!(login.settle().unwrap(), 2000);
        let last = held.pop().unwrap();
        assert!(gone(&last) && last.settle().is_err(), "what is told to have been refused is not done");
        drop(held);
        let left = &budget.lock().heads;
        assert!(left.by_address.is_empty() && left.by_connection.is_empty());
    }

    #[test]
    fn a_login_that_waits_in_line_is_not_sent_away_by_a_flood_from_its_address() {
        let budget = Arc::new(Budget::default());
        let gone = |head: &Head| futures_util::FutureExt::now_or_never(head.given_up()).is_some();
        let head = |n: u64| budget.head(at(1), n % 10, false, 4200);
        let mut flood: Vec<Head> = (0..400).map(head).collect();
        let login = budget.head(at(1), 99, false, 5000);
        for n in 0..3000 {
            flood.push(head(n));
            assert!(!gone(&login), "after {n} more");
        }
        let kept = flood.iter().filter(|head| !gone(head)).count();
        assert!(kept > 200, "those in front go on to be answered: {kept}");
        assert_eq!(login.settle().unwrap(), 5000);
    }

    #[test]
    fn who_is_on_a_connection_of_an_administrator_takes_no_stranger_s_place() {
        let budget = Arc::new(Budget::default());
        let gone = |head: &Head| futures_util::FutureExt::now_or_never(head.given_up()).is_some();
        let flood: Vec<Head> = (0..4000).map(|n| budget.head(at((n % 9) as u8), n, false, 4200)).collect();
        let page: Vec<Head> = (0..600).map(|_| budget.head(at(1), 9999, true, 4500)).collect();
        let more: Vec<Head> = (0..4000).map(|n| budget.head(at((n % 9) as u8), n, false, 4200)).collect();
        assert!(!page.iter().any(gone), "more than strangers at one address may have");
        let others: Vec<Head> = (0..600).map(|n| budget.head(at(2), n, true, 4500)).collect();
        assert!(budget.lock().administrators.sum <= ADMINISTRATORS_HEAD_BYTES);
        drop((flood, page, more, others));
        assert!(budget.is_empty());
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
            addresses in proptest::collection::vec(prop_oneof![0_u8..12, any::<u8>()], 1..500),
        ) {
            let budget = Arc::new(Budget::default());
            let mut held: Vec<Share> = Vec::new();
            for address in addresses {
                let before = budget.lock().strangers.by_address.clone();
                let count = |n: IpAddr| before.get(&n).copied().unwrap_or(0);
                let entered = budget.share(None, at(address));
                for lost in held.iter().filter(|share| is_given_up(share)) {
                    prop_assert!(count(lost.address) >= count(at(address)));
                    prop_assert!(lost.address == at(address) || count(lost.address) == before.values().copied().max().unwrap());
                }
                let kept: Vec<u64> = budget.lock().strangers.held.keys().copied().collect();
                held.retain(|share| kept.contains(&id(share)));
                prop_assert!(kept.len() <= STRANGERS && kept.contains(&id(&entered)));
                prop_assert_eq!(budget.lock().strangers.by_address.values().sum::<usize>(), kept.len());
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
