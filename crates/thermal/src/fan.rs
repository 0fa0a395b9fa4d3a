//! One fan: how its duty moves, and whether it turns as it should.

use units::{Duty, Millis, Mono};

use crate::source::seconds;

/// Points of a fan's curve of speed at most.
pub const MAX_SPEEDS: usize = 16;
/// Below this share of what is expected a fan does not turn, and above it turns slowly.
const STUCK_BELOW: f64 = 0.05;
/// No rotor turns so many times faster than its full speed.
const IMPLAUSIBLE_TIMES: f64 = 3.0;

/// A fan, or fans on one output.
#[derive(Debug, Clone, PartialEq)]
pub struct FanConfig {
    /// The lowest duty at which it surely turns. It gets that or nothing.
    pub min: Duty,
    /// What it gets when something is wrong.
    pub failsafe: Duty,
    /// How fast its duty rises, % per second; towards failsafe it rises at once.
    pub slew_up: f64,
    /// How fast its duty falls, % per second.
    pub slew_down: f64,
    /// What gets it turning from rest.
    pub kick: Option<Kick>,
    /// What its tachometer should say.
    pub tach: Option<TachConfig>,
    /// A duty that does not change is told again after so long, so that a fan chip that forgot it is not left with another, and one with a watchdog
    /// hears of us: MAX31790 waits 5 s at the least, MAX31785 10 s.
    pub tell_again: Millis,
}

impl Default for FanConfig {
    fn default() -> Self {
        Self {
            min: Duty::saturating(20.0),
            failsafe: Duty::FULL,
            slew_up: 20.0,
            slew_down: 5.0,
            kick: None,
            tach: None,
            tell_again: Millis::from_secs(1),
        }
    }
}

/// A push for a fan at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kick {
    /// At least this duty.
    pub duty: Duty,
    /// For so long.
    pub lasts: Millis,
}

/// What a tachometer should say.
#[derive(Debug, Clone, PartialEq)]
pub struct TachConfig {
    /// The slowest speed of a healthy fan at some duties, rising in both, revolutions a minute. Lines between the points; from zero to the first.
    pub speeds: Vec<(Duty, f64)>,
    /// It may be slower by this share, 0 to 0.9.
    pub tolerance: f64,
    /// Time constant of its inertia: how long it may need to get faster.
    pub spin_up: Millis,
    /// It is read about once in this time. Each reading is judged by what the fan had to have reached when it came, so a fan that gets faster
    /// between two readings is not taken for a slow one.
    pub period: Millis,
    /// It has failed when it was too slow at all readings for so long: with a period longer than this, at two in a row; with 0 at one.
    pub fail_after: Millis,
    /// It has failed when nothing was heard of it for so long.
    pub missing_after: Millis,
    /// It works again when it was fast enough for so long.
    pub recover: Millis,
}

impl TachConfig {
    /// Speed at full duty `rpm`, in proportion below; the other values as most server fans need them.
    pub fn linear(rpm: f64) -> Self {
        Self {
            speeds: vec![(Duty::FULL, rpm)],
            tolerance: 0.2,
            spin_up: Millis::new(1_500),
            period: Millis::new(100),
            fail_after: Millis::from_secs(1),
            missing_after: Millis::from_secs(2),
            recover: Millis::from_secs(5),
        }
    }

    /// The speed of a healthy fan at this duty.
    fn expected(&self, duty: Duty) -> f64 {
        let mut below = (0.0, 0.0);
        for (point, rpm) in &self.speeds {
            let (low, low_rpm) = below;
            if duty <= *point {
                let span = point.percent() - low;
                let share = if span > 0.0 { (duty.percent() - low) / span } else { 1.0 };
                return low_rpm + (rpm - low_rpm) * share;
            }
            below = (point.percent(), *rpm);
        }
        below.1
    }

    fn is_sound(&self) -> bool {
        (1..=MAX_SPEEDS).contains(&self.speeds.len())
            && self.speeds.iter().all(|(duty, rpm)| !duty.is_zero() && (1.0..=1e6).contains(rpm))
            && self
                .speeds
                .iter()
                .zip(self.speeds.iter().skip(1))
                .all(|(low, high)| low.0 < high.0 && low.1 <= high.1)
            && (0.0..=0.9).contains(&self.tolerance)
            && !self.period.is_zero()
            && self.period <= self.missing_after
    }
}

