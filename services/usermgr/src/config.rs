//! Configuration: `[usermgr]` in the configuration file or `--set usermgr.key=value`.

use std::path::PathBuf;

use auth::{Cost, LockoutConfig, Policy, QueueConfig, SessionConfig};
use serde::Deserialize;
use units::Millis;

use crate::error::Error;

/// What can be set. `config.example.toml` shows every key with its default.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Most accounts, 1 to 1000.
    pub max_users: usize,
    /// File with the password of the first administrator, `admin`.
    pub admin_password_file: Option<PathBuf>,
    /// Rules for passwords.
    pub password: PasswordConfig,
    /// The line before the password hash.
    pub login: LoginConfig,
    /// Delays after failures.
    pub lockout: LockoutLimits,
    /// Limits of sessions.
    pub sessions: SessionLimits,
}

/// Rules for passwords and what hashing one costs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PasswordConfig {
    /// Fewest characters, 8 to 128.
    pub min_length: usize,
    /// Most characters, up to 128.
    pub max_length: usize,
    /// Fewest kinds of characters, 1 to 4.
    pub min_classes: usize,
    /// Days until a password must be changed; 0 is never.
    pub max_age_days: u32,
    /// Passwords before the present one that its owner must not choose again, at most 8.
    pub history: usize,
    /// Memory of one hash, KiB, 4096 to 65536.
    pub memory_kib: u32,
    /// Passes of one hash, 3 to 16.
    pub passes: u32,
}

/// The line before the password hash.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoginConfig {
    /// Hashes at the same time, 1 to 8.
    pub parallel: usize,
    /// Places in the line, 1 to 1024.
    pub waiting: usize,
    /// Of these, for each of: administrators, other accounts known from their address, strangers. At most a third of `waiting`.
    pub reserved: usize,
    /// Places one address may hold, or a known account from one address; at least 1.
    pub per_address: usize,
}

/// Most passwords that are kept to be known again: each costs a hash when a new one is chosen.
pub(crate) const HISTORY_MAX: usize = 8;
/// Most failures before the first delay.
pub(crate) const THRESHOLD_MAX: u32 = 100;
/// The longest delay that can be set, seconds: a day.
pub(crate) const LOCKOUT_DELAY_MAX_S: u64 = 86_400;
/// The longest time a session may last unused, seconds: a day.
pub(crate) const IDLE_MAX_S: u64 = 86_400;

/// Delays after failures.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LockoutLimits {
    /// Failures of one account from one address before the first delay, 1 to 100.
    pub threshold: u32,
    /// First delay, seconds, at least 1.
    pub first_delay_secs: u64,
    /// Longest delay, seconds, at most a day: nobody is locked out for ever.
    pub max_delay_secs: u64,
    /// Quiet time after which failures are forgotten, seconds, at least the longest delay.
    pub forget_after_secs: u64,
    /// Failures from one address before all of it is refused, more than `threshold` and at most 1000.
    pub address_threshold: u32,
    /// For so long at a time, seconds, at least 1 and at most `max_delay_secs`.
    pub address_delay_secs: u64,
    /// Failures of one account from all addresses before it is refused to those it is not known from, 2 to 100.
    pub account_threshold: u32,
}

/// Limits of sessions.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SessionLimits {
    /// Idle limit, seconds, 1 to a day.
    pub idle_secs: u64,
    /// Absolute limit, seconds, 1 to 30 days.
    pub absolute_secs: u64,
    /// Sessions in total, 1 to 1024.
    pub total: usize,
    /// Sessions of one account, at least 1.
    pub per_user: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_users: auth::Accounts::DEFAULT_LIMIT,
            admin_password_file: None,
            password: PasswordConfig::default(),
            login: LoginConfig::default(),
            lockout: LockoutLimits::default(),
            sessions: SessionLimits::default(),
        }
    }
}

impl Default for PasswordConfig {
    fn default() -> Self {
        let (policy, cost) = (Policy::default(), Cost::default());
        Self {
            min_length: policy.min_length,
            max_length: policy.max_length,
            min_classes: policy.min_classes,
            max_age_days: 0,
            history: 0,
            memory_kib: cost.memory_kib,
            passes: cost.passes,
        }
    }
}

