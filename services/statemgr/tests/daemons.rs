//! statemgr and powermgr on a bus, over a board in memory: what clients see while daemons are killed.

mod support;

use std::time::Duration;

use busd::testing::Lines;
use ipc::{CallContext, Client, Code, Principal, Status};
use schema::rpc::{chassis_service, host_service, management_controller_service as bmc};
use schema::server::OperatorServiceCall;
use schema::v1alpha1 as v1;
use support::{Bench, on, quick};
use tracing::Level;
use twin::{Fault, Input};
use units::Millis;

/// Longest wait for what is certain to come.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_host_is_switched_on_and_off_and_the_record_tells_who_and_why() {
    let bench = Bench::start(quick()).await;
    bench.until_status(v1::HostStatus::Off).await;
    let answer = bench.change(v1::HostAction::On).await.expect("accepted");
    assert_eq!(answer.outcome(), v1::ActionOutcome::Accepted);
    assert_eq!(answer.current_status(), v1::HostStatus::Transitioning);
    let operation = bench.until_ended(&answer.operation_id).await;
    assert_eq!((operation.result(), operation.username.as_str()), (v1::OperationResult::Done, "alice"));
    let host = bench.until_status(v1::HostStatus::On).await;
    let reboot = host.last_reboot.expect("it came up");
    assert_eq!((reboot.reboot_cause(), reboot.reboot_count()), (v1::HostRebootCause::Command, 1));

    let again = bench.change(v1::HostAction::On).await.expect("already");
    assert_eq!((again.outcome(), again.operation_id.as_str()), (v1::ActionOutcome::Already, ""));

    let answer = bench.change(v1::HostAction::Off).await.expect("accepted");
    bench.until_ended(&answer.operation_id).await;
    assert!(!bench.pins.power_good());
    bench.until_status(v1::HostStatus::Off).await;
}

#[tokio::test]
async fn a_refusal_names_its_reason() {
    let bench = Bench::start(quick()).await;
    bench.until_status(v1::HostStatus::Off).await;
    let status = bench.change(v1::HostAction::Reboot).await.expect_err("off");
    assert_eq!((status.code, status.reason().as_str()), (Code::FailedPrecondition, "HOST_OFF"));
    let request = v1::GetHostRequest { name: "nobody".into(), field_mask: None };
    let status =
        bench.client.call(host_service::GET_HOST, &request, &CallContext::new()).await.expect_err("none");
    assert_eq!(status.code, Code::NotFound);
    assert!(status.message.contains("system"), "{status}");
}

#[tokio::test]
async fn of_two_clients_at_once_with_one_wish_both_are_told_the_one_operation() {
    let bench = Bench::start(quick()).await;
    bench.until_status(v1::HostStatus::Off).await;
    let (one, other) = tokio::join!(bench.change(v1::HostAction::On), bench.change(v1::HostAction::On));
    let (one, other) = (one.expect("accepted"), other.expect("joined"));
    assert_eq!((one.outcome(), other.outcome()), (v1::ActionOutcome::Accepted, v1::ActionOutcome::Accepted));
    assert_eq!(one.operation_id, other.operation_id);
    bench.until_ended(&one.operation_id).await;
    assert_eq!(bench.pins.presses().iter().filter(|(down, _)| *down).count(), 1);
}

#[tokio::test]
async fn of_two_clients_at_once_with_different_wishes_one_wins_and_the_other_is_told() {
    let bench = Bench::start(on()).await;
    bench.until_status(v1::HostStatus::On).await;
    let (one, other) =
        tokio::join!(bench.change(v1::HostAction::PowerCycle), bench.change(v1::HostAction::ForceRestart));
    let (won, lost) = if one.is_ok() { (one, other) } else { (other, one) };
    let won = won.expect("one wins");
    let lost = lost.expect_err("the other does not");
    assert_eq!((lost.code, lost.reason().as_str()), (Code::Aborted, "TRANSITION_IN_PROGRESS"));
    assert!(lost.message.contains(&won.operation_id), "{lost}");
}

#[tokio::test]
async fn a_shutdown_nobody_hears_fails_and_force_off_takes_over() {
    let bench = Bench::start(on()).await;
    bench.until_status(v1::HostStatus::On).await;
    bench.pins.input(Input::Fault(Fault::OsHang(true)));
    bench.change(v1::HostAction::Off).await.expect("accepted");
    let force = bench.change(v1::HostAction::ForceOff).await.expect("accepted");
    assert_eq!(bench.until_ended(&force.operation_id).await.result(), v1::OperationResult::Done);
    assert!(!bench.pins.power_good());
}

#[tokio::test]
async fn the_state_is_stale_while_powermgr_is_away_and_true_again_after() {
    let mut bench = Bench::start(on()).await;
    bench.until_status(v1::HostStatus::On).await;
    bench.kill_powermgr().await;
    let status = bench.change(v1::HostAction::ForceOff).await.expect_err("nobody presses");
    assert_eq!((status.code, status.reason().as_str()), (Code::Unavailable, "POWERMGR_UNREACHABLE"));
    let host = bench.until("stale", |host| host.stale).await;
    assert_eq!(host.status(), v1::HostStatus::On, "the last known");
    bench.pins.input(Input::Fault(Fault::PowerLoss));
    bench.start_powermgr().await;
    bench.until_status(v1::HostStatus::Off).await;
    assert_eq!(bench.pins.presses(), [], "what was refused is not done later");
}

