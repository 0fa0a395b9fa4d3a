//! Who may call what: the options of a method against what is known of its caller.
//!
//! Nothing else decides this: all ways in have the same rules and the same words.

use auth::AccountTypes;
use ipc::Status;
use prost_reflect::{DynamicMessage, ReflectMessage as _};
use schema::MethodInfo;
use schema::v1alpha1::{AccountType, Privilege};

use crate::field::{field_path, string_at};
use crate::kinds::types_of;

/// A caller, as authentication found it.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    /// Id of the account. Empty for a caller that has none; nothing is such a caller's own.
    pub user_id: &'a str,
    /// Name of the account.
    pub username: &'a str,
    /// Id of the session; empty when there is none.
    pub session_id: &'a str,
    /// For the words of a refusal.
    pub role: &'a str,
    /// Numbers of [`Privilege`].
    pub privileges: &'a [i32],
    /// What the account may be used for.
    pub types: AccountTypes,
    /// The password must be changed before anything else.
    pub password_expired: bool,
}

/// A refusal: PERMISSION_DENIED.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Denied {
    /// Reason in `google.rpc.ErrorInfo`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl From<Denied> for Status {
    fn from(denied: Denied) -> Self {
        Self::permission_denied(denied.message).with_reason(denied.reason)
    }
}

/// What can be said before the request is read: a refusal here spares reading it.
///
/// # Errors
/// [`Denied`]
pub fn before_request(method: &MethodInfo, caller: &Caller<'_>) -> Result<(), Denied> {
    if method.privilege == Privilege::None {
        return Ok(());
    }
    if caller.password_expired && !method.with_expired_password {
        return Err(password_expired());
    }
    let others = method.self_field.is_some() && caller.may(Privilege::ConfigureUsers);
    if !others && !caller.may(method.privilege) {
        return Err(missing(method, caller));
    }
    // What is one's own is open whatever the account is for.
    if method.self_field.is_some() { Ok(()) } else { for_method(method, caller) }
}

/// All of it. A method on accounts or sessions takes [`Privilege::ConfigureSelf`] for the caller's own and
/// [`Privilege::ConfigureUsers`] for those of others. To read records of requests, which tell of everybody, takes that as well.
///
/// # Errors
/// [`Denied`]
pub fn with_request(
    method: &MethodInfo,
    caller: &Caller<'_>,
    request: &DynamicMessage,
) -> Result<(), Denied> {
    before_request(method, caller)?;
    if asks_for_records(method, request) && !caller.may(Privilege::ConfigureUsers) {
        return Err(without(method, Privilege::ConfigureUsers, caller));
    }
    let Some(path) = method.self_field.filter(|_| method.privilege != Privilege::None) else { return Ok(()) };
    let named = field_path(&request.descriptor(), path).and_then(|path| string_at(request, &path));
    let own = named.is_some_and(|named| caller.is(&named));
    if own && caller.may(Privilege::ConfigureSelf) {
        return Ok(());
    }
    if caller.password_expired {
        return Err(password_expired());
    }
    if !caller.may(Privilege::ConfigureUsers) {
        return Err(missing(method, caller));
    }
    for_method(method, caller)
}

/// Any of these opens what has no type of its own.
const GENERAL: AccountTypes = AccountTypes::of(&[auth::AccountType::Redfish, auth::AccountType::WebUi]);

/// Whether the caller's account is for this method. What has no type of its own is for accounts of [`GENERAL`]; what everybody who is logged in may read of a
/// service is for those of the service's types as well, who have to find what they may open.
fn for_method(method: &MethodInfo, caller: &Caller<'_>) -> Result<(), Denied> {
    let of = |kind: AccountType| types_of(&[kind.into()]);
    if let Some(kind) = method.account_type {
        return for_any(caller.types, of(kind));
    }
    let finds = |other: &MethodInfo| {
        other.service == method.service
            && other.account_type.is_some_and(|kind| caller.types.has_any(of(kind)))
    };
    let general = for_any(caller.types, GENERAL);
    if general.is_err() && method.privilege == Privilege::Login && schema::methods().iter().any(finds) {
        return Ok(());
    }
    general
}

/// Whether an account of these types may be used for any of what is wanted.
///
/// # Errors
/// [`Denied`] with the reason `ACCOUNT_TYPE`.
pub fn for_any(types: AccountTypes, wanted: AccountTypes) -> Result<(), Denied> {
    if types.has_any(wanted) {
        return Ok(());
    }
    let names: Vec<&str> = wanted.iter().map(auth::AccountType::name).collect();
    let what = if names.is_empty() { "that".to_owned() } else { names.join(" or ") };
    Err(Denied {
        reason: "ACCOUNT_TYPE",
        message: format!("this account is not for {what}: its account types are set by who manages accounts"),
    })
}

/// The domain of records of requests.
pub const RECORDS: &str = "audit";

