//! The store: files on the controller that can be inserted, within a quota.
//!
//! A name is held by who uses it: by one who brings a file in or takes it out, by drives that have it, of which one that writes it is alone. So no file
//! changes under a host that reads it, and no two write one.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use service::Folder;

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
    /// In how many drives it is.
    pub(crate) inserted: usize,
}

/// Who holds a name.
#[derive(Clone, Copy, Debug)]
enum Hold {
    /// Who brings a file of so many bytes.
    Coming(u64),
    /// Who takes it out.
    Going,
    /// So many drives.
    Read(usize),
    /// A drive whose host may write it.
    Written,
}

impl Hold {
    /// Why nobody else may have it, for people.
    fn why(self) -> &'static str {
        match self {
            Self::Coming(_) => "a file of this name is being uploaded",
            Self::Going => "the file is being deleted",
            Self::Read(_) | Self::Written => "a file of this name is inserted: eject it first",
        }
    }
}

type Holds = BTreeMap<String, Hold>;

/// The store. Calls block, but for [`Store::claim`].
#[derive(Clone, Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    quota: u64,
    /// Held for moments only.
    holds: Arc<Mutex<Holds>>,
    /// Held by who judges what there is room for, until it is taken.
    gate: Arc<Mutex<()>>,
}

/// Why a file cannot be brought in, for people.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Somebody has the name.
    Held(&'static str),
    /// There is no room.
    Full(String),
}

