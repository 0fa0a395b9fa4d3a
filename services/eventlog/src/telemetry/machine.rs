//! When which report of a client is due, and when which trigger fires: a pure machine, with the time as an argument.
//!
//! ```text
//!  plan ────────► Machine ──► due: definitions whose reports are made now
//!  sampled: what the sensors show ──► fired: thresholds that were crossed
//! ```
//!
//! Of a sensor without a good value nothing follows for a trigger: it neither fires, nor is it ready again, and a time that is to be past a threshold begins anew.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use schema::v1alpha1 as v1;
use units::{Allowance, Millis, Mono};

use super::Plan;

/// How often a trigger may fire: so often at once, and then so often in each span. What is beyond is counted and told with the next.
const FIRES: (u32, u32, Millis) = (16, 6, Millis::from_secs(60));
/// How often all of them may, together: what fires is in the event log, and a log of Redfish's shows the newest 1000 events.
const FIRE_ALL: (u32, u32, Millis) = (64, 30, Millis::from_secs(60));
/// One that was not told for so long is told whatever the others do: a few that fire all the time keep none from being heard.
const RARE: Millis = Millis::from_secs(600);

/// What sensors measure, by their ids.
pub(crate) type Kinds = BTreeMap<String, &'static str>;

/// What the sensors show at one time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// Their ids.
    pub ids: Vec<String>,
    /// The good value of each, in the same order; `None` while it has none.
    pub values: Vec<Option<f64>>,
}

/// A trigger fired.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fired {
    pub what: v1::TriggerFired,
    /// The trigger's name, for people.
    pub name: String,
    /// Definitions whose reports are made, if it has any made.
    pub reports: Vec<String>,
}

impl Fired {
    /// How bad that is: a value that goes on past the threshold is as bad as the threshold says, one that comes back is not.
    pub(crate) fn severity(&self) -> v1::EventSeverity {
        use v1::TriggerLevel as L;
        match (self.what.level(), self.what.rising) {
            (L::UpperCritical, true) | (L::LowerCritical, false) => v1::EventSeverity::Critical,
            (L::UpperWarning, true) | (L::LowerWarning, false) => v1::EventSeverity::Warning,
            _ => v1::EventSeverity::Info,
        }
    }

    /// Whether it is an event.
    pub(crate) fn is_event(&self) -> bool {
        let is_of_event = |action| matches!(action, v1::TriggerAction::Log | v1::TriggerAction::Event);
        self.what.actions().any(is_of_event)
    }

    /// What is said of it, for people.
    pub(crate) fn words(&self) -> String {
        let v1::TriggerFired { sensor_id, value, threshold, rising, .. } = &self.what;
        let way = if *rising { "rose" } else { "fell" };
        let level = match self.what.level() {
            v1::TriggerLevel::UpperWarning => "upper warning",
            v1::TriggerLevel::UpperCritical => "upper critical",
            v1::TriggerLevel::LowerWarning => "lower warning",
            v1::TriggerLevel::LowerCritical => "lower critical",
            v1::TriggerLevel::Unspecified => "its",
        };
        format!("{}: {sensor_id} {way} to {value}, past the {level} threshold {threshold}", self.name)
    }
}

/// Decides.
#[derive(Debug)]
pub(crate) struct Machine {
    least: Millis,
    plan: Arc<Plan>,
    /// By the ids of definitions that are enabled.
    runs: BTreeMap<String, Run>,
    /// By the ids of triggers.
    watches: BTreeMap<String, Watch>,
    /// Of all triggers together.
    allowance: Allowance,
    /// By the ids of definitions whose reports triggers ask for.
    asked: BTreeMap<String, Asked>,
    /// `None` before the first sample of a plan.
    places: Option<Places>,
}

/// A definition whose reports a trigger asks for.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    /// It was since the last report.
    is_wanted: bool,
    /// When the last report was due.
    last: Option<Mono>,
}

/// Where in a sample the sensors are that are looked at: found anew when there are others, when it is known that they measure something else, and with each plan.
#[derive(Debug)]
struct Places {
    /// What they were found by.
    ids: Vec<String>,
    kinds: Option<Arc<Kinds>>,
    /// By the ids of definitions on change: each sensor with a number for its id. One that is `None` is not among the sensors.
    of_definitions: BTreeMap<String, Vec<(u64, Option<usize>)>>,
    /// By the ids of triggers: the sensors of each in its order.
    of_triggers: BTreeMap<String, Vec<Option<usize>>>,
}

