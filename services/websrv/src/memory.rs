//! Answers from memory: what sensors show is read from the live model, what others say of hosts, chassis, fans and parts is shared for a moment, and an
//! answer that many ask for is made once for as long as nothing of it changes.
//!
//! ```text
//!  snapshot ─► Memory::supply ─► Exchange        made once per change, shared by all exchanges
//!  Exchange ─► Ready::keep ─► Ready::find        bytes, as long as what they were made of is the same
//! ```
//!
//! It must never show what is not true any more: what is not [`State::Live`] is asked of its owner, and so is all that a client may just have changed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use model::{Change, Domain, Quality, Reason, SensorView, Snapshot, State};
use prost::Message as _;
use redfish::{Need, Rollup, Supply};
use schema::time::timestamp;
use schema::v1alpha1 as api;
use tokio::time::Instant;

/// So long after a change was asked of a daemon all are asked themselves: what they tell of that may still be on its way.
const SETTLES: Duration = Duration::from_secs(2);
/// So long what was made of the same values is used: when they were measured is no change, and yet shown.
const KEPT: Duration = Duration::from_secs(1);
/// So long an answer of an owner holds for others if it tells nothing meanwhile: not all that changes by itself is an event, such as a boot override that
/// was used, the parts a host names when it comes up, or how fast a fan turns.
const BRIEFLY: Duration = Duration::from_millis(250);
/// So long it is believed which consoles there are: they are only shown beside, and are the board file's.
const BESIDE: Duration = Duration::from_secs(5);
/// Whose drives and watchdog timers are: they are in no domain of the model.
const BEYOND: [&str; 2] = ["mediasrv", "ipmisrv"];
/// Answers that are kept, and their bytes together.
const ANSWERS: usize = 128;
const ANSWER_BYTES: usize = 2 * 1024 * 1024;
/// The longest answer that is kept, and the longest question.
const ANSWER_MAX: usize = 512 * 1024;
const KEY_MAX: usize = 512;

/// What the values of a need were when something was made of them.
pub(crate) type Stamp = (Change, Change);

/// What is in memory of the needs of Redfish.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    made: Mutex<BTreeMap<Need, (Stamp, Instant, Supply)>>,
    /// How the parts were, and of which readings, fans and zones that is.
    rollup: Mutex<Option<([Change; 4], Arc<Rollup>)>>,
    /// When a daemon was last asked for a change of what is shown.
    changed: Mutex<Option<Instant>>,
}

/// The domains of a need.
fn domains(need: Need) -> &'static [Domain] {
    match need {
        // What their firmware lets be set is in no domain, and its owner is that of the hosts.
        Need::Hosts | Need::Firmware => &[Domain::Hosts],
        Need::Chassis => &[Domain::Chassis],
        Need::Controllers => &[Domain::Controllers],
        Need::System => &[Domain::System],
        Need::Sensors => &[Domain::Sensors, Domain::Readings],
        Need::Fans => &[Domain::Fans],
        Need::Zones => &[Domain::Zones],
        Need::Leds => &[Domain::Leds],
        Need::Assets => &[Domain::Assets],
        _ => &[],
    }
}

/// Whether the model knows that the owner of a need is gone or late.
pub(crate) fn is_silent(need: Need, snapshot: &Snapshot) -> bool {
    let is_late = |state| matches!(state, State::Stale(Reason::Gone | Reason::Overdue));
    domains(need).iter().any(|domain| is_late(snapshot.status(*domain).state))
}

/// How long an answer of the owner's is good for others; `None`: as long as the model says the same.
fn held_for(need: Need) -> Option<Duration> {
    match need {
        // Told as they are read, and what they are by events.
        Need::Sensors | Need::System => None,
        Need::Consoles | Need::Screens => Some(BESIDE),
        _ => Some(BRIEFLY),
    }
}

impl Memory {
    fn made(&self) -> MutexGuard<'_, BTreeMap<Need, (Stamp, Instant, Supply)>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) -> MutexGuard<'_, Option<Instant>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A change is asked of a daemon, or has been.
    pub(crate) fn changes(&self, owner: &str) {
        let shown =
            Domain::ALL.into_iter().filter(|domain| !matches!(domain, Domain::Accounts | Domain::Events));
        if shown.map(Domain::owner).any(|other| other == owner) || BEYOND.contains(&owner) {
            *self.changed() = Some(Instant::now());
        }
    }

