//! What is known of the event log without reading it: kind, time, severity and size of each kept event. Answers filters, and says which
//! events go when the log gets full.
//!
//! Texts are kept as hashes only, so that memory does not depend on how many different names there are; who asks for a name compares the
//! events themselves with it ([`Filter::is`]), so answers are exact all the same.
//!
//! Room is given by kind (NIST SP 800-53 AU-4, AU-9): each [`Class`] has a share of it nobody can take away, and may use what the others leave.
//! When there is too much, the class goes first whose events are made by those who may change least; of a class, what takes most room
//! among those who caused it, warnings apart from the rest. So one account's log-ins displace its own log-ins, and nothing else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::SystemTime;

use ipc::LogEntry;
use prost::Message;
use schema::v1alpha1 as v1;

use crate::resolutions::{Resolutions, end_of, number};

/// Events indexed at most, some 64 bytes each. The log is bounded to fewer.
const INDEXED: usize = 32_768;
/// What an event costs at least, bytes: as many of them as the log may hold fill it.
const COST_MIN: u64 = ipc::KEPT_BYTES / ipc::KEPT_EVENTS;
/// What a record takes beside its subject and payload, bytes; generous.
const OVERHEAD: u64 = 48;
/// Records of requests: events that are listed for who asks for this domain, and for nobody else.
const APART: &str = "audit";
/// Domain, component and what of the event that tells that a log was cleared.
pub(crate) const CLEARED: [&str; 3] = ["log", "events", "cleared"];
/// What all events may cost together. The rest of the log, 5,000 events, is for what comes while nobody keeps it.
pub(crate) const BUDGET: u64 = ipc::KEPT_BYTES / 4 * 3;
/// So much more comes together before any go: removals are written in batches, which spares the flash.
const SLACK: u64 = 64 * COST_MIN;
/// Events named by one [`Index::surplus`].
const BATCH: usize = 256;

/// A kind of events with room of its own, in the order in which they give way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Log-ins and their ends: anybody who has an account, or none, causes them.
    Sessions,
    /// Changes of accounts; everybody may change the own password.
    Accounts,
    /// The controller: daemons, network, system and whatever else there will be.
    Controller,
    /// The machine: hosts and chassis.
    Hosts,
}

impl Class {
    const ALL: [Self; 4] = [Self::Sessions, Self::Accounts, Self::Controller, Self::Hosts];

    /// By the subject it was published on: the bus holds daemons to their domains.
    fn of(subject: &str) -> Self {
        match subject.split('.').nth(1) {
            // Those of hosts as well: whoever may log in makes them.
            Some("session" | "kvm" | "console") => Self::Sessions,
            Some("user" | "role" | "audit") => Self::Accounts,
            Some("host" | "chassis") => Self::Hosts,
            _ => Self::Controller,
        }
    }

    /// What it may always take. The shares are the whole.
    const fn share(self) -> u64 {
        let percent = match self {
            Self::Sessions | Self::Accounts => 20,
            Self::Controller => 25,
            Self::Hosts => 35,
        };
        BUDGET / 100 * percent
    }
}

/// Whose events, and how bad: what competes for the room of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    /// Warnings and worse; of two that take the same, these stay.
    notable: bool,
    /// Hash of the domain.
    domain: u32,
    /// Hash of the account that caused it; of "" when it is nobody's.
    who: u32,
}

/// The events of a group.
#[derive(Debug, Default)]
struct Kept {
    cost: u64,
    /// Oldest first. May hold some that are gone.
    sequences: VecDeque<u64>,
}

#[derive(Debug, Default)]
struct Room {
    cost: u64,
    groups: BTreeMap<Group, Kept>,
}

/// A room for each class.
#[derive(Debug, Default)]
struct Rooms {
    sessions: Room,
    accounts: Room,
    controller: Room,
    hosts: Room,
}

