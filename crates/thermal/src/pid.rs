//! A PID controller of a duty.

/// What a PID controller is made of. All gains are zero or more: hotter means more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PidConfig {
    /// The temperature (or, with [`crate::Combine::Margin`], the negative margin) that is held, °C.
    pub target: f64,
    /// Proportional gain, % per K.
    pub kp: f64,
    /// Integral gain, % per K and second.
    pub ki: f64,
    /// Derivative gain, % per K/s; acts on the measurement, so a change of the target gives no kick.
    pub kd: f64,
    /// Time constant of the filter of the derivative, seconds.
    pub filter: f64,
}

impl PidConfig {
    /// Whether every number is one that can be worked with.
    pub(crate) fn is_sound(&self) -> bool {
        let gain = |value: f64| (0.0..=1e4).contains(&value);
        self.target.abs() <= 1e4 && gain(self.kp) && gain(self.ki) && gain(self.kd) && gain(self.filter)
    }
}

/// Its state.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pid {
    /// The integral part, %.
    integral: f64,
    last: Option<f64>,
    slope: f64,
}

impl Pid {
    /// The output, `low` to `high` (%), for what is measured, after `dt` seconds. `forward` is added to it.
    ///
    /// Anti-windup: while the output is at its upper limit the integral does not grow, and it never leaves the limits. Downwards it reaches
    /// as far as `forward` does, so it can take that back but is never in debt. From one state more heat never gives less.
    pub(crate) fn turn(
        &mut self,
        config: &PidConfig,
        measured: f64,
        forward: f64,
        dt: f64,
        (low, high): (f64, f64),
    ) -> f64 {
        let error = measured - config.target;
        if let Some(last) = self.last.replace(measured)
            && dt > 0.0
        {
            let share = dt / (config.filter + dt);
            self.slope += ((measured - last) / dt - self.slope) * share;
        }
        let others = config.kp * error + config.kd * self.slope + forward;
        let windup = others + self.integral >= high && error > 0.0;
        if !windup {
            self.integral += config.ki * error * dt;
        }
        self.integral = self.integral.clamp(-forward.max(0.0), high);
        (others + self.integral).clamp(low, high)
    }

    /// Takes over from what else set the output: the next turn goes on from `output` as far as the integral reaches.
    pub(crate) fn track(&mut self, config: &PidConfig, measured: f64, forward: f64, output: f64, high: f64) {
        self.last = Some(measured);
        self.slope = 0.0;
        let error = measured - config.target;
        self.integral = (output - config.kp * error - forward).clamp(-forward.max(0.0), high);
    }

    /// There is nothing to go on from; the next turn begins at `output`.
    pub(crate) fn begin_at(&mut self, output: f64) {
        *self = Self { integral: output, last: None, slope: 0.0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CONFIG: PidConfig = PidConfig { target: 60.0, kp: 2.0, ki: 0.1, kd: 1.0, filter: 2.0 };
    const LIMITS: (f64, f64) = (20.0, 100.0);

    #[test]
    fn hotter_than_the_target_speeds_up_and_colder_slows_down() {
        let mut pid = Pid::default();
        let hot: Vec<f64> = (0..5).map(|_| pid.turn(&CONFIG, 75.0, 0.0, 1.0, LIMITS)).collect();
        assert!(hot.windows(2).all(|pair| pair[1] > pair[0]), "{hot:?}");
        let cold: Vec<f64> = (0..60).map(|_| pid.turn(&CONFIG, 55.0, 0.0, 1.0, LIMITS)).collect();
        assert_eq!(cold.last(), Some(&20.0));
    }

    /// Windup would keep the output at its limit long after the heat is gone.
    #[test]
    fn an_hour_at_the_limit_is_forgotten_in_seconds() {
        let mut pid = Pid::default();
        for _ in 0..3_600 {
            assert!(pid.turn(&CONFIG, 120.0, 0.0, 1.0, LIMITS) <= 100.0);
        }
        let mut seconds = 0;
        while pid.turn(&CONFIG, 59.0, 0.0, 1.0, LIMITS) >= 100.0 {
            seconds += 1;
            assert!(seconds < 5);
        }
    }

    #[test]
    fn what_it_takes_over_it_goes_on_from() {
        let mut pid = Pid::default();
        pid.track(&CONFIG, 61.0, 5.0, 70.0, 100.0);
        let next = pid.turn(&CONFIG, 61.0, 5.0, 1.0, LIMITS);
        assert!((next - 70.1).abs() < 1e-9, "{next}");
    }

    proptest! {
        #[test]
        fn more_heat_never_gives_less(
            history in proptest::collection::vec(0.0..120.0_f64, 0..60),
            (a, b) in (0.0..120.0_f64, 0.0..120.0_f64),
            (p, q) in (0.0..40.0_f64, 0.0..40.0_f64),
        ) {
            let mut pid = Pid::default();
            for measured in history {
                let out = pid.turn(&CONFIG, measured, 0.0, 1.0, LIMITS);
                prop_assert!((20.0..=100.0).contains(&out));
            }
            let mut other = pid.clone();
            let less = pid.turn(&CONFIG, a.min(b), p.min(q), 1.0, LIMITS);
            let more = other.turn(&CONFIG, a.max(b), p.max(q), 1.0, LIMITS);
            prop_assert!(more >= less, "{more} {less}");
        }
    }
}
