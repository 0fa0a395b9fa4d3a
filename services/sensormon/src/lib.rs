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

mod budget;
mod lines;
mod shell;
mod store;
mod told;
mod wire;

pub use service::{NoConfig as Config, StartError as Error};
pub use shell::{run, serve};

/// The daemon's name: on the bus, in logs, in the binary.
pub const NAME: &str = "sensormon";
/// The bucket of thresholds that were set.
const SENSORS: &str = "sensors";