impl Rooms {
    fn of(&self, class: Class) -> &Room {
        match class {
            Class::Sessions => &self.sessions,
            Class::Accounts => &self.accounts,
            Class::Controller => &self.controller,
            Class::Hosts => &self.hosts,
        }
    }

    fn of_mut(&mut self, class: Class) -> &mut Room {
        match class {
            Class::Sessions => &mut self.sessions,
            Class::Accounts => &mut self.accounts,
            Class::Controller => &mut self.controller,
            Class::Hosts => &mut self.hosts,
        }
    }
}

/// One event in the index. Names are hashes.
#[derive(Debug, Clone, Copy)]
struct Entry {
    sequence: u64,
    millis: u64,
    cost: u64,
    component: u32,
    what: u32,
    severity: i32,
    /// The end of its id; 0 for one that has none.
    id: u32,
    class: Class,
    group: Group,
    /// It is in the log, as far as is known.
    kept: bool,
    /// A log of Redfish may show it.
    logged: bool,
}

/// The index of the log.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// By sequence.
    entries: VecDeque<Entry>,
    /// Of those, how many are gone.
    gone: usize,
    rooms: Rooms,
    hasher: RandomState,
}

impl Index {
    /// The newest number it knows; zero when it knows none.
    pub(crate) fn last(&self) -> u64 {
        self.entries.back().map_or(0, |last| last.sequence)
    }

    /// The time of its youngest event, Unix time in milliseconds; zero when it knows none.
    pub(crate) fn youngest_ms(&self) -> u64 {
        self.entries.iter().map(|entry| entry.millis).max().unwrap_or(0)
    }

    /// Whether the log has an event that a log shows which was cleared up to number `sequence` and to `until_ms`, Unix time in milliseconds: one that is newer
    /// by its number, or by its time where a loss of power has taken numbers back. Records of requests are in none that can be cleared, and one event tells
    /// of each clearing itself.
    pub(crate) fn has_news_since(&self, sequence: u64, until_ms: u64) -> bool {
        let apart = self.hash(APART);
        let [domain, component, what] = CLEARED.map(|name| self.hash(name));
        let is_newer = |entry: &&Entry| entry.sequence > sequence || entry.millis >= until_ms;
        let mut told = 0_u32;
        let mut newer = self.entries.iter().filter(|entry| entry.kept).filter(is_newer);
        newer.any(|entry| {
            let tells =
                (entry.group.domain, entry.component, entry.what) == (domain, component, what) && told == 0;
            told += u32::from(tells);
            !tells && entry.group.domain != apart
        })
    }

    /// Takes the next event of the log. What is not newer than the newest is known already.
    ///
    /// # Errors
    /// When the bytes are no event; then it is not listed, but gives way like others.
    pub(crate) fn add(&mut self, entry: &LogEntry) -> Result<(), prost::DecodeError> {
        if self.last() >= entry.sequence {
            return Ok(());
        }
        let decoded = v1::Event::decode(entry.payload.clone());
        let event = decoded.as_ref().ok();
        let hash = |text: &str| self.hash(text);
        let text = |field: fn(&v1::Event) -> &str| hash(event.map_or("", field));
        let severity = event.map_or(0, |event| event.severity);
        let size = OVERHEAD + (entry.subject.len() + entry.payload.len()) as u64;
        let new = Entry {
            sequence: entry.sequence,
            millis: event.map_or(0, |event| millis_of(event, entry.time)),
            cost: size.max(COST_MIN),
            component: text(|event| &event.component),
            what: text(|event| &event.what),
            severity,
            id: event.and_then(|event| number(&event.id)).map_or(0, end_of),
            class: Class::of(&entry.subject),
            group: Group {
                notable: severity >= v1::EventSeverity::Warning as i32,
                domain: text(|event| &event.domain),
                who: hash(event.map_or("", who)),
            },
            kept: true,
            logged: event.is_none_or(is_logged),
        };
        if self.entries.len() >= INDEXED {
            self.forget_oldest();
        }
        let room = self.rooms.of_mut(new.class);
        room.cost += new.cost;
        let kept = room.groups.entry(new.group).or_default();
        kept.cost += new.cost;
        kept.sequences.push_back(new.sequence);
        self.entries.push_back(new);
        decoded.map(drop)
    }

