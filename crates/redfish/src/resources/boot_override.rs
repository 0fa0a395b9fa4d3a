//! `Boot` of a system: what statemgr (`HostService`) tells the host's firmware to boot from.

use prost_types::FieldMask;
use schema::rpc::host_service;
use schema::v1alpha1 as v1;
use serde_json::{Value, json};

use crate::message::base;
use crate::resource::{Change, Given, Kind, Property};
use crate::world::Call;

use super::said;

pub(super) const TARGET: &str = "Boot/BootSourceOverrideTarget";
pub(super) const ENABLED: &str = "Boot/BootSourceOverrideEnabled";
pub(super) const MODE: &str = "Boot/BootSourceOverrideMode";
pub(super) const HTTP_BOOT_URI: &str = "Boot/HttpBootUri";
pub(super) const UEFI_TARGET: &str = "Boot/UefiTargetBootSourceOverride";
pub(super) const BOOT_NEXT: &str = "Boot/BootNext";

/// What a PATCH may give, and where it stands in the contract.
const FIELDS: [(&str, &str); 6] = [
    (TARGET, "boot_override.target"),
    (ENABLED, "boot_override.enabled"),
    (MODE, "boot_override.mode"),
    (HTTP_BOOT_URI, "boot_override.http_boot_uri"),
    (UEFI_TARGET, "boot_override.uefi_target"),
    (BOOT_NEXT, "boot_override.boot_next"),
];

/// A target without what it was to be enabled for, or the other way round, is another boot than was asked for.
pub(super) const TOGETHER: &[&str] = &[TARGET, ENABLED, MODE, HTTP_BOOT_URI, UEFI_TARGET, BOOT_NEXT];

pub(super) const TARGET_PROPERTY: Property = Property::new(
    TARGET,
    Kind::Enum(&[
        "None",
        "Pxe",
        "Hdd",
        "Cd",
        "Usb",
        "BiosSetup",
        "Diags",
        "UefiHttp",
        "UefiTarget",
        "UefiBootNext",
    ]),
);
pub(super) const ENABLED_PROPERTY: Property =
    Property::new(ENABLED, Kind::Enum(&["Disabled", "Once", "Continuous"]));
/// Null: as the firmware is set, which is what it is shown as where nothing else is asked for.
pub(super) const MODE_PROPERTY: Property =
    Property { path: MODE, kind: Kind::Enum(&["UEFI", "Legacy"]), nullable: true };
/// Its name, whose null is shown: clients set what they see, and send back what they have read (redfishtool).
pub(super) const MODE_NULL: &str = "BootSourceOverrideMode";
pub(super) const HTTP_BOOT_URI_PROPERTY: Property =
    Property { path: HTTP_BOOT_URI, kind: Kind::Text(1024), nullable: true };
pub(super) const UEFI_TARGET_PROPERTY: Property =
    Property { path: UEFI_TARGET, kind: Kind::Text(512), nullable: true };
pub(super) const BOOT_NEXT_PROPERTY: Property =
    Property { path: BOOT_NEXT, kind: Kind::Text(64), nullable: true };

/// Their null says that there is such a thing and nothing is chosen.
pub(super) const NULLS: [&str; 3] = ["HttpBootUri", "UefiTargetBootSourceOverride", "BootNext"];

pub(super) fn target_name(target: v1::BootTarget) -> &'static str {
    match target {
        v1::BootTarget::Unspecified | v1::BootTarget::None => "None",
        v1::BootTarget::Pxe => "Pxe",
        v1::BootTarget::Hdd => "Hdd",
        v1::BootTarget::Cd => "Cd",
        v1::BootTarget::Usb => "Usb",
        v1::BootTarget::BiosSetup => "BiosSetup",
        v1::BootTarget::Diags => "Diags",
        v1::BootTarget::UefiHttp => "UefiHttp",
        v1::BootTarget::UefiTarget => "UefiTarget",
        v1::BootTarget::UefiBootNext => "UefiBootNext",
    }
}

fn enabled_name(enabled: v1::BootOverrideEnabled) -> &'static str {
    match enabled {
        v1::BootOverrideEnabled::Once => "Once",
        v1::BootOverrideEnabled::Continuous => "Continuous",
        v1::BootOverrideEnabled::Disabled | v1::BootOverrideEnabled::Unspecified => "Disabled",
    }
}

/// The names of the boot options of a host in the order in which they are tried; none where nothing is known of them.
pub(super) fn options(host: &v1::Host) -> &[String] {
    host.firmware_settings.as_ref().map(|settings| settings.boot_order.as_slice()).unwrap_or_default()
}

fn mode_name(mode: v1::BootMode) -> Option<&'static str> {
    match mode {
        v1::BootMode::Uefi => Some("UEFI"),
        v1::BootMode::Legacy => Some("Legacy"),
        v1::BootMode::Unspecified => None,
    }
}

/// The modes that a client may give: what the firmware has, and what is chosen, which is sent back with a target by those who change that alone.
fn modes(boot: &v1::BootOverride) -> Vec<&'static str> {
    let is_given = |mode: v1::BootMode| mode == boot.mode() || boot.supported_modes().any(|one| one == mode);
    [v1::BootMode::Uefi, v1::BootMode::Legacy]
        .into_iter()
        .filter(|mode| is_given(*mode))
        .filter_map(mode_name)
        .collect()
}

