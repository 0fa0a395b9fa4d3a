//! The machine on a disk that loses power, on damaged files and on a full disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nats::js::store::StoreReport;
use nats::js::{Inbound, JetStream, Limits, Now, Output};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::sim::{Random, SimDisk};
use super::{FileStore, StoreLimits};

pub(super) const ROOT: &str = "/store";
const START: i64 = 1_800_000_000_000_000_000;

/// A server's streams, and a client that waits for every answer.
pub(super) struct Bench {
    pub(super) machine: JetStream,
    pub(super) now: Now,
    pub(super) reports: Vec<StoreReport>,
}

impl Bench {
    pub(super) fn open(disk: &SimDisk, limits: StoreLimits, now: Now) -> Self {
        Self::of(FileStore::on(Arc::new(disk.clone()), Path::new(ROOT), limits).unwrap(), now)
    }

    pub(super) fn of(store: FileStore, now: Now) -> Self {
        let mut machine = JetStream::open(Box::new(store), Limits::default(), 7, now).unwrap();
        let mut reports = Vec::new();
        collect(machine.commit(now), &mut BTreeMap::new(), &mut reports);
        Self { machine, now, reports }
    }

    pub(super) fn send(&mut self, reply: &str, subject: &str, headers: &[u8], payload: &[u8]) {
        let message =
            Inbound { subject: subject.as_bytes(), reply: Some(reply.as_bytes()), headers, payload };
        self.machine.handle(self.now, message);
    }

    pub(super) fn commit(&mut self) -> BTreeMap<String, (Vec<u8>, Vec<u8>)> {
        self.now.mono += 1;
        self.now.wall += 1_000_000;
        let mut answers = BTreeMap::new();
        collect(self.machine.commit(self.now), &mut answers, &mut self.reports);
        self.machine.housekeep();
        answers
    }

    pub(super) fn api(&mut self, subject: &str, request: Value) -> Value {
        self.send("r", &format!("$JS.API.{subject}"), b"", request.to_string().as_bytes());
        let answers = self.commit();
        serde_json::from_slice(&answers["r"].1).unwrap()
    }

    pub(super) fn publish(&mut self, subject: &str, payload: &[u8]) -> Value {
        self.send("r", subject, b"", payload);
        let answers = self.commit();
        serde_json::from_slice(&answers["r"].1).unwrap()
    }

    /// The value of a key, by direct get.
    pub(super) fn value(&mut self, stream: &str, subject: &str) -> Option<Vec<u8>> {
        self.send("r", &format!("$JS.API.DIRECT.GET.{stream}.{subject}"), b"", b"");
        let (headers, payload) = self.commit().remove("r").unwrap();
        let missing = headers.starts_with(b"NATS/1.0 404");
        assert!(missing || headers.starts_with(b"NATS/1.0\r\n"), "{}", String::from_utf8_lossy(&headers));
        (!missing).then_some(payload)
    }

    pub(super) fn state(&mut self, stream: &str) -> Value {
        self.api(&format!("STREAM.INFO.{stream}"), json!({}))["state"].take()
    }
}

fn collect(
    outputs: Vec<Output>,
    answers: &mut BTreeMap<String, (Vec<u8>, Vec<u8>)>,
    reports: &mut Vec<StoreReport>,
) {
    for output in outputs {
        match output {
            Output::Publish(p) => {
                answers.insert(p.route, (p.headers.to_vec(), p.payload.to_vec()));
            }
            Output::Report(report) => reports.push(report),
            _ => {}
        }
    }
}

pub(super) fn begin() -> Now {
    Now { mono: 0, wall: START }
}

pub(super) fn small() -> StoreLimits {
    StoreLimits { max_bytes: 4 * 1024 * 1024, headroom: 64 * 1024, segment_bytes: 4096 }
}

pub(super) fn kv(history: i64) -> Value {
    json!({"name": "KV", "subjects": ["kv.>"], "max_msgs_per_subject": history, "allow_direct": true, "allow_rollup_hdrs": true})
}

#[derive(Debug, Clone)]
enum Op {
    Put(u8, u16),
    Rollup(u8),
    Delete(u8),
    Purge(Option<u8>),
    Commit,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        10 => (0_u8..6, 1_u16..900).prop_map(|(k, size)| Op::Put(k, size)),
        1 => (0_u8..6).prop_map(Op::Rollup),
        2 => (0_u8..6).prop_map(Op::Delete),
        1 => prop_oneof![4 => (0_u8..6).prop_map(Some), 1 => Just(None)].prop_map(Op::Purge),
        6 => Just(Op::Commit),
    ]
}

/// What a client knows: the value it was told is stored, and values it sent later without an answer yet. `None`: gone.
#[derive(Debug, Clone, Default)]
struct Known {
    acknowledged: Option<Vec<u8>>,
    later: Vec<Option<Vec<u8>>>,
}

struct Run {
    bench: Bench,
    known: BTreeMap<u8, Known>,
    /// Answers that are out: by reply subject, the key and how many of its later values the answer confirms.
    waiting: BTreeMap<String, Vec<(u8, usize)>>,
    number: u32,
}

impl Run {
    fn note(&mut self, key: u8, value: Option<Vec<u8>>) -> (u8, usize) {
        let known = self.known.entry(key).or_default();
        known.later.push(value);
        (key, known.later.len())
    }

    fn apply(&mut self, op: &Op) {
        self.number += 1;
        let reply = format!("r{}", self.number);
        match op {
            Op::Put(key, size) => {
                let mut payload = self.number.to_le_bytes().to_vec();
                payload.resize(usize::from(*size) + 4, *key);
                let noted = self.note(*key, Some(payload.clone()));
                self.waiting.insert(reply.clone(), vec![noted]);
                self.bench.send(&reply, &format!("kv.{key}"), b"", &payload);
            }
            Op::Rollup(key) => {
                let payload = self.number.to_le_bytes().to_vec();
                let noted = self.note(*key, Some(payload.clone()));
                self.waiting.insert(reply.clone(), vec![noted]);
                let headers = b"NATS/1.0\r\nNats-Rollup: sub\r\n\r\n";
                self.bench.send(&reply, &format!("kv.{key}"), headers, &payload);
            }
            Op::Delete(key) => {
                // All of the key's messages, so that what was under it does not show.
                let noted = self.note(*key, None);
                self.waiting.insert(reply.clone(), vec![noted]);
                let request = json!({"filter": format!("kv.{key}")}).to_string();
                self.bench.send(&reply, "$JS.API.STREAM.PURGE.KV", b"", request.as_bytes());
            }
            Op::Purge(None) => {
                let noted = (0..6).map(|key| self.note(key, None)).collect();
                self.waiting.insert(reply.clone(), noted);
                self.bench.send(&reply, "$JS.API.STREAM.PURGE.KV", b"", b"");
            }
            Op::Purge(Some(key)) => {
                let request = json!({"filter": format!("kv.{key}"), "keep": 1}).to_string();
                self.bench.send(&reply, "$JS.API.STREAM.PURGE.KV", b"", request.as_bytes());
            }
            Op::Commit => self.commit(),
        }
    }

