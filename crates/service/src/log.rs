//! Logs: to stderr, for people or as JSON, with the ids that connect the lines of one request over all daemons.

use std::borrow::Cow;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{FmtSpan, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::clock::Clock;
use crate::flood::{Key, Limiter, Verdict};

/// How a daemon logs.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// Shape of a line.
    #[serde(default)]
    pub format: LogFormat,
    /// Directives as in `UBMC_LOG`: `info`, `powermgr=debug,info`.
    #[serde(default = "default_filter")]
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::default(), filter: default_filter() }
    }
}

/// The bus client tells every connect at `info`; ours says it once and better.
fn default_filter() -> String {
    "info,async_nats=warn".to_owned()
}

/// Shape of a log line.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

type Reader = Box<dyn Fn(&str) + Send + Sync>;

/// Who else reads this process's own log.
static READER: OnceLock<Reader> = OnceLock::new();

/// Has `reader` read each line this process logs from now on, beside stderr. It must neither log nor block. Only the first one counts.
pub fn also_to(reader: impl Fn(&str) + Send + Sync + 'static) {
    // A second reader is a second operator in one process: a test.
    let _ = READER.set(Box::new(reader));
}

/// Where the descriptors are listed through which a process reaches what it may not go to by its own rights.
const OPEN: &str = "/proc/self/fd/";

/// Paths through open descriptors, and those they stand for.
static KNOWN_AS: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// Lines that name a file below `open`, a path through a descriptor, name it below `path` from now on: what is told must be found by people.
pub(crate) fn known_as(open: &str, path: &Path) {
    let path = path.display().to_string();
    // A line may be JSON.
    if !path.contains(['"', '\\']) && !path.contains(char::is_control) {
        KNOWN_AS.lock().unwrap_or_else(PoisonError::into_inner).push((open.to_owned(), path));
    }
}

/// A text with paths as people know them: what a daemon tells of a file below its directories, which it may reach through descriptors of its own.
pub fn as_known(text: &str) -> String {
    with_known_paths(text, &KNOWN_AS.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}

/// The line with paths as people know them.
fn with_known_paths<'a>(line: &'a str, known: &[(String, String)]) -> Cow<'a, str> {
    let mut parts = line.split(OPEN);
    let mut out = String::from(parts.next().unwrap_or_default());
    if out.len() == line.len() {
        return Cow::Borrowed(line);
    }
    for part in parts {
        let (number, rest) = part.split_at(part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len()));
        let open = format!("{OPEN}{number}");
        let path = known.iter().find(|(found, _)| *found == open).map(|(_, path)| path.as_str());
        out.push_str(path.unwrap_or(&open));
        out.push_str(rest);
    }
    Cow::Owned(out)
}

/// Stderr, and whoever else reads.
struct Out;

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // One call is one line: the formatter hands over whole events.
        let line = String::from_utf8_lossy(bytes);
        let line = with_known_paths(&line, &KNOWN_AS.lock().unwrap_or_else(PoisonError::into_inner));
        // When nobody reads stderr any more, the line is lost there and reaches the other reader still.
        let _ = io::stderr().write_all(line.as_bytes());
        if let Some(reader) = READER.get() {
            reader(line.trim_end());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// What this process has logged lately, and since when it runs.
static LIMITER: OnceLock<(Clock, Mutex<Limiter>)> = OnceLock::new();

fn limiter() -> &'static (Clock, Mutex<Limiter>) {
    LIMITER.get_or_init(|| (Clock::new(), Mutex::default()))
}

/// Tells of lines that were left out and after which no other of their kind has come. To be called now and then, from the loop.
pub fn tell_left_out() {
    let (clock, limiter) = limiter();
    let overdue = limiter.lock().unwrap_or_else(PoisonError::into_inner).overdue(clock.now());
    for (like, left_out) in overdue {
        tracing::warn!(like, left_out, "log lines suppressed by rate limit");
    }
}

/// Writes what the limiter lets through.
struct Limited<F>(F);

