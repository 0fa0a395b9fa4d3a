//! What the machine is made of, on the whole suite: parts, what becomes of them, and what their owner says of them.

use std::time::Duration;

use fru::{Area, Image, Name};
use serde_json::{Value, json};
use testkit::{Client, Suite, eventually};

/// The binary under test.
const U_BMC: &str = env!("CARGO_BIN_EXE_u-bmc");
/// A look is every two seconds, and one in three reads what can be pulled; on a busy machine each takes longer.
const SEEN: Duration = Duration::from_secs(90);

type Result<T = ()> = anyhow::Result<T>;

async fn ask(client: &Client, method: &str, request: Value) -> Result<Value> {
    let reply = client.call(&format!("AssetService/{method}"), &request).await?;
    anyhow::ensure!(reply.status == 200, "{method}: {} {}", reply.status, reply.text());
    reply.json()
}

/// A part; null for one that is not known.
async fn asset(client: &Client, id: &str) -> Result<Value> {
    let all = ask(client, "ListAssets", json!({})).await?;
    let assets = all["assets"].as_array().cloned().unwrap_or_default();
    Ok(assets.into_iter().find(|asset| asset["id"] == id).unwrap_or_default())
}

async fn count(client: &Client, kind: &str) -> Result<usize> {
    let all = ask(client, "ListAssets", json!({ "type": kind, "hostName": "system" })).await?;
    Ok(all["assets"].as_array().map_or(0, |assets| assets.iter().filter(|a| a["present"] == true).count()))
}

async fn becomes(client: &Client, id: &str, field: &str, wanted: Value) -> Result {
    let what = format!("{field} of {id} becomes {wanted}");
    eventually(&what, SEEN, || async {
        Ok(asset(client, id).await?.get(field).cloned().unwrap_or(Value::Bool(false)) == wanted)
    })
    .await
}

