//! The daemon without its sockets, over a model that is filled as the owners fill it: what commands answer, for tests and for a fuzzer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "it is there for tests alone"
)]
#![cfg_attr(not(test), allow(dead_code, reason = "a fuzzer needs less than tests"))]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ipc::LogEntry;
use ipmi::testing::Client;
use ipmi::watchdog::Watchdog;
use ipmi::{Action, Command, Completion, Level, Reply, Request, Server, SessionInfo, Suite, vm};
use model::{Answer as Said, Domain, Input, Model};
use prost::Message as _;
use prost_reflect::DynamicMessage;
use prost_types::{Duration, Timestamp};
use schema::MethodInfo;
use schema::v1alpha1 as v1;
use units::{Millis, Mono};

use crate::boot_flags::BootOptions;
use crate::chunks::Written;
use crate::commands::{ANSWER_MAX, answer};
use crate::config::Config;
use crate::host::{Asked, Host, Interface};
use crate::lan;
use crate::outcome::Outcome;
use crate::payloads;
use crate::repository::Repository;
use crate::sel::{Hidden, Sel};
use crate::sel_log::Read;
use crate::settings::Memory;
use crate::sol::{Kept, Owner, Sol};
use crate::world::{Answer, World};

pub(crate) const NOW: u32 = 1_800_000_000;
/// As whom clients of the network speak: ipmitool, by channel 1.
pub(crate) const GENERATOR: [u8; 2] = [0x81, 0x10];
/// The address at which clients reach the controller.
const REACHED: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9));
/// Completion codes that docs/ipmi.md says there are.
pub(crate) const CODES: [u8; 15] =
    [0x80, 0x81, 0x82, 0x83, 0x84, 0xc0, 0xc1, 0xc5, 0xc7, 0xc9, 0xcb, 0xcc, 0xd4, 0xd5, 0xff];

/// What netmgr says.
fn interfaces() -> Vec<v1::NetworkInterface> {
    let address = |address: &str, origin: v1::AddressOrigin| v1::InterfaceAddress {
        address: address.to_owned(),
        origin: origin.into(),
        ..v1::InterfaceAddress::default()
    };
    vec![v1::NetworkInterface {
        name: "eth0".to_owned(),
        mac_address: vec![2, 0, 0, 0, 0, 9],
        addresses: vec![
            address("192.0.2.9/24", v1::AddressOrigin::Dhcp),
            address("2001:db8::9/64", v1::AddressOrigin::Static),
            address("fe80::9/64", v1::AddressOrigin::LinkLocal),
        ],
        gateways: vec!["192.0.2.1".to_owned(), "fe80::1".to_owned()],
        ..v1::NetworkInterface::default()
    }]
}

pub(crate) fn host() -> v1::Host {
    v1::Host {
        name: "system".to_owned(),
        status: Some(v1::HostStatus::On.into()),
        power_on_time: Some(Duration { seconds: 7300, nanos: 0 }),
        chassis_name: "chassis".to_owned(),
        ..v1::Host::default()
    }
}

pub(crate) fn sensor(id: &str, number: u32, recorded: Option<v1::MinMaxRecorded>) -> v1::Sensor {
    let analog = v1::AnalogSensorReading {
        value: None,
        upper_thresholds: Some(v1::Threshold { warning: Some(80.0), critical: Some(90.0), fatal: None }),
        lower_thresholds: None,
        min_max_recorded: recorded,
        hysteresis: 2.0,
        thresholds_changed: false,
        crossed: Vec::new(),
        ..v1::AnalogSensorReading::default()
    };
    v1::Sensor {
        id: id.to_owned(),
        name: id.to_owned(),
        number,
        context: Some(v1::SensorContext::Temperature.into()),
        unit: Some(if recorded.is_some() { v1::SensorUnit::Watts } else { v1::SensorUnit::Celsius }.into()),
        reading: Some(v1::sensor::Reading::AnalogReading(analog)),
        ..v1::Sensor::default()
    }
}

pub(crate) fn sensors() -> Vec<v1::Sensor> {
    let recorded = v1::MinMaxRecorded {
        min_value: Some(100.0),
        max_value: Some(420.0),
        average: Some(222.4),
        since: Some(Timestamp { seconds: i64::from(NOW) - 60, nanos: 0 }),
        samples: 60,
        ..v1::MinMaxRecorded::default()
    };
    vec![
        sensor("cpu0", 0, None),
        sensor("cpu1", 1, None),
        sensor("inlet", 2, None),
        sensor("power", 3, Some(recorded)),
    ]
}

