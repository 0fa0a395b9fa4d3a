//! What was told of sensors, devices and buses: kept over restarts, so that what lasts is not told a second time, and that it ended is told.

use std::collections::{BTreeMap, BTreeSet};

use board::Board;
use sensors::{Change, Kind, Level, Side};
use serde::{Deserialize, Serialize};

/// Where it is kept. No sensor is called so: their names have no dot.
pub(crate) const KEY: &str = "told.last";

/// What was told last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Told {
    /// Sensors of which something lasts.
    sensors: BTreeMap<String, OfSensor>,
    /// Devices that can be pulled, and whether they were.
    devices: BTreeMap<String, bool>,
    /// Buses on which nothing answers.
    buses: BTreeSet<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct OfSensor {
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    crossed: BTreeSet<(Side, Level)>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    failed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<bool>,
}

impl Told {
    /// Forgets what the board does not have any more.
    pub(crate) fn retain(&mut self, board: &Board, buses: &[&str]) {
        self.sensors.retain(|id, _| board.sensors.iter().any(|sensor| sensor.id.as_str() == id));
        self.devices.retain(|id, _| board.devices.iter().any(|device| device.id.as_str() == id));
        self.buses.retain(|id| buses.contains(&id.as_str()));
    }

    /// Something is told of a sensor.
    pub(crate) fn changed(&mut self, id: &str, kind: Kind, change: &Change) {
        let mut of = self.sensors.remove(id).unwrap_or_default();
        match change {
            Change::Crossed(crossing) => {
                let which = (crossing.side, crossing.level);
                if crossing.asserted {
                    of.crossed.insert(which);
                } else {
                    of.crossed.remove(&which);
                }
            }
            Change::Failed(_) => of.failed = true,
            Change::Recovered => of.failed = false,
            // An alert that is not given is what a sensor begins with.
            Change::Turned(is) => of.state = Some(*is).filter(|is| *is || kind != Kind::Alert),
            Change::Removed | Change::Inserted | Change::Late => {}
        }
        if of != OfSensor::default() {
            self.sensors.insert(id.to_owned(), of);
        }
    }

    /// What was found at the first look, and is no news then.
    pub(crate) fn found(&mut self, id: &str, state: bool) {
        if self.sensors.get(id).is_none_or(|of| of.state.is_none()) {
            self.sensors.entry(id.to_owned()).or_default().state = Some(state);
        }
    }

    /// A device that can be pulled was, is back, or is there at the first look.
    pub(crate) fn device(&mut self, id: &str, removed: bool) {
        self.devices.insert(id.to_owned(), removed);
    }

    /// Nothing on a bus answers, or something does again.
    pub(crate) fn bus(&mut self, id: &str, answers: bool) {
        if answers {
            self.buses.remove(id);
        } else {
            self.buses.insert(id.to_owned());
        }
    }

    /// Forgets some of it, of sensors first; false when there is nothing left.
    pub(crate) fn shorten(&mut self) -> bool {
        let from = self.sensors.len() - self.sensors.len().div_ceil(8);
        if let Some(from) = self.sensors.keys().nth(from).cloned() {
            drop(self.sensors.split_off(&from));
            return true;
        }
        let is_some = !self.devices.is_empty() || !self.buses.is_empty();
        self.devices.clear();
        self.buses.clear();
        is_some
    }

    /// Whether a device was pulled; none when nobody has seen it.
    pub(crate) fn removed(&self, device: &str) -> Option<bool> {
        self.devices.get(device).copied()
    }

    /// Whether it was told of a bus that nothing on it answers.
    pub(crate) fn is_silent(&self, bus: &str) -> bool {
        self.buses.contains(bus)
    }

    /// What a sensor goes on from.
    pub(crate) fn of(&self, id: &str, device: Option<&str>) -> sensors::Told {
        let of = self.sensors.get(id);
        sensors::Told {
            crossed: of.map(|of| of.crossed.iter().copied().collect()).unwrap_or_default(),
            failed: of.is_some_and(|of| of.failed),
            state: of.and_then(|of| of.state),
            removed: device.and_then(|device| self.removed(device)),
        }
    }
}

#[cfg(test)]
mod tests {
    use sensors::{Crossing, Reason};

    use super::*;

    #[test]
    fn what_has_no_room_is_forgotten_sensors_first() {
        let mut told = Told::default();
        for n in 0..20 {
            told.found(&format!("s{n:02}"), true);
        }
        told.device("psu1", true);
        assert!(told.shorten());
        assert_eq!((told.sensors.len(), told.removed("psu1")), (17, Some(true)));
        let mut steps = 0;
        while told.shorten() {
            steps += 1;
        }
        assert!(steps < 20 && told == Told::default(), "{steps}");
    }

    #[test]
    fn only_what_lasts_is_kept_and_read_again_as_it_was() {
        let mut told = Told::default();
        let crossed = |asserted| {
            let (side, level) = (Side::Upper, Level::Critical);
            Change::Crossed(Crossing { side, level, asserted, threshold: None, value: None, left_out: 0 })
        };
        let hot = Kind::Temperature;
        told.changed("cpu", hot, &crossed(true));
        told.changed("cpu", hot, &Change::Failed(Reason::Io));
        told.changed("hot", Kind::Alert, &Change::Turned(true));
        told.found("psu1_present", true);
        told.device("psu1", true);
        told.bus("i2c3", false);
        let stored = serde_json::to_string(&told).unwrap();
        assert_eq!(
            stored,
            r#"{"sensors":{"cpu":{"crossed":[["Upper","Critical"]],"failed":true},"hot":{"state":true},"psu1_present":{"state":true}},"devices":{"psu1":true},"buses":["i2c3"]}"#
        );
        assert_eq!(serde_json::from_str::<Told>(&stored).unwrap(), told);
        let of = told.of("cpu", Some("psu1"));
        assert_eq!((of.crossed, of.failed), (vec![(Side::Upper, Level::Critical)], true));
        assert_eq!((of.state, of.removed), (None, Some(true)));

        told.changed("cpu", hot, &crossed(false));
        told.changed("cpu", hot, &Change::Recovered);
        told.changed("hot", Kind::Alert, &Change::Turned(false));
        told.bus("i2c3", true);
        told.changed("psu1_present", Kind::Presence, &Change::Turned(false));
        told.found("psu1_present", true);
        assert_eq!(told.sensors.keys().collect::<Vec<_>>(), ["psu1_present"]);
        assert_eq!(told.of("psu1_present", None).state, Some(false));
        assert!(!told.is_silent("i2c3"));
    }
}
