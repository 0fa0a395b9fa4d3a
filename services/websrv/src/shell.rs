//! The loop: listeners in, bus events in, shutdown; requests run in tasks of their own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gate::Change;
use ipc::{Outbox, RawItem};
use service::{Context, Heartbeat, Notifier};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::admission::Admission;
use crate::certificate::{self, Keeper};
use crate::complaints::{Complaints, Part};
use crate::config::{Config, Listen};
use crate::error::Error;
use crate::front::Front;
use crate::gateway::Gateway;
use crate::lanes::Lanes;
use crate::redirect::{self, Choice, Redirect};
use crate::served::Served;
use crate::site::Site;
use crate::transport::Shared;
use crate::viewers::{self, Viewers};
use crate::{listener, quic, tls};

/// How long open requests may take to end after the order to stop. The operator gives a daemon 2 s.
const GOODBYE: Duration = Duration::from_millis(1200);
/// Attempts to find a port that is free on both TCP and UDP, when any will do.
const PORT_TRIES: usize = 16;

/// Everything that happens to the daemon itself.
enum Event {
    Stop,
    Beat,
    Bus(Option<RawItem>),
    Reading(Option<RawItem>),
    ListenerEnded,
}

/// Where it listens, but for what is switched while it runs.
#[derive(Clone, Copy, Debug, Default)]
struct Addresses {
    https: Option<SocketAddr>,
    http3: Option<SocketAddr>,
}

