//! The tables as bytes: for the next process, which must not give guessers a fresh count.
//!
//! ```text
//!   "LCK" version(1)   then four times: entries(4), entries of a fixed length   numbers big-endian, times in ms of the caller's clock
//!   pair      key(16) address(9) failures(4) last(8) until(8)
//!   address   address(9) failures(4) last(8) until(8) only?(1) only(16)
//!   account   key(16) newcomers(8) repeaters(8)
//!   known     key(16) address(9) last used(8)
//! ```
//!
//! Nothing of a wrong password is among them, not even the sixteen bits that recognise a repetition: after a restart a script with an old
//! password is counted once more.

use std::collections::HashMap;

use units::Mono;

use super::{Address, Key, Lockout, LockoutConfig, Network, Pair, RunOff, Source, TAGS, evict};

const HEAD: [u8; 4] = *b"LCK\x01";
/// Bytes of the entries of each table.
const ENTRIES: [usize; 4] = [45, 46, 32, 33];

impl LockoutConfig {
    /// Bytes [`Lockout::save`] makes at most.
    #[must_use]
    pub fn saved_max(&self) -> usize {
        let places = [self.capacity, self.capacity, self.capacity, self.known_good];
        let tables = places.iter().zip(ENTRIES).map(|(places, bytes)| places.saturating_mul(bytes) + 4);
        tables.fold(HEAD.len(), usize::saturating_add)
    }
}

impl Lockout {
    /// What is counted, as bytes for [`Self::restore`].
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let mut to = HEAD.to_vec();
        let count = |to: &mut Vec<u8>, entries: usize| {
            to.extend(u32::try_from(entries).unwrap_or(u32::MAX).to_be_bytes());
        };
        let time = |to: &mut Vec<u8>, at: Mono| to.extend(at.as_millis().to_be_bytes());
        count(&mut to, self.pairs.len());
        for ((account, address), pair) in &self.pairs {
            to.extend(account.0);
            to.extend(address.bytes());
            to.extend(pair.failures.to_be_bytes());
            time(&mut to, pair.last);
            time(&mut to, pair.until);
        }
        count(&mut to, self.addresses.len());
        for (address, source) in &self.addresses {
            to.extend(address.bytes());
            to.extend(source.failures.to_be_bytes());
            time(&mut to, source.last);
            time(&mut to, source.until);
            to.push(u8::from(source.only.is_some()));
            to.extend(source.only.map_or([0; 16], |key| key.0));
        }
        count(&mut to, self.accounts.len());
        for (account, run_off) in &self.accounts {
            to.extend(account.0);
            time(&mut to, run_off.newcomers);
            time(&mut to, run_off.repeaters);
        }
        count(&mut to, self.known_good.len());
        for ((account, address), used) in &self.known_good {
            to.extend(account.0);
            to.extend(address.bytes());
            time(&mut to, *used);
        }
        to
    }

    /// What another process counted up to now, by a clock that both share. `None` for bytes [`Self::save`] has not made. No pause is
    /// longer than one that begins now, whatever the bytes say, and no table larger than `config` has it.
    #[must_use]
    pub fn restore(config: LockoutConfig, secret: [u8; 32], bytes: &[u8], now: Mono) -> Option<Self> {
        let past = |at: Mono| at.min(now);
        let pause = |at: Mono| at.min(now.saturating_add(config.max_delay.max(config.address_delay)));
        let run_off = |at: Mono| at.min(now.saturating_add(config.forget_after));
        let mut from = Reader(bytes);
        (from.take::<4>()? == HEAD).then_some(())?;
        let mut lockout = Self::new(config, secret);
        for _ in 0..from.count(0)? {
            let pair = (from.key()?, from.address()?);
            let (failures, last, until) = (from.number()?, past(from.time()?), pause(from.time()?));
            lockout.pairs.insert(pair, Pair { failures, last, until, tags: [None; TAGS] });
        }
        for _ in 0..from.count(1)? {
            let address = from.address()?;
            let (failures, last, until) = (from.number()?, past(from.time()?), pause(from.time()?));
            let ([any], key) = (from.take()?, from.key()?);
            let only = (any != 0).then_some(key);
            lockout.addresses.insert(address, Source { failures, last, until, only });
        }
        for _ in 0..from.count(2)? {
            let account = from.key()?;
            let (newcomers, repeaters) = (run_off(from.time()?), run_off(from.time()?));
            lockout.accounts.insert(account, RunOff { newcomers, repeaters });
        }
        for _ in 0..from.count(3)? {
            let pair = (from.key()?, from.address()?);
            lockout.known_good.insert(pair, past(from.time()?));
        }
        from.0.is_empty().then_some(())?;
        shorten(&mut lockout.pairs, config.capacity, |pair| (pair.failures, pair.last));
        shorten(&mut lockout.addresses, config.capacity, |source| (source.failures, source.last));
        shorten(&mut lockout.accounts, config.capacity, |run_off| run_off.newcomers.max(run_off.repeaters));
        shorten(&mut lockout.known_good, config.known_good, |used| *used);
        Some(lockout)
    }
}

