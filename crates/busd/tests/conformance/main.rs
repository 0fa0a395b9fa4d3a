//! One list of cases, run against the embedded server and against `nats-server`: what both say must be the same.
//!
//! The real server is taken from `NATS_SERVER` or from `PATH`; where it is missing a line `SKIP: …` says so and ours is
//! still run, so that at least nothing hangs.

#![allow(clippy::print_stdout, reason = "a test that cannot run where it is says so on standard output")]

mod cases;
mod client_level;
mod peers;
mod wire;

use std::fmt::Write as _;

use peers::{Ours, Peer, Real, Setup};
use wire::play;

/// Runs every case of a setup on both, and collects where they differ.
fn compare(setup: Setup) {
    let cases: Vec<_> = cases::all().into_iter().filter(|c| c.setup == setup).collect();
    assert!(!cases.is_empty(), "no case for {setup:?}");
    let real = Real::find();
    if real.is_none() {
        println!("SKIP: nats-server is not installed: {} cases of {setup:?} are not compared", cases.len());
    }
    let mut differences = String::new();
    for case in &cases {
        // A server each: what one case leaves behind must not reach the next.
        let ours = play(&mut Ours::start(setup), case);
        assert!(!ours.contains("<timeout>"), "{}: ours did not answer in time:\n{ours}", case.name);
        let Some(binary) = &real else { continue };
        let theirs = play(&mut Real::start(binary, setup), case);
        if ours != theirs {
            let _ =
                write!(differences, "\n== {} ==\n-- nats-server --\n{theirs}-- ours --\n{ours}", case.name);
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

#[test]
fn an_open_server_says_what_nats_server_says() {
    compare(Setup::Open);
}

#[test]
fn a_server_with_tight_bounds_says_what_nats_server_says() {
    compare(Setup::Tight);
}

#[test]
fn a_server_with_users_says_what_nats_server_says() {
    compare(Setup::Users);
}

#[test]
fn a_slow_consumer_goes_as_with_nats_server() {
    compare(Setup::Slow);
}

#[test]
fn a_silent_client_goes_as_with_nats_server() {
    compare(Setup::Silent);
}

#[test]
fn a_leaving_server_says_what_nats_server_says() {
    compare(Setup::Leaving);
}

#[test]
fn async_nats_sees_no_difference() {
    let mut peers: Vec<Box<dyn Peer>> = vec![Box::new(Ours::start(Setup::Open))];
    match Real::find() {
        Some(binary) => peers.push(Box::new(Real::start(&binary, Setup::Open))),
        None => println!("SKIP: nats-server is not installed: async-nats is run against ours only"),
    }
    let seen: Vec<String> = peers.iter().map(|p| client_level::async_nats(&p.url())).collect();
    assert!(seen.iter().all(|s| *s == seen[0]), "{seen:#?}");
    assert!(seen[0].contains("done"), "{}", seen[0]);
}

#[test]
fn nats_py_sees_no_difference() {
    let Some(python) = client_level::python() else {
        println!("SKIP: nats-py is not installed: the Python client is not run");
        return;
    };
    let mut peers: Vec<Box<dyn Peer>> = vec![Box::new(Ours::start(Setup::Open))];
    match Real::find() {
        Some(binary) => peers.push(Box::new(Real::start(&binary, Setup::Open))),
        None => println!("SKIP: nats-server is not installed: nats-py is run against ours only"),
    }
    let seen: Vec<String> = peers.iter().map(|p| client_level::nats_py(&python, &p.url())).collect();
    assert!(seen.iter().all(|s| *s == seen[0]), "{seen:#?}");
    assert!(seen[0].contains("done"), "{}", seen[0]);
}

#[test]
fn the_new_python_clients_see_no_difference() {
    let Some(python) = client_level::new_python() else {
        println!(
            "SKIP: nats-core and nats-jetstream are not installed (they need Python 3.13): they are not run"
        );
        return;
    };
    for (what, setup) in [("core", Setup::Open), ("jetstream", Setup::Streams)] {
        let mut peers: Vec<Box<dyn Peer>> = vec![Box::new(Ours::start(setup))];
        match Real::find() {
            Some(binary) => peers.push(Box::new(Real::start(&binary, setup))),
            None => println!("SKIP: nats-server is not installed: {what} is run against ours only"),
        }
        let seen: Vec<String> =
            peers.iter().map(|p| client_level::nats_core(&python, &p.url(), what)).collect();
        assert!(seen.iter().all(|s| *s == seen[0]), "{seen:#?}");
        assert!(seen[0].contains("done"), "{}", seen[0]);
    }
}
