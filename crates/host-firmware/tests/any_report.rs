//! Reports of any content: what is believed stays so, whatever is wished of it.

use std::collections::BTreeMap;

use host_firmware::{
    Attribute, BootOption, Choice, FirmwareBox, Kind, Next, Report, SecureBoot, SecureBootMode, Value,
    Wishes, change, is_plain, next, over,
};
use proptest::prelude::*;

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::Boolean),
        (-4_i64..20).prop_map(Value::Integer),
        "[a-c]{0,3}".prop_map(Value::Text),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    let choices = prop::collection::vec("[a-c]{0,2}", 0..4).prop_map(|names| {
        names.into_iter().map(|name| Choice { name, display_name: String::new() }).collect::<Vec<_>>()
    });
    prop_oneof![
        Just(Kind::Boolean),
        (-3_i64..3, -3_i64..10, 0_i64..4).prop_map(|(lower, upper, step)| Kind::Integer {
            lower,
            upper,
            step
        }),
        (0_u32..3, 0_u32..4).prop_map(|(shortest, longest)| Kind::Text { shortest, longest }),
        choices.prop_map(|choices| Kind::Enumeration { choices }),
    ]
}

fn attribute() -> impl Strategy<Value = Attribute> {
    ("[A-C]", kind(), value(), value(), any::<bool>()).prop_map(
        |(name, kind, current, default, read_only)| Attribute {
            read_only,
            current,
            ..Attribute::new(&name, kind, default)
        },
    )
}

fn report() -> impl Strategy<Value = Report> {
    let options = prop::collection::vec(("Boot000[0-3]", any::<bool>()), 0..4);
    let order = prop::collection::vec("Boot000[0-3]", 0..4);
    (prop::collection::vec(attribute(), 0..4), options, order, any::<Option<bool>>()).prop_map(
        |(attributes, options, order, secure)| Report {
            attributes,
            boot_order: if order.len() % 2 == 0 {
                options.iter().map(|(name, _)| name.clone()).collect()
            } else {
                order
            },
            boot_options: options
                .into_iter()
                .map(|(name, enabled)| BootOption { enabled, ..BootOption::new(&name) })
                .collect(),
            secure_boot: secure.map(|enabled| SecureBoot {
                enabled,
                active: enabled,
                mode: SecureBootMode::User,
            }),
        },
    )
}

/// What of a report can be believed.
fn believed(report: Report) -> Report {
    let mut out = Report { secure_boot: report.secure_boot, ..Report::default() };
    for attribute in report.attributes {
        out.attributes.push(attribute);
        if out.check().is_err() {
            out.attributes.pop();
        }
    }
    for option in report.boot_options {
        if out.boot_option(&option.name).is_none() {
            out.boot_order.push(option.name.clone());
            out.boot_options.push(option);
        }
    }
    let ordered = out.ordered(&report.boot_order);
    Report { boot_order: ordered, ..out }
}

fn wanted() -> impl Strategy<Value = Wishes> {
    let attributes = prop::collection::btree_map("[A-D]", value(), 0..3);
    let order = prop::option::of(prop::collection::vec("Boot000[0-4]", 0..4));
    let options: BoxedStrategy<BTreeMap<String, bool>> =
        prop::collection::btree_map("Boot000[0-4]", any::<bool>(), 0..2).boxed();
    (any::<bool>(), attributes, order, options, any::<Option<bool>>()).prop_map(
        |(to_defaults, attributes, boot_order, boot_options, secure_boot)| Wishes {
            id: String::new(),
            to_defaults,
            attributes,
            boot_order,
            boot_options,
            secure_boot,
            reset_keys: None,
        },
    )
}

