//! Times of day that stay right when the clock is set.

use crate::Millis;

/// So far may a time be off before it is told anew, milliseconds: less is the reading of two clocks one after the other, and a time that is
/// shown does not tremble.
const OFF_MS: u64 = 1_000;

/// When something began that has lasted `span`, by a clock that shows `now_ms`; `told_ms` is what was said last, and is said again while it is
/// right. Unix times in milliseconds. A clock that shows less than the span does not know.
#[must_use]
pub const fn began_ms(now_ms: u64, span: Millis, told_ms: u64) -> u64 {
    match now_ms.checked_sub(span.get()) {
        Some(began) if began.abs_diff(told_ms) > OFF_MS => began,
        Some(_) | None => told_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_told_follows_a_clock_that_is_set() {
        let year = 1_700_000_000_000;
        let began = |now, span, told| began_ms(now, Millis::new(span), told);
        assert_eq!(began(10_400, 3_000, 7_000), 7_000, "a clock that runs a little fast was not set");
        assert_eq!(began(year, 4_000, 7_000), year - 4_000);
        assert_eq!(began(1_000, 4_000, year), year, "before 1970 is no time");
        assert_eq!(began(20_000, 4_000, year), 16_000, "backwards, too");
        assert_eq!(began(u64::MAX, u64::MAX, 5_000), 0);
    }
}
