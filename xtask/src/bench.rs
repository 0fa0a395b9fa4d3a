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
    /// Redfish over TLS, kept alive and with new connections, beside sushy-tools' emulator and nginx; 300 sensors in one answer.
    Redfish,
    /// 1,000 hwmon sensors at 1 Hz: processor, memory, jitter and latency, and the fan loop under a flood of the bus, beside lm-sensors.
    Sensors,
    /// Look-ups and messages of the live model, in nanoseconds. With the sensors as well.
    Model,
    /// What an idle controller with 300 sensors writes to its state, in bytes to the device. Six minutes.
    Writes,
    /// A console: echo, throughput and processor time at 115,200 baud with four readers, beside socat.
    Console,
    /// A screen of 1080p: JPEG of the hardware as it is; pixels from being drawn to being shown, processor time of a picture, memory of a viewer, beside
    /// libvncserver and QEMU's own VNC server.
    Kvm,
    /// Virtual media: a file of the store and an image at a server, as a host reads them, beside qemu-nbd and nbdkit.
    Media,
    /// IPMI: lists of 200 sensors, single commands, and sessions that poll, beside OpenIPMI's simulator.
    Ipmi,
    /// Each stage of a boot of the image on the emulated board, up to the first answer. Only when asked for by name.
    Boot,
}

/// Runs the benchmarks asked for.
pub(crate) fn run(args: &Args) -> Result<()> {
    need::tools(&[need::CC])?;
    if matches!(args.what, None | Some(Bench::Flood | Bench::Web | Bench::Redfish)) {
        need::tools(&[need::NGINX])?;
    }
    if matches!(args.what, None | Some(Bench::Sensors)) {
        need::tools(&[need::SENSORS])?;
    }
    if matches!(args.what, None | Some(Bench::Console)) {
        need::tools(&[need::SOCAT])?;
    }
    if matches!(args.what, None | Some(Bench::Kvm)) {
        need::qemu_x86()?;
        need::tools(&[need::LIBVNCSERVER])?;
    }
    if matches!(args.what, None | Some(Bench::Media)) {
        need::tools(&[need::QEMU_NBD, need::NBDKIT])?;
    }
    if matches!(args.what, None | Some(Bench::Ipmi)) {
        need::tools(&[need::IPMITOOL, need::IPMI_SIM])?;
    }
    if matches!(args.what, Some(Bench::Boot)) {
        return emulate::bench(&args.rest);
    }
    if matches!(args.what, Some(Bench::Model)) {
        return example("model", "bench_model", &args.rest, &[]);
    }
    let sushy = match args.what {
        None | Some(Bench::Redfish) => Some(need::python_sushy()?.join("bin/python")),
        _ => None,
    };
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
        Bench::Redfish,
        Bench::Sensors,
        Bench::Writes,
        Bench::Console,
        Bench::Kvm,
        Bench::Media,
        Bench::Ipmi,
    ];
    let chosen: Vec<Bench> = match args.what {
        None => all.to_vec(),
        Some(Bench::Web) => vec![Bench::Web, Bench::Pages],
        Some(one) => vec![one],
    };
    for bench in chosen {
        let (package, name) = match bench {
            Bench::Bus => ("busd", "bench_bus"),
            Bench::Stream => ("busd", "bench_stream"),
            Bench::Power => ("testkit", "bench_power"),
            Bench::Flood => ("testkit", "bench_flood"),
            Bench::Web => ("testkit", "bench_web"),
            Bench::Redfish => ("testkit", "bench_redfish"),
            Bench::Sensors => ("testkit", "bench_sensors"),
            Bench::Writes => ("testkit", "bench_writes"),
            Bench::Console => ("testkit", "bench_console"),
            Bench::Kvm => ("testkit", "bench_kvm"),
            Bench::Media => ("testkit", "bench_media"),
            Bench::Pages => {
                web::bench()?;
                continue;
            }
            Bench::Ipmi => ("testkit", "bench_ipmi"),
            Bench::Model | Bench::Boot => continue,
        };
        sh::say(&format!("\n=== {bench:?} ==="));
        example(
            package,
            name,
            &args.rest,
            &[
                ("NATS_SERVER", nats_server.clone()),
                ("SUSHY", sushy.clone().unwrap_or_default()),
                ("NGINX", sh::located(need::NGINX.program).unwrap_or_default()),
                ("SOCAT", sh::located(need::SOCAT.program).unwrap_or_default()),
                ("UBMC", sh::target_dir().join("release/u-bmc")),
            ],
        )?;
        if matches!(bench, Bench::Sensors) {
            sh::say("");
            example("model", "bench_model", &[], &[])?;
        }
    }
    Ok(())
}

/// Runs an example of a package, as a release is built.
fn example(package: &str, name: &str, rest: &[String], env: &[(&str, std::path::PathBuf)]) -> Result<()> {
    let mut command = sh::cargo_command();
    command.args(["run", "--quiet", "--locked", "--release", "--package", package, "--example", name, "--"]);
    for (key, value) in env {
        command.env(key, value);
    }
    sh::run(command.args(rest))
}
