//! Slowing down who guesses: failures are counted per account and per address.
//!
//! After [`LockoutConfig::threshold`] failures the account name, and the address, are refused for
//! [`LockoutConfig::first_delay`]; every further failure doubles the delay up to [`LockoutConfig::max_delay`].
//!
//! Four properties matter more than the counting:
//!
//! - *Nothing tells which names exist.* The table knows names only as hashes and treats an invented one as a real
//!   one. (A hash also because people type passwords into the name field.)
//! - *Nobody is locked out for ever.* Attempts during a delay are refused without being counted, so a delay ends
//!   after at most `max_delay`, whoever keeps knocking. And an address from which the account was used with
//!   success is not refused for failures made elsewhere: an attacker who knows an administrator's name cannot
//!   keep the administrator's own workstation out. That address's own failures still count against it.
//! - *One account does not buy guesses at others.* A success clears the account's failures; it clears those of the
//!   address only when they were all made for this same account.
//! - *The tables are bounded*, and to push an entry out costs more failed logins than it is worth:
//!   see [`LockoutConfig::capacity`].

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use sha2::{Digest as _, Sha256};
use units::{Millis, Mono};

/// The rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockoutConfig {
    /// Failures of one account name, or from one address, before the first delay. At least 1.
    pub threshold: u32,
    /// Delay after `threshold` failures.
    pub first_delay: Millis,
    /// The delay stops doubling here.
    pub max_delay: Millis,
    /// Failures are forgotten after this long without another one. Not shorter than `max_delay`, or else
    /// waiting a delay out would start the count anew.
    pub forget_after: Millis,
    /// Entries per table (one for accounts, one for addresses), about 100 bytes each.
    ///
    /// When a table is full, the entry with the fewest failures goes, the oldest of these first. To push out an entry at
    /// the threshold an attacker has to raise all others to it: 1,024 entries x 5 failures, from 1,024 addresses, for five guesses.
    /// At two hashes at a time that is 36 s on a desktop core (14 ms each) and about a quarter of an hour on a Cortex-A7, which is
    /// the longest delay.
    pub capacity: usize,
    /// Pairs of account and address that are remembered as having succeeded.
    pub known_good: usize,
}

impl Default for LockoutConfig {
    fn default() -> Self {
        Self {
            threshold: 5,
            first_delay: Millis::from_secs(30),
            max_delay: Millis::from_secs(15 * 60),
            forget_after: Millis::from_secs(60 * 60),
            capacity: 1024,
            known_good: 256,
        }
    }
}

impl LockoutConfig {
    /// How long to refuse after `failures` failures. Grows monotonically; zero below the threshold.
    #[must_use]
    pub fn delay(&self, failures: u32) -> Millis {
        let Some(over) = failures.checked_sub(self.threshold) else { return Millis::ZERO };
        let doubled = 1_u64.checked_shl(over).and_then(|factor| self.first_delay.get().checked_mul(factor));
        Millis::new(doubled.map_or(self.max_delay.get(), |delay| delay.min(self.max_delay.get())))
    }
}

/// What failures are counted under: half a SHA-256 of a name or an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; 16]);

impl Key {
    /// The key of an account name exactly as it was sent, whether such an account exists or not.
    #[must_use]
    pub fn account(name: &str) -> Self {
        Self::of(b'n', name.as_bytes())
    }

    fn of(kind: u8, bytes: &[u8]) -> Self {
        let digest = Sha256::new_with_prefix([kind]).chain_update(bytes).finalize();
        let mut key = [0; 16];
        key.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        Self(key)
    }
}

/// Where an attempt came from, as far as counting goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(Key);

