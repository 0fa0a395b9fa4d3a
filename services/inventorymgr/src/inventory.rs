//! The inventory: parts as last seen, what their owner says of them, and what changed. Pure: what was read and when comes in, changes go out.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use units::{Allowance, Millis, Mono};

/// That a part went, became another or changed is told so often at once …
const TOLD_AT_ONCE: u32 = 8;
/// … and then once in this time: a loose contact would fill the history within hours, and wear the flash. What is stored although nothing is told has as
/// much besides.
const TOLD_EACH: Millis = Millis::from_secs(600);
/// Parts from one source; a host with more has them cut off.
pub(crate) const SOURCE_MAX: usize = 128;
/// Parts in all.
pub(crate) const PARTS_MAX: usize = 512;
/// Changes that are remembered.
pub(crate) const CHANGES_MAX: usize = 256;

/// What kind of part it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    System,
    Chassis,
    Board,
    Processor,
    Memory,
    Drive,
    NetworkInterface,
    PowerSupply,
    Slot,
    Firmware,
    #[default]
    Other,
}

/// Who says what is known of a part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Source {
    #[default]
    Board,
    Fru,
    Smbios,
    Nvme,
}

/// A part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Part {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) source: Source,
    pub(crate) host: String,
    pub(crate) present: bool,
    /// Nothing was ever read of it: it is on the board, and whether it is there is not known.
    pub(crate) unread: bool,
    pub(crate) manufacturer: Option<String>,
    pub(crate) product: Option<String>,
    pub(crate) part_number: Option<String>,
    pub(crate) serial: Option<String>,
    pub(crate) revision: Option<String>,
    pub(crate) sku: Option<String>,
    pub(crate) uuid: Option<String>,
    /// As it stands in the part.
    pub(crate) asset_tag: Option<String>,
    /// The asset tag is set in the part.
    pub(crate) tag_in_part: bool,
    /// Seconds of Unix time.
    pub(crate) made_at: Option<i64>,
    pub(crate) details: BTreeMap<String, String>,
    /// Hardware addresses of its network ports.
    pub(crate) mac_addresses: Vec<String>,
    /// What of it could not be believed.
    pub(crate) damaged: String,
    /// It cannot be pulled, was read before, and could not be when it was looked at last.
    pub(crate) lost: bool,
}

impl Part {
    /// Whether anything was read of it: one that never could be is known by its place only.
    fn says_something(&self) -> bool {
        [&self.manufacturer, &self.product, &self.part_number].into_iter().any(Option::is_some)
    }
}

/// A part in the inventory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) part: Part,
    /// What it was read from: `fru-<id>`, `nvme-<id>`, `smbios-<host>`, `board`.
    pub(crate) from: String,
    /// Why there is nothing newer; empty when it is as it is now.
    pub(crate) stale: String,
    /// When it was last read, milliseconds of Unix time; zero for not since the start.
    pub(crate) read_ms: u64,
    /// The part as it was told last, where that is not how it is: it comes and goes, and was told of too often. Told once there is room again, if it lasts.
    told: Option<Part>,
    /// The part as it is stored, where that is neither: nothing is told of what differs, and it differs too often.
    stored: Option<Part>,
}

impl Entry {
    /// As it is to be stored: as it was told last, so that a restart tells what was not told yet, and a part that comes and goes is not written each time.
    fn to_store(&self) -> &Part {
        self.stored.as_ref().or(self.told.as_ref()).unwrap_or(&self.part)
    }
}

/// What the owner of a part says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct OwnerData {
    pub(crate) asset_tag: Option<String>,
    pub(crate) location: Option<String>,
    /// The serial number of the part that asset tag and location belong to; none for a part that has none, and in records of before there was
    /// this field, until [`Inventory::bind`].
    pub(crate) serial: Option<String>,
    /// Bytes that are to be in its EEPROM: stored before they are written, gone once they are there. It was called `pending` when it did not say
    /// of which part.
    #[serde(alias = "pending")]
    pub(crate) intent: Option<Intent>,
    /// The last change of it, stored with it: who dies before it is told has it told by the next daemon.
    pub(crate) told: Option<Told>,
}

/// Bytes that are to be in the EEPROM of one part, and of no other that comes in its place. The first two fields alone, as a list, are what `pending`
/// was: such an intent is known by no serial number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Intent {
    /// From which place on.
    pub(crate) at: usize,
    /// The bytes, in hexadecimal.
    pub(crate) bytes: String,
    pub(crate) serial: Option<String>,
    pub(crate) part_number: Option<String>,
    /// What is told once it is done, by whoever does it.
    pub(crate) told: Option<Told>,
}

/// A change that is to be told, with the request it comes of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) change: Change,
    pub(crate) request_id: String,
}

impl OwnerData {
    /// Whether it says anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.asset_tag.is_none() && self.location.is_none() && self.intent.is_none()
    }

    /// What of it is about this part: of another it says nothing. Another is one with another serial number, and one without any, unless it is
    /// damaged or says nothing at all: what could not be read may be the one.
    pub(crate) fn about(self, part: &Part) -> Self {
        let other = match (&self.serial, &part.serial) {
            (Some(its), Some(serial)) => its != serial,
            (Some(_), None) => part.damaged.is_empty() && part.says_something(),
            (None, _) => false,
        };
        if other { Self { intent: self.intent, told: self.told, ..Self::default() } } else { self }
    }
}

