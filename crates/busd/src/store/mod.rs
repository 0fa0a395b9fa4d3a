//! The files behind the streams.
//!
//! ```text
//!  <root>/streams/<stream>/meta, meta.2    configuration of the stream, twice
//!                         /00000001.seg …  its messages, see `segment`
//!                         /mark, mark.2    how far they are known to reach, see `reached`
//!                         /consumers/<consumer>, <consumer>.2   state: the newest, and the one before
//!  <root>/streams/<stream>.gone, …         what is left of one that was deleted
//!  <root>/made, made.2                     the streams that were made, see `made`
//!  <root>/damaged/                         copies of what was damaged (the newest few), and folders that were in the place of a file, for people
//! ```
//!
//! Small files (`meta`, consumers) are replaced as a whole: write beside, sync, rename, sync the directory; after a crash
//! there is the old or the new one. The second copy of a configuration is written when the first is durable, and a
//! consumer's states take turns, so that a damaged file costs neither. A stream of which both copies are damaged is left as
//! it is until somebody who knows its definition creates it; its messages are then taken over. Messages are appended and synced, see `log`. The total is bounded: streams that sync
//! at intervals (the event log) are *expendable*, may not use the headroom, and lose their oldest messages first.
//!
//! What lies in the directories and is not the store's own is left alone. A medium that refuses writes costs the writes and
//! nothing that can be read. One server at a time: the root is locked.
//!
//! Never: opens a file outside its root; gives up the store because one stream is damaged; deletes what it did not make.

mod disk;
#[cfg(test)]
mod in_the_way;
mod log;
mod lost;
mod made;
#[cfg(test)]
mod missing;
mod reached;
#[cfg(test)]
mod refusals;
mod segment;
#[cfg(test)]
mod shortfalls;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod unread;
#[cfg(test)]
mod worn;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nats::js::store::{Class, Recovered, Storage, StoreError, StoreReport, StreamStore};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

pub use disk::{Disk, DiskFile, Kind, Lock, RealDisk};
pub use segment::{Found, Scan, scan as scan_segment};

use log::{SegmentLog, Was};
use made::{Entry, Made};
use reached::MARKS;

/// How many damaged files are kept.
const KEPT_ASIDE: usize = 8;
/// And how many bytes of them; the newest one stays whatever its size.
const KEPT_BYTES: u64 = 1024 * 1024;
/// Folders that are kept there at most: what is in them is somebody else's, so they are not removed.
const FOLDERS_ASIDE: usize = 16;
/// Refused streams whose files wait to be removed.
const MAX_LEFTOVERS: usize = 16;
/// The longest file name made of a stream's or consumer's name.
const MAX_FILE_NAME: usize = 200;
/// The longest small file: above any configuration or state that is taken.
const MAX_SMALL: u64 = 4 * 1024 * 1024;
/// The longest segment file: one record in a segment of its own, and some more.
const MAX_SEGMENT: u64 = 32 * 1024 * 1024;
/// The two copies of a stream's configuration, the first one written first.
const METAS: [&str; 2] = ["meta", "meta.2"];
/// Reports that wait to be taken; what is wrong with a medium need not be said a thousand times.
const MAX_REPORTS: usize = 128;
const CONSUMERS: &str = "consumers";
/// No segment has this number or a higher one: a file so named is not the store's own.
const MAX_ID: u64 = 1 << 62;
const SEGMENT: &str = ".seg";
const TEMPORARY: &str = ".tmp";
/// The file a medium is tried with.
const TRIAL: &str = "trial.tmp";
const GONE: &str = ".gone";
/// Of a stream that was deleted while the list could not be written: as long as its folder is there the entry is not missed.
const GONE_LISTED: &str = ".listed.gone";
/// What the second file of a consumer ends in.
const SECOND: &str = ".2";

/// Bounds of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreLimits {
    /// Bytes in all segments together.
    pub max_bytes: u64,
    /// Bytes of those that expendable streams leave to the others.
    pub headroom: u64,
    /// Bytes of one segment: what is dropped at once, and what housekeeping rewrites at most in one step.
    pub segment_bytes: u64,
}

impl Default for StoreLimits {
    /// For a flash partition of some tens of megabytes.
    fn default() -> Self {
        Self { max_bytes: 16 * 1024 * 1024, headroom: 4 * 1024 * 1024, segment_bytes: 256 * 1024 }
    }
}

/// What the streams of one store share.
#[derive(Debug)]
struct Shared {
    disk: Arc<dyn Disk>,
    damaged: PathBuf,
    max_bytes: u64,
    headroom: u64,
    segment_bytes: u64,
    used: AtomicU64,
    written: Arc<AtomicU64>,
    reports: Mutex<Vec<StoreReport>>,
    /// Held as long as the store or one of its streams is there; `None` before the directory could be made.
    lock: Mutex<Option<Box<dyn Lock>>>,
}

