//! What is changed of the configuration while the controller runs: stored, and counted before what the configuration says. Pure, but for its file.
//!
//! ```text
//!   ChangeNetwork ──► Book ─┬─► names, name and time servers: stored, then answered, then in force
//!                           └─► another IPv4 address: on trial ─┬─ ConfirmNetwork ─► stored, then answered
//!                                                               └─ time is over, or a restart ─► as it was before
//! ```
//!
//! Terms. *On trial*: in force and not stored, so that nobody cuts himself off for good.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use ipc::{BadFields, Status};
use ipnet::Ipv4Net;
use schema::v1alpha1::{ChangeNetworkRequest, FixedIpv4};
use serde::{Deserialize, Serialize};
use service::{Folder, Unusable, read_summed, to_summed};
use units::{Millis, Mono};

use crate::config::{self, Config, Ipv4};

/// Until the answer to who asked for another address has left over the old one.
const SETTLE: Millis = Millis::from_secs(1);
/// The file.
pub(crate) const FILE: &str = "changes.json";
/// Longest file that is read, bytes: an interface takes some 200.
const FILE_MAX: usize = 64 * 1024;

/// What counts before the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Changes {
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<String>,
    /// Time servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    ntp: Option<Vec<String>>,
    /// Whether time servers are asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<bool>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    interfaces: BTreeMap<String, Changed>,
}

/// Of one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Changed {
    #[serde(skip_serializing_if = "Option::is_none")]
    ipv4: Option<Source>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dns: Option<Vec<IpAddr>>,
}

/// Where an IPv4 address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Source {
    Dhcp,
    Fixed { address: Ipv4Net, gateway: Option<Ipv4Addr> },
}

impl From<Source> for Ipv4 {
    fn from(source: Source) -> Self {
        match source {
            Source::Dhcp => Self::Dhcp,
            Source::Fixed { address, gateway } => Self::Static { address, gateway },
        }
    }
}

impl Changes {
    /// The configuration with these changes. Interfaces that are not configured any more are left out.
    pub(crate) fn on(&self, base: &Config) -> Config {
        let mut config = base.clone();
        if let Some(name) = &self.hostname {
            config.hostname = Some(name.clone());
        }
        if let Some(domain) = &self.domain {
            config.domain = Some(domain.clone());
        }
        if let Some(servers) = &self.ntp {
            config.time.ntp.clone_from(servers);
        }
        config.time.enabled = self.time.unwrap_or(config.time.enabled);
        for (name, changed) in &self.interfaces {
            let Some(interface) = config.interfaces.get_mut(name) else { continue };
            if let Some(source) = changed.ipv4 {
                interface.ipv4 = source.into();
            }
            if let Some(dns) = &changed.dns {
                interface.dns.clone_from(dns);
            }
        }
        config
    }
}

/// What a change comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is so already.
    Same,
    /// These are to be stored, and in force once they are: [`Book::stored`].
    Store(Changes),
    /// It is on trial until this moment.
    Tried(Mono),
}

/// A change that is not stored.
#[derive(Clone, Debug)]
struct Tried {
    changes: Changes,
    interface: String,
    /// In force from then on, and until then.
    from: Mono,
    until: Mono,
}

/// What is changed, and what is tried.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    stored: Changes,
    tried: Option<Tried>,
    /// What was in force when another address was asked for last, and until when it still is: the answer leaves over that address.
    leaving: Option<(Changes, Mono)>,
}

impl Book {
    /// What an earlier run has stored.
    pub(crate) fn new(stored: Changes) -> Self {
        Self { stored, ..Self::default() }
    }

    /// What is in force now.
    pub(crate) fn in_force(&self, now: Mono) -> &Changes {
        match (&self.leaving, &self.tried) {
            (Some((was, until)), _) if now < *until => was,
            (_, Some(tried)) => &tried.changes,
            (_, None) => &self.stored,
        }
    }

    /// When [`Book::due`] has something to do, after which [`Book::in_force`] is another one. It stays until that is called, however late.
    pub(crate) fn deadline(&self) -> Option<Mono> {
        self.leaving.as_ref().map(|(_, until)| *until).or(self.trial_ends())
    }

    /// Whether what is in force changes by itself.
    pub(crate) fn is_moving(&self) -> bool {
        self.deadline().is_some()
    }

