//! FreeIPMI's programs: what they show is what the API says, field by field, beside what a peer answers; and what ipmi-config checks out, it commits again.

use serde_json::Value;

use super::fields::{Api, SETTLES, Same, machine, near, other_threshold, plain, threshold, tolerance};
use super::*;

/// What a peer says instead of a command that it has not.
const NO_COMMAND: &str = "command invalid or unsupported";
/// Programs with what the peer has to say, and why that is not what is said here.
const ROWS: [(&str, &str, &str); 19] = [
    ("bmc-info", "Firmware Revision:9.08", "it is another controller"),
    ("bmc-device --get-self-test-results", NO_COMMAND, ""),
    ("bmc-device --get-bmc-global-enables", "System Event Logging:enabled", ""),
    ("ipmi-chassis --get-chassis-status", "System Power:off", "its machine is off"),
    ("ipmi-chassis --get-system-restart-cause", NO_COMMAND, ""),
    ("ipmi-chassis --get-power-on-hours-counter", NO_COMMAND, ""),
    ("ipmi-chassis --get-boot-flags", NO_COMMAND, ""),
    (
        "ipmi-sensors --comma-separated-output --output-sensor-thresholds --no-header-output",
        "Inlet temperatur,Temperature,25.00,C,N/A,N/A,5.00,12.00,45.00,N/A",
        "",
    ),
    ("ipmi-sel --comma-separated-output --no-header-output", "", "nothing has happened there"),
    ("ipmi-sel --info", "Number of log entries:0", "nothing has happened there"),
    ("ipmi-fru", "FRU Product Asset Tag:rack 17", "it was given the machine's alone"),
    ("ipmi-dcmi --get-dcmi-capability-info", NO_COMMAND, ""),
    ("ipmi-dcmi --get-asset-tag", NO_COMMAND, ""),
    ("ipmi-dcmi --get-management-controller-identifier-string", NO_COMMAND, ""),
    ("ipmi-dcmi --get-system-power-statistics", NO_COMMAND, ""),
    ("ipmi-dcmi --get-power-limit", NO_COMMAND, ""),
    ("ipmi-dcmi --activate-deactivate-power-limit=DEACTIVATE", NO_COMMAND, ""),
    ("ipmipower --stat", "127.0.0.1:off", "its machine is off"),
    ("ipmi-config --category=core --checkout --section=User2", "Lan_Privilege_Limit Administrator", ""),
];

/// What FreeIPMI shows of a number that is not there.
const NOTHING: [&str; 1] = ["N/A"];

/// The rows of ipmi-sensors: number, name, type, value, unit, thresholds, event.
fn sensors(api: &Api, lines: &[String]) -> Same {
    let names = api.names();
    if lines.len() != names.len() {
        return Err(format!("{} lines for {} sensors", lines.len(), names.len()));
    }
    for (line, (name, sensor)) in lines.iter().zip(names) {
        let differs = |what: &str| Err(format!("{what} of {name}: {line}: {sensor}"));
        let cells: Vec<&str> = line.split(',').collect();
        let [_, shown, kind, value, unit, thresholds @ .., _] = &cells[..] else { return differs("cells") };
        let said = match sensor["context"].as_str().unwrap_or_default() {
            "SENSOR_CONTEXT_TEMPERATURE" => "Temperature",
            "SENSOR_CONTEXT_VOLTAGE" => "Voltage",
            "SENSOR_CONTEXT_CURRENT" => "Current",
            "SENSOR_CONTEXT_TACH" => "Fan",
            _ => "Other Units Based Sensor",
        };
        if *shown != name || *kind != said {
            return differs("name or type");
        }
        let said = sensor["analogReading"]["value"].as_f64();
        let said = said.filter(|_| sensor["quality"] == "SENSOR_QUALITY_GOOD");
        if !near(value, said, tolerance(sensor, said.unwrap_or(0.0)), &NOTHING) {
            return differs("value");
        }
        let said = match sensor["unit"].as_str().unwrap_or_default() {
            "SENSOR_UNIT_CELSIUS" => "C",
            "SENSOR_UNIT_VOLTS" => "V",
            "SENSOR_UNIT_AMPS" => "A",
            "SENSOR_UNIT_WATTS" => "W",
            "SENSOR_UNIT_RPM" => "RPM",
            other => other,
        };
        if *unit != said {
            return differs("unit");
        }
        if let Some(level) = other_threshold(sensor, thresholds, &NOTHING) {
            return differs(level);
        }
    }
    Ok(())
}

