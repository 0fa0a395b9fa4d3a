//! Accounts, passwords, roles, sessions and lock-out, without I/O.
//!
//! ```text
//!   name, password, address ──► Lockout ──► Queue ──► hash::verify ──► Lockout ──► Sessions ──► token
//!                               may it try?  bounded,  (caller's        outcome     bounded,
//!                                            fair       thread)                     LRU
//!   token ────────────────────────────────────────────────────────────► Sessions ──► Accounts ──► Privileges
//!   create, update, delete ──► Accounts::plan_* ──► Change ──(caller stores it)──► Accounts::apply
//! ```
//!
//! Terms. An *account* has a permanent [`UserId`] and a [`UserName`] that may change. A role is a set of
//! [`Privilege`]s: one of [`Role`], or one of [`Roles`] that was made; an account has its [`RoleName`]. A *session* is a random [`Token`] that was handed out once; only its SHA-256 is kept. The
//! *epoch* of an account is a counter that moves with its password, role, name and enabled flag: a session
//! carries the epoch it was made under and is void under any other.
//!
//! What this crate must never do: read a clock, draw randomness, keep a password longer than the call that
//! needs it, tell by an answer or by its time whether an account exists, or grow without a bound because of
//! what somebody without an account sends.

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

pub mod account;
pub mod account_type;
pub mod hash;
pub mod lockout;
pub mod password;
pub mod queue;
pub mod role;
pub mod roles;
pub mod session;
pub mod token;
mod wall;

pub use account::{
    Account, AccountPatch, Accounts, Change, IPMI_USERS, NameError, NewAccount, Refused, UserId, UserName,
};
pub use account_type::{AccountType, AccountTypes};
pub use hash::{Cost, HashError, PasswordHash};
pub use lockout::{
    Address, Failed, Key, KnownAddresses, Lock, LockId, Locked, Lockout, LockoutConfig, Standing,
};
pub use password::{Password, Policy, Weakness};
pub use queue::{Class, Flow, Place, Queue, QueueConfig, QueueFull};
pub use role::{Privilege, Privileges, Role};
pub use roles::{CustomRole, RoleChange, RoleName, RoleNameError, RolePatch, RoleRefused, Roles};
pub use session::{Session, SessionConfig, SessionId, Sessions, USE_GRAIN};
pub use token::{Token, TokenDigest};
pub use wall::UnixMillis;