impl Default for LoginConfig {
    fn default() -> Self {
        let QueueConfig { parallel, waiting, reserved, per_flow } = QueueConfig::default();
        Self { parallel, waiting, reserved, per_address: per_flow }
    }
}

impl Default for LockoutLimits {
    fn default() -> Self {
        let config = LockoutConfig::default();
        Self {
            threshold: config.threshold,
            first_delay_secs: config.first_delay.as_secs(),
            max_delay_secs: config.max_delay.as_secs(),
            forget_after_secs: config.forget_after.as_secs(),
            address_threshold: config.address_threshold,
            address_delay_secs: config.address_delay.as_secs(),
            account_threshold: config.account_threshold,
        }
    }
}

impl Default for SessionLimits {
    fn default() -> Self {
        let config = SessionConfig::default();
        Self {
            idle_secs: config.idle_limit.as_secs(),
            absolute_secs: config.absolute_limit.as_secs(),
            total: config.total,
            per_user: config.per_user,
        }
    }
}

/// The configuration after its values were checked, in the types that use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) max_users: usize,
    pub(crate) policy: Policy,
    pub(crate) cost: Cost,
    /// Zero: passwords do not expire.
    pub(crate) max_password_age: Millis,
    /// Passwords before the present one that its owner must not choose again.
    pub(crate) password_history: usize,
    pub(crate) queue: QueueConfig,
    pub(crate) lockout: LockoutConfig,
    pub(crate) sessions: SessionConfig,
}

impl Limits {
    /// What of them is set by request, for people.
    pub(crate) fn words(&self) -> String {
        let age = match self.max_password_age.as_secs() / 86_400 {
            0 => "for ever".to_owned(),
            days => format!("{days} d"),
        };
        format!(
            "passwords have {} characters at least, last {age} and are not one of the {} before; {} failures bring a delay, of {} s at most; sessions end after {} s without use",
            self.policy.min_length,
            self.password_history,
            self.lockout.threshold,
            self.lockout.max_delay.as_secs(),
            self.sessions.idle_limit.as_secs(),
        )
    }
}

impl Config {
    /// Checks what the types do not: ranges, and what goes together.
    ///
    /// # Errors
    ///
    /// Names the key and its rule.
    pub fn check(&self) -> Result<(), Error> {
        self.limits().map(drop)
    }

