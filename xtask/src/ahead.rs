//! What the last tier needs compiled, while the tiers before it run: tests wait much of their time, and a core that waits compiles for nothing.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};

use crate::{image, sh};

/// The programs of images being compiled, by a process that gets the processor when nobody else wants it (`SCHED_IDLE`, sched(7)).
#[derive(Debug)]
pub(crate) struct Ahead {
    child: Child,
    log: PathBuf,
}

impl Ahead {
    /// Begins, once all that is needed is installed: two processes that install would be in each other's way.
    ///
    /// # Errors
    /// When something is missing that cannot be installed, or nothing can be started.
    pub(crate) fn begin() -> Result<Self> {
        image::prepare()?;
        let log = sh::target_dir().join("programs.log");
        let file = File::create(&log).with_context(|| format!("cannot make {}", log.display()))?;
        let mut command = Command::new("chrt");
        command
            .args(["--idle", "0"])
            .arg(std::env::current_exe()?)
            .arg("programs")
            .current_dir(sh::root())
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            // So that all of it can be ended.
            .process_group(0);
        let child = command.spawn().context("cannot start chrt (Debian: util-linux)")?;
        sh::say(&format!("the programs of images are compiled beside the tests: {}", log.display()));
        Ok(Self { child, log })
    }

    /// Waits for the end. What failed fails again where it is needed, and is said there.
    pub(crate) fn finish(mut self) {
        match self.child.wait() {
            Ok(status) if status.success() => {}
            Ok(status) => sh::say(&format!("compiling ahead ended with {status}: {}", self.log.display())),
            Err(error) => sh::say(&format!("compiling ahead: {error}")),
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let group = format!("-{}", self.child.id());
            Command::new("kill").args(["-TERM", "--", &group]).status().ok();
            self.child.wait().ok();
        }
    }
}