/// What happened to a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ChangeKind {
    Added,
    Removed,
    Replaced,
    Changed,
    Set,
}

impl ChangeKind {
    /// As an event calls it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Replaced => "replaced",
            Self::Changed => "changed",
            Self::Set => "set",
        }
    }
}

/// A change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) what: ChangeKind,
    /// Milliseconds of Unix time.
    pub(crate) at_ms: u64,
    pub(crate) message: String,
    pub(crate) was_serial: Option<String>,
    pub(crate) serial: Option<String>,
    pub(crate) by: Option<String>,
}

/// What the machine is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inventory {
    entries: BTreeMap<String, Entry>,
    owned: BTreeMap<String, OwnerData>,
    changes: VecDeque<Change>,
    /// How often parts may be told of, those that were; and how often they may be written without that.
    budgets: BTreeMap<String, Allowance>,
    writes: BTreeMap<String, Allowance>,
    /// How often it may be told of sources that what they name is known, of those that were told of.
    known: BTreeMap<String, Allowance>,
}

impl Inventory {
    /// The inventory as it was stored: parts by source, what owners said, changes from the oldest on.
    pub(crate) fn restored(
        parts: Vec<(String, Vec<Part>)>,
        owned: BTreeMap<String, OwnerData>,
        changes: Vec<Change>,
    ) -> Self {
        let mut inventory = Self { owned, changes: changes.into(), ..Self::default() };
        for (from, parts) in parts {
            for part in parts.into_iter().take(SOURCE_MAX) {
                let stale = "not read since the controller started".to_owned();
                inventory
                    .entries
                    .insert(part.id.clone(), Entry { part, from: from.clone(), stale, ..Entry::default() });
            }
        }
        inventory.trim();
        inventory
    }

    /// What a source says now. Returns what changed; the first that is ever read of a source is no change.
    pub(crate) fn observe(&mut self, from: &str, parts: Vec<Part>, now_ms: u64) -> Vec<Change> {
        let first = !self.entries.values().any(|entry| entry.from == from);
        let mut changes = Vec::new();
        let mut seen = Vec::new();
        for part in parts.into_iter().take(SOURCE_MAX) {
            // An id belongs to who had it first: two sources never write one part in turns.
            let was = self.entries.get(&part.id);
            if was.is_some_and(|entry| entry.from != from)
                || (was.is_none() && self.entries.len() >= PARTS_MAX)
            {
                continue;
            }
            seen.push(part.id.clone());
            let was = was.map(|entry| &entry.part);
            // What is gone stays known as what it was.
            let kept = match was {
                Some(was) if !part.present => {
                    let damaged = String::new();
                    Part { present: false, unread: false, lost: false, damaged, ..was.clone() }
                }
                _ => part.clone(),
            };
            let told = self.told(&part.id).cloned();
            let change = compare(told.as_ref(), &part, now_ms).filter(|_| !first);
            let change = change.filter(|change| !self.is_told(change));
            let told = self.change(told, change, now_ms, &mut changes);
            let (from, stale) = (from.to_owned(), String::new());
            self.put(Entry { part: kept, from, stale, read_ms: now_ms, told, stored: None }, now_ms);
        }
        let of = |entry: &&Entry| entry.from == from && !seen.contains(&entry.part.id);
        let unseen: Vec<Entry> = self.entries.values().filter(of).cloned().collect();
        for mut entry in unseen {
            (entry.stale, entry.read_ms) = (String::new(), now_ms);
            entry.part.present = false;
            let told = self.told(&entry.part.id).cloned();
            let change = compare(told.as_ref(), &entry.part, now_ms);
            let change = change.filter(|change| !self.is_told(change));
            entry.told = self.change(told, change, now_ms, &mut changes);
            entry.stored = None;
            self.put(entry, now_ms);
        }
        self.note(&changes);
        changes
    }

    /// Takes an entry, which is stored as it is now unless that would be too often.
    fn put(&mut self, mut entry: Entry, now_ms: u64) {
        let id = entry.part.id.clone();
        let was = self.entries.get(&id).map(Entry::to_store);
        let differs = was.filter(|was| *was != entry.to_store() && is_minor(was, entry.to_store())).cloned();
        if let Some(was) = differs
            && !take(&mut self.writes, &id, now_ms)
        {
            entry.stored = Some(was);
        }
        self.entries.insert(id, entry);
    }

    /// Whether a change was told before this start: who told it died before the part was stored as it is now.
    fn is_told(&self, change: &Change) -> bool {
        let was_read = self.entries.get(&change.id).is_none_or(|entry| entry.read_ms > 0);
        let of = |known: &&Change| known.id == change.id && known.what != ChangeKind::Set;
        let last = self.changes.iter().rev().find(of);
        !was_read && last.is_some_and(|last| Change { at_ms: change.at_ms, ..last.clone() } == *change)
    }

    /// A part as it was told last.
    fn told(&self, id: &str) -> Option<&Part> {
        self.entries.get(id).map(|entry| entry.told.as_ref().unwrap_or(&entry.part))
    }

