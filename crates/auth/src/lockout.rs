//! Slowing down who guesses, without shutting out who does not.
//!
//! | what is counted | after | is refused |
//! |---|---|---|
//! | different wrong passwords for one account *from one address* | [`LockoutConfig::threshold`] | that account from that address, for [`LockoutConfig::first_delay`], doubled by each further one up to [`LockoutConfig::max_delay`] |
//! | the same from one address, whatever the account | [`LockoutConfig::address_threshold`] | every account from that address, for [`LockoutConfig::address_delay`] at a time |
//! | the same for one account, from wherever | [`LockoutConfig::account_threshold`] an hour, half of it for who failed twice | that account, from addresses that are not known |
//!
//! NIST SP 800-63B §5.2.2 asks for a limit per account of at most 100 failures and warns that the limit itself shuts the owner
//! out; it names addresses the owner was seen at, and growing pauses, as the cure. Five properties matter more than the counting:
//!
//! - *Nothing tells which names exist.* The tables know names only as hashes and treat an invented one as a real
//!   one. (A hash also because people type passwords into the name field.)
//! - *A stranger locks out nobody else.* The pause belongs to the pair of account and address. From an address the account was
//!   used from with success ([known](Lockout::is_known_good)) only that pair's own failures count. From a new address the
//!   first two attempts are admitted as long as fewer than half of [`LockoutConfig::account_threshold`] other addresses guess at
//!   this account within an hour: those who failed twice are counted by themselves. Where accounts are known from is
//!   [kept over boots](KnownAddresses): else a flood that never ends would keep everybody out after one.
//! - *An old password in a script locks out nobody.* The same wrong password again is no guess and is not counted.
//! - *Nobody is locked out for ever.* Attempts during a pause are refused without being counted. A pause of an address is
//!   followed by [`ADDRESS_OPEN`] in which none begins, so whoever shares it with a guesser gets a turn; a pause of an account at an
//!   address it is known from by [`KNOWN_OPEN`], so that its owner does, though the guesser sits beside him.
//! - *The tables are bounded*, and to push an entry out costs more failed logins than it is worth:
//!   see [`LockoutConfig::capacity`].

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use sha2::{Digest as _, Sha256};
use units::{Millis, Mono};

use crate::Password;

mod known;
mod saved;

pub use known::KnownAddresses;

/// How long an address stays open between two pauses, whatever fails meanwhile: long enough for a person who tries again every
/// few seconds. What guessers get out of it is bounded by the pause of each pair and by the line before the hash.
pub const ADDRESS_OPEN: Millis = Millis::from_secs(10);
/// The same for an account at an address it is known from. Guessers there get as many guesses as the line before the hash lets through in
/// it: at the longest pause, one hundredth of what they would without any.
pub const KNOWN_OPEN: Millis = Millis::from_secs(10);
/// Locks shown at most.
pub const SHOWN_MAX: usize = 256;
/// Wrong passwords remembered per pair.
const TAGS: usize = 8;
/// Addresses remembered per account as good.
const GOOD_PER_ACCOUNT: usize = 8;

/// The rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockoutConfig {
    /// Wrong passwords of one account from one address before the first pause. At least 1.
    pub threshold: u32,
    /// Pause after `threshold` failures.
    pub first_delay: Millis,
    /// The pause stops doubling here.
    pub max_delay: Millis,
    /// Failures are forgotten after this long without another one. Not shorter than `max_delay`, or else
    /// waiting a pause out would start the count anew.
    pub forget_after: Millis,
    /// Failures from one address before all of it pauses. More than `threshold`, so that one account's failures do not
    /// concern the others behind the same address.
    pub address_threshold: u32,
    /// That pause; it does not grow, because the innocent share it.
    pub address_delay: Millis,
    /// Failures of one account within `forget_after`, from all addresses together, before it is refused to addresses it is not
    /// known from; they run off steadily. A third and later failure from an address counts apart, up to half as many. Both
    /// together are 90 guesses in the first hour, 45 in each later one.
    pub account_threshold: u32,
    /// Entries per table (pairs, addresses, accounts), about 100 bytes each.
    ///
    /// When a table is full, the entry with the fewest failures goes, the oldest of these first. To push out an entry at
    /// the threshold an attacker has to raise all others to it: 1,024 entries x 5 failures, from 1,024 addresses, for five guesses.
    /// At two hashes at a time that is 36 s on a desktop core (14 ms each) and about a quarter of an hour on a Cortex-A7, which is
    /// the longest pause.
    pub capacity: usize,
    /// Pairs of account and address that are remembered as having succeeded, at most 8 of one account.
    pub known_good: usize,
}

impl Default for LockoutConfig {
    fn default() -> Self {
        Self {
            threshold: 5,
            first_delay: Millis::from_secs(30),
            max_delay: Millis::from_secs(15 * 60),
            forget_after: Millis::from_secs(60 * 60),
            address_threshold: 20,
            address_delay: Millis::from_secs(60),
            account_threshold: 30,
            capacity: 1024,
            known_good: 512,
        }
    }
}

impl LockoutConfig {
    /// How long to refuse a pair after `failures` failures. Grows monotonically; zero below the threshold.
    #[must_use]
    pub fn delay(&self, failures: u32) -> Millis {
        let Some(over) = failures.checked_sub(self.threshold) else { return Millis::ZERO };
        let doubled = 1_u64.checked_shl(over).and_then(|factor| self.first_delay.get().checked_mul(factor));
        Millis::new(doubled.unwrap_or(u64::MAX)).min(self.max_delay)
    }

