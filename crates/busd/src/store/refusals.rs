//! The machine on a medium that refuses: what was acknowledged is there, and nobody ever sees what was refused.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use nats::js::store::{Condition, StoreReport};
use nats::js::{Inbound, JetStream, Limits, Now, Output, Publish};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::disk::Disk as _;
use super::sim::{Fault, Random, SimDisk};
use super::{FileStore, StoreLimits};

const START: i64 = 1_800_000_000_000_000_000;
const KEYS: u8 = 4;
/// What an error says of a change that could not be taken back either.
const OPEN: &str = "a loss of power decides";

fn limits() -> StoreLimits {
    StoreLimits { max_bytes: 1024 * 1024, headroom: 64 * 1024, segment_bytes: 4096 }
}

#[derive(Debug, Clone)]
enum Op {
    /// A value of so many bytes; with the revision it replaces, as an update.
    Put(u8, u16, bool),
    Rollup(u8),
    Purge(Option<u8>),
    Get(u8),
    Pull,
    Commit,
    Fault(Option<Fault>, u64),
    /// Milliseconds.
    Wait(u64),
    /// The server is killed, or the power is lost.
    Kill,
    PowerLoss(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let fault =
        prop_oneof![Just(Fault::Full), Just(Fault::ReadOnly), Just(Fault::Worn), Just(Fault::Unsynced)];
    prop_oneof![
        24 => (0..KEYS, 1_u16..1500, any::<bool>()).prop_map(|(key, size, update)| Op::Put(key, size, update)),
        2 => (0..KEYS).prop_map(Op::Rollup),
        3 => prop_oneof![4 => (0..KEYS).prop_map(Some), 1 => Just(None)].prop_map(Op::Purge),
        6 => (0..KEYS).prop_map(Op::Get),
        4 => Just(Op::Pull),
        16 => Just(Op::Commit),
        3 => (fault, any::<u64>()).prop_map(|(fault, seed)| Op::Fault(Some(fault), seed)),
        3 => Just(Op::Fault(None, 0)),
        2 => (1_u64..12_000).prop_map(Op::Wait),
        1 => Just(Op::Kill),
        1 => any::<u64>().prop_map(Op::PowerLoss),
    ]
}

/// A change that was asked for in this turn.
#[derive(Debug)]
enum Asked {
    Put { key: u8, number: u32, update: bool },
    Purge(Option<u8>),
}

/// What is known of the values, and the checks.
#[derive(Debug, Default)]
struct Model {
    /// Number and sequence of what is stored, by key.
    now: BTreeMap<u8, (u32, u64)>,
    /// Numbers that were refused: never seen.
    refused: BTreeSet<u32>,
    /// Changes that a restart may bring, in order: refused where it could not be made sure, or not answered yet.
    open: Vec<Asked>,
    /// Which value had a sequence that somebody saw.
    seen: BTreeMap<u64, u32>,
    /// Sequences whose acknowledgement was confirmed to the consumer.
    done: BTreeSet<u64>,
}

impl Model {
    fn see(&mut self, seq: u64, number: u32) {
        assert!(!self.refused.contains(&number), "value {number} was refused and is seen at {seq}");
        let open = |asked: &Asked| matches!(asked, Asked::Put { number: n, .. } if *n == number);
        assert!(!self.open.iter().any(open), "value {number} is seen before it was acknowledged");
        assert_eq!(*self.seen.entry(seq).or_insert(number), number, "sequence {seq} was given out twice");
    }

    /// All that was open has not happened: the store takes writes, so the file was cut.
    fn close(&mut self) {
        for asked in std::mem::take(&mut self.open) {
            if let Asked::Put { number, .. } = asked {
                self.refused.insert(number);
            }
        }
    }
}

fn number_of(payload: &[u8]) -> u32 {
    u32::from_le_bytes(*payload.first_chunk().unwrap())
}

fn header(publish: &Publish, name: &str) -> Option<u64> {
    let text = std::str::from_utf8(&publish.headers).unwrap();
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok())
}