impl Places {
    /// Whether they are still where they were.
    fn hold(&self, ids: &[String], kinds: Option<&Arc<Kinds>>) -> bool {
        let same_kinds = match (&self.kinds, kinds) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            (None, None) => true,
            _ => false,
        };
        same_kinds && self.ids == ids
    }

    /// Finds them. A definition of a kind has no places while it is not known what the sensors measure.
    fn find(plan: &Plan, ids: Vec<String>, kinds: Option<&Arc<Kinds>>) -> Self {
        let by_id: BTreeMap<&str, usize> =
            ids.iter().enumerate().map(|(place, id)| (id.as_str(), place)).collect();
        let on_change =
            |definition: &&v1::ReportDefinition| definition.r#type() == v1::ReportDefinitionType::OnChange;
        let definitions = plan.definitions.iter().filter(on_change).filter_map(|definition| {
            Some((definition.id.clone(), sensors_of(definition, &by_id, kinds.map(Arc::as_ref))?))
        });
        let triggers = plan.triggers.iter().map(|trigger| {
            let places = trigger.sensors.iter().map(|id| by_id.get(id.as_str()).copied());
            (trigger.id.clone(), places.collect::<Vec<_>>())
        });
        let (of_definitions, of_triggers) = (definitions.collect(), triggers.collect());
        drop(by_id);
        Self { ids, kinds: kinds.map(Arc::clone), of_definitions, of_triggers }
    }
}

/// The sensors of a definition: for each a number for its id, and its place if it is there, those of a kind by id. `None`: that takes what they measure, which is not known.
fn sensors_of(
    definition: &v1::ReportDefinition,
    by_id: &BTreeMap<&str, usize>,
    kinds: Option<&Kinds>,
) -> Option<Vec<(u64, Option<usize>)>> {
    let number = |id: &str| {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        hasher.finish()
    };
    let mut found = Vec::new();
    for metric in &definition.metrics {
        if !metric.kind.is_empty() && kinds.is_none() {
            return None;
        }
        let measures = |id: &str| kinds.and_then(|kinds| kinds.get(id)).copied();
        let is_meant = |id: &str| metric.kind.is_empty() || measures(id) == Some(metric.kind.as_str());
        if metric.sensors.is_empty() {
            let meant = by_id.iter().filter(|(id, _)| is_meant(id));
            found.extend(meant.map(|(id, place)| (number(id), Some(*place))));
        } else {
            let meant = metric.sensors.iter().filter(|id| is_meant(id));
            found.extend(meant.map(|id| (number(id), by_id.get(id.as_str()).copied())));
        }
    }
    Some(found)
}

/// A definition whose reports come by themselves.
#[derive(Debug)]
enum Run {
    Periodic {
        every: Millis,
        due: Mono,
    },
    OnChange {
        /// Of what its sensors showed last; `None` before the first sample.
        shown: Option<u64>,
        /// It is another since the last report.
        changed: bool,
        /// When the last report was due.
        last: Option<Mono>,
    },
}

/// A trigger.
#[derive(Debug)]
struct Watch {
    /// For each sensor and each threshold, in this order.
    states: Vec<State>,
    allowance: Allowance,
    /// When it was told last.
    told: Option<Mono>,
    missed: u32,
}

/// A sensor at a threshold.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Whether its value is past the threshold; `None` before the first value.
    beyond: Option<bool>,
    /// Since when it is elsewhere than that, and not long enough yet.
    since: Option<Mono>,
}

/// What a value is to a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crossing {
    /// It went past the threshold, or came back where that counts as well.
    Fires {
        beyond: bool,
    },
    Nothing,
}

impl State {
    /// The next value. `None`: there is none that is good.
    fn value(&mut self, now: Mono, value: Option<f64>, at: &v1::TriggerThreshold) -> Crossing {
        let Some(value) = value else {
            self.since = None;
            return Crossing::Nothing;
        };
        let is_beyond = match at.activation() {
            v1::TriggerActivation::Decreasing => value <= at.reading,
            _ => value >= at.reading,
        };
        let Some(was_beyond) = self.beyond else {
            self.beyond = Some(is_beyond);
            return Crossing::Nothing;
        };
        if was_beyond == is_beyond {
            self.since = None;
            return Crossing::Nothing;
        }
        let fires = is_beyond || at.activation() == v1::TriggerActivation::Either;
        if fires {
            let since = *self.since.get_or_insert(now);
            if now.since(since) < Millis::new(at.dwell_ms) {
                return Crossing::Nothing;
            }
        }
        *self = Self { beyond: Some(is_beyond), since: None };
        if fires { Crossing::Fires { beyond: is_beyond } } else { Crossing::Nothing }
    }
}

