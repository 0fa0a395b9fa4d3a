//! What a run leaves for the next one, until the machine starts anew: what it set on which interface, and its leases.
//!
//! Times are those of the clock that started with the machine, which no time server moves.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use service::Folder;
use units::{Millis, Mono};

use crate::iface::{Iface, Owned};
use crate::ra::Advertised;
use crate::{dhcp4, dhcp6, names};

/// The file's content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Kept {
    /// What this controller calls itself to DHCPv6 servers, on every interface.
    pub(crate) duid: Vec<u8>,
    pub(crate) interfaces: BTreeMap<String, KeptInterface>,
}

/// What is kept of one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct KeptInterface {
    pub(crate) owned: Owned,
    /// Metric of its routes.
    pub(crate) metric: u32,
    lease4: Option<KeptLease4>,
    lease6: Option<KeptLease6>,
    /// Name servers and domains of routers, with their ends.
    servers: Vec<(Ipv6Addr, u64)>,
    domains: Vec<(String, u64)>,
}

/// A lease, with times in milliseconds since the machine started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KeptLease4 {
    terms: dhcp4::Terms,
    renew_ms: u64,
    rebind_ms: u64,
    ends_ms: u64,
}

/// A lease, with times in milliseconds since the machine started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KeptLease6 {
    server: Vec<u8>,
    /// With when they fade and when they end.
    addresses: Vec<(Ipv6Addr, u64, u64)>,
    told: dhcp6::Told,
    renew_ms: u64,
    rebind_ms: u64,
}

/// Turns the daemon's time into the machine's and back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epoch {
    /// Milliseconds since the machine started at the daemon's zero.
    zero: u64,
}

impl Epoch {
    /// Both clocks read at one moment.
    pub(crate) fn new(now: Mono, since_boot: Duration) -> Self {
        let boot = u64::try_from(since_boot.as_millis()).unwrap_or(u64::MAX);
        Self { zero: boot.saturating_sub(now.as_millis()) }
    }

    fn out(self, at: Mono) -> u64 {
        self.zero.saturating_add(at.as_millis())
    }

    fn back(self, ms: u64) -> Mono {
        Mono::ZERO.saturating_add(Millis::new(ms.saturating_sub(self.zero)))
    }
}

impl KeptInterface {
    pub(crate) fn of(iface: &Iface, metric: u32, epoch: Epoch) -> Self {
        let lease4 = iface.lease4().map(|lease| KeptLease4 {
            terms: lease.terms.clone(),
            renew_ms: epoch.out(lease.renew_at),
            rebind_ms: epoch.out(lease.rebind_at),
            ends_ms: epoch.out(lease.ends_at),
        });
        let lease6 = iface.lease6().map(|lease| KeptLease6 {
            server: lease.server.clone(),
            addresses: lease
                .addresses
                .iter()
                .map(|held| (held.address, epoch.out(held.fades_at), epoch.out(held.ends_at)))
                .collect(),
            told: lease.told.clone(),
            renew_ms: epoch.out(lease.renew_at),
            rebind_ms: epoch.out(lease.rebind_at),
        });
        let advertised = &iface.advertised;
        let servers = advertised.servers().map(|(server, ends_at)| (server, epoch.out(ends_at))).collect();
        let domains = advertised.domains();
        let domains = domains.map(|(domain, ends_at)| (domain.to_owned(), epoch.out(ends_at))).collect();
        Self { owned: iface.owned.clone(), metric, lease4, lease6, servers, domains }
    }

    /// What has not ended of what routers said.
    pub(crate) fn advertised(&self, now: Mono, epoch: Epoch) -> Advertised {
        let servers = self.servers.iter().map(|(server, ends_ms)| (*server, epoch.back(*ends_ms)));
        let domains = self.domains.iter().filter(|(domain, _)| names::domain(domain).is_some());
        let domains = domains.map(|(domain, ends_ms)| (domain.clone(), epoch.back(*ends_ms)));
        let mut advertised = Advertised::new(servers.collect(), domains.collect());
        advertised.due(now);
        advertised
    }

    /// The IPv4 lease, unless it has ended.
    pub(crate) fn lease4(&self, now: Mono, epoch: Epoch) -> Option<dhcp4::Lease> {
        let kept = self.lease4.as_ref().filter(|kept| epoch.back(kept.ends_ms) > now)?;
        Some(dhcp4::Lease {
            terms: kept.terms.clone(),
            renew_at: epoch.back(kept.renew_ms),
            rebind_at: epoch.back(kept.rebind_ms),
            ends_at: epoch.back(kept.ends_ms),
        })
    }

    /// What has not ended of the IPv6 lease.
    pub(crate) fn lease6(&self, now: Mono, epoch: Epoch) -> Option<dhcp6::Lease> {
        let kept = self.lease6.as_ref()?;
        let addresses = kept.addresses.iter().take(dhcp6::MAX_ADDRESSES);
        let addresses: Vec<dhcp6::Held> = addresses
            .map(|(address, fades_ms, ends_ms)| dhcp6::Held {
                address: *address,
                fades_at: epoch.back(*fades_ms),
                ends_at: epoch.back(*ends_ms),
            })
            .filter(|held| held.ends_at > now)
            .collect();
        (!addresses.is_empty()).then(|| dhcp6::Lease {
            server: kept.server.clone(),
            addresses,
            told: kept.told.clone(),
            renew_at: epoch.back(kept.renew_ms),
            rebind_at: epoch.back(kept.rebind_ms),
        })
    }
}

