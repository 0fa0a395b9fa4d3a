//! Wall-clock times as JetStream writes them: RFC 3339 in UTC with up to nine fractional digits, trailing
//! zeros left out, and `0001-01-01T00:00:00Z` for "none".

/// Nanoseconds in a second.
pub(crate) const SECOND: i64 = 1_000_000_000;
/// Nanoseconds in a millisecond.
pub(crate) const MILLI: i64 = 1_000_000;

/// What "no time" looks like in answers.
pub(crate) const ZERO: &str = "0001-01-01T00:00:00Z";

/// Formats nanoseconds since 1970 (UTC).
#[must_use]
pub fn format_rfc3339(nanos: i64) -> String {
    let seconds = nanos.div_euclid(SECOND);
    let fraction = nanos.rem_euclid(SECOND);
    let days = seconds.div_euclid(86_400);
    let of_day = seconds.rem_euclid(86_400);
    let (year, month, day) = civil_from_days(days);
    let mut text = format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    );
    if fraction != 0 {
        let digits = format!("{fraction:09}");
        text.push('.');
        text.push_str(digits.trim_end_matches('0'));
    }
    text.push('Z');
    text
}

/// Reads an RFC 3339 time with any offset; `None` when it is not one or lies outside what 64 bits of
/// nanoseconds hold (1677 to 2262).
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let number = |range: core::ops::Range<usize>| -> Option<i64> {
        let part = text.get(range)?;
        if !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        part.parse().ok()
    };
    let is = |at: usize, any: &[u8]| text.as_bytes().get(at).is_some_and(|b| any.contains(b));
    if !(is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":")) {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut fraction = 0_i64;
    if let Some(after) = rest.strip_prefix('.') {
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return None;
        }
        let kept = after.get(..digits.min(9))?;
        fraction = format!("{kept:0<9}").parse().ok()?;
        rest = after.get(digits..)?;
    }
    let offset = match rest {
        "Z" | "z" => 0,
        _ => {
            let sign = match rest.as_bytes().first()? {
                b'+' => 1,
                b'-' => -1,
                _ => return None,
            };
            let (hours, minutes) = rest.get(1..)?.split_once(':')?;
            if hours.len() != 2 || minutes.len() != 2 {
                return None;
            }
            sign * (hours.parse::<i64>().ok()? * 3600 + minutes.parse::<i64>().ok()? * 60)
        }
    };
    let days = days_from_civil(year, month, day);
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset;
    seconds.checked_mul(SECOND)?.checked_add(fraction)
}

/// Reads a duration as `Nats-TTL` carries it: whole seconds, or numbers with the units `ns us ms s m h`
/// ("1h30m"). The result is nanoseconds.
#[must_use]
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    if text.is_empty() {
        return None;
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse::<i64>().ok()?.checked_mul(SECOND);
    }
    let mut total = 0_i64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let value: f64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?;
        let letters = rest.bytes().take_while(|b| !b.is_ascii_digit() && *b != b'.').count();
        let unit = match rest.get(..letters)? {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 6e10,
            "h" => 3.6e12,
            _ => return None,
        };
        rest = rest.get(letters..)?;
        let nanos = value * unit;
        if !(0.0..9.2e18).contains(&nanos) {
            return None;
        }
        #[allow(clippy::cast_possible_truncation, reason = "checked to be below 2^63 just above")]
        let nanos = nanos as i64;
        total = total.checked_add(nanos)?;
    }
    Some(total)
}

/// Days since 1970-01-01 of a proleptic Gregorian date (Howard Hinnant's `days_from_civil`).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_back_as_written() {
        for (nanos, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_795_225_413_286_968_306, "2026-11-21T01:43:33.286968306Z"),
            (1_795_225_413_290_000_000, "2026-11-21T01:43:33.29Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00Z"),
            (-1_000_000_000, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(format_rfc3339(nanos), text);
            assert_eq!(parse_rfc3339(text), Some(nanos), "{text}");
        }
        assert_eq!(parse_rfc3339("2026-11-21T02:43:33+01:00"), parse_rfc3339("2026-11-21T01:43:33Z"));
        for bad in [
            "",
            "2026",
            "2026-13-01T00:00:00Z",
            "2026-11-21T01:43:33",
            "2026-11-21T01:43:33.Z",
            "0001-01-01T00:00:00Z",
        ] {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_ttl_is_seconds_or_units() {
        assert_eq!(parse_duration("5"), Some(5 * SECOND));
        assert_eq!(parse_duration("1h30m"), Some(5400 * SECOND));
        assert_eq!(parse_duration("1.5s"), Some(1_500 * MILLI));
        for bad in ["", "s", "5x", "-5", "99999999999999h"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }
}