    /// How what is measured and what cools is; `None` while one of those who know does not say. It is looked at once for each change.
    pub(crate) fn rollup(&self, snapshot: &Snapshot) -> Option<Arc<Rollup>> {
        let is_there =
            |domain: Domain| snapshot.daemons().iter().any(|daemon| daemon.value.name == domain.owner());
        for domain in [Domain::Sensors, Domain::Readings, Domain::Fans, Domain::Zones] {
            if snapshot.status(domain).state != State::Live && is_there(domain) {
                return None;
            }
        }
        let (sensors, readings) = (snapshot.sensor_descriptions().change(), snapshot.readings_change());
        let made_of = [sensors, readings, snapshot.fans().change(), snapshot.zones().change()];
        let mut known = self.rollup.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, rollup)) = known.as_ref()
            && *of == made_of
        {
            return Some(Arc::clone(rollup));
        }
        let mut rollup = Rollup::default();
        for view in snapshot.sensors() {
            let host = view.about.and_then(|about| about.host.as_deref());
            rollup.sensor(host, quality(view.quality()), view.status());
        }
        snapshot.fans().iter().for_each(|fan| rollup.fan(fan.value));
        snapshot.zones().iter().for_each(|zone| rollup.zone(zone.value));
        let rollup = Arc::new(rollup);
        *known = Some((made_of, Arc::clone(&rollup)));
        Some(rollup)
    }

    /// What the values of a need are now; `None` when they are to be asked of their owner.
    pub(crate) fn stamp(&self, need: Need, snapshot: &Snapshot) -> Option<Stamp> {
        let none = Change::NONE;
        if self.changed().is_some_and(|at| at.elapsed() < SETTLES) {
            return None;
        }
        if domains(need).iter().any(|domain| snapshot.status(*domain).state != State::Live) {
            return None;
        }
        Some(match need {
            Need::Hosts => (snapshot.hosts().change(), none),
            Need::Chassis => (snapshot.chassis().change(), none),
            Need::Controllers => (snapshot.controllers().change(), none),
            Need::System => (snapshot.system()?.change, none),
            Need::Sensors => (snapshot.sensor_descriptions().change(), snapshot.readings_change()),
            Need::Fans => (snapshot.fans().change(), none),
            Need::Zones => (snapshot.zones().change(), none),
            Need::Leds => (snapshot.leds().change(), none),
            Need::Assets => (snapshot.assets().change(), none),
            Need::Consoles | Need::Screens | Need::Media | Need::Watchdog => (none, none),
            _ => return None,
        })
    }

    /// The answer of a need's owner, without asking it, and what it was made of; `None` where it has to be asked.
    pub(crate) fn supply(&self, need: Need, snapshot: &Snapshot) -> Option<(Supply, Stamp)> {
        let stamp = self.stamp(need, snapshot)?;
        let held = held_for(need);
        if let Some((made_of, at, supply)) = self.made().get(&need)
            && *made_of == stamp
            && at.elapsed() < held.unwrap_or(KEPT)
        {
            return Some((supply.clone(), stamp));
        }
        if held.is_some() {
            return None;
        }
        let supply = make(need, snapshot)?;
        self.made().insert(need, (stamp, Instant::now(), supply.clone()));
        Some((supply, stamp))
    }

    /// Remembers what an owner has answered, if others may share that. `asked` is what the model said when the owner was asked, and when that was: its
    /// answer is as old as the question, and none at all for others if anything was changed since.
    pub(crate) fn heard(
        &self,
        need: Need,
        asked: Option<(Stamp, Instant)>,
        answer: &[u8],
    ) -> Option<(Supply, Stamp)> {
        let (stamp, at) = asked?;
        let is_old = held_for(need).is_none_or(|held| at.elapsed() >= held);
        if is_old || self.changed().is_some_and(|changed| changed >= at) {
            return None;
        }
        let supply = match need {
            Need::Hosts => Supply::Hosts(Arc::new(api::ListHostsResponse::decode(answer).ok()?)),
            Need::Chassis => Supply::Chassis(Arc::new(api::ListChassisResponse::decode(answer).ok()?)),
            Need::Controllers => {
                let answer = api::ListManagementControllersResponse::decode(answer).ok()?;
                Supply::Controllers(Arc::new(answer))
            }
            Need::Fans => Supply::Fans(Arc::new(api::ListCoolingDevicesResponse::decode(answer).ok()?)),
            Need::Zones => Supply::Zones(Arc::new(api::ListThermalZonesResponse::decode(answer).ok()?)),
            Need::Leds => Supply::Leds(Arc::new(api::ListLedsResponse::decode(answer).ok()?)),
            Need::Assets => Supply::Assets(Arc::new(api::ListAssetsResponse::decode(answer).ok()?)),
            Need::Media => Supply::Media(Arc::new(api::ListMediaResponse::decode(answer).ok()?)),
            Need::Watchdog => Supply::Watchdog(Arc::new(api::GetHostWatchdogResponse::decode(answer).ok()?)),
            Need::Consoles => Supply::Consoles(Arc::new(api::ListConsolesResponse::decode(answer).ok()?)),
            Need::Screens => Supply::Screens(Arc::new(api::ListScreensResponse::decode(answer).ok()?)),
            _ => return None,
        };
        let mut made = self.made();
        // One that was asked earlier and answered later is not put over a newer one.
        if made.get(&need).is_none_or(|(_, newest, _)| *newest <= at) {
            made.insert(need, (stamp, at, supply.clone()));
        }
        Some((supply, stamp))
    }
}