/// The rows of ipmi-sel: number, date, time, sensor, type, event.
fn sel(api: &Api, lines: &[String]) -> Same {
    if lines.len() != api.events.len() {
        return Err(format!("{} lines for {} events", lines.len(), api.events.len()));
    }
    for (line, event) in lines.iter().zip(&api.events) {
        let crossed = &event["sensorThresholdCrossed"];
        let names = api.names();
        let found = names.iter().find(|(_, sensor)| sensor["id"] == crossed["sensorId"]);
        let name = found.map(|(name, _)| name.as_str()).unwrap_or_default();
        let time = event["time"].as_str().and_then(|time| time.get(11..19)).unwrap_or_default();
        let level = if crossed["level"] == "THRESHOLD_LEVEL_WARNING" { "Non-critical" } else { "Critical" };
        let number = event["sequence"].as_str().unwrap_or_default();
        let is_same = line.starts_with(&format!("{number},"))
            && line.contains(&format!(",{time},{name},Temperature,Upper {level} - going high"));
        if !is_same {
            return Err(format!("{line} is not {event}"));
        }
    }
    Ok(())
}

/// What a program has to show, as lines, as the API says it now.
fn wanted(words: &str, api: &Api) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let parts = api.parts();
    let machine = parts.first().map(|part| part["info"].clone()).unwrap_or_default();
    match words {
        "bmc-info" => {
            let id = text(&api.system["id"]);
            vec![
                "IPMI Version:2.0".to_owned(),
                format!("Device GUID:{id}"),
                format!("System GUID:{id}"),
                format!("System Name:{}", text(&api.system["name"])),
                "Medium Type:802.3 LAN".to_owned(),
            ]
        }
        "bmc-device --get-self-test-results" => vec!["Self Test Result:No Error".to_owned()],
        "bmc-device --get-bmc-global-enables" => vec!["System Event Logging:enabled".to_owned()],
        "ipmi-chassis --get-chassis-status" => vec![
            format!("System Power:{}", if api.is_on() { "on" } else { "off" }),
            match api.host["powerRestorePolicy"].as_str() {
                Some("POWER_RESTORE_POLICY_ALWAYS_ON") => "Power restore policy:Always on".to_owned(),
                Some("POWER_RESTORE_POLICY_LAST") => "Power restore policy:Restore".to_owned(),
                _ => "Power restore policy:Always off".to_owned(),
            },
            format!("Chassis Identify state:{}", if api.chassis["identify"] == true { "on" } else { "off" }),
        ],
        "ipmi-chassis --get-system-restart-cause" => match api.host["lastReboot"]["rebootCause"].as_str() {
            Some("HOST_REBOOT_CAUSE_COMMAND") => vec!["Restart cause:Chassis control command".to_owned()],
            _ => vec!["Restart cause:Unknown".to_owned()],
        },
        "ipmi-chassis --get-power-on-hours-counter" => {
            let seconds: f64 = text(&api.host["powerOnTime"]).trim_end_matches('s').parse().unwrap_or(-1.0);
            vec![format!("Power on hours:{:.0} Hours 0 Minutes", (seconds / 3600.0).floor())]
        }
        "ipmi-chassis --get-boot-flags" => {
            let set = &api.host["bootOverride"];
            vec![
                format!(
                    "Boot device selector:{}",
                    if set["target"] == "BOOT_TARGET_PXE" { "Force PXE" } else { "?" }
                ),
                format!(
                    "BIOS boot type:{}",
                    if set["mode"] == "BOOT_MODE_UEFI" { "Extensible firmware Interface boot" } else { "?" }
                ),
            ]
        }
        "ipmi-sel --info" => vec![format!("Number of log entries:{}", api.events.len())],
        "ipmi-fru" => {
            let mut all = Vec::new();
            for (place, part) in parts.iter().enumerate() {
                let name: String = text(&part["name"]).chars().take(16).collect();
                all.push(format!("FRU Inventory Device:{} (ID {place:02X}h)", name.trim_end()));
                for (field, key) in [
                    ("Manufacturer Name", "manufacturer"),
                    ("Name", "productName"),
                    ("Part/Model Number", "partNumber"),
                    ("Serial Number", "serialNumber"),
                    ("Asset Tag", "assetTag"),
                ] {
                    if let Some(value) = part["info"][key].as_str() {
                        all.push(format!("FRU Product {field}:{value}"));
                    }
                }
            }
            all
        }
        "ipmi-dcmi --get-dcmi-capability-info" => vec![
            "DCMI Specification Conformance:1.5".to_owned(),
            "Power Management / Monitoring Support:Available".to_owned(),
            "Number of SEL entries:256".to_owned(),
            "Primary LAN Out-of-band Channel Number:1".to_owned(),
        ],
        "ipmi-dcmi --get-asset-tag" => vec![text(&machine["assetTag"])],
        "ipmi-dcmi --get-management-controller-identifier-string" => {
            vec![text(&api.controller["description"])]
        }
        "ipmi-dcmi --get-power-limit" => vec!["Power Limit Requested:0 watts".to_owned()],
        "ipmi-dcmi --activate-deactivate-power-limit=DEACTIVATE" => Vec::new(),
        "ipmipower --stat" => vec![format!("127.0.0.1:{}", if api.is_on() { "on" } else { "off" })],
        "ipmi-config --category=core --checkout --section=User2" => {
            let boss = api.users.iter().find(|user| user["ipmiUser"] == 2).cloned().unwrap_or_default();
            let yes = |value: bool| if value { "Yes" } else { "No" };
            vec![
                format!("Username {}", text(&boss["username"])),
                format!("Enable_User {}", yes(boss["enabled"] == true)),
                format!("Lan_Enable_IPMI_Msgs {}", yes(boss["ipmiAccess"] == true)),
                format!("Lan_Privilege_Limit {}", text(&boss["role"])),
            ]
        }
        _ => vec![format!("nobody says what {words} has to show")],
    }
}

