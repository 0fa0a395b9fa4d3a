//! Least, largest and mean value since a reset.

use units::Mono;

/// Least, largest and mean of the good samples since a reset.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stats {
    /// Since when.
    pub since: Mono,
    /// How many samples.
    pub count: u64,
    /// The least value, and when it was first seen.
    pub min: Option<(f64, Mono)>,
    /// The largest value, and when it was first seen.
    pub max: Option<(f64, Mono)>,
    mean: f64,
}

impl Stats {
    /// None yet.
    pub fn new(since: Mono) -> Self {
        Self { since, count: 0, min: None, max: None, mean: 0.0 }
    }

    /// Takes a good sample.
    pub fn sample(&mut self, now: Mono, value: f64) {
        self.count = self.count.saturating_add(1);
        // The running mean (Welford): a sum would lose its last digits in a year.
        #[allow(clippy::cast_precision_loss, reason = "2^53 samples take 285 million years at one a second")]
        let count = self.count as f64;
        self.mean += (value - self.mean) / count;
        if self.min.is_none_or(|(min, _)| value < min) {
            self.min = Some((value, now));
        }
        if self.max.is_none_or(|(max, _)| value > max) {
            self.max = Some((value, now));
        }
    }

    /// The mean; none without samples.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_largest_and_mean_with_their_times() {
        let mut stats = Stats::new(Mono::ZERO);
        assert_eq!((stats.mean(), stats.min, stats.max), (None, None, None));
        for (at, value) in [(1, 20.0), (2, 10.0), (3, 30.0), (4, 30.0)] {
            stats.sample(Mono::from_millis(at), value);
        }
        assert_eq!(stats.mean(), Some(22.5));
        assert_eq!(stats.min, Some((10.0, Mono::from_millis(2))));
        assert_eq!(stats.max, Some((30.0, Mono::from_millis(3))));
    }

    #[test]
    fn a_year_of_samples_does_not_wear_the_mean_out() {
        let mut stats = Stats::new(Mono::ZERO);
        for n in 0..3_000_000u64 {
            stats.sample(Mono::from_millis(n), 1e9 + if n % 2 == 0 { 0.5 } else { -0.5 });
        }
        assert!((stats.mean().unwrap() - 1e9).abs() < 1e-3, "{:?}", stats.mean());
    }
}
