//! What a host's firmware lets be set: its settings with their registry, secure boot, the boot options and their order.

mod support;

use std::collections::HashMap;

use prost::Message as _;
use redfish::{Answer, Fault, Method, Request};
use schema::Code;
use schema::v1alpha1 as v1;
use serde_json::{Value, json};
use support::{Bench, REGISTRY, attribute, firmware, firmware_summary, said, set};

const SYSTEM: &str = "/redfish/v1/Systems/system";
const BIOS: &str = "/redfish/v1/Systems/system/Bios";
const SETTINGS: &str = "/redfish/v1/Systems/system/Bios/Settings";
const SECURE_BOOT: &str = "/redfish/v1/Systems/system/SecureBoot";
const OPTIONS: &str = "/redfish/v1/Systems/system/BootOptions";
const GET: &str = "rpc.HostFirmwareService.GetHostFirmware";
const UPDATE: &str = "rpc.HostFirmwareService.UpdateHostFirmware";

const APPLY_TIME: &str = "/@Redfish.SettingsApplyTime/ApplyTime";
const CONFLICT: &str = "PropertyValueConflict";

fn report(bench: &mut Bench, firmware: Vec<v1::HostFirmware>) {
    bench.firmware = firmware;
}

/// What an answer says: of each message its place, if it names one, and its id, by place.
fn told(answer: &Answer) -> Vec<(String, String)> {
    let value = answer.value();
    let list = value.pointer("/error/@Message.ExtendedInfo").unwrap_or(&value["@Message.ExtendedInfo"]);
    let messages = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut told: Vec<(String, String)> = messages
        .iter()
        .map(|message| {
            let places = message["RelatedProperties"].as_array().map(Vec::as_slice).unwrap_or_default();
            assert!(places.len() < 2, "{message}");
            let place = places.first().and_then(Value::as_str).unwrap_or_default();
            (place.to_owned(), message["MessageId"].as_str().unwrap().replace("Base.1.22.", ""))
        })
        .collect();
    told.sort();
    told
}

fn owned(said: &[(&str, &str)]) -> Vec<(String, String)> {
    said.iter().map(|(place, id)| ((*place).to_owned(), (*id).to_owned())).collect()
}

/// Sends a PATCH: the status, and what is said.
fn patch(bench: &mut Bench, path: &str, body: &Value) -> (u16, Vec<(String, String)>) {
    bench.called.clear();
    let answer = bench.send(Method::Patch, path, body);
    (answer.status, told(&answer))
}

fn methods(bench: &Bench) -> Vec<&'static str> {
    bench.called.iter().map(|call| call.method.method).collect()
}

/// What the firmware was asked for, by one call.
fn asked(bench: &Bench) -> v1::UpdateHostFirmwareRequest {
    assert_eq!(methods(bench), ["UpdateHostFirmware"]);
    v1::UpdateHostFirmwareRequest::decode(bench.called[0].request.as_slice()).unwrap()
}

#[test]
fn settings_are_shown_as_the_firmware_has_them_and_as_the_next_boot_leaves_them() {
    let mut bench = Bench::new();
    let bios = bench.shown(BIOS);
    let now = json!({"Smt": "Enabled", "Retries": 4, "Owner": "rack", "Quiet": true, "Stepping": "B0"});
    assert_eq!((&bios["Attributes"], &bios["AttributeRegistry"]), (&now, &json!(REGISTRY)));
    assert_eq!(bios["ResetBiosToDefaultsPending"], false);
    assert_eq!(
        bios["@Redfish.Settings"],
        json!({
            "@odata.type": "#Settings.v1_1_0.Settings",
            "SettingsObject": {"@odata.id": SETTINGS},
            "SupportedApplyTimes": ["OnReset"],
            "Messages": [],
        })
    );
    assert_eq!(
        bios["Actions"],
        json!({"#Bios.ResetBios": {"target": format!("{BIOS}/Actions/Bios.ResetBios")}})
    );
    let settings = bench.shown(SETTINGS);
    assert_eq!((&settings["Attributes"], settings.get("Actions")), (&now, None));
    assert_eq!(
        settings["@Redfish.SettingsApplyTime"]["ApplyTime@Redfish.AllowableValues"],
        json!(["OnReset"])
    );

    // Something is wished, and of what was wished before a boot has not taken all.
    let mut other = firmware("system");
    other.attributes[0].pending = set("Disabled");
    other.attributes[1].default_value = set(2);
    other.resets_to_defaults = true;
    other.stale = true;
    other.applied_at = Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 0 });
    let refusal = |what: &str, why: &str| v1::FirmwareRefusal { what: what.into(), why: why.into() };
    other.refusals = vec![refusal("Quiet", "the jumper is set"), refusal("BootOrder", "an option is gone")];
    report(&mut bench, vec![other]);
    let bios = bench.shown(BIOS);
    assert_eq!((&bios["Attributes"], &bios["ResetBiosToDefaultsPending"]), (&now, &json!(true)));
    assert!(bios["Description"].as_str().unwrap().contains("last reported"));
    let last = &bios["@Redfish.Settings"];
    assert_eq!(last["Time"], "2026-09-21T14:13:20Z");
    let messages = last["Messages"].as_array().unwrap();
    assert_eq!(messages.len(), 2);
    for (message, place, what, why) in [
        (&messages[0], Some(json!(["/Attributes/Quiet"])), "Quiet", "the jumper is set"),
        (&messages[1], None, "BootOrder", "an option is gone"),
    ] {
        assert_eq!(message["MessageId"], "Base.1.22.PropertyValueError");
        assert_eq!((&message["MessageArgs"], &message["Resolution"]), (&json!([what]), &json!(why)));
        assert_eq!(message.get("RelatedProperties"), place.as_ref());
    }
    let next = json!({"Smt": "Disabled", "Retries": 2, "Owner": "rack", "Quiet": true, "Stepping": "B0"});
    assert_eq!(bench.shown(SETTINGS)["Attributes"], next);
}

