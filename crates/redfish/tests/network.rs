//! Interfaces of the controller as clients change them, in the ways they do.

mod support;

use prost::Message as _;
use redfish::{Fault, Method};
use schema::Code;
use schema::v1alpha1 as v1;
use serde_json::{Value, json};
use support::{Bench, network, said};

const ETH0: &str = "/redfish/v1/Managers/bmc/EthernetInterfaces/eth0";

/// What one PATCH asks netmgr for; none where it is asked for nothing.
fn asked(body: &Value) -> Result<Option<v1::ChangeNetworkRequest>, String> {
    let mut bench = Bench::agreeing();
    let answer = bench.send(Method::Patch, ETH0, body);
    if answer.status != 200 {
        return Err(format!("{} {}", answer.status, said(&answer)));
    }
    assert!(bench.called.len() <= 1, "{body}: {:?}", bench.called);
    Ok(bench.called.first().map(|call| {
        assert_eq!(call.method.method, "ChangeNetwork");
        v1::ChangeNetworkRequest::decode(call.request.as_slice()).unwrap()
    }))
}

fn fixed4(address: &str, gateway: &str) -> Option<v1::FixedIpv4> {
    Some(v1::FixedIpv4 { address: address.into(), gateway: gateway.into() })
}

#[test]
fn an_address_is_asked_for_as_clients_do() {
    let full = json!({"Address": "192.0.2.9", "SubnetMask": "255.255.255.0", "Gateway": "192.0.2.1"});
    for (body, dhcp4, expected) in [
        (json!({"DHCPv4": {"DHCPEnabled": true}}), true, None),
        // The address that is there stays.
        (json!({"DHCPv4": {"DHCPEnabled": false}}), false, fixed4("192.0.2.5/24", "192.0.2.1")),
        (json!({"IPv4StaticAddresses": [full]}), false, fixed4("192.0.2.9/24", "192.0.2.1")),
        (
            json!({"DHCPv4": {"DHCPEnabled": false}, "IPv4StaticAddresses": [full, {}, null]}),
            false,
            fixed4("192.0.2.9/24", "192.0.2.1"),
        ),
        // A place that nothing is shown in is left as it is, and the next is filled.
        (json!({"IPv4StaticAddresses": [{}, full]}), false, fixed4("192.0.2.9/24", "192.0.2.1")),
        // As it is, which is in the other list as well.
        (
            json!({"IPv4StaticAddresses": [{}], "IPv4Addresses": [full]}),
            false,
            fixed4("192.0.2.9/24", "192.0.2.1"),
        ),
        (
            json!({"DHCPv4": {"DHCPEnabled": false}, "IPv4StaticAddresses": [{}]}),
            false,
            fixed4("192.0.2.5/24", "192.0.2.1"),
        ),
        // As it is shown.
        (json!({"IPv4StaticAddresses": []}), false, None),
        (json!({"IPv4StaticAddresses": [null]}), true, None),
        // As older clients have it.
        (json!({"IPv4Addresses": [full]}), false, fixed4("192.0.2.9/24", "192.0.2.1")),
        (json!({"IPv4Addresses": [{"AddressOrigin": "DHCP"}]}), true, None),
        (json!({"IPv4StaticAddresses": [{"AddressOrigin": "DHCP"}]}), true, None),
        // What is left out is as it was, a router of another network is not.
        (
            json!({"IPv4StaticAddresses": [{"Address": "192.0.2.9"}]}),
            false,
            fixed4("192.0.2.9/24", "192.0.2.1"),
        ),
        (json!({"IPv4StaticAddresses": [{"Address": "203.0.113.9"}]}), false, fixed4("203.0.113.9/24", "")),
        (
            json!({"IPv4StaticAddresses": [{"Address": "192.0.2.9", "Gateway": null}]}),
            false,
            fixed4("192.0.2.9/24", ""),
        ),
    ] {
        let request = asked(&body).unwrap().unwrap();
        assert_eq!((request.dhcp4, request.fixed4), (dhcp4, expected), "{body}");
        assert_eq!((request.interface.as_str(), request.host_name), ("eth0", None));
    }
    for (body, expected) in [
        (
            json!({"DHCPv4": {"DHCPEnabled": true}, "IPv4StaticAddresses": [full]}),
            "PropertyValueConflict PropertyValueConflict",
        ),
        (
            json!({"DHCPv4": {"DHCPEnabled": false}, "IPv4StaticAddresses": [{"AddressOrigin": "DHCP"}]}),
            "PropertyValueConflict PropertyValueConflict",
        ),
        (json!({"IPv4StaticAddresses": [full, full]}), "ArraySizeTooLong"),
        (json!({"IPv4StaticAddresses": [{"Address": "192.0.2"}]}), "PropertyValueFormatError"),
        (
            json!({"IPv4StaticAddresses": [{"Address": "192.0.2.9", "SubnetMask": "255.0.255.0"}]}),
            "PropertyValueFormatError",
        ),
    ] {
        assert_eq!(asked(&body), Err(format!("400 {expected}")), "{body}");
    }
}

