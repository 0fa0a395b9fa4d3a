//! `HostWatchdogTimer` and `BootProgress` of a system: what of them is shown when, and what a PATCH of the timer asks for.

mod support;

use prost::Message as _;
use redfish::{Fault, Method};
use schema::Code;
use schema::v1alpha1 as v1;
use serde_json::{Value, json};
use support::{Bench, said, watchdog};

const SYSTEM: &str = "/redfish/v1/Systems/system";
const GET: &str = "rpc.IpmiService.GetHostWatchdog";
const SET: &str = "rpc.IpmiService.SetHostWatchdog";

/// ipmisrv has this timer.
fn has(bench: &mut Bench, watchdog: v1::HostWatchdog) {
    bench.say(GET, &v1::GetHostWatchdogResponse { watchdog: Some(watchdog) });
}

fn timer(bench: &mut Bench) -> Value {
    bench.shown(SYSTEM)["HostWatchdogTimer"].clone()
}

/// What was asked of ipmisrv.
fn asked(bench: &Bench) -> Vec<(Option<bool>, Option<v1::HostWatchdogAction>)> {
    let of_watchdog = bench.called.iter().filter(|call| call.method.subject == SET);
    let requests = of_watchdog.map(|call| v1::SetHostWatchdogRequest::decode(&call.request[..]).unwrap());
    requests
        .map(|request| {
            assert_eq!(request.host_name, "system");
            (request.enabled, request.timeout_action.map(|_| request.timeout_action()))
        })
        .collect()
}

#[test]
fn the_timer_is_shown_as_the_host_has_set_it() {
    use v1::{HostWatchdogAction as Action, HostWatchdogInterrupt as Interrupt};
    let mut bench = Bench::new();
    let shown = json!({
        "FunctionEnabled": true,
        "TimeoutAction": "ResetSystem",
        "WarningAction": "DiagnosticInterrupt",
        "Status": {"State": "Enabled"},
    });
    assert_eq!(timer(&mut bench), shown);
    for (action, expected) in [
        (Action::Unspecified, "None"),
        (Action::None, "None"),
        (Action::PowerDown, "PowerDown"),
        (Action::PowerCycle, "PowerCycle"),
    ] {
        has(&mut bench, v1::HostWatchdog { timeout_action: action.into(), ..watchdog() });
        assert_eq!(timer(&mut bench)["TimeoutAction"], expected);
    }
    for (interrupt, expected) in [
        (Interrupt::Unspecified, "None"),
        (Interrupt::None, "None"),
        (Interrupt::Smi, "SMI"),
        (Interrupt::Messaging, "MessagingInterrupt"),
    ] {
        has(&mut bench, v1::HostWatchdog { interrupt: interrupt.into(), ..watchdog() });
        assert_eq!(timer(&mut bench)["WarningAction"], expected);
    }
    for (enabled, running, expected) in
        [(true, true, "Enabled"), (true, false, "StandbyOffline"), (false, false, "Disabled")]
    {
        has(&mut bench, v1::HostWatchdog { enabled, running, ..watchdog() });
        let timer = timer(&mut bench);
        assert_eq!(
            (&timer["FunctionEnabled"], &timer["Status"]["State"]),
            (&json!(enabled), &json!(expected))
        );
    }
}

#[test]
fn it_is_left_out_where_there_is_none_and_no_part_of_the_tag() {
    let mut bench = Bench::new();
    let with = bench.shown(SYSTEM);
    let tag = |shown: &Value| shown["@odata.etag"].as_str().unwrap().to_owned();
    has(&mut bench, v1::HostWatchdog { running: false, enabled: false, ..watchdog() });
    assert_eq!(tag(&bench.shown(SYSTEM)), tag(&with));
    // Of another host, of none, and of a daemon that does not answer.
    has(&mut bench, v1::HostWatchdog { host_name: "host2".into(), ..watchdog() });
    let without = bench.shown(SYSTEM);
    assert!(without.get("HostWatchdogTimer").is_none(), "{without}");
    assert_eq!(tag(&without), tag(&with));
    bench.say(GET, &v1::GetHostWatchdogResponse { watchdog: None });
    assert!(bench.shown(SYSTEM).get("HostWatchdogTimer").is_none());
    bench.refuse(GET, Fault::new(Code::Unavailable, "ipmisrv does not answer"));
    assert!(bench.shown(SYSTEM).get("HostWatchdogTimer").is_none());
}

