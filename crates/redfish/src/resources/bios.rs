//! `Bios` of a system: the settings of its firmware, and below it the resource that takes other ones (DSP0266, "Settings resource"). They are statemgr's
//! (`HostFirmwareService`): the firmware reports them, and the next boot of the host takes what is wished.

use schema::rpc::host_firmware_service;
use schema::v1alpha1 as v1;
use schema::v1alpha1::firmware_value::Value as Set;
use serde_json::{Map, Value, json};

use crate::body::{as_text, has_fraction, is_annotation, whole};
use crate::message::base;
use crate::privilege::entity;
use crate::resource::{Action, Change, Given, Kind, Names, Patch, Property, Resource, link, pointer};
use crate::world::{ATTRIBUTE_REGISTRY as REGISTRY, Call, Need, World};
use crate::{Fault, Message};

use super::name;

const KIND: &str = "Bios.v1_2_0.Bios";
/// The name of the resource that takes other settings.
const SETTINGS_NAME: &str = "Settings";
const ATTRIBUTES: &str = "Attributes";
const APPLY_TIME: &str = "@Redfish.SettingsApplyTime/ApplyTime";
/// The only time: no firmware takes anything while the system runs.
const APPLY_TIMES: &[&str] = &["OnReset"];
/// Most attributes that are judged at once: as many as a firmware has at most (`HostFirmware.attributes`).
const ATTRIBUTES_MAX: usize = 512;

pub(super) static RESOURCE: Resource = Resource {
    settings: Some(SETTINGS_NAME),
    actions: &[Action {
        name: "Bios.ResetBios",
        parameters: &[],
        is_there: |world, names| Ok(of(world, names)?.is_some()),
        run: |_, names, _| {
            Ok(update(&v1::UpdateHostFirmwareRequest { reset_to_defaults: true, ..of_host(names) }))
        },
    }],
    ..Resource::new("Systems/{}/Bios", KIND, &entity::BIOS, show)
};

/// All attributes of a PATCH are one change, at the time that it names: some of them, or at another time, is not what was asked for.
pub(super) static SETTINGS: Resource = Resource {
    patch: Some(Patch {
        properties: &[
            Property::new(ATTRIBUTES, Kind::Attributes),
            Property::new(APPLY_TIME, Kind::Enum(APPLY_TIMES)),
        ],
        apply,
        changes: &[Need::Firmware],
    }),
    together: &[&[ATTRIBUTES, APPLY_TIME]],
    fields: &[("attributes", ATTRIBUTES)],
    ..Resource::new("Systems/{}/Bios/Settings", KIND, &entity::BIOS, show_settings)
};

/// A change of the firmware of the system that a path names, in which nothing is changed.
pub(super) fn of_host(names: Names<'_>) -> v1::UpdateHostFirmwareRequest {
    v1::UpdateHostFirmwareRequest {
        host_name: name(names, 0).to_owned(),
        ..v1::UpdateHostFirmwareRequest::default()
    }
}

/// The call that asks for it.
pub(super) fn update(request: &v1::UpdateHostFirmwareRequest) -> Call {
    Call::new(host_firmware_service::UPDATE_HOST_FIRMWARE, request)
}

/// What is said of where the values come from. No property of these resources says that they are old.
pub(super) fn described(what: &str, firmware: &v1::HostFirmware) -> String {
    if firmware.stale {
        format!("{what} as the firmware last reported it; it does not answer now")
    } else {
        format!("{what} as the firmware reports it")
    }
}

/// The firmware of the system that a path names, if it has settings.
fn of<'w>(world: &'w World, names: Names<'_>) -> Result<Option<&'w v1::HostFirmware>, Fault> {
    Ok(world.firmware_of(name(names, 0))?.filter(|firmware| !firmware.attributes.is_empty()))
}

/// A value as Redfish has it; null where there is none.
pub(super) fn shown(value: Option<&v1::FirmwareValue>) -> Value {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Set::Text(text)) => json!(text),
        Some(Set::Integer(number)) => json!(number),
        Some(Set::Boolean(switch)) => json!(switch),
        None => Value::Null,
    }
}

