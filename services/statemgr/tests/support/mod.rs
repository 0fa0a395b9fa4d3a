//! statemgr and powermgr on a bus, over a board in memory.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::sync::Arc;
use std::time::Duration;

use boot_override::{Mode, Target};
use busd::testing::Bus;
use hw::BootPath;
use ipc::{CallContext, Client, Principal, Status};
use powermgr::testing::{TwinBoard, board};
use schema::rpc::host_service;
use schema::v1alpha1 as v1;
use service::{Clock, Context, LocalContext, Notification, Notifier, Shutdown};
use tokio::task::JoinHandle;
use units::Millis;

pub(crate) struct Bench {
    pub(crate) bus: Bus,
    pub(crate) pins: TwinBoard,
    pub(crate) client: Client,
    pub(crate) powermgr: Option<JoinHandle<()>>,
    pub(crate) statemgr: Option<JoinHandle<()>>,
    pub(crate) boot_id: String,
    pub(crate) run_dir: tempfile::TempDir,
    /// How the host's firmware can be told to boot, as statemgr finds it at its start.
    pub(crate) modes: Vec<Mode>,
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
        let bus = Bus::start().await;
        for bucket in ["state", "config"] {
            bus.create_bucket(bucket).await;
        }
        bus.client("operator").await.create_event_log().await.expect("an event log");
        let client = bus.client("websrv").await;
        let pins = TwinBoard::new(config);
        let boot_id = "first".to_owned();
        let run_dir = tempfile::tempdir().expect("a folder");
        let modes = Mode::CHOICES.to_vec();
        let mut bench = Self { bus, pins, client, powermgr: None, statemgr: None, boot_id, run_dir, modes };
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
        let path = BootPath {
            mailbox: Arc::new(self.pins.clone()),
            targets: Target::ALL.to_vec(),
            modes: self.modes.clone(),
        };
        self.statemgr = Some(tokio::spawn(async move {
            Box::pin(statemgr::serve(context, config, &board(), vec![Some(path)])).await.expect("no error");
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
        hard_off_hold: Millis::new(500),
        ..twin::Config::default()
    }
}

pub(crate) fn on() -> twin::Config {
    twin::Config { initially_on: true, ..quick() }
}
