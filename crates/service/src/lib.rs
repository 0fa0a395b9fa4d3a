//! What every daemon shares: configuration, logs, clock, readiness, shutdown, error chain.
//!
//! ```text
//!   operator                                daemon
//!   stdin:  one line of JSON (Bootstrap) ─► run() ─► tracing, clock, bus ─► Context ─► the daemon's own run()
//!           then open; EOF = shut down  ─► Shutdown                                        │
//!   stdout: READY=1, STATUS=…, WATCHDOG=1, LISTEN=…  ◄────────────────────── Notifier ◄────┤
//!   stderr: logs (JSON or text)         ◄──────────────────────────────────── tracing ◄────┤
//!   exit status: Exit                   ◄──────────────────────────────────── Failure ◄────┘
//! ```
//!
//! Credentials reach a daemon only on stdin: never in its arguments or environment, where every process could read them.
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

mod bootstrap;
mod chain;
mod clock;
mod complaints;
mod config;
mod confine;
mod context;
mod exit;
mod flood;
mod folder;
mod keeper;
mod kept_switch;
mod log;
mod memory;
mod notify;
mod priority;
mod privilege;
mod ranged;
mod refusal;
mod run;
mod shutdown;
mod site;
mod start;
mod summed;
mod switch;
#[cfg(feature = "testing")]
pub mod testing;

pub use bootstrap::{Bootstrap, BootstrapError, BusAddress};
pub use chain::ErrorChain;
pub use clock::{Clock, boot_id};
pub use complaints::{Complaints, Part};
pub use config::{ConfigError, Settings};
pub use confine::{Confinement, Reach};
pub use context::{Context, Heartbeat, LocalContext, NoBoard};
pub use exit::{Exit, Failure};
pub use folder::{Folder, read_file, read_path};
pub use keeper::Keeper;
pub use kept_switch::KeptSwitch;
pub use log::{LogConfig, LogFormat, also_to as logs_also_to, as_known, init as init_logs, tell_left_out};
pub use memory::Memory;
pub use notify::{Notification, Notifier};
pub use priority::give_way;
pub use privilege::Privileges;
pub use ranged::MillisWithin;
pub use refusal::{CALLS_WAIT, TOO_MANY_CALLS, TOO_MANY_CHANGES, too_many_calls, too_many_changes};
pub use run::{run, run_local};
pub use shutdown::{Shutdown, Trigger};
pub use site::{Check, Ignored};
pub use start::{NoConfig, StartError};
pub use summed::{Unusable, from_summed, open_sealed, read_summed, seal, to_summed};
pub use switch::{Prepare, Switch, SwitchState, Switched, Turn, Way};
