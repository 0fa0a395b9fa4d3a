//! IPMI over LAN.
//!
//! ```text
//!  datagram ─► ipmi::Server ─┬─ Challenge, Verify ─► usermgr: AuthService, which keeps the keys
//!                            ├─ Sol ─► sol::Link ◄─► consolesrv's socket, opened with a ticket of OpenConsole
//!                            └─ Request ─► commands ─┬─ from the live model ────────────────► answer
//!                                                    ├─ a call ─► gate (as the account) ─► owner ─► answer
//!                                                    ├─ a LAN parameter ─► netmgr: NetworkService ─► answer
//!                                                    └─ what the SEL hides, settings of Serial over LAN ─► bucket "ipmi" ─► answer
//!  KCS, BT, QEMU ─► host ─► the same commands, as the machine itself
//!  event.user.* ─► sessions of that account end
//!  IpmiService ─► switch: whether it is served, and where; kept in bucket "ipmi". While it is off nothing of the above is there
//! ```
//!
//! Never: decides about power, users or sensors, or shows what nobody said; asks anything of an owner but through the gate, as who is logged in, except what the network is like;
//! keeps a password or a key of an account; answers a stranger with more than the specification makes it.
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

/// The daemon's name.
pub const NAME: &str = "ipmisrv";

#[cfg(any(test, feature = "testing"))]
pub mod bench;
mod boot_flags;
mod boot_options;
mod boot_progress;
mod chunks;
mod commands;
mod config;
mod dcmi;
mod error;
mod faults;
mod host;
mod host_watchdog;
mod lan;
mod outcome;
mod parameters;
mod parts;
mod payloads;
mod platform_event;
mod pursuit;
mod repository;
mod sel;
mod sel_log;
mod settings;
mod shell;
mod socket;
mod sol;
mod switch;
mod thresholds;
mod timers;
mod users;
mod watch;
mod world;

pub use config::Config;
pub use error::Error;
pub use host::Interface;
pub use shell::run;
