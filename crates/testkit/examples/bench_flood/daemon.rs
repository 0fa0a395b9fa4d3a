//! The flood of a daemon that was taken over: everything its credential allows on the bus, and what it does not.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use testkit::bench;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// The daemon that is taken over: the outward link may ask every service, read and write the event log, and has nothing the administrator's
/// answers come through.
pub(crate) const TAKEN: &str = "fleet";
/// Lines a connection says before it looks whether it is still there.
const AT_ONCE: u32 = 2_000;

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
    let mut tcp = bench::bus_connect(TAKEN, bus, password).await?;
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