/// What the owner would answer.
fn make(need: Need, snapshot: &Snapshot) -> Option<Supply> {
    Some(match need {
        Need::System => {
            let system_info = Some(api::SystemInfo::clone(snapshot.system()?.value));
            Supply::System(Arc::new(api::GetSystemInfoResponse { system_info }))
        }
        Need::Sensors => {
            // What has no room in the model is missing there.
            if snapshot.sensor_descriptions().left_out() != 0 {
                return None;
            }
            let sensors = snapshot.sensors().map(|view| sensor(&view)).collect::<Option<_>>()?;
            Supply::Sensors(Arc::new(api::ListSensorsResponse { sensors, ..Default::default() }))
        }
        _ => return None,
    })
}

fn quality(quality: Quality) -> api::SensorQuality {
    match quality {
        Quality::Good => api::SensorQuality::Good,
        Quality::Stale => api::SensorQuality::Stale,
        Quality::Unavailable => api::SensorQuality::Unavailable,
        Quality::Failed => api::SensorQuality::Failed,
    }
}

/// A sensor with what it shows, as sensormon would say it; `None` while it is not known what it is.
fn sensor(view: &SensorView<'_>) -> Option<api::Sensor> {
    let mut sensor = api::Sensor::clone(view.about?);
    if let Some(api::sensor::Reading::AnalogReading(reading)) = &mut sensor.reading {
        reading.value = view.value();
    }
    sensor.quality = quality(view.quality()).into();
    sensor.reason = view.reason().into();
    sensor.status = Some(view.status().into());
    sensor.last_reading_timestamp = (view.measured_ms() != 0).then(|| timestamp(view.measured_ms()));
    Some(sensor)
}

/// An answer as bytes, and once more as gzip when somebody takes that.
#[derive(Debug)]
pub(crate) struct Kept {
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
    pub packed: OnceLock<Option<Bytes>>,
}

impl Kept {
    fn bytes(&self) -> usize {
        let packed = self.packed.get().and_then(Option::as_ref);
        self.body.len() + packed.map_or(0, Bytes::len)
    }
}

#[derive(Debug)]
struct Entry {
    made_of: Vec<(Need, Stamp)>,
    at: Instant,
    kept: Arc<Kept>,
}

/// Answers that were made, by what was asked.
#[derive(Debug, Default)]
pub(crate) struct Ready(Mutex<HashMap<String, Entry>>);

