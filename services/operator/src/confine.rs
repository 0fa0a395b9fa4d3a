//! What each daemon is confined to, as its row says.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use hal_linux::seccomp::Groups;
use roster::{Daemon, Reach as Connects, Row};
use serde_json::{Map, Value};
use service::{Confinement, Reach};

use crate::config::Listen;

/// What every daemon reads of the system: about itself, which boot this is, and random bytes, which a static program gets from there.
const ALL_READ: [&str; 4] = ["/proc/self", "/proc/sys/kernel/random/boot_id", "/dev/urandom", "/dev/random"];
/// Where resolvers look.
const NAMES_READ: [&str; 2] = ["/etc", "/run"];
/// The port of name servers, which answer over TCP what is too long for UDP.
const NAMES_PORT: u16 = 53;

/// The port of viewers, where the configuration names none: it can be opened while its daemon runs (websrv's `viewers`).
const VIEWERS: u16 = 5900;

/// The longest host name the kernel takes.
const HOST_NAME_MAX: usize = 64;

/// Where the kernel has sensors; whoever reads them reads those of a simulated board in the folder of the same layout.
const SENSORS: &str = "/sys/class/hwmon";

/// What a start depends on.
pub(crate) struct Start<'a> {
    /// Its own folder in the state directory.
    pub(crate) state_dir: &'a Path,
    /// The folder of sockets.
    pub(crate) run_dir: &'a Path,
    /// The program, which a backtrace is read from.
    pub(crate) program: &'a Path,
    /// Where its bus is.
    pub(crate) bus_url: Option<&'a str>,
    /// The bus is somebody else's: it may have a name, and name other servers.
    pub(crate) bus_is_foreign: bool,
    /// The ports that others come in by, for who serves them.
    pub(crate) served: &'a [u16],
}

/// What a daemon is confined to that starts so. `None` for what has no row of its own, and for what is no part of the management software: the simulated host
/// may run a guest.
pub(crate) fn of(daemon: &str, settings: &Map<String, Value>, start: &Start<'_>) -> Option<Confinement> {
    let row = Daemon::named(daemon).filter(|daemon| is_meant(*daemon))?.row();
    let mut paths = Vec::new();
    let mut may = |path: PathBuf, reach| paths.push((path, reach));
    may(start.state_dir.to_owned(), Reach::Change);
    may(start.run_dir.to_owned(), Reach::List);
    may(start.run_dir.join(daemon), if row.admits { Reach::Serve } else { Reach::Change });
    may(start.program.to_owned(), Reach::Read);
    for path in ALL_READ.iter().chain(row.reads) {
        may(path.into(), Reach::Read);
    }
    // A simulated board has its sensors there; the twin makes the folder before.
    if row.reads.contains(&SENSORS) {
        may(start.run_dir.join("sys"), Reach::Read);
    }
    // As its EEPROMs, in files that are as those of the kernel.
    if row.eeproms {
        may(start.run_dir.join("sys"), Reach::Read);
        may(start.run_dir.join("sys"), Reach::Write);
    }
    if row.fans {
        may(start.run_dir.join("sys/devices"), Reach::Write);
    }
    for path in row.writes {
        may(path.into(), Reach::Write);
    }
    // So has it its LEDs there.
    if row.lights {
        may(start.run_dir.join("sys"), Reach::Write);
    }
    if uses_devices(row) {
        // They come and go. Which are its own is said by their group.
        may("/dev".into(), Reach::Use);
    }
    for path in row.files.iter().filter_map(|key| setting(settings, key)) {
        may(path, Reach::Read);
    }
    for folder in replaced(row, settings) {
        may(folder, Reach::Change);
    }
    let mut groups = row.system_calls;
    let bus = start.bus_url.and_then(|url| url.rsplit_once(':')?.1.parse().ok());
    let mut connect = match row.reach {
        Connects::Bus | Connects::Served | Connects::Listens(_) => {
            Some(bus.into_iter().collect::<Vec<u16>>())
        }
        Connects::Names => Some(bus.into_iter().chain([NAMES_PORT]).collect()),
        Connects::Outward => None,
    };
    if start.bus_is_foreign {
        connect = None;
        groups = groups.union(Groups::DATAGRAMS);
        for path in NAMES_READ {
            may(path.into(), Reach::Read);
        }
    }
    let bind: Option<Vec<u16>> = match row.reach {
        // What comes in by its own setting as well.
        Connects::Served => {
            let viewers = port(settings, "vnc").unwrap_or(VIEWERS);
            Some(start.served.iter().copied().chain([viewers]).collect())
        }
        // Without the setting a port is chosen while it runs, and what is held now is held for good.
        Connects::Listens(key) => settings.get(key).map(|_| port(settings, key).into_iter().collect()),
        Connects::Bus | Connects::Names | Connects::Outward => Some(Vec::new()),
    };
    let binds_any = bind.is_none();
    let bind = bind.unwrap_or_default();
    Some(Confinement { paths, connect, bind, binds_any, calls: groups.bits() })
}

