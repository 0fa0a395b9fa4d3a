//! As whom each daemon runs when the operator is root, and what it is handed for that.
//!
//! Each has a user and group of its own, fixed numbers that need no entry in `/etc/passwd`, and the capabilities named here. All share one group, for
//! the folder of sockets. Its state folder is its own; files that its settings name are copied for it, as they may be root's alone.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use board::{Board, HalKind};
use hw::SysRoot;
use roster::{Daemon, I2C_GROUP, Row, SHARED_GROUP};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, chownat};
use rustix::thread::{CapabilitySet, capabilities};
use serde_json::{Map, Value};
use service::Privileges;

use crate::gadgets;

/// Longest file that is handed over.
const FILE_MAX: usize = 1024 * 1024;
/// Folders in a daemon's state that are looked through.
const DEPTH_MAX: u32 = 8;
/// Files and folders in a daemon's folder that are looked at.
const ENTRIES_MAX: u32 = 10_000;

/// The user of a daemon that has one, and its row.
fn owned(daemon: &str) -> Option<(u32, &'static Row)> {
    let row = Daemon::named(daemon)?.row();
    Some((row.user?, row))
}

/// Who a daemon shall be. `low_ports` for one that listens below 1024. `None` for what is no part of the management software: the simulated
/// host runs as whoever started it, and may run a guest.
pub(crate) fn of(daemon: &str, low_ports: bool) -> Option<Privileges> {
    let (id, row) = owned(daemon)?;
    let mut capabilities = row.capabilities;
    if low_ports {
        capabilities |= CapabilitySet::NET_BIND_SERVICE;
    }
    let joined = row.joins.iter().filter_map(|daemon| daemon.row().user);
    let buses = row.i2c.then_some(I2C_GROUP);
    let groups = std::iter::once(SHARED_GROUP).chain(joined).chain(buses).collect();
    Some(Privileges { id, groups, capabilities: capabilities.bits() })
}

/// What came of handing folders over.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// Whether daemons have users of their own. Without, all run as the operator does.
    pub(crate) users: bool,
    /// What could not be done, and of whom; told as long as this operator runs.
    pub(crate) faults: Vec<String>,
}

/// Hands the folders to their daemons. A daemon whose folder cannot be handed over whole has its own user all the same, and may lack something in
/// it: more rights would be worse. Only where the common folders cannot be had has nobody a user of its own, which is the rule for an operator
/// that is not root; then nothing is changed.
pub(crate) fn prepare(state_dir: &Path, run_dir: &Path, daemons: &[&str]) -> Given {
    let needed =
        CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::SETPCAP | CapabilitySet::CHOWN;
    let able = capabilities(None).is_ok_and(|have| have.effective.contains(needed));
    if !rustix::process::geteuid().is_root() || !able {
        return Given::default();
    }
    let common = || -> io::Result<OwnedFd> {
        // Whoever makes a file here owns it, and everybody in the group reaches it.
        let run = given_folder(run_dir)?;
        own_folder(&run, None, SHARED_GROUP, 0o3770)?;
        own_folder(&make_folder(&run, Path::new("handed"))?, Some(0), SHARED_GROUP, 0o710)?;
        Ok(run)
    };
    let run = match common() {
        Ok(run) => run,
        Err(error) => {
            let fault =
                format!("all daemons run as root: {} cannot be handed to them: {error}", run_dir.display());
            return Given { users: false, faults: vec![fault] };
        }
    };
    let mut faults = Vec::new();
    for (daemon, (id, _)) in daemons.iter().filter_map(|daemon| Some((daemon, owned(daemon)?))) {
        let state = hand_state(daemon, state_dir);
        // Made before any daemon runs, so that none can have it made for another.
        let run = make_folder(&run, Path::new(daemon)).and_then(|folder| {
            own_tree(&folder, id)?;
            // What is made in it is of the shared group, which may pass through and see no names.
            let admits = Daemon::named(daemon).is_some_and(|daemon| daemon.row().admits);
            if admits {
                own_folder(&folder, Some(id), SHARED_GROUP, 0o2710)
            } else {
                own_folder(&folder, Some(id), id, 0o700)
            }
        });
        for (name, result) in [("state", state), ("run-time", run)] {
            if let Err(error) = result {
                faults.push(format!("{daemon} does not own all of its {name} folder: {error}"));
            }
        }
    }
    Given { users: true, faults }
}