#[tokio::test]
async fn a_request_made_while_powermgr_restarts_only_waits() {
    let mut bench = Bench::start(quick()).await;
    bench.until_status(v1::HostStatus::Off).await;
    bench.kill_powermgr().await;
    let client = bench.bus.client("ubmcctl").await;
    let asking = tokio::spawn(async move { change(&client, v1::HostAction::On).await });
    // It is asked before powermgr is back, which is waited for a second.
    tokio::time::sleep(Duration::from_millis(50)).await;
    bench.start_powermgr().await;
    let answer = asking.await.expect("no panic").expect("accepted");
    assert_eq!(bench.until_ended(&answer.operation_id).await.result(), v1::OperationResult::Done);
    assert!(bench.pins.power_good());
}

#[tokio::test]
async fn a_request_that_powermgr_took_and_died_with_is_kept_and_looked_after() {
    let mut bench = Bench::start(quick()).await;
    bench.until_status(v1::HostStatus::Off).await;
    bench.kill_powermgr().await;
    let dying = bench.bus.client(powermgr::NAME).await;
    let mut requests = dying.serve(&["PowerService"]).await.expect("served");
    let client = bench.bus.client("ubmcctl").await;
    let asking = tokio::spawn(async move { change(&client, v1::HostAction::On).await });
    loop {
        let request = requests.next().await.expect("a request");
        let last = request.method == "Apply";
        // Neither answered nor dropped: the process is gone.
        std::mem::forget(request);
        if last {
            break;
        }
    }
    drop(requests);
    bench.start_powermgr().await;
    let answer = asking.await.expect("no panic").expect("accepted, not refused: it may have been begun");
    assert_eq!(bench.until_ended(&answer.operation_id).await.result(), v1::OperationResult::Done);
    assert!(bench.pins.power_good());
}

#[tokio::test]
async fn an_acknowledged_request_survives_the_death_of_both_daemons() {
    let mut bench = Bench::start(twin::Config { power_good_delay: Millis::new(2_000), ..quick() }).await;
    bench.until_status(v1::HostStatus::Off).await;
    let answer = bench.change(v1::HostAction::On).await.expect("accepted");
    bench.kill_statemgr().await;
    bench.kill_powermgr().await;
    bench.start_powermgr().await;
    bench.start_statemgr().await;
    let operation = bench.until_ended(&answer.operation_id).await;
    assert_eq!((operation.result(), operation.username.as_str()), (v1::OperationResult::Done, "alice"));
    assert!(bench.pins.power_good());
}

#[tokio::test]
async fn restarts_change_nothing_on_a_quiet_board() {
    for config in [quick(), on()] {
        let status = if config.initially_on { v1::HostStatus::On } else { v1::HostStatus::Off };
        let mut bench = Bench::start(config).await;
        for _ in 0..3 {
            bench.until_status(status).await;
            bench.kill_statemgr().await;
            bench.kill_powermgr().await;
            bench.start_statemgr().await;
            bench.start_powermgr().await;
        }
        bench.until_status(status).await;
        assert_eq!(bench.pins.presses(), []);
    }
}

#[tokio::test]
async fn the_restore_policy_acts_after_an_unplanned_boot_only_and_never_on_a_running_host() {
    let mut bench = Bench::start(quick()).await;
    bench.until_status(v1::HostStatus::Off).await;
    let host = v1::Host {
        power_restore_policy: Some(v1::PowerRestorePolicy::AlwaysOn.into()),
        ..v1::Host::default()
    };
    update(&bench.client, host, &[]).await.expect("stored");
    // The same boot: only the daemon restarts.
    bench.kill_statemgr().await;
    bench.start_statemgr().await;
    bench.until_status(v1::HostStatus::Off).await;
    assert_eq!(bench.pins.presses(), []);
    // Mains power came back.
    bench.kill_statemgr().await;
    bench.boot_id = "second".to_owned();
    bench.start_statemgr().await;
    let host = bench.until_status(v1::HostStatus::On).await;
    assert_eq!(host.last_reboot.expect("it came up").reboot_cause(), v1::HostRebootCause::RestorePolicy);
    assert_eq!(host.last_operation.expect("an operation").username, "restore policy");
    let presses = bench.pins.presses().len();
    // Again, with the host running.
    bench.kill_statemgr().await;
    bench.boot_id = "third".to_owned();
    bench.start_statemgr().await;
    bench.until_status(v1::HostStatus::On).await;
    assert_eq!(bench.pins.presses().len(), presses);
}

#[tokio::test]
async fn a_host_that_another_daemon_cut_off_stays_off_when_mains_power_fails_right_after() {
    let mut bench = Bench::start(on()).await;
    bench.until_status(v1::HostStatus::On).await;
    let last =
        v1::Host { power_restore_policy: Some(v1::PowerRestorePolicy::Last.into()), ..v1::Host::default() };
    update(&bench.client, last, &[]).await.expect("stored");
    let state = bench.bus.client("statemgr").await.bucket("state").await.expect("a bucket");
    let cut = v1::PowerApplyRequest {
        op_id: "0000000000000000000000000000cafe".into(),
        host: "system".into(),
        action: v1::HostAction::ForceOff.into(),
        ..v1::PowerApplyRequest::default()
    };
    let by = Principal { username: "thermal emergency".into(), ..Principal::default() };
    let asked = tokio::time::Instant::now();
    let thermalmgr = bench.bus.client("thermalmgr").await;
    let context = CallContext::new().with_principal(by);
    thermalmgr.call(schema::rpc::power_service::APPLY, &cut, &context).await.expect("accepted");
    let ended = bench.until_ended(&cut.op_id).await;
    assert_eq!((ended.username.as_str(), ended.result()), ("thermal emergency", v1::OperationResult::Done));
    // Before it would be remembered as a host that went off by itself, which is 7 s after it went off.
    while !state
        .get::<Kept>("host.system.record")
        .await
        .expect("a store that answers")
        .is_some_and(|entry| String::from_utf8_lossy(&entry.value.0).contains("\"was_on\":false"))
    {
        assert!(asked.elapsed() < Duration::from_secs(7), "off is not stored as the last state");
        tokio::task::yield_now().await;
    }
    bench.kill_statemgr().await;
    bench.boot_id = "second".to_owned();
    bench.start_statemgr().await;
    bench.until_status(v1::HostStatus::Off).await;
    let presses = bench.pins.presses().len();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(bench.pins.presses().len(), presses, "the policy does not switch it on");
}

