//! The machine in which video and USB functions meet the kernel's own drivers: Debian's kernel for amd64, and one test program as its first process.
//!
//! The emulated SoC has no model of its video engine and none of its USB ports. This kernel has both in software: `vivid` captures a picture that it makes
//! itself, `dummy_hcd` is a port and the host at the other end.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::cpio::{Archive, FILE, FOLDER, PROGRAM};
use crate::modules::{Module, Tree};
use crate::packages::{Store, find};
use crate::{need, sh};

/// What the program wants to meet.
const MODULES: [&str; 11] = [
    "configfs",
    "evdev",
    "vivid",
    "dummy_hcd",
    "libcomposite",
    "usb_f_hid",
    "usb_f_mass_storage",
    "usbhid",
    "hid-generic",
    "usb-storage",
    "sd_mod",
];

/// Makes the machine: a folder with `vmlinuz` and `initrd`.
pub(crate) fn make() -> Result<PathBuf> {
    need::qemu_x86()?;
    let mut store = Store::open()?;
    let tree = store.tree("drivers")?;
    // With a test, for which the features of what it needs count: those the other tiers have compiled.
    sh::cargo(&["build", "--locked", "--workspace", "--example", "drivers_guest", "--test", "x86"])?;
    let program = sh::target_dir().join("debug/examples/drivers_guest");
    let names: Vec<String> = MODULES.iter().map(|name| (*name).to_owned()).collect();
    let modules = Tree::open(&tree)?.resolve(&names, &[])?;
    let folder = sh::target_dir().join("drivers-guest");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::copy(find(&tree.join("boot"), &|name| name.starts_with("vmlinuz-"))?, folder.join("vmlinuz"))?;
    fs::write(folder.join("initrd"), archive(&program, &modules)?)?;
    Ok(folder)
}

fn archive(program: &Path, modules: &[Module]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["dev", "modules", "proc", "sys"] {
        archive.add(folder, FOLDER, &[])?;
    }
    archive.add_device("dev/console", 0o600, [5, 1])?;
    archive.add("init", PROGRAM, &fs::read(program)?)?;
    for (number, module) in modules.iter().enumerate() {
        archive.add(&format!("modules/{number:02}-{}", module.file), FILE, &module.bytes)?;
    }
    let libraries = libraries(&sh::output(sh::command("ldd").arg(program))?);
    let mut folders = BTreeSet::new();
    for path in &libraries {
        folders.extend(path.ancestors().skip(1).filter(|folder| folder.parent().is_some()));
    }
    for folder in folders {
        archive.add(inside(folder), FOLDER, &[])?;
    }
    for path in &libraries {
        archive.add(inside(path), PROGRAM, &fs::read(path)?)?;
    }
    archive.finish()
}

/// What a program is linked with, of what `ldd` says: paths with an address behind them.
fn libraries(told: &str) -> Vec<PathBuf> {
    let paths = told.split_whitespace().filter(|word| word.starts_with('/'));
    paths.map(PathBuf::from).collect::<BTreeSet<_>>().into_iter().collect()
}

fn inside(path: &Path) -> &str {
    path.to_str().unwrap_or_default().trim_start_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_the_paths_that_ldd_names() {
        let told = "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x2)\n\t/lib64/ld-linux-x86-64.so.2 (0x3)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(libraries(told), expected);
    }
}
