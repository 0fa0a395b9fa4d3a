//! The kernel's network over rtnetlink, and its IPv6 switches in `/proc/sys`: looks, and does what the machine says.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, CacheInfo,
};
use rtnetlink::packet_route::link::{
    AfSpecInet6, AfSpecUnspec, Inet6IfaceFlags, InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo,
    LinkMessage,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{AsyncSocket as _, AsyncSocketExt as _, TokioSocket};
use rtnetlink::{
    AddressMessageBuilder, Handle, LinkUnspec, MulticastGroup, RouteMessageBuilder, new_multicast_connection,
};
use tokio::sync::{Notify, mpsc};

use crate::error::Refused;
use crate::iface::{Address, Hardware, Link, Mode6, Observed};
use crate::ra;
use crate::route::Route;

/// The kernel answers at once or never.
const PATIENCE: Duration = Duration::from_secs(3);
/// RTNLGRP_ND_USEROPT: options of router advertisements that are not for the kernel.
const ND_USEROPT: u32 = 20;
/// A probe ends within this; the kernel asks three times, a second apart, before it says that nobody answers.
const PROBE_WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked whether somebody answered.
const PROBE_LOOK: Duration = Duration::from_millis(100);

/// The connection to the kernel.
#[derive(Clone)]
pub(crate) struct Kernel {
    handle: Handle,
    changed: Arc<Notify>,
}

impl Kernel {
    /// Opens the connection. Changes of links, addresses and routes are told from now on.
    pub(crate) fn open() -> std::io::Result<Self> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ];
        let (connection, handle, mut messages) = new_multicast_connection(&groups)?;
        tokio::spawn(connection);
        let changed = Arc::new(Notify::new());
        let tell = Arc::clone(&changed);
        // What changed is looked up, not read from the message: nothing queues up however much happens, and a lost message loses nothing as
        // long as another one comes.
        tokio::spawn(async move {
            while messages.next().await.is_some() {
                tell.notify_one();
            }
        });
        Ok(Self { handle, changed })
    }

    /// Returns when something may have changed. Safe to cancel.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// How the interfaces in `names` are, each with the metric of its routes.
    pub(crate) async fn look(
        &self,
        names: &BTreeMap<String, u32>,
    ) -> Result<BTreeMap<String, Observed>, Refused> {
        self.dump(|name| names.contains_key(name), |name, metric| names.get(name) == Some(&metric)).await
    }

    /// How all interfaces are, with all routes.
    pub(crate) async fn look_at_all(&self) -> Result<BTreeMap<String, Observed>, Refused> {
        self.dump(|_| true, |_, _| true).await
    }

    /// The interfaces that are wanted by name, with the routes that are wanted by interface and metric.
    async fn dump(
        &self,
        wants: impl Fn(&str) -> bool,
        wants_route: impl Fn(&str, u32) -> bool,
    ) -> Result<BTreeMap<String, Observed>, Refused> {
        patient(async {
            let mut seen: BTreeMap<u32, (String, Observed)> = BTreeMap::new();
            let mut links = self.handle.link().get().execute().boxed();
            while let Some(message) = links.try_next().await? {
                if let Some((name, mut link)) = link(&message)
                    && wants(&name)
                {
                    (link.hardware.speed, link.hardware.full_duplex) = speed(&name);
                    seen.insert(link.index, (name, Observed { link: Some(link), ..Observed::default() }));
                }
            }
            let mut addresses = self.handle.address().get().execute().boxed();
            while let Some(message) = addresses.try_next().await? {
                if let (Some((_, observed)), Some(address)) =
                    (seen.get_mut(&message.header.index), address(&message))
                {
                    observed.addresses.push(address);
                }
            }
            for query in [
                RouteMessageBuilder::<Ipv4Addr>::new().build(),
                RouteMessageBuilder::<Ipv6Addr>::new().build(),
            ] {
                let mut routes = self.handle.route().get(query).execute().boxed();
                while let Some(message) = routes.try_next().await? {
                    let Some((index, route, metric)) = route(&message) else { continue };
                    if let Some((name, observed)) = seen.get_mut(&index)
                        && wants_route(name, metric)
                    {
                        observed.routes.push(route);
                    }
                }
            }
            Ok(seen.into_values().collect())
        })
        .await
    }

    pub(crate) async fn up(&self, index: u32) -> Result<(), Refused> {
        let message = LinkUnspec::new_with_index(index).up().build();
        patient(async { Ok(self.handle.link().set(message).execute().await?) }).await
    }

    pub(crate) async fn mtu(&self, index: u32, mtu: u32) -> Result<(), Refused> {
        let message = LinkUnspec::new_with_index(index).mtu(mtu).build();
        patient(async { Ok(self.handle.link().set(message).execute().await?) }).await
    }

    pub(crate) async fn add_address(&self, index: u32, net: IpNet) -> Result<(), Refused> {
        let request = self.handle.address().add(index, net.addr(), net.prefix_len());
        done(patient(async { Ok(request.execute().await?) }).await)
    }

    /// Says how long an address that is there may be used.
    pub(crate) async fn set_life(
        &self,
        index: u32,
        net: IpNet,
        preferred_s: u32,
        valid_s: u32,
    ) -> Result<(), Refused> {
        let mut request = self.handle.address().add(index, net.addr(), net.prefix_len()).replace();
        let mut life = CacheInfo::default();
        (life.ifa_preferred, life.ifa_valid) = (preferred_s, valid_s);
        request.message_mut().attributes.push(AddressAttribute::CacheInfo(life));
        patient(async { Ok(request.execute().await?) }).await
    }

    pub(crate) async fn del_address(&self, index: u32, net: IpNet) -> Result<(), Refused> {
        let message = match net {
            IpNet::V4(net) => AddressMessageBuilder::<Ipv4Addr>::new()
                .index(index)
                .address(net.addr(), net.prefix_len())
                .build(),
            IpNet::V6(net) => AddressMessageBuilder::<Ipv6Addr>::new()
                .index(index)
                .address(net.addr(), net.prefix_len())
                .build(),
        };
        done(patient(async { Ok(self.handle.address().del(message).execute().await?) }).await)
    }

    pub(crate) async fn add_route(
        &self,
        index: u32,
        route: Route,
        metric: u32,
        on_link: bool,
    ) -> Result<(), Refused> {
        let message = route_message(index, route, metric, on_link);
        done(patient(async { Ok(self.handle.route().add(message).execute().await?) }).await)
    }

    pub(crate) async fn del_route(&self, index: u32, route: Route, metric: u32) -> Result<(), Refused> {
        let message = route_message(index, route, metric, false);
        done(patient(async { Ok(self.handle.route().del(message).execute().await?) }).await)
    }

    /// Whether another machine on the link answers for `address`, which no interface has yet. The kernel asks, as it does before it sends a packet: its
    /// questions carry no sender's address while this machine has none (RFC 5227, 2.1.1), and need no packet socket.
    pub(crate) async fn probe(&self, index: u32, address: Ipv4Addr) -> Result<bool, Refused> {
        // What is known from earlier is no answer.
        self.forget(index, address).await;
        let request = self.handle.neighbours().add(index, IpAddr::V4(address));
        let request = request.state(NeighbourState::None).flags(NeighbourFlags::Use);
        patient(async { Ok(request.execute().await?) }).await?;
        let start = tokio::time::Instant::now();
        let mut taken = false;
        while start.elapsed() < PROBE_WITHIN {
            tokio::time::sleep(PROBE_LOOK).await;
            match patient(self.neighbour(index, address)).await? {
                Some(NeighbourState::Reachable | NeighbourState::Stale | NeighbourState::Delay) => {
                    taken = true;
                    break;
                }
                Some(NeighbourState::Incomplete) => {}
                // Nobody answered, or the kernel has dropped the question for the same reason.
                _ => break,
            }
        }
        self.forget(index, address).await;
        Ok(taken)
    }

    async fn neighbour(&self, index: u32, address: Ipv4Addr) -> Result<Option<NeighbourState>, Refused> {
        let mut found = None;
        let mut neighbours =
            self.handle.neighbours().get().set_address_family(AddressFamily::Inet).execute().boxed();
        while let Some(message) = neighbours.try_next().await? {
            if is_neighbour(&message, index, address) {
                found = Some(message.header.state);
            }
        }
        Ok(found)
    }

    async fn forget(&self, index: u32, address: Ipv4Addr) {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = index;
        message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(address)));
        // One that is not there cannot be forgotten.
        let _ = patient(async { Ok(self.handle.neighbours().del(message).execute().await?) }).await;
    }
}