#[test]
fn the_registry_of_attributes_says_what_each_can_be() {
    let mut bench = Bench::new();
    let file = bench.shown(&format!("/redfish/v1/Registries/{REGISTRY}"));
    let uri = format!("/redfish/v1/Registries/{REGISTRY}/{REGISTRY}");
    assert_eq!(file["Registry"], format!("{REGISTRY}.1.0"));
    assert_eq!(file["Location"], json!([{"Language": "en", "Uri": uri}]));
    let registry = bench.shown(&uri);
    assert_eq!(
        (&registry["Id"], &registry["Language"], &registry["SupportedSystems"]),
        (&json!(REGISTRY), &json!("en"), &json!([{"SystemId": "system"}]))
    );
    let entries = registry["RegistryEntries"]["Attributes"].as_array().unwrap();
    let common = |name: &str, at: usize| {
        json!({
            "AttributeName": name, "DisplayName": format!("The {name}"), "DisplayOrder": at,
            "HelpText": format!("What {name} does"), "MenuPath": "./Processor/Cores", "ReadOnly": false,
            "ResetRequired": true,
        })
    };
    let value = |name: &str| json!({"ValueName": name, "ValueDisplayName": format!("Is {name}")});
    for (at, name, own) in [
        (
            0,
            "Smt",
            json!({"Type": "Enumeration", "DefaultValue": "Enabled", "Value": [value("Enabled"), value("Disabled")]}),
        ),
        (
            1,
            "Retries",
            json!({"Type": "Integer", "DefaultValue": 4, "LowerBound": 0, "UpperBound": 10, "ScalarIncrement": 2}),
        ),
        (2, "Owner", json!({"Type": "String", "DefaultValue": "rack", "MinLength": 2, "MaxLength": 8})),
        (3, "Quiet", json!({"Type": "Boolean", "DefaultValue": true})),
    ] {
        let mut expected = common(name, at);
        expected.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        assert_eq!(entries[at], expected);
    }
    assert_eq!((&entries[4]["ReadOnly"], entries[4].get("ResetRequired")), (&json!(true), None));
    assert_eq!(
        registry["RegistryEntries"]["Menus"],
        json!([
            {"MenuName": "Processor", "DisplayName": "Processor", "DisplayOrder": 0, "MenuPath": "./Processor"},
            {"MenuName": "Cores", "DisplayName": "Cores", "DisplayOrder": 1, "MenuPath": "./Processor/Cores"},
        ])
    );
    // What is set is no part of it; what can be set is, and then it has another version.
    let version = |bench: &mut Bench| bench.shown(&uri)["RegistryVersion"].as_str().unwrap().to_owned();
    let first = version(&mut bench);
    assert!(
        first.starts_with("1.0.") && first.split('.').all(|number| number.parse::<u32>().is_ok()),
        "{first}"
    );
    let mut other = firmware("system");
    other.attributes[3].current = set(false);
    other.attributes[3].pending = set(true);
    report(&mut bench, vec![other.clone()]);
    assert_eq!(version(&mut bench), first);
    other.attributes[1].upper_bound = Some(20);
    report(&mut bench, vec![other]);
    assert_ne!(version(&mut bench), first);
}