proptest! {
    #[test]
    fn what_was_taken_is_wholly_taken_and_is_a_report_again(report in report(), first in wanted(), second in wanted()) {
        let report = believed(report);
        prop_assert_eq!(report.check(), Ok(()));
        let mut host = FirmwareBox { report: Some(report.clone()), revision: 1, ..FirmwareBox::default() };
        let mut stored = None;
        for (at, wanted) in [first, second].into_iter().enumerate() {
            match change(&report, stored.as_ref(), wanted, at.to_string()) {
                Ok(wishes) => stored = wishes,
                Err(refusals) => prop_assert!(!refusals.is_empty()),
            }
        }
        if let Next::Put(wishes) = next(stored.as_ref(), &[], &host.seen(1)) {
            host.put(wishes);
        }
        prop_assert_eq!(host.boot(), stored.is_some());
        let after = host.report.clone().unwrap();
        prop_assert_eq!(after.check(), Ok(()));
        if let Some(wishes) = &stored {
            prop_assert!(over(Some(wishes), &[], &host.seen(1)).is_some());
            prop_assert_eq!(&host.applied.as_ref().unwrap().not_taken, &Vec::new());
            for (name, value) in &wishes.attributes {
                prop_assert_eq!(&after.attribute(name).unwrap().current, value);
            }
        } else {
            prop_assert_eq!(after.attributes, report.attributes);
        }
    }
}

#[test]
fn what_turns_or_hides_what_people_read_is_not_believed() {
    let named = |display_name: &str| Report {
        boot_options: vec![BootOption {
            name: "Boot0000".to_owned(),
            display_name: display_name.to_owned(),
            device_path: String::new(),
            alias: None,
            enabled: true,
        }],
        boot_order: vec!["Boot0000".to_owned()],
        ..Report::default()
    };
    for text in ["Windows", "Größe ½", "نسخه\u{200c}ها", "ディスク", ""] {
        assert_eq!(named(text).check(), Ok(()), "{text:?}");
    }
    for letter in [
        '\n',
        '\u{1b}',
        '\u{85}',
        '\u{202e}',
        '\u{2066}',
        '\u{200b}',
        '\u{200f}',
        '\u{feff}',
        '\u{2028}',
        '\u{e0041}',
    ] {
        assert!(!is_plain(letter), "{letter:?}");
        assert!(named(&format!("a{letter}b")).check().is_err(), "{letter:?}");
        let kind = Kind::Text { shortest: 0, longest: 8 };
        assert!(kind.check(&Value::Text(letter.to_string())).is_err(), "{letter:?}");
    }
}

#[test]
fn what_hides_in_texts_for_people_is_taken_out_and_nowhere_else() {
    let report = |text: &str, name: &str| Report {
        attributes: vec![Attribute {
            name: "Smt".to_owned(),
            display_name: text.to_owned(),
            help: text.to_owned(),
            menu_path: text.to_owned(),
            kind: Kind::Enumeration {
                choices: vec![Choice { name: name.to_owned(), display_name: text.to_owned() }],
            },
            read_only: false,
            current: Value::Text(name.to_owned()),
            default: Value::Text(name.to_owned()),
        }],
        boot_options: vec![BootOption {
            name: "Boot0000".to_owned(),
            display_name: text.to_owned(),
            device_path: "Pci".to_owned(),
            alias: None,
            enabled: true,
        }],
        boot_order: vec!["Boot0000".to_owned()],
        secure_boot: None,
    };
    for letter in ['\u{ad}', '\u{200e}', '\u{202e}', '\u{feff}'] {
        let mut cleaned = report(&format!("{letter}Multi{letter}threading"), "On");
        assert!(cleaned.check().is_err());
        cleaned.clean();
        assert_eq!(cleaned, report("Multithreading", "On"));
        assert_eq!(cleaned.check(), Ok(()));
        let mut named = report("a", &format!("O{letter}n"));
        named.clean();
        assert_eq!(named, report("a", &format!("O{letter}n")));
        assert!(named.check().is_err());
    }
    // A control is no letter that somebody meant.
    let mut controls = report("a\u{1b}b", "On");
    controls.clean();
    assert!(controls.check().is_err());
    // What people write with joiners stays.
    let mut joined = report("نسخه\u{200c}ها", "On");
    joined.clean();
    assert_eq!(joined, report("نسخه\u{200c}ها", "On"));
}
