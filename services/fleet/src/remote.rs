//! The connection to the datacenter's server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::ConnectOptions;
use async_nats::jetstream::context::GetStreamByNameErrorKind;
use async_nats::jetstream::{self, kv};
use tokio::sync::{oneshot, watch};

use crate::config::Nats;
use crate::error::Error;

/// Bucket of the cards. A card expires there an hour after its BMC was last heard of.
pub(crate) const CARDS: &str = "ubmc";
const CARD_TTL: Duration = Duration::from_secs(3600);
/// Longest pause between two attempts to reach the server.
const RECONNECT_MAX: Duration = Duration::from_secs(5);
/// How long a [`Line`] may take to connect to one address.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Pause before a [`Line`] would connect again: longer than any line lives after its connection is gone.
const NEVER: Duration = Duration::from_secs(3600);

/// Messages that wait for the loop on each subscription; more are dropped.
const WAITING: usize = 64;

/// The link, connected or on its way to be.
#[derive(Clone)]
pub(crate) struct Remote {
    pub(crate) nats: async_nats::Client,
    pub(crate) jetstream: jetstream::Context,
    up: watch::Receiver<bool>,
}

impl Remote {
    /// Prepares the link; it connects when the server is there, and again whenever it was gone.
    pub(crate) async fn open(config: &Nats, id: &str) -> Result<Self, Error> {
        let (sender, up) = watch::channel(false);
        let sender = Arc::new(sender);
        let options = options(config, id).await?;
        let nats = options
            .retry_on_initial_connect()
            .max_reconnects(None)
            .reconnect_delay_callback(|attempt| {
                let factor = 1_u32 << attempt.min(8);
                Duration::from_millis(50).saturating_mul(factor).min(RECONNECT_MAX)
            })
            .event_callback(move |event| {
                match event {
                    async_nats::Event::Connected => {
                        tracing::info!("fleet: connected");
                        sender.send_replace(true);
                    }
                    async_nats::Event::Disconnected => {
                        tracing::warn!("fleet: disconnected; events stay in event log until reconnect");
                        sender.send_replace(false);
                    }
                    async_nats::Event::ClientError(error) => tracing::warn!(%error, "fleet: cannot connect"),
                    async_nats::Event::ServerError(error) => {
                        tracing::warn!(%error, "fleet: server reported error");
                    }
                    other => tracing::debug!(event = %other, "fleet"),
                }
                std::future::ready(())
            })
            .connect(config.url.as_str())
            .await
            .map_err(|error| Error::Config { key: "nats.url", why: format!("{:?}: {error}", config.url) })?;
        let jetstream = jetstream::new(nats.clone());
        Ok(Self { nats, jetstream, up })
    }

    /// Whether the server is there now.
    pub(crate) fn is_up(&self) -> bool {
        *self.up.borrow()
    }

    /// Waits until the server is there.
    pub(crate) async fn wait_up(&mut self) {
        // The sender lives as long as the connection, which this holds.
        self.up.wait_for(|up| *up).await.ok();
    }

    /// Waits until the server is gone.
    pub(crate) async fn wait_down(&mut self) {
        self.up.wait_for(|up| !*up).await.ok();
    }

    /// The bucket of cards; `None` where the server keeps no streams or lets us have no bucket.
    pub(crate) async fn cards(&self) -> Option<kv::Store> {
        if let Ok(store) = self.jetstream.get_key_value(CARDS).await {
            return Some(store);
        }
        let config = kv::Config { bucket: CARDS.into(), history: 1, max_age: CARD_TTL, ..Default::default() };
        self.jetstream.create_key_value(config).await.ok()
    }
}

/// A connection that ends at the first disconnect and with this value, together with everything that waits to be sent on it.
///
/// The client of NATS keeps what it could not send and sends it once it is connected again, before anything newer: after an outage that
/// lost the first of several messages, the last ones would arrive first. What one `Line` sends arrives without a gap up to some message.
pub(crate) struct Line {
    pub(crate) nats: async_nats::Client,
    pub(crate) jetstream: jetstream::Context,
    up: watch::Receiver<bool>,
    _ends: oneshot::Sender<()>,
}

impl Line {
    /// Connects once; each address of the server has [`CONNECT_WITHIN`].
    pub(crate) async fn open(config: &Nats, id: &str) -> Result<Self, Error> {
        let options = options(config, id).await?;
        let (sender, up) = watch::channel(true);
        let connected = Arc::new(AtomicBool::new(false));
        let options = options
            .connection_timeout(CONNECT_WITHIN)
            .reconnect_delay_callback({
                let connected = Arc::clone(&connected);
                move |_| if connected.load(Ordering::Relaxed) { NEVER } else { Duration::ZERO }
            })
            .event_callback(move |event| {
                if matches!(event, async_nats::Event::Disconnected | async_nats::Event::Closed) {
                    sender.send_replace(false);
                }
                std::future::ready(())
            });
        let (runtime, ends) = runtime().await.map_err(Error::Thread)?;
        let url = config.url.clone();
        let connecting = runtime.spawn(async move { options.connect(url.as_str()).await });
        let unreachable = |error: String| Error::Unreachable { url: config.url.clone(), error };
        let nats = connecting
            .await
            .map_err(|error| unreachable(error.to_string()))?
            .map_err(|error| unreachable(error.to_string()))?;
        connected.store(true, Ordering::Relaxed);
        let jetstream = jetstream::new(nats.clone());
        Ok(Self { nats, jetstream, up, _ends: ends })
    }