    fn commit(&mut self) {
        let answers = self.bench.commit();
        let mut newest: BTreeMap<u8, usize> = BTreeMap::new();
        for (reply, confirmed) in std::mem::take(&mut self.waiting) {
            let Some((_, payload)) = answers.get(&reply) else { continue };
            let answer: Value = serde_json::from_slice(payload).unwrap();
            if answer.get("error").is_some() {
                // Refused, and yet it may be on the medium.
                continue;
            }
            for (key, count) in confirmed {
                let newest = newest.entry(key).or_default();
                *newest = count.max(*newest);
            }
        }
        for (key, count) in newest {
            let known = self.known.get_mut(&key).unwrap();
            known.acknowledged = known.later.drain(..count).next_back().unwrap();
        }
    }
}

fn power_loss(history: i64, ops: &[Op], crashes: &[(usize, u64)]) -> Result<(), TestCaseError> {
    let mut disk = SimDisk::new();
    let mut now = begin();
    let mut known: BTreeMap<u8, Known> = BTreeMap::new();
    let mut number = 0;
    let mut exists = false;
    let mut ops = ops.iter();
    for (left, seed) in crashes {
        let mut bench = Bench::open(&disk, small(), now);
        if !exists {
            let answer = bench.api("STREAM.CREATE.KV", kv(history));
            exists = answer.get("error").is_none();
            prop_assert!(exists, "{}", answer);
        }
        // What was acknowledged is there; what was not may be.
        for key in 0..6 {
            let value = bench.value("KV", &format!("kv.{key}"));
            let k = known.entry(key).or_default();
            let fine = value == k.acknowledged || k.later.contains(&value);
            prop_assert!(
                fine,
                "key {}: {:?} is neither {:?} nor one of {:?}",
                key,
                value,
                k.acknowledged,
                k.later
            );
            // From now on it is visible, so it must stay.
            *k = Known { acknowledged: value, later: Vec::new() };
        }
        let mut run = Run { bench, known, waiting: BTreeMap::new(), number };
        disk.fail_after(Some(*left));
        for op in ops.by_ref().take(60) {
            run.apply(op);
            if run.bench.reports.iter().any(|r| matches!(r, StoreReport::Failed { .. })) {
                // The power is off; nothing after this is answered, and the rest of the turn never ends.
                break;
            }
        }
        (known, number, now) = (run.known, run.number, run.bench.now);
        disk = disk.after_power_loss(&mut Random::new(*seed));
    }
    Ok(())
}

