//! A step of the fans, what it tells of a zone, and the controller that follows from that.
//!
//! ```text
//!  temperature, duty, mode ──►┌──────────────────────────────┐──► the duty to hold
//!  time ─────────────────────►│ StepTest: steady, step, steady│──► done | stopped(reason)
//!                             └──────────────┬───────────────┘
//!                                     Response ──► Model (gain, lag, delay) ──► PidConfig
//! ```
//!
//! The step is towards more air, so a zone gets cooler by being measured, and the test ends by itself when anything is not as it should be. Whoever
//! runs it holds the duty by overrides that end soon: failsafe goes before them, and the law decides again when nobody renews them.

use units::{Duty, Millis, Mono};

use crate::pid::PidConfig;
use crate::source::seconds;

/// Samples of a test at most.
const MAX_SAMPLES: usize = 8_192;
/// How long fans may take to be at a duty that is asked for.
const RAMP: Millis = Millis::from_secs(30);
/// A fan is at its duty within this many percent.
const SAME_DUTY: f64 = 1.5;
/// A change smaller than that says nothing, K.
const LEAST_CHANGE: f64 = 2.0;
/// Nor does one that is not so many times what the model is wrong by.
const LEAST_RATIO: f64 = 6.0;
/// What the loops themselves add to the delay, seconds: half a turn of the thermal loop, and half the time between two readings.
const LOOP_DELAY: f64 = 1.0;
/// The derivative is filtered over this at least, seconds: a sensor shows whole fractions of a degree.
const LEAST_FILTER: f64 = 3.0;

/// What a test does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TuneConfig {
    /// The duty before the step, and after it; at least 5 % more.
    pub duties: (Duty, Duty),
    /// The test ends when the zone is hotter than that: °C, or the negative margin.
    pub limit: f64,
    /// The zone is steady when it moves by less than `steady` in so long.
    pub window: Millis,
    /// K.
    pub steady: f64,
    /// Each half lasts so long at most.
    pub longest: Millis,
}

impl TuneConfig {
    /// Whether it can be done.
    ///
    /// # Errors
    ///
    /// [`Stopped::BadConfig`].
    pub fn check(&self) -> Result<(), Stopped> {
        let (from, to) = self.duties;
        let sound = to.percent() - from.percent() >= 5.0
            && self.limit.is_finite()
            && self.window >= Millis::from_secs(1)
            && self.window < self.longest
            && (0.01..=10.0).contains(&self.steady);
        if sound { Ok(()) } else { Err(Stopped::BadConfig) }
    }
}

/// How the zone is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// What its law goes by: °C, or the negative margin.
    pub input: Option<f64>,
    /// Whether it is in failsafe or an emergency.
    pub failsafe: bool,
    /// The lowest and highest duty of its fans.
    pub duties: Option<(Duty, Duty)>,
}

/// Why a test has ended without a result, or a result says nothing.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Stopped {
    /// The numbers make no sense.
    #[error("the step goes up by 5 % at least, and is watched for longer than the zone has to be steady")]
    BadConfig,
    /// It got too hot.
    #[error("{0:.1} is beyond the limit of the test")]
    TooHot(f64),
    /// Something is wrong in the zone.
    #[error("the zone is in failsafe")]
    Failsafe,
    /// Its input is not known.
    #[error("the zone has no temperature")]
    NoData,
    /// Another zone, or a person, wants more of its fans.
    #[error("its fans run at another duty: another zone, or somebody else, wants that")]
    OtherDuty,
    /// It does not come to rest.
    #[error("the temperature does not come to rest: is the load even?")]
    NotSteady,
    /// More air does not cool it, or hardly.
    #[error("the step changed the temperature by {0:.1} K: too little to go by")]
    TooLittle(f64),
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Progress {
    /// This duty is to be held. The zone moved by so much in the last window.
    Hold(Duty, Option<f64>),
    /// It is done: there is a [`StepTest::response`].
    Done,
}

