//! Roles as sets of privileges.
//!
//! The privilege a method needs is written beside it in the schema; which predefined role holds which privilege is
//! written here and nowhere else. Roles that were made are in [`crate::roles`].

use std::fmt;

/// What a method may require of its caller. The numbers are those of the schema's `Privilege`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Privilege {
    /// Read what is not secret.
    Login,
    /// Change one's own password and end one's own sessions.
    ConfigureSelf,
    /// Operate the host and the chassis: power, identify, boot.
    ConfigureComponents,
    /// Change the management controller itself.
    ConfigureManager,
    /// Manage accounts and everybody's sessions.
    ConfigureUsers,
    /// See what is on the hosts' screens.
    ViewScreens,
}

impl Privilege {
    /// Every privilege, in the order of the schema.
    pub const ALL: [Self; 6] = [
        Self::Login,
        Self::ConfigureSelf,
        Self::ConfigureComponents,
        Self::ConfigureManager,
        Self::ConfigureUsers,
        Self::ViewScreens,
    ];

    const fn bit(self) -> u8 {
        match self {
            Self::Login => 1,
            Self::ConfigureSelf => 1 << 1,
            Self::ConfigureComponents => 1 << 2,
            Self::ConfigureManager => 1 << 3,
            Self::ConfigureUsers => 1 << 4,
            Self::ViewScreens => 1 << 5,
        }
    }
}

/// A set of privileges.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Privileges(u8);

impl Privileges {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// The set of the listed privileges.
    #[must_use]
    pub const fn of(list: &[Privilege]) -> Self {
        let mut bits = 0;
        let mut rest = list;
        while let [first, tail @ ..] = rest {
            bits |= first.bit();
            rest = tail;
        }
        Self(bits)
    }

    /// Whether `privilege` is in the set.
    #[must_use]
    pub const fn contains(self, privilege: Privilege) -> bool {
        self.0 & privilege.bit() != 0
    }

    /// Whether all of `other` is in the set.
    #[must_use]
    pub const fn has_all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The members in the order of the schema.
    pub fn iter(self) -> impl Iterator<Item = Privilege> {
        Privilege::ALL.into_iter().filter(move |p| self.contains(*p))
    }
}

impl fmt::Debug for Privileges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The three roles that always exist. Their names are those of Redfish's standard roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Everything.
    Administrator,
    /// Operates the machine, but changes neither accounts nor the management controller.
    Operator,
    /// Looks, and changes its own password.
    ReadOnly,
}

impl Role {
    /// Every role, the most powerful first.
    pub const ALL: [Self; 3] = [Self::Administrator, Self::Operator, Self::ReadOnly];

    /// The privileges the role holds.
    #[must_use]
    pub const fn privileges(self) -> Privileges {
        match self {
            Self::Administrator => Privileges::of(&Privilege::ALL),
            Self::Operator => Privileges::of(&[
                Privilege::Login,
                Privilege::ConfigureSelf,
                Privilege::ConfigureComponents,
                Privilege::ViewScreens,
            ]),
            Self::ReadOnly => {
                Privileges::of(&[Privilege::Login, Privilege::ConfigureSelf, Privilege::ViewScreens])
            }
        }
    }

    /// The name shown and stored, `Administrator`, `Operator` or `ReadOnly`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Administrator => "Administrator",
            Self::Operator => "Operator",
            Self::ReadOnly => "ReadOnly",
        }
    }

    /// The role of that exact name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_holds_what_the_one_below_it_holds() {
        for pair in Role::ALL.windows(2) {
            for privilege in pair[1].privileges().iter() {
                assert!(pair[0].privileges().contains(privilege), "{} lacks {privilege:?}", pair[0]);
            }
            assert!(pair[0].privileges() != pair[1].privileges());
        }
    }

    #[test]
    fn only_an_administrator_manages_accounts_and_the_controller() {
        for role in [Role::Operator, Role::ReadOnly] {
            assert!(!role.privileges().contains(Privilege::ConfigureUsers));
            assert!(!role.privileges().contains(Privilege::ConfigureManager));
        }
        assert!(!Role::ReadOnly.privileges().contains(Privilege::ConfigureComponents));
        assert_eq!(Role::Administrator.privileges().iter().count(), Privilege::ALL.len());
    }

    #[test]
    fn names_are_read_back_exactly() {
        for role in Role::ALL {
            assert_eq!(Role::from_name(role.name()), Some(role));
        }
        assert_eq!(Role::from_name("administrator"), None);
        assert_eq!(Role::from_name(""), None);
    }
}