impl<S, N, F> FormatEvent<S, N> for Limited<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let about = event.metadata();
        // What is finer than that somebody has asked for; what tells of the limit is not subject to it.
        if *about.level() > Level::INFO || about.target() == module_path!() {
            return self.0.format_event(context, writer, event);
        }
        let mut place = DefaultHasher::new();
        about.callsite().hash(&mut place);
        let mut content = Content::default();
        event.record(&mut content);
        let (clock, limiter) = limiter();
        let verdict = limiter.lock().unwrap_or_else(PoisonError::into_inner).admit(
            clock.now(),
            Key { place: place.finish(), deed: content.deed.map_or(0, |deed| deed.finish()) },
            || content.message.clone().unwrap_or_else(|| about.name().to_owned()),
            content.hash.finish(),
            *about.level() == Level::ERROR,
        );
        match verdict {
            Verdict::LeaveOut => Ok(()),
            Verdict::Write { left_out: 0 } => self.0.format_event(context, writer, event),
            Verdict::Write { left_out } => {
                let mut line = String::new();
                self.0.format_event(context, Writer::new(&mut line), event)?;
                writer.write_str(&with_left_out(&line, left_out))
            }
        }
    }
}

/// A line with the number of those like it that were left out before.
fn with_left_out(line: &str, left_out: u64) -> String {
    let line = line.trim_end();
    match line.strip_prefix('{') {
        Some(rest) => format!("{{\"left_out\":{left_out},{rest}\n"),
        None => format!("{line} left_out={left_out}\n"),
    }
}

/// What an event says: a hash of all of it, its message, and what tells it apart from others of its place in the program.
#[derive(Default)]
struct Content {
    hash: DefaultHasher,
    /// Of the fields `kind` (what was done: a few fixed words) and `by` (who did it: the name of an account).
    deed: Option<DefaultHasher>,
    message: Option<String>,
}

impl Visit for Content {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        field.name().hash(&mut self.hash);
        text.hash(&mut self.hash);
        match field.name() {
            "message" => self.message = Some(text),
            name @ ("kind" | "by") => (name, text).hash(self.deed.get_or_insert_default()),
            _ => {}
        }
    }
}

/// Starts logging for this process. The filter of `UBMC_LOG` wins over the configured one: a level, and levels of single parts of the
/// program, as in `info,websrv=debug`. A filter that cannot be read is reported and replaced by `info`. A second call changes nothing.
pub fn init(config: &LogConfig) {
    let wanted = std::env::var("UBMC_LOG").unwrap_or_else(|_| config.filter.clone());
    let (filter, error) = match filter(&wanted) {
        Ok(filter) => (filter, None),
        Err(error) => (Targets::new().with_default(Level::INFO), Some(error)),
    };
    let builder = tracing_subscriber::fmt()
        .with_max_level(Level::TRACE)
        .with_writer(|| Out)
        .with_span_events(FmtSpan::NONE)
        .with_target(true)
        // It would tell on stderr that stderr cannot be written, and panic: who outlives the operator would not leave its hardware in order.
        .log_internal_errors(false);
    let done = match config.format {
        LogFormat::Text => builder
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .map_event_format(Limited)
            .finish()
            .with(filter)
            .try_init(),
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .map_event_format(Limited)
            .finish()
            .with(filter)
            .try_init(),
    };
    if done.is_ok()
        && let Some(error) = error
    {
        tracing::warn!(filter = %wanted, %error, "cannot parse log filter: using info");
    }
}

/// A directive that is no filter: what it is, and what one looks like.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is neither a level (off, error, warn, info, debug, trace) nor a part of the program with one, as in `websrv=debug`"
)]
struct NoDirective(String);

/// Reads directives, separated by commas; spaces around them and empty ones do not count. None at all is `info`; without a level for the
/// rest, the rest is off. Filters by span or field, which other programs know, are refused and not ignored.
fn filter(directives: &str) -> Result<Targets, NoDirective> {
    let mut targets = Targets::new();
    let mut any = false;
    for directive in directives.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
        any = true;
        let wrong = || NoDirective(directive.to_owned());
        targets = match directive.split_once('=') {
            None => targets.with_default(level(directive).ok_or_else(wrong)?),
            Some((part, level_name)) => {
                let part = part.trim();
                if part.is_empty() || !part.chars().all(|c| c.is_ascii_alphanumeric() || "_:-".contains(c)) {
                    return Err(wrong());
                }
                targets.with_target(part, level(level_name.trim()).ok_or_else(wrong)?)
            }
        };
    }
    Ok(if any { targets } else { targets.with_default(Level::INFO) })
}

