//! A host's console, over its WebSocket.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use http::Request;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::client::tls_from;

/// Longest wait for something to be said.
const SAID_WITHIN: Duration = Duration::from_secs(300);

/// A WebSocket of a suite.
pub(crate) type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// Opens one at `path`; the HTTP status of the refusal when it is refused.
pub(crate) async fn socket(https: &str, path: &str, headers: &[(&str, &str)]) -> Result<Result<Socket, u16>> {
    let to: SocketAddr = https.parse()?;
    let stream = tls_from(to, Ipv4Addr::LOCALHOST).await?;
    let mut request = Request::get(format!("wss://{https}{path}"))
        .header("host", https)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", generate_key());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    match tokio_tungstenite::client_async(request.body(())?, stream).await {
        Ok((socket, _)) => Ok(Ok(socket)),
        Err(Error::Http(response)) => Ok(Err(response.status().as_u16())),
        Err(error) => Err(error.into()),
    }
}

/// An open session.
#[derive(Debug)]
pub struct Console {
    socket: Socket,
    heard: String,
    told: Vec<Value>,
    closed: Option<String>,
}

impl Console {
    /// Opens one at `path`, with these headers; the HTTP status of the refusal when it is refused.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn open(https: &str, path: &str, headers: &[(&str, &str)]) -> Result<Result<Self, u16>> {
        let opened = socket(https, path, headers).await?;
        Ok(opened.map(|socket| Self { socket, heard: String::new(), told: Vec::new(), closed: None }))
    }

    /// Types.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn types(&mut self, text: &str) -> Result<()> {
        Ok(self.socket.send(Message::binary(text.as_bytes().to_vec())).await?)
    }

    /// Types, in a text message.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn writes(&mut self, text: &str) -> Result<()> {
        Ok(self.socket.send(Message::text(text)).await?)
    }

    /// Whether nothing was told so far that has not been waited for.
    #[must_use]
    pub fn is_untold(&self) -> bool {
        self.told.is_empty()
    }

    /// Asks for something: `take_over`, `release`, `break`.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn asks(&mut self, what: &str) -> Result<()> {
        Ok(self.socket.send(Message::text(json!({ "type": what }).to_string())).await?)
    }

    /// Waits until the host has said `text`; what it said up to there, which is forgotten.
    ///
    /// # Errors
    /// When it does not in two minutes, or the session ends.
    pub async fn says(&mut self, text: &str) -> Result<String> {
        let wait = async {
            loop {
                if let Some(at) = self.heard.find(text) {
                    return Ok(self.heard.drain(..at + text.len()).collect());
                }
                self.take().await?;
            }
        };
        let said = tokio::time::timeout(SAID_WITHIN, wait).await;
        said.with_context(|| format!("the host never said {text:?} but: {}", self.heard))?
    }

    /// Waits for bytes and forgets them: how many. For measurements: nothing of them is looked at.
    ///
    /// # Errors
    /// When the session ends.
    pub async fn hears(&mut self) -> Result<usize> {
        loop {
            if !self.heard.is_empty() {
                return Ok(std::mem::take(&mut self.heard).len());
            }
            self.take().await?;
        }
    }

    /// Waits for a notice that `is_it`, and forgets those before.
    ///
    /// # Errors
    /// When it does not come in two minutes, or the session ends.
    pub async fn told(&mut self, is_it: impl Fn(&Value) -> bool) -> Result<Value> {
        let wait = async {
            loop {
                if let Some(at) = self.told.iter().position(&is_it) {
                    return Ok(self.told.drain(..=at).next_back().unwrap_or_default());
                }
                self.take().await?;
            }
        };
        let told = tokio::time::timeout(SAID_WITHIN, wait).await;
        told.with_context(|| format!("it was not told, but: {:?}", self.told))?
    }

    /// Waits for the end of the session: the reason that is given, if one is.
    ///
    /// # Errors
    /// When it does not end in two minutes.
    pub async fn ends(&mut self) -> Result<String> {
        let wait = async {
            while self.closed.is_none() {
                if self.take().await.is_err() && self.closed.is_none() {
                    self.closed = Some(String::new());
                }
            }
            self.closed.clone().unwrap_or_default()
        };
        Ok(tokio::time::timeout(SAID_WITHIN, wait).await?)
    }

    async fn take(&mut self) -> Result<()> {
        match self.socket.next().await.context("the session is over")?? {
            Message::Binary(bytes) => self.heard.push_str(&String::from_utf8_lossy(&bytes)),
            Message::Text(text) => self.told.push(serde_json::from_str(&text)?),
            Message::Close(frame) => {
                let reason = frame.map(|frame| frame.reason.to_string()).unwrap_or_default();
                self.closed = Some(reason.clone());
                bail!("the session has ended: {reason}");
            }
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
        Ok(())
    }
}