/// Why a file is not taken out.
#[derive(Debug)]
pub(crate) enum Undeleted {
    /// Somebody has it, for people.
    Held(&'static str),
    /// What the system says.
    Io(io::Error),
}

/// A drive has a file: until this is dropped nobody replaces it or takes it out.
#[derive(Debug)]
pub(crate) struct Claim {
    holds: Arc<Mutex<Holds>>,
    name: String,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut holds = lock(&self.holds);
        match holds.get_mut(&self.name) {
            Some(Hold::Read(drives)) if *drives > 1 => *drives -= 1,
            _ => {
                holds.remove(&self.name);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// The store in a daemon's folder. What was not whole when the daemon ended goes; the folder may be a link to another disk, on which others have files, too.
    pub(crate) fn open(state_dir: &Path, quota: u64) -> Self {
        let folder = state_dir.join(FOLDER);
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if is_part(entry.file_name().as_encoded_bytes())
                && let Err(error) = fs::remove_file(entry.path())
            {
                tracing::warn!(path = %entry.path().display(), %error, "cannot remove unfinished upload");
            }
        }
        Self { folder, quota, holds: Arc::default(), gate: Arc::default() }
    }

    /// Looks at the files once, and says what is wrong with which. What is in the way of the folder or of a file is put aside: nothing could be brought in
    /// there. Content has no sum of ours, so another content of the same length is not found.
    pub(crate) fn inspect(&self) -> Vec<(String, String)> {
        let mut told = Vec::new();
        let parent = self.folder.parent().unwrap_or(&self.folder);
        match Folder::open(parent).and_then(|parent| parent.make_way_for_folder(FOLDER)) {
            Ok(false) => {}
            Ok(true) => told.push((FOLDER.to_owned(), "is no folder; put aside".to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => told.push((FOLDER.to_owned(), format!("cannot be looked at: {error}"))),
        }
        let (Ok(folder), Ok(files)) = (Folder::open(&self.folder), fs::read_dir(&self.folder)) else {
            return told;
        };
        for file in files.flatten() {
            let Some(name) = file.file_name().into_string().ok().filter(|name| !name.starts_with('.')) else {
                continue;
            };
            let is_told = |about: &fs::Metadata| {
                // What was put aside is told once.
                if about.is_file() { about.len() == 0 } else { !name.ends_with(".damaged") }
            };
            if !file.metadata().is_ok_and(|about| is_told(&about)) {
                continue;
            }
            let what = match folder.make_way_for_file(&name) {
                Ok(true) => "is no file; put aside".to_owned(),
                Ok(false) => "is empty".to_owned(),
                Err(error) => format!("is no file, and cannot be put aside: {error}"),
            };
            told.push((format!("{FOLDER}/{name}"), what));
        }
        told
    }

    /// A drive is to have this file. It does not block.
    ///
    /// # Errors
    /// Who has it, for people.
    pub(crate) fn claim(&self, name: &str, is_read_only: bool) -> Result<Claim, String> {
        let mut holds = lock(&self.holds);
        let hold = match holds.get(name) {
            None if is_read_only => Hold::Read(1),
            None => Hold::Written,
            Some(Hold::Read(drives)) if is_read_only => Hold::Read(drives + 1),
            Some(Hold::Read(_)) => {
                return Err("it is in another drive: eject it there to have it written here".to_owned());
            }
            Some(Hold::Written) => {
                return Err("it is in another drive, whose host writes it: eject it there first".to_owned());
            }
            Some(other) => return Err(other.why().to_owned()),
        };
        holds.insert(name.to_owned(), hold);
        Ok(Claim { holds: Arc::clone(&self.holds), name: name.to_owned() })
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
            let Some(name) = entry.file_name().into_string().ok().filter(|name| !name.starts_with('.'))
            else {
                continue;
            };
            let about = match entry.metadata() {
                // It was taken out meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                about => about?,
            };
            if about.is_file() {
                let (size, at) = (about.len(), about.modified().ok());
                files.push(Stored { name, size, at, is_whole: true, inserted: 0 });
            }
        }
        let holds = lock(&self.holds);
        for file in &mut files {
            file.inserted = match holds.get(&file.name) {
                Some(Hold::Read(drives)) => *drives,
                Some(Hold::Written) => 1,
                Some(Hold::Coming(_) | Hold::Going) | None => 0,
            };
        }
        for (name, hold) in &*holds {
            if let Hold::Coming(size) = hold {
                let (name, size) = (name.clone(), *size);
                files.push(Stored { name, size, at: None, is_whole: false, inserted: 0 });
            }
        }
        drop(holds);
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

    /// Whether a file could be brought in now.
    ///
    /// # Errors
    /// [`Refusal`]
    pub(crate) fn judge(&self, name: &str, size: u64) -> Result<(), Refusal> {
        let _gate = lock(&self.gate);
        if let Some(hold) = lock(&self.holds).get(name) {
            return Err(Refusal::Held(hold.why()));
        }
        self.has_room(size).map_err(Refusal::Full)
    }

    fn has_room(&self, size: u64) -> Result<(), String> {
        if self.quota == 0 {
            return Err("there is no store here (mediasrv.store_mib)".to_owned());
        }
        let files = self.list().map_err(|error| format!("cannot read the store: {error}"))?;
        let used: u64 = files.iter().map(|file| file.size).sum();
        let coming: u64 = files.iter().filter(|file| !file.is_whole).map(|file| file.size).sum();
        if files.len() >= FILES_MAX {
            return Err(format!("the store has {FILES_MAX} files: delete some"));
        }
        if used.saturating_add(size) > self.quota || coming.saturating_add(size) > self.free() {
            let room = self.room().saturating_sub(used);
            return Err(format!(
                "the store has room for {room} bytes more: delete some, or serve the file by a session"
            ));
        }
        Ok(())
    }

    /// Takes the place for a file that is brought in.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub(crate) fn begin(&self, name: &str, size: u64) -> Result<Part, String> {
        // In one step: what two begin at once is judged one after the other.
        let _gate = lock(&self.gate);
        self.has_room(size)?;
        match lock(&self.holds).entry(name.to_owned()) {
            Entry::Occupied(held) => return Err(held.get().why().to_owned()),
            Entry::Vacant(free) => {
                free.insert(Hold::Coming(size));
            }
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
        match make() {
            Ok(file) => {
                let name = name.to_owned();
                Ok(Part { store: self.clone(), name, file: Arc::new(file), is_done: false })
            }
            Err(error) => {
                self.give_up(name);
                Err(format!("cannot write into the store: {error}"))
            }
        }
    }

    /// As [`Self::begin`], for who names no file: one of that name that is there is not replaced.
    ///
    /// # Errors
    /// As [`Self::begin`]; or there is one.
    pub(crate) fn begin_new(&self, name: &str, size: u64) -> Result<Part, String> {
        let part = self.begin(name, size)?;
        // Nobody else brings one in under this name now.
        if self.path(name).exists() {
            return Err(format!("the store has {name:?} already: insert that one, or delete it first"));
        }
        Ok(part)
    }

    /// What came of a file that did not come whole goes, and its name is free after that.
    fn give_up(&self, name: &str) {
        // It goes at the next start at the latest.
        let _ = fs::remove_file(self.part(name));
        lock(&self.holds).remove(name);
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
    /// [`Undeleted`], with `NotFound` if there is none.
    pub(crate) fn delete(&self, name: &str) -> Result<(), Undeleted> {
        if name.starts_with('.') || name.contains('/') {
            return Err(Undeleted::Io(io::ErrorKind::NotFound.into()));
        }
        match lock(&self.holds).entry(name.to_owned()) {
            Entry::Occupied(held) => return Err(Undeleted::Held(held.get().why())),
            Entry::Vacant(free) => {
                free.insert(Hold::Going);
            }
        }
        let take_out = || {
            fs::remove_file(self.path(name))?;
            File::open(&self.folder)?.sync_all()
        };
        let taken_out = take_out().map_err(Undeleted::Io);
        lock(&self.holds).remove(name);
        taken_out
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
        if self.is_done {
            lock(&self.store.holds).remove(&self.name);
            return;
        }
        let (store, name) = (self.store.clone(), std::mem::take(&mut self.name));
        match tokio::runtime::Handle::try_current() {
            // To remove a large file takes long on flash, and this may be the loop of a session that was cut off.
            Ok(runtime) => drop(runtime.spawn_blocking(move || store.give_up(&name))),
            Err(_) => store.give_up(&name),
        }
    }
}

/// Whether a file of this name is one that is not whole, as [`Store::begin`] names them.
fn is_part(name: &[u8]) -> bool {
    let name = name.strip_prefix(b".").and_then(|name| name.strip_suffix(PART.as_bytes()));
    name.is_some_and(|name| !name.is_empty() && !name.starts_with(b"."))
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
    fn what_is_in_the_way_is_put_aside_and_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        assert_eq!(Store::open(dir.path(), 10_000).inspect(), [], "a first start");
        fs::write(at("store"), "no folder").unwrap();
        let store = Store::open(dir.path(), 10_000);
        assert!(store.begin("a.iso", 10).is_err(), "why this is needed");
        let told = |file: &str, what: &str| (file.to_owned(), what.to_owned());
        assert_eq!(store.inspect(), [told("store", "is no folder; put aside")]);
        store.begin("a.iso", 10).unwrap().finish().unwrap();
        assert_eq!(store.inspect(), []);

        fs::create_dir(at("store/b.iso")).unwrap();
        assert!(store.begin("b.iso", 10).unwrap().finish().is_err(), "why this is needed");
        fs::write(at("store/c.iso"), "").unwrap();
        let mut found = store.inspect();
        found.sort();
        assert_eq!(found, [told("store/b.iso", "is no file; put aside"), told("store/c.iso", "is empty")]);
        assert_eq!(store.inspect(), [told("store/c.iso", "is empty")]);
        store.begin("b.iso", 10).unwrap().finish().unwrap();
        store.delete("c.iso").unwrap();
        assert_eq!(store.list().unwrap().iter().map(|file| file.size).collect::<Vec<_>>(), [10, 10]);
    }

    #[test]
    fn a_store_that_is_a_link_to_a_folder_on_another_disk_stays() {
        let (dir, disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(disk.path(), dir.path().join("store")).unwrap();
        let store = Store::open(dir.path(), 10_000);
        assert_eq!(store.inspect(), []);
        store.begin("a.iso", 10).unwrap().finish().unwrap();
        assert_eq!(store.inspect(), []);
        assert_eq!(fs::metadata(disk.path().join("a.iso")).unwrap().len(), 10);
        assert!(dir.path().join("store").is_symlink());
        // What was being brought in goes at the next start, and nothing else that has a dot before its name.
        let others = [".config", ".part", "..x.part", ".a.iso.part2", "b.part"];
        for name in others.into_iter().chain([".b.iso.part"]) {
            fs::write(disk.path().join(name), "x").unwrap();
        }
        Store::open(dir.path(), 10_000);
        assert!(others.iter().all(|name| disk.path().join(name).exists()));
        assert!(!disk.path().join(".b.iso.part").exists() && disk.path().join("a.iso").exists());
    }

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
        for missing in ["a.iso", "../slots.json"] {
            let why = store.delete(missing).unwrap_err();
            assert!(
                matches!(&why, Undeleted::Io(error) if error.kind() == io::ErrorKind::NotFound),
                "{why:?}"
            );
        }
        assert!(store.file("../x", true).is_err() && store.file(".x", true).is_err());
    }

    #[test]
    fn who_names_no_file_replaces_none() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), 10_000);
        store.begin_new("boot.iso", 10).unwrap().finish().unwrap();
        assert!(store.begin_new("boot.iso", 20).unwrap_err().contains("delete it first"));
        assert_eq!(store.file("boot.iso", true).unwrap().1, 10);
        assert!(!dir.path().join("store/.boot.iso.part").exists());
        store.begin("boot.iso", 30).unwrap().finish().unwrap();
        assert_eq!(store.file("boot.iso", true).unwrap().1, 30, "who names it does");
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

    #[test]
    fn a_file_that_is_inserted_is_neither_replaced_nor_deleted_nor_written_by_two() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), 10_000);
        store.begin("a", 10).unwrap().finish().unwrap();
        let one = store.claim("a", true).unwrap();
        let two = store.claim("a", true).unwrap();
        assert_eq!(store.list().unwrap()[0].inserted, 2);
        assert!(store.claim("a", false).unwrap_err().contains("another drive"));
        assert!(store.begin("a", 1).unwrap_err().contains("eject it first"), "a ticket may be old");
        assert!(matches!(store.judge("a", 1), Err(Refusal::Held(why)) if why.contains("eject it first")));
        drop(one);
        assert!(matches!(store.delete("a"), Err(Undeleted::Held(_))));
        drop(two);
        let written = store.claim("a", false).unwrap();
        assert!(store.claim("a", true).is_err() && store.claim("a", false).is_err());
        drop(written);