/// A level by its name or number, in any case.
fn level(name: &str) -> Option<LevelFilter> {
    // Nothing at all is read as `error`.
    if name.is_empty() { None } else { name.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    /// Where a test's log goes.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_flood_is_bounded_in_both_shapes_and_finer_lines_are_not() {
        for json in [false, true] {
            let kept = Kept::default();
            let out = kept.clone();
            let builder = tracing_subscriber::fmt()
                .with_max_level(Level::DEBUG)
                .with_ansi(false)
                .with_writer(move || out.clone());
            let subscriber: Box<dyn Subscriber + Send + Sync> = if json {
                Box::new(builder.json().flatten_event(true).map_event_format(Limited).finish())
            } else {
                Box::new(builder.map_event_format(Limited).finish())
            };
            let written = || String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
            tracing::subscriber::with_default(subscriber, || {
                for number in 0..1000 {
                    // Each shape has a place in the program of its own, as each has its own budget.
                    if json { tracing::warn!(number, "refused") } else { tracing::warn!(number, "refused") }
                }
                assert_eq!(written().lines().count(), 20, "{}", written());
                for number in 0..100 {
                    tracing::debug!(number, "detail");
                }
                assert_eq!(written().lines().count(), 120);
            });
        }
    }

    #[test]
    fn what_one_user_does_without_end_hides_neither_another_deed_nor_somebody_else() {
        let kept = Kept::default();
        let out = kept.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || out.clone())
            .map_event_format(Limited)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let tell = |kind: &str, by: Option<&str>| tracing::info!(kind, by, "accounts");
            for _ in 0..1000 {
                tell("login", None);
                tell("password", Some("eve"));
            }
            tell("created", Some("eve"));
            tell("password", Some("root"));
        });
        let written = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(written.lines().count(), 20 + 20 + 2, "{written}");
        assert!(written.lines().any(|line| line.contains("created")), "{written}");
        assert!(written.lines().any(|line| line.contains("root")), "{written}");
    }

    #[test]
    fn paths_through_descriptors_are_told_as_people_know_them() {
        let known = [("/proc/self/fd/3".to_owned(), "/var/lib/u-bmc/usermgr".to_owned())];
        for (line, told) in [
            ("no path\n", "no path\n"),
            ("path=/proc/self/fd/3/tls/cert.pem x\n", "path=/var/lib/u-bmc/usermgr/tls/cert.pem x\n"),
            ("{\"path\":\"/proc/self/fd/3\"}\n", "{\"path\":\"/var/lib/u-bmc/usermgr\"}\n"),
            ("/proc/self/fd/3/a /proc/self/fd/34/b\n", "/var/lib/u-bmc/usermgr/a /proc/self/fd/34/b\n"),
            ("/proc/self/fd/\n", "/proc/self/fd/\n"),
        ] {
            assert_eq!(with_known_paths(line, &known), told);
        }
    }

    #[test]
    fn directives_are_a_level_and_levels_of_parts() {
        let of = |directives: &str| filter(directives).unwrap();
        let plain = of("warn");
        assert!(plain.would_enable("websrv", &Level::WARN) && !plain.would_enable("websrv", &Level::INFO));
        for directives in ["info,websrv=debug", " websrv=debug , info,"] {
            let parts = of(directives);
            assert!(parts.would_enable("websrv::gateway", &Level::DEBUG), "{directives}");
            assert!(!parts.would_enable("statemgr", &Level::DEBUG), "{directives}");
            assert!(parts.would_enable("statemgr", &Level::INFO), "{directives}");
        }
        assert!(!of("off").would_enable("websrv", &Level::ERROR));
        let nothing = of("");
        assert!(
            nothing.would_enable("websrv", &Level::INFO) && !nothing.would_enable("websrv", &Level::DEBUG)
        );
        assert!(of("hal_linux::gpio=TRACE").would_enable("hal_linux::gpio::chip", &Level::TRACE));
        // A misspelt level would be a part of the program that does not exist, and everything else off.
        for wrong in [
            "debgu",
            "websrv",
            "websrv=loud",
            "websrv=",
            "info,=debug=x",
            "=debug",
            "websrv[request]=debug",
            "[{id}]=debug",
        ] {
            let error = filter(wrong).unwrap_err().to_string();
            assert!(error.starts_with('`') && error.contains("websrv=debug"), "{error}");
        }
    }

    #[test]
    fn a_line_tells_how_many_were_left_out() {
        assert_eq!(with_left_out("WARN refused\n", 57), "WARN refused left_out=57\n");
        let line = with_left_out("{\"level\":\"WARN\"}\n", 57);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&line).unwrap()["left_out"], 57);
    }
}
