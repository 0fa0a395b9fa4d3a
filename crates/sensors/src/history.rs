//! What a sensor showed before, in memory: the last hour in steps of 10 s, the last day in steps of a minute.

use std::collections::VecDeque;

use units::{Millis, Mono};

/// Which of the two histories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// The last hour, in steps of 10 s: means.
    Hour,
    /// The last day, in steps of a minute: means, with the least and the largest sample.
    Day,
}

impl Span {
    /// The length of a step.
    pub const fn step(self) -> Millis {
        match self {
            Self::Hour => Millis::from_secs(10),
            Self::Day => Millis::from_secs(60),
        }
    }

    /// How many steps are kept.
    pub const fn steps(self) -> usize {
        match self {
            Self::Hour => 360,
            Self::Day => 1_440,
        }
    }
}

/// One step of a history. A step without a good sample has none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// When the step began.
    pub at: Mono,
    /// The mean of its samples.
    pub mean: f32,
    /// The least. In the hour's history the mean.
    pub min: f32,
    /// The largest. In the hour's history the mean.
    pub max: f32,
}

/// What a ring keeps of a step.
trait Slot: Copy {
    /// A step without a good sample.
    const NONE: Self;
    fn of(samples: &Samples) -> Self;
    fn point(self, at: Mono) -> Option<Point>;
}

impl Slot for f32 {
    const NONE: Self = Self::NAN;

    fn of(samples: &Samples) -> Self {
        narrow(samples.mean)
    }

    fn point(self, at: Mono) -> Option<Point> {
        (!self.is_nan()).then_some(Point { at, mean: self, min: self, max: self })
    }
}

impl Slot for [f32; 3] {
    const NONE: Self = [f32::NAN; 3];

    fn of(samples: &Samples) -> Self {
        [narrow(samples.mean), narrow(samples.min), narrow(samples.max)]
    }

    fn point(self, at: Mono) -> Option<Point> {
        let [mean, min, max] = self;
        (!mean.is_nan()).then_some(Point { at, mean, min, max })
    }
}

/// Seven digits are more than any sensor has.
#[allow(clippy::cast_possible_truncation, reason = "the digits beyond are noise")]
fn narrow(value: f64) -> f32 {
    value as f32
}

/// The samples of the step under way.
#[derive(Debug, Clone, Copy)]
struct Samples {
    step: u64,
    count: u32,
    mean: f64,
    min: f64,
    max: f64,
}

impl Samples {
    fn first(step: u64, value: f64) -> Self {
        Self { step, count: 1, mean: value, min: value, max: value }
    }

    fn add(&mut self, value: f64) {
        self.count = self.count.saturating_add(1);
        self.mean += (value - self.mean) / f64::from(self.count);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }
}

/// Steps that are over, the oldest first, without gaps, and the one under way.
#[derive(Debug, Clone)]
struct Ring<S> {
    span: Span,
    /// The step of the first slot.
    first: u64,
    slots: VecDeque<S>,
    open: Option<Samples>,
}

impl<S: Slot> Ring<S> {
    fn new(span: Span) -> Self {
        Self { span, first: 0, slots: VecDeque::new(), open: None }
    }

    fn sample(&mut self, now: Mono, value: f64) {
        let step = now.as_millis() / self.span.step().get();
        match &mut self.open {
            Some(open) if open.step >= step => open.add(value),
            Some(open) => {
                let over = std::mem::replace(open, Samples::first(step, value));
                self.close(over);
            }
            None => self.open = Some(Samples::first(step, value)),
        }
    }

    fn close(&mut self, over: Samples) {
        let next = self.first + self.slots.len() as u64;
        let steps = self.span.steps();
        if self.slots.is_empty() || over.step.saturating_sub(next) >= steps as u64 {
            // Nothing of before would be left.
            self.slots.clear();
            self.first = over.step;
        } else {
            for _ in next..over.step {
                self.push(S::NONE, steps);
            }
        }
        self.push(S::of(&over), steps);
    }

    fn push(&mut self, slot: S, steps: usize) {
        if self.slots.len() >= steps {
            self.slots.pop_front();
            self.first += 1;
        }
        // Doubling would leave up to half of it unused.
        if self.slots.len() == self.slots.capacity() {
            self.slots.reserve_exact((steps / 12).min(steps - self.slots.len()));
        }
        self.slots.push_back(slot);
    }

