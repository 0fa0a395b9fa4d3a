//! Metric reports on their way to one destination: of each definition the newest.
//!
//! ```text
//!  made ──► [Temperature, Power, …] ──► next ──► taken
//!             a newer one takes the place of the older one of its definition
//! ```
//!
//! Old values are of no use to who comes to know the newer ones, so what a destination does not take does not pile up: there are never more than there are
//! definitions. And none is kept for it: what waits is held by who makes the reports ([`crate::telemetry::Made`]), once for all destinations, and is gone when
//! a newer one is made, which comes in its place, or when its definition is.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use redfish::MetricReport;

/// Reports that wait.
#[derive(Debug)]
pub(crate) struct Queue {
    /// URIs of the definitions that are wanted; empty: all.
    wanted: Vec<String>,
    waiting: VecDeque<Waiting>,
    /// The one that is being sent.
    sending: Option<Weak<MetricReport>>,
}

/// A report that waits.
#[derive(Debug)]
struct Waiting {
    /// The URI of its definition.
    definition: String,
    report: Weak<MetricReport>,
}

impl Queue {
    pub(crate) fn new(wanted: &[String]) -> Self {
        Self { wanted: wanted.to_vec(), waiting: VecDeque::new(), sending: None }
    }

    /// Reports were made. The order of definitions that wait stays.
    pub(crate) fn made(&mut self, reports: &[Arc<MetricReport>]) {
        let is_wanted = |report: &MetricReport| {
            self.wanted.is_empty() || self.wanted.iter().any(|uri| uri == report.definition())
        };
        for report in reports.iter().filter(|report| is_wanted(report)) {
            let newer = Arc::downgrade(report);
            match self.waiting.iter_mut().find(|older| older.definition == report.definition()) {
                Some(older) => older.report = newer,
                None => {
                    let definition = report.definition().to_owned();
                    self.waiting.push_back(Waiting { definition, report: newer });
                }
            }
        }
    }

    /// The next report, which is sent now; `None` when none waits. Those that are gone are passed over.
    pub(crate) fn next(&mut self) -> Option<Arc<MetricReport>> {
        self.sending = None;
        while let Some(first) = self.waiting.front() {
            if let Some(report) = first.report.upgrade() {
                self.sending = Some(Weak::clone(&first.report));
                return Some(report);
            }
            self.waiting.pop_front();
        }
        None
    }

    /// Nothing is sent for long: what waits would be held for nothing.
    pub(crate) fn clear(&mut self) {
        (self.waiting, self.sending) = (VecDeque::new(), None);
    }

