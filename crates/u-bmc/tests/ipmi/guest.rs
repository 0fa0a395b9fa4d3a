//! A real ipmitool on the machine itself: a QEMU guest, whose KCS device leads to this controller.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use testkit::{ADMIN_PASSWORD, Console, Credential, Suite, eventually};

use super::{Result, U_BMC};

/// Longer than a guest takes to boot on a busy machine.
const LONG: Duration = Duration::from_secs(180);

/// Has the guest's shell run this; its exit status and what it says.
async fn run(console: &mut Console, command: &str) -> Result<(u8, String)> {
    console.types(&format!("{command}; echo \"<$?>\"\n")).await?;
    // What is typed is echoed first, with the quotes.
    let mut said = String::new();
    let code = loop {
        said += &tokio::time::timeout(LONG, console.says(">")).await??;
        let code =
            said.rsplit_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(code, _)| code.trim());
        if let Some(code) = code.and_then(|code| code.parse().ok()) {
            break code;
        }
    };
    Ok((code, said))
}

#[tokio::test]
async fn ipmitool_on_the_machine_talks_to_its_controller() -> Result {
    let Some(guest) = testkit::given(
        "UBMC_TEST_IPMI_GUEST",
        "no QEMU guest with IPMI; `cargo xtask guest` makes one, `cargo xtask test` uses it",
    ) else {
        return Ok(());
    };
    // The network has no IPMI here.
    let suite =
        Suite::builder(U_BMC).set("sim.host=qemu").set(format!("sim.qemu.guest={guest}")).start().await?;
    let admin = suite.admin();
    let said = admin.get("/api/v1alpha1/ipmi").await?.json()?["ipmi"].clone();
    anyhow::ensure!(
        said["systemInterfaces"] == json!(["QEMU system"]) && said.get("listening").is_none(),
        "{said}"
    );
    let login = Credential::Basic("admin".to_owned(), ADMIN_PASSWORD.to_owned());
    let authorization = login.header().context("a login")?;
    let headers = [("authorization", authorization.as_str())];
    let opened = Console::open(suite.https(), "/api/v1alpha1/consoles/system/socket", &headers).await?;
    let mut console = opened.map_err(|status| anyhow::anyhow!("the console is refused with {status}"))?;
    let state = "/api/v1alpha1/hosts/system/state";
    let answer = admin.post(state, &json!({"action": "HOST_ACTION_ON"})).await?;
    anyhow::ensure!(answer.status == 200, "{}", answer.text());
    tokio::time::timeout(LONG, console.says("u-bmc guest: ready"))
        .await
        .context("the guest does not boot")??;
    for (command, shown) in [
        ("ipmitool mc info", "IPMI Version"),
        ("ipmitool chassis status", "System Power"),
        ("ipmitool event 1", ""),
        ("ipmitool sel list", "Temperature"),
        ("ipmitool fru print 0", "Product"),
        ("ipmitool lan print 1", "IP Address"),
        // What this guest can boot from.
        ("ipmitool chassis bootdev disk", "Set Boot Device to disk"),
        // Of the operating system, without an action: what a driver does first.
        ("ipmitool raw 0x06 0x24 0x04 0 0 0 0x58 0x02", ""),
        ("ipmitool mc watchdog reset", ""),
        ("ipmitool mc watchdog get", "SMS/OS"),
        ("ipmitool mc watchdog off", ""),
        ("ipmitool mc setsysinfo os_name Guest", ""),
        ("ipmitool mc getsysinfo os_name", "Guest"),
    ] {
        let (code, said) = run(&mut console, command).await?;
        anyhow::ensure!(code == 0 && said.contains(shown), "{command}: {code}: {said}");
    }
    let hosts = admin.get("/api/v1alpha1/hosts").await?.json()?;
    anyhow::ensure!(hosts["hosts"][0]["bootOverride"]["target"] == "BOOT_TARGET_HDD", "{hosts}");
    let told = admin.get("/api/v1alpha1/events?domain=ipmi&component=platform").await?.json()?;
    anyhow::ensure!(told["events"][0]["principal"] == "host over IPMI", "{told}");
    // What changes the controller or its accounts is not the machine's.
    for command in ["ipmitool user list 1", "ipmitool raw 6 2", "ipmitool sel clear"] {
        let (code, said) = run(&mut console, command).await?;
        anyhow::ensure!(
            code != 0 || said.contains("nsufficient") || said.contains("rsp=0xd4"),
            "{command}: {code}: {said}"
        );
    }
    // It has itself switched off: the power button is pressed, which the guest heeds.
    console.types("ipmitool chassis power soft\n").await?;
    eventually("it is off", LONG, || async {
        let hosts = admin.get("/api/v1alpha1/hosts").await?.json()?;
        Ok(hosts["hosts"][0]["status"] == "HOST_STATUS_OFF")
    })
    .await?;
    suite.wait_log("host over IPMI").await?;
    suite.stop().await
}
