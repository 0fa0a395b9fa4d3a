//! The daemon's loop.

mod changing;
mod setting;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use ipc::{Outbox, Request};
use prost_types::Timestamp;
use schema::server::NetworkServiceCall as Call;
use schema::v1alpha1::ListNetworkInterfacesResponse;
use service::Context;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use units::{Millis, Mono};

use crate::changes::{Book, Stored};
use crate::config::Config;
use crate::error::{Error, Refused};
use crate::iface::{Action, Iface};
use crate::kernel::{self, Kernel};
use crate::lease_file::{self, Epoch, Kept, KeptInterface};
use crate::sockets::{Packet, Talk};
use crate::sync::{Failed, Sample, Sync, Verdict};
use crate::system::{System, ThisMachine};
use crate::wanted::Wanted;
use crate::{events, names, questions, ra, timeserver, watch, wire4, wire6};

/// Changes come in bursts: look once after the burst.
const SETTLE: Millis = Millis::new(50);
/// Look without a reason, in case a message of the kernel got lost.
const LOOK: Millis = Millis::from_secs(60);
/// Looks in a row that may fail; a dump that the kernel changes meanwhile is one.
const SILENCES: u32 = 3;
/// Packets that wait for the loop; more are dropped.
const PACKETS: usize = 32;
/// Metric of the first interface's routes; the others follow.
const METRIC: u32 = 100;
/// Time a clean stop may take until its last events have left.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// The hardware clock is written at least so often while in sync.
const RTC_EVERY: Millis = Millis::from_secs(6 * 3600);

/// Everything that can wake the loop.
enum Event {
    Stop,
    Beat,
    Changed,
    Packet(Packet),
    Probed(Probed),
    Heard(ra::Heard),
    Time(Result<Sample, Failed>),
    Call(Call<Request>),
    Due,
}

/// What the link said of an IPv4 address on an interface.
struct Probed {
    interface: String,
    address: Ipv4Addr,
    taken: bool,
}

/// Runs the network until the order to stop; then leaves it as it is.
///
/// # Errors
/// For a configuration that cannot be, or a kernel that does not answer; a network that is not there is waited for.
pub async fn run(context: Context) -> Result<(), Error> {
    let machine = ThisMachine::new(context.notify.clone());
    run_on(context, machine).await
}

/// Like [`run`], with another machine's clock and name.
///
/// # Errors
/// As [`run`].
pub async fn run_on(context: Context, system: impl System) -> Result<(), Error> {
    let config: Config = context.config()?;
    config.check()?;
    let kernel = Kernel::open().map_err(Error::Netlink)?;
    if config.observe {
        return watch::run(context, kernel).await;
    }
    let (sender, packets) = mpsc::channel(PACKETS);
    let (routers, heard) = mpsc::channel(PACKETS);
    // A kernel without IPv6 has nothing to hear.
    if let Err(error) = kernel::listen_to_routers(routers) {
        tracing::info!(%error, "cannot listen for router advertisements: DNS servers from RDNSS ignored");
    }
    // The loop waits for no bus: DHCP and the clock go on without one.
    let (outbox, last) = Outbox::new(context.bus.clone());
    let mut net = Net::new(context, config, kernel, system, sender, outbox);
    net.start_clock();
    net.clean_up().await;
    net.look().await.map_err(Error::Silent)?;
    net.serve(packets, heard).await?;
    drop(net);
    let _ = tokio::time::timeout(LAST_WORDS, last).await;
    Ok(())
}

/// One interface with what its machine does not know.
struct Port {
    iface: Iface,
    metric: u32,
    talk4: Option<Talk>,
    talk6: Option<Talk>,
    /// The kernel's last refusal, which is told once and not at every try.
    refusal: String,
}

