//! What scans EEPROMs, drives and SMBIOS tables, and stores what it finds. Changes that are asked for go on beside that (`set`): a store that is silent
//! holds them, and nothing that is read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use board::Board;
use hw::{Parts, SysRoot};
use ipc::{CallContext, EventBuilder, Outbox, StateError, Status};
use schema::v1alpha1::Asset;
use service::{Clock, ErrorChain};
use smbios::Machine;
use tokio::task::JoinSet;
use units::{Lasting, Millis, Mono};

use crate::budget::Budget;
use crate::hosts::{Hosts, Said};
use crate::inventory::{Change, Inventory, Part, Told};
use crate::parts;
use crate::scan::{Buses, Item};
use crate::store::Store;
use crate::wire::{self, Place};

mod set;

/// How often SMBIOS tables are looked for.
pub(crate) const SCAN_EVERY: Duration = Duration::from_secs(2);
/// Every so many scans, EEPROMs of removable parts, and drives, are read again: 256 bytes take 25 ms of a bus.
const EEPROM_SCANS: u32 = 3;
/// A bus whose call takes longer is asked nothing for a client, who would wait for it with all that is asked after him.
const HELD_MAX: Duration = Duration::from_secs(1);
/// How long after the start an EEPROM that was there before may be found late: as long as sensormon waits for a device.
const LATE_MAX: Millis = Millis::from_secs(30);
/// The largest file of tables that is read: entry point and table.
const TABLES_MAX: u64 = smbios::MAX_TABLE as u64 + 4_096;

/// What the collector and the answers share.
pub(crate) type Shared = Arc<Mutex<Inventory>>;

/// The collector: begins what is to be read, and has what was read taken.
pub(crate) struct Collector {
    core: Arc<Core>,
    buses: Buses<Answer>,
    /// What follows from what was read, as far as it waits for something.
    background: JoinSet<()>,
    scans: u32,
}

/// What scans and changes have in common. What may wait for a part's turn or for the store holds none of the locks; who holds both, the inventory's first.
pub(crate) struct Core {
    board: Arc<Board>,
    inventory: Shared,
    store: Store,
    said: Arc<Parts>,
    root: SysRoot,
    outbox: Outbox,
    clock: Clock,
    state: Mutex<State>,
    /// Held by who stores what was read.
    saving: tokio::sync::Mutex<()>,
    /// Each part's changes, one at a time.
    turns: Mutex<BTreeMap<String, Turn>>,
}

/// Held by who changes a part.
type Turn = Arc<tokio::sync::Mutex<()>>;

struct State {
    /// Counts writes of EEPROMs; what was read before the last of its own is old.
    epoch: u64,
    written: BTreeMap<usize, u64>,
    /// What each file of tables was when it was last read.
    tables: BTreeMap<String, Option<(SystemTime, u64)>>,
    /// EEPROMs that were read.
    read: BTreeSet<usize>,
    /// Whether one was found to be otherwise than was known: all are looked at with the next scan.
    look: bool,
    /// Sources whose parts are not stored yet; with any of them the changes are not either.
    unsaved: BTreeSet<String>,
    silent: Silent,
    hosts: Hosts,
    /// Since when EEPROMs are looked for that were there before the start.
    awaited: BTreeMap<String, Mono>,
    /// Parts of which it is not stored yet that their owner's words are about them.
    bound: BTreeSet<String>,
    changes_unsaved: bool,
    failing: Lasting,
    budget: Budget,
}

/// The removable ones that did not answer at the last look. One that is busy for a moment was not pulled; and who comes and goes all the time would
/// fill the history, and wear the flash.
#[derive(Debug, Default)]
struct Silent(BTreeSet<String>);

impl Silent {
    fn answers(&mut self, from: &str) {
        self.0.remove(from);
    }

    /// It does not answer. Whether it did not at the look before either.
    fn is_gone(&mut self, from: &str) -> bool {
        !self.0.insert(from.to_owned())
    }
}

/// What an EEPROM holds while something is still to be in it, with the turn of its part.
struct Unfinished {
    index: usize,
    fru: board::Fru,
    bytes: Vec<u8>,
    _turn: tokio::sync::OwnedMutexGuard<()>,
}

