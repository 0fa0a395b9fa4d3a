//! TelemetryService: what the sensors of a chassis show as metrics, all of sensormon's (`SensorService`). For each kind of reading there is a metric and a
//! report of what shows it now; for each sensor a report of its last hour with the least and the most of its last day, and a trigger for its thresholds.
//! They are made when they are asked for. Reports of what is shown now are made at an interval, too, and sent to who has subscribed ([`crate::metric_reports`]);
//! how long that is eventlog says, who sends them. Beside these there are those that clients have made ([`super::defined`]), of which eventlog knows: while it is
//! away they are missing in collections, and each is unavailable. A name tells which of the two it is of.
//!
//! Sensors are those of the first chassis ([`super::sensors`]).

use std::collections::{BTreeMap, BTreeSet};

use schema::rpc::telemetry_service as rpc;
use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::Fault;
use crate::message::base;
use crate::privilege::entity;
use crate::resource::{
    Change, Create, Deed, Kind, Names, Patch, Property, Resource, collection, link, status,
};
use crate::world::{Call, HISTORY, Need, World, of_history};

use super::defined::{self, duration};
use super::{is_path_name, name, sensors};

/// Steps of a history, and how long each is, milliseconds.
const STEPS: usize = 360;
const STEP_MS: u64 = 10_000;
/// Before the name of a definition of reports.
const REPORT_DEFINITIONS_AT: &str = "/redfish/v1/TelemetryService/MetricReportDefinitions/";
/// Values in one report of a client at most. A kind may come to have more sensors after its definition was looked at: such a report ends there, and says so.
pub const REPORT_VALUES_MAX: usize = 1000;
/// The version of a report with the context of who is sent it (DSP0268, `MetricReport`): no older one has that, and no report that is read.
pub(crate) const REPORT_SENT: &str = "MetricReport.v1_4_0";

pub(super) static SERVICE: Resource = Resource::new(
    "TelemetryService",
    "TelemetryService.v1_2_0.TelemetryService",
    &entity::TELEMETRY_SERVICE,
    |world, _| {
        let below = |what: &str| link(&format!("/redfish/v1/TelemetryService/{what}"));
        // Of a history, and of the reports that clients define, if it is known how often those may come.
        let least = world.report_definitions().ok().map(|answer| answer.least_interval_ms.max(STEP_MS));
        Ok(Some(json!({
            "Name": "Telemetry service",
            "ServiceEnabled": true,
            "MinCollectionInterval": least.map(duration),
            "SupportedCollectionFunctions": ["Average", "Maximum", "Minimum"],
            "MetricDefinitions": below("MetricDefinitions"),
            "MetricReportDefinitions": below("MetricReportDefinitions"),
            "MetricReports": below("MetricReports"),
            "Triggers": below("Triggers"),
            "Status": status("Enabled", Some("OK")),
        })))
    },
);

pub(super) static DEFINITIONS: Resource = Resource::new(
    "TelemetryService/MetricDefinitions",
    "MetricDefinitionCollection.MetricDefinitionCollection",
    &entity::METRIC_DEFINITION_COLLECTION,
    |world, _| {
        let uris = kinds(world)?.into_iter().map(|kind| definition_uri(kind.id));
        Ok(Some(collection("Metric definitions", uris.collect())))
    },
);

pub(super) static DEFINITION: Resource = Resource::new(
    "TelemetryService/MetricDefinitions/{}",
    "MetricDefinition.v1_0_0.MetricDefinition",
    &entity::METRIC_DEFINITION,
    |world, names| {
        let Some(kind) = kind(world, name(names, 0))? else { return Ok(None) };
        Ok(Some(json!({
            "Name": format!("{} of the machine", kind.id),
            // What is used up only grows.
            "MetricType": if kind.id == "EnergyJoules" { "Counter" } else { "Gauge" },
            "MetricDataType": "Decimal",
            "Units": kind.sensors.first().and_then(|sensor| sensors::units(sensor.unit())),
            "Implementation": "PhysicalSensor",
            "IsLinear": true,
            "MetricProperties": [property(world, "{SensorId}")?],
            "Wildcards": [{"Name": "SensorId", "Values": kind.ids()}],
        })))
    },
);

