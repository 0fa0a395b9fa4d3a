//! Schema messages to what the machine works on, and back.

use std::collections::BTreeMap;

use auth::{
    Account, AccountPatch, AccountType, AccountTypes, CustomRole, Password, Privilege, Privileges, Role,
    RoleName, RolePatch, RoleRefused, Session, UnixMillis, UserName, Weakness,
};
use ipc::{BadFields, Status};
use prost_types::Timestamp;
use schema::server::{
    AuthServiceCall, LockoutServiceCall, RoleServiceCall, SessionServiceCall, UserServiceCall, UsermgrCall,
};
use schema::v1alpha1 as v1;
use units::Millis;

use crate::config::Limits;
use crate::machine::{Call, ListFilter, NewUser, Numbered, Ticket};

/// Fields of a request about an account.
const USERNAME: &str = "user.username";
const IPMI_USER: &str = "user.ipmi_user";
const EXPIRES_AT: &str = "user.expires_at";
pub(crate) const ROLE: &str = "user.role";
pub(crate) const ACCOUNT_TYPES: &str = "user.account_types";
const IPMI_ACCESS: &str = "user.ipmi_access";
/// What is wrong with a field that is not given and has no value without.
const NAMED: &str = "it has to be given, as the mask names it";

/// What a call asks of the machine. Passwords and tokens are moved out of the message, not copied.
pub(crate) fn call(call: UsermgrCall<Numbered<'_>>) -> Result<Call, Status> {
    match call {
        UsermgrCall::UserService(call) => user_call(call),
        UsermgrCall::SessionService(call) => Ok(session_call(call)),
        UsermgrCall::RoleService(call) => role_call(call),
        UsermgrCall::LockoutService(call) => Ok(match call {
            LockoutServiceCall::ListLockouts(request, ticket) => {
                Call::ListLockouts { ticket, user: request.username }
            }
            LockoutServiceCall::DeleteLockout(request, ticket) => {
                Call::DeleteLockout { ticket, id: request.id }
            }
        }),
        UsermgrCall::AuthService(call) => Ok(match call {
            AuthServiceCall::VerifyPassword(mut request, ticket) => Call::VerifyPassword {
                ticket,
                password: Password::from(&mut request.password),
                name: std::mem::take(&mut request.username),
                address: Session::clip(&request.address),
            },
            AuthServiceCall::VerifyToken(mut request, ticket) => {
                let token = auth::Token::parse(&request.token);
                zeroize::Zeroize::zeroize(&mut request.token);
                Call::VerifyToken { ticket, token, address: Session::clip(&request.address) }
            }
            AuthServiceCall::ChallengeIpmi(request, ticket) => Call::ChallengeIpmi { ticket, request },
            AuthServiceCall::VerifyIpmi(request, ticket) => {
                Call::VerifyIpmi { ticket, request: Box::new(request) }
            }
            AuthServiceCall::ListAccountNames(_, ticket) => Call::ListAccountNames { ticket },
        }),
    }
}

