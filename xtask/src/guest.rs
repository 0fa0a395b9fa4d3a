//! `cargo xtask guest`: a tiny machine to be the simulated board's real host.
//!
//! Debian's kernel for virtual machines and its static busybox, unpacked and not installed (`targets/packages.toml` locks them). It boots to a shell on the serial
//! port and on the screen in about two seconds under translation, and shuts down when its power button is pressed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::cpio::{Archive, FILE, FOLDER, PROGRAM};
use crate::packages::{Store, find, unpacked};
use crate::sh;

/// Only these, for a quick boot: the ACPI power button, and the device by which programs see it.
const MODULES: [&str; 2] = ["evdev", "button"];

/// The guest is ready only once somebody listens to the button: a press before would be lost.
const INIT: &str = r#"#!/bin/busybox sh
export PATH=/bin TERM=dumb
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox --install -s /bin
insmod /lib/evdev.ko
insmod /lib/button.ko
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

/// Makes the guest unless it is there and made as described here.
pub(crate) fn build() -> Result<()> {
    let guest = directory();
    let stamp = guest.join("made-of");
    let mut store = Store::open()?;
    let packages: Vec<String> =
        store.take("guest")?.iter().map(|p| format!("{} {}", p.name, p.version)).collect();
    let packages = packages.join(", ");
    let wanted = format!("{packages}\n{MODULES:?}\n{INIT}\n{PRESSED}");
    if fs::read_to_string(&stamp).is_ok_and(|made| made == wanted)
        && ["vmlinuz", "initrd"].iter().all(|file| guest.join(file).is_file())
    {
        return Ok(());
    }
    fs::create_dir_all(&guest).with_context(|| format!("cannot make {}", guest.display()))?;
    let tree = store.tree("guest")?;
    let vmlinuz = find(&tree.join("boot"), &|name| name.starts_with("vmlinuz-"))?;
    fs::copy(&vmlinuz, guest.join("vmlinuz")).context("cannot keep the kernel")?;
    fs::write(guest.join("initrd"), initrd(&tree)?).context("cannot write the initial file system")?;
    fs::write(&stamp, wanted)?;
    sh::say(&format!("guest: {} from {packages}", guest.display()));
    Ok(())
}

/// The initial file system, not compressed: unpacking costs more under translation than reading.
fn initrd(tree: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for directory in ["bin", "dev", "etc", "etc/acpi", "etc/acpi/PWRF", "lib", "proc", "sys", "tmp"] {
        archive.add(directory, FOLDER, &[])?;
    }
    archive.add("init", PROGRAM, INIT.as_bytes())?;
    // The name is the event as acpid writes it.
    archive.add("etc/acpi/PWRF/00000080", PROGRAM, PRESSED.as_bytes())?;
    let busybox = find(tree, &|name| name == "busybox")?;
    archive.add("bin/busybox", PROGRAM, &fs::read(busybox)?)?;
    for module in MODULES {
        let path =
            find(&tree.join("lib"), &|name| name.split_once(".ko").is_some_and(|(stem, _)| stem == module))
                .or_else(|_| {
                find(&tree.join("usr/lib"), &|name| {
                    name.split_once(".ko").is_some_and(|(stem, _)| stem == module)
                })
            })?;
        archive.add(&format!("lib/{module}.ko"), FILE, &unpacked(&path)?)?;
    }
    archive.finish()
}
