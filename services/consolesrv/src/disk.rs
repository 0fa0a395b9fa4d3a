//! The log of a console on the medium: two files, the newer one appended to.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serial::{Batch, LogLine, parse_line, wants_rotation};
use service::{ErrorChain, Folder};

use crate::desk::{Desk, Kept};

/// Bytes of both files of what a console printed together.
pub(crate) const ROOM: u64 = 256 * 1024;
/// More than a file has, however it came to be.
const FILE_MAX: u64 = 2 * 1024 * 1024;

/// The files of one console. What is read from them has been synced: both happen under one lock.
#[derive(Debug)]
pub(crate) struct Disk {
    /// Bytes of both files together.
    room: u64,
    newer: PathBuf,
    older: PathBuf,
    open: Option<(File, u64)>,
    /// Lines the medium did not take, to be told in the log.
    missed: u64,
}

impl Disk {
    /// Those of a console, or of what else has a name, of `room` bytes together.
    pub(crate) fn new(folder: &Path, console: &str, room: u64) -> Self {
        let file = |ending: &str| folder.join(format!("{console}.log{ending}"));
        Self { room, newer: file(""), older: file(".1"), open: None, missed: 0 }
    }

    /// Looks at the files once, and says what is wrong with which. What is no file is put aside: it would keep every line from being written.
    pub(crate) fn inspect(&self) -> Vec<(String, String)> {
        let mut told = Vec::new();
        for path in [&self.newer, &self.older] {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mut tell = |what: String| told.push((file.clone(), what));
            let is_file = match path.symlink_metadata() {
                Ok(metadata) => metadata.is_file(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    tell(error.to_string());
                    continue;
                }
            };
            if !is_file {
                let parent = path.parent().unwrap_or(path);
                let moved = Folder::open(parent).and_then(|folder| folder.make_way_for_file(&file));
                let became = moved.map_or_else(|error| format!("stays: {error}"), |_| "put aside".to_owned());
                tell(format!("is no file; {became}"));
                continue;
            }
            let mut all = Vec::new();
            match File::open(path).and_then(|file| file.take(FILE_MAX).read_to_end(&mut all)) {
                Ok(0) => tell("is empty".to_owned()),
                Ok(_) => {
                    // The end of the last line, where there is one.
                    let whole = all.strip_suffix(b"\n").unwrap_or(&all);
                    let bad = whole.split(|byte| *byte == b'\n').filter(|line| parse_line(line).is_none());
                    match bad.count() {
                        0 => {}
                        lines => tell(format!("{lines} lines cannot be read")),
                    }
                }
                Err(error) => tell(error.to_string()),
            }
        }
        told
    }

