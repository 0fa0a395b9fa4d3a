//! Roles that are made, and accounts that have one: what clients ask for, and what the owner is asked.

mod support;

use prost::Message as _;
use redfish::{Fault, Method};
use schema::Code;
use schema::v1alpha1 as v1;
use serde_json::{Value, json};
use support::{Bench, said};

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
        "AccountTypes": ["Redfish", "IPMI"],
        "AccountExpiration": "2040-01-01T00:00:00Z",
    });
    assert_eq!(bench.send(Method::Post, ACCOUNTS, &new).status, 201);
    let asked = v1::CreateUserRequest::decode(bench.called[0].request.as_slice()).unwrap().user.unwrap();
    assert_eq!((asked.role.as_str(), asked.ipmi_access), ("night", Some(true)));
    assert_eq!(asked.expires_at.unwrap().seconds, 2_208_988_800);
    bench.called.clear();
    let body = json!({"AccountTypes": ["Redfish"], "AccountExpiration": null});
    assert_eq!(bench.send(Method::Patch, &format!("{ACCOUNTS}/olga"), &body).status, 200);
    let asked: Vec<v1::UpdateUserRequest> = bench
        .called
        .iter()
        .map(|call| v1::UpdateUserRequest::decode(call.request.as_slice()).unwrap())
        .collect();
    let [asked] = asked.as_slice() else { panic!("{asked:?}") };
    let user = asked.user.as_ref().unwrap();
    assert_eq!((user.ipmi_access, user.expires_at), (Some(false), None));
    assert_eq!(asked.field_mask.as_ref().unwrap().paths, ["ipmi_access", "expires_at"]);
    bench.called.clear();
    for (body, told) in [
        (json!({"AccountTypes": ["IPMI"]}), "PropertyValueIncorrect"),
        (json!({"AccountTypes": []}), "PropertyValueIncorrect"),
        (json!({"AccountTypes": ["Redfish", "SNMP"]}), "PropertyValueNotInList"),
        (json!({"AccountExpiration": "tomorrow"}), "PropertyValueFormatError"),
    ] {
        let answer = bench.send(Method::Patch, &format!("{ACCOUNTS}/olga"), &body);
        assert_eq!((answer.status, said(&answer).as_str()), (400, told), "{body}");
    }
    assert!(bench.called.is_empty());
}