impl FanConfig {
    pub(crate) fn is_sound(&self) -> bool {
        let rate = |rate: f64| rate > 0.0 && rate <= 1e6;
        self.failsafe >= self.min
            && !self.failsafe.is_zero()
            && rate(self.slew_up)
            && rate(self.slew_down)
            && !self.tell_again.is_zero()
            && self.tach.as_ref().is_none_or(TachConfig::is_sound)
    }
}

/// Why a fan does not count as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FanFault {
    /// It does not turn.
    Stuck,
    /// It turns too slowly.
    Slow,
    /// Its tachometer says what cannot be true.
    Implausible,
    /// Its tachometer cannot be read.
    NoTach,
    /// Its duty could not be set.
    NotDriven,
}

#[derive(Debug, Clone)]
pub(crate) struct Fan {
    /// What it was told last; nobody knows before.
    applied: Option<Duty>,
    kick_until: Option<Mono>,
    /// The speed that it must have reached by now.
    floor: f64,
    heard: Mono,
    rpm: Option<f64>,
    implausible: bool,
    undriven: bool,
    /// It has no power, as its host is off.
    unpowered: bool,
    slow: Option<Slow>,
    good_since: Option<Mono>,
    fault: Option<FanFault>,
    turned: Mono,
}

/// Readings in a row that were too slow.
#[derive(Debug, Clone, Copy)]
struct Slow {
    /// What the last of them was.
    fault: FanFault,
    /// When the first of them came.
    since: Mono,
    /// How long after it the last one.
    lasted: Millis,
}

impl Fan {
    pub(crate) fn new(now: Mono) -> Self {
        Self {
            applied: None,
            kick_until: None,
            floor: 0.0,
            heard: now,
            rpm: None,
            implausible: false,
            undriven: false,
            unpowered: false,
            slow: None,
            good_since: None,
            fault: None,
            turned: now,
        }
    }

    /// What its tachometer said, if it could be read.
    pub(crate) fn tach(&mut self, now: Mono, config: &FanConfig, rpm: Option<f64>) {
        let Some(tach) = &config.tach else { return };
        self.advance(now, Some(tach));
        self.unpowered = false;
        let Some(rpm) = rpm else { return };
        let highest = tach.expected(Duty::FULL) * IMPLAUSIBLE_TIMES;
        self.heard = now;
        self.implausible = !(0.0..=highest).contains(&rpm);
        self.rpm = (!self.implausible).then_some(rpm);
        let slow = self.rpm.and_then(|rpm| too_slow(rpm, self.floor, tach.tolerance));
        self.slow = slow.map(|fault| {
            let since = self.slow.map_or(now, |slow| slow.since);
            Slow { fault, since, lasted: now.since(since) }
        });
    }

    /// It has no power, so it need not turn, and what its tachometer says is nothing.
    pub(crate) fn unpowered(&mut self, now: Mono) {
        self.heard = now;
        self.unpowered = true;
        self.implausible = false;
        self.rpm = None;
        self.slow = None;
        self.floor = 0.0;
    }

    /// The speed that it must have reached follows the duty.
    fn advance(&mut self, now: Mono, tach: Option<&TachConfig>) {
        let step = seconds(now.since(self.turned));
        self.turned = self.turned.max(now);
        let Some(tach) = tach.filter(|_| !self.unpowered) else { return };
        let expected = tach.expected(self.applied.unwrap_or(Duty::ZERO));
        let share = step / (seconds(tach.spin_up) + step).max(1e-3);
        self.floor =
            if expected < self.floor { expected } else { self.floor + (expected - self.floor) * share };
    }

    /// Whether its duty could be set.
    pub(crate) fn driven(&mut self, ok: bool) {
        self.undriven = !ok;
    }

    /// Judges it anew. Returns whether its fault is another than before.
    pub(crate) fn judge(&mut self, now: Mono, config: &FanConfig) -> bool {
        let before = self.fault;
        let tach = config.tach.as_ref();
        self.advance(now, tach);
        if tach.is_some_and(|tach| self.is_silent(now, tach)) {
            // What it said is not how fast it is now.
            self.rpm = None;
        }
        let wrong = self.wrong(now, tach);
        // Too slow must last; all else counts at once.
        let lasting = match (wrong, self.slow) {
            (Some(FanFault::Stuck | FanFault::Slow), Some(slow)) => {
                let limit = tach.map_or(Millis::ZERO, |tach| tach.fail_after);
                wrong.filter(|_| slow.lasted >= limit)
            }
            _ => wrong,
        };
        if lasting.is_some() {
            self.fault = lasting;
        }
        if wrong.is_some() {
            self.good_since = None;
        } else if self.unpowered {
            // What was wrong with it shows again when it has power, or is over.
            self.fault = None;
        } else {
            let since = *self.good_since.get_or_insert(now);
            if now.since(since) >= tach.map_or(Millis::ZERO, |tach| tach.recover) {
                self.fault = None;
            }
        }
        self.fault != before
    }

