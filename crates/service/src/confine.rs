//! What a process may still reach and ask of the kernel, by Landlock and seccomp.
//!
//! Both hold for good and need no privilege, so a daemon is confined also where it runs as the operator does. What a kernel does not know is told to the
//! operator and goes without: a controller whose power cannot be switched is worse than one whose daemons are held by their users alone.

use std::io;
use std::os::fd::{IntoRawFd as _, OwnedFd};
use std::path::PathBuf;

use hal_linux::seccomp::{self, Groups};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use serde::{Deserialize, Serialize};

use crate::chain::ErrorChain;

/// What a daemon is confined to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confinement {
    /// Files and folders, with all below them. What is not there is left out.
    pub paths: Vec<(PathBuf, Reach)>,
    /// TCP ports it may connect to; `None`: any.
    pub connect: Option<Vec<u16>>,
    /// TCP ports it may have; 0: one that is free.
    pub bind: Vec<u16>,
    /// It may have any TCP port: which one it has is chosen while it runs.
    pub binds_any: bool,
    /// [`Groups`] of system calls, as their number.
    pub calls: u32,
}

/// What may be done with a path and all below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// Folders are listed.
    List,
    /// Files are read.
    Read,
    /// Files are written that are there.
    Write,
    /// Files and folders come and go.
    Change,
    /// So do sockets, which others connect to.
    Serve,
    /// Devices are used.
    Use,
}

/// What is asked of Landlock; a newer kernel holds nothing beyond it.
const ABI_ASKED: ABI = ABI::V6;

/// What an older Landlock does not hold, with the version since which it does.
const SINCE: [(ABI, &str); 4] = [
    (ABI::V3, "files that are cut"),
    (ABI::V4, "TCP ports"),
    (ABI::V5, "controls of devices"),
    (ABI::V6, "signals to other processes"),
];

impl Reach {
    fn access(self, is_folder: bool) -> BitFlags<AccessFs> {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        let write = read | AccessFs::WriteFile | AccessFs::Truncate;
        let access = match self {
            Self::List => AccessFs::ReadDir.into(),
            Self::Read => read,
            Self::Write => write,
            Self::Change => {
                write
                    | AccessFs::MakeReg
                    | AccessFs::MakeDir
                    | AccessFs::RemoveFile
                    | AccessFs::RemoveDir
                    | AccessFs::Refer
            }
            Self::Serve => Self::Change.access(is_folder) | AccessFs::MakeSock,
            Self::Use => read | AccessFs::WriteFile | AccessFs::IoctlDev,
        };
        let of_files = AccessFs::from_file(ABI_ASKED);
        if is_folder { access } else { access & of_files }
    }
}

/// A confinement whose paths are open: with the rights of before.
pub(crate) struct Opened {
    paths: Vec<(OwnedFd, Reach)>,
    wanted: Confinement,
}

impl Opened {
    /// Opens the paths.
    pub(crate) fn open(mut wanted: Confinement) -> Self {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let paths = std::mem::take(&mut wanted.paths).into_iter();
        let paths =
            paths.filter_map(|(path, reach)| Some((openat(CWD, &path, flags, Mode::empty()).ok()?, reach)));
        Self { paths: paths.collect(), wanted }
    }

    /// Confines this process for good, and says what the kernel does not hold. Must be called while there is one thread.
    pub(crate) fn enforce(self) -> Vec<String> {
        let mut lacks = Vec::new();
        match self.landlock() {
            Ok(None) => {}
            Ok(Some(lack)) => lacks.push(lack),
            Err(error) => lacks.push(format!("Landlock cannot be used: {}", ErrorChain(&error))),
        }
        let filtered = rustix::thread::set_no_new_privs(true)
            .map_err(io::Error::from)
            .and_then(|()| seccomp::restrict(Groups::from_bits(self.wanted.calls)));
        match filtered {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                lacks.push("the kernel has no filters of system calls (seccomp)".to_owned());
            }
            Err(error) => lacks.push(format!("system calls cannot be filtered: {error}")),
        }
        // A rule is about an inode, and /proc makes a new one for what nobody holds.
        for (path, _) in self.paths {
            let _ = path.into_raw_fd();
        }
        lacks
    }

    fn landlock(&self) -> Result<Option<String>, RulesetError> {
        let mut rules = Ruleset::default().handle_access(AccessFs::from_all(ABI_ASKED))?;
        if !self.wanted.binds_any {
            rules = rules.handle_access(AccessNet::BindTcp)?;
        }
        if self.wanted.connect.is_some() {
            rules = rules.handle_access(AccessNet::ConnectTcp)?;
        }
        let mut rules = rules.scope(Scope::from_all(ABI_ASKED))?.create()?;
        for (path, reach) in &self.paths {
            let is_folder =
                fstat(path).is_ok_and(|about| FileType::from_raw_mode(about.st_mode) == FileType::Directory);
            let access = reach.access(is_folder);
            // A file cannot be listed.
            if !access.is_empty() {
                rules = rules.add_rule(PathBeneath::new(path, access))?;
            }
        }
        let named = self.wanted.bind.iter().filter(|_| !self.wanted.binds_any);
        for port in named {
            rules = rules.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
        }
        for port in self.wanted.connect.iter().flatten() {
            rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
        }
        let status = rules.restrict_self()?;
        Ok(match (status.landlock, status.ruleset) {
            (LandlockStatus::Available { effective_abi, .. }, RulesetStatus::PartiallyEnforced) => {
                Some(lack(effective_abi))
            }
            (_, RulesetStatus::FullyEnforced) => None,
            _ => Some("the kernel has no Landlock".to_owned()),
        })
    }
}

