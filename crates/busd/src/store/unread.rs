//! The machine on a medium that stops to give a page after the start: what lies there costs itself, and nobody is held up by it for ever.

use nats::js::Output;
use nats::js::store::StoreReport;
use serde_json::{Value, json};

use super::sim::SimDisk;
use super::tests::{Bench, ROOT, begin, bucket};
use super::{StoreLimits, scan_segment};

/// As the bus has it: all of this lies in one segment.
fn limits() -> StoreLimits {
    StoreLimits { max_bytes: 4 * 1024 * 1024, headroom: 64 * 1024, segment_bytes: 256 * 1024 }
}

/// A byte of the record of message `seq` of the stream's only segment does not read any more.
fn hurt(disk: &SimDisk, stream: &str, seq: usize) {
    let (path, bytes) = segment(disk, stream);
    let mut records = Vec::new();
    scan_segment(1, &bytes, &mut |_, found| records.push(found.offset + found.size / 2));
    disk.make_byte_unreadable(Some((path.as_str(), records[seq - 1])));
}

fn segment(disk: &SimDisk, stream: &str) -> (String, Vec<u8>) {
    let path = format!("{ROOT}/streams/{stream}/00000001.seg");
    let bytes = disk.files()[std::path::Path::new(&path)].clone();
    (path, bytes)
}

/// A push consumer on all of a stream.
fn watch(bench: &mut Bench, stream: &str) {
    let config = json!({"deliver_subject": "to.me", "deliver_policy": "all", "ack_policy": "none"});
    let request = json!({"stream_name": stream, "config": config});
    let made = bench.api(&format!("CONSUMER.CREATE.{stream}.watch"), request);
    assert!(made.get("error").is_none(), "{made}");
    bench.machine.interest(bench.now, "to.me", true);
}

/// What reaches it within so many seconds.
fn heard(bench: &mut Bench, seconds: u64) -> Vec<Vec<u8>> {
    let mut got = Vec::new();
    for _ in 0..seconds * 10 {
        bench.now.mono += 100;
        for output in bench.machine.commit(bench.now) {
            match output {
                Output::Publish(p) if p.route == "to.me" => got.push(p.payload.to_vec()),
                Output::Report(report) => bench.reports.push(report),
                _ => {}
            }
        }
    }
    got
}

#[test]
fn a_watcher_passes_over_a_message_that_the_medium_does_not_give() {
    let disk = SimDisk::new();
    let mut bench = Bench::open(&disk, limits(), begin());
    bench.api("STREAM.CREATE.KV_b", bucket());
    for n in 1..=5_u8 {
        bench.publish(&format!("$KV.b.{n}"), &[n]);
    }
    hurt(&disk, "KV_b", 3);
    watch(&mut bench, "KV_b");
    assert_eq!(heard(&mut bench, 10), [[1], [2], [4], [5]]);
    let pending = bench.api("CONSUMER.INFO.KV_b.watch", json!({}))["num_pending"].clone();
    assert_eq!(pending, 0, "nobody waits for it");
    let told =
        |report: &&StoreReport| matches!(report, StoreReport::Found { stream, .. } if stream == "KV_b");
    assert_eq!(bench.reports.iter().filter(told).count(), 1, "{:?}", bench.reports);
}

#[test]
fn a_watcher_waits_for_a_medium_that_is_back_soon() {
    let disk = SimDisk::new();
    let mut bench = Bench::open(&disk, limits(), begin());
    bench.api("STREAM.CREATE.KV_b", bucket());
    for n in 1..=5_u8 {
        bench.publish(&format!("$KV.b.{n}"), &[n]);
    }
    disk.make_unreadable(Some("KV_b/00000001"));
    watch(&mut bench, "KV_b");
    assert!(heard(&mut bench, 2).is_empty());
    disk.make_unreadable(None);
    assert_eq!(heard(&mut bench, 2), [[1], [2], [3], [4], [5]]);
}

#[test]
fn many_messages_that_do_not_read_hold_up_a_watcher_little_longer_than_one() {
    let disk = SimDisk::new();
    let mut bench = Bench::open(&disk, StoreLimits { segment_bytes: 4096, ..limits() }, begin());
    bench.api("STREAM.CREATE.KV_b", bucket());
    for n in 0..60_u8 {
        bench.publish(&format!("$KV.b.{n}"), &[n; 100]);
    }
    disk.make_unreadable(Some("KV_b/00000001"));
    watch(&mut bench, "KV_b");
    let got = heard(&mut bench, 10);
    assert!(got.len() > 20 && got.len() < 50 && got.last().unwrap() == &[59; 100], "{}", got.len());
}

