//! Owns accounts and sessions.
//!
//! ```text
//!   UserService, RoleService ─┐                         ┌─► bucket `users`     hash, role, epoch …
//!   SessionService, Lockouts ─┼─► machine ─► actions ───┼─► bucket `sessions`  SHA-256 of the token …
//!   AuthService (internal) ───┘      ▲                  ├─► bucket `roles`     what each allows
//!   clock, finished hashes, ─────────┘                  ├─► hash threads       argon2id, few at a time
//!   finished writes                                     ├─► event.user.<id>.*, event.session.<id>.*, event.role.<name>.*
//!                                                       └─► answers
//! ```
//!
//! The machine decides and never waits; the shell carries out and never decides. A change is answered when the bucket has
//! it on disk (I-4), and until then it has not happened. Token checks never queue behind a hash or a write.
//!
//! What this daemon must never do: put a password, a hash or a token into a log, an event or an answer (but for the one answer
//! that hands a token or a generated password out); tell whether an account exists; let the last enabled
//! administrator go; trust a gateway's word about what a caller may do longer than its own accounts bear it out.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice
    )
)]

mod boot;
mod config;
mod error;
mod known_file;
mod lockout_file;
mod log;
mod machine;
mod policy_file;
mod record;
mod secret;
mod shell;
mod store;
mod work;

pub use config::Config;
pub use error::Error;
pub use shell::run;

/// The name of the daemon, its log target and its queue group.
pub const NAME: &str = "usermgr";
/// The bucket of accounts, keyed by user id.
pub const USERS: &str = "users";
/// The bucket of sessions, keyed by session id.
pub const SESSIONS: &str = "sessions";
/// The bucket of roles that were made, keyed by name.
pub const ROLES: &str = "roles";
