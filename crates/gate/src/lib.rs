//! What every request from outside goes through, whichever way it comes in: one order, one set of rules, one set of words.
//!
//! ```text
//!  Credential ─► Gate::authenticate ─► authorise ─► [ the way in reads and decodes the request ] ─► Admitted::check ─► Gate::forward ─► owner
//!                  │ usermgr, or          │ privilege and account type                                │ whose account or    │ rpc.<Service>.<Method>
//!                  │ remembered for       │                                                           │ session it is about,│ with the principal
//!                  │ seconds              │                                                           │ then the rules      │
//!                  └ UNAUTHENTICATED,     └ PERMISSION_DENIED                                         └ PERMISSION_DENIED,  └ the owner's status
//!                    UNAVAILABLE                                                                        INVALID_ARGUMENT
//!
//!  Gate::audit: one line for each request, at its end; and an event of the domain `audit` for what changes something
//! ```
//!
//! Each step hands out what the next one takes: only [`authorise`] makes an [`Admitted`], only [`Admitted::check`] a [`Checked`], and
//! [`Gate::forward`] takes nothing else. Between the steps a way in may do what is its own: count, wait, read. One that has waited asks
//! [`Gate::renewed`] last of all, so that no right is used that was taken away meanwhile.
//!
//! What a caller may do is said once, by the options of a method in the schema, and decided once, in [`access`].
//!
//! It must never
//! - let a request pass whose caller it does not know, unless the method's privilege is NONE, or any when usermgr cannot say who asks;
//! - let a method pass that is for the bus only;
//! - keep a credential longer than the request or stream it came with, or write one into a log;
//! - hold code for a single method: what it needs is in the schema.

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

pub mod access;
pub mod audit;
mod authenticator;
mod caller;
mod checks;
mod credential;
mod field;
mod kinds;
mod pass;

pub use auth::{AccountType, AccountTypes};
pub use authenticator::{Change, Policy};
pub use caller::{Caller, Peer, privileges};
pub use credential::{Credential, CredentialError};
pub use field::{FieldPath, field_path, set_at, string_at};
pub use kinds::{account_types, types_of};
pub use pass::{Admitted, Checked, Gate, Login, Origin, authorise, enter};
