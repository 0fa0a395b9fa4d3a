//! The SDR repository: a record for the controller, for each sensor with a value and a unit, and for each part with FRU data.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipmi::scale::Scale;
use ipmi::sdr::{self, Full, Thresholds};
use model::{Change, Snapshot};
use schema::v1alpha1 as v1;

use crate::parts;

/// What a sensor of IPMI is.
#[derive(Clone, Debug)]
pub(crate) struct Sensor {
    /// Its id in the API.
    pub(crate) id: Arc<str>,
    /// How bytes are values.
    pub(crate) scale: Scale,
    /// What a value of the API is multiplied with to be one in the record's unit.
    pub(crate) factor: f64,
    pub(crate) thresholds: Thresholds,
    pub(crate) hysteresis: f64,
    /// Its type (table 42-3).
    pub(crate) kind: u8,
}

impl Sensor {
    /// Whether a byte can say this value, in the record's unit.
    pub(crate) fn holds(&self, value: f64) -> bool {
        self.scale.holds(value)
    }
}

/// What a sensor was last shown with.
#[derive(Clone, Debug)]
struct Kept {
    id: Arc<str>,
    unit: v1::SensorUnit,
    scale: Scale,
}

/// The records as they are now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Repository {
    pub(crate) sensors: Vec<Sensor>,
    pub(crate) records: Vec<Vec<u8>>,
    /// By their ids in ascending order, also of sensors that are not there now. A client reads a record once and sets thresholds by what that says, so
    /// a sensor keeps its scale while it holds.
    scales: Vec<Kept>,
    /// When they were made, seconds since 1970.
    pub(crate) made: u32,
    /// Of which changes: of sensors and parts, and of readings, which may be beyond what a scale shows.
    of: Option<(Change, Change)>,
    shown: Option<Change>,
    /// How often they were made, never 0: the reservation of whoever reads them now.
    generation: u16,
}