/// The thresholds of a trigger that are given.
fn thresholds(trigger: &v1::Trigger) -> Vec<(v1::TriggerLevel, v1::TriggerThreshold)> {
    let all = [
        (v1::TriggerLevel::UpperWarning, trigger.upper_warning),
        (v1::TriggerLevel::UpperCritical, trigger.upper_critical),
        (v1::TriggerLevel::LowerWarning, trigger.lower_warning),
        (v1::TriggerLevel::LowerCritical, trigger.lower_critical),
    ];
    all.into_iter().filter_map(|(level, threshold)| Some((level, threshold?))).collect()
}

impl Machine {
    /// Without a plan. `least` is the least time between two reports of one definition on change.
    pub(crate) fn new(least: Millis) -> Self {
        let (burst, per, span) = FIRE_ALL;
        Self {
            least,
            plan: Arc::default(),
            runs: BTreeMap::new(),
            watches: BTreeMap::new(),
            allowance: Allowance::new(burst, per, span),
            asked: BTreeMap::new(),
            places: None,
        }
    }

    /// Takes what clients have made. What is as it was goes on where it was; all else begins now, but for how often a trigger may fire.
    pub(crate) fn take(&mut self, now: Mono, plan: &Arc<Plan>) {
        if Arc::ptr_eq(plan, &self.plan) {
            return;
        }
        let old = std::mem::replace(&mut self.plan, Arc::clone(plan));
        self.places = None;
        let mut runs = BTreeMap::new();
        for definition in plan.definitions.iter().filter(|definition| definition.enabled != Some(false)) {
            let same = old.definitions.iter().any(|other| other == definition);
            let kept = self.runs.remove(&definition.id).filter(|_| same);
            let every = Millis::new(definition.interval_ms).max(self.least);
            let run = kept.or(match definition.r#type() {
                v1::ReportDefinitionType::Periodic => {
                    Some(Run::Periodic { every, due: now.saturating_add(every) })
                }
                v1::ReportDefinitionType::OnChange => {
                    Some(Run::OnChange { shown: None, changed: false, last: None })
                }
                _ => None,
            });
            runs.extend(run.map(|run| (definition.id.clone(), run)));
        }
        self.runs = runs;
        let mut watches = BTreeMap::new();
        for trigger in &plan.triggers {
            let same = old.triggers.iter().any(|other| other == trigger);
            let (burst, per, span) = FIRES;
            let mut watch = self.watches.remove(&trigger.id).unwrap_or_else(|| Watch {
                states: Vec::new(),
                allowance: Allowance::new(burst, per, span),
                told: None,
                missed: 0,
            });
            if !same {
                watch.states = vec![State::default(); trigger.sensors.len() * thresholds(trigger).len()];
            }
            watches.insert(trigger.id.clone(), watch);
        }
        self.watches = watches;
        let is_named = |id: &String| plan.triggers.iter().any(|one| one.report_definitions.contains(id));
        self.asked.retain(|id, _| is_named(id));
    }

    /// Whether what the sensors show is of any use.
    pub(crate) fn samples(&self) -> bool {
        !self.watches.is_empty() || self.runs.values().any(|run| matches!(run, Run::OnChange { .. }))
    }

    /// Whether it is of use to know what each sensor measures.
    pub(crate) fn wants_kinds(&self) -> bool {
        let of_kind = |definition: &v1::ReportDefinition| {
            definition.metrics.iter().any(|metric| !metric.kind.is_empty())
        };
        self.changing().any(|(definition, _)| of_kind(definition))
    }

    /// The definitions on change that are enabled.
    fn changing(&self) -> impl Iterator<Item = (&v1::ReportDefinition, &Run)> {
        let all = self.plan.definitions.iter();
        let run = |definition: &v1::ReportDefinition| self.runs.get(&definition.id);
        all.filter_map(move |definition| Some((definition, run(definition)?)))
            .filter(|(_, run)| matches!(run, Run::OnChange { .. }))
    }

    /// When something is due by itself; `None`: nothing before the next sample.
    pub(crate) fn next(&self) -> Option<Mono> {
        let due = |run: &Run| match run {
            Run::Periodic { due, .. } => Some(*due),
            Run::OnChange { changed: true, last, .. } => {
                Some(last.map_or(Mono::ZERO, |last| last.saturating_add(self.least)))
            }
            Run::OnChange { .. } => None,
        };
        let asked = self.asked.values().filter(|asked| asked.is_wanted);
        let asked = asked.map(|asked| asked.last.map_or(Mono::ZERO, |last| last.saturating_add(self.least)));
        self.runs.values().filter_map(due).chain(asked).min()
    }

    /// A trigger asks for reports of these definitions: each is due at once, and no more often than a report on change.
    pub(crate) fn want(&mut self, definitions: Vec<String>) {
        for id in definitions {
            self.asked.entry(id).or_default().is_wanted = true;
        }
    }

    /// The definitions whose reports are made now. One may be there twice: by itself, and as a trigger asks for it.
    pub(crate) fn due(&mut self, now: Mono) -> Vec<String> {
        let mut all = Vec::new();
        for (id, run) in &mut self.runs {
            match run {
                Run::Periodic { every, due } if now >= *due => {
                    // Those that were missed are made once.
                    *due = now.saturating_add(*every);
                    all.push(id.clone());
                }
                Run::OnChange { changed, last, .. }
                    if *changed && last.is_none_or(|last| now >= last.saturating_add(self.least)) =>
                {
                    (*changed, *last) = (false, Some(now));
                    all.push(id.clone());
                }
                _ => {}
            }
        }
        for (id, asked) in &mut self.asked {
            let may = asked.last.is_none_or(|last| now >= last.saturating_add(self.least));
            if asked.is_wanted && may {
                *asked = Asked { is_wanted: false, last: Some(now) };
                all.push(id.clone());
            }
        }
        all
    }

    /// Takes what the sensors show; `kinds` is what each of them measures, if that is known. What fires is told in the order of triggers.
    pub(crate) fn sampled(&mut self, now: Mono, sample: Sample, kinds: Option<&Arc<Kinds>>) -> Vec<Fired> {
        let (plan, Sample { ids, values }) = (Arc::clone(&self.plan), sample);
        let places = match self.places.take().filter(|places| places.hold(&ids, kinds)) {
            Some(places) => places,
            None => Places::find(&plan, ids, kinds),
        };
        let Places { of_definitions, of_triggers, .. } = &*self.places.insert(places);
        for (id, places) in of_definitions {
            if let Some(Run::OnChange { shown, changed, .. }) = self.runs.get_mut(id) {
                let now_shown = digest(places, &values);
                *changed |= shown.is_some_and(|shown| shown != now_shown);
                *shown = Some(now_shown);
            }
        }
        let mut fired = Vec::new();
        for trigger in &plan.triggers {
            if let (Some(watch), Some(places)) =
                (self.watches.get_mut(&trigger.id), of_triggers.get(&trigger.id))
            {
                let values = places.iter().map(|place| value_at(&values, *place));
                watch.sampled(now, trigger, values, &mut self.allowance, &mut fired);
            }
        }
        fired
    }
}

