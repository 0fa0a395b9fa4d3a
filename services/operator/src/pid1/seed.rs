//! The random seed: what one run leaves for the next, so that keys made at the start cannot be guessed.

use std::io;
use std::path::Path;

use service::Folder;

/// Bytes of a seed: what the kernel's pool holds (256 bits), twice.
const LENGTH: usize = 64;

/// What became of the seed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// One was there and is used up.
    Used,
    /// None was there: the first start, or a lost file.
    None,
}

/// Feeds the seed to the kernel by `credit` and puts a new one in its place first: a seed must never be used twice, and a
/// new one that is stored before the old one is used makes that so whenever power is lost. `fresh` is told whether to wait until the
/// kernel calls its randomness good: with an old seed mixed in, the new one is as good as that, and waiting would cost a second.
///
/// # Errors
///
/// When the new seed cannot be stored; then the old one is fed without being trusted.
pub(crate) fn exchange(
    file: &Path,
    fresh: impl FnOnce(&mut [u8], bool) -> io::Result<()>,
    credit: impl Fn(&[u8], bool) -> io::Result<()>,
) -> io::Result<Outcome> {
    let old = match service::read_path(file, LENGTH) {
        Ok(old) if old.len() == LENGTH => Some(old),
        _ => None,
    };
    // The kernel mixes the old seed in before it makes the new one, so the new one is as good as both.
    if let Some(old) = &old {
        credit(old, false)?;
    }
    let mut seed = [0u8; LENGTH];
    fresh(&mut seed, old.is_none())?;
    store(file, &seed)?;
    match old {
        Some(old) => credit(&old, true).map(|()| Outcome::Used),
        None => Ok(Outcome::None),
    }
}

fn store(file: &Path, seed: &[u8]) -> io::Result<()> {
    let directory = file.parent().unwrap_or(Path::new("."));
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    Folder::open(directory)?.replace_durably(&name, seed, 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::fs;

    #[test]
    fn a_seed_is_replaced_before_it_is_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("seed");
        let said = RefCell::new(Vec::new());
        let turn = |byte: u8| {
            exchange(
                &file,
                |seed, wait| {
                    seed.fill(byte);
                    assert_eq!(wait, byte != 2, "only the second turn has an old one");
                    Ok(())
                },
                |seed, trusted| {
                    let stored = fs::read(&file).unwrap();
                    said.borrow_mut().push((seed[0], trusted, stored[0]));
                    Ok(())
                },
            )
            .unwrap()
        };
        assert_eq!(turn(1), Outcome::None);
        assert_eq!(turn(2), Outcome::Used);
        assert_eq!(*said.borrow(), [(1, false, 1), (1, true, 2)]);
        fs::write(&file, "short").unwrap();
        assert_eq!(turn(3), Outcome::None);
        assert_eq!(fs::read(&file).unwrap(), [3; LENGTH]);
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert_eq!(turn(4), Outcome::None);
        assert_eq!(fs::read(&file).unwrap(), [4; LENGTH], "a folder in its place is put aside");
    }

    #[test]
    fn a_seed_that_cannot_be_replaced_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("seed");
        fs::write(&file, [7; LENGTH]).unwrap();
        let trusted = RefCell::new(false);
        let result = exchange(
            &file,
            |_, _| Err(io::Error::other("no randomness")),
            |_, credited| {
                *trusted.borrow_mut() |= credited;
                Ok(())
            },
        );
        assert!(result.is_err() && !*trusted.borrow());
    }
}
