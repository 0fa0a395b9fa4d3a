//! Board files: the wiring of a board as validated data.

mod types;

pub use types::{
    Accel, BadId, Board, Buttons, Chassis, HalKind, Host, Id, Level, ManagementController, Power, Qemu,
    Restore, RestorePolicy, Scripted, Sim, SimHost, Timings, WatchdogRef,
};