impl Address {
    /// Reads an address, with or without a port. IPv6 is counted per /64, the smallest block a site is given: one
    /// host may take any of its 2^64 addresses. What is no address is counted together as one.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let ip =
            text.parse::<IpAddr>().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
        Self(match ip.map(|ip| ip.to_canonical()) {
            Some(IpAddr::V4(v4)) => Key::of(b'4', &v4.octets()),
            Some(IpAddr::V6(v6)) => {
                let network = Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX));
                Key::of(b'6', &network.octets())
            }
            None => Key::of(b'?', &[]),
        })
    }
}

/// The attempt is refused without looking at the password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many failed logins; try again in {} s", remaining.get().div_ceil(1000))]
pub struct Locked {
    /// Time until the next attempt is looked at.
    pub remaining: Millis,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    failures: u32,
    last: Mono,
    until: Mono,
    /// In the table of addresses: the only account the failures were for. In that of accounts: the only address they came from.
    only: Option<Key>,
}

impl Entry {
    fn is_stale(&self, now: Mono, config: &LockoutConfig) -> bool {
        now.since(self.last.max(self.until)) >= config.forget_after
    }
}

/// Failures by account and by address.
#[derive(Debug)]
pub struct Lockout {
    config: LockoutConfig,
    accounts: HashMap<Key, Entry>,
    addresses: HashMap<Key, Entry>,
    known_good: HashMap<(Key, Address), Mono>,
}

impl Lockout {
    /// Nothing has failed yet.
    #[must_use]
    pub fn new(config: LockoutConfig) -> Self {
        Self { config, accounts: HashMap::new(), addresses: HashMap::new(), known_good: HashMap::new() }
    }

    /// Whether an attempt may be made now. Ask before the password is verified and again before the outcome is
    /// told: a delay may have begun in between.
    ///
    /// # Errors
    /// [`Locked`] with the longer of the delays of account and address.
    pub fn check(&self, account: Key, address: Address, now: Mono) -> Result<(), Locked> {
        let remaining = |entry: Option<&Entry>| entry.map_or(Millis::ZERO, |entry| now.until(entry.until));
        let by_address = remaining(self.addresses.get(&address.0));
        let by_account = if self.is_known_good(account, address) {
            Millis::ZERO
        } else {
            remaining(self.accounts.get(&account))
        };
        let remaining = by_address.max(by_account);
        if remaining.is_zero() { Ok(()) } else { Err(Locked { remaining }) }
    }

    /// Whether the account was used from that address with success, and the address has not been refused since.
    #[must_use]
    pub fn is_known_good(&self, account: Key, address: Address) -> bool {
        self.known_good.contains_key(&(account, address))
    }

    /// Counts a wrong password, an unknown name or a disabled account. The caller has asked [`Self::check`].
    pub fn failure(&mut self, account: Key, address: Address, now: Mono) {
        let config = self.config;
        count(&mut self.accounts, account, address.0, now, &config);
        let locked = count(&mut self.addresses, address.0, account, now, &config);
        if locked {
            self.known_good.retain(|(_, good), _| *good != address);
        }
    }

    /// Counts a right password. It clears failures of the account only if all came from the same address: an owner who logs in
    /// all the time must not give a guesser elsewhere a fresh count each time. Those failures do not refuse the owner, whose
    /// address is [known](Self::is_known_good) from now on.
    pub fn success(&mut self, account: Key, address: Address, now: Mono) {
        if self.accounts.get(&account).is_some_and(|entry| entry.only == Some(address.0)) {
            self.accounts.remove(&account);
        }
        if self.addresses.get(&address.0).is_some_and(|entry| entry.only == Some(account)) {
            self.addresses.remove(&address.0);
        }
        if !self.known_good.contains_key(&(account, address))
            && self.known_good.len() >= self.config.known_good
        {
            let oldest = self.known_good.iter().min_by_key(|(_, used)| **used).map(|(pair, _)| *pair);
            if let Some(oldest) = oldest {
                self.known_good.remove(&oldest);
            }
        }
        if self.config.known_good > 0 {
            self.known_good.insert((account, address), now);
        }
    }

