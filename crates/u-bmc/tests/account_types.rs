//! What accounts may be used for, in the running suite: each way in opens what its account is for, and what is open ends when that is taken away.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::Method;
use serde_json::{Value, json};
use testkit::{Client, Console, Credential, Kvm, Reply, Suite, eventually};

const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
const PASSWORD: &str = "seven brass doorknobs";
const FOLLOW: Duration = Duration::from_secs(30);
const CONSOLE: &str = "/api/v1alpha1/consoles/system/socket";
const SCREEN: &str = "/api/v1alpha1/screens/system/kvm";
const ACCOUNT: &str = "/redfish/v1/AccountService/Accounts/worker";

type Result<T = ()> = anyhow::Result<T>;

fn worker() -> Credential {
    Credential::Basic("worker".into(), PASSWORD.into())
}

async fn patch(client: &Client, path: &str, body: &Value) -> Result<Reply> {
    let headers = [("content-type", "application/json")];
    client.send(Method::PATCH, path, &headers, body.to_string().into()).await
}

/// A suite with an account for all that an operator can use.
async fn start() -> Result<Suite> {
    let suite = Suite::builder(U_BMC).start().await?;
    let body = json!({ "user": { "username": "worker", "role": "Operator" }, "password": PASSWORD });
    let reply = suite.admin().post("/api/v1alpha1/users", &body).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    Ok(suite)
}

/// Has the account be for these types.
async fn give(suite: &Suite, types: &[&str]) -> Result {
    let reply = patch(&suite.admin(), ACCOUNT, &json!({ "AccountTypes": types })).await?;
    ensure!(reply.status == 200, "{types:?}: {}", reply.text());
    let mut shown: Vec<String> = serde_json::from_value(reply.json()?["AccountTypes"].clone())?;
    let mut wanted: Vec<String> = types.iter().map(|kind| (*kind).to_owned()).collect();
    shown.sort();
    wanted.sort();
    ensure!(shown == wanted, "{shown:?}");
    Ok(())
}

/// The messages of an answer of Redfish, and the property the first one is about.
fn told(reply: &Reply) -> Result<(u16, String, Value)> {
    let info = reply.json()?["error"]["@Message.ExtendedInfo"][0].clone();
    let id = info["MessageId"].as_str().unwrap_or_default().rsplit('.').next().unwrap_or_default().to_owned();
    Ok((reply.status, id, info["RelatedProperties"][0].clone()))
}

#[tokio::test]
async fn what_an_account_is_not_for_is_closed_to_it_by_every_way_in() -> Result {
    let suite = start().await?;
    let basic = worker().header().unwrap_or_default();
    let client = suite.client(worker());
    let authorization = [("authorization", basic.as_str())];
    // By each type alone, what opens: console, screen, media, Redfish, the rest of the API, the pages.
    let opens = async || {
        let console = Console::open(suite.https(), CONSOLE, &authorization).await?.err();
        let screen = Kvm::open(suite.https(), SCREEN, &authorization).await?.err();
        let media = client.post("/api/v1alpha1/media/system-cd/eject", &json!({})).await?;
        let redfish = client.get("/redfish/v1/Systems").await?.status;
        let api = client.get("/api/v1alpha1/hosts").await?.status;
        let headers = [("x-u-bmc-ui", "1"), ("content-type", "application/json")];
        let login = json!({ "username": "worker", "password": PASSWORD }).to_string();
        let page = suite.client(Credential::None);
        let pages = page.send(Method::POST, "/ui/session", &headers, login.into()).await?;
        ensure!(pages.status == 200 || !pages.headers.contains_key("set-cookie"), "{}", pages.text());
        let said = [media.text(), pages.text()].join(" ");
        let refused = |status: u16| status == 403;
        // A medium that is not there is found out behind the gate.
        let open = [
            ("console", console.is_none()),
            ("screen", screen.is_none()),
            ("media", !refused(media.status)),
            ("redfish", !refused(redfish)),
            ("api", !refused(api)),
            ("pages", !refused(pages.status)),
        ];
        ensure!([console, screen].iter().flatten().all(|status| *status == 403), "{console:?} {screen:?}");
        if refused(media.status) || refused(pages.status) {
            ensure!(said.contains("ACCOUNT_TYPE"), "{said}");
        }
        Ok::<Vec<&str>, anyhow::Error>(open.into_iter().filter(|(_, is)| *is).map(|(what, _)| what).collect())
    };
    assert_eq!(opens().await?, ["console", "screen", "media", "redfish", "api", "pages"]);
    for (kind, open) in [
        ("HostConsole", &["console"][..]),
        ("KVMIP", &["screen"]),
        ("VirtualMedia", &["media"]),
        ("Redfish", &["redfish", "api"]),
        ("WebUI", &["api", "pages"]),
        ("IPMI", &[]),
    ] {
        give(&suite, &[kind]).await?;
        assert_eq!(opens().await?, open, "{kind}");
    }
    // No session was made for what it is not for.
    give(&suite, &["HostConsole"]).await?;
    let login = json!({ "UserName": "worker", "Password": PASSWORD });
    let anybody = suite.client(Credential::None);
    let reply = anybody.post("/redfish/v1/SessionService/Sessions", &login).await?;
    assert_eq!(told(&reply)?.1, "InsufficientPrivilege");
    assert!(reply.status == 403 && !reply.headers.contains_key("x-auth-token"));
    let sessions = suite.admin().get("/api/v1alpha1/sessions").await?.text();
    ensure!(!sessions.contains("\"worker\""), "{sessions}");
    // The password is its own whatever it is for.
    let change = json!({ "id": "worker", "currentPassword": PASSWORD, "newPassword": "nine iron teapots" });
    let reply = client.call("UserService/ChangePassword", &change).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    suite.stop().await
}