#[tokio::test]
async fn the_restore_policy_is_not_forgotten_when_statemgr_dies_before_it_acted() {
    let mut bench = Bench::start(quick()).await;
    bench.until_status(v1::HostStatus::Off).await;
    let host = v1::Host {
        power_restore_policy: Some(v1::PowerRestorePolicy::AlwaysOn.into()),
        ..v1::Host::default()
    };
    update(&bench.client, host, &[]).await.expect("stored");
    bench.kill_statemgr().await;
    // Mains power comes back, and powermgr is not up yet: nothing can be restored.
    bench.kill_powermgr().await;
    bench.boot_id = "second".to_owned();
    bench.start_statemgr().await;
    bench.kill_statemgr().await;
    bench.start_statemgr().await;
    bench.start_powermgr().await;
    bench.until_status(v1::HostStatus::On).await;
    // It acts once per boot.
    let answer = bench.change(v1::HostAction::ForceOff).await.expect("accepted");
    bench.until_ended(&answer.operation_id).await;
    bench.kill_statemgr().await;
    bench.start_statemgr().await;
    bench.until_status(v1::HostStatus::Off).await;
    assert!(!bench.pins.power_good());
}

#[tokio::test]
async fn what_users_set_is_stored_and_what_they_may_not_set_is_refused() {
    let mut bench = Bench::start(quick()).await;
    let host = v1::Host {
        description: Some("rack 7".into()),
        metadata: [("owner".to_owned(), "lab".to_owned())].into(),
        asset: Some(v1::AssetInfo {
            product_name: "X1".into(),
            asset_tag: Some("4711".into()),
            ..v1::AssetInfo::default()
        }),
        ..v1::Host::default()
    };
    update(&bench.client, host, &["description", "metadata", "asset"]).await.expect("stored");
    let tag = v1::Host {
        asset: Some(v1::AssetInfo { asset_tag: Some("4712".into()), ..v1::AssetInfo::default() }),
        ..v1::Host::default()
    };
    update(&bench.client, tag, &["asset.asset_tag"]).await.expect("stored");
    let status = v1::Host { status: Some(v1::HostStatus::On.into()), ..v1::Host::default() };
    let refused = update(&bench.client, status, &["status"]).await.expect_err("read only");
    assert_eq!(refused.code, Code::InvalidArgument);

    bench.kill_statemgr().await;
    bench.start_statemgr().await;
    let host = bench.host().await;
    assert_eq!(host.description(), "rack 7");
    assert_eq!(host.metadata["owner"], "lab");
    let asset = host.asset.expect("an asset");
    assert_eq!((asset.product_name.as_str(), asset.asset_tag()), ("X1", "4712"));
}

#[tokio::test]
async fn lists_are_filtered_masked_and_paged() {
    let bench = Bench::start(on()).await;
    bench.until_status(v1::HostStatus::On).await;
    let list = |status: v1::HostStatus, paths: &[&str]| v1::ListHostsRequest {
        status: Some(status.into()),
        field_mask: Some(mask(paths)),
        ..v1::ListHostsRequest::default()
    };
    let call = |request: v1::ListHostsRequest| {
        let client = bench.client.clone();
        async move { client.call(host_service::LIST_HOSTS, &request, &CallContext::new()).await }
    };
    let hosts = call(list(v1::HostStatus::On, &["name"])).await.expect("a list").hosts;
    assert_eq!(hosts, [v1::Host { name: "system".into(), ..v1::Host::default() }]);
    assert!(call(list(v1::HostStatus::Off, &["name"])).await.expect("a list").hosts.is_empty());
    let status = call(list(v1::HostStatus::On, &["nothing"])).await.expect_err("no such field");
    assert_eq!(status.code, Code::InvalidArgument);

    let request = v1::ListChassisRequest { page_size: Some(1), ..v1::ListChassisRequest::default() };
    let answer = bench.client.call(chassis_service::LIST_CHASSIS, &request, &CallContext::new()).await;
    let answer = answer.expect("a list");
    assert_eq!((answer.chassis.len(), answer.next_page_token, answer.total_size), (1, None, Some(1)));
}

async fn chassis(
    client: &Client,
    action: v1::ChassisAction,
) -> Result<v1::ChangeChassisStateResponse, Status> {
    chassis_for(client, action, None).await
}

async fn chassis_for(
    client: &Client,
    action: v1::ChassisAction,
    seconds: Option<i64>,
) -> Result<v1::ChangeChassisStateResponse, Status> {
    let duration = seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
    let request =
        v1::ChangeChassisStateRequest { chassis_name: "chassis".into(), action: action.into(), duration };
    client.call(chassis_service::CHANGE_CHASSIS_STATE, &request, &CallContext::new()).await
}

