//! Any request, as a client that is wrong, old or hostile sends it, by anybody, whatever the daemons behind say: it ends, with an answer that is one of
//! Redfish's, and nothing is changed by who may not.
//!
//! `REDFISH_REQUESTS=10000` asks that many (`cargo xtask test --long`).

mod support;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use redfish::{Asker, Fault, Kind, Method, Request, Route, resources};
use schema::Code;
use serde_json::{Map, Value, json};
use support::{Bench, Row, asker, fitting, nested, rows, said};

fn runner() -> TestRunner {
    let cases = std::env::var("REDFISH_REQUESTS").ok().and_then(|cases| cases.parse().ok());
    TestRunner::new(Config { cases: cases.unwrap_or(400), failure_persistence: None, ..Config::default() })
}

/// A request as it was drawn.
#[derive(Debug, Clone)]
struct Drawn {
    path: String,
    method: Method,
    request: Request,
    body: String,
    asker: Asker,
    /// Owners that refuse, and how.
    refusals: Vec<(usize, Code)>,
}

fn any_asker() -> impl Strategy<Value = Asker> {
    let role = prop_oneof![
        4 => Just(auth::Role::Administrator),
        2 => Just(auth::Role::Operator),
        1 => Just(auth::Role::ReadOnly),
    ];
    let name = prop_oneof![Just("olga"), Just("rita"), Just("admin"), Just("somebody")];
    let known = (name, role, prop::bool::weighted(0.1))
        .prop_map(|(name, role, expired)| Asker { password_change_required: expired, ..asker(name, role) });
    prop_oneof![12 => known, 1 => Just(Asker::default())]
}

fn any_path() -> impl Strategy<Value = String> {
    let known: Vec<String> = rows().into_iter().map(|row: Row| row.path).collect();
    let known = prop::sample::select(known);
    let segment = prop_oneof![
        Just("Members".to_owned()),
        Just("Actions".to_owned()),
        Just("ResetActionInfo".to_owned()),
        Just("ComputerSystem.Reset".to_owned()),
        Just("..".to_owned()),
        Just("%2e%2e".to_owned()),
        Just("%00".to_owned()),
        "[a-zA-Z0-9%{}$. ]{0,12}",
        "\\PC{0,8}",
    ];
    prop_oneof![
        6 => known.clone(),
        1 => known.clone().prop_map(|path| path + "/"),
        1 => (known.clone(), segment.clone()).prop_map(|(path, segment)| format!("{path}/{segment}")),
        1 => (known, any::<prop::sample::Index>(), segment.clone()).prop_map(|(path, at, segment)| {
            let mut parts: Vec<&str> = path.split('/').collect();
            let at = at.index(parts.len());
            parts[at] = &segment;
            parts.join("/")
        }),
        1 => prop::collection::vec(segment, 0..6).prop_map(|parts| format!("/redfish/v1/{}", parts.join("/"))),
    ]
}

