//! The time of day in the whole suite on somebody's computer: it is shown, and nobody sets that computer's clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use serde_json::{Value, json};
use testkit::{Client, Credential, Suite, eventually};

type Result<T = ()> = anyhow::Result<T>;

const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
const SET_TIME: &str = "/api/v1alpha1/network:setTime";
const INTERFACES: &str = "/api/v1alpha1/network/interfaces";
const MANAGER: &str = "/redfish/v1/Managers/bmc";
/// Longest wait for what a start leads to.
const FOLLOW: Duration = Duration::from_secs(60);
/// A time that the clock must not be set to, from 2026 on and decades from any day on which this runs.
const FAR: &str = "2070-01-01T00:00:00Z";

async fn patch(client: &Client, path: &str, body: &Value) -> Result<(u16, Value)> {
    let headers = [("content-type", "application/json")];
    let reply = client.send(http::Method::PATCH, path, &headers, serde_json::to_vec(body)?.into()).await?;
    Ok((reply.status, reply.json()?))
}

#[tokio::test]
async fn where_netmgr_only_looks_the_clock_is_refused_and_stays() -> Result {
    let suite = Suite::builder(U_BMC).set("netmgr.observe=true").start().await?;
    let admin = suite.admin();
    eventually("netmgr answers", FOLLOW, || async { Ok(admin.get(INTERFACES).await?.status == 200) }).await?;

    let reply = admin.post(SET_TIME, &json!({"time": FAR})).await?;
    ensure!(reply.status >= 400 && reply.text().contains("NETWORK_OBSERVED"), "{}", reply.text());
    let (status, said) = patch(&admin, MANAGER, &json!({"DateTime": FAR})).await?;
    ensure!(status == 409 && said.to_string().contains("PropertyNotWritable"), "{status}: {said}");

    // What is no time is told before anybody is asked.
    let (status, said) = patch(&admin, MANAGER, &json!({"DateTime": "tomorrow"})).await?;
    ensure!(status == 400 && said.to_string().contains("PropertyValueFormatError"), "{status}: {said}");
    let reply = admin.post(SET_TIME, &json!({})).await?;
    ensure!(reply.status == 400, "{}", reply.text());

    // Who does not configure the controller does not set its clock.
    let password = "seven brass doorknobs";
    let user = json!({"username": "olga", "role": "Operator", "enabled": true});
    let made = admin.post("/api/v1alpha1/users", &json!({"user": user, "password": password})).await?;
    ensure!(made.status == 200, "{}", made.text());
    let olga = suite.client(Credential::Basic("olga".to_owned(), password.to_owned()));
    let (status, said) = patch(&olga, MANAGER, &json!({"DateTime": FAR})).await?;
    ensure!(status == 403, "{status}: {said}");
    let reply = olga.post(SET_TIME, &json!({"time": FAR})).await?;
    ensure!(reply.status == 403, "{}", reply.text());

    // This computer's time is shown, which is another one.
    let shown = admin.get(MANAGER).await?.json()?;
    let year: u64 = shown["DateTime"].as_str().and_then(|text| text.get(..4)).unwrap_or_default().parse()?;
    ensure!(year < 2070, "{shown}");
    ensure!(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() < 3_155_760_000);
    suite.stop().await
}
