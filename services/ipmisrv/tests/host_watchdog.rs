//! What a machine sets and tells by its own way, as users and daemons see it: its watchdog timer, over a restart of the daemon, and how far its boot has come.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use board::Board;
use busd::testing::Bus;
use ipc::{CallContext, Client, Code, EventItem, Principal, Status};
use schema::rpc::ipmi_service::{GET_HOST_WATCHDOG, SET_HOST_WATCHDOG};
use schema::v1alpha1 as v1;
use service::{Clock, Context, LocalContext, Notification, Notifier, Shutdown};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc::{self, UnboundedReceiver};

const WAIT: Duration = Duration::from_secs(60);

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(WAIT, what).await.expect("it took too long")
}

/// Answers for the operator and statemgr: there is one host, which is on. What is told of its boot comes out.
async fn owners(bus: &Bus) -> UnboundedReceiver<v1::ReportBootProgressRequest> {
    let mut asked = bus.client("operator").await.serve(&["SystemService"]).await.unwrap();
    tokio::spawn(async move {
        while let Some(request) = asked.next().await {
            if request.method == "ListDaemons" {
                let state = v1::DaemonState::Ready.into();
                let statemgr = v1::Daemon { name: "statemgr".to_owned(), state, ..v1::Daemon::default() };
                request.reply(&v1::ListDaemonsResponse { daemons: vec![statemgr] }).await;
            } else {
                let system = v1::SystemInfo { id: "a box".to_owned(), ..v1::SystemInfo::default() };
                request.reply(&v1::GetSystemInfoResponse { system_info: Some(system) }).await;
            }
        }
    });
    let (tell, told) = mpsc::unbounded_channel();
    let services = ["HostService", "BootProgressService"];
    let mut asked = bus.client("statemgr").await.serve(&services).await.unwrap();
    tokio::spawn(async move {
        while let Some(request) = asked.next().await {
            if request.service == "BootProgressService" {
                tell.send(request.decode().unwrap()).unwrap();
                request.reply(&v1::ReportBootProgressResponse { taken: true }).await;
            } else {
                let host = v1::Host {
                    name: "system".to_owned(),
                    status: Some(v1::HostStatus::On.into()),
                    ..v1::Host::default()
                };
                request.reply(&v1::ListHostsResponse { hosts: vec![host] }).await;
            }
        }
    });
    told
}

async fn bus() -> Bus {
    let bus = Bus::start().await;
    bus.create_bucket("ipmi").await;
    bus.client("operator").await.create_event_log().await.unwrap();
    bus
}

/// The daemon, until it is told to stop.
struct Running {
    trigger: service::Trigger,
    daemon: tokio::task::JoinHandle<Result<(), ipmisrv::Error>>,
}

impl Running {
    async fn start(bus: &Bus, board: Option<Arc<Board>>, folder: &Path) -> Self {
        let (notify, mut notifications) = Notifier::channel();
        let (trigger, shutdown) = Shutdown::new();
        let local = LocalContext {
            daemon: "ipmisrv".into(),
            clock: Clock::new(),
            shutdown,
            notify,
            board,
            state_dir: folder.to_owned(),
            run_dir: folder.to_owned(),
            heartbeat_every: Duration::from_secs(5),
            settings: serde_json::Map::new(),
        };
        let daemon = tokio::spawn(ipmisrv::run(Context { local, bus: bus.client("ipmisrv").await }));
        soon(async { while notifications.recv().await.expect("the daemon ended") != Notification::Ready {} })
            .await;
        // Nobody reads what it tells from here on.
        tokio::spawn(async move { while notifications.recv().await.is_some() {} });
        Self { trigger, daemon }
    }

    async fn stop(self) {
        self.trigger.stop();
        soon(self.daemon).await.unwrap().unwrap();
    }
}

/// A board whose host is a guest of QEMU.
fn board() -> Arc<Board> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../targets/sim/board.toml");
    Arc::new(Board::load(&path, &[("sim.host".to_owned(), "qemu".to_owned())]).unwrap())
}

/// The machine: the other end of QEMU's `ipmi-bmc-extern`.
struct Machine {
    stream: UnixStream,
    number: u8,
}

impl Machine {
    async fn connect(folder: &Path) -> Self {
        Self { stream: UnixStream::connect(folder.join("ipmisrv/system")).await.unwrap(), number: 0 }
    }

