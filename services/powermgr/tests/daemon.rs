//! The daemon on a bus, over a board in memory: what a caller sees, and what the pins see.

use std::time::Duration;

use busd::testing::Bus;
use ipc::{CallContext, Client, Code, EventItem, Events};
use power::OpId;
use powermgr::testing::{TwinBoard, board};
use powermgr::{Config, serve};
use schema::rpc::power_service::{APPLY, GET_STATE, LIST_HOSTS, SET_IDENTIFY};
use schema::v1alpha1::{self as v1, event::Payload};
use service::{Clock, Context, LocalContext, Notification, Notifier, Shutdown, Trigger};
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
    run_dir: tempfile::TempDir,
}

struct Daemon {
    task: JoinHandle<Result<(), powermgr::Error>>,
    stop: Trigger,
    told: tokio::sync::mpsc::UnboundedReceiver<Notification>,
}

impl Bench {
    async fn start(config: twin::Config) -> Self {
        let bus = Bus::start().await;
        let pins = TwinBoard::new(config);
        let caller = bus.client("statemgr").await;
        let events = caller.subscribe_events("event.host.>").await.expect("a subscription");
        let run_dir = tempfile::tempdir().expect("a folder");
        let mut bench = Self { bus, pins, caller, events, daemon: None, next: 0, run_dir };
        bench.boot().await;
        bench
    }

    async fn boot(&mut self) {
        let (stop, shutdown) = Shutdown::new();
        let (notify, mut told) = Notifier::channel();
        let local = LocalContext {
            daemon: powermgr::NAME.to_owned(),
            clock: Clock::new(),
            shutdown,
            notify,
            board: None,
            state_dir: "/nonexistent".into(),
            run_dir: self.run_dir.path().to_owned(),
            heartbeat_every: Duration::from_secs(1),
            settings: serde_json::Map::new(),
        };
        let context = Context { local, bus: self.bus.client(powermgr::NAME).await };
        let pins = std::sync::Arc::new(self.pins.clone());
        let task = tokio::spawn(async move { serve(context, Config::default(), &board(), pins).await });
        while told.recv().await.expect("the daemon runs") != Notification::Ready {}
        self.daemon = Some(Daemon { task, stop, told });
    }

    /// The next sign of life.
    async fn beats(&mut self) {
        let daemon = self.daemon.as_mut().expect("a daemon");
        while daemon.told.try_recv().is_ok() {}
        while daemon.told.recv().await.expect("the daemon runs") != Notification::Heartbeat {}
    }

