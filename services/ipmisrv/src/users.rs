//! Accounts as users of IPMI, by their numbers, which usermgr keeps.

use auth::{IPMI_USERS, Role, UserName};
use ipmi::{Completion, Level, is_this_channel};
use model::{Domain, Snapshot};
use prost_types::FieldMask;
use schema::rpc::user_service;
use schema::v1alpha1 as v1;

use crate::chunks::until_zero;
use crate::outcome::{Outcome, call, is_known};
use crate::world::{Answer, World};

/// So many users are said to be possible at least: clients ask for each.
const USERS_SHOWN: u8 = 15;
/// A password of the short form, bytes (§22.30).
const PASSWORD_SHORT: usize = 16;
/// No access.
const NO_ACCESS: u8 = 0x0f;
/// Messages of IPMI are on (§22.26, §22.27).
const MESSAGING: u8 = 0x10;

/// What an account may do at most, by what its role allows: a level is for who may do all that it is for. What is asked of an owner takes the
/// privilege of its method besides.
pub(crate) fn level(privileges: &[i32]) -> Option<Level> {
    use v1::Privilege::{ConfigureComponents, ConfigureManager, ConfigureUsers, Login};
    let may = |privilege: v1::Privilege| privileges.contains(&privilege.into());
    match may(Login) {
        false => None,
        true if !may(ConfigureComponents) => Some(Level::User),
        true if may(ConfigureManager) && may(ConfigureUsers) => Some(Level::Administrator),
        true => Some(Level::Operator),
    }
}

/// The number of an account; 0 for one that has none.
pub(crate) fn number(account: &str, snapshot: &Snapshot) -> u8 {
    let found = snapshot.accounts().iter().find(|view| view.value.id == account);
    found.and_then(|view| u8::try_from(view.value.ipmi_user).ok()).unwrap_or(0)
}

/// Whether an account may have a session of this level.
pub(crate) fn may(account: &str, wanted: Level, snapshot: &Snapshot) -> bool {
    let found = snapshot.accounts().iter().find(|view| view.value.id == account);
    // Of more accounts than are kept here, one that is not found may be there all the same.
    found.map_or(snapshot.accounts().left_out() > 0, |view| {
        let (is_let_in, most) = (view.value.enabled && view.value.ipmi, level(&view.value.privileges));
        is_let_in && most.is_some_and(|most| most >= wanted)
    })
}

fn all<'a>(world: &World<'a>) -> impl Iterator<Item = &'a v1::AccountName> {
    world.snapshot.accounts().iter().map(|view| &**view.value)
}

/// The account with this number: `None` where there is none. The first user is the one without a name, who is nobody.
pub(crate) fn of<'a>(user: u8, world: &World<'a>) -> Result<Option<&'a v1::AccountName>, Completion> {
    is_known(world, Domain::Accounts)?;
    match user & 0x3f {
        0 => Err(Completion::INVALID_FIELD),
        number => Ok(all(world).find(|account| account.ipmi_user == u32::from(number))),
    }
}

/// The enable status and the access of a user as they are set, whether that is enough to log in or not: an account may have expired, or have no key. A
/// client sets again what it has read.
fn set_of(account: Option<&v1::AccountName>) -> (u8, u8) {
    const ENABLED: u8 = 0x40;
    const DISABLED: u8 = 0x80;
    let Some(account) = account else { return (DISABLED, NO_ACCESS) };
    let level = level(&account.privileges).map_or(NO_ACCESS, |level| level as u8);
    // Who has a number may use IPMI.
    (if account.user_enabled { ENABLED } else { DISABLED }, level | MESSAGING)
}

/// §22.27.
pub(crate) fn access(channel: u8, user: u8, world: &World<'_>) -> Answer {
    is_this_channel(channel)?;
    let (status, access) = set_of(of(user, world)?);
    let users = || all(world).filter(|account| account.ipmi_user != 0);
    let most = users().filter_map(|account| u8::try_from(account.ipmi_user).ok()).max().unwrap_or(0);
    let enabled = users().filter(|account| account.user_enabled).count();
    Ok(vec![most.max(USERS_SHOWN), status | u8::try_from(enabled).unwrap_or(0x3f), 1, access])
}