    /// The completion code and what is behind it.
    async fn ask(&mut self, function: u8, command: u8, data: &[u8]) -> Vec<u8> {
        self.number = self.number.wrapping_add(1) & 0x3f;
        let mut bytes = [&[self.number, function << 2, command], data].concat();
        bytes.push(bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_sub(*byte)));
        let mut framed = Vec::new();
        for byte in bytes {
            match byte {
                0xa0 | 0xa1 | 0xaa => framed.extend([0xaa, byte | 0x10]),
                byte => framed.push(byte),
            }
        }
        framed.push(0xa0);
        self.stream.write_all(&framed).await.unwrap();
        let answer = soon(self.message()).await;
        let [number, answered, of, rest @ .., _] = answer.as_slice() else { panic!("{answer:02x?}") };
        assert_eq!((*number, *answered, *of), (self.number, (function | 1) << 2, command));
        rest.to_vec()
    }

    /// The next message; orders to QEMU are none.
    async fn message(&mut self) -> Vec<u8> {
        let (mut bytes, mut is_escaped) = (Vec::new(), false);
        loop {
            match self.stream.read_u8().await.unwrap() {
                0xa0 => return bytes,
                0xa1 => bytes.clear(),
                0xaa => is_escaped = true,
                byte => bytes.push(if std::mem::take(&mut is_escaped) { byte & !0x10 } else { byte }),
            }
        }
    }
}

fn context() -> CallContext {
    let principal = Principal { username: "alice".to_owned(), ..Principal::default() };
    CallContext::new().with_principal(principal).with_timeout(WAIT).with_patience(WAIT)
}

async fn get(client: &Client) -> Result<Option<v1::HostWatchdog>, Status> {
    let answer = client.call(GET_HOST_WATCHDOG, &v1::GetHostWatchdogRequest {}, &context()).await?;
    Ok(answer.watchdog)
}