/// A test under way.
#[derive(Debug, Clone)]
pub struct StepTest {
    config: TuneConfig,
    samples: Vec<(Mono, f64)>,
    /// When the duty that is held was asked for.
    asked: Mono,
    /// When it was there.
    reached: Option<Mono>,
    stepped: Option<Mono>,
}

impl StepTest {
    /// A test that begins now.
    ///
    /// # Errors
    ///
    /// As [`TuneConfig::check`].
    pub fn new(config: TuneConfig, now: Mono) -> Result<Self, Stopped> {
        config.check()?;
        Ok(Self { config, samples: Vec::new(), asked: now, reached: None, stepped: None })
    }

    /// The duty that is to be held.
    pub fn duty(&self) -> Duty {
        let (from, to) = self.config.duties;
        if self.stepped.is_some() { to } else { from }
    }

    /// Looks at the zone.
    ///
    /// # Errors
    ///
    /// Why it ends here. Nothing is to be held any more.
    pub fn look(&mut self, now: Mono, seen: Seen) -> Result<Progress, Stopped> {
        if seen.failsafe {
            return Err(Stopped::Failsafe);
        }
        let input = seen.input.filter(|input| input.is_finite()).ok_or(Stopped::NoData)?;
        if input > self.config.limit {
            return Err(Stopped::TooHot(input));
        }
        let wanted = self.duty().percent();
        let same = |duty: Duty| (duty.percent() - wanted).abs() <= SAME_DUTY;
        if seen.duties.is_some_and(|(low, high)| same(low) && same(high)) {
            self.reached = self.reached.or(Some(now));
        } else if self.reached.is_some() || now.since(self.asked) > RAMP {
            return Err(Stopped::OtherDuty);
        }
        // Until the first duty is there, nothing belongs to the test.
        let Some(reached) = self.reached.or(self.stepped) else {
            return Ok(Progress::Hold(self.duty(), None));
        };
        if self.samples.len() >= MAX_SAMPLES {
            return Err(Stopped::NotSteady);
        }
        self.samples.push((now, input));
        let drift = self.drift(now, reached);
        let steady = drift.is_some_and(|drift| drift.abs() < self.config.steady);
        if now.since(self.asked) > self.config.longest && !steady {
            return Err(Stopped::NotSteady);
        }
        if !steady {
            return Ok(Progress::Hold(self.duty(), drift));
        }
        if self.stepped.is_some() {
            return Ok(Progress::Done);
        }
        (self.stepped, self.asked, self.reached) = (Some(now), now, None);
        Ok(Progress::Hold(self.duty(), None))
    }

    /// By how much the zone moved in the window that ends now, by the line through it; none while it is younger than that.
    fn drift(&self, now: Mono, since: Mono) -> Option<f64> {
        if now.since(since) < self.config.window {
            return None;
        }
        let begin = now.saturating_sub(self.config.window);
        let points: Vec<(f64, f64)> = self
            .samples
            .iter()
            .filter(|(at, _)| *at >= begin)
            .map(|(at, value)| (seconds(at.since(begin)), *value))
            .collect();
        let line = Line::through(points.into_iter())?;
        Some(line.slope * seconds(self.config.window))
    }

    /// What was measured: seconds since the step (before it: negative), and the input.
    pub fn response(&self) -> Option<Response> {
        let stepped = self.stepped?;
        let (from, to) = self.config.duties;
        let at =
            |at: Mono| if at < stepped { -seconds(stepped.since(at)) } else { seconds(at.since(stepped)) };
        // Of what came before it, what it was judged steady by.
        let window = seconds(self.config.window);
        let points = self.samples.iter().map(|(when, value)| (at(*when), *value));
        Some(Response {
            points: points.filter(|(at, _)| *at >= -window).collect(),
            step: to.percent() - from.percent(),
        })
    }
}

