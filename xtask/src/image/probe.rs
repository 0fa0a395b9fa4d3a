//! A machine for one test program: a board's kernel and device tree, and the program with its modules as the initial file system.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{build, device_tree, qemu, spec, uimage};
use crate::cpio::{Archive, FILE, FOLDER, PROGRAM};
use crate::packages::{self, Store};
use crate::{modules, sh};

/// Makes the machine in a folder of its own: an example of `package`, and `modules` with what they depend on.
pub(crate) fn make(board: &str, package: &str, example: &str, names: &[&str]) -> Result<PathBuf> {
    let spec = spec::Spec::read(board)?;
    let mut store = Store::open()?;
    let toolchain = build::Toolchain::find(&mut store)?;
    let programs = toolchain.cargo(&["--package", package, "--example", example])?;
    let folder = super::directory(board, false).with_extension(example);
    let work = sh::target_dir().join("image-work").join(example);
    for path in [&folder, &work] {
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
    }
    let tree = store.tree(&spec.kernel.package)?;
    fs::copy(
        packages::find(&tree.join("boot"), &|name| name.starts_with("vmlinuz-"))?,
        folder.join("kernel"),
    )?;
    let kernel = uimage::make(&folder.join("kernel"))?;
    device_tree::make(&tree, &spec, &work, &folder.join("board.dtb"))?;
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let modules = modules::Tree::open(&tree)?.resolve(&names, &[])?;
    fs::write(folder.join("initrd"), archive(&programs.join("examples").join(example), &modules)?)?;
    fs::write(folder.join("qemu.args"), args(&qemu::args(&spec, kernel)))?;
    Ok(folder)
}

fn archive(program: &Path, modules: &[modules::Module]) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for folder in ["dev", "modules", "proc", "sys"] {
        archive.add(folder, FOLDER, &[])?;
    }
    archive.add_device("dev/console", 0o600, [5, 1])?;
    archive.add("init", PROGRAM, &fs::read(program)?)?;
    for (number, module) in modules.iter().enumerate() {
        archive.add(&format!("modules/{number:02}-{}", module.file), FILE, &module.bytes)?;
    }
    archive.finish()
}

/// The board's arguments without its disks.
fn args(board: &str) -> String {
    let mut kept = String::new();
    let mut lines = board.lines();
    while let Some(line) = lines.next() {
        if line == "-drive" {
            lines.next();
            continue;
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::args;

    #[test]
    fn disks_are_left_out_and_nothing_else() {
        assert_eq!(args("-m\n1G\n-drive\nfile=emmc.img,if=sd\n-qmp\nx\n"), "-m\n1G\n-qmp\nx\n");
    }
}