pub(crate) fn readings() -> v1::SensorReadings {
    v1::SensorReadings {
        time: Some(Timestamp { seconds: i64::from(NOW), nanos: 0 }),
        epoch: 1,
        sequence: 1,
        full: true,
        ids: ["cpu0", "cpu1", "inlet", "power"].map(str::to_owned).to_vec(),
        numbers: vec![0, 1, 2, 3],
        values: vec![61.2, 58.0, -3.0, 300.0],
        qualities: [
            v1::SensorQuality::Good,
            v1::SensorQuality::Stale,
            v1::SensorQuality::Good,
            v1::SensorQuality::Good,
        ]
        .map(i32::from)
        .to_vec(),
        statuses: vec![v1::SensorStatus::Enabled.into(); 4],
        ages_ms: vec![0; 4],
        ..v1::SensorReadings::default()
    }
}

pub(crate) fn event(sequence: u64) -> v1::Event {
    let crossed = v1::SensorThresholdCrossed {
        sensor_id: "cpu0".to_owned(),
        side: v1::ThresholdSide::Upper.into(),
        level: v1::ThresholdLevel::Critical.into(),
        asserted: true,
        threshold: Some(90.0),
        value: Some(91.0),
        unit: v1::SensorUnit::Celsius.into(),
        ..v1::SensorThresholdCrossed::default()
    };
    v1::Event {
        id: format!("e{sequence}"),
        time: Some(Timestamp { seconds: i64::from(NOW) - 100 + i64::try_from(sequence).unwrap(), nanos: 0 }),
        payload: Some(v1::event::Payload::SensorThresholdCrossed(crossed)),
        ..v1::Event::default()
    }
}

/// It in the log.
pub(crate) fn entry(sequence: u64) -> Read {
    Read::Entry(LogEntry {
        sequence,
        subject: "event.sensor.cpu0.threshold".to_owned(),
        time: std::time::SystemTime::UNIX_EPOCH,
        payload: event(sequence).encode_to_vec().into(),
    })
}

/// A SEL that has read these of the log.
pub(crate) fn sel(sequences: &[u64]) -> Sel {
    let mut sel = Sel::default();
    sel.loaded(Hidden::default());
    for sequence in sequences.iter().copied() {
        sel.take(entry(sequence));
    }
    sel.take(Read::Whole(9));
    sel
}

pub(crate) fn assets() -> Vec<v1::Asset> {
    let info = v1::AssetInfo {
        product_name: "Box".to_owned(),
        asset_tag: Some("rack 4".to_owned()),
        ..v1::AssetInfo::default()
    };
    let system = v1::Asset {
        id: "system".to_owned(),
        r#type: v1::AssetType::System.into(),
        present: true,
        info: Some(info),
        ..v1::Asset::default()
    };
    vec![system]
}

pub(crate) fn accounts() -> Vec<v1::AccountName> {
    let account = |id: &str, name: &str, role: &str, ipmi_user| v1::AccountName {
        id: id.to_owned(),
        username: name.to_owned(),
        role: role.to_owned(),
        enabled: true,
        ipmi: ipmi_user != 0,
        ipmi_user,
        privileges: gate::privileges(auth::Role::from_name(role).unwrap().privileges()),
        user_enabled: true,
    };
    vec![
        account("u1", "boss", "Administrator", 3),
        account("u2", "guest", "ReadOnly", 17),
        account("u3", "web", "Operator", 0),
    ]
}

/// All that own something are ready.
pub(crate) fn daemons() -> Vec<v1::Daemon> {
    let mut names: Vec<&str> = Domain::ALL.into_iter().map(Domain::owner).collect();
    names.sort_unstable();
    names.dedup();
    let daemon = |name: &str| v1::Daemon {
        name: name.to_owned(),
        state: v1::DaemonState::Ready.into(),
        health: v1::HealthStatus::Ok.into(),
        ..v1::Daemon::default()
    };
    names.into_iter().map(daemon).collect()
}

/// A model of which every owner has spoken.
pub(crate) fn model() -> Model {
    model_with(host())
}

/// With this machine.
pub(crate) fn model_with(machine: v1::Host) -> Model {
    let mut model = Model::new(1);
    feed(&mut model, Mono::ZERO, vec![Input::Link(true), Input::Tick], &machine, &sensors());
    model
}

