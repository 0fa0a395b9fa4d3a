//! What changes something: PATCH, POST, DELETE, actions.

mod support;

use prost::Message as _;
use redfish::{Fault, Method, Request};
use schema::Code;
use schema::v1alpha1 as v1;
use serde_json::{Value, json};
use support::{Bench, asker, said, session};

const SYSTEM: &str = "/redfish/v1/Systems/system";

fn ok(bench: &mut Bench) {
    bench.say("rpc.AssetService.SetAssetInfo", &v1::SetAssetInfoResponse::default());
    bench.say("rpc.ChassisService.ChangeChassisState", &v1::ChangeChassisStateResponse::default());
    bench.say("rpc.HostService.UpdateHost", &v1::UpdateHostResponse::default());
    bench.say("rpc.HostService.ChangeHostState", &v1::ChangeHostStateResponse::default());
    bench.say("rpc.UserService.UpdateUser", &v1::UpdateUserResponse::default());
    bench.say("rpc.UserService.ResetPassword", &v1::ResetPasswordResponse::default());
    bench.say("rpc.UserService.DeleteUser", &v1::DeleteUserResponse::default());
    bench.say("rpc.SessionService.DeleteSession", &v1::DeleteSessionResponse::default());
}

fn bench() -> Bench {
    let mut bench = Bench::new();
    ok(&mut bench);
    bench
}

/// Status and messages of a PATCH, what was called, and what stands beside properties.
fn patch(bench: &mut Bench, body: Value) -> (u16, String, Vec<&'static str>) {
    bench.called.clear();
    let answer = bench.send(Method::Patch, SYSTEM, &body);
    let mut told = said(&answer);
    for message in answer.value()["@Message.ExtendedInfo"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let id = message["MessageId"].as_str().unwrap().replace("Base.1.22.", "");
        told.push_str(&format!("{}: {id};", message["RelatedProperties"][0].as_str().unwrap()));
    }
    (answer.status, told, bench.called.iter().map(|call| call.method.method).collect())
}

#[test]
fn a_patch_is_all_some_or_none() {
    let table: &[(Value, u16, &str, &[&str])] = &[
        (json!({"AssetTag": "new"}), 200, "", &["SetAssetInfo"]),
        (json!({"AssetTag": null}), 200, "", &["SetAssetInfo"]),
        (
            json!({"AssetTag": "a", "LocationIndicatorActive": true, "PowerRestorePolicy": "AlwaysOn"}),
            200,
            "",
            &["SetAssetInfo", "ChangeChassisState", "UpdateHost"],
        ),
        (json!({"IndicatorLED": "Lit"}), 200, "", &["ChangeChassisState"]),
        // Nothing can be overridden: what is so already is taken, all else is not in the list.
        (json!({"Boot": {"BootSourceOverrideEnabled": "Disabled"}}), 200, "", &[]),
        (json!({"Boot": {"BootSourceOverrideTarget": "Pxe"}}), 400, "PropertyValueNotInList", &[]),
        (json!({"Boot": {}}), 200, "", &[]),
        // All bad.
        (json!({"Name": "x"}), 400, "PropertyNotWritable", &[]),
        (json!({"Nope": 1}), 400, "PropertyUnknown", &[]),
        (json!({"Nope": 1, "Name": "x"}), 400, "PropertyNotWritable PropertyUnknown", &[]),
        (json!({"LocationIndicatorActive": "yes"}), 400, "PropertyValueTypeError", &[]),
        (json!({"LocationIndicatorActive": null}), 400, "PropertyValueTypeError", &[]),
        (json!({"PowerRestorePolicy": "Sometimes"}), 400, "PropertyValueNotInList", &[]),
        // Some bad.
        (json!({"AssetTag": "new", "Nope": 1}), 200, "/Nope: PropertyUnknown;", &["SetAssetInfo"]),
        (
            json!({"AssetTag": "new", "Status": {"Health": "OK"}}),
            200,
            "/Status/Health: PropertyNotWritable;",
            &["SetAssetInfo"],
        ),
        (
            json!({"AssetTag": "new", "Boot": {"BootSourceOverrideTarget": "Cd"}}),
            200,
            "/Boot/BootSourceOverrideTarget: PropertyValueNotInList;",
            &["SetAssetInfo"],
        ),
        // Nothing to do.
        (json!({}), 400, "EmptyJSON", &[]),
        (json!({"@odata.id": SYSTEM}), 400, "NoOperation", &[]),
        (json!([]), 400, "UnrecognizedRequestBody", &[]),
    ];
    let mut bench = bench();
    for (body, status, told, calls) in table {
        let got = patch(&mut bench, body.clone());
        assert_eq!((got.0, got.1.as_str(), got.2.as_slice()), (*status, *told, *calls), "{body}");
    }
    let malformed = bench.ask(Method::Patch, SYSTEM, "{\"AssetTag\":", Request::default());
    assert_eq!((malformed.status, said(&malformed).as_str()), (400, "MalformedJSON"));
}

