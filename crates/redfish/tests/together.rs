//! What a PATCH gives of properties that count together only: all of it is asked for, or none, and each is told.

mod support;

use prost::Message as _;
use redfish::{Exchange, Fault, Method, Request};
use schema::Code;
use schema::v1alpha1 as v1;
use serde_json::{Value, json};
use support::{Bench, asker};

const SYSTEM: &str = "/redfish/v1/Systems/system";
const PROTOCOL: &str = "/redfish/v1/Managers/bmc/NetworkProtocol";
const ETH0: &str = "/redfish/v1/Managers/bmc/EthernetInterfaces/eth0";
const CD: &str = "/redfish/v1/Managers/bmc/VirtualMedia/cd";
const ACCOUNT: &str = "/redfish/v1/AccountService/Accounts/olga";
const POLICY: &str = "/redfish/v1/AccountService";
const SENT: &str = "/redfish/v1/EventService/Subscriptions/sub-1";

const CONFLICT: &str = "PropertyValueConflict";

/// The status, and of each message its place and id, by place.
fn send(bench: &mut Bench, path: &str, body: &Value) -> (u16, Vec<(String, String)>) {
    bench.called.clear();
    let answer = bench.send(Method::Patch, path, body);
    let value = answer.value();
    let list = value.pointer("/error/@Message.ExtendedInfo").unwrap_or(&value["@Message.ExtendedInfo"]);
    let messages = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut said: Vec<(String, String)> = messages
        .iter()
        .map(|message| {
            let places = message["RelatedProperties"].as_array().unwrap();
            assert_eq!(places.len(), 1, "{message}");
            let id = message["MessageId"].as_str().unwrap().replace("Base.1.22.", "");
            (places[0].as_str().unwrap().to_owned(), id)
        })
        .collect();
    said.sort();
    (answer.status, said)
}

fn methods(bench: &Bench) -> Vec<&'static str> {
    bench.called.iter().map(|call| call.method.method).collect()
}

