//! Sensors without I/O: what a sample means, whether it may be believed, what crosses a threshold, and when to ask again.
//!
//! ```text
//!  samples of a bus ──►┌─────────┐──► poll this bus for these sensors
//!  host on / off ─────►│ Monitor │──► thresholds crossed, sensors failed and recovered (state changes only)
//!  time ──────────────►└─────────┘──► which readings changed beyond their resolution
//!                        Sensor: quality, thresholds with hysteresis, statistics, history
//! ```
//!
//! The rule above all others is I-8: a value is *good* or it is marked. Each [`Reading`] carries a [`Quality`], the reason for it, and when
//! the value was measured.
//!
//! Bounded: a sensor takes at most [`History::BYTES_MAX`] of history and a few hundred bytes besides; nothing else grows.
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
mod compute;
mod history;
mod kind;
mod monitor;
mod sensor;
mod stats;
mod threshold;

pub use change::Filter;
pub use compute::{Input, Op};
pub use history::{History, Point, Span};
pub use kind::Kind;
pub use monitor::{Action, Event, HostPower, Monitor, SILENCE_MAX, Source};
pub use sensor::{Change, Fault, LATE_MAX, Quality, Reading, Reason, Sensor, Spec, Told};
pub use stats::Stats;
pub use threshold::{BadThresholds, Crossing, Level, Levels, Side, Thresholds, Watch};
