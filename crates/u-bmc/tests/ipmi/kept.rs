//! What clients set that has no other owner: records of the SEL, names of the system, alerts, the firewall; and tests of passwords.

use serde_json::json;
use testkit::eventually;
use tokio::net::UdpSocket;

use super::{BOSS, Bmc, FOLLOW, Method, PASSWORD, Result, WORKER, account};

#[tokio::test]
async fn records_are_added_and_alert_whom_the_tables_name() -> Result {
    let listener = UdpSocket::bind("127.0.0.1:0").await?;
    let set = format!("trap_port={}", listener.local_addr()?.port());
    let Some(bmc) = Bmc::with("ipmitool", &[&set]).await? else { return Ok(()) };
    let admin = bmc.suite.admin();
    bmc.tool(&["sel", "clear"]).await?;

    // As a client that writes a file of them, and one that sends messages.
    let file = bmc.suite.scratch().join("records");
    std::fs::write(&file, "0x04 0x01 0x30 0x01 0x59 0x50 0x48 # upper critical\n")?;
    bmc.tool(&["sel", "add", &file.display().to_string()]).await?;
    bmc.shows(&["sel", "elist"], "Upper Critical going high").await?;
    let id = "0 0 0x02 0 0 0 0 0x41 0x00 0x04 0x0c 0x53 0x6f 0x00 0xff 0xff";
    let words: Vec<&str> = ["raw", "0x0a", "0x44"].into_iter().chain(id.split(' ')).collect();
    let said = bmc.tool(&words).await?;
    let number: Vec<&str> = said.split_whitespace().collect();
    anyhow::ensure!(number.len() == 2, "{said}");
    let list = bmc.tool(&["sel", "list"]).await?;
    let number = u16::from_str_radix(&format!("{}{}", number[1], number[0]), 16)?;
    anyhow::ensure!(
        list.lines().any(|line| line.trim().starts_with(&format!("{number:x} |"))),
        "{number:x}: {list}"
    );
    anyhow::ensure!(list.contains("Memory"), "{list}");
    eventually("it is told", FOLLOW, || async {
        let told = admin.get("/api/v1alpha1/events?domain=ipmi&component=sel").await?.json()?;
        Ok(told["events"][0]["what"] == "added" && told["events"][0]["principal"] == "boss")
    })
    .await?;
    bmc.restart().await?;
    eventually("the same after a restart", FOLLOW, || async {
        Ok(bmc.tool(&["sel", "list"]).await? == list)
    })
    .await?;

    // A test alert, and one of a filter.
    bmc.tool(&["lan", "set", "1", "snmp", "rack7"]).await?;
    bmc.tool(&["lan", "alert", "set", "1", "1", "ipaddr", "127.0.0.1"]).await?;
    let said = bmc.tool(&["lan", "alert", "print", "1", "1"]).await?;
    anyhow::ensure!(said.contains("127.0.0.1") && said.contains("PET Trap"), "{said}");
    bmc.tool(&["raw", "0x04", "0x16", "1", "0x01", "0"]).await?;
    let mut trap = [0; 512];
    let length = tokio::time::timeout(FOLLOW, listener.recv(&mut trap)).await??;
    anyhow::ensure!(trap[..length].windows(5).any(|part| part == b"rack7"), "{:02x?}", &trap[..length]);
    anyhow::ensure!(bmc.tool(&["raw", "0x04", "0x16", "1", "0x41", "0"]).await?.trim() == "01");
    for words in [
        "0x04 0x12 1 1",
        "0x04 0x12 2 1",
        // Any crossing of a temperature, policy 3: destination 1 of the channel.
        "0x04 0x12 6 1 0x80 0x01 3 0x10 0xff 0xff 0x01 0xff 0x01 0xff 0xff 0 0 0 0 0 0 0 0 0",
        "0x04 0x12 9 1 0x38 0x11 0",
    ] {
        let args: Vec<&str> = std::iter::once("raw").chain(words.split(' ')).collect();
        bmc.tool(&args).await?;
    }
    bmc.tool(&["event", "1"]).await?;
    let length = tokio::time::timeout(FOLLOW, listener.recv(&mut trap)).await??;
    // Specific trap: a temperature, thresholds, upper critical going high.
    let specific: &[u8] = &[2, 3, 0x01, 0x01, 0x09];
    anyhow::ensure!(trap[..length].windows(5).any(|part| part == specific), "{:02x?}", &trap[..length]);
    // The newest record is of who sent it: ipmitool, by channel 1.
    let record = bmc.tool(&["raw", "0x0a", "0x43", "0", "0", "0xff", "0xff", "0", "0xff"]).await?;
    let bytes: Vec<&str> = record.split_whitespace().collect();
    anyhow::ensure!(bytes.get(9..11) == Some(&["81", "10"]), "{record}");
    // What crosses while nobody filters alerts when somebody does again.
    bmc.suite.kill_daemon("ipmisrv")?;
    let wanted = json!({"upperThresholds": {"warning": 5, "critical": 90}, "hysteresis": 1});
    let path = "/api/v1alpha1/sensors/inlet_temp/thresholds";
    let headers = [("content-type", "application/json")];
    let reply = admin.send(Method::PUT, path, &headers, serde_json::to_vec(&wanted)?.into()).await?;
    anyhow::ensure!(reply.status == 200, "{}", reply.text());
    let length = tokio::time::timeout(FOLLOW, listener.recv(&mut trap)).await??;
    // Upper non-critical going high.
    let specific: &[u8] = &[2, 3, 0x01, 0x01, 0x07];
    anyhow::ensure!(trap[..length].windows(5).any(|part| part == specific), "{:02x?}", &trap[..length]);
    bmc.shows(&["sel", "elist"], "Upper Non-critical going high").await?;
    for args in
        [&["pef", "capabilities"][..], &["pef", "status"], &["pef", "filter", "list"], &["pef", "info"]]
    {
        let (fine, said) = bmc.ipmitool(17, BOSS, args).await?;
        anyhow::ensure!(fine || said.contains("nvalid"), "{args:?}: {said}");
    }
    // Who switches it off is not alerted, also not later, of what came then: the next trap is of what crosses behind that.
    let switch = async |is_on: bool| {
        let body = serde_json::to_vec(&json!({"enabled": is_on}))?;
        let reply = admin.send(Method::PATCH, "/api/v1alpha1/ipmi", &headers, body.into()).await?;
        anyhow::ensure!(reply.status == 200, "{}", reply.text());
        Ok::<_, anyhow::Error>(())
    };
    let crosses = async |upper: serde_json::Value, level: &str| {
        let wanted = serde_json::to_vec(&json!({"upperThresholds": upper, "hysteresis": 1}))?;
        let reply = admin.send(Method::PUT, path, &headers, wanted.into()).await?;
        anyhow::ensure!(reply.status == 200, "{}", reply.text());
        eventually("it is in the log", FOLLOW, || async {
            let told = admin.get("/api/v1alpha1/events?domain=sensor").await?.json()?;
            Ok(told["events"][0].to_string().contains(level))
        })
        .await
    };
    switch(false).await?;
    crosses(json!({"warning": 5, "critical": 6}), "THRESHOLD_LEVEL_CRITICAL").await?;
    bmc.suite.kill_daemon("ipmisrv")?;
    eventually("it can be switched again", FOLLOW, || async { Ok(switch(true).await.is_ok()) }).await?;
    bmc.shows(&["sel", "elist"], "Upper Critical going high").await?;
    crosses(json!({"warning": 5, "critical": 6, "fatal": 7}), "THRESHOLD_LEVEL_FATAL").await?;
    let length = tokio::time::timeout(FOLLOW, listener.recv(&mut trap)).await??;
    // Upper non-recoverable going high.
    let specific: &[u8] = &[2, 3, 0x01, 0x01, 0x0b];
    anyhow::ensure!(trap[..length].windows(5).any(|part| part == specific), "{:02x?}", &trap[..length]);
    bmc.suite.stop().await
}

