//! What the test program does when it is started again in a namespace: the daemon on a bus of its own, a time server, a nuisance.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ipc::EventItem;
use netmgr::System;
use schema::rpc::network_service::{CHANGE_NETWORK, CONFIRM_NETWORK, LIST_NETWORK_INTERFACES, SET_TIME};
use schema::v1alpha1::{
    ChangeNetworkRequest, ConfirmNetworkRequest, FixedIpv4, InterfaceAddress, ListNetworkInterfacesRequest,
    SetTimeRequest, TimeServers,
};
use service::{Clock, Context, LocalContext, Notification, Notifier, Settings, Shutdown};

use crate::common::{ROLE, ROLE_FILE};

/// Plays the role asked for, if any.
pub(crate) fn play() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let file = PathBuf::from(std::env::var(ROLE_FILE).unwrap());
    match role.as_str() {
        "daemon" => daemon(&file),
        "clock" => clock(&std::fs::read_to_string(&file).unwrap()),
        "flood" => flood(),
        other => panic!("no role {other}"),
    }
}

/// Says what the daemon would do to the machine instead of doing it.
struct Mock;

impl Mock {
    fn ahead(secs: u64) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        // To the nearest minute, because the test does not stand still.
        let difference = i64::try_from(secs).unwrap() - i64::try_from(now).unwrap();
        format!("{:+}", (difference + 30).div_euclid(60) * 60)
    }
}

impl System for Mock {
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }

    fn set_wall(&mut self, time: SystemTime) -> std::io::Result<()> {
        println!("CLOCK {}", Self::ahead(time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()));
        Ok(())
    }

    fn rtc(&self, _: &Path) -> std::io::Result<u64> {
        Ok(0)
    }

    fn set_rtc(&mut self, _: &Path, seconds: u64) -> std::io::Result<()> {
        // The clock was not really set, so the hardware clock is told the hour that is missing.
        println!("RTC {}", Self::ahead(seconds + 3600));
        Ok(())
    }

    fn set_hostname(&mut self, name: &str) -> std::io::Result<()> {
        println!("HOSTNAME {name}");
        Ok(())
    }
}

/// Asks as another daemon what the interfaces are like, and says it.
async fn interfaces(bus: ipc::Client) {
    // The first time it is asked before it serves.
    let context = ipc::CallContext::new().with_patience(Duration::from_secs(60));
    let request = ListNetworkInterfacesRequest {};
    // It may be stopped meanwhile.
    let Ok(answer) = bus.call(LIST_NETWORK_INTERFACES, &request, &context).await else { return };
    println!("TIME {} {}", answer.time_source, answer.time_offset_us.unwrap_or_default());
    for one in answer.interfaces {
        let told = |one: &InterfaceAddress| format!("{} {}", one.address, one.origin().as_str_name());
        let addresses: Vec<String> = one.addresses.iter().map(told).collect();
        let mac: Vec<String> = one.mac_address.iter().map(|byte| format!("{byte:02x}")).collect();
        let (mac, addresses) = (mac.join(":"), addresses.join(", "));
        println!("TOLD {} {mac} {addresses} by {}", one.name, one.gateways.join(", "));
    }
}

/// Changes the network as a line says, and says what the answer is.
async fn change(bus: &ipc::Client, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    let context = ipc::CallContext::new().with_patience(Duration::from_secs(60));
    let request = match words.as_slice() {
        ["confirm", by] => {
            let request = ConfirmNetworkRequest { reached_at: (*by).to_owned() };
            let answer = bus.call(CONFIRM_NETWORK, &request, &context).await;
            println!("ANSWER {:?}", answer.map(|answer| answer.confirmed).map_err(|status| status.code));
            return;
        }
        // So many seconds from now.
        ["clock", ahead] => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            let seconds = i64::try_from(now).unwrap() + ahead.parse::<i64>().unwrap();
            let request = SetTimeRequest { time: Some(prost_types::Timestamp { seconds, nanos: 0 }) };
            let answer = bus.call(SET_TIME, &request, &context).await;
            // To the nearest minute, because the test does not stand still.
            let minutes = |us: i64| (us + 30_000_000).div_euclid(60_000_000);
            let answer = answer.map(|answer| minutes(answer.step_us)).map_err(|status| status.reason());
            println!("ANSWER clock {ahead} {answer:?}");
            return;
        }
        ["address", interface, address, gateway] => {
            let fixed4 = Some(FixedIpv4 { address: (*address).to_owned(), gateway: (*gateway).to_owned() });
            ChangeNetworkRequest { interface: (*interface).to_owned(), fixed4, ..Default::default() }
        }
        ["dhcp", interface] => {
            ChangeNetworkRequest { interface: (*interface).to_owned(), dhcp4: true, ..Default::default() }
        }
        ["name", name, domain] => {
            let (host_name, domain) = (Some((*name).to_owned()), Some((*domain).to_owned()));
            ChangeNetworkRequest { host_name, domain, ..Default::default() }
        }
        ["time", word] => ChangeNetworkRequest { time_enabled: Some(*word == "on"), ..Default::default() },
        ["ntp", servers @ ..] => {
            let servers = servers.iter().map(|one| (*one).to_owned()).collect();
            ChangeNetworkRequest { time_servers: Some(TimeServers { servers }), ..Default::default() }
        }
        _ => panic!("no change {line:?}"),
    };
    let answer = bus.call(CHANGE_NETWORK, &request, &context).await;
    println!(
        "ANSWER trial {:?}",
        answer.map(|answer| answer.trial_ends.is_some()).map_err(|status| status.code)
    );
    let known = bus.call(LIST_NETWORK_INTERFACES, &ListNetworkInterfacesRequest {}, &context).await;
    if let Ok(known) = known {
        let (named, asked) = (known.static_time_servers.join(" "), known.time_servers.join(" "));
        println!("NTP {} {named} of {asked}", known.time_enabled.unwrap_or_default());
    }
}

