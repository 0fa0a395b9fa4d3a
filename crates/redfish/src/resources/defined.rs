//! Metric reports and triggers that clients have made, all of eventlog's (`TelemetryService`): what a client gives as the contract has it, and what that has as
//! Redfish shows it. Which resources they are [`super::telemetry`] says.

use std::collections::BTreeSet;

use prost::Message as _;
use schema::Code;
use schema::rpc::telemetry_service as rpc;
use schema::v1alpha1 as v1;
use serde_json::{Map, Value, json};

use crate::body::duration_ms;
use crate::message::base;
use crate::pointer::Pointer;
use crate::resource::{Change, Given, Kind, Made, Property, link, pointer, status};
use crate::world::{Call, World};
use crate::{Fault, Message};

use super::{is_path_name, said, sensors};

/// Sensors one list names at most; as the contract has it.
const SENSORS_MAX: usize = 128;
/// Before the chassis of a sensor.
const CHASSIS_AT: &str = "/redfish/v1/Chassis/";

/// Types of definitions. The first one takes nothing but metrics.
const TYPES: [(&str, v1::ReportDefinitionType); 3] = [
    ("OnRequest", v1::ReportDefinitionType::OnRequest),
    ("OnChange", v1::ReportDefinitionType::OnChange),
    ("Periodic", v1::ReportDefinitionType::Periodic),
];
/// Names of [`TYPES`].
pub(super) const TYPE_NAMES: &[&str] = &["OnRequest", "OnChange", "Periodic"];

/// What becomes of a report.
const REPORT_ACTIONS: [(&str, v1::ReportAction); 2] =
    [("LogToMetricReportsCollection", v1::ReportAction::Log), ("RedfishEvent", v1::ReportAction::Event)];
/// Names of [`REPORT_ACTIONS`].
pub(super) const REPORT_ACTION_NAMES: &[&str] = &["LogToMetricReportsCollection", "RedfishEvent"];

/// What a trigger does.
const TRIGGER_ACTIONS: [(&str, v1::TriggerAction); 3] = [
    ("LogToLogService", v1::TriggerAction::Log),
    ("RedfishEvent", v1::TriggerAction::Event),
    ("RedfishMetricReport", v1::TriggerAction::MetricReport),
];
/// Names of [`TRIGGER_ACTIONS`].
pub(super) const TRIGGER_ACTION_NAMES: &[&str] = &["LogToLogService", "RedfishEvent", "RedfishMetricReport"];

/// Which way a threshold is crossed.
const ACTIVATIONS: [(&str, v1::TriggerActivation); 3] = [
    ("Increasing", v1::TriggerActivation::Increasing),
    ("Decreasing", v1::TriggerActivation::Decreasing),
    ("Either", v1::TriggerActivation::Either),
];
const ACTIVATION: Kind = Kind::Enum(&["Increasing", "Decreasing", "Either"]);

/// What there is of a threshold.
const PARTS: [&str; 3] = ["Reading", "Activation", "DwellTime"];
/// The thresholds of a trigger, and what the contract calls their [`PARTS`].
const THRESHOLDS: [(&str, [&str; 3]); 4] = [
    ("UpperWarning", ["upper_warning.reading", "upper_warning.activation", "upper_warning.dwell_ms"]),
    ("UpperCritical", ["upper_critical.reading", "upper_critical.activation", "upper_critical.dwell_ms"]),
    ("LowerWarning", ["lower_warning.reading", "lower_warning.activation", "lower_warning.dwell_ms"]),
    ("LowerCritical", ["lower_critical.reading", "lower_critical.activation", "lower_critical.dwell_ms"]),
];

/// A metric of a definition.
pub(super) const METRIC: &[Property] = &[
    Property::new("MetricId", Kind::Enum(&sensors::KINDS)),
    Property::new("MetricProperties", Kind::Texts(SENSORS_MAX)),
    // What is shown when it is read, and no function of what was shown before.
    Property::new("CollectionTimeScope", Kind::Enum(&["Point"])),
];
/// What a name in braces stands for.
pub(super) const WILDCARD: &[Property] =
    &[Property::new("Name", Kind::Text(64)), Property::new("Values", Kind::Texts(SENSORS_MAX))];