/// Whether these are events of the domain that is shown to who asks for it by name only.
fn asks_for_records(method: &MethodInfo, request: &DynamicMessage) -> bool {
    method.owner == "eventlog"
        && matches!(method.method, "ListEvents" | "WatchEvents")
        && field_path(&request.descriptor(), "domain").and_then(|path| string_at(request, &path)).as_deref()
            == Some(RECORDS)
}

impl Caller<'_> {
    fn may(&self, privilege: Privilege) -> bool {
        self.privileges.contains(&i32::from(privilege))
    }

    /// Whether `name` is this account, by id or name, or this session.
    fn is(&self, name: &str) -> bool {
        !name.is_empty()
            && !self.user_id.is_empty()
            && [self.user_id, self.username, self.session_id].contains(&name)
    }
}

fn password_expired() -> Denied {
    Denied {
        reason: "PASSWORD_CHANGE_REQUIRED",
        message: "the password of this account must be changed before anything else".to_owned(),
    }
}

fn missing(method: &MethodInfo, caller: &Caller<'_>) -> Denied {
    let needed = if method.self_field.is_some() { Privilege::ConfigureUsers } else { method.privilege };
    without(method, needed, caller)
}

fn without(method: &MethodInfo, needed: Privilege, caller: &Caller<'_>) -> Denied {
    let needed = needed.as_str_name().trim_start_matches("PRIVILEGE_");
    let who = if caller.role.is_empty() {
        "a caller without a role".to_owned()
    } else {
        format!("the role {}", caller.role)
    };
    Denied {
        reason: "MISSING_PRIVILEGE",
        message: format!("{} needs the privilege {needed}, which {who} does not have", method.method),
    }
}

#[cfg(test)]
mod tests {
    use prost_reflect::Value;

    use super::*;

    const SELF: &[i32] = &[Privilege::Login as i32, Privilege::ConfigureSelf as i32];
    const USERS: &[i32] = &[Privilege::Login as i32, Privilege::ConfigureUsers as i32];