/// What an older Landlock does not hold.
fn lack(abi: ABI) -> String {
    let without: Vec<_> = SINCE.iter().filter(|(since, _)| abi < *since).map(|(_, what)| *what).collect();
    format!("the kernel's Landlock is an older one that does not hold {}", without.join(", "))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Landlock and filters are of a thread, so a test can have some of its own.
    fn confined(wanted: Confinement, job: impl FnOnce() + Send + 'static) {
        std::thread::spawn(move || {
            let lacks = Opened::open(wanted).enforce();
            if lacks.is_empty() {
                job();
            }
        })
        .join()
        .unwrap();
    }

    fn refused<T>(result: io::Result<T>) -> bool {
        result.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    }

    #[test]
    fn a_daemon_reaches_its_paths_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["own", "read", "other"] {
            fs::create_dir(at(folder)).unwrap();
            fs::write(at(folder).join("file"), "text").unwrap();
        }
        let wanted = Confinement {
            paths: vec![
                (dir.path().to_owned(), Reach::List),
                (at("own"), Reach::Change),
                (at("read/file"), Reach::Read),
                (at("not there"), Reach::Read),
                ("/proc/self".into(), Reach::Read),
            ],
            ..Confinement::default()
        };
        let (own, read, other) = (at("own"), at("read/file"), at("other"));
        confined(wanted, move || {
            fs::write(own.join("new"), "text").unwrap();
            fs::rename(own.join("new"), own.join("file")).unwrap();
            fs::remove_file(own.join("file")).unwrap();
            assert_eq!(fs::read_to_string(&read).unwrap(), "text");
            assert!(fs::read_dir(&other).is_ok(), "a name is no secret here");
            assert!(refused(fs::read(other.join("file"))));
            assert!(refused(fs::write(&read, "more")));
            assert!(refused(fs::create_dir(other.join("new"))));
            assert!(refused(fs::read("/etc/passwd")));
        });
        assert_eq!(fs::read_to_string(at("read/file")).unwrap(), "text");
    }

    #[test]
    fn a_daemon_has_its_ports_and_no_others() {
        let (may, may_not) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let (may, may_not) = (may.local_addr().unwrap(), may_not.local_addr().unwrap());
        let wanted = Confinement {
            connect: Some(vec![may.port()]),
            calls: Groups::LISTEN.bits(),
            ..Confinement::default()
        };
        confined(wanted, move || {
            // Nobody listens any more: what counts is who says no.
            assert!(!refused(TcpStream::connect(may)));
            assert!(refused(TcpStream::connect(may_not)));
            assert!(refused(TcpListener::bind("127.0.0.1:0")));
        });
        confined(
            Confinement { bind: vec![0], calls: Groups::LISTEN.bits(), ..Confinement::default() },
            || {
                TcpListener::bind("127.0.0.1:0").unwrap();
            },
        );
        // Any to listen at is none more to connect to.
        let wanted = Confinement {
            connect: Some(vec![may.port()]),
            binds_any: true,
            calls: Groups::LISTEN.bits(),
            ..Confinement::default()
        };
        confined(wanted, move || {
            TcpListener::bind("127.0.0.1:0").unwrap();
            assert!(refused(TcpStream::connect(may_not)));
        });
    }

    #[test]
    fn what_an_older_kernel_does_not_hold_is_named() {
        assert_eq!(
            lack(ABI::V4),
            "the kernel's Landlock is an older one that does not hold controls of devices, signals to other processes"
        );
    }
}
