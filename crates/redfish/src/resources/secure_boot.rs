//! `SecureBoot` of a system: whether its firmware enforces it, and which keys it has. It is statemgr's (`HostFirmwareService`); the next boot of the host takes
//! what is wished.

use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::Fault;
use crate::privilege::entity;
use crate::resource::{Action, Change, Given, Kind, Names, Parameter, Patch, Property, Resource};
use crate::world::{Need, World};

use super::{bios, name};

const ENABLE: &str = "SecureBootEnable";
const RESET_KEYS_TYPE: &str = "ResetKeysType";

pub(super) static RESOURCE: Resource = Resource {
    patch: Some(Patch {
        properties: &[Property::new(ENABLE, Kind::Bool)],
        apply,
        changes: &[Need::Firmware],
    }),
    actions: &[Action {
        name: "SecureBoot.ResetKeys",
        parameters: &[Parameter {
            property: Property::new(
                RESET_KEYS_TYPE,
                Kind::Enum(&["ResetAllKeysToDefault", "DeleteAllKeys", "DeletePK"]),
            ),
            required: true,
        }],
        is_there: |world, names| Ok(of(world, names)?.is_some()),
        run: |_, names, given| {
            let action = match given.text(RESET_KEYS_TYPE) {
                Some("ResetAllKeysToDefault") => v1::SecureBootKeysAction::ResetAllToDefault,
                Some("DeleteAllKeys") => v1::SecureBootKeysAction::DeleteAll,
                _ => v1::SecureBootKeysAction::DeletePlatformKey,
            };
            Ok(bios::update(&v1::UpdateHostFirmwareRequest {
                secure_boot_keys_action: action.into(),
                ..bios::of_host(names)
            }))
        },
    }],
    fields: &[("secure_boot_enabled", ENABLE), ("secure_boot_keys_action", RESET_KEYS_TYPE)],
    ..Resource::new("Systems/{}/SecureBoot", "SecureBoot.v1_0_0.SecureBoot", &entity::SECURE_BOOT, show)
};

/// The firmware of the system that a path names with its secure boot, if it has that.
fn of<'w>(
    world: &'w World,
    names: Names<'_>,
) -> Result<Option<(&'w v1::HostFirmware, &'w v1::SecureBoot)>, Fault> {
    let firmware = world.firmware_of(name(names, 0))?;
    Ok(firmware.and_then(|firmware| Some((firmware, firmware.secure_boot.as_ref()?))))
}

fn show(world: &World, names: Names<'_>) -> Result<Option<Value>, Fault> {
    let Some((firmware, secure)) = of(world, names)? else { return Ok(None) };
    Ok(Some(json!({
        "Name": "UEFI secure boot",
        "Description": bios::described("Secure boot", firmware),
        // From the next boot on.
        ENABLE: secure.enabled,
        "SecureBootCurrentBoot": if secure.active { "Enabled" } else { "Disabled" },
        "SecureBootMode": match secure.mode() {
            v1::SecureBootMode::Setup => Some("SetupMode"),
            v1::SecureBootMode::User => Some("UserMode"),
            v1::SecureBootMode::Audit => Some("AuditMode"),
            v1::SecureBootMode::Deployed => Some("DeployedMode"),
            v1::SecureBootMode::Unspecified => None,
        },
    })))
}

fn apply(_: &World, names: Names<'_>, given: &Given) -> Vec<Change> {
    let Some(enabled) = given.bool(ENABLE) else { return Vec::new() };
    let request =
        v1::UpdateHostFirmwareRequest { secure_boot_enabled: Some(enabled), ..bios::of_host(names) };
    vec![Change::of(ENABLE, Ok(bios::update(&request)))]
}