    /// Has a change of a part told, unless it was told of too often; returns what is to be told later, then: what the part was when it was told last.
    fn change(
        &mut self,
        told: Option<Part>,
        change: Option<Change>,
        now_ms: u64,
        changes: &mut Vec<Change>,
    ) -> Option<Part> {
        let change = change?;
        // That it is there (again) is the end of what was told.
        if change.what != ChangeKind::Added && !take(&mut self.budgets, &change.id, now_ms) {
            return told;
        }
        changes.push(change);
        None
    }

    /// What a source says now that broke off: what it does not name may well be there, so that stays as it was, and says why it is old.
    pub(crate) fn observe_begun(
        &mut self,
        from: &str,
        mut parts: Vec<Part>,
        why: &str,
        now_ms: u64,
    ) -> Vec<Change> {
        let unseen: Vec<Part> = self
            .parts_of(from)
            .into_iter()
            .filter(|known| !parts.iter().any(|part| part.id == known.id))
            .collect();
        let ids: Vec<String> = unseen.iter().map(|part| part.id.clone()).collect();
        parts.extend(unseen);
        let changes = self.observe(from, parts, now_ms);
        for id in ids {
            if let Some(entry) = self.entries.get_mut(&id).filter(|entry| entry.from == from) {
                why.clone_into(&mut entry.stale);
            }
        }
        changes
    }

    /// Says of what is known of the owner of a part which part it is about, where a record of before does not: the one that was seen last, or now for
    /// the first time. Returns whether it did.
    pub(crate) fn bind(&mut self, part: &Part) -> bool {
        let seen = self.entries.get(&part.id).and_then(|entry| entry.part.serial.clone());
        let Some(owned) =
            self.owned.get_mut(&part.id).filter(|owned| owned.serial.is_none() && !owned.is_empty())
        else {
            return false;
        };
        owned.serial = seen.or_else(|| part.serial.clone());
        owned.serial.is_some()
    }

    /// A source could not be read. What it said before stays, and says that it is old.
    pub(crate) fn mark_stale(&mut self, from: &str, why: &str) {
        for entry in self.entries.values_mut().filter(|entry| entry.from == from) {
            why.clone_into(&mut entry.stale);
        }
    }

    /// What cannot be pulled was read, and cannot be now: that is a change, however old what is known of it gets.
    pub(crate) fn lose(&mut self, from: &str, why: &str, now_ms: u64) -> Vec<Change> {
        let is_lost = |entry: &&Entry| {
            let part = &entry.part;
            entry.from == from && entry.read_ms > 0 && part.present && !part.unread && !part.lost
        };
        let of: Vec<Entry> = self.entries.values().filter(is_lost).cloned().collect();
        let mut changes = Vec::new();
        for mut entry in of {
            entry.part.lost = true;
            let told = self.told(&entry.part.id).cloned();
            let change = compare(told.as_ref(), &entry.part, now_ms);
            entry.told = self.change(told, change, now_ms, &mut changes);
            entry.stored = None;
            self.put(entry, now_ms);
        }
        self.note(&changes);
        self.mark_stale(from, why);
        changes
    }

    /// Whether any part of a source is known as it is now.
    pub(crate) fn is_known(&self, from: &str) -> bool {
        self.entries.values().any(|entry| entry.from == from && entry.read_ms > 0 && entry.stale.is_empty())
    }

    /// Whether a source was there when it was stored, and was not read since the start.
    pub(crate) fn is_awaited(&self, from: &str) -> bool {
        self.entries.values().any(|entry| entry.from == from && entry.part.present && entry.read_ms == 0)
    }

    /// Whether it may be told that the parts of a source are known now, of which none was. How many there are.
    pub(crate) fn tell_known(&mut self, from: &str, now_ms: u64) -> Option<usize> {
        let count = self.entries.values().filter(|entry| entry.from == from && entry.part.present).count();
        (count > 0 && take(&mut self.known, from, now_ms)).then_some(count)
    }

    /// What was set and stored, and is not among the changes: who stored it died before it told of it. What the changes have no room for any more
    /// was told.
    pub(crate) fn untold(&self) -> Vec<Told> {
        let oldest = self.changes.front().map_or(0, |change| change.at_ms);
        let told = self.owned.values().filter_map(|owned| owned.told.as_ref());
        told.filter(|told| told.change.at_ms >= oldest && !self.changes.contains(&told.change))
            .cloned()
            .collect()
    }

    /// Sets what the owner of a part says.
    pub(crate) fn set(&mut self, id: &str, owned: OwnerData) {
        if owned.is_empty() {
            self.owned.remove(id);
        } else {
            self.owned.insert(id.to_owned(), owned);
        }
    }

    /// Remembers a change of what an owner says. Returns whether it is new: after a restart it may be told a second time.
    pub(crate) fn tell(&mut self, change: &Change) -> bool {
        let new = !self.changes.contains(change);
        if new {
            self.note(std::slice::from_ref(change));
        }
        new
    }

    fn note(&mut self, changes: &[Change]) {
        self.changes.extend(changes.iter().cloned());
        self.trim();
    }

    fn trim(&mut self) {
        let surplus = self.changes.len().saturating_sub(CHANGES_MAX);
        self.changes.drain(..surplus);
        while self.entries.len() > PARTS_MAX {
            self.entries.pop_last();
        }
        let entries = &self.entries;
        self.budgets.retain(|id, _| entries.contains_key(id));
        self.writes.retain(|id, _| entries.contains_key(id));
    }

