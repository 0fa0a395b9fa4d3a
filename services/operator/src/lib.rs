//! operator: starts, watches and restarts every daemon; owns the bus and the watchdog.
//!
//! ```text
//!   flags, board file ──────────┐                        ┌──► processes: `u-bmc <daemon>`, stdin = bootstrap
//!   a child's stdout: READY=1 ──┤                        ├──► stderr: all daemons' logs; the last 64 lines kept
//!   a child's end, its stderr ──┼─► supervise::Machine ──┼──► event.daemon.<name>.state
//!   SIGTERM, SIGINT, SIGCHLD  ──┤                        ├──► the ready file
//!   SystemService requests    ──┘                        └──► /dev/watchdog
//!   /run/u-bmc-boot.json, as PID 1 ─► pid1::Image ─────────► modules, clock, seed; "this boot works" into the boot record
//!                     embedded bus server (a thread of its own)
//! ```
//!
//! It runs as an ordinary process or as PID 1. As PID 1 it also mounts the kernel's file systems, reaps orphans and restarts or
//! switches off the controller at its end.
//!
//! It must never: block on a child or on whoever reads its log; change a host's power; put a credential into arguments, environment or
//! log; let one daemon's trouble keep another from running.
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

mod banner;
mod bind;
mod bus;
mod cgroup;
mod child;
mod config;
mod confine;
mod confirm;
mod cooling;
mod daemon_spec;
mod error;
mod gadgets;
mod health;
mod limits;
mod lines;
mod output;
mod pid1;
mod prepare;
mod privileges;
mod procfs;
mod ring;
mod shell;
mod store;
mod watchdog;
mod wire;

pub use config::{Config, Configuration, Listen, Options, Reread};
pub use daemon_spec::{BoardKind, DaemonSpec, daemon_specs};
pub use error::Error;
pub use pid1::image_commit;
pub use shell::{give_up, run};
