//! The port of plain HTTP in the whole suite: switched by Redfish, the API and ubmcctl, at once and over restarts.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use testkit::{Client, Suite, eventually};
use tokio::net::TcpStream;

type Result<T = ()> = anyhow::Result<T>;

const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
const API: &str = "/api/v1alpha1/redirect";
const PROTOCOL: &str = "/redfish/v1/Managers/bmc/NetworkProtocol";
/// Longest wait for what a request leads to.
const FOLLOW: Duration = Duration::from_secs(60);

async fn get(suite: &Suite, path: &str) -> Result<Value> {
    let reply = suite.admin().get(path).await?;
    ensure!(reply.status == 200, "{path}: {}", reply.text());
    reply.json()
}

async fn patch(client: &Client, path: &str, body: &Value) -> Result<(u16, Value)> {
    let headers = [("content-type", "application/json")];
    let reply = client.send(http::Method::PATCH, path, &headers, serde_json::to_vec(body)?.into()).await?;
    Ok((reply.status, reply.json()?))
}

/// Whether somebody listens there, and clients of Redfish and of the API are told so.
async fn is_open(suite: &Suite, port: u16, wanted: bool) -> Result {
    eventually("the port is as it was switched", FOLLOW, || async {
        // websrv may just have come back.
        let (Ok(shown), Ok(said)) = (get(suite, PROTOCOL).await, get(suite, API).await) else {
            return Ok(false);
        };
        let said = &said["redirect"];
        let is_told = shown["HTTP"] == json!({"ProtocolEnabled": wanted, "Port": port})
            && (said["enabled"] == true, said["listening"] == true) == (wanted, wanted);
        Ok(is_told && TcpStream::connect(("127.0.0.1", port)).await.is_ok() == wanted)
    })
    .await
}

/// A suite with plain HTTP there.
fn at(dir: &std::path::Path, http: &str) -> testkit::Builder {
    Suite::builder(U_BMC).state_dir(dir).http(http)
}

#[tokio::test]
async fn it_is_switched_by_redfish_by_the_api_and_by_ubmcctl_and_stays_so() -> Result {
    let dir = tempfile::tempdir()?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let address = format!("127.0.0.1:{port}");
    let suite = at(dir.path(), &address).start().await?;
    is_open(&suite, port, true).await?;
    let said = get(&suite, API).await?["redirect"].clone();
    ensure!(said["byConfiguration"] == true, "{said}");

    // Who does not configure the controller does not switch it.
    let password = "seven brass doorknobs";
    let user = json!({"username": "olga", "role": "Operator", "enabled": true});
    let made =
        suite.admin().post("/api/v1alpha1/users", &json!({"user": user, "password": password})).await?;
    ensure!(made.status == 200, "{}", made.text());
    let olga = suite.client(testkit::Credential::Basic("olga".to_owned(), password.to_owned()));
    let (status, said) = patch(&olga, API, &json!({"enabled": false})).await?;
    ensure!(status == 403, "{status}: {said}");
    is_open(&suite, port, true).await?;

    let (status, said) =
        patch(&suite.admin(), PROTOCOL, &json!({"HTTP": {"ProtocolEnabled": false}})).await?;
    ensure!(status == 200 && said["HTTP"]["ProtocolEnabled"] == false, "{status}: {said}");
    is_open(&suite, port, false).await?;
    let told = get(&suite, "/api/v1alpha1/events?domain=redirect&component=service").await?;
    ensure!(told["events"][0]["what"] == "disabled" && told["events"][0]["principal"] == "admin", "{told}");
    // Nor when websrv comes back after a crash.
    suite.kill_daemon("websrv")?;
    is_open(&suite, port, false).await?;
    suite.stop().await?;

    // Also after a restart, which waits for nobody there; and on again.
    let suite = at(dir.path(), &address).start().await?;
    ensure!(suite.ready.http.is_none(), "{:?}", suite.ready);
    is_open(&suite, port, false).await?;
    let (fine, said) = suite.ubmcctl(U_BMC, &["redirect", "enable"]).await?;
    ensure!(fine && said.contains(&format!("HTTP at {address} leads to HTTPS")), "{said}");
    is_open(&suite, port, true).await?;
    suite.stop().await?;

    // What the flag rules out is stronger.
    let suite = at(dir.path(), "off").start().await?;
    ensure!(suite.ready.http.is_none(), "{:?}", suite.ready);
    let shown = get(&suite, PROTOCOL).await?["HTTP"].clone();
    ensure!(shown == json!({"ProtocolEnabled": false}), "{shown}");
    let (status, said) = patch(&suite.admin(), PROTOCOL, &json!({"HTTP": {"ProtocolEnabled": true}})).await?;
    ensure!(status == 409 && said.to_string().contains("--http off"), "{status}: {said}");
    suite.stop().await
}
