//! Over every public method of the schema: none is open, none does more than its privilege, none hides a dead backend.

mod support;

use bytes::Bytes;
use http::Request;
use schema::v1alpha1::Privilege;
use serde_json::json;
use support::{ADMIN, EXPIRED, READER, Stack, Version, everyone, framed};

fn public() -> impl Iterator<Item = &'static schema::MethodInfo> {
    schema::methods().iter().filter(|method| !method.internal)
}

fn rpc(stack: &Stack, method: &schema::MethodInfo, token: Option<&str>) -> Request<Bytes> {
    if method.server_streaming {
        stack.post(method.path, "application/connect+json", token, framed(b"{}"))
    } else {
        stack.post(method.path, "application/json", token, "{}")
    }
}

fn rest(stack: &Stack, binding: &schema::HttpBinding, token: Option<&str>) -> Request<Bytes> {
    let path: String = binding
        .segments
        .iter()
        .map(|segment| match segment {
            schema::Segment::Literal(literal) => format!("/{literal}"),
            schema::Segment::Field(_) => "/x".to_owned(),
        })
        .collect();
    let mut request = stack.get(&path, token);
    *request.method_mut() = binding.verb.parse().unwrap();
    request
}

/// The Connect code of a unary or streaming answer.
fn code(method: &schema::MethodInfo, reply: &support::Reply) -> String {
    let value = if method.server_streaming && reply.status == 200 {
        let json: serde_json::Value = serde_json::from_slice(&reply.body[5..]).unwrap();
        json["error"].clone()
    } else {
        reply.json()
    };
    value["code"].as_str().unwrap_or("ok").to_owned()
}

#[tokio::test]
async fn without_login_every_method_answers_401() {
    let stack = Stack::start().await;
    let mut client = support::h2_client(stack.https).await;
    for method in public().filter(|method| method.privilege != Privilege::None) {
        for token in [None, Some("made up")] {
            let reply = stack.send(Version::H2, rpc(&stack, method, token)).await;
            assert_eq!(code(method, &reply), "unauthenticated", "{}", method.full_name);
            for binding in method.http {
                let request = rest(&stack, binding, token).map(http_body_util::Full::new);
                let reply = client.send_request(request).await.unwrap();
                assert_eq!(reply.status(), 401, "{} {}", binding.verb, binding.path);
                assert!(reply.headers().contains_key("www-authenticate"));
            }
        }
    }
    let seen = stack.world.seen.lock().unwrap();
    assert!(
        seen.keys().all(|name| name.starts_with("AuthService.")),
        "nothing was forwarded: {:?}",
        seen.keys()
    );
}

#[tokio::test]
async fn a_read_only_account_is_refused_every_change() {
    let stack = Stack::start().await;
    let reader = [Privilege::None, Privilege::Login, Privilege::ConfigureSelf, Privilege::ViewScreens];
    for method in public().filter(|method| !reader.contains(&method.privilege)) {
        let reply = stack.send(Version::H2, rpc(&stack, method, Some(READER))).await;
        assert_eq!(code(method, &reply), "permission_denied", "{}", method.full_name);
        assert_eq!(reply.status, 403, "{}", method.full_name);
        for binding in method.http {
            let reply = stack.send(Version::H2, rest(&stack, binding, Some(READER))).await;
            assert_eq!(reply.status, 403, "{} {}", binding.verb, binding.path);
        }
    }
}

#[tokio::test]
async fn one_s_own_account_is_one_s_own_and_no_other() {
    let stack = Stack::start().await;
    for method in public().filter(|method| method.self_field.is_some()) {
        let field = method.self_field.unwrap();
        let body = |name: &str| {
            let mut value = json!(name);
            for part in field.rsplit('.') {
                value = json!({ part: value });
            }
            value.to_string()
        };
        let ask = |name: &str, token: &'static str| {
            let request = stack.post(method.path, "application/json", Some(token), body(name));
            stack.send(Version::H2, request)
        };
        for (name, token, allowed) in [
            ("reader", READER, true),
            ("u-reader", READER, true),
            ("s-reader", READER, true),
            ("admin", READER, false),
            ("reader", ADMIN, true),
            ("fresh", EXPIRED, method.with_expired_password),
            ("admin", EXPIRED, false),
        ] {
            let reply = ask(name, token).await;
            assert_eq!(
                reply.status != 403,
                allowed,
                "{} of {name} by {token}: {:?}",
                method.full_name,
                reply.body
            );
        }
    }
}

#[tokio::test]
async fn an_account_that_must_change_its_password_may_do_nothing_else() {
    let stack = Stack::start().await;
    let barred = |m: &&schema::MethodInfo| m.privilege != Privilege::None && !m.with_expired_password;
    for method in public().filter(barred) {
        let reply = stack.send(Version::H2, rpc(&stack, method, Some(EXPIRED))).await;
        assert_eq!(code(method, &reply), "permission_denied", "{}", method.full_name);
        assert!(
            String::from_utf8_lossy(&reply.body).contains("PASSWORD_CHANGE_REQUIRED"),
            "{}",
            method.full_name
        );
    }
}

#[tokio::test]
async fn a_dead_backend_is_named_by_every_method_of_it() {
    // usermgr answers logins; the owners of everything else are dead.
    let stack = Stack::with(json!({}), &["usermgr"]).await;
    let mut client = support::h2_client(stack.https).await;
    let dead = |m: &&schema::MethodInfo| !["usermgr", "websrv"].contains(&m.owner) && !m.server_streaming;
    let requests: Vec<_> = public()
        .filter(dead)
        .map(|method| {
            // A valid request: required strings filled in.
            let mut message = serde_json::Map::new();
            for field in
                method.input().fields().filter(|f| f.kind() == prost_reflect::Kind::String && !f.is_list())
            {
                if field.containing_oneof().is_none() {
                    message.insert(field.name().to_owned(), json!("x"));
                }
            }
            (method, serde_json::Value::Object(message).to_string())
        })
        .collect();
    let mut unavailable = 0;
    for (method, body) in requests {
        let request =
            stack.post(method.path, "application/json", Some(ADMIN), body).map(http_body_util::Full::new);
        let reply = client.send_request(request).await.unwrap();
        let (status, retry) = (reply.status(), reply.headers().get("retry-after").cloned());
        let text = http_body_util::BodyExt::collect(reply.into_body()).await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&text).into_owned();
        if status == 400 {
            continue;
        }
        unavailable += 1;
        assert_eq!(status, 503, "{}: {text}", method.full_name);
        assert!(text.contains(method.owner), "{}: {text}", method.full_name);
        assert!(retry.is_some(), "{}", method.full_name);
    }
    assert!(unavailable > 5, "most requests were valid");
}

#[tokio::test]
async fn without_usermgr_nobody_gets_in() {
    let others: Vec<_> = everyone().into_iter().filter(|daemon| *daemon != "usermgr").collect();
    let stack = Stack::with(json!({}), &others).await;
    let reply = stack.send(Version::H2, stack.get("/api/v1alpha1/hosts/system", Some(ADMIN))).await;
    assert_eq!(reply.status, 503);
    assert!(reply.json()["message"].as_str().unwrap().contains("usermgr"));
    let reply = stack.send(Version::H2, stack.get("/readyz", None)).await;
    assert_eq!(reply.status, 503);
    assert_eq!(reply.json()["missing"], json!(["usermgr"]));
    assert!(reply.headers.contains_key("retry-after"));
}
