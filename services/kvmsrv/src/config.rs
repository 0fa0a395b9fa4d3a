//! What can be set.

use serde::Deserialize;

/// kvmsrv's own configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How often a host's screen is looked at, in seconds, so that what it showed before it went off or was reset can be kept. 0 for never: nothing is captured
    /// for nobody then.
    pub keep_secs: u16,
    /// Whether the pictures of simulated hosts are JPEGs that a program gives by a socket, as a video engine does. One that equals the one before is not shown
    /// anew, and such a host has no keyboard: typing is refused. For measurements.
    pub sim_frames: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_shows_every_default() {
        let example: toml::Table = toml::from_str(include_str!("../config.example.toml")).unwrap();
        let shown: Config = example["kvmsrv"].clone().try_into().unwrap();
        assert_eq!(shown, Config::default());
    }
}
