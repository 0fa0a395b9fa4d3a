//! Settings: `[ipmisrv]` in the configuration file, `--set ipmisrv.key=value`, `--ipmi ADDRESS:PORT`.

use std::net::SocketAddr;

use serde::Deserialize;

use crate::error::Error;

/// The settings.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whether suite 3 is spoken beside suite 17.
    #[serde(default)]
    pub suite_3: bool,
    /// Sessions at once.
    #[serde(default = "sessions")]
    pub sessions: u8,
    /// After how long without a packet a session ends.
    #[serde(default = "idle_secs")]
    pub idle_secs: u64,
    /// The sensor of the power that the whole machine takes, by its id, as DCMI shows it; without one DCMI shows none.
    #[serde(default)]
    pub input_power: Option<String>,
    /// Sensors of the air that comes in, by their ids, as DCMI shows them.
    #[serde(default)]
    pub inlet: Vec<String>,
    /// Those of the processors.
    #[serde(default)]
    pub cpu: Vec<String>,
    /// Those of the board.
    #[serde(default)]
    pub baseboard: Vec<String>,
}

fn sessions() -> u8 {
    15
}

fn idle_secs() -> u64 {
    60
}

impl Config {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// Names the key and what is allowed there.
    pub fn check(&self) -> Result<(), Error> {
        if !(1..=63).contains(&self.sessions) {
            return Err(Error::Setting { key: "sessions", why: "is 1 to 63" });
        }
        if !(10..=3600).contains(&self.idle_secs) {
            return Err(Error::Setting { key: "idle_secs", why: "is 10 to 3600" });
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
        let shown: Config = example["ipmisrv"].clone().try_into().unwrap();
        let least: Config = toml::from_str("listen = \"[::]:623\"").unwrap();
        assert_eq!(shown, least);
        assert!(shown.check().is_ok());
        assert!(Config { sessions: 0, ..shown.clone() }.check().is_err());
        assert!(Config { idle_secs: 9, ..shown }.check().is_err());
    }
}
