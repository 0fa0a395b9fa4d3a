//! Metric reports as they are sent (DSP0266, "Metric report message object"): each is the resource as it is read, whole, with the context of who is sent it.

use schema::v1alpha1 as v1;
use serde_json::{Map, Value};

use crate::fault::Fault;
use crate::resources;
use crate::route::Route;
use crate::shown::{dressed, show};
use crate::world::World;

/// The property that has the values of a report.
const VALUES: &str = "MetricValues";

/// A metric report that was made: text, as many of them may be held, and the tree of one takes several times its room.
#[derive(Clone, Debug)]
pub struct MetricReport {
    definition: String,
    /// All but the values.
    head: Map<String, Value>,
    /// The list of values, as JSON.
    values: Box<str>,
    count: usize,
}

impl MetricReport {
    /// The report of the definition at this URI, with this body.
    fn new(definition: String, body: Value) -> Result<Self, Fault> {
        let Value::Object(mut head) = body else {
            return Err(Fault::new(schema::Code::Internal, "a report is no object"));
        };
        let values = head.remove(VALUES).unwrap_or_else(|| Value::Array(Vec::new()));
        let count = values.as_array().map_or(0, Vec::len);
        Ok(Self { definition, head, values: values.to_string().into(), count })
    }

    /// The URI of the definition it is of.
    #[must_use]
    pub fn definition(&self) -> &str {
        &self.definition
    }

    /// How many values it has.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The body that is sent to who has subscribed with this context, as JSON; an empty one is none.
    #[must_use]
    pub fn text(&self, context: &str) -> String {
        let mut head = self.head.clone();
        if !context.is_empty() {
            head.insert("@odata.type".to_owned(), format!("#{}.MetricReport", resources::REPORT_SENT).into());
            head.insert("Context".to_owned(), context.into());
        }
        // It has an `@odata.id` at least, so that what follows its members is one more.
        let mut text = Value::Object(head).to_string();
        text.pop();
        text.reserve(self.values.len() + VALUES.len() + 5);
        for part in [",\"", VALUES, "\":", &self.values, "}"] {
            text.push_str(part);
        }
        text
    }
}

/// The ids of the reports that are made each interval: one for each kind of reading that there are sensors of, in the order in which the kinds come up among the
/// sensors. It takes the sensors.
///
/// # Errors
/// As [`World::sensors`].
pub fn periodic_reports(world: &World) -> Result<Vec<&'static str>, Fault> {
    resources::periodic_reports(world)
}

/// Makes the report of one kind of reading; `None` where there is no sensor of it. It takes chassis, sensors and the time ([`World::about`]).
///
/// # Errors
/// As [`World::chassis`] and [`World::sensors`].
pub fn kind_report(world: &World, id: &str) -> Result<Option<MetricReport>, Fault> {
    if !resources::is_metric(id) {
        return Ok(None);
    }
    let Some(route) = Route::of(&resources::report_uri(id)) else { return Ok(None) };
    let body = show(world, &route)?;
    body.map(|body| MetricReport::new(resources::report_definition_uri(id), body)).transpose()
}

/// Makes all of [`periodic_reports`], each as [`kind_report`] does.
///
/// # Errors
/// As [`kind_report`].
pub fn metric_reports(world: &World) -> Result<Vec<MetricReport>, Fault> {
    let ids = periodic_reports(world)?;
    ids.into_iter().filter_map(|id| kind_report(world, id).transpose()).collect()
}