/// The ports of these flags; 0 is a free one, which nobody knows yet.
pub(crate) fn ports(flags: &[Listen]) -> Vec<u16> {
    let port = |flag: &Listen| match flag {
        Listen::At(address) => Some(address.port()),
        Listen::Off => None,
    };
    flags.iter().filter_map(port).collect()
}

/// The ports that are websrv's, whether it listens there now or not: those of its flags, and the one of viewers by its settings.
pub(crate) fn of_websrv(flags: &[Listen], settings: &Map<String, Value>) -> Vec<u16> {
    let viewers = port(settings, "vnc").unwrap_or(VIEWERS);
    ports(flags).into_iter().chain([viewers]).filter(|port| *port != 0).collect()
}

/// Whether it has devices of its own, or uses another's.
fn uses_devices(row: &Row) -> bool {
    row.i2c
        || row.consoles
        || row.screens
        || !row.devices.is_empty()
        || row.joins.iter().any(|daemon| !daemon.row().devices.is_empty())
}

/// The folders of the files a daemon replaces.
pub(crate) fn replaced(row: &Row, settings: &Map<String, Value>) -> Vec<PathBuf> {
    let files =
        row.replaces.iter().map(|(key, default)| setting(settings, key).unwrap_or_else(|| default.into()));
    files.filter_map(|file| Some(file.parent()?.to_owned())).collect()
}

/// Drops the settings that have a daemon replace a file in a folder that is not `user`'s: it could not, and where an earlier release ran
/// it as root such a setting was right. The default holds then. Returns what was dropped: the setting, its path, and that default.
pub(crate) fn keep_to_own(
    row: &Row,
    settings: &mut Map<String, Value>,
    user: u32,
) -> Vec<(&'static str, PathBuf, &'static str)> {
    let is_others = |file: &Path| {
        let folder = file.parent().and_then(|folder| std::fs::metadata(folder).ok());
        folder.is_some_and(|folder| folder.uid() != user)
    };
    let mut dropped = Vec::new();
    for (key, default) in row.replaces {
        let Some(path) = setting(settings, key).filter(|path| path != Path::new(default) && is_others(path))
        else {
            continue;
        };
        settings.remove(*key);
        dropped.push((*key, path, *default));
    }
    dropped
}

/// The path that a setting names, with dots for nested tables.
fn setting(settings: &Map<String, Value>, key: &str) -> Option<PathBuf> {
    let mut keys = key.split('.');
    let first = settings.get(keys.next()?)?;
    keys.try_fold(first, |value, key| value.get(key))?.as_str().map(PathBuf::from)
}

/// The port that a setting names as ADDRESS:PORT.
fn port(settings: &Map<String, Value>, key: &str) -> Option<u16> {
    settings.get(key)?.as_str()?.parse::<std::net::SocketAddr>().ok().map(|address| address.port())
}

