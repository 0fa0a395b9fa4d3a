//! Tables of messages and what they break.

use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::json;

use super::{Violation, plan, validate, validate_with};

/// Message, its JSON, and the fields and rules it breaks.
type Case<'a> = (&'a str, serde_json::Value, &'a [(&'a str, &'a str)]);

/// Field paths and rules a JSON message of the contract breaks.
fn broken(message: &str, json: serde_json::Value) -> Vec<(String, String)> {
    let descriptor = crate::pool().get_message_by_name(&format!("schema.v1alpha1.{message}")).unwrap();
    let message = DynamicMessage::deserialize(descriptor, json).unwrap();
    places(validate(&message))
}

fn places(violations: Vec<Violation>) -> Vec<(String, String)> {
    violations.into_iter().map(|v| (v.field, v.rule)).collect()
}

#[test]
fn the_rules_of_the_contract_hold_where_they_are_written() {
    let long = "x".repeat(300);
    let cases: &[Case<'_>] = &[
        ("GetHostRequest", json!({"name": "system"}), &[]),
        ("GetHostRequest", json!({}), &[("name", "string.min_len")]),
        ("GetHostRequest", json!({"name": long}), &[("name", "string.max_len")]),
        ("ChangeHostStateRequest", json!({"hostName": "system", "action": "HOST_ACTION_ON"}), &[]),
        ("ChangeHostStateRequest", json!({"hostName": "system"}), &[("action", "enum.not_in")]),
        (
            "ChangeHostStateRequest",
            json!({"hostName": "system", "action": 99}),
            &[("action", "enum.defined_only")],
        ),
        ("ListHostsRequest", json!({}), &[]),
        ("ListHostsRequest", json!({"status": 42}), &[("status", "enum.defined_only")]),
        ("UpdateHostRequest", json!({"hostName": "system"}), &[("host", "required")]),
        ("UpdateHostRequest", json!({"hostName": "system", "host": {}}), &[]),
        (
            "UpdateHostRequest",
            json!({"hostName": "system", "host": {"description": long}}),
            &[("host.description", "string.max_len")],
        ),
        (
            "UpdateHostRequest",
            json!({"hostName": "system", "host": {"metadata": {"": "v", "k": long}}}),
            &[("host.metadata[\"\"]", "string.min_len"), ("host.metadata[\"k\"]", "string.max_len")],
        ),
        (
            "UpdateHostRequest",
            json!({"hostName": "system", "host": {"location": {"geographicalLocation": {"countryCode": "de"}}}}),
            &[("host.location.geographical_location.country_code", "string.pattern")],
        ),
        (
            "UpdateHostRequest",
            json!({"hostName": "s", "host": {"location": {"rackLocation": {"name": "r1"}, "facilityLocation": {"name": "f"}}}}),
            &[],
        ),
        ("ListChassisRequest", json!({"pageSize": 1001}), &[("page_size", "uint32.lte")]),
        (
            "CreateUserRequest",
            json!({"user": {"username": "a b"}, "password": "long enough"}),
            &[("user.username", "string.pattern")],
        ),
        ("CreateUserRequest", json!({"user": {}, "password": "short"}), &[("password", "string.min_len")]),
        ("CreateUserRequest", json!({"user": {}}), &[("password", "required")]),
        ("CreateUserRequest", json!({"user": {"enabled": false}, "password": "long enough"}), &[]),
        (
            "CreateUserRequest",
            json!({"user": {"email": "nobody"}, "password": "long enough"}),
            &[("user.email", "string.email")],
        ),
        ("WatchEventsRequest", json!({"domain": "host", "component": ""}), &[]),
        ("WatchEventsRequest", json!({"domain": "*"}), &[("domain", "string.pattern")]),
        ("WatchEventsRequest", json!({"what": "a.b"}), &[("what", "string.pattern")]),
        ("WatchEventsRequest", json!({"what": ">"}), &[("what", "string.pattern")]),
        ("AssetInfo", json!({"productName": "p", "uuid": "1"}), &[("uuid", "string.uuid")]),
        ("AssetInfo", json!({"productName": "p", "uuid": "0b5f9a3c-9e0f-4f26-8b63-0f9b6a0f2d11"}), &[]),
        ("BootProgress", json!({"progressPercent": 101}), &[("progress_percent", "uint32.lte")]),
        // Wrong credentials answer UNAUTHENTICATED, not a hint at what is missing.
        ("CreateSessionRequest", json!({}), &[]),
    ];
    for (message, json, expected) in cases {
        let expected: Vec<(String, String)> =
            expected.iter().map(|(f, r)| ((*f).into(), (*r).into())).collect();
        assert_eq!(broken(message, json.clone()), expected, "{message} {json}");
    }
}

