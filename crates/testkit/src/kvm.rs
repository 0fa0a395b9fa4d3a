//! A host's screen, over its WebSocket, with a viewer of RFB.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use rfb::{Client, Input, Screen};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Message;

use crate::console::{Socket, socket};

/// Bytes between a WebSocket and who reads it as a stream.
const PIPE: usize = 1024 * 1024;
/// Longest wait for something to be seen or told.
const WITHIN: Duration = Duration::from_secs(120);

/// An open session.
#[derive(Debug)]
pub struct Kvm {
    socket: Socket,
    client: Client,
    screen: Screen,
    told: Vec<Value>,
    closed: Option<String>,
}

impl Kvm {
    /// Opens one at `path`, with these headers; the HTTP status of the refusal when it is refused.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn open(https: &str, path: &str, headers: &[(&str, &str)]) -> Result<Result<Self, u16>> {
        let screen = Screen::new(1, 1)?;
        let opened = socket(https, path, headers).await?;
        Ok(opened.map(|socket| Self {
            socket,
            client: Client::default(),
            screen,
            told: Vec::new(),
            closed: None,
        }))
    }

    /// What is on the screen, as far as it was seen.
    #[must_use]
    pub const fn screen(&self) -> &Screen {
        &self.screen
    }

    /// Waits until the screen is as `wanted`.
    ///
    /// # Errors
    /// When it is not in two minutes, or the session ends.
    pub async fn shows(&mut self, wanted: impl Fn(&Screen) -> bool) -> Result<()> {
        let wait = async {
            while !wanted(&self.screen) {
                self.take().await?;
            }
            Ok(())
        };
        tokio::time::timeout(WITHIN, wait).await.context("the screen never looked like that")?
    }

    /// Types or points.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn input(&mut self, input: Input) -> Result<()> {
        while !self.client.is_open() {
            self.take().await?;
        }
        self.client.input(input);
        self.send().await
    }

    /// Asks for something: `take_over`, `release`.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn asks(&mut self, what: &str) -> Result<()> {
        Ok(self.socket.send(Message::text(json!({ "type": what }).to_string())).await?)
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
        let told = tokio::time::timeout(WITHIN, wait).await;
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
        Ok(tokio::time::timeout(WITHIN, wait).await?)
    }

    async fn send(&mut self) -> Result<()> {
        let output = self.client.take_output();
        if !output.is_empty() {
            self.socket.send(Message::binary(output)).await?;
        }
        Ok(())
    }

    async fn take(&mut self) -> Result<()> {
        match self.socket.next().await.context("the session is over")?? {
            Message::Binary(bytes) => {
                let updates = self.client.updates();
                self.client.receive(&bytes, &mut self.screen)?;
                if self.client.updates() != updates {
                    self.client.request();
                }
                self.send().await?;
            }
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

/// The bytes of a session that was opened with `bytesOnly`, as a stream: what a viewer that knows nothing of WebSockets is connected to.
///
/// # Errors
/// When there is no answer, or it is refused.
pub async fn kvm_stream(
    https: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<tokio::io::DuplexStream> {
    let opened = socket(https, path, headers).await?;
    let mut socket = opened.map_err(|status| anyhow::anyhow!("refused with {status}"))?;
    let (near, far) = tokio::io::duplex(PIPE);
    tokio::spawn(async move {
        let (mut from, mut to) = tokio::io::split(far);
        let mut bytes = vec![0; 16 * 1024];
        loop {
            tokio::select! {
                message = socket.next() => match message {
                    Some(Ok(Message::Binary(shown))) => if to.write_all(&shown).await.is_err() { return },
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                },
                count = from.read(&mut bytes) => match count {
                    Ok(count @ 1..) => {
                        let typed = bytes.get(..count).unwrap_or_default().to_vec();
                        if socket.send(Message::binary(typed)).await.is_err() {
                            return;
                        }
                    }
                    Ok(0) | Err(_) => return,
                },
            }
        }
    });
    Ok(near)
}
