//! The switch: whether media may be inserted at all. What was chosen is kept in a file of the daemon's own, as what is in the drives is, so that it is known
//! before any of that is offered again. What is kept and cannot be read means off, and is told.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use service::{Folder, Unusable};

/// The file.
pub(crate) const FILE: &str = "service.json";
/// More than it ever has.
const BYTES_MAX: usize = 4096;
/// How often it is read where the system does not give it: a medium may need more than one attempt.
const READS: u32 = 4;
/// Pause before it is read again; doubled each time.
const AGAIN: Duration = Duration::from_millis(200);

/// What was chosen: on, unless somebody has said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Chosen {
    enabled: bool,
}

impl Default for Chosen {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// Whether it is on, as far as that can be read.
fn kept(state_dir: &Path) -> Result<bool, Unusable> {
    service::read_summed::<Chosen>(state_dir, FILE, BYTES_MAX).map(|chosen| chosen.enabled)
}

/// Whether it is on, read four times within 1.4 s where the system does not give it.
///
/// # Errors
/// Why nobody knows, in words: it is off then.
pub(crate) async fn kept_at_last(state_dir: &Path) -> Result<bool, String> {
    let read = patiently(|| kept(state_dir)).await;
    read.map_err(|why| {
        format!(
            "whether virtual media is switched on cannot be read: it is off until somebody says so: {why}"
        )
    })
}

/// Reads until that says something, at growing pauses.
async fn patiently(read: impl Fn() -> Result<bool, Unusable>) -> Result<bool, Unusable> {
    let mut pause = AGAIN;
    for _ in 1..READS {
        match read() {
            Err(Unusable::Unread(error)) => {
                tracing::warn!(file = FILE, error, "cannot read whether virtual media is on: retrying");
            }
            settled => return settled,
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    read()
}

/// Keeps it; it is on the medium when it returns. What is there and is of no use, or is not given, is kept aside first as far as that goes: it may be of a later
/// release.
///
/// # Errors
/// What the system says; what was kept before is still there.
pub(crate) fn keep(state_dir: &Path, enabled: bool) -> io::Result<()> {
    let folder = Folder::create(state_dir)?;
    if kept(state_dir).is_err()
        && let Err(error) = folder.keep_aside(FILE, BYTES_MAX)
    {
        tracing::warn!(file = FILE, %error, "cannot keep aside what is replaced");
    }
    // In place of a folder nothing could be kept.
    folder.make_way_for_file(FILE)?;
    folder.replace_decidedly(FILE, &service::to_summed(&Chosen { enabled })?, 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_on_until_somebody_says_otherwise_and_that_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("mediasrv");
        assert_eq!(kept(&state), Ok(true));
        for enabled in [false, true, false] {
            keep(&state, enabled).unwrap();
            assert_eq!(kept(&state), Ok(enabled));
        }
        assert_eq!(std::fs::read_dir(&state).unwrap().count(), 1, "what is whole is not kept aside");
    }

    #[test]
    fn what_is_damaged_is_told_apart_and_can_be_set_anew() {
        let dir = tempfile::tempdir().unwrap();
        keep(dir.path(), true).unwrap();
        let path = dir.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        let is_damaged = || matches!(kept(dir.path()), Err(Unusable::Damaged(_)));
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &flipped).unwrap();
            assert!(is_damaged(), "bit {bit}");
        }
        for damage in [&b""[..], b"{}", &[b' '; BYTES_MAX + 1]] {
            std::fs::write(&path, damage).unwrap();
            assert!(is_damaged(), "{damage:?}");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(is_damaged(), "a folder in its place");
        keep(dir.path(), true).unwrap();
        assert_eq!(kept(dir.path()), Ok(true));
        // What was damaged is there still, for who can read it.
        std::fs::write(&path, b"{}").unwrap();
        keep(dir.path(), false).unwrap();
        assert_eq!(kept(dir.path()), Ok(false));
        let files = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let aside = files.filter(|file| *file != path && file.is_file());
        let aside: Vec<_> = aside.map(|file| std::fs::read(file).unwrap()).collect();
        assert_eq!(aside, [b"{}"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_system_does_not_give_is_read_again_and_is_not_taken_for_damaged() {
        let dir = tempfile::tempdir().unwrap();
        // A file in place of the folder: the system says so, and nothing of what is kept.
        let state = dir.path().join("mediasrv");
        std::fs::write(&state, "").unwrap();
        assert!(matches!(kept(&state), Err(Unusable::Unread(_))));
        let began = tokio::time::Instant::now();
        let said = kept_at_last(&state).await.unwrap_err();
        assert!(said.contains("it is off until"), "{said}");
        assert!((1400..1500).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());

        let times = &std::cell::Cell::new(0);
        let read = |given: u32, answer: Result<bool, Unusable>| {
            times.set(0);
            move || {
                times.set(times.get() + 1);
                if times.get() < given { Err(Unusable::Unread("EIO".to_owned())) } else { answer.clone() }
            }
        };
        assert_eq!((patiently(read(4, Ok(true))).await, times.get()), (Ok(true), 4));
        let damaged = Err(Unusable::Damaged("its sum is wrong".to_owned()));
        assert_eq!((patiently(read(1, damaged.clone())).await, times.get()), (damaged, 1));
    }
}
