//! Which settings the firmware of each system has, and what they can be (DSP0268, `AttributeRegistry`): made of what it reports, so each system has its own.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::Fault;
use crate::privilege::entity;
use crate::resource::{Names, Resource};
use crate::world::{ATTRIBUTE_REGISTRY, World};

use super::{bios, name, said};

/// The version of what registries are made of, without the number that stands for what one says.
const VERSION: &str = "1.0";

pub(super) static REGISTRY: Resource = Resource::new(
    "Registries/{}/{}",
    "AttributeRegistry.v1_2_0.AttributeRegistry",
    &entity::ATTRIBUTE_REGISTRY,
    show,
);

/// The ids of the registries there are; none while nobody knows. They stay; what a registry says has a version.
pub(super) fn ids(world: &World) -> Vec<String> {
    let hosts = world.hosts().map(|answer| answer.hosts.as_slice()).unwrap_or_default();
    let named = |host: &v1::Host| format!("{ATTRIBUTE_REGISTRY}{}", host.name);
    hosts.iter().filter(|host| has_attributes(host)).map(named).collect()
}

/// Whether the firmware of a system has settings, as statemgr says with the system: nobody waits for what they are.
fn has_attributes(host: &v1::Host) -> bool {
    host.firmware_settings.as_ref().is_some_and(|settings| settings.has_attributes)
}

/// The name of a registry with its version, without errata (DSP0268, `MessageRegistryFile.Registry`), if there is one of that id.
///
/// # Errors
/// That of statemgr.
pub(super) fn versioned(world: &World, id: &str) -> Result<Option<String>, Fault> {
    let host = id.strip_prefix(ATTRIBUTE_REGISTRY).map(|host| world.host(host)).transpose()?.flatten();
    // A system that is not known to have any may have them: nobody knows that before its firmware has answered.
    let is_there = host.is_some_and(has_attributes) || of(world, id)?.is_some();
    Ok(is_there.then(|| format!("{id}.{VERSION}")))
}

fn of<'w>(world: &'w World, id: &str) -> Result<Option<&'w v1::HostFirmware>, Fault> {
    let Some(host) = id.strip_prefix(ATTRIBUTE_REGISTRY) else { return Ok(None) };
    Ok(world.firmware_of(host)?.filter(|firmware| !firmware.attributes.is_empty()))
}

fn show(world: &World, names: Names<'_>) -> Result<Option<Value>, Fault> {
    let id = name(names, 0);
    if name(names, 1) != id {
        return Ok(None);
    }
    let Some(firmware) = of(world, id)? else { return Ok(None) };
    let attributes = firmware.attributes.iter().enumerate().map(|(at, one)| entry(at, one));
    let entries = json!({"Attributes": attributes.collect::<Vec<_>>(), "Menus": menus(firmware)});
    let host = firmware.host_name.as_str();
    // DSP0268: an id of a system is of letters and digits here.
    let is_id = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric());
    Ok(Some(json!({
        "Name": format!("BIOS attributes of {host}"),
        "Description": "What can be set, as the firmware reports it",
        "Language": "en",
        // Another one wherever it says something else.
        "RegistryVersion": format!("{VERSION}.{}", number(&entries)),
        "OwningEntity": super::log::REGISTRY.owner,
        "SupportedSystems": is_id.then(|| json!([{"SystemId": host}])),
        "RegistryEntries": entries,
    })))
}

/// A number that stands for what a registry says: with up to nine digits, as a version has.
fn number(entries: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    entries.hash(&mut hasher);
    hasher.finish() % 1_000_000_000
}

fn entry(at: usize, attribute: &v1::FirmwareAttribute) -> Value {
    let kind = match attribute.r#type() {
        v1::FirmwareAttributeType::Enumeration => Some("Enumeration"),
        v1::FirmwareAttributeType::String => Some("String"),
        v1::FirmwareAttributeType::Integer => Some("Integer"),
        v1::FirmwareAttributeType::Boolean => Some("Boolean"),
        v1::FirmwareAttributeType::Unspecified => None,
    };
    let choice = |choice: &v1::FirmwareChoice| {
        let display = said(Some(choice.display_name.as_str())).unwrap_or(&choice.name);
        json!({"ValueName": choice.name, "ValueDisplayName": display})
    };
    let choices: Vec<Value> = attribute.choices.iter().map(choice).collect();
    json!({
        "AttributeName": attribute.name,
        "DisplayName": said(Some(attribute.display_name.as_str())).unwrap_or(&attribute.name),
        "DisplayOrder": at,
        "HelpText": said(Some(attribute.help.as_str())),
        "MenuPath": is_menu(&attribute.menu_path).then_some(&attribute.menu_path),
        "Type": kind,
        // A text that says nothing is no value to the registry's readers.
        "DefaultValue": Some(bios::shown(attribute.default_value.as_ref())).filter(|value| *value != json!("")),
        "ReadOnly": attribute.read_only,
        // No setting counts before the next boot.
        "ResetRequired": (!attribute.read_only).then_some(true),
        "Value": (!choices.is_empty()).then_some(choices),
        "LowerBound": attribute.lower_bound,
        "UpperBound": attribute.upper_bound,
        "ScalarIncrement": attribute.step,
        "MinLength": attribute.min_length,
        "MaxLength": attribute.max_length,
    })
}

/// Whether a text is a path of menus as DSP0268 wants it: `./Processor/Cores`, or `./`.
fn is_menu(path: &str) -> bool {
    path.strip_prefix("./")
        .is_some_and(|names| names.is_empty() || names.split('/').all(|name| !name.is_empty()))
}

/// The menus in which attributes are, in their order, each after the one it is in.
fn menus(firmware: &v1::HostFirmware) -> Vec<Value> {
    let mut known = BTreeSet::new();
    let mut out = Vec::new();
    for attribute in firmware.attributes.iter().filter(|attribute| is_menu(&attribute.menu_path)) {
        let mut path = ".".to_owned();
        for menu in attribute.menu_path.split('/').skip(1).filter(|name| !name.is_empty()) {
            path.push('/');
            path.push_str(menu);
            if known.insert(path.clone()) {
                let at = out.len();
                out.push(
                    json!({"MenuName": menu, "DisplayName": menu, "DisplayOrder": at, "MenuPath": path}),
                );
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> v1::FirmwareAttribute {
        v1::FirmwareAttribute { name: "A".into(), menu_path: path.into(), ..Default::default() }
    }

    #[test]
    fn menus_are_those_of_the_attributes_each_once_and_after_its_parent() {
        let paths =
            ["./Processor/Cores", "./Processor", "./", "", "Memory", "./a//b", "./Boot", "./Processor/Cores"];
        let firmware = v1::HostFirmware { attributes: paths.map(at).to_vec(), ..Default::default() };
        let menus = menus(&firmware);
        let named: Vec<(&str, &str)> = menus
            .iter()
            .filter_map(|menu| Some((menu["MenuPath"].as_str()?, menu["MenuName"].as_str()?)))
            .collect();
        assert_eq!(named, [("./Processor", "Processor"), ("./Processor/Cores", "Cores"), ("./Boot", "Boot")]);
        for (path, is_shown) in
            [("./", true), ("./Boot", true), ("Memory", false), ("./a//b", false), ("", false)]
        {
            assert_eq!(!entry(0, &at(path))["MenuPath"].is_null(), is_shown, "{path}");
        }
    }
}