#[test]
fn where_one_of_a_group_cannot_be_none_of_it_is_asked_for() {
    let url = "https://images.example/a.iso";
    type Said = &'static [(&'static str, &'static str)];
    let rows: &[(&str, Value, Said)] = &[
        (
            SYSTEM,
            json!({"Boot": {"BootSourceOverrideTarget": "Hddd", "BootSourceOverrideEnabled": "Continuous"}}),
            &[
                ("/Boot/BootSourceOverrideEnabled", CONFLICT),
                ("/Boot/BootSourceOverrideTarget", "PropertyValueNotInList"),
            ],
        ),
        (
            SYSTEM,
            json!({"Boot": {"BootSourceOverrideTarget": "Cd", "BootSourceOverrideEnabled": "Nope"}}),
            &[
                ("/Boot/BootSourceOverrideEnabled", "PropertyValueNotInList"),
                ("/Boot/BootSourceOverrideTarget", CONFLICT),
            ],
        ),
        (
            SYSTEM,
            json!({"Boot": {"BootSourceOverrideTarget": "UefiHttp", "HttpBootUri": 5, "BootSourceOverrideMode": "UEFI"}}),
            &[
                ("/Boot/BootSourceOverrideMode", CONFLICT),
                ("/Boot/BootSourceOverrideTarget", CONFLICT),
                ("/Boot/HttpBootUri", "PropertyValueTypeError"),
            ],
        ),
        (
            PROTOCOL,
            json!({"SSH": {"ProtocolEnabled": true, "Port": 65536}}),
            &[("/SSH/Port", "PropertyValueOutOfRange"), ("/SSH/ProtocolEnabled", CONFLICT)],
        ),
        (
            PROTOCOL,
            json!({"IPMI": {"ProtocolEnabled": true, "Port": 0}}),
            &[("/IPMI/Port", "PropertyValueOutOfRange"), ("/IPMI/ProtocolEnabled", CONFLICT)],
        ),
        (
            PROTOCOL,
            json!({"NTP": {"ProtocolEnabled": true, "NTPServers": ["a", "b", "c", "d", "e"]}}),
            &[("/NTP/NTPServers", "ArraySizeTooLong"), ("/NTP/ProtocolEnabled", CONFLICT)],
        ),
        // What cannot be written is wanted with the others.
        (
            PROTOCOL,
            json!({"NTP": {"ProtocolEnabled": true, "Port": 1230}}),
            &[("/NTP/Port", "PropertyNotWritable"), ("/NTP/ProtocolEnabled", CONFLICT)],
        ),
        (
            PROTOCOL,
            json!({"HTTP": {"ProtocolEnabled": false, "Port": 8080}}),
            &[("/HTTP/Port", "PropertyNotWritable"), ("/HTTP/ProtocolEnabled", CONFLICT)],
        ),
        (
            CD,
            json!({"Image": url, "UserName": 5, "WriteProtected": "no"}),
            &[
                ("/Image", CONFLICT),
                ("/UserName", "PropertyValueTypeError"),
                ("/WriteProtected", "PropertyValueTypeError"),
            ],
        ),
        (
            CD,
            json!({"Image": url, "VerifyCertificate": "yes"}),
            &[("/Image", CONFLICT), ("/VerifyCertificate", "PropertyValueTypeError")],
        ),
        (CD, json!({"Image": url, "Inserted": false}), &[("/Image", CONFLICT), ("/Inserted", CONFLICT)]),
        (
            ETH0,
            json!({"DHCPv4": {"DHCPEnabled": false}, "IPv4StaticAddresses": [{"Address": 5}]}),
            &[("/DHCPv4/DHCPEnabled", CONFLICT), ("/IPv4StaticAddresses", "PropertyValueTypeError")],
        ),
        // In form it is right, and no address all the same.
        (
            ETH0,
            json!({"DHCPv4": {"DHCPEnabled": false}, "IPv4StaticAddresses": [{"Address": "192.0.2"}], "StaticNameServers": []}),
            &[
                ("/DHCPv4/DHCPEnabled", CONFLICT),
                ("/IPv4StaticAddresses", "PropertyValueFormatError"),
                ("/StaticNameServers", CONFLICT),
            ],
        ),
        (
            ETH0,
            json!({"HostName": "bmc-9", "FQDN": 5}),
            &[("/FQDN", "PropertyValueTypeError"), ("/HostName", CONFLICT)],
        ),
        // As clients make accounts where a service has a fixed number of them.
        (
            ACCOUNT,
            json!({"UserName": "nina", "Password": "secret-enough", "RoleId": "Administrator"}),
            &[("/Password", CONFLICT), ("/RoleId", CONFLICT), ("/UserName", "PropertyNotWritable")],
        ),
        (
            ACCOUNT,
            json!({"Enabled": true, "AccountExpiration": "tomorrow"}),
            &[("/AccountExpiration", "PropertyValueFormatError"), ("/Enabled", CONFLICT)],
        ),
        (
            POLICY,
            json!({"AccountLockoutThreshold": 100, "AccountLockoutDuration": 0}),
            &[("/AccountLockoutDuration", "PropertyValueOutOfRange"), ("/AccountLockoutThreshold", CONFLICT)],
        ),
        (
            SENT,
            json!({"VerifyCertificate": 1, "HttpHeaders": [{"X-Token": "hush"}]}),
            &[("/HttpHeaders", CONFLICT), ("/VerifyCertificate", "PropertyValueTypeError")],
        ),
    ];
    let mut bench = Bench::agreeing();
    for (path, body, said) in rows {
        let expected: Vec<(String, String)> =
            said.iter().map(|(at, id)| ((*at).to_owned(), (*id).to_owned())).collect();
        assert_eq!(send(&mut bench, path, body), (400, expected), "{path} {body}");
        assert_eq!(methods(&bench), [""; 0], "{path} {body}");
    }
}