fn role_call(call: RoleServiceCall<Numbered<'_>>) -> Result<Call, Status> {
    Ok(match call {
        RoleServiceCall::GetRole(v1::GetRoleRequest { id, field_mask }, ticket) => {
            Call::GetRole { ticket, id, mask: field_mask }
        }
        RoleServiceCall::ListRoles(request, ticket) => Call::ListRoles { ticket, mask: request.field_mask },
        RoleServiceCall::CreateRole(request, ticket) => {
            let role = request.role.ok_or_else(|| required("role"))?;
            let mut bad = BadFields::default();
            let name = bad.take("role.id", RoleName::new(&role.id));
            let privileges = privileges(&mut bad, &role.privileges);
            let (Some(name), true) = (name, bad.is_empty()) else { return Err(bad.into()) };
            let role = Box::new(CustomRole { name, description: role.description, privileges });
            Call::CreateRole { ticket, role }
        }
        RoleServiceCall::UpdateRole(v1::UpdateRoleRequest { role, field_mask }, ticket) => {
            let role = role.ok_or_else(|| required("role"))?;
            let given = |set: bool, path: &str| set.then(|| path.to_owned());
            let paths = field_mask.map(|mask| mask.paths).unwrap_or_else(|| {
                let fields = [
                    given(!role.description.is_empty(), "description"),
                    given(!role.privileges.is_empty(), "privileges"),
                ];
                fields.into_iter().flatten().collect()
            });
            let mut bad = BadFields::default();
            let name = bad.take("role.id", RoleName::new(&role.id));
            let mut patch = RolePatch::default();
            for path in &paths {
                match path.as_str() {
                    "description" => patch.description = Some(role.description.clone()),
                    "privileges" => patch.privileges = Some(privileges(&mut bad, &role.privileges)),
                    other => {
                        bad.add_path(format!("{other} cannot be written; writable: description, privileges"))
                    }
                }
            }
            let (Some(name), true) = (name, bad.is_empty()) else { return Err(bad.into()) };
            Call::UpdateRole { ticket, name, patch: Box::new(patch) }
        }
        RoleServiceCall::DeleteRole(request, ticket) => {
            let name =
                RoleName::new(&request.id).map_err(|error| Status::bad_field("id", error.to_string()))?;
            Call::DeleteRole { ticket, name }
        }
    })
}

/// What a role is to allow, as far as it can be: what is no privilege is noted. `NONE` is what everybody may.
fn privileges(bad: &mut BadFields, numbers: &[i32]) -> Privileges {
    let mut all = Vec::with_capacity(numbers.len());
    for (nth, number) in numbers.iter().enumerate() {
        let is_it = |one: &Privilege| gate::privileges(Privileges::of(&[*one])) == [*number];
        let known = Privilege::ALL.into_iter().find(is_it);
        let known = known.ok_or("it is none of LOGIN and what is above it in the list of privileges");
        all.extend(bad.take(&format!("role.privileges[{nth}]"), known));
    }
    Privileges::of(&all)
}

fn user_call(call: UserServiceCall<Numbered<'_>>) -> Result<Call, Status> {
    Ok(match call {
        UserServiceCall::CreateUser(request, ticket) => create_user(request, ticket)?,
        UserServiceCall::GetUser(v1::GetUserRequest { id, field_mask }, ticket) => {
            Call::GetUser { ticket, user: id, mask: field_mask }
        }
        UserServiceCall::GetAccountPolicy(_, ticket) => Call::GetAccountPolicy { ticket },
        UserServiceCall::UpdateAccountPolicy(
            v1::UpdateAccountPolicyRequest { policy, field_mask },
            ticket,
        ) => Call::UpdateAccountPolicy {
            ticket,
            wanted: Box::new(policy.unwrap_or_default()),
            mask: field_mask.map(|mask| mask.paths),
        },
        UserServiceCall::UpdateUser(request, ticket) => update_user(request, ticket)?,
        UserServiceCall::DeleteUser(request, ticket) => Call::DeleteUser { ticket, user: request.id },
        UserServiceCall::ListUsers(request, ticket) => list_users(request, ticket),
        UserServiceCall::ChangePassword(mut request, ticket) => Call::ChangePassword {
            ticket,
            current: Password::from(&mut request.current_password),
            new: Password::from(&mut request.new_password),
            user: std::mem::take(&mut request.id),
        },
        UserServiceCall::ResetPassword(mut request, ticket) => Call::ResetPassword {
            ticket,
            new: request.new_password.as_mut().map(Password::from),
            require_change: request.require_change.unwrap_or(true),
            user: std::mem::take(&mut request.id),
        },
    })
}

