//! A disc with Debian's installer, as its `mini.iso` is made: no package has that, but kernel, initrd and boot loader are packaged.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::need::{self, Tool};
use crate::{disc, sh};

/// Kernel and initrd, which is 40 MB.
const IMAGES: &str = "/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64";
const NEEDED: [Tool; 1] = [Tool {
    program: "/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64/linux",
    package: "debian-installer-12-netboot-amd64",
}];
/// What is booted, with the installer's questions as plain text on the first serial port.
const CONFIGURATION: &str = "\
serial 0 115200
default install
label install
  kernel linux
  append initrd=initrd.gz console=ttyS0,115200n8 DEBIAN_FRONTEND=text priority=low ---
";

/// Makes the disc: its file.
pub(crate) fn make() -> Result<PathBuf> {
    need::qemu_x86()?;
    need::tools(&NEEDED)?;
    let folder = sh::target_dir().join("installer");
    let root = folder.join("root");
    fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
    for name in ["linux", "initrd.gz"] {
        let from = format!("{IMAGES}/{name}");
        fs::copy(&from, root.join(name)).with_context(|| format!("cannot copy {from}"))?;
    }
    let disc = folder.join("debian.iso");
    disc::write(&root, "DEBIAN", CONFIGURATION, &disc)?;
    Ok(disc)
}
