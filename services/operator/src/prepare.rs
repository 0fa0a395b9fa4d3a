//! Everything that can be wrong is looked at before anything starts.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use board::Board;
use data_encoding::HEXLOWER;
use roster::Daemon;
use rustix::fs::{FlockOperation, OFlags, flock};
use service::{ErrorChain, Folder};

use crate::config::{Config, Listen, Options};
use crate::error::Error;

/// No file of a password is longer, bytes.
const PASSWORD_MAX: usize = 64 * 1024;

/// What is settled before the start.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) board: Board,
    pub(crate) config: Config,
    pub(crate) system_id: String,
    /// Files of the state directory that are not as they should be: the file, and what became of it.
    pub(crate) findings: Vec<(String, String)>,
    /// Held while we run: the lock on the state directory.
    _lock: OwnedFd,
}

/// Checks flags, configuration, board, directories and addresses.
pub(crate) fn prepare(options: &Options) -> Result<Prepared, Error> {
    // Every daemon may be configured, also one that does not run here.
    let mut known: Vec<&str> = options.daemons.iter().map(|daemon| daemon.spec.name.as_str()).collect();
    let others: Vec<&str> = roster::names().filter(|name| !known.contains(name)).collect();
    known.extend(others);
    options.configuration.settings.check_daemons(&known)?;
    let config: Config = options.configuration.settings.typed(Daemon::Operator.name())?;
    let board = options.board.clone();
    let board = board.map_err(|report| Error::Board { path: options.board_file.clone(), report })?;
    if let Some(path) = &options.admin_password_file {
        let text =
            service::read_path(path, PASSWORD_MAX).map_err(file("read --admin-password-file", path))?;
        if text.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            return Err(Error::Usage(format!("--admin-password-file {}: the file is empty", path.display())));
        }
    }
    for (flag, listen) in [("--https", options.https), ("--http", options.http)] {
        if let Listen::At(address) = listen {
            free(flag, address)?;
        }
    }
    if let Listen::At(address) = options.ipmi {
        free_datagrams("--ipmi", address)?;
    }
    if let (Listen::At(https), Listen::At(http)) = (options.https, options.http)
        && https == http
        && https.port() != 0
    {
        return Err(Error::Usage(format!(
            "--https and --http are both {https}; each needs a port of its own"
        )));
    }
    private_dir(&options.state_dir)?;
    let lock = lock(&options.state_dir)?;
    let mut findings = Vec::new();
    let daemons = options.daemons.iter().map(|daemon| daemon.spec.name.as_str());
    for name in ["bus", "run"].into_iter().chain(daemons) {
        make_way(&options.state_dir, name, &mut findings);
    }
    private_dir(&options.run_dir)?;
    for daemon in &options.daemons {
        // A daemon without a place for its files is still worth more than none.
        if let Err(error) = private_dir(&options.state_dir.join(&daemon.spec.name)) {
            findings.push((daemon.spec.name.clone(), ErrorChain(&error).to_string()));
        }
    }
    let system_id = system_id(&options.state_dir, &mut findings)?;
    for (file, what) in &findings {
        tracing::error!(file, what, "state directory problem");
    }
    Ok(Prepared { board, config, system_id, findings, _lock: lock })
}

/// Whether the address can be had. websrv binds it again a moment later; this is only here to name the flag.
fn free(flag: &'static str, address: SocketAddr) -> Result<(), Error> {
    TcpListener::bind(address).map(drop).map_err(|source| Error::Listen { flag, address, source })
}

/// The same for datagrams, which ipmisrv receives there.
fn free_datagrams(flag: &'static str, address: SocketAddr) -> Result<(), Error> {
    UdpSocket::bind(address).map(drop).map_err(|source| Error::Listen { flag, address, source })
}

fn file(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { what, path, source }
}

/// Makes a directory only we can look into. One that exists keeps its owner and loses the rights of others.
fn private_dir(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(file("make the directory", path))?;
    let mode = fs::metadata(path).map_err(file("look at", path))?.permissions().mode();
    if mode & 0o077 != 0
        && let Err(source) = fs::set_permissions(path, fs::Permissions::from_mode(0o700))
    {
        // On a read-only medium the rights are what they were when it was written.
        if source.kind() != ErrorKind::ReadOnlyFilesystem {
            return Err(file("close to others", path)(source));
        }
        tracing::error!(path = %path.display(), "cannot restrict directory permissions: file system is read-only");
    }
    Ok(())
}

/// Where what is in the way is put, in the state directory.
const ASIDE: &str = "damaged";