/// What passwords and logins are held to.
pub(crate) fn policy(limits: &Limits) -> v1::AccountPolicy {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let span = |span: Millis| Some(schema::time::duration(span));
    let days = limits.max_password_age.as_secs() / 86_400;
    v1::AccountPolicy {
        min_password_length: number(limits.policy.min_length),
        max_password_length: number(limits.policy.max_length),
        min_password_classes: number(limits.policy.min_classes),
        max_password_age_days: u32::try_from(days).unwrap_or(u32::MAX),
        lockout_threshold: limits.lockout.threshold,
        lockout_first_delay: span(limits.lockout.first_delay),
        lockout_max_delay: span(limits.lockout.max_delay),
        lockout_forget_after: span(limits.lockout.forget_after),
        session_idle: span(limits.sessions.idle_limit),
        session_absolute: span(limits.sessions.absolute_limit),
        password_history: number(limits.password_history),
    }
}

fn session_call(call: SessionServiceCall<Numbered<'_>>) -> Call {
    match call {
        SessionServiceCall::CreateSession(mut request, ticket) => Call::CreateSession {
            ticket,
            password: Password::from(&mut request.password),
            name: std::mem::take(&mut request.username),
            address: Session::clip(&request.address),
            user_agent: Session::clip(&request.user_agent),
            // One that is none here is none of any account.
            purpose: request.account_type.map(|kind| gate::types_of(&[kind])),
        },
        SessionServiceCall::GetSession(v1::GetSessionRequest { id, field_mask }, ticket) => {
            Call::GetSession { ticket, id, mask: field_mask }
        }
        SessionServiceCall::ListSessions(v1::ListSessionsRequest { username, field_mask }, ticket) => {
            Call::ListSessions { ticket, user: username, mask: field_mask }
        }
        SessionServiceCall::DeleteSession(request, ticket) => Call::DeleteSession { ticket, id: request.id },
    }
}

fn create_user(
    mut request: v1::CreateUserRequest,
    ticket: Ticket<v1::CreateUserResponse>,
) -> Result<Call, Status> {
    let password = Password::from(&mut request.password);
    let user = request.user.take().ok_or_else(|| required("user"))?;
    let mut bad = BadFields::default();
    let name = bad.take(USERNAME, UserName::new(&user.username));
    let role = if user.role.is_empty() { None } else { bad.take(ROLE, RoleName::new(&user.role)) };
    let ipmi_user = user.ipmi_user.and_then(|number| bad.take(IPMI_USER, ipmi_number(number)));
    let expires_at = user.expires_at.as_ref().and_then(|at| bad.take(EXPIRES_AT, end(at)));
    let types = match user.account_types.as_slice() {
        [] => None,
        numbers => bad.take(ACCOUNT_TYPES, chosen_types(numbers)),
    };
    is_one_word(&mut bad, types, user.ipmi_access);
    let (Some(name), true) = (name, bad.is_empty()) else { return Err(bad.into()) };
    Ok(Call::CreateUser {
        ticket,
        new: Box::new(NewUser {
            name,
            full_name: user.full_name,
            email: user.email,
            attributes: attributes(user.custom_attributes),
            enabled: user.enabled.unwrap_or(true),
            role,
            password_change_required: user.password_change_required,
            ipmi: user
                .ipmi_access
                .unwrap_or_else(|| types.is_some_and(|types| types.contains(AccountType::Ipmi))),
            ipmi_user,
            types,
            strict_types: user.strict_account_types.unwrap_or(false),
            expires_at,
        }),
        password,
        dry_run: request.dry_run.unwrap_or(false),
    })
}

/// What an account is given to be used for.
fn chosen_types(numbers: &[i32]) -> Result<AccountTypes, &'static str> {
    let types = gate::types_of(numbers);
    let is_known = |number: &i32| !gate::types_of(&[*number]).is_empty();
    match numbers {
        [] => Err("an account is for one type of use at least"),
        _ if !numbers.iter().all(is_known) => Err("it names a type that is none"),
        _ => Ok(types),
    }
}

/// Whether an account is for IPMI is said once, or twice alike.
fn is_one_word(bad: &mut BadFields, types: Option<AccountTypes>, ipmi: Option<bool>) {
    if let (Some(types), Some(ipmi)) = (types, ipmi)
        && types.contains(AccountType::Ipmi) != ipmi
    {
        bad.add(IPMI_ACCESS, "the list of account types beside it says otherwise");
    }
}

