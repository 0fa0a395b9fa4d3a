//! The clock at the start: without a battery it begins in 1970, and certificates, logs and sessions need better than that.
//!
//! It is never set back. What it is set to is a floor, the latest time that is surely past: the image was built by then, or
//! an earlier run saw it. The network's time, or a person's, comes later and from elsewhere: a clock that was wrong may be set back by it, so such a time is
//! held to the image's alone, and noted at once.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::about::About;

/// How often the time is noted down: what a loss of power can cost the clock. Each note is one block on the flash.
pub(crate) const NOTE_EVERY: Duration = Duration::from_secs(3600);

/// The file whose time of change is the note.
pub(crate) fn note_file(state_dir: &Path) -> PathBuf {
    state_dir.join("clock")
}

/// When the image was built.
pub(crate) fn built(image: &Path) -> Option<SystemTime> {
    About::read(image).and_then(|image| UNIX_EPOCH.checked_add(Duration::from_secs(image.epoch)))
}

/// The latest time that is surely past.
pub(crate) fn floor(image: &Path, note: &Path) -> Option<SystemTime> {
    let noted = std::fs::metadata(note).and_then(|about| about.modified()).ok();
    built(image).max(noted)
}

/// Whether the time is to be noted down, which was done last at `noted`: each hour, and at once after the clock was set back. The next start would set it forward
/// to the note otherwise.
pub(crate) fn is_due(noted: Option<SystemTime>, now: SystemTime) -> bool {
    noted.is_none_or(|noted| now.duration_since(noted).map_or(true, |age| age >= NOTE_EVERY))
}

/// Sets the clock forward to `floor` if it is behind; says whether it did.
pub(crate) fn set_forward(now: SystemTime, floor: SystemTime) -> bool {
    if now >= floor {
        return false;
    }
    let Ok(since) = floor.duration_since(UNIX_EPOCH) else { return false };
    let Ok(seconds) = since.as_secs().try_into() else { return false };
    let time = rustix::time::Timespec { tv_sec: seconds, tv_nsec: since.subsec_nanos().into() };
    match rustix::time::clock_settime(rustix::time::ClockId::Realtime, time) {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(%error, "cannot set clock");
            false
        }
    }
}

/// Notes the time down. A failure costs an hour of the floor, no more.
pub(crate) fn note(file: &Path) {
    // Written anew, so that the file system stamps it with the clock.
    let write = || {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        service::Folder::open(file.parent().unwrap_or(Path::new(".")))?.make_way_for_file(&name)?;
        std::fs::write(file, b"Its time of change is the last time this controller knew.\n")
    };
    if let Err(error) = write() {
        tracing::warn!(%error, file = %file.display(), "cannot save current time");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_the_later_of_image_and_note() {
        let dir = tempfile::tempdir().unwrap();
        let (image, file) = (dir.path().join("image.json"), dir.path().join("clock"));
        assert_eq!(floor(&image, &file), None);
        std::fs::write(&image, r#"{"epoch": 1000, "version": "1"}"#).unwrap();
        let epoch = UNIX_EPOCH + Duration::from_secs(1000);
        assert_eq!(floor(&image, &file), Some(epoch));
        note(&file);
        assert!(floor(&image, &file) > Some(epoch));
        assert_eq!(built(&image), Some(epoch), "whatever was noted");
        std::fs::write(&image, "not json").unwrap();
        assert!(floor(&image, &file).is_some(), "the note is enough");
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        note(&file);
        assert!(file.is_file(), "what was in its place is put aside");
    }

    #[test]
    fn the_time_is_noted_each_hour_and_when_the_clock_was_set_back() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let noted = Some(at(1_000_000));
        assert!(is_due(None, at(0)));
        for (now, due) in [
            (at(1_000_000), false),
            (at(1_003_599), false),
            (at(1_003_600), true),
            (at(999_999), true),
            (at(0), true),
        ] {
            assert_eq!(is_due(noted, now), due, "{now:?}");
        }
    }

    #[test]
    fn a_clock_that_is_right_is_left_alone() {
        assert!(!set_forward(UNIX_EPOCH + Duration::from_secs(10), UNIX_EPOCH));
    }
}
