//! What the library is to offer, with the key by which clients know this controller: made ready when it is served for the first time.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use russh::server::Config;
use russh::{Preferred, SshId, cipher, compression, kex, mac};
use service::{ErrorChain, Notifier};

use crate::client::{PACKET, methods};
use crate::host_key::{self, HostKey};

/// Tries of one connection; a client that shows nothing to learn what there is has spent one.
const TRIES: usize = 6;
/// How long at least a wrong password takes.
const REJECTION: Duration = Duration::from_millis(500);
/// Bytes of keys that one channel may have on their way here.
const WINDOW: u32 = 64 * 1024;
/// Messages on their way between a channel and the library.
const MESSAGES: usize = 8;

/// Key exchanges: with a part that no quantum computer breaks first.
const KEX: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];
/// Ciphers with a tag of their own only.
const CIPHERS: &[cipher::Name] = &[cipher::CHACHA20_POLY1305, cipher::AES_256_GCM, cipher::AES_128_GCM];
const MACS: &[mac::Name] = &[mac::HMAC_SHA256_ETM];
const HOST_KEYS: &[russh::keys::Algorithm] = &[russh::keys::Algorithm::Ed25519];

/// What is offered, once it is ready. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Offer {
    /// Where the key is kept.
    folder: PathBuf,
    notify: Notifier,
    ready: Arc<OnceLock<Arc<Config>>>,
}

impl Offer {
    /// With the key in this folder.
    pub(crate) fn new(folder: PathBuf, notify: Notifier) -> Self {
        Self { folder, notify, ready: Arc::default() }
    }

    /// `None` until it is ready.
    pub(crate) fn get(&self) -> Option<Arc<Config>> {
        self.ready.get().cloned()
    }

    /// Reads the key, or makes it, beside the loop: a medium may take its time.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(crate) async fn make_ready(self) -> Result<(), String> {
        if self.ready.get().is_some() {
            return Ok(());
        }
        let folder = self.folder.clone();
        let loaded = tokio::task::spawn_blocking(move || host_key::load(&folder)).await;
        let loaded = loaded.map_err(|error| format!("cannot keep host key: {error}"))?;
        let host_key = loaded.map_err(|error| ErrorChain(&error).to_string())?;
        if let Some(what) = &host_key.lost {
            tracing::error!(what, "host key damaged: made another one, and clients will say that it changed");
            self.notify.finding("host_key", what);
        }
        let fingerprint = host_key.fingerprint();
        tracing::info!(fingerprint, "host key");
        let _ = self.ready.set(Arc::new(settings(host_key)));
        Ok(())
    }
}

/// What the library is to offer.
fn settings(host_key: HostKey) -> Config {
    Config {
        server_id: SshId::Standard(Cow::Borrowed("SSH-2.0-u-bmc")),
        methods: methods(),
        auth_rejection_time: REJECTION,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![host_key.key],
        window_size: WINDOW,
        maximum_packet_size: PACKET,
        channel_buffer_size: MESSAGES,
        event_buffer_size: MESSAGES,
        max_auth_attempts: TRIES,
        // Its own clocks also run before the login, where clients take no messages for them: the time is kept here.
        inactivity_timeout: None,
        keepalive_interval: None,
        preferred: Preferred {
            kex: Cow::Borrowed(KEX),
            key: Cow::Borrowed(HOST_KEYS),
            cipher: Cow::Borrowed(CIPHERS),
            mac: Cow::Borrowed(MACS),
            compression: Cow::Borrowed(&[compression::NONE]),
            ..Preferred::DEFAULT
        },
        ..Config::default()
    }
}
