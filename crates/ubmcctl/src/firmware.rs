//! The settings of a host's firmware: what they are, and what the next boot makes them.

use std::collections::HashMap;

use clap::Subcommand;
use schema::rpc::host_firmware_service as service;
use schema::v1alpha1::{
    BootOption, BootOrder, BootTarget, DiscardHostFirmwareChangesRequest, FirmwareAttribute,
    FirmwareAttributeType, FirmwareValue, GetHostFirmwareRequest, GetHostFirmwareResponse, HostFirmware,
    SecureBootKeysAction, UpdateHostFirmwareRequest, firmware_value,
};

use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Card, Format, Output, Table};
use crate::switch::Switch;
use crate::text::{enum_word, when};

#[derive(Debug, Subcommand)]
pub(crate) enum FirmwareCommand {
    /// All settings, what the next boot makes them, the boot order and secure boot
    Show {
        /// Which host
        #[arg(default_value = "system")]
        name: String,
        /// Only this setting, with all that is known of it
        #[arg(long, value_name = "NAME")]
        attribute: Option<String>,
    },
    /// Other values, from the next boot on
    Set {
        /// Settings with their values, as `show` names them; switches are `on` or `off`
        #[arg(required = true, value_name = "NAME=VALUE", value_parser = pair)]
        values: Vec<(String, String)>,
        /// Which host
        #[arg(long, default_value = "system")]
        host: String,
    },
    /// Try boot options in this order, from the next boot on; those that are not named stay behind
    BootOrder {
        /// Boot options: Boot0001
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Which host
        #[arg(long, default_value = "system")]
        host: String,
    },
    /// Try a boot option, or no longer, from the next boot on
    BootOption {
        /// Which one: Boot0001
        name: String,
        /// Whether it is tried
        #[arg(value_enum)]
        state: Switch,
        /// Which host
        #[arg(long, default_value = "system")]
        host: String,
    },
    /// Enforce secure boot, or no longer, from the next boot on
    SecureBoot {
        /// Whether it is enforced
        #[arg(value_enum)]
        state: Switch,
        /// Which host
        #[arg(long, default_value = "system")]
        host: String,
    },
    /// All settings as the manufacturer sets them, from the next boot on
    Reset {
        /// Which host
        #[arg(long, default_value = "system")]
        host: String,
    },
    /// Leave everything as it is: nothing is wished of the next boot any more
    Discard {
        /// Which host
        #[arg(long, default_value = "system")]
        host: String,
    },
}

/// `NAME=VALUE`; the value may be empty, and have `=` in it.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it has to be NAME=VALUE".to_owned()),
    }
}

impl FirmwareCommand {
    /// Whether it changes nothing.
    pub(crate) fn is_reading(&self) -> bool {
        matches!(self, Self::Show { .. })
    }
}

pub(crate) async fn run(client: &Client, command: FirmwareCommand, output: Output) -> Result<(), Failure> {
    let request = match command {
        FirmwareCommand::Show { name, attribute } => {
            return show(client, name, attribute, output).await;
        }
        FirmwareCommand::Discard { host } => {
            let request = DiscardHostFirmwareChangesRequest { host_name: host };
            let reply = client.call(service::DISCARD_HOST_FIRMWARE_CHANGES, &request).await?;
            return output.card(&reply, || card(&reply.firmware.clone().unwrap_or_default()));
        }
        FirmwareCommand::Set { values, host } => {
            let request = GetHostFirmwareRequest { host_name: host.clone() };
            let reply = client.call(service::GET_HOST_FIRMWARE, &request).await?;
            let attributes = wanted(&reply.firmware.unwrap_or_default(), values)?;
            UpdateHostFirmwareRequest { host_name: host, attributes, ..Default::default() }
        }
        FirmwareCommand::BootOrder { names, host } => UpdateHostFirmwareRequest {
            host_name: host,
            boot_order: Some(BootOrder { names }),
            ..Default::default()
        },
        FirmwareCommand::BootOption { name, state, host } => UpdateHostFirmwareRequest {
            host_name: host,
            boot_options_enabled: [(name, state == Switch::On)].into(),
            ..Default::default()
        },
        FirmwareCommand::SecureBoot { state, host } => UpdateHostFirmwareRequest {
            host_name: host,
            secure_boot_enabled: Some(state == Switch::On),
            ..Default::default()
        },
        FirmwareCommand::Reset { host } => {
            UpdateHostFirmwareRequest { host_name: host, reset_to_defaults: true, ..Default::default() }
        }
    };
    let reply = client.call(service::UPDATE_HOST_FIRMWARE, &request).await?;
    output.card(&reply, || card(&reply.firmware.clone().unwrap_or_default()))
}

