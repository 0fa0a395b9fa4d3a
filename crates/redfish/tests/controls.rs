//! Controls of thermal zones: what is shown of them, who takes the fans over and gives them back, and the assembly beside them.

mod support;

use prost::Message as _;
use redfish::{Exchange, Fault, Method, Request};
use schema::Code;
use schema::v1alpha1 as v1;
use serde_json::{Value, json};
use support::{Bench, asker, zone};

const CHASSIS: &str = "/redfish/v1/Chassis/chassis";
const MAIN: &str = "/redfish/v1/Chassis/chassis/Controls/main";
const TARGET: &str = "/redfish/v1/Chassis/chassis/Controls/main.target";

fn with(zones: Vec<v1::ThermalZone>) -> Bench {
    let mut bench = Bench::agreeing();
    let all = v1::ListThermalZonesResponse { thermal_zones: zones, ..Default::default() };
    bench.say("rpc.ThermalService.ListThermalZones", &all);
    bench
}

/// A zone that its controller has.
fn automatic() -> v1::ThermalZone {
    v1::ThermalZone {
        control_mode: v1::ThermalControlMode::Automatic.into(),
        demand_percent: 37.25,
        override_percent: None,
        override_ends_at: None,
        ..zone()
    }
}

fn failsafe(zone: v1::ThermalZone) -> v1::ThermalZone {
    let fault = |name: &str, reason: v1::ThermalFaultReason| v1::ThermalFault {
        component_name: name.into(),
        reason: reason.into(),
    };
    v1::ThermalZone {
        status: v1::ThermalZoneStatus::Warning.into(),
        control_mode: v1::ThermalControlMode::Failsafe.into(),
        demand_percent: 100.0,
        faults: vec![
            fault("cpu0_temp", v1::ThermalFaultReason::Missing),
            fault("fan1", v1::ThermalFaultReason::FanStuck),
        ],
        ..zone
    }
}

/// The status, and the ids of the messages by their places.
fn patch(bench: &mut Bench, path: &str, body: &Value) -> (u16, Vec<(String, String)>) {
    bench.called.clear();
    let answer = bench.send(Method::Patch, path, body);
    let value = answer.value();
    let list = value.pointer("/error/@Message.ExtendedInfo").unwrap_or(&value["@Message.ExtendedInfo"]);
    let messages = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().replace("Base.1.22.", "");
    let mut said: Vec<(String, String)> = messages
        .iter()
        .map(|message| (text(&message["RelatedProperties"][0]), text(&message["MessageId"])))
        .collect();
    said.sort();
    (answer.status, said)
}

/// The overrides that were asked for: of which zone, percent and seconds.
fn overrides(bench: &Bench) -> Vec<(String, f64, u32)> {
    let asked = bench.called.iter().map(|call| {
        assert_eq!(call.method.method, "OverrideThermalZone");
        let request = v1::OverrideThermalZoneRequest::decode(call.request.as_slice()).unwrap();
        (request.name, request.cooling_power_percent, request.seconds)
    });
    asked.collect()
}

fn given_back(bench: &Bench) -> Vec<String> {
    let asked = bench.called.iter().map(|call| {
        assert_eq!(call.method.method, "ClearThermalOverride");
        v1::ClearThermalOverrideRequest::decode(call.request.as_slice()).unwrap().name
    });
    asked.collect()
}