async fn get_chassis(client: &Client) -> v1::Chassis {
    let request = v1::GetChassisRequest { name: "chassis".into(), field_mask: None };
    let answer = client.call(chassis_service::GET_CHASSIS, &request, &CallContext::new()).await;
    answer.expect("an answer").chassis.expect("a chassis")
}

#[tokio::test]
async fn chassis_actions_reach_the_hosts_and_identify_is_kept() {
    let mut bench = Bench::start(quick()).await;
    bench.until_status(v1::HostStatus::Off).await;
    let mut told = bench.client.subscribe_events("event.chassis.>").await.expect("a subscription");
    let answer = chassis(&bench.client, v1::ChassisAction::On).await.expect("accepted");
    assert_eq!(answer.outcome(), v1::ActionOutcome::Accepted);
    bench.until_ended(&answer.operation_id).await;
    bench.until_status(v1::HostStatus::On).await;
    assert_eq!(get_chassis(&bench.client).await.status(), v1::ChassisStatus::On);
    let already = chassis(&bench.client, v1::ChassisAction::On).await.expect("already");
    assert_eq!(already.outcome(), v1::ActionOutcome::Already);
    let answer = chassis(&bench.client, v1::ChassisAction::EmergencyShutdown).await.expect("accepted");
    bench.until_ended(&answer.operation_id).await;
    let refused = chassis(&bench.client, v1::ChassisAction::PowerCycle).await.expect_err("off");
    assert_eq!(refused.reason(), "HOST_OFF");
    // Who only hears of it is told which way it goes.
    let ways = async {
        let mut ways = Vec::new();
        loop {
            if let Some(ipc::EventItem::Event(event)) = told.next().await
                && let Some(v1::event::Payload::ChassisStateChange(change)) = event.payload
            {
                match change.current_status() {
                    v1::ChassisStatus::Transitioning => ways.push(change.cause()),
                    v1::ChassisStatus::Off if !ways.is_empty() => return ways,
                    _ => {}
                }
            }
        }
    };
    let ways = tokio::time::timeout(LONG, ways).await.expect("it is off");
    assert_eq!(ways, [v1::ChassisAction::On, v1::ChassisAction::EmergencyShutdown]);

    let mut events = bench.client.subscribe_events("event.chassis.>").await.expect("a subscription");
    chassis(&bench.client, v1::ChassisAction::IdentifyOn).await.expect("accepted");
    let identify = async {
        loop {
            if let Some(ipc::EventItem::Event(event)) = events.next().await
                && let Some(v1::event::Payload::ChassisStateChange(change)) = event.payload
                && change.cause() == v1::ChassisAction::IdentifyOn
            {
                return change.identify;
            }
        }
    };
    assert!(tokio::time::timeout(LONG, identify).await.expect("an event"));
    bench.kill_statemgr().await;
    bench.start_statemgr().await;
    let kept = get_chassis(&bench.client).await;
    assert!(kept.identify() && kept.identify_until.is_none());

    // With an end: refused where that makes no sense, kept over a restart of the daemon, over at its time.
    for (action, seconds) in [
        (v1::ChassisAction::IdentifyOn, 0),
        (v1::ChassisAction::IdentifyOn, 700_000),
        (v1::ChassisAction::On, 5),
    ] {
        let refused = chassis_for(&bench.client, action, Some(seconds)).await.expect_err("makes no sense");
        assert_eq!(refused.code, Code::InvalidArgument, "{action:?}");
    }
    let unchanged = get_chassis(&bench.client).await;
    assert!(unchanged.identify() && unchanged.identify_until.is_none(), "a refused request has no effect");
    let on = v1::ChassisAction::IdentifyOn;
    chassis_for(&bench.client, on, Some(3_600)).await.expect("accepted");
    let until = get_chassis(&bench.client).await.identify_until.expect("an end");
    bench.kill_statemgr().await;
    bench.start_statemgr().await;
    let kept = get_chassis(&bench.client).await;
    assert!(kept.identify() && (kept.identify_until.expect("an end").seconds - until.seconds).abs() <= 1);
    let mut events = bench.client.subscribe_events("event.chassis.>").await.expect("a subscription");
    chassis_for(&bench.client, on, Some(1)).await.expect("accepted");
    let ended = async {
        loop {
            if let Some(ipc::EventItem::Event(event)) = events.next().await
                && let Some(v1::event::Payload::ChassisStateChange(change)) = event.payload
                && change.cause() == v1::ChassisAction::IdentifyOff
            {
                return change.identify;
            }
        }
    };
    assert!(!tokio::time::timeout(LONG, ended).await.expect("an event"));
    let over = get_chassis(&bench.client).await;
    assert!(!over.identify() && over.identify_until.is_none());
    bench.kill_statemgr().await;
    bench.start_statemgr().await;
    assert!(!get_chassis(&bench.client).await.identify(), "what is stored has ended, too");
}

async fn controller(
    client: &Client,
    action: v1::ManagementControllerAction,
) -> Result<v1::ChangeManagementControllerStateResponse, Status> {
    let request =
        v1::ChangeManagementControllerStateRequest { controller_name: "bmc".into(), action: action.into() };
    client.call(bmc::CHANGE_MANAGEMENT_CONTROLLER_STATE, &request, &CallContext::new()).await
}

