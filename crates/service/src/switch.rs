//! The switch of a way in over TCP: whether it is served, and where. What was chosen is kept in a bucket, and counts before what the configuration says;
//! until it is read nothing is served. What was stored and cannot be read means off, and is told.
//!
//! The daemon polls [`Switch::turn`] in its loop, accepts at [`Switch::listener`], and answers the calls of its contract with what [`Switch::choose`] and
//! [`Turn::Set`] say.

use std::fmt;
use std::future::Future;
use std::io::{Error, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ipc::{Bucket, Client, EventBuilder, Json, Reply, StateError, Status, patiently};
use prost::Message;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::notify::Notifier;

/// Pause before the store is asked again, or the port.
const AGAIN: Duration = Duration::from_secs(5);
/// How long the start waits for the store and for the port.
const SETTLED_WITHIN: Duration = Duration::from_secs(5);

/// A way in that can be switched.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// What people call it, such as `SSH`.
    pub title: &'static str,
    /// What the operator is told of it as, such as `ssh`: the name of the listener, and the domain of its events.
    pub name: &'static str,
    /// The bucket that what was chosen is kept in; it is the daemon's own.
    pub bucket: &'static str,
    /// The key there.
    pub key: &'static str,
    /// Where the configuration has it, which switches it on unless somebody has switched it off. Its port cannot be chosen then. Port 0 is a free one.
    pub configured: Option<SocketAddr>,
    /// Where it is otherwise, as long as no other port was chosen.
    pub usual: SocketAddr,
    /// The setting that says where it is, such as `sshsrv.listen`.
    pub setting: &'static str,
    /// Ports that cannot be had but by the configuration, as they are another daemon's, which may be without them now.
    pub others: &'static [u16],
    /// The reason of a refusal where its port cannot be had.
    pub no_port: &'static str,
    /// The reason of a refusal where its port is the configuration's.
    pub port_configured: &'static str,
}

impl Way {
    /// Whether a port may be chosen where this one was chosen before: one that is another's may stay.
    fn takes(&self, port: u16, before: Option<u16>) -> bool {
        before == Some(port) || !self.others.contains(&port)
    }

    /// Why it is not served where it would be, if that is another daemon's: a port that was chosen before the other was given it, or the usual one. Whoever is
    /// started first would have it, and the other could not start. What the configuration says of both is its own matter.
    fn yields(&self, address: SocketAddr) -> Option<String> {
        let port = address.port();
        (self.configured.is_none() && self.others.contains(&port))
            .then(|| format!("port {port} is another daemon's: choose another port for {}", self.title))
    }
}

/// What has to be there before it can be served; otherwise why it is not. Asked each time that a port is opened, beside the daemon's loop.
pub type Prepare = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync>;

/// What was chosen. Keys that are not known are skipped, so that the release before and after can read it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Chosen {
    enabled: Option<bool>,
    port: Option<u16>,
}

/// What the store has, with what is wrong with it.
type Loaded = (Box<Bucket>, Chosen, Option<String>);

/// Whether it is to be served, and where.
fn wanted(way: &Way, chosen: &Chosen) -> (bool, SocketAddr) {
    let usual = SocketAddr::new(way.usual.ip(), chosen.port.unwrap_or(way.usual.port()));
    (chosen.enabled.unwrap_or(way.configured.is_some()), way.configured.unwrap_or(usual))
}

/// Opens the bucket and reads it, and what is wrong with it.
async fn load(bus: Client, way: Way) -> Result<Loaded, StateError> {
    let bucket = bus.bucket(way.bucket).await?;
    let read = patiently(way.key, || bucket.get::<Json<Chosen>>(way.key)).await;
    let why = match read {
        Ok(entry) => {
            let lost_at = bucket.lost_at().await?;
            if !may_be_older(entry.as_ref().map(|entry| entry.revision), lost_at) {
                return Ok((Box::new(bucket), entry.map(|entry| entry.value.0).unwrap_or_default(), None));
            }
            "values of this store were lost: what is there may be older than what was chosen last".to_owned()
        }
        Err(error @ (StateError::Unreadable { .. } | StateError::NotRead { .. })) => error.to_string(),
        Err(error) => return Err(error),
    };
    let what = format!(
        "whether {} is switched on cannot be read: it is off until somebody says so: {why}",
        way.title
    );
    tracing::warn!("{what}");
    Ok((Box::new(bucket), Chosen { enabled: Some(false), port: None }, Some(what)))
}

