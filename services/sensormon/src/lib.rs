//! Reads sensors, judges thresholds, keeps their history.
//!
//! ```text
//!  hwmon, IIO: a thread for each bus ──►┌──────────────────┐──► reading.sensors: one packed message for each poll of a bus
//!  GPIO lines ─────────────────────────►│ sensors::Monitor │──► event.sensor.…: thresholds crossed, sensors failed
//!  host on / off (powermgr) ───────────►│ (pure)           │──► bucket `sensors`: thresholds that were set
//!  SensorService ──────────────────────►└──────────────────┘──► answers from memory
//! ```
//!
//! Never: waits for a bus, or lets one wait for another; shows a value as good that was not measured within its time (I-8); writes anything
//! to the store but thresholds that were set; drives a line or writes to a device.

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

mod lines;
mod shell;
mod store;
mod wire;

use service::{Exit, Failure};

pub use shell::{run, serve};

/// The daemon's name: on the bus, in logs, in the binary.
pub const NAME: &str = "sensormon";
/// The bucket of thresholds that were set.
const SENSORS: &str = "sensors";

/// The `[sensormon]` table: nothing yet. What is measured stands in the board file.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {}

/// Why the daemon ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is wrong.
    #[error("the configuration cannot be used")]
    Config(#[from] service::ConfigError),
    /// It was started without a board.
    #[error(transparent)]
    NoBoard(#[from] service::NoBoard),
    /// The bus does not take the daemon's services.
    #[error("SensorService cannot be served")]
    Serve(#[source] ipc::Status),
    /// The thresholds that were set cannot be read.
    #[error("the stored thresholds cannot be read")]
    Store(#[source] ipc::StateError),
}

impl Failure for Error {
    fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::NoBoard(_) => Exit::Config,
            Self::Serve(_) | Self::Store(_) => Exit::Retry,
        }
    }
}
