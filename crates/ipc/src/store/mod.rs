//! The files behind the streams.
//!
//! ```text
//!  <root>/streams/<stream>/meta            configuration of the stream
//!                         /00000001.seg …  its messages, see `segment`
//!                         /consumers/<consumer>
//!  <root>/damaged/                         what could not be read, kept for people (the newest few)
//! ```
//!
//! Small files (`meta`, consumers) are replaced as a whole: write beside, sync, rename, sync the directory; after a crash
//! there is the old or the new one. Messages are appended and synced, see `log`. The total is bounded: streams that sync
//! at intervals (the event log) are *expendable*, may not use the headroom, and lose their oldest messages first.
//!
//! Never: opens a file outside its root; gives up the store because one stream is damaged.

mod disk;
mod log;
mod segment;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nats::js::store::{Class, Recovered, Storage, StoreError, StoreReport, StreamStore};

pub use disk::{Disk, DiskFile, RealDisk};
pub use segment::{Found, Scan, scan as scan_segment};

use log::SegmentLog;

/// How many damaged files are kept.
const KEPT_ASIDE: usize = 8;
/// The longest file name made of a stream's or consumer's name.
const MAX_FILE_NAME: usize = 200;

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
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
    }

    /// Replaces a small file: afterwards it is the new one, and after a crash the old or the new one.
    fn replace(&self, dir: &Path, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let (temporary, path) = (dir.join(format!("{name}.tmp")), dir.join(name));
        let write = || -> io::Result<()> {
            let file = self.disk.open(&temporary, true)?;
            file.truncate(0)?;
            file.write_at(bytes, 0)?;
            file.sync()?;
            self.disk.rename(&temporary, &path)?;
            self.disk.sync_dir(dir)
        };
        self.wrote(bytes.len() as u64);
        write().map_err(|e| error("write", &path, &e))
    }

    /// Keeps a copy of something damaged.
    fn set_aside(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, StoreError> {
        let place = || -> io::Result<PathBuf> {
            self.disk.create_dir(&self.damaged)?;
            let mut names = self.disk.list(&self.damaged)?;
            names.sort_unstable();
            let number =
                names.iter().filter_map(|n| n.split_once('-')?.0.parse::<u64>().ok()).max().unwrap_or(0) + 1;
            let excess = (names.len() + 1).saturating_sub(KEPT_ASIDE);
            for old in names.iter().take(excess) {
                self.disk.remove_file(&self.damaged.join(old))?;
            }
            let path = self.damaged.join(format!("{number:06}-{name}"));
            let file = self.disk.open(&path, true)?;
            file.write_at(bytes, 0)?;
            file.sync()?;
            self.disk.sync_dir(&self.damaged)?;
            Ok(path)
        };
        place().map_err(|e| error("set aside a copy in", &self.damaged, &e))
    }
}

fn error(what: &str, path: &Path, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => return StoreError::Full,
        io::ErrorKind::ReadOnlyFilesystem => return StoreError::ReadOnly,
        _ => {}
    }
    StoreError::Io { what: format!("cannot {what} {}", path.display()), why: error.to_string() }
}

/// A name as a file name: letters, digits, `_` and `-` stay, the rest becomes `%` and two hexadecimal digits.
fn file_name(name: &str) -> Result<String, StoreError> {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    if out.is_empty() || out.len() > MAX_FILE_NAME {
        return Err(StoreError::Io { what: "not stored".to_owned(), why: "the name is too long".to_owned() });
    }
    Ok(out)
}

/// The inverse of [`file_name`].
fn name_of(file: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(file.len());
    let mut rest = file.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let hex = [rest.next()?, rest.next()?];
                bytes.push(u8::from_str_radix(core::str::from_utf8(&hex).ok()?, 16).ok()?);
            }
            b'_' | b'-' => bytes.push(byte),
            _ if byte.is_ascii_alphanumeric() => bytes.push(byte),
            _ => return None,
        }
    }
    String::from_utf8(bytes).ok().filter(|name| !name.is_empty())
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

fn class_byte(class: Class) -> u8 {
    if class.expendable { EXPENDABLE } else { KEPT }
}

/// Streams in a directory.
#[derive(Debug)]
pub struct FileStore {
    shared: Arc<Shared>,
    streams: PathBuf,
}

