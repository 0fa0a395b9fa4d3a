//! What was set of the policy by request, kept in the daemon's own folder of the state directory, with a sum (`service::from_summed`).

use std::io;
use std::path::Path;

use service::{ErrorChain, Folder, from_summed, to_summed};

use crate::machine::Chosen;

/// The file.
pub(crate) const FILE: &str = "policy.json";
/// The longest one that is read, bytes.
const MAX: usize = 4096;

/// What was set; nothing where there is no file.
///
/// # Errors
/// What is wrong with the file, for people.
pub(crate) fn load(folder: &Path) -> Result<Chosen, String> {
    match Folder::open(folder).and_then(|folder| folder.read(FILE, MAX)) {
        Ok(bytes) => from_summed(&bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Chosen::default()),
        Err(error) => Err(format!("it cannot be read: {}", ErrorChain(&error))),
    }
}

/// Replaces it: when this returns, it is on the medium. Waits for that.
///
/// # Errors
/// What the system says; what was there before is there still.
pub(crate) fn save(folder: &Path, chosen: &Chosen) -> io::Result<()> {
    Folder::create(folder)?.replace_decidedly(FILE, &to_summed(chosen)?, 0o600)
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
        save(folder.path(), &chosen).unwrap();
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
        save(folder.path(), &chosen).unwrap();
        assert_eq!(serde_json::from_slice::<Chosen>(&std::fs::read(&path).unwrap()).unwrap(), chosen);
        let newer = serde_json::json!({ "lockout_threshold": 3, "newer": 1 });
        std::fs::write(&path, to_summed(&newer).unwrap()).unwrap();
        assert_eq!(load(folder.path()), Ok(chosen), "as a newer release left it");
    }
}
