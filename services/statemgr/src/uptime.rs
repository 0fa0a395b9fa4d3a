//! How long something has been up, and since when.
//!
//! A span is measured on the clock that nobody sets: the kernel's time since boot. A time of day for what began in this boot is now less
//! that span, so it is right once the clock is, however often and whichever way it was set meanwhile. Only what began in an earlier boot
//! has nothing but the times of day that were written down then.

use units::Millis;

use crate::store::HostRecord;

/// 2020-01-01: a clock that shows less was never set.
const SET_MS: u64 = 1_577_836_800_000;

/// What the clocks show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clocks {
    /// Which boot of the controller.
    pub(crate) boot_id: String,
    /// Since its kernel started; `None` where it does not tell.
    pub(crate) up: Option<Millis>,
    /// Unix time in milliseconds.
    pub(crate) wall_ms: u64,
}

impl Clocks {
    /// The Unix time in milliseconds `span` ago, when `kept` was told last.
    pub(crate) fn ago(&self, span: Millis, kept: u64) -> u64 {
        units::began_ms(self.wall_ms, span, kept)
    }
}

/// The host has restarted.
pub(crate) fn restarted(record: &mut HostRecord, clocks: &Clocks) {
    record.reboot_ms = Some(clocks.wall_ms);
    record.reboot_boot_id.clone_from(&clocks.boot_id);
    record.reboot_up_ms = clocks.up.map(Millis::get);
}

/// How long ago the host restarted last; `None` when nobody can know.
pub(crate) fn since_restart(record: &HostRecord, clocks: &Clocks) -> Option<Millis> {
    let reboot_ms = record.reboot_ms?;
    if let (true, Some(begun), Some(up)) =
        (record.reboot_boot_id == clocks.boot_id, record.reboot_up_ms, clocks.up)
    {
        return Some(Millis::new(up.get().saturating_sub(begun)));
    }
    // In an earlier boot, and so at least this one long ago.
    let set = reboot_ms >= SET_MS && clocks.wall_ms >= reboot_ms;
    let span = set.then(|| Millis::new(clocks.wall_ms - reboot_ms))?;
    Some(clocks.up.map_or(span, |up| up.max(span)))
}

/// When the host restarted last, Unix time in milliseconds.
pub(crate) fn restart_ms(record: &HostRecord, clocks: &Clocks) -> Option<u64> {
    let kept = record.reboot_ms?;
    if record.reboot_boot_id == clocks.boot_id
        && let Some(span) = since_restart(record, clocks)
    {
        return Some(clocks.ago(span, kept));
    }
    Some(kept)
}

/// Sets right what is written down after the clock was set, so that a later boot has the right time; true when that is to be stored.
pub(crate) fn settle(record: &mut HostRecord, clocks: &Clocks) -> bool {
    let right = restart_ms(record, clocks);
    let changed = right != record.reboot_ms;
    record.reboot_ms = right;
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: u64 = 86_400_000;

    fn clocks(boot: &str, up: u64, wall_ms: u64) -> Clocks {
        Clocks { boot_id: boot.into(), up: Some(Millis::new(up)), wall_ms }
    }

    #[test]
    fn a_clock_that_is_set_right_changes_no_span_and_mends_the_time() {
        let right = SET_MS + 300 * DAY;
        let mut record = HostRecord::default();
        restarted(&mut record, &clocks("a", 10_000, right - 300 * DAY + 10_000));
        let later = clocks("a", 15_000, right + 15_000);
        assert_eq!(since_restart(&record, &later), Some(Millis::new(5_000)));
        assert_eq!(restart_ms(&record, &later), Some(right + 10_000));
        assert!(settle(&mut record, &later));
        assert!(!settle(&mut record, &clocks("a", 16_000, right + 16_004)), "a few milliseconds are no news");
        // The controller is restarted; the host goes on.
        let next = clocks("b", 1_000, right + DAY);
        assert_eq!(since_restart(&record, &next), Some(Millis::new(DAY - 10_000)));
        assert_eq!(restart_ms(&record, &next), Some(right + 10_000));
    }

    #[test]
    fn what_nobody_can_know_is_not_told() {
        let mut record = HostRecord::default();
        assert_eq!(since_restart(&record, &clocks("a", 1, 1)), None);
        restarted(&mut record, &clocks("a", 10_000, 5_000));
        assert_eq!(
            since_restart(&record, &clocks("b", 1_000, SET_MS + DAY)),
            None,
            "stamped by a clock that was not set"
        );
        let mut record = HostRecord::default();
        restarted(&mut record, &clocks("a", 10_000, SET_MS + DAY));
        assert_eq!(since_restart(&record, &clocks("b", 1_000, 70_000)), None, "the clock is not set yet");
        assert_eq!(
            since_restart(&record, &clocks("b", 2 * DAY, SET_MS + DAY + 1)),
            Some(Millis::new(2 * DAY))
        );
        // A record of an earlier release has a time of day only.
        let old = HostRecord { reboot_ms: Some(SET_MS + DAY), ..HostRecord::default() };
        assert_eq!(since_restart(&old, &clocks("a", 1_000, SET_MS + 2 * DAY)), Some(Millis::new(DAY)));
    }

    proptest! {
        /// Whatever the clock is set to and however often: spans are those of the clock nobody sets, and the time told is that of the clock
        /// as it is set now.
        #[test]
        fn spans_are_right_under_any_steps(
            begun in 0..10 * DAY,
            first in 0..400 * DAY,
            steps in proptest::collection::vec((0..DAY, 0..1_000 * DAY, any::<bool>()), 1..20),
        ) {
            let mut record = HostRecord::default();
            restarted(&mut record, &clocks("a", begun, SET_MS - 100 * DAY + first));
            let mut up = begun;
            for (span, wall, ticked) in steps {
                up += span;
                let now = clocks("a", up, SET_MS - 200 * DAY + wall);
                prop_assert_eq!(since_restart(&record, &now), Some(Millis::new(up - begun)));
                let told = restart_ms(&record, &now).unwrap();
                prop_assert!(told.abs_diff(now.wall_ms.saturating_sub(up - begun)) <= 1_000);
                if ticked {
                    settle(&mut record, &now);
                    prop_assert_eq!(record.reboot_ms, Some(told));
                }
            }
        }
    }
}
