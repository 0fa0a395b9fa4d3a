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

const ROOT: &str = "/store";
const START: i64 = 1_800_000_000_000_000_000;

/// A server's streams, and a client that waits for every answer.
struct Bench {
    machine: JetStream,
    now: Now,
    reports: Vec<StoreReport>,
}

impl Bench {
    fn open(disk: &SimDisk, limits: StoreLimits, now: Now) -> Self {
        let store = FileStore::on(Arc::new(disk.clone()), Path::new(ROOT), limits).unwrap();
        let mut machine = JetStream::open(Box::new(store), Limits::default(), 7, now).unwrap();
        let mut reports = Vec::new();
        collect(machine.commit(now), &mut BTreeMap::new(), &mut reports);
        Self { machine, now, reports }
    }

    fn send(&mut self, reply: &str, subject: &str, headers: &[u8], payload: &[u8]) {
        let message =
            Inbound { subject: subject.as_bytes(), reply: Some(reply.as_bytes()), headers, payload };
        self.machine.handle(self.now, message);
    }

    fn commit(&mut self) -> BTreeMap<String, (Vec<u8>, Vec<u8>)> {
        self.now.mono += 1;
        self.now.wall += 1_000_000;
        let mut answers = BTreeMap::new();
        collect(self.machine.commit(self.now), &mut answers, &mut self.reports);
        self.machine.housekeep();
        answers
    }

    fn api(&mut self, subject: &str, request: Value) -> Value {
        self.send("r", &format!("$JS.API.{subject}"), b"", request.to_string().as_bytes());
        let answers = self.commit();
        serde_json::from_slice(&answers["r"].1).unwrap()
    }

    fn publish(&mut self, subject: &str, payload: &[u8]) -> Value {
        self.send("r", subject, b"", payload);
        let answers = self.commit();
        serde_json::from_slice(&answers["r"].1).unwrap()
    }

    /// The value of a key, by direct get.
    fn value(&mut self, stream: &str, subject: &str) -> Option<Vec<u8>> {
        self.send("r", &format!("$JS.API.DIRECT.GET.{stream}.{subject}"), b"", b"");
        let (headers, payload) = self.commit().remove("r").unwrap();
        let missing = headers.starts_with(b"NATS/1.0 404");
        assert!(missing || headers.starts_with(b"NATS/1.0\r\n"), "{}", String::from_utf8_lossy(&headers));
        (!missing).then_some(payload)
    }

    fn state(&mut self, stream: &str) -> Value {
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

fn begin() -> Now {
    Now { mono: 0, wall: START }
}

fn small() -> StoreLimits {
    StoreLimits { max_bytes: 4 * 1024 * 1024, headroom: 64 * 1024, segment_bytes: 4096 }
}

fn kv(history: i64) -> Value {
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

#[test]
fn a_flipped_bit_costs_one_message_and_keeps_the_file_for_people() {
    let disk = SimDisk::new();
    let path = filled(&disk, 6);
    let mut bytes = Vec::new();
    disk.edit(&path, |b| bytes.clone_from(b));
    let mut records = Vec::new();
    super::scan_segment(1, &bytes, &mut |_, found| records.push(found));
    for byte in 0..bytes.len() {
        let disk = disk.copy();
        disk.edit(&path, |b| b[byte] ^= 1 << (byte % 8));
        let mut bench = Bench::open(&disk, small(), begin());
        let hit = records.iter().position(|r| (r.offset..r.offset + r.size).contains(&byte));
        for n in 0..6 {
            let expected = (hit != Some(n)).then(|| format!("value {n}").into_bytes());
            assert_eq!(bench.value("KV", &format!("kv.{n}")), expected, "byte {byte}");
        }
        assert!(!bench.reports.is_empty(), "byte {byte}: nothing was reported");
        let last = bench.publish("kv.next", b"x");
        assert!(last["seq"].as_u64().unwrap() >= 6, "{last}");
        drop(bench);
        // The same damage is not found twice.
        assert!(Bench::open(&disk, small(), begin()).reports.is_empty(), "byte {byte}");
    }
}

#[test]
fn a_stream_with_damaged_metadata_is_set_aside_and_the_others_live() {
    let disk = SimDisk::new();
    filled(&disk, 3);
    let mut bench = Bench::open(&disk, small(), begin());
    bench.api("STREAM.CREATE.OTHER", json!({"name": "OTHER", "subjects": ["o"]}));
    bench.publish("o", b"kept");
    drop(bench);
    disk.edit(Path::new("/store/streams/KV/meta"), |b| b[20] ^= 1);
    let mut bench = Bench::open(&disk, small(), begin());
    assert!(matches!(&bench.reports[..], [StoreReport::BadMetadata { stream, .. }] if stream == "KV"));
    assert_eq!(bench.api("STREAM.NAMES", json!({}))["streams"], json!(["OTHER"]));
    assert_eq!(bench.state("OTHER")["messages"], 1);
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
