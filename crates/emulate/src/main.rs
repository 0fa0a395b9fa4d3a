//! `emulate`: runs an image for a person, or measures it. `cargo xtask emulate`, `bench boot` and `size --board` call it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use emulate::{Bmc, Edge, READY_LINE, moments, number};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use twin::{Button, Fault, Role};

/// Runs or measures a firmware image on an emulated SoC.
#[derive(Parser, Debug)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Args, Debug)]
struct Image {
    /// The board, for example `aspeed/ast2600-evb`.
    #[arg(long)]
    board: String,
    /// Folder with the image.
    #[arg(long)]
    image: PathBuf,
    /// More words for the kernel's command line.
    #[arg(long)]
    append: Vec<String>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run it until `~quit`.
    Run {
        #[command(flatten)]
        image: Image,
        /// Port for HTTPS on 127.0.0.1; a free one when left out.
        #[arg(long)]
        https: Option<u16>,
        /// The server is on when the BMC gets power.
        #[arg(long)]
        running: bool,
    },
    /// Measure the time to each stage.
    Boot {
        #[command(flatten)]
        image: Image,
        /// How often, after a first boot that makes keys and is shown apart.
        #[arg(long, default_value_t = 3)]
        rounds: u32,
    },
    /// Measure memory.
    Memory {
        #[command(flatten)]
        image: Image,
        /// Print JSON for a machine to read.
        #[arg(long)]
        json: bool,
    },
}

const HELP: &str = "\
~power [ms]      press the front panel's power button (200 ms)
~reset [ms]      press the front panel's reset button
~loss, ~wake     take the power from the server; let it start by itself
~temp C [n]      set the n-th temperature sensor, counted from 0
~state           what the server does, and its last edges
~cut             take the power from the BMC, and give it back
~quit            end
~~text           type a line that begins with ~";

#[expect(clippy::print_stdout, reason = "a program's output is its user interface")]
fn say(text: &str) {
    println!("{text}");
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("emulate: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        match cli.command {
            Command::Run { image, https, running } => run(&image, https, running).await,
            Command::Boot { image, rounds } => boot(&image, rounds).await,
            Command::Memory { image, json } => memory(&image, json).await,
        }
    });
    // A read of standard input cannot be called off; nothing else is left.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("emulate: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn builder(image: &Image) -> emulate::Builder {
    let builder = Bmc::builder(&image.image, &image.board);
    image.append.iter().fold(builder, emulate::Builder::append)
}

/// What ends a sitting at the console.
enum Next {
    Again,
    Quit,
}

async fn run(image: &Image, https: Option<u16>, running: bool) -> Result<()> {
    let mut builder = builder(image);
    if let Some(port) = https {
        builder = builder.https(port);
    }
    if running {
        builder = builder.running();
    }
    let mut bmc = builder.prepare()?;
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    let mut open = true;
    loop {
        bmc.boot().await?;
        say(&format!(
            "\n  URL      https://{}\n  console  lines go to the BMC; ~? lists what is done to the server\n",
            bmc.machine()?.https
        ));
        let next = sit(&bmc, &mut input, &mut open).await;
        bmc.cut().await?;
        if matches!(next?, Next::Quit) {
            return Ok(());
        }
    }
}

type Input = tokio::io::Lines<BufReader<tokio::io::Stdin>>;

/// Shows the console and does what is typed until the BMC is to lose its power.
async fn sit(bmc: &Bmc, input: &mut Input, open: &mut bool) -> Result<Next> {
    let mut pieces = bmc.console()?.pieces();
    let mut events = bmc.qmp()?.events();
    let mut serial = bmc.server().serial();
    let mut out = tokio::io::stdout();
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    loop {
        tokio::select! {
            piece = pieces.recv() => match piece {
                Ok(piece) => {
                    out.write_all(&piece).await?;
                    out.flush().await?;
                }
                Err(tokio::sync::broadcast::error::RecvError::Lagged(lost)) => say(&format!("~ {lost} pieces lost")),
                Err(tokio::sync::broadcast::error::RecvError::Closed) => bail!("QEMU ended"),
            },
            event = events.recv() => match event {
                Ok(event) if event.name == "SHUTDOWN" => return Ok(Next::Quit),
                Ok(event) => say(&format!("~ {} {}", event.name, event.data)),
                Err(_) => {}
            },
            text = serial.recv() => if let Ok((host, text)) = text {
                for line in text.lines().filter(|line| !line.is_empty()) {
                    say(&format!("~ host {host}: {line}"));
                }
            },
            line = input.next_line(), if *open => match line? {
                Some(line) => {
                    let done = match line.strip_prefix('~') {
                        Some(rest) if !rest.starts_with('~') => command(bmc, rest).await,
                        Some(rest) => bmc.console()?.send(&format!("{rest}\n")).await.map(|()| None),
                        None => bmc.console()?.send(&format!("{line}\n")).await.map(|()| None),
                    };
                    match done {
                        Ok(Some(next)) => return Ok(next),
                        Ok(None) => {}
                        Err(error) => say(&format!("~ {error:#}")),
                    }
                }
                None => *open = false,
            },
            _ = tokio::signal::ctrl_c() => return Ok(Next::Quit),
            _ = term.recv() => return Ok(Next::Quit),
        }
    }
}