    /// An event about a line that says this.
    async fn fault(&mut self, text: &str) {
        let waiting = async {
            loop {
                if let EventItem::Event(event) = self.events.next().await.expect("the bus is there")
                    && event.what == "fault"
                    && event.message.contains(text)
                {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("the event comes")
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
        tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("the event comes")
    }

    /// The next operation that begins.
    async fn begun(&mut self) -> v1::TaskChange {
        self.event(|payload| match payload {
            Payload::TaskChange(change) if change.kind() == v1::TaskChangeKind::Started => Some(change),
            _ => None,
        })
        .await
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

    let begun = bench.begun().await;
    assert_eq!(begun.task_id, OpId::from_bits(1).to_string());
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
    let mut bench = Bench::start(twin::Config { hard_off_hold: Millis::new(1_500), ..on() }).await;
    bench.pins.input(Input::Fault(Fault::OsHang(true)));
    bench.apply(v1::HostAction::Off).await.expect("accepted");
    bench.apply(v1::HostAction::ForceOff).await.expect("accepted");
    assert_eq!(bench.begun().await.task_id, OpId::from_bits(1).to_string());
    assert_eq!(bench.result().await.result(), v1::OperationResult::Superseded);
    assert_eq!(bench.begun().await.task_id, OpId::from_bits(2).to_string());
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
async fn a_daemon_that_dies_holding_the_button_goes_on_holding_it_when_it_is_back() {
    // Longer than a daemon takes to come back on a busy machine.
    let mut bench = Bench::start(twin::Config { hard_off_hold: Millis::new(4_000), ..on() }).await;
    bench.pins.input(Input::Fault(Fault::OsHang(true)));
    bench.apply(v1::HostAction::ForceOff).await.expect("accepted");
    bench.kill().await;
    bench.boot().await;
    let operation = bench.state().await.operation.expect("it is known");
    assert_eq!(operation.result(), v1::OperationResult::Running);
    let result = bench.result().await;
    assert_eq!(
        (result.operation_id, result.result),
        (OpId::from_bits(1).to_string(), v1::OperationResult::Done.into())
    );
    let levels: Vec<_> = bench.pins.presses().into_iter().map(|(level, _)| level).collect();
    assert_eq!(levels, [true, false], "it was not let go in between");
}

#[tokio::test]
async fn a_button_held_for_nothing_that_is_known_is_let_go() {
    let mut bench = Bench::start(on()).await;
    bench.kill().await;
    bench.pins.leave_button_held();
    bench.boot().await;
    bench.pins.wait_button(false).await;
    assert!(bench.pins.power_good(), "held for less than the override");
    assert_eq!(bench.state().await.state(), v1::PowerState::On);
}

/// What the pins show when the daemon is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Button(bool),
    PowerGood(bool),
    /// The host has been reset this often.
    Resets(u32),
}

#[tokio::test]
async fn what_was_done_when_the_daemon_died_is_not_done_again() {
    use Moment::{Button, PowerGood, Resets};
    let cycle = [PowerGood(false), Button(false), Button(true), PowerGood(true), Button(false)];
    for (action, moments) in [
        (v1::HostAction::PowerCycle, cycle.as_slice()),
        (v1::HostAction::Reboot, cycle.as_slice()),
        (v1::HostAction::ForceRestart, [Resets(1)].as_slice()),
    ] {
        // A press during which the daemon dies and comes back is still a short one.
        let mut bench = Bench::start(twin::Config { hard_off_hold: Millis::new(4_000), ..on() }).await;
        let seen = |bench: &Bench| bench.pins.with_host(|host| (host.starts(), host.resets()));
        let (starts, resets) = seen(&bench);
        let op = bench.op();
        bench.apply_as(op.clone(), "system", action).await.expect("accepted");
        bench.kill().await;
        bench.boot().await;
        for moment in moments {
            match *moment {
                Button(level) => bench.pins.wait_button(level).await,
                PowerGood(level) => bench.pins.wait_power_good(level).await,
                Resets(more) => {
                    bench.pins.wait_host(|host| host.resets() - resets >= more).await;
                }
            }
            bench.kill().await;
            bench.boot().await;
        }
        let ended = loop {
            let operation = bench.state().await.operation.expect("it is known");
            assert_eq!(operation.id, op);
            if operation.result() != v1::OperationResult::Running {
                break operation;
            }
            bench.beats().await;
        };
        assert_eq!(ended.result(), v1::OperationResult::Done, "{action:?}: {}", ended.reason);
        let wanted =
            if action == v1::HostAction::ForceRestart { (starts, resets + 1) } else { (starts + 1, resets) };
        assert_eq!(seen(&bench), wanted, "{action:?}");
        let again = bench.apply_as(op, "system", action).await.expect("known");
        assert_eq!(
            again.power.and_then(|power| power.operation).expect("it").result(),
            v1::OperationResult::Done
        );
        assert_eq!(seen(&bench), wanted, "{action:?}");
    }
}

#[tokio::test]
async fn a_damaged_record_stops_nothing() {
    let mut bench = Bench::start(on()).await;
    bench.kill().await;
    let record = bench.run_dir.path().join("powermgr/system.json");
    for bytes in [&b""[..], b"{", b"\xff\0", b"[]", br#"{"version":1,"boot":7,"since_ms":-1}"#] {
        std::fs::write(&record, bytes).expect("written");
        bench.boot().await;
        assert_eq!(bench.state().await.state(), v1::PowerState::On);
        bench.kill().await;
    }
    bench.boot().await;
    bench.apply(v1::HostAction::PowerCycle).await.expect("accepted");
    assert_eq!(bench.result().await.result(), v1::OperationResult::Done);
}

#[tokio::test]
async fn without_a_record_what_must_not_be_done_twice_is_not_begun() {
    let mut bench = Bench::start(on()).await;
    std::fs::remove_dir_all(bench.run_dir.path()).expect("removed");
    bench.apply(v1::HostAction::PowerCycle).await.expect("accepted");
    assert_eq!(bench.result().await.reason, "NOT_RECORDED");
    assert_eq!(bench.pins.presses(), []);
    bench.apply(v1::HostAction::ForceOff).await.expect("accepted");
    assert_eq!(bench.result().await.result(), v1::OperationResult::Done);
}

#[tokio::test]
async fn a_missing_line_costs_what_needs_it_and_is_found_when_it_is_there() {
    for (name, action) in [
        ("nmi-out", v1::HostAction::Nmi),
        ("reset-button-out", v1::HostAction::ForceRestart),
        ("power-button-out", v1::HostAction::Off),
    ] {
        let mut bench = Bench::start(on()).await;
        bench.kill().await;
        bench.pins.remove_line(name, true);
        bench.boot().await;
        let state = bench.state().await;
        assert_eq!((state.state(), state.fault.is_empty()), (v1::PowerState::On, false));
        let status = bench.apply(action).await.expect_err("the line is missing");
        assert_eq!((status.code, status.reason().as_str()), (Code::Unavailable, "LINE_UNAVAILABLE"));
        assert!(status.message.contains(name), "{status}");
        bench.pins.remove_line(name, false);
        bench.fault("can be used again").await;
        assert_eq!(bench.state().await.fault, "");
        bench.apply(action).await.expect("accepted");
        assert_eq!(bench.result().await.result(), v1::OperationResult::Done);
    }
}

#[tokio::test]
async fn without_its_power_good_line_a_host_is_in_error_until_it_is_there() {
    let mut bench = Bench::start(on()).await;
    bench.kill().await;
    bench.pins.remove_line("power-chassis-good", true);
    bench.boot().await;
    assert_eq!(bench.state().await.status(), v1::HostStatus::Error);
    let status = bench.apply(v1::HostAction::Off).await.expect_err("it cannot be seen");
    assert_eq!(status.reason(), "POWER_GOOD_UNREADABLE");
    assert!(status.message.contains("power-chassis-good"), "{status}");
    bench.pins.remove_line("power-chassis-good", false);
    bench.status(v1::HostStatus::On).await;
}

#[tokio::test]
async fn slow_and_hung_lines_keep_nobody_from_looking_or_from_the_sign_of_life() {
    let mut bench = Bench::start(on()).await;
    for slow in [Duration::from_millis(1_300), Duration::from_secs(3_600)] {
        bench.pins.slow_lines(slow);
        bench.apply(v1::HostAction::Nmi).await.ok();
        bench.beats().await;
        let asked = tokio::time::Instant::now();
        bench.state().await;
        assert!(asked.elapsed() < Duration::from_secs(1), "a look waited {:?}", asked.elapsed());
        for _ in 0..4 {
            tokio::time::timeout(Duration::from_secs(20), bench.beats()).await.expect("a sign of life");
        }
    }
    // The line came back: what is true is seen again.
    bench.pins.slow_lines(Duration::ZERO);
    while bench.state().await.state() != v1::PowerState::On {
        bench.beats().await;
    }
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