/// What the loop works with.
struct Net<S> {
    context: Context,
    outbox: Outbox,
    /// What the configuration says, before anything was changed.
    base: Config,
    /// The file of what was changed.
    stored: Stored,
    book: Book,
    /// What is in force.
    config: Config,
    kernel: Kernel,
    system: S,
    ports: BTreeMap<String, Port>,
    /// Left by an earlier run on interfaces that are not configured any more.
    left: BTreeMap<String, KeptInterface>,
    packets: mpsc::Sender<Packet>,
    /// Questions to the links that are under way, at most one for an interface.
    probes: JoinSet<Probed>,
    sync: Sync,
    epoch: Epoch,
    /// What this controller calls itself to DHCPv6 servers; known once an interface is there, and the same until the machine starts anew.
    duid: Vec<u8>,
    look_at: Option<Mono>,
    /// Looks in a row that failed.
    silences: u32,
    rtc_at: Option<Mono>,
    /// What the next start needs, as it is in its file.
    kept: Wanted<Kept>,
    /// The text of the resolver's file.
    resolv: Wanted<String>,
    /// What this machine is to be called, and what it is called.
    hostname: Option<String>,
    named: Wanted<String>,
    status: String,
}

impl<S: System> Net<S> {
    fn new(
        context: Context,
        base: Config,
        kernel: Kernel,
        system: S,
        packets: mpsc::Sender<Packet>,
        outbox: Outbox,
    ) -> Self {
        let now = context.clock.now();
        let (stored, book, config) = changing::begin(&context.state_dir, &base, &context.notify);
        let epoch = Epoch::new(now, system.since_boot());
        let mut kept = lease_file::load(&context.run_dir);
        let mut ports = BTreeMap::new();
        for (metric, (name, interface)) in (METRIC..).zip(&config.interfaces) {
            let before = kept.interfaces.get(name);
            let mut iface = Iface::new(
                name.clone(),
                interface.clone(),
                seed(),
                before.map(|before| before.owned.clone()),
                before.and_then(|before| before.lease4(now, epoch)),
                before.and_then(|before| before.lease6(now, epoch)),
            );
            if let Some(before) = before {
                iface.advertised = before.advertised(now, epoch);
            }
            ports.insert(
                name.clone(),
                Port { iface, metric, talk4: None, talk6: None, refusal: String::new() },
            );
        }
        kept.interfaces
            .retain(|name, before| ports.get(name).is_none_or(|port| port.metric != before.metric));
        let sync = Sync::new(seed(), config.time.floor);
        Self {
            context,
            outbox,
            base,
            stored,
            book,
            config,
            kernel,
            system,
            ports,
            left: kept.interfaces,
            packets,
            probes: JoinSet::new(),
            sync,
            epoch,
            duid: kept.duid,
            look_at: None,
            silences: 0,
            rtc_at: None,
            kept: Wanted::default(),
            resolv: Wanted::default(),
            hostname: None,
            named: Wanted::default(),
            status: String::new(),
        }
    }

    fn now(&self) -> Mono {
        self.context.clock.now()
    }

    async fn serve(
        &mut self,
        mut packets: mpsc::Receiver<Packet>,
        mut routers: mpsc::Receiver<ra::Heard>,
    ) -> Result<(), Error> {
        let mut shutdown = self.context.shutdown.clone();
        let mut beat = self.context.heartbeat();
        let kernel = self.kernel.clone();
        let clock = self.context.clock;
        let mut asked: JoinSet<Result<Sample, Failed>> = JoinSet::new();
        let mut calls = questions::calls(self.context.bus.clone());
        self.context.ready();
        loop {
            let deadline = self.deadline();
            let event = tokio::select! {
                biased;
                () = shutdown.wait() => Event::Stop,
                () = beat.tick() => Event::Beat,
                Some(Ok(probed)) = self.probes.join_next() => Event::Probed(probed),
                Some(answer) = asked.join_next() => {
                    Event::Time(answer.unwrap_or_else(|error| Err(Failed::Other(error.to_string()))))
                }
                () = clock.sleep_until(deadline) => Event::Due,
                () = kernel.changed() => Event::Changed,
                Some(heard) = routers.recv() => Event::Heard(heard),
                Some(packet) = packets.recv() => Event::Packet(packet),
                Some(call) = calls.recv() => Event::Call(call),
            };
            match event {
                Event::Stop => break,
                Event::Beat => {}
                Event::Changed => {
                    let soon = self.now().saturating_add(SETTLE);
                    self.look_at = Some(self.look_at.map_or(soon, |at| at.min(soon)));
                }
                Event::Packet(packet) => self.packet(packet).await,
                Event::Heard(heard) => self.heard(&heard).await,
                Event::Probed(probed) => self.probed(probed).await,
                Event::Time(answer) => self.time(answer),
                Event::Call(call) => self.call(call),
                Event::Due => self.due(&mut asked).await?,
            }
        }
        asked.shutdown().await;
        self.probes.shutdown().await;
        Ok(())
    }

