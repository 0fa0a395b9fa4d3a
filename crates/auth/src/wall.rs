//! Wall-clock time as it is shown and stored; deadlines use [`units::Mono`] instead.

/// Milliseconds since 1970-01-01T00:00:00Z.
///
/// Shown to people and stored with accounts and sessions. Nothing in this crate waits for a wall-clock time,
/// since the clock of a BMC may be set by hours at any moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// Milliseconds from `earlier` to `self`, or `None` when `earlier` is the later one.
    #[must_use]
    pub fn since(self, earlier: Self) -> Option<u64> {
        self.0.checked_sub(earlier.0)
    }
}
