//! Privileges (§6.8).

/// What a session may do (§6.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Look.
    User = 2,
    /// Operate the machine.
    Operator = 3,
    /// Everything.
    Administrator = 4,
}

impl Level {
    /// Its name in the specification.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Operator => "Operator",
            Self::Administrator => "Administrator",
        }
    }

    pub(crate) fn of(number: u8) -> Option<Self> {
        [Self::User, Self::Operator, Self::Administrator].into_iter().find(|level| *level as u8 == number)
    }
}