/// When a report is made.
pub(super) const SCHEDULE: &[Property] = &[Property::new("RecurrenceInterval", Kind::Duration)];
/// Of a new trigger.
pub(super) const NUMERIC: &[Property] = {
    const ONE: Kind = Kind::Object(&[
        Property::new("Reading", Kind::Number),
        Property::new("Activation", ACTIVATION),
        Property::new("DwellTime", Kind::Duration),
    ]);
    &[
        Property::new("UpperWarning", ONE),
        Property::new("UpperCritical", ONE),
        Property::new("LowerWarning", ONE),
        Property::new("LowerCritical", ONE),
    ]
};
/// Of a new trigger, and of one that is changed.
pub(super) const LINKS: &[Property] = &[Property::new("MetricReportDefinitions", Kind::Links(16))];

/// What of a definition can be changed.
pub(super) const DEFINITION_CHANGES: &[Property] = &[
    Property::new("Name", Kind::Text(64)),
    Property::new("MetricReportDefinitionEnabled", Kind::Bool),
    Property::new("Schedule/RecurrenceInterval", Kind::Duration),
    Property::new("Metrics", Kind::Objects(16, METRIC)),
    Property::new("ReportActions", Kind::Enums(REPORT_ACTION_NAMES)),
];
/// A change of a definition is made whole or not at all.
pub(super) const DEFINITION_TOGETHER: &[&[&str]] = &[&[
    "Name",
    "MetricReportDefinitionEnabled",
    "Schedule/RecurrenceInterval",
    "Metrics",
    "ReportActions",
    "MetricReportDefinitionType",
    "ReportUpdates",
]];

/// What of a trigger can be changed.
pub(super) const TRIGGER_CHANGES: &[Property] = &[
    Property::new("Name", Kind::Text(64)),
    Property::new("TriggerActions", Kind::Enums(TRIGGER_ACTION_NAMES)),
    Property::new("MetricProperties", Kind::Texts(SENSORS_MAX)),
    Property::new("Links/MetricReportDefinitions", Kind::Links(16)),
    Property::new("NumericThresholds/UpperWarning/Reading", Kind::Number),
    Property::new("NumericThresholds/UpperWarning/Activation", ACTIVATION),
    Property::new("NumericThresholds/UpperWarning/DwellTime", Kind::Duration),
    Property::new("NumericThresholds/UpperCritical/Reading", Kind::Number),
    Property::new("NumericThresholds/UpperCritical/Activation", ACTIVATION),
    Property::new("NumericThresholds/UpperCritical/DwellTime", Kind::Duration),
    Property::new("NumericThresholds/LowerWarning/Reading", Kind::Number),
    Property::new("NumericThresholds/LowerWarning/Activation", ACTIVATION),
    Property::new("NumericThresholds/LowerWarning/DwellTime", Kind::Duration),
    Property::new("NumericThresholds/LowerCritical/Reading", Kind::Number),
    Property::new("NumericThresholds/LowerCritical/Activation", ACTIVATION),
    Property::new("NumericThresholds/LowerCritical/DwellTime", Kind::Duration),
];
/// As [`DEFINITION_TOGETHER`].
pub(super) const TRIGGER_TOGETHER: &[&[&str]] = &[&[
    "Name",
    "TriggerActions",
    "MetricProperties",
    "Links/MetricReportDefinitions",
    "NumericThresholds/UpperWarning/Reading",
    "NumericThresholds/UpperWarning/Activation",
    "NumericThresholds/UpperWarning/DwellTime",
    "NumericThresholds/UpperCritical/Reading",
    "NumericThresholds/UpperCritical/Activation",
    "NumericThresholds/UpperCritical/DwellTime",
    "NumericThresholds/LowerWarning/Reading",
    "NumericThresholds/LowerWarning/Activation",
    "NumericThresholds/LowerWarning/DwellTime",
    "NumericThresholds/LowerCritical/Reading",
    "NumericThresholds/LowerCritical/Activation",
    "NumericThresholds/LowerCritical/DwellTime",
    "MetricType",
]];

/// Milliseconds as a duration (DSP0266, "Duration values").
pub(super) fn duration(ms: u64) -> String {
    let (seconds, rest) = (ms / 1000, ms % 1000);
    if rest == 0 { format!("PT{seconds}S") } else { format!("PT{seconds}.{rest:03}S") }
}

