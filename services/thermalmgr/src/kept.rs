//! What outlives this daemon, on the medium: the profile, and the zones whose emergency nobody has cleared.

use std::io;
use std::path::Path;

use service::{ErrorChain, Folder};
use thermal::Profile;

const PROFILE: &str = "profile";
/// No word is longer.
const PROFILE_MAX: usize = 64;
/// How many zones, and then a line for each: a file that was cut does not count as none.
const EMERGENCIES: &str = "emergencies";
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

fn read(dir: &Path, name: &str, max: usize) -> io::Result<Option<String>> {
    match Folder::open(dir).and_then(|folder| folder.read(name, max)) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn keep(dir: &Path, name: &str, text: &str) -> io::Result<()> {
    Folder::create(dir)?.replace_durably(name, text.as_bytes(), MODE)
}

/// The profile that was kept. What cannot be read counts as the default: noise and heat are both in bounds then.
pub(crate) fn profile(dir: &Path) -> Profile {
    let text = match read(dir, PROFILE, PROFILE_MAX) {
        Ok(Some(text)) => text,
        Ok(None) => return Profile::default(),
        Err(error) => {
            tracing::warn!(error = %ErrorChain(&error), "cannot read saved profile: using the default");
            return Profile::default();
        }
    };
    let found = Profile::ALL.into_iter().find(|profile| word(*profile) == text.trim());
    found.unwrap_or_else(|| {
        tracing::warn!("saved profile corrupt: using the default");
        Profile::default()
    })
}

/// Keeps the profile: when this returns it is on the medium. Waits for that.
pub(crate) fn keep_profile(dir: &Path, profile: Profile) -> io::Result<()> {
    keep(dir, PROFILE, &format!("{}\n", word(profile)))
}

/// The zones of the board whose emergency was latched. What cannot be read counts as all of them: their fans run at full speed until
/// somebody has looked (I-3).
pub(crate) fn emergencies(dir: &Path, zones: &[String]) -> Vec<String> {
    let found = read(dir, EMERGENCIES, EMERGENCIES_MAX).and_then(|text| {
        let Some(text) = text else { return Ok(Vec::new()) };
        let mut lines = text.lines();
        let count = lines.next().and_then(|line| line.parse::<usize>().ok());
        let names: Vec<&str> = lines.collect();
        if count != Some(names.len()) || !text.ends_with('\n') {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is damaged"));
        }
        Ok(zones.iter().filter(|zone| names.contains(&zone.as_str())).cloned().collect())
    });
    found.unwrap_or_else(|error| {
        tracing::error!(error = %ErrorChain(&error), "cannot read saved emergencies: all zones count as latched");
        zones.to_vec()
    })
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
        assert_eq!(profile(&state), Profile::Balanced);
        for wanted in Profile::ALL {
            keep_profile(&state, wanted).unwrap();
            assert_eq!(profile(&state), wanted);
        }
        std::fs::write(state.join(PROFILE), [0xff, 0, 7]).unwrap();
        assert_eq!(profile(&state), Profile::Balanced);
    }

    #[test]
    fn emergencies_that_were_kept_are_read_and_what_is_damaged_counts_as_all() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("thermalmgr");
        let zones = ["cpu", "air", "drives"].map(str::to_owned);
        assert_eq!(emergencies(&state, &zones), Vec::<String>::new());
        for wanted in [&zones[..], &zones[1..2], &[]] {
            keep_emergencies(&state, wanted).unwrap();
            assert_eq!(emergencies(&state, &zones), wanted);
        }
        // A zone that the board no longer has needs nobody.
        keep_emergencies(&state, &["gone".to_owned(), "air".to_owned()]).unwrap();
        assert_eq!(emergencies(&state, &zones), zones[1..2]);
        for damaged in ["", "1\n", "2\ncpu\n", "1\ncpu", "\0\0", "cpu\n", "-1\n", "1\ncpu\nair\n"] {
            std::fs::write(state.join(EMERGENCIES), damaged).unwrap();
            assert_eq!(emergencies(&state, &zones), zones, "{damaged:?}");
        }
        std::fs::write(state.join(EMERGENCIES), vec![b'9'; EMERGENCIES_MAX + 1]).unwrap();
        assert_eq!(emergencies(&state, &zones), zones);
    }
}