    fn call(&mut self, call: Call<Request>) {
        match call {
            Call::ListNetworkInterfaces(_, reply) => {
                self.outbox.answer(reply, Ok(self.described()));
            }
            Call::ChangeNetwork(request, reply) => {
                let result = self.change(&request, reply.context());
                self.outbox.answer(reply, result);
            }
            Call::ConfirmNetwork(request, reply) => {
                let result = self.confirm(&request, reply.context());
                self.outbox.answer(reply, result);
            }
            Call::SetTime(request, reply) => {
                let result = self.set_time(&request, reply.context());
                self.outbox.answer(reply, result);
            }
        }
    }

    fn described(&self) -> ListNetworkInterfacesResponse {
        let ifaces = || self.ports.values().map(|port| &port.iface);
        let name_servers: Vec<_> = ifaces().flat_map(Iface::dns).collect();
        let domains = names::domains(self.own_domain().chain(ifaces().flat_map(Iface::search)));
        let (now, wall) = (self.now(), self.system.wall());
        ListNetworkInterfacesResponse {
            interfaces: ifaces()
                .map(|iface| events::interface(iface, |at| events::moment(at, now, wall)))
                .collect(),
            host_name: self.hostname.clone().unwrap_or_default(),
            domains: domains.into_iter().map(str::to_owned).collect(),
            name_servers: names::servers(&name_servers).iter().map(ToString::to_string).collect(),
            time_servers: self.sync.servers().to_vec(),
            static_time_servers: self.config.time.ntp.clone(),
            time_source: self.sync.synced().map(|synced| synced.server.clone()).unwrap_or_default(),
            time_offset_us: self.sync.synced().map(|synced| synced.offset_us),
            trial_ends: self.book.trial_ends().map(|at| events::moment(at, now, wall)),
            time_enabled: Some(self.config.time.enabled),
        }
    }

    /// The controller's own domain, where it is configured.
    fn own_domain(&self) -> impl Iterator<Item = &str> {
        self.config.domain.as_deref().into_iter()
    }

    fn deadline(&self) -> Option<Mono> {
        let ports = self.ports.values().filter_map(|port| port.iface.deadline());
        let book = self.book.deadline();
        let tries = [self.kept.deadline(), self.resolv.deadline(), self.named.deadline(), book];
        ports.chain(self.sync.deadline()).chain(self.look_at).chain(tries.into_iter().flatten()).min()
    }

    async fn due(&mut self, asked: &mut JoinSet<Result<Sample, Failed>>) -> Result<(), Error> {
        let now = self.now();
        self.turn_back(now);
        let names: Vec<String> = self.ports.keys().cloned().collect();
        for name in names {
            let mut actions = Vec::new();
            if let Some(port) = self.ports.get_mut(&name) {
                if port.iface.retries(now) {
                    self.look_at = Some(now);
                }
                port.iface.due(now, &mut actions);
            }
            self.act(&name, actions).await;
        }
        if self.look_at.is_some_and(|at| at <= now) {
            match self.look().await {
                Ok(()) => self.silences = 0,
                Err(error) if self.silences < SILENCES => {
                    tracing::warn!(%error, "cannot read interface state from kernel: retrying");
                    self.silences += 1;
                    self.look_at = Some(now.saturating_add(Millis::from_secs(1)));
                }
                Err(error) => return Err(Error::Silent(error)),
            }
        } else {
            self.refresh();
        }
        if self.kept.deadline().is_some_and(|at| at <= now) {
            self.keep();
        }
        if let Some(server) = self.sync.due(now) {
            asked.spawn(async move { timeserver::ask(&server).await });
        }
        Ok(())
    }

