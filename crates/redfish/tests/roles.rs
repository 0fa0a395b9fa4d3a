//! Roles that are made, and accounts that have one: what clients ask for, and what the owner is asked.

mod support;

use prost::Message as _;
use redfish::{Fault, Method};
use schema::Code;
use schema::v1alpha1 as v1;
use serde_json::{Value, json};
use support::{Bench, asker, said};

const ROLES: &str = "/redfish/v1/AccountService/Roles";
const ACCOUNTS: &str = "/redfish/v1/AccountService/Accounts";

fn updated(bench: &Bench, at: usize) -> v1::UpdateRoleRequest {
    v1::UpdateRoleRequest::decode(bench.called[at].request.as_slice()).unwrap()
}

#[test]
fn a_role_is_made_of_privileges_by_their_names() {
    let mut bench = Bench::agreeing();
    let body = json!({
        "RoleId": "night",
        "AssignedPrivileges": ["Login", "ConfigureComponents"],
        "OemPrivileges": ["ViewScreens"],
        "Description": "power only",
    });
    let answer = bench.send(Method::Post, ROLES, &body);
    assert_eq!((answer.status, answer.header("location")), (201, Some(format!("{ROLES}/night").as_str())));
    assert_eq!(answer.value()["IsPredefined"], false);
    let asked = v1::CreateRoleRequest::decode(bench.called[0].request.as_slice()).unwrap().role.unwrap();
    assert_eq!((asked.id.as_str(), asked.description.as_str()), ("night", "power only"));
    assert_eq!(asked.privileges, [2, 4, 7]);
    bench.called.clear();
    for (body, told) in [
        (json!({"RoleId": "x"}), "CreateFailedMissingReqProperties"),
        (json!({"RoleId": "x", "AssignedPrivileges": ["Everything"]}), "PropertyValueNotInList"),
        (json!({"RoleId": "x", "AssignedPrivileges": ["ViewScreens"]}), "PropertyValueNotInList"),
        (
            json!({"RoleId": "x", "AssignedPrivileges": [], "OemPrivileges": ["Login"]}),
            "PropertyValueNotInList",
        ),
        (json!({"RoleId": "x", "AssignedPrivileges": "Login"}), "PropertyValueTypeError"),
        (json!({"RoleId": "x", "AssignedPrivileges": [], "IsPredefined": true}), "PropertyUnknown"),
    ] {
        let answer = bench.send(Method::Post, ROLES, &body);
        assert_eq!((answer.status, said(&answer).as_str()), (400, told), "{body}");
    }
    assert!(bench.called.is_empty());
}

#[test]
fn a_list_of_privileges_that_is_not_given_stays_as_it_is() {
    let mut bench = Bench::agreeing();
    for (body, privileges) in [
        (json!({"AssignedPrivileges": ["Login"]}), &[2, 7][..]),
        (json!({"AssignedPrivileges": []}), &[7]),
        (json!({"OemPrivileges": []}), &[2, 4]),
        (json!({"OemPrivileges": [], "AssignedPrivileges": ["ConfigureSelf"]}), &[3]),
    ] {
        bench.called.clear();
        let answer = bench.send(Method::Patch, &format!("{ROLES}/night"), &body);
        assert_eq!(answer.status, 200, "{}", answer.value());
        assert_eq!(bench.called.len(), 1, "both lists are one change");
        let asked = updated(&bench, 0);
        assert_eq!(asked.field_mask.unwrap().paths, ["privileges"]);
        assert_eq!(asked.role.unwrap().privileges, privileges, "{body}");
    }
    // One list that is wrong leaves the other to be changed.
    bench.called.clear();
    let body = json!({"AssignedPrivileges": ["Nope"], "OemPrivileges": []});
    let answer = bench.send(Method::Patch, &format!("{ROLES}/night"), &body);
    let told = &answer.value()["@Message.ExtendedInfo"][0];
    assert_eq!((answer.status, &told["RelatedProperties"][0]), (200, &json!("/AssignedPrivileges")));
    assert_eq!(updated(&bench, 0).role.unwrap().privileges, [2, 4]);
}