/// §22.29.
pub(crate) fn name(user: u8, world: &World<'_>) -> Answer {
    let mut name = of(user, world)?.map(|account| account.username.clone().into_bytes()).unwrap_or_default();
    // Nobody has that number, which there may be a user for.
    name.resize(UserName::IPMI_MAX_LEN, 0);
    Ok(name)
}

/// The user is none of IPMI any more, and its account stays.
fn without_access(account: &v1::AccountName) -> Outcome {
    let user = v1::User { id: account.id.clone(), ipmi_access: Some(false), ..v1::User::default() };
    update(user, &["ipmi_access"])
}

fn update(user: v1::User, paths: &[&str]) -> Outcome {
    let paths = paths.iter().map(|path| (*path).to_owned()).collect();
    let field_mask = Some(FieldMask { paths });
    let request = v1::UpdateUserRequest { user: Some(user), field_mask, password: None };
    call(user_service::UPDATE_USER, &request)
}

/// The account with this number, which has to be there.
pub(crate) fn account<'a>(user: u8, world: &World<'a>) -> Result<&'a v1::AccountName, Completion> {
    of(user, world)?.ok_or(Completion::INVALID_FIELD)
}

/// §22.26: the role. A limit of sessions there is for all accounts alike. Access without messages is none, which takes it away, and what is so
/// already is done.
pub(crate) fn set_access(channel: u8, user: u8, limit: u8, world: &World<'_>) -> Result<Outcome, Completion> {
    is_this_channel(channel)?;
    let wanted = match limit & 0x0f {
        2 => Some((Role::ReadOnly, Level::User)),
        3 => Some((Role::Operator, Level::Operator)),
        4 => Some((Role::Administrator, Level::Administrator)),
        NO_ACCESS => None,
        _ => return Err(Completion::INVALID_FIELD),
    };
    let is_silent = channel & 0x80 != 0 && channel & MESSAGING == 0;
    let (account, role, wanted) = match (of(user, world)?, wanted.filter(|_| !is_silent)) {
        (Some(account), Some((role, wanted))) => (account, role, wanted),
        // Its role allows nothing, as it is shown.
        (Some(account), None) if !is_silent && level(&account.privileges).is_none() => {
            return Ok(Outcome::Answer(Ok(Vec::new())));
        }
        (Some(account), None) => return Ok(without_access(account)),
        (None, None) if limit & 0x0f == NO_ACCESS => return Ok(Outcome::Answer(Ok(Vec::new()))),
        (None, _) => return Err(Completion::INVALID_FIELD),
    };
    // A role that was made and comes to the same level stays.
    if level(&account.privileges) == Some(wanted) {
        return Ok(Outcome::Answer(Ok(Vec::new())));
    }
    let user = v1::User { id: account.id.clone(), role: role.name().to_owned(), ..v1::User::default() };
    Ok(update(user, &["role"]))
}

/// §22.28: another name for a user; a number for an account that has none; a new account, disabled, that may look, with a password that nobody
/// knows. Without a name the user is none of IPMI any more, and its account stays.
pub(crate) fn set_name(user: u8, name: &[u8], world: &World<'_>) -> Result<Outcome, Completion> {
    let name = std::str::from_utf8(until_zero(name)).map_err(|_| Completion::INVALID_FIELD)?.to_owned();
    let found = of(user, world)?;
    let number = user & 0x3f;
    if !IPMI_USERS.contains(&number) {
        return Err(Completion::INVALID_FIELD);
    }
    let by_name = all(world).find(|account| account.username == name);
    Ok(match (found, by_name) {
        (None, _) if name.is_empty() => Outcome::Answer(Ok(Vec::new())),
        (Some(account), _) if account.username == name => Outcome::Answer(Ok(Vec::new())),
        (Some(account), _) if name.is_empty() => without_access(account),
        (Some(account), _) => {
            let user = v1::User { id: account.id.clone(), username: name, ..v1::User::default() };
            update(user, &["username"])
        }
        (None, Some(account)) => {
            let user = v1::User {
                id: account.id.clone(),
                ipmi_access: Some(true),
                ipmi_user: Some(number.into()),
                ..v1::User::default()
            };
            update(user, &["ipmi_access", "ipmi_user"])
        }
        (None, None) => {
            let mut random = [0; auth::token::READABLE_BYTES];
            getrandom::fill(&mut random).map_err(|_| Completion::UNSPECIFIED)?;
            let user = v1::User {
                username: name,
                role: Role::ReadOnly.name().to_owned(),
                enabled: Some(false),
                ipmi_access: Some(true),
                ipmi_user: Some(number.into()),
                ..v1::User::default()
            };
            let password = auth::token::unbroken_secret(random).expose().to_owned();
            let request = v1::CreateUserRequest { user: Some(user), password, dry_run: None };
            call(user_service::CREATE_USER, &request)
        }
    })
}

