//! Times and spans of the contract, and the milliseconds since 1970 that records keep.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost_types::Timestamp;

/// The last millisecond a `google.protobuf.Timestamp` can say: the end of the year 9999.
pub const LAST_MS: u64 = 253_402_300_799_999;

/// A span. One beyond what a `google.protobuf.Duration` holds becomes the longest there is.
#[must_use]
pub fn duration(span: impl Into<Duration>) -> prost_types::Duration {
    let span = span.into();
    prost_types::Duration {
        seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
        // Below a billion, so it fits.
        nanos: i32::try_from(span.subsec_nanos()).unwrap_or(0),
    }
}

/// A time given in milliseconds since 1970. One beyond the year 9999 is no time but damage, and shows as 1970.
#[must_use]
pub fn timestamp(unix_ms: u64) -> Timestamp {
    if unix_ms > LAST_MS {
        return Timestamp::default();
    }
    Timestamp {
        seconds: i64::try_from(unix_ms / 1_000).unwrap_or(0),
        nanos: i32::try_from(unix_ms % 1_000).unwrap_or(0) * 1_000_000,
    }
}

/// The milliseconds since 1970 of a timestamp; zero before.
#[must_use]
pub fn timestamp_ms(at: &Timestamp) -> u64 {
    let seconds = u64::try_from(at.seconds).unwrap_or(0);
    let nanos = u64::try_from(at.nanos).unwrap_or(0);
    seconds.saturating_mul(1_000).saturating_add(nanos / 1_000_000)
}

/// Milliseconds since 1970; zero before.
#[must_use]
pub fn unix_ms(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The same back; 1970 for what no system time can be.
#[must_use]
pub fn from_unix_ms(unix_ms: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms)).unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_time_survives_the_contract(ms in 0..=LAST_MS) {
            prop_assert_eq!(unix_ms(from_unix_ms(ms)), ms);
            prop_assert_eq!(timestamp(ms), Timestamp::from(from_unix_ms(ms)));
        }

        #[test]
        fn any_number_is_a_time_and_a_span(ms in any::<u64>(), secs in any::<u64>(), nanos in 0..1_000_000_000_u32) {
            let at = timestamp(ms);
            prop_assert!((0..=253_402_300_799).contains(&at.seconds) && (0..1_000_000_000).contains(&at.nanos));
            let _ = from_unix_ms(ms);
            let span = duration(Duration::new(secs, nanos));
            prop_assert!(span.seconds >= 0 && (0..1_000_000_000).contains(&span.nanos));
        }
    }

    #[test]
    fn a_damaged_time_shows_as_1970_and_a_span_keeps_its_parts() {
        assert_eq!(timestamp(u64::MAX), Timestamp::default());
        assert_eq!(timestamp(1_500), Timestamp { seconds: 1, nanos: 500_000_000 });
        assert_eq!(
            duration(Duration::from_millis(61_250)),
            prost_types::Duration { seconds: 61, nanos: 250_000_000 }
        );
        assert_eq!(duration(Duration::MAX).seconds, i64::MAX);
        assert_eq!(unix_ms(UNIX_EPOCH - Duration::from_secs(1)), 0);
    }
}