/// The name of what the contract calls so.
fn named<T: Copy + PartialEq>(all: &[(&'static str, T)], wanted: T) -> Option<&'static str> {
    all.iter().find(|(_, value)| *value == wanted).map(|(name, _)| *name)
}

/// What the contract calls these names; what has none is left out, as it was looked at before.
fn valued<T: Copy + Into<i32>>(all: &[(&'static str, T)], names: &[String]) -> Vec<i32> {
    let value = |name: &String| all.iter().find(|(other, _)| other == name).map(|(_, value)| (*value).into());
    names.iter().filter_map(value).collect()
}

/// What is known of the sensors: a name that is not among them is refused, as long as somebody says which there are.
struct Known<'w> {
    /// Of the chassis they are in.
    chassis: Option<&'w str>,
    sensors: Option<BTreeSet<&'w str>>,
    /// Those that what is changed names: they may be given again, also where they are gone.
    named: BTreeSet<&'w str>,
}

impl<'w> Known<'w> {
    fn of(world: &'w World) -> Self {
        let chassis = world.chassis().ok();
        let chassis = chassis.map(|answer| answer.chassis.first().map_or("", |first| first.name.as_str()));
        let sensors = world.sensors().ok();
        let analog = |answer: &'w v1::ListSensorsResponse| {
            let all = answer.sensors.iter().filter(|sensor| sensors::is_analog(sensor));
            all.map(|sensor| sensor.id.as_str()).collect()
        };
        Self { chassis, sensors: sensors.map(analog), named: BTreeSet::new() }
    }

    /// With those that what is changed names.
    fn with(world: &'w World, named: impl Iterator<Item = &'w String>) -> Self {
        Self { named: named.map(String::as_str).collect(), ..Self::of(world) }
    }

    fn has(&self, id: &str) -> bool {
        let is_there = || self.sensors.as_ref().is_none_or(|all| all.contains(id));
        is_path_name(id) && (is_there() || self.named.contains(id))
    }

    /// The sensor whose reading a property is, as far as its name goes; it may be one in braces.
    fn named<'u>(&self, uri: &'u str) -> Option<&'u str> {
        let (chassis, rest) = uri.strip_prefix(CHASSIS_AT)?.split_once("/Sensors/")?;
        let is_here = self.chassis.is_none_or(|first| first == chassis);
        let id = rest.strip_suffix("#/Reading").unwrap_or(rest);
        (is_here && is_path_name(chassis) && !id.contains(['/', '#'])).then_some(id)
    }
}

/// What is wrong with what was given, gathered.
struct Wrong(Vec<Message>);

impl Wrong {
    /// That a value of the list at this place cannot be.
    fn item(&mut self, at: &Pointer, nth: usize, value: &str, why: &str) {
        let name = at.names().last().unwrap_or_default().to_owned();
        let message = base::PROPERTY_VALUE_INCORRECT.with(&[&name, value]).resolved_by(why);
        self.0.push(message.about(at.then(&nth.to_string())));
    }
}

/// The texts of a list.
fn texts(value: Option<&Value>) -> Vec<&str> {
    let list = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).collect()
}

/// The sensors of properties, with those that names in braces stand for in their place, each once.
fn sensors_of(
    known: &Known<'_>,
    wildcards: &[(&str, Vec<&str>)],
    properties: &[&str],
    at: &Pointer,
    wrong: &mut Wrong,
) -> Vec<String> {
    const WHY: &str = "Give the Reading of a sensor of this service, as MetricDefinitions have it.";
    let mut found: Vec<String> = Vec::new();
    for (nth, uri) in properties.iter().enumerate() {
        let Some(id) = known.named(uri) else {
            wrong.item(at, nth, uri, WHY);
            continue;
        };
        let ids = match id.strip_prefix('{').and_then(|id| id.strip_suffix('}')) {
            None => vec![id],
            Some(name) => match wildcards.iter().find(|(other, _)| *other == name) {
                Some((_, values)) => values.clone(),
                None => {
                    wrong.item(at, nth, uri, "Say in Wildcards what the name in braces stands for.");
                    continue;
                }
            },
        };
        if ids.iter().any(|id| !known.has(id)) {
            wrong.item(at, nth, uri, WHY);
            continue;
        }
        for id in ids {
            if !found.iter().any(|other| other == id) {
                found.push(id.to_owned());
            }
        }
    }
    found
}

/// What the names in braces stand for.
fn wildcards(given: &Given) -> Vec<(&str, Vec<&str>)> {
    let list = given.get("Wildcards").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .map(|wildcard| {
            let name = wildcard.get("Name").and_then(Value::as_str).unwrap_or_default();
            (name, texts(wildcard.get("Values")))
        })
        .collect()
}

