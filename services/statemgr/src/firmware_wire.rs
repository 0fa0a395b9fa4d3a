//! The settings of a host's firmware in the contract, and back.

use host_firmware::{Alias, Attribute, Kind, Refusal, Report, ResetKeys, SecureBootMode, Value, Wishes};
use ipc::{BadFields, Status};
use prost::Message;
use schema::v1alpha1 as v1;

use crate::store::{FirmwareRecord, PendingRecord};

/// What a request wishes, and the id that has to be pending for it; empty: any.
///
/// # Errors
/// `INVALID_ARGUMENT` about all values that are not given, or an action that is none.
pub(crate) fn change(request: v1::UpdateHostFirmwareRequest) -> Result<(Wishes, String), Status> {
    let mut bad = BadFields::default();
    let mut change = Wishes { to_defaults: request.reset_to_defaults, ..Wishes::default() };
    // In the order of their names, so that the same request is told the same.
    let given: std::collections::BTreeMap<_, _> = request.attributes.into_iter().collect();
    for (name, given) in given {
        match given.value {
            Some(given) => {
                change.attributes.insert(name, value(given));
            }
            None => bad.add(format!("attributes.{name}"), "a value has to be given"),
        }
    }
    change.boot_order = request.boot_order.map(|order| order.names);
    change.boot_options = request.boot_options_enabled.into_iter().collect();
    change.secure_boot = request.secure_boot_enabled;
    change.reset_keys = match v1::SecureBootKeysAction::try_from(request.secure_boot_keys_action) {
        Ok(v1::SecureBootKeysAction::Unspecified) => None,
        Ok(v1::SecureBootKeysAction::ResetAllToDefault) => Some(ResetKeys::AllToDefault),
        Ok(v1::SecureBootKeysAction::DeleteAll) => Some(ResetKeys::DeleteAll),
        Ok(v1::SecureBootKeysAction::DeletePlatformKey) => Some(ResetKeys::DeletePlatformKey),
        Err(_) => {
            bad.add("secure_boot_keys_action", format!("{} is no action", request.secure_boot_keys_action));
            None
        }
    };
    bad.check()?;
    Ok((change, request.pending_id))
}

/// All that is wrong with a change. `given`: whether it is about secure boot, and about its keys.
pub(crate) fn refused(refusals: Vec<Refusal>, given: (bool, bool)) -> Status {
    let mut bad = BadFields::default();
    for refusal in refusals {
        match refusal {
            Refusal::UnknownAttribute(name) => {
                bad.add(format!("attributes.{name}"), "the firmware has no such attribute");
            }
            Refusal::ReadOnly(name) => {
                bad.add(format!("attributes.{name}"), "the firmware shows it only: it cannot be set");
            }
            Refusal::Value { attribute, why } => bad.add(format!("attributes.{attribute}"), why),
            Refusal::Order(name) => {
                let why = format!("{name:?} is no boot option of the firmware, or is named twice");
                bad.add("boot_order", why);
            }
            Refusal::UnknownBootOption(name) => {
                bad.add(format!("boot_options_enabled.{name}"), "the firmware has no such boot option");
            }
            Refusal::NoSecureBoot => {
                let fields = [("secure_boot_enabled", given.0), ("secure_boot_keys_action", given.1)];
                for (field, _) in fields.into_iter().filter(|(_, is_given)| *is_given) {
                    bad.add(field, "the firmware has no secure boot");
                }
            }
        }
    }
    bad.into()
}

/// The firmware of a host as clients see it.
pub(crate) fn to_wire(
    host: &str,
    report: &Report,
    record: &FirmwareRecord,
    is_stale: bool,
) -> v1::HostFirmware {
    let nothing = PendingRecord::default();
    let pending = record.pending.as_ref();
    let PendingRecord { wishes, username, wished_ms } = pending.unwrap_or(&nothing);
    let applied = record.applied.as_ref();
    let order = wishes.boot_order.as_ref().map(|order| report.ordered(order));
    v1::HostFirmware {
        host_name: host.to_owned(),
        attributes: report.attributes.iter().map(|attribute| to_attribute(attribute, wishes)).collect(),
        boot_options: report.boot_options.iter().map(|option| to_boot_option(option, wishes)).collect(),
        boot_order: order.unwrap_or_else(|| report.boot_order.clone()),
        secure_boot: report.secure_boot.map(|secure| v1::SecureBoot {
            enabled: wishes.secure_boot.unwrap_or(secure.enabled),
            active: secure.active,
            mode: to_mode(secure.mode).into(),
            pending_keys_action: wishes
                .reset_keys
                .map_or(v1::SecureBootKeysAction::Unspecified, to_keys_action)
                .into(),
        }),
        pending_id: wishes.id.clone(),
        resets_to_defaults: wishes.to_defaults,
        pending_by: username.clone(),
        pending_at: pending.map(|_| schema::time::timestamp(*wished_ms)),
        applied_at: applied.map(|applied| schema::time::timestamp(applied.learned_ms)),
        refusals: applied
            .into_iter()
            .flat_map(|applied| &applied.refusals)
            .map(|refusal| v1::FirmwareRefusal { what: refusal.what.clone(), why: refusal.why.clone() })
            .collect(),
        stale: is_stale,
    }
}

