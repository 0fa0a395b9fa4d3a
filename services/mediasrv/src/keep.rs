//! What is in the drives, kept over restarts of the daemon: one JSON document, in which each medium has a CRC-32. Without a sum another bit may be another
//! server, which would get the password of the one that was meant. The sum is a field of the medium, which releases before it skip: after a downgrade they read
//! the file, and what they write, without sums or with one of the whole, is read here.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use media::Medium;
use serde_json::{Map, Value};
use service::Folder;

/// The file. Its media may name passwords of servers: it is this user's alone.
const FILE: &str = "slots.json";
/// More than sixteen drives need.
const BYTES_MAX: usize = 256 * 1024;
/// What was in the drives, by their names.
pub(crate) type Media = BTreeMap<String, Medium>;

/// Reads what was kept. A medium that is damaged is left out, and said why; of a document that is none nothing is left. What is no file is put aside, as nothing
/// could be kept in its place.
pub(crate) fn kept(state_dir: &Path) -> (Media, Option<String>) {
    let read = Folder::open(state_dir).and_then(|folder| match folder.read(FILE, BYTES_MAX) {
        Ok(bytes) => Ok(parse(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            let became = match folder.make_way_for_file(FILE) {
                Ok(true) => "; put aside".to_owned(),
                Ok(false) => String::new(),
                Err(error) => format!("; cannot be put aside: {error}"),
            };
            Ok((Media::new(), Some(format!("{error}{became}"))))
        }
        Err(error) => Err(error),
    });
    match read {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => (Media::new(), None),
        Err(error) => (Media::new(), Some(error.to_string())),
    }
}

fn parse(bytes: &[u8]) -> (Media, Option<String>) {
    let written: BTreeMap<String, Map<String, Value>> = match serde_json::from_slice(bytes) {
        Ok(written) => written,
        Err(error) => match summed_line(bytes) {
            Some(media) => return (media, None),
            None => return (Media::new(), Some(error.to_string())),
        },
    };
    let (count, mut media, mut damage) = (written.len(), Media::new(), Vec::new());
    for (drive, fields) in written {
        match service::open_sealed(fields, bound(&drive, count)) {
            Ok(medium) => {
                media.insert(drive, medium);
            }
            Err(why) => damage.push(format!("{drive:?}: {why}")),
        }
    }
    (media, Some(damage.join("; ")).filter(|damage| !damage.is_empty()))
}

/// What the first release that wrote a sum has written: a line of JSON, and a line with the CRC-32 of that. `None` where it is anything else.
fn summed_line(bytes: &[u8]) -> Option<Media> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (json, rest) = bytes.split_at(end);
    if rest != format!("\n{:08x}\n", crc32fast::hash(json)).as_bytes() {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// What the sum of a medium is of: it is bound to its drive, and to how many there are, as a drive whose name was turned into that of another one takes its
/// place.
fn bound(drive: &str, count: usize) -> impl FnOnce(&Map<String, Value>) -> serde_json::Result<Vec<u8>> {
    move |fields| serde_json::to_vec(&(drive, count, fields))
}

/// Keeps them; they are on the medium when it returns.
///
/// # Errors
/// What the system says; what was kept before is still there.
pub(crate) fn keep(state_dir: &Path, media: &Media) -> io::Result<()> {
    let mut written = BTreeMap::new();
    for (drive, medium) in media {
        written.insert(drive, service::seal(medium, bound(drive, media.len()))?);
    }
    Folder::create(state_dir)?.replace_durably(FILE, &serde_json::to_vec(&written)?, 0o600)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use media::Source;

    use super::*;

    fn medium_of(source: Source) -> Medium {
        Medium {
            source,
            name: "a.iso".to_owned(),
            is_read_only: true,
            account: "ann".to_owned(),
            inserted_ms: 5,
            size: 2048,
            validator: Some("\"one\"".to_owned()),
        }
    }

    fn two() -> Media {
        let source = Source::Url {
            url: "https://images.example/a.iso".to_owned(),
            verify: true,
            username: "ann".to_owned(),
            password: "secret".to_owned(),
        };
        Media::from([("cd0".to_owned(), medium_of(Source::Store)), ("cd1".to_owned(), medium_of(source))])
    }

    #[test]
    fn what_is_kept_is_found_again_and_what_is_damaged_is_not_guessed_at() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(kept(dir.path()), (Media::new(), None));
        let media = Media::from([("cd".to_owned(), medium_of(Source::Store))]);
        keep(dir.path(), &media).unwrap();
        assert_eq!(kept(dir.path()), (media.clone(), None));
        let path = dir.path().join(FILE);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let (found, why) = parse(&flipped);
            assert!(found.is_empty() && why.is_some(), "bit {bit}");
        }
        for length in 0..whole.len() {
            let (found, why) = parse(&whole[..length]);
            assert!(found.is_empty() && why.is_some(), "{length}");
        }
        // In place of a folder nothing could be kept for good.
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(kept(dir.path()), (Media::new(), Some("it is no file; put aside".to_owned())));
        keep(dir.path(), &media).unwrap();
        assert_eq!(kept(dir.path()), (media, None));
    }

    #[test]
    fn a_turned_bit_costs_the_medium_it_is_in_and_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let media = two();
        keep(dir.path(), &media).unwrap();
        let whole = std::fs::read(dir.path().join(FILE)).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let (found, why) = parse(&flipped);
            assert!(found.len() < 2 && why.is_some(), "bit {bit}");
            assert!(found.iter().all(|(drive, medium)| media[drive] == *medium), "bit {bit}");
        }
        // The other one stays.
        let text = String::from_utf8(whole).unwrap();
        let (found, why) = parse(text.replace("images.example", "images.exbmple").as_bytes());
        assert_eq!(found.keys().collect::<Vec<_>>(), ["cd0"]);
        assert_eq!(why.unwrap(), "\"cd1\": its sum is wrong");
        // One for the other.
        let swapped = text.replace("cd0", "cdx").replace("cd1", "cd0").replace("cdx", "cd1");
        assert_eq!(parse(swapped.as_bytes()).0, Media::new());
        assert_eq!(parse(text.replace("cd0", "cd1").as_bytes()).0, Media::new(), "two of one name");
        assert_eq!(parse(text.replace("\"sum\"", "\"rum\"").as_bytes()).0, Media::new());
    }

    #[test]
    fn a_line_of_json_with_a_line_of_its_sum_is_read_whole_or_not_at_all() {
        let media = two();
        let json = serde_json::to_vec(&media).unwrap();
        let sum = format!("\n{:08x}\n", crc32fast::hash(&json));
        let whole = [json.as_slice(), sum.as_bytes()].concat();
        assert_eq!(parse(&whole), (media, None));
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let (found, why) = parse(&flipped);
            assert!(found.is_empty() && why.is_some(), "bit {bit}");
        }
        // With the line of JSON alone it is as releases wrote it that had no sum.
        for length in (0..json.len()).chain(json.len() + 2..whole.len()) {
            let (found, why) = parse(&whole[..length]);
            assert!(found.is_empty() && why.is_some(), "{length}");
        }
    }

    #[test]
    fn the_release_before_reads_what_is_written_and_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let media = two();
        keep(dir.path(), &media).unwrap();
        let path = dir.path().join(FILE);
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(String::from_utf8_lossy(&whole).matches("\"sum\":").count(), 2);
        // As it parses, and as it writes.
        assert_eq!(serde_json::from_slice::<BTreeMap<String, Medium>>(&whole).unwrap(), media);
        std::fs::write(&path, serde_json::to_vec(&media).unwrap()).unwrap();
        assert_eq!(kept(dir.path()), (media, None));
        assert_eq!(parse(b"{}"), (Media::new(), None));
        // A release to come may write more, under its sum.
        let mut more = serde_json::to_value(medium_of(Source::Store)).unwrap();
        more["later"] = Value::Bool(true);
        let more = service::seal(&more, bound("cd", 1)).unwrap();
        let bytes = serde_json::to_vec(&BTreeMap::from([("cd", more)])).unwrap();
        assert_eq!(parse(&bytes), (Media::from([("cd".to_owned(), medium_of(Source::Store))]), None));
    }
}