impl Shared {
    fn used(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }
    fn freed(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
    fn wrote(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }
    fn fits(&self, bytes: u64, expendable: bool) -> bool {
        let bound = if expendable { self.max_bytes.saturating_sub(self.headroom) } else { self.max_bytes };
        self.used.load(Ordering::Relaxed) + bytes <= bound
    }
    /// Whether more than three quarters are used.
    fn pressed(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.max_bytes / 4 * 3
    }
    fn report(&self, report: StoreReport) {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        if reports.len() < MAX_REPORTS {
            reports.push(report);
        }
    }

    fn found(&self, stream: &str, why: String, set_aside: Option<&Path>) {
        let set_aside = set_aside.map(|path| path.display().to_string());
        self.report(StoreReport::Found { stream: stream.to_owned(), why, set_aside });
    }

    /// Something lies in the store that is not its own.
    fn foreign(&self, path: &Path) {
        self.report(StoreReport::Foreign { path: path.display().to_string() });
    }

    /// Whether something else than a file is there.
    fn is_no_file(&self, path: &Path) -> bool {
        self.disk.kind(path).is_ok_and(|kind| kind != Kind::File)
    }

    /// Puts aside what lies in the place of a file of the store's own and is none: no file could replace it. `stream`: whose file it is; `None`: the list's.
    ///
    /// # Errors
    /// What the system said, or that too many are put aside already; it is there still then. It may be away where only the folder cannot be synced.
    fn make_way_for_file(&self, stream: Option<&str>, dir: &Path, name: &str) -> Result<(), StoreError> {
        let path = dir.join(name);
        if !self.is_no_file(&path) {
            return Ok(());
        }
        let of = stream.and_then(|stream| file_name(stream).ok());
        let aside = of.map_or_else(|| name.to_owned(), |of| format!("{of}-{name}"));
        let who = stream.map_or_else(|| path.display().to_string(), str::to_owned);
        self.clear(&who, &path, &aside, "file")
    }

    /// Puts aside what lies in the place of a `wanted` and is none, under a name that ends with `name`. What is told of it is told of `who`.
    fn clear(&self, who: &str, path: &Path, name: &str, wanted: &str) -> Result<(), StoreError> {
        let aside = self.move_aside(name, path)?;
        self.found(who, format!("{} is no {wanted}; it is made anew", path.display()), Some(&aside));
        let dirs = [Some(self.damaged.as_path()), path.parent()];
        let synced = dirs.into_iter().flatten().try_for_each(|dir| self.disk.sync_dir(dir));
        synced.map_err(|e| error("sync what was set aside of", path, &e))
    }

    /// Replaces a small file of a stream's, or, with none, of the list's: afterwards it is the new one, and after a crash the old or the new one. What is
    /// no file is put aside for it.
    ///
    /// # Errors
    /// What the system said; the old one is there then. [`StoreError::Open`]: it could not be made sure which one a crash brings.
    fn replace(&self, stream: Option<&str>, dir: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let path = dir.join(name);
        self.make_way_for_file(stream, dir, name)?;
        // Open, it can be read when another one has its name.
        let old = match self.disk.open(&path, false) {
            Ok(file) => Some(file),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(error("open", &path, &e)),
        };
        self.replace_unsynced(stream, dir, name, bytes)?;
        let Err(e) = self.disk.sync_dir(dir) else { return Ok(()) };
        let failure = error("sync", dir, &e);
        // It is not sure to last, so it is refused: then it must not be there either.
        match self.put_back(dir, name, old.as_deref()) {
            Ok(()) => Err(failure),
            Err(_) => Err(StoreError::Open(Box::new(failure))),
        }
    }

    /// Puts a small file back that was replaced, or removes what was not there before.
    fn put_back(&self, dir: &Path, name: &str, old: Option<&dyn DiskFile>) -> io::Result<()> {
        let path = dir.join(name);
        let lasts = match old {
            None => {
                self.disk.remove_file(&path)?;
                Ok(())
            }
            Some(old) => {
                let size = old.size()?.min(MAX_SMALL);
                let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
                old.read_at(&mut bytes, 0)?;
                let temporary = dir.join(format!("{name}{TEMPORARY}"));
                let file = self.disk.open(&temporary, true)?;
                file.truncate(0)?;
                file.write_at(&bytes, 0)?;
                // Where that fails the file may be damaged after a loss of power, and its second copy counts.
                let lasts = file.sync();
                self.disk.rename(&temporary, &path)?;
                lasts
            }
        };
        lasts.and(self.disk.sync_dir(dir))
    }

    /// Puts a file in the place of another, or does nothing. Which one is there after a crash is open until the directory is synced.
    fn replace_unsynced(
        &self,
        stream: Option<&str>,
        dir: &Path,
        name: &str,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        let new = format!("{name}{TEMPORARY}");
        for name in [name, new.as_str()] {
            self.make_way_for_file(stream, dir, name)?;
        }
        let (temporary, path) = (dir.join(new), dir.join(name));
        let write = || -> io::Result<()> {
            let file = self.disk.open(&temporary, true)?;
            file.truncate(0)?;
            file.write_at(bytes, 0)?;
            file.sync()?;
            self.disk.rename(&temporary, &path)
        };
        self.wrote(bytes.len() as u64);
        write().map_err(|e| error("write", &path, &e))
    }

    /// The store's own files among what was set aside, oldest first.
    fn aside(&self) -> io::Result<Vec<(u64, String)>> {
        let files = self.disk.list(&self.damaged)?;
        let mut own: Vec<(u64, String)> =
            files.into_iter().filter_map(|file| Some((aside_number(&file)?, file))).collect();
        own.sort_unstable();
        Ok(own)
    }

    /// Whether a folder is there.
    fn is_folder(&self, path: &Path) -> bool {
        self.disk.kind(path).is_ok_and(|kind| kind == Kind::Dir)
    }

    /// Puts a file, or what is in its place, aside as it is, without reading it.
    fn move_aside(&self, name: &str, path: &Path) -> Result<PathBuf, StoreError> {
        let place = || -> io::Result<PathBuf> {
            self.disk.create_dir(&self.damaged)?;
            let own = self.aside()?;
            let folders = || own.iter().filter(|(_, file)| self.is_folder(&self.damaged.join(file)));
            if self.is_folder(path) && folders().count() >= FOLDERS_ASIDE {
                let why = format!("{FOLDERS_ASIDE} folders are in {} already", self.damaged.display());
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
            }
            let next = own.last().map_or(0, |(number, _)| *number) + 1;
            let place = self.damaged.join(format!("{next:06}-{name}"));
            self.disk.rename(path, &place)?;
            Ok(place)
        };
        place().map_err(|e| error("set aside", path, &e))
    }

    /// Keeps a copy of something damaged.
    fn set_aside(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, StoreError> {
        let place = || -> io::Result<PathBuf> {
            self.disk.create_dir(&self.damaged)?;
            let own = self.aside()?;
            let size = |file: &str| self.disk.open(&self.damaged.join(file), false).and_then(|f| f.size());
            let same = own.iter().find(|(_, file)| {
                file.get(7..) == Some(name)
                    && size(file).is_ok_and(|n| n == bytes.len() as u64)
                    && self.disk.read(&self.damaged.join(file), MAX_SEGMENT).is_ok_and(|old| old == bytes)
            });
            if let Some((_, file)) = same {
                // It was found before and is still there.
                return Ok(self.damaged.join(file));
            }
            let next = own.last().map_or(0, |(number, _)| *number) + 1;
            let bound = KEPT_BYTES.max(bytes.len() as u64);
            let (mut count, mut total) = (1, bytes.len() as u64);
            let files = own.iter().rev().filter(|(_, file)| !self.is_folder(&self.damaged.join(file)));
            for (_, old) in files {
                count += 1;
                total = total.saturating_add(size(old).unwrap_or(0));
                if count > KEPT_ASIDE || total > bound {
                    self.disk.remove_file(&self.damaged.join(old))?;
                }
            }
            let path = self.damaged.join(format!("{next:06}-{name}"));
            let file = self.disk.open(&path, true)?;
            let written = file.write_at(bytes, 0).and_then(|()| file.sync());
            if let Err(error) = written.and_then(|()| self.disk.sync_dir(&self.damaged)) {
                // Half a copy is of no use and takes room.
                let _ = self.disk.remove_file(&path);
                return Err(error);
            }
            Ok(path)
        };
        place().map_err(|e| error("set aside a copy in", &self.damaged, &e))
    }
}

/// The number of a file that was set aside.
fn aside_number(file: &str) -> Option<u64> {
    let (digits, _) = file.split_once('-')?;
    digits.parse().ok().filter(|_| digits.len() == 6)
}

/// Whether it is the medium that refuses, not what was asked of it.
fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{
        AlreadyExists, InvalidFilename, InvalidInput, NotADirectory, NotFound, PermissionDenied,
    };
    !matches!(
        error.kind(),
        AlreadyExists | InvalidFilename | InvalidInput | NotADirectory | NotFound | PermissionDenied
    )
}

fn error(what: &str, path: &Path, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => return StoreError::Full,
        io::ErrorKind::ReadOnlyFilesystem => return StoreError::ReadOnly,
        _ => {}
    }
    StoreError::Io { what: format!("cannot {what} {}", path.display()), why: error.to_string() }
}