    /// Forgets what was counted for an account and where it was used: its password was set by somebody with the
    /// right to, or it was deleted.
    pub fn forget_account(&mut self, account: Key) {
        self.accounts.remove(&account);
        self.known_good.retain(|(good, _), _| *good != account);
    }

    /// Failures counted for an account name and the time it stays refused, for an administrator to look at.
    #[must_use]
    pub fn status(&self, account: Key, now: Mono) -> (u32, Millis) {
        self.accounts
            .get(&account)
            .filter(|entry| !entry.is_stale(now, &self.config))
            .map_or((0, Millis::ZERO), |entry| (entry.failures, now.until(entry.until)))
    }

    /// Entries held, at most twice [`LockoutConfig::capacity`] plus [`LockoutConfig::known_good`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.accounts.len() + self.addresses.len() + self.known_good.len()
    }

    /// Whether nothing is counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Counts one failure of `key` that involves `other`; tells whether the entry is refused from now on.
fn count(table: &mut HashMap<Key, Entry>, key: Key, other: Key, now: Mono, config: &LockoutConfig) -> bool {
    if !table.contains_key(&key) && table.len() >= config.capacity {
        table.retain(|_, entry| !entry.is_stale(now, config));
        if table.len() >= config.capacity {
            let least =
                table.iter().min_by_key(|(_, entry)| (entry.failures, entry.last)).map(|(key, _)| *key);
            if let Some(least) = least {
                table.remove(&least);
            }
        }
    }
    let fresh = Entry { failures: 0, last: now, until: Mono::ZERO, only: Some(other) };
    let entry = table.entry(key).or_insert(fresh);
    if entry.is_stale(now, config) {
        *entry = fresh;
    }
    entry.failures = entry.failures.saturating_add(1);
    entry.last = now;
    if entry.only != Some(other) {
        entry.only = None;
    }
    let delay = config.delay(entry.failures);
    // Never shortened: two attempts that ran side by side both count, and the later outcome must not undercut.
    entry.until = entry.until.max(now.saturating_add(delay));
    !delay.is_zero()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(secs: u64) -> Mono {
        Mono::from_millis(secs * 1000)
    }

    fn ip(last: u8) -> Address {
        Address::parse(&format!("192.0.2.{last}"))
    }

    fn alice() -> Key {
        Key::account("alice")
    }

    #[test]
    fn the_delay_starts_at_the_fifth_failure_and_doubles_to_a_quarter_of_an_hour() {
        let config = LockoutConfig::default();
        let secs: Vec<u64> = (0..14).map(|failures| config.delay(failures).as_secs()).collect();
        assert_eq!(secs, [0, 0, 0, 0, 0, 30, 60, 120, 240, 480, 900, 900, 900, 900]);
        assert_eq!(config.delay(u32::MAX).as_secs(), 900);
    }

    #[test]
    fn an_account_is_refused_from_every_address_but_one_it_was_used_from() {
        let mut lockout = Lockout::new(LockoutConfig::default());
        lockout.success(alice(), ip(1), at(0));
        for attempt in 0..5 {
            lockout.check(alice(), ip(attempt + 10), at(1)).unwrap();
            lockout.failure(alice(), ip(attempt + 10), at(1));
        }
        let locked = lockout.check(alice(), ip(99), at(2)).unwrap_err();
        assert_eq!(locked.remaining, Millis::from_secs(29));
        assert_eq!(locked.to_string(), "too many failed logins; try again in 29 s");
        assert_eq!(lockout.check(alice(), ip(1), at(2)), Ok(()));
        assert_eq!(lockout.check(Key::account("bob"), ip(99), at(2)), Ok(()));
    }

    #[test]
    fn a_known_good_address_that_guesses_loses_its_standing() {
        let mut lockout = Lockout::new(LockoutConfig::default());
        lockout.success(alice(), ip(1), at(0));
        for _ in 0..5 {
            lockout.failure(alice(), ip(1), at(1));
        }
        assert!(lockout.check(alice(), ip(1), at(2)).is_err());
        assert!(!lockout.is_known_good(alice(), ip(1)));
    }

    #[test]
    fn an_address_is_refused_for_every_account_after_five_names() {
        let mut lockout = Lockout::new(LockoutConfig::default());
        for name in ["a", "b", "c", "d", "e"] {
            lockout.failure(Key::account(name), ip(7), at(1));
        }
        assert!(lockout.check(alice(), ip(7), at(2)).is_err());
        assert_eq!(lockout.check(alice(), ip(8), at(2)), Ok(()));
    }

    #[test]
    fn a_success_clears_the_owners_typing_errors() {
        let mut lockout = Lockout::new(LockoutConfig::default());
        for _ in 0..4 {
            lockout.failure(alice(), ip(1), at(1));
        }
        lockout.success(alice(), ip(1), at(2));
        for _ in 0..4 {
            lockout.failure(alice(), ip(1), at(3));
        }
        assert_eq!(lockout.check(alice(), ip(1), at(4)), Ok(()));
    }

    #[test]
    fn an_owner_who_logs_in_all_the_time_does_not_reset_the_count_of_a_guesser_elsewhere() {
        let mut lockout = Lockout::new(LockoutConfig::default());
        // A poller with HTTP Basic at one address, and a guess from a fresh network between any two of its requests.
        let mut taken = 0;
        for second in 0..20_u8 {
            lockout.success(alice(), ip(1), at(second.into()));
            let from = Address::parse(&format!("2001:db8:0:{second}::1"));
            if lockout.check(alice(), from, at(second.into())).is_ok() {
                lockout.failure(alice(), from, at(second.into()));
                taken += 1;
            }
        }
        assert_eq!(taken, 5);
        assert_eq!(lockout.check(alice(), ip(1), at(20)), Ok(()), "the poller goes on");
    }

    #[test]
    fn ones_own_account_does_not_wash_an_address_that_guesses_at_others() {
        let mut lockout = Lockout::new(LockoutConfig::default());
        for _ in 0..4 {
            lockout.failure(Key::account("victim"), ip(1), at(1));
        }
        lockout.success(Key::account("mallory"), ip(1), at(2));
        lockout.failure(Key::account("other"), ip(1), at(3));
        assert!(lockout.check(Key::account("third"), ip(1), at(4)).is_err());
    }

    #[test]
    fn knocking_during_a_delay_does_not_prolong_it() {
        let mut lockout = Lockout::new(LockoutConfig::default());
        for _ in 0..5 {
            lockout.failure(alice(), ip(1), at(0));
        }
        for second in 0..30 {
            assert!(lockout.check(alice(), ip(1), at(second)).is_err(), "{second}");
        }
        assert_eq!(lockout.check(alice(), ip(1), at(30)), Ok(()));
    }

    #[test]
    fn failures_are_forgotten_after_a_quiet_hour() {
        let mut lockout = Lockout::new(LockoutConfig::default());
        for _ in 0..4 {
            lockout.failure(alice(), ip(1), at(0));
        }
        assert_eq!(lockout.status(alice(), at(3599)), (4, Millis::ZERO));
        assert_eq!(lockout.status(alice(), at(3600)), (0, Millis::ZERO));
        lockout.failure(alice(), ip(1), at(3600));
        assert_eq!(lockout.check(alice(), ip(1), at(3600)), Ok(()));
    }

    #[test]
    fn one_ipv6_site_and_one_mapped_ipv4_address_are_each_one_address() {
        assert_eq!(Address::parse("2001:db8:1:2::1"), Address::parse("2001:db8:1:2:ffff::9"));
        assert_ne!(Address::parse("2001:db8:1:2::1"), Address::parse("2001:db8:1:3::1"));
        assert_eq!(Address::parse("::ffff:192.0.2.1"), ip(1));
        assert_eq!(Address::parse("192.0.2.1:4711"), ip(1));
        assert_eq!(Address::parse("[2001:db8:1:2::1]:443"), Address::parse("2001:db8:1:2::1"));
        assert_eq!(Address::parse("nonsense"), Address::parse(""));
    }

    #[test]
    fn a_flood_of_invented_names_does_not_push_out_a_locked_account() {
        let config = LockoutConfig { capacity: 64, ..LockoutConfig::default() };
        let mut lockout = Lockout::new(config);
        for _ in 0..5 {
            lockout.failure(alice(), ip(1), at(0));
        }
        for invented in 0..5_000_u32 {
            let address = Address::parse(&format!("10.0.{}.{}", invented >> 8 & 255, invented & 255));
            lockout.failure(Key::account(&format!("user{invented}")), address, at(1));
            assert!(lockout.len() <= 2 * 64 + config.known_good);
        }
        assert!(lockout.check(alice(), ip(2), at(2)).is_err());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Try { name: u8, address: u8, right: bool },
        Wait(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let attempt = (0..4_u8, 0..4_u8, proptest::bool::weighted(0.1))
            .prop_map(|(name, address, right)| Step::Try { name, address, right });
        // Waits from nothing to a jump of years.
        let wait = prop_oneof![0..2_000_u64, 0..2_000_000_u64, Just(u64::MAX / 4)].prop_map(Step::Wait);
        proptest::collection::vec(prop_oneof![4 => attempt, 1 => wait], 0..200)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Against a model that keeps the whole history: an account is admitted from a strange address only if
        /// the delay its failures since the last success that clears them have earned is over.
        #[test]
        fn never_admits_during_a_delay_and_always_after_it(steps in steps()) {
            let config = LockoutConfig { capacity: 8, known_good: 0, forget_after: Millis::MAX, ..LockoutConfig::default() };
            let mut lockout = Lockout::new(config);
            let mut now = Mono::ZERO;
            // Per name: failures in a row, when the delay ends, and a bit per address they came from.
            let mut model = [(0_u32, Mono::ZERO, 0_u8); 4];
            for step in steps {
                match step {
                    Step::Wait(millis) => now = now.saturating_add(Millis::new(millis)),
                    Step::Try { name, address, right } => {
                        let key = Key::account(&name.to_string());
                        let slot = &mut model[usize::from(name)];
                        match lockout.check(key, ip(address), now) {
                            Err(locked) => {
                                prop_assert!(locked.remaining <= config.max_delay);
                                prop_assert!(!locked.remaining.is_zero());
                            }
                            Ok(()) => {
                                prop_assert!(now >= slot.1, "admitted while the account is locked");
                                if right {
                                    lockout.success(key, ip(address), now);
                                    if slot.2 == 1 << address {
                                        *slot = (0, Mono::ZERO, 0);
                                    }
                                } else {
                                    lockout.failure(key, ip(address), now);
                                    slot.0 += 1;
                                    slot.1 = now.saturating_add(config.delay(slot.0));
                                    slot.2 |= 1 << address;
                                }
                            }
                        }
                        // From nowhere else does anything stand in the way but the account's own delay.
                        let stranger = lockout.check(key, ip(200), now);
                        prop_assert_eq!(stranger.is_ok(), now >= model[usize::from(name)].1);
                    }
                }
                prop_assert!(lockout.len() <= 16);
            }
            // Nobody is out for ever.
            let later = now.saturating_add(config.max_delay);
            for (name, address) in (0..4_u8).flat_map(|name| (0..4_u8).map(move |address| (name, address))) {
                prop_assert_eq!(lockout.check(Key::account(&name.to_string()), ip(address), later), Ok(()));
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
        fn no_text_makes_an_address_panic(text in "\\PC{0,60}") {
            let _ = Address::parse(&text);
        }
    }
}
