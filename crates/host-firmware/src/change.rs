//! What clients wish, judged by what the firmware reports, and what is to be done about it next.

use crate::report::Report;
use crate::superseded::Superseded;
use crate::{Applied, Seen, Wishes};

/// One thing that is wrong with a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such attribute.
    UnknownAttribute(String),
    /// The attribute is shown only.
    ReadOnly(String),
    /// The attribute cannot be that.
    Value {
        /// The attribute.
        attribute: String,
        /// Why, in words for people.
        why: String,
    },
    /// The order names what is no boot option, or one twice.
    Order(String),
    /// There is no such boot option.
    UnknownBootOption(String),
    /// The firmware has no secure boot.
    NoSecureBoot,
}

/// What is wished after a change: `None` when everything is so already. `pending` is what is wished and no boot has taken. What `change`, whose
/// id says nothing, leaves out stays as it is wished; where it is `to_defaults`, what was wished of attributes before is no longer. `fresh` becomes the id of other
/// wishes.
///
/// # Errors
/// All that is wrong; nothing has changed then.
pub fn change(
    report: &Report,
    pending: Option<&Wishes>,
    change: Wishes,
    fresh: String,
) -> Result<Option<Wishes>, Vec<Refusal>> {
    let wrong = wrong(report, &change);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let mut wishes = pending.cloned().unwrap_or_default();
    if change.to_defaults {
        wishes.to_defaults = true;
        wishes.attributes.clear();
    }
    wishes.attributes.extend(change.attributes);
    // What the attribute has anyway when the rest is taken is no wish.
    let to_defaults = wishes.to_defaults;
    wishes.attributes.retain(|name, value| {
        report.attribute(name).is_some_and(|attribute| {
            let without = if to_defaults { &attribute.default } else { &attribute.current };
            !attribute.read_only && value != without
        })
    });
    if let Some(order) = change.boot_order {
        // Only what is named is wished: what else there is by the next boot is in nobody's way.
        wishes.boot_order = Some(order).filter(|order| report.ordered(order) != report.boot_order);
    }
    wishes.boot_options.extend(change.boot_options);
    wishes
        .boot_options
        .retain(|name, enabled| report.boot_option(name).is_some_and(|option| option.enabled != *enabled));
    if let Some(wanted) = change.secure_boot {
        let is_so = report.secure_boot.is_some_and(|secure| secure.enabled == wanted);
        wishes.secure_boot = Some(wanted).filter(|_| !is_so);
    }
    wishes.reset_keys = change.reset_keys.or(wishes.reset_keys);
    if pending == Some(&wishes) {
        return Ok(Some(wishes));
    }
    Ok(Some(Wishes { id: fresh, ..wishes }).filter(|wishes| !wishes.is_empty()))
}

fn wrong(report: &Report, change: &Wishes) -> Vec<Refusal> {
    let mut out = Vec::new();
    for (name, value) in &change.attributes {
        match report.attribute(name) {
            None => out.push(Refusal::UnknownAttribute(name.clone())),
            // What comes back as it was shown says nothing.
            Some(attribute) if attribute.read_only && attribute.current == *value => {}
            Some(attribute) if attribute.read_only => out.push(Refusal::ReadOnly(name.clone())),
            Some(attribute) => {
                if let Err(why) = attribute.kind.check(value) {
                    out.push(Refusal::Value { attribute: name.clone(), why });
                }
            }
        }
    }
    let order = change.boot_order.iter().flatten();
    for (at, name) in order.clone().enumerate() {
        if report.boot_option(name).is_none() || order.clone().take(at).any(|before| before == name) {
            out.push(Refusal::Order(name.clone()));
        }
    }
    for name in change.boot_options.keys().filter(|name| report.boot_option(name).is_none()) {
        out.push(Refusal::UnknownBootOption(name.clone()));
    }
    if report.secure_boot.is_none() && (change.secure_boot.is_some() || change.reset_keys.is_some()) {
        out.push(Refusal::NoSecureBoot);
    }
    out
}

/// What is to be done next about wishes and the mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing: the firmware knows what is wished.
    Nothing,
    /// A boot has taken them, or what was wished before them: that is to be stored ([`crate::settle`]).
    Over(Applied),
    /// This is to be put into the mailbox.
    Put(Option<Wishes>),
}

/// What a boot has noted that took what is wished, or what was wished before and replaced; `None` where none did.
#[must_use]
pub fn over<'s>(stored: Option<&Wishes>, superseded: &[Superseded], seen: &'s Seen) -> Option<&'s Applied> {
    let mut known = stored.into_iter().chain(superseded.iter().map(|one| &one.wishes));
    seen.applied.as_ref().filter(|applied| known.any(|wishes| wishes.id == applied.id))
}