    fn points(&self, since: Mono, now: Mono) -> impl Iterator<Item = Point> {
        let length = self.span.step().get();
        let at = move |step: u64| Mono::from_millis(step.saturating_mul(length));
        let open = self.open.as_ref().and_then(|open| S::of(open).point(at(open.step)));
        let kept = self.slots.iter().zip(self.first..).filter_map(move |(slot, step)| slot.point(at(step)));
        let oldest = now.saturating_sub(Millis::new(length * self.span.steps() as u64));
        kept.chain(open).filter(move |point| point.at >= since && point.at + Millis::new(length) > oldest)
    }
}

/// Both histories of a sensor.
#[derive(Debug, Clone)]
pub struct History {
    hour: Ring<f32>,
    day: Ring<[f32; 3]>,
}

impl History {
    /// What a sensor's history takes at most, bytes. It grows to that within a day.
    pub const BYTES_MAX: usize =
        Span::Hour.steps() * size_of::<f32>() + Span::Day.steps() * size_of::<[f32; 3]>();

    /// An empty one.
    pub fn new() -> Self {
        Self { hour: Ring::new(Span::Hour), day: Ring::new(Span::Day) }
    }

    /// Takes a good sample.
    pub fn sample(&mut self, now: Mono, value: f64) {
        self.hour.sample(now, value);
        self.day.sample(now, value);
    }

    /// The steps that began at `since` or later and are not older than the span, oldest first; the last is the one under way.
    pub fn points(&self, span: Span, since: Mono, now: Mono) -> Vec<Point> {
        match span {
            Span::Hour => self.hour.points(since, now).collect(),
            Span::Day => self.day.points(since, now).collect(),
        }
    }

    /// Bytes taken now, beside the value itself.
    pub fn bytes(&self) -> usize {
        self.hour.slots.capacity() * size_of::<f32>() + self.day.slots.capacity() * size_of::<[f32; 3]>()
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Mono {
        Mono::from_millis(seconds * 1_000)
    }

    #[test]
    fn a_step_has_mean_least_and_largest_of_its_samples() {
        let mut history = History::new();
        for second in 0..120u32 {
            history.sample(seconds(second.into()), f64::from(second % 60));
        }
        let now = seconds(119);
        let day = history.points(Span::Day, Mono::ZERO, now);
        let point = |at, mean, min, max| Point { at: seconds(at), mean, min, max };
        assert_eq!(day, [point(0, 29.5, 0.0, 59.0), point(60, 29.5, 0.0, 59.0)]);
        let hour = history.points(Span::Hour, seconds(100), now);
        assert_eq!(hour, [point(100, 44.5, 44.5, 44.5), point(110, 54.5, 54.5, 54.5)]);
    }

    #[test]
    fn steps_without_samples_are_gaps_and_what_is_older_than_the_span_is_gone() {
        let mut history = History::new();
        history.sample(seconds(0), 1.0);
        history.sample(seconds(100), 2.0);
        history.sample(seconds(3_605), 3.0);
        let at =
            |points: &[Point]| points.iter().map(|point| point.at.as_millis() / 1_000).collect::<Vec<_>>();
        assert_eq!(at(&history.points(Span::Hour, Mono::ZERO, seconds(3_605))), [0, 100, 3_600]);
        assert_eq!(at(&history.points(Span::Hour, Mono::ZERO, seconds(3_700))), [100, 3_600]);
        assert_eq!(at(&history.points(Span::Hour, Mono::ZERO, seconds(90_000))), [] as [u64; 0]);
        // A pause longer than all of it.
        history.sample(seconds(100_000), 4.0);
        history.sample(seconds(200_000), 4.0);
        assert_eq!(at(&history.points(Span::Hour, Mono::ZERO, seconds(200_000))), [200_000]);
        assert!(history.bytes() <= History::BYTES_MAX);
    }

    #[test]
    fn a_day_at_ten_samples_a_second_stays_within_its_bound() {
        let mut history = History::new();
        for tenth in 0..90_000u64 * 10 {
            history.sample(Mono::from_millis(tenth * 100), 1.0);
        }
        assert!(history.bytes() <= History::BYTES_MAX, "{} of {}", history.bytes(), History::BYTES_MAX);
        let now = seconds(90_000);
        assert_eq!(history.points(Span::Hour, Mono::ZERO, now).len(), 360);
        assert_eq!(history.points(Span::Day, Mono::ZERO, now).len(), 1_440);
    }
}
