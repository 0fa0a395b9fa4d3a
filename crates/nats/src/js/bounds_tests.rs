//! Each bound of [`Limits`] driven to it: what is over is refused with an error that says so, what is there goes on, and what was
//! refused leaves nothing behind.

use serde_json::{Value, json};

use super::store::Memory;
use super::{Inbound, JetStream, Limits, Now, Output, Publish};

const INSUFFICIENT_RESOURCES: u64 = 10_023;
const MAXIMUM_CONSUMERS: u64 = 10_026;
const MAXIMUM_STREAMS: u64 = 10_027;
const MEMORY_RESOURCES: u64 = 10_028;

/// A machine with a stream `S` on `s.>`.
struct Bench {
    machine: JetStream,
    now: Now,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        let now = Now { mono: 1, wall: 1_800_000_000_000_000_000 };
        let machine = JetStream::open(Box::new(Memory::new(64 << 20)), limits, 1, now).unwrap();
        let mut bench = Bench { machine, now };
        bench.turn();
        assert_eq!(bench.stream("S", json!({"subjects": ["s.>"]})), None);
        bench
    }

    fn send(&mut self, subject: &str, reply: &str, payload: &[u8]) {
        let reply = Some(reply.as_bytes());
        let message = Inbound { subject: subject.as_bytes(), reply, headers: b"", payload };
        self.machine.handle(self.now, message);
    }

    fn turn(&mut self) -> Vec<Publish> {
        let outputs = self.machine.commit(self.now).into_iter();
        outputs.filter_map(|o| if let Output::Publish(p) = o { Some(p) } else { None }).collect()
    }

    fn ask(&mut self, subject: &str, payload: &[u8]) -> Value {
        self.send(subject, "r", payload);
        let answers = self.turn();
        let answer = answers.iter().find(|p| p.route == "r").expect("an answer");
        serde_json::from_slice(&answer.payload).unwrap()
    }

    /// The code of the error of an API request, if it is one.
    fn api(&mut self, subject: &str, request: &Value) -> Option<u64> {
        self.ask(&format!("$JS.API.{subject}"), request.to_string().as_bytes())["error"]["err_code"].as_u64()
    }

    fn stream(&mut self, name: &str, mut config: Value) -> Option<u64> {
        config["name"] = name.into();
        self.api(&format!("STREAM.CREATE.{name}"), &config)
    }

    fn consumer(&mut self, stream: &str, name: &str, mut config: Value) -> Option<u64> {
        config["durable_name"] = name.into();
        self.api(
            &format!("CONSUMER.CREATE.{stream}.{name}"),
            &json!({"stream_name": stream, "config": config, "action": "create"}),
        )
    }

    fn publish(&mut self, subject: &str, payload: &[u8]) -> Option<u64> {
        self.ask(subject, payload)["error"]["err_code"].as_u64()
    }

    /// Whether a stream takes what is published there.
    fn captured(&mut self, subject: &str) -> bool {
        self.send(subject, "r", b"");
        self.turn().iter().any(|p| p.route == "r")
    }

    fn state(&mut self, stream: &str) -> Value {
        self.ask(&format!("$JS.API.STREAM.INFO.{stream}"), b"")["state"].clone()
    }

    fn names(&mut self, subject: &str) -> u64 {
        self.ask(&format!("$JS.API.{subject}"), b"")["total"].as_u64().unwrap()
    }
}

fn subjects(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("t.{n}")).collect()
}

#[test]
fn one_stream_more_than_may_be() {
    let mut bench = Bench::new(Limits { streams: 3, ..Limits::default() });
    assert_eq!(bench.stream("B", json!({})), None);
    assert_eq!(bench.stream("C", json!({})), None);
    assert_eq!(bench.stream("D", json!({"subjects": ["d"]})), Some(MAXIMUM_STREAMS));
    assert_eq!(bench.stream("C", json!({})), None, "what is there may be asked for again");
    assert_eq!(bench.names("STREAM.NAMES"), 3);
    assert!(!bench.captured("d"), "what was refused captures nothing");
    assert_eq!(bench.api("STREAM.DELETE.C", &json!({})), None);
    assert_eq!(bench.stream("D", json!({})), None, "there is room again");
}

