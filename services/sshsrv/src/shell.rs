//! The loop: connections and changes of accounts in. Each connection runs beside it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gate::{Change, Gate, Policy};
use ipc::RawItem;
use russh::{Preferred, SshId, cipher, compression, kex, mac};
use service::Context;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admission::{Admission, ConnId};
use crate::calls::Shared;
use crate::client::{PACKET, methods};
use crate::config::Config;
use crate::conn::{Conn, Place};
use crate::connection::serve;
use crate::error::Error;
use crate::host_key::{self, HostKey};

/// Pause after the socket failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long connections may take to end when the daemon stops.
const STOP: Duration = Duration::from_secs(2);
/// A client that is gone without a word is found after a minute and a half.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(30))
    .with_interval(Duration::from_secs(15))
    .with_retries(4);
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

/// Serves until told to stop.
///
/// # Errors
/// [`Error`] when it cannot start.
pub async fn run(context: Context) -> Result<(), Error> {
    let config: Config = context.config()?;
    config.check()?;
    let board = context.board()?;
    let host_key = host_key::load(&context.state_dir)?;
    if let Some(what) = &host_key.lost {
        tracing::error!(what, "host key damaged: made another one, and clients will say that it changed");
        context.notify.finding("host_key", what);
    }
    let fingerprint = host_key.fingerprint();
    // Before anybody logs in: from here on no change of an account is missed.
    let mut events = context.bus.subscribe_raw("event.>").await?;
    let policy = Policy { basic_cache: Duration::ZERO, token_cache: Duration::ZERO, logins: 1 };
    let gate = Gate::new(context.bus.clone(), policy).map_err(Error::Entropy)?;
    let failed = |source| Error::Listen { address: config.listen, source };
    let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let (stop, stopped) = watch::channel(false);
    let shared = Arc::new(Shared {
        gate,
        clock: context.clock,
        run_dir: context.run_dir.clone(),
        consoles: board.consoles.iter().map(|console| console.host.as_str().to_owned()).collect(),
        admission: Mutex::new(Admission::new(config.sessions)),
        stop: stopped,
        config,
    });
    let ssh = Arc::new(settings(host_key));
    context.notify.listening("ssh", address);
    tracing::info!(listener = "ssh", %address, fingerprint, "listening");
    context.ready();
    let mut conns = Conns::default();
    let (mut heartbeat, mut shutdown) = (context.heartbeat(), context.shutdown.clone());
    loop {
        tokio::select! {
            biased;
            () = shutdown.wait() => break,
            () = heartbeat.tick() => {}
            Some(ended) = conns.tasks.join_next() => if let Ok(id) = ended {
                conns.table.remove(&id);
            },
            event = events.next() => match event {
                Some(event) => if let Some(change) = change(&event) {
                    shared.gate.forget(change);
                },
                None => break,
            },
            accepted = listener.accept() => match accepted {
                Ok((tcp, from)) => conns.come(tcp, from, &shared, &ssh),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    stop.send_replace(true);
    let ended = async { while conns.tasks.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(STOP, ended).await;
    Ok(())
}

fn change(event: &RawItem) -> Option<Change> {
    match event {
        RawItem::Message { subject, payload } => Change::of_event(subject, payload),
        RawItem::Resync => Some(Change::Everything),
    }
}

/// The connections there are.
#[derive(Default)]
struct Conns {
    table: HashMap<ConnId, Arc<Conn>>,
    tasks: JoinSet<ConnId>,
}

impl Conns {
    /// Serves somebody who comes, if there is a place.
    fn come(
        &mut self,
        tcp: TcpStream,
        from: SocketAddr,
        shared: &Arc<Shared>,
        ssh: &Arc<russh::server::Config>,
    ) {
        // A client of IPv4 has the address that it has elsewhere, too.
        let peer: IpAddr = from.ip().to_canonical();
        let admitted = shared.admission().come(peer, shared.clock.now());
        let Some((id, lost)) = admitted else {
            tracing::debug!(%peer, "sent away: too many are about to log in");
            return;
        };
        if let Some(lost) = lost.and_then(|lost| self.table.get(&lost)) {
            lost.loses("too many are about to log in".to_owned());
        }
        let conn = Arc::new(Conn::new(id, peer));
        if let Err(error) = prepare(&tcp) {
            tracing::debug!(%peer, %error, "connection ended at its start");
            drop(Place(Arc::clone(shared), id));
            return;
        }
        self.table.insert(id, Arc::clone(&conn));
        let (shared, ssh) = (Arc::clone(shared), Arc::clone(ssh));
        self.tasks.spawn(async move {
            serve(tcp, conn, shared, ssh).await;
            id
        });
    }
}

/// Keys are not gathered before they are sent, and a client that is gone is found.
fn prepare(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    SockRef::from(tcp).set_tcp_keepalive(&KEEPALIVE)
}

/// What the library is to offer.
fn settings(host_key: HostKey) -> russh::server::Config {
    russh::server::Config {
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
        ..russh::server::Config::default()
    }
}
