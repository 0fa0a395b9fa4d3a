//! What was wished before what is wished now, and may be taken all the same: the host may have read it before it was replaced.
//!
//! Wishes that follow others repeat what those wished. When a boot turns out to have taken the earlier ones, what they covered is taken out of the later
//! ones ([`settle`]): it counted once. What must not be done twice, such as deleting keys, is not put beside what may just be taken: the earlier wishes are
//! taken away first ([`crate::next`]), and only what the mailbox shows then decides.

use serde::{Deserialize, Serialize};

use crate::report::{Report, Value};
use crate::{Applied, Wishes};

/// Most wishes of before that are kept.
pub const SUPERSEDED_MAX: usize = 32;
/// Most bytes of them as JSON, the newest first. Of those beyond that only the id and what must not be done twice is kept.
pub const SUPERSEDED_BYTES: usize = 32 * 1024;

/// Wishes that others have replaced, or that were discarded, before a boot was seen to take them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Superseded {
    /// What they were, or what is left of that.
    pub wishes: Wishes,
    /// How many things were wished: [`Wishes::count`].
    pub wished: usize,
    /// Attributes were among them that are not known any more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reduced: bool,
}

impl Superseded {
    fn of(wishes: Wishes) -> Self {
        Self { wished: wishes.count(), wishes, reduced: false }
    }

    /// Forgets what may be done twice: a setting that is set again is the same.
    fn reduce(&mut self) {
        let Wishes { id, to_defaults, reset_keys, attributes, .. } = std::mem::take(&mut self.wishes);
        self.reduced |= !attributes.is_empty();
        self.wishes = Wishes { id, to_defaults, reset_keys, ..Wishes::default() };
    }

    /// Most bytes it has as JSON: all escaped, with the names of the fields.
    fn bytes(&self) -> usize {
        let text = |text: &String| 2 * text.len() + 8;
        let Wishes { attributes, boot_order, boot_options, .. } = &self.wishes;
        let attributes = attributes.iter().map(|(name, value)| {
            text(name)
                + match value {
                    Value::Text(value) => text(value),
                    Value::Boolean(_) | Value::Integer(_) => 24,
                }
        });
        let order = boot_order.iter().flatten().map(text);
        let options = boot_options.keys().map(text);
        256 + attributes.sum::<usize>() + order.sum::<usize>() + options.sum::<usize>()
    }

    /// Whether later wishes do once more what must be done once only.
    pub(crate) fn is_repeated_by(&self, later: &Wishes) -> bool {
        let keys = self.wishes.reset_keys;
        (self.wishes.to_defaults && later.to_defaults) || (keys.is_some() && keys == later.reset_keys)
    }
}

/// Other wishes, or none, take the place of these: they are kept behind the others, within the bounds.
pub fn supersede(superseded: &mut Vec<Superseded>, wishes: Wishes) {
    superseded.push(Superseded::of(wishes));
    let over = superseded.len().saturating_sub(SUPERSEDED_MAX);
    superseded.drain(..over);
    let mut bytes = 0_usize;
    for one in superseded.iter_mut().rev() {
        bytes = bytes.saturating_add(one.bytes());
        if bytes > SUPERSEDED_BYTES {
            one.reduce();
        }
    }
}

/// What a boot turned out to have taken, and what is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// What it took.
    pub taken: Superseded,
    /// What is wished still: under a new id where the boot took something of it.
    pub pending: Option<Wishes>,
}

/// A boot has noted that it took wishes. `pending`: what is wished; `superseded`: what was before, oldest first: what no boot takes any more is removed;
/// `report`: what the firmware last said; `fresh` becomes the id of what is left. `None`: it took nothing of all this.
pub fn settle(
    pending: Option<&Wishes>,
    superseded: &mut Vec<Superseded>,
    applied: &Applied,
    report: Option<&Report>,
    fresh: String,
) -> Option<Settled> {
    if let Some(pending) = pending.filter(|pending| pending.id == applied.id) {
        // The newest: no boot takes an older one after it.
        superseded.clear();
        return Some(Settled { taken: Superseded::of(pending.clone()), pending: None });
    }
    let at = superseded.iter().position(|one| one.wishes.id == applied.id)?;
    let taken = superseded.drain(..=at).next_back()?;
    let Some(pending) = pending else { return Some(Settled { taken, pending: None }) };
    let left = without(pending, &taken, report);
    if left == *pending {
        return Some(Settled { taken, pending: Some(left) });
    }
    // They may lie in the mailbox.
    supersede(superseded, pending.clone());
    let pending = Some(Wishes { id: fresh, ..left }).filter(|left| !left.is_empty());
    Some(Settled { taken, pending })
}

