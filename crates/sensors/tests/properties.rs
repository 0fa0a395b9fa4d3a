//! What holds for every sequence of samples.

use proptest::prelude::*;
use sensors::{
    Change, Crossing, Fault, Filter, History, Kind, Level, Levels, Quality, Sensor, Side, Span, Spec,
    Thresholds, Watch,
};
use units::{Millis, Mono};

fn thresholds() -> impl Strategy<Value = Thresholds> {
    let level = || prop::option::of(-100.0..100.0f64);
    let levels = move || (level(), level(), level());
    (levels(), levels(), 0.0..20.0f64)
        .prop_map(|(upper, lower, hysteresis)| {
            let of = |(warning, critical, fatal)| Levels { warning, critical, fatal };
            Thresholds { upper: of(upper), lower: of(lower), hysteresis }
        })
        .prop_filter("usable", |thresholds| thresholds.check().is_ok())
}

fn sample() -> impl Strategy<Value = Result<f64, Fault>> {
    prop_oneof![
        6 => (-120.0..120.0f64).prop_map(Ok),
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, -1e9, 1e9, f64::MIN_POSITIVE]).prop_map(Ok),
        2 => prop::sample::select(vec![
            Fault::NoNewValue, Fault::TimedOut, Fault::Missing, Fault::Io, Fault::Malformed
        ])
        .prop_map(Err),
    ]
}