#[test]
fn what_is_beside_a_group_is_done_and_what_is_sent_back_as_it_is_shown_spoils_none() {
    let mut bench = Bench::agreeing();
    let boot = json!({"BootSourceOverrideTarget": "Cd", "BootSourceOverrideEnabled": "Nope"});
    let (status, said) = send(&mut bench, SYSTEM, &json!({"AssetTag": "x", "Boot": boot}));
    assert_eq!((status, said.len(), methods(&bench)), (200, 2, vec!["SetAssetInfo"]));
    let addresses = json!([{"Address": "192.0.2"}]);
    let body = json!({"HostName": "bmc-9", "IPv4StaticAddresses": addresses, "StaticNameServers": []});
    let (status, said) = send(&mut bench, ETH0, &body);
    assert_eq!((status, said.len(), methods(&bench)), (200, 2, vec!["ChangeNetwork"]));
    let asked = v1::ChangeNetworkRequest::decode(bench.called[0].request.as_slice()).unwrap();
    assert_eq!((asked.host_name.as_deref(), asked.name_servers), (Some("bmc-9"), None));
    // Read-only, and as it is.
    let body = json!({"UserName": "olga", "Password": null, "RoleId": "ReadOnly"});
    let (status, said) = send(&mut bench, ACCOUNT, &body);
    assert_eq!((status, said.len(), methods(&bench)), (200, 2, vec!["UpdateUser"]));
    let (status, _) = send(&mut bench, PROTOCOL, &json!({"NTP": {"ProtocolEnabled": false, "Port": 123}}));
    assert_eq!((status, methods(&bench)), (200, vec!["ChangeNetwork"]));
}

#[test]
fn what_an_owner_refuses_leaves_out_what_counts_with_it() {
    let mut bench = Bench::agreeing();
    let weak = Fault {
        reason: "WEAK_PASSWORD".into(),
        fields: vec![("password".to_owned(), "too short".to_owned())],
        ..Fault::new(Code::InvalidArgument, "too short")
    };
    bench.refuse("rpc.UserService.UpdateUser", weak);
    let body = json!({"Password": "short", "RoleId": "Administrator", "Enabled": true});
    let (status, said) = send(&mut bench, ACCOUNT, &body);
    let said: Vec<_> = said.iter().map(|(at, id)| (at.as_str(), id.as_str())).collect();
    assert_eq!(status, 400);
    assert_eq!(
        said,
        [("/Enabled", CONFLICT), ("/Password", "PasswordComplexityNotMet"), ("/RoleId", CONFLICT)]
    );
    assert_eq!(methods(&bench), ["UpdateUser"], "all of it is one call");
}

#[test]
fn of_one_change_what_its_owner_says_is_wrong_is_told_and_the_rest_is_bound_to_it() {
    let mut bench = Bench::agreeing();
    let why = "there is no role Nope";
    let wrong = Fault {
        fields: vec![("user.role".to_owned(), why.to_owned())],
        ..Fault::new(Code::InvalidArgument, "user.role: there is no role Nope")
    };
    bench.refuse("rpc.UserService.UpdateUser", wrong);
    let body = json!({"RoleId": "Nope", "Enabled": true});
    let answer = bench.send(Method::Patch, ACCOUNT, &body);
    let said = &answer.value()["error"]["@Message.ExtendedInfo"];
    let told = |id: &str| {
        let mut all = said.as_array().unwrap().iter();
        let found = all.find(|one| one["MessageId"] == format!("Base.1.22.{id}")).unwrap();
        (found["RelatedProperties"][0].clone(), found["Resolution"].clone())
    };
    assert_eq!(answer.status, 400);
    assert_eq!(told("PropertyValueIncorrect"), (json!("/RoleId"), json!(why)));
    assert_eq!(told(CONFLICT), (json!("/Enabled"), json!("None.")));
    // What may not be is told with the reason.
    for (reason, code, status) in
        [("OWN_ACCOUNT", Code::PermissionDenied, 403), ("LAST_ADMINISTRATOR", Code::FailedPrecondition, 409)]
    {
        let fault = Fault { reason: reason.into(), ..Fault::new(code, "by another administrator") };
        bench.refuse("rpc.UserService.UpdateUser", fault.clone());
        bench.refuse("rpc.UserService.DeleteUser", fault);
        for (method, body, id) in [
            (Method::Patch, json!({"Enabled": false}), "PropertyValueIncorrect"),
            (Method::Patch, json!({"RoleId": "ReadOnly"}), "PropertyValueIncorrect"),
            (Method::Delete, json!({}), "ResourceCannotBeDeleted"),
        ] {
            let answer = bench.send(method, ACCOUNT, &body);
            let told = &answer.value()["error"]["@Message.ExtendedInfo"][0];
            assert_eq!(answer.status, status, "{reason} {body}");
            assert_eq!(told["MessageId"], format!("Base.1.22.{id}"), "{reason} {body}");
            assert_eq!(told["Resolution"], "by another administrator", "{reason} {body}");
        }
    }
}