/// What a file name does not have as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-');

/// A name as a file name: letters, digits, `_` and `-` stay, the rest becomes `%` and two hexadecimal digits.
fn file_name(name: &str) -> Result<String, StoreError> {
    let out = utf8_percent_encode(name, ESCAPED).to_string();
    if out.is_empty() || out.len() > MAX_FILE_NAME {
        return Err(StoreError::Io { what: "not stored".to_owned(), why: "the name is too long".to_owned() });
    }
    Ok(out)
}

/// The inverse of [`file_name`].
fn name_of(file: &str) -> Option<String> {
    let name = percent_decode_str(file).decode_utf8().ok()?;
    file_name(&name).is_ok_and(|canonical| canonical == file).then(|| name.into_owned())
}

/// A small file's content behind its checksum.
fn seal(content: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{:08x}\n", crc32fast::hash(content)).into_bytes();
    bytes.extend_from_slice(content);
    bytes
}

fn unseal(bytes: &[u8]) -> Option<&[u8]> {
    let (crc, content) = bytes.split_at_checked(9)?;
    let crc = u32::from_str_radix(core::str::from_utf8(crc).ok()?.trim_end(), 16).ok()?;
    (crc == crc32fast::hash(content)).then_some(content)
}

/// Whether a stream may lose its oldest messages to make room: kept beside its metadata.
const EXPENDABLE: u8 = b'e';
const KEPT: u8 = b'k';

/// The number of a segment's file.
fn segment_id(file: &str) -> Option<u64> {
    let id = u64::from_str_radix(file.strip_suffix(SEGMENT)?, 16).ok()?;
    (id < MAX_ID && segment_file(id) == file).then_some(id)
}

fn segment_file(id: u64) -> String {
    format!("{id:08x}{SEGMENT}")
}

