//! Any bytes as a drive's answer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nvme::{Identity, Status};
use smbus::Address;

fuzz_target!(|answer: &[u8]| {
    let Some(drive) = Address::new(nvme::ADDRESS) else { return };
    for transfer in [nvme::status(drive), nvme::identity(drive)] {
        let mut mended = answer.to_vec();
        if let Some(end) = answer.first().map(|count| usize::from(*count) + 1).filter(|end| *end < answer.len()) {
            let head = smbus::pec(0, &[nvme::ADDRESS << 1, transfer.command(), nvme::ADDRESS << 1 | 1]);
            mended[end] = smbus::pec(head, &answer[..end]);
        }
        let _ = Status::read(&transfer, &mended);
        let _ = Identity::read(&transfer, &mended);
    }
});
