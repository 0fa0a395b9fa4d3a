//! The log that can be asked for: the last lines of all daemons, in memory, and on an image also on the data partition.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use service::Folder;

/// Lines and bytes kept in memory: some hours of an ordinary day, minutes of a bad one.
const LINES_MAX: usize = 2_000;
const BYTES_MAX: usize = 256 * 1024;

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Counts up from 1, without gaps.
    pub(crate) sequence: u64,
    /// The line without its end.
    pub(crate) text: String,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<Line>,
    bytes: usize,
    last: u64,
}

/// The last lines. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ring(Arc<Mutex<Kept>>);

impl Ring {
    /// Takes a line; the oldest ones go when there is no room.
    pub(crate) fn push(&self, text: &str) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.last += 1;
        kept.bytes += text.len();
        let line = Line { sequence: kept.last, text: text.to_owned() };
        kept.lines.push_back(line);
        while kept.lines.len() > LINES_MAX || kept.bytes > BYTES_MAX {
            let Some(gone) = kept.lines.pop_front() else { break };
            kept.bytes -= gone.text.len();
        }
    }

    /// Lines that hold `contains`: the first `most` after line `after`, or without it the last `most` there are; and the number of the
    /// newest line, wanted or not.
    pub(crate) fn read(&self, after: Option<u64>, most: usize, contains: &str) -> (Vec<Line>, u64) {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = kept.lines.iter().filter(|line| line.text.contains(contains));
        let lines = match after {
            Some(after) => wanted.filter(|line| line.sequence > after).take(most).cloned().collect(),
            None => {
                let mut last: Vec<Line> = wanted.rev().take(most).cloned().collect();
                last.reverse();
                last
            }
        };
        (lines, kept.last)
    }
}

/// A file takes this much before it becomes the previous one: both together are a tenth of a small data partition.
const FILE_MAX: u64 = 512 * 1024;
/// What waits in memory before it is written: a write to flash costs a whole block, however short it is.
const WAITING_MAX: usize = 16 * 1024;

/// The same lines on the flash, in two files of bounded size: `current` and `previous`. What came in the last half minute before a loss of
/// power may be missing.
#[derive(Debug)]
pub(crate) struct Keeper {
    directory: PathBuf,
    waiting: Vec<u8>,
}

impl Keeper {
    /// Goes on where an earlier run ended. Nothing is written before there is something to keep.
    pub(crate) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), waiting: Vec::new() }
    }

    /// Takes a line with its end. Writes when enough has come together.
    pub(crate) fn line(&mut self, line: &[u8]) -> io::Result<bool> {
        self.waiting.extend_from_slice(line);
        if self.waiting.len() < WAITING_MAX { Ok(false) } else { self.flush() }
    }

    /// Writes what waits; `true`: there was something. What cannot be written is dropped: the log must not eat the memory when the flash is
    /// full. The next lines are tried again.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        let bytes = std::mem::take(&mut self.waiting);
        if bytes.is_empty() {
            return Ok(false);
        }
        fs::create_dir_all(&self.directory)?;
        let folder = Folder::open(&self.directory)?;
        // Lines could neither be written nor moved on for good.
        for name in ["current", "previous"] {
            folder.make_way_for_file(name)?;
        }
        let current = self.directory.join("current");
        if fs::metadata(&current).is_ok_and(|about| about.len() > FILE_MAX) {
            fs::rename(&current, self.directory.join("previous"))?;
        }
        // A pipe that somebody has put there is an error, not a wait.
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let mut file = fs::File::options().create(true).append(true).custom_flags(flags).open(&current)?;
        file.write_all(&bytes)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(lines: &[Line]) -> Vec<u64> {
        lines.iter().map(|line| line.sequence).collect()
    }

    #[test]
    fn the_last_lines_are_kept_and_can_be_read_on_from_any_of_them() {
        let ring = Ring::default();
        for number in 1..=3_000 {
            ring.push(if number % 2 == 0 { "even" } else { "odd" });
        }
        let (last, newest) = ring.read(None, 3, "");
        assert_eq!((numbers(&last), newest), (vec![2_998, 2_999, 3_000], 3_000));
        assert_eq!(numbers(&ring.read(Some(0), 2, "").0), [1_001, 1_002], "the oldest kept");
        assert_eq!(numbers(&ring.read(Some(2_996), 9, "even").0), [2_998, 3_000]);
        assert_eq!(ring.read(Some(3_000), 9, ""), (vec![], 3_000));
    }

    #[test]
    fn long_lines_do_not_take_more_room() {
        let ring = Ring::default();
        for _ in 0..1_000 {
            ring.push(&"x".repeat(2_048));
        }
        assert_eq!(ring.read(None, 5_000, "").0.len(), BYTES_MAX / 2_048);
    }

    #[test]
    fn files_are_bounded_and_go_on_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let line = [b'x'; 1_024];
        for _ in 0..4 {
            let mut keeper = Keeper::new(dir.path());
            for _ in 0..700 {
                keeper.line(&line).unwrap();
            }
            keeper.flush().unwrap();
        }
        let sizes = ["current", "previous"].map(|name| fs::metadata(dir.path().join(name)).unwrap().len());
        assert!(sizes.iter().all(|size| *size <= FILE_MAX + 32 * 1_024), "{sizes:?}");
        assert!(sizes[1] > FILE_MAX, "{sizes:?}");
    }

    #[test]
    fn a_folder_in_the_place_of_a_file_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["current", "previous"] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("inside"), name).unwrap();
        }
        let mut keeper = Keeper::new(dir.path());
        keeper.line(b"kept\n").unwrap();
        assert!(keeper.flush().unwrap());
        assert_eq!(fs::read_to_string(dir.path().join("current")).unwrap(), "kept\n");
        for name in ["current", "previous"] {
            let aside = dir.path().join(format!("{name}.damaged/inside"));
            assert_eq!(fs::read_to_string(aside).unwrap(), name);
        }
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("log");
        fs::write(&place, "in the way").unwrap();
        let mut keeper = Keeper::new(&place);
        keeper.line(b"lost\n").unwrap();
        assert!(keeper.flush().is_err());
        fs::remove_file(&place).unwrap();
        keeper.line(b"kept\n").unwrap();
        assert!(keeper.flush().unwrap());
        assert_eq!(fs::read_to_string(place.join("current")).unwrap(), "kept\n");
    }
}
