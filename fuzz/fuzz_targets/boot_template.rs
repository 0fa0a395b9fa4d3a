//! Any bytes as the template of the data partition: its records stay within its size, in order.
#![no_main]

use boot::Template;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(template) = Template::parse(bytes) else { return };
    let mut end = 0;
    for (offset, bytes) in template.records() {
        assert!(offset >= end);
        end = offset + bytes.len() as u64;
        assert!(end <= template.total());
    }
});
