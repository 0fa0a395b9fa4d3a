//! Any bytes of a guest's IPMI device: bounded, and what is read is what was framed; any record alerts nobody without a filter, and any trap is whole.
#![no_main]

use std::net::Ipv4Addr;

use ipmi::pef::Tables;
use ipmi::pet::Trap;
use ipmi::vm::{Decoder, Input, answer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut decoder = Decoder::default();
    for byte in bytes {
        if let Some(Input::Request(request)) = decoder.push(*byte) {
            assert!(request.data.len() <= 512 && request.function < 64);
            let sent = answer(&request, &request.data);
            let (mut back, mut found) = (Decoder::default(), None);
            for byte in &sent {
                found = back.push(*byte).or(found);
            }
            // An answer is as long as its request here, and one byte more than that is not read.
            if request.data.len() < 500 {
                let Some(Input::Request(found)) = found else { panic!("{sent:02x?}") };
                assert_eq!((found.number, found.data), (request.number, request.data));
            }
        }
    }
    if let Some((record, rest)) = bytes.split_first_chunk::<16>() {
        assert!(Tables::default().alerts(record).is_empty());
        let mut tables = Tables { control: 1, actions: 1, ..Tables::default() };
        for (row, bytes) in tables.filters.iter_mut().zip(rest.chunks_exact(20)) {
            row.copy_from_slice(bytes);
        }
        for (row, bytes) in tables.policies.iter_mut().zip(rest.rchunks_exact(3)) {
            row.copy_from_slice(bytes);
        }
        assert!(tables.alerts(record).len() <= 16);
        let trap = Trap {
            community: "public",
            agent: Ipv4Addr::LOCALHOST,
            guid: [0; 16],
            sequence: 0,
            ticks: u32::from_le_bytes([record[0], record[1], record[2], record[3]]),
            seconds: 0,
            severity: 2,
            record,
        }
        .encode();
        assert!(trap.len() > 80 && usize::from(trap[1]) + 2 == trap.len());
    }
});