/// When an account expires.
fn end(at: &Timestamp) -> Result<UnixMillis, &'static str> {
    let is_time = (0..=schema::time::LAST_MS / 1000).contains(&u64::try_from(at.seconds).unwrap_or(u64::MAX));
    is_time
        .then(|| UnixMillis(schema::time::timestamp_ms(at)))
        .ok_or("it is a time from 1970 to the year 9999")
}

/// The number of a user of IPMI. Whether it is free the machine says.
fn ipmi_number(number: u32) -> Result<u8, &'static str> {
    u8::try_from(number).map_err(|_| "it is 2 to 63")
}

fn update_user(
    mut request: v1::UpdateUserRequest,
    ticket: Ticket<v1::UpdateUserResponse>,
) -> Result<Call, Status> {
    let password = request.password.as_mut().map(Password::from);
    let user = request.user.ok_or_else(|| required("user"))?;
    let given = |set: bool, path: &'static str| set.then_some(path);
    let paths: Vec<String> = match request.field_mask {
        Some(mask) => mask.paths,
        None => [
            given(!user.username.is_empty(), "username"),
            given(!user.role.is_empty(), "role"),
            given(user.full_name.is_some(), "full_name"),
            given(user.email.is_some(), "email"),
            given(user.enabled.is_some(), "enabled"),
            given(user.password_change_required, "password_change_required"),
            given(!user.custom_attributes.is_empty(), "custom_attributes"),
            given(user.lockout_info.is_some(), "lockout_info"),
            given(user.ipmi_access.is_some(), "ipmi_access"),
            given(user.ipmi_user.is_some(), "ipmi_user"),
            given(user.expires_at.is_some(), "expires_at"),
            given(!user.account_types.is_empty(), "account_types"),
            given(user.strict_account_types.is_some(), "strict_account_types"),
        ]
        .into_iter()
        .flatten()
        .map(str::to_owned)
        .collect(),
    };
    let (mut patch, mut unlock) = (AccountPatch::default(), false);
    let mut bad = BadFields::default();
    for path in &paths {
        match path.as_str() {
            "username" => patch.name = bad.take(USERNAME, UserName::new(&user.username)),
            "role" => patch.role = bad.take(ROLE, RoleName::new(&user.role)),
            "full_name" => patch.full_name = Some(user.full_name.clone().filter(|text| !text.is_empty())),
            "email" => patch.email = Some(user.email.clone().filter(|text| !text.is_empty())),
            "enabled" => patch.enabled = bad.take("user.enabled", user.enabled.ok_or(NAMED)),
            "password_change_required" => {
                patch.password_change_required = Some(user.password_change_required)
            }
            "custom_attributes" => patch.attributes = Some(attributes(user.custom_attributes.clone())),
            "ipmi_access" => patch.ipmi = bad.take(IPMI_ACCESS, user.ipmi_access.ok_or(NAMED)),
            "ipmi_user" => {
                patch.ipmi_user = bad.take(IPMI_USER, user.ipmi_user.ok_or(NAMED).and_then(ipmi_number));
            }
            "expires_at" => {
                let at = user.expires_at.as_ref().map(end).transpose();
                patch.expires_at = bad.take(EXPIRES_AT, at);
            }
            "account_types" => patch.types = bad.take(ACCOUNT_TYPES, chosen_types(&user.account_types)),
            // Not set, it is no more.
            "strict_account_types" => patch.strict_types = Some(user.strict_account_types.unwrap_or(false)),
            "lockout_info" | "lockout_info.locked" => {
                if user.lockout_info.as_ref().is_some_and(|info| info.locked) {
                    bad.add("user.lockout_info.locked", "a lock can only be lifted: it is false");
                }
                unlock = true;
            }
            other => bad.add_path(format!("{other} cannot be written")),
        }
    }
    is_one_word(&mut bad, patch.types, patch.ipmi);
    bad.check()?;
    Ok(Call::UpdateUser { ticket, user: user.id, patch: Box::new(patch), unlock, password })
}