    /// When the change on trial is taken back.
    pub(crate) fn trial_ends(&self) -> Option<Mono> {
        self.tried.as_ref().map(|tried| tried.until)
    }

    /// The interface whose trial is over now, if one is: as it was before.
    pub(crate) fn due(&mut self, now: Mono) -> Option<String> {
        self.leaving.take_if(|(_, until)| *until <= now);
        self.tried.take_if(|tried| tried.until <= now).map(|tried| tried.interface)
    }

    /// A change is asked for; `trial` is how long one may stay unconfirmed, none for not at all.
    ///
    /// # Errors
    /// `NOT_FOUND` for an interface that is not configured, `INVALID_ARGUMENT` naming each field that cannot be, `FAILED_PRECONDITION` where it does not fit
    /// the configuration and, with the reason `NETWORK_ON_TRIAL`, for anything else than the address that is on trial.
    pub(crate) fn change(
        &mut self,
        now: Mono,
        base: &Config,
        request: &ChangeNetworkRequest,
        trial: Option<Millis>,
    ) -> Result<Outcome, Status> {
        let before = self.tried.as_ref().map_or(&self.stored, |tried| &tried.changes);
        let changes = changed(before, base, request)?;
        if changes == *before {
            return Ok(self.trial_ends().map_or(Outcome::Same, Outcome::Tried));
        }
        let moved = |other: &Changes| {
            // As it comes to be: what is asked for and configured already moves nobody.
            let ipv4 =
                |changes: &Changes| changes.on(base).interfaces.get(&request.interface).map(|of| of.ipv4);
            ipv4(&changes) != ipv4(other)
        };
        let from = now.saturating_add(SETTLE);
        let leaving = Some((self.in_force(now).clone(), from));
        match (&self.tried, trial) {
            // Another try, or back: the way back is the same.
            (Some(tried), _) if tried.interface != request.interface || !moved(before) => {
                let text =
                    "another IPv4 address is on trial: confirm it first, or wait until it is taken back";
                Err(Status::failed_precondition(text).with_reason("NETWORK_ON_TRIAL"))
            }
            (Some(_), _) if changes == self.stored => {
                (self.tried, self.leaving) = (None, leaving);
                Ok(Outcome::Same)
            }
            (_, Some(trial)) if moved(&self.stored) => {
                let until = from.saturating_add(trial);
                self.tried = Some(Tried { changes, interface: request.interface.clone(), from, until });
                self.leaving = leaving;
                Ok(Outcome::Tried(until))
            }
            // Back to what is in force without the trial, in other words.
            (Some(_), _) => {
                self.leaving = leaving;
                Ok(Outcome::Store(changes))
            }
            (None, _) => Ok(Outcome::Store(changes)),
        }
    }

    /// What is to be stored so that the change on trial stays: [`Book::stored`] then says that it is. None while nothing is, and where `reached` says that who
    /// confirms has come by another way than the interface's addresses.
    pub(crate) fn confirmed(&self, now: Mono, reached: impl Fn(&str) -> bool) -> Option<Changes> {
        let tried = self.tried.as_ref()?;
        (tried.from <= now && reached(&tried.interface)).then(|| tried.changes.clone())
    }

    /// These are on the medium.
    pub(crate) fn stored(&mut self, changes: Changes) {
        // Whatever was on trial is in them, or was given up for them.
        (self.tried, self.stored) = (None, changes);
    }
}