/// The value at a place.
fn value_at(values: &[Option<f64>], place: Option<usize>) -> Option<f64> {
    values.get(place?).copied().flatten()
}

impl Watch {
    /// Whether it may fire once more, which is counted.
    fn may_fire(&mut self, now: Mono, all: &mut Allowance) -> bool {
        let is_rare = self.told.is_none_or(|told| now.since(told) >= RARE);
        let may = if is_rare {
            // It takes one of what the others have, if there is one.
            all.take(now);
            self.allowance.take(now)
        } else {
            self.allowance.take_both(now, all).is_ok()
        };
        if may {
            self.told = Some(now);
        }
        may
    }

    /// Takes the values of its sensors, in their order. `all` is the allowance of all triggers.
    fn sampled(
        &mut self,
        now: Mono,
        trigger: &v1::Trigger,
        values: impl Iterator<Item = Option<f64>>,
        all: &mut Allowance,
        fired: &mut Vec<Fired>,
    ) {
        let thresholds = thresholds(trigger);
        let places = trigger
            .sensors
            .iter()
            .zip(values)
            .flat_map(|(id, value)| thresholds.iter().map(move |at| (id, value, at)));
        let mut states = std::mem::take(&mut self.states);
        for (state, (id, value, (level, at))) in states.iter_mut().zip(places) {
            let Crossing::Fires { beyond } = state.value(now, value, at) else { continue };
            if !self.may_fire(now, all) {
                self.missed = self.missed.saturating_add(1);
                continue;
            }
            let what = v1::TriggerFired {
                trigger_id: trigger.id.clone(),
                sensor_id: id.clone(),
                level: (*level).into(),
                threshold: at.reading,
                value: value.unwrap_or_default(),
                rising: beyond != (at.activation() == v1::TriggerActivation::Decreasing),
                actions: trigger.actions.clone(),
                missed: std::mem::take(&mut self.missed),
            };
            let has_reports = trigger.actions.contains(&v1::TriggerAction::MetricReport.into());
            let reports = if has_reports { trigger.report_definitions.clone() } else { Vec::new() };
            fired.push(Fired { what, name: trigger.name.clone(), reports });
        }
        self.states = states;
    }
}

