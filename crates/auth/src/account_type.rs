//! What an account may be used for, beside what its role allows: the account types of Redfish (DSP0268, `ManagerAccount.AccountTypes`) that there are here.

use std::fmt;

use crate::role::{Privilege, Privileges};

/// A service that an account may be used for. The numbers are those of the schema's `AccountType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccountType {
    /// Redfish.
    Redfish,
    /// IPMI over the network.
    Ipmi,
    /// The consoles of hosts.
    HostConsole,
    /// The screens of hosts.
    Kvmip,
    /// Media that are inserted into hosts.
    VirtualMedia,
    /// Sessions of the pages of the Web UI.
    WebUi,
}

impl AccountType {
    /// Every type, in the order of the schema.
    pub const ALL: [Self; 6] =
        [Self::Redfish, Self::Ipmi, Self::HostConsole, Self::Kvmip, Self::VirtualMedia, Self::WebUi];

    /// Its bit in a set: that of its number. Sets are stored, so no number is ever given another meaning.
    const fn bit(self) -> u8 {
        match self {
            Self::Redfish => 1 << 1,
            Self::Ipmi => 1 << 2,
            Self::HostConsole => 1 << 3,
            Self::Kvmip => 1 << 4,
            Self::VirtualMedia => 1 << 5,
            Self::WebUi => 1 << 6,
        }
    }

    /// Whether a role with these privileges can do anything with it.
    #[must_use]
    pub fn is_usable_with(self, privileges: Privileges) -> bool {
        let any = |list: &[Privilege]| list.iter().any(|privilege| privileges.contains(*privilege));
        match self {
            Self::Redfish | Self::WebUi => privileges != Privileges::NONE,
            Self::Ipmi => any(&[Privilege::Login]),
            Self::HostConsole | Self::VirtualMedia => any(&[Privilege::ConfigureComponents]),
            Self::Kvmip => any(&[Privilege::ConfigureComponents, Privilege::ViewScreens]),
        }
    }

    /// Its name in Redfish.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Redfish => "Redfish",
            Self::Ipmi => "IPMI",
            Self::HostConsole => "HostConsole",
            Self::Kvmip => "KVMIP",
            Self::VirtualMedia => "VirtualMedia",
            Self::WebUi => "WebUI",
        }
    }
}

impl fmt::Display for AccountType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of types.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct AccountTypes(u8);

impl AccountTypes {
    /// The empty set.
    pub const NONE: Self = Self(0);
    /// Every type.
    pub const ALL: Self = Self::of(&AccountType::ALL);

    /// The set of the listed types.
    #[must_use]
    pub const fn of(list: &[AccountType]) -> Self {
        let mut bits = 0;
        let mut rest = list;
        while let [first, tail @ ..] = rest {
            bits |= first.bit();
            rest = tail;
        }
        Self(bits)
    }

    /// The set as it is stored.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// A set that was stored. Types that are not known, of a newer release, are left out.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits.to_le_bytes()[0] & Self::ALL.0)
    }

    /// Whether there is no type in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `kind` is in the set.
    #[must_use]
    pub const fn contains(self, kind: AccountType) -> bool {
        self.0 & kind.bit() != 0
    }

    /// Whether all of `other` is in the set.
    #[must_use]
    pub const fn has_all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether anything of `other` is in the set.
    #[must_use]
    pub const fn has_any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The set with `kind` in it, or without.
    #[must_use]
    pub const fn set(self, kind: AccountType, is_in: bool) -> Self {
        if is_in { Self(self.0 | kind.bit()) } else { Self(self.0 & !kind.bit()) }
    }

    /// Those of them that a role with these privileges can use.
    #[must_use]
    pub fn usable_with(self, privileges: Privileges) -> Self {
        self.iter()
            .filter(|kind| kind.is_usable_with(privileges))
            .fold(Self::NONE, |set, kind| set.set(kind, true))
    }

    /// The members in the order of the schema.
    pub fn iter(self) -> impl Iterator<Item = AccountType> {
        AccountType::ALL.into_iter().filter(move |kind| self.contains(*kind))
    }
}

impl fmt::Debug for AccountTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::role::Role;

    /// Frozen: stored sets are made of these bits.
    #[test]
    fn a_set_is_stored_by_the_numbers_of_its_members_and_a_type_of_a_newer_release_is_left_out() {
        for (at, kind) in AccountType::ALL.into_iter().enumerate() {
            let set = AccountTypes::of(&[kind]);
            assert_eq!(set.bits(), 1 << (at + 1), "{kind}");
            assert_eq!(AccountTypes::from_bits(u32::from(set.bits())), set);
        }
        assert_eq!(AccountTypes::from_bits(u32::MAX), AccountTypes::ALL);
        assert_eq!(AccountTypes::from_bits(1 | 1 << 7 | 1 << 20), AccountTypes::NONE);
    }

    #[test]
    fn a_role_uses_what_it_has_a_privilege_for() {
        let used = |role: Role| AccountTypes::ALL.usable_with(role.privileges());
        assert_eq!(used(Role::Administrator), AccountTypes::ALL);
        assert_eq!(used(Role::Operator), AccountTypes::ALL);
        let looks = [AccountType::Redfish, AccountType::Ipmi, AccountType::Kvmip, AccountType::WebUi];
        assert_eq!(used(Role::ReadOnly), AccountTypes::of(&looks));
        assert_eq!(AccountTypes::ALL.usable_with(Privileges::NONE), AccountTypes::NONE);
    }

    #[test]
    fn sets_are_compared_and_changed_by_member() {
        let some = AccountTypes::of(&[AccountType::Redfish, AccountType::WebUi]);
        assert!(some.contains(AccountType::WebUi) && !some.contains(AccountType::Ipmi));
        assert!(AccountTypes::ALL.has_all(some) && !some.has_all(AccountTypes::ALL));
        assert!(some.has_any(AccountTypes::ALL) && !some.has_any(AccountTypes::of(&[AccountType::Kvmip])));
        assert_eq!(some.set(AccountType::WebUi, false).set(AccountType::Redfish, false), AccountTypes::NONE);
        assert_eq!(some.set(AccountType::WebUi, true), some);
        assert_eq!(some.iter().map(AccountType::name).collect::<Vec<_>>(), ["Redfish", "WebUI"]);
        assert!(AccountTypes::NONE.is_empty() && AccountTypes::NONE.has_all(AccountTypes::NONE));
    }
}