    /// Appends lines; they are on the medium when it returns.
    ///
    /// # Errors
    /// What the system says; the lines are lost then, and counted.
    pub(crate) fn append(&mut self, batch: &Batch) -> io::Result<()> {
        let result = self.write(batch);
        if result.is_err() {
            // What is there of it is told as lost, so it goes: a line that was cut short may look like a whole one. Where it cannot go, it is seen to that the
            // next begins a new line when the file is opened again.
            if let Some((_, size)) = self.open.take() {
                let _stays =
                    File::options().write(true).open(&self.newer).and_then(|file| file.set_len(size));
            }
            self.missed += u64::from(batch.lines);
        } else {
            self.missed = 0;
        }
        result
    }

    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        if self.open.is_none() {
            self.open = Some(self.reopen()?);
        }
        let mut told = Vec::new();
        if self.missed > 0
            && let Some(time) = batch.bytes.split(|byte| *byte == b' ').next()
        {
            told.extend_from_slice(time);
            let text = format!(" [{} lines were lost: the medium did not take them]\n", self.missed);
            told.extend_from_slice(text.as_bytes());
        }
        let more = (told.len() + batch.bytes.len()) as u64;
        if self.open.as_ref().is_some_and(|(_, size)| wants_rotation(*size, more, self.room)) {
            self.open = None;
            std::fs::rename(&self.newer, &self.older)?;
            self.open = Some(self.reopen()?);
        }
        let Some((file, size)) = &mut self.open else { return Ok(()) };
        file.write_all(&told)?;
        file.write_all(&batch.bytes)?;
        file.sync_data()?;
        // Only now: what is beyond it is not counted, should it fail.
        *size += more;
        Ok(())
    }

    /// The newer file, at its end, which is the end of a line.
    fn reopen(&self) -> io::Result<(File, u64)> {
        let options = || {
            let mut options = File::options();
            options.read(true).append(true);
            options
        };
        let mut file = match options().create_new(true).open(&self.newer) {
            Ok(file) => {
                // Its lines are not safe before its name is.
                if let Some(folder) = self.newer.parent() {
                    File::open(folder)?.sync_all()?;
                }
                file
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options().open(&self.newer)?,
            Err(error) => return Err(error),
        };
        let mut size = file.seek(SeekFrom::End(0))?;
        if size > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                size += 1;
            }
        }
        Ok((file, size))
    }

    /// The last lines, oldest first, none older than `since` (milliseconds since 1970), with at most `bytes` of text.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn last(&self, lines: usize, since: i64, bytes: usize) -> io::Result<Vec<LogLine>> {
        let mut found = Vec::new();
        let mut left = bytes;
        for path in [&self.newer, &self.older] {
            let mut all = Vec::new();
            match File::open(path) {
                Ok(file) => file.take(FILE_MAX).read_to_end(&mut all)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for line in all.split(|byte| *byte == b'\n').rev().filter_map(parse_line) {
                // After a start without a clock older times follow newer ones: such a line says nothing about those before it.
                if line.wall < since {
                    continue;
                }
                let room = left.checked_sub(line.text.len() + 16);
                let Some(room) = room.filter(|_| found.len() < lines) else {
                    found.reverse();
                    return Ok(found);
                };
                left = room;
                found.push(line);
            }
        }
        found.reverse();
        Ok(found)
    }
}

/// Writes what there is to be logged, until the daemon ends.
pub(crate) async fn keep(desk: &Desk, disk: &Arc<Mutex<Disk>>, what: Kept) {
    let mut changes = desk.changes();
    let mut failing = false;
    loop {
        let batch = desk.lock().take(what, desk.clock.now());
        if let Some(batch) = batch {
            failing = store(desk, disk, batch, failing).await;
            continue;
        }
        let due = desk.lock().due(what);
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = desk.clock.sleep_until(due) => {}
        }
    }
}

/// The rest, when the daemon ends.
pub(crate) async fn finish(desk: &Desk, disk: &Arc<Mutex<Disk>>, what: Kept) {
    let batch = desk.lock().finish(what, desk.clock.now());
    if let Some(batch) = batch {
        store(desk, disk, batch, false).await;
    }
}

