//! Password hashes: argon2id in the PHC string format.
//!
//! Hashing is a pure function of password, salt and cost. It takes tens to hundreds of milliseconds and
//! [`Cost::memory_kib`] of memory, so a caller runs it on a thread of its own and bounds how many run at once
//! (see [`crate::queue`]).

use std::fmt;

use argon2::password_hash::{Output, ParamsString, SaltString};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::Password;

/// Bytes of output (RFC 9106 §4).
const OUTPUT_BYTES: usize = 32;
/// What is reserved, though not touched, for the memory of one hash.
///
/// glibc hands blocks above a threshold back to the kernel when they are freed, but moves the threshold up to the largest
/// block freed so far, at most to 32 MiB on 64-bit machines (`DEFAULT_MMAP_THRESHOLD_MAX`); from then on the memory of a hash
/// comes from a thread's heap and stays there: 20 hashes of 7 MiB left 122 MiB behind, measured. A reservation above that bound
/// always goes back. On 32-bit machines the bound is 512 KiB, below any hash.
const RESERVED_BYTES: usize = if cfg!(target_pointer_width = "64") { 33 * 1024 * 1024 } else { 0 };

/// What one hash costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes; more than one only helps an attacker with more cores than a BMC has.
    pub lanes: u32,
}

impl Cost {
    /// Least that can be configured: 4 MiB, 3 passes.
    pub const FLOOR: Self = Self { memory_kib: 4 * 1024, passes: 3, lanes: 1 };
    /// Most that is accepted, from a configuration or from a stored hash: 64 MiB, 16 passes. A record that asks
    /// for more was not written by us and must not be able to take the BMC's memory.
    pub const CEILING: Self = Self { memory_kib: 64 * 1024, passes: 16, lanes: 4 };

    /// Whether every part lies between floor and ceiling.
    #[must_use]
    pub fn is_allowed(self) -> bool {
        let Self { memory_kib, passes, lanes } = self;
        (Self::FLOOR.memory_kib..=Self::CEILING.memory_kib).contains(&memory_kib)
            && (Self::FLOOR.passes..=Self::CEILING.passes).contains(&passes)
            && (Self::FLOOR.lanes..=Self::CEILING.lanes).contains(&lanes)
    }

    fn params(self) -> Result<Params, HashError> {
        Params::new(self.memory_kib, self.passes, self.lanes, None).map_err(|_| HashError::Cost)
    }
}

impl Default for Cost {
    /// m = 7 MiB, t = 5, p = 1: of the settings OWASP's Password Storage Cheat Sheet lists as equally strong
    /// (46 MiB/1, 19/2, 12/3, 9/4, 7/5), the one with the least memory.
    ///
    /// A BMC has 64 MiB to 1 GiB for everything. With two hashes at a time this is 14 MiB at the peak and nothing at rest
    /// (see `RESERVED_BYTES`). One takes 14 ms on a desktop core, measured, and by the ratio of their memory speeds an estimated
    /// third of a second on a 1.2 GHz Cortex-A7: well inside the 10 s deadline of a login even behind a full queue.
    fn default() -> Self {
        Self { memory_kib: 7 * 1024, passes: 5, lanes: 1 }
    }
}

/// Why hashing failed. A wrong password is not an error: see [`PasswordHash::verify`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The text is not a PHC string of argon2id, version 19.
    #[error("not an argon2id hash in PHC format")]
    Format,
    /// The cost is outside of [`Cost::FLOOR`] and [`Cost::CEILING`].
    #[error("argon2id cost out of range")]
    Cost,
    /// The memory could not be had, or the password is longer than the algorithm takes.
    #[error("argon2id failed")]
    Failed,
}

/// A stored password hash, `$argon2id$v=19$m=…,t=…,p=…$salt$hash`. `Debug` shows the cost only.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    phc: String,
    cost: Cost,
}

impl PasswordHash {
    /// Bytes of salt (RFC 9106 §4 recommends 16).
    pub const SALT_BYTES: usize = 16;