/// What eventlog calls the properties of a definition.
const DEFINITION_FIELDS: crate::Fields = &[
    ("id", "Id"),
    ("name", "Name"),
    ("type", "MetricReportDefinitionType"),
    ("interval_ms", "Schedule"),
    ("interval_ms", "Schedule/RecurrenceInterval"),
    ("metrics", "Metrics"),
    ("actions", "ReportActions"),
    ("enabled", "MetricReportDefinitionEnabled"),
];

pub(super) static REPORT_DEFINITIONS: Resource = Resource {
    create: Some(Create {
        properties: &[
            (Property::new("Id", Kind::Text(64)), false),
            (Property::new("Name", Kind::Text(64)), false),
            (Property::new("MetricReportDefinitionType", Kind::Enum(defined::TYPE_NAMES)), true),
            (Property::new("MetricReportDefinitionEnabled", Kind::Bool), false),
            (Property::new("Schedule", Kind::Object(defined::SCHEDULE)), false),
            (Property::new("Metrics", Kind::Objects(16, defined::METRIC)), false),
            (Property::new("MetricProperties", Kind::Texts(128)), false),
            (Property::new("Wildcards", Kind::Objects(16, defined::WILDCARD)), false),
            (Property::new("ReportActions", Kind::Enums(defined::REPORT_ACTION_NAMES)), false),
            // What is read is what is shown then, and what is sent is what was shown when it was made.
            (Property::new("ReportUpdates", Kind::Enum(&["Overwrite"])), false),
        ],
        call: defined::new_definition,
        made: defined::made_definition,
        changes: &[Need::ReportDefinitions],
    }),
    fields: DEFINITION_FIELDS,
    ..Resource::new(
        "TelemetryService/MetricReportDefinitions",
        "MetricReportDefinitionCollection.MetricReportDefinitionCollection",
        &entity::METRIC_REPORT_DEFINITION_COLLECTION,
        |world, _| {
            let own = reports(world)?;
            let of_clients = definitions(world).iter().map(|definition| definition.id.as_str());
            let all = own.iter().map(String::as_str).chain(of_clients);
            Ok(Some(collection("Metric report definitions", all.map(report_definition_uri).collect())))
        },
    )
};

pub(super) static REPORT_DEFINITION: Resource = Resource {
    patch: Some(Patch {
        properties: defined::DEFINITION_CHANGES,
        apply: |world, names, given| {
            let id = name(names, 0);
            if is_of_service(id) {
                return given.paths().map(not_writable).collect();
            }
            defined::changed_definition(world, id, given)
        },
        changes: &[Need::ReportDefinitions],
    }),
    together: defined::DEFINITION_TOGETHER,
    fields: DEFINITION_FIELDS,
    delete: Some(|_, names| {
        let id = name(names, 0);
        if is_of_service(id) {
            return Err(base::RESOURCE_CANNOT_BE_DELETED.plain());
        }
        let request = v1::DeleteReportDefinitionRequest { id: id.to_owned() };
        Ok(Deed::Call(Call::new(rpc::DELETE_REPORT_DEFINITION, &request)))
    }),
    ..Resource::new(
        "TelemetryService/MetricReportDefinitions/{}",
        "MetricReportDefinition.v1_3_0.MetricReportDefinition",
        &entity::METRIC_REPORT_DEFINITION,
        report_definition,
    )
};

fn report_definition(world: &World, names: Names<'_>) -> Result<Option<Value>, Fault> {
    let id = name(names, 0);
    if !is_of_service(id) {
        let Some(definition) = definition(world, id)? else { return Ok(None) };
        let before = property(world, "")?;
        return Ok(Some(defined::definition(definition, |id| with_sensor(&before, id), &report_uri(id))));
    }
    if let Some(sensor) = sensor(world, of_history(id))? {
        return Ok(Some(json!({
            "Name": format!("The last hour of {}, and extremes of its last day", sensor.name),
            "MetricReportDefinitionType": "OnRequest",
            "ReportActions": ["LogToMetricReportsCollection"],
            "ReportUpdates": "AppendWrapsWhenFull",
            // And the two extremes.
            "AppendLimit": STEPS + 2,
            "ReportTimespan": "PT1H",
            "MetricProperties": [property(world, &sensor.id)?],
            "MetricReport": link(&report_uri(id)),
            "Status": status("Enabled", Some("OK")),
        })));
    }
    let Some(kind) = kind(world, id)? else { return Ok(None) };
    // The definition is there without eventlog; only the interval is not known then.
    let every = world.subscriptions().ok().map(|sends| sends.report_interval_ms);
    let every = every.filter(|every| *every > 0);
    Ok(Some(json!({
        "Name": format!("{} now", kind.id),
        "MetricReportDefinitionType": "Periodic",
        "Schedule": {"RecurrenceInterval": every.map(duration)},
        "ReportActions": ["LogToMetricReportsCollection", "RedfishEvent"],
        "ReportUpdates": "Overwrite",
        "MetricProperties": [property(world, "{SensorId}")?],
        "Wildcards": [{"Name": "SensorId", "Values": kind.ids()}],
        "MetricReport": link(&report_uri(id)),
        "Status": status("Enabled", Some("OK")),
    })))
}

