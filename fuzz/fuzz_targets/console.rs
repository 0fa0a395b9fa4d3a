//! What a host prints, what a client sends, and a log that was cut: none of it may panic, and a log's lines can be read again.
#![no_main]

use serial::frame::{Command, HEAD, head};
use serial::{Asked, Escapes, Log, Rate, parse_line};
use libfuzzer_sys::fuzz_target;
use units::Mono;

fuzz_target!(|bytes: &[u8]| {
    if let Some((first, rest)) = bytes.split_first_chunk::<HEAD>() {
        let _ = head(*first);
        let _ = Command::parse(rest);
    }
    let _ = parse_line(bytes);
    if let Ok(asked) = Asked::parse(bytes) {
        assert!(asked.replay <= 128 * 1024);
    }
    let mut escapes = Escapes::default();
    for byte in bytes {
        let _ = escapes.key(*byte);
    }
    let mut log = Log::new(Rate { burst: 1 << 20, per_second: 0 });
    for chunk in bytes.chunks(7) {
        log.push(chunk, Mono::from_millis(0), 0);
    }
    if let Some(batch) = log.finish(Mono::from_millis(0)) {
        for line in batch.bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            assert!(parse_line(line).is_some());
        }
    }
});