struct World {
    disk: SimDisk,
    machine: JetStream,
    now: Now,
    model: Model,
    asked: BTreeMap<u32, Asked>,
    next: u32,
    faulty: bool,
    reports: Vec<StoreReport>,
}

fn open(disk: &SimDisk, now: Now) -> JetStream {
    let store = FileStore::on(Arc::new(disk.clone()), Path::new("/store"), limits()).unwrap();
    let mut machine = JetStream::open(Box::new(store), Limits::default(), 7, now).unwrap();
    machine.commit(now);
    machine
}

impl World {
    fn new(history: i64) -> Self {
        let (disk, now) = (SimDisk::new(), Now { mono: 0, wall: START });
        let machine = open(&disk, now);
        let mut this = Self {
            disk,
            machine,
            now,
            model: Model::default(),
            asked: BTreeMap::new(),
            next: 0,
            faulty: false,
            reports: Vec::new(),
        };
        let stream = json!({"name": "KV", "subjects": ["kv.>"], "max_msgs_per_subject": history,
            "allow_direct": true, "allow_rollup_hdrs": true});
        this.send("made", "$JS.API.STREAM.CREATE.KV", b"", stream.to_string().as_bytes());
        let durable =
            json!({"durable_name": "d", "ack_policy": "explicit", "ack_wait": 3_600_000_000_000_i64});
        this.create("d", &durable);
        this.commit();
        this.watch();
        this
    }

    fn create(&mut self, name: &str, config: &Value) {
        let request = json!({"stream_name": "KV", "config": config}).to_string();
        self.send("made", &format!("$JS.API.CONSUMER.CREATE.KV.{name}"), b"", request.as_bytes());
    }

    /// Somebody who watches everything from the start.
    fn watch(&mut self) {
        self.create("w", &json!({"deliver_subject": "watch", "ack_policy": "none"}));
        self.machine.interest(self.now, "watch", true);
        self.commit();
    }

    fn send(&mut self, reply: &str, subject: &str, headers: &[u8], payload: &[u8]) {
        let message =
            Inbound { subject: subject.as_bytes(), reply: Some(reply.as_bytes()), headers, payload };
        self.machine.handle(self.now, message);
    }

    fn ask(&mut self, asked: Asked, subject: &str, headers: &str, payload: &[u8]) {
        let number = self.next;
        self.send(&format!("answer.{number}"), subject, headers.as_bytes(), payload);
        self.asked.insert(number, asked);
    }