/// What a step did.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    /// Seconds since the step, and the input: °C, or the negative margin.
    pub points: Vec<(f64, f64)>,
    /// How large it was, %.
    pub step: f64,
}

/// A zone as a lag of first order with a delay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Model {
    /// The input before the step.
    pub base: f64,
    /// How large the step was, %.
    pub step: f64,
    /// By how much the input changes for each percent of duty, K; below zero, as air cools.
    pub gain: f64,
    /// Its time constant, seconds.
    pub lag: f64,
    /// How long nothing happens, seconds.
    pub delay: f64,
    /// What the model is wrong by (root of the mean square), K.
    pub error: f64,
}

impl Model {
    /// The model that fits best, by least squares: over all delays up to a quarter of the time and all lags up to the whole of it.
    ///
    /// # Errors
    ///
    /// [`Stopped::TooLittle`]: the zone does not get cooler by more air, or not by enough.
    pub fn fit(response: &Response) -> Result<Self, Stopped> {
        let span = response.points.last().map_or(0.0, |(at, _)| *at);
        let mut best: Option<Self> = None;
        let mut delay = 0.0;
        while delay <= (span / 4.0).min(60.0) {
            let mut lag = 0.5;
            while lag <= span.max(1.0) {
                let shape = |at: f64| if at <= delay { 0.0 } else { 1.0 - (-(at - delay) / lag).exp() };
                let points = response.points.iter().map(|(at, value)| (shape(*at), *value));
                if let Some(line) = Line::through(points)
                    && best.is_none_or(|best| line.error < best.error)
                {
                    let gain = line.slope / response.step;
                    let (base, step) = (line.base, response.step);
                    best = Some(Self { base, step, gain, lag, delay, error: line.error });
                }
                lag *= 1.05;
            }
            delay += 0.25;
        }
        let best = best.ok_or(Stopped::TooLittle(0.0))?;
        let change = -best.gain * best.step;
        if change >= LEAST_CHANGE && change >= LEAST_RATIO * best.error {
            Ok(best)
        } else {
            Err(Stopped::TooLittle(change))
        }
    }

    /// What the input is by the model so many seconds after the step.
    pub fn at(&self, second: f64) -> f64 {
        let share = if second <= self.delay { 0.0 } else { 1.0 - (-(second - self.delay) / self.lag).exp() };
        self.base + self.gain * self.step * share
    }

    /// The time constant that the closed loop has by default, seconds: a third of the zone's, and three times the delay at least.
    pub fn response_time(&self) -> f64 {
        (self.lag / 3.0).max(3.0 * (self.delay + LOOP_DELAY))
    }

    /// The controller that brings the zone to `target` with a closed loop of about this time constant (seconds; not below the delay), by the SIMC
    /// rules: kp = lag / (gain (tc + delay)), integral time min(lag, 4 (tc + delay)) (S. Skogestad, "Simple analytic rules for model reduction and
    /// PID controller tuning", J. Process Control 13, 2003, table 1), derivative time delay / 3 (C. Grimholt, S. Skogestad, "Optimal PI and PID
    /// control of first-order plus delay processes", J. Process Control 70, 2018). The delay is the zone's and the loops' together.
    pub fn controller(&self, target: f64, response_time: f64) -> PidConfig {
        let delay = self.delay + LOOP_DELAY;
        let time = response_time.max(delay);
        let kp = self.lag / (self.gain.abs().max(1e-6) * (time + delay));
        let integral = self.lag.min(4.0 * (time + delay));
        PidConfig {
            target,
            kp: short(kp),
            ki: short(kp / integral),
            kd: short(kp * delay / 3.0),
            filter: short(delay.max(LEAST_FILTER)),
        }
    }
}

