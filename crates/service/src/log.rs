//! Logs: to stderr, for people or as JSON, with the ids that connect the lines of one request over all daemons.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::bootstrap::{LogConfig, LogFormat};

/// Starts logging for this process. The filter of `UBMC_LOG` wins over the configured one; directives that cannot be read are
/// reported and replaced by `info`. A second call changes nothing.
pub fn init(config: &LogConfig) {
    let wanted = std::env::var("UBMC_LOG").unwrap_or_else(|_| config.filter.clone());
    let (filter, error) = match EnvFilter::try_new(&wanted) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        .with_span_events(FmtSpan::NONE)
        .with_target(true);
    let done = match config.format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => {
            builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
        }
    };
    if done.is_ok()
        && let Some(error) = error
    {
        tracing::warn!(filter = %wanted, %error, "the log filter cannot be read, using info");
    }
}
