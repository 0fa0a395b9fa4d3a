//! The port of desktop viewers in the whole suite: switched by Redfish, the API and ubmcctl, at once and over restarts.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use testkit::{Suite, eventually};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

type Result<T = ()> = anyhow::Result<T>;

const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
const API: &str = "/api/v1alpha1/vnc";
const PROTOCOL: &str = "/redfish/v1/Managers/bmc/NetworkProtocol";
/// Longest wait for what a request leads to.
const FOLLOW: Duration = Duration::from_secs(60);

async fn get(suite: &Suite, path: &str) -> Result<Value> {
    let reply = suite.admin().get(path).await?;
    ensure!(reply.status == 200, "{path}: {}", reply.text());
    reply.json()
}

async fn patch(client: &testkit::Client, path: &str, body: &Value) -> Result<(u16, Value)> {
    let headers = [("content-type", "application/json")];
    let reply = client.send(http::Method::PATCH, path, &headers, serde_json::to_vec(body)?.into()).await?;
    Ok((reply.status, reply.json()?))
}

/// A viewer that was greeted; `None`: nobody listens.
async fn viewer(port: u16) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    let mut greeting = [0; 12];
    stream.read_exact(&mut greeting).await.ok()?;
    (&greeting == b"RFB 003.008\n").then_some(stream)
}

/// Whether viewers are greeted, and clients of Redfish told so.
async fn is_open(suite: &Suite, port: u16, wanted: bool) -> Result {
    eventually("the port is as it was switched", FOLLOW, || async {
        let shown = get(suite, PROTOCOL).await?["KVMIP"].clone();
        let console = get(suite, "/redfish/v1/Systems/system").await?["GraphicalConsole"].clone();
        let is_told = shown == json!({"ProtocolEnabled": wanted, "Port": port})
            && (console.get("Port") == Some(&json!(port))) == wanted;
        Ok(is_told && viewer(port).await.is_some() == wanted)
    })
    .await
}

#[tokio::test]
async fn it_is_switched_by_redfish_by_the_api_and_by_ubmcctl_and_stays_so() -> Result {
    let dir = tempfile::tempdir()?;
    let port = testkit::free_port()?;
    let builder = || Suite::builder(U_BMC).state_dir(dir.path()).set(format!("websrv.vnc=127.0.0.1:{port}"));
    let suite = builder().start().await?;
    is_open(&suite, port, true).await?;
    let said = get(&suite, API).await?["vnc"].clone();
    ensure!(said["byConfiguration"] == true && said["listening"] == true, "{said}");
    let looks = viewer(port).await;

    // Who does not configure the controller does not switch it.
    let password = "seven brass doorknobs";
    let user = json!({"username": "olga", "role": "Operator", "enabled": true});
    let made =
        suite.admin().post("/api/v1alpha1/users", &json!({"user": user, "password": password})).await?;
    ensure!(made.status == 200, "{}", made.text());
    let olga = suite.client(testkit::Credential::Basic("olga".to_owned(), password.to_owned()));
    let (status, said) = patch(&olga, API, &json!({"enabled": false})).await?;
    ensure!(status == 403, "{status}: {said}");

    // Off: who looks does not any more.
    let (status, said) =
        patch(&suite.admin(), PROTOCOL, &json!({"KVMIP": {"ProtocolEnabled": false}})).await?;
    ensure!(status == 200 && said["KVMIP"]["ProtocolEnabled"] == false, "{status}: {said}");
    let mut rest = Vec::new();
    if let Some(mut looks) = looks {
        let _ = tokio::time::timeout(FOLLOW, looks.read_to_end(&mut rest)).await?;
    }
    is_open(&suite, port, false).await?;
    eventually("it is told", FOLLOW, || async {
        let told = get(&suite, "/api/v1alpha1/events?domain=vnc&component=service").await?;
        Ok(told["events"][0]["what"] == "disabled" && told["events"][0]["principal"] == "admin")
    })
    .await?;
    suite.stop().await?;

    // Also after a restart, whatever the configuration says; and on again.
    let suite = builder().start().await?;
    is_open(&suite, port, false).await?;
    let (fine, said) = suite.ubmcctl(U_BMC, &["vnc", "enable"]).await?;
    ensure!(fine && said.contains(&format!("VNC is on at 127.0.0.1:{port}")), "{said}");
    is_open(&suite, port, true).await?;

    // websrv dies: the port is open again with it.
    suite.kill_daemon("websrv")?;
    eventually("viewers are greeted again", FOLLOW, || async { Ok(viewer(port).await.is_some()) }).await?;
    suite.stop().await
}
