//! Kernel modules: found by name in a kernel package, with what they depend on, in the order they must be loaded in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::elf;
use crate::need;
use crate::packages::unpacked;

/// Where the kernel keeps the modules that other modules name by an algorithm.
const ALGORITHMS: &str = "kernel/crypto";

/// The modules of one kernel.
#[derive(Debug)]
pub(crate) struct Tree {
    /// As `uname -r` says it.
    pub(crate) release: String,
    directory: PathBuf,
    files: BTreeMap<String, PathBuf>,
    builtin: BTreeSet<String>,
    /// What was read so far.
    loaded: BTreeMap<String, Module>,
    /// Module by algorithm, read when the first is asked for.
    algorithms: Option<BTreeMap<String, String>>,
}

/// A module.
#[derive(Debug, Clone)]
pub(crate) struct Module {
    /// Name of its file, without folder and compression.
    pub(crate) file: String,
    /// The file, decompressed.
    pub(crate) bytes: Vec<u8>,
    depends: Vec<String>,
    before: Vec<String>,
}

impl Tree {
    /// Reads the names of what an unpacked kernel package holds.
    pub(crate) fn open(package: &Path) -> Result<Self> {
        need::tools(&[need::XZ])?;
        let all = package.join("usr/lib/modules");
        let all = if all.is_dir() { all } else { package.join("lib/modules") };
        let mut releases: Vec<PathBuf> = fs::read_dir(&all)
            .with_context(|| format!("cannot read {}", all.display()))?
            .map(|entry| entry.map(|e| e.path()))
            .collect::<std::io::Result<_>>()?;
        let (Some(directory), true) = (releases.pop(), releases.is_empty()) else {
            bail!("{}: not the modules of exactly one kernel", all.display());
        };
        let release =
            directory.file_name().and_then(|n| n.to_str()).context("a kernel without a name")?.to_owned();
        let builtin = fs::read_to_string(directory.join("modules.builtin")).context("modules.builtin")?;
        let builtin = builtin.lines().filter_map(|line| name_of(Path::new(line))).collect();
        let mut files = BTreeMap::new();
        let mut pending = vec![directory.join("kernel")];
        while let Some(folder) = pending.pop() {
            for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
                let path = entry?.path();
                if path.is_dir() {
                    pending.push(path);
                } else if let Some(name) = name_of(&path) {
                    files.insert(name, path);
                }
            }
        }
        Ok(Self { release, directory, files, builtin, loaded: BTreeMap::new(), algorithms: None })
    }

    /// The modules that `names` need, in load order, without those in `already`; those are taken as loaded.
    pub(crate) fn resolve(&mut self, names: &[String], already: &[Module]) -> Result<Vec<Module>> {
        let mut done: BTreeSet<String> =
            already.iter().filter_map(|module| name_of(Path::new(&module.file))).collect();
        let mut order = Vec::new();
        for name in names {
            let key = key(name);
            if !self.builtin.contains(&key) && !self.files.contains_key(&key) {
                bail!("kernel {} has no module {name:?}", self.release);
            }
            self.visit(&key, &mut done, &mut order, &mut Vec::new())?;
        }
        Ok(order)
    }

    fn visit(
        &mut self,
        name: &str,
        done: &mut BTreeSet<String>,
        order: &mut Vec<Module>,
        above: &mut Vec<String>,
    ) -> Result<()> {
        if self.builtin.contains(name) || done.contains(name) {
            return Ok(());
        }
        if above.iter().any(|n| n == name) {
            bail!("kernel {}: module {name:?} depends on itself by {above:?}", self.release);
        }
        let module = self.load(name)?;
        above.push(name.to_owned());
        for softly in &module.before {
            // A soft dependency may name an algorithm, and may be one this kernel does without.
            let found = if self.files.contains_key(softly) || self.builtin.contains(softly) {
                Some(softly.clone())
            } else {
                self.algorithm(softly)?
            };
            if let Some(found) = found
                && found != name
            {
                self.visit(&found, done, order, above)?;
            }
        }
        for needed in &module.depends {
            self.visit(needed, done, order, above)?;
        }
        above.pop();
        done.insert(name.to_owned());
        order.push(module);
        Ok(())
    }

    fn load(&mut self, name: &str) -> Result<Module> {
        if let Some(module) = self.loaded.get(name) {
            return Ok(module.clone());
        }
        let path = self
            .files
            .get(name)
            .with_context(|| format!("kernel {} has no module {name:?}", self.release))?;
        let bytes = unsigned(unpacked(path)?);
        let info = elf::section(&bytes, ".modinfo").with_context(|| format!("module {name:?}"))?;
        let file = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let file = file.split_once(".ko").map_or(file, |(stem, _)| stem);
        let module = Module {
            file: format!("{file}.ko"),
            depends: values(info, "depends")
                .flat_map(|list| list.split(',').map(key))
                .filter(|n| !n.is_empty())
                .collect(),
            before: values(info, "softdep")
                .filter_map(|list| list.split("post:").next()?.trim().strip_prefix("pre:"))
                .flat_map(|list| list.split_whitespace().map(key))
                .collect(),
            bytes,
        };
        self.loaded.insert(name.to_owned(), module.clone());
        Ok(module)
    }

    /// The module that brings an algorithm, by the aliases of those that could.
    fn algorithm(&mut self, alias: &str) -> Result<Option<String>> {
        if self.algorithms.is_none() {
            let folder = self.directory.join(ALGORITHMS);
            let candidates: Vec<String> = self
                .files
                .iter()
                .filter(|(_, path)| path.starts_with(&folder))
                .map(|(name, _)| name.clone())
                .collect();
            let mut map = BTreeMap::new();
            for name in candidates {
                let bytes = self.load(&name)?.bytes;
                for alias in values(elf::section(&bytes, ".modinfo")?, "alias") {
                    map.insert(key(alias), name.clone());
                }
            }
            self.algorithms = Some(map);
        }
        Ok(self.algorithms.as_ref().and_then(|map| map.get(alias)).cloned())
    }
}

