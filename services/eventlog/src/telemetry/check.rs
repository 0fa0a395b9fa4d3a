//! What clients ask for, looked at: all that is wrong with it is told at once, each with its field.

use std::collections::BTreeSet;

use ipc::{BadFields, Status};
use redfish::resources;
use schema::v1alpha1 as v1;

/// Sensors that the metrics of one definition name, and sensors of one trigger.
pub(super) const SENSORS_MAX: usize = 128;
/// The longest interval of a report, milliseconds: a day.
const INTERVAL_MAX: u64 = 24 * 60 * 60 * 1000;
/// What of a definition may be written.
const OF_DEFINITION: &str = "name, interval_ms, metrics, actions, enabled";
/// What of a trigger may be written.
const OF_TRIGGER: &str = "name, sensors, upper_warning, upper_critical, lower_warning, lower_critical, each of these four also by its fields (upper_warning.reading), actions, report_definitions";

/// Whether an id is one: it is part of a URI, of a key of the store and of the subject of an event.
pub(super) fn is_id(id: &str) -> bool {
    let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    id.len() <= 64 && id.starts_with(|first: char| first.is_ascii_alphanumeric()) && id.bytes().all(is_sign)
}

/// A definition with what it does not say, as it is stored. `least` is the shortest interval, milliseconds.
///
/// # Errors
/// `INVALID_ARGUMENT` naming each field that cannot be.
pub(super) fn definition(
    mut wanted: v1::ReportDefinition,
    least: u64,
    mut bad: BadFields,
) -> Result<v1::ReportDefinition, Status> {
    use v1::ReportDefinitionType as T;
    if !is_id(&wanted.id) || !resources::is_free_for_client(&wanted.id) {
        bad.add(
            "definition.id",
            "it is of letters, digits, - and _, and no name of a report of the service's own",
        );
    }
    if wanted.name.is_empty() {
        wanted.name.clone_from(&wanted.id);
    }
    match (wanted.r#type(), wanted.interval_ms) {
        (T::Unspecified, _) => bad.add("definition.type", "it is PERIODIC, ON_CHANGE or ON_REQUEST"),
        (T::Periodic, ms) if !(least..=INTERVAL_MAX).contains(&ms) => {
            let why = format!("with PERIODIC it is {least} to {INTERVAL_MAX}");
            bad.add("definition.interval_ms", why);
        }
        (T::Periodic, _) | (_, 0) => {}
        _ => bad.add("definition.interval_ms", "it is of PERIODIC only"),
    }
    if wanted.metrics.is_empty() {
        bad.add("definition.metrics", "there is one at least");
    }
    for (nth, metric) in wanted.metrics.iter().enumerate() {
        if metric.kind.is_empty() && metric.sensors.is_empty() {
            bad.add(format!("definition.metrics[{nth}]"), "it has a kind, or sensors, or both");
        }
        if !metric.kind.is_empty() && !resources::is_metric(&metric.kind) {
            bad.add(
                format!("definition.metrics[{nth}].kind"),
                "no sensor measures that: see MetricDefinitions",
            );
        }
    }
    for (field, what) in repeated(&wanted.metrics) {
        bad.add(field, format!("{what} is there already"));
    }
    let sensors: usize = wanted.metrics.iter().map(|metric| metric.sensors.len()).sum();
    if sensors > SENSORS_MAX {
        bad.add("definition.metrics", format!("they name {sensors} sensors, and may name {SENSORS_MAX}"));
    }
    if wanted.actions.is_empty() {
        wanted.actions = vec![v1::ReportAction::Log.into(), v1::ReportAction::Event.into()];
    }
    let is_known = |number: &i32| *number != 0 && v1::ReportAction::try_from(*number).is_ok();
    if !wanted.actions.iter().all(is_known) {
        bad.add("definition.actions", "each is LOG or EVENT");
    }
    wanted.actions.sort_unstable();
    wanted.enabled = Some(wanted.enabled.unwrap_or(true));
    bad.check()?;
    Ok(wanted)
}

