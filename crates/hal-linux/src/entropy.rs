//! Giving the kernel's random generator a seed that counts.
#![allow(unsafe_code, reason = "the interface is an ioctl; rustix offers them as unsafe building blocks")]

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use hal::Error;
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

use crate::fail;

/// The longest seed taken at once.
pub const MAX_SEED: usize = 512;

/// `struct rand_pool_info` of `linux/random.h` with its buffer.
#[repr(C)]
struct PoolInfo {
    entropy_bits: i32,
    size: i32,
    bytes: [u8; MAX_SEED],
}

// The number holds the size of the two counts alone, see `linux/random.h`.
const ADD_ENTROPY: Opcode = opcode::write::<[i32; 2]>(b'R', 3);

/// Mixes `seed` in and counts every bit of it, so the generator may be ready at once. Only for bytes nobody else has seen and
/// that are used once.
///
/// # Errors
///
/// [`Error::Invalid`] for an empty seed or one longer than [`MAX_SEED`], [`Error::Permission`] without `CAP_SYS_ADMIN`.
pub fn add_seed(seed: &[u8]) -> Result<(), Error> {
    let path = Path::new("/dev/urandom");
    let invalid = || Error::Invalid {
        what: path.display().to_string(),
        reason: format!("a seed is 1 to {MAX_SEED} bytes"),
    };
    let size = i32::try_from(seed.len()).ok().filter(|size| *size > 0).ok_or_else(invalid)?;
    let mut info = PoolInfo { entropy_bits: size.saturating_mul(8), size, bytes: [0; MAX_SEED] };
    info.bytes.get_mut(..seed.len()).ok_or_else(invalid)?.copy_from_slice(seed);
    let device = File::options().write(true).open(path).map_err(|source| fail::at("open", path, source))?;
    // SAFETY: the request reads a `struct rand_pool_info` and `size` bytes after its two counts; `PoolInfo` is laid out as that
    // and has at least `size` bytes there. The kernel keeps no pointer.
    let added = unsafe { ioctl(device.as_fd(), Setter::<ADD_ENTROPY, PoolInfo>::new(info)) };
    added.map_err(|source| fail::at("seed", path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_has_the_kernels_number_and_layout() {
        assert_eq!(ADD_ENTROPY, 0x4008_5203);
        assert_eq!(std::mem::offset_of!(PoolInfo, bytes), 8);
    }

    #[test]
    fn a_seed_has_bytes_and_an_end() {
        assert!(matches!(add_seed(&[]), Err(Error::Invalid { .. })));
        assert!(matches!(add_seed(&[0; MAX_SEED + 1]), Err(Error::Invalid { .. })));
    }
}
