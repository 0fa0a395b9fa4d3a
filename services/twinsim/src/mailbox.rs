//! The mailboxes of the hosts' firmware, kept over restarts of the twin: a real one is in memory that keeps what it has.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use boot_override::Mailbox;

use crate::files;

/// More than the longest order needs.
const BYTES_MAX: u64 = 16 * 1024;

fn file(run_dir: &Path, host: &str) -> PathBuf {
    run_dir.join(format!("mailbox-{host}.json"))
}

/// What an earlier twin kept of the mailbox of this host.
pub(crate) fn kept(run_dir: &Path, host: &str) -> Option<Mailbox> {
    let path = file(run_dir, host);
    let read = || -> io::Result<Mailbox> {
        if std::fs::metadata(&path)?.len() > BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(serde_json::from_slice(&std::fs::read(&path)?)?)
    };
    match read() {
        Ok(mailbox) => Some(mailbox),
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "kept boot mailbox of simulated host ignored");
            }
            None
        }
    }
}

/// Keeps it. The file is the old one or the new one, whenever the twin dies.
///
/// # Errors
/// What the system says; the old one is kept then.
pub(crate) fn keep(run_dir: &Path, host: &str, mailbox: &Mailbox) -> io::Result<()> {
    let path = file(run_dir, host);
    let new = path.with_extension("new");
    files::remove(&new)?;
    files::create(&new, 0o600)?.write_all(&serde_json::to_vec(mailbox)?)?;
    std::fs::rename(&new, &path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use boot_override::{Mode, Order, Target};

    #[test]
    fn what_is_kept_is_found_again_and_what_is_damaged_is_not_guessed_at() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(kept(dir.path(), "system"), None);
        let order = Order {
            id: "a".into(),
            target: Target::Pxe,
            once: true,
            mode: Mode::Uefi,
            argument: String::new(),
        };
        let mut mailbox = Mailbox { order: Some(order), used: None };
        mailbox.boot();
        keep(dir.path(), "system", &mailbox).unwrap();
        assert!(keep(&dir.path().join("gone"), "system", &mailbox).is_err());
        assert_eq!(kept(dir.path(), "system"), Some(mailbox));
        assert_eq!(kept(dir.path(), "system1"), None);
        std::fs::write(file(dir.path(), "system"), b"{\"order\":").unwrap();
        assert_eq!(kept(dir.path(), "system"), None);
    }
}