/// That a property of what is the service's own is not written.
fn not_writable(path: &'static str) -> Change {
    let name = path.rsplit('/').next().unwrap_or_default();
    Change::of(path, Err(base::PROPERTY_NOT_WRITABLE.with(&[name])))
}

/// Whether a definition of that name is, or would be, one of the service's own.
fn is_of_service(id: &str) -> bool {
    sensors::KINDS.contains(&id) || id.starts_with(HISTORY)
}

/// The definitions of clients; none while nobody knows them.
fn definitions(world: &World) -> &[v1::ReportDefinition] {
    world.report_definitions().map(|answer| answer.definitions.as_slice()).unwrap_or_default()
}

/// The definition of that name that a client made.
///
/// # Errors
/// As [`World::report_definitions`].
fn definition<'w>(world: &'w World, id: &str) -> Result<Option<&'w v1::ReportDefinition>, Fault> {
    Ok(world.report_definitions()?.definitions.iter().find(|definition| definition.id == id))
}

pub(super) static REPORTS: Resource = Resource::new(
    "TelemetryService/MetricReports",
    "MetricReportCollection.MetricReportCollection",
    &entity::METRIC_REPORT_COLLECTION,
    |world, _| {
        let own = reports(world)?;
        let of_clients = definitions(world).iter().filter(|definition| defined::is_read(definition));
        let all = own.iter().map(String::as_str).chain(of_clients.map(|definition| definition.id.as_str()));
        Ok(Some(collection("Metric reports", all.map(report_uri).collect())))
    },
);

pub(crate) static REPORT: Resource = Resource {
    volatile: &["Timestamp"],
    ..Resource::new(
        "TelemetryService/MetricReports/{}",
        "MetricReport.v1_1_0.MetricReport",
        &entity::METRIC_REPORT,
        report,
    )
};

fn report(world: &World, names: Names<'_>) -> Result<Option<Value>, Fault> {
    let id = name(names, 0);
    if !is_of_service(id) {
        let definition = definition(world, id)?.filter(|definition| defined::is_read(definition));
        return definition.map(|definition| defined_report(world, definition)).transpose();
    }
    let values: Vec<Value> = match (sensor(world, of_history(id))?, kind(world, id)?) {
        (Some(sensor), _) => history(world, id, sensor)?,
        (None, Some(kind)) => kind
            .sensors
            .iter()
            .filter_map(|sensor| {
                let at = sensor.last_reading_timestamp.map(|at| at.to_string());
                Some(value(world, sensor, sensors::reading(sensor)?, at))
            })
            .collect::<Result<_, _>>()?,
        (None, None) => return Ok(None),
    };
    Ok(Some(report_of(world, id, &format!("Report {id}"), values)))
}

fn report_of(world: &World, id: &str, name: &str, values: Vec<Value>) -> Value {
    json!({
        "Name": name,
        "Timestamp": prost_types::Timestamp { seconds: world.about.now, nanos: 0 }.to_string(),
        "MetricReportDefinition": link(&report_definition_uri(id)),
        "MetricValues": values,
    })
}

