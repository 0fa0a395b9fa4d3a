//! Video and USB functions as the first and only process of a machine with the kernel's own drivers, and with the kernel's own host at the other end: `vivid`
//! is what captures, `dummy_hcd` a USB port and a controller that are wired to each other.
//!
//! It is `/init` of a small initial file system with modules in `/modules`, loaded in the order of their names. What it finds goes to the console as lines that
//! begin with `contract:`, the last of which is `contract: done`; then the machine is switched off.

#[path = "drivers_guest/keys.rs"]
mod keys;
#[path = "drivers_guest/video.rs"]
mod video;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, reboot};

pub(crate) type Error = Box<dyn std::error::Error>;

/// Longest wait for something the kernel does.
const WITHIN: Duration = Duration::from_secs(20);
/// What `vivid` is: one device, which captures from an HDMI port.
const VIVID: &std::ffi::CStr = c"n_devs=1 node_types=0x1 num_inputs=1 input_types=0x3 multiplanar=1";

pub(crate) fn say(text: &str) {
    if let Ok(mut console) = File::options().write(true).open("/dev/console") {
        // Nothing to be done where the console is gone.
        drop(write!(console, "contract: {}\r\n", text.replace('\n', " | ")));
    }
}

/// Waits until something is there.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T, Error> {
    let steps = WITHIN.as_millis() / 10;
    for _ in 0..steps {
        if let Some(found) = look() {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(format!("not in {WITHIN:?}: {what}").into())
}

fn mounted(kind: &str, at: &str) -> Result<(), Error> {
    std::fs::create_dir_all(at)?;
    mount(kind, at, kind, MountFlags::empty(), None::<&std::ffi::CStr>)
        .map_err(|error| format!("cannot mount {kind}: {error}").into())
}

fn modules() -> Result<(), Error> {
    let mut paths = Vec::<PathBuf>::new();
    for entry in std::fs::read_dir("/modules")? {
        paths.push(entry?.path());
    }
    paths.sort();
    for path in paths {
        let is_vivid = path.to_string_lossy().ends_with("vivid.ko");
        let parameters = if is_vivid { VIVID } else { c"" };
        rustix::system::finit_module(&File::open(&path)?, parameters, 0)
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

fn all() -> Result<(), Error> {
    for (kind, at) in [("proc", "/proc"), ("sysfs", "/sys")] {
        mounted(kind, at)?;
    }
    modules()?;
    mounted("configfs", "/sys/kernel/config")?;
    say("modules loaded");
    until("the device of vivid", || Path::new("/dev/video0").exists().then_some(()))?;
    video::all(Path::new("/dev/video0"))?;
    keys::all()
}

fn main() {
    // Without it nobody can be told; the kernel's panic says that the first process ended.
    if mounted("devtmpfs", "/dev").is_err() {
        return;
    }
    std::panic::set_hook(Box::new(|panic| say(&format!("FAILED {panic}"))));
    match all() {
        Ok(()) => say("done"),
        Err(error) => say(&format!("FAILED {error}")),
    }
    rustix::fs::sync();
    let _ = reboot(RebootCommand::PowerOff);
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}
