//! Times in a configuration that have a range.

use std::time::Duration;

use serde::Deserialize;
use serde::de::Error;

/// A time in milliseconds, from `MIN` to `MAX`; another is refused when the configuration is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MillisWithin<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> MillisWithin<MIN, MAX> {
    /// This time, or the nearest that is within.
    pub const fn clamped(millis: u32) -> Self {
        if millis < MIN {
            Self(MIN)
        } else if millis > MAX {
            Self(MAX)
        } else {
            Self(millis)
        }
    }

    /// The time.
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0.into())
    }
}

impl<'de, const MIN: u32, const MAX: u32> Deserialize<'de> for MillisWithin<MIN, MAX> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let millis = u32::deserialize(deserializer)?;
        if (MIN..=MAX).contains(&millis) {
            Ok(Self(millis))
        } else {
            Err(Error::custom(format!("{millis} is not from {MIN} to {MAX}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Some = MillisWithin<100, 60_000>;

    #[test]
    fn what_is_out_of_range_is_refused_with_the_range() {
        for (given, read) in [("100", Some::clamped(100)), ("60000", Some::clamped(60_000))] {
            assert_eq!(serde_json::from_str::<Some>(given).unwrap(), read);
        }
        for given in ["99", "60001"] {
            let error = serde_json::from_str::<Some>(given).unwrap_err().to_string();
            assert!(error.contains("is not from 100 to 60000"), "{error}");
        }
        assert_eq!(Some::clamped(1).duration(), Duration::from_millis(100));
        assert_eq!(Some::clamped(u32::MAX).duration(), Duration::from_secs(60));
    }
}