#[test]
fn an_empty_object_leaves_the_address_as_it_is() {
    let with_fixed = |body: &Value| {
        let mut bench = Bench::agreeing();
        let mut all = network();
        all.interfaces[0].fixed4 = fixed4("192.0.2.9/24", "192.0.2.1");
        all.interfaces[0].dhcp4 = false;
        bench.say("rpc.NetworkService.ListNetworkInterfaces", &all);
        let answer = bench.send(Method::Patch, ETH0, body);
        let asked = bench.called.first().map(|call| {
            let request = v1::ChangeNetworkRequest::decode(call.request.as_slice()).unwrap();
            (request.dhcp4, request.fixed4)
        });
        (answer.status, said(&answer), asked)
    };
    let ok = |dhcp4, fixed4| (200, String::new(), Some((dhcp4, fixed4)));
    for list in [json!([{}]), json!([{}, null]), json!([{}, {}, {}])] {
        for name in ["IPv4StaticAddresses", "IPv4Addresses"] {
            assert_eq!(with_fixed(&json!({ (name): list })), ok(false, None), "{name} {list}");
        }
    }
    // With a name server beside it that is all that is asked for.
    let body = json!({"IPv4StaticAddresses": [{}], "StaticNameServers": ["192.0.2.54"]});
    assert_eq!(with_fixed(&body), ok(false, None));
    for list in [json!([]), json!([null]), json!([null, {}])] {
        assert_eq!(with_fixed(&json!({ "IPv4StaticAddresses": list })), ok(true, None), "{list}");
    }
    // The address that stays and one more are two.
    let body = json!({"IPv4StaticAddresses": [{}, {"Address": "192.0.2.10"}]});
    assert_eq!(with_fixed(&body), (400, "ArraySizeTooLong".into(), None));
    let body = json!({"IPv4StaticAddresses": [{"Address": "192.0.2.10"}, {}]});
    assert_eq!(with_fixed(&body), ok(false, fixed4("192.0.2.10/24", "192.0.2.1")));
}

#[test]
fn where_one_of_those_is_wrong_none_is_taken() {
    let strange = json!({"Address": "192.0.2.9", "SubnetMask": "255.255.255.0", "Oem": {}});
    let four = json!(["192.0.2.53", "192.0.2.54", "192.0.2.55", "192.0.2.56"]);
    for (body, expected) in [
        // Else the address of the lease would be fixed.
        (
            json!({"DHCPv4": {"DHCPEnabled": false}, "IPv4StaticAddresses": [strange]}),
            "PropertyValueTypeError PropertyValueConflict",
        ),
        (
            json!({"IPv4StaticAddresses": [{"Address": "192.0.2.9"}], "StaticNameServers": four}),
            "ArraySizeTooLong PropertyValueConflict",
        ),
        (
            json!({"DHCPv4": false, "IPv4StaticAddresses": [{"Address": "192.0.2.9"}]}),
            "PropertyValueTypeError PropertyValueConflict",
        ),
    ] {
        assert_eq!(asked(&body), Err(format!("400 {expected}")), "{body}");
    }
    // What is beside them is taken all the same.
    let body = json!({"HostName": "bmc-9", "DHCPv4": {"DHCPEnabled": false}, "StaticNameServers": four});
    let request = asked(&body).unwrap().unwrap();
    let expected = v1::ChangeNetworkRequest {
        interface: "eth0".into(),
        host_name: Some("bmc-9".into()),
        ..Default::default()
    };
    assert_eq!(request, expected);
}

