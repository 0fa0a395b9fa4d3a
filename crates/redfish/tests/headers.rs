//! What the headers of a request come to, and which headers an answer has.

mod support;

use redfish::{Answer, Exchange, Method, Privileges, Request, resources};
use serde_json::json;
use support::{Bench, asker, said};

const SYSTEM: &str = "/redfish/v1/Systems/system";

fn accepting(accept: &str) -> Request {
    Request { accept: Some(accept.to_owned()), ..Request::default() }
}

#[test]
fn what_a_client_does_not_take_is_not_sent_to_it() {
    let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let mut bench = Bench::new();
    for (path, accept, status) in [
        (SYSTEM, "application/json", 200),
        (SYSTEM, "application/json;odata.metadata=minimal", 200),
        (SYSTEM, "*/*;q=0.1", 200),
        (SYSTEM, "application/*", 200),
        (SYSTEM, "", 200),
        (SYSTEM, "application/xml", 406),
        (SYSTEM, "text/event-stream", 406),
        (SYSTEM, "application/json;q=0, */*", 406),
        // A person is shown what there is.
        (SYSTEM, browser, 200),
        (SYSTEM, "text/html", 200),
        ("/redfish/v1/", "text/html", 200),
        ("/redfish/v1/", "text/plain", 406),
        ("/redfish/v1/$metadata", "application/xml", 200),
        // It has one form, and many name JSON with whatever they ask for.
        ("/redfish/v1/$metadata", "application/json", 200),
        ("/redfish/v1/$metadata", "text/plain", 200),
        ("/redfish/v1/$metadata", browser, 200),
        ("/redfish/v1/Registries/Base/Base", "text/plain", 406),
        // What is not there is not there in any form.
        ("/redfish/v1/openapi.yaml", "application/yaml", 404),
    ] {
        for method in [Method::Get, Method::Head] {
            let answer = bench.ask(method, path, "", accepting(accept));
            assert_eq!(answer.status, status, "{path} {accept}: {}", said(&answer));
            if status == 406 {
                assert_eq!(said(&answer), "HeaderInvalid", "{path} {accept}");
                assert_eq!(
                    answer.value()["error"]["@Message.ExtendedInfo"][0]["MessageArgs"],
                    json!(["Accept"])
                );
            }
        }
    }
    // A change is made, whatever of it could be told.
    let mut bench = Bench::agreeing();
    let changed = bench.ask(Method::Patch, SYSTEM, r#"{"AssetTag": "x"}"#, accepting("text/plain"));
    assert_eq!((changed.status, bench.called.len()), (200, 1), "{}", said(&changed));
    // Who must not see it does not learn in which forms it is there.
    let mut bench = Bench::by(asker("rita", auth::Role::ReadOnly));
    let certificates = "/redfish/v1/Managers/bmc/NetworkProtocol/HTTPS/Certificates";
    assert_eq!(bench.ask(Method::Get, certificates, "", accepting("text/plain")).status, 403);
}

#[test]
fn a_stream_is_no_json_and_no_page() {
    let refused = |accept: &str| accepting(accept).refusal("text/event-stream").map(|answer| answer.status);
    assert_eq!((refused("text/event-stream"), refused("*/*")), (None, None));
    assert_eq!((refused("application/json"), refused("text/html")), (Some(406), Some(406)));
    assert!(Request::default().refusal("text/event-stream").is_none());
    let old = Request { odata_version: Some("4.1".into()), ..accepting("application/json") };
    let answer = old.refusal("text/event-stream").unwrap();
    assert_eq!((answer.status, said(&answer).as_str()), (412, "HeaderInvalid"));
}

#[test]
fn a_change_that_is_wanted_only_where_there_is_nothing_yet_is_not_made() {
    let mut bench = Bench::agreeing();
    let session = "/redfish/v1/SessionService/Sessions/session-of-olga";
    for (method, path, body) in
        [(Method::Patch, SYSTEM, r#"{"AssetTag": "x"}"#), (Method::Delete, session, "")]
    {
        let tag = bench.get(path).header("etag").unwrap().to_owned();
        let mut of = |if_match: Option<&str>, if_none_match: &str| {
            bench.called.clear();
            let request = Request {
                if_match: if_match.map(str::to_owned),
                if_none_match: Some(if_none_match.to_owned()),
                ..Request::default()
            };
            let answer = bench.ask(method, path, body, request);
            (answer.status, bench.called.len())
        };
        assert_eq!(of(None, "*"), (412, 0), "{path}");
        assert_eq!(of(None, &tag), (412, 0), "{path}");
        assert_eq!(of(Some(&tag), &format!("\"0\", W/{tag}")), (412, 0), "{path}");
        assert_eq!(of(Some("\"0\""), "\"1\""), (412, 0), "{path}");
        let (status, called) = of(Some(&tag), "\"0\"");
        assert!(matches!(status, 200 | 204) && called == 1, "{path}: {status} {called}");
    }
}

/// With a state that is wanted.
fn matching(tag: &str) -> Request {
    Request { if_match: Some(tag.to_owned()), ..Request::default() }
}

#[test]
fn what_is_read_is_in_the_state_that_is_wanted_or_is_not_shown() {
    let mut bench = Bench::new();
    let sessions = "/redfish/v1/SessionService/Sessions";
    let paths = [SYSTEM, "/redfish/v1/Systems/system/ResetActionInfo", "/redfish/v1/Systems?$expand=."];
    for path in paths.into_iter().chain([sessions, "/redfish/v1/Systems/system?$select=Name"]) {
        let tag = bench.get(path).header("etag").unwrap().to_owned();
        for method in [Method::Get, Method::Head] {
            for (condition, is_met) in [
                (tag.as_str(), true),
                ("*", true),
                (format!("\"0\", {tag}").as_str(), true),
                ("\"0\"", false),
                (format!("W/{tag}").as_str(), false),
                (tag.trim_matches('"'), false),
            ] {
                let answer = bench.ask(method, path, "", matching(condition));
                let status = if is_met { 200 } else { 412 };
                assert_eq!(
                    (answer.status, answer.header("etag")),
                    (status, Some(tag.as_str())),
                    "{path} {condition}"
                );
                if !is_met {
                    assert_eq!(said(&answer), "PreconditionFailed", "{path} {condition}");
                }
            }
        }
        // The other condition is looked at where this one holds.
        for (wanted, status) in [(tag.as_str(), 304), ("\"0\"", 412)] {
            let request = Request { if_none_match: Some(tag.clone()), ..matching(wanted) };
            assert_eq!(bench.ask(Method::Get, path, "", request).status, status, "{path} {wanted}");
        }
    }
    // What is not there has no state.
    assert_eq!(bench.ask(Method::Get, "/redfish/v1/Systems/none", "", matching("*")).status, 404);
    // An answer that others are sent as well is made for who wants no state alone.
    let of = |method, request: Request| Exchange::new(SYSTEM, method, request, Bench::new().about()).unwrap();
    assert!(of(Method::Get, Request::default()).shared_as().is_some());
    assert!(of(Method::Get, matching("*")).shared_as().is_none());
}

#[test]
fn nobody_else_changes_what_a_condition_is_compared_with() {
    let of = |method, path: &str, request: Request| {
        let exchange = Exchange::new(path, method, request, Bench::new().about()).unwrap();
        (exchange.compares(), exchange.thing())
    };
    let reset = format!("{SYSTEM}/Actions/ComputerSystem.Reset");
    let patched = of(Method::Patch, SYSTEM, Request::default());
    assert_eq!((patched.0, &of(Method::Post, &reset, matching("*"))), (true, &patched));
    let insert = "VirtualMedia/cd/Actions/VirtualMedia.InsertMedia";
    let drive = of(Method::Patch, &format!("{SYSTEM}/VirtualMedia/cd"), Request::default());
    assert_eq!(of(Method::Post, &format!("/redfish/v1/Managers/bmc/{insert}"), matching("*")), drive);
    // Without a condition nothing is compared.
    assert!(!of(Method::Post, &reset, Request::default()).0 && !of(Method::Get, SYSTEM, matching("*")).0);
    let sessions = "/redfish/v1/SessionService/Sessions";
    assert!(!of(Method::Post, sessions, matching("*")).0, "a login is held up by nobody");
}

#[test]
fn an_action_is_not_done_with_what_is_in_another_state_than_is_wanted() {
    let mut bench = Bench::agreeing();
    let subscriptions = "/redfish/v1/EventService/Subscriptions";
    let new = r#"{"Destination": "https://collector.example/events", "Protocol": "Redfish"}"#;
    for (of, path, body, done) in [
        (
            SYSTEM,
            "/redfish/v1/Systems/system/Actions/ComputerSystem.Reset",
            r#"{"ResetType": "ForceOff"}"#,
            204,
        ),
        (
            "/redfish/v1/Systems/system/Bios",
            "/redfish/v1/Systems/system/Bios/Actions/Bios.ResetBios",
            "",
            204,
        ),
        (subscriptions, subscriptions, new, 201),
        (subscriptions, "/redfish/v1/EventService/Subscriptions/Members", new, 201),
    ] {
        let tag = bench.get(of).header("etag").unwrap().to_owned();
        let mut of = |condition: Option<&str>| {
            bench.called.clear();
            let request = Request { if_match: condition.map(str::to_owned), ..Request::default() };
            let answer = bench.ask(Method::Post, path, body, request);
            (answer.status, answer.header("etag").map(str::to_owned), bench.called.len())
        };
        for condition in ["\"0\"", format!("W/{tag}").as_str(), ""] {
            assert_eq!(of(Some(condition)), (412, Some(tag.clone()), 0), "{path} {condition}");
        }
        for condition in [None, Some("*"), Some(tag.as_str())] {
            let (status, _, called) = of(condition);
            assert_eq!((status, called), (done, 1), "{path} {condition:?}");
        }
    }
    // What is not there, and what cannot be asked for, is told before.
    let none = "/redfish/v1/Systems/none/Actions/ComputerSystem.Reset";
    bench.called.clear();
    assert_eq!(bench.ask(Method::Post, none, "{}", matching("\"0\"")).status, 404);
    assert!(bench.called.is_empty());
    // Who is not logged in yet is shown nothing to compare, and no state keeps anybody from it.
    let mut nobody = Bench::by(redfish::Asker::default());
    nobody.agree();
    let login = r#"{"UserName": "olga", "Password": "secret-enough"}"#;
    let answer = nobody.ask(Method::Post, "/redfish/v1/SessionService/Sessions", login, matching("\"0\""));
    assert_eq!((answer.status, nobody.called.len()), (201, 1), "{}", answer.value());
}

#[test]
fn an_answer_to_who_reads_says_what_the_path_takes_and_which_schema_it_has() {
    let mut bench = Bench::new();
    let by_reader = |path: &str, request: Request| -> Answer {
        Bench::by(asker("rita", auth::Role::ReadOnly)).ask(Method::Get, path, "", request)
    };
    let other = Request { odata_version: Some("4.1".into()), ..Request::default() };
    let certificate = "/redfish/v1/Managers/bmc/NetworkProtocol/HTTPS/Certificates/1";
    for (answer, status, allow) in [
        (by_reader(certificate, Request::default()), 403, "GET, HEAD"),
        (by_reader(SYSTEM, other), 412, "GET, HEAD, PATCH"),
        (by_reader(SYSTEM, accepting("text/plain")), 406, "GET, HEAD, PATCH"),
        (bench.get(&format!("{SYSTEM}?$top=1")), 400, "GET, HEAD, PATCH"),
        (bench.get(&format!("{SYSTEM}?$x=1")), 501, "GET, HEAD, PATCH"),
        (bench.get("/redfish/v1/Systems/none"), 404, "GET, HEAD, PATCH"),
    ] {
        assert_eq!((answer.status, answer.header("allow")), (status, Some(allow)), "{}", said(&answer));
        assert_eq!(answer.header("link"), None);
    }
    let types: Vec<String> = bench.shown("/redfish/v1/JsonSchemas")["Members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| member["@odata.id"].as_str().unwrap().to_owned())
        .collect();
    let registries = resources::REGISTRIES.iter().map(|registry| registry.prefix);
    let registries = registries.map(|prefix| format!("/redfish/v1/Registries/{prefix}/{prefix}"));
    let described = registries.map(|path| (path, "MessageRegistry"));
    let info = (format!("{SYSTEM}/ResetActionInfo"), "ActionInfo");
    for (path, name) in described.chain([info, (SYSTEM.to_owned(), "ComputerSystem")]) {
        let schema = format!("/redfish/v1/JsonSchemas/{name}");
        let answer = bench.get(&path);
        assert_eq!(answer.header("link"), Some(format!("<{schema}>; rel=describedby").as_str()), "{path}");
        assert!(types.contains(&schema), "{schema}");
    }
}

#[test]
fn the_only_member_is_shown_to_who_may_see_it() {
    let accounts = "/redfish/v1/AccountService/Accounts?only";
    let rita = asker("rita", auth::Role::ReadOnly);
    assert_eq!(Bench::by(rita.clone()).shown(accounts)["UserName"], "rita");
    // A role of one's own without ConfigureSelf: by DMTF's registry it sees the list, and no account.
    let mut bench = Bench::by(redfish::Asker { privileges: Privileges::LOGIN, ..rita });
    let shown = bench.shown(accounts);
    assert_eq!(shown["Members"], json!([{"@odata.id": "/redfish/v1/AccountService/Accounts/rita"}]));
    assert!(shown.get("UserName").is_none(), "{shown}");
}