/// What is changed after this request: all of it, or nothing.
///
/// # Errors
/// `INVALID_ARGUMENT` naming each field that cannot be; `NOT_FOUND` for an interface that is not configured; `FAILED_PRECONDITION` where it does not fit the
/// configuration.
fn changed(before: &Changes, base: &Config, request: &ChangeNetworkRequest) -> Result<Changes, Status> {
    let mut changes = before.clone();
    let mut bad = BadFields::default();
    if let Some(name) = &request.host_name {
        changes.hostname = (!name.is_empty()).then(|| name.clone());
        let found = changes.hostname.as_deref().map_or(Ok(()), config::check_host_name);
        bad.take("host_name", found);
    }
    if let Some(domain) = &request.domain {
        changes.domain = (!domain.is_empty()).then(|| domain.clone());
        let found = changes.domain.as_deref().map_or(Ok(()), config::check_domain);
        bad.take("domain", found);
    }
    if let Some(time) = &request.time_servers {
        changes.ntp = Some(time.servers.clone());
        for (nth, server) in time.servers.iter().enumerate() {
            bad.take(&format!("time_servers.servers[{nth}]"), config::check_time_server(server));
        }
        bad.take("time_servers.servers", config::check_time_servers(&time.servers));
    }
    changes.time = request.time_enabled.or(changes.time);
    let source = match (request.dhcp4, &request.fixed4) {
        (true, Some(_)) => {
            let why = "an address is either fixed or asked of DHCP: give one of dhcp4 and fixed4";
            bad.add("dhcp4", why);
            bad.add("fixed4", why);
            None
        }
        (true, None) => Some(Source::Dhcp),
        (false, Some(fixed)) => fixed_source(&mut bad, fixed),
        (false, None) => None,
    };
    let dns = request.name_servers.as_ref().map(|servers| name_servers(&mut bad, &servers.addresses));
    bad.check()?;
    if source.is_some() || dns.is_some() {
        if !base.interfaces.contains_key(&request.interface) {
            return Err(Status::no_such(
                "interface",
                &request.interface,
                base.interfaces.keys().map(String::as_str),
            ));
        }
        let of = changes.interfaces.entry(request.interface.clone()).or_default();
        of.ipv4 = source.or(of.ipv4);
        of.dns = dns.or_else(|| of.dns.take());
    }
    let fits = changes.on(base).check();
    fits.map_err(|error| Status::failed_precondition(format!("it does not fit the configuration: {error}")))?;
    Ok(changes)
}

/// The name servers that are asked for, as far as they are addresses.
fn name_servers(bad: &mut BadFields, addresses: &[String]) -> Vec<IpAddr> {
    const FIELD: &str = "name_servers.addresses";
    let mut servers = Vec::with_capacity(addresses.len());
    for (nth, text) in addresses.iter().enumerate() {
        let found = text.parse::<IpAddr>().map_err(|_| format!("{text:?} is no address"));
        servers.extend(bad.take(&format!("{FIELD}[{nth}]"), found));
    }
    bad.take(FIELD, config::check_servers(&servers));
    servers
}

/// The address that is asked for, where it is one.
fn fixed_source(bad: &mut BadFields, fixed: &FixedIpv4) -> Option<Source> {
    const ADDRESS: &str = "fixed4.address";
    const GATEWAY: &str = "fixed4.gateway";
    let no_address = |_| format!("{:?} is no IPv4 address with the length of its prefix", fixed.address);
    let address = bad.take(ADDRESS, fixed.address.parse::<Ipv4Net>().map_err(no_address));
    let gateway = match fixed.gateway.as_str() {
        "" => Some(None),
        text => {
            let no_gateway = |_| format!("{text:?} is no IPv4 address");
            bad.take(GATEWAY, text.parse::<Ipv4Addr>().map_err(no_gateway)).map(Some)
        }
    };
    let (address, gateway) = (address?, gateway?);
    bad.take(ADDRESS, config::check_address4(address));
    if let Some(gateway) = gateway {
        // One that is on no link of the interface would be asked for there all the same; nobody means that.
        let is_near = address.contains(&gateway);
        let found = config::check_gateway4(gateway, address);
        let far = || Err(format!("is not in the network of {address}"));
        bad.take(GATEWAY, found.and_then(|()| if is_near { Ok(()) } else { far() }));
    }
    Some(Source::Fixed { address, gateway })
}

/// What is stored, and the configuration `base` with it. Nothing where there is nothing.
///
/// # Errors
/// What is wrong with the file: the configuration counts then. One that does not fit it counts as damaged.
fn load(state_dir: &Path, base: &Config) -> Result<(Changes, Config), Unusable> {
    let stored: Changes = read_summed(state_dir, FILE, FILE_MAX)?;
    let config = stored.on(base);
    // The configuration may have been changed since.
    let fits = config.check();
    fits.map_err(|error| Unusable::Damaged(format!("it does not fit the configuration: {error}")))?;
    Ok((stored, config))
}

/// The file, and what is known of it: what cannot be read now is not written over, and what is damaged is kept aside before.
#[derive(Debug)]
pub(crate) struct Stored {
    state_dir: PathBuf,
    /// Why it does not count, where it does not.
    unusable: Option<Unusable>,
}

