//! Any text as the destination of events: one that a request can be written for, or a refusal.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    eventlog::reads_as_destination(text);
});