/// The report of what a client has defined: what the sensors show that measure something now, whether it may be read or is only sent; [`REPORT_VALUES_MAX`]
/// values at most.
///
/// # Errors
/// As [`World::chassis`] and [`World::sensors`].
pub(crate) fn defined_report(world: &World, definition: &v1::ReportDefinition) -> Result<Value, Fault> {
    let sensors: BTreeMap<&str, &v1::Sensor> =
        all(world)?.map(|sensor| (sensor.id.as_str(), sensor)).collect();
    let (mut values, mut there) = (Vec::new(), 0_usize);
    for metric in &definition.metrics {
        let mut add = |sensor: &v1::Sensor| -> Result<(), Fault> {
            let is_meant = metric.kind.is_empty() || sensors::kind(sensor) == Some(metric.kind.as_str());
            if let (true, Some(reading)) = (is_meant, sensors::reading(sensor)) {
                there += 1;
                if values.len() < REPORT_VALUES_MAX {
                    let at = sensor.last_reading_timestamp.map(|at| at.to_string());
                    values.push(value(world, sensor, reading, at)?);
                }
            }
            Ok(())
        };
        if metric.sensors.is_empty() {
            all(world)?.try_for_each(&mut add)?;
        } else {
            let named = metric.sensors.iter().filter_map(|id| sensors.get(id.as_str()));
            named.copied().try_for_each(&mut add)?;
        }
    }
    let told = values.len();
    let mut report = report_of(world, &definition.id, &definition.name, values);
    if let (true, Some(map)) = (told < there, report.as_object_mut()) {
        map.insert("Description".to_owned(), format!("The first {told} of {there} values").into());
    }
    Ok(report)
}

/// The steps of a sensor's last hour in which something was measured.
fn history(world: &World, id: &str, sensor: &v1::Sensor) -> Result<Vec<Value>, Fault> {
    // One sensor's is asked for: who wants those of several asks for each.
    if world.about.focus() != id {
        return Err(Fault::new(schema::Code::InvalidArgument, "a history is shown by itself"));
    }
    // Both are asked for at once.
    let (none, day) = (v1::GetSensorHistoryResponse::default(), world.day());
    let history = match world.history() {
        // sensormon is gone, and its memory with it: the report is there, without values.
        Err(fault) if fault.code == schema::Code::Unavailable => return Ok(Vec::new()),
        history => history?,
    };
    let (start, step) = (history.start.unwrap_or_default(), history.step.map_or(10, |step| step.seconds));
    let steps = (0_i64..).zip(history.means.iter().take(STEPS)).filter(|(_, mean)| mean.is_finite());
    let extremes =
        extremes(day.unwrap_or(&none)).into_iter().map(|(which, value, at)| (Some(which), value, at));
    steps
        .map(|(at, mean)| (None, *mean, after(start, at, step)))
        .chain(extremes)
        .map(|(which, number, at)| {
            let mut one = value(world, sensor, f64::from(number), Some(at.to_string()))?;
            if let (Some(which), Some(map)) = (which, one.as_object_mut()) {
                map.insert("MetricId".to_owned(), Value::from(which));
            }
            Ok(one)
        })
        .collect()
}

fn after(start: prost_types::Timestamp, steps: i64, step: i64) -> prost_types::Timestamp {
    let seconds = start.seconds.saturating_add(steps.saturating_mul(step));
    prost_types::Timestamp { seconds, nanos: start.nanos }
}

/// The least and the most of a day, each with when the step of it began; of several alike the last one.
fn extremes(day: &v1::GetSensorHistoryResponse) -> Vec<(&'static str, f32, prost_types::Timestamp)> {
    let (start, step) = (day.start.unwrap_or_default(), day.step.map_or(60, |step| step.seconds));
    let of = |which, samples: &[f32], sign: f32| {
        let finite = (0_i64..).zip(samples).filter(|(_, sample)| sample.is_finite());
        let best = finite.max_by(|(_, one), (_, other)| (**one * sign).total_cmp(&(**other * sign)))?;
        Some((which, *best.1, after(start, best.0, step)))
    };
    [of("Minimum", &day.minima, -1.0), of("Maximum", &day.maxima, 1.0)].into_iter().flatten().collect()
}

fn value(world: &World, sensor: &v1::Sensor, value: f64, at: Option<String>) -> Result<Value, Fault> {
    Ok(json!({
        "MetricId": sensors::kind(sensor),
        "MetricValue": value.to_string(),
        "Timestamp": at,
        "MetricProperty": property(world, &sensor.id)?,
    }))
}

