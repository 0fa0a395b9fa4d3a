//! `cargo xtask bench`: measurements, side by side with the peer in one run. Never part of the tests.

use anyhow::Result;
use clap::ValueEnum;

use crate::{emulate, need, sh, web};

/// What to measure.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// One benchmark; all of them when left out.
    what: Option<Bench>,
    /// Passed on to the benchmark.
    #[arg(last = true)]
    rest: Vec<String>,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum Bench {
    /// The embedded bus beside nats-server: latency, throughput, memory.
    Bus,
    /// Streams and key-value beside nats-server's JetStream.
    Stream,
    /// API call to edge on the simulated pin.
    Power,
    /// An administrator's answers, and the memory, under floods of strangers and of an account that may only read, beside nginx.
    Flood,
    /// Processor time of a request by each protocol over each version of HTTP, and of a fixed answer beside nginx. With `UBMC_BEFORE`, an older
    /// program, both in turns. Then `pages`.
    Web,
    /// The Web UI in Chromium with a processor four times slower: first paint, interaction, bytes, beside what webui-vue's makers have published.
    Pages,
    /// 1,000 hwmon sensors at 1 Hz: processor, memory, jitter and latency, and the fan loop under a flood of the bus, beside lm-sensors.
    Sensors,
    /// A console: echo, throughput and processor time at 115,200 baud with four readers, beside socat.
    Console,
    /// Each stage of a boot of the image on the emulated board, up to the first answer. Only when asked for by name.
    Boot,
}

/// Runs the benchmarks asked for.
pub(crate) fn run(args: &Args) -> Result<()> {
    need::tools(&[need::CC])?;
    if matches!(args.what, None | Some(Bench::Flood | Bench::Web)) {
        need::tools(&[need::NGINX])?;
    }
    if matches!(args.what, None | Some(Bench::Sensors)) {
        need::tools(&[need::SENSORS])?;
    }
    if matches!(args.what, None | Some(Bench::Console)) {
        need::tools(&[need::SOCAT])?;
    }
    if matches!(args.what, Some(Bench::Boot)) {
        return emulate::bench(&args.rest);
    }
    if matches!(args.what, None | Some(Bench::Web | Bench::Pages)) {
        web::build()?;
    }
    let nats_server = need::python_clients()?.join("bin/nats-server");
    sh::cargo(&["build", "--locked", "--release"])?;
    let all = [
        Bench::Bus,
        Bench::Stream,
        Bench::Power,
        Bench::Flood,
        Bench::Web,
        Bench::Pages,
        Bench::Sensors,
        Bench::Console,
    ];
    let chosen: Vec<Bench> = match args.what {
        None => all.to_vec(),
        Some(Bench::Web) => vec![Bench::Web, Bench::Pages],
        Some(one) => vec![one],
    };
    for bench in chosen {
        let (package, example) = match bench {
            Bench::Bus => ("busd", "bench_bus"),
            Bench::Stream => ("busd", "bench_stream"),
            Bench::Power => ("testkit", "bench_power"),
            Bench::Flood => ("testkit", "bench_flood"),
            Bench::Web => ("testkit", "bench_web"),
            Bench::Sensors => ("testkit", "bench_sensors"),
            Bench::Console => ("testkit", "bench_console"),
            Bench::Pages => {
                web::bench()?;
                continue;
            }
            Bench::Boot => continue,
        };
        sh::say(&format!("\n=== {bench:?} ==="));
        sh::run(
            sh::cargo_command()
                .args([
                    "run",
                    "--quiet",
                    "--locked",
                    "--release",
                    "--package",
                    package,
                    "--example",
                    example,
                    "--",
                ])
                .args(&args.rest)
                .env("NATS_SERVER", &nats_server)
                .env("NGINX", sh::located(need::NGINX.program).unwrap_or_default())
                .env("SOCAT", sh::located(need::SOCAT.program).unwrap_or_default())
                .env("UBMC", sh::target_dir().join("release/u-bmc")),
        )?;
    }
    Ok(())
}
