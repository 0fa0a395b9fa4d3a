//! AccountService: who may log in and what they may do, all of it usermgr's (`UserService`, `RoleService`). An account is found by its name.

use prost::Message as _;
use schema::Code;
use schema::rpc::user_service;
use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::message::base;
use crate::privilege::entity;
use crate::resource::{
    Change, Create, Deed, Given, Kind, Made, Names, Patch, Property, Resource, collection, link, status,
};
use crate::world::{Call, Need, World};
use crate::{Fault, Fields, Message};

use super::{name, said};

/// What an account may be used for, by DMTF's names. There is no `ManagerConsole`: SSH leads to the consoles of hosts, and to no shell of the manager.
const TYPES: [(&str, v1::AccountType); 6] = [
    ("Redfish", v1::AccountType::Redfish),
    ("HostConsole", v1::AccountType::HostConsole),
    ("IPMI", v1::AccountType::Ipmi),
    ("KVMIP", v1::AccountType::Kvmip),
    ("VirtualMedia", v1::AccountType::VirtualMedia),
    ("WebUI", v1::AccountType::WebUi),
];

pub(super) static SERVICE: Resource = Resource {
    patch: Some(Patch {
        properties: &[
            Property::new("MinPasswordLength", Kind::Integer(8, 128)),
            Property { path: "PasswordExpirationDays", kind: Kind::Integer(1, 3650), nullable: true },
            Property::new("EnforcePasswordHistoryCount", Kind::Integer(0, 8)),
            Property::new("AccountLockoutThreshold", Kind::Integer(1, 100)),
            Property::new(DURATION, Kind::Integer(1, 86_400)),
            Property::new(RESET_AFTER, Kind::Integer(1, 86_400)),
        ],
        apply: set_policy,
        changes: &[Need::Policy],
    }),
    together: &[&["AccountLockoutThreshold", DURATION, RESET_AFTER]],
    fields: &[
        ("min_password_length", "MinPasswordLength"),
        ("max_password_age_days", "PasswordExpirationDays"),
        ("password_history", "EnforcePasswordHistoryCount"),
        ("lockout_threshold", "AccountLockoutThreshold"),
        ("lockout_max_delay", DURATION),
        ("lockout_forget_after", RESET_AFTER),
    ],
    nulls: &["PasswordExpirationDays"],
    ..Resource::new(
        "AccountService",
        "AccountService.v1_17_0.AccountService",
        &entity::ACCOUNT_SERVICE,
        |world, _| {
            let policy = world.policy().ok().and_then(|answer| answer.policy.as_ref());
            let seconds = |span: &Option<prost_types::Duration>| span.map(|span| span.seconds);
            let longest = policy.and_then(|policy| seconds(&policy.lockout_max_delay));
            let forgotten = policy.and_then(|policy| seconds(&policy.lockout_forget_after));
            let age = policy.map(|policy| policy.max_password_age_days);
            let mut value = json!({
                "Name": "Account service",
                "MinPasswordLength": policy.map(|policy| policy.min_password_length),
                "MaxPasswordLength": policy.map(|policy| policy.max_password_length),
                // Null: they do not expire (DSP0268).
                "PasswordExpirationDays": age.filter(|days| *days != 0),
                "EnforcePasswordHistoryCount": policy.map(|policy| policy.password_history),
                "AccountLockoutThreshold": policy.map(|policy| policy.lockout_threshold),
                // Delays grow with each failure; this is the longest.
                (DURATION): longest,
                // DSP0268 wants it no longer than the duration, which a site may have set otherwise.
                (RESET_AFTER): forgotten.filter(|forgotten| Some(*forgotten) <= longest),
                "AccountLockoutCounterResetEnabled": policy.map(|_| true),
                "ServiceEnabled": true,
                "HTTPBasicAuth": if world.about.basic { "Enabled" } else { "Disabled" },
                "LocalAccountAuth": "Enabled",
                "SupportedAccountTypes": TYPES.map(|(name, _)| name),
                "Accounts": link("/redfish/v1/AccountService/Accounts"),
                "Roles": link("/redfish/v1/AccountService/Roles"),
                "Status": status("Enabled", Some("OK")),
            });
            if let (None, Some(map)) = (policy, value.as_object_mut()) {
                map.remove("PasswordExpirationDays");
            }
            Ok(Some(value))
        },
    )
};