#[test]
fn what_is_given_of_the_timer_is_one_change() {
    use v1::HostWatchdogAction as Action;
    for (body, expected) in [
        (json!({"FunctionEnabled": false}), (Some(false), None)),
        (json!({"TimeoutAction": "PowerCycle"}), (None, Some(Action::PowerCycle))),
        (
            json!({"FunctionEnabled": false, "TimeoutAction": "PowerDown"}),
            (Some(false), Some(Action::PowerDown)),
        ),
        (json!({"FunctionEnabled": false, "TimeoutAction": "None"}), (Some(false), Some(Action::None))),
        // What is sent back as it is shown says nothing.
        (json!({"FunctionEnabled": false, "WarningAction": "DiagnosticInterrupt"}), (Some(false), None)),
    ] {
        let mut bench = Bench::agreeing();
        let answer = bench.send(Method::Patch, SYSTEM, &json!({"HostWatchdogTimer": body}));
        assert_eq!(answer.status, 200, "{body}: {}", answer.value());
        assert_eq!(asked(&bench), [expected], "{body}");
    }
}

#[test]
fn where_one_of_it_cannot_be_none_of_it_is_asked_for() {
    for body in [
        json!({"FunctionEnabled": false, "TimeoutAction": "OEM"}),
        json!({"FunctionEnabled": "no", "TimeoutAction": "PowerDown"}),
        json!({"FunctionEnabled": false, "WarningAction": "SMI"}),
    ] {
        let mut bench = Bench::agreeing();
        let answer = bench.send(Method::Patch, SYSTEM, &json!({"HostWatchdogTimer": body}));
        assert_eq!((answer.status, asked(&bench)), (400, Vec::new()), "{body}");
    }
    // There is none for this host.
    let mut bench = Bench::agreeing();
    has(&mut bench, v1::HostWatchdog { host_name: "host2".into(), ..watchdog() });
    let off = json!({"HostWatchdogTimer": {"FunctionEnabled": false}});
    let answer = bench.send(Method::Patch, SYSTEM, &off);
    assert_eq!((answer.status, said(&answer).as_str()), (400, "PropertyNotWritable"), "{}", answer.value());
    assert!(asked(&bench).is_empty());
    // Nobody says whether there is one: its owner is asked.
    let mut bench = Bench::agreeing();
    let gone = Fault::new(Code::Unavailable, "ipmisrv does not answer");
    bench.refuse(GET, gone.clone());
    bench.refuse(SET, gone);
    assert_eq!(bench.send(Method::Patch, SYSTEM, &off).status, 503);
}

#[test]
fn an_end_of_a_timer_that_nobody_set_is_refused_with_the_reason() {
    let mut bench = Bench::agreeing();
    has(&mut bench, v1::HostWatchdog { host_name: "system".into(), enabled: true, ..Default::default() });
    let why = "system has set no watchdog timer";
    let fault = Fault { reason: "HOST_WATCHDOG_NOT_SET".into(), ..Fault::new(Code::FailedPrecondition, why) };
    bench.refuse(SET, fault);
    let body = json!({"HostWatchdogTimer": {"TimeoutAction": "ResetSystem"}});
    let answer = bench.send(Method::Patch, SYSTEM, &body);
    assert_eq!((answer.status, said(&answer).as_str()), (409, "PropertyNotWritable"), "{}", answer.value());
    assert!(answer.value().to_string().contains(why), "{}", answer.value());
}

/// The machine like this.
fn is(bench: &mut Bench, host: v1::Host) {
    bench.say("rpc.HostService.ListHosts", &v1::ListHostsResponse { hosts: vec![host] });
}

#[test]
fn how_far_a_boot_has_come_is_shown_where_it_is_known() {
    use v1::BootProgressStage as Stage;
    let mut bench = Bench::new();
    let shown = json!({"LastState": "OSRunning", "LastStateTime": "2026-09-21T14:14:20Z"});
    assert_eq!(bench.shown(SYSTEM)["BootProgress"], shown);
    let host = |status: v1::HostStatus, stale, stage: Option<Stage>| v1::Host {
        name: "system".into(),
        status: Some(status.into()),
        stale,
        boot_progress: stage.map(|stage| v1::BootProgress { stage: stage.into(), ..Default::default() }),
        ..v1::Host::default()
    };
    for (status, stale, stage, expected) in [
        (v1::HostStatus::On, false, None, Value::Null),
        (v1::HostStatus::On, false, Some(Stage::Unspecified), Value::Null),
        (v1::HostStatus::On, false, Some(Stage::SetupEntered), json!({"LastState": "SetupEntered"})),
        (v1::HostStatus::Off, false, None, json!({"LastState": "None"})),
        // How it was, as nobody hears of its power now.
        (v1::HostStatus::Off, true, None, Value::Null),
        (v1::HostStatus::On, true, Some(Stage::Complete), Value::Null),
        (
            v1::HostStatus::On,
            false,
            Some(Stage::MotherboardInitialization),
            json!({"LastState": "OEM", "OemLastState": "MotherboardInitializationStarted"}),
        ),
    ] {
        is(&mut bench, host(status, stale, stage));
        let shown = bench.shown(SYSTEM);
        assert_eq!(shown["BootProgress"], expected, "{status:?} {stage:?}");
    }
}
