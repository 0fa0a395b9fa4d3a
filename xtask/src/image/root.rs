//! The root file system: the tree, packed read-only, and the slot that holds it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};

use super::{keys::Key, spec, uuid, verity};
use crate::modules::Module;
use crate::packages::{self, Store};
use crate::sh;

/// What of the file system is not ours to shrink: the kernel's part.
pub(crate) const MODULES: &str = "lib/modules";

/// The tree to pack.
#[derive(Debug)]
pub(crate) struct Tree {
    path: PathBuf,
}

impl Tree {
    /// An empty tree at `path`.
    pub(crate) fn new(path: PathBuf) -> Result<Self> {
        if path.exists() {
            fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        fs::create_dir_all(&path)?;
        let tree = Self { path };
        for folder in [
            "dev",
            "etc/u-bmc",
            "lib",
            "mnt",
            "proc",
            "run",
            "sbin",
            "sys",
            "tmp",
            "usr/share/u-bmc",
            "var/lib/u-bmc",
        ] {
            tree.folder(folder)?;
        }
        Ok(tree)
    }

    /// The folder that holds it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn folder(&self, name: &str) -> Result<PathBuf> {
        let mut path = self.path.clone();
        for part in Path::new(name) {
            path.push(part);
            if !path.is_dir() {
                fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
                // Whatever the umask of who builds.
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
            }
        }
        Ok(path)
    }

    /// Adds a file.
    pub(crate) fn file(&self, name: &str, mode: u32, bytes: impl AsRef<[u8]>) -> Result<()> {
        let path = self.path.join(name);
        if let Some(parent) = Path::new(name).parent().and_then(Path::to_str) {
            self.folder(parent)?;
        }
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        Ok(())
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&self, name: &str, target: &str) -> Result<()> {
        symlink(target, self.path.join(name)).with_context(|| format!("cannot link {name}"))
    }
}

/// What is the same in every image: users, names, the board's own files.
pub(crate) fn system(tree: &Tree, board: &str, version: &str) -> Result<()> {
    tree.file("etc/passwd", 0o644, "root:x:0:0:root:/:/sbin/nologin\n")?;
    tree.file("etc/group", 0o644, "root:x:0:\n")?;
    tree.link("etc/resolv.conf", "/run/netmgr/resolv.conf")?;
    tree.file(
        "etc/os-release",
        0o644,
        format!(
            "ID=u-bmc\nNAME=u-bmc\nVERSION_ID={version}\nPRETTY_NAME=\"u-bmc {version}\"\nVARIANT_ID={}\n",
            board.replace('/', "-")
        ),
    )?;
    for name in ["board.toml", "config.toml"] {
        let file = spec::directory(board).join(name);
        let text = fs::read(&file).with_context(|| format!("targets/{board}/{name}"))?;
        tree.file(&format!("etc/u-bmc/{name}"), 0o644, text)?;
    }
    Ok(())
}

/// The modules the operator loads, and the order to do it in.
pub(crate) fn modules(tree: &Tree, early: &[Module], network: &[Module], late: &[Module]) -> Result<()> {
    let names = |modules: &[Module]| modules.iter().map(|m| m.file.clone()).collect::<Vec<_>>();
    let list = serde_json::json!({ "early": names(early), "network": names(network), "late": names(late) });
    tree.file(&format!("{MODULES}/modules.json"), 0o644, format!("{list:#}\n"))?;
    for module in early.iter().chain(network).chain(late) {
        tree.file(&format!("{MODULES}/{}", module.file), 0o644, &module.bytes)?;
    }
    Ok(())
}

/// Packs a tree: erofs, compressed, and the same bytes for the same tree.
pub(crate) fn pack(store: &mut Store, tree: &Path, out: &Path, board: &str, epoch: u64) -> Result<()> {
    // A packer of our own choice in place of this machine's: its compression is better, and it is the same everywhere.
    let tools = store.tree("erofs")?;
    let loader = packages::find(&tools, &|name| name.starts_with("ld-linux-x86-64.so"))?;
    if out.exists() {
        fs::remove_file(out)?;
    }
    sh::run(
        sh::command(loader)
            .arg("--library-path")
            .arg(tools.join("usr/lib/x86_64-linux-gnu"))
            .arg(tools.join("usr/bin/mkfs.erofs"))
            // Of what was measured the smallest that is quick to read and to make: docs/image.md has the numbers.
            .args(["--quiet", "-zzstd,level=19", "-C131072"])
            .args(["--all-root", "--ignore-mtime", &format!("-T{epoch}")])
            .args(["-U", &uuid(&format!("{board} root")), "-Lu-bmc"])
            .arg(out)
            .arg(tree)
            // It would overrule the arguments, and files would keep times of their own up to it.
            .env_remove("SOURCE_DATE_EPOCH")
            .stdout(std::process::Stdio::null()),
    )
}

/// A slot: file system, hash tree, signed manifest.
#[derive(Debug)]
pub(crate) struct Slot {
    /// File system and hash tree.
    pub(crate) body: Vec<u8>,
    /// The manifest area, the last bytes of the partition.
    pub(crate) area: Vec<u8>,
    /// Bytes of the hash tree.
    pub(crate) tree_length: usize,
    /// Of the partition.
    pub(crate) size: u64,
}

impl Slot {
    /// Makes a slot of a packed file system. What is not known of the root in `manifest` is filled in.
    pub(crate) fn make(
        mut root: Vec<u8>,
        mut manifest: boot::Manifest,
        key: &Key,
        size: u64,
    ) -> Result<Self> {
        root.resize(root.len().next_multiple_of(verity::BLOCK), 0);
        // A salt keeps a tree made in advance for one image from serving another; it need not be secret.
        let salt: [u8; 32] = Sha256::new_with_prefix(b"u-bmc salt").chain_update(&root).finalize().into();
        let tree = verity::tree(&root, &salt)?;
        let block = verity::BLOCK as u64;
        manifest.root = boot::Root {
            data_blocks: root.len() as u64 / block,
            hash_start_block: root.len() as u64 / block,
            hash_blocks: tree.blocks.len() as u64 / block,
            root_hash: tree.root,
            salt,
        };
        let area = key.seal(&manifest)?;
        let mut body = root;
        body.extend(&tree.blocks);
        let used = body.len() + area.len();
        ensure!(
            used as u64 <= size,
            "targets/{}/image.toml: slot.size: the image takes {used} bytes, the slot has {size}",
            manifest.board
        );
        // What is made here must be what stage 0 accepts.
        manifest.check(&manifest.board, &manifest.kernel_release, size)?;
        Ok(Self { body, area, tree_length: tree.blocks.len(), size })
    }

    /// The whole partition, its unused part filled with `filler`.
    pub(crate) fn bytes(&self, filler: u8) -> Result<Vec<u8>> {
        let size = usize::try_from(self.size)?;
        let mut bytes = self.body.clone();
        bytes.resize(size - self.area.len(), filler);
        bytes.extend(&self.area);
        Ok(bytes)
    }
}