/// What is about the override in the object `Boot`.
pub(super) fn show(host: &v1::Host) -> Value {
    let Some(boot) = &host.boot_override else {
        // No way leads to the host's firmware, so nothing can be overridden: that is what this says.
        return json!({
            "BootSourceOverrideEnabled": "Disabled",
            "BootSourceOverrideEnabled@Redfish.AllowableValues": ["Disabled"],
            "BootSourceOverrideTarget": "None",
            "BootSourceOverrideTarget@Redfish.AllowableValues": ["None"],
        });
    };
    let supported: Vec<&str> = boot.supported_targets().map(target_name).collect();
    let mut out = json!({
        "BootSourceOverrideEnabled": enabled_name(boot.enabled()),
        "BootSourceOverrideEnabled@Redfish.AllowableValues": ["Disabled", "Once", "Continuous"],
        "BootSourceOverrideTarget": target_name(boot.target()),
        "BootSourceOverrideTarget@Redfish.AllowableValues": supported,
        "BootSourceOverrideMode": mode_name(boot.mode()),
        "BootSourceOverrideMode@Redfish.AllowableValues": modes(boot),
    });
    let [uri, path, next] = NULLS;
    let arguments = [
        ("UefiHttp", uri, &boot.http_boot_uri),
        ("UefiTarget", path, &boot.uefi_target),
        ("UefiBootNext", next, &boot.boot_next),
    ];
    if let Some(map) = out.as_object_mut() {
        for (_, name, value) in arguments.iter().filter(|(target, ..)| supported.contains(target)) {
            map.insert((*name).to_owned(), json!(said(Some(value.as_str()))));
        }
        if map.contains_key(next) && !options(host).is_empty() {
            map.insert(format!("{next}@Redfish.AllowableValues"), json!(options(host)));
        }
    }
    out
}

/// The call that makes what was given so: one for all of it, as one without the other is not what was wanted.
///
/// A target alone means the next boot: it would have no effect while the override is disabled (DSP0268, `BootSourceOverrideEnabled`), and nobody asks for
/// that.
pub(super) fn changes(host: Option<&v1::Host>, id: &str, given: &Given) -> Vec<Change> {
    let wanted = || FIELDS.iter().filter(|(path, _)| given.get(path).is_some());
    let properties: Vec<&'static str> = wanted().map(|(path, _)| *path).collect();
    if properties.is_empty() {
        return Vec::new();
    }
    let Some(now) = host.and_then(|host| host.boot_override.as_ref()) else { return refused(given) };
    let target = given.text(TARGET);
    if let Some(name) = target
        && !now.supported_targets().any(|supported| target_name(supported) == name)
    {
        return vec![not_in_list(TARGET, name)];
    }
    let known = host.map(options).unwrap_or_default();
    let next = given.text(BOOT_NEXT).filter(|next| !next.is_empty());
    if let Some(next) = next.filter(|next| !known.is_empty() && !known.iter().any(|name| name == next)) {
        return vec![not_in_list(BOOT_NEXT, next)];
    }
    if let Some(name) = given.text(MODE).filter(|name| !modes(now).contains(name)) {
        return vec![not_in_list(MODE, name)];
    }
    let mut paths: Vec<String> = wanted().map(|(_, field)| (*field).to_owned()).collect();
    let target = target.and_then(|name| now.supported_targets().find(|target| target_name(*target) == name));
    let mut enabled = match given.text(ENABLED) {
        Some("Once") => v1::BootOverrideEnabled::Once,
        Some("Continuous") => v1::BootOverrideEnabled::Continuous,
        _ => v1::BootOverrideEnabled::Disabled,
    };
    let is_chosen = target.is_some_and(|target| target != v1::BootTarget::None);
    let is_disabled = enabled_name(now.enabled()) == "Disabled";
    if given.get(ENABLED).is_none() && is_chosen && is_disabled {
        enabled = v1::BootOverrideEnabled::Once;
        paths.push("boot_override.enabled".to_owned());
    }
    let text = |path: &str| given.text(path).unwrap_or_default().to_owned();
    let boot = v1::BootOverride {
        target: target.unwrap_or(v1::BootTarget::None).into(),
        enabled: enabled.into(),
        mode: match given.text(MODE) {
            Some("UEFI") => v1::BootMode::Uefi,
            Some(_) => v1::BootMode::Legacy,
            None => v1::BootMode::Unspecified,
        }
        .into(),
        http_boot_uri: text(HTTP_BOOT_URI),
        uefi_target: text(UEFI_TARGET),
        boot_next: text(BOOT_NEXT),
        ..v1::BootOverride::default()
    };
    let request = v1::UpdateHostRequest {
        host_name: id.to_owned(),
        host: Some(v1::Host { boot_override: Some(boot), ..v1::Host::default() }),
        field_mask: Some(FieldMask { paths }),
    };
    vec![Change { properties, call: Ok(Call::new(host_service::UPDATE_HOST, &request)) }]
}

/// What is said where nothing can be overridden: what is so already is taken.
fn refused(given: &Given) -> Vec<Change> {
    let mut out = Vec::new();
    for (path, _) in FIELDS {
        match (path, given.text(path)) {
            (TARGET, Some("None")) | (ENABLED, Some("Disabled")) => {}
            (TARGET | ENABLED, Some(value)) => out.push(not_in_list(path, value)),
            _ if given.get(path).is_none() => {}
            _ => out.push(Change::of(path, Err(base::PROPERTY_NOT_WRITABLE.with(&[last(path)])))),
        }
    }
    out
}

fn not_in_list(path: &'static str, value: &str) -> Change {
    Change::of(path, Err(base::PROPERTY_VALUE_NOT_IN_LIST.with(&[value, last(path)])))
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
