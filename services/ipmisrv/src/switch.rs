//! The switch: whether IPMI over LAN is served, and where. What was chosen is kept, and counts before what the configuration says; until it is read
//! nothing is served.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipc::{Bucket, Calls, Client, EventBuilder, Json, Outbox, Reply, Request, StateError, Status, patiently};
use schema::server::IpmiServiceCall as Call;
use schema::v1alpha1 as v1;
use serde::{Deserialize, Serialize};
use service::{Clock, Notifier};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::Config;
use crate::error::Error;
use crate::faults::{Faults, Part};
use crate::socket::Socket;

/// The bucket, and the key of what was chosen.
const BUCKET: &str = "ipmi";
const KEY: &str = "service";
/// Pause before the store is asked again, or the port.
const AGAIN: Duration = Duration::from_secs(5);
/// How long the start waits for the store.
const LOADED_WITHIN: Duration = Duration::from_secs(5);
/// The port of RMCP (§13.1.2).
const PORT: u16 = 623;
/// What the way in is called.
const LISTENER: &str = "ipmi";
/// The reasons of refusals.
const NO_PORT: &str = "IPMI_PORT_UNAVAILABLE";
const CONFIGURED: &str = "IPMI_PORT_CONFIGURED";
const NO_WATCHDOG: &str = "NO_HOST_WATCHDOG";

/// What was chosen. Keys that are not known are skipped, so that the release before and after can read it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Chosen {
    enabled: Option<bool>,
    port: Option<u16>,
}

impl Chosen {
    /// Opens the bucket and reads it, and what is wrong with it.
    async fn load(bus: &Client) -> Result<(Bucket, Self, Option<String>), StateError> {
        let bucket = bus.bucket(BUCKET).await?;
        let read = patiently(KEY, || bucket.get::<Json<Self>>(KEY)).await;
        let why = match read {
            Ok(entry) => {
                let lost_at = bucket.lost_at().await?;
                let may_be_older =
                    lost_at.is_some_and(|at| entry.as_ref().is_none_or(|entry| entry.revision < at));
                if !may_be_older {
                    return Ok((bucket, entry.map(|entry| entry.value.0).unwrap_or_default(), None));
                }
                "values of this store were lost: what is there may be older than what was chosen last"
                    .to_owned()
            }
            Err(error @ (StateError::Unreadable { .. } | StateError::NotRead { .. })) => error.to_string(),
            Err(error) => return Err(error),
        };
        let what =
            format!("whether IPMI is switched on cannot be read: it is off until somebody says so: {why}");
        tracing::warn!("{what}");
        Ok((bucket, Self { enabled: Some(false), port: None }, Some(what)))
    }
}

/// Whether it is to be served, and where.
fn wanted(configured: Option<SocketAddr>, chosen: &Chosen) -> (bool, SocketAddr) {
    let free = SocketAddr::from((Ipv6Addr::UNSPECIFIED, chosen.port.unwrap_or(PORT)));
    (chosen.enabled.unwrap_or(configured.is_some()), configured.unwrap_or(free))
}

/// What the store has, with what is wrong with it.
type Loaded = (Box<Bucket>, Chosen, Option<String>);

/// Work beside the loop that has ended.
enum Work {
    Loaded(Result<Loaded, StateError>),
    /// This was chosen, with what it is served at from now on, and by whom.
    Set {
        chosen: Chosen,
        socket: Option<Arc<Socket>>,
        by: (String, String),
        reply: Option<Reply<v1::SetIpmiResponse>>,
        result: Result<(), Status>,
    },
}

/// What is asked of the watchdog timer, which the switch has no part in.
pub(crate) enum OfWatchdog {
    Get(Reply<v1::GetHostWatchdogResponse>),
    Set(v1::SetHostWatchdogRequest, Reply<v1::SetHostWatchdogResponse>),
}

/// What else there is to tell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) sessions: usize,
    pub(crate) system_interfaces: Vec<String>,
}

/// The switch.
pub(crate) struct Switch {
    bus: Client,
    outbox: Outbox,
    notify: Notifier,
    faults: Faults,
    clock: Clock,
    calls: Calls<Call<Request>>,
    config: Config,
    chosen: Chosen,
    /// `None` until the store has it.
    bucket: Option<Bucket>,
    socket: Option<Arc<Socket>>,
    /// Why it is not served although it shall be.
    fault: String,
    /// Why nobody knows whether it shall be.
    lost: String,
    again: Option<Instant>,
    work: JoinSet<Work>,
    /// What was asked in this turn of the watchdog timer.
    asked: Vec<OfWatchdog>,
}