fn daemon(config: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let bus = busd::testing::Bus::start().await;
        let client = bus.client("netmgr").await;
        let listener = bus.client("statemgr").await;
        let mut events = listener.subscribe_events("event.network.>").await.unwrap();
        tokio::spawn(async move {
            while let Some(item) = events.next().await {
                if let EventItem::Event(event) = item {
                    println!("EVENT {} {} {}", event.component, event.what, event.message);
                }
            }
        });
        let bus_of_asker = bus.client("ipmisrv").await;
        let (notify, mut told) = Notifier::channel();
        tokio::spawn(async move {
            while let Some(notification) = told.recv().await {
                match notification {
                    Notification::Ready => println!("READY"),
                    Notification::Status(text) => {
                        println!("STATUS {text}");
                        tokio::spawn(interfaces(bus_of_asker.clone()));
                    }
                    _ => {}
                }
            }
        });
        let (trigger, shutdown) = Shutdown::new();
        let (said, mut lines) = tokio::sync::mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in std::io::stdin().lines().map_while(Result::ok) {
                let _ = said.send(line);
            }
            trigger.stop();
        });
        let bus_of_changer = bus.client("websrv").await;
        tokio::spawn(async move {
            while let Some(line) = lines.recv().await {
                change(&bus_of_changer, &line).await;
            }
        });
        let text = std::fs::read_to_string(config).unwrap();
        let settings = Settings::from_toml("config.toml", &text).unwrap();
        let dir = config.parent().unwrap();
        let local = LocalContext {
            daemon: "netmgr".into(),
            clock: Clock::new(),
            shutdown,
            notify,
            board: None,
            state_dir: dir.join("state"),
            run_dir: dir.join("run"),
            heartbeat_every: std::time::Duration::from_secs(5),
            settings: settings.of("netmgr"),
        };
        Box::pin(netmgr::run_on(Context { local, bus: client }, Mock)).await.unwrap();
    });
    runtime.shutdown_background();
}

/// Answers as the script's words say, the last one for ever: `unsync`, or seconds ahead such as `+3600`.
fn clock(script: &str) {
    let socket = UdpSocket::bind("0.0.0.0:123").unwrap();
    let mut words = script.split(' ').peekable();
    loop {
        let mut request = [0; 128];
        let Ok((48.., from)) = socket.recv_from(&mut request) else { continue };
        let word = words.peek().copied().unwrap_or("+0");
        if words.clone().count() > 1 {
            words.next();
        }
        let ahead = word.parse::<i64>().unwrap_or(0);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let secs = u32::try_from(i64::try_from(now.as_secs()).unwrap() + ahead + 2_208_988_800).unwrap();
        let fraction = (u64::from(now.subsec_nanos()) << 32) / 1_000_000_000;
        let mut reply = [0; 48];
        // No leap second or not in sync; version 4; server. Stratum 1.
        reply[0] = if word == "unsync" { 0b11_100_100 } else { 0b00_100_100 };
        reply[1] = 1;
        reply[12..16].copy_from_slice(b"TEST");
        reply[24..32].copy_from_slice(&request[40..48]);
        for at in [32, 40] {
            reply[at..at + 4].copy_from_slice(&secs.to_be_bytes());
            reply[at + 4..at + 8].copy_from_slice(&u32::try_from(fraction).unwrap().to_be_bytes());
        }
        socket.send_to(&reply, from).unwrap();
    }
}

/// Sends what looks like the beginning of a DHCP answer to everybody, from a server's port.
fn flood() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_broadcast(true).unwrap();
    socket.bind_device(Some(b"lan0")).unwrap();
    let from: std::net::SocketAddr = "192.0.2.1:67".parse().unwrap();
    socket.bind(&from.into()).unwrap();
    let socket: UdpSocket = socket.into();
    let mut packet = vec![0_u8; 600];
    packet[..3].copy_from_slice(&[2, 1, 6]);
    packet[28..34].copy_from_slice(&[2, 0, 0, 0x12, 0x34, 0x56]);
    packet[236..240].copy_from_slice(&[99, 130, 83, 99]);
    for round in 0_u64.. {
        for (at, byte) in packet.iter_mut().enumerate().skip(240) {
            *byte = u8::try_from((round.wrapping_mul(31) + at as u64 * 17) % 251).unwrap();
        }
        let _ = socket.send_to(&packet, "255.255.255.255:68");
        // Two cores are shared with the daemon; a thousand a second is plenty.
        std::thread::sleep(Duration::from_millis(1));
    }
}