#[tokio::test]
async fn a_disabled_controller_locks_power_even_after_a_restart() {
    let mut bench = Bench::start(on()).await;
    bench.until_status(v1::HostStatus::On).await;
    controller(&bench.client, v1::ManagementControllerAction::Disable).await.expect("locked");
    bench.kill_statemgr().await;
    bench.start_statemgr().await;
    let status = bench.change(v1::HostAction::ForceOff).await.expect_err("locked");
    assert_eq!((status.code, status.reason().as_str()), (Code::FailedPrecondition, "MAINTENANCE"));
    controller(&bench.client, v1::ManagementControllerAction::Enable).await.expect("unlocked");
    bench.change(v1::HostAction::ForceOff).await.expect("accepted");
}

/// Who opens the machine relies on it: what nobody has begun is not begun any more.
#[tokio::test]
async fn a_request_that_waits_is_refused_when_power_is_locked() {
    let mut bench = Bench::start(quick()).await;
    bench.until_status(v1::HostStatus::Off).await;
    bench.kill_powermgr().await;
    let (asked, locked) = tokio::join!(bench.change(v1::HostAction::On), async {
        bench.until("the request waits", |host| host.stale).await;
        controller(&bench.client, v1::ManagementControllerAction::Disable).await
    });
    locked.expect("locked");
    let status = asked.expect_err("it was not begun");
    assert_eq!((status.code, status.reason().as_str()), (Code::FailedPrecondition, "MAINTENANCE"));
    bench.start_powermgr().await;
    bench.until("powermgr is back", |host| !host.stale).await;
    controller(&bench.client, v1::ManagementControllerAction::Enable).await.expect("unlocked");
    let host = bench.host().await;
    assert_eq!((host.status(), host.last_operation), (v1::HostStatus::Off, None));
}

#[tokio::test]
async fn a_reset_of_the_controller_is_asked_of_the_operator_and_is_no_loss_of_mains() {
    let mut bench = Bench::start(quick()).await;
    bench.until_status(v1::HostStatus::Off).await;
    let host = v1::Host {
        power_restore_policy: Some(v1::PowerRestorePolicy::AlwaysOn.into()),
        ..v1::Host::default()
    };
    update(&bench.client, host, &["power_restore_policy"]).await.expect("stored");
    let status = controller(&bench.client, v1::ManagementControllerAction::ColdReset).await;
    assert_eq!(status.expect_err("no operator").code, Code::Unavailable);

    let operator = bench.bus.client("operator").await;
    let mut calls = operator.calls().await.expect("served");
    let answering = tokio::spawn(async move {
        let OperatorServiceCall::Reset(reset, reply) = calls.next().await.expect("a request");
        reply.send(Ok(v1::OperatorResetResponse {})).await;
        reset.action()
    });
    let answer =
        controller(&bench.client, v1::ManagementControllerAction::ColdReset).await.expect("accepted");
    assert_eq!(answer.current_status(), v1::ManagementControllerStatus::NotReady);
    assert_eq!(answering.await.expect("no panic"), v1::ManagementControllerAction::ColdReset);
    // Again before it happens: refused, and the reset stays a planned one.
    let status =
        controller(&bench.client, v1::ManagementControllerAction::Reboot).await.expect_err("under way");
    assert_eq!((status.code, status.reason().as_str()), (Code::Aborted, "TRANSITION_IN_PROGRESS"));

    bench.kill_statemgr().await;
    bench.boot_id = "after the reset".to_owned();
    bench.start_statemgr().await;
    bench.until_status(v1::HostStatus::Off).await;
    let request = v1::GetManagementControllerRequest { name: "bmc".into(), field_mask: None };
    let answer = bench.client.call(bmc::GET_MANAGEMENT_CONTROLLER, &request, &CallContext::new()).await;
    let reboot = answer.expect("an answer").controller.and_then(|one| one.last_reboot).expect("a boot");
    assert_eq!(reboot.reboot_cause(), v1::ManagementControllerRebootCause::SoftReset);
    assert_eq!(reboot.reboot_count(), 2);
    assert_eq!(bench.pins.presses(), [], "the policy is for a loss of mains power");

    let status = controller(&bench.client, v1::ManagementControllerAction::ClearLogs).await;
    assert_eq!(status.expect_err("not yet possible").code, Code::Unimplemented);

    // What the operator cannot do here it refuses, and the controller goes on.
    let mut calls = operator.calls().await.expect("served");
    let answering = tokio::spawn(async move {
        let OperatorServiceCall::Reset(_, reply) = calls.next().await.expect("a request");
        let refused = ipc::Status::unimplemented("no data partition").with_reason("NOT_SUPPORTED");
        reply.send(Err(refused)).await;
    });
    let status = controller(&bench.client, v1::ManagementControllerAction::FactoryReset).await;
    assert_eq!(status.expect_err("not possible here").reason(), "NOT_SUPPORTED");
    answering.await.expect("no panic");
    controller(&bench.client, v1::ManagementControllerAction::Disable).await.expect("it goes on");
}