/// A turn that stores a value and removes the one before it: whatever part of the write survives, one of them is there.
#[test]
fn a_removal_never_outlives_the_message_it_made_way_for() {
    for seed in 0..200 {
        let disk = SimDisk::new();
        let mut bench = Bench::open(&disk, small(), begin());
        bench.api("STREAM.CREATE.KV", kv(2));
        bench.publish("kv.1", b"older");
        bench.publish("kv.1", b"old");
        // The power goes somewhere in this turn.
        disk.fail_after(Some(usize::try_from(seed % 4).unwrap()));
        bench.send("a", "kv.1", b"", &[7; 600]);
        bench.send("b", "$JS.API.STREAM.PURGE.KV", b"", br#"{"filter":"kv.1","keep":1}"#);
        bench.commit();
        let disk = disk.after_power_loss(&mut Random::new(seed * 7919 + 3));
        let value = Bench::open(&disk, small(), begin()).value("KV", "kv.1").unwrap_or_default();
        assert!(value == b"old" || value == [7; 600], "{seed}: {value:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(48)))]
    /// Whenever the power goes, whatever part of the unsynced writes survives: every store opens, nothing that was
    /// acknowledged is missing, nothing that was acknowledged as removed is back.
    #[test]
    fn power_loss_takes_nothing_that_was_acknowledged(
        history in 1_i64..4,
        ops in proptest::collection::vec(op(), 120..360),
        crashes in proptest::collection::vec((1_usize..120, any::<u64>()), 3..8),
    ) {
        power_loss(history, &ops, &crashes)?;
    }
}

/// A store with some records, and where its newest segment lies.
fn filled(disk: &SimDisk, count: usize) -> PathBuf {
    let mut bench = Bench::open(disk, StoreLimits { segment_bytes: 1 << 20, ..small() }, begin());
    bench.api("STREAM.CREATE.KV", kv(1));
    for n in 0..count {
        let answer = bench.publish(&format!("kv.{n}"), format!("value {n}").as_bytes());
        assert_eq!(answer["seq"], n + 1);
    }
    PathBuf::from(ROOT).join("streams/KV/00000001.seg")
}

#[test]
fn a_cut_at_any_byte_costs_only_what_was_cut() {
    let disk = SimDisk::new();
    let path = filled(&disk, 12);
    let mut bytes = Vec::new();
    disk.edit(&path, |b| bytes.clone_from(b));
    let mut ends = Vec::new();
    super::scan_segment(1, &bytes, &mut |_, found| ends.push(found.offset + found.size));
    assert_eq!(ends.len(), 12);
    for cut in 0..=bytes.len() {
        let disk = disk.copy();
        disk.edit(&path, |b| b.truncate(cut));
        let mut bench = Bench::open(&disk, small(), begin());
        let kept = ends.iter().filter(|end| **end <= cut).count();
        assert_eq!(bench.state("KV")["messages"], kept, "cut at {cut}");
        // And it goes on.
        assert!(bench.publish("kv.next", b"x").get("error").is_none());
        drop(bench);
        assert_eq!(Bench::open(&disk, small(), begin()).state("KV")["messages"], kept + 1, "cut at {cut}");
    }
}

/// Turns part of a byte over: more than one bit, so that it cannot be set right.
pub(super) fn spoil(byte: &mut u8) {
    *byte ^= 0x7e;
}

fn is_damage(report: &StoreReport) -> bool {
    matches!(report, StoreReport::Damaged { .. } | StoreReport::Found { .. })
}

#[test]
fn a_turned_bit_costs_nothing_and_is_told() {
    let disk = SimDisk::new();
    let path = filled(&disk, 6);
    let length = disk.files()[&path].len();
    for byte in 0..length {
        let disk = disk.copy();
        disk.edit(&path, |b| b[byte] ^= 1 << (byte % 8));
        let mut bench = Bench::open(&disk, small(), begin());
        for n in 0..6 {
            assert_eq!(
                bench.value("KV", &format!("kv.{n}")).unwrap(),
                format!("value {n}").as_bytes(),
                "{byte}"
            );
        }
        assert!(bench.reports.iter().any(is_damage), "byte {byte}: nothing was reported");
        assert_eq!(bench.publish("kv.next", b"x")["seq"], 7, "byte {byte}");
        drop(bench);
        // The same damage is not found twice.
        assert!(Bench::open(&disk, small(), begin()).reports.is_empty(), "byte {byte}");
    }
}

#[test]
fn damage_costs_one_message_and_keeps_the_file_for_people() {
    let disk = SimDisk::new();
    let path = filled(&disk, 6);
    let bytes = disk.files()[&path].clone();
    let mut records = Vec::new();
    super::scan_segment(1, &bytes, &mut |_, found| records.push(found));
    for byte in 0..bytes.len() {
        let disk = disk.copy();
        disk.edit(&path, |b| spoil(&mut b[byte]));
        let mut bench = Bench::open(&disk, small(), begin());
        let hit = records.iter().position(|r| (r.offset..r.offset + r.size).contains(&byte));
        for n in 0..6 {
            let expected = (hit != Some(n)).then(|| format!("value {n}").into_bytes());
            assert_eq!(bench.value("KV", &format!("kv.{n}")), expected, "byte {byte}");
        }
        assert!(!bench.reports.is_empty(), "byte {byte}: nothing was reported");
        let next = bench.publish("kv.next", b"x");
        assert!(next["seq"].as_u64().unwrap() > 6, "byte {byte}: {next}");
        drop(bench);
        // The same damage is not found twice.
        assert!(Bench::open(&disk, small(), begin()).reports.is_empty(), "byte {byte}");
    }
}

/// What a client pipelines is one write; when it was answered, damage in it is damage and no torn write.
#[test]
fn damage_in_the_newest_write_costs_one_message_and_no_number_is_given_out_again() {
    for orderly in [true, false] {
        let disk = SimDisk::new();
        let mut bench = Bench::open(&disk, StoreLimits { segment_bytes: 1 << 20, ..small() }, begin());
        bench.api("STREAM.CREATE.KV", kv(1));
        for n in 0..20 {
            bench.send(&format!("r{n}"), &format!("kv.{n}"), b"", format!("value {n}").as_bytes());
        }
        assert_eq!(bench.commit().len(), 20);
        if orderly {
            bench.machine.close(bench.now);
        }
        drop(bench);
        let path = PathBuf::from(ROOT).join("streams/KV/00000001.seg");
        let mut records = Vec::new();
        super::scan_segment(1, &disk.files()[&path], &mut |_, found| records.push(found));
        for hit in 0..20 {
            let disk = disk.copy();
            disk.edit(&path, |b| spoil(&mut b[records[hit].offset + records[hit].size - 1]));
            let mut bench = Bench::open(&disk, small(), begin());
            for n in (0..20).filter(|n| *n != hit) {
                assert!(
                    bench.value("KV", &format!("kv.{n}")).is_some(),
                    "{hit}: {n} is gone, orderly {orderly}"
                );
            }
            assert!(bench.reports.iter().any(is_damage), "{hit}, orderly {orderly}: {:?}", bench.reports);
            drop(bench);
            let mut bench = Bench::open(&disk, small(), begin());
            assert!(bench.reports.is_empty());
            assert!(bench.publish("kv.x", b"x")["seq"].as_u64().unwrap() > 20, "{hit}, orderly {orderly}");
        }
    }
}

pub(super) fn bucket() -> Value {
    json!({"name": "KV_b", "subjects": ["$KV.b.>"], "max_msgs_per_subject": 1, "allow_direct": true})
}

/// A bucket's key, of which an older value still lies in an older segment.
fn bucket_with_an_older_value(disk: &SimDisk) -> (PathBuf, Vec<super::Found>) {
    let mut bench = Bench::open(disk, StoreLimits { segment_bytes: 4096, ..small() }, begin());
    bench.api("STREAM.CREATE.KV_b", bucket());
    bench.publish("$KV.b.lock", b"open");
    bench.publish("$KV.b.other", &[1; 3950]);
    bench.publish("$KV.b.lock", b"locked");
    bench.publish("$KV.b.last", b"x");
    bench.machine.close(bench.now);
    let path = PathBuf::from(ROOT).join("streams/KV_b/00000002.seg");
    let mut records = Vec::new();
    super::scan_segment(2, &disk.files()[&path], &mut |_, found| records.push(found));
    (path, records)
}

#[test]
fn a_lost_value_of_a_key_does_not_bring_the_one_before_it_back() {
    let disk = SimDisk::new();
    let (path, records) = bucket_with_an_older_value(&disk);
    let locked = records[0];
    for refused in [None, Some(std::io::ErrorKind::StorageFull), Some(std::io::ErrorKind::ReadOnlyFilesystem)]
    {
        let disk = disk.copy();
        disk.edit(&path, |b| spoil(&mut b[locked.offset + locked.size - 1]));
        disk.refuse(refused);
        let mut bench = Bench::open(&disk, small(), begin());
        assert_eq!(bench.value("KV_b", "$KV.b.lock").unwrap(), b"", "{refused:?}");
        assert_eq!(bench.value("KV_b", "$KV.b.last").unwrap(), b"x");
        assert!(bench.reports.iter().any(is_damage));
        drop(bench);
        disk.refuse(None);
        // It stays so, also when segments are cleaned.
        let mut bench = Bench::open(&disk, small(), begin());
        assert_eq!(bench.value("KV_b", "$KV.b.lock").unwrap(), b"");
        for n in 0..400_u32 {
            bench.publish("$KV.b.other", &n.to_le_bytes().repeat(200));
        }
        drop(bench);
        let mut bench = Bench::open(&disk, small(), begin());
        assert_eq!(bench.value("KV_b", "$KV.b.lock").unwrap(), b"", "{refused:?}");
        // Until it is written anew.
        bench.publish("$KV.b.lock", b"open");
        drop(bench);
        assert_eq!(Bench::open(&disk, small(), begin()).value("KV_b", "$KV.b.lock").unwrap(), b"open");
    }
}

#[test]
fn a_lost_value_whose_key_is_lost_too_is_told_in_the_bucket() {
    let disk = SimDisk::new();
    let (path, records) = bucket_with_an_older_value(&disk);
    disk.edit(&path, |b| b[records[0].offset..records[0].offset + records[0].size].fill(0));
    let mut bench = Bench::open(&disk, small(), begin());
    assert_eq!(bench.value("KV_b", "$KV.b._damaged").unwrap(), b"");
    assert_eq!(bench.value("KV_b", "$KV.b.last").unwrap(), b"x");
}

#[test]
fn one_damaged_copy_of_the_metadata_costs_nothing() {
    let disk = SimDisk::new();
    filled(&disk, 3);
    for meta in super::METAS {
        let path = PathBuf::from(ROOT).join("streams/KV").join(meta);
        for change in [|b: &mut Vec<u8>| spoil(&mut b[20]), Vec::clear, |b: &mut Vec<u8>| b.fill(0)] {
            let disk = disk.copy();
            disk.edit(&path, change);
            let mut bench = Bench::open(&disk, small(), begin());
            assert_eq!(bench.state("KV")["messages"], 3);
            assert!(bench.reports.iter().any(is_damage), "{meta}");
            drop(bench);
            // It is made good.
            let mut bench = Bench::open(&disk, small(), begin());
            assert_eq!((bench.reports.len(), &bench.state("KV")["messages"]), (0, &json!(3)));
        }
    }
}

fn spoil_metadata(disk: &SimDisk, stream: &str) {
    for meta in super::METAS {
        disk.edit(&PathBuf::from(ROOT).join("streams").join(stream).join(meta), |b| spoil(&mut b[20]));
    }
}

#[test]
fn a_stream_without_metadata_waits_for_its_definition_and_the_others_live() {
    let disk = SimDisk::new();
    filled(&disk, 3);
    let mut bench = Bench::open(&disk, small(), begin());
    bench.api("STREAM.CREATE.OTHER", json!({"name": "OTHER", "subjects": ["o"]}));
    bench.publish("o", b"kept");
    drop(bench);
    spoil_metadata(&disk, "KV");
    for _ in 0..2 {
        let mut bench = Bench::open(&disk, small(), begin());
        assert!(
            bench.reports.iter().any(|r| matches!(r, StoreReport::Found { stream, .. } if stream == "KV"))
        );
        assert_eq!(bench.api("STREAM.NAMES", json!({}))["streams"], json!(["OTHER"]));
        assert_eq!(bench.state("OTHER")["messages"], 1);
    }
    let mut bench = Bench::open(&disk, small(), begin());
    assert!(bench.api("STREAM.CREATE.KV", kv(1)).get("error").is_none());
    assert_eq!(bench.value("KV", "kv.2").unwrap(), b"value 2");
    assert_eq!(bench.publish("kv.a", b"x")["seq"], 4);
    drop(bench);
    let mut bench = Bench::open(&disk, small(), begin());
    assert_eq!((bench.reports.len(), &bench.state("KV")["messages"]), (0, &json!(4)));
}

#[test]
fn a_stream_whose_messages_cannot_be_listed_is_not_made_anew() {
    let disk = SimDisk::new();
    filled(&disk, 3);
    disk.make_unreadable(Some("/streams/KV"));
    let mut bench = Bench::open(&disk, small(), begin());
    assert!(bench.api("STREAM.CREATE.KV", kv(1)).get("error").is_some());
    drop(bench);
    disk.make_unreadable(None);
    assert_eq!(Bench::open(&disk, small(), begin()).state("KV")["messages"], 3);
}

/// The JSON of a sealed file, changed and sealed again.
fn edit_json(disk: &SimDisk, path: &Path, change: impl FnOnce(&mut Value)) {
    disk.edit(path, |b| {
        let content = super::unseal(b).unwrap().to_vec();
        let start = content.iter().position(|byte| *byte == b'{').unwrap();
        let mut value = serde_json::from_slice(&content[start..]).unwrap();
        change(&mut value);
        let mut content = content[..start].to_vec();
        content.extend(value.to_string().into_bytes());
        *b = super::seal(&content);
    });
}

#[test]
fn keys_of_a_newer_release_cost_nothing_and_survive() {
    let disk = SimDisk::new();
    filled(&disk, 3);
    let dir = PathBuf::from(ROOT).join("streams/KV");
    for meta in super::METAS {
        edit_json(&disk, &dir.join(meta), |value| {
            value["config"]["a_key_of_tomorrow"] = json!(true);
            value["beside_it"] = json!([1]);
        });
    }
    let mut bench = Bench::open(&disk, small(), begin());
    assert_eq!(bench.state("KV")["messages"], 3);
    let mut wider = kv(5);
    wider["description"] = json!("changed");
    assert!(bench.api("STREAM.UPDATE.KV", wider).get("error").is_none());
    drop(bench);
    for meta in super::METAS {
        edit_json(&disk, &dir.join(meta), |value| {
            assert_eq!(value["config"]["description"], "changed");
            assert_eq!(
                (&value["config"]["a_key_of_tomorrow"], &value["beside_it"]),
                (&json!(true), &json!([1]))
            );
            // What this release could misread it leaves to who knows the definition.
            value["format"] = json!(2);
        });
    }
    let mut bench = Bench::open(&disk, small(), begin());
    assert!(bench.api("STREAM.INFO.KV", json!({})).get("error").is_some());
    assert!(bench.api("STREAM.CREATE.KV", kv(1)).get("error").is_none());
    assert_eq!(bench.state("KV")["messages"], 3);
}

/// What earlier releases wrote, byte for byte.
#[test]
fn files_of_the_first_release_are_read() {
    let disk = SimDisk::new();
    filled(&disk, 3);
    let dir = PathBuf::from(ROOT).join("streams/KV");
    super::Disk::remove_file(&disk, &dir.join("meta.2")).unwrap();
    let meta = concat!(
        r#"k{"config":{"name":"KV","subjects":["kv.>"],"retention":"limits","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"#,
        r#""max_age":0,"max_msgs_per_subject":1,"max_msg_size":-1,"discard":"old","storage":"file","num_replicas":1,"#,
        r#""duplicate_window":120000000000,"compression":"none","allow_direct":true,"mirror_direct":false,"sealed":false,"#,
        r#""deny_delete":false,"deny_purge":false,"allow_rollup_hdrs":true,"consumer_limits":{},"allow_msg_ttl":false},"#,
        r#""created":1800000000000000000}"#
    );
    let sealed = format!("1e4de6b1\n{meta}");
    disk.edit(&dir.join("meta"), |b| *b = sealed.clone().into_bytes());
    let state = concat!(
        r#"{"config":{"durable_name":"d","name":"d","deliver_policy":"all","ack_policy":"explicit","ack_wait":30000000000,"#,
        r#""max_deliver":-1,"replay_policy":"instant","max_waiting":512,"max_ack_pending":1000,"num_replicas":0},"#,
        r#""created":1800000000000000000,"next":3,"delivered":{"consumer":2,"stream":2},"floor":{"consumer":1,"stream":1},"#,
        r#""skip":[],"pending":{"2":{"consumer":2,"count":1}}}"#
    );
    super::Disk::open(&disk, &dir.join("consumers/d"), true).unwrap();
    disk.edit(&dir.join("consumers/d"), |b| *b = super::seal(state.as_bytes()));
    let mut bench = Bench::open(&disk, small(), begin());
    assert_eq!((bench.reports.len(), &bench.state("KV")["messages"]), (0, &json!(3)));
    let info = bench.api("CONSUMER.INFO.KV.d", json!({}));
    assert_eq!((&info["num_ack_pending"], &info["num_pending"]), (&json!(1), &json!(1)), "{info}");
    assert_eq!(info["ack_floor"]["stream_seq"], 1);
    drop(bench);
    // And from now on there are two.
    assert_eq!(disk.files()[&dir.join("meta")], disk.files()[&dir.join("meta.2")]);
}

/// What this release writes: a change of these bytes needs thought about those that are out there.
#[test]
fn the_bytes_of_this_release_are_these() {
    let disk = SimDisk::new();
    filled(&disk, 1);
    let mut bench = Bench::open(&disk, small(), begin());
    let config = json!({"durable_name": "d", "name": "d", "ack_policy": "explicit"});
    bench.api("CONSUMER.CREATE.KV.d", json!({"stream_name": "KV", "config": config}));
    drop(bench);
    let files = disk.files();
    let text = |name: &str| {
        String::from_utf8(files[&PathBuf::from(ROOT).join("streams/KV").join(name)].clone()).unwrap()
    };
    assert_eq!(
        text("meta"),
        concat!(
            "ebd5e4f4\n",
            r#"k{"config":{"name":"KV","subjects":["kv.>"],"retention":"limits","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"#,
            r#""max_age":0,"max_msgs_per_subject":1,"max_msg_size":-1,"discard":"old","storage":"file","num_replicas":1,"#,
            r#""duplicate_window":120000000000,"compression":"none","allow_direct":true,"mirror_direct":false,"sealed":false,"#,
            r#""deny_delete":false,"deny_purge":false,"allow_rollup_hdrs":true,"consumer_limits":{},"allow_msg_ttl":false},"#,
            r#""created":1800000000000000000,"format":1,"generation":1}"#
        )
    );
    assert_eq!(
        text("consumers/d"),
        concat!(
            "b97b5442\n",
            r#"{"config":{"durable_name":"d","name":"d","deliver_policy":"all","ack_policy":"explicit","ack_wait":30000000000,"#,
            r#""max_deliver":-1,"replay_policy":"instant","max_waiting":512,"max_ack_pending":1000,"num_replicas":0},"#,
            r#""created":1800000000000000000,"format":1,"generation":1,"next":1,"delivered":{"consumer":0,"stream":0},"#,
            r#""floor":{"consumer":0,"stream":0},"skip":[],"pending":{}}"#
        )
    );
}

#[test]
fn a_damaged_state_of_a_consumer_costs_one_step_back() {
    let disk = SimDisk::new();
    filled(&disk, 6);
    let mut bench = Bench::open(&disk, small(), begin());
    let config = json!({"durable_name": "d", "name": "d", "ack_policy": "explicit"});
    bench.api("CONSUMER.CREATE.KV.d", json!({"stream_name": "KV", "config": config}));
    for _ in 0..3 {
        bench.send("in", "$JS.API.CONSUMER.MSG.NEXT.KV.d", b"", b"1");
        let mut acks = Vec::new();
        for output in bench.machine.commit(bench.now) {
            if let Output::Publish(p) = output {
                acks.extend(p.reply);
            }
        }
        bench.send("confirmed", &acks[0], b"", b"+ACK");
        bench.commit();
    }
    drop(bench);
    let dir = PathBuf::from(ROOT).join("streams/KV/consumers");
    let floor = |disk: &SimDisk| {
        let mut bench = Bench::open(disk, small(), begin());
        bench.api("CONSUMER.INFO.KV.d", json!({}))["ack_floor"]["stream_seq"].as_u64()
    };
    assert_eq!(floor(&disk.copy()), Some(3));
    let mut floors = BTreeSet::new();
    for file in ["d", "d.2"] {
        let disk = disk.copy();
        disk.edit(&dir.join(file), |b| spoil(&mut b[30]));
        floors.extend(floor(&disk));
    }
    assert_eq!(floors, BTreeSet::from([2, 3]));
}

#[test]
fn what_is_not_the_stores_own_is_left_alone() {
    let disk = SimDisk::new();
    filled(&disk, 3);
    let streams = PathBuf::from(ROOT).join("streams");
    let strays = [
        "README",
        "lost+found/precious",
        "KV/notes",
        "KV/0000abcd.seg/x",
        "KV/consumers/a.b.c",
        "KV/consumers/sub/x",
        "EMPTY/x",
        "a b.gone/x",
        "OLD.gone/x",
        "KV/meta.tmp/x",
    ];
    for stray in strays {
        let path = streams.join(stray);
        super::Disk::create_dir(&disk, path.parent().unwrap()).unwrap();
        super::Disk::open(&disk, &path, true).unwrap().write_at(b"mine", 0).unwrap();
    }
    let theirs = |disk: &SimDisk| disk.files().values().filter(|bytes| *bytes == b"mine").count();
    for _ in 0..2 {
        let mut bench = Bench::open(&disk, small(), begin());
        assert_eq!(bench.state("KV")["messages"], 3);
        bench.publish("kv.0", b"x");
        assert_eq!(theirs(&disk), strays.len(), "{:?}", disk.files().keys());
    }
    let mut bench = Bench::open(&disk, small(), begin());
    assert!(
        bench.reports.iter().any(|r| matches!(r, StoreReport::Foreign { path } if path.ends_with("README")))
    );
    // Also when the stream goes, and comes and goes again.
    for _ in 0..3 {
        bench.api("STREAM.DELETE.KV", json!({}));
        assert!(bench.api("STREAM.CREATE.KV", kv(1)).get("error").is_none());
        bench.publish("kv.0", b"x");
        assert_eq!(theirs(&disk), strays.len());
    }
    drop(bench);
    assert_eq!(Bench::open(&disk, small(), begin()).state("KV")["messages"], 1);
}

/// A store as a BMC has it after a while.
fn lived_in() -> SimDisk {
    let disk = SimDisk::new();
    let limits = StoreLimits { segment_bytes: 4096, ..small() };
    let mut bench = Bench::open(&disk, limits, begin());
    bench.api("STREAM.CREATE.KV", kv(1));
    bench.api("STREAM.CREATE.KV_b", bucket());
    let events = json!({"name": "EVENTS", "subjects": ["event.>"], "metadata": {"_ubmc.sync": "interval"}});
    bench.api("STREAM.CREATE.EVENTS", events);
    let config = json!({"durable_name": "d", "name": "d", "ack_policy": "explicit"});
    bench.api("CONSUMER.CREATE.KV.d", json!({"stream_name": "KV", "config": config}));
    for n in 0..12_u8 {
        bench.publish(&format!("kv.{}", n % 5), &[n; 700]);
        bench.publish(&format!("$KV.b.{}", n % 3), &[n; 300]);
        bench.publish("event.x", &[n; 900]);
        bench.send("in", "$JS.API.CONSUMER.MSG.NEXT.KV.d", b"", b"1");
        bench.commit();
    }
    bench.now.mono += 5_000;
    bench.machine.close(bench.now);
    disk
}

/// Each file of the store truncated, zeroed, turned over, replaced by a directory, not readable, older or of another release:
/// the store opens, what is in other streams is there, and it is told.
#[test]
fn whatever_happens_to_one_file_the_store_opens_and_says_so() {
    let disk = lived_in();
    let files = disk.files();
    assert!(files.len() > 12, "{files:?}");
    type Change = fn(&mut Vec<u8>);
    let changes: [(&str, Change); 6] = [
        ("emptied", Vec::clear),
        ("cut", |b| b.truncate(b.len() / 2 + 7)),
        ("zeroed", |b| b.fill(0)),
        ("turned", |b| {
            let at = b.len() / 2;
            spoil(&mut b[at]);
        }),
        ("longer", |b| b.extend([0xa5; 500])),
        ("foreign", |b| *b = b"#!/bin/sh\necho this is not a store\n".to_vec()),
    ];
    let kinds = [None, Some(std::io::ErrorKind::StorageFull), Some(std::io::ErrorKind::ReadOnlyFilesystem)];
    for (path, bytes) in &files {
        // The list of streams is nobody's.
        let stream = path.components().nth(3).map_or("", |part| part.as_os_str().to_str().unwrap());
        for refused in kinds {
            for (what, change) in changes.iter().copied().chain([("unreadable", Vec::clear as Change)]) {
                let disk = disk.copy();
                if what == "unreadable" {
                    disk.make_unreadable(Some(path.to_str().unwrap()));
                } else {
                    disk.edit(path, change);
                }
                disk.refuse(refused);
                let mut bench = Bench::open(&disk, small(), begin());
                let told = !bench.reports.is_empty()
                    || disk.files().get(path) == Some(bytes) && what != "unreadable";
                assert!(told, "{} {what}, {refused:?}: nothing is said", path.display());
                for (other, messages) in [("KV", 5), ("KV_b", 3), ("EVENTS", 12)] {
                    if other != stream {
                        assert_eq!(bench.state(other)["messages"], messages, "{} {what}", path.display());
                    }
                }
                disk.refuse(None);
                disk.make_unreadable(None);
                // It is tried again in a while.
                bench.now.mono += 10_000;
                bench.commit();
                for (name, config) in [("KV", kv(1)), ("KV_b", bucket())] {
                    let answer = bench.api(&format!("STREAM.CREATE.{name}"), config);
                    assert!(answer.get("error").is_none(), "{} {what}: {answer}", path.display());
                }
                // What is written now lasts, under a number of its own.
                let answer = bench.publish("kv.new", b"new");
                assert!(
                    answer["seq"].as_u64().unwrap() > 12,
                    "{} {what}, {refused:?}: {answer}",
                    path.display()
                );
                drop(bench);
                let mut bench = Bench::open(&disk, small(), begin());
                assert_eq!(bench.value("KV", "kv.new").unwrap(), b"new", "{} {what}", path.display());
            }
        }
    }
}

#[test]
fn a_read_only_medium_serves_what_is_there_and_refuses_the_rest() {
    let disk = lived_in();
    for kind in
        [std::io::ErrorKind::ReadOnlyFilesystem, std::io::ErrorKind::StorageFull, std::io::ErrorKind::Other]
    {
        disk.refuse(Some(kind));
        let mut bench = Bench::open(&disk, small(), begin());
        assert_eq!(bench.value("KV", "kv.1").unwrap(), [11; 700]);
        assert!(bench.publish("kv.1", b"x").get("error").is_some(), "{kind:?}");
        assert!(
            bench.api("STREAM.CREATE.NEW", json!({"name": "NEW", "subjects": ["n"]})).get("error").is_some()
        );
        drop(bench);
        disk.refuse(None);
        let mut bench = Bench::open(&disk, small(), begin());
        assert_eq!(bench.value("KV", "kv.1").unwrap(), [11; 700], "{kind:?}");
        assert!(bench.api("STREAM.INFO.NEW", json!({})).get("error").is_some());
    }
}

#[test]
fn an_unreadable_segment_costs_its_messages_and_they_come_back_with_it() {
    let disk = lived_in();
    let mut bench = Bench::open(&disk, small(), begin());
    let events = bench.state("EVENTS");
    drop(bench);
    disk.make_unreadable(Some("/EVENTS/00000001.seg"));
    let mut bench = Bench::open(&disk, small(), begin());
    let some = bench.state("EVENTS");
    assert!(
        some["messages"].as_u64() < events["messages"].as_u64() && some["last_seq"] == events["last_seq"]
    );
    drop(bench);
    // The newest one: what numbers it held is not known.
    disk.make_unreadable(Some("/EVENTS/"));
    let mut bench = Bench::open(&disk, small(), begin());
    assert_eq!(bench.state("KV")["messages"], 5);
    disk.make_unreadable(None);
    drop(bench);
    assert_eq!(Bench::open(&disk, small(), begin()).state("EVENTS")["messages"], events["messages"]);
}

#[test]
fn one_server_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let first = FileStore::open(dir.path(), small()).unwrap();
    let second = FileStore::open(dir.path(), small()).unwrap_err();
    assert!(second.to_string().contains("another server has it open"), "{second}");
    drop(first);
    FileStore::open(dir.path(), small()).unwrap();
}

#[test]
fn a_full_store_drops_the_oldest_events_and_no_configuration() {
    let disk = SimDisk::new();
    let limits = StoreLimits { max_bytes: 256 * 1024, headroom: 64 * 1024, segment_bytes: 16 * 1024 };
    let mut bench = Bench::open(&disk, limits, begin());
    bench.api("STREAM.CREATE.KV", kv(1));
    let events = json!({"name": "EVENTS", "subjects": ["event.>"], "metadata": {"_ubmc.sync": "interval"}});
    bench.api("STREAM.CREATE.EVENTS", events);
    for n in 0..600_u32 {
        assert!(bench.publish("event.a", &[0; 1000]).get("error").is_none(), "event {n}");
        if n % 10 == 0 {
            assert!(bench.publish(&format!("kv.{n}"), &[1; 500]).get("error").is_none());
        }
    }
    assert!(
        bench.reports.iter().any(|r| matches!(r, StoreReport::Dropped { stream, .. } if stream == "EVENTS"))
    );
    assert_eq!(bench.state("KV")["messages"], 60);
    let events = bench.state("EVENTS");
    assert_eq!(events["last_seq"], 600);
    assert!(events["messages"].as_u64().unwrap() > 50, "{events}");
    // Configuration may push events out altogether, and is refused only when nothing is left to drop.
    let mut refused = None;
    for n in 0..600 {
        let answer = bench.publish(&format!("kv.more.{n}"), &[2; 1000]);
        if let Some(error) = answer.get("error") {
            refused = Some((n, error["err_code"].clone()));
            break;
        }
    }
    let (stored, code) = refused.expect("a store of 256 KiB does not take 600 KB");
    assert_eq!(code, 10_023);
    assert!(stored > 100, "{stored}");
    assert_eq!(bench.state("KV")["messages"], 60 + stored);
    drop(bench);
    let mut bench = Bench::open(&disk, limits, begin());
    assert_eq!(bench.state("KV")["messages"], 60 + stored);
}

#[test]
fn overwriting_few_keys_for_ever_takes_bounded_space() {
    let disk = SimDisk::new();
    let limits = StoreLimits { max_bytes: 128 * 1024, headroom: 16 * 1024, segment_bytes: 8 * 1024 };
    let mut bench = Bench::open(&disk, limits, begin());
    bench.api("STREAM.CREATE.KV", kv(1));
    // Cold keys in the first segments, hot ones for ever: the row must be cleaned around the cold ones.
    for n in 0..40 {
        bench.publish(&format!("kv.cold.{n}"), &[9; 100]);
    }
    for n in 0..3000_u32 {
        let answer = bench.publish(&format!("kv.hot.{}", n % 7), &[1; 300]);
        assert!(answer.get("error").is_none(), "{n}: {answer}");
        if n % 200 == 0 {
            let answer = bench.publish(&format!("kv.cold.{}", n / 200), &[8; 100]);
            assert!(answer.get("error").is_none(), "{n}: {answer}");
        }
    }
    assert_eq!(bench.state("KV")["messages"], 47);
    drop(bench);
    let mut bench = Bench::open(&disk, limits, begin());
    assert_eq!(bench.state("KV")["messages"], 47);
    assert_eq!(bench.value("KV", "kv.cold.20").unwrap(), [9; 100]);
    assert_eq!(bench.value("KV", "kv.cold.3").unwrap(), [8; 100]);
}

#[test]
fn numbers_are_never_given_out_twice() {
    let disk = SimDisk::new();
    filled(&disk, 5);
    let mut bench = Bench::open(&disk, small(), begin());
    bench.api("STREAM.PURGE.KV", json!({}));
    drop(bench);
    let mut bench = Bench::open(&disk, small(), begin());
    let state = bench.state("KV");
    assert_eq!(
        (&state["first_seq"], &state["last_seq"], &state["messages"]),
        (&json!(6), &json!(5), &json!(0))
    );
    assert_eq!(bench.publish("kv.a", b"x")["seq"], 6);
}

#[test]
fn a_wider_limit_brings_nothing_back() {
    let disk = SimDisk::new();
    let mut bench = Bench::open(&disk, small(), begin());
    bench.api("STREAM.CREATE.KV", kv(1));
    for n in 0..5_u8 {
        bench.publish("kv.a", &[n]);
        bench.publish("kv.b", &[n]);
    }
    assert!(bench.api("STREAM.UPDATE.KV", kv(10)).get("error").is_none());
    let before = bench.state("KV");
    drop(bench);
    let mut bench = Bench::open(&disk, small(), begin());
    let after = bench.state("KV");
    assert_eq!(after["messages"], 2);
    assert_eq!(before, after);
}

#[test]
fn a_durable_consumer_goes_on_where_it_was() {
    let disk = SimDisk::new();
    let mut bench = Bench::open(&disk, small(), begin());
    bench.api("STREAM.CREATE.KV", kv(-1));
    for n in 0..6_u8 {
        bench.publish(&format!("kv.{n}"), &[n]);
    }
    let config = json!({"durable_name": "d", "name": "d", "ack_policy": "explicit"});
    bench.api("CONSUMER.CREATE.KV.d", json!({"stream_name": "KV", "config": config}));
    let mut acks = BTreeSet::new();
    for _ in 0..4 {
        bench.send("in", "$JS.API.CONSUMER.MSG.NEXT.KV.d", b"", b"1");
        for output in bench.machine.commit(bench.now) {
            if let Output::Publish(p) = output {
                acks.extend(p.reply);
            }
        }
    }
    assert_eq!(acks.len(), 4);
    for ack in acks.iter().take(3) {
        bench.send("confirmed", ack, b"", b"+ACK");
        assert!(bench.commit().contains_key("confirmed"));
    }
    let disk = disk.after_power_loss(&mut Random::new(3));
    let mut bench = Bench::open(&disk, small(), begin());
    let info = bench.api("CONSUMER.INFO.KV.d", json!({}));
    assert_eq!(info["num_ack_pending"], 1, "{info}");
    assert_eq!(info["num_pending"], 2, "{info}");
    assert_eq!(info["ack_floor"]["stream_seq"], 3, "{info}");
}

/// A change that is refused because its name cannot be made to last is not there, however the server ends; once it is told, the medium
/// decides, and only until it takes writes again.
#[test]
fn a_change_whose_name_does_not_last_is_refused_and_does_not_come_true() {
    let update = json!({"name": "KV", "subjects": ["kv.>"], "max_msgs_per_subject": 1, "max_msgs": 77,
        "allow_direct": true, "allow_rollup_hdrs": true});
    let durable = json!({"stream_name": "KV", "config": {"durable_name": "d", "ack_policy": "explicit"}});
    let asks: [(&str, &str, Value); 5] = [
        ("/streams/KV", "STREAM.UPDATE.KV", update),
        ("/streams/KV/consumers", "CONSUMER.CREATE.KV.d", durable),
        ("/streams", "STREAM.CREATE.NEW", json!({"name": "NEW", "subjects": ["n"]})),
        ("/streams/NEW", "STREAM.CREATE.NEW", json!({"name": "NEW", "subjects": ["n"]})),
        ("/streams", "STREAM.DELETE.KV", json!(null)),
    ];
    for (dir, subject, request) in asks {
        let disk = SimDisk::new();
        let mut bench = Bench::open(&disk, small(), begin());
        bench.api("STREAM.CREATE.KV", kv(1));
        bench.publish("kv.1", b"x");
        disk.fail_sync_dir(Some(dir));
        let body = if request.is_null() { Vec::new() } else { request.to_string().into_bytes() };
        bench.send("r", &format!("$JS.API.{subject}"), b"", &body);
        let answer: Value = serde_json::from_slice(&bench.commit()["r"].1).unwrap();
        let text = answer["error"]["description"].as_str().unwrap_or_default();
        assert!(text.contains("a loss of power decides"), "{subject}: {answer}");
        let unchanged = |bench: &mut Bench, how: &str| {
            let info = bench.api("STREAM.INFO.KV", json!({}));
            assert_eq!(info["config"]["max_msgs"], -1, "{subject} {how}: {info}");
            assert_eq!(info["state"]["messages"], 1, "{subject} {how}: {info}");
            let consumer = bench.api("CONSUMER.INFO.KV.d", json!(null));
            assert!(consumer.get("error").is_some(), "{subject} {how}: {consumer}");
            let new = bench.api("STREAM.INFO.NEW", json!({}));
            assert!(new.get("error").is_some(), "{subject} {how}: {new}");
        };
        unchanged(&mut bench, "at once");
        // Killed: what the next server sees is what the system has in memory.
        unchanged(&mut Bench::open(&disk.copy(), small(), begin()), "after a kill");
        // The medium is well again: then the power may go as well.
        disk.fail_sync_dir(None);
        for _ in 0..12 {
            bench.now.mono += 1_000;
            bench.commit();
        }
        for seed in 0..20 {
            let disk = disk.after_power_loss(&mut Random::new(seed));
            unchanged(&mut Bench::open(&disk, small(), begin()), "after a loss of power");
        }
    }
}

#[test]
fn a_damaged_segment_that_was_written_anew_is_read_as_it_is() {
    let disk = SimDisk::new();
    let (path, records) = bucket_with_an_older_value(&disk);
    disk.edit(&path, |b| b[records[0].offset..records[0].offset + records[0].size].fill(0));
    // The new file is there, only its name is not sure to last.
    disk.fail_sync_dir(Some("/streams/KV_b"));
    let mut bench = Bench::open(&disk, small(), begin());
    assert_eq!(bench.value("KV_b", "$KV.b.last").unwrap(), b"x");
    disk.fail_sync_dir(None);
    bench.now.mono += 10_000;
    bench.commit();
    for n in 0..400_u32 {
        bench.publish("$KV.b.other", &n.to_le_bytes().repeat(200));
    }
    assert_eq!(bench.value("KV_b", "$KV.b.last").unwrap(), b"x");
    let dropped = |r: &StoreReport| matches!(r, StoreReport::Failed { why, .. } if why.contains("dropped"));
    assert!(!bench.reports.iter().any(dropped), "{:?}", bench.reports);
    drop(bench);
    assert_eq!(Bench::open(&disk, small(), begin()).value("KV_b", "$KV.b.last").unwrap(), b"x");
}

#[test]
fn a_copy_of_a_newer_release_is_kept_before_it_is_replaced() {
    for both in [true, false] {
        let disk = SimDisk::new();
        let mut bench = Bench::open(&disk, small(), begin());
        bench.api("STREAM.CREATE.KV", kv(1));
        bench.publish("kv.1", b"x");
        drop(bench);
        let dir = PathBuf::from(ROOT).join("streams/KV");
        for meta in ["meta", "meta.2"].into_iter().take(if both { 2 } else { 1 }) {
            edit_json(&disk, &dir.join(meta), |v| {
                v["format"] = 99.into();
                v["later"] = "kept".into();
            });
        }
        let newer = disk.files()[&dir.join("meta")].clone();
        let mut bench = Bench::open(&disk, small(), begin());
        assert_eq!(disk.files()[&dir.join("meta")], newer, "opening it replaces nothing");
        if both {
            bench.api("STREAM.CREATE.KV", kv(1));
        } else {
            let mut config = kv(1);
            config["max_msgs"] = 9.into();
            bench.api("STREAM.UPDATE.KV", config);
        }
        assert_eq!(bench.value("KV", "kv.1").unwrap(), b"x");
        assert_ne!(disk.files()[&dir.join("meta")], newer);
        let damaged = PathBuf::from(ROOT).join("damaged");
        assert!(disk.files().iter().any(|(path, bytes)| path.starts_with(&damaged) && *bytes == newer));
    }
}