    /// How many failures an account bears from `who`, and the time one of them takes to run off.
    fn account_limit(&self, who: Who) -> (u32, Millis) {
        let limit = match who {
            Who::Newcomer => self.account_threshold.max(2),
            Who::Repeater => self.account_threshold.max(2) / 2,
        };
        (limit, Millis::new((self.forget_after.get() / u64::from(limit)).max(1)))
    }
}

/// What failures of an account are counted under: half a SHA-256 of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; 16]);

impl Key {
    /// The key of an account name exactly as it was sent, whether such an account exists or not.
    #[must_use]
    pub fn account(name: &str) -> Self {
        let digest = Sha256::new_with_prefix(b"n").chain_update(name.as_bytes()).finalize();
        let mut key = [0; 16];
        key.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        Self(key)
    }
}

/// Where an attempt came from, as far as counting goes. As text: an IPv4 address, or an IPv6 network as `2001:db8:1:2::/64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(Network);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Network {
    V4(u32),
    /// The upper half.
    V6(u64),
    Unknown,
}

impl Address {
    /// Reads an address, with or without a port. IPv6 is counted per /64, the smallest block a site is given: one
    /// host may take any of its 2^64 addresses. What is no address is counted together as one.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let ip =
            text.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
        Self(match ip.map(|ip| ip.to_canonical()) {
            Some(IpAddr::V4(v4)) => Network::V4(v4.to_bits()),
            Some(IpAddr::V6(v6)) => Network::V6(u64::try_from(v6.to_bits() >> 64).unwrap_or(u64::MAX)),
            None => Network::Unknown,
        })
    }

    fn bytes(self) -> [u8; 9] {
        let (kind, bits) = match self.0 {
            Network::V4(bits) => (b'4', u64::from(bits)),
            Network::V6(bits) => (b'6', bits),
            Network::Unknown => (b'?', 0),
        };
        let mut bytes = [kind; 9];
        bytes.iter_mut().skip(1).zip(bits.to_be_bytes()).for_each(|(to, from)| *to = from);
        bytes
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Network::V4(bits) => Ipv4Addr::from_bits(bits).fmt(f),
            Network::V6(bits) => write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(bits) << 64)),
            Network::Unknown => f.write_str("unknown"),
        }
    }
}

/// The attempt is refused without looking at the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many failed logins; try again in {} s", remaining.get().div_ceil(1000))]
pub struct Locked {
    /// Time until the next attempt is looked at.
    pub remaining: Millis,
}

/// What a failure did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    /// It was a guess; `false` for a wrong password that was tried from there before.
    pub counted: bool,
    /// A pause began with it.
    pub locked: bool,
}

/// A pause that is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock {
    /// Names it as long as it lasts; says nothing about the account's name.
    pub id: LockId,
    /// The account concerned, `None` for all.
    pub account: Option<Key>,
    /// The address concerned, `None` for all the account is not known from.
    pub address: Option<Address>,
    /// Failures counted.
    pub failures: u32,
    /// Time until it ends by itself.
    pub remaining: Millis,
}

/// Names a lock: 16 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockId(u64);

impl LockId {
    /// Reads an id; `None` when the text cannot be one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c));
        (text.len() == 16 && digits).then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for LockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What stands against an account, for an administrator to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Failures counted, from wherever.
    pub failures: u32,
    /// The longest time any address stays refused; zero when none is.
    pub locked_for: Millis,
}

#[derive(Debug, Clone, Copy)]
struct Pair {
    failures: u32,
    last: Mono,
    until: Mono,
    /// Sixteen bits of a keyed hash of each wrong password that was counted, the oldest overwritten: enough to recognise a
    /// repetition (one guess in 8,192 passes for one), too little to find a password by it.
    tags: [Option<u16>; TAGS],
}

/// Who fails: one slip, or an old password in a script, leaves a pair a newcomer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Newcomer,
    Repeater,
}

/// When all failures of an account have run off.
#[derive(Debug, Clone, Copy)]
struct RunOff {
    newcomers: Mono,
    repeaters: Mono,
}

impl RunOff {
    fn of(&self, who: Who) -> Mono {
        match who {
            Who::Newcomer => self.newcomers,
            Who::Repeater => self.repeaters,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Source {
    failures: u32,
    last: Mono,
    until: Mono,
    /// The only account the failures were for.
    only: Option<Key>,
}

/// Failures by pair, by address and by account.
pub struct Lockout {
    config: LockoutConfig,
    secret: [u8; 32],
    pairs: HashMap<(Key, Address), Pair>,
    addresses: HashMap<Address, Source>,
    accounts: HashMap<Key, RunOff>,
    known_good: HashMap<(Key, Address), Mono>,
    changes: u64,
    known_changes: u64,
}

impl fmt::Debug for Lockout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lockout").field("entries", &self.len()).finish_non_exhaustive()
    }
}

impl Lockout {
    /// Nothing has failed yet. `secret` keys what is remembered of wrong passwords; it must be random and is never stored.
    #[must_use]
    pub fn new(config: LockoutConfig, secret: [u8; 32]) -> Self {
        Self {
            config,
            secret,
            pairs: HashMap::new(),
            addresses: HashMap::new(),
            accounts: HashMap::new(),
            known_good: HashMap::new(),
            changes: 0,
            known_changes: 0,
        }
    }

    /// Other limits from now on. What was counted stays counted; a pause that has begun lasts as long as it was told. How much is remembered stays.
    pub fn reconfigure(&mut self, config: LockoutConfig) {
        let LockoutConfig { capacity, known_good, .. } = self.config;
        self.config = LockoutConfig { capacity, known_good, ..config };
    }