/// How long the longest delay after failed logins is.
const DURATION: &str = "AccountLockoutDuration";
/// After how long without one they are forgotten.
const RESET_AFTER: &str = "AccountLockoutCounterResetAfter";

/// What a PATCH gives of it is one change. That failures are forgotten no later than a delay ends is DSP0268's rule, that they are not before is usermgr's.
fn set_policy(world: &World, _names: Names<'_>, given: &Given) -> Vec<Change> {
    let number = |property: &str| given.get(property).and_then(Value::as_u64);
    let small =
        |property: &str| number(property).and_then(|number| u32::try_from(number).ok()).unwrap_or_default();
    let seconds = |property: &str| {
        let seconds = number(property).and_then(|number| i64::try_from(number).ok())?;
        Some(prost_types::Duration { seconds, nanos: 0 })
    };
    let fields = [
        ("MinPasswordLength", "min_password_length"),
        ("PasswordExpirationDays", "max_password_age_days"),
        ("EnforcePasswordHistoryCount", "password_history"),
        ("AccountLockoutThreshold", "lockout_threshold"),
        (DURATION, "lockout_max_delay"),
        (RESET_AFTER, "lockout_forget_after"),
    ];
    let now = world.policy().ok().and_then(|answer| answer.policy.as_ref()?.lockout_max_delay);
    let longest = seconds(DURATION).or(now).map(|span| span.seconds);
    if let (Some(reset), Some(longest)) = (seconds(RESET_AFTER), longest)
        && reset.seconds > longest
    {
        let why = format!("Give at most {longest}, which {DURATION} is, and submit the request again.");
        let conflict = base::PROPERTY_VALUE_CONFLICT.with(&[RESET_AFTER, DURATION]).resolved_by(&why);
        return vec![Change::of(RESET_AFTER, Err(conflict))];
    }
    let given_fields = || fields.into_iter().filter(|(property, _)| given.get(property).is_some());
    let policy = v1::AccountPolicy {
        min_password_length: small("MinPasswordLength"),
        // Null: they do not expire.
        max_password_age_days: small("PasswordExpirationDays"),
        password_history: small("EnforcePasswordHistoryCount"),
        lockout_threshold: small("AccountLockoutThreshold"),
        lockout_max_delay: seconds(DURATION),
        lockout_forget_after: seconds(RESET_AFTER),
        ..v1::AccountPolicy::default()
    };
    let request = v1::UpdateAccountPolicyRequest {
        policy: Some(policy),
        field_mask: Some(prost_types::FieldMask {
            paths: given_fields().map(|(_, path)| path.to_owned()).collect(),
        }),
    };
    let call = Ok(Call::new(user_service::UPDATE_ACCOUNT_POLICY, &request));
    vec![Change { properties: given_fields().map(|(property, _)| property).collect(), call }]
}

/// What usermgr calls the properties of an account.
const FIELDS: Fields = &[
    ("username", "UserName"),
    ("password", "Password"),
    ("new_password", "Password"),
    ("role", "RoleId"),
    ("enabled", "Enabled"),
    ("password_change_required", "PasswordChangeRequired"),
    ("account_types", "AccountTypes"),
    ("strict_account_types", "StrictAccountTypes"),
    ("full_name", "Description"),
    ("expires_at", "AccountExpiration"),
    ("lockout_info", "Locked"),
];

pub(super) static COLLECTION: Resource = Resource {
    create: Some(Create {
        properties: &[
            (Property::new("UserName", Kind::Text(64)), true),
            (Property::new("Password", Kind::Secret(128)), true),
            (Property::new("RoleId", Kind::Text(64)), true),
            (Property::new("Enabled", Kind::Bool), false),
            (Property::new("PasswordChangeRequired", Kind::Bool), false),
            (Property::new("AccountTypes", Kind::Texts(8)), false),
            (Property::new("StrictAccountTypes", Kind::Bool), false),
            (Property::new("Description", Kind::Text(256)), false),
            (Property::new("AccountExpiration", Kind::Text(64)), false),
        ],
        call: |world, given| create(world, given).map_err(|message| vec![message]),
        made,
        changes: &[Need::Users],
    }),
    fields: FIELDS,
    ..Resource::new(
        "AccountService/Accounts",
        "ManagerAccountCollection.ManagerAccountCollection",
        &entity::MANAGER_ACCOUNT_COLLECTION,
        |world, _| {
            let all = world.accounts()?;
            let uris =
                all.iter().map(|user| format!("/redfish/v1/AccountService/Accounts/{}", user.username));
            Ok(Some(collection("Accounts", uris.collect())))
        },
    )
};

