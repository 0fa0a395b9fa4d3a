//! `cargo xtask guest`: a tiny machine to be the simulated board's real host.
//!
//! Debian's kernel for virtual machines and its static busybox, unpacked and not installed. It boots to a shell on the serial
//! port and on the screen in about two seconds under translation, and shuts down when its power button is pressed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::cpio::{Archive, FILE, FOLDER, PROGRAM};
use crate::packages::{find, unpacked};
use crate::{need, sh};

/// The kernel for virtual machines: a serial console, a screen and a keyboard are built in, the power button is a module.
const KERNEL: &str = "linux-image-cloud-amd64";

const BUSYBOX: &str = "busybox-static";

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
    let wanted = format!("{KERNEL}\n{BUSYBOX}\n{MODULES:?}\n{INIT}\n{PRESSED}");
    if fs::read_to_string(&stamp).is_ok_and(|made| made == wanted)
        && ["vmlinuz", "initrd"].iter().all(|file| guest.join(file).is_file())
    {
        return Ok(());
    }
    if !sh::on_path("apt-get") || !sh::on_path("dpkg-deb") {
        bail!("the guest is made of Debian packages; apt-get and dpkg-deb are needed");
    }
    let work = guest.join("work");
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))?;
    }
    let tree = work.join("tree");
    fs::create_dir_all(&tree).with_context(|| format!("cannot make {}", tree.display()))?;
    let kernel = kernel_package()?;
    download(&work, &[&kernel, BUSYBOX])?;
    for entry in fs::read_dir(&work)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            sh::run(sh::command("dpkg-deb").arg("-x").arg(&path).arg(&tree))?;
        }
    }
    let vmlinuz = find(&tree.join("boot"), &|name| name.starts_with("vmlinuz-"))?;
    fs::copy(&vmlinuz, guest.join("vmlinuz")).context("cannot keep the kernel")?;
    fs::write(guest.join("initrd"), initrd(&tree)?).context("cannot write the initial file system")?;
    fs::remove_dir_all(&work)?;
    fs::write(&stamp, wanted)?;
    sh::say(&format!("guest: {} from {kernel} and {BUSYBOX}", guest.display()));
    Ok(())
}

/// The kernel that the metapackage stands for today.
fn kernel_package() -> Result<String> {
    let ask = || sh::output(sh::command("apt-cache").args(["depends", KERNEL]));
    let named = |answer: &str| {
        answer
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "))
            .find(|name| name.starts_with("linux-image-"))
            .map(str::to_owned)
    };
    if let Some(name) = ask().ok().as_deref().and_then(named) {
        return Ok(name);
    }
    need::apt_update()?;
    named(&ask()?).with_context(|| format!("the package {KERNEL} names no kernel"))
}

fn download(into: &Path, packages: &[&str]) -> Result<()> {
    sh::say(&format!("$ apt-get download {}", packages.join(" ")));
    let fetch = || {
        sh::run(
            sh::command("apt-get")
                .args(["download", "-q"])
                // The sandbox user of apt cannot write here, and says so each time.
                .args(["-o", "APT::Sandbox::User=root"])
                .args(packages)
                .current_dir(into)
                .stdout(std::process::Stdio::null()),
        )
    };
    if fetch().is_err() {
        // The lists are older than the mirror.
        need::apt_update()?;
        return fetch();
    }
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
