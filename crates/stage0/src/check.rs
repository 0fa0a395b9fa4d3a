//! Reading a whole file system, which has dm-verity check every block that a file or a folder is made of.
//!
//! It is read as files, not as a device: what was read is then in memory for whoever runs next. The processors share it, since every byte
//! is hashed and unpacked.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Bytes read at once. The file system unpacks 128 KiB at a time: a piece that is whole ones makes no work twice.
const PIECE: usize = 512 << 10;
/// Threads that read. Controllers have two or four processors, and the storage is one.
const READERS: usize = 2;

/// A file, and how long it is.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Whole {
    path: PathBuf,
    len: u64,
}

/// All files below a folder, on its file system alone.
///
/// # Errors
/// What reading a folder or the facts of a file ended with.
pub(crate) fn files_below(folder: &Path) -> io::Result<Vec<Whole>> {
    let device = fs::symlink_metadata(folder)?.dev();
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let about = fs::symlink_metadata(&path)?;
            if about.dev() != device {
                continue;
            }
            if about.is_dir() {
                folders.push(path);
            } else if about.is_symlink() {
                fs::read_link(&path)?;
            } else if about.is_file() {
                files.push(Whole { path, len: about.len() });
            }
        }
    }
    Ok(files)
}

/// Reads files to their ends; says how many bytes that were. `turned` is called between the pieces that this thread reads.
///
/// # Errors
/// The first that any file ended with; a file that is shorter than it said is one.
pub(crate) fn read(files: &[Whole], mut turned: impl FnMut()) -> io::Result<u64> {
    let pieces = files.iter().flat_map(|file| (0..file.len).step_by(PIECE).map(move |at| (file, at)));
    let pieces = Mutex::new(pieces);
    let next = || pieces.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
    let work = |turned: &mut dyn FnMut()| -> io::Result<u64> {
        let mut buffer = vec![0; PIECE];
        let mut opened: Option<(&Whole, File)> = None;
        let mut total = 0;
        while let Some((whole, at)) = next() {
            let file = match opened.take() {
                Some((last, file)) if last == whole => file,
                _ => File::open(&whole.path)?,
            };
            let len = (whole.len - at).min(PIECE as u64);
            let piece = usize::try_from(len).ok().and_then(|len| buffer.get_mut(..len)).unwrap_or_default();
            file.read_exact_at(piece, at)?;
            total += len;
            opened = Some((whole, file));
            turned();
        }
        Ok(total)
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..READERS).map(|_| scope.spawn(|| work(&mut || ()))).collect();
        let mut total = work(&mut turned)?;
        for other in others {
            total += other.join().map_err(|_| io::Error::other("a thread that read ended"))??;
        }
        Ok(total)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_read_and_links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("lib/deep")).unwrap();
        let sizes = [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE + 7];
        for (index, size) in sizes.into_iter().enumerate() {
            fs::write(root.path().join("lib/deep").join(index.to_string()), vec![1; size]).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("link")).unwrap();
        let files = files_below(root.path()).unwrap();
        assert_eq!(files.len(), sizes.len());
        let mut turns = 0;
        let total = read(&files, || turns += 1).unwrap();
        assert_eq!(total, sizes.iter().sum::<usize>() as u64);
        assert!(turns <= 9, "there are nine pieces, and this thread read {turns}");
    }

    #[test]
    fn what_cannot_be_read_to_its_end_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("short");
        fs::write(&path, [1; 100]).unwrap();
        assert!(read(&[Whole { path: path.clone(), len: 101 }], || ()).is_err());
        assert!(read(&[Whole { path: root.path().join("none"), len: 1 }], || ()).is_err());
        assert!(files_below(&root.path().join("none")).is_err());
        assert_eq!(read(&[Whole { path, len: 100 }], || ()).unwrap(), 100);
    }
}
