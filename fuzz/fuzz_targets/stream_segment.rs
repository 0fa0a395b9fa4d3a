//! Any bytes as a segment file of the store: the walk ends, stays inside, accounts for every byte, and what it calls sound
//! reads the same a second time.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u64, &[u8])| {
    let (id, bytes) = input;
    let mut seen = 0;
    let scan = busd::store::scan_segment(id, bytes, &mut |_, found| {
        assert!(found.offset + found.size <= bytes.len());
        seen += 1;
    });
    assert_eq!(seen, scan.records.len());
    let sound: usize = scan.records.iter().map(|r| r.size).sum();
    let bad: usize = scan.bad.iter().map(|(start, end)| end - start).sum();
    let header = if scan.base.is_some() { 32 } else { 0 };
    assert_eq!(sound + bad + header, bytes.len());
    if let Some(end) = scan.torn_at() {
        let cut = busd::store::scan_segment(id, &bytes[..end], &mut |_, _| {});
        assert!(cut.records.len() <= scan.records.len());
    }
});