#[test]
fn what_an_owner_refuses_is_told_of_its_property() {
    let mut bench = bench();
    bench.refuse("rpc.AssetService.SetAssetInfo", Fault::new(Code::InvalidArgument, "not Latin-1"));
    assert_eq!(
        patch(&mut bench, json!({"AssetTag": "ш"})),
        (400, "PropertyValueIncorrect".into(), vec!["SetAssetInfo"])
    );
    let both = patch(&mut bench, json!({"AssetTag": "ш", "PowerRestorePolicy": "AlwaysOff"}));
    assert_eq!(both, (200, "/AssetTag: PropertyValueIncorrect;".into(), vec!["SetAssetInfo", "UpdateHost"]));
    bench.refuse(
        "rpc.AssetService.SetAssetInfo",
        Fault::new(Code::Unavailable, "inventorymgr does not answer"),
    );
    assert_eq!(patch(&mut bench, json!({"AssetTag": "a"})).0, 503);
}

#[test]
fn a_change_under_a_condition_that_does_not_hold_is_not_made() {
    let mut bench = bench();
    let tag = bench.get(SYSTEM).header("etag").unwrap().to_owned();
    let mut of = |condition: &str| {
        bench.called.clear();
        let request = Request { if_match: Some(condition.to_owned()), ..Request::default() };
        let answer = bench.ask(Method::Patch, SYSTEM, r#"{"AssetTag": "x"}"#, request);
        (answer.status, said(&answer), bench.called.len())
    };
    assert_eq!(of("\"0\""), (412, "PreconditionFailed".into(), 0));
    assert_eq!(of(&format!("W/{tag}")), (412, "PreconditionFailed".into(), 0));
    assert_eq!(of(&tag), (200, String::new(), 1));
    assert_eq!(of("*"), (200, String::new(), 1));
}

#[test]
fn privilege_comes_before_the_condition() {
    let mut bench = Bench::by(asker("rita", auth::Role::ReadOnly));
    let request = Request { if_match: Some("\"0\"".into()), ..Request::default() };
    let answer = bench.ask(Method::Patch, SYSTEM, r#"{"AssetTag": "x"}"#, request);
    assert_eq!((answer.status, said(&answer).as_str()), (403, "InsufficientPrivilege"));
}

#[test]
fn resets_become_what_the_contract_calls_them() {
    let mut bench = bench();
    let target = "/redfish/v1/Systems/system/Actions/ComputerSystem.Reset";
    for (kind, action) in [
        ("On", v1::HostAction::On),
        ("ForceOn", v1::HostAction::On),
        ("ForceOff", v1::HostAction::ForceOff),
        ("GracefulShutdown", v1::HostAction::Off),
        ("GracefulRestart", v1::HostAction::Reboot),
        ("ForceRestart", v1::HostAction::ForceRestart),
        ("PowerCycle", v1::HostAction::PowerCycle),
        ("Nmi", v1::HostAction::Nmi),
    ] {
        bench.called.clear();
        assert_eq!(bench.send(Method::Post, target, &json!({"ResetType": kind})).status, 204, "{kind}");
        let request = v1::ChangeHostStateRequest::decode(bench.called[0].request.as_slice()).unwrap();
        assert_eq!((request.host_name.as_str(), request.action()), ("system", action), "{kind}");
    }
    // A machine that is off is started by what would end with it on.
    let off =
        v1::Host { name: "system".into(), status: Some(v1::HostStatus::Off.into()), ..v1::Host::default() };
    let mut idle = Bench::new();
    ok(&mut idle);
    idle.say("rpc.HostService.ListHosts", &v1::ListHostsResponse { hosts: vec![off] });
    for (kind, action) in [
        ("GracefulRestart", v1::HostAction::On),
        ("ForceRestart", v1::HostAction::On),
        ("PowerCycle", v1::HostAction::On),
        ("GracefulShutdown", v1::HostAction::Off),
        ("Nmi", v1::HostAction::Nmi),
    ] {
        idle.called.clear();
        assert_eq!(idle.send(Method::Post, target, &json!({"ResetType": kind})).status, 204, "{kind}");
        let request = v1::ChangeHostStateRequest::decode(idle.called[0].request.as_slice()).unwrap();
        assert_eq!(request.action(), action, "{kind}");
    }
    bench.called.clear();
    for (body, told) in [
        (json!({}), "ActionParameterMissing"),
        (json!({"ResetType": "Explode"}), "ActionParameterValueNotInList"),
        (json!({"ResetType": 1}), "ActionParameterValueTypeError"),
        (json!({"ResetType": "On", "Delay": 1}), "ActionParameterUnknown"),
    ] {
        let answer = bench.send(Method::Post, target, &body);
        assert_eq!((answer.status, said(&answer).as_str()), (400, told), "{body}");
    }
    let elsewhere = bench.send(
        Method::Post,
        "/redfish/v1/Systems/x/Actions/ComputerSystem.Reset",
        &json!({"ResetType": "On"}),
    );
    assert_eq!(elsewhere.status, 404);
    assert!(bench.called.is_empty());
    let off = Fault { reason: "HOST_OFF".into(), ..Fault::new(Code::FailedPrecondition, "the host is off") };
    bench.refuse("rpc.HostService.ChangeHostState", off);
    let answer = bench.send(Method::Post, target, &json!({"ResetType": "ForceRestart"}));
    assert_eq!((answer.status, said(&answer).as_str()), (409, "ResourceInStandby"));
}

#[test]
fn a_login_has_a_token_a_place_and_a_body_without_secrets() {
    let mut bench = Bench::by(redfish::Asker::default());
    let made = session("rita", auth::Role::ReadOnly);
    let response = v1::CreateSessionResponse { session: Some(made.clone()), token: "the-token".into() };
    bench.say("rpc.SessionService.CreateSession", &response);
    let login = json!({"UserName": "rita", "Password": "secret-enough"});
    for path in ["/redfish/v1/SessionService/Sessions", "/redfish/v1/SessionService/Sessions/Members"] {
        let answer = bench.send(Method::Post, path, &login);
        assert_eq!(answer.status, 201, "{}", answer.value());
        assert_eq!(answer.header("x-auth-token"), Some("the-token"));
        assert_eq!(answer.header("location"), Some("/redfish/v1/SessionService/Sessions/session-of-rita"));
        assert_eq!(
            (&answer.value()["Id"], &answer.value()["UserName"]),
            (&json!("session-of-rita"), &json!("rita"))
        );
        assert!(answer.secret && !answer.value().to_string().contains("the-token"));
    }
    let expired = v1::Session { password_change_required: true, ..made };
    bench.say(
        "rpc.SessionService.CreateSession",
        &v1::CreateSessionResponse { session: Some(expired), token: "t".into() },
    );
    let answer = bench.send(Method::Post, "/redfish/v1/SessionService/Sessions", &login);
    assert_eq!(answer.value()["@Message.ExtendedInfo"][0]["MessageId"], "Base.1.22.PasswordChangeRequired");
    bench.refuse("rpc.SessionService.CreateSession", Fault::new(Code::Unauthenticated, "wrong"));
    assert_eq!(bench.send(Method::Post, "/redfish/v1/SessionService/Sessions", &login).status, 401);
    let answer =
        bench.send(Method::Post, "/redfish/v1/SessionService/Sessions", &json!({"UserName": "rita"}));
    assert_eq!((answer.status, said(&answer).as_str()), (400, "CreateFailedMissingReqProperties"));
}

#[test]
fn accounts_are_made_changed_and_deleted() {
    let mut bench = bench();
    bench.say(
        "rpc.UserService.CreateUser",
        &v1::CreateUserResponse {
            user: Some(support::user("rita", auth::Role::ReadOnly)),
            ..Default::default()
        },
    );
    let accounts = "/redfish/v1/AccountService/Accounts";
    let body =
        json!({"UserName": "rita", "Password": "secret-enough", "RoleId": "ReadOnly", "Enabled": true});
    let answer = bench.send(Method::Post, accounts, &body);
    assert_eq!(
        (answer.status, answer.header("location")),
        (201, Some("/redfish/v1/AccountService/Accounts/rita"))
    );
    assert_eq!(answer.value()["RoleId"], "ReadOnly");
    let request = v1::CreateUserRequest::decode(bench.called[0].request.as_slice()).unwrap();
    assert_eq!(request.user.unwrap().username, "rita");
    let answer = bench.send(Method::Post, accounts, &json!({"UserName": "rita", "Password": 1, "Nope": 1}));
    assert_eq!(
        (answer.status, said(&answer).as_str()),
        (400, "PropertyUnknown PropertyValueTypeError CreateFailedMissingReqProperties")
    );

    bench.called.clear();
    let body = json!({"Password": "another-secret", "PasswordChangeRequired": true, "RoleId": "Operator", "Enabled": false, "Locked": false});
    let answer = bench.send(Method::Patch, &format!("{accounts}/rita"), &body);
    assert_eq!(answer.status, 200, "{}", answer.value());
    let calls: Vec<&str> = bench.called.iter().map(|call| call.method.method).collect();
    assert_eq!(calls, ["ResetPassword", "UpdateUser", "UpdateUser", "UpdateUser"]);
    let request = v1::ResetPasswordRequest::decode(bench.called[0].request.as_slice()).unwrap();
    assert_eq!(
        (request.require_change, request.new_password.as_deref()),
        (Some(true), Some("another-secret"))
    );

    let weak = Fault { reason: "WEAK_PASSWORD".into(), ..Fault::new(Code::InvalidArgument, "too short") };
    bench.refuse("rpc.UserService.ResetPassword", weak);
    let answer = bench.send(Method::Patch, &format!("{accounts}/rita"), &json!({"Password": "short"}));
    assert_eq!((answer.status, said(&answer).as_str()), (400, "PasswordComplexityNotMet"));
    assert!(!answer.value().to_string().contains("short"));

    assert_eq!(bench.send(Method::Delete, &format!("{accounts}/rita"), &json!({})).status, 204);
    assert_eq!(bench.send(Method::Delete, &format!("{accounts}/nobody"), &json!({})).status, 404);
}

#[test]
fn one_s_own_password_is_all_that_others_may_change() {
    let mut bench = Bench::by(asker("olga", auth::Role::Operator));
    ok(&mut bench);
    let own = "/redfish/v1/AccountService/Accounts/olga";
    assert_eq!(bench.send(Method::Patch, own, &json!({"Password": "a-new-password"})).status, 200);
    for body in [
        json!({"RoleId": "Administrator"}),
        json!({"Password": "a-new-password", "RoleId": "Administrator"}),
        json!({"Nope": 1}),
    ] {
        let answer = bench.send(Method::Patch, own, &body);
        assert_eq!((answer.status, said(&answer).as_str()), (403, "InsufficientPrivilege"), "{body}");
    }
    let answer = bench.send(
        Method::Patch,
        "/redfish/v1/AccountService/Accounts/admin",
        &json!({"Password": "a-new-password"}),
    );
    assert_eq!(answer.status, 403);
    assert_eq!(bench.called.len(), 1);
}

#[test]
fn a_stream_of_events_is_closed_by_its_owner_and_by_who_manages() {
    let path = "/redfish/v1/EventService/Subscriptions/7";
    for (name, role, status) in [
        ("rita", auth::Role::ReadOnly, 204),
        ("olga", auth::Role::Operator, 404),
        ("admin", auth::Role::Administrator, 204),
    ] {
        let mut bench = Bench::by(asker(name, role));
        assert_eq!(bench.send(Method::Delete, path, &json!({})).status, status, "{name}");
        assert_eq!(bench.closed.len(), usize::from(status == 204), "{name}");
    }
}

#[test]
fn an_event_is_sent_with_its_message_and_its_origin() {
    let event = v1::Event {
        id: "ev1".into(),
        domain: "host".into(),
        component: "system".into(),
        what: "state".into(),
        message: "it is on".into(),
        severity: v1::EventSeverity::Warning.into(),
        ..v1::Event::default()
    };
    let sent = redfish::resources::event_payload(&event, "42", "7");
    assert_eq!((&sent["Id"], &sent["Context"]), (&json!("42"), &json!("7")));
    assert_eq!(sent["Events"][0]["MessageId"], "UBmc.1.0.EventWarning");
    assert_eq!(sent["Events"][0]["OriginOfCondition"]["@odata.id"], "/redfish/v1/Systems/system");
    assert!(sent["Events"][0].get("EventTimestamp").is_none());
}

#[test]
fn a_query_does_not_go_with_a_change() {
    let mut bench = bench();
    let answer = bench.send(Method::Patch, &format!("{SYSTEM}?$select=Name"), &json!({"AssetTag": "x"}));
    assert_eq!((answer.status, said(&answer).as_str()), (400, "QueryNotSupportedOnOperation"));
}