pub(super) static ACCOUNT: Resource = Resource {
    nulls: &["Password", "PasswordExpiration", "AccountExpiration"],
    patch: Some(Patch {
        properties: &[
            Property::new("Password", Kind::Secret(128)),
            Property::new("RoleId", Kind::Text(64)),
            Property::new("Enabled", Kind::Bool),
            Property::new("Locked", Kind::Bool),
            Property::new("PasswordChangeRequired", Kind::Bool),
            Property::new("AccountTypes", Kind::Texts(8)),
            Property::new("StrictAccountTypes", Kind::Bool),
            Property { path: "AccountExpiration", kind: Kind::Text(64), nullable: true },
        ],
        apply,
        changes: &[Need::Users, Need::Own],
    }),
    // What an account may be used for, by whom and until when: some clients make accounts of others so.
    together: &[&[
        "UserName",
        "Password",
        "PasswordChangeRequired",
        "RoleId",
        "Enabled",
        "Locked",
        "AccountTypes",
        "StrictAccountTypes",
        "AccountExpiration",
    ]],
    fields: FIELDS,
    delete: Some(|_, names| {
        let request = v1::DeleteUserRequest { id: name(names, 0).to_owned() };
        Ok(Deed::Call(Call::new(user_service::DELETE_USER, &request)))
    }),
    ..Resource::new(
        "AccountService/Accounts/{}",
        "ManagerAccount.v1_8_0.ManagerAccount",
        &entity::MANAGER_ACCOUNT,
        show,
    )
};

fn show(world: &World, names: Names<'_>) -> Result<Option<Value>, Fault> {
    let all = world.accounts()?;
    let Some(user) = all.into_iter().find(|user| user.username == name(names, 0)) else { return Ok(None) };
    let is_of = |kind: v1::AccountType| user.account_types.contains(&i32::from(kind));
    let types: Vec<&str> = TYPES.iter().filter(|(_, kind)| is_of(*kind)).map(|(name, _)| *name).collect();
    Ok(Some(json!({
        "Name": "Account",
        "Description": said(user.full_name.as_deref()),
        "UserName": user.username,
        "RoleId": user.role,
        "Enabled": user.enabled.unwrap_or(true),
        "Locked": user.lockout_info.is_some_and(|lock| lock.locked),
        // What was set is never shown.
        "Password": null,
        "PasswordChangeRequired": user.password_change_required,
        "PasswordExpiration": user.password_expires_at.map(|at| at.to_string()),
        "AccountExpiration": user.expires_at.map(|at| at.to_string()),
        "AccountTypes": types,
        "StrictAccountTypes": user.strict_account_types.unwrap_or(false),
        "Links": {"Role": link(&format!("/redfish/v1/AccountService/Roles/{}", user.role))},
    })))
}

