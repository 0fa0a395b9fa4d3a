//! Who may call what, over every method and path the descriptors know: no list that could lack one.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::Method;
use schema::v1alpha1::Privilege;
use schema::{HttpBinding, MethodInfo, Segment};
use serde_json::{Map, Value, json};
use testkit::{Client, Credential, Reply, Suite};

const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
const PASSWORD: &str = "seven brass doorknobs";

type Result<T = ()> = anyhow::Result<T>;

/// The methods a gateway serves.
fn public() -> impl Iterator<Item = &'static MethodInfo> {
    schema::methods().iter().filter(|method| !method.internal)
}

/// `{"a": {"b": value}}` for `a.b`, in JSON names.
fn nested(path: &str, value: &str) -> Value {
    path.rsplit('.').fold(json!(value), |inner, name| {
        let mut words = name.split('_');
        let first = words.next().unwrap_or_default().to_owned();
        let name = words.fold(first, |mut name, word| {
            let mut letters = word.chars();
            name.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
            name.push_str(letters.as_str());
            name
        });
        Value::Object(Map::from_iter([(name, inner)]))
    })
}

/// The request that names somebody else where the method has a field for it, and is empty otherwise.
fn about_another(method: &MethodInfo) -> Value {
    method.self_field.map_or_else(|| json!({}), |field| nested(field, "admin"))
}

/// A binding's path with every field taken for the first administrator's name.
fn path(binding: &HttpBinding) -> String {
    let part = |segment: &Segment| match segment {
        Segment::Literal(literal) => (*literal).to_owned(),
        Segment::Field(_) => "admin".to_owned(),
    };
    binding.segments.iter().map(part).fold(String::new(), |path, part| path + "/" + &part)
}

async fn rest(client: &Client, binding: &HttpBinding, body: &Value) -> Result<Reply> {
    let verb = Method::from_bytes(binding.verb.as_bytes())?;
    let path = path(binding);
    if binding.body.is_some() {
        client.send(verb, &path, &[("content-type", "application/json")], body.to_string().into()).await
    } else {
        // What is not in the path goes into the query; a self field outside of the path is plain text.
        let query = body.as_object().and_then(|fields| fields.iter().next());
        let query = query.and_then(|(name, value)| Some(format!("?{name}={}", value.as_str()?)));
        let query = query.filter(|_| !path.contains("/admin")).unwrap_or_default();
        client.send(verb, &format!("{path}{query}"), &[], Vec::new().into()).await
    }
}

/// One length-prefixed message, as gRPC-Web and Connect's streams send it.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], length.to_be_bytes().as_slice(), message].concat()
}

/// The `grpc-status` of an answer in gRPC-Web, which is a header, or a trailer in the last frame of the body.
fn grpc_status(reply: &Reply) -> Option<String> {
    if let Some(status) = reply.headers.get("grpc-status") {
        return status.to_str().ok().map(str::to_owned);
    }
    let text = reply.text().to_ascii_lowercase();
    let (_, rest) = text.split_once("grpc-status:")?;
    Some(rest.trim_start().chars().take_while(char::is_ascii_digit).collect())
}

/// What each of the protocols says to one call, by name.
async fn ask_all(client: &Client, method: &MethodInfo, body: &Value) -> Result<BTreeMap<String, Reply>> {
    let mut replies = BTreeMap::new();
    if method.server_streaming {
        let headers = [("content-type", "application/connect+json")];
        let message = framed(body.to_string().as_bytes());
        let reply = client.send(Method::POST, method.path, &headers, message.into()).await?;
        replies.insert("Connect stream".to_owned(), reply);
    } else {
        let name = method.path.trim_start_matches("/schema.v1alpha1.");
        replies.insert("Connect".to_owned(), client.call(name, body).await?);
    }
    let headers = [("content-type", "application/grpc-web+proto")];
    let reply = client.send(Method::POST, method.path, &headers, framed(&[]).into()).await?;
    replies.insert("gRPC-Web".to_owned(), reply);
    for binding in method.http {
        replies.insert(format!("{} {}", binding.verb, binding.path), rest(client, binding, body).await?);
    }
    Ok(replies)
}

/// Whether an answer in any of the protocols is this error.
fn is_error(protocol: &str, reply: &Reply, http: u16, grpc: &str, connect: &str) -> bool {
    match protocol {
        "gRPC-Web" => grpc_status(reply).as_deref() == Some(grpc),
        // A stream that fails says so in its last message: HTTP itself went well.
        "Connect stream" => reply.text().contains(&format!("\"{connect}\"")),
        "Connect" => reply.status == http && reply.json().is_ok_and(|error| error["code"] == json!(connect)),
        _ => reply.status == http,
    }
}

