//! Which connections may exist: a total, a share per address, and who has to go when both are used up.
//!
//! A BMC on a management network meets port scanners, leaking scripts and the occasional flood. A plain cap would let four
//! hostile addresses lock the administrator out, so a full table evicts, in this order:
//!
//! 1. one of the account that holds most, if that is more than a quarter of the places and it is no administrator's;
//! 2. one of somebody who never proved who he is;
//! 3. one of the account that holds most, if it is no administrator's;
//! 4. an idle one of an administrator who holds more than a quarter.
//!
//! Of an account, idle ones go before those with a request under way, and those that have been quiet longest first. Among strangers
//! that is so within the address that holds most: who comes from elsewhere than a flood is not evicted by it, and bare connections
//! do not cut off a login. The few that come from where an administrator was seen lately, and have their first request to make, go last of all strangers:
//! a flood from many addresses has each place for milliseconds, which a handshake does not fit into. While strangers have fewer than an eighth of the places, 3 comes before 2: there is always room to log in.
//! All other connections keep their places.

use std::collections::HashMap;
use std::hash::{Hash as _, Hasher as _};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// How a connection speaks HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HttpVersion {
    /// HTTP/1.1 over TLS (or, on the redirect listener, over TCP).
    H1,
    /// HTTP/2 over TLS.
    H2,
    /// HTTP/3 over QUIC.
    H3,
}

/// By which thread a connection is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// The daemon's own: administrators, and a few who may become one.
    Front,
    /// The one that gives way: everybody else.
    Back,
}

/// Connections from one address of administrators that are served in front before it is known whose they are.
const EARLY: usize = 4;
/// How long a connection counts as an administrator's after it was one who asked. A stream asks again more often.
pub(crate) const MARKED: Duration = Duration::from_secs(60);
/// Addresses remembered as administrators'.
const HOMES: usize = 32;

/// Addresses administrators were seen at lately, the latest last.
#[derive(Debug, Default)]
struct Homes(Mutex<Vec<IpAddr>>);

impl Homes {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<IpAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, home: IpAddr) {
        let mut homes = self.lock();
        homes.retain(|known| *known != home);
        if homes.len() >= HOMES {
            homes.remove(0);
        }
        homes.push(home);
    }
}

/// What the transport and the gateway know about one connection. Shared, a few words; nothing that is asked often takes a lock.
#[derive(Debug)]
pub(crate) struct Conn {
    id: u64,
    peer: IpAddr,
    made: Instant,
    /// The address of this machine it came to, as far as that is known.
    reached_at: OnceLock<IpAddr>,
    homes: Arc<Homes>,
    /// It came from an administrator's address, and few others did so at that moment.
    early: bool,
    base: Instant,
    authenticated: AtomicBool,
    /// The account of who authenticated, as a hash; 0 for nobody.
    account: AtomicU64,
    /// Until when it counts as an administrator's, in milliseconds as [`Conn::now`] counts.
    administrator: AtomicU64,
    active: AtomicUsize,
    served: AtomicU64,
    quiet_since: AtomicU64,
    header_since: AtomicU64,
    blocked_since: AtomicU64,
    /// Answers the peer's flow control holds up, and since when the last of them.
    stalled: AtomicUsize,
    stalled_since: AtomicU64,
    evicted: Notify,
}

impl Conn {
    fn new(id: u64, peer: IpAddr, homes: Arc<Homes>, early: bool, base: Instant) -> Self {
        let conn = Self {
            id,
            peer,
            made: Instant::now(),
            reached_at: OnceLock::new(),
            homes,
            early,
            base,
            authenticated: AtomicBool::new(false),
            account: AtomicU64::new(0),
            administrator: AtomicU64::new(0),
            active: AtomicUsize::new(0),
            served: AtomicU64::new(0),
            quiet_since: AtomicU64::new(0),
            header_since: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
            stalled: AtomicUsize::new(0),
            stalled_since: AtomicU64::new(0),
            evicted: Notify::new(),
        };
        conn.quiet_since.store(conn.now(), Ordering::Relaxed);
        conn
    }