    fn hash(&self, text: &str) -> u32 {
        // The upper half is as good as any.
        u32::try_from(self.hasher.hash_one(text) >> 32).unwrap_or(0)
    }

    /// The log has dropped all before number `first`.
    pub(crate) fn forget_before(&mut self, first: u64) {
        while self.entries.front().is_some_and(|oldest| oldest.sequence < first) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.entries.pop_front() else { return };
        if oldest.kept {
            self.release(&oldest);
        } else {
            self.gone -= 1;
        }
    }

    /// The log does not have this one any more.
    pub(crate) fn forget(&mut self, sequence: u64) {
        let at = self.entries.partition_point(|entry| entry.sequence < sequence);
        let Some(entry) = self.entries.get_mut(at) else { return };
        if entry.sequence != sequence || !entry.kept {
            return;
        }
        entry.kept = false;
        let entry = *entry;
        self.gone += 1;
        self.release(&entry);
        // Holes are filled when they are half of it: each event is moved once on average.
        if self.gone > self.entries.len() / 2 {
            self.entries.retain(|entry| entry.kept);
            self.gone = 0;
        }
    }

    fn release(&mut self, entry: &Entry) {
        let room = self.rooms.of_mut(entry.class);
        room.cost -= entry.cost;
        let Some(kept) = room.groups.get_mut(&entry.group) else { return };
        kept.cost -= entry.cost;
        if let Ok(at) = kept.sequences.binary_search(&entry.sequence) {
            kept.sequences.remove(at);
        }
        if kept.sequences.is_empty() {
            room.groups.remove(&entry.group);
        }
    }

    /// The events that have to leave the log, oldest first of what is to give way; they are forgotten here. None most of the time.
    pub(crate) fn surplus(&mut self) -> Vec<u64> {
        let mut victims = Vec::new();
        if self.cost() <= BUDGET + SLACK {
            return victims;
        }
        while self.cost() > BUDGET && victims.len() < BATCH {
            let Some(victim) = self.next_victim() else { break };
            self.forget(victim);
            victims.push(victim);
        }
        victims
    }

    fn next_victim(&self) -> Option<u64> {
        let room = Class::ALL
            .into_iter()
            .map(|class| (self.rooms.of(class), class))
            .find(|(room, class)| room.cost > class.share())
            .map(|(room, _)| room)?;
        let largest = |(group, kept): &(&Group, &Kept)| (kept.cost, !group.notable);
        let (_, kept) = room.groups.iter().max_by_key(largest)?;
        kept.sequences.front().copied()
    }

    fn cost(&self) -> u64 {
        Class::ALL.into_iter().map(|class| self.rooms.of(class).cost).sum()
    }

    /// Whether the log has the event of that number whose id ends so.
    pub(crate) fn keeps(&self, sequence: u64, id_end: u32) -> bool {
        let at = self.entries.partition_point(|entry| entry.sequence < sequence);
        let found = self.entries.get(at).filter(|entry| entry.sequence == sequence);
        found.is_some_and(|entry| entry.kept && entry.id == id_end)
    }

    /// Numbers of the events that have an id, and one that ends so. Which of them are meant is for who reads them to say.
    pub(crate) fn named(&self, id_ends: &BTreeSet<u32>) -> Vec<u64> {
        let named =
            self.entries.iter().filter(|entry| entry.kept && entry.id != 0 && id_ends.contains(&entry.id));
        named.map(|entry| entry.sequence).collect()
    }

