//! How a machine is with all that belongs to it (DSP0268, `HealthRollup`).

mod support;

use std::sync::Arc;

use redfish::{Health, Rollup};
use schema::v1alpha1 as v1;
use serde_json::{Value, json};
use support::Bench;

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
fn another_rollup_is_another_answer_and_another_tag() {
    let mut bench = Bench::new();
    bench.rollup = Some(Arc::default());
    let before = bench.get(SYSTEM);
    bench.rollup = Some(critical());
    let after = bench.get(SYSTEM);
    assert_ne!(before.value()["@odata.etag"], after.value()["@odata.etag"]);
}
