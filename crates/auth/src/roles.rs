//! Roles that were made, beside the three that always exist: planned, stored by the caller, then applied, as accounts are.

use std::collections::BTreeMap;
use std::fmt;

use crate::role::{Privileges, Role};

/// The name of a role, which never changes: `^[a-zA-Z][a-zA-Z0-9_-]*$`, at most 64 characters. An account has one; whether there is such a role,
/// and what it allows, [`Roles`] says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleName(String);

/// The text is no name of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a role's name has 1 to {} characters: a letter first, then letters, digits, '_' and '-'",
    RoleName::MAX_LEN
)]
pub struct RoleNameError;

impl RoleName {
    /// Most characters of a name.
    pub const MAX_LEN: usize = 64;

    /// Checks a name.
    ///
    /// # Errors
    /// [`RoleNameError`] when it does not have the form.
    pub fn new(name: &str) -> Result<Self, RoleNameError> {
        let mut rest = name.bytes();
        let first = rest.next().is_some_and(|c| c.is_ascii_alphabetic());
        let follows = rest.all(|c| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-'));
        if first && follows && name.len() <= Self::MAX_LEN {
            Ok(Self(name.to_owned()))
        } else {
            Err(RoleNameError)
        }
    }

    /// The name as text.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl From<Role> for RoleName {
    fn from(role: Role) -> Self {
        Self(role.name().to_owned())
    }
}

impl PartialEq<Role> for RoleName {
    fn eq(&self, role: &Role) -> bool {
        self.0 == role.name()
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A role that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomRole {
    /// Its name.
    pub name: RoleName,
    /// For people.
    pub description: String,
    /// What it allows.
    pub privileges: Privileges,
}

/// A change of a role; `None` leaves what it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RolePatch {
    /// New description.
    pub description: Option<String>,
    /// What it allows from then on, replacing all.
    pub privileges: Option<Privileges>,
}

/// Why a role was not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RoleRefused {
    /// There is no such role.
    #[error("there is no such role")]
    NotFound,
    /// Another role has the name, or one that differs by case only.
    #[error("there is a role of that name")]
    NameTaken,
    /// It is one of the three that always exist.
    #[error("Administrator, Operator and ReadOnly are as they are: make a role of another name")]
    Predefined,
    /// An account has it.
    #[error("an account has the role: give it another one first")]
    InUse,
    /// There is no room for one more.
    #[error("there are already {} roles that were made", Roles::MAX)]
    Full,
}

/// A planned change of a role: store it, then [`Roles::apply`] it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleChange {
    /// Write this role whole.
    Put(Box<CustomRole>),
    /// Remove the role.
    Delete(RoleName),
}

impl RoleChange {
    /// The role it is about.
    #[must_use]
    pub fn name(&self) -> &RoleName {
        match self {
            Self::Put(role) => &role.name,
            Self::Delete(name) => name,
        }
    }
}

/// All roles that were made.
#[derive(Debug, Clone, Default)]
pub struct Roles {
    made: BTreeMap<RoleName, CustomRole>,
}

impl Roles {
    /// Most roles beside the predefined ones: more than a site tells apart, and few enough to be listed whole.
    pub const MAX: usize = 32;

    /// The role of that name; `None` where it is predefined or there is none.
    #[must_use]
    pub fn get(&self, name: &RoleName) -> Option<&CustomRole> {
        self.made.get(name)
    }

    /// The roles by name.
    pub fn iter(&self) -> impl Iterator<Item = &CustomRole> {
        self.made.values()
    }

    /// Whether there is a role of that name.
    #[must_use]
    pub fn is_known(&self, name: &RoleName) -> bool {
        Role::from_name(name.name()).is_some() || self.made.contains_key(name)
    }

    /// What a role allows; nothing where there is none of that name: its record may be damaged (I-5).
    #[must_use]
    pub fn privileges(&self, name: &RoleName) -> Privileges {
        match Role::from_name(name.name()) {
            Some(role) => role.privileges(),
            None => self.made.get(name).map_or(Privileges::NONE, |role| role.privileges),
        }
    }

    /// Plans a new role.
    ///
    /// # Errors
    /// [`RoleRefused::NameTaken`], [`RoleRefused::Full`].
    pub fn plan_create(&self, role: CustomRole) -> Result<RoleChange, RoleRefused> {
        let is_taken = |name: &str| name.eq_ignore_ascii_case(role.name.name());
        let predefined = Role::ALL.into_iter().any(|role| is_taken(role.name()));
        if predefined || self.made.keys().any(|name| is_taken(name.name())) {
            return Err(RoleRefused::NameTaken);
        }
        if self.made.len() >= Self::MAX {
            return Err(RoleRefused::Full);
        }
        Ok(RoleChange::Put(Box::new(role)))
    }

    /// Plans a change.
    ///
    /// # Errors
    /// [`RoleRefused::NotFound`], [`RoleRefused::Predefined`].
    pub fn plan_update(&self, name: &RoleName, patch: RolePatch) -> Result<RoleChange, RoleRefused> {
        let mut role = self.changeable(name)?.clone();
        role.description = patch.description.unwrap_or(role.description);
        role.privileges = patch.privileges.unwrap_or(role.privileges);
        Ok(RoleChange::Put(Box::new(role)))
    }

    /// Plans to delete a role. `in_use`: an account has it.
    ///
    /// # Errors
    /// [`RoleRefused::NotFound`], [`RoleRefused::Predefined`], [`RoleRefused::InUse`].
    pub fn plan_delete(&self, name: &RoleName, in_use: bool) -> Result<RoleChange, RoleRefused> {
        self.changeable(name)?;
        if in_use { Err(RoleRefused::InUse) } else { Ok(RoleChange::Delete(name.clone())) }
    }

