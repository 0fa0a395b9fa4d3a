//! What is wrong, as the daemon's status tells it: each part says its own, and all of it is told.

use std::sync::{Arc, Mutex, PoisonError};

use service::Notifier;

/// Who says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The certificate that was asked for is not the one that is served.
    Certificate,
    /// Viewers are not served although they shall be, or nobody knows whether they shall.
    Viewers,
}

/// How many there are.
const PARTS: usize = Part::Viewers as usize + 1;

/// All of it.
#[derive(Clone, Debug)]
pub(crate) struct Complaints {
    notify: Notifier,
    said: Arc<Mutex<[String; PARTS]>>,
}

impl Complaints {
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
    fn neither_hides_what_the_other_says() {
        let (notify, mut told) = Notifier::channel();
        let complaints = Complaints::new(notify);
        for (part, text, expected) in [
            (Part::Viewers, "port", Some("port")),
            (Part::Certificate, "expired", Some("expired; port")),
            (Part::Certificate, "expired", None),
            (Part::Certificate, "", Some("port")),
            (Part::Viewers, "", Some("")),
        ] {
            complaints.set(part, text);
            let status = match told.try_recv() {
                Ok(Notification::Status(status)) => Some(status),
                _ => None,
            };
            assert_eq!(status.as_deref(), expected, "{part:?} {text}");
        }
    }
}