/// §22.30.
pub(crate) fn set_password(
    user: u8,
    operation: u8,
    password: &[u8],
    world: &World<'_>,
) -> Result<Outcome, Completion> {
    let account = account(user, world)?;
    let enabled = |enabled| {
        let user = v1::User { id: account.id.clone(), enabled: Some(enabled), ..v1::User::default() };
        update(user, &["enabled"])
    };
    match operation & 0x03 {
        0 => Ok(enabled(false)),
        1 => Ok(enabled(true)),
        2 => {
            let length = if user & 0x80 == 0 { PASSWORD_SHORT } else { ipmi::PASSWORD_MAX };
            if password.len() != length {
                return Err(Completion::LENGTH);
            }
            let password =
                std::str::from_utf8(until_zero(password)).map_err(|_| Completion::INVALID_FIELD)?.to_owned();
            let request = v1::ResetPasswordRequest {
                id: account.id.clone(),
                new_password: Some(password),
                require_change: Some(false),
            };
            Ok(call(user_service::RESET_PASSWORD, &request))
        }
        _ => {
            let length = if user & 0x80 == 0 { PASSWORD_SHORT } else { ipmi::PASSWORD_MAX };
            if password.len() != length {
                return Err(Completion::LENGTH);
            }
            let password = until_zero(password).to_vec().into();
            Ok(Outcome::Test { username: account.username.clone(), password })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_shown_as_it_is_set_also_once_it_has_expired_or_while_it_has_no_key() {
        let account = |user_enabled, enabled, ipmi| v1::AccountName {
            enabled,
            ipmi,
            ipmi_user: 5,
            privileges: gate::privileges(Role::Operator.privileges()),
            user_enabled,
            ..v1::AccountName::default()
        };
        for (account, shown) in [
            (account(true, true, true), (0x40, 0x13)),
            (account(true, false, true), (0x40, 0x13)),
            (account(true, true, false), (0x40, 0x13)),
            (account(false, false, true), (0x80, 0x13)),
        ] {
            assert_eq!(set_of(Some(&account)), shown, "{account:?}");
        }
        assert_eq!(set_of(None), (0x80, 0x0f));
    }

    #[test]
    fn a_level_is_for_who_may_do_all_that_it_is_for() {
        use auth::Privilege;
        let of = |role: Role| level(&gate::privileges(role.privileges()));
        assert_eq!(of(Role::Administrator), Some(Level::Administrator));
        assert_eq!((of(Role::Operator), of(Role::ReadOnly)), (Some(Level::Operator), Some(Level::User)));
        for (privileges, most) in [
            (&[][..], None),
            (&[Privilege::ConfigureManager, Privilege::ConfigureUsers], None),
            (&[Privilege::Login, Privilege::ConfigureUsers], Some(Level::User)),
            (
                &[Privilege::Login, Privilege::ConfigureComponents, Privilege::ConfigureUsers],
                Some(Level::Operator),
            ),
        ] {
            assert_eq!(level(&gate::privileges(auth::Privileges::of(privileges))), most, "{privileges:?}");
        }
    }
}