#[test]
fn a_zone_is_a_control_of_its_fans_and_one_of_the_temperature_it_holds() {
    let curve = v1::ThermalZone { name: "curve".into(), target_temperature: None, ..automatic() };
    let margin = v1::ThermalZone { name: "margin".into(), holds_margin: true, ..automatic() };
    let mut bench = with(vec![automatic(), curve, margin]);
    assert_eq!(bench.shown(CHASSIS)["Controls"]["@odata.id"], format!("{CHASSIS}/Controls"));
    let members = bench.shown(&format!("{CHASSIS}/Controls"))["Members"].clone();
    let uri = |name: &str| json!({"@odata.id": format!("{CHASSIS}/Controls/{name}")});
    assert_eq!(members, json!([uri("main"), uri("main.target"), uri("curve"), uri("margin")]));
    for name in ["curve.target", "margin.target", "nobody", "nobody.target", ".target"] {
        assert_eq!(bench.get(&format!("{CHASSIS}/Controls/{name}")).status, 404, "{name}");
    }

    let shown = bench.shown(MAIN);
    for (name, value) in [
        ("ControlType", json!("Percent")),
        ("SetPointType", json!("Single")),
        ("SetPointUnits", json!("%")),
        ("SetPoint", json!(37.25)),
        ("AllowableMin", json!(20.0)),
        ("AllowableMax", json!(100)),
        ("ControlMode", json!("Automatic")),
        ("ControlMode@Redfish.AllowableValues", json!(["Automatic", "Override"])),
        ("PhysicalContext", json!("Fan")),
        ("AssociatedSensors", json!([{"@odata.id": format!("{CHASSIS}/Sensors/cpu0_temp")}])),
        ("Status", json!({"State": "Enabled", "Health": "OK"})),
    ] {
        assert_eq!(shown[name], value, "{name}");
    }
    let fan = |name: &str| json!({"@odata.id": format!("{CHASSIS}/ThermalSubsystem/Fans/{name}")});
    assert_eq!(shown["RelatedItem"], json!([fan("fan0"), fan("fan1")]));
    for absent in
        ["SettingMin", "SettingMax", "ControlMode@Message.ExtendedInfo", "SetPoint@Message.ExtendedInfo"]
    {
        assert!(shown.get(absent).is_none(), "{absent}");
    }

    let shown = bench.shown(TARGET);
    assert_eq!((&shown["ControlType"], &shown["SetPointUnits"]), (&json!("Temperature"), &json!("Cel")));
    assert_eq!((&shown["SetPoint"], &shown["ControlMode"]), (&json!(65.0), &json!("Automatic")));
    let source = format!("{CHASSIS}/Sensors/cpu0_temp");
    assert_eq!(shown["Sensor"], json!({"DataSourceUri": source, "Reading": 41.5}));
    assert!(shown.get("Actions").is_none());
    // Of several sensors none is the one.
    let two = v1::ThermalZone { sensor_names: vec!["cpu0_temp".into(), "dimm0_temp".into()], ..automatic() };
    let shown = with(vec![two]).shown(TARGET);
    assert!(shown.get("Sensor").is_none());
    assert_eq!(shown["AssociatedSensors"].as_array().unwrap().len(), 2);
}

#[test]
fn who_decides_and_until_when_and_what_goes_before_that_is_shown() {
    let message = |shown: &Value, property: &str| {
        let all = &shown[format!("{property}@Message.ExtendedInfo")];
        (all[0]["MessageId"].clone(), all[0]["MessageArgs"].clone())
    };
    let mut bench = with(vec![zone()]);
    let shown = bench.shown(MAIN);
    assert_eq!((&shown["ControlMode"], &shown["SetPoint"]), (&json!("Override"), &json!(40.0)));
    let (id, args) = message(&shown, "ControlMode");
    assert_eq!((id, args), (json!("UBmc.1.0.SetPointHeld"), json!(["40", "2026-09-21T15:15:00Z"])));
    // No temperature is held meanwhile.
    assert_eq!(bench.shown(TARGET)["ControlMode"], "Disabled");
    // The fans run at full speed: what was set stays what was set, and does not count.
    let mut bench = with(vec![failsafe(zone())]);
    let shown = bench.shown(MAIN);
    assert_eq!((&shown["ControlMode"], &shown["SetPoint"]), (&json!("Override"), &json!(40.0)));
    assert_eq!(shown["Status"]["Health"], "Warning");
    let (id, args) = message(&shown, "SetPoint");
    assert_eq!(id, "UBmc.1.0.FansAtFullSpeed");
    assert_eq!(args, json!(["cpu0_temp: it has said nothing for too long; fan1: it does not turn"]));
    assert_eq!(message(&bench.shown(TARGET), "SetPoint").0, "UBmc.1.0.FansAtFullSpeed");
    let shown = with(vec![failsafe(automatic())]).shown(MAIN);
    assert_eq!((&shown["ControlMode"], &shown["SetPoint"]), (&json!("Automatic"), &json!(100.0)));
    // However many faults there are.
    let fault = |at: usize| v1::ThermalFault { component_name: format!("s{at}"), ..Default::default() };
    let many = v1::ThermalZone { faults: (0..40).map(fault).collect(), ..failsafe(zone()) };
    let shown = with(vec![many]).shown(MAIN);
    let text = message(&shown, "SetPoint").1[0].as_str().unwrap().to_owned();
    assert!(text.contains("s3") && !text.contains("s4") && text.ends_with("; 36 more"), "{text}");
    let critical = v1::ThermalZone { status: v1::ThermalZoneStatus::Critical.into(), ..zone() };
    assert_eq!(with(vec![critical]).shown(MAIN)["Status"]["Health"], "Critical");
}

