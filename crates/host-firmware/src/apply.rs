//! What firmware does with wishes. The simulated firmware does it by this; it is the rule for a real one.

use crate::report::{Report, SecureBootMode};
use crate::{NotTaken, ResetKeys, Wishes};

impl Report {
    /// Takes wishes, each as far as it can be. What could not.
    pub fn apply(&mut self, wishes: &Wishes) -> Vec<NotTaken> {
        let mut out = Vec::new();
        let mut refuse =
            |what: &str, why: &str| out.push(NotTaken { what: what.to_owned(), why: why.to_owned() });
        if wishes.to_defaults {
            for attribute in self.attributes.iter_mut().filter(|attribute| !attribute.read_only) {
                attribute.current = attribute.default.clone();
            }
        }
        for (name, value) in &wishes.attributes {
            match self.attributes.iter_mut().find(|attribute| attribute.name == *name) {
                None => refuse(name, "there is no such attribute"),
                Some(attribute) if attribute.read_only => refuse(name, "it cannot be set"),
                Some(attribute) => match attribute.kind.check(value) {
                    Ok(()) => attribute.current = value.clone(),
                    Err(why) => refuse(name, &why),
                },
            }
        }
        if let Some(order) = &wishes.boot_order {
            // The others are in the order that was wished all the same.
            let mut gone = order.iter().filter(|name| self.boot_option(name).is_none());
            if let Some(first) = gone.next() {
                let why = match gone.count() {
                    0 => format!("{first} is not there: the others are in that order"),
                    more => format!("{first} and {more} more are not there: the others are in that order"),
                };
                refuse("BootOrder", &why);
            }
            self.boot_order = self.ordered(order);
        }
        for (name, enabled) in &wishes.boot_options {
            match self.boot_options.iter_mut().find(|option| option.name == *name) {
                None => refuse(name, "there is no such boot option"),
                Some(option) => option.enabled = *enabled,
            }
        }
        match (&mut self.secure_boot, wishes.reset_keys, wishes.secure_boot) {
            (None, None, None) => {}
            (None, keys, enable) => {
                for (what, is_wished) in [("ResetKeys", keys.is_some()), ("SecureBoot", enable.is_some())] {
                    if is_wished {
                        refuse(what, "this firmware has no secure boot");
                    }
                }
            }
            (Some(secure), keys, enable) => {
                if let Some(keys) = keys {
                    secure.mode = match keys {
                        ResetKeys::AllToDefault => SecureBootMode::User,
                        ResetKeys::DeleteAll | ResetKeys::DeletePlatformKey => SecureBootMode::Setup,
                    };
                }
                secure.enabled = enable.unwrap_or(secure.enabled);
            }
        }
        out
    }
}
