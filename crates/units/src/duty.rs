//! How hard a fan is driven.

use std::cmp::Ordering;
use std::fmt;

/// The share of a fan's full drive, 0 to 100 %. Never anything else, and never NaN.
#[derive(Clone, Copy)]
pub struct Duty(f64);

impl Duty {
    /// Not driven.
    pub const ZERO: Self = Self(0.0);
    /// Full speed.
    pub const FULL: Self = Self(100.0);

    /// A duty of so many percent; none where that is no number from 0 to 100.
    pub fn from_percent(percent: f64) -> Option<Self> {
        // `+ 0.0` makes one zero of the two.
        (0.0..=100.0).contains(&percent).then_some(Self(percent + 0.0))
    }

    /// The nearest duty to so many percent. What is no number is full speed: who does not know what is wanted must not cool less.
    pub fn saturating(percent: f64) -> Self {
        if percent.is_nan() { Self::FULL } else { Self(percent.clamp(0.0, 100.0) + 0.0) }
    }

    /// Percent, 0 to 100.
    pub const fn percent(self) -> f64 {
        self.0
    }

    /// Whether it is not driven at all.
    pub fn is_zero(self) -> bool {
        self.0 == 0.0
    }

    /// The value of hwmon's `pwmN` (0 to 255, Documentation/hwmon/sysfs-interface), rounded up: never less than was meant.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255")]
    pub fn to_pwm(self) -> u8 {
        (self.0 * 2.55 - 1e-9).ceil() as u8
    }

    /// The duty that hwmon's `pwmN` of this value means.
    pub fn from_pwm(value: u8) -> Self {
        Self(f64::from(value) / 2.55).min(Self::FULL)
    }
}

impl Default for Duty {
    fn default() -> Self {
        Self::ZERO
    }
}

impl PartialEq for Duty {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Duty {}

impl PartialOrd for Duty {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Duty {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl fmt::Debug for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// With at most one decimal: `35 %`, `37.5 %`.
impl fmt::Display for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.0 * 10.0).round();
        if tenths % 10.0 == 0.0 {
            write!(f, "{} %", tenths / 10.0)
        } else {
            write!(f, "{:.1} %", tenths / 10.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_a_duty_becomes_one() {
        assert_eq!(Duty::from_percent(100.0), Some(Duty::FULL));
        assert_eq!(Duty::from_percent(-0.0), Some(Duty::ZERO));
        for wrong in [-0.1, 100.1, 1e9, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Duty::from_percent(wrong), None, "{wrong}");
        }
        assert_eq!(Duty::saturating(f64::NAN), Duty::FULL);
        assert_eq!(Duty::saturating(f64::INFINITY), Duty::FULL);
        assert_eq!(Duty::saturating(-1e9), Duty::ZERO);
    }

    #[test]
    fn a_pwm_value_is_never_less_than_was_meant_and_comes_back() {
        assert_eq!(Duty::ZERO.to_pwm(), 0);
        assert_eq!(Duty::FULL.to_pwm(), 255);
        assert_eq!(Duty::saturating(50.0).to_pwm(), 128);
        for value in 0..=u8::MAX {
            assert_eq!(Duty::from_pwm(value).to_pwm(), value);
        }
        for permille in 0..=1_000_u32 {
            let duty = Duty::saturating(f64::from(permille) / 10.0);
            assert!(Duty::from_pwm(duty.to_pwm()).percent() >= duty.percent() - 1e-6, "{duty}");
        }
    }

    #[test]
    fn it_reads_as_people_write_it() {
        assert_eq!(Duty::saturating(35.0).to_string(), "35 %");
        assert_eq!(Duty::saturating(37.46).to_string(), "37.5 %");
    }
}
