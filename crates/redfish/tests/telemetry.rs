//! Metric reports and triggers that clients make: what they ask for, what the owner is asked, and what is shown beside what is the service's own.

mod support;

use prost::Message as _;
use redfish::{Fault, Method, Request};
use schema::Code;
use schema::v1alpha1 as v1;
use serde_json::{Value, json};
use support::{Bench, said};

const DEFINITIONS: &str = "/redfish/v1/TelemetryService/MetricReportDefinitions";
const REPORTS: &str = "/redfish/v1/TelemetryService/MetricReports";
const TRIGGERS: &str = "/redfish/v1/TelemetryService/Triggers";

fn property(sensor: &str) -> String {
    format!("/redfish/v1/Chassis/chassis/Sensors/{sensor}#/Reading")
}

fn metric(kind: &str, sensors: &[&str]) -> v1::ReportMetric {
    v1::ReportMetric { kind: kind.into(), sensors: sensors.iter().map(|id| (*id).to_owned()).collect() }
}

/// What is said of a body that is refused: the message and its place, each.
fn refused(bench: &mut Bench, method: Method, path: &str, body: &Value) -> Vec<(String, String)> {
    let answer = bench.send(method, path, body);
    assert_eq!(answer.status, 400, "{body}: {}", answer.value());
    assert!(bench.called.is_empty(), "{body}: nothing is asked for");
    let messages = answer.value()["error"]["@Message.ExtendedInfo"].as_array().unwrap().clone();
    let one = |message: &Value| {
        let id = message["MessageId"].as_str().unwrap().rsplit('.').next().unwrap().to_owned();
        (message["RelatedProperties"][0].as_str().unwrap_or_default().to_owned(), id)
    };
    messages.iter().map(one).collect()
}

fn places(told: &[(&str, &str)]) -> Vec<(String, String)> {
    told.iter().map(|(at, id)| ((*at).to_owned(), (*id).to_owned())).collect()
}