#[tokio::test]
async fn without_a_valid_token_every_method_answers_401() -> Result {
    let suite = Suite::builder(U_BMC).start().await?;
    let mut asked = 0;
    for credential in [Credential::None, Credential::Token("0".repeat(64)), Credential::Token("x".into())] {
        let client = suite.client(credential);
        for method in public() {
            for (protocol, reply) in ask_all(&client, method, &json!({})).await? {
                ensure!(
                    is_error(&protocol, &reply, 401, "16", "unauthenticated"),
                    "{} by {protocol}: {} {:?} {}",
                    method.full_name,
                    reply.status,
                    reply.headers,
                    reply.text()
                );
                asked += 1;
            }
        }
    }
    assert!(asked >= 3 * 3 * 25, "{asked} calls: every method, three ways or more");
    // What a role may do is no business of somebody who has none: a path that does not exist looks different, one that does
    // never tells more than 401.
    assert_eq!(suite.client(Credential::None).get("/api/v1alpha1/nothing").await?.status, 404);
    suite.stop().await
}

/// Logs in and gives the token's client.
async fn enter(suite: &Suite, name: &str, password: &str) -> Result<Client> {
    let anybody = suite.client(Credential::None);
    let reply =
        anybody.post("/api/v1alpha1/sessions", &json!({ "username": name, "password": password })).await?;
    ensure!(reply.status == 200, "{name}: {} {}", reply.status, reply.text());
    let token = reply.json()?["token"].as_str().context("a token")?.to_owned();
    Ok(suite.client(Credential::Token(token)))
}

/// Whether a method changes something. The ticket of a session that only looks at a screen changes nothing of the machine.
fn changes(method: &MethodInfo) -> bool {
    !method.read_only() && method.full_name != "schema.v1alpha1.KvmService.ViewScreen"
}

#[tokio::test]
async fn a_role_may_do_what_its_privileges_say_and_nothing_else() -> Result {
    let suite = Suite::builder(U_BMC).start().await?;
    let admin = suite.admin();
    for (name, role) in [("rita", "ReadOnly"), ("otto", "Operator")] {
        let user = json!({ "user": { "username": name, "role": role }, "password": PASSWORD });
        let reply = admin.post("/api/v1alpha1/users", &user).await?;
        ensure!(reply.status == 200, "{}", reply.text());
    }
    let before =
        admin.get("/api/v1alpha1/users?fieldMask=id,username,role,enabled,updatedAt").await?.json()?;

    for (name, role) in [("rita", auth::Role::ReadOnly), ("otto", auth::Role::Operator)] {
        let client = enter(&suite, name, PASSWORD).await?;
        let holds = |privilege: Privilege| {
            role.privileges().iter().any(|held| match held {
                auth::Privilege::Login => privilege == Privilege::Login,
                auth::Privilege::ConfigureSelf => privilege == Privilege::ConfigureSelf,
                auth::Privilege::ConfigureComponents => privilege == Privilege::ConfigureComponents,
                auth::Privilege::ConfigureManager => privilege == Privilege::ConfigureManager,
                auth::Privilege::ConfigureUsers => privilege == Privilege::ConfigureUsers,
                auth::Privilege::ViewScreens => privilege == Privilege::ViewScreens,
            })
        };
        let (mut refused, mut changing) = (0, 0);
        for method in public().filter(|method| method.privilege != Privilege::None) {
            // About somebody else, one's own privilege does not reach.
            let needed =
                if method.self_field.is_some() { Privilege::ConfigureUsers } else { method.privilege };
            if holds(needed) {
                if method.server_streaming {
                    // It would stream until the end of the test.
                    continue;
                }
                for (protocol, reply) in ask_all(&client, method, &about_another(method)).await? {
                    let denied = is_error(&protocol, &reply, 403, "7", "permission_denied")
                        || is_error(&protocol, &reply, 401, "16", "unauthenticated");
                    ensure!(!denied, "{name}: {} by {protocol}: {}", method.full_name, reply.text());
                }
                ensure!(
                    role != auth::Role::ReadOnly || !changes(method),
                    "{} changes something",
                    method.full_name
                );
                continue;
            }
            refused += 1;
            changing += usize::from(changes(method));
            for (protocol, reply) in ask_all(&client, method, &about_another(method)).await? {
                ensure!(
                    is_error(&protocol, &reply, 403, "7", "permission_denied"),
                    "{name}: {} by {protocol}: {} {}",
                    method.full_name,
                    reply.status,
                    reply.text()
                );
            }
        }
        assert!(
            refused > 0 && changing > 0,
            "{name}: {refused} methods refused, {changing} of them change something"
        );
        if role == auth::Role::ReadOnly {
            let all = public().filter(|m| changes(m) && m.privilege != Privilege::None).count();
            assert_eq!(changing, all, "ReadOnly is refused every method that changes something");
        }
    }
    let after =
        admin.get("/api/v1alpha1/users?fieldMask=id,username,role,enabled,updatedAt").await?.json()?;
    assert_eq!(before, after, "nothing came of it");
    suite.stop().await
}

