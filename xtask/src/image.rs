//! `cargo xtask image`: a board's firmware, from sources and locked packages, the same bytes wherever it is built.
//!
//! ```text
//!  cargo ──► u-bmc, stage0 ─┐
//!  Debian ──► kernel, e2fsck├─► root (erofs) ─► hash tree ─► manifest ─► slot.img ─┬─► emmc.img
//!  targets/<board>/*.toml ──┘   initrd, board.dtb ─────────────────────────────────┴─► flash.img
//! ```

mod build;
mod data;
mod device_tree;
mod gpt;
mod initrd;
mod keys;
mod layout;
pub(crate) mod probe;
mod qemu;
mod report;
mod reproduce;
mod root;
mod sbom;
mod source;
mod spec;
mod uimage;
mod verity;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use crate::packages::{self, Package, Store};
use crate::{modules, sh, web};

/// What to build.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The board, for example `aspeed/ast2600-evb`.
    board: String,
    /// The image for a developer: a shell on the console.
    #[arg(long)]
    debug: bool,
    /// The key that signs, instead of the development key: a file with a seed of 64 hexadecimal digits.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Write the packages that were taken in place of locked ones into the lock.
    #[arg(long)]
    update_lock: bool,
    /// Build it a second time, in another folder, and compare.
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "all")]
    check_reproducible: Option<Again>,
}

/// What a second build compiles again.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// Everything, the standard library too.
    All,
    /// What is in this repository: other crates are taken as the first build compiled them.
    Ours,
}

/// What a boot loader needs.
#[derive(Debug)]
pub(crate) struct Parts {
    kernel: PathBuf,
    device_tree: PathBuf,
    initrd: PathBuf,
}

/// The folder of a board's image.
pub(crate) fn directory(board: &str, debug: bool) -> PathBuf {
    sh::root().join("target/image").join(format!("{board}{}", if debug { "-debug" } else { "" }))
}

/// The program of the drivers' contract, of which package.
pub(crate) const CONTRACT: (&str, &str) = ("hal-linux", "contract_guest");

pub(crate) use crate::elf::{Code, code};
pub(crate) use build::with_symbols;

/// Installs and fetches what compiling the programs needs.
pub(crate) fn prepare() -> Result<()> {
    build::needed()?;
    build::Toolchain::find(&mut Store::open()?).map(drop)
}

/// Compiles what the images and the machine of the drivers' contract are made of, and nothing else.
pub(crate) fn programs() -> Result<()> {
    let toolchain = build::Toolchain::find(&mut Store::open()?)?;
    toolchain.build()?;
    let (package, example) = CONTRACT;
    toolchain.cargo(&["--package", package, "--example", example]).map(drop)
}

/// Builds what is asked for.
pub(crate) fn run(args: &Args) -> Result<()> {
    let folder = build(args)?;
    if let Some(again) = args.check_reproducible {
        reproduce::check(args, again, &folder)?;
    }
    Ok(())
}

