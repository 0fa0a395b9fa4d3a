//! The daemon on a bus, over a board in memory: what a caller sees, and what the pins see.

use std::time::Duration;

use ipc::testing::Bus;
use ipc::{CallContext, Client, Code, EventItem, Events};
use power::OpId;
use powermgr::testing::{TwinBoard, board};
use powermgr::{Config, serve};
use schema::rpc::power_service::{APPLY, GET_STATE, LIST_HOSTS, SET_IDENTIFY};
use schema::v1alpha1::{self as v1, event::Payload};
use service::{Clock, Context, Kit, Notification, Notifier, Shutdown, Trigger};
use tokio::task::JoinHandle;
use twin::{Fault, Input};
use units::Millis;

struct Bench {
    bus: Bus,
    pins: TwinBoard,
    caller: Client,
    events: Events,
    daemon: Option<Daemon>,
    next: u128,
}

struct Daemon {
    task: JoinHandle<Result<(), powermgr::Error>>,
    stop: Trigger,
}

impl Bench {
    async fn start(config: twin::Config) -> Self {
        let bus = Bus::start().await;
        let pins = TwinBoard::new(config);
        let caller = bus.client("statemgr").await;
        let events = caller.subscribe_events("event.host.>").await.expect("a subscription");
        let mut bench = Self { bus, pins, caller, events, daemon: None, next: 0 };
        bench.boot().await;
        bench
    }

    async fn boot(&mut self) {
        let (stop, shutdown) = Shutdown::new();
        let (notify, mut told) = Notifier::channel();
        let kit = Kit {
            daemon: powermgr::NAME.to_owned(),
            clock: Clock::new(),
            shutdown,
            notify,
            board: None,
            board_overrides: Vec::new(),
            state_dir: "/nonexistent".into(),
            run_dir: "/nonexistent".into(),
            heartbeat_every: std::time::Duration::from_secs(5),
            settings: serde_json::Map::new(),
        };
        let context = Context { kit, bus: self.bus.client(powermgr::NAME).await };
        let pins = std::sync::Arc::new(self.pins.clone());
        let task = tokio::spawn(async move { serve(context, Config::default(), &board(), pins).await });
        self.daemon = Some(Daemon { task, stop });
        while told.recv().await.expect("the daemon runs") != Notification::Ready {}
    }

    /// As SIGKILL: no farewell.
    async fn kill(&mut self) {
        let daemon = self.daemon.take().expect("a daemon");
        daemon.task.abort();
        assert!(daemon.task.await.expect_err("aborted").is_cancelled());
    }

    fn op(&mut self) -> String {
        self.next += 1;
        OpId::from_bits(self.next).to_string()
    }

    async fn apply(&mut self, action: v1::HostAction) -> Result<v1::PowerApplyResponse, ipc::Status> {
        let op = self.op();
        self.apply_as(op, "system", action).await
    }

    async fn apply_as(
        &self,
        op_id: String,
        host: &str,
        action: v1::HostAction,
    ) -> Result<v1::PowerApplyResponse, ipc::Status> {
        let request = v1::PowerApplyRequest {
            op_id,
            host: host.to_owned(),
            action: action.into(),
            ..v1::PowerApplyRequest::default()
        };
        self.caller.call(APPLY, &request, &CallContext::new()).await
    }

    async fn state(&self) -> v1::HostPower {
        let request = v1::PowerGetStateRequest { host: "system".to_owned() };
        let answer = self.caller.call(GET_STATE, &request, &CallContext::new()).await.expect("an answer");
        answer.power.expect("a state")
    }

