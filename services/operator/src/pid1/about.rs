//! What the firmware image that runs says of itself: a file that `cargo xtask image` puts into it.

use std::path::Path;

use serde::Deserialize;

/// Where an image says it.
pub(crate) const FILE: &str = "/etc/u-bmc/image.json";

/// Hexadecimal digits of a commit that a version shows.
const SHORT: usize = 12;

/// What an image says.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
pub(crate) struct About {
    /// When it was built, Unix time in seconds.
    pub(crate) epoch: u64,
    /// The commit it was built from, `-dirty` behind it when files differed.
    #[serde(default)]
    commit: String,
}

impl About {
    /// Reads `file`; nothing where there is none, which is everywhere but in an image.
    pub(crate) fn read(file: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(file).ok()?).ok()
    }

    /// The commit as a version shows it: shortened, and still dirty.
    fn short_commit(&self) -> Option<String> {
        let (commit, dirty) =
            self.commit.find('-').map_or((self.commit.as_str(), ""), |at| self.commit.split_at(at));
        let commit = commit.get(..SHORT).unwrap_or(commit);
        (!commit.is_empty()).then(|| format!("{commit}{dirty}"))
    }
}

/// The commit that the running image was built from, shortened; nothing outside of an image.
///
/// The programs of an image do not name it themselves: they would be other ones with every commit, whatever it changed.
#[must_use]
pub fn image_commit() -> Option<String> {
    About::read(Path::new(FILE))?.short_commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_shortened_and_stays_dirty() {
        let short = |commit: &str| About { epoch: 0, commit: commit.into() }.short_commit();
        assert_eq!(short("0123456789abcdef0123").as_deref(), Some("0123456789ab"));
        assert_eq!(short("0123456789abcdef0123-dirty").as_deref(), Some("0123456789ab-dirty"));
        assert_eq!(short("v1").as_deref(), Some("v1"));
        assert_eq!(short(""), None);
    }

    #[test]
    fn a_file_that_is_wrong_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("image.json");
        assert_eq!(About::read(&file), None);
        std::fs::write(&file, "not json").unwrap();
        assert_eq!(About::read(&file), None);
        std::fs::write(&file, r#"{"epoch": 1000, "version": "1"}"#).unwrap();
        assert_eq!(About::read(&file), Some(About { epoch: 1000, commit: String::new() }));
    }
}