    /// Hashes `password`. Blocks for as long as `cost` demands.
    ///
    /// # Errors
    /// [`HashError::Cost`] for a cost out of range, [`HashError::Failed`] when memory is short.
    pub fn new(password: &Password, salt: [u8; Self::SALT_BYTES], cost: Cost) -> Result<Self, HashError> {
        if !cost.is_allowed() {
            return Err(HashError::Cost);
        }
        let params = cost.params()?;
        let output = compute(&params, bounded(password.expose()), &salt)?;
        let salt = SaltString::encode_b64(&salt).map_err(|_| HashError::Failed)?;
        let phc = argon2::PasswordHash {
            algorithm: Algorithm::Argon2id.ident(),
            version: Some(Version::V0x13.into()),
            params: ParamsString::try_from(&params).map_err(|_| HashError::Failed)?,
            salt: Some(salt.as_salt()),
            hash: Some(Output::new(output.as_slice()).map_err(|_| HashError::Failed)?),
        }
        .to_string();
        Ok(Self { phc, cost })
    }

    /// Reads a stored hash.
    ///
    /// # Errors
    /// [`HashError::Format`] for another algorithm, version or syntax; [`HashError::Cost`] when verifying it would
    /// cost more than [`Cost::CEILING`] or protect less than [`Cost::FLOOR`].
    pub fn parse(phc: &str) -> Result<Self, HashError> {
        let parsed = argon2::PasswordHash::new(phc).map_err(|_| HashError::Format)?;
        let current = parsed.version.is_none_or(|version| version == u32::from(Version::V0x13));
        let whole = parsed.salt.is_some() && parsed.hash.is_some_and(|hash| hash.len() == OUTPUT_BYTES);
        if parsed.algorithm != Algorithm::Argon2id.ident() || !current || !whole {
            return Err(HashError::Format);
        }
        let params = Params::try_from(&parsed).map_err(|_| HashError::Format)?;
        let cost = Cost { memory_kib: params.m_cost(), passes: params.t_cost(), lanes: params.p_cost() };
        if cost.is_allowed() { Ok(Self { phc: phc.to_owned(), cost }) } else { Err(HashError::Cost) }
    }

    /// Whether `password` is the one that was hashed. Blocks for as long as the hash's cost demands; the outputs
    /// are compared in constant time.
    #[must_use]
    pub fn verify(&self, password: &Password) -> bool {
        let matches = |text: &str| self.matches(text).unwrap_or(false);
        matches(password.expose()) || password.as_typed().is_some_and(matches)
    }

    fn matches(&self, password: &str) -> Option<bool> {
        let parsed = argon2::PasswordHash::new(&self.phc).ok()?;
        let mut salt = [0; 64];
        let salt = parsed.salt?.decode_b64(&mut salt).ok()?;
        let output = compute(&self.cost.params().ok()?, bounded(password), salt).ok()?;
        Some(output.ct_eq(parsed.hash?.as_bytes()).into())
    }

    /// What verifying costs.
    #[must_use]
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// The PHC string, to be stored and never to be shown.
    #[must_use]
    pub fn as_phc(&self) -> &str {
        &self.phc
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordHash").field("cost", &self.cost).finish_non_exhaustive()
    }
}

