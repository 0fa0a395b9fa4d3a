//! The one writer: scans EEPROMs and SMBIOS tables, stores what it finds, and sets what is asked for, one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use board::Board;
use data_encoding::HEXLOWER;
use fru::{Area, Image, Name};
use hw::{Parts, SysRoot};
use ipc::{CallContext, Outbox, StateError, Status};
use schema::v1alpha1::{Asset, SetAssetInfoRequest};
use service::{Clock, ErrorChain};
use smbios::Machine;
use units::Lasting;

use crate::hosts::{Hosts, Said};
use crate::inventory::{Change, ChangeKind, Intent, Inventory, OwnerData, Part, Source, Told};
use crate::parts;
use crate::scan::{Buses, Item};
use crate::store::Store;
use crate::wire;

/// How often SMBIOS tables are looked for.
pub(crate) const SCAN_EVERY: Duration = Duration::from_secs(2);
/// Every so many scans, EEPROMs of removable parts, and drives, are read again: 256 bytes take 25 ms of a bus.
const EEPROM_SCANS: u32 = 3;
/// When the store has been silent for as long while it is waited for, what is shown of parts is said to be old.
const SILENT: Duration = Duration::from_secs(3);
/// A bus whose call takes longer is asked nothing for a client, who would wait for it with all that is asked after him.
const HELD_MAX: Duration = Duration::from_secs(1);
/// The largest file of tables that is read: entry point and table.
const TABLES_MAX: u64 = smbios::MAX_TABLE as u64 + 4_096;

/// What the collector and the answers share.
pub(crate) type Shared = Arc<Mutex<Inventory>>;

/// The collector.
pub(crate) struct Collector {
    board: Arc<Board>,
    inventory: Shared,
    store: Store,
    said: Arc<Parts>,
    buses: Buses<Answer>,
    /// Counts writes of EEPROMs; what was read before the last of its own is old.
    epoch: u64,
    written: BTreeMap<usize, u64>,
    root: SysRoot,
    outbox: Outbox,
    clock: Clock,
    /// What each file of tables was when it was last read.
    tables: BTreeMap<String, Option<(SystemTime, u64)>>,
    /// EEPROMs that were read.
    read: BTreeSet<usize>,
    /// Sources whose parts are not stored yet; with any of them the changes are not either.
    unsaved: BTreeSet<String>,
    silent: Silent,
    hosts: Hosts,
    /// Parts of which it is not stored yet that their owner's words are about them.
    bound: BTreeSet<String>,
    changes_unsaved: bool,
    failing: Lasting,
    scans: u32,
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

impl Collector {
    pub(crate) fn new(
        board: Arc<Board>,
        inventory: Shared,
        store: Store,
        root: SysRoot,
        outbox: Outbox,
        clock: Clock,
    ) -> Self {
        let said = Arc::new(Parts::new(&board, &root, crate::NAME));
        let buses = Buses::new(&board);
        Self {
            inventory,
            store,
            said,
            buses,
            epoch: 0,
            written: BTreeMap::new(),
            root,
            outbox,
            clock,
            tables: BTreeMap::new(),
            read: BTreeSet::new(),
            unsaved: BTreeSet::new(),
            silent: Silent::default(),
            hosts: Hosts::new(board.hosts.len()),
            board,
            bound: BTreeSet::new(),
            changes_unsaved: false,
            failing: Lasting::default(),
            scans: 0,
        }
    }

    /// What the board file says.
    pub(crate) async fn begin(&mut self) {
        self.observed("board", vec![parts::of_board(&self.board)]);
    }

    /// Looks for tables, and begins to read whatever else may have changed.
    pub(crate) async fn scan(&mut self) {
        let again = self.scans.is_multiple_of(EEPROM_SCANS);
        self.scans = self.scans.wrapping_add(1);
        if again {
            self.start();
        }
        for host in 0..self.board.hosts.len() {
            self.read_tables(host).await;
        }
        self.save().await;
    }

    /// What powermgr says of the hosts.
    pub(crate) fn hear(&mut self, said: Said) {
        let now = self.clock.now();
        for (id, power) in said {
            if let Some(host) = self.board.hosts.iter().position(|host| host.id.as_str() == id) {
                self.hosts.hear(now, host, power);
            }
        }
    }

