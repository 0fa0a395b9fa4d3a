//! Each subcommand of ipmitool, with both suites: what it shows is what the API says, field by field. Beside it stands what a peer answers to the same.

use serde_json::Value;

use super::*;

/// Sensors that DCMI shows.
pub(super) const SETS: [&str; 5] = [
    "suite_3=true",
    "input_power=total_power",
    "inlet=[\"inlet_temp\"]",
    "cpu=[\"cpu0_temp\"]",
    "baseboard=[\"dimm_temp\"]",
];
/// What the API says of some things moves between two questions: for so long both are asked again.
pub(super) const SETTLES: Duration = Duration::from_secs(90);

/// A machine that is on and of which there is something to say: a tag, a policy, a boot device, a threshold that is crossed.
pub(super) async fn machine() -> Result<Bmc> {
    let bmc = Bmc::start(&SETS).await?;
    bmc.tool(&["chassis", "power", "on"]).await?;
    eventually("the machine is on", FOLLOW, || async { Ok(bmc.host().await? == "HOST_STATUS_ON") }).await?;
    // What the host says of its parts comes once it has begun; the tag that is set has them read here as well.
    eventually("the parts of the host are known", FOLLOW, || async {
        Ok(bmc.suite.admin().get("/api/v1alpha1/asset/system-cpu0").await?.status == 200)
    })
    .await?;
    // Drives have their power from it.
    eventually("the drives are read", FOLLOW, || async {
        let drives = ["nvme0", "nvme1"];
        for drive in drives {
            let drive = bmc.suite.admin().get(&format!("/api/v1alpha1/asset/{drive}")).await?.json()?;
            if drive["asset"]["info"]["serialNumber"].is_null() {
                return Ok(false);
            }
        }
        Ok(true)
    })
    .await?;
    for args in [
        &["chassis", "policy", "always-on"][..],
        &["chassis", "bootdev", "pxe", "options=persistent,efiboot"],
        &["dcmi", "set_asset_tag", "rack 17"],
        &["dcmi", "set_mc_id_string", "north-17"],
        &["sensor", "thresh", "Inlet temperatur", "unc", "12"],
    ] {
        bmc.tool(args).await?;
    }
    bmc.shows(&["sel", "elist"], "Upper Non-critical going high").await?;
    Ok(bmc)
}

/// What the API says, all at once.
pub(super) struct Api {
    pub(super) host: Value,
    pub(super) system: Value,
    pub(super) controller: Value,
    pub(super) chassis: Value,
    pub(super) console: Value,
    pub(super) sensors: Vec<Value>,
    pub(super) users: Vec<Value>,
    pub(super) assets: Vec<Value>,
    /// Thresholds that were crossed, and records of clients, oldest first.
    pub(super) events: Vec<Value>,
    pub(super) port: u16,
}

impl Api {
    pub(super) async fn read(bmc: &Bmc) -> Result<Self> {
        let admin = bmc.suite.admin();
        let get = async |path: &str, key: &str| {
            let said = admin.get(&format!("/api/v1alpha1/{path}")).await?.json()?;
            anyhow::Ok(said[key].clone())
        };
        let list = async |path: &str, key: &str| {
            anyhow::Ok(get(path, key).await?.as_array().cloned().unwrap_or_default())
        };
        let mut events = list("events?page_size=1000", "events").await?;
        events.retain(|event| {
            ["sensorThresholdCrossed", "ipmiSelRecord"].iter().any(|kind| !event[kind].is_null())
        });
        events.reverse();
        Ok(Self {
            host: get("hosts", "hosts").await?[0].clone(),
            system: get("system/info", "systemInfo").await?,
            controller: get("management-controllers", "controllers").await?[0].clone(),
            chassis: get("chassis", "chassis").await?[0].clone(),
            console: get("consoles", "consoles").await?[0].clone(),
            sensors: list("sensors", "sensors").await?,
            users: list("users", "users").await?,
            assets: list("asset", "assets").await?,
            events,
            port: bmc.port,
        })
    }

    /// Users of IPMI by their numbers.
    pub(super) fn users(&self) -> Vec<(u64, String, &'static str)> {
        let of = |user: &Value| {
            let level = match user["role"].as_str()? {
                "Administrator" => "ADMINISTRATOR",
                "Operator" => "OPERATOR",
                _ => "USER",
            };
            Some((user["ipmiUser"].as_u64()?, user["username"].as_str()?.to_owned(), level))
        };
        let mut users: Vec<_> = self.users.iter().filter_map(of).collect();
        users.sort_unstable();
        users
    }

