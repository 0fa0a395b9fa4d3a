//! Boot options by ipmitool: the machine boots what was asked for.

use serde_json::Value;
use testkit::eventually;

use super::{Bmc, FOLLOW, Result};

impl Bmc {
    async fn boot_override(&self) -> Result<Value> {
        let hosts = self.suite.admin().get("/api/v1alpha1/hosts").await?.json()?;
        Ok(hosts["hosts"][0]["bootOverride"].clone())
    }
}

#[tokio::test]
async fn the_machine_boots_what_ipmitool_asked_for() -> Result {
    let Some(bmc) = Bmc::with("ipmitool", &[]).await? else { return Ok(()) };
    let mut twin = bmc.suite.twin().await?;
    for (device, options, target, enabled, mode, order) in [
        ("pxe", None, "BOOT_TARGET_PXE", "BOOT_OVERRIDE_ENABLED_ONCE", "BOOT_MODE_UNSPECIFIED", "pxe"),
        ("cdrom", Some("efiboot"), "BOOT_TARGET_CD", "BOOT_OVERRIDE_ENABLED_ONCE", "BOOT_MODE_UEFI", "cd"),
        (
            "bios",
            None,
            "BOOT_TARGET_BIOS_SETUP",
            "BOOT_OVERRIDE_ENABLED_ONCE",
            "BOOT_MODE_UNSPECIFIED",
            "setup",
        ),
        (
            "disk",
            Some("persistent,efiboot"),
            "BOOT_TARGET_HDD",
            "BOOT_OVERRIDE_ENABLED_CONTINUOUS",
            "BOOT_MODE_UEFI",
            "hdd",
        ),
    ] {
        let options = options.map(|options| format!("options={options}"));
        let args: Vec<&str> = ["chassis", "bootdev", device].into_iter().chain(options.as_deref()).collect();
        bmc.tool(&args).await?;
        let set = bmc.boot_override().await?;
        anyhow::ensure!(set["target"] == target && set["enabled"] == enabled, "{device}: {set}");
        anyhow::ensure!(
            set.get("mode").map_or("BOOT_MODE_UNSPECIFIED", |mode| mode.as_str().unwrap_or_default()) == mode,
            "{device}: {set}"
        );
        let said = bmc.tool(&["chassis", "bootparam", "get", "5"]).await?;
        anyhow::ensure!(said.contains("Boot Flag Valid"), "{said}");
        let word = if bmc.host().await? == "HOST_STATUS_ON" { "reset" } else { "on" };
        let before = twin.status("system").await?;
        bmc.tool(&["chassis", "power", word]).await?;
        eventually("it boots", FOLLOW, || async {
            let mut twin = bmc.suite.twin().await?;
            let now = twin.status("system").await?;
            let is_new = word == "on" || now.resets > before.resets;
            let booted = now.boot_order.map(|booted| booted.target.to_string().to_lowercase());
            Ok(is_new
                && booted.is_some_and(|booted| booted.contains(order))
                && bmc.host().await? == "HOST_STATUS_ON")
        })
        .await
        .map_err(|error| error.context(format!("{device}: not {order}")))?;
        // What is for one boot is over once that has begun; the other stays.
        let stays = enabled == "BOOT_OVERRIDE_ENABLED_CONTINUOUS";
        eventually("it is taken back, or not", FOLLOW, || async {
            let now = bmc.boot_override().await?;
            Ok((now["enabled"] == enabled) == stays)
        })
        .await?;
    }
    bmc.tool(&["chassis", "bootdev", "none"]).await?;
    let now = bmc.boot_override().await?;
    anyhow::ensure!(now["enabled"] != "BOOT_OVERRIDE_ENABLED_CONTINUOUS", "{now}");
    bmc.suite.stop().await
}
