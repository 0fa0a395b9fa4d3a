//! A certificate that a client gives. It is read before anything is verified.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    websrv::reads_as_certificate(bytes);
});
