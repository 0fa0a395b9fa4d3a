//! The machine's own file system, with places that do not read, or none that does.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::store::{Disk, DiskFile, Kind, Lock, RealDisk};

/// What does not read.
#[derive(Debug, Default)]
struct Holes {
    /// What holds one of these.
    marks: Mutex<Vec<Vec<u8>>>,
    /// Everything.
    away: AtomicBool,
}

/// As [`RealDisk`], but a read that would give one of the marks fails, as on a medium with a bad page; and every one while the medium is away.
#[derive(Debug, Default)]
pub(crate) struct HoledDisk {
    holes: Arc<Holes>,
}

impl HoledDisk {
    /// What holds these bytes does not read from now on.
    pub(crate) fn refuse_to_read(&self, mark: &[u8]) {
        self.holes.marks.lock().unwrap_or_else(PoisonError::into_inner).push(mark.to_owned());
    }

    /// Nothing reads from now on.
    pub(crate) fn go_away(&self) {
        self.holes.away.store(true, Ordering::SeqCst);
    }

    /// Everything reads again.
    pub(crate) fn heal(&self) {
        self.holes.marks.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.holes.away.store(false, Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct HoledFile {
    file: Box<dyn DiskFile>,
    holes: Arc<Holes>,
}

impl HoledFile {
    fn reads(&self, bytes: &[u8]) -> bool {
        let marks = self.holes.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let is_away = self.holes.away.load(Ordering::SeqCst);
        !is_away && !marks.iter().any(|mark| bytes.windows(mark.len()).any(|part| part == mark))
    }
}

impl Disk for HoledDisk {
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir(dir)
    }
    fn kind(&self, path: &Path) -> io::Result<Kind> {
        RealDisk.kind(path)
    }
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
        let file = RealDisk.open(path, create)?;
        Ok(Box::new(HoledFile { file, holes: Arc::clone(&self.holes) }))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_file(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_dir(path)
    }
    fn lock(&self, dir: &Path) -> io::Result<Box<dyn Lock>> {
        RealDisk.lock(dir)
    }
    fn is_read_only(&self, dir: &Path) -> bool {
        RealDisk.is_read_only(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }
}

impl DiskFile for HoledFile {
    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)?;
        if self.reads(buffer) { Ok(()) } else { Err(io::Error::other("input/output error")) }
    }
    fn read_fresh(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_fresh(buffer, offset)?;
        if self.reads(buffer) { Ok(()) } else { Err(io::Error::other("input/output error")) }
    }
    fn read_cached(&self, buffer: &mut [u8], offset: u64) -> bool {
        self.file.read_cached(buffer, offset) && self.reads(buffer)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }
    fn truncate(&self, size: u64) -> io::Result<()> {
        self.file.truncate(size)
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}
