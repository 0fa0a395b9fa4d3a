//! What outlives this daemon, on the medium: the profile, and the zones whose emergency nobody has cleared.

use std::io;
use std::path::Path;

use service::{ErrorChain, Folder};
use thermal::Profile;

pub(crate) const PROFILE: &str = "profile";
/// No word is longer.
const PROFILE_MAX: usize = 64;
/// How many zones, and then a line for each: a file that was cut does not count as none.
pub(crate) const EMERGENCIES: &str = "emergencies";
/// More than all zones a board may have.
const EMERGENCIES_MAX: usize = 4_096;
const MODE: u32 = 0o600;

/// The word for a profile.
pub(crate) fn word(profile: Profile) -> &'static str {
    match profile {
        Profile::Quiet => "quiet",
        Profile::Balanced => "balanced",
        Profile::Performance => "performance",
    }
}

/// What a file holds, `None` without one; the error is for people.
fn read(dir: &Path, name: &str, max: usize) -> Result<Option<String>, String> {
    match Folder::open(dir).and_then(|folder| folder.read(name, max)) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("it cannot be read: {}", ErrorChain(&error))),
    }
}

fn keep(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    Folder::create(dir)?.replace_durably(name, text.as_bytes(), MODE)
}

/// The profile that was kept, and what is wrong with its file, for people. What cannot be read counts as the default: noise and heat are
/// both in bounds then.
pub(crate) fn profile(dir: &Path) -> (Profile, Option<String>) {
    let found = read(dir, PROFILE, PROFILE_MAX).and_then(|text| {
        let Some(text) = text else { return Ok(Profile::default()) };
        let found = Profile::ALL.into_iter().find(|profile| word(*profile) == text.trim());
        found.ok_or_else(|| "it is damaged".to_owned())
    });
    match found {
        Ok(profile) => (profile, None),
        Err(what) => {
            let what = format!("{what}; the fans run by the profile {}", word(Profile::default()));
            tracing::warn!(what, "saved profile unusable: using the default");
            (Profile::default(), Some(what))
        }
    }
}

/// Keeps the profile: when this returns it is on the medium. Waits for that.
pub(crate) fn keep_profile(dir: &Path, profile: Profile) -> io::Result<()> {
    keep(dir, PROFILE, &format!("{}\n", word(profile)))
}

/// The zones of the board whose emergency was latched, and what is wrong with their file, for people. What cannot be read counts as all
/// of them: their fans run at full speed until somebody has looked (I-3).
pub(crate) fn emergencies(dir: &Path, zones: &[String]) -> (Vec<String>, Option<String>) {
    let found = read(dir, EMERGENCIES, EMERGENCIES_MAX).and_then(|text| {
        let Some(text) = text else { return Ok(Vec::new()) };
        let mut lines = text.lines();
        let count = lines.next().and_then(|line| line.parse::<usize>().ok());
        let names: Vec<&str> = lines.collect();
        if count != Some(names.len()) || !text.ends_with('\n') {
            return Err("it is damaged".to_owned());
        }
        Ok(zones.iter().filter(|zone| names.contains(&zone.as_str())).cloned().collect())
    });
    match found {
        Ok(latched) => (latched, None),
        Err(what) => {
            let what = format!(
                "{what}; the emergency of every zone counts as latched, and its fans run at full speed"
            );
            tracing::error!(what, "saved emergencies unusable: all zones count as latched");
            (zones.to_vec(), Some(what))
        }
    }
}

/// Keeps the zones whose emergency is latched: when this returns they are on the medium. Waits for that.
pub(crate) fn keep_emergencies(dir: &Path, zones: &[String]) -> io::Result<()> {
    let lines: String = zones.iter().map(|zone| format!("{zone}\n")).collect();
    keep(dir, EMERGENCIES, &format!("{}\n{lines}", zones.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_that_was_kept_is_read_and_what_is_damaged_is_the_default() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("thermalmgr");
        assert_eq!(profile(&state), (Profile::Balanced, None));
        for wanted in Profile::ALL {
            keep_profile(&state, wanted).unwrap();
            assert_eq!(profile(&state), (wanted, None));
        }
        for damaged in [&[0xff, 0, 7][..], b"", &[b'x'; 100]] {
            std::fs::write(state.join(PROFILE), damaged).unwrap();
            let (profile, what) = profile(&state);
            assert_eq!(profile, Profile::Balanced);
            assert!(what.is_some_and(|what| what.ends_with("; the fans run by the profile balanced")));
        }
    }

    #[test]
    fn emergencies_that_were_kept_are_read_and_what_is_damaged_counts_as_all() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("thermalmgr");
        let zones = ["cpu", "air", "drives"].map(str::to_owned);
        assert_eq!(emergencies(&state, &zones), (Vec::new(), None));
        for wanted in [&zones[..], &zones[1..2], &[]] {
            keep_emergencies(&state, wanted).unwrap();
            assert_eq!(emergencies(&state, &zones), (wanted.to_vec(), None));
        }
        // A zone that the board no longer has needs nobody.
        keep_emergencies(&state, &["gone".to_owned(), "air".to_owned()]).unwrap();
        assert_eq!(emergencies(&state, &zones), (zones[1..2].to_vec(), None));
        let large = "9".repeat(EMERGENCIES_MAX + 1);
        for damaged in ["", "1\n", "2\ncpu\n", "1\ncpu", "\0\0", "cpu\n", "-1\n", "1\ncpu\nair\n", &large] {
            std::fs::write(state.join(EMERGENCIES), damaged).unwrap();
            let (latched, what) = emergencies(&state, &zones);
            assert_eq!(latched, zones, "{damaged:?}");
            assert!(what.is_some_and(|what| what.ends_with(
                "; the emergency of every zone counts as latched, and its fans run at full speed"
            )));
        }
    }
}