impl Switch {
    /// As it was left, as far as the store says so soon.
    pub(crate) async fn new(
        bus: Client,
        outbox: Outbox,
        (notify, faults): (Notifier, Faults),
        config: Config,
    ) -> Result<Self, Error> {
        let calls = bus.calls().await?;
        let mut switch = Self {
            bus,
            outbox,
            notify,
            faults,
            clock: Clock::new(),
            calls,
            config,
            chosen: Chosen::default(),
            bucket: None,
            socket: None,
            fault: String::new(),
            lost: String::new(),
            again: None,
            work: JoinSet::new(),
            asked: Vec::new(),
        };
        let loaded = tokio::time::timeout(LOADED_WITHIN, Chosen::load(&switch.bus)).await;
        switch.loaded(match loaded {
            Ok(Ok((bucket, chosen, lost))) => Ok((Box::new(bucket), chosen, lost)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the store does not answer".to_owned()),
        });
        Ok(switch)
    }

    /// Whether it is known that it is switched off, which is another thing than that it cannot be served.
    pub(crate) fn is_off(&self) -> bool {
        self.is_on() == Some(false)
    }

    /// Whether it is switched on; `None` while that is not known.
    pub(crate) fn is_on(&self) -> Option<bool> {
        self.bucket.as_ref().map(|_| wanted(self.config.listen, &self.chosen).0)
    }

    /// Where what is set is stored; `None` until the store has it.
    pub(crate) fn bucket(&self) -> Option<Bucket> {
        self.bucket.clone()
    }

    /// What datagrams come by; `None` while it is off.
    pub(crate) fn socket(&self) -> Option<Arc<Socket>> {
        self.socket.clone()
    }

    /// Answers, tries again what did not go, and ends when something else may be served than before. Dropping it loses nothing.
    pub(crate) async fn turn(&mut self, seen: &Seen) {
        loop {
            let again = self.again;
            tokio::select! {
                Some(call) = self.calls.next() => {
                    self.call(call, seen);
                    return;
                }
                Some(Ok(work)) = self.work.join_next(), if !self.work.is_empty() => match work {
                    Work::Loaded(loaded) => {
                        self.loaded(loaded.map_err(|error| error.to_string()));
                        return;
                    }
                    Work::Set { chosen, socket, by, reply, result } => {
                        self.set(chosen, socket, &by, reply, result, seen);
                        return;
                    }
                },
                () = tokio::time::sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {
                    self.again = None;
                    if self.bucket.is_some() {
                        self.open();
                        return;
                    }
                    let bus = self.bus.clone();
                    self.work.spawn(async move {
                        let loaded = Chosen::load(&bus).await;
                        Work::Loaded(loaded.map(|(bucket, chosen, lost)| (Box::new(bucket), chosen, lost)))
                    });
                }
            }
        }
    }

    fn loaded(&mut self, loaded: Result<Loaded, String>) {
        match loaded {
            Ok((bucket, chosen, lost)) => {
                self.bucket = Some(*bucket);
                self.lost = lost.unwrap_or_default();
                self.faults.set(Part::Chosen, self.lost.clone());
                self.chosen = chosen;
                let (is_on, address) = wanted(self.config.listen, &self.chosen);
                if is_on {
                    self.open();
                } else {
                    self.works();
                    if self.config.listen.is_some() {
                        tracing::info!(%address, "IPMI is configured, and was switched off: `ubmcctl ipmi enable` switches it on");
                    }
                }
            }
            Err(why) => self.fails(format!("whether it is switched on cannot be read: {why}")),
        }
    }

    /// Serves at the address that is wanted.
    fn open(&mut self) {
        let (_, address) = wanted(self.config.listen, &self.chosen);
        match bind(address) {
            Ok(socket) => {
                self.works();
                self.serves(socket);
            }
            Err(why) => self.fails(why),
        }
    }

    fn serves(&mut self, socket: Arc<Socket>) {
        if let Ok(address) = socket.local_addr() {
            self.notify.listening(LISTENER, address);
            tracing::info!(listener = LISTENER, %address, "listening");
        }
        self.socket = Some(socket);
    }

    fn works(&mut self) {
        self.faults.set(Part::Switch, "");
        self.fault.clear();
        self.again = None;
    }

    fn fails(&mut self, why: String) {
        if self.fault != why {
            tracing::warn!(error = why, "IPMI is not served: retrying every 5 s");
            self.faults.set(Part::Switch, format!("IPMI is not served: {why}"));
        }
        self.fault = why;
        self.again = Some(Instant::now() + AGAIN);
    }

    fn call(&mut self, call: Call<Request>, seen: &Seen) {
        match call {
            Call::GetIpmi(_, reply) => {
                let answer = self.told(seen).map(|ipmi| v1::GetIpmiResponse { ipmi: Some(ipmi) });
                self.outbox.answer(reply, answer);
            }
            Call::SetIpmi(request, reply) => self.choose(&request, reply, seen),
            Call::GetHostWatchdog(_, reply) => self.asked.push(OfWatchdog::Get(reply)),
            Call::SetHostWatchdog(request, reply) => self.asked.push(OfWatchdog::Set(request, reply)),
        }
    }

    /// What was asked of the watchdog timer in the turn before: whoever takes it answers it.
    pub(crate) fn take_asked(&mut self) -> Vec<OfWatchdog> {
        std::mem::take(&mut self.asked)
    }

    /// Answers a call.
    pub(crate) fn answer<M: prost::Message>(&self, reply: Reply<M>, answer: Result<M, Status>) {
        self.outbox.answer(reply, answer);
    }

    /// Tells an event.
    pub(crate) fn tell(&self, event: v1::Event) {
        self.outbox.event(event);
    }

    /// Answers what was asked of the watchdog timer while there is none: IPMI is off, or, where `soon`, is being begun.
    pub(crate) fn without_watchdog(&mut self, soon: bool) {
        let begun = || Status::unavailable("IPMI is being begun: try again");
        for asked in self.take_asked() {
            match asked {
                OfWatchdog::Get(reply) => {
                    let none = v1::GetHostWatchdogResponse { watchdog: None };
                    self.outbox.answer(reply, if soon { Err(begun()) } else { Ok(none) });
                }
                OfWatchdog::Set(_, reply) => {
                    let text = "there is no watchdog timer: IPMI is off, and the host has no way to it";
                    let none = || Status::failed_precondition(text).with_reason(NO_WATCHDOG);
                    self.outbox.answer(reply, Err(if soon { begun() } else { none() }));
                }
            }
        }
    }

    fn told(&self, seen: &Seen) -> Result<v1::Ipmi, Status> {
        if self.bucket.is_none() {
            return Err(Status::unavailable(self.fault.clone()));
        }
        let (enabled, address) = wanted(self.config.listen, &self.chosen);
        // Port 0 is a free one, which is known once it is had.
        let bound = self.socket.as_ref().and_then(|socket| socket.local_addr().ok()).unwrap_or(address);
        let suites = if self.config.suite_3 { vec![17, 3] } else { vec![17] };
        Ok(v1::Ipmi {
            enabled,
            listening: self.socket.is_some(),
            address: bound.ip().to_string(),
            port: bound.port().into(),
            fault: if self.fault.is_empty() { self.lost.clone() } else { self.fault.clone() },
            sessions: u32::try_from(seen.sessions).unwrap_or(u32::MAX),
            sessions_max: self.config.sessions.into(),
            cipher_suites: suites,
            by_configuration: self.chosen.enabled.is_none(),
            system_interfaces: seen.system_interfaces.clone(),
        })
    }

    fn choose(&mut self, request: &v1::SetIpmiRequest, reply: Reply<v1::SetIpmiResponse>, seen: &Seen) {
        // Who says nothing has chosen nothing.
        if request.enabled.is_none() && request.port.is_none() {
            let answer = self.told(seen).map(|ipmi| v1::SetIpmiResponse { ipmi: Some(ipmi) });
            return self.outbox.answer(reply, answer);
        }
        match self.chosen(request) {
            // As it is: what is stored says so already.
            Ok((chosen, socket)) if chosen == self.chosen && self.lost.is_empty() => {
                if let Some(socket) = socket.filter(|_| self.socket.is_none()) {
                    self.works();
                    self.serves(socket);
                }
                let answer = self.told(seen).map(|ipmi| v1::SetIpmiResponse { ipmi: Some(ipmi) });
                self.outbox.answer(reply, answer);
            }
            Ok((chosen, socket)) => {
                let Some(bucket) = self.bucket.clone() else { return };
                let by = (reply.context().username().to_owned(), reply.context().request_id.clone());
                self.work.spawn(async move {
                    let value = Json(chosen.clone());
                    let stored = async {
                        bucket.commit(KEY, &value, None).await.map(drop).map_err(StateError::of_change)
                    };
                    let (reply, result) = reply.until_known(stored).await;
                    Work::Set { chosen, socket, by, reply, result }
                });
            }
            Err(status) => self.outbox.answer(reply, Err(status)),
        }
    }

    /// What is chosen by a request, and the socket that it takes. Nothing is changed yet.
    fn chosen(&self, request: &v1::SetIpmiRequest) -> Result<(Chosen, Option<Arc<Socket>>), Status> {
        if self.bucket.is_none() {
            return Err(Status::unavailable(self.fault.clone()));
        }
        if !self.work.is_empty() {
            return Err(Status::unavailable("IPMI is being switched: try again"));
        }
        let mut chosen = self.chosen.clone();
        if let Some(enabled) = request.enabled {
            chosen.enabled = Some(enabled);
        }
        if let Some(port) = request.port {
            let port = u16::try_from(port).map_err(|_| Status::bad_field("port", "it is 1 to 65535"))?;
            match self.config.listen {
                Some(address) if address.port() != port => {
                    let text = format!(
                        "the configuration says where IPMI is served: {address} (ipmisrv.listen, or --ipmi of the operator)"
                    );
                    return Err(Status::failed_precondition(text).with_reason(CONFIGURED));
                }
                Some(_) => {}
                None => chosen.port = Some(port),
            }
        }
        let ((_, before), (is_on, address)) =
            (wanted(self.config.listen, &self.chosen), wanted(self.config.listen, &chosen));
        let socket = match &self.socket {
            _ if !is_on => None,
            Some(socket) if before == address => Some(Arc::clone(socket)),
            _ => Some(bind(address).map_err(|why| Status::failed_precondition(why).with_reason(NO_PORT))?),
        };
        Ok((chosen, socket))
    }

    fn set(
        &mut self,
        chosen: Chosen,
        socket: Option<Arc<Socket>>,
        (by, request): &(String, String),
        reply: Option<Reply<v1::SetIpmiResponse>>,
        result: Result<(), Status>,
        seen: &Seen,
    ) {
        let answer = result.and_then(|()| {
            let (was_on, before) = wanted(self.config.listen, &self.chosen);
            self.chosen = chosen;
            let (is_on, address) = wanted(self.config.listen, &self.chosen);
            self.works();
            // What is stored can be read now.
            self.lost.clear();
            self.faults.set(Part::Chosen, "");
            let is_same = |new: &Arc<Socket>| self.socket.as_ref().is_some_and(|old| Arc::ptr_eq(old, new));
            match socket {
                Some(socket) if !is_same(&socket) => self.serves(socket),
                Some(_) => {}
                None => {
                    if self.socket.take().is_some() {
                        self.notify.listening_ended(LISTENER);
                        tracing::info!(listener = LISTENER, "listening no more");
                    }
                }
            }
            let (what, text) = match (was_on, is_on) {
                (false, true) => ("enabled", format!("IPMI is switched on at {address}")),
                (true, false) => ("disabled", "IPMI is switched off".to_owned()),
                (true, true) => ("changed", format!("IPMI is set to {address}")),
                (false, false) if address == before => ("changed", "IPMI is switched off".to_owned()),
                (false, false) => ("changed", format!("IPMI is set to {address}, and is switched off")),
            };
            tracing::info!(by, what, %address, "IPMI is switched");
            let event = EventBuilder::new(crate::NAME, "ipmi", "service", what).message(text).by(by, request);
            self.outbox.event(event.at(self.clock.wall()));
            self.told(seen).map(|ipmi| v1::SetIpmiResponse { ipmi: Some(ipmi) })
        });
        if let Some(reply) = reply {
            self.outbox.answer(reply, answer);
        }
    }
}

/// A socket at an address; otherwise why not, and what helps.
fn bind(address: SocketAddr) -> Result<Arc<Socket>, String> {
    Socket::bind(address).map(Arc::new).map_err(|error| {
        let helps = match error.kind() {
            std::io::ErrorKind::AddrInUse => ": another program has this port",
            std::io::ErrorKind::PermissionDenied => {
                ": ports below 1024 are for a controller that starts as root; choose another port"
            }
            _ => "",
        };
        format!("cannot listen for IPMI at {address}: {error}{helps}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_chosen_counts_before_the_configuration_and_its_address_before_a_port() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let chosen = |enabled, port| Chosen { enabled, port };
        for (configured, chosen, expected) in [
            (None, chosen(None, None), (false, at("[::]:623"))),
            (None, chosen(Some(true), None), (true, at("[::]:623"))),
            (None, chosen(Some(true), Some(6230)), (true, at("[::]:6230"))),
            (Some(at("127.0.0.1:9")), chosen(None, None), (true, at("127.0.0.1:9"))),
            (Some(at("127.0.0.1:9")), chosen(Some(false), None), (false, at("127.0.0.1:9"))),
            (Some(at("127.0.0.1:9")), chosen(Some(true), Some(6230)), (true, at("127.0.0.1:9"))),
        ] {
            assert_eq!(wanted(configured, &chosen), expected, "{chosen:?}");
        }
    }

    #[test]
    fn what_another_release_has_stored_is_read_as_far_as_it_is_known() {
        let chosen: Chosen = serde_json::from_str(r#"{"enabled":true,"newer":1}"#).unwrap();
        assert_eq!(chosen, Chosen { enabled: Some(true), port: None });
    }
}