    /// The parts, by id.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// The parts of a source as they are to be stored.
    pub(crate) fn to_store(&self, from: &str) -> Vec<Part> {
        let entries = self.entries.values().filter(|entry| entry.from == from);
        entries.map(|entry| entry.to_store().clone()).collect()
    }

    /// One part.
    pub(crate) fn entry(&self, id: &str) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// The parts of a source.
    pub(crate) fn parts_of(&self, from: &str) -> Vec<Part> {
        self.entries.values().filter(|entry| entry.from == from).map(|entry| entry.part.clone()).collect()
    }

    /// What the owner of a part says of it, with what is to be in the EEPROM of whatever part was there.
    pub(crate) fn owned(&self, entry: &Entry) -> OwnerData {
        self.owned.get(&entry.part.id).cloned().unwrap_or_default().about(&entry.part)
    }

    /// What is stored at this id, whatever part it is about.
    pub(crate) fn stored(&self, id: &str) -> OwnerData {
        self.owned.get(id).cloned().unwrap_or_default()
    }

    /// The changes, the oldest first.
    pub(crate) fn changes(&self) -> impl DoubleEndedIterator<Item = &Change> {
        self.changes.iter()
    }
}

/// Takes one of what there may be of a part in a time.
fn take(budgets: &mut BTreeMap<String, Allowance>, id: &str, now_ms: u64) -> bool {
    let now = Mono::from_millis(now_ms);
    let full = Allowance::new(TOLD_AT_ONCE, 1, TOLD_EACH);
    let budget = budgets.entry(id.to_owned()).or_insert(full);
    // The time of day may be set back.
    if now < budget.asked() {
        *budget = full;
    }
    budget.take(now)
}

/// Whether nothing is told of what differs, and nobody has asked for it: what a drive warns of, or what a host's tables say besides.
fn is_minor(was: &Part, now: &Part) -> bool {
    let tag = now.tag_in_part && was.asset_tag != now.asset_tag;
    !tag && (was.present, was.unread) == (now.present, now.unread) && compare(Some(was), now, 0).is_none()
}

/// What became of a part. The first that is read of one is no change.
fn compare(was: Option<&Part>, now: &Part, at_ms: u64) -> Option<Change> {
    if was.is_some_and(|was| was.unread) {
        return None;
    }
    let present = was.is_some_and(|was| was.present);
    let change = |what, message: String, was_serial: Option<String>| {
        let serial = if now.present { now.serial.clone() } else { None };
        let (id, name) = (now.id.clone(), now.name.clone());
        Some(Change { id, name, what, at_ms, message, was_serial, serial, by: None })
    };
    let name = &now.name;
    let serial_of = |part: &Part| part.serial.clone().unwrap_or_else(|| "unknown".to_owned());
    match (was, present, now.present) {
        (_, false, true) => {
            // A part that was pulled and another that was put in its place is one that was replaced.
            let other = was.filter(|was| was.serial.is_some() && is_other(was, now));
            match other {
                Some(was) => change(ChangeKind::Replaced, replaced(was, now), was.serial.clone()),
                None => {
                    change(ChangeKind::Added, format!("{name} added: serial number {}", serial_of(now)), None)
                }
            }
        }
        (Some(was), true, false) => {
            let message = format!("{name} removed: serial number was {}", serial_of(was));
            change(ChangeKind::Removed, message, was.serial.clone())
        }
        (Some(was), true, true) if is_other(was, now) => {
            change(ChangeKind::Replaced, replaced(was, now), was.serial.clone())
        }
        (Some(was), true, true) if says(was) != says(now) => {
            change(ChangeKind::Changed, changed(was, now), was.serial.clone())
        }
        (Some(was), true, true) if was.lost != now.lost => {
            let what = if now.lost { "cannot be read any more" } else { "is read again" };
            change(ChangeKind::Changed, format!("{name} {what}"), was.serial.clone())
        }
        _ => None,
    }
}

/// Whether two are not the same part: both say their number, and it differs. What lost its number to damage is still the same.
fn is_other(was: &Part, now: &Part) -> bool {
    let differ = |was: &Option<String>, now: &Option<String>| matches!((was, now), (Some(was), Some(now)) if was != now);
    differ(&was.serial, &now.serial) || differ(&was.part_number, &now.part_number)
}

fn replaced(was: &Part, now: &Part) -> String {
    let unknown = || "unknown".to_owned();
    let what = |part: &Part| match (&part.serial, &part.part_number) {
        (Some(serial), _) => format!("serial number {serial}"),
        (None, Some(number)) => format!("part number {number}"),
        (None, None) => unknown(),
    };
    format!("{} replaced: {}, was {}", now.name, what(now), what(was))
}