fn is_neighbour(message: &NeighbourMessage, index: u32, address: Ipv4Addr) -> bool {
    message.header.ifindex == index
        && message.attributes.iter().any(|attribute| {
            matches!(attribute, NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) if *ip == address)
        })
}

/// Hands on what routers say besides addresses and routes, as the kernel hears it. Ends with the receiver.
pub(crate) fn listen_to_routers(heard: mpsc::Sender<ra::Heard>) -> std::io::Result<()> {
    let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
    socket.socket_mut().bind_auto()?;
    socket.socket_mut().add_membership(ND_USEROPT)?;
    tokio::spawn(async move {
        loop {
            match socket.recv_from_full().await {
                // Port zero is the kernel; other processes may send here as well.
                Ok((datagram, from)) if from.port_number() == 0 => {
                    for one in ra::read(&datagram) {
                        // Routers repeat themselves: what is too much for now comes again.
                        if let Err(mpsc::error::TrySendError::Closed(_)) = heard.try_send(one) {
                            return;
                        }
                    }
                }
                Ok(_) => {}
                // Too much at once. Wait, lest an error that stays turns this into a busy loop.
                Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
            }
        }
    });
    Ok(())
}

/// Sets what the kernel does by itself on an interface. On a kernel without IPv6 there is less to set.
pub(crate) fn set_mode6(name: &str, mode: Mode6) -> std::io::Result<()> {
    let switches: &[(&str, &str)] = match mode {
        Mode6::Off => &[("disable_ipv6", "1")],
        Mode6::Auto => &[("accept_ra", "1"), ("autoconf", "1"), ("disable_ipv6", "0")],
        Mode6::RoutesOnly => &[("accept_ra", "1"), ("autoconf", "0"), ("disable_ipv6", "0")],
        Mode6::Quiet => &[("accept_ra", "0"), ("autoconf", "0"), ("disable_ipv6", "0")],
    };
    // A new IPv4 address beside an old one of the same network must not go with it.
    let four = [("ipv4", "promote_secondaries", "1")].into_iter();
    for (family, switch, value) in
        four.chain(switches.iter().map(|(switch, value)| ("ipv6", *switch, *value)))
    {
        let dir = std::path::Path::new("/proc/sys/net").join(family).join("conf").join(name);
        if !dir.is_dir() {
            continue;
        }
        let file = dir.join(switch);
        // Writing the value that is there already would make the kernel start over with the link.
        if std::fs::read_to_string(&file)?.trim() != value {
            std::fs::write(&file, value)?;
        }
    }
    Ok(())
}