/// What metrics give again that one before them has given, each with its field: all sensors of a kind, or one sensor.
fn repeated(metrics: &[v1::ReportMetric]) -> Vec<(String, &str)> {
    let (mut kinds, mut sensors, mut all) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for (nth, metric) in metrics.iter().enumerate() {
        let kind = metric.kind.as_str();
        if metric.sensors.is_empty() && !kind.is_empty() && !kinds.insert(kind) {
            all.push((format!("definition.metrics[{nth}].kind"), kind));
        }
        for (at, id) in metric.sensors.iter().enumerate() {
            if !sensors.insert((kind, id.as_str())) {
                all.push((format!("definition.metrics[{nth}].sensors[{at}]"), id.as_str()));
            }
        }
    }
    all
}

/// A definition as an older release may have stored it, without what it gives again.
pub(super) fn once(mut definition: v1::ReportDefinition) -> v1::ReportDefinition {
    let (mut kinds, mut sensors) = (BTreeSet::new(), BTreeSet::new());
    definition.metrics.retain_mut(|metric| {
        let kind = metric.kind.clone();
        if metric.sensors.is_empty() {
            return kind.is_empty() || kinds.insert(kind);
        }
        metric.sensors.retain(|id| sensors.insert((kind.clone(), id.clone())));
        !metric.sensors.is_empty()
    });
    definition
}

/// A definition with a change of it.
///
/// # Errors
/// As [`definition`], with the reason `FIELD_MASK` for a path that cannot be written.
pub(super) fn changed_definition(
    old: &v1::ReportDefinition,
    wanted: v1::ReportDefinition,
    mask: Option<&[String]>,
    least: u64,
) -> Result<v1::ReportDefinition, Status> {
    let set = || {
        let fields = [
            ("name", !wanted.name.is_empty()),
            ("type", wanted.r#type != 0),
            ("interval_ms", wanted.interval_ms != 0),
            ("metrics", !wanted.metrics.is_empty()),
            ("actions", !wanted.actions.is_empty()),
            ("enabled", wanted.enabled.is_some()),
        ];
        named(&fields)
    };
    let paths = mask.map_or_else(set, <[String]>::to_vec);
    let (mut new, mut bad) = (old.clone(), BadFields::default());
    for path in paths {
        match path.as_str() {
            "name" => new.name.clone_from(&wanted.name),
            "interval_ms" => new.interval_ms = wanted.interval_ms,
            "metrics" => new.metrics.clone_from(&wanted.metrics),
            "actions" => new.actions.clone_from(&wanted.actions),
            "enabled" => new.enabled = wanted.enabled,
            other => bad.add_path(format!("{other} cannot be written; writable: {OF_DEFINITION}")),
        }
    }
    definition(new, least, bad)
}

/// The names of those that are set.
fn named(fields: &[(&str, bool)]) -> Vec<String> {
    fields.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| (*name).to_owned()).collect()
}

/// A trigger with what it does not say, as it is stored. `definitions` are the ids of definitions of clients.
///
/// # Errors
/// As [`definition`].
pub(super) fn trigger(
    mut wanted: v1::Trigger,
    definitions: &BTreeSet<&str>,
    mut bad: BadFields,
) -> Result<v1::Trigger, Status> {
    use v1::TriggerActivation as A;
    if !is_id(&wanted.id) {
        bad.add("trigger.id", "it is of letters, digits, - and _");
    }
    if wanted.name.is_empty() {
        wanted.name.clone_from(&wanted.id);
    }
    if !(1..=SENSORS_MAX).contains(&wanted.sensors.len()) {
        bad.add("trigger.sensors", format!("there are 1 to {SENSORS_MAX}"));
    }
    let mut all = [
        ("upper_warning", A::Increasing, &mut wanted.upper_warning),
        ("upper_critical", A::Increasing, &mut wanted.upper_critical),
        ("lower_warning", A::Decreasing, &mut wanted.lower_warning),
        ("lower_critical", A::Decreasing, &mut wanted.lower_critical),
    ];
    if all.iter().all(|(_, _, threshold)| threshold.is_none()) {
        bad.add("trigger.upper_critical", "one threshold at least is given");
    }
    for (name, way, threshold) in &mut all {
        let Some(threshold) = threshold else { continue };
        if !threshold.reading.is_finite() {
            bad.add(format!("trigger.{name}.reading"), "it is a number");
        }
        if threshold.activation() == A::Unspecified {
            threshold.activation = (*way).into();
        }
        if threshold.dwell_ms > INTERVAL_MAX {
            bad.add(format!("trigger.{name}.dwell_ms"), format!("it is {INTERVAL_MAX} at most"));
        }
    }
    if wanted.actions.is_empty() {
        wanted.actions = vec![v1::TriggerAction::Log.into(), v1::TriggerAction::Event.into()];
    }
    let is_known = |number: &i32| *number != 0 && v1::TriggerAction::try_from(*number).is_ok();
    if !wanted.actions.iter().all(is_known) {
        bad.add("trigger.actions", "each is LOG, EVENT or METRIC_REPORT");
    }
    wanted.actions.sort_unstable();
    let has_reports = wanted.actions.contains(&v1::TriggerAction::MetricReport.into());
    match (has_reports, wanted.report_definitions.is_empty()) {
        (true, true) => bad.add("trigger.report_definitions", "with METRIC_REPORT there is one at least"),
        (false, false) => bad.add("trigger.report_definitions", "they are of METRIC_REPORT only"),
        _ => {}
    }
    for (nth, id) in wanted.report_definitions.iter().enumerate() {
        if !resources::is_metric(id) && !definitions.contains(id.as_str()) {
            bad.add(
                format!("trigger.report_definitions[{nth}]"),
                "there is no such definition, or its reports are of a history",
            );
        }
    }
    bad.check()?;
    Ok(wanted)
}