impl Stored {
    /// Reads it: with what is stored, and the configuration `base` with that. Where it cannot be used, nothing and `base`: [`Stored::unusable`] says why.
    pub(crate) fn open(state_dir: &Path, base: &Config) -> (Self, Changes, Config) {
        let (found, unusable) = match load(state_dir, base) {
            Ok(found) => (found, None),
            Err(unusable) => ((Changes::default(), base.clone()), Some(unusable)),
        };
        (Self { state_dir: state_dir.to_owned(), unusable }, found.0, found.1)
    }

    /// Why it does not count, where it does not.
    pub(crate) fn unusable(&self) -> Option<&Unusable> {
        self.unusable.as_ref()
    }

    /// Reads what could not be read until now, which comes before any change: then what was stored is known. None where it is already, and where the file
    /// turns out to be damaged.
    ///
    /// # Errors
    /// `UNAVAILABLE` with the reason `STORE_FAILED` while it cannot be read.
    pub(crate) fn read_at_last(&mut self, base: &Config) -> Result<Option<Changes>, Status> {
        if !matches!(self.unusable, Some(Unusable::Unread(_))) {
            return Ok(None);
        }
        match load(&self.state_dir, base) {
            Ok((stored, _)) => {
                tracing::info!(file = FILE, "stored network changes can be read again");
                self.unusable = None;
                Ok(Some(stored))
            }
            Err(Unusable::Unread(what)) => {
                let text =
                    format!("what was changed before cannot be read now, and is not written over: {what}");
                Err(Status::unavailable(text).with_reason("STORE_FAILED"))
            }
            Err(damaged) => {
                tracing::error!(file = FILE, what = %damaged, "stored network changes are damaged");
                self.unusable = Some(damaged);
                Ok(None)
            }
        }
    }

    /// Stores it; what is damaged is kept aside before.
    ///
    /// # Errors
    /// `UNAVAILABLE` when the medium refuses, and while what was stored cannot be read ([`Stored::read_at_last`]); what was stored before is there still.
    pub(crate) fn save(&mut self, changes: &Changes) -> Result<(), Status> {
        let bytes = to_summed(changes).map_err(|error| Status::internal(error.to_string()))?;
        let stored = Folder::create(&self.state_dir).and_then(|folder| {
            match &self.unusable {
                None => {}
                Some(Unusable::Damaged(_)) => folder.keep_aside(FILE, FILE_MAX)?,
                Some(Unusable::Unread(what)) => return Err(std::io::Error::other(what.clone())),
            }
            folder.replace_decidedly(FILE, &bytes, 0o600)
        });
        stored.map_err(|error| {
            tracing::error!(%error, "cannot store network changes");
            Status::unavailable(format!("the change cannot be stored: {error}")).with_reason("STORE_FAILED")
        })?;
        self.unusable = None;
        Ok(())
    }
}

/// The address of an interface that is configured, for who asks.
pub(crate) fn fixed(ipv4: Ipv4) -> Option<FixedIpv4> {
    match ipv4 {
        Ipv4::Static { address, gateway } => Some(FixedIpv4 {
            address: address.to_string(),
            gateway: gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        }),
        Ipv4::Dhcp | Ipv4::Off => None,
    }
}

