//! The key that signs an image's manifest.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use data_encoding::HEXLOWER_PERMISSIVE;

use crate::sh;

/// In the repository, so known to everyone: it proves nothing but that the machinery works.
const DEVELOPMENT: &str = "targets/keys/development.key";

/// A signing key.
pub(crate) struct Key {
    /// What it is called in the initial file system and in the manifest.
    pub(crate) name: String,
    seed: [u8; 32],
    /// Whether everyone has it.
    pub(crate) is_development: bool,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Key {
    /// The key of the file given, else of the environment's, else the development key.
    pub(crate) fn find(given: Option<&Path>) -> Result<Self> {
        let outside =
            given.map(Path::to_owned).or_else(|| std::env::var_os("UBMC_SIGNING_KEY").map(PathBuf::from));
        Self::read(&outside.unwrap_or_else(|| sh::root().join(DEVELOPMENT)))
    }

    fn read(file: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read the key {}", file.display()))?;
        let seed = seed(&text)
            .with_context(|| format!("{}: a key is a seed of 64 hexadecimal digits", file.display()))?;
        let name = file.file_stem().and_then(|n| n.to_str()).unwrap_or("key").to_owned();
        ensure!(
            name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)),
            "{}: the name becomes a file name of the image; letters, digits, -, _ and . only",
            file.display()
        );
        let development =
            fs::read_to_string(sh::root().join(DEVELOPMENT)).ok().and_then(|text| self::seed(&text));
        Ok(Self { name, seed, is_development: development == Some(seed) })
    }

    /// The text of the public key's file.
    pub(crate) fn public(&self) -> String {
        format!("{}\n", boot::public_key_of(&self.seed).to_hex())
    }

    /// Signs a manifest; the result is the last bytes of a slot.
    pub(crate) fn seal(&self, manifest: &boot::Manifest) -> Result<Vec<u8>> {
        Ok(boot::seal(manifest, &self.seed)?)
    }
}

/// The seed in a key file: lines that start with `#` are for people.
fn seed(text: &str) -> Option<[u8; 32]> {
    let digits = text.lines().find(|line| !line.starts_with('#') && !line.trim().is_empty())?.trim();
    HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_development_key_signs_what_its_public_key_opens() {
        let key = Key::read(&sh::root().join(DEVELOPMENT)).unwrap();
        assert!(key.is_development);
        let public = fs::read_to_string(sh::root().join(DEVELOPMENT).with_extension("pub")).unwrap();
        assert_eq!(public, key.public());
        let manifest = boot::Manifest {
            board: "a/b".into(),
            version: "1".into(),
            kernel_release: "6".into(),
            flavour: "release".into(),
            epoch: 1,
            root: boot::Root {
                data_blocks: 1,
                hash_start_block: 1,
                hash_blocks: 1,
                root_hash: [1; 32],
                salt: [2; 32],
            },
        };
        let area = key.seal(&manifest).unwrap();
        let keys = [boot::PublicKey::from_hex(&public).unwrap()];
        assert_eq!(boot::Manifest::open(&area, &keys).unwrap(), manifest);
    }

    #[test]
    fn a_file_that_is_no_key_is_refused() {
        assert_eq!(seed(&format!("# for tests\n\n{}\n", "07".repeat(32))), Some([7; 32]));
        for bad in ["", "# only words", &"07".repeat(31), &"0g".repeat(32), &"ä".repeat(32)] {
            assert_eq!(seed(bad), None, "{bad}");
        }
    }
}
