//! How often thresholds may be set and reset. Each change is an event and a record in flash: a client that sets them in a loop would wear it out, and push
//! all else out of the event log. Pure.

use units::{Allowance, Millis, Quota};

/// Changes of one sensor: IPMI sets its six thresholds and the hysteresis one by one.
const OF_SENSOR: Allowance = Allowance::new(16, 1, Millis::from_secs(300));
/// Changes by one account: a machine's sensors may all be set in one go.
const OF_ACCOUNT: Allowance = Allowance::new(256, 1, Millis::from_secs(60));

/// The changes that sensors, by their places on the board, and accounts have at the start.
pub(crate) const fn changes() -> Quota<usize> {
    Quota::new(OF_SENSOR, OF_ACCOUNT)
}

#[cfg(test)]
mod tests {
    use units::Mono;

    use super::*;

    #[test]
    fn a_sensor_and_an_account_have_so_many_changes_at_once_and_then_one_in_each_span() {
        let at = |second: u64| Mono::from_millis(second * 1_000);
        let mut quota = changes();
        let mut taken =
            |second: u64, by: &str| (0..40).filter(|_| quota.take(at(second), 7, by).is_ok()).count();
        assert_eq!((taken(0, "one"), taken(1, "other"), taken(299, "one"), taken(300, "one")), (16, 0, 0, 1));
        assert_eq!(quota.take(at(300), 7, "one"), Err(Millis::from_secs(300)));
        assert_eq!(quota.take(at(300), 8, "one"), Ok(()), "another sensor");
        let mut quota = changes();
        assert_eq!((0..400).filter(|sensor| quota.take(at(0), *sensor, "one").is_ok()).count(), 256);
        assert_eq!(quota.take(at(0), 399, "one"), Err(Millis::from_secs(60)));
        assert_eq!(quota.take(at(0), 399, "other"), Ok(()));
    }
}
