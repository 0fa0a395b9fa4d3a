//! What readers see.

use std::collections::VecDeque;
use std::sync::Arc;

use schema::v1alpha1 as v1;

use crate::change::{Change, Cursor};
use crate::domain::{Domain, Each};
use crate::item::Operation;
use crate::quality::{Quality, State};
use crate::readings::{Polls, Reading, Readings};
use crate::recent::Recent;
use crate::table::{Row, Table, View};

/// Names of values that went which are remembered, for streams that go on.
const REMEMBERED: usize = 256;

/// How a domain stands.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// Whether its values can be relied on.
    pub state: State,
    /// When its owner last said what is true, milliseconds since 1970; zero when it never did.
    pub confirmed_ms: u64,
    /// When the state, or something that holds for the whole domain, last changed.
    pub change: Change,
}

impl Default for Status {
    fn default() -> Self {
        Self { state: State::Starting, confirmed_ms: 0, change: Change::NONE }
    }
}

/// Everything that is known at one moment. It does not change; a clone costs some twenty counters, as all is shared.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(crate) life: u64,
    pub(crate) change: Change,
    pub(crate) statuses: Each<Status>,
    pub(crate) daemons: Arc<Table<v1::Daemon>>,
    pub(crate) system: Arc<Table<v1::SystemInfo>>,
    pub(crate) hosts: Arc<Table<v1::Host>>,
    pub(crate) chassis: Arc<Table<v1::Chassis>>,
    pub(crate) controllers: Arc<Table<v1::ManagementController>>,
    pub(crate) sensors: Arc<Table<v1::Sensor>>,
    pub(crate) readings: Arc<Readings>,
    pub(crate) polls: Arc<Polls>,
    pub(crate) zones: Arc<Table<v1::ThermalZone>>,
    pub(crate) fans: Arc<Table<v1::CoolingDevice>>,
    pub(crate) leds: Arc<Table<v1::Led>>,
    pub(crate) assets: Arc<Table<v1::Asset>>,
    pub(crate) accounts: Arc<Table<v1::AccountName>>,
    pub(crate) operations: Arc<Recent<Operation>>,
    pub(crate) events: Arc<Recent<v1::Event>>,
    pub(crate) profile: v1::ThermalProfile,
    pub(crate) lamp_test_until: Option<prost_types::Timestamp>,
    /// What went, oldest first.
    gone: Arc<VecDeque<(Change, Domain, Arc<str>)>>,
    /// The newest of what went and is not remembered.
    forgotten: Change,
}

/// The values of one domain.
#[derive(Debug)]
pub struct Collection<'a, T> {
    domain: Domain,
    status: Status,
    table: &'a Table<T>,
}

// Not derived: that would ask the same of `T`.
impl<T> Clone for Collection<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Collection<'_, T> {}

impl<'a, T> Collection<'a, T> {
    /// The value of this name.
    pub fn get(self, id: &str) -> Option<View<'a, T>> {
        self.table.row(id).map(|row| view(self.domain, self.status, row))
    }

    /// All values, in their owner's order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = View<'a, T>> {
        self.table.rows().iter().map(move |row| view(self.domain, self.status, row))
    }

    /// How many there are.
    pub fn len(self) -> usize {
        self.table.rows().len()
    }

    /// Whether there are none; while the domain is starting that means nothing.
    pub fn is_empty(self) -> bool {
        self.table.rows().is_empty()
    }

    /// How the domain stands.
    pub fn state(self) -> State {
        self.status.state
    }

    /// When any of it, or what it is worth, last changed.
    pub fn change(self) -> Change {
        self.table.newest().max(self.status.change)
    }

    /// How many values its owner has beyond the bounds.
    pub fn left_out(self) -> usize {
        self.table.left_out()
    }
}

fn view<T>(domain: Domain, status: Status, row: &Row<T>) -> View<'_, T> {
    View {
        value: &row.value,
        source: domain.owner(),
        confirmed_ms: status.confirmed_ms,
        changed_ms: row.changed_ms,
        quality: status.state.over(row.quality),
        change: row.change.max(status.change),
    }
}