async fn patient<T>(work: impl Future<Output = Result<T, Refused>>) -> Result<T, Refused> {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(result) => result,
        Err(_) => Err(Refused::Other("no answer".into())),
    }
}

fn done(result: Result<(), Refused>) -> Result<(), Refused> {
    match result {
        Err(refused) if refused.is_done() => Ok(()),
        other => other,
    }
}

fn link(message: &LinkMessage) -> Option<(String, Link)> {
    let mut name = None;
    let mut mac = None;
    let mut mtu = 0;
    let mut more_by_dhcp = false;
    let mut hardware = Hardware::default();
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text.clone()),
            LinkAttribute::Address(bytes) => mac = <[u8; 6]>::try_from(bytes.as_slice()).ok(),
            LinkAttribute::Mtu(value) => mtu = *value,
            LinkAttribute::PermAddress(bytes) => {
                hardware.permanent_mac = <[u8; 6]>::try_from(bytes.as_slice()).ok();
            }
            LinkAttribute::LinkInfo(infos) => {
                hardware.vlan = infos.iter().find_map(|info| match info {
                    LinkInfo::Data(InfoData::Vlan(vlan)) => vlan.iter().find_map(|one| match one {
                        InfoVlan::Id(id) => Some(*id),
                        _ => None,
                    }),
                    _ => None,
                });
            }
            LinkAttribute::AfSpecUnspec(families) => {
                let six = families.iter().filter_map(|family| match family {
                    AfSpecUnspec::Inet6(attributes) => Some(attributes),
                    _ => None,
                });
                more_by_dhcp = six.flatten().any(|attribute| {
                    let either = Inet6IfaceFlags::Otherconf | Inet6IfaceFlags::RaManaged;
                    matches!(attribute, AfSpecInet6::Flags(flags) if flags.intersects(either))
                });
            }
            _ => {}
        }
    }
    let flags = message.header.flags;
    let link = Link {
        index: message.header.index,
        mac,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        mtu,
        more_by_dhcp,
        hardware,
    };
    Some((name?, link))
}

