//! Images at a server that can be unplugged, and files that a client serves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::{SinkExt as _, StreamExt as _};
use media::{Ask, Notice};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;

use crate::console::{Socket, socket};

/// Longest wait for something to be told.
const WITHIN: Duration = Duration::from_secs(60);

/// A server of one image, by ranges. It ends when it is dropped.
#[derive(Debug)]
pub struct ImageServer {
    /// Where.
    pub address: SocketAddr,
    asked: Arc<AtomicUsize>,
    is_silent: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Drop for ImageServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ImageServer {
    /// Serves at a free port of the loopback, by TLS if there is an acceptor for it.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start(image: Vec<u8>, tls: Option<TlsAcceptor>) -> Result<Self> {
        Self::start_at("127.0.0.1:0".parse()?, image, tls).await
    }

    /// Serves here. A port that somebody's outgoing connection has for a moment, which may get any free one, is waited for.
    ///
    /// # Errors
    /// When the address stays in use.
    pub async fn start_at(at: SocketAddr, image: Vec<u8>, tls: Option<TlsAcceptor>) -> Result<Self> {
        let bound = async {
            loop {
                match TcpListener::bind(at).await {
                    Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    result => return result,
                }
            }
        };
        let listener = tokio::time::timeout(WITHIN, bound).await.context("the address stays in use")??;
        let address = listener.local_addr()?;
        let (asked, is_silent) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let shared =
            Shared { image: Arc::new(image), asked: Arc::clone(&asked), is_silent: Arc::clone(&is_silent) };
        let task = tokio::spawn(accept(listener, shared, tls));
        Ok(Self { address, asked, is_silent, task })
    }

    /// Where its image is.
    #[must_use]
    pub fn url(&self, scheme: &str, name: &str) -> String {
        format!("{scheme}://{}/images/{name}", self.address)
    }

    /// Requests so far.
    #[must_use]
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// From now on it takes requests and answers none, or does again what it is for.
    pub fn silence(&self, is_silent: bool) {
        self.is_silent.store(is_silent, Ordering::Relaxed);
    }
}

#[derive(Clone)]
struct Shared {
    image: Arc<Vec<u8>>,
    asked: Arc<AtomicUsize>,
    is_silent: Arc<AtomicBool>,
}

async fn accept(listener: TcpListener, shared: Shared, tls: Option<TlsAcceptor>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (shared, tls) = (shared.clone(), tls.clone());
        connections.spawn(async move {
            // A client that goes is no concern of the server.
            let _ = serve(stream, tls, shared).await;
        });
    }
}

async fn serve(stream: TcpStream, tls: Option<TlsAcceptor>, shared: Shared) -> Result<()> {
    match tls {
        Some(tls) => converse(tls.accept(stream).await?, shared).await,
        None => converse(stream, shared).await,
    }
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, shared: Shared) -> Result<()> {
    let mut input = Vec::new();
    loop {
        while !input.windows(4).any(|end| end == b"\r\n\r\n") {
            if stream.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
        }
        let text = String::from_utf8(std::mem::take(&mut input))?.to_lowercase();
        shared.asked.fetch_add(1, Ordering::Relaxed);
        while shared.is_silent.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if text.starts_with("head ") {
            // By which curl's clients learn how large it is.
            let head = format!(
                "HTTP/1.1 200 OK\r\nAccept-Ranges: bytes\r\nETag: \"{0}\"\r\nContent-Length: {0}\r\n\r\n",
                shared.image.len()
            );
            stream.write_all(head.as_bytes()).await?;
            continue;
        }
        let range = text.lines().find_map(|line| line.strip_prefix("range: bytes=")?.split_once('-'));
        let (first, last) = range.context("no range is asked for")?;
        let (first, last): (usize, usize) = (first.parse()?, last.parse()?);
        let part = shared.image.get(first..=last.min(shared.image.len() - 1)).context("beyond the end")?;
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {first}-{}/{}\r\nETag: \"{}\"\r\nContent-Length: {}\r\n\r\n",
            first + part.len() - 1,
            shared.image.len(),
            shared.image.len(),
            part.len()
        );
        stream.write_all(&[head.as_bytes(), part].concat()).await?;
    }
}

/// A session that serves a file. What it is told is kept.
#[derive(Debug)]
pub struct FileSession {
    socket: Socket,
    file: Vec<u8>,
    told: Vec<Notice>,
    /// Bytes that were served.
    pub served: usize,
}

impl FileSession {
    /// Opens one at `path`, with these headers; the HTTP status of the refusal when it is refused.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn open(
        https: &str,
        path: &str,
        headers: &[(&str, &str)],
        file: Vec<u8>,
    ) -> Result<Result<Self, u16>> {
        let opened = socket(https, path, headers).await?;
        Ok(opened.map(|socket| Self { socket, file, told: Vec::new(), served: 0 }))
    }

    /// Serves until it is told what `is_it`.
    ///
    /// # Errors
    /// When it is not in a minute, or the session is broken before.
    pub async fn told(&mut self, is_it: impl Fn(&Notice) -> bool) -> Result<Notice> {
        let wait = async {
            loop {
                if let Some(at) = self.told.iter().position(&is_it) {
                    return Ok(self.told.remove(at));
                }
                self.turn().await?;
            }
        };
        tokio::time::timeout(WITHIN, wait).await.context("it was not told")?
    }

    /// Serves until it is dropped.
    pub async fn serve(&mut self) {
        while self.turn().await.is_ok() {}
    }

    async fn turn(&mut self) -> Result<()> {
        match self.socket.next().await.context("the session is over")?? {
            Message::Binary(question) => {
                let ask = Ask::parse(&question).context("no question")?;
                let offset = usize::try_from(ask.offset)?;
                let bytes = self.file.get(offset..offset + usize::try_from(ask.length)?);
                let bytes = bytes.context("beyond the end")?;
                self.served += bytes.len();
                self.socket.send(Message::binary(ask.answer(bytes))).await?;
            }
            Message::Text(text) => self.told.extend(Notice::parse(&text)),
            Message::Close(_) => anyhow::bail!("the session has ended"),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
        Ok(())
    }
}