fn list_users(request: v1::ListUsersRequest, ticket: Ticket<v1::ListUsersResponse>) -> Call {
    let local = request.source.is_none_or(|source| {
        matches!(v1::UserSource::try_from(source), Ok(v1::UserSource::Local | v1::UserSource::Unspecified))
    });
    Call::ListUsers {
        ticket,
        filter: Box::new(ListFilter {
            local,
            enabled: request.enabled,
            prefix: request.username_prefix.unwrap_or_default(),
            page_size: request.page_size.unwrap_or(0),
            after: request.page_token.unwrap_or_default(),
            mask: request.field_mask,
        }),
    }
}

fn attributes(map: std::collections::HashMap<String, String>) -> BTreeMap<String, String> {
    map.into_iter().collect()
}

/// `INVALID_ARGUMENT` for a message that a request has to have.
fn required(field: &str) -> Status {
    Status::bad_field(field, "it is required")
}

/// `INVALID_ARGUMENT` about the password in this field of the request, with the reason `WEAK_PASSWORD`. The message is what [`Weakness`] says, by which the
/// pages know it again.
pub(crate) fn weak(field: &str, weakness: Weakness) -> Status {
    Status::about_field(field, weakness.to_string()).with_reason("WEAK_PASSWORD")
}

/// The lock-out of an address or account, with how long to wait.
pub(crate) fn locked(locked: auth::Locked) -> Status {
    Status::unauthenticated(locked.to_string()).with_reason("LOCKED_OUT").with_wait(locked.remaining.into())
}

/// Why an account was not changed, as an error of the API.
pub(crate) fn refused(refused: auth::Refused) -> Status {
    use auth::Refused;
    let text = refused.to_string();
    match refused {
        Refused::NotFound => Status::not_found(text).with_reason("USER_NOT_FOUND"),
        Refused::NameTaken => Status::already_exists(text).with_reason("USER_NAME_TAKEN"),
        Refused::LastAdministrator => Status::failed_precondition(text).with_reason("LAST_ADMINISTRATOR"),
        Refused::Full { .. } => Status::resource_exhausted(text).with_reason("TOO_MANY_USERS"),
        Refused::IpmiUser => Status::about_field(IPMI_USER, text).with_reason("IPMI_USER"),
        Refused::IpmiFull => Status::resource_exhausted(text).with_reason("TOO_MANY_IPMI_USERS"),
        Refused::NoAccountTypes => Status::about_field(ACCOUNT_TYPES, text),
        Refused::NameTooLongForIpmi => Status::about_field(USERNAME, text).with_reason("IPMI_NAME_TOO_LONG"),
        Refused::IdTaken => Status::aborted("a random id was drawn twice; try again"),
    }
}

/// Why a role was not changed, as an error of the API.
pub(crate) fn role_refused(refused: RoleRefused) -> Status {
    let text = refused.to_string();
    match refused {
        RoleRefused::NotFound => Status::not_found(text).with_reason("ROLE_NOT_FOUND"),
        RoleRefused::NameTaken => Status::already_exists(text).with_reason("ROLE_NAME_TAKEN"),
        RoleRefused::Predefined => Status::failed_precondition(text).with_reason("ROLE_PREDEFINED"),
        RoleRefused::InUse => Status::failed_precondition(text).with_reason("ROLE_IN_USE"),
        RoleRefused::Full => Status::resource_exhausted(text).with_reason("TOO_MANY_ROLES"),
    }
}

/// A point of wall-clock time. What never comes is at the end of time.
pub(crate) fn timestamp(at: UnixMillis) -> Timestamp {
    schema::time::timestamp(at.0.min(schema::time::LAST_MS))
}