#[test]
fn names_and_name_servers_are_asked_for_with_an_address_in_one() {
    let body = json!({
        "HostName": "bmc-9", "StaticNameServers": ["192.0.2.54"],
        "IPv4StaticAddresses": [{"Address": "192.0.2.9", "SubnetMask": "255.255.255.128"}],
    });
    let request = asked(&body).unwrap().unwrap();
    assert_eq!(request.fixed4, fixed4("192.0.2.9/25", "192.0.2.1"));
    assert_eq!(request.host_name.as_deref(), Some("bmc-9"));
    assert_eq!(request.name_servers.unwrap().addresses, ["192.0.2.54"]);
    let request = asked(&json!({"FQDN": "bmc-9.row.example"})).unwrap().unwrap();
    assert_eq!(
        (request.host_name.as_deref(), request.domain.as_deref()),
        (Some("bmc-9"), Some("row.example"))
    );
    let request = asked(&json!({"NameServers": ["2001:db8::53"]})).unwrap().unwrap();
    assert_eq!(request.name_servers.unwrap().addresses, ["2001:db8::53"]);
    // Sent back as it was read, all of it says nothing.
    let shown = Bench::agreeing().shown(ETH0);
    let back: serde_json::Map<String, Value> =
        ["IPv4Addresses", "IPv4StaticAddresses", "StaticNameServers", "NameServers", "FQDN"]
            .into_iter()
            .map(|name| (name.to_owned(), shown[name].clone()))
            .collect();
    let request = asked(&Value::Object(back)).unwrap().unwrap();
    assert_eq!(request, v1::ChangeNetworkRequest { interface: "eth0".into(), ..Default::default() });
}

#[test]
fn what_is_on_trial_says_so_and_what_is_refused_is_told() {
    let mut bench = Bench::agreeing();
    let mut all = network();
    all.trial_ends = Some(prost_types::Timestamp { seconds: 1_790_000_120, nanos: 0 });
    all.interfaces[0].fixed4 = fixed4("192.0.2.9/24", "192.0.2.1");
    bench.say("rpc.NetworkService.ListNetworkInterfaces", &all);
    let shown = bench.shown(ETH0);
    let message = &shown["IPv4Addresses@Message.ExtendedInfo"][0];
    assert_eq!(message["MessageId"], "UBmc.1.0.NetworkOnTrial");
    assert!(message["Message"].as_str().unwrap().contains("2026-09-21"), "{message}");
    assert_eq!(shown["IPv4StaticAddresses"][0]["Address"], "192.0.2.9");
    let observed =
        Fault { reason: "NETWORK_OBSERVED".into(), ..Fault::new(Code::FailedPrecondition, "only looks") };
    bench.refuse("rpc.NetworkService.ChangeNetwork", observed);
    let answer = bench.send(Method::Patch, ETH0, &json!({"HostName": "x"}));
    assert_eq!((answer.status, said(&answer).as_str()), (409, "PropertyNotWritable"));
}

const PROTOCOL: &str = "/redfish/v1/Managers/bmc/NetworkProtocol";