        let coming = store.begin("a", 20).unwrap();
        assert!(store.claim("a", true).unwrap_err().contains("uploaded"), "it is replaced under nobody");
        assert!(matches!(store.delete("a"), Err(Undeleted::Held(_))));
        coming.finish().unwrap();
        assert_eq!(store.file("a", true).unwrap().1, 20);
        drop(store.claim("a", true).unwrap());
        store.delete("a").unwrap();
    }

    #[test]
    fn what_is_begun_at_once_is_judged_one_after_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), 10_000);
        let begun = |name: &'static str, count: usize, size: u64| {
            let gate = std::sync::Barrier::new(count);
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..count)
                    .map(|nth| {
                        let (store, gate) = (&store, &gate);
                        let name = if name.is_empty() { format!("f{nth}") } else { name.to_owned() };
                        scope.spawn(move || {
                            gate.wait();
                            store.begin(&name, size)
                        })
                    })
                    .collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().unwrap())
                    .filter_map(Result::ok)
                    .collect::<Vec<_>>()
            })
        };
        for _ in 0..20 {
            assert_eq!(begun("same", 4, 10).len(), 1);
            assert_eq!(begun("", 4, 4000).len(), 2, "the quota is for all of them");
        }
        // A look whether there is room takes nobody's file away.
        let part = store.begin("x", 10).unwrap();
        assert!(store.judge("x", 10).is_err() && store.judge("y", 10).is_ok());
        part.finish().unwrap();
        assert!(store.file("x", true).is_ok());
    }

    #[tokio::test]
    async fn what_was_cut_off_goes_beside_the_loop_and_its_name_is_free_after_that() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), 10_000);
        drop(store.begin("x", 10).unwrap());
        while store.judge("x", 10).is_err() {
            tokio::task::yield_now().await;
        }
        assert_eq!(fs::read_dir(dir.path().join("store")).unwrap().count(), 0);
    }
}
