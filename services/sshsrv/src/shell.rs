//! The loop: connections, changes of accounts and the switch in. Each connection runs beside it.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gate::{Change, Gate, Policy};
use ipc::{Outbox, RawItem, Request, Status};
use schema::server::SshServiceCall as Call;
use schema::v1alpha1 as v1;
use service::{Context, Prepare, Switch, Turn, Way};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admission::{Admission, ConnId};
use crate::calls::Shared;
use crate::config::Config;
use crate::conn::{Conn, Place};
use crate::connection::serve;
use crate::error::Error;
use crate::offer::Offer;

/// Where it is served unless somebody says otherwise: at the port of OpenBMC's consoles.
const PORT: u16 = 2200;
/// Pause after the socket failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long connections may take to end when the daemon stops.
const STOP: Duration = Duration::from_secs(2);
/// How long what was told last may take at the end.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// A client that is gone without a word is found after a minute and a half.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(30))
    .with_interval(Duration::from_secs(15))
    .with_retries(4);

/// The usual ports of websrv, which is started after this daemon and could not listen there any more.
const USUAL: [u16; 2] = [80, 443];

/// The way in that is switched; `others` are ports that are other daemons'.
fn way(configured: Option<SocketAddr>, others: &[u16]) -> Way {
    let others: Vec<u16> = others.iter().copied().chain(USUAL).collect();
    Way {
        title: "SSH",
        name: "ssh",
        bucket: "ssh",
        key: "service",
        configured,
        usual: SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)),
        setting: "sshsrv.listen",
        // It is told once, for as long as the process lives.
        others: others.leak(),
        no_port: "SSH_PORT_UNAVAILABLE",
        port_configured: "SSH_PORT_CONFIGURED",
    }
}

/// Serves until told to stop. While it is switched off there is no socket, and no host key is read or made.
///
/// # Errors
/// [`Error`] when it cannot start.
pub async fn run(context: Context) -> Result<(), Error> {
    let config: Config = context.config()?;
    config.check()?;
    let board = context.board()?;
    // Before anybody logs in: from here on no change of an account is missed.
    let mut events = context.bus.subscribe_raw("event.>").await?;
    let mut calls = context.bus.calls::<Call<Request>>().await?;
    let policy = Policy { basic_cache: Duration::ZERO, token_cache: Duration::ZERO, logins: 1 };
    let gate = Gate::new(context.bus.clone(), policy).map_err(Error::Entropy)?;
    let (outbox, sender) = Outbox::new(context.bus.clone());
    let offer = Offer::new(context.state_dir.clone(), context.notify.clone());
    let made = offer.clone();
    let prepare: Prepare = Box::new(move || Box::pin(made.clone().make_ready()));
    let (bus, notify) = (context.bus.clone(), context.notify.clone());
    let mut switch = Switch::new(bus, notify, way(config.listen, &config.others), prepare).await;
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
    if let Some(text) = switch.news() {
        context.notify.status(text);
    }
    context.ready();
    let mut conns = Conns::default();
    let (mut heartbeat, mut shutdown) = (context.heartbeat(), context.shutdown.clone());
    loop {
        let listener = switch.listener();
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
            Some(call) = calls.next() => answer(call, &mut switch, &shared, &outbox),
            turn = switch.turn() => {
                if let Turn::Set { reply, result } = turn {
                    if let Ok(Some(switched)) = &result {
                        let event = switched.event(crate::NAME, switch.way());
                        outbox.event(event.at(shared.clock.wall()));
                    }
                    if let Some(reply) = reply {
                        outbox.answer(reply, result.and_then(|_| set(&switch, &shared)));
                    }
                }
                if switch.listener().is_none() {
                    conns.end("SSH was switched off");
                }
                if let Some(text) = switch.news() {
                    context.notify.status(text);
                }
            }
            accepted = accept(listener.as_deref()) => match accepted {
                Ok((tcp, from)) => if let Some(ssh) = offer.get() {
                    conns.come(tcp, from, &shared, &ssh);
                },
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
    drop((switch, outbox));
    let _ = tokio::time::timeout(LAST_WORDS, sender).await;
    Ok(())
}

/// The next connection; none while it is off.
async fn accept(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

/// Answers what can be answered at once. What somebody chooses is stored first.
fn answer(call: Call<Request>, switch: &mut Switch<v1::SetSshResponse>, shared: &Shared, outbox: &Outbox) {
    match call {
        Call::GetSsh(_, reply) => {
            let answer = told(switch, shared).map(|ssh| v1::GetSshResponse { ssh: Some(ssh) });
            outbox.answer(reply, answer);
        }
        Call::SetSsh(request, reply) => {
            if let Some((reply, result)) = switch.choose(request.enabled, request.port, reply) {
                outbox.answer(reply, result.and_then(|()| set(switch, shared)));
            }
        }
    }
}

/// How it is, for who has set it.
fn set(switch: &Switch<v1::SetSshResponse>, shared: &Shared) -> Result<v1::SetSshResponse, Status> {
    Ok(v1::SetSshResponse { ssh: Some(told(switch, shared)?) })
}

fn told(switch: &Switch<v1::SetSshResponse>, shared: &Shared) -> Result<v1::Ssh, Status> {
    let state = switch.state()?;
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Ok(v1::Ssh {
        enabled: state.enabled,
        listening: state.listening,
        address: state.address.ip().to_string(),
        port: state.address.port().into(),
        fault: state.fault,
        sessions: number(shared.admission().logins()),
        sessions_max: number(shared.config.sessions),
        by_configuration: state.by_configuration,
    })
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
    /// All end, for this reason; so do those that are about to log in.
    fn end(&self, why: &str) {
        for conn in self.table.values() {
            conn.loses(why.to_owned());
        }
    }

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