/// Gives a daemon its folder of the state directory with all that is in it, such as a file that a person has put there as root.
pub(crate) fn hand_state(daemon: &str, state_dir: &Path) -> io::Result<()> {
    let Some((id, _)) = owned(daemon) else { return Ok(()) };
    match open_folder(&given_folder(state_dir)?, Path::new(daemon)) {
        // It is made, or not, where it is needed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        folder => own_tree(&folder?, id),
    }
}

/// Makes the folders of the files a daemon replaces, and with `own` gives them to it. One that is there already, and is not its own, stays whose it is: a site may have put it anywhere.
pub(crate) fn hand_folders(daemon: &str, folders: &[PathBuf], own: bool) -> io::Result<()> {
    let Some((id, _)) = owned(daemon) else { return Ok(()) };
    for path in folders {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
        let parent = given_folder(parent)?;
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Err(rustix::io::Errno::EXIST) => continue,
            made => made?,
        }
        if own {
            own_folder(&open_folder(&parent, Path::new(name))?, Some(id), id, 0o755)?;
        }
    }
    Ok(())
}

/// Opens a folder that the operator was started with: only root could have put a link there.
fn given_folder(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Opens a folder, never what a link in its place names.
fn open_folder(parent: impl AsFd, name: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// Opens a folder that is made when it is not there.
fn make_folder(parent: &OwnedFd, name: &Path) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700)) {
        Err(error) if error != rustix::io::Errno::EXIST => Err(error.into()),
        _ => open_folder(parent, name),
    }
}

/// Gives a folder, with these rights, to a user and group.
fn own_folder(folder: &OwnedFd, user: Option<u32>, group: u32, mode: u32) -> io::Result<()> {
    own(folder, user, group)?;
    if rustix::fs::fstat(folder)?.st_mode & 0o7777 != mode {
        rustix::fs::fchmod(folder, Mode::from_raw_mode(mode))?;
    }
    Ok(())
}

/// Gives what is open to a user and group. Nothing is written where nothing changes: folders are on flash, and it may be read-only.
fn own(file: &OwnedFd, user: Option<u32>, group: u32) -> io::Result<()> {
    let about = rustix::fs::fstat(file)?;
    if about.st_gid == group && user.is_none_or(|user| about.st_uid == user) {
        return Ok(());
    }
    let user = user.map(Uid::from_raw);
    Ok(chownat(file, "", user, Some(Gid::from_raw(group)), AtFlags::EMPTY_PATH)?)
}

/// Gives a folder and all in it to a daemon: an earlier release ran it as root. What is changed is what was looked at, never what a name or a
/// link leads to by then; a file with a second name may be somebody else's and stays whose it is.
fn own_tree(folder: &OwnedFd, id: u32) -> io::Result<()> {
    let mut left = ENTRIES_MAX;
    own_all(folder, id, 0, &mut left)
}

fn own_all(folder: &OwnedFd, id: u32, depth: u32, left: &mut u32) -> io::Result<()> {
    own(folder, Some(id), id)?;
    let mut result = Ok(());
    for entry in rustix::fs::Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        *left = left.checked_sub(1).ok_or_else(|| io::Error::other("too many files"))?;
        let mut one = || -> io::Result<()> {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = rustix::fs::openat(folder, name, flags, Mode::empty())?;
            let about = rustix::fs::fstat(&file)?;
            match FileType::from_raw_mode(about.st_mode) {
                FileType::Directory if depth >= DEPTH_MAX => Err(io::Error::other("folders are too deep")),
                FileType::Directory => own_all(
                    &open_folder(folder, Path::new(OsStr::from_bytes(name.to_bytes())))?,
                    id,
                    depth + 1,
                    left,
                ),
                FileType::RegularFile if about.st_nlink > 1 => {
                    Err(io::Error::other(format!("{} has a second name", name.to_string_lossy())))
                }
                FileType::RegularFile => own(&file, Some(id), id),
                // Links and the like are left as they are.
                _ => Ok(()),
            }
        };
        match one() {
            // It went while it was looked at.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => result = Err(error),
            Ok(()) => {}
        }
    }
    result
}