fn shorten<K: Copy + Eq + std::hash::Hash, V, W: Ord>(
    table: &mut HashMap<K, V>,
    places: usize,
    worth: impl Fn(&V) -> W,
) {
    while table.len() > places {
        evict(table, places, &worth);
    }
}

pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    pub(super) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    /// Entries of a table that are there.
    fn count(&mut self, table: usize) -> Option<u32> {
        let entries = self.number()?;
        let bytes = usize::try_from(entries).ok()?.checked_mul(*ENTRIES.get(table)?)?;
        (bytes <= self.0.len()).then_some(entries)
    }

    pub(super) fn number(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn time(&mut self) -> Option<Mono> {
        self.take().map(u64::from_be_bytes).map(Mono::from_millis)
    }

    pub(super) fn key(&mut self) -> Option<Key> {
        self.take().map(Key)
    }

    pub(super) fn address(&mut self) -> Option<Address> {
        let ([kind], bits) = (self.take()?, u64::from_be_bytes(self.take()?));
        Some(Address(match kind {
            b'4' => Network::V4(u32::try_from(bits).ok()?),
            b'6' => Network::V6(bits),
            b'?' => Network::Unknown,
            _ => return None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use units::Millis;

    use super::*;
    use crate::Password;

    fn at(secs: u64) -> Mono {
        Mono::from_millis(secs * 1000)
    }

    fn restored(lockout: &Lockout, now: Mono) -> Lockout {
        Lockout::restore(lockout.config, [9; 32], &lockout.save(), now).expect("what was saved")
    }

    fn guesses(lockout: &mut Lockout, name: &str, address: &str, count: u32, now: Mono) {
        for n in 0..count {
            let word = Password::new(format!("{n} {}", now.as_millis()));
            lockout.failure(Key::account(name), Address::parse(address), &word, now);
        }
    }

    #[test]
    fn a_guesser_gets_nothing_from_a_restart_and_an_owner_loses_nothing() {
        let config = LockoutConfig::default();
        let (alice, bad, good) =
            (Key::account("alice"), Address::parse("192.0.2.66"), Address::parse("2001:db8::1"));
        let mut lockout = Lockout::new(config, [7; 32]);
        lockout.success(alice, good, at(1));
        guesses(&mut lockout, "alice", "192.0.2.66", 3, at(10));
        // Whoever can bring about a restart does so after each guess.
        for n in 0..2 {
            assert_eq!(lockout.check(alice, bad, at(11 + n)), Ok(()));
            guesses(&mut lockout, "alice", "192.0.2.66", 1, at(11 + n));
            lockout = restored(&lockout, at(11 + n));
        }
        assert_eq!(lockout.check(alice, bad, at(13)).unwrap_err().remaining, Millis::from_secs(29));
        assert!(lockout.is_known_good(alice, good));
        assert_eq!(lockout.status(alice, at(13)).failures, 5);
        assert_eq!(lockout.save().len(), restored(&lockout, at(13)).save().len());
    }

    #[test]
    fn a_clock_that_is_behind_and_a_smaller_table_make_no_pause_longer_and_no_table_larger() {
        let config = LockoutConfig { capacity: 4, known_good: 2, ..LockoutConfig::default() };
        let mut lockout = Lockout::new(LockoutConfig::default(), [7; 32]);
        for n in 0..30 {
            let (name, address) = (format!("u{n}"), format!("10.0.0.{n}"));
            guesses(&mut lockout, &name, &address, if n == 7 { 9 } else { 1 }, at(1_000_000));
            lockout.success(Key::account(&format!("good{n}")), Address::parse(&address), at(1_000_000));
        }
        let saved = lockout.save();
        assert!(saved.len() <= lockout.config.saved_max());
        let lockout = Lockout::restore(config, [9; 32], &saved, at(5)).unwrap();
        assert!(lockout.len() <= 3 * 4 + 2 && lockout.save().len() <= config.saved_max());
        assert!(!lockout.locks(at(5)).is_empty(), "the worst is kept");
        assert!(lockout.locks(at(5)).iter().all(|lock| lock.remaining <= config.max_delay));
        assert!(lockout.locks(at(5 + 15 * 60)).is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn damaged_bytes_are_nothing_or_tables_within_their_bounds(
            cut in 0..400_usize, flips in proptest::collection::vec((0..400_usize, any::<u8>()), 0..4),
        ) {
            let mut lockout = Lockout::new(LockoutConfig::default(), [7; 32]);
            guesses(&mut lockout, "alice", "192.0.2.66", 6, at(10));
            lockout.success(Key::account("bob"), Address::parse("2001:db8::1"), at(11));
            let mut bytes = lockout.save();
            for (place, with) in flips {
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= with;
                }
            }
            let whole = bytes.len();
            bytes.truncate(cut);
            let read = Lockout::restore(lockout.config, [7; 32], &bytes, at(12));
            prop_assert!(cut >= whole || read.is_none(), "half of it is none of it");
            for lock in read.iter().flat_map(|read| read.locks(at(12))) {
                prop_assert!(lock.remaining <= Millis::from_secs(3600));
            }
        }
    }
}