/// How fast a link is, Mbit/s, and whether it sends while it receives. Drivers say nothing, or -1, without a link.
fn speed(name: &str) -> (Option<u32>, Option<bool>) {
    let dir = std::path::Path::new("/sys/class/net").join(name);
    let read = |file: &str| std::fs::read_to_string(dir.join(file)).unwrap_or_default();
    // What is no number of 32 bits is how drivers say that they do not know.
    let speed = read("speed").trim().parse::<u32>().ok().filter(|speed| (1..u32::MAX).contains(speed));
    let duplex = match read("duplex").trim() {
        "full" => Some(true),
        "half" => Some(false),
        _ => None,
    };
    (speed, duplex)
}

fn address(message: &AddressMessage) -> Option<Address> {
    let mut ip = None;
    let mut local = None;
    let mut tentative = message.header.flags.contains(AddressHeaderFlags::Tentative);
    let mut valid_s = None;
    let mut duplicate = message.header.flags.contains(AddressHeaderFlags::Dadfailed);
    for attribute in &message.attributes {
        match attribute {
            // On a point-to-point link `Address` is the other end.
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => ip = Some(*address),
            AddressAttribute::CacheInfo(life) if life.ifa_valid != u32::MAX => valid_s = Some(life.ifa_valid),
            AddressAttribute::Flags(flags) => {
                tentative = flags.contains(AddressFlags::Tentative);
                duplicate = flags.contains(AddressFlags::Dadfailed);
            }
            _ => {}
        }
    }
    let net = IpNet::new(local.or(ip)?, message.header.prefix_len).ok()?;
    Some(Address { net, tentative: tentative || duplicate, duplicate, valid_s })
}

/// A route of the main table to where packets go, with its interface and metric.
fn route(message: &RouteMessage) -> Option<(u32, Route, u32)> {
    let header = &message.header;
    if header.table != RouteHeader::RT_TABLE_MAIN || header.kind != RouteType::Unicast {
        return None;
    }
    let mut to = match header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let (mut index, mut via, mut metric) = (None, None, 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(value) => index = Some(*value),
            RouteAttribute::Priority(value) => metric = *value,
            RouteAttribute::Destination(address) => to = ip(address)?,
            RouteAttribute::Gateway(address) => via = Some(ip(address)?),
            _ => {}
        }
    }
    let to = IpNet::new(to, header.destination_prefix_length).ok()?;
    Some((index?, Route { to, via }, metric))
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(ip) => Some(IpAddr::V4(*ip)),
        RouteAddress::Inet6(ip) => Some(IpAddr::V6(*ip)),
        _ => None,
    }
}

fn route_message(index: u32, route: Route, metric: u32, on_link: bool) -> RouteMessage {
    match route.to {
        IpNet::V4(to) => {
            let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(to.addr(), to.prefix_len())
                .output_interface(index)
                .priority(metric)
                .protocol(RouteProtocol::Static);
            builder = match route.via {
                Some(IpAddr::V4(via)) => builder.gateway(via),
                _ => builder.scope(RouteScope::Link),
            };
            if on_link { builder.onlink().build() } else { builder.build() }
        }
        IpNet::V6(to) => {
            let mut builder = RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(to.addr(), to.prefix_len())
                .output_interface(index)
                .priority(metric)
                .protocol(RouteProtocol::Static);
            if let Some(IpAddr::V6(via)) = route.via {
                builder = builder.gateway(via);
            }
            if on_link { builder.onlink().build() } else { builder.build() }
        }
    }
}
