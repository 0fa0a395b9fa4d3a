//! Mounts, the watchdog, the console and the way out of the initramfs.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hal::Watchdog as _;
use hal_linux::LinuxWatchdog;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_move, unmount};

use crate::console::say;
use crate::fault::{Fatal, chain};

/// Where the new root is put together.
pub(crate) const NEW_ROOT: &str = "/newroot";
/// Where the data partition is in it.
pub(crate) const DATA: &str = "/newroot/var/lib/u-bmc";

/// How long the boot may be silent, stage0 and the operator's start together.
const WATCHDOG_TIMEOUT: Duration = Duration::from_secs(120);

/// Mounts what everything else needs and takes the console.
pub(crate) fn mount_basics() -> Result<(), Fatal> {
    let safe = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let device = MountFlags::NOSUID | MountFlags::NOEXEC;
    let mounts: [(&str, &str, MountFlags, Option<&CStr>); 4] = [
        ("devtmpfs", "/dev", device, Some(c"mode=755")),
        ("proc", "/proc", safe, None),
        ("sysfs", "/sys", safe, None),
        ("tmpfs", "/run", safe, Some(c"mode=755,size=8m")),
    ];
    for (kind, target, flags, data) in mounts {
        fs::create_dir_all(target).map_err(Fatal::step(format!("make {target}")))?;
        mount(kind, target, kind, flags, data).map_err(Fatal::step(format!("mount {kind} on {target}")))?;
    }
    take_console();
    // A kernel that panics must not stay that way: the attempt is counted, the next boot decides.
    if let Err(error) = fs::write("/proc/sys/kernel/panic", "5") {
        say(&format!("a panic will wait for the watchdog: {error}"));
    }
    Ok(())
}

/// Makes the console standard input, output and error. Without one the boot goes on in silence.
fn take_console() {
    let Ok(console) = File::options().read(true).write(true).open("/dev/console") else { return };
    let taken = rustix::stdio::dup2_stdin(&console)
        .and_then(|()| rustix::stdio::dup2_stdout(&console))
        .and_then(|()| rustix::stdio::dup2_stderr(&console));
    if let Err(error) = taken {
        say(&format!("the console cannot be taken: {error}"));
    }
}

/// The watchdog of the boot. It is armed when opened and never disarmed: whoever comes next has to pet it.
#[derive(Debug)]
pub(crate) struct Dog(Option<LinuxWatchdog>);

impl Dog {
    /// Arms it. A board without one boots all the same.
    pub(crate) fn arm() -> Self {
        let armed = LinuxWatchdog::open(Path::new("/dev/watchdog0")).and_then(|mut dog| {
            dog.set_timeout(WATCHDOG_TIMEOUT)?;
            Ok(dog)
        });
        match armed {
            Ok(dog) => Self(Some(dog)),
            Err(error) => {
                say(&format!("no watchdog: {}", chain(&error)));
                Self(None)
            }
        }
    }

    /// Starts its countdown afresh, between the pieces of long work.
    pub(crate) fn pet(&mut self) {
        if let Some(Err(error)) = self.0.as_mut().map(LinuxWatchdog::pet) {
            say(&format!("the watchdog: {}", chain(&error)));
            self.0 = None;
        }
    }
}

/// Mounts a verified root file system.
pub(crate) fn mount_root(node: &Path) -> io::Result<()> {
    fs::create_dir_all(NEW_ROOT)?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    mount(node, NEW_ROOT, "erofs", flags, None::<&CStr>).map_err(io::Error::from)
}

/// Undoes [`mount_root`].
pub(crate) fn unmount_root() -> io::Result<()> {
    unmount(NEW_ROOT, UnmountFlags::empty()).map_err(io::Error::from)
}

/// Mounts the data partition, or memory in its place.
pub(crate) fn mount_data(source: &str, kind: &str, options: &CStr) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount(source, DATA, kind, flags, options).map_err(io::Error::from)
}

/// Makes the new root the root, frees the initramfs and becomes the operator. Comes back only with the reason why not.
pub(crate) fn switch_root() -> Result<std::convert::Infallible, Fatal> {
    for target in ["/dev", "/proc", "/sys", "/run"] {
        let to = format!("{NEW_ROOT}{target}");
        mount_move(target, to.as_str()).map_err(Fatal::step(format!("move {target} into the new root")))?;
    }
    let root = fs::symlink_metadata("/").map_err(Fatal::step("look at the initramfs"))?;
    // What stays behind costs memory, nothing else.
    let _ = remove_all(Path::new("/"), root.dev());
    let step = |step: &'static str| Fatal::step::<rustix::io::Errno>(step);
    rustix::process::chdir(NEW_ROOT).map_err(step("enter the new root"))?;
    mount_move(".", "/").map_err(step("move the new root"))?;
    rustix::process::chroot(".").map_err(step("change the root"))?;
    rustix::process::chdir("/").map_err(step("enter the root"))?;

    let mut operator = Command::new("/sbin/u-bmc");
    operator.args(operator_arguments(Path::new("/var/lib/u-bmc/config.toml").exists()));
    operator.env_clear().env("PATH", "/sbin:/bin").env("TERM", "linux");
    Err(Fatal::step("start /sbin/u-bmc")(operator.exec()))
}

/// What the operator is started with.
fn operator_arguments(own_config: bool) -> Vec<&'static str> {
    let mut arguments = vec![
        "operator",
        "--board",
        "/etc/u-bmc/board.toml",
        "--state-dir",
        "/var/lib/u-bmc",
        "--config",
        "/etc/u-bmc/config.toml",
    ];
    if own_config {
        arguments.extend(["--config", "/var/lib/u-bmc/config.toml"]);
    }
    arguments
}

/// Removes everything below `folder` that is on the file system `device`; other mounts are not entered.
fn remove_all(folder: &Path, device: u64) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.dev() != device {
            continue;
        }
        let removed = if metadata.is_dir() {
            remove_all(&path, device).and_then(|()| fs::remove_dir(&path))
        } else {
            fs::remove_file(&path)
        };
        // A folder that holds a mount stays.
        if removed.is_err() {
            continue;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_own_configuration_comes_last() {
        assert_eq!(operator_arguments(false).len(), 7);
        assert_eq!(operator_arguments(true).last(), Some(&"/var/lib/u-bmc/config.toml"));
    }

    #[test]
    fn everything_is_removed_but_what_is_on_another_file_system() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("modules/deep")).unwrap();
        fs::write(root.path().join("modules/deep/x.ko"), "x").unwrap();
        std::os::unix::fs::symlink("/etc", root.path().join("link")).unwrap();
        let device = fs::symlink_metadata(root.path()).unwrap().dev();
        remove_all(root.path(), device + 1).unwrap();
        assert!(root.path().join("modules/deep/x.ko").exists());
        remove_all(root.path(), device).unwrap();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        assert!(Path::new("/etc").exists());
    }
}
