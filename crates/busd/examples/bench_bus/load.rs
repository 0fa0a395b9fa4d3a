//! The clients: raw sockets, which cost little themselves, and async-nats, which is what the daemons use.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"protocol\":1}\r\n";

/// Latencies in microseconds.
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

fn latency(mut all: Vec<Duration>) -> Latency {
    all.sort_unstable();
    let at = |share: usize| {
        all.get((all.len() * share / 100).min(all.len().saturating_sub(1)))
            .map_or(f64::NAN, |d| d.as_secs_f64() * 1e6)
    };
    Latency { p50: at(50), p99: at(99) }
}

/// A connection that has been greeted and answered once.
fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(CONNECT.as_bytes())?;
    sync(&mut stream, "")?;
    Ok(stream)
}

/// Sends `text`, a `PING`, and reads until its answer has come. The first answer is followed by an `INFO`, which the
/// next round passes over.
fn sync(stream: &mut TcpStream, text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes())?;
    for _ in 0..2 {
        stream.write_all(b"PING\r\n")?;
        let (mut seen, mut byte) = (Vec::new(), [0]);
        while !seen.ends_with(b"PONG\r\n") {
            stream.read_exact(&mut byte)?;
            seen.push(byte[0]);
        }
    }
    Ok(())
}

/// One request at a time between two raw sockets.
pub(crate) fn raw_requests(addr: SocketAddr, count: u32) -> io::Result<Latency> {
    let mut responder = connect(addr)?;
    sync(&mut responder, "SUB bench.echo 1\r\n")?;
    let mut requester = connect(addr)?;
    sync(&mut requester, "SUB inbox.1 1\r\n")?;

    let request = b"PUB bench.echo inbox.1 16\r\n0123456789abcdef\r\n";
    let delivered = b"MSG bench.echo 1 inbox.1 16\r\n0123456789abcdef\r\n";
    let reply = b"PUB inbox.1 16\r\n0123456789abcdef\r\n";
    let answered = b"MSG inbox.1 1 16\r\n0123456789abcdef\r\n";
    let warm_up = count / 10;
    let echo = std::thread::spawn(move || -> io::Result<()> {
        let mut buffer = vec![0; delivered.len()];
        for _ in 0..count + warm_up {
            responder.read_exact(&mut buffer)?;
            responder.write_all(reply)?;
        }
        Ok(())
    });
    let mut all = Vec::new();
    let mut buffer = vec![0; answered.len()];
    for n in 0..count + warm_up {
        let start = Instant::now();
        requester.write_all(request)?;
        requester.read_exact(&mut buffer)?;
        if n >= warm_up {
            all.push(start.elapsed());
        }
    }
    echo.join().map_err(|_| io::Error::other("the responder failed"))??;
    Ok(latency(all))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// An echo service on a thread of its own, until told to stop.
fn echo_service(url: &str) -> (tokio::sync::oneshot::Sender<()>, std::thread::JoinHandle<()>) {
    let (stop, mut stopped) = tokio::sync::oneshot::channel();
    let (ready, wait) = std::sync::mpsc::channel();
    let url = url.to_owned();
    let thread = std::thread::spawn(move || {
        runtime().block_on(async {
            let client = async_nats::connect(&url).await.expect("the server answers");
            let mut requests = client.subscribe("bench.echo").await.expect("subscribing");
            client.flush().await.expect("flushing");
            let _ = ready.send(());
            loop {
                tokio::select! {
                    _ = &mut stopped => return,
                    request = requests.next() => {
                        let Some(request) = request else { return };
                        if let Some(reply) = request.reply {
                            client.publish(reply, request.payload).await.expect("answering");
                        }
                    }
                }
            }
        });
    });
    wait.recv().expect("the responder is ready");
    (stop, thread)
}

/// One request at a time with async-nats on both sides.
pub(crate) fn client_requests(url: &str, count: u32) -> Latency {
    let (stop, service) = echo_service(url);
    let warm_up = count / 10;
    let all = runtime().block_on(async {
        let client = async_nats::connect(url).await.expect("the server answers");
        let mut all = Vec::new();
        for n in 0..count + warm_up {
            let start = Instant::now();
            client.request("bench.echo", "0123456789abcdef".into()).await.expect("an answer");
            if n >= warm_up {
                all.push(start.elapsed());
            }
        }
        all
    });
    drop(stop);
    service.join().expect("the responder ends");
    latency(all)
}

/// Requests per second with `at_once` of them under way.
pub(crate) fn client_requests_at_once(url: &str, count: u32, at_once: u32) -> f64 {
    let (stop, service) = echo_service(url);
    let rate = runtime().block_on(async {
        let client = async_nats::connect(url).await.expect("the server answers");
        let start = Instant::now();
        let mut under_way = FuturesUnordered::new();
        for n in 0..count {
            if n >= at_once {
                under_way.next().await;
            }
            let client = client.clone();
            under_way.push(async move {
                client.request("bench.echo", "0123456789abcdef".into()).await.expect("an answer");
            });
        }
        while under_way.next().await.is_some() {}
        f64::from(count) / start.elapsed().as_secs_f64()
    });
    drop(stop);
    service.join().expect("the responder ends");
    rate
}

/// Messages delivered per second: one publisher that never waits, `subscribers` that count bytes.
pub(crate) fn throughput(addr: SocketAddr, size: usize, count: u32, subscribers: u32) -> io::Result<f64> {
    let one_delivered = format!("MSG bench.flow 1 {size}\r\n").len() + size + 2;
    let expected = one_delivered * usize::try_from(count).unwrap_or(usize::MAX);
    let mut readers = Vec::new();
    for _ in 0..subscribers {
        let mut stream = connect(addr)?;
        sync(&mut stream, "SUB bench.flow 1\r\n")?;
        readers.push(std::thread::spawn(move || -> io::Result<Instant> {
            let mut buffer = vec![0; 256 * 1024];
            let mut got = 0;
            while got < expected {
                let n = stream.read(&mut buffer)?;
                if n == 0 {
                    return Err(io::Error::other("the server closed the subscriber"));
                }
                got += n;
            }
            Ok(Instant::now())
        }));
    }
    let mut publisher = connect(addr)?;
    let message = format!("PUB bench.flow {size}\r\n{}\r\n", "x".repeat(size)).into_bytes();
    let per_write = (256 * 1024 / message.len()).max(1);
    let batch = message.repeat(per_write);
    let start = Instant::now();
    let mut left = usize::try_from(count).unwrap_or(usize::MAX);
    while left > 0 {
        let n = left.min(per_write);
        publisher.write_all(batch.get(..n * message.len()).unwrap_or_default())?;
        left -= n;
    }
    let mut end = start;
    for reader in readers {
        end = end.max(reader.join().map_err(|_| io::Error::other("a subscriber failed"))??);
    }
    Ok(f64::from(count) * f64::from(subscribers) / (end - start).as_secs_f64())
}

/// A connection with so many subscriptions, of the length daemons use.
pub(crate) fn subscribed(addr: SocketAddr, count: usize) -> io::Result<TcpStream> {
    let mut stream = connect(addr)?;
    let subs: String = (0..count).map(|n| format!("SUB event.sensor.component{n}.state {n}\r\n")).collect();
    sync(&mut stream, &subs)?;
    Ok(stream)
}
