//! Values as clients give and read them: what they send that is in the standard is taken, and what they look for is there.

mod support;

use prost::Message as _;
use redfish::{Fault, Method};
use schema::Code;
use schema::v1alpha1 as v1;
use serde_json::{Value, json};
use support::{Bench, said};

const SYSTEM: &str = "/redfish/v1/Systems/system";
const CHASSIS: &str = "/redfish/v1/Chassis/chassis";

#[test]
fn the_light_of_a_chassis_is_one_by_whichever_of_its_properties_it_is_asked_for() {
    use v1::ChassisAction::{IdentifyOff, IdentifyOn};
    let mut bench = Bench::agreeing();
    for path in [SYSTEM, CHASSIS] {
        for (body, action) in [
            (json!({"LocationIndicatorActive": true}), IdentifyOn),
            (json!({"IndicatorLED": "Lit"}), IdentifyOn),
            (json!({"IndicatorLED": "Off"}), IdentifyOff),
            (json!({"LocationIndicatorActive": true, "IndicatorLED": "Lit"}), IdentifyOn),
            (json!({"LocationIndicatorActive": false, "IndicatorLED": "Off"}), IdentifyOff),
        ] {
            bench.called.clear();
            let answer = bench.send(Method::Patch, path, &body);
            assert_eq!((answer.status, bench.called.len()), (200, 1), "{path} {body}");
            let asked = v1::ChangeChassisStateRequest::decode(bench.called[0].request.as_slice()).unwrap();
            assert_eq!((asked.chassis_name.as_str(), asked.action()), ("chassis", action), "{path} {body}");
        }
        // What blinks where the board has it so could not be shown as it was asked for.
        bench.called.clear();
        for (body, ids) in [
            (json!({"IndicatorLED": "Blinking"}), "PropertyValueNotInList"),
            (
                json!({"IndicatorLED": "Blinking", "LocationIndicatorActive": true}),
                "PropertyValueNotInList PropertyValueConflict",
            ),
            (
                json!({"IndicatorLED": "Lit", "LocationIndicatorActive": false}),
                "PropertyValueConflict PropertyValueConflict",
            ),
            (
                json!({"IndicatorLED": "Off", "LocationIndicatorActive": true}),
                "PropertyValueConflict PropertyValueConflict",
            ),
        ] {
            let answer = bench.send(Method::Patch, path, &body);
            assert_eq!((answer.status, said(&answer).as_str()), (400, ids), "{path} {body}");
        }
        assert!(bench.called.is_empty(), "{path}: {:?}", bench.called);
        // What is beside it is done all the same.
        let body = json!({"IndicatorLED": "Off", "LocationIndicatorActive": true, "AssetTag": "x"});
        assert_eq!(bench.send(Method::Patch, path, &body).status, 200, "{path}");
        let methods: Vec<&str> = bench.called.iter().map(|call| call.method.method).collect();
        assert_eq!(methods, ["SetAssetInfo"], "{path}");
    }
}

/// A bench whose part of that id says this of itself.
fn with_part(id: &str, change: impl Fn(&mut v1::Asset)) -> Bench {
    let mut bench = Bench::new();
    let known = bench.answers["rpc.AssetService.ListAssets"].clone().unwrap();
    let mut all = v1::ListAssetsResponse::decode(known.as_slice()).unwrap();
    change(all.assets.iter_mut().find(|asset| asset.id == id).unwrap());
    bench.say("rpc.AssetService.ListAssets", &all);
    bench
}

fn named(product: &str) -> impl Fn(&mut v1::Asset) {
    move |asset| asset.info.as_mut().unwrap().product_name = product.to_owned()
}

#[test]
fn a_module_says_of_which_kind_it_is_where_redfish_has_a_word_for_it() {
    for (said, shown) in [
        ("DDR4", Some("DDR4")),
        ("DDR5", Some("DDR5")),
        ("HBM3", Some("HBM3")),
        ("LPDDR4", Some("LPDDR4_SDRAM")),
        ("LPDDR5", None),
        ("Part system-dimm0", None),
    ] {
        let memory = with_part("system-dimm0", named(said)).shown(&format!("{SYSTEM}/Memory/system-dimm0"));
        assert_eq!(memory.get("MemoryDeviceType").and_then(Value::as_str), shown, "{said}");
    }
}