    /// Parts with something to say, the machine first.
    pub(super) fn parts(&self) -> Vec<&Value> {
        let is_system = |part: &&Value| part["type"] == "ASSET_TYPE_SYSTEM";
        let mut parts: Vec<&Value> = self.assets.iter().filter(|part| !part["info"].is_null()).collect();
        parts.retain(|part| part["type"] != "ASSET_TYPE_FIRMWARE");
        parts.sort_by_key(|part| !is_system(part));
        parts
    }

    pub(super) fn is_on(&self) -> bool {
        self.host["status"] == "HOST_STATUS_ON"
    }

    /// Names of sensors with a value as sixteen characters hold them, in the order of their records.
    pub(super) fn names(&self) -> Vec<(String, &Value)> {
        let mut taken = std::collections::BTreeSet::new();
        let mut sensors: Vec<&Value> =
            self.sensors.iter().filter(|sensor| !sensor["analogReading"].is_null()).collect();
        sensors.sort_by_key(|sensor| sensor["id"].as_str());
        let cut = |name: &str, room: usize| name.chars().take(room).collect::<String>();
        let named = |sensor: &'_ Value| sensor["name"].as_str().unwrap_or_default().to_owned();
        let mut out = Vec::new();
        for sensor in sensors {
            let (name, mut number) = (named(sensor), 1);
            let mut own = cut(&name, 16);
            while !taken.insert(own.clone()) {
                number += 1;
                let end = format!("~{number}");
                own = cut(&name, 16 - end.len()) + &end;
            }
            out.push((own.trim_end().to_owned(), sensor));
        }
        out
    }

    fn sensor(&self, id: &str) -> &Value {
        self.sensors.iter().find(|sensor| sensor["id"] == id).unwrap_or(&Value::Null)
    }

    fn value(&self, id: &str) -> f64 {
        self.sensor(id)["analogReading"]["value"].as_f64().unwrap_or(f64::NAN)
    }
}

/// A threshold of a sensor: its side, its level.
pub(super) fn threshold(sensor: &Value, side: &str, level: &str) -> Option<f64> {
    sensor["analogReading"][format!("{side}Thresholds")][level].as_f64()
}

/// Half a step of a byte of this sensor, and how far its value moves meanwhile.
pub(super) fn tolerance(sensor: &Value, value: f64) -> f64 {
    match sensor["unit"].as_str() {
        // Fans are regulated while the machine becomes warm.
        Some("SENSOR_UNIT_RPM") => 700.0,
        Some("SENSOR_UNIT_WATTS") => 12.0,
        Some("SENSOR_UNIT_CELSIUS") => 1.6,
        _ => 0.02 * value.abs() + 0.5,
    }
}

/// Nothing, or in what two say something else.
pub(super) type Same = std::result::Result<(), String>;

/// What one line has to be.
enum Want {
    /// This, blanks aside.
    Line(String),
    /// This, and a number that is near.
    Near(String, f64, f64),
}

use Want::{Line, Near};

/// A line without blanks that are only form.
pub(super) fn plain(line: &str) -> String {
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    line.replace(" : ", ":")
        .replace(" :", ":")
        .replace(": ", ":")
        .replace(" | ", "|")
        .replace("| ", "|")
        .replace(" |", "|")
}

fn is_shown(want: &Want, lines: &[String]) -> bool {
    match want {
        Line(line) => lines.contains(line),
        Near(head, value, most) => lines.iter().any(|line| {
            let number = line
                .strip_prefix(head.as_str())
                .and_then(|rest| rest.split([' ', '|']).find(|word| !word.is_empty())?.parse::<f64>().ok());
            number.is_some_and(|number| (number - value).abs() <= *most)
        }),
    }
}

/// What ipmitool shows of a number that is not there.
const NOTHING: [&str; 2] = ["na", ""];

/// Whether a number is shown as it is said, or as one of the words for `nothing`.
pub(super) fn near(shown: &str, said: Option<f64>, step: f64, nothing: &[&str]) -> bool {
    match (shown.parse::<f64>(), said) {
        (Ok(shown), Some(said)) => (shown - said).abs() <= step,
        (Err(_), None) => nothing.contains(&shown),
        _ => false,
    }
}

