//! The store: files on the controller that can be inserted, within a quota.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// The folder, in the daemon's own.
const FOLDER: &str = "store";
/// After the name of a file that is not whole. No file's name begins with a dot.
const PART: &str = ".part";
/// Files at most.
const FILES_MAX: usize = 64;
/// One of so many parts of the partition stays free, but never more than [`FREE_MAX`]: the event log and the accounts live there, too.
const FREE_PARTS: u64 = 8;
/// More than all that other daemons store.
const FREE_MAX: u64 = 64 << 20;

/// A file in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) name: String,
    pub(crate) size: u64,
    pub(crate) at: Option<SystemTime>,
    pub(crate) is_whole: bool,
}

/// The store. Calls block.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    quota: u64,
    /// What is being brought in, and how large it will be.
    coming: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Store {
    /// The store in a daemon's folder. What was not whole when the daemon ended goes.
    pub(crate) fn open(state_dir: &Path, quota: u64) -> Self {
        let folder = state_dir.join(FOLDER);
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(b".")
                && let Err(error) = fs::remove_file(entry.path())
            {
                tracing::warn!(path = %entry.path().display(), %error, "cannot remove unfinished upload");
            }
        }
        Self { folder, quota, coming: Arc::default() }
    }

    fn coming(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is there, by name.
    pub(crate) fn list(&self) -> io::Result<Vec<Stored>> {
        let mut files = Vec::new();
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            entries => Some(entries?),
        };
        for entry in entries.into_iter().flatten() {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let about = entry.metadata()?;
            if about.is_file() && !name.starts_with('.') {
                files.push(Stored { name, size: about.len(), at: about.modified().ok(), is_whole: true });
            }
        }
        for (name, size) in &*self.coming() {
            files.push(Stored { name: name.clone(), size: *size, at: None, is_whole: false });
        }
        files.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(files)
    }

    /// Bytes that may be taken in all.
    pub(crate) fn room(&self) -> u64 {
        let used = self.list().map(|files| files.iter().map(|file| file.size).sum()).unwrap_or(0);
        self.quota.min(self.free().saturating_add(used))
    }

    fn free(&self) -> u64 {
        // The folder is made with the first file.
        let folder = if self.folder.exists() { Some(self.folder.as_path()) } else { self.folder.parent() };
        let Some(about) = folder.and_then(|folder| rustix::fs::statvfs(folder).ok()) else { return 0 };
        let block = about.f_frsize;
        usable(about.f_blocks.saturating_mul(block), about.f_bavail.saturating_mul(block))
    }

    /// Takes the place for a file that is brought in.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub(crate) fn begin(&self, name: &str, size: u64) -> Result<Part, String> {
        if self.quota == 0 {
            return Err("there is no store here (mediasrv.store_mib)".to_owned());
        }
        let files = self.list().map_err(|error| format!("cannot read the store: {error}"))?;
        if self.coming().contains_key(name) {
            return Err("a file of this name is being uploaded".to_owned());
        }
        let used: u64 = files.iter().map(|file| file.size).sum();
        let coming: u64 = self.coming().values().sum();
        if files.len() >= FILES_MAX {
            return Err(format!("the store has {FILES_MAX} files: delete some"));
        }
        if used.saturating_add(size) > self.quota || coming.saturating_add(size) > self.free() {
            let room = self.room().saturating_sub(used);
            return Err(format!(
                "the store has room for {room} bytes more: delete some, or serve the file by a session"
            ));
        }
        let make = || -> io::Result<File> {
            fs::create_dir_all(&self.folder)?;
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(self.part(name))?;
            file.set_len(size)?;
            Ok(file)
        };
        let file = make().map_err(|error| format!("cannot write into the store: {error}"))?;
        self.coming().insert(name.to_owned(), size);
        Ok(Part { store: self.clone(), name: name.to_owned(), file: Arc::new(file), is_done: false })
    }

    fn part(&self, name: &str) -> PathBuf {
        self.folder.join(format!(".{name}{PART}"))
    }

    /// Where a file is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Opens a file: how large it is, too.
    pub(crate) fn file(&self, name: &str, is_read_only: bool) -> Result<(File, u64), String> {
        // What was asked for a long time ago may be anything by now.
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
            return Err("that is no name of a file in the store".to_owned());
        }
        let opened = OpenOptions::new().read(true).write(!is_read_only).open(self.path(name));
        let file = opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => "there is no such file in the store".to_owned(),
            _ => format!("cannot open it: {error}"),
        })?;
        let size = file.metadata().map_err(|error| format!("cannot open it: {error}"))?.len();
        Ok((file, size))
    }

    /// Takes a file out.
    ///
    /// # Errors
    /// `NotFound` if there is none; what the system says.
    pub(crate) fn delete(&self, name: &str) -> io::Result<()> {
        if name.starts_with('.') || name.contains('/') {
            return Err(io::ErrorKind::NotFound.into());
        }
        fs::remove_file(self.path(name))?;
        File::open(&self.folder)?.sync_all()
    }
}