#[test]
fn a_tag_is_of_what_somebody_decides_and_not_of_what_a_controller_does() {
    let tag = |zone: v1::ThermalZone| with(vec![zone]).get(MAIN).header("etag").unwrap().to_owned();
    let warmer = v1::ThermalZone { demand_percent: 38.0, ..automatic() };
    assert_eq!(tag(automatic()), tag(warmer));
    let more = v1::ThermalZone { override_percent: Some(41.0), ..zone() };
    let end = |nanos| Some(prost_types::Timestamp { seconds: 1_790_003_700, nanos });
    let later = |nanos| v1::ThermalZone { override_ends_at: end(nanos), ..zone() };
    assert_ne!(tag(zone()), tag(automatic()));
    assert_ne!(tag(zone()), tag(more));
    assert_eq!(tag(zone()), tag(later(1_000_000)), "clocks differ by as much as that");
    assert_ne!(tag(zone()), tag(later(900_000_000)));
}

#[test]
fn the_fans_are_taken_over_for_a_day_and_given_back() {
    let day = |percent: f64| vec![("main".to_owned(), percent, 86_400)];
    for zone in [automatic(), zone(), failsafe(automatic())] {
        let now = zone.override_percent.unwrap_or(zone.demand_percent);
        let mut bench = with(vec![zone]);
        for (body, percent) in [
            (json!({"ControlMode": "Override", "SetPoint": 62.5}), 62.5),
            (json!({"SetPoint": 60}), 60.0),
            // As they are.
            (json!({"ControlMode": "Override"}), now),
        ] {
            assert_eq!(patch(&mut bench, MAIN, &body), (200, Vec::new()), "{body}");
            assert_eq!(overrides(&bench), day(percent), "{body}");
        }
    }
    // With its host off it wants less than may be set.
    let mut bench = with(vec![v1::ThermalZone { demand_percent: 12.0, ..automatic() }]);
    assert_eq!(patch(&mut bench, MAIN, &json!({"ControlMode": "Override"})), (200, Vec::new()));
    assert_eq!(overrides(&bench), day(20.0));
    let mut bench = with(vec![zone()]);
    for body in [json!({"ControlMode": "Automatic"}), json!({"ControlMode": "Automatic", "SetPoint": 40})] {
        assert_eq!(patch(&mut bench, MAIN, &body), (200, Vec::new()), "{body}");
        assert_eq!(given_back(&bench), ["main"], "{body}");
    }
    bench.called.clear();
    let reset = format!("{MAIN}/Actions/Control.ResetToDefaults");
    assert_eq!(bench.send(Method::Post, &reset, &json!({})).status, 204);
    assert_eq!(given_back(&bench), ["main"]);
    // They are the controller's already.
    let mut bench = with(vec![automatic()]);
    assert_eq!(patch(&mut bench, MAIN, &json!({"ControlMode": "Automatic"})), (200, Vec::new()));
    assert_eq!(bench.send(Method::Post, &reset, &json!({})).status, 204);
    assert!(bench.called.is_empty());
}

#[test]
fn what_is_refused_changes_nothing_and_both_are_told() {
    let told = |list: &[(&str, &str)]| -> Vec<(String, String)> {
        list.iter().map(|(at, id)| ((*at).to_owned(), (*id).to_owned())).collect()
    };
    const CONFLICT: &str = "PropertyValueConflict";
    for zone in [automatic(), zone()] {
        let mut bench = with(vec![zone]);
        for (body, mode, set_point) in [
            (json!({"ControlMode": "Automatic", "SetPoint": 70}), CONFLICT, CONFLICT),
            (json!({"ControlMode": "Manual", "SetPoint": 70}), "PropertyValueNotInList", CONFLICT),
            (json!({"ControlMode": "Override", "SetPoint": 100.5}), CONFLICT, "PropertyValueOutOfRange"),
            (json!({"ControlMode": "Override", "SetPoint": "70"}), CONFLICT, "PropertyValueTypeError"),
        ] {
            let expected = told(&[("/ControlMode", mode), ("/SetPoint", set_point)]);
            assert_eq!(patch(&mut bench, MAIN, &body), (400, expected), "{body}");
            assert!(bench.called.is_empty(), "{body}");
        }
    }
    // Its owner says what is too little, and that is the set point.
    let mut bench = with(vec![automatic()]);
    let little = Fault {
        reason: "TOO_LITTLE".into(),
        fields: vec![("cooling_power_percent".into(), "the zone needs at least 20 %".into())],
        ..Fault::new(Code::InvalidArgument, "the zone needs at least 20 %")
    };
    bench.refuse("rpc.ThermalService.OverrideThermalZone", little);
    let body = json!({"ControlMode": "Override", "SetPoint": 5});
    let expected = told(&[("/ControlMode", CONFLICT), ("/SetPoint", "PropertyValueIncorrect")]);
    assert_eq!(patch(&mut bench, MAIN, &body), (400, expected));
    // A temperature is the board's and the profile's to say.
    let mut bench = with(vec![zone()]);
    for (body, places) in [
        (json!({"SetPoint": 70}), &["/SetPoint"][..]),
        (json!({"SetPoint": 70, "ControlMode": "Override"}), &["/ControlMode", "/SetPoint"][..]),
    ] {
        let expected: Vec<_> = places.iter().map(|at| (*at, "PropertyNotWritable")).collect();
        assert_eq!(patch(&mut bench, TARGET, &body), (400, told(&expected)), "{body}");
        assert!(bench.called.is_empty());
    }
    for (control, status) in [(TARGET, 400), ("/redfish/v1/Chassis/chassis/Controls/nobody", 404)] {
        let reset = format!("{control}/Actions/Control.ResetToDefaults");
        assert_eq!(bench.send(Method::Post, &reset, &json!({})).status, status, "{control}");
    }
    assert!(bench.called.is_empty());
}

