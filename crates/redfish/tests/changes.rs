//! What changes something: PATCH, POST, DELETE, actions.

mod support;

use prost::Message as _;
use redfish::{Exchange, Fault, Method, Request};
use schema::Code;
use schema::v1alpha1 as v1;
use serde_json::{Value, json};
use support::{Bench, OF_HTTPS, asker, said, session, subscription};

const SYSTEM: &str = "/redfish/v1/Systems/system";

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
        // What belongs together is one call.
        (
            json!({"Boot": {"BootSourceOverrideEnabled": "Once", "BootSourceOverrideTarget": "Pxe"}, "PowerRestorePolicy": "AlwaysOn"}),
            200,
            "",
            &["UpdateHost", "UpdateHost"],
        ),
        (json!({"Boot": {"BootSourceOverrideTarget": "Floppy"}}), 400, "PropertyValueNotInList", &[]),
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
            json!({"AssetTag": "new", "Boot": {"BootSourceOverrideTarget": "SDCard"}}),
            200,
            "/Boot/BootSourceOverrideTarget: PropertyValueNotInList;",
            &["SetAssetInfo"],
        ),
        // Nothing to do.
        (json!({}), 400, "EmptyJSON", &[]),
        (json!({"@odata.id": SYSTEM}), 400, "NoOperation", &[]),
        (json!([]), 400, "UnrecognizedRequestBody", &[]),
    ];
    let mut bench = Bench::agreeing();
    for (body, status, told, calls) in table {
        let got = patch(&mut bench, body.clone());
        assert_eq!((got.0, got.1.as_str(), got.2.as_slice()), (*status, *told, *calls), "{body}");
    }
    let malformed = bench.ask(Method::Patch, SYSTEM, "{\"AssetTag\":", Request::default());
    assert_eq!((malformed.status, said(&malformed).as_str()), (400, "MalformedJSON"));
}

/// What a PATCH of `Boot` asks statemgr for: the override, and which fields of it.
fn asked(bench: &mut Bench, boot: Value) -> (v1::BootOverride, Vec<String>) {
    let (status, told, calls) = patch(bench, json!({"Boot": boot}));
    assert_eq!((status, told.as_str(), calls.as_slice()), (200, "", ["UpdateHost"].as_slice()));
    let call = bench.called.last().unwrap();
    let update = v1::UpdateHostRequest::decode(call.request.as_slice()).unwrap();
    let host = update.host.unwrap();
    let paths = update.field_mask.unwrap().paths;
    (host.boot_override.unwrap(), paths.iter().map(|path| path.replace("boot_override.", "")).collect())
}

#[test]
fn a_boot_override_is_asked_for_as_the_clients_do() {
    use v1::BootOverrideEnabled::{Continuous, Disabled, Once};
    let mut bench = Bench::agreeing();
    // sushy's `set_system_boot_options`.
    let body = json!({
        "BootSourceOverrideTarget": "UefiHttp",
        "BootSourceOverrideEnabled": "Once",
        "BootSourceOverrideMode": "UEFI",
        "HttpBootUri": "https://boot.example/a.efi"
    });
    let (boot, paths) = asked(&mut bench, body);
    assert_eq!(paths, ["target", "enabled", "mode", "http_boot_uri"]);
    assert_eq!(
        (boot.target(), boot.enabled(), boot.mode()),
        (v1::BootTarget::UefiHttp, Once, v1::BootMode::Uefi)
    );
    assert_eq!(boot.http_boot_uri, "https://boot.example/a.efi");
    // Of a target alone no effect could be seen.
    let (boot, paths) = asked(&mut bench, json!({"BootSourceOverrideTarget": "Cd"}));
    assert_eq!((boot.target(), boot.enabled(), paths.len()), (v1::BootTarget::Cd, Once, 2));
    // But for none, which is what there is.
    let (_, paths) = asked(&mut bench, json!({"BootSourceOverrideTarget": "None"}));
    assert_eq!(paths, ["target"]);
    let (boot, paths) = asked(&mut bench, json!({"BootSourceOverrideEnabled": "Disabled"}));
    assert_eq!((boot.enabled(), paths), (Disabled, vec!["enabled".to_owned()]));
    let (boot, paths) = asked(&mut bench, json!({"HttpBootUri": null}));
    assert_eq!((boot.http_boot_uri.as_str(), paths), ("", vec!["http_boot_uri".to_owned()]));

    // What counts already goes on as it does.
    let continuous = v1::BootOverride {
        target: v1::BootTarget::Hdd.into(),
        enabled: Continuous.into(),
        mode: v1::BootMode::Legacy.into(),
        supported_targets: vec![1, 2, 3],
        supported_modes: vec![v1::BootMode::Legacy.into()],
        ..v1::BootOverride::default()
    };
    let host =
        v1::Host { name: "system".into(), boot_override: Some(continuous.clone()), ..v1::Host::default() };
    bench.say("rpc.HostService.ListHosts", &v1::ListHostsResponse { hosts: vec![host] });
    let boot = bench.shown(SYSTEM)["Boot"].clone();
    assert_eq!(
        boot,
        json!({
            "BootSourceOverrideEnabled": "Continuous",
            "BootSourceOverrideEnabled@Redfish.AllowableValues": ["Disabled", "Once", "Continuous"],
            "BootSourceOverrideMode": "Legacy",
            "BootSourceOverrideMode@Redfish.AllowableValues": ["Legacy"],
            "BootSourceOverrideTarget": "Hdd",
            "BootSourceOverrideTarget@Redfish.AllowableValues": ["None", "Pxe", "Hdd"],
        })
    );
    let (_, paths) = asked(&mut bench, json!({"BootSourceOverrideTarget": "Pxe"}));
    assert_eq!(paths, ["target"]);
    // What the host cannot be told is told of, and nothing of the override is changed.
    let body = json!({"Boot": {"BootSourceOverrideTarget": "Cd", "BootSourceOverrideEnabled": "Once"}});
    assert_eq!(patch(&mut bench, body), (400, "PropertyValueNotInList PropertyValueConflict".into(), vec![]));
    // So is a mode that its firmware has not. That which is chosen may be sent back with another target, as clients do.
    let with = |mode: &str| json!({"BootSourceOverrideTarget": "Pxe", "BootSourceOverrideMode": mode});
    let refused = (400, "PropertyValueNotInList PropertyValueConflict".into(), vec![]);
    assert_eq!(patch(&mut bench, json!({"Boot": with("UEFI")})), refused);
    assert_eq!(asked(&mut bench, with("Legacy")).0.mode(), v1::BootMode::Legacy);
    let chosen = v1::BootOverride { mode: v1::BootMode::Uefi.into(), ..continuous };
    let host = v1::Host { name: "system".into(), boot_override: Some(chosen), ..v1::Host::default() };
    bench.say("rpc.HostService.ListHosts", &v1::ListHostsResponse { hosts: vec![host] });
    let shown = bench.shown(SYSTEM)["Boot"]["BootSourceOverrideMode@Redfish.AllowableValues"].clone();
    assert_eq!(shown, json!(["UEFI", "Legacy"]));
    assert_eq!(asked(&mut bench, with("UEFI")).0.mode(), v1::BootMode::Uefi);
}

