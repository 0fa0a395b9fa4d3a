//! The bodies of Connect, gRPC and gRPC-Web requests, prefixed, as text and plain, to the messages in them.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use websrv::RpcMap;

/// Small, so that the fuzzer reaches it.
const LIMIT: usize = 64;
const KINDS: [&str; 4] =
    ["application/proto", "application/grpc", "application/grpc-web+json", "application/grpc-web-text"];

static MAP: LazyLock<RpcMap> = LazyLock::new(|| RpcMap::new().expect("the schema can be served"));

fuzz_target!(|data: &[u8]| {
    for kind in KINDS {
        let Some(message) = MAP.message(kind, data, LIMIT) else { continue };
        assert!(message.len() <= LIMIT);
        match kind {
            "application/proto" => assert_eq!(message, data),
            "application/grpc" | "application/grpc-web+json" => assert_eq!(message, data[5..]),
            _ => {}
        }
    }
});