async fn show(
    client: &Client,
    host_name: String,
    attribute: Option<String>,
    output: Output,
) -> Result<(), Failure> {
    let reply = client.call(service::GET_HOST_FIRMWARE, &GetHostFirmwareRequest { host_name }).await?;
    let firmware = reply.firmware.clone().unwrap_or_default();
    let Some(name) = attribute else {
        if output.format == Format::Table {
            output.card(&reply, || card(&firmware))?;
            output.text("")?;
        }
        return output.reply(&reply, || table(&firmware));
    };
    let Some(found) = firmware.attributes.iter().find(|attribute| attribute.name == name) else {
        return Err(no_such(&firmware, &name));
    };
    let only = HostFirmware { attributes: vec![found.clone()], ..firmware.clone() };
    output.card(&GetHostFirmwareResponse { firmware: Some(only) }, || attribute_card(found))
}

fn no_such(firmware: &HostFirmware, name: &str) -> Failure {
    let host = &firmware.host_name;
    // One that only the case of its letters keeps from being found is meant.
    let alike = firmware.attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name));
    let hint = match alike {
        Some(attribute) => format!("it has {}", attribute.name),
        None => "`ubmcctl host firmware show` names them".to_owned(),
    };
    Failure::not_found(format!("the firmware of {host} has no setting {name}; {hint}"))
}

/// The values that were written, each of the type of its attribute.
fn wanted(
    firmware: &HostFirmware,
    values: Vec<(String, String)>,
) -> Result<HashMap<String, FirmwareValue>, Failure> {
    let mut out = HashMap::new();
    for (name, text) in values {
        let Some(attribute) = firmware.attributes.iter().find(|attribute| attribute.name == name) else {
            return Err(no_such(firmware, &name));
        };
        let value = value(attribute, &text).map_err(|why| Failure::Usage(format!("{name}: {why}")))?;
        if out.insert(name.clone(), FirmwareValue { value: Some(value) }).is_some() {
            return Err(Failure::Usage(format!("{name} is named twice")));
        }
    }
    Ok(out)
}

/// What was written for an attribute. Its bounds are the controller's to know.
fn value(attribute: &FirmwareAttribute, text: &str) -> Result<firmware_value::Value, String> {
    match attribute.r#type() {
        FirmwareAttributeType::Boolean => match text.to_ascii_lowercase().as_str() {
            "on" | "true" => Ok(firmware_value::Value::Boolean(true)),
            "off" | "false" => Ok(firmware_value::Value::Boolean(false)),
            _ => Err("it is on or off".to_owned()),
        },
        FirmwareAttributeType::Integer => text
            .parse()
            .map(firmware_value::Value::Integer)
            .map_err(|_| format!("it is a whole number{}", bounds(attribute))),
        FirmwareAttributeType::Enumeration
        | FirmwareAttributeType::String
        | FirmwareAttributeType::Unspecified => Ok(firmware_value::Value::Text(text.to_owned())),
    }
}

/// ` from 0 to 10, in steps of 2`; empty where the firmware names none.
fn bounds(attribute: &FirmwareAttribute) -> String {
    let (Some(lower), Some(upper)) = (attribute.lower_bound, attribute.upper_bound) else {
        return String::new();
    };
    match attribute.step {
        Some(step) if step > 1 => format!(" from {lower} to {upper}, in steps of {step}"),
        _ => format!(" from {lower} to {upper}"),
    }
}

fn words(value: Option<&FirmwareValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        None => String::new(),
        Some(firmware_value::Value::Boolean(true)) => "on".to_owned(),
        Some(firmware_value::Value::Boolean(false)) => "off".to_owned(),
        Some(firmware_value::Value::Integer(number)) => number.to_string(),
        Some(firmware_value::Value::Text(text)) => text.clone(),
    }
}

/// What it can be.
fn possible(attribute: &FirmwareAttribute) -> String {
    match attribute.r#type() {
        FirmwareAttributeType::Unspecified => String::new(),
        FirmwareAttributeType::Boolean => "on, off".to_owned(),
        FirmwareAttributeType::Integer => format!("a whole number{}", bounds(attribute)),
        FirmwareAttributeType::String => match (attribute.min_length, attribute.max_length) {
            (Some(shortest), Some(longest)) => format!("a text of {shortest} to {longest} characters"),
            _ => "a text".to_owned(),
        },
        FirmwareAttributeType::Enumeration => {
            let names: Vec<&str> = attribute.choices.iter().map(|choice| choice.name.as_str()).collect();
            names.join(", ")
        }
    }
}