    /// Why a part that has its power from this host may be silent without having been pulled.
    fn excuse(&self, host: Option<&board::Id>) -> Option<&'static str> {
        let host = self.board.hosts.iter().position(|known| Some(&known.id) == host)?;
        self.hosts.excuse(self.clock.now(), host)
    }

    fn start(&mut self) {
        let wanted: BTreeSet<usize> =
            (0..self.board.frus.len()).filter(|index| self.is_wanted(*index)).collect();
        let (said, epoch) = (Arc::clone(&self.said), self.epoch);
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

    /// Whether an EEPROM is to be read: it may be another's, it was not read yet, or something is to be in it.
    fn is_wanted(&self, index: usize) -> bool {
        self.board.frus.get(index).is_some_and(|fru| {
            fru.removable
                || !self.read.contains(&index)
                || self.inventory().stored(fru.id.as_str()).intent.is_some()
        })
    }

    /// What was read next.
    pub(crate) async fn next(&mut self) -> Option<(Item, Answer)> {
        self.buses.next().await
    }

    /// Reads a part of the board that was not read yet, for who asks for it meanwhile.
    async fn read_now(&mut self, id: &str) -> Result<(), Status> {
        if let Some(index) = self.board.frus.iter().position(|fru| fru.id.as_str() == id) {
            self.is_free(index, id)?;
            let read = self.said.read(index).await;
            self.take_image(index, read).await;
        } else if let Some(index) = self.board.drives.iter().position(|drive| drive.id.as_str() == id) {
            let answer = self.said.ask(index).await;
            self.take_drive(index, answer).await;
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

    /// Takes what was read.
    pub(crate) async fn take(&mut self, item: Item, answer: Answer) {
        match (item, answer) {
            // What was read before the part was written is no news.
            (Item::Fru(index), Answer::Image(epoch, read))
                if self.written.get(&index).is_none_or(|written| *written <= epoch) =>
            {
                self.take_image(index, read).await;
            }
            (Item::Drive(index), Answer::Drive(answer)) => self.take_drive(index, answer).await,
            _ => {}
        }
        self.save().await;
    }

    async fn take_drive(&mut self, index: usize, answer: Result<(nvme::Identity, nvme::Status), hal::Error>) {
        let Some(drive) = self.board.drives.get(index).cloned() else { return };
        let from = format!("nvme-{}", drive.id);
        let before = self.inventory().parts_of(&from).into_iter().next();
        let excuse = self.excuse(drive.host.as_ref());
        let part = match answer {
            Ok((identity, status)) => {
                self.silent.answers(&from);
                parts::of_drive(&drive, &identity, status, before.as_ref())
            }
            Err(error) if self.was_pulled(&from, &error, drive.removable, excuse) => parts::no_drive(&drive),
            Err(error) => return self.not_read(&from, parts::no_drive(&drive), &error, excuse),
        };
        self.observed(&from, vec![part]);
    }

    /// Whether what does not answer was pulled.
    fn was_pulled(&mut self, from: &str, error: &hal::Error, removable: bool, excuse: Option<&str>) -> bool {
        if excuse.is_some() {
            // It was not silent while it had power.
            self.silent.answers(from);
            return false;
        }
        error.is_absence() && removable && self.is_gone(from)
    }

    /// What could not be read is as it was, and says why that is old.
    fn not_read(&mut self, from: &str, part: Part, error: &hal::Error, excuse: Option<&str>) {
        if self.inventory().parts_of(from).is_empty() {
            // It is on the board, and nothing more is known of it.
            self.observed(from, vec![Part { present: true, unread: true, ..part }]);
        }
        let why = excuse.map_or_else(|| ErrorChain(error).to_string(), str::to_owned);
        self.inventory().mark_stale(from, &why);
    }

    async fn take_image(&mut self, index: usize, read: Result<Vec<u8>, hal::Error>) {
        let Some(fru) = self.board.frus.get(index).cloned() else { return };
        let from = format!("fru-{}", fru.id);
        let excuse = self.excuse(fru.host.as_ref());
        let part = match read {
            Ok(bytes) => {
                self.read.insert(index);
                self.silent.answers(&from);
                let bytes = self.finish_intent(index, &fru, bytes).await;
                parts::of_image(&fru, &bytes)
            }
            Err(error) if self.was_pulled(&from, &error, fru.removable, excuse) => parts::absent(&fru),
            Err(error) => {
                self.read.remove(&index);
                return self.not_read(&from, parts::absent(&fru), &error, excuse);
            }
        };
        self.observed(&from, vec![part]);
    }

    fn is_gone(&mut self, from: &str) -> bool {
        let known = self.inventory().parts_of(from).iter().any(|part| part.present);
        self.silent.is_gone(from) || !known
    }

    async fn read_tables(&mut self, host: usize) {
        let Some(host) = self.board.hosts.get(host).map(|host| host.id.as_str().to_owned()) else { return };
        let path = self.root.path().join(hw::tables_of(&host));
        let known = self.tables.get(&host).copied().flatten();
        let Ok(Some((stamp, bytes))) = tokio::task::spawn_blocking(move || changed(&path, known)).await
        else {
            return;
        };
        self.tables.insert(host.clone(), Some(stamp));
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
                self.observe(&from, parts::of_tables(&host, &machine), breaks_off);
            }
            Err(error) => {
                tracing::warn!(host, %error, "cannot parse SMBIOS tables of host");
                self.inventory()
                    .mark_stale(&from, &format!("the tables of the host cannot be read: {error}"));
            }
        }
    }

    /// Puts in the inventory what a source says, and tells what changed.
    fn observed(&mut self, from: &str, parts: Vec<Part>) {
        self.observe(from, parts, None);
    }

    /// The same; `breaks_off` says why the source may have more than it names.
    fn observe(&mut self, from: &str, parts: Vec<Part>, breaks_off: Option<&str>) {
        let (bound, changes, differs) = {
            let now = self.now_ms();
            let mut inventory = self.inventory();
            let before = inventory.to_store(from);
            let bound: Vec<String> =
                parts.iter().filter(|part| inventory.bind(part)).map(|part| part.id.clone()).collect();
            let changes = match breaks_off {
                Some(why) => inventory.observe_begun(from, parts, why, now),
                None => inventory.observe(from, parts, now),
            };
            (bound, changes, inventory.to_store(from) != before)
        };
        self.bound.extend(bound);
        if differs {
            self.unsaved.insert(from.to_owned());
        }
        self.report(&changes, "");
    }

    /// Tells of a change that somebody asked for, unless it was told before.
    fn tell(&mut self, told: &Told) {
        if self.inventory().tell(&told.change) {
            self.report(std::slice::from_ref(&told.change), &told.request_id);
        }
    }

    fn report(&mut self, changes: &[Change], request_id: &str) {
        for change in changes {
            tracing::info!(asset = change.id, what = change.what.word(), "{}", change.message);
            self.outbox.event(wire::event(change, request_id));
            self.changes_unsaved = true;
        }
    }

    /// Stores what is not stored yet; what fails is tried again with the next scan.
    async fn save(&mut self) {
        // Before the parts: what is seen there now may be another.
        while let Some(id) = self.bound.pop_first() {
            let owned = self.inventory().stored(&id);
            if let Err(error) = self.put_owned(&id, owned).await {
                self.bound.insert(id);
                self.failed(&error);
                return;
            }
        }
        // Before the parts as well: once they are stored as they are now nobody sees that they were others.
        if self.changes_unsaved {
            let changes = self.inventory().changes().cloned().collect();
            match self.store.put_changes(changes).await {
                Ok(()) => self.changes_unsaved = false,
                Err(error) => {
                    self.failed(&error);
                    return;
                }
            }
        }
        while let Some(from) = self.unsaved.pop_first() {
            let parts = self.inventory().to_store(&from);
            if let Err(error) = self.store.put_parts(&from, parts).await {
                self.unsaved.insert(from);
                self.failed(&error);
                return;
            }
        }
        if let Some(said) = self.failing.works(self.clock.now()) {
            tracing::info!(lasted = %said.lasts, "inventory stored again");
        }
    }

    fn failed(&mut self, error: &StateError) {
        if let Some(said) = self.failing.fails(self.clock.now()) {
            let error = error as &dyn std::error::Error;
            tracing::warn!(error, times = said.times, lasts = %said.lasts, "cannot store inventory: retrying");
        }
    }

    /// A change of an EEPROM that was stored and perhaps not done: it is done, in the part it is meant for. Returns what the EEPROM holds then; what
    /// fails is tried again when it is read the next time.
    async fn finish_intent(&mut self, index: usize, fru: &board::Fru, now: Vec<u8>) -> Vec<u8> {
        let id = fru.id.as_str();
        let stored = self.inventory().stored(id);
        let Some(after) = stored.intent.as_ref().and_then(|intent| parts::completed(fru, &now, intent))
        else {
            return now;
        };
        if let Some((at, bytes)) = difference(&now, &after) {
            self.touched(index);
            if let Err(error) = self.write_checked(index, id, at, bytes, &after).await {
                tracing::warn!(asset = id, error = %ErrorChain(&error), "cannot write asset tag to EEPROM: retrying");
                return now;
            }
        }
        if let Some(told) = stored.intent.as_ref().and_then(|intent| intent.told.clone()) {
            // The daemon that was asked for it told nobody.
            self.observed(&format!("fru-{id}"), vec![parts::of_image(fru, &after)]);
            self.tell(&told);
            self.save().await;
        }
        let _ = self.keep(id, OwnerData { intent: None, ..stored }).await;
        after
    }

    /// What is read of an EEPROM before now counts no more.
    fn touched(&mut self, index: usize) {
        self.epoch = self.epoch.wrapping_add(1);
        self.written.insert(index, self.epoch);
    }

    /// Writes, reads back and compares.
    async fn write_checked(
        &self,
        index: usize,
        id: &str,
        at: usize,
        bytes: Vec<u8>,
        wanted: &[u8],
    ) -> Result<(), hal::Error> {
        self.said.write(index, at, bytes).await?;
        if self.said.read(index).await? == wanted {
            return Ok(());
        }
        Err(hal::Error::Invalid {
            what: format!("the EEPROM of {id}"),
            reason: "it does not keep what is written; it may be write-protected".to_owned(),
        })
    }

    /// Stores what the owner of a part says. No part is looked at meanwhile: once that takes long, all that can change is shown as old until it is
    /// read again.
    async fn put_owned(&mut self, id: &str, owned: OwnerData) -> Result<(), StateError> {
        let store = self.store.clone();
        let mut stored = Box::pin(store.put_owned(id, owned));
        if let Ok(stored) = tokio::time::timeout(SILENT, &mut stored).await {
            return stored;
        }
        tracing::warn!(asset = id, "store not responding: inventory reads paused");
        self.inventory().mark_all_stale("not read while the controller waits for its store");
        let stored = stored.await;
        // Read at once, whether it is read more than once or not.
        self.read.clear();
        self.tables.clear();
        self.scans = 0;
        stored
    }

    /// Stores what the owner of a part says, and from then on it counts.
    async fn keep(&mut self, id: &str, owned: OwnerData) -> Result<(), StateError> {
        let stored = self.put_owned(id, owned.clone()).await;
        stored.inspect_err(|error| self.failed(error))?;
        self.inventory().set(id, owned);
        Ok(())
    }

    /// Sets asset tag and location. Refused requests change nothing; what is answered is on the medium, or in the part.
    pub(crate) async fn set(
        &mut self,
        wanted: SetAssetInfoRequest,
        context: &CallContext,
    ) -> Result<Asset, Status> {
        let id = wanted.id.as_str();
        if self.inventory().entry(id).is_none() {
            self.read_now(id).await?;
            in_time(context)?;
        }
        let (part, was) = {
            let inventory = self.inventory();
            let Some(entry) = inventory.entry(id) else {
                let known: Vec<String> = inventory.entries().map(|entry| entry.part.id.clone()).collect();
                return Err(Status::no_such("asset", id, known.iter().map(String::as_str)));
            };
            if entry.part.serial.is_none()
                && matches!(entry.part.source, Source::Fru | Source::Nvme)
                && (!entry.part.present || !entry.stale.is_empty())
            {
                // Nobody knows which part it would belong to.
                let why = if entry.part.present { entry.stale.as_str() } else { "it is not there" };
                let status = Status::failed_precondition(format!("{id} was never read: {why}"));
                return Err(status.with_reason("ASSET_NOT_READ"));
            }
            (entry.part.clone(), inventory.owned(entry))
        };
        for (name, text) in [("asset_tag", &wanted.asset_tag), ("location", &wanted.location)] {
            if text.as_ref().is_some_and(|text| text.chars().any(char::is_control)) {
                return Err(Status::invalid_argument(format!("{name} has control characters"))
                    .with_reason("CONTROL_CHARACTER"));
            }
        }
        let text = |wanted: &Option<String>, was: &Option<String>| match wanted {
            Some(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            None => was.clone(),
        };
        let in_part = part.tag_in_part && part.source == Source::Fru;
        let tag_was =
            if in_part { part.asset_tag.clone() } else { was.asset_tag.clone().or(part.asset_tag.clone()) };
        let tag = text(&wanted.asset_tag, &tag_was);
        let location = text(&wanted.location, &was.location);
        let words = BTreeMap::from([
            ("asset tag", (tag_was.as_deref(), tag.as_deref())),
            ("location", (was.location.as_deref(), location.as_deref())),
        ]);
        let differs = parts::told(&words);
        // What is still to be in the EEPROM would undo it, whatever the part said when it was last read.
        let undone = in_part && wanted.asset_tag.is_some() && was.intent.is_some();
        if differs.is_empty() && !undone {
            return self.shown(id);
        }
        let stored_tag =
            if in_part || wanted.asset_tag.is_none() { was.asset_tag.clone() } else { tag.clone() };
        let serial = part.serial.clone().or(was.serial);
        // What is still to be in the EEPROM stays so.
        let mut owned = OwnerData { asset_tag: stored_tag, location, serial, intent: was.intent };
        let told = (!differs.is_empty()).then(|| Told {
            change: Change {
                id: id.to_owned(),
                name: part.name.clone(),
                what: ChangeKind::Set,
                at_ms: self.now_ms(),
                message: format!("{}: {differs}", part.name),
                was_serial: None,
                serial: None,
                by: Some(context.username().to_owned()).filter(|by| !by.is_empty()),
            },
            request_id: context.request_id.clone(),
        });
        if in_part && (tag != tag_was || undone) {
            owned.intent = None;
            let tag = tag.as_deref().unwrap_or_default();
            self.set_in_part(id, &mut owned, part.serial.as_deref(), tag, told.as_ref(), context).await?;
        } else {
            self.put_owned(id, owned.clone()).await?;
        }
        self.inventory().set(id, owned);
        if let Some(told) = &told {
            self.tell(told);
        }
        self.save().await;
        self.shown(id)
    }

    /// Writes the asset tag into the part. The bytes are stored first, with what is to be told of them: a loss of power in the middle leaves an image
    /// that is mended, and told of, when it is read the next time. `owned` has an intent afterwards when it could not be stored that there is none.
    async fn set_in_part(
        &mut self,
        id: &str,
        owned: &mut OwnerData,
        serial: Option<&str>,
        tag: &str,
        told: Option<&Told>,
        context: &CallContext,
    ) -> Result<(), Status> {
        let gone =
            || Status::failed_precondition(format!("{id} is not there")).with_reason("ASSET_NOT_PRESENT");
        let index = self.board.frus.iter().position(|fru| fru.id.as_str() == id).ok_or_else(gone)?;
        let fru = self.board.frus.get(index).cloned().ok_or_else(gone)?;
        let hardware = |error: hal::Error| {
            let text = format!("the EEPROM of {id}: {}", ErrorChain(&error));
            if error.is_absence() {
                return Status::failed_precondition(text).with_reason("ASSET_NOT_PRESENT");
            }
            Status::unavailable(text).with_reason("HARDWARE_FAILED")
        };
        self.is_free(index, id)?;
        let before = self.said.read(index).await.map_err(hardware)?;
        in_time(context)?;
        let stored = self.inventory().stored(id);
        let image = Image::read(&before).and_then(|image| image.with(Area::Product, Name::AssetTag, tag));
        let after = image.map_err(|error| match error {
            fru::Error::Character | fru::Error::TooLong | fru::Error::NoRoom => {
                Status::invalid_argument(format!("asset_tag: {error}")).with_reason("ASSET_TAG")
            }
            _ => Status::failed_precondition(format!("{id} cannot keep an asset tag: {error}"))
                .with_reason("FRU_DAMAGED"),
        })?;
        let part = parts::of_image(&fru, after.bytes());
        if part.serial.is_none() {
            // What is stored before it is written could end in any part of the kind.
            let text = format!("{id} has no serial number to know it by: it cannot keep an asset tag");
            return Err(Status::failed_precondition(text).with_reason("ASSET_WITHOUT_SERIAL_NUMBER"));
        }
        if let (Some(known), Some(found)) = (serial, part.serial.as_deref())
            && known != found
        {
            // It was exchanged since it was asked for.
            let text = format!("{id} is another part now: serial number {found}, was {known}");
            return Err(Status::aborted(text).with_reason("ASSET_REPLACED"));
        }
        let intent = |(at, bytes): (usize, Vec<u8>)| Intent {
            at,
            bytes: HEXLOWER.encode(&bytes),
            serial: part.serial.clone(),
            part_number: part.part_number.clone(),
            told: None,
        };
        let Some((at, bytes)) = difference(&before, after.bytes()) else {
            return Ok(self.put_owned(id, owned.clone()).await?);
        };
        let wanted = Some(Intent { told: told.cloned(), ..intent((at, bytes.clone())) });
        let intended = OwnerData { intent: wanted.clone(), ..owned.clone() };
        self.put_owned(id, intended.clone()).await?;
        if let Err(over) = in_time(context) {
            // The store took its time. Nothing is written yet; until the store has forgotten it, it is not to be.
            let undo = OwnerData { intent: difference(after.bytes(), &before).map(intent), ..stored.clone() };
            self.inventory().set(id, undo);
            let _ = self.keep(id, stored).await;
            return Err(over);
        }
        self.touched(index);
        if let Err(error) = self.write_checked(index, id, at, bytes, after.bytes()).await {
            return match self.restore(index, id, &before, after.bytes(), stored, intent).await {
                Ok(()) => Err(hardware(error)),
                Err(store) => {
                    // After a restart it would be written.
                    let text = format!("the EEPROM of {id}: {}; {store}", ErrorChain(&error));
                    Err(Status::unavailable(text).with_reason(ipc::OUTCOME_UNKNOWN))
                }
            };
        }
        self.inventory().set(id, intended);
        self.observed(&format!("fru-{id}"), vec![part]);
        // As long as the intent is stored, what is told of it cannot be lost.
        if let Some(told) = told {
            self.tell(told);
            self.save().await;
        }
        // What is left of the intent writes the same bytes again.
        if let Err(error) = self.put_owned(id, owned.clone()).await {
            self.failed(&error);
            owned.intent = wanted;
        }
        Ok(())
    }

    /// An EEPROM as it was before a write that failed. As long as it does not let itself be restored, that is what is intended.
    async fn restore(
        &mut self,
        index: usize,
        id: &str,
        before: &[u8],
        after: &[u8],
        was: OwnerData,
        intent: impl Fn((usize, Vec<u8>)) -> Intent,
    ) -> Result<(), StateError> {
        let Some((at, bytes)) = difference(after, before) else { return Ok(()) };
        let undo = OwnerData { intent: Some(intent((at, bytes.clone()))), ..was.clone() };
        // Before anything is stored or written: whatever fails from here on is tried again.
        self.inventory().set(id, undo.clone());
        if let Err(error) = self.write_checked(index, id, at, bytes, before).await {
            tracing::warn!(asset = id, error = %ErrorChain(&error), "cannot restore EEPROM after failed write: retrying");
            return self.put_owned(id, undo).await;
        }
        self.keep(id, was).await
    }

    fn shown(&self, id: &str) -> Result<Asset, Status> {
        let inventory = self.inventory();
        let entry =
            inventory.entry(id).ok_or_else(|| Status::not_found(format!("there is no asset {id:?}")))?;
        Ok(wire::asset(&inventory, entry))
    }

    fn inventory(&self) -> std::sync::MutexGuard<'_, Inventory> {
        self.inventory.lock().unwrap_or_else(PoisonError::into_inner)
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

/// From where to where two images of one length differ, and the bytes of the second there.
fn difference(before: &[u8], after: &[u8]) -> Option<(usize, Vec<u8>)> {
    let differ = |(a, b): (&u8, &u8)| a != b;
    let first = before.iter().zip(after).position(differ)?;
    let last = before.iter().zip(after).rposition(differ)?;
    Some((first, after.get(first..=last)?.to_vec()))
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
    fn only_what_differs_is_written() {
        assert_eq!(difference(&[1, 2, 3, 4, 5], &[1, 9, 3, 8, 5]), Some((1, vec![9, 3, 8])));
        assert_eq!(difference(&[1, 2], &[1, 2]), None);
        assert_eq!(difference(&[1, 2], &[1, 3]), Some((1, vec![3])));
    }

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
