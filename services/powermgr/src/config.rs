//! What may be configured. The wiring and the times of a host are in the board file, not here.

use std::time::Duration;

use serde::Deserialize;

/// Configuration of powermgr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How often power-good is read without an edge, in case one was lost. Milliseconds, 100 to 60000.
    #[serde(deserialize_with = "look_interval")]
    pub look_interval_ms: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { look_interval_ms: 1_000 }
    }
}

impl Config {
    pub(crate) fn look_interval(self) -> Duration {
        Duration::from_millis(self.look_interval_ms.into())
    }
}

fn look_interval<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let millis = u32::deserialize(deserializer)?;
    if (100..=60_000).contains(&millis) {
        Ok(millis)
    } else {
        Err(serde::de::Error::custom(format!("{millis} is not from 100 to 60000")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_need_be_configured() {
        assert_eq!(read("{}"), Ok(Config::default()));
    }

    #[test]
    fn a_value_out_of_range_or_an_unknown_key_is_refused() {
        assert!(read(r#"{"look_interval_ms": 5}"#).unwrap_err().contains("100 to 60000"));
        assert!(read(r#"{"look": 5}"#).unwrap_err().contains("unknown field"));
    }
}
