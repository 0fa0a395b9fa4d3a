//! What is wrong, as the daemon's status tells it: each part says its own, and all of it is told.

use std::sync::{Arc, Mutex, PoisonError};

use service::Notifier;

/// Who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// It cannot be served.
    Switch,
    /// It is not known whether it is switched on.
    Chosen,
    /// The store does not answer.
    Store,
    /// What is hidden of the SEL.
    Sel,
    /// What is set of Serial over LAN.
    Sol,
    /// What else clients set.
    Settings,
}

/// How many there are.
const PARTS: usize = Part::Settings as usize + 1;

/// All of it.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    notify: Notifier,
    said: Arc<Mutex<[String; PARTS]>>,
}

impl Faults {
    pub(crate) fn new(notify: Notifier) -> Self {
        Self { notify, said: Arc::default() }
    }

    /// What is wrong with this part is this from now on; nothing without a text.
    pub(crate) fn set(&self, part: Part, text: impl Into<String>) {
        let text = text.into();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(before) = said.get_mut(part as usize).filter(|before| **before != text) else { return };
        *before = text;
        let all: Vec<&str> = said.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
        self.notify.status(all.join("; "));
    }
}

#[cfg(test)]
mod tests {
    use service::Notification;

    use super::*;

    #[test]
    fn each_part_says_its_own_and_all_of_it_is_told() {
        let (notify, mut told) = Notifier::channel();
        let faults = Faults::new(notify);
        for (part, text, expected) in [
            (Part::Sel, "sel", Some("sel")),
            (Part::Switch, "port", Some("port; sel")),
            (Part::Switch, "port", None),
            (Part::Sel, "", Some("port")),
            (Part::Sol, "", None),
            (Part::Switch, "", Some("")),
        ] {
            faults.clone().set(part, text);
            let status = match told.try_recv() {
                Ok(Notification::Status(status)) => Some(status),
                _ => None,
            };
            assert_eq!(status.as_deref(), expected, "{part:?} {text}");
        }
    }
}
