//! Where accounts are known from, as bytes for the next boot, which has another clock: the order of use is kept, and no time.
//!
//! ```text
//!   "KNW" version(1)   entries(4)   key(16) address(9) each, the one not used for longest first   check(8)
//! ```
//!
//! Numbers are big-endian; the check is the head of a SHA-256 of all before it.

use sha2::{Digest as _, Sha256};
use units::{Millis, Mono};

use super::saved::Reader;
use super::{Address, Key, Lockout, LockoutConfig};

const HEAD: [u8; 4] = *b"KNW\x01";
/// Bytes of an entry.
const ENTRY: usize = 25;
/// Bytes of the check.
const CHECK: usize = 8;

/// Pairs of an account and an address it was used from with success, the one not used for longest first. No names are in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownAddresses(Vec<(Key, Address)>);

impl KnownAddresses {
    /// Adds a pair as the one used last, unless it is there.
    pub fn add(&mut self, account: Key, address: Address) {
        if !self.0.contains(&(account, address)) {
            self.0.push((account, address));
        }
    }

    /// Whether the same pairs are in both, in whatever order.
    #[must_use]
    pub fn same_pairs(&self, other: &Self) -> bool {
        let sorted = |known: &Self| {
            let mut pairs = known.0.clone();
            pairs.sort_unstable();
            pairs
        };
        sorted(self) == sorted(other)
    }

    /// As bytes for [`Self::from_bytes`].
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut to = HEAD.to_vec();
        to.extend(u32::try_from(self.0.len()).unwrap_or(u32::MAX).to_be_bytes());
        for (account, address) in &self.0 {
            to.extend(account.0);
            to.extend(address.bytes());
        }
        let check = check(&to);
        to.extend(check);
        to
    }

    /// What [`Self::to_bytes`] has made; `None` for other bytes, damaged ones and those of another version.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (body, found) = bytes.split_last_chunk::<CHECK>()?;
        (check(body) == *found).then_some(())?;
        let mut from = Reader(body);
        (from.take::<4>()? == HEAD).then_some(())?;
        let entries = usize::try_from(from.number()?).ok()?;
        (entries.checked_mul(ENTRY)? == from.0.len()).then_some(())?;
        (0..entries).map(|_| Some((from.key()?, from.address()?))).collect::<Option<_>>().map(Self)
    }
}

fn check(body: &[u8]) -> [u8; CHECK] {
    let mut check = [0; CHECK];
    check.iter_mut().zip(Sha256::digest(body)).for_each(|(to, from)| *to = from);
    check
}

impl LockoutConfig {
    /// Bytes [`KnownAddresses::to_bytes`] makes at most of [`Lockout::known`].
    #[must_use]
    pub fn known_max(&self) -> usize {
        self.known_good.saturating_mul(ENTRY).saturating_add(HEAD.len() + 4 + CHECK)
    }
}

impl Lockout {
    /// Where accounts are known from.
    #[must_use]
    pub fn known(&self) -> KnownAddresses {
        let mut pairs: Vec<_> = self.known_good.iter().map(|(pair, used)| (*used, *pair)).collect();
        pairs.sort_unstable();
        KnownAddresses(pairs.into_iter().map(|(_, pair)| pair).collect())
    }