    async fn event<T>(&mut self, mut wanted: impl FnMut(Payload) -> Option<T>) -> T {
        let waiting = async {
            loop {
                match self.events.next().await.expect("the bus is there") {
                    EventItem::Event(event) => {
                        if let Some(found) = event.payload.and_then(&mut wanted) {
                            return found;
                        }
                    }
                    EventItem::Resync => {}
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("the event comes")
    }

    async fn result(&mut self) -> v1::PowerOperationResult {
        self.event(|payload| match payload {
            Payload::PowerOperationResult(result) => Some(result),
            _ => None,
        })
        .await
    }

    async fn status(&mut self, wanted: v1::HostStatus) -> v1::HostStateChange {
        self.event(|payload| match payload {
            Payload::HostStateChange(change) if change.current_status() == wanted => Some(change),
            _ => None,
        })
        .await
    }
}

fn quick() -> twin::Config {
    twin::Config {
        power_good_delay: Millis::new(50),
        shutdown_time: Millis::new(200),
        post_time: Millis::new(10),
        boot_time: Millis::new(10),
        ..twin::Config::default()
    }
}

fn on() -> twin::Config {
    twin::Config { initially_on: true, ..quick() }
}

#[tokio::test]
async fn a_host_is_switched_on_and_off_and_each_step_is_told() {
    let mut bench = Bench::start(quick()).await;
    let answer = bench.apply(v1::HostAction::On).await.expect("accepted");
    assert_eq!(answer.outcome(), v1::ActionOutcome::Accepted);
    let power = answer.power.expect("a state");
    assert_eq!(power.status(), v1::HostStatus::Transitioning);
    assert_eq!(power.operation.expect("the operation").result(), v1::OperationResult::Running);
    assert!(bench.pins.button_held() || bench.pins.power_good(), "the pin came before the answer");

    let change = bench.status(v1::HostStatus::On).await;
    assert_eq!(change.reboot_cause(), v1::HostRebootCause::Command);
    assert_eq!(change.operation_id, OpId::from_bits(1).to_string());
    let result = bench.result().await;
    assert_eq!(result.result(), v1::OperationResult::Done);
    assert!(bench.pins.power_good());

    bench.apply(v1::HostAction::Off).await.expect("accepted");
    assert_eq!(bench.result().await.current_status(), v1::HostStatus::Off);
    assert!(!bench.pins.power_good());
    assert_eq!(bench.state().await.state(), v1::PowerState::Off);
}

#[tokio::test]
async fn the_same_operation_is_answered_again_and_not_done_again() {
    let mut bench = Bench::start(quick()).await;
    let op = bench.op();
    for _ in 0..3 {
        let answer = bench.apply_as(op.clone(), "system", v1::HostAction::On).await.expect("accepted");
        assert_eq!(answer.outcome(), v1::ActionOutcome::Accepted);
    }
    bench.result().await;
    let answer = bench.apply_as(op, "system", v1::HostAction::On).await.expect("accepted");
    let operation = answer.power.and_then(|power| power.operation).expect("the operation");
    assert_eq!(operation.result(), v1::OperationResult::Done);
    assert_eq!(bench.pins.presses().iter().filter(|(level, _)| *level).count(), 1);
}

#[tokio::test]
async fn a_second_caller_is_told_what_is_in_the_way() {
    let mut bench = Bench::start(on()).await;
    bench.pins.input(Input::Fault(Fault::OsHang(true)));
    bench.apply(v1::HostAction::Off).await.expect("accepted");
    let status = bench.apply(v1::HostAction::On).await.expect_err("denied");
    assert_eq!((status.code, status.reason().as_str()), (Code::Aborted, "TRANSITION_IN_PROGRESS"));
    assert_eq!(status.info().expect("details").metadata["operation"], OpId::from_bits(1).to_string());
}

#[tokio::test]
async fn force_off_takes_over_and_both_ends_are_told() {
    let mut bench = Bench::start(twin::Config { hard_off_hold: Millis::new(500), ..on() }).await;
    bench.pins.input(Input::Fault(Fault::OsHang(true)));
    bench.apply(v1::HostAction::Off).await.expect("accepted");
    bench.apply(v1::HostAction::ForceOff).await.expect("accepted");
    assert_eq!(bench.result().await.result(), v1::OperationResult::Superseded);
    assert_eq!(bench.result().await.result(), v1::OperationResult::Done);
    assert!(!bench.pins.power_good() && !bench.pins.button_held());
}

#[tokio::test]
async fn what_is_not_possible_is_said_with_a_reason() {
    let mut bench = Bench::start(quick()).await;
    let status = bench.apply(v1::HostAction::Reboot).await.expect_err("denied");
    assert_eq!((status.code, status.reason().as_str()), (Code::FailedPrecondition, "HOST_OFF"));

    let op = bench.op();
    let status = bench.apply_as(op, "host7", v1::HostAction::On).await.expect_err("no such host");
    assert_eq!(status.code, Code::NotFound);
    assert!(status.message.contains("system"), "{status}");

    let status = bench.apply_as("x".into(), "system", v1::HostAction::On).await.expect_err("no id");
    assert_eq!(status.code, Code::InvalidArgument);

    let request = v1::PowerSetIdentifyRequest { chassis: "chassis".into(), on: true };
    let status = bench.caller.call(SET_IDENTIFY, &request, &CallContext::new()).await.expect_err("no light");
    assert_eq!(status.code, Code::Unimplemented);

    let hosts = bench.caller.call(LIST_HOSTS, &v1::PowerListHostsRequest {}, &CallContext::new()).await;
    assert_eq!(hosts.expect("a list").hosts.len(), 1);
}

#[tokio::test]
async fn a_request_that_comes_too_late_is_refused_and_not_done() {
    let mut bench = Bench::start(quick()).await;
    let (op_id, now) = (bench.op(), Clock::boot().as_millis());
    let request = |begin_before_ms| v1::PowerApplyRequest {
        op_id: op_id.clone(),
        host: "system".into(),
        action: v1::HostAction::On.into(),
        begin_before_ms,
        ..Default::default()
    };
    let late = bench.caller.call(APPLY, &request(now - 1), &CallContext::new()).await.expect_err("too late");
    assert_eq!((late.code, late.reason().as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    assert_eq!(bench.pins.presses(), []);
    bench.caller.call(APPLY, &request(now + 60_000), &CallContext::new()).await.expect("in time");
    assert_eq!(bench.result().await.result(), v1::OperationResult::Done);
}

#[tokio::test]
async fn a_line_that_fails_is_the_reason_of_the_operations_end() {
    let mut bench = Bench::start(quick()).await;
    bench.pins.fail_outputs(true);
    let answer = bench.apply(v1::HostAction::On).await.expect("accepted");
    let operation = answer.power.and_then(|power| power.operation).expect("the operation");
    assert_eq!(operation.reason, "LINE_FAILED");
    assert_eq!(bench.result().await.result(), v1::OperationResult::Failed);
    bench.pins.fail_outputs(false);
    // The refused release is made up for, so the next request works.
    bench.apply(v1::HostAction::On).await.expect("accepted");
    bench.status(v1::HostStatus::On).await;
}

#[tokio::test]
async fn a_daemon_that_dies_holding_the_button_lets_go_when_it_is_back() {
    let mut bench = Bench::start(on()).await;
    bench.pins.input(Input::Fault(Fault::OsHang(true)));
    bench.apply(v1::HostAction::ForceOff).await.expect("accepted");
    bench.kill().await;
    assert!(bench.pins.button_held(), "nobody let go");
    bench.boot().await;
    assert!(!bench.pins.button_held());
    assert!(bench.pins.power_good(), "held for less than the override");
    assert_eq!(bench.state().await.state(), v1::PowerState::On);
}

#[tokio::test]
async fn a_restart_changes_nothing_on_a_quiet_board() {
    for config in [quick(), on()] {
        let was_on = config.initially_on;
        let mut bench = Bench::start(config).await;
        for _ in 0..5 {
            bench.kill().await;
            bench.boot().await;
        }
        assert_eq!(bench.pins.presses(), []);
        assert_eq!(bench.pins.power_good(), was_on);
        let status = if was_on { v1::HostStatus::On } else { v1::HostStatus::Off };
        assert_eq!(bench.state().await.status(), status);
    }
}

#[tokio::test]
async fn an_orderly_stop_lets_go_of_the_button() {
    let mut bench = Bench::start(on()).await;
    bench.pins.input(Input::Fault(Fault::OsHang(true)));
    bench.apply(v1::HostAction::ForceOff).await.expect("accepted");
    let daemon = bench.daemon.take().expect("a daemon");
    daemon.stop.stop();
    daemon.task.await.expect("no panic").expect("no error");
    assert!(!bench.pins.button_held());
}

#[tokio::test]
async fn a_button_on_the_panel_is_seen_and_is_the_cause() {
    let mut bench = Bench::start(quick()).await;
    bench.pins.input(Input::Finger(twin::Button::Power, true));
    let pressed = bench
        .event(|payload| if let Payload::ButtonPressed(pressed) = payload { Some(pressed) } else { None })
        .await;
    assert_eq!((pressed.button(), pressed.held), (v1::Button::Power, None));
    bench.pins.wait_power_good(true).await;
    bench.pins.input(Input::Finger(twin::Button::Power, false));
    let change = bench.status(v1::HostStatus::On).await;
    assert_eq!(change.reboot_cause(), v1::HostRebootCause::PowerButton);
    assert_eq!(change.operation_id, "");
}

#[tokio::test]
async fn a_supply_that_trips_is_told() {
    let mut bench = Bench::start(on()).await;
    bench.pins.input(Input::Fault(Fault::PowerLoss));
    let change = bench.status(v1::HostStatus::Off).await;
    assert_eq!(change.operation_id, "");
    assert_eq!(bench.pins.presses(), []);
}