/// What eventlog calls the properties of a trigger.
const TRIGGER_FIELDS: crate::Fields = &[
    ("id", "Id"),
    ("name", "Name"),
    ("sensors", "MetricProperties"),
    ("actions", "TriggerActions"),
    ("report_definitions", "Links"),
    ("report_definitions", "Links/MetricReportDefinitions"),
    ("upper_warning", "NumericThresholds"),
    ("upper_critical", "NumericThresholds"),
    ("lower_warning", "NumericThresholds"),
    ("lower_critical", "NumericThresholds"),
    ("upper_warning", "NumericThresholds/UpperWarning/Reading"),
    ("upper_critical", "NumericThresholds/UpperCritical/Reading"),
    ("lower_warning", "NumericThresholds/LowerWarning/Reading"),
    ("lower_critical", "NumericThresholds/LowerCritical/Reading"),
];

pub(super) static TRIGGERS: Resource = Resource {
    create: Some(Create {
        properties: &[
            (Property::new("Id", Kind::Text(64)), false),
            (Property::new("Name", Kind::Text(64)), false),
            (Property::new("MetricType", Kind::Enum(&["Numeric"])), false),
            (Property::new("MetricProperties", Kind::Texts(128)), true),
            (Property::new("Wildcards", Kind::Objects(16, defined::WILDCARD)), false),
            (Property::new("NumericThresholds", Kind::Object(defined::NUMERIC)), true),
            (Property::new("TriggerActions", Kind::Enums(defined::TRIGGER_ACTION_NAMES)), false),
            (Property::new("Links", Kind::Object(defined::LINKS)), false),
        ],
        call: |world, given| defined::new_trigger(world, given, REPORT_DEFINITIONS_AT),
        made: defined::made_trigger,
        changes: &[Need::Triggers],
    }),
    fields: TRIGGER_FIELDS,
    ..Resource::new(
        "TelemetryService/Triggers",
        "TriggersCollection.TriggersCollection",
        &entity::TRIGGERS_COLLECTION,
        |world, _| {
            let own = all(world)?.filter(|sensor| !thresholds(sensor).is_null());
            let own: Vec<&str> = own.map(|sensor| sensor.id.as_str()).collect();
            let of_clients = world.triggers().map(|answer| answer.triggers.as_slice()).unwrap_or_default();
            let names: BTreeSet<&str> = own.iter().copied().collect();
            // That of a sensor has the name, where one came up later.
            let others = of_clients.iter().map(|trigger| trigger.id.as_str());
            let all = own.iter().copied().chain(others.filter(|id| !names.contains(id)));
            Ok(Some(collection("Triggers", all.map(trigger_uri).collect())))
        },
    )
};

pub(super) static TRIGGER: Resource = Resource {
    patch: Some(Patch {
        properties: defined::TRIGGER_CHANGES,
        apply: |world, names, given| match trigger_of_client(world, name(names, 0)) {
            Ok(Some(trigger)) => defined::changed_trigger(world, trigger, given, REPORT_DEFINITIONS_AT),
            _ => given.paths().map(not_writable).collect(),
        },
        changes: &[Need::Triggers],
    }),
    together: defined::TRIGGER_TOGETHER,
    fields: TRIGGER_FIELDS,
    delete: Some(|world, names| match trigger_of_client(world, name(names, 0)) {
        Ok(Some(trigger)) => {
            let request = v1::DeleteTriggerRequest { id: trigger.id.clone() };
            Ok(Deed::Call(Call::new(rpc::DELETE_TRIGGER, &request)))
        }
        _ => Err(base::RESOURCE_CANNOT_BE_DELETED.plain()),
    }),
    ..Resource::new(
        "TelemetryService/Triggers/{}",
        "Triggers.v1_1_0.Triggers",
        &entity::TRIGGERS,
        |world, names| {
            let id = name(names, 0);
            if let Some((sensor, thresholds)) = trigger_of_sensor(world, id)? {
                return Ok(Some(json!({
                    "Name": format!("Thresholds of {}", sensor.name),
                    "MetricType": "Numeric",
                    // Each that is crossed, or left, is an event.
                    "TriggerActions": ["LogToLogService", "RedfishEvent"],
                    "NumericThresholds": thresholds,
                    "MetricProperties": [property(world, &sensor.id)?],
                    "Status": status("Enabled", Some("OK")),
                })));
            }
            let Some(trigger) = trigger_of_client(world, id)? else { return Ok(None) };
            let before = property(world, "")?;
            let kinds = kinds(world)?;
            // Of a kind that no sensor is of there is no definition.
            let is_there = |id: &&String| {
                !sensors::KINDS.contains(&id.as_str()) || kinds.iter().any(|kind| kind.id == id.as_str())
            };
            let links =
                trigger.report_definitions.iter().filter(is_there).map(|id| report_definition_uri(id));
            Ok(Some(defined::trigger(trigger, |id| with_sensor(&before, id), links)))
        },
    )
};