/// Copies the files that a daemon's settings name, and has the settings name the copies. A file that cannot be copied stays named: the daemon
/// says best what it lacks.
pub(crate) fn hand_files(daemon: &str, settings: &mut Map<String, Value>, run_dir: &Path) {
    let Some((id, row)) = owned(daemon) else { return };
    for key in row.files {
        let mut keys = key.split('.');
        let first = keys.next().and_then(|key| settings.get_mut(key));
        let Some(value) = keys.try_fold(first, |value, key| Some(value?.get_mut(key))).flatten() else {
            continue;
        };
        let Some(from) = value.as_str().map(PathBuf::from) else { continue };
        // What is its own it reaches by itself.
        if from.parent().and_then(|folder| fs::metadata(folder).ok()).is_some_and(|about| about.uid() == id) {
            continue;
        }
        let to = run_dir.join("handed").join(format!("{daemon}.{key}"));
        match copy(&from, &to, Some(id), id, 0o400) {
            Ok(()) => *value = Value::String(to.display().to_string()),
            Err(error) => {
                tracing::warn!(daemon, key, %error, file = %from.display(), "cannot give file to daemon");
            }
        }
    }
}

fn copy(from: &Path, to: &Path, user: Option<u32>, group: u32, mode: u32) -> io::Result<()> {
    // A daemon that may change what the name leads to could have any file copied for it.
    if from.ancestors().skip(1).any(|folder| fs::metadata(folder).is_ok_and(|about| is_daemon(about.uid()))) {
        return Err(io::Error::other("it is in a daemon's own folder"));
    }
    // Opening what is no file, a pipe say, may block for good.
    let file =
        fs::File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(from)?;
    let bytes = service::read_file(file.into(), FILE_MAX)?;
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::File::options().write(true).create_new(true).mode(0o600).open(to)?;
    file.write_all(&bytes)?;
    let file = OwnedFd::from(file);
    own(&file, user, group)?;
    Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?)
}

fn is_daemon(user: u32) -> bool {
    Daemon::ALL.iter().any(|daemon| daemon.row().user == Some(user))
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
            tracing::warn!(socket = %entry.path().display(), %error, "cannot give socket to daemons");
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
    chownat(CWD, &opened, None, Some(Gid::from_raw(SHARED_GROUP)), AtFlags::empty())?;
    fs::set_permissions(&opened, fs::Permissions::from_mode(0o660))
}

/// Hands over the hardware of a board there is by now.
pub(crate) fn hand_hardware(board: &Board, run_dir: &Path) {
    if board.hal == HalKind::Linux {
        hand_devices(Path::new("/dev"));
        hand_buses(&hw::i2c_files(board));
        hand_ports_of_hosts(board);
    }
    let root = SysRoot::of(board, run_dir);
    hand_eeproms(|row| row.eeproms, &hw::eeprom_files(board, &root));
    hand_eeproms(|row| row.mailboxes, &hw::mailbox_files(board, &root));
    hand_fans(&hw::fan_files(board, &root));
    hand_lights(root.path());
}

/// Lets each daemon use the devices its row names: its group reaches those there are by now. Drivers may bring more later.
fn hand_devices(dev: &Path) {
    let owners = || Daemon::ALL.iter().map(|daemon| daemon.row()).filter_map(|row| Some((row, row.user?)));
    for entry in fs::read_dir(dev).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let has =
            |row: &Row| name.to_str().is_some_and(|name| row.devices.iter().any(|of| name.starts_with(of)));
        let Some((row, id)) = owners().find(|(row, _)| has(row)) else { continue };
        if let Err(error) = hand(&entry.path(), id, |_| 0o660) {
            tracing::warn!(daemon = row.name, device = %entry.path().display(), %error, "cannot give device to daemon");
        }
    }
}

/// Lets the daemons that serve consoles, screens and media use the board's serial ports, video devices, keyboards and drives, and no others: one of the ports may be the
/// controller's own.
fn hand_ports_of_hosts(board: &Board) {
    for (path, error) in hand_late(board) {
        tracing::warn!(device = %path.display(), %error, "cannot give device of a host to daemon");
    }
}

/// As at the start, for a device whose driver comes later, or that comes again: its daemon tries it all the time. What failed, and why.
pub(crate) fn hand_late(board: &Board) -> Vec<(PathBuf, io::Error)> {
    if board.hal == HalKind::Sim {
        return Vec::new();
    }
    let ports = board.consoles.iter().filter_map(|console| console.device.clone());
    let of_screens = |screen: &board::Screen| {
        std::iter::once(screen.video.clone()).chain(gadgets::devices(screen)).collect::<Vec<_>>()
    };
    let screens = board.screens.iter().flat_map(of_screens);
    let mut failed = hand_all(|row| row.consoles, ports);
    failed.extend(hand_all(|row| row.screens, screens));
    failed.extend(hand_all(|row| row.media, gadgets::media_files(board).into_iter()));
    failed
}