#[test]
fn what_is_there_already_is_told_with_its_type_its_property_and_its_value() {
    let mut bench = Bench::agreeing();
    let account = json!({"UserName": "olga", "Password": "secret-enough", "RoleId": "ReadOnly"});
    let role = json!({"RoleId": "night", "AssignedPrivileges": ["Login"]});
    for (call, reason, path, body, args) in [
        (
            "rpc.UserService.CreateUser",
            "USER_NAME_TAKEN",
            "/redfish/v1/AccountService/Accounts",
            account,
            ["ManagerAccount", "UserName", "olga"],
        ),
        (
            "rpc.RoleService.CreateRole",
            "ROLE_NAME_TAKEN",
            "/redfish/v1/AccountService/Roles",
            role,
            ["Role", "RoleId", "night"],
        ),
    ] {
        let fault = Fault { reason: reason.into(), ..Fault::new(Code::AlreadyExists, "the name is taken") };
        bench.refuse(call, fault);
        let answer = bench.send(Method::Post, path, &body);
        let told = &answer.value()["error"]["@Message.ExtendedInfo"][0];
        assert_eq!((answer.status, &told["MessageArgs"]), (409, &json!(args)), "{path}");
        assert_eq!(told["MessageId"], "Base.1.22.ResourceAlreadyExists");
        assert_eq!(told["RelatedProperties"], json!([format!("/{}", args[1])]));
    }
}

#[test]
fn whether_the_next_server_is_verified_is_shown_to_each_account_as_it_is_for_it() {
    let about = |name: &str| {
        let mut bench = Bench::by(asker(name, auth::Role::Administrator));
        let empty = v1::MediaSlot {
            name: "cd".into(),
            host_name: "system".into(),
            state: v1::MediaState::Empty.into(),
            username: "admin".into(),
            ..v1::MediaSlot::default()
        };
        let all = v1::ListMediaResponse { slots: vec![empty], ..Default::default() };
        bench.say("rpc.MediaService.ListMedia", &all);
        let shown = bench.shown(CD)["VerifyCertificate"].clone();
        let key = |path: &str| {
            let exchange = Exchange::new(path, Method::Get, Request::default(), bench.about()).unwrap();
            exchange.shared_as().unwrap()
        };
        (shown, key("/redfish/v1/Systems/system/VirtualMedia/cd"), key(SYSTEM))
    };
    let ((own, of_admin, system), (other, of_olga, same)) = (about("admin"), about("olga"));
    assert_eq!((own, other), (json!(false), json!(true)));
    assert_ne!(of_admin, of_olga, "an answer that differs is kept for nobody else");
    assert_eq!(system, same);
}

#[test]
fn an_image_is_inserted_by_one_call_with_all_that_is_said_of_it() {
    let mut bench = Bench::agreeing();
    let body = json!({
        "Image": "images.example/a.iso",
        "TransferProtocolType": "HTTPS",
        "TransferMethod": "Upload",
        "UserName": "ann",
        "Password": "hush",
        "WriteProtected": false,
        "Inserted": true,
        "VerifyCertificate": false,
    });
    let answer = bench.send(Method::Patch, CD, &body);
    assert!(answer.status == 200 && answer.secret && !answer.value().to_string().contains("hush"));
    assert_eq!(methods(&bench), ["InsertMedia"]);
    let asked = v1::InsertMediaRequest::decode(bench.called[0].request.as_slice()).unwrap();
    let expected = v1::InsertMediaRequest {
        name: "cd".into(),
        url: "https://images.example/a.iso".into(),
        writable: true,
        verify_certificate: Some(false),
        source_username: "ann".into(),
        source_password: "hush".into(),
        copy: true,
        ..Default::default()
    };
    assert_eq!(asked, expected);
    // A drive without a medium, sent back as it was read but for one of its properties.
    let empty = v1::MediaSlot {
        name: "cd".into(),
        host_name: "system".into(),
        state: v1::MediaState::Empty.into(),
        verify_certificate: true,
        ..v1::MediaSlot::default()
    };
    bench.say(
        "rpc.MediaService.ListMedia",
        &v1::ListMediaResponse { slots: vec![empty], ..Default::default() },
    );
    let body = json!({"Inserted": false, "WriteProtected": true, "VerifyCertificate": false});
    assert_eq!(send(&mut bench, CD, &body), (200, Vec::new()));
    assert_eq!(methods(&bench), ["ConfigureMedia"]);
}