fn links(value: &Value) -> Vec<String> {
    let members = value["Members"].as_array().unwrap().iter();
    members.map(|member| member["@odata.id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_definition_is_made_of_kinds_of_readings_and_of_sensors() {
    let rows = [
        (
            json!({"MetricReportDefinitionType": "OnRequest", "Metrics": [{"MetricId": "Temperature"}]}),
            v1::ReportDefinition {
                r#type: v1::ReportDefinitionType::OnRequest.into(),
                metrics: vec![metric("Temperature", &[])],
                ..Default::default()
            },
        ),
        (
            json!({
                "Id": "mine",
                "Name": "Mine",
                "MetricReportDefinitionType": "Periodic",
                "MetricReportDefinitionEnabled": false,
                "Schedule": {"RecurrenceInterval": "PT1M30S"},
                "ReportActions": ["RedfishEvent"],
                "ReportUpdates": "Overwrite",
                "Metrics": [
                    {"MetricId": "Temperature", "MetricProperties": [property("cpu0_temp")], "CollectionTimeScope": "Point"},
                    {"MetricProperties": [property("{Fan}"), property("fan0")]},
                ],
                "MetricProperties": [property("{Sensor}")],
                "Wildcards": [{"Name": "Fan", "Values": ["fan0"]}, {"Name": "Sensor", "Values": ["p12v", "psu0_pin"]}],
            }),
            v1::ReportDefinition {
                id: "mine".into(),
                name: "Mine".into(),
                r#type: v1::ReportDefinitionType::Periodic.into(),
                interval_ms: 90_000,
                metrics: vec![
                    metric("Temperature", &["cpu0_temp"]),
                    metric("", &["fan0"]),
                    metric("", &["p12v", "psu0_pin"]),
                ],
                actions: vec![v1::ReportAction::Event.into()],
                enabled: Some(false),
            },
        ),
    ];
    for (body, expected) in rows {
        let mut bench = Bench::agreeing();
        let answer = bench.send(Method::Post, DEFINITIONS, &body);
        assert_eq!(answer.status, 201, "{body}: {}", answer.value());
        assert_eq!(answer.header("location"), Some(format!("{DEFINITIONS}/hot").as_str()));
        assert_eq!(answer.value()["MetricReportDefinitionType"], "Periodic");
        let [call] = bench.called.as_slice() else { panic!("{:?}", bench.called) };
        let asked = v1::CreateReportDefinitionRequest::decode(call.request.as_slice()).unwrap();
        assert_eq!(asked.definition, Some(expected), "{body}");
    }
}

#[test]
fn all_that_is_wrong_with_a_definition_is_told_at_once() {
    let mut bench = Bench::agreeing();
    let of = |more: Value| {
        let mut body = json!({"MetricReportDefinitionType": "OnRequest", "Metrics": [{"MetricId": "Power"}]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (body, told) in [
        (
            json!({"MetricReportDefinitionType": "OnRequest"}),
            places(&[("/Metrics", "CreateFailedMissingReqProperties")]),
        ),
        (
            json!({"Metrics": [{"MetricId": "Power"}]}),
            places(&[("/MetricReportDefinitionType", "CreateFailedMissingReqProperties")]),
        ),
        (of(json!({"AppendLimit": 3})), places(&[("/AppendLimit", "PropertyUnknown")])),
        (of(json!({"ReportUpdates": "NewReport"})), places(&[("/ReportUpdates", "PropertyValueNotInList")])),
        (
            of(json!({"Schedule": {"RecurrenceInterval": "1m", "MaxOccurrences": 3}})),
            places(&[
                ("/Schedule/MaxOccurrences", "PropertyUnknown"),
                ("/Schedule/RecurrenceInterval", "PropertyValueFormatError"),
            ]),
        ),
        (
            of(
                json!({"Metrics": [{"MetricId": "Luck"}, {"MetricId": "Power", "CollectionFunction": "Average"}]}),
            ),
            places(&[
                ("/Metrics/0/MetricId", "PropertyValueNotInList"),
                ("/Metrics/1/CollectionFunction", "PropertyUnknown"),
            ]),
        ),
        (
            of(json!({
                "Metrics": [{}, {"MetricProperties": [property("nope"), property("cpu0_temp"), "/redfish/v1"]}],
                "MetricProperties": [property("{X}"), property("psu0_present")],
            })),
            places(&[
                ("/MetricProperties/0", "PropertyValueIncorrect"),
                ("/MetricProperties/1", "PropertyValueIncorrect"),
                ("/Metrics/0/MetricId", "PropertyMissing"),
                ("/Metrics/1/MetricProperties/0", "PropertyValueIncorrect"),
                ("/Metrics/1/MetricProperties/2", "PropertyValueIncorrect"),
            ]),
        ),
    ] {
        let mut said = refused(&mut bench, Method::Post, DEFINITIONS, &body);
        said.sort();
        assert_eq!(said, told, "{body}");
    }
    // What its owner refuses is told of the properties.
    let fault = Fault {
        fields: vec![
            ("definition.interval_ms".into(), "with PERIODIC it is 10000 to 86400000".into()),
            ("definition.id".into(), "it is taken".into()),
        ],
        ..Fault::new(Code::InvalidArgument, "two fields")
    };
    bench.refuse("rpc.TelemetryService.CreateReportDefinition", fault);
    let body = of(json!({"Id": "Power", "Schedule": {"RecurrenceInterval": "PT1S"}}));
    let answer = bench.send(Method::Post, DEFINITIONS, &body);
    assert_eq!(
        (answer.status, said(&answer).as_str()),
        (400, "PropertyValueIncorrect PropertyValueIncorrect")
    );
    for (reason, code, status, told) in [
        ("REPORT_DEFINITION_TAKEN", Code::AlreadyExists, 409, "ResourceAlreadyExists"),
        ("TOO_MANY_REPORT_DEFINITIONS", Code::ResourceExhausted, 409, "CreateLimitReachedForResource"),
        ("", Code::Unavailable, 503, "ServiceTemporarilyUnavailable"),
    ] {
        let fault = Fault { reason: reason.into(), ..Fault::new(code, "no") };
        bench.refuse("rpc.TelemetryService.CreateReportDefinition", fault);
        let answer = bench.send(Method::Post, DEFINITIONS, &body);
        assert_eq!((answer.status, said(&answer).as_str()), (status, told), "{reason}");
    }
}

#[test]
fn sensors_that_nobody_knows_now_may_be_named() {
    let mut bench = Bench::agreeing();
    bench.refuse("rpc.SensorService.ListSensors", Fault::new(Code::Unavailable, "sensormon does not answer"));
    let body = json!({"MetricReportDefinitionType": "OnChange", "Metrics": [{"MetricProperties": [property("later")]}]});
    assert_eq!(bench.send(Method::Post, DEFINITIONS, &body).status, 201);
    let asked = v1::CreateReportDefinitionRequest::decode(bench.called[0].request.as_slice()).unwrap();
    assert_eq!(asked.definition.unwrap().metrics, [metric("", &["later"])]);
}

#[test]
fn a_definition_shows_what_it_is_and_its_report_what_the_sensors_show() {
    let mut bench = Bench::new();
    let hot = bench.shown(&format!("{DEFINITIONS}/hot"));
    assert_eq!(hot["Schedule"], json!({"RecurrenceInterval": "PT30S"}));
    assert_eq!(
        hot["Metrics"],
        json!([{"MetricId": "Temperature"}, {"MetricProperties": [property("fan0")]}])
    );
    assert_eq!(
        (&hot["MetricReportDefinitionEnabled"], &hot["ReportUpdates"]),
        (&json!(true), &json!("Overwrite"))
    );
    assert_eq!(hot["MetricReport"]["@odata.id"], format!("{REPORTS}/hot"));
    let report = bench.shown(&format!("{REPORTS}/hot"));
    let values: Vec<_> = report["MetricValues"]
        .as_array()
        .unwrap()
        .iter()
        .map(|value| (value["MetricId"].as_str().unwrap(), value["MetricValue"].as_str().unwrap()))
        .collect();
    assert_eq!(values, [("Temperature", "41.5"), ("Rotational", "4200")]);
    // One that is not enabled has no report.
    let quiet = bench.shown(&format!("{DEFINITIONS}/quiet"));
    assert_eq!(
        (&quiet["Status"]["State"], quiet.get("MetricReport"), quiet.get("Schedule")),
        (&json!("Disabled"), None, None)
    );
    assert_eq!(bench.get(&format!("{REPORTS}/quiet")).status, 404);
    let all = links(&bench.shown(DEFINITIONS));
    let reports = links(&bench.shown(REPORTS));
    for (id, defined, reported) in [("hot", true, true), ("quiet", true, false), ("Temperature", true, true)]
    {
        assert_eq!(all.contains(&format!("{DEFINITIONS}/{id}")), defined, "{id}");
        assert_eq!(reports.contains(&format!("{REPORTS}/{id}")), reported, "{id}");
    }
    // What is the service's own is there without eventlog.
    let away = Fault::new(Code::Unavailable, "eventlog does not answer");
    for method in ["rpc.TelemetryService.ListReportDefinitions", "rpc.TelemetryService.ListTriggers"] {
        bench.refuse(method, away.clone());
    }
    let without = links(&bench.shown(DEFINITIONS));
    assert_eq!(without.len() + 2, all.len());
    bench.asked.clear();
    bench.shown(&format!("{REPORTS}/Temperature"));
    assert!(
        bench.asked.iter().all(|call| call.method.service != "TelemetryService"),
        "nobody needs to be asked"
    );
    for path in [format!("{DEFINITIONS}/hot"), format!("{REPORTS}/hot"), format!("{TRIGGERS}/hot")] {
        assert_eq!(bench.get(&path).status, 503, "{path}");
    }
}

#[test]
fn a_change_of_a_definition_is_one_call_or_none() {
    let mut bench = Bench::agreeing();
    let path = format!("{DEFINITIONS}/hot");
    let body = json!({
        "Name": "New",
        "MetricReportDefinitionEnabled": false,
        "Schedule": {"RecurrenceInterval": "PT20S"},
        "Metrics": [{"MetricId": "Power"}],
        "ReportActions": ["RedfishEvent"],
    });
    let answer = bench.send(Method::Patch, &path, &body);
    assert_eq!(answer.status, 200, "{}", answer.value());
    let [call] = bench.called.as_slice() else { panic!("{:?}", bench.called) };
    let asked = v1::UpdateReportDefinitionRequest::decode(call.request.as_slice()).unwrap();
    let mut paths = asked.field_mask.unwrap().paths;
    paths.sort();
    assert_eq!(paths, ["actions", "enabled", "interval_ms", "metrics", "name"]);
    let definition = asked.definition.unwrap();
    assert_eq!(
        (definition.id.as_str(), definition.interval_ms, definition.enabled),
        ("hot", 20_000, Some(false))
    );
    bench.called.clear();
    // One that is wrong spoils all.
    for (body, told) in [
        (
            json!({"Name": "x", "Metrics": [{"MetricProperties": [property("nope")]}]}),
            places(&[
                ("/Metrics/0/MetricProperties/0", "PropertyValueIncorrect"),
                ("/Name", "PropertyValueConflict"),
            ]),
        ),
        (
            json!({"Name": "x", "MetricReportDefinitionType": "OnRequest"}),
            places(&[
                ("/MetricReportDefinitionType", "PropertyNotWritable"),
                ("/Name", "PropertyValueConflict"),
            ]),
        ),
    ] {
        let mut said = refused(&mut bench, Method::Patch, &path, &body);
        said.sort();
        assert_eq!(said, told, "{body}");
    }
    let request = Request { if_match: Some("\"old\"".into()), ..Request::default() };
    let answer = bench.ask(Method::Delete, &path, "", request);
    assert_eq!((answer.status, bench.called.len()), (412, 0));
    assert_eq!(bench.send(Method::Delete, &path, &Value::Null).status, 204);
    let asked = v1::DeleteReportDefinitionRequest::decode(bench.called[0].request.as_slice()).unwrap();
    assert_eq!(asked.id, "hot");
    let used =
        Fault { reason: "REPORT_DEFINITION_IN_USE".into(), ..Fault::new(Code::FailedPrecondition, "by hot") };
    bench.refuse("rpc.TelemetryService.DeleteReportDefinition", used);
    let answer = bench.send(Method::Delete, &path, &Value::Null);
    assert_eq!((answer.status, said(&answer).as_str()), (409, "ResourceInUse"));
}

#[test]
fn metrics_can_be_given_back_with_a_sensor_that_is_gone_since() {
    let mut bench = Bench::agreeing();
    let path = format!("{DEFINITIONS}/hot");
    let gone = v1::ReportDefinition { metrics: vec![metric("", &["fan0", "gone"])], ..support::definition() };
    let answer = v1::ListReportDefinitionsResponse { definitions: vec![gone], least_interval_ms: 10_000 };
    bench.say("rpc.TelemetryService.ListReportDefinitions", &answer);
    let shown = bench.shown(&path);
    let body = json!({"Metrics": shown["Metrics"]});
    assert_eq!(bench.send(Method::Patch, &path, &body).status, 200);
    let asked = v1::UpdateReportDefinitionRequest::decode(bench.called[0].request.as_slice()).unwrap();
    assert_eq!(asked.definition.unwrap().metrics, [metric("", &["fan0", "gone"])]);
    bench.called.clear();
    let body = json!({"Metrics": [{"MetricProperties": [property("gone"), property("nope")]}]});
    let told = refused(&mut bench, Method::Patch, &path, &body);
    assert_eq!(told, places(&[("/Metrics/0/MetricProperties/1", "PropertyValueIncorrect")]));
}

#[test]
fn the_shortest_interval_is_that_of_a_history_and_of_reports_of_clients() {
    let mut bench = Bench::new();
    let path = "/redfish/v1/TelemetryService";
    for (least_interval_ms, told) in [(100, "PT10S"), (10_000, "PT10S"), (60_500, "PT60.500S")] {
        let answer = v1::ListReportDefinitionsResponse { definitions: Vec::new(), least_interval_ms };
        bench.say("rpc.TelemetryService.ListReportDefinitions", &answer);
        assert_eq!(bench.shown(path)["MinCollectionInterval"], told);
    }
    let away = Fault::new(Code::Unavailable, "eventlog does not answer");
    bench.refuse("rpc.TelemetryService.ListReportDefinitions", away);
    assert_eq!(bench.shown(path).get("MinCollectionInterval"), None);
}

#[test]
fn what_is_the_service_s_own_is_neither_changed_nor_deleted() {
    let mut bench = Bench::agreeing();
    for path in [
        format!("{DEFINITIONS}/Temperature"),
        format!("{DEFINITIONS}/history-cpu0_temp"),
        format!("{TRIGGERS}/cpu0_temp"),
    ] {
        let told = refused(&mut bench, Method::Patch, &path, &json!({"Name": "x"}));
        assert_eq!(told, places(&[("/Name", "PropertyNotWritable")]), "{path}");
        let answer = bench.send(Method::Delete, &path, &Value::Null);
        assert_eq!((answer.status, said(&answer).as_str()), (400, "ResourceCannotBeDeleted"), "{path}");
        assert!(bench.called.is_empty(), "{path}");
    }
}

#[test]
fn a_trigger_is_made_with_its_thresholds_and_the_reports_it_has_sent() {
    let mut bench = Bench::agreeing();
    let body = json!({
        "Id": "warm",
        "Name": "It is warm",
        "MetricType": "Numeric",
        "MetricProperties": [property("{S}"), property("p12v")],
        "Wildcards": [{"Name": "S", "Values": ["cpu0_temp", "p12v"]}],
        "NumericThresholds": {
            "UpperWarning": {"Reading": 80.5, "Activation": "Increasing", "DwellTime": "PT5S"},
            "LowerCritical": {"Reading": -3},
        },
        "TriggerActions": ["LogToLogService", "RedfishMetricReport"],
        "Links": {"MetricReportDefinitions": [
            {"@odata.id": format!("{DEFINITIONS}/hot")}, {"@odata.id": format!("{DEFINITIONS}/Power/")},
        ]},
    });
    let answer = bench.send(Method::Post, TRIGGERS, &body);
    assert_eq!(
        (answer.status, answer.header("location")),
        (201, Some(format!("{TRIGGERS}/hot").as_str())),
        "{}",
        answer.value()
    );
    let asked =
        v1::CreateTriggerRequest::decode(bench.called[0].request.as_slice()).unwrap().trigger.unwrap();
    let threshold = |reading, activation: v1::TriggerActivation, dwell_ms| {
        Some(v1::TriggerThreshold { reading, activation: activation.into(), dwell_ms })
    };
    let expected = v1::Trigger {
        id: "warm".into(),
        name: "It is warm".into(),
        sensors: vec!["cpu0_temp".into(), "p12v".into()],
        upper_warning: threshold(80.5, v1::TriggerActivation::Increasing, 5_000),
        lower_critical: threshold(-3.0, v1::TriggerActivation::Unspecified, 0),
        actions: vec![v1::TriggerAction::Log.into(), v1::TriggerAction::MetricReport.into()],
        report_definitions: vec!["hot".into(), "Power".into()],
        ..v1::Trigger::default()
    };
    assert_eq!(asked, expected);
    bench.called.clear();
    let of = |more: Value| {
        let mut body = json!({"MetricProperties": [property("cpu0_temp")], "NumericThresholds": {"UpperWarning": {"Reading": 1}}});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (body, told) in [
        (json!({}), places(&[("", "EmptyJSON")])),
        (
            json!({"Name": "x"}),
            places(&[
                ("/MetricProperties", "CreateFailedMissingReqProperties"),
                ("/NumericThresholds", "CreateFailedMissingReqProperties"),
            ]),
        ),
        (of(json!({"MetricType": "Discrete"})), places(&[("/MetricType", "PropertyValueNotInList")])),
        (of(json!({"DiscreteTriggers": []})), places(&[("/DiscreteTriggers", "PropertyUnknown")])),
        (of(json!({"Id": "cpu0_temp"})), places(&[("/Id", "ResourceAlreadyExists")])),
        (
            of(
                json!({"NumericThresholds": {"UpperFatal": {"Reading": 1}, "UpperWarning": {"Reading": "1", "Activation": "Disabled"}}}),
            ),
            places(&[
                ("/NumericThresholds/UpperFatal", "PropertyUnknown"),
                ("/NumericThresholds/UpperWarning/Activation", "PropertyValueNotInList"),
                ("/NumericThresholds/UpperWarning/Reading", "PropertyValueTypeError"),
            ]),
        ),
        (
            of(
                json!({"MetricProperties": [property("nope")], "NumericThresholds": {"UpperWarning": {"DwellTime": "PT1S"}}}),
            ),
            places(&[
                ("/MetricProperties/0", "PropertyValueIncorrect"),
                ("/NumericThresholds/UpperWarning/Reading", "PropertyMissing"),
            ]),
        ),
    ] {
        let mut said = refused(&mut bench, Method::Post, TRIGGERS, &body);
        said.sort();
        assert_eq!(said, told, "{body}");
    }
}

#[test]
fn a_trigger_shows_what_it_is_and_changes_in_one_call() {
    let mut bench = Bench::agreeing();
    let path = format!("{TRIGGERS}/hot");
    let shown = bench.shown(&path);
    assert_eq!(
        shown["NumericThresholds"]["UpperWarning"],
        json!({"Reading": 80.0, "Activation": "Increasing", "DwellTime": "PT5S"})
    );
    assert_eq!(shown["MetricProperties"], json!([property("cpu0_temp")]));
    assert_eq!(shown["TriggerActions"], json!(["LogToLogService", "RedfishEvent", "RedfishMetricReport"]));
    assert_eq!(
        shown["Links"]["MetricReportDefinitions"],
        json!([{"@odata.id": format!("{DEFINITIONS}/hot")}, {"@odata.id": format!("{DEFINITIONS}/Power")}])
    );
    let all = links(&bench.shown(TRIGGERS));
    assert!(all.contains(&path) && all.contains(&format!("{TRIGGERS}/cpu0_temp")));

    let body = json!({"NumericThresholds": {"UpperWarning": {"Reading": 85}, "LowerCritical": {"Activation": "Either"}}});
    assert_eq!(bench.send(Method::Patch, &path, &body).status, 200);
    let [call] = bench.called.as_slice() else { panic!("{:?}", bench.called) };
    let asked = v1::UpdateTriggerRequest::decode(call.request.as_slice()).unwrap();
    let mut paths = asked.field_mask.unwrap().paths;
    paths.sort();
    // What of a threshold is not given stays, whoever changes it meanwhile.
    assert_eq!(paths, ["lower_critical.activation", "upper_warning.reading"]);
    let trigger = asked.trigger.unwrap();
    assert_eq!(trigger.upper_warning.unwrap().reading, 85.0);
    assert_eq!(trigger.lower_critical.unwrap().activation(), v1::TriggerActivation::Either);
    bench.called.clear();

    // All that is shown can be given back, and a sensor that is gone since as well.
    let gone = v1::Trigger { sensors: vec!["cpu0_temp".into(), "gone".into()], ..support::trigger() };
    bench.say("rpc.TelemetryService.ListTriggers", &v1::ListTriggersResponse { triggers: vec![gone] });
    let shown = bench.shown(&path);
    let body = json!({
        "MetricProperties": shown["MetricProperties"],
        "NumericThresholds": shown["NumericThresholds"],
    });
    assert_eq!(bench.send(Method::Patch, &path, &body).status, 200);
    let asked = v1::UpdateTriggerRequest::decode(bench.called[0].request.as_slice()).unwrap();
    assert_eq!(asked.trigger.unwrap().sensors, ["cpu0_temp", "gone"]);
    bench.called.clear();
    let body = json!({"MetricProperties": [property("gone"), property("nope")]});
    let told = refused(&mut bench, Method::Patch, &path, &body);
    assert_eq!(told, places(&[("/MetricProperties/1", "PropertyValueIncorrect")]));

    // A threshold that is new has a reading.
    let plain = v1::Trigger { upper_warning: None, ..support::trigger() };
    bench.say("rpc.TelemetryService.ListTriggers", &v1::ListTriggersResponse { triggers: vec![plain] });
    let body = json!({"NumericThresholds": {"UpperWarning": {"DwellTime": "PT9S"}}, "Name": "x"});
    let mut said = refused(&mut bench, Method::Patch, &path, &body);
    said.sort();
    let told = places(&[
        ("/Name", "PropertyValueConflict"),
        ("/NumericThresholds/UpperWarning/DwellTime", "PropertyValueConflict"),
    ]);
    assert_eq!(said, told);
    assert_eq!(bench.send(Method::Delete, &path, &Value::Null).status, 204);
    assert_eq!(v1::DeleteTriggerRequest::decode(bench.called[0].request.as_slice()).unwrap().id, "hot");
}

#[test]
fn who_may_only_operate_the_machine_makes_none() {
    let mut bench = Bench::by(support::asker("olga", auth::Role::Operator));
    bench.agree();
    for (method, path) in [
        (Method::Post, DEFINITIONS.to_owned()),
        (Method::Patch, format!("{DEFINITIONS}/hot")),
        (Method::Delete, format!("{DEFINITIONS}/hot")),
        (Method::Post, TRIGGERS.to_owned()),
        (Method::Delete, format!("{TRIGGERS}/hot")),
    ] {
        let answer = bench.send(method, &path, &json!({"Name": "x"}));
        assert_eq!((answer.status, said(&answer).as_str()), (403, "InsufficientPrivilege"), "{path}");
    }
    assert!(bench.called.is_empty());
    assert_eq!(bench.get(&format!("{DEFINITIONS}/hot")).status, 200);
}

#[test]
fn a_subscription_names_definitions_of_clients_whose_reports_are_sent() {
    let body = |id: &str| {
        json!({
            "Destination": "https://collector.example/metrics", "Protocol": "Redfish", "EventFormatType": "MetricReport",
            "MetricReportDefinitions": [{"@odata.id": format!("{DEFINITIONS}/{id}")}],
        })
    };
    let mut bench = Bench::agreeing();
    let read_only = v1::ReportDefinition {
        id: "read".into(),
        actions: vec![v1::ReportAction::Log.into()],
        ..support::definition()
    };
    let definitions = vec![support::definition(), read_only];
    let answer = v1::ListReportDefinitionsResponse { definitions, least_interval_ms: 10_000 };
    bench.say("rpc.TelemetryService.ListReportDefinitions", &answer);
    let path = "/redfish/v1/EventService/Subscriptions";
    assert_eq!(bench.send(Method::Post, path, &body("hot")).status, 201);
    for id in ["read", "nobody"] {
        let answer = bench.send(Method::Post, path, &body(id));
        assert_eq!((answer.status, said(&answer).as_str()), (400, "PropertyValueNotInList"), "{id}");
    }
}