#[test]
fn one_consumer_more_than_may_be_of_a_stream_and_of_all() {
    let mut bench = Bench::new(Limits { consumers: 3, all_consumers: 5, ..Limits::default() });
    assert_eq!(bench.stream("T", json!({"subjects": ["t"]})), None);
    for name in ["a", "b", "c"] {
        assert_eq!(bench.consumer("S", name, json!({})), None);
    }
    assert_eq!(bench.consumer("S", "d", json!({})), Some(MAXIMUM_CONSUMERS));
    assert_eq!(bench.consumer("T", "a", json!({})), None);
    assert_eq!(bench.consumer("T", "b", json!({})), None);
    assert_eq!(bench.consumer("T", "c", json!({})), Some(MAXIMUM_CONSUMERS));
    assert_eq!((bench.names("CONSUMER.NAMES.S"), bench.names("CONSUMER.NAMES.T")), (3, 2));
    assert_eq!(bench.consumer("S", "a", json!({})), None, "what is there may be asked for again");
    assert_eq!(bench.api("CONSUMER.DELETE.S.a", &json!({})), None);
    assert_eq!(bench.consumer("T", "c", json!({})), None);
}

#[test]
fn filters_of_a_consumer_of_a_stream_and_subjects_of_a_stream() {
    let mut bench = Bench::new(Limits { filters: 8, stream_filters: 12, ..Limits::default() });
    assert_eq!(bench.stream("T", json!({"subjects": subjects(9)})), Some(INSUFFICIENT_RESOURCES));
    assert_eq!(bench.stream("T", json!({"subjects": subjects(8)})), None);
    assert_eq!(
        bench.api("STREAM.UPDATE.T", &json!({"name": "T", "subjects": subjects(9)})),
        Some(INSUFFICIENT_RESOURCES)
    );
    let filters = |from: usize, count: usize| -> Value {
        let list: Vec<String> = (from..from + count).map(|n| format!("s.{n}")).collect();
        json!({ "filter_subjects": list })
    };
    assert_eq!(bench.consumer("S", "a", filters(0, 9)), Some(INSUFFICIENT_RESOURCES));
    assert_eq!(bench.consumer("S", "a", filters(0, 8)), None);
    assert_eq!(bench.consumer("S", "b", filters(0, 5)), Some(INSUFFICIENT_RESOURCES), "13 of a stream");
    assert_eq!(bench.consumer("S", "b", filters(0, 4)), None);
    let update = |count| {
        let mut config = filters(0, count);
        config["durable_name"] = "b".into();
        json!({"stream_name": "S", "config": config, "action": "update"})
    };
    assert_eq!(bench.api("CONSUMER.CREATE.S.b", &update(5)), Some(INSUFFICIENT_RESOURCES));
    assert_eq!(bench.api("CONSUMER.CREATE.S.b", &update(3)), None);
    assert_eq!(bench.names("CONSUMER.NAMES.S"), 2);
    assert!(bench.captured("t.7") && !bench.captured("t.8"), "a refused update captures nothing");
}