    /// Whether an attempt may be made now. Ask before the password is verified and again before the outcome is
    /// told: a pause may have begun in between.
    ///
    /// # Errors
    /// [`Locked`] with the longest of the pauses that concern it.
    pub fn check(&self, account: Key, address: Address, now: Mono) -> Result<(), Locked> {
        let pair = self.pairs.get(&(account, address));
        let mut remaining = pair.map_or(Millis::ZERO, |pair| now.until(pair.until));
        if !self.is_known_good(account, address) {
            let source = self.addresses.get(&address);
            remaining = remaining.max(source.map_or(Millis::ZERO, |source| now.until(source.until)));
            remaining = remaining.max(self.account_pause(account, self.who(pair, now), now));
        }
        if remaining.is_zero() { Ok(()) } else { Err(Locked { remaining }) }
    }

    fn who(&self, pair: Option<&Pair>, now: Mono) -> Who {
        match pair {
            Some(pair) if pair.failures > 1 && !self.is_stale(pair.last, pair.until, now) => Who::Repeater,
            _ => Who::Newcomer,
        }
    }

    /// How long an account is refused to `who` from an address it is not known from.
    fn account_pause(&self, account: Key, who: Who, now: Mono) -> Millis {
        let Some(run_off) = self.accounts.get(&account) else { return Millis::ZERO };
        let (limit, each) = self.config.account_limit(who);
        now.until(run_off.of(who)).saturating_sub(each.saturating_mul(u64::from(limit - 1)))
    }

    fn account_pauses(&self, account: Key, now: Mono) -> Millis {
        self.account_pause(account, Who::Newcomer, now).max(self.account_pause(account, Who::Repeater, now))
    }

    /// Whether the account was used from that address with success.
    #[must_use]
    pub fn is_known_good(&self, account: Key, address: Address) -> bool {
        self.known_good.contains_key(&(account, address))
    }

    /// Counts a wrong password, an unknown name or a disabled account. The caller has asked [`Self::check`].
    pub fn failure(&mut self, account: Key, address: Address, password: &Password, now: Mono) -> Failed {
        let tag = self.tag(account, password);
        let config = self.config;
        self.make_room(account, address, now);
        let is_known = self.is_known_good(account, address);
        let fresh = Pair { failures: 0, last: now, until: Mono::ZERO, tags: [None; TAGS] };
        let stale = |last: Mono, until: Mono| now.since(last.max(until)) >= config.forget_after;
        let pair = self.pairs.entry((account, address)).or_insert(fresh);
        if stale(pair.last, pair.until) {
            *pair = fresh;
        }
        if pair.tags.contains(&Some(tag)) {
            return Failed { counted: false, locked: false };
        }
        self.changes = self.changes.wrapping_add(1);
        let repeater = pair.failures > 1;
        let at = usize::try_from(pair.failures).unwrap_or(0) % TAGS;
        if let Some(slot) = pair.tags.get_mut(at) {
            *slot = Some(tag);
        }
        pair.failures = pair.failures.saturating_add(1);
        pair.last = now;
        let delay = config.delay(pair.failures);
        // An attempt that ran beside the one that began the pause comes before its end, and may well make it longer.
        let spared = is_known
            && pair.until != Mono::ZERO
            && now >= pair.until
            && now < pair.until.saturating_add(KNOWN_OPEN);
        let mut locked = !delay.is_zero() && !spared;
        if !spared && !delay.is_zero() {
            // Never shortened: two attempts that ran side by side both count, and the later outcome must not undercut.
            pair.until = pair.until.max(now.saturating_add(delay));
        }

        let fresh = Source { failures: 0, last: now, until: Mono::ZERO, only: Some(account) };
        let source = self.addresses.entry(address).or_insert(fresh);
        if stale(source.last, source.until) {
            *source = fresh;
        }
        source.failures = source.failures.saturating_add(1);
        source.last = now;
        if source.only != Some(account) {
            source.only = None;
        }
        let open = source.until != Mono::ZERO && now < source.until.saturating_add(ADDRESS_OPEN);
        if source.failures >= config.address_threshold && !open {
            source.until = now.saturating_add(config.address_delay);
            locked = true;
        }
        if !is_known {
            let was = self.account_pauses(account, now);
            let run_off = self.accounts.entry(account).or_insert(RunOff { newcomers: now, repeaters: now });
            let (who, ends) = if repeater {
                (Who::Repeater, &mut run_off.repeaters)
            } else {
                (Who::Newcomer, &mut run_off.newcomers)
            };
            *ends = (*ends).max(now).saturating_add(config.account_limit(who).1);
            locked |= was.is_zero() && !self.account_pauses(account, now).is_zero();
        }
        Failed { counted: true, locked }
    }

    /// Counts a right password. What was counted against the pair is forgotten, and against the address if it was all for this
    /// account. What was counted against the account stays: an owner who logs in all the time must not give guessers elsewhere a
    /// fresh count each time.
    pub fn success(&mut self, account: Key, address: Address, now: Mono) {
        self.changes = self.changes.wrapping_add(1);
        self.pairs.remove(&(account, address));
        if self.addresses.get(&address).is_some_and(|source| source.only == Some(account)) {
            self.addresses.remove(&address);
        }
        self.know(account, address, now);
    }

    /// Notes that an account was used from an address at `used`. One account's addresses push out its own first.
    fn know(&mut self, account: Key, address: Address, used: Mono) {
        if self.config.known_good == 0 {
            return;
        }
        if !self.known_good.contains_key(&(account, address)) {
            self.known_changes = self.known_changes.wrapping_add(1);
            let own = self.known_good.keys().filter(|(key, _)| *key == account).count();
            let full = self.known_good.len() >= self.config.known_good;
            if own >= GOOD_PER_ACCOUNT || full {
                let oldest = |all: bool| {
                    let pairs = self.known_good.iter().filter(|((key, _), _)| all || *key == account);
                    pairs.min_by_key(|(_, used)| **used).map(|(pair, _)| *pair)
                };
                if let Some(oldest) = oldest(own == 0) {
                    self.known_good.remove(&oldest);
                }
            }
        }
        self.known_good.insert((account, address), used);
    }

