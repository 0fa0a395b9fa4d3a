//! As whom each daemon runs when the operator is root, and what it is handed for that.
//!
//! Each has a user and group of its own, fixed numbers that need no entry in `/etc/passwd`, and the capabilities named here. All share one group, for
//! the folder of sockets. Its state folder is its own; files that its settings name are copied for it, as they may be root's alone.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Uid, chownat};
use rustix::thread::{CapabilitySet, capabilities};
use serde_json::{Map, Value};
use service::Privileges;

/// The group of all daemons; a daemon's own number comes after it. Debian's policy (9.2.2) leaves 60000 to 64999 to packages.
const SHARED: u32 = 64_000;
/// Longest file that is handed over.
const FILE_MAX: u64 = 1024 * 1024;
/// Folders in a daemon's state that are looked through.
const DEPTH_MAX: u32 = 8;

/// One daemon's row.
struct Row {
    daemon: &'static str,
    capabilities: CapabilitySet,
    /// Settings that name files it reads.
    files: &'static [&'static str],
}

/// The numbers of users follow from the order: new daemons go to the end.
///
/// netmgr: interfaces and routes, raw sockets for DHCP and the ports it has, the clock, the host's name (`SYS_ADMIN`), and the files it writes in
/// root's folders: the name servers and the clock's device (`DAC_OVERRIDE`).
const ROWS: [Row; 6] = [
    Row { daemon: "powermgr", capabilities: CapabilitySet::empty(), files: &[] },
    Row { daemon: "statemgr", capabilities: CapabilitySet::empty(), files: &[] },
    Row { daemon: "usermgr", capabilities: CapabilitySet::empty(), files: &["admin_password_file"] },
    Row { daemon: "websrv", capabilities: CapabilitySet::empty(), files: &["tls.cert_file", "tls.key_file"] },
    Row {
        daemon: "netmgr",
        capabilities: CapabilitySet::NET_ADMIN
            .union(CapabilitySet::NET_RAW)
            .union(CapabilitySet::NET_BIND_SERVICE)
            .union(CapabilitySet::SYS_TIME)
            .union(CapabilitySet::SYS_ADMIN)
            .union(CapabilitySet::DAC_OVERRIDE),
        files: &[],
    },
    Row {
        daemon: "fleet",
        capabilities: CapabilitySet::empty(),
        files: &["nats.ca_file", "nats.password_file", "nats.credentials_file", "nats.nkey_file"],
    },
];

fn row(daemon: &str) -> Option<(u32, &'static Row)> {
    (SHARED + 1..).zip(&ROWS).find(|(_, row)| row.daemon == daemon)
}

/// Who a daemon shall be. `low_ports` for one that listens below 1024. `None` for what is no part of the management software: the simulated
/// host runs as whoever started it, and may run a guest.
pub(crate) fn of(daemon: &str, low_ports: bool) -> Option<Privileges> {
    let (id, row) = row(daemon)?;
    let mut capabilities = row.capabilities;
    if low_ports {
        capabilities |= CapabilitySet::NET_BIND_SERVICE;
    }
    Some(Privileges { id, groups: vec![SHARED], capabilities: capabilities.bits() })
}

/// Hands the folders to their daemons. `Ok(false)` where this process has not the rights for it, which is the rule for one that is not root;
/// then nothing is changed.
pub(crate) fn prepare(state_dir: &Path, run_dir: &Path, daemons: &[&str]) -> io::Result<bool> {
    let needed =
        CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::SETPCAP | CapabilitySet::CHOWN;
    if !rustix::process::geteuid().is_root() || !capabilities(None)?.effective.contains(needed) {
        return Ok(false);
    }
    own(run_dir, None, SHARED)?;
    // Whoever makes a file here owns it, and everybody in the group reaches it.
    fs::set_permissions(run_dir, fs::Permissions::from_mode(0o3770))?;
    let handed = run_dir.join("handed");
    fs::DirBuilder::new().recursive(true).mode(0o710).create(&handed)?;
    own(&handed, None, SHARED)?;
    fs::set_permissions(&handed, fs::Permissions::from_mode(0o710))?;
    for (daemon, (id, _)) in daemons.iter().filter_map(|daemon| Some((daemon, row(daemon)?))) {
        own_all(&state_dir.join(daemon), id, 0)?;
        // What an operator that ran its daemons as root has left of this boot.
        let kept = run_dir.join(format!("{daemon}.json"));
        if kept.is_file() {
            own(&kept, Some(id), SHARED)?;
        }
        let kept = run_dir.join(daemon);
        if fs::symlink_metadata(&kept).is_ok_and(|about| about.is_dir()) {
            own_all(&kept, id, 0)?;
        }
    }
    Ok(true)
}

