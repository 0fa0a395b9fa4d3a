//! The contexts file: which BMCs there are, who we are on them. Holds session tokens and never a password; mode 0600.

use std::collections::BTreeMap;
use std::fs::TryLockError;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::client::Fingerprint;
use crate::failure::Failure;

/// What this program writes; a file without a version is of the first.
const VERSION: u32 = 1;
/// Longer than the file of thousands of contexts.
const MAX_FILE: u64 = 4 << 20;
/// The lock is held for as long as it takes to write the file; whoever waits for longer than ten seconds waits for something stuck.
const LOCK_TRIES: u32 = 2_000;
const LOCK_PAUSE: Duration = Duration::from_millis(5);

fn first() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_first(version: &u32) -> bool {
    *version == 1
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Of the format.
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub(crate) version: u32,
    /// Context used when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    /// By name.
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Context>,
}

impl Default for Config {
    fn default() -> Self {
        Self { version: first(), current: None, contexts: BTreeMap::new() }
    }
}

/// One BMC and who we are on it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// `https://host[:port]`.
    pub(crate) server: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// PEM file with the CA that signed the server's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    /// The one certificate that is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fingerprint: Option<Fingerprint>,
    /// Session token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// Id of the session the token belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<String>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("server", &self.server)
            .field("user", &self.user)
            .field("ca", &self.ca)
            .field("fingerprint", &self.fingerprint)
            .field("token", &self.token.as_ref().map(|_| "[redacted]"))
            .field("session", &self.session)
            .finish()
    }
}

/// Where the file is: `--config`, `$XDG_CONFIG_HOME/ubmc/config.toml` or `~/.config/ubmc/config.toml`.
pub(crate) fn path(given: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_CONFIG_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".config")))
        .map(|dir| dir.join("ubmc/config.toml"))
        .ok_or_else(|| {
            Failure::Usage("neither HOME nor XDG_CONFIG_HOME is set: name the file with --config".into())
        })
}

/// Reads the file; one that is not there is empty. One that is not understood is an error and stays as it is.
pub(crate) fn load(path: &Path) -> Result<Config, Failure> {
    let wrong = |why: &str| {
        Failure::Usage(format!(
            "{}: {why}\n  nothing was changed: mend it, move it away, or name another file with --config",
            path.display()
        ))
    };
    let mut bytes = Vec::new();
    match std::fs::File::open(path) {
        Ok(file) => {
            file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| wrong(&error.to_string()))?
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Config::default()),
        Err(error) => return Err(wrong(&error.to_string())),
    };
    if bytes.len() as u64 > MAX_FILE {
        return Err(wrong("it is larger than any file of contexts"));
    }
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        crate::output::note(&format!(
            "warning: {} can be read by others and holds session tokens: chmod 600 {}",
            path.display(),
            path.display()
        ));
    }
    let text = String::from_utf8(bytes).map_err(|_| wrong("it is no text"))?;
    // What a newer version has added is not a mistake in the file.
    let version = text.parse::<toml::Table>().ok().and_then(|table| table.get("version")?.as_integer());
    if version.is_some_and(|version| version > VERSION.into()) {
        return Err(wrong("a newer ubmcctl wrote it"));
    }
    toml::from_str(&text).map_err(|error| wrong(error.to_string().trim_end()))
}

/// Changes the file as it is now: other processes wait meanwhile, so that none undoes what another one did. Without a change, and when
/// `change` fails, nothing is written.
pub(crate) fn update<T>(
    path: &Path,
    change: impl FnOnce(&mut Config) -> Result<T, Failure>,
) -> Result<T, Failure> {
    // Some keep the file elsewhere, and a link to it here.
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let at = |error: std::io::Error| Failure::Local(format!("{}: {error}", path.display()));
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at)?;
    let _lock = lock(path)?;
    let mut config = load(path)?;
    let before = config.clone();
    let result = change(&mut config)?;
    if config != before {
        save(path, dir, &config).map_err(at)?;
    }
    Ok(result)
}

/// Held until it is dropped, and by no process that has ended.
fn lock(path: &Path) -> Result<std::fs::File, Failure> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    let path = path.with_file_name(name);
    let at = |error: std::io::Error| Failure::Local(format!("{}: {error}", path.display()));
    let file = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(at)?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            // A file system without locks: as good as it can be.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(at(error)),
        }
    }
    Err(Failure::Local(format!("{}: another ubmcctl holds it", path.display())))
}