async fn store(desk: &Desk, disk: &Arc<Mutex<Disk>>, batch: Batch, failing: bool) -> bool {
    let disk = Arc::clone(disk);
    let written = tokio::task::spawn_blocking(move || {
        disk.lock().unwrap_or_else(PoisonError::into_inner).append(&batch)
    });
    match written.await.map_err(io::Error::other).flatten() {
        Ok(()) => {
            if failing {
                tracing::info!(console = desk.name, "log of console is written again");
            }
            false
        }
        Err(error) => {
            if !failing {
                tracing::warn!(console = desk.name, error = %ErrorChain(&error), "cannot write log of console: lines are lost");
            }
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(text: &str) -> Batch {
        let bytes = format!("2026-11-28T23:30:00.000Z {text}\n").into_bytes();
        Batch { bytes, lines: 1 }
    }

    fn texts(disk: &Disk, lines: usize) -> Vec<String> {
        disk.last(lines, 0, 1 << 20).unwrap().into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn lines_are_read_back_over_both_files_and_the_room_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Disk::new(dir.path(), "system", ROOM);
        assert_eq!(texts(&disk, 10), [""; 0]);
        for number in 0..5000 {
            disk.append(&batch(&format!("{number:0100}"))).unwrap();
        }
        let size: u64 =
            std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
        assert!(size <= ROOM, "{size}");
        let kept = texts(&disk, usize::MAX);
        assert!(kept.len() > 1000);
        assert_eq!(kept.last().unwrap(), &format!("{:0100}", 4999));
        assert_eq!(kept.len() as u64, size / 126);
        assert_eq!(texts(&disk, 3)[0], format!("{:0100}", 4997));
    }

    #[test]
    fn a_line_that_was_cut_short_is_passed_over_and_the_next_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("system.log"), b"2026-11-28T23:30:00.000Z one\n2026-11").unwrap();
        let mut disk = Disk::new(dir.path(), "system", ROOM);
        disk.append(&batch("two")).unwrap();
        assert_eq!(texts(&disk, 10), ["one", "two"]);
    }

    #[test]
    fn lines_of_a_start_without_a_clock_hide_none_that_are_young_enough() {
        let dir = tempfile::tempdir().unwrap();
        let lines = "2026-11-28T23:30:00.000Z old\n2026-11-28T23:50:00.000Z young\n1970-01-01T00:00:09.000Z no clock\n";
        std::fs::write(dir.path().join("system.log"), lines).unwrap();
        let disk = Disk::new(dir.path(), "system", ROOM);
        let since = parse_line(b"2026-11-28T23:40:00.000Z x").unwrap().wall;
        let found = disk.last(10, since, 1 << 20).unwrap();
        assert_eq!(found.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["young"]);
    }

    #[test]
    fn what_is_wrong_with_the_files_is_told_and_the_next_line_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("system.log");
        let mut disk = Disk::new(dir.path(), "system", ROOM);
        assert_eq!(disk.inspect(), []);
        disk.append(&batch("one")).unwrap();
        assert_eq!(disk.inspect(), []);
        let whole = std::fs::read(&file).unwrap();
        for bytes in [&b""[..], &whole[..9], &[0; 30], &[&whole[..], b"2026-11"].concat()] {
            std::fs::write(&file, bytes).unwrap();
            let mut disk = Disk::new(dir.path(), "system", ROOM);
            assert_eq!(disk.inspect().len(), 1, "{bytes:?}");
            disk.append(&batch("two")).unwrap();
            assert_eq!(texts(&disk, 1), ["two"]);
        }
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        let mut disk = Disk::new(dir.path(), "system", ROOM);
        assert!(
            matches!(&disk.inspect()[..], [(name, what)] if name == "system.log" && what.contains("put aside"))
        );
        disk.append(&batch("three")).unwrap();
        assert_eq!(texts(&disk, 9), ["three"]);
    }

    #[test]
    fn a_write_that_failed_midway_leaves_nothing_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Disk::new(dir.path(), "system", ROOM);
        disk.append(&batch("one")).unwrap();
        // As ENOSPC leaves it: a part is there, and the size before it is known.
        let (mut file, size) = disk.open.take().unwrap();
        file.write_all(b"2026-11-28T23:30:01.000Z hal").unwrap();
        let read_only = File::open(dir.path().join("system.log")).unwrap();
        disk.open = Some((read_only, size));
        disk.append(&batch("half")).unwrap_err();
        disk.append(&batch("two")).unwrap();
        assert_eq!(texts(&disk, 10), ["one", "[1 lines were lost: the medium did not take them]", "two"]);
    }

    #[test]
    fn lines_that_were_not_taken_are_told_in_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("later");
        let mut disk = Disk::new(&folder, "system", ROOM);
        disk.append(&batch("lost")).unwrap_err();
        disk.append(&batch("lost, too")).unwrap_err();
        std::fs::create_dir(&folder).unwrap();
        disk.append(&batch("kept")).unwrap();
        disk.append(&batch("more")).unwrap();
        assert_eq!(texts(&disk, 10), ["[2 lines were lost: the medium did not take them]", "kept", "more"]);
    }
}