/// The folder.
const NAME: &str = "netmgr";
/// The file, in a folder of netmgr's own: in the one of all daemons somebody could put a link in its place.
const FILE: &str = "kept.json";
/// Longest file that is read, bytes: a lease and its routes are less than 4 KiB for an interface.
const FILE_MAX: usize = 1024 * 1024;

/// What an earlier run left. Nothing, or a damaged file, is a machine that has just started: what is on the interfaces is then somebody else's.
pub(crate) fn load(run_dir: &Path) -> Kept {
    let read = Folder::own(run_dir, NAME).and_then(|folder| folder.read(FILE, FILE_MAX));
    let kept = match read {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Kept::default(),
        read => read.and_then(|bytes| Ok(serde_json::from_slice(&bytes)?)),
    };
    kept.unwrap_or_else(|error| {
        tracing::warn!(%error, run_dir = %run_dir.display(), "cannot read network state of earlier run");
        Kept::default()
    })
}

/// Keeps it.
pub(crate) fn save(run_dir: &Path, kept: &Kept) -> std::io::Result<()> {
    Folder::own(run_dir, NAME)?.replace(FILE, &serde_json::to_vec(kept)?, 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_lease_keeps_its_end_over_a_restart_of_the_daemon() {
        let terms = dhcp4::Terms {
            address: Ipv4Addr::new(192, 0, 2, 7),
            prefix: 24,
            routes: vec![crate::route::Route::default_by(Ipv4Addr::new(192, 0, 2, 1).into())],
            dns: Vec::new(),
            search: Vec::new(),
            hostname: None,
            ntp: Vec::new(),
            mtu: None,
            server: Ipv4Addr::new(192, 0, 2, 1),
            lease_s: 600,
            renew_s: None,
            rebind_s: None,
        };
        let at = |secs: u64| Mono::from_millis(secs * 1000);
        // The first daemon started 100 s after the machine.
        let first = Epoch::new(at(10), Duration::from_secs(110));
        let lease = dhcp4::Lease { terms, renew_at: at(300), rebind_at: at(500), ends_at: at(600) };
        let config = crate::config::Interface::default();
        let iface = Iface::new("eth0".into(), config, 1, None, Some(lease), None);
        let kept = Kept {
            interfaces: BTreeMap::from([("eth0".into(), KeptInterface::of(&iface, 100, first))]),
            ..Kept::default()
        };
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), &kept).unwrap();
        let kept = load(dir.path());
        // The second one 400 s after the machine: 300 s are left.
        let second = Epoch::new(at(0), Duration::from_secs(400));
        let lease = kept.interfaces["eth0"].lease4(at(0), second).unwrap();
        assert_eq!((lease.renew_at, lease.rebind_at, lease.ends_at), (at(0), at(200), at(300)));
        // A third one after the end.
        let third = Epoch::new(at(0), Duration::from_secs(700));
        assert_eq!(kept.interfaces["eth0"].lease4(at(0), third), None);
    }

    #[test]
    fn of_an_ipv6_lease_is_kept_what_has_not_ended() {
        let at = |secs: u64| Mono::from_millis(secs * 1000);
        let held = |last: u16, ends_at| dhcp6::Held {
            address: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last),
            fades_at: at(90),
            ends_at,
        };
        let lease = dhcp6::Lease {
            server: vec![1, 2, 3],
            addresses: vec![held(1, at(100)), held(2, at(900))],
            told: dhcp6::Told::default(),
            renew_at: at(50),
            rebind_at: at(80),
        };
        let config = crate::config::Interface { ipv6: crate::config::Ipv6::Dhcp, ..Default::default() };
        let iface = Iface::new("eth0".into(), config, 1, None, None, Some(lease.clone()));
        let epoch = Epoch::new(at(0), Duration::from_secs(10));
        let kept = KeptInterface::of(&iface, 100, epoch);
        assert_eq!(kept.lease6(at(99), epoch), Some(lease));
        assert_eq!(kept.lease6(at(100), epoch).unwrap().addresses, [held(2, at(900))]);
        assert_eq!(kept.lease6(at(900), epoch), None);
        // And of what a router said.
        let mut iface = iface;
        let option = [[25, 3, 0, 0, 0, 0, 0, 60].as_slice(), &[0x20, 1, 0xd, 0xb8], &[1; 12]].concat();
        iface.heard(at(0), &option, &mut Vec::new());
        let kept = KeptInterface::of(&iface, 100, epoch);
        assert_eq!(kept.advertised(at(59), epoch).servers().count(), 1);
        assert_eq!(kept.advertised(at(60), epoch).servers().count(), 0);
    }

    #[test]
    fn a_damaged_file_is_as_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()), Kept::default());
        let file = dir.path().join("netmgr/kept.json");
        std::fs::write(&file, "{\"interfaces\":{\"eth0\":{\"owned\":{\"addresses\":[\"x\"]}}}}").unwrap();
        assert_eq!(load(dir.path()), Kept::default());
    }

    #[test]
    fn what_another_daemon_puts_in_its_place_is_neither_read_nor_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = dir.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, dir.path().join("netmgr")).unwrap();
        assert!(save(dir.path(), &Kept::default()).is_err());
        assert_eq!(load(dir.path()), Kept::default());
        assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
    }
}
