//! `cargo xtask guest`: a tiny machine to be the simulated board's real host.
//!
//! Debian's kernel for virtual machines and its static busybox, unpacked and not installed (`targets/packages.toml` locks them). It boots to a shell on the serial
//! port and on the screen in about two seconds under translation, and shuts down when its power button is pressed.
//!
//! And one that talks to its controller by itself: with Debian's kernel for all machines, whose drivers of IPMI and of USB the other one has not, and the ipmitool of this
//! machine with the libraries that takes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::cpio::{Archive, FILE, FOLDER, PROGRAM};
use crate::modules::Tree;
use crate::packages::{Store, find};
use crate::{need, sh};

/// Only these and what they need, for a quick boot: the ACPI power button, and the device by which programs see it.
const MODULES: [&str; 2] = ["evdev", "button"];

/// The drivers of IPMI, and those of USB ports and of what has keys or places there, which the kernel for virtual machines has not.
const IPMI_MODULES: [&str; 6] =
    ["ipmi_msghandler", "ipmi_devintf", "ipmi_si", "xhci-pci", "usbhid", "hid-generic"];

/// The guest is ready only once somebody listens to the button: a press before would be lost.
const INIT: &str = r#"#!/bin/busybox sh
export PATH=/bin TERM=dumb
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox --install -s /bin
for module in /lib/*.ko; do insmod $module; done
acpid -f -l /dev/null &
until ls -l /proc/$!/fd | grep -q /dev/input/; do sleep 0.1; done
echo "u-bmc guest: ready after $(cut -d' ' -f1 /proc/uptime) s" | tee /dev/tty0
while :; do setsid sh -c 'exec sh </dev/tty1 >/dev/tty1 2>&1'; done &
while :; do setsid cttyhack sh; done
"#;

/// What acpid runs when the power button is pressed.
const PRESSED: &str = r#"#!/bin/sh
echo "u-bmc guest: power button" > /dev/console
poweroff -f
"#;

/// Where the guest is. Always below the workspace, wherever cargo builds: board files name it relative to themselves.
pub(crate) fn directory() -> PathBuf {
    sh::root().join("target/guest")
}

/// Where the one is that talks to its controller.
pub(crate) fn ipmi_directory() -> PathBuf {
    sh::root().join("target/guest-ipmi")
}

/// Makes the guest unless it is there and made as described here.
pub(crate) fn build() -> Result<()> {
    let mut store = Store::open()?;
    make(&mut store, &directory(), "guest", &MODULES, &[])
}

/// The same of the one that talks to its controller, once ipmitool is on this machine.
pub(crate) fn build_ipmi() -> Result<()> {
    need::tools(&[need::IPMITOOL])?;
    let program = sh::located(need::IPMITOOL.program).context("ipmitool is not installed")?;
    let mut store = Store::open()?;
    let modules = [&MODULES[..], &IPMI_MODULES].concat();
    make(&mut store, &ipmi_directory(), "guest-ipmi", &modules, &[program])
}

/// The guest with the kernel of this role, these modules of it, and these programs of this machine.
fn make(store: &mut Store, guest: &Path, role: &str, modules: &[&str], programs: &[PathBuf]) -> Result<()> {
    let stamp = guest.join("made-of");
    let mut packages: Vec<String> = Vec::new();
    for role in ["guest", role] {
        packages.extend(store.take(role)?.iter().map(|p| format!("{} {}", p.name, p.version)));
    }
    packages.dedup();
    let packages = packages.join(", ");
    let wanted = format!("{packages}\n{modules:?}\n{programs:?}\n{INIT}\n{PRESSED}");
    if fs::read_to_string(&stamp).is_ok_and(|made| made == wanted)
        && ["vmlinuz", "initrd"].iter().all(|file| guest.join(file).is_file())
    {
        return Ok(());
    }
    fs::create_dir_all(guest).with_context(|| format!("cannot make {}", guest.display()))?;
    let (tree, tools) = (store.tree(role)?, store.tree("guest")?);
    let vmlinuz = find(&tree.join("boot"), &|name| name.starts_with("vmlinuz-"))?;
    fs::copy(&vmlinuz, guest.join("vmlinuz")).context("cannot keep the kernel")?;
    let initrd = initrd(&tree, &tools, modules, programs)?;
    fs::write(guest.join("initrd"), initrd).context("cannot write the initial file system")?;
    fs::write(&stamp, wanted)?;
    sh::say(&format!("guest: {} from {packages}", guest.display()));
    Ok(())
}

/// The initial file system, not compressed: unpacking costs more under translation than reading.
fn initrd(tree: &Path, tools: &Path, modules: &[&str], programs: &[PathBuf]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    let mut folders: BTreeSet<String> = BTreeSet::new();
    for folder in ["bin", "dev", "etc", "etc/acpi", "etc/acpi/PWRF", "lib", "proc", "sys", "tmp"] {
        archive.add(folder, FOLDER, &[])?;
        folders.insert(folder.to_owned());
    }
    archive.add("init", PROGRAM, INIT.as_bytes())?;
    // The name is the event as acpid writes it.
    archive.add("etc/acpi/PWRF/00000080", PROGRAM, PRESSED.as_bytes())?;
    let busybox = find(tools, &|name| name == "busybox")?;
    archive.add("bin/busybox", PROGRAM, &fs::read(busybox)?)?;
    let names: Vec<String> = modules.iter().map(|name| (*name).to_owned()).collect();
    // In the order in which they are loaded, with what they need.
    for (number, module) in Tree::open(tree)?.resolve(&names, &[])?.iter().enumerate() {
        archive.add(&format!("lib/{number:02}-{}", module.file), FILE, &module.bytes)?;
    }
    for program in programs {
        let name = program.file_name().context("a program without a name")?.to_string_lossy();
        archive.add(&format!("bin/{name}"), PROGRAM, &fs::read(program)?)?;
        // Each at the path where its loader looks for it.
        for library in libraries(program)? {
            let path = library.to_string_lossy().trim_start_matches('/').to_owned();
            let mut folder = String::new();
            let (above, _) = path.rsplit_once('/').unwrap_or_default();
            for part in above.split('/') {
                folder = if folder.is_empty() { part.to_owned() } else { format!("{folder}/{part}") };
                if folders.insert(folder.clone()) {
                    archive.add(&folder, FOLDER, &[])?;
                }
            }
            if folders.insert(path.clone()) {
                archive.add(&path, PROGRAM, &fs::read(&library)?)?;
            }
        }
    }
    archive.finish()
}

/// The libraries of a program of this machine, and its loader.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let said = sh::output(sh::command("ldd").arg(program))?;
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    Ok(said.lines().filter_map(path).collect())
}
