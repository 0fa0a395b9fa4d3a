//! The time of day of the manager, and that it is set by PATCH.

mod support;

use prost::Message as _;
use redfish::{Answer, Fault, Method};
use schema::Code;
use schema::v1alpha1 as v1;
use serde_json::{Value, json};
use support::{Bench, said};

const MANAGER: &str = "/redfish/v1/Managers/bmc";
const SET_TIME: &str = "rpc.NetworkService.SetTime";

fn patch(bench: &mut Bench, body: &Value) -> Answer {
    bench.called.clear();
    bench.send(Method::Patch, MANAGER, body)
}

/// The seconds and nanoseconds that one call was made with.
fn asked(bench: &Bench) -> (i64, i32) {
    let [call] = bench.called.as_slice() else { panic!("{:?}", bench.called) };
    assert_eq!(call.method.subject, SET_TIME);
    let time = v1::SetTimeRequest::decode(call.request.as_slice()).unwrap().time.unwrap();
    (time.seconds, time.nanos)
}

#[test]
fn it_is_set_and_shown_as_it_is_then() {
    let mut bench = Bench::agreeing();
    assert_eq!(bench.shown(MANAGER)["DateTime"], "2026-09-21T14:15:00Z");
    for (text, seconds, nanos) in [
        ("2030-01-01T00:00:00Z", 1_893_456_000, 0),
        ("2030-01-01T02:00:00.5+02:00", 1_893_456_000, 500_000_000),
    ] {
        let answer = patch(&mut bench, &json!({"DateTime": text}));
        assert_eq!(answer.status, 200, "{text}: {}", answer.value());
        assert_eq!(asked(&bench), (seconds, nanos), "{text}");
        assert_eq!(answer.value()["DateTime"], "2030-01-01T00:00:00Z", "not as it was before");
    }
    // It is shown in UTC only. What the time says of its zone is enough.
    let both = json!({"DateTime": "2030-01-01T02:00:00+02:00", "DateTimeLocalOffset": "+02:00"});
    let answer = patch(&mut bench, &both);
    assert_eq!((answer.status, asked(&bench)), (200, (1_893_456_000, 0)));
    let told = &answer.value()["@Message.ExtendedInfo"];
    assert_eq!(told[0]["MessageId"], "Base.1.22.PropertyNotWritable", "{told}");
    assert_eq!(told[0]["RelatedProperties"], json!(["/DateTimeLocalOffset"]));
    assert_eq!(answer.value()["DateTimeLocalOffset"], "+00:00");
}

#[test]
fn what_is_no_time_is_not_asked_for() {
    let mut bench = Bench::agreeing();
    for (value, id) in [
        (json!("tomorrow"), "PropertyValueFormatError"),
        (json!("2030-01-01"), "PropertyValueFormatError"),
        (json!("2030-01-01T00:00:00"), "PropertyValueFormatError"),
        (json!("2030-02-30T00:00:00Z"), "PropertyValueFormatError"),
        (json!(1_893_456_000), "PropertyValueTypeError"),
        (Value::Null, "PropertyValueTypeError"),
    ] {
        let answer = patch(&mut bench, &json!({"DateTime": value}));
        assert_eq!((answer.status, said(&answer).as_str()), (400, id), "{value}");
        let message = &answer.value()["error"]["@Message.ExtendedInfo"][0];
        assert_eq!(message["RelatedProperties"], json!(["/DateTime"]), "{value}");
        assert!(bench.called.is_empty(), "{value}");
    }
}

#[test]
fn what_its_owner_refuses_is_told_in_words_that_say_why() {
    let fault =
        |code, reason: &str| Fault { reason: reason.into(), ..Fault::new(code, "its owner says why") };
    let out_of_range = Fault {
        fields: vec![("time".to_owned(), "it is not from the floor on".to_owned())],
        ..fault(Code::InvalidArgument, "TIME_OUT_OF_RANGE")
    };
    for (fault, status, id, args, resolution) in [
        (
            fault(Code::FailedPrecondition, "TIME_FROM_SERVERS"),
            409,
            "PropertyValueConflict",
            json!(["DateTime", "NTP/ProtocolEnabled"]),
            "its owner says why",
        ),
        (
            out_of_range,
            400,
            "PropertyValueOutOfRange",
            json!(["1980-01-01T00:00:00Z", "DateTime"]),
            "it is not from the floor on",
        ),
        // Where netmgr only looks.
        (
            fault(Code::FailedPrecondition, "NETWORK_OBSERVED"),
            409,
            "PropertyNotWritable",
            json!(["DateTime"]),
            "",
        ),
        (fault(Code::Unavailable, ""), 503, "ServiceTemporarilyUnavailable", json!(["1"]), ""),
    ] {
        let mut bench = Bench::agreeing();
        bench.refuse(SET_TIME, fault);
        let answer = patch(&mut bench, &json!({"DateTime": "1980-01-01T00:00:00Z"}));
        assert_eq!((answer.status, said(&answer).as_str()), (status, id));
        let message = &answer.value()["error"]["@Message.ExtendedInfo"][0];
        assert_eq!(message["MessageArgs"], args, "{id}");
        assert_eq!(message["RelatedProperties"], json!(["/DateTime"]), "{id}");
        if !resolution.is_empty() {
            assert_eq!(message["Resolution"], resolution, "{id}");
        }
    }
}

#[test]
fn who_may_not_configure_the_manager_does_not_set_it() {
    let mut bench = Bench::by(support::asker("olga", auth::Role::Operator));
    bench.agree();
    let answer = patch(&mut bench, &json!({"DateTime": "2030-01-01T00:00:00Z"}));
    assert_eq!((answer.status, said(&answer).as_str()), (403, "InsufficientPrivilege"));
    assert!(bench.called.is_empty());
}
