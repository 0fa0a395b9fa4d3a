//! What is in the drives, kept over restarts of the daemon: a line of JSON, and a line with its CRC-32. Without a sum another bit may be another server, which
//! would get the password of the one that was meant.

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

/// Reads what was kept. What cannot be read is nothing, and said why; what is no file is put aside, as nothing could be kept in its place.
pub(crate) fn kept(state_dir: &Path) -> (Media, Option<String>) {
    let read = Folder::open(state_dir).and_then(|folder| match folder.read(FILE, BYTES_MAX) {
        Ok(bytes) => Ok(parse(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            let became = match folder.make_way_for_file(FILE) {
                Ok(true) => "; put aside".to_owned(),
                Ok(false) => String::new(),
                Err(error) => format!("; cannot be put aside: {error}"),
            };
            Ok(Err(format!("{error}{became}")))
        }
        Err(error) => Err(error),
    });
    match read {
        Ok(Ok(media)) => (media, None),
        Ok(Err(what)) => (Media::new(), Some(what)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (Media::new(), None),
        Err(error) => (Media::new(), Some(error.to_string())),
    }
}

fn parse(bytes: &[u8]) -> Result<Media, String> {
    let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
    let json = lines.next().unwrap_or_default();
    // Older releases wrote none.
    if let Some(written) = lines.next()
        && written != sum(json).as_bytes()
    {
        return Err("its sum is wrong".to_owned());
    }
    serde_json::from_slice(json).map_err(|error| error.to_string())
}

/// The line after the JSON, which has no line's end within.
fn sum(json: &[u8]) -> String {
    format!("{:08x}\n", crc32fast::hash(json))
}

/// Keeps them; they are on the medium when it returns.
///
/// # Errors
/// What the system says; what was kept before is still there.
pub(crate) fn keep(state_dir: &Path, media: &Media) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(media)?;
    let sum = sum(&bytes);
    bytes.push(b'\n');
    bytes.extend(sum.into_bytes());
    Folder::create(state_dir)?.replace_durably(FILE, &bytes, 0o600)
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
        assert_eq!(kept(dir.path()), (media.clone(), None));
        let mode = std::fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let path = dir.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, flipped).unwrap();
            let (found, why) = kept(dir.path());
            assert!(found.is_empty() && why.is_some(), "bit {bit}");
        }
        let json = whole.iter().position(|byte| *byte == b'\n').unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let (found, why) = kept(dir.path());
            // Without the line of the sum it is as an older release wrote it.
            let is_old = length == json;
            assert_eq!(
                (found == media, found.is_empty(), why.is_none()),
                (is_old, !is_old, is_old),
                "{length}"
            );
        }
        // In place of a folder nothing could be kept for good.
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(kept(dir.path()), (Media::new(), Some("it is no file; put aside".to_owned())));
        keep(dir.path(), &media).unwrap();
        assert_eq!(kept(dir.path()), (media, None));
    }
}