    /// Looks at the kernel's state and brings it to what is wanted.
    async fn look(&mut self) -> Result<(), Refused> {
        let metrics = self.ports.iter().map(|(name, port)| (name.clone(), port.metric)).collect();
        let mut seen = self.kernel.look(&metrics).await?;
        let now = self.now();
        self.look_at = Some(now.saturating_add(LOOK));
        for name in metrics.keys() {
            let mut actions = Vec::new();
            if let Some(port) = self.ports.get_mut(name) {
                port.iface.observe(now, seen.remove(name).unwrap_or_default(), &mut actions);
            }
            self.name_client();
            self.act(name, actions).await;
        }
        if self.resolv.there().is_some_and(|text| !names::is_in_file(&self.config.resolv_conf, text)) {
            tracing::info!(path = %self.config.resolv_conf.display(), "resolv.conf changed by another program: rewriting");
            self.resolv.lost();
        }
        self.refresh();
        Ok(())
    }

    /// One name for all interfaces (RFC 8415, 11): made of the hardware address of the first one that is there.
    fn name_client(&mut self) {
        if self.duid.is_empty()
            && let Some(mac) = self.ports.values().find_map(|port| port.iface.mac())
        {
            self.duid = wire6::duid(mac);
            self.keep();
        }
    }

    async fn packet(&mut self, packet: Packet) {
        let now = self.now();
        let mut actions = Vec::new();
        let Some(port) = self.ports.get_mut(&packet.interface) else { return };
        let Some(mac) = port.iface.mac() else { return };
        if packet.six {
            if let Some(message) = wire6::read(&packet.bytes, &wire6::Me::new(self.duid.clone(), mac)) {
                port.iface.received6(now, message, &mut actions);
            }
        } else if let Some(message) = wire4::read(&packet.bytes, mac) {
            port.iface.received4(now, message, &mut actions);
        }
        if !actions.is_empty() {
            self.act(&packet.interface, actions).await;
            self.refresh();
        }
    }

    async fn heard(&mut self, heard: &ra::Heard) {
        let now = self.now();
        let on = |port: &Port| port.iface.seen.link.is_some_and(|link| link.index == heard.index);
        let Some((name, port)) = self.ports.iter_mut().find(|(_, port)| on(port)) else { return };
        let (name, mut actions) = (name.clone(), Vec::new());
        port.iface.heard(now, &heard.option, &mut actions);
        if !actions.is_empty() {
            self.act(&name, actions).await;
            self.refresh();
        }
    }

    async fn probed(&mut self, probed: Probed) {
        let now = self.now();
        let mut actions = Vec::new();
        if let Some(port) = self.ports.get_mut(&probed.interface) {
            port.iface.probed(now, probed.address, probed.taken, &mut actions);
        }
        self.act(&probed.interface, actions).await;
        self.refresh();
    }

    /// Asks the link behind an interface; the answer is an event.
    fn probe(&mut self, name: &str, index: u32, address: Ipv4Addr) {
        let (kernel, interface) = (self.kernel.clone(), name.to_owned());
        self.probes.spawn(async move {
            let taken = kernel.probe(index, address).await.unwrap_or_else(|error| {
                tracing::warn!(%interface, %address, %error, "cannot probe for duplicate address: using it unprobed");
                false
            });
            Probed { interface, address, taken }
        });
    }