/// Takes this in, with the answers to what is asked for it.
pub(crate) fn feed(
    model: &mut Model,
    now: Mono,
    mut input: Vec<Input>,
    machine: &v1::Host,
    sensors: &[v1::Sensor],
) {
    let mut queries = Vec::new();
    for _ in 0..100 {
        let Some(next) = (!input.is_empty()).then(|| input.remove(0)) else { break };
        model.step(now, u64::from(NOW) * 1000, next, &mut queries);
        for query in queries.drain(..) {
            let said = match query.domain {
                Domain::Daemons => Said::Daemons(daemons()),
                Domain::System => Said::System(Box::new(v1::SystemInfo {
                    name: "bmc-17".to_owned(),
                    version: Some("1.2.3".to_owned()),
                    ..v1::SystemInfo::default()
                })),
                Domain::Hosts => Said::Hosts(vec![machine.clone()]),
                Domain::Chassis => {
                    Said::Chassis(vec![v1::Chassis { name: "chassis".to_owned(), ..v1::Chassis::default() }])
                }
                Domain::Controllers => Said::Controllers(vec![v1::ManagementController {
                    name: "bmc".to_owned(),
                    ..v1::ManagementController::default()
                }]),
                Domain::Sensors => Said::Sensors(sensors.to_vec()),
                Domain::Readings => Said::Readings(readings()),
                Domain::Zones => Said::Zones(Vec::new(), v1::ThermalProfile::Unspecified),
                Domain::Fans => Said::Fans(Vec::new()),
                Domain::Leds => Said::Leds(Vec::new(), None),
                Domain::Assets => Said::Assets(assets()),
                Domain::Accounts => Said::Accounts(accounts()),
                Domain::Events => Said::Events(Vec::new()),
            };
            input.push(Input::Answered(query, Ok(said)));
        }
    }
}

