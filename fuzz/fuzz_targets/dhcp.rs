//! Bytes on the ports of the DHCP clients: no panic, whatever they are.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    netmgr::reads_as_dhcp(bytes);
});
