//! statemgr and powermgr on a bus, over a board in memory.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use boot_override::{Mode, Target};
use busd::testing::Bus;
use hal::FirmwareMailbox;
use host_firmware::{
    Attribute, BootOption, FirmwareBox, Kind, Report, SecureBoot, SecureBootMode, Seen, Value, Wishes,
};
use hw::BootPath;
use ipc::{CallContext, Client, Principal, Status};
use powermgr::testing::{TwinBoard, board};
use schema::rpc::host_service;
use schema::v1alpha1 as v1;
use service::{Clock, Context, LocalContext, Notification, Notifier, Shutdown};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use units::Millis;

pub(crate) struct Bench {
    pub(crate) bus: Bus,
    pub(crate) pins: TwinBoard,
    pub(crate) client: Client,
    pub(crate) powermgr: Option<JoinHandle<()>>,
    pub(crate) statemgr: Option<JoinHandle<()>>,
    pub(crate) boot_id: String,
    pub(crate) run_dir: tempfile::TempDir,
    /// The mailbox of the settings of the host's firmware, where it has one.
    pub(crate) firmware: Option<Firmware>,
    /// How, and what from, the host's firmware can be told to boot, as statemgr finds it at its start.
    pub(crate) modes: Vec<Mode>,
    pub(crate) targets: Vec<Target>,
}

/// A firmware with a mailbox: it does what one has to do, when it is told to boot.
#[derive(Debug, Clone, Default)]
pub(crate) struct Firmware(Arc<Mutex<Inside>>);

/// What it has, and how its mailbox is.
#[derive(Debug, Default)]
struct Inside {
    host: FirmwareBox,
    reach: Reach,
    /// The next call that puts something there finds that a boot was quicker.
    boot_before_put: bool,
    /// When something was to be put there.
    puts: Vec<Instant>,
    /// How often a boot reset the keys of secure boot.
    keys: usize,
    /// Most bytes of wishes; `None`: as a mailbox that says nothing.
    room: Option<usize>,
    /// How long a call may take; `None`: as a mailbox that says nothing.
    patience: Option<Millis>,
}

impl Inside {
    fn boot(&mut self) -> bool {
        let is_of_keys = self.host.pending().is_some_and(|wishes| wishes.reset_keys.is_some());
        let is_taken = self.host.boot();
        self.keys += usize::from(is_taken && is_of_keys);
        is_taken
    }
}

/// What its mailbox does with calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Reach {
    #[default]
    Answers,
    Refuses,
    Hangs,
    /// It is looked at, and takes nothing.
    RefusesPuts,
    /// It is looked at, and does not answer to what is put there.
    HangsPuts,
}

impl Firmware {
    /// One that has reported.
    pub(crate) fn reported() -> Self {
        let new = Self::default();
        new.write(|host| (host.report, host.revision) = (Some(report()), 1));
        new
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().expect("no panic")
    }

    /// What the host's side does.
    pub(crate) fn write<T>(&self, write: impl FnOnce(&mut FirmwareBox) -> T) -> T {
        write(&mut self.lock().host)
    }

    /// A boot: whether it took anything.
    pub(crate) fn boot(&self) -> bool {
        self.lock().boot()
    }

    /// A boot comes just before the next call that puts something into the mailbox.
    pub(crate) fn boot_before_put(&self) {
        self.lock().boot_before_put = true;
    }

    /// How often a boot reset the keys of secure boot.
    pub(crate) fn keys(&self) -> usize {
        self.lock().keys
    }

    /// When something was to be put into the mailbox.
    pub(crate) fn puts(&self) -> Vec<Instant> {
        self.lock().puts.clone()
    }

    /// The mailbox takes so many bytes of wishes.
    pub(crate) fn has_room(&self, bytes: usize) {
        self.lock().room = Some(bytes);
    }

    /// A call of the mailbox may take so long.
    pub(crate) fn has_patience(&self, patience: Millis) {
        self.lock().patience = Some(patience);
    }

    /// The id of what lies in the mailbox for the next boot.
    pub(crate) fn pending(&self) -> Option<String> {
        self.write(|host| host.pending().map(|wishes| wishes.id.clone()))
    }