/// Puts aside what lies in the place of a folder in the state directory and is none, nor a link to one. What cannot be put aside is a
/// finding, too.
fn make_way(state_dir: &Path, name: &str, findings: &mut Vec<(String, String)>) {
    let path = state_dir.join(name);
    if fs::symlink_metadata(&path).is_err() || path.is_dir() {
        return;
    }
    let aside = state_dir.join(ASIDE);
    let free = (1_u32..).map(|number| aside.join(format!("{number:06}-{name}")));
    let moved = private_dir(&aside).and_then(|()| {
        let mut free = free.filter(|place| fs::symlink_metadata(place).is_err());
        let place = free.next().unwrap_or_else(|| aside.join(name));
        fs::rename(&path, &place).map_err(file("put aside", &path))?;
        Ok(place)
    });
    findings.push(match moved {
        Ok(place) => {
            (name.to_owned(), format!("it is no folder; put aside as {}, made anew", place.display()))
        }
        Err(error) => (name.to_owned(), format!("it is no folder: {}", ErrorChain(&error))),
    });
}

fn lock(dir: &Path) -> Result<OwnedFd, Error> {
    let path = dir.join("lock");
    // Whatever lies there, a pipe without a reader too, the start does not wait for it.
    let mut options = fs::File::options();
    let options = options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let made = options.clone().create(true).truncate(false).write(true).open(&path);
    // Where it cannot be made or written it is locked as it is, and without one the directory is.
    let opened = made.or_else(|_| options.read(true).open(&path)).or_else(|_| fs::File::open(dir));
    let fd = OwnedFd::from(opened.map_err(file("open", &path))?);
    match flock(&fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(fd),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Busy(dir.to_owned())),
        Err(error) => Err(file("lock", &path)(error.into())),
    }
}

/// The copy of the identity, with a checksum behind it.
const SYSTEM_ID_COPY: &str = "system-id.copy";

/// No file of an identity is longer, bytes.
const ID_MAX: usize = 4096;

/// What a file of an identity holds: nothing, something else, what the medium does not tell now, or an identity.
enum Kept {
    Nothing,
    Damaged(String),
    Unreadable(String),
    Id(String),
}

