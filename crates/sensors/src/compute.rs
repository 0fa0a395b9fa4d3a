//! Sensors that are computed from others.

use serde::{Deserialize, Serialize};

use crate::sensor::{Quality, Reading, Reason};

/// How values are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Op {
    /// All added up.
    Sum,
    /// Their mean.
    Mean,
    /// The largest.
    Max,
    /// The least.
    Min,
    /// The first less all others.
    Difference,
    /// All multiplied: power is voltage by current.
    Product,
}

impl Op {
    /// All of them, with the word for each in a board file.
    pub const WORDS: [(&'static str, Self); 6] = [
        ("sum", Self::Sum),
        ("mean", Self::Mean),
        ("max", Self::Max),
        ("min", Self::Min),
        ("difference", Self::Difference),
        ("product", Self::Product),
    ];

    /// Whether what is not in the machine (a supply that was pulled) is left out. Of a difference or a product nothing can be left out.
    fn leaves_out(self) -> bool {
        !matches!(self, Self::Difference | Self::Product)
    }

    fn of(self, values: &[f64]) -> Option<f64> {
        let (first, rest) = values.split_first()?;
        #[allow(clippy::cast_precision_loss, reason = "a computed sensor has a handful of inputs")]
        let count = values.len() as f64;
        Some(match self {
            Self::Sum => values.iter().sum(),
            Self::Mean => values.iter().sum::<f64>() / count,
            Self::Max => rest.iter().copied().fold(*first, f64::max),
            Self::Min => rest.iter().copied().fold(*first, f64::min),
            Self::Difference => rest.iter().fold(*first, |left, value| left - value),
            Self::Product => values.iter().product(),
        })
    }
}

/// What a computed sensor reads: the reading of another.
pub type Input = Reading;

impl Op {
    /// The reading these inputs make. It is as good as the worst of them and as old as the oldest.
    pub fn compute(self, inputs: &[Input]) -> Reading {
        let counted: Vec<&Input> = inputs
            .iter()
            .filter(|input| !(self.leaves_out() && input.reason == Reason::NotPresent))
            .collect();
        let Some(worst) = counted.iter().max_by_key(|input| input.quality) else {
            return Reading::absent(Quality::Unavailable, Reason::NotPresent);
        };
        let values: Option<Vec<f64>> = counted.iter().map(|input| input.value).collect();
        let at = counted.iter().map(|input| input.at).min().flatten();
        match worst.quality {
            Quality::Unavailable => Reading::absent(Quality::Unavailable, worst.reason),
            Quality::Failed => Reading { value: None, at, quality: Quality::Failed, reason: Reason::Input },
            quality @ (Quality::Good | Quality::Stale) => {
                match values.and_then(|values| self.of(&values)).filter(|value| value.is_finite()) {
                    Some(value) => {
                        let reason = if quality == Quality::Good { Reason::None } else { Reason::Input };
                        Reading { value: Some(value), at, quality, reason }
                    }
                    None => {
                        Reading { value: None, at, quality: Quality::Failed, reason: Reason::Implausible }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use units::Mono;

    fn good(value: f64, at: u64) -> Input {
        Reading {
            value: Some(value),
            at: Some(Mono::from_millis(at)),
            quality: Quality::Good,
            reason: Reason::None,
        }
    }

    #[test]
    fn each_operation_is_what_its_word_says() {
        let inputs = [good(12.0, 5), good(3.0, 9), good(2.0, 7)];
        for (op, expected) in [
            (Op::Sum, 17.0),
            (Op::Mean, 17.0 / 3.0),
            (Op::Max, 12.0),
            (Op::Min, 2.0),
            (Op::Difference, 7.0),
            (Op::Product, 72.0),
        ] {
            let reading = op.compute(&inputs);
            assert_eq!((reading.value, reading.quality), (Some(expected), Quality::Good), "{op:?}");
            assert_eq!(reading.at, Some(Mono::from_millis(5)), "as old as the oldest");
        }
    }

    #[test]
    fn a_value_is_never_better_than_the_worst_input() {
        let stale = Input { quality: Quality::Stale, reason: Reason::Overdue, ..good(1.0, 1) };
        let failed = Reading::absent(Quality::Failed, Reason::Io);
        let off = Reading::absent(Quality::Unavailable, Reason::HostOff);
        let sum = |inputs: &[Input]| {
            let reading = Op::Sum.compute(inputs);
            (reading.value, reading.quality, reading.reason)
        };
        assert_eq!(sum(&[good(1.0, 1), stale]), (Some(2.0), Quality::Stale, Reason::Input));
        assert_eq!(sum(&[good(1.0, 1), failed, stale]), (None, Quality::Failed, Reason::Input));
        assert_eq!(sum(&[good(1.0, 1), off]), (None, Quality::Unavailable, Reason::HostOff));
        let huge = good(f64::MAX, 1);
        assert_eq!(sum(&[huge, huge]), (None, Quality::Failed, Reason::Implausible));
    }

    #[test]
    fn what_was_pulled_is_left_out_where_that_makes_sense() {
        let gone = Reading::absent(Quality::Unavailable, Reason::NotPresent);
        assert_eq!(Op::Sum.compute(&[good(300.0, 1), gone]).value, Some(300.0));
        assert_eq!(Op::Product.compute(&[good(12.0, 1), gone]).quality, Quality::Unavailable);
        let none = Op::Sum.compute(&[gone, gone]);
        assert_eq!((none.value, none.quality), (None, Quality::Unavailable));
    }
}