fn own(path: &Path, user: Option<u32>, group: u32) -> io::Result<()> {
    // Nothing is written where nothing changes: the folders are on flash, and it may be read-only.
    let about = fs::symlink_metadata(path)?;
    if about.gid() == group && user.is_none_or(|user| about.uid() == user) {
        return Ok(());
    }
    let user = user.map(Uid::from_raw);
    Ok(chownat(CWD, path, user, Some(Gid::from_raw(group)), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Gives a folder and all in it to a daemon: an earlier release ran it as root.
fn own_all(path: &Path, id: u32, depth: u32) -> io::Result<()> {
    own(path, Some(id), id)?;
    if depth < DEPTH_MAX && fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            own_all(&entry?.path(), id, depth + 1)?;
        }
    }
    Ok(())
}

/// Copies the board file to where all daemons can read it.
pub(crate) fn hand_board(board: &Path, run_dir: &Path) -> io::Result<PathBuf> {
    let to = run_dir.join("handed/board.toml");
    copy(board, &to, None, SHARED, 0o640)?;
    Ok(to)
}

/// Copies the files that a daemon's settings name, and has the settings name the copies. A file that cannot be copied stays named: the daemon
/// says best what it lacks.
pub(crate) fn hand_files(daemon: &str, settings: &mut Map<String, Value>, run_dir: &Path) {
    let Some((id, row)) = row(daemon) else { return };
    for key in row.files {
        let mut keys = key.split('.');
        let first = keys.next().and_then(|key| settings.get_mut(key));
        let Some(value) = keys.try_fold(first, |value, key| Some(value?.get_mut(key))).flatten() else {
            continue;
        };
        let Some(from) = value.as_str().map(PathBuf::from) else { continue };
        let to = run_dir.join("handed").join(format!("{daemon}.{key}"));
        match copy(&from, &to, Some(id), id, 0o400) {
            Ok(()) => *value = Value::String(to.display().to_string()),
            Err(error) => {
                tracing::warn!(daemon, key, %error, file = %from.display(), "a file of a daemon cannot be handed over");
            }
        }
    }
}

fn copy(from: &Path, to: &Path, user: Option<u32>, group: u32, mode: u32) -> io::Result<()> {
    if !fs::metadata(from)?.is_file() {
        return Err(io::Error::other("not a file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(from)?.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > FILE_MAX) {
        return Err(io::Error::other("too long"));
    }
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(to)?;
    file.write_all(&bytes)?;
    own(to, user, group)?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))
}

/// Lets daemons use the sockets that somebody else has put into their folder, such as a board simulated by another program. What drives the
/// simulated world from outside stays its maker's.
///
/// The folder belongs to all daemons, so nothing is done by name: what is handed over is what was looked at, never what a daemon put in its place.
pub(crate) fn hand_sockets(run_dir: &Path) {
    for entry in fs::read_dir(run_dir).into_iter().flatten().flatten() {
        let is_socket = entry.file_type().is_ok_and(|kind| kind.is_socket());
        if !is_socket || entry.file_name() == "twin-control.sock" {
            continue;
        }
        if let Err(error) = hand_socket(&entry.path()) {
            tracing::warn!(socket = %entry.path().display(), %error, "daemons may not get at a socket");
        }
    }
}

fn hand_socket(path: &Path) -> io::Result<()> {
    let socket = rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let opened = PathBuf::from(format!("/proc/self/fd/{}", socket.as_raw_fd()));
    let about = fs::metadata(&opened)?;
    // A daemon's own socket needs no handing over, and one with a second name may be somebody else's file.
    let is_ours = about.uid() == rustix::process::geteuid().as_raw();
    if !about.file_type().is_socket() || about.nlink() != 1 || !is_ours {
        return Ok(());
    }
    chownat(CWD, &opened, None, Some(Gid::from_raw(SHARED)), AtFlags::empty())?;
    fs::set_permissions(&opened, fs::Permissions::from_mode(0o660))
}

/// Lets powermgr use the lines: its group reaches every GPIO chip there is by now. Drivers may bring more later.
pub(crate) fn hand_gpio(dev: &Path) {
    let Some((id, _)) = row("powermgr") else { return };
    for entry in fs::read_dir(dev).into_iter().flatten().flatten() {
        let is_chip = entry.file_name().to_str().is_some_and(|name| name.starts_with("gpiochip"));
        if is_chip
            && let Err(error) = own(&entry.path(), None, id)
                .and_then(|()| fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o660)))
        {
            tracing::warn!(chip = %entry.path().display(), %error, "powermgr may not get at a GPIO chip");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_of_ours_is_handed_over_and_no_link_is_followed() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let mode = |name: &str| fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("twin.sock")).unwrap();
        fs::write(dir.path().join("secret"), b"x").unwrap();
        fs::set_permissions(dir.path().join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
        std::os::unix::fs::symlink("secret", dir.path().join("link")).unwrap();
        hand_sockets(dir.path());
        assert_eq!(mode("twin.sock"), 0o660);
        // As if it had been swapped after it was listed.
        for name in ["link", "secret"] {
            let _ = hand_socket(&dir.path().join(name));
        }
        assert_eq!(mode("secret"), 0o600);
    }

    #[test]
    fn every_daemon_on_the_bus_has_a_row_and_a_number_of_its_own() {
        let mut ids: Vec<u32> = ipc::topology::NODES
            .iter()
            .filter(|node| node.daemon != ipc::topology::OPERATOR)
            .map(|node| of(node.daemon, false).unwrap_or_else(|| panic!("{} has no row", node.daemon)).id)
            .collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), ROWS.len());
        assert_eq!(of("twin", false), None);
    }

    #[test]
    fn folders_and_files_are_handed_over_with_root_only() {
        let dir = tempfile::tempdir().unwrap();
        let (state, run) = (dir.path().join("state"), dir.path().join("run"));
        for folder in [state.join("websrv/tls"), run.clone()] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(state.join("websrv/tls/key.pem"), "key").unwrap();
        let site = dir.path().join("site.pem");
        fs::write(&site, "cert").unwrap();
        let owner = |path: &Path| fs::symlink_metadata(path).map(|about| about.uid()).unwrap();
        let before = owner(&state.join("websrv"));
        if !prepare(&state, &run, &["websrv", "twin"]).unwrap() {
            assert_eq!(owner(&state.join("websrv")), before);
            return;
        }
        assert_eq!(owner(&state.join("websrv/tls/key.pem")), 64_004);
        assert!(prepare(&state, &run, &["websrv"]).unwrap(), "and again");
        let mut settings = Map::new();
        settings.insert("tls".into(), serde_json::json!({ "cert_file": site, "key_file": "/nonexistent" }));
        hand_files("websrv", &mut settings, &run);
        let handed = run.join("handed/websrv.tls.cert_file");
        assert_eq!(settings["tls"]["cert_file"], handed.display().to_string());
        assert_eq!(settings["tls"]["key_file"], "/nonexistent");
        let about = fs::metadata(&handed).unwrap();
        assert_eq!((about.uid(), about.mode() & 0o777), (64_004, 0o400));
        let board = hand_board(&site, &run).unwrap();
        assert_eq!(fs::metadata(board).unwrap().mode() & 0o777, 0o640);
    }

    #[test]
    fn the_numbers_and_capabilities_are_what_folders_on_flash_rely_on() {
        let ids = ["powermgr", "statemgr", "usermgr", "websrv", "netmgr", "fleet"]
            .map(|name| of(name, false).unwrap().id);
        assert_eq!(ids, [64_001, 64_002, 64_003, 64_004, 64_005, 64_006]);
        assert_eq!(of("websrv", false).unwrap().capabilities, 0);
        assert_eq!(of("websrv", true).unwrap().capabilities, 1 << 10, "CAP_NET_BIND_SERVICE");
    }
}
