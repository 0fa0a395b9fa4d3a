//! The profile, on the medium.

use std::io;
use std::path::Path;

use service::Folder;
use thermal::Profile;

const FILE: &str = "profile";
/// No word is longer.
const FILE_MAX: usize = 64;
const MODE: u32 = 0o600;

/// The word for a profile.
pub(crate) fn word(profile: Profile) -> &'static str {
    match profile {
        Profile::Quiet => "quiet",
        Profile::Balanced => "balanced",
        Profile::Performance => "performance",
    }
}

/// What was kept. What cannot be read counts as the default: noise and heat are both in bounds then.
pub(crate) fn read(dir: &Path) -> Profile {
    let bytes = match Folder::open(dir).and_then(|folder| folder.read(FILE, FILE_MAX)) {
        Ok(bytes) => bytes,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(%error, "cannot read saved profile: using the default");
            }
            return Profile::default();
        }
    };
    let text = String::from_utf8_lossy(&bytes);
    let found = Profile::ALL.into_iter().find(|profile| word(*profile) == text.trim());
    found.unwrap_or_else(|| {
        tracing::warn!("saved profile corrupt: using the default");
        Profile::default()
    })
}

/// Keeps it: when this returns it is on the medium. Waits for that.
pub(crate) fn keep(dir: &Path, profile: Profile) -> io::Result<()> {
    Folder::create(dir)?.replace_durably(FILE, format!("{}\n", word(profile)).as_bytes(), MODE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_read_and_what_is_damaged_is_the_default() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("thermalmgr");
        assert_eq!(read(&state), Profile::Balanced);
        for profile in Profile::ALL {
            keep(&state, profile).unwrap();
            assert_eq!(read(&state), profile);
        }
        std::fs::write(state.join(FILE), [0xff, 0, 7]).unwrap();
        assert_eq!(read(&state), Profile::Balanced);
    }
}