impl FileStore {
    /// A store in `root`, which is made if it is not there.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(root: &Path, limits: StoreLimits) -> Result<Self, StoreError> {
        Self::on(Arc::new(RealDisk), root, limits)
    }

    /// A store on any [`Disk`].
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn on(disk: Arc<dyn Disk>, root: &Path, limits: StoreLimits) -> Result<Self, StoreError> {
        let streams = root.join("streams");
        disk.create_dir(&streams).map_err(|e| error("make", &streams, &e))?;
        // The store's own name must last as well.
        for dir in [Some(root), root.parent()].into_iter().flatten().filter(|d| !d.as_os_str().is_empty()) {
            disk.sync_dir(dir).map_err(|e| error("sync", dir, &e))?;
        }
        let shared = Shared {
            disk,
            damaged: root.join("damaged"),
            max_bytes: limits.max_bytes,
            headroom: limits.headroom,
            segment_bytes: limits.segment_bytes.max(4096),
            used: AtomicU64::new(0),
            written: Arc::new(AtomicU64::new(0)),
            reports: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared), streams })
    }

    /// Counts the bytes handed to the file system, for measuring.
    #[must_use]
    pub fn written(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.shared.written)
    }

    fn dir(&self, stream: &str) -> Result<PathBuf, StoreError> {
        Ok(self.streams.join(file_name(stream)?))
    }

    fn log(&self, stream: &str, dir: PathBuf, expendable: bool) -> Box<dyn StreamStore> {
        Box::new(SegmentLog::new(Arc::clone(&self.shared), stream.to_owned(), dir, expendable))
    }

    fn recover_stream(&self, name: String, dir: PathBuf) -> Result<Option<Recovered>, StoreError> {
        let disk = &self.shared.disk;
        let found = disk.list(&dir).map_err(|e| error("list", &dir, &e))?;
        for stale in found.iter().filter(|n| n.as_str() == "meta.tmp") {
            disk.remove_file(&dir.join(stale)).map_err(|e| error("remove", &dir, &e))?;
        }
        let meta = match found.iter().any(|n| n == "meta") {
            true => disk.read(&dir.join("meta")).map_err(|e| error("read", &dir, &e))?,
            false => Vec::new(),
        };
        let Some((class, content)) = unseal(&meta).and_then(|m| m.split_first()) else {
            if found.iter().any(|n| n.ends_with(".seg")) || !meta.is_empty() {
                let aside = self.shared.damaged.join(format!("stream-{}", file_name(&name)?));
                let moved = disk.create_dir(&self.shared.damaged).and_then(|()| {
                    // What was set aside under this name before makes room.
                    let _ = disk.remove_dir(&aside);
                    disk.rename(&dir, &aside)?;
                    disk.sync_dir(&self.streams)
                });
                moved.map_err(|e| error("set aside", &dir, &e))?;
                self.shared.report(StoreReport::BadMetadata {
                    stream: name,
                    set_aside: aside.display().to_string(),
                });
            } else {
                // It was being made when the power went; nobody was told that it exists.
                disk.remove_dir(&dir).map_err(|e| error("remove", &dir, &e))?;
            }
            return Ok(None);
        };
        let mut consumers = BTreeMap::new();
        let consumer_dir = dir.join("consumers");
        if found.iter().any(|n| n == "consumers") {
            for file in disk.list(&consumer_dir).map_err(|e| error("list", &consumer_dir, &e))? {
                let path = consumer_dir.join(&file);
                let Some(consumer) = name_of(&file) else {
                    disk.remove_file(&path).map_err(|e| error("remove", &path, &e))?;
                    continue;
                };
                let bytes = disk.read(&path).map_err(|e| error("read", &path, &e))?;
                match unseal(&bytes) {
                    Some(state) => {
                        consumers.insert(consumer, state.to_vec());
                    }
                    None => {
                        let why = format!("the state of consumer {consumer} is damaged; it is gone");
                        self.shared.report(StoreReport::Failed { stream: name.clone(), why });
                    }
                }
            }
        }
        let store = self.log(&name, dir, *class == EXPENDABLE);
        Ok(Some(Recovered { name, meta: content.to_vec(), consumers, store }))
    }
}

impl Storage for FileStore {
    fn recover(&mut self) -> Result<Vec<Recovered>, StoreError> {
        let mut streams = Vec::new();
        let files = self.shared.disk.list(&self.streams).map_err(|e| error("list", &self.streams, &e))?;
        for file in files {
            let dir = self.streams.join(&file);
            let Some(name) = name_of(&file) else {
                // `<name>.gone`: a stream that was being deleted.
                self.shared.disk.remove_dir(&dir).map_err(|e| error("remove", &dir, &e))?;
                continue;
            };
            streams.extend(self.recover_stream(name, dir)?);
        }
        Ok(streams)
    }

    fn create(&mut self, name: &str, class: Class, meta: &[u8]) -> Result<Box<dyn StreamStore>, StoreError> {
        let dir = self.dir(name)?;
        if !self.shared.fits(self.shared.segment_bytes, class.expendable) {
            return Err(StoreError::Full);
        }
        self.shared.disk.create_dir(&dir.join("consumers")).map_err(|e| error("make", &dir, &e))?;
        self.put_stream(name, class, meta)?;
        self.shared.disk.sync_dir(&self.streams).map_err(|e| error("sync", &self.streams, &e))?;
        Ok(self.log(name, dir, class.expendable))
    }

    fn put_stream(&mut self, name: &str, class: Class, meta: &[u8]) -> Result<(), StoreError> {
        let mut content = vec![class_byte(class)];
        content.extend_from_slice(meta);
        self.shared.replace(&self.dir(name)?, "meta", &seal(&content))
    }

    fn delete(&mut self, name: &str) -> Result<(), StoreError> {
        let dir = self.dir(name)?;
        let gone = self.streams.join(format!("{}.gone", file_name(name)?));
        self.shared.disk.rename(&dir, &gone).map_err(|e| error("remove", &dir, &e))?;
        if let Err(e) = self.shared.disk.sync_dir(&self.streams) {
            // It could come back with a loss of power: then it had better never gone.
            let _ = self.shared.disk.rename(&gone, &dir);
            return Err(error("remove", &dir, &e));
        }
        // What is left under that name goes at the next start.
        let _ = self.shared.disk.remove_dir(&gone);
        Ok(())
    }

    fn put_consumer(&mut self, stream: &str, consumer: &str, state: &[u8]) -> Result<(), StoreError> {
        self.shared.replace(&self.dir(stream)?.join("consumers"), &file_name(consumer)?, &seal(state))
    }

    fn delete_consumer(&mut self, stream: &str, consumer: &str) -> Result<(), StoreError> {
        let dir = self.dir(stream)?.join("consumers");
        let path = dir.join(file_name(consumer)?);
        match self.shared.disk.remove_file(&path) {
            Ok(()) => self.shared.disk.sync_dir(&dir).map_err(|e| error("sync", &dir, &e)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(error("remove", &path, &e)),
        }
    }

    fn capacity(&self) -> Option<u64> {
        Some(self.shared.max_bytes)
    }

    fn take_reports(&mut self) -> Vec<StoreReport> {
        std::mem::take(&mut *self.shared.reports.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