/// What the sensors at these places show, as one number: another one when one of them shows something else, and when there are others.
fn digest(places: &[(u64, Option<usize>)], values: &[Option<f64>]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (sensor, place) in places {
        (sensor, value_at(values, *place).map(f64::to_bits)).hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEAST: Millis = Millis::from_secs(10);

    fn at(seconds: u64) -> Mono {
        Mono::from_millis(seconds * 1000)
    }

    fn sample(values: &[(&str, Option<f64>)]) -> Sample {
        let (ids, values) = values.iter().map(|(id, value)| ((*id).to_owned(), *value)).unzip();
        Sample { ids, values }
    }

    fn threshold(reading: f64, activation: v1::TriggerActivation, dwell_ms: u64) -> v1::TriggerThreshold {
        v1::TriggerThreshold { reading, activation: activation.into(), dwell_ms }
    }

    fn trigger(upper: v1::TriggerThreshold) -> v1::Trigger {
        v1::Trigger {
            id: "hot".into(),
            name: "It is hot".into(),
            sensors: vec!["cpu".into()],
            upper_critical: Some(upper),
            actions: vec![v1::TriggerAction::Log.into()],
            ..v1::Trigger::default()
        }
    }

    fn definition(id: &str, kind: v1::ReportDefinitionType, interval_ms: u64) -> v1::ReportDefinition {
        let metric = v1::ReportMetric { kind: String::new(), sensors: vec!["cpu".into()] };
        v1::ReportDefinition {
            id: id.into(),
            r#type: kind.into(),
            interval_ms,
            metrics: vec![metric],
            enabled: Some(true),
            ..v1::ReportDefinition::default()
        }
    }

    fn planned(definitions: Vec<v1::ReportDefinition>, triggers: Vec<v1::Trigger>) -> Machine {
        let mut machine = Machine::new(LEAST);
        machine.take(at(0), &Arc::new(Plan { definitions, triggers }));
        machine
    }

    /// The seconds, counted from 0, at which a trigger with this threshold fires, of a value each second; and whether the value rose.
    fn fires(threshold: v1::TriggerThreshold, values: &[Option<f64>]) -> Vec<(u64, bool)> {
        let mut machine = planned(Vec::new(), vec![trigger(threshold)]);
        let mut all = Vec::new();
        for (second, value) in (0..).zip(values) {
            let fired = machine.sampled(at(second), sample(&[("cpu", *value)]), None);
            all.extend(fired.into_iter().map(|fired| (second, fired.what.rising)));
        }
        all
    }

    #[test]
    fn a_trigger_fires_once_for_each_crossing() {
        use v1::TriggerActivation as A;
        let some = |values: &[f64]| values.iter().map(|value| Some(*value)).collect::<Vec<_>>();
        let up = |dwell| threshold(90.0, A::Increasing, dwell);
        // Where it begins is no crossing; at the threshold is past it.
        assert_eq!(fires(up(0), &some(&[95.0, 96.0, 89.0, 90.0, 99.0, 89.9, 91.0])), [(3, true), (6, true)]);
        assert_eq!(fires(up(0), &some(&[20.0, 91.0, 91.0, 91.0])), [(1, true)]);
        // Of a sensor that shows nothing nothing follows, neither this way nor that.
        let mut values = some(&[20.0, 91.0]);
        values.extend([None, None, Some(92.0), None, Some(20.0), None, Some(90.0)]);
        assert_eq!(fires(up(0), &values), [(1, true), (8, true)]);
        // So long it has to be past it, without a break.
        assert_eq!(fires(up(3_000), &some(&[20.0, 91.0, 92.0, 93.0, 94.0, 95.0])), [(4, true)]);
        assert!(fires(up(3_000), &some(&[20.0, 91.0, 92.0, 20.0, 94.0, 95.0, 96.0])).is_empty());
        let mut values = some(&[20.0, 91.0, 91.0]);
        values.extend([None, Some(91.0), Some(91.0), Some(91.0), Some(91.0)]);
        assert_eq!(fires(up(3_000), &values), [(7, true)]);
        let down = threshold(5.0, A::Decreasing, 0);
        assert_eq!(fires(down, &some(&[9.0, 5.0, 4.0, 6.0, 1.0])), [(1, false), (4, false)]);
        let either = threshold(5.0, A::Either, 0);
        assert_eq!(fires(either, &some(&[9.0, 4.0, 5.0, 6.0, 1.0])), [(1, false), (2, true), (4, false)]);
    }

    #[test]
    fn what_is_told_says_where_and_how_bad_it_is() {
        use v1::TriggerActivation as A;
        let mut all = trigger(threshold(90.0, A::Increasing, 0));
        all.lower_warning = Some(threshold(10.0, A::Either, 0));
        all.sensors.push("inlet".into());
        all.actions = vec![2, 3];
        all.report_definitions = vec!["Power".into()];
        let mut machine = planned(Vec::new(), vec![all]);
        let mut say = |second, cpu, inlet| {
            let sample = sample(&[("cpu", Some(cpu)), ("inlet", Some(inlet))]);
            machine.sampled(at(second), sample, None)
        };
        assert!(say(0, 50.0, 50.0).is_empty());
        let fired = say(1, 91.0, 9.0);
        let told: Vec<_> = fired
            .iter()
            .map(|fired| (fired.what.sensor_id.as_str(), fired.what.level(), fired.severity()))
            .collect();
        let expected = [
            ("cpu", v1::TriggerLevel::UpperCritical, v1::EventSeverity::Critical),
            ("inlet", v1::TriggerLevel::LowerWarning, v1::EventSeverity::Warning),
        ];
        assert_eq!(told, expected);
        assert_eq!(fired[0].words(), "It is hot: cpu rose to 91, past the upper critical threshold 90");
        assert!(fired.iter().all(|fired| fired.is_event() && fired.reports == ["Power"]));
        let back = say(2, 50.0, 50.0);
        assert_eq!((back.len(), back[0].severity(), back[0].what.rising), (1, v1::EventSeverity::Info, true));
    }

    #[test]
    fn a_trigger_that_fires_all_the_time_is_bounded_and_counts_what_it_left_out() {
        let mut machine =
            planned(Vec::new(), vec![trigger(threshold(90.0, v1::TriggerActivation::Either, 0))]);
        let (mut told, mut missed) = (0_u32, 0_u32);
        for second in 0..3_600 {
            let value = if second % 2 == 0 { 80.0 } else { 95.0 };
            for fired in machine.sampled(at(second), sample(&[("cpu", Some(value))]), None) {
                told += 1;
                missed += fired.what.missed;
            }
        }
        assert!((370..=380).contains(&told), "{told}");
        assert!(told + missed <= 3_599 && told + missed > 3_580, "{told} {missed}");
    }

    #[test]
    fn a_periodic_report_is_due_at_its_interval_and_once_after_a_pause() {
        let mut machine =
            planned(vec![definition("p", v1::ReportDefinitionType::Periodic, 20_000)], Vec::new());
        assert!(!machine.samples());
        assert_eq!((machine.next(), machine.due(at(19))), (Some(at(20)), Vec::new()));
        assert_eq!(machine.due(at(20)), ["p"]);
        assert_eq!((machine.next(), machine.due(at(39))), (Some(at(40)), Vec::new()));
        assert_eq!(machine.due(at(1_000)), ["p"]);
        assert_eq!(machine.next(), Some(at(1_020)));
        // One that is not enabled has none, and one on request none by itself.
        let off = v1::ReportDefinition {
            enabled: Some(false),
            ..definition("p", v1::ReportDefinitionType::Periodic, 20_000)
        };
        let asked = definition("r", v1::ReportDefinitionType::OnRequest, 0);
        let mut machine = planned(vec![off, asked], Vec::new());
        assert_eq!((machine.next(), machine.due(at(1_000)), machine.samples()), (None, Vec::new(), false));
    }

    #[test]
    fn a_report_on_change_comes_with_a_change_and_not_too_often() {
        let mut machine = planned(vec![definition("c", v1::ReportDefinitionType::OnChange, 0)], Vec::new());
        assert!(machine.samples() && !machine.wants_kinds());
        let say = |machine: &mut Machine, second: u32, value: Option<f64>| -> bool {
            let (now, values) =
                (at(second.into()), sample(&[("cpu", value), ("other", Some(f64::from(second)))]));
            assert!(machine.sampled(now, values, None).is_empty());
            !machine.due(now).is_empty()
        };
        assert!(!say(&mut machine, 0, Some(1.0)), "where it begins is no change");
        assert!(!say(&mut machine, 1, Some(1.0)));
        assert!(say(&mut machine, 2, Some(2.0)));
        // What changed meanwhile is told once, as soon as it may be.
        assert!(!say(&mut machine, 3, Some(3.0)) && !say(&mut machine, 4, Some(4.0)));
        assert_eq!(machine.next(), Some(at(12)));
        assert_eq!(machine.due(at(11)), Vec::<String>::new());
        assert_eq!(machine.due(at(12)), ["c"]);
        assert_eq!(machine.next(), None);
        assert!(!say(&mut machine, 30, Some(4.0)));
        assert!(say(&mut machine, 31, None), "that there is no value any more is a change");
        assert!(!say(&mut machine, 60, None));
    }

    #[test]
    fn a_report_of_a_kind_looks_at_the_sensors_of_that_kind() {
        let metrics = vec![v1::ReportMetric { kind: "Temperature".into(), sensors: Vec::new() }];
        let definition =
            v1::ReportDefinition { metrics, ..definition("c", v1::ReportDefinitionType::OnChange, 0) };
        let mut machine = planned(vec![definition], Vec::new());
        assert!(machine.wants_kinds());
        let kinds = BTreeMap::from([("cpu".to_owned(), "Temperature"), ("fan".to_owned(), "Rotational")]);
        let kinds = Arc::new(kinds);
        let mut say = |second, shown: &[(&str, f64)], kinds: Option<&Arc<Kinds>>| {
            let shown: Vec<_> = shown.iter().map(|(id, value)| (*id, Some(*value))).collect();
            machine.sampled(at(second), sample(&shown), kinds);
            !machine.due(at(second)).is_empty()
        };
        let of = |cpu, fan| [("cpu", cpu), ("fan", fan)];
        assert!(!say(0, &of(1.0, 1.0), Some(&kinds)) && !say(20, &of(1.0, 2.0), Some(&kinds)));
        assert!(say(40, &of(2.0, 2.0), Some(&kinds)));
        // While it is not known which those are nothing follows, and what changed meanwhile is told after it.
        assert!(!say(60, &of(3.0, 2.0), None));
        let again = Arc::new(BTreeMap::clone(&kinds));
        assert!(say(80, &of(3.0, 2.0), Some(&again)));
        // Another order of the sensors is no change, and neither is a sensor of another kind.
        assert!(!say(100, &[("fan", 2.0), ("cpu", 3.0)], Some(&again)));
        assert!(!say(120, &[("fan", 2.0), ("new", 9.0), ("cpu", 3.0)], Some(&again)));
        let more = Arc::new(
            kinds
                .iter()
                .map(|(id, kind)| (id.clone(), *kind))
                .chain([("new".to_owned(), "Temperature")])
                .collect(),
        );
        assert!(say(140, &[("fan", 2.0), ("new", 9.0), ("cpu", 3.0)], Some(&more)));
    }

    #[test]
    fn triggers_need_not_know_what_sensors_measure_nor_where_they_are() {
        let mut machine =
            planned(Vec::new(), vec![trigger(threshold(90.0, v1::TriggerActivation::Increasing, 0))]);
        let mut say =
            |second, shown: &[(&str, Option<f64>)]| machine.sampled(at(second), sample(shown), None).len();
        assert_eq!(say(0, &[("cpu", Some(20.0)), ("inlet", Some(99.0))]), 0);
        assert_eq!(say(1, &[("inlet", Some(20.0)), ("cpu", Some(95.0))]), 1);
        assert_eq!(say(2, &[("inlet", Some(99.0))]), 0, "it is gone");
        assert_eq!(say(3, &[("cpu", Some(20.0))]), 0);
        assert_eq!(say(4, &[("a", None), ("cpu", Some(95.0))]), 1);
    }

    #[test]
    fn all_triggers_together_are_bounded_and_none_has_more_for_a_change_of_its_name() {
        let hot = |n: u32, name: &str| v1::Trigger {
            id: format!("t{n:02}"),
            name: name.to_owned(),
            sensors: vec!["cpu".into(), "inlet".into()],
            ..trigger(threshold(90.0, v1::TriggerActivation::Either, 0))
        };
        let all = |name: &str| (0..32).map(|n| hot(n, name)).collect::<Vec<_>>();
        let mut machine = planned(Vec::new(), all("0"));
        let (mut told, mut missed, mut each) = (0_u32, 0_u32, BTreeMap::new());
        for second in 0..3_600_u32 {
            // Each of them is changed once a minute.
            if second % 60 == 0 {
                let triggers = all(&second.to_string());
                machine.take(at(second.into()), &Arc::new(Plan { definitions: Vec::new(), triggers }));
            }
            let value = Some(if second % 2 == 0 { 80.0 } else { 95.0 });
            for fired in machine.sampled(at(second.into()), sample(&[("cpu", value), ("inlet", value)]), None)
            {
                told += 1;
                missed += fired.what.missed;
                *each.entry(fired.what.trigger_id).or_insert(0_u32) += 1;
            }
        }
        let (burst, per, _) = FIRE_ALL;
        assert!(told <= burst + 60 * per + 32 * 7 && told > 50 * per, "{told}");
        assert!(each.len() == 32 && each.values().all(|count| *count >= 5), "each is heard: {each:?}");
        assert!(missed > 10_000, "{missed}");
    }

    #[test]
    fn reports_that_triggers_ask_for_keep_their_distance_and_none_is_lost() {
        let asks = v1::Trigger {
            report_definitions: vec!["Power".into(), "mine".into()],
            ..trigger(threshold(90.0, v1::TriggerActivation::Either, 0))
        };
        let mut machine = planned(Vec::new(), vec![asks]);
        let want = |machine: &mut Machine, ids: &[&str]| {
            machine.want(ids.iter().map(|id| (*id).to_owned()).collect());
        };
        assert_eq!(machine.next(), None);
        want(&mut machine, &["mine"]);
        assert_eq!((machine.next(), machine.due(at(5))), (Some(Mono::ZERO), vec!["mine".to_owned()]));
        want(&mut machine, &["mine", "Power"]);
        want(&mut machine, &["mine"]);
        assert_eq!(machine.due(at(6)), ["Power"]);
        assert_eq!((machine.next(), machine.due(at(14))), (Some(at(15)), Vec::new()));
        assert_eq!((machine.due(at(15)), machine.next()), (vec!["mine".to_owned()], None));
        // What no trigger names any more is forgotten.
        want(&mut machine, &["mine"]);
        machine.take(at(16), &Arc::default());
        assert_eq!((machine.next(), machine.due(at(99))), (None, Vec::new()));
    }

    #[test]
    fn what_a_change_of_others_leaves_as_it_was_goes_on() {
        let periodic = || definition("p", v1::ReportDefinitionType::Periodic, 20_000);
        let hot = || trigger(threshold(90.0, v1::TriggerActivation::Increasing, 0));
        let mut machine = planned(vec![periodic()], vec![hot()]);
        assert!(machine.sampled(at(1), sample(&[("cpu", Some(20.0))]), None).is_empty());
        let other = definition("q", v1::ReportDefinitionType::Periodic, 60_000);
        machine.take(at(5), &Arc::new(Plan { definitions: vec![periodic(), other], triggers: vec![hot()] }));
        assert_eq!(machine.next(), Some(at(20)));
        assert_eq!(machine.sampled(at(6), sample(&[("cpu", Some(95.0))]), None).len(), 1);
        // What is changed begins anew, and what is gone is gone.
        let changed = v1::Trigger { name: "Another".into(), ..hot() };
        machine.take(at(7), &Arc::new(Plan { definitions: Vec::new(), triggers: vec![changed] }));
        assert_eq!(machine.next(), None);
        assert!(machine.sampled(at(8), sample(&[("cpu", Some(20.0))]), None).is_empty());
        assert_eq!(machine.sampled(at(9), sample(&[("cpu", Some(95.0))]), None).len(), 1);
    }

    proptest! {
        /// Whatever a sensor shows: a trigger that fires one way fires only where the value was on the other side since, and never without a good value; and
        /// between two that it fires there was one on the near side.
        #[test]
        fn it_never_fires_twice_without_a_way_back(
            values in proptest::collection::vec(proptest::option::weighted(0.8, 0..6_i32), 0..60),
            dwell in 0..4_u64,
        ) {
            let values: Vec<Option<f64>> = values.into_iter().map(|value| value.map(f64::from)).collect();
            let fired = fires(threshold(3.0, v1::TriggerActivation::Increasing, dwell * 1000), &values);
            prop_assert!(fired.len() <= 22);
            let mut before = 0;
            for (second, rising) in fired {
                let second = usize::try_from(second).unwrap();
                prop_assert!(rising && values[second].is_some_and(|value| value >= 3.0));
                prop_assert!(values[before..second].iter().flatten().any(|value| *value < 3.0));
                let dwelt = usize::try_from(dwell).unwrap();
                prop_assert!(second >= dwelt);
                prop_assert!(values[second - dwelt..=second].iter().all(|value| value.is_some_and(|value| value >= 3.0)));
                before = second;
            }
        }

        /// Whatever changes when: reports on change are never nearer to each other than the least time, and the last change is told in the end.
        #[test]
        fn reports_on_change_keep_their_distance(steps in proptest::collection::vec((0..3_u64, 0..3_i32), 1..80)) {
            let mut machine = planned(vec![definition("c", v1::ReportDefinitionType::OnChange, 0)], Vec::new());
            let (mut now, mut last, mut told, mut shown) = (0, None::<u64>, None::<i32>, None::<i32>);
            for (pause, value) in steps {
                now += pause;
                machine.sampled(at(now), sample(&[("cpu", Some(value.into()))]), None);
                if told.is_none() {
                    told = Some(value);
                }
                shown = Some(value);
                if !machine.due(at(now)).is_empty() {
                    prop_assert!(last.is_none_or(|last| now >= last + 10));
                    (last, told) = (Some(now), Some(value));
                }
            }
            if told != shown {
                prop_assert!(machine.next().is_some(), "a change is owed");
                prop_assert_eq!(machine.due(at(now + 10)), ["c"]);
            }
        }
    }
}