    /// Does what the machine of `name` says. What the kernel refuses is tried again later.
    async fn act(&mut self, name: &str, actions: Vec<Action>) {
        for action in actions {
            if let Action::Tell { text, worse } = action {
                self.publish(name, "state", format!("{name}: {text}"), worse);
                continue;
            }
            if action == Action::Keep {
                self.keep();
                continue;
            }
            let Some(port) = self.ports.get_mut(name) else { return };
            let Some(link) = port.iface.seen.link else { return };
            let (index, metric) = (link.index, port.metric);
            let result = match &action {
                Action::Mode6(mode) => kernel::set_mode6(name, *mode).map_err(Refused::Kernel),
                Action::Up => self.kernel.up(index).await,
                Action::Mtu(mtu) => self.kernel.mtu(index, *mtu).await,
                Action::AddAddress(net) => self.kernel.add_address(index, *net).await,
                Action::Life { net, preferred_s, valid_s } => {
                    self.kernel.set_life(index, *net, *preferred_s, *valid_s).await
                }
                Action::DelAddress(net) => self.kernel.del_address(index, *net).await,
                Action::AddRoute { route, on_link } => {
                    self.kernel.add_route(index, *route, metric, *on_link).await
                }
                Action::DelRoute(route) => self.kernel.del_route(index, *route, metric).await,
                Action::Probe(address) => {
                    self.probe(name, index, *address);
                    continue;
                }
                Action::Send4(message) => {
                    let hostname = self.hostname.clone().or_else(|| link.mac.map(names::of_mac));
                    let sent = port.send4(message, hostname.unwrap_or_default(), &self.packets);
                    if let Err(error) = sent {
                        port.talk4 = None;
                        tracing::debug!(interface = name, %error, "a DHCP message was not sent");
                    }
                    continue;
                }
                Action::Send6(message) => {
                    if let Err(error) = port.send6(message, &self.duid, &self.packets) {
                        port.talk6 = None;
                        tracing::debug!(interface = name, %error, "a DHCPv6 message was not sent");
                    }
                    continue;
                }
                Action::Keep | Action::Tell { .. } => continue,
            };
            if let Err(error) = result {
                let refusal = format!("{action:?}: {error}");
                if refusal != port.refusal {
                    tracing::warn!(interface = name, %refusal, "kernel refused network change: retrying every 2 s");
                    port.refusal = refusal;
                }
                let now = self.context.clock.now();
                port.iface.refused(now);
            }
        }
    }

    /// Removes what an earlier run set where nothing is configured any more, or with another metric.
    async fn clean_up(&mut self) {
        let left = std::mem::take(&mut self.left);
        let metrics = left.iter().map(|(name, before)| (name.clone(), before.metric)).collect();
        let seen = match self.kernel.look(&metrics).await {
            Ok(seen) => seen,
            Err(error) => {
                tracing::warn!(%error, "cannot read interfaces: settings of earlier run not cleaned up");
                return;
            }
        };
        for (name, before) in left {
            let Some(link) = seen.get(&name).and_then(|observed| observed.link) else { continue };
            for route in &before.owned.routes {
                if let Err(error) = self.kernel.del_route(link.index, *route, before.metric).await {
                    tracing::warn!(interface = name, %error, "cannot remove stale route");
                }
            }
            match self.ports.get_mut(&name) {
                Some(port) => port.iface.owned.routes.clear(),
                None => {
                    if let Some(mtu) = before.owned.mtu
                        && let Err(error) = self.kernel.mtu(link.index, mtu).await
                    {
                        tracing::warn!(interface = name, %error, "cannot reset MTU of old lease");
                    }
                    for net in &before.owned.addresses {
                        if let Err(error) = self.kernel.del_address(link.index, *net).await {
                            tracing::warn!(interface = name, %error, "cannot remove stale address");
                        }
                    }
                }
            }
        }
        self.keep();
    }

    fn keep(&mut self) {
        let interfaces = self
            .ports
            .iter()
            .map(|(name, port)| (name.clone(), KeptInterface::of(&port.iface, port.metric, self.epoch)));
        let kept = Kept { duid: self.duid.clone(), interfaces: interfaces.collect() };
        let now = self.now();
        if !self.kept.is_due(now, &kept) {
            return;
        }
        match lease_file::save(&self.context.run_dir, &kept) {
            Ok(()) => {
                if let Some(said) = self.kept.done(now, kept) {
                    tracing::info!(times = said.times, lasted = %said.lasts, "network state saved again");
                }
            }
            Err(error) => {
                if let Some(said) = self.kept.refused(now) {
                    tracing::warn!(%error, times = said.times, "cannot save network state: retrying every 2 s");
                }
            }
        }
    }

