//! The controller's own network and time.
//!
//! ```text
//!   rtnetlink: links, addresses, routes ──►┌───────┐──► rtnetlink: up, MTU, addresses, default routes
//!   DHCP servers (v4, v6) ────────────────►│ Iface │──► DHCP servers
//!   what an earlier run left ─────────────►└───────┘──► what the next run needs (netmgr.json)
//!                                              │ leases
//!                                              ▼
//!                                     resolv.conf, host name, time servers
//!                                              ▼
//!   time servers ─────────────────────────►┌──────┐──► the clock, the hardware clock
//!   hardware clock, at start ─────────────►│ Sync │
//!                                          └──────┘
//! ```
//!
//! Terms. *Lease*: an address for a time. *Held*: the lease in use. *Owned*: what this daemon set, and therefore may remove. *Floor*: the time
//! before which no clock is believed.
//!
//! Never: touches an interface that is not in the configuration, or an address that it did not set; cuts the network when it stops or
//! starts; believes a time before the floor.

mod config;
mod dhcp4;
mod dhcp6;
mod dice;
mod error;
mod exchange;
mod iface;
mod kept;
mod kernel;
mod names;
mod route;
mod shell;
mod sockets;
mod sync;
mod system;
mod tell;
mod timeserver;
mod wire4;
mod wire6;

pub use config::{Config, Interface, Ipv4, Ipv6, Time};
pub use error::Error;
pub use kernel::Refused;
pub use shell::{run, run_on};
pub use system::{System, ThisMachine};

/// Reads bytes as the daemon reads what a DHCP server sent, for the fuzz target: whether they were a message.
#[doc(hidden)]
pub fn reads_as_dhcp(bytes: &[u8]) -> bool {
    // The address in the bytes themselves, so that a fuzzer need not guess one.
    let mac = bytes.get(28..34).and_then(|mac| mac.try_into().ok()).unwrap_or_default();
    wire4::read(bytes, mac).is_some() || wire6::read(bytes, [2, 0, 0, 0, 0, 1]).is_some()
}