/// Writes the file whole or not at all, readable by its owner only.
fn save(path: &Path, dir: &Path, config: &Config) -> std::io::Result<()> {
    let text = toml::to_string(config).map_err(std::io::Error::other)?;
    // A temporary file is made with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    std::fs::File::open(dir)?.sync_all()
}

/// Longest name of a context.
pub(crate) const MAX_NAME: usize = 64;

/// Whether a name may hold it.
pub(crate) fn named_with(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-:@".contains(c)
}

/// Names are typed on command lines and end up in messages.
pub(crate) fn check_name(name: &str) -> Result<(), Failure> {
    let good =
        !name.is_empty() && name.len() <= MAX_NAME && !name.starts_with('-') && name.chars().all(named_with);
    if good {
        Ok(())
    } else {
        Err(Failure::Usage(format!(
            "`{name}` is no name for a context: letters, digits and any of `. _ - : @`, at most {MAX_NAME}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded_and_only_the_owner_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a/b/config.toml");
        assert_eq!(load(&file).unwrap(), Config::default());
        let context = Context {
            server: "https://bmc".into(),
            user: Some("admin".into()),
            fingerprint: Some(Fingerprint([7; 32])),
            token: Some("t".into()),
            ..Context::default()
        };
        let config = Config {
            current: Some("lab".into()),
            contexts: [("lab".to_owned(), context)].into(),
            ..Config::default()
        };
        for _ in 0..2 {
            update(&file, |now| {
                *now = config.clone();
                Ok(())
            })
            .unwrap();
        }
        assert_eq!(load(&file).unwrap(), config);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 2, "the file and its lock");
        // A link stays a link.
        let link = dir.path().join("link.toml");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        update(&link, |now| {
            now.current = None;
            Ok(())
        })
        .unwrap();
        assert!(link.is_symlink() && load(&file).unwrap().current.is_none());
    }

    #[test]
    fn a_mistake_in_the_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        for text in [
            "contexts = 1",
            "[contexts.a]\nserver = \"x\"\npassword = \"p\"",
            "[contexts.a]\nserver=\"x\"\nfingerprint=\"zz\"",
        ] {
            std::fs::write(&file, text).unwrap();
            let failure = load(&file).unwrap_err();
            assert_eq!(failure.exit_code(), 2);
            assert!(failure.to_string().contains("config.toml"), "{failure}");
        }
    }

    #[test]
    fn a_file_that_is_not_understood_is_never_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        let newer = b"version = 2\ncolour = \"blue\"\n[contexts.a]\nserver = \"https://a\"\n".to_vec();
        let torn = b"[contexts.lab]\nserver = \"https://l".to_vec();
        for (bytes, words) in [
            (newer, "newer"),
            (torn, "config.toml"),
            (vec![0xff, 0xfe, b'a'], "no text"),
            (vec![b'#'; usize::try_from(MAX_FILE).unwrap() + 1], "larger"),
        ] {
            std::fs::write(&file, &bytes).unwrap();
            let failure = update(&file, |config| {
                config.current = Some("x".into());
                Ok(())
            })
            .unwrap_err();
            assert_eq!(failure.exit_code(), 2);
            assert!(failure.to_string().contains(words), "{failure}");
            assert!(failure.to_string().contains("nothing was changed"), "{failure}");
            assert!(std::fs::read(&file).unwrap() == bytes, "{words}");
        }
        std::fs::remove_file(&file).unwrap();
        let refused: Result<(), Failure> = update(&file, |config| {
            config.current = Some("x".into());
            Err(Failure::Usage("no".into()))
        });
        assert!(refused.is_err() && !file.exists());
    }

    #[test]
    fn of_many_at_once_none_undoes_another() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let file = &file;
                scope.spawn(move || {
                    for number in 0..6 {
                        let context = Context { server: "https://x".into(), ..Context::default() };
                        update(file, |config| {
                            config.contexts.insert(format!("w{writer}-{number}"), context);
                            Ok(())
                        })
                        .unwrap();
                    }
                });
            }
        });
        assert_eq!(load(&file).unwrap().contexts.len(), 24);
    }

    #[test]
    fn debug_hides_the_token() {
        let context = Context { token: Some("very-secret".into()), ..Context::default() };
        assert!(!format!("{context:?}").contains("very-secret"));
    }

    #[test]
    fn names_are_plain_words() {
        for name in ["lab", "rack1.bmc-2", "A_b", "op@10.0.0.7:8443"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "-x", "a b", "a/b", "ü", &"x".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
