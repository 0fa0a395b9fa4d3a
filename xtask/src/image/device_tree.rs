//! The board's device tree: the kernel package's, then the board's `overlay.dts`, then what `image.toml` says of the flash.
//!
//! The three are compiled as one source, not applied as an overlay: the package's trees have no symbols, and an overlay can
//! take nothing away.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::spec::{self, Nor, Spec};
use crate::{need, sh};

/// Writes the board's tree to `out`, working in the folder `work`.
pub(crate) fn make(package: &Path, spec: &Spec, work: &Path, out: &Path) -> Result<()> {
    need::tools(&[need::DTC])?;
    let base = crate::packages::find(package, &|name| name == spec.kernel.device_tree)
        .with_context(|| format!("kernel.device_tree: {:?}", spec.kernel.device_tree))?;
    let mut source = sh::output(sh::command("dtc").args(["-q", "-I", "dtb", "-O", "dts"]).arg(&base))?;
    let overlay = spec::directory(&spec.board).join("overlay.dts");
    if overlay.is_file() {
        source.push('\n');
        source.push_str(&fs::read_to_string(&overlay)?);
    }
    if let Some(nor) = &spec.nor {
        source.push_str(&partitions(nor)?);
    }
    write!(source, "\n/ {{\n\tchosen {{\n\t\tbootargs = \"{}\";\n\t}};\n}};\n", spec.kernel.command_line)?;
    let file = work.join("board.dts");
    fs::write(&file, source)?;
    sh::run(sh::command("dtc").args(["-q", "-I", "dts", "-O", "dtb", "-o"]).arg(out).arg(&file))
        .with_context(|| format!("targets/{}/overlay.dts", spec.board))
}

/// The flash's partitions in place of those the tree came with.
fn partitions(nor: &Nor) -> Result<String> {
    let node = &nor.node;
    let mut text =
        format!("\n&{{{node}}} {{\n\tlabel = \"{}\";\n\t/delete-node/ partitions;\n}};\n", nor.device);
    write!(text, "&{{{node}}} {{\n\tpartitions {{\n\t\tcompatible = \"fixed-partitions\";\n")?;
    text.push_str("\t\t#address-cells = <1>;\n\t\t#size-cells = <1>;\n");
    for partition in &nor.built()?.partition {
        let (offset, size) = (partition.offset.0, partition.size.0);
        write!(text, "\t\tpartition@{offset:x} {{\n\t\t\treg = <{offset:#x} {size:#x}>;\n")?;
        write!(text, "\t\t\tlabel = \"{}\";\n\t\t}};\n", partition.label)?;
    }
    text.push_str("\t};\n};\n");
    Ok(text)
}

/// What a boot loader takes from NOR: kernel, tree and initial file system in one flattened image tree.
pub(crate) fn fit(spec: &Spec, epoch: u64, parts: &super::Parts, work: &Path) -> Result<Vec<u8>> {
    let mut source = String::from("/dts-v1/;\n/ {\n");
    write!(source, "\tdescription = \"u-bmc for {}\";\n\ttimestamp = <{epoch}>;\n", spec.board)?;
    source.push_str("\t#address-cells = <1>;\n\timages {\n");
    for (name, file, what) in [
        (
            "kernel",
            &parts.kernel,
            "type = \"kernel\"; os = \"linux\"; load = <0x80008000>; entry = <0x80008000>;",
        ),
        ("fdt", &parts.device_tree, "type = \"flat_dt\";"),
        ("ramdisk", &parts.initrd, "type = \"ramdisk\"; os = \"linux\";"),
    ] {
        write!(source, "\t\t{name} {{\n\t\t\tdata = /incbin/(\"{}\");\n", file.display())?;
        write!(source, "\t\t\t{what}\n\t\t\tarch = \"arm\"; compression = \"none\";\n")?;
        let hash = crate::packages::file_hash(file)?;
        write!(source, "\t\t\thash-1 {{ algo = \"sha256\"; value = [{hash}]; }};\n\t\t}};\n")?;
    }
    source.push_str("\t};\n\tconfigurations {\n\t\tdefault = \"u-bmc\";\n\t\tu-bmc {\n");
    source.push_str("\t\t\tkernel = \"kernel\"; fdt = \"fdt\"; ramdisk = \"ramdisk\";\n\t\t};\n\t};\n};\n");
    let (from, to) = (work.join("fit.dts"), work.join("fit.itb"));
    fs::write(&from, source)?;
    sh::run(sh::command("dtc").args(["-q", "-I", "dts", "-O", "dtb", "-o"]).arg(&to).arg(&from))?;
    fs::read(&to).context("the flattened image tree")
}
