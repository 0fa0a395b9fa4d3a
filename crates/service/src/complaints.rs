//! What is wrong, as the daemon's status tells it: each part says its own, and all of it is told.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use crate::Notifier;

/// The parts of a daemon that say what is wrong, in the order in which that is told.
pub trait Part: Copy + fmt::Debug {
    /// Its place, counted from 0.
    fn place(self) -> usize;
}

/// What is wrong with each of the `N` parts `P` of a daemon.
#[derive(Debug)]
pub struct Complaints<P, const N: usize> {
    notify: Notifier,
    said: Arc<Mutex<[String; N]>>,
    parts: PhantomData<fn(P)>,
}

impl<P, const N: usize> Clone for Complaints<P, N> {
    fn clone(&self) -> Self {
        Self { notify: self.notify.clone(), said: Arc::clone(&self.said), parts: PhantomData }
    }
}

impl<P: Part, const N: usize> Complaints<P, N> {
    /// Nothing is wrong.
    #[must_use]
    pub fn new(notify: Notifier) -> Self {
        let said = std::array::from_fn(|_| String::new());
        Self { notify, said: Arc::new(Mutex::new(said)), parts: PhantomData }
    }

    /// What is wrong with this part is this from now on; nothing without a text.
    pub fn set(&self, part: P, text: impl Into<String>) {
        let text = text.into();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(before) = said.get_mut(part.place()).filter(|before| **before != text) else { return };
        *before = text;
        let all: Vec<&str> = said.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
        self.notify.status(all.join("; "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Notification;

    #[derive(Clone, Copy, Debug)]
    enum One {
        Switch,
        Sel,
        Sol,
    }

    impl Part for One {
        fn place(self) -> usize {
            self as usize
        }
    }

    #[test]
    fn each_part_says_its_own_and_all_of_it_is_told() {
        let (notify, mut told) = Notifier::channel();
        let complaints = Complaints::<One, 3>::new(notify);
        for (part, text, expected) in [
            (One::Sel, "sel", Some("sel")),
            (One::Switch, "port", Some("port; sel")),
            (One::Switch, "port", None),
            (One::Sel, "", Some("port")),
            (One::Sol, "", None),
            (One::Switch, "", Some("")),
        ] {
            complaints.clone().set(part, text);
            let status = match told.try_recv() {
                Ok(Notification::Status(status)) => Some(status),
                _ => None,
            };
            assert_eq!(status.as_deref(), expected, "{part:?} {text}");
        }
    }
}