    /// Brings everything that follows from the interfaces up to date.
    fn refresh(&mut self) {
        let ifaces = || self.ports.values().map(|port| &port.iface);
        let leases = || ifaces().filter_map(Iface::lease4).map(|lease| &lease.terms);
        // The name.
        let name = self.config.hostname.clone();
        let name = name.or_else(|| leases().find_map(|terms| terms.hostname.clone()));
        // A name that came with a lease outlives it: programs have written it into their logs.
        let name = name.or_else(|| self.hostname.clone());
        let name = name.or_else(|| ifaces().find_map(Iface::mac).map(names::of_mac));
        let now = self.now();
        if let Some(name) = &name
            && self.named.is_due(now, name)
        {
            match self.system.set_hostname(name) {
                Ok(()) => {
                    if let Some(said) = self.named.done(now, name.clone()) {
                        tracing::info!(times = said.times, lasted = %said.lasts, name, "host name set again");
                    }
                }
                Err(error) => {
                    if let Some(said) = self.named.refused(now) {
                        tracing::warn!(%error, name, times = said.times, "cannot set host name: retrying every 2 s");
                    }
                }
            }
        }
        self.hostname = name;
        // The resolver.
        let servers: Vec<_> = self.ports.values().flat_map(|port| port.iface.dns()).collect();
        let search = self.ports.values().flat_map(|port| port.iface.search());
        let text = names::resolv_conf(self.own_domain().chain(search), &servers);
        if self.resolv.is_due(now, &text) {
            let path = &self.config.resolv_conf;
            match names::replace_file(path, &text) {
                Ok(()) => {
                    if let Some(said) = self.resolv.done(now, text) {
                        let path = path.display();
                        tracing::info!(%path, times = said.times, lasted = %said.lasts, "resolv.conf written again");
                    }
                }
                Err(error) => {
                    if let Some(said) = self.resolv.refused(now) {
                        let path = path.display();
                        tracing::warn!(%error, %path, times = said.times, "cannot write resolv.conf: retrying every 2 s");
                    }
                }
            }
        }
        // The time.
        let mut ntp: Vec<String> = Vec::new();
        if self.config.time.enabled {
            ntp.clone_from(&self.config.time.ntp);
            if self.config.time.ntp_from_dhcp {
                let leased = self.ports.values().flat_map(|port| port.iface.ntp());
                ntp.extend(leased.map(|server| server.to_string()));
            }
        }
        let usable = self.ports.values().any(|port| port.iface.is_usable());
        self.sync.network(now, ntp, usable);
        // And what is told of it.
        let status = events::status(self.ports.values().map(|port| &port.iface), &self.sync);
        if status != self.status {
            self.context.notify.status(status.clone());
            self.status = status;
        }
    }

    /// A clock that cannot be right is set from the hardware clock, or to the floor.
    fn start_clock(&mut self) {
        let floor = self.config.time.floor;
        let now = unix_secs(self.system.wall());
        if now >= floor {
            return;
        }
        let mut to = floor;
        if let Some(device) = &self.config.time.rtc {
            match self.system.rtc(device) {
                Ok(secs) if secs >= floor => to = secs,
                Ok(secs) => {
                    tracing::warn!(secs, "RTC time implausible (before build floor): ignored")
                }
                Err(error) => {
                    tracing::warn!(%error, device = %device.display(), "cannot read RTC")
                }
            }
        }
        match self.system.set_wall(SystemTime::UNIX_EPOCH + Duration::from_secs(to)) {
            Ok(()) => tracing::info!(from = now, to, "clock implausible at start: set"),
            Err(error) => tracing::warn!(%error, "clock implausible at start and cannot be set"),
        }
    }

