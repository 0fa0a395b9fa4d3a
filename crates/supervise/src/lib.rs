//! When to start, restart, give up on, and stop daemons; and whether the machine as a whole is well enough to pet the watchdog.
//!
//! ```text
//!   process started / ended ──┐             ┌──► Start, Terminate, Kill
//!   READY, WATCHDOG lines   ──┼─► Machine ──┼──► Changed (from, to, why)
//!   the order to stop       ──┤             ├──► AllReady, AllStopped
//!   time                    ──┘             └──► is it well? (watchdog)
//! ```
//!
//! Pure: time and randomness are arguments, effects are returned. It never forgets a daemon: each that is not stopped or refused its
//! configuration is running or has a time at which it is started.

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

mod machine;
mod policy;
mod spec;

pub use machine::{Action, Event, Machine, State, View};
pub use policy::Policy;
pub use spec::{Ending, Id, Spec, SpecError};

#[cfg(test)]
mod tests;
