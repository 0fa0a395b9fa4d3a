//! What holds whatever comes in.

use proptest::prelude::*;
use serial::{LINE_MAX, Log, Piece, Rate, Reader, Ring, parse_line};
use units::Mono;

proptest! {
    #[test]
    fn bytes_come_in_order_once_or_are_counted_as_lost(
        capacity in 1_usize..64,
        steps in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..100), 0_usize..4), 1..40),
    ) {
        let mut ring = Ring::new(capacity);
        let mut reader = Reader::new(&ring, 0);
        let (mut all, mut at, mut now) = (Vec::new(), 0_usize, 0_u64);
        for (bytes, reads) in steps {
            ring.push(&bytes);
            all.extend_from_slice(&bytes);
            for _ in 0..reads {
                now += 5;
                match reader.next(&ring, Mono::from_millis(now)) {
                    Piece::Wait(_) => {}
                    Piece::Lost(count) => at += usize::try_from(count).unwrap(),
                    Piece::Bytes(piece) => {
                        prop_assert_eq!(piece, &all[at..at + piece.len()]);
                        at += piece.len();
                    }
                }
                prop_assert_eq!(reader.position(), at as u64);
            }
        }
        prop_assert!(ring.end() - ring.start() <= capacity as u64);
    }

    #[test]
    fn every_line_of_a_log_can_be_read_again_and_none_is_long(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
    ) {
        let mut log = Log::new(Rate { burst: 1 << 20, per_second: 0 });
        let mut written = Vec::new();
        for (second, chunk) in (0_u64..).zip(&chunks) {
            log.push(chunk, Mono::from_millis(second * 1000), 7);
            written.extend(log.take(Mono::from_millis(second * 1000)).map(|batch| batch.bytes).unwrap_or_default());
        }
        written.extend(log.finish(Mono::from_millis(1 << 30)).map(|batch| batch.bytes).unwrap_or_default());
        prop_assert!(written.is_empty() || written.ends_with(b"\n"));
        for line in written.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let parsed = parse_line(line);
            prop_assert!(parsed.is_some(), "{:?}", String::from_utf8_lossy(line));
            prop_assert!(parsed.unwrap().text.len() <= 4 * LINE_MAX);
        }
    }

    #[test]
    fn no_line_that_is_not_ours_is_taken_for_one(line in prop::collection::vec(any::<u8>(), 0..100)) {
        if let Some(read) = parse_line(&line) {
            prop_assert!(read.text.len() < line.len());
        }
    }

    #[test]
    fn no_more_is_logged_than_the_rate_allows(
        lines in prop::collection::vec(1_usize..200, 1..200),
        burst in 200_u32..2000,
    ) {
        let rate = Rate { burst, per_second: 50 };
        let mut log = Log::new(rate);
        let mut written = 0_u64;
        for (second, length) in (0_u64..).zip(&lines) {
            let mut line = vec![b'x'; *length];
            line.push(b'\n');
            log.push(&line, Mono::from_millis(second * 100), 0);
            written += log.finish(Mono::from_millis(second * 100)).map_or(0, |batch| batch.bytes.len() as u64);
        }
        // What tells of missing lines comes on top, at most one for each that was logged after them.
        let told = 100 * lines.len() as u64;
        prop_assert!(written <= u64::from(burst) + lines.len() as u64 * 5 + told);
    }
}