/// What the API and a program say differs in this.
fn differs(words: &str, api: &Api, said: &str) -> Same {
    let is_shown = |line: &String| !line.is_empty() && !line.starts_with("Caching SDR");
    let lines: Vec<String> = said.lines().map(plain).filter(is_shown).collect();
    if words.starts_with("ipmi-sensors ") {
        return sensors(api, &lines);
    }
    if words.starts_with("ipmi-sel --comma") {
        return sel(api, &lines);
    }
    if words.starts_with("ipmi-dcmi --get-system-power") {
        let power = api.sensors.iter().find(|sensor| sensor["id"] == "total_power");
        let analog = power.map(|power| power["analogReading"].clone()).unwrap_or_default();
        let recorded = &analog["minMaxRecorded"];
        for (head, value) in [
            ("Current Power:", &analog["value"]),
            ("Minimum Power over sampling duration:", &recorded["minValue"]),
            ("Maximum Power over sampling duration:", &recorded["maxValue"]),
            ("Average Power over sampling duration:", &recorded["average"]),
        ] {
            let shown =
                lines.iter().find_map(|line| line.strip_prefix(head)?.split(' ').next()?.parse::<f64>().ok());
            let is_near = shown.zip(value.as_f64()).is_some_and(|(shown, said)| (shown - said).abs() < 12.0);
            if !is_near {
                return Err(format!("{head} {value}"));
            }
        }
        return Ok(());
    }
    match wanted(words, api).into_iter().find(|line| !lines.contains(line)) {
        None => Ok(()),
        Some(line) => Err(format!("not shown: {line}")),
    }
}