/// The metrics of a definition: those of `Metrics`, and the sensors of `MetricProperties` as one more.
fn metrics(known: &Known<'_>, given: &Given, wrong: &mut Wrong) -> Vec<v1::ReportMetric> {
    let wildcards = wildcards(given);
    let mut metrics = Vec::new();
    let list = given.get("Metrics").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for (nth, metric) in list.iter().enumerate() {
        let at = Pointer::of(&["Metrics", &nth.to_string()]);
        let kind = metric.get("MetricId").and_then(Value::as_str).unwrap_or_default().to_owned();
        let properties = texts(metric.get("MetricProperties"));
        if kind.is_empty() && properties.is_empty() {
            let message = base::PROPERTY_MISSING.with(&["MetricId"]).about(at.then("MetricId"));
            wrong.0.push(message);
            continue;
        }
        let sensors = sensors_of(known, &wildcards, &properties, &at.then("MetricProperties"), wrong);
        // One whose sensors are wrong is none of all sensors.
        if properties.is_empty() || !sensors.is_empty() {
            metrics.push(v1::ReportMetric { kind, sensors });
        }
    }
    let properties = texts(given.get("MetricProperties"));
    let sensors = sensors_of(known, &wildcards, &properties, &pointer("MetricProperties"), wrong);
    if !sensors.is_empty() {
        metrics.push(v1::ReportMetric { kind: String::new(), sensors });
    }
    metrics
}

/// The milliseconds of a duration that was given.
fn span(given: &Given, path: &str) -> u64 {
    given.at(path).and_then(Value::as_str).and_then(duration_ms).unwrap_or_default()
}

fn text(given: &Given, path: &str) -> String {
    given.text(path).unwrap_or_default().to_owned()
}

/// What defines a new report.
///
/// # Errors
/// All that is wrong with what was given, as far as eventlog need not be asked.
pub(super) fn new_definition(world: &World, given: &Given) -> Result<Call, Vec<Message>> {
    let mut wrong = Wrong(Vec::new());
    let metrics = metrics(&Known::of(world), given, &mut wrong);
    if metrics.is_empty() && wrong.0.is_empty() {
        let message = base::CREATE_FAILED_MISSING_REQ_PROPERTIES.with(&["Metrics"]);
        wrong.0.push(message.about(pointer("Metrics")));
    }
    if !wrong.0.is_empty() {
        return Err(wrong.0);
    }
    let kind = given.text("MetricReportDefinitionType").unwrap_or_default();
    let kind = TYPES.iter().find(|(name, _)| *name == kind).map(|(_, kind)| *kind).unwrap_or_default();
    let definition = v1::ReportDefinition {
        id: text(given, "Id"),
        name: text(given, "Name"),
        r#type: kind.into(),
        interval_ms: span(given, "Schedule/RecurrenceInterval"),
        metrics,
        actions: valued(&REPORT_ACTIONS, &given.texts("ReportActions")),
        enabled: given.bool("MetricReportDefinitionEnabled"),
    };
    let request = v1::CreateReportDefinitionRequest { definition: Some(definition) };
    Ok(Call::new(rpc::CREATE_REPORT_DEFINITION, &request))
}

/// A change of several properties, or what is wrong with it, each property by itself.
fn one_change(properties: Vec<&'static str>, wrong: Vec<(&'static str, Message)>, call: Call) -> Vec<Change> {
    if wrong.is_empty() {
        return vec![Change { properties, call: Ok(call) }];
    }
    let is_good = |path: &&'static str| !wrong.iter().any(|(bad, _)| bad == path);
    let good: Vec<_> = properties.into_iter().filter(is_good).collect();
    let mut changes: Vec<Change> =
        wrong.into_iter().map(|(path, message)| Change::of(path, Err(message))).collect();
    if !good.is_empty() {
        changes.push(Change { properties: good, call: Ok(call) });
    }
    changes
}

