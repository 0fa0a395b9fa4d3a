//! Redfish over HTTP: logins, headers, codings, and errors in its own words. What resources show and take is tested where they are.

mod support;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use support::{ADMIN, EXPIRED, READER, SOON, Stack, Version};

fn said(reply: &support::Reply) -> (u16, String) {
    let id = reply.json()["error"]["@Message.ExtendedInfo"][0]["MessageId"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert_eq!(reply.headers["odata-version"], "4.0");
    (reply.status.as_u16(), id.replace("Base.1.22.", ""))
}

#[tokio::test]
async fn the_root_is_open_and_all_else_is_for_who_is_logged_in() {
    let stack = Stack::start().await;
    for version in [Version::H1, Version::H2, Version::H3] {
        for path in [
            "/redfish",
            "/redfish/",
            "/redfish/v1",
            "/redfish/v1/",
            "/redfish/v1/odata",
            "/redfish/v1/$metadata",
        ] {
            let reply = stack.send(version, stack.get(path, None)).await;
            assert_eq!(reply.status, 200, "{path}");
            assert_eq!(reply.headers["odata-version"], "4.0");
            let kind = if path.ends_with("metadata") {
                "application/xml; charset=utf-8"
            } else {
                "application/json; charset=utf-8"
            };
            assert_eq!(reply.headers["content-type"], kind, "{path}");
        }
        for path in ["/redfish/v1/Systems", "/redfish/v1/Nope", "/redfish/v1/SessionService/Sessions"] {
            let reply = stack.send(version, stack.get(path, None)).await;
            assert_eq!(said(&reply), (401, "NoValidSession".into()), "{path}");
            assert!(reply.headers["www-authenticate"].to_str().unwrap().contains("Basic"), "{path}");
        }
    }
    let systems = stack.send(Version::H1, stack.get("/redfish/v1/Systems", Some(READER))).await;
    assert_eq!((systems.status.as_u16(), &systems.json()["Members@odata.count"]), (200, &Value::from(0)));
    assert_eq!(
        systems.headers["link"],
        "</redfish/v1/JsonSchemas/ComputerSystemCollection>; rel=describedby"
    );
    assert_eq!(systems.headers["allow"], "GET, HEAD");
    assert!(systems.headers["etag"].to_str().unwrap().starts_with('"'));
    assert!(!systems.headers.contains_key("set-cookie"));
    let nope = stack.send(Version::H1, stack.get("/redfish/v1/Nope", Some(READER))).await;
    assert_eq!(said(&nope), (404, "ResourceMissingAtURI".into()));
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn head_options_and_conditions_are_http_s() {
    let stack = Stack::start().await;
    let path = "/redfish/v1/SessionService";
    let got = stack.send(Version::H1, stack.get(path, Some(ADMIN))).await;
    let of = |method: &str, name: &str, value: &str| {
        let request = Request::builder().method(method).uri(stack.uri(path)).header("x-auth-token", ADMIN);
        request.header(name, value).body(Bytes::new()).unwrap()
    };
    let head = stack.send(Version::H1, of("HEAD", "accept", "*/*")).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.headers["etag"], got.headers["etag"]);
    let tag = got.headers["etag"].to_str().unwrap();
    assert_eq!(stack.send(Version::H1, of("GET", "if-none-match", tag)).await.status, 304);
    let old = stack.send(Version::H1, of("GET", "odata-version", "4.1")).await;
    assert_eq!(said(&old), (412, "HeaderInvalid".into()));
    let options = stack.send(Version::H1, of("OPTIONS", "accept", "*/*")).await;
    assert_eq!(options.headers["allow"], "GET, HEAD, OPTIONS");
    let put = stack.send(Version::H1, of("PUT", "accept", "*/*")).await;
    assert_eq!(said(&put), (405, "OperationNotAllowed".into()));
    assert_eq!(put.headers["allow"], "GET, HEAD");
    let trace = stack.send(Version::H1, of("TRACE", "accept", "*/*")).await;
    assert_eq!(said(&trace), (405, "OperationNotAllowed".into()));
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn bodies_are_json_within_their_bounds() {
    let stack = Stack::start().await;
    let sessions = "/redfish/v1/SessionService/Sessions";
    let post = |kind: &str, body: &str| stack.post(sessions, kind, None, body.to_owned());
    let form = stack.send(Version::H1, post("application/x-www-form-urlencoded", "a=b")).await;
    assert_eq!(said(&form), (415, "HeaderInvalid".into()));
    let broken = stack.send(Version::H1, post("application/json", "{")).await;
    assert_eq!(said(&broken), (400, "MalformedJSON".into()));
    let large = stack.send(Version::H1, post("application/json", &" ".repeat(200_000))).await;
    assert_eq!(said(&large), (413, "PayloadTooLarge".into()));
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn registries_are_sent_as_they_are_packed_to_who_takes_that() {
    let stack = Stack::start().await;
    let path = "/redfish/v1/Registries/Base/Base";
    let plain = stack.send(Version::H1, stack.get(path, Some(READER))).await;
    assert_eq!(plain.json()["RegistryVersion"], "1.22.1");
    assert!(!plain.headers.contains_key("content-encoding"));
    let mut request = stack.get(path, Some(READER));
    request.headers_mut().insert("accept-encoding", "gzip".parse().unwrap());
    let packed = stack.send(Version::H1, request).await;
    assert_eq!(packed.headers["content-encoding"], "gzip");
    assert!(packed.body.len() < plain.body.len() / 5);
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn what_the_gate_refuses_is_said_in_redfish_s_words() {
    let stack = Stack::start().await;
    // Nobody answers for thermalmgr; the root is there all the same.
    let update =
        stack.send(Version::H1, stack.get("/redfish/v1/UpdateService/FirmwareInventory", Some(READER))).await;
    assert_eq!(update.status, 200);
    let patch = Request::patch(stack.uri("/redfish/v1/Systems/system"))
        .header("x-auth-token", READER)
        .header("content-type", "application/json")
        .body(Bytes::from_static(b"{\"AssetTag\": \"x\"}"))
        .unwrap();
    assert_eq!(said(&stack.send(Version::H1, patch).await), (403, "InsufficientPrivilege".into()));
    let expired = stack.send(Version::H1, stack.get("/redfish/v1/Systems", Some(EXPIRED))).await;
    assert_eq!(said(&expired), (403, "PasswordChangeRequired".into()));
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn a_stream_of_events_is_a_subscription_as_long_as_it_lasts() {
    let stack = Stack::start().await;
    let path = "/redfish/v1/EventService/SSE";
    assert_eq!(said(&stack.send(Version::H1, stack.get(path, None)).await).0, 401);
    let mut client = support::h2_client(stack.https).await;
    let sent = client.send_request(stack.get(path, Some(ADMIN)).map(Full::new));
    let mut stream = tokio::time::timeout(SOON, sent).await.unwrap().unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let all = stack.send(Version::H1, stack.get("/redfish/v1/EventService/Subscriptions", Some(ADMIN))).await;
    let uri = all.json()["Members"][0]["@odata.id"].as_str().unwrap().to_owned();
    let shown = stack.send(Version::H1, stack.get(&uri, Some(ADMIN))).await.json();
    assert_eq!(
        (&shown["SubscriptionType"], &shown["Destination"]),
        (&Value::from("SSE"), &Value::from("127.0.0.1"))
    );
    stack.host_event("ev1").await;
    let mut text = String::new();
    while !text.contains("\"Events\"") {
        let frame = tokio::time::timeout(SOON, stream.frame()).await.unwrap().unwrap().unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    assert!(text.contains("id: ") && text.contains("/redfish/v1/Systems/system"), "{text}");
    let delete = Request::delete(stack.uri(&uri)).header("x-auth-token", ADMIN).body(Bytes::new()).unwrap();
    assert_eq!(stack.send(Version::H1, delete).await.status, 204);
    while let Some(frame) = tokio::time::timeout(SOON, stream.frame()).await.unwrap() {
        frame.unwrap();
    }
    assert_eq!(stack.send(Version::H1, stack.get(&uri, Some(ADMIN))).await.status, 404);
    stack.stop().await.unwrap();
}
