//! How often thresholds may be set and reset. Each change is an event and a record in flash: a client that sets them in a loop would wear it out, and push
//! all else out of the event log. Pure.

use std::collections::BTreeMap;

use units::{Allowance, Millis, Mono};

/// Changes of one sensor at once, and then one in each span: IPMI sets its six thresholds and the hysteresis one by one.
const SENSOR_AT_ONCE: u32 = 16;
const SENSOR_EACH: Millis = Millis::from_secs(300);
/// Changes by one account at once: a machine's sensors may all be set in one go.
const CALLER_AT_ONCE: u32 = 256;
const CALLER_EACH: Millis = Millis::from_secs(60);

/// What is left of the changes of each sensor and of each account.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    sensors: BTreeMap<usize, Allowance>,
    callers: BTreeMap<String, Allowance>,
}

impl Budget {
    /// Takes one change of a sensor by an account.
    ///
    /// # Errors
    /// There is none left: after how long there is. Nothing was taken then.
    pub(crate) fn take(&mut self, now: Mono, sensor: usize, caller: &str) -> Result<(), Millis> {
        self.sensors.retain(|_, left| !left.is_full(now));
        self.callers.retain(|_, left| !left.is_full(now));
        let of_sensor = self.sensors.entry(sensor).or_insert(Allowance::new(SENSOR_AT_ONCE, 1, SENSOR_EACH));
        let of_caller =
            self.callers.entry(caller.to_owned()).or_insert(Allowance::new(CALLER_AT_ONCE, 1, CALLER_EACH));
        let wait = of_sensor.wait(now).max(of_caller.wait(now));
        if !wait.is_zero() {
            return Err(wait);
        }
        of_sensor.take(now);
        of_caller.take(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sensor_and_an_account_have_so_many_changes_at_once_and_then_one_in_each_span() {
        let at = |second: u64| Mono::from_millis(second * 1_000);
        let mut budget = Budget::default();
        let mut taken =
            |second: u64, by: &str| (0..40).filter(|_| budget.take(at(second), 7, by).is_ok()).count();
        assert_eq!((taken(0, "one"), taken(1, "other"), taken(299, "one"), taken(300, "one")), (16, 0, 0, 1));
        assert_eq!(budget.take(at(300), 7, "one"), Err(SENSOR_EACH));
        assert_eq!(budget.take(at(300), 8, "one"), Ok(()), "another sensor");
        let mut budget = Budget::default();
        assert_eq!((0..400).filter(|sensor| budget.take(at(0), *sensor, "one").is_ok()).count(), 256);
        assert_eq!(budget.take(at(0), 399, "one"), Err(CALLER_EACH));
        assert_eq!(budget.take(at(0), 399, "other"), Ok(()));
        assert_eq!(budget.take(at(100_000), 0, "one"), Ok(()));
        assert_eq!((budget.sensors.len(), budget.callers.len()), (1, 1), "what is full is forgotten");
    }
}
