//! Takes the pages of the Web UI in, if `cargo xtask web` has made them: each file of `web/packed`, which has every one twice, as brotli and as
//! gzip. Without them the program builds all the same, and says how they are made.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    // Not the folder that this was compiled in: a target folder may be shared by several checkouts.
    let folder =
        env::var_os("CARGO_MANIFEST_DIR").ok_or_else(|| io::Error::other("cargo sets CARGO_MANIFEST_DIR"))?;
    let packed = Path::new(&folder).join("../../web/packed");
    println!("cargo::rerun-if-changed={}", packed.display());
    println!("cargo::rerun-if-changed=build.rs");
    let mut files = BTreeMap::new();
    collect(&packed, "", &mut files)?;
    let mut table = String::from("pub(crate) static FILES: &[File] = &[\n");
    for (name, brotli) in &files {
        let gzip = brotli.with_extension("gz");
        let mut hasher = DefaultHasher::new();
        fs::read(brotli)?.hash(&mut hasher);
        writeln!(
            table,
            "File {{ path: {name:?}, tag: \"\\\"{:016x}\\\"\", brotli: include_bytes!({brotli:?}), gzip: include_bytes!({gzip:?}) }},",
            hasher.finish(),
        )
        .map_err(io::Error::other)?;
    }
    table.push_str("];\n");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    fs::write(Path::new(&out).join("web.rs"), table)
}

/// The brotli files below `folder`, by the path in a browser.
fn collect(folder: &Path, path: &str, files: &mut BTreeMap<String, PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{path}/{name}"), files)?;
        } else if let Some(name) = name.strip_suffix(".br") {
            files.insert(format!("{path}/{name}"), entry.path());
        }
    }
    Ok(())
}
