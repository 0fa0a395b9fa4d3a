//! Fan control without I/O: zones, sensors that are believed or not, PID and curves, fans that are watched.
//!
//! ```text
//!  sensor: value | failed | host off ►┌──────────────────────────────┐──► set the duty of a fan
//!  tachometer: rpm | failed ─────────►│ Machine                      │──► cut a host's power (over critical for too long)
//!  duty was set | was not ───────────►│  fan loop 100 ms: judge, move│──► notes: faults, failsafe, redundancy, override …
//!  profile, override, clear ─────────►│  thermal loop 1 s: decide    │──► answers: accepted | denied(reason)
//!  deadline ─────────────────────────►└──────────────────────────────┘
//! ```
//!
//! Terms. *Zone*: sensors and fans that belong together. *Duty*: the share of full drive a fan is told. *Failsafe*: full speed (or what the
//! board has in its place), because something is not known or not right. *Critical*: the temperature at which the host is in danger.
//!
//! A fan does the most that any of its zones wants. A zone is in failsafe while any of its sensors is at fault (no data yet, none for too
//! long, data that cannot be true, too hot) or any of its fans is (stuck, slow, not to be read, not to be driven). A fault begins at once
//! and ends only when all has been well for a while.
//!
//! Never: gives a fan less than its minimum, or a zone's fans less than failsafe while something is wrong (I-3), whoever asks for it and
//! whatever a sensor says; holds an override longer than its time; cuts power because of a value that was not measured.
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

mod config;
mod curve;
mod fan;
mod machine;
mod pid;
mod schedule;
mod source;
mod status;
mod tune;
mod zone;

pub use config::{
    BadConfig, Combine, Config, FeedForward, Group, Law, MAX_FANS, MAX_SENSORS, MAX_ZONES, Profile,
    ProfileConfig, ZoneConfig,
};
pub use curve::{CurveConfig, CurveStep, MAX_STEPS};
pub use fan::{FanConfig, FanFault, Kick, MAX_SPEEDS, TachConfig};
pub use machine::{Action, Denial, Event, LONGEST_OVERRIDE, Machine};
pub use pid::PidConfig;
pub use schedule::{Periodic, Rounds};
pub use source::{Reading, SensorConfig, SensorFault};
pub use status::{FanStatus, Mode, Note, Reason, Redundancy, Said, ZoneStatus};
pub use tune::{Model, Progress, Response, Seen, StepTest, Stopped, TuneConfig};