/// What the next boot leaves an attribute as.
fn future<'f>(
    firmware: &v1::HostFirmware,
    attribute: &'f v1::FirmwareAttribute,
) -> Option<&'f v1::FirmwareValue> {
    let is_reset = firmware.resets_to_defaults && !attribute.read_only;
    let otherwise = if is_reset { &attribute.default_value } else { &attribute.current };
    attribute.pending.as_ref().or(otherwise.as_ref())
}

/// The object `Attributes`.
fn attributes<'f>(
    firmware: &'f v1::HostFirmware,
    value: impl Fn(&'f v1::FirmwareAttribute) -> Option<&'f v1::FirmwareValue>,
) -> Value {
    let entry = |attribute: &'f v1::FirmwareAttribute| (attribute.name.clone(), shown(value(attribute)));
    Value::Object(firmware.attributes.iter().map(entry).collect())
}

fn show(world: &World, names: Names<'_>) -> Result<Option<Value>, Fault> {
    let Some(firmware) = of(world, names)? else { return Ok(None) };
    let host = name(names, 0);
    Ok(Some(json!({
        "Name": "BIOS",
        "Description": described("The BIOS", firmware),
        "AttributeRegistry": format!("{REGISTRY}{host}"),
        "Attributes": attributes(firmware, |attribute| attribute.current.as_ref()),
        "ResetBiosToDefaultsPending": firmware.resets_to_defaults,
        "@Redfish.Settings": {
            "@odata.type": "#Settings.v1_1_0.Settings",
            "SettingsObject": link(&format!("/redfish/v1/Systems/{host}/Bios/{SETTINGS_NAME}")),
            "SupportedApplyTimes": APPLY_TIMES,
            "Time": firmware.applied_at.map(|at| at.to_string()),
            "Messages": firmware.refusals.iter().map(|refusal| not_taken(firmware, refusal)).collect::<Vec<_>>(),
        },
    })))
}

/// What is said of what a boot has not taken. Not all of it is an attribute of today.
fn not_taken(firmware: &v1::HostFirmware, refusal: &v1::FirmwareRefusal) -> Value {
    let message = base::PROPERTY_VALUE_ERROR.with(&[&refusal.what]).resolved_by(&refusal.why);
    let is_attribute = firmware.attributes.iter().any(|attribute| attribute.name == refusal.what);
    if is_attribute {
        message.about(pointer(ATTRIBUTES).then(&refusal.what)).to_json()
    } else {
        message.to_json()
    }
}

fn show_settings(world: &World, names: Names<'_>) -> Result<Option<Value>, Fault> {
    let Some(firmware) = of(world, names)? else { return Ok(None) };
    Ok(Some(json!({
        "Name": "BIOS after the next boot",
        "Description": "The BIOS as the next boot of the system leaves it, and what takes other settings",
        "AttributeRegistry": format!("{REGISTRY}{}", name(names, 0)),
        "Attributes": attributes(firmware, |attribute| future(firmware, attribute)),
        "ResetBiosToDefaultsPending": firmware.resets_to_defaults,
        "@Redfish.SettingsApplyTime": {
            "@odata.type": "#Settings.v1_1_0.PreferredApplyTime",
            "ApplyTime": APPLY_TIMES.first(),
            "ApplyTime@Redfish.AllowableValues": APPLY_TIMES,
        },
    })))
}

/// One call for all attributes, or what is wrong with them.
fn apply(world: &World, names: Names<'_>, given: &Given) -> Vec<Change> {
    // Without attributes nothing is to be applied, at whatever time.
    let (Some(Value::Object(wanted)), Ok(Some(firmware))) = (given.get(ATTRIBUTES), of(world, names)) else {
        return Vec::new();
    };
    match judged(firmware, wanted) {
        Ok(attributes) if attributes.is_empty() => Vec::new(),
        Ok(attributes) => {
            let request = v1::UpdateHostFirmwareRequest {
                attributes: attributes.into_iter().collect(),
                ..of_host(names)
            };
            vec![Change::of(ATTRIBUTES, Ok(update(&request)))]
        }
        Err(wrong) => wrong.into_iter().map(|message| Change::of(ATTRIBUTES, Err(message))).collect(),
    }
}

