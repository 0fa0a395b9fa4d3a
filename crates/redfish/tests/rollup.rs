//! How a machine is with all that belongs to it (DSP0268, `HealthRollup`).

mod support;

use std::sync::Arc;

use redfish::{Exchange, Health, Method, Request, Rollup};
use schema::v1alpha1 as v1;
use serde_json::{Value, json};
use support::{Bench, said};

const SYSTEM: &str = "/redfish/v1/Systems/system";
const CHASSIS: &str = "/redfish/v1/Chassis/chassis";

fn critical() -> Arc<Rollup> {
    Arc::new(Rollup { machine: Health::Critical, hosts: vec![("host1".to_owned(), Health::Warning)] })
}

#[test]
fn the_worst_part_is_told_of_the_machine_and_of_its_box() {
    let mut bench = Bench::new();
    for at in [SYSTEM, CHASSIS] {
        let status = bench.shown(at)["Status"].clone();
        assert_eq!(status.get("HealthRollup"), None, "nobody knows");
    }
    bench.rollup = Some(Arc::default());
    assert_eq!(
        bench.shown(SYSTEM)["Status"],
        json!({"State": "Enabled", "Health": "OK", "HealthRollup": "OK"})
    );
    bench.rollup = Some(critical());
    for at in [SYSTEM, CHASSIS] {
        let status = bench.shown(at)["Status"].clone();
        assert_eq!(status, json!({"State": "Enabled", "Health": "OK", "HealthRollup": "Critical"}), "{at}");
    }
}

#[test]
fn of_several_machines_each_has_what_belongs_to_it() {
    let mut bench = Bench::new();
    let host = |name: &str, status: v1::HostStatus| v1::Host {
        name: name.into(),
        status: Some(status.into()),
        chassis_name: "chassis".into(),
        ..v1::Host::default()
    };
    let hosts = vec![
        host("system", v1::HostStatus::On),
        host("host1", v1::HostStatus::On),
        host("host2", v1::HostStatus::Error),
        host("host3", v1::HostStatus::Unspecified),
    ];
    bench.say("rpc.HostService.ListHosts", &v1::ListHostsResponse { hosts });
    bench.rollup = Some(critical());
    let mut rollup =
        |name: &str| bench.shown(&format!("/redfish/v1/Systems/{name}"))["Status"]["HealthRollup"].clone();
    assert_eq!(["system", "host1", "host2"].map(&mut rollup), ["OK", "Warning", "Critical"]);
    assert_eq!(rollup("host3"), Value::Null, "what is not known has no part that is well");
}

#[test]
fn another_rollup_is_another_answer_and_the_same_tag() {
    let mut bench = Bench::agreeing();
    for at in [SYSTEM, CHASSIS] {
        bench.rollup = Some(Arc::default());
        let before = bench.get(at);
        bench.rollup = Some(critical());
        let after = bench.get(at);
        assert_ne!(before.value()["Status"], after.value()["Status"], "{at}");
        let tag = before.header("etag").unwrap();
        assert_eq!((after.header("etag"), &after.value()["@odata.etag"]), (Some(tag), &json!(tag)), "{at}");
        // Nobody knows how the parts are: a daemon is away for a moment.
        bench.rollup = None;
        let request = Request { if_match: Some(tag.to_owned()), ..Request::default() };
        let changed = bench.ask(Method::Patch, at, r#"{"AssetTag": "x"}"#, request);
        assert_eq!((changed.status, bench.called.len()), (200, 1), "{at}: {}", said(&changed));
        bench.called.clear();
    }
}

#[test]
fn a_kept_answer_is_for_one_rollup_and_its_key_is_short_however_many_machines_there_are() {
    let mut bench = Bench::new();
    let mut key = |rollup: Option<Rollup>| {
        bench.rollup = rollup.map(Arc::new);
        let exchange = Exchange::new(SYSTEM, Method::Get, Request::default(), bench.about()).unwrap();
        exchange.shared_as().unwrap()
    };
    let rollup = |hosts: u32, health: Health| Rollup {
        machine: Health::Critical,
        hosts: (0..hosts).map(|n| (format!("a-host-with-a-long-name-{n}"), health)).collect(),
    };
    let keys = [
        key(None),
        key(Some(Rollup::default())),
        key(Some(rollup(0, Health::Warning))),
        key(Some(rollup(64, Health::Warning))),
        key(Some(rollup(64, Health::Critical))),
    ];
    for (at, one) in keys.iter().enumerate() {
        assert!(one.len() <= 128, "{one}");
        assert!(!keys[..at].contains(one), "{one}");
    }
    assert_eq!(key(Some(rollup(64, Health::Critical))), keys[4]);
}