/// What changes a definition.
pub(super) fn changed_definition(world: &World, id: &str, given: &Given) -> Vec<Change> {
    let (mut paths, mut wrong) = (Vec::new(), Vec::new());
    let mut definition = v1::ReportDefinition { id: id.to_owned(), ..v1::ReportDefinition::default() };
    let properties: Vec<&'static str> = given.paths().collect();
    for path in &properties {
        match *path {
            "Name" => {
                definition.name = text(given, path);
                paths.push("name");
            }
            "MetricReportDefinitionEnabled" => {
                definition.enabled = given.bool(path);
                paths.push("enabled");
            }
            "Schedule/RecurrenceInterval" => {
                definition.interval_ms = span(given, path);
                paths.push("interval_ms");
            }
            "Metrics" => {
                let mut of_metrics = Wrong(Vec::new());
                let all = world.report_definitions().map(|answer| answer.definitions.as_slice());
                let was = all.unwrap_or_default().iter().filter(|definition| definition.id == id);
                let named = was.flat_map(|was| &was.metrics).flat_map(|metric| &metric.sensors);
                definition.metrics = metrics(&Known::with(world, named), given, &mut of_metrics);
                wrong.extend(of_metrics.0.into_iter().map(|message| (*path, message)));
                paths.push("metrics");
            }
            _ => {
                definition.actions = valued(&REPORT_ACTIONS, &given.texts(path));
                paths.push("actions");
            }
        }
    }
    let field_mask = mask(&paths);
    let request = v1::UpdateReportDefinitionRequest { definition: Some(definition), field_mask };
    one_change(properties, wrong, Call::new(rpc::UPDATE_REPORT_DEFINITION, &request))
}

fn mask(paths: &[&str]) -> Option<prost_types::FieldMask> {
    Some(prost_types::FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() })
}

/// The name of a definition that was made.
pub(super) fn made_definition(answer: &[u8]) -> Result<Made, Fault> {
    let answer = v1::CreateReportDefinitionResponse::decode(answer).ok();
    made(answer.and_then(|answer| answer.definition).map(|definition| definition.id), "definition")
}

/// The name of a trigger that was made.
pub(super) fn made_trigger(answer: &[u8]) -> Result<Made, Fault> {
    let answer = v1::CreateTriggerResponse::decode(answer).ok();
    made(answer.and_then(|answer| answer.trigger).map(|trigger| trigger.id), "trigger")
}

fn made(id: Option<String>, what: &str) -> Result<Made, Fault> {
    let bad = || Fault::new(Code::Internal, &format!("the answer to a new {what} is none"));
    Ok(Made { name: id.ok_or_else(bad)?, shown: None, headers: Vec::new(), messages: Vec::new() })
}

/// Whether there is a report of a definition that can be read.
pub(super) fn is_read(definition: &v1::ReportDefinition) -> bool {
    definition.enabled != Some(false) && definition.actions.contains(&v1::ReportAction::Log.into())
}

/// Whether reports of a definition are sent.
pub(super) fn is_sent(definition: &v1::ReportDefinition) -> bool {
    definition.actions.contains(&v1::ReportAction::Event.into())
}

/// What a definition shows. `property` makes the property of a sensor, `report` is the URI of its report.
pub(super) fn definition(
    definition: &v1::ReportDefinition,
    property: impl Fn(&str) -> String,
    report: &str,
) -> Value {
    let is_enabled = definition.enabled != Some(false);
    let metric = |metric: &v1::ReportMetric| {
        let properties: Vec<String> = metric.sensors.iter().map(|id| property(id)).collect();
        json!({
            "MetricId": said(Some(&metric.kind)),
            "MetricProperties": (!properties.is_empty()).then_some(properties),
        })
    };
    let actions = REPORT_ACTIONS.iter().filter(|(_, action)| definition.actions.contains(&(*action).into()));
    json!({
        "Name": definition.name,
        "Description": "A metric report that a client has defined",
        "MetricReportDefinitionType": named(&TYPES, definition.r#type()),
        "MetricReportDefinitionEnabled": is_enabled,
        "Schedule": {"RecurrenceInterval": (definition.interval_ms > 0).then(|| duration(definition.interval_ms))},
        "ReportActions": actions.map(|(name, _)| *name).collect::<Vec<_>>(),
        "ReportUpdates": "Overwrite",
        "Metrics": definition.metrics.iter().map(metric).collect::<Vec<_>>(),
        "MetricReport": is_read(definition).then(|| link(report)),
        "Status": if is_enabled { status("Enabled", Some("OK")) } else { status("Disabled", None) },
    })
}

/// The definitions that links lead to.
fn definitions_of(uris: &[String], before: &str) -> Vec<String> {
    let id = |uri: &String| {
        let uri = uri.trim_end_matches('/');
        uri.strip_prefix(before).unwrap_or(uri).to_owned()
    };
    uris.iter().map(id).collect()
}

/// A threshold as the contract has it: what of it was given. `None`: nothing was.
fn threshold(given: &Given, name: &str) -> Option<v1::TriggerThreshold> {
    let at = |part: &str| given.at(&format!("NumericThresholds/{name}/{part}"));
    let (reading, activation, dwell) = (at("Reading"), at("Activation"), at("DwellTime"));
    if reading.is_none() && activation.is_none() && dwell.is_none() {
        return None;
    }
    let mut threshold = v1::TriggerThreshold::default();
    if let Some(reading) = reading.and_then(Value::as_f64) {
        threshold.reading = reading;
    }
    let activation = activation.and_then(Value::as_str);
    if let Some((_, way)) = ACTIVATIONS.iter().find(|(name, _)| Some(*name) == activation) {
        threshold.activation = (*way).into();
    }
    if let Some(dwell) = dwell.and_then(Value::as_str).and_then(duration_ms) {
        threshold.dwell_ms = dwell;
    }
    Some(threshold)
}

/// The threshold of a trigger that has this name here.
fn place<'t>(trigger: &'t mut v1::Trigger, name: &str) -> &'t mut Option<v1::TriggerThreshold> {
    match name {
        "UpperWarning" => &mut trigger.upper_warning,
        "UpperCritical" => &mut trigger.upper_critical,
        "LowerWarning" => &mut trigger.lower_warning,
        _ => &mut trigger.lower_critical,
    }
}