fn compute(
    params: &Params,
    password: &[u8],
    salt: &[u8],
) -> Result<Zeroizing<[u8; OUTPUT_BYTES]>, HashError> {
    let blocks = params.block_count();
    let mut memory: Vec<Block> = Vec::new();
    // An allocation that fails is this login's error, not the daemon's end.
    memory.try_reserve_exact(blocks.max(RESERVED_BYTES / Block::SIZE)).map_err(|_| HashError::Failed)?;
    memory.resize(blocks, Block::default());
    let mut output = Zeroizing::new([0; OUTPUT_BYTES]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
        .hash_password_into_with_memory(password, salt, output.as_mut_slice(), memory.as_mut_slice())
        .map_err(|_| HashError::Failed)?;
    Ok(output)
}

/// A longer text than any password can be is cut, so that its length buys no extra work. It cannot match: no
/// stored password is that long.
fn bounded(password: &str) -> &[u8] {
    let bytes = password.as_bytes();
    bytes.get(..=Password::MAX_BYTES).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost::FLOOR;

    fn password(text: &str) -> Password {
        Password::new(text.to_owned())
    }

    #[test]
    fn a_hash_knows_its_password_and_no_other() {
        let hash = PasswordHash::new(&password("tr0mbone"), [1; 16], CHEAP).unwrap();
        assert!(hash.verify(&password("tr0mbone")));
        assert!(!hash.verify(&password("tr0mbonf")));
        assert!(!hash.verify(&password("")));
    }

    #[test]
    fn a_hash_made_before_passwords_were_normalised_still_opens() {
        let typed = "Cafe\u{301}-Bar-77";
        let old = PasswordHash {
            phc: {
                let params = CHEAP.params().unwrap();
                let output = compute(&params, typed.as_bytes(), &[1; 16]).unwrap();
                let salt = SaltString::encode_b64(&[1; 16]).unwrap();
                argon2::PasswordHash {
                    algorithm: Algorithm::Argon2id.ident(),
                    version: Some(Version::V0x13.into()),
                    params: ParamsString::try_from(&params).unwrap(),
                    salt: Some(salt.as_salt()),
                    hash: Some(Output::new(output.as_slice()).unwrap()),
                }
                .to_string()
            },
            cost: CHEAP,
        };
        assert!(old.verify(&password(typed)));
        assert!(!old.verify(&password("Caf\u{e9}-Bar-77")), "as before");
        let new = PasswordHash::new(&password(typed), [1; 16], CHEAP).unwrap();
        assert!(new.verify(&password("Caf\u{e9}-Bar-77")) && new.verify(&password(typed)));
    }

    #[test]
    fn the_stored_form_is_a_phc_string_and_reads_back() {
        let hash = PasswordHash::new(&password("tr0mbone"), [1; 16], CHEAP).unwrap();
        assert!(hash.as_phc().starts_with("$argon2id$v=19$m=4096,t=3,p=1$"), "{}", hash.as_phc());
        let back = PasswordHash::parse(hash.as_phc()).unwrap();
        assert_eq!(back, hash);
        assert!(back.verify(&password("tr0mbone")));
    }

    #[test]
    fn the_salt_decides_the_hash() {
        let one = PasswordHash::new(&password("tr0mbone"), [1; 16], CHEAP).unwrap();
        let two = PasswordHash::new(&password("tr0mbone"), [2; 16], CHEAP).unwrap();
        assert_ne!(one.as_phc(), two.as_phc());
        assert_eq!(one, PasswordHash::new(&password("tr0mbone"), [1; 16], CHEAP).unwrap());
    }

    #[test]
    fn a_stored_hash_of_another_kind_or_cost_is_refused() {
        let good = PasswordHash::new(&password("tr0mbone"), [1; 16], CHEAP).unwrap();
        let table = [
            (good.as_phc().replace("argon2id", "argon2i"), HashError::Format),
            (good.as_phc().replace("v=19", "v=16"), HashError::Format),
            (good.as_phc().replace("m=4096", "m=4194304"), HashError::Cost),
            (good.as_phc().replace("t=3", "t=4000000"), HashError::Cost),
            (good.as_phc().replace("m=4096", "m=8"), HashError::Cost),
            (String::new(), HashError::Format),
            ("plain text".to_owned(), HashError::Format),
            ("$argon2id$v=19$m=4096,t=3,p=1$c29tZXNhbHQ".to_owned(), HashError::Format),
        ];
        for (text, expected) in table {
            assert_eq!(PasswordHash::parse(&text).unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn a_text_longer_than_any_password_neither_matches_nor_costs_more() {
        let longest = "k7".repeat(Password::MAX_BYTES / 2);
        let hash = PasswordHash::new(&password(&longest), [1; 16], CHEAP).unwrap();
        assert!(hash.verify(&password(&longest)));
        assert!(!hash.verify(&password(&(longest.clone() + "x"))));
        assert!(!hash.verify(&password(&(longest + &"x".repeat(10_000)))));
    }

    #[test]
    fn debug_shows_neither_salt_nor_hash() {
        let hash = PasswordHash::new(&password("tr0mbone"), [1; 16], CHEAP).unwrap();
        let shown = format!("{hash:?}");
        assert!(!shown.contains("argon2id"), "{shown}");
    }
}