/// With three digits that mean something.
fn short(value: f64) -> f64 {
    if value <= 0.0 || !value.is_finite() {
        return 0.0;
    }
    let unit = 10_f64.powf(value.log10().floor() - 2.0);
    // Divided by a whole number where it is below one, so that it is written with as few digits.
    if unit < 1.0 { (value / unit).round() / (1.0 / unit).round() } else { (value / unit).round() * unit }
}

/// The line through points, by least squares.
struct Line {
    base: f64,
    slope: f64,
    /// Root of the mean square of what it is wrong by.
    error: f64,
}

impl Line {
    fn through(points: impl Iterator<Item = (f64, f64)> + Clone) -> Option<Self> {
        let (mut n, mut sum_x, mut sum_y) = (0.0, 0.0, 0.0);
        for (x, y) in points.clone() {
            n += 1.0;
            sum_x += x;
            sum_y += y;
        }
        if n < 3.0 {
            return None;
        }
        let (mean_x, mean_y) = (sum_x / n, sum_y / n);
        let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
        for (x, y) in points {
            let (x, y) = (x - mean_x, y - mean_y);
            xx += x * x;
            xy += x * y;
            yy += y * y;
        }
        if xx < 1e-9 {
            return None;
        }
        let slope = xy / xx;
        let error = ((yy - slope * xy) / n).max(0.0).sqrt();
        Some(Self { base: mean_y - slope * mean_x, slope, error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn percent(value: f64) -> Duty {
        Duty::saturating(value)
    }

    fn config() -> TuneConfig {
        TuneConfig {
            duties: (percent(30.0), percent(50.0)),
            limit: 80.0,
            window: Millis::from_secs(20),
            steady: 0.2,
            longest: Millis::from_secs(600),
        }
    }

    /// A zone that is a lag with a delay, and whose load changes so that it moves by `drift` K/s besides.
    fn run(
        config: TuneConfig,
        start: f64,
        drift: f64,
        mut seen: impl FnMut(u64, f64, Duty) -> Seen,
    ) -> Result<StepTest, Stopped> {
        let mut test = StepTest::new(config, Mono::ZERO)?;
        let mut duties = vec![test.duty()];
        let mut input = start;
        for turn in 0_u64..10_000 {
            let now = Mono::from_millis(turn * 500);
            match test.look(now, seen(turn, input, test.duty()))? {
                Progress::Done => return Ok(test),
                Progress::Hold(duty, _) => duties.push(duty),
            }
            // 3 s late.
            let acts = duties[duties.len().saturating_sub(6)];
            let steady =
                70.0 - 0.5 * (acts.percent() - 30.0) + drift * 0.5 * f64::from(u16::try_from(turn).unwrap());
            input = steady + (input - steady) * (-0.5_f64 / 25.0).exp();
        }
        panic!("it never ends")
    }

    fn fine(_: u64, input: f64, duty: Duty) -> Seen {
        Seen { input: Some((input * 8.0).round() / 8.0), failsafe: false, duties: Some((duty, duty)) }
    }

    #[test]
    fn a_zone_is_found_again_in_its_step() {
        let test = run(config(), 70.0, 0.0, fine).unwrap();
        let model = Model::fit(&test.response().unwrap()).unwrap();
        assert!((model.gain + 0.5).abs() < 0.03, "{model:?}");
        assert!((model.lag - 25.0).abs() < 3.0, "{model:?}");
        assert!((model.delay - 3.0).abs() < 1.0, "{model:?}");
        assert!((model.base - 70.0).abs() < 0.2 && model.error < 0.1, "{model:?}");
        assert!((model.at(-5.0) - 70.0).abs() < 0.2 && (model.at(600.0) - 60.0).abs() < 0.3);
        let pid = model.controller(65.0, model.response_time());
        assert!(pid.is_sound() && pid.kp > 1.0 && pid.ki > 0.0 && pid.kd > 0.0, "{pid:?}");
        let slow = model.controller(65.0, 100.0);
        assert!(slow.kp < pid.kp && slow.ki < pid.ki);
    }

    #[test]
    fn what_is_not_as_it_should_be_ends_the_test() {
        let with = |change: fn(u64, Seen) -> Seen| {
            run(config(), 70.0, 0.0, |turn, input, duty| change(turn, fine(turn, input, duty))).unwrap_err()
        };
        let other = |turn: u64| turn == 60;
        assert_eq!(with(|turn, seen| Seen { failsafe: turn == 30, ..seen }), Stopped::Failsafe);
        assert_eq!(
            with(|turn, seen| Seen { input: seen.input.filter(|_| turn != 30), ..seen }),
            Stopped::NoData
        );
        assert_eq!(
            with(|turn, seen| Seen {
                input: seen.input.map(|_| if turn == 30 { f64::NAN } else { 70.0 }),
                ..seen
            }),
            Stopped::NoData
        );
        assert_eq!(
            with(|turn, seen| Seen {
                input: seen.input.map(|input| if turn == 30 { 80.5 } else { input }),
                ..seen
            }),
            Stopped::TooHot(80.5)
        );
        let pushed = run(config(), 70.0, 0.0, |turn, input, duty| {
            let seen = fine(turn, input, duty);
            if other(turn) { Seen { duties: Some((duty, Duty::FULL)), ..seen } } else { seen }
        });
        assert_eq!(pushed.unwrap_err(), Stopped::OtherDuty);
        let never =
            run(config(), 70.0, 0.0, |turn, input, duty| Seen { duties: None, ..fine(turn, input, duty) });
        assert_eq!(never.unwrap_err(), Stopped::OtherDuty, "they never get there");
        assert_eq!(run(config(), 70.0, -0.05, fine).unwrap_err(), Stopped::NotSteady);
    }

    #[test]
    fn what_hardly_changes_says_nothing() {
        let flat = run(config(), 70.0, 0.0, |turn, _, duty| {
            fine(turn, 70.0 + f64::from(u8::from(turn % 7 == 0)) * 0.1, duty)
        })
        .unwrap();
        assert!(matches!(Model::fit(&flat.response().unwrap()), Err(Stopped::TooLittle(_))));
        let hotter = Response {
            points: (0..200).map(|second| (f64::from(second), 60.0 + f64::from(second) * 0.1)).collect(),
            step: 20.0,
        };
        assert!(matches!(Model::fit(&hotter), Err(Stopped::TooLittle(change)) if change < 0.0));
        assert!(Model::fit(&Response { points: Vec::new(), step: 20.0 }).is_err());
    }

    #[test]
    fn a_test_that_makes_no_sense_is_not_begun() {
        for change in [
            (|c| c.duties = (percent(50.0), percent(30.0))) as fn(&mut TuneConfig),
            |c| c.duties.1 = percent(33.0),
            |c| c.limit = f64::NAN,
            |c| c.window = Millis::ZERO,
            |c| c.longest = Millis::from_secs(10),
            |c| c.steady = 0.0,
        ] {
            let mut config = config();
            change(&mut config);
            assert_eq!(StepTest::new(config, Mono::ZERO).unwrap_err(), Stopped::BadConfig);
        }
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (2.4444, "2.44"),
            (0.026_78, "0.0268"),
            (1234.0, "1230"),
            (0.000_123_4, "0.000123"),
            (0.0, "0"),
            (f64::NAN, "0"),
        ] {
            assert_eq!(short(value).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn any_zone_gives_a_controller_that_can_be_used(gain in 0.02..5.0_f64, lag in 1.0..400.0_f64, delay in 0.0..40.0_f64, time in 0.1..500.0_f64) {
            let model = Model { base: 70.0, step: 20.0, gain: -gain, lag, delay, error: 0.0 };
            let pid = model.controller(65.0, time);
            prop_assert!(pid.is_sound() && pid.kp > 0.0 && pid.ki > 0.0, "{pid:?}");
            prop_assert!(model.response_time() >= model.delay);
        }
    }
}