/// What is to be done next, given what is stored, what was before that, and what the mailbox shows.
///
/// Earlier wishes that lie there are taken away first if the stored ones repeat what must be done once only: a boot may take them before others are in
/// their place, and what the mailbox shows without them says whether one did.
#[must_use]
pub fn next(stored: Option<&Wishes>, superseded: &[Superseded], seen: &Seen) -> Next {
    if let Some(applied) = over(stored, superseded, seen) {
        return Next::Over(applied.clone());
    }
    let lying = seen.wishes.as_deref();
    if stored.map(|wishes| wishes.id.as_str()) == lying {
        return Next::Nothing;
    }
    let is_repeated = stored.is_some_and(|stored| {
        superseded.iter().any(|one| Some(one.wishes.id.as_str()) == lying && one.is_repeated_by(stored))
    });
    Next::Put(stored.filter(|_| !is_repeated).cloned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Attribute, BootOption, Kind, SecureBoot, SecureBootMode, Value};
    use crate::{FirmwareBox, ResetKeys};

    fn report() -> Report {
        let option = BootOption::new;
        let text = Value::Text("1.2".into());
        Report {
            attributes: vec![
                Attribute::new("Smt", Kind::Boolean, Value::Boolean(true)),
                Attribute {
                    current: Value::Integer(4),
                    ..Attribute::new(
                        "Retries",
                        Kind::Integer { lower: 0, upper: 10, step: 2 },
                        Value::Integer(2),
                    )
                },
                Attribute {
                    read_only: true,
                    ..Attribute::new("Version", Kind::Text { shortest: 0, longest: 8 }, text)
                },
            ],
            boot_options: vec![option("Boot0000"), option("Boot0001"), option("Boot0002")],
            boot_order: ["Boot0000", "Boot0001", "Boot0002"].map(str::to_owned).to_vec(),
            secure_boot: Some(SecureBoot { enabled: true, active: true, mode: SecureBootMode::User }),
        }
    }

    fn set(name: &str, value: Value) -> Wishes {
        Wishes { attributes: [(name.to_owned(), value)].into(), ..Wishes::default() }
    }

    #[test]
    fn what_is_wrong_is_told_as_a_whole_and_changes_nothing() {
        let mut all = set("Smt", Value::Integer(1));
        all.attributes.insert("Nope".into(), Value::Boolean(true));
        all.attributes.insert("Retries".into(), Value::Integer(3));
        all.attributes.insert("Version".into(), Value::Text("2".into()));
        all.boot_order = Some(vec!["Boot0001".into(), "Boot0001".into(), "Boot0009".into()]);
        all.boot_options.insert("Boot0009".into(), false);
        let told = change(&report(), None, all, "a".into()).unwrap_err();
        assert_eq!(
            told,
            [
                Refusal::UnknownAttribute("Nope".into()),
                Refusal::Value {
                    attribute: "Retries".into(),
                    why: "it has to be from 0 to 10, in steps of 2".into()
                },
                Refusal::Value { attribute: "Smt".into(), why: "it has to be true or false".into() },
                Refusal::ReadOnly("Version".into()),
                Refusal::Order("Boot0001".into()),
                Refusal::Order("Boot0009".into()),
                Refusal::UnknownBootOption("Boot0009".into()),
            ]
        );
        let none = Report { secure_boot: None, ..report() };
        let enable = Wishes { secure_boot: Some(true), ..Wishes::default() };
        assert_eq!(change(&none, None, enable, "a".into()), Err(vec![Refusal::NoSecureBoot]));
    }

    #[test]
    fn what_is_so_already_is_no_wish_and_a_wish_can_be_taken_back() {
        let report = report();
        let as_shown = change(&report, None, set("Version", Value::Text("1.2".into())), "a".into());
        assert_eq!(as_shown, Ok(None));
        let off = change(&report, None, set("Smt", Value::Boolean(false)), "a".into()).unwrap().unwrap();
        assert_eq!(off.id, "a");
        let same = change(&report, Some(&off), set("Smt", Value::Boolean(false)), "b".into()).unwrap();
        assert_eq!(same.as_ref(), Some(&off), "the same once more is the same wish");
        let back = change(&report, Some(&off), set("Smt", Value::Boolean(true)), "c".into());
        assert_eq!(back, Ok(None));
        let order = Wishes { boot_order: Some(vec!["Boot0000".into()]), ..Wishes::default() };
        assert_eq!(change(&report, None, order, "d".into()), Ok(None));
    }

    #[test]
    fn a_boot_order_names_what_was_named_and_counts_without_what_is_gone() {
        let report = report();
        let order =
            Wishes { boot_order: Some(vec!["Boot0002".into(), "Boot0001".into()]), ..Wishes::default() };
        let wishes = change(&report, None, order, "a".into()).unwrap().unwrap();
        assert_eq!(wishes.boot_order.as_deref(), Some(&["Boot0002".to_owned(), "Boot0001".to_owned()][..]));
        // An option that nobody named is gone: nothing is missing.
        let without = |gone: &str| {
            let mut report = report.clone();
            report.boot_options.retain(|option| option.name != gone);
            report.boot_order.retain(|name| name != gone);
            report
        };
        let mut other = without("Boot0000");
        assert_eq!(other.apply(&wishes), []);
        assert_eq!(other.boot_order, ["Boot0002", "Boot0001"]);
        // One that was named is.
        let mut other = without("Boot0002");
        let not_taken = other.apply(&wishes);
        assert_eq!((not_taken.len(), not_taken[0].what.as_str()), (1, "BootOrder"));
        assert!(not_taken[0].why.contains("Boot0002"), "{}", not_taken[0].why);
        assert_eq!(other.boot_order, ["Boot0001", "Boot0000"]);
    }

    #[test]
    fn defaults_go_before_what_is_set_by_name() {
        let report = report();
        let off = change(&report, None, set("Smt", Value::Boolean(false)), "a".into()).unwrap();
        let reset = Wishes { to_defaults: true, ..Wishes::default() };
        let reset = change(&report, off.as_ref(), reset, "b".into()).unwrap().unwrap();
        assert!(reset.to_defaults && reset.attributes.is_empty());
        let four =
            change(&report, Some(&reset), set("Retries", Value::Integer(4)), "c".into()).unwrap().unwrap();
        assert_eq!(four.attributes.len(), 1, "it is 4 now, and would not be after the defaults");
        let mut host = FirmwareBox { report: Some(report), ..FirmwareBox::default() };
        host.put(Some(four));
        assert!(host.boot());
        let after = host.report.as_ref().unwrap();
        assert_eq!(after.attribute("Retries").unwrap().current, Value::Integer(4));
    }

    #[test]
    fn one_boot_takes_wishes_once() {
        let wishes = change(&report(), None, set("Smt", Value::Boolean(false)), "a".into()).unwrap();
        let mut host = FirmwareBox { report: Some(report()), revision: 1, ..FirmwareBox::default() };
        assert_eq!(next(wishes.as_ref(), &[], &host.seen(0)), Next::Put(wishes.clone()));
        host.put(wishes.clone());
        assert_eq!(next(wishes.as_ref(), &[], &host.seen(1)), Next::Nothing);
        assert!(host.boot());
        assert!(!host.boot(), "although nobody has taken them away");
        assert_eq!(host.revision, 2);
        let Next::Over(applied) = next(wishes.as_ref(), &[], &host.seen(2)) else {
            panic!("a boot took them")
        };
        assert!(applied.not_taken.is_empty());
        assert_eq!(next(None, &[], &host.seen(2)), Next::Put(None));
        host.put(None);
        assert_eq!(next(None, &[], &host.seen(2)), Next::Nothing);
        assert_eq!(host.seen(2).report, None, "who knows it is not told again");
        assert!(host.seen(1).report.is_some());
    }

    #[test]
    fn secure_boot_counts_from_the_next_boot_on_and_only_with_keys() {
        let mut host = FirmwareBox { report: Some(report()), revision: 1, ..FirmwareBox::default() };
        let delete = Wishes { reset_keys: Some(ResetKeys::DeleteAll), ..Wishes::default() };
        host.put(change(&report(), None, delete, "a".into()).unwrap());
        host.boot();
        let secure = host.report.as_ref().unwrap().secure_boot.unwrap();
        assert_eq!((secure.enabled, secure.active, secure.mode), (true, false, SecureBootMode::Setup));
        let twice = Wishes {
            reset_keys: Some(ResetKeys::AllToDefault),
            secure_boot: Some(false),
            ..Wishes::default()
        };
        host.put(change(host.report.as_ref().unwrap(), None, twice, "b".into()).unwrap());
        host.boot();
        let secure = host.report.as_ref().unwrap().secure_boot.unwrap();
        assert_eq!((secure.enabled, secure.active, secure.mode), (false, false, SecureBootMode::User));
    }
}
