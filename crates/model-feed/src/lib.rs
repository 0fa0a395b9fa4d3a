//! Feeds the live model from the bus.
//!
//! ```text
//!   event.>, reading.sensors ──►┌──────┐──► Model::step ──► Arc<Snapshot> ──► Reader, Reader, …  (any thread, any number)
//!   answers of the owners ─────►│ Feed │                                       │
//!   link lost, link back ──────►└──┬───┘◄─── look again ────────────────────────┘
//!                                  └──► rpc.<Service>.List…  one of each at a time
//! ```
//!
//! Subscribed first, then asked: what changes in between is heard. A reader takes the newest snapshot out of a [`Reader`] and holds it as long as it
//! likes; it never waits for anybody, and nobody waits for it.
//!
//! It must never: change anything by asking; ask twice at a time for the same; hand out a snapshot that is half of one answer and half of another.
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

mod feed;
mod query;
mod reader;

pub use feed::Feed;
pub use reader::Reader;