/// A role that was made is narrowed while it is used by each way of showing who one is: what a gateway remembers of either is not asked any more.
#[tokio::test]
async fn a_role_that_is_narrowed_is_so_at_once() -> Result {
    const POWER: [&str; 3] =
        ["PRIVILEGE_LOGIN", "PRIVILEGE_CONFIGURE_SELF", "PRIVILEGE_CONFIGURE_COMPONENTS"];
    async fn patch(client: &Client, path: &str, body: &Value) -> Result<Reply> {
        client
            .send(Method::PATCH, path, &[("content-type", "application/json")], body.to_string().into())
            .await
    }
    let suite = Suite::builder(U_BMC).start().await?;
    let admin = suite.admin();
    let role = json!({ "role": { "id": "night", "privileges": POWER } });
    let reply = admin.post("/api/v1alpha1/roles", &role).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    let user = json!({ "user": { "username": "nora", "role": "night" }, "password": PASSWORD });
    let reply = admin.post("/api/v1alpha1/users", &user).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    let token = enter(&suite, "nora", PASSWORD).await?;
    let basic = suite.client(Credential::Basic("nora".into(), PASSWORD.into()));
    let change = json!({ "host": { "description": "looked after" } });
    let path = "/api/v1alpha1/hosts/system";
    for client in [&token, &basic] {
        let reply = patch(client, path, &change).await?;
        ensure!(reply.status == 200, "{}", reply.text());
    }
    let narrow = json!({ "role": { "privileges": ["PRIVILEGE_LOGIN"] } });
    let reply = patch(&admin, "/api/v1alpha1/roles/night", &narrow).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    assert_eq!(patch(&token, path, &change).await?.status, 401, "its session has ended");
    assert_eq!(patch(&basic, path, &change).await?.status, 403);
    assert_eq!(basic.get(path).await?.status, 200, "what is left");
    let reply = admin.send(Method::DELETE, "/api/v1alpha1/roles/night", &[], String::new().into()).await?;
    ensure!(reply.text().contains("ROLE_IN_USE"), "{}", reply.text());
    suite.stop().await
}

#[tokio::test]
async fn a_first_boot_password_opens_nothing_but_its_own_change() -> Result {
    let suite = Suite::builder(U_BMC).first_boot().start().await?;
    let log = suite.log().join("\n");
    let password = first_password(&log).context("the operator shows the first password")?;
    let client = enter(&suite, "admin", &password).await?;
    for method in
        public().filter(|method| method.privilege != Privilege::None && !method.with_expired_password)
    {
        for (protocol, reply) in ask_all(&client, method, &about_another(method)).await? {
            ensure!(
                is_error(&protocol, &reply, 403, "7", "permission_denied"),
                "{} by {protocol}: {} {}",
                method.full_name,
                reply.status,
                reply.text()
            );
        }
    }
    let change = json!({ "id": "admin", "currentPassword": password, "newPassword": PASSWORD });
    let reply = client.call("UserService/ChangePassword", &change).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    // The same session, at once.
    let reply = client.get("/api/v1alpha1/users/admin").await?;
    ensure!(reply.status == 200, "{}", reply.text());
    assert_eq!(
        suite.client(Credential::Basic("admin".into(), password)).get("/api/v1alpha1/hosts").await?.status,
        401
    );
    suite.stop().await
}

/// Over the real bus, by the confined daemon.
#[tokio::test]
async fn a_certificate_that_is_set_outlives_websrv() -> Result {
    const PATH: &str = "/api/v1alpha1/certificate";
    let suite = Suite::builder(U_BMC).start().await?;
    let key = rcgen::KeyPair::generate()?;
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&key)?;
    let body = json!({ "pem": certificate.pem() + &key.serialize_pem() });
    let reply = suite.admin().post(PATH, &body).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    let set = reply.json()?["certificate"]["fingerprint"].clone();
    suite.kill_daemon("websrv")?;
    let installed = || async {
        let Ok(reply) = suite.admin().get(PATH).await else { return Ok(false) };
        Ok(reply.json().is_ok_and(|shown| {
            let one = &shown["certificate"];
            one["source"] == "CERTIFICATE_SOURCE_INSTALLED" && one["fingerprint"] == set
        }))
    };
    testkit::eventually("websrv serves it again", Duration::from_secs(90), installed).await?;
    testkit::eventually("it is in the event log", Duration::from_secs(90), || async {
        let events = suite.admin().get("/api/v1alpha1/events?domain=certificate").await?.text();
        Ok(events.contains("replaced by admin"))
    })
    .await?;
    suite.stop().await
}

/// Four groups of five characters, as `usermgr` makes them, wherever the banner puts them.
fn first_password(log: &str) -> Option<String> {
    let of_password = |c: char| c == '-' || c.is_ascii_lowercase() || c.is_ascii_digit();
    log.split(|c: char| !of_password(c))
        .find(|word| {
            let groups: Vec<&str> = word.split('-').collect();
            groups.len() == 4 && groups.iter().all(|group| group.len() == 5)
        })
        .map(str::to_owned)
}
