//! Everything that can be wrong is looked at before anything starts.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use board::Board;
use rustix::fs::{FlockOperation, flock};

use crate::config::{Config, Listen, Options};
use crate::error::Error;

/// What is settled before the start.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) board: Board,
    pub(crate) config: Config,
    pub(crate) system_id: String,
    /// Held while we run: the lock on the state directory.
    _lock: OwnedFd,
}

/// Checks flags, configuration, board, directories and addresses.
pub(crate) fn prepare(options: &Options) -> Result<Prepared, Error> {
    let mut known: Vec<&str> = options.parts.iter().map(|part| part.spec.name.as_str()).collect();
    // Every daemon may be configured, the ones that only run when they are configured among them.
    known.extend(
        ipc::topology::NODES
            .iter()
            .map(|node| node.daemon)
            .filter(|name| !known.contains(name))
            .collect::<Vec<_>>(),
    );
    options.settings.check_daemons(&known)?;
    let config: Config = options.settings.typed(ipc::topology::OPERATOR)?;
    let board = Board::load(&options.board, &options.board_overrides)
        .map_err(|error| Error::Board { path: options.board.clone(), report: error.to_string() })?;
    if let Some(path) = &options.admin_password_file {
        let text = fs::read_to_string(path).map_err(file("read --admin-password-file", path))?;
        if text.trim_end_matches(['\r', '\n']).is_empty() {
            return Err(Error::Usage(format!("--admin-password-file {}: the file is empty", path.display())));
        }
    }
    for (flag, listen) in [("--https", options.https), ("--http", options.http)] {
        if let Listen::At(address) = listen {
            free(flag, address)?;
        }
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
    private_dir(&options.run_dir)?;
    let lock = lock(&options.state_dir)?;
    for part in &options.parts {
        private_dir(&options.state_dir.join(&part.spec.name))?;
    }
    let system_id = system_id(&options.state_dir.join("system-id"))?;
    Ok(Prepared { board, config, system_id, _lock: lock })
}

/// Whether the address can be had. websrv binds it again a moment later; this is only here to name the flag.
fn free(flag: &'static str, address: SocketAddr) -> Result<(), Error> {
    TcpListener::bind(address).map(drop).map_err(|source| Error::Listen { flag, address, source })
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
    if mode & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .map_err(file("close to others", path))?;
    }
    Ok(())
}

fn lock(dir: &Path) -> Result<OwnedFd, Error> {
    let path = dir.join("lock");
    let opened = fs::File::options().create(true).truncate(false).write(true).open(&path);
    let fd = OwnedFd::from(opened.map_err(file("open", &path))?);
    match flock(&fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(fd),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Busy(dir.to_owned())),
        Err(error) => Err(file("lock", &path)(error.into())),
    }
}

/// The identity of this installation, made at the first start: a random (version 4) UUID.
fn system_id(path: &PathBuf) -> Result<String, Error> {
    if let Ok(text) = fs::read_to_string(path) {
        let text = text.trim();
        if text.len() == 36 {
            return Ok(text.to_owned());
        }
    }
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| Error::System {
        what: "get random bytes",
        source: std::io::Error::other(error.to_string()),
    })?;
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let id = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    write_atomic(path, format!("{id}\n").as_bytes())?;
    Ok(id)
}

/// Writes a file so that it is there whole or not at all.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let written = fs::File::create(&new).and_then(|mut out| {
        std::io::Write::write_all(&mut out, bytes)?;
        out.sync_all()
    });
    written.and_then(|()| fs::rename(&new, path)).map_err(file("write", path))
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
    }

    #[test]
    fn the_identity_stays_and_is_a_uuid() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("system-id");
        let id = system_id(&path).unwrap();
        assert_eq!(system_id(&path).unwrap(), id);
        assert_eq!((id.len(), &id[14..15]), (36, "4"));
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