    /// Lifts what stands against an account, from whichever address. Where it is known from stays known.
    pub fn lift_account(&mut self, account: Key) {
        self.changes = self.changes.wrapping_add(1);
        self.accounts.remove(&account);
        self.pairs.retain(|(key, _), _| *key != account);
    }

    /// Forgets all about an account: its password was set by somebody with the right to, or it was deleted.
    pub fn forget_account(&mut self, account: Key) {
        self.lift_account(account);
        self.forget_known(account);
    }

    /// Forgets where an account is known from.
    pub fn forget_known(&mut self, account: Key) {
        let before = self.known_good.len();
        self.known_good.retain(|(good, _), _| *good != account);
        if self.known_good.len() < before {
            self.changes = self.changes.wrapping_add(1);
            self.known_changes = self.known_changes.wrapping_add(1);
        }
    }

    /// An account has another name: it is known from where it was, and nothing else of the old name is its successor's. What was counted
    /// against the new name, which was nobody's, stays.
    pub fn rename_account(&mut self, old: Key, new: Key) {
        if old == new {
            return;
        }
        self.forget_known(new);
        let moved: Vec<(Address, Mono)> = self
            .known_good
            .iter()
            .filter(|((account, _), _)| *account == old)
            .map(|((_, address), used)| (*address, *used))
            .collect();
        self.forget_account(old);
        for (address, used) in moved {
            self.know(new, address, used);
        }
    }

    /// Lifts one lock; tells what it was, `None` when it is not in force.
    pub fn lift(&mut self, id: LockId, now: Mono) -> Option<Lock> {
        let lock = self.every_lock(now).find(|lock| lock.id == id)?;
        self.changes = self.changes.wrapping_add(1);
        match (lock.account, lock.address) {
            (Some(account), Some(address)) => drop(self.pairs.remove(&(account, address))),
            (Some(account), None) => drop(self.accounts.remove(&account)),
            (None, Some(address)) => drop(self.addresses.remove(&address)),
            (None, None) => {}
        }
        Some(lock)
    }

    /// The locks in force: those of addresses first, then of accounts, then of pairs, each group's longest first; at most
    /// [`SHOWN_MAX`].
    #[must_use]
    pub fn locks(&self, now: Mono) -> Vec<Lock> {
        let mut locks: Vec<Lock> = self.every_lock(now).collect();
        locks.sort_by_key(|lock| {
            (lock.account.is_some(), lock.address.is_some(), std::cmp::Reverse(lock.remaining.get()), lock.id)
        });
        locks.truncate(SHOWN_MAX);
        locks
    }

    fn every_lock(&self, now: Mono) -> impl Iterator<Item = Lock> + '_ {
        let of_pairs = self.pairs.iter().map(move |((account, address), pair)| {
            (Some(*account), Some(*address), pair.failures, now.until(pair.until))
        });
        let of_addresses = self
            .addresses
            .iter()
            .map(move |(address, source)| (None, Some(*address), source.failures, now.until(source.until)));
        let of_accounts = self.accounts.keys().map(move |account| {
            (Some(*account), None, self.counted(*account, now), self.account_pauses(*account, now))
        });
        of_pairs.chain(of_addresses).chain(of_accounts).filter(|(.., remaining)| !remaining.is_zero()).map(
            |(account, address, failures, remaining)| {
                let id = self.lock_id(account, address);
                Lock { id, account, address, failures, remaining }
            },
        )
    }

    /// What stands against an account name.
    #[must_use]
    pub fn status(&self, account: Key, now: Mono) -> Standing {
        let mut standing =
            Standing { failures: self.counted(account, now), locked_for: self.account_pauses(account, now) };
        let mut failures = 0_u32;
        for (_, pair) in self.pairs.iter().filter(|((key, _), _)| *key == account) {
            if !self.is_stale(pair.last, pair.until, now) {
                failures = failures.saturating_add(pair.failures);
                standing.locked_for = standing.locked_for.max(now.until(pair.until));
            }
        }
        standing.failures = standing.failures.max(failures);
        standing
    }