/// Whether what is stored at a revision, or that nothing is stored, may not be what was stored last: the bucket has lost values whose keys are not known, which
/// it found at another revision ([`Bucket::lost_at`]).
fn may_be_older(revision: Option<u64>, lost_at: Option<u64>) -> bool {
    lost_at.is_some_and(|at| revision.is_none_or(|revision| revision < at))
}

/// A socket at an address; otherwise why not, and what helps. On a kernel without IPv6 the wildcard falls back to IPv4.
async fn bind(way: Way, address: SocketAddr) -> Result<TcpListener, String> {
    let no_ipv6 = |error: &Error| error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error());
    let bound = match TcpListener::bind(address).await {
        Err(error) if address.ip().is_unspecified() && address.is_ipv6() && no_ipv6(&error) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        other => other,
    };
    bound.map_err(|error| {
        let helps = match error.kind() {
            ErrorKind::AddrInUse => ": another program has this port",
            ErrorKind::PermissionDenied => {
                ": ports below 1024 are for a controller that starts as root; choose another port"
            }
            _ => "",
        };
        format!("cannot listen for {} at {address}: {error}{helps}", way.title)
    })
}

/// What has to be there, then the port.
async fn open(
    prepared: impl Future<Output = Result<(), String>>,
    way: Way,
    address: SocketAddr,
) -> Result<Arc<TcpListener>, String> {
    prepared.await?;
    bind(way, address).await.map(Arc::new)
}

/// Work beside the loop that has ended.
enum Work<M> {
    Loaded(Result<Loaded, StateError>),
    Opened(Result<Arc<TcpListener>, String>),
    /// This was chosen, by whom, with what is listened at from now on.
    Set {
        chosen: Chosen,
        by: (String, String),
        reply: Option<Reply<M>>,
        result: Result<Option<Arc<TcpListener>>, Status>,
    },
}

/// How it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwitchState {
    /// It is to be served.
    pub enabled: bool,
    /// It is.
    pub listening: bool,
    /// Where it is, or would be.
    pub address: SocketAddr,
    /// Why it is not served although it is enabled, or why nobody knows whether it shall be; empty otherwise.
    pub fault: String,
    /// Nobody has switched it on or off.
    pub by_configuration: bool,
}

/// What somebody has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switched {
    /// `enabled`, `disabled` or `changed`.
    pub what: &'static str,
    /// In words.
    pub text: String,
    /// The account, and the id of its request.
    by: (String, String),
}

impl Switched {
    /// The event `event.<name>.service.<what>`, told by this daemon.
    pub fn event(&self, daemon: &str, way: &Way) -> EventBuilder {
        EventBuilder::new(daemon, way.name, "service", self.what)
            .message(self.text.clone())
            .by(&self.by.0, &self.by.1)
    }
}

/// What a turn has brought.
#[derive(Debug)]
pub enum Turn<M> {
    /// Something else may be served than before, or for another reason not.
    Moved,
    /// What somebody chose counts, or was refused and has no effect.
    Set {
        /// Who is to be answered; `None`: he was told that the outcome is not known.
        reply: Option<Reply<M>>,
        /// What has changed, to be told as an event; `None`: nothing, it was so already.
        result: Result<Option<Switched>, Status>,
    },
}

