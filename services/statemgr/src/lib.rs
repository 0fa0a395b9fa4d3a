//! Owns the desired and actual state of hosts, chassis and the BMC.
//!
//! ```text
//!  HostService ──────────────►┌──────────────────┐──► PowerService.Apply (powermgr), at once
//!  ChassisService ───────────►│ power::Desired   │──► bucket `state`: intents, before they are acknowledged
//!  ManagementControllerService│ one per host,    │──► bucket `config`: what users set
//!  event.host.> (powermgr) ──►│ records, chassis,│──► event.host.*.operation, event.chassis.*.state, event.bmc.*
//!  states (GetState) ────────►│ controller       │──► OperatorService.Reset
//!  BootProgressService ──────►│ boot progress    │
//!  a boot used its order ────►│ boot override    │──► the mailbox of each host's firmware
//!  HostFirmwareService ──────►│ its settings     │──► bucket `config`, the mailbox of the settings
//!  deadline ─────────────────►└──────────────────┘
//! ```
//!
//! powermgr knows the pins and forgets everything when it dies; this daemon knows what was asked for and never sees a pin.
//! Either may be killed at any moment: an acknowledged request is stored, found again, compared with what is, and ended.
//!
//! Terms. *Intent*: an accepted request that has not ended. *Reading*: asking powermgr for the state of a host, at start, after a gap in the
//! events and now and then. *Stale*: powermgr does not answer, so what is shown is the last known state, and marked (I-8).
//!
//! Never: acknowledges what is not stored (I-4); changes the power of a running host because a daemon or the BMC restarted
//! (I-2); leaves an operation without an end (I-1); waits for the bus in its loop.
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

mod attempts;
mod boot;
mod chassis;
mod config;
mod controller;
mod firmware;
mod firmware_calls;
mod firmware_look;
mod firmware_progress;
mod firmware_wire;
mod host;
mod mailbox;
mod perform;
mod progress;
mod request;
mod shell;
mod store;
mod uptime;
mod wire;

pub use config::Config;
pub use service::StartError as Error;
pub use shell::{run, serve};

/// The daemon's name: on the bus, in logs, in the binary.
pub const NAME: &str = "statemgr";