/// What is to be wished.
///
/// # Errors
/// A message for each that cannot be, and for each of the others that would be another than it is.
fn judged(
    firmware: &v1::HostFirmware,
    wanted: &Map<String, Value>,
) -> Result<Vec<(String, v1::FirmwareValue)>, Vec<Message>> {
    let wanted: Vec<(&String, &Value)> =
        wanted.iter().filter(|(attribute, _)| !is_annotation(attribute)).collect();
    if wanted.len() > ATTRIBUTES_MAX {
        let why = format!("Give {ATTRIBUTES_MAX} attributes at most.");
        return Err(vec![base::PROPERTY_VALUE_ERROR.with(&[ATTRIBUTES]).resolved_by(&why)]);
    }
    let find = |name: &str| firmware.attributes.iter().find(|attribute| attribute.name == name);
    let about = |name: &str, message: Message| message.about(pointer(ATTRIBUTES).then(name));
    let (mut wishes, mut wrong) = (Vec::new(), Vec::new());
    for (name, value) in &wanted {
        match find(name).ok_or_else(|| base::PROPERTY_UNKNOWN.with(&[name])).and_then(|of| wish(of, value)) {
            Ok(wish) => wishes.extend(wish.map(|wish| ((*name).clone(), wish))),
            Err(message) => wrong.push((*name, message)),
        }
    }
    let Some((bad, _)) = wrong.first() else { return Ok(wishes) };
    let bad = *bad;
    // What comes back as it is shown says nothing.
    let is_news = |(name, wish): &&(String, v1::FirmwareValue)| {
        find(name).and_then(|attribute| future(firmware, attribute)) != Some(wish)
    };
    let others = wishes
        .iter()
        .filter(is_news)
        .map(|(name, _)| about(name, base::PROPERTY_VALUE_CONFLICT.with(&[name, bad])));
    let others: Vec<Message> = others.collect();
    Err(wrong.into_iter().map(|(name, message)| about(name, message)).chain(others).collect())
}

/// A value that was given for an attribute, as the contract has it; `None` for one that is shown only and comes back as it was.
fn wish(attribute: &v1::FirmwareAttribute, value: &Value) -> Result<Option<v1::FirmwareValue>, Message> {
    let name = attribute.name.as_str();
    let given = as_text(value);
    if attribute.read_only {
        let is_as_shown = shown(attribute.current.as_ref()) == *value;
        return if is_as_shown { Ok(None) } else { Err(base::PROPERTY_NOT_WRITABLE.with(&[name])) };
    }
    let set = match (attribute.r#type(), value) {
        (v1::FirmwareAttributeType::Enumeration, Value::String(text)) => {
            if !attribute.choices.iter().any(|choice| choice.name == *text) {
                return Err(base::PROPERTY_VALUE_NOT_IN_LIST.with(&[&given, name]));
            }
            Set::Text(text.clone())
        }
        (v1::FirmwareAttributeType::String, Value::String(text)) => {
            let length = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
            let (least, most) = (attribute.min_length.unwrap_or(0), attribute.max_length.unwrap_or(u32::MAX));
            if length < least {
                return Err(base::STRING_VALUE_TOO_SHORT.with(&[&given, &least.to_string()]));
            }
            if length > most {
                return Err(base::STRING_VALUE_TOO_LONG.with(&[&given, &most.to_string()]));
            }
            if text.contains(char::is_control) {
                return Err(base::PROPERTY_VALUE_FORMAT_ERROR.with(&[&given, name]));
            }
            Set::Text(text.clone())
        }
        (v1::FirmwareAttributeType::Integer, Value::Number(number)) if !has_fraction(number) => {
            match whole(number).filter(|number| is_within(attribute, *number)) {
                Some(number) => Set::Integer(number),
                None => {
                    let message = base::PROPERTY_VALUE_OUT_OF_RANGE.with(&[&given, name]);
                    return Err(message.resolved_by(&bounds(attribute)));
                }
            }
        }
        (v1::FirmwareAttributeType::Boolean, Value::Bool(switch)) => Set::Boolean(*switch),
        _ => return Err(base::PROPERTY_VALUE_TYPE_ERROR.with(&[&given, name])),
    };
    Ok(Some(v1::FirmwareValue { value: Some(set) }))
}