proptest! {
    /// Within the hysteresis below a threshold that was crossed, nothing is told, whatever the value does there.
    #[test]
    fn a_value_that_moves_inside_the_hysteresis_never_flaps(
        at in -50.0..50.0f64, hysteresis in 0.1..20.0f64, inside in prop::collection::vec(0.0..1.0f64, 1..200),
        upper: bool,
    ) {
        let levels = Levels { critical: Some(at), ..Levels::default() };
        let side = if upper { Thresholds { upper: levels, hysteresis, ..Thresholds::default() } }
            else { Thresholds { lower: levels, hysteresis, ..Thresholds::default() } };
        let (mut watch, mut out) = (Watch::default(), Vec::new());
        watch.sample(Mono::ZERO, at, &side, Millis::ZERO, &mut out);
        prop_assert_eq!(out.len(), 1);
        for (n, part) in inside.iter().enumerate() {
            let value = if upper { at - hysteresis * part } else { at + hysteresis * part };
            watch.sample(Mono::from_millis(n as u64), value, &side, Millis::ZERO, &mut out);
        }
        prop_assert_eq!(out.len(), 1, "{:?}", out);
    }

    /// Each threshold is told crossed and left in turn, never twice the same and never without end; and once a value lasts, the last that was told is
    /// what holds.
    #[test]
    fn what_is_told_alternates_and_ends_at_the_truth(
        thresholds in thresholds(), debounce in 0..3_000u64, samples in prop::collection::vec(sample(), 1..200),
    ) {
        let spec = Spec { thresholds, debounce: Millis::new(debounce), ..Spec::new(Kind::Temperature) };
        let mut sensor = Sensor::new(spec, Mono::ZERO);
        let mut told: Vec<Crossing> = Vec::new();
        let mut failed = false;
        let lasts = samples.iter().rev().find_map(|sample| sample.ok().filter(|value| value.abs() <= 50.0));
        let lasts = std::iter::repeat_n(Ok(lasts.unwrap_or(0.0)), 90);
        let samples: Vec<_> = samples.into_iter().chain(lasts).collect();
        for (n, sample) in samples.iter().enumerate() {
            let mut out = Vec::new();
            sensor.sample(Mono::from_millis(n as u64 * 1_000), *sample, &mut out);
            for change in out {
                match change {
                    Change::Crossed(crossing) => told.push(crossing),
                    Change::Failed(_) => prop_assert!(!std::mem::replace(&mut failed, true)),
                    Change::Recovered => prop_assert!(std::mem::replace(&mut failed, false)),
                    Change::Removed | Change::Inserted | Change::Late => prop_assert!(false, "it cannot be pulled"),
                    Change::Turned(_) => prop_assert!(false, "it is a number"),
                }
            }
            prop_assert!(!failed || sensor.reading().quality == Quality::Failed);
        }
        prop_assert!(!failed);
        for side in Side::ALL {
            for level in Level::ALL {
                let of: Vec<bool> = told.iter().filter(|c| c.side == side && c.level == level).map(|c| c.asserted).collect();
                prop_assert!(of.iter().enumerate().all(|(n, asserted)| *asserted == (n % 2 == 0)), "{:?}", of);
                prop_assert!(of.len() <= 8 + samples.len() / 60, "{}", of.len());
                let holds = sensor.watch().asserted().any(|which| which == (side, level));
                prop_assert_eq!(of.last().copied().unwrap_or(false), holds);
            }
        }
    }

    /// A value that is shown as good was measured just now and can be true; a value that is not good is marked so.
    #[test]
    fn no_reading_is_better_than_its_sample(samples in prop::collection::vec(sample(), 1..100)) {
        let mut sensor = Sensor::new(Spec::new(Kind::Temperature), Mono::ZERO);
        let mut last_good = None;
        for (n, sample) in samples.iter().enumerate() {
            let now = Mono::from_millis(n as u64 * 1_000);
            sensor.sample(now, *sample, &mut Vec::new());
            let reading = *sensor.reading();
            let (least, most) = Kind::Temperature.plausible();
            match sample {
                Ok(value) if (least..=most).contains(value) => {
                    last_good = Some((*value, now));
                    prop_assert_eq!((reading.value, reading.at, reading.quality), (Some(*value), Some(now), Quality::Good));
                }
                _ => {
                    prop_assert_ne!(reading.quality, Quality::Good);
                    if let Some(value) = reading.value {
                        prop_assert_eq!(Some((value, reading.at.unwrap())), last_good);
                        prop_assert_eq!(reading.quality, Quality::Stale);
                    }
                }
            }
        }
        if let Some((min, _)) = sensor.stats().min {
            let mean = sensor.stats().mean().unwrap();
            let max = sensor.stats().max.unwrap().0;
            prop_assert!(min <= mean + 1e-9 && mean <= max + 1e-9);
        }
    }

    /// Whatever the clock does, the history keeps its bound and its order, and shows no value that was not there.
    #[test]
    fn the_history_is_bounded_and_true(
        steps in prop::collection::vec((0..40_000_000u64, -10.0..10.0f64), 1..300), back: bool,
    ) {
        let mut history = History::new();
        let mut now = 0u64;
        let (mut least, mut most) = (f64::MAX, f64::MIN);
        for (millis, value) in steps {
            now = if back && millis % 7 == 0 { now.saturating_sub(millis) } else { now + millis / 20 };
            history.sample(Mono::from_millis(now), value);
            (least, most) = (least.min(value), most.max(value));
        }
        prop_assert!(history.bytes() <= History::BYTES_MAX);
        for span in [Span::Hour, Span::Day] {
            let points = history.points(span, Mono::ZERO, Mono::from_millis(now));
            prop_assert!(points.len() <= span.steps() + 1);
            prop_assert!(points.iter().zip(points.iter().skip(1)).all(|(a, b)| a.at < b.at));
            for point in points {
                let near = 1e-5f32;
                prop_assert!(point.min <= point.mean + near && point.mean <= point.max + near);
                prop_assert!(f64::from(point.min) >= least - f64::from(near) && f64::from(point.max) <= most + f64::from(near));
            }
        }
    }

    /// Who hears only what is news is never wrong about the quality and never off by the resolution.
    #[test]
    fn a_listener_is_never_off_by_the_resolution(
        samples in prop::collection::vec(sample(), 1..200), resolution in 0.0..5.0f64,
    ) {
        let spec = Spec { resolution, ..Spec::new(Kind::Temperature) };
        let mut sensor = Sensor::new(spec, Mono::ZERO);
        let mut filter = Filter::default();
        let mut heard = None;
        for (n, sample) in samples.iter().enumerate() {
            sensor.sample(Mono::from_millis(n as u64 * 1_000), *sample, &mut Vec::new());
            if filter.is_news(sensor.reading(), sensor.level(), resolution) {
                heard = Some(*sensor.reading());
            }
            let (heard, is) = (heard.unwrap(), sensor.reading());
            prop_assert_eq!((heard.quality, heard.reason), (is.quality, is.reason));
            prop_assert_eq!(heard.value.is_some(), is.value.is_some());
            if let (Some(heard), Some(is)) = (heard.value, is.value) {
                prop_assert!(heard == is || (heard - is).abs() < resolution);
            }
        }
    }
}