    /// Carries out a change that is stored.
    pub fn apply(&mut self, change: RoleChange) {
        match change {
            RoleChange::Put(role) => self.restore(*role),
            RoleChange::Delete(name) => {
                self.made.remove(&name);
            }
        }
    }

    /// Puts a stored role back after a restart. A predefined one is not overridden, whatever the store holds.
    pub fn restore(&mut self, role: CustomRole) {
        if Role::from_name(role.name.name()).is_none() {
            self.made.insert(role.name.clone(), role);
        }
    }

    fn changeable(&self, name: &RoleName) -> Result<&CustomRole, RoleRefused> {
        if Role::from_name(name.name()).is_some() {
            return Err(RoleRefused::Predefined);
        }
        self.made.get(name).ok_or(RoleRefused::NotFound)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::role::Privilege;

    fn name(text: &str) -> RoleName {
        RoleName::new(text).unwrap()
    }

    fn role(text: &str) -> CustomRole {
        let privileges = Privileges::of(&[Privilege::Login, Privilege::ConfigureComponents]);
        CustomRole { name: name(text), description: "power only".into(), privileges }
    }

    fn roles(names: &[&str]) -> Roles {
        let mut roles = Roles::default();
        for name in names {
            roles.apply(roles.plan_create(role(name)).unwrap());
        }
        roles
    }

    #[test]
    fn a_role_is_made_changed_and_deleted() {
        let mut roles = roles(&["Night-Shift"]);
        let night = name("Night-Shift");
        assert!(roles.is_known(&night) && roles.privileges(&night).contains(Privilege::ConfigureComponents));
        let patch =
            RolePatch { privileges: Some(Privileges::of(&[Privilege::Login])), ..RolePatch::default() };
        roles.apply(roles.plan_update(&night, patch).unwrap());
        assert_eq!(roles.privileges(&night), Privileges::of(&[Privilege::Login]));
        assert_eq!(roles.get(&night).unwrap().description, "power only", "as it was");
        assert_eq!(roles.plan_delete(&night, true), Err(RoleRefused::InUse));
        roles.apply(roles.plan_delete(&night, false).unwrap());
        assert_eq!((roles.is_known(&night), roles.privileges(&night)), (false, Privileges::NONE));
        assert_eq!(roles.plan_delete(&night, false), Err(RoleRefused::NotFound));
        assert_eq!(roles.plan_update(&night, RolePatch::default()), Err(RoleRefused::NotFound));
    }

    #[test]
    fn predefined_roles_are_as_they_are() {
        let mut roles = Roles::default();
        for predefined in Role::ALL {
            let name = RoleName::from(predefined);
            assert!(name == predefined && roles.is_known(&name));
            assert_eq!(roles.privileges(&name), predefined.privileges());
            assert_eq!(roles.plan_delete(&name, false), Err(RoleRefused::Predefined));
            assert_eq!(roles.plan_update(&name, RolePatch::default()), Err(RoleRefused::Predefined));
            let other_case = role(&predefined.name().to_lowercase());
            assert_eq!(roles.plan_create(other_case), Err(RoleRefused::NameTaken));
            roles.restore(role(predefined.name()));
            assert_eq!(roles.privileges(&name), predefined.privileges(), "whatever the store holds");
        }
    }

    #[test]
    fn names_differ_by_more_than_case_and_there_is_an_end_to_them() {
        let mut roles = roles(&["night"]);
        assert_eq!(roles.plan_create(role("NIGHT")), Err(RoleRefused::NameTaken));
        for n in 1..Roles::MAX {
            roles.apply(roles.plan_create(role(&format!("r{n}"))).unwrap());
        }
        assert_eq!(roles.plan_create(role("one-more")), Err(RoleRefused::Full));
    }

    #[test]
    fn a_name_is_a_key_and_a_part_of_a_subject() {
        for good in ["a", "Night_Shift-2", &"a".repeat(64)] {
            assert!(RoleName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "1st", "_damaged", "a.b", "a b", "a*", "a>", "ä", &"a".repeat(65)] {
            assert!(RoleName::new(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_refused_changes_nothing_and_what_is_planned_holds_once_applied(
            steps in proptest::collection::vec((0..5_u8, 0..3_u8, 0..64_u8, any::<bool>()), 0..60),
        ) {
            let mut roles = Roles::default();
            for (n, what, bits, in_use) in steps {
                let called = if n == 4 { RoleName::from(Role::Operator) } else { name(&format!("r{n}")) };
                let all: Vec<Privilege> = Privilege::ALL.into_iter().enumerate()
                    .filter(|(at, _)| bits & (1 << at) != 0).map(|(_, privilege)| privilege).collect();
                let privileges = Privileges::of(&all);
                let planned = match what {
                    0 => roles.plan_create(CustomRole { name: called.clone(), description: String::new(), privileges }),
                    1 => roles.plan_update(&called, RolePatch { privileges: Some(privileges), description: None }),
                    _ => roles.plan_delete(&called, in_use),
                };
                if let Ok(change) = planned {
                    let is_gone = change == RoleChange::Delete(called.clone());
                    roles.apply(change);
                    prop_assert_eq!(roles.is_known(&called), !is_gone);
                    prop_assert_eq!(roles.privileges(&called), if is_gone { Privileges::NONE } else { privileges });
                }
                prop_assert_eq!(roles.privileges(&Role::Operator.into()), Role::Operator.privileges());
            }
        }
    }
}