const RULES: &str = r#"
syntax = "proto3";
package t;
import "buf/validate/validate.proto";
enum E { E_ZERO = 0; E_ONE = 1; }
message Inner { string s = 1 [(buf.validate.field).string.min_len = 1]; }
message M {
  string chars = 1 [(buf.validate.field).string.len = 2, (buf.validate.field).ignore = IGNORE_IF_ZERO_VALUE];
  optional string bytes_ = 2 [(buf.validate.field).string.max_bytes = 2];
  optional string prefix = 3 [(buf.validate.field).string.prefix = "ab"];
  optional string suffix = 4 [(buf.validate.field).string.suffix = "yz"];
  optional string has = 5 [(buf.validate.field).string.contains = "mid"];
  optional string hasnt = 6 [(buf.validate.field).string.not_contains = "bad"];
  optional string one_of = 7 [(buf.validate.field).string = {in: ["a", "b"]}];
  optional string none_of = 8 [(buf.validate.field).string = {not_in: ["a", "b"]}];
  optional string ip = 9 [(buf.validate.field).string.ip = true];
  optional string name = 10 [(buf.validate.field).string.hostname = true];
  optional bytes raw = 11 [(buf.validate.field).bytes = {min_len: 2, max_len: 3}];
  optional int64 big = 12 [(buf.validate.field).int64 = {gt: -5, lte: 9007199254740993}];
  optional double real = 13 [(buf.validate.field).double = {gte: 0, lt: 1, finite: true}];
  optional bool yes = 14 [(buf.validate.field).bool.const = true];
  optional E e = 15 [(buf.validate.field).enum = {in: [1]}];
  repeated string list = 16 [(buf.validate.field).repeated = {min_items: 1, max_items: 3, unique: true, items: {string: {min_len: 1}}},
    (buf.validate.field).ignore = IGNORE_IF_ZERO_VALUE];
  map<string, Inner> map = 17 [(buf.validate.field).map = {max_pairs: 2, keys: {string: {max_len: 3}}}];
  repeated Inner inners = 18;
  optional Inner inner = 19;
  string skipped = 20 [(buf.validate.field).string.min_len = 9, (buf.validate.field).ignore = IGNORE_ALWAYS];
  optional uint32 number = 21 [(buf.validate.field).uint32 = {not_in: [7]}];
}
message O {
  oneof choice { option (buf.validate.oneof).required = true; string a = 1; string b = 2; }
}
message R { repeated string list = 1 [(buf.validate.field).required = true]; string s = 2 [(buf.validate.field).required = true]; }
"#;

fn pool() -> DescriptorPool {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("third_party");
    let mut resolvers = protox::file::ChainFileResolver::new();
    resolvers.add(protox::file::IncludeFileResolver::new(root));
    resolvers.add(protox::file::GoogleFileResolver::new());
    resolvers.add(OneFile);
    let mut compiler = protox::Compiler::with_file_resolver(resolvers);
    compiler.include_imports(true).open_file("t.proto").unwrap();
    compiler.descriptor_pool()
}

struct OneFile;

impl protox::file::FileResolver for OneFile {
    fn open_file(&self, name: &str) -> Result<protox::file::File, protox::Error> {
        if name == "t.proto" {
            return protox::file::File::from_source(name, RULES);
        }
        Err(protox::Error::file_not_found(name))
    }
}