/// As soon as it is known whose it is.
async fn timer(client: &Client) -> v1::HostWatchdog {
    soon(async {
        loop {
            match get(client).await {
                Ok(timer) => return timer.expect("there is one"),
                Err(status) => assert_eq!(status.code, Code::Unavailable, "{status}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}

async fn set(
    client: &Client,
    enabled: Option<bool>,
    action: Option<v1::HostWatchdogAction>,
) -> Result<v1::HostWatchdog, Status> {
    let request = v1::SetHostWatchdogRequest {
        host_name: "system".to_owned(),
        enabled,
        timeout_action: action.map(i32::from),
    };
    Ok(client.call(SET_HOST_WATCHDOG, &request, &context()).await?.watchdog.unwrap())
}

async fn told(events: &mut ipc::Events) -> v1::Event {
    soon(async {
        loop {
            if let Some(EventItem::Event(event)) = events.next().await {
                return event;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_user_sees_the_timer_of_a_machine_and_switches_it() {
    use v1::HostWatchdogAction as Action;
    let (bus, folder) = (bus().await, tempfile::tempdir().unwrap());
    let _told = owners(&bus).await;
    let client = bus.client("websrv").await;
    let mut events = client.subscribe_events("event.ipmi.watchdog.changed").await.unwrap();
    let running = Running::start(&bus, Some(board()), folder.path()).await;
    let expected =
        v1::HostWatchdog { host_name: "system".to_owned(), enabled: true, ..v1::HostWatchdog::default() };
    assert_eq!(timer(&client).await, expected, "nobody has set it");
    let refused = set(&client, Some(false), Some(Action::ResetSystem)).await.unwrap_err();
    assert_eq!(
        (refused.code, refused.reason().as_str()),
        (Code::FailedPrecondition, "HOST_WATCHDOG_NOT_SET")
    );
    assert_eq!(timer(&client).await, expected, "nor is it switched off");

    // SMS/OS, hard reset, 60 s.
    let mut machine = Machine::connect(folder.path()).await;
    assert_eq!(machine.ask(0x06, 0x24, &[0x04, 0x01, 0, 0, 0x58, 0x02]).await, [0]);
    assert_eq!(machine.ask(0x06, 0x22, &[]).await, [0]);
    let shown = timer(&client).await;
    assert!(shown.running && shown.configured && shown.initial_ms == 60_000, "{shown:?}");
    assert_eq!(
        (shown.timer_use(), shown.timeout_action(), shown.interrupt()),
        (v1::HostWatchdogUse::SmsOs, Action::ResetSystem, v1::HostWatchdogInterrupt::None)
    );

    let off = set(&client, Some(false), Some(Action::PowerCycle)).await.unwrap();
    assert_eq!((off.enabled, off.running, off.timeout_action()), (false, false, Action::PowerCycle));
    let event = told(&mut events).await;
    assert_eq!(event.principal(), "alice");
    assert!(event.message.starts_with("watchdog of system: "), "{}", event.message);
    assert_eq!(machine.ask(0x06, 0x22, &[]).await, [0xd5], "it may not start it");
    assert_eq!(machine.ask(0x06, 0x25, &[]).await[..3], [0, 0x04, 0x03]);
    // What is so already is no change, and another host has none.
    assert_eq!(set(&client, Some(false), None).await.unwrap().left_ms, off.left_ms);
    let request = v1::SetHostWatchdogRequest {
        host_name: "host2".to_owned(),
        enabled: Some(true),
        ..v1::SetHostWatchdogRequest::default()
    };
    let refused = client.call(SET_HOST_WATCHDOG, &request, &context()).await.unwrap_err();
    assert_eq!((refused.code, refused.reason().as_str()), (Code::NotFound, "HOST_WATCHDOG_NOT_FOUND"));

    // The next process has it as it was.
    running.stop().await;
    let running = Running::start(&bus, Some(board()), folder.path()).await;
    let shown = timer(&client).await;
    assert_eq!((shown.enabled, shown.running, shown.timeout_action()), (false, false, Action::PowerCycle));
    let mut machine = Machine::connect(folder.path()).await;
    assert_eq!(machine.ask(0x06, 0x22, &[]).await, [0xd5]);
    let on = set(&client, Some(true), None).await.unwrap();
    assert_eq!((on.enabled, on.running), (true, false), "it is the machine's to start");
    let event = told(&mut events).await;
    assert!(event.message.ends_with("the host may start it"), "{}", event.message);
    assert_eq!(machine.ask(0x06, 0x22, &[]).await, [0]);
    assert!(timer(&client).await.running);
    running.stop().await;
}

#[tokio::test]
async fn a_change_that_cannot_be_kept_is_refused_and_the_timer_is_as_it_was() {
    let (bus, folder) = (bus().await, tempfile::tempdir().unwrap());
    let _told = owners(&bus).await;
    let client = bus.client("websrv").await;
    let running = Running::start(&bus, Some(board()), folder.path()).await;
    timer(&client).await;
    let mut machine = Machine::connect(folder.path()).await;
    // SMS/OS, hard reset, 600 s.
    assert_eq!(machine.ask(0x06, 0x24, &[0x04, 0x01, 0, 0, 0x70, 0x17]).await, [0]);
    assert_eq!(machine.ask(0x06, 0x22, &[]).await, [0]);
    std::fs::remove_dir_all(folder.path().join("ipmisrv")).unwrap();
    let refused = set(&client, Some(false), Some(v1::HostWatchdogAction::PowerCycle)).await.unwrap_err();
    assert_eq!(refused.code, Code::Unavailable, "{refused}");
    let shown = timer(&client).await;
    assert_eq!(
        (shown.enabled, shown.running, shown.timeout_action()),
        (true, true, v1::HostWatchdogAction::ResetSystem)
    );
    assert_eq!(machine.ask(0x06, 0x22, &[]).await, [0], "it may reset it still");
    running.stop().await;
}

#[tokio::test]
async fn where_ipmi_is_off_and_the_machine_has_no_way_there_is_no_timer() {
    let (bus, folder) = (bus().await, tempfile::tempdir().unwrap());
    let _told = owners(&bus).await;
    let client = bus.client("websrv").await;
    let running = Running::start(&bus, None, folder.path()).await;
    assert_eq!(get(&client).await, Ok(None));
    let refused = set(&client, Some(false), None).await.unwrap_err();
    assert_eq!((refused.code, refused.reason().as_str()), (Code::FailedPrecondition, "NO_HOST_WATCHDOG"));
    running.stop().await;
}

#[tokio::test]
async fn what_the_firmware_says_of_its_progress_is_told_to_statemgr() {
    let (bus, folder) = (bus().await, tempfile::tempdir().unwrap());
    let mut told = owners(&bus).await;
    let client = bus.client("websrv").await;
    let running = Running::start(&bus, Some(board()), folder.path()).await;
    // The machine's name is known from here on.
    timer(&client).await;
    let before = Clock::boot().as_millis();
    let mut machine = Machine::connect(folder.path()).await;
    for (data, expected) in [
        // PCI resources, by the firmware, which names itself; a temperature; and an operating system that is up.
        ([0x01, 0x04, 0x0f, 0x06, 0x6f, 0xc2, 0x07, 0xff], Some(v1::BootProgressStage::PciResourceConfig)),
        ([0x01, 0x04, 0x01, 0x30, 0x01, 0x57, 0xff, 0xff], None),
        ([0x41, 0x04, 0x1f, 0x07, 0x6f, 0x01, 0xff, 0xff], Some(v1::BootProgressStage::Complete)),
    ] {
        assert_eq!(machine.ask(0x04, 0x02, &data).await, [0], "{data:02x?}");
        // The one that says nothing would be before the next one.
        let Some(expected) = expected else { continue };
        let report = soon(told.recv()).await.expect("it is told");
        assert_eq!((report.host_name.as_str(), report.stage()), ("system", expected));
        assert!((before..=Clock::boot().as_millis()).contains(&report.told_ms), "{report:?}");
    }
    running.stop().await;
}
