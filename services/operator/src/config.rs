//! What the operator is told: by flags, and by the `[operator]` table of the configuration.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use board::Board;
use serde::Deserialize;
use service::{Ignored, LogConfig, Settings};

use crate::daemon_spec::DaemonSpec;
use crate::error::Error;

/// Where a server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    Off,
    /// Here; port 0 takes a free one.
    At(SocketAddr),
}

impl std::str::FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse().map(Self::At).map_err(|_| {
            format!("{text:?} is neither ADDRESS:PORT (e.g. 127.0.0.1:8443, [::]:443) nor \"off\"")
        })
    }
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => write!(f, "{address}"),
        }
    }
}

/// What the configuration's files and the command line say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configuration {
    /// Settings of all daemons.
    pub settings: Settings,
    /// The same without the site's files: what a daemon is given that refuses those.
    pub image_settings: Settings,
    /// The daemons the site's files have settings for.
    pub site: BTreeSet<String>,
    /// What was left out of the files, and why.
    pub ignored: Vec<Ignored>,
    /// The files that could not be read at all.
    pub unread: BTreeSet<PathBuf>,
}

type Reader = dyn Fn() -> Result<Configuration, Error> + Send + Sync;

/// A way to read the configuration again.
#[derive(Clone)]
pub struct Reread(Arc<Reader>);

impl Reread {
    /// By this function.
    pub fn new(read: impl Fn() -> Result<Configuration, Error> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    pub(crate) fn read(&self) -> Result<Configuration, Error> {
        (self.0)()
    }
}

impl std::fmt::Debug for Reread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reread")
    }
}

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The daemons; see [`crate::daemon_specs`].
    pub daemons: Vec<DaemonSpec>,
    /// The program that holds the daemons: started as `program <daemon>`.
    pub program: PathBuf,
    /// Version to tell, with build details.
    pub version: String,
    /// The board file.
    pub board_file: PathBuf,
    /// The board, or what is wrong with its file: the whole report, several lines.
    pub board: Result<Board, String>,
    /// What is kept over restarts of the controller.
    pub state_dir: PathBuf,
    /// Sockets and the like.
    pub run_dir: PathBuf,
    /// HTTPS.
    pub https: Listen,
    /// HTTP, which redirects to HTTPS.
    pub http: Listen,
    /// IPMI, where the command line says where; what the configuration says is ipmisrv's alone.
    pub ipmi: Listen,
    /// Password file of the first administrator.
    pub admin_password_file: Option<PathBuf>,
    /// Written once every daemon is ready.
    pub ready_file: Option<PathBuf>,
    /// The configuration at the start.
    pub configuration: Configuration,
    /// Reads it again on SIGHUP.
    pub reread: Reread,
    /// How everything logs.
    pub log: LogConfig,
}

/// The `[operator]` table.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of a `nats-server` to use instead of the embedded one, `nats://ADDR:PORT`. It must have JetStream.
    #[serde(deserialize_with = "bus_url")]
    pub bus_url: Option<String>,
    /// Whether daemons get limits of memory, processes and files.
    pub limits: bool,
    /// Whether daemons give up root's privileges when the operator is root.
    pub privileges: bool,
    /// Whether daemons are held to the files, ports and system calls they need.
    pub confinement: bool,
    /// Whether /dev/watchdog is used when the board has one.
    pub watchdog: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { bus_url: None, limits: true, privileges: true, confinement: true, watchdog: true }
    }
}

fn bus_url<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let url = Option::<String>::deserialize(from)?;
    if let Some(url) = &url
        && !is_bus_url(url)
    {
        let text = format!("{url:?} is not an address such as nats://192.0.2.10:4222");
        return Err(serde::de::Error::custom(text));
    }
    Ok(url)
}

/// Whether it is `nats://HOST:PORT`. That somebody answers there is seen at the start.
fn is_bus_url(url: &str) -> bool {
    let parts = url.strip_prefix("nats://").and_then(|rest| rest.rsplit_once(':'));
    parts.is_some_and(|(host, port)| {
        let is_bare = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = v6.map_or_else(
            || !host.is_empty() && host.chars().all(is_bare),
            |v6| v6.parse::<std::net::Ipv6Addr>().is_ok(),
        );
        is_host && port.parse::<u16>().is_ok_and(|port| port != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_bus_is_one() {
        let of = |url: &str| {
            let table = serde_json::json!({ "bus_url": url });
            serde_json::from_value::<Config>(table).map(|config| config.bus_url)
        };
        for good in ["nats://192.0.2.10:4222", "nats://[2001:db8::1]:4222", "nats://bus.example.net:4222"] {
            assert_eq!(of(good).unwrap().as_deref(), Some(good));
        }
        for bad in [
            "nonsense",
            "",
            "nats://",
            "nats://a",
            "nats://:4222",
            "nats://a:0",
            "http://a:1",
            "nats://a b:1",
            "nats://[a]:1",
        ] {
            assert!(of(bad).unwrap_err().to_string().contains("nats://192.0.2.10:4222"), "{bad}");
        }
    }

    #[test]
    fn the_example_shows_every_key_with_its_default() {
        let settings =
            Settings::from_toml("config.example.toml", include_str!("../config.example.toml")).unwrap();
        assert_eq!(settings.typed::<Config>("operator").unwrap(), Config::default());
        let shown: toml::Table = toml::from_str(include_str!("../config.example.toml")).unwrap();
        let keys: Vec<_> = shown["operator"].as_table().unwrap().keys().cloned().collect();
        // An optional key without a default is shown as a comment.
        assert_eq!(keys, ["confinement", "limits", "privileges", "watchdog"]);
        assert!(include_str!("../config.example.toml").contains("# bus_url = "));
    }

    #[test]
    fn an_address_is_an_address_or_off() {
        assert_eq!("off".parse(), Ok(Listen::Off));
        assert_eq!("[::1]:443".parse(), Ok(Listen::At("[::1]:443".parse().unwrap())));
        for bad in ["", "443", "localhost", "off:1", "1.2.3.4"] {
            assert!(bad.parse::<Listen>().unwrap_err().contains("ADDRESS:PORT"), "{bad}");
        }
    }
}
