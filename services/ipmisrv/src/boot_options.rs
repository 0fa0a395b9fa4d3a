//! System boot options (§28.12, §28.13, table 28-14). What the machine boots from is an override that its owner keeps; what clients tell each other
//! beside that is kept here until the daemon ends.

use ipmi::{Completion, Request};
use schema::rpc::host_service;
use schema::v1alpha1 as v1;

use crate::boot_flags::{BootOptions, update};
use crate::outcome::{Outcome, call};
use crate::world::{Answer, World};

/// The version of the parameters, which comes before each (table 28-13).
const VERSION: u8 = 1;
/// Of Set System Boot Options: another session is setting them (table 28-12).
const IN_PROGRESS: Completion = Completion(0x81);
/// Of parameter 3: the flags outlast a client that sends no Chassis Control.
const NO_TIMEOUT: u8 = 0x08;
/// Of parameter 3: what has the flags outlast buttons, resets, the watchdog and PEF. Nothing of that ends them here.
const NEVER_CLEARED: u8 = 0x17;

/// Bits of the first byte of parameter 5.
const VALID: u8 = 0x80;
const PERSISTENT: u8 = 0x40;
const EFI: u8 = 0x20;

/// What a boot device is in parameter 5, and what it is here; the first is shown for a target that has several.
const DEVICES: [(u8, v1::BootTarget); 9] = [
    (0, v1::BootTarget::None),
    (1, v1::BootTarget::Pxe),
    (2, v1::BootTarget::Hdd),
    (4, v1::BootTarget::Diags),
    (5, v1::BootTarget::Cd),
    (6, v1::BootTarget::BiosSetup),
    // A remote CD is virtual media.
    (8, v1::BootTarget::Cd),
    (15, v1::BootTarget::Usb),
    (1, v1::BootTarget::UefiHttp),
];

/// Parameter 5 of this override.
fn flags(set: Option<&v1::BootOverride>) -> [u8; 5] {
    let Some(set) = set else { return [0; 5] };
    let valid = match set.enabled() {
        v1::BootOverrideEnabled::Once => VALID,
        v1::BootOverrideEnabled::Continuous => VALID | PERSISTENT,
        v1::BootOverrideEnabled::Disabled | v1::BootOverrideEnabled::Unspecified => 0,
    };
    let efi = if set.mode() == v1::BootMode::Uefi { EFI } else { 0 };
    // One that IPMI has no number for is shown as none.
    let device = DEVICES.iter().find(|(_, target)| *target == set.target()).map_or(0, |(device, _)| *device);
    [valid | efi, device << 2, 0, 0, 0]
}

/// §28.13.
pub(crate) fn get(data: &[u8], host: &v1::Host, options: &BootOptions) -> Answer {
    let &[selector, set, _] = data else { return Err(Completion::LENGTH) };
    let value: Vec<u8> = match selector & 0x7f {
        0 => vec![u8::from(options.setter.is_some())],
        1 => vec![options.partition],
        3 => vec![NEVER_CLEARED | if options.outlasts { NO_TIMEOUT } else { 0 }],
        // What is written is not read (table 28-14).
        4 => vec![0, options.acknowledged],
        5 => flags(host.boot_override.as_ref()).to_vec(),
        6 => options.initiator.to_vec(),
        7 => {
            let block = options.mailbox.get(usize::from(set)).ok_or(Completion::RANGE)?;
            [&[set], &block[..]].concat()
        }
        _ => return Err(Completion::PARAMETER_NOT_SUPPORTED),
    };
    Ok([&[VERSION, selector & 0x7f], &value[..]].concat())
}

