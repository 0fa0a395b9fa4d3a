//! The flood of a daemon that was taken over: everything its credential allows on the bus, and what it does not.

use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The daemon that is taken over: the outward link may ask every service, read and write the event log, and has nothing the administrator's
/// answers come through.
pub(crate) const TAKEN: &str = "fleet";
/// Digits of the password the operator makes for a daemon.
const DIGITS: usize = 48;
/// Lines a connection says before it looks whether it is still there.
const AT_ONCE: u32 = 2_000;

/// The bus password of a daemon, read from its memory, as one who has taken it over would.
pub(crate) async fn password(pid: u32, bus: SocketAddr) -> Result<String> {
    for candidate in candidates(pid)? {
        if connect(bus, &candidate).await.is_ok() {
            return Ok(candidate);
        }
    }
    anyhow::bail!("no password of the bus in the memory of {TAKEN}")
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

async fn connect(bus: SocketAddr, password: &str) -> Result<TcpStream> {
    let mut tcp = TcpStream::connect(bus).await?;
    let hello = format!(
        "CONNECT {{\"verbose\":false,\"headers\":true,\"user\":\"{TAKEN}\",\"pass\":\"{password}\"}}\r\nPING\r\n"
    );
    tcp.write_all(hello.as_bytes()).await?;
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    while !heard.windows(6).any(|part| part == b"PONG\r\n") {
        let length = timeout(Duration::from_secs(5), tcp.read(&mut buffer)).await??;
        ensure!(length > 0, "the bus ended the connection");
        heard.extend_from_slice(&buffer[..length]);
        ensure!(!heard.windows(4).any(|part| part == b"-ERR"), "refused");
    }
    Ok(tcp)
}

/// What one connection says over and over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Piece {
    /// Questions to the daemon the administrator asks.
    Ask,
    /// Pages of the event log.
    List,
    /// Events of its own: each is stored.
    Tell,
    /// Single messages of the log.
    Get,
    /// Readers of the log, one after the other.
    Consume,
    /// Subscriptions that come and go.
    Subscribe,
    /// What it may not say.
    Denied,
    /// Everything there is to hear, which it does not read.
    Deaf,
    /// A connection that goes at once.
    Come,
}

/// All pieces, and how many connections of each.
pub(crate) const PIECES: &[(Piece, u16)] = &[
    (Piece::Ask, 4),
    (Piece::List, 2),
    (Piece::Tell, 2),
    (Piece::Get, 2),
    (Piece::Consume, 2),
    (Piece::Subscribe, 2),
    (Piece::Denied, 2),
    (Piece::Deaf, 16),
    (Piece::Come, 2),
];

impl Piece {
    fn line(self, n: u32) -> String {
        let answer = format!("_INBOX.{TAKEN}.{n}");
        match self {
            Self::Ask => format!("PUB rpc.HostService.GetHost {answer} 0\r\n\r\n"),
            Self::List => format!("PUB rpc.EventService.ListEvents {answer} 0\r\n\r\n"),
            Self::Tell => {
                let text = "x".repeat(400);
                format!("PUB event.{TAKEN}.flood.{n} {}\r\n{text}\r\n", text.len())
            }
            Self::Get => {
                let which = format!("{{\"seq\":{}}}", n % 100 + 1);
                format!("PUB $JS.API.STREAM.MSG.GET.EVENTS {answer} {}\r\n{which}\r\n", which.len())
            }
            Self::Consume => {
                let what = format!(
                    "{{\"stream_name\":\"EVENTS\",\"config\":{{\"deliver_subject\":\"{answer}\",\"ack_policy\":\"none\",\"filter_subjects\":[\"event.host.>\",\"event.{TAKEN}.>\"]}}}}"
                );
                format!("PUB $JS.API.CONSUMER.CREATE.EVENTS {answer} {}\r\n{what}\r\n", what.len())
            }
            Self::Subscribe => format!("SUB {answer}.> 1\r\nUNSUB 1\r\n"),
            Self::Denied => "PUB event.host.system 0\r\n\r\n".to_owned(),
            Self::Deaf | Self::Come => String::new(),
        }
    }
}

/// One connection of the flood, until it is ended.
pub(crate) async fn one(piece: Piece, bus: SocketAddr, password: &str) -> Result<()> {
    let mut tcp = connect(bus, password).await?;
    if let Piece::Come = piece {
        return Ok(());
    }
    let (mut ears, mut mouth) = tcp.split();
    mouth.write_all(format!("SUB _INBOX.{TAKEN}.> 9\r\n").as_bytes()).await?;
    if let Piece::Deaf = piece {
        mouth.write_all(b"SUB event.> 8\r\n").await?;
        tokio::time::sleep(Duration::from_secs(20)).await;
        return Ok(());
    }
    let much: String = (0..AT_ONCE).map(|n| piece.line(n)).collect();
    let talk = async {
        while mouth.write_all(much.as_bytes()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    let hear = async {
        let mut buffer = vec![0; 64 * 1024];
        while matches!(ears.read(&mut buffer).await, Ok(1..)) {}
    };
    tokio::select! {
        () = talk => {}
        () = hear => {}
    }
    Ok(())
}