#[test]
fn time_servers_are_named_and_switched_by_one_request() {
    let asked = |body: &Value| {
        let mut bench = Bench::agreeing();
        let answer = bench.send(Method::Patch, PROTOCOL, body);
        assert_eq!(answer.status, 200, "{body}: {}", said(&answer));
        let [call] = bench.called.as_slice() else { panic!("{body}: {:?}", bench.called) };
        assert_eq!(call.method.method, "ChangeNetwork");
        v1::ChangeNetworkRequest::decode(call.request.as_slice()).unwrap()
    };
    let servers = |list: &[&str]| {
        let servers = list.iter().map(|one| (*one).to_owned()).collect();
        Some(v1::TimeServers { servers })
    };
    for (ntp, time_servers, time_enabled) in [
        (json!({"NTPServers": ["ntp.example"]}), servers(&["ntp.example"]), None),
        (json!({"NTPServers": []}), servers(&[]), None),
        // As clients fill a list up.
        (json!({"NTPServers": ["ntp.example", "", ""]}), servers(&["ntp.example"]), None),
        (json!({"ProtocolEnabled": false}), None, Some(false)),
        (json!({"ProtocolEnabled": false, "NTPServers": ["a"]}), servers(&["a"]), Some(false)),
        // As it is.
        (json!({"ProtocolEnabled": true, "NTPServers": ["192.0.2.123"]}), None, None),
        // One is taken out, and left, as DSP0266 has it of arrays and DMTF's Protocol Validator sends it.
        (json!({"NTPServers": [null, "b"]}), servers(&["b"]), None),
        (json!({"NTPServers": [{}, "b"]}), servers(&["192.0.2.123", "b"]), None),
        (json!({"NTPServers": [null]}), servers(&[]), None),
        (json!({"NTPServers": [{}, null]}), None, None),
    ] {
        let expected = v1::ChangeNetworkRequest { time_servers, time_enabled, ..Default::default() };
        assert_eq!(asked(&json!({"NTP": ntp})), expected, "{ntp}");
    }
    for (body, expected) in [
        (json!({"NTP": {"NTPServers": ["a", "b", "c", "d", "e"]}}), "ArraySizeTooLong"),
        (json!({"NTP": {"Port": 1230}}), "PropertyNotWritable"),
        (json!({"NTP": {"NetworkSuppliedServers": []}}), "PropertyNotWritable"),
    ] {
        let answer = Bench::agreeing().send(Method::Patch, PROTOCOL, &body);
        assert_eq!((answer.status, said(&answer).as_str()), (400, expected), "{body}");
    }
    // What netmgr says is wrong with one is told of the property.
    let mut bench = Bench::agreeing();
    let wrong =
        Fault::new(Code::InvalidArgument, "time.ntp: \"a b\" is neither an address nor a host's name");
    bench.refuse("rpc.NetworkService.ChangeNetwork", wrong);
    let answer = bench.send(Method::Patch, PROTOCOL, &json!({"NTP": {"NTPServers": ["a b"]}}));
    assert_eq!((answer.status, said(&answer).as_str()), (400, "PropertyValueIncorrect"));
    let message = &answer.value()["error"]["@Message.ExtendedInfo"][0];
    assert_eq!(message["RelatedProperties"], json!(["/NTP/NTPServers"]));
    assert!(message["Resolution"].as_str().unwrap().contains("neither an address"), "{message}");
}

#[test]
fn of_a_refused_change_what_its_owner_names_is_wrong_and_the_rest_is_bound_to_it() {
    const WRONG: &str = "PropertyValueIncorrect";
    const BOUND: &str = "PropertyValueConflict";

    let full = json!({"Address": "192.0.2.255", "SubnetMask": "255.255.255.0", "Gateway": "192.0.2.1"});
    let boot = json!({"BootSourceOverrideTarget": "UefiHttp", "BootSourceOverrideEnabled": "Once", "HttpBootUri": "x"});
    type Row<'a> = (&'a str, Value, &'a [&'a str], &'a [(&'a str, &'a str)]);
    let table: &[Row<'_>] = &[
        (
            PROTOCOL,
            json!({"NTP": {"ProtocolEnabled": false, "NTPServers": ["a b"]}}),
            &["time_servers.servers[0]"],
            &[("/NTP/NTPServers", WRONG), ("/NTP/ProtocolEnabled", BOUND)],
        ),
        (
            ETH0,
            json!({"HostName": "a b", "StaticNameServers": ["192.0.2.54"]}),
            &["host_name"],
            &[("/HostName", WRONG), ("/StaticNameServers", BOUND)],
        ),
        // The full name is the host's and the domain.
        (ETH0, json!({"FQDN": "a b.example"}), &["host_name"], &[("/FQDN", WRONG)]),
        (ETH0, json!({"FQDN": "a.b c"}), &["domain"], &[("/FQDN", WRONG)]),
        (
            ETH0,
            json!({"DHCPv4": {"DHCPEnabled": false}, "IPv4StaticAddresses": [full], "StaticNameServers": ["x"]}),
            &["fixed4.address", "name_servers.addresses[0]"],
            &[("/DHCPv4/DHCPEnabled", BOUND), ("/IPv4StaticAddresses", WRONG), ("/StaticNameServers", WRONG)],
        ),
        // A field that is made of nothing that was given: all of it is refused.
        (
            ETH0,
            json!({"DHCPv4": {"DHCPEnabled": false}}),
            &["fixed4.address"],
            &[("/DHCPv4/DHCPEnabled", WRONG)],
        ),
        (
            "/redfish/v1/Systems/system",
            json!({ "Boot": boot }),
            &["host.boot_override.http_boot_uri"],
            &[
                ("/Boot/BootSourceOverrideEnabled", BOUND),
                ("/Boot/BootSourceOverrideTarget", BOUND),
                ("/Boot/HttpBootUri", WRONG),
            ],
        ),
    ];
    for (path, body, fields, expected) in table {
        let fields = fields.iter().map(|field| ((*field).to_owned(), "it is none".to_owned())).collect();
        let fault = Fault { fields, ..Fault::new(Code::InvalidArgument, "it is refused") };
        let mut bench = Bench::agreeing();
        bench.refuse("rpc.NetworkService.ChangeNetwork", fault.clone());
        bench.refuse("rpc.HostService.UpdateHost", fault);
        let answer = bench.send(Method::Patch, path, body);
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(bench.called.len(), 1, "{body}");
        let said = &answer.value()["error"]["@Message.ExtendedInfo"];
        let mut said: Vec<(&str, String)> = said
            .as_array()
            .unwrap()
            .iter()
            .map(|one| {
                let id = one["MessageId"].as_str().unwrap().replace("Base.1.22.", "");
                (one["RelatedProperties"][0].as_str().unwrap(), id)
            })
            .collect();
        said.sort();
        let said: Vec<(&str, &str)> = said.iter().map(|(at, id)| (*at, id.as_str())).collect();
        assert_eq!(said.as_slice(), *expected, "{body}");
    }
}