    fn apply(&mut self, op: &Op) {
        self.next += 1;
        match op {
            Op::Put(key, size, update) => {
                let mut payload = self.next.to_le_bytes().to_vec();
                payload.resize(usize::from(*size) + 4, *key);
                // An update names the revision it replaces, as far as the client can know it.
                let touched = self.asked.values().any(|a| match a {
                    Asked::Put { key: k, .. } => k == key,
                    Asked::Purge(k) => k.is_none_or(|k| k == *key),
                });
                let update = *update && !touched;
                let last = self.model.now.get(key).map_or(0, |(_, seq)| *seq);
                let headers = match update {
                    true => format!("NATS/1.0\r\nNats-Expected-Last-Subject-Sequence: {last}\r\n\r\n"),
                    false => format!("NATS/1.0\r\nNats-Msg-Id: {}\r\n\r\n", self.next),
                };
                let asked = Asked::Put { key: *key, number: self.next, update };
                self.ask(asked, &format!("kv.{key}"), &headers, &payload);
            }
            Op::Rollup(key) => {
                let payload = self.next.to_le_bytes();
                let asked = Asked::Put { key: *key, number: self.next, update: false };
                self.ask(asked, &format!("kv.{key}"), "NATS/1.0\r\nNats-Rollup: sub\r\n\r\n", &payload);
            }
            Op::Purge(key) => {
                let filter = key.map_or(json!({}), |key| json!({"filter": format!("kv.{key}")})).to_string();
                self.ask(Asked::Purge(*key), "$JS.API.STREAM.PURGE.KV", "", filter.as_bytes());
            }
            Op::Get(key) => self.send("got", &format!("$JS.API.DIRECT.GET.KV.kv.{key}"), b"", b""),
            Op::Pull => {
                self.send("pulled", "$JS.API.CONSUMER.MSG.NEXT.KV.d", b"", br#"{"batch":3,"no_wait":true}"#)
            }
            Op::Commit => self.commit(),
            Op::Fault(fault, seed) => {
                self.commit();
                self.faulty = fault.is_some();
                self.disk.set_fault(fault.map(|fault| (fault, *seed)));
            }
            Op::Wait(millis) => {
                self.now.mono += millis;
                self.now.wall += i64::try_from(*millis).unwrap() * 1_000_000;
                self.commit();
            }
            Op::Kill => self.restart(self.disk.copy()),
            Op::PowerLoss(seed) => self.restart(self.disk.after_power_loss(&mut Random::new(*seed))),
        }
    }

    fn commit(&mut self) {
        self.now.mono += 1;
        self.now.wall += 1_000_000;
        let outputs = self.machine.commit(self.now);
        self.machine.housekeep();
        let mut answers = BTreeMap::new();
        let mut later = Vec::new();
        for output in outputs {
            match output {
                Output::Publish(p) => match p.route.strip_prefix("answer.") {
                    Some(number) => {
                        answers.insert(number.parse::<u32>().unwrap(), p);
                    }
                    None => later.push(p),
                },
                Output::Report(report) => self.reports.push(report),
                _ => {}
            }
        }
        for (number, asked) in std::mem::take(&mut self.asked) {
            let answer: Value = serde_json::from_slice(&answers[&number].payload).unwrap();
            self.answered(asked, &answer);
        }
        for p in later {
            self.received(&p);
        }
    }

    fn answered(&mut self, asked: Asked, answer: &Value) {
        if let Some(error) = answer.get("error") {
            let text = error["description"].as_str().unwrap();
            assert!(self.faulty || error["err_code"] != 10_071, "a revision that was not refused: {answer}");
            if let Asked::Put { update: true, .. } = asked {
                assert_ne!(error["err_code"], 10_071, "an update of what is there: {answer}");
            }
            if text.contains(OPEN) {
                self.model.open.push(asked);
            } else if let Asked::Put { number, .. } = asked {
                self.model.refused.insert(number);
            }
            return;
        }
        self.model.close();
        match asked {
            Asked::Put { key, number, .. } => {
                assert!(answer.get("duplicate").is_none(), "{answer}");
                let seq = answer["seq"].as_u64().unwrap();
                self.model.see(seq, number);
                self.model.now.insert(key, (number, seq));
            }
            Asked::Purge(Some(key)) => drop(self.model.now.remove(&key)),
            Asked::Purge(None) => self.model.now.clear(),
        }
    }

    fn received(&mut self, p: &Publish) {
        match p.route.as_str() {
            "watch" if p.subject.starts_with("kv.") => {
                let seq = p.reply.as_ref().unwrap().split('.').nth(5).unwrap().parse().unwrap();
                self.model.see(seq, number_of(&p.payload));
            }
            "got" => {
                if let Some(seq) = header(p, "Nats-Sequence") {
                    self.model.see(seq, number_of(&p.payload));
                }
            }
            "pulled" if p.subject.starts_with("kv.") => {
                let ack = p.reply.clone().unwrap();
                let seq: u64 = ack.split('.').nth(5).unwrap().parse().unwrap();
                self.model.see(seq, number_of(&p.payload));
                assert!(!self.model.done.contains(&seq), "{seq} was acknowledged and comes again");
                self.send(&format!("done.{seq}"), &ack, b"", b"+ACK");
            }
            other => {
                if let Some(seq) = other.strip_prefix("done.") {
                    self.model.done.insert(seq.parse().unwrap());
                }
            }
        }
    }

    /// What is there is what was acknowledged.
    fn check(&mut self) {
        for key in 0..KEYS {
            let found = self.value(key);
            let expected = self.model.now.get(&key).copied();
            assert_eq!(found, expected, "key {key}: number and sequence");
        }
    }

    fn value(&mut self, key: u8) -> Option<(u32, u64)> {
        self.send("check", &format!("$JS.API.DIRECT.GET.KV.kv.{key}"), b"", b"");
        let outputs = self.machine.commit(self.now);
        let answer = outputs.into_iter().find_map(|o| match o {
            Output::Publish(p) if p.route == "check" => Some(p),
            _ => None,
        })?;
        let seq = header(&answer, "Nats-Sequence")?;
        Some((number_of(&answer.payload), seq))
    }

    fn restart(&mut self, disk: SimDisk) {
        disk.set_fault(None);
        self.faulty = false;
        self.disk = disk;
        self.machine = open(&self.disk, self.now);
        // What was asked in the turn that did not end may have happened, as may what was left open.
        let mut open = std::mem::take(&mut self.model.open);
        open.extend(std::mem::take(&mut self.asked).into_values());
        for key in 0..KEYS {
            let found = self.value(key);
            let mut possible = vec![self.model.now.get(&key).map(|(number, _)| *number)];
            for asked in &open {
                match asked {
                    Asked::Put { key: k, number, .. } if *k == key => possible.push(Some(*number)),
                    Asked::Purge(k) if k.is_none_or(|k| k == key) => possible.push(None),
                    _ => {}
                }
            }
            let number = found.map(|(number, _)| number);
            assert!(possible.contains(&number), "key {key}: {number:?} is none of {possible:?}");
            match found {
                Some((number, seq)) => {
                    self.model.see(seq, number);
                    self.model.now.insert(key, (number, seq));
                }
                None => drop(self.model.now.remove(&key)),
            }
        }
        self.watch();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(64)))]
    /// Whatever the medium refuses and whenever the power goes, or the server ends on a sound medium: what was acknowledged is there, what was refused is seen by no
    /// reader, watcher, consumer or check, now or later, and no sequence is seen with two values.
    #[test]
    fn a_refused_change_has_not_happened(
        history in 1_i64..4,
        ops in proptest::collection::vec(op(), 60..240),
    ) {
        let mut world = World::new(history);
        for op in &ops {
            world.apply(op);
            if matches!(op, Op::Commit) && world.asked.is_empty() {
                world.check();
            }
        }
        world.commit();
        world.check();
        // And it heals.
        world.apply(&Op::Fault(None, 0));
        world.apply(&Op::Wait(6_000));
        world.apply(&Op::Put(0, 100, true));
        let number = world.next;
        world.apply(&Op::Commit);
        prop_assert_eq!(world.model.now[&0].0, number);
        world.apply(&Op::PowerLoss(1));
        world.check();
    }
}