/// A sensor: what it is, and what it shows.
#[derive(Clone, Copy, Debug)]
pub struct SensorView<'a> {
    /// Its id.
    pub id: &'a str,
    /// What it is and what it is judged by; `None` until that was told. What it shows is not in it.
    pub about: Option<&'a Arc<v1::Sensor>>,
    reading: Reading,
    state: State,
    confirmed_ms: u64,
    change: Change,
}

impl SensorView<'_> {
    /// What it shows; the last known while the quality is stale.
    pub fn value(&self) -> Option<f64> {
        self.reading.value()
    }

    /// What that is worth.
    pub fn quality(&self) -> Quality {
        self.state.over(self.reading.quality)
    }

    /// Reason it is not good, as far as the sensor is the cause; why the whole domain is not, its state says.
    pub fn reason(&self) -> v1::SensorReason {
        self.reading.reason
    }

    /// How the sensor is, all in one word: not known while what it shows is stale.
    pub fn status(&self) -> v1::SensorStatus {
        match self.quality() {
            Quality::Stale => v1::SensorStatus::Unknown,
            _ => self.reading.status,
        }
    }

    /// When the value was measured, milliseconds since 1970; zero when it never was. A new time alone is no change.
    pub fn measured_ms(&self) -> u64 {
        self.reading.measured_ms
    }

    /// When the daemon last told readings, milliseconds since 1970: what did not change is not in a message, and showed the same then.
    pub fn confirmed_ms(&self) -> u64 {
        self.confirmed_ms
    }

    /// The daemon that reads it.
    pub fn source(&self) -> &'static str {
        Domain::Readings.owner()
    }

    /// When it, or what it is worth, last changed.
    pub fn change(&self) -> Change {
        self.change
    }
}

/// What changed after some moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Domains whose state changed: with it what each value is worth may have.
    pub statuses: Vec<Domain>,
    /// Values that are new or changed, by name. A sensor's reading is of [`Domain::Readings`]; an operation, of [`Domain::Hosts`], is not here.
    pub changed: Vec<(Domain, Arc<str>)>,
    /// Values that went. One of them may be there again, and is then among those that changed.
    pub gone: Vec<(Domain, Arc<str>)>,
}

impl Snapshot {
    /// Nothing is known.
    pub(crate) fn new(life: u64) -> Self {
        Self {
            life,
            change: Change::NONE,
            statuses: Each::new(|_| Status::default()),
            daemons: Arc::default(),
            system: Arc::default(),
            hosts: Arc::default(),
            chassis: Arc::default(),
            controllers: Arc::default(),
            sensors: Arc::default(),
            readings: Arc::default(),
            polls: Arc::default(),
            zones: Arc::default(),
            fans: Arc::default(),
            leds: Arc::default(),
            assets: Arc::default(),
            accounts: Arc::default(),
            operations: Arc::default(),
            events: Arc::default(),
            profile: v1::ThermalProfile::Unspecified,
            lamp_test_until: None,
            gone: Arc::default(),
            forgotten: Change::NONE,
        }
    }

    /// The number of the newest change.
    pub fn change(&self) -> Change {
        self.change
    }

    /// This moment: the ETag of the whole, and where a stream goes on.
    pub fn cursor(&self) -> Cursor {
        self.at(self.change)
    }

    /// The same for a change: the ETag of a value, or of a collection.
    pub fn at(&self, change: Change) -> Cursor {
        Cursor { life: self.life, change }
    }

    /// How a domain stands.
    pub fn status(&self, domain: Domain) -> Status {
        *self.statuses.of(domain)
    }

    /// Domains nothing is known of yet.
    pub fn starting(&self) -> impl Iterator<Item = Domain> {
        self.statuses.iter().filter(|(_, status)| status.state == State::Starting).map(|(domain, _)| domain)
    }

    fn rows<'a, T>(&'a self, domain: Domain, table: &'a Table<T>) -> Collection<'a, T> {
        Collection { domain, status: self.status(domain), table }
    }