#[test]
fn configurations_together() {
    let mut bench = Bench::new(Limits { config_bytes: 16 * 1024, ..Limits::default() });
    let large = |n: usize| json!({"metadata": {"text": "x".repeat(n)}});
    assert_eq!(bench.stream("T", large(20 * 1024)), Some(INSUFFICIENT_RESOURCES));
    assert_eq!(bench.stream("T", large(7 * 1024)), None);
    assert_eq!(bench.consumer("S", "a", large(4 * 1024)), None);
    assert_eq!(bench.consumer("S", "b", large(6 * 1024)), Some(INSUFFICIENT_RESOURCES));
    // What replaces something counts in its place.
    let stream = |n| {
        let mut config = large(n);
        config["name"] = "T".into();
        config
    };
    assert_eq!(bench.api("STREAM.UPDATE.T", &stream(8 * 1024)), None);
    assert_eq!(bench.api("STREAM.UPDATE.T", &stream(14 * 1024)), Some(INSUFFICIENT_RESOURCES));
    let consumer = |n| {
        let mut config = large(n);
        config["durable_name"] = "a".into();
        json!({"stream_name": "S", "config": config, "action": "update"})
    };
    assert_eq!(bench.api("CONSUMER.CREATE.S.a", &consumer(5 * 1024)), None);
    assert_eq!(bench.api("CONSUMER.CREATE.S.a", &consumer(12 * 1024)), Some(INSUFFICIENT_RESOURCES));
    let mut made = 0;
    while bench.stream(&format!("N{made}"), json!({})).is_none() {
        made += 1;
        assert!(made < 60, "small ones come to an end, too");
    }
}

#[test]
fn streams_in_memory_one_and_all() {
    let limits = Limits { memory_stream: 64 * 1024, memory: 160 * 1024, ..Limits::default() };
    let mut bench = Bench::new(limits);
    let memory = |subject: &str| json!({"subjects": [subject], "storage": "memory"});
    let mut much = memory("m.0");
    much["max_bytes"] = json!(65 * 1024);
    assert_eq!(bench.stream("M0", much), Some(MEMORY_RESOURCES));
    let payload = vec![b'x'; 1024];
    let mut total = 0;
    for n in 0..4 {
        let subject = format!("m.{n}");
        assert_eq!(bench.stream(&format!("M{n}"), memory(&subject)), None);
        let mut taken = 0;
        let refused = loop {
            match bench.publish(&subject, &payload) {
                None => taken += 1,
                Some(code) => break code,
            }
            assert!(taken <= 64, "beyond the bound of a stream");
        };
        assert_eq!(refused, INSUFFICIENT_RESOURCES);
        assert_eq!(bench.state(&format!("M{n}"))["messages"], taken);
        total += taken;
    }
    assert!((100..=160).contains(&total), "{total} KiB of 160");
    // What is given back may be used by another.
    assert_eq!(bench.api("STREAM.PURGE.M0", &json!({})), None);
    assert_eq!(bench.publish("m.3", &payload), None);
    assert_eq!(bench.publish("s.file", &payload), None, "files have their own");
}