#[test]
fn a_failing_medium_is_told_once_and_when_it_is_over() {
    let mut world = World::new(1);
    for (fault, condition) in [
        (Fault::Full, Condition::Full),
        (Fault::ReadOnly, Condition::ReadOnly),
        (Fault::Unsynced, Condition::Failing),
    ] {
        world.reports.clear();
        world.apply(&Op::Fault(Some(fault), 1));
        // A day of somebody who tries once a second.
        for _ in 0..86_400 / 60 {
            world.apply(&Op::Put(1, 900, false));
            world.apply(&Op::Wait(60_000));
        }
        assert!(world.model.now.is_empty() || world.model.now[&1].0 < 1_000_000);
        let told = |world: &World| -> Vec<Condition> {
            let condition = |r: &StoreReport| match r {
                StoreReport::Condition { condition, .. } => Some(*condition),
                _ => None,
            };
            world.reports.iter().filter_map(condition).collect()
        };
        assert_eq!(told(&world), [condition]);
        assert!(world.reports.len() < 4, "{:?}", world.reports);
        world.apply(&Op::Fault(None, 0));
        world.apply(&Op::Wait(6_000));
        world.apply(&Op::Wait(6_000));
        assert_eq!(told(&world), [condition, Condition::Ok]);
        world.apply(&Op::Put(1, 900, false));
        world.apply(&Op::Commit);
        assert_eq!(world.model.now[&1].0, world.next - 1);
    }
}