/// What only the machine knows about an account.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AccountFacts {
    pub(crate) must_change_password: bool,
    pub(crate) password_expires_at: Option<UnixMillis>,
    pub(crate) failures: u32,
    pub(crate) locked_for: Millis,
    pub(crate) threshold: u32,
    pub(crate) now: UnixMillis,
    /// It can log in over IPMI.
    pub(crate) ipmi_ready: bool,
    /// What it may be used for, of what its role can use.
    pub(crate) types: AccountTypes,
}

/// An account as the API shows it.
pub(crate) fn user(account: &Account, facts: AccountFacts) -> v1::User {
    let locked = !facts.locked_for.is_zero();
    let ends = UnixMillis(facts.now.0.saturating_add(facts.locked_for.get()));
    let lockout_info = (facts.failures > 0).then(|| v1::AccountLockoutInfo {
        locked,
        reason: locked.then_some(v1::LockoutReason::FailedLoginAttempts.into()),
        lockout_time: None,
        failed_attempts: facts.failures,
        attempts_reset_time: locked.then(|| timestamp(ends)),
        max_failed_attempts: Some(facts.threshold),
    });
    v1::User {
        id: account.id.as_str().to_owned(),
        username: account.name.as_str().to_owned(),
        full_name: account.full_name.clone(),
        email: account.email.clone(),
        enabled: Some(account.enabled),
        created_at: Some(timestamp(account.created_at)),
        updated_at: Some(timestamp(account.updated_at)),
        last_login: account.last_login.map(timestamp),
        source_system: v1::UserSource::Local.into(),
        creation_interface: v1::UserCreationInterface::SchemaApi.into(),
        custom_attributes: account.attributes.clone().into_iter().collect(),
        role: account.role.name().to_owned(),
        password_change_required: facts.must_change_password,
        password_last_changed: Some(timestamp(account.password_changed_at)),
        password_expires_at: facts.password_expires_at.map(timestamp),
        lockout_info,
        ipmi_access: Some(account.ipmi),
        ipmi_ready: facts.ipmi_ready,
        ipmi_user: account.ipmi_user.map(u32::from),
        expires_at: account.expires_at.map(timestamp),
        account_types: gate::account_types(facts.types),
        strict_account_types: Some(account.strict_types),
    }
}

/// What other daemons may know of an account.
pub(crate) fn account_name(
    account: &Account,
    privileges: Privileges,
    ipmi_ready: bool,
    wall: UnixMillis,
) -> v1::AccountName {
    v1::AccountName {
        id: account.id.as_str().to_owned(),
        username: account.name.as_str().to_owned(),
        role: account.role.name().to_owned(),
        enabled: account.is_open(wall),
        ipmi: ipmi_ready,
        ipmi_user: account.ipmi_user.map(u32::from).unwrap_or_default(),
        privileges: gate::privileges(privileges),
        user_enabled: account.enabled,
    }
}

/// A lock as the API shows it; `account` is the one of that name, if there is one.
pub(crate) fn lockout(lock: &auth::Lock, account: Option<&Account>, now: UnixMillis) -> v1::Lockout {
    let scope = match (lock.account.is_some(), lock.address.is_some()) {
        (true, true) => v1::LockoutScope::AccountAndAddress,
        (true, false) => v1::LockoutScope::Account,
        (false, _) => v1::LockoutScope::Address,
    };
    v1::Lockout {
        id: lock.id.to_string(),
        scope: scope.into(),
        username: account.map(|account| account.name.as_str().to_owned()).unwrap_or_default(),
        user_id: account.map(|account| account.id.as_str().to_owned()).unwrap_or_default(),
        address: lock.address.map(|address| address.to_string()).unwrap_or_default(),
        failed_attempts: lock.failures,
        ends_at: Some(timestamp(UnixMillis(now.0.saturating_add(lock.remaining.get())))),
    }
}

/// What only the machine knows about a session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionFacts {
    pub(crate) must_change_password: bool,
    /// Time left if it is not used, and in any case.
    pub(crate) remaining: (Millis, Millis),
    pub(crate) memory_only: bool,
    pub(crate) now: UnixMillis,
}