    /// Its number: no other connection has or had it.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Whether the last who authenticated on it is an administrator, and did so lately: what is asked since without a credential, or with
    /// one that was taken back, is nobody's.
    pub(crate) fn is_administrators(&self) -> bool {
        self.administrator.load(Ordering::Relaxed) > self.now()
    }

    /// When it was taken in, before any handshake of TLS: that one has ended shows that packets went both ways since.
    pub(crate) fn made(&self) -> Instant {
        self.made
    }

    /// The address of this machine it came to, as far as that is known.
    pub(crate) fn reached_at(&self) -> Option<IpAddr> {
        self.reached_at.get().copied()
    }

    /// It came to this address of the machine.
    pub(crate) fn reaches(&self, address: IpAddr) {
        self.reached_at.get_or_init(|| address.to_canonical());
    }

    /// The client's address; IPv4 that came over a dual-stack socket is shown as IPv4.
    pub(crate) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// Milliseconds since the table was made, plus one: zero means "not running" in the stamps below.
    fn now(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX - 1).saturating_add(1)
    }

    /// From now on this connection gives way as one of `account`'s, no longer as a stranger's.
    pub(crate) fn mark_authenticated(&self, account: &str, administrator: bool) {
        let mut hasher = std::hash::DefaultHasher::new();
        account.hash(&mut hasher);
        self.account.store(hasher.finish() | 1, Ordering::Relaxed);
        if administrator && !self.is_administrators() {
            self.homes.note(share(self.peer));
        }
        let marked = u64::try_from(MARKED.as_millis()).unwrap_or(u64::MAX);
        let until = if administrator { self.now().saturating_add(marked) } else { 0 };
        self.administrator.store(until, Ordering::Relaxed);
        self.authenticated.store(true, Ordering::Relaxed);
    }

    /// Nobody's: who showed something last was not let in.
    pub(crate) fn mark_stranger(&self) {
        self.authenticated.store(false, Ordering::Relaxed);
        self.account.store(0, Ordering::Relaxed);
        self.administrator.store(0, Ordering::Relaxed);
    }

    /// By which thread it is to be served from now on. In front, who is no administrator's has one request to become one.
    pub(crate) fn lane(&self) -> Lane {
        let asked = self.served.load(Ordering::Relaxed) + u64::from(self.active.load(Ordering::Relaxed) == 0);
        let may_become = self.early && !self.authenticated.load(Ordering::Relaxed) && asked <= 1;
        if may_become || self.is_administrators() { Lane::Front } else { Lane::Back }
    }

    /// Bytes arrived. If no request is being served they belong to the head of the next one, and its clock starts.
    pub(crate) fn on_read(&self) {
        if self.active.load(Ordering::Relaxed) == 0 && self.header_since.load(Ordering::Relaxed) == 0 {
            self.header_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// The peer's window is full (`true`) or took bytes again.
    pub(crate) fn on_write(&self, blocked: bool) {
        if !blocked {
            self.blocked_since.store(0, Ordering::Relaxed);
        } else if self.blocked_since.load(Ordering::Relaxed) == 0 {
            self.blocked_since.store(self.now(), Ordering::Relaxed);
        }
    }

    /// A request head is complete; the guard lives until the last byte of its answer is handed over.
    pub(crate) fn begin(self: &Arc<Self>) -> Active {
        self.active.fetch_add(1, Ordering::Relaxed);
        self.served.fetch_add(1, Ordering::Relaxed);
        self.header_since.store(0, Ordering::Relaxed);
        Active { conn: Arc::clone(self), stalled: false }
    }

    /// When the transport must end this connection if nothing else happens.
    pub(crate) fn deadline(&self, timeouts: &Timeouts, version: HttpVersion) -> Option<Instant> {
        let at = |stamp: u64, limit: Duration| self.base + Duration::from_millis(stamp) + limit;
        let blocked = self.blocked_since.load(Ordering::Relaxed);
        let blocked = (blocked != 0).then(|| at(blocked, timeouts.write));
        let active = self.active.load(Ordering::Relaxed);
        if active > 0 {
            // HTTP/2: the socket may be free, and yet the peer's windows let nothing of any answer go. One stalled answer among
            // others that move is the client's own business.
            let stalled = (self.stalled.load(Ordering::Relaxed) == active)
                .then(|| at(self.stalled_since.load(Ordering::Relaxed), timeouts.write));
            return [blocked, stalled].into_iter().flatten().min();
        }
        let first = self.served.load(Ordering::Relaxed) == 0;
        let idle =
            at(self.quiet_since.load(Ordering::Relaxed), if first { timeouts.header } else { timeouts.idle });
        // On h2 a PING or SETTINGS is not the start of a request, so only h1 has a head to time.
        let header = self.header_since.load(Ordering::Relaxed);
        let header = (version == HttpVersion::H1 && header != 0).then(|| at(header, timeouts.header));
        [Some(idle), header, blocked].into_iter().flatten().min()
    }

    /// Resolves when the table needs this connection's place.
    pub(crate) async fn evicted(&self) {
        self.evicted.notified().await;
    }
}

/// A request in progress; ends with its answer.
#[derive(Debug)]
pub(crate) struct Active {
    conn: Arc<Conn>,
    stalled: bool,
}

impl Active {
    /// A piece of the answer was handed over: until the next is asked for, the peer has to take it.
    pub(crate) fn handed_over(&mut self) {
        if !self.stalled {
            self.stalled = true;
            self.conn.stalled_since.store(self.conn.now(), Ordering::Relaxed);
            self.conn.stalled.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// More is asked for.
    pub(crate) fn asked(&mut self) {
        if std::mem::take(&mut self.stalled) {
            self.conn.stalled.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.asked();
        self.conn.quiet_since.store(self.conn.now(), Ordering::Relaxed);
        self.conn.header_since.store(0, Ordering::Relaxed);
        self.conn.active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long a peer may take over each thing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// For a request head, from its first byte; and from the handshake to the first request.
    pub header: Duration,
    /// Between requests.
    pub idle: Duration,
    /// For taking any byte of an answer.
    pub write: Duration,
}

/// The table of connections over all listeners.
#[derive(Debug)]
pub(crate) struct Admission {
    total: usize,
    per_address: usize,
    base: Instant,
    homes: Arc<Homes>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    conns: HashMap<u64, (IpAddr, Arc<Conn>)>,
    per_address: HashMap<IpAddr, usize>,
}

impl Table {
    fn remove(&mut self, id: u64) -> Option<Arc<Conn>> {
        let (key, conn) = self.conns.remove(&id)?;
        if let Some(count) = self.per_address.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&key);
            }
        }
        Some(conn)
    }

    /// Connections from an address that are in front and nobody's yet.
    fn early(&self, of: IpAddr) -> usize {
        let early = |conn: &Conn| conn.lane() == Lane::Front && !conn.authenticated.load(Ordering::Relaxed);
        self.conns.values().filter(|(key, conn)| *key == of && early(conn)).count()
    }

    /// Who gives way, of one address or of all, of which there are `places` (see the module's text for the order).
    fn victim(&self, of: Option<IpAddr>, places: usize) -> Option<u64> {
        let here = || {
            let here = self.conns.iter().filter(move |(_, (key, _))| of.is_none_or(|of| of == *key));
            here.map(|(id, (key, conn))| (*id, *key, &**conn))
        };
        let is_stranger = |conn: &Conn| !conn.authenticated.load(Ordering::Relaxed);
        let is_idle = |conn: &Conn| conn.active.load(Ordering::Relaxed) == 0;
        let account = |conn: &Conn| conn.account.load(Ordering::Relaxed);
        let quiet = |conn: &Conn| conn.quiet_since.load(Ordering::Relaxed);
        let stranger = || {
            let held = |key: &IpAddr| self.per_address.get(key).copied().unwrap_or(0);
            here()
                .filter(|(_, _, conn)| is_stranger(conn))
                .min_by_key(|(id, key, conn)| {
                    // Those that are in front come from where administrators were seen, and are few.
                    let is_early = conn.lane() == Lane::Front;
                    (is_early, std::cmp::Reverse(held(key)), !is_idle(conn), quiet(conn), *id)
                })
                .map(|(id, ..)| id)
        };
        // The account that holds most, administrators or others, if that is more than `share`.
        let largest = |administrators: bool, share: usize| {
            let mut held: HashMap<u64, usize> = HashMap::new();
            let kind = |conn: &Conn| conn.is_administrators() == administrators;
            for (_, _, conn) in here().filter(|(_, _, conn)| !is_stranger(conn) && kind(conn)) {
                *held.entry(account(conn)).or_default() += 1;
            }
            held.into_iter()
                .max_by_key(|(account, count)| (*count, *account))
                .filter(|(_, count)| *count > share)
                .map(|(account, _)| account)
        };
        let of_account = |whose: u64, active_too: bool| {
            let candidates = here().filter(|(_, _, conn)| {
                !is_stranger(conn) && account(conn) == whose && (active_too || is_idle(conn))
            });
            candidates.min_by_key(|(id, _, conn)| (!is_idle(conn), quiet(conn), *id)).map(|(id, ..)| id)
        };
        let quarter = (places / 4).max(1);
        let crowded_out = here().filter(|(_, _, conn)| is_stranger(conn)).count() < places / 8;
        let any_account = || largest(false, 0).and_then(|whose| of_account(whose, true));
        largest(false, quarter)
            .and_then(|whose| of_account(whose, true))
            .or_else(|| crowded_out.then(any_account).flatten())
            .or_else(stranger)
            .or_else(any_account)
            .or_else(|| largest(true, quarter).and_then(|whose| of_account(whose, false)))
    }
}

/// Why a connection was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// This address already has its share, all of it administrators'.
    #[error("the address has all the connections it may have")]
    Address,
    /// Every place is taken by an administrator.
    #[error("all connections are taken")]
    Total,
}

impl Admission {
    /// A table of at most `total` connections, `per_address` of them from one address (IPv6: one /64).
    pub(crate) fn new(total: usize, per_address: usize) -> Arc<Self> {
        Arc::new(Self {
            total,
            per_address,
            base: Instant::now(),
            homes: Arc::default(),
            table: Mutex::default(),
        })
    }

    /// Takes a place for a connection from `peer`, at the cost of another if need be.
    ///
    /// # Errors
    /// [`Refused`] when only connections of administrators are in the way.
    pub(crate) fn admit(self: &Arc<Self>, peer: IpAddr) -> Result<Ticket, Refused> {
        let peer = peer.to_canonical();
        let key = share(peer);
        let mut table = self.lock();
        let evicted = if table.per_address.get(&key).copied().unwrap_or(0) >= self.per_address {
            Some(table.victim(Some(key), self.per_address).ok_or(Refused::Address)?)
        } else if table.conns.len() >= self.total {
            Some(table.victim(None, self.total).ok_or(Refused::Total)?)
        } else {
            None
        };
        if let Some(conn) = evicted.and_then(|id| table.remove(id)) {
            conn.evicted.notify_one();
        }
        let id = table.next;
        table.next += 1;
        let early = self.homes.lock().contains(&key) && table.early(key) < EARLY;
        let conn = Arc::new(Conn::new(id, peer, Arc::clone(&self.homes), early, self.base));
        table.conns.insert(id, (key, Arc::clone(&conn)));
        *table.per_address.entry(key).or_default() += 1;
        drop(table);
        Ok(Ticket { id, conn, table: Arc::clone(self) })
    }

    /// Connections now open.
    pub(crate) fn open(&self) -> usize {
        self.lock().conns.len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the table; dropping it frees the place.
#[derive(Debug)]
pub(crate) struct Ticket {
    id: u64,
    conn: Arc<Conn>,
    table: Arc<Admission>,
}

impl Ticket {
    /// The connection's shared state.
    pub(crate) fn conn(&self) -> &Arc<Conn> {
        &self.conn
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.table.lock().remove(self.id);
    }
}

/// What counts as one client: an IPv4 address, or an IPv6 /64 (a single host is handed at least that much).
pub(crate) fn share(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_address_gives_up_its_own_quietest_stranger() {
        let table = Admission::new(10, 2);
        let first = table.admit(ip("192.0.2.1")).unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        let second = table.admit(ip("192.0.2.1")).unwrap();
        let other = table.admit(ip("192.0.2.2")).unwrap();
        let _third = table.admit(ip("192.0.2.1")).unwrap();
        first.conn().evicted().await;
        assert_eq!(table.open(), 3);
        second.conn().mark_authenticated("admin", true);
        other.conn().mark_authenticated("admin", true);
        drop(first);
        assert_eq!(table.open(), 3, "an evicted connection's place is not freed twice");
    }

    /// Two places, which two administrators have, and nobody else gets.
    fn full() -> (Arc<Admission>, Ticket, Ticket) {
        let table = Admission::new(2, 2);
        let a = table.admit(ip("192.0.2.1")).unwrap();
        let b = table.admit(ip("192.0.2.2")).unwrap();
        a.conn().mark_authenticated("admin", true);
        b.conn().mark_authenticated("root", true);
        assert_eq!(table.admit(ip("192.0.2.3")).unwrap_err(), Refused::Total);
        (table, a, b)
    }

    #[tokio::test(start_paused = true)]
    async fn authenticated_connections_keep_their_places() {
        let (table, a, _b) = full();
        drop(a);
        let c = table.admit(ip("192.0.2.2")).unwrap();
        c.conn().mark_authenticated("other", true);
        assert_eq!(table.admit(ip("192.0.2.2")).unwrap_err(), Refused::Address);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_let_in_any_more_is_a_stranger_again() {
        let (table, _a, b) = full();
        b.conn().mark_stranger();
        assert!(!b.conn().is_administrators() && b.conn().lane() == Lane::Back);
        let _c = table.admit(ip("192.0.2.3")).unwrap();
        assert!(!table.lock().conns.contains_key(&b.id), "it gave way");
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_under_way_is_not_cut_off_by_bare_connections() {
        let table = Admission::new(4, 4);
        let login = table.admit(ip("192.0.2.1")).unwrap();
        let request = login.conn().begin();
        let mut bare = std::collections::VecDeque::new();
        for n in 0..40 {
            tokio::time::advance(Duration::from_millis(1)).await;
            bare.push_back(table.admit(ip(&format!("192.0.2.{}", 10 + n % 8))).unwrap());
        }
        assert!(table.lock().conns.contains_key(&login.id));
        // With nothing but requests under way, the one that has waited longest gives way.
        let requests: Vec<_> = bare.iter().map(|ticket| ticket.conn().begin()).collect();
        table.admit(ip("192.0.2.99")).unwrap();
        assert!(!table.lock().conns.contains_key(&login.id));
        drop((request, requests));
    }

    #[tokio::test(start_paused = true)]
    async fn one_account_does_not_hold_all_places_and_an_administrator_keeps_his() {
        let table = Admission::new(16, 16);
        let mut held = Vec::new();
        for n in 0..16 {
            tokio::time::advance(Duration::from_millis(1)).await;
            let ticket = table.admit(ip(&format!("192.0.2.{}", n / 4))).unwrap();
            ticket.conn().mark_authenticated(if n == 0 { "admin" } else { "reader" }, n == 0);
            held.push(ticket);
        }
        for n in 0..11 {
            let ticket = table.admit(ip(&format!("198.51.100.{n}"))).unwrap();
            ticket.conn().mark_authenticated(&format!("operator{n}"), false);
            held.push(ticket);
        }
        assert_eq!(table.count(|conn| !conn.is_administrators()), 15);
        let reader = held.get(1).unwrap().conn().account.load(Ordering::Relaxed);
        assert_eq!(
            table.count(|conn| conn.account.load(Ordering::Relaxed) == reader),
            4,
            "a quarter is its own"
        );
        assert!(table.lock().conns.contains_key(&held.first().unwrap().id));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_holds_the_places_a_newcomer_has_time_to_log_in() {
        // What one account or several can do with connections: idle ones, ones with a request under way, from one address or many.
        for (accounts, busy, addresses) in [
            (1, false, 1),
            (1, true, 1),
            (1, true, 4),
            (5, false, 5),
            (5, true, 5),
            (64, true, 8),
            (0, true, 5),
            (0, false, 5),
        ] {
            let what = format!("{accounts} accounts, busy {busy}, {addresses} addresses");
            let table = Admission::new(64, 16);
            let mut held = std::collections::VecDeque::new();
            let come = |held: &mut std::collections::VecDeque<_>, n: usize| {
                let ticket = table.admit(ip(&format!("192.0.2.{}", n % addresses))).unwrap();
                if accounts > 0 {
                    ticket.conn().mark_authenticated(&format!("reader{}", n % accounts), false);
                }
                let active = busy.then(|| ticket.conn().begin());
                held.push_back((ticket, active));
            };
            for n in 0..80 {
                tokio::time::advance(Duration::from_millis(1)).await;
                come(&mut held, n);
            }
            let newcomer = table.admit(ip("198.51.100.1")).expect(&what);
            for n in 0..200 {
                tokio::time::advance(Duration::from_millis(1)).await;
                come(&mut held, n);
                assert!(table.lock().conns.contains_key(&newcomer.id), "{what}: evicted by the {n}th");
            }
            assert!(table.open() <= 64, "{what}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_administrator_s_leaking_script_leaves_room() {
        let table = Admission::new(16, 16);
        let scripts: Vec<_> = (0..16)
            .map(|_| {
                let ticket = table.admit(ip("192.0.2.1")).unwrap();
                ticket.conn().mark_authenticated("fleet", true);
                ticket
            })
            .collect();
        assert!(table.admit(ip("192.0.2.2")).is_ok());
        let busy: Vec<_> = scripts.iter().map(|ticket| ticket.conn().begin()).collect();
        assert_eq!(
            table.admit(ip("192.0.2.2")).map(|_| ()),
            Ok(()),
            "the place that was given up is free again"
        );
        drop(busy);
    }

    #[tokio::test(start_paused = true)]
    async fn an_administrator_is_served_in_front_and_others_of_that_address_hardly_get_there() {
        let table = Admission::new(64, 64);
        let first = table.admit(ip("192.0.2.1")).unwrap();
        assert_eq!(first.conn().lane(), Lane::Back, "nobody knows who comes");
        let request = first.conn().begin();
        first.conn().mark_authenticated("admin", true);
        assert_eq!(first.conn().lane(), Lane::Front, "from within the first request on");
        drop(request);
        assert_eq!(first.conn().lane(), Lane::Front);
        // From the same address, before it is known who they are: a few at a time, for one request each.
        let crowd: Vec<_> = (0..20).map(|_| table.admit(ip("192.0.2.1")).unwrap()).collect();
        let front = |tickets: &[Ticket]| tickets.iter().filter(|t| t.conn().lane() == Lane::Front).count();
        assert_eq!(front(&crowd), EARLY);
        let asking = crowd.first().unwrap().conn().begin();
        assert_eq!(front(&crowd), EARLY);
        drop(asking);
        assert_eq!(front(&crowd), EARLY - 1, "it asked, and was nobody");
        let next = table.admit(ip("192.0.2.1")).unwrap();
        assert_eq!(next.conn().lane(), Lane::Front);
        next.conn().mark_authenticated("rita", false);
        assert_eq!(next.conn().lane(), Lane::Back, "it is known not to be one");
        assert_eq!(table.admit(ip("192.0.2.2")).unwrap().conn().lane(), Lane::Back);
        // An account that loses its rights loses its lane.
        first.conn().mark_authenticated("admin", false);
        assert_eq!(first.conn().lane(), Lane::Back);
        // One that nobody has shown a right on for a while, too: what comes on it now is nobody's.
        first.conn().mark_authenticated("admin", true);
        tokio::time::advance(MARKED - Duration::from_millis(1)).await;
        assert_eq!(first.conn().lane(), Lane::Front);
        tokio::time::advance(Duration::from_millis(1)).await;
        let asking_without = first.conn().begin();
        assert!(first.conn().lane() == Lane::Back && !first.conn().is_administrators());
        drop(asking_without);
        // Many administrators' addresses: the oldest is forgotten.
        for n in 0..HOMES {
            let other = table.admit(ip(&format!("198.51.100.{n}"))).unwrap();
            other.conn().mark_authenticated("admin", true);
        }
        drop(crowd);
        assert_eq!(table.admit(ip("192.0.2.1")).unwrap().conn().lane(), Lane::Back);
    }

    impl Admission {
        fn count(&self, which: impl Fn(&Conn) -> bool) -> usize {
            self.lock().conns.values().filter(|(_, conn)| which(conn)).count()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_from_many_addresses_does_not_cut_off_a_handshake_of_an_administrator_s_machine() {
        let table = Admission::new(16, 8);
        let home = ip("192.0.2.1");
        table.admit(home).unwrap().conn().mark_authenticated("admin", true);
        let early: Vec<Ticket> = (0..EARLY).map(|_| table.admit(home).unwrap()).collect();
        let late = table.admit(home).unwrap();
        let mut flood = Vec::new();
        for n in 0..200_u8 {
            flood.push(table.admit(IpAddr::from([198, 51, 100, n])).unwrap());
        }
        assert_eq!(table.open(), 16);
        for ticket in &early {
            assert!(
                table.lock().conns.contains_key(&ticket.id),
                "one of an administrator's machine was cut off"
            );
        }
        // No more of them than are in front.
        assert!(!table.lock().conns.contains_key(&late.id));
    }

    #[tokio::test(start_paused = true)]
    async fn one_ipv6_network_is_one_client_and_mapped_ipv4_is_ipv4() {
        let table = Admission::new(10, 1);
        let a = table.admit(ip("2001:db8::1")).unwrap();
        a.conn().mark_authenticated("admin", true);
        assert_eq!(table.admit(ip("2001:db8::2")).unwrap_err(), Refused::Address);
        assert!(table.admit(ip("2001:db8:0:1::1")).is_ok());
        let b = table.admit(ip("::ffff:192.0.2.1")).unwrap();
        assert_eq!(b.conn().peer(), ip("192.0.2.1"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_head_ends_before_an_idle_connection_does() {
        let timeouts = Timeouts {
            header: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            write: Duration::from_secs(30),
        };
        let table = Admission::new(1, 1);
        let start = Instant::now();
        let ticket = table.admit(ip("192.0.2.1")).unwrap();
        let conn = ticket.conn();
        let left = |conn: &Conn, v| conn.deadline(&timeouts, v).map(|at| (at - start).as_secs());
        assert_eq!(left(conn, HttpVersion::H1), Some(10), "no first request");
        drop(conn.begin());
        assert_eq!(left(conn, HttpVersion::H1), Some(60), "idle between requests");
        conn.on_read();
        assert_eq!(left(conn, HttpVersion::H1), Some(10), "half a head");
        assert_eq!(left(conn, HttpVersion::H2), Some(60), "a ping is no head");
        let active = conn.begin();
        assert_eq!(left(conn, HttpVersion::H1), None, "the request has its own deadline");
        conn.on_write(true);
        assert_eq!(left(conn, HttpVersion::H1), Some(30), "a reader that does not read");
        conn.on_write(false);
        assert_eq!(left(conn, HttpVersion::H1), None);
        drop(active);
    }
}