/// What is left of wishes once a boot has taken earlier ones, under the same id. What that boot refused is not tried again.
fn without(wishes: &Wishes, taken: &Superseded, report: Option<&Report>) -> Wishes {
    let Superseded { wishes: taken, reduced, .. } = taken;
    let mut left = wishes.clone();
    // A reset to defaults that is yet to come undoes what was set by name: then all of it counts. One that was done and set something by name that is not
    // known any more is done once more.
    let is_reset_done = taken.to_defaults && !reduced;
    if is_reset_done || !wishes.to_defaults {
        left.to_defaults = false;
        left.attributes.retain(|name, value| taken.attributes.get(name) != Some(value));
    }
    if is_reset_done && wishes.to_defaults {
        // What only the earlier ones set by name is at its default again.
        for name in taken.attributes.keys().filter(|name| !wishes.attributes.contains_key(*name)) {
            let attribute = report.and_then(|report| report.attribute(name));
            if let Some(attribute) = attribute.filter(|attribute| !attribute.read_only) {
                left.attributes.insert(name.clone(), attribute.default.clone());
            }
        }
    }
    if left.boot_order == taken.boot_order {
        left.boot_order = None;
    }
    left.boot_options.retain(|name, enabled| taken.boot_options.get(name) != Some(enabled));
    if left.secure_boot == taken.secure_boot {
        left.secure_boot = None;
    }
    if left.reset_keys == taken.reset_keys {
        left.reset_keys = None;
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ResetKeys;
    use crate::report::{Attribute, Kind};

    fn wishes(id: &str) -> Wishes {
        Wishes { id: id.to_owned(), ..Wishes::default() }
    }

    fn numbers(id: &str, numbers: &[(&str, i64)]) -> Wishes {
        let attributes = numbers.iter().map(|(name, number)| ((*name).to_owned(), Value::Integer(*number)));
        Wishes { attributes: attributes.collect(), ..wishes(id) }
    }

    fn report() -> Report {
        let attribute = |name: &str| {
            Attribute::new(name, Kind::Integer { lower: 0, upper: 99, step: 1 }, Value::Integer(1))
        };
        Report { attributes: vec![attribute("A"), attribute("B")], ..Report::default() }
    }

    fn took(id: &str) -> Applied {
        Applied { id: id.to_owned(), not_taken: Vec::new() }
    }

    #[test]
    fn what_earlier_wishes_covered_does_not_count_again() {
        let keys = Some(ResetKeys::DeleteAll);
        let resets = |wishes: Wishes| Wishes { to_defaults: true, ..wishes };
        // Earlier, later, what is left of the later ones.
        let table = [
            (
                Wishes { reset_keys: keys, ..wishes("a") },
                Wishes { reset_keys: keys, ..numbers("b", &[("A", 2)]) },
                numbers("c", &[("A", 2)]),
            ),
            (numbers("a", &[("A", 2)]), numbers("b", &[("A", 2), ("B", 3)]), numbers("c", &[("B", 3)])),
            (numbers("a", &[("A", 2)]), numbers("b", &[("A", 4)]), numbers("b", &[("A", 4)])),
            // A reset that is yet to come undoes what was set.
            (numbers("a", &[("A", 2)]), resets(numbers("b", &[("A", 2)])), resets(numbers("b", &[("A", 2)]))),
            (resets(wishes("a")), resets(numbers("b", &[("B", 3)])), numbers("c", &[("B", 3)])),
            // Who reset once more wished what the earlier ones set by name away.
            (resets(numbers("a", &[("A", 2)])), resets(wishes("b")), numbers("c", &[("A", 1)])),
            (
                Wishes { boot_order: Some(vec!["x".into()]), secure_boot: Some(true), ..wishes("a") },
                Wishes {
                    boot_order: Some(vec!["x".into()]),
                    secure_boot: Some(false),
                    boot_options: [("x".to_owned(), true)].into(),
                    ..wishes("b")
                },
                Wishes {
                    secure_boot: Some(false),
                    boot_options: [("x".to_owned(), true)].into(),
                    ..wishes("c")
                },
            ),
        ];
        for (earlier, later, left) in table {
            let mut superseded = Vec::new();
            supersede(&mut superseded, earlier.clone());
            let settled =
                settle(Some(&later), &mut superseded, &took("a"), Some(&report()), "c".into()).unwrap();
            assert_eq!((settled.taken.wishes, settled.pending), (earlier, Some(left.clone())));
            // The later ones may lie in the mailbox, where they are others now.
            let kept: Vec<&str> = superseded.iter().map(|one| one.wishes.id.as_str()).collect();
            assert_eq!(kept, if left.id == "b" { vec![] } else { vec!["b"] });
        }
    }

    #[test]
    fn what_a_boot_took_after_it_was_discarded_is_known() {
        let mut superseded = Vec::new();
        for id in ["a", "b", "c"] {
            supersede(&mut superseded, numbers(id, &[("A", 2)]));
        }
        assert_eq!(settle(None, &mut superseded, &took("z"), None, "d".into()), None);
        let settled = settle(None, &mut superseded, &took("b"), None, "d".into()).unwrap();
        assert_eq!((settled.taken.wished, settled.pending), (1, None));
        // No boot takes an older one after it, and one may take a newer one.
        assert_eq!(superseded.len(), 1);
        assert_eq!(settle(None, &mut superseded, &took("a"), None, "d".into()), None);
        let pending = numbers("e", &[("A", 2)]);
        assert!(settle(Some(&pending), &mut superseded, &took("e"), None, "f".into()).is_some());
        assert_eq!(superseded, []);
    }

    #[test]
    fn a_reset_is_done_once_more_where_it_is_not_known_what_was_set_after_the_first() {
        let many = (0..90).map(|n| (format!("A{n}"), Value::Text("x".repeat(200)))).collect();
        let earlier = Wishes { to_defaults: true, attributes: many, ..wishes("a") };
        let later = Wishes { to_defaults: true, ..numbers("b", &[("B", 3)]) };
        let mut superseded = Vec::new();
        supersede(&mut superseded, earlier);
        assert!(superseded[0].reduced && superseded[0].wishes.attributes.is_empty());
        // It outlasts being stored, and what an older release has stored has all it says.
        let stored = serde_json::to_value(&superseded[0]).unwrap();
        assert_eq!(serde_json::from_value::<Superseded>(stored).unwrap(), superseded[0]);
        assert!(!serde_json::from_str::<Superseded>(r#"{"wishes":{"id":"a"},"wished":1}"#).unwrap().reduced);
        let settled = settle(Some(&later), &mut superseded, &took("a"), Some(&report()), "c".into()).unwrap();
        assert_eq!((settled.taken.wished, settled.pending), (91, Some(later)));
        // One of which there was nothing more to know is done.
        let mut small = Superseded::of(Wishes { to_defaults: true, ..wishes("a") });
        small.reduce();
        assert!(!small.reduced);
    }

    #[test]
    fn what_is_kept_of_them_is_bounded_and_keeps_what_must_not_be_done_twice() {
        let mut superseded = Vec::new();
        let large = |id: usize| Wishes {
            id: id.to_string(),
            to_defaults: true,
            reset_keys: Some(ResetKeys::DeleteAll),
            attributes: (0..20).map(|n| (format!("A{n}"), Value::Text("\"".repeat(200)))).collect(),
            ..Wishes::default()
        };
        for id in 0..100 {
            supersede(&mut superseded, large(id));
        }
        let bytes = serde_json::to_vec(&superseded).unwrap().len();
        assert!(bytes <= SUPERSEDED_BYTES + 256 * SUPERSEDED_MAX, "{bytes}");
        assert_eq!(superseded.len(), SUPERSEDED_MAX);
        assert!(superseded.iter().all(|one| one.wishes.to_defaults && one.wished == 22));
        assert!(superseded.iter().all(|one| one.wishes.reset_keys == Some(ResetKeys::DeleteAll)));
        assert!(superseded.iter().all(|one| one.bytes() >= serde_json::to_vec(one).unwrap().len()));
        assert_eq!(superseded.last().unwrap().wishes, large(99));
        assert!(superseded.first().unwrap().wishes.attributes.is_empty());
    }
}