/// The changes of a part, the newest first: type and message.
async fn changes(client: &Client, id: &str) -> Result<Vec<(String, String)>> {
    let all = ask(client, "ListAssetChanges", json!({ "id": id })).await?;
    let changes = all["changes"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(changes.iter().map(|change| (text(&change["type"]), text(&change["message"]))).collect())
}

/// The firmware of the host finds another module in a slot: its serial number in the tables is another.
fn exchange(suite: &Suite, was: &str, now: &str) -> Result {
    let file = suite.run_dir().join("sys").join(hw::tables_of("system"));
    let mut tables = std::fs::read(&file)?;
    let at = tables.windows(was.len()).position(|bytes| bytes == was.as_bytes());
    let at = at.ok_or_else(|| anyhow::anyhow!("no {was} in the tables"))?;
    tables[at..at + now.len()].copy_from_slice(now.as_bytes());
    let new = file.with_extension("test");
    std::fs::write(&new, tables)?;
    Ok(std::fs::rename(new, file)?)
}

#[tokio::test]
async fn parts_are_known_and_what_becomes_of_them_is_told() -> Result {
    let suite = Suite::builder(U_BMC).start().await?;
    let admin = suite.admin();
    becomes(&admin, "mainboard", "present", json!(true)).await?;
    let board = asset(&admin, "mainboard").await?;
    assert_eq!(
        (&board["type"], &board["quality"]),
        (&json!("ASSET_TYPE_BOARD"), &json!("ASSET_QUALITY_GOOD"))
    );
    assert_eq!(board["info"]["manufacturingDate"], "2024-03-01T12:00:00Z");
    assert_eq!(asset(&admin, "psu1").await?["info"]["customAttributes"]["capacity_watts"], "800");
    assert_eq!(asset(&admin, "platform").await?["source"], "ASSET_SOURCE_BOARD");
    assert_eq!(count(&admin, "ASSET_TYPE_MEMORY").await?, 0, "nobody handed over tables yet");

    let on = json!({ "action": "HOST_ACTION_ON" });
    assert_eq!(admin.post("/api/v1alpha1/hosts/system/state", &on).await?.status, 200);
    becomes(&admin, "system-dimm-a1", "present", json!(true)).await?;
    for (kind, wanted) in [("PROCESSOR", 2), ("MEMORY", 8), ("DRIVE", 2), ("NETWORK_INTERFACE", 1)] {
        // Not all of them are found by the same look.
        eventually(&format!("{wanted} of {kind}"), SEEN, || async {
            Ok(count(&admin, &format!("ASSET_TYPE_{kind}")).await? == wanted)
        })
        .await?;
    }
    assert_eq!(changes(&admin, "").await?, [], "the first look is no change");

    let module = asset(&admin, "system-dimm-a1").await?;
    let was = module["info"]["serialNumber"].as_str().unwrap_or_default().to_owned();
    exchange(&suite, &was, "DIMM-999999")?;
    eventually("the module is replaced", SEEN, || async {
        Ok(changes(&admin, "system-dimm-a1").await?.len() == 1)
    })
    .await?;
    assert_eq!(
        changes(&admin, "").await?,
        [(
            "ASSET_CHANGE_TYPE_REPLACED".to_owned(),
            format!("DIMM A1 replaced: serial number DIMM-999999, was serial number {was}")
        )]
    );

    let mut twin = suite.twin().await?;
    twin.break_part("psu1", "removed").await?;
    becomes(&admin, "psu1", "present", json!(false)).await?;
    twin.mend(Some("psu1")).await?;
    becomes(&admin, "psu1", "present", json!(true)).await?;
    let told = changes(&admin, "psu1").await?;
    assert_eq!(
        told.iter().map(|(what, _)| what.as_str()).collect::<Vec<_>>(),
        ["ASSET_CHANGE_TYPE_ADDED", "ASSET_CHANGE_TYPE_REMOVED"]
    );
    eventually("the events are in the log", SEEN, || async {
        let events = admin.get("/api/v1alpha1/events?domain=inventory").await?.json()?;
        let whats: Vec<_> =
            events["events"].as_array().into_iter().flatten().map(|e| e["what"].clone()).collect();
        // And that the host's firmware named its parts when it came up.
        Ok(whats == ["added", "removed", "replaced", "named"])
    })
    .await?;
    suite.stop().await
}

/// Drives behind the channels of a multiplexer, asked by NVMe basic management.
#[tokio::test]
async fn drives_say_who_they_are_and_may_be_pulled() -> Result {
    let suite = Suite::builder(U_BMC).start().await?;
    let (admin, mut twin) = (suite.admin(), suite.twin().await?);
    // They have their power from the host: while it is off nobody knows who is there.
    becomes(&admin, "nvme1", "reason", json!("its host is off")).await?;
    assert_eq!(asset(&admin, "nvme1").await?["quality"], "ASSET_QUALITY_STALE");
    power(&admin, "ON").await?;
    for drive in ["nvme0", "nvme1"] {
        becomes(&admin, drive, "quality", json!("ASSET_QUALITY_GOOD")).await?;
    }
    let (one, other) = (asset(&admin, "nvme0").await?, asset(&admin, "nvme1").await?);
    for drive in [&one, &other] {
        assert_eq!(
            (&drive["type"], &drive["source"], &drive["quality"]),
            (&json!("ASSET_TYPE_DRIVE"), &json!("ASSET_SOURCE_NVME"), &json!("ASSET_QUALITY_GOOD"))
        );
        assert_eq!(drive["info"]["manufacturer"], "PCI vendor 0x1b36");
        assert_eq!(drive["info"]["customAttributes"]["used_percent"], "1");
    }
    assert_ne!(one["info"]["serialNumber"], other["info"]["serialNumber"]);
    twin.break_part("nvme1", "removed").await?;
    becomes(&admin, "nvme1", "present", json!(false)).await?;
    assert_eq!(asset(&admin, "nvme0").await?["present"], true);
    twin.mend(None).await?;
    becomes(&admin, "nvme1", "present", json!(true)).await?;
    let told: Vec<_> = changes(&admin, "nvme1").await?.into_iter().map(|(what, _)| what).collect();
    assert_eq!(told, ["ASSET_CHANGE_TYPE_ADDED", "ASSET_CHANGE_TYPE_REMOVED"]);

    // A host that is switched off and on has pulled no drive.
    power(&admin, "FORCE_OFF").await?;
    becomes(&admin, "nvme0", "reason", json!("its host is off")).await?;
    assert_eq!(asset(&admin, "nvme0").await?["present"], true);
    power(&admin, "ON").await?;
    becomes(&admin, "nvme0", "quality", json!("ASSET_QUALITY_GOOD")).await?;
    assert_eq!(changes(&admin, "nvme0").await?, []);
    suite.stop().await
}

async fn power(admin: &Client, action: &str) -> Result {
    let action = json!({ "action": format!("HOST_ACTION_{action}") });
    let reply = admin.post("/api/v1alpha1/hosts/system/state", &action).await?;
    anyhow::ensure!(reply.status == 200, "{}", reply.text());
    Ok(())
}

/// I-4: what was answered is in the part, or on the medium, whatever dies next.
#[tokio::test]
async fn what_the_owner_says_is_in_the_part_or_kept() -> Result {
    let dir = tempfile::tempdir()?;
    let suite = Suite::builder(U_BMC).state_dir(dir.path()).start().await?;
    let admin = suite.admin();
    becomes(&admin, "mainboard", "present", json!(true)).await?;
    let set = json!({ "id": "mainboard", "assetTag": "A-4711", "location": "row 3, rack 12" });
    let answer = ask(&admin, "SetAssetInfo", set).await?;
    assert_eq!(answer["asset"]["info"]["assetTag"], "A-4711");
    let set = json!({ "id": "psu0", "assetTag": "A-4712" });
    ask(&admin, "SetAssetInfo", set).await?;
    suite.kill_daemon("inventorymgr")?;

    let eeprom = suite.run_dir().join("sys/bus/i2c/devices/4-0050/eeprom");
    let image = Image::read(&std::fs::read(eeprom)?)?;
    assert_eq!(image.field(Area::Product, Name::AssetTag).map(|tag| tag.shown(0)).as_deref(), Some("A-4711"));
    let eeprom = suite.run_dir().join("sys/bus/i2c/devices/4-0051/eeprom");
    let image = Image::read(&std::fs::read(eeprom)?)?;
    assert!(
        image.field(Area::Product, Name::AssetTag).is_some_and(|tag| tag.is_empty()),
        "kept by the controller"
    );

    let tags = || async {
        // The daemon is down for a moment.
        let (Ok(board), Ok(psu)) = (asset(&admin, "mainboard").await, asset(&admin, "psu0").await) else {
            return Ok(false);
        };
        Ok(board["info"]["assetTag"] == "A-4711"
            && board["location"] == "row 3, rack 12"
            && psu["info"]["assetTag"] == "A-4712"
            && board["quality"] == "ASSET_QUALITY_GOOD")
    };
    eventually("what was set is there again", SEEN, tags).await?;
    let told = changes(&admin, "mainboard").await?;
    assert_eq!(
        told,
        [(
            "ASSET_CHANGE_TYPE_SET".to_owned(),
            "Mainboard: asset tag \"A-4711\"; location \"row 3, rack 12\"".to_owned()
        )]
    );

    // Refused, and nothing of it is done.
    for (id, tag, status) in [("mainboard", "大", 400), ("mainboard", "a\nb", 400), ("nosuch", "x", 404)] {
        let set = json!({ "id": id, "assetTag": tag, "location": "elsewhere" });
        let reply = admin.call("AssetService/SetAssetInfo", &set).await?;
        assert_eq!(reply.status, status, "{id} {tag:?}: {}", reply.text());
    }
    let board = asset(&admin, "mainboard").await?;
    assert_eq!(
        (&board["info"]["assetTag"], &board["location"]),
        (&json!("A-4711"), &json!("row 3, rack 12"))
    );

    let cleared = json!({ "id": "mainboard", "assetTag": "", "location": "" });
    let answer = ask(&admin, "SetAssetInfo", cleared).await?;
    assert_eq!(
        (&answer["asset"]["info"]["assetTag"], &answer["asset"]["location"]),
        (&Value::Null, &Value::Null)
    );
    suite.stop().await
}
