//! What can be set.

use std::path::PathBuf;

use serde::Deserialize;

/// mediasrv's own configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether images may be had by HTTP, which anybody on the way may change.
    pub allow_http: bool,
    /// Whether servers may be addresses of the controller itself or of its link. For tests.
    pub allow_local: bool,
    /// Certificates of authorities to trust in place of the system's, PEM.
    pub ca_file: Option<PathBuf>,
    /// MiB of the store at most; 0 for none. An eighth of the medium stays free whatever this says.
    pub store_mib: u64,
    /// KiB that are kept of each medium that is read from elsewhere.
    pub cache_kib: u32,
}

impl Default for Config {
    fn default() -> Self {
        // An installer's image is some 700 MiB. 4 MiB are what a kernel reads ahead, four times.
        Self { allow_http: false, allow_local: false, ca_file: None, store_mib: 1024, cache_kib: 4096 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_shows_every_default() {
        let example: toml::Table = toml::from_str(include_str!("../config.example.toml")).unwrap();
        let shown: Config = example["mediasrv"].clone().try_into().unwrap();
        assert_eq!(shown, Config::default());
    }
}