/// The first threshold that is shown otherwise than it is, from the lowest up.
pub(super) fn other_threshold(sensor: &Value, shown: &[&str], nothing: &[&str]) -> Option<&'static str> {
    let lower = ["fatal", "critical", "warning"].map(|level| ("lower", level));
    let upper = ["warning", "critical", "fatal"].map(|level| ("upper", level));
    let places = lower.into_iter().chain(upper).zip(shown);
    let mut other = places.filter(|((side, level), shown)| {
        let said = threshold(sensor, side, level);
        // Half a step: at most a 360th of what the record can say.
        !near(shown, said, said.unwrap_or(0.0).abs() / 120.0 + 0.5, nothing)
    });
    other.next().map(|((_, level), _)| level)
}

/// The rows of `sensor list`: value, unit, state, thresholds.
fn sensor_list(api: &Api, lines: &[String]) -> Same {
    let names = api.names();
    if lines.len() != names.len() {
        return Err(format!("{} lines for {} sensors", lines.len(), names.len()));
    }
    for (line, (name, sensor)) in lines.iter().zip(names) {
        let cells: Vec<&str> = line.split('|').collect();
        let differs = |what: &str| Err(format!("{what} of {name}: {line}: {sensor}"));
        let [shown, value, unit, state, thresholds @ ..] = &cells[..] else { return differs("cells") };
        if *shown != name {
            return differs("name");
        }
        let is_good = sensor["quality"] == "SENSOR_QUALITY_GOOD";
        let said = sensor["analogReading"]["value"].as_f64().filter(|_| is_good);
        if !near(value, said, tolerance(sensor, said.unwrap_or(0.0)), &NOTHING) {
            return differs("value");
        }
        let said = match sensor["unit"].as_str().unwrap_or_default() {
            "SENSOR_UNIT_CELSIUS" => "degrees C",
            "SENSOR_UNIT_VOLTS" => "Volts",
            "SENSOR_UNIT_AMPS" => "Amps",
            "SENSOR_UNIT_WATTS" => "Watts",
            "SENSOR_UNIT_RPM" => "RPM",
            other => other,
        };
        if is_good && *unit != said {
            return differs("unit");
        }
        let crossed = sensor["analogReading"]["crossed"].as_array().map_or(&[][..], |all| &all[..]);
        let has = |level: &str| crossed.iter().any(|one| one["level"] == format!("THRESHOLD_LEVEL_{level}"));
        let said = if has("FATAL") {
            "nr"
        } else if has("CRITICAL") {
            "cr"
        } else if has("WARNING") {
            "nc"
        } else {
            "ok"
        };
        if is_good && *state != said {
            return differs("state");
        }
        if let Some(level) = other_threshold(sensor, thresholds, &NOTHING) {
            return differs(level);
        }
    }
    Ok(())
}