/// I-1, I-2 and I-4 with both daemons killed at random moments under a stream of requests: what was acknowledged ends, and
/// in the end the state shown is the state on the wire.
#[tokio::test]
async fn no_acknowledged_request_is_lost_while_daemons_are_killed_under_load() {
    let mut bench = Bench::start(quick()).await;
    bench.until_status(v1::HostStatus::Off).await;
    let client = bench.bus.client("ubmcctl").await;
    let mut events =
        bench.client.subscribe_events("event.host.system.operation").await.expect("a subscription");
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let asking = tokio::spawn(async move {
        let mut accepted = Vec::new();
        let actions =
            [v1::HostAction::On, v1::HostAction::ForceOff, v1::HostAction::On, v1::HostAction::PowerCycle];
        for action in actions.into_iter().cycle() {
            if *stopped.borrow_and_update() {
                break;
            }
            if let Ok(answer) = change(&client, action).await
                && answer.outcome() == v1::ActionOutcome::Accepted
            {
                accepted.push(answer.operation_id);
            }
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        accepted
    });
    let mut random =
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha);
    for round in 0..20 {
        use proptest::prelude::Rng;
        tokio::time::sleep(Duration::from_millis(random.next_u64() % 500)).await;
        if round % 2 == 0 {
            bench.kill_powermgr().await;
            bench.start_powermgr().await;
        } else {
            bench.kill_statemgr().await;
            bench.start_statemgr().await;
        }
    }
    stop.send(true).expect("the client runs");
    let accepted = asking.await.expect("no panic");
    assert!(!accepted.is_empty());
    bench.until("quiet", |host| host.requested_action.is_none() && !host.stale).await;
    let is_true = |host: &v1::Host| {
        let truth = if bench.pins.power_good() { v1::HostStatus::On } else { v1::HostStatus::Off };
        host.status() == truth
    };
    bench.until("as the wire says", is_true).await;
    assert!(!bench.pins.button_held());
    // Every acknowledged operation has told its end.
    let mut open: std::collections::HashSet<String> = accepted.into_iter().collect();
    let telling = async {
        while !open.is_empty() {
            if let Some(ipc::EventItem::Event(event)) = events.next().await
                && let Some(v1::event::Payload::PowerOperationResult(result)) = event.payload
            {
                open.remove(&result.operation_id);
            }
        }
    };
    let told = tokio::time::timeout(LONG, telling).await;
    assert!(told.is_ok(), "acknowledged and never ended: {open:?}");
}

async fn change(client: &Client, action: v1::HostAction) -> Result<v1::ChangeHostStateResponse, Status> {
    let request = v1::ChangeHostStateRequest { host_name: "system".into(), action: action.into() };
    let context = CallContext::new().with_patience(Duration::from_secs(5));
    client.call(host_service::CHANGE_HOST_STATE, &request, &context).await
}

fn mask(paths: &[&str]) -> prost_types::FieldMask {
    prost_types::FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }
}

async fn update(client: &Client, host: v1::Host, paths: &[&str]) -> Result<v1::UpdateHostResponse, Status> {
    let field_mask = (!paths.is_empty()).then(|| mask(paths));
    let request = v1::UpdateHostRequest { host_name: "system".into(), host: Some(host), field_mask };
    client.call(host_service::UPDATE_HOST, &request, &CallContext::new()).await
}

/// The next event with this subject's last two parts.
async fn next_event(events: &mut ipc::Events, component: &str, what: &str) -> v1::Event {
    let waiting = async {
        loop {
            if let Some(ipc::EventItem::Event(event)) = events.next().await
                && event.component == component
                && event.what == what
            {
                return event;
            }
        }
    };
    tokio::time::timeout(LONG, waiting).await.expect("an event")
}

#[tokio::test]
async fn what_is_set_is_told_with_who_set_it() {
    let bench = Bench::start(quick()).await;
    let mut events = bench.client.subscribe_events("event.>").await.expect("a subscription");
    let by = || {
        let principal = Principal { username: "alice".into(), ..Principal::default() };
        CallContext::new().with_principal(principal)
    };
    let host = v1::Host { description: Some("rack 7".into()), ..v1::Host::default() };
    let request = v1::UpdateHostRequest {
        host_name: "system".into(),
        host: Some(host),
        field_mask: Some(mask(&["description"])),
    };
    bench.client.call(host_service::UPDATE_HOST, &request, &by()).await.expect("stored");
    let told = next_event(&mut events, "system", "change").await;
    assert_eq!((told.principal(), told.message.as_str()), ("alice", "system: settings changed: description"));

    // Who sends back all that was read, changed or not, is told by what has another value now.
    bench.client.call(host_service::UPDATE_HOST, &request, &by()).await.expect("stored");
    let host = v1::Host {
        description: Some("rack 7".into()),
        power_restore_policy: Some(v1::PowerRestorePolicy::AlwaysOff.into()),
        ..v1::Host::default()
    };
    let request = v1::UpdateHostRequest { host_name: "system".into(), host: Some(host), field_mask: None };
    bench.client.call(host_service::UPDATE_HOST, &request, &by()).await.expect("stored");
    let told = next_event(&mut events, "system", "change").await;
    assert_eq!(told.message, "system: settings changed: power_restore_policy");

    let action = v1::ChassisAction::IdentifyOn.into();
    let request = v1::ChangeChassisStateRequest { chassis_name: "chassis".into(), action, duration: None };
    bench.client.call(chassis_service::CHANGE_CHASSIS_STATE, &request, &by()).await.expect("accepted");
    assert_eq!(next_event(&mut events, "chassis", "state").await.principal(), "alice");

    let action = v1::ManagementControllerAction::Disable.into();
    let request = v1::ChangeManagementControllerStateRequest { controller_name: "bmc".into(), action };
    bench.client.call(bmc::CHANGE_MANAGEMENT_CONTROLLER_STATE, &request, &by()).await.expect("locked");
    assert_eq!(next_event(&mut events, "bmc", "state").await.principal(), "alice");
}

/// Bytes no record begins with.
struct Rubbish;