    /// The one that was sent last was taken. One that came in its place meanwhile is still to be sent.
    pub(crate) fn taken(&mut self) {
        if let (Some(sent), Some(first)) = (self.sending.take(), self.waiting.front())
            && Weak::ptr_eq(&sent, &first.report)
        {
            self.waiting.pop_front();
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;
    use redfish::{Supply, World};
    use schema::v1alpha1 as v1;

    /// A report each of temperatures and powers, made at this second.
    pub(crate) fn made_at(second: i64) -> Vec<Arc<MetricReport>> {
        let contexts = [v1::SensorContext::Temperature, v1::SensorContext::Power];
        let sensor = |context: v1::SensorContext| v1::Sensor {
            id: context.as_str_name().to_lowercase(),
            context: Some(context.into()),
            ..v1::Sensor::default()
        };
        let sensors = contexts.map(sensor).to_vec();
        let mut world = World::default();
        world.supply(Supply::Chassis(Arc::default()));
        world.supply(Supply::Sensors(Arc::new(v1::ListSensorsResponse { sensors, ..Default::default() })));
        world.about.now = second;
        redfish::metric_reports(&world).unwrap().into_iter().map(Arc::new).collect()
    }

    /// Its definition, and the second it was made at.
    pub(crate) fn told(report: &MetricReport) -> (String, i64) {
        let body: serde_json::Value = serde_json::from_str(&report.text("")).unwrap();
        let time = body["Timestamp"].as_str().unwrap().parse::<prost_types::Timestamp>().unwrap();
        (report.definition().rsplit('/').next().unwrap().to_owned(), time.seconds)
    }

    fn next(queue: &mut Queue) -> Option<(String, i64)> {
        queue.next().map(|report| told(&report))
    }

    fn of(id: &str, second: i64) -> Option<(String, i64)> {
        Some((id.to_owned(), second))
    }

    #[test]
    fn the_newest_of_each_definition_waits_in_its_place() {
        let mut queue = Queue::new(&[]);
        assert_eq!(next(&mut queue), None);
        let mut made = made_at(1);
        queue.made(&made);
        assert_eq!(next(&mut queue), of("Temperature", 1));
        queue.taken();
        made = made_at(2);
        queue.made(&made);
        // The order is that of those that wait.
        assert_eq!(next(&mut queue), of("Power", 2));
        // It was not taken, and a newer one is there.
        made = made_at(3);
        queue.made(&made);
        assert_eq!(next(&mut queue), of("Power", 3));
        // One came while it was sent.
        made = made_at(4);
        queue.made(&made);
        queue.taken();
        assert_eq!(next(&mut queue), of("Power", 4));
        queue.taken();
        assert_eq!(next(&mut queue), of("Temperature", 4));
        queue.taken();
        queue.taken();
        assert_eq!(next(&mut queue), None);
    }

    #[test]
    fn what_waits_is_held_by_who_made_it_and_what_is_gone_is_not_sent() {
        let mut queue = Queue::new(&[]);
        let made = made_at(1);
        queue.made(&made);
        assert!(made.iter().all(|report| Arc::strong_count(report) == 1));
        let [temperature, power] = <[_; 2]>::try_from(made).unwrap();
        // Its definition is gone.
        drop(temperature);
        assert_eq!(next(&mut queue), of("Power", 1));
        drop(power);
        assert_eq!(next(&mut queue), None);
        queue.taken();
        let later = made_at(2);
        queue.made(&later);
        assert_eq!(next(&mut queue), of("Temperature", 2));
    }

    #[test]
    fn what_was_cleared_is_held_no_more_and_what_is_made_next_waits() {
        let mut queue = Queue::new(&[]);
        let first = made_at(1);
        queue.made(&first);
        assert_eq!(next(&mut queue), of("Temperature", 1));
        queue.clear();
        assert!(first.iter().all(|report| Arc::strong_count(report) == 1));
        assert_eq!(next(&mut queue), None);
        let second = made_at(2);
        queue.made(&second);
        assert_eq!(next(&mut queue), of("Temperature", 2));
    }

    #[test]
    fn only_what_is_wanted_waits() {
        let uri = "/redfish/v1/TelemetryService/MetricReportDefinitions/Power".to_owned();
        let (mut queue, made) = (Queue::new(&[uri]), made_at(1));
        queue.made(&made);
        assert_eq!(next(&mut queue), of("Power", 1));
        queue.taken();
        assert_eq!(next(&mut queue), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Whatever a destination takes: nothing that was made before what it has of the same definition, no more waits than there are definitions,
        /// and the newest of each is there in the end.
        #[test]
        fn no_destination_goes_back_in_time(steps in proptest::collection::vec(0..3_u8, 0..40)) {
            let (mut queue, mut now, mut had) = (Queue::new(&[]), 0_i64, BTreeMap::new());
            // Who makes them has the newest.
            let mut held = Vec::new();
            let mut send = |queue: &mut Queue, takes: bool| -> Result<bool, TestCaseError> {
                let Some((id, second)) = next(queue) else { return Ok(false) };
                if takes {
                    queue.taken();
                    prop_assert!(had.insert(id, second).is_none_or(|before| before < second));
                }
                Ok(true)
            };
            for step in steps {
                match step {
                    0 => {
                        now += 1;
                        held = made_at(now);
                        queue.made(&held);
                    }
                    other => { send(&mut queue, other == 1)?; }
                }
                prop_assert!(queue.waiting.len() <= 2);
            }
            drop(held);
            now += 1;
            let newest_made = made_at(now);
            queue.made(&newest_made);
            while send(&mut queue, true)? {}
            let newest = [("Power".to_owned(), now), ("Temperature".to_owned(), now)];
            prop_assert_eq!(had.into_iter().collect::<Vec<_>>(), newest);
        }
    }
}