    /// Entries held, at most three times [`LockoutConfig::capacity`] plus [`LockoutConfig::known_good`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len() + self.addresses.len() + self.accounts.len() + self.known_good.len()
    }

    /// Another number after each change that is worth [saving](Self::save).
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Another number after each change of [where accounts are known from](Self::known); a further success from a known address is none.
    #[must_use]
    pub fn known_changes(&self) -> u64 {
        self.known_changes
    }

    /// Whether nothing is counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn counted(&self, account: Key, now: Mono) -> u32 {
        let Some(run_off) = self.accounts.get(&account) else { return 0 };
        let counted = |who: Who| {
            let each = self.config.account_limit(who).1;
            u32::try_from(now.until(run_off.of(who)).get().div_ceil(each.get())).unwrap_or(u32::MAX)
        };
        counted(Who::Newcomer).saturating_add(counted(Who::Repeater))
    }

    fn is_stale(&self, last: Mono, until: Mono, now: Mono) -> bool {
        now.since(last.max(until)) >= self.config.forget_after
    }

    fn tag(&self, account: Key, password: &Password) -> u16 {
        let digest = Sha256::new_with_prefix(self.secret)
            .chain_update(account.0)
            .chain_update(password.expose().as_bytes())
            .finalize();
        digest.iter().take(2).fold(0, |tag, byte| tag << 8 | u16::from(*byte))
    }

    fn lock_id(&self, account: Option<Key>, address: Option<Address>) -> LockId {
        let mut hash = Sha256::new_with_prefix(self.secret);
        hash.update([u8::from(account.is_some()), u8::from(address.is_some())]);
        hash.update(account.map_or([0; 16], |key| key.0));
        hash.update(address.map_or([0; 9], Address::bytes));
        LockId(hash.finalize().iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte)))
    }

    /// Gives up what is stale, then what counts least, where a new entry needs a place.
    fn make_room(&mut self, account: Key, address: Address, now: Mono) {
        let (capacity, forget) = (self.config.capacity, self.config.forget_after);
        let stale = |last: Mono, until: Mono| now.since(last.max(until)) >= forget;
        if !self.pairs.contains_key(&(account, address)) && self.pairs.len() >= capacity {
            self.pairs.retain(|_, pair| !stale(pair.last, pair.until));
            evict(&mut self.pairs, capacity, |pair| (pair.failures, pair.last));
        }
        if !self.addresses.contains_key(&address) && self.addresses.len() >= capacity {
            self.addresses.retain(|_, source| !stale(source.last, source.until));
            evict(&mut self.addresses, capacity, |source| (source.failures, source.last));
        }
        if !self.accounts.contains_key(&account) && self.accounts.len() >= capacity {
            self.accounts.retain(|_, run_off| run_off.newcomers.max(run_off.repeaters) > now);
            evict(&mut self.accounts, capacity, |run_off| run_off.newcomers.max(run_off.repeaters));
        }
    }
}