/// A module without the signature that its maker appended. What we load lies in the signed root or beside stage0, so the check proves
/// nothing more, and an RSA check for each module is work for a small processor.
///
/// The form is that of the kernel's `module_signature.h`: module, signature, 12 bytes whose last four say how long the signature is
/// (big-endian), a text.
fn unsigned(mut bytes: Vec<u8>) -> Vec<u8> {
    const TEXT: &[u8] = b"~Module signature appended~\n";
    let signed = bytes.strip_suffix(TEXT).and_then(|rest| rest.split_last_chunk::<12>());
    let length = signed.and_then(|(rest, about)| {
        let signature = u32::from_be_bytes(*about.last_chunk::<4>()?);
        rest.len().checked_sub(usize::try_from(signature).ok()?)
    });
    if let Some(length) = length {
        bytes.truncate(length);
    }
    bytes
}

/// Names are the same whichever of the two dashes they are written with.
fn key(name: &str) -> String {
    name.replace('-', "_")
}

fn name_of(path: &Path) -> Option<String> {
    Some(key(path.file_name()?.to_str()?.split_once(".ko")?.0))
}

/// The values of one key in a `.modinfo` section: texts `key=value`, each ended by a zero.
fn values<'a>(info: &'a [u8], key: &'a str) -> impl Iterator<Item = &'a str> {
    info.split(|byte| *byte == 0)
        .filter_map(|entry| std::str::from_utf8(entry).ok())
        .filter_map(move |entry| entry.strip_prefix(key)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_makers_signature_is_taken_off_and_nothing_else() {
        let with = |length: u32| {
            let tail = [&[0; 8][..], &length.to_be_bytes(), b"~Module signature appended~\n"].concat();
            [&b"module"[..], b"sign", &tail].concat()
        };
        assert_eq!(unsigned(with(4)), b"module");
        assert_eq!(unsigned(with(400)), with(400), "it says it is longer than the file");
        assert_eq!(unsigned(b"module".to_vec()), b"module");
    }

    /// A kernel whose modules are made for the test: name, what it depends on, what should come before it, its alias.
    fn kernel(dir: &Path, modules: &[(&str, &str, &str, &str)]) -> Tree {
        let root = dir.join("usr/lib/modules/1.0");
        fs::create_dir_all(root.join("kernel/crypto")).unwrap();
        fs::write(root.join("modules.builtin"), "kernel/lib/built-in.ko\n").unwrap();
        for (name, depends, softdep, alias) in modules {
            let info = format!("license=GPL\0depends={depends}\0softdep={softdep}\0alias={alias}\0");
            let folder = if alias.is_empty() { "kernel" } else { "kernel/crypto" };
            fs::write(
                root.join(folder).join(format!("{name}.ko")),
                elf::tests::with_modinfo(info.as_bytes()),
            )
            .unwrap();
        }
        Tree::open(dir).unwrap()
    }

    fn names(modules: &[Module]) -> Vec<&str> {
        modules.iter().map(|m| m.file.as_str()).collect()
    }

    fn wanted(names: &[&str]) -> Vec<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn what_a_module_depends_on_is_loaded_before_it_and_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = kernel(
            dir.path(),
            &[
                ("top", "middle-a,middle_b,built-in", "", ""),
                ("middle-a", "bottom", "", ""),
                ("middle_b", "bottom", "pre: soft absent post: later", ""),
                ("bottom", "", "pre: crypto-sum", ""),
                ("soft", "", "", ""),
                ("later", "", "", ""),
                ("sum_generic", "", "", "crypto-sum"),
            ],
        );
        let order = tree.resolve(&wanted(&["top", "built_in"]), &[]).unwrap();
        assert_eq!(
            names(&order),
            ["sum_generic.ko", "bottom.ko", "middle-a.ko", "soft.ko", "middle_b.ko", "top.ko"]
        );
        let common = tree.resolve(&wanted(&["middle-a"]), &[]).unwrap();
        assert_eq!(
            names(&tree.resolve(&wanted(&["top"]), &common).unwrap()),
            ["soft.ko", "middle_b.ko", "top.ko"]
        );
    }

    #[test]
    fn a_module_that_does_not_exist_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut tree = kernel(
            dir.path(),
            &[("one", "gone", "", ""), ("ring", "ring2", "", ""), ("ring2", "ring", "", "")],
        );
        for (name, why) in
            [("two", "no module \"two\""), ("one", "no module \"gone\""), ("ring", "depends on itself")]
        {
            let error = format!("{:#}", tree.resolve(&wanted(&[name]), &[]).unwrap_err());
            assert!(error.contains(why), "{error}");
        }
    }
}
