//! What every implementation of [`Gpio`] owes, as functions that panic when it is not so.
//!
//! An implementer's test makes a [`Bench`], two lines with something at their far ends, and calls [`all`]. The functions contain no
//! timing; a bench whose calls return is enough.

pub mod led;

use std::time::Duration;

use async_trait::async_trait;

use crate::{Error, ErrorKind, Gpio, Initial, InputLine, Line, next_edge};

/// Two wires and their far ends.
#[async_trait]
pub trait Bench: Send {
    /// The lines under test, as one process sees them.
    fn gpio(&self) -> &dyn Gpio;

    /// The lines under test, as another process sees them.
    fn stranger(&self) -> &dyn Gpio;

    /// A line to drive, active low, inactive when nobody drives it.
    fn output(&self) -> Line;

    /// A line to read, active low, inactive at first, not debounced.
    fn input(&self) -> Line;

    /// The output's logical level once nobody holds it: `None` when it keeps the last, as the GPIO of a SoC does.
    fn released(&self) -> Option<bool>;

    /// Sets the input's logical level from outside.
    async fn put(&mut self, active: bool);

    /// The output's logical level as seen from outside.
    async fn look(&mut self) -> bool;

    /// The clock of edges now, `CLOCK_MONOTONIC`.
    fn now(&self) -> Duration;
}

/// Everything below, one after the other on one bench.
pub async fn all(bench: &mut dyn Bench) {
    an_output_is_taken_as_it_is(bench).await;
    an_output_starts_at_the_level_asked_for(bench).await;
    a_line_has_one_owner(bench).await;
    a_dropped_output_keeps_its_level(bench).await;
    polarity_is_the_requests(bench).await;
    edges_come_in_order_with_the_time_they_happened(bench).await;
    a_reader_that_falls_behind_ends_at_the_truth(bench).await;
    a_missing_line_is_named(bench).await;
}

async fn an_output_is_taken_as_it_is(bench: &mut dyn Bench) {
    for level in [false, true, false] {
        let line = bench.output();
        {
            let output = bench.gpio().output(&line, Initial::AsIs, "contract").await.expect("a free line");
            output.set(level).await.expect("driven");
            assert_eq!(bench.look().await, level, "driven before set returned");
        }
        let output = requested(bench, &line, Initial::AsIs).await;
        let level = bench.released().unwrap_or(level);
        assert_eq!(bench.look().await, level, "as it was");
        assert_eq!(output.get().await.expect("read back"), level);
    }
}

async fn an_output_starts_at_the_level_asked_for(bench: &mut dyn Bench) {
    for level in [true, false] {
        let line = bench.output();
        let output = requested(bench, &line, Initial::Level(level)).await;
        assert_eq!(bench.look().await, level);
        assert_eq!(output.get().await.expect("read back"), level);
    }
}

async fn a_line_has_one_owner(bench: &mut dyn Bench) {
    let line = bench.output();
    let _held = requested(bench, &line, Initial::AsIs).await;
    for other in [bench.gpio(), bench.stranger()] {
        let error = other.output(&line, Initial::Level(true), "second").await.expect_err("it is held");
        assert_eq!(error.kind(), ErrorKind::Busy);
        assert!(matches!(&error, Error::Busy { owner, .. } if owner == "contract"), "{error}");
    }
    assert!(!bench.look().await, "a refused request changes nothing");
}

async fn a_dropped_output_keeps_its_level(bench: &mut dyn Bench) {
    let line = bench.output();
    let output = requested(bench, &line, Initial::Level(true)).await;
    drop(output);
    if bench.released().is_some() {
        return;
    }
    assert!(bench.look().await, "held on");
    let output = requested(bench, &line, Initial::AsIs).await;
    assert!(output.get().await.expect("read back"), "found held");
    output.set(false).await.expect("driven");
    assert!(!bench.look().await);
}

async fn polarity_is_the_requests(bench: &mut dyn Bench) {
    let line = bench.output();
    let inverted = Line { active_low: !line.active_low, ..line };
    let output = requested(bench, &inverted, Initial::AsIs).await;
    assert!(output.get().await.expect("read back"), "inactive one way is active the other");
    output.set(false).await.expect("driven");
    assert!(bench.look().await);
    output.set(true).await.expect("driven");
    assert!(!bench.look().await);
}

async fn edges_come_in_order_with_the_time_they_happened(bench: &mut dyn Bench) {
    let line = bench.input();
    let mut input = opened(bench, &line).await;
    assert!(!input.get().await.expect("read"), "inactive at first");
    let mut last = bench.now();
    for round in 0..6 {
        let active = round % 2 == 0;
        bench.put(active).await;
        let edge = next_edge(input.as_mut()).await.expect("an edge");
        assert_eq!(edge.active, active);
        assert!(edge.at >= last && edge.at <= bench.now(), "stamped when it happened");
        last = edge.at;
        assert_eq!(input.get().await.expect("read"), active);
    }
}

async fn a_reader_that_falls_behind_ends_at_the_truth(bench: &mut dyn Bench) {
    let line = bench.input();
    let mut input = opened(bench, &line).await;
    // More than any queue between holds.
    for round in 0..101 {
        bench.put(round % 2 == 0).await;
    }
    assert!(input.get().await.expect("read"), "the level is the truth at once");
    let before_last = bench.now();
    bench.put(false).await;
    let mut at = Duration::ZERO;
    loop {
        let edge = next_edge(input.as_mut()).await.expect("an edge");
        assert!(edge.at >= at, "in order");
        at = edge.at;
        if edge.at >= before_last {
            assert!(!edge.active, "the last edge agrees with the level the line settled on");
            break;
        }
    }
    assert!(!input.get().await.expect("read"));
}

async fn a_missing_line_is_named(bench: &mut dyn Bench) {
    let line = Line::named("no-such-line");
    let error = bench.gpio().input(&line, "contract").await.expect_err("it does not exist");
    assert_eq!(error.kind(), ErrorKind::Wiring);
    assert!(error.to_string().contains("no-such-line"));
}

/// Requests a line whose last owner may take a moment to be gone.
async fn requested(bench: &dyn Bench, line: &Line, initial: Initial) -> Box<dyn crate::OutputLine> {
    loop {
        match bench.gpio().output(line, initial, "contract").await {
            Ok(output) => return output,
            Err(Error::Busy { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// As [`requested`], for the input.
async fn opened(bench: &dyn Bench, line: &Line) -> Box<dyn InputLine> {
    loop {
        match bench.gpio().input(line, "contract").await {
            Ok(input) => return input,
            Err(Error::Busy { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