#[test]
fn predefined_roles_are_read_only_and_what_the_owner_refuses_is_told() {
    let mut bench = Bench::agreeing();
    let answer = bench.send(Method::Patch, &format!("{ROLES}/Operator"), &json!({"AssignedPrivileges": []}));
    assert_eq!((answer.status, said(&answer).as_str()), (400, "PropertyNotWritable"));
    assert!(bench.called.is_empty());
    for (reason, code, status, told) in [
        ("ROLE_PREDEFINED", Code::FailedPrecondition, 409, "ResourceCannotBeDeleted"),
        ("ROLE_IN_USE", Code::FailedPrecondition, 409, "ResourceInUse"),
        ("BEYOND_OWN_ROLE", Code::PermissionDenied, 403, "InsufficientPrivilege"),
    ] {
        let fault = Fault { reason: reason.into(), ..Fault::new(code, "no") };
        bench.refuse("rpc.RoleService.DeleteRole", fault);
        let answer = bench.send(Method::Delete, &format!("{ROLES}/night"), &Value::Null);
        assert_eq!((answer.status, said(&answer).as_str()), (status, told), "{reason}");
    }
    let full = Fault { reason: "TOO_MANY_ROLES".into(), ..Fault::new(Code::ResourceExhausted, "no") };
    bench.refuse("rpc.RoleService.CreateRole", full);
    let answer = bench.send(Method::Post, ROLES, &json!({"RoleId": "x", "AssignedPrivileges": []}));
    assert_eq!((answer.status, said(&answer).as_str()), (409, "CreateLimitReachedForResource"));
    assert_eq!(answer.header("retry-after"), None);
}

#[test]
fn an_account_says_what_it_is_for_and_until_when() {
    let mut bench = Bench::agreeing();
    let new = json!({
        "UserName": "olga",
        "Password": "secret-enough",
        "RoleId": "night",
        "AccountTypes": ["Redfish", "IPMI", "HostConsole", "Redfish"],
        "StrictAccountTypes": true,
        "AccountExpiration": "2040-01-01T00:00:00Z",
    });
    assert_eq!(bench.send(Method::Post, ACCOUNTS, &new).status, 201);
    let asked = v1::CreateUserRequest::decode(bench.called[0].request.as_slice()).unwrap().user.unwrap();
    let lists = |user: &v1::User| (user.account_types.clone(), user.strict_account_types, user.ipmi_access);
    assert_eq!((asked.role.as_str(), lists(&asked)), ("night", (vec![1, 2, 3], Some(true), None)));
    assert_eq!(asked.expires_at.unwrap().seconds, 2_208_988_800);
    bench.called.clear();
    let body = json!({"AccountTypes": ["KVMIP", "VirtualMedia", "WebUI"], "AccountExpiration": null});
    assert_eq!(bench.send(Method::Patch, &format!("{ACCOUNTS}/olga"), &body).status, 200);
    let asked: Vec<v1::UpdateUserRequest> = bench
        .called
        .iter()
        .map(|call| v1::UpdateUserRequest::decode(call.request.as_slice()).unwrap())
        .collect();
    let [asked] = asked.as_slice() else { panic!("{asked:?}") };
    let user = asked.user.as_ref().unwrap();
    assert_eq!((lists(user), user.expires_at), ((vec![4, 5, 6], None, None), None));
    assert_eq!(asked.field_mask.as_ref().unwrap().paths, ["account_types", "expires_at"]);
    bench.called.clear();
    for (body, told) in [
        (json!({"AccountTypes": []}), "PropertyValueIncorrect"),
        (json!({"AccountTypes": ["Redfish", "SNMP"]}), "PropertyValueNotInList"),
        (json!({"AccountTypes": ["ManagerConsole"]}), "PropertyValueNotInList"),
        (json!({"AccountTypes": ["redfish"]}), "PropertyValueNotInList"),
        (json!({"AccountTypes": "Redfish"}), "PropertyValueTypeError"),
        (json!({"StrictAccountTypes": "yes"}), "PropertyValueTypeError"),
        (json!({"AccountExpiration": "tomorrow"}), "PropertyValueFormatError"),
    ] {
        let answer = bench.send(Method::Patch, &format!("{ACCOUNTS}/olga"), &body);
        assert_eq!((answer.status, said(&answer).as_str()), (400, told), "{body}");
    }
    assert!(bench.called.is_empty());
}

#[test]
fn an_account_shows_what_it_is_for_and_the_service_what_there_is() {
    let mut bench = Bench::new();
    let shown = bench.shown(&format!("{ACCOUNTS}/olga"));
    assert_eq!(shown["AccountTypes"], json!(["Redfish", "KVMIP", "WebUI"]));
    assert_eq!(shown["StrictAccountTypes"], false);
    let service = bench.shown("/redfish/v1/AccountService");
    let all = json!(["Redfish", "HostConsole", "IPMI", "KVMIP", "VirtualMedia", "WebUI"]);
    assert_eq!(service["SupportedAccountTypes"], all);
}

