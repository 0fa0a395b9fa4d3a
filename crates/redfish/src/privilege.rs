//! Who may do what: DMTF's privilege registry (DSP0266 §13.3), which is the only place that says so.

use schema::v1alpha1 as v1;

/// A method of HTTP that Redfish has a meaning for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Read.
    Get,
    /// Read, without the body.
    Head,
    /// Change.
    Patch,
    /// Create, or an action.
    Post,
    /// Replace.
    Put,
    /// Delete.
    Delete,
}

impl Method {
    /// All of them, in the order of the registry.
    pub const ALL: [Self; 6] = [Self::Get, Self::Head, Self::Patch, Self::Post, Self::Put, Self::Delete];

    /// As HTTP writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Patch => "PATCH",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }

    /// The method of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }

    /// Whether it only reads.
    #[must_use]
    pub fn reads(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }
}

/// A set of privileges (DSP0266 §13.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Privileges(pub(crate) u8);

impl Privileges {
    /// Nobody needs to be logged in.
    pub const NO_AUTH: Self = Self(0);
    /// Read.
    pub const LOGIN: Self = Self(1);
    /// Change one's own account and sessions.
    pub const CONFIGURE_SELF: Self = Self(2);
    /// Operate the machine.
    pub const CONFIGURE_COMPONENTS: Self = Self(4);
    /// Configure the manager.
    pub const CONFIGURE_MANAGER: Self = Self(8);
    /// Manage accounts.
    pub const CONFIGURE_USERS: Self = Self(16);

    const NAMES: [(Self, v1::Privilege, &'static str); 5] = [
        (Self::LOGIN, v1::Privilege::Login, "Login"),
        (Self::CONFIGURE_MANAGER, v1::Privilege::ConfigureManager, "ConfigureManager"),
        (Self::CONFIGURE_USERS, v1::Privilege::ConfigureUsers, "ConfigureUsers"),
        (Self::CONFIGURE_SELF, v1::Privilege::ConfigureSelf, "ConfigureSelf"),
        (Self::CONFIGURE_COMPONENTS, v1::Privilege::ConfigureComponents, "ConfigureComponents"),
    ];

    /// Those of the contract's numbers that Redfish has.
    #[must_use]
    pub fn of(numbers: &[i32]) -> Self {
        let has = |privilege: v1::Privilege| numbers.contains(&i32::from(privilege));
        Self(Self::NAMES.iter().filter(|(_, privilege, _)| has(*privilege)).map(|(bit, ..)| bit.0).sum())
    }

    /// The contract's privilege of this name.
    pub(crate) fn numbered(name: &str) -> Option<v1::Privilege> {
        Self::NAMES.iter().find(|(.., other)| *other == name).map(|(_, privilege, _)| *privilege)
    }

    /// As Redfish writes them.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        Self::NAMES.iter().filter(|(bit, ..)| self.has(*bit)).map(|(.., name)| *name).collect()
    }

    /// Whether all of `wanted` are in it.
    #[must_use]
    pub fn has(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Somebody who is logged in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// Id of the account.
    pub user_id: String,
    /// Name of the account.
    pub username: String,
    /// Id of the session; empty without one.
    pub session_id: String,
    /// What the account may do.
    pub privileges: Privileges,
    /// The account is of the type that consoles of hosts are for (`HostConsole`).
    pub opens_consoles: bool,
    /// Only the password can be changed until it has been.
    pub password_change_required: bool,
}

/// For each method the alternatives of privileges, in the order of [`Method::ALL`]; `None` where an override leaves it as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operations(pub(crate) [Option<&'static [Privileges]>; 6]);

impl Operations {
    fn of(&self, method: Method) -> Option<&'static [Privileges]> {
        let at = Method::ALL.iter().position(|other| *other == method)?;
        self.0.get(at).copied().flatten()
    }
}

/// A type of resource in the registry.
#[derive(Clone, Copy, Debug)]
pub struct Entity {
    /// `ComputerSystem`.
    pub name: &'static str,
    pub(crate) operations: Operations,
    /// For some of its properties others: their names, and what holds for them.
    pub(crate) properties: &'static [(&'static [&'static str], Operations)],
    /// Below other types others: the types on the way, and what holds there.
    pub(crate) below: &'static [(&'static [&'static str], Operations)],
}

impl Entity {
    /// Which privileges the method takes, for a resource that lies below resources of these types, the nearest last; any of them will do.
    #[must_use]
    pub fn needs(&self, method: Method, above: &[&str]) -> &'static [Privileges] {
        let is_below = |targets: &[&str]| {
            // The chain ends at the resource itself, or at the collection it is in.
            let mut above = above.iter();
            targets.iter().all(|target| above.any(|name| name == target))
        };
        let special = self.below.iter().filter(|(targets, _)| is_below(targets));
        special
            .filter_map(|(_, operations)| operations.of(method))
            .next()
            .or_else(|| self.operations.of(method))
            .unwrap_or_default()
    }

    /// Which privileges a PATCH of this property takes, where that differs from the others of the resource.
    #[must_use]
    pub(crate) fn of_property(&self, property: &str) -> Option<&'static [Privileges]> {
        let (_, operations) = self.properties.iter().find(|(names, _)| names.contains(&property))?;
        operations.of(Method::Patch)
    }
}

/// The entities of the registry.
#[allow(
    missing_docs,
    clippy::identity_op,
    clippy::precedence,
    reason = "generated from DMTF's privilege registry; most are not used by any one program"
)]
pub mod entity {
    use super::{Entity, Operations, Privileges};

    include!(concat!(env!("OUT_DIR"), "/entities.rs"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_of_the_manager_is_configured_by_who_configures_the_manager() {
        let of = |above: &[&str]| entity::ETHERNET_INTERFACE.needs(Method::Patch, above);
        assert_eq!(of(&["Manager", "EthernetInterfaceCollection"]), [Privileges::CONFIGURE_MANAGER]);
        assert_eq!(
            of(&["ComputerSystem", "EthernetInterfaceCollection"]),
            [Privileges::CONFIGURE_COMPONENTS]
        );
        let get = entity::ETHERNET_INTERFACE.needs(Method::Get, &["Manager", "EthernetInterfaceCollection"]);
        assert_eq!(get, [Privileges::LOGIN]);
    }

    #[test]
    fn one_s_own_password_takes_another_privilege_than_the_account() {
        assert_eq!(
            entity::MANAGER_ACCOUNT.of_property("Password").unwrap(),
            [Privileges::CONFIGURE_USERS, Privileges::CONFIGURE_SELF]
        );
        assert_eq!(entity::MANAGER_ACCOUNT.needs(Method::Patch, &[]), [Privileges::CONFIGURE_USERS]);
        assert!(entity::MANAGER_ACCOUNT.of_property("RoleId").is_none());
    }

    #[test]
    fn privileges_of_the_contract_are_those_of_redfish_by_name() {
        let all: Vec<i32> = (0..=6).collect();
        assert_eq!(
            Privileges::of(&all).names(),
            ["Login", "ConfigureManager", "ConfigureUsers", "ConfigureSelf", "ConfigureComponents"]
        );
        assert_eq!(Privileges::of(&[v1::Privilege::Login.into()]), Privileges::LOGIN);
        assert!(Privileges::LOGIN.has(Privileges::NO_AUTH) && !Privileges::NO_AUTH.has(Privileges::LOGIN));
    }
}