/// Whether a number is one that the attribute can be.
fn is_within(attribute: &v1::FirmwareAttribute, number: i64) -> bool {
    let least = attribute.lower_bound.unwrap_or(i64::MIN);
    let step = i128::from(attribute.step.unwrap_or(1).max(1));
    // Without a least number nobody knows where steps begin.
    let is_a_step = attribute.lower_bound.is_none() || (i128::from(number) - i128::from(least)) % step == 0;
    number >= least && number <= attribute.upper_bound.unwrap_or(i64::MAX) && is_a_step
}

/// What a number that is none for the attribute is told to be.
fn bounds(attribute: &v1::FirmwareAttribute) -> String {
    let bound = |word: &str, number: Option<i64>| {
        number.map(|number| format!(" {word} {number}")).unwrap_or_default()
    };
    let step = attribute.step.filter(|step| *step > 1);
    format!(
        "Give a whole number{}{}{} and submit the request again.",
        bound("from", attribute.lower_bound),
        bound("to", attribute.upper_bound),
        bound("in steps of", step),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: v1::FirmwareAttributeType) -> v1::FirmwareAttribute {
        v1::FirmwareAttribute { name: "A".into(), r#type: kind.into(), ..Default::default() }
    }

    fn number(lower: Option<i64>, upper: Option<i64>, step: Option<i64>) -> v1::FirmwareAttribute {
        let kind = v1::FirmwareAttributeType::Integer;
        v1::FirmwareAttribute { lower_bound: lower, upper_bound: upper, step, ..attribute(kind) }
    }

    #[test]
    fn a_number_is_within_its_bounds_and_a_step_from_the_least() {
        let (all, some) = (number(None, None, None), number(Some(-4), Some(8), Some(3)));
        let widest = number(Some(i64::MIN), Some(i64::MAX), Some(2));
        for (of, value, fits) in [
            (&all, json!(i64::MIN), true),
            (&all, json!(i64::MAX), true),
            (&all, json!(u64::MAX), false),
            (&all, json!(1e300), false),
            (&some, json!(-4), true),
            (&some, json!(-1), true),
            (&some, json!(8), true),
            (&some, json!(0), false),
            (&some, json!(-7), false),
            (&some, json!(11), false),
            (&widest, json!(i64::MIN), true),
            (&widest, json!(i64::MAX), false),
            (&widest, json!(0), true),
        ] {
            let said = wish(of, &value).map_err(|message| message.id());
            match fits {
                true => {
                    let set = Some(v1::FirmwareValue { value: value.as_i64().map(Set::Integer) });
                    assert_eq!(said, Ok(set), "{value}");
                }
                false => assert_eq!(said, Err("Base.1.22.PropertyValueOutOfRange"), "{value}"),
            }
        }
        // However it is written.
        for written in ["5", "5.0", "5e0", "50e-1"] {
            let set = Some(v1::FirmwareValue { value: Some(Set::Integer(5)) });
            assert_eq!(wish(&some, &serde_json::from_str(written).unwrap()).ok(), Some(set), "{written}");
        }
        assert!(wish(&some, &json!(5.5)).is_err());
        assert_eq!(
            bounds(&some),
            "Give a whole number from -4 to 8 in steps of 3 and submit the request again."
        );
        assert_eq!(bounds(&all), "Give a whole number and submit the request again.");
    }

    #[test]
    fn what_the_next_boot_leaves_is_wished_or_reset_or_as_it_is() {
        let set = |number| Some(v1::FirmwareValue { value: Some(Set::Integer(number)) });
        let of = |pending: Option<i64>, read_only| v1::FirmwareAttribute {
            current: set(1),
            default_value: set(2),
            pending: pending.and_then(set),
            read_only,
            ..number(None, None, None)
        };
        for (resets, pending, read_only, left) in [
            (false, None, false, 1),
            (false, Some(3), false, 3),
            (true, None, false, 2),
            (true, Some(1), false, 1),
            (true, None, true, 1),
        ] {
            let firmware = v1::HostFirmware { resets_to_defaults: resets, ..Default::default() };
            let attribute = of(pending, read_only);
            assert_eq!(future(&firmware, &attribute), set(left).as_ref(), "{resets} {pending:?} {read_only}");
        }
    }
}
