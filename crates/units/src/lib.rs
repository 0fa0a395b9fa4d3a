//! Quantities with units: time, duty.
//!
//! A bare number never crosses a crate border. Arithmetic on these types either saturates or is checked; none of
//! it wraps and none of it panics, because a machine that decides about power must not die of a sum.
//!
//! Time: the pure crates are given [`Mono`] as an argument and answer with deadlines in the same clock. They
//! have no clock of their own. Wall-clock time exists only at the edges, for people to read.
//!
//! [`Lasting`] decides how often a condition that lasts is spoken of, [`Told`] how often one that comes and goes is, [`Allowance`] how often something may be
//! done, and [`Quota`] how often each of many things may be changed; [`network`] says which addresses share a bound.
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

mod allowance;
mod duty;
mod lasting;
mod network;
mod quota;
mod telling;
mod time;
mod wall;

pub use allowance::Allowance;
pub use duty::Duty;
pub use lasting::{Lasting, Said};
pub use network::network;
pub use quota::Quota;
pub use telling::{Telling, Told};
pub use time::{Millis, Mono};
pub use wall::began_ms;