#[test]
fn what_usermgr_says_of_a_list_is_told_of_the_property() {
    let field = || vec![("user.account_types".to_owned(), "of no use".to_owned())];
    for (reason, code, status, told) in [
        ("ACCOUNT_TYPE_BEYOND_ROLE", Code::InvalidArgument, 400, "PropertyValueConflict"),
        ("STRICT_ACCOUNT_TYPES", Code::InvalidArgument, 400, "StrictAccountTypes"),
        ("", Code::InvalidArgument, 400, "PropertyValueIncorrect"),
        ("LAST_ADMINISTRATOR", Code::FailedPrecondition, 409, "PropertyValueIncorrect"),
    ] {
        let mut bench = Bench::agreeing();
        let fields = if reason == "LAST_ADMINISTRATOR" { Vec::new() } else { field() };
        let fault = Fault { reason: reason.into(), fields, ..Fault::new(code, "of no use") };
        bench.refuse("rpc.UserService.UpdateUser", fault.clone());
        let path = format!("{ACCOUNTS}/olga");
        let answer = bench.send(Method::Patch, &path, &json!({"AccountTypes": ["HostConsole"]}));
        assert_eq!((answer.status, said(&answer).as_str()), (status, told), "{reason}");
        let info = &answer.value()["error"]["@Message.ExtendedInfo"][0];
        assert_eq!(info["RelatedProperties"][0], "/AccountTypes", "{reason}");
        assert_eq!(info["Resolution"], "of no use", "{reason}");
        // Of a new account it is not said that nobody is left to manage accounts.
        if reason == "LAST_ADMINISTRATOR" {
            continue;
        }
        bench.refuse("rpc.UserService.CreateUser", fault);
        let new = json!({
            "UserName": "nora",
            "Password": "secret-enough",
            "RoleId": "ReadOnly",
            "AccountTypes": ["HostConsole"],
        });
        let answer = bench.send(Method::Post, ACCOUNTS, &new);
        assert_eq!((answer.status, said(&answer).as_str()), (status, told), "{reason}");
    }
}

#[test]
fn a_session_of_redfish_says_what_it_is_for() {
    let mut bench = Bench::agreeing();
    let login = json!({"UserName": "olga", "Password": "secret-enough"});
    bench.send(Method::Post, "/redfish/v1/SessionService/Sessions", &login);
    let asked = v1::CreateSessionRequest::decode(bench.called[0].request.as_slice()).unwrap();
    assert_eq!(asked.account_type, Some(i32::from(v1::AccountType::Redfish)));
    let fault =
        Fault { reason: "ACCOUNT_TYPE".into(), ..Fault::new(Code::PermissionDenied, "not for Redfish") };
    bench.refuse("rpc.SessionService.CreateSession", fault);
    let answer = bench.send(Method::Post, "/redfish/v1/SessionService/Sessions", &login);
    assert_eq!((answer.status, said(&answer).as_str()), (403, "InsufficientPrivilege"));
    assert_eq!(answer.header("x-auth-token"), None);
}

#[test]
fn the_log_of_a_console_is_shown_to_accounts_that_consoles_are_for() {
    let olga = asker("olga", auth::Role::Administrator);
    let without = redfish::Asker { opens_consoles: false, ..olga.clone() };
    let log = "/redfish/v1/Systems/system/LogServices/ConsoleLog";
    for (who, status, count) in [(&olga, 200, 2), (&without, 404, 1)] {
        let mut bench = Bench::by(who.clone());
        let logs = bench.shown("/redfish/v1/Systems/system/LogServices");
        assert_eq!(logs["Members"].as_array().map(Vec::len), Some(count), "{logs}");
        assert_eq!(bench.get(&format!("{log}/Entries")).status, status);
        assert_eq!(bench.asked.iter().any(|call| call.method.method == "ListConsoleLog"), status == 200);
    }
    // Nor is an answer that was made for the one kept for the other.
    let shared = |who: &redfish::Asker| {
        let about = Bench::by(who.clone()).about();
        let path = "/redfish/v1/Systems/system";
        redfish::Exchange::new(path, Method::Get, redfish::Request::default(), about).unwrap().shared_as()
    };
    assert!(shared(&olga).is_some());
    assert_ne!(shared(&olga), shared(&without));
}
