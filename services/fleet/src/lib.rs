//! The outward link of a BMC to its fleet: a client of a datacenter's NATS server.
//!
//! ```text
//!   local bus                        ┌────────┐                       datacenter's NATS
//!   event log, from the cursor  ────►│ Window │──► ubmc.<id>.event.>  (acknowledged or echoed, then the cursor moves)
//!   host state                  ────►│        │──► ubmc.<id>.state.host.<name>, card in the bucket `ubmc`
//!   rpc.<Service>.<Method>      ◄────│  gate  │◄── ubmc.<id>.rpc.>, ubmc.all.rpc.>
//!                                    └────────┘
//! ```
//!
//! Terms. *Cursor*: the number of the last event the other side has for certain; kept on disk, so an outage of either side of any
//! length that the log covers loses nothing. *Window*: the events sent and not yet confirmed. *Card*: what a BMC tells about itself.
//!
//! Never: lets a request from outside act with more than the configured role unless it brings credentials of an account of this
//! BMC; lets an outage outside be felt inside; moves the cursor past an event that was not confirmed.
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

mod answer;
mod card;
mod config;
mod error;
mod mirror;
mod remote;
mod room;
mod shell;
mod state_files;
mod window;

pub use card::Card;
pub use config::{Config, Nats, OutsideRole};
pub use error::Error;
pub use shell::run;