/// The daemon without its sockets.
pub(crate) struct Bench {
    pub(crate) model: Model,
    pub(crate) repository: Repository,
    pub(crate) sel: Sel,
    pub(crate) config: Config,
    pub(crate) port: u16,
    pub(crate) watchdog: Watchdog,
    pub(crate) mono: Mono,
    pub(crate) written: Option<Written>,
    pub(crate) sol: Sol,
    pub(crate) boot: BootOptions,
    pub(crate) memory: Memory,
    pub(crate) session: u32,
    pub(crate) level: Level,
    /// The machine has a way of its own.
    pub(crate) has_way: bool,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let config = Config {
            input_power: Some("power".to_owned()),
            inlet: vec!["inlet".to_owned()],
            cpu: vec!["cpu0".to_owned(), "cpu1".to_owned()],
            ..serde_json::from_str("{}").unwrap()
        };
        Self {
            model: model(),
            repository: Repository::default(),
            sel: sel(&[1, 4, 9]),
            config,
            port: 623,
            watchdog: Watchdog::default(),
            mono: Mono::ZERO,
            written: None,
            sol: Sol::default(),
            boot: BootOptions::default(),
            memory: Memory::default(),
            session: 7,
            level: Level::Administrator,
            has_way: false,
        }
    }

    /// The owner of sensors says something else of them.
    pub(crate) fn describe(&mut self, sensors: &[v1::Sensor]) {
        // Owners are not asked twice at once.
        self.mono += units::Millis::from_secs(60);
        let refresh = vec![Input::Refresh("sensormon".to_owned())];
        feed(&mut self.model, self.mono, refresh, &host(), sensors);
    }

    pub(crate) fn ask(&mut self, command: Command, data: &[u8]) -> Outcome {
        let row = command.row().unwrap();
        assert!(row.lengths.contains(&data.len()), "{}: {} bytes", row.name, data.len());
        let (session, data) = (self.asker(), data.to_vec());
        let request = Request { id: 1, session, command, lun: 0, generator: GENERATOR, data };
        self.answers(&request)
    }

    /// Who asks.
    pub(crate) fn asker(&self) -> SessionInfo {
        SessionInfo {
            id: self.session,
            account: "u1".to_owned(),
            from: SocketAddr::from(([192, 0, 2, 1], 1)).into(),
            level: self.level,
        }
    }

    /// What a request comes to.
    pub(crate) fn answers(&mut self, request: &Request) -> Outcome {
        let mut world = World {
            snapshot: self.model.snapshot(),
            repository: &mut self.repository,
            sel: &mut self.sel,
            sol: &mut self.sol,
            boot: &mut self.boot,
            memory: &mut self.memory,
            guid: [7; 16],
            sessions: 1,
            suites: &[Suite::Sha256],
            config: &self.config,
            has_way: self.has_way,
            port: self.port,
            watchdog: &mut self.watchdog,
            mono: self.mono,
            written: &mut self.written,
            now: NOW,
        };
        answer(request, &mut world)
    }

    /// What a request is answered with where all goes well that is asked of others, and what it sets is set. Whatever it is, it fits.
    pub(crate) fn comes_to(&mut self, request: &Request) -> Reply {
        let (what, outcome) = (request.command, self.answers(request));
        let data = &request.data;
        let is_fit = |method: &'static MethodInfo, bytes: &[u8]| {
            let message = DynamicMessage::decode(method.input(), bytes).unwrap();
            schema::mask::check(&message).unwrap();
        };
        let answer = match outcome {
            Outcome::Answer(answer) => answer,
            Outcome::Partly(reply) => return reply,
            Outcome::Call { method, request, data } => {
                is_fit(method, &request);
                Ok(data)
            }
            Outcome::Boot { method, request, host_name } => {
                is_fit(method, &request);
                self.boot.set(self.mono, host_name, "flags".to_owned());
                Ok(Vec::new())
            }
            Outcome::Network { selector, set, wanted } => {
                let said = lan::parameter((selector, set), Some(REACHED), &interfaces());
                said.and_then(|said| lan::answer(said, wanted.as_deref()))
            }
            Outcome::Hide { hidden, data } => {
                self.sel.hide(hidden);
                Ok(data)
            }
            Outcome::Keep { kept } => {
                self.sol.keep(kept);
                Ok(Vec::new())
            }
            Outcome::Set { settings } => {
                self.memory.settings = *settings;
                Ok(Vec::new())
            }
            Outcome::Add { text, .. } => {
                assert!(!text.is_empty() && text.len() < 500, "{what:?}: {data:02x?}: {text}");
                Ok(Vec::new())
            }
            Outcome::Activate { .. } => {
                self.sol.owner = Some(Owner { session: request.session.id, since: self.mono, is_open: true });
                Ok(payloads::activated(self.port))
            }
            Outcome::Deactivate => {
                self.sol.owner = None;
                Ok(Vec::new())
            }
            Outcome::BitRate { .. } => Ok(payloads::bit_rate(115_200)),
            Outcome::Alert { .. } | Outcome::Test { .. } => Ok(Vec::new()),
        };
        match &answer {
            Ok(answer) => assert!(answer.len() <= ANSWER_MAX + 2, "{what:?}: {data:02x?}"),
            Err(Completion(code)) => assert!(CODES.contains(code), "{what:?}: {data:02x?}: {code:02x}"),
        }
        answer.into()
    }

    /// All is as at the beginning, but for what is known of the machine.
    pub(crate) fn renew(&mut self) {
        self.sel = sel(&[1, 4, 9]);
        self.watchdog = Watchdog::default();
        self.mono = Mono::ZERO;
        self.written = None;
        self.sol = Sol::default();
        self.sol.keep(Kept::default());
        self.boot = BootOptions::default();
        self.memory = Memory::default();
    }

    /// What is answered at once.
    pub(crate) fn said(&mut self, command: Command, data: &[u8]) -> Answer {
        match self.ask(command, data) {
            Outcome::Answer(answer) => answer,
            Outcome::Call { method, .. } => panic!("{} is asked", method.full_name),
            Outcome::Hide { .. } => panic!("something is hidden"),
            Outcome::Network { selector, .. } => panic!("netmgr is asked for {selector}"),
            _ => panic!("it is about the console"),
        }
    }

    pub(crate) fn refuses(&mut self, command: Command, data: &[u8], code: Completion) {
        assert_eq!(self.said(command, data), Err(code), "{command:?} {data:02x?}");
    }

    /// What an owner is asked, and what is answered when it agrees.
    pub(crate) fn asked<M: prost::Message + Default>(
        &mut self,
        command: Command,
        data: &[u8],
    ) -> (M, Vec<u8>) {
        match self.ask(command, data) {
            Outcome::Call { request, data, .. } => (M::decode(&request[..]).unwrap(), data),
            Outcome::Answer(answer) => panic!("{command:?} {data:02x?}: {answer:?}"),
            _ => panic!("{command:?} asks no owner"),
        }
    }

    /// What is hidden is stored.
    pub(crate) fn hides(&mut self, command: Command, data: &[u8]) -> Vec<u8> {
        match self.ask(command, data) {
            Outcome::Hide { hidden, data } => {
                self.sel.hide(hidden);
                data
            }
            Outcome::Answer(answer) => panic!("{command:?} {data:02x?}: {answer:?}"),
            _ => panic!("an owner is asked"),
        }
    }
}