    fn wrong(&self, now: Mono, tach: Option<&TachConfig>) -> Option<FanFault> {
        if self.undriven {
            return Some(FanFault::NotDriven);
        }
        let tach = tach?;
        if self.implausible {
            return Some(FanFault::Implausible);
        }
        if self.is_silent(now, tach) {
            return Some(FanFault::NoTach);
        }
        self.slow.map(|slow| slow.fault)
    }

    /// Whether its tachometer has said nothing for too long.
    fn is_silent(&self, now: Mono, tach: &TachConfig) -> bool {
        now.since(self.heard) > tach.missing_after && !self.unpowered
    }

    /// Moves its duty towards `target` and returns what it is to be now. `step`: seconds since the last move.
    pub(crate) fn move_to(
        &mut self,
        now: Mono,
        config: &FanConfig,
        target: Duty,
        failsafe: bool,
        step: f64,
    ) -> Duty {
        let target = if failsafe { target.max(config.failsafe) } else { target };
        let target = if target.is_zero() { target } else { target.max(config.min) };
        let duty = match self.applied {
            // Where it stands is not known: it is told at once.
            None => target,
            Some(applied) if failsafe && target >= applied => target,
            Some(applied) if applied.is_zero() && !target.is_zero() => {
                if let Some(kick) = config.kick {
                    self.kick_until = Some(now + kick.lasts);
                }
                config.min.max(Duty::saturating(config.slew_up * step)).min(target)
            }
            Some(applied) if target >= applied => {
                Duty::saturating(applied.percent() + config.slew_up * step).min(target)
            }
            Some(applied) => {
                let lower = Duty::saturating(applied.percent() - config.slew_down * step).max(target);
                // Between its minimum and rest there is nothing.
                if lower < config.min { target } else { lower }
            }
        };
        let kicked = match (self.kick_until, config.kick) {
            (Some(until), Some(kick)) if now < until && !duty.is_zero() => duty.max(kick.duty),
            _ => {
                self.kick_until = None;
                duty
            }
        };
        self.applied = Some(kicked);
        kicked
    }

    pub(crate) fn applied(&self) -> Option<Duty> {
        self.applied
    }

    pub(crate) fn fault(&self) -> Option<FanFault> {
        self.fault
    }

    pub(crate) fn rpm(&self) -> Option<f64> {
        self.rpm
    }

    /// Whether it is being pushed from rest.
    pub(crate) fn is_kicked(&self) -> bool {
        self.kick_until.is_some()
    }
}