/// What makes a new trigger. `definitions` is what stands before the name of a definition of reports.
///
/// # Errors
/// As [`new_definition`].
pub(super) fn new_trigger(world: &World, given: &Given, definitions: &str) -> Result<Call, Vec<Message>> {
    let mut wrong = Wrong(Vec::new());
    let (known, wildcards, properties) =
        (Known::of(world), wildcards(given), texts(given.get("MetricProperties")));
    let sensors = sensors_of(&known, &wildcards, &properties, &pointer("MetricProperties"), &mut wrong);
    if properties.is_empty() {
        let message = base::CREATE_FAILED_MISSING_REQ_PROPERTIES.with(&["MetricProperties"]);
        wrong.0.push(message.about(pointer("MetricProperties")));
    }
    let id = text(given, "Id");
    if known.sensors.as_ref().is_some_and(|all| all.contains(id.as_str())) {
        // That of the sensor has its name.
        wrong.0.push(base::RESOURCE_ALREADY_EXISTS.with(&["Triggers", "Id", &id]).about(pointer("Id")));
    }
    for (name, _) in THRESHOLDS {
        let path = format!("NumericThresholds/{name}");
        if given.at(&path).is_some() && given.at(&format!("{path}/Reading")).is_none() {
            let at = pointer(&format!("{path}/Reading"));
            wrong.0.push(base::PROPERTY_MISSING.with(&["Reading"]).about(at));
        }
    }
    let links = links(given, "Links/MetricReportDefinitions");
    if !wrong.0.is_empty() {
        return Err(wrong.0);
    }
    let mut trigger = v1::Trigger {
        id,
        name: text(given, "Name"),
        sensors,
        actions: valued(&TRIGGER_ACTIONS, &given.texts("TriggerActions")),
        report_definitions: definitions_of(&links, definitions),
        ..v1::Trigger::default()
    };
    for (name, _) in THRESHOLDS {
        *place(&mut trigger, name) = threshold(given, name);
    }
    Ok(Call::new(rpc::CREATE_TRIGGER, &v1::CreateTriggerRequest { trigger: Some(trigger) }))
}

/// The URIs of links at a path.
fn links(given: &Given, path: &str) -> Vec<String> {
    let list = given.at(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|item| item.get("@odata.id")?.as_str()).map(str::to_owned).collect()
}

