//! Any text as a destination that the controller is to speak to: one that a request can be written for, or a refusal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use outward::{Connector, Destination};

fuzz_target!(|text: &str| {
    if let Ok(to) = Destination::parse(text) {
        for written in [&to.host, &to.authority, &to.path] {
            assert!(!written.contains(['\r', '\n', ' ']), "{to:?}");
        }
        // None is had that is the controller's own, whatever it is written like.
        let own = to.address().is_some_and(|address| address.is_loopback() || address.is_unspecified());
        assert!(!(own && Connector::new(false, None, "").may(&to)), "{to:?}");
    }
});