/// A machine and sessions that ask whatever the bytes of an input say.
pub struct Fuzzed {
    bench: Bench,
    machines: [Host; 2],
    login: Option<(Server, Client)>,
}

impl std::fmt::Debug for Fuzzed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fuzzed").finish_non_exhaustive()
    }
}

impl Default for Fuzzed {
    fn default() -> Self {
        Self { bench: Bench::new(), machines: Self::machines(), login: None }
    }
}

impl Fuzzed {
    fn machines() -> [Host; 2] {
        [Interface::Restricted, Interface::Full].map(Host::new)
    }

    /// One input: requests after each other, each with four bytes of who asks what, and its data.
    pub fn take(&mut self, mut bytes: &[u8]) {
        self.bench.renew();
        (self.machines, self.login) = (Self::machines(), None);
        while let [who, first, second, length, rest @ ..] = bytes {
            let (data, behind) = rest.split_at(usize::from(*length).min(rest.len()));
            self.bench.mono += Millis::new(u64::from(*who >> 5) * 700);
            match who & 3 {
                0 => self.machine_asks(usize::from(who >> 2 & 1), *first, *second, data),
                1 => self.session_asks(who >> 2 & 7, *first & 0x3f, *second, data),
                _ => self.row_is_asked(*who, *first, *second, data),
            }
            bytes = behind;
        }
    }

    /// By the machine's own way.
    fn machine_asks(&mut self, which: usize, function: u8, command: u8, data: &[u8]) {
        let lun = function & 3;
        let asked = vm::Request { number: 1, function: function >> 2, lun, command, data: data.to_vec() };
        if let Asked::Command(id, row, data) = self.machines[which].ask(0, asked) {
            let session =
                SessionInfo { id: crate::host::SESSION, level: Level::Administrator, ..self.bench.asker() };
            let (command, generator) = (row.command, crate::host::GENERATOR);
            let request = Request { id, session, command, lun, generator, data };
            let reply = self.bench.comes_to(&request);
            assert!(self.machines[which].replied(id, &reply));
        }
    }

    /// By the network, from the first packet on.
    fn session_asks(&mut self, level: u8, function: u8, command: u8, data: &[u8]) {
        let now = self.bench.mono;
        let (server, client) = self.login.get_or_insert_with(|| {
            let mut server = ipmi::testing::server(false, 15);
            let from = ipmi::testing::address(1, 1000);
            let client = ipmi::testing::logged_in(&mut server, from, Suite::Sha256);
            (server, client)
        });
        let mut todo = Vec::new();
        if level != 0 {
            let bytes = client.next(6, 0x3b, &[level]);
            server.input(now, client.from, &bytes, &mut todo);
        }
        let bytes = client.next(function, command, data);
        server.input(now, client.from, &bytes, &mut todo);
        let mut said = 0;
        while let Some(action) = todo.pop() {
            match action {
                Action::Request(request) => {
                    let reply = self.bench.comes_to(&request);
                    server.replied_with(now, request.id, reply, &mut todo);
                }
                Action::Send(to, bytes) => {
                    assert!(to == client.from && bytes.len() < 300);
                    said += 1;
                }
                _ => {}
            }
        }
        assert!(said <= 1 + u32::from(level != 0));
        if server.sessions() == 0 {
            self.login = None;
        }
    }

    /// A command that there is, with as many bytes as it takes.
    fn row_is_asked(&mut self, who: u8, which: u8, lun: u8, data: &[u8]) {
        let row = &Command::ROWS[usize::from(which) % Command::ROWS.len()];
        let mut data = data.to_vec();
        data.resize(data.len().clamp(*row.lengths.start(), *row.lengths.end()), 0);
        self.bench.session = 7 + u32::from(who >> 4 & 1);
        self.bench.level =
            [Level::User, Level::Operator, Level::Administrator][usize::from(who >> 2 & 3) % 3];
        let (session, command, lun) = (self.bench.asker(), row.command, lun & 3);
        let request = Request { id: 1, session, command, lun, generator: GENERATOR, data };
        self.bench.comes_to(&request);
    }
}
