//! Any requests, of the machine and of sessions from their packets on: each is answered, with what fits, and what owners would be asked is what they take.
#![no_main]

use std::cell::RefCell;

use ipmisrv::bench::Fuzzed;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static ALL: RefCell<Fuzzed> = RefCell::default();
}

fuzz_target!(|bytes: &[u8]| ALL.with_borrow_mut(|all| all.take(bytes)));