/// A medium that is away gives nothing to anybody, and is back some time: nothing is passed over meanwhile, also not where a page was before.
#[test]
fn a_watcher_waits_for_a_medium_that_is_away_for_long() {
    for behind_a_page in [false, true] {
        let disk = SimDisk::new();
        let mut bench = Bench::open(&disk, StoreLimits { segment_bytes: 4096, ..limits() }, begin());
        bench.api("STREAM.CREATE.KV_b", bucket());
        for n in 0..60_u8 {
            bench.publish(&format!("$KV.b.{n}"), &[n; 100]);
        }
        if behind_a_page {
            disk.make_unreadable(Some("KV_b/00000001"));
            watch(&mut bench, "KV_b");
            assert!(heard(&mut bench, 4).is_empty(), "it is in the page");
        }
        disk.make_unreadable(Some(ROOT));
        if !behind_a_page {
            watch(&mut bench, "KV_b");
        }
        assert!(heard(&mut bench, 60).is_empty());
        disk.make_unreadable(None);
        let got = heard(&mut bench, 2);
        let least = if behind_a_page { 40 } else { 60 };
        assert!(got.len() >= least && got.is_sorted() && got.last().unwrap() == &[59; 100], "{}", got.len());
    }
}

/// The numbers a batch answers with, and how it ends.
fn batch(bench: &mut Bench, request: &Value) -> (Vec<u64>, String) {
    bench.send("r", "$JS.API.DIRECT.GET.EVENTS", b"", request.to_string().as_bytes());
    let (mut got, mut end) = (Vec::new(), String::new());
    bench.now.mono += 1;
    for output in bench.machine.commit(bench.now) {
        let Output::Publish(answer) = output else { continue };
        let headers = String::from_utf8(answer.headers.to_vec()).unwrap();
        if headers.starts_with("NATS/1.0\r\n") {
            let number = headers.split("Nats-Sequence: ").nth(1).unwrap().split("\r\n").next().unwrap();
            got.push(number.parse().unwrap());
        } else {
            end = headers;
        }
    }
    (got, end)
}

/// A stream with five events, which may be asked for by their numbers.
fn five_events(disk: &SimDisk) -> Bench {
    let mut bench = Bench::open(disk, limits(), begin());
    let config = json!({"name": "EVENTS", "subjects": ["event.>"], "allow_direct": true});
    bench.api("STREAM.CREATE.EVENTS", config);
    for n in 1..=5_u8 {
        bench.publish(&format!("event.host.{n}"), &[n]);
    }
    bench
}

#[test]
fn a_batch_gives_what_reads_and_names_what_does_not() {
    let disk = SimDisk::new();
    let mut bench = five_events(&disk);
    let all = batch(&mut bench, &json!({"seq": 1, "batch": 10}));
    assert_eq!(all.0, [1, 2, 3, 4, 5]);
    // What was read is in the memory of this one.
    bench.machine.close(bench.now);
    drop(bench);
    let mut bench = Bench::open(&disk, limits(), begin());
    hurt(&disk, "EVENTS", 3);
    let (got, end) = batch(&mut bench, &json!({"seq": 1, "batch": 10}));
    assert_eq!(got, [1, 2]);
    assert!(end.starts_with("NATS/1.0 204 EOB") && end.contains("Nats-Num-Pending: 3"), "{end}");
    let (got, end) = batch(&mut bench, &json!({"seq": 3, "batch": 10}));
    assert_eq!(got, [0; 0]);
    assert!(end.starts_with("NATS/1.0 500 Message Not Readable"), "{end}");
    for named in ["Nats-Sequence: 3\r\n", "Nats-Subject: event.host.3\r\n", "Nats-Time-Stamp: 20"] {
        assert!(end.contains(named), "{end}");
    }
    assert_eq!(batch(&mut bench, &json!({"seq": 4, "batch": 10})).0, [4, 5]);
}

#[test]
fn a_medium_that_is_away_says_nothing_about_a_message() {
    let disk = SimDisk::new();
    let mut bench = five_events(&disk);
    disk.make_unreadable(Some(ROOT));
    let requests = [json!({"seq": 3, "batch": 10}), json!({"seq": 3}), json!({"multi_last": ["event.>"]})];
    for request in &requests {
        let (got, end) = batch(&mut bench, request);
        assert!(got.is_empty() && end.starts_with("NATS/1.0 504 Medium Not Readable"), "{request}: {end}");
        assert!(!end.contains("Nats-Sequence"), "{end}");
    }
    disk.make_unreadable(None);
    assert_eq!(batch(&mut bench, &requests[0]).0, [3, 4, 5]);
}