/// A file that is being brought in. It goes when this is dropped, unless it is whole.
#[derive(Debug)]
pub(crate) struct Part {
    store: Store,
    name: String,
    file: Arc<File>,
    is_done: bool,
}

impl Part {
    pub(crate) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// It is whole, and on the medium when this returns; one of that name is replaced.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(self.store.part(&self.name), self.store.path(&self.name))?;
        File::open(&self.store.folder)?.sync_all()?;
        self.is_done = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.store.coming().remove(&self.name);
        if !self.is_done {
            // It goes at the next start at the latest.
            let _ = fs::remove_file(self.store.part(&self.name));
        }
    }
}

/// How much of what is free the store may take, of a partition of `size` bytes.
fn usable(size: u64, free: u64) -> u64 {
    free.saturating_sub((size / FREE_PARTS).min(FREE_MAX))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn a_file_is_there_when_it_is_whole_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), 10_000);
        assert_eq!(store.list().unwrap(), []);
        let part = store.begin("a.iso", 4096).unwrap();
        part.file().write_all_at(&[7; 4096], 0).unwrap();
        assert!(store.begin("a.iso", 1).is_err(), "twice at a time");
        assert!(!store.list().unwrap()[0].is_whole);
        assert!(store.file("a.iso", true).is_err());
        part.finish().unwrap();
        let files = store.list().unwrap();
        assert_eq!((files.len(), files[0].size, files[0].is_whole), (1, 4096, true));
        assert_eq!(store.file("a.iso", true).unwrap().1, 4096);

        drop(store.begin("b.iso", 10).unwrap());
        // As after a crash in the middle.
        fs::write(dir.path().join("store/.c.iso.part"), "x").unwrap();
        let store = Store::open(dir.path(), 10_000);
        assert_eq!(fs::read_dir(dir.path().join("store")).unwrap().count(), 1);
        store.delete("a.iso").unwrap();
        assert_eq!(store.delete("a.iso").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(store.delete("../slots.json").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(store.file("../x", true).is_err() && store.file(".x", true).is_err());
    }

    #[test]
    fn what_the_others_need_stays_free_of_a_small_partition_and_of_a_large_one() {
        const MIB: u64 = 1 << 20;
        assert_eq!(usable(32 * MIB, 20 * MIB), 16 * MIB, "an eighth");
        assert_eq!(usable(32 * MIB, 3 * MIB), 0);
        assert_eq!(usable(1 << 38, 1 << 34), (1 << 34) - 64 * MIB, "a disk that is nearly full has room");
    }

    #[test]
    fn there_is_room_for_so_much_and_what_comes_counts() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), 10_000);
        assert_eq!(store.room(), 10_000);
        let coming = store.begin("a", 6000).unwrap();
        assert!(store.begin("b", 5000).unwrap_err().contains("4000 bytes more"));
        drop(coming);
        store.begin("b", 5000).unwrap().finish().unwrap();
        assert!(Store::open(dir.path(), 0).begin("c", 1).unwrap_err().contains("store_mib"));
        for nth in 0..FILES_MAX - 1 {
            store.begin(&format!("f{nth}"), 1).unwrap().finish().unwrap();
        }
        assert!(store.begin("one-more", 1).unwrap_err().contains("64 files"));
    }
}