/// What changes a trigger.
pub(super) fn changed_trigger(
    world: &World,
    was: &v1::Trigger,
    given: &Given,
    definitions: &str,
) -> Vec<Change> {
    let (mut paths, mut wrong): (Vec<&str>, Vec<_>) = (Vec::new(), Vec::new());
    let mut trigger = v1::Trigger { id: was.id.clone(), ..v1::Trigger::default() };
    let properties: Vec<&'static str> = given.paths().collect();
    for path in &properties {
        match *path {
            "Name" => {
                trigger.name = text(given, path);
                paths.push("name");
            }
            "TriggerActions" => {
                trigger.actions = valued(&TRIGGER_ACTIONS, &given.texts(path));
                paths.push("actions");
            }
            "MetricProperties" => {
                let (mut of_sensors, uris) = (Wrong(Vec::new()), texts(given.get(path)));
                let known = Known::with(world, was.sensors.iter());
                trigger.sensors = sensors_of(&known, &[], &uris, &pointer(path), &mut of_sensors);
                wrong.extend(of_sensors.0.into_iter().map(|message| (*path, message)));
                paths.push("sensors");
            }
            "Links/MetricReportDefinitions" => {
                trigger.report_definitions = definitions_of(&links(given, path), definitions);
                paths.push("report_definitions");
            }
            // Of a threshold.
            _ => {
                let of_path = |name: &str| path.split('/').nth(1) == Some(name);
                let Some((name, fields)) = THRESHOLDS.iter().find(|(name, _)| of_path(name)) else {
                    continue;
                };
                let is_new = place(&mut was.clone(), name).is_none();
                let has_reading = given.at(&format!("NumericThresholds/{name}/Reading")).is_some();
                if is_new && !has_reading {
                    wrong.push((*path, base::PROPERTY_VALUE_CONFLICT.with(&[last(path), "Reading"])));
                }
                *place(&mut trigger, name) = threshold(given, name);
                // What is not given stays as its owner has it, who may have changed it meanwhile.
                let field = PARTS.iter().zip(fields).find(|(part, _)| **part == last(path));
                paths.extend(field.map(|(_, field)| *field));
            }
        }
    }
    let request = v1::UpdateTriggerRequest { trigger: Some(trigger), field_mask: mask(&paths) };
    one_change(properties, wrong, Call::new(rpc::UPDATE_TRIGGER, &request))
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// What a trigger shows. `property` makes the property of a sensor; `links` are the URIs of the definitions of reports that it has sent.
pub(super) fn trigger(
    trigger: &v1::Trigger,
    property: impl Fn(&str) -> String,
    links: impl Iterator<Item = String>,
) -> Value {
    let mut thresholds = Map::new();
    let mut of = trigger.clone();
    for (name, _) in THRESHOLDS {
        let Some(threshold) = *place(&mut of, name) else { continue };
        let one = json!({
            "Reading": threshold.reading,
            "Activation": named(&ACTIVATIONS, threshold.activation()),
            "DwellTime": (threshold.dwell_ms > 0).then(|| duration(threshold.dwell_ms)),
        });
        thresholds.insert(name.to_owned(), one);
    }
    let actions = TRIGGER_ACTIONS.iter().filter(|(_, action)| trigger.actions.contains(&(*action).into()));
    let links: Vec<Value> = links.map(|uri| link(&uri)).collect();
    json!({
        "Name": trigger.name,
        "Description": "A trigger that a client has made",
        "MetricType": "Numeric",
        "TriggerActions": actions.map(|(name, _)| *name).collect::<Vec<_>>(),
        "NumericThresholds": thresholds,
        "MetricProperties": trigger.sensors.iter().map(|id| property(id)).collect::<Vec<_>>(),
        "Links": {"MetricReportDefinitions": (!links.is_empty()).then_some(links)},
        "Status": status("Enabled", Some("OK")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_seconds_and_reads_as_it_was() {
        for (ms, text) in [(60_000, "PT60S"), (1, "PT0.001S"), (1_500, "PT1.500S"), (3_600_000, "PT3600S")] {
            assert_eq!(duration(ms), text);
            assert_eq!(duration_ms(text), Some(ms));
        }
    }

    #[test]
    fn names_are_those_of_the_lists() {
        assert!(TYPES.iter().map(|(name, _)| *name).eq(TYPE_NAMES.iter().copied()));
        assert!(REPORT_ACTIONS.iter().map(|(name, _)| *name).eq(REPORT_ACTION_NAMES.iter().copied()));
        assert!(TRIGGER_ACTIONS.iter().map(|(name, _)| *name).eq(TRIGGER_ACTION_NAMES.iter().copied()));
        let all = TRIGGER_CHANGES.iter().map(|property| property.path);
        assert!(all.eq(TRIGGER_TOGETHER[0].iter().copied().filter(|path| *path != "MetricType")));
    }
}