impl Ready {
    fn entries(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to a question, if what it was made of is the same still.
    pub(crate) fn find(&self, key: &str, memory: &Memory, snapshot: &Snapshot) -> Option<Arc<Kept>> {
        let entries = self.entries();
        let entry = entries.get(key)?;
        // What owners said was up to this old already when the answer was made.
        let held = entry.made_of.iter().filter_map(|(need, _)| held_for(*need)).min();
        if entry.at.elapsed() >= held.unwrap_or(KEPT).min(KEPT) {
            return None;
        }
        let same = |(need, stamp): &(Need, Stamp)| memory.stamp(*need, snapshot).as_ref() == Some(stamp);
        entry.made_of.iter().all(same).then(|| Arc::clone(&entry.kept))
    }

    /// Keeps an answer to a question of that time, unless there is one to a later question. When there is no room all others go: what is asked for is
    /// there again at once.
    pub(crate) fn keep(&self, key: String, at: Instant, made_of: Vec<(Need, Stamp)>, kept: Kept) {
        if key.len() > KEY_MAX || kept.body.len() > ANSWER_MAX {
            return;
        }
        let mut entries = self.entries();
        if entries.get(&key).is_some_and(|entry| entry.at > at) {
            return;
        }
        let bytes: usize = entries.values().map(|entry| entry.kept.bytes()).sum();
        if entries.len() >= ANSWERS || bytes + kept.body.len() > ANSWER_BYTES {
            entries.clear();
        }
        entries.insert(key, Entry { made_of, at, kept: Arc::new(kept) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Answer, Failure, Input, Model};
    use units::Mono;

    /// A model to which all that is known answers.
    fn model(value: f64) -> Model {
        let mut model = Model::new(1);
        let mut out = Vec::new();
        model.step(Mono::ZERO, 0, Input::Tick, &mut out);
        for _ in 0..100 {
            let Some(query) = out.pop() else { return model };
            let answer = match query.domain {
                Domain::Daemons => {
                    let daemon = |name: &str| api::Daemon {
                        name: name.into(),
                        state: api::DaemonState::Ready.into(),
                        ..Default::default()
                    };
                    Ok(Answer::Daemons(["statemgr", "sensormon"].map(daemon).to_vec()))
                }
                Domain::Hosts => Ok(Answer::Hosts(vec![host("system")])),
                Domain::Sensors => Ok(Answer::Sensors(vec![api::Sensor {
                    id: "inlet".into(),
                    bus: Some("i2c0".into()),
                    reading: Some(api::sensor::Reading::AnalogReading(Default::default())),
                    ..Default::default()
                }])),
                Domain::Readings => Ok(Answer::Readings(api::SensorReadings {
                    epoch: 1,
                    sequence: 1,
                    full: true,
                    ids: vec!["inlet".into()],
                    numbers: vec![0],
                    values: vec![value],
                    qualities: vec![api::SensorQuality::Good.into()],
                    statuses: vec![api::SensorStatus::Enabled.into()],
                    ages_ms: vec![0],
                    ..Default::default()
                })),
                Domain::System => Ok(Answer::System(Box::new(system("1000", 1)))),
                _ => Err(Failure::Gone),
            };
            model.step(Mono::ZERO, 0, Input::Answered(query, answer), &mut out);
        }
        panic!("the model asks for ever");
    }

    /// A system whose operator takes so much memory and which listens at this port.
    fn system(memory: &str, port: u32) -> api::SystemInfo {
        let metadata = [("operator.memory_pss_bytes".to_owned(), memory.to_owned())];
        let listener = api::Listener { name: "ssh".into(), address: "::".into(), port };
        api::SystemInfo {
            metadata: metadata.into_iter().collect(),
            listeners: vec![listener],
            ..Default::default()
        }
    }

    fn host(name: &str) -> api::Host {
        api::Host { name: name.into(), ..Default::default() }
    }

    #[test]
    fn what_is_followed_is_supplied_from_memory_and_what_is_not_live_or_was_just_changed_is_not() {
        let (memory, model) = (Memory::default(), model(41.5));
        let snapshot = model.snapshot();
        let Some((Supply::Sensors(sensors), _)) = memory.supply(Need::Sensors, snapshot) else { panic!() };
        let Some(api::sensor::Reading::AnalogReading(reading)) = &sensors.sensors[0].reading else {
            panic!()
        };
        assert_eq!((reading.value, sensors.sensors[0].quality()), (Some(41.5), api::SensorQuality::Good));
        let Some((Supply::Sensors(again), _)) = memory.supply(Need::Sensors, snapshot) else { panic!() };
        assert!(Arc::ptr_eq(&sensors, &again), "made once");
        assert!(memory.supply(Need::Fans, snapshot).is_none(), "its daemon is not there");
        assert!(memory.supply(Need::Users, snapshot).is_none(), "it is not in the model");
        memory.changes("usermgr");
        assert!(memory.supply(Need::Sensors, snapshot).is_some());
        memory.changes("ledmgr");
        assert!(memory.supply(Need::Sensors, snapshot).is_none());
    }

    #[test]
    fn an_answer_of_an_owner_s_is_shared_for_a_moment_only() {
        let (memory, model) = (Memory::default(), model(1.0));
        let snapshot = model.snapshot();
        assert!(memory.supply(Need::Hosts, snapshot).is_none(), "it is asked first");
        let answer = api::ListHostsResponse { hosts: vec![host("system")] }.encode_to_vec();
        let asked = |ago: Duration| {
            let at = Instant::now().checked_sub(ago).unwrap();
            memory.stamp(Need::Hosts, snapshot).map(|stamp| (stamp, at))
        };
        assert!(memory.heard(Need::Hosts, asked(BRIEFLY), &answer).is_none(), "it was long under way");
        assert!(memory.heard(Need::Hosts, asked(Duration::ZERO), &answer).is_some());
        assert!(memory.supply(Need::Hosts, snapshot).is_some());
        // As if it had been heard long ago.
        if let Some((_, at, _)) = memory.made().get_mut(&Need::Hosts) {
            *at = at.checked_sub(BRIEFLY).unwrap();
        }
        assert!(memory.supply(Need::Hosts, snapshot).is_none());
        assert!(
            memory.heard(Need::Hosts, None, &answer).is_none(),
            "what was asked while it was changed is nobody else's"
        );
    }

    #[test]
    fn an_answer_is_good_as_long_as_what_it_was_made_of_is_the_same() {
        let (memory, ready) = (Memory::default(), Ready::default());
        let (before, after) = (model(1.0), model(2.0));
        let made_of =
            |model: &Model| vec![(Need::Sensors, memory.stamp(Need::Sensors, model.snapshot()).unwrap())];
        let kept = || Kept { headers: Vec::new(), body: Bytes::from_static(b"{}"), packed: OnceLock::new() };
        let now = Instant::now();
        ready.keep("a".into(), now, made_of(&before), kept());
        assert!(ready.find("a", &memory, before.snapshot()).is_some());
        assert!(ready.find("b", &memory, before.snapshot()).is_none());
        let mut newer = after;
        let mut out = Vec::new();
        let told = api::SensorReadings {
            epoch: 1,
            sequence: 2,
            numbers: vec![0],
            values: vec![3.0],
            qualities: vec![api::SensorQuality::Good.into()],
            statuses: vec![api::SensorStatus::Enabled.into()],
            ages_ms: vec![0],
            ..Default::default()
        };
        newer.step(Mono::ZERO, 0, Input::Readings(Box::new(told)), &mut out);
        assert!(ready.find("a", &memory, newer.snapshot()).is_none(), "a reading changed");
        for number in 0..10 * ANSWERS {
            ready.keep(format!("{number}"), now, made_of(&before), kept());
        }
        assert!(ready.entries().len() <= ANSWERS);
        memory.changes("statemgr");
        assert!(ready.find("a", &memory, before.snapshot()).is_none());
    }

    #[test]
    fn how_much_memory_the_operator_takes_makes_no_answer_void() {
        let (memory, ready) = (Memory::default(), Ready::default());
        let mut model = model(1.0);
        let made_of = vec![(Need::System, memory.stamp(Need::System, model.snapshot()).unwrap())];
        let kept = Kept { headers: Vec::new(), body: Bytes::from_static(b"{}"), packed: OnceLock::new() };
        ready.keep("a".into(), Instant::now(), made_of, kept);
        // The model asks the operator again.
        for (seconds, info, is_good) in [(10, system("2000", 1), true), (20, system("2000", 2), false)] {
            let (now, mut out) = (Mono::from_millis(seconds * 1000), Vec::new());
            model.step(now, 0, Input::Refresh("operator".into()), &mut out);
            let query = out.iter().copied().find(|query| query.domain == Domain::System).unwrap();
            let answer = Ok(Answer::System(Box::new(info)));
            model.step(now, 0, Input::Answered(query, answer), &mut out);
            assert_eq!(ready.find("a", &memory, model.snapshot()).is_some(), is_good, "after {seconds} s");
        }
    }

    #[test]
    fn a_sensor_that_shows_the_same_was_measured_when_its_bus_was_read_last() {
        let (memory, mut model) = (Memory::default(), model(41.5));
        let before = memory.stamp(Need::Sensors, model.snapshot());
        let told = api::SensorReadings {
            time: Some(timestamp(5_000)),
            epoch: 1,
            sequence: 2,
            bus: "i2c0".into(),
            ..Default::default()
        };
        model.step(Mono::ZERO, 5_000, Input::Readings(Box::new(told)), &mut Vec::new());
        let snapshot = model.snapshot();
        assert_eq!(memory.stamp(Need::Sensors, snapshot), before, "a time alone makes no answer void");
        let Some((Supply::Sensors(sensors), _)) = memory.supply(Need::Sensors, snapshot) else { panic!() };
        assert_eq!(sensors.sensors[0].last_reading_timestamp, Some(timestamp(5_000)));
    }
}