    fn time(&mut self, answer: Result<Sample, Failed>) {
        let now = self.now();
        let wall = self.system.wall();
        let wall_us = wall.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_micros());
        let verdict = self.sync.answer(now, i64::try_from(wall_us).unwrap_or(i64::MAX), answer);
        let (offset_us, first, stepped) = match verdict {
            Verdict::Refused(why) => {
                tracing::warn!(%why, "NTP query failed");
                return self.refresh();
            }
            Verdict::Gone => return self.refresh(),
            Verdict::Right { offset_us, first } => (offset_us, first, false),
            Verdict::Step { offset_us, first } => {
                let span = Duration::from_micros(offset_us.unsigned_abs());
                let to = if offset_us < 0 { wall.checked_sub(span) } else { wall.checked_add(span) };
                let set = match to {
                    Some(to) => self.system.set_wall(to),
                    None => Err(std::io::ErrorKind::InvalidInput.into()),
                };
                self.sync.stepped(now, set.is_ok());
                if let Err(error) = set {
                    tracing::warn!(%error, "cannot set clock");
                    return self.refresh();
                }
                (offset_us, first, true)
            }
        };
        let from = self.sync.synced().map(|synced| synced.server.clone()).unwrap_or_default();
        if stepped || first || self.rtc_at.is_none_or(|at| at <= now) {
            self.rtc_at = Some(now.saturating_add(RTC_EVERY));
            // It is tried again then, and said so.
            self.write_rtc().ok();
        }
        if first || stepped {
            let ms = offset_us / 1000;
            let text = if stepped {
                format!("the clock was set by {ms} ms from {from}; it was {}", Timestamp::from(wall))
            } else {
                format!("the clock is right by {from}")
            };
            tracing::info!(offset_ms = ms, server = %from, first, "clock synchronised to NTP");
            let what = if first { "synchronised" } else { "step" };
            self.publish("time", what, text, stepped && Sync::is_far_back(offset_us));
        }
        self.refresh();
    }

    /// Sets the hardware clock, where there is one, by the clock.
    ///
    /// # Errors
    /// What the driver said.
    fn write_rtc(&mut self) -> std::io::Result<()> {
        let Some(device) = self.config.time.rtc.clone() else { return Ok(()) };
        let secs = unix_secs(self.system.wall());
        let written = self.system.set_rtc(&device, secs);
        if let Err(error) = &written {
            tracing::warn!(%error, device = %device.display(), "cannot set RTC");
        }
        written
    }

    fn publish(&self, component: &str, what: &str, message: String, worse: bool) {
        if worse {
            tracing::warn!("{message}");
        } else {
            tracing::info!("{message}");
        }
        self.outbox.event(events::event(self.system.wall(), component, what, message, worse, ("", "")));
    }
}

impl Port {
    fn send4(
        &mut self,
        message: &crate::dhcp4::Outgoing,
        hostname: String,
        packets: &mpsc::Sender<Packet>,
    ) -> std::io::Result<()> {
        let Some(link) = self.iface.seen.link else { return Ok(()) };
        let Some(mac) = link.mac else { return Ok(()) };
        let talk = match self.talk4.take() {
            Some(talk) if talk.index == link.index => self.talk4.insert(talk),
            _ => self.talk4.insert(Talk::four(&self.iface.name, link.index, packets.clone())?),
        };
        let (to, bytes) = wire4::write(&wire4::Me { mac, hostname }, message);
        talk.send4(to, &bytes)
    }

    fn send6(
        &mut self,
        message: &crate::dhcp6::Outgoing,
        duid: &[u8],
        packets: &mpsc::Sender<Packet>,
    ) -> std::io::Result<()> {
        let Some(link) = self.iface.seen.link else { return Ok(()) };
        let (Some(mac), Some(from)) = (link.mac, self.iface.link_local()) else { return Ok(()) };
        let talk = match self.talk6.take() {
            Some(talk) if talk.index == link.index => self.talk6.insert(talk),
            _ => self.talk6.insert(Talk::six(&self.iface.name, link.index, from, packets.clone())?),
        };
        talk.send6(&wire6::write(&wire6::Me::new(duid.to_vec(), mac), message))
    }
}

fn seed() -> u64 {
    let mut bytes = [0; 8];
    // Without random numbers the times of two machines may coincide; nothing else depends on them.
    getrandom::fill(&mut bytes).ok();
    u64::from_ne_bytes(bytes)
}

fn unix_secs(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