/// The consumer whose state a file holds, and which of the two it is.
fn consumer_of(file: &str) -> Option<(String, usize)> {
    match file.strip_suffix(SECOND) {
        Some(first) => Some((name_of(first)?, 1)),
        None => Some((name_of(file)?, 0)),
    }
}

/// The name of the folder that was a stream's until it was deleted while the list could not be written.
fn deleted_of(dir: &Path) -> Option<&str> {
    dir.file_name()?.to_str()?.strip_suffix(GONE_LISTED)
}

/// Whether a file in a stream's directory is the store's own.
fn is_own(file: &str) -> bool {
    let name = file.strip_suffix(TEMPORARY).unwrap_or(file);
    METAS.contains(&name) || MARKS.contains(&name) || segment_id(name).is_some() || file == TRIAL
}

/// Whether a file in a directory of consumers is the store's own.
fn is_own_consumer(file: &str) -> bool {
    consumer_of(file.strip_suffix(TEMPORARY).unwrap_or(file)).is_some()
}

fn class_byte(class: Class) -> u8 {
    if class.expendable { EXPENDABLE } else { KEPT }
}

/// Streams in a directory.
#[derive(Debug)]
pub struct FileStore {
    shared: Arc<Shared>,
    root: PathBuf,
    streams: PathBuf,
    read_only: bool,
    /// Its own directories are not known to be on the medium.
    unready: bool,
    /// Streams that were refused and may be there after a loss of power.
    leftovers: BTreeSet<PathBuf>,
    /// The streams that were made.
    made: Made,
    /// Where a copy of their list lies outside of the store: the folder and the name.
    outside: Option<(PathBuf, String)>,
    /// The list on the medium may be another one, or there is one copy of it only.
    unlisted: bool,
    /// Streams that were made and whose folders were not there at the start.
    missing: BTreeSet<String>,
    /// What is there and what was made could be read: a stream of which nothing was found is new.
    is_known: bool,
}

/// What of a stream's folder was found.
enum Folder {
    /// Nothing that counts.
    Empty,
    /// A stream, and whether it has had a segment; it may not be readable.
    There(bool, Option<Recovered>),
}

impl FileStore {
    /// A store in `root`, which is made if it is not there.
    ///
    /// # Errors
    /// As [`on`](Self::on).
    pub fn open(root: &Path, limits: StoreLimits) -> Result<Self, StoreError> {
        Self::on(Arc::new(RealDisk), root, limits)
    }

    /// A store on any [`Disk`]. Where nothing can be written it is opened all the same: what is there is served, and what is to be stored
    /// is refused until [`Storage::ready`] succeeds.
    ///
    /// # Errors
    /// When another server uses the directory, or it can never be one for reasons that are not the medium's.
    pub fn on(disk: Arc<dyn Disk>, root: &Path, limits: StoreLimits) -> Result<Self, StoreError> {
        let read_only = disk.is_read_only(root);
        let shared = Shared {
            disk,
            damaged: root.join("damaged"),
            max_bytes: limits.max_bytes,
            headroom: limits.headroom,
            segment_bytes: limits.segment_bytes.max(4096),
            used: AtomicU64::new(0),
            written: Arc::new(AtomicU64::new(0)),
            reports: Mutex::default(),
            lock: Mutex::default(),
        };
        let mut this = Self {
            shared: Arc::new(shared),
            root: root.to_owned(),
            streams: root.join("streams"),
            read_only,
            unready: true,
            leftovers: BTreeSet::new(),
            made: Made::default(),
            outside: None,
            unlisted: false,
            missing: BTreeSet::new(),
            is_known: false,
        };
        match this.shared.disk.create_dir(root) {
            Ok(()) => this.hold()?,
            Err(e) if is_refusal(&e) => {
                // One that is there is held even where nothing can be made.
                if this.shared.disk.kind(root).is_ok() {
                    this.hold()?;
                }
            }
            Err(e) => return Err(error("make", root, &e)),
        }
        if let Err(e) = this.make_way(&this.streams, "streams", "streams") {
            this.shared.report(StoreReport::Failed { stream: String::new(), why: e.to_string() });
        }
        if let Err(e) = this.prepare()
            && !this.read_only
        {
            // What can be read is served; what is to be stored is refused when it comes.
            this.shared.report(StoreReport::Failed { stream: String::new(), why: e.to_string() });
        }
        Ok(this)
    }

    /// Keeps a copy of the list of streams as `file` outside of the store's folder, in a folder that is there: by it a store that is gone as a
    /// whole is told from a new one. Before [`Storage::recover`].
    #[must_use]
    pub fn with_list_outside(mut self, file: &Path) -> Self {
        let name = file.file_name().and_then(|name| name.to_str());
        self.outside = file.parent().zip(name).map(|(dir, name)| (dir.to_owned(), name.to_owned()));
        self
    }

    /// Puts aside what lies in the place of a folder of the store's own and is none. What is told of it is told of `who`.
    fn make_way(&self, dir: &Path, name: &str, who: &str) -> Result<(), StoreError> {
        if !self.shared.disk.kind(dir).is_ok_and(|kind| kind != Kind::Dir) {
            return Ok(());
        }
        self.shared.clear(who, dir, name, "folder")
    }

    /// Locks the root.
    fn hold(&self) -> Result<(), StoreError> {
        let mut held = self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_none() {
            *held = Some(self.shared.disk.lock(&self.root).map_err(|e| match e.kind() {
                io::ErrorKind::WouldBlock => StoreError::Io {
                    what: format!("the store in {} is in use", self.root.display()),
                    why: "another server has it open".to_owned(),
                },
                _ => error("lock", &self.root, &e),
            })?);
        }
        Ok(())
    }

