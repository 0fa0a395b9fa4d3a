//! The tree of resources: everything that is linked is there, and looks as the specification says.

mod support;

use prost::Message as _;
use redfish::{Answer, Fault, Method, Request, resources};
use schema::Code;
use schema::v1alpha1 as v1;
use serde_json::{Value, json};
use support::{Bench, asker, said, tree};

/// The ids of a collection's members, which it has whole.
fn ids(collection: &Value) -> Vec<&str> {
    let members = collection["Members"].as_array().unwrap();
    members.iter().map(|member| member["Id"].as_str().unwrap()).collect()
}

#[test]
fn every_resource_is_reached_from_the_root_and_says_who_it_is() {
    let mut bench = Bench::new();
    let tree = tree(&mut bench);
    for (path, value) in tree.iter().filter(|(_, value)| !value.is_null() && value.get("Messages").is_none())
    {
        assert_eq!(value["@odata.id"], *path, "{path}");
        assert!(value["Name"].is_string(), "{path}");
        let kind = value["@odata.type"].as_str().unwrap();
        match value.get("Members") {
            Some(members) => {
                assert_eq!(value["Members@odata.count"], members.as_array().unwrap().len(), "{path}");
                assert!(kind.matches('.').count() == 1 && value.get("Id").is_none(), "{path}");
            }
            None if path != "/redfish/v1/" => {
                assert_eq!(value["Id"], path.rsplit('/').next().unwrap(), "{path}")
            }
            None => {}
        }
    }
    for resource in resources::ALL {
        let parts: Vec<&str> = resource.path.split('/').collect();
        let fits = |path: &str| {
            let path: Vec<&str> = path.trim_start_matches("/redfish/v1/").split('/').collect();
            path.len() == parts.len() && path.iter().zip(&parts).all(|(a, b)| a == b || *b == "{}")
        };
        assert!(tree.iter().any(|(path, _)| fits(path)), "{} is nowhere linked", resource.path);
    }
}

#[test]
fn a_machine_is_shown_as_its_daemons_say() {
    let mut bench = Bench::new();
    let system = bench.shown("/redfish/v1/Systems/system");
    for (place, expected) in [
        ("/PowerState", json!("On")),
        ("/Status", json!({"State": "Enabled", "Health": "OK"})),
        ("/BiosVersion", json!("1.2.3")),
        ("/PowerRestorePolicy", json!("LastState")),
        ("/AssetTag", json!("tag")),
        ("/MemorySummary/TotalSystemMemoryGiB", json!(16)),
        ("/ProcessorSummary", json!({"Count": 1, "Model": "Product system-cpu0"})),
        ("/LocationIndicatorActive", json!(false)),
        ("/Links/Chassis/0/@odata.id", json!("/redfish/v1/Chassis/chassis")),
        (
            "/Actions/#ComputerSystem.Reset/target",
            json!("/redfish/v1/Systems/system/Actions/ComputerSystem.Reset"),
        ),
        ("/Boot/BootSourceOverrideEnabled", json!("Disabled")),
        ("/SerialConsole/WebSocket/Interactive", json!(true)),
        ("/SerialConsole/SSH/Port", json!(2200)),
        ("/SerialConsole/SSH/ConsoleEntryCommand", json!("system")),
        ("/GraphicalConsole/ServiceEnabled", json!(true)),
        ("/GraphicalConsole/ConnectTypesSupported", json!(["KVMIP"])),
        ("/GraphicalConsole/Port", json!(5900)),
        ("/SerialConsole/WebSocket/ConsoleURI", json!("/api/v1alpha1/consoles/system/socket?bytesOnly=true")),
    ] {
        assert_eq!(system.pointer(place), Some(&expected), "{place}");
    }
    let info = bench.shown("/redfish/v1/Systems/system/ResetActionInfo");
    assert_eq!(
        info["Parameters"][0]["AllowableValues"],
        system["Actions"]["#ComputerSystem.Reset"]["ResetType@Redfish.AllowableValues"]
    );
    let account = bench.shown("/redfish/v1/AccountService/Accounts/olga");
    assert_eq!((&account["Password"], &account["RoleId"]), (&Value::Null, &json!("Operator")));
    assert!(account.as_object().unwrap().contains_key("Password"));
}

#[test]
fn what_a_machine_is_made_of_is_shown_as_far_as_its_parts_say_it() {
    let mut bench = Bench::new();
    let port = bench.shown("/redfish/v1/Systems/system/EthernetInterfaces/system-nic0");
    assert_eq!((&port["MACAddress"], &port["InterfaceEnabled"]), (&json!(support::MAC), &json!(true)));
    // Drives that say who they are go before the list of the firmware.
    let storage = bench.shown("/redfish/v1/Systems/system/Storage/drives");
    let drive = "/redfish/v1/Chassis/chassis/Drives/nvme0";
    assert_eq!(storage["Drives"], json!([{"@odata.id": drive}]));
    let drive = bench.shown(drive);
    assert_eq!((&drive["Protocol"], &drive["PredictedMediaLifeLeftPercent"]), (&json!("NVMe"), &json!(88)));
    assert_eq!(drive["Status"]["Health"], "Warning");
    let system = bench.shown("/redfish/v1/Systems/system");
    let devices = ["system-nic0", "system-drive0"]
        .map(|id| json!({"@odata.id": format!("/redfish/v1/Systems/system/PCIeDevices/{id}")}));
    assert_eq!(system["PCIeDevices"], json!(devices), "an empty slot is no device");
    let function = bench.shown("/redfish/v1/Systems/system/PCIeDevices/system-nic0/PCIeFunctions/1");
    assert_eq!((&function["BusNumber"], &function["FunctionId"]), (&json!("0x21"), &json!(1)));
    for path in ["Storage/other", "Storage/drives/Drives/nvme0", "EthernetInterfaces/nvme0"] {
        assert_eq!(bench.get(&format!("/redfish/v1/Systems/system/{path}")).status, 404, "{path}");
    }
    // Nothing is known of them without their daemon.
    bench.refuse("rpc.AssetService.ListAssets", Fault::new(Code::Unavailable, "gone"));
    let system = bench.shown("/redfish/v1/Systems/system");
    assert!(system.get("PCIeDevices").is_none());
}