#[tokio::test]
async fn what_clients_set_stays_and_is_what_others_read() -> Result {
    let Some(bmc) = Bmc::with("ipmitool", &[]).await? else { return Ok(()) };
    let admin = bmc.suite.admin();
    let system = admin.get("/api/v1alpha1/system/info").await?.json()?["systemInfo"]["name"].clone();
    // It asks for one block more than there are, and says so behind the text.
    let text = async |name: &str| {
        let said = bmc.tool(&["mc", "getsysinfo", name]).await?;
        Ok::<_, anyhow::Error>(said.lines().next().unwrap_or_default().trim().to_owned())
    };
    anyhow::ensure!(system == text("system_name").await?, "{system}");
    let name = "a name that is longer than one block of sixteen";
    bmc.tool(&["mc", "setsysinfo", "system_name", name]).await?;
    bmc.tool(&["mc", "setsysinfo", "os_name", "Debian 12"]).await?;
    anyhow::ensure!(text("os_name").await? == "Debian 12");
    bmc.restart().await?;
    bmc.shows(&["mc", "getsysinfo", "system_name"], name).await?;
    anyhow::ensure!(text("os_name").await? != "Debian 12", "what ran then");

    // A test of a password opens nothing, and a wrong one is told.
    let worker = account(&admin, "worker").await?;
    let number = worker["ipmiUser"].to_string();
    let login = worker["lastLogin"].clone();
    bmc.tool(&["user", "test", &number, "20", PASSWORD]).await?;
    let said = bmc.refused(BOSS, &["user", "test", &number, "20", "something-else"]).await?;
    anyhow::ensure!(said.contains("password incorrect") || said.contains("failure"), "{said}");
    anyhow::ensure!(account(&admin, "worker").await?["lastLogin"] == login, "no login");
    // Each is recorded at its end: from where, and how it ended. So is what ipmisrv stores itself.
    eventually("the audit has them", FOLLOW, || async {
        let events = admin.get("/api/v1alpha1/events?domain=audit&page_size=1000").await?.json()?;
        let has = |path: &str, code: &str| {
            events["events"].as_array().into_iter().flatten().any(|event| {
                let record = &event["auditRecord"];
                record["path"] == path && record["code"] == code && record["address"] == "127.0.0.1"
            })
        };
        Ok(has("Set System Info Parameters", "OK")
            && has("Set User Password", "OK")
            && has("Set User Password", "UNAUTHENTICATED"))
    })
    .await?;

    // The firewall: what is switched off is refused to all, with a code of its own, and on again done.
    bmc.tool(&["channel", "getciphers", "ipmi", "1"]).await?;
    let said = bmc.tool(&["firewall", "info", "channel", "1", "lun", "0", "netfn", "0"]).await?;
    anyhow::ensure!(said.contains("enabled:      f7830000"), "{said}");
    let mask = |byte: &'static str| {
        let mut words = vec!["raw", "0x06", "0x60", "1", "0", "0", byte, "0x83"];
        words.extend(["0"; 14]);
        words
    };
    // 00, 01, 04 to 09 and 0F: all but Chassis Control.
    bmc.tool(&mask("0xf3")).await?;
    let said = bmc.refused(BOSS, &["raw", "0", "2", "1"]).await?;
    anyhow::ensure!(said.contains("rsp=0xd4"), "{said}");
    bmc.restart().await?;
    bmc.refused(WORKER, &["chassis", "power", "on"]).await?;
    bmc.tool(&mask("0xf7")).await?;
    bmc.tool(&["chassis", "power", "on"]).await?;
    bmc.suite.stop().await
}