    /// What an attribute is.
    pub(crate) fn current(&self, name: &str) -> Value {
        self.write(|host| {
            let report = host.report.as_ref().expect("a report");
            report.attribute(name).expect("an attribute").current.clone()
        })
    }

    /// What the mailbox does with calls from now on.
    pub(crate) fn set(&self, reach: Reach) {
        self.lock().reach = reach;
    }

    async fn reached<T>(&self, call: impl FnOnce(&mut FirmwareBox) -> T) -> Result<T, hal::Error> {
        let reach = self.lock().reach;
        match reach {
            Reach::Answers | Reach::RefusesPuts | Reach::HangsPuts => Ok(self.write(call)),
            Reach::Refuses => Err(hal::Error::Unavailable { what: "the firmware".to_owned() }),
            Reach::Hangs => std::future::pending().await,
        }
    }
}

#[async_trait::async_trait]
impl FirmwareMailbox for Firmware {
    fn room(&self) -> usize {
        self.lock().room.unwrap_or(24 * 1024)
    }

    fn patience(&self) -> Millis {
        self.lock().patience.unwrap_or(Millis::from_secs(2))
    }

    async fn look(&self, known: u64) -> Result<Seen, hal::Error> {
        self.reached(|host| host.seen(known)).await
    }

    async fn put(&self, wishes: Option<Wishes>, known: u64) -> Result<Seen, hal::Error> {
        let reach = {
            let mut inside = self.lock();
            inside.puts.push(Instant::now());
            if inside.reach == Reach::RefusesPuts {
                let what = "the mailbox".to_owned();
                return Err(hal::Error::Invalid { what, reason: "it has no room".to_owned() });
            }
            if std::mem::take(&mut inside.boot_before_put) {
                inside.boot();
            }
            inside.reach
        };
        if reach == Reach::HangsPuts {
            return std::future::pending().await;
        }
        let put = move |host: &mut FirmwareBox| {
            host.put(wishes);
            host.seen(known)
        };
        self.reached(put).await
    }
}

fn report() -> Report {
    let option = BootOption::new;
    let text = Value::Text("1".into());
    Report {
        attributes: vec![
            Attribute::new("Smt", Kind::Boolean, Value::Boolean(true)),
            Attribute::new("Retries", Kind::Integer { lower: 0, upper: 9, step: 1 }, Value::Integer(3)),
            Attribute {
                read_only: true,
                ..Attribute::new("Version", Kind::Text { shortest: 0, longest: 8 }, text)
            },
        ],
        boot_options: vec![option("Boot0000"), option("Boot0001")],
        boot_order: vec!["Boot0000".into(), "Boot0001".into()],
        secure_boot: Some(SecureBoot { enabled: true, active: true, mode: SecureBootMode::User }),
    }
}

pub(crate) fn local_context(
    daemon: &str,
    run_dir: &std::path::Path,
) -> (LocalContext, tokio::sync::mpsc::UnboundedReceiver<Notification>) {
    let (trigger, shutdown) = Shutdown::new();
    // Nobody stops these in order; they are killed.
    std::mem::forget(trigger);
    let (notify, told) = Notifier::channel();
    let local = LocalContext {
        daemon: daemon.to_owned(),
        clock: Clock::new(),
        shutdown,
        notify,
        board: None,
        state_dir: "/nonexistent".into(),
        run_dir: run_dir.to_owned(),
        heartbeat_every: std::time::Duration::from_secs(5),
        settings: serde_json::Map::new(),
    };
    (local, told)
}

pub(crate) async fn ready(mut told: tokio::sync::mpsc::UnboundedReceiver<Notification>) {
    while told.recv().await.expect("the daemon runs") != Notification::Ready {}
}

impl Bench {
    pub(crate) async fn start(config: twin::Config) -> Self {
        Self::with_firmware(config, None).await
    }

    /// With a way to the settings of the host's firmware.
    pub(crate) async fn with_firmware(config: twin::Config, firmware: Option<Firmware>) -> Self {
        let bus = Bus::start().await;
        for bucket in ["state", "config"] {
            bus.create_bucket(bucket).await;
        }
        bus.client("operator").await.create_event_log().await.expect("an event log");
        let client = bus.client("websrv").await;
        let pins = TwinBoard::new(config);
        let boot_id = "first".to_owned();
        let run_dir = tempfile::tempdir().expect("a folder");
        let (modes, targets) = (Mode::CHOICES.to_vec(), Target::ALL.to_vec());
        let mut bench = Self {
            bus,
            pins,
            client,
            powermgr: None,
            statemgr: None,
            boot_id,
            run_dir,
            firmware,
            modes,
            targets,
        };
        bench.start_powermgr().await;
        bench.start_statemgr().await;
        bench
    }

