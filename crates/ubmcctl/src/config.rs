//! The contexts file: which BMCs there are, who we are on them. Holds session tokens and never a password; mode 0600.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::client::Fingerprint;
use crate::failure::Failure;

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Context used when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    /// By name.
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Context>,
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

/// Reads the file; one that is not there is empty.
pub(crate) fn load(path: &Path) -> Result<Config, Failure> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Config::default()),
        Err(error) => return Err(Failure::Usage(format!("{}: {error}", path.display()))),
    };
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        crate::output::note(&format!(
            "warning: {} can be read by others and holds session tokens: chmod 600 {}",
            path.display(),
            path.display()
        ));
    }
    toml::from_str(&text)
        .map_err(|error| Failure::Usage(format!("{}: {}", path.display(), error.to_string().trim_end())))
}

/// Writes the file whole or not at all, readable by its owner only.
pub(crate) fn save(path: &Path, config: &Config) -> Result<(), Failure> {
    let at = |error: std::io::Error| Failure::Local(format!("{}: {error}", path.display()));
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at)?;
    let text =
        toml::to_string(config).map_err(|error| Failure::Local(format!("{}: {error}", path.display())))?;
    // A temporary file is made with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(at)?;
    file.write_all(text.as_bytes()).map_err(at)?;
    file.as_file().sync_all().map_err(at)?;
    file.persist(path).map_err(|error| at(error.error))?;
    Ok(())
}

/// Names are typed on command lines and end up in messages.
pub(crate) fn check_name(name: &str) -> Result<(), Failure> {
    let good = !name.is_empty()
        && name.len() <= 64
        && !name.starts_with('-')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if good {
        Ok(())
    } else {
        Err(Failure::Usage(format!(
            "`{name}` is no name for a context: letters, digits, `.`, `_` and `-`, at most 64"
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
        let config = Config { current: Some("lab".into()), contexts: [("lab".to_owned(), context)].into() };
        save(&file, &config).unwrap();
        save(&file, &config).unwrap();
        assert_eq!(load(&file).unwrap(), config);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
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
    fn debug_hides_the_token() {
        let context = Context { token: Some("very-secret".into()), ..Context::default() };
        assert!(!format!("{context:?}").contains("very-secret"));
    }

    #[test]
    fn names_are_plain_words() {
        for name in ["lab", "rack1.bmc-2", "A_b"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "-x", "a b", "a/b", "ü", &"x".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
