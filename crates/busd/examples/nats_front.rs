//! The embedded server behind the command line of `nats-server`, as far as the test suites of the NATS clients use it, so
//! that they can be run against it. What ours has not (TLS, tokens, clusters, monitoring…) ends the start with a line
//! that says so; nothing is quietly left out but the address of the monitoring, which many suites set and few use.

#![allow(clippy::print_stderr, reason = "the log of the server that is imitated is on standard error")]

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use busd::{JetStreamConfig, Limits, Server, ServerConfig, User, jetstream};
use tokio::signal::unix::{SignalKind, signal};

type Error = Box<dyn std::error::Error>;

#[derive(Debug, Default)]
struct Options {
    host: Option<String>,
    port: Option<u16>,
    name: Option<String>,
    jetstream: bool,
    store: Option<PathBuf>,
    log: Option<PathBuf>,
    pid: Option<PathBuf>,
    user: Option<String>,
    password: Option<String>,
    max_payload: Option<usize>,
    max_file_store: Option<u64>,
    ping_interval: Option<u64>,
    /// A process to tell to leave.
    leave: Option<String>,
}

fn port(text: &str) -> Result<u16, Error> {
    Ok(if text == "-1" { 0 } else { text.parse()? })
}

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, Error> {
        let mut options = Options::default();
        let mut arguments: VecDeque<String> = arguments.collect();
        while let Some(argument) = arguments.pop_front() {
            let (name, given) = match argument.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (argument, None),
            };
            let mut value = || given.clone().or_else(|| arguments.pop_front()).ok_or("a value is missing");
            match name.trim_start_matches('-') {
                "a" | "addr" => options.host = Some(value()?),
                "p" | "port" => options.port = Some(port(&value()?)?),
                "n" | "name" | "server_name" => options.name = Some(value()?),
                "js" | "jetstream" => options.jetstream = true,
                "sd" | "store_dir" => options.store = Some(value()?.into()),
                "l" | "log" => options.log = Some(value()?.into()),
                "P" | "pid" => options.pid = Some(value()?.into()),
                "user" => options.user = Some(value()?),
                "pass" => options.password = Some(value()?),
                "c" | "config" => options.read(Path::new(&value()?))?,
                "m" | "http_port" => drop(value()?),
                "D" | "V" | "DV" | "debug" => {}
                "sl" | "signal" => options.leave = value()?.strip_prefix("ldm=").map(str::to_owned),
                other => return Err(format!("not supported: --{other}").into()),
            }
        }
        Ok(options)
    }

    /// The keys of a configuration file that ours has something for.
    fn read(&mut self, path: &Path) -> Result<(), Error> {
        let text = std::fs::read_to_string(path)?;
        let mut blocks: Vec<String> = Vec::new();
        for line in text.lines().map(|line| line.split(['#', ';']).next().unwrap_or_default().trim()) {
            // A key and its value; a block is opened and closed on a line of its own, as in all the files of the suites.
            let (key, value) = line.split_once([' ', ':', '=']).unwrap_or((line, ""));
            let value = value.trim_matches([' ', ':', '=', ',', '"', '\'', '\t']);
            if key == "}" {
                blocks.pop();
                continue;
            }
            if value == "{" {
                blocks.push(key.to_owned());
                if key == "jetstream" {
                    self.jetstream = true;
                }
                continue;
            }
            let within = blocks.last().map_or("", String::as_str);
            match (within, key) {
                (_, "") | ("authorization", "timeout") | ("jetstream", "strict" | "max_mem_store") => {}
                ("", "http" | "http_port" | "server_name" | "debug" | "trace" | "max_pending") => {}
                ("", "jetstream") => self.jetstream = matches!(value, "enabled" | "true" | "on"),
                ("", "port") => self.port = self.port.or(Some(port(value)?)),
                ("", "listen") => {
                    let (host, number) = value.rsplit_once(':').ok_or("an address without a port")?;
                    self.host = Some(host.to_owned());
                    self.port = self.port.or(Some(port(number)?));
                }
                ("", "max_payload") => self.max_payload = Some(usize::try_from(bytes(value)?)?),
                ("", "ping_interval") => self.ping_interval = Some(milliseconds(value)?),
                ("jetstream", "max_file_store" | "max_file") => self.max_file_store = Some(bytes(value)?),
                ("jetstream", "store_dir") => self.store = self.store.take().or(Some(value.into())),
                ("authorization", "user" | "username") => self.user = Some(value.to_owned()),
                ("authorization", "pass" | "password") => self.password = Some(value.to_owned()),
                _ => return Err(format!("not supported: {within} {key} in {}", path.display()).into()),
            }
        }
        Ok(())
    }
}

fn number(text: &str) -> Result<(u64, &str), Error> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Ok((number.parse()?, unit))
}

fn bytes(text: &str) -> Result<u64, Error> {
    let (number, unit) = number(text)?;
    let shift = match unit.to_ascii_uppercase().as_str() {
        "" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        other => return Err(format!("no unit of size: {other}").into()),
    };
    Ok(number << shift)
}

fn milliseconds(text: &str) -> Result<u64, Error> {
    match number(text)? {
        (number, "ms") => Ok(number),
        (number, "" | "s") => Ok(number * 1000),
        (number, "m") => Ok(number * 60_000),
        (_, unit) => Err(format!("no unit of time: {unit}").into()),
    }
}

fn main() -> Result<(), Error> {
    let options = Options::parse(std::env::args().skip(1)).inspect_err(|error| eprintln!("[FTL] {error}"))?;
    if let Some(process) = options.leave {
        let status = std::process::Command::new("kill").args(["-USR2", &process]).status()?;
        return if status.success() { Ok(()) } else { Err("no such process".into()) };
    }
    let host = match options.host.as_deref() {
        // Nothing but this machine is meant.
        None | Some("0.0.0.0" | "localhost") => "127.0.0.1",
        Some(host) => host,
    };
    let limits = Limits::default();
    let limits = Limits {
        max_payload: options.max_payload.unwrap_or(limits.max_payload),
        ping_interval: options.ping_interval.unwrap_or(limits.ping_interval),
        ..limits
    };
    let user =
        options.user.zip(options.password).map(|(name, password)| User { name, password, permissions: None });
    let mut extensions = Vec::new();
    if options.jetstream {
        let mut config = JetStreamConfig { dir: options.store, ..JetStreamConfig::default() };
        config.store.max_bytes = options.max_file_store.unwrap_or(config.store.max_bytes).min(256 << 20);
        extensions.push(jetstream(config));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut leave = signal(SignalKind::user_defined2())?;
        let listen: SocketAddr = (host.parse::<std::net::IpAddr>()?, options.port.unwrap_or(4222)).into();
        let server = Server::start(ServerConfig {
            listen,
            server_name: options.name.unwrap_or_else(|| "u-bmc".to_owned()),
            users: user.into_iter().collect(),
            limits,
            extensions,
        })?;
        if let Some(path) = options.pid {
            std::fs::write(path, std::process::id().to_string())?;
        }
        let lines =
            format!("[INF] Listening for client connections on {}\n[INF] Server is ready\n", server.addr);
        match options.log {
            Some(path) => std::fs::write(path, lines)?,
            None => std::io::stderr().write_all(lines.as_bytes())?,
        }
        let grace = tokio::select! {
            _ = terminate.recv() => Duration::ZERO,
            _ = interrupt.recv() => Duration::ZERO,
            _ = leave.recv() => Duration::from_secs(10),
        };
        server.shutdown(grace).await;
        Ok(())
    })
}