    /// Makes the store's own directories, if they are not there, and makes them last.
    fn prepare(&mut self) -> Result<(), StoreError> {
        if !self.unready {
            return Ok(());
        }
        let disk = &self.shared.disk;
        disk.create_dir(&self.root).map_err(|e| error("make", &self.root, &e))?;
        self.hold()?;
        let made = disk.create_dir(&self.streams).and_then(|()| {
            // The store's own name must last as well.
            let dirs = [Some(self.streams.as_path()), Some(self.root.as_path()), self.root.parent()];
            dirs.into_iter()
                .flatten()
                .filter(|d| !d.as_os_str().is_empty())
                .try_for_each(|d| disk.sync_dir(d))
        });
        made.map_err(|e| error("make", &self.streams, &e))?;
        self.unready = false;
        Ok(())
    }

    /// Whether the file system was read-only when the store was opened.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Counts the bytes handed to the file system, for measuring.
    #[must_use]
    pub fn written(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.shared.written)
    }

    fn dir(&self, stream: &str) -> Result<PathBuf, StoreError> {
        Ok(self.streams.join(file_name(stream)?))
    }

    fn log(&self, stream: &str, dir: PathBuf, expendable: bool) -> SegmentLog {
        SegmentLog::new(Arc::clone(&self.shared), stream.to_owned(), dir, expendable)
    }

    /// What a stream was that is listed.
    fn was(&self, name: &str) -> Was {
        match self.made.streams.get(name) {
            Some(_) if self.missing.contains(name) => Was::Missing,
            Some(entry) if entry.begun => Was::Begun,
            _ => Was::Open,
        }
    }

    /// Whether a stream has had a segment: one that was begun to its header at least, or a mark.
    fn has_begun(&self, dir: &Path, files: &[String]) -> bool {
        let has_header = |file: &String| {
            let mut head = [0; segment::HEADER];
            let read = self.shared.disk.open(&dir.join(file), false).and_then(|f| f.read_at(&mut head, 0));
            segment_id(file).is_some_and(|id| read.is_ok() && segment::base(id, &head).is_some())
        };
        files.iter().any(|file| MARKS.contains(&file.as_str())) || files.iter().any(has_header)
    }

    /// Removes what the store made in a stream's directory, and the directory if nothing else is in it.
    fn remove_stream(&self, dir: &Path) -> io::Result<()> {
        let disk = &self.shared.disk;
        let consumers = self.empty_stream(dir)?;
        let gone = |result: io::Result<()>| match result {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        };
        gone(disk.remove_dir(&consumers))?;
        gone(disk.remove_dir(dir))
    }

    /// Removes the files the store made in a stream's directory. The directory of its consumers is returned.
    fn empty_stream(&self, dir: &Path) -> io::Result<PathBuf> {
        let disk = &self.shared.disk;
        let consumers = dir.join(CONSUMERS);
        for file in disk.list(&consumers).unwrap_or_default().iter().filter(|f| is_own_consumer(f)) {
            let path = consumers.join(file);
            if disk.kind(&path)? == Kind::File {
                disk.remove_file(&path)?;
            }
        }
        for file in disk.list(dir)? {
            let path = dir.join(&file);
            if is_own(&file) && disk.kind(&path)? == Kind::File {
                disk.remove_file(&path)?;
            }
        }
        Ok(consumers)
    }

    /// Where a stream's folder goes that is deleted. What somebody else put into an earlier one of the name keeps that one's place.
    fn place_of_gone(&self, file: &str) -> Result<PathBuf, StoreError> {
        let places =
            std::iter::once(format!("{file}{GONE}")).chain((2..100).map(|n| format!("{file}.{n}{GONE}")));
        places
            .map(|place| self.streams.join(place))
            .find(|place| self.is_free(place))
            .ok_or(StoreError::Exists)
    }

    /// Whether it is certain that nothing stands there.
    fn is_free(&self, path: &Path) -> bool {
        self.shared.disk.kind(path).is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
    }

    /// Removes the folder of a stream that was deleted while it was listed, now that it is not.
    fn forget_deleted(&self, dir: &Path, file: &str) -> io::Result<()> {
        let disk = &self.shared.disk;
        let place = self.place_of_gone(file).map_err(|e| io::Error::other(e.to_string()))?;
        match disk.rename(dir, &place) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => disk.sync_dir(&self.streams)?,
        }
        // What is left under that name goes at the next start.
        let _ = self.remove_stream(&place);
        Ok(())
    }

    /// Removes a stream's directory, and makes that last.
    fn remove_for_good(&self, dir: &Path) -> io::Result<()> {
        match self.remove_stream(dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        self.shared.disk.sync_dir(&self.streams)
    }

    /// Removes what refused streams left behind.
    fn sweep(&mut self) -> Result<(), StoreError> {
        // Nothing goes that may still be listed.
        self.keep_list()?;
        while let Some(dir) = self.leftovers.first() {
            let removed = match deleted_of(dir) {
                Some(file) => self.forget_deleted(dir, file),
                None => self.remove_for_good(dir),
            };
            removed.map_err(|e| error("remove", dir, &e))?;
            self.leftovers.pop_first();
        }
        Ok(())
    }

    /// Whether a folder may wait under this name to be removed.
    fn may_be_left(&self, dir: &Path) -> bool {
        self.leftovers.len() < MAX_LEFTOVERS && self.is_free(dir)
    }

    /// The second copy of a configuration has to hold what counts before the first one is replaced: it is what is left when that fails.
    fn second_as_first(&self, stream: &str, dir: &Path) -> Result<(), StoreError> {
        let [first, second] = METAS;
        let read = |name: &str| self.shared.disk.read(&dir.join(name), MAX_SMALL);
        if let Ok(counts) = read(first)
            && unseal(&counts).is_some()
            && read(second).ok().as_ref() != Some(&counts)
        {
            return self.shared.replace(Some(stream), dir, second, &counts);
        }
        Ok(())
    }

    /// Removes what an interrupted write left. It does no harm where it cannot be removed.
    fn clean(&self, dir: &Path, files: &[String], own: fn(&str) -> bool) {
        for file in files.iter().filter(|f| f.ends_with(TEMPORARY) && own(f)) {
            let path = dir.join(file);
            if self.shared.disk.kind(&path).is_ok_and(|kind| kind == Kind::File) {
                let _ = self.shared.disk.remove_file(&path);
            }
        }
    }

    /// The states of a stream's consumers.
    fn consumers(&self, stream: &str, dir: &Path) -> BTreeMap<String, Vec<Vec<u8>>> {
        let mut consumers: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        let files = match self.shared.disk.list(dir) {
            Ok(files) => files,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return consumers,
            Err(e) => {
                self.shared.found(stream, format!("its consumers cannot be read: {e}"), None);
                return consumers;
            }
        };
        self.clean(dir, &files, is_own_consumer);
        for file in files.iter().filter(|f| !f.ends_with(TEMPORARY)) {
            let path = dir.join(file);
            let is_file = self.shared.disk.kind(&path).is_ok_and(|kind| kind == Kind::File);
            let Some((consumer, _)) = consumer_of(file).filter(|_| is_file) else {
                self.shared.foreign(&path);
                continue;
            };
            let copies = consumers.entry(consumer.clone()).or_default();
            match self.shared.disk.read(&path, MAX_SMALL) {
                Ok(bytes) => match unseal(&bytes) {
                    Some(state) => copies.push(state.to_vec()),
                    None => {
                        let why =
                            format!("a state of consumer {consumer} is damaged; the one before it counts");
                        self.shared.found(stream, why, None);
                    }
                },
                Err(e) => {
                    let why = format!("a state of consumer {consumer} cannot be read: {e}");
                    self.shared.found(stream, why, None);
                }
            }
        }
        consumers
    }

    fn recover_stream(&self, name: String, dir: PathBuf) -> Folder {
        let disk = &self.shared.disk;
        let files = match disk.list(&dir) {
            Ok(files) => files,
            Err(e) => {
                let why = format!("its directory cannot be read and it is not served: {e}");
                self.shared.found(&name, why, None);
                return Folder::There(false, None);
            }
        };
        let was = self.was(&name);
        let begun = was == Was::Begun || self.has_begun(&dir, &files);
        self.clean(&dir, &files, |file| {
            let name = file.strip_suffix(TEMPORARY).unwrap_or(file);
            file == TRIAL || METAS.contains(&name) || MARKS.contains(&name)
        });
        let mut copies: Vec<Vec<u8>> = Vec::new();
        let mut bad = Vec::new();
        for meta in METAS.into_iter().filter(|meta| files.iter().any(|f| f == meta)) {
            match disk.read(&dir.join(meta), MAX_SMALL) {
                Ok(bytes) => match unseal(&bytes).filter(|content| !content.is_empty()) {
                    Some(content) => copies.push(content.to_vec()),
                    None => bad.push((meta, "is damaged".to_owned(), bytes)),
                },
                Err(e) => bad.push((meta, format!("cannot be read ({e})"), Vec::new())),
            }
        }
        let Some(class) = copies.first().and_then(|c| c.first()).map(|class| *class == EXPENDABLE) else {
            if bad.is_empty() && !files.iter().any(|f| segment_id(f).is_some()) {
                // It was being made when the power went; nobody was told that it exists. Where it is listed, its files are missing.
                let _ = self.remove_stream(&dir);
                return Folder::Empty;
            }
            let why = "its metadata cannot be read; its messages are served again when it is created";
            self.shared.found(&name, why.to_owned(), None);
            return Folder::There(begun, None);
        };
        for (meta, why, bytes) in &bad {
            let aside = self.keep_damaged(&name, meta, bytes);
            let why = format!("{meta} {why}; its copy counts");
            self.shared.found(&name, why, aside.as_deref());
        }
        let class = Class { memory: false, expendable: class };
        let metas = copies.into_iter().filter_map(|c| c.get(1..).map(<[u8]>::to_vec)).collect();
        // What a process before us renamed may be in the system's memory only, and it is visible from now on.
        let _ = self.shared.disk.sync_dir(&dir.join(CONSUMERS));
        let consumers = self.consumers(&name, &dir.join(CONSUMERS));
        let store = Box::new(self.log(&name, dir, class.expendable).that_was(was));
        Folder::There(begun, Some(Recovered { name, metas, class, consumers, store, is_lost: false }))
    }

    /// Puts a copy of a damaged small file aside, where there is something to put and room for it.
    fn keep_damaged(&self, stream: &str, file: &str, bytes: &[u8]) -> Option<PathBuf> {
        let aside = (!bytes.is_empty()).then(|| self.shared.set_aside(&format!("{stream}-{file}"), bytes));
        aside?.ok()
    }
}