/// The numbers of these types. An account is for one at least; what its role can use of them usermgr says.
fn types(names: &[String]) -> Result<Vec<i32>, Message> {
    if names.is_empty() {
        let why = "Give one type at least, and submit the request again; an account that is for nothing is disabled with Enabled.";
        return Err(base::PROPERTY_VALUE_INCORRECT.with(&["AccountTypes", "[]"]).resolved_by(why));
    }
    let number = |name: &String| {
        let known = TYPES.iter().find(|(other, _)| other == name);
        known
            .map(|(_, kind)| i32::from(*kind))
            .ok_or_else(|| base::PROPERTY_VALUE_NOT_IN_LIST.with(&[name, "AccountTypes"]))
    };
    let mut numbers = names.iter().map(number).collect::<Result<Vec<_>, _>>()?;
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// A time as Redfish writes it.
fn time(text: &str) -> Result<prost_types::Timestamp, Message> {
    let format = |_| base::PROPERTY_VALUE_FORMAT_ERROR.with(&[text, "AccountExpiration"]);
    text.parse::<prost_types::Timestamp>().map_err(format)
}

fn create(_world: &World, given: &Given) -> Result<Call, Message> {
    let account_types = given.get("AccountTypes").map(|_| types(&given.texts("AccountTypes"))).transpose()?;
    let text = |name: &str| given.text(name).unwrap_or_default().to_owned();
    let user = v1::User {
        username: text("UserName"),
        role: text("RoleId"),
        enabled: given.bool("Enabled"),
        password_change_required: given.bool("PasswordChangeRequired").unwrap_or(false),
        full_name: given.text("Description").map(str::to_owned),
        account_types: account_types.unwrap_or_default(),
        strict_account_types: given.bool("StrictAccountTypes"),
        expires_at: given.text("AccountExpiration").map(time).transpose()?,
        ..v1::User::default()
    };
    let request = v1::CreateUserRequest { user: Some(user), password: text("Password"), dry_run: None };
    Ok(Call::new(user_service::CREATE_USER, &request))
}

fn made(answer: &[u8]) -> Result<Made, Fault> {
    let bad = || Fault::new(Code::Internal, "the answer to a new account is none");
    let user = v1::CreateUserResponse::decode(answer).ok().and_then(|answer| answer.user).ok_or_else(bad)?;
    Ok(Made { name: user.username, shown: None, headers: Vec::new(), messages: Vec::new() })
}

/// What a PATCH gives is one change. A password alone is what everybody may set of the own account, also who has to change it first; with anything else it goes
/// in the change of that, which is for who manages accounts.
fn apply(world: &World, names: Names<'_>, given: &Given) -> Vec<Change> {
    let id = name(names, 0);
    let own = world.about.asker.username == id;
    let required = given.bool("PasswordChangeRequired");
    // Who chooses it for another says whether it is to be changed; one's own needs no change.
    let with_password = if own { required == Some(false) } else { required.is_some() };
    let is_beside = |path: &str| path != "Password" && !(with_password && path == "PasswordChangeRequired");
    if let Some(password) = given.text("Password")
        && !given.0.iter().any(|(path, _)| is_beside(path))
    {
        let request = v1::ResetPasswordRequest {
            id: id.to_owned(),
            new_password: Some(password.to_owned()),
            require_change: Some(!own && required.unwrap_or(false)),
        };
        let mut change = Change::of("Password", Ok(Call::new(user_service::RESET_PASSWORD, &request)));
        change.properties.extend(with_password.then_some("PasswordChangeRequired"));
        return vec![change];
    }
    update(id, given)
}

/// All that is given, as one change of the account.
fn update(id: &str, given: &Given) -> Vec<Change> {
    let mut changes = Vec::new();
    let (mut properties, mut paths, mut user) =
        (Vec::new(), Vec::new(), v1::User { id: id.to_owned(), ..v1::User::default() });
    let password = given.text("Password").map(str::to_owned);
    properties.extend(password.as_ref().map(|_| "Password"));
    let mut update = |property: &'static str, path: &str| {
        properties.push(property);
        paths.push(path.to_owned());
    };
    if given.get("AccountTypes").is_some() {
        match types(&given.texts("AccountTypes")) {
            Ok(numbers) => {
                user.account_types = numbers;
                update("AccountTypes", "account_types");
            }
            Err(message) => changes.push(Change::of("AccountTypes", Err(message))),
        }
    }
    if let Some(is_strict) = given.bool("StrictAccountTypes") {
        user.strict_account_types = Some(is_strict);
        update("StrictAccountTypes", "strict_account_types");
    }
    if given.get("AccountExpiration").is_some() {
        match given.text("AccountExpiration").map(time).transpose() {
            Ok(end) => {
                user.expires_at = end;
                update("AccountExpiration", "expires_at");
            }
            Err(message) => changes.push(Change::of("AccountExpiration", Err(message))),
        }
    }
    if let Some(role) = given.text("RoleId") {
        role.clone_into(&mut user.role);
        update("RoleId", "role");
    }
    if let Some(enabled) = given.bool("Enabled") {
        user.enabled = Some(enabled);
        update("Enabled", "enabled");
    }
    if let Some(required) = given.bool("PasswordChangeRequired") {
        user.password_change_required = required;
        update("PasswordChangeRequired", "password_change_required");
    }
    if let Some(locked) = given.bool("Locked") {
        // A lock can only be lifted; usermgr refuses the other.
        user.lockout_info = Some(v1::AccountLockoutInfo { locked, ..v1::AccountLockoutInfo::default() });
        update("Locked", "lockout_info.locked");
    }
    if !properties.is_empty() {
        let field_mask = Some(prost_types::FieldMask { paths });
        let request = v1::UpdateUserRequest { user: Some(user), field_mask, password };
        changes.push(Change { properties, call: Ok(Call::new(user_service::UPDATE_USER, &request)) });
    }
    changes
}
