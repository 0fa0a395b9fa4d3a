//! What is counted against guessers, kept for the next process of this daemon until the machine starts anew.
//!
//! It lies in memory (the run folder) and names the boot it belongs to: where a run folder outlives a boot, times of the clock since boot
//! mean nothing any more. Where accounts are known from, which needs no clock, is in [`crate::known_file`] as well.

use std::io;
use std::path::Path;

use service::Folder;

use crate::NAME;

const FILE: &str = "lockout";
/// Bytes that name a boot.
const BOOT: usize = 36;

/// The file, and the boot it is good for.
#[derive(Debug)]
pub(crate) struct LockoutFile {
    folder: Folder,
    boot: [u8; BOOT],
    /// Saving failed last time.
    failing: bool,
}

impl LockoutFile {
    /// Opens the daemon's own folder in `run_dir`; `None`, with a line in the log, where there is no such place.
    pub(crate) fn open(run_dir: &Path) -> Option<Self> {
        let opened = Folder::own(run_dir, NAME).and_then(|folder| {
            let id = service::boot_id()?;
            let boot = id.as_bytes().first_chunk();
            let boot = boot.ok_or_else(|| io::Error::other("the kernel does not name its boot"))?;
            Ok(Self { folder, boot: *boot, failing: false })
        });
        opened
            .inspect_err(
                |error| tracing::warn!(%error, "cannot save failed-login counters: lost when usermgr restarts"),
            )
            .ok()
    }

    /// What an earlier process of this boot left, of at most `max` bytes.
    pub(crate) fn load(&self, max: usize) -> Option<Vec<u8>> {
        match self.folder.read(FILE, max.saturating_add(BOOT)) {
            Ok(bytes) => bytes.strip_prefix(&self.boot).map(<[u8]>::to_vec),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(%error, "cannot read saved failed-login counters");
                None
            }
        }
    }

    /// Replaces it.
    pub(crate) fn save(&mut self, bytes: &[u8]) {
        let saved = self.folder.replace(FILE, &[&self.boot, bytes].concat(), 0o600);
        if let Err(error) = &saved
            && !self.failing
        {
            tracing::warn!(%error, "cannot save failed-login counters: lost when usermgr restarts");
        }
        self.failing = saved.is_err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_of_another_boot_or_too_long_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = LockoutFile::open(dir.path()).unwrap();
        assert_eq!(file.load(10), None);
        file.save(b"counted");
        assert_eq!(LockoutFile::open(dir.path()).unwrap().load(7).as_deref(), Some(b"counted".as_slice()));
        assert_eq!(file.load(6), None);
        file.boot = *b"00000000-0000-0000-0000-000000000000";
        assert_eq!(file.load(10), None);
    }
}