impl ipc::Value for Rubbish {
    const VERSION: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        b"{\"was_on\":".to_vec()
    }

    fn decode(_version: u16, _bytes: &[u8]) -> Result<Self, ipc::ValueError> {
        Ok(Self)
    }
}

#[tokio::test]
async fn a_damaged_record_costs_what_it_is_of_and_is_told() {
    let mut bench = Bench::start(quick()).await;
    bench.until_status(v1::HostStatus::Off).await;
    let always_on = v1::Host {
        power_restore_policy: Some(v1::PowerRestorePolicy::AlwaysOn.into()),
        ..v1::Host::default()
    };
    update(&bench.client, always_on, &["power_restore_policy"]).await.expect("stored");
    let mut events = bench.client.subscribe_events("event.>").await.expect("a subscription");
    bench.kill_statemgr().await;
    let state = bench.bus.client("statemgr").await.bucket("state").await.expect("a bucket");
    for key in ["host.system.record", "host.system.intent", "bmc.bmc.record"] {
        state.put(key, &Rubbish).await.expect("stored");
    }
    // Mains power comes back.
    bench.boot_id = "second".to_owned();
    bench.start_statemgr().await;
    for component in ["system", "system", "bmc"] {
        let told = next_event(&mut events, component, "fault").await;
        assert_eq!(told.severity(), v1::EventSeverity::Warning, "{}", told.message);
    }
    // A lock that cannot be read is a lock, until it is said that it is none.
    let status = bench.change(v1::HostAction::On).await.expect_err("locked");
    assert_eq!(status.reason(), "MAINTENANCE");
    controller(&bench.client, v1::ManagementControllerAction::Enable).await.expect("unlocked");
    assert_eq!(bench.pins.presses(), [], "the policy does not act on what it cannot know");
    bench.change(v1::HostAction::On).await.expect("accepted");
    bench.until_status(v1::HostStatus::On).await;
}

#[tokio::test]
async fn a_store_that_lost_values_switches_nothing_on() {
    // What was lost: the record of the boot; what the host was told to do at a loss of mains.
    for lost in ["bmc.boot", "host.system"] {
        let mut bench = Bench::start(quick()).await;
        bench.until_status(v1::HostStatus::Off).await;
        let always_on = v1::Host {
            power_restore_policy: Some(v1::PowerRestorePolicy::AlwaysOn.into()),
            ..v1::Host::default()
        };
        update(&bench.client, always_on, &["power_restore_policy"]).await.expect("stored");
        bench.kill_statemgr().await;
        let client = bench.bus.client("statemgr").await;
        let bucket = if lost == "bmc.boot" { "state" } else { "config" };
        let bucket = client.bucket(bucket).await.expect("a bucket");
        bucket.delete(lost).await.expect("gone");
        bucket.put("_damaged", &Rubbish).await.expect("stored");
        if lost == "host.system" {
            bench.boot_id = "second".to_owned();
        }
        bench.start_statemgr().await;
        // The lock is presumed where it was stored with what was lost.
        let _ = controller(&bench.client, v1::ManagementControllerAction::Enable).await;
        bench.until_status(v1::HostStatus::Off).await;
        // Whatever is asked for next is the first that is pressed.
        let nmi = bench.change(v1::HostAction::Nmi).await.expect_err("it is off");
        assert_eq!(nmi.reason(), "HOST_OFF", "{lost}");
        assert_eq!(bench.pins.presses(), [], "{lost}");
        bench.change(v1::HostAction::On).await.expect("accepted");
        bench.until_status(v1::HostStatus::On).await;
    }
}

#[tokio::test]
async fn a_lock_that_is_only_presumed_is_lifted_although_the_store_takes_nothing() {
    let mut bench = Bench::start(on()).await;
    bench.until_status(v1::HostStatus::On).await;
    let mut events = bench.client.subscribe_events("event.bmc.>").await.expect("a subscription");
    bench.kill_statemgr().await;
    // The store has lost values, nobody knows which.
    let state = bench.bus.client("statemgr").await.bucket("state").await.expect("a bucket");
    state.put("_damaged", &Rubbish).await.expect("stored");
    bench.bus.takes_writes("state", false).await;
    bench.start_statemgr().await;
    let told = next_event(&mut events, "bmc", "fault").await;
    assert_eq!(told.severity(), v1::EventSeverity::Warning, "{}", told.message);
    let status = bench.change(v1::HostAction::Nmi).await.expect_err("locked");
    assert_eq!(status.reason(), "MAINTENANCE");
    assert!(status.message.contains("ENABLE"), "{}", status.message);
    let off = bench.change(v1::HostAction::ForceOff).await.expect("an emergency");
    bench.until_ended(&off.operation_id).await;
    let answer = controller(&bench.client, v1::ManagementControllerAction::Enable).await.expect("unlocked");
    assert_eq!(answer.outcome(), v1::ActionOutcome::AcceptedNotStored);
    next_event(&mut events, "bmc", "fault").await;
    // In this boot a restart of the daemon changes nothing.
    bench.kill_statemgr().await;
    bench.start_statemgr().await;
    bench.until_status(v1::HostStatus::Off).await;
    let on = bench.change(v1::HostAction::On).await.expect("unlocked");
    assert_eq!(on.outcome(), v1::ActionOutcome::AcceptedNotStored);
    bench.until_status(v1::HostStatus::On).await;
    // Locking must be stored to count.
    controller(&bench.client, v1::ManagementControllerAction::Disable).await.expect_err("not stored");
    // What was refused does not come true with a restart either.
    bench.kill_statemgr().await;
    bench.start_statemgr().await;
    let off = bench.change(v1::HostAction::ForceOff).await.expect("unlocked");
    bench.until_ended(&off.operation_id).await;
    let on = bench.change(v1::HostAction::On).await.expect("unlocked");
    bench.until_ended(&on.operation_id).await;
    bench.bus.takes_writes("state", true).await;
    controller(&bench.client, v1::ManagementControllerAction::Disable).await.expect("locked");
    assert_eq!(bench.change(v1::HostAction::ForceOff).await.expect_err("locked").reason(), "MAINTENANCE");
    controller(&bench.client, v1::ManagementControllerAction::Enable).await.expect("unlocked");
    bench.kill_statemgr().await;
    bench.start_statemgr().await;
    bench.change(v1::HostAction::ForceOff).await.expect("accepted");
}