    /// Daemons. The operator's words on them are shown at once, the rest of what it says of them within half a minute.
    pub fn daemons(&self) -> Collection<'_, v1::Daemon> {
        self.rows(Domain::Daemons, &self.daemons)
    }

    /// What this system is.
    pub fn system(&self) -> Option<View<'_, v1::SystemInfo>> {
        self.rows(Domain::System, &self.system).iter().next()
    }

    /// Hosts.
    pub fn hosts(&self) -> Collection<'_, v1::Host> {
        self.rows(Domain::Hosts, &self.hosts)
    }

    /// Chassis.
    pub fn chassis(&self) -> Collection<'_, v1::Chassis> {
        self.rows(Domain::Chassis, &self.chassis)
    }

    /// Management controllers.
    pub fn controllers(&self) -> Collection<'_, v1::ManagementController> {
        self.rows(Domain::Controllers, &self.controllers)
    }

    /// Thermal zones.
    pub fn zones(&self) -> Collection<'_, v1::ThermalZone> {
        self.rows(Domain::Zones, &self.zones)
    }

    /// The profile of thermal control. When it changes, [`Domain::Zones`] does.
    pub fn thermal_profile(&self) -> v1::ThermalProfile {
        self.profile
    }

    /// What cools.
    pub fn fans(&self) -> Collection<'_, v1::CoolingDevice> {
        self.rows(Domain::Fans, &self.fans)
    }

    /// LEDs.
    pub fn leds(&self) -> Collection<'_, v1::Led> {
        self.rows(Domain::Leds, &self.leds)
    }

    /// When the lamp test ends, while there is one. When it changes, [`Domain::Leds`] does.
    pub fn lamp_test_until(&self) -> Option<prost_types::Timestamp> {
        self.lamp_test_until
    }

    /// The parts of the machine.
    pub fn assets(&self) -> Collection<'_, v1::Asset> {
        self.rows(Domain::Assets, &self.assets)
    }

    /// Accounts: who there is, and in which role. Whoever reads this decides who may see it.
    pub fn accounts(&self) -> Collection<'_, v1::AccountName> {
        self.rows(Domain::Accounts, &self.accounts)
    }

    /// The firmware of controllers and hosts: whose it is, and what.
    pub fn firmware(&self) -> impl Iterator<Item = (Domain, &str, &v1::Firmware)> {
        let of_controllers = self.controllers.rows().iter();
        let of_controllers = of_controllers
            .filter_map(|row| Some((Domain::Controllers, &*row.id, row.value.firmware.as_ref()?)));
        let of_hosts = self.hosts.rows().iter();
        let of_hosts =
            of_hosts.filter_map(|row| Some((Domain::Hosts, &*row.id, row.value.firmware.as_ref()?)));
        of_controllers.chain(of_hosts)
    }

    /// What the controller's own network is like, in its daemon's own words; `None` where that does not run.
    pub fn network(&self) -> Option<View<'_, v1::Daemon>> {
        self.daemons().get("netmgr")
    }

    /// What sensors there are, without what they show.
    pub fn sensor_descriptions(&self) -> Collection<'_, v1::Sensor> {
        self.rows(Domain::Sensors, &self.sensors)
    }

    /// The sensor of this id.
    pub fn sensor(&self, id: &str) -> Option<SensorView<'_>> {
        let (id, reading) = self.readings.get(id)?;
        Some(self.sensor_view(id, reading))
    }

    /// All sensors, in the order of the board file.
    pub fn sensors(&self) -> impl Iterator<Item = SensorView<'_>> {
        self.readings.iter().map(|(id, reading)| self.sensor_view(id, reading))
    }

    /// When what any sensor shows, or what that is worth, last changed.
    pub fn readings_change(&self) -> Change {
        self.readings.newest().max(self.status(Domain::Readings).change)
    }

    fn sensor_view<'a>(&'a self, id: &'a Arc<str>, reading: &Reading) -> SensorView<'a> {
        let (shown, described) = (self.status(Domain::Readings), self.status(Domain::Sensors));
        let row = self.sensors.row(id);
        let about = row.map_or(Change::NONE, |row| row.change);
        let bus = row.and_then(|row| row.value.bus.as_deref()).unwrap_or_default();
        let interval = row.and_then(|row| row.value.interval.as_ref()).map_or(0, |span| {
            let rest = u64::try_from(span.nanos).unwrap_or(0) / 1_000_000;
            u64::try_from(span.seconds).unwrap_or(0).saturating_mul(1000).saturating_add(rest)
        });
        SensorView {
            id,
            about: row.map(|row| &row.value),
            reading: reading.seen(&self.polls, bus, interval),
            state: shown.state,
            confirmed_ms: shown.confirmed_ms,
            change: reading.change.max(shown.change).max(about).max(described.change),
        }
    }

    /// The newest power operations, oldest first, with those that run.
    pub fn operations(&self) -> impl DoubleEndedIterator<Item = View<'_, Operation>> {
        let status = self.status(Domain::Hosts);
        self.operations.rows().map(move |row| view(Domain::Hosts, status, row))
    }

    /// The operation of this id.
    pub fn operation(&self, id: &str) -> Option<View<'_, Operation>> {
        self.operations.row(id).map(|row| view(Domain::Hosts, self.status(Domain::Hosts), row))
    }

    /// The newest events, oldest first. What has happened does not become untrue: their quality is good, and the state of the domain says
    /// whether one may be missing.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = View<'_, v1::Event>> {
        let status = Status { state: State::Live, change: Change::NONE, ..self.status(Domain::Events) };
        self.events.rows().map(move |row| view(Domain::Events, status, row))
    }

    /// What changed after `cursor`; `None` when that cannot be said any more, and all is to be read.
    pub fn since(&self, cursor: Cursor) -> Option<Changes> {
        let after = cursor.change;
        if cursor.life != self.life || after > self.change || after < self.forgotten {
            return None;
        }
        let mut changes = Changes::default();
        if after == self.change {
            return Some(changes);
        }
        let stood = self.statuses.iter().filter(|(_, status)| status.change > after);
        changes.statuses.extend(stood.map(|(domain, _)| domain));
        let out = &mut changes.changed;
        pick(Domain::Daemons, &self.daemons, after, out);
        pick(Domain::System, &self.system, after, out);
        pick(Domain::Hosts, &self.hosts, after, out);
        pick(Domain::Chassis, &self.chassis, after, out);
        pick(Domain::Controllers, &self.controllers, after, out);
        pick(Domain::Sensors, &self.sensors, after, out);
        if self.readings.newest() > after {
            let changed = self.readings.iter().filter(|(_, reading)| reading.change > after);
            out.extend(changed.map(|(id, _)| (Domain::Readings, Arc::clone(id))));
        }
        pick(Domain::Zones, &self.zones, after, out);
        pick(Domain::Fans, &self.fans, after, out);
        pick(Domain::Leds, &self.leds, after, out);
        pick(Domain::Assets, &self.assets, after, out);
        pick(Domain::Accounts, &self.accounts, after, out);
        let happened = self.events.rows().filter(|row| row.change > after);
        out.extend(happened.map(|row| (Domain::Events, Arc::clone(&row.id))));
        let gone = self.gone.iter().filter(|(change, ..)| *change > after);
        changes.gone.extend(gone.map(|(_, domain, id)| (*domain, Arc::clone(id))));
        Some(changes)
    }

    /// Remembers what went.
    pub(crate) fn went(&mut self, domain: Domain, ids: Vec<Arc<str>>, change: Change) {
        if ids.is_empty() {
            return;
        }
        let gone = Arc::make_mut(&mut self.gone);
        gone.extend(ids.into_iter().map(|id| (change, domain, id)));
        while gone.len() > REMEMBERED {
            if let Some((change, ..)) = gone.pop_front() {
                self.forgotten = change;
            }
        }
    }
}

fn pick<T>(domain: Domain, table: &Table<T>, after: Change, out: &mut Vec<(Domain, Arc<str>)>) {
    if table.newest() > after {
        let changed = table.rows().iter().filter(|row| row.change > after);
        out.extend(changed.map(|row| (domain, Arc::clone(&row.id))));
    }
}