/// One `~` command.
async fn command(bmc: &Bmc, text: &str) -> Result<Option<Next>> {
    let mut words = text.split_whitespace();
    let server = bmc.server();
    let host = bmc.board().hosts.first().map(|host| host.id.as_str().to_owned()).context("no host")?;
    let name = words.next().unwrap_or("?");
    let mut number = |default: u64| words.next().map_or(Ok(default), str::parse);
    match name {
        "power" | "reset" => {
            let button = if name == "power" { Button::Power } else { Button::Reset };
            let length = Duration::from_millis(number(200)?.min(30_000));
            server.finger(&host, button, true).await?;
            tokio::time::sleep(length).await;
            server.finger(&host, button, false).await?;
        }
        "loss" => server.fault(&host, Fault::PowerLoss).await?,
        "wake" => server.fault(&host, Fault::Wake).await?,
        "temp" => {
            let celsius = number(25)?;
            let index = usize::try_from(number(0)?)?;
            let mut sensors = bmc.qmp()?.devices("tmp105").await?;
            let simple = sensors.len();
            sensors.extend(bmc.qmp()?.devices("tmp421").await?);
            let sensor =
                sensors.get(index).with_context(|| format!("there are {} sensors", sensors.len()))?;
            let property = if index < simple { "temperature" } else { "temperature0" };
            bmc.qmp()?.set(sensor, property, celsius * 1_000).await?;
        }
        "state" => state(bmc, &host)?,
        "cut" => return Ok(Some(Next::Again)),
        "quit" => return Ok(Some(Next::Quit)),
        _ => say(HELP),
    }
    Ok(None)
}

fn state(bmc: &Bmc, host: &str) -> Result<()> {
    let server = bmc.server();
    let (supply, os) = server.ask(host, |model| (model.supply(), model.os()))?;
    say(&format!("~ {host}: {supply:?}, operating system {os:?}"));
    let level = |role: Role| server.active(host, role).map(|active| format!("{} {active}", role.key()));
    let levels: Vec<String> = [Role::PowerButton, Role::Control, Role::Reset, Role::Nmi, Role::PowerGood]
        .into_iter()
        .filter_map(level)
        .collect();
    say(&format!("~ {}", levels.join(", ")));
    for Edge { at, role, active, .. } in server.trace(server.mark().saturating_sub(10)) {
        say(&format!("~ {:10.3} {} {active}", at.as_secs_f64(), role.key()));
    }
    Ok(())
}

/// One boot of a BMC without power, up to the first answer.
async fn one_boot(bmc: &mut Bmc) -> Result<Vec<emulate::Moment>> {
    bmc.boot().await?;
    let answered = bmc.answers().await?;
    // Later than any line that is read here, and the next boot finds a slot that works.
    bmc.confirmed().await?;
    moments(bmc, answered)
}

async fn boot(image: &Image, rounds: u32) -> Result<()> {
    let mut bmc = builder(image).prepare()?;
    let mut boots = Vec::new();
    for round in 0..=rounds {
        boots.push(one_boot(&mut bmc).await?);
        if round == 0 {
            // A controller whose first password is not changed makes another at each start.
            bmc.first_login().await?;
        }
        bmc.cut().await?;
        say(&format!("boot {round} of {rounds}: done"));
    }
    let (first, rest) = boots.split_first().context("no boot")?;
    let last = rest.last().unwrap_or(first);
    say(&format!(
        "{:60} {:>8} {:>8} {:>8} {:>8}",
        "seconds of guest time since the kernel's start", "first", "median", "least", "most"
    ));
    for moment in last {
        let same = |boot: &[emulate::Moment]| {
            boot.iter().find(|m| kind(&m.what) == kind(&moment.what)).map(|m| m.seconds)
        };
        let mut times: Vec<f64> = rest.iter().filter_map(|boot| same(boot)).collect();
        times.sort_by(f64::total_cmp);
        let middle = times.get(times.len() / 2).or(same(first).as_ref()).copied().unwrap_or(moment.seconds);
        let edge = |value: Option<&f64>| value.copied().unwrap_or(middle);
        say(&format!(
            "{:60} {:8.3} {:8.3} {:8.3} {:8.3}",
            moment.what.chars().take(60).collect::<String>(),
            same(first).unwrap_or(f64::NAN),
            middle,
            edge(times.first()),
            edge(times.last())
        ));
    }
    Ok(())
}

/// What is the same in the same moment of two boots: its words without numbers.
fn kind(what: &str) -> String {
    what.chars().filter(|c| !c.is_ascii_digit()).collect()
}

async fn memory(image: &Image, json: bool) -> Result<()> {
    let bmc = builder(image).start().await?;
    let admin = bmc.first_login().await?;
    // Allocations of the start settle, and the first password's hash is forgotten.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let reply = admin.get("/api/v1alpha1/system/daemons").await?;
    let daemons = reply.json()?;
    let kib = |value: Option<&Value>| {
        // Whole numbers of 64 bits are texts in this JSON.
        value.and_then(Value::as_str).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    };
    let mut rows: Vec<(String, f64)> = Vec::new();
    for daemon in daemons["daemons"].as_array().context("daemons")? {
        let name = daemon["name"].as_str().unwrap_or_default();
        rows.push((format!("PSS {name}"), kib(daemon.get("memoryPssBytes"))));
    }
    let info = admin.get("/api/v1alpha1/system/info").await?.json()?;
    let own = info.pointer("/systemInfo/metadata/operator.memory_pss_bytes");
    rows.push(("PSS operator, with the bus".into(), kib(own)));
    let total = rows.iter().map(|(_, value)| value).sum();
    rows.push(("PSS total".into(), total));
    let ready = bmc.console()?.wait_for(READY_LINE, 0, Duration::from_secs(1)).await?;
    if let Some(free) = number(&ready.text, "free_kib") {
        rows.push(("RAM available when ready".into(), free));
    }
    if json {
        let object: serde_json::Map<String, Value> =
            rows.into_iter().map(|(name, value)| (format!("{name} [KiB]"), value.into())).collect();
        say(&serde_json::to_string_pretty(&object)?);
        return Ok(());
    }
    for (name, value) in rows {
        say(&format!("{name:28} {value:10.1} KiB"));
    }
    Ok(())
}
