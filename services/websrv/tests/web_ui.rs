//! The Web UI's way in: the session in a cookie, for its own pages alone, and the pages themselves.

mod support;

use bytes::Bytes;
use http::Request;
use prost::Message as _;
use schema::v1alpha1 as api;
use support::{ADMIN, CONSOLES, Reply, Stack, Version, everyone};

const LOGIN: &str = r#"{"username":"admin","password":"right"}"#;
const MARK: (&str, &str) = ("x-u-bmc-ui", "1");

async fn ask(stack: &Stack, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut request = Request::builder().method(method).uri(stack.uri(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    stack.send(Version::H2, request.body(Bytes::from(body.to_owned())).unwrap()).await
}

fn cookie_name(stack: &Stack) -> String {
    format!("__Host-u-bmc-{}", stack.https.port())
}

#[tokio::test]
async fn signing_in_puts_the_token_into_a_cookie_and_nowhere_else() {
    let stack = Stack::start().await;
    let reply = ask(&stack, "POST", "/ui/session", &[MARK], LOGIN).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    let expected = format!("{}={ADMIN}; Path=/; Secure; HttpOnly; SameSite=Strict", cookie_name(&stack));
    assert_eq!(reply.headers["set-cookie"], expected.as_str());
    assert!(!String::from_utf8_lossy(&reply.body).contains(ADMIN));
    assert_eq!(reply.json()["session"]["id"], "s-admin");
    assert_eq!(reply.headers["cache-control"], "no-store");
    // It is a session of the Web UI for usermgr, whatever the page says of it.
    let purpose = || {
        let seen = stack.world.seen.lock().unwrap();
        let (payload, _) = seen.get("SessionService.CreateSession").unwrap();
        api::CreateSessionRequest::decode(payload.clone()).unwrap().account_type
    };
    let of_pages = Some(i32::from(api::AccountType::WebUi));
    assert_eq!(purpose(), of_pages);
    let other = r#"{"username":"admin","password":"right","accountType":"ACCOUNT_TYPE_REDFISH"}"#;
    assert_eq!(ask(&stack, "POST", "/ui/session", &[MARK], other).await.status, 200);
    assert_eq!(purpose(), of_pages);
    // An account that is not for it gets no cookie.
    let refused = ipc::Status::permission_denied("not for WebUI").with_reason("ACCOUNT_TYPE");
    stack.world.refusals.lock().unwrap().insert("SessionService.CreateSession".to_owned(), refused);
    let reply = ask(&stack, "POST", "/ui/session", &[MARK], LOGIN).await;
    assert_eq!((reply.status.as_u16(), reply.headers.get("set-cookie")), (403, None));
    assert!(String::from_utf8_lossy(&reply.body).contains("ACCOUNT_TYPE"), "{:?}", reply.body);
    stack.world.refusals.lock().unwrap().clear();
    // Everybody else gets the token, and no cookie.
    let reply = ask(&stack, "POST", "/api/v1alpha1/sessions", &[MARK], LOGIN).await;
    assert_eq!(purpose(), None);
    assert_eq!((reply.json()["token"].as_str(), reply.headers.get("set-cookie")), (Some(ADMIN), None));
}

#[tokio::test]
async fn the_cookie_counts_with_the_mark_and_from_our_own_pages_only() {
    let stack = Stack::start().await;
    let cookie = format!("{}={ADMIN}", cookie_name(&stack));
    let host = "/api/v1alpha1/hosts/system";
    let with = |more: &[(&'static str, &'static str)]| {
        let mut list = vec![("cookie", cookie.clone())];
        list.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        list
    };
    for (headers, status) in [
        (with(&[MARK]), 200),
        (with(&[MARK, ("sec-fetch-site", "same-origin")]), 200),
        (with(&[]), 401),
        (with(&[MARK, ("sec-fetch-site", "same-site")]), 401),
        (with(&[MARK, ("sec-fetch-site", "cross-site")]), 401),
        (with(&[MARK, ("authorization", "Bearer nonsense")]), 401),
    ] {
        let list: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for version in [Version::H1, Version::H2, Version::H3] {
            let mut request = Request::get(stack.uri(host));
            for (name, value) in &list {
                request = request.header(*name, *value);
            }
            let reply = stack.send(version, request.body(Bytes::new()).unwrap()).await;
            assert_eq!(reply.status, status, "{version:?} {list:?}");
        }
    }
    // A write of a foreign page is refused whatever it carries.
    let foreign = [MARK, ("cookie", cookie.as_str()), ("origin", "https://evil.example")];
    let reply =
        ask(&stack, "POST", &format!("{host}/state"), &foreign, r#"{"action":"HOST_ACTION_ON"}"#).await;
    assert_eq!(reply.status, 403);
    // Nor may it ask for leave to send the mark.
    let asks = [("origin", "https://evil.example"), ("access-control-request-headers", "x-u-bmc-ui")];
    let reply = ask(&stack, "OPTIONS", host, &asks, "").await;
    assert!(!reply.headers.contains_key("access-control-allow-headers"));
}

#[tokio::test]
async fn a_foreign_page_signs_nobody_in_or_out() {
    let stack = Stack::start().await;
    let cookie = format!("{}={ADMIN}", cookie_name(&stack));
    for headers in
        [&[][..], &[MARK, ("sec-fetch-site", "cross-site")], &[MARK, ("sec-fetch-site", "same-site")]]
    {
        let reply = ask(&stack, "POST", "/ui/session", headers, LOGIN).await;
        assert_eq!((reply.status.as_u16(), reply.headers.get("set-cookie")), (403, None), "{headers:?}");
        let list: Vec<_> = headers.iter().copied().chain([("cookie", cookie.as_str())]).collect();
        let reply = ask(&stack, "DELETE", "/ui/session", &list, "").await;
        assert_eq!(reply.status, 403, "{headers:?}");
    }
    assert!(!stack.world.seen.lock().unwrap().contains_key("SessionService.DeleteSession"));
}

#[tokio::test]
async fn who_is_signed_in_is_told_and_nobody_is_an_answer() {
    let stack = Stack::start().await;
    let cookie = format!("{}={ADMIN}", cookie_name(&stack));
    let reply = ask(&stack, "GET", "/ui/session", &[MARK, ("cookie", &cookie)], "").await;
    let principal = &reply.json()["principal"];
    assert_eq!((&principal["username"], &principal["sessionId"]), (&"admin".into(), &"s-admin".into()));
    assert!(principal["privileges"].as_array().unwrap().contains(&"PRIVILEGE_CONFIGURE_USERS".into()));
    assert_eq!(principal["passwordChangeRequired"], false);
    assert_eq!(principal["accountTypes"].as_array().unwrap().len(), gate::AccountTypes::ALL.iter().count());
    let other = format!("{}={CONSOLES}", cookie_name(&stack));
    let reply = ask(&stack, "GET", "/ui/session", &[MARK, ("cookie", &other)], "").await;
    assert_eq!(
        reply.json()["principal"]["accountTypes"],
        serde_json::json!(["ACCOUNT_TYPE_HOST_CONSOLE"]),
        "pages offer what the account is for"
    );
    for headers in [&[MARK][..], &[("cookie", cookie.as_str())]] {
        let reply = ask(&stack, "GET", "/ui/session", headers, "").await;
        assert_eq!((reply.status.as_u16(), reply.json()), (200, serde_json::json!({})));
    }
    // One that has ended is forgotten by the browser.
    let stale = format!("{}=gone", cookie_name(&stack));
    let reply = ask(&stack, "GET", "/ui/session", &[MARK, ("cookie", &stale)], "").await;
    assert_eq!((reply.status.as_u16(), reply.json()), (200, serde_json::json!({})));
    assert!(reply.headers["set-cookie"].to_str().unwrap().ends_with("Max-Age=0"));
}

#[tokio::test]
async fn signing_out_ends_the_cookie_while_usermgr_is_away() {
    let others: Vec<_> = everyone().into_iter().filter(|daemon| *daemon != "usermgr").collect();
    let stack = Stack::with(serde_json::json!({}), &others).await;
    let cookie = format!("{}={ADMIN}", cookie_name(&stack));
    let reply = ask(&stack, "DELETE", "/ui/session", &[MARK, ("cookie", &cookie)], "").await;
    assert_eq!(reply.status, 503, "{:?}", reply.body);
    assert!(reply.headers["set-cookie"].to_str().unwrap().ends_with("Max-Age=0"));
}

#[tokio::test]
async fn signing_out_ends_the_session_and_the_cookie() {
    let stack = Stack::start().await;
    let cookie = format!("{}={ADMIN}", cookie_name(&stack));
    let reply = ask(&stack, "DELETE", "/ui/session", &[MARK, ("cookie", &cookie)], "").await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    assert!(reply.headers["set-cookie"].to_str().unwrap().ends_with("Max-Age=0"));
    let (request, _) = stack.world.seen.lock().unwrap()["SessionService.DeleteSession"].clone();
    assert!(String::from_utf8_lossy(&request).contains("s-admin"));
    let reply = ask(&stack, "PUT", "/ui/session", &[MARK], "").await;
    assert_eq!(
        (reply.status.as_u16(), &reply.headers["allow"]),
        (405, &"GET, HEAD, POST, DELETE".parse().unwrap())
    );
}

#[tokio::test]
async fn a_browser_gets_the_page_at_every_path_of_one_and_a_program_gets_what_it_did() {
    let stack = Stack::start().await;
    let html = ("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");
    for path in ["/", "/power", "/sensors/cpu0_temp", "/no/such/page"] {
        let reply = ask(&stack, "GET", path, &[html, ("accept-encoding", "gzip")], "").await;
        assert_eq!(reply.status, 200, "{path}");
        assert!(reply.headers["content-type"].to_str().unwrap().starts_with("text/html"), "{path}");
        let policy = reply.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    }
    assert_eq!(ask(&stack, "GET", "/power", &[], "").await.status, 404);
    assert_eq!(ask(&stack, "GET", "/assets/none.js", &[html], "").await.status, 404);
    assert_eq!(ask(&stack, "GET", "/api/v1alpha1/none", &[html], "").await.status, 404);
    let landing = ask(&stack, "GET", "/", &[], "").await;
    assert!(String::from_utf8_lossy(&landing.body).starts_with("u-bmc "));
}
