//! The controller's own network and time.
//!
//! ```text
//!   rtnetlink: links, addresses, routes ──►┌───────┐──► rtnetlink: up, MTU, addresses, default routes
//!   DHCP servers (v4, v6) ────────────────►│ Iface │──► DHCP servers
//!   routers: name servers (netlink) ──────►│       │
//!   what an earlier run left ─────────────►└───────┘──► what the next run needs (kept.json)
//!                                              ▲ configuration, and what is changed of it (changes.json)
//!   ChangeNetwork, ConfirmNetwork ───────────► Book
//!                                              │ leases
//!                                              ▼
//!                                     resolv.conf, host name, time servers
//!                                              ▼
//!   time servers ─────────────────────────►┌──────┐──► the clock, the hardware clock
//!   hardware clock, at start ─────────────►│ Sync │    ▲
//!                                          └──────┘    │
//!   SetTime, while no time server is asked ────────────┘
//! ```
//!
//! Terms. *Lease*: an address for a time. *Held*: the lease in use. *Owned*: what this daemon set, and therefore may remove. *Floor*: the time
//! before which no clock is believed.
//!
//! Never: touches an interface that is not in the configuration, or an address that it did not set; cuts the network when it stops or
//! starts; believes a time before the floor.

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

mod changes;
mod config;
mod dhcp4;
mod dhcp6;
mod error;
mod events;
mod exchange;
mod iface;
mod jitter;
mod kernel;
mod lease_file;
mod manual;
mod names;
mod questions;
mod ra;
mod route;
mod shell;
mod sockets;
mod sync;
mod system;
mod timeserver;
mod wanted;
mod watch;
mod wire4;
mod wire6;

pub use config::{Config, Interface, Ipv4, Ipv6, Time};
pub use error::{Error, Refused};
pub use shell::{run, run_on};
pub use system::{System, ThisMachine};

/// Reads bytes as the daemon reads what a DHCP server sent, for the fuzz target: whether they were a message.
#[doc(hidden)]
pub fn reads_as_dhcp(bytes: &[u8]) -> bool {
    // The addresses in the bytes themselves, so that a fuzzer need not guess one.
    let mac = bytes.get(28..34).and_then(|mac| mac.try_into().ok()).unwrap_or_default();
    let duid = bytes.get(8..18).unwrap_or_default().to_vec();
    let me = wire6::Me { duid, iaid: 0 };
    // And the bytes as the options of a message whose head is good, and of a router's.
    let good = wire4::with_options(bytes, mac);
    for heard in ra::read(bytes) {
        ra::Advertised::default().hears(units::Mono::ZERO, &heard.option);
    }
    wire4::read(bytes, mac).is_some()
        || wire4::read(&good, mac).is_some()
        || wire6::read(bytes, &me).is_some()
}

#[cfg(test)]
mod tests {
    /// So many cases of a property, or as many as `PROPTEST_CASES` says.
    pub(crate) fn cases(usual: u32) -> proptest::test_runner::Config {
        let wanted = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok());
        let config = proptest::test_runner::Config::with_cases(wanted.unwrap_or(usual));
        proptest::test_runner::Config { failure_persistence: None, ..config }
    }

    /// The page that lists the rules of the RFCs names tests that there are.
    #[test]
    fn each_test_of_the_page_on_the_rfcs_is_there() {
        let page = include_str!("../../../docs/network-rfc.md");
        let sources = [
            include_str!("dhcp4_tests.rs"),
            include_str!("dhcp6_tests.rs"),
            include_str!("exchange.rs"),
            include_str!("iface_tests.rs"),
            include_str!("names.rs"),
            include_str!("ra.rs"),
            include_str!("wire4_tests.rs"),
            include_str!("wire6_tests.rs"),
            include_str!("../tests/network.rs"),
        ];
        let (kept, _) = page.split_once("## Not kept").unwrap();
        let rows = kept.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| rule "));
        let mut named = 0;
        for row in rows {
            let tests = row.rsplit(" | ").next().unwrap();
            let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
            assert!(!names.is_empty(), "no test: {row}");
            for name in names {
                let function = format!("fn {name}(");
                assert!(sources.iter().any(|source| source.contains(&function)), "{name} is no test: {row}");
                named += 1;
            }
        }
        assert!(named > 60, "{named}");
    }
}