    fn ann(privileges: &[i32]) -> Caller<'_> {
        Caller {
            user_id: "0123456789abcdef",
            username: "ann",
            session_id: "",
            role: "R",
            privileges,
            types: AccountTypes::ALL,
            password_expired: false,
        }
    }

    /// The outcome of a method on one's own account for a request that names this one.
    fn change_password(caller: &Caller<'_>, named: &str) -> Result<(), Denied> {
        let method = schema::method("rpc.UserService.ChangePassword").unwrap();
        let mut request = DynamicMessage::new(method.input());
        request.set_field_by_name("id", Value::String(named.to_owned()));
        with_request(method, caller, &request)
    }

    #[test]
    fn one_s_own_is_known_by_id_and_name_and_nothing_else() {
        for (named, own) in
            [("ann", true), ("0123456789abcdef", true), ("", false), ("bob", false), ("ANN", false)]
        {
            assert_eq!(change_password(&ann(SELF), named).is_ok(), own, "{named:?}");
            assert!(change_password(&ann(USERS), named).is_ok(), "{named:?}");
        }
    }

    const EVERYTHING: &[i32] = &[2, 3, 4, 5, 6, 7];

    fn of_types(kinds: &[auth::AccountType]) -> Caller<'static> {
        Caller { types: AccountTypes::of(kinds), ..ann(EVERYTHING) }
    }

    /// Whether whoever has all privileges may call it, by what the account is for.
    fn opens(kinds: &[auth::AccountType], method: &str) -> Result<(), String> {
        let method = schema::method(&format!("rpc.{method}")).unwrap();
        before_request(method, &of_types(kinds)).map_err(|denied| denied.reason.to_owned())
    }

    #[test]
    fn what_has_a_type_is_for_accounts_of_it_alone_and_the_rest_for_redfish_and_the_web_ui() {
        use auth::AccountType::{HostConsole, Ipmi, Kvmip, Redfish, VirtualMedia, WebUi};
        for (kind, method) in [
            (HostConsole, "ConsoleService.OpenConsole"),
            (HostConsole, "ConsoleService.ListConsoleLog"),
            (Kvmip, "KvmService.OpenKvm"),
            (Kvmip, "KvmService.ViewScreen"),
            (Kvmip, "KvmService.Screenshot"),
            (VirtualMedia, "MediaService.OpenMedia"),
            (VirtualMedia, "MediaService.UploadMediaFile"),
            (VirtualMedia, "MediaService.InsertMedia"),
        ] {
            assert_eq!(opens(&[kind], method), Ok(()), "{method}");
            let others: Vec<_> = auth::AccountType::ALL.into_iter().filter(|other| *other != kind).collect();
            assert_eq!(opens(&others, method), Err("ACCOUNT_TYPE".to_owned()), "{method}");
        }
        for general in ["HostService.ChangeHostState", "UserService.ListUsers", "EventService.WatchEvents"] {
            assert!(opens(&[Redfish], general).is_ok() && opens(&[WebUi], general).is_ok(), "{general}");
            for kind in [Ipmi, HostConsole, Kvmip, VirtualMedia] {
                assert_eq!(opens(&[kind], general), Err("ACCOUNT_TYPE".to_owned()), "{general}");
            }
        }
        // What there is to open is found with the type that opens it, and with no other.
        assert!(opens(&[HostConsole], "ConsoleService.ListConsoles").is_ok());
        assert!(opens(&[Kvmip], "KvmService.GetScreen").is_ok());
        assert!(opens(&[Kvmip], "ConsoleService.ListConsoles").is_err());
        assert!(opens(&[HostConsole], "ConsoleService.ListConsoleInput").is_err());
        let denied = for_any(AccountTypes::NONE, GENERAL).unwrap_err();
        assert!(denied.message.contains("Redfish or WebUI"), "{}", denied.message);
    }

    #[test]
    fn one_s_own_is_open_whatever_the_account_is_for_and_others_are_not() {
        let caller = Caller { privileges: USERS, ..of_types(&[auth::AccountType::HostConsole]) };
        assert_eq!(change_password(&caller, "bob").unwrap_err().reason, "ACCOUNT_TYPE");
        let caller = Caller { privileges: SELF, ..caller };
        assert!(change_password(&caller, "ann").is_ok());
        assert_eq!(change_password(&caller, "bob").unwrap_err().reason, "MISSING_PRIVILEGE");
        let nothing = Caller { types: AccountTypes::NONE, ..caller };
        assert!(change_password(&nothing, "ann").is_ok());
    }

    /// What a list of types is refused for, and what an account is shown to be for, is what the contract lets a role do.
    #[test]
    fn a_type_is_of_use_with_a_privilege_that_a_method_of_it_takes() {
        for kind in auth::AccountType::ALL {
            let number = crate::kinds::account_types(AccountTypes::of(&[kind]));
            let methods: Vec<_> = schema::methods()
                .iter()
                .filter(|method| method.account_type.is_some_and(|kind| number == [i32::from(kind)]))
                .collect();
            for privilege in auth::Privilege::ALL.into_iter().filter(|_| !methods.is_empty()) {
                let alone = auth::Privileges::of(&[privilege]);
                let numbers = crate::caller::privileges(alone);
                let opens = methods.iter().any(|method| numbers == [i32::from(method.privilege)]);
                assert_eq!(kind.is_usable_with(alone), opens, "{kind} {privilege:?}");
            }
        }
    }

    #[test]
    fn records_of_requests_are_for_who_may_configure_users() {
        for name in ["ListEvents", "WatchEvents"] {
            let method = schema::methods().iter().find(|method| method.method == name).unwrap();
            for (domain, privileges, may) in
                [("audit", SELF, false), ("audit", USERS, true), ("host", SELF, true), ("", SELF, true)]
            {
                let mut request = DynamicMessage::new(method.input());
                request.set_field_by_name("domain", Value::String(domain.to_owned()));
                assert_eq!(with_request(method, &ann(privileges), &request).is_ok(), may, "{name} {domain}");
            }
        }
    }

    #[test]
    fn a_caller_without_an_account_owns_nothing_whatever_it_is_called() {
        let outsider = Caller { user_id: "", username: "fleet", ..ann(SELF) };
        assert_eq!(change_password(&outsider, "fleet").unwrap_err().reason, "MISSING_PRIVILEGE");
    }

    #[test]
    fn an_expired_password_opens_one_s_own_marked_methods_and_nothing_else() {
        let everything: Vec<i32> = (1..=6).collect();
        let caller = Caller { password_expired: true, ..ann(&everything) };
        assert!(change_password(&caller, "ann").is_ok());
        assert_eq!(change_password(&caller, "bob").unwrap_err().reason, "PASSWORD_CHANGE_REQUIRED");
        for method in schema::methods().iter().filter(|m| m.privilege != Privilege::None) {
            let open = before_request(method, &caller).is_ok();
            assert_eq!(open, method.with_expired_password, "{}", method.full_name);
        }
    }

    #[test]
    fn what_is_refused_before_the_request_is_refused_with_it() {
        let sets: [&[i32]; 4] = [&[], &[Privilege::Login as i32], SELF, USERS];
        for method in schema::methods() {
            let request = DynamicMessage::new(method.input());
            for privileges in sets {
                let caller = ann(privileges);
                let (early, late) =
                    (before_request(method, &caller), with_request(method, &caller, &request));
                assert!(early.is_ok() || early == late, "{}", method.full_name);
                if method.privilege != Privilege::None && method.self_field.is_none() {
                    assert_eq!(late.is_ok(), caller.may(method.privilege), "{}", method.full_name);
                }
            }
        }
    }
}
