//! One live picture of the controller and its machine: hosts, chassis, sensors, zones, fans, LEDs, assets, firmware, accounts' names, daemons,
//! operations and the newest events. Readers answer from it and ask nobody.
//!
//! ```text
//!  answers of the owners ───────────►┌───────────────────────┐──► ask this owner for this domain
//!  readings that are told ──────────►│ Model                 │──► deadline
//!  events (look again; a daemon died)►│  one writer, no clock │
//!  bus gone, something missed ──────►└───────────┬───────────┘
//!                                                ▼
//!                            Snapshot: values, each with source, time, quality and the number of its last change
//!                            (cheap to clone; what did not change is shared)
//! ```
//!
//! Terms. *Domain*: what one question to one daemon answers whole. *Told*: said by its owner, without being asked or as an answer. *Change*: a
//! number that grows with whatever a reader can see to change; each value has that of its own last one, so it serves as an ETag and as
//! the place at which a stream goes on.
//!
//! An event never carries the truth here, it only says when to look: the owner's answer is the truth. The exceptions are the operator's
//! words on daemons, which make everything a dead one said stale at once, and readings, which are numbered, so that a missing one is seen.
//!
//! Never: shows as good what its owner may not say any more (I-8); grows with what it is told ([`Domain::bounds`], I-6); takes a daemon's word
//! on what is another's.
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

mod change;
mod domain;
mod item;
mod machine;
mod quality;
mod readings;
mod recent;
mod snapshot;
mod table;

pub use change::{BadCursor, Change, Cursor};
pub use domain::{Bounds, Domain};
pub use item::Operation;
pub use machine::{Answer, Failure, Input, Model, Query, Subscription};
pub use quality::{Quality, Reason, State};
pub use readings::Reading;
pub use snapshot::{Changes, Collection, SensorView, Snapshot, Status};
pub use table::View;
