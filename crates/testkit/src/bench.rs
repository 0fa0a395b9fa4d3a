//! What benchmarks have in common: who runs on which processor and takes what, a connection to the bus, and nginx beside us.

use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::{Client, Credential, eventually};

/// Digits of the password the operator makes for a daemon.
const DIGITS: usize = 48;

/// Runs a program on this process, its id last. Without the program, or the right to, all stays as it is.
pub fn tell(program: &str, args: &[&str]) {
    let own = std::process::id().to_string();
    let _ = std::process::Command::new(program)
        .args(args)
        .arg(own)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// Has this process, and what it starts from now on, run on the servers' processor or on the other. Whether the machine has two: with one
/// both share it.
pub fn run_with(server: bool) -> bool {
    // Of the machine: once it is told where to run, there is one.
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    let two = *PROCESSORS.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from)) > 1;
    if two {
        tell("taskset", &["-pc", if server { "0" } else { "1" }]);
    }
    two
}

/// Starts nginx with `nginx.conf` in `dir`, and waits until it answers at `address`.
///
/// # Errors
/// When it does not.
pub async fn nginx(program: &Path, dir: &Path, address: SocketAddr) -> Result<(Child, Client)> {
    let child = Command::new(program)
        .arg("-p")
        .arg(dir)
        .arg("-c")
        .arg(dir.join("nginx.conf"))
        .args(["-g", "daemon off;"])
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let client = Client::new(&address.to_string(), Credential::None);
    eventually("nginx answers", Duration::from_secs(10), || async { Ok(client.get("/").await.is_ok()) })
        .await?;
    Ok((child, client))
}

/// What these processes have used of a processor, seconds.
#[must_use]
pub fn processor(pids: &[u32]) -> f64 {
    let of = |pid: &u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // After the name, which may hold anything: the 12th and 13th are user and system time in hundredths of a second.
        let (_, rest) = text.rsplit_once(") ")?;
        let ticks = rest.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u32>().ok());
        ticks.sum::<Option<u32>>().map(|ticks| f64::from(ticks) / 100.0)
    };
    pids.iter().filter_map(of).sum()
}

/// PSS of these processes, KiB.
#[must_use]
pub fn memory(pids: &[u32]) -> u64 {
    let of = |pid: &u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    pids.iter().filter_map(of).sum()
}

/// The sample below which so many percent of them are; sorts them. NaN without any.
pub fn rank(samples: &mut [f64], percent: usize) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples
        .get((samples.len() * percent / 100).min(samples.len().saturating_sub(1)))
        .copied()
        .unwrap_or(f64::NAN)
}

/// The bus password of a daemon, read from its memory, as one who has taken it over would.
///
/// # Errors
/// When its memory may not be read, or none is in it.
pub async fn bus_password(daemon: &str, pid: u32, bus: SocketAddr) -> Result<String> {
    for candidate in candidates(pid)? {
        if bus_connect(daemon, bus, &candidate).await.is_ok() {
            return Ok(candidate);
        }
    }
    anyhow::bail!("no password of the bus in the memory of {daemon}")
}

fn candidates(pid: u32) -> Result<Vec<String>> {
    let maps =
        std::fs::File::open(format!("/proc/{pid}/maps")).context("look at the daemon's memory (root)")?;
    let mut memory =
        std::fs::File::open(format!("/proc/{pid}/mem")).context("read the daemon's memory (root)")?;
    let mut found: Vec<String> = Vec::new();
    for line in BufReader::new(maps).lines() {
        let line = line?;
        let Some((from, to)) = line.split_once(' ').and_then(|(range, _)| range.split_once('-')) else {
            continue;
        };
        if !line.contains(" rw-p ") {
            continue;
        }
        let (from, to) = (u64::from_str_radix(from, 16)?, u64::from_str_radix(to, 16)?);
        let mut bytes = vec![0; usize::try_from(to - from)?];
        if memory.seek(SeekFrom::Start(from)).is_err() || memory.read_exact(&mut bytes).is_err() {
            continue;
        }
        for run in bytes.split(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            let text = String::from_utf8_lossy(run).into_owned();
            if run.len() == DIGITS && !found.contains(&text) {
                found.push(text);
            }
        }
    }
    Ok(found)
}

/// A connection to the bus as this daemon, which has said its name.
///
/// # Errors
/// When the bus does not take it.
pub async fn bus_connect(daemon: &str, bus: SocketAddr, password: &str) -> Result<TcpStream> {
    let mut tcp = TcpStream::connect(bus).await?;
    tcp.set_nodelay(true)?;
    let hello = format!(
        "CONNECT {{\"verbose\":false,\"headers\":true,\"user\":\"{daemon}\",\"pass\":\"{password}\"}}\r\nPING\r\n"
    );
    tcp.write_all(hello.as_bytes()).await?;
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    while !heard.windows(6).any(|part| part == b"PONG\r\n") {
        let length = timeout(Duration::from_secs(5), tcp.read(&mut buffer)).await??;
        ensure!(length > 0, "the bus ended the connection");
        heard.extend_from_slice(buffer.get(..length).unwrap_or_default());
        ensure!(!heard.windows(4).any(|part| part == b"-ERR"), "refused");
    }
    Ok(tcp)
}