#[test]
fn attributes_are_asked_for_all_at_once_or_not_at_all_and_each_is_told() {
    type Row = (Value, u16, &'static [(&'static str, &'static str)], Option<Value>);
    let of = |attributes: Value| json!({ "Attributes": attributes });
    let on = |time: Value, attributes: Value| json!({"@Redfish.SettingsApplyTime": time, "Attributes": attributes});
    const TYPE: &str = "PropertyValueTypeError";
    const RANGE: &str = "PropertyValueOutOfRange";
    let table: Vec<Row> = vec![
        (of(json!({"Smt": "Disabled"})), 200, &[], Some(json!({"Smt": "Disabled"}))),
        (
            of(json!({"Smt": "Disabled", "Retries": 8, "Owner": "lab", "Quiet": false})),
            200,
            &[],
            Some(json!({"Smt": "Disabled", "Retries": 8, "Owner": "lab", "Quiet": false})),
        ),
        // Ironic, with a time.
        (
            on(json!({"ApplyTime": "OnReset"}), json!({"Quiet": false})),
            200,
            &[],
            Some(json!({"Quiet": false})),
        ),
        // It takes a wish back: what the firmware has anyway is none, which its owner sees.
        (of(json!({"Smt": "Enabled"})), 200, &[], Some(json!({"Smt": "Enabled"}))),
        // What is shown only may come back, and annotations.
        (of(json!({"Stepping": "B0"})), 200, &[], None),
        (
            of(json!({"Stepping": "B0", "Quiet": false, "Smt@odata.type": "x", "@odata.id": "y"})),
            200,
            &[],
            Some(json!({"Quiet": false})),
        ),
        (of(json!({})), 200, &[], None),
        (json!({"@Redfish.SettingsApplyTime": {"ApplyTime": "OnReset"}}), 200, &[], None),
        // One that is wrong.
        (of(json!({"Nope": 1})), 400, &[("/Attributes/Nope", "PropertyUnknown")], None),
        (of(json!({"a/b~": 1})), 400, &[("/Attributes/a~1b~0", "PropertyUnknown")], None),
        (of(json!({"Stepping": "C0"})), 400, &[("/Attributes/Stepping", "PropertyNotWritable")], None),
        (of(json!({"Smt": "Sometimes"})), 400, &[("/Attributes/Smt", "PropertyValueNotInList")], None),
        (of(json!({"Smt": true})), 400, &[("/Attributes/Smt", TYPE)], None),
        (of(json!({"Smt": null})), 400, &[("/Attributes/Smt", TYPE)], None),
        (of(json!({"Retries": 3})), 400, &[("/Attributes/Retries", RANGE)], None),
        (of(json!({"Retries": 12})), 400, &[("/Attributes/Retries", RANGE)], None),
        (of(json!({"Retries": u64::MAX})), 400, &[("/Attributes/Retries", RANGE)], None),
        (of(json!({"Retries": "4"})), 400, &[("/Attributes/Retries", TYPE)], None),
        (of(json!({"Retries": 4.5})), 400, &[("/Attributes/Retries", TYPE)], None),
        (of(json!({"Owner": "x"})), 400, &[("/Attributes/Owner", "StringValueTooShort")], None),
        (of(json!({"Owner": "ninechars"})), 400, &[("/Attributes/Owner", "StringValueTooLong")], None),
        (of(json!({"Owner": "a\u{7}b"})), 400, &[("/Attributes/Owner", "PropertyValueFormatError")], None),
        (of(json!({"Owner": ["rack"]})), 400, &[("/Attributes/Owner", TYPE)], None),
        (of(json!({"Quiet": "true"})), 400, &[("/Attributes/Quiet", TYPE)], None),
        // Some that are: the others are not asked for either, but for those that are sent as they are.
        (
            of(json!({"Smt": "Disabled", "Nope": 1, "Quiet": false, "Retries": 4, "Owner": 5})),
            400,
            &[
                ("/Attributes/Nope", "PropertyUnknown"),
                ("/Attributes/Owner", TYPE),
                ("/Attributes/Quiet", CONFLICT),
                ("/Attributes/Smt", CONFLICT),
            ],
            None,
        ),
        // What else stands beside them counts by itself.
        (
            json!({"Name": "x", "Nope": 1, "Attributes": {"Quiet": false}}),
            200,
            &[("/Name", "PropertyNotWritable"), ("/Nope", "PropertyUnknown")],
            Some(json!({"Quiet": false})),
        ),
        (of(Value::Null), 400, &[("/Attributes", TYPE)], None),
        (of(json!([])), 400, &[("/Attributes", TYPE)], None),
        (json!({}), 400, &[("", "EmptyJSON")], None),
        (json!({"@odata.id": SETTINGS}), 400, &[("", "NoOperation")], None),
        (json!([]), 400, &[("", "UnrecognizedRequestBody")], None),
        // Another time is another change than was asked for.
        (
            on(json!({"ApplyTime": "Immediate"}), json!({"Quiet": false})),
            400,
            &[(APPLY_TIME, "PropertyValueNotInList"), ("/Attributes", CONFLICT)],
            None,
        ),
        (
            on(json!({"ApplyTime": "OnReset"}), json!({"Quiet": 1})),
            400,
            &[(APPLY_TIME, CONFLICT), ("/Attributes/Quiet", TYPE)],
            None,
        ),
        (
            on(json!("OnReset"), json!({"Quiet": false})),
            400,
            &[("/@Redfish.SettingsApplyTime", TYPE), ("/Attributes", CONFLICT)],
            None,
        ),
        (
            json!({"@Redfish.SettingsApplyTime": {"ApplyTime": "Deferred"}}),
            400,
            &[(APPLY_TIME, "PropertyValueNotInList")],
            None,
        ),
    ];
    let mut bench = Bench::agreeing();
    for (body, status, said, wanted) in table {
        assert_eq!(patch(&mut bench, SETTINGS, &body), (status, owned(said)), "{body}");
        let Some(wanted) = wanted else {
            assert!(bench.called.is_empty(), "{body}");
            continue;
        };
        let request = asked(&bench);
        let wanted = wanted.as_object().unwrap().iter();
        let wanted = wanted.map(|(name, value)| (name.clone(), set(value.clone()).unwrap())).collect();
        let expected = v1::UpdateHostFirmwareRequest {
            host_name: "system".into(),
            attributes: wanted,
            ..v1::UpdateHostFirmwareRequest::default()
        };
        assert_eq!(request, expected, "{body}");
    }
    let many: serde_json::Map<String, Value> = (0..513).map(|at| (format!("A{at}"), json!(1))).collect();
    let answer = patch(&mut bench, SETTINGS, &json!({"Attributes": many}));
    assert_eq!(answer, (400, owned(&[("/Attributes", "PropertyValueError")])));
}

#[test]
fn what_its_owner_refuses_is_told_of_the_attribute() {
    let mut bench = Bench::agreeing();
    let refuse = |bench: &mut Bench, field: &str| {
        let fields = vec![(field.to_owned(), "not today".to_owned())];
        bench.refuse(UPDATE, Fault { fields, ..Fault::new(Code::InvalidArgument, "it is refused") });
    };
    let body = json!({"Attributes": {"Retries": 8, "Quiet": false}});
    for field in ["attributes.Retries", "attributes[\"Retries\"]"] {
        refuse(&mut bench, field);
        let said =
            owned(&[("/Attributes/Quiet", CONFLICT), ("/Attributes/Retries", "PropertyValueIncorrect")]);
        assert_eq!(patch(&mut bench, SETTINGS, &body), (400, said), "{field}");
    }
    let on = |path: &str, body: Value, place: &str| (path.to_owned(), body, place.to_owned());
    for (field, (path, body, place)) in [
        ("attributes", on(SETTINGS, body.clone(), "/Attributes")),
        ("secure_boot_enabled", on(SECURE_BOOT, json!({"SecureBootEnable": true}), "/SecureBootEnable")),
        (
            "boot_options_enabled.Boot0002",
            on(&format!("{OPTIONS}/Boot0002"), json!({"BootOptionEnabled": false}), "/BootOptionEnabled"),
        ),
        ("boot_order.names[0]", on(SYSTEM, json!({"Boot": {"BootOrder": ["Boot0002"]}}), "/Boot/BootOrder")),
    ] {
        refuse(&mut bench, field);
        let answer = bench.send(Method::Patch, &path, &body);
        let said = owned(&[(place.as_str(), "PropertyValueIncorrect")]);
        assert_eq!((answer.status, told(&answer)), (400, said), "{field}");
        assert_eq!(answer.value()["error"]["@Message.ExtendedInfo"][0]["Resolution"], "not today", "{field}");
    }
    refuse(&mut bench, "secure_boot_keys_action");
    let keys = format!("{SECURE_BOOT}/Actions/SecureBoot.ResetKeys");
    let answer = bench.send(Method::Post, &keys, &json!({"ResetKeysType": "DeletePK"}));
    assert_eq!(told(&answer), owned(&[("/ResetKeysType", "ActionParameterValueError")]));
    // Somebody who is away may be asked again.
    bench.refuse(UPDATE, Fault::new(Code::Unavailable, "statemgr does not answer"));
    let answer = bench.send(Method::Patch, SETTINGS, &json!({"Attributes": {"Quiet": false}}));
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
}

#[test]
fn the_bios_itself_is_changed_by_its_settings_resource_only() {
    let mut bench = Bench::agreeing();
    for method in [Method::Patch, Method::Put] {
        let answer = bench.send(method, BIOS, &json!({"Attributes": {"Quiet": false}}));
        assert_eq!((answer.status, said(&answer).as_str()), (405, "OperationNotAllowed"));
        assert_eq!(answer.header("allow"), Some("GET, HEAD"));
        let resolution = answer.value()["error"]["@Message.ExtendedInfo"][0]["Resolution"].clone();
        assert!(resolution.as_str().unwrap().contains(SETTINGS), "{resolution}");
    }
    let answer = bench.send(Method::Delete, BIOS, &json!({}));
    assert_eq!((answer.status, said(&answer).as_str()), (405, "OperationNotAllowed"));
    assert_eq!(answer.value()["error"]["@Message.ExtendedInfo"][0]["Resolution"], "None.");
    assert!(bench.called.is_empty());
    // DMTF's schema has no deletion of either: a wish is taken back by the value there is.
    assert_eq!(bench.send(Method::Delete, SETTINGS, &json!({})).status, 405);
    assert!(bench.called.is_empty());
}

#[test]
fn a_condition_is_held_to_the_settings_there_are() {
    let mut bench = Bench::agreeing();
    let first = bench.get(SETTINGS).header("etag").unwrap().to_owned();
    let other = bench.get(BIOS).header("etag").unwrap().to_owned();
    let body = json!({"Attributes": {"Quiet": false}}).to_string();
    let send = |bench: &mut Bench, method: Method, tag: &str| {
        bench.called.clear();
        let request = Request { if_match: Some(tag.to_owned()), ..Request::default() };
        let answer = bench.ask(method, SETTINGS, &body, request);
        (answer.status, bench.called.len())
    };
    assert_eq!(send(&mut bench, Method::Patch, &first), (200, 1));
    for tag in [other.as_str(), "\"0\""] {
        assert_eq!(send(&mut bench, Method::Patch, tag), (412, 0), "{tag}");
    }
    // Somebody else wishes something.
    let mut wished = firmware("system");
    wished.attributes[0].pending = set("Disabled");
    report(&mut bench, vec![wished]);
    assert_eq!(send(&mut bench, Method::Patch, &first), (412, 0));
}

#[test]
fn all_attributes_are_set_as_the_manufacturer_does_with_or_without_a_body() {
    let mut bench = Bench::agreeing();
    let target = format!("{BIOS}/Actions/Bios.ResetBios");
    for body in ["", "{}"] {
        bench.called.clear();
        let answer = bench.ask(Method::Post, &target, body, Request::default());
        assert_eq!(answer.status, 204, "{body:?}");
        let expected = v1::UpdateHostFirmwareRequest {
            host_name: "system".into(),
            reset_to_defaults: true,
            ..v1::UpdateHostFirmwareRequest::default()
        };
        assert_eq!(asked(&bench), expected, "{body:?}");
    }
    bench.called.clear();
    let answer = bench.send(Method::Post, &target, &json!({"ResetType": "x"}));
    assert_eq!((answer.status, told(&answer)), (400, owned(&[("/ResetType", "ActionParameterUnknown")])));
    assert_eq!(bench.get(&format!("{SETTINGS}/Actions/Bios.ResetBios")).status, 404);
    assert!(bench.called.is_empty());
}

#[test]
fn secure_boot_is_shown_switched_and_has_its_keys_reset() {
    let mut bench = Bench::agreeing();
    let shown = bench.shown(SECURE_BOOT);
    assert_eq!(
        (&shown["SecureBootEnable"], &shown["SecureBootCurrentBoot"], &shown["SecureBootMode"]),
        (&json!(true), &json!("Disabled"), &json!("UserMode"))
    );
    let kinds = json!(["ResetAllKeysToDefault", "DeleteAllKeys", "DeletePK"]);
    let action = &shown["Actions"]["#SecureBoot.ResetKeys"];
    assert_eq!(action["ResetKeysType@Redfish.AllowableValues"], kinds);
    let info = bench.shown(action["@Redfish.ActionInfo"].as_str().unwrap());
    assert_eq!(info["Parameters"][0]["AllowableValues"], kinds);
    for enabled in [true, false] {
        assert_eq!(patch(&mut bench, SECURE_BOOT, &json!({"SecureBootEnable": enabled})), (200, vec![]));
        assert_eq!(asked(&bench).secure_boot_enabled, Some(enabled));
    }
    for (body, place, id) in [
        (json!({"SecureBootEnable": "on"}), "/SecureBootEnable", "PropertyValueTypeError"),
        (json!({"SecureBootEnable": null}), "/SecureBootEnable", "PropertyValueTypeError"),
        (json!({"SecureBootMode": "UserMode"}), "/SecureBootMode", "PropertyNotWritable"),
    ] {
        assert_eq!(patch(&mut bench, SECURE_BOOT, &body), (400, owned(&[(place, id)])), "{body}");
        assert!(bench.called.is_empty(), "{body}");
    }
    let target = action["target"].as_str().unwrap();
    use v1::SecureBootKeysAction as A;
    for (kind, expected) in [
        ("ResetAllKeysToDefault", A::ResetAllToDefault),
        ("DeleteAllKeys", A::DeleteAll),
        ("DeletePK", A::DeletePlatformKey),
    ] {
        bench.called.clear();
        assert_eq!(bench.send(Method::Post, target, &json!({"ResetKeysType": kind})).status, 204);
        let request = asked(&bench);
        assert_eq!((request.secure_boot_keys_action(), request.secure_boot_enabled), (expected, None));
    }
    bench.called.clear();
    for (body, id) in [
        (json!({}), "ActionParameterMissing"),
        (json!({"ResetKeysType": "All"}), "ActionParameterValueNotInList"),
        (json!({"ResetKeysType": null}), "ActionParameterValueTypeError"),
    ] {
        let answer = bench.send(Method::Post, target, &body);
        assert_eq!((answer.status, said(&answer).as_str()), (400, id), "{body}");
    }
    assert!(bench.called.is_empty());
    for (mode, shown) in [
        (v1::SecureBootMode::Setup, Some("SetupMode")),
        (v1::SecureBootMode::Audit, Some("AuditMode")),
        (v1::SecureBootMode::Deployed, Some("DeployedMode")),
        (v1::SecureBootMode::Unspecified, None),
    ] {
        let secure_boot = v1::SecureBoot { mode: mode.into(), active: true, ..v1::SecureBoot::default() };
        let other = v1::HostFirmware { secure_boot: Some(secure_boot), ..firmware("system") };
        report(&mut bench, vec![other]);
        let secure = bench.shown(SECURE_BOOT);
        assert_eq!(secure.get("SecureBootMode").and_then(Value::as_str), shown);
        assert_eq!(
            (&secure["SecureBootEnable"], &secure["SecureBootCurrentBoot"]),
            (&json!(false), &json!("Enabled"))
        );
    }
}

#[test]
fn boot_options_are_shown_and_left_out_or_tried_again() {
    let mut bench = Bench::agreeing();
    let all = bench.shown(OPTIONS);
    assert_eq!(all["Members@odata.count"], 3);
    let option = bench.shown(&format!("{OPTIONS}/Boot0002"));
    for (name, value) in [
        ("Id", "Boot0002"),
        ("Name", "Option Boot0002"),
        ("BootOptionReference", "Boot0002"),
        ("DisplayName", "Option Boot0002"),
        ("UefiDevicePath", "PciRoot(0x0)/Pci(0x1,0x0)"),
        ("Alias", "Pxe"),
    ] {
        assert_eq!(option[name], value, "{name}");
    }
    assert_eq!(option["BootOptionEnabled"], true);
    assert!(bench.shown(&format!("{OPTIONS}/Boot0003")).get("Alias").is_none());
    assert_eq!(bench.get(&format!("{OPTIONS}/Boot0009")).status, 404);
    let path = format!("{OPTIONS}/Boot0002");
    assert_eq!(patch(&mut bench, &path, &json!({"BootOptionEnabled": false})), (200, vec![]));
    assert_eq!(asked(&bench).boot_options_enabled, HashMap::from([("Boot0002".to_owned(), false)]));
    let wrong = patch(&mut bench, &path, &json!({"BootOptionEnabled": 0, "Alias": "Hdd"}));
    let said = [("/Alias", "PropertyNotWritable"), ("/BootOptionEnabled", "PropertyValueTypeError")];
    assert_eq!(wrong, (400, owned(&said)));
    assert!(bench.called.is_empty());
}

#[test]
fn the_boot_order_counts_by_itself_and_each_wrong_reference_is_told() {
    let mut bench = Bench::agreeing();
    let boot = bench.shown(SYSTEM)["Boot"].clone();
    let order = json!(["Boot0001", "Boot0002", "Boot0003"]);
    assert_eq!((&boot["BootOrder"], &boot["BootOrderPropertySelection"]), (&order, &json!("BootOrder")));
    assert_eq!((&boot["BootNext@Redfish.AllowableValues"], &boot["BootNext"]), (&order, &Value::Null));
    assert_eq!(boot["BootOptions"], json!({"@odata.id": OPTIONS}));
    // To show it nobody is asked for the whole report.
    assert!(bench.asked.iter().all(|call| call.method.method != "GetHostFirmware"));

    let wished = json!({"Boot": {"BootOrder": ["Boot0003", "Boot0001"]}});
    assert_eq!(patch(&mut bench, SYSTEM, &wished), (200, vec![]));
    let names = asked(&bench).boot_order.unwrap().names;
    assert_eq!(names, ["Boot0003", "Boot0001"]);
    const LISTED: &str = "PropertyValueNotInList";
    type Row = (Value, u16, &'static [(&'static str, &'static str)], &'static [&'static str]);
    let table: Vec<Row> = vec![
        (json!({"BootOrder": ["Boot0009"]}), 400, &[("/Boot/BootOrder/0", LISTED)], &[]),
        (
            json!({"BootOrder": ["Boot0002", "Boot0002", "Boot0001", "x"]}),
            400,
            &[("/Boot/BootOrder/1", LISTED), ("/Boot/BootOrder/3", LISTED)],
            &[],
        ),
        (json!({"BootOrder": "Boot0002"}), 400, &[("/Boot/BootOrder", "PropertyValueTypeError")], &[]),
        (json!({"BootOrder": ["Boot0002", 1]}), 400, &[("/Boot/BootOrder", "PropertyValueTypeError")], &[]),
        (
            json!({"BootOrderPropertySelection": "AliasBootOrder"}),
            400,
            &[("/Boot/BootOrderPropertySelection", "PropertyNotWritable")],
            &[],
        ),
        // What null stands for is taken out of the list (DSP0266, "PATCH (update)", of arrays).
        (json!({"BootOrder": ["Boot0002", null]}), 200, &[], &["UpdateHostFirmware"]),
        // Each half by itself, and each told.
        (
            json!({"BootOrder": ["Boot0002"], "BootSourceOverrideTarget": "Pxe"}),
            200,
            &[],
            &["UpdateHost", "UpdateHostFirmware"],
        ),
        (
            json!({"BootOrder": ["Boot0009"], "BootSourceOverrideTarget": "Pxe"}),
            200,
            &[("/Boot/BootOrder/0", LISTED)],
            &["UpdateHost"],
        ),
        (
            json!({"BootOrder": ["Boot0002"], "BootSourceOverrideTarget": "Floppy"}),
            200,
            &[("/Boot/BootSourceOverrideTarget", LISTED)],
            &["UpdateHostFirmware"],
        ),
        // What is booted next is one of the options.
        (
            json!({"BootSourceOverrideTarget": "UefiBootNext", "BootNext": "Boot0009"}),
            400,
            &[("/Boot/BootNext", LISTED), ("/Boot/BootSourceOverrideTarget", CONFLICT)],
            &[],
        ),
        (
            json!({"BootSourceOverrideTarget": "UefiBootNext", "BootNext": "Boot0003"}),
            200,
            &[],
            &["UpdateHost"],
        ),
    ];
    for (boot, status, said, calls) in table {
        let body = json!({ "Boot": boot });
        assert_eq!(patch(&mut bench, SYSTEM, &body), (status, owned(said)), "{body}");
        assert_eq!(methods(&bench), calls, "{body}");
    }
    // Nobody knows the options: their owner says what becomes of it.
    bench.refuse(GET, Fault::new(Code::Unavailable, "statemgr does not answer"));
    bench.refuse(UPDATE, Fault::new(Code::Unavailable, "statemgr does not answer"));
    let answer = bench.send(Method::Patch, SYSTEM, &wished);
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
}

#[test]
fn each_system_has_what_its_firmware_has() {
    let mut bench = Bench::agreeing();
    let host = |name: &str, firmware_settings| v1::Host {
        name: name.into(),
        firmware_settings,
        ..v1::Host::default()
    };
    let settings_only = v1::HostFirmwareSummary { has_attributes: true, ..Default::default() };
    let hosts = vec![
        host("system", Some(firmware_summary())),
        host("host-1", Some(settings_only)),
        host("host2", None),
        host("host3", Some(v1::HostFirmwareSummary::default())),
    ];
    bench.say("rpc.HostService.ListHosts", &v1::ListHostsResponse { hosts });
    let one = v1::HostFirmware {
        host_name: "host-1".into(),
        attributes: vec![attribute("Fans", v1::FirmwareAttributeType::Integer, set(7))],
        ..v1::HostFirmware::default()
    };
    let none = v1::HostFirmware { host_name: "host3".into(), ..v1::HostFirmware::default() };
    report(&mut bench, vec![firmware("system"), one, none]);
    for (host, bios, secure, options) in [
        ("system", true, true, true),
        ("host-1", true, false, false),
        ("host2", false, false, false),
        ("host3", false, false, false),
    ] {
        let uri = format!("/redfish/v1/Systems/{host}");
        let shown = bench.shown(&uri);
        let order = shown["Boot"].get("BootOrder").is_some();
        let links = (shown.get("Bios").is_some(), shown.get("SecureBoot").is_some());
        assert_eq!((links, shown["Boot"].get("BootOptions").is_some()), ((bios, secure), options), "{host}");
        assert_eq!(order, options, "{host}");
        for (path, is_there) in
            [("Bios", bios), ("Bios/Settings", bios), ("SecureBoot", secure), ("BootOptions", options)]
        {
            let answer = bench.get(&format!("{uri}/{path}"));
            assert_eq!(answer.status, if is_there { 200 } else { 404 }, "{host} {path}");
        }
        for (action, body, is_there) in [
            ("Bios/Actions/Bios.ResetBios", json!({}), bios),
            ("SecureBoot/Actions/SecureBoot.ResetKeys", json!({"ResetKeysType": "DeletePK"}), secure),
        ] {
            bench.called.clear();
            let answer = bench.send(Method::Post, &format!("{uri}/{action}"), &body);
            assert_eq!(answer.status, if is_there { 204 } else { 404 }, "{host} {action}");
            assert_eq!(bench.called.len(), usize::from(is_there), "{host} {action}");
        }
        if !options {
            let body = json!({"Boot": {"BootOrder": ["Boot0001"]}});
            let said = owned(&[("/Boot/BootOrder", "PropertyNotWritable")]);
            assert_eq!(patch(&mut bench, &uri, &body), (400, said), "{host}");
            assert!(bench.called.is_empty(), "{host}");
        }
        let registry = format!("/redfish/v1/Registries/BiosAttributeRegistry.{host}");
        let content = format!("{registry}/BiosAttributeRegistry.{host}");
        for path in [&registry, &content] {
            assert_eq!(bench.get(path).status, if bios { 200 } else { 404 }, "{path}");
        }
    }
    let other = "/redfish/v1/Systems/host-1/Bios";
    assert_eq!(bench.shown(other)["Attributes"], json!({"Fans": 7}));
    let said = owned(&[("/Attributes/Quiet", "PropertyUnknown")]);
    let body = json!({"Attributes": {"Quiet": false}});
    assert_eq!(patch(&mut bench, &format!("{other}/Settings"), &body), (400, said));
    // An attribute whose bounds the firmware does not say.
    assert_eq!(
        patch(&mut bench, &format!("{other}/Settings"), &json!({"Attributes": {"Fans": -5}})),
        (200, vec![])
    );
    assert_eq!(asked(&bench).host_name, "host-1");
    let registry = "/redfish/v1/Registries/BiosAttributeRegistry.host-1/BiosAttributeRegistry.host-1";
    let shown = bench.shown(registry);
    assert_eq!(shown["RegistryEntries"]["Attributes"][0]["AttributeName"], "Fans");
    assert!(shown.get("SupportedSystems").is_none(), "its name is none that the schema takes");
    let mixed = "/redfish/v1/Registries/BiosAttributeRegistry.host-1/BiosAttributeRegistry.system";
    assert_eq!(bench.get(mixed).status, 404);
    let files = bench.shown("/redfish/v1/Registries");
    let files: Vec<&str> =
        files["Members"].as_array().unwrap().iter().filter_map(|one| one["@odata.id"].as_str()).collect();
    let of_firmware: Vec<&&str> = files.iter().filter(|uri| uri.contains("BiosAttributeRegistry")).collect();
    assert_eq!(
        of_firmware,
        [
            &"/redfish/v1/Registries/BiosAttributeRegistry.system",
            &"/redfish/v1/Registries/BiosAttributeRegistry.host-1"
        ]
    );
}

#[test]
fn without_its_daemon_what_a_firmware_has_is_unavailable_for_a_while_and_nothing_else() {
    let mut bench = Bench::agreeing();
    bench.refuse(GET, Fault::new(Code::Unavailable, "statemgr does not answer"));
    let registry = format!("/redfish/v1/Registries/{REGISTRY}");
    let content = format!("{registry}/{REGISTRY}");
    for path in [BIOS, SETTINGS, SECURE_BOOT, OPTIONS, &content] {
        let answer = bench.get(path);
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{path}");
    }
    assert_eq!(bench.get(&registry).status, 200, "the system says that it has one");
    for (method, path, body) in [
        (Method::Patch, SETTINGS, json!({"Attributes": {"Quiet": false}})),
        (Method::Patch, SECURE_BOOT, json!({"SecureBootEnable": true})),
    ] {
        assert_eq!(bench.send(method, path, &body).status, 503, "{path}");
    }
    assert!(bench.called.is_empty());
    // The machine is shown, and messages are.
    assert_eq!(bench.shown(SYSTEM)["Bios"], json!({"@odata.id": BIOS}));
    let files = bench.shown("/redfish/v1/Registries");
    assert!(files.to_string().contains("BiosAttributeRegistry"));
    bench.refuse("rpc.HostService.ListHosts", Fault::new(Code::Unavailable, "statemgr does not answer"));
    let files = bench.shown("/redfish/v1/Registries");
    assert!(files["Members@odata.count"].as_u64().unwrap() > 4, "{files}");
    assert!(!files.to_string().contains("BiosAttributeRegistry"));
    assert_eq!(bench.get("/redfish/v1/Registries/Base/Base").status, 200);
    assert_eq!(bench.get(&registry).status, 503);
}

#[test]
fn firmware_that_nobody_knows_yet_is_unavailable_for_a_while_and_not_gone() {
    let mut bench = Bench::agreeing();
    // statemgr was restarted, and the mailbox has not answered it: it says nothing of the firmware with the host.
    let host = v1::Host { name: "system".into(), ..v1::Host::default() };
    bench.say("rpc.HostService.ListHosts", &v1::ListHostsResponse { hosts: vec![host] });
    let why = Fault { reason: "FIRMWARE_UNREACHABLE".into(), ..Fault::new(Code::Unavailable, "try again") };
    bench.refuse(GET, why);
    let registry = format!("/redfish/v1/Registries/{REGISTRY}");
    let option = format!("{OPTIONS}/Boot0001");
    for path in [BIOS, SETTINGS, SECURE_BOOT, OPTIONS, &option, &registry, &format!("{registry}/{REGISTRY}")]
    {
        let answer = bench.get(path);
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{path}");
    }
    let reset = bench.send(Method::Post, &format!("{BIOS}/Actions/Bios.ResetBios"), &json!({}));
    assert_eq!((reset.status, bench.called.len()), (503, 0));
    // Of one that has not reported it is known that there is nothing, and so of a host that is none.
    bench.answers.remove(GET);
    bench.firmware.clear();
    let long = "x".repeat(65);
    for host in ["system", "nobody", &long] {
        assert_eq!(bench.get(&format!("/redfish/v1/Systems/{host}/Bios")).status, 404, "{host}");
    }
}

#[test]
fn one_system_is_asked_of_and_others_stay_links() {
    let mut bench = Bench::new();
    let host = |name: &str| v1::Host {
        name: name.into(),
        firmware_settings: Some(firmware_summary()),
        ..v1::Host::default()
    };
    let hosts = vec![host("system"), host("other")];
    bench.say("rpc.HostService.ListHosts", &v1::ListHostsResponse { hosts });
    report(&mut bench, vec![firmware("system"), firmware("other")]);
    let hosts_asked = |bench: &Bench| -> Vec<String> {
        let of_firmware = bench.asked.iter().filter(|call| call.method.subject == GET);
        let name = |call: &redfish::Call| {
            v1::GetHostFirmwareRequest::decode(call.request.as_slice()).unwrap().host_name
        };
        of_firmware.map(name).collect()
    };
    for (path, host) in [
        ("/redfish/v1/Systems/other/Bios", "other"),
        ("/redfish/v1/Systems/other/BootOptions", "other"),
        ("/redfish/v1/Registries/BiosAttributeRegistry.other/BiosAttributeRegistry.other", "other"),
        ("/redfish/v1/Systems/system?$expand=.", "system"),
    ] {
        bench.asked.clear();
        assert_eq!(bench.get(path).status, 200, "{path}");
        assert_eq!(hosts_asked(&bench), [host], "{path}");
    }
    bench.asked.clear();
    let all = bench.shown("/redfish/v1/Systems?$expand=.($levels=2)");
    assert_eq!(all["Members"][1]["Bios"], json!({"@odata.id": "/redfish/v1/Systems/other/Bios"}));
    let files = bench.shown("/redfish/v1/Registries?$expand=.");
    assert!(files.to_string().contains("BiosAttributeRegistry.other.1.0"));
    assert_eq!(hosts_asked(&bench), [""; 0]);
}
