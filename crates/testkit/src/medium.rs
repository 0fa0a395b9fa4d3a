//! A file system of its own that can be full, be read-only, or fail: for tests of what holds when the medium does not.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

const NO_SPACE: i32 = 28;
const IO_ERROR: i32 = 5;

/// What is wrong with a medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No room is left, not for one byte.
    Full,
    /// Each write says that there is no room, although there is.
    WritesFindNoSpace,
    /// Each write fails with an input/output error.
    WritesFail,
    /// Writes are taken, each sync fails.
    SyncsFail,
    /// The file system is mounted read-only; without effect while a file is open for writing.
    ReadOnly,
}

/// A small file system in memory. Dropping it unmounts it.
#[derive(Debug)]
pub struct Medium {
    root: PathBuf,
    orders: PathBuf,
    library: PathBuf,
}

impl Medium {
    /// Whether this process may make one: mounting takes root.
    #[must_use]
    pub fn can_be_made() -> bool {
        Command::new("id").arg("-u").output().is_ok_and(|out| out.stdout == b"0\n")
    }

    /// Mounts one of 48 MiB below `base`, and makes the library that lets it fail.
    ///
    /// # Errors
    /// Without a C compiler or the right to mount.
    pub fn new(base: &Path) -> Result<Self> {
        let root = base.join("medium");
        std::fs::create_dir(&root)?;
        let orders = base.join("orders");
        std::fs::write(&orders, [0_u8; 4096])?;
        let library = base.join("failing_medium.so");
        run(Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(&library)
            .arg(format!("-DORDERS=\"{}\"", orders.display()))
            .arg("-DIN_PATH=\"/medium/\"")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/failing_medium.c")))?;
        run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=48m,mode=755", "tmpfs"]).arg(&root))?;
        Ok(Self { root, orders, library })
    }

    /// The state folder on it.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// To be preloaded (`LD_PRELOAD`) into who is to see the failures.
    #[must_use]
    pub fn library(&self) -> &Path {
        &self.library
    }

    /// Begins a trouble; several may be on at once.
    ///
    /// # Errors
    /// When this machine does not let it happen.
    pub fn begin(&self, trouble: Trouble) -> Result<()> {
        match trouble {
            Trouble::Full => {
                // `dd` ends with an error when there is no room left: that is what is asked of it.
                Command::new("dd")
                    .args(["if=/dev/zero", "bs=4096", "status=none"])
                    .arg(format!("of={}", self.filler().display()))
                    .stderr(Stdio::null())
                    .status()?;
                Ok(())
            }
            Trouble::WritesFindNoSpace => self.order(NO_SPACE, 0),
            Trouble::WritesFail => self.order(IO_ERROR, 0),
            Trouble::SyncsFail => self.order(0, IO_ERROR),
            Trouble::ReadOnly => self.remount("ro"),
        }
    }

    /// Ends every trouble.
    ///
    /// # Errors
    /// When this machine does not let it happen.
    pub fn heal(&self) -> Result<()> {
        self.order(0, 0)?;
        self.remount("rw")?;
        match std::fs::remove_file(self.filler()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn filler(&self) -> PathBuf {
        self.root.join("filler")
    }

    fn order(&self, write: i32, sync: i32) -> Result<()> {
        use std::os::unix::fs::FileExt as _;
        let page = std::fs::OpenOptions::new().write(true).open(&self.orders)?;
        page.write_all_at(&[write.to_le_bytes(), sync.to_le_bytes()].concat(), 0)?;
        Ok(())
    }

    fn remount(&self, how: &str) -> Result<()> {
        Command::new("mount")
            .args(["-o", &format!("remount,{how}")])
            .arg(&self.root)
            .stderr(Stdio::null())
            .status()
            .context("mount")?;
        Ok(())
    }
}

impl Drop for Medium {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.root).status().ok();
    }
}

/// Runs `command` to its end.
///
/// # Errors
/// With what it said, when it cannot be started or does not end well.
pub fn run(command: &mut Command) -> Result<()> {
    let out = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    Ok(())
}

/// Lets everybody into `folder`: daemons reach their files below it whoever they run as, and folders of tests are private.
///
/// # Errors
/// When it is not ours.
pub fn open_to_all(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?)
}