#[test]
fn ways_in_are_shown_where_they_are_and_those_that_are_no_setting_are_read_only() {
    let mut bench = Bench::agreeing();
    let shown = bench.shown(PROTOCOL);
    for (name, port) in [("SSH", 2200), ("KVMIP", 5900), ("VirtualMedia", 443)] {
        assert_eq!(shown[name], json!({"ProtocolEnabled": true, "Port": port}), "{name}");
    }
    // That of viewers is where the configuration has it.
    for body in [json!({"VirtualMedia": {"Port": 1}}), json!({"KVMIP": {"Port": 1}})] {
        let answer = bench.send(Method::Patch, PROTOCOL, &body);
        assert_eq!((answer.status, said(&answer).as_str()), (400, "PropertyNotWritable"), "{body}");
    }
    assert!(bench.called.is_empty());
    let answer = bench.send(Method::Patch, PROTOCOL, &json!({"KVMIP": {"ProtocolEnabled": false}}));
    assert_eq!(answer.status, 200, "{}", said(&answer));
    let [call] = &bench.called[..] else { panic!("{:?}", bench.called) };
    let request = v1::SetVncRequest::decode(call.request.as_slice()).unwrap();
    assert_eq!((call.method.subject, request.enabled), ("rpc.VncService.SetVnc", Some(false)));
    bench.called.clear();
    let answer = bench.send(Method::Patch, PROTOCOL, &json!({"VirtualMedia": {"ProtocolEnabled": false}}));
    assert_eq!(answer.status, 200, "{}", said(&answer));
    let [call] = &bench.called[..] else { panic!("{:?}", bench.called) };
    let request = v1::SetMediaSwitchRequest::decode(call.request.as_slice()).unwrap();
    assert_eq!((call.method.subject, request.enabled), ("rpc.MediaService.SetMediaSwitch", Some(false)));
    bench.say(
        "rpc.MediaService.GetMediaSwitch",
        &v1::GetMediaSwitchResponse { media_switch: Some(v1::MediaSwitch::default()) },
    );
    let off = json!({"ProtocolEnabled": false, "Port": 443});
    assert_eq!(bench.shown(PROTOCOL)["VirtualMedia"], off);
    // Off, with the port that it would have.
    let vnc = v1::Vnc { port: 5900, ..v1::Vnc::default() };
    bench.say("rpc.VncService.GetVnc", &v1::GetVncResponse { vnc: Some(vnc) });
    assert_eq!(bench.shown(PROTOCOL)["KVMIP"], json!({"ProtocolEnabled": false, "Port": 5900}));
    // Plain HTTP leads to HTTPS, where the configuration has it.
    assert_eq!(shown["HTTP"], json!({"ProtocolEnabled": true, "Port": 80}));
    let answer = bench.send(Method::Patch, PROTOCOL, &json!({"HTTP": {"Port": 8080}}));
    assert_eq!((answer.status, said(&answer).as_str()), (400, "PropertyNotWritable"));
    bench.called.clear();
    let answer = bench.send(Method::Patch, PROTOCOL, &json!({"HTTP": {"ProtocolEnabled": false}}));
    assert_eq!(answer.status, 200, "{}", said(&answer));
    let [call] = &bench.called[..] else { panic!("{:?}", bench.called) };
    let request = v1::SetRedirectRequest::decode(call.request.as_slice()).unwrap();
    assert_eq!((call.method.subject, request.enabled), ("rpc.RedirectService.SetRedirect", Some(false)));
    for (redirect, expected) in [
        (v1::Redirect { port: 80, ..v1::Redirect::default() }, json!({"ProtocolEnabled": false, "Port": 80})),
        // Where the configuration has it nowhere.
        (v1::Redirect::default(), json!({"ProtocolEnabled": false})),
    ] {
        let answer = v1::GetRedirectResponse { redirect: Some(redirect) };
        bench.say("rpc.RedirectService.GetRedirect", &answer);
        assert_eq!(bench.shown(PROTOCOL)["HTTP"], expected);
    }
    let ruled_out = Fault {
        reason: "REDIRECT_CONFIGURED_OFF".into(),
        ..Fault::new(Code::FailedPrecondition, "the configuration rules HTTP out: --http off")
    };
    bench.refuse("rpc.RedirectService.SetRedirect", ruled_out);
    let answer = bench.send(Method::Patch, PROTOCOL, &json!({"HTTP": {"ProtocolEnabled": true}}));
    assert_eq!((answer.status, said(&answer).as_str()), (409, "PropertyNotWritable"));
    let message = &answer.value()["error"]["@Message.ExtendedInfo"][0];
    assert_eq!(message["RelatedProperties"], json!(["/HTTP/ProtocolEnabled"]));
    assert!(message["Resolution"].as_str().unwrap().contains("--http off"), "{message}");
    // Whose daemon does not run, and where there is nothing to be reached, there is no such way.
    bench.refuse("rpc.RedirectService.GetRedirect", Fault::new(Code::Unavailable, "websrv does not say"));
    bench.refuse("rpc.SshService.GetSsh", Fault::new(Code::Unavailable, "sshsrv does not run"));
    bench.say("rpc.KvmService.ListScreens", &v1::ListScreensResponse::default());
    bench.refuse("rpc.MediaService.ListMedia", Fault::new(Code::Unavailable, "mediasrv does not run"));
    let shown = bench.shown(PROTOCOL);
    for name in ["SSH", "KVMIP", "VirtualMedia", "HTTP"] {
        assert!(shown.get(name).is_none(), "{name}");
    }
}

