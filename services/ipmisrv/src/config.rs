//! Settings: `[ipmisrv]` in the configuration file, `--set ipmisrv.key=value`, `--ipmi ADDRESS:PORT`.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipmi::{Command, Row};
use serde::Deserialize;

use crate::error::Error;
use crate::host::Interface;

/// The settings.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it listens; switches it on. Without it nowhere, until somebody switches it on.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
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
    /// Commands that nobody may use over the network: network function and number, as hexadecimal digits.
    #[serde(default)]
    pub forbidden: Vec<String>,
    /// What the machine itself may ask for.
    #[serde(default)]
    pub host_interface: Interface,
    /// Its KCS devices here.
    #[serde(default)]
    pub kcs: Vec<PathBuf>,
    /// Its BT devices here.
    #[serde(default)]
    pub bt: Vec<PathBuf>,
    /// The port at which those are reached who are alerted.
    #[serde(default = "trap_port")]
    pub trap_port: u16,
}

/// RFC 1157, 4.
fn trap_port() -> u16 {
    162
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
        self.forbidden().map(drop)
    }

    /// The commands that are forbidden.
    ///
    /// # Errors
    /// For what is none, and for what nobody could log in without.
    pub(crate) fn forbidden(&self) -> Result<Vec<Command>, Error> {
        const WRONG: Error = Error::Setting {
            key: "forbidden",
            why: "holds network functions and numbers of commands in docs/ipmi.md, such as \"00 02\", and none of sessions or the firewall",
        };
        let command = |text: &String| {
            let (function, number) = text.split_once(' ')?;
            let [function, number] = [function, number].map(|digits| u8::from_str_radix(digits, 16).ok());
            let is = |row: &&Row| Some(row.group.function()) == function && Some(row.number) == number;
            Command::ROWS.iter().find(is).map(|row| row.command).filter(|command| command.is_configurable())
        };
        self.forbidden.iter().map(|text| command(text).ok_or(WRONG)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_shows_every_default() {
        let example: toml::Table = toml::from_str(include_str!("../config.example.toml")).unwrap();
        let shown: Config = example["ipmisrv"].clone().try_into().unwrap();
        let least: Config = toml::from_str("").unwrap();
        assert_eq!(shown, least);
        assert!(shown.check().is_ok());
        assert!(Config { sessions: 0, ..shown.clone() }.check().is_err());
        assert!(Config { idle_secs: 9, ..shown.clone() }.check().is_err());
        let with = |text: &str| Config { forbidden: vec![text.to_owned()], ..shown.clone() };
        assert_eq!(with("00 02").forbidden().unwrap(), [Command::ChassisControl]);
        for wrong in ["06 3b", "00 ff", "0002", "x y", ""] {
            assert!(with(wrong).check().is_err(), "{wrong}");
        }
    }
}