    /// Numbers of the events that may be asked for, newest first. What they are is for [`Filter::is`] to say.
    pub(crate) fn find(
        &self,
        filter: &Filter,
        below: Option<u64>,
        resolutions: &Resolutions,
    ) -> impl Iterator<Item = u64> {
        let name = |text: &str| (!text.is_empty()).then(|| self.hash(text));
        let (domain, component, what) = (name(&filter.domain), name(&filter.component), name(&filter.what));
        let (min_severity, since, until) = (filter.min_severity, filter.since, filter.until);
        let (resolved, logged) = (filter.resolved, filter.logged);
        let apart = self.hash(APART);
        let is_apart = filter.domain == APART;
        let end = self.entries.partition_point(|entry| below.is_none_or(|below| entry.sequence < below));
        let is = |wanted: Option<u32>, found: u32| wanted.is_none_or(|wanted| wanted == found);
        self.entries
            .range(..end)
            .rev()
            .filter(move |entry| {
                entry.kept
                    && is(domain, entry.group.domain)
                    && (is_apart || entry.group.domain != apart)
                    && is(component, entry.component)
                    && is(what, entry.what)
                    && entry.severity >= min_severity
                    && since.is_none_or(|since| entry.millis >= since)
                    && until.is_none_or(|until| entry.millis < until)
                    && (entry.logged || !logged)
                    && resolved.is_none_or(|wanted| wanted == resolutions.has(entry.sequence, entry.id))
            })
            .map(|entry| entry.sequence)
    }
}

/// The account an event takes room of: who caused it; of a session, who has it. What a stranger causes under others' names is nobody's.
fn who(event: &v1::Event) -> &str {
    match &event.payload {
        Some(v1::event::Payload::SessionChange(change))
            if change.kind() != v1::SessionChangeKind::LoginFailed =>
        {
            &change.user_id
        }
        _ => event.principal.as_deref().unwrap_or_default(),
    }
}

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) domain: String,
    pub(crate) component: String,
    pub(crate) what: String,
    pub(crate) min_severity: i32,
    /// Unix time in milliseconds.
    pub(crate) since: Option<u64>,
    /// Unix time in milliseconds.
    pub(crate) until: Option<u64>,
    /// Whether it is resolved.
    pub(crate) resolved: Option<bool>,
    /// Without what triggers told that have no log.
    pub(crate) logged: bool,
}

impl Filter {
    /// Whether an event that was logged then, and has its resolution, is what is asked for.
    pub(crate) fn is(&self, event: &v1::Event, logged: SystemTime) -> bool {
        let name = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
        let at = millis_of(event, logged);
        name(&self.domain, &event.domain)
            && (self.domain == APART || event.domain != APART)
            && name(&self.component, &event.component)
            && name(&self.what, &event.what)
            && event.severity >= self.min_severity
            && self.since.is_none_or(|since| at >= since)
            && self.until.is_none_or(|until| at < until)
            && (!self.logged || is_logged(event))
            && self.resolved.is_none_or(|wanted| wanted == event.resolution.is_some())
    }
}

/// Whether a log of Redfish may show it: what a trigger told where it has that action.
fn is_logged(event: &v1::Event) -> bool {
    match &event.payload {
        Some(v1::event::Payload::TriggerFired(fired)) => {
            fired.actions.contains(&v1::TriggerAction::Log.into())
        }
        _ => true,
    }
}

