//! The shell on the console of a debug image. A release image has neither the marker nor a shell to start.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The marker of a debug image, in its verified root.
const MARKER: &str = "/etc/u-bmc/debug";
const PROGRAM: &str = "/bin/busybox";
const CONSOLE: &str = "/dev/console";

/// Pause between two shells: one that cannot run must not keep a core busy.
const AGAIN: Duration = Duration::from_secs(2);

/// Starts it, over and over, beside everything else.
pub(crate) fn start() {
    if !Path::new(MARKER).exists() {
        return;
    }
    tracing::warn!("debug image: console gives root shell without login");
    let started = std::thread::Builder::new().name("shell".into()).stack_size(64 * 1024).spawn(|| {
        loop {
            if let Err(error) = once() {
                tracing::warn!(%error, "cannot start console shell");
            }
            std::thread::sleep(AGAIN);
        }
    });
    if let Err(error) = started {
        tracing::warn!(%error, "cannot start console shell");
    }
}

/// One shell, from login to exit.
fn once() -> std::io::Result<()> {
    let console = File::options().read(true).write(true).open(CONSOLE)?;
    let mut shell = Command::new(PROGRAM)
        // A session of its own with the console as its terminal, so that Ctrl-C reaches what runs in it.
        .args(["setsid", "cttyhack", "sh"])
        .env("PATH", "/bin:/sbin")
        .env("HOME", "/tmp")
        .env("TERM", "dumb")
        .stdin(console.try_clone()?)
        .stdout(console.try_clone()?)
        .stderr(console)
        .spawn()?;
    match shell.wait() {
        // The reaper of orphans may have been first.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::CHILD.raw_os_error()) => Ok(()),
        other => other.map(drop),
    }
}
