//! The boot record on its partition: read copy by copy, changed by one writer at a time.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use boot::{COPY_OFFSETS, Found, RECORD_LEN, Record, SlotId};
use hal_linux::block;

/// After so many attempts in a row the other copy may be overwritten too, and a place that cannot be read is written anew: a sector that
/// is worn out is mended by writing it, if by anything. Sooner, a passing fault would cost the copy that is good.
const CAREFUL: u32 = 5;

/// Why the record was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// Neither copy can be read.
    #[error("neither copy can be read")]
    Unreadable,
    /// It is of a newer release.
    #[error("it is of a newer release and is left alone")]
    Newer,
    /// It was written and does not read back.
    #[error("it does not read back as it was written")]
    NotKept,
    /// The device refused.
    #[error(transparent)]
    Device(#[from] hal::Error),
    /// It failed, and could not be taken back: the next boot may find it or not.
    #[error("it may count at the next boot or not, and is tried to be taken back until that is known")]
    Open(#[source] Box<RecordError>),
}

/// The partition of the boot record. Cheap to clone; its work blocks and belongs in a thread.
#[derive(Clone, Debug)]
pub(crate) struct RecordFile {
    path: PathBuf,
    /// Attempts in a row that failed, and the order of the writers.
    failed: Arc<AtomicU32>,
    writer: Arc<Mutex<()>>,
    /// A factory reset was refused and may be on the medium all the same: each change takes it back.
    in_doubt: Arc<AtomicBool>,
    /// So many writes are made and reported as failed.
    #[cfg(test)]
    unsaid: Arc<AtomicU32>,
}

impl RecordFile {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            failed: Arc::default(),
            writer: Arc::default(),
            in_doubt: Arc::default(),
            #[cfg(test)]
            unsaid: Arc::default(),
        }
    }

    /// What the two copies say, each read by itself.
    pub(crate) fn read(&self) -> Found {
        let copies = COPY_OFFSETS.map(|offset| {
            block::read_at(&self.path, offset, RECORD_LEN)
                .inspect_err(|error| {
                    tracing::warn!(error = %service::ErrorChain(error), "cannot read copy of boot record");
                })
                .ok()
        });
        Record::found(copies.each_ref().map(Option::as_deref))
    }

    /// Notes that a boot of the slot is well.
    pub(crate) fn confirm(&self, slot: SlotId) -> Result<(), RecordError> {
        self.change(|record| record.confirm(slot))
    }

    /// Asks for a factory reset at the next boot. What is refused is not there either.
    ///
    /// # Errors
    /// What failed. [`RecordError::Open`]: it may count all the same.
    pub(crate) fn request_factory_reset(&self) -> Result<(), RecordError> {
        match self.change(Record::request_factory_reset) {
            Ok(()) => Ok(()),
            // Nothing was written: an earlier one is as much in doubt as before.
            Err(error @ (RecordError::Unreadable | RecordError::Newer)) => Err(error),
            Err(error) => {
                self.in_doubt.store(true, Ordering::Relaxed);
                self.settle();
                if self.is_in_doubt() { Err(RecordError::Open(Box::new(error))) } else { Err(error) }
            }
        }
    }

    /// Whether a factory reset that was refused may be on the medium.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.in_doubt.load(Ordering::Relaxed)
    }

    /// Takes a factory reset back that was refused. A failure leaves it in doubt.
    pub(crate) fn settle(&self) {
        if self.is_in_doubt()
            // Taken back under the writers' lock, if it is still in doubt then: one that was accepted meanwhile counts.
            && let Err(error) = self.change(|_| ())
        {
            tracing::debug!(error = %service::ErrorChain(&error), "cannot take factory reset back");
        }
    }

    /// Changes the record and reads it back.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Record)) -> Result<(), RecordError> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let bold = self.failed.load(Ordering::Relaxed) >= CAREFUL;
        let changed = self.try_change(change, bold);
        match changed {
            Ok(()) => {
                self.failed.store(0, Ordering::Relaxed);
                self.in_doubt.store(false, Ordering::Relaxed);
            }
            Err(_) => _ = self.failed.fetch_add(1, Ordering::Relaxed),
        }
        changed
    }

    fn try_change(&self, change: impl FnOnce(&mut Record), bold: bool) -> Result<(), RecordError> {
        let mut record = match self.read() {
            Found::Known(record) => record,
            Found::New => Record::default(),
            Found::Unreadable if bold => Record::default(),
            Found::Unreadable => return Err(RecordError::Unreadable),
            Found::Newer => return Err(RecordError::Newer),
        };
        if self.is_in_doubt() {
            record.clear_factory_reset();
        }
        change(&mut record);
        let mut written = self.write(&mut record);
        if written.is_err() && bold {
            written = self.write(&mut record);
        }
        written?;
        match self.read() {
            Found::Known(kept) if kept == record => Ok(()),
            _ => Err(RecordError::NotKept),
        }
    }

    fn write(&self, record: &mut Record) -> Result<(), hal::Error> {
        let write = record.advance();
        let written = block::write_durably(&self.path, write.offset, &write.bytes);
        #[cfg(test)]
        if self.unsaid.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
            let source = std::io::Error::other("the sync failed");
            return Err(hal::Error::Io { operation: "write", what: self.path.display().to_string(), source });
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use boot::SlotState;
    use std::fs;
    use std::os::unix::fs::FileExt;

    /// A partition that is long enough for both copies.
    fn partition(dir: &tempfile::TempDir) -> PathBuf {
        let path = dir.path().join("record");
        fs::write(&path, vec![0xff; 128 * 1024]).unwrap();
        path
    }

    fn state(found: Found, slot: SlotId) -> Option<SlotState> {
        match found {
            Found::Known(record) => Some(record.slot(slot).state),
            _ => None,
        }
    }

    #[test]
    fn an_unreadable_copy_does_not_hide_the_good_one() {
        // The medium ends before copy 1, so reading it fails the way a broken block does.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record");
        let mut record = Record::default();
        record.confirm(SlotId::B);
        let even = std::iter::repeat_with(|| record.advance()).find(|write| write.copy == 0).unwrap();
        fs::write(&path, even.bytes).unwrap();
        assert_eq!(state(RecordFile::new(path).read(), SlotId::B), Some(SlotState::Confirmed));
    }

    #[test]
    fn a_confirmation_is_on_the_medium_and_no_copy_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = partition(&dir);
        let file = RecordFile::new(&path);
        assert_eq!(file.read(), Found::New);
        file.confirm(SlotId::A).unwrap();
        file.request_factory_reset().unwrap();
        assert!(matches!(file.read(), Found::Known(record) if record.factory_reset()));
        assert_eq!(state(file.read(), SlotId::A), Some(SlotState::Confirmed));
        let bytes = fs::read(&path).unwrap();
        for offset in COPY_OFFSETS {
            let offset = usize::try_from(offset).unwrap();
            assert!(Record::decode(&bytes[offset..]).is_some(), "copy at {offset}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_written_over_at_first_and_is_mended_in_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record");
        fs::write(&path, b"too short for a copy").unwrap();
        let file = RecordFile::new(&path);
        for attempt in 0..CAREFUL {
            let error = file.confirm(SlotId::A).unwrap_err();
            assert!(matches!(error, RecordError::Unreadable), "attempt {attempt}: {error}");
        }
        assert_eq!(fs::read(&path).unwrap(), b"too short for a copy");
        file.confirm(SlotId::A).unwrap();
        assert_eq!(state(file.read(), SlotId::A), Some(SlotState::Confirmed));
    }

    /// A write that is reported as failed may be on the medium: the next boot would erase what its client was told is kept.
    #[test]
    fn a_factory_reset_that_was_refused_is_not_done() {
        let resets =
            |file: &RecordFile| matches!(file.read(), Found::Known(record) if record.factory_reset());
        for unsaid in 1..5 {
            let dir = tempfile::tempdir().unwrap();
            let file = RecordFile::new(partition(&dir));
            file.confirm(SlotId::A).unwrap();
            file.unsaid.store(unsaid, Ordering::Relaxed);
            let error = file.request_factory_reset().unwrap_err();
            assert_eq!(matches!(error, RecordError::Open(_)), unsaid > 1, "{unsaid}: {error}");
            assert_eq!(file.is_in_doubt(), unsaid > 1, "{unsaid}");
            // Tried until it works, by itself or with the next change.
            if unsaid == 4 {
                file.unsaid.store(0, Ordering::Relaxed);
                file.confirm(SlotId::A).unwrap();
            }
            for _ in 0..unsaid {
                file.settle();
            }
            assert!(!file.is_in_doubt() && !resets(&file), "{unsaid}");
            assert_eq!(state(file.read(), SlotId::A), Some(SlotState::Confirmed));
            // A later one that is accepted counts.
            file.request_factory_reset().unwrap();
            assert!(resets(&file), "{unsaid}");
        }
    }

    #[test]
    fn a_device_that_comes_back_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = RecordFile::new(dir.path().join("record"));
        file.confirm(SlotId::A).unwrap_err();
        partition(&dir);
        file.confirm(SlotId::A).unwrap();
        assert_eq!(state(file.read(), SlotId::A), Some(SlotState::Confirmed));
    }

    #[test]
    fn a_record_of_a_newer_release_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = partition(&dir);
        let mut bytes = Record::default().advance().bytes;
        bytes[8] = 2;
        let crc = crc32fast::hash(&bytes[..RECORD_LEN - 4]);
        bytes[RECORD_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        fs::File::options().write(true).open(&path).unwrap().write_all_at(&bytes, 0).unwrap();
        let before = fs::read(&path).unwrap();
        let file = RecordFile::new(&path);
        for _ in 0..=CAREFUL {
            assert!(matches!(file.confirm(SlotId::A), Err(RecordError::Newer)));
        }
        assert_eq!(fs::read(&path).unwrap(), before);
    }
}
