//! The file operations the store is built on, as a trait: so that tests can put a disk under it that forgets
//! what was not synced.

use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::{FileExt, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{Advice, FlockOperation, OFlags, StatVfsMountFlags, fadvise, flock, statvfs};
use rustix::io::{ReadWriteFlags, preadv2};

/// A file system. An implementer owes what POSIX does: a rename is atomic; a file's bytes last after
/// [`DiskFile::sync`]; names made, renamed or removed in a directory last after [`Disk::sync_dir`] of it; nothing else
/// can be relied on after power was lost.
pub trait Disk: Send + Sync + Debug {
    /// The names in a directory.
    ///
    /// # Errors
    /// What the system said; also for a directory that is not there.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes a directory and its parents; fine when it is there.
    ///
    /// # Errors
    /// What the system said.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// What is at a path.
    ///
    /// # Errors
    /// What the system said; also when nothing is there.
    fn kind(&self, path: &Path) -> io::Result<Kind>;

    /// Opens a file for reading and writing, making it if `create`. Where nothing may be written and it is not to be made it is
    /// opened for reading, and writes fail.
    ///
    /// # Errors
    /// What the system said.
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>>;

    /// Renames a file or directory over what is there.
    ///
    /// # Errors
    /// What the system said.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system said.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// What the system said; `DirectoryNotEmpty` when something is in it.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Holds a directory for one user until what is returned is dropped.
    ///
    /// # Errors
    /// `WouldBlock` when another holds it.
    fn lock(&self, dir: &Path) -> io::Result<Box<dyn Lock>>;

    /// Whether nothing can be written below a directory because its file system is read-only.
    fn is_read_only(&self, dir: &Path) -> bool;

    /// Makes the names in a directory last.
    ///
    /// # Errors
    /// What the system said.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// The whole of a file.
    ///
    /// # Errors
    /// What the system said; `FileTooLarge` when it has more than `most` bytes.
    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let file = self.open(path, false)?;
        let size = file.size()?;
        if size > most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut bytes = vec![0; usize::try_from(size).map_err(|_| io::ErrorKind::FileTooLarge)?];
        file.read_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File,
    /// A directory.
    Dir,
    /// A device, a socket, …
    Other,
}

/// A directory that is held.
pub trait Lock: Send + Sync + Debug {}

/// An open file.
pub trait DiskFile: Send + Debug {
    /// Its length, bytes.
    ///
    /// # Errors
    /// What the system said.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// What the system said; `UnexpectedEof` when the file ends before.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Fills `buffer` from `offset`, from the medium and not from what the system has of it in memory, as far as the system can.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    fn read_fresh(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_at(buffer, offset)
    }

    /// Fills `buffer` from `offset` if that is sure not to wait for the medium; `false`: it is not, or cannot be known.
    fn read_cached(&self, _buffer: &mut [u8], _offset: u64) -> bool {
        false
    }

    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// What the system said; some of it may be written then.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts the file.
    ///
    /// # Errors
    /// What the system said.
    fn truncate(&self, size: u64) -> io::Result<()>;

    /// Makes the file's bytes and length last.
    ///
    /// # Errors
    /// What the system said; what was written since the last success must then be written again.
    fn sync(&self) -> io::Result<()>;
}

/// The machine's own file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(dir)
    }
    fn kind(&self, path: &Path) -> io::Result<Kind> {
        let kind = std::fs::metadata(path)?.file_type();
        Ok(if kind.is_file() {
            Kind::File
        } else if kind.is_dir() {
            Kind::Dir
        } else {
            Kind::Other
        })
    }
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
        // Where a pipe lies in a file's place nobody waits for its other end.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let mut options = OpenOptions::new();
        let options = options.read(true).custom_flags(flags);
        let opened = options.clone().write(true).create(create).truncate(false).open(path);
        let refused = |e: &io::Error| {
            matches!(e.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
        };
        match opened {
            Err(error) if !create && refused(&error) => {
                Ok(Box::new(RealFile { file: options.open(path)?, read_only: true }))
            }
            opened => Ok(Box::new(RealFile { file: opened?, read_only: false })),
        }
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }
    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }
    fn lock(&self, dir: &Path) -> io::Result<Box<dyn Lock>> {
        // The directory itself: it needs no file, so it works where nothing can be written, and nothing is left behind.
        let held = File::open(dir)?;
        flock(&held, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Box::new(RealLock(held)))
    }
    fn is_read_only(&self, dir: &Path) -> bool {
        statvfs(dir).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY))
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

/// Held until it is closed.
#[derive(Debug)]
struct RealLock(#[allow(dead_code, reason = "closing it gives the lock back")] File);

impl Lock for RealLock {}

#[derive(Debug)]
struct RealFile {
    file: File,
    read_only: bool,
}

impl RealFile {
    fn writable(&self) -> io::Result<()> {
        if self.read_only { Err(io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
    }
}

impl DiskFile for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
    fn read_fresh(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let len = NonZeroU64::new(buffer.len() as u64);
        // What was not written yet stays; the rest of these pages is read anew.
        fadvise(&self.file, offset, len, Advice::DontNeed)?;
        self.read_at(buffer, offset)
    }
    fn read_cached(&self, buffer: &mut [u8], offset: u64) -> bool {
        let wanted = buffer.len();
        let read = preadv2(&self.file, &mut [io::IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT);
        read == Ok(wanted)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.writable()?;
        self.file.write_all_at(bytes, offset)
    }
    fn truncate(&self, size: u64) -> io::Result<()> {
        self.writable()?;
        self.file.set_len(size)
    }
    fn sync(&self) -> io::Result<()> {
        if self.read_only { Ok(()) } else { self.file.sync_data() }
    }
}
