//! What a system can boot from, and in which order that is tried. It is statemgr's (`HostFirmwareService`); the next boot of the host takes what is wished.
//!
//! Of the system itself `Boot` shows the order as statemgr says it with the host (`Host.firmware_settings`): who reads a system waits for no report.

use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::Fault;
use crate::message::base;
use crate::privilege::entity;
use crate::resource::{Change, Given, Kind, Names, Patch, Property, Resource, collection, link, pointer};
use crate::world::{Need, World};

use super::{bios, boot_override, name, said};

const ENABLED: &str = "BootOptionEnabled";
pub(super) const ORDER: &str = "Boot/BootOrder";
/// As many as a firmware has at most (`HostFirmware.boot_options`).
pub(super) const ORDER_PROPERTY: Property = Property::new(ORDER, Kind::Texts(64));

pub(super) static COLLECTION: Resource = Resource::new(
    "Systems/{}/BootOptions",
    "BootOptionCollection.BootOptionCollection",
    &entity::BOOT_OPTION_COLLECTION,
    |world, names| {
        let host = name(names, 0);
        let options = all(world, host)?;
        let uri = |option: &v1::BootOption| format!("/redfish/v1/Systems/{host}/BootOptions/{}", option.name);
        Ok((!options.is_empty()).then(|| collection("Boot options", options.iter().map(uri).collect())))
    },
);

pub(super) static OPTION: Resource = Resource {
    patch: Some(Patch {
        properties: &[Property::new(ENABLED, Kind::Bool)],
        apply: |_, names, given| {
            let Some(enabled) = given.bool(ENABLED) else { return Vec::new() };
            let request = v1::UpdateHostFirmwareRequest {
                boot_options_enabled: [(name(names, 1).to_owned(), enabled)].into(),
                ..bios::of_host(names)
            };
            vec![Change::of(ENABLED, Ok(bios::update(&request)))]
        },
        changes: &[Need::Firmware],
    }),
    fields: &[("boot_options_enabled", ENABLED)],
    ..Resource::new("Systems/{}/BootOptions/{}", "BootOption.v1_0_0.BootOption", &entity::BOOT_OPTION, show)
};

/// The boot options of a host; none where its firmware has none, or has not reported.
fn all<'w>(world: &'w World, host: &str) -> Result<&'w [v1::BootOption], Fault> {
    Ok(world.firmware_of(host)?.map(|firmware| firmware.boot_options.as_slice()).unwrap_or_default())
}

fn show(world: &World, names: Names<'_>) -> Result<Option<Value>, Fault> {
    let options = all(world, name(names, 0))?;
    let Some(option) = options.iter().find(|option| option.name == name(names, 1)) else { return Ok(None) };
    Ok(Some(json!({
        "Name": said(Some(option.display_name.as_str())).unwrap_or(&option.name),
        "BootOptionReference": option.name,
        "DisplayName": said(Some(option.display_name.as_str())),
        "UefiDevicePath": said(Some(option.device_path.as_str())),
        "Alias": match option.alias() {
            v1::BootTarget::Unspecified | v1::BootTarget::None => None,
            target => Some(boot_override::target_name(target)),
        },
        ENABLED: option.enabled,
    })))
}

/// The object `Boot` of a system: the override, and what there is of boot options.
pub(super) fn shown(host: &v1::Host) -> Value {
    let mut boot = boot_override::show(host);
    let order = boot_override::options(host);
    if let Some(map) = boot.as_object_mut().filter(|_| !order.is_empty()) {
        let options = link(&format!("/redfish/v1/Systems/{}/BootOptions", host.name));
        map.insert("BootOptions".to_owned(), options);
        map.insert("BootOrder".to_owned(), json!(order));
        map.insert("BootOrderPropertySelection".to_owned(), json!("BootOrder"));
    }
    boot
}

/// What makes the order so that is given; nothing where none is. It counts by itself: the boot override is told to the firmware by another call.
pub(super) fn ordered(world: &World, names: Names<'_>, given: &Given) -> Vec<Change> {
    if given.get(ORDER).is_none() {
        return Vec::new();
    }
    let wanted = given.texts(ORDER);
    match all(world, name(names, 0)) {
        Ok([]) => return vec![Change::of(ORDER, Err(base::PROPERTY_NOT_WRITABLE.with(&["BootOrder"])))],
        Ok(options) => {
            let is_wrong = |(at, reference): &(usize, &String)| {
                !options.iter().any(|option| option.name == **reference)
                    || wanted.iter().take(*at).any(|before| before == *reference)
            };
            let told = |(at, reference): (usize, &String)| {
                let message = base::PROPERTY_VALUE_NOT_IN_LIST.with(&[reference, "BootOrder"]);
                let message = message.resolved_by("Give references of boot options, each once.");
                Change::of(ORDER, Err(message.about(pointer(ORDER).then(&at.to_string()))))
            };
            let wrong: Vec<Change> = wanted.iter().enumerate().filter(is_wrong).map(told).collect();
            if !wrong.is_empty() {
                return wrong;
            }
        }
        // Its owner says what becomes of it.
        Err(_) => {}
    }
    let request = v1::UpdateHostFirmwareRequest {
        boot_order: Some(v1::BootOrder { names: wanted }),
        ..bios::of_host(names)
    };
    vec![Change::of(ORDER, Ok(bios::update(&request)))]
}
