//! Words for values: times, spans, names of enums; and the other way round for arguments.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// What the server's clock is ahead of ours, in seconds: what it tells of its past is told by its own clock, which may be wrong.
static AHEAD: AtomicI64 = AtomicI64::new(0);

/// Notes the server's time, as its answers carry it.
pub(crate) fn server_says(date: &str) {
    if let Ok(date) = jiff::fmt::rfc2822::parse(date) {
        let ahead = date.timestamp().as_second() - jiff::Timestamp::now().as_second();
        AHEAD.store(ahead, Ordering::Relaxed);
    }
}

/// How long ago the server says it was, for tables: `3 min ago`, `in 5 min`, the day when it is more than a month away.
pub(crate) fn ago(at: Option<&prost_types::Timestamp>) -> String {
    let now = jiff::Timestamp::now().as_second() + AHEAD.load(Ordering::Relaxed);
    at.map_or_else(|| "-".to_owned(), |at| between(at, now))
}

fn between(at: &prost_types::Timestamp, now: i64) -> String {
    let Ok(time) = jiff::Timestamp::new(at.seconds, at.nanos) else { return "-".to_owned() };
    let past = now.saturating_sub(at.seconds);
    let (count, unit) = match past.unsigned_abs() {
        0..5 => return "now".to_owned(),
        seconds @ 5..60 => (seconds, "s"),
        seconds @ 60..3_600 => (seconds / 60, "min"),
        seconds @ 3_600..172_800 => (seconds / 3_600, "h"),
        seconds @ 172_800..2_678_400 => (seconds / 86_400, "d"),
        _ => return time.strftime("%Y-%m-%d").to_string(),
    };
    if past < 0 { format!("in {count} {unit}") } else { format!("{count} {unit} ago") }
}

/// When, and how long ago, for cards: `2026-11-21 02:10:05Z (3 min ago)`.
pub(crate) fn when(at: Option<&prost_types::Timestamp>) -> String {
    match (time(at), ago(at)) {
        (time, ago) if time.starts_with(&ago) || ago == "-" => time,
        (time, ago) => format!("{time} ({ago})"),
    }
}

/// Text of a server without what a terminal would act on: controls, and the marks that turn the direction of what follows (Unicode UAX #9, 2).
pub(crate) fn clean(text: &str) -> String {
    let turns = |c| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if (c.is_control() && c != '\n') || turns(c) { '\u{fffd}' } else { c }).collect()
}

/// `HOST_STATUS_FORCE_OFF` with prefix `HOST_STATUS_` as `force-off`.
pub(crate) fn enum_word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase().replace('_', "-")
}

/// `2026-11-21 02:10:05Z`.
pub(crate) fn time(at: Option<&prost_types::Timestamp>) -> String {
    at.and_then(|at| jiff::Timestamp::new(at.seconds, at.nanos).ok())
        .map_or_else(|| "-".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string())
}

/// `3d 4h`, `4h 5m`, `5m 6s`, `6s`: the two largest parts.
pub(crate) fn span(duration: Option<&prost_types::Duration>) -> String {
    let Some(seconds) = duration.and_then(|duration| u64::try_from(duration.seconds).ok()) else {
        return "-".to_owned();
    };
    let parts =
        [(seconds / 86_400, 'd'), (seconds / 3_600 % 24, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    let words: Vec<String> = parts
        .iter()
        .skip(first)
        .take(2)
        .filter(|(count, unit)| *count > 0 || *unit == 's' && first == 3)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    words.join(" ")
}

/// `12.3 MiB`, rounded down.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let mut tenths = u128::from(count) * 10;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1_024;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or("GiB");
    if unit == 0 { format!("{count} {name}") } else { format!("{}.{} {name}", tenths / 10, tenths % 10) }
}

/// `90`, `90s`, `5m`, `2h`, `1d`, `1h30m`: for arguments.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no span of time; write 90s, 5m, 1h30m or 2d");
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let span: jiff::Span = text.parse().map_err(|_| wrong())?;
    // Days have 24 hours here; months and years are no span of time.
    let span = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(span).ok().filter(|span| span.as_secs() <= u32::MAX.into()).ok_or_else(wrong)
}

/// A span that something can happen in.
pub(crate) fn parse_timeout(text: &str) -> Result<Duration, String> {
    match parse_span(text)? {
        Duration::ZERO => Err("nothing happens in no time; write 15s".to_owned()),
        span => Ok(span),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_and_write() {
        for (text, seconds) in
            [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5_400), ("2d", 172_800), ("1 h 5 min", 3_900)]
        {
            assert_eq!(parse_span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "m", "5x", "5m3", "-1", "-5m", "5m ago", "1y", "99999999999s"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (61, "1m 1s"), (3_600, "1h"), (90_061, "1d 1h"), (86_401, "1d")]
        {
            assert_eq!(span(Some(&prost_types::Duration { seconds, nanos: 0 })), text);
        }
        assert_eq!(span(None), "-");
    }

    #[test]
    fn sizes_have_one_decimal() {
        for (count, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_572_864, "1.5 MiB"),
            (u64::MAX, "17179869183.9 GiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn times_are_utc_and_never_wrong() {
        assert_eq!(time(Some(&prost_types::Timestamp { seconds: 0, nanos: 0 })), "1970-01-01 00:00:00Z");
        assert_eq!(time(Some(&prost_types::Timestamp { seconds: i64::MAX, nanos: 0 })), "-");
        assert_eq!(time(None), "-");
    }

    #[test]
    fn times_are_told_from_now_and_far_ones_by_their_day() {
        let now = 1_800_000_000;
        let at = |past: i64| between(&prost_types::Timestamp { seconds: now - past, nanos: 0 }, now);
        for (past, text) in [
            (0, "now"),
            (-4, "now"),
            (5, "5 s ago"),
            (59, "59 s ago"),
            (200, "3 min ago"),
            (-300, "in 5 min"),
            (7_300, "2 h ago"),
            (172_799, "47 h ago"),
            (172_800, "2 d ago"),
            (2_678_399, "30 d ago"),
            (2_678_400, "2026-12-15"),
            (-2_678_400, "2027-02-15"),
            (now, "1970-01-01"),
        ] {
            assert_eq!(at(past), text, "{past}");
        }
        for seconds in [i64::MIN, i64::MAX] {
            assert_eq!(between(&prost_types::Timestamp { seconds, nanos: 0 }, now), "-");
        }
        assert_eq!(ago(None), "-");
        assert_eq!(when(None), "-");
        assert_eq!(when(Some(&prost_types::Timestamp { seconds: 0, nanos: 0 })), "1970-01-01 00:00:00Z");
        let hour = jiff::Timestamp::now().as_second() - 3_700;
        assert!(when(Some(&prost_types::Timestamp { seconds: hour, nanos: 0 })).ends_with("Z (1 h ago)"));
    }

    #[test]
    fn enums_lose_their_prefix() {
        assert_eq!(enum_word("HOST_ACTION_FORCE_OFF", "HOST_ACTION_"), "force-off");
    }

    #[test]
    fn nothing_that_a_terminal_acts_on_is_left() {
        assert_eq!(clean("a\u{1b}[2J\u{202e}evil\n\u{2066}b"), "a\u{fffd}[2J\u{fffd}evil\n\u{fffd}b");
        assert_eq!(clean("Gerät 3, ラック"), "Gerät 3, ラック");
    }
}