fn millis_of(event: &v1::Event, logged: SystemTime) -> u64 {
    event.time.as_ref().map_or_else(|| schema::time::unix_ms(logged), schema::time::timestamp_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Index {
        fn len(&self) -> usize {
            self.entries.len() - self.gone
        }
    }

    fn entry(sequence: u64, event: &v1::Event) -> LogEntry {
        LogEntry {
            sequence,
            subject: format!("event.{}.{}.{}", event.domain, event.component, event.what),
            time: SystemTime::UNIX_EPOCH,
            payload: event.encode_to_vec().into(),
        }
    }

    fn event(domain: &str, component: &str, what: &str, second: i64) -> v1::Event {
        v1::Event {
            domain: domain.into(),
            component: component.into(),
            what: what.into(),
            severity: v1::EventSeverity::Info.into(),
            time: Some(prost_types::Timestamp { seconds: second, nanos: 0 }),
            ..v1::Event::default()
        }
    }

    fn login(account: &str, session: u64) -> v1::Event {
        let change = v1::SessionChange {
            kind: v1::SessionChangeKind::Created.into(),
            user_id: account.into(),
            ..v1::SessionChange::default()
        };
        v1::Event {
            payload: Some(v1::event::Payload::SessionChange(change)),
            ..event("session", &format!("{session:016x}"), "created", 0)
        }
    }

    fn index() -> Index {
        let mut index = Index::default();
        for sequence in 1..=10 {
            let domain = if sequence % 2 == 0 { "host" } else { "user" };
            let severity = if sequence == 4 { v1::EventSeverity::Critical } else { v1::EventSeverity::Info };
            let second = i64::try_from(sequence).unwrap();
            let event = v1::Event { severity: severity.into(), ..event(domain, "system", "state", second) };
            index.add(&entry(sequence, &event)).unwrap();
        }
        index
    }

    fn found(filter: &Filter, below: Option<u64>) -> Vec<u64> {
        index().find(filter, below, &Resolutions::default()).collect()
    }

    #[test]
    fn the_newest_event_comes_first() {
        assert_eq!(found(&Filter::default(), None), [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]);
    }

    #[test]
    fn filters_narrow_the_list_and_combine() {
        let host = Filter { domain: "host".into(), ..Filter::default() };
        assert_eq!(found(&host, None), [10, 8, 6, 4, 2]);
        assert_eq!(found(&host, Some(6)), [4, 2]);
        assert_eq!(found(&Filter { since: Some(4_000), until: Some(8_000), ..host }, None), [6, 4]);
        assert_eq!(found(&Filter { domain: APART.into(), ..Filter::default() }, None), [0; 0]);
        let critical = Filter { min_severity: v1::EventSeverity::Critical.into(), ..Filter::default() };
        assert_eq!(found(&critical, None), [4]);
    }

    #[test]
    fn what_triggers_told_without_a_log_takes_no_room_of_a_list_of_what_is_logged() {
        let fired = |action: v1::TriggerAction, second| {
            let fired = v1::TriggerFired { actions: vec![action.into()], ..v1::TriggerFired::default() };
            let payload = Some(v1::event::Payload::TriggerFired(fired));
            v1::Event { payload, ..event("telemetry", "hot", "fired", second) }
        };
        let mut index = Index::default();
        let events = [
            event("host", "host0", "operation", 1),
            fired(v1::TriggerAction::Log, 2),
            fired(v1::TriggerAction::Event, 3),
        ];
        for (sequence, event) in (1..).zip(&events) {
            index.add(&entry(sequence, event)).unwrap();
        }
        for (logged, told) in [(false, vec![3, 2, 1]), (true, vec![2, 1])] {
            let filter = Filter { logged, ..Filter::default() };
            let found: Vec<u64> = index.find(&filter, None, &Resolutions::default()).collect();
            assert_eq!(found, told);
            let is: Vec<bool> =
                events.iter().rev().map(|event| filter.is(event, SystemTime::UNIX_EPOCH)).collect();
            assert_eq!(is, [!logged, true, true]);
        }
    }

    #[test]
    fn an_event_is_found_by_its_id_and_by_whether_it_is_resolved() {
        use crate::resolutions::{Named, Record, id};
        let mut index = Index::default();
        for sequence in 1..=4_u64 {
            let id = if sequence == 4 { String::new() } else { id(0x500 + u128::from(sequence)) };
            index.add(&entry(sequence, &v1::Event { id, ..event("host", "system", "state", 0) })).unwrap();
        }
        assert_eq!(index.named(&[0x501, 0x503, 0x900].into()), [1, 3]);
        assert!(index.named(&[0].into()).is_empty(), "what has no id is not found by it");
        assert!(index.keeps(2, 0x502) && !index.keeps(2, 0x501) && !index.keeps(9, 0x502));
        let events = vec![Named { sequence: 2, id: 0x502 }, Named { sequence: 3, id: 0x999 }];
        let record = Record { resolved: true, events, ..Record::default() };
        let resolutions = Resolutions::load([(0, Some(record))]);
        let found = |resolved| {
            let filter = Filter { resolved, ..Filter::default() };
            index.find(&filter, None, &resolutions).collect::<Vec<_>>()
        };
        // What was resolved under the number of the third is an event of another life of the log.
        assert_eq!((found(Some(true)), found(Some(false))), (vec![2], vec![4, 3, 1]));
        assert_eq!(found(None).len(), 4);
        index.forget(2);
        assert!(!index.keeps(2, 0x502));
    }

    #[test]
    fn what_is_newer_counts_but_for_records_of_requests_and_the_event_of_the_clearing_itself() {
        let mut index = Index::default();
        assert!(!index.has_news_since(0, 0));
        let [domain, component, what] = CLEARED;
        let happened = [
            event("host", "system", "state", 0),
            event(domain, component, what, 0),
            event(APART, "websrv", "request", 0),
            event(domain, component, what, 0),
            event(domain, component, "test", 0),
        ];
        let mut seen = Vec::new();
        for (sequence, event) in (1..).zip(&happened) {
            index.add(&entry(sequence, event)).unwrap();
            seen.push([0, 1, 2].map(|since| index.has_news_since(since, u64::MAX)));
        }
        let expected = [
            [true, false, false],
            [true, false, false],
            [true, false, false],
            // Another log was cleared as well.
            [true, true, false],
            [true, true, true],
        ];
        assert_eq!(seen, expected);
        index.forget(5);
        assert!(!index.has_news_since(2, u64::MAX), "what left the log is not there to be cleared");
    }

    #[test]
    fn what_is_younger_counts_also_under_numbers_of_before() {
        let [domain, component, what] = CLEARED;
        let state = |second| event("host", "system", "state", second);
        let mut index = Index::default();
        // A log cleared up to 1000 at the second 12 lost its end, and others went on under its numbers before its mark was lowered to 965.
        index.add(&entry(950, &state(11))).unwrap();
        let of_before = index.has_news_since(965, 12_000);
        index.add(&entry(951, &event(APART, "websrv", "request", 13))).unwrap();
        index.add(&entry(952, &event(domain, component, what, 14))).unwrap();
        let of_no_log = index.has_news_since(965, 12_000);
        index.add(&entry(965, &state(15))).unwrap();
        assert_eq!((of_before, of_no_log, index.has_news_since(965, 12_000)), (false, false, true));
        // The mark that is made next has them all.
        assert!(!index.has_news_since(index.last(), index.youngest_ms() + 1));
        index.forget(965);
        assert!(!index.has_news_since(965, 12_000), "what left the log is not there to be cleared");
    }

    #[test]
    fn filters_are_exact_after_any_number_of_names() {
        let mut index = Index::default();
        for n in 0..20_000 {
            index.add(&entry(n + 1, &event("session", &format!("{n:016x}"), "created", 0))).unwrap();
        }
        let of = |component: &str| Filter { component: component.into(), ..Filter::default() };
        let none = Resolutions::default();
        let found = |component: &str| index.find(&of(component), None, &none).collect::<Vec<_>>();
        assert!(found("nosuchthing").is_empty());
        assert_eq!(found(&format!("{:016x}", 19_999)), [20_000]);
        assert_eq!(found(&format!("{:016x}", 7)), [8]);
        // A hash may be another's by chance; the event itself is not.
        assert!(!of("nosuchthing").is(&event("session", "7", "created", 0), SystemTime::UNIX_EPOCH));
    }

    #[test]
    fn its_memory_is_bounded_whatever_the_log_holds() {
        let mut index = Index::default();
        let last = INDEXED as u64 + 5_000;
        for n in 1..=last {
            index.add(&entry(n, &event("host", &n.to_string(), "state", 0))).unwrap();
        }
        assert_eq!(index.len(), INDEXED);
        assert_eq!(index.find(&Filter::default(), None, &Resolutions::default()).last(), Some(5_001));
        index.forget_before(last);
        let groups: usize = Class::ALL.into_iter().map(|class| index.rooms.of(class).groups.len()).sum();
        assert_eq!((index.len(), groups, index.cost()), (1, 1, COST_MIN));
    }

    /// Adds events for ever, as the log would, and takes out what is too much.
    struct Bench {
        index: Index,
        next: u64,
        log: BTreeMap<u64, v1::Event>,
    }

    impl Bench {
        fn new() -> Self {
            Self { index: Index::default(), next: 1, log: BTreeMap::new() }
        }

        fn log(&mut self, event: v1::Event) {
            let entry = entry(self.next, &event);
            self.log.insert(self.next, event);
            self.next += 1;
            self.index.add(&entry).unwrap();
            for victim in self.index.surplus() {
                assert!(self.log.remove(&victim).is_some(), "{victim} is taken out once");
            }
        }

        fn count(&self, is: impl Fn(&v1::Event) -> bool) -> usize {
            self.log.values().filter(|event| is(event)).count()
        }
    }

    #[test]
    fn one_accounts_logins_displace_nothing_but_themselves() {
        let mut bench = Bench::new();
        for n in 0..9_000 {
            bench.log(event("host", "system", "state", n));
        }
        for n in 0..500 {
            bench.log(event("user", &n.to_string(), "updated", n));
            bench.log(event("daemon", "websrv", "state", n));
            bench.log(login("admin", n.unsigned_abs()));
        }
        for n in 0..50_000 {
            bench.log(login("poller", n));
        }
        assert_eq!(bench.count(|event| event.domain == "host"), 9_000);
        assert_eq!(bench.count(|event| event.domain == "user"), 500);
        assert_eq!(bench.count(|event| event.domain == "daemon"), 500);
        assert_eq!(bench.count(|event| who(event) == "admin"), 500, "what others did stays too");
        let logins = bench.count(|event| who(event) == "poller");
        assert!((2_000..6_000).contains(&logins), "{logins} use what the others leave");
        // Then the machine needs its room back.
        for n in 0..1_000 {
            bench.log(event("host", "system", "state", n));
        }
        assert_eq!(bench.count(|event| event.domain == "host"), 10_000);
    }

    #[test]
    fn what_a_stranger_does_under_others_names_takes_nobodys_room() {
        let mut bench = Bench::new();
        for n in 0..1_000 {
            bench.log(login("admin", n));
        }
        for n in 0..40_000_u64 {
            let change = v1::SessionChange {
                kind: v1::SessionChangeKind::LoginFailed.into(),
                user_id: format!("u{}", n % 50),
                ..v1::SessionChange::default()
            };
            bench.log(v1::Event {
                severity: v1::EventSeverity::Warning.into(),
                payload: Some(v1::event::Payload::SessionChange(change)),
                ..event("session", "none", "login-failed", 0)
            });
        }
        assert_eq!(bench.count(|event| who(event) == "admin"), 1_000);
        assert!(bench.index.rooms.of(Class::Sessions).groups.len() <= 2);
    }

    #[test]
    fn shares_are_the_whole_and_leave_headroom() {
        assert!(Class::ALL.iter().map(|class| class.share()).sum::<u64>() <= BUDGET);
        const { assert!(BUDGET + SLACK + 4_000 * COST_MIN < ipc::KEPT_BYTES) };
    }

    #[derive(Debug, Clone)]
    enum Step {
        Log {
            domain: usize,
            component: u8,
            what: u8,
            severity: i32,
            who: u8,
            padding: usize,
            second: u8,
        },
        /// The log drops its oldest by itself.
        Drop(usize),
        /// One is gone that was not asked for.
        Lose(usize),
        /// The daemon starts anew and reads the log again.
        Restart,
        List {
            domain: usize,
            component: u8,
            severity: i32,
            since: u8,
            size: usize,
        },
    }

    const DOMAINS: [&str; 6] = ["session", "user", "host", "chassis", "daemon", ""];

    fn steps() -> impl Strategy<Value = Step> {
        let log = (0..5usize, any::<u8>(), 0..3u8, 0..5i32, 0..4u8, 0..12_000usize, any::<u8>()).prop_map(
            |(domain, component, what, severity, who, padding, second)| Step::Log {
                domain,
                component,
                what,
                severity,
                who,
                padding,
                second,
            },
        );
        let list = (0..6usize, 0..40u8, 0..5i32, any::<u8>(), 1..9usize).prop_map(
            |(domain, component, severity, since, size)| Step::List {
                domain,
                component,
                severity,
                since,
                size,
            },
        );
        prop_oneof![
            30 => log,
            1 => (0..20usize).prop_map(Step::Drop),
            1 => (0..500usize).prop_map(Step::Lose),
            1 => Just(Step::Restart),
            6 => list,
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn it_answers_as_the_whole_log_would(steps in proptest::collection::vec(steps(), 0..900)) {
            let mut bench = Bench::new();
            for step in steps {
                match step {
                    Step::Log { domain, component, what, severity, who, padding, second } => {
                        let before: Vec<(u64, u64)> = Class::ALL.iter().map(|class| (bench.index.rooms.of(*class).cost, class.share())).collect();
                        bench.log(v1::Event {
                            severity,
                            principal: (who > 0).then(|| who.to_string()),
                            message: "x".repeat(padding),
                            ..event(DOMAINS[domain], &component.to_string(), &what.to_string(), second.into())
                        });
                        prop_assert!(bench.index.cost() <= BUDGET + SLACK);
                        for (class, (cost, share)) in Class::ALL.iter().zip(before) {
                            let now = bench.index.rooms.of(*class).cost;
                            // One event more than the share may go: they are not cut in two.
                            prop_assert!(now >= cost.min(share.saturating_sub(16 * 1024)), "{class:?} keeps its share");
                        }
                    }
                    Step::Drop(count) => {
                        let first = bench.log.keys().nth(count).copied().unwrap_or(bench.next);
                        bench.log.retain(|sequence, _| *sequence >= first);
                        bench.index.forget_before(first);
                    }
                    Step::Lose(at) => {
                        if let Some(sequence) = bench.log.keys().nth(at).copied() {
                            bench.log.remove(&sequence);
                            bench.index.forget(sequence);
                        }
                    }
                    Step::Restart => {
                        bench.index = Index::default();
                        for (sequence, event) in &bench.log {
                            bench.index.add(&entry(*sequence, event)).unwrap();
                        }
                    }
                    Step::List { domain, component, severity, since, size } => {
                        let filter = Filter {
                            domain: DOMAINS[domain].into(),
                            component: if component < 20 { component.to_string() } else { String::new() },
                            min_severity: severity,
                            since: (since < 128).then(|| u64::from(since) * 1_000),
                            ..Filter::default()
                        };
                        let expected: Vec<u64> = bench.log.iter().rev()
                            .filter(|(_, event)| filter.is(event, SystemTime::UNIX_EPOCH))
                            .map(|(sequence, _)| *sequence)
                            .collect();
                        let mut paged = Vec::new();
                        let mut below = None;
                        loop {
                            let page: Vec<u64> = bench.index.find(&filter, below, &Resolutions::default())
                                .filter(|sequence| filter.is(&bench.log[sequence], SystemTime::UNIX_EPOCH))
                                .take(size)
                                .collect();
                            below = page.last().copied();
                            paged.extend(page);
                            if below.is_none() { break }
                        }
                        prop_assert_eq!(paged, expected);
                    }
                }
                prop_assert_eq!(bench.index.len(), bench.log.len());
            }
        }
    }
}