#[test]
fn each_rule_accepts_and_refuses() {
    let pool = pool();
    let plans = plan::plans(&pool);
    let long: String = "é".repeat(2);
    let cases: &[Case<'_>] = &[
        ("M", json!({}), &[]),
        ("M", json!({"chars": long}), &[]),
        ("M", json!({"chars": "abc"}), &[("chars", "string.len")]),
        ("M", json!({"bytes": long}), &[("bytes_", "string.max_bytes")]),
        ("M", json!({"prefix": "abc", "suffix": "xyz", "has": "amidst", "hasnt": "good"}), &[]),
        (
            "M",
            json!({"prefix": "b", "suffix": "x", "has": "", "hasnt": "a bad one"}),
            &[
                ("prefix", "string.prefix"),
                ("suffix", "string.suffix"),
                ("has", "string.contains"),
                ("hasnt", "string.not_contains"),
            ],
        ),
        ("M", json!({"oneOf": "b", "noneOf": "c"}), &[]),
        ("M", json!({"oneOf": "c", "noneOf": "a"}), &[("one_of", "string.in"), ("none_of", "string.not_in")]),
        ("M", json!({"ip": "::1", "name": "bmc-1.example"}), &[]),
        ("M", json!({"ip": "1.2.3", "name": "-x"}), &[("ip", "string.ip"), ("name", "string.hostname")]),
        ("M", json!({"raw": "AAA="}), &[]),
        ("M", json!({"raw": "AA=="}), &[("raw", "bytes.min_len")]),
        ("M", json!({"raw": "AAAAAA=="}), &[("raw", "bytes.max_len")]),
        ("M", json!({"big": "9007199254740993"}), &[]),
        ("M", json!({"big": "9007199254740994"}), &[("big", "int64.lte")]),
        ("M", json!({"big": "-5"}), &[("big", "int64.gt")]),
        ("M", json!({"real": 0.0}), &[]),
        ("M", json!({"real": 1.0}), &[("real", "double.lt")]),
        (
            "M",
            json!({"real": "NaN"}),
            &[("real", "double.gte"), ("real", "double.lt"), ("real", "double.finite")],
        ),
        ("M", json!({"yes": false}), &[("yes", "bool.const")]),
        ("M", json!({"e": "E_ZERO"}), &[("e", "enum.in")]),
        ("M", json!({"list": ["a", "b"]}), &[]),
        ("M", json!({"list": ["a", ""]}), &[("list[1]", "string.min_len")]),
        ("M", json!({"list": ["a", "a"]}), &[("list", "repeated.unique")]),
        ("M", json!({"list": ["a", "b", "c", "d"]}), &[("list", "repeated.max_items")]),
        ("M", json!({"map": {"abcd": {"s": "x"}}}), &[("map[\"abcd\"]", "string.max_len")]),
        ("M", json!({"map": {"a": {}}}), &[("map[\"a\"].s", "string.min_len")]),
        (
            "M",
            json!({"map": {"a": {"s": "x"}, "b": {"s": "x"}, "c": {"s": "x"}}}),
            &[("map", "map.max_pairs")],
        ),
        ("M", json!({"inners": [{"s": "x"}, {}]}), &[("inners[1].s", "string.min_len")]),
        ("M", json!({"inner": {}}), &[("inner.s", "string.min_len")]),
        ("M", json!({"skipped": "x"}), &[]),
        ("M", json!({"number": 7}), &[("number", "uint32.not_in")]),
        ("O", json!({}), &[("choice", "required")]),
        ("O", json!({"b": ""}), &[]),
        ("R", json!({}), &[("list", "required"), ("s", "required")]),
    ];
    for (message, json, expected) in cases {
        let descriptor = pool.get_message_by_name(&format!("t.{message}")).unwrap();
        let parsed = DynamicMessage::deserialize(descriptor, json).unwrap();
        let mut found = places(validate_with(&plans, &parsed));
        let mut expected: Vec<(String, String)> =
            expected.iter().map(|(f, r)| ((*f).into(), (*r).into())).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{message} {json}");
    }
}

#[test]
fn every_known_rule_is_a_rule_of_buf_validate() {
    let rules = crate::pool().get_message_by_name("buf.validate.FieldRules").unwrap();
    for name in super::known::RULES
        .iter()
        .chain(super::known::GROUPS)
        .chain(super::known::ELEMENTS)
        .filter(|name| **name != "oneof.required")
    {
        let mut message = rules.clone();
        for part in name.split('.') {
            let field = message.get_field_by_name(part).unwrap_or_else(|| panic!("{name} is no rule"));
            if let prost_reflect::Kind::Message(inner) = field.kind() {
                message = inner;
            }
        }
    }
}

#[test]
fn a_hostile_message_gets_a_short_answer() {
    let key = "k".repeat(10_000);
    let mut metadata = serde_json::Map::new();
    for i in 0..200 {
        metadata.insert(format!("{key}{i}"), json!("x".repeat(300)));
    }
    let descriptor = crate::pool().get_message_by_name("schema.v1alpha1.UpdateHostRequest").unwrap();
    let json = json!({"hostName": "system", "host": {"metadata": metadata}});
    let violations = validate(&DynamicMessage::deserialize(descriptor, json).unwrap());
    assert_eq!(violations.len(), 32);
    assert!(violations.iter().all(|v| v.field.len() < 100 && v.message.len() < 100));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_that_decode_can_be_checked(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        for method in crate::methods() {
            if let Ok(message) = DynamicMessage::decode(method.input(), bytes.as_slice()) {
                proptest::prop_assert!(validate(&message).len() <= 32);
            }
        }
    }
}
