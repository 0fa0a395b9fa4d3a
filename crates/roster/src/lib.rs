//! Which daemons there are: one row for each, from which everything else about it follows.
//!
//! ```text
//!                    ┌─► permissions: what its credential may say and hear on the bus
//!                    ├─► buckets, streams: what the operator makes before anybody starts
//!   rows::… ─► Row ──┼─► the operator: start order, supervision, limits, user, capabilities, devices, confinement, confirmation of a boot
//!                    ├─► `u-bmc <name>`: subcommand and help; the tables of the configuration
//!                    └─► the tables of daemons in docs/ (a test compares them)
//! ```
//!
//! [`Daemon`] is closed: what has to be told for each daemon in another crate is told in an exhaustive `match`, so that one that is missing
//! does not compile.
//!
//! It must never: do anything. It is data, and what follows from it.
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

mod bus;
mod row;
mod rows;

pub use bus::{Permissions, permissions, services_of, user};
pub use row::{I2C_GROUP, Limits, Reach, Row, SHARED_GROUP, Stream, When};
pub use rows::Daemon;

/// The buckets of all daemons, in the order of the rows.
pub fn buckets() -> impl Iterator<Item = &'static str> {
    Daemon::ALL.iter().flat_map(|daemon| daemon.row().buckets).copied()
}

/// The streams anybody reads, each once.
pub fn streams() -> impl Iterator<Item = Stream> {
    Stream::ALL
        .iter()
        .copied()
        .filter(|stream| Daemon::ALL.iter().any(|daemon| daemon.row().streams.contains(stream)))
}

/// The names of all daemons, the operator's among them.
pub fn names() -> impl Iterator<Item = &'static str> {
    Daemon::ALL.iter().map(|daemon| daemon.name())
}

#[cfg(test)]
mod tests;