/// Whether a daemon is confined at all: what is no part of the management software is not.
pub(crate) fn is_meant(daemon: Daemon) -> bool {
    daemon.row().user.is_some()
}

/// Whether a machine can be called so (RFC 1123, 2.1; the kernel takes 64 bytes).
pub(crate) fn is_host_name(name: &str) -> bool {
    (1..=HOST_NAME_MAX).contains(&name.len())
        && name.split('.').all(|label| {
            let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
            !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.bytes().all(inner)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Start<'static> {
        Start {
            state_dir: Path::new("/state/x"),
            run_dir: Path::new("/run/u-bmc"),
            program: Path::new("/usr/bin/u-bmc"),
            bus_url: Some("nats://127.0.0.1:4711"),
            bus_is_foreign: false,
            served: &[443, 80],
        }
    }

    fn reaches(confinement: &Confinement, path: &str) -> Option<Reach> {
        let rule = confinement.paths.iter().filter(|(rule, _)| Path::new(path).starts_with(rule));
        rule.map(|(_, reach)| *reach).next()
    }

    #[test]
    fn each_daemon_reaches_its_own_and_no_other_s() {
        for daemon in Daemon::ALL.iter().copied().filter(|daemon| daemon.row().user.is_some()) {
            let start = Start { state_dir: &Path::new("/state").join(daemon.name()), ..start() };
            let may = of(daemon.name(), &Map::new(), &start).unwrap();
            for other in Daemon::ALL.iter().copied().filter(|other| *other != daemon) {
                let name = other.name();
                assert_eq!(reaches(&may, &format!("/state/{name}/x")), None, "{daemon:?}");
                let run = reaches(&may, &format!("/run/u-bmc/{name}/x"));
                assert!(matches!(run, Some(Reach::List | Reach::Read)), "{daemon:?} {run:?}");
            }
            assert_eq!(reaches(&may, &format!("/state/{}/x", daemon.name())), Some(Reach::Change));
            for path in ["/root/x", "/home/x", "/dev/mem", "/proc/1/environ", "/sys/kernel/x", "/var/lib/x"] {
                let reach = reaches(&may, path);
                let devices = path.starts_with("/dev") && uses_devices(daemon.row());
                assert_eq!(reach.is_some(), devices, "{daemon:?} {path}");
            }
        }
        assert_eq!(of("twin", &Map::new(), &start()), None);
        assert_eq!(of("operator", &Map::new(), &start()), None);
        assert_eq!(of("nobody", &Map::new(), &start()), None);
    }

    #[test]
    fn ports_are_those_of_the_bus_and_of_the_flags() {
        let of = |daemon: Daemon, start: &Start<'_>| of(daemon.name(), &Map::new(), start).unwrap();
        let (power, web) = (of(Daemon::Powermgr, &start()), of(Daemon::Websrv, &start()));
        assert_eq!((power.connect, power.bind), (Some(vec![4711]), vec![]));
        assert_eq!((web.connect, web.bind), (Some(vec![4711]), vec![443, 80, 5900]));
        let viewers = Map::from_iter([("vnc".to_owned(), Value::from("[::]:5901"))]);
        assert_eq!(super::of("websrv", &viewers, &start()).unwrap().bind, [443, 80, 5901]);
        assert_eq!(of(Daemon::Fleet, &start()).connect, None);
        for (listen, bind) in [("[::]:2200", vec![2200]), ("192.0.2.1:22", vec![22]), ("2200", vec![])] {
            let settings = Map::from_iter([("listen".to_owned(), Value::from(listen))]);
            let ssh = super::of("sshsrv", &settings, &start()).unwrap();
            assert_eq!((ssh.connect, ssh.bind, ssh.binds_any), (Some(vec![4711]), bind, false), "{listen}");
        }
        // Where the configuration names no port, one is chosen while it runs; nobody else has that.
        for daemon in Daemon::ALL.iter().copied().filter(|daemon| is_meant(*daemon)) {
            assert_eq!(of(daemon, &start()).binds_any, daemon == Daemon::Sshsrv, "{daemon:?}");
        }
        let foreign = of(Daemon::Powermgr, &Start { bus_is_foreign: true, ..start() });
        assert_eq!(foreign.connect, None);
        assert!(Groups::from_bits(foreign.calls).contains(Groups::DATAGRAMS));
        assert!(!Groups::from_bits(power.calls).contains(Groups::DATAGRAMS));
    }

    #[test]
    fn the_ports_of_websrv_are_known_whether_it_listens_or_not() {
        let at = |text: &str| Listen::At(text.parse().unwrap());
        let own = |text: &str| Map::from_iter([("vnc".to_owned(), Value::from(text))]);
        assert_eq!(of_websrv(&[at("[::]:8443"), at("127.0.0.1:8080")], &Map::new()), [8443, 8080, 5900]);
        assert_eq!(of_websrv(&[at("[::]:443"), Listen::Off], &own("[::]:5901")), [443, 5901]);
        // Which free ones it will have nobody knows; switched off by the configuration, that of viewers is the usual one.
        assert_eq!(of_websrv(&[at("[::]:0"), at("[::]:0")], &own("off")), [5900]);
        assert_eq!(ports(&[at("[::]:0"), Listen::Off]), [0], "a free one may be had");
    }

    #[test]
    fn files_of_settings_are_reached_where_they_are() {
        let settings =
            serde_json::json!({ "tls": { "cert_file": "/etc/a.pem" }, "resolv_conf": "/srv/names/r" });
        let settings = settings.as_object().unwrap();
        let web = of("websrv", settings, &start()).unwrap();
        assert_eq!(reaches(&web, "/etc/a.pem"), Some(Reach::Read));
        assert_eq!(reaches(&web, "/etc/b.pem"), None);
        assert_eq!(replaced(Daemon::Netmgr.row(), settings), [Path::new("/srv/names")]);
        assert_eq!(replaced(Daemon::Netmgr.row(), &Map::new()), [Path::new("/run/netmgr")]);
    }

    #[test]
    fn a_file_in_somebody_else_s_folder_is_not_what_a_daemon_replaces() {
        let dir = tempfile::tempdir().unwrap();
        let own = std::fs::metadata(dir.path()).unwrap().uid();
        let row = Daemon::Netmgr.row();
        let of = |path: &Path| Map::from_iter([("resolv_conf".to_owned(), path.to_str().unwrap().into())]);
        // Its own folder; one that is made for it.
        for path in [dir.path().join("resolv.conf"), dir.path().join("new/resolv.conf")] {
            let mut settings = of(&path);
            assert_eq!(keep_to_own(row, &mut settings, own), []);
            assert_eq!(settings, of(&path));
        }
        // As the default of an earlier release is: of root, or of whoever runs this.
        let mut settings = of(&dir.path().join("resolv.conf"));
        let dropped = keep_to_own(row, &mut settings, own + 1);
        let default = row.replaces[0].1;
        assert_eq!(dropped, [("resolv_conf", dir.path().join("resolv.conf"), default)]);
        assert!(settings.is_empty());
        assert_eq!(replaced(row, &settings), [Path::new(default).parent().unwrap()]);
        assert_eq!(keep_to_own(row, &mut settings, own + 1), [], "the default is its own");
    }

    #[test]
    fn a_host_is_called_by_labels() {
        for good in ["bmc", "u-bmc-0a1b2c", "node1.rack.example", "7"] {
            assert!(is_host_name(good), "{good}");
        }
        let long = "a".repeat(HOST_NAME_MAX + 1);
        for bad in ["", "-a", "a-", "a..b", ".a", "a b", "a/b", "ä", "a\n", long.as_str()] {
            assert!(!is_host_name(bad), "{bad:?}");
        }
    }
}