impl Repository {
    /// Makes them anew if what they say has changed; a reservation ends with it (§33.10).
    pub(crate) fn refresh(&mut self, snapshot: &Snapshot, now: u32) {
        let of = (snapshot.sensor_descriptions().change(), snapshot.assets().change());
        let shown = |id: &str| snapshot.sensor(id).and_then(|view| view.value());
        let is_beyond =
            |sensor: &Sensor| shown(&sensor.id).is_some_and(|value| !sensor.holds(value * sensor.factor));
        let is_same = self.of == Some(of);
        if is_same && self.shown == Some(snapshot.readings_change()) {
            return;
        }
        self.shown = Some(snapshot.readings_change());
        if is_same && !self.sensors.iter().any(is_beyond) {
            return;
        }
        self.of = Some(of);
        let before = (std::mem::take(&mut self.records), self.made, self.generation);
        // Clients compare times to know whether records they keep are still good: no two changes have the same one.
        self.made = now.max(self.made.saturating_add(1));
        // 0 is none.
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        let described = snapshot
            .sensor_descriptions()
            .iter()
            .filter_map(|view| sensor(view.value, shown(&view.value.id), self.kept(view.value)));
        let found: Vec<(Sensor, v1::Sensor)> = described.take(sdr::SENSORS_MAX).collect();
        self.keep(&found);
        self.records = vec![sdr::controller(1, "BMC")];
        let names = distinct(found.iter().map(|(_, about)| named(&about.name, &about.id)));
        for (at, ((sensor, about), name)) in found.iter().zip(&names).enumerate() {
            let (Some((lun, number)), Ok(id)) = (sdr::place(at), u16::try_from(self.records.len() + 1))
            else {
                continue;
            };
            let (unit, _) = unit(about.unit());
            let full = Full {
                lun,
                number,
                entity: if about.context() == v1::SensorContext::Tach { FAN } else { SYSTEM_BOARD },
                instance: 1,
                kind: sensor.kind,
                unit,
                percent: about.unit() == v1::SensorUnit::Percent,
                scale: sensor.scale,
                thresholds: sensor.thresholds,
                hysteresis: sensor.hysteresis,
                name,
            };
            self.records.push(full.encode(id));
        }
        let names = distinct(parts::of(snapshot).map(|part| named(&part.name, &part.id)));
        let mut instances = Instances::default();
        for (device, (part, name)) in parts::of(snapshot).zip(&names).enumerate() {
            let (Ok(device), Ok(id)) = (u8::try_from(device), u16::try_from(self.records.len() + 1)) else {
                break;
            };
            let entity = parts::entity(part.r#type());
            self.records.push(sdr::fru(id, device, entity, instances.next(entity), name));
        }
        self.sensors = found.into_iter().map(|(sensor, _)| sensor).collect();
        // Statistics of sensors are no change of a record.
        if self.records == before.0 {
            (self.made, self.generation) = (before.1, before.2);
        }
    }

    /// The scale that this sensor was last shown with.
    fn kept(&self, about: &v1::Sensor) -> Option<Scale> {
        let at = self.scales.binary_search_by(|kept| (*kept.id).cmp(about.id.as_str())).ok()?;
        self.scales.get(at).filter(|kept| kept.unit == about.unit()).map(|kept| kept.scale)
    }

    fn keep(&mut self, found: &[(Sensor, v1::Sensor)]) {
        // Those that went are remembered, for they may come back, but not whatever was there since the start.
        if self.scales.len() > sdr::SENSORS_MAX {
            self.scales.clear();
        }
        for (sensor, about) in found {
            let kept = Kept { id: Arc::clone(&sensor.id), unit: about.unit(), scale: sensor.scale };
            match self.scales.binary_search_by(|kept| kept.id.cmp(&sensor.id)) {
                Ok(at) => {
                    if let Some(place) = self.scales.get_mut(at) {
                        *place = kept;
                    }
                }
                Err(at) => self.scales.insert(at, kept),
            }
        }
    }

    /// The reservation: the same for all, so that no client ends that of another (§33.11 has it end when records change).
    pub(crate) fn reserve(&self) -> u16 {
        self.generation
    }

    pub(crate) fn holds(&self, reservation: u16) -> bool {
        reservation != 0 && self.generation == reservation
    }

    /// The sensor with this number.
    pub(crate) fn sensor(&self, lun: u8, number: u8) -> Option<&Sensor> {
        self.sensors.get(sdr::index(lun, number)?)
    }

    /// The id of the record of this sensor: that of the controller comes first.
    pub(crate) fn record(&self, id: &str) -> Option<u16> {
        let at = self.sensors.iter().position(|sensor| &*sensor.id == id)?;
        u16::try_from(at + 2).ok()
    }

    /// Logical unit and number of the sensor of this id.
    pub(crate) fn place(&self, id: &str) -> Option<(&Sensor, u8, u8)> {
        let at = self.sensors.iter().position(|sensor| &*sensor.id == id)?;
        let (lun, number) = sdr::place(at)?;
        Some((self.sensors.get(at)?, lun, number))
    }
}

/// The last instance of an entity in the whole system: what is above is counted within a device, or a container (§39.1, table 43-13).
const INSTANCE_MAX: u8 = 0x5f;

/// Counts the parts of each kind.
#[derive(Debug, Default)]
struct Instances(BTreeMap<u8, u8>);

impl Instances {
    /// Which one of its kind the next part is, from 1 on; there is no number for more than 95.
    fn next(&mut self, entity: u8) -> u8 {
        let instance = self.0.entry(entity).or_default();
        *instance = (*instance + 1).min(INSTANCE_MAX);
        *instance
    }
}

fn named<'a>(name: &'a str, id: &'a str) -> &'a str {
    if name.is_empty() { id } else { name }
}

/// Names as records have room for them. Clients tell things apart by their names, so where several are cut to the same one those after the first end with
/// a number.
fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let cut = |name: &str, room: usize| name.chars().take(room).collect::<String>();
    let mut taken = BTreeSet::new();
    names
        .map(|name| {
            let mut own = cut(name, sdr::NAME_MAX);
            let mut number = 1_u32;
            while !taken.insert(own.clone()) {
                number += 1;
                let end = format!("~{number}");
                own = cut(name, sdr::NAME_MAX.saturating_sub(end.len())) + &end;
            }
            own
        })
        .collect()
}

/// Entities (table 43-13).
pub(crate) const PROCESSOR: u8 = 3;
pub(crate) const SYSTEM_BOARD: u8 = 7;
pub(crate) const INLET: u8 = 55;
const FAN: u8 = 29;

/// The unit of a record (table 43-15), and what values are multiplied with for it.
fn unit(unit: v1::SensorUnit) -> (u8, f64) {
    match unit {
        v1::SensorUnit::Celsius => (1, 1.0),
        v1::SensorUnit::Fahrenheit => (2, 1.0),
        v1::SensorUnit::Kelvin => (3, 1.0),
        v1::SensorUnit::Volts => (4, 1.0),
        v1::SensorUnit::Amps => (5, 1.0),
        v1::SensorUnit::Watts => (6, 1.0),
        v1::SensorUnit::Joules => (7, 1.0),
        // It knows kilopascals alone.
        v1::SensorUnit::Pascals => (14, 0.001),
        v1::SensorUnit::Rpm => (18, 1.0),
        v1::SensorUnit::Hertz => (19, 1.0),
        v1::SensorUnit::Meters => (34, 1.0),
        v1::SensorUnit::Percent | v1::SensorUnit::LitersPerMinute | v1::SensorUnit::Unspecified => (0, 1.0),
    }
}

