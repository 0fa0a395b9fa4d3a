//! Metric reports on their way to one destination: of each definition the newest.
//!
//! ```text
//!  made ──► [Temperature, Power, …] ──► next ──► taken
//!             a newer one takes the place of the older one of its definition
//! ```
//!
//! Old values are of no use to who comes to know the newer ones, so what a destination does not take does not pile up: there are never more than there are
//! definitions.

use std::collections::VecDeque;
use std::sync::Arc;

use redfish::MetricReport;

/// Reports that wait.
#[derive(Debug)]
pub(crate) struct Queue {
    /// URIs of the definitions that are wanted; empty: all.
    wanted: Vec<String>,
    waiting: VecDeque<Arc<MetricReport>>,
    /// The one that is being sent.
    sending: Option<Arc<MetricReport>>,
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
            let same = |older: &&mut Arc<MetricReport>| older.definition() == report.definition();
            match self.waiting.iter_mut().find(same) {
                Some(older) => *older = Arc::clone(report),
                None => self.waiting.push_back(Arc::clone(report)),
            }
        }
    }

    /// The next report, which is sent now; `None` when none waits.
    pub(crate) fn next(&mut self) -> Option<Arc<MetricReport>> {
        self.sending = self.waiting.front().cloned();
        self.sending.clone()
    }

    /// Nothing is sent for long: what waits would be held for nothing.
    pub(crate) fn clear(&mut self) {
        (self.waiting, self.sending) = (VecDeque::new(), None);
    }

    /// The one that was sent last was taken. One that came in its place meanwhile is still to be sent.
    pub(crate) fn taken(&mut self) {
        if let (Some(sent), Some(first)) = (self.sending.take(), self.waiting.front())
            && Arc::ptr_eq(&sent, first)
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
        let time =
            report.payload("")["Timestamp"].as_str().unwrap().parse::<prost_types::Timestamp>().unwrap();
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
        queue.made(&made_at(1));
        assert_eq!(next(&mut queue), of("Temperature", 1));
        queue.taken();
        queue.made(&made_at(2));
        // The order is that of those that wait.
        assert_eq!(next(&mut queue), of("Power", 2));
        // It was not taken, and a newer one is there.
        queue.made(&made_at(3));
        assert_eq!(next(&mut queue), of("Power", 3));
        // One came while it was sent.
        queue.made(&made_at(4));
        queue.taken();
        assert_eq!(next(&mut queue), of("Power", 4));
        queue.taken();
        assert_eq!(next(&mut queue), of("Temperature", 4));
        queue.taken();
        queue.taken();
        assert_eq!(next(&mut queue), None);
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
        queue.made(&made_at(2));
        assert_eq!(next(&mut queue), of("Temperature", 2));
    }

    #[test]
    fn only_what_is_wanted_waits() {
        let uri = "/redfish/v1/TelemetryService/MetricReportDefinitions/Power".to_owned();
        let mut queue = Queue::new(&[uri]);
        queue.made(&made_at(1));
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
                    0 => { now += 1; queue.made(&made_at(now)); }
                    other => { send(&mut queue, other == 1)?; }
                }
                prop_assert!(queue.waiting.len() <= 2);
            }
            now += 1;
            queue.made(&made_at(now));
            while send(&mut queue, true)? {}
            let newest = [("Power".to_owned(), now), ("Temperature".to_owned(), now)];
            prop_assert_eq!(had.into_iter().collect::<Vec<_>>(), newest);
        }
    }
}