/// Gives these to the daemon that is wanted; those that it cannot be given, and why. One that is not there may come.
fn hand_all(wanted: fn(&Row) -> bool, devices: impl Iterator<Item = PathBuf>) -> Vec<(PathBuf, io::Error)> {
    let mut owners = Daemon::ALL.iter().map(|daemon| daemon.row()).filter(|row| wanted(row));
    let Some(id) = owners.find_map(|row| row.user) else { return Vec::new() };
    let failed = |path: PathBuf| hand(&path, id, |_| 0o660).err().map(|error| (path, error));
    devices.filter_map(failed).filter(|(_, error)| error.kind() != io::ErrorKind::NotFound).collect()
}

/// Lets the daemon that drives LEDs write what their folders below `sys` have for that: its group reaches those there are by now. What a
/// trigger brings later stays root's; the daemon then does without.
fn hand_lights(sys: &Path) {
    let mut owners = Daemon::ALL.iter().map(|daemon| daemon.row()).filter(|row| row.lights);
    let Some((row, id)) = owners.find_map(|row| Some((row, row.user?))) else { return };
    for entry in fs::read_dir(sys.join("class/leds")).into_iter().flatten().flatten() {
        for file in ["brightness", "trigger", "delay_on", "delay_off"] {
            let path = entry.path().join(file);
            match hand(&path, id, |_| 0o664) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(daemon = row.name, file = %path.display(), %error, "cannot give LED to daemon");
                }
                _ => {}
            }
        }
    }
}

/// Gives a file of `/dev` or `/sys` to a group, with the mode that `mode` makes of its own.
fn hand(path: &Path, group: u32, mode: impl FnOnce(u32) -> u32) -> io::Result<()> {
    let file = rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let about = rustix::fs::fstat(&file)?;
    let has = about.st_mode & 0o777;
    let mode = mode(has);
    if about.st_gid == group && has == mode {
        return Ok(());
    }
    own(&file, None, group)?;
    // /dev and /sys are root's: the name leads to what was looked at.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// What the owner of a file may, its group may as well to read and write.
fn writable(mode: u32) -> u32 {
    mode | 0o060
}

/// Lets the daemons that speak to devices on I2C buses reach the buses on which the board has such devices.
fn hand_buses(buses: &[PathBuf]) {
    for path in buses {
        if let Err(error) = hand(path, I2C_GROUP, |_| 0o660) {
            tracing::warn!(bus = %path.display(), %error, "cannot give I2C bus to daemons");
        }
    }
}

/// Lets the daemon that is wanted read and write these EEPROMs: its group reaches those there are by now. One that is put back is another file.
fn hand_eeproms(wanted: fn(&Row) -> bool, files: &[PathBuf]) {
    let mut owners = Daemon::ALL.iter().map(|daemon| daemon.row()).filter(|row| wanted(row));
    let Some(id) = owners.find_map(|row| row.user) else { return };
    for path in files {
        match hand(path, id, writable) {
            // It was pulled just now.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(eeprom = %path.display(), %error, "cannot give EEPROM to daemon");
            }
            _ => {}
        }
    }
}