    pub(crate) async fn start_powermgr(&mut self) {
        let (local, told) = local_context(powermgr::NAME, self.run_dir.path());
        let context = Context { local, bus: self.bus.client(powermgr::NAME).await };
        let pins = Arc::new(self.pins.clone());
        self.powermgr = Some(tokio::spawn(async move {
            powermgr::serve(context, powermgr::Config::default(), &board(), pins).await.expect("no error");
        }));
        ready(told).await;
    }

    pub(crate) async fn start_statemgr(&mut self) {
        let (local, told) = local_context(statemgr::NAME, self.run_dir.path());
        let context = Context { local, bus: self.bus.client(statemgr::NAME).await };
        let config = statemgr::Config { boot_id: Some(self.boot_id.clone()), ..statemgr::Config::default() };
        let firmware = self.firmware.clone().map(|one| -> Arc<dyn FirmwareMailbox> { Arc::new(one) });
        let path = BootPath {
            mailbox: Arc::new(self.pins.clone()),
            targets: self.targets.clone(),
            modes: self.modes.clone(),
        };
        self.statemgr = Some(tokio::spawn(async move {
            Box::pin(statemgr::serve(context, config, &board(), vec![Some(path)], vec![firmware]))
                .await
                .expect("no error");
        }));
        ready(told).await;
    }

    pub(crate) async fn kill_powermgr(&mut self) {
        kill(self.powermgr.take()).await;
    }

    pub(crate) async fn kill_statemgr(&mut self) {
        kill(self.statemgr.take()).await;
    }

    pub(crate) async fn change(&self, action: v1::HostAction) -> Result<v1::ChangeHostStateResponse, Status> {
        let request = v1::ChangeHostStateRequest { host_name: "system".into(), action: action.into() };
        let principal = Principal { username: "alice".into(), ..Principal::default() };
        let context = CallContext::new().with_principal(principal).with_patience(Duration::from_secs(5));
        self.client.call(host_service::CHANGE_HOST_STATE, &request, &context).await
    }

    pub(crate) async fn host(&self) -> v1::Host {
        let request = v1::GetHostRequest { name: "system".into(), field_mask: None };
        let context = CallContext::new().with_patience(Duration::from_secs(5));
        let answer = self.client.call(host_service::GET_HOST, &request, &context).await.expect("an answer");
        answer.host.expect("a host")
    }

    /// Polls until the host is as wanted: state has no other signal a client could wait for across restarts.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&v1::Host) -> bool) -> v1::Host {
        for _ in 0..1_500 {
            let host = self.host().await;
            if wanted(&host) {
                return host;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the host never was {what}: {:?}", self.host().await);
    }

    pub(crate) async fn until_status(&self, status: v1::HostStatus) -> v1::Host {
        self.until(status.as_str_name(), |host| host.status() == status && !host.stale).await
    }

    pub(crate) async fn until_ended(&self, operation: &str) -> v1::HostOperation {
        let ended = |host: &v1::Host| {
            host.last_operation
                .as_ref()
                .is_some_and(|last| last.id == operation && last.result() != v1::OperationResult::Running)
        };
        self.until("through with it", ended).await.last_operation.expect("an operation")
    }
}

pub(crate) async fn kill(task: Option<JoinHandle<()>>) {
    let task = task.expect("it runs");
    task.abort();
    let _ = task.await;
}

pub(crate) fn quick() -> twin::Config {
    twin::Config {
        power_good_delay: Millis::new(50),
        shutdown_time: Millis::new(100),
        post_time: Millis::new(10),
        boot_time: Millis::new(10),
        // Much longer than a short press, which is let go late on a busy machine.
        hard_off_hold: Millis::new(1_500),
        ..twin::Config::default()
    }
}

pub(crate) fn on() -> twin::Config {
    twin::Config { initially_on: true, ..quick() }
}