    /// Waits until the server is gone.
    pub(crate) async fn wait_down(&self) {
        self.up.clone().wait_for(|up| !*up).await.ok();
    }

    /// Whether a stream there keeps what we publish on `subject`: then each publication is acknowledged. `None` when the server does not say:
    /// it has no JetStream, this account may not ask it, or it is not ready.
    pub(crate) async fn is_kept(&self, subject: &str) -> Option<bool> {
        match self.jetstream.stream_by_subject(subject).await {
            Ok(_) => Some(true),
            Err(error) if error.kind() == GetStreamByNameErrorKind::NotFound => Some(false),
            Err(error) => {
                tracing::debug!(%error, "fleet: server does not say whether a stream keeps events");
                None
            }
        }
    }
}

/// A runtime on a thread of its own, which ends with the sender: the tasks of a client end only with their runtime.
async fn runtime() -> std::io::Result<(tokio::runtime::Handle, oneshot::Sender<()>)> {
    let (ends, end) = oneshot::channel::<()>();
    let (made, is_made) = oneshot::channel();
    let run = move || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            made.send(Ok(runtime.handle().clone())).ok();
            runtime.block_on(end).ok();
        }
        Err(error) => {
            made.send(Err(error)).ok();
        }
    };
    std::thread::Builder::new().name("line".into()).spawn(run)?;
    let handle = is_made.await.map_err(std::io::Error::other)??;
    Ok((handle, ends))
}

/// How every connection of BMC `id` introduces itself.
async fn options(config: &Nats, id: &str) -> Result<ConnectOptions, Error> {
    let mut options = match (&config.user, &config.credentials_file, &config.nkey_file) {
        (Some(user), _, _) => {
            let file = config.password_file.clone().unwrap_or_default();
            ConnectOptions::with_user_and_password(user.clone(), secret(&file)?)
        }
        (_, Some(file), _) => ConnectOptions::with_credentials_file(file)
            .await
            .map_err(|source| Error::File { path: file.clone(), source })?,
        (_, _, Some(file)) => ConnectOptions::with_nkey(secret(file)?),
        _ => ConnectOptions::new(),
    };
    if let Some(file) = &config.ca_file {
        options = options.add_root_certificates(file.clone());
    }
    Ok(options
        .name(format!("u-bmc {id}"))
        .custom_inbox_prefix(format!("_INBOX.ubmc.{id}"))
        .subscription_capacity(WAITING)
        .ping_interval(Duration::from_secs(10)))
}

/// The first line of a file.
fn secret(file: &std::path::Path) -> Result<String, Error> {
    let text =
        std::fs::read_to_string(file).map_err(|source| Error::File { path: file.to_path_buf(), source })?;
    Ok(text.lines().next().unwrap_or_default().to_string())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Greets the next client as a server of NATS does, and hangs up.
    fn greet_and_hang_up(listener: &TcpListener) -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        writeln!(stream, "INFO {{\"server_id\":\"s\",\"headers\":true,\"max_payload\":1048576}}\r")?;
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        while let Some(line) = lines.next().transpose()? {
            if line.starts_with("PING") {
                stream.write_all(b"PONG\r\n")?;
                break;
            }
        }
        Ok(())
    }

    #[tokio::test]
    async fn what_could_not_be_sent_on_a_line_is_never_sent() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let config: Nats = toml::from_str(&format!("url = \"nats://{address}\"")).unwrap();
        let server = std::thread::spawn(move || greet_and_hang_up(&listener).map(|()| listener));
        let line = Line::open(&config, "bmc").await.unwrap();
        let listener = server.join().unwrap().unwrap();
        line.wait_down().await;
        let nats = line.nats.clone();
        nats.publish("late", "1".into()).await.unwrap();
        drop(line);
        // Its tasks are gone when nobody takes a message any more.
        while nats.publish("late", "2".into()).await.is_ok() {}
        // Whoever comes next is not the client again.
        let probe = TcpStream::connect(address).unwrap();
        let (_, next) = listener.accept().unwrap();
        assert_eq!(next, probe.local_addr().unwrap());
    }

    #[tokio::test]
    async fn a_line_to_nobody_says_so() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let config: Nats = toml::from_str(&format!("url = \"nats://{address}\"")).unwrap();
        let error = Line::open(&config, "bmc").await.err().unwrap();
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    }
}
