//! What may be configured. The wiring and the times of a host are in the board file, not here.

use std::time::Duration;

use serde::Deserialize;
use service::MillisWithin;

/// Configuration of powermgr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How often power-good is read without an edge, in case one was lost. Milliseconds, 100 to 60000.
    pub look_interval_ms: MillisWithin<100, 60_000>,
}

impl Default for Config {
    fn default() -> Self {
        Self { look_interval_ms: MillisWithin::clamped(1_000) }
    }
}

impl Config {
    pub(crate) fn look_interval(self) -> Duration {
        self.look_interval_ms.duration()
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