/// What a reading is that came when the fan had to have reached `floor`.
fn too_slow(rpm: f64, floor: f64, tolerance: f64) -> Option<FanFault> {
    if rpm >= floor * (1.0 - tolerance) {
        None
    } else if rpm < floor * STUCK_BELOW {
        Some(FanFault::Stuck)
    } else {
        Some(FanFault::Slow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Mono {
        Mono::from_millis(ms)
    }

    fn percent(value: f64) -> Duty {
        Duty::saturating(value)
    }

    fn config() -> FanConfig {
        FanConfig { tach: Some(TachConfig::linear(10_000.0)), ..FanConfig::default() }
    }

    /// A fan that has run at this duty for a minute.
    fn running(duty: f64) -> Fan {
        let mut fan = Fan::new(at(0));
        for turn in 0..600_u64 {
            fan.move_to(at(turn * 100), &config(), percent(duty), false, 0.1);
            fan.tach(at(turn * 100), &config(), Some(duty * 100.0));
            fan.judge(at(turn * 100), &config());
        }
        assert_eq!(fan.fault(), None);
        fan
    }

    /// The fault that it has, and after how long, if from now on its tachometer says this.
    fn fault_when(mut fan: Fan, rpm: Option<f64>) -> Option<(u64, FanFault)> {
        (1..50_u64).find_map(|turn| {
            let now = at(60_000 + turn * 100);
            fan.tach(now, &config(), rpm);
            fan.judge(now, &config());
            Some((turn * 100, fan.fault()?))
        })
    }

    #[test]
    fn a_fan_that_does_not_turn_as_it_should_has_failed() {
        let limit = 1_200;
        for (rpm, expected) in [
            (Some(0.0), FanFault::Stuck),
            (Some(2_500.0), FanFault::Slow),
            (Some(f64::NAN), FanFault::Implausible),
            (Some(-1.0), FanFault::Implausible),
            (Some(1e9), FanFault::Implausible),
        ] {
            let (after, fault) = fault_when(running(50.0), rpm).unwrap();
            assert_eq!(fault, expected, "{rpm:?}");
            assert!(after <= limit, "{rpm:?}: {after} ms");
        }
        let (after, fault) = fault_when(running(50.0), None).unwrap();
        assert_eq!((fault, after <= 2_200), (FanFault::NoTach, true));
        assert_eq!(fault_when(running(50.0), Some(4_100.0)), None);
    }

    #[test]
    fn a_fan_that_gets_faster_is_given_the_time_it_needs() {
        let mut fan = running(20.0);
        let mut rpm = 2_000.0;
        for turn in 1..100_u64 {
            let now = at(60_000 + turn * 100);
            fan.move_to(now, &config(), Duty::FULL, true, 0.1);
            // Inertia of 1 s.
            rpm += (10_000.0 - rpm) * 0.1;
            fan.tach(now, &config(), Some(rpm));
            fan.judge(now, &config());
            assert_eq!(fan.fault(), None, "{turn}");
        }
    }

    /// What a fan whose tachometer is read once in `period` ms is found to be, and when, if from `at(60_000)` on it runs at `duty` and turns as
    /// `rpm` says, ms after that.
    fn read_each(
        period: u64,
        fail_after: u64,
        duty: f64,
        rpm: impl Fn(u64) -> f64,
    ) -> Option<(u64, FanFault)> {
        let tach = TachConfig {
            period: Millis::new(period),
            fail_after: Millis::new(fail_after),
            missing_after: Millis::new(3 * period),
            ..TachConfig::linear(10_000.0)
        };
        let config = FanConfig { tach: Some(tach), ..FanConfig::default() };
        let mut fan = running(20.0);
        (1..200_u64).find_map(|turn| {
            let after = turn * 100;
            let now = at(60_000 + after);
            fan.move_to(now, &config, percent(duty), duty >= 100.0, 0.1);
            if after.is_multiple_of(period) {
                fan.tach(now, &config, Some(rpm(after)));
            }
            fan.judge(now, &config);
            Some((after, fan.fault()?))
        })
    }

    #[test]
    fn a_fan_that_is_read_seldom_is_not_slow_because_its_last_reading_is_old() {
        // Inertia of 1 s, from 20 % to full speed.
        let speeds_up = |after: u64| 10_000.0 - 8_000.0 * (-seconds(Millis::new(after))).exp();
        for period in [100, 500, 1_000, 2_000, 5_000] {
            assert_eq!(read_each(period, 500, 100.0, speeds_up), None, "{period}");
        }
    }

    #[test]
    fn a_fan_that_is_read_seldom_has_failed_at_the_second_slow_reading_in_a_row() {
        let stuck = FanFault::Stuck;
        assert_eq!(read_each(1_000, 500, 20.0, |_| 0.0), Some((2_000, stuck)));
        assert_eq!(read_each(2_000, 500, 20.0, |_| 0.0), Some((4_000, stuck)));
        // Nothing that is seen once is waited for.
        assert_eq!(read_each(1_000, 0, 20.0, |_| 0.0), Some((1_000, stuck)));
        // It stands still at every second reading.
        let now_and_then = |after: u64| if after.is_multiple_of(2_000) { 0.0 } else { 2_000.0 };
        assert_eq!(read_each(1_000, 500, 20.0, now_and_then), None);
    }

    #[test]
    fn a_fan_without_power_has_no_fault_and_then_the_time_to_start() {
        let mut fan = running(50.0);
        for turn in 1..20_u64 {
            fan.tach(at(60_000 + turn * 100), &config(), Some(0.0));
            fan.judge(at(60_000 + turn * 100), &config());
        }
        assert_eq!(fan.fault(), Some(FanFault::Stuck));
        for turn in 0..100_u64 {
            let now = at(62_000 + turn * 100);
            fan.unpowered(now);
            fan.judge(now, &config());
            assert_eq!((fan.fault(), fan.rpm()), (None, None));
        }
        // It can be told nothing: that is a fault, powered or not.
        fan.driven(false);
        fan.judge(at(72_000), &config());
        assert_eq!(fan.fault(), Some(FanFault::NotDriven));
        fan.driven(true);
        fan.judge(at(72_100), &config());
        assert_eq!(fan.fault(), None);
        // Inertia of 1 s, from rest.
        for turn in 1..100_u64 {
            let now = at(72_100 + turn * 100);
            fan.tach(now, &config(), Some(5_000.0 * (1.0 - (-seconds(Millis::new(turn * 100))).exp())));
            fan.judge(now, &config());
            assert_eq!(fan.fault(), None, "{turn}");
        }
        // And one that does not start has failed.
        let mut fan = running(50.0);
        fan.unpowered(at(60_000));
        fan.judge(at(60_000), &config());
        assert_eq!(fault_when(fan, Some(0.0)).map(|(_, fault)| fault), Some(FanFault::Stuck));
    }

    #[test]
    fn it_recovers_when_it_has_turned_for_a_while() {
        let mut fan = running(50.0);
        for turn in 1..20_u64 {
            fan.tach(at(60_000 + turn * 100), &config(), Some(0.0));
            fan.judge(at(60_000 + turn * 100), &config());
        }
        assert_eq!(fan.fault(), Some(FanFault::Stuck));
        let back = (1..100_u64).find(|turn| {
            fan.tach(at(62_000 + turn * 100), &config(), Some(5_000.0));
            fan.judge(at(62_000 + turn * 100), &config());
            fan.fault().is_none()
        });
        assert_eq!(back, Some(51));
    }

    #[test]
    fn a_duty_that_could_not_be_set_is_a_fault() {
        let mut fan = running(50.0);
        fan.driven(false);
        assert!(fan.judge(at(60_000), &config()));
        assert_eq!(fan.fault(), Some(FanFault::NotDriven));
    }

    #[test]
    fn duties_move_at_their_rate_but_towards_failsafe_at_once() {
        let mut fan = running(50.0);
        assert_eq!(fan.move_to(at(60_000), &config(), percent(90.0), false, 0.1), percent(52.0));
        assert_eq!(fan.move_to(at(60_100), &config(), percent(20.0), false, 0.1), percent(51.5));
        assert_eq!(fan.move_to(at(60_200), &config(), percent(20.0), true, 0.1), Duty::FULL);
        assert_eq!(fan.move_to(at(60_300), &config(), percent(20.0), false, 0.1), percent(99.5));
    }

    #[test]
    fn a_fan_at_rest_is_kicked_and_then_goes_on_from_its_minimum() {
        let kick = Kick { duty: percent(80.0), lasts: Millis::new(300) };
        let config = FanConfig { kick: Some(kick), ..FanConfig::default() };
        let mut fan = Fan::new(at(0));
        assert_eq!(fan.move_to(at(0), &config, Duty::ZERO, false, 0.1), Duty::ZERO);
        for ms in [100, 200, 300] {
            assert_eq!(fan.move_to(at(ms), &config, percent(30.0), false, 0.1), percent(80.0));
        }
        assert_eq!(fan.move_to(at(400), &config, percent(30.0), false, 0.1), percent(79.5));
    }

    #[test]
    fn less_than_its_minimum_it_never_gets_but_nothing() {
        let mut fan = running(20.0);
        assert_eq!(fan.move_to(at(60_000), &config(), percent(5.0), false, 10.0), percent(20.0));
        assert_eq!(fan.move_to(at(60_000), &config(), Duty::ZERO, false, 0.1), Duty::ZERO);
    }

    #[test]
    fn the_expected_speed_is_a_line_through_the_points() {
        let tach = TachConfig {
            speeds: vec![(percent(20.0), 3_000.0), (percent(60.0), 8_000.0)],
            ..TachConfig::linear(1.0)
        };
        for (duty, rpm) in [(0.0, 0.0), (10.0, 1_500.0), (20.0, 3_000.0), (40.0, 5_500.0), (100.0, 8_000.0)] {
            assert_eq!(tach.expected(percent(duty)), rpm);
        }
    }
}