#[tokio::test]
async fn every_program_shows_what_the_api_says_and_what_a_peer_answers() -> Result {
    if !has("bmc-info") || !has("ipmi_sim") || !has("ipmitool") {
        skip("FreeIPMI with ipmi_sim and ipmitool");
        return Ok(());
    }
    let bmc = machine().await?;
    let peer = Peer::start(&bmc).await?;
    let host = format!("127.0.0.1:{}", peer.port);
    // The peer takes no login that leaves the privilege to it, as FreeIPMI's do of themselves.
    let login = [
        "-D",
        "LAN_2_0",
        "-h",
        &host,
        "-u",
        "boss",
        "-p",
        PASSWORD,
        "-l",
        "ADMIN",
        "-I",
        "3",
        "-W",
        "opensesspriv",
    ];
    let mut wrong = Vec::new();
    for (words, theirs, why) in ROWS {
        let (program, rest) = words.split_once(' ').unwrap_or((words, ""));
        let mut args: Vec<String> =
            rest.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        if ["ipmi-sensors", "ipmi-sel", "ipmi-fru"].contains(&program) {
            let cache = bmc.suite.scratch().join("cache");
            std::fs::create_dir_all(&cache)?;
            args.push(format!("--sdr-cache-directory={}", cache.display()));
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let (_, peers) = bmc.run(program, &[&login[..], &args].concat()).await?;
        if !theirs.is_empty() && !peers.lines().map(plain).any(|line| line.contains(theirs)) {
            wrong.push(format!("the peer to {words}, not {theirs:?} ({why}):\n{peers}"));
        }
        for suite in ["17", "3"] {
            let begun = tokio::time::Instant::now();
            loop {
                let (fine, said) = bmc.freeipmi_with(suite, program, &args).await?;
                // A section of which a field is not there ends badly.
                anyhow::ensure!(fine || program == "ipmi-config", "{words} with {suite}:\n{said}");
                let Err(what) = differs(words, &Api::read(&bmc).await?, &said) else { break };
                if begun.elapsed() > SETTLES {
                    wrong.push(format!("{words} with {suite}: {what}:\n{said}"));
                    break;
                }
            }
        }
    }
    anyhow::ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    // What is cleared is hidden here, and stays in the log.
    let logged = Api::read(&bmc).await?.events.len();
    let cache = format!("--sdr-cache-directory={}", bmc.suite.scratch().join("cache").display());
    bmc.freeipmi("ipmi-sel", &[&cache, "--clear"]).await?;
    let said = bmc.freeipmi("ipmi-sel", &[&cache, "--comma-separated-output", "--no-header-output"]).await?;
    anyhow::ensure!(!said.contains("Inlet"), "{said}");
    anyhow::ensure!(Api::read(&bmc).await?.events.len() >= logged, "the log lost events");
    bmc.suite.stop().await
}

/// What each category is changed by and how that is seen, and which of its sections are checked out.
const CATEGORIES: [(&str, &str, &str, &[&str]); 5] = [
    (
        "core",
        "User3:Lan_Privilege_Limit",
        "User",
        &["User2", "User3", "User4", "Lan_Channel", "Lan_Conf_Misc"],
    ),
    ("chassis", "Chassis_Power_Conf:Power_Restore_Policy", "Restore_State_AC_Apply", &[]),
    (
        "sensors",
        "13_Inlet_temperatur:Upper_Critical_Threshold",
        "44.000000",
        &["13_Inlet_temperatur", "9_Fan_0"],
    ),
    (
        "pef",
        "Community_String:Community_String",
        "rack9",
        &["PEF_Conf", "Community_String", "Lan_Alert_Destination_1", "Event_Filter_1"],
    ),
    ("dcmi", "DCMI_Conf:Asset_Tag", "rack18", &[]),
];

/// What a key of a category is, as others than FreeIPMI say.
async fn seen(bmc: &Bmc, category: &str) -> Result<String> {
    let api = Api::read(bmc).await?;
    Ok(match category {
        "core" => api
            .users
            .iter()
            .find(|user| user["ipmiUser"] == 3)
            .map(|user| user["role"].to_string())
            .unwrap_or_default(),
        "chassis" => api.host["powerRestorePolicy"].to_string(),
        "sensors" => {
            let inlet = api.sensors.iter().find(|sensor| sensor["id"] == "inlet_temp");
            inlet.and_then(|inlet| threshold(inlet, "upper", "critical")).unwrap_or(0.0).to_string()
        }
        "pef" => {
            let said = bmc.tool(&["lan", "print", "1"]).await?;
            said.lines().find(|line| line.starts_with("SNMP")).unwrap_or_default().to_owned()
        }
        _ => bmc.tag().await?,
    })
}

#[tokio::test]
async fn what_freeipmi_checks_out_it_commits_again() -> Result {
    if !has("bmc-info") || !has("ipmitool") {
        skip("FreeIPMI with ipmitool");
        return Ok(());
    }
    let bmc = machine().await?;
    bmc.tool(&["lan", "set", "1", "snmp", "rack7"]).await?;
    let cache = bmc.suite.scratch().join("cache");
    std::fs::create_dir_all(&cache)?;
    let cache = format!("--sdr-cache-directory={}", cache.display());
    // A threshold that is set is in the records, which are newer then.
    let config = async |args: &[&str]| {
        bmc.freeipmi_said("ipmi-config", &[&[cache.as_str(), "--sdr-cache-recreate"], args].concat()).await
    };
    // Values of its files have no blanks.
    bmc.tool(&["dcmi", "set_asset_tag", "rack17"]).await?;
    for (category, key, value, sections) in CATEGORIES {
        let path = bmc.suite.scratch().join(category);
        let (file, of) = (format!("--filename={}", path.display()), format!("--category={category}"));
        let sections: Vec<String> = sections.iter().map(|section| format!("--section={section}")).collect();
        let mut checkout = vec![of.as_str(), "--checkout"];
        checkout.extend(sections.iter().map(String::as_str));
        // A category of which a field is not there ends badly: what is written counts.
        let (_, said) = config(&[&checkout[..], &[&file]].concat()).await?;
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        anyhow::ensure!(before.contains("EndSection"), "{category}: {said}");
        let was = seen(&bmc, category).await?;
        let pair = format!("--key-pair={key}={value}");
        let (fine, said) = config(&[&of, "--commit", &pair]).await?;
        anyhow::ensure!(fine, "{category}: {said}");
        anyhow::ensure!(seen(&bmc, category).await? != was, "{category}: {pair} changes nothing: {was}");
        let (_, said) = config(&[&of, "--diff", &file]).await?;
        let name = key.split(':').nth(1).unwrap_or_default();
        let differing: Vec<&str> = said.lines().filter(|line| line.contains("actual=")).collect();
        anyhow::ensure!(
            matches!(differing[..], [line] if line.contains(name) && line.contains(value)),
            "{category}: {said}"
        );
        // All of it back, also what is as it was.
        let (fine, said) = config(&[&of, "--commit", &file]).await?;
        anyhow::ensure!(fine, "{category}: {said}");
        anyhow::ensure!(seen(&bmc, category).await? == was, "{category} is not as it was: {was}");
        let (_, said) = config(&[&of, "--diff", &file]).await?;
        anyhow::ensure!(!said.contains("actual="), "{category}: {said}");
        let (_, again) = config(&checkout).await?;
        let fields = |text: &str| {
            let is_field =
                |line: &&str| !line.trim_start().starts_with('#') && line.split_whitespace().count() > 1;
            text.lines().filter(is_field).map(plain).collect::<Vec<_>>()
        };
        anyhow::ensure!(fields(&before).len() > 1, "{category}: {before}");
        for field in fields(&before) {
            anyhow::ensure!(
                fields(&again).contains(&field),
                "{category}: {field} is not there any more: {again}"
            );
        }
    }
    bmc.suite.stop().await
}
