//! A stepwise curve of a duty over temperature.

use units::Duty;

/// Steps of a curve at most.
pub const MAX_STEPS: usize = 20;

/// From this temperature on at least this duty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurveStep {
    /// °C (or, with [`crate::Combine::Margin`], the negative margin).
    pub from: f64,
    /// The duty.
    pub duty: Duty,
}

/// A curve in steps. Below the first step the zone's minimum holds.
#[derive(Debug, Clone, PartialEq)]
pub struct CurveConfig {
    /// 1 to [`MAX_STEPS`], rising in both.
    pub steps: Vec<CurveStep>,
    /// A step is left only when it is so many K colder than where it began.
    pub hysteresis: f64,
}

impl CurveConfig {
    /// Whether the steps rise and every number can be worked with.
    pub(crate) fn is_sound(&self) -> bool {
        (1..=MAX_STEPS).contains(&self.steps.len())
            && (0.0..=100.0).contains(&self.hysteresis)
            && self.steps.iter().all(|step| step.from.abs() <= 1e4)
            && self
                .steps
                .iter()
                .zip(self.steps.iter().skip(1))
                .all(|(low, high)| low.from < high.from && low.duty <= high.duty)
    }
}

/// Its state: how many steps have been climbed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Curve {
    at: usize,
}

impl Curve {
    /// The duty for what is measured; zero below the first step.
    pub(crate) fn turn(&mut self, config: &CurveConfig, measured: f64) -> Duty {
        let reached =
            |below: f64| config.steps.iter().take_while(|step| step.from - below <= measured).count();
        self.at = reached(0.0).max(self.at.min(reached(config.hysteresis)));
        self.at.checked_sub(1).and_then(|index| config.steps.get(index)).map_or(Duty::ZERO, |step| step.duty)
    }

    /// Goes on from the top.
    pub(crate) fn begin_at_top(&mut self) {
        self.at = usize::MAX;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn curve() -> CurveConfig {
        let step = |from, percent| CurveStep { from, duty: Duty::saturating(percent) };
        CurveConfig { steps: vec![step(40.0, 30.0), step(50.0, 50.0), step(60.0, 100.0)], hysteresis: 3.0 }
    }

    #[test]
    fn a_step_is_taken_where_it_begins_and_left_below_its_hysteresis() {
        let config = curve();
        let mut curve = Curve::default();
        let table = [
            (39.9, 0.0),
            (40.0, 30.0),
            (50.0, 50.0),
            (47.1, 50.0),
            (46.9, 30.0),
            (49.9, 30.0),
            (61.0, 100.0),
            (57.0, 100.0),
            (36.0, 0.0),
        ];
        for (measured, percent) in table {
            assert_eq!(curve.turn(&config, measured).percent(), percent, "{measured}");
        }
    }

    #[test]
    fn steps_that_do_not_rise_are_no_curve() {
        let mut falling = curve();
        falling.steps.swap(0, 1);
        assert!(!falling.is_sound());
        assert!(!CurveConfig { steps: Vec::new(), ..curve() }.is_sound());
        assert!(curve().is_sound());
    }

    proptest! {
        /// What moves by less than the hysteresis around any temperature changes the duty once at most, upwards.
        #[test]
        fn it_never_flaps_inside_the_hysteresis(
            centre in 30.0..70.0_f64,
            noise in proptest::collection::vec(-1.49..1.49_f64, 1..100),
        ) {
            let config = curve();
            let mut curve = Curve::default();
            let first = curve.turn(&config, centre);
            let mut last = first;
            for swing in noise {
                let now = curve.turn(&config, centre + swing);
                prop_assert!(now >= last);
                last = now;
            }
        }

        /// Of two histories the hotter never has the lower duty.
        #[test]
        fn more_heat_never_gives_less(history in proptest::collection::vec((20.0..80.0_f64, 0.0..10.0_f64), 1..100)) {
            let config = curve();
            let (mut cool, mut hot) = (Curve::default(), Curve::default());
            for (measured, more) in history {
                prop_assert!(hot.turn(&config, measured + more) >= cool.turn(&config, measured));
            }
        }
    }
}
