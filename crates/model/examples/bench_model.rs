//! What a look-up and a message cost, with as many sensors as there can be:
//!
//! ```sh
//! cargo run --release -p model --example bench_model
//! ```
//!
//! One line for each, in nanoseconds: the median of 31 rounds, and the fastest.

#![allow(clippy::print_stdout, reason = "it prints what it measured")]

use std::hint::black_box;
use std::time::Instant;

use model::{Answer, Domain, Input, Model, Snapshot};
use schema::v1alpha1 as v1;
use units::Mono;

const SENSORS: usize = 1_000;
/// Sensors of a bus that show something else after a poll, on a machine that is at work.
const NEWS: usize = 50;
const ROUNDS: usize = 31;

fn main() {
    let mut bench = Bench::new();
    let names: Vec<String> = (0..SENSORS).map(name).collect();
    let snapshot = bench.model.snapshot().clone();

    report("look up a sensor by name", SENSORS, || {
        for name in &names {
            black_box(snapshot.sensor(black_box(name)).map(|sensor| (sensor.value(), sensor.quality())));
        }
    });
    report("look up a host by name", SENSORS, || {
        for _ in 0..SENSORS {
            black_box(snapshot.hosts().get(black_box("system")).map(|host| host.quality));
        }
    });
    report("walk over all sensors, each", SENSORS, || {
        for sensor in snapshot.sensors() {
            black_box((sensor.value(), sensor.quality(), sensor.change()));
        }
    });
    report("take a snapshot", SENSORS, || {
        for _ in 0..SENSORS {
            black_box(Snapshot::clone(black_box(&snapshot)));
        }
    });
    let before = snapshot.cursor();
    bench.tell(NEWS);
    let after = bench.model.snapshot().clone();
    report(&format!("list {NEWS} changes among {SENSORS} sensors"), 1, || {
        black_box(after.since(black_box(before)));
    });
    report(&format!("apply a message with {NEWS} of {SENSORS} sensors"), 1, || bench.tell(NEWS));
    report("apply a message that says that all is as it was", 1, || bench.tell(0));
    report(&format!("apply a full message of {SENSORS} sensors"), 1, || bench.tell(SENSORS));
}

fn name(number: usize) -> String {
    format!("board{}_sensor{number}_temp", number % 8)
}

/// Runs it some times, and prints what one of `count` outcome.
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn report(what: &str, count: usize, mut run: impl FnMut()) {
    let mut rounds: Vec<u128> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_nanos() / count as u128
        })
        .collect();
    rounds.sort_unstable();
    println!("{what:<55} {:>9} ns   fastest {:>9} ns", rounds[ROUNDS / 2], rounds[0]);
}

/// A model that is filled, and who tells it news.
struct Bench {
    model: Model,
    now: u64,
    sequence: u64,
    value: f64,
    /// What was published before, as a reader holds it.
    held: Option<Snapshot>,
}

impl Bench {
    fn new() -> Self {
        let mut bench = Self { model: Model::new(1), now: 0, sequence: 1, value: 20.0, held: None };
        let mut queries = Vec::new();
        bench.model.step(Mono::ZERO, 0, Input::Tick, &mut queries);
        for ask in queries.clone() {
            let answer = match ask.domain {
                Domain::Sensors => Answer::Sensors((0..SENSORS).map(sensor).collect()),
                Domain::Readings => Answer::Readings(bench.readings(SENSORS, true)),
                Domain::Hosts => {
                    Answer::Hosts(vec![v1::Host { name: "system".to_owned(), ..v1::Host::default() }])
                }
                _ => continue,
            };
            bench.model.step(Mono::ZERO, 0, Input::Answered(ask, Ok(answer)), &mut queries);
        }
        bench
    }

    fn readings(&self, count: usize, full: bool) -> v1::SensorReadings {
        v1::SensorReadings {
            epoch: 1,
            sequence: self.sequence,
            full,
            ids: if full { (0..SENSORS).map(name).collect() } else { Vec::new() },
            numbers: (0..u32::try_from(count).unwrap_or(0)).collect(),
            values: vec![self.value; count],
            qualities: vec![v1::SensorQuality::Good.into(); count],
            statuses: vec![v1::SensorStatus::Enabled.into(); count],
            ages_ms: vec![5; count],
            ..v1::SensorReadings::default()
        }
    }

    /// The next message about so many sensors, each with another value. The snapshot before it is still held by somebody, as it is when it was
    /// published.
    fn tell(&mut self, count: usize) {
        self.now += 50;
        self.sequence += 1;
        self.value = if self.value > 80.0 { 20.0 } else { self.value + 0.5 };
        let message = Box::new(self.readings(count, count == SENSORS));
        self.held = Some(self.model.snapshot().clone());
        let mut queries = Vec::new();
        self.model.step(Mono::from_millis(self.now), self.now, Input::Readings(message), &mut queries);
        black_box(queries);
    }
}

fn sensor(number: usize) -> v1::Sensor {
    v1::Sensor {
        id: name(number),
        name: format!("Sensor {number}"),
        context: Some(v1::SensorContext::Temperature.into()),
        unit: Some(v1::SensorUnit::Celsius.into()),
        interval: Some(schema::time::duration(std::time::Duration::from_secs(1))),
        ..v1::Sensor::default()
    }
}