/// What a change of is told. The asset tag is not: who sets it is told by another change.
fn says(part: &Part) -> [(&'static str, Option<&str>); 6] {
    [
        ("manufacturer", part.manufacturer.as_deref()),
        ("product", part.product.as_deref()),
        ("serial number", part.serial.as_deref()),
        ("part number", part.part_number.as_deref()),
        ("revision", part.revision.as_deref()),
        ("condition", Some(part.damaged.as_str()).filter(|damaged| !damaged.is_empty())),
    ]
}

fn changed(was: &Part, now: &Part) -> String {
    let differ: Vec<String> = says(was)
        .into_iter()
        .zip(says(now))
        .filter(|((_, was), (_, now))| was != now)
        .map(|((name, was), (_, now))| {
            format!("{name} {}, was {}", now.unwrap_or("unknown"), was.unwrap_or("unknown"))
        })
        .collect();
    format!("{} changed: {}", now.name, differ.join("; "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn module(id: &str, serial: &str) -> Part {
        Part {
            id: id.to_owned(),
            name: format!("DIMM {id}"),
            kind: Kind::Memory,
            present: !serial.is_empty(),
            serial: (!serial.is_empty()).then(|| serial.to_owned()),
            ..Part::default()
        }
    }

    fn said(changes: &[Change]) -> Vec<(ChangeKind, &str)> {
        changes.iter().map(|change| (change.what, change.message.as_str())).collect()
    }

    #[test]
    fn the_first_scan_is_no_change_and_what_follows_is() {
        let mut inventory = Inventory::default();
        assert_eq!(inventory.observe("smbios-system", vec![module("a1", "1"), module("a2", "")], 1), []);
        let changes = inventory.observe("smbios-system", vec![module("a1", "2"), module("a2", "7")], 2);
        assert_eq!(
            said(&changes),
            [
                (ChangeKind::Replaced, "DIMM a1 replaced: serial number 2, was serial number 1"),
                (ChangeKind::Added, "DIMM a2 added: serial number 7"),
            ]
        );
        assert_eq!(changes[0].was_serial.as_deref(), Some("1"));
        let changes = inventory.observe("smbios-system", vec![module("a1", "2")], 3);
        assert_eq!(said(&changes), [(ChangeKind::Removed, "DIMM a2 removed: serial number was 7")]);
        assert!(!inventory.entry("a2").unwrap().part.present);
        assert_eq!(inventory.observe("smbios-system", vec![module("a1", "2"), module("a2", "")], 4), []);
        assert_eq!(inventory.changes().count(), 3);
    }

    #[test]
    fn what_a_table_that_broke_off_does_not_name_is_old_and_not_removed() {
        let mut inventory = Inventory::default();
        inventory.observe("smbios-system", vec![module("a1", "1"), module("a2", "7")], 1);
        let changes = inventory.observe_begun("smbios-system", vec![module("a1", "1")], "it breaks off", 2);
        assert_eq!(changes, []);
        let known = &inventory.entries["a2"];
        assert_eq!((known.part.present, known.stale.as_str()), (true, "it breaks off"));
        assert_eq!(inventory.entries["a1"].stale, "");
        assert_eq!(
            inventory.observe("smbios-system", vec![module("a1", "1")], 3)[0].what,
            ChangeKind::Removed
        );
    }

    #[test]
    fn who_is_pulled_and_comes_back_is_added_and_who_comes_instead_has_replaced_it() {
        let mut inventory = Inventory::default();
        inventory.observe("fru-psu1", vec![module("psu1", "11")], 1);
        assert_eq!(inventory.observe("fru-psu1", vec![module("psu1", "")], 2)[0].what, ChangeKind::Removed);
        assert_eq!(
            inventory.entry("psu1").unwrap().part.serial.as_deref(),
            Some("11"),
            "known as what it was"
        );
        assert_eq!(inventory.observe("fru-psu1", vec![module("psu1", "11")], 3)[0].what, ChangeKind::Added);
        inventory.observe("fru-psu1", vec![module("psu1", "")], 4);
        assert_eq!(
            inventory.observe("fru-psu1", vec![module("psu1", "12")], 5)[0].what,
            ChangeKind::Replaced
        );
    }

    #[test]
    fn a_loose_contact_is_told_eight_times_and_then_rarely_and_what_is_shown_and_lasts_is_true() {
        let mut inventory = Inventory::default();
        let is_there = |inventory: &Inventory| inventory.entry("psu1").unwrap().part.present;
        inventory.observe("fru-psu1", vec![module("psu1", "11")], 0);
        let (mut removed, mut added, mut writes, mut ms) = (0, 0, 0, 0);
        for look in 1..600_u64 {
            ms = look * 18_000;
            let before = inventory.to_store("fru-psu1");
            let serial = if look % 2 == 1 { "" } else { "11" };
            for change in inventory.observe("fru-psu1", vec![module("psu1", serial)], ms) {
                match change.what {
                    ChangeKind::Removed => removed += 1,
                    ChangeKind::Added => added += 1,
                    other => panic!("{other:?}"),
                }
            }
            writes += usize::from(inventory.to_store("fru-psu1") != before);
            assert_eq!(is_there(&inventory), !serial.is_empty(), "what is shown is true");
        }
        // Three hours.
        assert!((8..=8 + 19).contains(&removed) && removed - added <= 1, "{removed} {added}");
        assert_eq!(writes, removed + added);
        let stays = (1..100).map(|look| ms + look * 6_000);
        let told: Vec<Change> =
            stays.flat_map(|at| inventory.observe("fru-psu1", vec![module("psu1", "")], at)).collect();
        assert!(told.len() <= 1 && !is_there(&inventory));
        assert!(!inventory.to_store("fru-psu1")[0].present, "what stays away is told");
        // The time of day is set back by a year.
        let mut early = Inventory::default();
        for look in 0..20 {
            early.observe(
                "f",
                vec![module("p", if look % 2 == 1 { "" } else { "1" })],
                40_000_000_000 + look,
            );
        }
        early.observe("f", vec![module("p", "1")], 1_000);
        assert_eq!(early.observe("f", vec![module("p", "")], 2_000).len(), 1);
    }

    #[test]
    fn what_was_not_told_before_a_restart_is_told_after_it() {
        let mut inventory = Inventory::default();
        for look in 0..40 {
            inventory.observe("f", vec![module("p", if look % 2 == 1 { "" } else { "1" })], look);
        }
        inventory.observe("f", vec![module("p", "2")], 41);
        assert_eq!(inventory.entry("p").unwrap().part.serial.as_deref(), Some("2"));
        let stored = inventory.to_store("f");
        let mut after = Inventory::restored(vec![("f".to_owned(), stored)], BTreeMap::new(), Vec::new());
        assert_eq!(after.observe("f", vec![module("p", "2")], 42)[0].what, ChangeKind::Replaced);
    }

    #[test]
    fn what_cannot_be_read_is_stale_and_nothing_changed() {
        let mut inventory = Inventory::default();
        inventory.observe("fru-psu1", vec![module("psu1", "11")], 1);
        inventory.mark_stale("fru-psu1", "the bus hangs");
        assert_eq!(inventory.entry("psu1").unwrap().stale, "the bus hangs");
        assert_eq!(inventory.observe("fru-psu1", vec![module("psu1", "11")], 2), []);
        assert_eq!(inventory.entry("psu1").unwrap().stale, "");
    }

    #[test]
    fn what_cannot_be_pulled_and_cannot_be_read_any_more_is_told_once_and_so_is_its_end() {
        let mut inventory = Inventory::default();
        inventory.observe("fru-m", vec![module("m", "11")], 1);
        let told = inventory.lose("fru-m", "nobody answers", 2);
        assert_eq!(said(&told), [(ChangeKind::Changed, "DIMM m cannot be read any more")]);
        assert_eq!(inventory.lose("fru-m", "nobody answers", 3), []);
        let entry = inventory.entry("m").unwrap();
        assert_eq!((entry.stale.as_str(), entry.part.present, entry.read_ms), ("nobody answers", true, 1));
        // Over a restart.
        let stored = vec![("fru-m".to_owned(), inventory.to_store("fru-m"))];
        let mut inventory = Inventory::restored(stored, BTreeMap::new(), told);
        assert_eq!(inventory.lose("fru-m", "nobody answers", 4), []);
        let told = inventory.observe("fru-m", vec![module("m", "11")], 5);
        assert_eq!(said(&told), [(ChangeKind::Changed, "DIMM m is read again")]);
        // What was not read since the start may only not be ready yet.
        let stored = vec![("fru-m".to_owned(), inventory.to_store("fru-m"))];
        let mut inventory = Inventory::restored(stored, BTreeMap::new(), Vec::new());
        assert_eq!(inventory.lose("fru-m", "no driver yet", 6), []);
    }

    #[test]
    fn what_was_set_and_stored_and_not_told_is_told_once_after_a_restart() {
        let told = |at_ms| Told {
            change: Change {
                id: "m".to_owned(),
                name: "M".to_owned(),
                what: ChangeKind::Set,
                at_ms,
                message: format!("M: location {at_ms:?}"),
                was_serial: None,
                serial: None,
                by: None,
            },
            request_id: String::new(),
        };
        let owned =
            |told| BTreeMap::from([("m".to_owned(), OwnerData { told: Some(told), ..OwnerData::default() })]);
        let after = |owned, changes| Inventory::restored(Vec::new(), owned, changes).untold();
        assert_eq!(after(owned(told(7)), Vec::new()), [told(7)]);
        assert_eq!(after(owned(told(7)), vec![told(3).change]), [told(7)]);
        assert_eq!(after(owned(told(7)), vec![told(3).change, told(7).change, told(9).change]), []);
        assert_eq!(
            after(owned(told(7)), vec![told(8).change, told(9).change]),
            [],
            "there is no room for it any more"
        );
    }

    #[test]
    fn that_the_parts_of_a_host_are_known_is_told_when_none_was() {
        let mut inventory = Inventory::default();
        let from = "smbios-system";
        assert!(!inventory.is_known(from) && inventory.tell_known(from, 0).is_none());
        inventory.observe(from, vec![module("a1", "1"), module("a2", "")], 1);
        assert!(inventory.is_known(from));
        assert_eq!(inventory.tell_known(from, 1), Some(1));
        inventory.mark_stale(from, "the tables cannot be read");
        assert!(!inventory.is_known(from));
        assert!(
            (0..99).filter(|_| inventory.tell_known(from, 2).is_some()).count() < 8,
            "tables that come and go"
        );
    }

    #[test]
    fn what_was_stored_is_stale_and_is_compared_with() {
        let mut inventory =
            Inventory::restored(vec![("s".to_owned(), vec![module("a1", "1")])], BTreeMap::new(), Vec::new());
        assert!(!inventory.entry("a1").unwrap().stale.is_empty());
        assert_eq!(inventory.observe("s", vec![module("a1", "2")], 9)[0].what, ChangeKind::Replaced);
    }

    #[test]
    fn damage_is_a_change_and_no_other_part() {
        let mut inventory = Inventory::default();
        inventory.observe("f", vec![module("m", "1")], 1);
        let damaged =
            Part { serial: None, damaged: "board: the checksum is wrong".to_owned(), ..module("m", "1") };
        let changes = inventory.observe("f", vec![damaged], 2);
        assert_eq!(changes[0].what, ChangeKind::Changed);
        assert!(changes[0].message.contains("checksum"), "{}", changes[0].message);
    }

    #[test]
    fn what_the_owner_says_is_about_the_part_and_not_about_what_comes_in_its_place() {
        let mut inventory = Inventory::default();
        inventory.observe("fru-psu1", vec![module("psu1", "11")], 1);
        let said = OwnerData {
            asset_tag: Some("A-1".to_owned()),
            location: Some("rack 12".to_owned()),
            serial: Some("11".to_owned()),
            ..OwnerData::default()
        };
        inventory.set("psu1", said.clone());
        let now = |inventory: &Inventory| inventory.owned(inventory.entry("psu1").unwrap());
        inventory.observe("fru-psu1", vec![module("psu1", "")], 2);
        assert_eq!(now(&inventory), said, "pulled, it is still the same");
        inventory.observe("fru-psu1", vec![module("psu1", "12")], 3);
        assert_eq!(now(&inventory), OwnerData::default());
        inventory.observe("fru-psu1", vec![module("psu1", "11")], 4);
        assert_eq!(now(&inventory), said);
    }

    /// What the release before wrote.
    #[test]
    fn a_record_of_before_is_read_and_belongs_to_the_part_that_was_seen_last() {
        let record = r#"{"asset_tag":"A-1","location":"rack 12","pending":[40,"c0ffee"]}"#;
        let owned: OwnerData = serde_json::from_str(record).unwrap();
        assert_eq!((owned.asset_tag.as_deref(), owned.location.as_deref()), (Some("A-1"), Some("rack 12")));
        let intent = Intent { at: 40, bytes: "c0ffee".to_owned(), ..Intent::default() };
        assert_eq!(owned.intent, Some(intent));
        let again: OwnerData = serde_json::from_slice(&serde_json::to_vec(&owned).unwrap()).unwrap();
        assert_eq!(again, owned);
        let idle: OwnerData =
            serde_json::from_str(r#"{"asset_tag":null,"location":null,"pending":null}"#).unwrap();
        assert_eq!(idle, OwnerData::default());
        let partly: OwnerData = serde_json::from_str(r#"{"intent":{"at":7,"bytes":"00"}}"#).unwrap();
        assert_eq!(partly.intent.map(|intent| intent.at), Some(7));

        let parts = vec![("fru-psu1".to_owned(), vec![module("psu1", "11")])];
        let restored = |owned: OwnerData| {
            Inventory::restored(parts.clone(), BTreeMap::from([("psu1".to_owned(), owned)]), Vec::new())
        };
        // Exchanged while the controller had no power.
        let mut inventory = restored(owned.clone());
        assert!(inventory.bind(&module("psu1", "12")));
        assert!(!inventory.bind(&module("psu1", "12")));
        inventory.observe("fru-psu1", vec![module("psu1", "12")], 2);
        assert_eq!(inventory.owned(inventory.entry("psu1").unwrap()).location, None);
        assert_eq!(inventory.stored("psu1").serial.as_deref(), Some("11"));
        // Where nothing was seen yet, what is seen first is it.
        let mut inventory =
            Inventory::restored(Vec::new(), BTreeMap::from([("psu1".to_owned(), owned)]), Vec::new());
        assert!(!inventory.bind(&module("psu1", "")));
        assert!(inventory.bind(&module("psu1", "12")));
        assert_eq!(inventory.stored("psu1").serial.as_deref(), Some("12"));
    }

    #[test]
    fn what_says_no_serial_number_is_another_part_unless_it_could_not_say_it() {
        let mut inventory = Inventory::default();
        let unread = Part { present: true, ..module("psu1", "") };
        let mute = Part { product: Some("PSU".to_owned()), ..unread.clone() };
        inventory.observe("fru-psu1", vec![module("psu1", "11")], 1);
        let said = OwnerData {
            location: Some("rack 12".to_owned()),
            serial: Some("11".to_owned()),
            ..OwnerData::default()
        };
        inventory.set("psu1", said.clone());
        let now = |inventory: &Inventory| inventory.owned(inventory.entry("psu1").unwrap());
        let damaged = Part { damaged: "board: the checksum is wrong".to_owned(), ..mute.clone() };
        inventory.observe("fru-psu1", vec![damaged], 2);
        assert_eq!(now(&inventory), said);
        inventory.observe("fru-psu1", vec![mute.clone()], 3);
        assert_eq!(now(&inventory), OwnerData::default());
        inventory.mark_stale("fru-psu1", "the bus hangs");
        assert_eq!(now(&inventory), OwnerData::default(), "it was read, and is another");
        // Nothing was ever read of it: it may be the one.
        let mut inventory = Inventory::default();
        inventory.observe("fru-psu1", vec![unread], 1);
        inventory.set("psu1", said.clone());
        assert_eq!(now(&inventory), said);
    }

    fn drive(warnings: &str) -> Part {
        let details = BTreeMap::from([("warnings".to_owned(), warnings.to_owned())]);
        Part { kind: Kind::Drive, details, ..module("nvme0", "11") }
    }

    #[test]
    fn what_nobody_is_told_of_is_stored_as_rarely_as_what_is() {
        let mut inventory = Inventory::default();
        let (mut writes, mut last) = (0, Vec::new());
        for look in 0..600_u64 {
            let warnings = if look % 2 == 0 { "temperature" } else { "" };
            assert_eq!(inventory.observe("nvme-nvme0", vec![drive(warnings)], look * 6_000), []);
            assert_eq!(
                inventory.entry("nvme0").unwrap().part.details["warnings"],
                warnings,
                "shown as it is"
            );
            let stored = inventory.to_store("nvme-nvme0");
            writes += u32::from(std::mem::replace(&mut last, stored.clone()) != stored);
        }
        assert!((2..=15).contains(&writes), "{writes}");
        // Another drive is stored at once, and what lasts in the end.
        inventory.observe("nvme-nvme0", vec![Part { serial: Some("12".to_owned()), ..drive("") }], 3_600_000);
        assert_eq!(inventory.to_store("nvme-nvme0")[0].serial.as_deref(), Some("12"));
        for look in 0..120 {
            let worn = Part { serial: Some("12".to_owned()), ..drive("unreliable") };
            inventory.observe("nvme-nvme0", vec![worn], 3_606_000 + look * 6_000);
        }
        assert_eq!(inventory.to_store("nvme-nvme0")[0].details["warnings"], "unreliable");
    }

    #[test]
    fn a_tag_that_was_set_in_a_part_is_stored_however_often() {
        let mut inventory = Inventory::default();
        for tag in 0..40_u64 {
            let asset_tag = Some(tag.to_string());
            let part = Part { tag_in_part: true, asset_tag: asset_tag.clone(), ..module("psu1", "11") };
            inventory.observe("fru-psu1", vec![part], tag);
            assert_eq!(inventory.to_store("fru-psu1")[0].asset_tag, asset_tag);
        }
    }

    #[test]
    fn what_was_never_read_has_not_changed_when_it_is_and_was_not_removed_when_it_is_not_there() {
        let unread = Part { present: true, unread: true, ..module("nvme0", "") };
        for now in [module("nvme0", "11"), module("nvme0", "")] {
            let mut inventory = Inventory::default();
            inventory.observe("nvme-nvme0", vec![unread.clone()], 1);
            assert_eq!(inventory.observe("nvme-nvme0", vec![now.clone()], 2), []);
            assert_eq!(inventory.entry("nvme0").unwrap().part.present, now.present);
        }
        let mut inventory = Inventory::default();
        inventory.observe("nvme-nvme0", vec![unread], 1);
        inventory.observe("nvme-nvme0", vec![module("nvme0", "")], 2);
        let changes = inventory.observe("nvme-nvme0", vec![module("nvme0", "11")], 3);
        assert_eq!(changes[0].what, ChangeKind::Added);
    }

    #[test]
    fn a_change_that_was_kept_before_its_part_was_is_one() {
        let before = vec![("fru-psu1".to_owned(), vec![module("psu1", "11")])];
        let mut first = Inventory::restored(before.clone(), BTreeMap::new(), Vec::new());
        let told = first.observe("fru-psu1", vec![module("psu1", "12")], 5);
        assert_eq!(told[0].what, ChangeKind::Replaced);
        // The daemon died, with the part as it was before.
        let mut again = Inventory::restored(before, BTreeMap::new(), told);
        assert_eq!(again.observe("fru-psu1", vec![module("psu1", "12")], 9), []);
        assert_eq!(again.changes().count(), 1);
        assert_eq!(again.to_store("fru-psu1")[0].serial.as_deref(), Some("12"));
        // And what happens then is another.
        assert_eq!(again.observe("fru-psu1", vec![module("psu1", "11")], 10)[0].what, ChangeKind::Replaced);
        assert_eq!(again.observe("fru-psu1", vec![module("psu1", "12")], 11)[0].what, ChangeKind::Replaced);
    }

    #[test]
    fn two_sources_never_write_one_part_in_turns() {
        let mut inventory = Inventory::default();
        inventory.observe("one", vec![module("x", "1")], 1);
        assert_eq!(inventory.observe("two", vec![module("x", "2")], 2), []);
        assert_eq!(inventory.entry("x").unwrap().part.serial.as_deref(), Some("1"));
    }

    proptest! {
        /// I-6: whatever sources say, the inventory has its bounds; saying the same twice changes nothing.
        #[test]
        fn the_book_is_bounded(rounds in prop::collection::vec((0..6u8, prop::collection::vec((0..400u16, 0..3u8), 0..200)), 1..8)) {
            let mut inventory = Inventory::default();
            for (at, (from, parts)) in rounds.into_iter().enumerate() {
                let from = format!("s{from}");
                let parts: Vec<Part> = parts.iter().map(|(id, serial)| {
                    module(&format!("{from}-{id}"), if *serial == 0 { "" } else { ["1", "2"][usize::from(*serial) - 1] })
                }).collect();
                let mut once = parts.clone();
                once.sort_by(|a, b| a.id.cmp(&b.id));
                once.dedup_by(|a, b| a.id == b.id);
                inventory.observe(&from, once.clone(), at as u64);
                prop_assert_eq!(inventory.observe(&from, once, at as u64), []);
            }
            prop_assert!(inventory.entries().count() <= PARTS_MAX);
            prop_assert!(inventory.changes().count() <= CHANGES_MAX);
        }
    }
}
