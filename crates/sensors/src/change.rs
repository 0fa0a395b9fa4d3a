//! Which readings are news: what changed beyond the sensor's resolution.

use crate::sensor::{Quality, Reading, Reason};
use crate::threshold::Level;

/// What was told of a sensor last.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Filter {
    told: Option<Told>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Told {
    value: Option<f64>,
    quality: Quality,
    reason: Reason,
    level: Option<Level>,
}

impl Filter {
    /// Whether this reading is news, which it then is no longer. Who hears all news is never off by the resolution or more, and never wrong
    /// about quality or level.
    pub fn is_news(&mut self, reading: &Reading, level: Option<Level>, resolution: f64) -> bool {
        let now = Told { value: reading.value, quality: reading.quality, reason: reading.reason, level };
        let same = self.told.is_some_and(|told| {
            let near = match (told.value, now.value) {
                (Some(told), Some(now)) => (told - now).abs() < resolution || told == now,
                (None, None) => true,
                _ => false,
            };
            near && Told { value: now.value, ..told } == now
        });
        if !same {
            self.told = Some(now);
        }
        !same
    }

    /// It has been told in a full snapshot.
    pub fn told(&mut self, reading: &Reading, level: Option<Level>) {
        self.told =
            Some(Told { value: reading.value, quality: reading.quality, reason: reading.reason, level });
    }
}
