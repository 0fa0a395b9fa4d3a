//! The switch of virtual media in the whole suite: what is inserted when it is switched off, what is refused, and what a restart makes of it.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use testkit::{Client, ImageServer, Suite, bootable, eventually};

type Result<T = ()> = anyhow::Result<T>;

const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
const MEDIA: &str = "/api/v1alpha1/media";
const SWITCH: &str = "/api/v1alpha1/media-switch";
const PROTOCOL: &str = "/redfish/v1/Managers/bmc/NetworkProtocol";
/// Longer than a daemon takes to come back, and than a host waits for a dead disc.
const LONG: Duration = Duration::from_secs(60);

async fn get(admin: &Client, path: &str) -> Result<Value> {
    let reply = admin.get(path).await?;
    ensure!(reply.status == 200, "{path}: {}", reply.text());
    reply.json()
}

async fn patch(client: &Client, path: &str, body: &Value) -> Result<(u16, Value)> {
    let headers = [("content-type", "application/json")];
    let reply = client.send(http::Method::PATCH, path, &headers, serde_json::to_vec(body)?.into()).await?;
    Ok((reply.status, reply.json()?))
}

async fn until_state(admin: &Client, state: &str) -> Result {
    eventually(&format!("the drive is {state}"), LONG, || async {
        let shown = get(admin, &format!("{MEDIA}/cd")).await;
        Ok(shown.is_ok_and(|shown| shown["slot"]["state"] == format!("MEDIA_STATE_{state}")))
    })
    .await
}

#[tokio::test]
async fn what_is_inserted_is_ejected_when_it_is_switched_off_and_nothing_comes_until_it_is_on() -> Result {
    let dir = tempfile::tempdir()?;
    let builder = || {
        let builder = Suite::builder(U_BMC).state_dir(dir.path());
        builder.set("mediasrv.allow_http=true").set("mediasrv.allow_local=true")
    };
    let suite = builder().start().await?;
    let admin = suite.admin();
    ensure!(
        get(&admin, SWITCH).await?["mediaSwitch"]["enabled"] == true,
        "on unless somebody says otherwise"
    );
    ensure!(get(&admin, PROTOCOL).await?["VirtualMedia"]["ProtocolEnabled"] == true);
    let server = ImageServer::start(bootable::cd("FAR"), None).await?;
    let image = json!({ "url": server.url("http", "far.iso") });
    let inserted = admin.post(&format!("{MEDIA}/cd/insert"), &image).await?;
    ensure!(inserted.status == 200, "{}", inserted.text());

    // Who does not configure the controller does not switch it, though he may insert and eject.
    let password = "seven brass doorknobs";
    let user = json!({"username": "olga", "role": "Operator", "enabled": true});
    let made = admin.post("/api/v1alpha1/users", &json!({"user": user, "password": password})).await?;
    ensure!(made.status == 200, "{}", made.text());
    let olga = suite.client(testkit::Credential::Basic("olga".to_owned(), password.to_owned()));
    let (status, said) = patch(&olga, SWITCH, &json!({"enabled": false})).await?;
    ensure!(status == 403, "{status}: {said}");

    let (status, said) =
        patch(&admin, PROTOCOL, &json!({"VirtualMedia": {"ProtocolEnabled": false}})).await?;
    ensure!(status == 200 && said["VirtualMedia"]["ProtocolEnabled"] == false, "{status}: {said}");
    until_state(&admin, "EMPTY").await?;
    let refused = admin.post(&format!("{MEDIA}/cd/insert"), &image).await?;
    ensure!(refused.status >= 400 && refused.text().contains("MEDIA_SWITCHED_OFF"), "{}", refused.text());
    let file = json!({"imageName": "a.iso", "sizeBytes": "2048"});
    let refused = admin.post(&format!("{MEDIA}/cd/sessions"), &file).await?;
    ensure!(refused.status >= 400 && refused.text().contains("MEDIA_SWITCHED_OFF"), "{}", refused.text());
    eventually("it is told", LONG, || async {
        let told = get(&admin, "/api/v1alpha1/events?domain=media&component=service").await?;
        Ok(told["events"][0]["what"] == "disabled" && told["events"][0]["principal"] == "admin")
    })
    .await?;

    // A daemon that dies and a controller that starts anew know it still, and offer nothing again.
    suite.kill_daemon("mediasrv")?;
    eventually("another mediasrv answers", LONG, || async {
        let shown = get(&admin, SWITCH).await;
        Ok(shown.is_ok_and(|shown| shown["mediaSwitch"].get("enabled").is_none()))
    })
    .await?;
    suite.stop().await?;
    let suite = builder().start().await?;
    let admin = suite.admin();
    ensure!(get(&admin, SWITCH).await?["mediaSwitch"].get("enabled").is_none());
    until_state(&admin, "EMPTY").await?;

    let (status, said) = patch(&admin, SWITCH, &json!({"enabled": true})).await?;
    ensure!(status == 200 && said["mediaSwitch"]["enabled"] == true, "{status}: {said}");
    let inserted = admin.post(&format!("{MEDIA}/cd/insert"), &image).await?;
    ensure!(inserted.status == 200, "{}", inserted.text());
    suite.stop().await
}
