//! Discs that a PC boots, with isolinux as their loader.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::need::{self, Tool};
use crate::sh;

const NEEDED: [Tool; 3] = [
    Tool { program: LOADER, package: "isolinux" },
    Tool { program: MODULE, package: "syslinux-common" },
    Tool { program: "xorriso", package: "xorriso" },
];
const LOADER: &str = "/usr/lib/ISOLINUX/isolinux.bin";
const MODULE: &str = "/usr/lib/syslinux/modules/bios/ldlinux.c32";

/// Writes the disc with what is in the folder `root`, where the loader and its `configuration` come to as well.
pub(crate) fn write(root: &Path, volume: &str, configuration: &str, disc: &Path) -> Result<()> {
    need::tools(&NEEDED)?;
    for (from, name) in [(LOADER, "isolinux.bin"), (MODULE, "ldlinux.c32")] {
        fs::copy(from, root.join(name)).with_context(|| format!("cannot copy {from}"))?;
    }
    fs::write(root.join("isolinux.cfg"), configuration)?;
    sh::run(
        sh::command("xorriso")
            .args(["-as", "mkisofs", "-quiet", "-V", volume, "-J", "-r"])
            .args(["-b", "isolinux.bin", "-c", "boot.cat", "-no-emul-boot", "-boot-load-size", "4"])
            .args(["-boot-info-table", "-o"])
            .arg(disc)
            .arg(root),
    )
}
