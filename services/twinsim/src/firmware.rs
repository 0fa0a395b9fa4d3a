//! The settings of the hosts' firmware, kept over restarts of the twin: a real one has them in memory that keeps what it has.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use host_firmware::FirmwareBox;

use crate::files;

/// More than the longest has: a report, wishes, and what was not taken of those fit in a frame each.
const BYTES_MAX: u64 = 256 * 1024;

/// What an earlier twin kept of a host's firmware.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Nothing: there was none.
    Nothing,
    /// What cannot be read.
    Damaged,
    /// This.
    Whole(Box<FirmwareBox>),
}

fn file(run_dir: &Path, host: &str) -> PathBuf {
    run_dir.join(format!("firmware-{host}.json"))
}

/// What an earlier twin kept of the firmware of this host.
pub(crate) fn kept(run_dir: &Path, host: &str) -> Kept {
    let path = file(run_dir, host);
    let read = || -> io::Result<FirmwareBox> {
        if std::fs::metadata(&path)?.len() > BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(serde_json::from_slice(&std::fs::read(&path)?)?)
    };
    match read() {
        Ok(firmware) => Kept::Whole(Box::new(firmware)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Kept::Nothing,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "kept firmware settings of simulated host are lost");
            Kept::Damaged
        }
    }
}

/// Keeps it. The file is the old one or the new one, whenever the twin dies.
///
/// # Errors
/// What the system says; the old one is kept then.
pub(crate) fn keep(run_dir: &Path, host: &str, firmware: &FirmwareBox) -> io::Result<()> {
    let path = file(run_dir, host);
    let new = path.with_extension("new");
    files::remove(&new)?;
    files::create(&new, 0o600)?.write_all(&serde_json::to_vec(firmware)?)?;
    std::fs::rename(&new, &path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use host_firmware::{Value, Wishes};

    #[test]
    fn what_is_kept_is_found_again_and_what_is_damaged_is_told() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(kept(dir.path(), "system"), Kept::Nothing);
        let mut host = twin::Host::new(twin::Config::default());
        host.put_wishes(Some(Wishes {
            id: "a".to_owned(),
            attributes: [("Smt".to_owned(), Value::Boolean(false))].into(),
            ..Wishes::default()
        }));
        let firmware = host.kept_firmware();
        keep(dir.path(), "system", &firmware).unwrap();
        assert!(keep(&dir.path().join("gone"), "system", &firmware).is_err());
        assert_eq!(kept(dir.path(), "system"), Kept::Whole(Box::new(firmware)));
        assert_eq!(kept(dir.path(), "system1"), Kept::Nothing);
        for damaged in [&b"{\"report\":"[..], &b""[..], vec![b' '; 300_000].as_slice()] {
            std::fs::write(file(dir.path(), "system"), damaged).unwrap();
            assert_eq!(kept(dir.path(), "system"), Kept::Damaged);
        }
    }
}
