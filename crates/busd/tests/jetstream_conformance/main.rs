//! One list of JetStream and key-value cases, run against the embedded server and against `nats-server -js`: what both
//! answer must be the same, field by field, times and generated names aside.
//!
//! The real server is taken from `NATS_SERVER` or from `PATH`; where it is missing a line `SKIP: …` counts what was not
//! compared, and ours is still run, so that at least nothing hangs. The same holds for nats-py.

#![allow(clippy::print_stdout, reason = "a test that cannot run where it is says so on standard output")]

mod cases;
mod clients;
mod peers;
mod wire;

use std::fmt::Write as _;

use peers::{Ours, Real};

#[tokio::test]
async fn the_api_answers_what_nats_server_answers() {
    let cases = cases::all();
    let only = std::env::var("ONLY").ok();
    let real = Real::find();
    if real.is_none() {
        println!("SKIP: nats-server is not installed: {} JetStream cases are not compared", cases.len());
    }
    let mut differences = String::new();
    for case in cases.iter().filter(|c| only.as_deref().is_none_or(|o| c.name.contains(o))) {
        // A server each: what one case leaves behind must not reach the next.
        let server = Ours::start();
        let ours = wire::play(&server.url(), case).await;
        let Some(binary) = &real else { continue };
        let server = Real::start(binary);
        let theirs = wire::play(&server.url(), case).await;
        if ours == theirs {
            continue;
        }
        let _ = writeln!(differences, "\n== {} ==", case.name);
        for (n, step) in case.steps.iter().enumerate() {
            if ours[n] != theirs[n] {
                let (ours, theirs) = (&ours[n], &theirs[n]);
                let _ = writeln!(differences, "{step:?}\n  nats-server: {theirs}\n  ours:        {ours}");
            }
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

fn both(see: impl Fn(&str) -> String) {
    let ours = Ours::start();
    let mut seen = vec![see(&ours.url())];
    match Real::find() {
        Some(binary) => seen.push(see(&Real::start(&binary).url())),
        None => println!("SKIP: nats-server is not installed: the client is run against ours only"),
    }
    assert!(seen[0].contains("done"), "{}", seen[0]);
    for other in &seen[1..] {
        let differ: Vec<_> = seen[0].lines().zip(other.lines()).filter(|(a, b)| a != b).collect();
        assert!(seen[0] == *other, "ours / nats-server: {differ:#?}");
    }
}

#[test]
fn async_nats_sees_no_difference() {
    both(clients::async_nats);
}

#[test]
fn nats_py_sees_no_difference() {
    match clients::python() {
        Some(python) => both(|url| clients::nats_py(&python, url)),
        None => println!("SKIP: nats-py is not installed: the Python client is not run"),
    }
}
