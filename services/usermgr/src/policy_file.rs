//! What was set of the policy by request, kept in the daemon's own folder of the state directory, with a sum (`service::from_summed`).

use std::io;
use std::path::Path;

use service::{Folder, Unusable, read_summed, to_summed};

use crate::config::{Config, Limits};
use crate::machine::Chosen;

/// The file.
pub(crate) const FILE: &str = "policy.json";
/// The longest one that is read, bytes.
const MAX: usize = 4096;

/// What is to be done before the file is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// Nothing: what it says counts.
    Nothing,
    /// It says nothing that could count: it is kept aside.
    KeepAside,
    /// It was not given when it was asked for, and may say something: it is read.
    Read,
}

impl From<&Unusable> for Before {
    fn from(unusable: &Unusable) -> Self {
        match unusable {
            Unusable::Damaged(_) => Self::KeepAside,
            Unusable::Unread(_) => Self::Read,
        }
    }
}

/// What became of what was to be saved.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Saved {
    /// It is on the medium.
    Stored,
    /// It is not: what is in the file can be read by now, and counts.
    Found(Chosen),
    /// It is not: whether the file says something is not known still, for this reason.
    Unread(String),
}

/// What was set, and the limits with it; nothing where there is no file.
///
/// # Errors
/// What is wrong with the file. One that does not fit the configuration counts as damaged.
pub(crate) fn load(folder: &Path, config: &Config) -> Result<(Chosen, Limits), Unusable> {
    let chosen: Chosen = read_summed(folder, FILE, MAX)?;
    chosen.limits(config).map(|limits| (chosen, limits)).map_err(Unusable::Damaged)
}

/// Replaces it: when this returns that it is stored, it is on the medium. Waits for that.
///
/// # Errors
/// What the system says; what was there before is there still.
pub(crate) fn save(folder: &Path, chosen: &Chosen, mut before: Before, config: &Config) -> io::Result<Saved> {
    if before == Before::Read {
        match load(folder, config) {
            Ok((found, _)) => return Ok(Saved::Found(found)),
            Err(Unusable::Unread(what)) => return Ok(Saved::Unread(what)),
            Err(Unusable::Damaged(_)) => before = Before::KeepAside,
        }
    }
    let bytes = to_summed(chosen)?;
    let folder = Folder::create(folder)?;
    if before == Before::KeepAside {
        folder.keep_aside(FILE, MAX)?;
    }
    folder.replace_decidedly(FILE, &bytes, 0o600)?;
    Ok(Saved::Stored)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(folder: &Path) -> Result<Chosen, Unusable> {
        super::load(folder, &Config::default()).map(|(chosen, _)| chosen)
    }

    fn save(folder: &Path, chosen: &Chosen, before: Before) -> Saved {
        super::save(folder, chosen, before, &Config::default()).unwrap()
    }

    #[test]
    fn what_is_saved_is_loaded_and_what_is_damaged_is_told() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load(folder.path()), Ok(Chosen::default()));
        let chosen = Chosen { lockout_threshold: Some(3), ..Chosen::default() };
        assert_eq!(save(folder.path(), &chosen, Before::Nothing), Saved::Stored);
        assert_eq!(load(folder.path()), Ok(chosen));
        let path = folder.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut turned = whole.clone();
            turned[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &turned).unwrap();
            assert!(load(folder.path()).is_err(), "bit {bit}");
        }
        for bytes in ["", "{", "{\"lockout_threshold\": \"3\"}", "7", "{\"lockout_treshold\": 3}"] {
            std::fs::write(&path, bytes).unwrap();
            assert!(load(folder.path()).is_err(), "{bytes}");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(load(folder.path()).is_err(), "a folder in its place");
        assert_eq!(save(folder.path(), &chosen, Before::Nothing), Saved::Stored);
        assert_eq!(load(folder.path()), Ok(chosen));
    }

    #[test]
    fn releases_before_and_after_are_read_and_the_one_before_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let chosen = Chosen { lockout_threshold: Some(3), ..Chosen::default() };
        // As the release before wrote it, which knew no sum and skips it.
        std::fs::write(&path, serde_json::to_vec(&chosen).unwrap()).unwrap();
        assert_eq!(load(folder.path()), Ok(chosen));
        assert_eq!(save(folder.path(), &chosen, Before::Nothing), Saved::Stored);
        assert_eq!(serde_json::from_slice::<Chosen>(&std::fs::read(&path).unwrap()).unwrap(), chosen);
        let newer = serde_json::json!({ "lockout_threshold": 3, "newer": 1 });
        std::fs::write(&path, to_summed(&newer).unwrap()).unwrap();
        assert_eq!(load(folder.path()), Ok(chosen), "as a newer release left it");
    }

    #[test]
    fn what_is_damaged_is_kept_aside_before_the_first_save_and_once() {
        use std::os::unix::fs::PermissionsExt as _;

        let folder = tempfile::tempdir().unwrap();
        let at = |file: &str| folder.path().join(file);
        let chosen = Chosen { lockout_threshold: Some(3), ..Chosen::default() };
        // Also what does not fit the configuration: no password is that long.
        let unfit = to_summed(&Chosen { min_password_length: Some(u32::MAX), ..chosen }).unwrap();
        for (aside, damaged) in [("policy.json.damaged", b"{".to_vec()), ("policy.json.2.damaged", unfit)] {
            std::fs::write(at(FILE), &damaged).unwrap();
            let unusable = load(folder.path()).unwrap_err();
            assert_eq!(Before::from(&unusable), Before::KeepAside, "{unusable}");
            assert_eq!(save(folder.path(), &chosen, Before::KeepAside), Saved::Stored);
            assert_eq!(std::fs::read(at(aside)).unwrap(), damaged);
            let mode = std::fs::metadata(at(aside)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            assert_eq!(load(folder.path()), Ok(chosen));
            assert_eq!(save(folder.path(), &chosen, Before::Nothing), Saved::Stored);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3, "the file and what was put aside");
    }

    #[test]
    fn what_cannot_be_read_is_not_replaced_before_it_is() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("usermgr");
        // No folder: so it is not given whoever runs this, as by a medium that fails.
        std::fs::write(&folder, "").unwrap();
        let chosen = Chosen { lockout_threshold: Some(3), ..Chosen::default() };
        let unusable = load(&folder).unwrap_err();
        assert_eq!(Before::from(&unusable), Before::Read, "{unusable}");
        assert!(matches!(save(&folder, &chosen, Before::Read), Saved::Unread(_)));
        // It comes back, with what was set before: that is found, and stays.
        std::fs::remove_file(&folder).unwrap();
        let before = Chosen { password_history: Some(4), ..Chosen::default() };
        assert_eq!(save(&folder, &before, Before::Nothing), Saved::Stored);
        assert_eq!(save(&folder, &chosen, Before::Read), Saved::Found(before));
        assert_eq!(load(&folder), Ok(before));
        // Or damaged: that is kept aside.
        std::fs::write(folder.join(FILE), "{").unwrap();
        assert_eq!(save(&folder, &chosen, Before::Read), Saved::Stored);
        assert_eq!(std::fs::read(folder.join("policy.json.damaged")).unwrap(), b"{");
        assert_eq!(load(&folder), Ok(chosen));
    }
}