impl Storage for FileStore {
    fn recover(&mut self) -> Result<Vec<Recovered>, StoreError> {
        let (mut streams, mut there, mut deleted) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
        self.is_known = self.read_list();
        let mut files = match self.shared.disk.list(&self.streams) {
            Ok(files) => files,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => {
                // Nothing is made anew in a directory that cannot be read: `create` meets the same error.
                self.is_known = false;
                let why = format!("the streams cannot be read and none is served: {e}");
                self.shared.found(&self.streams.display().to_string(), why, None);
                return Ok(streams);
            }
        };
        files.sort_unstable();
        for file in files {
            let dir = self.streams.join(&file);
            if !self.shared.disk.kind(&dir).is_ok_and(|kind| kind == Kind::Dir) {
                self.shared.foreign(&dir);
            } else if let Some(name) = name_of(&file) {
                if let Folder::There(begun, stream) = self.recover_stream(name.clone(), dir) {
                    there.insert(name, begun);
                    streams.extend(stream);
                }
            } else if let Some(name) = deleted_of(&dir).and_then(name_of) {
                // It is there until the list is written, for which there may be no room before.
                let _ = self.empty_stream(&dir);
                deleted.insert(name);
                self.leftovers.insert(dir);
            } else if file.strip_suffix(GONE).and_then(|f| name_of(f.split('.').next()?)).is_some() {
                // A stream that was being deleted. What cannot be removed is tried again at the next start.
                let _ = self.remove_stream(&dir);
            } else {
                self.shared.foreign(&dir);
            }
        }
        self.compare_list(there, &deleted);
        if !deleted.is_empty() {
            // What cannot be removed now is tried again.
            let _ = self.sweep();
        }
        Ok(streams)
    }

