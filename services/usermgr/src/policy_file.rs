//! What was set of the policy by request, kept in the daemon's own folder of the state directory.

use std::io;
use std::path::Path;

use service::{ErrorChain, Folder};

use crate::machine::Chosen;

/// The file.
pub(crate) const FILE: &str = "policy.json";
/// The longest one that is read, bytes.
const MAX: usize = 4096;

/// What was set; nothing where there is no file.
///
/// # Errors
/// What is wrong with the file, for people: what is configured holds then.
pub(crate) fn load(folder: &Path) -> Result<Chosen, String> {
    match Folder::open(folder).and_then(|folder| folder.read(FILE, MAX)) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| format!("it is damaged: {error}")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Chosen::default()),
        Err(error) => Err(format!("it cannot be read: {}", ErrorChain(&error))),
    }
}

/// Replaces it: when this returns, it is on the medium. Waits for that.
///
/// # Errors
/// What the system says; what was there before is there still.
pub(crate) fn save(folder: &Path, chosen: &Chosen) -> io::Result<()> {
    Folder::create(folder)?.replace_decidedly(FILE, &serde_json::to_vec(chosen)?, 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded_and_what_is_damaged_is_told() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(load(folder.path()), Ok(Chosen::default()));
        let chosen = Chosen { lockout_threshold: Some(3), ..Chosen::default() };
        save(folder.path(), &chosen).unwrap();
        assert_eq!(load(folder.path()), Ok(chosen));
        std::fs::write(folder.path().join(FILE), "{\"lockout_threshold\": 3, \"newer\": 1}").unwrap();
        assert_eq!(load(folder.path()), Ok(chosen), "as a newer release left it");
        for bytes in ["", "{", "{\"lockout_threshold\": \"3\"}", "7"] {
            std::fs::write(folder.path().join(FILE), bytes).unwrap();
            assert!(load(folder.path()).is_err(), "{bytes}");
        }
    }
}