/// What a collector works with.
pub(crate) struct Setup {
    pub(crate) board: Arc<Board>,
    /// What was stored of the parts, and what is shown of them from then on.
    pub(crate) inventory: Shared,
    pub(crate) store: Store,
    /// Below it are the devices and the hosts' tables.
    pub(crate) root: SysRoot,
    /// Where changes are told.
    pub(crate) outbox: Outbox,
    pub(crate) clock: Clock,
}

impl Collector {
    pub(crate) fn new(setup: Setup) -> Self {
        let said = Arc::new(Parts::new(&setup.board, &setup.root, crate::NAME));
        Self::with_parts(said, setup)
    }

    /// As [`Collector::new`], with these parts.
    fn with_parts(said: Arc<Parts>, setup: Setup) -> Self {
        let Setup { board, inventory, store, root, outbox, clock } = setup;
        let buses = Buses::new(&board);
        let state = State {
            epoch: 0,
            written: BTreeMap::new(),
            tables: BTreeMap::new(),
            read: BTreeSet::new(),
            look: false,
            unsaved: BTreeSet::new(),
            silent: Silent::default(),
            hosts: Hosts::new(board.hosts.len()),
            awaited: BTreeMap::new(),
            bound: BTreeSet::new(),
            changes_unsaved: false,
            failing: Lasting::default(),
            budget: Budget::default(),
        };
        let core = Core {
            board,
            inventory,
            store,
            said,
            root,
            outbox,
            clock,
            state: Mutex::new(state),
            saving: tokio::sync::Mutex::new(()),
            turns: Mutex::default(),
        };
        Self { core: Arc::new(core), buses, background: JoinSet::new(), scans: 0 }
    }

    /// What changes are asked of.
    pub(crate) fn core(&self) -> Arc<Core> {
        Arc::clone(&self.core)
    }

    /// What the board file says, and what an earlier daemon had no time to tell.
    pub(crate) fn begin(&mut self) {
        self.core.observed("board", vec![parts::of_board(&self.core.board)]);
        let untold = self.core.inventory().untold();
        for told in &untold {
            self.core.tell(told);
        }
    }

    /// Looks for tables, and begins to read whatever else may have changed.
    pub(crate) async fn scan(&mut self) {
        let again = self.scans.is_multiple_of(EEPROM_SCANS);
        self.scans = self.scans.wrapping_add(1);
        if std::mem::take(&mut self.core.state().look) || again {
            self.start();
        }
        for host in 0..self.core.board.hosts.len() {
            self.core.read_tables(host).await;
        }
        let core = self.core();
        self.spawn(async move { core.save_unless_busy().await });
    }

    /// What powermgr says of the hosts.
    pub(crate) fn hear(&mut self, said: Said) {
        let now = self.core.clock.now();
        for (id, power) in said {
            if let Some(host) = self.core.board.hosts.iter().position(|host| host.id.as_str() == id) {
                self.core.state().hosts.hear(now, host, power);
            }
        }
    }

    fn start(&mut self) {
        let board = &self.core.board;
        let wanted: BTreeSet<usize> =
            (0..board.frus.len()).filter(|index| self.core.is_wanted(*index)).collect();
        let (said, epoch) = (Arc::clone(&self.core.said), self.core.state().epoch);
        let ask = move |item| {
            let said = Arc::clone(&said);
            async move {
                match item {
                    Item::Fru(index) => Answer::Image(epoch, said.read(index).await),
                    Item::Drive(index) => Answer::Drive(said.ask(index).await),
                }
            }
        };
        self.buses.start(
            |item| match item {
                Item::Fru(index) => wanted.contains(&index),
                Item::Drive(_) => true,
            },
            ask,
        );
    }

    /// What was read next.
    pub(crate) async fn next(&mut self) -> Option<(Item, Answer)> {
        self.buses.next().await
    }

    /// Takes what was read. What follows from it and has to wait does so beside this.
    pub(crate) fn take(&mut self, item: Item, answer: Answer) {
        let (core, unfinished) = (self.core(), self.core.see(item, answer));
        self.spawn(async move {
            if let Some(unfinished) = unfinished {
                core.finish(unfinished).await;
            }
            core.save_unless_busy().await;
        });
    }