    fn is_new(&self, name: &str) -> bool {
        // What is left over was refused, and nobody was told that it exists.
        let is_absent = |dir: PathBuf| self.leftovers.contains(&dir) || self.is_free(&dir);
        self.is_known && !self.made.streams.contains_key(name) && self.dir(name).is_ok_and(is_absent)
    }

    fn create(&mut self, name: &str, class: Class, meta: &[u8]) -> Result<Box<dyn StreamStore>, StoreError> {
        self.prepare()?;
        let dir = self.dir(name)?;
        let deleted = self.streams.join(format!("{}{GONE_LISTED}", file_name(name)?));
        if self.leftovers.contains(&dir) || self.leftovers.contains(&deleted) {
            self.sweep()?;
        } else if self.leftovers.len() >= MAX_LEFTOVERS {
            return Err(StoreError::Io {
                what: format!("cannot make {}", dir.display()),
                why: "earlier removals still fail".to_owned(),
            });
        }
        if self.made.streams.contains_key(name) {
            // It was lost, or cannot be read.
            return Err(StoreError::Exists);
        }
        match self.shared.disk.kind(&dir) {
            Ok(_) => return Err(StoreError::Exists),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(error("look at", &dir, &e)),
        }
        if !self.shared.fits(self.shared.segment_bytes, class.expendable) {
            return Err(StoreError::Full);
        }
        let mut log = self.log(name, dir.clone(), class.expendable);
        let made = self
            .shared
            .disk
            .create_dir(&dir.join(CONSUMERS))
            .map_err(|e| error("make", &dir, &e))
            .and_then(|()| self.put_stream(name, class, meta))
            // From here on a stream without a segment has lost it.
            .and_then(|()| log.begin_first())
            .and_then(|()| {
                self.shared.disk.sync_dir(&self.streams).map_err(|e| error("sync", &self.streams, &e))
            });
        let mut listed = Ok(());
        if made.is_ok() {
            listed = self.change_list(|made| made.add(name, Entry { begun: true, ..Entry::default() }));
        }
        // What may be listed stays until it is sure not to be.
        let is_open = matches!(listed, Err(StoreError::Open(_)));
        if let Err(error) = made.and(listed) {
            // Refused: nothing of it is found at the next start.
            if !is_open && self.remove_for_good(&dir).is_ok() {
                return Err(error);
            }
            self.leftovers.insert(dir);
            return Err(match error {
                StoreError::Open(_) => error,
                error => StoreError::Open(Box::new(error)),
            });
        }
        Ok(Box::new(log))
    }

    fn adopt(&mut self, name: &str, class: Class) -> Result<Recovered, StoreError> {
        let dir = self.dir(name)?;
        let disk = &self.shared.disk;
        self.make_way(&dir, &file_name(name)?, name)?;
        self.make_way(&dir.join(CONSUMERS), &format!("{}-{CONSUMERS}", file_name(name)?), name)?;
        disk.create_dir(&dir.join(CONSUMERS)).map_err(|e| error("make", &dir, &e))?;
        disk.list(&dir).map_err(|e| error("list", &dir, &e))?;
        let was = self.was(name);
        let is_lost = was == Was::Missing;
        if is_lost {
            self.keep_folders()?;
        }
        let consumers = self.consumers(name, &dir.join(CONSUMERS));
        let store = Box::new(self.log(name, dir, class.expendable).that_was(was));
        Ok(Recovered { name: name.to_owned(), metas: Vec::new(), class, consumers, store, is_lost })
    }