#[test]
fn logs_are_views_of_the_events_and_of_the_console() {
    let mut bench = Bench::new();
    let ids = |bench: &mut Bench, path: &str| -> Vec<String> {
        let entries = bench.shown(&format!("/redfish/v1/{path}/Entries"));
        let members = entries["Members"].as_array().unwrap().clone();
        members.iter().map(|member| member["Id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&mut bench, "Managers/bmc/LogServices/EventLog"), ["ev2", "ev1"]);
    assert_eq!(ids(&mut bench, "Managers/bmc/LogServices/AuditLog"), ["ev1"]);
    assert_eq!(ids(&mut bench, "Systems/system/LogServices/SEL"), ["ev2", "ev1"]);
    let console = ids(&mut bench, "Systems/system/LogServices/ConsoleLog");
    assert_eq!(console, ["1790000001.000000000-1", "1790000001.000000000-0"], "newest first");
    let line =
        bench.shown(&format!("/redfish/v1/Systems/system/LogServices/ConsoleLog/Entries/{}", console[0]));
    assert_eq!((&line["Message"], &line["EntryType"]), (&json!("two"), &json!("Oem")));
    let entry = bench.shown("/redfish/v1/Managers/bmc/LogServices/AuditLog/Entries/ev1");
    assert_eq!((&entry["Originator"], &entry["EntryType"]), (&json!("olga"), &json!("Event")));
    // Records tell of everybody: who may not configure users does without them, and nobody is asked for them.
    let mut bench = Bench::by(asker("rita", auth::Role::ReadOnly));
    assert_eq!(ids(&mut bench, "Managers/bmc/LogServices/AuditLog"), ["ev1"]);
    assert!(!bench.asked.iter().any(|call| call.request.windows(5).any(|part| part == b"audit")));
    // Who may not open the console does not see its log either.
    let mut bench = Bench::by(asker("rita", auth::Role::ReadOnly));
    let logs = bench.shown("/redfish/v1/Systems/system/LogServices");
    assert_eq!(logs["Members"], json!([{"@odata.id": "/redfish/v1/Systems/system/LogServices/SEL"}]));
    assert_eq!(bench.get("/redfish/v1/Systems/system/LogServices/ConsoleLog/Entries").status, 404);
}

#[test]
fn each_of_several_systems_has_what_is_about_it_in_its_log_and_what_it_shares() {
    let mut bench = Bench::new();
    let host = |name: &str, chassis: &str| v1::Host {
        name: name.into(),
        chassis_name: chassis.into(),
        ..v1::Host::default()
    };
    let hosts = vec![host("system", "chassis"), host("host1", "chassis"), host("host2", "other")];
    bench.say("rpc.HostService.ListHosts", &v1::ListHostsResponse { hosts });
    let chassis = |name: &str, hosts: &[&str]| v1::Chassis {
        name: name.into(),
        host_names: hosts.iter().map(|host| (*host).to_owned()).collect(),
        ..v1::Chassis::default()
    };
    let all = vec![chassis("chassis", &["system", "host1"]), chassis("other", &["host2"])];
    bench.say(
        "rpc.ChassisService.ListChassis",
        &v1::ListChassisResponse { chassis: all, ..Default::default() },
    );
    let asset =
        |id: &str, host: &str| v1::Asset { id: id.into(), host_name: host.into(), ..v1::Asset::default() };
    let assets = vec![asset("dimm-of-1", "host1"), asset("psu0", "")];
    bench.say("rpc.AssetService.ListAssets", &v1::ListAssetsResponse { assets });
    let event = |id: &str, domain: &str, component: &str| v1::Event {
        id: id.into(),
        domain: domain.into(),
        component: component.into(),
        ..v1::Event::default()
    };
    let record = v1::event::Payload::IpmiSelRecord(v1::IpmiSelRecord::default());
    let events = vec![
        event("h0", "host", "system"),
        event("h1", "host", "host1"),
        event("h2", "host", "host2"),
        event("c0", "chassis", "chassis"),
        event("c1", "chassis", "other"),
        event("sensor", "sensor", "cpu0_temp"),
        event("fan", "thermal", "fan0"),
        event("part", "inventory", "dimm-of-1"),
        event("supply", "inventory", "psu0"),
        event("named0", "inventory", "system"),
        event("named2", "inventory", "host2"),
        v1::Event { payload: Some(record), ..event("ipmi", "ipmi", "sel") },
        event("login", "session", "s"),
    ];
    bench.say("rpc.EventService.ListEvents", &v1::ListEventsResponse { events, ..Default::default() });
    for (host, expected) in [
        ("system", &["h0", "c0", "sensor", "fan", "supply", "named0", "ipmi"][..]),
        ("host1", &["h1", "c0", "sensor", "fan", "part", "supply"]),
        // What its firmware names is its own, though its chassis is another.
        ("host2", &["h2", "c1", "named2"]),
    ] {
        let entries = bench.shown(&format!("/redfish/v1/Systems/{host}/LogServices/SEL/Entries"));
        assert_eq!(ids(&entries), expected, "{host}");
    }
    assert_eq!(bench.get("/redfish/v1/Systems/host2/LogServices/SEL/Entries/h0").status, 404);
}

#[test]
fn the_log_of_a_system_waits_for_inventorymgr_only_where_it_tells_of_a_part() {
    let mut bench = Bench::new();
    let event = |id: &str, domain: &str, component: &str| v1::Event {
        id: id.into(),
        domain: domain.into(),
        component: component.into(),
        ..v1::Event::default()
    };
    let mut all = v1::ListEventsResponse {
        events: vec![event("2", "host", "system"), event("1", "session", "s")],
        ..Default::default()
    };
    let mut asks = |all: &v1::ListEventsResponse, expected: &[&str]| -> bool {
        bench.say("rpc.EventService.ListEvents", all);
        bench.asked.clear();
        let entries = bench.shown("/redfish/v1/Systems/system/LogServices/SEL/Entries");
        assert_eq!(ids(&entries), expected);
        bench.asked.iter().any(|call| call.method.method == "ListAssets")
    };
    assert!(!asks(&all, &["2"]));
    all.events.push(event("0", "inventory", "no-such-part"));
    assert!(asks(&all, &["2", "0"]));
}

#[test]
fn systems_without_a_part_of_their_own_share_no_number_and_no_tag() {
    let mut bench = Bench::new();
    bench.agree();
    let host = |name: &str| v1::Host { name: name.into(), ..v1::Host::default() };
    let asset = |id: &str, host: &str| v1::Asset {
        id: id.into(),
        host_name: host.into(),
        r#type: v1::AssetType::System.into(),
        present: true,
        info: Some(v1::AssetInfo {
            product_name: format!("Product {id}"),
            serial_number: Some(format!("serial {id}")),
            uuid: Some(format!("uuid {id}")),
            asset_tag: Some(format!("tag {id}")),
            ..v1::AssetInfo::default()
        }),
        ..v1::Asset::default()
    };
    let assets = vec![asset("platform", ""), asset("own", "host1")];
    bench.say("rpc.AssetService.ListAssets", &v1::ListAssetsResponse { assets });
    let hosts = vec![host("system"), host("host1"), host("host2")];
    bench.say("rpc.HostService.ListHosts", &v1::ListHostsResponse { hosts });
    for name in ["system", "host2"] {
        let uri = format!("/redfish/v1/Systems/{name}");
        let shown = bench.shown(&uri);
        for property in ["UUID", "SerialNumber", "AssetTag", "Model"] {
            assert!(shown.get(property).is_none(), "{name} {property}: {}", shown[property]);
        }
        assert_eq!(shown["Name"], name);
        // A tag for one of them would be one for all.
        let answer = bench.send(Method::Patch, &uri, &json!({"AssetTag": "rack 7"}));
        assert_eq!((answer.status, said(&answer).as_str()), (400, "PropertyNotUpdated"), "{name}");
    }
    assert!(bench.called.is_empty());
    let shown = bench.shown("/redfish/v1/Systems/host1");
    assert_eq!((&shown["UUID"], &shown["AssetTag"]), (&json!("uuid own"), &json!("tag own")));
    // What the board says is about its host where that is the only one.
    bench.say("rpc.HostService.ListHosts", &v1::ListHostsResponse { hosts: vec![host("system")] });
    let shown = bench.shown("/redfish/v1/Systems/system");
    assert_eq!((&shown["UUID"], &shown["AssetTag"]), (&json!("uuid platform"), &json!("tag platform")));
}

#[test]
fn diagnostic_data_is_a_task_while_it_is_collected_and_then_an_entry() {
    let mut bench = Bench::new();
    let log = "/redfish/v1/Managers/bmc/LogServices/Diagnostics";
    let target = format!("{log}/Actions/LogService.CollectDiagnosticData");
    assert_eq!(bench.shown(log)["Actions"]["#LogService.CollectDiagnosticData"]["target"], target.as_str());
    let events = bench.shown("/redfish/v1/Managers/bmc/LogServices/EventLog");
    assert!(events["Actions"].get("#LogService.CollectDiagnosticData").is_none());
    let answer = bench.send(Method::Post, &target, &json!({"DiagnosticDataType": "Manager"}));
    let monitor = "/redfish/v1/TaskService/TaskMonitors/collect-2";
    assert_eq!((answer.status, answer.header("location")), (202, Some(monitor)));
    assert_eq!((&answer.value()["TaskState"], answer.header("retry-after")), (&json!("Running"), Some("1")));
    let going = bench.get(monitor);
    assert_eq!((going.status, going.header("location")), (202, Some(monitor)));
    let task = bench.shown("/redfish/v1/TaskService/Tasks/collect-2");
    assert_eq!((&task["TaskState"], &task["PercentComplete"]), (&json!("Running"), &json!(40)));
    let done = bench.get("/redfish/v1/TaskService/TaskMonitors/collect-1");
    let entry = format!("{log}/Entries/collect-1");
    assert_eq!((done.status, done.header("location")), (204, Some(entry.as_str())));
    let entry = bench.shown(&entry);
    assert_eq!(
        (&entry["AdditionalDataSizeBytes"], &entry["DiagnosticDataType"]),
        (&json!(4711), &json!("Manager"))
    );
    assert_eq!(
        bench.shown(&format!("{log}/Entries"))["Members@odata.count"],
        1,
        "what goes on is no entry yet"
    );
    for (target, body, status) in [
        (target.as_str(), json!({}), 400),
        (target.as_str(), json!({"DiagnosticDataType": "OS"}), 400),
        (
            "/redfish/v1/Managers/bmc/LogServices/EventLog/Actions/LogService.CollectDiagnosticData",
            json!({"DiagnosticDataType": "Manager"}),
            400,
        ),
    ] {
        assert_eq!(bench.send(Method::Post, target, &body).status, status, "{target} {body}");
    }
    // Who may not configure the manager sees none of it.
    let mut bench = Bench::by(asker("olga", auth::Role::Operator));
    assert_eq!(bench.get(log).status, 404);
    assert_eq!(bench.send(Method::Post, &target, &json!({"DiagnosticDataType": "Manager"})).status, 403);
}

#[test]
fn what_sensors_show_is_told_by_reports_now_and_for_the_last_hour() {
    let mut bench = Bench::new();
    let service = "/redfish/v1/TelemetryService";
    let now = bench.shown(&format!("{service}/MetricReports/Temperature"));
    let value = &now["MetricValues"][0];
    assert_eq!(value["MetricProperty"], "/redfish/v1/Chassis/chassis/Sensors/cpu0_temp#/Reading");
    assert_eq!(value["MetricId"], "Temperature");
    let definition = bench.shown(&format!("{service}/MetricReportDefinitions/Temperature"));
    assert_eq!(definition["MetricReportDefinitionType"], "Periodic");
    assert_eq!(definition["Schedule"], json!({"RecurrenceInterval": "PT60S"}));
    assert_eq!(definition["ReportActions"], json!(["LogToMetricReportsCollection", "RedfishEvent"]));
    let of_history = bench.shown(&format!("{service}/MetricReportDefinitions/history-cpu0_temp"));
    assert_eq!(of_history["MetricReportDefinitionType"], "OnRequest");
    assert_eq!((of_history.get("Schedule"), &of_history["AppendLimit"]), (None, &json!(362)));
    // What is sent is what is read.
    let sent = bench.reports();
    let sent = sent.iter().find(|report| report.definition() == definition["@odata.id"]).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&sent.text("")).unwrap(), now);
    let hour = bench.shown(&format!("{service}/MetricReports/history-cpu0_temp"));
    let values: Vec<_> = hour["MetricValues"]
        .as_array()
        .unwrap()
        .iter()
        .map(|value| (value["MetricId"].as_str().unwrap(), value["MetricValue"].as_str().unwrap()))
        .collect();
    let day = [("Minimum", "39.5"), ("Maximum", "44.5")];
    let steps = [("Temperature", "41.5"), ("Temperature", "42")];
    assert_eq!(values, [steps, day].concat(), "where nothing was measured nothing is told");
    assert_eq!(hour["MetricValues"][3]["Timestamp"], "2026-09-21T14:13:30Z");
    assert_eq!(hour["MetricValues"][1]["Timestamp"], "2026-09-21T14:13:40Z");
    let trigger = bench.shown(&format!("{service}/Triggers/cpu0_temp"));
    assert_eq!(trigger["NumericThresholds"]["UpperWarning"]["Activation"], "Increasing");
    for path in
        ["MetricReports/history-nope", "MetricReports/Nope", "Triggers/nope", "MetricDefinitions/Nope"]
    {
        assert_eq!(bench.get(&format!("{service}/{path}")).status, 404, "{path}");
    }
    // All at once: histories stay links, as each is asked for by itself.
    let all = bench.shown(&format!("{service}/MetricReports?$expand=."));
    let members = all["Members"].as_array().unwrap();
    assert!(members.iter().any(|member| member.get("MetricValues").is_some()));
    assert!(members.iter().any(|member| member.as_object().unwrap().len() == 1));
}

#[test]
fn formats_and_filters_of_events_are_said_as_they_are() {
    let mut bench = Bench::new();
    let service = bench.shown("/redfish/v1/EventService");
    assert_eq!(service["EventFormatTypes"], json!(["Event", "MetricReport"]));
    for (name, supported) in service["SSEFilterPropertiesSupported"].as_object().unwrap() {
        let value = match name.as_str() {
            "EventFormatType" => "Event",
            "MessageId" => "UBmc.1.0.EventOK",
            "MetricReportDefinition" => "/redfish/v1/TelemetryService/MetricReportDefinitions/Power",
            "OriginResource" => "/redfish/v1/Systems/system",
            "RegistryPrefix" => "UBmc",
            "ResourceType" => "Chassis",
            _ => "true",
        };
        let filter = redfish::resources::StreamFilter::of(&format!("$filter={name} eq '{value}'"));
        assert_eq!(filter.is_ok(), *supported == json!(true), "{name}");
    }
    // How often reports are made eventlog says; the definitions are there without it.
    bench.refuse(
        "rpc.EventService.ListEventSubscriptions",
        Fault::new(Code::Unavailable, "eventlog does not answer"),
    );
    let definition = bench.shown("/redfish/v1/TelemetryService/MetricReportDefinitions/Temperature");
    assert_eq!(
        (&definition["MetricReportDefinitionType"], definition.get("Schedule")),
        (&json!("Periodic"), None)
    );
}

#[test]
fn a_power_operation_that_has_ended_is_a_task() {
    let mut bench = Bench::new();
    let task = bench.shown("/redfish/v1/TaskService/Tasks/op-1");
    assert_eq!((&task["TaskState"], &task["TaskStatus"]), (&json!("Completed"), &json!("OK")));
    assert_eq!(task["Name"], "system: on");
    assert_eq!(bench.get(task["TaskMonitor"].as_str().unwrap()).status, 204);
    assert_eq!(bench.get("/redfish/v1/TaskService/TaskMonitors/op-2").status, 404);
    assert_eq!(bench.get("/redfish/v1/TaskService/Tasks/op-2").status, 404);
}

#[test]
fn a_task_that_its_owner_knows_no_more_is_shown_as_its_events_tell_it() {
    use v1::TaskChangeKind as Kind;

    let told = |domain: &str, id: &str, kind: Kind, reason: &str, seconds: i64| v1::Event {
        id: format!("{id} {}", kind.as_str_name()),
        domain: domain.into(),
        component: "cd".into(),
        what: "copy".into(),
        time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        message: "as an earlier release told it".into(),
        payload: Some(v1::event::Payload::TaskChange(v1::TaskChange {
            task_id: id.into(),
            kind: kind.into(),
            name: if domain == "media" { "cd: copy a.iso".into() } else { String::new() },
            reason: reason.into(),
        })),
        ..v1::Event::default()
    };
    let mut bench = Bench::new();
    let now = bench.about().now;
    // The newest first, as they are listed.
    let events = vec![
        told("media", "copy-new", Kind::Started, "", now - 1),
        told("media", "copy-listed", Kind::Started, "", now - 20),
        told("diagnostics", "collect-old", Kind::Completed, "", now - 25),
        told("media", "copy-stopped", Kind::Cancelled, "", now - 30),
        told("media", "copy-failed", Kind::Failed, "the server is gone", now - 40),
        told("media", "copy-failed", Kind::Started, "", now - 50),
        told("media", "copy-killed", Kind::Started, "", now - 60),
        told("media", "copy-done", Kind::Completed, "", now - 70),
        told("media", "copy-done", Kind::Started, "", now - 80),
        // Whose operation statemgr has forgotten as well.
        told("host", "op-9", Kind::Started, "", now - 90),
        told("media", "no/name", Kind::Completed, "", now - 90),
    ];
    bench.say("rpc.EventService.ListEvents", &v1::ListEventsResponse { events, ..Default::default() });
    let listed = v1::MediaCopy {
        id: "copy-listed".into(),
        slot_name: "cd".into(),
        state: v1::MediaCopyState::Running.into(),
        ..v1::MediaCopy::default()
    };
    let media = v1::ListMediaResponse { copies: vec![listed], ..Default::default() };
    bench.say("rpc.MediaService.ListMedia", &media);
    let ids = |bench: &mut Bench| -> Vec<String> {
        let all = bench.shown("/redfish/v1/TaskService/Tasks");
        let uris = all["Members"].as_array().unwrap().iter().map(|one| one["@odata.id"].as_str().unwrap());
        uris.map(|uri| uri.rsplit('/').next().unwrap().to_owned())
            .filter(|id| !["collect-1", "collect-2"].contains(&id.as_str()))
            .collect()
    };
    let over = ["collect-old", "copy-stopped", "copy-failed", "copy-killed", "copy-done"];
    assert_eq!(ids(&mut bench), [&["copy-listed"][..], &over[..]].concat());
    for (id, state, status) in [
        ("copy-done", "Completed", 204),
        ("copy-stopped", "Cancelled", 409),
        ("copy-failed", "Exception", 409),
        ("copy-killed", "Exception", 500),
        // The archive is gone.
        ("collect-old", "Completed", 404),
        ("copy-listed", "Running", 202),
    ] {
        let task = bench.shown(&format!("/redfish/v1/TaskService/Tasks/{id}"));
        assert_eq!(task["TaskState"], state, "{task}");
        let monitor = format!("/redfish/v1/TaskService/TaskMonitors/{id}");
        assert_eq!(task["TaskMonitor"], monitor.as_str());
        assert_eq!(bench.get(&monitor).status, status, "{id}");
    }
    let failed = bench.shown("/redfish/v1/TaskService/Tasks/copy-failed");
    assert_eq!(
        (&failed["Name"], &failed["Description"]),
        (&json!("cd: copy a.iso"), &json!("the server is gone"))
    );
    assert_eq!(
        (&failed["StartTime"], &failed["EndTime"]),
        (&json!("2026-09-21T14:14:10Z"), &json!("2026-09-21T14:14:20Z"))
    );
    assert_eq!(failed["Messages"][0]["MessageId"], "TaskEvent.1.0.TaskAborted");
    assert!(failed.get("PercentComplete").is_none());
    let killed = bench.shown("/redfish/v1/TaskService/Tasks/copy-killed");
    assert!(killed.get("EndTime").is_none() && killed["StartTime"].is_string(), "{killed}");
    let done = bench.shown("/redfish/v1/TaskService/Tasks/copy-done");
    assert_eq!(done["PercentComplete"], 100);
    let old = bench.shown("/redfish/v1/TaskService/Tasks/collect-old");
    assert_eq!(old["Name"], "as an earlier release told it");
    // While mediasrv does not answer, what has begun goes on as far as is known; what has ended stays so.
    bench.refuse("rpc.MediaService.ListMedia", Fault::new(Code::Unavailable, "it does not answer"));
    assert_eq!(ids(&mut bench), [&["copy-new", "copy-listed"][..], &over[..]].concat());
    for (id, state, status) in [
        ("copy-new", "Running", 202),
        ("copy-listed", "Running", 202),
        ("copy-killed", "Running", 202),
        ("copy-done", "Completed", 204),
        ("copy-failed", "Exception", 409),
    ] {
        let task = bench.shown(&format!("/redfish/v1/TaskService/Tasks/{id}"));
        assert_eq!(task["TaskState"], state, "{task}");
        assert_eq!(bench.get(&format!("/redfish/v1/TaskService/TaskMonitors/{id}")).status, status, "{id}");
    }
    let going = bench.shown("/redfish/v1/TaskService/Tasks/copy-listed");
    assert_eq!(
        (&going["TaskStatus"], &going["Messages"][0]["MessageId"]),
        (&json!("OK"), &json!("TaskEvent.1.0.TaskStarted"))
    );
    assert!(going.get("EndTime").is_none() && going.get("PercentComplete").is_none(), "{going}");
}

#[test]
fn a_power_operation_is_a_task_while_it_goes_on_and_before_its_event_is_there() {
    let mut bench = Bench::new();
    let operation = |id: &str, result: v1::OperationResult| v1::HostOperation {
        id: id.into(),
        action: v1::HostAction::ForceOff.into(),
        result: result.into(),
        requested_at: Some(prost_types::Timestamp { seconds: 1_790_000_090, nanos: 0 }),
        ..v1::HostOperation::default()
    };
    let with = |bench: &mut Bench, operation: v1::HostOperation| -> (Value, u16) {
        let last_operation = Some(operation);
        let host = v1::Host { name: "system".into(), last_operation, ..v1::Host::default() };
        bench.say("rpc.HostService.ListHosts", &v1::ListHostsResponse { hosts: vec![host] });
        let monitored = bench.get("/redfish/v1/TaskService/TaskMonitors/op-2").status;
        (bench.shown("/redfish/v1/TaskService/Tasks"), monitored)
    };
    let ids = |all: &Value| -> Vec<String> {
        let members = all["Members"].as_array().unwrap().iter();
        members.map(|one| one["@odata.id"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()).collect()
    };
    let (all, monitored) = with(&mut bench, operation("op-2", v1::OperationResult::Running));
    assert_eq!(
        (ids(&all), monitored),
        (["collect-2", "collect-1", "op-2", "op-1"].map(str::to_owned).into(), 202)
    );
    let task = bench.shown("/redfish/v1/TaskService/Tasks/op-2");
    assert_eq!((&task["TaskState"], &task["TaskStatus"]), (&json!("Running"), &json!("OK")));
    assert_eq!(
        (&task["Name"], &task["StartTime"]),
        (&json!("system: force off"), &json!("2026-09-21T14:14:50Z"))
    );
    assert!(task.get("PercentComplete").is_none() && task.get("EndTime").is_none());
    assert_eq!(task["Messages"][0]["MessageId"], "TaskEvent.1.0.TaskStarted");
    for (result, state, monitored) in [
        (v1::OperationResult::Done, "Completed", 204),
        (v1::OperationResult::Superseded, "Cancelled", 409),
        (v1::OperationResult::Failed, "Exception", 500),
    ] {
        assert_eq!(with(&mut bench, operation("op-2", result)).1, monitored, "{state}");
        assert_eq!(bench.shown("/redfish/v1/TaskService/Tasks/op-2")["TaskState"], state);
    }
    // One that its event tells of is there once, as that tells it.
    let (all, _) = with(&mut bench, operation("op-1", v1::OperationResult::Running));
    assert_eq!(ids(&all), ["collect-2", "collect-1", "op-1"]);
    assert_eq!(bench.shown("/redfish/v1/TaskService/Tasks/op-1")["TaskState"], "Completed");
}

#[test]
fn interfaces_are_shown_as_the_network_s_daemon_says_and_not_at_all_without_it() {
    let mut bench = Bench::new();
    let all = "/redfish/v1/Managers/bmc/EthernetInterfaces";
    let eth0 = bench.shown(&format!("{all}/eth0"));
    for (place, expected) in [
        ("/MACAddress", json!("02:00:00:00:00:01")),
        ("/PermanentMACAddress", json!("02:00:00:00:00:09")),
        ("/LinkStatus", json!("LinkUp")),
        ("/InterfaceEnabled", json!(true)),
        ("/SpeedMbps", json!(1000)),
        ("/MTUSize", json!(1500)),
        ("/VLAN", json!({"VLANEnable": true, "VLANId": 7})),
        ("/HostName", json!("bmc")),
        ("/FQDN", json!("bmc.rack.example")),
        (
            "/IPv4Addresses/0",
            json!({"Address": "192.0.2.5", "SubnetMask": "255.255.255.0", "AddressOrigin": "DHCP", "Gateway": "192.0.2.1"}),
        ),
        ("/IPv4StaticAddresses", json!([])),
        (
            "/IPv6Addresses/0",
            json!({"Address": "2001:db8::5", "PrefixLength": 64, "AddressOrigin": "SLAAC", "AddressState": null}),
        ),
        ("/IPv6Addresses/1/AddressOrigin", json!("LinkLocal")),
        ("/IPv6DefaultGateway", json!("2001:db8::1")),
        ("/NameServers", json!(["192.0.2.53", "192.0.2.54"])),
        ("/StaticNameServers", json!(["192.0.2.53"])),
        ("/DHCPv6/OperatingMode", json!("Enabled")),
    ] {
        assert_eq!(eth0.pointer(place), Some(&expected), "{place}");
    }
    assert_eq!(eth0["IPv4Addresses"].as_array().unwrap().len(), 2, "what is no address is not shown");
    let eth1 = bench.shown(&format!("{all}/eth1"));
    assert_eq!(eth1["Status"], json!({"State": "Absent"}));
    assert!(eth1.get("LinkStatus").is_none() && eth1.get("MACAddress").is_none());
    let protocol = bench.shown("/redfish/v1/Managers/bmc/NetworkProtocol");
    assert_eq!(protocol["FQDN"], "bmc.rack.example");
    let ntp = |on: bool, leased: &[&str]| json!({"ProtocolEnabled": on, "Port": 123, "NTPServers": ["192.0.2.123"], "NetworkSuppliedServers": leased});
    assert_eq!(protocol["NTP"], ntp(true, &["192.0.2.1"]));
    // Who would be asked is known where it is switched off; where netmgr only looks nothing is.
    let off = v1::ListNetworkInterfacesResponse {
        time_servers: Vec::new(),
        time_enabled: Some(false),
        ..support::network()
    };
    bench.say("rpc.NetworkService.ListNetworkInterfaces", &off);
    assert_eq!(bench.shown("/redfish/v1/Managers/bmc/NetworkProtocol")["NTP"], ntp(false, &[]));
    let observed = v1::ListNetworkInterfacesResponse { time_enabled: None, ..support::network() };
    bench.say("rpc.NetworkService.ListNetworkInterfaces", &observed);
    assert_eq!(bench.shown("/redfish/v1/Managers/bmc/NetworkProtocol").get("NTP"), None);

    let away = Fault::new(Code::Unavailable, "netmgr does not answer");
    bench.refuse("rpc.NetworkService.ListNetworkInterfaces", away);
    assert!(bench.shown("/redfish/v1/Managers/bmc").get("EthernetInterfaces").is_none());
    let protocol = bench.shown("/redfish/v1/Managers/bmc/NetworkProtocol");
    assert_eq!((protocol.get("NTP"), &protocol["FQDN"]), (None, &json!("bmc.example")));
    assert_eq!(bench.get(all).status, 503);
}

#[test]
fn what_is_in_both_slots_is_shown_and_linked_to() {
    let mut bench = Bench::new();
    let all = "/redfish/v1/UpdateService/FirmwareInventory";
    let backup = bench.shown(&format!("{all}/bmc-backup"));
    assert_eq!((&backup["Version"], &backup["Description"]), (&json!("0.0.9"), &json!("Slot b")));
    assert_eq!(backup["Status"], json!({"State": "StandbyOffline", "Health": "OK"}));
    assert_eq!(backup["RelatedItem"], json!([{"@odata.id": "/redfish/v1/Managers/bmc"}]));
    let active = bench.shown(&format!("{all}/bmc"));
    assert_eq!((&active["Version"], &active["Description"]), (&json!("0.1.0"), &json!("Slot a")));
    let manager = bench.shown("/redfish/v1/Managers/bmc");
    // The controller's own, of which there are none: those of machines are at their systems (DSP0268, `Manager`).
    for none in ["SerialConsole", "GraphicalConsole", "CommandShell"] {
        assert!(manager.get(none).is_none(), "{none}");
    }
    let links = &manager["Links"];
    let uri = |id: &str| json!({"@odata.id": format!("{all}/{id}")});
    assert_eq!(links["ActiveSoftwareImage"], uri("bmc"));
    assert_eq!(links["SoftwareImages"], json!([uri("bmc"), uri("bmc-backup")]));

    // One that is bad, and a machine that was not booted from an image.
    let system = |slots: Vec<v1::FirmwareSlot>| {
        let info = v1::SystemInfo { name: "bmc".into(), firmware_slots: slots, ..Default::default() };
        v1::GetSystemInfoResponse { system_info: Some(info) }
    };
    let slot = |name: &str, active, state: v1::FirmwareSlotState| v1::FirmwareSlot {
        name: name.into(),
        version: "2".into(),
        active,
        state: state.into(),
    };
    let slots = vec![
        slot("b", true, v1::FirmwareSlotState::Unconfirmed),
        slot("a", false, v1::FirmwareSlotState::Bad),
    ];
    bench.say("rpc.SystemService.GetSystemInfo", &system(slots));
    let backup = bench.shown(&format!("{all}/bmc-backup"));
    assert_eq!(backup["Status"], json!({"State": "Disabled", "Health": "Warning"}));
    assert_eq!(bench.shown(&format!("{all}/bmc"))["Description"], "Slot b");
    bench.say("rpc.SystemService.GetSystemInfo", &system(Vec::new()));
    assert_eq!(bench.get(&format!("{all}/bmc-backup")).status, 404);
    let links = bench.shown("/redfish/v1/Managers/bmc")["Links"].clone();
    assert!(links.get("ActiveSoftwareImage").is_none() && links.get("SoftwareImages").is_none(), "{links}");
    assert!(bench.shown(&format!("{all}/bmc")).get("Description").is_none());
    // While the operator says nothing, the controller's firmware is known all the same.
    bench.refuse("rpc.SystemService.GetSystemInfo", Fault::new(Code::Unavailable, "it does not answer"));
    assert_eq!(bench.shown(&format!("{all}/bmc"))["Version"], "0.1.0");
}

#[test]
fn ipmi_is_shown_and_switched_where_it_is_not_ruled_out() {
    use prost::Message as _;

    let mut bench = Bench::new();
    bench.agree();
    let uri = "/redfish/v1/Managers/bmc/NetworkProtocol";
    assert_eq!(bench.shown(uri)["IPMI"], json!({"ProtocolEnabled": true, "Port": 623}));
    let answer = bench.send(Method::Patch, uri, &json!({"IPMI": {"ProtocolEnabled": false, "Port": 6230}}));
    assert_eq!(answer.status, 200, "{}", said(&answer));
    let [call] = &bench.called[..] else { panic!("{:?}", bench.called) };
    let request = v1::SetIpmiRequest::decode(&call.request[..]).unwrap();
    assert_eq!(
        (call.method.subject, request.enabled, request.port),
        ("rpc.IpmiService.SetIpmi", Some(false), Some(6230))
    );
    let answer = bench.send(Method::Patch, uri, &json!({"IPMI": {"Port": 65536}}));
    assert_eq!(answer.status, 400);
    bench.refuse("rpc.IpmiService.GetIpmi", Fault::new(Code::Unavailable, "ipmisrv does not run"));
    assert!(bench.shown(uri).get("IPMI").is_none());
}

#[test]
fn a_value_that_is_not_good_is_null_and_what_is_not_known_is_left_out() {
    let mut bench = Bench::new();
    let sensor = bench.shown("/redfish/v1/Chassis/chassis/Sensors/dimm0_temp");
    assert_eq!(sensor.get("Reading"), Some(&Value::Null));
    assert_eq!(sensor["Status"], json!({"State": "UnavailableOffline", "Health": "Warning"}));
    let thermal = bench.shown("/redfish/v1/Chassis/chassis/Thermal");
    assert_eq!(thermal["Temperatures"][1].get("ReadingCelsius"), Some(&Value::Null));
    assert_eq!(thermal["Fans"][0]["Reading"], 4200);
    assert_eq!(thermal["Temperatures"][0]["PhysicalContext"], "CPU");
    assert!(thermal["Temperatures"][1].get("PhysicalContext").is_none());
    let control = json!({
        "@odata.id": "/redfish/v1/Chassis/chassis/Power#/PowerControl/0", "MemberId": "0", "Name": "Sensor psu0_pin",
        "PowerConsumedWatts": 120.0, "PowerCapacityWatts": 750, "Status": {"State": "Enabled", "Health": "OK"},
        "PowerLimit": {"LimitInWatts": null, "LimitException": null},
    });
    assert_eq!(bench.shown("/redfish/v1/Chassis/chassis/Power")["PowerControl"], json!([control]));
    // Nobody knows anything of the parts: the machine is shown without them.
    bench
        .refuse("rpc.AssetService.ListAssets", Fault::new(Code::Unavailable, "inventorymgr does not answer"));
    let system = bench.shown("/redfish/v1/Systems/system");
    assert!(system.get("SerialNumber").is_none() && system.get("BiosVersion").is_none());
    assert_eq!(system["PowerState"], "On");
}

#[test]
fn the_environment_of_a_chassis_is_shown_as_far_as_its_sensors_and_fans_say_it() {
    let mut bench = Bench::new();
    let uri = "/redfish/v1/Chassis/chassis/EnvironmentMetrics";
    let link = bench.shown("/redfish/v1/Chassis/chassis")["EnvironmentMetrics"]["@odata.id"].clone();
    assert_eq!(link, uri);
    let source = |id: &str| format!("/redfish/v1/Chassis/chassis/Sensors/{id}");
    let metrics = bench.shown(uri);
    assert_eq!(metrics["PowerWatts"], json!({"DataSourceUri": source("psu0_pin"), "Reading": 120.0}));
    let fan = |name: &str, rpm: Value| json!({"DeviceName": name, "PhysicalContext": "Chassis", "Reading": 35.0, "SpeedRPM": rpm});
    assert_eq!(metrics["FanSpeedsPercent"], json!([fan("fan0", json!(4200)), fan("fan1", Value::Null)]));
    // No sensor says that it measures the chassis, or the air outside.
    assert!(metrics.get("TemperatureCelsius").is_none() && metrics.get("HumidityPercent").is_none());

    let sensor = |id: &str, context: v1::SensorContext, place: &str, value: f64| v1::Sensor {
        id: id.into(),
        name: id.into(),
        context: Some(context.into()),
        quality: v1::SensorQuality::Good.into(),
        custom_attributes: [("place".to_owned(), place.to_owned())].into(),
        reading: Some(v1::sensor::Reading::AnalogReading(v1::AnalogSensorReading {
            value: Some(value),
            ..v1::AnalogSensorReading::default()
        })),
        ..v1::Sensor::default()
    };
    let mut sensors = vec![
        sensor("box", v1::SensorContext::Temperature, "chassis", 31.0),
        sensor("cpu", v1::SensorContext::Temperature, "cpu", 61.0),
        sensor("air", v1::SensorContext::Humidity, "intake", 40.0),
        v1::Sensor {
            quality: v1::SensorQuality::Stale.into(),
            ..sensor("all", v1::SensorContext::Power, "chassis", 99.0)
        },
    ];
    let say = |bench: &mut Bench, sensors: &[v1::Sensor]| {
        let all = v1::ListSensorsResponse { sensors: sensors.to_vec(), ..Default::default() };
        bench.say("rpc.SensorService.ListSensors", &all);
    };
    say(&mut bench, &sensors);
    let metrics = bench.shown(uri);
    for (name, id, reading) in [
        ("TemperatureCelsius", "box", json!(31.0)),
        ("HumidityPercent", "air", json!(40.0)),
        ("PowerWatts", "all", Value::Null),
    ] {
        assert_eq!(metrics[name], json!({"DataSourceUri": source(id), "Reading": reading}), "{name}");
    }
    // Of two nobody says which is that of the whole; without thermalmgr nothing is known of the fans.
    sensors.push(sensor("box2", v1::SensorContext::Temperature, "chassis", 33.0));
    say(&mut bench, &sensors);
    bench.refuse("rpc.ThermalService.ListCoolingDevices", Fault::new(Code::Unavailable, "gone"));
    let metrics = bench.shown(uri);
    assert!(metrics.get("TemperatureCelsius").is_none() && metrics.get("FanSpeedsPercent").is_none());
    assert_eq!(bench.get("/redfish/v1/Chassis/other/EnvironmentMetrics").status, 404);
}

#[test]
fn what_passwords_and_logins_are_held_to_is_shown_as_far_as_it_is_known() {
    let mut bench = Bench::new();
    let service = bench.shown("/redfish/v1/AccountService");
    for (name, value) in [
        ("MinPasswordLength", 8),
        ("MaxPasswordLength", 128),
        ("PasswordExpirationDays", 90),
        ("AccountLockoutThreshold", 5),
        ("AccountLockoutDuration", 900),
        ("AccountLockoutCounterResetAfter", 900),
    ] {
        assert_eq!(service[name], value, "{name}");
    }
    let away = Fault::new(Code::Unavailable, "usermgr does not answer");
    bench.refuse("rpc.UserService.GetAccountPolicy", away);
    let service = bench.shown("/redfish/v1/AccountService");
    assert!(service.get("AccountLockoutThreshold").is_none() && service["ServiceEnabled"] == true);
}

#[test]
fn how_long_an_unused_session_lasts_is_shown_and_set() {
    let mut bench = Bench::new();
    bench.agree();
    let service = "/redfish/v1/SessionService";
    assert_eq!(bench.shown(service)["SessionTimeout"], 1800);
    let answer = bench.send(Method::Patch, service, &json!({"SessionTimeout": 600}));
    assert_eq!(answer.status, 200, "{}", said(&answer));
    let [call] = &bench.called[..] else { panic!("{:?}", bench.called) };
    let request = v1::UpdateAccountPolicyRequest::decode(&call.request[..]).unwrap();
    let span = request.policy.and_then(|policy| policy.session_idle).unwrap();
    assert_eq!((span.seconds, request.field_mask.unwrap().paths), (600, vec!["session_idle".to_owned()]));
    // The schema has no number for one that a site has configured shorter, and without usermgr nobody knows it.
    let session_idle = Some(prost_types::Duration { seconds: 5, nanos: 0 });
    let policy = Some(v1::AccountPolicy { session_idle, ..v1::AccountPolicy::default() });
    bench.say("rpc.UserService.GetAccountPolicy", &v1::GetAccountPolicyResponse { policy });
    assert!(bench.shown(service).get("SessionTimeout").is_none());
    bench.refuse("rpc.UserService.GetAccountPolicy", Fault::new(Code::Unavailable, "gone"));
    let shown = bench.shown(service);
    assert!(shown.get("SessionTimeout").is_none() && shown["ServiceEnabled"] == true);
}

#[test]
fn a_host_in_between_says_where_it_goes_as_far_as_that_is_known() {
    let mut bench = Bench::new();
    use v1::HostAction as A;
    for (action, shown, state) in [
        (A::On, json!("PoweringOn"), "Starting"),
        (A::Off, json!("PoweringOff"), "StandbyOffline"),
        (A::ForceOff, json!("PoweringOff"), "StandbyOffline"),
        (A::ForceRestart, json!("On"), "Starting"),
        (A::Nmi, json!("On"), "Enabled"),
        (A::PowerCycle, Value::Null, "Starting"),
    ] {
        let host = v1::Host {
            name: "system".into(),
            status: Some(v1::HostStatus::Transitioning.into()),
            requested_action: Some(action.into()),
            ..v1::Host::default()
        };
        bench.say("rpc.HostService.ListHosts", &v1::ListHostsResponse { hosts: vec![host] });
        let system = bench.shown("/redfish/v1/Systems/system");
        assert_eq!(system.get("PowerState"), Some(&shown), "{action:?}");
        assert_eq!(system["Status"]["State"], state, "{action:?}");
    }
    for (action, state) in [(v1::ChassisAction::Off, "StandbyOffline"), (v1::ChassisAction::On, "Starting")] {
        let chassis = v1::Chassis {
            name: "chassis".into(),
            status: Some(v1::ChassisStatus::Transitioning.into()),
            requested_action: Some(action.into()),
            ..v1::Chassis::default()
        };
        let all = v1::ListChassisResponse { chassis: vec![chassis], ..Default::default() };
        bench.say("rpc.ChassisService.ListChassis", &all);
        assert_eq!(bench.shown("/redfish/v1/Chassis/chassis")["Status"]["State"], state, "{action:?}");
    }
}

#[test]
fn without_its_daemon_a_resource_is_unavailable_for_a_while() {
    let mut bench = Bench::new();
    bench.refuse("rpc.HostService.ListHosts", Fault::new(Code::Unavailable, "statemgr does not answer"));
    let answer = bench.get("/redfish/v1/Systems/system");
    assert_eq!((answer.status, said(&answer).as_str()), (503, "ServiceTemporarilyUnavailable"));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(bench.get("/redfish/v1/").status, 200);
}

#[test]
fn what_is_not_there_is_404_and_what_is_not_done_405() {
    let mut bench = Bench::new();
    for path in [
        "/redfish/v1/Systems/other",
        "/redfish/v1/Chassis/x/Sensors/y",
        "/redfish/v1/Chassis/x/Thermal",
        "/redfish/v1/JsonSchemas/Nope",
        "/redfish/v1/Managers/x/LogServices",
    ] {
        let answer = bench.get(path);
        assert_eq!((answer.status, said(&answer).as_str()), (404, "ResourceNotFound"), "{path}");
    }
    assert_eq!(said(&bench.get("/redfish/v1/Nope")), "ResourceMissingAtURI");
    let answer = bench.send(Method::Delete, "/redfish/v1/Systems/system", &json!({}));
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD, PATCH")));
    let answer = bench.get("/redfish/v1/Systems/system/Actions/ComputerSystem.Reset");
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    assert_eq!(bench.get("/redfish/v1/Systems").header("allow"), Some("GET, HEAD"));
}

#[test]
fn queries_shape_what_is_shown() {
    let mut bench = Bench::new();
    let expanded = bench.shown("/redfish/v1/Systems?$expand=.($levels=1)");
    assert_eq!(expanded["Members"][0]["PowerState"], "On");
    assert_eq!(
        expanded["Members"][0]["Processors"],
        json!({"@odata.id": "/redfish/v1/Systems/system/Processors"})
    );
    let deeper = bench.shown("/redfish/v1/Systems?$expand=.($levels=3)");
    let processor = &deeper["Members"][0]["Processors"]["Members"][0];
    assert_eq!((&processor["TotalCores"], &processor["InstructionSet"]), (&json!(8), &json!("x86-64")));
    assert!(deeper["Members"][0]["Links"]["Chassis"][0].get("Name").is_none(), "not those in Links");
    let all = bench.shown("/redfish/v1/Systems/system?$expand=*");
    assert_eq!(all["Links"]["Chassis"][0]["ChassisType"], "RackMount");
    assert_eq!(bench.shown("/redfish/v1/?$expand=.")["Systems"]["Members@odata.count"], 1);
    let mut nobody = Bench::by(redfish::Asker::default());
    let alone = nobody.shown("/redfish/v1/?$expand=.");
    assert!(alone["Systems"].get("Members").is_none(), "what is closed stays a link");
    let related = bench.shown("/redfish/v1/Systems/system?$expand=~");
    assert_eq!(related["Links"]["Chassis"][0]["ChassisType"], "RackMount");
    assert!(related["Processors"].get("Name").is_none());

    let selected = bench.shown("/redfish/v1/Systems/system?$select=PowerState,Status/Health");
    assert_eq!((&selected["PowerState"], &selected["Status"]), (&json!("On"), &json!({"Health": "OK"})));
    assert!(selected.get("Name").is_none());

    let hot =
        bench.shown("/redfish/v1/Chassis/chassis/Sensors?$filter=ReadingType%20eq%20'Temperature'&$expand=.");
    assert_eq!(hot["Members@odata.count"], 2);
    assert_eq!(hot["Members"][0]["Id"], "cpu0_temp");

    let page = bench.shown("/redfish/v1/Chassis/chassis/Sensors?$top=5&$skip=2");
    assert_eq!((&page["Members@odata.count"], page["Members"].as_array().unwrap().len()), (&json!(13), 5));
    assert_eq!(page["Members@odata.nextLink"], "/redfish/v1/Chassis/chassis/Sensors?$skip=7&$top=5");
    let next = bench.shown(page["Members@odata.nextLink"].as_str().unwrap());
    let last = bench.shown(next["Members@odata.nextLink"].as_str().unwrap());
    assert!(last.get("Members@odata.nextLink").is_none());
    assert_eq!(last["Members"].as_array().unwrap().len(), 1);
    assert_eq!(bench.shown("/redfish/v1/Chassis/chassis/Sensors?$skip=99")["Members"], json!([]));

    assert_eq!(bench.shown("/redfish/v1/Systems?only")["Id"], "system");
    assert_eq!(bench.shown("/redfish/v1/Chassis/chassis/Sensors?only")["Members@odata.count"], 13);
    let excerpt = bench.shown("/redfish/v1/Chassis/chassis/Sensors/cpu0_temp?excerpt");
    assert_eq!((&excerpt["Reading"], excerpt.get("Status")), (&json!(41.5), None));

    for (path, status, message) in [
        ("/redfish/v1/Systems/system?only", 400, "QueryNotSupportedOnResource"),
        ("/redfish/v1/Systems/system?$top=1", 400, "QueryNotSupportedOnResource"),
        ("/redfish/v1/Systems/system?excerpt", 400, "QueryNotSupportedOnResource"),
        ("/redfish/v1/Systems?$skip=x", 400, "QueryParameterValueTypeError"),
        ("/redfish/v1/Systems?$unknown=1", 501, "QueryParameterUnsupported"),
        ("/redfish/v1/$metadata?$select=a", 400, "QueryNotSupportedOnResource"),
    ] {
        let answer = bench.get(path);
        assert_eq!((answer.status, said(&answer).as_str()), (status, message), "{path}");
    }
    assert_eq!(bench.get("/redfish/v1/Systems?unknown=1").status, 200);
}

fn with(change: impl FnOnce(&mut Request)) -> Request {
    let mut request = Request::default();
    change(&mut request);
    request
}

#[test]
fn a_tag_is_strong_the_same_as_long_as_nothing_changes_and_a_condition() {
    let mut bench = Bench::new();
    let path = "/redfish/v1/Managers/bmc";
    let first = bench.get(path);
    let tag = first.header("etag").unwrap().to_owned();
    assert_eq!(first.value()["@odata.etag"], tag.as_str());
    assert_eq!(bench.get(path).header("etag"), Some(tag.as_str()), "the time of day is no change");
    assert_eq!(
        bench.get(&format!("{path}?$select=Name")).header("etag"),
        Some(tag.as_str()),
        "of the whole resource"
    );
    let conditional = |bench: &mut Bench, tag: &str| -> Answer {
        bench.ask(Method::Get, path, "", with(|request| request.if_none_match = Some(tag.to_owned())))
    };
    assert_eq!(conditional(&mut bench, &tag).status, 304);
    assert_eq!(conditional(&mut bench, "\"other\"").status, 200);
}

#[test]
fn only_one_version_of_odata_is_spoken() {
    let mut bench = Bench::new();
    let mut of = |version: &str| {
        bench
            .ask(
                Method::Get,
                "/redfish/v1/",
                "",
                with(|request| request.odata_version = Some(version.to_owned())),
            )
            .status
    };
    assert_eq!((of("4.0"), of("4.1"), of("3")), (200, 412, 412));
}

#[test]
fn the_log_shows_events_with_their_messages() {
    let mut bench = Bench::new();
    let entries = bench.shown("/redfish/v1/Managers/bmc/LogServices/EventLog/Entries");
    let (first, second) = (&entries["Members"][0], &entries["Members"][1]);
    assert_eq!(
        (&first["Severity"], &first["MessageId"]),
        (&json!("Critical"), &json!("UBmc.1.0.EventCritical"))
    );
    assert_eq!(first["Message"], "sensor.cpu0_temp.state: it happened");
    assert_eq!(second["Links"]["OriginOfCondition"]["@odata.id"], "/redfish/v1/Systems/system");
    let registry = bench.shown("/redfish/v1/Registries/UBmc/UBmc");
    assert!(registry["Messages"]["EventCritical"].is_object());
}

#[test]
fn a_log_is_cleared_where_it_can_be_and_what_somebody_caused_stays() {
    let mut bench = Bench::new();
    bench.agree();
    let (log, sel) = ("Managers/bmc/LogServices/EventLog", "Systems/system/LogServices/SEL");
    let target = |log: &str| format!("/redfish/v1/{log}/Actions/LogService.ClearLog");
    for (log, called) in [(log, "EventLog"), (sel, "SEL-system")] {
        let shown = bench.shown(&format!("/redfish/v1/{log}"));
        assert_eq!(shown["Actions"]["#LogService.ClearLog"]["target"], target(log).as_str());
        bench.called.clear();
        assert_eq!(bench.send(Method::Post, &target(log), &json!({})).status, 204, "{log}");
        let [call] = &bench.called[..] else { panic!("{:?}", bench.called) };
        let asked = v1::ClearEventsRequest::decode(call.request.as_slice()).unwrap();
        assert_eq!((call.method.method, asked.log.as_str()), ("ClearEvents", called));
    }
    bench.called.clear();
    for other in [
        "Managers/bmc/LogServices/AuditLog",
        "Managers/bmc/LogServices/Diagnostics",
        "Systems/system/LogServices/ConsoleLog",
    ] {
        let shown = bench.shown(&format!("/redfish/v1/{other}"));
        assert!(shown["Actions"].get("#LogService.ClearLog").is_none(), "{other}");
        let answer = bench.send(Method::Post, &target(other), &json!({}));
        assert_eq!((answer.status, said(&answer).as_str()), (400, "ActionNotSupported"), "{other}");
    }
    // What is not there has no actions either.
    for none in ["Managers/bmc/LogServices/Nope", "Systems/none/LogServices/ConsoleLog"] {
        let answer = bench.send(Method::Post, &target(none), &json!({}));
        assert_eq!((answer.status, said(&answer).as_str()), (404, "ResourceNotFound"), "{none}");
    }
    let info =
        |log: &str| format!("/redfish/v1/Managers/bmc/LogServices/{log}/CollectDiagnosticDataActionInfo");
    assert_eq!(bench.get(&info("Diagnostics")).status, 200);
    assert_eq!(bench.get(&info("EventLog")).status, 404);
    assert!(bench.called.is_empty());

    let time = |seconds: i64| Some(prost_types::Timestamp { seconds, nanos: 500 });
    let event = |id: &str, sequence: u64, seconds: i64| v1::Event {
        id: id.into(),
        sequence,
        time: time(seconds),
        domain: "host".into(),
        component: "system".into(),
        principal: Some("olga".into()),
        ..v1::Event::default()
    };
    let mark = |log: &str, sequence: u64, seconds: i64| v1::ClearedLog {
        log: log.into(),
        sequence,
        until: time(seconds),
        ..v1::ClearedLog::default()
    };
    let events = vec![event("4", 4, 50), event("3", 3, 40), event("2", 2, 30), event("1", 1, 20)];
    let cleared = vec![
        mark("EventLog", 2, 35),
        mark("SEL-system", 3, 45),
        mark("SEL-other", 9, 99),
        mark("AuditLog", 9, 99),
    ];
    let mut all = v1::ListEventsResponse { events, cleared, ..Default::default() };
    bench.say("rpc.EventService.ListEvents", &all);
    let ids = |bench: &mut Bench, log: &str| -> Vec<String> {
        let shown = bench.shown(&format!("/redfish/v1/{log}/Entries"));
        let members = shown["Members"].as_array().unwrap().iter();
        members.map(|member| member["Id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&mut bench, log), ["4", "3"]);
    assert_eq!(ids(&mut bench, sel), ["4"]);
    assert_eq!(ids(&mut bench, "Managers/bmc/LogServices/AuditLog"), ["4", "3", "2", "1"]);
    assert_eq!(bench.get(&format!("/redfish/v1/{log}/Entries/1")).status, 404);
    // The log was lost and began anew: what is younger is there, whatever its number is.
    all.cleared = vec![mark("EventLog", 900, 35)];
    bench.say("rpc.EventService.ListEvents", &all);
    assert_eq!(ids(&mut bench, log), ["4", "3"]);
}

#[test]
fn an_entry_links_to_what_it_is_about_as_long_as_that_is_there() {
    use v1::event::Payload;

    let mut bench = Bench::new();
    let event = |id: &str, domain: &str, component: &str, payload: Option<Payload>| v1::Event {
        id: id.into(),
        domain: domain.into(),
        component: component.into(),
        payload,
        ..v1::Event::default()
    };
    let crossed = |sensor: &str, chassis: &str| {
        let (sensor_id, chassis_name) = (sensor.into(), chassis.into());
        let crossed = v1::SensorThresholdCrossed { sensor_id, chassis_name, ..Default::default() };
        Some(Payload::SensorThresholdCrossed(crossed))
    };
    let medium = |slot: &str| {
        Some(Payload::MediaChange(v1::MediaChange { slot_name: slot.into(), ..Default::default() }))
    };
    let account = |name: &str| {
        Some(Payload::UserChange(v1::UserChange { username: name.into(), ..Default::default() }))
    };
    let events = vec![
        event("1", "sensor", "cpu0_temp", crossed("cpu0_temp", "chassis")),
        event("2", "sensor", "gone", crossed("gone", "chassis")),
        event("3", "sensor", "cpu0_temp", crossed("cpu0_temp", "other")),
        event("4", "media", "cd", medium("cd")),
        event("5", "media", "usb", medium("usb")),
        event("6", "user", "id-of-olga", account("olga")),
        event("7", "user", "id-of-nobody", account("nobody")),
        event("8", "role", "night", None),
        event("9", "role", "day", None),
    ];
    bench.say("rpc.EventService.ListEvents", &v1::ListEventsResponse { events, ..Default::default() });
    let origins = |bench: &mut Bench| -> Vec<String> {
        let all = bench.shown("/redfish/v1/Managers/bmc/LogServices/EventLog/Entries");
        let origin =
            |entry: &Value| entry["Links"]["OriginOfCondition"]["@odata.id"].as_str().map(str::to_owned);
        all["Members"].as_array().unwrap().iter().map(|entry| origin(entry).unwrap_or_default()).collect()
    };
    let of = |path: &str| if path.is_empty() { String::new() } else { format!("/redfish/v1/{path}") };
    let (sensor, drive) = ("Chassis/chassis/Sensors/cpu0_temp", "Managers/bmc/VirtualMedia/cd");
    let (olga, night) = ("AccountService/Accounts/olga", "AccountService/Roles/night");
    assert_eq!(origins(&mut bench), [sensor, "", "", drive, "", olga, "", night, ""].map(of));
    for origin in origins(&mut bench).iter().filter(|origin| !origin.is_empty()) {
        assert_eq!(bench.get(origin).status, 200, "{origin}");
    }
    // Where nobody knows whether it is there, and for who may not see it, there is none.
    bench.refuse("rpc.SensorService.ListSensors", Fault::new(Code::Unavailable, "gone"));
    assert_eq!(origins(&mut bench)[0], "");
    let answers = bench.answers.clone();
    let mut bench = Bench::by(asker("rita", auth::Role::ReadOnly));
    bench.answers.insert("rpc.EventService.ListEvents", answers["rpc.EventService.ListEvents"].clone());
    assert_eq!(origins(&mut bench), [sensor, "", "", drive, "", "", "", night, ""].map(of));
}

#[test]
fn an_entry_is_resolved_and_reopened_and_a_line_of_a_console_is_not() {
    let mut bench = Bench::new();
    bench.agree();
    let of = |path: &str| format!("/redfish/v1/{path}");
    let entry = of("Managers/bmc/LogServices/EventLog/Entries/ev1");
    assert_eq!(bench.shown(&entry)["Resolved"], json!(false));
    for path in [&entry, &of("Systems/system/LogServices/SEL/Entries/ev1")] {
        for (resolved, method) in [(true, "ResolveEvents"), (false, "ReopenEvents")] {
            bench.called.clear();
            let answer = bench.send(Method::Patch, path, &json!({"Resolved": resolved}));
            assert_eq!(answer.status, 200, "{}", said(&answer));
            let call = bench.called.last().unwrap();
            // Both requests begin with the ids.
            let asked = v1::ReopenEventsRequest::decode(call.request.as_slice()).unwrap();
            assert_eq!((call.method.method, asked.ids), (method, vec!["ev1".to_owned()]));
        }
    }
    let console = of("Systems/system/LogServices/ConsoleLog/Entries/1790000001.000000000-0");
    bench.called.clear();
    let answer = bench.send(Method::Patch, &console, &json!({"Resolved": true}));
    assert_eq!((answer.status, said(&answer).as_str()), (400, "PropertyNotWritable"));
    assert!(bench.called.is_empty());
    let event = v1::Event {
        id: "ev1".into(),
        resolution: Some(v1::EventResolution::default()),
        ..v1::Event::default()
    };
    let mut all = v1::ListEventsResponse { events: vec![event], ..Default::default() };
    bench.say("rpc.EventService.ListEvents", &all);
    assert_eq!(bench.shown(&entry)["Resolved"], json!(true));
    all.resolutions_unknown = true;
    bench.say("rpc.EventService.ListEvents", &all);
    assert!(bench.shown(&entry).get("Resolved").is_none(), "what is not known is not said");
}

#[test]
fn who_must_change_the_password_sees_the_own_account_and_session_and_is_told_so() {
    let mut bench =
        Bench::by(redfish::Asker { password_change_required: true, ..asker("rita", auth::Role::ReadOnly) });
    for path in [
        "/redfish/v1/",
        "/redfish/v1/AccountService/Accounts/rita",
        "/redfish/v1/SessionService/Sessions/session-of-rita",
    ] {
        assert_eq!(bench.get(path).status, 200, "{path}");
    }
    for path in [
        "/redfish/v1/Systems",
        "/redfish/v1/AccountService/Accounts/olga",
        "/redfish/v1/SessionService/Sessions",
        "/redfish/v1/SessionService/Sessions/session-of-olga",
    ] {
        let answer = bench.get(path);
        assert_eq!((answer.status, said(&answer).as_str()), (403, "PasswordChangeRequired"), "{path}");
    }
    bench.say("rpc.UserService.ResetPassword", &v1::ResetPasswordResponse::default());
    let answer = bench.send(
        Method::Patch,
        "/redfish/v1/AccountService/Accounts/rita",
        &json!({"Password": "a-new-password"}),
    );
    assert_eq!(answer.status, 200, "{}", answer.value());
}