fn trigger_uri(id: &str) -> String {
    format!("/redfish/v1/TelemetryService/Triggers/{id}")
}

/// The sensor of that name, with its thresholds if it has any.
fn trigger_of_sensor<'w>(world: &'w World, id: &str) -> Result<Option<(&'w v1::Sensor, Value)>, Fault> {
    let Some(sensor) = sensor(world, id)? else { return Ok(None) };
    let thresholds = thresholds(sensor);
    Ok((!thresholds.is_null()).then_some((sensor, thresholds)))
}

/// The trigger of that name that a client made, unless a sensor has the name.
///
/// # Errors
/// As [`World::sensors`] and [`World::triggers`].
fn trigger_of_client<'w>(world: &'w World, id: &str) -> Result<Option<&'w v1::Trigger>, Fault> {
    if trigger_of_sensor(world, id)?.is_some() {
        return Ok(None);
    }
    Ok(world.triggers()?.triggers.iter().find(|trigger| trigger.id == id))
}

/// What a trigger fires at; null for a sensor without thresholds.
fn thresholds(sensor: &v1::Sensor) -> Value {
    let (lower, upper) = sensors::thresholds(sensor);
    let all = [
        ("UpperWarning", upper.warning, "Increasing"),
        ("UpperCritical", upper.critical, "Increasing"),
        ("LowerWarning", lower.warning, "Decreasing"),
        ("LowerCritical", lower.critical, "Decreasing"),
    ];
    let given = all
        .into_iter()
        .filter_map(|(name, at, way)| Some((name.to_owned(), json!({"Reading": at?, "Activation": way}))));
    let given: serde_json::Map<String, Value> = given.collect();
    if given.is_empty() { Value::Null } else { Value::Object(given) }
}

/// Sensors whose readings are of one kind.
struct Readings<'w> {
    id: &'static str,
    sensors: Vec<&'w v1::Sensor>,
}

impl Readings<'_> {
    fn ids(&self) -> Vec<&str> {
        self.sensors.iter().map(|sensor| sensor.id.as_str()).collect()
    }
}

/// The sensors that have numbers.
fn all(world: &World) -> Result<impl Iterator<Item = &v1::Sensor>, Fault> {
    Ok(world.sensors()?.sensors.iter().filter(|sensor| sensors::is_analog(sensor)))
}

fn sensor<'w>(world: &'w World, id: &str) -> Result<Option<&'w v1::Sensor>, Fault> {
    Ok(all(world)?.find(|sensor| sensor.id == id))
}

/// The kinds of readings there are, in the order in which they come up.
fn kinds(world: &World) -> Result<Vec<Readings<'_>>, Fault> {
    let mut out: Vec<Readings<'_>> = Vec::new();
    for sensor in all(world)? {
        let Some(kind) = sensors::kind(sensor) else { continue };
        match out.iter_mut().find(|readings| readings.id == kind) {
            Some(readings) => readings.sensors.push(sensor),
            None => out.push(Readings { id: kind, sensors: vec![sensor] }),
        }
    }
    Ok(out)
}

fn kind<'w>(world: &'w World, id: &str) -> Result<Option<Readings<'w>>, Fault> {
    Ok(kinds(world)?.into_iter().find(|kind| kind.id == id))
}

/// The names of the reports that are made each interval and sent: of what the sensors of each kind show now.
///
/// # Errors
/// As [`World::sensors`].
pub(crate) fn periodic(world: &World) -> Result<Vec<&'static str>, Fault> {
    Ok(kinds(world)?.into_iter().map(|kind| kind.id).collect())
}