#[test]
fn what_is_known_of_all_messages() {
    let mut bench = Bench::new(Limits { index_bytes: 32 * 1024, ..Limits::default() });
    let mut taken = 0;
    let refused = loop {
        match bench.publish(&format!("s.{taken}"), b"") {
            None => taken += 1,
            Some(code) => break code,
        }
        assert!(taken < 2000, "each takes some of the 32 KiB");
    };
    assert_eq!(refused, INSUFFICIENT_RESOURCES);
    let state = bench.state("S");
    assert_eq!((state["messages"].as_u64(), state["last_seq"].as_u64()), (Some(taken), Some(taken)));
    assert_eq!(bench.ask("$JS.API.STREAM.MSG.GET.S", br#"{"seq":1}"#)["message"]["subject"], "s.0");
    assert_eq!(bench.api("STREAM.PURGE.S", &json!({"keep": 1})), None);
    assert_eq!(bench.publish("s.again", b""), None);
    assert_eq!(bench.state("S")["last_seq"].as_u64(), Some(taken + 1), "a refusal takes no number");
}

#[test]
fn pull_requests_that_wait_of_all_consumers() {
    let mut bench = Bench::new(Limits { waiting: 6, ..Limits::default() });
    for name in ["a", "b"] {
        assert_eq!(bench.consumer("S", name, json!({"ack_policy": "explicit"})), None);
    }
    for n in 0..8 {
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.S.{}", if n % 2 == 0 { "a" } else { "b" });
        bench.machine.interest(bench.now, &format!("in.{n}"), true);
        bench.send(&subject, &format!("in.{n}"), br#"{"batch":1,"expires":60000000000}"#);
        let answers = bench.turn();
        let refused =
            answers.iter().any(|p| p.route == format!("in.{n}") && p.headers.starts_with(b"NATS/1.0 409"));
        assert_eq!(refused, n >= 6, "{n}: {answers:?}");
    }
    // Those that wait are served, and their places are free again.
    bench.send("s.1", "r", b"one");
    let served = bench.turn().iter().filter(|p| p.subject == "s.1").count();
    assert_eq!(served, 2, "one for each consumer");
    bench.machine.interest(bench.now, "in.9", true);
    bench.send("$JS.API.CONSUMER.MSG.NEXT.S.a", "in.9", br#"{"batch":1,"expires":60000000000}"#);
    assert!(bench.turn().iter().all(|p| !p.headers.starts_with(b"NATS/1.0 409")));
}

#[test]
fn messages_that_are_not_acknowledged_of_all_consumers() {
    let mut bench = Bench::new(Limits { pending: 10, ..Limits::default() });
    for n in 0..20 {
        assert_eq!(bench.publish(&format!("s.{n}"), b"x"), None);
    }
    for name in ["a", "b"] {
        let config =
            json!({"ack_policy": "explicit", "deliver_subject": format!("to.{name}"), "max_ack_pending": -1});
        bench.machine.interest(bench.now, &format!("to.{name}"), true);
        assert_eq!(bench.consumer("S", name, config), None);
    }
    bench.machine.interest(bench.now, "to.a", true);
    bench.machine.interest(bench.now, "to.b", true);
    let owed = |bench: &mut Bench, name: &str| {
        let info = bench.ask(&format!("$JS.API.CONSUMER.INFO.S.{name}"), b"");
        info["num_ack_pending"].as_u64().unwrap()
    };
    for _ in 0..6 {
        bench.turn();
    }
    assert_eq!(owed(&mut bench, "a") + owed(&mut bench, "b"), 10);
    // An acknowledgement makes room for the next.
    let ack = if owed(&mut bench, "a") > 0 { "$JS.ACK.S.a.1.1.1.1.1" } else { "$JS.ACK.S.b.1.1.1.1.1" };
    bench.send(ack, "r", b"+ACK");
    let sent: Vec<Publish> = (0..3).flat_map(|_| bench.turn()).collect();
    assert_eq!(sent.iter().filter(|p| p.subject.starts_with("s.")).count(), 1, "{sent:?}");
    assert_eq!(owed(&mut bench, "a") + owed(&mut bench, "b"), 10);
}

#[test]
fn what_one_batch_of_a_direct_get_gives() {
    let mut bench = Bench::new(Limits::default());
    assert_eq!(bench.stream("D", json!({"subjects": ["d.>"], "allow_direct": true})), None);
    for n in 0..1_500 {
        assert_eq!(bench.publish(&format!("d.{n}"), b""), None);
    }
    let (mut from, mut got, mut answers) = (1, 0, 0);
    loop {
        let request = json!({"seq": from, "batch": 1_000_000_000, "next_by_subj": "d.>"}).to_string();
        bench.send("$JS.API.DIRECT.GET.D", "in", request.as_bytes());
        let sent = bench.turn();
        answers += 1;
        let (end, messages) = sent.split_last().unwrap();
        got += messages.len();
        assert!(messages.len() <= super::TURN_MESSAGES, "{}", messages.len());
        let text = String::from_utf8(end.headers.to_vec()).unwrap();
        assert!(text.starts_with("NATS/1.0 204 EOB"), "{text}");
        assert!(text.contains(&format!("Nats-Num-Pending: {}", 1_500 - got)), "{text}");
        from = got + 1;
        if got == 1_500 {
            break;
        }
    }
    assert_eq!(answers, 3);
    // What headers and names take counts, too: of the last of each subject at once, and of a batch.
    let long = "x".repeat(200);
    for n in 0..1_000 {
        assert_eq!(bench.publish(&format!("d.{long}.{n}"), &[7; 5_000]), None);
    }
    for request in [json!({"multi_last": [format!("d.{long}.>")]}), json!({"seq": 1_501, "batch": 5_000})] {
        bench.send("$JS.API.DIRECT.GET.D", "in", request.to_string().as_bytes());
        let sent = bench.turn();
        let cost: usize = sent.iter().map(Publish::cost).sum();
        assert!(cost <= super::TURN_BYTES + 8_192, "{cost} bytes");
        assert!(sent.last().unwrap().headers.starts_with(b"NATS/1.0 204 EOB"));
    }
}

/// Numbers at the ends of what they can be are refused or bounded, and nothing stops for them.
#[test]
fn numbers_at_their_ends() {
    let mut bench = Bench::new(Limits::default());
    for first in [u64::MAX, u64::MAX - 1, 1 << 63] {
        assert_eq!(
            bench.stream("N", json!({"subjects": ["n.>"], "first_seq": first})),
            Some(10_052),
            "{first}"
        );
    }
    let last = (1_u64 << 63) - 1;
    assert_eq!(
        bench.stream("N", json!({"subjects": ["n.>"], "first_seq": last, "allow_direct": true})),
        None
    );
    assert_eq!(bench.publish("n.1", b"x"), None);
    assert_eq!(bench.state("N")["last_seq"].as_u64(), Some(last));
    for until in
        ["1700-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "2262-04-11T00:00:00Z", "9999-12-31T23:59:59Z"]
    {
        bench.consumer("S", "p", json!({"ack_policy": "explicit", "pause_until": until}));
        bench.api("CONSUMER.PAUSE.S.p", &json!({"pause_until": until}));
        bench.turn();
    }
    for number in [u64::MAX, u64::MAX - 1, 1 << 63] {
        let starts = json!({"deliver_policy": "by_start_sequence", "opt_start_seq": number});
        bench.consumer("S", &format!("c{number}"), starts);
        bench.send(
            "$JS.API.DIRECT.GET.N",
            "in",
            format!(r#"{{"seq":{number},"batch":{number}}}"#).as_bytes(),
        );
        let multi = format!(r#"{{"multi_last":["n.>"],"up_to_seq":{number},"seq":{number}}}"#);
        bench.send("$JS.API.DIRECT.GET.N", "in", multi.as_bytes());
        bench.send("$JS.API.STREAM.MSG.GET.N", "r", format!(r#"{{"seq":{number}}}"#).as_bytes());
        bench.send("$JS.API.STREAM.MSG.DELETE.N", "r", format!(r#"{{"seq":{number}}}"#).as_bytes());
        bench.send("$JS.API.STREAM.PURGE.S", "r", format!(r#"{{"seq":{number}}}"#).as_bytes());
        bench.send(
            &format!("$JS.ACK.S.c{number}.{number}.{number}.{number}.{number}.{number}"),
            "r",
            b"+ACK",
        );
        let pull = format!(r#"{{"batch":{number},"expires":{},"max_bytes":{}}}"#, i64::MAX, i64::MAX);
        bench.send(&format!("$JS.API.CONSUMER.MSG.NEXT.S.c{number}"), "in", pull.as_bytes());
        bench.turn();
    }
    let most = json!({"subjects": ["m.>"], "max_age": i64::MAX, "max_bytes": i64::MAX, "duplicate_window": i64::MAX});
    bench.stream("M", most);
    assert_eq!(bench.publish("s.after", b"x"), None);
}