    /// Checks what a type cannot express.
    pub(crate) fn limits(&self) -> Result<Limits, Error> {
        let cost =
            Cost { memory_kib: self.password.memory_kib, passes: self.password.passes, ..Cost::default() };
        let Self { password, login, lockout, sessions, .. } = self;
        let checks = [
            ((1..=1000).contains(&self.max_users), "max_users must be 1 to 1000"),
            (
                (Policy::FLOOR..=password.max_length).contains(&password.min_length),
                "password.min_length must be 8 to password.max_length",
            ),
            (password.max_length <= Policy::CEILING, "password.max_length must be at most 128"),
            ((1..=4).contains(&password.min_classes), "password.min_classes must be 1 to 4"),
            (cost.is_allowed(), "password.memory_kib must be 4096 to 65536 and password.passes 3 to 16"),
            (password.history <= HISTORY_MAX, "password.history must be at most 8"),
            ((1..=8).contains(&login.parallel), "login.parallel must be 1 to 8"),
            ((1..=1024).contains(&login.waiting), "login.waiting must be 1 to 1024"),
            (
                login.reserved.saturating_mul(3) <= login.waiting,
                "login.reserved must be at most a third of login.waiting",
            ),
            (login.per_address >= 1, "login.per_address must be at least 1"),
            ((1..=THRESHOLD_MAX).contains(&lockout.threshold), "lockout.threshold must be 1 to 100"),
            (
                (1..=lockout.max_delay_secs).contains(&lockout.first_delay_secs),
                "lockout.first_delay_secs must be 1 to lockout.max_delay_secs",
            ),
            (lockout.max_delay_secs <= LOCKOUT_DELAY_MAX_S, "lockout.max_delay_secs must be at most 86400"),
            (
                lockout.forget_after_secs >= lockout.max_delay_secs,
                "lockout.forget_after_secs must be at least lockout.max_delay_secs",
            ),
            (
                (lockout.threshold.saturating_add(1)..=1000).contains(&lockout.address_threshold),
                "lockout.address_threshold must be more than lockout.threshold and at most 1000",
            ),
            (
                (1..=lockout.max_delay_secs).contains(&lockout.address_delay_secs),
                "lockout.address_delay_secs must be 1 to lockout.max_delay_secs",
            ),
            ((2..=100).contains(&lockout.account_threshold), "lockout.account_threshold must be 2 to 100"),
            ((1..=IDLE_MAX_S).contains(&sessions.idle_secs), "sessions.idle_secs must be 1 to 86400"),
            (
                (1..=30 * 86_400).contains(&sessions.absolute_secs),
                "sessions.absolute_secs must be 1 to 2592000",
            ),
            ((1..=1024).contains(&sessions.total), "sessions.total must be 1 to 1024"),
            (sessions.per_user >= 1, "sessions.per_user must be at least 1"),
        ];
        if let Some((_, rule)) = checks.iter().find(|(holds, _)| !holds) {
            return Err(Error::Value((*rule).to_owned()));
        }
        Ok(Limits {
            max_users: self.max_users,
            policy: Policy {
                min_length: password.min_length,
                max_length: password.max_length,
                min_classes: password.min_classes,
            },
            cost,
            max_password_age: Millis::from_secs(u64::from(password.max_age_days) * 86_400),
            password_history: password.history,
            queue: QueueConfig {
                parallel: login.parallel,
                waiting: login.waiting,
                reserved: login.reserved,
                per_flow: login.per_address,
            },
            lockout: LockoutConfig {
                threshold: lockout.threshold,
                first_delay: Millis::from_secs(lockout.first_delay_secs),
                max_delay: Millis::from_secs(lockout.max_delay_secs),
                forget_after: Millis::from_secs(lockout.forget_after_secs),
                address_threshold: lockout.address_threshold,
                address_delay: Millis::from_secs(lockout.address_delay_secs),
                account_threshold: lockout.account_threshold,
                ..LockoutConfig::default()
            },
            sessions: SessionConfig {
                idle_limit: Millis::from_secs(sessions.idle_secs),
                absolute_limit: Millis::from_secs(sessions.absolute_secs),
                total: sessions.total,
                per_user: sessions.per_user,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        usermgr: Config,
    }

    #[test]
    fn the_example_shows_the_defaults() {
        let file: File = toml::from_str(include_str!("../config.example.toml")).unwrap();
        assert_eq!(file.usermgr, Config::default());
        let limits = file.usermgr.limits().unwrap();
        assert_eq!(limits.lockout, LockoutConfig::default());
        assert_eq!(limits.queue, QueueConfig::default());
        assert_eq!(limits.sessions, SessionConfig::default());
        assert_eq!((limits.cost, limits.policy), (Cost::default(), Policy::default()));
    }

    #[test]
    fn a_wrong_key_or_value_is_refused_by_name() {
        assert!(toml::from_str::<File>("[usermgr]\nmax_user = 3").is_err());
        for (text, key) in [
            ("max_users = 0", "max_users"),
            ("password.min_length = 4", "password.min_length"),
            ("password.max_length = 500", "password.max_length"),
            ("password.memory_kib = 64", "password.memory_kib"),
            ("password.history = 9", "password.history"),
            ("login.parallel = 0", "login.parallel"),
            ("login.reserved = 12", "login.reserved"),
            ("lockout.threshold = 100", "lockout.address_threshold"),
            ("lockout.account_threshold = 1", "lockout.account_threshold"),
            ("lockout.address_delay_secs = 0", "lockout.address_delay_secs"),
            ("lockout.max_delay_secs = 100000", "lockout.max_delay_secs"),
            ("lockout.forget_after_secs = 60", "lockout.forget_after_secs"),
            ("sessions.idle_secs = 0", "sessions.idle_secs"),
            ("sessions.total = 0", "sessions.total"),
        ] {
            let file: File = toml::from_str(&format!("[usermgr]\n{text}")).unwrap();
            let error = file.usermgr.limits().unwrap_err().to_string();
            assert!(error.contains(key), "{text}: {error}");
        }
    }
}