#[test]
fn of_a_host_that_cannot_be_told_nothing_is_overridden() {
    let mut bench = Bench::agreeing();
    let host = v1::Host { name: "system".into(), ..v1::Host::default() };
    bench.say("rpc.HostService.ListHosts", &v1::ListHostsResponse { hosts: vec![host] });
    let table: &[(Value, u16, &str)] = &[
        (json!({"BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideTarget": "None"}), 200, ""),
        (json!({"BootSourceOverrideTarget": "Pxe"}), 400, "PropertyValueNotInList"),
        (json!({"BootSourceOverrideEnabled": "Once"}), 400, "PropertyValueNotInList"),
        (json!({"HttpBootUri": "http://a"}), 400, "PropertyNotWritable"),
    ];
    for (body, status, told) in table {
        let got = patch(&mut bench, json!({ "Boot": body }));
        assert_eq!((got.0, got.1.as_str(), got.2.len()), (*status, *told, 0), "{body}");
    }
}

#[test]
fn what_an_owner_refuses_is_told_of_its_property() {
    let mut bench = Bench::agreeing();
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
    let mut bench = Bench::agreeing();
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
fn a_daemon_that_starts_anew_is_no_change_of_a_machine() {
    let mut bench = Bench::agreeing();
    let tag = bench.get(SYSTEM).header("etag").unwrap().to_owned();
    let shown = bench.shown(SYSTEM);
    assert!(shown["SerialConsole"]["SSH"].is_object() && shown["GraphicalConsole"].is_object(), "{shown}");
    // Without sshsrv nobody listens, and kvmsrv and mediasrv do not answer yet.
    let system = v1::SystemInfo { name: "bmc".into(), ..Default::default() };
    bench.say("rpc.SystemService.GetSystemInfo", &v1::GetSystemInfoResponse { system_info: Some(system) });
    for subject in ["rpc.KvmService.ListScreens", "rpc.MediaService.ListMedia"] {
        bench.refuse(subject, Fault::new(Code::Unavailable, "it is starting"));
    }
    let shown = bench.shown(SYSTEM);
    assert!(shown["SerialConsole"].get("SSH").is_none() && shown.get("GraphicalConsole").is_none());
    assert!(shown.get("VirtualMedia").is_none(), "{shown}");
    let request = Request { if_match: Some(tag), ..Request::default() };
    assert_eq!(bench.ask(Method::Patch, SYSTEM, r#"{"AssetTag": "x"}"#, request).status, 200);
}

#[test]
fn a_thing_is_one_by_whichever_of_its_uris_it_is_changed() {
    let thing = |path: &str| {
        let path = format!("/redfish/v1/{path}");
        let exchange = Exchange::new(&path, Method::Patch, Request::default(), Bench::new().about());
        exchange.unwrap_or_else(|answer| panic!("{path}: {}", answer.status)).thing()
    };
    for (one, other) in [
        ("Managers/bmc/VirtualMedia/cd", "Systems/system/VirtualMedia/cd"),
        ("Managers/bmc/LogServices/EventLog/Entries/ev1", "Systems/system/LogServices/SEL/Entries/ev1"),
        // Their light and tag.
        ("Systems/system", "Chassis/chassis"),
        // What is wished of its firmware, and the boot order.
        ("Systems/system", "Systems/system/Bios/Settings"),
        ("Systems/system/SecureBoot", "Systems/system/BootOptions/Boot0001"),
        ("Systems/system", "Systems/system/SecureBoot"),
        ("AccountService", "AccountService/"),
        // The name of the controller.
        ("Managers/bmc/NetworkProtocol", "Managers/bmc/EthernetInterfaces/eth0"),
        ("Managers/bmc/EthernetInterfaces/eth0", "Managers/bmc/EthernetInterfaces/eth1"),
    ] {
        assert_eq!(thing(one), thing(other));
    }
    for (one, other) in [
        ("Managers/bmc/VirtualMedia/cd", "Managers/bmc/VirtualMedia/usb"),
        ("AccountService/Accounts/a", "AccountService/Accounts/b"),
        ("AccountService/Accounts/cd", "Managers/bmc/VirtualMedia/cd"),
        ("Managers/bmc/NetworkProtocol", "AccountService"),
    ] {
        assert_ne!(thing(one), thing(other));
    }
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
    let mut bench = Bench::agreeing();
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
    idle.agree();
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
fn a_certificate_is_asked_for_and_replaced() {
    let mut bench = Bench::agreeing();
    let shown = bench.shown(&format!("{OF_HTTPS}/1"));
    assert_eq!((&shown["CertificateType"], &shown["Fingerprint"]), (&json!("PEMchain"), &json!("0a:0b")));
    assert_eq!(shown["Subject"]["CommonName"], "bmc.example");
    assert_eq!(shown["KeyUsage"], json!(["DigitalSignature", "ServerAuthentication"]));
    assert_eq!(bench.get(&format!("{OF_HTTPS}/2")).status, 404);

    let generate = "/redfish/v1/CertificateService/Actions/CertificateService.GenerateCSR";
    let body = json!({
        "CertificateCollection": {"@odata.id": OF_HTTPS}, "CommonName": "bmc.example", "Country": "XX",
        "AlternativeNames": ["bmc.example", "192.0.2.1"], "KeyPairAlgorithm": "TPM_ALG_ECDSA", "KeyCurveId": "TPM_ECC_NIST_P384",
    });
    let answer = bench.send(Method::Post, generate, &body);
    let expected = json!({"CSRString": "-----BEGIN CERTIFICATE REQUEST-----", "CertificateCollection": {"@odata.id": OF_HTTPS}});
    assert_eq!((answer.status, answer.value()), (200, &expected));
    let asked = v1::GenerateCsrRequest::decode(bench.called[0].request.as_slice()).unwrap();
    assert_eq!((asked.curve(), asked.alternative_names.len()), (v1::CertificateCurve::P384, 2));
    assert_eq!(asked.subject.unwrap().country, "XX");

    let replace = "/redfish/v1/CertificateService/Actions/CertificateService.ReplaceCertificate";
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let with = |uri: &str| json!({"CertificateUri": {"@odata.id": uri}, "CertificateString": pem, "CertificateType": "PEM"});
    bench.called.clear();
    let own = format!("{OF_HTTPS}/1");
    let answer = bench.send(Method::Post, replace, &with(&own));
    assert!(answer.status == 204 && answer.secret, "{answer:?}");
    let sent = v1::ReplaceCertificateRequest::decode(bench.called[0].request.as_slice()).unwrap();
    assert_eq!(sent.pem, pem);
    bench.called.clear();
    for uri in ["/redfish/v1/Managers/bmc", OF_HTTPS, &format!("{OF_HTTPS}/2")] {
        let answer = bench.send(Method::Post, replace, &with(uri));
        assert_eq!((answer.status, said(&answer).as_str()), (400, "ActionParameterValueNotInList"), "{uri}");
    }
    let answer = bench.send(Method::Post, generate, &json!({"CertificateCollection": {"@odata.id": "/x"}}));
    assert_eq!((answer.status, bench.called.len()), (400, 0));

    let why =
        Fault { reason: "CERTIFICATE_REFUSED".into(), ..Fault::new(Code::InvalidArgument, "it has expired") };
    bench.refuse("rpc.CertificateService.ReplaceCertificate", why);
    let answer = bench.send(Method::Post, replace, &with(&own));
    assert_eq!((answer.status, said(&answer).as_str()), (400, "UBmc.1.0.CertificateRefused"));
    assert!(answer.value()["error"]["message"].as_str().unwrap().contains("it has expired"));
}

#[test]
fn an_action_waits_for_nobody_who_only_knows_what_is_shown_beside() {
    for (path, asked) in [
        ("Systems/system/Actions/ComputerSystem.Reset", vec!["ListHosts"]),
        ("Systems/system/Bios/Actions/Bios.ResetBios", vec!["GetHostFirmware"]),
        ("Systems/system/SecureBoot/Actions/SecureBoot.ResetKeys", vec!["GetHostFirmware"]),
        ("Chassis/chassis/Actions/Chassis.Reset", vec!["ListChassis"]),
        (
            "Chassis/chassis/Controls/main/Actions/Control.ResetToDefaults",
            vec!["ListChassis", "ListThermalZones"],
        ),
        ("Managers/bmc/Actions/Manager.Reset", vec!["ListManagementControllers"]),
        ("Managers/bmc/Actions/Manager.ResetToDefaults", vec!["ListManagementControllers"]),
        ("Managers/bmc/VirtualMedia/cd/Actions/VirtualMedia.InsertMedia", vec!["ListMedia"]),
        ("Managers/bmc/VirtualMedia/cd/Actions/VirtualMedia.EjectMedia", vec!["ListMedia"]),
        ("Systems/system/VirtualMedia/cd/Actions/VirtualMedia.InsertMedia", vec!["ListMedia"]),
        ("Systems/system/VirtualMedia/cd/Actions/VirtualMedia.EjectMedia", vec!["ListMedia"]),
        ("EventService/Actions/EventService.SubmitTestEvent", vec![]),
        (
            "EventService/Subscriptions/sub-1/Actions/EventDestination.ResumeSubscription",
            vec!["ListEventSubscriptions"],
        ),
        ("Managers/bmc/LogServices/EventLog/Actions/LogService.ClearLog", vec!["ListManagementControllers"]),
        ("Systems/system/LogServices/SEL/Actions/LogService.ClearLog", vec!["ListHosts"]),
        ("CertificateService/Actions/CertificateService.GenerateCSR", vec![]),
        ("CertificateService/Actions/CertificateService.ReplaceCertificate", vec![]),
    ] {
        let action = path.rsplit('/').next().unwrap();
        let of = |resource: &&&redfish::Resource| resource.actions.iter().any(|one| one.name == action);
        let resource = redfish::resources::ALL.iter().find(of).unwrap();
        let mut bench = Bench::agreeing();
        let body = support::fitting_body(resource, Method::Post, Some(action));
        let answer = bench.send(Method::Post, &format!("/redfish/v1/{path}"), &body);
        // One that answers something says so, and one that does not use all that it takes.
        let says = ["CertificateService.GenerateCSR", "EventService.SubmitTestEvent"].contains(&action);
        let status = if says { 200 } else { 204 };
        assert_eq!(answer.status, status, "{path}");
        let methods: Vec<&str> = bench.asked.iter().map(|call| call.method.method).collect();
        assert_eq!(methods, asked, "{path}");
        assert_eq!(bench.called.len(), 1, "{path}");
    }
    let all = redfish::resources::ALL.iter().map(|resource| resource.actions.len()).sum::<usize>();
    // All but `SimpleUpdate`, for which nothing is asked of anybody, and `CollectDiagnosticData`, which is done beside.
    assert_eq!(all, 17 + 2, "an action more is a row more");
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
        // One of the Web UI looks the same: by which way it was made nobody has kept.
        assert!(answer.value().get("SessionType").is_none(), "{}", answer.value());
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
    let mut bench = Bench::agreeing();
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
    assert_eq!(calls, ["UpdateUser"], "it is one change");
    let asked = v1::UpdateUserRequest::decode(bench.called[0].request.as_slice()).unwrap();
    assert_eq!(asked.password.as_deref(), Some("another-secret"));
    let paths = asked.field_mask.unwrap().paths;
    assert_eq!(paths, ["role", "enabled", "password_change_required", "lockout_info.locked"]);
    let user = asked.user.unwrap();
    assert_eq!((user.role.as_str(), user.password_change_required), ("Operator", true));
    assert!(!format!("{:?}", bench.called).contains("another-secret"));

    // A password alone takes no right to manage accounts.
    bench.called.clear();
    for (name, body, required) in [
        ("rita", json!({"Password": "another-secret"}), false),
        ("rita", json!({"Password": "another-secret", "PasswordChangeRequired": true}), true),
        ("admin", json!({"Password": "another-secret", "PasswordChangeRequired": false}), false),
    ] {
        assert_eq!(bench.send(Method::Patch, &format!("{accounts}/{name}"), &body).status, 200, "{body}");
        let call = bench.called.pop().unwrap();
        assert_eq!((call.method.method, bench.called.len()), ("ResetPassword", 0), "{body}");
        let request = v1::ResetPasswordRequest::decode(call.request.as_slice()).unwrap();
        assert_eq!(
            (request.require_change, request.new_password.as_deref()),
            (Some(required), Some("another-secret")),
            "{body}"
        );
    }
    // One's own that must be changed all the same is a change of the account.
    let body = json!({"Password": "another-secret", "PasswordChangeRequired": true});
    assert_eq!(bench.send(Method::Patch, &format!("{accounts}/admin"), &body).status, 200);
    assert_eq!(bench.called.pop().unwrap().method.method, "UpdateUser");

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
    bench.agree();
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
    let all = v1::EventSubscription::default();
    let sent = redfish::resources::event_payload(&all, std::slice::from_ref(&event), "42", "7");
    assert_eq!((&sent["Id"], &sent["Context"]), (&json!("42"), &json!("7")));
    assert_eq!(sent["Events"][0]["MessageId"], "UBmc.1.0.EventWarning");
    assert_eq!(sent["Events"][0]["OriginOfCondition"]["@odata.id"], "/redfish/v1/Systems/system");
    assert!(sent["Events"][0].get("EventTimestamp").is_none());
}

/// What is said of a refused request: of each property its message and what is to be done.
fn refused(bench: &mut Bench, path: &str, body: &Value) -> Vec<[String; 3]> {
    let answer = bench.send(Method::Post, path, body);
    assert_eq!(answer.status, 400, "{body}");
    let messages = answer.value()["error"]["@Message.ExtendedInfo"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().replace("Base.1.22.", "");
    messages
        .map(|one| [text(&one["MessageId"]), text(&one["RelatedProperties"][0]), text(&one["Resolution"])])
        .collect()
}

#[test]
fn what_an_owner_says_is_wrong_is_told_of_the_property_with_his_reason() {
    let mut bench = Bench::agreeing();
    let new = json!({
        "Destination": "https://ann:hush@127.0.0.1:1/x",
        "Protocol": "Redfish",
        "HttpHeaders": [{"Host": "hush"}],
        "OriginResources": [{"@odata.id": "/redfish/v1/Systems/gone"}],
    });
    let of = |field: &str, why: &str| Fault {
        fields: vec![(field.to_owned(), why.to_owned())],
        ..Fault::new(Code::InvalidArgument, &format!("{field}: {why}"))
    };
    for (field, property, why) in [
        ("subscription.destination", "/Destination", "it is an address of the controller itself"),
        ("subscription.http_headers[0].name", "/HttpHeaders", "host is not taken"),
        ("subscription.origin_resources[0]", "/OriginResources", "it is no URI of a resource"),
    ] {
        bench.refuse("rpc.EventService.CreateEventSubscription", of(field, why));
        let said = refused(&mut bench, SUBSCRIPTIONS, &new);
        assert_eq!(said, [["PropertyValueIncorrect", property, why].map(str::to_owned)], "{field}");
        let answer = bench.send(Method::Post, SUBSCRIPTIONS, &new);
        assert!(!answer.value().to_string().contains("hush"), "{}", answer.value());
    }
    // All that are wrong are named at once.
    let field = |field: &str, why: &str| (field.to_owned(), why.to_owned());
    let fields =
        vec![field("subscription.destination", "a"), field("subscription.http_headers[0].name", "b")];
    let fault = Fault { fields, ..Fault::new(Code::InvalidArgument, "two are wrong") };
    bench.refuse("rpc.EventService.CreateEventSubscription", fault);
    let said = refused(&mut bench, SUBSCRIPTIONS, &new);
    let properties: Vec<&str> = said.iter().map(|[_, property, _]| property.as_str()).collect();
    assert_eq!(properties, ["/Destination", "/HttpHeaders"]);
    // Of what has no property here the reason is told all the same.
    bench.refuse("rpc.EventService.CreateEventSubscription", of("subscription.state", "no"));
    let said = refused(&mut bench, SUBSCRIPTIONS, &new);
    assert_eq!(said, [["GeneralError", "", "subscription.state: no"].map(str::to_owned)]);

    let insert = "/redfish/v1/Managers/bmc/VirtualMedia/cd/Actions/VirtualMedia.InsertMedia";
    for (image, why) in [
        ("http://a.example/b.iso", "plain HTTP is not allowed"),
        ("", "give where the image is"),
        ("https://ann:hush@a.example/b", "give the name and the password by themselves"),
    ] {
        let fields = [field("url", why), field("store_file", why)];
        // Without one it is said of both, which are one property here.
        let fields = if image.is_empty() { fields.to_vec() } else { fields[..1].to_vec() };
        let told = format!("it is refused: {why}");
        let fault = Fault { fields, ..Fault::new(Code::InvalidArgument, &told) };
        bench.refuse("rpc.MediaService.InsertMedia", fault);
        let said = refused(&mut bench, insert, &json!({"Image": image}));
        assert_eq!(said, [["ActionParameterValueError", "/Image", why].map(str::to_owned)], "{image}");
        let patched =
            bench.send(Method::Patch, "/redfish/v1/Managers/bmc/VirtualMedia/cd", &json!({"Image": image}));
        let answer = patched.value();
        assert_eq!(answer["error"]["code"], "Base.1.22.PropertyValueIncorrect");
        assert_eq!(answer["error"]["@Message.ExtendedInfo"][0]["Resolution"], why);
        assert!(!answer.to_string().contains("hush"), "{answer}");
    }
}

#[test]
fn fields_are_called_what_can_be_given() {
    // A collection and its members have the same.
    let family = |path: &'static str| path.strip_suffix("/{}").unwrap_or(path);
    for resource in redfish::resources::ALL {
        let mut given = Vec::new();
        for other in
            redfish::resources::ALL.iter().filter(|other| family(other.path) == family(resource.path))
        {
            let created = other.create.iter().flat_map(|create| create.properties);
            given.extend(created.map(|(property, _)| property.path));
            let parameters = other.actions.iter().flat_map(|action| action.parameters);
            given.extend(parameters.map(|parameter| parameter.property.path));
            let patched = other.patch.iter().flat_map(|patch| patch.properties);
            given.extend(patched.map(|property| property.path));
        }
        for (field, property) in resource.fields {
            assert!(given.contains(property), "{}: {field} is {property}", resource.path);
        }
        // What is made is told of by its properties.
        assert!(resource.create.is_none() || !resource.fields.is_empty(), "{}", resource.path);
    }
}

const SUBSCRIPTIONS: &str = "/redfish/v1/EventService/Subscriptions";

#[test]
fn a_subscription_is_made_of_what_a_client_asks_for_or_not_at_all() {
    let mut bench = Bench::agreeing();
    let made = v1::CreateEventSubscriptionResponse {
        subscription: Some(subscription("sub-1", v1::EventSubscriptionState::Active)),
    };
    bench.say("rpc.EventService.CreateEventSubscription", &made);
    let full = json!({
        "Destination": "https://collector.example/events", "Protocol": "Redfish", "Context": "rack 7",
        "SubscriptionType": "RedfishEvent", "EventFormatType": "Event", "EventTypes": ["Alert"], "RegistryPrefixes": ["UBmc"],
        "ResourceTypes": ["ComputerSystem"], "MessageIds": ["UBmc.1.0.EventWarning"],
        "OriginResources": [{"@odata.id": "/redfish/v1/Systems/system"}], "SubordinateResources": true,
        "DeliveryRetryPolicy": "RetryForeverWithBackoff", "VerifyCertificate": true,
    });
    let answer = bench.send(Method::Post, SUBSCRIPTIONS, &full);
    assert_eq!(
        (answer.status, answer.header("location")),
        (201, Some("/redfish/v1/EventService/Subscriptions/sub-1"))
    );
    // What is shown is what was asked for.
    for (name, value) in full.as_object().unwrap() {
        assert_eq!(&answer.value()[name], value, "{name}");
    }
    let call = bench.called.pop().unwrap();
    let asked =
        v1::CreateEventSubscriptionRequest::decode(call.request.as_slice()).unwrap().subscription.unwrap();
    let shown = v1::EventSubscription {
        id: String::new(),
        username: String::new(),
        sequence: 0,
        state: 0,
        ..subscription("", v1::EventSubscriptionState::Active)
    };
    assert_eq!(asked, shown);
    for (change, told) in [
        (json!({"Protocol": "FTP"}), "PropertyValueNotInList"),
        (json!({"SubscriptionType": "SNMPTrap"}), "PropertyValueNotInList"),
        (json!({"EventTypes": ["StatusChange"]}), "PropertyValueNotInList"),
        (json!({"EventTypes": ["Alert", "MetricReport"]}), "PropertyValueNotInList"),
        (json!({"EventTypes": "Alert"}), "PropertyValueTypeError"),
        (json!({"RegistryPrefixes": ["Base"]}), "PropertyValueNotInList"),
        (json!({"ResourceTypes": ["Fan"]}), "PropertyValueNotInList"),
        (json!({"MessageIds": ["UBmc.1.0.Nope"]}), "PropertyValueNotInList"),
        (json!({"OriginResources": ["/redfish/v1/Systems/system"]}), "PropertyValueFormatError"),
        (json!({"OriginResources": {"@odata.id": "/x"}}), "PropertyValueTypeError"),
        (json!({"OriginResources": [{"@odata.id": "/redfish/v1/Nope"}]}), "PropertyValueIncorrect"),
        (json!({"OriginResources": [{"@odata.id": "nope"}]}), "PropertyValueIncorrect"),
        (json!({"VerifyCertificate": "no"}), "PropertyValueTypeError"),
        (json!({"Destination": "x".repeat(513)}), "StringValueTooLong"),
        (json!({"HttpHeaders": "x"}), "PropertyValueTypeError"),
        (json!({"HttpHeaders": [1]}), "PropertyValueTypeError"),
        (json!({"SendHeartbeat": "yes"}), "PropertyValueTypeError"),
        (json!({"HeartbeatIntervalMinutes": "1"}), "PropertyValueTypeError"),
        (json!({"HeartbeatIntervalMinutes": 0}), "PropertyValueOutOfRange"),
        (json!({"HeartbeatIntervalMinutes": 65536}), "PropertyValueOutOfRange"),
    ] {
        let mut body = full.clone();
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = bench.send(Method::Post, SUBSCRIPTIONS, &body);
        assert_eq!((answer.status, said(&answer).as_str()), (400, told), "{change}");
    }
    let answer = bench.send(Method::Post, SUBSCRIPTIONS, &json!({"Context": "x"}));
    assert_eq!(said(&answer), "CreateFailedMissingReqProperties CreateFailedMissingReqProperties");
    assert!(bench.called.is_empty());
    let by = |name, role| {
        let mut bench = Bench::by(asker(name, role));
        bench.say("rpc.EventService.CreateEventSubscription", &made);
        bench.send(Method::Post, SUBSCRIPTIONS, &full).status
    };
    assert_eq!((by("rita", auth::Role::ReadOnly), by("olga", auth::Role::Operator)), (403, 201));
}

#[test]
fn heartbeats_are_asked_for_with_a_subscription_and_shown_with_it() {
    let mut bench = Bench::agreeing();
    let mut made = |more: Value| {
        bench.called.clear();
        let subscription = subscription("sub-1", v1::EventSubscriptionState::Active);
        let answer = v1::CreateEventSubscriptionResponse { subscription: Some(subscription) };
        bench.say("rpc.EventService.CreateEventSubscription", &answer);
        let mut body = json!({"Destination": "https://collector.example/events", "Protocol": "Redfish"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        assert_eq!(bench.send(Method::Post, SUBSCRIPTIONS, &body).status, 201, "{body}");
        let request = bench.called.pop().unwrap().request;
        v1::CreateEventSubscriptionRequest::decode(request.as_slice()).unwrap().subscription.unwrap()
    };
    let asked = made(json!({}));
    assert_eq!((asked.send_heartbeat, asked.heartbeat_interval_minutes), (None, 0));
    let asked = made(json!({
        "RegistryPrefixes": ["HeartbeatEvent", "ResourceEvent"], "SendHeartbeat": true, "HeartbeatIntervalMinutes": 5,
    }));
    assert_eq!((asked.send_heartbeat, asked.heartbeat_interval_minutes), (Some(true), 5));
    assert_eq!(asked.registry_prefixes, ["HeartbeatEvent", "ResourceEvent"]);

    let mut shown = |send_heartbeat, heartbeat_interval_minutes| {
        let sent = v1::EventSubscription {
            send_heartbeat,
            heartbeat_interval_minutes,
            ..subscription("sub-1", v1::EventSubscriptionState::Active)
        };
        let all = v1::ListEventSubscriptionsResponse { subscriptions: vec![sent], ..Default::default() };
        bench.say("rpc.EventService.ListEventSubscriptions", &all);
        let shown = bench.shown(&format!("{SUBSCRIPTIONS}/sub-1"));
        ["SendHeartbeat", "HeartbeatIntervalMinutes"].map(|name| shown[name].clone())
    };
    assert_eq!(shown(Some(true), 5), [json!(true), json!(5)]);
    assert_eq!(shown(None, 0), [json!(false), json!(60)], "what it is where nobody says");
}

#[test]
fn a_subscription_has_events_or_metric_reports_and_filters_of_its_own_kind_only() {
    let mut bench = Bench::agreeing();
    let of = |id: &str| format!("/redfish/v1/TelemetryService/MetricReportDefinitions/{id}");
    let links = |ids: &[&str]| ids.iter().map(|id| json!({"@odata.id": of(id)})).collect::<Vec<_>>();
    let mut post = |body: &Value| {
        bench.called.clear();
        let mut full = json!({"Destination": "https://collector.example/metrics", "Protocol": "Redfish"});
        full.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let answer = bench.send(Method::Post, SUBSCRIPTIONS, &full);
        let about = &answer.value()["error"]["@Message.ExtendedInfo"][0]["RelatedProperties"][0];
        let asked = bench.called.first().map(|call| {
            let request = v1::CreateEventSubscriptionRequest::decode(call.request.as_slice()).unwrap();
            let subscription = request.subscription.unwrap();
            (subscription.format(), subscription.metric_report_definitions)
        });
        (answer.status, said(&answer), about.as_str().unwrap_or_default().to_owned(), asked)
    };
    let made = |format, ids: &[&str]| {
        let definitions = ids.iter().map(|id| of(id)).collect::<Vec<_>>();
        (201, String::new(), String::new(), Some((format, definitions)))
    };
    let (event, report) = (v1::EventFormat::Event, v1::EventFormat::MetricReport);
    let taken: [(Value, v1::EventFormat, &[&str]); 6] = [
        (json!({}), event, &[]),
        (json!({"EventFormatType": "Event", "MetricReportDefinitions": []}), event, &[]),
        (json!({"EventFormatType": "MetricReport"}), report, &[]),
        (json!({"EventFormatType": "MetricReport", "MetricReportDefinitions": []}), report, &[]),
        (
            json!({"EventFormatType": "MetricReport", "MessageIds": [], "SubordinateResources": false}),
            report,
            &[],
        ),
        (
            json!({"EventFormatType": "MetricReport", "MetricReportDefinitions": links(&["Temperature", "Rotational/"])}),
            report,
            &["Temperature", "Rotational"],
        ),
    ];
    for (body, format, ids) in taken {
        assert_eq!(post(&body), made(format, ids), "{body}");
    }
    let reports = |more: Value| {
        let mut body = json!({"EventFormatType": "MetricReport"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (body, told, about) in [
        (json!({"EventFormatType": "Heartbeat"}), "PropertyValueNotInList", "EventFormatType"),
        (json!({"EventFormatType": null}), "PropertyValueTypeError", "EventFormatType"),
        (
            json!({"MetricReportDefinitions": links(&["Power"])}),
            "PropertyValueConflict",
            "MetricReportDefinitions",
        ),
        (reports(json!({"MessageIds": ["UBmc.1.0.EventOK"]})), "PropertyValueConflict", "MessageIds"),
        (reports(json!({"RegistryPrefixes": ["UBmc"]})), "PropertyValueConflict", "RegistryPrefixes"),
        (reports(json!({"ResourceTypes": ["Chassis"]})), "PropertyValueConflict", "ResourceTypes"),
        (
            reports(json!({"OriginResources": [{"@odata.id": "/redfish/v1/Systems/system"}]})),
            "PropertyValueConflict",
            "OriginResources",
        ),
        (reports(json!({"SubordinateResources": true})), "PropertyValueConflict", "SubordinateResources"),
        (reports(json!({"SendHeartbeat": true})), "PropertyValueConflict", "SendHeartbeat"),
        (
            reports(json!({"HeartbeatIntervalMinutes": 5})),
            "PropertyValueConflict",
            "HeartbeatIntervalMinutes",
        ),
        (
            reports(json!({"MetricReportDefinitions": [of("Power")]})),
            "PropertyValueFormatError",
            "MetricReportDefinitions",
        ),
        (
            reports(json!({"MetricReportDefinitions": links(&["Power"; 17])})),
            "ArraySizeTooLong",
            "MetricReportDefinitions",
        ),
        (
            reports(json!({"MetricReportDefinitions": links(&["Temperature", "Nope"])})),
            "PropertyValueNotInList",
            "MetricReportDefinitions",
        ),
        // There is such a report, and it is made when it is asked for only.
        (
            reports(json!({"MetricReportDefinitions": links(&["history-cpu0_temp"])})),
            "PropertyValueNotInList",
            "MetricReportDefinitions",
        ),
    ] {
        let refused = (400, told.to_owned(), format!("/{about}"), None);
        assert_eq!(post(&body), refused, "{body}");
    }
}

#[test]
fn definitions_are_subscribed_to_where_there_are_such_sensors_or_nobody_knows() {
    let mut bench = Bench::agreeing();
    bench.say("rpc.SensorService.ListSensors", &v1::ListSensorsResponse::default());
    let body = |id: &str| {
        let uri = format!("/redfish/v1/TelemetryService/MetricReportDefinitions/{id}");
        json!({
            "Destination": "https://collector.example/metrics", "Protocol": "Redfish", "EventFormatType": "MetricReport",
            "MetricReportDefinitions": [{"@odata.id": uri}],
        })
    };
    let answer = bench.send(Method::Post, SUBSCRIPTIONS, &body("Humidity"));
    assert_eq!((answer.status, said(&answer).as_str()), (400, "PropertyValueNotInList"));
    assert!(bench.called.is_empty());
    bench.refuse("rpc.SensorService.ListSensors", Fault::new(Code::Unavailable, "sensormon does not answer"));
    assert_eq!(bench.send(Method::Post, SUBSCRIPTIONS, &body("Humidity")).status, 201);
    assert_eq!(said(&bench.send(Method::Post, SUBSCRIPTIONS, &body("Nope"))), "PropertyValueNotInList");
}

#[test]
fn a_subscription_to_metric_reports_shows_what_it_is_for_and_that_cannot_be_changed() {
    let mut bench = Bench::agreeing();
    let definition = "/redfish/v1/TelemetryService/MetricReportDefinitions/Temperature";
    let mut show = |definitions: &[&str]| {
        let sent = v1::EventSubscription {
            id: "sub-1".into(),
            destination: "https://collector.example/metrics".into(),
            username: "admin".into(),
            format: v1::EventFormat::MetricReport.into(),
            metric_report_definitions: definitions.iter().map(|uri| (*uri).to_owned()).collect(),
            ..v1::EventSubscription::default()
        };
        let all = v1::ListEventSubscriptionsResponse { subscriptions: vec![sent], ..Default::default() };
        bench.say("rpc.EventService.ListEventSubscriptions", &all);
        let shown = bench.shown(&format!("{SUBSCRIPTIONS}/sub-1"));
        let change = json!({"EventFormatType": "Event"});
        let refused = bench.send(Method::Patch, &format!("{SUBSCRIPTIONS}/sub-1"), &change);
        assert_eq!((refused.status, said(&refused).as_str()), (400, "PropertyNotWritable"));
        let change = json!({"MetricReportDefinitions": []});
        let refused = bench.send(Method::Patch, &format!("{SUBSCRIPTIONS}/sub-1"), &change);
        assert_eq!((refused.status, said(&refused).as_str()), (400, "PropertyNotWritable"));
        for change in [json!({"SendHeartbeat": true}), json!({"HeartbeatIntervalMinutes": 5})] {
            let refused = bench.send(Method::Patch, &format!("{SUBSCRIPTIONS}/sub-1"), &change);
            assert_eq!((refused.status, said(&refused).as_str()), (400, "PropertyValueConflict"), "{change}");
        }
        let both = json!({"SendHeartbeat": true, "HeartbeatIntervalMinutes": 5});
        let refused = bench.send(Method::Patch, &format!("{SUBSCRIPTIONS}/sub-1"), &both);
        assert_eq!(said(&refused), "PropertyValueConflict PropertyValueConflict");
        assert!(bench.called.is_empty());
        shown
    };
    let some = show(&[definition]);
    assert_eq!(some["EventFormatType"], "MetricReport");
    assert_eq!(some["SubscriptionType"], "RedfishEvent");
    assert_eq!(some["MetricReportDefinitions"], json!([{"@odata.id": definition}]));
    for of_events in [
        "RegistryPrefixes",
        "ResourceTypes",
        "MessageIds",
        "OriginResources",
        "SubordinateResources",
        "SendHeartbeat",
        "HeartbeatIntervalMinutes",
    ] {
        assert!(some.get(of_events).is_none(), "{of_events}");
    }
    assert_eq!(show(&[])["MetricReportDefinitions"], json!([]), "all");
}

#[test]
fn a_subscription_is_changed_resumed_and_ended_by_its_owner() {
    let mut bench = Bench::agreeing();
    for method in ["rpc.EventService.UpdateEventSubscription", "rpc.EventService.DeleteEventSubscription"] {
        bench.say(method, &v1::UpdateEventSubscriptionResponse::default());
    }
    let path = &format!("{SUBSCRIPTIONS}/sub-1");
    let mut change = |body: Value| {
        bench.called.clear();
        let answer = bench.send(Method::Patch, path, &body);
        let paths = bench.called.iter().map(|call| {
            let request = v1::UpdateEventSubscriptionRequest::decode(call.request.as_slice()).unwrap();
            request.field_mask.unwrap().paths.join("+")
        });
        (answer.status, said(&answer), paths.collect::<Vec<_>>().join(" "))
    };
    let ok = |paths: &str| (200, String::new(), paths.to_owned());
    assert_eq!(
        change(json!({"Context": "new", "DeliveryRetryPolicy": "RetryForever"})),
        ok("context retry_policy")
    );
    assert_eq!(change(json!({"Context": null})), ok("context"));
    assert_eq!(change(json!({"VerifyCertificate": false})), ok("verify_certificate"));
    // Both of them are one change, and each can be changed alone.
    assert_eq!(
        change(json!({"SendHeartbeat": true, "HeartbeatIntervalMinutes": 5})),
        ok("heartbeat_interval_minutes+send_heartbeat")
    );
    assert_eq!(change(json!({"SendHeartbeat": true})), ok("send_heartbeat"));
    assert_eq!(change(json!({"HeartbeatIntervalMinutes": 5.0})), ok("heartbeat_interval_minutes"));
    // Where one of the two cannot be, the other is not changed either; what else is said is.
    for (beats, told) in [
        (
            json!({"SendHeartbeat": true, "HeartbeatIntervalMinutes": 0}),
            "PropertyValueOutOfRange PropertyValueConflict",
        ),
        (
            json!({"SendHeartbeat": true, "HeartbeatIntervalMinutes": null}),
            "PropertyValueTypeError PropertyValueConflict",
        ),
        (
            json!({"SendHeartbeat": "yes", "HeartbeatIntervalMinutes": 5}),
            "PropertyValueTypeError PropertyValueConflict",
        ),
    ] {
        assert_eq!(change(beats.clone()), (400, told.to_owned(), String::new()), "{beats}");
        let mut both = beats;
        both["Context"] = json!("new");
        let (status, _, paths) = change(both);
        assert_eq!((status, paths.as_str()), (200, "context"));
    }
    assert_eq!(
        change(json!({"HeartbeatIntervalMinutes": 70_000})),
        (400, "PropertyValueOutOfRange".into(), String::new())
    );
    assert_eq!(
        change(json!({"Destination": "https://other/"})),
        (400, "PropertyNotWritable".into(), String::new())
    );
    let answer =
        bench.send(Method::Post, &format!("{path}/Actions/EventDestination.ResumeSubscription"), &json!({}));
    assert_eq!(answer.status, 204);
    // A stream is none that could be resumed, or changed.
    let stream = format!("{SUBSCRIPTIONS}/7");
    let resume = format!("{stream}/Actions/EventDestination.ResumeSubscription");
    assert_eq!(said(&bench.send(Method::Post, &resume, &json!({}))), "ActionNotSupported");
    let shows = |bench: &mut Bench, path: &str| {
        bench.shown(path)["Actions"].get("#EventDestination.ResumeSubscription").is_some()
    };
    assert_eq!((shows(&mut bench, path), shows(&mut bench, &stream)), (true, false));
    assert_eq!(said(&bench.send(Method::Patch, &stream, &json!({"Context": "x"}))), "PropertyNotWritable");
    let beats = json!({"SendHeartbeat": true, "HeartbeatIntervalMinutes": 5});
    let refused = bench.send(Method::Patch, &stream, &beats);
    let told = refused.value()["error"]["@Message.ExtendedInfo"].as_array().unwrap().clone();
    let told: Vec<&Value> = told.iter().map(|message| &message["MessageArgs"][0]).collect();
    assert_eq!(said(&refused), "PropertyNotWritable PropertyNotWritable");
    assert_eq!(told, ["HeartbeatIntervalMinutes", "SendHeartbeat"]);
    // What the owner refuses of the two is told of the one that is wrong.
    let why = "65535 at most";
    let wrong = Fault {
        fields: vec![("subscription.heartbeat_interval_minutes".to_owned(), why.to_owned())],
        ..Fault::new(Code::InvalidArgument, why)
    };
    bench.refuse("rpc.EventService.UpdateEventSubscription", wrong);
    let refused = bench.send(Method::Patch, path, &beats);
    let told = refused.value()["error"]["@Message.ExtendedInfo"].as_array().unwrap();
    assert_eq!((refused.status, told.len(), &told[0]["Resolution"]), (400, 2, &json!(why)), "{told:?}");
    assert_eq!(told[1]["MessageId"], "Base.1.22.PropertyValueConflict");
    assert_eq!(told[1]["MessageArgs"], json!(["SendHeartbeat", "HeartbeatIntervalMinutes"]));
    assert_eq!(bench.send(Method::Delete, path, &json!({})).status, 204);
    assert_eq!(bench.called.last().unwrap().method.method, "DeleteEventSubscription");
    assert_eq!(bench.send(Method::Delete, &format!("{SUBSCRIPTIONS}/sub-2"), &json!({})).status, 404);
}

#[test]
fn a_dead_destination_is_seen() {
    let mut bench = Bench::agreeing();
    let mut status = |state| {
        let subscriptions = vec![subscription("sub-1", state)];
        let all = v1::ListEventSubscriptionsResponse {
            subscriptions,
            ..v1::ListEventSubscriptionsResponse::default()
        };
        bench.say("rpc.EventService.ListEventSubscriptions", &all);
        let shown = bench.get(&format!("{SUBSCRIPTIONS}/sub-1"));
        let description = shown.value()["Description"].as_str().unwrap_or_default().to_owned();
        (shown.value()["Status"].clone(), description)
    };
    let failed = "1 failed attempts; the last: it answered 500".to_owned();
    assert_eq!(
        status(v1::EventSubscriptionState::Active),
        (json!({"State": "Enabled", "Health": "OK"}), String::new())
    );
    assert_eq!(
        status(v1::EventSubscriptionState::Retrying),
        (json!({"State": "Enabled", "Health": "Warning"}), failed.clone())
    );
    assert_eq!(
        status(v1::EventSubscriptionState::Suspended),
        (json!({"State": "Disabled", "Health": "Critical"}), failed)
    );
}

#[test]
fn a_test_event_is_of_a_message_that_is_sent() {
    let mut bench = Bench::agreeing();
    bench.say("rpc.EventService.SendTestEvent", &v1::SendTestEventResponse::default());
    let target = "/redfish/v1/EventService/Actions/EventService.SubmitTestEvent";
    let answer =
        bench.send(Method::Post, target, &json!({"MessageId": "UBmc.1.0.EventCritical", "Message": "x"}));
    assert_eq!(answer.status, 204);
    let request = v1::SendTestEventRequest::decode(bench.called.pop().unwrap().request.as_slice()).unwrap();
    assert_eq!((request.severity(), request.message.as_str()), (v1::EventSeverity::Critical, "x"));
    let answer = bench.send(Method::Post, target, &json!({"MessageId": "Base.1.0.Success"}));
    assert_eq!((answer.status, said(&answer).as_str()), (400, "ActionParameterValueNotInList"));
}

#[test]
fn a_query_does_not_go_with_a_change() {
    let mut bench = Bench::agreeing();
    for query in ["$select=Name", "$unknown=1", "$top=x"] {
        let answer = bench.send(Method::Patch, &format!("{SYSTEM}?{query}"), &json!({"AssetTag": "x"}));
        assert_eq!((answer.status, said(&answer).as_str()), (400, "QueryNotSupportedOnOperation"), "{query}");
    }
}

#[test]
fn whoever_brings_firmware_is_told_that_nothing_takes_it() {
    let mut bench = Bench::agreeing();
    let service = "/redfish/v1/UpdateService";
    let shown = bench.shown(service);
    assert_eq!(shown["ServiceEnabled"], false);
    let push = shown["MultipartHttpPushUri"].as_str().unwrap().to_owned();
    let simple = shown["Actions"]["#UpdateService.SimpleUpdate"]["target"].as_str().unwrap().to_owned();
    let image = json!({"ImageURI": "https://files.example/image", "TransferProtocol": "HTTPS"});
    for (path, body) in [(&push, &Value::Null), (&simple, &image)] {
        let answer = bench.send(Method::Post, path, body);
        assert_eq!((answer.status, said(&answer).as_str()), (409, "ServiceDisabled"), "{path}");
    }
    let answer = bench.send(Method::Post, &simple, &json!({"TransferProtocol": "TFTP"}));
    assert_eq!(answer.status, 400);
    assert!(said(&answer).contains("ActionParameterMissing"), "{}", said(&answer));
    assert_eq!(bench.get(&push).status, 405);
    assert!(bench.called.is_empty());
}
