//! Logs: to stderr, for people or as JSON, with the ids that connect the lines of one request over all daemons.

use std::io::{self, Write};
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::bootstrap::{LogConfig, LogFormat};

type Reader = Box<dyn Fn(&str) + Send + Sync>;

/// Who else reads this process's own log.
static READER: OnceLock<Reader> = OnceLock::new();

/// Has `reader` read each line this process logs from now on, beside stderr. It must neither log nor block. Only the first one counts.
pub fn also_to(reader: impl Fn(&str) + Send + Sync + 'static) {
    // A second reader is a second operator in one process: a test.
    let _ = READER.set(Box::new(reader));
}

/// Stderr, and whoever else reads.
struct Out;

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // One call is one line: the formatter hands over whole events.
        io::stderr().write_all(bytes)?;
        if let Some(reader) = READER.get() {
            reader(String::from_utf8_lossy(bytes).trim_end());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Starts logging for this process. The filter of `UBMC_LOG` wins over the configured one; directives that cannot be read are
/// reported and replaced by `info`. A second call changes nothing.
pub fn init(config: &LogConfig) {
    let wanted = std::env::var("UBMC_LOG").unwrap_or_else(|_| config.filter.clone());
    let (filter, error) = match EnvFilter::try_new(&wanted) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let builder = tracing_subscriber::fmt()
        .with_writer(|| Out)
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
