//! What a process may do, given up before it looks at anything from outside.
//!
//! The operator starts a daemon as root and says on stdin as whom it shall go on. The daemon gives everything else up itself, as long as it has one
//! thread and has read nothing but that line: so program and folders may lie where its own user could not go.

use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, accessat, open};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use rustix::thread::{Gid, Uid};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// As whom a daemon runs. The numbers need no entry in `/etc/passwd`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Privileges {
    /// User and group.
    pub id: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// Capabilities it keeps, as a mask of their numbers (capabilities(7)).
    pub capabilities: u64,
}

/// Rights a daemon's files do not have: those of everybody else.
const UMASK: u32 = 0o007;
/// Numbers of capabilities there can be.
const CAPABILITIES: u32 = 64;

/// Makes what this process creates unreachable for all but its user and groups.
pub(crate) fn close_to_others() {
    rustix::process::umask(Mode::from_raw_mode(UMASK));
}

/// Goes on as `wanted`, for good. Must be called while there is one thread.
///
/// # Errors
///
/// What the kernel refuses; the process may be in any state between then, and must end.
pub(crate) fn become_(wanted: &Privileges) -> io::Result<()> {
    // What the operator itself lacks, as in a container, it cannot hand down.
    let keep = CapabilitySet::from_bits_retain(wanted.capabilities) & capabilities(None)?.permitted;
    for number in 0..CAPABILITIES {
        let one = CapabilitySet::from_bits_retain(1 << number);
        // Beyond the last one the kernel knows it says "invalid".
        if keep.contains(one) || !matches!(capability_is_in_bounding_set(one), Ok(true)) {
            continue;
        }
        remove_capability_from_bounding_set(one)?;
    }
    set_keep_capabilities(true)?;
    let groups: Vec<Gid> = wanted.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    set_thread_groups(&groups)?;
    let (user, group) = (Uid::from_raw(wanted.id), Gid::from_raw(wanted.id));
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)?;
    set_capabilities(
        None,
        CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() },
    )?;
    set_keep_capabilities(false)?;
    set_no_new_privs(true)?;
    // It has to reach its own /proc/self/fd; nobody else has its user.
    set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    Ok(())
}

/// A path that stays usable for a process that may not go there by its own rights any more.
pub(crate) struct Kept {
    path: PathBuf,
    file: Option<OwnedFd>,
}

impl Kept {
    /// Opens it with the rights of now.
    pub(crate) fn open(path: &Path) -> Self {
        let file = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok();
        Self { path: path.to_owned(), file }
    }

    /// The path itself where it can be reached, else one through what is open; that stays open for good then.
    pub(crate) fn reach(self) -> PathBuf {
        let reachable = accessat(CWD, &self.path, Access::EXISTS, AtFlags::EACCESS).is_ok();
        match self.file {
            Some(file) if !reachable => {
                let path = format!("/proc/self/fd/{}", file.as_raw_fd());
                crate::log::known_as(&path, &self.path);
                let _ = file.into_raw_fd();
                path.into()
            }
            _ => self.path,
        }
    }
}

/// Has settings that name files below `from` name them below `to`.
pub(crate) fn relocate(settings: &mut Map<String, Value>, from: &Path, to: &Path) {
    for value in settings.values_mut() {
        match value {
            Value::Object(table) => relocate(table, from, to),
            Value::String(text) => {
                if let Ok(below) = Path::new(text.as_str()).strip_prefix(from) {
                    *text = to.join(below).display().to_string();
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_were_handed_over_are_found_below_the_new_path() {
        let mut settings = serde_json::json!({
            "name": "x", "tls": { "cert_file": "/a/run/handed/c", "key_file": "/a/running/k" }
        });
        let table = settings.as_object_mut().unwrap();
        relocate(table, Path::new("/a/run"), Path::new("/proc/self/fd/9"));
        let wanted = serde_json::json!({
            "name": "x", "tls": { "cert_file": "/proc/self/fd/9/handed/c", "key_file": "/a/running/k" }
        });
        assert_eq!(settings, wanted);
    }
}