/// The threshold of a trigger that the contract calls so.
fn place<'t>(trigger: &'t mut v1::Trigger, name: &str) -> Option<&'t mut Option<v1::TriggerThreshold>> {
    Some(match name {
        "upper_warning" => &mut trigger.upper_warning,
        "upper_critical" => &mut trigger.upper_critical,
        "lower_warning" => &mut trigger.lower_warning,
        "lower_critical" => &mut trigger.lower_critical,
        _ => return None,
    })
}

/// Writes one field of a threshold over what it was; `false`: there is none of that name.
fn write_part(new: &mut v1::Trigger, wanted: &mut v1::Trigger, threshold: &str, field: &str) -> bool {
    let (Some(at), Some(given)) = (place(new, threshold), place(wanted, threshold)) else { return false };
    let given = given.unwrap_or_default();
    // That one that is new has no other field than those that were given is looked at with the whole.
    let at = at.get_or_insert_default();
    match field {
        "reading" => at.reading = given.reading,
        "activation" => at.activation = given.activation,
        "dwell_ms" => at.dwell_ms = given.dwell_ms,
        _ => return false,
    }
    true
}

/// A trigger with a change of it. `shown` are the definitions of `old` that it was shown with: of those that it names, the ones that are there.
///
/// # Errors
/// As [`changed_definition`].
pub(super) fn changed_trigger(
    old: &v1::Trigger,
    shown: &[String],
    mut wanted: v1::Trigger,
    mask: Option<&[String]>,
    definitions: &BTreeSet<&str>,
) -> Result<v1::Trigger, Status> {
    let set = || {
        let fields = [
            ("name", !wanted.name.is_empty()),
            ("sensors", !wanted.sensors.is_empty()),
            ("upper_warning", wanted.upper_warning.is_some()),
            ("upper_critical", wanted.upper_critical.is_some()),
            ("lower_warning", wanted.lower_warning.is_some()),
            ("lower_critical", wanted.lower_critical.is_some()),
            ("actions", !wanted.actions.is_empty()),
            ("report_definitions", !wanted.report_definitions.is_empty()),
        ];
        named(&fields)
    };
    let paths = mask.map_or_else(set, <[String]>::to_vec);
    let has = |path: &str| paths.iter().any(|other| other == path);
    let (mut new, mut bad) = (old.clone(), BadFields::default());
    for path in &paths {
        match path.as_str() {
            "name" => new.name.clone_from(&wanted.name),
            "sensors" => new.sensors.clone_from(&wanted.sensors),
            "upper_warning" => new.upper_warning = wanted.upper_warning,
            "upper_critical" => new.upper_critical = wanted.upper_critical,
            "lower_warning" => new.lower_warning = wanted.lower_warning,
            "lower_critical" => new.lower_critical = wanted.lower_critical,
            "actions" => new.actions.clone_from(&wanted.actions),
            "report_definitions" => new.report_definitions.clone_from(&wanted.report_definitions),
            other => {
                let is_written = match other.split_once('.') {
                    Some((threshold, field)) => {
                        let is_new = place(&mut new, threshold).is_some_and(|at| at.is_none());
                        if is_new && !has(&format!("{threshold}.reading")) {
                            bad.add(format!("trigger.{threshold}.reading"), "a new threshold has one");
                        }
                        write_part(&mut new, &mut wanted, threshold, field)
                    }
                    None => false,
                };
                if !is_written {
                    bad.add_path(format!("{other} cannot be written; writable: {OF_TRIGGER}"));
                }
            }
        }
    }
    let has_reports = new.actions.contains(&v1::TriggerAction::MetricReport.into());
    if has_reports && new.report_definitions == shown {
        // As it was shown: those that are not there now may be again.
        new.report_definitions.clone_from(&old.report_definitions);
    } else if !has_reports && shown.is_empty() && new.report_definitions == old.report_definitions {
        new.report_definitions.clear();
    }
    // What is as it was is not looked at again.
    let mut known: BTreeSet<&str> = definitions.iter().copied().collect();
    known.extend(old.report_definitions.iter().map(String::as_str));
    trigger(new, &known, bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: u64 = 10_000;

    fn wanted() -> v1::ReportDefinition {
        v1::ReportDefinition {
            id: "hot".into(),
            r#type: v1::ReportDefinitionType::OnRequest.into(),
            metrics: vec![v1::ReportMetric { kind: "Temperature".into(), sensors: Vec::new() }],
            ..v1::ReportDefinition::default()
        }
    }

    fn wanted_trigger() -> v1::Trigger {
        let reading = v1::TriggerThreshold { reading: 90.0, ..v1::TriggerThreshold::default() };
        v1::Trigger {
            id: "hot".into(),
            sensors: vec!["cpu".into()],
            upper_critical: Some(reading),
            lower_critical: Some(reading),
            ..v1::Trigger::default()
        }
    }

    fn fields(refused: &Status) -> Vec<String> {
        assert_eq!(refused.code, ipc::Code::InvalidArgument, "{refused}");
        refused.fields().into_iter().map(|(field, _)| field).collect()
    }

    #[test]
    fn what_is_not_said_is_the_usual() {
        let made = definition(wanted(), LEAST, BadFields::default()).unwrap();
        assert_eq!((made.name.as_str(), made.enabled, made.actions), ("hot", Some(true), vec![1, 2]));
        let made = trigger(wanted_trigger(), &BTreeSet::new(), BadFields::default()).unwrap();
        assert_eq!((made.name.as_str(), made.actions), ("hot", vec![1, 2]));
        assert_eq!(made.upper_critical.unwrap().activation(), v1::TriggerActivation::Increasing);
        assert_eq!(made.lower_critical.unwrap().activation(), v1::TriggerActivation::Decreasing);
    }

    #[test]
    fn each_field_of_a_definition_that_cannot_be_is_named_and_all_of_them_together() {
        type Change = fn(&mut v1::ReportDefinition);
        let rows: [(Change, &[&str]); 12] = [
            (|w| w.id = "Temperature".into(), &["id"]),
            (|w| w.id = "history-cpu".into(), &["id"]),
            (|w| w.id = "a.b".into(), &["id"]),
            (|w| w.r#type = 0, &["type"]),
            (|w| w.interval_ms = 60_000, &["interval_ms"]),
            (|w| w.r#type = v1::ReportDefinitionType::Periodic.into(), &["interval_ms"]),
            (|w| w.metrics.clear(), &["metrics"]),
            (|w| w.metrics[0].kind = "Luck".into(), &["metrics[0].kind"]),
            (|w| w.metrics[0].sensors = (0..=SENSORS_MAX).map(|n| format!("x{n}")).collect(), &["metrics"]),
            (|w| w.metrics.push(w.metrics[0].clone()), &["metrics[1].kind"]),
            (
                |w| {
                    let named = |kind: &str, ids: &[&str]| v1::ReportMetric {
                        kind: kind.into(),
                        sensors: ids.iter().map(|id| (*id).to_owned()).collect(),
                    };
                    // As one of its kind it may be there as well.
                    w.metrics.push(named("", &["a", "b", "a"]));
                    w.metrics.push(named("Temperature", &["a"]));
                    w.metrics.push(named("", &["b"]));
                },
                &["metrics[1].sensors[2]", "metrics[3].sensors[0]"],
            ),
            (
                |w| {
                    (w.r#type, w.interval_ms) = (v1::ReportDefinitionType::Periodic.into(), LEAST - 1);
                    w.metrics.push(v1::ReportMetric::default());
                    w.actions = vec![7];
                },
                &["interval_ms", "metrics[1]", "actions"],
            ),
        ];
        for (change, wrong) in rows {
            let mut wanted = wanted();
            change(&mut wanted);
            let refused = definition(wanted, LEAST, BadFields::default()).unwrap_err();
            let wrong: Vec<String> = wrong.iter().map(|field| format!("definition.{field}")).collect();
            assert_eq!(fields(&refused), wrong);
        }
    }

    #[test]
    fn each_field_of_a_trigger_that_cannot_be_is_named_and_all_of_them_together() {
        type Change = fn(&mut v1::Trigger);
        let rows: [(Change, &[&str]); 7] = [
            (|w| w.sensors.clear(), &["sensors"]),
            (|w| (w.upper_critical, w.lower_critical) = (None, None), &["upper_critical"]),
            (|w| w.actions = vec![3], &["report_definitions"]),
            (|w| w.report_definitions = vec!["Power".into()], &["report_definitions"]),
            (
                |w| {
                    (w.actions, w.report_definitions) =
                        (vec![3], ["Power", "mine", "history-cpu", "nope"].map(str::to_owned).into())
                },
                &["report_definitions[2]", "report_definitions[3]"],
            ),
            (
                |w| w.upper_critical = Some(v1::TriggerThreshold { reading: f64::NAN, ..Default::default() }),
                &["upper_critical.reading"],
            ),
            (
                |w| {
                    w.id = "a b".into();
                    w.sensors = vec!["x".into(); SENSORS_MAX + 1];
                    w.actions = vec![9];
                },
                &["id", "sensors", "actions"],
            ),
        ];
        for (change, wrong) in rows {
            let mut wanted = wanted_trigger();
            change(&mut wanted);
            let refused = trigger(wanted, &BTreeSet::from(["mine"]), BadFields::default()).unwrap_err();
            let wrong: Vec<String> = wrong.iter().map(|field| format!("trigger.{field}")).collect();
            assert_eq!(fields(&refused), wrong);
        }
    }

    #[test]
    fn of_a_change_only_what_may_be_written_is_taken_and_the_whole_is_looked_at() {
        let old = definition(wanted(), LEAST, BadFields::default()).unwrap();
        let change = v1::ReportDefinition { name: "New".into(), enabled: Some(false), ..Default::default() };
        let new = changed_definition(&old, change.clone(), None, LEAST).unwrap();
        assert_eq!(new, v1::ReportDefinition { name: "New".into(), enabled: Some(false), ..old.clone() });
        let mask = |path: &str| vec![path.to_owned()];
        let new = changed_definition(&old, change.clone(), Some(&mask("enabled")), LEAST).unwrap();
        assert_eq!(new, v1::ReportDefinition { enabled: Some(false), ..old.clone() });
        for path in ["id", "type", "nothing"] {
            let refused = changed_definition(&old, change.clone(), Some(&mask(path)), LEAST).unwrap_err();
            assert_eq!(
                (fields(&refused), refused.reason()),
                (mask("field_mask"), "FIELD_MASK".to_owned()),
                "{path}"
            );
        }
        let refused = changed_definition(&old, change, Some(&mask("metrics")), LEAST).unwrap_err();
        assert_eq!(fields(&refused), ["definition.metrics"]);

        let (old, none) = (wanted_trigger(), BTreeSet::new());
        let old = trigger(old, &none, BadFields::default()).unwrap();
        let change = v1::Trigger { sensors: vec!["inlet".into()], ..Default::default() };
        let new = changed_trigger(&old, &[], change.clone(), None, &none).unwrap();
        assert_eq!(new, v1::Trigger { sensors: vec!["inlet".into()], ..old.clone() });
        let new = changed_trigger(&old, &[], change.clone(), Some(&mask("lower_critical")), &none).unwrap();
        assert_eq!(new, v1::Trigger { lower_critical: None, ..old.clone() });
        for path in ["id", "upper_critical.luck", "name.reading", "upper_critical."] {
            let refused = changed_trigger(&old, &[], change.clone(), Some(&mask(path)), &none).unwrap_err();
            assert_eq!(fields(&refused), ["field_mask"], "{path}");
        }
    }

    #[test]
    fn of_a_threshold_only_the_fields_that_are_named_are_written() {
        let (old, none) = (wanted_trigger(), BTreeSet::new());
        let old = trigger(old, &none, BadFields::default()).unwrap();
        let given = v1::TriggerThreshold { reading: 7.0, dwell_ms: 3_000, ..Default::default() };
        let change =
            v1::Trigger { upper_critical: Some(given), upper_warning: Some(given), ..Default::default() };
        let made = |paths: &[&str]| {
            let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
            changed_trigger(&old, &[], change.clone(), Some(&paths), &none)
        };
        let was = old.upper_critical.unwrap();
        let new = made(&["upper_critical.dwell_ms"]).unwrap();
        assert_eq!(new.upper_critical, Some(v1::TriggerThreshold { dwell_ms: 3_000, ..was }));
        let new = made(&["upper_critical.reading", "upper_critical.activation"]).unwrap();
        // One that is not given is the usual.
        assert_eq!(new.upper_critical, Some(v1::TriggerThreshold { reading: 7.0, ..was }));
        let new = made(&["upper_warning.dwell_ms", "upper_warning.reading"]).unwrap();
        let increasing = v1::TriggerActivation::Increasing.into();
        assert_eq!(new.upper_warning, Some(v1::TriggerThreshold { activation: increasing, ..given }));
        let refused = made(&["upper_warning.dwell_ms"]).unwrap_err();
        assert_eq!(fields(&refused), ["trigger.upper_warning.reading"]);
    }

    #[test]
    fn a_trigger_whose_definitions_are_not_there_now_can_be_changed_and_keeps_them() {
        let (none, reports) = (BTreeSet::new(), vec!["lost".to_owned(), "Power".to_owned()]);
        let actions = vec![v1::TriggerAction::MetricReport.into()];
        let old = v1::Trigger { actions, report_definitions: reports.clone(), ..wanted_trigger() };
        let old = trigger(old, &BTreeSet::from(["lost"]), BadFields::default()).unwrap();
        let change = |shown: &[&str], wanted: v1::Trigger| {
            let shown: Vec<String> = shown.iter().map(|id| (*id).to_owned()).collect();
            changed_trigger(&old, &shown, wanted, None, &none)
        };
        let named = |name: &str| v1::Trigger { name: name.into(), ..Default::default() };
        let new = change(&["Power"], named("New")).unwrap();
        assert_eq!((new.name.as_str(), &new.report_definitions), ("New", &reports));
        // What was shown is given back.
        let back = v1::Trigger { report_definitions: vec!["Power".into()], ..named("New") };
        assert_eq!(change(&["Power"], back).unwrap().report_definitions, reports);
        let other = v1::Trigger { report_definitions: vec!["Temperature".into()], ..named("New") };
        assert_eq!(change(&["Power"], other).unwrap().report_definitions, ["Temperature"]);
        let nobodys = v1::Trigger { report_definitions: vec!["nope".into()], ..named("New") };
        assert_eq!(fields(&change(&["Power"], nobodys).unwrap_err()), ["trigger.report_definitions[0]"]);
        // All that it shows is gone: it need not be said that they go with the action.
        let log = v1::Trigger { actions: vec![v1::TriggerAction::Log.into()], ..Default::default() };
        assert!(change(&[], log).unwrap().report_definitions.is_empty());
    }

    #[test]
    fn what_an_older_release_stored_twice_is_there_once() {
        let of = |kind: &str, ids: &[&str]| v1::ReportMetric {
            kind: kind.into(),
            sensors: ids.iter().map(|id| (*id).to_owned()).collect(),
        };
        let metrics = vec![
            of("Power", &[]),
            of("", &["a", "a"]),
            of("Power", &[]),
            of("", &["a"]),
            of("Power", &["a"]),
        ];
        let kept = once(v1::ReportDefinition { metrics, ..wanted() });
        assert_eq!(kept.metrics, [of("Power", &[]), of("", &["a"]), of("Power", &["a"])]);
        assert!(repeated(&kept.metrics).is_empty());
    }
}
