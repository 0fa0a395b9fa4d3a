//! cgroup v2: memory and task limits the kernel enforces per daemon, where we may write there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::limits::Limits;

/// Where cgroup v2 is mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// Our part of the cgroup tree.
#[derive(Debug)]
pub(crate) struct Cgroups {
    base: PathBuf,
}

impl Cgroups {
    /// Makes a group for the daemons below our own. Fails where the tree is not v2, not writable, or where our group holds processes beside
    /// its children (the kernel allows no controllers then): rlimits have to do in those places.
    pub(crate) fn open() -> io::Result<Self> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let path = own
            .lines()
            .find_map(|line| line.strip_prefix("0::"))
            .ok_or_else(|| io::Error::other("no cgroup v2"))?;
        let own = Path::new(ROOT).join(path.trim_start_matches('/'));
        enable(&own)?;
        let base = own.join("u-bmc");
        make(&base)?;
        enable(&base)?;
        Ok(Self { base })
    }

    /// Puts a process under limits.
    pub(crate) fn apply(&self, daemon: &str, pid: u32, limits: &Limits) -> io::Result<()> {
        let group = self.base.join(daemon);
        make(&group)?;
        let text = |limit: Option<u64>| limit.map_or_else(|| "max".to_owned(), |value| value.to_string());
        fs::write(group.join("memory.max"), text(limits.memory))?;
        fs::write(group.join("pids.max"), text(limits.tasks))?;
        fs::write(group.join("cgroup.procs"), pid.to_string())
    }

    /// Removes a daemon's group once it is empty.
    pub(crate) fn remove(&self, daemon: &str) {
        // It fails while a grandchild lives; the next start uses the same group.
        let _ = fs::remove_dir(self.base.join(daemon));
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.base);
    }
}

fn make(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

fn enable(group: &Path) -> io::Result<()> {
    fs::write(group.join("cgroup.subtree_control"), "+memory +pids")
}
