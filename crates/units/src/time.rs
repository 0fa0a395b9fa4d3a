//! Monotonic time and spans of it, in milliseconds.

use std::fmt;
use std::ops::{Add, AddAssign, Mul, Sub};
use std::time::Duration;

/// A point on the daemon's monotonic clock, in milliseconds since an arbitrary start (usually boot or process start).
///
/// Never goes backwards, never jumps when the wall clock is set, and means nothing in another process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(u64);

impl Mono {
    /// The start of the clock.
    pub const ZERO: Self = Self(0);
    /// The end of time: later than any deadline.
    pub const MAX: Self = Self(u64::MAX);

    /// The point `millis` milliseconds after the start of the clock.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the start of the clock.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The span from `earlier` to here; zero when `earlier` is in fact later.
    pub const fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }

    /// The span from here to `later`; zero when `later` has passed.
    pub const fn until(self, later: Self) -> Millis {
        later.since(self)
    }

    /// This point moved on by `span`, or `None` when the clock cannot express it.
    pub const fn checked_add(self, span: Millis) -> Option<Self> {
        match self.0.checked_add(span.0) {
            Some(t) => Some(Self(t)),
            None => None,
        }
    }

    /// This point moved on by `span`, at most to [`Mono::MAX`].
    pub const fn saturating_add(self, span: Millis) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// This point moved back by `span`, at least to [`Mono::ZERO`].
    pub const fn saturating_sub(self, span: Millis) -> Self {
        Self(self.0.saturating_sub(span.0))
    }
}

/// A span of time in whole milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Millis(u64);

impl Millis {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// Longer than any real span.
    pub const MAX: Self = Self(u64::MAX);

    /// A span of `millis` milliseconds.
    pub const fn new(millis: u64) -> Self {
        Self(millis)
    }

    /// A span of `secs` seconds, at most [`Millis::MAX`].
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000))
    }

    /// The number of milliseconds.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number of whole seconds, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000
    }

    /// Whether the span is empty.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, or `None` when it does not fit.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(t) => Some(Self(t)),
            None => None,
        }
    }

    /// The sum, at most [`Millis::MAX`].
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, at least [`Millis::ZERO`].
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The span taken `times` times, at most [`Millis::MAX`].
    pub const fn saturating_mul(self, times: u64) -> Self {
        Self(self.0.saturating_mul(times))
    }
}

/// Saturating, so that a deadline far in the future stays there.
impl Add<Millis> for Mono {
    type Output = Self;
    fn add(self, span: Millis) -> Self {
        self.saturating_add(span)
    }
}

impl AddAssign<Millis> for Mono {
    fn add_assign(&mut self, span: Millis) {
        *self = *self + span;
    }
}

/// Saturating at zero: see [`Mono::since`].
impl Sub for Mono {
    type Output = Millis;
    fn sub(self, earlier: Self) -> Millis {
        self.since(earlier)
    }
}

impl Add for Millis {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.saturating_add(other)
    }
}

impl AddAssign for Millis {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Millis {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self.saturating_sub(other)
    }
}

impl Mul<u64> for Millis {
    type Output = Self;
    fn mul(self, times: u64) -> Self {
        self.saturating_mul(times)
    }
}

impl From<Millis> for Duration {
    fn from(span: Millis) -> Self {
        Self::from_millis(span.0)
    }
}

/// Rounds down to whole milliseconds; a span too long to count becomes [`Millis::MAX`].
impl From<Duration> for Millis {
    fn from(span: Duration) -> Self {
        Self(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    }
}

impl fmt::Debug for Mono {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}ms", self.0)
    }
}

impl fmt::Display for Mono {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} s", self.0 / 1_000, self.0 % 1_000)
    }
}

impl fmt::Debug for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

/// In the unit a person would choose: `200 ms`, `8 s`, `1.5 s`, `5 min`.
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms if ms < 1_000 => write!(f, "{ms} ms"),
            ms if ms >= 60_000 && ms % 60_000 == 0 => write!(f, "{} min", ms / 60_000),
            ms if ms % 1_000 == 0 => write!(f, "{} s", ms / 1_000),
            ms => write!(f, "{}.{} s", ms / 1_000, (ms % 1_000) / 100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_saturate_instead_of_wrapping() {
        assert_eq!(Mono::MAX + Millis::new(1), Mono::MAX);
        assert_eq!(Mono::ZERO.saturating_sub(Millis::new(1)), Mono::ZERO);
        assert_eq!(Millis::MAX + Millis::new(1), Millis::MAX);
        assert_eq!(Millis::new(1) - Millis::new(2), Millis::ZERO);
        assert_eq!(Millis::from_secs(u64::MAX), Millis::MAX);
        assert_eq!(Mono::MAX.checked_add(Millis::new(1)), None);
        assert_eq!(Millis::MAX.checked_add(Millis::new(1)), None);
    }

    #[test]
    fn a_span_to_the_past_is_zero() {
        let (early, late) = (Mono::from_millis(5), Mono::from_millis(9));
        assert_eq!(late - early, Millis::new(4));
        assert_eq!(early - late, Millis::ZERO);
        assert_eq!(early.until(late), Millis::new(4));
        assert_eq!(late.until(early), Millis::ZERO);
    }

    #[test]
    fn durations_convert_both_ways_and_cap() {
        assert_eq!(Duration::from(Millis::new(1_500)), Duration::from_millis(1_500));
        assert_eq!(Millis::from(Duration::from_micros(1_999)), Millis::new(1));
        assert_eq!(Millis::from(Duration::MAX), Millis::MAX);
    }

    #[test]
    fn spans_read_as_people_write_them() {
        let text = |ms| Millis::new(ms).to_string();
        assert_eq!(text(200), "200 ms");
        assert_eq!(text(8_000), "8 s");
        assert_eq!(text(1_500), "1.5 s");
        assert_eq!(text(300_000), "5 min");
    }
}
