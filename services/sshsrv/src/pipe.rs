//! Bytes between a TCP connection and the library that speaks SSH on it, in a task of ours: so a connection can be ended at once, whatever the library waits
//! for, and a client that takes nothing or sends much before it has logged in has an end.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Bytes on their way in each direction.
pub(crate) const PIPE: usize = 16 * 1024;
/// How long a client may take nothing. It costs a place and nothing else.
const STUCK_MAX: Duration = Duration::from_secs(600);
/// What somebody may send who has not logged in; a key exchange and six tries take 8 KiB.
const STRANGER_MAX: usize = 64 * 1024;

/// Passes bytes on until one of the two ends.
///
/// # Errors
/// A side is gone; `TimedOut`: the client took nothing for ten minutes; `InvalidData`: it sent more than who has not logged in may.
pub(crate) async fn pump(
    mut tcp: TcpStream,
    library: DuplexStream,
    has_logged_in: impl Fn() -> bool,
) -> io::Result<()> {
    let (mut from_client, mut to_client) = tcp.split();
    let (mut from_library, mut to_library) = tokio::io::split(library);
    let inward = async {
        let mut buffer = vec![0; PIPE];
        let mut sum = 0_usize;
        loop {
            let count = from_client.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            sum = sum.saturating_add(count);
            if sum > STRANGER_MAX && !has_logged_in() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            to_library.write_all(buffer.get(..count).unwrap_or_default()).await?;
        }
    };
    let outward = async {
        let mut buffer = vec![0; PIPE];
        loop {
            let count = from_library.read(&mut buffer).await?;
            if count == 0 {
                return to_client.shutdown().await;
            }
            let written = to_client.write_all(buffer.get(..count).unwrap_or_default());
            timeout(STUCK_MAX, written).await.map_err(|_| io::ErrorKind::TimedOut)??;
        }
    };
    tokio::select! {
        ended = inward => ended,
        ended = outward => ended,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        (client.unwrap(), accepted.unwrap().0)
    }

    #[tokio::test]
    async fn bytes_go_both_ways_and_the_last_ones_arrive_before_the_end() {
        let (mut client, server) = pair().await;
        let (ours, mut theirs) = tokio::io::duplex(PIPE);
        let pump = tokio::spawn(pump(server, ours, || true));
        client.write_all(b"in").await.unwrap();
        let mut read = [0; 2];
        theirs.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"in");
        theirs.write_all(b"out").await.unwrap();
        drop(theirs);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"out");
        pump.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn who_has_not_logged_in_sends_so_much_and_no_more() {
        let logged_in = Arc::new(AtomicBool::new(true));
        for is_known in [true, false] {
            logged_in.store(is_known, Ordering::Relaxed);
            let (mut client, server) = pair().await;
            let (ours, mut theirs) = tokio::io::duplex(PIPE);
            let known = Arc::clone(&logged_in);
            let pump = tokio::spawn(pump(server, ours, move || known.load(Ordering::Relaxed)));
            let sender = tokio::spawn(async move {
                let _ = client.write_all(&[0; 2 * STRANGER_MAX]).await;
                client
            });
            if is_known {
                let mut got = vec![0; 2 * STRANGER_MAX];
                theirs.read_exact(&mut got).await.unwrap();
                drop(sender.await.unwrap());
                assert!(pump.await.unwrap().is_ok());
            } else {
                let mut got = Vec::new();
                theirs.read_to_end(&mut got).await.unwrap();
                assert!(got.len() <= STRANGER_MAX);
                assert_eq!(pump.await.unwrap().unwrap_err().kind(), io::ErrorKind::InvalidData);
            }
        }
    }
}