    fn spawn(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        while let Some(done) = self.background.try_join_next() {
            if let Err(error) = done {
                tracing::error!(%error, "background task failed");
            }
        }
        self.background.spawn(work);
    }

    /// Until nothing waits any more.
    #[cfg(test)]
    async fn settle(&mut self) {
        while self.background.join_next().await.is_some() {}
    }
}

impl Core {
    /// Why a part that has its power from this host may be silent without having been pulled.
    fn excuse(&self, host: Option<&board::Id>) -> Option<&'static str> {
        let host = self.board.hosts.iter().position(|known| Some(&known.id) == host)?;
        self.state().hosts.excuse(self.clock.now(), host)
    }

    /// Whether an EEPROM is to be read: it may be another's, it was not read yet, or something is to be in it.
    fn is_wanted(&self, index: usize) -> bool {
        let Some(fru) = self.board.frus.get(index) else { return false };
        let was_read = self.state().read.contains(&index);
        fru.removable || !was_read || self.inventory().stored(fru.id.as_str()).intent.is_some()
    }

    /// Reads a part of the board that was not read yet, for who asks for it meanwhile. Who asks has the part's turn.
    async fn read_now(&self, id: &str) -> Result<(), Status> {
        if let Some(index) = self.board.frus.iter().position(|fru| fru.id.as_str() == id) {
            self.is_free(index, id)?;
            let read = self.said.read(index).await;
            self.see_image(index, read);
        } else if let Some(index) = self.board.drives.iter().position(|drive| drive.id.as_str() == id) {
            let answer = self.said.ask(index).await;
            self.see_drive(index, answer);
        }
        Ok(())
    }

    /// Whether the bus of an EEPROM may be asked at once.
    fn is_free(&self, index: usize, id: &str) -> Result<(), Status> {
        match self.said.held(index).filter(|held| *held > HELD_MAX) {
            None => Ok(()),
            Some(held) => {
                let text = format!("the EEPROM of {id}: its bus has not answered for {} s", held.as_secs());
                Err(Status::unavailable(text).with_reason("HARDWARE_FAILED"))
            }
        }
    }

    /// Takes what was read. Returns what is to be finished before it counts.
    fn see(&self, item: Item, answer: Answer) -> Option<Unfinished> {
        match (item, answer) {
            (Item::Fru(index), Answer::Image(epoch, read)) => {
                // What was read before the part was written is no news.
                if self.state().written.get(&index).is_some_and(|written| *written > epoch) {
                    return None;
                }
                match read {
                    Ok(bytes) => self.unfinished(index, bytes),
                    Err(error) => {
                        self.see_image(index, Err(error));
                        None
                    }
                }
            }
            (Item::Drive(index), Answer::Drive(answer)) => {
                self.see_drive(index, answer);
                None
            }
            _ => None,
        }
    }

    /// An image of which something is still to be done, unless somebody is at it already; any other is taken as it is.
    fn unfinished(&self, index: usize, bytes: Vec<u8>) -> Option<Unfinished> {
        let fru = self.board.frus.get(index)?;
        let is_intended = self.inventory().stored(fru.id.as_str()).intent.is_some();
        if is_intended && let Ok(turn) = self.turn(fru.id.as_str()).try_lock_owned() {
            return Some(Unfinished { index, fru: fru.clone(), bytes, _turn: turn });
        }
        self.see_image(index, Ok(bytes));
        None
    }

    fn see_drive(&self, index: usize, answer: Result<(nvme::Identity, nvme::Status), hal::Error>) {
        let Some(drive) = self.board.drives.get(index) else { return };
        let from = format!("nvme-{}", drive.id);
        let before = self.inventory().parts_of(&from).into_iter().next();
        let excuse = self.excuse(drive.host.as_ref());
        let part = match answer {
            Ok((identity, status)) => {
                self.state().silent.answers(&from);
                parts::of_drive(drive, &identity, status, before.as_ref())
            }
            Err(error) if self.was_pulled(&from, &error, drive.removable, excuse) => parts::no_drive(drive),
            Err(error) => {
                let why = excuse.map_or_else(|| ErrorChain(&error).to_string(), str::to_owned);
                return self.not_read(&from, parts::no_drive(drive), &why, false);
            }
        };
        self.observed(&from, vec![part]);
    }

    /// Whether what does not answer was pulled.
    fn was_pulled(&self, from: &str, error: &hal::Error, removable: bool, excuse: Option<&str>) -> bool {
        if excuse.is_some() {
            // It was not silent while it had power.
            self.state().silent.answers(from);
            return false;
        }
        error.is_absence() && removable && self.is_gone(from)
    }

    /// What could not be read is as it was, and says `why` that is old. That it `is_lost` is told, where it was read before.
    fn not_read(&self, from: &str, part: Part, why: &str, is_lost: bool) {
        if self.inventory().parts_of(from).is_empty() {
            // It is on the board, and nothing more is known of it.
            self.observed(from, vec![Part { present: true, unread: true, ..part }]);
        }
        if !is_lost {
            return self.inventory().mark_stale(from, why);
        }
        let now = self.now_ms();
        let changes = {
            let mut inventory = self.inventory();
            let changes = inventory.lose(from, why, now);
            if !changes.is_empty() {
                let mut state = self.state();
                state.changes_unsaved = true;
                state.unsaved.insert(from.to_owned());
            }
            changes
        };
        self.report(&changes, "");
    }

    /// An EEPROM was read, or could not be.
    fn see_image(&self, index: usize, read: Result<Vec<u8>, hal::Error>) {
        let Some(fru) = self.board.frus.get(index) else { return };
        match read {
            Ok(bytes) => self.saw(index, fru, &bytes),
            Err(error) => self.missed(index, fru, &error),
        }
    }

    /// What an EEPROM holds.
    fn saw(&self, index: usize, fru: &board::Fru, bytes: &[u8]) {
        let from = format!("fru-{}", fru.id);
        {
            let mut state = self.state();
            state.read.insert(index);
            state.silent.answers(&from);
        }
        self.observed(&from, vec![parts::of_image(fru, bytes)]);
    }

    /// An EEPROM could not be read.
    fn missed(&self, index: usize, fru: &board::Fru, error: &hal::Error) {
        let from = format!("fru-{}", fru.id);
        let excuse = self.excuse(fru.host.as_ref()).or_else(|| self.is_late(&from, error));
        if self.was_pulled(&from, error, fru.removable, excuse) {
            return self.observed(&from, vec![parts::absent(fru)]);
        }
        self.state().read.remove(&index);
        let why = excuse.map_or_else(|| ErrorChain(error).to_string(), str::to_owned);
        self.not_read(&from, parts::absent(fru), &why, excuse.is_none() && !fru.removable);
    }

    /// Why an EEPROM that was there before the start may not be found yet: its driver may be bound late, after a bus or a multiplexer was.
    fn is_late(&self, from: &str, error: &hal::Error) -> Option<&'static str> {
        if !error.is_absence() || !self.inventory().is_awaited(from) {
            return None;
        }
        let now = self.clock.now();
        let since = *self.state().awaited.entry(from.to_owned()).or_insert(now);
        (now.since(since) < LATE_MAX).then_some("it was not found yet since the controller started")
    }

    fn is_gone(&self, from: &str) -> bool {
        let known = self.inventory().parts_of(from).iter().any(|part| part.present);
        self.state().silent.is_gone(from) || !known
    }

    async fn read_tables(&self, host: usize) {
        let Some(host) = self.board.hosts.get(host).map(|host| host.id.as_str().to_owned()) else { return };
        let path = self.root.path().join(hw::tables_of(&host));
        let known = self.state().tables.get(&host).copied().flatten();
        let Ok(Some((stamp, bytes))) = tokio::task::spawn_blocking(move || changed(&path, known)).await
        else {
            return;
        };
        self.state().tables.insert(host.clone(), Some(stamp));
        let from = format!("smbios-{host}");
        match Machine::read_dump(&bytes) {
            Ok(machine) => {
                tracing::info!(
                    host,
                    processors = machine.processors.len(),
                    memory = machine.memory.len(),
                    "read SMBIOS tables of host"
                );
                let breaks_off = (!machine.whole).then_some(parts::BREAKS_OFF);
                let was_known = self.inventory().is_known(&from);
                self.observe(&from, parts::of_tables(&host, &machine), breaks_off);
                if !was_known {
                    self.tell_known(&host, &from);
                }
            }
            Err(error) => {
                tracing::warn!(host, %error, "cannot parse SMBIOS tables of host");
                self.inventory()
                    .mark_stale(&from, &format!("the tables of the host cannot be read: {error}"));
            }
        }
    }

    /// The first look at the parts of a host is no change of any; who shows parts learns by this that there are some.
    fn tell_known(&self, host: &str, from: &str) {
        let now = self.now_ms();
        let Some(count) = self.inventory().tell_known(from, now) else { return };
        let event = EventBuilder::new(crate::NAME, "inventory", host, "named")
            .message(format!("{host}: its firmware names {count} parts"));
        self.outbox.event(event.at(self.clock.wall()));
    }

    /// Puts in the inventory what a source says, and tells what changed.
    fn observed(&self, from: &str, parts: Vec<Part>) {
        self.observe(from, parts, None);
    }

    /// The same; `breaks_off` says why the source may have more than it names.
    fn observe(&self, from: &str, parts: Vec<Part>, breaks_off: Option<&str>) {
        let changes = {
            let now = self.now_ms();
            let mut inventory = self.inventory();
            let before = inventory.to_store(from);
            let bound: Vec<String> =
                parts.iter().filter(|part| inventory.bind(part)).map(|part| part.id.clone()).collect();
            let changes = match breaks_off {
                Some(why) => inventory.observe_begun(from, parts, why, now),
                None => inventory.observe(from, parts, now),
            };
            // While the inventory is held: who stores it sees all of that or nothing.
            let mut state = self.state();
            state.bound.extend(bound);
            state.changes_unsaved |= !changes.is_empty();
            if inventory.to_store(from) != before {
                state.unsaved.insert(from.to_owned());
            }
            changes
        };
        self.report(&changes, "");
    }

    /// Tells of a change that somebody asked for, unless it was told before.
    fn tell(&self, told: &Told) {
        let is_new = {
            let mut inventory = self.inventory();
            let is_new = inventory.tell(&told.change);
            self.state().changes_unsaved |= is_new;
            is_new
        };
        if is_new {
            self.report(std::slice::from_ref(&told.change), &told.request_id);
        }
    }

    fn report(&self, changes: &[Change], request_id: &str) {
        for change in changes {
            tracing::info!(asset = change.id, what = change.what.word(), "{}", change.message);
            let place = self.inventory().entry(&change.id).map(|entry| Place::of(&entry.part, &self.board));
            self.outbox.event(wire::event(change, place.unwrap_or_default(), request_id));
        }
    }

    /// Stores what is not stored yet, unless somebody is at it: what he does not store has its turn with the next scan.
    async fn save_unless_busy(&self) {
        if let Ok(_saving) = self.saving.try_lock() {
            self.save_all().await;
        }
    }

    /// Stores what is not stored yet; what fails is tried again with the next scan.
    async fn save(&self) {
        let _saving = self.saving.lock().await;
        self.save_all().await;
    }

    async fn save_all(&self) {
        if let Err(error) = self.try_save_all().await {
            return self.failed(&error);
        }
        let now = self.clock.now();
        if let Some(said) = self.state().failing.works(now) {
            tracing::info!(lasted = %said.lasts, "inventory stored again");
        }
    }

    async fn try_save_all(&self) -> Result<(), StateError> {
        loop {
            // Before the parts: what is seen there now may be another.
            let held = self.save_bound().await?;
            // Before the parts as well: once they are stored as they are now nobody sees that they were others.
            let is_changed = std::mem::take(&mut self.state().changes_unsaved);
            if is_changed {
                let changes = self.inventory().changes().cloned().collect();
                if let Err(error) = self.store.put_changes(changes).await {
                    self.state().changes_unsaved = true;
                    return Err(error);
                }
            }
            let (from, parts) = {
                let inventory = self.inventory();
                let mut state = self.state();
                if state.changes_unsaved || !state.bound.is_subset(&held) {
                    // What was seen meanwhile goes before its part as well.
                    continue;
                }
                let is_held = |from: &str| {
                    let of = |id: &String| inventory.entry(id).is_some_and(|entry| entry.from == from);
                    held.iter().any(of)
                };
                let Some(from) = state.unsaved.iter().find(|from| !is_held(from.as_str())).cloned() else {
                    return Ok(());
                };
                state.unsaved.remove(&from);
                let parts = inventory.to_store(&from);
                (from, parts)
            };
            if let Err(error) = self.store.put_parts(&from, parts).await {
                self.state().unsaved.insert(from);
                return Err(error);
            }
        }
    }

    /// Stores of which parts their owners' words are. Returns those that somebody changes, who stores that as well: until then their sources are not stored.
    async fn save_bound(&self) -> Result<BTreeSet<String>, StateError> {
        let mut held = BTreeSet::new();
        loop {
            let id = self.state().bound.difference(&held).next().cloned();
            let Some(id) = id else { return Ok(held) };
            let Ok(_turn) = self.turn(&id).try_lock_owned() else {
                held.insert(id);
                continue;
            };
            self.state().bound.remove(&id);
            let owned = self.inventory().stored(&id);
            if let Err(error) = self.store.put_owned(&id, owned).await {
                self.state().bound.insert(id);
                return Err(error);
            }
        }
    }

    fn failed(&self, error: &StateError) {
        let now = self.clock.now();
        if let Some(said) = self.state().failing.fails(now) {
            let error = error as &dyn std::error::Error;
            tracing::warn!(error, times = said.times, lasts = %said.lasts, "cannot store inventory: retrying");
        }
    }

    /// The turn of a part.
    fn turn(&self, id: &str) -> Turn {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(id.to_owned()).or_default())
    }

    fn shown(&self, id: &str) -> Result<Asset, Status> {
        let inventory = self.inventory();
        let entry =
            inventory.entry(id).ok_or_else(|| Status::not_found(format!("there is no asset {id:?}")))?;
        Ok(wire::asset(&inventory, entry))
    }

    fn inventory(&self) -> MutexGuard<'_, Inventory> {
        self.inventory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        let since = self.clock.wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// What a bus gave.