/// What a host shows of its firmware.
pub(crate) fn summary(report: &Report, wishes: Option<&Wishes>) -> v1::HostFirmwareSummary {
    let order = wishes.and_then(|wishes| wishes.boot_order.as_ref());
    v1::HostFirmwareSummary {
        has_attributes: !report.attributes.is_empty(),
        has_secure_boot: report.secure_boot.is_some(),
        boot_order: order.map_or_else(|| report.boot_order.clone(), |order| report.ordered(order)),
    }
}

/// How many bytes the answer with a report has, with nothing wished.
pub(crate) fn bytes(report: &Report) -> usize {
    to_wire("", report, &FirmwareRecord::default(), false).encoded_len()
}

fn to_attribute(attribute: &Attribute, wishes: &Wishes) -> v1::FirmwareAttribute {
    let by_default = wishes.to_defaults && !attribute.read_only && attribute.default != attribute.current;
    let pending = wishes.attributes.get(&attribute.name);
    let pending = pending.or_else(|| by_default.then_some(&attribute.default));
    let mut wire = v1::FirmwareAttribute {
        name: attribute.name.clone(),
        display_name: attribute.display_name.clone(),
        help: attribute.help.clone(),
        menu_path: attribute.menu_path.clone(),
        current: Some(to_value(&attribute.current)),
        default_value: Some(to_value(&attribute.default)),
        pending: pending.map(to_value),
        read_only: attribute.read_only,
        ..v1::FirmwareAttribute::default()
    };
    let kind = match &attribute.kind {
        Kind::Enumeration { choices } => {
            let choice = |choice: &host_firmware::Choice| v1::FirmwareChoice {
                name: choice.name.clone(),
                display_name: choice.display_name.clone(),
            };
            wire.choices = choices.iter().map(choice).collect();
            v1::FirmwareAttributeType::Enumeration
        }
        Kind::Text { shortest, longest } => {
            (wire.min_length, wire.max_length) = (Some(*shortest), Some(*longest));
            v1::FirmwareAttributeType::String
        }
        Kind::Integer { lower, upper, step } => {
            (wire.lower_bound, wire.upper_bound, wire.step) = (Some(*lower), Some(*upper), Some(*step));
            v1::FirmwareAttributeType::Integer
        }
        Kind::Boolean => v1::FirmwareAttributeType::Boolean,
    };
    wire.r#type = kind.into();
    wire
}

fn to_boot_option(option: &host_firmware::BootOption, wishes: &Wishes) -> v1::BootOption {
    v1::BootOption {
        name: option.name.clone(),
        display_name: option.display_name.clone(),
        device_path: option.device_path.clone(),
        alias: option.alias.map_or(v1::BootTarget::Unspecified, to_target).into(),
        enabled: wishes.boot_options.get(&option.name).copied().unwrap_or(option.enabled),
    }
}

fn to_target(alias: Alias) -> v1::BootTarget {
    match alias {
        Alias::Hdd => v1::BootTarget::Hdd,
        Alias::Cd => v1::BootTarget::Cd,
        Alias::Usb => v1::BootTarget::Usb,
        Alias::Pxe => v1::BootTarget::Pxe,
        Alias::UefiHttp => v1::BootTarget::UefiHttp,
        Alias::BiosSetup => v1::BootTarget::BiosSetup,
        Alias::Diags => v1::BootTarget::Diags,
    }
}

fn to_mode(mode: SecureBootMode) -> v1::SecureBootMode {
    match mode {
        SecureBootMode::Setup => v1::SecureBootMode::Setup,
        SecureBootMode::User => v1::SecureBootMode::User,
        SecureBootMode::Audit => v1::SecureBootMode::Audit,
        SecureBootMode::Deployed => v1::SecureBootMode::Deployed,
    }
}

fn to_keys_action(keys: ResetKeys) -> v1::SecureBootKeysAction {
    match keys {
        ResetKeys::AllToDefault => v1::SecureBootKeysAction::ResetAllToDefault,
        ResetKeys::DeleteAll => v1::SecureBootKeysAction::DeleteAll,
        ResetKeys::DeletePlatformKey => v1::SecureBootKeysAction::DeletePlatformKey,
    }
}

fn to_value(value: &Value) -> v1::FirmwareValue {
    use v1::firmware_value::Value as Wire;
    let value = match value {
        Value::Boolean(on) => Wire::Boolean(*on),
        Value::Integer(number) => Wire::Integer(*number),
        Value::Text(text) => Wire::Text(text.clone()),
    };
    v1::FirmwareValue { value: Some(value) }
}

fn value(value: v1::firmware_value::Value) -> Value {
    use v1::firmware_value::Value as Wire;
    match value {
        Wire::Boolean(on) => Value::Boolean(on),
        Wire::Integer(number) => Value::Integer(number),
        Wire::Text(text) => Value::Text(text),
    }
}