/// A session as the API shows it.
pub(crate) fn session(session: &Session, account: &Account, facts: SessionFacts) -> v1::Session {
    let (idle_left, left) = facts.remaining;
    let after = |span: Millis| Some(timestamp(UnixMillis(facts.now.0.saturating_add(span.get()))));
    v1::Session {
        id: session.id.as_str().to_owned(),
        user_id: account.id.as_str().to_owned(),
        username: account.name.as_str().to_owned(),
        role: account.role.name().to_owned(),
        created_at: Some(timestamp(session.created_at)),
        last_used_at: Some(timestamp(session.last_used_at)),
        idle_expires_at: after(idle_left),
        expires_at: after(left),
        address: session.address.clone(),
        user_agent: session.user_agent.clone(),
        password_change_required: facts.must_change_password,
        memory_only: facts.memory_only,
    }
}

/// A role as the API shows it.
pub(crate) fn role_view(role: Role) -> v1::Role {
    let description = match role {
        Role::Administrator => "Everything, accounts and the management controller included",
        Role::Operator => {
            "Operates hosts and chassis; changes neither accounts nor the management controller"
        }
        Role::ReadOnly => "Looks, and changes its own password",
    };
    v1::Role {
        id: role.name().to_owned(),
        description: description.to_owned(),
        privileges: gate::privileges(role.privileges()),
        predefined: true,
    }
}

