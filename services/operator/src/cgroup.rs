//! cgroup v2: memory and task limits the kernel enforces per daemon, where we may write there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use roster::Limits;

/// Where cgroup v2 is mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// `CGROUP2_SUPER_MAGIC` of `linux/magic.h`.
const CGROUP2_MAGIC: rustix::fs::FsWord = 0x6367_7270;

/// Our part of the cgroup tree.
#[derive(Debug)]
pub(crate) struct Cgroups {
    base: PathBuf,
}

impl Cgroups {
    /// Makes a group for the daemons below our own. Fails where the tree is not v2, not writable, or where our group holds processes beside
    /// its children (the kernel allows no controllers then): rlimits have to do in those places.
    pub(crate) fn open() -> io::Result<Self> {
        // Where version 1 or a mixture of both is used, a tmpfs is mounted here: files written there would look right and limit nothing.
        if rustix::fs::statfs(ROOT)?.f_type != CGROUP2_MAGIC {
            return Err(io::Error::other(format!("{ROOT} is no cgroup v2 file system")));
        }
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
        fs::write(group.join("cgroup.procs"), pid.to_string())?;
        // Read back: a limit that is not in force is worse than none that is known.
        for (file, asked) in [("memory.max", limits.memory), ("pids.max", limits.tasks)] {
            if !is_in_force(&fs::read_to_string(group.join(file))?, asked) {
                return Err(io::Error::other(format!("the kernel did not keep {file}")));
            }
        }
        let inside = fs::read_to_string(group.join("cgroup.procs"))?;
        if !inside.lines().any(|line| line == pid.to_string()) {
            return Err(io::Error::other("the kernel did not move the process"));
        }
        Ok(())
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

/// Whether a limit is what was asked for; the kernel rounds memory to pages.
fn is_in_force(kept: &str, asked: Option<u64>) -> bool {
    match (kept.trim().parse::<u64>(), asked) {
        (Ok(kept), Some(asked)) => kept <= asked,
        (Ok(_), None) => false,
        (Err(_), asked) => asked.is_none(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_number_that_was_asked_for_is_in_force() {
        let rows = [
            ("41943040\n", Some(41_943_040), true),
            ("41938944\n", Some(41_943_040), true),
            ("max\n", Some(41_943_040), false),
            ("99999999999\n", Some(41_943_040), false),
            ("max\n", None, true),
            ("", Some(1), false),
        ];
        for (kept, asked, expected) in rows {
            assert_eq!(is_in_force(kept, asked), expected, "{kept:?} {asked:?}");
        }
    }

    #[test]
    fn plain_files_are_no_groups() {
        let mounted = rustix::fs::statfs(ROOT).is_ok_and(|about| about.f_type == CGROUP2_MAGIC);
        assert!(mounted || Cgroups::open().is_err());
    }
}