#[test]
fn ssh_is_shown_and_switched_and_what_its_owner_says_of_a_port_is_said_of_that_port() {
    let mut bench = Bench::agreeing();
    let body = json!({"SSH": {"ProtocolEnabled": true, "Port": 22}, "IPMI": {"ProtocolEnabled": false}});
    let answer = bench.send(Method::Patch, PROTOCOL, &body);
    assert_eq!(answer.status, 200, "{}", said(&answer));
    let called: Vec<_> = bench.called.iter().map(|call| call.method.subject).collect();
    assert_eq!(called, ["rpc.IpmiService.SetIpmi", "rpc.SshService.SetSsh"]);
    let request = v1::SetSshRequest::decode(&bench.called[1].request[..]).unwrap();
    assert_eq!((request.enabled, request.port), (Some(true), Some(22)));
    bench.called.clear();
    // Out of range, of another type, and of what cannot be left out: nothing is asked for.
    for port in [json!(0), json!(65536), json!("22"), Value::Null] {
        let answer = bench.send(Method::Patch, PROTOCOL, &json!({"SSH": {"Port": port}}));
        assert_eq!(answer.status, 400, "{port}");
    }
    assert!(bench.called.is_empty());
    let fault = Fault {
        fields: vec![("port".to_owned(), "another has it".to_owned())],
        ..Fault::new(Code::InvalidArgument, "the port is wrong")
    };
    bench.refuse("rpc.SshService.SetSsh", fault);
    let answer = bench.send(Method::Patch, PROTOCOL, &json!({"SSH": {"ProtocolEnabled": true, "Port": 22}}));
    assert_eq!(answer.status, 400);
    let told = answer.value().to_string();
    assert!(told.contains("/SSH/Port") && !told.contains("/IPMI/Port"), "{told}");
}