#[tokio::test]
async fn what_is_open_ends_when_its_type_is_taken_away_and_the_rest_can_be_opened_again() -> Result {
    let suite = start().await?;
    let basic = worker().header().unwrap_or_default();
    let authorization = [("authorization", basic.as_str())];
    let mut console = Console::open(suite.https(), CONSOLE, &authorization)
        .await?
        .map_err(|status| anyhow::anyhow!("refused with {status}"))?;
    console.told(|notice| notice["type"] == "state").await?;
    let mut screen = Kvm::open(suite.https(), SCREEN, &authorization)
        .await?
        .map_err(|status| anyhow::anyhow!("refused with {status}"))?;
    screen.told(|notice| notice["type"] == "state").await?;
    let enter = json!({ "username": "worker", "password": PASSWORD });
    let session = suite.client(Credential::None).post("/api/v1alpha1/sessions", &enter).await?;
    let token = session.json()?["token"].as_str().context("a token")?.to_owned();
    let session = suite.client(Credential::Token(token));
    ensure!(session.get("/api/v1alpha1/hosts").await?.status == 200);

    give(&suite, &["Redfish", "WebUI", "VirtualMedia"]).await?;
    for reason in [console.ends().await?, screen.ends().await?] {
        ensure!(!reason.is_empty(), "the client is told");
    }
    assert_eq!(session.get("/api/v1alpha1/hosts").await?.status, 401, "its sessions have ended");
    assert_eq!(Console::open(suite.https(), CONSOLE, &authorization).await?.err(), Some(403));
    assert_eq!(suite.client(worker()).get("/api/v1alpha1/hosts").await?.status, 200, "what is left");

    // Over a kill of the daemon that keeps it.
    suite.kill_daemon("usermgr")?;
    eventually("the account is as it was", FOLLOW, || async {
        let shown = suite.admin().get(ACCOUNT).await?;
        let types = shown.json().map(|shown| shown["AccountTypes"].clone()).unwrap_or_default();
        Ok(types == json!(["Redfish", "VirtualMedia", "WebUI"]))
    })
    .await?;
    // What is shown may be what was known before; who asks for a console is looked at.
    eventually("its console is closed to it", FOLLOW, || async {
        Ok(Console::open(suite.https(), CONSOLE, &authorization).await?.err() == Some(403))
    })
    .await?;
    give(&suite, &["HostConsole"]).await?;
    assert!(Console::open(suite.https(), CONSOLE, &authorization).await?.is_ok());
    // Who took it away, and that it was done, is told as any other change of an account.
    eventually("the records are there", FOLLOW, || async {
        let records = suite.admin().get("/api/v1alpha1/events?domain=audit").await?.text();
        let events = suite.admin().get("/api/v1alpha1/events?domain=user").await?.text();
        Ok(records.contains("Accounts/worker") && events.contains("USER_CHANGE_KIND_UPDATED"))
    })
    .await?;
    suite.stop().await
}

#[tokio::test]
async fn a_list_that_redfish_refuses_leaves_the_account_as_it_was() -> Result {
    let suite = start().await?;
    let admin = suite.admin();
    let reply = patch(&admin, ACCOUNT, &json!({ "RoleId": "ReadOnly" })).await?;
    ensure!(reply.status == 200, "{}", reply.text());
    let before = admin.get(ACCOUNT).await?.json()?;
    assert_eq!(before["AccountTypes"], json!(["Redfish", "KVMIP", "WebUI"]));
    assert_eq!(before["StrictAccountTypes"], false);
    let own = "/redfish/v1/AccountService/Accounts/admin";
    for (path, body, status, id) in [
        (ACCOUNT, json!({ "AccountTypes": ["Redfish", "HostConsole"] }), 400, "PropertyValueConflict"),
        (
            ACCOUNT,
            json!({ "AccountTypes": ["VirtualMedia"], "StrictAccountTypes": true }),
            400,
            "StrictAccountTypes",
        ),
        (ACCOUNT, json!({ "AccountTypes": ["ManagerConsole"] }), 400, "PropertyValueNotInList"),
        (ACCOUNT, json!({ "AccountTypes": [] }), 400, "PropertyValueIncorrect"),
        (own, json!({ "AccountTypes": ["WebUI", "HostConsole"] }), 409, "PropertyValueIncorrect"),
    ] {
        let reply = patch(&admin, path, &body).await?;
        assert_eq!(told(&reply)?, (status, id.to_owned(), json!("/AccountTypes")), "{body}");
    }
    assert_eq!(admin.get(ACCOUNT).await?.json()?, before);
    let new = json!({ "UserName": "nora", "Password": PASSWORD, "RoleId": "ReadOnly", "AccountTypes": ["VirtualMedia"] });
    let reply = admin.post("/redfish/v1/AccountService/Accounts", &new).await?;
    assert_eq!(told(&reply)?.1, "PropertyValueConflict");
    assert_eq!(admin.get("/redfish/v1/AccountService/Accounts/nora").await?.status, 404);
    // Without a list a strict one is for Redfish, as DMTF has it.
    let new =
        json!({ "UserName": "nora", "Password": PASSWORD, "RoleId": "Operator", "StrictAccountTypes": true });
    let reply = admin.post("/redfish/v1/AccountService/Accounts", &new).await?;
    ensure!(reply.status == 201, "{}", reply.text());
    let made = reply.json()?;
    assert_eq!((&made["AccountTypes"], &made["StrictAccountTypes"]), (&json!(["Redfish"]), &json!(true)));
    suite.stop().await
}