/// What a change is, for people.
pub(crate) fn told(request: &ChangeNetworkRequest) -> String {
    let mut parts = Vec::new();
    if request.dhcp4 {
        parts.push("IPv4 by DHCP".to_owned());
    }
    if let Some(fixed) = &request.fixed4 {
        let by = if fixed.gateway.is_empty() { String::new() } else { format!(" by {}", fixed.gateway) };
        parts.push(format!("IPv4 {}{by}", fixed.address));
    }
    if let Some(servers) = &request.name_servers {
        parts.push(format!("name servers {}", servers.addresses.join(" ")));
    }
    if let Some(name) = &request.host_name {
        parts.push(format!("host name {name}"));
    }
    if let Some(domain) = &request.domain {
        parts.push(format!("domain {domain}"));
    }
    if let Some(time) = &request.time_servers {
        let servers = if time.servers.is_empty() { "none".to_owned() } else { time.servers.join(" ") };
        parts.push(format!("time servers {servers}"));
    }
    if let Some(enabled) = request.time_enabled {
        parts.push(if enabled { "time servers are asked" } else { "no time server is asked" }.to_owned());
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Interface;
    use proptest::prelude::*;
    use schema::v1alpha1::{NameServers, TimeServers};

    const TRIAL: Option<Millis> = Some(Millis::from_secs(120));

    fn base() -> Config {
        let interfaces = ["eth0", "eth1"].map(|name| (name.to_owned(), Interface::default()));
        Config { interfaces: interfaces.into(), ..Config::default() }
    }

    fn at(secs: u64) -> Mono {
        Mono::from_millis(secs * 1000)
    }

    fn fixed4(interface: &str, address: &str, gateway: &str) -> ChangeNetworkRequest {
        let fixed4 = Some(FixedIpv4 { address: address.into(), gateway: gateway.into() });
        ChangeNetworkRequest { interface: interface.into(), fixed4, ..Default::default() }
    }

    fn name(name: &str) -> ChangeNetworkRequest {
        ChangeNetworkRequest { host_name: Some(name.into()), ..Default::default() }
    }

    #[test]
    fn another_address_is_on_trial_and_taken_back_unless_it_is_confirmed() {
        let mut book = Book::default();
        let wanted = fixed4("eth0", "192.0.2.9/24", "192.0.2.1");
        let outcome = book.change(at(0), &base(), &wanted, TRIAL).unwrap();
        assert_eq!(outcome, Outcome::Tried(at(121)));
        // The answer leaves over the old address.
        assert_eq!((book.in_force(at(0)), book.deadline()), (&Changes::default(), Some(at(1))));
        assert_eq!(book.confirmed(at(0), |_| true), None, "nobody has seen it yet");
        let ipv4 = |book: &Book, now| book.in_force(now).on(&base()).interfaces["eth0"].ipv4;
        assert!(matches!(ipv4(&book, at(1)), Ipv4::Static { .. }));
        // Asked for once more, it is the same trial.
        assert_eq!(book.change(at(50), &base(), &wanted, TRIAL), Ok(Outcome::Tried(at(121))));
        assert_eq!((book.due(at(120)), book.deadline()), (None, Some(at(121))));
        assert_eq!(book.due(at(121)).as_deref(), Some("eth0"));
        assert_eq!((ipv4(&book, at(121)), book.trial_ends()), (Ipv4::Dhcp, None));
        // Confirmed by who came in at the interface.
        book.change(at(200), &base(), &wanted, TRIAL).unwrap();
        assert_eq!(book.confirmed(at(202), |interface| interface == "eth1"), None);
        let changes = book.confirmed(at(202), |interface| interface == "eth0").unwrap();
        assert!(book.trial_ends().is_some(), "it is not stored yet");
        book.stored(changes);
        assert_eq!((book.due(at(999)), book.trial_ends()), (None, None));
        assert!(matches!(ipv4(&book, at(999)), Ipv4::Static { .. }));
        assert_eq!(book.change(at(999), &base(), &wanted, TRIAL), Ok(Outcome::Same));
    }

    #[test]
    fn names_hold_at_once_and_only_an_address_is_tried() {
        let mut book = Book::default();
        let Ok(Outcome::Store(changes)) = book.change(at(0), &base(), &name("bmc-7"), TRIAL) else {
            panic!()
        };
        assert_eq!(book.in_force(at(0)), &Changes::default(), "not before it is stored");
        book.stored(changes);
        assert_eq!(book.in_force(at(0)).on(&base()).hostname.as_deref(), Some("bmc-7"));
        book.change(at(0), &base(), &fixed4("eth0", "192.0.2.9/24", ""), TRIAL).unwrap();
        for other in [name("bmc-8"), fixed4("eth1", "198.51.100.9/24", "")] {
            let refused = book.change(at(5), &base(), &other, TRIAL).unwrap_err();
            assert_eq!(refused.reason(), "NETWORK_ON_TRIAL");
        }
        // Another try of the same, and back to what was: the way back leads to what is stored.
        let again = book.change(at(10), &base(), &fixed4("eth0", "192.0.2.10/24", ""), TRIAL).unwrap();
        assert_eq!(again, Outcome::Tried(at(131)));
        // Until the answer is out, the address stays by which it was asked for: the first one, not the stored one.
        let address = |book: &Book, now| match book.in_force(now).on(&base()).interfaces["eth0"].ipv4 {
            Ipv4::Static { address, .. } => address.to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!((address(&book, at(10)), book.deadline()), ("192.0.2.9/24".into(), Some(at(11))));
        assert_eq!((book.due(at(11)), address(&book, at(11))), (None, "192.0.2.10/24".into()));
        // Back, in the words of what is configured.
        let dhcp = ChangeNetworkRequest { interface: "eth0".into(), dhcp4: true, ..Default::default() };
        let Ok(Outcome::Store(changes)) = book.change(at(20), &base(), &dhcp, TRIAL) else { panic!() };
        book.stored(changes);
        assert_eq!((address(&book, at(20)), book.trial_ends()), ("192.0.2.10/24".into(), None));
        assert_eq!((book.due(at(21)), address(&book, at(21)), book.deadline()), (None, "Dhcp".into(), None));
        // Where trials are off all holds at once.
        let mut book = Book::default();
        let outcome = book.change(at(0), &base(), &fixed4("eth0", "192.0.2.9/24", ""), None).unwrap();
        assert!(matches!(outcome, Outcome::Store(_)));
    }

    fn time(servers: &[&str]) -> ChangeNetworkRequest {
        let servers = servers.iter().map(|one| (*one).to_owned()).collect();
        ChangeNetworkRequest { time_servers: Some(TimeServers { servers }), ..Default::default() }
    }

    #[test]
    fn time_servers_hold_at_once_in_place_of_the_configured_ones() {
        let mut base = base();
        base.time.ntp = vec!["192.0.2.123".into()];
        let mut book = Book::default();
        let mut ask = |request: &ChangeNetworkRequest| {
            match book.change(at(0), &base, request, TRIAL) {
                Ok(Outcome::Store(changes)) => book.stored(changes),
                other => assert_eq!(other, Ok(Outcome::Same)),
            }
            let time = book.in_force(at(0)).on(&base).time;
            (time.enabled, time.ntp)
        };
        let off = ChangeNetworkRequest { time_enabled: Some(false), ..Default::default() };
        let on = ChangeNetworkRequest { time_enabled: Some(true), ..Default::default() };
        // Who is asked is known while nobody is.
        assert_eq!(ask(&off), (false, vec!["192.0.2.123".to_owned()]));
        let two = ["ntp.example".to_owned(), "2001:db8::123".to_owned()];
        assert_eq!(ask(&time(&["ntp.example", "2001:db8::123"])), (false, two.to_vec()));
        assert_eq!(ask(&on), (true, two.to_vec()));
        assert_eq!(ask(&time(&[])), (true, Vec::new()), "those of leases alone");
        assert_eq!(ask(&ChangeNetworkRequest::default()), (true, Vec::new()), "what is not said stays");
        assert_eq!(told(&time(&[])), "time servers none");
        assert_eq!(told(&off), "no time server is asked");
    }

    #[test]
    fn an_address_that_is_in_force_already_is_not_tried() {
        let mut book = Book::default();
        let form = ChangeNetworkRequest {
            interface: "eth0".into(),
            dhcp4: true,
            host_name: Some("bmc7".into()),
            name_servers: Some(NameServers { addresses: vec!["192.0.2.53".into()] }),
            ..Default::default()
        };
        let Ok(Outcome::Store(changes)) = book.change(at(0), &base(), &form, TRIAL) else { panic!() };
        book.stored(changes);
        let config = book.in_force(at(0)).on(&base());
        assert_eq!((config.hostname.as_deref(), book.deadline()), (Some("bmc7"), None));
        assert_eq!(book.change(at(0), &base(), &form, TRIAL), Ok(Outcome::Same));
    }

    #[test]
    fn what_cannot_be_is_refused_and_changes_nothing() {
        let servers = |list: &[&str]| ChangeNetworkRequest {
            interface: "eth0".into(),
            name_servers: Some(NameServers { addresses: list.iter().map(|one| (*one).into()).collect() }),
            ..Default::default()
        };
        let both = ChangeNetworkRequest { dhcp4: true, ..fixed4("eth0", "192.0.2.9/24", "") };
        let all = ChangeNetworkRequest {
            host_name: Some("a b".into()),
            domain: Some("a b".into()),
            name_servers: servers(&["1.1.1.1", "x", ""]).name_servers,
            ..fixed4("eth0", "192.0.2.9", "x")
        };
        let domain = ChangeNetworkRequest { domain: Some("a b".into()), ..Default::default() };
        for (request, wrong) in [
            (fixed4("eth0", "192.0.2.9", ""), &["fixed4.address"][..]),
            (fixed4("eth7", "192.0.2.9/24", ""), &[]),
            (fixed4("eth0", "192.0.2.255/24", ""), &["fixed4.address"]),
            (fixed4("eth0", "224.0.0.1/24", ""), &["fixed4.address"]),
            (fixed4("eth0", "192.0.2.9/24", "198.51.100.1"), &["fixed4.gateway"]),
            (fixed4("eth0", "192.0.2.9/24", "192.0.2.9"), &["fixed4.gateway"]),
            (fixed4("eth0", "192.0.2.9/24", "x"), &["fixed4.gateway"]),
            (fixed4("eth0", "192.0.2.255/24", "198.51.100.1"), &["fixed4.address", "fixed4.gateway"]),
            (both, &["dhcp4", "fixed4"]),
            (name("a b"), &["host_name"]),
            (name("a.b"), &["host_name"]),
            (domain, &["domain"]),
            (servers(&["x"]), &["name_servers.addresses[0]"]),
            (servers(&["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4"]), &["name_servers.addresses"]),
            (
                all,
                &[
                    "host_name",
                    "domain",
                    "fixed4.address",
                    "fixed4.gateway",
                    "name_servers.addresses[1]",
                    "name_servers.addresses[2]",
                ],
            ),
            (time(&["a b"]), &["time_servers.servers[0]"]),
            (time(&["a", "b", "c", "d", "e"]), &["time_servers.servers"]),
        ] {
            let mut book = Book::default();
            let refused = book.change(at(0), &base(), &request, TRIAL).unwrap_err();
            let code = if wrong.is_empty() { ipc::Code::NotFound } else { ipc::Code::InvalidArgument };
            assert_eq!(refused.code, code, "{request:?}: {refused}");
            let fields: Vec<String> = refused.fields().into_iter().map(|(field, _)| field).collect();
            assert_eq!(fields, wrong, "{request:?}: {refused}");
            assert_eq!((book.in_force(at(9)), book.trial_ends()), (&Changes::default(), None), "{request:?}");
        }
    }

    #[test]
    fn what_is_stored_is_read_again_and_what_is_damaged_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let load = |state: &Path| super::load(state, &base()).map(|(changes, _)| changes);
        let save = |changes: &Changes| Stored::open(&state, &base()).0.save(changes);
        assert_eq!(load(&state), Ok(Changes::default()));
        let mut book = Book::default();
        let mut request = fixed4("eth0", "192.0.2.9/24", "192.0.2.1");
        request.name_servers = Some(NameServers { addresses: vec!["2001:db8::53".into()] });
        request.domain = Some("rack.example".into());
        request.time_servers = time(&["ntp.example"]).time_servers;
        request.time_enabled = Some(false);
        let Ok(Outcome::Store(changes)) = book.change(at(0), &base(), &request, None) else { panic!() };
        save(&changes).unwrap();
        assert_eq!(load(&state).as_ref(), Ok(&changes));
        let path = state.join(FILE);
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut turned = whole.clone();
            turned[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, turned).unwrap();
            assert!(load(&state).is_err(), "bit {bit}");
        }
        for damaged in ["{\"interfaces\":{\"eth0\":{\"ipv4\":7}}}", "{\"hostmame\":\"bmc\"}"] {
            std::fs::write(&path, damaged).unwrap();
            assert!(load(&state).is_err(), "{damaged}");
        }
        // The release before knows no sum: it reads this one, and is read.
        assert_eq!(serde_json::from_slice::<Changes>(&whole).unwrap(), changes);
        std::fs::write(&path, serde_json::to_vec(&changes).unwrap()).unwrap();
        assert_eq!(load(&state).as_ref(), Ok(&changes));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(load(&state).is_err(), "a folder in its place");
        save(&changes).unwrap();
        assert_eq!(load(&state), Ok(changes));
    }

    /// With this host name alone.
    fn named(name: &str) -> Changes {
        Changes { hostname: Some(name.into()), ..Changes::default() }
    }

    #[test]
    fn what_is_damaged_is_kept_aside_before_the_first_change_is_stored_and_once() {
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::tempdir().unwrap();
        let at = |file: &str| dir.path().join(file);
        // Also what does not fit the configuration: it may come back.
        let unfit = to_summed(&named("a b")).unwrap();
        for (aside, damaged) in [("changes.json.damaged", b"{".to_vec()), ("changes.json.2.damaged", unfit)] {
            std::fs::write(at(FILE), &damaged).unwrap();
            let (mut stored, changes, config) = Stored::open(dir.path(), &base());
            assert_eq!((&changes, &config), (&Changes::default(), &base()));
            assert!(matches!(stored.unusable(), Some(Unusable::Damaged(_))), "{stored:?}");
            assert_eq!(stored.read_at_last(&base()), Ok(None));
            assert_eq!(std::fs::read(at(FILE)).unwrap(), damaged, "until something is stored it stays");
            for name in ["bmc-1", "bmc-2"] {
                stored.save(&named(name)).unwrap();
                assert!(stored.unusable().is_none());
                assert_eq!(Stored::open(dir.path(), &base()).1, named(name));
            }
            assert_eq!(std::fs::read(at(aside)).unwrap(), damaged);
            let mode = std::fs::metadata(at(aside)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3, "the file and what was put aside");
    }

    #[test]
    fn what_cannot_be_read_is_not_written_over_and_counts_when_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        for (later, found) in [(Some("bmc-1"), Some(named("bmc-1"))), (None, None)] {
            // No folder: so it is not given whoever runs this, as by a medium that fails.
            std::fs::write(&state, "").unwrap();
            let (mut stored, changes, _) = Stored::open(&state, &base());
            assert_eq!(changes, Changes::default());
            assert!(matches!(stored.unusable(), Some(Unusable::Unread(_))), "{stored:?}");
            for refused in [stored.read_at_last(&base()).unwrap_err(), stored.save(&named("x")).unwrap_err()]
            {
                assert_eq!(
                    (refused.code, refused.reason().as_str()),
                    (ipc::Code::Unavailable, "STORE_FAILED")
                );
            }
            // It comes back, whole or damaged.
            std::fs::remove_file(&state).unwrap();
            std::fs::create_dir(&state).unwrap();
            let bytes = later.map_or_else(|| b"{".to_vec(), |name| to_summed(&named(name)).unwrap());
            std::fs::write(state.join(FILE), &bytes).unwrap();
            assert!(stored.save(&named("x")).is_err(), "not before it is read");
            assert_eq!(std::fs::read(state.join(FILE)).unwrap(), bytes);
            assert_eq!(stored.read_at_last(&base()), Ok(found));
            assert_eq!(stored.read_at_last(&base()), Ok(None), "once");
            stored.save(&named("bmc-2")).unwrap();
            assert_eq!(state.join("changes.json.damaged").exists(), later.is_none());
            assert_eq!(Stored::open(&state, &base()).1, named("bmc-2"));
            std::fs::remove_dir_all(&state).unwrap();
        }
    }

    proptest! {
        #![proptest_config(crate::tests::cases(256))]
        /// Whatever is asked for, in whatever order: what is stored is only what was confirmed or needs no trial, and without an answer all is as stored.
        #[test]
        fn without_a_confirmation_all_is_as_it_was_stored(
            steps in proptest::collection::vec((0_u64..200, 0_u8..6, 2_u8..20), 1..30),
        ) {
            let mut book = Book::default();
            let (mut now, mut stored) = (0, Changes::default());
            for (wait, what, number) in steps {
                now += wait;
                book.due(at(now));
                let request = match what {
                    0..=2 => fixed4(["eth0", "eth1"][usize::from(what % 2)], &format!("192.0.2.{number}/24"), ""),
                    3 => name(&format!("bmc-{number}")),
                    4 => ChangeNetworkRequest { interface: "eth0".into(), dhcp4: true, ..Default::default() },
                    _ => {
                        if let Some(changes) = book.confirmed(at(now), |_| true) {
                            stored = changes.clone();
                            book.stored(changes);
                        }
                        continue;
                    }
                };
                if let Ok(Outcome::Store(changes)) = book.change(at(now), &base(), &request, TRIAL) {
                    stored = changes.clone();
                    book.stored(changes);
                }
            }
            now += 1000;
            book.due(at(now));
            prop_assert_eq!(book.in_force(at(now)), &stored);
            prop_assert!(book.deadline().is_none());
        }
    }
}