fn table(firmware: &HostFirmware) -> Table {
    let head = ["NAME", "VALUE", "NEXT BOOT", "DEFAULT", "POSSIBLE", "TITLE"];
    let mut table = Table::new(&head).empty("no settings");
    for attribute in &firmware.attributes {
        table.row([
            attribute.name.clone(),
            words(attribute.current.as_ref()),
            words(attribute.pending.as_ref()),
            words(attribute.default_value.as_ref()),
            if attribute.read_only { "shown only".to_owned() } else { possible(attribute) },
            attribute.display_name.clone(),
        ]);
    }
    table
}

fn attribute_card(attribute: &FirmwareAttribute) -> Card {
    let mut card = Card::default();
    card.line("Name", attribute.name.clone())
        .line("Title", attribute.display_name.clone())
        .line("Value", words(attribute.current.as_ref()))
        .line("Next boot", words(attribute.pending.as_ref()))
        .line("Default", words(attribute.default_value.as_ref()))
        .line("Possible", possible(attribute))
        .line("Can be set", if attribute.read_only { "no" } else { "yes" })
        .line("Menu", attribute.menu_path.clone())
        .line("Help", attribute.help.clone());
    card
}

/// `Boot0001  Network (pxe)`, and whether it is not tried.
fn option_line(name: &str, options: &[BootOption]) -> String {
    let Some(option) = options.iter().find(|option| option.name == *name) else { return name.to_owned() };
    let mut line = name.to_owned();
    if !option.display_name.is_empty() {
        line = format!("{line}  {}", option.display_name);
    }
    if option.alias() != BootTarget::Unspecified {
        line = format!("{line} ({})", enum_word(option.alias().as_str_name(), "BOOT_TARGET_"));
    }
    if option.enabled { line } else { format!("{line}, not tried") }
}