/// Removes the entry of least `worth` from a table that is full.
fn evict<K: Copy + Eq + std::hash::Hash, V, W: Ord>(
    table: &mut HashMap<K, V>,
    capacity: usize,
    worth: impl Fn(&V) -> W,
) {
    if table.len() >= capacity
        && let Some(least) = table.iter().min_by_key(|(_, entry)| worth(entry)).map(|(key, _)| *key)
    {
        table.remove(&least);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) fn at(secs: u64) -> Mono {
        Mono::from_millis(secs * 1000)
    }

    pub(super) fn ip(last: u8) -> Address {
        Address::parse(&format!("192.0.2.{last}"))
    }

    pub(super) fn alice() -> Key {
        Key::account("alice")
    }

    fn lockout(config: LockoutConfig) -> Lockout {
        Lockout::new(config, [7; 32])
    }

    fn guess(lockout: &mut Lockout, account: Key, address: Address, word: &str, now: Mono) -> Failed {
        lockout.failure(account, address, &Password::new(word.to_owned()), now)
    }

    /// `count` different wrong passwords.
    fn guesses(lockout: &mut Lockout, account: Key, address: Address, count: u32, now: Mono) {
        for n in 0..count {
            guess(lockout, account, address, &format!("{n} {}", now.as_millis()), now);
        }
    }

    #[test]
    fn the_delay_starts_at_the_fifth_failure_and_doubles_to_a_quarter_of_an_hour() {
        let config = LockoutConfig::default();
        let secs: Vec<u64> = (0..14).map(|failures| config.delay(failures).as_secs()).collect();
        assert_eq!(secs, [0, 0, 0, 0, 0, 30, 60, 120, 240, 480, 900, 900, 900, 900]);
        assert_eq!(config.delay(u32::MAX).as_secs(), 900);
    }

    #[test]
    fn a_guesser_is_refused_and_nobody_else() {
        let mut lockout = lockout(LockoutConfig::default());
        guesses(&mut lockout, alice(), ip(66), 5, at(0));
        let locked = lockout.check(alice(), ip(66), at(1)).unwrap_err();
        assert_eq!(locked.remaining, Millis::from_secs(29));
        assert_eq!(locked.to_string(), "too many failed logins; try again in 29 s");
        assert_eq!(lockout.check(alice(), ip(1), at(1)), Ok(()), "the owner, from elsewhere");
        assert_eq!(lockout.check(Key::account("bob"), ip(66), at(1)), Ok(()), "somebody else, from there");
    }

    /// Milliseconds until `alice` gets in with the right password, tried each 2 s where somebody guesses each 50 ms, and the guesses judged.
    fn beside_a_guesser(mut lockout: Lockout, from: u64, until: u64) -> (Option<u64>, u32) {
        let mut judged = 0;
        for millis in (from..until).step_by(50) {
            let now = Mono::from_millis(millis);
            if lockout.check(alice(), ip(1), now).is_ok() {
                guess(&mut lockout, alice(), ip(1), &format!("{millis}"), now);
                judged += 1;
            }
            let now = Mono::from_millis(millis + 20);
            if millis % 2000 == 1000 && lockout.check(alice(), ip(1), now).is_ok() {
                return (Some(millis - from), judged);
            }
        }
        (None, judged)
    }

    #[test]
    fn the_owner_gets_in_though_a_guesser_sits_at_the_address_he_is_known_from() {
        let mut lockout = lockout(LockoutConfig::default());
        lockout.success(alice(), ip(1), at(0));
        // The guesser was first.
        guesses(&mut lockout, alice(), ip(1), 5, at(1));
        let (waited, _) = beside_a_guesser(lockout, 2_000, 240_000);
        assert!(waited.is_some_and(|millis| millis < 60_000), "{waited:?}");
    }

    #[test]
    fn a_guesser_at_a_known_address_alone_gets_little_out_of_the_open_spans() {
        let mut lockout = lockout(LockoutConfig::default());
        lockout.success(alice(), ip(1), at(0));
        let mut judged = 0;
        for millis in (0..3_600_000).step_by(50) {
            let now = Mono::from_millis(millis);
            if lockout.check(alice(), ip(1), now).is_ok() {
                judged += 1;
                guess(&mut lockout, alice(), ip(1), &format!("{millis}"), now);
            }
        }
        // Twenty a second in the spans of 10 s after one pause of 30 s and three of a quarter of an hour, of 72,000 that were sent.
        assert!(judged <= 5 + 4 * 201, "{judged} guesses");
    }

    #[test]
    fn the_same_wrong_password_again_is_no_guess() {
        let mut lockout = lockout(LockoutConfig::default());
        assert!(guess(&mut lockout, alice(), ip(1), "old", at(0)).counted);
        for second in 0..3000 {
            assert_eq!(
                guess(&mut lockout, alice(), ip(1), "old", at(second)),
                Failed { counted: false, locked: false }
            );
        }
        assert_eq!(lockout.status(alice(), at(1)).failures, 1);
        assert_eq!(lockout.check(alice(), ip(1), at(2999)), Ok(()));
        // Guesses in between are counted, and the repetition buys none.
        for n in 0..4 {
            guess(&mut lockout, alice(), ip(1), "old", at(3000));
            guess(&mut lockout, alice(), ip(1), &n.to_string(), at(3000));
        }
        assert!(lockout.check(alice(), ip(1), at(3001)).is_err());
        // What is known about one account's wrong passwords is not known about another's.
        assert!(guess(&mut lockout, Key::account("bob"), ip(1), "old", at(3001)).counted);
    }

    #[test]
    fn guesses_from_many_addresses_stop_at_thirty_an_hour_and_known_addresses_do_not_notice() {
        let mut lockout = lockout(LockoutConfig::default());
        lockout.success(alice(), ip(1), at(0));
        let mut taken = 0;
        for second in 0..3600_u64 {
            // A fresh network for each guess.
            let from = Address::parse(&format!("2001:db8:0:{second:x}::1"));
            if lockout.check(alice(), from, at(second)).is_ok() {
                guess(&mut lockout, alice(), from, &second.to_string(), at(second));
                taken += 1;
            }
            assert_eq!(lockout.check(alice(), ip(1), at(second)), Ok(()), "{second}");
        }
        // Thirty at once, and what runs off meanwhile.
        assert!((55..=60).contains(&taken), "{taken}");
    }

    #[test]
    fn the_first_attempt_from_a_new_address_is_admitted_while_some_addresses_guess() {
        let mut lockout = lockout(LockoutConfig::default());
        for second in 0..7200_u64 {
            for attacker in 0..14 {
                if lockout.check(alice(), ip(attacker), at(second)).is_ok() {
                    guess(&mut lockout, alice(), ip(attacker), &second.to_string(), at(second));
                }
            }
            assert_eq!(lockout.check(alice(), ip(200), at(second)), Ok(()), "{second}");
        }
    }

    #[test]
    fn an_address_pauses_for_every_account_after_twenty_failures_and_opens_again() {
        let mut lockout = lockout(LockoutConfig::default());
        lockout.success(Key::account("resident"), ip(7), at(0));
        for n in 0..20 {
            let name = Key::account(&format!("name{n}"));
            assert_eq!(lockout.check(name, ip(7), at(1)), Ok(()), "{n}");
            guess(&mut lockout, name, ip(7), "Summer2026", at(1));
        }
        assert_eq!(lockout.check(alice(), ip(7), at(2)).unwrap_err().remaining, Millis::from_secs(59));
        assert_eq!(lockout.check(alice(), ip(8), at(2)), Ok(()));
        assert_eq!(lockout.check(Key::account("resident"), ip(7), at(2)), Ok(()), "known from there");
        // It opens, and the guesser cannot close it at once.
        guess(&mut lockout, Key::account("name30"), ip(7), "Summer2026", at(61));
        assert_eq!(lockout.check(alice(), ip(7), at(70)), Ok(()));
        guess(&mut lockout, Key::account("name31"), ip(7), "Summer2026", at(71));
        assert!(lockout.check(alice(), ip(7), at(72)).is_err());
    }

    #[test]
    fn locks_are_shown_and_lifted_one_by_one() {
        let mut lockout = lockout(LockoutConfig { address_threshold: 6, ..LockoutConfig::default() });
        guesses(&mut lockout, alice(), ip(1), 5, at(0));
        guesses(&mut lockout, Key::account("bob"), ip(1), 2, at(0));
        let locks = lockout.locks(at(1));
        let [address, pair] = locks.as_slice() else { panic!("{locks:?}") };
        assert_eq!((address.account, address.address, address.failures), (None, Some(ip(1)), 7));
        assert_eq!((pair.account, pair.address, pair.failures), (Some(alice()), Some(ip(1)), 5));
        assert_eq!(LockId::parse(&pair.id.to_string()), Some(pair.id));
        assert_eq!(lockout.lift(pair.id, at(1)).as_ref(), Some(pair));
        assert!(lockout.check(alice(), ip(1), at(1)).is_err(), "the address is still refused");
        assert!(lockout.lift(address.id, at(1)).is_some());
        assert_eq!(lockout.check(alice(), ip(1), at(1)), Ok(()));
        assert_eq!(lockout.lift(address.id, at(1)), None);
        guesses(&mut lockout, alice(), ip(2), 5, at(2));
        assert_eq!(lockout.status(alice(), at(2)).locked_for, Millis::from_secs(30));
        lockout.lift_account(alice());
        assert_eq!(lockout.status(alice(), at(2)), Standing::default());
        assert_eq!(lockout.check(alice(), ip(2), at(2)), Ok(()));
    }

    #[test]
    fn a_lock_of_a_whole_account_is_shown_and_lifted() {
        let mut lockout = lockout(LockoutConfig { account_threshold: 4, ..LockoutConfig::default() });
        for n in 0..4 {
            guess(&mut lockout, alice(), ip(n), "x", at(0));
        }
        assert!(lockout.check(alice(), ip(9), at(0)).is_err());
        let lock = lockout.locks(at(0))[0];
        assert_eq!((lock.account, lock.address), (Some(alice()), None));
        lockout.lift(lock.id, at(0)).unwrap();
        assert_eq!(lockout.check(alice(), ip(9), at(0)), Ok(()));
    }

    #[test]
    fn a_success_clears_the_owners_typing_errors() {
        let mut lockout = lockout(LockoutConfig::default());
        guesses(&mut lockout, alice(), ip(1), 4, at(1));
        lockout.success(alice(), ip(1), at(2));
        guesses(&mut lockout, alice(), ip(1), 4, at(3));
        assert_eq!(lockout.check(alice(), ip(1), at(4)), Ok(()));
    }

    #[test]
    fn ones_own_account_does_not_wash_an_address_that_guesses_at_others() {
        let mut lockout = lockout(LockoutConfig::default());
        for n in 0..19 {
            guess(&mut lockout, Key::account(&n.to_string()), ip(1), "x", at(1));
            lockout.success(Key::account("mallory"), ip(1), at(2));
        }
        guess(&mut lockout, Key::account("other"), ip(1), "x", at(3));
        assert!(lockout.check(Key::account("third"), ip(1), at(4)).is_err());
    }

    #[test]
    fn knocking_during_a_delay_does_not_prolong_it() {
        let mut lockout = lockout(LockoutConfig::default());
        guesses(&mut lockout, alice(), ip(1), 5, at(0));
        for second in 0..30 {
            assert!(lockout.check(alice(), ip(1), at(second)).is_err(), "{second}");
        }
        assert_eq!(lockout.check(alice(), ip(1), at(30)), Ok(()));
    }

    #[test]
    fn where_an_account_is_known_from_the_first_pause_begins_as_anywhere() {
        let mut lockout = lockout(LockoutConfig::default());
        lockout.success(alice(), ip(1), at(0));
        for n in 1..5 {
            guess(&mut lockout, alice(), ip(1), &format!("guess {n}"), at(1));
            assert_eq!(lockout.check(alice(), ip(1), at(1)), Ok(()), "{n}");
        }
        guess(&mut lockout, alice(), ip(1), "guess 5", at(1));
        assert!(lockout.check(alice(), ip(1), at(1)).is_err());
        assert!(lockout.check(alice(), ip(1), at(30)).is_err());
        assert_eq!(lockout.check(alice(), ip(1), at(32)), Ok(()), "it ends as anywhere");
    }

    #[test]
    fn failures_are_forgotten_after_a_quiet_hour() {
        let mut lockout = lockout(LockoutConfig::default());
        guesses(&mut lockout, alice(), ip(1), 4, at(0));
        assert_eq!(lockout.status(alice(), at(3599)), Standing { failures: 4, ..Standing::default() });
        assert_eq!(lockout.status(alice(), at(3600)), Standing::default());
        guess(&mut lockout, alice(), ip(1), "fifth", at(3600));
        assert_eq!(lockout.check(alice(), ip(1), at(3600)), Ok(()));
    }

    #[test]
    fn one_account_cannot_push_out_where_others_are_known_from() {
        let mut lockout = lockout(LockoutConfig { known_good: 16, ..LockoutConfig::default() });
        lockout.success(alice(), ip(1), at(0));
        for n in 0..200 {
            lockout.success(Key::account("mallory"), ip(n), at(1 + u64::from(n)));
        }
        assert!(lockout.is_known_good(alice(), ip(1)));
        assert!(lockout.is_known_good(Key::account("mallory"), ip(199)));
        assert!(!lockout.is_known_good(Key::account("mallory"), ip(191)));
    }

    #[test]
    fn a_renamed_account_is_known_from_where_it_was_and_leaves_nothing_to_the_old_name() {
        let (old, new) = (alice(), Key::account("alice2"));
        let mut lockout = lockout(LockoutConfig { account_threshold: 6, ..LockoutConfig::default() });
        for n in 0..3 {
            lockout.success(old, ip(n), at(u64::from(n)));
        }
        guesses(&mut lockout, old, ip(66), 6, at(5));
        guesses(&mut lockout, new, ip(67), 5, at(5));
        // Of an earlier account of that name.
        lockout.success(new, ip(200), at(5));
        let before = lockout.known_changes();
        lockout.rename_account(old, new);
        assert_ne!(lockout.known_changes(), before);
        assert!((0..3).all(|n| lockout.is_known_good(new, ip(n)) && !lockout.is_known_good(old, ip(n))));
        assert!(!lockout.is_known_good(new, ip(200)));
        assert_eq!(lockout.status(old, at(6)), Standing::default());
        assert_eq!(lockout.check(old, ip(66), at(6)), Ok(()));
        assert!(lockout.check(new, ip(67), at(6)).is_err(), "guessed at before anybody had the name");
        lockout.rename_account(new, new);
        assert!(lockout.is_known_good(new, ip(1)));
    }

    #[test]
    fn one_ipv6_site_and_one_mapped_ipv4_address_are_each_one_address() {
        assert_eq!(Address::parse("2001:db8:1:2::1"), Address::parse("2001:db8:1:2:ffff::9"));
        assert_ne!(Address::parse("2001:db8:1:2::1"), Address::parse("2001:db8:1:3::1"));
        assert_eq!(Address::parse("::ffff:192.0.2.1"), ip(1));
        assert_eq!(Address::parse("192.0.2.1:4711"), ip(1));
        assert_eq!(Address::parse("[2001:db8:1:2::1]:443"), Address::parse("2001:db8:1:2::1"));
        assert_eq!(Address::parse("nonsense"), Address::parse(""));
        assert_eq!(Address::parse("2001:db8:1:2::1").to_string(), "2001:db8:1:2::/64");
        assert_eq!(ip(1).to_string(), "192.0.2.1");
    }

    #[test]
    fn a_flood_of_invented_names_does_not_push_out_a_locked_pair() {
        let config = LockoutConfig { capacity: 64, ..LockoutConfig::default() };
        let mut lockout = lockout(config);
        guesses(&mut lockout, alice(), ip(1), 5, at(0));
        for invented in 0..5_000_u32 {
            let address = Address::parse(&format!("10.0.{}.{}", invented >> 8 & 255, invented & 255));
            guess(&mut lockout, Key::account(&format!("user{invented}")), address, "x", at(1));
            assert!(lockout.len() <= 3 * 64 + config.known_good);
        }
        assert!(lockout.check(alice(), ip(1), at(2)).is_err());
    }

    /// Who is there: owners who type right (and at first sometimes wrong), scripts with an old password, guessers.
    #[derive(Debug, Clone)]
    enum Step {
        Guess { account: u8, address: u8, word: u16 },
        Script { account: u8, address: u8 },
        Owner { account: u8, address: u8 },
        Wait(u64),
    }

    /// Guessers sit at addresses 100 to 109, owners and scripts at 0 to 9.
    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let guess = (0..3_u8, 100..110_u8, any::<u16>()).prop_map(|(account, address, word)| Step::Guess {
            account,
            address,
            word,
        });
        let script = (0..3_u8, 0..3_u8).prop_map(|(account, address)| Step::Script { account, address });
        let owner = (0..3_u8, 0..10_u8).prop_map(|(account, address)| Step::Owner { account, address });
        let wait = prop_oneof![0..2_000_u64, 0..200_000_u64, Just(u64::MAX / 4096)].prop_map(Step::Wait);
        proptest::collection::vec(prop_oneof![20 => guess, 3 => script, 1 => owner, 2 => wait], 0..600)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// However ten addresses guess, an owner gets in at the first attempt from an address that does not guess, even if a
        /// script with an old password runs there; and the guessers get no more attempts than stated.
        #[test]
        fn honest_clients_do_not_wait_and_guessers_do(steps in steps()) {
            let mut lockout = lockout(LockoutConfig::default());
            let mut now = Mono::from_millis(1);
            let name = |account: u8| Key::account(&account.to_string());
            // Guesses per pair and the time of the last, per account and window.
            let mut pairs: HashMap<(u8, u8), (u32, Mono)> = HashMap::new();
            let mut windows: HashMap<u8, (Mono, u32)> = HashMap::new();
            for step in steps {
                match step {
                    Step::Wait(millis) => now = now.saturating_add(Millis::new(millis)),
                    Step::Owner { account, address } => {
                        prop_assert_eq!(lockout.check(name(account), ip(address), now), Ok(()));
                        lockout.success(name(account), ip(address), now);
                    }
                    Step::Script { account, address } => {
                        prop_assert_eq!(lockout.check(name(account), ip(address), now), Ok(()));
                        guess(&mut lockout, name(account), ip(address), "the password of last year", now);
                    }
                    Step::Guess { account, address, word } => {
                        let Ok(()) = lockout.check(name(account), ip(address), now) else { continue };
                        if !guess(&mut lockout, name(account), ip(address), &word.to_string(), now).counted {
                            continue;
                        }
                        let pair = pairs.entry((account, address)).or_insert((0, now));
                        if now.since(pair.1) >= Millis::from_secs(3600) {
                            pair.0 = 0;
                        }
                        // After the fifth, one guess per pause at most.
                        prop_assert!(pair.0 < 5 || now.since(pair.1) >= Millis::from_secs(30));
                        *pair = (pair.0 + 1, now);
                        let window = windows.entry(account).or_insert((now, 0));
                        if now.since(window.0) >= Millis::from_secs(3600) {
                            *window = (now, 0);
                        }
                        window.1 += 1;
                        // NIST SP 800-63B: at most 100.
                        prop_assert!(window.1 <= 100, "{} guesses at one account in an hour", window.1);
                    }
                }
                for lock in lockout.locks(now) {
                    prop_assert!(lock.remaining <= Millis::from_secs(15 * 60));
                }
                prop_assert!(lockout.len() <= 3 * 1024 + 512);
            }
            // Nobody is out for ever.
            let later = now.saturating_add(Millis::from_secs(15 * 60));
            for (account, address) in (0..3_u8).flat_map(|account| (0..=255_u8).map(move |a| (account, a))) {
                prop_assert_eq!(lockout.check(name(account), ip(address), later), Ok(()));
            }
        }

        #[test]
        fn the_delay_grows_monotonically_and_stays_bounded(
            failures in 0..200_u32, threshold in 1..10_u32, first in 1..100_000_u64, max in 1..10_000_000_u64,
        ) {
            let config = LockoutConfig {
                threshold, first_delay: Millis::new(first), max_delay: Millis::new(max), ..LockoutConfig::default()
            };
            prop_assert!(config.delay(failures) <= config.delay(failures + 1));
            prop_assert!(config.delay(failures) <= config.max_delay);
            prop_assert_eq!(config.delay(failures).is_zero(), failures < threshold);
        }

        #[test]
        fn no_text_makes_an_address_or_a_lock_id_panic(text in "\\PC{0,60}") {
            let _ = Address::parse(&text).to_string();
            let _ = LockId::parse(&text);
        }
    }
}
