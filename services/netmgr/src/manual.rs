//! A time that somebody sets by hand: which one may be asked for, and what is told of it. Pure.

use std::time::{Duration, SystemTime};

use ipc::Status;
use prost_types::Timestamp;

use crate::sync::FUTURE_S;

/// The first second since 1970 that Linux refuses: it keeps 30 years free before its nanoseconds overflow (`TIME_SETTOD_SEC_MAX` of `include/linux/time64.h`).
const KERNEL_END_S: i64 = 8_277_292_036;
/// The reason of a refusal of a time that cannot be.
const OUT_OF_RANGE: &str = "TIME_OUT_OF_RANGE";
/// The reason of a refusal while time servers are asked.
const FROM_SERVERS: &str = "TIME_FROM_SERVERS";

/// What the clock is to be set to. `floor_s` is the first second since 1970 that is believed, as of a time server's answer.
///
/// # Errors
/// `INVALID_ARGUMENT` about the field `time`, with the reason `TIME_OUT_OF_RANGE` for one that is before the floor, 50 years after it, or beyond what the
/// kernel takes.
pub(crate) fn wanted(time: Option<&Timestamp>, floor_s: u64) -> Result<SystemTime, Status> {
    const FIELD: &str = "time";
    let Some(time) = time else { return Err(Status::bad_field(FIELD, "it is missing")) };
    let nanos = u32::try_from(time.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let Some(nanos) = nanos else {
        return Err(Status::bad_field(FIELD, "its nanoseconds are not from 0 to 999999999"));
    };
    let first = i64::try_from(floor_s).unwrap_or(i64::MAX);
    let end = first.saturating_add(FUTURE_S).min(KERNEL_END_S);
    let seconds = u64::try_from(time.seconds).ok().filter(|_| (first..end).contains(&time.seconds));
    let Some(seconds) = seconds else {
        let at = |seconds| Timestamp { seconds, nanos: 0 };
        let why = format!("it is not from {} to before {}", at(first), at(end));
        return Err(Status::bad_field(FIELD, why).with_reason(OUT_OF_RANGE));
    };
    Ok(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos))
}

/// The refusal while time servers are asked.
pub(crate) fn from_servers() -> Status {
    let text = "time servers are asked, and would set the clock again: switch that off first";
    Status::failed_precondition(text).with_reason(FROM_SERVERS)
}

/// By how much a clock is moved, microseconds; negative when it is set back.
pub(crate) fn step_us(from: SystemTime, to: SystemTime) -> i64 {
    let us = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    match to.duration_since(from) {
        Ok(span) => us(span),
        Err(error) => -us(error.duration()),
    }
}

/// What was done, for people: `the clock was set to 2026-11-30T22:00:00Z by hand, 3600.000 s forward; it was 2026-11-30T21:00:00Z`.
pub(crate) fn told(from: SystemTime, to: SystemTime, step_us: i64) -> String {
    let ms = step_us.unsigned_abs() / 1000;
    let (seconds, part) = (ms / 1000, ms % 1000);
    let way = if step_us < 0 { "back" } else { "forward" };
    let (from, to) = (Timestamp::from(from), Timestamp::from(to));
    format!("the clock was set to {to} by hand, {seconds}.{part:03} s {way}; it was {from}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-01.
    const FLOOR: u64 = 1_767_225_600;

    fn at(seconds: i64, nanos: i32) -> Timestamp {
        Timestamp { seconds, nanos }
    }

    #[test]
    fn a_time_is_taken_from_the_floor_on_for_50_years() {
        let first = i64::try_from(FLOOR).unwrap();
        for (seconds, nanos) in [(first, 0), (first, 999_999_999), (first + FUTURE_S - 1, 999_999_999)] {
            let time = wanted(Some(&at(seconds, nanos)), FLOOR).unwrap();
            assert_eq!(Timestamp::from(time), at(seconds, nanos));
        }
        for seconds in [i64::MIN, -1, 0, first - 1, first + FUTURE_S, KERNEL_END_S, i64::MAX] {
            let refused = wanted(Some(&at(seconds, 0)), FLOOR).unwrap_err();
            assert_eq!(
                (refused.code, refused.reason().as_str()),
                (ipc::Code::InvalidArgument, "TIME_OUT_OF_RANGE"),
                "{seconds}"
            );
            let fields = refused.fields();
            let [(field, why)] = fields.as_slice() else { panic!("{fields:?}") };
            assert_eq!(
                (field.as_str(), why.as_str()),
                ("time", "it is not from 2026-01-01T00:00:00Z to before 2075-12-20T00:00:00Z")
            );
        }
    }

    #[test]
    fn no_time_is_taken_that_the_kernel_would_refuse() {
        // The latest floor that a configuration may have is the year 2200.
        let floor = 7_258_118_400;
        assert!(wanted(Some(&at(KERNEL_END_S - 1, 0)), floor).is_ok());
        assert_eq!(wanted(Some(&at(KERNEL_END_S, 0)), floor).unwrap_err().reason(), "TIME_OUT_OF_RANGE");
    }

    #[test]
    fn what_is_no_time_is_refused_and_names_the_field() {
        let seconds = i64::try_from(FLOOR).unwrap();
        for time in
            [None, Some(at(seconds, -1)), Some(at(seconds, 1_000_000_000)), Some(at(seconds, i32::MIN))]
        {
            let refused = wanted(time.as_ref(), FLOOR).unwrap_err();
            assert_eq!((refused.code, refused.reason().as_str()), (ipc::Code::InvalidArgument, ""));
            assert_eq!(refused.fields().first().map(|(field, _)| field.clone()), Some("time".to_owned()));
        }
    }

    #[test]
    fn a_step_has_a_way_and_is_told_with_it() {
        let second = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let from = second(FLOOR) + Duration::from_millis(500);
        for (to, us, words) in [
            (second(FLOOR + 3601), 3_600_500_000, "2026-01-01T01:00:01Z by hand, 3600.500 s forward"),
            (second(FLOOR), -500_000, "2026-01-01T00:00:00Z by hand, 0.500 s back"),
            (from, 0, "2026-01-01T00:00:00.500Z by hand, 0.000 s forward"),
        ] {
            assert_eq!(step_us(from, to), us);
            let was = "it was 2026-01-01T00:00:00.500Z";
            assert_eq!(told(from, to, us), format!("the clock was set to {words}; {was}"));
        }
    }
}
