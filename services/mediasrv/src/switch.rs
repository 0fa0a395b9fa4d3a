//! The switch: whether media may be inserted at all. What was chosen is kept in a file of the daemon's own, as what is in the drives is, so that it is known
//! before any of that is offered again. What is kept and cannot be read means off, and is told.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use service::Folder;

/// The file.
pub(crate) const FILE: &str = "service.json";
/// More than it ever has.
const BYTES_MAX: usize = 4096;

/// What was chosen: on, unless somebody has said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Chosen {
    enabled: bool,
}

impl Default for Chosen {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// Whether it is on; and what is wrong with what was kept.
pub(crate) fn kept(state_dir: &Path) -> (bool, Option<String>) {
    match service::read_summed::<Chosen>(state_dir, FILE, BYTES_MAX) {
        Ok(chosen) => (chosen.enabled, None),
        Err(why) => {
            let what = format!(
                "whether virtual media is switched on cannot be read: it is off until somebody says so: {why}"
            );
            (false, Some(what))
        }
    }
}

/// Keeps it; it is on the medium when it returns.
///
/// # Errors
/// What the system says; what was kept before is still there.
pub(crate) fn keep(state_dir: &Path, enabled: bool) -> io::Result<()> {
    let folder = Folder::create(state_dir)?;
    // In place of a folder nothing could be kept.
    folder.make_way_for_file(FILE)?;
    folder.replace_decidedly(FILE, &service::to_summed(&Chosen { enabled })?, 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_on_until_somebody_says_otherwise_and_that_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("mediasrv");
        assert_eq!(kept(&state), (true, None));
        for enabled in [false, true, false] {
            keep(&state, enabled).unwrap();
            assert_eq!(kept(&state), (enabled, None));
        }
    }

    #[test]
    fn what_is_damaged_means_off_and_is_told_and_can_be_set_anew() {
        let dir = tempfile::tempdir().unwrap();
        keep(dir.path(), true).unwrap();
        let path = dir.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &flipped).unwrap();
            let (is_on, what) = kept(dir.path());
            assert!(!is_on && what.is_some_and(|what| what.contains("it is off until")), "bit {bit}");
        }
        for damage in [&b""[..], b"{}", &[b' '; BYTES_MAX + 1]] {
            std::fs::write(&path, damage).unwrap();
            assert!(!kept(dir.path()).0, "{damage:?}");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(!kept(dir.path()).0, "a folder in its place");
        keep(dir.path(), true).unwrap();
        assert_eq!(kept(dir.path()), (true, None));
    }
}
