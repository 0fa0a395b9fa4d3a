//! A switch that is kept in a file of the daemon's own, and not in a bucket, so that it is known before anything is served and without a bus. What is kept and
//! cannot be read means off, and is told.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Folder, Unusable, read_summed, to_summed};

/// More bytes than it ever has.
const BYTES_MAX: usize = 4096;
/// How often it is read where the system does not give it: a medium may need more than one attempt.
const READS: u32 = 4;
/// Pause before it is read again; doubled each time.
const AGAIN: Duration = Duration::from_millis(200);

/// The switch of a daemon, and where it is kept.
#[derive(Clone, Copy, Debug)]
pub struct KeptSwitch {
    /// What is switched, for people, such as `virtual media`.
    pub title: &'static str,
    /// Its file in the daemon's folder of the state directory.
    pub file: &'static str,
}

/// What was chosen; `None` where there is no file. One without a choice in it is damaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Chosen {
    #[serde(deserialize_with = "choice")]
    enabled: Option<bool>,
}

fn choice<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    bool::deserialize(deserializer).map(Some)
}

impl KeptSwitch {
    /// Whether it was switched on or off, as far as that can be read; `None` where nobody has chosen. Where the system does not give it, it is read four times
    /// within 1.4 s.
    ///
    /// # Errors
    /// Why nobody knows, in words: it is off then.
    pub async fn read(&self, state_dir: &Path) -> Result<Option<bool>, String> {
        let read = self.patiently(|| self.kept(state_dir)).await;
        read.map_err(|why| {
            let title = self.title;
            format!("whether {title} is switched on cannot be read: it is off until somebody says so: {why}")
        })
    }

    /// Keeps it; it is on the medium when this returns. Of a file that is of no use a copy is kept aside first, as far as that goes: it may be of a later release. A
    /// folder in its place is put aside, once there is what comes there.
    ///
    /// # Errors
    /// What the system says; what was kept before is still there.
    pub fn keep(&self, state_dir: &Path, enabled: bool) -> io::Result<()> {
        let folder = Folder::create(state_dir)?;
        // What is longer, or no file, would be moved and not copied: where nothing can be written then, the next start would find nothing there, as if nobody had chosen.
        if self.kept(state_dir).is_err()
            && folder.read(self.file, BYTES_MAX).is_ok()
            && let Err(error) = folder.keep_aside(self.file, BYTES_MAX)
        {
            tracing::warn!(file = self.file, %error, "cannot keep aside what is replaced");
        }
        folder.replace_decidedly(self.file, &to_summed(&Chosen { enabled: Some(enabled) })?, 0o600)
    }

    fn kept(&self, state_dir: &Path) -> Result<Option<bool>, Unusable> {
        read_summed::<Chosen>(state_dir, self.file, BYTES_MAX).map(|chosen| chosen.enabled)
    }