    fn put_stream(&mut self, name: &str, class: Class, meta: &[u8]) -> Result<(), StoreError> {
        let dir = self.dir(name)?;
        let mut content = vec![class_byte(class)];
        content.extend_from_slice(meta);
        let sealed = seal(&content);
        let [first, second] = METAS;
        self.second_as_first(name, &dir)?;
        if let Ok(old) = self.shared.disk.read(&dir.join(first), MAX_SMALL)
            && unseal(&old).is_none()
        {
            let aside = self.keep_damaged(name, first, &old);
            self.shared.found(name, format!("{first} is replaced"), aside.as_deref());
        }
        self.shared.replace(Some(name), &dir, first, &sealed)?;
        // It is stored; without its copy it is only less well kept.
        if let Err(error) = self.shared.replace(Some(name), &dir, second, &sealed) {
            self.shared.report(StoreReport::Failed { stream: name.to_owned(), why: error.to_string() });
        }
        Ok(())
    }

    fn keep_metadata(&mut self, name: &str) -> Result<(), StoreError> {
        let dir = self.dir(name)?;
        for meta in METAS {
            match self.shared.disk.read(&dir.join(meta), MAX_SMALL) {
                Ok(bytes) if !bytes.is_empty() => {
                    self.shared.set_aside(&format!("{name}-{meta}"), &bytes)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn discard(&mut self) -> Result<bool, StoreError> {
        let disk = &self.shared.disk;
        let mut any = false;
        for file in disk.list(&self.shared.damaged).unwrap_or_default() {
            let path = self.shared.damaged.join(&file);
            // A folder was none of the store's.
            if aside_number(&file).is_some() && !self.shared.is_folder(&path) {
                disk.remove_file(&path).map_err(|e| error("remove", &path, &e))?;
                any = true;
            }
        }
        Ok(any)
    }

    fn ready(&mut self) -> Result<(), StoreError> {
        if self.shared.disk.is_read_only(&self.root) {
            return Err(StoreError::ReadOnly);
        }
        self.prepare()?;
        self.sweep()
    }

    fn delete(&mut self, name: &str) -> Result<(), StoreError> {
        let dir = self.dir(name)?;
        let file = file_name(name)?;
        // What somebody else put into an earlier one of the name keeps that one's place.
        let mut gone = self.place_of_gone(&file)?;
        // What is not listed and there is listed again, what is listed and not there is lost.
        let mut entry = self.made.streams.get(name).cloned();
        let listed = self.streams.join(format!("{file}{GONE_LISTED}"));
        match self.change_list(|made| drop(made.streams.remove(name))) {
            // Deleting is how room is made: the name of the folder says it until there is some.
            Err(StoreError::Full) if self.may_be_left(&listed) => (gone, entry) = (listed, None),
            outcome => outcome?,
        }
        let disk = Arc::clone(&self.shared.disk);
        let failure = match disk.rename(&dir, &gone) {
            Ok(()) => match disk.sync_dir(&self.streams) {
                Ok(()) => None,
                Err(e) => {
                    // It could come back with a loss of power: then it had better never gone.
                    let failure = error("remove", &dir, &e);
                    if disk.rename(&gone, &dir).and_then(|()| disk.sync_dir(&self.streams)).is_err() {
                        self.unready = true;
                        return Err(StoreError::Open(Box::new(failure)));
                    }
                    Some(failure)
                }
            },
            Err(e) => Some(error("remove", &dir, &e)),
        };
        if let Some(failure) = failure {
            let listed = entry.map_or(Ok(()), |entry| self.list_again(name, entry));
            return Err(if listed.is_ok() { failure } else { StoreError::Open(Box::new(failure)) });
        }
        self.missing.remove(name);
        if deleted_of(&gone).is_some() {
            let _ = self.empty_stream(&gone);
            self.made.streams.remove(name);
            self.unlisted = true;
            self.leftovers.insert(gone);
            // Tried again with the next one that is made, when the medium is asked for, or at the next start.
            let _ = self.sweep();
            return Ok(());
        }
        // What is left under that name goes at the next start.
        let _ = self.remove_stream(&gone);
        Ok(())
    }

    fn put_consumer(
        &mut self,
        stream: &str,
        consumer: &str,
        generation: u64,
        state: &[u8],
    ) -> Result<(), StoreError> {
        let file = file_name(consumer)?;
        let file = if generation.is_multiple_of(2) { format!("{file}{SECOND}") } else { file };
        self.shared.replace(Some(stream), &self.dir(stream)?.join(CONSUMERS), &file, &seal(state))
    }

    fn delete_consumer(&mut self, stream: &str, consumer: &str) -> Result<(), StoreError> {
        let dir = self.dir(stream)?.join(CONSUMERS);
        let file = file_name(consumer)?;
        let paths = [dir.join(format!("{file}{SECOND}")), dir.join(&file)];
        // What is no file is none of the consumer's.
        for path in paths.into_iter().filter(|path| !self.shared.is_no_file(path)) {
            match self.shared.disk.remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(error("remove", &path, &e)),
                _ => {}
            }
        }
        self.shared.disk.sync_dir(&dir).map_err(|e| error("sync", &dir, &e))
    }

    fn capacity(&self) -> Option<u64> {
        Some(self.shared.max_bytes)
    }

    fn take_reports(&mut self) -> Vec<StoreReport> {
        std::mem::take(&mut *self.shared.reports.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