fn build(args: &Args) -> Result<PathBuf> {
    let spec = spec::Spec::read(&args.board)?;
    web::build()?;
    let flavour = if args.debug { "debug" } else { "release" };
    let source = source::Source::find()?;
    let key = keys::Key::find(args.key.as_deref())?;
    let mut store = Store::open()?;
    let done = directory(&args.board, args.debug);
    // Beside its place: an image that is there stays until the new one is whole.
    let folder = done.with_extension("part");
    let work =
        sh::target_dir().join("image-work").join(format!("{}-{flavour}", args.board.replace('/', "-")));
    for path in [&folder, &work] {
        if path.exists() {
            fs::remove_dir_all(path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))?;
    }

    let toolchain = build::Toolchain::find(&mut store)?;
    let programs = toolchain.build()?;

    let package = store.tree(&spec.kernel.package)?;
    let mut kernel = modules::Tree::open(&package)?;
    let parts = Parts {
        kernel: folder.join("kernel"),
        device_tree: folder.join("board.dtb"),
        initrd: folder.join("initrd"),
    };
    fs::copy(packages::find(&package.join("boot"), &|name| name.starts_with("vmlinuz-"))?, &parts.kernel)?;
    let emulated_kernel = uimage::make(&parts.kernel)?;
    device_tree::make(&package, &spec, &work, &parts.device_tree)?;
    let initrd = initrd::make(&spec, &mut kernel, &initrd::stage0(&programs)?, &key)?;
    fs::write(&parts.initrd, &initrd.archive)?;

    let template = match &spec.emmc {
        Some(emmc) => {
            let size = spec::find(&emmc.partition, spec::DATA)?.size.0;
            data::template(size, &spec.board, source.epoch, &work)?
        }
        None => Vec::new(),
    };
    let early = kernel.resolve(&spec.modules.root.early, &initrd.common)?;
    // Loaded beside the early ones.
    let network = kernel.resolve(&spec.modules.root.network, &initrd.common)?;
    let loaded: Vec<_> = initrd.common.iter().chain(&early).chain(&network).cloned().collect();
    let late = kernel.resolve(&spec.modules.root.late, &loaded)?;
    let tree = root::Tree::new(work.join("root"))?;
    root::system(&tree, &spec.board, env!("CARGO_PKG_VERSION"))?;
    root::modules(&tree, &early, &network, &late)?;
    tree.file("sbin/u-bmc", 0o755, fs::read(&programs.u_bmc)?)?;
    let helpers = store.tree("root")?;
    tree.file("sbin/e2fsck", 0o755, fs::read(packages::find(&helpers, &|name| name == "e2fsck.static")?)?)?;
    if spec.emmc.is_some() {
        tree.file("usr/share/u-bmc/data.ext4.template", 0o644, &template)?;
    }
    let about = serde_json::json!({
        "version": env!("CARGO_PKG_VERSION"),
        "board": spec.board,
        "flavour": flavour,
        "commit": source.commit,
        "epoch": source.epoch,
        "kernel_release": kernel.release,
    });
    tree.file("etc/u-bmc/image.json", 0o644, format!("{about:#}\n"))?;
    if args.debug {
        let helpers = store.tree("debug")?;
        tree.file("bin/busybox", 0o755, fs::read(packages::find(&helpers, &|name| name == "busybox")?)?)?;
        tree.link("bin/sh", "busybox")?;
        tree.file("etc/u-bmc/debug", 0o644, "")?;
    }
    let packed = work.join("root.erofs");
    root::pack(&mut store, tree.path(), &packed, &spec.board, source.epoch)?;
    let erofs = fs::read(&packed)?;
    let erofs_length = erofs.len() as u64;
    // What the modules take of it is measured by packing them alone.
    let packed_modules = work.join("modules.erofs");
    root::pack(&mut store, &tree.path().join(root::MODULES), &packed_modules, &spec.board, source.epoch)?;

    let manifest = boot::Manifest {
        board: spec.board.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel_release: kernel.release.clone(),
        flavour: flavour.to_owned(),
        epoch: source.epoch,
        root: boot::Root {
            data_blocks: 0,
            hash_start_block: 0,
            hash_blocks: 0,
            root_hash: [0; 32],
            salt: [0; 32],
        },
    };
    let slot = root::Slot::make(erofs, manifest, &key, spec.slot.size.0)?;
    fs::write(folder.join("slot.img"), slot.bytes(0)?)?;
    if let Some(emmc) = &spec.emmc {
        layout::emmc(emmc, &spec.board, &slot, &template, &folder.join("emmc.img"))?;
    }
    if let Some(nor) = &spec.nor {
        let fit = device_tree::fit(&spec, source.epoch, &parts, &work)?;
        fs::write(folder.join("flash.img"), layout::nor(nor.built()?, &spec.board, &slot, &fit)?)?;
    }
    fs::write(folder.join("qemu.args"), qemu::args(&spec, emulated_kernel))?;

    let in_image: Vec<Package> = store
        .taken()
        .filter(|(role, _)| *role == spec.kernel.package || *role == "root" || *role == "debug")
        .map(|(_, package)| package.clone())
        .collect();
    fs::write(folder.join("sbom.cdx.json"), sbom::document(&spec.board, &source, &in_image)?)?;
    let length = |path: &Path| fs::metadata(path).map(|m| m.len());
    let (kernel_length, tree_length) = (length(&parts.kernel)?, length(&parts.device_tree)?);
    let initrd_length = initrd.archive.len() as u64;
    let sizes = report::Sizes {
        kernel: kernel_length,
        device_tree: tree_length,
        initrd: initrd_length,
        stage0: length(&programs.stage0)?,
        initrd_modules: initrd.modules_length,
        u_bmc: length(&programs.u_bmc)?,
        root_modules: early.iter().chain(&late).map(|m| m.bytes.len() as u64).sum(),
        root_erofs: erofs_length,
        verity: slot.tree_length as u64,
        userspace_compressed: erofs_length.saturating_sub(length(&packed_modules)?),
        data_template: template.len() as u64,
        total: kernel_length + tree_length + initrd_length + (slot.body.len() + slot.area.len()) as u64,
    };
    let facts = report::Facts {
        board: &spec.board,
        flavour,
        kernel_release: &kernel.release,
        toolchain: &toolchain.version,
        source: &source,
        key: &key,
    };
    report::write(&facts, &store, &sizes, &folder)?;
    if args.update_lock {
        store.update_lock()?;
    }
    if done.exists() {
        fs::remove_dir_all(&done).with_context(|| format!("cannot remove {}", done.display()))?;
    }
    fs::rename(&folder, &done).with_context(|| format!("cannot make {}", done.display()))?;
    fs::remove_dir_all(&work)?;
    summary(&done, &sizes, &key);
    Ok(done)
}

fn summary(folder: &Path, sizes: &report::Sizes, key: &keys::Key) {
    let kib = |bytes: u64| bytes.div_ceil(1024);
    sh::say(&format!("image: {}", folder.display()));
    sh::say(&format!(
        "  kernel {} KiB, initrd {} KiB, root {} KiB (ours {} KiB), hash tree {} KiB",
        kib(sizes.kernel),
        kib(sizes.initrd),
        kib(sizes.root_erofs),
        kib(sizes.userspace_compressed),
        kib(sizes.verity)
    ));
    if key.is_development {
        sh::say(
            "  signed with the development key, which is public: anyone can sign an image this one accepts",
        );
    }
}

/// A UUID (version 8: made by one's own rule) from a text.
fn uuid(seed: &str) -> String {
    let hash = Sha256::new_with_prefix(b"u-bmc uuid ").chain_update(seed).finalize();
    let mut hex = HEXLOWER.encode(hash.get(..16).unwrap_or_default());
    hex.replace_range(12..13, "8");
    hex.replace_range(16..17, "8");
    for at in [20, 16, 12, 8] {
        hex.insert(at, '-');
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::uuid;

    #[test]
    fn a_uuid_of_a_text_has_the_form_of_one() {
        let one = uuid("board");
        assert_eq!(one, uuid("board"));
        assert_ne!(one, uuid("board2"));
        assert_eq!(one.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert_eq!(&one[14..15], "8");
        assert_eq!(&one[19..20], "8");
    }
}