    /// Reads until that says something, at growing pauses.
    async fn patiently(
        &self,
        read: impl Fn() -> Result<Option<bool>, Unusable>,
    ) -> Result<Option<bool>, Unusable> {
        let mut pause = AGAIN;
        for _ in 1..READS {
            match read() {
                Err(Unusable::Unread(error)) => {
                    let (file, title) = (self.file, self.title);
                    tracing::warn!(file, title, error, "cannot read whether it is switched on: retrying");
                }
                settled => return settled,
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        read()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SWITCH: KeptSwitch = KeptSwitch { title: "the door", file: "door.json" };

    #[test]
    fn it_is_as_somebody_has_chosen_and_that_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("doorsrv");
        assert_eq!(SWITCH.kept(&state), Ok(None), "nobody has");
        for enabled in [false, true, false] {
            SWITCH.keep(&state, enabled).unwrap();
            assert_eq!(SWITCH.kept(&state), Ok(Some(enabled)));
        }
        assert_eq!(std::fs::read_dir(&state).unwrap().count(), 1, "what is whole is not kept aside");
        // As releases before wrote it, with a sum and without.
        std::fs::write(state.join(SWITCH.file), br#"{"enabled":true}"#).unwrap();
        assert_eq!(SWITCH.kept(&state), Ok(Some(true)));
    }

    #[test]
    fn what_is_damaged_is_told_apart_and_can_be_set_anew() {
        let dir = tempfile::tempdir().unwrap();
        SWITCH.keep(dir.path(), true).unwrap();
        let path = dir.path().join(SWITCH.file);
        let whole = std::fs::read(&path).unwrap();
        let is_damaged = || matches!(SWITCH.kept(dir.path()), Err(Unusable::Damaged(_)));
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &flipped).unwrap();
            assert!(is_damaged(), "bit {bit}");
        }
        for damage in [&b""[..], b"{}", br#"{"enabled":null}"#, br#"{"enabled":1}"#, &[b' '; BYTES_MAX + 1]] {
            std::fs::write(&path, damage).unwrap();
            assert!(is_damaged(), "{damage:?}");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(is_damaged(), "a folder in its place");
        SWITCH.keep(dir.path(), true).unwrap();
        assert_eq!(SWITCH.kept(dir.path()), Ok(Some(true)));
        // What was damaged is there still, for who can read it.
        std::fs::write(&path, b"{}").unwrap();
        SWITCH.keep(dir.path(), false).unwrap();
        assert_eq!(SWITCH.kept(dir.path()), Ok(Some(false)));
        let files = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let aside = files.filter(|file| *file != path && file.is_file());
        let aside: Vec<_> = aside.map(|file| std::fs::read(file).unwrap()).collect();
        assert_eq!(aside, [b"{}"]);
    }

    #[test]
    fn what_is_of_no_use_stays_where_nothing_else_can_be_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SWITCH.file);
        // What is in the way of the new content, and cannot be put aside any more.
        let new = format!("{}.new", SWITCH.file);
        std::fs::create_dir(dir.path().join(&new)).unwrap();
        std::fs::write(dir.path().join(format!("{new}.damaged")), "").unwrap();
        for number in 2..=8 {
            std::fs::write(dir.path().join(format!("{new}.{number}.damaged")), "").unwrap();
        }
        let is_damaged = || matches!(SWITCH.kept(dir.path()), Err(Unusable::Damaged(_)));
        std::fs::write(&path, [b' '; BYTES_MAX + 1]).unwrap();
        assert!(SWITCH.keep(dir.path(), true).is_err() && is_damaged(), "what is too long");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        assert!(SWITCH.keep(dir.path(), true).is_err() && is_damaged(), "a link");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(SWITCH.keep(dir.path(), true).is_err() && is_damaged(), "a folder");
        // Once there is a way, it is kept.
        std::fs::remove_dir(dir.path().join(&new)).unwrap();
        SWITCH.keep(dir.path(), true).unwrap();
        assert_eq!(SWITCH.kept(dir.path()), Ok(Some(true)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_system_does_not_give_is_read_again_and_is_not_taken_for_damaged() {
        let dir = tempfile::tempdir().unwrap();
        // A file in place of the folder: the system says so, and nothing of what is kept.
        let state = dir.path().join("doorsrv");
        std::fs::write(&state, "").unwrap();
        assert!(matches!(SWITCH.kept(&state), Err(Unusable::Unread(_))));
        let began = tokio::time::Instant::now();
        let said = SWITCH.read(&state).await.unwrap_err();
        assert!(
            said.starts_with("whether the door is switched on cannot be read: it is off until"),
            "{said}"
        );
        assert!((1400..1500).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());

        let times = &std::cell::Cell::new(0);
        let read = |given: u32, answer: Result<Option<bool>, Unusable>| {
            times.set(0);
            move || {
                times.set(times.get() + 1);
                if times.get() < given { Err(Unusable::Unread("EIO".to_owned())) } else { answer.clone() }
            }
        };
        let on = Ok(Some(true));
        assert_eq!((SWITCH.patiently(read(4, on.clone())).await, times.get()), (on, 4));
        let damaged = Err(Unusable::Damaged("its sum is wrong".to_owned()));
        assert_eq!((SWITCH.patiently(read(1, damaged.clone())).await, times.get()), (damaged, 1));
    }
}