/// Whether it is the URI of a definition of reports that are made each interval, wherever there are sensors of its kind, or one that a client may have made.
#[must_use]
pub fn is_report_definition(uri: &str) -> bool {
    uri.strip_prefix(REPORT_DEFINITIONS_AT).is_some_and(|id| sensors::KINDS.contains(&id))
        || is_definition_of_client(uri)
}

/// Whether it is the URI of a definition that a client may have made. Whether there is one its owner knows.
pub(super) fn is_definition_of_client(uri: &str) -> bool {
    definition_of_client(uri).is_some()
}

/// The name of the definition at a URI, if it is one that a client may have made.
#[must_use]
pub fn definition_of_client(uri: &str) -> Option<&str> {
    let id = uri.strip_prefix(REPORT_DEFINITIONS_AT)?;
    (is_path_name(id) && !is_of_service(id)).then_some(id)
}

/// Whether a client may call a definition of reports so: the service has none of that name, and never will.
#[must_use]
pub fn is_free_for_client(id: &str) -> bool {
    is_path_name(id) && !is_of_service(id)
}

/// Whether this is what a kind of sensors measures, as reports have it, and so the name of a definition of the service's own.
#[must_use]
pub fn is_metric(kind: &str) -> bool {
    sensors::KINDS.contains(&kind)
}

/// What a sensor measures, as [`is_metric`] has it; `None` for one without numbers.
#[must_use]
pub fn metric_of(sensor: &v1::Sensor) -> Option<&'static str> {
    sensors::kind(sensor)
}

/// Whether reports of the definition at this URI are sent, as far as that is known.
pub(super) fn may_be_sent(world: &World, uri: &str) -> bool {
    if let Some(id) = definition_of_client(uri) {
        let is_it = |one: &v1::ReportDefinition| one.id == id && defined::is_sent(one);
        return world.report_definitions().map_or(true, |answer| answer.definitions.iter().any(is_it));
    }
    // While nobody knows the sensors, those will do that there may be.
    let there = |made: Vec<&str>| made.iter().any(|id| report_definition_uri(id) == uri);
    is_report_definition(uri) && periodic(world).map_or(true, there)
}

/// The names of the reports.
fn reports(world: &World) -> Result<Vec<String>, Fault> {
    let kinds = kinds(world)?.into_iter().map(|kind| kind.id.to_owned());
    Ok(kinds.chain(all(world)?.map(|sensor| format!("{HISTORY}{}", sensor.id))).collect())
}

/// Where a report is.
pub(crate) fn report_uri(id: &str) -> String {
    format!("/redfish/v1/TelemetryService/MetricReports/{id}")
}

/// Where the definition of a report is.
#[must_use]
pub fn report_definition_uri(id: &str) -> String {
    format!("{REPORT_DEFINITIONS_AT}{id}")
}

fn definition_uri(id: &str) -> String {
    format!("/redfish/v1/TelemetryService/MetricDefinitions/{id}")
}

/// As [`property`], of which `before` is that of a sensor without a name.
fn with_sensor(before: &str, id: &str) -> String {
    before.replace("#/", &format!("{id}#/"))
}

/// The property that a sensor's reading is.
fn property(world: &World, id: &str) -> Result<String, Fault> {
    let chassis = world.chassis()?.chassis.first().map(|first| first.name.as_str()).unwrap_or_default();
    Ok(format!("{}#/Reading", sensors::uri(chassis, id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_definitions_of_what_is_made_each_interval_are_subscribed_to() {
        let of = |id: &str| is_report_definition(&report_definition_uri(id));
        assert!(sensors::KINDS.iter().all(|kind| of(kind)));
        for id in ["", "history-cpu0_temp", "Temperature/", "../Temperature", "a b"] {
            assert!(!of(id), "{id}");
        }
        // What a client may have made.
        assert!(of("hot") && of("temperature"));
        let uri = report_definition_uri("hot");
        assert_eq!(definition_of_client(&uri), Some("hot"));
        assert_eq!(definition_of_client(&report_definition_uri("Temperature")), None);
        assert!(
            is_free_for_client("hot") && !is_free_for_client("Power") && !is_free_for_client("history-x")
        );
        assert!(!is_report_definition("Temperature") && !is_report_definition(&report_uri("Temperature")));
    }
}