#[test]
fn what_is_written_where_nobody_finds_it_again_is_not_acknowledged() {
    let mut world = World::new(1);
    world.apply(&Op::Put(1, 900, false));
    world.apply(&Op::Commit);
    let stored = world.model.now[&1].0;
    let (streams, away) = (Path::new("/store/streams"), Path::new("/store/away"));
    world.disk.rename(streams, away).unwrap();
    world.apply(&Op::Put(1, 900, false));
    world.apply(&Op::Commit);
    assert_eq!(world.model.now[&1].0, stored, "its file was moved away, so it is refused");
    let failing =
        |report: &StoreReport| matches!(report, StoreReport::Condition { condition: Condition::Failing, .. });
    assert!(world.reports.iter().any(failing), "{:?}", world.reports);
    world.disk.rename(away, streams).unwrap();
    world.apply(&Op::Wait(6_000));
    world.apply(&Op::Wait(6_000));
    world.apply(&Op::Put(1, 900, false));
    world.apply(&Op::Commit);
    assert_eq!(world.model.now[&1].0, world.next - 1);
}

#[test]
fn while_the_medium_fails_the_machine_rests() {
    for fault in [Fault::Full, Fault::ReadOnly, Fault::Unsynced, Fault::Worn] {
        let mut world = World::new(1);
        world.apply(&Op::Put(1, 900, false));
        world.apply(&Op::Commit);
        world.apply(&Op::Pull);
        world.apply(&Op::Commit);
        world.apply(&Op::Fault(Some(fault), 1));
        world.apply(&Op::Put(1, 900, false));
        world.apply(&Op::Commit);
        // A thread that does nothing but what its deadline asks for.
        let end = world.now.mono + 600_000;
        let mut turns = 0;
        while let Some(at) = world.machine.deadline(world.now)
            && at < end
        {
            turns += 1;
            assert!(turns < 2_000, "{fault:?}: {turns} turns in ten minutes");
            let wait = at.saturating_sub(world.now.mono);
            world.apply(&Op::Wait(wait));
        }
    }
}

/// Found by the property above: of two segments that were merged into a third the newer one stayed unlinked when the power went, the older
/// one did not, and what had been removed was there again.
#[test]
fn merged_segments_go_in_their_order() {
    for seed in 0..100 {
        let mut world = World::new(2);
        let put = |world: &mut World, key, size, update| world.apply(&Op::Put(key, size, update));
        for _ in 0..8 {
            put(&mut world, 0, 1, false);
        }
        put(&mut world, 0, 278, false);
        world.apply(&Op::Commit);
        put(&mut world, 1, 1, false);
        put(&mut world, 0, 1, false);
        world.apply(&Op::Rollup(0));
        for size in [1, 328, 1, 1] {
            put(&mut world, 0, size, false);
        }
        world.apply(&Op::Fault(None, 0));
        put(&mut world, 0, 289, false);
        put(&mut world, 1, 56, true);
        put(&mut world, 2, 300, true);
        for size in [1382, 74, 169, 309] {
            put(&mut world, 0, size, false);
        }
        put(&mut world, 3, 477, true);
        world.apply(&Op::Commit);
        put(&mut world, 3, 1193, true);
        for size in [815, 1144] {
            put(&mut world, 3, size, false);
        }
        put(&mut world, 0, 613, false);
        world.apply(&Op::Purge(Some(3)));
        world.apply(&Op::Get(0));
        world.apply(&Op::Commit);
        world.apply(&Op::PowerLoss(seed));
    }
}