#[test]
fn a_drive_of_nvme_is_an_ssd_and_nobody_says_its_size() {
    let shown = |bench: &mut Bench, id: &str| {
        let drive = bench.shown(&format!("{CHASSIS}/Drives/{id}"));
        assert!(drive.get("CapacityBytes").is_none(), "{drive}");
        ["Protocol", "MediaType"].map(|name| drive[name].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(shown(&mut Bench::new(), "nvme0"), ["NVMe", "SSD"]);
    // Where no drive speaks for itself, as the firmware's tables have it.
    for (kind, expected) in
        [("NVMe controller", ["NVMe", "SSD"]), ("UFS controller", ["", ""]), ("eMMC", ["", ""])]
    {
        let mut bench = with_part("system-drive0", named(kind));
        let known = bench.answers["rpc.AssetService.ListAssets"].clone().unwrap();
        let mut all = v1::ListAssetsResponse::decode(known.as_slice()).unwrap();
        all.assets.retain(|asset| asset.id != "nvme0");
        bench.say("rpc.AssetService.ListAssets", &all);
        assert_eq!(shown(&mut bench, "system-drive0"), expected, "{kind}");
    }
}

#[test]
fn what_can_be_set_and_is_not_is_null_as_clients_set_what_they_see() {
    let mut bench = Bench::agreeing();
    bench.say(
        "rpc.NetworkService.ListNetworkInterfaces",
        &v1::ListNetworkInterfacesResponse {
            host_name: String::new(),
            domains: Vec::new(),
            ..support::network()
        },
    );
    let eternal = v1::User { expires_at: None, ..support::user("olga", auth::Role::Operator) };
    bench.say(
        "rpc.UserService.ListUsers",
        &v1::ListUsersResponse { users: vec![eternal], ..Default::default() },
    );
    let policy = v1::AccountPolicy { max_password_age_days: 0, ..Default::default() };
    bench.say("rpc.UserService.GetAccountPolicy", &v1::GetAccountPolicyResponse { policy: Some(policy) });
    let eth0 = "/redfish/v1/Managers/bmc/EthernetInterfaces/eth0";
    let account = "/redfish/v1/AccountService/Accounts/olga";
    let service = "/redfish/v1/AccountService";
    for (path, at) in [
        (eth0, "/HostName"),
        (eth0, "/FQDN"),
        (account, "/AccountExpiration"),
        (service, "/PasswordExpirationDays"),
        (SYSTEM, "/Boot/BootSourceOverrideMode"),
    ] {
        assert_eq!(bench.shown(path).pointer(at), Some(&Value::Null), "{path} {at}");
    }
    // Whether passwords expire nobody knows then.
    bench
        .refuse("rpc.UserService.GetAccountPolicy", Fault::new(Code::Unavailable, "usermgr does not answer"));
    assert!(bench.shown(service).get("PasswordExpirationDays").is_none());
    // As redfishtool sends it back: the firmware's own.
    let boot = json!({
        "BootSourceOverrideTarget": "Pxe",
        "BootSourceOverrideEnabled": "Once",
        "BootSourceOverrideMode": null,
    });
    let answer = bench.send(Method::Patch, SYSTEM, &json!({ "Boot": boot }));
    assert_eq!((answer.status, bench.called.len()), (200, 1), "{}", said(&answer));
    let asked = v1::UpdateHostRequest::decode(bench.called[0].request.as_slice()).unwrap();
    let boot = asked.host.unwrap().boot_override.unwrap();
    assert_eq!((boot.target(), boot.mode()), (v1::BootTarget::Pxe, v1::BootMode::Unspecified));
}

#[test]
fn when_failed_logins_are_forgotten_is_set_within_what_both_the_standard_and_usermgr_allow() {
    let service = "/redfish/v1/AccountService";
    let (duration, reset) = ("AccountLockoutDuration", "AccountLockoutCounterResetAfter");
    for (body, after, delay, paths) in [
        (json!({ (reset): 900 }), 900, None, vec!["lockout_forget_after"]),
        (
            json!({ (duration): 300, (reset): 300 }),
            300,
            Some(300),
            vec!["lockout_max_delay", "lockout_forget_after"],
        ),
    ] {
        let mut bench = Bench::agreeing();
        let answer = bench.send(Method::Patch, service, &body);
        assert_eq!((answer.status, bench.called.len()), (200, 1), "{body}: {}", said(&answer));
        let asked = v1::UpdateAccountPolicyRequest::decode(bench.called[0].request.as_slice()).unwrap();
        let policy = asked.policy.unwrap();
        assert_eq!(policy.lockout_forget_after.map(|span| span.seconds), Some(after));
        assert_eq!(policy.lockout_max_delay.map(|span| span.seconds), delay);
        assert_eq!(asked.field_mask.unwrap().paths, paths);
    }
    // Longer than the delay it would not be shown any more; what is beside it is done.
    let mut bench = Bench::agreeing();
    for body in [json!({ (reset): 901 }), json!({ (duration): 300, (reset): 301 })] {
        let answer = bench.send(Method::Patch, service, &body);
        assert!(answer.status == 400 && said(&answer).contains("PropertyValueConflict"), "{body}");
        assert!(bench.called.is_empty(), "{body}");
    }
    let body = json!({ (reset): 901, "MinPasswordLength": 12 });
    assert_eq!(bench.send(Method::Patch, service, &body).status, 200);
    let asked = v1::UpdateAccountPolicyRequest::decode(bench.called[0].request.as_slice()).unwrap();
    assert_eq!(asked.field_mask.unwrap().paths, ["min_password_length"]);
    // Shorter usermgr refuses, and names the field.
    let short = Fault {
        fields: vec![("policy.lockout_forget_after".to_owned(), "it is 900 to 86400 s".to_owned())],
        ..Fault::new(Code::InvalidArgument, "policy.lockout_forget_after: it is 900 to 86400 s")
    };
    bench.refuse("rpc.UserService.UpdateAccountPolicy", short);
    let answer = bench.send(Method::Patch, service, &json!({ (reset): 60, "AccountLockoutThreshold": 3 }));
    let told = answer.value()["error"]["@Message.ExtendedInfo"].as_array().unwrap();
    let mut told: Vec<_> =
        told.iter().map(|one| (&one["RelatedProperties"][0], &one["Resolution"])).collect();
    told.sort_by_key(|(at, _)| at.to_string());
    assert_eq!(
        told,
        [
            (&json!("/AccountLockoutCounterResetAfter"), &json!("it is 900 to 86400 s")),
            (&json!("/AccountLockoutThreshold"), &json!("None.")),
        ]
    );
}

const SUBSCRIPTIONS: &str = "/redfish/v1/EventService/Subscriptions";

#[test]
fn a_subscription_is_made_as_ironic_and_gofish_ask_for_it() {
    let new = |more: Value| {
        let mut body = json!({
            "Destination": "https://collector.example/events",
            "Protocol": "Redfish",
            "Context": "rack 7",
        });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut bench = Bench::agreeing();
        let answer = bench.send(Method::Post, SUBSCRIPTIONS, &body);
        assert_eq!(answer.status, 201, "{body}: {}", said(&answer));
        let asked = v1::CreateEventSubscriptionRequest::decode(bench.called[0].request.as_slice()).unwrap();
        (asked.subscription.unwrap(), answer.value()["EventTypes"].clone())
    };
    let plain = new(json!({})).0;
    // All events are alerts, so a list of types that has them leaves none out.
    for types in [json!(["Alert"]), json!(["Other"]), json!(["Alert", "Other"]), json!([])] {
        assert_eq!(new(json!({ "EventTypes": types })), (plain.clone(), json!(["Alert"])), "{types}");
    }
    let reports = json!({"EventFormatType": "MetricReport", "EventTypes": ["MetricReport"]});
    assert_eq!(new(reports).0.format(), v1::EventFormat::MetricReport);
    // gofish writes the headers as one object.
    let header = |name: &str| v1::HttpHeader { name: name.into(), value: "secret-enough".into() };
    let headers = json!({"X-One": "secret-enough", "X-Two": "secret-enough"});
    for headers in [headers.clone(), json!([headers])] {
        let (asked, _) = new(json!({ "HttpHeaders": headers }));
        assert_eq!(asked.http_headers, [header("X-One"), header("X-Two")]);
    }
    // Of one that is there they are changed in either way as well.
    let mut bench = Bench::agreeing();
    let body = json!({"HttpHeaders": {"X-One": "secret-enough"}});
    let answer = bench.send(Method::Patch, &format!("{SUBSCRIPTIONS}/sub-1"), &body);
    assert!(answer.status == 200 && answer.secret, "{}", said(&answer));
    let asked = v1::UpdateEventSubscriptionRequest::decode(bench.called[0].request.as_slice()).unwrap();
    assert_eq!(asked.subscription.unwrap().http_headers, [header("X-One")]);
    for headers in [json!({"X-One": 1}), json!({"X-One": ["a"]}), json!("X-One: a")] {
        let answer =
            bench.send(Method::Patch, &format!("{SUBSCRIPTIONS}/sub-1"), &json!({ "HttpHeaders": headers }));
        assert_eq!((answer.status, said(&answer).as_str()), (400, "PropertyValueTypeError"), "{headers}");
    }
    let nine: serde_json::Map<String, Value> = (0..9).map(|at| (format!("X-{at}"), json!("a"))).collect();
    let answer =
        bench.send(Method::Patch, &format!("{SUBSCRIPTIONS}/sub-1"), &json!({ "HttpHeaders": nine }));
    assert_eq!((answer.status, said(&answer).as_str()), (400, "ArraySizeTooLong"));
}

#[test]
fn a_test_event_is_taken_with_all_that_the_standard_has_and_says_what_it_does_not_use() {
    let target = "/redfish/v1/EventService/Actions/EventService.SubmitTestEvent";
    // As sushy and gofish send it.
    let body = json!({
        "EventGroupId": 7,
        "EventId": "42",
        "EventTimestamp": "2026-09-21T12:00:00Z",
        "EventType": "Alert",
        "Message": "a drill",
        "MessageArgs": ["a"],
        "MessageId": "UBmc.1.0.EventCritical",
        "OriginOfCondition": SYSTEM,
        "Severity": "Critical",
        "MessageSeverity": "Critical",
    });
    let mut bench = Bench::agreeing();
    let answer = bench.send(Method::Post, target, &body);
    assert_eq!((answer.status, bench.called.len()), (200, 1), "{}", said(&answer));
    let asked = v1::SendTestEventRequest::decode(bench.called[0].request.as_slice()).unwrap();
    assert_eq!((asked.message.as_str(), asked.severity()), ("a drill", v1::EventSeverity::Critical));
    let told = &answer.value()["error"];
    assert_eq!(told["code"], "Base.1.22.Success");
    let told: Vec<(&Value, &Value)> = told["@Message.ExtendedInfo"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| (&message["MessageId"], &message["MessageArgs"][0]))
        .collect();
    let not_used = json!("Base.1.22.ActionParameterNotSupported");
    assert_eq!(told[0].0, "Base.1.22.Success");
    let unused = ["EventGroupId", "EventId", "EventTimestamp", "MessageArgs", "OriginOfCondition"];
    assert_eq!(told.len(), 1 + unused.len());
    for ((id, name), unused) in told[1..].iter().zip(unused) {
        assert_eq!((*id, name.as_str()), (&not_used, Some(unused)));
    }
    // What is used alone is done without a word, and all that may be there is named before.
    let used = json!({"MessageId": "UBmc.1.0.EventOK", "Severity": "OK", "EventType": "Alert"});
    assert_eq!(bench.send(Method::Post, target, &used).status, 204);
    let info = bench.shown("/redfish/v1/EventService/SubmitTestEventActionInfo");
    let names = info["Parameters"].as_array().unwrap().iter().map(|one| one["Name"].as_str().unwrap());
    let names: Vec<&str> = names.collect();
    assert!(body.as_object().unwrap().keys().all(|name| names.contains(&name.as_str())), "{names:?}");
    bench.called.clear();
    for (change, told) in [
        // The message says how bad it is.
        (json!({"Severity": "OK"}), "ActionParameterValueConflict"),
        (json!({"MessageSeverity": "Warning"}), "ActionParameterValueConflict"),
        (json!({"Severity": "Informational"}), "ActionParameterValueConflict"),
        (json!({"Severity": "Bad"}), "ActionParameterValueNotInList"),
        (json!({"MessageSeverity": "Informational"}), "ActionParameterValueNotInList"),
        (json!({"EventType": "StatusChange"}), "ActionParameterValueNotInList"),
        (json!({"EventGroupId": true}), "ActionParameterValueTypeError"),
        (json!({"EventGroupId": 1.5}), "ActionParameterValueTypeError"),
        (json!({"EventGroupId": "a\u{7}"}), "ActionParameterValueFormatError"),
        (json!({"MessageArgs": "a"}), "ActionParameterValueTypeError"),
        (json!({"MessageId": "test124"}), "ActionParameterValueNotInList"),
        (json!({"Nope": 1}), "ActionParameterUnknown"),
    ] {
        let mut wrong = body.clone();
        wrong.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = bench.send(Method::Post, target, &wrong);
        assert_eq!((answer.status, said(&answer).as_str()), (400, told), "{change}");
    }
    assert!(bench.called.is_empty(), "{:?}", bench.called);
    // One that is refused says nothing of what would not have been used.
    bench.refuse("rpc.EventService.SendTestEvent", Fault::new(Code::Unavailable, "eventlog does not answer"));
    let answer = bench.send(Method::Post, target, &body);
    assert_eq!((answer.status, said(&answer).as_str()), (503, "ServiceTemporarilyUnavailable"));
}

#[test]
fn a_test_event_of_the_registry_resource_event_is_sent_with_its_arguments() {
    let target = "/redfish/v1/EventService/Actions/EventService.SubmitTestEvent";
    let mut bench = Bench::agreeing();
    let mut send = |body: Value| {
        bench.called.clear();
        let answer = bench.send(Method::Post, target, &body);
        let asked = bench.called.first().map(|call| {
            let asked = v1::SendTestEventRequest::decode(call.request.as_slice()).unwrap();
            (asked.message_id.clone(), asked.message_args.clone(), asked.severity())
        });
        (answer.status, said(&answer), asked)
    };
    let hot = "ResourceEvent.1.4.ResourceErrorThresholdExceeded";
    for (body, id, args, severity) in [
        (
            json!({"MessageId": "ResourceEvent.1.0.3.TestMessage"}),
            "ResourceEvent.1.0.3.TestMessage",
            vec![],
            v1::EventSeverity::Info,
        ),
        (
            json!({"MessageId": "ResourceEvent.TestMessage", "MessageArgs": [], "Severity": "Informational"}),
            "ResourceEvent.TestMessage",
            vec![],
            v1::EventSeverity::Info,
        ),
        (
            json!({"MessageId": hot, "MessageArgs": ["Reading", "90.5"], "MessageSeverity": "Critical"}),
            hot,
            vec!["Reading", "90.5"],
            v1::EventSeverity::Critical,
        ),
    ] {
        let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        let (status, told, asked) = send(body.clone());
        // Nothing that was given is without use.
        assert_eq!((status, told.as_str()), (204, ""), "{body}");
        assert_eq!(asked, Some((id.to_owned(), args, severity)), "{body}");
    }
    // One of ours has the arguments of the event, and names none.
    let (status, told, asked) = send(json!({"MessageId": "UBmc.1.0.EventOK", "MessageArgs": ["a"]}));
    assert_eq!((status, told.as_str()), (200, "Success ActionParameterNotSupported"));
    assert_eq!(asked, Some((String::new(), Vec::new(), v1::EventSeverity::Info)));
    for (body, told) in [
        (json!({"MessageId": hot}), "ActionParameterMissing"),
        (json!({"MessageId": hot, "MessageArgs": null}), "ActionParameterMissing"),
        (json!({"MessageId": hot, "MessageArgs": ["Reading"]}), "ActionParameterValueError"),
        (json!({"MessageId": hot, "MessageArgs": ["Reading", "hot"]}), "ActionParameterValueError"),
        (
            json!({"MessageId": "ResourceEvent.1.4.TestMessage", "MessageArgs": ["a"]}),
            "ActionParameterValueError",
        ),
        (
            json!({"MessageId": "ResourceEvent.1.4.TestMessage", "Severity": "Critical"}),
            "ActionParameterValueConflict",
        ),
        (json!({"MessageId": "ResourceEvent.1.4.LicenseExpired"}), "ActionParameterValueNotInList"),
    ] {
        assert_eq!(send(body.clone()), (400, told.to_owned(), None), "{body}");
    }
}

#[test]
fn the_test_events_of_gofish_are_taken_as_it_sends_them() {
    let target = "/redfish/v1/EventService/Actions/EventService.SubmitTestEvent";
    // Up to 0.20, and after it.
    let older = json!({
        "EventGroupId": "TESTING123",
        "EventId": "TEST123",
        "EventTimestamp": "2026-09-21 14:14:10.123456789 +0000 UTC m=+1234567.123456789",
        "EventType": "Alert",
        "Message": "a drill",
        "MessageArgs": null,
        "MessageId": "test123",
        "OriginOfCondition": "/redfish/v1/EventService",
        "Severity": "Informational",
    });
    let newer = json!({
        "EventGroupId": 123,
        "EventId": "TEST123",
        "EventTimestamp": "2026-09-21 14:14:10.123456789 +0000 UTC m=+0.001",
        "EventType": "Alert",
        "Message": "a drill",
        "OriginOfCondition": "/redfish/v1/EventService",
        "Severity": "Informational",
    });
    let mut bench = Bench::agreeing();
    for body in [&older, &newer] {
        for (given, severity) in [
            ("Informational", v1::EventSeverity::Info),
            ("Warning", v1::EventSeverity::Warning),
            ("Critical", v1::EventSeverity::Critical),
        ] {
            bench.called.clear();
            let mut body = body.clone();
            body["Severity"] = json!(given);
            let answer = bench.send(Method::Post, target, &body);
            assert_eq!((answer.status, bench.called.len()), (200, 1), "{body}: {}", said(&answer));
            let asked = v1::SendTestEventRequest::decode(bench.called[0].request.as_slice()).unwrap();
            assert_eq!((asked.message.as_str(), asked.severity()), ("a drill", severity), "{body}");
        }
    }
    // Who says neither which message nor how bad it is has asked for nothing.
    bench.called.clear();
    for (body, told) in [
        (json!({}), "ActionParameterMissing"),
        (json!({"Message": "a drill"}), "ActionParameterMissing"),
        (json!({"MessageId": "test123"}), "ActionParameterValueNotInList"),
        (json!({"MessageId": "Base.1.0.Success", "Severity": "OK"}), "ActionParameterValueNotInList"),
        (json!({"Severity": "Warning", "MessageSeverity": "OK"}), "ActionParameterValueConflict"),
    ] {
        let answer = bench.send(Method::Post, target, &body);
        assert_eq!((answer.status, said(&answer).as_str()), (400, told), "{body}");
    }
    assert!(bench.called.is_empty(), "{:?}", bench.called);
    // What is only understood is not offered.
    let offered = &bench.shown("/redfish/v1/EventService")["Actions"]["#EventService.SubmitTestEvent"];
    assert_eq!(offered["Severity@Redfish.AllowableValues"], json!(["OK", "Warning", "Critical"]));
}

#[test]
fn what_usermgr_says_of_the_privileges_of_a_role_is_told_of_those_of_the_standard() {
    let mut bench = Bench::agreeing();
    let why = "it is none";
    let wrong = Fault {
        fields: vec![("role.privileges[0]".to_owned(), why.to_owned())],
        ..Fault::new(Code::InvalidArgument, "role.privileges[0]: it is none")
    };
    bench.refuse("rpc.RoleService.UpdateRole", wrong);
    let body = json!({"AssignedPrivileges": ["Login"], "OemPrivileges": ["ViewScreens"]});
    let answer = bench.send(Method::Patch, "/redfish/v1/AccountService/Roles/night", &body);
    let told = answer.value()["error"]["@Message.ExtendedInfo"].as_array().unwrap();
    let mut told: Vec<[String; 2]> = told
        .iter()
        .map(|one| [&one["RelatedProperties"][0], &one["MessageId"]])
        .map(|both| both.map(|text| text.as_str().unwrap().replace("Base.1.22.", "")))
        .collect();
    told.sort();
    assert_eq!(answer.status, 400);
    assert_eq!(
        told,
        [["/AssignedPrivileges", "PropertyValueIncorrect"], ["/OemPrivileges", "PropertyValueConflict"],]
    );
}

#[test]
fn the_ways_to_reset_a_machine_are_those_of_its_lines() {
    let mut bench = Bench::agreeing();
    let reset = format!("{SYSTEM}/Actions/ComputerSystem.Reset");
    let allowed = |bench: &mut Bench| {
        let shown = bench.shown(SYSTEM)["Actions"]["#ComputerSystem.Reset"].clone();
        let info = bench.shown(shown["@Redfish.ActionInfo"].as_str().unwrap());
        assert_eq!(shown["ResetType@Redfish.AllowableValues"], info["Parameters"][0]["AllowableValues"]);
        shown["ResetType@Redfish.AllowableValues"].as_array().unwrap().len()
    };
    assert_eq!(allowed(&mut bench), 8, "nobody has said what can be");
    let mut host = bench_host();
    use v1::HostAction::{ForceOff, ForceRestart, On, PowerCycle};
    host.supported_actions = [On, ForceOff, ForceRestart, PowerCycle].map(Into::into).to_vec();
    let say = |bench: &mut Bench, host: &v1::Host| {
        bench.say("rpc.HostService.ListHosts", &v1::ListHostsResponse { hosts: vec![host.clone()] });
    };
    say(&mut bench, &host);
    assert_eq!(allowed(&mut bench), 5);
    for way in ["Nmi", "GracefulShutdown", "GracefulRestart"] {
        let answer = bench.send(Method::Post, &reset, &json!({"ResetType": way}));
        assert_eq!((answer.status, said(&answer)), (400, "ActionParameterValueNotInList".into()), "{way}");
    }
    assert!(bench.called.is_empty(), "{:?}", bench.called);
    // Off, it is only switched on, for which nobody is asked to end anything.
    host.status = Some(v1::HostStatus::Off.into());
    say(&mut bench, &host);
    assert_eq!(bench.send(Method::Post, &reset, &json!({"ResetType": "GracefulRestart"})).status, 204);
}

/// A machine that is on.
fn bench_host() -> v1::Host {
    v1::Host {
        name: "system".into(),
        status: Some(v1::HostStatus::On.into()),
        chassis_name: "chassis".into(),
        ..v1::Host::default()
    }
}

#[test]
fn ones_own_password_is_set_with_what_comes_back_as_it_is_shown() {
    let own = "/redfish/v1/AccountService/Accounts/rita";
    for (beside, status) in [
        (json!({"PasswordChangeRequired": false}), 200),
        (json!({"RoleId": "ReadOnly"}), 200),
        (json!({"PasswordChangeRequired": true}), 403),
        (json!({"RoleId": "Administrator"}), 403),
    ] {
        let mut bench = Bench::by(support::asker("rita", auth::Role::ReadOnly));
        bench.agree();
        let mut body = beside.clone();
        body["Password"] = json!("another-secret");
        let answer = bench.send(Method::Patch, own, &body);
        assert_eq!(answer.status, status, "{beside}: {}", answer.value());
        let called: Vec<&str> = bench.called.iter().map(|call| call.method.method).collect();
        assert_eq!(called, if status == 200 { vec!["ResetPassword"] } else { vec![] }, "{beside}");
    }
}
