//! What the firmware reports and keeps, as tables.

use std::collections::BTreeMap;

use boot_override::Mode;
use host_firmware::{SecureBootMode, Wishes};

use super::*;

const ALL: [Target; 5] = [Target::Hdd, Target::Cd, Target::Usb, Target::Pxe, Target::UefiHttp];

fn order(target: Target, argument: &str) -> Order {
    Order { id: "o".to_owned(), target, once: true, mode: Mode::Firmware, argument: argument.to_owned() }
}

fn wished(attributes: &[(&str, Value)]) -> Option<Wishes> {
    let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    Some(Wishes { id: "w".to_owned(), attributes: attributes.collect(), ..Wishes::default() })
}

fn ordered(names: &[&str], off: &[&str]) -> Option<Wishes> {
    Some(Wishes {
        id: "w".to_owned(),
        boot_order: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        boot_options: off.iter().map(|name| ((*name).to_owned(), false)).collect::<BTreeMap<_, _>>(),
        ..Wishes::default()
    })
}

#[test]
fn what_the_factory_makes_can_be_believed_and_has_an_option_for_each_way_to_boot() {
    let few: &[Target] = &[Target::None, Target::Pxe, Target::Hdd];
    // Neither set-up nor diagnostics are boot options.
    let none: &[Target] = &[Target::BiosSetup, Target::Diags];
    for (boots_from, names) in [
        (&ALL[..], vec!["Boot0000", "Boot0001", "Boot0002", "Boot0003", "Boot0004"]),
        (few, vec!["Boot0000", "Boot0003"]),
        (none, vec![]),
    ] {
        let firmware = Firmware::new(boots_from, true);
        let report = firmware.report();
        assert_eq!(report.check(), Ok(()));
        assert_eq!(report.boot_order, names);
        assert!((25..=32).contains(&report.attributes.len()), "{}", report.attributes.len());
        assert!(report.attributes.iter().all(|attribute| attribute.current == attribute.default));
        assert_eq!(firmware.memory().revision, 1, "it was booted in the factory");
        assert!(firmware.has_factory_order());
    }
    assert_eq!(Firmware::new(&ALL, false).report().secure_boot, None);
    let secure = Firmware::new(&ALL, true).report().secure_boot.unwrap();
    assert_eq!((secure.enabled, secure.active, secure.mode), (false, false, SecureBootMode::User));
}

#[test]
fn an_order_goes_before_the_boot_order_and_an_option_by_name_is_what_it_boots_from() {
    use Target::{Cd, Hdd, None as Unset, Pxe, UefiBootNext, UefiHttp, UefiTarget, Usb};
    let mut firmware = Firmware::new(&ALL, true);
    firmware.put(ordered(&["Boot0003", "Boot0001"], &["Boot0002"]));
    assert_eq!(firmware.own_order(), ALL, "no boot has taken it");
    firmware.boot();
    let own = [Pxe, Cd, Hdd, UefiHttp];
    assert_eq!((firmware.own_order(), firmware.has_factory_order()), (own.to_vec(), false));
    for (told, tries) in [
        (None, own.to_vec()),
        (Some(order(Unset, "")), own.to_vec()),
        (Some(order(Hdd, "")), vec![Hdd, Pxe, Cd, UefiHttp]),
        (Some(order(UefiBootNext, "Boot0004")), vec![UefiHttp, Pxe, Cd, Hdd]),
        // Named, although it is not enabled.
        (Some(order(UefiBootNext, "Boot0002")), vec![Usb, Pxe, Cd, Hdd, UefiHttp]),
        (Some(order(UefiBootNext, "Boot0009")), own.to_vec()),
        (
            Some(order(UefiTarget, "pciroot(0x0)/pci(0x1f,0x2)/sata(0x1,0xffff,0x0)")),
            vec![Cd, Pxe, Hdd, UefiHttp],
        ),
        (Some(order(UefiTarget, "PciRoot(0x7)")), vec![UefiTarget, Pxe, Cd, Hdd, UefiHttp]),
    ] {
        assert_eq!(firmware.tries(told.as_ref()), tries, "{told:?}");
    }
    firmware.put(Some(Wishes {
        id: "x".to_owned(),
        boot_order: ordered(&["Boot0000", "Boot0001"], &[]).unwrap().boot_order,
        boot_options: [("Boot0002".to_owned(), true)].into(),
        ..Wishes::default()
    }));
    firmware.boot();
    // What the wish leaves out stays in the order there was.
    assert_eq!(firmware.own_order(), [Hdd, Cd, Pxe, Usb, UefiHttp]);
}

#[test]
fn what_is_kept_is_there_again_as_far_as_the_board_still_has_it() {
    let mut firmware = Firmware::new(&ALL, true);
    firmware.put(wished(&[("QuietBoot", Value::Boolean(true)), ("BootTimeout", Value::Integer(7))]));
    firmware.boot();
    firmware.boot();
    let kept = firmware.kept();

    let mut same = Firmware::new(&ALL, true);
    same.restore(kept.clone());
    assert_eq!((same.memory(), same.boots()), (firmware.memory(), 2));
    assert!(same.is_quiet() && same.is_heard());
    assert_eq!(same.timeout(), Millis::from_secs(7));
    assert_eq!(same.kept(), kept);

    // A board with other ways to boot: what it has not is gone, and that is another report.
    let mut other = Firmware::new(&[Target::Hdd, Target::Pxe], false);
    other.restore(kept.clone());
    assert_eq!(other.memory().revision, kept.revision + 1);
    assert_eq!(other.report().check(), Ok(()));
    assert_eq!(other.report().boot_order, ["Boot0000", "Boot0003"]);
    assert!(other.is_quiet());
    assert_eq!(other.memory().applied, kept.applied);

    // A file that says what cannot be.
    let mut strange = kept.clone();
    let report = strange.report.as_mut().unwrap();
    for attribute in &mut report.attributes {
        attribute.current = Value::Integer(1_000_000);
    }
    report.boot_order = vec!["Boot0003".to_owned(), "Boot0003".to_owned(), "Boot00ff".to_owned()];
    let mut careful = Firmware::new(&ALL, true);
    careful.restore(strange);
    assert_eq!(careful.report().check(), Ok(()));
    assert_eq!(careful.report().boot_order.first().map(String::as_str), Some("Boot0003"));
    assert_eq!(careful.timeout(), Millis::ZERO);
    careful.restore(FirmwareBox::default());
    assert_eq!((careful.memory().revision, careful.report()), (1, &careful.factory));
}

#[test]
fn a_memory_that_is_lost_is_told_by_a_revision_that_was_never_used() {
    let mut firmware = Firmware::new(&ALL, true);
    firmware.put(wished(&[("Smt", Value::Boolean(false))]));
    firmware.boot();
    firmware.lose_memory(1_000);
    assert_eq!(firmware.memory().revision, 1_000);
    assert_eq!((firmware.memory().pending(), &firmware.memory().applied), (None, &None));
    assert_eq!(firmware.report(), &firmware.factory);
}