pub(crate) enum Answer {
    /// An image, with the number of the write it follows.
    Image(u64, Result<Vec<u8>, hal::Error>),
    Drive(Result<(nvme::Identity, nvme::Status), hal::Error>),
}

/// Nothing is done for a caller who has been told that the time is over, and may have asked for the opposite since.
pub(crate) fn in_time(context: &CallContext) -> Result<(), Status> {
    if context.is_over() {
        return Err(Status::deadline_exceeded("the time was over before it was begun: nothing was done"));
    }
    Ok(())
}

/// What a file was when it was read, and its bytes.
type Read = ((SystemTime, u64), Vec<u8>);

/// The bytes of a file, if it is another than it was. A file that is not there is none.
fn changed(path: &PathBuf, known: Option<(SystemTime, u64)>) -> Option<Read> {
    let about = std::fs::metadata(path).ok()?;
    let stamp = (about.modified().ok()?, about.len());
    if known == Some(stamp) || about.len() > TABLES_MAX {
        return None;
    }
    Some((stamp, std::fs::read(path).ok()?))
}

#[cfg(test)]
mod sets;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_when_it_is_another() {
        let dir = std::env::temp_dir().join(format!("inventory-{}", std::process::id()));
        std::fs::write(&dir, b"one").unwrap();
        let (stamp, bytes) = changed(&dir, None).unwrap();
        assert_eq!(bytes, b"one");
        assert!(changed(&dir, Some(stamp)).is_none());
        std::fs::write(&dir, b"three").unwrap();
        assert_eq!(changed(&dir, Some(stamp)).unwrap().1, b"three");
        std::fs::remove_file(&dir).unwrap();
        assert!(changed(&dir, None).is_none());
    }

    #[test]
    fn one_that_does_not_answer_once_is_not_gone() {
        let mut silent = Silent::default();
        for _ in 0..3 {
            assert!(!silent.is_gone("fru-psu1"));
            silent.answers("fru-psu1");
        }
        assert!(!silent.is_gone("fru-psu1"));
        assert!(silent.is_gone("fru-psu1") && silent.is_gone("fru-psu1"));
    }
}