#[test]
fn a_condition_that_does_not_hold_keeps_the_fans_as_they_are() {
    let mut bench = with(vec![zone()]);
    let tag = bench.get(MAIN).header("etag").unwrap().to_owned();
    for (condition, status, calls) in [("\"0\"", 412, 0), (tag.as_str(), 200, 1)] {
        let request = Request { if_match: Some(condition.to_owned()), ..Request::default() };
        let answer = bench.ask(Method::Patch, MAIN, r#"{"ControlMode": "Automatic"}"#, request);
        assert_eq!((answer.status, bench.called.len()), (status, calls), "{condition}");
    }
    // Between the comparison and the change nobody else changes the same control.
    let thing = |path: &str| {
        let exchange = Exchange::new(path, Method::Patch, Request::default(), bench.about()).unwrap();
        exchange.thing()
    };
    assert_eq!(thing(MAIN), thing(&format!("{MAIN}/")));
    assert_ne!(thing(MAIN), thing(TARGET));
}

#[test]
fn a_control_is_for_who_may_configure_the_manager_and_the_machine() {
    for (role, status) in
        [(auth::Role::ReadOnly, 403), (auth::Role::Operator, 403), (auth::Role::Administrator, 200)]
    {
        let mut bench = Bench::by(asker("somebody", role));
        bench.agree();
        assert_eq!(bench.get(MAIN).status, 200, "{}", role.name());
        let answer = bench.send(Method::Patch, MAIN, &json!({"SetPoint": 70}));
        assert_eq!(
            (answer.status, bench.called.len()),
            (status, usize::from(status == 200)),
            "{}",
            role.name()
        );
    }
}

#[test]
fn daemons_that_are_dead_take_their_own_part_with_them_and_no_more() {
    let gone = || Fault::new(Code::Unavailable, "gone");
    let mut bench = Bench::agreeing();
    bench.refuse("rpc.SensorService.ListSensors", gone());
    let shown = bench.shown(MAIN);
    assert!(shown.get("AssociatedSensors").is_none() && shown["RelatedItem"].as_array().unwrap().len() == 2);
    assert!(bench.shown(TARGET).get("Sensor").is_none());
    // A value that is not good is none.
    let mut bench = with(vec![v1::ThermalZone { sensor_names: vec!["dimm0_temp".into()], ..zone() }]);
    assert_eq!(bench.shown(TARGET)["Sensor"].get("Reading"), Some(&Value::Null));
    let mut bench = Bench::agreeing();
    bench.refuse("rpc.ThermalService.ListThermalZones", gone());
    for path in [MAIN, TARGET, "/redfish/v1/Chassis/chassis/Controls"] {
        let answer = bench.get(path);
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{path}");
    }
    assert_eq!(patch(&mut bench, MAIN, &json!({"SetPoint": 70})).0, 503);
    let reset = format!("{MAIN}/Actions/Control.ResetToDefaults");
    assert_eq!(bench.send(Method::Post, &reset, &json!({})).status, 503);
    assert!(bench.called.is_empty());
    // Whether it was done nobody knows: nothing asks the client to do it twice.
    let mut bench = with(vec![zone()]);
    let silent = Fault { reason: "UNANSWERED".into(), ..gone() };
    bench.refuse("rpc.ThermalService.OverrideThermalZone", silent);
    let answer = bench.send(Method::Patch, MAIN, &json!({"SetPoint": 70}));
    assert_eq!((answer.status, answer.header("retry-after")), (504, None));
}

#[test]
fn a_second_chassis_has_no_zones_and_no_boards() {
    let mut bench = Bench::new();
    let chassis = |name: &str| v1::Chassis { name: name.into(), ..v1::Chassis::default() };
    let all = v1::ListChassisResponse {
        chassis: vec![chassis("chassis"), chassis("side")],
        ..v1::ListChassisResponse::default()
    };
    bench.say("rpc.ChassisService.ListChassis", &all);
    let side = "/redfish/v1/Chassis/side";
    assert_eq!(bench.shown(&format!("{side}/Controls"))["Members"], json!([]));
    assert_eq!(bench.get(&format!("{side}/Controls/main")).status, 404);
    assert_eq!(bench.shown(&format!("{side}/Assembly"))["Assemblies"], json!([]));
    assert_eq!(bench.get("/redfish/v1/Chassis/nobody/Controls").status, 404);
    assert_eq!(bench.get("/redfish/v1/Chassis/nobody/Assembly").status, 404);
}

#[test]
fn an_assembly_is_of_boards_that_say_what_they_are_and_are_shown_nowhere_else() {
    use v1::{AssetQuality as Quality, AssetSource as Source, AssetType as Type};
    let mut bench = Bench::new();
    let uri = format!("{CHASSIS}/Assembly");
    assert_eq!(bench.shown(CHASSIS)["Assembly"]["@odata.id"], uri);
    let mainboard = json!({
        "@odata.id": format!("{uri}#/Assemblies/0"),
        "MemberId": "0",
        "Name": "Part mainboard",
        "Model": "Product mainboard",
        "Producer": "Maker",
        "PartNumber": "part",
        "SerialNumber": "serial",
        "SKU": "sku",
        "Version": "1.2.3",
        "ProductionDate": "2020-09-13T12:26:40Z",
        "Status": {"State": "Enabled"},
    });
    // Power supplies, drives, what a host's firmware names and the chassis itself are not among them.
    assert_eq!(bench.shown(&uri)["Assemblies"], json!([mainboard]));

    let part = |id: &str, kind: Type, source: Source| v1::Asset {
        id: id.into(),
        name: id.into(),
        r#type: kind.into(),
        source: source.into(),
        present: true,
        quality: Quality::Good.into(),
        info: Some(v1::AssetInfo {
            product_name: id.into(),
            serial_number: Some(format!("serial of {id}")),
            ..v1::AssetInfo::default()
        }),
        ..v1::Asset::default()
    };
    let board = |id: &str| part(id, Type::Board, Source::Fru);
    let silent = |id: &str| {
        let info = v1::AssetInfo { product_name: id.into(), ..v1::AssetInfo::default() };
        v1::Asset { info: Some(info), quality: Quality::Damaged.into(), ..board(id) }
    };
    let assets = vec![
        part("box", Type::Chassis, Source::Fru),
        v1::Asset { present: false, ..board("pulled") },
        silent("nothing"),
        v1::Asset { quality: Quality::Damaged.into(), ..board("riser") },
        part("cage", Type::Chassis, Source::Fru),
        part("backplane", Type::Other, Source::Fru),
        part("tables", Type::Board, Source::Smbios),
        part("psu", Type::PowerSupply, Source::Fru),
        part("disk", Type::Drive, Source::Fru),
        v1::Asset { info: None, ..board("bare") },
    ];
    bench.say("rpc.AssetService.ListAssets", &v1::ListAssetsResponse { assets });
    let shown = bench.shown(&uri)["Assemblies"].clone();
    let said = |name: &str| -> Vec<String> {
        let members = shown.as_array().unwrap().iter();
        members.map(|member| member[name].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(said("Name"), ["riser", "cage", "backplane"]);
    assert_eq!(said("MemberId"), ["0", "1", "2"]);
    assert_eq!(said("SerialNumber"), ["serial of riser", "serial of cage", "serial of backplane"]);
    assert_eq!(said("Model"), ["", "", ""], "a name is no model");
    assert_eq!(shown[0]["Status"], json!({"State": "Enabled", "Health": "Warning"}));
    bench.refuse("rpc.AssetService.ListAssets", Fault::new(Code::Unavailable, "gone"));
    assert_eq!(bench.get(&uri).status, 503);
}