/// Makes the report of a definition that a client made, whether it may be read or is only sent. It takes what [`kind_report`] takes.
///
/// # Errors
/// As [`kind_report`].
pub fn metric_report(world: &World, definition: &v1::ReportDefinition) -> Result<MetricReport, Fault> {
    let id = definition.id.as_str();
    let shown = resources::defined_report(world, definition)?;
    let body = dressed(
        &World::default(),
        shown,
        &resources::REPORT,
        &[id.to_owned()],
        &resources::report_uri(id),
        id,
    );
    let none = || Fault::new(schema::Code::Internal, "a report is no object");
    MetricReport::new(resources::report_definition_uri(id), body.ok_or_else(none)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::world::Supply;

    fn sensor(id: &str, context: v1::SensorContext, value: Option<f64>) -> v1::Sensor {
        let reading = v1::AnalogSensorReading { value, ..v1::AnalogSensorReading::default() };
        v1::Sensor {
            id: id.into(),
            context: Some(context.into()),
            quality: v1::SensorQuality::Good.into(),
            reading: Some(v1::sensor::Reading::AnalogReading(reading)),
            ..v1::Sensor::default()
        }
    }

    /// What is sent, read.
    fn read(report: &MetricReport, context: &str) -> Value {
        serde_json::from_str(&report.text(context)).unwrap()
    }

    #[test]
    fn there_is_a_report_for_each_kind_of_reading_and_only_what_is_measured_is_in_it() {
        let mut world = World::default();
        assert!(metric_reports(&world).is_err(), "nothing is known yet");
        let chassis = vec![v1::Chassis { name: "chassis".into(), ..v1::Chassis::default() }];
        let sensors = vec![
            sensor("cpu", v1::SensorContext::Temperature, Some(41.5)),
            sensor("door", v1::SensorContext::Presence, None),
            sensor("fan", v1::SensorContext::Tach, None),
            sensor("inlet", v1::SensorContext::Temperature, Some(20.0)),
        ];
        world.supply(Supply::Chassis(Arc::new(v1::ListChassisResponse { chassis, ..Default::default() })));
        world.supply(Supply::Sensors(Arc::new(v1::ListSensorsResponse { sensors, ..Default::default() })));
        world.about.now = 1_790_000_100;
        let made = metric_reports(&world).unwrap();
        let definitions: Vec<&str> = made.iter().map(MetricReport::definition).collect();
        let of = "/redfish/v1/TelemetryService/MetricReportDefinitions";
        assert_eq!(definitions, [format!("{of}/Temperature"), format!("{of}/Rotational")]);
        let plain = read(&made[0], "");
        for (place, expected) in [
            ("/@odata.id", json!("/redfish/v1/TelemetryService/MetricReports/Temperature")),
            ("/@odata.type", json!("#MetricReport.v1_1_0.MetricReport")),
            ("/Id", json!("Temperature")),
            ("/Timestamp", json!("2026-09-21T14:15:00Z")),
            ("/MetricReportDefinition/@odata.id", json!(format!("{of}/Temperature"))),
            ("/MetricValues/0/MetricValue", json!("41.5")),
            ("/MetricValues/1/MetricProperty", json!("/redfish/v1/Chassis/chassis/Sensors/inlet#/Reading")),
        ] {
            assert_eq!(plain.pointer(place), Some(&expected), "{place}");
        }
        assert!(plain.get("Context").is_none());
        assert_eq!(read(&made[1], "")["MetricValues"], json!([]));
        assert_eq!((made[0].count(), made[1].count()), (2, 0));
        let mut sent = read(&made[0], "rack \"7\"");
        assert_eq!(sent["@odata.type"], "#MetricReport.v1_4_0.MetricReport");
        // Nothing else is another.
        let map = sent.as_object_mut().unwrap();
        assert_eq!(map.remove("Context"), Some(json!("rack \"7\"")));
        map.insert("@odata.type".into(), plain["@odata.type"].clone());
        assert_eq!(sent, plain);
    }

    #[test]
    fn a_report_that_a_client_defined_has_the_sensors_that_it_names_and_those_of_a_kind() {
        let mut world = World::default();
        let chassis = vec![v1::Chassis { name: "chassis".into(), ..v1::Chassis::default() }];
        let sensors = vec![
            sensor("cpu", v1::SensorContext::Temperature, Some(41.5)),
            sensor("fan", v1::SensorContext::Tach, Some(900.0)),
            sensor("inlet", v1::SensorContext::Temperature, Some(20.0)),
            sensor("gone", v1::SensorContext::Temperature, None),
        ];
        world.supply(Supply::Chassis(Arc::new(v1::ListChassisResponse { chassis, ..Default::default() })));
        world.supply(Supply::Sensors(Arc::new(v1::ListSensorsResponse { sensors, ..Default::default() })));
        let values = |metrics: &[(&str, &[&str])]| -> Vec<(String, String)> {
            let metric = |(kind, sensors): &(&str, &[&str])| v1::ReportMetric {
                kind: (*kind).to_owned(),
                sensors: sensors.iter().map(|id| (*id).to_owned()).collect(),
            };
            let definition = v1::ReportDefinition {
                id: "hot".into(),
                name: "What is hot".into(),
                metrics: metrics.iter().map(metric).collect(),
                ..v1::ReportDefinition::default()
            };
            let report = metric_report(&world, &definition).unwrap();
            assert!(report.definition().ends_with("/MetricReportDefinitions/hot"));
            let body = read(&report, "");
            assert_eq!((&body["Id"], &body["Name"]), (&json!("hot"), &json!("What is hot")));
            assert_eq!(body["@odata.id"], "/redfish/v1/TelemetryService/MetricReports/hot");
            let of = |value: &Value| {
                let property = value["MetricProperty"].as_str().unwrap();
                let id = property.rsplit('/').nth(1).unwrap().trim_end_matches('#').to_owned();
                (id, value["MetricValue"].as_str().unwrap().to_owned())
            };
            body["MetricValues"].as_array().unwrap().iter().map(of).collect()
        };
        let told = |all: &[(&str, &str)]| -> Vec<(String, String)> {
            all.iter().map(|(id, value)| ((*id).to_owned(), (*value).to_owned())).collect()
        };
        assert_eq!(values(&[("Temperature", &[])]), told(&[("cpu", "41.5"), ("inlet", "20")]));
        assert_eq!(
            values(&[("", &["inlet", "fan", "gone", "nope"])]),
            told(&[("inlet", "20"), ("fan", "900")])
        );
        assert_eq!(values(&[("Rotational", &["inlet", "fan"])]), told(&[("fan", "900")]));
        assert_eq!(values(&[("", &["cpu"]), ("Rotational", &[])]), told(&[("cpu", "41.5"), ("fan", "900")]));
        assert!(values(&[("Power", &[])]).is_empty());
    }

    #[test]
    fn one_report_is_made_by_itself_and_only_of_a_kind_that_there_are_sensors_of() {
        let mut world = World::default();
        let chassis = vec![v1::Chassis { name: "chassis".into(), ..v1::Chassis::default() }];
        let sensors = vec![sensor("cpu", v1::SensorContext::Temperature, Some(41.5))];
        world.supply(Supply::Chassis(Arc::new(v1::ListChassisResponse { chassis, ..Default::default() })));
        world.supply(Supply::Sensors(Arc::new(v1::ListSensorsResponse { sensors, ..Default::default() })));
        assert_eq!(periodic_reports(&world).unwrap(), ["Temperature"]);
        let made = kind_report(&world, "Temperature").unwrap().unwrap();
        assert!(made.definition().ends_with("/Temperature"));
        for id in ["Power", "history-cpu", "hot", "../Temperature"] {
            assert!(kind_report(&world, id).unwrap().is_none(), "{id}");
        }
    }

    #[test]
    fn a_report_of_a_client_ends_at_its_bound_and_says_so() {
        let mut world = World::default();
        let chassis = vec![v1::Chassis { name: "chassis".into(), ..v1::Chassis::default() }];
        let of = |n: usize| sensor(&format!("t{n}"), v1::SensorContext::Temperature, Some(1.0));
        let definition = v1::ReportDefinition {
            id: "hot".into(),
            metrics: vec![v1::ReportMetric { kind: "Temperature".into(), sensors: Vec::new() }],
            ..v1::ReportDefinition::default()
        };
        world.supply(Supply::Chassis(Arc::new(v1::ListChassisResponse { chassis, ..Default::default() })));
        let bound = resources::REPORT_VALUES_MAX;
        for (there, told, words) in [
            (bound, bound, None),
            (bound + 7, bound, Some(format!("The first {bound} of {} values", bound + 7))),
        ] {
            let sensors = (0..there).map(of).collect();
            world
                .supply(Supply::Sensors(Arc::new(v1::ListSensorsResponse { sensors, ..Default::default() })));
            let report = metric_report(&world, &definition).unwrap();
            let body = read(&report, "");
            assert_eq!((report.count(), body[VALUES].as_array().unwrap().len()), (told, told));
            assert_eq!(body.get("Description").and_then(Value::as_str), words.as_deref());
        }
    }
}
