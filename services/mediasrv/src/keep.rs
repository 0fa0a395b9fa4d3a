//! What is in the drives, kept over restarts of the daemon.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use media::Medium;
use service::Folder;

/// The file. Its media may name passwords of servers: it is this user's alone.
const FILE: &str = "slots.json";
/// More than sixteen drives need.
const BYTES_MAX: usize = 256 * 1024;

/// What was in the drives, by their names.
pub(crate) type Media = BTreeMap<String, Medium>;

/// Reads what was kept. What cannot be read is nothing, and said why.
pub(crate) fn kept(state_dir: &Path) -> (Media, Option<String>) {
    let read = || -> io::Result<Media> {
        let bytes = Folder::open(state_dir)?.read(FILE, BYTES_MAX)?;
        Ok(serde_json::from_slice(&bytes)?)
    };
    match read() {
        Ok(media) => (media, None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (Media::new(), None),
        Err(error) => (Media::new(), Some(error.to_string())),
    }
}

/// Keeps them; they are on the medium when it returns.
///
/// # Errors
/// What the system says; what was kept before is still there.
pub(crate) fn keep(state_dir: &Path, media: &Media) -> io::Result<()> {
    Folder::create(state_dir)?.replace_durably(FILE, &serde_json::to_vec(media)?, 0o600)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use media::Source;

    use super::*;

    #[test]
    fn what_is_kept_is_found_again_and_what_is_damaged_is_not_guessed_at() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(kept(dir.path()), (Media::new(), None));
        let medium = Medium {
            source: Source::Store,
            name: "a.iso".to_owned(),
            is_read_only: true,
            account: "ann".to_owned(),
            inserted_ms: 5,
            size: 2048,
            validator: Some("\"one\"".to_owned()),
        };
        let media = Media::from([("cd".to_owned(), medium)]);
        keep(dir.path(), &media).unwrap();
        assert_eq!(kept(dir.path()), (media, None));
        let mode = std::fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(dir.path().join(FILE), b"{\"cd\":").unwrap();
        let (media, why) = kept(dir.path());
        assert!(media.is_empty() && why.is_some());
    }
}
