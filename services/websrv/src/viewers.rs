//! The switch of the port of desktop viewers: whether it is open, as `VncService` says and Redfish's `KVMIP` shows. Where it is, is the configuration's to say,
//! as this process is held to its ports from its start on.
//!
//! ```text
//!   VncService ─► Switch, kept in bucket "vnc" ─► a listener, or none ─► vnc: viewers, which end with it
//! ```

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use ipc::{Calls, Client, Outbox, Request, Status};
use schema::server::VncServiceCall as Call;
use schema::v1alpha1 as v1;
use service::{Notifier, Prepare, Switch, Turn, Way};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::complaints::{Complaints, Part};
use crate::front::Front;
use crate::gateway::Gateway;
use crate::transport::{Shared, stopped};
use crate::vnc;

/// Where it is unless the configuration says otherwise: the port of the first display (RFC 6143, 8.1.1). The operator lets it be had
/// (`services/operator/src/confine.rs`).
const PORT: u16 = 5900;

/// The way in that is switched.
fn way(configured: Option<SocketAddr>) -> Way {
    Way {
        title: "VNC",
        name: "vnc",
        bucket: "vnc",
        key: "service",
        configured,
        usual: SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)),
        setting: "websrv.vnc",
        // Nobody chooses its port.
        others: &[],
        no_port: "VNC_PORT_UNAVAILABLE",
        port_configured: "VNC_PORT_CONFIGURED",
    }
}

/// What viewers are shown, as far as HTTPS has it; otherwise why there are none whatever is switched: where they could not log in, or have nothing to see.
pub(crate) fn shown<T>(https: Option<T>, has_basic: bool, has_screens: bool) -> Result<T, &'static str> {
    match https {
        _ if !has_screens => Err("no host of this board has a screen"),
        None => Err("HTTPS is off, whose certificate viewers are shown"),
        Some(_) if !has_basic => {
            Err("viewers log in by name and password, which is switched off: websrv.auth.basic")
        }
        Some(tls) => Ok(tls),
    }
}

/// What viewers are served with.
pub(crate) struct Viewers {
    pub(crate) bus: Client,
    pub(crate) notify: Notifier,
    pub(crate) outbox: Outbox,
    pub(crate) complaints: Complaints,
    /// Where the configuration has them, if it does.
    pub(crate) configured: Option<SocketAddr>,
    /// The certificate that they are shown; or why there are none whatever is switched.
    pub(crate) tls: Result<Arc<rustls::ServerConfig>, &'static str>,
    pub(crate) gateway: Arc<Gateway>,
    /// The host that is meant without a name.
    pub(crate) first: String,
    pub(crate) shared: Shared<Front>,
}

/// A port that is open. Dropped, it is closed, and its viewers end.
struct Open {
    listener: Arc<TcpListener>,
    _off: watch::Sender<bool>,
}

impl Viewers {
    /// Opens and closes the port as it is switched, until told to stop.
    pub(crate) async fn serve(self, mut calls: Calls<Call<Request>>) {
        let lacks = self.tls.as_ref().err().copied();
        let prepare: Prepare = Box::new(move || {
            let lacks = lacks.map_or(Ok(()), |why| Err(why.to_owned()));
            Box::pin(std::future::ready(lacks))
        });
        let (bus, notify) = (self.bus.clone(), self.notify.clone());
        let mut switch = Switch::new(bus, notify, way(self.configured), prepare).await;
        let mut stop = self.shared.stop.clone();
        let mut open = None;
        loop {
            self.follow(&switch, &mut open);
            if let Some(text) = switch.news() {
                self.complaints.set(Part::Viewers, text);
            }
            tokio::select! {
                () = stopped(&mut stop) => return,
                call = calls.next() => match call {
                    Some(call) => self.answer(call, &mut switch),
                    None => return,
                },
                turn = switch.turn() => self.turned(turn, &switch),
            }
        }
    }

    /// Serves at what the switch has, and nowhere else.
    fn follow(&self, switch: &Switch<v1::SetVncResponse>, open: &mut Option<Open>) {
        let listener = switch.listener();
        let is_same = match (&listener, &*open) {
            (Some(new), Some(open)) => Arc::ptr_eq(new, &open.listener),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if is_same {
            return;
        }
        *open = None;
        let address = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        self.gateway.site.vnc_port.store(address.map_or(0, |address| address.port()), Ordering::Relaxed);
        let (Some(listener), Ok(tls)) = (listener, &self.tls) else { return };
        let (off, ends) = watch::channel(false);
        // They end with this port as they do with the daemon, whose end closes it.
        let shared = Shared { stop: ends, ..self.shared.clone() };
        let (tls, gateway, first) = (Arc::clone(tls), Arc::clone(&self.gateway), self.first.clone());
        tokio::spawn(vnc::serve(Arc::clone(&listener), tls, gateway, first, shared));
        *open = Some(Open { listener, _off: off });
    }

    fn answer(&self, call: Call<Request>, switch: &mut Switch<v1::SetVncResponse>) {
        match call {
            Call::GetVnc(_, reply) => {
                let answer = told(switch).map(|vnc| v1::GetVncResponse { vnc: Some(vnc) });
                self.outbox.answer(reply, answer);
            }
            Call::SetVnc(request, reply) => {
                if let Some((reply, result)) = switch.choose(request.enabled, None, reply) {
                    self.outbox.answer(reply, result.and_then(|()| set(switch)));
                }
            }
        }
    }

    fn turned(&self, turn: Turn<v1::SetVncResponse>, switch: &Switch<v1::SetVncResponse>) {
        let Turn::Set { reply, result } = turn else { return };
        if let Ok(Some(switched)) = &result {
            let event = switched.event("websrv", switch.way());
            self.outbox.event(event.at(SystemTime::now()));
        }
        if let Some(reply) = reply {
            self.outbox.answer(reply, result.and_then(|_| set(switch)));
        }
    }
}

/// How it is, for who has set it.
fn set(switch: &Switch<v1::SetVncResponse>) -> Result<v1::SetVncResponse, Status> {
    Ok(v1::SetVncResponse { vnc: Some(told(switch)?) })
}

fn told(switch: &Switch<v1::SetVncResponse>) -> Result<v1::Vnc, Status> {
    let state = switch.state()?;
    Ok(v1::Vnc {
        enabled: state.enabled,
        listening: state.listening,
        address: state.address.ip().to_string(),
        port: state.address.port().into(),
        fault: state.fault,
        by_configuration: state.by_configuration,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_viewers_where_they_could_not_log_in_or_have_nothing_to_see() {
        assert_eq!(shown(Some(7), true, true), Ok(7));
        for (https, has_basic, has_screens, why) in [
            (None, true, true, "HTTPS is off"),
            (Some(7), false, true, "websrv.auth.basic"),
            (Some(7), true, false, "no host of this board has a screen"),
        ] {
            let said = shown(https, has_basic, has_screens).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
    }
}