fn card(firmware: &HostFirmware) -> Card {
    let mut card = Card::default();
    card.line("Host", firmware.host_name.clone());
    if firmware.stale {
        card.line("Stale", "the firmware does not answer: this is what it last reported");
    }
    let order = firmware.boot_order.iter().map(|name| option_line(name, &firmware.boot_options));
    card.line("Boot order", order.collect::<Vec<_>>().join("\n"));
    if let Some(secure) = &firmware.secure_boot {
        let mode = enum_word(secure.mode().as_str_name(), "SECURE_BOOT_MODE_");
        let enabled = if secure.enabled { "on" } else { "off" };
        let active =
            if secure.active { "enforced by the last boot" } else { "not enforced by the last boot" };
        card.line("Secure boot", format!("{enabled}, {active}, mode {mode}"));
        if secure.pending_keys_action() != SecureBootKeysAction::Unspecified {
            let action = enum_word(secure.pending_keys_action().as_str_name(), "SECURE_BOOT_KEYS_ACTION_");
            card.line("  its keys", format!("{action} at the next boot"));
        }
    }
    if firmware.pending_id.is_empty() {
        card.line("Next boot", "changes nothing");
    } else {
        let mut changes: Vec<String> = Vec::new();
        if firmware.resets_to_defaults {
            changes.push("all settings as the manufacturer sets them".to_owned());
        }
        changes.extend(firmware.attributes.iter().filter(|attribute| attribute.pending.is_some()).map(
            |attribute| {
                let (before, after) = (words(attribute.current.as_ref()), words(attribute.pending.as_ref()));
                format!("{}: {before} -> {after}", attribute.name)
            },
        ));
        if changes.is_empty() {
            changes.push("boot options or secure boot, as above".to_owned());
        }
        card.line("Next boot", changes.join("\n"));
        card.line("Wished by", format!("{}, {}", firmware.pending_by, when(firmware.pending_at.as_ref())));
    }
    card.line("Last taken", when(firmware.applied_at.as_ref()));
    let refusals = firmware.refusals.iter().map(|refusal| format!("{}: {}", refusal.what, refusal.why));
    card.line("Not taken then", refusals.collect::<Vec<_>>().join("\n"));
    card
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use schema::v1alpha1::{FirmwareChoice, SecureBoot, SecureBootMode};

    use super::*;
    use crate::output::Paint;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(subcommand)]
        command: FirmwareCommand,
    }

    fn parse(line: &str) -> Result<FirmwareCommand, clap::Error> {
        Ok(Line::try_parse_from(["firmware"].into_iter().chain(line.split(' ')))?.command)
    }

    fn attribute(
        name: &str,
        kind: FirmwareAttributeType,
        current: firmware_value::Value,
    ) -> FirmwareAttribute {
        FirmwareAttribute {
            name: name.to_owned(),
            r#type: kind.into(),
            current: Some(FirmwareValue { value: Some(current) }),
            ..FirmwareAttribute::default()
        }
    }

    fn firmware() -> HostFirmware {
        let retries = FirmwareAttribute {
            lower_bound: Some(0),
            upper_bound: Some(10),
            step: Some(2),
            ..attribute("Retries", FirmwareAttributeType::Integer, firmware_value::Value::Integer(4))
        };
        let profile = FirmwareAttribute {
            choices: vec![
                FirmwareChoice { name: "Balanced".into(), display_name: String::new() },
                FirmwareChoice { name: "Fast".into(), display_name: String::new() },
            ],
            pending: Some(FirmwareValue { value: Some(firmware_value::Value::Text("Fast".into())) }),
            ..attribute(
                "Profile",
                FirmwareAttributeType::Enumeration,
                firmware_value::Value::Text("Balanced".into()),
            )
        };
        HostFirmware {
            host_name: "system".into(),
            attributes: vec![
                attribute("Smt", FirmwareAttributeType::Boolean, firmware_value::Value::Boolean(true)),
                retries,
                profile,
            ],
            boot_options: vec![
                BootOption {
                    name: "Boot0000".into(),
                    display_name: "Disk".into(),
                    alias: BootTarget::Hdd.into(),
                    enabled: true,
                    ..BootOption::default()
                },
                BootOption { name: "Boot0001".into(), ..BootOption::default() },
            ],
            boot_order: vec!["Boot0001".into(), "Boot0000".into()],
            secure_boot: Some(SecureBoot {
                enabled: true,
                mode: SecureBootMode::User.into(),
                ..SecureBoot::default()
            }),
            pending_id: "a".into(),
            pending_by: "alice".into(),
            ..HostFirmware::default()
        }
    }

    fn pairs(values: &[&str]) -> Vec<(String, String)> {
        values.iter().map(|text| pair(text).unwrap()).collect()
    }

    #[test]
    fn commands_are_understood() {
        for line in [
            "show",
            "show host1 --attribute Smt",
            "set Smt=off Retries=4 --host host1",
            "set Text=",
            "boot-order Boot0001 Boot0000",
            "boot-option Boot0001 off",
            "secure-boot on",
            "reset --host host1",
            "discard",
        ] {
            assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
        }
        for line in ["set", "set Smt", "set =on", "boot-order", "boot-option Boot0001", "secure-boot maybe"] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(parse("show").unwrap().is_reading() && !parse("discard").unwrap().is_reading());
    }

    #[test]
    fn values_are_of_the_type_that_the_firmware_reports() {
        let given = wanted(&firmware(), pairs(&["Smt=off", "Retries=-2", "Profile=a=b"])).unwrap();
        let of = |name: &str| given.get(name).and_then(|value| value.value.clone()).unwrap();
        assert_eq!(of("Smt"), firmware_value::Value::Boolean(false));
        assert_eq!(of("Retries"), firmware_value::Value::Integer(-2));
        assert_eq!(of("Profile"), firmware_value::Value::Text("a=b".into()));
        for (values, why) in [
            (&["Smt=maybe"][..], "on or off"),
            (&["Retries=x"][..], "from 0 to 10, in steps of 2"),
            (&["smt=on"][..], "it has Smt"),
            (&["Smt=on", "Smt=off"][..], "twice"),
        ] {
            let failure = wanted(&firmware(), pairs(values)).unwrap_err();
            assert!(failure.to_string().contains(why), "{failure}");
        }
    }

    #[test]
    fn the_firmware_reads_as_a_card_and_a_table() {
        let mut out = Vec::new();
        card(&firmware()).write(&mut out, Paint::PLAIN).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\
Host         system
Boot order   Boot0001, not tried
             Boot0000  Disk (hdd)
Secure boot  on, not enforced by the last boot, mode user
Next boot    Profile: Balanced -> Fast
Wished by    alice, -
"
        );
        let csv = table(&firmware()).csv();
        assert!(csv.contains("Profile,Balanced,Fast,,\"Balanced, Fast\","), "{csv}");
        assert!(csv.contains("Retries,4,,,\"a whole number from 0 to 10, in steps of 2\","), "{csv}");
    }
}
