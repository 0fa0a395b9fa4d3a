//! What may be configured.

use std::time::Duration;

use serde::Deserialize;
use service::MillisWithin;

/// Configuration of statemgr.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How often powermgr is asked what is, although nothing was heard. Milliseconds, 500 to 600000. While an operation runs
    /// or the state is stale, it is asked each second. With the time an answer may take (1.5 s) and a second of this clock it is how late it is seen
    /// that powermgr hangs.
    pub look_interval_ms: MillisWithin<500, 600_000>,
    /// Names this boot of the BMC. By default the kernel's `boot_id`; a board whose kernel survives a loss of mains power may
    /// give something better. A change of it is a boot, and lets the restore policy act.
    pub boot_id: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self { look_interval_ms: MillisWithin::clamped(4_000), boot_id: None }
    }
}

impl Config {
    pub(crate) fn look_interval(&self) -> Duration {
        self.look_interval_ms.duration()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_need_be_configured_and_nonsense_is_refused() {
        let read = |text: &str| serde_json::from_str::<Config>(text).map_err(|error| error.to_string());
        assert_eq!(read("{}"), Ok(Config::default()));
        assert!(read(r#"{"look_interval_ms": 5}"#).unwrap_err().contains("500 to 600000"));
        assert!(read(r#"{"look": 5}"#).unwrap_err().contains("unknown field"));
    }
}