/// The rows of `sel elist`: number, time, sensor, what was crossed.
fn sel_list(api: &Api, lines: &[String], is_extended: bool) -> Same {
    if lines.len() != api.events.len() {
        return Err(format!("{} lines for {} events", lines.len(), api.events.len()));
    }
    for (line, event) in lines.iter().zip(&api.events) {
        let crossed = &event["sensorThresholdCrossed"];
        let number: u64 = event["sequence"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
        // 2026-11-30T01:39:42.279Z as 11/30/26 and 01:39:42 UTC.
        let time = event["time"].as_str().unwrap_or_default();
        let (date, clock) = time.split_once('T').unwrap_or_default();
        let [year, month, day] = date.split('-').collect::<Vec<_>>()[..] else { return Err(time.to_owned()) };
        let head = format!(
            "{number:x}|{month}/{day}/{}|{} UTC|",
            year.get(2..).unwrap_or_default(),
            clock.get(..8).unwrap_or_default()
        );
        let id = crossed["sensorId"].as_str().unwrap_or_default();
        let names = api.names();
        let found = names.iter().enumerate().find(|(_, (_, sensor))| sensor["id"] == id);
        let sensor = match (found, is_extended) {
            (Some((_, (name, _))), true) => format!("Temperature {name}"),
            (Some((place, _)), false) => format!("Temperature #{place:#04x}"),
            (None, _) => String::new(),
        };
        let side = if crossed["side"] == "THRESHOLD_SIDE_UPPER" { "Upper" } else { "Lower" };
        let level = match crossed["level"].as_str().unwrap_or_default() {
            "THRESHOLD_LEVEL_WARNING" => "Non-critical",
            "THRESHOLD_LEVEL_CRITICAL" => "Critical",
            _ => "Non-recoverable",
        };
        let way = if side == "Upper" { "high" } else { "low" };
        let is = if crossed["asserted"] == true { "Asserted" } else { "Deasserted" };
        let said = format!("{head}{sensor}|{side} {level} going {way}|{is}");
        if !line.starts_with(&said) {
            return Err(format!("{line} is not {said}"));
        }
    }
    Ok(())
}

/// What ipmitool has to show for these words, as the API says it now.
fn wanted(words: &str, api: &Api) -> Vec<Want> {
    let line = |text: &str| Line(text.to_owned());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let inlet = api.sensor("inlet_temp");
    let of_inlet = |side: &str, level: &str| match threshold(inlet, side, level) {
        Some(value) => format!("{value:.3}"),
        None => "na".to_owned(),
    };
    let worker = api.users().into_iter().find(|(_, name, _)| name == "worker");
    let worker = worker.map_or(0, |(number, ..)| number);
    let machine = api.parts().first().map(|part| part["info"].clone()).unwrap_or_default();
    let recorded = api.sensor("total_power")["analogReading"]["minMaxRecorded"].clone();
    match words {
        "chassis status" => vec![
            Line(format!("System Power:{}", if api.is_on() { "on" } else { "off" })),
            line(match api.host["powerRestorePolicy"].as_str() {
                Some("POWER_RESTORE_POLICY_ALWAYS_ON") => "Power Restore Policy:always-on",
                Some("POWER_RESTORE_POLICY_LAST") => "Power Restore Policy:previous",
                _ => "Power Restore Policy:always-off",
            }),
            line("Main Power Fault:false"),
        ],
        "chassis power status" => {
            vec![Line(format!("Chassis Power is {}", if api.is_on() { "on" } else { "off" }))]
        }
        "chassis identify 1" => vec![line("Chassis identify interval:1 seconds")],
        "chassis policy list" => vec![line("Supported chassis power policy:always-off always-on previous")],
        "chassis poh" => {
            let seconds: f64 = text(&api.host["powerOnTime"]).trim_end_matches('s').parse().unwrap_or(-1.0);
            vec![Line(format!(
                "POH Counter:{:.0} days, {:.0} hours",
                (seconds / 86400.0).floor(),
                (seconds / 3600.0).floor()
            ))]
        }
        "chassis restart_cause" => vec![line(match api.host["lastReboot"]["rebootCause"].as_str() {
            Some("HOST_REBOOT_CAUSE_COMMAND") => "System restart cause:chassis power control command",
            _ => "System restart cause:unknown",
        })],
        "chassis bootparam get 5" => {
            let set = &api.host["bootOverride"];
            let mut all = vec![
                line(if set["target"] == "BOOT_TARGET_PXE" {
                    "- Boot Device Selector:Force PXE"
                } else {
                    "?"
                }),
                line(if set["mode"] == "BOOT_MODE_UEFI" {
                    "- BIOS EFI boot"
                } else {
                    "- BIOS PC Compatible (legacy) boot"
                }),
            ];
            all.push(line(match set["enabled"].as_str() {
                Some("BOOT_OVERRIDE_ENABLED_CONTINUOUS") => "- Options apply to all future boots",
                Some("BOOT_OVERRIDE_ENABLED_ONCE") => "- Options apply to only next boot",
                _ => "- Boot Flag Invalid",
            }));
            all
        }
        "chassis selftest" => vec![line("Self Test Results:passed")],
        "mc selftest" => vec![line("Selftest:passed")],
        "mc info" => {
            let version = text(&api.system["version"]);
            // Seven bits and two digits: what is more is shown as the most there is room for.
            let mut numbers = version.split(['.', ' ']).filter_map(|word| word.parse::<u32>().ok());
            let (major, minor) = (numbers.next().unwrap_or(0).min(127), numbers.next().unwrap_or(0).min(99));
            let has = [
                "Sensor Device",
                "SDR Repository Device",
                "SEL Device",
                "FRU Inventory Device",
                "Chassis Device",
            ];
            let mut all = vec![
                Line(format!("Firmware Revision:{major}.{minor:02}")),
                line("IPMI Version:2.0"),
                line("Device Available:yes"),
            ];
            all.extend(has.map(line));
            all
        }
        "mc guid" => vec![Line(format!("System GUID:{}", text(&api.system["id"])))],
        "mc getenables" => vec![line("System Event Logging:enabled"), line("Event Message Buffer:disabled")],
        "mc watchdog get" => vec![
            line("Watchdog Timer Use:SMS/OS (0x04)"),
            line("Watchdog Timer Is:Stopped"),
            line("Watchdog Timer Action:Hard Reset (0x01)"),
            line("Initial Countdown:60.0 sec"),
            line("Present Countdown:60.0 sec"),
        ],
        "mc getsysinfo system_name" => vec![Line(text(&api.system["name"]))],
        "sdr info" => {
            let count = 1 + api.names().len() + api.parts().len();
            vec![line("SDR Version:0x51"), Line(format!("Record Count:{count}"))]
        }
        "sdr list" | "sdr elist all" => Vec::new(),
        "sdr type Temperature" => {
            let temperatures = api.names().into_iter().enumerate();
            let temperatures =
                temperatures.filter(|(_, (_, sensor))| sensor["context"] == "SENSOR_CONTEXT_TEMPERATURE");
            temperatures
                .map(|(place, (name, sensor))| {
                    let state = if sensor["analogReading"]["crossed"].is_null() { "ok" } else { "unc" };
                    let value = sensor["analogReading"]["value"].as_f64().unwrap_or(f64::NAN);
                    Near(format!("{name}|{place:02X}h|{state}|7.1|"), value, tolerance(sensor, value))
                })
                .collect()
        }
        "sensor get Inlet+temperatur" | "sdr get Inlet+temperatur" => {
            let mut all = vec![
                Near("Sensor Reading:".to_owned(), api.value("inlet_temp"), 1.6),
                Line(format!("Upper Critical:{}", of_inlet("upper", "critical"))),
                Line(format!("Upper Non-Critical:{}", of_inlet("upper", "warning"))),
                Line(format!("Lower Non-Critical:{}", of_inlet("lower", "warning"))),
                Line(format!(
                    "Positive Hysteresis:{:.3}",
                    inlet["analogReading"]["hysteresis"].as_f64().unwrap_or(0.0)
                )),
                line("Status:Upper Non-Critical"),
            ];
            if words.starts_with("sdr") {
                for want in &mut all {
                    if let Line(text) = want {
                        *text =
                            text.replace("Critical:", "critical:").replace("Non-critical", "non-critical");
                    }
                }
                all.truncate(5);
            }
            all
        }
        "sel info" => vec![Line(format!("Entries:{}", api.events.len())), line("Overflow:false")],
        "fru print 0" => {
            let field = |name: &str, key: &str| Line(format!("Product {name}:{}", text(&machine[key])));
            vec![
                field("Manufacturer", "manufacturer"),
                field("Name", "productName"),
                field("Part Number", "partNumber"),
                field("Asset Tag", "assetTag"),
            ]
        }
        "fru print" => {
            let parts = api.parts().into_iter().skip(1).enumerate();
            let mut all = Vec::new();
            for (place, part) in parts {
                let name: String = text(&part["name"]).chars().take(16).collect();
                // FRU fields of two letters are padded, as they must not be read as none.
                all.push(Line(format!("FRU Device Description:{} (ID {})", name.trim_end(), place + 1)));
                all.push(Line(format!("Product Name:{}", text(&part["info"]["productName"]))));
                if let Some(serial) = part["info"]["serialNumber"].as_str() {
                    all.push(Line(format!("Product Serial:{serial}")));
                }
            }
            all
        }
        "lan print 1" => vec![
            line("Set in Progress:Set Complete"),
            line("IP Address:127.0.0.1"),
            line("SNMP Community String:public"),
            line("RMCP+ Cipher Suites:17,3"),
            line("Cipher Suite Priv Max:aaXXXXXXXXXXXXX"),
        ],
        "lan alert print 1 1" => vec![line("Destination Type:PET Trap"), line("Alert IP Address:0.0.0.0")],
        "user list 1" => {
            let rows = api.users().into_iter();
            rows.map(|(number, name, level)| Line(format!("{number} {name} true false true {level}")))
                .collect()
        }
        "user summary 1" => {
            vec![line("Maximum IDs:15"), Line(format!("Enabled User Count:{}", api.users().len()))]
        }
        "user test 2 20 glockenspiel-7" => vec![line("Success")],
        "session info active" => {
            let boss = api.users().into_iter().find(|(_, name, _)| name == "boss");
            vec![
                Line(format!("user id:{}", boss.map_or(0, |(number, ..)| number))),
                line("slot count:15"),
                line("privilege level:ADMINISTRATOR"),
                line("session type:IPMIv2/RMCP+"),
                line("console ip:127.0.0.1"),
            ]
        }
        "channel info 1" => vec![
            line("Channel Medium Type:802.3 LAN"),
            line("Session Support:multi-session"),
            line("Alerting:enabled"),
            line("Access Mode:always available"),
        ],
        "channel getaccess 1 3" => vec![
            Line(format!("User ID:{worker}")),
            Line(format!("Enabled User IDs:{}", api.users().len())),
            line("User Name:worker"),
            line("IPMI Messaging:enabled"),
            line("Privilege Level:OPERATOR"),
            line("Enable Status:enabled"),
        ],
        "channel getciphers ipmi 1" | "channel getciphers sol 1" => vec![
            line("17 N/A hmac_sha256 sha256_128 aes_cbc_128"),
            line("3 N/A hmac_sha1 hmac_sha1_96 aes_cbc_128"),
        ],
        "channel authcap 1 4" => vec![
            line("Channel number:1"),
            line("Null user names exist:no"),
            line("Anonymous login enabled:no"),
            line("Channel supports IPMI v1.5:no"),
            line("Channel supports IPMI v2.0:yes"),
        ],
        "sol info 1" => vec![
            line("Enabled:true"),
            line("Force Encryption:true"),
            line("Privilege Level:OPERATOR"),
            Line(format!(
                "Volatile Bit Rate (kbps):{:.1}",
                api.console["bitRate"].as_f64().unwrap_or(0.0) / 1000.0
            )),
            Line(format!("Payload Port:{}", api.port)),
        ],
        "sol payload status 1 3" => vec![line("User 3 on channel 1 is enabled")],
        "pef info" => vec![],
        "pef filter list" => {
            (1..=16).map(|number| Line(format!("{number}|disabled, configurable"))).collect()
        }
        "dcmi discover" => vec![
            line("Power management available"),
            line("SEL automatic rollover is enabled"),
            line("Primary LAN channel number:1 is available"),
        ],
        "dcmi power reading" => vec![
            Near("Instantaneous power reading:".to_owned(), api.value("total_power"), 12.0),
            Near(
                "Minimum during sampling period:".to_owned(),
                recorded["minValue"].as_f64().unwrap_or(f64::NAN),
                12.0,
            ),
            Near(
                "Maximum during sampling period:".to_owned(),
                recorded["maxValue"].as_f64().unwrap_or(f64::NAN),
                12.0,
            ),
            Near(
                "Average power reading over sample period:".to_owned(),
                recorded["average"].as_f64().unwrap_or(f64::NAN),
                12.0,
            ),
            line("Power reading state is:activated"),
        ],
        "dcmi power get_limit" => {
            vec![
                line("Current Limit State:No Active Power Limit"),
                line("Power Limit:0 Watts"),
                line("Exception actions:No Action"),
            ]
        }
        "dcmi power deactivate" => vec![line("Power limit successfully deactivated")],
        "dcmi sensors" => {
            vec![Near("Record ID 0x000d:Inlet temperatur|".to_owned(), api.value("inlet_temp"), 1.6)]
        }
        "dcmi asset_tag" => vec![Line(format!("Asset tag:{}", text(&machine["assetTag"])))],
        "dcmi get_mc_id_string" => {
            vec![Line(format!(
                "Get Management Controller Identifier String:{}",
                text(&api.controller["description"])
            ))]
        }
        "dcmi get_temp_reading" => [
            ("Inlet air temperature(40h) 1 +", "inlet_temp"),
            ("CPU temperature sensors(41h) 1 +", "cpu0_temp"),
            ("Baseboard temperature sensors(42h) 1 +", "dimm_temp"),
        ]
        .into_iter()
        .map(|(head, id)| Near(head.to_owned(), api.value(id), 2.1))
        .collect(),
        "firewall info channel 1 lun 0 netfn 0" => ["support:", "configurable:", "enabled:"]
            .into_iter()
            .map(|name| Line(format!("{name}f7830000{}", " 00000000".repeat(7))))
            .collect(),
        _ => vec![Line(format!("nobody says what {words} has to show"))],
    }
}

/// What the API and ipmitool say differs in this.
fn differs(words: &str, api: &Api, said: &str) -> Same {
    let lines: Vec<String> = said.lines().map(plain).filter(|line| !line.is_empty()).collect();
    match words {
        "sensor list" => return sensor_list(api, &lines),
        "sel list" => return sel_list(api, &lines, false),
        "sel elist" => return sel_list(api, &lines, true),
        "sdr list" | "sdr elist all" => {
            let is_all = words == "sdr elist all";
            let wanted = api.names().len() + if is_all { 1 + api.parts().len() } else { 0 };
            if lines.len() != wanted {
                return Err(format!("{} lines for {wanted} records", lines.len()));
            }
            for (place, (name, sensor)) in api.names().into_iter().enumerate() {
                let Some(value) = sensor["analogReading"]["value"].as_f64() else { continue };
                let near = tolerance(sensor, value);
                let state = if sensor["analogReading"]["crossed"].is_null() { "ok" } else { "unc" };
                let entity = if sensor["context"] == "SENSOR_CONTEXT_TACH" { "29.1" } else { "7.1" };
                let want = match words {
                    "sdr list" => Near(format!("{name}|"), value, near),
                    _ => Near(format!("{name}|{place:02X}h|{state}|{entity}|"), value, near),
                };
                if !is_shown(&want, &lines) {
                    return Err(format!("{name} is not {value}"));
                }
            }
            for part in api.parts().into_iter().filter(|_| is_all) {
                let name: String = part["name"].as_str().unwrap_or_default().chars().take(16).collect();
                if !lines.iter().any(|line| line.starts_with(name.trim_end()) && line.contains("Log")) {
                    return Err(format!("no record of {name}"));
                }
            }
            return Ok(());
        }
        "sel time get" => {
            // Both are the controller's clock, to the minute: the API's stands at what it last did.
            return match lines.first().filter(|line| line.ends_with("UTC")) {
                Some(_) => Ok(()),
                None => Err("no time".to_owned()),
            };
        }
        _ => {}
    }
    let wanted = wanted(words, api);
    match wanted.iter().find(|want| !is_shown(want, &lines)) {
        None => Ok(()),
        Some(Line(line)) => Err(format!("not shown: {line}")),
        Some(Near(head, value, _)) => Err(format!("{head} is not {value}")),
    }
}

/// What the peer says instead of a table of commands that it has not.
const NO_COMMAND: &str = "Invalid command";
const NO_FIELD: &str = "Invalid data field in request";

/// Each subcommand, what the peer has to say to it, and why that is not what is said here.
const ROWS: [(&str, &str, &str); 54] = [
    ("chassis status", "System Power:off", "its machine is off"),
    ("chassis power status", "Chassis Power is off", "its machine is off"),
    ("chassis identify 1", NO_FIELD, "it has no machine"),
    ("chassis policy list", NO_COMMAND, ""),
    ("chassis poh", NO_COMMAND, ""),
    ("chassis restart_cause", NO_COMMAND, ""),
    ("chassis bootparam get 5", NO_FIELD, "it has no machine"),
    ("chassis selftest", NO_COMMAND, ""),
    ("mc info", "Firmware Revision:9.08", "it is another controller"),
    ("mc guid", "System GUID:efcdab89-6745-23a1-efcd-ab89674523a1", "it is another controller"),
    ("mc selftest", NO_COMMAND, ""),
    ("mc getenables", "System Event Logging:enabled", ""),
    ("mc watchdog get", "Watchdog Timer Is:Stopped", ""),
    ("mc getsysinfo system_name", NO_COMMAND, ""),
    ("sdr info", "SDR Version:0x51", ""),
    ("sdr list", "Inlet temperatur|25 degrees C|nc", ""),
    ("sdr elist all", "Inlet temperatur|0Bh|unc|7.1|25 degrees C", ""),
    ("sdr type Temperature", "Inlet temperatur|0Bh|unc|7.1|25 degrees C", ""),
    ("sdr get Inlet+temperatur", "Upper non-critical:12.000", ""),
    ("sensor list", "Inlet temperatur|25.000|degrees C|nc|na|na|5.000|12.000|45.000|na", ""),
    ("sensor get Inlet+temperatur", "Upper Non-Critical:12.000", ""),
    ("sel info", "Entries:0", "nothing has happened there"),
    ("sel list", "SEL has no entries", "nothing has happened there"),
    ("sel elist", "SEL has no entries", "nothing has happened there"),
    ("sel time get", "S+", "it counts from its start"),
    ("fru print 0", "Product Asset Tag:rack 17", ""),
    ("fru print", "FRU Device Description:Builtin FRU Device (ID 0)", "it was given the machine's alone"),
    ("lan print 1", "IP Address:0.0.0.0", "it does not know its address"),
    ("lan alert print 1 1", "", "it has no destinations"),
    ("user list 1", "2 boss true false true ADMINISTRATOR", ""),
    ("user summary 1", "Enabled User Count:1", "it has one account"),
    ("user test 2 20 glockenspiel-7", "Success", ""),
    ("session info active", "privilege level:ADMINISTRATOR", ""),
    ("channel info 1", "Channel Medium Type:802.3 LAN", ""),
    ("channel getaccess 1 3", "User ID:3", ""),
    (
        "channel getciphers ipmi 1",
        "3 N/A hmac_sha1 hmac_sha1_96 aes_cbc_128",
        "it has suites without a password as well",
    ),
    (
        "channel getciphers sol 1",
        "3 N/A hmac_sha1 hmac_sha1_96 aes_cbc_128",
        "it has suites without a password as well",
    ),
    ("channel authcap 1 4", "Command not supported in present state", "it answers that before a login alone"),
    ("sol info 1", NO_COMMAND, ""),
    ("sol payload status 1 3", NO_COMMAND, ""),
    ("pef info", "0x51|16|15|a1234567-89ab-cdef-a123-456789abcdef", "it has other actions"),
    ("pef filter list", "1|disabled, configurable", ""),
    ("dcmi discover", NO_COMMAND, ""),
    ("dcmi power reading", NO_COMMAND, ""),
    ("dcmi power get_limit", NO_COMMAND, ""),
    ("dcmi power deactivate", NO_COMMAND, ""),
    ("dcmi sensors", NO_COMMAND, ""),
    ("dcmi asset_tag", NO_COMMAND, ""),
    ("dcmi get_mc_id_string", NO_COMMAND, ""),
    ("dcmi get_temp_reading", NO_COMMAND, ""),
    ("firewall info channel 1 lun 0 netfn 0", NO_COMMAND, ""),
    ("event 1", NO_COMMAND, ""),
    ("chassis bootdev none", NO_FIELD, "it has no machine"),
    ("mc setsysinfo system_name rack-17", NO_COMMAND, ""),
];

#[tokio::test]
async fn every_subcommand_shows_what_the_api_says_and_what_a_peer_answers() -> Result {
    if !has("ipmitool") || !has("ipmi_sim") {
        skip("ipmitool with ipmi_sim");
        return Ok(());
    }
    let bmc = machine().await?;
    bmc.tool(&["raw", "0x06", "0x24", "0x04", "0x01", "0", "0x3e", "0x58", "0x02"]).await?;
    let peer = Peer::start(&bmc).await?;
    let mut wrong = Vec::new();
    for (words, theirs, why) in ROWS {
        let args: Vec<String> = words.split(' ').map(|word| word.replace('+', " ")).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let changes =
            ["event 1", "chassis bootdev none", "mc setsysinfo system_name rack-17"].contains(&words);
        let (_, peers) = bmc.ipmitool_at(peer.port, 3, BOSS, &args).await?;
        let is_said = theirs.is_empty() || peers.lines().map(plain).any(|line| line.contains(theirs));
        if !is_said {
            wrong.push(format!("the peer to {words}, not {theirs:?} ({why}):\n{peers}"));
        }
        for suite in [17, 3] {
            let begun = tokio::time::Instant::now();
            loop {
                let (fine, said) = bmc.ipmitool(suite, BOSS, &args).await?;
                anyhow::ensure!(fine, "{words} with {suite}:\n{said}");
                let Err(what) = differs(words, &Api::read(&bmc).await?, &said) else { break };
                if changes {
                    break;
                }
                if begun.elapsed() > SETTLES {
                    wrong.push(format!("{words} with {suite}: {what}:\n{said}"));
                    break;
                }
            }
        }
        if !why.is_empty() || [NO_COMMAND, NO_FIELD].contains(&theirs) || changes {
            continue;
        }
        // What it says otherwise than we do stands above with its reason: all else is the same line here.
        let (_, ours) = bmc.ipmitool(17, BOSS, &args).await?;
        let head = |text: &str| text.split([':', '|']).next().unwrap_or_default().to_owned();
        if !ours.lines().map(plain).any(|line| head(&line) == head(theirs)) {
            wrong.push(format!("{words}: only the peer has {theirs}:\n{ours}"));
        }
    }
    anyhow::ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    // What the last ones changed.
    let api = Api::read(&bmc).await?;
    anyhow::ensure!(api.host["bootOverride"]["enabled"] == "BOOT_OVERRIDE_ENABLED_DISABLED", "{}", api.host);
    let told = api.events.iter().filter(|event| !event["ipmiSelRecord"].is_null());
    anyhow::ensure!(told.count() == 2, "{:?}", api.events);
    let name = bmc.tool(&["mc", "getsysinfo", "system_name"]).await?;
    anyhow::ensure!(name.lines().next() == Some("rack-17"), "{name}");
    // What is not IPMI's to set is not set.
    let said = bmc.refused(BOSS, &["lan", "set", "1", "ipaddr", "192.0.2.9"]).await?;
    anyhow::ensure!(bmc.tool(&["lan", "print", "1"]).await?.contains("127.0.0.1"), "{said}");
    let said = bmc.refused(BOSS, &["dcmi", "power", "set_limit", "limit", "300"]).await?;
    anyhow::ensure!(said.contains("out of range"), "{said}");
    bmc.suite.stop().await
}
