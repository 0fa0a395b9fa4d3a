//! The way to a mounted data partition: as it is, repaired, made anew, or memory where nothing else is left.

use boot::DataState;

/// What a check of the file system came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checked {
    /// It is consistent now.
    Sound,
    /// It is not.
    Broken,
}

/// How much a check may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repair {
    /// What loses nothing.
    Safe,
    /// Everything.
    All,
}

/// What is known before mounting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// There is no partition.
    Nothing,
    /// There is one, without a file system of the kind.
    Blank,
    /// Its file system is flagged with errors.
    Flagged,
    /// Nothing is known against it.
    Good,
}

/// What can be done with the data partition. Failures are told by whoever does it.
pub(crate) trait Partition {
    /// Looks at it without changing it.
    fn look(&mut self) -> Found;
    /// Mounts it.
    fn mount(&mut self) -> bool;
    /// Checks and repairs its file system, where the kind has a tool for that.
    fn check(&mut self, repair: Repair) -> Checked;
    /// Wipes it and makes an empty file system.
    fn recreate(&mut self) -> bool;
    /// Mounts memory in its place.
    fn mount_memory(&mut self) -> bool;
}

/// Mounts the data partition by the least change that works. `None` when not even memory can be mounted.
pub(crate) fn prepare(partition: &mut impl Partition, factory_reset: bool) -> Option<DataState> {
    let found = partition.look();
    if found != Found::Nothing {
        if factory_reset {
            if partition.recreate() && partition.mount() {
                return Some(DataState::FactoryReset);
            }
        } else {
            if found == Found::Good && partition.mount() {
                return Some(DataState::Ok);
            }
            // What is blank has lost its superblock at least; the check knows where the copies are.
            for repair in [Repair::Safe, Repair::All] {
                if partition.check(repair) == Checked::Sound && partition.mount() {
                    return Some(DataState::Repaired);
                }
            }
            if partition.recreate() && partition.mount() {
                return Some(DataState::Recreated);
            }
        }
    }
    partition.mount_memory().then_some(DataState::Volatile)
}

/// What e2fsck's exit status means: 1 and 2 say that it repaired.
pub(crate) fn e2fsck(status: Option<i32>) -> Checked {
    match status {
        Some(0..=3) => Checked::Sound,
        _ => Checked::Broken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A partition on which mounting works once the last thing in `cure` was done.
    struct Fake {
        found: Found,
        cure: Option<&'static str>,
        done: Vec<&'static str>,
    }

    impl Fake {
        fn new(found: Found, cure: Option<&'static str>) -> Self {
            Self { found, cure, done: Vec::new() }
        }

        fn cured(&self) -> bool {
            self.cure.is_some_and(|cure| cure.is_empty() || self.done.contains(&cure))
        }
    }

    impl Partition for Fake {
        fn look(&mut self) -> Found {
            self.found
        }

        fn mount(&mut self) -> bool {
            self.done.push("mount");
            self.cured()
        }

        fn check(&mut self, repair: Repair) -> Checked {
            self.done.push(if repair == Repair::Safe { "safe" } else { "all" });
            if self.cured() { Checked::Sound } else { Checked::Broken }
        }

        fn recreate(&mut self) -> bool {
            self.done.push("recreate");
            self.cured()
        }

        fn mount_memory(&mut self) -> bool {
            self.done.push("memory");
            true
        }
    }

    #[test]
    fn the_least_change_that_works_is_made() {
        for (found, reset, cure, done, state) in [
            (Found::Good, false, Some(""), &["mount"][..], DataState::Ok),
            (Found::Good, false, Some("safe"), &["mount", "safe", "mount"], DataState::Repaired),
            (Found::Flagged, false, Some(""), &["safe", "mount"], DataState::Repaired),
            (Found::Flagged, false, Some("all"), &["safe", "all", "mount"], DataState::Repaired),
            (
                Found::Blank,
                false,
                Some("recreate"),
                &["safe", "all", "recreate", "mount"],
                DataState::Recreated,
            ),
            (Found::Good, true, Some(""), &["recreate", "mount"], DataState::FactoryReset),
            (Found::Blank, false, None, &["safe", "all", "recreate", "memory"], DataState::Volatile),
            (Found::Nothing, true, None, &["memory"], DataState::Volatile),
        ] {
            let mut fake = Fake::new(found, cure);
            assert_eq!(prepare(&mut fake, reset), Some(state), "{found:?} {cure:?}");
            assert_eq!(fake.done, done, "{found:?} {cure:?}");
        }
    }

    #[test]
    fn a_healthy_partition_is_never_made_anew_unasked() {
        let mut fake = Fake::new(Found::Good, Some(""));
        prepare(&mut fake, false);
        assert!(!fake.done.contains(&"recreate"));
    }

    #[test]
    fn a_check_that_repaired_is_as_good_as_one_that_had_nothing_to_do() {
        assert_eq!(e2fsck(Some(0)), Checked::Sound);
        assert_eq!(e2fsck(Some(1)), Checked::Sound);
        assert_eq!(e2fsck(Some(4)), Checked::Broken);
        assert_eq!(e2fsck(Some(5)), Checked::Broken);
        assert_eq!(e2fsck(Some(8)), Checked::Broken);
        assert_eq!(e2fsck(None), Checked::Broken, "ended by a signal");
    }
}
