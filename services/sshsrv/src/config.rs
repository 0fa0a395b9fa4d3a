//! Settings: `[sshsrv]` in the configuration file, `--set sshsrv.key=value`.

use std::net::SocketAddr;

use serde::Deserialize;

use crate::error::Error;

/// The settings.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it listens; switches it on. Without it nowhere, until somebody switches it on.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// Ports that are other daemons', which cannot be chosen while it runs. The operator says them.
    #[serde(default)]
    pub others: Vec<u16>,
    /// Logins at once, 1 to 64.
    #[serde(default = "sessions")]
    pub sessions: usize,
    /// How long a client has to log in, seconds, 5 to 600.
    #[serde(default = "login_secs")]
    pub login_secs: u64,
    /// After how long without a byte of a console in either direction a connection ends, seconds, 60 to 86400.
    #[serde(default = "idle_secs")]
    pub idle_secs: u64,
}

fn sessions() -> usize {
    16
}

fn login_secs() -> u64 {
    60
}

fn idle_secs() -> u64 {
    3600
}

impl Config {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// Names the key and what is allowed there.
    pub fn check(&self) -> Result<(), Error> {
        if !(1..=64).contains(&self.sessions) {
            return Err(Error::Setting { key: "sessions", why: "is 1 to 64" });
        }
        if !(5..=600).contains(&self.login_secs) {
            return Err(Error::Setting { key: "login_secs", why: "is 5 to 600" });
        }
        if !(60..=86_400).contains(&self.idle_secs) {
            return Err(Error::Setting { key: "idle_secs", why: "is 60 to 86400" });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_shows_every_default() {
        let example: toml::Table = toml::from_str(include_str!("../config.example.toml")).unwrap();
        let shown: Config = example["sshsrv"].clone().try_into().unwrap();
        let least: Config = toml::from_str("").unwrap();
        assert_eq!(shown, least);
        assert!(shown.check().is_ok());
        for wrong in [
            Config { sessions: 0, ..shown.clone() },
            Config { sessions: 65, ..shown.clone() },
            Config { login_secs: 4, ..shown.clone() },
            Config { idle_secs: 59, ..shown },
        ] {
            assert!(wrong.check().is_err(), "{wrong:?}");
        }
    }
}