#[tokio::test]
async fn a_store_that_takes_nothing_is_told_once_and_not_for_each_request() {
    let lines = Lines::listen();
    let bench = Bench::start(quick()).await;
    bench.until_status(v1::HostStatus::Off).await;
    let before = lines.count(Level::WARN, "");
    bench.bus.takes_writes("state", false).await;
    for _ in 0..4 {
        // One that ends before the store has answered is told as accepted.
        bench.change(v1::HostAction::On).await.expect("accepted");
        let off = bench.change(v1::HostAction::ForceOff).await.expect("accepted");
        bench.until_ended(&off.operation_id).await;
    }
    assert_eq!(lines.count(Level::WARN, "store refuses writes"), 1);
    assert_eq!(lines.count(Level::WARN, "") - before, 1, "and nothing else says the same");
    bench.bus.takes_writes("state", true).await;
    while bench.change(v1::HostAction::On).await.expect("accepted").outcome() != v1::ActionOutcome::Accepted {
        let off = bench.change(v1::HostAction::ForceOff).await.expect("accepted");
        bench.until_ended(&off.operation_id).await;
    }
    bench.until_status(v1::HostStatus::On).await;
    lines.until(Level::INFO, "accepts writes again", 1).await;
}

#[tokio::test]
async fn a_controller_whose_store_takes_nothing_can_be_reset() {
    let bench = Bench::start(quick()).await;
    bench.until_status(v1::HostStatus::Off).await;
    let mut events = bench.client.subscribe_events("event.bmc.>").await.expect("a subscription");
    bench.bus.takes_writes("state", false).await;
    let operator = bench.bus.client("operator").await;
    let mut calls = operator.calls().await.expect("served");
    let answering = tokio::spawn(async move {
        let OperatorServiceCall::Reset(_, reply) = calls.next().await.expect("a request");
        reply.send(Ok(v1::OperatorResetResponse {})).await;
    });
    let answer = controller(&bench.client, v1::ManagementControllerAction::Reboot).await.expect("accepted");
    assert_eq!(answer.outcome(), v1::ActionOutcome::AcceptedNotStored);
    assert_eq!(answer.current_status(), v1::ManagementControllerStatus::NotReady);
    answering.await.expect("no panic");
    let told = next_event(&mut events, "bmc", "fault").await;
    assert!(told.message.contains("restore policy"), "{}", told.message);
}

#[tokio::test]
async fn an_operation_that_has_ended_and_is_still_stored_is_not_done_again() {
    // The button is held for long enough to look at what is stored meanwhile, on a busy machine as well: no operating system shuts down at once.
    let mut bench = Bench::start(twin::Config { hard_off_hold: Millis::new(3_000), ..on() }).await;
    bench.until_status(v1::HostStatus::On).await;
    bench.pins.input(Input::Fault(Fault::OsHang(true)));
    let mut stored = None;
    let state = bench.bus.client("statemgr").await.bucket("state").await.expect("a bucket");
    let answer = bench.change(v1::HostAction::ForceOff).await.expect("accepted");
    if let Ok(Some(entry)) = state.get::<Kept>("host.system.intent").await {
        stored = Some(entry.value);
    }
    let stored = stored.expect("it is stored once it is accepted, and the button is still held");
    bench.until_ended(&answer.operation_id).await;
    bench.pins.input(Input::Fault(Fault::OsHang(false)));
    let again = bench.change(v1::HostAction::On).await.expect("accepted");
    bench.until_ended(&again.operation_id).await;
    bench.kill_statemgr().await;
    bench.kill_powermgr().await;
    // As if the store had not taken the removal.
    state.put("host.system.intent", &stored).await.expect("stored");
    let marks = bench.run_dir.path().join("statemgr");
    std::fs::create_dir_all(&marks).expect("a folder");
    std::fs::write(marks.join(format!("ended.system.{}", answer.operation_id)), "").expect("written");
    bench.start_powermgr().await;
    bench.start_statemgr().await;
    bench.until_status(v1::HostStatus::On).await;
    let forgotten = async {
        while state.get::<Kept>("host.system.intent").await.expect("a store that answers").is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, forgotten).await.expect("it is forgotten");
    assert!(bench.pins.power_good(), "not forced off a second time");
}

/// A value as it is.
struct Kept(Vec<u8>);

impl ipc::Value for Kept {
    const VERSION: u16 = 1;

    fn encode(&self) -> Vec<u8> {
        self.0.clone()
    }

    fn decode(_version: u16, bytes: &[u8]) -> Result<Self, ipc::ValueError> {
        Ok(Self(bytes.to_vec()))
    }
}