/// Lets who drives the fans do that: its group writes the outputs there are by now. Others may come with a driver, or a device that is put back.
fn hand_fans(outputs: &[PathBuf]) {
    let Some(id) =
        Daemon::ALL.iter().map(|daemon| daemon.row()).find(|row| row.fans).and_then(|row| row.user)
    else {
        return;
    };
    for path in outputs {
        if let Err(error) = hand(path, id, writable) {
            tracing::warn!(output = %path.display(), %error, "cannot give fan output to daemon");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_port_that_comes_late_is_handed_over_then() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let port = folder.path().join("ttyS9");
        let hand_it = || hand_all(|row| row.consoles, std::iter::once(port.clone())).len();
        assert_eq!(hand_it(), 0, "it is not there, and may come");
        fs::write(&port, "").unwrap();
        assert_eq!(hand_it(), 0);
        let about = fs::metadata(&port).unwrap();
        let id = Daemon::Consolesrv.row().user.unwrap();
        assert_eq!(
            (std::os::unix::fs::MetadataExt::gid(&about), about.permissions().mode() & 0o777),
            (id, 0o660)
        );
        // Another takes its place, as when a device is put back.
        fs::remove_file(&port).unwrap();
        fs::write(&port, "").unwrap();
        hand_it();
        assert_eq!(std::os::unix::fs::MetadataExt::gid(&fs::metadata(&port).unwrap()), id);
    }

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
        let given = prepare(&state, &run, &["websrv", "twin"]);
        if !given.users {
            assert_eq!(owner(&state.join("websrv")), before);
            return;
        }
        assert_eq!(owner(&state.join("websrv/tls/key.pem")), 64_004);
        assert_eq!(fs::metadata(run.join("websrv")).unwrap().mode() & 0o7777, 0o700);
        assert_eq!(owner(&run.join("websrv")), 64_004);
        let again = prepare(&state, &run, &["websrv"]);
        assert!(again.users && given.faults.is_empty() && again.faults.is_empty(), "{given:?} {again:?}");
        let mut settings = Map::new();
        settings.insert("tls".into(), serde_json::json!({ "cert_file": site, "key_file": "/nonexistent" }));
        hand_files("websrv", &mut settings, &run);
        let handed = run.join("handed/websrv.tls.cert_file");
        assert_eq!(settings["tls"]["cert_file"], handed.display().to_string());
        assert_eq!(settings["tls"]["key_file"], "/nonexistent");
        let about = fs::metadata(&handed).unwrap();
        assert_eq!((about.uid(), about.mode() & 0o777), (64_004, 0o400));
    }

    #[test]
    fn what_a_daemon_leaves_in_its_folder_leads_nowhere_and_costs_nobody_its_own_user() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (state, run) = (dir.path().join("state"), dir.path().join("run"));
        for folder in [state.join("websrv/sub"), state.join("usermgr"), run.clone()] {
            fs::create_dir_all(folder).unwrap();
        }
        let root_s = dir.path().join("root's");
        fs::create_dir(&root_s).unwrap();
        fs::write(root_s.join("secret"), "x").unwrap();
        std::os::unix::fs::symlink(&root_s, state.join("websrv/folder")).unwrap();
        std::os::unix::fs::symlink(root_s.join("secret"), state.join("websrv/link")).unwrap();
        fs::hard_link(root_s.join("secret"), state.join("websrv/sub/name")).unwrap();
        fs::write(state.join("websrv/sub/own"), "x").unwrap();
        fs::write(state.join("usermgr/own"), "x").unwrap();
        // One daemon in another's place.
        std::os::unix::fs::symlink(&root_s, run.join("usermgr")).unwrap();
        let given = prepare(&state, &run, &["websrv", "usermgr"]);
        let owner = |path: &Path| fs::symlink_metadata(path).map(|about| about.uid()).unwrap();
        assert_eq!([owner(&root_s), owner(&root_s.join("secret"))], [0, 0]);
        assert_eq!(owner(&state.join("websrv/sub/own")), 64_004);
        assert_eq!(owner(&state.join("usermgr/own")), 64_003);
        assert!(given.users);
        assert_eq!(given.faults.len(), 2, "{:?}", given.faults);
        // Nor is a file copied that a daemon can have changed for another.
        let mut settings = Map::new();
        let theirs = state.join("usermgr/link");
        std::os::unix::fs::symlink(root_s.join("secret"), &theirs).unwrap();
        settings.insert("tls".into(), serde_json::json!({ "cert_file": theirs, "key_file": theirs }));
        hand_files("websrv", &mut settings, &run);
        assert_eq!(settings["tls"]["cert_file"], theirs.display().to_string());
        assert!(fs::read_dir(run.join("handed")).unwrap().next().is_none());
        // A folder that cannot be had is told.
        let given = prepare(&state, &dir.path().join("missing"), &["websrv"]);
        assert!(!given.users && given.faults[0].contains("run as root"), "{given:?}");
    }

    #[test]
    fn the_numbers_and_capabilities_are_what_folders_on_flash_rely_on() {
        let ids = ["powermgr", "statemgr", "usermgr", "websrv", "netmgr", "fleet", "eventlog", "thermalmgr"]
            .map(|name| of(name, false).unwrap().id);
        assert_eq!(ids, [64_001, 64_002, 64_003, 64_004, 64_005, 64_006, 64_007, 64_009]);
        let ledmgr = of("ledmgr", false).unwrap();
        assert_eq!((ledmgr.id, ledmgr.groups), (64_010, vec![SHARED_GROUP, 64_001]), "lines are powermgr's");
        assert_eq!([of("twin", false), of("operator", false)], [None, None]);
        assert_eq!(of("websrv", false).unwrap().capabilities, 0);
        assert_eq!(of("websrv", true).unwrap().capabilities, 1 << 10, "CAP_NET_BIND_SERVICE");
    }
}
