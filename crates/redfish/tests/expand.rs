//! What an answer with `$expand` may hold (DSP0266, "The $expand query parameter"): so many resources and so many bytes, and none that is cut short.

mod support;

use redfish::{Method, Request};
use schema::v1alpha1 as v1;
use serde_json::Value;
use support::{Bench, said};

/// A machine with so many sensors, whose names have so many letters.
fn sensors(count: usize, letters: usize) -> Bench {
    let mut bench = Bench::new();
    let sensor = |number: usize| v1::Sensor {
        id: format!("s{number}"),
        name: "x".repeat(letters),
        context: Some(v1::SensorContext::Temperature.into()),
        unit: Some(v1::SensorUnit::Celsius.into()),
        status: Some(v1::SensorStatus::Enabled.into()),
        quality: v1::SensorQuality::Good.into(),
        reading: Some(v1::sensor::Reading::AnalogReading(v1::AnalogSensorReading {
            value: Some(1.0),
            ..v1::AnalogSensorReading::default()
        })),
        ..v1::Sensor::default()
    };
    let all = v1::ListSensorsResponse { sensors: (0..count).map(sensor).collect(), ..Default::default() };
    bench.say("rpc.SensorService.ListSensors", &all);
    bench
}

#[test]
fn an_answer_of_too_many_bytes_is_refused_and_can_be_had_in_parts() {
    let all = "/redfish/v1/Chassis/chassis/Sensors?$expand=.";
    let members = |answer: &redfish::Answer| -> Vec<Value> {
        answer.value()["Members"].as_array().cloned().unwrap_or_default()
    };
    let many = sensors(300, 20).get(all);
    assert_eq!((many.status, members(&many).len()), (200, 300));
    let mut large = sensors(900, 6_000);
    let refused = large.get(all);
    assert_eq!((refused.status, said(&refused).as_str()), (507, "InsufficientStorage"));
    let part = large.get(&format!("{all}&$top=300"));
    assert_eq!((part.status, members(&part).len()), (200, 300));
    assert!(members(&part).iter().all(|one| one["Reading"].is_number()));
}

#[test]
fn an_answer_of_too_many_resources_is_refused() {
    for (count, status) in [(3_000, 200), (4_100, 507)] {
        let mut bench = Bench::new();
        let part = |number: usize| v1::Asset {
            id: format!("m{number}"),
            name: "DIMM".into(),
            r#type: v1::AssetType::Memory.into(),
            present: true,
            host_name: "system".into(),
            info: Some(v1::AssetInfo { product_name: "DDR4".into(), ..Default::default() }),
            ..v1::Asset::default()
        };
        let all = v1::ListAssetsResponse { assets: (0..count).map(part).collect() };
        bench.say("rpc.AssetService.ListAssets", &all);
        let answer = bench.get("/redfish/v1/Systems/system?$expand=.($levels=2)");
        assert_eq!(answer.status, status, "{count}");
        if status == 200 {
            let members = answer.value()["Memory"]["Members"].as_array().unwrap();
            assert_eq!(members.len(), count);
            assert!(members.iter().all(|one| one["@odata.type"].is_string()));
        } else {
            assert_eq!(said(&answer), "InsufficientStorage");
        }
    }
}

/// A client that keeps answers (NVIDIA's does) asks for a collection with its members, and whether they are as they were.
#[test]
fn what_is_expanded_is_another_answer_when_a_member_is_other() {
    let mut bench = sensors(3, 4);
    let all = "/redfish/v1/Chassis/chassis/Sensors?$expand=.($levels=1)";
    let tag = |answer: &redfish::Answer| answer.header("etag").unwrap().to_owned();
    let first = bench.get(all);
    let ask = |bench: &mut Bench, uri: &str, tag: &str| {
        let request = Request { if_none_match: Some(tag.to_owned()), ..Request::default() };
        bench.ask(Method::Get, uri, "", request)
    };
    assert_eq!(ask(&mut bench, all, &tag(&first)).status, 304);
    assert_eq!(first.value()["@odata.etag"], tag(&first), "it shows the same");
    let links = bench.get("/redfish/v1/Chassis/chassis/Sensors");
    let mut other = sensors(3, 5);
    let changed = ask(&mut other, all, &tag(&first));
    assert_eq!((changed.status, tag(&changed) == tag(&first)), (200, false));
    // Its links are the same.
    assert_eq!(ask(&mut other, "/redfish/v1/Chassis/chassis/Sensors", &tag(&links)).status, 304);
    // What else is in the answer of a resource is in no tag of it: it is never told to be the same.
    let chassis = "/redfish/v1/Chassis/chassis?$expand=.";
    let shown = bench.get(chassis);
    assert_eq!(ask(&mut bench, chassis, &tag(&shown)).status, 200);
    assert_eq!(tag(&shown), shown.value()["@odata.etag"]);
}