/// §28.12.
pub(crate) fn set(request: &Request, host: &v1::Host, world: &mut World<'_>) -> Result<Outcome, Completion> {
    let [selector, value @ ..] = &request.data[..] else { return Err(Completion::LENGTH) };
    let (options, session) = (&mut *world.boot, request.session.id);
    // It is to be locked, or not to be valid, which none is.
    if selector & 0x80 != 0 {
        return Err(Completion::INVALID_FIELD);
    }
    match (*selector, value) {
        // Whether the parameter is valid, and nothing else.
        (0 | 1 | 3..=7, []) => {}
        (0, [progress]) => match (progress & 3, options.setter) {
            (1, Some(setter)) if setter != session => return Err(IN_PROGRESS),
            (1, _) => options.setter = Some(session),
            (0, _) => options.setter = None,
            // What is set counts at once.
            (2, _) => {}
            _ => return Err(Completion::INVALID_FIELD),
        },
        (1, [partition]) => options.partition = *partition,
        (3, [clearing]) => {
            options.outlast(clearing & NO_TIMEOUT != 0);
        }
        (4, [mask, acknowledged]) => {
            options.acknowledged = options.acknowledged & !mask | acknowledged & mask & 0x1f;
        }
        (5, [first, second, third, fourth, fifth]) => {
            return set_flags(*first, *second, [*third, *fourth, *fifth], host);
        }
        (6, initiator) => {
            options.initiator = initiator.try_into().map_err(|_| Completion::LENGTH)?;
        }
        (7, [set, bytes @ ..]) => {
            let block = options.mailbox.get_mut(usize::from(*set)).ok_or(Completion::RANGE)?;
            let part = block.get_mut(..bytes.len()).ok_or(Completion::LENGTH)?;
            part.copy_from_slice(bytes);
        }
        (0 | 1 | 3 | 4 | 5, _) => return Err(Completion::LENGTH),
        _ => return Err(Completion::PARAMETER_NOT_SUPPORTED),
    }
    Ok(Outcome::Answer(Ok(Vec::new())))
}

fn set_flags(first: u8, second: u8, rest: [u8; 3], host: &v1::Host) -> Result<Outcome, Completion> {
    // CMOS, locks, what the firmware shows, and which one of several: nobody tells the firmware.
    if first & 0x1f != 0 || second & !0x3c != 0 || rest != [0; 3] {
        return Err(Completion::INVALID_FIELD);
    }
    let device = second >> 2;
    let found = DEVICES.iter().find(|(number, _)| *number == device);
    let (_, target) = found.ok_or(Completion::INVALID_FIELD)?;
    let enabled = match (first & VALID != 0 && device != 0, first & PERSISTENT != 0) {
        (false, _) => v1::BootOverrideEnabled::Disabled,
        (true, false) => v1::BootOverrideEnabled::Once,
        (true, true) => v1::BootOverrideEnabled::Continuous,
    };
    // Clients that do not care say that of a PC's: the firmware is left as it is set up.
    let mode = if first & EFI != 0 { v1::BootMode::Uefi } else { v1::BootMode::Unspecified };
    let wanted = v1::BootOverride {
        target: (*target).into(),
        enabled: enabled.into(),
        mode: mode.into(),
        ..v1::BootOverride::default()
    };
    let paths = ["boot_override.target", "boot_override.enabled", "boot_override.mode"];
    let Outcome::Call { method, request, .. } =
        call(host_service::UPDATE_HOST, &update(host.name.clone(), wanted, &paths))
    else {
        return Err(Completion::UNSPECIFIED);
    };
    Ok(Outcome::Boot { method, request, host_name: host.name.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_is_shown_as_flags() {
        use v1::{BootMode, BootOverrideEnabled as Enabled, BootTarget};
        for (target, enabled, mode, shown) in [
            (BootTarget::Pxe, Enabled::Once, BootMode::Uefi, [0xa0, 4]),
            (BootTarget::UefiHttp, Enabled::Once, BootMode::Uefi, [0xa0, 4]),
            (BootTarget::Cd, Enabled::Continuous, BootMode::Legacy, [0xc0, 20]),
            (BootTarget::UefiTarget, Enabled::Once, BootMode::Unspecified, [0x80, 0]),
            (BootTarget::Usb, Enabled::Disabled, BootMode::Unspecified, [0x00, 60]),
        ] {
            let set = v1::BootOverride {
                target: target.into(),
                enabled: enabled.into(),
                mode: mode.into(),
                ..v1::BootOverride::default()
            };
            assert_eq!(flags(Some(&set)), [shown[0], shown[1], 0, 0, 0], "{target:?}");
        }
        assert_eq!(flags(None), [0; 5]);
    }
}