/// The switch of one way in. `M` is what its contract answers to who switches it.
pub struct Switch<M> {
    bus: Client,
    notify: Notifier,
    way: Way,
    prepare: Prepare,
    chosen: Chosen,
    /// `None` until the store has it.
    bucket: Option<Bucket>,
    listener: Option<Arc<TcpListener>>,
    /// Why it is not served although it shall be.
    fault: String,
    /// Why nobody knows whether it shall be.
    lost: String,
    /// What was told of both last.
    told: String,
    again: Option<Instant>,
    /// One thing at a time.
    work: JoinSet<Work<M>>,
    /// The last [`Work::Opened`] that was begun.
    opening: Option<AbortHandle>,
}

impl<M> fmt::Debug for Switch<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Switch").field("way", &self.way).field("chosen", &self.chosen).finish_non_exhaustive()
    }
}

impl<M: Message + 'static> Switch<M> {
    /// As it was left, as far as the store says so soon.
    pub async fn new(bus: Client, notify: Notifier, way: Way, prepare: Prepare) -> Self {
        let mut switch = Self {
            bus,
            notify,
            way,
            prepare,
            chosen: Chosen::default(),
            bucket: None,
            listener: None,
            fault: String::new(),
            lost: String::new(),
            told: String::new(),
            again: None,
            work: JoinSet::new(),
            opening: None,
        };
        switch.begin();
        let settled = async {
            while let Some(done) = switch.work.join_next().await {
                if let Ok(work) = done {
                    switch.done(work);
                }
            }
        };
        // What has not ended by then goes on.
        if tokio::time::timeout(SETTLED_WITHIN, settled).await.is_err() {
            switch.fault = match &switch.bucket {
                None => "whether it is switched on cannot be read: the store does not answer".to_owned(),
                Some(_) => "what it needs takes long".to_owned(),
            };
        }
        switch
    }

    /// The way in that it switches.
    pub fn way(&self) -> &Way {
        &self.way
    }

    /// What clients come by; `None` while it is off, or cannot be served.
    pub fn listener(&self) -> Option<Arc<TcpListener>> {
        self.listener.clone()
    }

    /// What is wrong, if that is something else than it was at the last question; empty: nothing any more.
    pub fn news(&mut self) -> Option<String> {
        let fault = match self.fault.as_str() {
            "" => String::new(),
            why => format!("{} is not served: {why}", self.way.title),
        };
        let all: Vec<&str> =
            [fault.as_str(), self.lost.as_str()].into_iter().filter(|text| !text.is_empty()).collect();
        let all = all.join("; ");
        if all == self.told {
            return None;
        }
        self.told.clone_from(&all);
        Some(all)
    }

    /// How it is.
    ///
    /// # Errors
    /// Unavailable: what was chosen is not known yet.
    pub fn state(&self) -> Result<SwitchState, Status> {
        if self.bucket.is_none() {
            return Err(Status::unavailable(self.fault.clone()));
        }
        let (enabled, address) = wanted(&self.way, &self.chosen);
        // Port 0 is a free one, which is known once it is had.
        let bound = self.listener.as_ref().and_then(|listener| listener.local_addr().ok());
        Ok(SwitchState {
            enabled,
            listening: self.listener.is_some(),
            address: bound.unwrap_or(address),
            fault: if self.fault.is_empty() { self.lost.clone() } else { self.fault.clone() },
            by_configuration: self.chosen.enabled.is_none(),
        })
    }

    /// Has it served or no longer, and at this port; what is `None` stays. Who asked is answered at once with what is returned, or, where there is
    /// something to do first, with what a [`Turn::Set`] says.
    pub fn choose(
        &mut self,
        enabled: Option<bool>,
        port: Option<u32>,
        reply: Reply<M>,
    ) -> Option<(Reply<M>, Result<(), Status>)> {
        // Who says nothing has chosen nothing.
        if enabled.is_none() && port.is_none() {
            return Some((reply, Ok(())));
        }
        let (chosen, bucket) = match self.wish(enabled, port) {
            Ok(wish) => wish,
            Err(status) => return Some((reply, Err(status))),
        };
        let ((_, before), (is_on, address)) = (wanted(&self.way, &self.chosen), wanted(&self.way, &chosen));
        let held = self.listener.clone().filter(|_| is_on && before == address);
        // As it is: what is stored says so already.
        if chosen == self.chosen && self.lost.is_empty() && held.is_some() == is_on {
            return Some((reply, Ok(())));
        }
        if !self.work.is_empty() {
            // It shall be off, and what is being opened is not waited for. Where that cannot be stored it is begun again.
            self.work = JoinSet::new();
            self.opening = None;
            self.again = Some(Instant::now() + AGAIN);
        }
        let by = (reply.context().username().to_owned(), reply.context().request_id.clone());
        let way = self.way;
        let prepared = (is_on && held.is_none()).then(|| (self.prepare)());
        self.work.spawn(async move {
            let value = Json(chosen.clone());
            let set = async {
                let refused = |why: String| Status::failed_precondition(why).with_reason(way.no_port);
                let listener = match prepared {
                    Some(prepared) => {
                        if let Some(why) = way.yields(address) {
                            return Err(refused(why));
                        }
                        prepared.await.map_err(Status::failed_precondition)?;
                        Some(Arc::new(bind(way, address).await.map_err(refused)?))
                    }
                    None => held,
                };
                bucket.commit(way.key, &value, None).await.map_err(StateError::of_change)?;
                Ok::<_, Status>(listener)
            };
            let (reply, result) = reply.until_known(set).await;
            Work::Set { chosen, by, reply, result }
        });
        None
    }

    /// What is chosen by a request, and where it is to be stored. Nothing is changed yet.
    fn wish(&self, enabled: Option<bool>, port: Option<u32>) -> Result<(Chosen, Bucket), Status> {
        let title = self.way.title;
        let Some(bucket) = self.bucket.clone() else {
            return Err(Status::unavailable(self.fault.clone()));
        };
        // What has to be there may never come, which holds up nobody who switches it off.
        let gives_way = enabled == Some(false) && self.is_opening();
        if !self.work.is_empty() && !gives_way {
            return Err(Status::unavailable(format!("{title} is being switched: try again")));
        }
        let mut chosen = self.chosen.clone();
        chosen.enabled = enabled.or(chosen.enabled);
        if let Some(port) = port {
            let port = u16::try_from(port).ok().filter(|port| *port != 0);
            let port = port.ok_or_else(|| Status::bad_field("port", "it is 1 to 65535"))?;
            match self.way.configured {
                Some(address) if address.port() != port => {
                    let text = format!(
                        "the configuration says where {title} is served: {address} ({})",
                        self.way.setting
                    );
                    return Err(Status::failed_precondition(text).with_reason(self.way.port_configured));
                }
                Some(_) => {}
                None if self.way.takes(port, chosen.port) => chosen.port = Some(port),
                None => {
                    let text = format!("port {port} is another daemon's: choose another port for {title}");
                    return Err(Status::failed_precondition(text).with_reason(self.way.no_port));
                }
            }
        }
        Ok((chosen, bucket))
    }

    /// Whether the port is being opened because it shall be open, and nothing else is done.
    fn is_opening(&self) -> bool {
        self.opening.as_ref().is_some_and(|opening| !opening.is_finished())
    }

    /// Tries again what did not go, and ends when something else may be served than before, or somebody's choice is settled. Dropping it loses nothing.
    pub async fn turn(&mut self) -> Turn<M> {
        loop {
            let again = self.again;
            tokio::select! {
                Some(done) = self.work.join_next(), if !self.work.is_empty() => match done {
                    Ok(work) => return self.done(work),
                    // It panicked; who asked for it has learnt that its outcome is not known.
                    Err(_) => self.again = Some(Instant::now() + AGAIN),
                },
                () = tokio::time::sleep_until(again.unwrap_or_else(Instant::now)),
                    if again.is_some() && self.work.is_empty() =>
                {
                    self.again = None;
                    self.begin();
                }
                else => std::future::pending().await,
            }
        }
    }

    /// Reads what was chosen, or where that is known opens the port if it shall be open.
    fn begin(&mut self) {
        let way = self.way;
        if self.bucket.is_none() {
            let bus = self.bus.clone();
            self.work.spawn(async move { Work::Loaded(load(bus, way).await) });
            return;
        }
        let (is_on, address) = wanted(&way, &self.chosen);
        if is_on && self.listener.is_none() {
            if let Some(why) = way.yields(address) {
                self.fails(why);
                // As long as nothing else is chosen it is so.
                self.again = None;
                return;
            }
            let prepared = (self.prepare)();
            let opened = async move { Work::Opened(open(prepared, way, address).await) };
            self.opening = Some(self.work.spawn(opened));
        }
    }

    fn done(&mut self, work: Work<M>) -> Turn<M> {
        match work {
            Work::Loaded(Ok((bucket, chosen, lost))) => {
                self.bucket = Some(*bucket);
                self.lost = lost.unwrap_or_default();
                self.chosen = chosen;
                self.works();
                if !wanted(&self.way, &self.chosen).0 && self.way.configured.is_some() {
                    tracing::info!(way = self.way.title, "configured, and was switched off by hand");
                }
                self.begin();
            }
            Work::Loaded(Err(error)) => {
                self.fails(format!("whether it is switched on cannot be read: {error}"));
            }
            Work::Opened(Ok(listener)) => {
                self.works();
                self.serves(Some(listener));
            }
            Work::Opened(Err(why)) => self.fails(why),
            Work::Set { chosen, by, reply, result } => {
                let result = result.map(|listener| self.set(chosen, listener, by));
                return Turn::Set { reply, result };
            }
        }
        Turn::Moved
    }

    fn set(
        &mut self,
        chosen: Chosen,
        listener: Option<Arc<TcpListener>>,
        by: (String, String),
    ) -> Option<Switched> {
        // What is stored can be read now.
        let is_new = chosen != self.chosen || !self.lost.is_empty();
        let (was_on, before) = wanted(&self.way, &self.chosen);
        self.chosen = chosen;
        self.lost.clear();
        self.works();
        self.serves(listener);
        let title = self.way.title;
        let (is_on, address) = wanted(&self.way, &self.chosen);
        let (what, text) = match (was_on, is_on) {
            (false, true) => ("enabled", format!("{title} is switched on at {address}")),
            (true, false) => ("disabled", format!("{title} is switched off")),
            (true, true) => ("changed", format!("{title} is set to {address}")),
            (false, false) if address == before => ("changed", format!("{title} is switched off")),
            (false, false) => ("changed", format!("{title} is set to {address}, and is switched off")),
        };
        is_new.then(|| {
            tracing::info!(way = title, by = by.0, what, %address, "way in switched");
            Switched { what, text, by }
        })
    }

    fn serves(&mut self, listener: Option<Arc<TcpListener>>) {
        let name = self.way.name;
        match listener {
            Some(new) if self.listener.as_ref().is_some_and(|old| Arc::ptr_eq(old, &new)) => {}
            Some(new) => {
                if let Ok(address) = new.local_addr() {
                    self.notify.listening(name, address);
                    tracing::info!(listener = name, %address, "listening");
                }
                self.listener = Some(new);
            }
            None => {
                if self.listener.take().is_some() {
                    self.notify.listening_ended(name);
                    tracing::info!(listener = name, "listening no more");
                }
            }
        }
    }

    fn works(&mut self) {
        self.fault.clear();
        self.again = None;
    }

    fn fails(&mut self, why: String) {
        if self.fault != why {
            tracing::warn!(way = self.way.title, error = why, "way in is not served: retrying every 5 s");
        }
        self.fault = why;
        self.again = Some(Instant::now() + AGAIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(configured: Option<&str>) -> Way {
        Way {
            title: "Doors",
            name: "doors",
            bucket: "doors",
            key: "service",
            configured: configured.map(|text| text.parse().unwrap()),
            usual: "[::]:2200".parse().unwrap(),
            setting: "doorsrv.listen",
            others: &[80, 443],
            no_port: "DOORS_PORT_UNAVAILABLE",
            port_configured: "DOORS_PORT_CONFIGURED",
        }
    }

    #[test]
    fn what_was_chosen_counts_before_the_configuration_and_its_address_before_a_port() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let chosen = |enabled, port| Chosen { enabled, port };
        for (configured, chosen, expected) in [
            (None, chosen(None, None), (false, at("[::]:2200"))),
            (None, chosen(Some(true), None), (true, at("[::]:2200"))),
            (None, chosen(Some(true), Some(22)), (true, at("[::]:22"))),
            (Some("127.0.0.1:9"), chosen(None, None), (true, at("127.0.0.1:9"))),
            (Some("127.0.0.1:9"), chosen(Some(false), None), (false, at("127.0.0.1:9"))),
            (Some("127.0.0.1:9"), chosen(Some(true), Some(22)), (true, at("127.0.0.1:9"))),
        ] {
            assert_eq!(wanted(&way(configured), &chosen), expected, "{chosen:?}");
        }
    }

    #[test]
    fn a_port_that_is_anothers_is_not_taken_and_stays_where_it_was() {
        for (port, before, expected) in [
            (22, None, true),
            (8443, Some(22), true),
            (443, None, false),
            (80, Some(22), false),
            (443, Some(443), true),
            (80, Some(443), false),
        ] {
            assert_eq!(way(None).takes(port, before), expected, "{port} {before:?}");
        }
    }

    #[test]
    fn what_was_chosen_before_it_was_anothers_yields_and_the_configuration_does_not() {
        let yields = |way: Way, text: &str| way.yields(text.parse().unwrap());
        let why = yields(way(None), "[::]:443").expect("it is another's");
        assert_eq!(why, "port 443 is another daemon's: choose another port for Doors");
        assert!(yields(way(None), "0.0.0.0:80").is_some());
        for port in [0, 22, 2200] {
            assert_eq!(yields(way(None), &format!("[::]:{port}")), None, "{port}");
        }
        assert_eq!(yields(way(Some("[::]:443")), "[::]:443"), None);
        // So does the usual one.
        let usual = Way { others: &[2200], ..way(None) };
        assert!(yields(usual, "[::]:2200").is_some());
    }

    #[test]
    fn what_another_release_has_stored_is_read_as_far_as_it_is_known() {
        let chosen: Chosen = serde_json::from_str(r#"{"enabled":true,"newer":1}"#).unwrap();
        assert_eq!(chosen, Chosen { enabled: Some(true), port: None });
    }

    #[test]
    fn what_was_stored_before_values_were_lost_is_not_what_was_stored_last() {
        for (revision, lost_at, expected) in [
            (None, None, false),
            (Some(1), None, false),
            (None, Some(2), true),
            (Some(1), Some(2), true),
            (Some(3), Some(2), false),
            (Some(3), Some(u64::MAX), true),
        ] {
            assert_eq!(may_be_older(revision, lost_at), expected, "{revision:?} {lost_at:?}");
        }
    }

    #[tokio::test]
    async fn a_port_that_cannot_be_had_says_what_helps_and_is_not_asked_for_before_all_is_there() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let ready = || std::future::ready(Ok(()));
        let why = open(ready(), way(None), address).await.unwrap_err();
        assert!(
            why.starts_with(&format!("cannot listen for Doors at {address}"))
                && why.ends_with(": another program has this port"),
            "{why}"
        );
        drop(taken);
        let why = open(std::future::ready(Err("no key".to_owned())), way(None), address).await.unwrap_err();
        assert_eq!(why, "no key");
        let listener = open(ready(), way(None), address).await.unwrap();
        assert_eq!(listener.local_addr().unwrap(), address);
    }
}
