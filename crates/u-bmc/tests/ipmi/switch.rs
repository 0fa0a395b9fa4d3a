//! The switch: IPMI is off until somebody switches it on, at once and over restarts.

use serde_json::{Value, json};
use testkit::{Suite, eventually};

use super::{BOSS, Bmc, FOLLOW, Method, PASSWORD, Result, U_BMC, has, port, skip};

const API: &str = "/api/v1alpha1/ipmi";
const REDFISH: &str = "/redfish/v1/Managers/bmc/NetworkProtocol";

async fn patch(suite: &Suite, path: &str, body: &Value) -> Result<(u16, Value)> {
    let headers = [("content-type", "application/json")];
    let reply = suite.admin().send(Method::PATCH, path, &headers, serde_json::to_vec(body)?.into()).await?;
    Ok((reply.status, reply.json()?))
}

async fn served(bmc: &Bmc, wanted: bool) -> Result {
    eventually("ipmitool is answered, or not", FOLLOW, || async {
        let args = ["-I", "lanplus", "-H", "127.0.0.1", "-p", &bmc.port.to_string(), "-N", "1", "-R", "1"];
        let login = ["-C", "17", "-U", BOSS.0, "-P", PASSWORD, "mc", "info"];
        Ok(bmc.run("ipmitool", &[&args[..], &login].concat()).await?.0 == wanted)
    })
    .await
}

#[tokio::test]
async fn it_is_switched_by_the_api_by_redfish_and_by_ubmcctl_and_stays_so() -> Result {
    if !has("ipmitool") {
        skip("ipmitool");
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let suite = Suite::builder(U_BMC).state_dir(dir.path()).start().await?;
    let admin = suite.admin();
    let user = json!({"username": "boss", "role": "Administrator", "ipmi_access": true});
    let made = admin.post("/api/v1alpha1/users", &json!({"user": user, "password": PASSWORD})).await?;
    anyhow::ensure!(made.status == 200, "{}", made.text());
    let said = admin.get(API).await?.json()?["ipmi"].clone();
    anyhow::ensure!(said["port"] == 623 && said["byConfiguration"] == true, "{said}");
    anyhow::ensure!(said.get("enabled").is_none() && said.get("listening").is_none(), "{said}");
    anyhow::ensure!(
        admin.get(REDFISH).await?.json()?["IPMI"] == json!({"ProtocolEnabled": false, "Port": 623})
    );

    let bmc = Bmc { suite, port: port()? };
    let (status, said) =
        patch(&bmc.suite, REDFISH, &json!({"IPMI": {"ProtocolEnabled": true, "Port": bmc.port}})).await?;
    anyhow::ensure!(status == 200 && said["IPMI"]["ProtocolEnabled"] == true, "{status}: {said}");
    served(&bmc, true).await?;
    let (status, said) = patch(&bmc.suite, API, &json!({"enabled": false})).await?;
    anyhow::ensure!(status == 200, "{said}");
    served(&bmc, false).await?;
    eventually("it is told", FOLLOW, || async {
        let told = admin.get("/api/v1alpha1/events?domain=ipmi&component=service").await?.json()?;
        Ok(told["events"][0]["what"] == "disabled"
            && told["events"][1]["what"] == "enabled"
            && told["events"][0]["principal"] == "admin")
    })
    .await?;

    // A port that somebody has: nothing is changed.
    let taken = std::net::UdpSocket::bind("[::]:0")?;
    let other = taken.local_addr()?.port();
    let (status, said) = patch(&bmc.suite, API, &json!({"enabled": true, "port": other})).await?;
    anyhow::ensure!(
        status >= 400 && said.to_string().contains("another program has this port"),
        "{status}: {said}"
    );
    let said = admin.get(API).await?.json()?["ipmi"].clone();
    anyhow::ensure!(said["port"] == bmc.port && said.get("enabled").is_none(), "{said}");

    // By ubmcctl, and after a restart.
    let secret = dir.path().join("secret");
    std::fs::write(&secret, testkit::ADMIN_PASSWORD)?;
    let ctl = async |words: &[&str]| {
        let server = format!("https://{}", bmc.suite.https());
        let secret = secret.display().to_string();
        let login = ["--server", &server, "--insecure", "--user", "admin", "--password-file", &secret];
        let program = std::path::Path::new(U_BMC).with_file_name("ubmcctl");
        bmc.run(program, &[&login[..], words].concat()).await
    };
    let (fine, said) = ctl(&["ipmi", "enable"]).await?;
    anyhow::ensure!(fine && said.contains(&format!("IPMI is on at [::]:{}", bmc.port)), "{said}");
    served(&bmc, true).await?;
    let (fine, said) = ctl(&["-o", "json", "ipmi", "status"]).await?;
    anyhow::ensure!(fine && said.contains("\"listening\": true"), "{said}");
    let port = bmc.port;
    bmc.suite.stop().await?;
    let suite = Suite::builder(U_BMC).state_dir(dir.path()).start().await?;
    let bmc = Bmc { suite, port };
    served(&bmc, true).await?;
    bmc.suite.stop().await
}

#[tokio::test]
async fn an_operator_with_a_taken_port_says_which_flag_that_was() -> Result {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let Err(error) = Suite::builder(U_BMC).arg("--ipmi").arg(&address).start().await else {
        anyhow::bail!("it starts");
    };
    let said = format!("{error:?}");
    anyhow::ensure!(said.contains(&format!("--ipmi {address}: cannot listen there")), "{said}");
    Ok(())
}