fn any_query() -> impl Strategy<Value = String> {
    let term = prop_oneof![
        Just("$expand=.".to_owned()),
        Just("$expand=*($levels=6)".to_owned()),
        Just("$expand=~($levels=2)".to_owned()),
        Just("$select=Name,Status/Health".to_owned()),
        Just("$filter=Status/State%20eq%20'Enabled'%20and%20not%20(Reading%20gt%201)".to_owned()),
        Just("only".to_owned()),
        Just("excerpt".to_owned()),
        (0..2000_u64).prop_map(|n| format!("$top={n}")),
        (0..2000_u64).prop_map(|n| format!("$skip={n}")),
        ("\\$?[a-z]{0,8}", "[ -~]{0,20}").prop_map(|(name, value)| format!("{name}={value}")),
        Just("$filter=((((((((((".to_owned()),
        Just("$top=18446744073709551616".to_owned()),
    ];
    prop_oneof![
        4 => Just(String::new()),
        3 => prop::collection::vec(term, 1..4).prop_map(|terms| terms.join("&")),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        "\\PC{0,20}".prop_map(Value::from),
        (1..2000_usize).prop_map(|length| Value::from("x".repeat(length))),
        Just(json!({"@odata.id": "/redfish/v1/Systems/system"})),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[A-Za-z@.#/]{0,10}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Every property and parameter that anything takes, with a value that fits.
fn known_properties() -> Vec<(&'static str, Value)> {
    let mut all = Vec::new();
    for resource in resources::ALL {
        let patched = resource.patch.iter().flat_map(|patch| patch.properties);
        let created =
            resource.create.iter().flat_map(|create| create.properties).map(|(property, _)| property);
        let parameters = resource.actions.iter().flat_map(|action| action.parameters);
        let all_of = patched.chain(created).chain(parameters.map(|parameter| &parameter.property));
        for property in all_of {
            all.push((property.path, fitting(property)));
            if let Kind::Enum(values) = property.kind {
                all.extend(values.iter().map(|value| (property.path, json!(value))));
            }
        }
    }
    all
}

fn any_body() -> impl Strategy<Value = String> {
    let known = prop::sample::select(known_properties());
    let given = (known, prop::option::weighted(0.3, any_value()))
        .prop_map(|((name, fitting), other)| nested(name, other.unwrap_or(fitting)));
    let objects = prop::collection::vec(given, 0..5).prop_map(|bodies| {
        let mut all = Map::new();
        for body in bodies {
            all.extend(body.as_object().cloned().unwrap_or_default());
        }
        Value::Object(all).to_string()
    });
    prop_oneof![
        6 => objects,
        2 => any_value().prop_map(|value| value.to_string()),
        1 => "\\PC{0,40}",
        1 => Just(String::new()),
        1 => Just("[".repeat(2000)),
    ]
}

fn any_tag() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        6 => Just(None),
        1 => Just(Some("*".to_owned())),
        1 => "[ -~]{0,20}".prop_map(Some),
    ]
}

fn drawn(refusals: bool) -> impl Strategy<Value = Drawn> {
    let codes = prop::sample::select(vec![
        Code::InvalidArgument,
        Code::Unauthenticated,
        Code::PermissionDenied,
        Code::NotFound,
        Code::AlreadyExists,
        Code::Aborted,
        Code::FailedPrecondition,
        Code::Unimplemented,
        Code::Unavailable,
        Code::ResourceExhausted,
        Code::DeadlineExceeded,
        Code::Internal,
        Code::Unknown,
    ]);
    let refusals = prop::collection::vec((any::<usize>(), codes), if refusals { 1..6 } else { 0..1 });
    let odata =
        prop_oneof![8 => Just(None), 1 => Just(Some("4.0".to_owned())), 1 => "[0-9.]{0,4}".prop_map(Some)];
    let method = prop::sample::select(Method::ALL.to_vec());
    let accept = prop::option::weighted(
        0.2,
        prop_oneof![Just("application/json".to_owned()), Just("*/*".to_owned()), "[ -~]{0,24}"],
    );
    let headers = (any_tag(), any_tag(), odata, accept);
    (any_path(), method, any_query(), headers, any_body(), any_asker(), refusals).prop_map(
        |(path, method, query, (if_match, if_none_match, odata_version, accept), body, asker, refusals)| {
            Drawn {
                path,
                method,
                request: Request { query, if_match, if_none_match, odata_version, accept },
                body,
                asker,
                refusals,
            }
        },
    )
}

fn check(drawn: &Drawn) -> Result<(), TestCaseError> {
    let mut bench = Bench::by(drawn.asker.clone());
    bench.agree();
    let mut subjects: Vec<&'static str> = bench.answers.keys().copied().collect();
    // What it says is of each host another thing.
    subjects.push("rpc.HostFirmwareService.GetHostFirmware");
    subjects.sort_unstable();
    for (at, code) in &drawn.refusals {
        bench.refuse(subjects[at % subjects.len()], Fault::new(*code, "no"));
    }
    let (path, method) = (drawn.path.split('?').next().unwrap(), drawn.method);
    let answer = bench.ask(method, path, &drawn.body, drawn.request.clone());
    let (status, message) = (answer.status, said(&answer));
    let changed = bench.called.len() + bench.closed.len();
    // Whoever is at fault when something is refused: what is sent is not.
    let unsupported = status == 501 && message == "QueryParameterUnsupported" && method.reads();
    prop_assert!(status < 500 || unsupported || !drawn.refusals.is_empty(), "{status} {message}");
    prop_assert!([200, 201, 202, 204, 304].contains(&status) || status >= 400, "{status}");
    if status >= 400 {
        prop_assert!(message.split(' ').all(|id| !id.is_empty()), "{status} without a message");
        let error = &answer.value()["error"];
        prop_assert!(error["code"].is_string() && error["message"].is_string(), "{error}");
    }
    match Route::of(path) {
        None => prop_assert_eq!(status, 404),
        Some(route) => {
            prop_assert!(status != 404 || message.contains("ResourceNotFound"), "{}", message);
            prop_assert_eq!(status == 405, answer.header("allow").is_some() && status == 405);
            if status == 405 {
                prop_assert!(!route.methods().contains(&method));
            }
        }
    }
    // Of what there is too much of, its owner alone knows for how long.
    let is_too_much = message.contains("GeneralError");
    prop_assert!(status != 503 || answer.header("retry-after").is_some() || is_too_much, "{}", message);
    if method.reads() || [401, 403, 404, 405, 406, 412].contains(&status) && drawn.refusals.is_empty() {
        prop_assert_eq!(changed, 0, "{} and yet something was changed", status);
    }
    if answer.status == 200 && answer.header("etag").is_some() && drawn.request.query.is_empty() {
        prop_assert_eq!(answer.value()["@odata.etag"].as_str(), answer.header("etag"));
    }
    // A secret that was sent is not sent back.
    prop_assert!(!answer.value().to_string().contains("secret-enough"));
    Ok(())
}

#[test]
fn any_request_is_answered_and_is_no_fault_of_the_service() {
    runner().run(&drawn(false), |drawn| check(&drawn)).unwrap();
}

#[test]
fn any_request_has_an_answer_whatever_daemons_say() {
    runner().run(&drawn(true), |drawn| check(&drawn)).unwrap();
}
