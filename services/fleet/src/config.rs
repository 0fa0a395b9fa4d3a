//! Configuration of the link: `[fleet]` in the configuration file, `--set fleet.key=value`.

use std::path::PathBuf;

use serde::Deserialize;

use crate::error::Error;

/// The link's configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The datacenter's server.
    pub nats: Nats,
    /// What this BMC is called there: letters, digits, `-` and `_`, at most 64. A random one is made and kept when left out.
    pub id: Option<String>,
    /// What requests from there may do when they bring no credentials of their own.
    pub role: OutsideRole,
    /// Which events are mirrored: subject filters, e.g. `event.host.>`.
    pub mirror: Vec<String>,
    /// Seconds between two signs of life, 1 to 3600.
    pub heartbeat_s: u32,
}

/// Where the datacenter's server is, and who we are there.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Nats {
    /// `nats://HOST:PORT` or `tls://HOST:PORT`; several separated by commas. Without it there is no link.
    pub url: String,
    /// Certificates to trust for TLS instead of the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// User name, with `password_file`.
    pub user: Option<String>,
    /// File with the password.
    pub password_file: Option<PathBuf>,
    /// A `.creds` file: JWT and seed.
    pub credentials_file: Option<PathBuf>,
    /// File with an nkey seed.
    pub nkey_file: Option<PathBuf>,
}

/// What may be asked from outside without credentials of an account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum OutsideRole {
    /// Nothing: every request must bring credentials.
    None,
    /// Read the state of the machine.
    #[default]
    ReadOnly,
    /// Operate the machine as well.
    Operator,
    /// Everything.
    Administrator,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            nats: Nats::default(),
            id: None,
            role: OutsideRole::default(),
            mirror: vec!["event.>".into()],
            heartbeat_s: 10,
        }
    }
}

impl Config {
    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// Names the key and what is allowed there.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |key: &'static str, why: String| Err(Error::Config { key, why });
        if self.nats.url.is_empty() {
            return refuse("nats.url", "is missing, e.g. nats://fleet.example:4222".into());
        }
        if let Some(id) = &self.id
            && !is_id(id)
        {
            return refuse("id", format!("{id:?} is not 1 to 64 letters, digits, `-` or `_`"));
        }
        if !(1..=3600).contains(&self.heartbeat_s) {
            return refuse("heartbeat_s", format!("{} is not from 1 to 3600", self.heartbeat_s));
        }
        for filter in &self.mirror {
            if nats::subject::check_filter(filter.as_bytes()).is_err() || !filter.starts_with("event.") {
                return refuse("mirror", format!("{filter:?} is not a filter of events, e.g. event.host.>"));
            }
        }
        let ways =
            [self.nats.user.is_some(), self.nats.credentials_file.is_some(), self.nats.nkey_file.is_some()];
        if ways.iter().filter(|set| **set).count() > 1 {
            return refuse("nats", "user, credentials_file and nkey_file exclude each other".into());
        }
        if self.nats.user.is_some() != self.nats.password_file.is_some() {
            return refuse("nats", "user and password_file go together".into());
        }
        Ok(())
    }
}

/// Whether `id` can be one token of a subject and one key of a bucket.
pub(crate) fn is_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: serde_json::Value) -> Config {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_url_is_enough() {
        let config = config(serde_json::json!({ "nats": { "url": "nats://127.0.0.1:4222" } }));
        config.check().unwrap();
        assert_eq!(config.role, OutsideRole::ReadOnly, "an outside without credentials only reads");
        assert_eq!(config.mirror, ["event.>"]);
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_key() {
        let base = |extra: serde_json::Value| {
            let mut json = serde_json::json!({ "nats": { "url": "nats://127.0.0.1:4222" } });
            for (key, value) in extra.as_object().unwrap() {
                json[key] = value.clone();
            }
            config(json).check().unwrap_err().to_string()
        };
        assert!(base(serde_json::json!({ "id": "a.b" })).contains("fleet.id"));
        assert!(base(serde_json::json!({ "heartbeat_s": 0 })).contains("fleet.heartbeat_s"));
        assert!(base(serde_json::json!({ "mirror": ["rpc.>"] })).contains("fleet.mirror"));
        assert!(base(serde_json::json!({ "nats": { "url": "x", "user": "u" } })).contains("password_file"));
        assert!(Config::default().check().unwrap_err().to_string().contains("fleet.nats.url"));
    }
}
