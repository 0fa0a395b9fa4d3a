//! TelemetryService: what the sensors of a chassis show as metrics, all of sensormon's (`SensorService`). For each kind of reading there is a metric and a
//! report of what shows it now; for each sensor a report of its last hour with the least and the most of its last day, and a trigger for its thresholds.
//! They are made when they are asked for. Reports of what is shown now are made at an interval, too, and sent to who has subscribed ([`crate::metric_reports`]);
//! how long that is eventlog says, who sends them.
//!
//! Sensors are those of the first chassis ([`super::sensors`]).

use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::Fault;
use crate::privilege::entity;
use crate::resource::{Names, Resource, collection, link, status};
use crate::world::{HISTORY, World, of_history};

use super::{name, sensors};

/// Steps of a history.
const STEPS: usize = 360;
/// Before the name of a definition of reports.
const REPORT_DEFINITIONS_AT: &str = "/redfish/v1/TelemetryService/MetricReportDefinitions/";
/// The version of a report with the context of who is sent it (DSP0268, `MetricReport`): no older one has that, and no report that is read.
pub(crate) const REPORT_SENT: &str = "MetricReport.v1_4_0";

pub(super) static SERVICE: Resource = Resource::new(
    "TelemetryService",
    "TelemetryService.v1_2_0.TelemetryService",
    &entity::TELEMETRY_SERVICE,
    |_, _| {
        let below = |what: &str| link(&format!("/redfish/v1/TelemetryService/{what}"));
        Ok(Some(json!({
            "Name": "Telemetry service",
            "ServiceEnabled": true,
            // Of a history; a report of what is shown now has no interval.
            "MinCollectionInterval": "PT10S",
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

pub(super) static REPORT_DEFINITIONS: Resource = Resource::new(
    "TelemetryService/MetricReportDefinitions",
    "MetricReportDefinitionCollection.MetricReportDefinitionCollection",
    &entity::METRIC_REPORT_DEFINITION_COLLECTION,
    |world, _| {
        let uris = reports(world)?.iter().map(|id| report_definition_uri(id)).collect();
        Ok(Some(collection("Metric report definitions", uris)))
    },
);

pub(super) static REPORT_DEFINITION: Resource = Resource::new(
    "TelemetryService/MetricReportDefinitions/{}",
    "MetricReportDefinition.v1_3_0.MetricReportDefinition",
    &entity::METRIC_REPORT_DEFINITION,
    |world, names| {
        let id = name(names, 0);
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
    },
);

/// Milliseconds as a duration (DSP0266, "Duration format").
fn duration(ms: u64) -> String {
    let (seconds, rest) = (ms / 1000, ms % 1000);
    if rest == 0 { format!("PT{seconds}S") } else { format!("PT{seconds}.{rest:03}S") }
}

pub(super) static REPORTS: Resource = Resource::new(
    "TelemetryService/MetricReports",
    "MetricReportCollection.MetricReportCollection",
    &entity::METRIC_REPORT_COLLECTION,
    |world, _| {
        let uris = reports(world)?.iter().map(|id| report_uri(id)).collect();
        Ok(Some(collection("Metric reports", uris)))
    },
);

pub(super) static REPORT: Resource = Resource {
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
    Ok(Some(json!({
        "Name": format!("Report {id}"),
        "Timestamp": prost_types::Timestamp { seconds: world.about.now, nanos: 0 }.to_string(),
        "MetricReportDefinition": link(&report_definition_uri(id)),
        "MetricValues": values,
    })))
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

pub(super) static TRIGGERS: Resource = Resource::new(
    "TelemetryService/Triggers",
    "TriggersCollection.TriggersCollection",
    &entity::TRIGGERS_COLLECTION,
    |world, _| {
        let all = all(world)?.filter(|sensor| !thresholds(sensor).is_null());
        let uris = all.map(|sensor| format!("/redfish/v1/TelemetryService/Triggers/{}", sensor.id));
        Ok(Some(collection("Triggers", uris.collect())))
    },
);

pub(super) static TRIGGER: Resource = Resource::new(
    "TelemetryService/Triggers/{}",
    "Triggers.v1_0_0.Triggers",
    &entity::TRIGGERS,
    |world, names| {
        let Some(sensor) = sensor(world, name(names, 0))? else { return Ok(None) };
        let thresholds = thresholds(sensor);
        if thresholds.is_null() {
            return Ok(None);
        }
        Ok(Some(json!({
            "Name": format!("Thresholds of {}", sensor.name),
            "MetricType": "Numeric",
            // Each that is crossed, or left, is an event.
            "TriggerActions": ["LogToLogService", "RedfishEvent"],
            "NumericThresholds": thresholds,
            "MetricProperties": [property(world, &sensor.id)?],
            "Status": status("Enabled", Some("OK")),
        })))
    },
);

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

/// Whether it is the URI of a definition of reports that are made each interval, wherever there are sensors of its kind.
#[must_use]
pub fn is_report_definition(uri: &str) -> bool {
    uri.strip_prefix(REPORT_DEFINITIONS_AT).is_some_and(|id| sensors::KINDS.contains(&id))
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
pub(crate) fn report_definition_uri(id: &str) -> String {
    format!("{REPORT_DEFINITIONS_AT}{id}")
}

fn definition_uri(id: &str) -> String {
    format!("/redfish/v1/TelemetryService/MetricDefinitions/{id}")
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
    fn a_duration_is_in_seconds() {
        for (ms, text) in [(60_000, "PT60S"), (1, "PT0.001S"), (1_500, "PT1.500S"), (3_600_000, "PT3600S")] {
            assert_eq!(duration(ms), text);
        }
    }

    #[test]
    fn only_definitions_of_what_is_made_each_interval_are_subscribed_to() {
        let of = |id: &str| is_report_definition(&report_definition_uri(id));
        assert!(sensors::KINDS.iter().all(|kind| of(kind)));
        for id in ["", "Nope", "history-cpu0_temp", "Temperature/", "temperature", "../Temperature"] {
            assert!(!of(id), "{id}");
        }
        assert!(!is_report_definition("Temperature") && !is_report_definition(&report_uri("Temperature")));
    }
}
