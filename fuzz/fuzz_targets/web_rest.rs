//! REST requests: verb, path, query and body, one per line, to messages by the schema.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use websrv::RestMap;

static MAP: LazyLock<RestMap> = LazyLock::new(|| RestMap::new().expect("the schema can be served"));

fuzz_target!(|data: &[u8]| {
    let mut lines = data.splitn(4, |byte| *byte == b'\n');
    let mut text = || lines.next().map(String::from_utf8_lossy).unwrap_or_default();
    let (verb, path, query) = (text(), text(), text());
    let body = lines.next().unwrap_or_default();
    if let Some((_, Err(status))) = MAP.map(&verb, &path, &query, body) {
        // Nothing a client sends is our fault.
        assert_eq!(status.code.name(), "INVALID_ARGUMENT");
    }
});