/// One that was made, likewise.
pub(crate) fn made_role_view(role: &CustomRole) -> v1::Role {
    v1::Role {
        id: role.name.name().to_owned(),
        description: role.description.clone(),
        privileges: gate::privileges(role.privileges),
        predefined: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost_types::FieldMask;

    fn mask(paths: &[&str]) -> FieldMask {
        FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }
    }

    #[test]
    fn a_mask_keeps_what_it_names() {
        let whole = role_view(Role::Operator);
        let of = |paths: &[&str]| schema::mask::masked(whole.clone(), Some(&mask(paths)));
        let masked = of(&["id", "predefined", "id"]).unwrap();
        assert_eq!(masked, v1::Role { id: "Operator".into(), predefined: true, ..v1::Role::default() });
        assert_eq!(of(&[]).unwrap(), whole);
        assert!(Status::from(of(&["secret"]).unwrap_err()).message.contains("secret"));
    }

    #[test]
    fn an_update_without_a_mask_writes_what_is_set() {
        let request = v1::UpdateUserRequest {
            user: Some(v1::User { id: "bob".into(), enabled: Some(false), ..v1::User::default() }),
            field_mask: None,
            password: Some("seven brass doorknobs".into()),
        };
        let Call::UpdateUser { user, patch, unlock, password, .. } =
            update_user(request, Ticket::new(1)).unwrap()
        else {
            unreachable!()
        };
        assert_eq!((user.as_str(), unlock), ("bob", false));
        assert_eq!(password.unwrap().expose(), "seven brass doorknobs");
        assert_eq!(*patch, AccountPatch { enabled: Some(false), ..AccountPatch::default() });
    }

    #[test]
    fn an_update_with_a_mask_clears_what_is_not_set_and_refuses_what_is_the_servers() {
        let update = |paths: &[&str]| {
            let request = v1::UpdateUserRequest {
                user: Some(v1::User::default()),
                field_mask: Some(mask(paths)),
                password: None,
            };
            update_user(request, Ticket::new(1))
        };
        let Call::UpdateUser { patch, password, .. } = update(&["email", "full_name"]).unwrap() else {
            unreachable!()
        };
        assert_eq!(patch.email, Some(None));
        assert!(password.is_none());
        for (path, field, reason) in [
            ("id", "field_mask", "FIELD_MASK"),
            ("created_at", "field_mask", "FIELD_MASK"),
            ("last_login", "field_mask", "FIELD_MASK"),
            ("password_hash", "field_mask", "FIELD_MASK"),
            ("enabled", "user.enabled", ""),
            ("ipmi_access", "user.ipmi_access", ""),
            ("ipmi_user", "user.ipmi_user", ""),
            ("account_types", "user.account_types", ""),
            ("role", "user.role", ""),
            ("username", "user.username", ""),
        ] {
            let refused = update(&[path]).unwrap_err();
            assert_eq!(
                (refused.code, refused.reason().as_str()),
                (ipc::Code::InvalidArgument, reason),
                "{path}"
            );
            assert_eq!(fields(&refused), [field], "{path}");
        }
        let refused = update(&["role", "id", "enabled", "email"]).unwrap_err();
        assert_eq!(fields(&refused), ["user.role", "field_mask", "user.enabled"]);
    }

    #[test]
    fn a_list_of_types_is_known_throughout_and_says_what_ipmi_access_says() {
        let update = |numbers: &[i32], ipmi_access: Option<bool>| {
            let account_types = numbers.to_vec();
            let user = v1::User { id: "bob".into(), account_types, ipmi_access, ..v1::User::default() };
            let request = v1::UpdateUserRequest { user: Some(user), field_mask: None, password: None };
            match update_user(request, Ticket::new(1)) {
                Ok(Call::UpdateUser { patch, .. }) => Ok(patch.types),
                Ok(_) => unreachable!(),
                Err(refused) => Err(fields(&refused).join(" ")),
            }
        };
        let both = AccountTypes::of(&[AccountType::Redfish, AccountType::Ipmi]);
        assert_eq!(update(&[], None), Ok(None));
        assert_eq!(update(&[1, 2, 1], None), Ok(Some(both)));
        assert_eq!(update(&[1, 2], Some(true)), Ok(Some(both)));
        assert_eq!(update(&[1, 2], Some(false)), Err("user.ipmi_access".to_owned()));
        assert_eq!(update(&[1], Some(true)), Err("user.ipmi_access".to_owned()));
        assert_eq!(update(&[1, 99], None), Err("user.account_types".to_owned()));
    }

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn fields(refused: &Status) -> Vec<String> {
        refused.fields().into_iter().map(|(field, _)| field).collect()
    }

    #[test]
    fn a_new_account_is_refused_with_all_its_fields_that_are_wrong() {
        let never = || Some(Timestamp { seconds: -1, nanos: 0 });
        let good = || v1::User { username: "eve".into(), ..v1::User::default() };
        for (user, wrong) in [
            (v1::User { username: "1eve".into(), ..good() }, vec!["user.username"]),
            (v1::User::default(), vec!["user.username"]),
            (v1::User { role: "not one".into(), ..good() }, vec!["user.role"]),
            (v1::User { ipmi_user: Some(256), ..good() }, vec!["user.ipmi_user"]),
            (v1::User { expires_at: never(), ..good() }, vec!["user.expires_at"]),
            (
                v1::User {
                    username: "a b".into(),
                    role: "1".into(),
                    ipmi_user: Some(1_000),
                    expires_at: never(),
                    ..v1::User::default()
                },
                vec!["user.username", "user.role", "user.ipmi_user", "user.expires_at"],
            ),
        ] {
            let request = v1::CreateUserRequest {
                user: Some(user),
                password: "hush".into(),
                ..v1::CreateUserRequest::default()
            };
            let refused = create_user(request, Ticket::new(1)).unwrap_err();
            assert_eq!((refused.code, fields(&refused)), (ipc::Code::InvalidArgument, owned(&wrong)));
            assert!(!format!("{} {:?}", refused.message, refused.fields()).contains("hush"));
        }
        let refused = create_user(v1::CreateUserRequest::default(), Ticket::new(1)).unwrap_err();
        assert_eq!(fields(&refused), ["user"]);
        let request = v1::CreateUserRequest { user: Some(good()), ..v1::CreateUserRequest::default() };
        assert!(create_user(request, Ticket::new(1)).is_ok(), "the password is the machine's to judge");
    }
}
