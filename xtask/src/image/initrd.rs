//! The initial file system: stage 0, its modules, the keys it trusts, and what it must know of the board.

use std::fs;

use anyhow::Result;
use boot::{BootConfig, EmmcConfig, ModuleLists, NorConfig, Storage};

use super::keys::Key;
use super::spec::Spec;
use crate::cpio::{Archive, FILE, FOLDER, PROGRAM};
use crate::modules::{Module, Tree};

/// What goes in.
#[derive(Debug)]
pub(crate) struct Contents {
    /// The archive. It is not compressed: unpacking costs a small processor more than reading.
    pub(crate) archive: Vec<u8>,
    /// The modules that are loaded before the root's, whatever the storage.
    pub(crate) common: Vec<Module>,
    /// Bytes of all modules.
    pub(crate) modules_length: u64,
}

/// Makes the initial file system.
pub(crate) fn make(spec: &Spec, kernel: &mut Tree, stage0: &[u8], key: &Key) -> Result<Contents> {
    // Each list is whole by itself, since stage 0 loads them beside each other; a module that is there is passed over.
    let common = kernel.resolve(&spec.modules.initrd.common, &[])?;
    let emmc = if spec.emmc.is_some() { kernel.resolve(&spec.modules.initrd.emmc, &[])? } else { Vec::new() };
    let nor = if spec.nor.is_some() { kernel.resolve(&spec.modules.initrd.nor, &[])? } else { Vec::new() };
    let mut archive = Archive::default();
    for folder in ["dev", "keys", "modules", "proc", "root", "run", "sys"] {
        archive.add(folder, FOLDER, &[])?;
    }
    // The kernel opens it before anything is mounted.
    archive.add_device("dev/console", 0o600, [5, 1])?;
    archive.add("init", PROGRAM, stage0)?;
    archive.add(&format!("keys/{}.pub", key.name), FILE, key.public().as_bytes())?;
    let mut lists = ModuleLists::default();
    let mut written: Vec<String> = Vec::new();
    let mut modules_length = 0;
    for (list, modules) in [(&mut lists.common, &common), (&mut lists.emmc, &emmc), (&mut lists.nor, &nor)] {
        for module in modules {
            // One file serves both kinds of storage.
            let name = match written.iter().find(|name| name.ends_with(&format!("-{}", module.file))) {
                Some(name) => name.clone(),
                None => {
                    let name = format!("{:02}-{}", written.len(), module.file);
                    archive.add(&format!("modules/{name}"), FILE, &module.bytes)?;
                    modules_length += module.bytes.len() as u64;
                    written.push(name.clone());
                    name
                }
            };
            list.push(name);
        }
    }
    let mut storage = Vec::new();
    storage.extend(spec.emmc.is_some().then_some(Storage::Emmc));
    storage.extend(spec.nor.is_some().then_some(Storage::Nor));
    let config = BootConfig {
        board: spec.board.clone(),
        storage,
        modules: lists,
        emmc: spec.emmc.as_ref().map(|emmc| EmmcConfig { device: emmc.device.clone() }),
        nor: spec.nor.as_ref().map(|nor| NorConfig { device: nor.device.clone() }),
    };
    let json = serde_json::to_vec_pretty(&config)?;
    BootConfig::parse(&json)?;
    archive.add("boot.json", FILE, &json)?;
    Ok(Contents { archive: archive.finish()?, common, modules_length })
}

/// Reads the program that is `/init`.
pub(crate) fn stage0(programs: &super::build::Programs) -> Result<Vec<u8>> {
    Ok(fs::read(&programs.stage0)?)
}
