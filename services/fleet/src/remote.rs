//! The connection to the datacenter's server.

use std::sync::Arc;
use std::time::Duration;

use async_nats::ConnectOptions;
use async_nats::jetstream::{self, kv};
use tokio::sync::watch;

use crate::config::Nats;
use crate::error::Error;

/// Bucket of the cards. A card expires there an hour after its BMC was last heard of.
pub(crate) const CARDS: &str = "ubmc";
const CARD_TTL: Duration = Duration::from_secs(3600);
/// Longest pause between two attempts to reach the server.
const RECONNECT_MAX: Duration = Duration::from_secs(5);

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
        let nats = options
            .name(format!("u-bmc {id}"))
            .custom_inbox_prefix(format!("_INBOX.ubmc.{id}"))
            .retry_on_initial_connect()
            .max_reconnects(None)
            .reconnect_delay_callback(|attempt| {
                let factor = 1_u32 << attempt.min(8);
                Duration::from_millis(50).saturating_mul(factor).min(RECONNECT_MAX)
            })
            .subscription_capacity(WAITING)
            .ping_interval(Duration::from_secs(10))
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

    /// Whether a stream there keeps what we publish on `subject`: then each publication is acknowledged.
    pub(crate) async fn is_kept(&self, subject: &str) -> bool {
        self.jetstream.stream_by_subject(subject).await.is_ok()
    }
}

/// The first line of a file.
fn secret(file: &std::path::Path) -> Result<String, Error> {
    let text =
        std::fs::read_to_string(file).map_err(|source| Error::File { path: file.to_path_buf(), source })?;
    Ok(text.lines().next().unwrap_or_default().to_string())
}