/// What a value of this unit is expected to be where no threshold says more.
fn range(unit: v1::SensorUnit) -> (f64, f64) {
    match unit {
        v1::SensorUnit::Celsius => (-128.0, 127.0),
        v1::SensorUnit::Fahrenheit | v1::SensorUnit::Kelvin => (0.0, 510.0),
        v1::SensorUnit::Rpm => (0.0, 25_500.0),
        v1::SensorUnit::Watts => (0.0, 2550.0),
        v1::SensorUnit::Percent => (0.0, 100.0),
        v1::SensorUnit::Volts => (0.0, 25.5),
        _ => (0.0, 255.0),
    }
}

/// From where to where a sensor is shown, in the record's unit, with room for thresholds that are set later.
fn span(unit: v1::SensorUnit, factor: f64, thresholds: &Thresholds, held: &[f64]) -> (f64, f64) {
    // What the API calls the range is what a value may be at all, which would make steps too large: here it is what one is expected to be, and what
    // is beyond is not available.
    let (mut low, mut high) = range(unit);
    (low, high) = (low * factor, high * factor);
    let upper = thresholds.all.iter().skip(3).flatten().copied().reduce(f64::max);
    if let Some(upper) = upper.filter(|upper| *upper > 0.0 && unit != v1::SensorUnit::Celsius) {
        high = upper * 1.5;
    }
    // What lies beyond all the same has room for half as much again.
    for value in held.iter().copied() {
        let more = value.abs() / 2.0;
        if value < low {
            low = value - more;
        }
        if value > high {
            high = value + more;
        }
    }
    (low, high)
}

/// A sensor with a value; `None` for one whose range no scale has. It has the scale it had, as long as that holds what it shows and its thresholds.
fn sensor(about: &Arc<v1::Sensor>, shown: Option<f64>, kept: Option<Scale>) -> Option<(Sensor, v1::Sensor)> {
    let Some(v1::sensor::Reading::AnalogReading(analog)) = &about.reading else { return None };
    let (_, factor) = unit(about.unit());
    let (lower, upper) =
        (analog.lower_thresholds.unwrap_or_default(), analog.upper_thresholds.unwrap_or_default());
    let all = [lower.warning, lower.critical, lower.fatal, upper.warning, upper.critical, upper.fatal];
    let thresholds = Thresholds { all: all.map(|value| value.map(|value| value * factor)) };
    let shown = shown.map(|value| value * factor);
    let held: Vec<f64> =
        thresholds.all.into_iter().chain([shown]).flatten().filter(|value| value.is_finite()).collect();
    let kind = match about.context() {
        v1::SensorContext::Temperature => 1,
        v1::SensorContext::Voltage => 2,
        v1::SensorContext::Current => 3,
        v1::SensorContext::Tach => 4,
        // Other, with a unit.
        _ => 0x0b,
    };
    let scale = match kept.filter(|kept| held.iter().all(|value| kept.holds(*value))) {
        Some(kept) => kept,
        None => {
            let (low, high) = span(about.unit(), factor, &thresholds, &held);
            Scale::fit(low, high)?
        }
    };
    let sensor = Sensor {
        id: about.id.as_str().into(),
        scale,
        factor,
        thresholds,
        hysteresis: analog.hysteresis * factor,
        kind,
    };
    Some((sensor, (**about).clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_cut_alike_are_told_apart() {
        let long = ["Memory channel A0 temperature", "Memory channel A0 voltage", "Fan", "Fan", "Fan~2"];
        assert_eq!(
            distinct(long.into_iter()),
            ["Memory channel A", "Memory channel~2", "Fan", "Fan~2", "Fan~2~2"]
        );
    }

    #[test]
    fn each_kind_of_part_is_counted_by_itself_and_none_is_of_a_device_or_a_container() {
        let mut instances = Instances::default();
        assert_eq!([3, 32, 32, 3].map(|entity| instances.next(entity)), [1, 1, 2, 2]);
        let last = (0..200).map(|_| instances.next(32)).last();
        assert_eq!(last, Some(0x5f));
    }

    #[test]
    fn a_reservation_is_for_all_and_ends_when_the_records_change() {
        let mut repository = Repository::default();
        assert!(!repository.holds(0));
        let model = model::Model::new(1);
        let snapshot = model.snapshot();
        repository.refresh(snapshot, 1);
        let (one, other) = (repository.reserve(), repository.reserve());
        assert!(repository.holds(one) && repository.holds(other));
        repository.refresh(snapshot, 2);
        assert!(repository.holds(one), "nothing has changed");
        let made = repository.made;
        repository.of = None;
        repository.refresh(snapshot, 3);
        assert!(repository.holds(one) && repository.made == made, "they say the same");
        (repository.of, repository.records) = (None, Vec::new());
        repository.refresh(snapshot, 3);
        assert!(!repository.holds(one) && repository.holds(repository.reserve()));
        let made = repository.made;
        (repository.of, repository.records) = (None, Vec::new());
        repository.refresh(snapshot, 3);
        assert!(repository.made > made, "a change within the same second");
    }
}