    /// Replaces where accounts are known from. The bounds hold whatever `known` has: the last of each account, and of all, stay.
    pub fn restore_known(&mut self, known: &KnownAddresses, now: Mono) {
        self.known_good.clear();
        self.known_changes = self.known_changes.wrapping_add(1);
        for (&(account, address), younger) in known.0.iter().zip((0..known.0.len()).rev()) {
            let since = Millis::new(u64::try_from(younger).unwrap_or(u64::MAX));
            self.know(account, address, now.saturating_sub(since));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{alice, at, ip};
    use super::*;
    use crate::Password;

    /// The table after a boot, `now` by its clock.
    fn booted(lockout: &Lockout, config: LockoutConfig, now: Mono) -> Lockout {
        let known = KnownAddresses::from_bytes(&lockout.known().to_bytes()).expect("what was saved");
        assert_eq!(known, lockout.known());
        let mut booted = Lockout::new(config, [9; 32]);
        booted.restore_known(&known, now);
        booted
    }

    #[test]
    fn an_owner_gets_in_after_a_boot_where_a_flood_shuts_newcomers_out() {
        let config = LockoutConfig::default();
        let mut lockout = Lockout::new(config, [7; 32]);
        lockout.success(alice(), ip(1), at(80_000));
        let mut lockout = booted(&lockout, config, at(20));
        for (address, word) in (100..130_u8).flat_map(|address| ["a", "b"].map(|word| (address, word))) {
            if lockout.check(alice(), ip(address), at(21)).is_ok() {
                lockout.failure(alice(), ip(address), &Password::new(word.to_owned()), at(21));
            }
        }
        assert!(lockout.check(alice(), ip(2), at(22)).is_err(), "a newcomer");
        assert_eq!(lockout.check(alice(), ip(1), at(22)), Ok(()));
    }

    #[test]
    fn the_order_of_use_and_the_bounds_hold_over_a_boot() {
        let config = LockoutConfig { known_good: 10, ..LockoutConfig::default() };
        let mut lockout = Lockout::new(LockoutConfig::default(), [7; 32]);
        for n in 0..8 {
            lockout.success(alice(), ip(n), at(9000 + u64::from(n)));
        }
        lockout.success(alice(), ip(0), at(9100));
        for n in 0..5_u8 {
            lockout.success(Key::account(&format!("other{n}")), ip(n), at(9200));
        }
        assert!(lockout.known().to_bytes().len() <= LockoutConfig::default().known_max());
        // A clock that has only just begun.
        let mut lockout = booted(&lockout, config, at(1));
        assert_eq!(lockout.len(), 10);
        assert!(lockout.known().to_bytes().len() <= config.known_max());
        assert!((0..5_u8).all(|n| lockout.is_known_good(Key::account(&format!("other{n}")), ip(n))));
        assert!(!lockout.is_known_good(alice(), ip(1)), "the one not used for longest made room");
        assert!(lockout.is_known_good(alice(), ip(0)));
        // What is used now is younger than all of before.
        lockout.success(alice(), ip(1), at(1));
        assert!(lockout.is_known_good(alice(), ip(0)) && lockout.is_known_good(alice(), ip(1)));
    }

    #[test]
    fn only_another_pair_is_a_change_of_what_is_known() {
        let mut lockout = Lockout::new(LockoutConfig::default(), [7; 32]);
        let first = lockout.known_changes();
        lockout.success(alice(), ip(1), at(1));
        let second = lockout.known_changes();
        assert_ne!(first, second);
        lockout.success(alice(), ip(1), at(2));
        lockout.forget_account(Key::account("bob"));
        assert_eq!(lockout.known_changes(), second);
        lockout.forget_account(alice());
        assert_ne!(lockout.known_changes(), second);
        assert_eq!(lockout.known(), KnownAddresses::default());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn damaged_bytes_are_nothing(cut in 0..200_usize, place in 0..200_usize, with in 1..=255_u8) {
            let mut known = KnownAddresses::default();
            for n in 0..4 {
                known.add(alice(), ip(n));
                known.add(Key::account("bob"), Address::parse("2001:db8::1"));
            }
            let bytes = known.to_bytes();
            prop_assert_eq!(KnownAddresses::from_bytes(&bytes), Some(known));
            let mut flipped = bytes.clone();
            if let Some(byte) = flipped.get_mut(place) {
                *byte ^= with;
                prop_assert_eq!(KnownAddresses::from_bytes(&flipped), None);
            }
            let short = bytes.get(..cut.min(bytes.len() - 1)).unwrap_or_default();
            prop_assert_eq!(KnownAddresses::from_bytes(short), None);
        }

        #[test]
        fn whatever_is_read_is_read_again(
            count in 0..4_u32, entries in proptest::collection::vec((any::<[u8; 16]>(), any::<[u8; 9]>()), 0..4),
            kinds in any::<bool>(),
        ) {
            let mut body = [HEAD.as_slice(), &count.to_be_bytes()].concat();
            for (key, mut address) in entries {
                if kinds {
                    address[0] = b"46?"[usize::from(address[0]) % 3];
                }
                body.extend([key.as_slice(), &address].concat());
            }
            let whole = [body.as_slice(), &check(&body)].concat();
            if let Some(known) = KnownAddresses::from_bytes(&whole) {
                prop_assert_eq!(known.to_bytes().len(), whole.len());
                prop_assert_eq!(KnownAddresses::from_bytes(&known.to_bytes()), Some(known));
            }
        }
    }
}
