//! The prefixed messages of gRPC, gRPC-Web and Connect streams, whole and in pieces.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use websrv::frame;

/// Small, so that the fuzzer reaches it.
const LIMIT: usize = 64;

fuzz_target!(|data: &[u8]| {
    let text = frame::decode_text(data);
    for body in [Some(Bytes::copy_from_slice(data)), text.ok()].into_iter().flatten() {
        let whole = frame::single(body.clone(), LIMIT);
        // In pieces of three bytes the same messages come out.
        let mut buffer = BytesMut::new();
        let mut messages = Vec::new();
        'pieces: for piece in body.chunks(3) {
            buffer.extend_from_slice(piece);
            loop {
                match frame::next(&mut buffer, LIMIT) {
                    Ok(Some(envelope)) => {
                        assert!(envelope.data.len() <= LIMIT);
                        messages.push(envelope);
                    }
                    Ok(None) => break,
                    Err(_) => break 'pieces,
                }
            }
        }
        if let Ok(envelope) = whole {
            assert_eq!(messages, [envelope]);
            assert!(buffer.is_empty());
        }
    }
});
