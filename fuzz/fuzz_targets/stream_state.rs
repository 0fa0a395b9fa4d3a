//! Any bytes as the stored metadata of a stream and the stored state of its consumers, two copies of each, over five messages that
//! are there: the store opens, what reads is served, and the machine goes on answering.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use nats::js::store::{
    Class, Flush, Memory, MemoryStream, Message, Record, Recovered, Step, Storage, StoreError, StreamStore,
};
use nats::js::{Inbound, JetStream, Limits, Now, Output};

const WALL: i64 = 1_800_000_000_000_000_000;

/// Messages in memory that the journal speaks of.
#[derive(Debug)]
struct Five(MemoryStream);

impl StreamStore for Five {
    fn replay(&mut self, visit: &mut dyn FnMut(Step<'_>)) -> Result<(), StoreError> {
        for seq in 1..=5 {
            let subject = ["s.a", "s.b"][seq as usize % 2];
            let record = Record { seq, time: WALL - 1_000_000_000, subject, headers: b"", payload: b"x" };
            self.0.append(record)?;
            visit(Step::Message(record));
        }
        Ok(())
    }
    fn settle(&mut self, live: &dyn Fn(u64) -> bool) {
        self.0.settle(live);
    }
    fn append(&mut self, record: Record<'_>) -> Result<(), StoreError> {
        self.0.append(record)
    }
    fn read(&mut self, seq: u64) -> Result<Message, StoreError> {
        self.0.read(seq)
    }
    fn is_near(&mut self, seq: u64) -> bool {
        self.0.is_near(seq)
    }
    fn forget(&mut self, seq: u64) {
        self.0.forget(seq);
    }
    fn remove(&mut self, ranges: &[(u64, u64)]) -> Result<(), StoreError> {
        self.0.remove(ranges)
    }
    fn reset(&mut self, next: u64) -> Result<(), StoreError> {
        self.0.reset(next)
    }
    fn flush(&mut self, how: Flush) -> Result<(), StoreError> {
        self.0.flush(how)
    }
    fn rollback(&mut self, revive: &[u64]) -> Result<(), StoreError> {
        self.0.rollback(revive)
    }
    fn probe(&mut self, bytes: usize) -> Result<(), StoreError> {
        self.0.probe(bytes)
    }
    fn maintain(&mut self) -> Result<bool, StoreError> {
        self.0.maintain()
    }
    fn used(&self) -> u64 {
        self.0.used()
    }
}

/// A store in memory that finds one stream.
#[derive(Debug)]
struct Found(Memory, Option<Recovered>);

impl Storage for Found {
    fn recover(&mut self) -> Result<Vec<Recovered>, StoreError> {
        Ok(self.1.take().into_iter().collect())
    }
    fn create(&mut self, name: &str, class: Class, meta: &[u8]) -> Result<Box<dyn StreamStore>, StoreError> {
        self.0.create(name, class, meta)
    }
    fn adopt(&mut self, name: &str, class: Class) -> Result<Recovered, StoreError> {
        self.0.adopt(name, class)
    }
    fn put_stream(&mut self, name: &str, class: Class, meta: &[u8]) -> Result<(), StoreError> {
        self.0.put_stream(name, class, meta)
    }
    fn delete(&mut self, name: &str) -> Result<(), StoreError> {
        self.0.delete(name)
    }
    fn put_consumer(&mut self, stream: &str, name: &str, n: u64, state: &[u8]) -> Result<(), StoreError> {
        // What is written reads.
        assert!(serde_json::from_slice::<serde_json::Value>(state).is_ok());
        self.0.put_consumer(stream, name, n, state)
    }
    fn delete_consumer(&mut self, stream: &str, name: &str) -> Result<(), StoreError> {
        self.0.delete_consumer(stream, name)
    }
    fn capacity(&self) -> Option<u64> {
        self.0.capacity()
    }
}

fuzz_target!(|input: (Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>, bool)| {
    let (meta, other, state, older, sound) = input;
    let config = r#"{"config":{"name":"s","subjects":["s.>"],"retention":"limits","max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":0,"max_msgs_per_subject":-1,"max_msg_size":-1,"discard":"old","storage":"file","num_replicas":1,"duplicate_window":120000000000,"allow_direct":true},"created":1}"#;
    // With sound metadata the consumers are come to.
    let metas = if sound { vec![config.as_bytes().to_vec(), other] } else { vec![meta, other] };
    let consumers = BTreeMap::from([("c".to_owned(), vec![state, older])]);
    let class = Class { memory: false, expendable: false };
    let store = Box::new(Five(MemoryStream::new(1 << 20)));
    let found = Recovered { name: "s".to_owned(), metas, class, consumers, store };
    let mut now = Now { mono: 1, wall: WALL };
    let storage = Box::new(Found(Memory::new(1 << 20), Some(found)));
    let Ok(mut machine) = JetStream::open(storage, Limits::default(), 1, now) else { return };
    machine.interest(now, "to", true);
    for (subject, payload) in [
        ("$JS.API.STREAM.INFO.s", ""),
        ("$JS.API.CONSUMER.INFO.s.c", ""),
        ("s.a", "more"),
        ("$JS.API.CONSUMER.MSG.NEXT.s.c", r#"{"batch":9,"no_wait":true}"#),
        ("$JS.ACK.s.c.1.1.1.1.1", "+ACK"),
        ("$JS.API.STREAM.PURGE.s", r#"{"keep":1}"#),
        ("$JS.API.CONSUMER.RESET.s.c", r#"{"seq":2}"#),
        ("$JS.API.CONSUMER.DELETE.s.c", ""),
    ] {
        let payload = payload.as_bytes();
        machine.handle(now, Inbound { subject: subject.as_bytes(), reply: Some(b"r"), headers: b"", payload });
        let _ = machine.deadline(now);
        machine.commit(now);
        machine.housekeep();
        now = Now { mono: now.mono + 1_500, wall: now.wall + 1_500_000_000 };
    }
    machine.handle(now, Inbound { subject: b"$JS.API.INFO", reply: Some(b"r"), headers: b"", payload: b"" });
    assert!(machine.commit(now).iter().any(|o| matches!(o, Output::Publish(p) if p.route == "r")));
});