/// Serves until told to stop.
///
/// # Errors
/// [`Error`] when it cannot start.
pub async fn run(context: Context) -> Result<(), Error> {
    let config: Config = context.config()?;
    config.check()?;
    let Context { local, bus } = context;
    let (stop, stopping) = watch::channel(false);

    // Before anything is served: from here on no change of an account is missed.
    let mut events = bus.subscribe_raw("event.>").await.map_err(Error::Bus)?;
    let mut readings = bus.subscribe_raw("reading.>").await.map_err(Error::Bus)?;

    let (model, following) = model_feed::Feed::subscribe(bus.clone()).await.map_err(Error::Bus)?;

    let asked = bus.calls().await.map_err(Error::Bus)?;
    let switched = bus.calls().await.map_err(Error::Bus)?;
    let redirected = bus.calls().await.map_err(Error::Bus)?;
    let (outbox, _) = Outbox::new(bus.clone());
    let complaints = Complaints::new(local.notify.clone());
    let own_bus = bus.clone();

    let mut tasks = JoinSet::new();
    // What was switched off is not open for a moment.
    let choice = redirect::SWITCH.read(&local.state_dir).await;
    let choice = Choice::new(redirect::place(config.http, config.https), choice);
    if !choice.lost().is_empty() {
        warn!("{}", choice.lost());
        local.notify.finding(redirect::SWITCH.file, choice.lost());
        complaints.set(Part::Redirect, choice.lost());
    }
    let mut sockets = Sockets::bind(&config, choice.wanted(), &local.state_dir).await?;
    let addresses = sockets.addresses();
    let h3_port = addresses.http3.map(|a| a.port());
    let https_port = addresses.https.map_or(0, |address| address.port());
    let site = Site::new(https_port);
    let keeper =
        sockets.served.clone().zip(sockets.https.as_ref().and_then(|(tcp, _)| tcp.local_addr().ok()));
    let keeper =
        keeper.map(|(served, at)| Keeper::new(config.tls.clone(), local.state_dir.clone(), at.ip(), served));
    let gateway = Arc::new(Gateway::new(
        config,
        bus,
        model,
        h3_port,
        site,
        sockets.served.clone(),
        local.run_dir.clone(),
    )?);
    let admission =
        Admission::new(gateway.config.limits.connections, gateway.config.limits.connections_per_address);
    let (lanes, back) = Lanes::new().map_err(Error::Thread)?;
    let shared = Shared {
        handler: Arc::new(Front::new(Arc::clone(&gateway))),
        admission: Arc::clone(&admission),
        limits: gateway.config.limits.clone(),
        lanes,
        stop: stopping,
    };
    if let Some(complaint) = sockets.complaint.take() {
        complaints.set(Part::Certificate, complaint);
    }
    for (file, what) in std::mem::take(&mut sockets.findings) {
        local.notify.finding(file, &what);
    }
    // A viewer that names no host means the first.
    let first = local.board().map(|board| board.hosts.first().map(|host| host.id.to_string()));
    let first = first.ok().flatten().unwrap_or_default();
    // Without a board it is not known, and nobody is kept out.
    let has_screens = local.board().ok().is_none_or(|board| board.has_screens());
    let viewers = Viewers {
        bus: own_bus,
        notify: local.notify.clone(),
        outbox: outbox.clone(),
        complaints: complaints.clone(),
        configured: match gateway.config.vnc {
            Listen::At(address) => Some(address),
            Listen::Off => None,
        },
        tls: viewers::shown(
            sockets.https.as_ref().map(|(_, tls)| Arc::clone(tls)),
            gateway.config.auth.basic,
            has_screens,
        ),
        gateway: Arc::clone(&gateway),
        first,
        shared: shared.clone(),
    };
    let redirect = Redirect {
        notify: local.notify.clone(),
        outbox: outbox.clone(),
        complaints: complaints.clone(),
        state_dir: local.state_dir.clone(),
        choice,
        https_port,
        shared: shared.clone(),
    };
    let redirect = redirect.begin(sockets.http.take());
    tokio::spawn(redirect.serve(redirected));
    sockets.serve(&shared, &mut tasks);
    // Nobody waits for the store on their behalf.
    tokio::spawn(viewers.serve(switched));
    let feed = tokio::spawn(Arc::clone(&gateway.feed).run());
    let following = tokio::spawn(following.run());
    let told = (local.notify.clone(), complaints);
    let certificates = tokio::spawn(certificate::serve(asked, keeper, outbox, told));
    announce(&local.notify, addresses);
    if let Some(served) = &gateway.served {
        let fingerprint = served.identity().fingerprint();
        info!(fingerprint, "serving TLS certificate");
        local.notify.certificate(&fingerprint);
    }
    local.ready();

    let mut heartbeat: Heartbeat = local.heartbeat();
    let mut shutdown = local.shutdown.clone();
    let listeners = !tasks.is_empty();
    loop {
        let event = tokio::select! {
            () = shutdown.wait() => Event::Stop,
            () = heartbeat.tick() => Event::Beat,
            item = events.next() => Event::Bus(item),
            item = readings.next() => Event::Reading(item),
            _ = tasks.join_next(), if listeners => Event::ListenerEnded,
        };
        match event {
            Event::Beat => {}
            Event::Bus(Some(item)) => on_bus(&gateway, item),
            Event::Reading(Some(RawItem::Message { subject, payload })) => {
                gateway.due.heard(&subject, &payload);
                gateway.readings.heard(&subject, payload);
            }
            Event::Reading(Some(RawItem::Resync)) => gateway.readings.missed(),
            Event::Stop | Event::Bus(None) | Event::Reading(None) | Event::ListenerEnded => break,
        }
    }

    stop.send_replace(true);
    feed.abort();
    following.abort();
    certificates.abort();
    gateway.places.stop();
    let ended = async {
        while admission.open() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(GOODBYE, ended).await.is_err() {
        info!(connections = admission.open(), "closing connections still open after shutdown timeout");
    }
    // Before this runtime ends, on whose timers and sockets that thread's connections wait.
    drop(back);
    Ok(())
}

/// An event, or the news that some may have been missed.
fn on_bus(gateway: &Gateway, item: RawItem) {
    match item {
        RawItem::Message { subject, payload } => {
            if let Some(change) = Change::of_event(&subject, &payload) {
                gateway.gate.forget(change);
            }
            gateway.feed.heard(&subject, &payload);
        }
        RawItem::Resync => {
            gateway.gate.forget(Change::Everything);
        }
    }
}

fn announce(notify: &Notifier, addresses: Addresses) {
    for (name, address) in [("https", addresses.https), ("http3", addresses.http3)] {
        if let Some(address) = address {
            notify.listening(name, address);
            info!(listener = name, %address, "listening");
        }
    }
}

/// Everything bound, nothing served yet.
struct Sockets {
    https: Option<(tokio::net::TcpListener, Arc<rustls::ServerConfig>)>,
    quic: Option<quinn::Endpoint>,
    http: Option<tokio::net::TcpListener>,
    /// What is wrong with the certificate.
    complaint: Option<String>,
    /// And with the files of the self-made one.
    findings: Vec<(&'static str, String)>,
    /// The certificate; `None` without HTTPS.
    served: Option<Arc<Served>>,
}

impl Sockets {
    /// `http` is where the redirect is to be open, if it is.
    async fn bind(
        config: &Config,
        http: Option<SocketAddr>,
        state_dir: &std::path::Path,
    ) -> Result<Self, Error> {
        let (mut https, mut quic, mut complaint, mut served) = (None, None, None, None);
        let mut findings = Vec::new();
        if let Listen::At(address) = config.https {
            let identity = tls::identity(&config.tls, state_dir, address.ip())?;
            complaint.clone_from(&identity.complaint);
            findings.clone_from(&identity.findings);
            let one = Served::new(identity)?;
            let (tcp, udp) = Self::bind_pair(config, address, &one).await?;
            https = Some((tcp, tls::tcp(&one, config.tls.profile)?));
            quic = udp;
            served = Some(one);
        }
        let http = match http {
            Some(address) => Some(listener::bind("HTTP", address).await?),
            None => None,
        };
        Ok(Self { https, quic, http, complaint, findings, served })
    }

    /// TCP and UDP on one port: `Alt-Svc` could name another, but firewalls and people expect the same.
    async fn bind_pair(
        config: &Config,
        address: SocketAddr,
        served: &Arc<Served>,
    ) -> Result<(tokio::net::TcpListener, Option<quinn::Endpoint>), Error> {
        let mut tries = if address.port() == 0 { PORT_TRIES } else { 1 };
        loop {
            let tcp = listener::bind("HTTPS", address).await?;
            if !config.http3 {
                return Ok((tcp, None));
            }
            let failed = |source| Error::Listen { protocol: "HTTPS", address, source };
            let actual = tcp.local_addr().map_err(failed)?;
            match quic::bind(actual, tls::quic(served)?, &config.limits) {
                Ok(endpoint) => return Ok((tcp, Some(endpoint))),
                Err(error) if tries <= 1 => {
                    // HTTP/3 is a convenience; the way in over TCP must not depend on it.
                    warn!(error = %service::ErrorChain(&error), "HTTP/3 disabled");
                    return Ok((tcp, None));
                }
                Err(_) => tries -= 1,
            }
        }
    }

    fn addresses(&self) -> Addresses {
        Addresses {
            https: self.https.as_ref().and_then(|(tcp, _)| tcp.local_addr().ok()),
            http3: self.quic.as_ref().and_then(|quic| quic.local_addr().ok()),
        }
    }

    fn serve(self, shared: &Shared<Front>, tasks: &mut JoinSet<()>) {
        if let Some((tcp, tls)) = self.https {
            tasks.spawn(listener::https(tcp, tls, shared.clone()));
        }
        if let Some(quic) = self.quic {
            tasks.spawn(quic::h3(quic, shared.clone()));
        }
    }
}
