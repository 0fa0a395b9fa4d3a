//! What the superblock of an ext4 file system says of its health.

/// Where the superblock is, and its length.
pub(crate) const OFFSET: u64 = 1024;
pub(crate) const LENGTH: usize = 1024;

const MAGIC: [u8; 2] = [0x53, 0xef];
/// `EXT4_ERROR_FS`: the kernel saw errors.
const ERROR: u16 = 2;

/// What a superblock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// No ext4 file system.
    None,
    /// The kernel saw errors in it and said so.
    Errors,
    /// Nothing is known against it. It may still have a journal to replay, which mounting does.
    Good,
}

/// Reads a superblock.
pub(crate) fn health(superblock: &[u8]) -> Health {
    let field = |at: usize| superblock.get(at..)?.first_chunk::<2>().copied();
    match (field(0x38), field(0x3a)) {
        (Some(MAGIC), Some(state)) if u16::from_le_bytes(state) & ERROR == 0 => Health::Good,
        (Some(MAGIC), Some(_)) => Health::Errors,
        _ => Health::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock(state: u8) -> Vec<u8> {
        let mut bytes = vec![0; LENGTH];
        bytes[0x38..0x3b].copy_from_slice(&[0x53, 0xef, state]);
        bytes
    }

    #[test]
    fn the_state_says_how_it_is() {
        assert_eq!(health(&superblock(1)), Health::Good);
        assert_eq!(health(&superblock(0)), Health::Good, "not unmounted, the journal knows");
        assert_eq!(health(&superblock(3)), Health::Errors);
    }

    #[test]
    fn anything_else_is_no_file_system() {
        for bytes in [&[][..], &[0; LENGTH], &[0xff; LENGTH], &superblock(1)[..0x3a]] {
            assert_eq!(health(bytes), Health::None);
        }
    }
}