/// Reads one; with `sealed` the checksum must be right.
fn kept(path: &Path, sealed: bool) -> Kept {
    let text = match service::read_path(path, ID_MAX) {
        Ok(bytes) => String::from_utf8(bytes).unwrap_or_default(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Kept::Nothing,
        // A folder, a socket, something longer: no identity is in it that could be read another time.
        Err(error) if error.kind() == ErrorKind::InvalidData => return Kept::Damaged(error.to_string()),
        Err(error) => return Kept::Unreadable(format!("it cannot be read: {error}")),
    };
    let mut words = text.split_whitespace();
    let id = words.next().filter(|id| is_uuid(id));
    match id.filter(|id| !sealed || words.next() == Some(checksum(id).as_str())) {
        Some(id) => Kept::Id(id.to_owned()),
        None => Kept::Damaged("it is damaged".to_owned()),
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(n, byte)| match n {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn checksum(text: &str) -> String {
    format!("{:08x}", crc32fast::hash(text.as_bytes()))
}

/// The identity of this installation, made at the first start: a random (version 4) UUID. It is kept twice; what is wrong with the
/// files is found and mended, and never keeps anything from starting.
fn system_id(dir: &Path, findings: &mut Vec<(String, String)>) -> Result<String, Error> {
    let (path, copy) = (dir.join("system-id"), dir.join(SYSTEM_ID_COPY));
    let (id, mend, mend_copy) = settle(kept(&path, false), kept(&copy, true), new_id, findings)?;
    let sealed = format!("{id} {}\n", checksum(&id));
    let files = [(mend, &path, format!("{id}\n")), (mend_copy, &copy, sealed)];
    for (_, path, text) in files.into_iter().filter(|(mend, ..)| *mend) {
        if let Err(error) = write_atomic(path, text.as_bytes()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            findings.push((name, ErrorChain(&error).to_string()));
        }
    }
    Ok(id)
}

/// The identity that counts of what its two files hold, a new one where neither does, and which of the two files are to be written.
///
/// # Errors
/// No new one can be made.
fn settle(
    first: Kept,
    second: Kept,
    new_id: impl FnOnce() -> Result<String, Error>,
    findings: &mut Vec<(String, String)>,
) -> Result<(String, bool, bool), Error> {
    let mut found = |file: &str, what: String| findings.push((file.to_owned(), what));
    Ok(match (first, second) {
        (Kept::Id(id), Kept::Id(same)) if id == same => (id, false, false),
        // Installed by a release that kept it once.
        (Kept::Id(id), Kept::Nothing) => (id, false, true),
        (Kept::Id(id), Kept::Damaged(what) | Kept::Unreadable(what)) => {
            found(SYSTEM_ID_COPY, format!("{what}; it is made anew"));
            (id, false, true)
        }
        (Kept::Id(_), Kept::Id(id)) => {
            found("system-id", "it differs from its copy, which has a checksum and counts".to_owned());
            (id, true, false)
        }
        (Kept::Nothing, Kept::Id(id)) => {
            found("system-id", "it is missing; its copy counts".to_owned());
            (id, true, false)
        }
        (Kept::Damaged(what) | Kept::Unreadable(what), Kept::Id(id)) => {
            found("system-id", format!("{what}; its copy counts"));
            (id, true, false)
        }
        (Kept::Nothing, Kept::Nothing) => (new_id()?, true, true),
        // The identity is there, perhaps, and can be read another time: nothing is written in its place.
        (Kept::Unreadable(what), _) | (_, Kept::Unreadable(what)) => {
            found(
                "system-id",
                format!("{what}, and there is no sound copy; the system has another identity for this run"),
            );
            (new_id()?, false, false)
        }
        (_, Kept::Damaged(what)) | (Kept::Damaged(what), _) => {
            found("system-id", format!("{what}, and there is no sound copy; the system has a new identity"));
            (new_id()?, true, true)
        }
    })
}

fn new_id() -> Result<String, Error> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| Error::System {
        what: "get random bytes",
        source: std::io::Error::other(error.to_string()),
    })?;
    // Version 4 (random), variant 1: RFC 9562, section 5.4.
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let mut id = HEXLOWER.encode(&bytes);
    for at in [20, 16, 12, 8] {
        id.insert(at, '-');
    }
    Ok(id)
}

/// Writes a file so that it is there whole or not at all.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Folder::open(folder)
        .and_then(|folder| folder.replace_durably(&name, bytes, 0o644))
        .map_err(file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_its_flag() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = free("--https", address).unwrap_err();
        assert_eq!(error.to_string(), format!("--https {address}: cannot listen there"));
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = free_datagrams("--ipmi", address).unwrap_err();
        assert_eq!(error.to_string(), format!("--ipmi {address}: cannot listen there"));
        drop(taken);
        assert!(free_datagrams("--ipmi", address).is_ok());
    }

    #[test]
    fn the_identity_outlives_damage_to_one_of_its_files_and_says_so() {
        let id_of = |dir: &Path| {
            let mut findings = Vec::new();
            (system_id(dir, &mut findings).unwrap(), findings.len())
        };
        let files = ["system-id", SYSTEM_ID_COPY];
        let change = |path: &Path, how: usize| match how {
            0 => fs::write(path, b"").unwrap(),
            1 => fs::write(path, [0; 37]).unwrap(),
            2 => fs::write(path, &fs::read(path).unwrap()[..20]).unwrap(),
            3 => {
                let mut bytes = fs::read(path).unwrap();
                bytes[3] = if bytes[3] == b'a' { b'b' } else { b'a' };
                fs::write(path, bytes).unwrap();
            }
            _ => {
                fs::remove_file(path).unwrap();
                fs::create_dir(path).unwrap();
                fs::write(path.join("x"), b"").unwrap();
            }
        };
        for how in 0..5 {
            for file in files {
                let dir = tempfile::tempdir().unwrap();
                let (id, found) = id_of(dir.path());
                assert_eq!((id.len(), &id[14..15], found), (36, "4", 0));
                assert_eq!(id_of(dir.path()), (id.clone(), 0));
                change(&dir.path().join(file), how);
                let (after, found) = id_of(dir.path());
                assert!(after == id && found > 0, "{file} {how}: {after}, {found} found");
            }
            let dir = tempfile::tempdir().unwrap();
            let (id, _) = id_of(dir.path());
            files.iter().for_each(|file| change(&dir.path().join(file), how));
            let (after, found) = id_of(dir.path());
            assert!(is_uuid(&after) && after != id && found > 0);
        }
    }

    #[test]
    fn an_identity_that_cannot_be_read_now_is_not_overwritten() {
        let unreadable: fn() -> Kept = || Kept::Unreadable("it cannot be read: bad block".to_owned());
        let others: [fn() -> Kept; 3] =
            [unreadable, || Kept::Damaged("it is damaged".to_owned()), || Kept::Nothing];
        for (turn, other) in others.into_iter().enumerate() {
            for (first, second) in [(unreadable(), other()), (other(), unreadable())] {
                let mut findings = Vec::new();
                let settled = settle(first, second, || Ok("new".to_owned()), &mut findings).unwrap();
                assert_eq!(settled, ("new".to_owned(), false, false), "{turn}");
                assert!(findings.iter().any(|(_, what)| what.contains("for this run")), "{findings:?}");
            }
        }
        // With a sound one beside it, it is written again.
        let id = || Kept::Id("0b2c7f9e-1111-4222-8333-444455556666".to_owned());
        for (first, second, mended) in
            [(id(), unreadable(), (false, true)), (unreadable(), id(), (true, false))]
        {
            let settled = settle(first, second, new_id, &mut Vec::new()).unwrap();
            assert_eq!((settled.1, settled.2), mended);
            assert_eq!(settled.0, "0b2c7f9e-1111-4222-8333-444455556666");
        }
    }

    #[test]
    fn folders_in_the_place_of_both_files_cost_the_identity_once() {
        let dir = tempfile::tempdir().unwrap();
        let of = || {
            let mut findings = Vec::new();
            (system_id(dir.path(), &mut findings).unwrap(), findings)
        };
        let (before, _) = of();
        for file in ["system-id", SYSTEM_ID_COPY] {
            fs::remove_file(dir.path().join(file)).unwrap();
            fs::create_dir(dir.path().join(file)).unwrap();
            fs::write(dir.path().join(file).join("inside"), file).unwrap();
        }
        let (after, findings) = of();
        assert!(after != before && findings.len() == 1, "{findings:?}");
        assert_eq!(of(), (after, vec![]), "it lasts, and is told once");
        for file in ["system-id", SYSTEM_ID_COPY] {
            let inside = dir.path().join(format!("{file}.damaged/inside"));
            assert_eq!(fs::read_to_string(inside).unwrap(), file);
        }
    }

    #[test]
    fn an_identity_of_an_earlier_release_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("system-id"), "0b2c7f9e-1111-4222-8333-444455556666\n").unwrap();
        let mut findings = Vec::new();
        assert_eq!(system_id(dir.path(), &mut findings).unwrap(), "0b2c7f9e-1111-4222-8333-444455556666");
        assert!(findings.is_empty() && dir.path().join(SYSTEM_ID_COPY).exists());
    }

    #[test]
    fn a_lock_that_is_no_file_still_locks() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("lock")).unwrap();
        let first = lock(dir.path()).unwrap();
        assert!(matches!(lock(dir.path()), Err(Error::Busy(_))));
        drop(first);
    }

    #[test]
    fn what_lies_in_the_place_of_a_folder_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let mut findings = Vec::new();
        fs::create_dir(dir.path().join("statemgr")).unwrap();
        std::os::unix::fs::symlink("statemgr", dir.path().join("link")).unwrap();
        for fine in ["statemgr", "link", "missing"] {
            make_way(dir.path(), fine, &mut findings);
        }
        assert!(findings.is_empty(), "{findings:?}");
        for (turn, text) in ["one", "two"].into_iter().enumerate() {
            fs::write(dir.path().join("bus"), text).unwrap();
            make_way(dir.path(), "bus", &mut findings);
            private_dir(&dir.path().join("bus")).unwrap();
            let kept = dir.path().join(ASIDE).join(format!("{:06}-bus", turn + 1));
            assert_eq!(fs::read_to_string(kept).unwrap(), text);
            fs::remove_dir(dir.path().join("bus")).unwrap();
        }
        std::os::unix::fs::symlink("nowhere", dir.path().join("run")).unwrap();
        make_way(dir.path(), "run", &mut findings);
        private_dir(&dir.path().join("run")).unwrap();
        assert_eq!(findings.len(), 3, "{findings:?}");
    }

    #[test]
    fn a_pipe_in_the_state_directory_does_not_hold_the_start() {
        let pipe = |path: &Path| {
            let kind = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, path, kind, rustix::fs::Mode::RWXU, 0).unwrap();
        };
        let dir = tempfile::tempdir().unwrap();
        let id = system_id(dir.path(), &mut Vec::new()).unwrap();
        for file in ["lock", "system-id", "system-id.copy"] {
            let path = dir.path().join(file);
            let _ = fs::remove_file(&path);
            pipe(&path);
            pipe(&dir.path().join(format!("{file}.new")));
            let first = lock(dir.path()).unwrap();
            assert!(matches!(lock(dir.path()), Err(Error::Busy(_))), "{file}");
            drop(first);
            let mut findings = Vec::new();
            assert_eq!(system_id(dir.path(), &mut findings).unwrap(), id, "{file}");
            assert_eq!(findings.is_empty(), file == "lock", "{findings:?}");
        }
    }

    #[test]
    fn two_operators_do_not_share_a_state_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        assert!(matches!(lock(dir.path()), Err(Error::Busy(_))));
        drop(first);
        lock(dir.path()).unwrap();
    }

    #[test]
    fn directories_are_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        private_dir(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
